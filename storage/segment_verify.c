/* storage/segment_verify.c - reading all of a segment and checking it against itself.
 *
 * Three rounds. Layout: the sections and the padding between them cover the file without gap or
 * overlap, and padding is zero, so that no byte of the file is outside some check. Columns: every
 * block decodes, rows are in order, zones are exact. Subject sets:
 * rebuilt from the rows.
 */
#include "storage/base/hash.h"
#include "storage/base/size.h"
#include "storage/codec_int.h"
#include "storage/codec_set.h"
#include "storage/codec_str.h"
#include "storage/segment_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* ---- layout ---- */

struct span_list {
    struct seg_span *spans;
    size_t count, cap;
};

static void span_list_done(struct span_list *list)
{
    free(list->spans);
}

static enum err_code span_push(struct span_list *list, const struct seg_span *span, struct err *err)
{
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 256 : 2 * list->cap;
        struct seg_span *spans = reallocarray(list->spans, cap, sizeof(*spans));
        if (spans == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory for %zu sections", cap);
        }
        list->spans = spans;
        list->cap = cap;
    }
    list->spans[list->count++] = *span;
    return ERR_OK;
}

static enum err_code push_col(const struct seg_col *col, struct span_list *list, struct err *err)
{
    if (col->has_dict) {
        ERR_TRY(span_push(list, &col->dict_span, err));
    }
    for (int i = 0; i < __builtin_popcountll(col->present); i++) {
        ERR_TRY(span_push(list, &col->blocks[i].span, err));
    }
    return ERR_OK;
}

static int span_cmp(const void *a, const void *b)
{
    const struct seg_span *x = a;
    const struct seg_span *y = b;
    return (x->off > y->off) - (x->off < y->off);
}

static enum err_code check_padding(const struct segment *segment, struct io *io, uint64_t begin,
                                   uint64_t end, struct err *err)
{
    uint8_t bytes[SEGMENT_ALIGN] = {0};
    if (end < begin || end - begin >= SEGMENT_ALIGN) {
        return err_set(err, ERR_CORRUPT,
                       "layout: a section ends at %" PRIu64 ", the next starts at %" PRIu64, begin,
                       end);
    }
    if (begin == end) {
        return ERR_OK;
    }
    ERR_TRY(io_read(io, segment->file, begin, bytes, end - begin, err));
    for (size_t i = 0; i < SEGMENT_ALIGN; i++) {
        if (bytes[i] != 0) {
            return err_set(err, ERR_CORRUPT, "layout: padding at %" PRIu64 " is not zero", begin);
        }
    }
    return ERR_OK;
}

static enum err_code check_layout(const struct segment *segment, struct io *io, struct err *err)
{
    CLEANUP(span_list_done) struct span_list list = {0};
    for (uint32_t i = 0; i < segment->col_count; i++) {
        ERR_TRY(push_col(&segment->cols[i], &list, err));
    }
    for (uint32_t i = 0; i < segment->set_group_count; i++) {
        ERR_TRY(span_push(&list, &segment->set_groups[i], err));
    }
    struct seg_span footer = {segment->footer_off, (uint32_t)segment->footer_bytes, 0};
    ERR_TRY(span_push(&list, &footer, err));
    qsort(list.spans, list.count, sizeof(*list.spans), span_cmp);
    uint64_t end = SEGMENT_HEADER_BYTES;
    for (size_t i = 0; i < list.count; i++) {
        ERR_TRY(check_padding(segment, io, end, list.spans[i].off, err));
        end = list.spans[i].off + list.spans[i].bytes;
    }
    return check_padding(segment, io, end, segment->file_bytes - SEGMENT_TRAILER_BYTES, err);
}

/* The cache may hold a block that was good when it was read: look at the disk itself. */
static enum err_code check_on_disk(const struct segment *segment, struct io *io, struct err *err)
{
    CLEANUP(span_list_done) struct span_list list = {0};
    for (uint32_t i = 0; i < segment->col_count; i++) {
        ERR_TRY(push_col(&segment->cols[i], &list, err));
    }
    for (uint32_t i = 0; i < segment->set_group_count; i++) {
        ERR_TRY(span_push(&list, &segment->set_groups[i], err));
    }
    struct segment uncached = {.file = segment->file};
    struct read_ctx ctx = {.io = io};
    for (size_t i = 0; i < list.count; i++) {
        CLEANUP(section_done) struct section section = {0};
        if (section_read(&uncached, &ctx, &list.spans[i], &section, err) != ERR_OK) {
            return err_context(err, "section at %" PRIu64, list.spans[i].off);
        }
    }
    return ERR_OK;
}

/* ---- columns ---- */

struct verifier {
    const struct segment *segment;
    struct read_ctx ctx;
    uint32_t *subjects; /* of all rows */
    int64_t *times_ms;
    uint32_t *events;
    struct str last_id; /* of the row before this block, copied */
    struct buf last_id_bytes;
};

static void verifier_done(struct verifier *v)
{
    arena_free(v->ctx.arena);
    free(v->subjects);
    free(v->times_ms);
    free(v->events);
    buf_done(&v->last_id_bytes);
}

static enum err_code check_zone(const struct seg_block *said, const struct vec *vec,
                                struct err *err)
{
    if (!said->has_zone) {
        return ERR_OK;
    }
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    for (uint32_t i = 0; i < vec->value_count; i++) {
        int64_t low = 0;
        int64_t high = 0;
        if (vec->kind == VEC_U32) {
            low = high = vec->u32[i];
        } else if (vec->kind == VEC_I64) {
            low = high = vec->i64[i];
        } else if (vec->kind == VEC_NUM || vec->kind == VEC_F64) {
            struct num n = vec_num(vec, i);
            if (n.scale == NUM_DOUBLE) {
                double d = num_to_double(n);
                if (!(d > -9.2e18 && d < 9.2e18)) {
                    return err_set(err, ERR_CORRUPT, "zone over a value beyond 64 bits");
                }
                low = (int64_t)floor(d);
                high = (int64_t)ceil(d);
            } else {
                int64_t power = 1;
                for (unsigned s = n.scale; s > 0; s--) {
                    power *= 10;
                }
                low = n.m / power - (n.m % power < 0);
                high = n.m / power + (n.m % power > 0);
            }
        } else {
            return err_set(err, ERR_CORRUPT, "zone in a column that has none");
        }
        min = MIN_OF(min, low);
        max = MAX_OF(max, high);
    }
    if (min != said->zone_min || max != said->zone_max) {
        return err_set(err, ERR_CORRUPT,
                       "zone %" PRId64 " .. %" PRId64 " where values are %" PRId64 " .. %" PRId64,
                       said->zone_min, said->zone_max, min, max);
    }
    return ERR_OK;
}

/* What the footer says of a block for inspect must be what the block is. */
static enum err_code check_kind(struct verifier *v, const struct seg_block *said, struct err *err)
{
    CLEANUP(section_done) struct section section = {0};
    ERR_TRY(section_read(v->segment, &v->ctx, &said->span, &section, err));
    struct rd rd = rd_init(section.bytes);
    rd_skip(&rd, 8);
    uint32_t presence_bytes = rd_u32(&rd);
    rd_skip(&rd, 4);
    rd_skip(&rd, presence_bytes);
    rd_align(&rd, SEGMENT_ALIGN);
    uint32_t kind = said->kind;
    bool is_lz4 = said->is_lz4;
    if (said->shape == SHAPE_INTS) {
        kind = (uint32_t)ints_peek(&rd);
        is_lz4 = false;
    } else if (said->shape == SHAPE_STRS) {
        kind = (uint32_t)strs_peek(&rd, &is_lz4);
    } else if (said->shape == SHAPE_DOUBLES) {
        kind = 0;
        is_lz4 = rd_u8(&rd) != 0;
    }
    if (kind != said->kind || is_lz4 != said->is_lz4) {
        return err_set(err, ERR_CORRUPT, "kind %u where %u is said", kind, said->kind);
    }
    return ERR_OK;
}

static enum err_code check_col_block(struct verifier *v, const struct seg_col *col, uint32_t block,
                                     struct err *err)
{
    const struct seg_block *said = seg_col_block(col, block);
    struct vec vec = {0};
    ERR_TRY(segment_block_read(v->segment, &v->ctx, col, block, &vec, err));
    enum err_code code = ERR_OK;
    if (said != NULL) {
        code = check_zone(said, &vec, err);
        code = code == ERR_OK ? check_kind(v, said, err) : code;
    }
    if (code != ERR_OK) {
        return err_context(err, "column \"" STR_FMT "\": block %u", STR_ARG(col->name), block);
    }
    return ERR_OK;
}

static enum err_code check_col(struct verifier *v, const struct seg_col *col, struct err *err)
{
    const struct dict *dict = NULL;
    if (col->has_dict) {
        ERR_TRY(segment_dict_load(v->segment, &v->ctx, col, &dict, err));
    }
    for (uint32_t block = 0; block < v->segment->source.block_count; block++) {
        struct arena_mark mark = arena_mark(v->ctx.arena);
        ERR_TRY(check_col_block(v, col, block, err));
        arena_rewind(v->ctx.arena, mark);
    }
    return ERR_OK;
}

/* ---- rows ---- */

static enum err_code check_order_block(struct verifier *v, uint32_t block, struct err *err)
{
    const struct source *source = &v->segment->source;
    struct vec subject = {0};
    struct vec time = {0};
    struct vec id = {0};
    struct vec event = {0};
    ERR_TRY(source_read(source, &v->ctx, COL_SUBJECT, block, &subject, err));
    ERR_TRY(source_read(source, &v->ctx, COL_EVENT_TIME, block, &time, err));
    ERR_TRY(source_read(source, &v->ctx, COL_EVENT_ID, block, &id, err));
    ERR_TRY(source_read(source, &v->ctx, COL_EVENT_NAME, block, &event, err));
    for (uint32_t i = 0; i < subject.rows; i++) {
        uint32_t row = block * BLOCK_ROWS + i;
        struct str id_now = vec_str(&id, i);
        v->subjects[row] = subject.u32[i];
        v->times_ms[row] = time.i64[i];
        v->events[row] = event.u32[i];
        if (source->is_first_times && id_now.len > 0) {
            return err_set(err, ERR_CORRUPT, "row %u: a first time with an event id", row);
        }
        if (row == 0) {
            v->last_id = id_now;
            continue;
        }
        bool is_same = v->subjects[row - 1] == v->subjects[row];
        bool is_tie = is_same && v->times_ms[row - 1] == v->times_ms[row];
        if (v->subjects[row - 1] > v->subjects[row] ||
            (is_same && v->times_ms[row - 1] > v->times_ms[row]) ||
            (is_tie && str_cmp(v->last_id, id_now) > 0)) {
            return err_set(err, ERR_CORRUPT, "rows %u and %u are out of order", row - 1, row);
        }
        v->last_id = id_now;
    }
    buf_clear(&v->last_id_bytes); /* the block's own bytes go when the arena is rewound */
    buf_str(&v->last_id_bytes, v->last_id);
    v->last_id = buf_as_str(&v->last_id_bytes);
    return buf_check(&v->last_id_bytes, err);
}

static enum err_code check_rows(struct verifier *v, struct err *err)
{
    const struct segment *segment = v->segment;
    const struct source *source = &segment->source;
    for (uint32_t block = 0; block < source->block_count; block++) {
        struct arena_mark mark = arena_mark(v->ctx.arena);
        ERR_TRY(check_order_block(v, block, err));
        arena_rewind(v->ctx.arena, mark);
    }
    int64_t min = v->times_ms[0];
    int64_t max = v->times_ms[0];
    for (uint32_t row = 1; row < source->row_count; row++) {
        min = MIN_OF(min, v->times_ms[row]);
        max = MAX_OF(max, v->times_ms[row]);
    }
    if (min != source->time_min_ms || max != source->time_max_ms ||
        v->subjects[0] != source->subject_first ||
        v->subjects[source->row_count - 1] != source->subject_last) {
        return err_set(err, ERR_CORRUPT, "footer: times or subjects are not those of the rows");
    }
    for (uint32_t i = 0; i < segment->range_count; i++) {
        uint32_t row = segment->range_rows[i];
        uint32_t range = segment->range_first + i;
        if (v->subjects[row] >> 16 < range || (row > 0 && v->subjects[row - 1] >> 16 >= range)) {
            return err_set(err, ERR_CORRUPT, "footer: range %u does not start at row %u", range,
                           row);
        }
    }
    return ERR_OK;
}

/* ---- subject sets ---- */

/* The set of `event` that holds time_ms, or UINT32_MAX. */
static uint32_t set_of(const struct subject_set *sets, uint32_t count, int64_t time_ms)
{
    uint32_t begin = 0;
    uint32_t end = count;
    while (begin < end) {
        uint32_t mid = begin + (end - begin) / 2;
        if (time_ms < sets[mid].begin_ms) {
            end = mid;
        } else if (time_ms >= sets[mid].end_ms) {
            begin = mid + 1;
        } else {
            return sets[mid].set_idx;
        }
    }
    return UINT32_MAX;
}

/* Add the row's subject to the set it belongs to. */
static enum err_code rebuild_row(struct verifier *v, uint32_t row, uint32_t event,
                                 roaring_bitmap_t **rebuilt, struct err *err)
{
    const struct subject_set *sets = NULL;
    uint32_t count = 0;
    ERR_TRY(source_subject_sets(&v->segment->source, &v->ctx, event, &sets, &count, err));
    uint32_t idx = set_of(sets, count, v->times_ms[row]);
    if (idx == UINT32_MAX) {
        return err_set(err, ERR_CORRUPT, "row %u is in no subject set of its event", row);
    }
    if (rebuilt[idx] == NULL) {
        rebuilt[idx] = roaring_bitmap_create();
        if (rebuilt[idx] == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory for a subject set");
        }
    }
    roaring_bitmap_add(rebuilt[idx], v->subjects[row]);
    return ERR_OK;
}

static enum err_code compare_sets(struct verifier *v, roaring_bitmap_t **rebuilt, struct err *err)
{
    for (uint32_t row = 0; row < v->segment->source.row_count; row++) {
        ERR_TRY(rebuild_row(v, row, SUBJECT_SET_ANY, rebuilt, err));
        ERR_TRY(rebuild_row(v, row, v->events[row], rebuilt, err));
    }
    for (uint32_t i = 0; i < v->segment->set_count; i++) {
        const roaring_bitmap_t *stored = NULL;
        ERR_TRY(source_subject_set(&v->segment->source, &v->ctx, i, &stored, err));
        if (rebuilt[i] == NULL || !roaring_bitmap_equals(rebuilt[i], stored)) {
            return err_set(err, ERR_CORRUPT, "subject set %u is not that of its rows", i);
        }
    }
    return ERR_OK;
}

static enum err_code check_sets(struct verifier *v, struct err *err)
{
    uint32_t count = v->segment->set_count;
    roaring_bitmap_t **rebuilt = calloc((size_t)count + 1, sizeof(roaring_bitmap_t *));
    if (rebuilt == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for %u subject sets", count);
    }
    enum err_code code = compare_sets(v, rebuilt, err);
    for (uint32_t i = 0; i < count; i++) {
        if (rebuilt[i] != NULL) {
            roaring_bitmap_free(rebuilt[i]);
        }
    }
    free(rebuilt);
    return code;
}

static enum err_code verify(struct verifier *v, struct io *io, struct err *err)
{
    const struct segment *segment = v->segment;
    ERR_TRY(check_layout(segment, io, err));
    ERR_TRY(check_on_disk(segment, io, err));
    for (uint32_t i = 0; i < segment->col_count; i++) {
        ERR_TRY(check_col(v, &segment->cols[i], err));
    }
    ERR_TRY(check_rows(v, err));
    return check_sets(v, err);
}

enum err_code segment_verify(struct segment *segment, struct io *io, struct err *err)
{
    CLEANUP(verifier_done) struct verifier v = {.segment = segment};
    size_t rows = segment->source.row_count;
    v.ctx = (struct read_ctx){.arena = arena_create(NULL), .io = io};
    v.subjects = calloc(rows, sizeof(*v.subjects));
    v.times_ms = calloc(rows, sizeof(*v.times_ms));
    v.events = calloc(rows, sizeof(*v.events));
    if (v.subjects == NULL || v.times_ms == NULL || v.events == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for %zu rows", rows);
    }
    if (verify(&v, io, err) != ERR_OK) {
        static const char prefix[] = "segment \"";
        bool is_named = strncmp(err->message, prefix, sizeof(prefix) - 1) == 0;
        return is_named ? err->code
                        : segment_fail(segment, err); /* through source_read: named there */
    }
    return ERR_OK;
}
