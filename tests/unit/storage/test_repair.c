/* tests/unit/storage/test_repair.c - tests of care_repair: what is damaged goes, what is left answers. */
#include "tests/support/claims.h"

#include "storage/care_int.h"
#include "storage/dataset_int.h"

#include "storage/base/rng.h"
#include "storage/base/size.h"
#include "tests/support/fixed_seeds.h"
#include "tests/support/folder_bench.h"

#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS 3500u

static void open_store(struct bench *b)
{
    bench_open(b);
    b->dataset->limits.block_rows =
        8; /* so that small segments are worth merging, into several parts */
}

/* Two generations of segments with 3,000 events, ids.hash, and a log of two files with 500. */
static int setup(void **state)
{
    struct err err = {0};
    fixed_seeds(1);
    bench_setup(state);
    struct bench *b = *state;
    open_store(b);
    assert_ok(live_ingest(b->dataset, 0, 1500, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    assert_ok(live_ingest(b->dataset, 1500, 1500, b->io, &err));
    bench_close(b);
    open_store(b);
    for (uint32_t first = 3000; first < EVENTS; first += 50) {
        assert_ok(live_ingest(b->dataset, first, 50, b->io, &err));
    }
    bench_abandon(b);
    return 0;
}

/* The repaired folder opens, has `count` events once, and takes the others again: it is as good as new. */
static void expect(struct bench *b, uint32_t count)
{
    struct err err = {0};
    uint8_t seen[EVENTS];
    open_store(b);
    uint32_t there = bench_look(b, seen, EVENTS);
    if (there != count) {
        fail_msg("%u events, wanted %u\n%s", there, count, b->text);
    }
    for (uint32_t i = 0; i < EVENTS; i++) {
        if (seen[i] == 0) {
            assert_ok(live_ingest(b->dataset, i, 1, b->io, &err));
        }
    }
    assert_int_equal(bench_look(b, seen, EVENTS), EVENTS);
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    bench_close(b);
    open_store(b);
    assert_int_equal(bench_look(b, seen, EVENTS), EVENTS);
    bench_close(b);
}

/* ---- with a sound catalog ---- */

static void a_sound_folder_needs_no_repair(void **state)
{
    struct bench *b = *state;
    bench_repair(b, NULL);
    assert_int_equal(b->repaired.changes, 0);
    assert_string_equal(b->repaired.report, "");
    expect(b, EVENTS);
}

static void damaged_and_missing_segments_go_and_the_rest_answers(void **state)
{
    struct bench *b = *state;
    char *path = bench_below(b, "shop/shard-05/000006.seg");
    file_flip(path, file_bytes(path) / 2);
    assert_int_equal(unlink(bench_below(b, "shop/shard-07/000008.seg")), 0);
    bench_repair(b, NULL);
    assert_true(b->repaired.rows_lost > 100 && b->repaired.is_rows_lost_known);
    bench_says(b, "shop/shard-05/000006.seg: ", "");
    bench_says(b, "checksum mismatch: taken out", "");
    bench_says(b, "shop/shard-07/000008.seg: ", "");
    bench_says(b, "rows from 20", "");
    assert_int_equal(access(bench_below(b, "shop/quarantine/shard-05-000006.seg"), F_OK), 0);
    assert_int_equal(access(bench_below(b, b->repaired.report), F_OK), 0);
    expect(b, EVENTS - (uint32_t)b->repaired.rows_lost);
}

static void a_torn_log_is_cut_and_kept(void **state)
{
    struct bench *b = *state;
    char *path = bench_below(b, "shop/wal/00000004.log");
    assert_int_equal(truncate(path, (off_t)file_bytes(path) - 7), 0);
    bench_repair(b, NULL);
    bench_says(b, "shop/wal/00000004.log: the last ", "");
    bench_says(b, "events that arrived after 20", "");
    assert_false(b->repaired.is_rows_lost_known);
    assert_int_equal(access(bench_below(b, "shop/quarantine/wal-00000004.log"), F_OK), 0);
    expect(b, EVENTS - 50);
}

static void damage_inside_of_the_log_ends_it_there(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    uint64_t bytes = file_bytes(bench_below(b, "shop/wal/00000004.log"));
    open_store(b); /* a later file: the damage is not at the end */
    bench_abandon(b);
    file_flip(bench_below(b, "shop/wal/00000004.log"), bytes / 2);
    struct recovery_report report;
    assert_ok(store_open(b->data, &b->opts, &b->store, &report, &err));
    assert_int_equal(report.refused, 1);
    bench_abandon(b);
    bench_repair(b, NULL);
    bench_says(b, "shop/wal/00000004.log: ", "");
    bench_says(b, "shop/wal/00000005.log: moved to quarantine", "");
    expect(b, EVENTS - 300);
}

static void a_missing_log_file_ends_the_log(void **state)
{
    struct bench *b = *state;
    open_store(b);
    bench_abandon(b);
    assert_int_equal(unlink(bench_below(b, "shop/wal/00000003.log")), 0);
    bench_repair(b, NULL);
    bench_says(b, "shop/wal/00000003.log: missing", "");
    expect(b, 3000);
}

static void a_lost_log_folder_costs_what_is_in_no_segment(void **state)
{
    struct bench *b = *state;
    bench_shell(b, "rm -r data/shop/wal");
    bench_repair(b, NULL);
    expect(b, 3000);
}

/* How many anonymous ids are bound to a user. */
static uint64_t bound_ids(struct bench *b)
{
    struct err err = {0};
    struct snapshot *snapshot = NULL;
    open_store(b);
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    snapshot_unpin(snapshot);
    uint64_t bound = dataset_identity_stats(b->dataset).bound;
    bench_abandon(b);
    return bound;
}

/* Goal: whatever part of ids.log is damaged, no row is lost, each keeps its subject, and ids that met stay together. */
static void a_damaged_id_directory_is_made_again(void **state)
{
    struct bench *b = *state;
    size_t bytes = file_bytes(bench_below(b, "shop/ids.log"));
    bench_shell(b, "cp -a data saved");
    uint64_t bound = bound_ids(b);
    assert_true(bound > 0);
    for (size_t off = 3; off < bytes + 40; off += bytes / 3) {
        bench_shell(b, "rm -rf data && cp -a saved data");
        if (off < bytes) {
            file_flip(bench_below(b, "shop/ids.log"), off);
        } else {
            assert_int_equal(unlink(bench_below(b, "shop/ids.log")), 0);
        }
        bench_repair(b, NULL);
        bench_says(b, "shop/ids.log: ", "");
        bench_says(b, "made again from the segments and the log", "");
        assert_int_equal(b->repaired.rows_lost, 0);
        assert_int_equal(bound_ids(b), bound);
        expect(b, EVENTS);
    }
}

/* A number whose events are all gone is nobody's, and nobody gets it. */
static void subjects_without_events_lose_their_ids_only(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    uint8_t seen[EVENTS];
    open_store(b);
    assert_ok(dataset_delete_subject(b->dataset, 5, 1, &err));
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    uint32_t left = bench_look(b, seen, EVENTS);
    bench_close(b);
    assert_true(left < EVENTS);
    file_flip(bench_below(b, "shop/ids.log"), 30);
    bench_repair(b, NULL);
    bench_says(b, "numbers of the id directory without an event that is left have lost what they stood for", "");
    open_store(b);
    assert_int_equal(bench_look(b, seen, EVENTS), left);
    bench_close(b);
}

static void what_can_be_made_again_is_dropped(void **state)
{
    struct bench *b = *state;
    bench_shell(
        b, "mkdir -p data/shop/event-ids && echo x >data/shop/event-ids/000700.run &&"
           " echo x >data/shop/event-ids/000701.run && echo y >data/shop/shard-02/000900.seg.tmp");
    bench_sql(b, "INSERT INTO event_id_run VALUES(1, 700, 1, 99, 1, 1);"
                 "INSERT INTO event_id_run VALUES(1, 699, 1, 99, 1, 1)");
    file_flip(bench_below(b, "shop/ids.hash"), 5000);
    bench_repair(b, NULL);
    bench_says(b, "event-ids/000700.run: 2 bytes, the catalog says 99: dropped", "");
    bench_says(b, "event-ids/000699.run: missing or empty: dropped", "");
    bench_says(b, "event-ids/000701.run: nothing names it: moved to quarantine", "");
    bench_says(b, "ids.hash: damaged: removed", "");
    assert_int_equal(b->repaired.rows_lost, 0);
    expect(b, EVENTS);
}

static void a_segment_that_is_there_twice_goes_once(void **state)
{
    struct bench *b = *state;
    bench_shell(b, "cp data/shop/shard-05/000006.seg data/shop/shard-05/000099.seg");
    bench_sql(b, "INSERT INTO segment SELECT dataset, 99, shard, row_count, bytes, time_min_ms,"
                 " time_max_ms, tier, kind FROM segment WHERE number = 6;"
                 "UPDATE dataset SET next_segment = 200");
    bench_repair(b, NULL);
    bench_says(b, "all of its rows are in other segments", "");
    assert_int_equal(b->repaired.rows_lost, 0);
    expect(b, EVENTS);
}

static void a_data_set_without_its_folder_is_empty_after_it(void **state)
{
    struct bench *b = *state;
    bench_shell(b, "rm -r data/shop");
    bench_repair(b, NULL);
    assert_int_equal(b->repaired.rows_lost, 3000);
    expect(b, 0);
}

/* ---- without one ---- */

static void a_lost_catalog_is_made_again(void **state)
{
    struct bench *b = *state;
    assert_int_equal(unlink(bench_below(b, "catalog.db")), 0);
    bench_repair(b, NULL);
    bench_says(b, "catalog.db: missing or empty: made again", "");
    bench_says(b,
               "not recovered: its time zone (now UTC), its settings (now the defaults), and which "
               "subjects were deleted",
               "");
    assert_int_equal(b->repaired.rows_lost, 0);
    expect(b, EVENTS);
}

static void a_damaged_catalog_is_kept_and_what_it_says_is_used(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    uint8_t seen[EVENTS];
    bench_sql(b, "UPDATE dataset SET zone = 'Asia/Tokyo', expire_after_ms = 86400000000");
    open_store(b);
    assert_ok(dataset_delete_subject(b->dataset, 5, 1, &err));
    uint32_t left = bench_look(b, seen, EVENTS);
    bench_abandon(b);
    bench_sql(b, "DELETE FROM col WHERE prop = 0");
    bench_repair(b, NULL);
    bench_says(b, "column 1 stands where 0 belongs: made again", "");
    bench_says(b,
               "time zone \"Asia/Tokyo\", the settings and 1 deleted subjects are what the damaged "
               "catalog still says",
               "");
    assert_int_equal(access(bench_below(b, "_catalog-damaged.db"), F_OK), 0);
    open_store(b);
    assert_string_equal(dataset_zone(b->dataset), "Asia/Tokyo");
    assert_int_equal(b->dataset->row.settings.expire_after_ms, 86400000000);
    assert_int_equal(bench_look(b, seen, EVENTS), left);
}

static void a_catalog_that_is_no_database_is_made_again(void **state)
{
    struct bench *b = *state;
    bench_shell(b, "head -c 20000 /dev/zero | tr '\\0' x >data/catalog.db");
    bench_repair(b, NULL);
    expect(b, EVENTS);
}

static void a_lost_catalog_and_a_damaged_segment_cost_that_segment(void **state)
{
    struct bench *b = *state;
    assert_int_equal(unlink(bench_below(b, "catalog.db")), 0);
    char *path = bench_below(b, "shop/shard-05/000006.seg");
    file_flip(path, 200);
    assert_int_equal(truncate(bench_below(b, "shop/shard-07/000008.seg"), 99), 0);
    bench_repair(b, NULL);
    bench_says(b, "how many rows it held, and of which time, cannot be told", "");
    assert_true(b->repaired.rows_lost > 0 && !b->repaired.is_rows_lost_known);
    open_store(b);
    uint8_t seen[EVENTS];
    assert_true(bench_look(b, seen, EVENTS) < EVENTS - b->repaired.rows_lost);
}

/* Goal: whichever inputs and outputs of a compaction a crash left behind, with the catalog lost every event is there
 * once. Method: the segments before and after are put together, all or any of each as far as a crash can
 * leave them: all inputs with any outputs, or all outputs with any inputs. */
static void a_cut_off_compaction_and_a_lost_catalog_count_nothing_twice(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct rng rng = rng_init(test_seed());
    open_store(b);
    assert_ok(dataset_flush(b->dataset, &err));
    bench_abandon(b);
    bench_shell(b, "cp -a data inputs");
    open_store(b);
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    bench_abandon(b);
    bench_shell(b, "cp -a data outputs && rm outputs/catalog.db");
    for (uint32_t trial = 0; trial < 12; trial++) {
        const char *whole = trial % 2 == 0 ? "outputs" : "inputs";
        const char *part = trial % 2 == 0 ? "inputs" : "outputs";
        glob_t found = {0};
        char pattern[160];
        bench_shell(b,
                    "rm -rf data && cp -a outputs data && rm data/shop/shard-*/*.seg && cp -a "
                    "%s/shop/shard-* data/shop/",
                    whole);
        snprintf(pattern, sizeof(pattern), "%s/%s/shop/shard-*/*.seg", b->root, part);
        assert_int_equal(glob(pattern, 0, NULL, &found), 0);
        for (size_t i = 0; i < found.gl_pathc; i++) {
            const char *shard = strstr(found.gl_pathv[i], "shard-");
            if (trial < 2 || rng_below(&rng, 2) == 0) {
                bench_shell(b, "cp -n %s data/shop/%s", found.gl_pathv[i], shard);
            }
        }
        globfree(&found);
        bench_repair(b, NULL);
        assert_int_equal(b->repaired.rows_lost, 0);
        expect(b, EVENTS);
    }
}

/* The same of a flush: its segments are there, all or some, and its log is too. */
static void a_cut_off_flush_and_a_lost_catalog_count_nothing_twice(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    bench_shell(b, "cp -a data saved");
    open_store(b);
    assert_ok(dataset_flush(b->dataset, &err));
    bench_abandon(b);
    bench_shell(b, "cp -a data flushed");
    for (uint32_t left_out = 0; left_out < 4; left_out++) {
        bench_shell(
            b, "rm -rf data && cp -a flushed data && rm -r data/shop/wal && cp -a saved/shop/wal "
               "data/shop/wal");
        bench_shell(b, "rm data/catalog.db");
        if (left_out > 0) { /* cut off after some shards; its ids are half written */
            bench_shell(b, "rm -f data/shop/shard-0%u/*4?.seg data/shop/shard-0%u/*3?.seg",
                        left_out, left_out + 4);
            assert_int_equal(
                truncate(bench_below(b, "shop/ids.log"),
                         (off_t)file_bytes(bench_below(b, "shop/ids.log")) - left_out * 5),
                0);
        }
        bench_repair(b, NULL);
        expect(b, EVENTS);
    }
}

static void a_lost_catalog_and_a_damaged_id_directory_lose_no_row(void **state)
{
    struct bench *b = *state;
    assert_int_equal(unlink(bench_below(b, "catalog.db")), 0);
    file_flip(bench_below(b, "shop/ids.log"), 40);
    bench_repair(b, NULL);
    assert_int_equal(b->repaired.rows_lost, 0);
    expect(b, EVENTS);
}

static void a_folder_that_the_catalog_does_not_name_is_taken_in(void **state)
{
    struct bench *b = *state;
    bench_sql(b, "UPDATE dataset SET name = 'shoq'");
    bench_repair(b, NULL);
    bench_says(b, "shop: a data set's folder that the catalog does not name: taken in", "");
    expect(b, EVENTS);
}

/* ---- anything ---- */

/* A file of the folder, by number. */
static char *any_file(struct bench *b, struct rng *rng)
{
    static char path[256];
    glob_t found = {0};
    char pattern[160];
    snprintf(pattern, sizeof(pattern), "%s/catalog.db", b->data);
    assert_int_equal(glob(pattern, GLOB_NOCHECK, NULL, &found), 0);
    for (const char *const *name =
             (const char *const[]){"shop/ids.*", "shop/wal/*", "shop/shard-*/*", NULL};
         *name != NULL; name++) {
        snprintf(pattern, sizeof(pattern), "%s/%s", b->data, *name);
        (void)glob(pattern, GLOB_APPEND, NULL, &found);
    }
    /* Each kind as often as the others: there are many segments. */
    size_t idx = rng_below(rng, 2) == 0 ? (size_t)rng_below(rng, MIN_OF(found.gl_pathc, (size_t)5))
                                        : (size_t)rng_below(rng, found.gl_pathc);
    snprintf(path, sizeof(path), "%s", found.gl_pathv[idx]);
    globfree(&found);
    return path;
}

static void damage_something(struct bench *b, struct rng *rng)
{
    char *path = any_file(b, rng);
    if (access(path, F_OK) != 0) {
        return;
    }
    size_t bytes = file_bytes(path);
    size_t at = bytes == 0 ? 0 : (size_t)rng_below(rng, bytes);
    switch (rng_below(rng, 6)) {
    case 0: assert_int_equal(truncate(path, (off_t)at), 0); break;
    case 1: assert_int_equal(unlink(path), 0); break;
    case 2:
        bench_shell(b, "cp %s data/shop/shard-0%u/000%u.seg", path, (unsigned)rng_below(rng, 8),
                    (unsigned)rng_below(rng, 900) + 100);
        break;
    default:
        if (bytes > 0) {
            file_flip(path, at);
        }
    }
}

/* Goal: after a repair of any damage the folder is clean, opens, and has no event twice and none wrong. Method: one to
 * four random damages to files of a folder. A bit that turns the data set's row into that of another, valid one is no
 * damage that can be seen: the folder is only required to be as its catalog says. */
static void any_damage_can_be_repaired(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct rng rng = rng_init(test_seed());
    uint32_t trials =
        getenv("REPAIR_TRIALS") == NULL ? 40 : (uint32_t)atoi(getenv("REPAIR_TRIALS"));
    bench_shell(b, "cp -a data saved");
    for (uint32_t trial = 0; trial < trials; trial++) {
        uint8_t seen[EVENTS];
        struct recovery_report report;
        struct care_sums sums = {0};
        bench_shell(b, "rm -rf data && cp -a saved data");
        for (uint64_t n = 1 + rng_below(&rng, 4); n > 0; n--) {
            damage_something(b, &rng);
        }
        b->text[0] = '\0';
        enum err_code code = care_repair(b->data, &(struct repair_opts){0}, b->io, bench_note_line,
                                         b, &b->repaired, &err);
        if (code == ERR_UNSUPPORTED) {
            continue; /* a flipped bit made a newer version of it */
        }
        if (code != ERR_OK || strstr(b->text, "still wrong") != NULL) {
            fail_msg("trial %u: %s\n%s", trial, code == ERR_OK ? "" : err.message, b->text);
        }
        assert_ok(care_verify(b->data, NULL, b->io, bench_note_finding, b, &sums, &err));
        if (sums.damaged + sums.left_over > 0) {
            fail_msg("trial %u: not clean after it:\n%s", trial, b->text);
        }
        assert_ok(store_open(b->data, &b->opts, &b->store, &report, &err));
        if (report.refused > 0) {
            fail_msg("trial %u: %s\n%s", trial, report.refused_err.message, b->text);
        }
        if (store_dataset(b->store, STR("shop"), false, &b->dataset, &err) == ERR_OK) {
            (void)bench_look(b, seen, EVENTS);
        }
        bench_abandon(b);
    }
}

/* ---- what it must not touch ---- */

static void a_newer_version_stops_it_before_the_first_change(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    uint8_t head[WAL_HEADER_BYTES];
    file_flip(bench_below(b, "shop/shard-05/000006.seg"), 300);
    char *path = bench_below(b, "shop/wal/00000004.log");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, head, sizeof(head), 0), sizeof(head));
    wr_u32(head + 4, 2);
    wr_u64(head + 24, checksum64(head, 24));
    assert_int_equal(pwrite(fd, head, sizeof(head), 0), sizeof(head));
    close(fd);
    bench_shell(b, "cp -a data before");
    assert_fails(care_repair(b->data, &(struct repair_opts){0}, b->io, bench_note_line, b,
                             &b->repaired, &err),
                 ERR_UNSUPPORTED, "00000004.log\": format version 2");
    bench_shell(b, "diff -r data before");
    bench_sql(b, "UPDATE meta SET value = 99 WHERE key = 'version'");
    assert_fails(care_repair(b->data, &(struct repair_opts){0}, b->io, bench_note_line, b,
                             &b->repaired, &err),
                 ERR_UNSUPPORTED, "catalog: format version 99");
}

static void a_folder_in_use_and_one_that_is_none_are_refused(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    open_store(b);
    assert_fails(care_repair(b->data, &(struct repair_opts){0}, b->io, bench_note_line, b,
                             &b->repaired, &err),
                 ERR_BUSY, "in use by process");
    assert_fails(care_repair(b->data, &(struct repair_opts){.is_dry_run = true}, b->io,
                             bench_note_line, b, &b->repaired, &err),
                 ERR_BUSY, "in use by process");
    assert_fails(care_repair(b->root, &(struct repair_opts){0}, b->io, bench_note_line, b,
                             &b->repaired, &err),
                 ERR_NOT_FOUND, "is no data folder");
    assert_fails(care_repair("/nowhere", &(struct repair_opts){0}, b->io, bench_note_line, b,
                             &b->repaired, &err),
                 ERR_NOT_FOUND, "/nowhere");
    char path[128];
    snprintf(path, sizeof(path), "%s/LOCK", b->root);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void a_repaired_backup_is_a_data_folder(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct backup_report report = {0};
    char to[96];
    open_store(b);
    snprintf(to, sizeof(to), "%s/backup", b->root);
    assert_ok(store_backup(b->store, to, NULL, b->io, &report, &err));
    free(report.datasets);
    bench_abandon(b);
    snprintf(b->data, sizeof(b->data), "%s", to);
    bench_repair(b, NULL);
    assert_int_equal(b->repaired.changes, 0);
    file_flip(bench_below(b, "catalog.db"), 3);
    bench_repair(b, NULL);
    bench_says(b, "_manifest: removed", "");
    expect(b, EVENTS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sound_folder_needs_no_repair),
        TEST(damaged_and_missing_segments_go_and_the_rest_answers),
        TEST(a_torn_log_is_cut_and_kept),
        TEST(damage_inside_of_the_log_ends_it_there),
        TEST(a_missing_log_file_ends_the_log),
        TEST(a_lost_log_folder_costs_what_is_in_no_segment),
        TEST(a_damaged_id_directory_is_made_again),
        TEST(subjects_without_events_lose_their_ids_only),
        TEST(what_can_be_made_again_is_dropped),
        TEST(a_segment_that_is_there_twice_goes_once),
        TEST(a_data_set_without_its_folder_is_empty_after_it),
        TEST(a_lost_catalog_is_made_again),
        TEST(a_damaged_catalog_is_kept_and_what_it_says_is_used),
        TEST(a_catalog_that_is_no_database_is_made_again),
        TEST(a_lost_catalog_and_a_damaged_segment_cost_that_segment),
        TEST(a_cut_off_compaction_and_a_lost_catalog_count_nothing_twice),
        TEST(a_cut_off_flush_and_a_lost_catalog_count_nothing_twice),
        TEST(a_lost_catalog_and_a_damaged_id_directory_lose_no_row),
        TEST(a_folder_that_the_catalog_does_not_name_is_taken_in),
        TEST(any_damage_can_be_repaired),
        TEST(a_newer_version_stops_it_before_the_first_change),
        TEST(a_folder_in_use_and_one_that_is_none_are_refused),
        TEST(a_repaired_backup_is_a_data_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
