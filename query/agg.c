#include "query/agg.h"

#include "query/subject_bits.h"

#include "query/grow.h"

#include <stdlib.h>

#define CHARGE_STEP_BYTES    ((size_t)64 << 10)
#define USERS_WORDS_MAX      16384u     /* of a set: a million subjects */
#define USERS_POOL_WORDS_MAX (1u << 20) /* of all sets of a task: 8 MiB */
#define BITMAP_BYTES         128u       /* of an empty bitmap and its first container */
#define BITMAP_ADD_BYTES     2u         /* of one more subject, at most, but for growth */
#define UNIQUE_SLOTS_MIN     16u
#define SLOTS_AHEAD          16u /* of a set, whose places in another are on their way */

enum acc_kind acc_kind_of(enum agg_kind kind)
{
    switch (kind) {
    case AGG_COUNT: return ACC_COUNT;
    case AGG_USERS: return ACC_USERS;
    case AGG_UNIQUE: return ACC_UNIQUE;
    case AGG_SUM:
    case AGG_AVG: return ACC_SUM;
    case AGG_MIN: return ACC_MIN;
    case AGG_MAX: return ACC_MAX;
    case AGG_FIRST: return ACC_FIRST;
    case AGG_LAST: return ACC_LAST;
    case AGG_QUANTILE: return ACC_VALUES;
    }
    return ACC_COUNT;
}

void acc_pool_init(struct acc_pool *pool, struct arena *arena)
{
    *pool = (struct acc_pool){.arena = arena};
}

void acc_pool_done(struct acc_pool *pool)
{
    for (struct acc_users *users = pool->users; users != NULL; users = users->next) {
        if (users->bitmap != NULL) {
            roaring_bitmap_free(users->bitmap);
        }
    }
    if (pool->arena != NULL) {
        budget_give(arena_budget(pool->arena), pool->taken_bytes);
    }
    *pool = (struct acc_pool){0};
}

/* ---- users ---- */

enum err_code acc_charge(struct acc_pool *pool, size_t bytes, struct err *err)
{
    pool->pending_bytes += bytes;
    if (pool->pending_bytes >= CHARGE_STEP_BYTES) {
        ERR_TRY(budget_take(arena_budget(pool->arena), pool->pending_bytes, err));
        pool->taken_bytes += pool->pending_bytes;
        pool->pending_bytes = 0;
    }
    return ERR_OK;
}

void acc_pool_subjects(struct acc_pool *pool, uint32_t begin, uint32_t end)
{
    uint32_t words = end <= begin ? 0 : (end - begin - 1) / 64 + 1;
    pool->subject_base = begin;
    pool->subject_end = end;
    pool->word_count = words <= USERS_WORDS_MAX ? words : 0;
    pool->words_left = USERS_POOL_WORDS_MAX;
}

static enum err_code acc_users_make(struct acc_pool *pool, union acc_cell *cell, struct err *err)
{
    struct acc_users *users = NULL;
    ERR_TRY(ARENA_NEW(pool->arena, 1, &users, err));
    if (pool->word_count > 0 && pool->words_left >= pool->word_count) {
        ERR_TRY(ARENA_NEW(pool->arena, pool->word_count, &users->words, err));
        pool->words_left -= pool->word_count;
    } else {
        ERR_TRY(acc_charge(pool, BITMAP_BYTES, err));
        users->bitmap = roaring_bitmap_create();
        if (users->bitmap == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory: no bitmap of subjects");
        }
    }
    users->last = UINT32_MAX; /* no subject has this number */
    users->next = pool->users;
    pool->users = users;
    cell->users = users;
    return ERR_OK;
}

enum err_code acc_add_user(struct acc_pool *pool, union acc_cell *cell, uint32_t subject,
                           struct err *err)
{
    if (cell->users == NULL) {
        ERR_TRY(acc_users_make(pool, cell, err));
    }
    struct acc_users *users = cell->users;
    if (users->words != NULL) {
        uint32_t bit = subject - pool->subject_base;
        ASSERT_DEBUG(bit / 64 < pool->word_count);
        users->words[bit / 64] |= UINT64_C(1) << (bit % 64);
        return ERR_OK;
    }
    if (users->last == subject) {
        return ERR_OK;
    }
    users->last = subject;
    roaring_bitmap_add(users->bitmap, subject);
    return acc_charge(pool, BITMAP_ADD_BYTES, err);
}

enum err_code acc_add_users(struct acc_pool *pool, union acc_cell *cell, const uint32_t *subjects,
                            uint32_t count, struct err *err)
{
    if (cell->users == NULL) {
        ERR_TRY(acc_users_make(pool, cell, err));
    }
    struct acc_users *users = cell->users;
    for (; count > 0 && subjects[0] < pool->subject_base; count--) {
        subjects++;
    }
    while (count > 0 && subjects[count - 1] >= pool->subject_end) {
        count--;
    }
    if (users->words != NULL) {
        bits_add(users->words, pool->subject_base, pool->word_count, subjects, count);
        return ERR_OK;
    }
    users->last = UINT32_MAX;
    size_t before = roaring_bitmap_size_in_bytes(users->bitmap);
    roaring_bitmap_add_many(users->bitmap, count, subjects);
    size_t after = roaring_bitmap_size_in_bytes(users->bitmap);
    return acc_charge(pool, after > before ? after - before : 0, err);
}

enum err_code acc_add_members(struct acc_pool *pool, union acc_cell *cell,
                              const struct subject_members *members, struct err *err)
{
    if (cell->users == NULL) {
        ERR_TRY(acc_users_make(pool, cell, err));
    }
    if (cell->users->words != NULL) {
        bits_add_members(cell->users->words, pool->subject_base, pool->subject_end, members);
        return ERR_OK;
    }
    struct members_cursor cursor = {0};
    uint32_t buffer[MEMBERS_PORTION];
    const uint32_t *subjects = NULL;
    uint32_t count = 0;
    while ((count = members_next(members, &cursor, buffer, MEMBERS_PORTION, &subjects)) > 0) {
        ERR_TRY(acc_add_users(pool, cell, subjects, count, err));
    }
    return ERR_OK;
}

void acc_drop_users(const struct acc_pool *pool, union acc_cell *cell, const roaring_bitmap_t *gone,
                    const uint64_t *gone_words)
{
    if (cell->users == NULL || gone == NULL) {
        return;
    }
    cell->users->last = UINT32_MAX;
    if (cell->users->words != NULL) {
        bits_andnot(cell->users->words, gone_words, pool->word_count);
    } else {
        roaring_bitmap_andnot_inplace(cell->users->bitmap, gone);
    }
}

bool acc_has_users(const struct acc_pool *pool, const union acc_cell *cell)
{
    if (cell->users == NULL) {
        return false;
    }
    return cell->users->words != NULL ? bits_count(cell->users->words, pool->word_count) > 0
                                      : !roaring_bitmap_is_empty(cell->users->bitmap);
}

void acc_put_users(const struct acc_pool *pool, const union acc_cell *cell, roaring_bitmap_t *into)
{
    const struct acc_users *users = cell->users;
    if (users->words == NULL) {
        roaring_bitmap_or_inplace(into, users->bitmap);
        return;
    }
    for (uint32_t w = 0; w < pool->word_count; w++) {
        uint32_t subjects[64];
        uint32_t count = 0;
        for (uint64_t bits = users->words[w]; bits != 0; bits &= bits - 1) {
            subjects[count++] = pool->subject_base + w * 64 + (uint32_t)__builtin_ctzll(bits);
        }
        roaring_bitmap_add_many(into, count, subjects);
    }
}

/* All sets as words: those that are bitmaps are few, of cells that came when room for words was spent. */
static enum err_code count_words(const struct acc_pool *pool, union acc_cell *const *cells,
                                 size_t cell_count, struct arena *scratch, uint64_t *ret,
                                 struct err *err)
{
    uint64_t *all = NULL;
    if (cell_count == 1 && cells[0]->users->words != NULL) {
        *ret = bits_count(cells[0]->users->words, pool->word_count);
        return ERR_OK;
    }
    struct arena_mark mark = arena_mark(scratch);
    ERR_TRY(ARENA_NEW(scratch, pool->word_count, &all, err));
    for (size_t i = 0; i < cell_count; i++) {
        if (cells[i]->users->words != NULL) {
            bits_or(all, cells[i]->users->words, pool->word_count);
        } else {
            bits_add_set(all, pool->subject_base, pool->word_count, cells[i]->users->bitmap);
        }
    }
    *ret = bits_count(all, pool->word_count);
    arena_rewind(scratch, mark);
    return ERR_OK;
}

static enum err_code count_bitmaps(union acc_cell *const *cells, size_t cell_count,
                                   struct arena *scratch, uint64_t *ret, struct err *err)
{
    const roaring_bitmap_t **bitmaps = NULL;
    struct arena_mark mark = arena_mark(scratch);
    ERR_TRY(ARENA_NEW(scratch, cell_count, &bitmaps, err));
    for (size_t i = 0; i < cell_count; i++) {
        bitmaps[i] = cells[i]->users->bitmap;
    }
    if (cell_count == 1) {
        *ret = roaring_bitmap_get_cardinality(bitmaps[0]);
    } else if (cell_count == 2) {
        *ret = roaring_bitmap_or_cardinality(bitmaps[0], bitmaps[1]);
    } else {
        roaring_bitmap_t *all = roaring_bitmap_or_many(cell_count, bitmaps);
        if (all == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory: no union of %zu sets", cell_count);
        }
        *ret = roaring_bitmap_get_cardinality(all);
        roaring_bitmap_free(all);
    }
    arena_rewind(scratch, mark);
    return ERR_OK;
}

enum err_code acc_count_users(const struct acc_pool *pool, union acc_cell *const *cells,
                              size_t cell_count, struct arena *scratch, uint64_t *ret,
                              struct err *err)
{
    *ret = 0;
    if (cell_count == 0) {
        return ERR_OK;
    }
    return pool->word_count > 0 ? count_words(pool, cells, cell_count, scratch, ret, err)
                                : count_bitmaps(cells, cell_count, scratch, ret, err);
}

/* ---- unique ---- */

static void unique_put(struct acc_unique *set, struct hash128 hash)
{
    uint32_t at = (uint32_t)hash.lo & (set->size - 1);
    while (set->slots[at].lo != 0 || set->slots[at].hi != 0) {
        if (set->slots[at].lo == hash.lo && set->slots[at].hi == hash.hi) {
            return;
        }
        at = (at + 1) & (set->size - 1);
    }
    set->slots[at] = hash;
    set->count++;
}

static enum err_code unique_grow(struct acc_pool *pool, struct acc_unique *set, struct err *err)
{
    struct acc_unique more = {.size = set->size == 0 ? UNIQUE_SLOTS_MIN : set->size * 2};
    if (more.size <= set->size) {
        return err_set(err, ERR_LIMIT, "more than %u different values", set->count);
    }
    ERR_TRY(ARENA_NEW(pool->arena, more.size, &more.slots, err));
    for (uint32_t i = 0; i < set->size; i++) {
        if (set->slots[i].lo != 0 || set->slots[i].hi != 0) {
            unique_put(&more, set->slots[i]);
        }
    }
    *set = more;
    return ERR_OK;
}

enum err_code acc_add_hash(struct acc_pool *pool, union acc_cell *cell, struct hash128 hash,
                           struct err *err)
{
    if (cell->unique == NULL) {
        ERR_TRY(ARENA_NEW(pool->arena, 1, &cell->unique, err));
    }
    struct acc_unique *set = cell->unique;
    if ((uint64_t)(set->count + 1) * 4 > (uint64_t)set->size * 3) {
        ERR_TRY(unique_grow(pool, set, err));
    }
    if (hash.lo == 0 && hash.hi == 0) {
        hash.lo = 1; /* {0, 0} marks a free slot */
    }
    unique_put(set, hash);
    return ERR_OK;
}

/* Room for so many before the table grows. */
static enum err_code unique_reserve(struct acc_pool *pool, struct acc_unique *set, uint64_t count,
                                    struct err *err)
{
    uint32_t size = UNIQUE_SLOTS_MIN;
    while (size < UINT32_MAX / 4 && count * 4 > (uint64_t)size * 3) {
        size *= 2;
    }
    set->size = size;
    return ARENA_NEW(pool->arena, size, &set->slots, err);
}

static enum err_code unique_add_set(struct acc_pool *pool, struct acc_unique *into,
                                    const struct acc_unique *from, struct err *err)
{
    for (uint32_t i = 0; i < from->size; i++) {
        if (i + SLOTS_AHEAD < from->size) {
            __builtin_prefetch(
                &into->slots[(uint32_t)from->slots[i + SLOTS_AHEAD].lo & (into->size - 1)]);
        }
        if (!acc_is_hash(from->slots[i])) {
            continue;
        }
        if ((uint64_t)(into->count + 1) * 4 > (uint64_t)into->size * 3) {
            ERR_TRY(unique_grow(pool, into, err));
        }
        unique_put(into, from->slots[i]);
    }
    return ERR_OK;
}

enum err_code acc_count_unique(union acc_cell *const *cells, size_t cell_count,
                               struct arena *scratch, uint64_t *ret, struct err *err)
{
    struct acc_pool pool = {.arena = scratch};
    struct acc_unique all = {0};
    uint64_t total = 0;
    uint64_t largest = 0;
    for (size_t i = 0; i < cell_count; i++) {
        total += cells[i]->unique->count;
        largest = MAX_OF(largest, (uint64_t)cells[i]->unique->count);
    }
    if (cell_count <= 1) {
        *ret = total;
        return ERR_OK;
    }
    struct arena_mark mark = arena_mark(scratch);
    ERR_TRY(unique_reserve(&pool, &all, MIN_OF(total, 2 * largest), err));
    for (size_t i = 0; i < cell_count; i++) {
        ERR_TRY(unique_add_set(&pool, &all, cells[i]->unique, err));
    }
    *ret = all.count;
    arena_rewind(scratch, mark);
    return ERR_OK;
}

/* ---- sums ---- */

static enum err_code sum_widen(struct acc_pool *pool, struct acc_sum *sum, struct err *err)
{
    struct num_sum *wide = NULL;
    ERR_TRY(ARENA_NEW(pool->arena, 1, &wide, err));
    num_sum_init(wide);
    if (sum->count > 0) {
        num_sum_add_decimal(wide, sum->m, sum->scale, sum->count);
    }
    sum->wide = wide;
    return ERR_OK;
}

/* Raise the sum, or the addend, to the larger of the two scales; false where that overflows. */
static bool decimal_align(__int128 *m, uint8_t *scale, uint8_t to_scale)
{
    while (*scale < to_scale) {
        if (__builtin_mul_overflow(*m, 10, m)) {
            return false;
        }
        (*scale)++;
    }
    return true;
}

static enum err_code sum_add(struct acc_pool *pool, struct acc_sum *sum, __int128 m, uint8_t scale,
                             uint64_t count, struct err *err)
{
    if (sum->wide == NULL) {
        __int128 a = sum->m;
        __int128 b = m;
        uint8_t a_scale = sum->count == 0 ? scale : sum->scale;
        uint8_t b_scale = scale;
        __int128 total = 0;
        if (decimal_align(&a, &a_scale, b_scale) && decimal_align(&b, &b_scale, a_scale) &&
            !__builtin_add_overflow(a, b, &total)) {
            sum->m = total;
            sum->scale = a_scale;
            sum->count += count;
            return ERR_OK;
        }
        ERR_TRY(sum_widen(pool, sum, err));
    }
    num_sum_add_decimal(sum->wide, m, scale, count);
    sum->count += count;
    return ERR_OK;
}

enum err_code acc_add_sum(struct acc_pool *pool, union acc_cell *cell, int64_t m, uint8_t scale,
                          struct err *err)
{
    if (cell->sum == NULL) {
        ERR_TRY(ARENA_NEW(pool->arena, 1, &cell->sum, err));
    }
    struct acc_sum *sum = cell->sum;
    if (scale != NUM_DOUBLE) {
        return sum_add(pool, sum, m, scale, 1, err);
    }
    if (sum->wide == NULL) {
        ERR_TRY(sum_widen(pool, sum, err));
    }
    num_sum_add(sum->wide, (struct num){.m = m, .scale = scale});
    sum->count++;
    return ERR_OK;
}

/* ---- single values ---- */

static int value_cmp(const struct acc_value *a, const struct acc_value *b)
{
    switch (a->type) {
    case COL_NUMBER: return num_cmp(a->number, b->number);
    case COL_STRING: return str_cmp(a->string, b->string);
    default: return (a->i64 > b->i64) - (a->i64 < b->i64);
    }
}

/* True where `a` is to be kept rather than `b`. */
static bool value_beats(enum acc_kind kind, const struct acc_value *a, const struct acc_value *b)
{
    if (kind == ACC_MIN) {
        return value_cmp(a, b) < 0;
    }
    if (kind == ACC_MAX) {
        return value_cmp(a, b) > 0;
    }
    int order = (a->at_ms > b->at_ms) - (a->at_ms < b->at_ms);
    if (order == 0) {
        order = str_cmp(a->event_id, b->event_id);
    }
    return kind == ACC_FIRST ? order < 0 : order > 0;
}

enum err_code acc_add_value(struct acc_pool *pool, enum acc_kind kind, union acc_cell *cell,
                            const struct acc_value *value, struct err *err)
{
    if (cell->value != NULL && !value_beats(kind, value, cell->value)) {
        return ERR_OK;
    }
    if (cell->value == NULL) {
        ERR_TRY(ARENA_NEW(pool->arena, 1, &cell->value, err));
    }
    struct acc_value own = *value;
    if (value->type == COL_STRING) {
        ERR_TRY(arena_str(pool->arena, value->string, &own.string, err));
    }
    if (kind == ACC_FIRST || kind == ACC_LAST) {
        ERR_TRY(arena_str(pool->arena, value->event_id, &own.event_id, err));
    }
    *cell->value = own;
    return ERR_OK;
}

/* ---- merging ---- */

static enum err_code acc_merge_sum(struct acc_pool *pool, union acc_cell *into,
                                   const struct acc_sum *from, struct err *err)
{
    if (into->sum == NULL) {
        ERR_TRY(ARENA_NEW(pool->arena, 1, &into->sum, err));
    }
    struct acc_sum *sum = into->sum;
    if (from->wide == NULL) {
        return from->count == 0 ? ERR_OK
                                : sum_add(pool, sum, from->m, from->scale, from->count, err);
    }
    if (sum->wide == NULL) {
        ERR_TRY(sum_widen(pool, sum, err));
    }
    num_sum_merge(sum->wide, from->wide);
    sum->count += from->count;
    return ERR_OK;
}

enum err_code acc_merge(struct acc_pool *pool, enum acc_kind kind, union acc_cell *into,
                        const union acc_cell *from, struct err *err)
{
    if (from->count == 0) { /* nothing yet, of any kind */
        return ERR_OK;
    }
    switch (kind) {
    case ACC_COUNT: into->count += from->count; return ERR_OK;
    case ACC_UNIQUE:
        for (uint32_t i = 0; i < from->unique->size; i++) {
            struct hash128 hash = from->unique->slots[i];
            if (hash.lo != 0 || hash.hi != 0) {
                ERR_TRY(acc_add_hash(pool, into, hash, err));
            }
        }
        return ERR_OK;
    case ACC_SUM: return acc_merge_sum(pool, into, from->sum, err);
    case ACC_MIN:
    case ACC_MAX:
    case ACC_FIRST:
    case ACC_LAST: return acc_add_value(pool, kind, into, from->value, err);
    case ACC_VALUES: return acc_merge_values(pool, into, from->values, err);
    case ACC_USERS: break;
    }
    ASSERT(kind != ACC_USERS); /* subject numbers of different shards mean different subjects */
    return ERR_OK;
}
