/* storage/codec_int.c - see codec_int.h for the format. */
#include "storage/codec_int.h"

#include "storage/base/size.h"
#include "storage/codec_bits.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES 8u

static uint32_t minis_of(uint32_t count)
{
    return count / INTS_MINI + (count % INTS_MINI != 0);
}

static uint32_t mini_count(uint32_t count, uint32_t mini)
{
    return MIN_OF(count - mini * INTS_MINI, INTS_MINI);
}

/* ---- encoding ---- */

/* The head; its length is put in by end_body, from what was really written: the sizes that a kind is
 * chosen by are estimates. Returns where the body begins. */
static size_t begin_body(struct buf *out, enum ints_kind kind, unsigned width)
{
    buf_u8(out, (uint8_t)kind);
    buf_u8(out, (uint8_t)width);
    buf_u16(out, 0);
    buf_u32(out, 0);
    return out->len;
}

static void end_body(struct buf *out, size_t begin)
{
    if (!out->is_bad) {
        ASSERT(out->len - begin <= UINT32_MAX);
        wr_u32(out->ptr + begin - 4, (uint32_t)(out->len - begin));
    }
}

static void put_bits(struct buf *out, const uint64_t *values, uint32_t count, unsigned width)
{
    size_t bytes = bits_bytes(count, width);
    uint8_t *at = buf_reserve(out, bytes + BITS_SLACK);
    if (at != NULL) {
        bits_pack(values, count, width, at);
        out->len += bytes;
    }
}

/* What the sizes of all kinds follow from. */
struct ints_stats {
    int64_t min, max;
    uint64_t unit;
    uint32_t run_count;
    uint64_t base_max; /* largest distance of a mini-block's minimum from `min`, in units */
    size_t for_bits_bytes, delta_bits_bytes, patch_bits_bytes;
    int64_t first_min, first_max, step_min, step_max;
};

static uint64_t gcd_of(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void stats_whole(const uint64_t *values, uint32_t count, struct ints_stats *stats)
{
    stats->min = INT64_MAX;
    stats->max = INT64_MIN;
    stats->run_count = count > 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t v = (int64_t)values[i];
        stats->min = v < stats->min ? v : stats->min;
        stats->max = v > stats->max ? v : stats->max;
        stats->run_count += i > 0 && values[i] != values[i - 1];
    }
    uint64_t unit = 0;
    for (uint32_t i = 0; i < count && unit != 1; i++) {
        unit = gcd_of(values[i] - (uint64_t)stats->min, unit);
    }
    stats->unit = unit == 0 ? 1 : unit;
}

static void mini_range(const uint64_t *values, uint32_t count, int64_t *ret_min, int64_t *ret_max)
{
    int64_t min = (int64_t)values[0];
    int64_t max = min;
    for (uint32_t i = 1; i < count; i++) {
        int64_t v = (int64_t)values[i];
        min = v < min ? v : min;
        max = v > max ? v : max;
    }
    *ret_min = min;
    *ret_max = max;
}

/* Smallest and largest difference of neighbours; both 0 for one value. */
static void mini_steps(const uint64_t *values, uint32_t count, int64_t *ret_min, int64_t *ret_max)
{
    int64_t min = count > 1 ? INT64_MAX : 0;
    int64_t max = count > 1 ? INT64_MIN : 0;
    for (uint32_t i = 1; i < count; i++) {
        int64_t step = (int64_t)(values[i] - values[i - 1]);
        min = step < min ? step : min;
        max = step > max ? step : max;
    }
    *ret_min = min;
    *ret_max = max;
}

/* How the steps of one mini-block are split into low bits and patches. */
struct patch_plan {
    unsigned width;
    uint32_t patch_count;
    unsigned high_width; /* 0 where there are no patches */
    size_t bytes;
};

#define PATCH_PLACE_BITS 7u /* a step's place in a mini-block */

_Static_assert(INTS_MINI <= 1u << PATCH_PLACE_BITS, "places of steps fit");

static size_t patch_bytes(uint32_t step_count, unsigned width, uint32_t patch_count,
                          unsigned high_width)
{
    return bits_bytes(step_count, width) + bits_bytes(patch_count, PATCH_PLACE_BITS) +
           bits_bytes(patch_count, high_width);
}

static uint64_t zigzag_of(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static int64_t unzigzag_of(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

/* The width that takes the fewest bytes. A step is patched when it is negative or too long: how many
 * are follows from how many steps have each length. */
static struct patch_plan patch_plan_of(const uint64_t *values, uint32_t count)
{
    uint32_t lens[65] = {0}; /* steps not negative, by their length in bits */
    uint32_t negative_count = 0;
    unsigned longest = 0;
    for (uint32_t i = 1; i < count; i++) {
        int64_t step = (int64_t)(values[i] - values[i - 1]);
        uint64_t size = step < 0 ? ~(uint64_t)step : (uint64_t)step;
        unsigned len = size == 0 ? 0 : 64u - (unsigned)__builtin_clzll(size);
        longest = len > longest ? len : longest;
        if (step < 0) {
            negative_count++;
        } else {
            lens[len]++;
        }
    }
    uint32_t step_count = count - 1;
    uint32_t fit_count = 0;
    struct patch_plan best = {.bytes = SIZE_MAX};
    for (unsigned width = 0; width <= 56; width++) {
        fit_count += lens[width];
        struct patch_plan plan = {.width = width, .patch_count = step_count - fit_count};
        if (plan.patch_count > 0) {
            /* the longest high part, or -1, and a bit of sign */
            unsigned high_len = (longest > width ? longest - width : 0) + 1;
            plan.high_width = high_len > 56 ? 64 : high_len;
        }
        plan.bytes = patch_bytes(step_count, width, plan.patch_count, plan.high_width);
        if (plan.bytes < best.bytes) {
            best = plan;
        }
        if (plan.patch_count == negative_count && width >= longest) {
            break; /* wider only costs more */
        }
    }
    return best;
}

static void stats_minis(const uint64_t *values, uint32_t count, struct ints_stats *stats)
{
    stats->first_min = stats->step_min = INT64_MAX;
    stats->first_max = stats->step_max = INT64_MIN;
    for (uint32_t k = 0; k < minis_of(count); k++) {
        const uint64_t *mini = values + (size_t)k * INTS_MINI;
        uint32_t n = mini_count(count, k);
        int64_t min = 0;
        int64_t max = 0;
        mini_range(mini, n, &min, &max);
        uint64_t base = ((uint64_t)min - (uint64_t)stats->min) / stats->unit;
        stats->base_max = MAX_OF(stats->base_max, base);
        uint64_t span = ((uint64_t)max - (uint64_t)min) / stats->unit;
        stats->for_bits_bytes += bits_bytes(n, bits_width(span));

        int64_t first = (int64_t)mini[0];
        stats->first_min = MIN_OF(stats->first_min, first);
        stats->first_max = MAX_OF(stats->first_max, first);
        mini_steps(mini, n, &min, &max);
        stats->step_min = MIN_OF(stats->step_min, min);
        stats->step_max = MAX_OF(stats->step_max, min);
        span = (uint64_t)max - (uint64_t)min;
        stats->delta_bits_bytes += bits_bytes(n - 1, bits_width(span));
        stats->patch_bits_bytes += patch_plan_of(mini, n).bytes;
    }
}

static size_t flat_bytes(uint32_t count, uint64_t span)
{
    return HEAD_BYTES + 8 + bits_bytes(count, bits_width(span));
}

static size_t for_bytes(uint32_t count, const struct ints_stats *stats)
{
    uint32_t minis = minis_of(count);
    return HEAD_BYTES + 16 + flat_bytes(minis, stats->base_max) + minis + stats->for_bits_bytes;
}

static size_t delta_bytes(uint32_t count, const struct ints_stats *stats)
{
    uint32_t minis = minis_of(count);
    return HEAD_BYTES + flat_bytes(minis, (uint64_t)stats->first_max - (uint64_t)stats->first_min) +
           flat_bytes(minis, (uint64_t)stats->step_max - (uint64_t)stats->step_min) + minis +
           stats->delta_bits_bytes;
}

static size_t patch_stream_bytes(uint32_t count, const struct ints_stats *stats)
{
    uint32_t minis = minis_of(count);
    return HEAD_BYTES + flat_bytes(minis, (uint64_t)stats->first_max - (uint64_t)stats->first_min) +
           3 * (size_t)minis + stats->patch_bits_bytes;
}

/* The smallest kind but RLE. */
static enum ints_kind choose_flat(const uint64_t *values, uint32_t count, struct ints_stats *stats,
                                  size_t *ret_bytes)
{
    memset(stats, 0, sizeof(*stats));
    stats_whole(values, count, stats);
    if (stats->run_count <= 1) {
        *ret_bytes = HEAD_BYTES + 8;
        return INTS_CONST;
    }
    stats_minis(values, count, stats);
    enum ints_kind kind = INTS_BITS;
    size_t best = flat_bytes(count, (uint64_t)stats->max - (uint64_t)stats->min);
    size_t bytes = for_bytes(count, stats);
    if (bytes < best) {
        kind = INTS_FOR;
        best = bytes;
    }
    bytes = delta_bytes(count, stats);
    if (bytes < best - best / 10) { /* sums are slower to decode than additions of a base */
        kind = INTS_DELTA;
        best = bytes;
    }
    bytes = patch_stream_bytes(count, stats);
    if (bytes < best - best / 10) {
        kind = INTS_PATCH;
        best = bytes;
    }
    *ret_bytes = best;
    return kind;
}

static void encode_flat(struct buf *out, const uint64_t *values, uint32_t count)
{
    int64_t min = 0;
    int64_t max = 0;
    if (count > 0) {
        mini_range(values, count, &min, &max);
    }
    unsigned width = bits_width((uint64_t)max - (uint64_t)min);
    if (width == 0) {
        size_t begin = begin_body(out, INTS_CONST, 0);
        buf_i64(out, min);
        end_body(out, begin);
        return;
    }
    size_t body = begin_body(out, INTS_BITS, width);
    buf_i64(out, min);
    uint64_t chunk[INTS_MINI]; /* 128 x any width is whole bytes: chunks join without a seam */
    for (uint32_t k = 0; k < minis_of(count); k++) {
        uint32_t n = mini_count(count, k);
        for (uint32_t i = 0; i < n; i++) {
            chunk[i] = values[(size_t)k * INTS_MINI + i] - (uint64_t)min;
        }
        put_bits(out, chunk, n, width);
    }
    end_body(out, body);
}

/* One number per mini-block, widths, and the bits: what FOR and DELTA share. `side` has 2 numbers
 * per mini-block's worth of room; freed by the caller. */
static void encode_for(struct buf *out, const uint64_t *values, uint32_t count,
                       const struct ints_stats *stats, uint64_t *side)
{
    uint32_t minis = minis_of(count);
    size_t body = begin_body(out, INTS_FOR, 0);
    buf_i64(out, stats->min);
    buf_u64(out, stats->unit);
    for (uint32_t k = 0; k < minis; k++) {
        int64_t min = 0;
        int64_t max = 0;
        mini_range(values + (size_t)k * INTS_MINI, mini_count(count, k), &min, &max);
        side[2 * k] = ((uint64_t)min - (uint64_t)stats->min) / stats->unit;
        side[2 * k + 1] = bits_width(((uint64_t)max - (uint64_t)min) / stats->unit);
    }
    uint64_t *bases = side + 2 * (size_t)minis;
    for (uint32_t k = 0; k < minis; k++) {
        bases[k] = side[2 * k];
    }
    encode_flat(out, bases, minis);
    for (uint32_t k = 0; k < minis; k++) {
        buf_u8(out, (uint8_t)side[2 * k + 1]);
    }
    uint64_t chunk[INTS_MINI];
    for (uint32_t k = 0; k < minis; k++) {
        uint32_t n = mini_count(count, k);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t v = values[(size_t)k * INTS_MINI + i];
            chunk[i] = (v - (uint64_t)stats->min) / stats->unit - bases[k];
        }
        put_bits(out, chunk, n, (unsigned)side[2 * k + 1]);
    }
    end_body(out, body);
}

static void encode_delta(struct buf *out, const uint64_t *values, uint32_t count,
                         const struct ints_stats *stats, uint64_t *side)
{
    uint32_t minis = minis_of(count);
    uint64_t *firsts = side;
    uint64_t *steps = side + minis;
    uint64_t *widths = side + 2 * (size_t)minis;
    size_t body = begin_body(out, INTS_DELTA, 0);
    for (uint32_t k = 0; k < minis; k++) {
        int64_t min = 0;
        int64_t max = 0;
        firsts[k] = values[(size_t)k * INTS_MINI];
        mini_steps(values + (size_t)k * INTS_MINI, mini_count(count, k), &min, &max);
        steps[k] = (uint64_t)min;
        widths[k] = bits_width((uint64_t)max - (uint64_t)min);
    }
    encode_flat(out, firsts, minis);
    encode_flat(out, steps, minis);
    for (uint32_t k = 0; k < minis; k++) {
        buf_u8(out, (uint8_t)widths[k]);
    }
    uint64_t chunk[INTS_MINI];
    for (uint32_t k = 0; k < minis; k++) {
        const uint64_t *mini = values + (size_t)k * INTS_MINI;
        uint32_t n = mini_count(count, k);
        for (uint32_t i = 1; i < n; i++) {
            chunk[i - 1] = mini[i] - mini[i - 1] - steps[k];
        }
        put_bits(out, chunk, n - 1, (unsigned)widths[k]);
    }
    end_body(out, body);
}

static void encode_patch_mini(struct buf *out, const uint64_t *mini, uint32_t n,
                              const struct patch_plan *plan)
{
    uint64_t lows[INTS_MINI];
    uint64_t places[INTS_MINI];
    uint64_t highs[INTS_MINI];
    uint64_t mask = (UINT64_C(1) << plan->width) - 1;
    uint32_t patch_count = 0;
    for (uint32_t i = 1; i < n; i++) {
        uint64_t step = mini[i] - mini[i - 1];
        lows[i - 1] = step & mask;
        if (step > mask) { /* too long, or negative */
            places[patch_count] = i - 1;
            highs[patch_count++] = zigzag_of((int64_t)step >> plan->width);
        }
    }
    ASSERT(patch_count == plan->patch_count);
    put_bits(out, lows, n - 1, plan->width);
    put_bits(out, places, patch_count, PATCH_PLACE_BITS);
    put_bits(out, highs, patch_count, plan->high_width);
}

static void encode_patch(struct buf *out, const uint64_t *values, uint32_t count, uint64_t *firsts)
{
    uint32_t minis = minis_of(count);
    size_t body = begin_body(out, INTS_PATCH, 0);
    for (uint32_t k = 0; k < minis; k++) {
        firsts[k] = values[(size_t)k * INTS_MINI];
    }
    encode_flat(out, firsts, minis);
    for (uint32_t k = 0; k < minis; k++) {
        struct patch_plan plan =
            patch_plan_of(values + (size_t)k * INTS_MINI, mini_count(count, k));
        buf_u8(out, (uint8_t)plan.width);
        buf_u8(out, (uint8_t)plan.patch_count);
        buf_u8(out, (uint8_t)plan.high_width);
    }
    for (uint32_t k = 0; k < minis; k++) {
        const uint64_t *mini = values + (size_t)k * INTS_MINI;
        struct patch_plan plan = patch_plan_of(mini, mini_count(count, k));
        encode_patch_mini(out, mini, mini_count(count, k), &plan);
    }
    end_body(out, body);
}

static void encode_chosen(struct buf *out, enum ints_kind kind, const uint64_t *values,
                          uint32_t count, const struct ints_stats *stats)
{
    if (kind == INTS_CONST || kind == INTS_BITS) {
        encode_flat(out, values, count);
        return;
    }
    uint64_t *side = calloc(3 * (size_t)minis_of(count), sizeof(*side));
    if (side == NULL) {
        out->is_bad = true;
        return;
    }
    if (kind == INTS_FOR) {
        encode_for(out, values, count, stats, side);
    } else if (kind == INTS_PATCH) {
        encode_patch(out, values, count, side);
    } else {
        encode_delta(out, values, count, stats, side);
    }
    free(side);
}

/* `runs` gets run_count values and run_count lengths less one. */
static void split_runs(const uint64_t *values, uint32_t count, uint32_t run_count, uint64_t *runs)
{
    uint32_t run = 0;
    uint32_t begin = 0;
    for (uint32_t i = 1; i <= count; i++) {
        if (i == count || values[i] != values[begin]) {
            runs[run] = values[begin];
            runs[run_count + run] = i - begin - 1;
            run++;
            begin = i;
        }
    }
    ASSERT(run == run_count);
}

/* Append as RLE where that takes fewer than `bytes_below` bytes. */
static bool encode_runs(struct buf *out, const uint64_t *values, uint32_t count, uint32_t run_count,
                        size_t bytes_below)
{
    uint64_t *runs = calloc(2 * (size_t)run_count + 1, sizeof(*runs));
    if (runs == NULL) {
        out->is_bad = true;
        return true;
    }
    split_runs(values, count, run_count, runs);
    struct ints_stats value_stats;
    struct ints_stats length_stats;
    size_t value_bytes = 0;
    size_t length_bytes = 0;
    enum ints_kind value_kind = choose_flat(runs, run_count, &value_stats, &value_bytes);
    enum ints_kind length_kind =
        choose_flat(runs + run_count, run_count, &length_stats, &length_bytes);
    bool is_taken = HEAD_BYTES + 8 + value_bytes + length_bytes < bytes_below;
    if (is_taken) {
        size_t body = begin_body(out, INTS_RLE, 0);
        buf_u32(out, run_count);
        buf_u32(out, 0);
        encode_chosen(out, value_kind, runs, run_count, &value_stats);
        encode_chosen(out, length_kind, runs + run_count, run_count, &length_stats);
        end_body(out, body);
    }
    free(runs);
    return is_taken;
}

enum ints_kind ints_encode(const uint64_t *values, uint32_t count, struct buf *out)
{
    struct ints_stats stats;
    size_t bytes = 0;
    enum ints_kind kind = choose_flat(values, count, &stats, &bytes);
    if (kind != INTS_CONST && stats.run_count <= count / 2 &&
        encode_runs(out, values, count, stats.run_count, bytes)) {
        return INTS_RLE;
    }
    encode_chosen(out, kind, values, count, &stats);
    return kind;
}

void ints_encode_kind(enum ints_kind kind, const uint64_t *values, uint32_t count, struct buf *out)
{
    struct ints_stats stats = {0};
    stats_whole(values, count, &stats);
    stats_minis(values, count, &stats);
    if (kind == INTS_RLE) {
        encode_runs(out, values, count, stats.run_count, SIZE_MAX);
    } else {
        encode_chosen(out, kind, values, count, &stats);
    }
}

/* ---- decoding ---- */

/* A stream of CONST or BITS: any of its values can be had alone. */
struct flat {
    uint64_t base;
    const uint8_t *bits;
    unsigned width;
};

/* A stream of any kind but RLE, decoded mini-block by mini-block. */
struct ints_cursor {
    enum ints_kind kind;
    uint32_t count;
    uint32_t mini; /* the next one */
    struct flat flat;
    uint64_t origin, unit;
    struct flat bases;
    struct flat steps;
    const uint8_t *widths;
    const uint8_t *bits; /* of the next mini-block */
};

enum ints_kind ints_peek(const struct rd *rd)
{
    return rd_left(rd) >= HEAD_BYTES ? (enum ints_kind)rd->ptr[rd->off] : (enum ints_kind)0;
}

/* The head, and a reader over the body, past which `rd` moves. */
static enum err_code open_body(struct rd *rd, enum ints_kind *ret_kind, unsigned *ret_width,
                               struct rd *ret_body, struct err *err)
{
    unsigned kind = rd_u8(rd);
    unsigned width = rd_u8(rd);
    uint16_t zero = rd_u16(rd);
    uint32_t body_bytes = rd_u32(rd);
    struct str body = rd_bytes(rd, body_bytes);
    if (rd->is_bad) {
        return err_set(err, ERR_CORRUPT, "integer stream: ends early");
    }
    if (kind < INTS_CONST || kind > INTS_KIND_LAST) {
        return err_set(err, ERR_UNSUPPORTED, "integer stream: kind %u", kind);
    }
    if (zero != 0 || !bits_width_is_valid(width) || (width != 0) != (kind == INTS_BITS)) {
        return err_set(err, ERR_CORRUPT, "integer stream: width %u in kind %u", width, kind);
    }
    *ret_kind = (enum ints_kind)kind;
    *ret_width = width;
    *ret_body = rd_init(body);
    return ERR_OK;
}

static enum err_code flat_open(enum ints_kind kind, unsigned width, struct rd *body, uint32_t count,
                               struct flat *ret, struct err *err)
{
    if (kind != INTS_CONST && kind != INTS_BITS) {
        return err_set(err, ERR_CORRUPT, "integer stream: kind %d where a flat one belongs",
                       (int)kind);
    }
    struct flat flat = {.base = rd_u64(body), .width = width};
    size_t want = bits_bytes(count, width);
    if (body->is_bad || rd_left(body) != want) {
        return err_set(err, ERR_CORRUPT, "integer stream: %zu bytes of bits, not %zu",
                       rd_left(body), want);
    }
    flat.bits = body->ptr + body->off;
    *ret = flat;
    return ERR_OK;
}

static enum err_code flat_open_at(struct rd *rd, uint32_t count, struct flat *ret, struct err *err)
{
    enum ints_kind kind = 0;
    unsigned width = 0;
    struct rd body = {0};
    ERR_TRY(open_body(rd, &kind, &width, &body, err));
    return flat_open(kind, width, &body, count, ret, err);
}

static uint64_t flat_at(const struct flat *flat, uint32_t idx)
{
    return flat->base + bits_at(flat->bits, idx, flat->width);
}

/* Widths and bits of the mini-blocks; `less` values of each are stored elsewhere. */
static enum err_code minis_open(struct rd *body, uint32_t less, struct ints_cursor *cursor,
                                struct err *err)
{
    uint32_t minis = minis_of(cursor->count);
    struct str widths = rd_bytes(body, minis);
    if (body->is_bad) {
        return err_set(err, ERR_CORRUPT, "integer stream: ends in the mini-blocks' widths");
    }
    cursor->widths = (const uint8_t *)widths.ptr;
    size_t want = 0;
    for (uint32_t k = 0; k < minis; k++) {
        unsigned width = cursor->widths[k];
        if (!bits_width_is_valid(width)) {
            return err_set(err, ERR_CORRUPT, "integer stream: mini-block %u: width %u", k, width);
        }
        want += bits_bytes(mini_count(cursor->count, k) - less, width);
    }
    if (rd_left(body) != want) {
        return err_set(err, ERR_CORRUPT, "integer stream: %zu bytes of mini-blocks, not %zu",
                       rd_left(body), want);
    }
    cursor->bits = body->ptr + body->off;
    return ERR_OK;
}

/* The three bytes of each mini-block of PATCH, in cursor->widths, and the bits. */
static enum err_code patches_open(struct rd *body, struct ints_cursor *cursor, struct err *err)
{
    uint32_t minis = minis_of(cursor->count);
    struct str heads = rd_bytes(body, 3 * (size_t)minis);
    if (body->is_bad) {
        return err_set(err, ERR_CORRUPT, "integer stream: ends in the mini-blocks' heads");
    }
    cursor->widths = (const uint8_t *)heads.ptr;
    size_t want = 0;
    for (uint32_t k = 0; k < minis; k++) {
        const uint8_t *head = cursor->widths + 3 * (size_t)k;
        uint32_t step_count = mini_count(cursor->count, k) - 1;
        if (head[0] > 56 || head[1] > step_count || !bits_width_is_valid(head[2]) ||
            (head[1] == 0) != (head[2] == 0)) {
            return err_set(err, ERR_CORRUPT,
                           "integer stream: mini-block %u: width %u, %u patches of width %u", k,
                           head[0], head[1], head[2]);
        }
        want += patch_bytes(step_count, head[0], head[1], head[2]);
    }
    if (rd_left(body) != want) {
        return err_set(err, ERR_CORRUPT, "integer stream: %zu bytes of mini-blocks, not %zu",
                       rd_left(body), want);
    }
    cursor->bits = body->ptr + body->off;
    return ERR_OK;
}

static enum err_code cursor_open_body(enum ints_kind kind, unsigned width, struct rd *body,
                                      uint32_t count, struct ints_cursor *ret, struct err *err)
{
    struct ints_cursor cursor = {.kind = kind, .count = count};
    uint32_t minis = minis_of(count);
    switch (kind) {
    case INTS_CONST:
    case INTS_BITS:
        ERR_TRY(flat_open(kind, width, body, count, &cursor.flat, err));
        cursor.bits = cursor.flat.bits;
        break;
    case INTS_FOR:
        cursor.origin = rd_u64(body);
        cursor.unit = rd_u64(body);
        ERR_TRY(flat_open_at(body, minis, &cursor.bases, err));
        ERR_TRY(minis_open(body, 0, &cursor, err));
        break;
    case INTS_DELTA:
        ERR_TRY(flat_open_at(body, minis, &cursor.bases, err));
        ERR_TRY(flat_open_at(body, minis, &cursor.steps, err));
        ERR_TRY(minis_open(body, 1, &cursor, err));
        break;
    case INTS_PATCH:
        ERR_TRY(flat_open_at(body, minis, &cursor.bases, err));
        ERR_TRY(patches_open(body, &cursor, err));
        break;
    case INTS_RLE:
    default: return err_set(err, ERR_CORRUPT, "integer stream: runs inside of runs");
    }
    *ret = cursor;
    return ERR_OK;
}

static enum err_code cursor_open(struct rd *rd, uint32_t count, struct ints_cursor *ret,
                                 struct err *err)
{
    enum ints_kind kind = 0;
    unsigned width = 0;
    struct rd body = {0};
    ERR_TRY(open_body(rd, &kind, &width, &body, err));
    return cursor_open_body(kind, width, &body, count, ret, err);
}

static void sum_steps(uint64_t first, uint64_t step, const uint64_t *restrict deltas, uint32_t n,
                      uint64_t *restrict out)
{
    out[0] = first;
    uint32_t i = 1;
    for (; i + 4 <= n; i += 4) { /* one addition in four waits for the one before */
        uint64_t two = deltas[i - 1] + deltas[i] + 2 * step;
        uint64_t three = two + deltas[i + 1] + step;
        uint64_t four = two + (deltas[i + 1] + deltas[i + 2] + 2 * step);
        out[i] = first + deltas[i - 1] + step;
        out[i + 1] = first + two;
        out[i + 2] = first + three;
        first += four;
        out[i + 3] = first;
    }
    for (; i < n; i++) {
        first += step + deltas[i - 1];
        out[i] = first;
    }
}

/* Steps of a mini-block. A whole one is unpacked with one value more, which costs less than the odd
 * end: it lies in what follows, or in the slack. */
static void unpack_steps(const uint8_t *bits, uint32_t n, unsigned width, uint64_t *out)
{
    bits_unpack64(bits, n == INTS_MINI && width <= 56 ? n : n - 1, width, out);
}

static void delta_next(struct ints_cursor *cursor, uint32_t k, uint32_t n, uint64_t *restrict out)
{
    uint64_t deltas[INTS_MINI];
    unsigned width = cursor->widths[k];
    unpack_steps(cursor->bits, n, width, deltas);
    cursor->bits += bits_bytes(n - 1, width);
    sum_steps(flat_at(&cursor->bases, k), flat_at(&cursor->steps, k), deltas, n, out);
}

static void patch_next(struct ints_cursor *cursor, uint32_t k, uint32_t n, uint64_t *restrict out)
{
    uint64_t steps[INTS_MINI]; /* a place of 7 bits is within it, whatever the file says */
    const uint8_t *head = cursor->widths + 3 * (size_t)k;
    unsigned width = head[0];
    uint32_t patch_count = head[1];
    unsigned high_width = head[2];
    unpack_steps(cursor->bits, n, width, steps);
    const uint8_t *places = cursor->bits + bits_bytes(n - 1, width);
    const uint8_t *highs = places + bits_bytes(patch_count, PATCH_PLACE_BITS);
    for (uint32_t i = 0; i < patch_count; i++) {
        uint64_t high = (uint64_t)unzigzag_of(bits_at(highs, i, high_width));
        steps[bits_at(places, i, PATCH_PLACE_BITS)] += high << width;
    }
    cursor->bits = highs + bits_bytes(patch_count, high_width);
    sum_steps(flat_at(&cursor->bases, k), 0, steps, n, out);
}

/* Decode the next mini-block into `out` (room for INTS_MINI) and return its length; 0 at the end.
 */
static uint32_t cursor_next(struct ints_cursor *cursor, uint64_t *restrict out)
{
    if (cursor->mini >= minis_of(cursor->count)) {
        return 0;
    }
    uint32_t k = cursor->mini++;
    uint32_t n = mini_count(cursor->count, k);
    if (cursor->kind == INTS_DELTA) {
        delta_next(cursor, k, n, out);
        return n;
    }
    if (cursor->kind == INTS_PATCH) {
        patch_next(cursor, k, n, out);
        return n;
    }
    unsigned width = cursor->widths == NULL ? cursor->flat.width : cursor->widths[k];
    bits_unpack64(cursor->bits, n, width, out);
    cursor->bits += bits_bytes(n, width);
    if (cursor->kind == INTS_FOR) {
        uint64_t unit = cursor->unit;
        uint64_t base = cursor->origin + unit * flat_at(&cursor->bases, k);
        for (uint32_t i = 0; i < n; i++) {
            out[i] = base + unit * out[i];
        }
    } else {
        uint64_t base = cursor->flat.base;
        for (uint32_t i = 0; i < n; i++) {
            out[i] += base;
        }
    }
    return n;
}

/* Runs: two streams side by side, expanded through `fill(out, at, n, value)`. */
struct run_out {
    uint64_t *out64;
    uint32_t *out32;
    uint64_t limit;
};

static enum err_code value_too_large(uint64_t value, uint64_t limit, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "value %" PRIu64 " where all are below %" PRIu64, value,
                   limit);
}

static enum err_code runs_expand(struct ints_cursor *values, struct ints_cursor *lengths,
                                 uint32_t count, const struct run_out *to, struct err *err)
{
    uint64_t value[INTS_MINI];
    uint64_t length[INTS_MINI];
    uint32_t at = 0;
    for (;;) {
        uint32_t n = cursor_next(values, value);
        (void)cursor_next(lengths, length); /* the same number of them */
        if (n == 0) {
            break;
        }
        for (uint32_t i = 0; i < n; i++) {
            if (length[i] >= count - at) {
                return err_set(err, ERR_CORRUPT, "runs are longer than the %u values", count);
            }
            uint32_t end = at + (uint32_t)length[i] + 1;
            if (value[i] >= to->limit && to->out32 != NULL) {
                return value_too_large(value[i], to->limit, err);
            }
            if (to->out32 != NULL) {
                for (uint32_t v = (uint32_t)value[i]; at < end; at++) {
                    to->out32[at] = v;
                }
            } else {
                for (; at < end; at++) {
                    to->out64[at] = value[i];
                }
            }
        }
    }
    if (at != count) {
        return err_set(err, ERR_CORRUPT, "runs end after %u of %u values", at, count);
    }
    return ERR_OK;
}

static enum err_code runs_decode(struct rd *body, uint32_t count, const struct run_out *to,
                                 struct err *err)
{
    uint32_t run_count = rd_u32(body);
    uint32_t zero = rd_u32(body);
    if (body->is_bad || zero != 0 || run_count > count) {
        return err_set(err, ERR_CORRUPT, "%u runs for %u values", run_count, count);
    }
    struct ints_cursor values = {0};
    struct ints_cursor lengths = {0};
    ERR_TRY(cursor_open(body, run_count, &values, err));
    ERR_TRY(cursor_open(body, run_count, &lengths, err));
    if (!rd_at_end(body)) {
        return err_set(err, ERR_CORRUPT, "%zu bytes after the runs", rd_left(body));
    }
    return runs_expand(&values, &lengths, count, to, err);
}

enum err_code ints_decode64(struct rd *rd, uint32_t count, uint64_t *out, struct err *err)
{
    enum ints_kind kind = 0;
    unsigned width = 0;
    struct rd body = {0};
    ERR_TRY(open_body(rd, &kind, &width, &body, err));
    if (kind == INTS_RLE) {
        return runs_decode(&body, count, &(struct run_out){.out64 = out}, err);
    }
    struct ints_cursor cursor = {0};
    ERR_TRY(cursor_open_body(kind, width, &body, count, &cursor, err));
    for (uint32_t n = 0; (n = cursor_next(&cursor, out)) != 0;) {
        out += n;
    }
    return ERR_OK;
}

/* CONST and BITS straight to 32 bits: the codes of a dictionary column, the hottest of all. */
static enum err_code flat_decode32(const struct flat *flat, uint32_t count, uint64_t limit,
                                   uint32_t *restrict out, struct err *err)
{
    if (count == 0) {
        return ERR_OK;
    }
    if (flat->width > 32 || flat->base >= limit) {
        return value_too_large(flat->base, limit, err);
    }
    bits_unpack32(flat->bits, count, flat->width, out);
    uint32_t max = 0;
    for (uint32_t i = 0; i < count; i++) {
        max = out[i] > max ? out[i] : max;
    }
    if (max >= limit - flat->base) {
        return value_too_large(flat->base + max, limit, err);
    }
    uint32_t base = (uint32_t)flat->base;
    if (base != 0) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] += base;
        }
    }
    return ERR_OK;
}

enum err_code ints_decode32(struct rd *rd, uint32_t count, uint64_t limit, uint32_t *out,
                            struct err *err)
{
    ASSERT(limit <= (UINT64_C(1) << 32));
    enum ints_kind kind = 0;
    unsigned width = 0;
    struct rd body = {0};
    ERR_TRY(open_body(rd, &kind, &width, &body, err));
    if (kind == INTS_RLE) {
        return runs_decode(&body, count, &(struct run_out){.out32 = out, .limit = limit}, err);
    }
    struct ints_cursor cursor = {0};
    ERR_TRY(cursor_open_body(kind, width, &body, count, &cursor, err));
    if (kind == INTS_CONST || kind == INTS_BITS) {
        return flat_decode32(&cursor.flat, count, limit, out, err);
    }
    uint64_t mini[INTS_MINI];
    for (uint32_t n = 0; (n = cursor_next(&cursor, mini)) != 0;) {
        uint64_t max = 0;
        for (uint32_t i = 0; i < n; i++) {
            max = mini[i] > max ? mini[i] : max;
            out[i] = (uint32_t)mini[i];
        }
        if (max >= limit) {
            return value_too_large(max, limit, err);
        }
        out += n;
    }
    return ERR_OK;
}
