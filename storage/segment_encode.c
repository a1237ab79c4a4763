/* storage/segment_encode.c - the dense values of one block -> the bytes of a block section. Format:
 * segment_format.h. */
#include "storage/base/size.h"
#include "storage/codec_int.h"
#include "storage/segment_write_int.h"

#include <math.h>
#include <stdlib.h>

enum err_code gather_init(struct gather *gather, struct err *err)
{
    memset(gather, 0, sizeof(*gather));
    gather->ints = calloc(BLOCK_ROWS, sizeof(*gather->ints));
    gather->nums = calloc(BLOCK_ROWS, sizeof(*gather->nums));
    gather->lens = calloc(BLOCK_ROWS, sizeof(*gather->lens));
    if (gather->ints == NULL || gather->nums == NULL || gather->lens == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a block");
    }
    return ERR_OK;
}

void gather_done(struct gather *gather)
{
    free(gather->ints);
    free(gather->nums);
    free(gather->lens);
    buf_done(&gather->bytes);
    buf_done(&gather->items);
}

void gather_begin(struct gather *gather, uint32_t first_row, uint32_t rows)
{
    gather->first_row = first_row;
    gather->rows = rows;
    gather->value_count = 0;
    memset(gather->present, 0, sizeof(gather->present));
    buf_clear(&gather->bytes);
    buf_clear(&gather->items);
}

/* ---- presence ---- */

static bool is_present(const struct gather *gather, uint32_t row)
{
    return (gather->present[row / 64] >> (row % 64) & 1) != 0;
}

/* The codes whose rows are exactly the present ones, into `out` (PRESENCE_EVENTS_MAX); 0 where
 * there are none. */
static uint32_t presence_events(const struct gather *gather, const struct encode_events *events,
                                uint32_t *out)
{
    if (events->codes == NULL) {
        return 0;
    }
    const uint32_t *codes = events->codes + gather->first_row;
    uint32_t *with = events->scratch;
    uint32_t *without = events->scratch + events->count;
    for (uint32_t row = 0; row < gather->rows; row++) {
        uint32_t *counts = is_present(gather, row) ? with : without;
        counts[codes[row]]++;
    }
    uint32_t count = 0;
    bool is_exact = true;
    for (uint32_t row = 0; row < gather->rows; row++) {
        uint32_t code = codes[row];
        is_exact = is_exact && (with[code] == 0 || without[code] == 0);
        if (with[code] != 0) {
            if (count < PRESENCE_EVENTS_MAX) {
                out[count] = code;
            }
            count++;
        }
        with[code] = without[code] =
            0; /* so each code counts once, and the scratch is clean again */
    }
    return is_exact && count <= PRESENCE_EVENTS_MAX ? count : 0;
}

static int u32_cmp(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;
    return (*x > *y) - (*x < *y);
}

static uint32_t count_runs(const struct gather *gather)
{
    uint32_t runs = 0;
    uint64_t carry = 0; /* the bit before this word */
    for (uint32_t w = 0; w < (gather->rows + 63) / 64; w++) {
        uint64_t bits = gather->present[w];
        runs += (uint32_t)__builtin_popcountll(bits & ~(bits << 1 | carry));
        carry = bits >> 63;
    }
    return runs;
}

static void put_runs(const struct gather *gather, struct buf *out)
{
    for (uint32_t row = 0; row < gather->rows; row++) {
        if (!is_present(gather, row)) {
            continue;
        }
        uint32_t begin = row;
        while (row + 1 < gather->rows && is_present(gather, row + 1)) {
            row++;
        }
        buf_u16(out, (uint16_t)begin);
        buf_u16(out, (uint16_t)(row - begin));
    }
}

static enum presence_kind put_presence(const struct gather *gather,
                                       const struct encode_events *events, struct buf *out)
{
    if (gather->value_count == gather->rows) {
        return PRESENCE_ALL;
    }
    uint32_t codes[PRESENCE_EVENTS_MAX];
    uint32_t code_count = presence_events(gather, events, codes);
    size_t bitset_bytes = (size_t)(gather->rows + 63) / 64 * 8;
    size_t rows_bytes = (size_t)gather->value_count * 2;
    size_t runs_bytes = (size_t)count_runs(gather) * 4;
    size_t least = MIN_OF(bitset_bytes, MIN_OF(rows_bytes, runs_bytes));
    if (code_count > 0 && code_count * sizeof(uint32_t) <= least + least / 4 + 8) {
        qsort(codes, code_count, sizeof(*codes), u32_cmp);
        for (uint32_t i = 0; i < code_count; i++) {
            buf_u32(out, codes[i]);
        }
        return PRESENCE_EVENTS;
    }
    if (runs_bytes == least) {
        put_runs(gather, out);
        return PRESENCE_RUNS;
    }
    if (rows_bytes == least) {
        for (uint32_t row = 0; row < gather->rows; row++) {
            if (is_present(gather, row)) {
                buf_u16(out, (uint16_t)row);
            }
        }
        return PRESENCE_ROWS;
    }
    for (uint32_t w = 0; w < (gather->rows + 63) / 64; w++) {
        buf_u64(out, gather->present[w]);
    }
    return PRESENCE_BITSET;
}

/* ---- values ---- */

struct encoded {
    uint8_t shape, kind, scale, flags;
    bool is_lz4, has_zone;
    int64_t zone_min, zone_max;
};

static void put_box(struct str raw, struct buf *out, bool *ret_is_lz4)
{
    size_t head = out->len;
    uint8_t *at = buf_reserve(out, BOX_HEAD_BYTES);
    if (at == NULL) {
        return;
    }
    out->len += BOX_HEAD_BYTES;
    *ret_is_lz4 = lz_encode(raw, out);
    if (out->is_bad) {
        return;
    }
    wr_u32(out->ptr + head, *ret_is_lz4 ? 1 : 0);
    wr_u32(out->ptr + head + 4, (uint32_t)raw.len);
    wr_u32(out->ptr + head + 8, (uint32_t)(out->len - head - BOX_HEAD_BYTES));
}

static void ints_zone(const uint64_t *values, uint32_t count, struct encoded *ret)
{
    ret->has_zone = true;
    ret->zone_min = INT64_MAX;
    ret->zone_max = INT64_MIN;
    for (uint32_t i = 0; i < count; i++) {
        int64_t v = (int64_t)values[i];
        ret->zone_min = MIN_OF(ret->zone_min, v);
        ret->zone_max = MAX_OF(ret->zone_max, v);
    }
}

static int64_t pow10_of(unsigned exponent)
{
    int64_t power = 1;
    while (exponent-- > 0) {
        power *= 10;
    }
    return power; /* 10^18 fits */
}

/* Floor and ceiling of a number; false where they do not fit 64 bits. */
static bool num_bounds(struct num n, int64_t *ret_floor, int64_t *ret_ceil)
{
    if (n.scale == NUM_DOUBLE) {
        double v = num_to_double(n);
        if (!(v > -9.2e18 && v < 9.2e18)) {
            return false;
        }
        *ret_floor = (int64_t)floor(v);
        *ret_ceil = (int64_t)ceil(v);
        return true;
    }
    int64_t power = pow10_of(n.scale);
    int64_t rest = n.m % power;
    *ret_floor = n.m / power - (rest < 0);
    *ret_ceil = n.m / power + (rest > 0);
    return true;
}

static void nums_zone(const struct gather *gather, struct encoded *ret)
{
    ret->has_zone = true;
    ret->zone_min = INT64_MAX;
    ret->zone_max = INT64_MIN;
    for (uint32_t i = 0; i < gather->value_count; i++) {
        int64_t low = 0;
        int64_t high = 0;
        if (!num_bounds(gather->nums[i], &low, &high)) {
            *ret = (struct encoded){0};
            return;
        }
        ret->zone_min = MIN_OF(ret->zone_min, low);
        ret->zone_max = MAX_OF(ret->zone_max, high);
    }
}

/* The mantissas under one scale into gather->ints; false where one does not fit. */
static bool rescale(struct gather *gather, uint8_t scale)
{
    for (uint32_t i = 0; i < gather->value_count; i++) {
        struct num n = gather->nums[i];
        int64_t m = 0;
        if (n.scale == NUM_DOUBLE ||
            __builtin_mul_overflow(n.m, pow10_of((unsigned)(scale - n.scale)), &m)) {
            return false;
        }
        gather->ints[i] = (uint64_t)m;
    }
    return true;
}

static enum err_code encode_nums(struct gather *gather, struct buf *out, struct encoded *ret,
                                 struct err *err)
{
    uint32_t double_count = 0;
    uint8_t scale = 0;
    nums_zone(gather, ret);
    for (uint32_t i = 0; i < gather->value_count; i++) {
        struct num n = gather->nums[i];
        ASSERT(n.scale <= NUM_SCALE_MAX || n.scale == NUM_DOUBLE);
        double_count += n.scale == NUM_DOUBLE;
        scale = n.scale != NUM_DOUBLE ? MAX_OF(scale, n.scale) : scale;
    }
    if (double_count == 0 && rescale(gather, scale)) {
        ret->shape = SHAPE_INTS;
        ret->scale = scale;
        ret->kind = (uint8_t)ints_encode(gather->ints, gather->value_count, out);
        return ERR_OK;
    }
    CLEANUP(buf_freep) struct buf raw = {0};
    for (uint32_t i = 0; i < gather->value_count; i++) {
        gather->ints[i] = (uint64_t)gather->nums[i].m;
        if (double_count == gather->value_count) {
            buf_i64(&raw, gather->nums[i].m);
        } else {
            buf_u8(&raw, gather->nums[i].scale);
        }
    }
    ERR_TRY(buf_check(&raw, err));
    put_box(buf_as_str(&raw), out, &ret->is_lz4);
    if (double_count == gather->value_count) {
        ret->shape = SHAPE_DOUBLES;
    } else {
        ret->shape = SHAPE_MIXED;
        ret->kind = (uint8_t)ints_encode(gather->ints, gather->value_count, out);
    }
    return ERR_OK;
}

static enum err_code encode_lists(struct gather *gather, struct buf *out, struct encoded *ret,
                                  struct err *err)
{
    size_t item_count = gather->items.len / sizeof(uint64_t);
    if (item_count > SEGMENT_ITEMS_MAX) {
        return err_set(err, ERR_LIMIT, "%zu items in the lists of a block, at most %u", item_count,
                       SEGMENT_ITEMS_MAX);
    }
    ret->shape = SHAPE_LISTS;
    ints_encode(gather->lens, gather->value_count, out);
    buf_u32(out, (uint32_t)item_count);
    buf_u32(out, 0);
    const void *items = gather->items.ptr; /* from malloc, so aligned */
    uint64_t none = 0;
    ret->kind = (uint8_t)ints_encode(item_count == 0 ? &none : items, (uint32_t)item_count, out);
    return ERR_OK;
}

/* Arrival times: as they are (few batches: long runs), or less the event's time (a small lateness).
 */
static enum err_code encode_arrival(struct gather *gather, const int64_t *times, struct buf *out,
                                    struct encoded *ret, struct err *err)
{
    CLEANUP(buf_freep) struct buf less = {0};
    size_t begin = out->len;
    ret->kind = (uint8_t)ints_encode(gather->ints, gather->value_count, out);
    for (uint32_t i = 0; i < gather->value_count; i++) {
        gather->ints[i] -= (uint64_t)times[gather->first_row + i];
    }
    enum ints_kind less_kind = ints_encode(gather->ints, gather->value_count, &less);
    ERR_TRY(buf_check(&less, err));
    ERR_TRY(buf_check(out, err));
    if (less.len < out->len - begin) {
        out->len = begin;
        buf_append(out, less.ptr, less.len);
        ret->kind = (uint8_t)less_kind;
        ret->flags = BLOCK_FLAG_LESS_TIME;
    }
    return ERR_OK;
}

static enum err_code encode_values(struct gather *gather, enum col_type type, bool is_subject,
                                   bool is_coded, const int64_t *less, struct buf *out,
                                   struct encoded *ret, struct err *err)
{
    if (type == COL_NUMBER && !is_subject) {
        return encode_nums(gather, out, ret, err);
    }
    if (type == COL_LIST) {
        return encode_lists(gather, out, ret, err);
    }
    if (type == COL_STRING && !is_coded) {
        enum strs_kind kind = STRS_PLAIN;
        ret->shape = SHAPE_STRS;
        ERR_TRY(strs_encode(buf_as_str(&gather->bytes), gather->lens, gather->value_count, false,
                            out, &kind, &ret->is_lz4, err));
        ret->kind = (uint8_t)kind;
        return ERR_OK;
    }
    ret->shape = SHAPE_INTS;
    if (type == COL_TIME || is_subject) {
        ints_zone(gather->ints, gather->value_count, ret);
    }
    if (less != NULL) {
        return encode_arrival(gather, less, out, ret, err);
    }
    ret->kind = (uint8_t)ints_encode(gather->ints, gather->value_count, out);
    return ERR_OK;
}

enum err_code block_encode(struct gather *gather, enum col_type type, bool is_subject,
                           bool is_coded, const int64_t *less, const struct encode_events *events,
                           struct buf *out, struct seg_block *ret, struct err *err)
{
    ASSERT(gather->value_count > 0);
    CLEANUP(buf_freep) struct buf presence = {0};
    CLEANUP(buf_freep) struct buf values = {0};
    struct encoded encoded = {0};
    enum presence_kind presence_kind = put_presence(gather, events, &presence);
    ERR_TRY(encode_values(gather, type, is_subject, is_coded, less, &values, &encoded, err));
    ERR_TRY(buf_check(&presence, err));
    ERR_TRY(buf_check(&values, err));
    if (values.len > SEGMENT_SECTION_MAX - presence.len - BLOCK_HEAD_BYTES - SEGMENT_ALIGN) {
        return err_set(err, ERR_LIMIT, "block of %zu bytes", values.len);
    }
    buf_u8(out, encoded.shape);
    buf_u8(out, (uint8_t)presence_kind);
    buf_u8(out, encoded.scale);
    buf_u8(out, encoded.flags);
    buf_u32(out, gather->value_count);
    buf_u32(out, (uint32_t)presence.len);
    buf_u32(out, 0);
    buf_append(out, presence.ptr, presence.len);
    buf_align(out, SEGMENT_ALIGN);
    buf_append(out, values.ptr, values.len);
    *ret = (struct seg_block){
        .value_count = gather->value_count,
        .shape = encoded.shape,
        .kind = encoded.kind,
        .is_lz4 = encoded.is_lz4,
        .has_zone = encoded.has_zone,
        .zone_min = encoded.zone_min,
        .zone_max = encoded.zone_max,
    };
    return buf_check(out, err);
}
