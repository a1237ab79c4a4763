/* tests/support/folder_bench.c - see folder_bench.h. */
#include "tests/support/folder_bench.h"

#include "tests/support/claims.h"

#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

int64_t bench_clock_ms;

static int64_t wall_ms(void)
{
    return bench_clock_ms;
}

int bench_setup(void **state)
{
    struct err err = {0};
    struct bench *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    snprintf(b->root, sizeof(b->root),
             "/dev/shm/trackway-bench-XXXXXX"); /* nothing waits for a disk */
    if (mkdtemp(b->root) == NULL) {
        live_dir_make(b->root);
    }
    snprintf(b->data, sizeof(b->data), "%s/data", b->root);
    snprintf(b->cold, sizeof(b->cold), "%s/cold", b->root);
    store_opts_default(&b->opts);
    b->opts.io_kind = IO_POSIX;
    b->opts.block_cache_bytes = 16u << 20;
    b->opts.compact_in_background = false;
    memset(b->counts, 1, sizeof(b->counts));
    assert_ok(io_create(IO_POSIX, &b->io, &err));
    *state = b;
    return 0;
}

void bench_stop_clock(struct bench *b)
{
    b->opts.wall_ms = wall_ms;
    bench_clock_ms = LIVE_ARRIVAL_MS;
}

int bench_teardown(void **state)
{
    struct bench *b = *state;
    if (b->store != NULL) {
        store_abandon(b->store);
    }
    io_free(b->io);
    live_dir_remove(b->root);
    free(b);
    return 0;
}

/* ---- the store ---- */

void bench_open_dir(struct bench *b, const char *dir)
{
    struct err err = {0};
    assert_ok(store_open(dir, &b->opts, &b->store, &b->report, &err));
    if (b->report.refused > 0) {
        fail_msg("refused: %s", b->report.refused_err.message);
    }
    assert_ok(store_dataset(b->store, STR("shop"), true, &b->dataset, &err));
}

void bench_open(struct bench *b)
{
    bench_open_dir(b, b->data);
}

void bench_close(struct bench *b)
{
    struct err err = {0};
    assert_ok(store_close(TAKE(b->store), &err));
}

void bench_abandon(struct bench *b)
{
    store_abandon(TAKE(b->store));
}

/* ---- its events ---- */

void bench_expect_counts(struct bench *b, uint32_t k_count)
{
    struct err err = {0};
    assert_true(k_count <= BENCH_EVENTS_MAX);
    assert_ok(live_check_dataset(b->dataset, b->counts, k_count, b->io, &err));
}

void bench_expect(struct bench *b, uint32_t k_count)
{
    struct err err = {0};
    uint8_t *counts = malloc((size_t)k_count + 1);
    assert_non_null(counts);
    memset(counts, 1, (size_t)k_count + 1);
    assert_ok(live_check_dataset(b->dataset, counts, k_count, b->io, &err));
    free(counts);
}

uint32_t bench_look(struct bench *b, uint8_t *seen, uint32_t k_count)
{
    struct err err = {0};
    uint32_t there = 0;
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    memset(seen, 0, k_count);
    assert_ok(live_look(snapshot, seen, k_count, b->io, &err));
    for (uint32_t i = 0; i < k_count; i++) {
        if (seen[i] > 1) {
            fail_msg("event %u is there %u times\n%s", i, seen[i], b->text);
        }
        there += seen[i];
    }
    assert_ok(live_check(snapshot, seen, k_count, b->io, &err));
    return there;
}

/* ---- what verify and repair say ---- */

void bench_note_line(void *arg, const char *line)
{
    struct bench *b = arg;
    size_t len = strlen(b->text);
    snprintf(b->text + len, sizeof(b->text) - len, "%s\n", line);
}

void bench_note_finding(void *arg, const struct care_finding *finding)
{
    struct bench *b = arg;
    size_t len = strlen(b->text);
    snprintf(b->text + len, sizeof(b->text) - len, "%s %s: %s\n",
             finding->level == CARE_DAMAGE ? "damaged" : "left over", finding->file,
             finding->problem);
}

uint64_t bench_verify(struct bench *b, const char *dir, const char *cold_dir)
{
    struct err err = {0};
    b->text[0] = '\0';
    assert_ok(care_verify(dir, cold_dir, b->io, bench_note_finding, b, &b->found, &err));
    return b->found.damaged + b->found.left_over;
}

/* Findings that are not of segments in a cold directory that nobody looked into. */
static void note_seen(void *arg, const struct care_finding *finding)
{
    if (strstr(finding->problem, "is in the cold directory") == NULL) {
        bench_note_finding(arg, finding);
    }
}

void bench_repair(struct bench *b, const char *cold_dir)
{
    struct err err = {0};
    struct repair_sums dry = {0};
    b->text[0] = '\0';
    bench_shell(b, "rm -rf before && mkdir before && cp -a data before && (! [ -e cold ] || cp -a "
                   "cold before)");
    assert_ok(care_repair(b->data, &(struct repair_opts){.cold_dir = cold_dir, .is_dry_run = true},
                          b->io, bench_note_line, b, &dry, &err));
    bench_shell(b, "diff -r data before/data && (! [ -e cold ] || diff -r cold before/cold)");
    b->text[0] = '\0';
    assert_ok(care_repair(b->data, &(struct repair_opts){.cold_dir = cold_dir}, b->io,
                          bench_note_line, b, &b->repaired, &err));
    assert_true((dry.changes == 0) == (b->repaired.changes == 0));
    if (strstr(b->text, "still wrong") != NULL) {
        fail_msg("%s", b->text);
    }
    size_t len = strlen(b->text);
    assert_ok(care_verify(b->data, cold_dir, b->io, note_seen, b, &b->found, &err));
    if (b->text[len] != '\0') {
        fail_msg("not clean after repair:\n%s", b->text);
    }
    assert_ok(care_repair(b->data, &(struct repair_opts){.cold_dir = cold_dir}, b->io,
                          bench_note_line, b, &dry, &err));
    assert_int_equal(dry.changes, 0);
    b->text[len] = '\0';
}

bool bench_has(const struct bench *b, const char *part, const char *other)
{
    for (const char *line = b->text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (memmem(line, len, part, strlen(part)) != NULL &&
            memmem(line, len, other, strlen(other)) != NULL) {
            return true;
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

void bench_says(const struct bench *b, const char *part, const char *other)
{
    if (!bench_has(b, part, other)) {
        fail_msg("no line with \"%s\" and \"%s\" in:\n%s", part, other, b->text);
    }
}

/* ---- files ---- */

void bench_shell(const struct bench *b, const char *format, ...)
{
    char command[1024];
    int len = snprintf(command, sizeof(command), "cd %s && ", b->root);
    va_list args;
    va_start(args, format);
    vsnprintf(command + len, sizeof(command) - (size_t)len, format, args);
    va_end(args);
    if (system(command) != 0) {
        fail_msg("%s", command);
    }
}

char *bench_below(const struct bench *b, const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", b->data, name);
    return path;
}

void bench_sql(const struct bench *b, const char *text)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(bench_below(b, "catalog.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

size_t file_bytes(const char *path)
{
    struct stat at;
    assert_int_equal(stat(path, &at), 0);
    return (size_t)at.st_size;
}

void file_flip(const char *path, size_t off)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)off), 1);
    close(fd);
    byte ^= 0x10;
    file_patch(path, off, &byte, 1);
}

void file_patch(const char *path, size_t off, const void *bytes, size_t len)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, (off_t)off), (ssize_t)len);
    close(fd);
}

uint32_t segment_files(const char *dir)
{
    uint32_t count = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        char path[160];
        snprintf(path, sizeof(path), "%s/shop/shard-%02u", dir, shard);
        DIR *entries = opendir(path);
        struct dirent *entry = NULL;
        while (entries != NULL && (entry = readdir(entries)) != NULL) {
            count += strstr(entry->d_name, ".seg") != NULL;
        }
        if (entries != NULL) {
            closedir(entries);
        }
    }
    return count;
}
