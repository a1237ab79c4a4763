/* storage/codec_str.c - see codec_str.h for the format. */
#include "storage/codec_str.h"

#include "storage/base/size.h"
#include "storage/codec_bits.h"
#include "storage/codec_int.h"
#include "storage/uuid.h"

#include <lz4.h>
#include <stdlib.h>

#define HEAD_BYTES     16u
#define LZ_RATIO_MAX   255u /* no LZ4 block expands further */
#define LZ_BYTES_LEAST 64u  /* shorter payloads are not tried */

_Static_assert(STRS_BYTES_MAX <= LZ4_MAX_INPUT_SIZE, "one LZ4 block holds the largest payload");

/* ---- LZ4 ---- */

bool lz_encode(struct str raw, struct buf *out)
{
    ASSERT(raw.len <= STRS_BYTES_MAX);
    if (raw.len >= LZ_BYTES_LEAST) {
        int bound = LZ4_compressBound((int)raw.len);
        uint8_t *at = buf_reserve(out, (size_t)bound);
        if (at == NULL) {
            return false;
        }
        int packed = LZ4_compress_default(raw.ptr, (char *)at, (int)raw.len, bound);
        if (packed > 0 && (size_t)packed <= raw.len - raw.len / 20) {
            out->len += (size_t)packed;
            return true;
        }
    }
    buf_append(out, raw.ptr, raw.len);
    return false;
}

enum err_code lz_decode(struct rd *rd, bool is_lz4, uint32_t raw_bytes, uint32_t stored_bytes,
                        struct arena *arena, struct str *ret, struct err *err)
{
    struct str stored = rd_bytes(rd, stored_bytes);
    if (rd->is_bad) {
        return err_set(err, ERR_CORRUPT, "payload of %u bytes ends early", stored_bytes);
    }
    if (!is_lz4) {
        if (raw_bytes != stored_bytes) {
            return err_set(err, ERR_CORRUPT, "payload of %u bytes says %u", stored_bytes,
                           raw_bytes);
        }
        *ret = stored;
        return ERR_OK;
    }
    if (raw_bytes > STRS_BYTES_MAX || raw_bytes / LZ_RATIO_MAX > stored_bytes) {
        return err_set(err, ERR_CORRUPT, "LZ4 payload of %u bytes says it holds %u", stored_bytes,
                       raw_bytes);
    }
    void *raw = NULL;
    ERR_TRY(arena_alloc_raw(arena, (size_t)raw_bytes + BITS_SLACK, &raw, err));
    int got = LZ4_decompress_safe(stored.ptr, raw, (int)stored_bytes, (int)raw_bytes);
    if (got < 0 || (uint32_t)got != raw_bytes) {
        return err_set(err, ERR_CORRUPT, "LZ4 payload does not decompress to %u bytes", raw_bytes);
    }
    memset((char *)raw + raw_bytes, 0, BITS_SLACK);
    *ret = (struct str){raw, raw_bytes};
    return ERR_OK;
}

/* ---- UUIDs ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool pack_uuids(struct str bytes, const uint64_t *lens, uint32_t count, struct buf *out)
{
    if (count == 0 || bytes.len != (size_t)count * UUID_TEXT_BYTES) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (lens[i] != UUID_TEXT_BYTES) {
            return false;
        }
    }
    uint8_t *at = buf_reserve(out, (size_t)count * UUID_PACKED_BYTES);
    if (at == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct str text = {bytes.ptr + (size_t)i * UUID_TEXT_BYTES, UUID_TEXT_BYTES};
        if (!uuid_text_pack(text, at + (size_t)i * UUID_PACKED_BYTES)) {
            return false;
        }
    }
    out->len += (size_t)count * UUID_PACKED_BYTES;
    return true;
}

/* ---- encoding ---- */

static void encode_front(struct str bytes, const uint64_t *lens, uint32_t count,
                         struct buf *streams, struct buf *payload)
{
    uint64_t *shared = calloc(2 * (size_t)count + 1, sizeof(*shared));
    if (shared == NULL) {
        streams->is_bad = true;
        return;
    }
    uint64_t *rest = shared + count;
    const char *prev = bytes.ptr;
    const char *at = bytes.ptr;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t most = i == 0 ? 0 : MIN_OF(lens[i - 1], lens[i]);
        uint64_t same = 0;
        while (same < most && prev[same] == at[same]) {
            same++;
        }
        shared[i] = same;
        rest[i] = lens[i] - same;
        buf_append(payload, at + same, (size_t)rest[i]);
        prev = at;
        at += lens[i];
    }
    ints_encode(shared, count, streams);
    ints_encode(rest, count, streams);
    free(shared);
}

/* ---- prefix and number ---- */

#define HEX_STREAM_DIGITS 16u /* that one integer holds */
#define HEX_DIGITS_MAX    64u
#define DEC_DIGITS_MAX    18u

struct number_form {
    uint8_t radix, digits; /* digits 0: as many as the number has */
    uint16_t prefix_bytes;
};

static uint32_t hex_streams(uint8_t digits)
{
    return (digits + HEX_STREAM_DIGITS - 1) / HEX_STREAM_DIGITS;
}

static bool is_decimal(char c)
{
    return c >= '0' && c <= '9';
}

/* Bytes that all strings begin with, at most the shortest of them. */
static size_t common_prefix(struct str bytes, const uint64_t *lens, uint32_t count)
{
    size_t same = (size_t)lens[0];
    const char *at = bytes.ptr;
    for (uint32_t i = 0; i < count && same > 0; i++) {
        same = MIN_OF(same, (size_t)lens[i]);
        while (memcmp(at, bytes.ptr, same) != 0) {
            same--;
        }
        at += lens[i];
    }
    return same;
}

/* Digits of the radix at the end of the first string, from `begin` on. */
static size_t digits_at_end(struct str first, size_t begin, bool is_hex)
{
    size_t at = first.len;
    while (at > begin &&
           (is_hex ? hex_digit(first.ptr[at - 1]) >= 0 : is_decimal(first.ptr[at - 1]))) {
        at--;
    }
    return first.len - at;
}

/* The number of a string that has the form; false where it has not. */
static bool parse_decimal(const char *at, size_t len, uint8_t digits, uint64_t *ret)
{
    if (len == 0 || len > DEC_DIGITS_MAX || (digits != 0 && len != digits) ||
        (digits == 0 && len > 1 && at[0] == '0')) {
        return false;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        if (!is_decimal(at[i])) {
            return false;
        }
        v = v * 10 + (uint64_t)(at[i] - '0');
    }
    *ret = v;
    return true;
}

static bool parse_hex(const char *at, size_t len, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0) {
            return false;
        }
        v = v << 4 | (uint64_t)digit;
    }
    *ret = v;
    return true;
}

/* The integers of the strings under this form; stream s of string i into numbers[s * count + i]. */
static bool parse_numbers(struct str bytes, const uint64_t *lens, uint32_t count,
                          const struct number_form *form, uint64_t *numbers)
{
    const char *at = bytes.ptr;
    for (uint32_t i = 0; i < count; i++) {
        const char *digits = at + form->prefix_bytes;
        size_t len = (size_t)lens[i] - form->prefix_bytes;
        if (form->radix == 10) {
            if (!parse_decimal(digits, len, form->digits, &numbers[i])) {
                return false;
            }
        } else {
            if (len != form->digits) {
                return false;
            }
            for (uint32_t s = 0; s < hex_streams(form->digits); s++) {
                size_t part = MIN_OF(len - s * HEX_STREAM_DIGITS, (size_t)HEX_STREAM_DIGITS);
                if (!parse_hex(digits + (size_t)s * HEX_STREAM_DIGITS, part,
                               &numbers[(size_t)s * count + i])) {
                    return false;
                }
            }
        }
        at += lens[i];
    }
    return true;
}

/* The form with this radix that the strings may have, from their common prefix and the first. */
static bool guess_form(struct str bytes, const uint64_t *lens, uint32_t count, bool is_hex,
                       struct number_form *ret)
{
    struct str first = {bytes.ptr, (size_t)lens[0]};
    bool is_fixed = true;
    for (uint32_t i = 1; i < count && is_fixed; i++) {
        is_fixed = lens[i] == lens[0];
    }
    size_t same = common_prefix(bytes, lens, count);
    size_t digits_max = is_hex ? HEX_DIGITS_MAX : DEC_DIGITS_MAX;
    size_t digits = 0;
    if (is_fixed) {
        digits = MIN_OF(digits_at_end(first, 0, is_hex), digits_max);
        digits = MIN_OF(digits, MAX_OF(first.len - same, (size_t)1)); /* what all share is prefix */
        if (digits == 0 || first.len - digits > same) {
            return false;
        }
        same = first.len - digits;
    } else if (is_hex) {
        return false;
    } else {
        same = MIN_OF(same, first.len - digits_at_end(first, 0, false));
    }
    if (same > UINT16_MAX) {
        return false;
    }
    *ret = (struct number_form){is_hex ? 16 : 10, (uint8_t)digits, (uint16_t)same};
    return true;
}

/* Append as prefix and number, where the strings are that; false, and nothing, where not. */
static bool encode_number(struct str bytes, const uint64_t *lens, uint32_t count, struct buf *out)
{
    if (count == 0) {
        return false;
    }
    for (int is_hex = 0; is_hex <= 1; is_hex++) {
        struct number_form form = {0};
        if (!guess_form(bytes, lens, count, is_hex != 0, &form)) {
            continue;
        }
        uint32_t streams = form.radix == 16 ? hex_streams(form.digits) : 1;
        uint64_t *numbers = calloc((size_t)count * streams, sizeof(*numbers));
        if (numbers == NULL) {
            out->is_bad = true;
            return true;
        }
        bool is_taken = parse_numbers(bytes, lens, count, &form, numbers);
        if (is_taken) {
            buf_u8(out, form.radix);
            buf_u8(out, form.digits);
            buf_u16(out, form.prefix_bytes);
            buf_append(out, bytes.ptr, form.prefix_bytes);
            for (uint32_t s = 0; s < streams; s++) {
                ints_encode(numbers + (size_t)s * count, count, out);
            }
        }
        free(numbers);
        if (is_taken) {
            return true;
        }
    }
    return false;
}

enum err_code strs_encode(struct str bytes, const uint64_t *lens, uint32_t count, bool is_sorted,
                          struct buf *out, enum strs_kind *ret_kind, bool *ret_is_lz4,
                          struct err *err)
{
    if (bytes.len > STRS_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, "%zu bytes of strings, at most %u", bytes.len,
                       STRS_BYTES_MAX);
    }
    CLEANUP(buf_freep) struct buf raw = {0};
    CLEANUP(buf_freep) struct buf streams = {0};
    CLEANUP(buf_freep) struct buf stored = {0};
    enum strs_kind kind = STRS_PLAIN;
    struct str payload = bytes;
    bool is_lz4 = false;
    if (pack_uuids(bytes, lens, count, &raw)) {
        kind = STRS_UUID;
        payload = buf_as_str(&raw);
        buf_append(&stored, payload.ptr, payload.len);
    } else {
        if (is_sorted) {
            kind = STRS_FRONT;
            encode_front(bytes, lens, count, &streams, &raw);
            payload = buf_as_str(&raw);
        } else {
            ints_encode(lens, count, &streams);
        }
        is_lz4 = lz_encode(payload, &stored);
        CLEANUP(buf_freep) struct buf number = {0};
        if (encode_number(bytes, lens, count, &number) &&
            (number.is_bad || number.len < streams.len + stored.len)) {
            kind = STRS_NUMBER;
            is_lz4 = false;
            payload.len = 0;
            buf_clear(&stored);
            buf_clear(&streams);
            buf_append(&streams, number.ptr, number.len);
            streams.is_bad |= number.is_bad;
        }
    }
    ERR_TRY(buf_check(&raw, err));
    ERR_TRY(buf_check(&streams, err));
    ERR_TRY(buf_check(&stored, err));
    buf_u8(out, (uint8_t)kind);
    buf_u8(out, is_lz4);
    buf_u16(out, 0);
    buf_u32(out, (uint32_t)bytes.len);
    buf_u32(out, (uint32_t)payload.len);
    buf_u32(out, (uint32_t)stored.len);
    buf_append(out, streams.ptr, streams.len);
    buf_append(out, stored.ptr, stored.len);
    *ret_kind = kind;
    *ret_is_lz4 = is_lz4;
    return buf_check(out, err);
}

/* ---- decoding ---- */

struct strs_head {
    enum strs_kind kind;
    bool is_lz4;
    uint32_t total_bytes, raw_bytes, stored_bytes;
};

enum strs_kind strs_peek(const struct rd *rd, bool *ret_is_lz4)
{
    if (rd_left(rd) < HEAD_BYTES) {
        return (enum strs_kind)0;
    }
    *ret_is_lz4 = rd->ptr[rd->off + 1] != 0;
    return (enum strs_kind)rd->ptr[rd->off];
}

static enum err_code read_head(struct rd *rd, struct strs_head *ret, struct err *err)
{
    unsigned kind = rd_u8(rd);
    unsigned is_lz4 = rd_u8(rd);
    unsigned zero = rd_u16(rd);
    ret->total_bytes = rd_u32(rd);
    ret->raw_bytes = rd_u32(rd);
    ret->stored_bytes = rd_u32(rd);
    if (rd->is_bad) {
        return err_set(err, ERR_CORRUPT, "strings: no head");
    }
    if (kind < STRS_PLAIN || kind > STRS_NUMBER) {
        return err_set(err, ERR_UNSUPPORTED, "strings: kind %u", kind);
    }
    if (is_lz4 > 1 || zero != 0 || (is_lz4 != 0 && kind == STRS_UUID) ||
        (kind == STRS_NUMBER && (is_lz4 != 0 || ret->raw_bytes != 0)) ||
        ret->total_bytes > STRS_BYTES_MAX) {
        return err_set(err, ERR_CORRUPT, "strings: head of kind %u with flags %u, %u, %u bytes",
                       kind, is_lz4, zero, ret->total_bytes);
    }
    ret->kind = (enum strs_kind)kind;
    ret->is_lz4 = is_lz4 != 0;
    if (ret->stored_bytes > rd_left(rd) ||
        (ret->is_lz4 ? ret->raw_bytes / LZ_RATIO_MAX > ret->stored_bytes
                     : ret->raw_bytes != ret->stored_bytes)) {
        return err_set(err, ERR_CORRUPT, "strings: payload of %u bytes stored as %u",
                       ret->raw_bytes, ret->stored_bytes);
    }
    return ERR_OK;
}

/* Before anything is allocated for `count`: sorted strings differ, so each but the first has a byte
 * of its own; UUIDs have sixteen; numbers, which all have a digit, are bounded by the length of the
 * text. (The count of PLAIN is bounded by who asks: a block's rows.) */
static bool count_is_possible(const struct strs_head *head, uint32_t count)
{
    switch (head->kind) {
    case STRS_FRONT: return count <= head->raw_bytes + UINT64_C(1);
    case STRS_UUID: return head->raw_bytes == (uint64_t)count * 16;
    case STRS_NUMBER: return count <= head->total_bytes;
    case STRS_PLAIN: return true;
    }
    return false;
}

/* Lengths in offs[1 ..] become offsets; their sum must be `total`. */
static enum err_code sum_offsets(uint32_t *offs, uint32_t count, uint32_t total, struct err *err)
{
    uint64_t sum = 0;
    offs[0] = 0;
    for (uint32_t i = 1; i <= count; i++) {
        sum += offs[i];
        offs[i] = (uint32_t)sum;
    }
    /* count <= 2^32 lengths below 2^32: the 64-bit sum does not wrap, and if it ends right, each
     * fits */
    if (sum != total) {
        return err_set(err, ERR_CORRUPT, "strings: lengths sum to %llu, not %u",
                       (unsigned long long)sum, total);
    }
    return ERR_OK;
}

static enum err_code decode_plain(struct rd *rd, const struct strs_head *head, uint32_t count,
                                  struct arena *arena, uint32_t *offs, const char **ret_bytes,
                                  struct err *err)
{
    ERR_TRY(ints_decode32(rd, count, UINT64_C(1) << 32, offs + 1, err));
    ERR_TRY(sum_offsets(offs, count, head->total_bytes, err));
    if (head->raw_bytes != head->total_bytes) {
        return err_set(err, ERR_CORRUPT, "strings: %u bytes in a payload of %u", head->total_bytes,
                       head->raw_bytes);
    }
    struct str raw = {0};
    ERR_TRY(lz_decode(rd, head->is_lz4, head->raw_bytes, head->stored_bytes, arena, &raw, err));
    if (!head->is_lz4) { /* the cache's bytes: they may go away */
        void *copy = NULL;
        ERR_TRY(arena_alloc_raw(arena, raw.len, &copy, err));
        if (raw.len > 0) {
            memcpy(copy, raw.ptr, raw.len);
        }
        raw.ptr = copy;
    }
    *ret_bytes = raw.ptr;
    return ERR_OK;
}

static enum err_code decode_uuids(struct rd *rd, const struct strs_head *head, uint32_t count,
                                  struct arena *arena, uint32_t *offs, const char **ret_bytes,
                                  struct err *err)
{
    struct str raw = {0};
    ERR_TRY(lz_decode(rd, false, head->raw_bytes, head->stored_bytes, arena, &raw, err));
    if (raw.len != (size_t)count * UUID_PACKED_BYTES || head->total_bytes != (size_t)count * UUID_TEXT_BYTES) {
        return err_set(err, ERR_CORRUPT, "strings: %u UUIDs in %zu bytes, %u of text", count,
                       raw.len, head->total_bytes);
    }
    void *text = NULL;
    ERR_TRY(arena_alloc_raw(arena, head->total_bytes, &text, err));
    for (uint32_t i = 0; i < count; i++) {
        offs[i] = i * UUID_TEXT_BYTES;
        uuid_text_unpack((const uint8_t *)raw.ptr + (size_t)i * UUID_PACKED_BYTES, (char *)text + offs[i]);
    }
    offs[count] = head->total_bytes;
    *ret_bytes = text;
    return ERR_OK;
}

static enum err_code decode_front(struct rd *rd, const struct strs_head *head, uint32_t count,
                                  struct arena *arena, uint32_t *offs, const char **ret_bytes,
                                  struct err *err)
{
    uint32_t *shared = NULL;
    uint32_t *rest = NULL;
    void *text = NULL;
    ERR_TRY(arena_alloc_raw(arena, (size_t)count * sizeof(*shared), (void **)&shared, err));
    ERR_TRY(arena_alloc_raw(arena, (size_t)count * sizeof(*rest), (void **)&rest, err));
    ERR_TRY(ints_decode32(rd, count, UINT64_C(1) << 32, shared, err));
    ERR_TRY(ints_decode32(rd, count, UINT64_C(1) << 32, rest, err));
    struct str raw = {0};
    ERR_TRY(lz_decode(rd, head->is_lz4, head->raw_bytes, head->stored_bytes, arena, &raw, err));
    ERR_TRY(arena_alloc_raw(arena, head->total_bytes, &text, err));
    char *out = text;
    uint64_t at = 0;   /* in `out` */
    uint64_t from = 0; /* in `raw` */
    uint64_t prev_len = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (shared[i] > prev_len || rest[i] > raw.len - from ||
            (uint64_t)shared[i] + rest[i] > head->total_bytes - at) {
            return err_set(err, ERR_CORRUPT, "strings: value %u of %u: %u shared, %u own bytes", i,
                           count, shared[i], rest[i]);
        }
        offs[i] = (uint32_t)at;
        if (shared[i] > 0) {
            memcpy(out + at, out + at - prev_len, shared[i]); /* the string before ends at `at` */
        }
        if (rest[i] > 0) {
            memcpy(out + at + shared[i], raw.ptr + from, rest[i]);
        }
        prev_len = (uint64_t)shared[i] + rest[i];
        at += prev_len;
        from += rest[i];
    }
    if (at != head->total_bytes || from != raw.len) {
        return err_set(err, ERR_CORRUPT, "strings: %u bytes said, %llu found", head->total_bytes,
                       (unsigned long long)at);
    }
    offs[count] = head->total_bytes;
    *ret_bytes = out;
    return ERR_OK;
}

/* `digits` characters of v, most significant first. */
static void put_hex(char *out, uint64_t v, size_t digits)
{
    static const char chars[] = "0123456789abcdef";
    for (size_t i = digits; i-- > 0; v >>= 4) {
        out[i] = chars[v & 15];
    }
}

static void put_decimal(char *out, uint64_t v, size_t digits)
{
    for (size_t i = digits; i-- > 0; v /= 10) {
        out[i] = (char)('0' + v % 10);
    }
}

static size_t decimal_digits(uint64_t v)
{
    size_t digits = 1;
    for (; v >= 10; v /= 10) {
        digits++;
    }
    return digits;
}

static enum err_code read_form(struct rd *rd, struct number_form *ret, struct str *ret_prefix,
                               struct err *err)
{
    ret->radix = rd_u8(rd);
    ret->digits = rd_u8(rd);
    ret->prefix_bytes = rd_u16(rd);
    *ret_prefix = rd_bytes(rd, ret->prefix_bytes);
    bool is_good = ret->radix == 16 ? ret->digits >= 1 && ret->digits <= HEX_DIGITS_MAX
                                    : ret->radix == 10 && ret->digits <= DEC_DIGITS_MAX;
    if (rd->is_bad || !is_good) {
        return err_set(err, ERR_CORRUPT, "strings: %u digits of radix %u", ret->digits, ret->radix);
    }
    return ERR_OK;
}

/* Where each string begins, into `offs`: all as long, or as their decimal numbers are. */
static enum err_code number_offsets(const struct number_form *form, const uint64_t *numbers,
                                    uint32_t count, uint32_t total, uint32_t *offs, struct err *err)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t digits = form->digits != 0 ? form->digits : decimal_digits(numbers[i]);
        offs[i] = (uint32_t)at;
        at += form->prefix_bytes + digits;
        if (at > total || digits > HEX_DIGITS_MAX) {
            break;
        }
    }
    offs[count] = total;
    return at == total
               ? ERR_OK
               : err_set(err, ERR_CORRUPT, "strings: not %u bytes in %u numbers", total, count);
}

static enum err_code decode_numbers(struct rd *rd, const struct strs_head *head, uint32_t count,
                                    struct arena *arena, uint32_t *offs, const char **ret_bytes,
                                    struct err *err)
{
    struct number_form form = {0};
    struct str prefix = {0};
    void *text = NULL;
    ERR_TRY(read_form(rd, &form, &prefix, err));
    ERR_TRY(arena_alloc_raw(arena, head->total_bytes, &text, err));
    struct arena_mark mark = arena_mark(arena);
    uint64_t *numbers = NULL;
    ERR_TRY(arena_alloc_raw(arena, (size_t)count * sizeof(*numbers), (void **)&numbers, err));
    uint32_t streams = form.radix == 16 ? hex_streams(form.digits) : 1;
    for (uint32_t s = 0; s < streams; s++) {
        ERR_TRY(ints_decode64(rd, count, numbers, err));
        if (s == 0) {
            ERR_TRY(number_offsets(&form, numbers, count, head->total_bytes, offs, err));
        }
        size_t skip = form.prefix_bytes + (size_t)s * HEX_STREAM_DIGITS;
        for (uint32_t i = 0; i < count; i++) {
            char *out = (char *)text + offs[i];
            size_t digits = offs[i + 1] - offs[i] - skip;
            if (s == 0 && prefix.len > 0) {
                memcpy(out, prefix.ptr, prefix.len);
            }
            if (form.radix == 16) {
                put_hex(out + skip, numbers[i], MIN_OF(digits, (size_t)HEX_STREAM_DIGITS));
            } else {
                put_decimal(out + skip, numbers[i], digits);
            }
        }
    }
    arena_rewind(arena, mark);
    *ret_bytes = text;
    return ERR_OK;
}

enum err_code strs_decode(struct rd *rd, uint32_t count, struct arena *arena,
                          const uint32_t **ret_offs, const char **ret_bytes, struct err *err)
{
    struct strs_head head = {0};
    ERR_TRY(read_head(rd, &head, err));
    if (!count_is_possible(&head, count)) {
        return err_set(err, ERR_CORRUPT, "strings: %u of them in %u bytes", count, head.raw_bytes);
    }
    uint32_t *offs = NULL;
    ERR_TRY(arena_alloc_raw(arena, ((size_t)count + 1) * sizeof(*offs), (void **)&offs, err));
    switch (head.kind) {
    case STRS_PLAIN: ERR_TRY(decode_plain(rd, &head, count, arena, offs, ret_bytes, err)); break;
    case STRS_UUID: ERR_TRY(decode_uuids(rd, &head, count, arena, offs, ret_bytes, err)); break;
    case STRS_FRONT: ERR_TRY(decode_front(rd, &head, count, arena, offs, ret_bytes, err)); break;
    case STRS_NUMBER: ERR_TRY(decode_numbers(rd, &head, count, arena, offs, ret_bytes, err)); break;
    }
    *ret_offs = offs;
    return ERR_OK;
}
