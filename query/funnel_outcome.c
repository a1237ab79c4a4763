/* query/funnel_outcome.c - see funnel_outcome.h.
 *
 *     outcome    | what | level | group, with keys | filled, with gaps | time of the first step | since then, of each further one done |
 *
 * in widths that do for nearly all, since they are read for every subject each time: time in 6 bytes, since then in 4; of what
 * does not fit there, WIDE, both in 8.
 */
#include "query/funnel_outcome.h"

#include "query/funnel_prune.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"

#define LIVE_PARTS        4u
#define LIVE_PARTS_PRUNED 32u /* where sets leave few rows to be read of anybody */

/* Beside the bits of funnel_counts: */
#define WHAT_GAPS 4u /* not all steps below the level were done */
#define WHAT_WIDE 8u

enum err_code funnel_outcomes_plan_make(struct query_run_ctx *run, int64_t from_ms,
                                        int64_t rows_from_ms, bool has_firsts,
                                        struct outcomes_plan **ret, struct err *err)
{
    const struct bound_query *query = run->query;
    bool is_counted = query->funnel.table == FUNNEL_STEPS || query->funnel.table == FUNNEL_TIMES;
    int64_t mature_before_ms = funnel_mature_before(query);
    const struct outcomes_ask ask = {
        .rows_from_ms = rows_from_ms,
        .from_ms = from_ms,
        .to_ms = query->to_ms,
        .has_firsts = has_firsts,
        .live_parts = funnel_prune_serves(run) ? LIVE_PARTS_PRUNED : LIVE_PARTS,
        /* who was counted as mature without a row is so until then */
        .more = MIN_OF(MAX_OF(mature_before_ms, query->from_ms), query->to_ms),
    };
    *ret = NULL;
    return is_counted ? outcomes_plan_make(run, &ask, ret, err) : ERR_OK;
}

static uint64_t low_bits(uint32_t count)
{
    return count >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1;
}

/* A longest outcome. */
#define BYTES_MAX (1u + 1u + 4u + 8u + 8u + 8u * QUERY_STEPS_MAX)
_Static_assert(BYTES_MAX <= OUTCOME_BYTES_MAX && QUERY_STEPS_MAX <= UINT8_MAX, "it fits");

static char *put(char *at, uint64_t v, size_t width)
{
    memcpy(at, &v, width); /* little-endian, as all that we run on; it never leaves the process */
    return at + width;
}

static uint64_t get(const char **at, size_t width)
{
    uint64_t v = 0;
    memcpy(&v, *at, width);
    *at += width;
    return v;
}

static bool is_attempt_wide(const struct funnel_counted *attempt, uint64_t filled)
{
    int64_t first = attempt->times[0];
    if (first < -(INT64_C(1) << 47) || first >= INT64_C(1) << 47) {
        return true;
    }
    for (uint64_t bits = filled & ~UINT64_C(1); bits != 0; bits &= bits - 1) {
        if ((uint64_t)attempt->times[__builtin_ctzll(bits)] - (uint64_t)first > UINT32_MAX) {
            return true;
        }
    }
    return false;
}

void funnel_outcome_put(struct outcomes *outcomes, const struct bound_query *query,
                        uint32_t subject, uint32_t group, uint32_t counts,
                        const struct funnel_counted *attempt)
{
    char bytes[BYTES_MAX];
    char *at = bytes;
    uint64_t filled = attempt->filled & low_bits(attempt->level);
    bool has_gaps = filled != low_bits(attempt->level);
    bool is_wide = is_attempt_wide(attempt, filled);
    uint64_t first = (uint64_t)attempt->times[0];

    at = put(at, counts | (has_gaps ? WHAT_GAPS : 0) | (is_wide ? WHAT_WIDE : 0), 1);
    at = put(at, attempt->level, 1);
    at = query->key_count > 0 ? put(at, group, 4) : at;
    at = has_gaps ? put(at, filled, 8) : at;
    at = put(at, first, is_wide ? 8 : 6);
    for (uint64_t bits = filled & ~UINT64_C(1); bits != 0; bits &= bits - 1) {
        at = put(at, (uint64_t)attempt->times[__builtin_ctzll(bits)] - first, is_wide ? 8 : 4);
    }
    outcomes_put(outcomes, subject, (struct str){bytes, (size_t)(at - bytes)});
}

/* ---- again ---- */

struct counting {
    struct funnel_part *part;
    const struct bound_query *query;
    const struct answer_buckets *buckets;
    struct arena *arena;
    uint32_t *groups; /* of the numbers that are kept; NULL: there are no keys */
};

static enum err_code count_one(struct counting *c, struct str bytes, struct err *err)
{
    int64_t times[QUERY_STEPS_MAX];
    const char *at = bytes.ptr;
    uint32_t what = (uint32_t)get(&at, 1);
    uint32_t level = (uint32_t)get(&at, 1);
    uint32_t cell = c->query->key_count > 0 ? (uint32_t)get(&at, 4) : 0;
    uint64_t filled = (what & WHAT_GAPS) != 0 ? get(&at, 8) : low_bits(level);
    bool is_wide = (what & WHAT_WIDE) != 0;
    uint64_t first = is_wide ? get(&at, 8) : get(&at, 6);
    times[0] = is_wide ? (int64_t)first : (int64_t)(first << 16) >> 16;
    for (uint64_t bits = filled & ~UINT64_C(1); bits != 0; bits &= bits - 1) {
        uint64_t since = is_wide ? get(&at, 8) : get(&at, 4);
        times[__builtin_ctzll(bits)] = (int64_t)((uint64_t)times[0] + since);
    }
    ASSERT_DEBUG(at == bytes.ptr + bytes.len); /* the bytes are our own */
    if (c->groups != NULL && cell != FUNNEL_GROUP_NULL) {
        cell = c->groups[cell];
    }
    uint32_t counts = what & (FUNNEL_COUNTS_LINE | FUNNEL_COUNTS_ALL);
    if (c->part->places != NULL && (counts & FUNNEL_COUNTS_LINE) != 0) {
        uint32_t bucket = c->query->has_each ? answer_bucket_of(c->buckets, times[0]) : 0;
        ERR_TRY(funnel_part_cell(c->part, bucket, cell, &cell, err));
    }
    const struct funnel_counted counted = {level, filled, times};
    return funnel_part_count(c->part, c->query, c->arena, cell, counts, &counted, err);
}

enum err_code funnel_outcomes_count(struct outcomes *outcomes, struct funnel_part *part,
                                    const struct bound_query *query,
                                    const struct answer_buckets *buckets, struct arena *arena,
                                    struct err *err)
{
    struct counting c = {.part = part, .query = query, .buckets = buckets, .arena = arena};
    struct str bytes = {0};
    if (!outcomes_are_kept(outcomes)) {
        return ERR_OK;
    }
    if (query->key_count > 0) {
        struct rd tail = rd_init(outcomes_tail(outcomes));
        ERR_TRY(groups_unpack_all(part->groups, &tail, arena, &c.groups, err));
    }
    while (outcomes_next(outcomes, &part->subject, &bytes)) {
        ERR_TRY(count_one(&c, bytes, err));
    }
    /* Who entered, is mature for as long as the question has this name, and went no further (funnel_prune.h). */
    uint64_t entered = outcomes_count_set(outcomes);
    return entered == 0 ? ERR_OK : funnel_part_enter(part, query, arena, entered, entered, err);
}

void funnel_outcomes_keep(struct outcomes *outcomes, const struct funnel_part *part,
                          const struct bound_query *query)
{
    CLEANUP(buf_freep) struct buf tail = {0};
    if (query->key_count > 0) {
        groups_pack_all(part->groups, &tail);
    }
    if (!tail.is_bad) {
        outcomes_keep(outcomes, buf_as_str(&tail));
    }
}
