/* tests/unit/storage/test_tiers.c - tests of storage/tiers.c: segments that move to the cold directory, and what becomes
 * of them. That a crash at any instruction leaves one whole copy is in tests/crash. */
#include "tests/support/claims.h"

#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "storage/tiers.h"
#include "tests/support/folder_bench.h"

#include "storage/care.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define K 2000u

static int setup(void **state)
{
    bench_setup(state);
    struct bench *b = *state;
    bench_stop_clock(b);
    b->opts.cold_dir = b->cold;
    bench_open(b);
    return 0;
}

static void cold_after(struct bench *b, uint64_t days)
{
    struct err err = {0};
    const struct settings_change change = {.has_cold_after = true,
                                           .to = {.cold_after_ms = days * SETTINGS_DAY_MS}};
    assert_ok(dataset_configure(b->dataset, &change, &err));
}

static void put_flushed(struct bench *b, uint32_t first, uint32_t count)
{
    struct err err = {0};
    assert_ok(live_ingest(b->dataset, first, count, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
}

static uint32_t move_all(struct bench *b)
{
    struct err err = {0};
    uint32_t moved = 0;
    for (bool did = true; did; moved += did) {
        assert_ok(tier_step(b->dataset, b->io, &did, &err));
    }
    return moved;
}

static void what_is_cold_moves_and_is_read_all_the_same(void **state)
{
    struct bench *b = *state;
    put_flushed(b, 0, 1000);
    uint32_t files = segment_files(b->data);
    assert_int_equal(move_all(b), 0); /* off until told otherwise */
    cold_after(b, 99);                /* each segment has an event of later than that */
    assert_int_equal(move_all(b), 0);
    cold_after(b, 1);
    assert_int_equal(move_all(b), files);
    assert_int_equal(segment_files(b->data), 0);
    assert_int_equal(segment_files(b->cold), files);
    bench_expect(b, 1000);
    struct dataset_stats stats = dataset_stats(b->dataset);
    assert_int_equal(stats.cold_segments, files);
    assert_int_equal(stats.cold_bytes, stats.segment_bytes);
    assert_int_equal(stats.moved_bytes, stats.segment_bytes);
    bench_close(b);
    bench_open(b);
    assert_int_equal(b->report.orphan_files, 0);
    assert_int_equal(dataset_stats(b->dataset).cold_segments, files);
    bench_expect(b, 1000);
}

static void a_snapshot_pinned_before_reads_on_after_the_move(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    put_flushed(b, 0, 1000);
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    cold_after(b, 1);
    assert_true(move_all(b) > 0);
    assert_int_equal(segment_files(b->data), 0);
    assert_ok(live_check(snapshot, b->counts, 1000, b->io, &err));
}

static void late_events_bring_a_segment_back_and_it_moves_again(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    put_flushed(b, 0, 1000);
    cold_after(b, 1);
    uint32_t files = move_all(b);
    put_flushed(b, 1000, 1000);
    assert_int_equal(segment_files(b->cold), files);
    assert_true(segment_files(b->data) > 0);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        bool did = false;
        assert_ok(compaction_step(b->dataset, shard, true, b->io, &did, &err));
    }
    assert_int_equal(segment_files(b->cold), 0); /* merged, and written to the hot directory */
    bench_expect(b, K);
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    assert_int_equal(segment_files(b->data), 0);
    assert_true(segment_files(b->cold) > 0);
    bench_expect(b, K);
}

static void what_is_cold_expires_as_well(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    put_flushed(b, 0, 1000);
    cold_after(b, 1);
    assert_true(move_all(b) > 0);
    const struct settings_change change = {.has_expire_after = true,
                                           .to = {.expire_after_ms = 30 * SETTINGS_DAY_MS}};
    assert_ok(dataset_configure(b->dataset, &change, &err));
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    assert_int_equal(segment_files(b->cold), 0);
    assert_int_equal(dataset_stats(b->dataset).segments, 0);
}

static void without_its_directory_only_that_data_set_is_refused(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct dataset *other = NULL;
    char empty[64];
    put_flushed(b, 0, 100);
    cold_after(b, 1);
    assert_true(move_all(b) > 0);
    assert_ok(store_dataset(b->store, STR("blog"), true, &other, &err));
    assert_ok(live_ingest(other, 0, 10, b->io, &err));
    bench_close(b);

    b->opts.cold_dir = NULL;
    assert_ok(store_open(b->data, &b->opts, &b->store, &b->report, &err));
    assert_int_equal(b->report.refused, 1);
    assert_fails(store_dataset(b->store, STR("shop"), false, &b->dataset, &err), ERR_CORRUPT,
                 "was moved to a cold directory, and the option \"cold-dir\" names none");
    assert_ok(store_dataset(b->store, STR("blog"), false, &other, &err));
    assert_ok(live_check_dataset(other, b->counts, 10, b->io, &err));
    bench_close(b);

    live_dir_make(empty);
    b->opts.cold_dir = empty;
    assert_ok(store_open(b->data, &b->opts, &b->store, &b->report, &err));
    assert_fails(store_dataset(b->store, STR("shop"), false, &b->dataset, &err), ERR_CORRUPT,
                 "option \"cold-dir\" is not the directory that a segment was moved to");
    assert_ok(store_dataset(b->store, STR("blog"), false, &other, &err));
    bench_close(b);
    live_dir_remove(empty);

    b->opts.cold_dir = b->cold;
    bench_open(b);
    assert_int_equal(b->report.refused, 0);
    bench_expect(b, 100);
}

struct heard {
    uint32_t findings, cold;
};

static void hear_finding(void *arg, const struct care_finding *finding)
{
    struct heard *heard = arg;
    heard->findings++;
    heard->cold += strstr(finding->problem, "is in the cold directory") != NULL;
}

static void hear_line(void *arg, const char *line)
{
    (void)arg;
    (void)line;
}

/* Verify and repair look at one folder: what is elsewhere is not taken for missing. A backup has all. */
static void care_does_not_take_what_is_cold_for_missing(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct heard heard = {0};
    struct care_sums sums;
    struct backup_report backup;
    char to[160];
    snprintf(to, sizeof(to), "%s-backup", b->data);
    put_flushed(b, 0, K);
    cold_after(b, 1);
    uint32_t moved = move_all(b);
    assert_true(moved > 0);
    assert_ok(store_backup(b->store, to, NULL, b->io, &backup, &err));
    free(backup.datasets);
    bench_close(b);
    assert_ok(care_verify(b->data, NULL, b->io, hear_finding, &heard, &sums, &err));
    assert_int_equal(heard.cold, moved);
    assert_int_equal(heard.findings, moved);
    struct repair_sums repaired;
    assert_fails(
        care_repair(b->data, &(struct repair_opts){0}, b->io, hear_line, NULL, &repaired, &err),
        ERR_UNSUPPORTED, "is in the cold directory");
    assert_int_equal(segment_files(b->cold), moved);
    bench_open(b);
    bench_expect(b, K);
    bench_abandon(b);
    heard = (struct heard){0};
    assert_ok(care_verify(to, NULL, b->io, hear_finding, &heard, &sums, &err));
    assert_int_equal(heard.findings, 0);
    bench_open(b);
    live_dir_remove(to);
}

static void two_data_folders_do_not_share_what_is_there(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    char elsewhere[64];
    put_flushed(b, 0, 100);
    cold_after(b, 1);
    uint32_t files = move_all(b);
    bench_close(b);

    live_dir_make(elsewhere);
    bench_open_dir(b, elsewhere); /* another "shop", over the same cold directory */
    put_flushed(b, 0, 100);
    cold_after(b, 1);
    bool did = false;
    assert_fails(tier_step(b->dataset, b->io, &did, &err), ERR_INVALID,
                 "belongs to another data folder's data set");
    assert_false(did);
    bench_close(b);
    bench_open_dir(b, elsewhere);
    assert_int_equal(b->report.orphan_files, 0);
    assert_int_equal(b->report.cold_anothers, 1);
    assert_int_equal(segment_files(b->cold), files); /* nothing there was taken for an orphan */
    bench_close(b);
    live_dir_remove(elsewhere);
    bench_open(b);
    bench_expect(b, 100);
}

static void a_directory_that_cannot_be_is_refused(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct store *store = NULL;
    struct recovery_report report;
    char elsewhere[64];
    live_dir_make(elsewhere);
    assert_fails(store_open(elsewhere, &b->opts, &store, &report, &err), ERR_BUSY,
                 "is in use by process");
    struct store_opts opts = b->opts;
    opts.cold_dir = elsewhere;
    assert_fails(store_open(elsewhere, &opts, &store, &report, &err), ERR_INVALID,
                 "is the data folder itself");
    opts.cold_dir = "/dev/null/cold";
    assert_fails(store_open(elsewhere, &opts, &store, &report, &err), ERR_IO, "/dev/null/cold");
    live_dir_remove(elsewhere);
}

/* What a crash may leave: a copy that the catalog does not name yet, half or whole, or one that it names no more. */
static void orphans_of_either_side_are_removed_at_opening(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    CLEANUP(buf_freep) struct buf bytes = {0};
    char cold[DATASET_PATH_BYTES + 64];
    char hot[DATASET_PATH_BYTES + 64];
    char half[DATASET_PATH_BYTES + 72];
    put_flushed(b, 0, 100);
    cold_after(b, 1);
    uint32_t files = move_all(b);
    struct catalog_segment meta = b->dataset->version->segs[0]->meta;
    assert_int_equal(meta.tier, TIER_COLD);
    dataset_segment_file(b->dataset, &meta, cold);
    dataset_segment_path(b->dataset, meta.shard, meta.number, hot);
    snprintf(half, sizeof(half), "%s.tmp", cold);
    assert_ok(io_read_file(b->io, cold, 1u << 24, &bytes, &err));
    const char *paths[] = {hot, half};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        FILE *file = fopen(paths[i], "w");
        assert_non_null(file);
        assert_int_equal(fwrite(bytes.ptr, 1, bytes.len / (i + 1), file), bytes.len / (i + 1));
        fclose(file);
    }
    put_flushed(b, 100, 100);
    bench_close(b);
    bench_open(b);
    assert_int_equal(b->report.orphan_files, 2);
    assert_int_equal(segment_files(b->cold), files);
    assert_int_equal(access(hot, F_OK), -1);
    bench_expect(b, 200);
}

static void the_background_moves_by_itself(void **state)
{
    struct bench *b = *state;
    bench_close(b);
    b->opts.compact_in_background = true;
    bench_open(b);
    put_flushed(b, 0, 300);
    uint64_t segments = dataset_stats(b->dataset).segments;
    cold_after(b, 1);
    for (uint32_t i = 0; i < 10000 && dataset_stats(b->dataset).cold_segments < segments; i++) {
        usleep(1000);
    }
    assert_int_equal(dataset_stats(b->dataset).cold_segments, segments);
    bench_expect(b, 300);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(what_is_cold_moves_and_is_read_all_the_same),
        CLAIM(a_snapshot_pinned_before_reads_on_after_the_move),
        CLAIM(late_events_bring_a_segment_back_and_it_moves_again),
        CLAIM(what_is_cold_expires_as_well),
        CLAIM(without_its_directory_only_that_data_set_is_refused),
        CLAIM(care_does_not_take_what_is_cold_for_missing),
        CLAIM(two_data_folders_do_not_share_what_is_there),
        CLAIM(a_directory_that_cannot_be_is_refused),
        CLAIM(orphans_of_either_side_are_removed_at_opening),
        CLAIM(the_background_moves_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
