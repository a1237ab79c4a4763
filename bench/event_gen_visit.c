/* bench/event_gen_visit.c - one session of one person: what happens on the way, and where it ends.
 *
 *     session_start
 *        new: register (coupon_receive)      known: login | push_open | nothing
 *        then pages, a handful on average, each perhaps followed by
 *            feature_invoke -> task_submit -> task_success | task_fail -> order
 *            view_item -> add_to_cart -> order       click_* search share qr_scan coupon error refund
 *     order: place_order (coupon_use) -> pay_success | pay_fail | nothing
 *
 * Every step returns false once the day has all its events; the session then just stops.
 */
#include "bench/event_gen_int.h"

#include "storage/base/hash.h"

struct visit {
    struct event_gen *gen;
    struct gen_event event; /* the one being made; its clock runs on */
    uint32_t buys_percent;  /* 60 for most, 300 for the few who buy a lot */
    uint16_t feature;       /* the one in use */
};

static uint64_t visit_random(struct visit *visit)
{
    return rng_next(&visit->gen->rng);
}

static bool visit_chance(struct visit *visit, uint32_t per_thousand)
{
    return visit_random(visit) % 1000 < per_thousand;
}

/* Time passes: at least 150 ms, `mean_s` seconds on average. */
static void visit_wait(struct visit *visit, uint32_t mean_s)
{
    visit->event.time_ms +=
        150 + (int64_t)(gen_quantile(&visit->gen->exponential, visit_random(visit)) * mean_s);
}

static uint64_t visit_lognormal(struct visit *visit)
{
    return gen_quantile(&visit->gen->lognormal, visit_random(visit));
}

static bool visit_event(struct visit *visit, enum gen_event_name name)
{
    visit->event.name = (uint8_t)name;
    return gen_emit(visit->gen, &visit->event);
}

/* An event after a pause, with nothing beside what all events carry. */
static bool visit_step(struct visit *visit, enum gen_event_name name, uint32_t mean_s)
{
    visit_wait(visit, mean_s);
    return visit_event(visit, name);
}

static bool visit_step_with(struct visit *visit, enum gen_event_name name, uint32_t mean_s,
                            enum gen_value_list list, uint16_t value)
{
    visit->event.values[list] = value;
    bool is_on = visit_step(visit, name, mean_s);
    visit->event.values[list] = GEN_NO_VALUE;
    return is_on;
}

static uint16_t visit_pick(struct visit *visit, enum gen_value_list list)
{
    return gen_pick(&visit->gen->picks[list], visit_random(visit));
}

static bool visit_order(struct visit *visit)
{
    uint64_t cents = 300 + visit_lognormal(visit) * 7 / 2;
    visit->event.amount_cents = (uint32_t)cents;
    bool is_on = visit_step(visit, GEN_PLACE_ORDER, 25);
    visit->event.amount_cents = 0;
    if (is_on && visit_chance(visit, 180)) {
        is_on = visit_step(visit, GEN_COUPON_USE, 6);
        cents = cents * 85 / 100;
    }
    if (!is_on) {
        return false;
    }
    uint64_t fate = visit_random(visit) % 1000;
    if (visit_chance(visit, 40)) { /* pays much later */
        visit->event.time_ms += (int64_t)rng_below(&visit->gen->rng, 36 * 3600 * 1000);
    }
    visit->event.amount_cents = (uint32_t)cents;
    if (fate < 710) {
        is_on = visit_step(visit, GEN_PAY_SUCCESS, 20);
    } else if (fate < 790) {
        is_on = visit_step_with(visit, GEN_PAY_FAIL, 20, GEN_ERROR_CODE,
                                visit_pick(visit, GEN_ERROR_CODE));
    }
    visit->event.amount_cents = 0;
    return is_on;
}

/* Use the feature at hand; a third of the uses are tasks that end well or not, some of those sell. */
static bool visit_feature(struct visit *visit)
{
    visit->event.values[GEN_FEATURE] = visit->feature;
    bool is_on = visit_step(visit, GEN_FEATURE_INVOKE, 7);
    if (is_on && visit_chance(visit, 360)) {
        is_on = visit_step(visit, GEN_TASK_SUBMIT, 9);
        visit->event.time_ms += 300 + (int64_t)(visit_lognormal(visit) * 3 / 2);
        if (visit_chance(visit, 140)) {
            is_on = is_on && visit_step_with(visit, GEN_TASK_FAIL, 0, GEN_ERROR_CODE,
                                             visit_pick(visit, GEN_ERROR_CODE));
        } else {
            is_on = is_on && visit_event(visit, GEN_TASK_SUCCESS);
        }
        if (is_on && visit_chance(visit, 70 * visit->buys_percent / 100)) {
            is_on = visit_order(visit);
        }
    }
    visit->event.values[GEN_FEATURE] = GEN_NO_VALUE;
    if (visit_chance(visit, 200)) {
        visit->feature = visit_pick(visit, GEN_FEATURE);
    }
    return is_on;
}

static bool visit_item(struct visit *visit)
{
    if (!visit_step(visit, GEN_VIEW_ITEM, 8)) {
        return false;
    }
    if (!visit_chance(visit, 300)) {
        return true;
    }
    if (!visit_step(visit, GEN_ADD_TO_CART, 12)) {
        return false;
    }
    return !visit_chance(visit, 140 * visit->buys_percent / 100) || visit_order(visit);
}

static bool visit_error(struct visit *visit)
{
    bool in_feature = visit_chance(visit, 500);
    visit->event.values[GEN_FEATURE] = in_feature ? visit->feature : GEN_NO_VALUE;
    bool is_on =
        visit_step_with(visit, GEN_APP_ERROR, 1, GEN_ERROR_CODE, visit_pick(visit, GEN_ERROR_CODE));
    visit->event.values[GEN_FEATURE] = GEN_NO_VALUE;
    return is_on;
}

static bool visit_refund(struct visit *visit)
{
    visit->event.amount_cents = (uint32_t)(300 + visit_lognormal(visit) * 3);
    bool is_on = visit_step(visit, GEN_PAY_REFUND, 30);
    visit->event.amount_cents = 0;
    return is_on;
}

/* The call behind a page: it runs beside, so the person's clock does not. */
static bool visit_perf(struct visit *visit)
{
    struct gen_event event = visit->event;
    uint64_t latency_ms = visit_lognormal(visit) * 95 / 1000;
    event.name = GEN_PERF_API;
    event.time_ms += (int64_t)(visit_random(visit) % 900);
    event.latency_ms = (uint32_t)(latency_ms < 1 ? 1 : latency_ms > 60000 ? 60000 : latency_ms);
    return gen_emit(visit->gen, &event);
}

/* What follows a page view, in thousandths; a third of them is followed by nothing. */
static bool visit_action(struct visit *visit)
{
    uint64_t what = visit_random(visit) % 1000;
    if (what < 230) {
        return visit_feature(visit);
    }
    if (what < 330) {
        return visit_step_with(visit, GEN_CLICK_BUTTON, 4, GEN_FEATURE,
                               visit_pick(visit, GEN_FEATURE));
    }
    if (what < 410) {
        return visit_item(visit);
    }
    if (what >= 634) {
        return true;
    }
    static const struct {
        uint32_t end;
        enum gen_event_name name;
        uint32_t mean_s;
    } SIMPLE[] = {
        {465, GEN_CLICK_BANNER, 4}, {530, GEN_CLICK_TAB, 3}, {580, GEN_SEARCH, 8},
        {595, GEN_SHARE_ACTION, 6}, {607, GEN_QR_SCAN, 6},   {620, GEN_COUPON_RECEIVE, 6},
    };
    for (size_t i = 0; i < COUNT_OF(SIMPLE); i++) {
        if (what < SIMPLE[i].end) {
            return visit_step(visit, SIMPLE[i].name, SIMPLE[i].mean_s);
        }
    }
    return what < 632 ? visit_error(visit) : visit_refund(visit);
}

static bool visit_greeting(struct visit *visit, bool is_new)
{
    if (!visit_event(visit, GEN_SESSION_START)) {
        return false;
    }
    if (is_new) {
        return visit_step(visit, GEN_REGISTER, 20) &&
               (!visit_chance(visit, 350) || visit_step(visit, GEN_COUPON_RECEIVE, 5));
    }
    if (visit_chance(visit, 180)) {
        return visit_step(visit, GEN_LOGIN, 3);
    }
    return !visit_chance(visit, 60) || visit_step(visit, GEN_PUSH_OPEN, 1);
}

/* What a person keeps from visit to visit follows from who they are; now and then they are elsewhere. */
static void visit_place(struct visit *visit, uint32_t user)
{
    struct event_gen *gen = visit->gen;
    uint16_t *values = visit->event.values;
    uint64_t self = hash_mix(gen->opts.seed * 0x9e3779b97f4a7c15ULL + user + 1);
    uint64_t self2 = hash_mix(self + 1);
    uint64_t random = visit_random(visit);
    visit->event.session = hash_mix(random ^ self);
    values[GEN_PLATFORM] =
        gen_pick(&gen->picks[GEN_PLATFORM], random % 16 == 0 ? random >> 8 : self);
    values[GEN_CITY] =
        gen_pick(&gen->picks[GEN_CITY], (random >> 4) % 64 == 0 ? random >> 20 : self >> 12);
    values[GEN_COUNTRY] = gen->city_country[values[GEN_CITY]];
    values[GEN_CHANNEL] =
        gen_pick(&gen->picks[GEN_CHANNEL], (random >> 10) % 4 == 0 ? random >> 30 : self >> 24);
    values[GEN_NETWORK] = gen_pick(&gen->picks[GEN_NETWORK], random >> 42);
    values[GEN_REFERRER] = gen_pick(&gen->picks[GEN_REFERRER], self2 ^ (random >> 13));
    if (values[GEN_REFERRER] == 0) { /* the likeliest referrer is none */
        values[GEN_REFERRER] = GEN_NO_VALUE;
    }
    /* Versions come out evenly over the days; people are up to four behind. */
    int64_t version = (int64_t)gen->day * 20 / (int64_t)(gen->opts.days + 12) + 5 -
                      (int64_t)(self2 >> 20) % 5 - ((random >> 54) % 8 == 0);
    values[GEN_APP_VERSION] = (uint16_t)(version < 0 ? 0 : version > 19 ? 19 : version);
    visit->buys_percent = self2 % 1000 < 180 ? 300 : 60;
    visit->feature = gen_pick(&gen->picks[GEN_FEATURE], random ^ self);
}

void gen_visit(struct event_gen *gen, uint32_t user, bool is_new)
{
    struct visit visit = {.gen = gen, .event = {.user = user}};
    for (uint32_t i = 0; i < GEN_VALUE_LISTS; i++) {
        visit.event.values[i] = GEN_NO_VALUE;
    }
    visit_place(&visit, user);
    visit.event.time_ms = (gen->opts.begin_s * 1000) + (int64_t)gen->day * GEN_DAY_MS +
                          (int64_t)gen_pick(&gen->hours, visit_random(&visit)) * 3600000 +
                          (int64_t)rng_below(&gen->rng, 3600000);
    visit.event.values[GEN_PAGE] = visit_pick(&visit, GEN_PAGE);
    bool is_on = visit_greeting(&visit, is_new);
    uint64_t pages = 1 + gen_quantile(&gen->exponential, visit_random(&visit)) * 52 / 10000;
    for (uint64_t i = 0; is_on && i < pages + (is_new ? 2 : 0); i++) {
        visit.event.values[GEN_PAGE] = visit_pick(&visit, GEN_PAGE);
        is_on = visit_step(&visit, GEN_PAGE_VIEW, 14) &&
                (!visit_chance(&visit, 160) || visit_perf(&visit)) && visit_action(&visit);
    }
}
