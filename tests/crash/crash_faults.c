/* tests/crash/crash_faults.c - every call to the disk fails once.
 *
 * Goal: whatever one call does (fail, run out of space, do a part of its work, be the last before the
 * power goes), what was acknowledged is there once and the store works again. Method: the life of
 * scenario.h over the failing files of faultfs.h, with the fault at call n, for n from 1 until a life
 * ends untouched; after each a new process opens what is left: the files as they were seen, and the
 * same after a power loss that took all, some, or none of what was not synced.
 *
 * There are a few thousand points: a run takes every k-th of them so that it ends within
 * FAULT_SECONDS (5 for each kind); FAULT_ALL=1 takes all. TEST_SEED varies what is torn and lost and
 * which points are taken; TEST_FILTER takes one kind ("half_a_write*").
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "tests/crash/scenario.h"
#include "tests/support/faultfs.h"
#include "tests/support/live_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

struct tally {
    uint64_t points, endings, refusals, failures;
};

/* What a new process may find. */
static const struct {
    const char *name;
    enum fault_loss loss;
} endings[] = {
    {"power lost, with all that was not synced", LOSS_ALL},
    {"power lost, with some of what was not synced", LOSS_ANY},
    {"power lost, with other parts of what was not synced", LOSS_ANY},
    {"power lost, with some names", LOSS_NAMES},
};

static void note_wrong(struct tally *tally, const char *kind, uint64_t nth, const char *what,
                       const char *ending, const char *wrong)
{
    tally->failures++;
    if (tally->failures <= 10) {
        print_message("  %s at call %" PRIu64 " (%s), %s: %s\n", kind, nth, what, ending, wrong);
    }
}

/* One life with the fault at call `nth`; false where the life ended before it. */
static bool try_point(const char *dir, const char *name, enum fault_kind kind, uint64_t nth,
                      uint64_t seed, struct tally *tally)
{
    struct model model;
    char wrong[1024] = "";
    faultfs_begin(dir);
    faultfs_arm(kind, nth, seed);
    scenario_live(dir, &model);
    bool has_struck = faultfs_has_struck();
    char what[512];
    snprintf(what, sizeof(what), "%s", faultfs_what());
    faultfs_rest();
    tally->points += has_struck;
    tally->refusals += model.refusals > 0;
    if (model.wrong[0] != '\0') {
        note_wrong(tally, name, nth, what, "while it went on", model.wrong);
    } else {
        if (kind != FAULT_POWER) {
            scenario_verify(dir, &model, wrong);
            tally->endings++;
            if (wrong[0] != '\0') {
                note_wrong(tally, name, nth, what, "killed", wrong);
            }
        }
        for (size_t i = 0; i < COUNT_OF(endings) && wrong[0] == '\0'; i++) {
            faultfs_power_loss(endings[i].loss, seed + i);
            scenario_verify(dir, &model, wrong);
            tally->endings++;
            if (wrong[0] != '\0') {
                note_wrong(tally, name, nth, what, endings[i].name, wrong);
            }
        }
    }
    faultfs_end();
    live_dir_clear(dir);
    return has_struck;
}

/* How many calls of the kind an untouched life makes. It must leave nothing to complain about. */
static uint64_t count_calls(const char *dir, enum fault_kind kind, uint64_t seed,
                            uint64_t *ret_cold)
{
    struct model model;
    char wrong[1024];
    faultfs_begin(dir);
    faultfs_seek("/cold/");
    faultfs_arm(kind, 0, seed);
    scenario_live(dir, &model);
    uint64_t calls = faultfs_calls();
    *ret_cold = faultfs_found();
    faultfs_seek(NULL);
    faultfs_rest();
    assert_string_equal(model.wrong, "");
    assert_int_equal(model.refusals, 0);
    faultfs_power_loss(LOSS_ALL, seed);
    scenario_verify(dir, &model, wrong);
    assert_string_equal(wrong, "");
    faultfs_end();
    live_dir_clear(dir);
    return calls;
}

static void try_all(const char *name, enum fault_kind kind)
{
    char dir[64];
    struct tally tally = {0};
    uint64_t seed = env_number("TEST_SEED", 1);
    bool takes_all = env_number("FAULT_ALL", 0) != 0;
    uint64_t only = env_number("FAULT_POINT", 0);
    uint64_t budget_us = env_number("FAULT_SECONDS", 5) * 1000000;
    scenario_dir_make(dir);
    uint64_t cold = 0;
    uint64_t calls = count_calls(dir, kind, seed, &cold);
    uint64_t began_us = clock_mono_us();
    uint64_t nth = only != 0 ? only : 1;
    (void)try_point(dir, name, kind, nth, seed, &tally);
    uint64_t each_us = clock_mono_us() - began_us + 1000;
    uint64_t stride = takes_all ? 1 : 1 + calls * each_us / budget_us;
    /* An odd number of points and a start that the seed moves: strides do not fall into step. */
    nth = takes_all ? 2 : 2 + seed % stride;
    bool has_struck = only == 0;
    while (has_struck && (takes_all || clock_mono_us() - began_us < 2 * budget_us)) {
        has_struck = try_point(dir, name, kind, nth, seed + nth, &tally);
        nth += stride;
    }
    /* When a cold directory comes, three folders are synced, and only then. */
    for (uint64_t n = 0; cold > 0 && only == 0 && !takes_all && n < 3; n++) {
        (void)try_point(dir, name, kind, cold + n, seed, &tally);
    }
    print_message("%s: %" PRIu64 " calls, %" PRIu64 " points tried, %" PRIu64
                  " of them made something "
                  "fail, %" PRIu64 " folders opened after it, %" PRIu64 " wrong\n",
                  name, calls, tally.points, tally.refusals, tally.endings, tally.failures);
    live_dir_remove(dir);
    if (tally.failures > 0) {
        fail_msg("seed %" PRIu64 ": %" PRIu64 " folders were wrong", seed, tally.failures);
    }
}

static void a_failed_call_loses_nothing_and_doubles_nothing(void **state)
{
    (void)state;
    try_all("EIO", FAULT_EIO);
}

static void a_moment_without_space_loses_nothing(void **state)
{
    (void)state;
    try_all("ENOSPC once", FAULT_NOSPC);
}

static void a_disk_that_stays_full_loses_nothing(void **state)
{
    (void)state;
    try_all("ENOSPC from then on", FAULT_NOSPC_ON);
}

static void half_a_write_loses_nothing(void **state)
{
    (void)state;
    try_all("short write", FAULT_SHORT);
}

static void what_a_failed_sync_was_for_counts_as_lost(void **state)
{
    (void)state;
    try_all("failed sync", FAULT_SYNC);
}

/* Goal: a log that had no space takes events again without a restart, and what it refused was not
 * remembered. Method: each write of a batch's commit finds no space; the same batch again is
 * accepted; then the power goes with all that was not synced. */
static void a_log_without_space_goes_on_when_there_is_some(void **state)
{
    (void)state;
    const enum fault_kind kinds[] = {FAULT_NOSPC, FAULT_SHORT};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct err err = {0};
        struct store_opts opts;
        struct recovery_report report;
        struct store *store = NULL;
        struct dataset *dataset = NULL;
        struct io *io = NULL;
        char dir[64];
        uint8_t counts[60];
        memset(counts, 1, sizeof(counts));
        scenario_dir_make(dir);
        faultfs_begin(dir);
        store_opts_default(&opts);
        opts.fresh.dedup_window_ms = 0; /* arrivals are of long ago */
        opts.compact_in_background = false;
        assert_int_equal(io_create(IO_POSIX, &io, &err), ERR_OK);
        assert_int_equal(store_open(dir, &opts, &store, &report, &err), ERR_OK);
        assert_int_equal(store_dataset(store, STR("shop"), true, &dataset, &err), ERR_OK);
        assert_int_equal(live_ingest(dataset, 0, 20, io, &err), ERR_OK);
        faultfs_arm(kinds[i], 1, i);
        assert_int_equal(live_ingest(dataset, 20, 20, io, &err), ERR_IO);
        assert_true(faultfs_has_struck());
        assert_int_equal(store_health(store, &err), ERR_IO);
        assert_int_equal(live_ingest(dataset, 20, 20, io, &err), ERR_OK);
        assert_int_equal(store_health(store, &err), ERR_OK);
        assert_int_equal(live_ingest(dataset, 40, 20, io, &err), ERR_OK);
        assert_int_equal(live_check_dataset(dataset, counts, 60, io, &err), ERR_OK);
        store_abandon(store);
        faultfs_rest();
        faultfs_power_loss(LOSS_ALL, 0);
        assert_int_equal(store_open(dir, &opts, &store, &report, &err), ERR_OK);
        assert_int_equal(store_dataset(store, STR("shop"), false, &dataset, &err), ERR_OK);
        assert_int_equal(live_check_dataset(dataset, counts, 60, io, &err), ERR_OK);
        store_abandon(store);
        io_free(io);
        faultfs_end();
        live_dir_remove(dir);
    }
}

static void a_power_loss_loses_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    try_all("power loss", FAULT_POWER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_call_loses_nothing_and_doubles_nothing),
        cmocka_unit_test(a_moment_without_space_loses_nothing),
        cmocka_unit_test(a_disk_that_stays_full_loses_nothing),
        cmocka_unit_test(half_a_write_loses_nothing),
        cmocka_unit_test(what_a_failed_sync_was_for_counts_as_lost),
        cmocka_unit_test(a_log_without_space_goes_on_when_there_is_some),
        cmocka_unit_test(a_power_loss_loses_nothing_that_was_acknowledged),
    };
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
