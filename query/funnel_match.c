/* query/funnel_match.c */
#include "query/funnel_match.h"

void funnel_matching_init(struct funnel_matching *m, const uint64_t *masks, size_t count,
                          size_t skip, uint64_t steps)
{
    uint32_t enough = (uint32_t)__builtin_popcountll(steps);
    uint8_t candidates[QUERY_STEPS_MAX] = {0};
    uint64_t open = steps; /* steps with fewer than `enough` candidates */

    m->event_count = 0;
    for (size_t i = 0; i < count && open != 0; i++) {
        uint64_t mask = masks[i] & steps;
        if ((mask & open) == 0 || i == skip) {
            continue;
        }
        m->events[m->event_count] = mask;
        m->step_of[m->event_count] = FUNNEL_NOBODY;
        m->event_count++;
        for (uint64_t bits = mask & open; bits != 0; bits &= bits - 1) {
            uint32_t step = (uint32_t)__builtin_ctzll(bits);
            candidates[step]++;
            if (candidates[step] == enough) {
                open &= ~(UINT64_C(1) << step);
            }
        }
    }
}

/* `visited` are steps that were asked to move already. Recursion is at most one level per step. */
static bool augment(struct funnel_matching *m, uint32_t step, uint64_t *visited)
{
    for (uint32_t e = 0; e < m->event_count; e++) {
        if ((m->events[e] >> step & 1) != 0 && m->step_of[e] == FUNNEL_NOBODY) {
            m->step_of[e] = (uint8_t)step;
            return true;
        }
    }
    for (uint32_t e = 0; e < m->event_count; e++) {
        uint32_t holder = m->step_of[e];
        if ((m->events[e] >> step & 1) == 0 || (*visited >> holder & 1) != 0) {
            continue;
        }
        *visited |= UINT64_C(1) << holder;
        if (augment(m, holder, visited)) {
            m->step_of[e] = (uint8_t)step;
            return true;
        }
    }
    return false;
}

bool funnel_matching_add(struct funnel_matching *m, uint32_t step)
{
    uint64_t visited = UINT64_C(1) << step;
    return augment(m, step, &visited);
}

void funnel_matching_drop(struct funnel_matching *m, uint32_t step)
{
    for (uint32_t e = 0; e < m->event_count; e++) {
        if (m->step_of[e] == step) {
            m->step_of[e] = FUNNEL_NOBODY;
        }
    }
}

bool funnel_match(const uint64_t *masks, size_t count, size_t skip, uint64_t steps)
{
    struct funnel_matching m;

    funnel_matching_init(&m, masks, count, skip, steps);
    for (uint64_t bits = steps; bits != 0; bits &= bits - 1) {
        if (!funnel_matching_add(&m, (uint32_t)__builtin_ctzll(bits))) {
            return false;
        }
    }
    return true;
}

/* Give event `e` a step, moving the events that hold its steps. */
static bool place_event(const uint64_t *masks, size_t e, uint64_t steps, size_t *event_of,
                        uint64_t *visited)
{
    for (uint64_t bits = masks[e] & steps & ~*visited; bits != 0; bits &= bits - 1) {
        uint32_t step = (uint32_t)__builtin_ctzll(bits);
        if ((*visited >> step & 1) != 0) {
            continue;
        }
        *visited |= UINT64_C(1) << step;
        if (event_of[step] == SIZE_MAX ||
            place_event(masks, event_of[step], steps, event_of, visited)) {
            event_of[step] = e;
            return true;
        }
    }
    return false;
}

bool funnel_match_all_events(const uint64_t *masks, size_t count, uint64_t which, uint64_t steps)
{
    size_t event_of[QUERY_STEPS_MAX];

    memset(event_of, 0xff, sizeof(event_of)); /* SIZE_MAX: free */
    for (size_t e = 0; e < count; e++) {
        uint64_t visited = 0;
        if ((masks[e] & which) != 0 && !place_event(masks, e, steps, event_of, &visited)) {
            return false;
        }
    }
    return true;
}
