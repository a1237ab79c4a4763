/* storage/segment_read.c - an open segment as a source: sections through the cache, what is loaded
 * lazily, and the table of operations. The footer is read in segment_open.c, blocks are decoded in
 * segment_block.c.
 */
#include "storage/base/hash.h"
#include "storage/base/size.h"
#include "storage/codec_bits.h"
#include "storage/codec_set.h"
#include "storage/codec_str.h"
#include "storage/segment_int.h"

#include <stdlib.h>

/* ---- sections ---- */

static enum err_code section_load(const struct segment *segment, struct read_ctx *ctx,
                                  const struct seg_span *span, struct cache_block **ret,
                                  struct err *err)
{
    struct cache_block *block = NULL;
    ERR_TRY(cache_block_create(segment->uid, span->off, span->bytes, &block, err));
    enum err_code code = io_read(ctx->io, segment->file, span->off, block->data, span->bytes, err);
    if (code == ERR_OK && checksum64(block->data, span->bytes) != span->checksum) {
        code = err_set(err, ERR_CORRUPT, "checksum mismatch");
    }
    if (code != ERR_OK) {
        cache_block_unpin(block);
        return code;
    }
    if (!ctx->is_once) {
        block_cache_offer(segment->cache, block);
    }
    *ret = block;
    return ERR_OK;
}

enum err_code section_read(const struct segment *segment, struct read_ctx *ctx,
                           const struct seg_span *span, struct section *ret, struct err *err)
{
    bool was_loaded = false;
    struct cache_block *block = read_ahead_pin(ctx->ahead, segment->uid, span->off, &was_loaded);
    if (block == NULL) {
        block = block_cache_pin(segment->cache, segment->uid, span->off, !ctx->is_once);
    }
    if (block == NULL) {
        ERR_TRY(section_load(segment, ctx, span, &block, err));
        was_loaded = true;
    }
    /* Found by offset: a forged footer may give one offset two lengths or checksums. */
    if (block->len != span->bytes) {
        cache_block_unpin(block);
        return err_set(err, ERR_CORRUPT, "two sections start at the same place");
    }
    *ret = (struct section){
        .bytes = {(const char *)block->data, block->len},
        .block = block,
        .was_loaded = was_loaded,
    };
    return ERR_OK;
}

void section_done(struct section *section)
{
    cache_block_unpin(section->block);
    section->block = NULL;
}

/* ---- dictionaries ---- */

static void dict_free(struct seg_dict *dict)
{
    if (dict != NULL) {
        arena_free(dict->arena);
    }
}

static enum err_code dict_decode(const struct seg_col *col, struct str bytes, struct arena *arena,
                                 struct seg_dict **ret, struct err *err)
{
    struct rd rd = rd_init(bytes);
    bool is_lz4 = false;
    if (strs_peek(&rd, &is_lz4) == STRS_PLAIN) { /* would leave the count without a bound */
        return err_set(err, ERR_CORRUPT, "values are not stored as sorted ones");
    }
    struct seg_dict *dict = NULL;
    ERR_TRY(ARENA_NEW(arena, 1, &dict, err));
    dict->arena = arena;
    dict->dict.count = col->dict_count;
    dict->dict.is_sorted = true;
    ERR_TRY(strs_decode(&rd, col->dict_count, arena, &dict->dict.offs, &dict->dict.bytes, err));
    if (!rd_at_end(&rd)) {
        return err_set(err, ERR_CORRUPT, "%zu bytes after its values", rd_left(&rd));
    }
    for (uint32_t i = 1; i < dict->dict.count; i++) {
        if (str_cmp(dict_value(&dict->dict, i - 1), dict_value(&dict->dict, i)) >= 0) {
            return err_set(err, ERR_CORRUPT, "values %u and %u are not in order", i - 1, i);
        }
    }
    *ret = dict;
    return ERR_OK;
}

static enum err_code dict_read(const struct segment *segment, struct read_ctx *ctx,
                               const struct seg_col *col, struct seg_dict **ret, struct err *err)
{
    CLEANUP(section_done) struct section section = {0};
    ERR_TRY(section_read(segment, ctx, &col->dict_span, &section, err));
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    ERR_TRY(dict_decode(col, section.bytes, arena, ret, err));
    arena = NULL; /* now the dictionary's */
    return ERR_OK;
}

enum err_code segment_dict_load(const struct segment *segment, struct read_ctx *ctx,
                                const struct seg_col *col, const struct dict **ret, struct err *err)
{
    /* Lazy loading is no change that a reader of the segment can see. */
    struct seg_col *owner = (struct seg_col *)(uintptr_t)col;
    /* acquire: pairs with the exchange below */
    struct seg_dict *dict = atomic_load_explicit(&owner->dict, memory_order_acquire);
    if (dict == NULL) {
        struct seg_dict *fresh = NULL;
        if (dict_read(segment, ctx, col, &fresh, err) != ERR_OK) {
            return err_context(err, "column \"" STR_FMT "\": dictionary", STR_ARG(col->name));
        }
        if (atomic_compare_exchange_strong_explicit(&owner->dict, &dict, fresh,
                                                    memory_order_acq_rel, memory_order_acquire)) {
            dict = fresh;
        } else {
            dict_free(fresh); /* someone else was faster: `dict` is theirs */
        }
    }
    *ret = &dict->dict;
    return ERR_OK;
}

/* ---- the operations of a source ---- */

static const struct segment *of_source(const struct source *source)
{
    return (const struct segment *)(const void *)source;
}

const struct seg_col *segment_find_col(const struct segment *segment, uint32_t col)
{
    uint32_t idx = UINT32_MAX;
    if (col < COL_FIRST_PROP) {
        idx = segment->builtin_idx[col];
    } else if (col - COL_FIRST_PROP < segment->prop_count) {
        idx = segment->prop_idx[col - COL_FIRST_PROP];
    }
    return idx == UINT32_MAX ? NULL : &segment->cols[idx];
}

static enum err_code op_read(const struct source *source, struct read_ctx *ctx, uint32_t col,
                             uint32_t block, struct vec *ret, struct err *err)
{
    const struct segment *segment = of_source(source);
    const struct seg_col *found = segment_find_col(segment, col);
    if (found == NULL) {
        *ret = (struct vec){.kind = VEC_ABSENT, .rows = source_block_rows(source, block)};
        return ERR_OK;
    }
    if (segment_block_read(segment, ctx, found, block, ret, err) != ERR_OK) {
        return segment_fail(segment, err);
    }
    return ERR_OK;
}

static enum err_code op_dict(const struct source *source, struct read_ctx *ctx, uint32_t col,
                             const struct dict **ret, struct err *err)
{
    const struct segment *segment = of_source(source);
    const struct seg_col *found = segment_find_col(segment, col);
    if (found == NULL || !found->has_dict) {
        *ret = NULL;
        return ERR_OK;
    }
    if (segment_dict_load(segment, ctx, found, ret, err) != ERR_OK) {
        return segment_fail(segment, err);
    }
    return ERR_OK;
}

static bool op_zone(const struct source *source, uint32_t col, uint32_t block, int64_t *ret_min,
                    int64_t *ret_max)
{
    const struct seg_col *found = segment_find_col(of_source(source), col);
    const struct seg_block *info = found == NULL ? NULL : seg_col_block(found, block);
    if (info == NULL || !info->has_zone) {
        return false;
    }
    *ret_min = info->zone_min;
    *ret_max = info->zone_max;
    return true;
}

/* Always for the event name, and where there are few enough values that each has some rows. */
static bool op_has_value_rows(const struct source *source, uint32_t col)
{
    const struct seg_col *found = segment_find_col(of_source(source), col);
    if (found == NULL) {
        return false;
    }
    return found->type == COL_BOOL ||
           (found->type == COL_STRING && found->has_dict &&
            (col == COL_EVENT_NAME || found->dict_count <= VALUE_ROWS_CODES_MAX));
}

static enum err_code op_value_rows(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                   uint32_t code, uint32_t block, uint16_t *out_rows,
                                   uint32_t *ret_count, struct err *err)
{
    const struct segment *segment = of_source(source);
    const struct seg_col *found = segment_find_col(segment, col);
    ASSERT(op_has_value_rows(source, col));
    CLEANUP(postings_done) struct postings postings = {0};
    if (segment_postings_pin(segment, ctx, found, block, &postings, err) != ERR_OK) {
        return segment_fail(segment, err);
    }
    const uint16_t *rows = postings_rows(&postings, code, ret_count);
    if (rows != NULL && out_rows != NULL) {
        memcpy(out_rows, rows, *ret_count * sizeof(*rows));
    }
    return ERR_OK;
}

/* Sets are in order of (any, codes ascending): the first of an event. */
static uint32_t first_set(const struct segment *segment, uint64_t event_key)
{
    uint32_t begin = 0;
    uint32_t end = segment->set_count;
    while (begin < end) {
        uint32_t mid = begin + (end - begin) / 2;
        uint32_t event = segment->sets[mid].event;
        uint64_t key = event == SUBJECT_SET_ANY ? 0 : (uint64_t)event + 1;
        begin = key < event_key ? mid + 1 : begin;
        end = key < event_key ? end : mid;
    }
    return begin;
}

static enum err_code op_subject_sets(const struct source *source, struct read_ctx *ctx,
                                     uint32_t event, const struct subject_set **ret,
                                     uint32_t *ret_count, struct err *err)
{
    const struct segment *segment = of_source(source);
    uint64_t key = event == SUBJECT_SET_ANY ? 0 : (uint64_t)event + 1;
    uint32_t first = first_set(segment, key);
    *ret = segment->set_infos + first;
    *ret_count = first_set(segment, key + 1) - first;
    return ERR_OK;
}

static enum err_code set_read(const struct segment *segment, struct read_ctx *ctx,
                              const struct seg_set *set, roaring_bitmap_t **ret, struct err *err)
{
    CLEANUP(section_done) struct section section = {0};
    ERR_TRY(section_read(segment, ctx, &segment->set_groups[set->group], &section, err));
    struct str bytes = {section.bytes.ptr + set->off, set->bytes};
    return set_decode(bytes, set->members, segment->source.subject_first,
                      segment->source.subject_last, ret, err);
}

static enum err_code op_subject_set(const struct source *source, struct read_ctx *ctx,
                                    uint32_t set_idx, const roaring_bitmap_t **ret, struct err *err)
{
    const struct segment *segment = of_source(source);
    ASSERT(set_idx < segment->set_count);
    struct seg_set *set = &segment->sets[set_idx];
    ctx->bytes_read += set->bytes;
    /* acquire: pairs with the exchange below */
    roaring_bitmap_t *bitmap = atomic_load_explicit(&set->bitmap, memory_order_acquire);
    if (bitmap == NULL) {
        roaring_bitmap_t *fresh = NULL;
        if (set_read(segment, ctx, set, &fresh, err) != ERR_OK) {
            err_context(err, "subject set %u", set_idx);
            return segment_fail(segment, err);
        }
        if (atomic_compare_exchange_strong_explicit(&set->bitmap, &bitmap, fresh,
                                                    memory_order_acq_rel, memory_order_acquire)) {
            bitmap = fresh;
        } else {
            roaring_bitmap_free(fresh);
        }
    }
    *ret = bitmap;
    return ERR_OK;
}

/* The table of ranges narrows it to the rows of 65,536 subjects; then blocks by their first
 * subject. */
static enum err_code op_subject_row(const struct source *source, struct read_ctx *ctx,
                                    uint32_t subject, uint32_t *ret_row, struct err *err)
{
    const struct segment *segment = of_source(source);
    if (subject <= source->subject_first || subject > source->subject_last) {
        *ret_row = subject <= source->subject_first ? 0 : source->row_count;
        return ERR_OK;
    }
    uint32_t range = (subject >> 16) - segment->range_first;
    uint32_t begin = segment->range_rows[range];
    uint32_t end =
        range + 1 < segment->range_count ? segment->range_rows[range + 1] : source->row_count;
    if ((subject & 0xffff) == 0) {
        *ret_row = begin;
        return ERR_OK;
    }
    /* Zones say which blocks end before the subject. */
    int64_t min = 0;
    int64_t max = 0;
    while (begin < end && op_zone(source, COL_SUBJECT, begin / BLOCK_ROWS, &min, &max) &&
           max < (int64_t)subject) {
        begin = MIN_OF((begin / BLOCK_ROWS + 1) * BLOCK_ROWS, end);
    }
    if (begin >= end) {
        *ret_row = end;
        return ERR_OK;
    }
    uint32_t block = begin / BLOCK_ROWS;
    uint32_t block_begin = block * BLOCK_ROWS;
    struct arena_mark mark = arena_mark(ctx->arena);
    struct vec vec = {0};
    ERR_TRY(op_read(source, ctx, COL_SUBJECT, block, &vec, err));
    uint32_t low = begin - block_begin;
    uint32_t high = MIN_OF(end - block_begin, vec.rows);
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        bool is_before = vec.u32[mid] < subject;
        low = is_before ? mid + 1 : low;
        high = is_before ? high : mid;
    }
    arena_rewind(ctx->arena, mark);
    *ret_row = block_begin + low;
    return ERR_OK;
}

static const struct source_ops segment_ops = {
    .read = op_read,
    .dict = op_dict,
    .zone = op_zone,
    .value_rows = op_value_rows,
    .has_value_rows = op_has_value_rows,
    .subject_sets = op_subject_sets,
    .subject_set = op_subject_set,
    .event_rows = segment_event_rows,
    .block_journeys = segment_block_journeys,
    .subject_values = segment_subject_values,
    .subject_days = segment_subject_days,
    .ends = segment_ends,
    .repeats = segment_repeats,
    .union_find = segment_union_find,
    .union_keep = segment_union_keep,
    .spans_find = segment_spans_find,
    .spans_keep = segment_spans_keep,
    .subject_row = op_subject_row,
    .prefetch = segment_prefetch,
    .prefetch_sets = segment_prefetch_sets,
};

/* ---- open and close ---- */

/* The last two parts of a path: enough to find the file in its data folder. */
static struct str path_label(const char *path)
{
    const char *at = path + strlen(path);
    for (int slashes = 0; at > path; at--) {
        slashes += at[-1] == '/';
        if (slashes == 2) {
            break;
        }
    }
    return str_of(at);
}

static _Atomic uint64_t next_uid = 1; /* relaxed: only has to be unique */

enum err_code segment_open(struct io *io, const char *path, const struct schema *schema,
                           struct block_cache *cache, uint64_t id, struct segment **ret,
                           struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = calloc(1, sizeof(*segment));
    if (segment == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a segment");
    }
    segment->arena = arena_create(NULL);
    segment->cache = cache;
    segment->uid = atomic_fetch_add_explicit(&next_uid, 1, memory_order_relaxed);
    segment->source.ops = &segment_ops;
    segment->source.id = id;
    for (uint32_t i = 0; i < COL_FIRST_PROP; i++) {
        segment->builtin_idx[i] = UINT32_MAX;
    }
    struct str copy = {0};
    ERR_TRY(arena_str(segment->arena, str_of(path), &copy, err));
    segment->path = copy.ptr;
    segment->label = path_label(copy.ptr);
    ERR_TRY(io_open(io, path, IO_READ_PICKED, &segment->file, err));
    if (segment_load(segment, io, schema, err) != ERR_OK) {
        return segment_fail(segment, err);
    }
    *ret = TAKE(segment);
    return ERR_OK;
}

void segment_close(struct segment *segment)
{
    if (segment == NULL) {
        return;
    }
    for (uint32_t i = 0; i < segment->col_count; i++) {
        dict_free(atomic_load_explicit(&segment->cols[i].dict, memory_order_acquire));
    }
    for (uint32_t i = 0; i < segment->set_count; i++) {
        roaring_bitmap_t *bitmap =
            atomic_load_explicit(&segment->sets[i].bitmap, memory_order_acquire);
        if (bitmap != NULL) {
            roaring_bitmap_free(bitmap);
        }
    }
    io_close(segment->file);
    arena_free(segment->arena);
    free(segment);
}

const struct source *segment_source(const struct segment *segment)
{
    return &segment->source;
}

const char *segment_path(const struct segment *segment)
{
    return segment->path;
}
