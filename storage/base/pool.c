/* storage/base/pool.c - places, the threads that take turns on them, and callers that wait.
 *
 *     places:  [task of D]  [task of E]        as many as the pool has `threads`
 *     parked:  [task of A]  [task of B]        without a place; each holds a thread, its stack and io
 *     groups:  [C, 3 tasks to start]           first tasks, then rest: in the list of groups
 *     jobs:    [job] -> [job]                  first come, first served
 *     idle:    (thread) (thread)               for what has not begun
 *
 * Every place belongs to a turn (a task or a job that has begun) or is free. Whoever gives one up (a
 * turn that ended, a task that gives way, a thread that waits for a group) or brings work calls
 * pool_fill, which asks pool_order.c who is next and gives the place away: a parked turn is called by
 * its own condition, a task or job that has not begun is taken and handed to an idle thread. So a
 * decision is made once, by one function, and what was handed over has its place already.
 *
 * A task that gives way parks among all that wait, and pool_fill decides: it may be chosen itself, where
 * its account has a turn on credit, or where no thread can be had for a task to start. Then it goes on
 * at once. Threads beside those of the places are started when a task is to give way to one that has
 * not begun and nobody is idle; they stay. Past the bound, or where the system gives none, what is
 * parked goes on instead, and what ends makes a thread free.
 *
 * No circle of waits: a thread that waits in pool_run holds no place, and if it is the pool's it has
 * started all of its group. Waits follow the nesting of calls, so below the last that waits something
 * runs or is parked; what is parked has its thread and needs a place only; and places are held by what
 * runs. Tasks of a group have different slots while they are begun and not ended; where all are taken
 * the rest waits for an end.
 *
 * A group is on the stack of the pool_run that waits for it, and leaves the list when its last task
 * is taken.
 *
 * One mutex guards all of it. It is held for a walk over what waits per task, and a task is thousands
 * of rows: what would be gained by less locking is not measurable, what would be lost is that this
 * can be read in one sitting.
 */
#include "storage/base/pool_int.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define SPARE_RETRY_US 1000000u /* where a spare thread could not be started */

static _Thread_local struct pool_turn *turn_of_thread; /* the uppermost */
static _Thread_local uint64_t away_us;                 /* that turns of this thread had no place */

/* ---- places; all of it under the lock ---- */

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

static void parked_call(struct pool_parked *parked, enum pool_right right)
{
    parked->prev->next = parked->next;
    parked->next->prev = parked->prev;
    parked->turn->right = right;
    parked->has_place = true;
    pthread_cond_signal(&parked->called);
}

static void idle_push(struct pool_thread *thread)
{
    thread->next_idle = thread->pool->idle;
    thread->pool->idle = thread;
}

/* Hand a task of `group` to an idle thread, or the first job where that is NULL. */
static void idle_call(struct pool *pool, struct pool_group *group, enum pool_right right)
{
    struct pool_thread *thread = pool->idle;
    pool->idle = thread->next_idle;
    if (group != NULL) {
        thread->turn = pool_group_take(pool, group, false, right);
    } else {
        thread->turn = (struct pool_turn){
            .pool = pool, .account = &pool->jobs_account, .job = pool_take_job(pool)};
    }
    thread->has_turn = true;
    pthread_cond_signal(&thread->called);
}

/* Give the free places to who is next. */
static void pool_fill(struct pool *pool)
{
    while (pool->busy_count < pool->threads) {
        struct pool_choice next = pool_choose(pool, pool->idle != NULL);
        if (next.account == NULL) {
            return;
        }
        pool->busy_count++;
        if (next.parked != NULL) {
            parked_call(next.parked, next.right);
        } else {
            idle_call(pool, next.group, next.right);
        }
    }
}

/* Wait for a place, as one of those that do. Time since the turn's mark it was away. */
static void turn_park(struct pool_turn *turn)
{
    struct pool *pool = turn->pool;
    struct pool_parked parked = {.next = &pool->parked, .prev = pool->parked.prev, .turn = turn};
    pthread_cond_init(&parked.called, NULL);
    parked.prev->next = &parked;
    parked.next->prev = &parked;
    pool_fill(pool);
    while (!parked.has_place) {
        pthread_cond_wait(&parked.called, &pool->lock);
    }
    pthread_cond_destroy(&parked.called);
    uint64_t now_us = clock_mono_us();
    away_us += now_us - turn->mark_us;
    turn->mark_us = now_us;
}

/* Do what has begun: the lock is released meanwhile. The place remains the thread's. */
static void turn_run(struct pool_turn *turn, struct io *io)
{
    struct pool *pool = turn->pool;
    pthread_mutex_unlock(&pool->lock);
    turn->mark_us = clock_mono_us();
    turn->below = turn_of_thread;
    turn_of_thread = turn;
    if (turn->group != NULL) {
        turn->group->fn(turn->group->arg, turn->task, turn->slot, io);
    } else {
        turn->job->fn(turn->job->arg, io);
        free(turn->job);
    }
    turn_of_thread = turn->below;
    uint64_t end_us = clock_mono_us();
    pthread_mutex_lock(&pool->lock);
    if (turn->group != NULL) {
        pool_turn_charge(turn, end_us);
        pool_group_task_done(turn);
    }
}

/* ---- threads ---- */

/* Wait for something to do. False: the pool is stopping, and there is nothing. */
static bool thread_await_turn(struct pool_thread *thread)
{
    struct pool *pool = thread->pool;
    while (!thread->has_turn && !pool->is_stopping) {
        pthread_cond_wait(&thread->called, &pool->lock);
    }
    if (thread->has_turn) {
        return true;
    }
    struct pool_thread **at = &pool->idle;
    while (*at != thread) {
        at = &(*at)->next_idle;
    }
    *at = thread->next_idle;
    return false;
}

static void *pool_thread_main(void *arg)
{
    struct pool_thread *thread = arg;
    struct pool *pool = thread->pool;
    pthread_mutex_lock(&pool->lock);
    while (thread_await_turn(thread)) {
        thread->has_turn = false;
        turn_run(&thread->turn, thread->io);
        pool->busy_count--;
        idle_push(thread);
        pool_fill(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Start a thread with the signals blocked that a process handles on purpose: its main thread gets
 * them. Faults stay open, for a handler that reports them. */
static int thread_start_masked(struct pool_thread *thread)
{
    sigset_t blocked;
    sigset_t before;
    sigfillset(&blocked);
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        sigdelset(&blocked, faults[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int failure = pthread_create(&thread->thread, NULL, pool_thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

/* One more thread, idle. Under the lock: it is seldom, and short. */
static enum err_code pool_start_thread(struct pool *pool, struct err *err)
{
    uint32_t idx = pool->thread_count;
    struct pool_thread *thread = &pool->all[idx];
    CLEANUP(io_freep) struct io *io = NULL;
    ERR_TRY(io_create(pool->io_kind, &io, err));
    *thread = (struct pool_thread){.pool = pool, .io = io};
    pthread_cond_init(&thread->called, NULL);
    int failure = thread_start_masked(thread);
    if (failure != 0) {
        pthread_cond_destroy(&thread->called);
        return err_set_errno(err, failure, "pool \"%s\": cannot start thread %u", pool->name,
                             idx + 1);
    }
    char name[POOL_NAME_BYTES];
    snprintf(name, sizeof(name), "%.9s-%hu", pool->name, (uint16_t)idx);
    (void)pthread_setname_np(thread->thread, name);
    (void)TAKE(io); /* the thread's now, until pool_free */
    pool->thread_count++;
    idle_push(thread);
    return ERR_OK;
}

/* Where a task or job is next that has not begun, have a thread for it if one can be had. */
static void pool_want_thread(struct pool *pool)
{
    struct pool_choice next = pool_choose(pool, true);
    if (next.account == NULL || next.parked != NULL || pool->idle != NULL ||
        pool->thread_count == pool->thread_max) {
        return;
    }
    uint64_t now_us = clock_mono_us();
    struct err ignored = {0};
    if (now_us >= pool->spare_from_us && pool_start_thread(pool, &ignored) != ERR_OK) {
        pool->spare_from_us = now_us + SPARE_RETRY_US;
    }
}

void pool_yield(void)
{
    struct pool_turn *turn = turn_of_thread;
    if (turn == NULL || turn->group == NULL || turn->pool->threads == 0) {
        return;
    }
    uint64_t now_us = clock_mono_us();
    if (now_us - turn->mark_us < POOL_SLICE_US) {
        return;
    }
    struct pool *pool = turn->pool;
    pthread_mutex_lock(&pool->lock);
    pool_turn_charge(turn, now_us);
    if (pool_turn_gives_way(turn)) {
        pool_want_thread(pool);
        if (turn->right != POOL_LEAST) {
            pool->credit_us = MAX_OF(pool->credit_us, 0); /* it ran for as short as it could */
        }
        pool->busy_count--;
        turn_park(turn);
    } else if (pool->credit_us <= 0) {
        turn->right = POOL_LEAST; /* and goes on by its own right */
    }
    pthread_mutex_unlock(&pool->lock);
}

uint64_t pool_own_us(void)
{
    return clock_mono_us() - away_us;
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
    uint32_t thread_max = threads * (1 + POOL_SPARES);
    struct pool *made = calloc(1, sizeof(*made) + thread_max * sizeof(made->all[0]));
    if (made == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: pool \"%s\" of %u threads", name, threads);
    }
    made->io_kind = io_kind;
    snprintf(made->name, sizeof(made->name), "%s", name);
    made->threads = threads;
    made->thread_max = thread_max;
    pthread_mutex_init(&made->lock, NULL);
    made->parked.next = &made->parked;
    made->parked.prev = &made->parked;
    made->groups.next = &made->groups;
    made->groups.prev = &made->groups;
    made->job_end = &made->job_first;

    CLEANUP(pool_freep) struct pool *pool = made;
    enum err_code code = ERR_OK;
    pthread_mutex_lock(&pool->lock);
    while (code == ERR_OK && pool->thread_count < threads) {
        code = pool_start_thread(pool, err);
    }
    pthread_mutex_unlock(&pool->lock);
    ERR_TRY(code);
    *ret = TAKE(pool);
    return ERR_OK;
}

/* True for the idx-th thread; false: there are no more. What still runs may start spare ones, with
 * higher numbers than its own thread's. */
static bool pool_has_thread(struct pool *pool, uint32_t idx)
{
    pthread_mutex_lock(&pool->lock);
    bool has = idx < pool->thread_count;
    pthread_mutex_unlock(&pool->lock);
    return has;
}

void pool_free(struct pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->is_stopping = true;
    for (struct pool_thread *thread = pool->idle; thread != NULL; thread = thread->next_idle) {
        pthread_cond_signal(&thread->called);
    }
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; pool_has_thread(pool, i); i++) {
        pthread_join(pool->all[i].thread, NULL);
        pthread_cond_destroy(&pool->all[i].called);
        io_free(pool->all[i].io);
    }
    ASSERT(pool->groups.next == &pool->groups); /* no group is still waited for */
    ASSERT(pool->job_first == NULL && pool->busy_count == 0);
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

/* The turn that this thread is in and has a place of the pool for; NULL: it has none. */
static struct pool_turn *turn_in(const struct pool *pool)
{
    struct pool_turn *turn = turn_of_thread;
    while (turn != NULL && turn->pool != pool) {
        turn = turn->below;
    }
    return turn;
}

/* True while the caller may run a task of its own group itself. */
static bool caller_may_help(const struct pool *pool, const struct pool_group *group, bool has_place)
{
    if (group->started_count == group->count) {
        return false;
    }
    return has_place ||
           (pool->busy_count < pool->threads && pool_choose(pool, true).group == group);
}

static void caller_run_task(struct pool *pool, struct pool_group *group, bool has_place,
                            struct io *io)
{
    enum pool_right right = has_place ? POOL_LEAST : pool_choose(pool, true).right;
    struct pool_turn turn = pool_group_take(pool, group, true, right);
    pool->busy_count += !has_place;
    pool_fill(pool); /* others, with the rest */
    turn_run(&turn, io);
    pool->busy_count -= !has_place;
}

/* Wait until the last task is done. `outer`: the turn that has a place, which is others' meanwhile. */
static void group_await(struct pool *pool, struct pool_group *group, struct pool_turn *outer)
{
    bool gives_way = outer != NULL && pool->threads > 0 && group->done_count < group->count;
    if (gives_way) {
        pool_want_thread(pool);
        pool->busy_count--;
    }
    pool_fill(pool);
    while (group->done_count < group->count) {
        pthread_cond_wait(&group->done, &pool->lock);
    }
    if (gives_way) {
        turn_park(outer);
    }
}

/* Put the group into the list, work on it, and wait for the rest. */
static void pool_run_group(struct pool *pool, struct pool_group *group, struct io *io)
{
    struct pool_turn *outer = turn_in(pool);
    bool has_place = pool->threads == 0 || outer != NULL;
    pthread_mutex_lock(&pool->lock);
    if (outer != NULL) {
        pool_turn_charge(outer, clock_mono_us());
    }
    pool_group_join(pool, group);
    while (caller_may_help(pool, group, has_place)) {
        caller_run_task(pool, group, has_place, io);
    }
    if (outer != NULL) {
        outer->mark_us = clock_mono_us(); /* the time since is of the group's account */
    }
    group_await(pool, group, outer);
    pthread_mutex_unlock(&pool->lock);
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
        pool_fill(pool);
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
