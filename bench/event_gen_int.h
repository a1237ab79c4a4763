/* bench/event_gen_int.h - private to the generator: its state, and the parts it is cut into.
 *
 *     event_gen.c          who comes on which day; arrival order
 *     event_gen_visit.c    what one person does in one session
 *     event_gen_values.c   value lists, distributions, names
 */
#pragma once

#include "bench/event_gen.h"

#define GEN_DAY_MS   INT64_C(86400000)
#define GEN_PICK_MAX 4096u
#define GEN_TEXT_MAX 40u

/* A discrete distribution as a table: value i fills its share of the slots. */
struct gen_pick {
    uint16_t slots[GEN_PICK_MAX];
};
/* A continuous one as its quantiles, in thousandths of its unit. */
struct gen_quantiles {
    uint32_t milli[GEN_PICK_MAX];
};

struct gen_person {
    float weight;   /* how keen: sessions per day follow it */
    int32_t joined; /* day; negative: before the data starts */
    int32_t left;   /* day, the last one */
};

struct event_gen {
    struct gen_opts opts;
    struct rng rng;        /* what people do */
    struct rng delays_rng; /* how their events travel; apart, so that --late changes no behaviour */
    struct rng dups_rng;   /* and --dups removes rows without changing any other */
    struct gen_person *people;
    double *weight_sums; /* of the people who may come today, running */
    uint32_t *visitors;  /* who they are */
    uint32_t visitor_count;
    uint64_t made;        /* events so far */
    uint64_t made_target; /* of the days up to today */
    uint32_t day;
    double *day_shares; /* running, of all events */

    struct gen_event *pool; /* not sent yet; [0, pool_count) */
    size_t pool_count, pool_cap;
    struct gen_event *rows; /* in order of arrival */
    size_t row_count, row_cap;
    size_t rows_sent;
    bool is_bad; /* out of memory */

    struct gen_pick picks[GEN_VALUE_LISTS];
    struct gen_pick hours;
    struct gen_quantiles exponential; /* mean 1 */
    struct gen_quantiles lognormal;   /* median 1, sigma 0.9 */
    char texts[GEN_VALUE_LISTS][300][GEN_TEXT_MAX];
    uint16_t city_country[200];
};

/* event_gen_values.c */
void gen_values_init(struct event_gen *gen);
static inline uint16_t gen_pick(const struct gen_pick *pick, uint64_t random)
{
    return pick->slots[random % GEN_PICK_MAX];
}
static inline uint64_t gen_quantile(const struct gen_quantiles *quantiles, uint64_t random)
{
    return quantiles->milli[random % GEN_PICK_MAX];
}

/* event_gen.c: takes the event, gives it its number and its arrival, perhaps twice. False when all
 * events of the day are made. */
bool gen_emit(struct event_gen *gen, const struct gen_event *event);

/* event_gen_visit.c */
void gen_visit(struct event_gen *gen, uint32_t user, bool is_new);
