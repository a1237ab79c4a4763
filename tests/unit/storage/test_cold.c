/* tests/unit/storage/test_cold.c - tests of storage/cold_owner.c and care_cold.c: verify and repair of what lies in the
 * cold directory, and whose it is. That a crash at any call of it loses nothing is in tests/crash/crash_care.c. */
#include "tests/support/claims.h"

#include "storage/base/size.h"
#include "storage/cold_owner.h"
#include "storage/dataset_int.h"
#include "storage/tiers.h"
#include "tests/support/fixed_seeds.h"
#include "tests/support/folder_bench.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS 3500u

static uint32_t move_all(struct bench *b)
{
    struct err err = {0};
    const struct settings_change change = {.has_cold_after = true,
                                           .to = {.cold_after_ms = SETTINGS_DAY_MS}};
    uint32_t moved = 0;
    assert_ok(dataset_configure(b->dataset, &change, &err));
    for (bool did = true; did; moved += did) {
        assert_ok(tier_step(b->dataset, b->io, &did, &err));
    }
    return moved;
}

/* 2,000 events in cold segments, 1,000 in hot ones, 500 in the log; as a crash leaves it. */
static int setup(void **state)
{
    struct err err = {0};
    fixed_seeds(1);
    bench_setup(state);
    struct bench *b = *state;
    bench_stop_clock(b);
    b->opts.cold_dir = b->cold;
    bench_open(b);
    assert_ok(live_ingest(b->dataset, 0, 2000, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    assert_int_equal(move_all(b), SHARD_COUNT);
    assert_ok(live_ingest(b->dataset, 2000, 1000, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    assert_ok(live_ingest(b->dataset, 3000, 500, b->io, &err));
    bench_abandon(b);
    return 0;
}

static void open_without_background(struct bench *b, uint32_t cold_anothers)
{
    bench_open(b);
    assert_int_equal(b->report.cold_anothers, cold_anothers);
}

/* The folder opens with all events, takes no more of them, moves and merges. */
static void expect_as_new(struct bench *b)
{
    struct err err = {0};
    open_without_background(b, 0);
    bench_expect(b, EVENTS);
    (void)move_all(b);
    bench_expect(b, EVENTS);
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    bench_expect(b, EVENTS);
    bench_close(b);
    open_without_background(b, 0);
    bench_expect(b, EVENTS);
    bench_close(b);
    assert_int_equal(bench_verify(b, b->data, b->cold), 0);
}

/* One of the cold segments; valid until the next call. */
static char *cold_file(const struct bench *b, uint32_t which)
{
    static char path[256];
    char pattern[160];
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/shop/shard-*/*.seg", b->cold);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_true(which < found.gl_pathc);
    snprintf(path, sizeof(path), "%s", found.gl_pathv[which]);
    globfree(&found);
    return path;
}

static void lose_catalog(struct bench *b)
{
    assert_int_equal(unlink(bench_below(b, "catalog.db")), 0);
}

/* ---- verify ---- */

static void verify_reads_the_cold_segments_where_it_is_told_of_them(void **state)
{
    struct bench *b = *state;
    assert_int_equal(bench_verify(b, b->data, b->cold), 0);
    assert_int_equal(b->found.segment_rows, 3000);
    assert_int_equal(bench_verify(b, b->data, NULL), SHARD_COUNT);
    bench_says(b, "damaged ", "is in the cold directory, which verify and repair look into");
}

static void a_flipped_bit_of_a_cold_segment_is_told_of_its_file(void **state)
{
    struct bench *b = *state;
    const char *path = cold_file(b, 5);
    size_t bytes = file_bytes(path);
    for (size_t off = 1; off < bytes; off += bytes / 60 + 1) {
        file_flip(path, off);
        if (bench_verify(b, b->data, b->cold) == 0 || !bench_has(b, "damaged ", path)) {
            fail_msg("byte %zu of %zu:\n%s", off, bytes, b->text);
        }
        file_flip(path, off);
    }
    assert_int_equal(truncate(path, (off_t)bytes - 1), 0);
    assert_int_equal(bench_verify(b, b->data, b->cold), 1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(bench_verify(b, b->data, b->cold), 1);
    bench_says(b, path, "cannot open");
}

static void what_a_crash_left_in_the_cold_directory_is_told(void **state)
{
    struct bench *b = *state;
    bench_shell(b,
                "cp %s cold/shop/shard-03/000900.seg && echo x >cold/shop/shard-04/000901.seg.tmp",
                cold_file(b, 3));
    assert_int_equal(bench_verify(b, b->data, b->cold), 2);
    bench_says(b, "left over", "/cold/shop/shard-03/000900.seg: the catalog does not name it");
    bench_says(b, "left over", "/cold/shop/shard-04/000901.seg.tmp: the catalog does not name it");
    open_without_background(b, 0);
    assert_int_equal(b->report.orphan_files, 2);
    bench_expect(b, EVENTS);
}

/* A copy that a move left behind in the data folder is one too, though its number is that of a live segment. */
static void a_hot_copy_of_a_cold_segment_is_left_over(void **state)
{
    struct bench *b = *state;
    bench_shell(b, "cp -a cold/shop/shard-03/*.seg data/shop/shard-03/");
    assert_int_equal(bench_verify(b, b->data, b->cold), 1);
    bench_says(b, "left over", "shop/shard-03/0000");
    bench_repair(b, b->cold);
    bench_says(b, "nothing names it: moved to quarantine", "");
    expect_as_new(b);
}

static void whose_the_cold_directory_is_is_looked_at(void **state)
{
    struct bench *b = *state;
    bench_shell(b, "cp cold/shop/OWNER saved && rm cold/shop/OWNER");
    assert_int_equal(bench_verify(b, b->data, b->cold), 1);
    bench_says(b, "cold/shop/OWNER: missing", "");
    const char *texts[] = {"trackway data set 0000000000000007\n", "", "trackway data set",
                           "trackway data set  000000000000007\n"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        bench_shell(b, "printf '%s' >cold/shop/OWNER", texts[i]);
        assert_int_equal(bench_verify(b, b->data, b->cold), 1);
        bench_says(b, "cold/shop/OWNER: it names another data set", "");
    }
    bench_shell(b, "head -c 5000 /dev/zero >cold/shop/OWNER");
    assert_int_equal(bench_verify(b, b->data, b->cold), 1);
    bench_repair(b, b->cold);
    bench_says(b, "cold/shop/OWNER: it names another data set: written again", "");
    bench_shell(b, "cmp cold/shop/OWNER saved && rm cold/shop/OWNER");
    bench_repair(b, b->cold);
    bench_says(b, "cold/shop/OWNER: missing: written again", "");
    expect_as_new(b);
}

static void a_folder_that_cannot_be_the_cold_one_is_refused(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_fails(care_verify(b->data, b->data, b->io, NULL, NULL, &b->found, &err), ERR_INVALID,
                 "is the data folder itself");
    assert_fails(care_verify(b->data, "/nowhere", b->io, NULL, NULL, &b->found, &err),
                 ERR_NOT_FOUND, "cold directory \"/nowhere\"");
    assert_fails(care_repair(b->data, &(struct repair_opts){.cold_dir = b->data}, b->io, NULL, NULL,
                             &b->repaired, &err),
                 ERR_INVALID, "is the data folder itself");
    assert_fails(care_repair(b->data, &(struct repair_opts){.cold_dir = "/nowhere"}, b->io, NULL,
                             NULL, &b->repaired, &err),
                 ERR_NOT_FOUND, "/nowhere");
    char *other = bench_below(b, "../other");
    int lock = -1;
    assert_int_equal(mkdir(other, 0750), 0);
    assert_ok(cold_lock(b->cold, other, FOLDER_ALONE, &lock, &err)); /* a server that uses it */
    assert_fails(care_verify(b->data, b->cold, b->io, NULL, NULL, &b->found, &err), ERR_BUSY,
                 "cold directory");
    assert_fails(care_repair(b->data, &(struct repair_opts){.cold_dir = b->cold}, b->io, NULL, NULL,
                             &b->repaired, &err),
                 ERR_BUSY, "is in use by process");
    close(lock);
}

/* ---- repair with a sound catalog ---- */

static void damaged_cold_segments_go_to_a_quarantine_of_their_own(void **state)
{
    struct bench *b = *state;
    uint8_t seen[EVENTS];
    char *path = cold_file(b, 2);
    file_flip(path, file_bytes(path) / 2);
    assert_int_equal(unlink(cold_file(b, 9)), 0);
    bench_repair(b, b->cold);
    bench_says(b, "/cold/shop/shard-02/0000", "checksum mismatch: taken out");
    bench_says(b, "/cold/shop/shard-09/0000", "taken out");
    assert_true(b->repaired.rows_lost > 100 && b->repaired.is_rows_lost_known);
    bench_shell(b, "test -e cold/shop/quarantine/shard-02-000003.seg");
    bench_shell(b, "! test -e data/shop/quarantine");
    bench_open(b);
    assert_int_equal(bench_look(b, seen, EVENTS), EVENTS - b->repaired.rows_lost);
    bench_close(b);
}

/* A disk that is not mounted, or the directory of another: what is safe elsewhere must not be taken out. */
static void the_wrong_cold_directory_costs_nothing(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    char wrong[128];
    snprintf(wrong, sizeof(wrong), "%s/wrong", b->root);
    bench_shell(b, "mkdir wrong && cp -a data before");
    assert_fails(care_repair(b->data, &(struct repair_opts){.cold_dir = wrong}, b->io, NULL, NULL,
                             &b->repaired, &err),
                 ERR_INVALID, "is not where its 16 cold segments were moved to");
    bench_shell(b, "mkdir wrong/shop && printf 'trackway data set 0000000000000007\\n' "
                   ">wrong/shop/OWNER");
    assert_fails(care_repair(b->data, &(struct repair_opts){.cold_dir = wrong}, b->io, NULL, NULL,
                             &b->repaired, &err),
                 ERR_INVALID, "is not where its 16 cold segments were moved to");
    assert_fails(
        care_repair(b->data, &(struct repair_opts){0}, b->io, NULL, NULL, &b->repaired, &err),
        ERR_UNSUPPORTED, "is in the cold directory");
    bench_shell(b, "rm data/LOCK before/LOCK && diff -r data before");
    expect_as_new(b);
}

/* A disk that died, and one that was found again after all. */
static void a_lost_cold_directory_is_taken_out_and_found_again_taken_in(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct repair_sums sums;
    uint8_t seen[EVENTS];
    const struct repair_opts both = {.cold_dir = b->cold, .is_cold_lost = true};
    const struct repair_opts lost = {.is_cold_lost = true};
    assert_fails(care_repair(b->data, &both, b->io, NULL, NULL, &sums, &err), ERR_INVALID,
                 "cannot be looked into");
    bench_shell(b, "mv cold away");
    b->text[0] = '\0';
    assert_ok(care_repair(b->data, &lost, b->io, bench_note_line, b, &sums, &err));
    bench_says(b, "shop/shard-03/0000", "lost with the cold directory: taken out");
    assert_int_equal(sums.rows_lost, 2000);
    assert_int_equal(bench_verify(b, b->data, NULL), 0);
    bench_open(b);
    assert_int_equal(bench_look(b, seen, EVENTS), 1500);
    bench_close(b);
    bench_shell(b, "rm -r cold && mv away cold && cp -a cold saved && rm saved/LOCK");
    open_without_background(b, 1);
    assert_int_equal(bench_look(b, seen, EVENTS), 1500);
    bench_close(b);
    bench_shell(b, "rm cold/LOCK && diff -r cold saved");
    bench_repair(b, b->cold);
    bench_says(b, "/cold/shop/shard-03/0000", "taken in");
    expect_as_new(b);
}

/* ---- a lost catalog ---- */

static void a_lost_catalog_learns_of_the_cold_segments_where_they_are_shown(void **state)
{
    struct bench *b = *state;
    bench_shell(b, "cp cold/shop/OWNER saved");
    lose_catalog(b);
    bench_repair(b, b->cold);
    bench_says(b, "/cold/shop/shard-03/0000", "taken in");
    assert_int_equal(b->repaired.rows_lost, 0);
    bench_shell(b, "cmp cold/shop/OWNER saved");
    expect_as_new(b);
}

static void damaged_cold_segments_are_told_when_the_catalog_is_lost_too(void **state)
{
    struct bench *b = *state;
    uint8_t seen[EVENTS];
    char *path = cold_file(b, 2);
    file_flip(path, file_bytes(path) / 2);
    lose_catalog(b);
    bench_repair(b, b->cold);
    bench_says(b, "/cold/shop/shard-02/0000", "taken out");
    bench_shell(b, "test -e cold/shop/quarantine/shard-02-000003.seg");
    bench_open(b);
    assert_int_equal(bench_look(b, seen, EVENTS), EVENTS - b->repaired.rows_lost);
    bench_close(b);
}

/* What is on either side of a move when the power goes, and the catalog with it. */
static void both_copies_of_a_move_that_was_cut_off_count_once(void **state)
{
    struct bench *b = *state;
    bench_shell(b, "cp -a cold/shop/shard-03/*.seg data/shop/shard-03/ &&"
                   " head -c 999 cold/shop/shard-03/*.seg >cold/shop/shard-03/000700.seg.tmp");
    lose_catalog(b);
    bench_repair(b, b->cold);
    bench_says(b, "its rows are in other segments: moved to quarantine", "shop/shard-03/");
    assert_int_equal(b->repaired.rows_lost, 0);
    expect_as_new(b);
}

static void damaged_ids_are_made_again_from_cold_segments_as_well(void **state)
{
    struct bench *b = *state;
    for (uint32_t with_catalog = 0; with_catalog < 2; with_catalog++) {
        bench_shell(b,
                    "rm -rf saved && cp -a data saved && rm -rf savedcold && cp -a cold savedcold");
        assert_int_equal(truncate(bench_below(b, "shop/ids.log"), 100), 0);
        if (with_catalog == 0) {
            lose_catalog(b);
        }
        bench_repair(b, b->cold);
        bench_says(b, "shop/ids.log: ", "made again from the segments and the log");
        assert_int_equal(b->repaired.rows_lost, 0);
        expect_as_new(b);
        bench_shell(b, "rm -rf data cold && mv saved data && mv savedcold cold");
    }
}

/* Goal: whatever a server does after a repair that did not look into the cold directory, what lies there stays until
 * one does, and then every event is there once. The server gives the numbers of cold segments again, for it does
 * not know of them. */
static void nothing_is_removed_until_a_repair_has_looked(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    uint8_t seen[EVENTS];
    bool did = false;
    bench_shell(b, "cp -a cold saved && rm saved/LOCK");
    lose_catalog(b);
    bench_repair(b, NULL);
    bench_says(b, "segments in a cold directory, if it has any, were not looked at", "--cold-dir");
    for (uint32_t i = 0; i < 3; i++) {
        open_without_background(b, 1);
        assert_int_equal(b->report.orphan_files, 0);
        assert_int_equal(bench_look(b, seen, EVENTS), 1500);
        if (i == 0) {
            assert_ok(dataset_compact(b->dataset, NULL, &err));
        }
        const struct settings_change change = {.has_cold_after = true,
                                               .to = {.cold_after_ms = SETTINGS_DAY_MS}};
        assert_ok(dataset_configure(b->dataset, &change, &err));
        assert_fails(tier_step(b->dataset, b->io, &did, &err), ERR_INVALID,
                     "or to this one before its catalog was lost");
        bench_close(b);
    }
    bench_shell(b, "rm cold/LOCK && diff -r cold saved");
    assert_int_equal(bench_verify(b, b->data, b->cold), SHARD_COUNT);
    bench_says(b, "/cold/shop/shard-03/0000", "that the catalog does not name");
    bench_repair(b, b->cold);
    bench_says(b, "/cold/shop/shard-03/0000", "taken in");
    bench_says(b, "cold/shop/OWNER: it names another data set: written again", "");
    assert_int_equal(b->repaired.rows_lost, 0);
    expect_as_new(b);
}

static void a_number_that_was_given_again_is_no_obstacle(void **state)
{
    struct bench *b = *state;
    char hot[160];
    char number[32];
    lose_catalog(b);
    bench_repair(b, NULL);
    /* The hot segment of shard 3 gets the number of the cold one of shard 5. */
    const char *name = strrchr(cold_file(b, 5), '/') + 1;
    snprintf(number, sizeof(number), "%.6s", name);
    snprintf(hot, sizeof(hot),
             "UPDATE segment SET number = %s WHERE shard = 3;"
             "UPDATE dataset SET next_segment = 1000",
             number);
    bench_sql(b, hot);
    bench_shell(b, "mv data/shop/shard-03/*.seg data/shop/shard-03/%s.seg", number);
    bench_repair(b, b->cold);
    bench_says(b, "its number is another segment's: now 001000.seg", "");
    assert_int_equal(b->repaired.rows_lost, 0);
    expect_as_new(b);
}

/* ---- other folders ---- */

/* Another data folder with a "shop" of the same users, beside the cold directory of the first. */
static void what_another_data_set_moved_is_left_alone(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    bench_shell(b, "mv data first && cp -a cold saved && rm saved/LOCK");
    bench_open(b);
    assert_ok(live_ingest(b->dataset, 0, 1000, b->io, &err));
    bench_close(b);
    assert_int_equal(bench_verify(b, b->data, b->cold), 0);
    bench_repair(b, b->cold);
    assert_int_equal(b->repaired.changes, 0);
    lose_catalog(b);
    bench_repair(b, b->cold);
    bench_says(b, "cold/shop: segments of another data set of this name: left alone", "");
    open_without_background(b, 1);
    bench_expect(b, 1000);
    bench_close(b);
    bench_shell(b, "rm cold/LOCK && diff -r cold saved && rm -r data && mv first data");
    expect_as_new(b);
}

/* A backup is of the same data set and has all of it in one folder: what the first folder's catalog names in the cold
 * directory is no orphan of the restored one. */
static void a_restored_backup_removes_nothing_of_the_first_folder(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct backup_report report;
    char to[128];
    char restored[128];
    snprintf(to, sizeof(to), "%s/backup", b->root);
    snprintf(restored, sizeof(restored), "%s/restored", b->root);
    bench_open(b);
    assert_ok(store_backup(b->store, to, NULL, b->io, &report, &err));
    free(report.datasets);
    bench_abandon(b);
    bench_shell(b, "cp -a cold saved && rm saved/LOCK");
    assert_ok(care_restore(to, restored, true, b->io, NULL, NULL, &report, &err));
    free(report.datasets);
    bench_open_dir(b, restored);
    assert_int_equal(b->report.orphan_files, 0);
    assert_int_equal(b->report.cold_anothers, 1);
    bench_expect(b, EVENTS);
    bench_close(b);
    bench_shell(b, "rm cold/LOCK && diff -r cold saved");
    /* The first folder is gone for good: repair says so, and the directory is the restored one's. */
    bench_shell(b, "rm -r data && mv restored data");
    bench_repair(b, b->cold);
    bench_says(b, "shop/shard-03/", "all of its rows are in other segments as well");
    assert_int_equal(b->repaired.rows_lost, 0);
    expect_as_new(b);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(verify_reads_the_cold_segments_where_it_is_told_of_them),
        CLAIM(a_flipped_bit_of_a_cold_segment_is_told_of_its_file),
        CLAIM(what_a_crash_left_in_the_cold_directory_is_told),
        CLAIM(a_hot_copy_of_a_cold_segment_is_left_over),
        CLAIM(whose_the_cold_directory_is_is_looked_at),
        CLAIM(a_folder_that_cannot_be_the_cold_one_is_refused),
        CLAIM(damaged_cold_segments_go_to_a_quarantine_of_their_own),
        CLAIM(the_wrong_cold_directory_costs_nothing),
        CLAIM(a_lost_cold_directory_is_taken_out_and_found_again_taken_in),
        CLAIM(a_lost_catalog_learns_of_the_cold_segments_where_they_are_shown),
        CLAIM(damaged_cold_segments_are_told_when_the_catalog_is_lost_too),
        CLAIM(both_copies_of_a_move_that_was_cut_off_count_once),
        CLAIM(damaged_ids_are_made_again_from_cold_segments_as_well),
        CLAIM(nothing_is_removed_until_a_repair_has_looked),
        CLAIM(a_number_that_was_given_again_is_no_obstacle),
        CLAIM(what_another_data_set_moved_is_left_alone),
        CLAIM(a_restored_backup_removes_nothing_of_the_first_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
