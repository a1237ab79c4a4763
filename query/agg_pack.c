#include "query/agg_pack.h"

#include "query/subject_bits.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define SUBJECTS_CHUNK 1024u

enum users_form { USERS_LIST, USERS_WORDS };

bool acc_has_any(const struct acc_pool *pool, enum acc_kind kind, const union acc_cell *cell)
{
    return kind == ACC_USERS ? acc_has_users(pool, cell) : cell->count != 0;
}

/* ---- users ---- */

/* 64 subjects a word, from `first_word` * 64 on. */
struct users_words {
    uint32_t first_word, count;
    const uint64_t *words;
};

/* The words of a set without the empty ones at both ends. */
static struct users_words words_of(const struct acc_pool *pool, const struct acc_users *users)
{
    uint32_t begin = 0;
    uint32_t end = pool->word_count;
    ASSERT(pool->subject_base % 64 == 0);
    while (begin < end && users->words[begin] == 0) {
        begin++;
    }
    while (end > begin && users->words[end - 1] == 0) {
        end--;
    }
    return (struct users_words){pool->subject_base / 64 + begin, end - begin, users->words + begin};
}

/* Up to SUBJECTS_CHUNK members from word *at on, which is moved behind the words that were taken. */
static uint32_t words_list(const struct users_words *from, uint32_t *at,
                           uint32_t out[SUBJECTS_CHUNK])
{
    uint32_t count = 0;
    for (; *at < from->count && count + 64 <= SUBJECTS_CHUNK; (*at)++) {
        uint32_t base = (from->first_word + *at) * 64;
        for (uint64_t word = from->words[*at]; word != 0; word &= word - 1) {
            out[count++] = base + (uint32_t)__builtin_ctzll(word);
        }
    }
    return count;
}

static enum err_code add_words(struct acc_pool *pool, union acc_cell *into,
                               const struct users_words *from, struct err *err)
{
    ERR_TRY(acc_add_users(pool, into, NULL, 0, err)); /* so that there is a set */
    if (into->users->words != NULL) {
        ASSERT(pool->subject_base % 64 == 0);
        uint32_t first = from->first_word - pool->subject_base / 64;
        ASSERT(first <= pool->word_count);
        ASSERT(from->count <= pool->word_count - first);
        bits_or(into->users->words + first, from->words, from->count);
        return ERR_OK;
    }
    for (uint32_t at = 0; at < from->count;) {
        uint32_t subjects[SUBJECTS_CHUNK];
        uint32_t count = words_list(from, &at, subjects);
        ERR_TRY(acc_add_users(pool, into, subjects, count, err));
    }
    return ERR_OK;
}

static void pack_list_head(uint64_t count, struct buf *out)
{
    buf_u8(out, USERS_LIST);
    buf_varint(out, count);
    buf_align(out, sizeof(uint32_t));
}

/* As words where these are not longer than the list. */
static void pack_words(const struct users_words *from, struct buf *out)
{
    uint64_t count = bits_count(from->words, from->count);
    if (count * sizeof(uint32_t) < from->count * sizeof(uint64_t)) {
        pack_list_head(count, out);
        for (uint32_t at = 0; at < from->count;) {
            uint32_t subjects[SUBJECTS_CHUNK];
            uint32_t n = words_list(from, &at, subjects);
            buf_append(out, subjects, n * sizeof(*subjects));
        }
        return;
    }
    buf_u8(out, USERS_WORDS);
    buf_varint(out, from->first_word);
    buf_varint(out, from->count);
    buf_align(out, sizeof(uint64_t));
    buf_append(out, from->words, from->count * sizeof(uint64_t));
}

static void pack_users(const struct acc_pool *pool, const struct acc_users *users, struct buf *out)
{
    if (users->words != NULL) {
        struct users_words words = words_of(pool, users);
        pack_words(&words, out);
        return;
    }
    uint64_t count = roaring_bitmap_get_cardinality(users->bitmap);
    pack_list_head(count, out);
    uint8_t *at = buf_reserve(out, count * sizeof(uint32_t));
    if (at != NULL) {
        roaring_bitmap_to_uint32_array(users->bitmap, (uint32_t *)(void *)at);
    }
}

static enum err_code unpack_users(struct acc_pool *pool, union acc_cell *into, struct rd *rd,
                                  struct err *err)
{
    if (rd_u8(rd) == USERS_LIST) {
        uint32_t count = (uint32_t)rd_varint(rd);
        rd_align(rd, sizeof(uint32_t));
        struct str bytes = rd_bytes(rd, count * sizeof(uint32_t));
        return acc_add_users(pool, into, (const uint32_t *)(const void *)bytes.ptr, count, err);
    }
    struct users_words words = {.first_word = (uint32_t)rd_varint(rd)};
    words.count = (uint32_t)rd_varint(rd);
    rd_align(rd, sizeof(uint64_t));
    words.words = (const uint64_t *)(const void *)rd_bytes(rd, words.count * sizeof(uint64_t)).ptr;
    return add_words(pool, into, &words, err);
}

static enum err_code take_bitmap(struct acc_pool *pool, union acc_cell *into,
                                 const roaring_bitmap_t *from, struct err *err)
{
    uint32_t subjects[SUBJECTS_CHUNK];
    roaring_uint32_iterator_t it;
    roaring_init_iterator(from, &it);
    while (true) {
        uint32_t count = roaring_read_uint32_iterator(&it, subjects, SUBJECTS_CHUNK);
        if (count == 0) {
            return ERR_OK;
        }
        ERR_TRY(acc_add_users(pool, into, subjects, count, err));
    }
}

static enum err_code take_users(struct acc_pool *pool, union acc_cell *into,
                                const struct acc_pool *from_pool, const struct acc_users *from,
                                struct err *err)
{
    if (from->words == NULL) {
        return take_bitmap(pool, into, from->bitmap, err);
    }
    struct users_words words = words_of(from_pool, from);
    return add_words(pool, into, &words, err);
}

/* ---- unique values, sums, single values, all values ---- */

static void pack_unique(const struct acc_unique *set, struct buf *out)
{
    buf_varint(out, set->count);
    for (uint32_t i = 0; i < set->size; i++) {
        if (set->slots[i].lo != 0 || set->slots[i].hi != 0) {
            buf_u64(out, set->slots[i].lo);
            buf_u64(out, set->slots[i].hi);
        }
    }
}

static enum err_code unpack_unique(struct acc_pool *pool, union acc_cell *into, struct rd *rd,
                                   struct err *err)
{
    uint64_t count = rd_varint(rd);
    for (uint64_t i = 0; i < count; i++) {
        struct hash128 hash = {.lo = rd_u64(rd)};
        hash.hi = rd_u64(rd);
        ERR_TRY(acc_add_hash(pool, into, hash, err));
    }
    return ERR_OK;
}

static void pack_sum(const struct acc_sum *sum, struct buf *out)
{
    buf_u8(out, sum->wide != NULL ? 1 : 0);
    buf_varint(out, sum->count);
    if (sum->wide != NULL) {
        buf_append(out, sum->wide, sizeof(*sum->wide));
        return;
    }
    buf_append(out, &sum->m, sizeof(sum->m));
    buf_u8(out, sum->scale);
}

static enum err_code unpack_sum(struct acc_pool *pool, union acc_cell *into, struct rd *rd,
                                struct err *err)
{
    struct num_sum wide;
    struct acc_sum sum = {.wide = rd_u8(rd) != 0 ? &wide : NULL};
    const union acc_cell from = {.sum = &sum};
    sum.count = rd_varint(rd);
    if (sum.wide != NULL) {
        memcpy(&wide, rd_bytes(rd, sizeof(wide)).ptr, sizeof(wide));
    } else {
        memcpy(&sum.m, rd_bytes(rd, sizeof(sum.m)).ptr, sizeof(sum.m));
        sum.scale = rd_u8(rd);
    }
    return acc_merge(pool, ACC_SUM, into, &from, err);
}

static void pack_num(struct num n, struct buf *out)
{
    buf_zigzag(out, n.m);
    buf_u8(out, n.scale);
}

static struct num unpack_num(struct rd *rd)
{
    struct num n = {.m = rd_zigzag(rd)};
    n.scale = rd_u8(rd);
    return n;
}

static void pack_value(const struct acc_value *value, struct buf *out)
{
    buf_u8(out, (uint8_t)value->type);
    switch (value->type) {
    case COL_NUMBER: pack_num(value->number, out); break;
    case COL_STRING: buf_blob(out, value->string); break;
    default: buf_zigzag(out, value->i64); break;
    }
    buf_zigzag(out, value->at_ms);
    buf_blob(out, value->event_id);
}

static enum err_code unpack_value(struct acc_pool *pool, enum acc_kind kind, union acc_cell *into,
                                  struct rd *rd, struct err *err)
{
    struct acc_value value = {.type = (enum col_type)rd_u8(rd)};
    switch (value.type) {
    case COL_NUMBER: value.number = unpack_num(rd); break;
    case COL_STRING: value.string = rd_blob(rd); break;
    default: value.i64 = rd_zigzag(rd); break;
    }
    value.at_ms = rd_zigzag(rd);
    value.event_id = rd_blob(rd);
    return acc_add_value(pool, kind, into, &value, err);
}

static void pack_one(void *arg, struct num number)
{
    pack_num(number, arg);
}

static void pack_values(const struct acc_values *values, struct buf *out)
{
    buf_varint(out, values->count);
    acc_each_value(values, pack_one, out);
}

static enum err_code unpack_values(struct acc_pool *pool, union acc_cell *into, struct rd *rd,
                                   struct err *err)
{
    uint64_t count = rd_varint(rd);
    for (uint64_t i = 0; i < count; i++) {
        ERR_TRY(acc_add_number(pool, into, unpack_num(rd), err));
    }
    return ERR_OK;
}

/* ---- cells ---- */

void acc_pack(const struct acc_pool *pool, enum acc_kind kind, const union acc_cell *cell,
              struct buf *out)
{
    switch (kind) {
    case ACC_COUNT: buf_varint(out, cell->count); return;
    case ACC_USERS: pack_users(pool, cell->users, out); return;
    case ACC_UNIQUE: pack_unique(cell->unique, out); return;
    case ACC_SUM: pack_sum(cell->sum, out); return;
    case ACC_MIN:
    case ACC_MAX:
    case ACC_FIRST:
    case ACC_LAST: pack_value(cell->value, out); return;
    case ACC_VALUES: pack_values(cell->values, out); return;
    }
}

enum err_code acc_unpack(struct acc_pool *pool, enum acc_kind kind, union acc_cell *into,
                         struct rd *rd, struct err *err)
{
    switch (kind) {
    case ACC_COUNT: into->count += rd_varint(rd); return ERR_OK;
    case ACC_USERS: return unpack_users(pool, into, rd, err);
    case ACC_UNIQUE: return unpack_unique(pool, into, rd, err);
    case ACC_SUM: return unpack_sum(pool, into, rd, err);
    case ACC_MIN:
    case ACC_MAX:
    case ACC_FIRST:
    case ACC_LAST: return unpack_value(pool, kind, into, rd, err);
    case ACC_VALUES: return unpack_values(pool, into, rd, err);
    }
    return ERR_OK;
}

enum err_code acc_take(struct acc_pool *pool, enum acc_kind kind, union acc_cell *into,
                       const struct acc_pool *from_pool, const union acc_cell *from,
                       struct err *err)
{
    return kind == ACC_USERS ? take_users(pool, into, from_pool, from->users, err)
                             : acc_merge(pool, kind, into, from, err);
}
