/* query/trend_top.h - which of many groups are first by the first measure, without putting together those that are not.
 *
 * Tasks leave their groups in parts by the hash of their keys. Parts have no group in common: so each is ranked by itself,
 * on any thread, and the first groups of all are among the first of each.
 *
 * Thread: the calling one, and the pool's for parts.
 */
#pragma once

#include "query/trend_int.h"

#define TREND_TOP_NONE UINT32_MAX

/* One part. Entries of one group are a chain that begins with its head, which has the sum of their rows. */
struct trend_top {
    const struct run_tasks *tasks;
    struct trend_entry *entries; /* by task */
    uint32_t count;
    uint32_t *next; /* by entry: the next one of its group, of a later task; or NONE */
    uint32_t *heads;
    uint32_t head_count; /* different groups */
    bool is_counted;     /* the first measure is the sum of rows, else */
    struct cell *values; /* by entry, of heads: what it is */
    uint32_t *tops;      /* heads of the first groups, in no order */
    uint32_t top_count;
};
/* A task's half: its groups into slot->entries, with their ranks where these are cheap while its cells are at hand. */
enum err_code trend_top_entries(struct query_run_ctx *run, const struct trend_plan *plan,
                                struct trend_slot *slot, struct arena *arena,
                                struct err *err) ERR_MUST_CHECK;
/* *ret: slots are struct trend_top, TREND_PARTS of them, freed by the caller in any case; `tasks` outlive them. */
enum err_code trend_tops(struct query_run_ctx *run, const struct trend_plan *plan,
                         const struct run_tasks *tasks, struct run_tasks *ret,
                         struct err *err) ERR_MUST_CHECK;
/* Of two groups of parts that may be different ones: below 0 where that of x comes first. */
int trend_top_cmp(const struct trend_top *a, uint32_t x, const struct trend_top *b, uint32_t y);
/* Whose numbering the entry's group is of. */
const struct groups *trend_top_groups(const struct trend_top *top, uint32_t entry);
