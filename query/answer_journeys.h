/* query/answer_journeys.h - cells and buckets that the verbs over journeys share.
 *
 * Thread: the calling thread's, but for answer_subject_lane and the lookups in buckets, which are pure.
 */
#pragma once

#include "query/answer.h"
#include "query/walk.h"

/* ---- who ---- */

/* Whether the answer has a row per subject; behind `users of (...) in`, `list users` is said of those. */
static inline bool answer_is_list(const struct bound_query *query)
{
    return query->is_list && query->cell == NULL;
}

/* The lane that says who a subject is: the value of `per KEY`, or the user id, or the anonymous id of events that
 * have none. The keys live in `storage`. */
struct walk_lane answer_subject_lane(const struct bound_query *query, struct by_key storage[2]);
/* The subject's name, out of the lane's numbering, copied into the arena. */
enum err_code answer_subject_cell(const struct groups *groups, uint32_t number, struct arena *arena,
                                  struct cell *ret, struct err *err) ERR_MUST_CHECK;
enum err_code answer_subject_col(const struct bound_query *query, struct arena *arena,
                                 struct result_col *ret, struct err *err) ERR_MUST_CHECK;

/* ---- when ---- */

/* The buckets of `each` over the query's range, or one bucket of all of it. An end that the query leaves open is
 * that of the data. */
struct answer_buckets {
    const int64_t *begins; /* count + 1 */
    uint32_t count;
    bool has_from, has_to; /* the query said so: buckets are filled up to there */
};
enum err_code answer_buckets(struct query_run_ctx *run, struct answer_buckets *ret,
                             struct err *err) ERR_MUST_CHECK;
/* The bucket of an instant within [begins[0], begins[count]). */
static inline uint32_t answer_bucket_of(const struct answer_buckets *buckets, int64_t ts_ms)
{
    return buckets->count <= 1 ? 0 : civil_bucket_idx(buckets->begins, buckets->count, ts_ms);
}
struct result_col answer_bucket_col(const struct bound_query *query);
enum err_code answer_bucket_cell(const struct bound_query *query, int64_t begin_ms,
                                 struct arena *arena, struct cell *ret,
                                 struct err *err) ERR_MUST_CHECK;
enum err_code answer_instant_cell(const struct bound_query *query, int64_t ts_ms,
                                  struct arena *arena, struct cell *ret,
                                  struct err *err) ERR_MUST_CHECK;

/* ---- columns, numbers ---- */
/* Make these the result's columns; their names must outlive it. */
enum err_code answer_cols(struct result *result, const struct result_col *cols, uint32_t count,
                          struct err *err) ERR_MUST_CHECK;
struct cell answer_count_cell(uint64_t count);
/* a / b for a sum that may be beyond 64 bits: int64 where it is whole, null where b is 0. */
struct cell answer_mean_cell(unsigned __int128 sum, uint64_t count);
struct cell answer_sum_cell(unsigned __int128 sum);
/* A row for each line that tasks kept, in the order of its columns; the columns are made. */
struct answer_lines {
    uint32_t (*count)(const void *slot);
    enum err_code (*put)(struct query_run_ctx *run, const void *slot, uint32_t line,
                         struct arena *arena, struct cell *out, struct err *err);
};
enum err_code answer_put_lines(struct query_run_ctx *run, const struct run_tasks *tasks,
                               const struct answer_lines *lines, struct result *result,
                               struct err *err) ERR_MUST_CHECK;
/* An order for qsort_r over rows of cells, by all columns; ctx: const uint32_t *, how many there are. */
int answer_rows_cmp(const void *a, const void *b, void *ctx);
