/* query/session_walk.c */
#include "query/session_walk.h"

#include "query/cell_taker.h"
#include "query/saturating.h"
#include "storage/base/size.h"

static bool has_unsettled(const struct run_tasks *tasks)
{
    for (uint32_t t = 0; t < tasks->count; t++) {
        const char *slot = (const char *)tasks->slots + (size_t)t * tasks->slot_bytes;
        if (((const struct session_slot *)(const void *)slot)->is_unsettled) {
            return true;
        }
    }
    return false;
}

enum err_code session_walk_all(struct query_run_ctx *run, struct walk_spec *spec,
                               const struct session_rule *rule, struct session_walk *walk,
                               walk_fn fn, size_t slot_bytes, struct run_tasks *ret,
                               struct err *err)
{
    const struct bound_query *query = run->query;
    /* Without a cap, one pause tells: what began before the range is not counted, however long it is. */
    bool has_cap = rule->cap_ms != SESSION_NO_CAP;
    uint64_t back_ms =
        span_add_saturating(has_cap ? rule->cap_ms : 0, span_add_saturating(rule->idle_ms, 1));
    struct scan_want *wants = NULL;

    ERR_TRY(ARENA_NEW(run->arena, query->selector_count, &wants, err));
    spec->wants = wants;
    spec->want_count = query->selector_count;
    *walk = (struct session_walk){.rule = rule, .from_ms = query->from_ms};
    while (true) {
        walk->seen_ms =
            query->from_ms == INT64_MIN ? INT64_MIN : ms_sub_saturating(query->from_ms, back_ms);
        if (walk->seen_ms <= run->snapshot->time_min_ms) {
            walk->seen_ms = INT64_MIN; /* that is all there is */
        }
        for (uint32_t i = 0; i < query->selector_count; i++) {
            wants[i] = (struct scan_want){i, walk->seen_ms,
                                          query->to_ms == INT64_MAX
                                              ? INT64_MAX
                                              : ms_add_saturating(query->to_ms, rule->cap_ms)};
        }
        ERR_TRY(walk_all(run, spec, fn, slot_bytes, ret, err));
        if (!has_unsettled(ret)) {
            return ERR_OK;
        }
        ASSERT(walk->seen_ms != INT64_MIN);
        run_tasks_free(ret);
        cell_takers_free(run);
        back_ms = back_ms > UINT64_MAX / 16 ? UINT64_MAX : back_ms * 16;
    }
}

enum err_code session_rule_of(const struct bound_query *query, const struct session_spec *spec,
                              struct civil_grid *day, struct session_rule *ret, struct err *err)
{
    *ret = (struct session_rule){.idle_ms = spec->idle_ms, .cap_ms = spec->cap_ms};
    if (!spec->is_cut_at_midnight) {
        return ERR_OK;
    }
    ERR_TRY(civil_grid_init(query->zone, CIVIL_DAY, 1, CIVIL_MONDAY, day, err));
    ret->day = day;
    return ERR_OK;
}
