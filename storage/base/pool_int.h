/* storage/base/pool_int.h - the pool from the inside: pool.c has its places and threads, pool_order.c
 * says who is next. Everything here that is not `const` belongs to the pool's lock, unless it says
 * otherwise.
 */
#pragma once

#include "storage/base/pool.h"

#include <pthread.h>
#include <stdatomic.h>

#define POOL_THREADS_MAX 1024
#define POOL_SLOT_WORDS  (POOL_THREADS_MAX / 64)
#define POOL_NAME_BYTES  16 /* what the kernel keeps of a thread's name, with the NUL */

struct pool_group {
    struct pool_group *next;
    struct pool_group *prev;
    struct pool_account *account;
    pool_task_fn fn;
    void *arg;
    uint32_t count;
    uint32_t started_count; /* tasks 0 .. started_count - 1 were taken */
    uint32_t done_count;
    uint32_t
        slots_left; /* bits of slots_free; the caller's own slot, `threads`, is not among them */
    uint64_t slots_free[POOL_SLOT_WORDS];
    uint64_t begin_us;
    pthread_cond_t done; /* done_count reached count */
};

struct pool_job {
    struct pool_job *next;
    pool_job_fn fn;
    void *arg;
};

/* What a turn was chosen for. */
enum pool_right {
    POOL_LEAST,  /* its account has had least: no credit is spent */
    POOL_OLDEST, /* on credit: its account is the oldest */
    POOL_PASSED, /* on credit: the first of those that have had more than the first of all */
};

/* A task or a job that began and has not ended. It is its thread's own but where it is parked. */
struct pool_turn {
    struct pool_turn *below; /* on the same thread, and waits in pool_run; NULL: none */
    struct pool *pool;
    struct pool_account *account; /* of a job: pool->jobs_account */
    struct pool_group *group;     /* NULL: a job */
    struct pool_job *job;         /* NULL: a task */
    uint32_t task;
    uint32_t slot;
    uint64_t mark_us; /* charged until then */
    enum pool_right right;
};

/* A turn without a place that waits for one. On its thread's stack. */
struct pool_parked {
    struct pool_parked *next;
    struct pool_parked *prev;
    struct pool_turn *turn;
    bool has_place;
    pthread_cond_t called; /* has_place was set */
};

/* A thread of the pool. */
struct pool_thread {
    struct pool *pool;
    struct io *io; /* the thread's own */
    pthread_t thread;
    struct pool_thread *next_idle;
    struct pool_turn turn; /* what it is to do next, or does */
    bool has_turn;
    pthread_cond_t called; /* has_turn was set, or the pool is stopping */
};

struct pool {
    enum io_kind io_kind;
    char name[POOL_NAME_BYTES];
    uint32_t threads; /* places; constant */

    pthread_mutex_t lock;    /* guards everything below, groups, accounts, what is parked or idle */
    uint32_t busy_count;     /* places taken: <= threads */
    bool is_stopping;        /* threads leave once nothing is left for them to take */
    uint32_t thread_count;   /* of `all`, those that were started */
    uint64_t spare_from_us;  /* no spare thread is started before: one could not be */
    int64_t credit_us;       /* of those that are passed; below 0 where a task of them was long */
    int64_t oldest_ahead_us; /* what the oldest had of it, less what others had */
    struct pool_stats stats;
    struct pool_account jobs_account; /* all 0, before any other: what jobs are compared by */
    struct pool_thread *idle;         /* a stack: the last to come is the warmest */
    struct pool_parked parked;        /* a ring, longest waiting first; only its links are used */
    struct pool_group groups; /* those with tasks left to start, a ring; only its links are used */
    struct pool_job *job_first;
    struct pool_job **job_end;     /* where the next job is linked */
    _Atomic uint32_t jobs_waiting; /* written under the lock, read without */

    uint32_t thread_max;
    struct pool_thread all[];
};

/* Who gets the next place: `account` is NULL where there is nobody. */
struct pool_choice {
    const struct pool_account *account;
    struct pool_parked *parked; /* it goes on, */
    struct pool_group *group;   /* or a task of this begins, or, where both are NULL, a job */
    enum pool_right right;
};

/* All of these under the lock. */

/* `may_start`: there is a thread for a task or job that has not begun. */
struct pool_choice pool_choose(const struct pool *pool, bool may_start);
/* True where somebody is to go before the rest of this task. */
bool pool_turn_gives_way(const struct pool_turn *turn);
/* Charge what a task took since it was charged last. */
void pool_turn_charge(struct pool_turn *turn, uint64_t now_us);

void pool_group_join(struct pool *pool, struct pool_group *group);
/* Take the next task of a group, which leaves the list with its last one. */
struct pool_turn pool_group_take(struct pool *pool, struct pool_group *group, bool is_caller,
                                 enum pool_right right);
void pool_group_task_done(const struct pool_turn *turn);
