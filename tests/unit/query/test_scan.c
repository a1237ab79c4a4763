/* Tests of query/scan.c, keys.c and run.c: which rows a scan yields, what it prunes, and groups. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "query/keys.h"
#include "storage/base/clock.h"
#include "storage/base/io_int.h"
#include "storage/segment_int.h"
#include "tests/support/snap_query.h"

#include <stdio.h>
#include <stdlib.h>

#define BASE_MS INT64_C(1746057600000)
#define EVENTS  70000u /* two blocks */
#define USERS   100u

static struct {
    struct snap *snap;
    char (*ids)[12];
    char (*users)[8];
    struct snap_event *events;
    struct snap_prop *props;
} world;

/* Event i of user i % USERS at BASE + i; every 1000th is "rare"; `n` is i, but missing where i is a
 * multiple of 7. Subjects are numbered in order of the users. */
static int open_world(void **state)
{
    (void)state;
    world.ids = calloc(EVENTS, sizeof(*world.ids));
    world.users = calloc(USERS, sizeof(*world.users));
    world.events = calloc(EVENTS, sizeof(*world.events));
    world.props = calloc(EVENTS, sizeof(*world.props));
    for (uint32_t i = 0; i < EVENTS; i++) {
        snprintf(world.ids[i], sizeof(world.ids[i]), "%06u", i);
        snprintf(world.users[i % USERS], sizeof(world.users[0]), "u%02u", i % USERS);
        world.props[i] =
            (struct snap_prop){.name = "n", .type = COL_NUMBER, .number = {.m = (int64_t)i % 50}};
        world.events[i] =
            (struct snap_event){world.ids[i],           i % 1000 == 0 ? "rare" : "often",
                                world.users[i % USERS], BASE_MS + (int64_t)i,
                                &world.props[i],        i % 7 == 0 ? 0 : 1};
    }
    const struct snap_opts opts = {.source_count = 1, .shard_count = 1};
    world.snap = snap_build(world.events, EVENTS, &opts);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    snap_free(world.snap);
    free(world.ids);
    free(world.users);
    free(world.events);
    free(world.props);
    return 0;
}

struct scan_sum {
    uint64_t rows;
    uint64_t mask_bits[3];
    uint64_t time_sum;
    uint32_t subject_min, subject_max;
    struct scan_counters counters;
};

static const struct alt alt_any = {.kind = ALT_ANY};
static const struct alt alt_rare = {.kind = ALT_NAMED, .event = {"rare", 4}};
static const struct alt alt_none = {.kind = ALT_NAMED, .event = {"none", 4}};
static const struct selector selectors[] = {
    {.alts = &alt_any, .alt_count = 1},
    {.alts = &alt_rare, .alt_count = 1},
    {.alts = &alt_none, .alt_count = 1},
};

static struct bound_query query_of(const struct pred *where)
{
    return (struct bound_query){.zone = zone_utc(),
                                .where = where,
                                .selectors = selectors,
                                .selector_count = COUNT_OF(selectors)};
}

static enum err_code scan_all(const struct scan_spec *spec, const struct query_request *request,
                              struct scan_sum *ret, struct err *err)
{
    struct query_run_ctx run = {
        .query = spec->query, .request = request, .snapshot = snap_snapshot(world.snap)};
    budget_init(&run.budget, (size_t)64 << 20, "query memory");
    CLEANUP(arena_freep) struct arena *arena = arena_create(&run.budget);
    CLEANUP(scan_closep) struct scan *scan = NULL;
    struct scan_sum sum = {.subject_min = UINT32_MAX};
    ERR_TRY(
        scan_open(run.snapshot->sources[0], spec, &run, arena, snap_io(world.snap), &scan, err));
    while (true) {
        struct scan_block block = {0};
        bool has_more = false;
        ERR_TRY(scan_next(scan, &block, &has_more, err));
        if (!has_more) {
            break;
        }
        sum.rows += block.count;
        for (uint32_t i = 0; i < block.count; i++) {
            assert_true(block.masks[i] != 0);
            assert_true(i == 0 || block.rows[i] > block.rows[i - 1]);
            for (uint32_t b = 0; b < 3; b++) {
                sum.mask_bits[b] += (block.masks[i] >> b) & 1;
            }
            sum.time_sum += (uint64_t)(block.times[i] - BASE_MS);
            sum.subject_min =
                block.subjects[i] < sum.subject_min ? block.subjects[i] : sum.subject_min;
            sum.subject_max =
                block.subjects[i] > sum.subject_max ? block.subjects[i] : sum.subject_max;
        }
    }
    sum.counters = scan_counters(scan);
    *ret = sum;
    return ERR_OK;
}

/* By index, after the reference path gave the same rows. */
static struct scan_sum scan_both(const struct scan_want *wants, uint32_t want_count,
                                 const struct pred *where, uint32_t subject_begin,
                                 uint32_t subject_end, const roaring_bitmap_t *deleted)
{
    const struct bound_query query = query_of(where);
    struct scan_spec spec = {.query = &query,
                             .wants = wants,
                             .want_count = want_count,
                             .subject_begin = subject_begin,
                             .subject_end = subject_end,
                             .deleted = deleted};
    struct scan_sum by_index = {0};
    struct scan_sum by_rows = {0};
    struct err err = {0};
    assert_int_equal(scan_all(&spec, NULL, &by_index, &err), ERR_OK);
    spec.no_index = true;
    assert_int_equal(scan_all(&spec, NULL, &by_rows, &err), ERR_OK);
    assert_int_equal(by_index.rows, by_rows.rows);
    assert_int_equal(by_index.time_sum, by_rows.time_sum);
    assert_memory_equal(by_index.mask_bits, by_rows.mask_bits, sizeof(by_rows.mask_bits));
    assert_int_equal(by_rows.counters.rows_read, EVENTS);
    return by_index;
}

static void a_named_event_is_found_by_its_row_bitmap(void **state)
{
    (void)state;
    const struct scan_want want = {1, INT64_MIN, INT64_MAX};
    struct scan_sum sum = scan_both(&want, 1, NULL, 0, UINT32_MAX, NULL);
    assert_int_equal(sum.rows, 70);
    assert_int_equal(sum.counters.rows_read, 70);
}

static void masks_say_which_selectors_and_times_a_row_meets(void **state)
{
    (void)state;
    const struct scan_want wants[] = {
        {0, BASE_MS + 100, BASE_MS + 1100}, {1, BASE_MS + 1000, INT64_MAX}, {2, 0, INT64_MAX}};
    struct scan_sum sum = scan_both(wants, 3, NULL, 0, UINT32_MAX, NULL);
    assert_int_equal(sum.mask_bits[0], 1000);
    assert_int_equal(sum.mask_bits[1], 69);
    assert_int_equal(sum.mask_bits[2], 0);
    assert_int_equal(sum.rows, 1068); /* event 1000 meets both */
}

static void ranges_of_subjects_are_kept_to(void **state)
{
    (void)state;
    const struct scan_want want = {0, INT64_MIN, INT64_MAX};
    struct scan_sum sum = scan_both(&want, 1, NULL, 10, 20, NULL);
    assert_int_equal(sum.rows, 10 * EVENTS / USERS);
    assert_int_equal(sum.subject_min, 10);
    assert_int_equal(sum.subject_max, 19);
    assert_int_equal(sum.counters.blocks_scanned, 1);
    sum = scan_both(&want, 1, NULL, 99, UINT32_MAX, NULL);
    assert_int_equal(sum.rows, EVENTS / USERS);
    sum = scan_both(&want, 1, NULL, 500, UINT32_MAX, NULL);
    assert_int_equal(sum.rows, 0);
}

static void deleted_subjects_are_left_out(void **state)
{
    (void)state;
    const struct scan_want want = {0, INT64_MIN, INT64_MAX};
    roaring_bitmap_t *deleted = roaring_bitmap_create();
    roaring_bitmap_add_range(deleted, 0, 98);
    struct scan_sum sum = scan_both(&want, 1, NULL, 0, UINT32_MAX, deleted);
    assert_int_equal(sum.rows, 2 * EVENTS / USERS);
    roaring_bitmap_free(deleted);
}

static void where_is_asked_of_candidates_only(void **state)
{
    (void)state;
    const struct scan_want want = {1, INT64_MIN, INT64_MAX};
    const struct literal zero = {.type = COL_NUMBER, .number = {.m = 0}};
    const struct pred where = {
        .kind = PRED_EQ,
        .field = {.kind = FIELD_PROP, .type = COL_NUMBER, .col = COL_FIRST_PROP},
        .values = &zero,
        .value_count = 1,
    };
    /* rare: i = 1000 k, n = 0, missing where k is a multiple of 7 */
    struct scan_sum sum = scan_both(&want, 1, &where, 0, UINT32_MAX, NULL);
    assert_int_equal(sum.rows, 60);
    assert_int_equal(sum.counters.rows_read, 70);
}

/* ---- what is fetched ---- */

/* Reads that pass, alone or in a batch. */
struct fetches {
    uint32_t singles, batches;
};

static enum err_code fetches_read(struct io *io, struct io_file *file, uint64_t off, void *out,
                                  size_t len, struct err *err)
{
    struct fetches *fetches = io->ctx;
    fetches->singles++;
    return io_read(io->inner, file, off, out, len, err);
}

static enum err_code fetches_batch(struct io *io, const struct io_read_req *reqs, size_t count,
                                   struct err *err)
{
    struct fetches *fetches = io->ctx;
    fetches->batches++;
    return io_read_batch(io->inner, reqs, count, err);
}

static void fetches_free(struct io *io)
{
    (void)io; /* the test's */
}

/* Whether the block came into the cache, which was empty before. */
static bool is_fetched(const struct source *source, uint32_t col, uint32_t block)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    const struct seg_span *span = &seg_col_block(segment_find_col(segment, col), block)->span;
    struct cache_block *found = block_cache_pin(segment->cache, segment->uid, span->off, false);
    cache_block_unpin(found);
    return found != NULL;
}

/* Event i is of user i / 1000 at BASE + i, so that blocks differ in time and in users; the second
 * block begins at 65,536, and only from 69,000 on events are "late". */
static struct snap *sorted_snap(void)
{
    struct snap_event *events = calloc(EVENTS, sizeof(*events));
    assert_non_null(events);
    for (uint32_t i = 0; i < EVENTS; i++) {
        events[i] = world.events[i];
        events[i].name = i >= 69000 ? "late" : "often";
        events[i].user = world.users[i / 1000];
    }
    const struct snap_opts opts = {.source_count = 1, .shard_count = 1};
    struct snap *snap = snap_build(events, EVENTS, &opts);
    free(events);
    return snap;
}

/* Scan to the end, asking each block for property n; the reads that it took. */
static uint64_t scan_fetches(const struct selector *selector, const struct scan_want *want,
                             const struct pred *where, struct snap *snap, struct fetches *ret)
{
    static const uint32_t cols[] = {COL_FIRST_PROP};
    static struct io_ops ops;
    struct bound_query query = query_of(where);
    query.selectors = selector;
    query.selector_count = 1;
    const struct scan_spec spec = {.query = &query,
                                   .wants = want,
                                   .want_count = 1,
                                   .subject_end = UINT32_MAX,
                                   .cols = cols,
                                   .col_count = 1};
    const struct field field = {.kind = FIELD_PROP, .type = COL_NUMBER, .col = COL_FIRST_PROP};
    struct err err = {0};
    struct io *inner = NULL;
    CLEANUP(io_freep) struct io *io = NULL;
    *ret = (struct fetches){0};
    ops = io_forward_ops;
    ops.read = fetches_read;
    ops.read_batch = fetches_batch;
    ops.free = fetches_free;
    assert_int_equal(io_create(IO_AUTO, &inner, &err), ERR_OK);
    assert_int_equal(io_wrap(inner, &ops, ret, &io, &err), ERR_OK);
    struct query_run_ctx run = {.query = &query, .snapshot = snap_snapshot(snap)};
    budget_init(&run.budget, (size_t)64 << 20, "query memory");
    CLEANUP(arena_freep) struct arena *arena = arena_create(&run.budget);
    struct scan *scan = NULL;
    struct scan_block block = {0};
    bool has_more = true;
    uint64_t rows = 0;
    assert_int_equal(scan_open(run.snapshot->sources[0], &spec, &run, arena, io, &scan, &err),
                     ERR_OK);
    while (has_more) {
        struct vec vec = {0};
        const uint32_t *places = NULL;
        assert_int_equal(scan_next(scan, &block, &has_more, &err), ERR_OK);
        if (has_more) {
            rows += block.count;
            assert_int_equal(scan_field(scan, &field, &vec, &places, &err), ERR_OK);
        }
    }
    scan_close(scan);
    assert_int_equal(run.budget.used_bytes, arena_bytes(arena)); /* what was held is given back */
    return rows;
}

static void blocks_that_pruning_ruled_out_are_not_fetched(void **state)
{
    (void)state;
    const struct alt late = {.kind = ALT_NAMED, .event = {"late", 4}};
    const struct selector any = {.alts = &alt_any, .alt_count = 1};
    const struct selector named = {.alts = &late, .alt_count = 1};
    const struct scan_want always = {0, INT64_MIN, INT64_MAX};
    const struct scan_want second = {0, BASE_MS + 66000, INT64_MAX};
    struct fetches fetches;

    /* By time: nothing of the first block, and no names where any event will do. */
    struct snap *snap = sorted_snap();
    const struct source *source = snap_snapshot(snap)->sources[0];
    assert_int_equal(source->block_count, 2);
    assert_int_equal(scan_fetches(&any, &second, NULL, snap, &fetches), EVENTS - 66000);
    assert_false(is_fetched(source, COL_EVENT_TIME, 0));
    assert_false(is_fetched(source, COL_EVENT_NAME, 0));
    assert_false(is_fetched(source, COL_FIRST_PROP, 0));
    assert_true(is_fetched(source, COL_EVENT_TIME, 1));
    assert_int_equal(fetches.singles, 0);
    snap_free(snap);

    /* By name: names of both, the rest of the second. Its dictionary of names is read before. */
    snap = sorted_snap();
    source = snap_snapshot(snap)->sources[0];
    assert_int_equal(scan_fetches(&named, &always, NULL, snap, &fetches), EVENTS - 69000);
    assert_true(is_fetched(source, COL_EVENT_NAME, 0));
    assert_true(is_fetched(source, COL_EVENT_NAME, 1));
    assert_false(is_fetched(source, COL_EVENT_TIME, 0));
    assert_false(is_fetched(source, COL_FIRST_PROP, 0));
    assert_true(is_fetched(source, COL_FIRST_PROP, 1));
    assert_int_equal(fetches.singles, 1);
    assert_int_equal(fetches.batches, 2);
    snap_free(snap);
}

/* Where no row passes the predicate, what would be shown of them is not read. */
static void columns_of_rows_that_do_not_pass_are_not_fetched(void **state)
{
    (void)state;
    const struct selector any = {.alts = &alt_any, .alt_count = 1};
    const struct scan_want always = {0, INT64_MIN, INT64_MAX};
    const struct literal id = {.type = COL_STRING, .string = STR("069999")};
    const struct pred where = {
        .kind = PRED_EQ,
        .field = {.kind = FIELD_EVENT_ID, .type = COL_STRING},
        .values = &id,
        .value_count = 1,
    };
    struct fetches fetches;
    struct snap *snap = sorted_snap();
    const struct source *source = snap_snapshot(snap)->sources[0];
    assert_int_equal(scan_fetches(&any, &always, &where, snap, &fetches), 1);
    assert_true(is_fetched(source, COL_EVENT_ID, 0));
    assert_false(is_fetched(source, COL_FIRST_PROP, 0));
    assert_true(is_fetched(source, COL_FIRST_PROP, 1));
    assert_int_equal(fetches.singles, 0);
    snap_free(snap);
}

static void sources_without_the_event_or_the_time_are_pruned(void **state)
{
    (void)state;
    const struct scan_want wants[] = {
        {2, INT64_MIN, INT64_MAX}, {0, BASE_MS - 10, BASE_MS}, {0, BASE_MS + EVENTS, INT64_MAX}};
    for (uint32_t i = 0; i < COUNT_OF(wants); i++) {
        struct scan_sum sum = scan_both(&wants[i], 1, NULL, 0, UINT32_MAX, NULL);
        assert_int_equal(sum.rows, 0);
        assert_true(sum.counters.is_source_pruned);
    }
}

static void cancel_and_deadline_end_a_scan(void **state)
{
    (void)state;
    const struct scan_want want = {0, INT64_MIN, INT64_MAX};
    const struct bound_query query = query_of(NULL);
    const struct scan_spec spec = {
        .query = &query, .wants = &want, .want_count = 1, .subject_end = UINT32_MAX};
    struct scan_sum sum = {0};
    struct err err = {0};
    _Atomic bool cancel = true;
    struct query_request request = {.cancel = &cancel};
    assert_int_equal(scan_all(&spec, &request, &sum, &err), ERR_CANCELLED);
    request = (struct query_request){.deadline_us = clock_mono_us() - 1};
    assert_int_equal(scan_all(&spec, &request, &sum, &err), ERR_TIMEOUT);
}

/* ---- groups ---- */

static void groups_of_different_tasks_are_matched_by_value(void **state)
{
    (void)state;
    const struct by_key keys[] = {
        {.name = STR("n"),
         .field = {.kind = FIELD_PROP, .type = COL_NUMBER, .col = COL_FIRST_PROP}},
        {.name = STR("event"), .field = {.kind = FIELD_EVENT_NAME, .type = COL_STRING}},
    };
    struct bound_query query = query_of(NULL);
    query.keys = keys;
    query.key_count = COUNT_OF(keys);
    struct query_run_ctx run = {.query = &query, .snapshot = snap_snapshot(world.snap)};
    budget_init(&run.budget, (size_t)64 << 20, "query memory");
    CLEANUP(arena_freep) struct arena *arena = arena_create(&run.budget);
    const struct scan_want want = {0, INT64_MIN, INT64_MAX};
    struct groups *parts[2] = {NULL};
    struct groups *all = NULL;
    struct err err = {0};
    for (uint32_t p = 0; p < 2; p++) { /* subjects 0 .. 49, 50 .. 99 */
        const struct scan_spec spec = {.query = &query,
                                       .wants = &want,
                                       .want_count = 1,
                                       .subject_begin = p * 50,
                                       .subject_end = p == 0 ? 50 : UINT32_MAX};
        CLEANUP(scan_closep) struct scan *scan = NULL;
        struct scan_block block = {0};
        bool has_more = true;
        const uint32_t *numbers = NULL;
        assert_int_equal(groups_create(&query, arena, &parts[p], &err), ERR_OK);
        assert_int_equal(scan_open(run.snapshot->sources[0], &spec, &run, arena,
                                   snap_io(world.snap), &scan, &err),
                         ERR_OK);
        while (true) {
            assert_int_equal(scan_next(scan, &block, &has_more, &err), ERR_OK);
            if (!has_more) {
                break;
            }
            assert_int_equal(groups_of_block(parts[p], scan, &block, &numbers, &err), ERR_OK);
            for (uint32_t i = 0; i < block.count; i++) {
                assert_true(numbers[i] < groups_count(parts[p]));
            }
        }
    }
    /* each half: n = 0 .. 49 or missing, "often"; and (0, rare), (missing, rare) in the first */
    assert_int_equal(groups_count(parts[0]), 53);
    assert_int_equal(groups_count(parts[1]), 51);
    assert_int_equal(groups_create(&query, arena, &all, &err), ERR_OK);
    for (uint32_t p = 0; p < 2; p++) {
        for (uint32_t g = 0; g < groups_count(parts[p]); g++) {
            uint32_t number = 0;
            assert_int_equal(groups_import(all, parts[p], g, &number, &err), ERR_OK);
            struct cell theirs = groups_cell(parts[p], g, 0);
            struct cell ours = groups_cell(all, number, 0);
            assert_int_equal(cell_cmp(&theirs, &ours), 0);
        }
    }
    assert_int_equal(groups_count(all), 53);
    uint32_t nulls = 0;
    for (uint32_t g = 0; g < groups_count(all); g++) {
        nulls += groups_cell(all, g, 0).kind == CELL_NULL;
        for (uint32_t h = 0; h < groups_count(all); h++) {
            struct cell a = groups_cell(all, g, 0);
            struct cell b = groups_cell(all, h, 0);
            int order = groups_cmp(all, g, h);
            assert_true(g == h ? order == 0 : order != 0);
            assert_true(cell_cmp(&a, &b) == 0 || (order < 0) == (cell_cmp(&a, &b) < 0));
        }
    }
    assert_int_equal(nulls, 2);
}

static void breakdowns_by_lists_are_refused(void **state)
{
    (void)state;
    const struct by_key key = {
        .name = STR("tags"),
        .field = {
            .kind = FIELD_PROP, .name = STR("tags"), .type = COL_LIST, .col = COL_FIRST_PROP}};
    struct bound_query query = query_of(NULL);
    query.keys = &key;
    query.key_count = 1;
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct groups *groups = NULL;
    struct err err = {0};
    assert_int_equal(groups_create(&query, arena, &groups, &err), ERR_UNSUPPORTED);
}

/* ---- tasks ---- */

static enum err_code fail_on_second(struct query_run_ctx *run, const struct run_task *task,
                                    struct arena *arena, struct io *io, void *slot, struct err *err)
{
    (void)run;
    (void)arena;
    (void)io;
    *(uint32_t *)slot = task->source_count;
    return task->shard > 0 ? err_set(err, ERR_IO, "shard %u fails", task->shard) : ERR_OK;
}

static void the_error_of_a_task_is_the_error_of_the_query(void **state)
{
    (void)state;
    const struct bound_query query = query_of(NULL);
    const struct snap_opts opts = {.source_count = 1};
    struct snap *snap = snap_build(world.events, 200, &opts);
    struct query_run_ctx run = {.query = &query, .snapshot = snap_snapshot(snap)};
    budget_init(&run.budget, 0, "query memory");
    CLEANUP(arena_freep) struct arena *arena = arena_create(&run.budget);
    run.arena = arena;
    struct run_tasks tasks = {0};
    struct err err = {0};
    assert_int_equal(run_all_tasks(&run, fail_on_second, sizeof(uint32_t), &tasks, &err), ERR_IO);
    assert_non_null(strstr(err.message, "fails"));
    assert_true(tasks.count > 1);
    run_tasks_free(&tasks);
    snap_free(snap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_named_event_is_found_by_its_row_bitmap),
        cmocka_unit_test(masks_say_which_selectors_and_times_a_row_meets),
        cmocka_unit_test(ranges_of_subjects_are_kept_to),
        cmocka_unit_test(deleted_subjects_are_left_out),
        cmocka_unit_test(where_is_asked_of_candidates_only),
        cmocka_unit_test(blocks_that_pruning_ruled_out_are_not_fetched),
        cmocka_unit_test(columns_of_rows_that_do_not_pass_are_not_fetched),
        cmocka_unit_test(sources_without_the_event_or_the_time_are_pruned),
        cmocka_unit_test(cancel_and_deadline_end_a_scan),
        cmocka_unit_test(groups_of_different_tasks_are_matched_by_value),
        cmocka_unit_test(breakdowns_by_lists_are_refused),
        cmocka_unit_test(the_error_of_a_task_is_the_error_of_the_query),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
