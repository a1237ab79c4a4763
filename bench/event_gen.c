/* bench/event_gen.c - who comes on which day, and in which order the events arrive.
 *
 * Each day gets its share of the events (weekdays differ, the whole grows). First come the people who
 * join that day; then known people are drawn, each as likely as his keenness times the decay of his
 * age (a power law: retention curves fall fast, then slowly), until the day has its events.
 *
 * Events of a day wait in a pool. Those that arrive before the day's end are sorted by arrival (a
 * radix sort, stable) and leave; the rest waits for the next day.
 */
#include "bench/event_gen_int.h"

#include "storage/base/hash.h"
#include "storage/base/size.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DELAY_MEAN_S  20
#define DELAY_MAX_MS  300000
#define LATE_MAX_MS   (2 * GEN_DAY_MS)
#define ROWS_PER_CALL 8192u
#define RADIX_BITS    11
#define RADIX_PASSES  3 /* 33 bits of milliseconds: 99 days */

struct gen_opts gen_opts_default(void)
{
    return (struct gen_opts){
        .events = 1000000,
        .users = 30000,
        .days = 90,
        .seed = 1,
        .begin_s = 1717200000, /* 2024-06-01 */
        .dups_per_one = 0.003,
        .late_per_one = 0.005,
    };
}

/* Three in ten were there before; a third of the others never comes back after two days. */
static void people_init(struct event_gen *gen)
{
    for (uint32_t u = 0; u < gen->opts.users; u++) {
        struct rng rng = rng_init(gen->opts.seed * 1000003 + u);
        struct gen_person *person = &gen->people[u];
        double keen = pow(rng_unit(&rng) + 1e-5, -0.55);
        double days = gen->opts.days;
        person->weight = (float)fmin(keen, 60);
        if (rng_unit(&rng) < 0.3) {
            person->joined = -1 - (int32_t)rng_below(&rng, 365);
            person->left = (int32_t)(rng_unit(&rng) * days * 1.6);
            continue;
        }
        person->joined = (int32_t)rng_below(&rng, gen->opts.days);
        double life = -log(1 - rng_unit(&rng));
        life *= rng_unit(&rng) < 0.35 ? 2 : 10 + 12 * keen;
        person->left = person->joined + (int32_t)fmin(life, 1e6);
    }
}

static void day_shares_init(struct event_gen *gen)
{
    /* 2024-06-01, the default first day, is a Saturday. */
    static const double WEEKDAYS[7] = {1.12, 1.08, 0.95, 0.94, 0.96, 0.98, 1.05};
    double sum = 0;
    for (uint32_t day = 0; day < gen->opts.days; day++) {
        sum += WEEKDAYS[day % 7] * (1 + 0.25 * day / gen->opts.days);
        gen->day_shares[day] = sum;
    }
    for (uint32_t day = 0; day < gen->opts.days; day++) {
        gen->day_shares[day] /= sum;
    }
}

enum err_code event_gen_create(const struct gen_opts *opts, struct event_gen **ret, struct err *err)
{
    CLEANUP(event_gen_freep) struct event_gen *gen = NULL;
    if (opts->users == 0 || opts->users > GEN_USERS_MAX || opts->days == 0 ||
        opts->days > GEN_DAYS_MAX) {
        return err_set(err, ERR_INVALID, "%u users in %u days: allowed are 1 to %u and 1 to %u",
                       opts->users, opts->days, GEN_USERS_MAX, GEN_DAYS_MAX);
    }
    gen = calloc(1, sizeof(*gen));
    if (gen == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: the generator");
    }
    gen->opts = *opts;
    gen->people = calloc(opts->users, sizeof(*gen->people));
    gen->weight_sums = calloc(opts->users, sizeof(*gen->weight_sums));
    gen->visitors = calloc(opts->users, sizeof(*gen->visitors));
    gen->day_shares = calloc(opts->days, sizeof(*gen->day_shares));
    if (gen->people == NULL || gen->weight_sums == NULL || gen->visitors == NULL ||
        gen->day_shares == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: %u users", opts->users);
    }
    gen->rng = rng_init(opts->seed);
    gen->delays_rng = rng_init(opts->seed + 0xa11ce);
    gen->dups_rng = rng_init(opts->seed + 0xd0b1e);
    gen_values_init(gen);
    people_init(gen);
    day_shares_init(gen);
    *ret = TAKE(gen);
    return ERR_OK;
}

void event_gen_free(struct event_gen *gen)
{
    if (gen != NULL) {
        free(gen->people);
        free(gen->weight_sums);
        free(gen->visitors);
        free(gen->day_shares);
        free(gen->pool);
        free(gen->rows);
        free(gen);
    }
}

/* Room for `more` further events; false without memory. */
static bool events_reserve(struct gen_event **events, size_t count, size_t *cap, size_t more)
{
    if (*cap - count >= more) {
        return true;
    }
    size_t want = MAX_OF(*cap * 2, count + more);
    want = MAX_OF(want, 65536);
    size_t bytes = 0;
    struct gen_event *grown =
        size_mul(want, sizeof(**events), &bytes) ? realloc(*events, bytes) : NULL;
    if (grown == NULL) {
        return false;
    }
    *events = grown;
    *cap = want;
    return true;
}

/* Most events take seconds, a few up to two days. */
static int64_t arrival_delay_ms(struct event_gen *gen)
{
    if (rng_unit(&gen->delays_rng) < gen->opts.late_per_one) {
        return (int64_t)rng_below(&gen->delays_rng, LATE_MAX_MS);
    }
    uint64_t delay_ms = gen_quantile(&gen->exponential, rng_next(&gen->delays_rng)) * DELAY_MEAN_S;
    return (int64_t)MIN_OF(delay_ms, DELAY_MAX_MS);
}

bool gen_emit(struct event_gen *gen, const struct gen_event *event)
{
    int64_t end_ms = gen->opts.begin_s * 1000 + (int64_t)gen->opts.days * GEN_DAY_MS;
    if (gen->made >= gen->made_target || event->time_ms >= end_ms) {
        return false; /* the day is full, or the session runs over the end of the data */
    }
    if (!events_reserve(&gen->pool, gen->pool_count, &gen->pool_cap, 2)) {
        gen->is_bad = true;
        return false;
    }
    struct gen_event *row = &gen->pool[gen->pool_count++];
    *row = *event;
    row->number = gen->made++;
    row->arrival_ms = row->time_ms + arrival_delay_ms(gen);
    if (rng_unit(&gen->dups_rng) < gen->opts.dups_per_one) {
        /* The client did not hear the answer: nine in ten times it asks again within a minute. */
        uint64_t span_ms = rng_below(&gen->dups_rng, 10) == 0 ? GEN_DAY_MS : 60000;
        gen->pool[gen->pool_count] = *row;
        gen->pool[gen->pool_count++].arrival_ms += (int64_t)rng_below(&gen->dups_rng, span_ms);
    }
    return true;
}

/* Who may come today, with running sums of likelihood. */
static double visitors_collect(struct event_gen *gen)
{
    double sum = 0;
    gen->visitor_count = 0;
    for (uint32_t u = 0; u < gen->opts.users; u++) {
        const struct gen_person *person = &gen->people[u];
        if (person->joined >= (int32_t)gen->day || person->left < (int32_t)gen->day) {
            continue;
        }
        double age = (double)gen->day - person->joined;
        sum += (double)person->weight * (1 / sqrt(age) + 0.03);
        gen->weight_sums[gen->visitor_count] = sum;
        gen->visitors[gen->visitor_count++] = u;
    }
    return sum;
}

static uint32_t visitors_draw(struct event_gen *gen, double sum)
{
    double at = rng_unit(&gen->rng) * sum;
    uint32_t low = 0;
    uint32_t high = gen->visitor_count - 1; /* the first whose running sum is above `at` */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (gen->weight_sums[middle] > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return gen->visitors[low];
}

static void day_make(struct event_gen *gen)
{
    bool is_last = gen->day + 1 == gen->opts.days;
    double share = gen->day_shares[gen->day] * (double)gen->opts.events;
    gen->made_target = is_last ? gen->opts.events : MIN_OF((uint64_t)share, gen->opts.events);
    /* Newcomers take at most half of the day; with too many people for the events, the others never
     * come, so that those who do can come again. */
    uint64_t newcomers_end = gen->made + (gen->made_target - gen->made) / 2;
    for (uint32_t u = 0; u < gen->opts.users; u++) {
        if (gen->people[u].joined != (int32_t)gen->day) {
            continue;
        }
        if (gen->made < newcomers_end) {
            gen_visit(gen, u, true);
        } else {
            gen->people[u].left = INT32_MIN;
        }
    }
    double sum = visitors_collect(gen);
    while (gen->made < gen->made_target && !gen->is_bad) {
        /* With so few people that nobody is left, anybody comes. */
        uint32_t user = gen->visitor_count > 0 ? visitors_draw(gen, sum)
                                               : (uint32_t)rng_below(&gen->rng, gen->opts.users);
        gen_visit(gen, user, false);
    }
}

/* Sort places by key: `places` ends in order, `spare` is as long. */
static void radix_sort(const uint64_t *keys, uint32_t *places, uint32_t *spare, size_t count)
{
    for (int pass = 0; pass < RADIX_PASSES; pass++) {
        size_t begins[(1 << RADIX_BITS) + 1] = {0};
        int shift = pass * RADIX_BITS;
        uint64_t mask = (1 << RADIX_BITS) - 1;
        for (size_t i = 0; i < count; i++) {
            begins[((keys[i] >> shift) & mask) + 1]++;
        }
        for (size_t d = 1; d <= mask; d++) {
            begins[d] += begins[d - 1];
        }
        for (size_t i = 0; i < count; i++) {
            uint32_t place = places[i];
            spare[begins[(keys[place] >> shift) & mask]++] = place;
        }
        memcpy(places, spare, count * sizeof(*places));
    }
}

/* Move what arrived before `end_ms` from the pool to the rows, in order of arrival. */
static enum err_code day_deliver(struct event_gen *gen, int64_t begin_ms, int64_t end_ms,
                                 struct err *err)
{
    size_t ready = 0;
    gen->row_count = 0;
    gen->rows_sent = 0;
    if (gen->pool_count > UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "%zu events in one day, the limit is %u; take more days",
                       gen->pool_count, UINT32_MAX);
    }
    size_t room = gen->pool_count + 1;
    uint64_t *keys = malloc(room * sizeof(*keys));
    uint32_t *places = malloc(room * sizeof(*places));
    uint32_t *spare = malloc(room * sizeof(*spare));
    bool is_fine = keys != NULL && places != NULL && spare != NULL &&
                   events_reserve(&gen->rows, 0, &gen->row_cap, gen->pool_count);
    if (is_fine) {
        for (size_t i = 0; i < gen->pool_count; i++) { /* the ready ones first, in their order */
            if (gen->pool[i].arrival_ms < end_ms) {
                keys[ready] = (uint64_t)MAX_OF(gen->pool[i].arrival_ms - begin_ms, 0);
                gen->rows[ready++] = gen->pool[i];
            } else {
                gen->pool[i - ready] = gen->pool[i];
            }
        }
        gen->pool_count -= ready;
        for (size_t i = 0; i < ready; i++) {
            places[i] = (uint32_t)i;
        }
        radix_sort(keys, places, spare, ready);
        is_fine = events_reserve(&gen->pool, gen->pool_count, &gen->pool_cap, ready);
    }
    if (is_fine &&
        ready > 0) { /* through the free end of the pool: a gather cannot be done in place */
        struct gen_event *sorted = gen->pool + gen->pool_count;
        for (size_t i = 0; i < ready; i++) {
            sorted[i] = gen->rows[places[i]];
        }
        memcpy(gen->rows, sorted, ready * sizeof(*sorted));
        gen->row_count = ready;
    }
    free(keys);
    free(places);
    free(spare);
    return is_fine ? ERR_OK : err_set(err, ERR_NOMEM, "out of memory: %zu events", gen->pool_count);
}

enum err_code event_gen_next(struct event_gen *gen, const struct gen_event **ret_rows,
                             size_t *ret_count, struct err *err)
{
    while (gen->rows_sent == gen->row_count && gen->day < gen->opts.days) {
        int64_t begin_ms = gen->opts.begin_s * 1000 + (int64_t)gen->day * GEN_DAY_MS;
        bool is_last = gen->day + 1 == gen->opts.days;
        day_make(gen);
        if (gen->is_bad) {
            return err_set(err, ERR_NOMEM, "out of memory: %zu events", gen->pool_count);
        }
        /* What is under way on the last day leaves with it. */
        ERR_TRY(day_deliver(gen, begin_ms, is_last ? INT64_MAX : begin_ms + GEN_DAY_MS, err));
        gen->day++;
    }
    size_t count = MIN_OF(gen->row_count - gen->rows_sent, ROWS_PER_CALL);
    *ret_rows = gen->rows + gen->rows_sent;
    *ret_count = count;
    gen->rows_sent += count;
    return ERR_OK;
}

uint64_t gen_device(const struct event_gen *gen, const struct gen_event *event)
{
    uint64_t device = (uint64_t)event->user * 8 + event->values[GEN_PLATFORM];
    return hash_mix(gen->opts.seed ^ (device + 0xd00d) * 0x9e3779b97f4a7c15ULL);
}

void gen_event_id(const struct event_gen *gen, const struct gen_event *event, uint64_t ret[2])
{
    uint64_t high = hash_mix(gen->opts.seed * 31 + (event->number + 1) * 0x9e3779b97f4a7c15ULL);
    uint64_t low = hash_mix(high ^ (event->number * 0x2545f4914f6cdd1dULL));
    ret[0] = (high & ~UINT64_C(0xf000)) | UINT64_C(0x4000);
    ret[1] = (low & UINT64_C(0x3fffffffffffffff)) | UINT64_C(0x8000000000000000);
}
