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
 * Credits are millionths; a value's share is value * credit / 10^6, exactly, where the value is a decimal.
 */
#include "query/answer_journeys.h"
#include "query/attribution_credit.h"
#include "query/session_cut.h"

#include "query/grow.h"
#include "query/saturating.h"
#include "storage/base/size.h"

#include <stdlib.h>

enum { LANE_CHANNEL, LANE_VALUE };
#define CREDIT_SCALE  6u /* ATTRIBUTION_UNIT is 10^6 */
#define CHECK_TOUCHES (UINT64_C(1) << 20)

struct credit {
    uint64_t units;        /* millionths of conversions */
    uint64_t touched;      /* conversions with a touch of this channel */
    struct num_sum *value; /* with `value`, once there is one */
    /* Of the conversion at hand: is this channel counted already, and in which session? */
    uint64_t seen_conversion, seen_session;
    uint64_t touched_conversion;
};

struct attribution_part {
    struct groups *groups;
    struct groups *values;
    struct credit *credits; /* by group */
    uint32_t cap;
    struct credit none;   /* conversions without a touch */
    uint64_t conversions; /* with and without */
    uint64_t touches_seen;

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

static enum err_code credits_fit(struct credit **credits, uint32_t *cap, uint32_t group,
                                 struct arena *arena, struct err *err)
{
    if (group < *cap) {
        return ERR_OK;
    }
    uint32_t more = MAX_OF(2 * *cap, group + 16);
    struct credit *grown = NULL;
    ERR_TRY(ARENA_NEW(arena, more, &grown, err));
    if (*cap > 0) {
        memcpy(grown, *credits, *cap * sizeof(*grown));
    }
    *credits = grown;
    *cap = more;
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
static bool is_repeat(struct credit *credit, uint64_t conversion, uint64_t session)
{
    bool repeats = credit->seen_conversion == conversion && credit->seen_session == session;
    credit->seen_conversion = conversion;
    credit->seen_session = session;
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
             is_repeat(&part->credits[channel], part->conversions, part->sessions[i]))) {
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
    const struct attribution *spec = &run->query->attribution;
    struct cell value = value_of(spec, part, journey, at);
    size_t count = 0;

    part->conversions++; /* from 1: 0 is "no conversion yet" in the credits */
    ERR_TRY(take_touches(run, part, journey, begin, at, &count, err));
    if (count == 0) {
        return credit_add(&part->none, part->conversions, &value, ATTRIBUTION_UNIT, arena, err);
    }
    size_t dealt = spec->model == MODEL_LAST_NON_DIRECT ? without_direct(part, count) : count;
    attribution_credits(spec->model, spec->half_life_ms, part->times, dealt, part->units);
    for (size_t i = 0; i < count; i++) {
        ERR_TRY(credit_add(&part->credits[part->channels[i]], part->conversions, &value,
                           i < dealt ? part->units[i] : 0, arena, err));
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
        ERR_TRY(
            credits_fit(&part->credits, &part->cap, journey->lanes[LANE_CHANNEL][i], arena, err));
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

static enum err_code attribution_task(struct query_run_ctx *run, struct walk *walk,
                                      struct arena *arena, void *slot, struct err *err)
{
    struct attribution_part *part = slot;
    struct journey journey;
    bool has_more = false;

    part->groups = walk_groups(walk, LANE_CHANNEL);
    part->values = run->query->attribution.has_value ? walk_groups(walk, LANE_VALUE) : NULL;
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        ERR_TRY(count_journey(run, part, &journey, arena, err));
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

struct attribution_merge {
    struct groups *groups;
    struct credit *credits; /* by group */
    uint32_t cap;
    struct credit none, other, all;
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

static enum err_code merge_parts(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct attribution_merge *m, struct err *err)
{
    const struct attribution_part *parts = tasks->slots;
    uint64_t conversions = 0;

    ERR_TRY(groups_create(run->query, run->arena, &m->groups, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        for (uint32_t g = 0; g < parts[t].cap; g++) {
            const struct credit *from = &parts[t].credits[g];
            uint32_t number = 0;
            if (from->touched == 0) {
                continue;
            }
            ERR_TRY(groups_import(m->groups, parts[t].groups, g, &number, err));
            ERR_TRY(credits_fit(&m->credits, &m->cap, number, run->arena, err));
            ERR_TRY(credit_merge(&m->credits[number], from, run->arena, err));
            ERR_TRY(credit_merge(&m->all, from, run->arena, err));
        }
        ERR_TRY(credit_merge(&m->none, &parts[t].none, run->arena, err));
        conversions += parts[t].conversions;
    }
    m->all.touched = conversions - m->none.touched;
    ERR_TRY(credit_merge(&m->all, &(struct credit){.units = m->none.units, .value = m->none.value},
                         run->arena, err));
    m->none.touched = 0;
    ASSERT(m->all.units == conversions * ATTRIBUTION_UNIT);
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

static enum err_code make_columns(const struct bound_query *query, bool has_text,
                                  struct result *result, struct err *err)
{
    static const struct result_col fixed[] = {{STR("conversions"), RESULT_NUMBER},
                                              {STR("share"), RESULT_NUMBER},
                                              {STR("touched"), RESULT_INT64},
                                              {STR("value"), RESULT_NUMBER}};
    uint32_t count = COUNT_OF(fixed) - (query->attribution.has_value ? 0 : 1);
    struct result_col *cols = NULL;
    ERR_TRY(ARENA_NEW(result->arena, 1 + count, &cols, err));
    ERR_TRY(answer_key_col(query, 0, has_text, result->arena, &cols[0], err));
    memcpy(cols + 1, fixed, count * sizeof(*cols));
    result->cols = cols;
    result->col_count = 1 + count;
    return ERR_OK;
}

static void text_row(const struct bound_query *query, struct str label, const struct credit *credit,
                     uint64_t all_units, struct cell *out)
{
    out[0] = (struct cell){.kind = CELL_STRING, .string = label};
    credit_cells(query, credit, all_units, out + 1);
}

static enum err_code make_answer(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    struct attribution_merge m = {0};
    struct answer_group *picked = NULL;
    struct cell *cells = NULL;

    ERR_TRY(merge_parts(run, tasks, &m, err));
    uint32_t count = groups_count(m.groups);
    ERR_TRY(ARENA_NEW(run->arena, count, &picked, err));
    for (uint32_t g = 0; g < count; g++) {
        picked[g] = (struct answer_group){g, m.credits[g].units};
    }
    uint32_t shown = answer_pick_groups(query, m.groups, picked, count);
    bool has_other = query->has_other && shown < count;
    bool has_none = m.none.units > 0;
    for (uint32_t i = shown; i < count; i++) {
        ERR_TRY(credit_merge(&m.other, &m.credits[picked[i].number], run->arena, err));
    }
    ERR_TRY(make_columns(query, has_other || has_none, result, err));
    ERR_TRY(run_result_rows(run, result, (uint64_t)shown + has_other + has_none, &cells, err));
    for (uint32_t i = 0; i < shown; i++, cells += result->col_count) {
        ERR_TRY(answer_key_cells(m.groups, 1, picked[i].number, false, result->arena, cells, err));
        credit_cells(query, &m.credits[picked[i].number], m.all.units, cells + 1);
    }
    if (has_other) {
        text_row(query, STR("other"), &m.other, m.all.units, cells);
        cells[3] =
            (struct cell){.kind = CELL_NULL}; /* conversions are touched by several channels */
        cells += result->col_count;
    }
    if (has_none) {
        text_row(query, STR("(none)"), &m.none, m.all.units, cells);
    }
    answer_left_out(result, has_other ? 0 : count - shown);
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    credit_cells(query, &m.all, m.all.units, result->totals + 1);
    return ERR_OK;
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
    struct scan_want *wants = NULL;

    ERR_TRY(ARENA_NEW(run->arena, query->selector_count, &wants, err));
    for (uint32_t i = 0; i < query->selector_count; i++) {
        bool is_conversion = UINT64_C(1) << i == attribution->conversion_bit;
        wants[i] = (struct scan_want){i, is_conversion ? query->from_ms : seen_ms, query->to_ms};
    }
    spec.wants = wants;
    spec.want_count = query->selector_count;
    ERR_TRY(walk_all(run, &spec, attribution_task, sizeof(struct attribution_part), &tasks, err));
    return make_answer(run, &tasks, result, err);
}
