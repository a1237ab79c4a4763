/* tests/unit/base/test_pool.c - storage/base/pool.c; to be run under the thread sanitizer as well.
 */
#include "tests/support/claims.h"

#include "storage/base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg);

static uint32_t create_calls;
static uint32_t create_fails_at; /* the n-th call; 0: none */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg)
{
    create_calls++;
    return create_calls == create_fails_at ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

static struct pool *pool_of(uint32_t threads)
{
    struct err err;
    struct pool *pool = NULL;
    assert_ok(pool_create(threads, IO_POSIX, "test", &pool, &err));
    return pool;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* Counts what ran, and proves that no slot is used twice at a time. */
#define TASKS_MAX 1000
struct tally {
    _Atomic uint32_t ran[TASKS_MAX];
    _Atomic uint32_t slot_busy[16];
    _Atomic uint32_t violations;
    uint32_t slots;
};

static void tally_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct tally *tally = arg;
    if (worker >= tally->slots || io == NULL ||
        atomic_fetch_add(&tally->slot_busy[worker], 1) != 0) {
        atomic_fetch_add(&tally->violations, 1);
    }
    atomic_fetch_add(&tally->ran[task], 1);
    if (task % 64 == 0) {
        pause_ms(1); /* lets others in */
    }
    atomic_fetch_sub(&tally->slot_busy[worker], 1);
}

static void tally_check(struct tally *tally, uint32_t count)
{
    assert_int_equal(atomic_load(&tally->violations), 0);
    for (uint32_t i = 0; i < TASKS_MAX; i++) {
        assert_int_equal(atomic_load(&tally->ran[i]), i < count);
    }
}

static void every_task_runs_once_whatever_the_sizes(void **state)
{
    struct err err;
    const uint32_t counts[] = {0, 1, 2, 3, 7, 100, TASKS_MAX};
    for (uint32_t threads = 0; threads < 5; threads++) {
        struct pool *pool = pool_of(threads);
        assert_int_equal(pool_threads(pool), threads);
        assert_int_equal(pool_slots(pool), threads + 1);
        for (size_t i = 0; i < COUNT_OF(counts); i++) {
            struct tally tally = {.slots = pool_slots(pool)};
            assert_ok(pool_run(pool, counts[i], tally_task, &tally, NULL, &err));
            tally_check(&tally, counts[i]);
        }
        pool_free(pool);
    }
    pool_free(NULL);
}

static void io_seen(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct io **seen = arg;
    seen[task] = io;
}

static void the_caller_s_own_io_is_used_on_its_thread(void **state)
{
    struct err err;
    struct pool *pool = pool_of(0);
    struct io *io = NULL;
    assert_ok(io_create(IO_POSIX, &io, &err));
    struct io *seen[3] = {NULL};
    assert_ok(pool_run(pool, 3, io_seen, seen, io, &err));
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(seen[i], io);
    }
    io_free(io);
    pool_free(pool);
}

struct runner {
    struct pool *pool;
    uint32_t count;
    struct tally tally;
    enum err_code code;
};

static void *runner_main(void *arg)
{
    struct runner *runner = arg;
    struct err err;
    for (int round = 0; round < 20 && runner->code == ERR_OK; round++) {
        memset(&runner->tally, 0, sizeof(runner->tally));
        runner->tally.slots = pool_slots(runner->pool);
        runner->code =
            pool_run(runner->pool, runner->count, tally_task, &runner->tally, NULL, &err);
        for (uint32_t i = 0; i < runner->count; i++) {
            runner->code = runner->tally.ran[i] == 1 ? runner->code : ERR_CORRUPT;
        }
    }
    return NULL;
}

static void many_groups_from_many_threads(void **state)
{
    struct pool *pool = pool_of(3);
    enum { RUNNERS = 8 };
    struct runner *runners = calloc(RUNNERS, sizeof(*runners));
    pthread_t threads[RUNNERS];
    for (uint32_t i = 0; i < RUNNERS; i++) {
        runners[i].pool = pool;
        runners[i].count = 1 + i * 30;
        assert_int_equal(pthread_create(&threads[i], NULL, runner_main, &runners[i]), 0);
    }
    for (uint32_t i = 0; i < RUNNERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(runners[i].code, ERR_OK);
        tally_check(&runners[i].tally, runners[i].count);
    }
    free(runners);
    pool_free(pool);
}

/* Every task runs a group of its own, three levels deep, on the pool it runs on. */
struct nest {
    struct pool *pool;
    uint32_t depth;
    _Atomic uint32_t leaves;
    _Atomic uint32_t failures;
    struct nest *root;
};

static void nest_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct nest *nest = arg;
    if (nest->depth == 0) {
        atomic_fetch_add(&nest->root->leaves, 1);
        return;
    }
    struct err err;
    struct nest below = {.pool = nest->pool, .depth = nest->depth - 1, .root = nest->root};
    if (pool_run(nest->pool, 5, nest_task, &below, io, &err) != ERR_OK) {
        atomic_fetch_add(&nest->root->failures, 1);
    }
}

static void a_task_may_run_a_group_on_its_own_pool(void **state)
{
    struct err err;
    for (uint32_t threads = 0; threads < 4; threads++) {
        struct pool *pool = pool_of(threads);
        struct nest root = {.pool = pool, .depth = 3};
        root.root = &root;
        assert_ok(pool_run(pool, 5, nest_task, &root, NULL, &err));
        assert_int_equal(atomic_load(&root.leaves), 5 * 5 * 5 * 5);
        assert_int_equal(atomic_load(&root.failures), 0);
        pool_free(pool);
    }
}

/* A gate holds a worker; behind it the test arranges what waits. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t arrived;
    bool is_open;
};

#define GATE_INIT                                                                                  \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false                              \
    }

static void gate_pass(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->arrived++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->is_open) {
        pthread_cond_wait(&gate->changed, &gate->lock);
    }
    pthread_mutex_unlock(&gate->lock);
}

static void gate_await(struct gate *gate, uint32_t arrived)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->arrived < arrived) {
        pthread_cond_wait(&gate->changed, &gate->lock);
    }
    pthread_mutex_unlock(&gate->lock);
}

static void gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->is_open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static void gate_job(void *arg, struct io *io)
{
    gate_pass(arg);
}

struct ordered {
    _Atomic uint32_t *next;
    uint32_t ran_as;
};

static void ordered_job(void *arg, struct io *io)
{
    struct ordered *ordered = arg;
    ordered->ran_as = io == NULL ? UINT32_MAX : atomic_fetch_add(ordered->next, 1);
}

static void jobs_run_once_in_order_and_the_queue_is_bounded(void **state)
{
    struct err err;
    struct pool *pool = pool_of(1);
    struct gate gate = GATE_INIT;
    assert_ok(pool_submit(pool, gate_job, &gate, 1, &err));
    gate_await(&gate, 1); /* the only worker is held; from here on jobs wait */
    assert_int_equal(pool_waiting(pool), 0);
    _Atomic uint32_t next = 0;
    struct ordered jobs[10];
    for (uint32_t i = 0; i < COUNT_OF(jobs); i++) {
        jobs[i] = (struct ordered){.next = &next, .ran_as = UINT32_MAX};
        assert_ok(pool_submit(pool, ordered_job, &jobs[i], COUNT_OF(jobs), &err));
        assert_int_equal(pool_waiting(pool), i + 1);
    }
    assert_fails(pool_submit(pool, ordered_job, &jobs[0], COUNT_OF(jobs), &err), ERR_BUSY,
                 "10 jobs are waiting, the limit is 10");
    assert_fails(pool_submit(pool, ordered_job, &jobs[0], 0, &err), ERR_BUSY, "limit is 0");
    gate_open(&gate);
    pool_free(pool); /* runs what waits */
    for (uint32_t i = 0; i < COUNT_OF(jobs); i++) {
        assert_int_equal(jobs[i].ran_as, i);
    }
}

static void a_pool_without_threads_runs_jobs_at_once(void **state)
{
    struct err err;
    struct pool *pool = pool_of(0);
    _Atomic uint32_t next = 0;
    struct ordered job = {.next = &next, .ran_as = UINT32_MAX};
    assert_ok(pool_submit(pool, ordered_job, &job, 1, &err));
    assert_int_equal(job.ran_as, 0);
    assert_int_equal(pool_waiting(pool), 0);
    pool_free(pool);
}

/* Two groups on one worker while their callers are held: the worker's tasks alternate, so a group
 * of two tasks is not behind one of a hundred. */
struct turn_log {
    _Atomic uint32_t *clock;
    struct gate *gate;
    uint32_t caller_slot;
    uint32_t last_worker_turn;
};

static void turn_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct turn_log *log = arg;
    if (worker == log->caller_slot) {
        gate_pass(log->gate);
    } else {
        log->last_worker_turn = atomic_fetch_add(log->clock, 1) + 1;
    }
}

struct turn_runner {
    struct pool *pool;
    struct turn_log log;
    uint32_t count;
};

static void *turn_main(void *arg)
{
    struct turn_runner *runner = arg;
    struct err err;
    return pool_run(runner->pool, runner->count, turn_task, &runner->log, NULL, &err) == ERR_OK
               ? NULL
               : runner;
}

static void a_small_group_is_not_behind_a_big_one(void **state)
{
    struct err err;
    struct pool *pool = pool_of(1);
    struct gate worker_gate = GATE_INIT;
    struct gate caller_gate = GATE_INIT;
    _Atomic uint32_t clock = 0;
    assert_ok(pool_submit(pool, gate_job, &worker_gate, 1, &err));
    gate_await(&worker_gate, 1);
    struct turn_log log = {.clock = &clock, .gate = &caller_gate, .caller_slot = 1};
    struct turn_runner runners[2] = {{pool, log, 500}, {pool, log, 6}};
    pthread_t threads[2];
    for (uint32_t i = 0; i < 2; i++) { /* the big one first */
        assert_int_equal(pthread_create(&threads[i], NULL, turn_main, &runners[i]), 0);
        gate_await(&caller_gate, i + 1); /* its caller holds its first task; the rest waits */
    }
    gate_open(&worker_gate);
    while (atomic_load(&clock) < 499 + 5) { /* all that the two callers do not hold */
        pause_ms(1);
    }
    gate_open(&caller_gate);
    for (uint32_t i = 0; i < 2; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_in_range(runners[1].log.last_worker_turn, 9, 11); /* 5 of its own, 5 of the other's */
    assert_int_equal(runners[0].log.last_worker_turn, 504);
    pool_free(pool);
}

/* A job in the queue runs while a group has plenty of tasks left. */
struct between {
    _Atomic uint32_t tasks;
    uint32_t tasks_before_job;
};

static void between_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct between *between = arg;
    atomic_fetch_add(&between->tasks, 1);
    pause_ms(1);
}

static void between_job(void *arg, struct io *io)
{
    struct between *between = arg;
    between->tasks_before_job = atomic_load(&between->tasks);
}

static void a_job_gets_its_turn_between_tasks(void **state)
{
    struct err err;
    struct pool *pool = pool_of(1);
    struct gate gate = GATE_INIT;
    struct between between = {.tasks_before_job = UINT32_MAX};
    assert_ok(pool_submit(pool, gate_job, &gate, 1, &err));
    gate_await(&gate, 1);
    assert_ok(pool_submit(pool, between_job, &between, 1, &err));
    gate_open(&gate);
    assert_ok(pool_run(pool, 200, between_task, &between, NULL, &err));
    pool_free(pool);
    assert_true(between.tasks_before_job < 100);
}

static void a_thread_that_does_not_start_unwinds_the_rest(void **state)
{
    struct err err;
    for (uint32_t nth = 1; nth <= 4; nth++) {
        struct pool *pool = NULL;
        create_calls = 0;
        create_fails_at = nth;
        assert_fails(pool_create(4, IO_AUTO, "query", &pool, &err), ERR_IO,
                     "pool \"query\": cannot start thread");
        assert_null(pool);
        assert_int_equal(create_calls, nth);
    }
    create_fails_at = 0;
    struct pool *pool = NULL;
    assert_fails(pool_create(5000, IO_AUTO, "query", &pool, &err), ERR_LIMIT, "5000 threads");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once_whatever_the_sizes),
        cmocka_unit_test(the_caller_s_own_io_is_used_on_its_thread),
        cmocka_unit_test(many_groups_from_many_threads),
        cmocka_unit_test(a_task_may_run_a_group_on_its_own_pool),
        cmocka_unit_test(jobs_run_once_in_order_and_the_queue_is_bounded),
        cmocka_unit_test(a_pool_without_threads_runs_jobs_at_once),
        cmocka_unit_test(a_small_group_is_not_behind_a_big_one),
        cmocka_unit_test(a_job_gets_its_turn_between_tasks),
        cmocka_unit_test(a_thread_that_does_not_start_unwinds_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
