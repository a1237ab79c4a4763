/* tests/unit/segment/test_first_rows.c - files of first times: which rows stay, what of them, and that no byte of the file
 * can change unnoticed. */
#include "tests/unit/segment/segment_test.h"

#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"
#include "storage/segment_format.h"

#define ROWS_MAX 600u

struct bench {
    struct seg_table t;
    struct mem_row *rows; /* sorted as the segment would have them */
    uint32_t count;
};

static int row_cmp(const void *a, const void *b)
{
    return mem_row_cmp(&(const struct mem_row *){a}, &(const struct mem_row *){b});
}

static void bench_make(struct bench *b, struct rng *rng, uint32_t count)
{
    struct err err = {0};
    const struct random_shape shape = {.row_count = count,
                                       .subjects = 12,
                                       .subject_step = 9000,
                                       .span_ms = 2000,
                                       .events = 4,
                                       .has_props = true};
    table_open(&b->t);
    snprintf(b->t.path, sizeof(b->t.path), "%s/000017.first", b->t.dir);
    assert_ok(random_rows(b->t.arena, rng, &shape, &b->rows, &err));
    b->count = count;
    static const char *const weak[] = {"", "phone", "tablet"};
    for (uint32_t i = 0; i < count; i++) { /* some late, and devices that are shared */
        b->rows[i].arrival_ms = b->rows[i].time_ms + (int64_t)rng_below(rng, 3000);
        b->rows[i].anonymous_id = str_of(weak[rng_below(rng, 3)]);
    }
    qsort(b->rows, count, sizeof(*b->rows), row_cmp);
}

static bool has_weak(const struct mem_row *row)
{
    return row->user_id.len > 0 && row->anonymous_id.len > 0;
}

static bool are_alike(const struct mem_row *a, const struct mem_row *b)
{
    return a->subject == b->subject && str_eq(a->name, b->name) && has_weak(a) == has_weak(b) &&
           (!has_weak(a) || str_eq(a->anonymous_id, b->anonymous_id));
}

/* By definition: no row of its kind that is earlier had arrived by then. */
static bool is_first(const struct bench *b, uint32_t i, int64_t before_ms)
{
    bool is_first = b->rows[i].time_ms < before_ms;
    for (uint32_t k = 0; k < i; k++) {
        is_first = is_first && !(are_alike(&b->rows[k], &b->rows[i]) &&
                                 b->rows[k].arrival_ms <= b->rows[i].arrival_ms);
    }
    return is_first;
}

static void write_part(struct bench *b, const char *path, const struct mem_row *rows,
                       uint32_t count, int64_t before_ms, struct segment_stats *ret)
{
    struct err err = {0};
    const struct segment_write_opts opts = {.shard = 5};
    struct mem_source *mem = mem_source_create(rows, count, b->t.schema, 5);
    const struct source *source = mem_source_of(mem);
    const struct first_times_of of = {.before_ms = before_ms, .subject_end = UINT32_MAX};
    assert_ok(segment_write_first_times(b->t.io, path, &source, 1, &of, &opts, ret, &err));
    mem_source_free(mem);
}

static void expect_firsts(struct bench *b, const struct segment *segment, int64_t before_ms)
{
    struct err err = {0};
    const struct source *source = segment_source(segment);
    struct vec vec[COL_FIRST_PROP] = {0};
    uint32_t row = 0;
    assert_true(source->is_first_times);
    for (uint32_t c = 0; c < COL_FIRST_PROP; c++) {
        assert_ok(source_read(source, &b->t.ctx, c, 0, &vec[c], &err));
    }
    assert_int_equal(vec[COL_USER_ID].kind, VEC_ABSENT);
    for (uint32_t i = 0; i < b->count; i++) {
        if (!is_first(b, i, before_ms)) {
            continue;
        }
        uint16_t at = (uint16_t)row;
        uint32_t place = 0;
        assert_true(row < source->row_count);
        assert_int_equal(vec[COL_SUBJECT].u32[row], b->rows[i].subject);
        assert_int_equal(vec[COL_EVENT_TIME].i64[row], b->rows[i].time_ms);
        assert_int_equal(vec[COL_EVENT_ID].value_count, source->row_count);
        assert_int_equal(vec_str(&vec[COL_EVENT_ID], row).len, 0);
        vec_places(&vec[COL_ANONYMOUS_ID], &at, 1, &place);
        assert_int_equal(place != UINT32_MAX, has_weak(&b->rows[i]));
        row++;
    }
    assert_int_equal(row, source->row_count);
}

static void what_stays_is_the_first_of_each_kind_and_what_had_arrived_before_it(void **state)
{
    (void)state;
    for (uint64_t trial = 0; trial < 60; trial++) {
        struct err err = {0};
        struct bench b;
        struct segment_stats stats = {0};
        CLEANUP(segment_closep) struct segment *segment = NULL;
        struct rng rng = rng_init(test_seed() + trial);
        bench_make(&b, &rng, 1 + (uint32_t)rng_below(&rng, ROWS_MAX));
        int64_t before_ms = trial % 3 == 0 ? INT64_MAX : b.rows[b.count / 2].time_ms;
        write_part(&b, b.t.path, b.rows, b.count, before_ms, &stats);
        uint32_t wanted = 0;
        for (uint32_t i = 0; i < b.count; i++) {
            wanted += is_first(&b, i, before_ms);
        }
        assert_int_equal(stats.row_count, wanted);
        if (wanted > 0) {
            assert_ok(segment_open(b.t.io, b.t.path, b.t.schema, NULL, 1, &segment, &err));
            expect_firsts(&b, segment, before_ms);
            assert_ok(segment_verify(segment, b.t.io, &err));
        }
        table_close(&b.t);
    }
}

/* Two files merged have the rows, by (subject, time), of one that was written of all. */
static void merged_files_are_as_if_written_at_once(void **state)
{
    (void)state;
    for (uint64_t trial = 0; trial < 40; trial++) {
        struct err err = {0};
        struct bench b;
        struct segment_stats stats[3] = {{0}};
        char paths[2][128];
        const struct segment_write_opts opts = {.shard = 5};
        struct segment *parts[2] = {NULL, NULL};
        struct rng rng = rng_init(test_seed() + 1000 + trial);
        bench_make(&b, &rng, 2 + (uint32_t)rng_below(&rng, ROWS_MAX));
        struct mem_row *halves[2] = {calloc(b.count, sizeof(struct mem_row)),
                                     calloc(b.count, sizeof(struct mem_row))};
        uint32_t counts[2] = {0, 0};
        for (uint32_t i = 0; i < b.count; i++) {
            uint32_t half = i < 2 ? i : (uint32_t)rng_below(&rng, 2);
            halves[half][counts[half]++] = b.rows[i];
        }
        const struct source *sources[2];
        for (uint32_t i = 0; i < 2; i++) {
            snprintf(paths[i], sizeof(paths[i]), "%s/%06u.first", b.t.dir, i + 1);
            write_part(&b, paths[i], halves[i], counts[i], INT64_MAX, &stats[i]);
            assert_ok(segment_open(b.t.io, paths[i], NULL, NULL, 2 + i, &parts[i], &err));
            sources[i] = segment_source(parts[i]);
            free(halves[i]);
        }
        const struct first_times_of of = {.before_ms = INT64_MAX, .subject_end = UINT32_MAX};
        assert_ok(
            segment_write_first_times(b.t.io, b.t.path, sources, 2, &of, &opts, &stats[2], &err));
        CLEANUP(segment_closep) struct segment *merged = NULL;
        assert_ok(segment_open(b.t.io, b.t.path, NULL, NULL, 1, &merged, &err));
        uint32_t wanted = 0;
        for (uint32_t i = 0; i < b.count; i++) {
            wanted += is_first(&b, i, INT64_MAX);
        }
        assert_true(stats[2].row_count >=
                    wanted); /* rows of one instant may both have come through */
        assert_true(stats[2].row_count <= stats[0].row_count + stats[1].row_count);
        assert_ok(segment_verify(merged, b.t.io, &err));
        for (uint32_t i = 0; i < 2; i++) {
            segment_close(parts[i]);
            unlink(paths[i]);
        }
        table_close(&b.t);
    }
}

static void erased_subjects_leave_no_first_time(void **state)
{
    (void)state;
    struct err err = {0};
    struct bench b;
    struct segment_stats stats = {0};
    struct rng rng = rng_init(test_seed());
    const struct segment_write_opts opts = {.shard = 5};
    CLEANUP(segment_closep) struct segment *segment = NULL;
    bench_make(&b, &rng, 300);
    roaring_bitmap_t *deleted = roaring_bitmap_create();
    const struct first_times_of of = {
        .before_ms = INT64_MAX, .subject_end = UINT32_MAX, .deleted = deleted};
    roaring_bitmap_add(deleted, b.rows[0].subject);
    struct mem_source *mem = mem_source_create(b.rows, b.count, b.t.schema, 5);
    const struct source *source = mem_source_of(mem);
    assert_ok(segment_write_first_times(b.t.io, b.t.path, &source, 1, &of, &opts, &stats, &err));
    assert_ok(segment_open(b.t.io, b.t.path, NULL, NULL, 1, &segment, &err));
    assert_true(segment_source(segment)->subject_first > b.rows[0].subject);
    roaring_bitmap_add_range(deleted, 0, UINT32_MAX);
    assert_ok(segment_write_first_times(b.t.io, b.t.path, &source, 1, &of, &opts, &stats, &err));
    assert_int_equal(stats.row_count, 0); /* and no file */
    roaring_bitmap_free(deleted);
    mem_source_free(mem);
    table_close(&b.t);
}

static void put_bytes(struct bench *b, const struct buf *bytes, size_t len)
{
    struct err err = {0};
    struct io_file *file = NULL;
    assert_ok(io_open(b->t.io, b->t.path, IO_CREATE, &file, &err));
    assert_ok(io_write(b->t.io, file, 0, bytes->ptr, len, &err));
    io_close(file);
}

static enum err_code open_and_verify(struct bench *b, struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = NULL;
    ERR_TRY(segment_open(b->t.io, b->t.path, NULL, NULL, 1, &segment, err));
    return segment_verify(segment, b->t.io, err);
}

static void every_flipped_byte_and_every_shorter_file_is_noticed(void **state)
{
    (void)state;
    struct err err = {0};
    struct bench b;
    struct segment_stats stats = {0};
    CLEANUP(buf_freep) struct buf bytes = {0};
    struct rng rng = rng_init(test_seed());
    bench_make(&b, &rng, 60);
    write_part(&b, b.t.path, b.rows, b.count, INT64_MAX, &stats);
    assert_ok(io_read_file(b.t.io, b.t.path, 1u << 24, &bytes, &err));
    for (size_t at = 0; at < bytes.len; at++) {
        uint8_t was = bytes.ptr[at];
        bytes.ptr[at] ^= (uint8_t)(1u << rng_below(&rng, 8));
        put_bytes(&b, &bytes, bytes.len);
        enum err_code code = open_and_verify(&b, &err);
        if (code != ERR_CORRUPT && code != ERR_UNSUPPORTED) {
            fail_msg("byte %zu of %zu: %s", at, bytes.len, err_code_name(code));
        }
        bytes.ptr[at] = was;
    }
    for (size_t len = 0; len < bytes.len; len += 7) {
        put_bytes(&b, &bytes, len);
        assert_int_equal(open_and_verify(&b, &err), ERR_CORRUPT);
    }
    table_close(&b.t);
}

static void versions_and_magics_are_told_apart(void **state)
{
    (void)state;
    struct err err = {0};
    struct bench b;
    struct segment_stats stats = {0};
    CLEANUP(buf_freep) struct buf bytes = {0};
    struct rng rng = rng_init(test_seed());
    bench_make(&b, &rng, 60);
    write_part(&b, b.t.path, b.rows, b.count, INT64_MAX, &stats);
    assert_ok(io_read_file(b.t.io, b.t.path, 1u << 24, &bytes, &err));
    wr_u32(bytes.ptr + 8, FIRST_TIMES_VERSION + 1);
    wr_u64(bytes.ptr + 24, checksum64(bytes.ptr, 24));
    put_bytes(&b, &bytes, bytes.len);
    assert_fails(open_and_verify(&b, &err), ERR_UNSUPPORTED, "version 2");
    /* A segment under this magic has columns that first times have not. */
    const struct segment_write_opts opts = {.shard = 5};
    struct mem_source *mem = mem_source_create(b.rows, b.count, b.t.schema, 5);
    const struct source *source = mem_source_of(mem);
    assert_ok(segment_write(b.t.io, b.t.path, b.t.schema, &source, 1, INT64_MIN, INT64_MAX, NULL,
                            &opts, &stats, &err));
    buf_clear(&bytes);
    assert_ok(io_read_file(b.t.io, b.t.path, 1u << 24, &bytes, &err));
    memcpy(bytes.ptr, FIRST_TIMES_MAGIC, 8);
    wr_u64(bytes.ptr + 24, checksum64(bytes.ptr, 24));
    put_bytes(&b, &bytes, bytes.len);
    assert_fails(open_and_verify(&b, &err), ERR_CORRUPT, "first times have no column");
    mem_source_free(mem);
    table_close(&b.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_stays_is_the_first_of_each_kind_and_what_had_arrived_before_it),
        cmocka_unit_test(merged_files_are_as_if_written_at_once),
        cmocka_unit_test(erased_subjects_leave_no_first_time),
        cmocka_unit_test(every_flipped_byte_and_every_shorter_file_is_noticed),
        cmocka_unit_test(versions_and_magics_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
