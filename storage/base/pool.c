/* storage/base/pool.c - worker threads over a ring of groups.
 *
 *            turn
 *              v
 *     +--> [group A] --> [group B] --> [jobs] --+       a worker takes one task of the group whose
 *     +----------------------------------------+       turn it is, and the turn moves on
 *
 * Groups with tasks left to start form a circle; the queue of jobs has a fixed place in it, so it
 * is one participant among them. One task is taken per turn: a query of ten tasks waits for at most
 * one task of each other query, not for the thousand tasks of a big one. A group is on the stack of
 * the pool_run that waits for it, and leaves the circle when its last task is taken.
 *
 * One mutex guards all of it. It is held for a few pointer moves per task, and a task is thousands
 * of rows: what would be gained by less locking is not measurable, what would be lost is that this
 * can be read in one sitting.
 */
#include "storage/base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOL_THREADS_MAX 1024
#define POOL_NAME_BYTES  16 /* what the kernel keeps of a thread's name, with the NUL */

struct pool_group {
    struct pool_group *next;
    struct pool_group *prev;
    pool_task_fn fn;
    void *arg;
    uint32_t count;
    uint32_t started_count; /* tasks 0 .. started_count - 1 were taken */
    uint32_t done_count;
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

    pthread_mutex_t lock;    /* guards everything from here to jobs_waiting, and all groups */
    pthread_cond_t work;     /* there is something to take, or is_stopping */
    uint32_t idle_count;     /* workers that wait for `work` */
    bool is_stopping;        /* workers leave once nothing is left to take */
    struct pool_group jobs;  /* the jobs' place in the circle; only its links are used */
    struct pool_group *turn; /* whose turn it is; never NULL */
    struct pool_job *job_first;
    struct pool_job **job_end;     /* where the next job is linked */
    _Atomic uint32_t jobs_waiting; /* written under the lock, read without */

    uint32_t threads;
    struct pool_worker workers[];
};

/* What a worker took: a task of `group`, or a job. */
struct pool_work {
    struct pool_group *group;
    uint32_t task;
    struct pool_job *job;
};

/* Take the next task of a group; the last one takes the group out of the circle. Locked. */
static uint32_t group_take(struct pool *pool, struct pool_group *group)
{
    uint32_t task = group->started_count++;
    if (group->started_count == group->count) {
        if (pool->turn == group) {
            pool->turn = group->next;
        }
        group->prev->next = group->next;
        group->next->prev = group->prev;
    }
    return task;
}

/* A group joins as the last of the present round. Locked. */
static void group_join(struct pool *pool, struct pool_group *group)
{
    group->next = pool->turn;
    group->prev = pool->turn->prev;
    group->prev->next = group;
    group->next->prev = group;
    if (pool->turn == &pool->jobs && pool->job_first == NULL) {
        pool->turn = group; /* nothing else waits for its turn */
    }
}

static void group_task_done(struct pool_group *group)
{
    group->done_count++;
    if (group->done_count == group->count) {
        pthread_cond_signal(
            &group->done); /* under the lock: the group ends when the waiter has it */
    }
}

/* What is next in turn; false when there is nothing. Locked. */
static bool pool_take(struct pool *pool, struct pool_work *ret)
{
    if (pool->turn == &pool->jobs && pool->job_first == NULL) {
        pool->turn = pool->jobs.next; /* itself when the circle holds no group */
    }
    struct pool_group *group = pool->turn;
    pool->turn = group->next;
    if (group != &pool->jobs) {
        *ret = (struct pool_work){.group = group, .task = group_take(pool, group)};
        return true;
    }
    struct pool_job *job = pool->job_first;
    if (job == NULL) {
        return false;
    }
    pool->job_first = job->next;
    if (pool->job_first == NULL) {
        pool->job_end = &pool->job_first;
    }
    atomic_fetch_sub_explicit(&pool->jobs_waiting, 1, memory_order_relaxed);
    *ret = (struct pool_work){.job = job};
    return true;
}

static void *pool_worker_main(void *arg)
{
    struct pool_worker *worker = arg;
    struct pool *pool = worker->pool;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct pool_work work = {0};
        if (pool_take(pool, &work)) {
            pthread_mutex_unlock(&pool->lock);
            if (work.group != NULL) {
                work.group->fn(work.group->arg, work.task, worker->idx, worker->io);
            } else {
                work.job->fn(work.job->arg, worker->io);
                free(work.job);
            }
            pthread_mutex_lock(&pool->lock);
            if (work.group != NULL) {
                group_task_done(work.group);
            }
        } else if (pool->is_stopping) {
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
    made->jobs.next = &made->jobs;
    made->jobs.prev = &made->jobs;
    made->turn = &made->jobs;
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
    ASSERT(pool->jobs.next == &pool->jobs); /* no group is still waited for */
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

/* Put the group into the circle, work on it, and wait until its last task is done. */
static void pool_run_group(struct pool *pool, struct pool_group *group, struct io *io)
{
    pthread_mutex_lock(&pool->lock);
    group_join(pool, group);
    /* This thread takes one task itself. */
    uint32_t wake_count = group->count - 1 < pool->idle_count ? group->count - 1 : pool->idle_count;
    for (uint32_t i = 0; i < wake_count; i++) {
        pthread_cond_signal(&pool->work);
    }
    while (group->started_count < group->count) {
        uint32_t task = group_take(pool, group);
        pthread_mutex_unlock(&pool->lock);
        group->fn(group->arg, task, pool->threads, io);
        pthread_mutex_lock(&pool->lock);
        group_task_done(group);
    }
    /* The rest runs on other threads, each of which works on tasks of its own group only while it
     * waits itself: so waits follow the nesting of calls, which has no circle. */
    while (group->done_count < group->count) {
        pthread_cond_wait(&group->done, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

enum err_code pool_run(struct pool *pool, uint32_t count, pool_task_fn fn, void *arg, struct io *io,
                       struct err *err)
{
    if (count == 0) {
        return ERR_OK;
    }
    CLEANUP(io_freep) struct io *made = NULL;
    if (io == NULL) {
        ERR_TRY(io_create(pool->io_kind, &made, err));
        io = made;
    }
    struct pool_group group = {.fn = fn, .arg = arg, .count = count};
    pthread_cond_init(&group.done, NULL);
    pool_run_group(pool, &group, io);
    pthread_cond_destroy(&group.done);
    return ERR_OK;
}

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
        pthread_cond_signal(&pool->work);
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
