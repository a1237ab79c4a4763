/* query/funnel_correlate.c */
#include "query/funnel_correlate.h"

#include "query/answer.h"
#include "query/answer_journeys.h"
#include "storage/base/size.h"

#include <math.h>
#include <stdlib.h>

#define ODDS_COLS      8u /* behind the value */
#define EXPECTED_SMALL 5.0

/* ---- a task ---- */

static enum err_code counts_fit(struct funnel_correlation *c, uint32_t number, struct arena *arena,
                                struct err *err)
{
    uint64_t **const arrays[] = {&c->with[0], &c->with[1], &c->seen_by};
    if (number < c->cap) {
        return ERR_OK;
    }
    uint32_t cap = MAX_OF(2 * c->cap, number + 16);
    if (cap < number) {
        return err_set(err, ERR_LIMIT, "more than %u values to correlate", c->cap);
    }
    for (size_t i = 0; i < COUNT_OF(arrays); i++) {
        uint64_t *more = NULL;
        ERR_TRY(ARENA_NEW(arena, cap, &more, err));
        if (c->cap > 0) {
            memcpy(more, *arrays[i], c->cap * sizeof(*more));
        }
        *arrays[i] = more;
    }
    c->cap = cap;
    return ERR_OK;
}

enum err_code funnel_correlation_add(struct funnel_correlation *correlation,
                                     const struct bound_query *query,
                                     const struct funnel_desk *desk,
                                     const struct funnel_shown *shown, struct arena *arena,
                                     struct err *err)
{
    struct funnel_correlation *c = correlation;
    const struct funnel *funnel = &query->funnel;
    uint64_t steps = ~UINT64_C(0) >> (64 - funnel->step_count);
    uint64_t any = UINT64_C(1) << funnel->correlate_any;
    bool is_converted = (shown->filled >> (funnel->step_count - 1) & 1) != 0;
    bool is_about_events = funnel->correlate->field.kind == FIELD_EVENT_NAME;
    struct funnel_view view = {desk->times, desk->masks, desk->count};

    c->subjects[is_converted]++;
    uint64_t subject = c->subjects[0] + c->subjects[1];
    for (size_t i = funnel_view_at(&view, shown->times[0]); i < desk->count; i++) {
        bool is_over =
            is_converted ? desk->times[i] > shown->times[funnel->step_count - 1]
                         : (uint64_t)desk->times[i] - (uint64_t)shown->times[0] > funnel->window_ms;
        if (is_over) {
            break;
        }
        if ((desk->masks[i] & any) == 0 || (is_about_events && (desk->masks[i] & steps) != 0) ||
            groups_cell(c->groups, desk->key[i], 0).kind == CELL_NULL) {
            continue;
        }
        ERR_TRY(counts_fit(c, desk->key[i], arena, err));
        if (c->seen_by[desk->key[i]] != subject) {
            c->seen_by[desk->key[i]] = subject;
            c->with[is_converted][desk->key[i]]++;
        }
    }
    return ERR_OK;
}

/* ---- statistics ---- */

static double expected_least(const struct odds *o)
{
    double converted = (double)o->converted_with + (double)o->converted_without;
    double lost = (double)o->lost_with + (double)o->lost_without;
    double with = (double)o->converted_with + (double)o->lost_with;
    double without = (double)o->converted_without + (double)o->lost_without;
    return fmin(converted, lost) * fmin(with, without) / (converted + lost);
}

bool odds_is_small(const struct odds *odds)
{
    return !(expected_least(odds) >= EXPECTED_SMALL); /* 0 / 0 as well */
}

static double log_factorial(uint64_t n)
{
    int sign = 0;
    return lgamma_r((double)n + 1, &sign);
}

/* R. A. Fisher, 1922: given the margins, tables that are no likelier than this one. */
static double fisher_p(const struct odds *o)
{
    uint64_t converted = o->converted_with + o->converted_without;
    uint64_t lost = o->lost_with + o->lost_without;
    uint64_t with = o->converted_with + o->lost_with;
    uint64_t first = with > lost ? with - lost : 0;
    uint64_t last = MIN_OF(with, converted);
    double all = log_factorial(converted) + log_factorial(lost) + log_factorial(with) +
                 log_factorial(converted + lost - with) - log_factorial(converted + lost);
    double p = 0;
    double own = all - log_factorial(o->converted_with) - log_factorial(o->converted_without) -
                 log_factorial(o->lost_with) - log_factorial(o->lost_without);

    for (uint64_t x = first; x <= last; x++) {
        double log_p = all - log_factorial(x) - log_factorial(converted - x) -
                       log_factorial(with - x) - log_factorial(lost - (with - x));
        p += log_p <= own + 1e-7 ? exp(log_p) : 0;
    }
    return fmin(p, 1);
}

static double chi_square_p(const struct odds *o)
{
    double a = (double)o->converted_with;
    double b = (double)o->converted_without;
    double c = (double)o->lost_with;
    double d = (double)o->lost_without;
    double off = a * d - b * c;
    double chi = off * off * (a + b + c + d) / ((a + b) * (c + d) * (a + c) * (b + d));
    return erfc(sqrt(chi / 2)); /* of one degree of freedom */
}

double odds_p(const struct odds *odds)
{
    return odds_is_small(odds) ? fisher_p(odds) : chi_square_p(odds);
}

static int by_p(const void *a, const void *b, void *ctx)
{
    const double *p = ctx;
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    if (p[x] != p[y]) {
        return p[x] < p[y] ? -1 : 1;
    }
    return (x > y) - (x < y);
}

void odds_adjust(const double *p, size_t count, size_t *order, double *q)
{
    union { /* qsort_r wants a pointer without const; by_p does not write through it */
        const double *in;
        void *out;
    } arg = {.in = p};
    double least = 1;

    for (size_t i = 0; i < count; i++) {
        order[i] = i;
    }
    qsort_r(order, count, sizeof(*order), by_p, arg.out);
    for (size_t rank = count; rank > 0; rank--) {
        size_t i = order[rank - 1];
        least = fmin(least, p[i] * (double)count / (double)rank);
        q[i] = least;
    }
}

/* ---- the table ---- */

struct correlating {
    struct query_run_ctx *run;
    struct bound_query query; /* with the value as its key */
    struct groups *groups;    /* of all tasks */
    struct funnel_correlation sum;
    struct answer_group *picked; /* values in canonical order */
    double *p, *q;
    uint32_t count;
};

static enum err_code merge_task(struct correlating *c, const struct funnel_correlation *from,
                                struct err *err)
{
    for (uint32_t n = 0; n < from->cap; n++) {
        uint32_t number = 0;
        if (from->with[0][n] + from->with[1][n] == 0) {
            continue;
        }
        ERR_TRY(groups_import(c->groups, from->groups, n, &number, err));
        ERR_TRY(counts_fit(&c->sum, number, c->run->arena, err));
        c->sum.with[0][number] += from->with[0][n];
        c->sum.with[1][number] += from->with[1][n];
    }
    c->sum.subjects[0] += from->subjects[0];
    c->sum.subjects[1] += from->subjects[1];
    return ERR_OK;
}

static struct odds odds_of(const struct correlating *c, uint32_t number)
{
    return (struct odds){
        .converted_with = c->sum.with[1][number],
        .converted_without = c->sum.subjects[1] - c->sum.with[1][number],
        .lost_with = c->sum.with[0][number],
        .lost_without = c->sum.subjects[0] - c->sum.with[0][number],
    };
}

static enum err_code test_all(struct correlating *c, struct err *err)
{
    struct arena *arena = c->run->arena;
    size_t *order = NULL;

    c->count = groups_count(c->groups);
    ERR_TRY(ARENA_NEW(arena, c->count, &c->picked, err));
    ERR_TRY(ARENA_NEW(arena, c->count, &c->p, err));
    ERR_TRY(ARENA_NEW(arena, c->count, &c->q, err));
    ERR_TRY(ARENA_NEW(arena, c->count, &order, err));
    for (uint32_t i = 0; i < c->count; i++) {
        c->picked[i].number = i;
    }
    (void)answer_pick_groups(&c->query, c->groups, c->picked, c->count);
    for (uint32_t i = 0; i < c->count; i++) {
        struct odds odds = odds_of(c, c->picked[i].number);
        ERR_TRY(i % 1024 == 0 ? run_check(c->run, err) : ERR_OK);
        c->p[i] = odds_p(&odds);
    }
    odds_adjust(c->p, c->count, order, c->q);
    return ERR_OK;
}

static struct cell number_cell(double number)
{
    return (struct cell){.kind = CELL_F64, .f64 = number};
}

static enum err_code odds_row(const struct correlating *c, uint32_t i, struct arena *arena,
                              struct cell *out, struct err *err)
{
    struct odds o = odds_of(c, c->picked[i].number);
    double against = (double)o.converted_without * (double)o.lost_with;
    struct str test = odds_is_small(&o) ? STR("fisher") : STR("chi-square");

    ERR_TRY(answer_key_cells(c->groups, 1, c->picked[i].number, false, arena, out, err));
    out[1] = answer_count_cell(o.converted_with);
    out[2] = answer_count_cell(o.converted_without);
    out[3] = answer_count_cell(o.lost_with);
    out[4] = answer_count_cell(o.lost_without);
    out[5] = against == 0
                 ? (struct cell){.kind = CELL_NULL}
                 : number_cell((double)o.converted_with * (double)o.lost_without / against);
    out[6] = (struct cell){.kind = CELL_STRING, .string = test};
    out[7] = number_cell(c->p[i]);
    out[8] = number_cell(c->q[i]);
    return ERR_OK;
}

enum err_code funnel_correlation_table(struct query_run_ctx *run, const struct run_tasks *tasks,
                                       size_t correlation_off, struct result *result,
                                       struct err *err)
{
    static const struct result_col fixed[ODDS_COLS] = {
        {STR("converted_with"), RESULT_INT64},
        {STR("converted_without"), RESULT_INT64},
        {STR("lost_with"), RESULT_INT64},
        {STR("lost_without"), RESULT_INT64},
        {STR("odds_ratio"), RESULT_NUMBER},
        {STR("test"), RESULT_STRING},
        {STR("p"), RESULT_NUMBER},
        {STR("q"), RESULT_NUMBER},
    };
    struct correlating c = {.run = run, .query = *run->query};
    struct result_col *cols = NULL;
    struct cell *cells = NULL;

    c.query.keys = run->query->funnel.correlate;
    c.query.key_count = 1;
    c.query.has_top = false;
    ERR_TRY(groups_create(&c.query, run->arena, &c.groups, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        const char *slot = (const char *)tasks->slots + (size_t)t * tasks->slot_bytes;
        ERR_TRY(merge_task(&c, (const void *)(slot + correlation_off), err));
    }
    ERR_TRY(test_all(&c, err));
    ERR_TRY(ARENA_NEW(result->arena, ODDS_COLS + 1, &cols, err));
    ERR_TRY(answer_key_col(&c.query, 0, false, result->arena, &cols[0], err));
    memcpy(cols + 1, fixed, sizeof(fixed));
    result->cols = cols;
    result->col_count = ODDS_COLS + 1;
    ERR_TRY(run_result_rows(run, result, c.count, &cells, err));
    for (uint32_t i = 0; i < c.count; i++) {
        ERR_TRY(odds_row(&c, i, result->arena, cells + (size_t)i * result->col_count, err));
    }
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    result->totals[1] = answer_count_cell(c.sum.subjects[1]);
    result->totals[3] = answer_count_cell(c.sum.subjects[0]);
    return ERR_OK;
}
