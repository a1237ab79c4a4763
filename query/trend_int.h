/* query/trend_int.h - a trend between its two halves: what tasks gather, and what is made of it.
 *
 *     plan     lanes: one per (kind of accumulator, selector, field, rolling span); each on a grid
 *     tasks    per lane and group an array of cells, one per atom of the lane's grid
 *     answer   per output row and lane the union of the cells of its groups and atoms, over tasks
 *
 * A grid cuts time at every border that some bucket of its lanes needs: the buckets' own borders,
 * or, for `rolling W`, each bucket's end and that end minus W. Between two borders lies an *atom*;
 * a bucket is a run of atoms. So a row is added once, however many rolling buckets it is part of,
 * and the total over the range is one more run of atoms.
 */
#pragma once

#include "query/agg.h"
#include "query/agg_expr.h"
#include "query/keys.h"
#include "query/run.h"

struct trend_bucket { /* a run of atoms: [atom_begin, atom_end) */
    uint32_t atom_begin, atom_end;
};

struct trend_grid {
    uint64_t rolling_ms;
    int64_t *edges; /* atom_count + 1, ascending */
    uint32_t atom_count;
    uint32_t *table; /* [(t - edges[0]) >> table_shift]: the atom of that cell's begin */
    uint32_t table_shift;
    struct trend_bucket *buckets; /* bucket_count of the plan */
    struct trend_bucket total;    /* the query's range */
};

struct trend_lane {
    enum acc_kind kind;
    uint32_t selector;
    struct field field;
    uint32_t grid;
    bool is_indexed; /* subject sets answer it; no row is read but at the borders of atoms */
    bool is_counted; /* tasks may leave numbers in place of sets (trend_people.c) */
    bool is_split;   /* and of subjects whom `where` or the key does not hold for as a whole */
};

/* For contributions of segments that are kept (trend_partial.c). */
struct trend_partials {
    struct answer_cache *answers;
    struct hash128 print;              /* of what the plan asks of rows */
    struct hash128 masks[SHARD_COUNT]; /* of who is left out */
};

struct trend_plan {
    const struct bound_query *query;
    uint64_t hash_seed;
    int64_t from_ms, to_ms;        /* of the query, or of the data */
    bool is_from_open, is_to_open; /* the query does not say: the data do */
    int64_t *begins; /* of buckets, as the calendar has them; and the end of the last */
    uint32_t bucket_count;
    struct trend_grid *grids;
    uint32_t grid_count;
    struct trend_lane *lanes;
    uint32_t lane_count;
    uint32_t
        count_lane; /* of a first measure that is a count and nothing else; UINT32_MAX: it is not */
    bool
        is_ranked; /* only the first groups by the first measure are shown, and nothing of the others */
    bool is_rank_cheap;   /* the first measure takes little of each cell: no sets, no values */
    bool has_task_totals; /* tasks add up what they count and sum, for the totals */
    bool is_count_only;   /* rows of one selector are counted by group, over one atom */
    const struct trend_partials *partials; /* NULL: none are kept */
    uint32_t *lane_of; /* by measure * agg_count + agg; UINT32_MAX where the measure has no such */
};

/* Groups by their hash, so that parts of them can be ranked by themselves (trend_top.h). */
#define TREND_PARTS 64u
struct trend_entry {
    uint64_t hash;        /* of its keys */
    uint64_t rows;        /* in the plan's count_lane, of the whole range */
    uint32_t task, local; /* whose group it is; the task is not yet known to itself */
};

/* Numbers of the task's people, of a lane without groups. */
struct trend_people {
    uint64_t *buckets; /* by bucket */
    uint64_t total;
    uint32_t atom_begin,
        atom_end; /* from the first atom with anybody to behind the last; empty: nobody */
};

/* What a task has gathered. */
struct trend_slot {
    struct acc_pool pool;
    struct groups *groups;
    union acc_cell ***cells; /* [lane][group][atom]; NULL where a group has none */
    union acc_cell *
        totals; /* [lane]: of all groups, over the whole range; of lanes that count or sum, where the plan has_task_totals */
    struct trend_people **people; /* [lane]; NULL where the lane has cells */
    struct trend_entry *entries;  /* its groups, by part; where the plan is_ranked */
    struct cell *ranks; /* by entry: the first measure, of the task's cells alone; or NULL */
    uint32_t part_begins[TREND_PARTS + 1];
    uint32_t group_cap;
    int64_t row_min_ms, row_max_ms; /* of the rows that counted; min > max: none */
};

enum err_code trend_plan_make(struct query_run_ctx *run, struct trend_plan *ret,
                              struct err *err) ERR_MUST_CHECK;
/* A run_task_fn; the plan is found through `run->verb_plan`. */
enum err_code trend_task(struct query_run_ctx *run, const struct run_task *task,
                         struct arena *arena, struct io *io, void *slot,
                         struct err *err) ERR_MUST_CHECK;

/* A value that has no dictionary, for counting different ones. */
struct hash128 trend_value_hash(const struct vec *vec, uint32_t place, uint64_t seed);

/* ---- between trend_task.c, trend_split.c and trend_partial.c ---- */

struct hash_memo;
/* A task at work. */
struct trend_work {
    struct query_run_ctx *run;
    const struct run_task *task;
    const struct trend_plan *plan;
    struct trend_slot *slot;
    struct arena *arena;
    struct io *io;
    struct hash_memo *memos;  /* by lane */
    struct arena *part_arena; /* of one segment at a time; NULL where no partial answers are kept */
    bool is_past_partials;    /* one was too long: no more are made */
};

/* Room for a task's cells, of subjects [subject_begin, subject_end); and all its sources read into them. */
enum err_code trend_work_begin(struct trend_work *work, uint32_t subject_begin,
                               uint32_t subject_end, struct err *err) ERR_MUST_CHECK;
enum err_code trend_work_read(struct trend_work *work, struct err *err) ERR_MUST_CHECK;

/* ---- trend_partial.c ---- */
/* Sets plan->partials where contributions of segments to this plan may be kept. */
enum err_code trend_plan_partials(struct query_run_ctx *run, struct trend_plan *plan,
                                  struct err *err) ERR_MUST_CHECK;
/* Add what a source of the task contributes, from the cache or by reading it for the cache. *ret_is_added false where it
 * is to be read like any other. */
enum err_code trend_add_partial(struct trend_work *work, uint32_t source_idx, bool *ret_is_added,
                                struct err *err) ERR_MUST_CHECK;

/* Room for the cells of so many groups: for every group of the slot, whether it gets cells or not. */
enum err_code trend_grow_groups(struct trend_work *work, uint32_t group_count,
                                struct err *err) ERR_MUST_CHECK;
/* The cells of (lane, group), made when they are not there yet. */
enum err_code trend_cells(struct trend_work *work, uint32_t lane, uint32_t group,
                          union acc_cell **ret, struct err *err) ERR_MUST_CHECK;
/* Rows of a block, for a lane of users. */
struct trend_rows {
    uint32_t count;
    const uint32_t *subjects; /* ascending */
    const uint32_t *groups;
    const uint32_t *atoms; /* UINT32_MAX: in none; NULL: all in atom 0 */
    const uint64_t *masks;
    uint64_t bit; /* of the rows that count, in `masks` */
};
/* Whether so many rows are added faster when they are sorted by cell (trend_users.c). */
bool trend_sorts_users(const struct trend_work *work, uint32_t lane, uint32_t row_count);
enum err_code trend_sort_users(struct trend_work *work, uint32_t lane, const struct trend_rows *rows,
                               struct arena *scratch, struct err *err) ERR_MUST_CHECK;
/* Read rows into one lane of users. `ranges`: only these rows; NULL = all. */
enum err_code trend_scan_users(struct trend_work *work, uint32_t lane, const struct source *source,
                               const struct scan_want *wants, uint32_t want_count,
                               const struct scan_range *ranges, uint32_t range_count,
                               struct err *err) ERR_MUST_CHECK;
/* ---- trend_people.c ---- */
/* Whether a lane is of sets whose numbers are all that the answer asks for. */
bool trend_can_count(const struct query_run_ctx *run, const struct trend_plan *plan, uint32_t lane);
/* Numbers of a counted lane, into the slot. */
enum err_code trend_count_lane(struct trend_work *work, uint32_t lane,
                               struct err *err) ERR_MUST_CHECK;

/* ---- trend_split.c ---- */
/* Whether `where` and the key are such that most subjects meet them as a whole or not at all. */
bool trend_can_split(const struct bound_query *query);
/* A lane of users from stored sets and what is known of each subject. */
enum err_code trend_split_lane(struct trend_work *work, uint32_t lane,
                               struct err *err) ERR_MUST_CHECK;
