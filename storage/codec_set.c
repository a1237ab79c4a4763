/* storage/codec_set.c - see codec_set.h.
 *
 *    u32 cookie            low 16 bits 12347: has runs, size = (cookie >> 16) + 1, then (size + 7)
 * / 8 bytes of flags, bit i: container i is runs;  or 12346: no runs, then u32 size size x { u16
 * key, u16 count - 1 } size x u32 offset     from the first byte; left out with runs and size < 4
 *    containers            runs: u16 n, n x { u16 first, u16 length - 1 }; count <= 4096: count x
 * u16; else 1024 x u64 */
#include "storage/codec_set.h"

#include "storage/base/rd.h"

#include <endian.h>
#include <string.h>

#define COOKIE_RUNS     12347u
#define COOKIE_NO_RUNS  12346u
#define OFFSETS_FROM    4u /* with runs, the offsets are there from this many containers on */
#define ARRAY_MAX       4096u
#define BITSET_BYTES    8192u
#define CONTAINERS_MAX  65536u
#define CONTAINER_COUNT 65536u /* members at most */

size_t set_encode(const roaring_bitmap_t *set, struct buf *out)
{
    size_t bytes = roaring_bitmap_portable_size_in_bytes(set);
    uint8_t *at = buf_reserve(out, bytes);
    if (at != NULL) {
        roaring_bitmap_portable_serialize(set, (char *)at);
        out->len += bytes;
    }
    return bytes;
}

struct set_head {
    uint32_t size;
    const uint8_t *run_flags; /* or NULL */
    const uint8_t *keys;      /* size x { key, count - 1 } */
    const uint8_t *offs;      /* or NULL */
    size_t body_off;
};

static uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)get_u16(at) | (uint32_t)get_u16(at + 2) << 16;
}

static enum err_code read_head(struct str bytes, struct set_head *ret, struct err *err)
{
    struct rd rd = rd_init(bytes);
    struct set_head head = {0};
    uint32_t cookie = rd_u32(&rd);
    if ((cookie & 0xffff) == COOKIE_RUNS) {
        head.size = (cookie >> 16) + 1;
        head.run_flags = (const uint8_t *)rd_bytes(&rd, (head.size + 7) / 8).ptr;
    } else if (cookie == COOKIE_NO_RUNS) {
        head.size = rd_u32(&rd);
    } else {
        return err_set(err, ERR_CORRUPT, "set: cookie %u", cookie);
    }
    if (rd.is_bad || head.size > CONTAINERS_MAX) {
        return err_set(err, ERR_CORRUPT, "set: %u containers", head.size);
    }
    head.keys = (const uint8_t *)rd_bytes(&rd, 4 * (size_t)head.size).ptr;
    if (head.run_flags == NULL || head.size >= OFFSETS_FROM) {
        head.offs = (const uint8_t *)rd_bytes(&rd, 4 * (size_t)head.size).ptr;
    }
    if (rd.is_bad) {
        return err_set(err, ERR_CORRUPT, "set: ends in the directory of %u containers", head.size);
    }
    head.body_off = rd.off;
    *ret = head;
    return ERR_OK;
}

static uint32_t head_key(const struct set_head *head, uint32_t idx)
{
    return get_u16(head->keys + 4 * (size_t)idx);
}

static uint32_t head_count(const struct set_head *head, uint32_t idx)
{
    return get_u16(head->keys + 4 * (size_t)idx + 2) + 1u;
}

static bool head_is_runs(const struct set_head *head, uint32_t idx)
{
    return head->run_flags != NULL && (head->run_flags[idx / 8] >> (idx % 8) & 1) != 0;
}

/* Bytes of container idx at `at`; 0 where it does not fit. */
static size_t container_bytes(const struct set_head *head, uint32_t idx, struct str bytes,
                              size_t at)
{
    size_t left = bytes.len - at;
    size_t want = 0;
    if (head_is_runs(head, idx)) {
        if (left < 2) {
            return 0;
        }
        want = 2 + 4 * (size_t)get_u16((const uint8_t *)bytes.ptr + at);
    } else {
        uint32_t count = head_count(head, idx);
        want = count <= ARRAY_MAX ? 2 * (size_t)count : BITSET_BYTES;
    }
    return want <= left ? want : 0;
}

/* Each expands into `out` when it is not NULL, and returns how many members there are, 0 for damage
 * (no container is empty); *ret_last is the largest. */
static uint32_t expand_runs(const uint8_t *at, uint16_t *out, uint32_t *ret_last)
{
    uint32_t run_count = get_u16(at);
    uint32_t count = 0;
    uint32_t next = 0; /* smallest that may come */
    for (uint32_t i = 0; i < run_count; i++) {
        uint32_t first = get_u16(at + 2 + 4 * (size_t)i);
        uint32_t last = first + get_u16(at + 4 + 4 * (size_t)i);
        if (first < next || last >= CONTAINER_COUNT) {
            return 0;
        }
        if (out != NULL) {
            for (uint32_t v = first; v <= last; v++) {
                out[count++] = (uint16_t)v;
            }
        } else {
            count += last - first + 1;
        }
        next = last + 1;
        *ret_last = last;
    }
    return count;
}

static uint32_t expand_array(const uint8_t *at, uint32_t count, uint16_t *out, uint32_t *ret_last)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t v = get_u16(at + 2 * (size_t)i);
        if (v < next) {
            return 0;
        }
        next = v + 1;
        if (out != NULL) {
            out[i] = (uint16_t)v;
        }
    }
    *ret_last = next - 1;
    return count;
}

static uint32_t expand_bitset(const uint8_t *at, uint16_t *out, uint32_t *ret_last)
{
    uint32_t count = 0;
    for (uint32_t w = 0; w < BITSET_BYTES / 8; w++) {
        uint64_t word = 0;
        memcpy(&word, at + 8 * (size_t)w, 8);
        word = le64toh(word);
        if (word == 0) {
            continue;
        }
        *ret_last = w * 64 + 63 - (uint32_t)__builtin_clzll(word);
        if (out == NULL) {
            count += (uint32_t)__builtin_popcountll(word);
            continue;
        }
        for (; word != 0; word &= word - 1) {
            out[count++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(word));
        }
    }
    return count;
}

static enum err_code expand(const struct set_head *head, uint32_t idx, struct str bytes, size_t at,
                            uint16_t *out, uint32_t *ret_last, struct err *err)
{
    const uint8_t *body = (const uint8_t *)bytes.ptr + at;
    uint32_t want = head_count(head, idx);
    uint32_t got = 0;
    if (head_is_runs(head, idx)) {
        got = expand_runs(body, out, ret_last);
    } else if (want <= ARRAY_MAX) {
        got = expand_array(body, want, out, ret_last);
    } else {
        got = expand_bitset(body, out, ret_last);
    }
    if (got != want) {
        return err_set(err, ERR_CORRUPT, "set: container %u: %u members where %u are said", idx,
                       got, want);
    }
    return ERR_OK;
}

enum err_code set_check(struct str bytes, uint32_t last, uint64_t *ret_count, struct err *err)
{
    struct set_head head = {0};
    ERR_TRY(read_head(bytes, &head, err));
    size_t at = head.body_off;
    uint64_t count = 0;
    for (uint32_t i = 0; i < head.size; i++) {
        size_t len = container_bytes(&head, i, bytes, at);
        if (len == 0 || (head.offs != NULL && get_u32(head.offs + 4 * (size_t)i) != at) ||
            (i > 0 && head_key(&head, i) <= head_key(&head, i - 1))) {
            return err_set(err, ERR_CORRUPT, "set: container %u of %u is out of place", i,
                           head.size);
        }
        uint32_t container_last = 0;
        ERR_TRY(expand(&head, i, bytes, at, NULL, &container_last, err));
        uint32_t member = head_key(&head, i) << 16 | container_last;
        if (member > last) {
            return err_set(err, ERR_CORRUPT, "set: member %u, at most %u", member, last);
        }
        count += head_count(&head, i);
        at += len;
    }
    if (at != bytes.len) {
        return err_set(err, ERR_CORRUPT, "set: %zu bytes after it", bytes.len - at);
    }
    *ret_count = count;
    return ERR_OK;
}

enum err_code set_decode(struct str bytes, uint32_t last, uint64_t *ret_count,
                         roaring_bitmap_t **ret, struct err *err)
{
    uint64_t count = 0;
    ERR_TRY(set_check(bytes, last, &count, err));
    roaring_bitmap_t *set = roaring_bitmap_portable_deserialize_safe(bytes.ptr, bytes.len);
    if (set == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a set of %zu bytes", bytes.len);
    }
    *ret_count = count;
    *ret = set;
    return ERR_OK;
}

/* Container idx starts where the offsets say, or after those before it. */
static enum err_code container_find(const struct set_head *head, uint32_t idx, struct str bytes,
                                    size_t *ret_at, struct err *err)
{
    size_t at = head->body_off;
    if (head->offs != NULL) {
        at = get_u32(head->offs + 4 * (size_t)idx);
    } else {
        for (uint32_t i = 0; i < idx; i++) {
            at += container_bytes(head, i, bytes, at); /* 0 at damage: then the last one shows it */
        }
    }
    if (at < head->body_off || at > bytes.len || container_bytes(head, idx, bytes, at) == 0) {
        return err_set(err, ERR_CORRUPT, "set: container %u of %u is out of place", idx,
                       head->size);
    }
    *ret_at = at;
    return ERR_OK;
}

enum err_code set_container(struct str bytes, uint32_t key, uint32_t limit, uint16_t *out,
                            uint32_t *ret_count, struct err *err)
{
    struct set_head head = {0};
    ERR_TRY(read_head(bytes, &head, err));
    for (uint32_t i = 0; i < head.size && head_key(&head, i) <= key; i++) {
        if (head_key(&head, i) != key) {
            continue;
        }
        size_t at = 0;
        uint32_t last = 0;
        ERR_TRY(container_find(&head, i, bytes, &at, err));
        ERR_TRY(expand(&head, i, bytes, at, out, &last, err));
        if (last >= limit) {
            return err_set(err, ERR_CORRUPT, "set: member %u in a block of %u rows", last, limit);
        }
        *ret_count = head_count(&head, i);
        return ERR_OK;
    }
    *ret_count = 0;
    return ERR_OK;
}
