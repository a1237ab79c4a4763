/* storage/base/pool_order.c - whose turn it is.
 *
 *     parked:  [task of A, had 80 ms]          gave way, and has a thread
 *     groups:  [B, had 20 ms] [C, 0 ms]        tasks that have not begun
 *
 * Least attained service (Kleinrock, 1967): nobody says how long a query will take, but what it has
 * had so far tells small ones from big ones, and a big one that waits for small ones waits little.
 * Taken to the millisecond it would have all big ones share, and all end last; so it goes by classes
 * (0 to 15 ms, to 75, to 315, ...) and those of one class run one after the other.
 *
 * Where small ones never end a big one would wait for ever, so those that wait have a credit: it grows
 * by a quarter of the time that accounts have which are younger than the oldest that waits, and from a
 * slice on it buys the next turn. Half of what it buys is the oldest account's. Were it all, then beside
 * a dear question, which is the oldest for seconds, one that had had 16 ms of its 20 would wait for the
 * end of that: so the other half is of the first in order of all that are not of the lowest class. A
 * task that cannot give way pays for all that it takes, and the next credit is the later; one that
 * gives way owes nothing, and has a slice once others have had the time of four.
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

/* Of those of a class from `class_first` on. */
static bool choice_is_passed(const struct pool_choice *choice, uint32_t class_first,
                             const struct pool_account *account)
{
    if (account_class(account) < class_first) {
        return false;
    }
    if (choice->account == NULL) {
        return true;
    }
    return choice->right == POOL_OLDEST ? account->arrival < choice->account->arrival
                                        : account_before(account, choice->account);
}

static struct pool_choice choose(const struct pool *pool, enum pool_right right,
                                 uint32_t class_first, bool may_start)
{
    struct pool_choice choice = {.right = right};
    for (struct pool_parked *at = pool->parked.next; at != &pool->parked; at = at->next) {
        if (choice_is_passed(&choice, class_first, at->turn->account)) {
            choice.account = at->turn->account;
            choice.parked = at;
        }
    }
    for (struct pool_group *at = pool->groups.next; may_start && at != &pool->groups;
         at = at->next) {
        if (at->slots_left > 0 && choice_is_passed(&choice, class_first, at->account)) {
            choice.account = at->account;
            choice.parked = NULL;
            choice.group = at;
        }
    }
    return choice;
}

static bool is_credit_turn(const struct pool *pool)
{
    return pool->credit_us >= (int64_t)POOL_SLICE_US;
}

/* Who is next where the turn is bought: the oldest, or the first of those that have had more than the
 * first of all, `least`. */
static struct pool_choice choose_on_credit(const struct pool *pool, const struct pool_choice *least,
                                           bool may_start)
{
    if (pool->oldest_ahead_us > 0) {
        struct pool_choice passed =
            choose(pool, POOL_PASSED, account_class(least->account) + 1, may_start);
        if (passed.account != NULL) {
            return passed;
        }
    }
    return choose(pool, POOL_OLDEST, 0, may_start);
}

struct pool_choice pool_choose(const struct pool *pool, bool may_start)
{
    struct pool_choice least = choose(pool, POOL_LEAST, 0, may_start);
    if (least.account == &pool->jobs_account) {
        return least; /* a job that has its place again */
    }
    if (is_credit_turn(pool) && least.account != NULL) {
        return choose_on_credit(pool, &least, may_start);
    }
    bool has_job = may_start && pool->job_first != NULL;
    return has_job ? (struct pool_choice){.account = &pool->jobs_account} : least;
}

/* True where an account waits that came before this one. */
static bool older_waits(const struct pool *pool, const struct pool_account *account)
{
    struct pool_choice oldest = choose(pool, POOL_OLDEST, 0, true);
    return oldest.account != NULL && oldest.account != &pool->jobs_account &&
           oldest.account->arrival < account->arrival;
}

bool pool_turn_gives_way(const struct pool_turn *turn)
{
    const struct pool *pool = turn->pool;
    if (turn->right != POOL_LEAST && pool->credit_us > 0) {
        return false;
    }
    if (is_credit_turn(pool) && older_waits(pool, turn->account)) {
        return true;
    }
    struct pool_choice least = choose(pool, POOL_LEAST, 0, true);
    uint32_t class_least = least.account == NULL ? UINT32_MAX : account_class(least.account);
    return (pool->job_first != NULL ? 0 : class_least) < account_class(turn->account);
}

void pool_turn_charge(struct pool_turn *turn, uint64_t now_us)
{
    struct pool *pool = turn->pool;
    int64_t elapsed_us = (int64_t)(now_us - turn->mark_us);
    turn->mark_us = now_us;
    if (turn->group == NULL) {
        return; /* jobs are not counted */
    }
    turn->account->served_us += (uint64_t)elapsed_us;
    pool->stats.served_us += (uint64_t)elapsed_us;
    if (turn->right != POOL_LEAST) {
        pool->credit_us -= elapsed_us;
        int64_t ahead_us =
            pool->oldest_ahead_us + (turn->right == POOL_OLDEST ? elapsed_us : -elapsed_us);
        pool->oldest_ahead_us = MAX_OF(-POOL_CREDIT_US_MAX, MIN_OF(ahead_us, POOL_CREDIT_US_MAX));
    } else if (older_waits(pool, turn->account)) {
        pool->credit_us =
            MIN_OF(pool->credit_us + elapsed_us / POOL_CREDIT_SHARE, POOL_CREDIT_US_MAX);
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
                                 enum pool_right right)
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
        .right = right,
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
