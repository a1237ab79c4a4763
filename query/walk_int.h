/* query/walk_int.h - what the two kinds of walks share. */
#pragma once

#include "query/walk.h"

struct key_part; /* a partition of rows by the hash of their KEY */

struct walk {
    /* by user */
    struct query_run_ctx *run;
    const struct walk_spec *spec;
    const struct run_task *task;
    struct arena *arena; /* the task's */
    struct io *io;
    struct journeys *journeys;
    struct outcomes *outcomes;         /* NULL: none */
    const struct walk_subjects *again; /* whose journeys are walked again; NULL: all are walked */
    struct arena *again_arena;         /* theirs */
    uint32_t shard;                    /* of the subjects */

    struct key_part *part; /* per KEY */
    struct groups *lanes[JOURNEY_LANES_MAX - 1];
};

/* The query with the lane's keys as its own, for groups_create. */
enum err_code walk_lane_query(const struct walk_spec *spec, uint32_t lane, struct arena *arena,
                              const struct bound_query **ret, struct err *err) ERR_MUST_CHECK;

/* ---- walk_key.c ---- */
enum err_code walk_all_keys(struct query_run_ctx *run, const struct walk_spec *spec, walk_fn fn,
                            size_t slot_bytes, struct run_tasks *ret,
                            struct err *err) ERR_MUST_CHECK;
enum err_code key_part_next(struct key_part *part, struct journey *ret, bool *ret_more,
                            struct err *err) ERR_MUST_CHECK;
