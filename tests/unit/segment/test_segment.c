/* tests/unit/segment/test_segment.c - tests storage/segment_*.c and storage/block_cache.c: what is left out, what is bound,
 * what is kept in memory, and by how many threads at once.
 */
#include "tests/unit/segment/segment_test.h"

#include "storage/base/size.h"
#include "storage/segment_int.h"

#include <pthread.h>
#include <sys/stat.h>

#define DAY_MS  INT64_C(86400000)
#define HOUR_MS INT64_C(3600000)

static struct mem_row plain_row(uint32_t subject, int64_t time_ms, const char *name,
                                const char *event_id)
{
    return (struct mem_row){
        .subject = subject,
        .time_ms = time_ms,
        .arrival_ms = time_ms + 5,
        .name = str_of(name),
        .event_id = str_of(event_id),
        .user_id = STR("someone"),
    };
}

static void write_rows(struct seg_table *t, const struct mem_row *rows, uint32_t count,
                       const struct segment_write_opts *opts)
{
    struct err err = {0};
    struct segment_stats stats = {0};
    struct mem_source *mem = mem_source_create(rows, count, t->schema, 0);
    const struct source *source = mem_source_of(mem);
    assert_ok(segment_write(t->io, t->path, t->schema, &source, 1, INT64_MIN, INT64_MAX, NULL, opts,
                            &stats, &err));
    mem_source_free(mem);
}

static void write_random(struct seg_table *t, const struct random_shape *shape,
                         struct mem_row **ret_rows)
{
    struct err err = {0};
    struct rng rng = rng_init(test_seed());
    assert_ok(random_rows(t->arena, &rng, shape, ret_rows, &err));
    write_rows(t, *ret_rows, shape->row_count, &(struct segment_write_opts){0});
}

static void rows_outside_of_the_times_and_deleted_subjects_are_left_out(void **state)
{
    struct seg_table t;
    struct err err = {0};
    table_open(&t);
    struct mem_row *rows = NULL;
    struct rng rng = rng_init(test_seed());
    struct random_shape shape = {
        .row_count = 500, .subjects = 20, .span_ms = 1000, .events = 3, .has_props = true};
    assert_ok(random_rows(t.arena, &rng, &shape, &rows, &err));
    struct mem_source *mem = mem_source_create(rows, 500, t.schema, 0);
    const struct source *source = mem_source_of(mem);
    roaring_bitmap_t *deleted = roaring_bitmap_of(3, 0, 7, 19);
    int64_t begin_ms = INT64_C(1700000000000) + 200;
    int64_t end_ms = begin_ms + 500;
    const struct mem_row *want[500];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 500; i++) {
        const struct mem_row *row = mem_source_row(mem, i);
        if (row->time_ms >= begin_ms && row->time_ms < end_ms &&
            !roaring_bitmap_contains(deleted, row->subject)) {
            want[count++] = row;
        }
    }
    struct segment_write_opts opts = {.shard = 2, .identity_version = 9};
    struct segment_stats stats = {0};
    struct segment *segment = NULL;
    assert_ok(segment_write(t.io, t.path, t.schema, &source, 1, begin_ms, end_ms, deleted, &opts,
                            &stats, &err));
    assert_int_equal(stats.row_count, count);
    assert_true(count > 50 && count < 450);
    assert_ok(segment_open(t.io, t.path, t.schema, NULL, 4, &segment, &err));
    assert_ok(source_equals_rows(segment_source(segment), t.schema, &t.ctx, want, count, &err));
    assert_int_equal(segment_source(segment)->shard, 2);
    assert_int_equal(segment_source(segment)->id, 4);
    assert_int_equal(segment_source(segment)->time_min_ms, stats.time_min_ms);
    assert_ok(segment_verify(segment, t.io, &err));
    segment_close(segment);
    roaring_bitmap_free(deleted);
    mem_source_free(mem);
    table_close(&t);
}

static void no_rows_make_no_file(void **state)
{
    struct seg_table t;
    struct err err = {0};
    struct stat st;
    table_open(&t);
    struct mem_row row = plain_row(1, 1000, "view", "a");
    struct mem_source *mem = mem_source_create(&row, 1, t.schema, 0);
    const struct source *source = mem_source_of(mem);
    struct segment_write_opts opts = {0};
    struct segment_stats stats = {.row_count = 77};
    assert_ok(
        segment_write(t.io, t.path, t.schema, &source, 1, 0, 1000, NULL, &opts, &stats, &err));
    assert_int_equal(stats.row_count, 0);
    assert_int_not_equal(stat(t.path, &st), 0);
    assert_ok(segment_write(t.io, t.path, t.schema, NULL, 0, 0, 1000, NULL, &opts, &stats, &err));
    assert_int_equal(stats.row_count, 0);
    mem_source_free(mem);
    table_close(&t);
}

static void a_failed_write_leaves_nothing_behind(void **state)
{
    struct seg_table t;
    struct err err = {0};
    struct stat st;
    char tmp[128];
    table_open(&t);
    snprintf(tmp, sizeof(tmp), "%s.tmp", t.path);
    struct mem_row row = plain_row(1, 1000, "view", "a");
    struct mem_source *mem = mem_source_create(&row, 1, t.schema, 0);
    const struct source *source = mem_source_of(mem);
    const int64_t days[] = {0, 500}; /* do not cover the row: found after the columns are written */
    struct segment_write_opts opts = {.day_begins_ms = days, .day_count = 1};
    struct segment_stats stats = {0};
    assert_fails(segment_write(t.io, t.path, t.schema, &source, 1, INT64_MIN, INT64_MAX, NULL,
                               &opts, &stats, &err),
                 ERR_INVALID, "days");
    assert_int_not_equal(stat(t.path, &st), 0);
    assert_int_not_equal(stat(tmp, &st), 0);
    mem_source_free(mem);
    table_close(&t);
}

static void columns_are_bound_to_the_schema_by_name_and_type(void **state)
{
    struct seg_table t;
    struct err err = {0};
    struct mem_row *rows = NULL;
    struct schema *other = NULL;
    table_open(&t);
    struct random_shape shape = {
        .row_count = 200, .subjects = 20, .span_ms = 1000, .events = 3, .has_props = true};
    write_random(&t, &shape, &rows);
    uint32_t text = 0;
    uint32_t number = 0;
    uint32_t unknown = 0;
    assert_ok(schema_create(&other, &err));
    assert_ok(schema_add(other, STR("unknown"), COL_STRING, &unknown, &err));
    assert_ok(schema_add(other, STR("country"), COL_NUMBER, &number, &err));
    assert_ok(schema_add(other, STR("country"), COL_STRING, &text, &err));
    struct segment *segment = NULL;
    assert_ok(segment_open(t.io, t.path, other, NULL, 1, &segment, &err));
    const struct source *source = segment_source(segment);
    struct vec vec = {0};
    assert_ok(source_read(source, &t.ctx, COL_FIRST_PROP + text, 0, &vec, &err));
    assert_int_equal(vec.kind, VEC_CODE);
    assert_int_equal(vec.value_count, 200);
    assert_ok(source_read(source, &t.ctx, COL_FIRST_PROP + number, 0, &vec, &err));
    assert_true(vec.kind == VEC_NUM && vec.value_count < 50);
    assert_ok(source_read(source, &t.ctx, COL_FIRST_PROP + unknown, 0, &vec, &err));
    assert_int_equal(vec.kind, VEC_ABSENT);
    assert_ok(source_read(source, &t.ctx, COL_FIRST_PROP + 5000, 0, &vec, &err)); /* added later */
    assert_int_equal(vec.kind, VEC_ABSENT);
    bool found = true;
    uint32_t code = 0;
    assert_ok(source_code(source, &t.ctx, COL_EVENT_NAME, STR("event 1"), &found, &code, &err));
    assert_true(found && code == 1);
    assert_ok(source_code(source, &t.ctx, COL_EVENT_NAME, STR("event"), &found, &code, &err));
    assert_false(found);
    segment_close(segment);
    schema_free(other);
    table_close(&t);
}

static uint32_t sets_of(const struct segment *segment, struct read_ctx *ctx, uint32_t event,
                        const struct subject_set **ret)
{
    struct err err = {0};
    uint32_t count = 0;
    assert_ok(source_subject_sets(segment_source(segment), ctx, event, ret, &count, &err));
    return count;
}

/* Many rows per hour and subject: the finest sets stay below a tenth of the file. */
static void subject_sets_are_by_hour_and_civil_day_while_they_are_cheap(void **state)
{
    enum { ROWS = 60000, DAYS = 3 };
    struct seg_table t;
    struct err err = {0};
    table_open(&t);
    /* a zone five and a half hours ahead, and a day of 23 hours */
    const int64_t days[DAYS + 1] = {-19800000, DAY_MS - 19800000, 2 * DAY_MS - 19800000 - HOUR_MS,
                                    3 * DAY_MS - 19800000 - HOUR_MS};
    struct mem_row *rows = NULL;
    assert_ok(ARENA_NEW(t.arena, ROWS, &rows, &err));
    for (uint32_t i = 0; i < ROWS; i++) {
        struct str id = {0};
        assert_ok(arena_printf(t.arena, &id, &err, "%08x", i * 2654435761u));
        int64_t time_ms =
            days[0] + (int64_t)((uint64_t)i * 7919000 % (uint64_t)(days[DAYS] - days[0]));
        rows[i] = plain_row(i % 50, time_ms, i % 3 == 0 ? "buy" : "view", id.ptr);
    }
    struct segment_write_opts opts = {.day_begins_ms = days, .day_count = DAYS};
    write_rows(&t, rows, ROWS, &opts);
    struct segment *segment = NULL;
    assert_ok(segment_open(t.io, t.path, t.schema, NULL, 1, &segment, &err));
    const struct subject_set *sets = NULL;
    uint32_t count = sets_of(segment, &t.ctx, SUBJECT_SET_ANY, &sets);
    assert_int_equal(count, 24 + 23 + 24);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(sets[i].end_ms - sets[i].begin_ms <= HOUR_MS);
    }
    count = sets_of(segment, &t.ctx, 0, &sets);
    assert_int_equal(count, DAYS);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(sets[i].begin_ms >= days[i] && sets[i].end_ms <= days[i + 1]);
    }
    struct segment_info info = segment_info(segment);
    assert_true(info.set_bytes < info.file_bytes / 9);
    assert_int_equal(info.event_count, 2);
    assert_ok(segment_verify(segment, t.io, &err));
    segment_close(segment);
    table_close(&t);
}

static void subject_sets_widen_where_they_would_cost_too_much(void **state)
{
    struct seg_table t;
    struct err err = {0};
    struct mem_row *rows = NULL;
    table_open(&t);
    /* a row per subject and hour or so, over a year */
    struct random_shape shape = {
        .row_count = 5000, .subjects = 60000, .span_ms = 365 * (uint64_t)DAY_MS, .events = 10};
    write_random(&t, &shape, &rows);
    struct segment *segment = NULL;
    const struct subject_set *sets = NULL;
    assert_ok(segment_open(t.io, t.path, t.schema, NULL, 1, &segment, &err));
    assert_int_equal(sets_of(segment, &t.ctx, SUBJECT_SET_ANY, &sets), 1);
    assert_int_equal(sets[0].begin_ms, segment_source(segment)->time_min_ms);
    assert_int_equal(sets[0].end_ms, segment_source(segment)->time_max_ms + 1);
    assert_int_equal(sets_of(segment, &t.ctx, 3, &sets), 1);
    assert_int_equal(segment_info(segment).set_count, 11);
    assert_int_equal(sets_of(segment, &t.ctx, 10, &sets), 0); /* no such event */
    segment_close(segment);
    table_close(&t);
}

static void times_at_the_ends_of_64_bits_are_kept(void **state)
{
    struct seg_table t;
    struct err err = {0};
    table_open(&t);
    const struct mem_row rows[] = {
        {.subject = 0,
         .time_ms = INT64_MIN,
         .arrival_ms = INT64_MAX,
         .name = STR("a"),
         .event_id = STR("1")},
        {.subject = UINT32_MAX,
         .time_ms = INT64_MAX - 1,
         .arrival_ms = INT64_MIN,
         .name = STR("a"),
         .event_id = STR("2")},
        {.subject = UINT32_MAX,
         .time_ms = 0,
         .arrival_ms = 0,
         .name = STR("b"),
         .event_id = STR("3")},
    };
    write_rows(&t, rows, 3, &(struct segment_write_opts){0});
    const struct mem_row *sorted[] = {&rows[0], &rows[2], &rows[1]};
    struct segment *segment = NULL;
    assert_ok(segment_open(t.io, t.path, t.schema, NULL, 1, &segment, &err));
    const struct subject_set *sets = NULL;
    assert_int_equal(sets_of(segment, &t.ctx, SUBJECT_SET_ANY, &sets), 1);
    struct vec vec = {0};
    for (uint32_t i = 0; i < 3; i++) {
        assert_ok(source_read(segment_source(segment), &t.ctx, COL_EVENT_TIME, 0, &vec, &err));
        assert_true(vec.i64[i] == sorted[i]->time_ms);
        assert_ok(source_read(segment_source(segment), &t.ctx, COL_ARRIVAL, 0, &vec, &err));
        assert_true(vec.i64[i] == sorted[i]->arrival_ms);
        assert_ok(source_read(segment_source(segment), &t.ctx, COL_SUBJECT, 0, &vec, &err));
        assert_int_equal(vec.u32[i], sorted[i]->subject);
    }
    assert_ok(segment_verify(segment, t.io, &err));
    segment_close(segment);
    table_close(&t);
}

static void a_property_of_one_event_costs_no_presence(void **state)
{
    enum { ROWS = 4000 };
    struct seg_table t;
    struct err err = {0};
    table_open(&t);
    struct mem_row *rows = NULL;
    struct mem_value *values = NULL;
    struct rng rng = rng_init(test_seed());
    uint32_t prop = schema_find(t.schema, STR("is_new"), COL_BOOL);
    assert_ok(ARENA_NEW(t.arena, ROWS, &rows, &err));
    assert_ok(ARENA_NEW(t.arena, ROWS, &values, &err));
    for (uint32_t i = 0; i < ROWS; i++) {
        struct str id = {0};
        assert_ok(arena_printf(t.arena, &id, &err, "%u", i));
        rows[i] = plain_row(i / 10, (int64_t)i, rng_below(&rng, 3) == 0 ? "buy" : "view", id.ptr);
        if (rows[i].name.ptr[0] == 'b') {
            values[i] = (struct mem_value){.prop = prop, .boolean = true};
            rows[i].values = &values[i];
            rows[i].value_count = 1;
        }
    }
    write_rows(&t, rows, ROWS, &(struct segment_write_opts){0});
    struct segment *segment = NULL;
    assert_ok(segment_open(t.io, t.path, t.schema, NULL, 1, &segment, &err));
    for (uint32_t i = 0; i < segment_info(segment).col_count; i++) {
        struct segment_col_info info = segment_col_info(segment, i);
        if (str_eq(info.name, STR("is_new"))) {
            assert_true(info.bytes < 64);
            assert_string_equal(segment_block_info(segment, i, 0).encoding, "const");
        }
    }
    struct mem_source *mem = mem_source_create(rows, ROWS, t.schema, 0);
    const struct mem_row *sorted[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) {
        sorted[i] = mem_source_row(mem, i);
    }
    assert_ok(source_equals_rows(segment_source(segment), t.schema, &t.ctx, sorted, ROWS, &err));
    segment_close(segment);
    mem_source_free(mem);
    table_close(&t);
}

/* ---- the cache ---- */

static void the_cache_stays_within_its_bytes_and_serves_hits(void **state)
{
    struct seg_table t;
    struct err err = {0};
    struct mem_row *rows = NULL;
    struct block_cache *cache = NULL;
    struct segment *segment = NULL;
    table_open(&t);
    struct random_shape shape = {
        .row_count = 3000, .subjects = 200, .span_ms = 90000000, .events = 5, .has_props = true};
    write_random(&t, &shape, &rows);
    assert_ok(block_cache_create((size_t)16 << 20, &cache, &err));
    assert_ok(segment_open(t.io, t.path, t.schema, cache, 1, &segment, &err));
    struct vec vec = {0};
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t col = 0; col < COL_FIRST_PROP; col++) {
            assert_ok(source_read(segment_source(segment), &t.ctx, col, 0, &vec, &err));
        }
    }
    uint64_t first_loads = t.ctx.blocks_loaded;
    assert_int_equal(first_loads, COL_FIRST_PROP); /* the second pass touched no disk */
    assert_true(block_cache_stats(cache).hits >= COL_FIRST_PROP);
    segment_close(segment);
    block_cache_free(cache);

    /* Too small for any block: everything still reads, nothing is kept. */
    assert_ok(block_cache_create(16, &cache, &err));
    assert_ok(segment_open(t.io, t.path, t.schema, cache, 1, &segment, &err));
    assert_ok(source_read(segment_source(segment), &t.ctx, COL_EVENT_ID, 0, &vec, &err));
    assert_int_equal(block_cache_stats(cache).bytes, 0);
    segment_close(segment);
    block_cache_free(cache);
    table_close(&t);
}

static void pinned_blocks_are_not_evicted(void **state)
{
    struct err err = {0};
    struct block_cache *cache = NULL;
    assert_ok(block_cache_create((size_t)64 << 10, &cache, &err)); /* 4 KiB a stripe */
    struct cache_block *held = NULL;
    assert_ok(cache_block_create(1, 0, 1000, &held, &err));
    memset(held->data, 0x5a, 1000);
    block_cache_offer(cache, held);
    for (uint64_t off = 8; off < 80000; off += 8) {
        struct cache_block *block = NULL;
        assert_ok(cache_block_create(1, off, 700, &block, &err));
        memset(block->data, 0, 700);
        block_cache_offer(cache, block);
        cache_block_unpin(block);
        assert_true(block_cache_stats(cache).bytes <= (64u << 10));
    }
    assert_true(block_cache_stats(cache).evictions > 1000);
    struct cache_block *again = block_cache_pin(cache, 1, 0, true);
    assert_ptr_equal(again, held);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(held->data[i], 0x5a);
    }
    cache_block_unpin(again);
    cache_block_unpin(held);
    block_cache_free(cache);
}

/* ---- threads ---- */

struct reader {
    const struct segment *segment;
    const struct schema *schema;
    const struct mem_row **rows;
    uint32_t count;
    struct err err;
    enum err_code code;
};

static void *reader_main(void *arg)
{
    struct reader *reader = arg;
    CLEANUP(io_freep) struct io *io = NULL;
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    reader->code = io_create(IO_POSIX, &io, &reader->err);
    struct read_ctx ctx = {.arena = arena, .io = io};
    for (int i = 0; i < 5 && reader->code == ERR_OK; i++) {
        reader->code = source_equals_rows(segment_source(reader->segment), reader->schema, &ctx,
                                          reader->rows, reader->count, &reader->err);
    }
    return NULL;
}

static void readers_at_once_see_the_same_rows(void **state)
{
    enum { READERS = 4, ROWS = 1500 };
    struct seg_table t;
    struct err err = {0};
    struct mem_row *rows = NULL;
    struct block_cache *cache = NULL;
    struct segment *segment = NULL;
    table_open(&t);
    struct random_shape shape = {
        .row_count = ROWS, .subjects = 100, .span_ms = 90000000, .events = 5, .has_props = true};
    write_random(&t, &shape, &rows);
    const struct mem_row *sorted[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) {
        sorted[i] = &rows[i];
    }
    qsort(sorted, ROWS, sizeof(*sorted), mem_row_cmp);
    assert_ok(
        block_cache_create((size_t)128 << 10, &cache, &err)); /* small: evictions all the time */
    assert_ok(segment_open(t.io, t.path, t.schema, cache, 1, &segment, &err));
    struct reader readers[READERS];
    pthread_t threads[READERS];
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i] =
            (struct reader){.segment = segment, .schema = t.schema, .rows = sorted, .count = ROWS};
        assert_int_equal(pthread_create(&threads[i], NULL, reader_main, &readers[i]), 0);
    }
    for (uint32_t i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        if (readers[i].code != ERR_OK) {
            fail_msg("reader %u: %s", i, readers[i].err.message);
        }
    }
    segment_close(segment);
    block_cache_free(cache);
    table_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_outside_of_the_times_and_deleted_subjects_are_left_out),
        cmocka_unit_test(no_rows_make_no_file),
        cmocka_unit_test(a_failed_write_leaves_nothing_behind),
        cmocka_unit_test(columns_are_bound_to_the_schema_by_name_and_type),
        cmocka_unit_test(subject_sets_are_by_hour_and_civil_day_while_they_are_cheap),
        cmocka_unit_test(subject_sets_widen_where_they_would_cost_too_much),
        cmocka_unit_test(times_at_the_ends_of_64_bits_are_kept),
        cmocka_unit_test(a_property_of_one_event_costs_no_presence),
        cmocka_unit_test(the_cache_stays_within_its_bytes_and_serves_hits),
        cmocka_unit_test(pinned_blocks_are_not_evicted),
        cmocka_unit_test(readers_at_once_see_the_same_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
