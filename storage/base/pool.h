/* storage/base/pool.h - places for work on worker threads, groups of tasks that share them fairly, and jobs.
 *
 * A group is a number of tasks that one caller waits for; an account says for whom: one query has one
 * account and runs one group after the other on it. Whoever is free takes the next task of the
 * account that has had least worker time so far, so a question of few tasks passes one of a thousand.
 * Least by class, each of four times the time of the one before; in a class who came first is first. A
 * quarter of the time is of accounts that others pass for long: half of it the oldest one's of all, so
 * that none waits for ever, half the first one's after those that have had least, so that who has had
 * little more does not wait for the oldest. A task should last some milliseconds; one that may last
 * longer calls pool_yield now and then, and tasks of accounts of a lower class are run in between, on
 * other threads: it goes on as soon as its account is the next to be served, whatever has begun since.
 *
 * As many tasks run at a time as the pool has places (`threads`), those that callers run themselves
 * included: the thread that waits for a group works on it while a place is free and its account is the
 * next to be served. A thread of the pool that calls pool_run (from a job, from a task) has a place
 * already and works on its group until no task of it is left to start; while it waits for the rest the
 * place is others'. In a pool of no threads every caller does its own work. Tasks that gave way keep
 * their threads, so there are more of these than places: up to POOL_SPARES to a place, started when
 * they are first wanted.
 *
 * Thread: any thread may submit and wait. Each of the pool's threads (and each waiting helper) has its
 * own struct io, passed to the task. Nothing here blocks but pool_run and pool_yield.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/io.h"

#define POOL_SLICE_US     5000u /* a task that has run for less does not yield */
#define POOL_CREDIT_SHARE 4u    /* one part in so many is of those that are passed */
#define POOL_SPARES       8u    /* threads beside each place, for tasks that gave way */

struct pool;
struct pool_group;

/* What one query (or whoever else) has had of a pool. Start it as {0}; while groups of it run it is
 * the pool's, and may be read between them. */
struct pool_account {
    uint64_t served_us;  /* time that its tasks took, of all threads; what runs is not charged yet */
    uint64_t waited_us;  /* from the start of each group to its first task */
    uint64_t task_count; /* finished */
    uint64_t arrival;    /* 1 for the pool's first account; 0: it has run nothing yet */
    uint32_t running;    /* tasks that began and have not ended */
};

/* Of all groups so far. */
struct pool_stats {
    uint64_t arrivals;      /* accounts seen */
    uint64_t groups, tasks; /* that began */
    uint64_t served_us;     /* that finished tasks took, of all threads */
    uint64_t waited_us;     /* of all groups, from their start to their first task */
};

/* `worker` is 0 .. pool_slots - 1, different for tasks of one group that have begun and not ended,
 * those that gave way included. */
typedef void (*pool_task_fn)(void *arg, uint32_t task, uint32_t worker, struct io *io);

enum err_code pool_create(uint32_t threads, enum io_kind io_kind, const char *name,
                          struct pool **ret, struct err *err) ERR_MUST_CHECK;
void pool_free(struct pool *pool); /* waits for what runs; queued groups must have been waited for */
uint32_t pool_threads(const struct pool *pool); /* places: what pool_create was given */
uint32_t pool_slots(const struct pool *pool); /* threads + 1: the waiting caller takes part */

/* Run fn(arg, 0 .. count - 1) over the pool and this thread, and return when all are done. Tasks are
 * started in ascending order. `account` is charged for them; NULL: one of its own, made for the call.
 * `io` is the calling thread's own, or NULL: then tasks on this thread get one made for the call. */
enum err_code pool_run(struct pool *pool, struct pool_account *account, uint32_t count,
                       pool_task_fn fn, void *arg, struct io *io, struct err *err) ERR_MUST_CHECK;

/* For a task that may last: return at once, or after jobs and tasks of accounts that have had less, or
 * that have a turn for being passed for long. Where no thread can be had for them the task does not
 * give way. Cheap enough for once per block. Does nothing on a thread that is in no task. The task may
 * hold what other tasks and jobs do not wait for, and no lock. */
void pool_yield(void);
/* clock_mono_us, less the time that tasks of this thread gave way to others or waited for the rest of
 * a group: the difference of two is what the task at hand took by itself. */
uint64_t pool_own_us(void);

/* Fire and forget, bounded: ERR_BUSY when `queue_max` jobs wait already. Jobs run once, in order of
 * arrival, and go before the tasks of groups, for they have had nothing yet, but not when it is the
 * turn of an account that was passed for long. */
typedef void (*pool_job_fn)(void *arg, struct io *io);
enum err_code pool_submit(struct pool *pool, pool_job_fn fn, void *arg, uint32_t queue_max,
                          struct err *err) ERR_MUST_CHECK;
uint32_t pool_waiting(const struct pool *pool); /* jobs queued and not started */
struct pool_stats pool_stats(struct pool *pool);
