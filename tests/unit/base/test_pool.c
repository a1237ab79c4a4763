/* tests/unit/base/test_pool.c - storage/base/pool.c; to be run under the thread sanitizer as well.
 */
#include "tests/support/claims.h"

#include "storage/base/clock.h"
#include "storage/base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg);

static _Atomic uint32_t create_calls;     /* of the pool's threads as well */
static uint32_t create_fails_at;          /* the n-th call; 0: none */
static void *(*create_fails_but)(void *); /* all that do not start this; NULL: none */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                          void *arg)
{
    uint32_t nth = atomic_fetch_add(&create_calls, 1) + 1;
    bool is_failing =
        nth == create_fails_at || (create_fails_but != NULL && fn != create_fails_but);
    return is_failing ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
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
            assert_ok(pool_run(pool, NULL, counts[i], tally_task, &tally, NULL, &err));
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
    assert_ok(pool_run(pool, NULL, 3, io_seen, seen, io, &err));
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
            pool_run(runner->pool, NULL, runner->count, tally_task, &runner->tally, NULL, &err);
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
    if (pool_run(nest->pool, NULL, 5, nest_task, &below, io, &err) != ERR_OK) {
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
        assert_ok(pool_run(pool, NULL, 5, nest_task, &root, NULL, &err));
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

/* ---- order of service ----
 *
 * One worker, held by a gate until all groups wait, and a clock that a task moves by what it is said
 * to cost: then the order in which tasks run is known to the last one. (The callers do not help: the
 * only place is the worker's.) */

static _Atomic uint64_t fake_us; /* 0: the real clock */

uint64_t __real_clock_mono_us(void);
uint64_t __wrap_clock_mono_us(void);

uint64_t __wrap_clock_mono_us(void)
{
    uint64_t now_us = atomic_load(&fake_us);
    return now_us != 0 ? now_us : __real_clock_mono_us();
}

struct service {
    struct pool *pool;
    struct gate gate; /* holds the worker */
    char order[256];  /* a letter per slice of a task, as they ran */
    uint32_t count;
};

struct asker {
    struct service *service;
    struct pool_account account;
    char letter;
    uint32_t tasks;
    uint32_t rounds;  /* groups one after the other, of `tasks` each */
    uint64_t cost_us; /* of a slice */
    uint32_t
        slices; /* that a task runs for, and yields after each; 0: one, and it does not yield */
    struct asker *starts; /* whom the first task of all starts, and waits until it is in the pool */
    pthread_t thread;
    enum err_code code;
};

static void *asker_main(void *arg);

/* Start an asker, and wait until its group is the pool's: its account has arrived. */
static void asker_start(struct asker *asker)
{
    struct pool_stats before = pool_stats(asker->service->pool);
    assert_int_equal(pthread_create(&asker->thread, NULL, asker_main, asker), 0);
    while (pool_stats(asker->service->pool).arrivals == before.arrivals) {
        pause_ms(1);
    }
}

static void asker_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct asker *asker = arg;
    struct service *service = asker->service;
    for (uint32_t slice = 0; slice == 0 || slice < asker->slices; slice++) {
        /* No lock of its own: one task at a time, and the pool's lock between them. */
        service->order[service->count++] = asker->letter;
        atomic_fetch_add(&fake_us, asker->cost_us);
        if (asker->starts != NULL) {
            asker_start(TAKE(asker->starts));
        }
        if (asker->slices > 0) {
            pool_yield();
        }
    }
}

static void *asker_main(void *arg)
{
    struct asker *asker = arg;
    struct err err;
    for (uint32_t round = 0; round < asker->rounds && asker->code == ERR_OK; round++) {
        asker->code = pool_run(asker->service->pool, &asker->account, asker->tasks, asker_task,
                               asker, NULL, &err);
    }
    return NULL;
}

static void service_start(struct service *service)
{
    struct err err;
    service->pool = pool_of(1);
    service->gate = (struct gate)GATE_INIT;
    atomic_store(&fake_us, 1);
    assert_ok(pool_submit(service->pool, gate_job, &service->gate, 1, &err));
    gate_await(&service->gate, 1);
}

static void service_end(struct service *service, struct asker *askers, uint32_t count)
{
    gate_open(&service->gate);
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(askers[i].thread, NULL);
        assert_int_equal(askers[i].code, ERR_OK);
        assert_int_equal(askers[i].account.running, 0);
        assert_int_equal(askers[i].account.task_count, askers[i].tasks * askers[i].rounds);
        assert_int_equal(askers[i].account.served_us,
                         askers[i].account.task_count * askers[i].cost_us *
                             (askers[i].slices == 0 ? 1 : askers[i].slices));
    }
    atomic_store(&fake_us, 0);
    pool_free(service->pool);
}

static void who_has_had_less_is_next(void **state)
{
    struct service service = {0};
    struct asker askers[] = {
        {.service = &service, .letter = 'a', .tasks = 6, .rounds = 1, .cost_us = 10000},
        {.service = &service, .letter = 'b', .tasks = 4, .rounds = 1, .cost_us = 20000},
        {.service = &service, .letter = 'c', .tasks = 2, .rounds = 1, .cost_us = 9000},
    };
    service_start(&service);
    for (uint32_t i = 0; i < COUNT_OF(askers); i++) {
        asker_start(&askers[i]);
    }
    service_end(&service, askers, COUNT_OF(askers));
    /* a came first and stays so until it has had 15 ms, then b likewise. That left a waiting for
     * 20 ms, which is worth a slice. c is done before it has had 15 ms, and the rest goes as they
     * came. */
    assert_string_equal(service.order, "aabaccaaabbb");
}

/* Small ones without end: the oldest gets a quarter of the time. */
static void the_oldest_does_not_wait_for_ever(void **state)
{
    enum { SMALL = 16 };
    struct service service = {0};
    struct asker askers[SMALL + 1] = {
        {.service = &service, .letter = 'A', .tasks = 6, .rounds = 1, .cost_us = 6000}};
    service_start(&service);
    asker_start(&askers[0]);
    for (uint32_t i = 1; i <= SMALL; i++) {
        askers[i] = (struct asker){
            .service = &service, .letter = 's', .tasks = 15, .rounds = 1, .cost_us = 400};
        asker_start(&askers[i]);
    }
    service_end(&service, askers, COUNT_OF(askers));
    /* With 18 ms A is of another class than the rest. Then fifty times 400 us make a credit of a
     * slice, 5,000 us; its task costs 1,000 us more, so that the next credit takes sixty. */
    char expected[SMALL * 15 + 6 + 1];
    memset(expected, 's', sizeof(expected) - 1);
    expected[0] = expected[1] = expected[2] = 'A';
    expected[3 + 50] = expected[4 + 110] = expected[5 + 170] = 'A';
    expected[sizeof(expected) - 1] = '\0';
    assert_string_equal(service.order, expected);
}

/* A long task yields: those that have had less go before the rest of it, also one that comes then. */
static void a_long_task_lets_others_pass(void **state)
{
    struct service service = {0};
    struct asker askers[] = {
        {.service = &service, .letter = 'A', .tasks = 1, .rounds = 1, .cost_us = 9000, .slices = 4},
        {.service = &service, .letter = 'b', .tasks = 2, .rounds = 1, .cost_us = 9000, .slices = 2},
        {.service = &service, .letter = 'c', .tasks = 1, .rounds = 1, .cost_us = 1000, .slices = 3},
    };
    service_start(&service);
    askers[1].starts = &askers[2]; /* c comes while b runs and A waits */
    asker_start(&askers[0]);
    asker_start(&askers[1]);
    service_end(&service, askers, COUNT_OF(askers));
    /* With 18 ms A is passed by b, and that, with 18 ms, by c. b's second task is of no lower class
     * than A, and waits. */
    assert_string_equal(service.order, "AAbbcccAAbb");
}

/* Small ones without end pass it: after four slices of theirs it has one. */
static void a_long_task_is_not_passed_for_ever(void **state)
{
    enum { SMALL = 16 };
    struct service service = {0};
    struct asker askers[SMALL + 1] = {{.service = &service,
                                       .letter = 'A',
                                       .tasks = 1,
                                       .rounds = 1,
                                       .cost_us = 6000,
                                       .slices = 6}};
    service_start(&service);
    asker_start(&askers[0]);
    for (uint32_t i = 1; i <= SMALL; i++) {
        askers[i] = (struct asker){
            .service = &service, .letter = 's', .tasks = 15, .rounds = 1, .cost_us = 400};
        asker_start(&askers[i]);
    }
    service_end(&service, askers, COUNT_OF(askers));
    /* With 18 ms A is of another class than the rest, and then fifty times 400 us are four slices. */
    char expected[SMALL * 15 + 6 + 1];
    memset(expected, 's', sizeof(expected) - 1);
    expected[0] = expected[1] = expected[2] = 'A';
    expected[3 + 50] = expected[4 + 100] = expected[5 + 150] = 'A';
    expected[sizeof(expected) - 1] = '\0';
    assert_string_equal(service.order, expected);
}

/* H is dear and the oldest, and small ones do not end; q has had a little more than these. They take
 * turns on the credit, by time. */
static void who_is_passed_does_not_wait_for_the_oldest(void **state)
{
    enum { SMALL = 16 };
    struct service service = {0};
    struct asker askers[SMALL + 2] = {
        {.service = &service,
         .letter = 'H',
         .tasks = 1,
         .rounds = 1,
         .cost_us = 80000,
         .slices = 4},
        {.service = &service, .letter = 'q', .tasks = 1, .rounds = 1, .cost_us = 6000, .slices = 6},
    };
    service_start(&service);
    asker_start(&askers[0]);
    asker_start(&askers[1]);
    for (uint32_t i = 2; i < SMALL + 2; i++) {
        askers[i] = (struct asker){
            .service = &service, .letter = 's', .tasks = 15, .rounds = 1, .cost_us = 400};
        asker_start(&askers[i]);
    }
    service_end(&service, askers, COUNT_OF(askers));
    /* q's 18 ms and five times 400 us make a credit, which is H's. Then the next ones are q's, until it
     * is done. */
    char expected[SMALL * 15 + 10 + 1];
    memset(expected, 's', sizeof(expected) - 1);
    memcpy(expected, "Hqqq", 4);
    expected[9] = 'H';
    expected[10 + 50] = expected[11 + 100] = expected[12 + 150] = 'q';
    expected[13 + 200] = 'H';
    expected[sizeof(expected) - 2] = 'H';
    expected[sizeof(expected) - 1] = '\0';
    assert_string_equal(service.order, expected);
}

/* A gave way to c; then the next is whoever has had less, though both have begun: A is passed by B,
 * which came first, and goes on as soon as that is of a higher class. */
static void who_gave_way_goes_on_before_one_that_has_had_more(void **state)
{
    struct service service = {0};
    struct asker askers[] = {
        {.service = &service,
         .letter = 'B',
         .tasks = 1,
         .rounds = 1,
         .cost_us = 5000,
         .slices = 20},
        {.service = &service, .letter = 'A', .tasks = 1, .rounds = 1, .cost_us = 9000, .slices = 3},
        {.service = &service, .letter = 'c', .tasks = 1, .rounds = 1, .cost_us = 1000},
    };
    service_start(&service);
    askers[0].starts = &askers[1];
    askers[1].starts = &askers[2];
    asker_start(&askers[0]);
    service_end(&service, askers, COUNT_OF(askers));
    /* With 15 ms B is passed by A, with 18 that by c. With 75 ms B is of the next class. */
    assert_string_equal(service.order, "BBBAAc"
                                       "BBBBBBBBBBBB"
                                       "A"
                                       "BBBBB");
}

/* Each gives way to one that comes then, until no thread is left; then those that began go on, and who
 * ends makes room. */
static void where_no_thread_is_left_what_began_goes_on(void **state)
{
    enum { CHAIN = 12, THREADS = 1 + POOL_SPARES };
    struct service service = {0};
    struct asker askers[CHAIN];
    for (uint32_t i = 0; i < CHAIN; i++) {
        askers[i] = (struct asker){.service = &service,
                                   .letter = (char)('a' + i),
                                   .tasks = 1,
                                   .rounds = 1,
                                   .cost_us = 9000,
                                   .slices = 4,
                                   .starts = i + 1 < CHAIN ? &askers[i + 1] : NULL};
    }
    create_calls = 0;
    service_start(&service);
    asker_start(&askers[0]);
    service_end(&service, askers, CHAIN);
    assert_int_equal(create_calls, THREADS + CHAIN);
    uint32_t had[CHAIN] = {0};
    uint32_t halfway = 0;
    for (uint32_t i = 0; i < service.count; i++) {
        uint32_t slices = ++had[service.order[i] - 'a'];
        halfway += slices == 1;
        halfway -= slices == askers[0].slices;
        assert_in_range(halfway, 0, THREADS);
    }
}

static void a_task_does_not_give_way_where_no_thread_starts(void **state)
{
    struct service service = {0};
    struct asker askers[] = {
        {.service = &service, .letter = 'A', .tasks = 1, .rounds = 1, .cost_us = 9000, .slices = 6},
        {.service = &service, .letter = 'b', .tasks = 2, .rounds = 1, .cost_us = 1000},
    };
    service_start(&service);
    create_calls = 0;
    create_fails_but = asker_main;
    asker_start(&askers[0]);
    asker_start(&askers[1]);
    service_end(&service, askers, COUNT_OF(askers));
    create_fails_but = NULL;
    assert_string_equal(service.order, "AAAAAAbb");
    assert_int_equal(create_calls, COUNT_OF(askers) + 1); /* it is not tried again at once */
}

static void what_was_had_counts_in_the_next_round(void **state)
{
    struct service service = {0};
    struct asker askers[] = {
        {.service = &service, .letter = 'a', .tasks = 2, .rounds = 2, .cost_us = 20000},
        {.service = &service, .letter = 'b', .tasks = 3, .rounds = 1, .cost_us = 10},
    };
    service_start(&service);
    askers[0].starts = &askers[1]; /* b comes while a has begun */
    asker_start(&askers[0]);
    service_end(&service, askers, COUNT_OF(askers));
    assert_string_equal(service.order, "abbbaaa");
    assert_int_equal(askers[1].account.waited_us, 0);
}

/* ---- places ---- */

/* As many tasks at a time as threads, however many callers wait and would help. */
struct crowd {
    struct pool *pool;
    _Atomic uint32_t *now;
    _Atomic uint32_t *most;
    const _Atomic bool *cancel; /* tasks then end at once */
    uint32_t tasks;
    _Atomic uint32_t ended, cut_short;
    _Atomic bool *cancel_flag; /* set half way; NULL: none */
    enum err_code code;
};

static void crowd_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct crowd *crowd = arg;
    uint32_t now = atomic_fetch_add(crowd->now, 1) + 1;
    uint32_t most = atomic_load(crowd->most);
    while (now > most && !atomic_compare_exchange_weak(crowd->most, &most, now)) {
    }
    if (crowd->cancel != NULL && atomic_load(crowd->cancel)) {
        atomic_fetch_add(&crowd->cut_short, 1);
    } else if (task % 4 == 0) {
        pause_ms(task % 16 == 0 ? 6 : 1); /* or long enough to yield */
    }
    atomic_fetch_sub(crowd->now, 1);
    pool_yield();
    if (crowd->cancel_flag != NULL && task == crowd->tasks / 2) {
        atomic_store(crowd->cancel_flag, true);
    }
    atomic_fetch_add(&crowd->ended, 1);
}

static void *crowd_main(void *arg)
{
    struct crowd *crowd = arg;
    struct err err;
    struct pool_account account = {0};
    for (uint32_t round = 0; round < 3 && crowd->code == ERR_OK; round++) {
        crowd->code = pool_run(crowd->pool, &account, crowd->tasks, crowd_task, crowd, NULL, &err);
        if (account.task_count != (uint64_t)(round + 1) * crowd->tasks || account.running != 0) {
            crowd->code = ERR_CORRUPT;
        }
    }
    return NULL;
}

static void callers_help_only_where_a_place_is_free(void **state)
{
    enum { CROWD = 12 };
    for (uint32_t threads = 1; threads < 4; threads++) {
        struct pool *pool = pool_of(threads);
        _Atomic uint32_t now = 0;
        _Atomic uint32_t most = 0;
        _Atomic bool cancel = false;
        struct crowd crowds[CROWD];
        pthread_t callers[CROWD];
        memset(crowds, 0, sizeof(crowds));
        for (uint32_t i = 0; i < CROWD; i++) {
            crowds[i].pool = pool;
            crowds[i].now = &now;
            crowds[i].most = &most;
            crowds[i].tasks = 1 + i * 9;
            crowds[i].cancel = i == CROWD - 1 ? &cancel : NULL; /* the biggest, by another's task */
            crowds[i].cancel_flag = i == 3 ? &cancel : NULL;
            assert_int_equal(pthread_create(&callers[i], NULL, crowd_main, &crowds[i]), 0);
        }
        for (uint32_t i = 0; i < CROWD; i++) {
            pthread_join(callers[i], NULL);
            assert_int_equal(crowds[i].code, ERR_OK);
            assert_int_equal(atomic_load(&crowds[i].ended), 3 * crowds[i].tasks);
        }
        assert_true(atomic_load(&crowds[CROWD - 1].cut_short) > 0);
        assert_in_range(atomic_load(&most), 1, threads);
        struct pool_stats stats = pool_stats(pool);
        assert_int_equal(stats.groups, 3 * CROWD);
        assert_int_equal(stats.arrivals, CROWD);
        pool_free(pool);
    }
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
    assert_ok(pool_run(pool, NULL, 200, between_task, &between, NULL, &err));
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
        cmocka_unit_test(who_has_had_less_is_next),
        cmocka_unit_test(the_oldest_does_not_wait_for_ever),
        cmocka_unit_test(a_long_task_lets_others_pass),
        cmocka_unit_test(a_long_task_is_not_passed_for_ever),
        cmocka_unit_test(who_is_passed_does_not_wait_for_the_oldest),
        cmocka_unit_test(who_gave_way_goes_on_before_one_that_has_had_more),
        cmocka_unit_test(where_no_thread_is_left_what_began_goes_on),
        cmocka_unit_test(a_task_does_not_give_way_where_no_thread_starts),
        cmocka_unit_test(what_was_had_counts_in_the_next_round),
        cmocka_unit_test(callers_help_only_where_a_place_is_free),
        cmocka_unit_test(a_job_gets_its_turn_between_tasks),
        cmocka_unit_test(a_thread_that_does_not_start_unwinds_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
