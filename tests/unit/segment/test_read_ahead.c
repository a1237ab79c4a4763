/* tests/unit/segment/test_read_ahead.c - tests storage/segment_ahead.c and storage/read_ahead.c: that what is fetched
 * ahead is what is read, in how many calls, within which memory, and what becomes of it when a read
 * fails.
 */
#include "tests/unit/segment/segment_test.h"

#include "storage/base/io_int.h"
#include "storage/base/size.h"
#include "storage/read_held.h"
#include "storage/segment_int.h"

#define ROWS 70000u /* two blocks */

/* The file and its rows, made once. */
static struct {
    struct seg_table t;
    const struct mem_row **sorted;
} world;

/* Counts what passes, and fails some of it. */
struct watch {
    uint32_t batches, requests, reads;
    uint64_t bytes;
    uint32_t fail_batches; /* so many of the next ones */
    bool flips;            /* a bit of each batch */
    bool ends;             /* each batch meets the end of the file */
};

struct bench {
    struct watch watch;
    struct io *io; /* that watches; over one of its own */
    struct block_cache *cache;
    struct segment *segment;
    const struct source *source;
    struct read_ahead ahead;
    struct read_ctx ctx;
    struct arena *arena;
};

static enum err_code watch_read(struct io *io, struct io_file *file, uint64_t off, void *out,
                                size_t len, struct err *err)
{
    struct watch *watch = io->ctx;
    watch->reads++;
    watch->bytes += len;
    return io_read(io->inner, file, off, out, len, err);
}

static enum err_code watch_read_batch(struct io *io, const struct io_read_req *reqs, size_t count,
                                      struct err *err)
{
    struct watch *watch = io->ctx;
    watch->batches++;
    watch->requests += (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        watch->bytes += reqs[i].len;
    }
    if (watch->fail_batches > 0) {
        watch->fail_batches--;
        return err_set(err, ERR_IO, "file \"%s\": injected", io_path(reqs[0].file));
    }
    if (watch->ends) {
        return io_past_end(io->inner, reqs[0].file, reqs[0].off, reqs[0].len, err);
    }
    ERR_TRY(io_read_batch(io->inner, reqs, count, err));
    if (watch->flips) {
        ((uint8_t *)reqs[0].out)[reqs[0].len / 2] ^= 4;
    }
    return ERR_OK;
}

static void watch_free(struct io *io)
{
    (void)io; /* the test's */
}

static int world_open(void **state)
{
    (void)state;
    struct err err = {0};
    struct mem_row *rows = NULL;
    struct segment_stats stats = {0};
    table_open(&world.t);
    struct rng rng = rng_init(test_seed());
    struct random_shape shape = {
        .row_count = ROWS, .subjects = 900, .span_ms = 90000000, .events = 6, .has_props = true};
    assert_ok(random_rows(world.t.arena, &rng, &shape, &rows, &err));
    struct mem_source *mem = mem_source_create(rows, ROWS, world.t.schema, 0);
    const struct source *source = mem_source_of(mem);
    assert_ok(segment_write(world.t.io, world.t.path, world.t.schema, &source, 1, INT64_MIN,
                            INT64_MAX, NULL, &(struct segment_write_opts){0}, &stats, &err));
    mem_source_free(mem);
    world.sorted = calloc(ROWS, sizeof(*world.sorted));
    assert_non_null(world.sorted);
    for (uint32_t i = 0; i < ROWS; i++) {
        world.sorted[i] = &rows[i];
    }
    qsort(world.sorted, ROWS, sizeof(*world.sorted), mem_row_cmp);
    return 0;
}

static int world_close(void **state)
{
    (void)state;
    free(world.sorted);
    table_close(&world.t);
    return 0;
}

static void bench_open(struct bench *b, size_t cache_bytes)
{
    static struct io_ops ops;
    struct err err = {0};
    struct io *inner = NULL;
    memset(b, 0, sizeof(*b));
    ops = io_forward_ops;
    ops.read = watch_read;
    ops.read_batch = watch_read_batch;
    ops.free = watch_free;
    assert_ok(io_create(IO_AUTO, &inner, &err));
    assert_ok(io_wrap(inner, &ops, &b->watch, &b->io, &err));
    assert_ok(block_cache_create(cache_bytes, &b->cache, &err));
    assert_ok(segment_open(b->io, world.t.path, world.t.schema, b->cache, 1, &b->segment, &err));
    b->source = segment_source(b->segment);
    b->arena = arena_create(NULL);
    b->ahead = (struct read_ahead){.bytes_max = (size_t)64 << 20};
    b->ctx = (struct read_ctx){.arena = b->arena, .io = b->io, .ahead = &b->ahead};
    b->watch = (struct watch){0};
}

static void bench_close(struct bench *b)
{
    read_ahead_done(&b->ahead);
    segment_close(b->segment);
    block_cache_free(b->cache);
    io_free(b->io);
    arena_free(b->arena);
}

/* Every column of every block; names also by value. */
static uint32_t all_items(const struct bench *b, struct read_item *out)
{
    uint32_t count = 0;
    for (uint32_t block = 0; block < b->source->block_count; block++) {
        out[count++] =
            (struct read_item){.col = COL_EVENT_NAME, .block = block, .is_by_value = true};
        for (uint32_t col = 0; col < COL_FIRST_PROP + b->segment->prop_count; col++) {
            out[count++] = (struct read_item){.col = col, .block = block};
        }
    }
    return count;
}

#define ITEMS_MAX 512u

static void one_batch_fetches_all_that_will_be_read(void **state)
{
    (void)state;
    struct bench b;
    struct err err = {0};
    struct read_item items[ITEMS_MAX];
    for (uint32_t i = 0; i < 2; i++) {
        bench_open(&b, i == 0 ? (size_t)64 << 20 : 16); /* a cache that takes all, and none */
        assert_int_equal(b.source->block_count, 2);
        uint32_t count = all_items(&b, items);
        assert_int_equal(source_prefetch(b.source, &b.ctx, items, count), count);
        assert_int_equal(b.watch.batches, 1);
        assert_true(b.watch.requests < count * 2 / 3); /* neighbours are one request */
        assert_true(b.watch.bytes < b.segment->file_bytes + ((uint64_t)16 << 10) * count);
        assert_int_equal(b.ctx.blocks_loaded, 0); /* counted when they are read */
        assert_ok(source_equals_rows(b.source, world.t.schema, &b.ctx, world.sorted, ROWS, &err));
        uint64_t blocks = 0;
        for (uint32_t c = 0; c < b.segment->col_count; c++) {
            blocks += (uint32_t)__builtin_popcountll(b.segment->cols[c].present);
        }
        assert_int_equal(b.ctx.blocks_loaded, blocks);
        assert_int_equal(b.watch.batches, 1);
        /* Subject sets were not asked for; they are all that was read one by one. */
        assert_true(b.watch.reads <= b.segment->set_count);
        bench_close(&b);
    }
}

/* Two batches where the second is about what the first has shown. */
static void what_a_block_needs_is_fetched_with_it(void **state)
{
    (void)state;
    struct bench b;
    struct err err = {0};
    bench_open(&b, (size_t)64 << 20);
    uint32_t needy = 0;
    for (uint32_t p = 0; p < b.segment->prop_count; p++) {
        const struct seg_col *col = segment_find_col(b.segment, COL_FIRST_PROP + p);
        const struct seg_block *said = col == NULL ? NULL : seg_col_block(col, 1);
        if (said == NULL) {
            continue;
        }
        struct read_item item = {.col = COL_FIRST_PROP + p, .block = 1};
        struct vec vec = {0};
        b.watch = (struct watch){0};
        assert_int_equal(source_prefetch(b.source, &b.ctx, &item, 1), 1);
        needy += b.watch.batches == 2;
        assert_ok(source_read(b.source, &b.ctx, item.col, item.block, &vec, &err));
        assert_int_equal(b.watch.reads, 0);
    }
    assert_true(needy > 0); /* presence by event */
    struct read_item arrival = {.col = COL_ARRIVAL};
    struct vec vec = {0};
    b.watch = (struct watch){0};
    assert_int_equal(source_prefetch(b.source, &b.ctx, &arrival, 1), 1);
    assert_ok(source_read(b.source, &b.ctx, COL_ARRIVAL, 0, &vec, &err));
    assert_int_equal(b.watch.reads, 0); /* whether it is less the event time or not */
    bench_close(&b);
}

/* The other form is made, and what it is made of is let go of: a cache of nothing but the form. */
static void what_is_kept_in_another_form_is_not_fetched(void **state)
{
    (void)state;
    for (int form = 0; form < 2; form++) {
        struct bench b;
        struct err err = {0};
        struct read_held held = {0};
        struct event_rows rows = {0};
        struct block_journeys journeys = {0};
        bool is_found = false;
        struct read_item item = {.col = COL_EVENT_TIME,
                                 .block = 1,
                                 .unless =
                                     form == 0 ? READ_UNLESS_EVENT_ROWS : READ_UNLESS_JOURNEYS};
        bench_open(&b, (size_t)64 << 20);
        assert_int_equal(source_prefetch(b.source, &b.ctx, &item, 1), 1);
        assert_int_equal(b.ahead.count, 1); /* it is needed to make the form */
        b.ctx.held = &held;
        assert_ok(form == 0
                      ? source_event_rows(b.source, &b.ctx, 0, 1, &rows, &is_found, &err)
                      : source_block_journeys(b.source, &b.ctx, 1, &journeys, &is_found, &err));
        assert_true(is_found);
        read_ahead_clear(&b.ahead);
        assert_int_equal(source_prefetch(b.source, &b.ctx, &item, 1), 1);
        assert_int_equal(b.ahead.count, 0);
        item.unless = READ_ALWAYS;
        assert_int_equal(source_prefetch(b.source, &b.ctx, &item, 1), 1);
        assert_int_equal(b.ahead.count, 1);
        b.ctx.held = NULL;
        read_held_done(&held);
        bench_close(&b);
    }
}

static void subject_sets_are_fetched_in_one_batch(void **state)
{
    (void)state;
    struct bench b;
    struct err err = {0};
    const struct subject_set *sets = NULL;
    uint32_t count = 0;
    bench_open(&b, (size_t)64 << 20);
    assert_ok(source_subject_sets(b.source, &b.ctx, SUBJECT_SET_ANY, &sets, &count, &err));
    assert_true(count > 10);
    assert_int_equal(source_prefetch_sets(b.source, &b.ctx, sets, count), count);
    assert_int_equal(b.watch.batches, 1);
    for (uint32_t i = 0; i < count; i++) {
        const roaring_bitmap_t *set = NULL;
        assert_ok(source_subject_set(b.source, &b.ctx, sets[i].set_idx, &set, &err));
    }
    assert_int_equal(b.watch.reads, 0);
    read_ahead_clear(&b.ahead);
    assert_int_equal(source_prefetch_sets(b.source, &b.ctx, sets, count), count);
    assert_int_equal(b.watch.batches, 1); /* decoded sets stay */
    assert_int_equal(b.ahead.count, 0);
    bench_close(&b);
}

static void memory_is_bound_and_given_back(void **state)
{
    (void)state;
    struct bench b;
    struct err err = {0};
    struct budget budget;
    struct read_item items[ITEMS_MAX];
    bench_open(&b, 16);
    uint32_t count = all_items(&b, items);
    b.ahead.bytes_max = (size_t)1 << 20;
    uint32_t rounds = 0;
    for (uint32_t i = 0; i < count; rounds++) {
        read_ahead_clear(&b.ahead);
        uint32_t done = source_prefetch(b.source, &b.ctx, items + i, count - i);
        assert_true(b.ahead.bytes <= b.ahead.bytes_max);
        i += MAX_OF(done, 1u);
    }
    assert_true(rounds > 1);

    budget_init(&budget, (size_t)16 << 20, "query memory");
    read_ahead_clear(&b.ahead);
    b.ahead.budget = &budget;
    assert_true(source_prefetch(b.source, &b.ctx, items, count) > 0);
    assert_int_equal(budget.used_bytes, b.ahead.bytes); /* the cache has kept nothing */
    assert_true(budget.used_bytes > 0);
    read_ahead_clear(&b.ahead);
    assert_int_equal(budget.used_bytes, 0);

    /* Scarce: nothing is fetched, and reading goes on without. */
    assert_ok(budget_take(&budget, (size_t)8 << 20, &err));
    b.watch = (struct watch){0};
    assert_int_equal(source_prefetch(b.source, &b.ctx, items, 1), 1);
    assert_int_equal(b.watch.batches, 0);
    assert_int_equal(b.ahead.count, 0);
    struct vec vec = {0};
    assert_ok(source_read(b.source, &b.ctx, COL_EVENT_TIME, 0, &vec, &err));
    bench_close(&b);
}

static void a_merge_leaves_nothing_in_the_cache_and_takes_what_is_there(void **state)
{
    (void)state;
    struct bench b;
    struct err err = {0};
    struct read_item items[ITEMS_MAX];
    bench_open(&b, (size_t)64 << 20);
    struct vec vec = {0};
    assert_ok(source_read(b.source, &b.ctx, COL_EVENT_TIME, 1, &vec, &err));
    size_t bytes = block_cache_stats(b.cache).bytes;
    b.ctx.is_once = true;
    uint32_t count = all_items(&b, items);
    assert_int_equal(source_prefetch(b.source, &b.ctx, items, count), count);
    assert_int_equal(block_cache_stats(b.cache).bytes, bytes);
    b.watch = (struct watch){0};
    b.ctx.blocks_loaded = 0;
    assert_ok(source_read(b.source, &b.ctx, COL_EVENT_TIME, 1, &vec, &err));
    assert_int_equal(b.ctx.blocks_loaded, 0);
    read_ahead_clear(&b.ahead);
    assert_ok(source_read(b.source, &b.ctx, COL_EVENT_ID, 1, &vec, &err)); /* and without ahead */
    assert_int_equal(block_cache_stats(b.cache).bytes, bytes);
    bench_close(&b);
}

/* ---- faults ---- */

static void a_batch_that_fails_once_costs_reads_and_no_answer(void **state)
{
    (void)state;
    struct bench b;
    struct err err = {0};
    struct read_item items[ITEMS_MAX];
    for (uint32_t fault = 0; fault < 3; fault++) {
        bench_open(&b, (size_t)64 << 20);
        b.watch.fail_batches = fault == 0 ? 1 : 0;
        b.watch.flips = fault == 1;
        b.watch.ends = fault == 2;
        uint32_t count = all_items(&b, items);
        assert_int_equal(source_prefetch(b.source, &b.ctx, items, count), count);
        if (fault != 1) {
            assert_int_equal(b.ahead.count, 0);
        }
        assert_ok(source_equals_rows(b.source, world.t.schema, &b.ctx, world.sorted, ROWS, &err));
        assert_true(b.watch.reads > 0);
        bench_close(&b);
    }
}

/* Damage that stays: the message is the one that reading without read-ahead gives. */
static void damage_is_named_as_without_read_ahead(void **state)
{
    (void)state;
    struct bench b;
    struct read_item items[ITEMS_MAX];
    bench_open(&b, (size_t)64 << 20);
    const struct seg_col *col = segment_find_col(b.segment, COL_EVENT_ID);
    const struct seg_span span = seg_col_block(col, 1)->span;
    for (uint32_t how = 0; how < 2; how++) {
        struct err err = {0};
        struct io_file *file = NULL;
        struct vec vec = {0};
        assert_ok(io_open(world.t.io, world.t.path, IO_APPEND, &file, &err));
        if (how == 0) {
            uint8_t byte = 0;
            assert_ok(io_read(world.t.io, file, span.off + 1000, &byte, 1, &err));
            byte ^= 1;
            assert_ok(io_write(world.t.io, file, span.off + 1000, &byte, 1, &err));
        } else {
            assert_ok(io_truncate(world.t.io, file, span.off + 500, &err));
        }
        io_close(file);
        struct read_ctx plain = {.arena = b.arena, .io = b.io};
        enum err_code want = source_read(b.source, &plain, COL_EVENT_ID, 1, &vec, &err);
        char message[sizeof(err.message)];
        snprintf(message, sizeof(message), "%s", err.message);
        assert_int_equal(want, ERR_CORRUPT);
        assert_non_null(strstr(message, "000017.seg"));
        assert_non_null(strstr(message, "column \"event_id\": block 1"));

        uint32_t count = all_items(&b, items);
        read_ahead_clear(&b.ahead);
        (void)source_prefetch(b.source, &b.ctx, items, count);
        err = (struct err){0};
        assert_int_equal(source_read(b.source, &b.ctx, COL_EVENT_ID, 1, &vec, &err), want);
        assert_string_equal(err.message, message);
        if (how == 0) { /* its neighbours are whole */
            assert_ok(source_read(b.source, &b.ctx, COL_EVENT_ID, 0, &vec, &err));
        }
    }
    bench_close(&b);
}

/* ---- at random ---- */

/* Goal: whatever is fetched ahead, in whatever bounds, reading gives the rows. Method: random items,
 * bounds of the cache and of what is held, with and without is_once, between full comparisons. */
static void random_fetches_change_no_row(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < 8; trial++) {
        struct bench b;
        struct err err = {0};
        struct read_item all[ITEMS_MAX];
        struct read_item items[ITEMS_MAX];
        struct rng rng = rng_init(seed + trial);
        bench_open(&b, (size_t)64 << rng_below(&rng, 20));
        b.ahead.bytes_max = (size_t)1 << (10 + rng_below(&rng, 16));
        b.ctx.is_once = rng_below(&rng, 3) == 0;
        uint32_t count = all_items(&b, all);
        for (uint32_t round = 0; round < 2; round++) {
            uint32_t picked = 0;
            for (uint32_t i = 0; i < count; i++) {
                if (rng_below(&rng, 3) != 0) {
                    items[picked++] = all[rng_below(&rng, count)]; /* repeats are fine */
                }
            }
            b.watch.fail_batches = rng_below(&rng, 4) == 0;
            assert_true(source_prefetch(b.source, &b.ctx, items, picked) <= picked);
            assert_true(b.ahead.bytes <= b.ahead.bytes_max);
            if (source_equals_rows(b.source, world.t.schema, &b.ctx, world.sorted, ROWS, &err) !=
                ERR_OK) {
                fail_msg("TEST_SEED=%" PRIu64 ": %s", seed + trial, err.message);
            }
            if (rng_below(&rng, 2) == 0) {
                read_ahead_clear(&b.ahead);
            }
        }
        bench_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_batch_fetches_all_that_will_be_read),
        cmocka_unit_test(what_a_block_needs_is_fetched_with_it),
        cmocka_unit_test(what_is_kept_in_another_form_is_not_fetched),
        cmocka_unit_test(subject_sets_are_fetched_in_one_batch),
        cmocka_unit_test(memory_is_bound_and_given_back),
        cmocka_unit_test(a_merge_leaves_nothing_in_the_cache_and_takes_what_is_there),
        cmocka_unit_test(a_batch_that_fails_once_costs_reads_and_no_answer),
        cmocka_unit_test(random_fetches_change_no_row),
        cmocka_unit_test(
            damage_is_named_as_without_read_ahead), /* the file is not whole after it */
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
