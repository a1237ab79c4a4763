/* storage/base/pool.h - a fixed set of worker threads, and groups of tasks on them.
 *
 * A group is one query's (or one job's) tasks. Workers take tasks round robin over the groups that
 * have some, so that many small groups and one big one share fairly. The thread that waits for a
 * group works on that group's tasks meanwhile, so a pool can be used from its own workers and a pool
 * of zero threads still makes progress.
 *
 * Thread: any thread may submit and wait. Each worker (and each waiting helper) has its own struct
 * io, passed to the task. Nothing here blocks but pool_group_wait.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/io.h"

struct pool;
struct pool_group;

/* `worker` is 0 .. pool_slots - 1, different for tasks that run at the same time in one group. */
typedef void (*pool_task_fn)(void *arg, uint32_t task, uint32_t worker, struct io *io);

enum err_code pool_create(uint32_t threads, enum io_kind io_kind, const char *name,
                          struct pool **ret, struct err *err) ERR_MUST_CHECK;
void pool_free(struct pool *pool); /* waits for what runs; queued groups must have been waited for */
uint32_t pool_threads(const struct pool *pool);
uint32_t pool_slots(const struct pool *pool); /* threads + 1: the waiting caller takes part */

/* Run fn(arg, 0 .. count - 1) over the pool and this thread, and return when all are done.
 * `io` is the calling thread's own, or NULL: then tasks on this thread get one made for the call. */
enum err_code pool_run(struct pool *pool, uint32_t count, pool_task_fn fn, void *arg, struct io *io,
                       struct err *err) ERR_MUST_CHECK;

/* Fire and forget, bounded: ERR_BUSY when `queue_max` jobs wait already. Jobs run once, in order of
 * arrival, after or between group tasks. */
typedef void (*pool_job_fn)(void *arg, struct io *io);
enum err_code pool_submit(struct pool *pool, pool_job_fn fn, void *arg, uint32_t queue_max,
                          struct err *err) ERR_MUST_CHECK;
uint32_t pool_waiting(const struct pool *pool); /* jobs queued and not started */
