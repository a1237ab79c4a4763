/* tests/unit/base/test_pool_yield.c - storage/base/pool.c: tasks that give way, and callers that wait;
 * to be run under the thread sanitizer as well.
 *
 * The clock stands still but for what tasks say that they take, so that a slice costs no time and a
 * test gives way many thousand times.
 */
#include "tests/support/claims.h"

#include "storage/base/clock.h"
#include "storage/base/pool.h"
#include "storage/base/rng.h"

#include <pthread.h>
#include <stdatomic.h>

static _Atomic uint64_t fake_us = 1;

uint64_t __wrap_clock_mono_us(void);

uint64_t __wrap_clock_mono_us(void)
{
    return atomic_load(&fake_us);
}

static struct pool *pool_of(uint32_t threads)
{
    struct err err;
    struct pool *pool = NULL;
    assert_ok(pool_create(threads, IO_POSIX, "test", &pool, &err));
    return pool;
}

/* A caller on a thread of its own, with one group. */
struct caller {
    struct pool *pool;
    struct pool_account account;
    pool_task_fn fn;
    void *arg;
    uint32_t tasks;
    pthread_t thread;
    enum err_code code;
};

static void *caller_main(void *arg)
{
    struct caller *caller = arg;
    struct err err;
    caller->code = pool_run(caller->pool, &caller->account, caller->tasks, caller->fn, caller->arg,
                            NULL, &err);
    return NULL;
}

/* Start a caller, and wait until the pool knows it. */
static void caller_start(struct caller *caller)
{
    uint64_t before = pool_stats(caller->pool).arrivals;
    assert_int_equal(pthread_create(&caller->thread, NULL, caller_main, caller), 0);
    while (pool_stats(caller->pool).arrivals == before) {
        sched_yield();
    }
}

static void caller_join(struct caller *caller)
{
    pthread_join(caller->thread, NULL);
    assert_int_equal(caller->code, ERR_OK);
    assert_int_equal(caller->account.running, 0);
    assert_int_equal(caller->account.task_count, caller->tasks);
}

/* ---- the small one goes on while the dear one it gave way to still runs ---- */

struct pair {
    struct caller small;
    struct caller dear; /* its task ends when that of the small one has */
    uint64_t small_own_us;
    _Atomic bool is_small_done;
    bool did_dear_see_it;
};

static void pair_small_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct pair *pair = arg;
    uint64_t begin_us = pool_own_us();
    atomic_fetch_add(&fake_us, 16000);
    caller_start(&pair->dear);
    pool_yield();
    atomic_fetch_add(&fake_us, 1000);
    pair->small_own_us = pool_own_us() - begin_us;
    atomic_store(&pair->is_small_done, true);
}

static void pair_dear_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct pair *pair = arg;
    for (uint32_t slice = 0; slice < 200 && !pair->did_dear_see_it; slice++) {
        atomic_fetch_add(&fake_us, POOL_SLICE_US);
        pool_yield();
        pair->did_dear_see_it = atomic_load(&pair->is_small_done);
    }
}

static void a_task_goes_on_while_what_it_gave_way_to_runs(void **state)
{
    struct pair pair = {0};
    struct pool *pool = pool_of(1);
    pair.small = (struct caller){.pool = pool, .fn = pair_small_task, .arg = &pair, .tasks = 1};
    pair.dear = (struct caller){.pool = pool, .fn = pair_dear_task, .arg = &pair, .tasks = 1};
    caller_start(&pair.small);
    caller_join(&pair.small);
    caller_join(&pair.dear);
    assert_true(pair.did_dear_see_it);
    assert_int_equal(pair.small_own_us, 17000);
    assert_int_equal(pair.small.account.served_us, 17000);
    assert_int_equal(pool_stats(pool).served_us, 17000 + pair.dear.account.served_us);
    pool_free(pool);
}

/* ---- who waits for a group leaves its place to others ---- */

struct trio {
    struct pool *pool;
    struct caller opener;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_second_in;
    bool is_opener_started;
    bool is_open;
    enum err_code code;
};

static void trio_set(struct trio *trio, bool *flag)
{
    pthread_mutex_lock(&trio->lock);
    *flag = true;
    pthread_cond_broadcast(&trio->changed);
    pthread_mutex_unlock(&trio->lock);
}

static void trio_await(struct trio *trio, const bool *flag)
{
    pthread_mutex_lock(&trio->lock);
    while (!*flag) {
        pthread_cond_wait(&trio->changed, &trio->lock);
    }
    pthread_mutex_unlock(&trio->lock);
}

static void trio_opener_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct trio *trio = arg;
    trio_set(trio, &trio->is_open);
}

/* The task on the thread that calls starts the opener, and ends; the other one waits for that. */
static void trio_inner_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct trio *trio = arg;
    if (worker == pool_slots(trio->pool) - 1) {
        trio_await(trio, &trio->is_second_in);
        caller_start(&trio->opener);
        trio_set(trio, &trio->is_opener_started);
    } else {
        trio_set(trio, &trio->is_second_in);
        trio_await(trio, &trio->is_open);
    }
}

static void trio_outer_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct trio *trio = arg;
    struct err err;
    trio->code = pool_run(trio->pool, NULL, 2, trio_inner_task, trio, io, &err);
}

static void trio_outer_job(void *arg, struct io *io)
{
    trio_outer_task(arg, 0, 0, io);
}

/* Two places: one task of the inner group holds one until the opener has run, so that needs the other. */
static void who_waits_for_a_group_leaves_its_place(void **state)
{
    struct err err;
    for (uint32_t round = 0; round < 2; round++) {
        struct trio trio = {
            .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .code = ERR_IO};
        struct pool *pool = pool_of(2);
        trio.pool = pool;
        trio.opener =
            (struct caller){.pool = pool, .fn = trio_opener_task, .arg = &trio, .tasks = 1};
        if (round == 0) {
            assert_ok(pool_run(pool, NULL, 1, trio_outer_task, &trio, NULL, &err));
        } else {
            assert_ok(pool_submit(pool, trio_outer_job, &trio, 1, &err));
        }
        trio_await(&trio, &trio.is_opener_started);
        caller_join(&trio.opener);
        pool_free(pool);
        assert_int_equal(trio.code, ERR_OK);
    }
}

/* ---- whatever happens: own slots, and no more tasks than places ----
 *
 * Accounts of all sizes on several callers, jobs and groups within tasks; every task gives way where
 * the pool wants it to. A task that is begun and not ended has its slot for itself; of those that run
 * there are never more than places. */

#define CROWD_SLOTS_MAX 8
#define CROWD_TASKS_MAX 24

struct crowd {
    struct pool *pool;
    uint64_t seed;
    _Atomic uint32_t now; /* tasks and jobs that run */
    _Atomic uint32_t violations;
    _Atomic uint32_t left; /* callers and jobs that have not ended */
    _Atomic uint64_t yields;
};

/* One group. */
struct crowd_group {
    struct crowd *crowd;
    uint64_t seed;
    uint32_t depth; /* of groups within its tasks */
    uint32_t tasks;
    _Atomic uint32_t slot_busy[CROWD_SLOTS_MAX];
    _Atomic uint32_t ran[CROWD_TASKS_MAX];
};

static void crowd_claim(struct crowd *crowd, bool holds)
{
    if (!holds) {
        atomic_fetch_add(&crowd->violations, 1);
    }
}

static void crowd_enter(struct crowd *crowd)
{
    crowd_claim(crowd, atomic_fetch_add(&crowd->now, 1) < pool_threads(crowd->pool));
}

static void crowd_leave(struct crowd *crowd)
{
    atomic_fetch_sub(&crowd->now, 1);
}

static void crowd_run_group(struct crowd *crowd, struct pool_account *account, uint64_t seed,
                            uint32_t depth, struct io *io);

static void crowd_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct crowd_group *group = arg;
    struct crowd *crowd = group->crowd;
    struct rng rng = rng_init(group->seed + task);
    crowd_enter(crowd);
    crowd_claim(crowd, worker < pool_slots(crowd->pool));
    crowd_claim(crowd, atomic_exchange(&group->slot_busy[worker], task + 1) == 0);
    atomic_fetch_add(&group->ran[task], 1);
    uint64_t steps = rng_below(&rng, 10) == 0 ? 60 : 1 + rng_below(&rng, 6);
    for (uint64_t step = 0; step < steps; step++) {
        atomic_fetch_add(&fake_us, rng_below(&rng, 2 * POOL_SLICE_US));
        crowd_leave(crowd);
        uint64_t own_us = pool_own_us();
        pool_yield();
        crowd_claim(crowd, pool_own_us() >= own_us);
        if (group->depth > 0 && rng_below(&rng, 40) == 0) {
            crowd_run_group(crowd, NULL, rng_next(&rng), group->depth - 1, io);
        }
        crowd_enter(crowd);
        atomic_fetch_add(&crowd->yields, 1);
    }
    crowd_claim(crowd, atomic_exchange(&group->slot_busy[worker], 0) == task + 1);
    crowd_leave(crowd);
}

static void crowd_run_group(struct crowd *crowd, struct pool_account *account, uint64_t seed,
                            uint32_t depth, struct io *io)
{
    struct rng rng = rng_init(seed);
    struct err err;
    struct crowd_group group = {.crowd = crowd, .seed = rng_next(&rng), .depth = depth};
    group.tasks = 1 + (uint32_t)rng_below(&rng, depth > 0 ? CROWD_TASKS_MAX : 6);
    enum err_code code = pool_run(crowd->pool, account, group.tasks, crowd_task, &group, io, &err);
    crowd_claim(crowd, code == ERR_OK);
    for (uint32_t i = 0; i < CROWD_TASKS_MAX; i++) {
        crowd_claim(crowd, atomic_load(&group.ran[i]) == (i < group.tasks));
    }
}

static void *crowd_caller_main(void *arg)
{
    struct crowd *crowd = arg;
    uint32_t nth = atomic_fetch_sub(&crowd->left, 1);
    struct rng rng = rng_init(crowd->seed * 1000 + nth);
    struct pool_account account = {0};
    for (uint32_t round = 0; round < 6; round++) {
        bool is_new = rng_below(&rng, 2) == 0;
        crowd_run_group(crowd, is_new ? NULL : &account, rng_next(&rng), 2, NULL);
    }
    crowd_claim(crowd, account.running == 0);
    return NULL;
}

static void crowd_job(void *arg, struct io *io)
{
    struct crowd *crowd = arg;
    crowd_run_group(crowd, NULL, crowd->seed + atomic_load(&fake_us), 1, io);
}

static void slots_and_places_are_never_shared(void **state)
{
    enum { CALLERS = 8, JOBS = 6, TRIALS = 6 };
    struct err err;
    uint64_t yields = 0;
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        struct crowd crowd = {
            .pool = pool_of(1 + (uint32_t)trial % 4), .seed = test_seed() + trial, .left = CALLERS};
        pthread_t callers[CALLERS];
        for (uint32_t i = 0; i < CALLERS; i++) {
            assert_int_equal(pthread_create(&callers[i], NULL, crowd_caller_main, &crowd), 0);
        }
        for (uint32_t i = 0; i < JOBS; i++) {
            assert_ok(pool_submit(crowd.pool, crowd_job, &crowd, JOBS, &err));
        }
        for (uint32_t i = 0; i < CALLERS; i++) {
            pthread_join(callers[i], NULL);
        }
        pool_free(crowd.pool); /* the jobs end */
        yields += atomic_load(&crowd.yields);
        if (atomic_load(&crowd.violations) != 0 || atomic_load(&crowd.now) != 0) {
            fail_msg("seed %" PRIu64 ": %u violations", crowd.seed, atomic_load(&crowd.violations));
        }
    }
    assert_true(yields > 1000);
}

/* Giving way is nothing where there is nobody to give way to, or no place. */
static void alone_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    atomic_fetch_add(&fake_us, 100000);
    uint64_t own_us = pool_own_us();
    pool_yield();
    *(bool *)arg = pool_own_us() == own_us;
}

static void a_task_that_is_alone_goes_on(void **state)
{
    struct err err;
    pool_yield(); /* in no task */
    for (uint32_t threads = 0; threads < 3; threads++) {
        struct pool *pool = pool_of(threads);
        bool went_on = false;
        assert_ok(pool_run(pool, NULL, 1, alone_task, &went_on, NULL, &err));
        assert_true(went_on);
        pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_goes_on_while_what_it_gave_way_to_runs),
        cmocka_unit_test(who_waits_for_a_group_leaves_its_place),
        cmocka_unit_test(slots_and_places_are_never_shared),
        cmocka_unit_test(a_task_that_is_alone_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
