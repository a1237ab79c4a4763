/* tests/crash/crash_alloc.c - every allocation fails once.
 *
 * Goal: out of memory at any point is an error (or is done without), never a crash, a leak (the
 * sanitizer build looks), a lost or a doubled event. Method: malloc, calloc, realloc,
 * aligned_alloc and strdup of our own code go through a counter by the linker's --wrap, SQLite's by
 * its own table; the n-th fails, for n from 1 until a life of scenario.h ends untouched. What is left is
 * opened again, as after a crash. CRoaring's allocations are not among them: it cannot report a
 * failure from every function. Within FAULT_SECONDS (8), or all with FAULT_ALL=1.
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
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t alloc_count;
static _Atomic uint64_t alloc_fails_at; /* 0: never */
static _Atomic bool is_counting;
static sqlite3_mem_methods sqlite_memory;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *ptr, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *ptr, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
char *__wrap_strdup(const char *text);

static bool is_struck(void)
{
    return atomic_load(&is_counting) &&
           atomic_fetch_add(&alloc_count, 1) + 1 == atomic_load(&alloc_fails_at);
}

void *__wrap_malloc(size_t size)
{
    return is_struck() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return is_struck() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *ptr, size_t size)
{
    return is_struck() ? NULL : __real_realloc(ptr, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return is_struck() ? NULL : __real_aligned_alloc(align, size);
}

char *__wrap_strdup(const char *text)
{
    return is_struck() ? NULL : __real_strdup(text);
}

static void *sqlite_malloc(int size)
{
    return is_struck() ? NULL : sqlite_memory.xMalloc(size);
}

static void *sqlite_realloc(void *ptr, int size)
{
    return is_struck() ? NULL : sqlite_memory.xRealloc(ptr, size);
}

static int wrap_sqlite(void **state)
{
    (void)state;
    sqlite3_mem_methods mine;
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory) != SQLITE_OK) {
        return -1;
    }
    mine = sqlite_memory;
    mine.xMalloc = sqlite_malloc;
    mine.xRealloc = sqlite_realloc;
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &mine) == SQLITE_OK ? 0 : -1;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

struct tally {
    uint64_t points, refusals, failures;
};

/* A life whose `nth` allocation fails (0: none); returns how many it made. */
static uint64_t live_once(const char *dir, uint64_t nth, struct tally *tally)
{
    struct model model;
    char wrong[1024] = "";
    faultfs_begin(dir); /* for its files that need no syncing */
    faultfs_rest();
    atomic_store(&alloc_count, 0);
    atomic_store(&alloc_fails_at, nth);
    atomic_store(&is_counting, true);
    scenario_live(dir, &model);
    atomic_store(&is_counting, false);
    uint64_t allocs = atomic_load(&alloc_count);
    tally->points += nth != 0 && nth <= allocs;
    tally->refusals += model.refusals > 0;
    if (model.wrong[0] == '\0') {
        scenario_verify(dir, &model, wrong);
    }
    if (model.wrong[0] != '\0' || wrong[0] != '\0') {
        tally->failures++;
        if (tally->failures <= 10) {
            print_message("  allocation %" PRIu64 ": %s%s\n", nth, model.wrong, wrong);
        }
    }
    faultfs_end();
    live_dir_clear(dir);
    return allocs;
}

static void a_failed_allocation_loses_nothing(void **state)
{
    (void)state;
    char dir[64];
    struct tally tally = {0};
    bool takes_all = env_number("FAULT_ALL", 0) != 0;
    uint64_t only = env_number("FAULT_POINT", 0);
    uint64_t budget_us = env_number("FAULT_SECONDS", 8) * 1000000;
    scenario_dir_make(dir);
    (void)live_once(dir, 0, &tally);
    uint64_t began_us = clock_mono_us();
    uint64_t allocs = live_once(dir, only, &tally);
    uint64_t each_us = clock_mono_us() - began_us + 1000;
    uint64_t stride = takes_all ? 1 : 1 + allocs * each_us / budget_us;
    uint64_t nth = takes_all ? 1 : 1 + env_number("TEST_SEED", 1) % stride;
    bool has_struck = only == 0;
    while (has_struck && (takes_all || clock_mono_us() - began_us < 2 * budget_us)) {
        has_struck = live_once(dir, nth, &tally) >= nth;
        nth += stride;
    }
    print_message("out of memory: %" PRIu64 " allocations, %" PRIu64 " points tried, %" PRIu64
                  " of them made something fail, %" PRIu64 " wrong\n",
                  allocs, tally.points, tally.refusals, tally.failures);
    live_dir_remove(dir);
    assert_int_equal(tally.failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_allocation_loses_nothing),
    };
    return cmocka_run_group_tests(tests, wrap_sqlite, NULL);
}
