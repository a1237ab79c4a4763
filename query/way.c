/* query/way.c - the verbs' own decisions, asked for without running them. */
#include "query/way.h"

#include "query/habit_bits.h"
#include "query/index_sets.h"
#include "query/retention_int.h"
#include "query/trend_int.h"

static enum err_code way_of_trend(struct query_run_ctx *run, struct str *ret, struct err *err)
{
    struct trend_plan plan = {0};
    uint32_t indexed = 0;
    uint32_t split = 0;
    ERR_TRY(trend_plan_make(run, &plan, err));
    for (uint32_t l = 0; l < plan.lane_count; l++) {
        indexed += plan.lanes[l].is_indexed;
        split += plan.lanes[l].is_split;
    }
    if (indexed == 0) {
        *ret = STR("rows");
    } else if (split > 0) {
        *ret = STR("stored sets, and what hardly changes within a subject");
    } else if (indexed == plan.lane_count) {
        *ret = STR("stored sets");
    } else {
        return arena_printf(run->arena, ret, err,
                            "stored sets for %u of %u measures, rows for the others", indexed,
                            plan.lane_count);
    }
    return ERR_OK;
}

static enum err_code way_of_retention(struct query_run_ctx *run, struct str *ret, struct err *err)
{
    struct retention_plan *plan = NULL;
    ERR_TRY(retention_plan_make(run, &plan, err));
    *ret = plan == NULL                        ? STR("no period has passed: nothing is read")
           : retention_index_serves(run, plan) ? STR("stored sets")
                                               : STR("journeys");
    return ERR_OK;
}

/* Tests of a segment that stored sets answer, and all. */
static void count_tests(const struct query_run_ctx *run, const struct cond *cond, uint32_t *indexed,
                        uint32_t *all)
{
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        count_tests(run, cond->kids[k], indexed, all);
    }
    if (cond->kind == COND_DID || cond->kind == COND_MEASURE) {
        *all += 1;
        *indexed +=
            cond->kind == COND_DID && index_serves(run, &run->query->selectors[cond->selector]);
    }
}

static enum err_code way_of_segment(struct query_run_ctx *run, struct str *ret, struct err *err)
{
    uint32_t indexed = 0;
    uint32_t all = 0;
    if (run->query->per != NULL) {
        *ret = STR("journeys");
        return ERR_OK;
    }
    count_tests(run, run->query->segment.cond, &indexed, &all);
    return arena_printf(run->arena, ret, err, "stored sets for %u of %u tests of events", indexed,
                        all);
}

enum err_code way_of(struct query_run_ctx *run, struct str *ret, struct err *err)
{
    if (run->query->is_why) {
        *ret = run->query->per == NULL
                   ? STR("the journey of one user, and again without each rule that ended it")
                   : STR("the journey of one value, and again without each rule that ended it");
        return ERR_OK;
    }
    switch (run->query->verb) {
    case VERB_TREND:
    case VERB_DISTINCT: return way_of_trend(run, ret, err);
    case VERB_RETENTION: return way_of_retention(run, ret, err);
    case VERB_SEGMENT: return way_of_segment(run, ret, err);
    case VERB_FUNNEL:
        *ret = run->query->funnel.is_plain ? STR("journeys, the plain funnel")
                                           : STR("journeys, the funnel with rules");
        return ERR_OK;
    case VERB_LIFECYCLE:
    case VERB_STICKINESS:
        *ret = habit_bits_serve(run) ? STR("stored sets") : STR("journeys");
        return ERR_OK;
    case VERB_CHURN:
        *ret = churn_bits_serve(run) ? STR("stored sets") : STR("journeys");
        return ERR_OK;
    case VERB_EVENTS:
    case VERB_TIMELINE: *ret = STR("rows"); return ERR_OK;
    case VERB_SHOW_EVENTS:
    case VERB_SHOW_PROPERTIES:
    case VERB_SHOW_VALUES:
    case VERB_SHOW_SEGMENTS:
    case VERB_SHOW_COHORTS:
    case VERB_SHOW_METRICS:
    case VERB_SHOW_PROFILES:
    case VERB_DROP_COHORT: *ret = STR("catalogue"); return ERR_OK;
    case VERB_SEQUENCE:
    case VERB_SESSIONS:
    case VERB_CONDITIONS:
    case VERB_PATHS:
    case VERB_ATTRIBUTION:
    case VERB_ABSENCE:
    case VERB_INTERVALS:
    case VERB_LTV: break;
    }
    *ret = STR("journeys");
    return ERR_OK;
}
