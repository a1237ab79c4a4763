/* query/funnel_outcome.c - see funnel_outcome.h.
 *
 *     outcome    u8 what, varint level, varint filled (where some step below the level is not), varint group (where there are
 *                any; 0: FUNNEL_GROUP_NULL, else + 1), zigzag time of the first step, varint of each further one done since then
 */
#include "query/funnel_outcome.h"

#include "query/funnel_prune.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"

#define WHAT_ENTERED 4u /* alone: no more is said */
#define WHAT_GAPS    8u /* beside the bits of funnel_counts */

enum err_code funnel_outcomes_plan(struct query_run_ctx *run, int64_t rows_from_ms, bool has_firsts,
                                   struct outcomes_plan **ret, struct err *err)
{
    const struct bound_query *query = run->query;
    bool is_counted = query->funnel.table == FUNNEL_STEPS || query->funnel.table == FUNNEL_TIMES;
    int64_t mature_before_ms = funnel_mature_before(query);
    const struct outcomes_ask ask = {
        .rows_from_ms = rows_from_ms,
        .from_ms = query->from_ms,
        .to_ms = query->to_ms,
        .has_firsts = has_firsts,
        /* who was counted as mature without a row is so until then */
        .more = MIN_OF(MAX_OF(mature_before_ms, query->from_ms), query->to_ms),
    };
    *ret = NULL;
    return is_counted ? outcomes_plan(run, &ask, ret, err) : ERR_OK;
}

static uint64_t low_bits(uint32_t count)
{
    return count >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1;
}

/* A longest outcome: what, level, filled, group, times. */
#define OUTCOME_BYTES_MAX (1u + 5u + 10u + 5u + 10u * QUERY_STEPS_MAX)

static uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) {
        *at++ = (uint8_t)(v | 0x80);
    }
    *at++ = (uint8_t)v;
    return at;
}

void funnel_outcome_put(struct outcomes *outcomes, uint32_t subject, uint32_t group,
                        uint32_t counts, const struct funnel_counted *attempt)
{
    uint8_t bytes[OUTCOME_BYTES_MAX];
    uint8_t *at = bytes;
    uint64_t filled = attempt->filled & low_bits(attempt->level);
    bool has_gaps = filled != low_bits(attempt->level);
    uint64_t first = (uint64_t)attempt->times[0];

    *at++ = (uint8_t)(counts | (has_gaps ? WHAT_GAPS : 0));
    at = put_varint(at, attempt->level);
    at = has_gaps ? put_varint(at, filled) : at;
    at = put_varint(at, group == FUNNEL_GROUP_NULL ? 0 : (uint64_t)group + 1);
    at = put_varint(at, first << 1 ^ (uint64_t)(attempt->times[0] >> 63));
    for (uint64_t bits = filled & ~UINT64_C(1); bits != 0; bits &= bits - 1) {
        at = put_varint(at, (uint64_t)attempt->times[__builtin_ctzll(bits)] - first);
    }
    outcomes_put(outcomes, subject, (struct str){(const char *)bytes, (size_t)(at - bytes)});
}

void funnel_outcome_put_entered(struct outcomes *outcomes, uint32_t subject)
{
    static const char what[] = {(char)WHAT_ENTERED};
    outcomes_put(outcomes, subject, (struct str){what, sizeof(what)});
}

/* ---- again ---- */

struct counting {
    struct funnel_part *part;
    const struct bound_query *query;
    const struct answer_buckets *buckets;
    struct arena *arena;
    uint32_t *groups; /* of the numbers that are kept; NULL: there are no keys */
    uint64_t entered;
};

/* The groups that the outcomes name, numbered as the part does. */
static enum err_code read_groups(struct counting *c, struct str tail, struct err *err)
{
    struct rd rd = rd_init(tail);
    uint64_t count = rd_varint(&rd);
    if (c->query->key_count == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(c->arena, count, &c->groups, err));
    for (uint64_t g = 0; g < count; g++) {
        ERR_TRY(groups_unpack(c->part->groups, &rd, &c->groups[g], err));
    }
    ASSERT(rd_at_end(&rd)); /* the bytes are our own */
    return ERR_OK;
}

static uint32_t group_of(const struct counting *c, uint64_t kept)
{
    if (kept == 0) {
        return FUNNEL_GROUP_NULL;
    }
    return c->groups == NULL ? 0 : c->groups[kept - 1];
}

static enum err_code count_one(struct counting *c, struct str bytes, struct err *err)
{
    int64_t times[QUERY_STEPS_MAX] = {0};
    struct rd rd = rd_init(bytes);
    uint8_t what = rd_u8(&rd);
    if (what == WHAT_ENTERED) {
        c->entered++;
        return ERR_OK;
    }
    uint32_t level = (uint32_t)rd_varint(&rd);
    uint64_t filled = (what & WHAT_GAPS) != 0 ? rd_varint(&rd) : low_bits(level);
    uint32_t cell = group_of(c, rd_varint(&rd));
    uint32_t counts = what & (FUNNEL_COUNTS_LINE | FUNNEL_COUNTS_ALL);
    times[0] = rd_zigzag(&rd);
    for (uint64_t bits = filled & ~UINT64_C(1); bits != 0; bits &= bits - 1) {
        times[__builtin_ctzll(bits)] = (int64_t)((uint64_t)times[0] + rd_varint(&rd));
    }
    ASSERT(rd_at_end(&rd)); /* the bytes are our own */
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
    ERR_TRY(read_groups(&c, outcomes_tail(outcomes), err));
    while (outcomes_next(outcomes, &part->subject, &bytes)) {
        ERR_TRY(count_one(&c, bytes, err));
    }
    return c.entered == 0 ? ERR_OK
                          : funnel_part_enter(part, query, arena, c.entered, c.entered, err);
}

void funnel_outcomes_keep(struct outcomes *outcomes, const struct funnel_part *part,
                          const struct bound_query *query)
{
    CLEANUP(buf_freep) struct buf tail = {0};
    uint32_t count = query->key_count == 0 ? 0 : groups_count(part->groups);
    buf_varint(&tail, count);
    for (uint32_t g = 0; g < count; g++) {
        groups_pack(part->groups, g, &tail);
    }
    if (!tail.is_bad) {
        outcomes_keep(outcomes, buf_as_str(&tail));
    }
}
