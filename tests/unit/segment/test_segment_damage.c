/* tests/unit/segment/test_segment_damage.c - no byte of a segment can change unnoticed, and no byte can do harm.
 *
 * Damage: every byte flipped in turn, every length cut: opening, reading all or verifying says so.
 * Forgery: bytes changed and all checksums made right again, as an attacker would: whatever happens, it is an
 * error or an answer, under AddressSanitizer.
 */
#include "tests/unit/segment/segment_test.h"

#include "storage/read_ahead.h"

#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"
#include "storage/segment_int.h"

struct image {
    struct buf bytes; /* of the whole file */
    struct seg_table t;
};

static void image_make(struct image *image, uint32_t row_count)
{
    struct err err = {0};
    struct mem_row *rows = NULL;
    memset(image, 0, sizeof(*image));
    table_open(&image->t);
    struct rng rng = rng_init(test_seed());
    struct random_shape shape = {.row_count = row_count,
                                 .subjects = 30,
                                 .subject_step = 7000,
                                 .span_ms = 200000000,
                                 .events = 3,
                                 .has_props = true};
    assert_ok(random_rows(image->t.arena, &rng, &shape, &rows, &err));
    struct mem_source *mem = mem_source_create(rows, shape.row_count, image->t.schema, 5);
    const struct source *source = mem_source_of(mem);
    struct segment_write_opts opts = {.shard = 5};
    struct segment_stats stats = {0};
    assert_ok(segment_write(image->t.io, image->t.path, image->t.schema, &source, 1, INT64_MIN,
                            INT64_MAX, NULL, &opts, &stats, &err));
    assert_ok(io_read_file(image->t.io, image->t.path, 1u << 24, &image->bytes, &err));
    assert_int_equal(image->bytes.len, stats.bytes);
    mem_source_free(mem);
}

static void image_done(struct image *image)
{
    buf_done(&image->bytes);
    table_close(&image->t);
}

static void put_file(struct image *image, size_t len)
{
    struct err err = {0};
    struct io_file *file = NULL;
    assert_ok(io_open(image->t.io, image->t.path, IO_CREATE, &file, &err));
    assert_ok(io_write(image->t.io, file, 0, image->bytes.ptr, len, &err));
    io_close(file);
}

/* Overwrite one byte on disk. */
static void put_byte(struct image *image, size_t at)
{
    struct err err = {0};
    struct io_file *file = NULL;
    assert_ok(io_open(image->t.io, image->t.path, IO_APPEND, &file, &err));
    assert_ok(io_write(image->t.io, file, at, image->bytes.ptr + at, 1, &err));
    io_close(file);
}

static enum err_code read_all(struct segment *segment, struct read_ctx *ctx, struct err *err)
{
    const struct source *source = segment_source(segment);
    static uint16_t rows[BLOCK_ROWS];
    for (uint32_t i = 0; i < segment_info(segment).col_count; i++) {
        uint32_t col = segment_col_info(segment, i).col;
        for (uint32_t block = 0; block < source->block_count && col != UINT32_MAX; block++) {
            struct vec vec = {0};
            ERR_TRY(source_read(source, ctx, col, block, &vec, err));
            const struct dict *dict = NULL;
            ERR_TRY(source_dict(source, ctx, col, &dict, err));
            uint32_t codes = dict == NULL ? 2 : dict->count;
            for (uint32_t code = 0; source_has_value_rows(source, col) && code < codes; code++) {
                uint32_t count = 0;
                ERR_TRY(source_value_rows(source, ctx, col, code, block, rows, &count, err));
            }
        }
    }
    for (uint32_t i = 0; i < segment_info(segment).set_count; i++) {
        const roaring_bitmap_t *set = NULL;
        ERR_TRY(source_subject_set(source, ctx, i, &set, err));
    }
    for (uint32_t subject = 0; subject < 250000; subject += 9999) {
        uint32_t row = 0;
        ERR_TRY(source_subject_row(source, ctx, subject, &row, err));
        ASSERT(row <= source->row_count);
    }
    return ERR_OK;
}

/* Fetch everything ahead: with the first bytes of a forged footer, anything. */
static void fetch_all(struct segment *segment, struct read_ctx *ctx)
{
    const struct source *source = segment_source(segment);
    for (uint32_t i = 0; i < segment_info(segment).col_count; i++) {
        uint32_t col = segment_col_info(segment, i).col;
        for (uint32_t block = 0; block < source->block_count && col != UINT32_MAX; block++) {
            struct read_item items[] = {{.col = col, .block = block},
                                        {.col = col, .block = block, .is_by_value = true}};
            (void)source_prefetch(source, ctx, items, COUNT_OF(items));
        }
    }
}

static enum err_code open_read_verify(struct image *image, bool with_schema, struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = NULL;
    struct budget budget;
    budget_init(&budget, (size_t)256 << 20, "test memory");
    CLEANUP(arena_freep) struct arena *arena = arena_create(&budget);
    CLEANUP(read_ahead_done) struct read_ahead ahead = {.bytes_max = 1u << 20, .budget = &budget};
    struct read_ctx ctx = {.arena = arena, .io = image->t.io, .ahead = &ahead};
    ERR_TRY(segment_open(image->t.io, image->t.path, with_schema ? image->t.schema : NULL, NULL, 1,
                         &segment, err));
    fetch_all(segment, &ctx);
    ERR_TRY(read_all(segment, &ctx, err));
    return segment_verify(segment, image->t.io, err);
}

static void check_refused(struct image *image, const char *how, size_t at)
{
    struct err err = {0};
    enum err_code code = open_read_verify(image, at % 2 == 0, &err);
    if (code != ERR_CORRUPT && code != ERR_UNSUPPORTED) {
        fail_msg("%s at %zu of %zu: %s %s", how, at, image->bytes.len, err_code_name(code),
                 err.message);
    }
    assert_non_null(strstr(err.message, "000017.seg"));
}

static void every_flipped_byte_is_noticed(void **state)
{
    struct image image;
    struct rng rng = rng_init(test_seed());
    image_make(&image, 60);
    for (size_t at = 0; at < image.bytes.len; at++) {
        uint8_t was = image.bytes.ptr[at];
        image.bytes.ptr[at] ^= (uint8_t)(1u << rng_below(&rng, 8));
        put_byte(&image, at);
        check_refused(&image, "flip", at);
        image.bytes.ptr[at] = was;
        put_byte(&image, at);
    }
    struct err err = {0};
    assert_ok(open_read_verify(&image, true, &err));
    image_done(&image);
}

static void every_shorter_file_is_noticed(void **state)
{
    struct image image;
    struct err err = {0};
    image_make(&image, 20);
    for (size_t len = image.bytes.len; len-- > 0;) {
        struct io_file *file = NULL;
        assert_ok(io_open(image.t.io, image.t.path, IO_APPEND, &file, &err));
        assert_ok(io_truncate(image.t.io, file, len, &err));
        io_close(file);
        check_refused(&image, "cut", len);
    }
    image_done(&image);
}

static void a_longer_file_is_noticed(void **state)
{
    struct image image;
    image_make(&image, 20);
    buf_u64(&image.bytes, 0);
    put_file(&image, image.bytes.len);
    check_refused(&image, "8 bytes more", image.bytes.len);
    image_done(&image);
}

/* ---- forgery ---- */

struct span_list {
    struct seg_span spans[4096];
    uint32_t count;
};

static void list_spans(struct image *image, struct span_list *list)
{
    struct err err = {0};
    struct segment *segment = NULL;
    list->count = 0;
    assert_ok(segment_open(image->t.io, image->t.path, image->t.schema, NULL, 1, &segment, &err));
    for (uint32_t i = 0; i < segment->col_count; i++) {
        const struct seg_col *col = &segment->cols[i];
        if (col->has_dict) {
            list->spans[list->count++] = col->dict_span;
        }
        for (int k = 0; k < __builtin_popcountll(col->present); k++) {
            list->spans[list->count++] = col->blocks[k].span;
        }
    }
    for (uint32_t i = 0; i < segment->set_group_count; i++) {
        list->spans[list->count++] = segment->set_groups[i];
    }
    assert_true(list->count < COUNT_OF(list->spans));
    segment_close(segment);
}

static bool replace(uint8_t *bytes, size_t len, uint64_t from, uint64_t to)
{
    uint8_t want[8];
    wr_u64(want, from);
    for (size_t i = 0; i + 8 <= len; i++) {
        if (memcmp(bytes + i, want, 8) == 0) {
            wr_u64(bytes + i, to);
            return true;
        }
    }
    return false;
}

/* Make every checksum right again: those of the sections, in the footer, and that of the footer. */
static void reseal(struct buf *bytes, const struct span_list *list)
{
    uint8_t *trailer = bytes->ptr + bytes->len - SEGMENT_TRAILER_BYTES;
    struct rd rd = rd_init((struct str){(const char *)trailer, SEGMENT_TRAILER_BYTES});
    uint64_t footer_off = rd_u64(&rd);
    uint64_t footer_bytes = rd_u64(&rd);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct seg_span *span = &list->spans[i];
        uint64_t checksum = checksum64(bytes->ptr + span->off, span->bytes);
        if (checksum != span->checksum) {
            replace(bytes->ptr + footer_off, footer_bytes, span->checksum, checksum);
        }
    }
    wr_u64(trailer + 16, checksum64(bytes->ptr + footer_off, footer_bytes));
    wr_u64(bytes->ptr + 24, checksum64(bytes->ptr, 24));
}

static void forged_bytes_are_an_error_or_an_answer(void **state)
{
    struct image image;
    struct rng rng = rng_init(test_seed());
    static struct span_list list;
    image_make(&image, 150);
    list_spans(&image, &list);
    CLEANUP(buf_freep) struct buf good = {0};
    buf_append(&good, image.bytes.ptr, image.bytes.len);
    uint32_t refused = 0;
    uint32_t unsealed = 0;
    for (uint32_t trial = 0; trial < 6000; trial++) {
        memcpy(image.bytes.ptr, good.ptr, good.len);
        /* in the first bytes of a section lie its heads; in the footer, everything */
        const struct seg_span *span = &list.spans[rng_below(&rng, list.count)];
        size_t at = rng_below(&rng, good.len - SEGMENT_TRAILER_BYTES);
        if (trial % 3 != 0 && span->bytes > 0) {
            at =
                span->off + rng_below(&rng, MIN_OF(span->bytes, trial % 3 == 1 ? 48 : span->bytes));
        }
        uint8_t flip = (uint8_t)(1u << rng_below(&rng, 8));
        image.bytes.ptr[at] ^= trial % 2 == 0 ? (uint8_t)rng_next(&rng) : flip;
        reseal(&image.bytes, &list);
        put_file(&image, good.len);
        struct err err = {0};
        enum err_code code = open_read_verify(&image, true, &err);
        bool is_expected =
            code == ERR_OK || code == ERR_CORRUPT || code == ERR_UNSUPPORTED || code == ERR_LIMIT;
        if (!is_expected) {
            fail_msg("trial %u at %zu: %s %s", trial, at, err_code_name(code), err.message);
        }
        refused += code != ERR_OK;
        unsealed += code != ERR_OK && strstr(err.message, "checksum mismatch") != NULL;
    }
    assert_true(refused > 2000);
    assert_true(unsealed < 600); /* else the forgery is none, and proves nothing */
    image_done(&image);
}

static void errors_name_file_column_and_block(void **state)
{
    struct image image;
    struct err err = {0};
    struct segment *segment = NULL;
    image_make(&image, 60);
    assert_ok(segment_open(image.t.io, image.t.path, image.t.schema, NULL, 1, &segment, &err));
    uint32_t idx = segment->prop_idx[6];
    size_t at = segment->cols[idx].blocks[0].span.off + 3;
    image.bytes.ptr[at] ^= 0x40;
    put_byte(&image, at);
    struct vec vec = {0};
    assert_fails(
        source_read(segment_source(segment), &image.t.ctx, COL_FIRST_PROP + 6, 0, &vec, &err),
        ERR_CORRUPT, "/000017.seg\": column \"count\": block 0: checksum mismatch");
    assert_int_equal(strncmp(err.message, "segment \"", 9), 0);
    assert_null(strstr(err.message, "/tmp/")); /* the last two parts of the path, not all of it */
    segment_close(segment);
    image_done(&image);
}

static void a_newer_version_is_unsupported(void **state)
{
    struct image image;
    struct err err = {0};
    struct segment *segment = NULL;
    image_make(&image, 5);
    wr_u32(image.bytes.ptr + 8, 2);
    wr_u64(image.bytes.ptr + 24, checksum64(image.bytes.ptr, 24));
    put_file(&image, image.bytes.len);
    assert_fails(segment_open(image.t.io, image.t.path, NULL, NULL, 1, &segment, &err),
                 ERR_UNSUPPORTED, "version 2");
    assert_null(segment);
    image_done(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_byte_is_noticed),
        cmocka_unit_test(every_shorter_file_is_noticed),
        cmocka_unit_test(a_longer_file_is_noticed),
        cmocka_unit_test(forged_bytes_are_an_error_or_an_answer),
        cmocka_unit_test(errors_name_file_column_and_block),
        cmocka_unit_test(a_newer_version_is_unsupported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
