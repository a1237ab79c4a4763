/* tests/crash/crash_care.c - backups, restores and repairs that are cut off at every call to the disk.
 *
 * Goal: whatever one call does (fail, find no room, do a part of its work, be the last before the power
 * goes), the folder that was there first is whole, and under the final name there is a whole folder or none; a
 * repair that was cut off is finished by the next one, with no event more lost than one that was not.
 * Method: the work over the failing files of faultfs.h with the fault at call n, for every k-th n until
 * it ends untouched; after each, and after a power loss that took all, some or none of what was not synced, the
 * folders are verified and opened. FAULT_ALL=1 takes every call, FAULT_SECONDS (3 for
 * each kind) more of them, TEST_SEED others.
 */
#include "tests/support/claims.h"

#include "storage/base/clock.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"
#include "storage/care.h"
#include "storage/tiers.h"
#include "tests/support/faultfs.h"
#include "tests/support/live_events.h"

#include <glob.h>
#include <unistd.h>

#define EVENTS 120u

enum err_code __wrap_rng_system(void *out, size_t len, struct err *err);
static struct rng seeds;
enum err_code __wrap_rng_system(void *out, size_t len, struct err *err)
{
    (void)err;
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (uint8_t)rng_next(&seeds);
    }
    return ERR_OK;
}

enum work {
    WORK_BACKUP,
    WORK_RESTORE,
    WORK_REPAIR,
    WORK_REBUILD,
    WORK_REBUILD_COLD, /* with segments in a cold directory */
    WORK_TAKE_IN,      /* these, after a rebuild that did not look there */
};
static const char *const work_names[] = {"backup",  "restore",      "repair",
                                         "rebuild", "rebuild cold", "take in"};

struct trial {
    char root[64];
    char data[96], backup[96], restored[96], cold[96];
    enum work work;
    struct store_opts opts;
    uint32_t rows; /* that an untouched repair leaves */
};

static bool has_cold(const struct trial *trial)
{
    return trial->work >= WORK_REBUILD_COLD;
}

static const char *cold_of(const struct trial *trial)
{
    return has_cold(trial) ? trial->cold : NULL;
}

static void options(struct store_opts *opts)
{
    store_opts_default(opts);
    opts->io_kind = IO_POSIX;
    opts->block_cache_bytes = 4u << 20;
    opts->compact_in_background = false;
}

/* A folder with segments, ids.log and a log, made on the failing files so that they know it, all of it synced. */
static void make_data(struct trial *trial, struct store **ret, struct io *io)
{
    struct err err = {0};
    struct recovery_report report;
    struct dataset *dataset = NULL;
    assert_ok(io_mkdir(io, trial->data, &err));
    assert_ok(io_sync_dir(io, trial->root, &err));
    assert_ok(store_open(trial->data, &trial->opts, ret, &report, &err));
    assert_ok(store_dataset(*ret, STR("shop"), true, &dataset, &err));
    assert_ok(live_ingest(dataset, 0, 60, io, &err));
    assert_ok(dataset_flush(dataset, &err));
    if (has_cold(trial)) {
        const struct settings_change change = {.has_cold_after = true,
                                               .to = {.cold_after_ms = SETTINGS_DAY_MS}};
        assert_ok(dataset_configure(dataset, &change, &err));
        for (bool did = true; did;) {
            assert_ok(tier_step(dataset, io, &did, &err));
        }
        assert_ok(live_ingest(dataset, 60, 30, io, &err));
        assert_ok(dataset_flush(dataset, &err));
        assert_ok(live_ingest(dataset, 90, 30, io, &err));
        return;
    }
    assert_ok(live_ingest(dataset, 60, 60, io, &err));
}

static void flip(const char *path, struct io *io)
{
    struct err err = {0};
    CLEANUP(io_closep) struct io_file *file = NULL;
    uint8_t byte = 0;
    assert_ok(io_open(io, path, IO_APPEND, &file, &err));
    assert_ok(io_read(io, file, 40, &byte, 1, &err));
    byte ^= 0x20;
    assert_ok(io_write(io, file, 40, &byte, 1, &err));
    assert_ok(io_sync(io, file, &err));
}

/* A segment in the middle of those in a folder. */
static void some_segment(const char *dir, char out[160])
{
    glob_t found = {0};
    snprintf(out, 160, "%s/shop/shard-*/*.seg", dir);
    assert_int_equal(glob(out, 0, NULL, &found), 0);
    snprintf(out, 160, "%s", found.gl_pathv[found.gl_pathc / 2]);
    globfree(&found);
}

static void lose_catalog(struct trial *trial, struct io *io)
{
    struct err err = {0};
    char path[160];
    snprintf(path, sizeof(path), "%s/catalog.db", trial->data);
    assert_ok(io_unlink(io, path, &err));
    assert_ok(io_sync_dir(io, trial->data, &err));
}

/* Damage that a repair finds; through `io`, so that the failing files know it. */
static void damage(struct trial *trial, struct io *io)
{
    struct err err = {0};
    char path[160];
    CLEANUP(io_closep) struct io_file *file = NULL;
    uint64_t bytes = 0;
    if (trial->work == WORK_TAKE_IN) { /* and a second one, of which that repair knows nothing */
        struct repair_sums sums;
        lose_catalog(trial, io);
        assert_ok(care_repair(trial->data, &(struct repair_opts){0}, io, NULL, NULL, &sums, &err));
        some_segment(trial->cold, path);
        flip(path, io);
        return;
    }
    some_segment(has_cold(trial) ? trial->cold : trial->data, path);
    flip(path, io);
    snprintf(path, sizeof(path), "%s/shop/ids.log", trial->data);
    flip(path, io);
    snprintf(path, sizeof(path), "%s/shop/wal/0000000%d.log", trial->data, has_cold(trial) ? 3 : 2);
    assert_ok(io_open(io, path, IO_APPEND, &file, &err));
    assert_ok(io_size(io, file, &bytes, &err));
    assert_ok(io_write(io, file, bytes, "torn", 4, &err));
    assert_ok(io_sync(io, file, &err));
    if (trial->work >= WORK_REBUILD) {
        lose_catalog(trial, io);
    }
}

static void ignore_finding(void *arg, const struct care_finding *finding)
{
    if (arg != NULL) {
        snprintf(arg, 512, "%s: %s", finding->file, finding->problem);
    }
}

/* Verified without damage, and opened with `rows` rows, each once and right. "" in `wrong` when so. */
static void check_folder(struct trial *trial, const char *dir, uint32_t rows, char wrong[1024])
{
    struct err err = {0};
    struct store *store = NULL;
    struct dataset *dataset = NULL;
    struct recovery_report report;
    struct care_sums sums = {0};
    char finding[512] = "";
    uint8_t seen[EVENTS] = {0};
    CLEANUP(io_freep) struct io *io = NULL;
    assert_ok(io_create(IO_POSIX, &io, &err));
    if (care_verify(dir, cold_of(trial), io, ignore_finding, finding, &sums, &err) != ERR_OK) {
        snprintf(wrong, 1024, "%s: cannot be verified: %s", dir, err.message);
        return;
    }
    if (sums.damaged > 0) {
        snprintf(wrong, 1024, "%s: damaged: %s", dir, finding);
        return;
    }
    if (store_open(dir, &trial->opts, &store, &report, &err) != ERR_OK ||
        store_dataset(store, STR("shop"), false, &dataset, &err) != ERR_OK) {
        snprintf(wrong, 1024, "%s: does not open: %s", dir, err.message);
    } else {
        struct snapshot *snapshot = NULL;
        uint32_t there = 0;
        assert_ok(dataset_snapshot(dataset, &snapshot, &err));
        if (live_look(snapshot, seen, EVENTS, io, &err) != ERR_OK) {
            snprintf(wrong, 1024, "%s: %s", dir, err.message);
        }
        for (uint32_t i = 0; i < EVENTS; i++) {
            there += seen[i];
            if (seen[i] > 1) {
                snprintf(wrong, 1024, "%s: event %u is there %u times", dir, i, seen[i]);
            }
        }
        if (there != rows && wrong[0] == '\0') {
            snprintf(wrong, 1024, "%s: %u rows, wanted %u", dir, there, rows);
        }
        snapshot_unpin(snapshot);
    }
    if (store != NULL) {
        store_abandon(store);
    }
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* What may be, when the work was cut off somewhere. */
static void check_all(struct trial *trial, char wrong[1024])
{
    struct err err = {0};
    struct repair_sums sums;
    CLEANUP(io_freep) struct io *io = NULL;
    wrong[0] = '\0';
    if (trial->work >= WORK_REPAIR) {
        assert_ok(io_create(IO_POSIX, &io, &err));
        if (care_repair(trial->data, &(struct repair_opts){.cold_dir = cold_of(trial)}, io, NULL,
                        NULL, &sums, &err) != ERR_OK) {
            snprintf(wrong, 1024, "the next repair fails: %s", err.message);
            return;
        }
        check_folder(trial, trial->data, trial->rows, wrong);
        return;
    }
    check_folder(trial, trial->data, EVENTS, wrong);
    if (wrong[0] == '\0' && (trial->work == WORK_RESTORE || is_there(trial->backup))) {
        check_folder(trial, trial->backup, EVENTS, wrong);
    }
    if (wrong[0] == '\0' && is_there(trial->restored)) {
        check_folder(trial, trial->restored, EVENTS, wrong);
    }
}

/* The work, which may fail. */
static enum err_code work(struct trial *trial, struct store *store, struct io *io, struct err *err)
{
    struct backup_report report = {0};
    struct repair_sums sums;
    enum err_code code = ERR_OK;
    switch (trial->work) {
    case WORK_BACKUP: code = store_backup(store, trial->backup, NULL, io, &report, err); break;
    case WORK_RESTORE:
        code = care_restore(trial->backup, trial->restored, true, io, ignore_finding, NULL, &report,
                            err);
        break;
    case WORK_REPAIR:
    case WORK_REBUILD:
    case WORK_REBUILD_COLD:
    case WORK_TAKE_IN:
        code = care_repair(trial->data, &(struct repair_opts){.cold_dir = cold_of(trial)}, io, NULL,
                           NULL, &sums, err);
        break;
    }
    free(report.datasets);
    return code;
}

/* Everything before the work, on failing files that do not fail yet. */
static void prepare(struct trial *trial, struct store **ret, struct io *io)
{
    struct err err = {0};
    struct backup_report report = {0};
    seeds = rng_init(1);
    make_data(trial, ret, io);
    if (trial->work == WORK_RESTORE) {
        assert_ok(store_backup(*ret, trial->backup, NULL, io, &report, &err));
        free(report.datasets);
    }
    if (trial->work != WORK_BACKUP) {
        store_abandon(TAKE(*ret));
    }
    if (trial->work >= WORK_REPAIR) {
        damage(trial, io);
    }
}

static const enum fault_loss losses[] = {LOSS_NONE, LOSS_ALL, LOSS_ANY, LOSS_NAMES};

/* One run with the fault at call `nth`; false where it ended before it. */
static bool try_point(struct trial *trial, enum fault_kind kind, uint64_t nth, uint64_t *ret_wrong)
{
    struct err err = {0};
    struct store *store = NULL;
    CLEANUP(io_freep) struct io *io = NULL;
    char what[512];
    char wrong[1024] = "";
    faultfs_begin(trial->root);
    assert_ok(io_create(IO_POSIX, &io, &err));
    prepare(trial, &store, io);
    faultfs_arm(kind, nth, nth);
    enum err_code code = work(trial, store, io, &err);
    bool has_struck = faultfs_has_struck();
    snprintf(what, sizeof(what), "%s", faultfs_what());
    faultfs_rest();
    if (store != NULL) {
        store_abandon(store);
    }
    io_free(TAKE(io));
    if (code != ERR_OK && err.message[0] == '\0') {
        snprintf(wrong, sizeof(wrong), "it failed without a word");
    }
    bool must_be = code == ERR_OK && trial->work <= WORK_RESTORE;
    const char *made = trial->work == WORK_BACKUP ? trial->backup : trial->restored;
    for (size_t i = 0; i < COUNT_OF(losses) && wrong[0] == '\0'; i++) {
        faultfs_power_loss(losses[i], nth + i);
        if (must_be && !is_there(made)) {
            snprintf(wrong, sizeof(wrong), "it succeeded, and \"%s\" is not there", made);
        } else {
            check_all(trial, wrong);
        }
    }
    if (wrong[0] != '\0') {
        (*ret_wrong)++;
        print_message("  %s, fault %d at call %" PRIu64 " (%s): %s\n", work_names[trial->work],
                      (int)kind, nth, what, wrong);
    }
    faultfs_end();
    live_dir_clear(trial->root);
    return has_struck;
}

static void try_all(enum work what)
{
    const enum fault_kind kinds[] = {FAULT_EIO,  FAULT_NOSPC_ON, FAULT_SHORT,
                                     FAULT_SYNC, FAULT_POWER,    FAULT_READ_EIO};
    struct trial trial = {.work = what, .rows = EVENTS};
    uint64_t wrong = 0;
    uint64_t points = 0;
    bool takes_all = getenv("FAULT_ALL") != NULL;
    const char *seconds = getenv("FAULT_SECONDS");
    uint64_t budget_us = 1000000 * (seconds == NULL ? 3 : strtoull(seconds, NULL, 10));
    snprintf(trial.root, sizeof(trial.root), "/dev/shm/trackway-care-XXXXXX");
    if (mkdtemp(trial.root) == NULL) {
        live_dir_make(trial.root);
    }
    snprintf(trial.data, sizeof(trial.data), "%s/data", trial.root);
    snprintf(trial.backup, sizeof(trial.backup), "%s/backup", trial.root);
    snprintf(trial.restored, sizeof(trial.restored), "%s/restored", trial.root);
    snprintf(trial.cold, sizeof(trial.cold), "%s/cold", trial.root);
    options(&trial.opts);
    trial.opts.cold_dir = cold_of(&trial);
    if (what >= WORK_REPAIR) { /* how many rows the damage costs */
        struct err err = {0};
        struct store *none = NULL;
        struct repair_sums sums = {0};
        CLEANUP(io_freep) struct io *io = NULL;
        faultfs_begin(trial.root);
        assert_ok(io_create(IO_POSIX, &io, &err));
        prepare(&trial, &none, io);
        assert_ok(care_repair(trial.data, &(struct repair_opts){.cold_dir = cold_of(&trial)}, io,
                              NULL, NULL, &sums, &err));
        assert_true(sums.rows_lost > 0 && sums.rows_lost < EVENTS / 2);
        trial.rows = EVENTS - (uint32_t)sums.rows_lost;
        faultfs_rest();
        faultfs_end();
        live_dir_clear(trial.root);
    }
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        uint64_t began_us = clock_mono_us();
        uint64_t stride = 1;
        bool has_struck = true;
        for (uint64_t nth = 1; has_struck && (takes_all || clock_mono_us() - began_us < budget_us);
             nth += stride) {
            has_struck = try_point(&trial, kinds[i], nth, &wrong);
            points += has_struck;
            /* The first calls, then every 13th; the seed moves which. */
            stride = takes_all || nth < 8 ? 1 : nth == 8 ? 1 + test_seed() % 13 : 13;
        }
    }
    print_message("%s: %" PRIu64 " points, %" PRIu64 " wrong\n", work_names[what], points, wrong);
    live_dir_remove(trial.root);
    assert_int_equal(wrong, 0);
}

static void a_backup_is_whole_or_not_there(void **state)
{
    (void)state;
    try_all(WORK_BACKUP);
}

static void a_restored_folder_is_whole_or_not_there(void **state)
{
    (void)state;
    try_all(WORK_RESTORE);
}

static void a_repair_that_was_cut_off_is_finished_by_the_next(void **state)
{
    (void)state;
    try_all(WORK_REPAIR);
}

static void a_new_catalog_is_whole_or_made_again(void **state)
{
    (void)state;
    try_all(WORK_REBUILD);
}

static void cold_segments_are_in_the_new_catalog_or_the_next(void **state)
{
    (void)state;
    try_all(WORK_REBUILD_COLD);
}

static void cold_segments_are_taken_in_once_or_by_the_next(void **state)
{
    (void)state;
    try_all(WORK_TAKE_IN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backup_is_whole_or_not_there),
        cmocka_unit_test(a_restored_folder_is_whole_or_not_there),
        cmocka_unit_test(a_repair_that_was_cut_off_is_finished_by_the_next),
        cmocka_unit_test(a_new_catalog_is_whole_or_made_again),
        cmocka_unit_test(cold_segments_are_in_the_new_catalog_or_the_next),
        cmocka_unit_test(cold_segments_are_taken_in_once_or_by_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
