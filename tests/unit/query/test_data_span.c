/* tests/unit/query/test_data_span.c - from the first row that counts to the last, beside a look at all events.
 *
 * Method: random events of few users in random layouts, some users deleted, a random border of what is expired.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/data_span.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"
#include "tests/support/snap.h"

#include <stdio.h>

#define USERS       26u /* more than a segment keeps */
#define USERS_APART 20u
#define EVENTS_MAX  90u
#define ROUNDS      400u
#define SPAN_MS     UINT64_C(1000000000)

struct made {
    struct snap_event events[EVENTS_MAX];
    char ids[EVENTS_MAX][8];
    uint32_t count;
    bool is_deleted[USERS];
};

static const char *const users[USERS] = {"a", "b", "c", "d", "e", "f", "g", "h", "i",
                                         "j", "k", "l", "m", "n", "o", "p", "q", "r",
                                         "s", "t", "u", "v", "w", "x", "y", "z"};

static struct snap *make(struct made *made, struct rng *rng)
{
    struct snap_opts opts = {.source_count = 1 + (uint32_t)rng_below(rng, 4),
                             .shard_count = 1 + (uint32_t)rng_below(rng, 3),
                             .seed = rng_next(rng)};
    opts.memory_count = (uint32_t)rng_below(rng, opts.source_count + 1);
    *made = (struct made){.count = 1 + (uint32_t)rng_below(rng, EVENTS_MAX)};
    bool is_apart = rng_below(rng, 4) ==
                    0; /* first all the deleted, and more than a segment keeps, then the others */
    for (uint32_t i = 0; i < made->count; i++) {
        uint64_t user = rng_below(rng, USERS);
        uint64_t half = is_apart && user >= USERS_APART ? SPAN_MS / 2 : 0;
        (void)snprintf(made->ids[i], sizeof(made->ids[i]), "%u", i % 1000);
        made->events[i] = (struct snap_event){
            .event_id = made->ids[i],
            .name = "view",
            .user = users[user],
            .time_ms = (int64_t)(half + rng_below(rng, is_apart ? SPAN_MS / 2 : SPAN_MS))};
    }
    struct snap *snap = snap_build(made->events, made->count, &opts);
    uint64_t parts_deleted = rng_below(rng, 6);
    for (uint32_t u = 0; u < USERS; u++) {
        uint32_t shard = 0;
        uint32_t subject = 0;
        bool is_deleted = is_apart ? u < USERS_APART : rng_below(rng, 5) < parts_deleted;
        if (is_deleted && snap_subject(snap, users[u], &shard, &subject)) {
            made->is_deleted[u] = true;
            snap_delete(snap, users[u]);
        }
    }
    return snap;
}

static struct data_span span_of_all(const struct made *made, int64_t expired_before_ms)
{
    struct data_span ret = {0};
    for (uint32_t i = 0; i < made->count; i++) {
        const struct snap_event *event = &made->events[i];
        if (event->time_ms < expired_before_ms || made->is_deleted[event->user[0] - 'a']) {
            continue;
        }
        ret.first_ms = ret.has_data ? MIN_OF(ret.first_ms, event->time_ms) : event->time_ms;
        ret.last_ms = ret.has_data ? MAX_OF(ret.last_ms, event->time_ms) : event->time_ms;
        ret.has_data = true;
    }
    return ret;
}

static void the_span_is_that_of_rows_that_count(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct rng rng = rng_init(seed);
        struct made made;
        struct err err = {0};
        struct data_span got = {0};
        CLEANUP(snap_freep) struct snap *snap = make(&made, &rng);
        struct snapshot *snapshot = snap_snapshot(snap);
        int64_t kept_before_ms = snapshot->expired_before_ms;
        if (rng_below(&rng, 2) == 0) {
            snapshot->expired_before_ms = (int64_t)rng_below(&rng, SPAN_MS);
            if (rng_below(&rng, 2) == 0) { /* as real ones are: then segments keep what they say */
                snapshot->expired_before_ms -= snapshot->expired_before_ms % SOURCE_DAY_MS;
            }
        }
        struct query_run_ctx run = {.snapshot = snapshot, .io = snap_io(snap)};
        budget_init(&run.budget, (size_t)64 << 20, "query memory");
        run.arena = arena_create(&run.budget);
        assert_int_equal(data_span(&run, &got, &err), ERR_OK);
        assert_int_equal(data_span(&run, &got, &err), ERR_OK); /* from what is kept now */
        const struct data_span want = span_of_all(&made, snapshot->expired_before_ms);
        assert_int_equal(got.has_data, want.has_data);
        if (want.has_data) {
            assert_int_equal(got.first_ms, want.first_ms);
            assert_int_equal(got.last_ms, want.last_ms);
        }
        arena_free(run.arena);
        budget_end(&run.budget);
        snapshot->expired_before_ms = kept_before_ms;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_span_is_that_of_rows_that_count)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
