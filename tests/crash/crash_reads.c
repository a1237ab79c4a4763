/* tests/crash/crash_reads.c - every read under a query fails once.
 *
 * Goal: a query whose n-th read fails, meets the end of the file, or gives a wrong bit, ends with a
 * clear error or with the answer it would have had: never with another number. Method: a store with
 * everything in segments; each query once untouched, then with the fault at read n, for n from 1
 * until it ends untouched, each time with an empty block cache. FAULT_ALL=1 takes every point, else
 * about 60 of each query and fault.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/query.h"
#include "storage/dataset_int.h"
#include "tests/crash/scenario.h"
#include "tests/support/faultfs.h"
#include "tests/support/live_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS 600u
#define POINTS 60u

static const char *const queries[] = {
    "trend count(any) as n, users(any) as u",
    "trend sum(amount of any) as s by channel",
    "trend count(any) as n, max(amount of any) as m by url top 5",
    "trend unique(event_id of any) as n where vip = true each month",
    "funnel page_view -> pay_success -> place_order within 30d by channel",
    "retention page_view -> pay_success each week for 4",
    "distinct user of any each month",
    "events any where url starts with \"/p/1\" columns (event_time, event_id, url, amount) limit "
    "50",
};

struct place {
    char dir[64];
    struct store *store;
    struct dataset *dataset;
    struct io *io;
};

static void open_place(struct place *place)
{
    struct err err = {0};
    struct store_opts opts;
    struct recovery_report report;
    store_opts_default(&opts);
    opts.fresh.dedup_window_ms = 0; /* arrivals are of long ago */
    opts.compact_in_background = false;
    opts.is_read_only = true;
    if (store_open(place->dir, &opts, &place->store, &report, &err) != ERR_OK ||
        store_dataset(place->store, STR("shop"), false, &place->dataset, &err) != ERR_OK ||
        io_create(IO_POSIX, &place->io, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
}

static void close_place(struct place *place)
{
    store_abandon(TAKE(place->store));
    io_free(TAKE(place->io));
}

/* Two segments in each shard, so that journeys are merged. */
static void make_place(struct place *place)
{
    struct err err = {0};
    struct store_opts opts;
    struct store *store = NULL;
    struct dataset *dataset = NULL;
    struct io *io = NULL;
    struct recovery_report report;
    scenario_dir_make(place->dir);
    faultfs_begin(place->dir);
    store_opts_default(&opts);
    opts.fresh.dedup_window_ms = 0; /* arrivals are of long ago */
    opts.compact_in_background = false;
    if (io_create(IO_POSIX, &io, &err) != ERR_OK ||
        store_open(place->dir, &opts, &store, &report, &err) != ERR_OK ||
        store_dataset(store, STR("shop"), true, &dataset, &err) != ERR_OK ||
        live_ingest(dataset, 0, EVENTS / 2, io, &err) != ERR_OK ||
        dataset_flush(dataset, &err) != ERR_OK ||
        live_ingest(dataset, EVENTS / 2, EVENTS / 2, io, &err) != ERR_OK ||
        store_close(store, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    io_free(io);
}

/* The answer without its meta (what it cost is in there), or NULL with the error. */
static char *ask(struct place *place, const char *text, struct err *err)
{
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(result_freep) struct result *result = NULL;
    CLEANUP(buf_freep) struct buf json = {0};
    const struct query_request request = {.text = str_of(text), .now_ms = LIVE_ARRIVAL_MS};
    if (dataset_snapshot(place->dataset, &snapshot, err) != ERR_OK ||
        query_run(snapshot, NULL, place->io, &request, &result, err) != ERR_OK ||
        result_write(result, RESULT_JSON, &json, err) != ERR_OK) {
        return NULL;
    }
    buf_u8(&json, 0);
    assert_false(json.is_bad);
    char *meta = strstr((char *)json.ptr, ",\"meta\":{");
    assert_non_null(meta);
    *meta = '\0';
    return strdup((const char *)json.ptr);
}

/* Ask with the fault at read `nth`; returns whether it was met. */
static bool ask_once(struct place *place, const char *text, const char *want, enum fault_kind kind,
                     uint64_t nth, uint64_t *errors)
{
    struct err err = {0};
    open_place(place);
    faultfs_arm(kind, nth, nth * 977);
    char *got = ask(place, text, &err);
    bool has_struck = faultfs_has_struck();
    if (got == NULL) {
        ++*errors;
        if (err.message[0] == '\0' || !has_struck ||
            (kind == FAULT_READ_FLIP && err.code != ERR_CORRUPT)) {
            fail_msg("\"%s\": read %" PRIu64 " (%s): %s: \"%s\"", text, nth, faultfs_what(),
                     err_code_name(err.code), err.message);
        }
    } else if (strcmp(got, want) != 0) {
        fail_msg("\"%s\": read %" PRIu64 " (%s): %s, wanted %s", text, nth, faultfs_what(), got,
                 want);
    }
    free(got);
    faultfs_arm(FAULT_NONE, 0, 0);
    close_place(place);
    return has_struck;
}

static void try_reads(const char *name, enum fault_kind kind)
{
    struct place place = {0};
    uint64_t points = 0;
    uint64_t errors = 0;
    bool takes_all = getenv("FAULT_ALL") != NULL;
    make_place(&place);
    for (size_t i = 0; i < COUNT_OF(queries); i++) {
        struct err err = {0};
        open_place(&place);
        faultfs_arm(kind, 0, 0);
        char *want = ask(&place, queries[i], &err);
        uint64_t reads = faultfs_calls();
        if (want == NULL || reads == 0) {
            fail_msg("\"%s\": %" PRIu64 " reads, %s", queries[i], reads, err.message);
        }
        close_place(&place);
        uint64_t stride = takes_all ? 1 : 1 + reads / POINTS;
        uint64_t nth = 1;
        while (ask_once(&place, queries[i], want, kind, nth, &errors)) {
            points++;
            nth += stride;
        }
        free(want);
    }
    print_message("%s: %" PRIu64 " points tried, %" PRIu64 " ended in an error, no wrong number\n",
                  name, points, errors);
    assert_true(points > COUNT_OF(queries) && errors > 0);
    faultfs_end();
    live_dir_remove(place.dir);
}

static void a_failed_read_is_an_error_or_not_needed(void **state)
{
    (void)state;
    try_reads("EIO", FAULT_READ_EIO);
}

static void a_file_that_ends_early_is_an_error(void **state)
{
    (void)state;
    try_reads("short read", FAULT_READ_ENDS);
}

static void a_wrong_bit_is_damage(void **state)
{
    (void)state;
    try_reads("flipped bit", FAULT_READ_FLIP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_read_is_an_error_or_not_needed),
        cmocka_unit_test(a_file_that_ends_early_is_an_error),
        cmocka_unit_test(a_wrong_bit_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
