/* query/funnel_follow.c */
#include "query/funnel_follow.h"

#include "query/kernel_funnel_any.h"
#include "storage/base/size.h"

#define STARTS_PER_CHECK 64u

/* ---- entries ---- */

static uint64_t entry_steps(const struct funnel_follower *f)
{
    return f->is_any ? funnel_any_entries(&f->rules) : 1;
}

/* The next instant from event `i` on that an attempt may start in: the index of its first event, or the view's
 * count. */
static size_t next_entry(const struct funnel_follower *f, const struct funnel_view *view,
                         struct funnel_entries entries, size_t i)
{
    uint64_t steps = entry_steps(f);
    size_t instant = i;
    for (; i < view->count && view->times[i] <= entries.last_ms; i++) {
        if (view->times[i] != view->times[instant]) {
            instant = i;
        }
        if (view->times[i] >= entries.first_ms && (view->masks[i] & steps) != 0) {
            return instant;
        }
    }
    return view->count;
}

static size_t instant_end(const struct funnel_view *view, size_t begin)
{
    size_t i = begin;
    while (i < view->count && view->times[i] == view->times[begin]) {
        i++;
    }
    return i;
}

static bool has_bits(const struct funnel_view *view, uint64_t bits)
{
    for (size_t i = 0; bits != 0 && i < view->count; i++) {
        if ((view->masks[i] & bits) != 0) {
            return true;
        }
    }
    return false;
}

/* Is `a` to be shown rather than `b`, of two attempts at one level? They are met in the order of their starts. */
static bool is_shown_rather(enum funnel_show show, int64_t a_end_ms, int64_t b_end_ms)
{
    switch (show) {
    case FUNNEL_SHOW_FIRST: return a_end_ms <= b_end_ms; /* the later start, if both end at once */
    case FUNNEL_SHOW_EARLIEST: return false;
    case FUNNEL_SHOW_LATEST: return true;
    }
    return false;
}

static enum err_code check_once_in_a_while(struct funnel_follower *f, uint32_t *starts,
                                           struct err *err)
{
    (*starts)++;
    return *starts % STARTS_PER_CHECK == 0 && f->run != NULL ? run_check(f->run, err) : ERR_OK;
}

/* ---- in order ---- */

/* The earliest start from which `level` is reached: with entries up to some time it is, up to an
 * earlier one it is not. */
static struct funnel_way earliest_way(const struct funnel_follower *f,
                                      const struct funnel_view *view, struct funnel_entries entries,
                                      struct funnel_way found)
{
    size_t low = 0;
    size_t high = view->count; /* entries up to the time of event `high` - 1 are enough */
    struct funnel_way way = found;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        struct funnel_entries upto = {entries.first_ms, MIN_OF(entries.last_ms, view->times[mid])};
        struct funnel_way tried = kernel_funnel_modes(&f->rules, view, upto, FUNNEL_GOAL_FIRST, 0);
        if (tried.reach.level == found.reach.level) {
            way = tried;
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return way;
}

/* Some events of the view drop the subject: every start is tried for an attempt that they do not hit. */
static enum err_code follow_clean(struct funnel_follower *f, const struct funnel_view *view,
                                  struct funnel_entries entries, struct funnel_way *ret,
                                  struct err *err)
{
    struct funnel_way best = {0};
    uint32_t starts = 0;
    uint32_t level =
        kernel_funnel_modes(&f->undropped, view, entries, FUNNEL_GOAL_FIRST, 0).reach.level;

    f->furthest = level;
    for (size_t i = next_entry(f, view, entries, 0); level > 0 && i < view->count;
         i = next_entry(f, view, entries, instant_end(view, i))) {
        int64_t t = view->times[i];
        ERR_TRY(check_once_in_a_while(f, &starts, err));
        if (best.is_clean && f->show == FUNNEL_SHOW_FIRST && t > best.reach.end_ms) {
            break;
        }
        struct funnel_way way = kernel_funnel_modes(&f->rules, view, (struct funnel_entries){t, t},
                                                    FUNNEL_GOAL_CLEAN, level);
        if (way.is_clean &&
            (!best.is_clean || is_shown_rather(f->show, way.reach.end_ms, best.reach.end_ms))) {
            best = way;
        }
    }
    *ret = best;
    return ERR_OK;
}

/* A plain funnel, counted by its own kernel. */
static struct funnel_way plain_way(const struct funnel_spec *spec, const struct funnel_view *view)
{
    return (struct funnel_way){
        .reach = kernel_funnel(spec, view->times, view->masks, view->count),
        .end_steps = ~UINT64_C(0),
    };
}

static enum err_code follow_in_order(struct funnel_follower *f, const struct funnel_view *view,
                                     struct funnel_entries entries, struct funnel_shown *ret,
                                     struct err *err)
{
    bool is_dropping = has_bits(view, f->rules.drop_bits);
    struct funnel_way way = {0};

    if (f->plain != NULL) {
        way = plain_way(f->plain, view);
        f->furthest = way.reach.level;
    } else if (is_dropping) { /* it says how far attempts get that are dropped */
        ERR_TRY(follow_clean(f, view, entries, &way, err));
    } else {
        enum funnel_goal goal =
            f->show == FUNNEL_SHOW_LATEST ? FUNNEL_GOAL_LATEST : FUNNEL_GOAL_FIRST;
        way = kernel_funnel_modes(&f->rules, view, entries, goal, 0);
        if (f->show == FUNNEL_SHOW_EARLIEST && way.reach.level > 0) {
            way = earliest_way(f, view, entries, way);
        }
        f->furthest = way.reach.level;
    }
    ret->level = way.reach.level;
    if (way.reach.level > 0) {
        funnel_show(&f->rules, view, &way, is_dropping, &f->scratch, ret);
    }
    return ERR_OK;
}

/* ---- in any order ---- */

static uint32_t steps_of(const struct funnel_rules *rules, uint64_t mask, int32_t by,
                         uint32_t *counts, uint32_t different)
{
    mask &= ~UINT64_C(0) >> (64 - rules->step_count);
    for (; mask != 0; mask &= mask - 1) {
        uint32_t step = (uint32_t)__builtin_ctzll(mask);
        different += by > 0 && counts[step] == 0 ? 1 : 0;
        counts[step] = by > 0 ? counts[step] + 1 : counts[step] - 1;
        different -= by < 0 && counts[step] == 0 ? 1 : 0;
    }
    return different;
}

/* scratch.levels[i]: how many different steps the window that starts at event i has events for: no attempt from
 * there does more. */
static void count_steps_ahead(const struct funnel_follower *f, const struct funnel_view *view)
{
    uint32_t counts[QUERY_STEPS_MAX] = {0};
    uint32_t different = 0;
    size_t end = 0;

    for (size_t i = 0; i < view->count; i++) {
        while (end < view->count &&
               (uint64_t)view->times[end] - (uint64_t)view->times[i] <= f->rules.window_ms) {
            different = steps_of(&f->rules, view->masks[end], 1, counts, different);
            end++;
        }
        f->scratch.levels[i] = different;
        different = steps_of(&f->rules, view->masks[i], -1, counts, different);
    }
}

/* The latest start that ends when `best` does, which starts at event `begin`: the later the start, the
 * later the end. */
static void latest_of_same_end(const struct funnel_follower *f, const struct funnel_view *view,
                               struct funnel_entries entries, size_t begin,
                               struct funnel_shown *best)
{
    int64_t end_ms = best->times[best->level - 1];
    size_t low = instant_end(view, begin);
    size_t high = low;
    while (high < view->count && view->times[high] <= end_ms) {
        high++;
    }
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        size_t i = next_entry(f, view, entries, mid);
        while (i > 0 && i < view->count && view->times[i - 1] == view->times[i]) {
            i--; /* `mid` lay inside an instant */
        }
        struct funnel_shown tried = {0};
        int64_t over_ms = 0;
        if (i < high) {
            kernel_funnel_any(&f->rules, view, i, &tried, &over_ms);
        }
        if (tried.level == best->level && tried.times[tried.level - 1] == end_ms) {
            *best = tried;
            low = instant_end(view, i);
        } else {
            high = mid;
        }
    }
}

static enum err_code follow_any(struct funnel_follower *f, const struct funnel_view *view,
                                struct funnel_entries entries, struct funnel_shown *ret,
                                struct err *err)
{
    bool is_dropping = has_bits(view, f->rules.drop_bits);
    bool tries_all = is_dropping || f->show == FUNNEL_SHOW_LATEST;
    struct funnel_shown best = {0};
    size_t best_begin = 0;
    uint32_t starts = 0;

    count_steps_ahead(f, view);
    for (size_t i = next_entry(f, view, entries, 0); i < view->count;
         i = next_entry(f, view, entries, instant_end(view, i))) {
        struct funnel_shown tried = {0};
        int64_t over_ms = 0;
        if (f->scratch.levels[i] < best.level + (tries_all ? 0 : 1)) {
            continue;
        }
        ERR_TRY(check_once_in_a_while(f, &starts, err));
        kernel_funnel_any(&f->rules, view, i, &tried, &over_ms);
        if (tried.level > best.level ||
            (tries_all && tried.level == best.level && tried.level > 0 &&
             is_shown_rather(f->show, tried.times[tried.level - 1], best.times[best.level - 1]))) {
            best = tried;
            best_begin = i;
        }
    }
    if (!tries_all && best.level > 0 && f->show == FUNNEL_SHOW_FIRST) {
        latest_of_same_end(f, view, entries, best_begin, &best);
    }
    f->furthest = best.level;
    *ret = best;
    return ERR_OK;
}

/* ---- both ---- */

static enum err_code follow(struct funnel_follower *f, const struct funnel_view *view,
                            struct funnel_entries entries, struct funnel_shown *ret,
                            struct err *err)
{
    return f->is_any ? follow_any(f, view, entries, ret, err)
                     : follow_in_order(f, view, entries, ret, err);
}

enum err_code funnel_follow(struct funnel_follower *follower, const struct funnel_view *view,
                            struct funnel_entries entries, struct funnel_shown *ret,
                            struct err *err)
{
    ret->level = 0;
    follower->furthest = 0;
    if (follower->is_entry_first) {
        size_t i = next_entry(follower, view, entries, 0);
        if (i == view->count) {
            return ERR_OK;
        }
        entries = (struct funnel_entries){view->times[i], view->times[i]};
    }
    return follow(follower, view, entries, ret, err);
}

enum err_code funnel_follow_first(struct funnel_follower *follower, const struct funnel_view *view,
                                  struct funnel_entries entries, struct funnel_shown *ret,
                                  int64_t *ret_over_ms, struct err *err)
{
    struct funnel_follower *f = follower;
    size_t i = next_entry(f, view, entries, 0);

    *ret_over_ms = INT64_MAX;
    ret->level = 0;
    if (i == view->count) {
        return ERR_OK;
    }
    int64_t start_ms = view->times[i];
    struct funnel_entries only = {start_ms, start_ms};
    bool has_end = f->rules.window_ms < (uint64_t)INT64_MAX - (uint64_t)start_ms;
    int64_t behind_ms =
        has_end ? (int64_t)((uint64_t)start_ms + f->rules.window_ms + 1) : INT64_MAX;
    struct funnel_view window = *view;
    if (has_end) {
        window.count = funnel_view_at(view, behind_ms);
    }
    if (f->is_any) {
        kernel_funnel_any(&f->rules, &window, i, ret, ret_over_ms);
    } else {
        *ret_over_ms = kernel_funnel_modes(&f->rules, &window, only, FUNNEL_GOAL_FIRST, 0).over_ms;
        ERR_TRY(follow(f, &window, only, ret, err));
    }
    *ret_over_ms = *ret_over_ms == INT64_MAX ? behind_ms : *ret_over_ms;
    return ERR_OK;
}
