/* bench/event_gen.h - made-up user behaviour that looks like the real thing, the same for the same
 * arguments.
 *
 * People join, come back ever more rarely and leave; a session opens, looks at pages, and every now
 * and then uses a feature, searches, or buys; buyers drop off at each step. Values follow Zipf's
 * law. A few events arrive up to two days late, a few are sent twice. Rows leave in the order in
 * which they would reach a server.
 *
 * Memory: one day of events (64 bytes each) and 20 bytes per user.
 * Thread: one owner.
 */
#pragma once

#include "storage/base/rng.h"
#include "storage/base/str.h"

enum gen_event_name {
    GEN_PAGE_VIEW,
    GEN_FEATURE_INVOKE,
    GEN_CLICK_BUTTON,
    GEN_CLICK_BANNER,
    GEN_CLICK_TAB,
    GEN_PERF_API,
    GEN_SESSION_START,
    GEN_REGISTER,
    GEN_LOGIN,
    GEN_PLACE_ORDER,
    GEN_PAY_SUCCESS,
    GEN_PAY_FAIL,
    GEN_PAY_REFUND,
    GEN_TASK_SUBMIT,
    GEN_TASK_SUCCESS,
    GEN_TASK_FAIL,
    GEN_QR_SCAN,
    GEN_COUPON_RECEIVE,
    GEN_COUPON_USE,
    GEN_SHARE_ACTION,
    GEN_SEARCH,
    GEN_ADD_TO_CART,
    GEN_VIEW_ITEM,
    GEN_APP_ERROR,
    GEN_PUSH_OPEN,
    GEN_EVENT_NAMES,
};

/* The properties whose values come from a fixed list. */
enum gen_value_list {
    GEN_PLATFORM,
    GEN_APP_VERSION,
    GEN_COUNTRY,
    GEN_CITY,
    GEN_CHANNEL,
    GEN_NETWORK,
    GEN_PAGE,
    GEN_REFERRER,
    GEN_FEATURE,
    GEN_ERROR_CODE,
    GEN_VALUE_LISTS,
};
#define GEN_NO_VALUE UINT16_MAX

struct gen_opts {
    uint64_t events; /* different ones; re-sent rows come on top */
    uint32_t users;
    uint32_t days;
    uint64_t seed;
    int64_t begin_s;     /* the first day's midnight, UTC */
    double dups_per_one; /* share of events that are sent again */
    double late_per_one; /* share of events that arrive up to two days late */
};
#define GEN_USERS_MAX UINT32_C(1000000000)
#define GEN_DAYS_MAX  4000u

struct gen_event {
    int64_t time_ms;
    int64_t arrival_ms;
    uint64_t number; /* of the event, from 0; its event_id follows from it */
    uint64_t session;
    uint32_t user;
    uint32_t latency_ms;              /* 0: none */
    uint32_t amount_cents;            /* 0: none */
    uint16_t values[GEN_VALUE_LISTS]; /* places in the lists; GEN_NO_VALUE: none */
    uint8_t name;                     /* enum gen_event_name */
};

struct event_gen;

struct gen_opts gen_opts_default(void);
enum err_code event_gen_create(const struct gen_opts *opts, struct event_gen **ret,
                               struct err *err) ERR_MUST_CHECK;
void event_gen_free(struct event_gen *gen);
static inline void event_gen_freep(struct event_gen **gen)
{
    event_gen_free(*gen);
}

/* The next rows in arrival order, some thousands at a time; *ret_count 0 at the end. They live until
 * the next call. */
enum err_code event_gen_next(struct event_gen *gen, const struct gen_event **ret_rows,
                             size_t *ret_count, struct err *err) ERR_MUST_CHECK;

/* Texts. */
struct str gen_event_name(enum gen_event_name name);
struct str gen_list_name(enum gen_value_list list);
uint32_t gen_list_count(enum gen_value_list list);
struct str gen_list_value(const struct event_gen *gen, enum gen_value_list list, uint32_t idx);
uint64_t gen_device(const struct event_gen *gen, const struct gen_event *event);
/* 128 bits with the marks of a UUID version 4, high half first. */
void gen_event_id(const struct event_gen *gen, const struct gen_event *event, uint64_t ret[2]);
