/* bench/event_gen_values.c - the words that events are made of, and how often each comes. */
#include "bench/event_gen_int.h"

#include "storage/base/hash.h"

#include <math.h>
#include <stdio.h>

static const char *const EVENT_NAMES[GEN_EVENT_NAMES] = {
    [GEN_PAGE_VIEW] = "page_view",
    [GEN_FEATURE_INVOKE] = "feature_invoke",
    [GEN_CLICK_BUTTON] = "click_button",
    [GEN_CLICK_BANNER] = "click_banner",
    [GEN_CLICK_TAB] = "click_tab",
    [GEN_PERF_API] = "perf_api",
    [GEN_SESSION_START] = "session_start",
    [GEN_REGISTER] = "register",
    [GEN_LOGIN] = "login",
    [GEN_PLACE_ORDER] = "place_order",
    [GEN_PAY_SUCCESS] = "pay_success",
    [GEN_PAY_FAIL] = "pay_fail",
    [GEN_PAY_REFUND] = "pay_refund",
    [GEN_TASK_SUBMIT] = "task_submit",
    [GEN_TASK_SUCCESS] = "task_success",
    [GEN_TASK_FAIL] = "task_fail",
    [GEN_QR_SCAN] = "qr_scan",
    [GEN_COUPON_RECEIVE] = "coupon_receive",
    [GEN_COUPON_USE] = "coupon_use",
    [GEN_SHARE_ACTION] = "share_action",
    [GEN_SEARCH] = "search",
    [GEN_ADD_TO_CART] = "add_to_cart",
    [GEN_VIEW_ITEM] = "view_item",
    [GEN_APP_ERROR] = "app_error",
    [GEN_PUSH_OPEN] = "push_open",
};

/* A list's values, and the exponent of the Zipf law they follow. */
static const struct {
    const char *name;
    uint32_t count;
    double zipf;
} LISTS[GEN_VALUE_LISTS] = {
    [GEN_PLATFORM] = {"platform", 5, 0},  [GEN_APP_VERSION] = {"app_version", 20, 0},
    [GEN_COUNTRY] = {"country", 30, 0},   [GEN_CITY] = {"city", 200, 0.9},
    [GEN_CHANNEL] = {"channel", 15, 0.8}, [GEN_NETWORK] = {"network", 5, 0},
    [GEN_PAGE] = {"page", 300, 0.95},     [GEN_REFERRER] = {"referrer", 50, 1.0},
    [GEN_FEATURE] = {"feature", 12, 0.7}, [GEN_ERROR_CODE] = {"error_code", 20, 0.9},
};

static const char *const PLATFORMS[] = {"h5", "mini_program", "ios", "android", "web"};
static const double PLATFORM_WEIGHTS[] = {22, 34, 18, 20, 6};
static const char *const NETWORKS[] = {"wifi", "5g", "4g", "3g", "unknown"};
static const double NETWORK_WEIGHTS[] = {48, 27, 20, 2, 3};
static const char *const COUNTRIES[] = {"CN", "US", "IN", "ID", "BR", "JP", "VN", "DE", "GB", "FR",
                                        "TH", "PH", "MY", "KR", "MX", "TR", "RU", "IT", "ES", "CA",
                                        "AU", "SG", "NL", "PL", "EG", "NG", "ZA", "AR", "CO", "SE"};
static const char *const CHANNELS[] = {"organic",    "wechat_ad", "douyin_ad",    "baidu_sem",
                                       "google_ads", "app_store", "facebook_ads", "kol",
                                       "qr_offline", "sms",       "email",        "push",
                                       "affiliate",  "partner",   "tiktok_ads"};
static const char *const FEATURES[] = {"ai_chat",   "image_edit", "doc_export",   "translate",
                                       "video_cut", "ocr_scan",   "calendar",     "team_share",
                                       "templates", "voice_note", "form_builder", "map_route"};
/* Sessions by hour of the day: a dip at night, a hump at noon, a peak in the evening. */
static const double HOUR_WEIGHTS[24] = {18, 10, 6,  4,  3,  5,  12, 25, 38, 45, 48, 50,
                                        55, 50, 45, 46, 48, 52, 58, 66, 75, 78, 62, 36};

static void pick_fill(struct gen_pick *pick, const double *weights, uint32_t count)
{
    double sum = 0;
    double running = 0;
    uint32_t slot = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += weights[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        running += weights[i];
        uint32_t end =
            i + 1 == count ? GEN_PICK_MAX : (uint32_t)lround(running / sum * GEN_PICK_MAX);
        for (; slot < end; slot++) {
            pick->slots[slot] = (uint16_t)i;
        }
    }
}

static void pick_fill_zipf(struct gen_pick *pick, uint32_t count, double exponent)
{
    double weights[300];
    ASSERT(count <= COUNT_OF(weights));
    for (uint32_t i = 0; i < count; i++) {
        weights[i] = pow(i + 1, -exponent) + 0.0004; /* the rarest still occur */
    }
    pick_fill(pick, weights, count);
}

/* The quantile function of the normal distribution, by bisection of erfc: it only fills a table. */
static double normal_quantile(double p)
{
    double low = -9;
    double high = 9;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2)) < p) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (low + high) / 2;
}

static void quantiles_init(struct event_gen *gen)
{
    for (uint32_t i = 0; i < GEN_PICK_MAX; i++) {
        double p = (i + 0.5) / GEN_PICK_MAX;
        gen->exponential.milli[i] = (uint32_t)lround(-log(1 - p) * 1000);
        gen->lognormal.milli[i] = (uint32_t)lround(exp(0.9 * normal_quantile(p)) * 1000);
    }
}

static void texts_init(struct event_gen *gen)
{
    for (uint32_t i = 0; i < 300; i++) {
        struct {
            enum gen_value_list list;
            const char *const *words;
            size_t count;
        } fixed[] = {
            {GEN_PLATFORM, PLATFORMS, COUNT_OF(PLATFORMS)},
            {GEN_NETWORK, NETWORKS, COUNT_OF(NETWORKS)},
            {GEN_COUNTRY, COUNTRIES, COUNT_OF(COUNTRIES)},
            {GEN_CHANNEL, CHANNELS, COUNT_OF(CHANNELS)},
            {GEN_FEATURE, FEATURES, COUNT_OF(FEATURES)},
        };
        for (size_t f = 0; f < COUNT_OF(fixed); f++) {
            ASSERT(fixed[f].count == LISTS[fixed[f].list].count);
            if (i < fixed[f].count) {
                snprintf(gen->texts[fixed[f].list][i], GEN_TEXT_MAX, "%s", fixed[f].words[i]);
            }
        }
        snprintf(gen->texts[GEN_APP_VERSION][i], GEN_TEXT_MAX, "3.%u.%u", i / 4, i % 4);
        snprintf(gen->texts[GEN_CITY][i], GEN_TEXT_MAX, "city_%03u", i);
        snprintf(gen->texts[GEN_PAGE][i], GEN_TEXT_MAX, "/p/%u", i);
        snprintf(gen->texts[GEN_REFERRER][i], GEN_TEXT_MAX, "https://ref%02u.example.com/", i);
        snprintf(gen->texts[GEN_ERROR_CODE][i], GEN_TEXT_MAX, "E%u", 1001 + i * 7);
    }
}

void gen_values_init(struct event_gen *gen)
{
    texts_init(gen);
    quantiles_init(gen);
    for (uint32_t list = 0; list < GEN_VALUE_LISTS; list++) {
        pick_fill_zipf(&gen->picks[list], LISTS[list].count, LISTS[list].zipf);
    }
    pick_fill(&gen->picks[GEN_PLATFORM], PLATFORM_WEIGHTS, COUNT_OF(PLATFORM_WEIGHTS));
    pick_fill(&gen->picks[GEN_NETWORK], NETWORK_WEIGHTS, COUNT_OF(NETWORK_WEIGHTS));
    pick_fill(&gen->hours, HOUR_WEIGHTS, COUNT_OF(HOUR_WEIGHTS));
    /* A city lies in one country; half of the large ones are at home, the rest anywhere. */
    for (uint32_t i = 0; i < COUNT_OF(gen->city_country); i++) {
        bool is_home = i < 12 || (i < 42 && i % 2 == 1);
        uint64_t anywhere = hash_mix(i * 7 + 3) % COUNT_OF(COUNTRIES);
        gen->city_country[i] = is_home ? 0 : (uint16_t)anywhere;
    }
}

struct str gen_event_name(enum gen_event_name name)
{
    return str_of(EVENT_NAMES[name]);
}

struct str gen_list_name(enum gen_value_list list)
{
    return str_of(LISTS[list].name);
}

uint32_t gen_list_count(enum gen_value_list list)
{
    return LISTS[list].count;
}

struct str gen_list_value(const struct event_gen *gen, enum gen_value_list list, uint32_t idx)
{
    ASSERT(idx < LISTS[list].count);
    return str_of(gen->texts[list][idx]);
}
