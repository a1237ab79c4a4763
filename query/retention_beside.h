/* query/retention_beside.h - who has two rows in one slot of time.
 *
 * A member whose every event is a return is back in period 0 when it has two events in the slot of its start. A sealed source
 * tells of all subjects at once (source_repeats). Of another the rows of the start event are looked at: rows lie by (subject,
 * time), so if the subject has a second row in the slot, one lies beside the start's own.
 *
 * Thread: one task.
 */
#pragma once

#include "query/retention_int.h"

struct beside_ask {
    struct query_run_ctx *run;
    const struct run_task *task;
    const struct retention_spec *spec; /* slots from 0 on that are cohorts' */
    struct arena *arena;
    struct io *io;
    void *arg;
    /* Subjects, of the task or not, that have two rows in the slot. */
    void (*take)(void *arg, uint32_t slot, const uint32_t *subjects, uint32_t count);
    /* Whether it is asked at all: of a subject of the task that has a start in the slot. */
    bool (*is_asked)(void *arg, uint32_t slot, uint32_t subject);
};
/* Of all sources of the task, each by itself: who has one row in each of two is not told. */
enum err_code retention_beside(const struct beside_ask *ask, struct err *err) ERR_MUST_CHECK;
/* The cohorts' slots, less what is expired: edges for source_repeats, cohort_count + 1. In the arena. */
enum err_code retention_beside_edges(const struct query_run_ctx *run,
                                     const struct retention_spec *spec, struct arena *arena,
                                     int64_t **ret, struct err *err) ERR_MUST_CHECK;
