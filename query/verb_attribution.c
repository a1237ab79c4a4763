/* query/verb_attribution.c - the attribution verb.
 *
 *     journey, in order     touch ad | touch mail | . | touch ad | CONVERSION | touch ad | CONVERSION
 *     window of the first   [------------- lookback -------------]
 *
 * Touches of a conversion are the events before it, in (time, event_id) order, no more than the lookback before,
 * that have a KEY. For models that deal out to many, the touches of one KEY value with no pause of more than 30 minutes
 * (of any events) between them count once, at the first of them, unless repeats are kept. With `consume`, touches up to a
 * conversion are gone for the next.
 *
 * Credits are millionths; a value's share is value * credit / 10^6, exactly, where the value is a decimal. With `each` a
 * conversion is of the bucket that it lies in, with all its credit, so credits of buckets add up as well.
 */
#include "query/answer_journeys.h"
#include "query/attribution_credit.h"
#include "query/cell_watch.h"
#include "query/session_cut.h"

#include "query/grow.h"
#include "query/saturating.h"
#include "storage/base/size.h"

#include <stdlib.h>

enum { LANE_CHANNEL, LANE_VALUE };
#define CREDIT_SCALE  6u /* ATTRIBUTION_UNIT is 10^6 */
#define CHECK_TOUCHES (UINT64_C(1) << 20)

struct credit {
    uint64_t units;              /* millionths of conversions */
    uint64_t touched;            /* conversions with a touch of this channel */
    struct num_sum *value;       /* with `value`, once there is one */
    uint64_t touched_conversion; /* the last of `touched` */
};

/* What conversions of a bucket gave. */
struct credits {
    struct credit *items; /* by group */
    uint32_t cap;
    struct credit none;   /* conversions without a touch */
    uint64_t conversions; /* with and without */
};

/* Of the conversion at hand: is a channel counted already, and in which session? */
struct channel_seen {
    uint64_t conversion, session;
};

struct attribution_plan {
    struct answer_buckets buckets;
};

struct attribution_part {
    struct groups *groups;
    struct groups *values;
    struct credits *buckets;
    struct channel_seen *seen; /* by group */
    uint32_t seen_cap;
    uint64_t conversions; /* the number of the one at hand, from 1 */
    uint64_t touches_seen;
    struct cell_watch watch;
    bool is_none_wanted; /* conversions without a touch are of the cell that is asked for */

    /* Of the conversion at hand: its touches. */
    int64_t *times;
    uint32_t *channels;
    uint32_t *units;
    uint64_t *sessions; /* of each event of the journey: number of pauses before it */
    size_t scratch_cap;
};

/* ---- a task ---- */

static enum err_code scratch_fit(struct attribution_part *part, size_t count, struct arena *arena,
                                 struct err *err)
{
    if (part->scratch_cap >= count) {
        return ERR_OK;
    }
    size_t cap = MAX_OF(count, 2 * part->scratch_cap);
    ERR_TRY(ARENA_NEW(arena, cap, &part->times, err));
    ERR_TRY(ARENA_NEW(arena, cap, &part->channels, err));
    ERR_TRY(ARENA_NEW(arena, cap, &part->units, err));
    ERR_TRY(ARENA_NEW(arena, cap, &part->sessions, err));
    part->scratch_cap = cap;
    return ERR_OK;
}

static enum err_code credit_of(struct credits *credits, uint32_t group, struct arena *arena,
                               struct credit **ret, struct err *err)
{
    if (group >= credits->cap) {
        uint32_t cap = MAX_OF(2 * credits->cap, group + 16);
        struct credit *items = NULL;
        ERR_TRY(ARENA_NEW(arena, cap, &items, err));
        if (credits->cap > 0) {
            memcpy(items, credits->items, credits->cap * sizeof(*items));
        }
        credits->items = items;
        credits->cap = cap;
    }
    *ret = &credits->items[group];
    return ERR_OK;
}

static enum err_code seen_fit(struct attribution_part *part, uint32_t group, struct arena *arena,
                              struct err *err)
{
    if (group < part->seen_cap) {
        return ERR_OK;
    }
    uint32_t cap = MAX_OF(2 * part->seen_cap, group + 16);
    struct channel_seen *seen = NULL;
    ERR_TRY(ARENA_NEW(arena, cap, &seen, err));
    if (part->seen_cap > 0) {
        memcpy(seen, part->seen, part->seen_cap * sizeof(*seen));
    }
    part->seen = seen;
    part->seen_cap = cap;
    return ERR_OK;
}

static bool is_direct(const struct groups *groups, uint32_t group)
{
    struct cell cell = groups_cell(groups, group, 0);
    return cell.kind == CELL_STRING &&
           (str_eq(cell.string, STR("direct")) || str_eq(cell.string, STR("(direct)")));
}

static void number_sessions(const struct journey *journey, uint64_t *sessions)
{
    sessions[0] = 0;
    for (size_t i = 1; i < journey->count; i++) {
        uint64_t pause = (uint64_t)journey->times[i] - (uint64_t)journey->times[i - 1];
        sessions[i] = sessions[i - 1] + (pause > SESSION_IDLE_MS);
    }
}

/* Whether this touch repeats one of its channel in the same session, before the same conversion. */
static bool is_repeat(struct channel_seen *seen, uint64_t conversion, uint64_t session)
{
    bool repeats = seen->conversion == conversion && seen->session == session;
    *seen = (struct channel_seen){conversion, session};
    return repeats;
}

/* The touches among events [begin, end), into the part's scratch. */
static enum err_code take_touches(struct query_run_ctx *run, struct attribution_part *part,
                                  const struct journey *journey, size_t begin, size_t end,
                                  size_t *ret_count, struct err *err)
{
    const struct attribution *spec = &run->query->attribution;
    bool is_shared = spec->model == MODEL_LINEAR || spec->model == MODEL_TIME_DECAY ||
                     spec->model == MODEL_POSITION;
    bool drops_repeats = is_shared && !spec->keeps_repeats;
    size_t count = 0;

    for (size_t i = begin; i < end; i++) {
        uint32_t channel = journey->lanes[LANE_CHANNEL][i];
        if (++part->touches_seen % CHECK_TOUCHES == 0) {
            ERR_TRY(run_check(run, err));
        }
        if ((journey->masks[i] & spec->touch_bit) == 0 ||
            groups_cell(part->groups, channel, 0).kind == CELL_NULL ||
            (drops_repeats &&
             is_repeat(&part->seen[channel], part->conversions, part->sessions[i]))) {
            continue;
        }
        part->times[count] = journey->times[i];
        part->channels[count++] = channel;
    }
    *ret_count = count;
    return ERR_OK;
}

/* The last touch that is not direct becomes the last; where all are direct, the last is taken as it is. */
static size_t without_direct(const struct attribution_part *part, size_t count)
{
    for (size_t i = count; i > 0; i--) {
        if (!is_direct(part->groups, part->channels[i - 1])) {
            return i;
        }
    }
    return count;
}

/* units millionths of `value`, exactly. */
static enum err_code value_add(struct credit *credit, const struct cell *value, uint32_t units,
                               struct arena *arena, struct err *err)
{
    if (credit->value == NULL) {
        ERR_TRY(ARENA_NEW(arena, 1, &credit->value, err));
        num_sum_init(credit->value);
    }
    if (value->kind == CELL_I64) {
        num_sum_add_decimal(credit->value, (__int128)value->i64 * units, CREDIT_SCALE, 1);
        return ERR_OK;
    }
    bool is_exact = value->kind == CELL_DECIMAL && value->decimal.is_decimal &&
                    value->decimal.scale <= NUM_SCALE_MAX - CREDIT_SCALE;
    if (is_exact) {
        num_sum_add_decimal(credit->value, value->decimal.m * units,
                            (uint8_t)(value->decimal.scale + CREDIT_SCALE), 1);
        return ERR_OK;
    }
    double whole = value->kind == CELL_F64 ? value->f64 : value->decimal.approx;
    struct num part = {0};
    if (num_double(whole / ATTRIBUTION_UNIT * units, &part)) {
        num_sum_add(credit->value, part);
    }
    return ERR_OK;
}

static enum err_code credit_add(struct credit *credit, uint64_t conversion,
                                const struct cell *value, uint32_t units, struct arena *arena,
                                struct err *err)
{
    credit->touched += credit->touched_conversion != conversion;
    credit->touched_conversion = conversion;
    credit->units += units;
    return value->kind == CELL_NULL || units == 0 ? ERR_OK
                                                  : value_add(credit, value, units, arena, err);
}

static struct cell value_of(const struct attribution *spec, const struct attribution_part *part,
                            const struct journey *journey, size_t at)
{
    bool has_value =
        spec->has_value && (spec->value_bit == 0 || (journey->masks[at] & spec->value_bit) != 0);
    return has_value ? groups_cell(part->values, journey->lanes[LANE_VALUE][at], 0)
                     : (struct cell){.kind = CELL_NULL};
}

static enum err_code count_conversion(struct query_run_ctx *run, struct attribution_part *part,
                                      const struct journey *journey, size_t begin, size_t at,
                                      struct arena *arena, struct err *err)
{
    const struct attribution_plan *plan = run->verb_plan;
    const struct attribution *spec = &run->query->attribution;
    int64_t at_ms = journey->times[at];
    struct credits *credits = &part->buckets[answer_bucket_of(&plan->buckets, at_ms)];
    struct cell value = value_of(spec, part, journey, at);
    size_t count = 0;

    part->conversions++; /* from 1: 0 is "no conversion yet" in the credits */
    credits->conversions++;
    ERR_TRY(take_touches(run, part, journey, begin, at, &count, err));
    if (count == 0) {
        if (part->is_none_wanted && cell_watch_has(&part->watch, at_ms)) {
            ERR_TRY(cell_take(part->watch.taker, journey->subject, err));
        }
        return credit_add(&credits->none, part->conversions, &value, ATTRIBUTION_UNIT, arena, err);
    }
    size_t dealt = spec->model == MODEL_LAST_NON_DIRECT ? without_direct(part, count) : count;
    attribution_credits(spec->model, spec->half_life_ms, part->times, dealt, part->units);
    for (size_t i = 0; i < count; i++) {
        uint32_t units = i < dealt ? part->units[i] : 0;
        struct credit *credit = NULL;
        ERR_TRY(credit_of(credits, part->channels[i], arena, &credit, err));
        ERR_TRY(credit_add(credit, part->conversions, &value, units, arena, err));
        if (units > 0) {
            ERR_TRY(cell_watch_see(&part->watch, at_ms, part->channels[i], journey->subject, err));
        }
    }
    return ERR_OK;
}

static enum err_code count_journey(struct query_run_ctx *run, struct attribution_part *part,
                                   const struct journey *journey, struct arena *arena,
                                   struct err *err)
{
    const struct bound_query *query = run->query;
    const struct attribution *spec = &query->attribution;
    size_t begin = 0; /* of the window */

    ERR_TRY(scratch_fit(part, journey->count, arena, err));
    number_sessions(journey, part->sessions);
    for (size_t i = 0; i < journey->count; i++) {
        ERR_TRY(seen_fit(part, journey->lanes[LANE_CHANNEL][i], arena, err));
        if ((journey->masks[i] & spec->conversion_bit) == 0 || journey->times[i] < query->from_ms) {
            continue;
        }
        while ((uint64_t)journey->times[i] - (uint64_t)journey->times[begin] > spec->lookback_ms) {
            begin++;
        }
        ERR_TRY(count_conversion(run, part, journey, begin, i, arena, err));
        begin = spec->is_consuming ? i : begin;
    }
    return ERR_OK;
}

/* "(none)" is no group: it has a line of its own. */
static bool wants_none(const struct bound_query *query)
{
    const struct bound_cell *cell = query->cell;
    return cell != NULL && (!cell->has_key[0] || (cell->keys[0].kind == CELL_STRING &&
                                                  str_eq(cell->keys[0].string, ATTRIBUTION_NONE)));
}

static enum err_code attribution_task(struct query_run_ctx *run, struct walk *walk,
                                      struct arena *arena, void *slot, struct err *err)
{
    const struct attribution_plan *plan = run->verb_plan;
    struct attribution_part *part = slot;
    struct journey journey;
    bool has_more = false;

    part->groups = walk_groups(walk, LANE_CHANNEL);
    part->values = run->query->attribution.has_value ? walk_groups(walk, LANE_VALUE) : NULL;
    part->is_none_wanted = wants_none(run->query);
    ERR_TRY(ARENA_NEW(arena, plan->buckets.count, &part->buckets, err));
    ERR_TRY(
        cell_watch_open(run, walk_shard(walk), &plan->buckets, part->groups, &part->watch, err));
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        ERR_TRY(count_journey(run, part, &journey, arena, err));
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

struct attribution_merge {
    const struct attribution_plan *plan;
    struct groups *groups;
    struct credits *buckets;
    struct credits all;          /* of all buckets */
    struct answer_group *picked; /* the groups: first those that are shown */
    uint32_t count, shown;
    bool has_other, has_none; /* lines behind those of the groups */
    uint32_t bucket_begin, bucket_end;
};

static enum err_code credit_merge(struct credit *into, const struct credit *from,
                                  struct arena *arena, struct err *err)
{
    into->units += from->units;
    into->touched += from->touched;
    if (from->value != NULL) {
        if (into->value == NULL) {
            ERR_TRY(ARENA_NEW(arena, 1, &into->value, err));
            num_sum_init(into->value);
        }
        num_sum_merge(into->value, from->value);
    }
    return ERR_OK;
}

/* Add what a task counted in a bucket to `into`, whose groups are those of the merge. */
static enum err_code credits_merge(struct attribution_merge *m, struct credits *into,
                                   const struct groups *groups, const struct credits *from,
                                   struct arena *arena, struct err *err)
{
    for (uint32_t g = 0; g < from->cap; g++) {
        uint32_t number = 0;
        struct credit *credit = NULL;
        if (from->items[g].touched == 0) {
            continue;
        }
        ERR_TRY(groups_import(m->groups, groups, g, &number, err));
        ERR_TRY(credit_of(into, number, arena, &credit, err));
        ERR_TRY(credit_merge(credit, &from->items[g], arena, err));
    }
    into->conversions += from->conversions;
    return credit_merge(&into->none, &from->none, arena, err);
}

static enum err_code merge_parts(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct attribution_merge *m, struct err *err)
{
    const struct attribution_part *parts = tasks->slots;
    bool has_each = run->query->has_each;

    ERR_TRY(groups_create(run->query, run->arena, &m->groups, err));
    ERR_TRY(ARENA_NEW(run->arena, m->plan->buckets.count, &m->buckets, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        ERR_TRY(run_check(run, err));
        for (uint32_t b = 0; b < m->plan->buckets.count; b++) {
            const struct credits *from = &parts[t].buckets[b];
            if (from->conversions == 0) {
                continue;
            }
            ERR_TRY(credits_merge(m, &m->all, parts[t].groups, from, run->arena, err));
            if (has_each) {
                ERR_TRY(credits_merge(m, &m->buckets[b], parts[t].groups, from, run->arena, err));
            }
        }
    }
    if (!has_each) {
        m->buckets = &m->all;
    }
    return ERR_OK;
}

/* A whole number of millionths, in lowest terms. */
static struct cell units_cell(uint64_t units)
{
    struct num_total total = {.is_decimal = true,
                              .m = (__int128)units,
                              .scale = CREDIT_SCALE,
                              .approx = (double)units / ATTRIBUTION_UNIT};
    while (total.scale > 0 && total.m % 10 == 0) {
        total.m /= 10;
        total.scale--;
    }
    return cell_of_total(total);
}

static void credit_cells(const struct bound_query *query, const struct credit *credit,
                         uint64_t all_units, struct cell *out)
{
    out[0] = units_cell(credit->units);
    out[1] = answer_ratio(credit->units, all_units);
    out[2] = answer_count_cell(credit->touched);
    if (!query->attribution.has_value) {
        return;
    }
    out[3] = answer_count_cell(0);
    if (credit->value != NULL) {
        struct num_total total = num_sum_total(credit->value);
        while (total.is_decimal && total.scale > 0 && total.m % 10 == 0) {
            total.m /= 10;
            total.scale--;
        }
        out[3] = cell_of_total(total);
    }
}

/* A group that nothing was counted for in this bucket has no item. */
static struct credit credit_at(const struct credits *credits, uint32_t group)
{
    return group < credits->cap ? credits->items[group] : (struct credit){0};
}

static enum err_code make_columns(const struct bound_query *query, bool has_text,
                                  struct result *result, struct err *err)
{
    static const struct result_col fixed[] = {{STR("conversions"), RESULT_NUMBER},
                                              {STR("share"), RESULT_NUMBER},
                                              {STR("touched"), RESULT_INT64},
                                              {STR("value"), RESULT_NUMBER}};
    uint32_t count = COUNT_OF(fixed) - (query->attribution.has_value ? 0 : 1);
    uint32_t head = query->has_each ? 2 : 1;
    struct result_col *cols = NULL;
    ERR_TRY(ARENA_NEW(result->arena, head + count, &cols, err));
    if (query->has_each) {
        cols[0] = answer_bucket_col(query);
    }
    ERR_TRY(answer_key_col(query, 0, has_text, result->arena, &cols[head - 1], err));
    memcpy(cols + head, fixed, count * sizeof(*cols));
    result->cols = cols;
    result->col_count = head + count;
    return ERR_OK;
}

/* An open end of the range shows buckets from the first to the last with a conversion. */
static void choose_buckets(const struct bound_query *query, struct attribution_merge *m)
{
    const struct answer_buckets *buckets = &m->plan->buckets;
    uint32_t first = buckets->count;
    uint32_t end = 0;
    for (uint32_t b = 0; b < buckets->count; b++) {
        if (m->buckets[b].conversions > 0) {
            first = MIN_OF(first, b);
            end = b + 1;
        }
    }
    m->bucket_end = buckets->has_to || !query->has_each ? buckets->count : end;
    m->bucket_begin = buckets->has_from || !query->has_each ? 0 : MIN_OF(first, m->bucket_end);
}

static enum err_code choose_groups(struct query_run_ctx *run, struct attribution_merge *m,
                                   struct err *err)
{
    const struct bound_query *query = run->query;
    m->count = groups_count(m->groups);
    ERR_TRY(ARENA_NEW(run->arena, m->count, &m->picked, err));
    for (uint32_t g = 0; g < m->count; g++) {
        m->picked[g] = (struct answer_group){g, credit_at(&m->all, g).units};
    }
    m->shown = answer_pick_groups(query, m->groups, m->picked, m->count);
    m->has_other = query->has_other && m->shown < m->count;
    m->has_none = m->all.none.units > 0;
    return ERR_OK;
}

/* The lines behind those of the groups: of what `top` leaves out, and of conversions without a touch. */
static enum err_code text_rows(struct query_run_ctx *run, const struct attribution_merge *m,
                               const struct credits *credits, uint32_t col_count,
                               struct cell *cells, struct err *err)
{
    const struct bound_query *query = run->query;
    uint64_t units = credits->conversions * ATTRIBUTION_UNIT;
    if (m->has_other) {
        struct credit other = {0};
        for (uint32_t i = m->shown; i < m->count; i++) {
            struct credit one = credit_at(credits, m->picked[i].number);
            ERR_TRY(credit_merge(&other, &one, run->arena, err));
        }
        cells[0] = (struct cell){.kind = CELL_STRING, .string = STR("other")};
        credit_cells(query, &other, units, cells + 1);
        cells[3] =
            (struct cell){.kind = CELL_NULL}; /* conversions are touched by several channels */
        cells += col_count;
    }
    if (m->has_none) {
        struct credit none = {.units = credits->none.units, .value = credits->none.value};
        cells[0] = (struct cell){.kind = CELL_STRING, .string = ATTRIBUTION_NONE};
        credit_cells(query, &none, units, cells + 1);
    }
    return ERR_OK;
}

static enum err_code bucket_rows(struct query_run_ctx *run, const struct attribution_merge *m,
                                 uint32_t bucket, struct result *result, struct cell *cells,
                                 struct err *err)
{
    const struct bound_query *query = run->query;
    const struct credits *credits = &m->buckets[bucket];
    uint32_t width = query->has_each ? 1 : 0;
    uint32_t rows = m->shown + (m->has_other ? 1 : 0) + (m->has_none ? 1 : 0);
    for (uint32_t i = 0; query->has_each && i < rows; i++) {
        ERR_TRY(answer_bucket_cell(query, m->plan->buckets.begins[bucket], result->arena,
                                   cells + (size_t)i * result->col_count, err));
    }
    for (uint32_t i = 0; i < m->shown; i++, cells += result->col_count) {
        struct credit credit = credit_at(credits, m->picked[i].number);
        ERR_TRY(answer_key_cells(m->groups, 1, m->picked[i].number, false, result->arena,
                                 cells + width, err));
        credit_cells(query, &credit, credits->conversions * ATTRIBUTION_UNIT, cells + width + 1);
    }
    return text_rows(run, m, credits, result->col_count, cells + width, err);
}

/* Of all conversions, with and without touches. */
static enum err_code put_totals(struct query_run_ctx *run, const struct attribution_merge *m,
                                struct result *result, struct err *err)
{
    struct credit all = {.touched = m->all.conversions - m->all.none.touched};
    uint64_t units = m->all.conversions * ATTRIBUTION_UNIT;
    for (uint32_t g = 0; g < m->count; g++) {
        struct credit one = credit_at(&m->all, g);
        one.touched = 0; /* several of them may be of one conversion */
        ERR_TRY(credit_merge(&all, &one, run->arena, err));
    }
    struct credit none = {.units = m->all.none.units, .value = m->all.none.value};
    ERR_TRY(credit_merge(&all, &none, run->arena, err));
    ASSERT(all.units == units);
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    credit_cells(run->query, &all, units, result->totals + (run->query->has_each ? 2 : 1));
    return ERR_OK;
}

static enum err_code make_answer(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    struct attribution_merge m = {.plan = run->verb_plan};
    struct cell *cells = NULL;

    ERR_TRY(merge_parts(run, tasks, &m, err));
    ERR_TRY(choose_groups(run, &m, err));
    choose_buckets(query, &m);
    uint64_t rows = (uint64_t)m.shown + (m.has_other ? 1 : 0) + (m.has_none ? 1 : 0);
    uint64_t buckets = m.bucket_end - m.bucket_begin;
    ERR_TRY(make_columns(query, m.has_other || m.has_none, result, err));
    ERR_TRY(run_result_rows(run, result, buckets * rows, &cells, err));
    for (uint32_t b = m.bucket_begin; b < m.bucket_end; b++, cells += rows * result->col_count) {
        ERR_TRY(run_check(run, err));
        ERR_TRY(bucket_rows(run, &m, b, result, cells, err));
    }
    answer_left_out(result, m.has_other ? 0 : buckets * (m.count - m.shown));
    return put_totals(run, &m, result, err);
}

enum err_code verb_attribution(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    const struct attribution *attribution = &query->attribution;
    int64_t seen_ms = ms_sub_saturating(query->from_ms, attribution->lookback_ms);
    struct walk_spec spec = {
        .query = query,
        .lanes[LANE_CHANNEL] = {.keys = query->keys, .key_count = 1},
        .lanes[LANE_VALUE] = {.keys = &attribution->value, .key_count = 1},
        .lane_count = attribution->has_value ? 2 : 1,
        .is_ordered = true,
        .subject = query->per,
    };
    struct attribution_plan plan = {0};
    struct scan_want *wants = NULL;

    ERR_TRY(answer_buckets(run, &plan.buckets, err));
    ERR_TRY(ARENA_NEW(run->arena, query->selector_count, &wants, err));
    for (uint32_t i = 0; i < query->selector_count; i++) {
        bool is_conversion = UINT64_C(1) << i == attribution->conversion_bit;
        wants[i] = (struct scan_want){i, is_conversion ? query->from_ms : seen_ms, query->to_ms};
    }
    spec.wants = wants;
    spec.want_count = query->selector_count;
    run->verb_plan = &plan;
    ERR_TRY(walk_all(run, &spec, attribution_task, sizeof(struct attribution_part), &tasks, err));
    if (query->cell != NULL) {
        return ERR_OK; /* the takers have who is asked for */
    }
    return make_answer(run, &tasks, result, err);
}
