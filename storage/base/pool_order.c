/* storage/base/pool_order.c - whose turn it is.
 *
 *     parked:  [task of A, had 80 ms]          gave way, and has a thread
 *     groups:  [B, had 20 ms] [C, 0 ms]        tasks that have not begun
 *
 * Least attained service (Kleinrock, 1967): nobody says how long a query will take, but what it has
 * had so far tells small ones from big ones, and a big one that waits for small ones waits little.
 * Taken to the millisecond it would have all big ones share, and all end last; so it goes by classes
 * (0 to 15 ms, to 75, to 315, ...) and those of one class run one after the other. Where small ones
 * never end a big one would wait for ever, so the oldest account that waits has a credit: it grows by a
 * quarter of the time that younger ones have, and from a slice on it buys the next turn. A task that
 * cannot give way pays for all that it takes, and the next credit is the later; one that gives way owes
 * nothing, and has a slice once others have had the time of four.
 *
 * Tasks that gave way are compared like those that have not begun, and of one account they go first.
 * Who is next is found by looking at all: there are as many as callers, which the server bounds to
 * some dozens.
 */
#include "storage/base/pool_int.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"

#define POOL_CREDIT_US_MAX (10 * (int64_t)POOL_SLICE_US)

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

/* ---- who is next ---- */

static bool choice_is_passed(const struct pool_choice *choice, const struct pool_account *account)
{
    if (choice->account == NULL) {
        return true;
    }
    return choice->is_credit ? account->arrival < choice->account->arrival
                             : account_before(account, choice->account);
}

static struct pool_choice choose(const struct pool *pool, bool is_credit, bool may_start)
{
    struct pool_choice choice = {.is_credit = is_credit};
    for (struct pool_parked *at = pool->parked.next; at != &pool->parked; at = at->next) {
        if (choice_is_passed(&choice, at->turn->account)) {
            choice.account = at->turn->account;
            choice.parked = at;
        }
    }
    for (struct pool_group *at = pool->groups.next; may_start && at != &pool->groups;
         at = at->next) {
        if (at->slots_left > 0 && choice_is_passed(&choice, at->account)) {
            choice.account = at->account;
            choice.parked = NULL;
            choice.group = at;
        }
    }
    bool has_job = may_start && pool->job_first != NULL;
    if (has_job && (choice.account == NULL ||
                    (!is_credit && choice_is_passed(&choice, &pool->jobs_account)))) {
        return (struct pool_choice){.account = &pool->jobs_account};
    }
    return choice;
}

static bool is_credit_turn(const struct pool *pool)
{
    return pool->credit_us >= (int64_t)POOL_SLICE_US;
}

struct pool_choice pool_choose(const struct pool *pool, bool may_start)
{
    return choose(pool, is_credit_turn(pool), may_start);
}

/* True where an account waits that came before this one. */
static bool older_waits(const struct pool *pool, const struct pool_account *account)
{
    struct pool_choice oldest = choose(pool, true, true);
    return oldest.account != NULL && oldest.account != &pool->jobs_account &&
           oldest.account->arrival < account->arrival;
}

bool pool_turn_is_passed(const struct pool_turn *turn)
{
    const struct pool *pool = turn->pool;
    if (turn->is_credit && pool->credit_us > 0) {
        return false;
    }
    if (is_credit_turn(pool) && older_waits(pool, turn->account)) {
        return true;
    }
    struct pool_choice next = choose(pool, false, true);
    return next.account != NULL && account_class(next.account) < account_class(turn->account);
}

void pool_turn_charge(struct pool_turn *turn, uint64_t now_us)
{
    struct pool *pool = turn->pool;
    uint64_t elapsed_us = now_us - turn->mark_us;
    turn->mark_us = now_us;
    if (turn->group == NULL) {
        return; /* jobs are not counted */
    }
    turn->account->served_us += elapsed_us;
    pool->stats.served_us += elapsed_us;
    if (turn->is_credit) {
        pool->credit_us -= (int64_t)elapsed_us;
    } else if (older_waits(pool, turn->account)) {
        pool->credit_us =
            MIN_OF(pool->credit_us + (int64_t)(elapsed_us / POOL_OLDEST_SHARE), POOL_CREDIT_US_MAX);
    }
}

/* ---- groups and their slots ---- */

static void group_init_slots(struct pool_group *group, uint32_t count)
{
    group->slots_left = count;
    for (uint32_t slot = 0; slot < count; slot++) {
        group->slots_free[slot / 64] |= UINT64_C(1) << slot % 64;
    }
}

static uint32_t group_take_slot(struct pool_group *group)
{
    ASSERT(group->slots_left > 0);
    group->slots_left--;
    uint32_t word = 0;
    while (group->slots_free[word] == 0) {
        word++;
    }
    uint32_t bit = (uint32_t)__builtin_ctzll(group->slots_free[word]);
    group->slots_free[word] &= group->slots_free[word] - 1;
    return word * 64 + bit;
}

void pool_group_join(struct pool *pool, struct pool_group *group)
{
    if (group->account->arrival == 0) {
        group->account->arrival = ++pool->stats.arrivals;
    }
    group_init_slots(group, pool->threads);
    group->begin_us = clock_mono_us();
    group->next = &pool->groups;
    group->prev = pool->groups.prev;
    group->prev->next = group;
    group->next->prev = group;
}

struct pool_turn pool_group_take(struct pool *pool, struct pool_group *group, bool is_caller,
                                 bool is_credit)
{
    uint64_t now_us = clock_mono_us();
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
    return (struct pool_turn){
        .pool = pool,
        .account = group->account,
        .group = group,
        .task = task,
        .slot = is_caller ? pool->threads : group_take_slot(group),
        .is_credit = is_credit,
    };
}

void pool_group_task_done(const struct pool_turn *turn)
{
    struct pool_group *group = turn->group;
    if (turn->slot < turn->pool->threads) {
        group->slots_left++;
        group->slots_free[turn->slot / 64] |= UINT64_C(1) << turn->slot % 64;
    }
    group->account->running--;
    group->account->task_count++;
    group->done_count++;
    if (group->done_count == group->count) {
        pthread_cond_signal(
            &group->done); /* under the lock: the group ends when the waiter has it */
    }
}
