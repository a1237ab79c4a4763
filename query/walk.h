/* query/walk.h - every journey that a question is about, in parallel tasks: of users, or of another key.
 *
 *     by user     tasks of (shard, subjects); journey.h merges the sources           -> journeys
 *     per KEY     tasks gather the rows of their shard, dealt out by a hash of KEY; then a task per
 *                 partition puts its rows in order of (KEY, time, event_id)          -> journeys
 *
 * The verb's function is called once per task, with a walk to take journeys from, and writes to its own slot;
 * it cannot tell the two apart. Lanes carry numbered values along with the events (journey.h); the groups that
 * number them are a task's own, or with `per KEY` shared by all tasks and then only read. Either way slots are
 * merged by groups_import.
 *
 * A subject's events lie in one task, so numbers of subjects add up over tasks. Journeys of one task have
 * different `subject` numbers, in ascending order. Rows without a KEY (missing, or a sentinel id) are of no subject.
 *
 * Where the journeys of some subjects turn out to begin too late for what is asked, a walk by user is begun again over these
 * alone, from earlier on (walk_again).
 *
 * Memory, per KEY: about 25 bytes for each matching row and 60 for each run of rows of one KEY, out of the query's budget.
 *
 * Thread: a walk is its task's.
 */
#pragma once

#include "query/outcomes.h"

struct walk_lane {
    const struct by_key *keys;
    uint32_t key_count;
};
struct walk_spec {
    const struct bound_query *query; /* selectors that the wants number, `where`, zone */
    const struct scan_want *wants;
    uint32_t want_count;
    struct walk_lane lanes[JOURNEY_LANES_MAX - 1];
    uint32_t lane_count;
    bool is_ordered;                      /* events of one instant by event_id */
    const struct field *subject;          /* per KEY; NULL = the user */
    const struct first_ask *firsts;       /* by user alone (journey.h) */
    const struct outcomes_plan *outcomes; /* the same; NULL: journeys of all are wanted */
};

struct walk;
/* Called once per task; the arena lives as long as the slot. */
typedef enum err_code (*walk_fn)(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                                 void *slot, struct err *err);

/* Run `fn` over all journeys; the slots are the caller's, to be freed in any case, as from run_all_tasks. */
enum err_code walk_all(struct query_run_ctx *run, const struct walk_spec *spec, walk_fn fn,
                       size_t slot_bytes, struct run_tasks *ret, struct err *err) ERR_MUST_CHECK;

/* The next journey, readable until the next call; *ret_more false after the last. */
enum err_code walk_next(struct walk *walk, struct journey *ret, bool *ret_more,
                        struct err *err) ERR_MUST_CHECK;
/* Only of walks by user: a set of the task's subjects, empty, as bits. Lives as long as the slots. */
struct walk_subjects {
    uint64_t *words;
    size_t word_count;
    uint32_t base; /* bit i is subject base + i */
};
enum err_code walk_subjects_make(const struct walk *walk, struct walk_subjects *ret,
                                 struct err *err) ERR_MUST_CHECK;
static inline void walk_subjects_add(const struct walk_subjects *subjects, uint32_t subject)
{
    uint32_t bit = subject - subjects->base;
    subjects->words[bit / 64] |= UINT64_C(1) << (bit % 64);
}
/* Begin again, by user: with these subjects alone, and with all wanted events from `from_ms` on. Journeys from before are no
 * longer readable; lanes number on. `subjects` must stay as it is until the walk's end, or till it begins again. Not with
 * `outcomes` or `firsts` in the spec. Cost: the subjects' rows, or where they are many a scan of all. */
enum err_code walk_again(struct walk *walk, const struct walk_subjects *subjects, int64_t from_ms,
                         struct err *err) ERR_MUST_CHECK;
/* The shard of the subjects; only of walks by user. */
uint32_t walk_shard(const struct walk *walk);
/* With `outcomes` in the spec: those of the task (outcomes.h). Where they are kept, journeys are those of the live subjects. NULL: none. */
struct outcomes *walk_outcomes(const struct walk *walk);
/* What numbers lane `lane`; lives as long as the slots. */
struct groups *walk_groups(const struct walk *walk, uint32_t lane);
