/* tests/unit/storage/test_care.c - tests of storage/care.h: verify, backup, restore. */
#include "tests/support/claims.h"

#include "storage/care_int.h"
#include "storage/dataset_int.h"
#include "storage/folder_lock.h"
#include "storage/segment_format.h"

#include "storage/base/rng.h"
#include "tests/support/fixed_seeds.h"
#include "tests/support/folder_bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int setup(void **state)
{
    fixed_seeds(1);
    return bench_setup(state);
}

/* Segments, ids.hash, and a log with 500 events. */
static void fill(struct bench *b)
{
    struct err err = {0};
    bench_open(b);
    assert_ok(live_ingest(b->dataset, 0, 1500, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    assert_ok(live_ingest(b->dataset, 1500, 1500, b->io, &err));
    bench_close(b);
    bench_open(b);
    assert_ok(live_ingest(b->dataset, 3000, 500, b->io, &err));
    bench_abandon(b);
}

static void expect_clean(struct bench *b, const char *dir)
{
    if (bench_verify(b, dir, NULL) != 0) {
        fail_msg("findings:\n%s", b->text);
    }
}

static void expect_finding(struct bench *b, const char *dir, const char *file, const char *problem)
{
    assert_true(bench_verify(b, dir, NULL) > 0);
    bench_says(b, file, problem);
}

/* ---- verify ---- */

static void a_folder_after_a_clean_stop_and_after_a_kill_is_clean(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    fill(b);
    expect_clean(b, b->data);
    assert_int_equal(b->found.segment_rows, 3000);
    assert_int_equal(b->found.log_events, 500);
    bench_open(b);
    assert_ok(dataset_delete_subject(b->dataset, 3, 0, &err));
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    bench_close(b);
    expect_clean(b, b->data);
    assert_int_equal(b->found.log_events, 0);
}

static void a_folder_in_use_is_refused_with_the_process(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    char want[64];
    bench_open(b);
    snprintf(want, sizeof(want), "in use by process %ld: stop it", (long)getpid());
    assert_fails(care_verify(b->data, NULL, b->io, bench_note_finding, b, &b->found, &err),
                 ERR_BUSY, want);
    assert_fails(
        care_verify("/nowhere/at/all", NULL, b->io, bench_note_finding, b, &b->found, &err),
        ERR_NOT_FOUND, "/nowhere/at/all");
}

/* Goal: a wrong bit anywhere in a file is found, and told of that file. Method: bits all over each file, one at a
 * time, put back after. Bytes that SQLite gives no meaning are not among them, for nothing can tell. */
static void a_flipped_bit_is_told_of_its_file(void **state)
{
    struct bench *b = *state;
    const char *names[] = {"shop/ids.log", "shop/ids.hash", "shop/shard-05/000006.seg",
                           "shop/wal/00000004.log"};
    fill(b);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *path = bench_below(b, names[i]);
        size_t bytes = file_bytes(path);
        size_t step = bytes / 40 + 1;
        for (size_t off = i; off < bytes; off += step) {
            file_flip(path, off);
            if (bench_verify(b, b->data, NULL) == 0 || !bench_has(b, names[i], "")) {
                fail_msg("\"%s\", byte %zu of %zu:\n%s", names[i], off, bytes, b->text);
            }
            file_flip(path, off);
        }
    }
    for (size_t off = 0; off < 24; off += 5) {
        file_flip(bench_below(b, "catalog.db"), off);
        expect_finding(b, b->data, "catalog.db", "");
        file_flip(bench_below(b, "catalog.db"), off);
    }
    expect_clean(b, b->data);
}

static void missing_short_and_stray_files_are_told(void **state)
{
    struct bench *b = *state;
    fill(b);
    char moved[256];
    snprintf(moved, sizeof(moved), "%s/x", b->root);
    const char *names[] = {"shop/ids.log", "shop/shard-05/000006.seg", "shop/wal/00000003.log",
                           "catalog.db"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        assert_int_equal(rename(bench_below(b, names[i]), moved), 0);
        expect_finding(b, b->data, i == 2 ? "shop/wal" : names[i], "");
        assert_int_equal(rename(moved, bench_below(b, names[i])), 0);
    }
    assert_int_equal(truncate(bench_below(b, "shop/shard-05/000006.seg"), 100), 0);
    expect_finding(b, b->data, "shop/shard-05/000006.seg", "trailer");
    const char *strays[] = {"shop/shard-03/000900.seg", "shop/shard-03/000901.seg.tmp",
                            "shop/event-ids/000001.run"};
    mkdir(bench_below(b, "shop/event-ids"), 0750);
    for (size_t i = 0; i < COUNT_OF(strays); i++) {
        close(open(bench_below(b, strays[i]), O_CREAT | O_WRONLY | O_CLOEXEC, 0640));
        expect_finding(b, b->data, strays[i], "does not name it");
    }
    mkdir(bench_below(b, "blog"), 0750);
    close(open(bench_below(b, "blog/ids.log"), O_CREAT | O_WRONLY | O_CLOEXEC, 0640));
    expect_finding(b, b->data, "blog", "the catalog does not name");
}

static void a_torn_log_is_told_with_its_place(void **state)
{
    struct bench *b = *state;
    fill(b);
    char *path = bench_below(b, "shop/wal/00000004.log");
    size_t bytes = file_bytes(path);
    assert_int_equal(truncate(path, (off_t)bytes - 1), 0);
    expect_finding(b, b->data, "shop/wal/00000004.log", "at byte 32: the last");
    assert_int_equal(b->found.left_over, 1);
    assert_int_equal(b->found.damaged, 0);
}

static void a_catalog_that_does_not_fit_its_files_is_told(void **state)
{
    struct bench *b = *state;
    const char *changes[][3] = {
        {"UPDATE segment SET row_count = row_count + 1 WHERE number = 6", "000006.seg", "rows"},
        {"UPDATE segment SET time_max_ms = 5 WHERE number = 6", "000006.seg", "times"},
        {"UPDATE segment SET shard = 4 WHERE number = 6", "000006.seg", "cannot open"},
        {"UPDATE dataset SET ids_count = ids_count + 1", "ids.log", "the catalog says"},
        {"UPDATE dataset SET next_segment = 3", "catalog.db", "numbers below 3"},
        {"DELETE FROM col WHERE prop = 1", "catalog.db", "column 2 stands where 1 belongs"},
        {"INSERT INTO deleted_subject VALUES(1, 2, 123456, 0)", "catalog.db", "a deleted subject"},
        {"UPDATE dataset SET wal_floor = 9", "wal", "missing"},
        {"INSERT INTO event_id_run VALUES(1, 7, 1, 1, 1, 1)", "event-ids/000007.run",
         "missing or empty"},
    };
    fill(b);
    char saved[256];
    char command[640];
    snprintf(saved, sizeof(saved), "%s/saved", b->root);
    snprintf(command, sizeof(command), "cp %s %s", bench_below(b, "catalog.db"), saved);
    assert_int_equal(system(command), 0);
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        snprintf(command, sizeof(command), "cp %s %s", saved, bench_below(b, "catalog.db"));
        assert_int_equal(system(command), 0);
        bench_sql(b, changes[i][0]);
        expect_finding(b, b->data, changes[i][1], changes[i][2]);
    }
}

/* A second segment with the same rows, which the catalog names: every event twice. */
static void add_copy(struct bench *b)
{
    char command[640];
    snprintf(command, sizeof(command), "cp %s/shop/shard-05/000006.seg %s/shop/shard-05/000099.seg",
             b->data, b->data);
    assert_int_equal(system(command), 0);
    bench_sql(b, "INSERT INTO segment SELECT dataset, 99, shard, row_count, bytes, time_min_ms,"
                 " time_max_ms, tier, kind FROM segment WHERE number = 6;"
                 "UPDATE dataset SET next_segment = 200");
}

static void an_event_that_is_there_twice_is_told_with_its_id(void **state)
{
    struct bench *b = *state;
    fill(b);
    add_copy(b);
    expect_finding(b, b->data, "shop/shard-05/0000", "of shard-05/000099.seg as well");
    assert_true(b->found.damaged > 10 && b->found.damaged < 12);
    expect_finding(b, b->data, "shop/", "more event ids are there twice");
}

struct tally {
    uint64_t groups, rows;
};

static enum err_code count_group(void *arg, const struct care_row *rows, uint32_t count,
                                 struct err *err)
{
    struct tally *tally = arg;
    (void)err;
    tally->groups++;
    tally->rows += count;
    for (uint32_t i = 1; i < count; i++) {
        assert_true(rows[i].hash.lo == rows[0].hash.lo &&
                    rows[i].arrival_ms >= rows[i - 1].arrival_ms);
    }
    return ERR_OK;
}

static void equal_rows_are_found_whatever_part_of_them_fits_memory(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    fill(b);
    add_copy(b);
    const size_t at_once[] = {0, 100, 1000};
    struct tally want = {0};
    for (size_t i = 0; i < COUNT_OF(at_once); i++) {
        struct care care;
        struct care_set set;
        struct tally tally = {0};
        struct catalog *catalog = NULL;
        char copy[CARE_COPY_BYTES];
        struct catalog_dataset row = {
            .id = 1, .name = "shop", .seed = 5, .next_segment = 200, .wal_floor = 4};
        assert_ok(care_init(&care, b->data, NULL, b->io, NULL, NULL, &err));
        assert_ok(care_catalog_open(&care, &catalog, copy, &err));
        assert_ok(care_set_init(&set, &care, &row, &err));
        assert_ok(care_set_load(&set, catalog, &err));
        struct care_rows_opts opts = {.rows_at_once = at_once[i]};
        assert_ok(care_rows_equal(&set, &opts, count_group, &tally, &err));
        assert_true(tally.groups > 20 && tally.rows == 2 * tally.groups);
        want = i == 0 ? tally : want;
        assert_int_equal(tally.groups, want.groups);
        care_set_done(&set);
        care_catalog_close(&care, catalog, copy);
        care_done(&care);
    }
}

/* ---- versions ---- */

/* A newer version of each kind of file, with checksums that fit: one sentence names file, versions, and what to do. */
static void expect_newer_than(struct bench *b, const char *file, uint32_t known)
{
    struct err err = {0};
    struct recovery_report report = {0};
    char want[160];
    snprintf(
        want, sizeof(want),
        "format version %u, and this program knows version %u: use the program that wrote it, or a "
        "newer one",
        known + 1, known);
    expect_finding(b, b->data, file, want);
    const char *base = strrchr(file, '/') == NULL ? file : strrchr(file, '/') + 1;
    enum err_code code = store_open(b->data, &b->opts, &b->store, &report, &err);
    if (code == ERR_OK) {
        assert_int_equal(report.refused, 1);
        err = report.refused_err;
    }
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, want));
    assert_non_null(strstr(err.message, base));
    if (b->store != NULL) {
        bench_abandon(b);
    }
}

static void expect_newer(struct bench *b, const char *file)
{
    expect_newer_than(b, file, 1);
}

static void a_newer_segment_is_named(void **state)
{
    struct bench *b = *state;
    uint8_t head[SEGMENT_HEADER_BYTES];
    fill(b);
    char *path = bench_below(b, "shop/shard-05/000006.seg");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, head, sizeof(head)), sizeof(head));
    close(fd);
    wr_u32(head + 8, 2);
    wr_u64(head + 24, checksum64(head, 24));
    file_patch(path, 0, head, sizeof(head));
    expect_newer(b, "shop/shard-05/000006.seg");
}

static void a_newer_log_is_named(void **state)
{
    struct bench *b = *state;
    uint8_t head[WAL_HEADER_BYTES];
    fill(b);
    char *path = bench_below(b, "shop/wal/00000004.log");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, head, sizeof(head)), sizeof(head));
    close(fd);
    wr_u32(head + 4, 2);
    wr_u64(head + 24, checksum64(head, 24));
    file_patch(path, 0, head, sizeof(head));
    expect_newer(b, "shop/wal/00000004.log");
}

static void a_newer_record_is_named(void **state)
{
    struct bench *b = *state;
    fill(b);
    char *path = bench_below(b, "shop/wal/00000004.log");
    size_t bytes = file_bytes(path);
    uint8_t *all = malloc(bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, all, bytes), (ssize_t)bytes);
    close(fd);
    uint8_t *record = all + WAL_HEADER_BYTES;
    uint32_t len = (uint32_t)record[0] | (uint32_t)record[1] << 8 | (uint32_t)record[2] << 16;
    record[WAL_RECORD_HEAD_BYTES] = 2;
    wr_u64(record + 4, checksum64(record + 12, 8 + (size_t)len));
    file_patch(path, 0, all, bytes);
    free(all);
    expect_newer(b, "shop/wal/00000004.log");
}

static void a_newer_id_directory_is_named(void **state)
{
    struct bench *b = *state;
    fill(b);
    char *path = bench_below(b, "shop/ids.log");
    size_t bytes = file_bytes(path);
    uint8_t *all = malloc(bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, all, bytes), (ssize_t)bytes);
    close(fd);
    uint32_t entries = (uint32_t)all[8] | (uint32_t)all[9] << 8 | (uint32_t)all[10] << 16;
    wr_u32(all + 12, 1);
    wr_u64(all + 16, hash64(all + 24, entries, hash64(all, 16, 0)));
    file_patch(path, 0, all, bytes);
    free(all);
    expect_newer(b, "shop/ids.log");
}

static void a_newer_catalog_is_named(void **state)
{
    struct bench *b = *state;
    fill(b);
    bench_sql(b, "UPDATE meta SET value = 6 WHERE key = 'version'");
    expect_newer_than(b, "catalog.db", 5);
}

static void a_newer_manifest_is_named(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct backup_report report = {0};
    char to[160];
    const char text[] = "trackway-backup 2\nsomething else\n";
    fill(b);
    int fd = open(bench_below(b, CARE_MANIFEST), O_CREAT | O_WRONLY | O_CLOEXEC, 0640);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    expect_finding(b, b->data, CARE_MANIFEST, "format version 2, and this program knows version 1");
    snprintf(to, sizeof(to), "%s/restored", b->root);
    assert_fails(care_restore(b->data, to, true, b->io, bench_note_finding, b, &report, &err),
                 ERR_UNSUPPORTED, CARE_MANIFEST "\": format version 2");
}

/* ---- backup and restore ---- */

static nlink_t links_of(const char *dir, const char *name)
{
    char path[256];
    struct stat at;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(stat(path, &at), 0);
    return at.st_nlink;
}

static void a_backup_of_a_running_store_has_all_that_was_acknowledged(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct backup_report report = {0};
    char to[160];
    char restored[160];
    fill(b);
    bench_open(b);
    assert_ok(live_ingest(b->dataset, 3500, 700, b->io, &err));
    snprintf(to, sizeof(to), "%s/backup", b->root);
    snprintf(restored, sizeof(restored), "%s/restored", b->root);
    assert_ok(store_backup(b->store, to, NULL, b->io, &report, &err));
    assert_int_equal(report.dataset_count, 1);
    assert_int_equal(report.rows, 4200);
    assert_true(report.linked_bytes > 0);
    free(report.datasets);
    assert_ok(live_ingest(b->dataset, 4200, 100, b->io, &err)); /* after it: not in it */
    assert_ok(dataset_compact(b->dataset, NULL, &err)); /* takes the names of what was linked */
    expect_clean(b, to);
    assert_int_equal(b->found.segment_rows + b->found.log_events, 4200);
    assert_ok(care_restore(to, restored, true, b->io, bench_note_finding, b, &report, &err));
    assert_int_equal(report.rows, 4200);
    free(report.datasets);
    assert_int_equal(links_of(restored, "shop/ids.log"), 1);
    assert_int_equal(links_of(restored, "catalog.db"), 1);
    assert_int_equal(links_of(restored, "shop/wal/00000004.log"), 1);
    assert_int_equal(links_of(restored, "shop/shard-05/000006.seg"), 2);
    bench_close(b);
    bench_open_dir(b, restored);
    bench_expect(b, 4200);
    assert_ok(live_ingest(b->dataset, 4200, 300, b->io, &err));
    bench_close(b);
    expect_clean(b, restored);
    expect_clean(b, to);
    bench_open_dir(b, to); /* a server in a backup makes a data folder of it */
    bench_expect(b, 4200);
    bench_close(b);
    expect_clean(b, to);
    snprintf(restored, sizeof(restored), "%s/nothing yet", b->root);
    assert_fails(care_restore(to, restored, true, b->io, bench_note_finding, b, &report, &err),
                 ERR_INVALID, "is no backup");
}

/* ---- beside everything else ---- */

struct loader {
    struct bench *b;
    _Atomic uint32_t acknowledged; /* events below it */
    _Atomic bool is_stopping;
};

static void *load(void *arg)
{
    struct loader *loader = arg;
    CLEANUP(io_freep) struct io *io = NULL;
    struct err err = {0};
    if (io_create(IO_POSIX, &io, &err) != ERR_OK) {
        return arg;
    }
    for (uint32_t first = 0; !atomic_load(&loader->is_stopping); first += 40) {
        if (live_ingest(loader->b->dataset, first, 40, io, &err) != ERR_OK) {
            return arg;
        }
        atomic_store(&loader->acknowledged, first + 40);
    }
    return NULL;
}

static void *keep_house(void *arg)
{
    struct loader *loader = arg;
    struct err err = {0};
    for (uint32_t i = 0; !atomic_load(&loader->is_stopping); i++) {
        if (dataset_flush(loader->b->dataset, &err) != ERR_OK ||
            (i % 3 == 2 && dataset_compact(loader->b->dataset, NULL, &err) != ERR_OK)) {
            return arg;
        }
    }
    return NULL;
}

/* Goal: whatever goes on, a backup is clean and has all that was acknowledged before it. */
static void backups_beside_ingest_flushes_and_compactions_are_whole(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    pthread_t threads[2];
    void *failed[2] = {NULL, NULL};
    uint32_t before[6];
    char to[160];
    bench_open(b);
    b->dataset->limits.block_rows = 64;
    struct loader loader = {.b = b};
    assert_int_equal(pthread_create(&threads[0], NULL, load, &loader), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, keep_house, &loader), 0);
    for (uint32_t i = 0; i < COUNT_OF(before); i++) {
        struct backup_report report = {0};
        usleep(30000);
        before[i] = atomic_load(&loader.acknowledged);
        snprintf(to, sizeof(to), "%s/backup%u", b->root, i);
        assert_ok(store_backup(b->store, to, NULL, b->io, &report, &err));
        assert_true(report.rows >= before[i]);
        free(report.datasets);
    }
    atomic_store(&loader.is_stopping, true);
    pthread_join(threads[0], &failed[0]);
    pthread_join(threads[1], &failed[1]);
    assert_true(failed[0] == NULL && failed[1] == NULL);
    bench_abandon(b);
    for (uint32_t i = 0; i < COUNT_OF(before); i++) {
        snprintf(to, sizeof(to), "%s/backup%u", b->root, i);
        expect_clean(b, to);
        uint32_t rows = (uint32_t)(b->found.segment_rows + b->found.log_events);
        assert_true(rows >= before[i]);
        bench_open_dir(b, to);
        bench_expect(b, (uint32_t)dataset_stats(b->dataset).rows);
        bench_abandon(b);
    }
}

static void a_backup_goes_only_where_it_may(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct backup_report report = {0};
    char to[160];
    bench_open(b);
    snprintf(to, sizeof(to), "%s/inside", b->data);
    assert_fails(store_backup(b->store, to, NULL, b->io, &report, &err), ERR_INVALID,
                 "is inside of the data folder");
    assert_fails(store_backup(b->store, b->root, NULL, b->io, &report, &err), ERR_BUSY,
                 "not empty");
    assert_fails(store_backup(b->store, "backup", NULL, b->io, &report, &err), ERR_INVALID,
                 "no absolute path");
    assert_fails(store_backup(b->store, "/nowhere/x", NULL, b->io, &report, &err), ERR_NOT_FOUND,
                 "/nowhere");
    assert_fails(store_backup(b->store, "/", NULL, b->io, &report, &err), ERR_INVALID,
                 "does not name");
    assert_fails(store_backup(b->store, "/tmp/..", NULL, b->io, &report, &err), ERR_INVALID,
                 "does not name");
    snprintf(to, sizeof(to), "%s/file", b->root);
    close(open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0640));
    assert_fails(store_backup(b->store, to, NULL, b->io, &report, &err), ERR_BUSY, "no folder");
    _Atomic bool cancel = true;
    snprintf(to, sizeof(to), "%s/cancelled", b->root);
    assert_fails(store_backup(b->store, to, &cancel, b->io, &report, &err), ERR_CANCELLED,
                 "cancelled");
    assert_int_not_equal(access(to, F_OK), 0);
    snprintf(to, sizeof(to), "%s/empty/", b->root);
    mkdir(to, 0750);
    assert_ok(store_backup(b->store, to, NULL, b->io, &report, &err));
    free(report.datasets);
    expect_clean(b, to);
}

static void a_damaged_backup_is_not_restored_unless_told(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct backup_report report = {0};
    char to[160], restored[160], path[256];
    fill(b);
    bench_open(b);
    snprintf(to, sizeof(to), "%s/backup", b->root);
    snprintf(restored, sizeof(restored), "%s/restored", b->root);
    assert_ok(store_backup(b->store, to, NULL, b->io, &report, &err));
    free(report.datasets);
    bench_abandon(b);
    const char *names[] = {"catalog.db", "shop/ids.log", "shop/wal/00000004.log",
                           "shop/shard-05/000006.seg", CARE_MANIFEST};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", to, names[i]);
        size_t off = file_bytes(path) / 2;
        file_flip(path, off);
        expect_finding(b, to, names[i], "");
        assert_int_equal(
            care_restore(to, restored, true, b->io, bench_note_finding, b, &report, &err),
            ERR_CORRUPT);
        assert_int_not_equal(access(restored, F_OK), 0);
        file_flip(path, off);
    }
    snprintf(path, sizeof(path), "%s/shop/shard-05/000006.seg", to);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(care_restore(to, restored, true, b->io, bench_note_finding, b, &report, &err),
                     ERR_CORRUPT);
    b->text[0] = '\0';
    assert_ok(care_restore(to, restored, false, b->io, bench_note_finding, b, &report, &err));
    free(report.datasets);
    bench_says(b, "shop/shard-05/000006.seg: ", "");
    assert_ptr_equal(strchr(b->text, '\n'), strrchr(b->text, '\n')); /* and nothing else */
}

/* Goal: no byte of a manifest makes anything but an error, and no path leads out of the folder. */
static void a_manifest_is_not_believed(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    const char *lines[] = {"file 1 - ../x",
                           "file 1 - /etc/passwd",
                           "file 1 - a/../b",
                           "file 1 - a//b",
                           "file 1 - .x",
                           "file 1 - a/",
                           "file 1 - ",
                           "file x - a",
                           "file 1 zz a",
                           "file 99999999999999999999999 - a",
                           "file 1 - a b",
                           "dataset ../x rows 1 epoch 1 segments 1",
                           "dataset x rows 1 epoch 1",
                           "what",
                           "",
                           "file 1 - a\\b"};
    char path[160];
    snprintf(path, sizeof(path), "%s/manifest", b->root);
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        CLEANUP(care_manifest_done) struct care_manifest manifest = {0};
        CLEANUP(buf_freep) struct buf text = {0};
        buf_printf(&text, "trackway-backup 1\nmade 5 x\n%s\n", lines[i]);
        buf_printf(&text, "end %016" PRIx64 "\n", checksum64(text.ptr, text.len));
        FILE *file = fopen(path, "w");
        assert_int_equal(fwrite(text.ptr, 1, text.len, file), text.len);
        fclose(file);
        assert_fails(care_manifest_read(b->io, path, &manifest, &err), ERR_CORRUPT, "line 3");
    }
}

static void a_lost_catalog_does_not_pass_for_a_new_folder(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct recovery_report report;
    fill(b);
    assert_int_equal(unlink(bench_below(b, "catalog.db")), 0);
    assert_fails(store_open(b->data, &b->opts, &b->store, &report, &err), ERR_CORRUPT,
                 "missing or empty, and there is data set \"shop\"");
    assert_int_equal(access(bench_below(b, "shop/shard-05/000006.seg"), F_OK), 0);
}

static void a_lock_is_shared_by_readers_and_had_alone_by_writers(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    int a = -1, c = -1, d = -1;
    assert_ok(io_mkdir(b->io, b->data, &err));
    assert_ok(folder_lock(b->data, FOLDER_SHARED, &a, &err));
    assert_int_equal(a, -1); /* no server ever ran in it */
    assert_ok(folder_lock(b->data, FOLDER_ALONE, &a, &err));
    assert_fails(folder_lock(b->data, FOLDER_SHARED, &c, &err), ERR_BUSY, "in use by process");
    close(a);
    assert_ok(folder_lock(b->data, FOLDER_SHARED, &c, &err));
    assert_ok(folder_lock(b->data, FOLDER_SHARED, &d, &err));
    assert_fails(folder_lock(b->data, FOLDER_ALONE, &a, &err), ERR_BUSY, "in use");
    close(c);
    close(d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_folder_after_a_clean_stop_and_after_a_kill_is_clean),
        TEST(a_folder_in_use_is_refused_with_the_process),
        TEST(a_flipped_bit_is_told_of_its_file),
        TEST(missing_short_and_stray_files_are_told),
        TEST(a_torn_log_is_told_with_its_place),
        TEST(a_catalog_that_does_not_fit_its_files_is_told),
        TEST(an_event_that_is_there_twice_is_told_with_its_id),
        TEST(equal_rows_are_found_whatever_part_of_them_fits_memory),
        TEST(a_newer_segment_is_named),
        TEST(a_newer_log_is_named),
        TEST(a_newer_record_is_named),
        TEST(a_newer_id_directory_is_named),
        TEST(a_newer_catalog_is_named),
        TEST(a_newer_manifest_is_named),
        TEST(a_backup_of_a_running_store_has_all_that_was_acknowledged),
        TEST(backups_beside_ingest_flushes_and_compactions_are_whole),
        TEST(a_backup_goes_only_where_it_may),
        TEST(a_damaged_backup_is_not_restored_unless_told),
        TEST(a_manifest_is_not_believed),
        TEST(a_lost_catalog_does_not_pass_for_a_new_folder),
        TEST(a_lock_is_shared_by_readers_and_had_alone_by_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
