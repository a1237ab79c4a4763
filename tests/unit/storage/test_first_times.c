/* tests/unit/storage/test_first_times.c - first times in the life of a data folder: when files of them come and go, what
 * backups, verify and repair do with them. What they answer is tests/prop/prop_first_times.c, which rows stay
 * tests/unit/segment/test_first_rows.c. */
#include "tests/support/claims.h"

#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "storage/expiry.h"
#include "tests/support/folder_bench.h"

#include <stdlib.h>

#define DAY_MS INT64_C(86400000)
#define K      600u

static int setup(void **state)
{
    bench_setup(state);
    struct bench *b = *state;
    bench_stop_clock(b);
    bench_open(b);
    return 0;
}

static void close_and_open(struct bench *b)
{
    bench_close(b);
    bench_open(b);
}

/* Events of 100 to 42 days ago, of which those of more than `days` are taken from the disk. */
static void fill(struct bench *b, uint64_t days)
{
    struct err err = {0};
    const struct settings_change change = {.has_expire_after = true,
                                           .to = {.expire_after_ms = days * SETTINGS_DAY_MS}};
    assert_ok(live_ingest(b->dataset, 0, K, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    assert_ok(dataset_configure(b->dataset, &change, &err));
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    assert_true(dataset_stats(b->dataset).first_times > 0);
}

/* Of everybody's first event of each name, sent or not any more, its time is known; a sum of all of it. */
static uint64_t sum_of_firsts(struct bench *b)
{
    struct err err = {0};
    uint64_t sum = 0;
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = b->io};
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    for (uint32_t i = 0; i < snapshot->history_count; i++) {
        const struct source *source = snapshot->history[i];
        struct vec times = {0};
        struct vec subjects = {0};
        assert_true(source->is_first_times);
        assert_ok(source_read(source, &ctx, COL_EVENT_TIME, 0, &times, &err));
        assert_ok(source_read(source, &ctx, COL_SUBJECT, 0, &subjects, &err));
        for (uint32_t row = 0; row < times.rows; row++) {
            sum += (uint64_t)times.i64[row] * (subjects.u32[row] + 1);
        }
    }
    return sum;
}

static uint32_t first_files(const char *dir)
{
    char command[256];
    unsigned count = 0;
    snprintf(command, sizeof(command), "find %s -name '*.first' | wc -l", dir);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%u", &count), 1);
    pclose(pipe);
    return count;
}

static void firsts_of(struct bench *b, char path[96], uint32_t *ret_shard, uint64_t *ret_number)
{
    struct version *version = version_pin(b->dataset);
    assert_true(version->first_count > 0);
    const struct catalog_segment *meta = &version->firsts[0]->meta;
    *ret_shard = meta->shard;
    *ret_number = meta->number;
    snprintf(path, 96, "shop/shard-%02" PRIu32 "/%06" PRIu64 ".first", meta->shard, meta->number);
    version_unref(version);
}

static void expired_rows_leave_first_times_and_a_later_border_merges_them(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    fill(b, 80);
    struct dataset_stats stats = dataset_stats(b->dataset);
    assert_true(stats.first_times < stats.expired_rows);
    assert_int_equal(first_files(b->data), stats.first_files);
    uint64_t sum = sum_of_firsts(b);
    close_and_open(b);
    assert_int_equal(sum_of_firsts(b), sum);
    for (uint32_t day = 0; day < 30; day++) {
        bench_clock_ms += DAY_MS;
        expiry_if_due(b->dataset, b->io);
        while (compaction_if_due(b->dataset, b->io)) {
        }
        assert_string_equal(dataset_stats(b->dataset).last_error, "");
    }
    assert_true(dataset_stats(b->dataset).first_times > stats.first_times);
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    stats = dataset_stats(b->dataset);
    assert_true(stats.first_files <= SHARD_COUNT); /* one a shard */
    assert_int_equal(first_files(b->data), stats.first_files);
}

static void what_expires_before_it_is_flushed_leaves_first_times_as_well(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    const struct settings_change change = {.has_expire_after = true,
                                           .to = {.expire_after_ms = 110 * SETTINGS_DAY_MS}};
    assert_ok(dataset_configure(b->dataset, &change, &err));
    assert_ok(live_ingest(b->dataset, 0, K, b->io, &err));
    bench_clock_ms += 200 * DAY_MS;
    assert_ok(dataset_flush(b->dataset, &err));
    assert_int_equal(dataset_stats(b->dataset).rows, 0);
    uint64_t firsts = dataset_stats(b->dataset).first_times;
    uint64_t sum = sum_of_firsts(b);
    assert_true(firsts > 0);
    close_and_open(b);
    assert_int_equal(dataset_stats(b->dataset).first_times, firsts);
    assert_int_equal(sum_of_firsts(b), sum);
}

static void an_erased_subject_leaves_the_files_with_the_next_merge(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    char user[32];
    char anonymous[32];
    uint32_t shard = 0;
    uint32_t subject = 0;
    fill(b, 60);
    uint64_t before = dataset_stats(b->dataset).first_times;
    live_user(5, user, anonymous);
    assert_true(
        dataset_find_subject(b->dataset, str_of(user), str_of(anonymous), &shard, &subject));
    assert_ok(dataset_delete_subject(b->dataset, shard, subject, &err));
    assert_int_equal(dataset_stats(b->dataset).first_times, before); /* masked, as rows are */
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    assert_true(dataset_stats(b->dataset).first_times < before);
}

static void a_file_that_nothing_names_is_removed_at_opening(void **state)
{
    struct bench *b = *state;
    fill(b, 80);
    uint64_t sum = sum_of_firsts(b);
    char path[96];
    uint32_t shard = 0;
    uint64_t number = 0;
    firsts_of(b, path, &shard, &number);
    bench_close(b);
    bench_shell(b, "cp data/%s data/shop/shard-%02u/000900.first", path, shard);
    bench_shell(b, "cp data/%s data/shop/shard-%02u/000901.first.tmp", path, shard);
    assert_true(bench_verify(b, b->data, NULL) > 0);
    bench_says(b, "000900.first", "does not name it");
    bench_open(b);
    assert_int_equal(b->report.orphan_files, 2);
    assert_int_equal(sum_of_firsts(b), sum);
    bench_close(b);
    assert_int_equal(bench_verify(b, b->data, NULL), 0);
    bench_open(b);
}

static void damage_is_told_and_costs_that_file(void **state)
{
    struct bench *b = *state;
    char path[96];
    uint32_t shard = 0;
    uint64_t number = 0;
    fill(b, 80);
    uint64_t rows = dataset_stats(b->dataset).rows;
    uint64_t firsts = dataset_stats(b->dataset).first_times;
    firsts_of(b, path, &shard, &number);
    bench_close(b);
    assert_int_equal(bench_verify(b, b->data, NULL), 0);
    file_flip(bench_below(b, path), 200);
    assert_true(bench_verify(b, b->data, NULL) > 0);
    bench_says(b, path, "checksum mismatch");
    bench_repair(b, NULL);
    bench_says(b, path, "who comes back may look new");
    bench_open(b);
    assert_int_equal(dataset_stats(b->dataset).rows, rows);
    assert_true(dataset_stats(b->dataset).first_times < firsts);
}

static void a_missing_file_is_damage_and_repaired(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    char path[96];
    uint32_t shard = 0;
    uint64_t number = 0;
    fill(b, 80);
    firsts_of(b, path, &shard, &number);
    bench_close(b);
    bench_shell(b, "rm data/%s", path);
    struct store *store = NULL;
    struct recovery_report report;
    assert_ok(store_open(b->data, &b->opts, &store, &report, &err));
    assert_int_equal(report.refused, 1); /* the answers would be others */
    assert_ok(store_close(store, &err));
    bench_repair(b, NULL);
    bench_open(b);
}

static void a_catalog_that_is_made_again_has_them(void **state)
{
    struct bench *b = *state;
    fill(b, 80);
    uint64_t sum = sum_of_firsts(b);
    bench_close(b);
    bench_shell(b, "rm data/catalog.db");
    bench_repair(b, NULL);
    bench_open(b);
    assert_int_equal(sum_of_firsts(b), sum);
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    assert_true(snapshot->history_from_ms >
                INT64_MIN); /* that something has expired they say themselves */
}

static void a_backup_has_them_and_a_restored_folder_too(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct backup_report report = {0};
    char to[128];
    char restored[128];
    fill(b, 80);
    uint64_t sum = sum_of_firsts(b);
    uint32_t files = first_files(b->data);
    snprintf(to, sizeof(to), "%s/backup", b->root);
    snprintf(restored, sizeof(restored), "%s/restored", b->root);
    assert_ok(store_backup(b->store, to, NULL, b->io, &report, &err));
    free(report.datasets);
    assert_int_equal(first_files(to), files);
    bench_close(b);
    assert_int_equal(bench_verify(b, to, NULL), 0);
    assert_ok(care_restore(to, restored, true, b->io, bench_note_finding, b, &report, &err));
    free(report.datasets);
    assert_int_equal(first_files(restored), files);
    bench_open_dir(b, restored);
    assert_int_equal(sum_of_firsts(b), sum);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(expired_rows_leave_first_times_and_a_later_border_merges_them),
        CLAIM(what_expires_before_it_is_flushed_leaves_first_times_as_well),
        CLAIM(an_erased_subject_leaves_the_files_with_the_next_merge),
        CLAIM(a_file_that_nothing_names_is_removed_at_opening),
        CLAIM(damage_is_told_and_costs_that_file),
        CLAIM(a_missing_file_is_damage_and_repaired),
        CLAIM(a_catalog_that_is_made_again_has_them),
        CLAIM(a_backup_has_them_and_a_restored_folder_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
