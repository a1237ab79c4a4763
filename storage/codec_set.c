/* storage/codec_set.c - see codec_set.h for the format. */
#include "storage/codec_set.h"

#include "storage/base/rd.h"
#include "storage/base/size.h"
#include "storage/codec_bits.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define LOW_WIDTH_MAX 31u

/* ---- encoding ---- */

/* Bytes of both parts of LOWS; `rest_last` is e of the last member. */
static size_t lows_bytes(uint32_t count, unsigned low_width, uint32_t rest_last)
{
    size_t high_bits = (size_t)(count - 1) + (rest_last >> low_width);
    return bits_bytes(count - 1, low_width) + (high_bits + 7) / 8;
}

static unsigned best_low_width(uint32_t count, uint32_t rest_last)
{
    unsigned best = 0;
    for (unsigned width = 1; width <= LOW_WIDTH_MAX; width++) {
        if (lows_bytes(count, width, rest_last) < lows_bytes(count, best, rest_last)) {
            best = width;
        }
    }
    return best;
}

static void put_lows(const uint32_t *members, uint32_t count, unsigned low_width, struct buf *out)
{
    size_t low_bytes = bits_bytes(count - 1, low_width);
    uint32_t rest_last = members[count - 1] - members[0] - (count - 1);
    size_t bytes = lows_bytes(count, low_width, rest_last);
    uint8_t *at = buf_reserve(out, bytes + BITS_SLACK);
    uint64_t *lows = malloc((size_t)count * sizeof(*lows));
    if (at == NULL || lows == NULL) {
        free(lows);
        out->is_bad = true;
        return;
    }
    uint32_t mask = (UINT32_C(1) << low_width) - 1;
    for (uint32_t i = 1; i < count; i++) {
        lows[i - 1] = (members[i] - members[0] - i) & mask;
    }
    bits_pack(lows, count - 1, low_width, at);
    memset(at + low_bytes, 0, bytes - low_bytes);
    for (uint32_t i = 1; i < count; i++) {
        size_t bit = (size_t)((members[i] - members[0] - i) >> low_width) + i - 1;
        at[low_bytes + bit / 8] |= (uint8_t)(1u << (bit % 8));
    }
    out->len += bytes;
    free(lows);
}

static void put_runs(const uint32_t *members, uint32_t count, struct buf *out)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t begin = i++;
        while (i < count && members[i] == members[i - 1] + 1) {
            i++;
        }
        if (begin > 0) {
            buf_varint(out, members[begin] - members[begin - 1] - 2);
        }
        buf_varint(out, i - begin - 1);
    }
}

static uint32_t count_runs(const uint32_t *members, uint32_t count)
{
    uint32_t runs = 1;
    for (uint32_t i = 1; i < count; i++) {
        runs += members[i] != members[i - 1] + 1;
    }
    return runs;
}

enum err_code set_encode(const uint32_t *members, uint32_t count, struct buf *out,
                         size_t *ret_bytes, struct err *err)
{
    ASSERT(count > 0);
    size_t begin = out->len;
    uint32_t rest_last = members[count - 1] - members[0] - (count - 1);
    unsigned low_width = best_low_width(count, rest_last);
    size_t bytes = lows_bytes(count, low_width, rest_last);
    CLEANUP(buf_freep) struct buf runs = {0};
    bool is_runs = false;
    if (2 * (size_t)count_runs(members, count) - 1 < bytes) { /* no run takes fewer than 2 */
        put_runs(members, count, &runs);
        ERR_TRY(buf_check(&runs, err));
        is_runs = runs.len < bytes;
    }
    buf_u8(out, is_runs ? SET_RUNS : SET_LOWS);
    buf_u8(out, is_runs ? 0 : (uint8_t)low_width);
    buf_varint(out, members[0]);
    if (is_runs) {
        buf_append(out, runs.ptr, runs.len);
    } else {
        put_lows(members, count, low_width, out);
    }
    ERR_TRY(buf_check(out, err));
    *ret_bytes = out->len - begin;
    return ERR_OK;
}

/* ---- decoding ---- */

static enum err_code no_memory(uint32_t count, struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for a set of %u", count);
}

static uint64_t load_bits(const uint8_t *at, size_t left)
{
    uint64_t word = 0;
    memcpy(&word, at, left < 8 ? left : 8);
    return le64toh(word);
}

/* members[0] is there, members[1 ..] are their lows; all become whole. False for damage. */
static bool add_highs(const uint8_t *highs, size_t high_bytes, unsigned low_width, uint32_t count,
                      uint32_t last, uint32_t *members)
{
    uint64_t first = members[0];
    uint64_t before = first;
    uint32_t i = 1;
    for (size_t at = 0; at < high_bytes; at += 8) {
        for (uint64_t word = load_bits(highs + at, high_bytes - at); word != 0; word &= word - 1) {
            if (i == count) {
                return false;
            }
            uint64_t high = (uint64_t)at * 8 + (uint64_t)__builtin_ctzll(word) - (i - 1);
            uint64_t member = first + i + (high << low_width | members[i]);
            if (high > UINT32_MAX || member <= before || member > last) {
                return false;
            }
            members[i++] = (uint32_t)member;
            before = member;
        }
    }
    return i == count;
}

static enum err_code decode_lows(struct rd *rd, uint32_t count, unsigned low_width, uint32_t first,
                                 uint32_t last, roaring_bitmap_t **ret, struct err *err)
{
    size_t low_bytes = bits_bytes(count - 1, low_width);
    struct str lows = rd_bytes(rd, low_bytes);
    size_t high_bytes = rd_left(rd);
    struct str highs = rd_bytes(rd, high_bytes);
    /* A bit for each member at least, so the bytes bound the count; and no byte more than bits. */
    if (rd->is_bad || low_width > LOW_WIDTH_MAX || high_bytes * 8 < count - 1 ||
        (high_bytes > 0 && highs.ptr[high_bytes - 1] == 0)) {
        return err_set(err, ERR_CORRUPT, "set: %zu bytes for %u members", rd->len, count);
    }
    uint32_t *members = malloc((size_t)count * sizeof(*members));
    if (members == NULL) {
        return no_memory(count, err);
    }
    members[0] = first;
    bits_unpack32((const uint8_t *)lows.ptr, count - 1, low_width, members + 1);
    roaring_bitmap_t *set = NULL;
    enum err_code code = ERR_OK;
    if (!add_highs((const uint8_t *)highs.ptr, high_bytes, low_width, count, last, members)) {
        code = err_set(err, ERR_CORRUPT, "set: not %u members up to %u, ascending", count, last);
    } else {
        set = roaring_bitmap_of_ptr(count, members);
        code = set == NULL ? no_memory(count, err) : ERR_OK;
    }
    free(members);
    if (code == ERR_OK) {
        *ret = set;
    }
    return code;
}

static enum err_code add_runs(struct rd *rd, uint32_t count, uint32_t first, uint32_t last,
                              roaring_bitmap_t *set, struct err *err)
{
    uint64_t begin = first;
    uint64_t total = 0;
    for (;;) {
        uint64_t length = rd_varint(rd); /* less one */
        if (rd->is_bad || begin > last || length > last - begin) {
            return err_set(err, ERR_CORRUPT, "set: a run is damaged or beyond %u", last);
        }
        roaring_bitmap_add_range_closed(set, (uint32_t)begin, (uint32_t)(begin + length));
        total += length + 1;
        if (rd_left(rd) == 0) {
            break;
        }
        uint64_t gap = rd_varint(rd); /* less one */
        begin += length + 2 + MIN_OF(gap, UINT32_MAX);
    }
    if (total != count) {
        return err_set(err, ERR_CORRUPT, "set: %llu members where %u are said",
                       (unsigned long long)total, count);
    }
    return ERR_OK;
}

static enum err_code decode_runs(struct rd *rd, uint32_t count, uint32_t first, uint32_t last,
                                 roaring_bitmap_t **ret, struct err *err)
{
    roaring_bitmap_t *set = roaring_bitmap_create();
    if (set == NULL) {
        return no_memory(count, err);
    }
    enum err_code code = add_runs(rd, count, first, last, set, err);
    if (code != ERR_OK) {
        roaring_bitmap_free(set);
        return code;
    }
    *ret = set;
    return ERR_OK;
}

enum err_code set_decode(struct str bytes, uint32_t count, uint32_t first, uint32_t last,
                         roaring_bitmap_t **ret, struct err *err)
{
    struct rd rd = rd_init(bytes);
    unsigned kind = rd_u8(&rd);
    unsigned low_width = rd_u8(&rd);
    uint64_t begin = rd_varint(&rd);
    if (rd.is_bad || count == 0 || begin < first || begin > last) {
        return err_set(err, ERR_CORRUPT, "set: %u members from %llu on, where %u .. %u can be",
                       count, (unsigned long long)begin, first, last);
    }
    if (kind == SET_LOWS) {
        return decode_lows(&rd, count, low_width, (uint32_t)begin, last, ret, err);
    }
    if (kind != SET_RUNS || low_width != 0) {
        return err_set(err, ERR_UNSUPPORTED, "set: kind %u with width %u", kind, low_width);
    }
    return decode_runs(&rd, count, (uint32_t)begin, last, ret, err);
}
