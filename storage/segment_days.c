/* storage/segment_days.c - which values of a column a subject has on each of its days, where it has several.
 *
 * Who changes platform once in a quarter has one value on nearly every day: by day, values say of such a subject what
 * segment_values.c says of the others. Made by one pass over the rows of subjects with several values when they are first asked
 * for, kept in the block cache.
 *
 *    in memory:   u32 count, entries, turned, turned_entries
 *                 u64 masks[entries]   i32 days[entries]   u32 subjects[count]   u32 ends[count]
 *                 i32 turned_days[turned]   u32 turned_ends[turned * (codes + 1)]   u32 turned_subjects[turned_entries]
 */
#include "storage/base/size.h"
#include "storage/read_held.h"
#include "storage/segment_int.h"

#define DAYS_BYTES_MAX ((size_t)16 << 20)
#define TURNED_FEW     1024 /* days, and ends, that are never too many */

/* Beside values_off of segment_values.c, whose lower half is the column. */
static uint64_t days_off(uint32_t col)
{
    return UINT64_C(1) << 62 | UINT64_C(1) << 32 | col;
}

/* Who has which value on a day. */
struct turned {
    uint32_t day_count, entry_count; /* 0: they are not turned over */
    int32_t *days;
    uint32_t *ends;
    uint32_t *subjects;
};

struct day_pass {
    const struct segment *segment;
    struct read_ctx *ctx;
    const struct seg_col *col;
    const struct subject_values *values;
    uint64_t *masks;
    int32_t *days;
    uint32_t *subjects;
    uint32_t *ends;
    uint32_t count, entry_count;
    struct turned turned;
};

static bool has_several(uint64_t mask)
{
    return (mask & (mask - 1)) != 0;
}

static void pass_row(struct day_pass *pass, uint32_t subject, int64_t time_ms, uint64_t bit)
{
    int32_t day = (int32_t)source_day(time_ms);
    if (pass->count == 0 || pass->subjects[pass->count - 1] != subject) {
        pass->ends[pass->count] = pass->entry_count;
        pass->subjects[pass->count++] = subject;
    }
    uint32_t begin = pass->count == 1 ? 0 : pass->ends[pass->count - 2];
    uint32_t last = pass->entry_count;
    if (last > begin && pass->days[last - 1] == day) { /* a subject's rows come by time */
        pass->masks[last - 1] |= bit;
    } else {
        pass->masks[last] = bit;
        pass->days[last] = day;
        pass->ends[pass->count - 1] = ++pass->entry_count;
    }
}

/* The rows of subjects with several values; `*at` is the first subject that may have rows in the block. */
static enum err_code pass_block(struct day_pass *pass, uint32_t block, uint32_t *at,
                                struct err *err)
{
    const struct subject_values *values = pass->values;
    struct vec times = {0};
    struct vec codes = {0};
    uint64_t none = UINT64_C(1) << pass->col->dict_count;
    uint32_t block_begin = block * BLOCK_ROWS;
    ERR_TRY(segment_block_read_once(pass->segment, pass->ctx,
                                    segment_find_col(pass->segment, COL_EVENT_TIME), block, &times,
                                    err));
    ERR_TRY(segment_block_read_once(pass->segment, pass->ctx, pass->col, block, &codes, err));
    uint32_t block_end = block_begin + times.rows;
    uint32_t place = 0; /* of the next value */
    uint32_t i = *at;
    for (uint32_t row = block_begin; row < block_end; row++) {
        while (values->rows[i + 1] <= row) {
            i++;
        }
        uint32_t in = row - block_begin;
        bool has_value = codes.kind == VEC_CODE &&
                         (codes.present == NULL || (codes.present[in / 64] >> (in % 64) & 1) != 0);
        uint64_t bit = has_value ? UINT64_C(1) << codes.u32[place] : none;
        place += has_value;
        if (has_several(values->masks[i])) {
            pass_row(pass, values->subjects[i], times.i64[in], bit);
        }
    }
    *at = i;
    return ERR_OK;
}

static enum err_code pass_alloc(struct day_pass *pass, struct err *err)
{
    const struct subject_values *values = pass->values;
    size_t rows = 0;
    size_t count = 0;
    void *memory = NULL;
    for (uint32_t i = 0; i < values->count; i++) {
        bool is_asked = has_several(values->masks[i]);
        count += is_asked;
        rows += is_asked ? values->rows[i + 1] - values->rows[i] : 0;
    }
    ERR_TRY(arena_alloc_raw(pass->ctx->arena, rows * sizeof(*pass->masks), &memory, err));
    pass->masks = memory;
    ERR_TRY(arena_alloc_raw(pass->ctx->arena, rows * sizeof(*pass->days), &memory, err));
    pass->days = memory;
    ERR_TRY(ARENA_NEW(pass->ctx->arena, count, &pass->subjects, err));
    return ARENA_NEW(pass->ctx->arena, count, &pass->ends, err);
}

/* The days, each once; *ret_idx: by day from the first on, which of them it is. */
static enum err_code find_days(struct day_pass *pass, uint32_t **ret_idx, struct err *err)
{
    struct arena *arena = pass->ctx->arena;
    int64_t first = INT32_MAX;
    int64_t last = INT32_MIN;
    for (uint32_t i = 0; i < pass->entry_count; i++) {
        first = MIN_OF(first, pass->days[i]);
        last = MAX_OF(last, pass->days[i]);
    }
    if (first > last || last - first >= (int64_t)pass->entry_count + TURNED_FEW) {
        return ERR_OK; /* few events, years apart */
    }
    uint32_t *idx = NULL;
    ERR_TRY(ARENA_NEW(arena, (size_t)(last - first + 1), &idx, err));
    for (uint32_t i = 0; i < pass->entry_count; i++) {
        idx[pass->days[i] - first] = 1;
    }
    ERR_TRY(ARENA_NEW(arena, MIN_OF((size_t)(last - first + 1), (size_t)pass->entry_count),
                      &pass->turned.days, err));
    for (int64_t day = first; day <= last; day++) {
        if (idx[day - first] != 0) {
            idx[day - first] = pass->turned.day_count;
            pass->turned.days[pass->turned.day_count++] = (int32_t)day;
        }
    }
    *ret_idx = idx;
    return ERR_OK;
}

/* The place of a day's first code in `ends`. */
static uint32_t *day_ends(const struct day_pass *pass, const uint32_t *idx, uint32_t entry)
{
    uint32_t day = idx[pass->days[entry] - pass->turned.days[0]];
    return pass->turned.ends + (size_t)day * (pass->col->dict_count + 1);
}

/* Entries by (day, code) in place of (subject, day): counted, then put in place. */
static enum err_code turn_over(struct day_pass *pass, struct err *err)
{
    struct arena *arena = pass->ctx->arena;
    struct turned *turned = &pass->turned;
    uint32_t *idx = NULL;
    ERR_TRY(find_days(pass, &idx, err));
    size_t cells = (size_t)turned->day_count * (pass->col->dict_count + 1);
    if (cells > (size_t)pass->entry_count + TURNED_FEW) {
        turned->day_count = 0;
    }
    if (turned->day_count == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(arena, cells + 1, &turned->ends, err));
    for (uint32_t i = 0; i < pass->entry_count; i++) {
        for (uint64_t rest = pass->masks[i]; rest != 0; rest &= rest - 1) {
            day_ends(pass, idx, i)[__builtin_ctzll(rest) + 1]++;
        }
    }
    for (size_t c = 0; c < cells; c++) {
        turned->ends[c + 1] += turned->ends[c];
    }
    turned->entry_count = turned->ends[cells];
    ERR_TRY(ARENA_NEW(arena, turned->entry_count, &turned->subjects, err));
    for (uint32_t s = 0, i = 0; s < pass->count; s++) {
        for (; i < pass->ends[s]; i++) {
            for (uint64_t rest = pass->masks[i]; rest != 0; rest &= rest - 1) {
                uint32_t *end = &day_ends(pass, idx, i)[__builtin_ctzll(rest)];
                turned->subjects[(*end)++] = pass->subjects[s];
            }
        }
    }
    return ERR_OK;
}

/* Where the parts of a block's data begin. */
struct layout {
    size_t masks, days, subjects, ends, turned_days, turned_ends, turned_subjects, len;
};
struct head {
    uint32_t count, entries, turned, turned_entries;
};

static struct layout layout_of(const struct head *head, uint32_t codes)
{
    struct layout at = {.masks = sizeof(*head)};
    at.days = at.masks + head->entries * sizeof(uint64_t);
    at.subjects = at.days + head->entries * sizeof(int32_t);
    at.ends = at.subjects + head->count * sizeof(uint32_t);
    at.turned_days = at.ends + head->count * sizeof(uint32_t);
    at.turned_ends = at.turned_days + head->turned * sizeof(int32_t);
    at.turned_subjects = at.turned_ends + head->turned * (codes + 1) * sizeof(uint32_t);
    at.len = at.turned_subjects + head->turned_entries * sizeof(uint32_t);
    return at;
}

static struct subject_days days_in(const struct cache_block *block, uint32_t codes)
{
    struct head head;
    const uint8_t *data = block->data;
    memcpy(&head, data, sizeof(head));
    const struct layout at = layout_of(&head, codes);
    return (struct subject_days){
        .count = head.count,
        .masks = (const uint64_t *)(const void *)(data + at.masks),
        .days = (const int32_t *)(const void *)(data + at.days),
        .subjects = (const uint32_t *)(const void *)(data + at.subjects),
        .ends = (const uint32_t *)(const void *)(data + at.ends),
        .turned_count = head.turned,
        .turned_days = (const int32_t *)(const void *)(data + at.turned_days),
        .turned_ends = (const uint32_t *)(const void *)(data + at.turned_ends),
        .turned_subjects = (const uint32_t *)(const void *)(data + at.turned_subjects),
    };
}

static void put(uint8_t *at, const void *from, size_t bytes)
{
    if (bytes > 0) {
        memcpy(at, from, bytes);
    }
}

static void days_write(const struct day_pass *pass, const struct head *head,
                       const struct layout *at, uint8_t *data)
{
    const struct turned *turned = &pass->turned;
    put(data, head, sizeof(*head));
    put(data + at->masks, pass->masks, at->days - at->masks);
    put(data + at->days, pass->days, at->subjects - at->days);
    put(data + at->subjects, pass->subjects, at->ends - at->subjects);
    put(data + at->ends, pass->ends, at->turned_days - at->ends);
    put(data + at->turned_days, turned->days, at->turned_ends - at->turned_days);
    put(data + at->turned_ends, turned->ends, at->turned_subjects - at->turned_ends);
    put(data + at->turned_subjects, turned->subjects, at->len - at->turned_subjects);
}

/* *ret stays NULL where they would take more than a fair share of the cache. */
static enum err_code days_make(struct day_pass *pass, struct cache_block **ret, struct err *err)
{
    const struct segment *segment = pass->segment;
    struct arena *arena = pass->ctx->arena;
    struct arena_mark mark = arena_mark(arena);
    uint32_t at = 0;
    ERR_TRY(pass_alloc(pass, err));
    for (uint32_t b = 0; b < segment->source.block_count; b++) {
        struct arena_mark block_mark = arena_mark(arena);
        ERR_TRY(pass_block(pass, b, &at, err));
        arena_rewind(arena, block_mark);
    }
    ERR_TRY(turn_over(pass, err));
    const struct head head = {pass->count, pass->entry_count, pass->turned.day_count,
                              pass->turned.entry_count};
    const struct layout layout = layout_of(&head, pass->col->dict_count);
    if (layout.len <= DAYS_BYTES_MAX) {
        ERR_TRY(cache_block_create(segment->uid, days_off(pass->col->col), (uint32_t)layout.len,
                                   ret, err));
        days_write(pass, &head, &layout, (*ret)->data);
        block_cache_offer(segment->cache, *ret);
    }
    arena_rewind(arena, mark);
    return ERR_OK;
}

enum err_code segment_subject_days(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                   const struct subject_values *values, struct subject_days *ret,
                                   bool *ret_found, struct err *err)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    struct cache_block *block =
        block_cache_pin(segment->cache, segment->uid, days_off(col), !ctx->is_once);
    *ret_found = false;
    if (block == NULL) {
        struct day_pass pass = {.segment = segment,
                                .ctx = ctx,
                                .col = segment_find_col(segment, col),
                                .values = values};
        if (days_make(&pass, &block, err) != ERR_OK) {
            return segment_fail(segment, err);
        }
    }
    if (block == NULL) {
        return ERR_OK;
    }
    if (!read_held_add(ctx->held, block)) {
        cache_block_unpin(block);
        return ERR_OK;
    }
    *ret = days_in(block, values->dict->count);
    *ret_found = true;
    return ERR_OK;
}
