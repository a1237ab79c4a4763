/* storage/base/pool.c - worker threads over a list of groups.
 *
 *     jobs:    [job] -> [job]                           first come, first served
 *     groups:  [A, had 80 ms] [B, had 2 ms] [C, 0 ms]   next task: of C, whose account has had least
 *
 * Least attained service (Kleinrock, 1967): nobody says how long a query will take, but what it has
 * had so far tells small ones from big ones, and a big one that waits for small ones waits little.
 * Taken to the millisecond it would have all big ones share, and all end last; so it goes by classes
 * (0 to 15 ms, to 75, to 315, ...) and those of one class run one after the other. Where small ones
 * never end a big one would wait for ever, so the oldest account that waits has a credit: it grows by a
 * quarter of the time that others have, and from a slice on it buys the next task. A task that gave way gets its next slice
 * once others have had the time of four.
 *
 * A task that yields stays where it is on its thread's stack, with the other tasks above it:
 *
 *     thread:   [task of A, had 80 ms]  <-  [task of B, had 9 ms]  <-  [task of C, new]
 *
 * Each is of a lower class than the one below when it starts. Tasks above another never wait for a group:
 * a pool_run in them does all the work itself. So a thread that waits has nothing suspended, what it
 * waits for runs or lies below something that runs, and there is no circle of waits.
 *
 * A group is on the stack of the pool_run that waits for it, and leaves the list when its last task
 * is taken. Which one is next is found by looking at all of them: there are as many as callers,
 * which the server bounds to some dozens.
 *
 * One mutex guards all of it. It is held for a walk over that list per task, and a task is thousands
 * of rows: what would be gained by less locking is not measurable, what would be lost is that this
 * can be read in one sitting.
 */
#include "storage/base/pool.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOL_THREADS_MAX   1024
#define POOL_DEPTH_MAX     8
#define POOL_CREDIT_US_MAX (10 * (int64_t)POOL_SLICE_US)
#define POOL_NAME_BYTES    16 /* what the kernel keeps of a thread's name, with the NUL */

struct pool_group {
    struct pool_group *next;
    struct pool_group *prev;
    struct pool_account *account;
    pool_task_fn fn;
    void *arg;
    uint32_t count;
    uint32_t started_count; /* tasks 0 .. started_count - 1 were taken */
    uint32_t done_count;
    uint64_t begin_us;
    pthread_cond_t done; /* done_count reached count */
};

struct pool_job {
    struct pool_job *next;
    pool_job_fn fn;
    void *arg;
};

struct pool_worker {
    struct pool *pool;
    struct io *io;
    uint32_t idx;
    pthread_t thread;
};

struct pool {
    enum io_kind io_kind;
    char name[POOL_NAME_BYTES];

    pthread_mutex_t lock; /* guards everything from here to jobs_waiting, groups and accounts */
    pthread_cond_t work;  /* there is something to take and a place is free, or is_stopping */
    uint32_t idle_count;  /* workers that wait for `work` */
    uint32_t busy_count;  /* places taken: <= threads, by workers and by callers that help */
    bool is_stopping;     /* workers leave once nothing is left to take */
    int64_t credit_us;    /* of the oldest account; below 0 where a task of it was long */
    struct pool_stats stats;
    struct pool_group groups; /* those with tasks left to start, a ring; only its links are used */
    struct pool_job *job_first;
    struct pool_job **job_end;     /* where the next job is linked */
    _Atomic uint32_t jobs_waiting; /* written under the lock, read without */

    uint32_t threads;
    struct pool_worker workers[];
};

/* A task that a thread is in. */
struct pool_turn {
    struct pool_turn *below; /* suspended for this one; NULL: none */
    uint32_t depth;          /* of those below */
    struct pool *pool;
    const struct pool_group *group;
    uint32_t worker;
    struct io *io;
    uint64_t mark_us; /* charged until then */
    bool is_credit;   /* started on the oldest account's credit */
};

/* The pool that the thread at hand works for: it has a place there. */
static _Thread_local const struct pool *pool_of_thread;
static _Thread_local struct pool_turn *turn_of_thread;
static _Thread_local uint64_t away_us; /* that tasks of this thread were suspended */

/* ---- whose turn it is; all of it under the lock ---- */

/* How much the account has had: floor(log4(1 + slices)). */
static uint32_t account_class(const struct pool_account *account)
{
    uint64_t slices = account->served_us / POOL_SLICE_US;
    return (63 - (uint32_t)__builtin_clzll(slices + 1)) / 2;
}

static bool account_before(const struct pool_account *a, const struct pool_account *b)
{
    uint32_t class_a = account_class(a);
    uint32_t class_b = account_class(b);
    return class_a != class_b ? class_a < class_b : a->arrival < b->arrival;
}

static bool turn_is_of(const struct pool_turn *turn, const struct pool_account *account)
{
    while (turn != NULL && turn->group->account != account) {
        turn = turn->below;
    }
    return turn != NULL;
}

/* The group to be served next, of those that have no task on the stack `above`; NULL where there is
 * none. */
static struct pool_group *group_next(struct pool *pool, bool is_credit,
                                     const struct pool_turn *above)
{
    struct pool_group *best = NULL;
    for (struct pool_group *group = pool->groups.next; group != &pool->groups;
         group = group->next) {
        bool is_better =
            best == NULL || (is_credit ? group->account->arrival < best->account->arrival
                                       : account_before(group->account, best->account));
        if (is_better && !turn_is_of(above, group->account)) {
            best = group;
        }
    }
    return best;
}

/* True where the next task is bought by the oldest account's credit. */
static bool pool_is_credit_turn(const struct pool *pool)
{
    return pool->credit_us >= (int64_t)POOL_SLICE_US;
}

static bool pool_has_work(const struct pool *pool)
{
    return pool->job_first != NULL || pool->groups.next != &pool->groups;
}

/* Wake workers for what can be taken, at most `count`. */
static void pool_wake(struct pool *pool, uint32_t count)
{
    uint32_t places = pool->threads - MIN_OF(pool->busy_count, pool->threads);
    uint32_t wake_count = MIN_OF(count, MIN_OF(places, pool->idle_count));
    for (uint32_t i = 0; i < wake_count && pool_has_work(pool); i++) {
        pthread_cond_signal(&pool->work);
    }
}

/* `is_alone`: no other thread gets to see it. */
static void group_join(struct pool *pool, struct pool_group *group, bool is_alone)
{
    if (group->account->arrival == 0) {
        group->account->arrival = ++pool->stats.arrivals;
    }
    group->begin_us = clock_mono_us();
    group->next = is_alone ? group : &pool->groups;
    group->prev = is_alone ? group : pool->groups.prev;
    group->prev->next = group;
    group->next->prev = group;
}

/* Take the next task of a group; the last one takes the group out of the list. */
static uint32_t group_take(struct pool *pool, struct pool_group *group, uint64_t now_us)
{
    uint32_t task = group->started_count++;
    if (task == 0) {
        group->account->waited_us += now_us - group->begin_us;
        pool->stats.groups++;
        pool->stats.waited_us += now_us - group->begin_us;
    }
    pool->stats.tasks++;
    if (group->started_count == group->count) {
        group->prev->next = group->next;
        group->next->prev = group->prev;
    }
    group->account->running++;
    return task;
}

/* What a turn took since it was charged last; who waits longest gets a part of it as a credit. */
static void turn_charge(struct pool_turn *turn, uint64_t now_us)
{
    struct pool *pool = turn->pool;
    struct pool_account *account = turn->group->account;
    uint64_t elapsed_us = now_us - turn->mark_us;
    turn->mark_us = now_us;
    account->served_us += elapsed_us;
    pool->stats.served_us += elapsed_us;
    const struct pool_group *oldest = group_next(pool, true, NULL);
    if (turn->is_credit) {
        pool->credit_us -= (int64_t)elapsed_us;
    } else if (oldest != NULL && oldest->account->arrival < account->arrival) {
        pool->credit_us =
            MIN_OF(pool->credit_us + (int64_t)(elapsed_us / POOL_OLDEST_SHARE), POOL_CREDIT_US_MAX);
    }
}

static void group_task_done(struct pool_group *group)
{
    group->account->running--;
    group->account->task_count++;
    group->done_count++;
    if (group->done_count == group->count) {
        pthread_cond_signal(
            &group->done); /* under the lock: the group ends when the waiter has it */
    }
}

/* Run the next task of a group, above what the thread is in: the lock is released meanwhile. */
static void group_run_task(struct pool *pool, struct pool_group *group, bool is_credit,
                           uint32_t worker, struct io *io)
{
    struct pool_turn turn = {
        .below = turn_of_thread,
        .depth = turn_of_thread == NULL ? 0 : turn_of_thread->depth + 1,
        .pool = pool,
        .group = group,
        .worker = worker,
        .io = io,
        .mark_us = clock_mono_us(),
        .is_credit = is_credit,
    };
    uint32_t task = group_take(pool, group, turn.mark_us);
    pthread_mutex_unlock(&pool->lock);
    turn_of_thread = &turn;
    group->fn(group->arg, task, worker, io);
    turn_of_thread = turn.below;
    uint64_t end_us = clock_mono_us();
    pthread_mutex_lock(&pool->lock);
    turn_charge(&turn, end_us);
    group_task_done(group);
}

/* Whose task goes before the rest of this one; NULL: nobody's. */
static struct pool_group *turn_passed_by(const struct pool_turn *turn)
{
    if (turn->depth + 1 >= POOL_DEPTH_MAX || (turn->is_credit && turn->pool->credit_us > 0)) {
        return NULL;
    }
    struct pool_group *group = group_next(turn->pool, false, turn);
    bool is_lower =
        group != NULL && account_class(group->account) < account_class(turn->group->account);
    return is_lower ? group : NULL;
}

void pool_yield(void)
{
    struct pool_turn *turn = turn_of_thread;
    if (turn == NULL) {
        return;
    }
    uint64_t now_us = clock_mono_us();
    if (now_us - turn->mark_us < POOL_SLICE_US) {
        return;
    }
    struct pool *pool = turn->pool;
    pthread_mutex_lock(&pool->lock);
    turn_charge(turn, now_us);
    uint64_t away_before_us = away_us;
    struct pool_group *group = NULL;
    uint64_t passed_us = 0; /* what others have had since it gave way: as much as a slice earns, and a task more */
    while (passed_us < (uint64_t)POOL_OLDEST_SHARE * POOL_SLICE_US &&
           (group = turn_passed_by(turn)) != NULL) {
        group_run_task(pool, group, false, turn->worker, turn->io);
        uint64_t then_us = clock_mono_us();
        passed_us += then_us - turn->mark_us;
        turn->mark_us = then_us;
    }
    pthread_mutex_unlock(&pool->lock);
    /* What those above were suspended lies within. */
    away_us = away_before_us + (turn->mark_us - now_us);
}

uint64_t pool_own_us(void)
{
    return clock_mono_us() - away_us;
}

static struct pool_job *pool_take_job(struct pool *pool)
{
    struct pool_job *job = pool->job_first;
    pool->job_first = job->next;
    if (pool->job_first == NULL) {
        pool->job_end = &pool->job_first;
    }
    atomic_fetch_sub_explicit(&pool->jobs_waiting, 1, memory_order_relaxed);
    return job;
}

/* ---- workers ---- */

/* One task or job: the lock is released meanwhile. */
static void worker_work(struct pool *pool, struct pool_worker *worker)
{
    bool is_credit = pool_is_credit_turn(pool);
    struct pool_group *group = group_next(pool, is_credit, NULL);
    pool->busy_count++;
    if (pool->job_first != NULL && (group == NULL || !is_credit)) {
        struct pool_job *job = pool_take_job(pool);
        pthread_mutex_unlock(&pool->lock);
        job->fn(job->arg, worker->io);
        free(job);
        pthread_mutex_lock(&pool->lock);
    } else {
        group_run_task(pool, group, is_credit, worker->idx, worker->io);
    }
    pool->busy_count--;
}

static void *pool_worker_main(void *arg)
{
    struct pool_worker *worker = arg;
    struct pool *pool = worker->pool;
    pool_of_thread = pool;
    pthread_mutex_lock(&pool->lock);
    while (true) {
        if (pool_has_work(pool) && pool->busy_count < pool->threads) {
            worker_work(pool, worker);
        } else if (pool->is_stopping && !pool_has_work(pool)) {
            break;
        } else {
            pool->idle_count++;
            pthread_cond_wait(&pool->work, &pool->lock);
            pool->idle_count--;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Start a worker with the signals blocked that a process handles on purpose: its main thread gets
 * them. Faults stay open, for a handler that reports them. */
static enum err_code pool_start_worker(struct pool *pool, struct err *err)
{
    uint32_t idx = pool->threads;
    struct pool_worker *worker = &pool->workers[idx];
    CLEANUP(io_freep) struct io *io = NULL;
    ERR_TRY(io_create(pool->io_kind, &io, err));
    *worker = (struct pool_worker){.pool = pool, .io = io, .idx = idx};

    sigset_t blocked;
    sigset_t before;
    sigfillset(&blocked);
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        sigdelset(&blocked, faults[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int failure = pthread_create(&worker->thread, NULL, pool_worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure != 0) {
        return err_set_errno(err, failure, "pool \"%s\": cannot start thread %u", pool->name,
                             idx + 1);
    }
    char name[POOL_NAME_BYTES];
    snprintf(name, sizeof(name), "%.10s-%u", pool->name, idx);
    (void)pthread_setname_np(worker->thread, name);
    (void)TAKE(io); /* the worker's now, until pool_free */
    pool->threads++;
    return ERR_OK;
}

static void pool_freep(struct pool **pool)
{
    pool_free(*pool);
}

enum err_code pool_create(uint32_t threads, enum io_kind io_kind, const char *name,
                          struct pool **ret, struct err *err)
{
    if (threads > POOL_THREADS_MAX) {
        return err_set(err, ERR_LIMIT, "pool \"%s\": %u threads, the limit is %u", name, threads,
                       POOL_THREADS_MAX);
    }
    struct pool *made = calloc(1, sizeof(*made) + threads * sizeof(made->workers[0]));
    if (made == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: pool \"%s\" of %u threads", name, threads);
    }
    made->io_kind = io_kind;
    snprintf(made->name, sizeof(made->name), "%s", name);
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->work, NULL);
    made->groups.next = &made->groups;
    made->groups.prev = &made->groups;
    made->job_end = &made->job_first;

    CLEANUP(pool_freep) struct pool *pool = made;
    for (uint32_t i = 0; i < threads; i++) {
        ERR_TRY(pool_start_worker(pool, err));
    }
    *ret = TAKE(pool);
    return ERR_OK;
}

void pool_free(struct pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->is_stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->threads; i++) {
        pthread_join(pool->workers[i].thread, NULL);
        io_free(pool->workers[i].io);
    }
    ASSERT(pool->groups.next == &pool->groups); /* no group is still waited for */
    ASSERT(pool->job_first == NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

uint32_t pool_threads(const struct pool *pool)
{
    return pool->threads;
}

uint32_t pool_slots(const struct pool *pool)
{
    return pool->threads + 1;
}

/* ---- callers ---- */

/* True while the caller may run a task of its own group itself. */
static bool caller_may_help(struct pool *pool, const struct pool_group *group, bool has_place)
{
    if (group->started_count == group->count) {
        return false;
    }
    return has_place || (pool->busy_count < pool->threads && pool->job_first == NULL &&
                         group_next(pool, pool_is_credit_turn(pool), NULL) == group);
}

/* Put the group into the list, work on it, and wait until its last task is done. */
static void pool_run_group(struct pool *pool, struct pool_group *group, struct io *io)
{
    const struct pool *outer = pool_of_thread;
    bool has_place = pool->threads == 0 || outer == pool;
    bool is_alone = turn_of_thread != NULL && turn_of_thread->depth > 0;
    pool_of_thread = pool;
    pthread_mutex_lock(&pool->lock);
    group_join(pool, group, is_alone);
    while (caller_may_help(pool, group, has_place || is_alone)) {
        pool->busy_count += !has_place;
        if (group->started_count == 0) {
            pool_wake(pool, group->count - 1); /* this thread takes one task itself */
        }
        group_run_task(pool, group, !has_place && pool_is_credit_turn(pool), pool->threads, io);
        pool->busy_count -= !has_place;
    }
    pool_wake(pool, pool->threads); /* the place that this thread had is free, and others' turn */
    while (group->done_count < group->count) {
        pthread_cond_wait(&group->done, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    pool_of_thread = outer;
}

enum err_code pool_run(struct pool *pool, struct pool_account *account, uint32_t count,
                       pool_task_fn fn, void *arg, struct io *io, struct err *err)
{
    if (count == 0) {
        return ERR_OK;
    }
    CLEANUP(io_freep) struct io *made = NULL;
    if (io == NULL) {
        ERR_TRY(io_create(pool->io_kind, &made, err));
        io = made;
    }
    struct pool_account own = {0};
    struct pool_group group = {
        .account = account != NULL ? account : &own, .fn = fn, .arg = arg, .count = count};
    pthread_cond_init(&group.done, NULL);
    pool_run_group(pool, &group, io);
    pthread_cond_destroy(&group.done);
    return ERR_OK;
}

/* ---- jobs ---- */

/* A pool without threads has nobody to leave a job to: the submitter runs it. */
static enum err_code pool_run_job_here(struct pool *pool, pool_job_fn fn, void *arg,
                                       struct err *err)
{
    CLEANUP(io_freep) struct io *io = NULL;
    ERR_TRY(io_create(pool->io_kind, &io, err));
    fn(arg, io);
    return ERR_OK;
}

enum err_code pool_submit(struct pool *pool, pool_job_fn fn, void *arg, uint32_t queue_max,
                          struct err *err)
{
    if (pool->threads == 0) {
        return pool_run_job_here(pool, fn, arg, err);
    }
    struct pool_job *job = malloc(sizeof(*job));
    if (job == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: pool \"%s\": a job", pool->name);
    }
    *job = (struct pool_job){.fn = fn, .arg = arg};

    pthread_mutex_lock(&pool->lock);
    uint32_t waiting = atomic_load_explicit(&pool->jobs_waiting, memory_order_relaxed);
    bool is_full = waiting >= queue_max;
    if (!is_full) {
        *pool->job_end = job;
        pool->job_end = &job->next;
        atomic_store_explicit(&pool->jobs_waiting, waiting + 1, memory_order_relaxed);
        pool_wake(pool, 1);
    }
    pthread_mutex_unlock(&pool->lock);
    if (is_full) {
        free(job);
        return err_set(err, ERR_BUSY, "pool \"%s\": %u jobs are waiting, the limit is %u",
                       pool->name, waiting, queue_max);
    }
    return ERR_OK;
}

uint32_t pool_waiting(const struct pool *pool)
{
    return atomic_load_explicit(&pool->jobs_waiting, memory_order_relaxed);
}

struct pool_stats pool_stats(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct pool_stats stats = pool->stats;
    pthread_mutex_unlock(&pool->lock);
    return stats;
}
