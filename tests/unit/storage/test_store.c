/* tests/unit/storage/test_store.c - tests of storage/store.c: a folder from first opening to last. */
#include "tests/support/claims.h"

#include "tests/support/live_events.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct bench {
    char dir[64];
    struct store_opts opts;
    struct store *store;
    struct dataset *dataset;
    struct io *io;
    struct recovery_report report;
};

static void open_store(struct bench *b)
{
    struct err err = {0};
    assert_ok(store_open(b->dir, &b->opts, &b->store, &b->report, &err));
    assert_ok(store_dataset(b->store, STR("shop"), true, &b->dataset, &err));
}

static int setup(void **state)
{
    struct err err = {0};
    struct bench *b = calloc(1, sizeof(*b));
    live_dir_make(b->dir);
    store_opts_default(&b->opts);
    b->opts.fresh.dedup_window_ms = 0; /* arrivals are of long ago */
    b->opts.io_kind = IO_POSIX;
    b->opts.block_cache_bytes = 16u << 20;
    b->opts.compact_in_background = false;
    assert_ok(io_create(IO_POSIX, &b->io, &err));
    open_store(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    if (b->store != NULL) {
        store_abandon(b->store);
    }
    io_free(b->io);
    live_dir_remove(b->dir);
    free(b);
    return 0;
}

static void close_store(struct bench *b)
{
    struct err err = {0};
    struct store *store = TAKE(b->store);
    assert_ok(store_close(store, &err));
}

static void expect(struct bench *b, uint32_t count)
{
    struct err err = {0};
    uint8_t *counts = malloc(count + 1);
    memset(counts, 1, count + 1);
    assert_ok(live_check_dataset(b->dataset, counts, count, b->io, &err));
    free(counts);
}

static void a_clean_close_leaves_a_log_without_records(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_ok(live_ingest(b->dataset, 0, 3000, b->io, &err));
    expect(b, 3000);
    close_store(b);
    open_store(b);
    assert_int_equal(b->report.wal_records, 0);
    assert_int_equal(b->report.torn_bytes, 0);
    assert_int_equal(b->report.ids_cut, 0);
    assert_int_equal(b->report.orphan_files, 0);
    assert_true(b->report.segments > 0);
    expect(b, 3000);
}

static void an_abandoned_store_comes_back_from_its_log(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_ok(live_ingest(b->dataset, 0, 1000, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    assert_ok(live_ingest(b->dataset, 1000, 1000, b->io, &err));
    uint64_t epoch = dataset_stats(b->dataset).epoch;
    store_abandon(TAKE(b->store));
    open_store(b);
    assert_int_equal(b->report.wal_events, 1000);
    assert_int_equal(dataset_stats(b->dataset).epoch, epoch);
    expect(b, 2000);
    assert_ok(live_ingest(b->dataset, 2000, 500, b->io, &err));
    expect(b, 2500);
}

static void a_second_process_is_told_who_holds_the_folder(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct store *second = NULL;
    char want[64];
    snprintf(want, sizeof(want), "in use by process %ld", (long)getpid());
    assert_fails(store_open(b->dir, &b->opts, &second, &b->report, &err), ERR_BUSY, want);
}

static void bad_names_are_refused_and_unknown_ones_not_found(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct dataset *dataset = NULL;
    const char *bad[] = {"", ".x", "-", "a/b", "a b", "..", "\xc3\xa9"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_fails(store_dataset(b->store, str_of(bad[i]), true, &dataset, &err), ERR_INVALID,
                     "no data set name");
    }
    char longest[DATASET_NAME_BYTES_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    assert_true(dataset_name_is_valid((struct str){longest, DATASET_NAME_BYTES_MAX}));
    assert_false(dataset_name_is_valid((struct str){longest, DATASET_NAME_BYTES_MAX + 1}));
    assert_fails(store_dataset(b->store, STR("nope"), false, &dataset, &err), ERR_NOT_FOUND,
                 "no data set \"nope\"");
}

static void data_sets_are_listed_by_name_and_live_apart(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct dataset *other = NULL;
    assert_ok(store_dataset(b->store, STR("alpha"), true, &other, &err));
    assert_ok(live_ingest(other, 0, 10, b->io, &err));
    assert_ok(live_ingest(b->dataset, 0, 20, b->io, &err));
    struct dataset *all[4] = {NULL};
    assert_int_equal(store_datasets(b->store, all, 4), 2);
    assert_string_equal(dataset_name(all[0]), "alpha");
    assert_string_equal(dataset_name(all[1]), "shop");
    assert_string_equal(dataset_zone(all[0]), "UTC");
    assert_int_equal(dataset_stats(other).rows, 10);
    expect(b, 20);
}

static void orphan_segment_files_are_removed_and_others_left(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_ok(live_ingest(b->dataset, 0, 100, b->io, &err));
    close_store(b);
    char path[160];
    const char *names[] = {"999999.seg", "000777.seg.tmp", "notes.txt"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(path, sizeof(path), "%s/shop/shard-03/%s", b->dir, names[i]);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fclose(file);
    }
    open_store(b);
    assert_int_equal(b->report.orphan_files, 2);
    assert_int_equal(access(path, F_OK), 0);
    expect(b, 100);
}

static void a_read_only_store_shows_flushed_and_logged_rows_and_takes_none(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_ok(live_ingest(b->dataset, 0, 100, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    assert_ok(live_ingest(b->dataset, 100, 100, b->io, &err));
    store_abandon(TAKE(b->store));
    b->opts.is_read_only = true;
    assert_ok(store_open(b->dir, &b->opts, &b->store, &b->report, &err));
    assert_ok(store_dataset(b->store, STR("shop"), false, &b->dataset, &err));
    expect(b, 200);
    assert_fails(live_ingest(b->dataset, 200, 1, b->io, &err), ERR_INVALID, "read-only");
    assert_fails(dataset_flush(b->dataset, &err), ERR_INVALID, "read-only");
    assert_fails(dataset_compact(b->dataset, NULL, &err), ERR_INVALID, "read-only");
}

static void a_full_or_old_memtable_is_flushed_in_the_background(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    close_store(b);
    b->opts.flush_rows = 500;
    open_store(b);
    assert_ok(live_ingest(b->dataset, 0, 600, b->io, &err));
    for (uint32_t i = 0; i < 400 && dataset_stats(b->dataset).memtable_rows > 0; i++) {
        usleep(20000);
    }
    assert_int_equal(dataset_stats(b->dataset).memtable_rows, 0);
    expect(b, 600);
    close_store(b);
    b->opts.flush_rows = 1u << 20;
    b->opts.flush_age_ms = 50;
    open_store(b);
    assert_ok(live_ingest(b->dataset, 600, 10, b->io, &err));
    for (uint32_t i = 0; i < 400 && dataset_stats(b->dataset).memtable_rows > 0; i++) {
        usleep(20000);
    }
    assert_int_equal(dataset_stats(b->dataset).memtable_rows, 0);
    expect(b, 610);
}

static void full_memtables_are_busy_until_they_are_flushed(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    close_store(b);
    b->opts.memtable_bytes_max = 100000;
    open_store(b);
    assert_ok(live_ingest(b->dataset, 0, 2000, b->io, &err));
    enum err_code code = live_ingest(b->dataset, 2000, 10, b->io, &err);
    assert_true(code == ERR_BUSY || code == ERR_OK); /* the flush may have been that fast */
    for (uint32_t i = 0; i < 400 && code == ERR_BUSY; i++) {
        usleep(20000);
        code = live_ingest(b->dataset, 2000, 10, b->io, &err);
    }
    assert_int_equal(code, ERR_OK);
    expect(b, 2010);
    assert_ok(store_health(b->store, &err));
}

static void a_damaged_catalog_or_a_newer_one_is_named(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    char path[128];
    close_store(b);
    snprintf(path, sizeof(path), "%s/catalog.db", b->dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("this is not a database, whatever else it may be; it is long enough to be looked at",
          file);
    fclose(file);
    assert_fails(store_open(b->dir, &b->opts, &b->store, &b->report, &err), ERR_CORRUPT,
                 "catalog.db");
    b->store = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_clean_close_leaves_a_log_without_records, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_abandoned_store_comes_back_from_its_log, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_second_process_is_told_who_holds_the_folder, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(bad_names_are_refused_and_unknown_ones_not_found, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(data_sets_are_listed_by_name_and_live_apart, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(orphan_segment_files_are_removed_and_others_left, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_read_only_store_shows_flushed_and_logged_rows_and_takes_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_or_old_memtable_is_flushed_in_the_background, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(full_memtables_are_busy_until_they_are_flushed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_damaged_catalog_or_a_newer_one_is_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
