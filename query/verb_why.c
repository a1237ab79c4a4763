/* query/verb_why.c - `why "u_42" in ...`: one user's verdict, or with `per KEY` one value's, as a table.
 *
 *     verdict     where the verb counts the user, and in which step, period or set
 *     behind it   what stands for that: steps, starts and periods, or conditions, with their events
 *     ended       what kept the user from more: each rule without which, alone, it would have got further. The same verb is
 *                 asked the same question without that rule, so this is no second opinion about its rules
 *
 * query/README.md lists the rows.
 */
#include "query/why_int.h"

#include "query/answer_journeys.h"
#include "query/grow.h"
#include "query/run_people.h"

/* ---- rows ---- */

enum err_code why_add(struct why *why, struct why_row row, struct err *err)
{
    ERR_TRY(GROW(why->run->arena, &why->rows, why->row_count, &why->row_cap, err));
    why->rows[why->row_count++] = row;
    return ERR_OK;
}

enum err_code why_say(struct why *why, const char *item, bool holds, const char *note,
                      struct err *err)
{
    return why_add(
        why,
        (struct why_row){.item = item, .holds = holds ? WHY_YES : WHY_NO, .note = str_of(note)},
        err);
}

enum err_code why_keep_event(struct why *why, const struct why_event *event,
                             const struct why_event **ret, struct err *err)
{
    struct why_event *kept = NULL;
    *ret = NULL;
    if (event == NULL) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(why->run->arena, 1, &kept, err));
    *kept = *event;
    ERR_TRY(arena_str(why->run->arena, event->id, &kept->id, err));
    ERR_TRY(arena_str(why->run->arena, event->name, &kept->name, err));
    *ret = kept;
    return ERR_OK;
}

/* ---- the verb, once more ---- */

enum err_code why_run(struct why *why, const struct bound_query *query, why_fn fn,
                      struct why_notes *notes, struct err *err)
{
    CLEANUP(run_inner_done) struct query_run_ctx inner;
    run_inner_begin(why->run, query, &inner);
    inner.has_only = query->per == NULL; /* else walks are of one KEY */
    inner.only_shard = why->shard;
    inner.only_subject = why->subject;
    inner.notes = notes;
    ERR_TRY(fn(&inner, err));
    run_inner_count(why->run, &inner);
    return ERR_OK;
}

/* ---- the table ---- */

static const struct {
    const char *name;
    enum result_type type;
} tail_cols[] = {
    {"item", RESULT_STRING},  {"number", RESULT_NUMBER},   {"holds", RESULT_BOOL},
    {"event", RESULT_STRING}, {"event_time", RESULT_TIME}, {"event_id", RESULT_STRING},
    {"note", RESULT_STRING},
};

static bool has_begin_col(const struct bound_query *query)
{
    return query->verb == VERB_RETENTION || (query->verb == VERB_FUNNEL && query->has_each);
}

/* What the first column's times are named by. */
static struct bound_query in_units_of(const struct bound_query *query)
{
    struct bound_query unit = *query;
    unit.each_unit = query->verb == VERB_RETENTION ? query->retention.unit : query->each_unit;
    return unit;
}

static uint32_t key_cols(const struct bound_query *query)
{
    return query->verb == VERB_SEGMENT ? 0 : query->key_count;
}

static enum err_code make_cols(const struct bound_query *query, struct result *result,
                               struct err *err)
{
    struct result_col *cols = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(result->arena, 1 + key_cols(query) + COUNT_OF(tail_cols), &cols, err));
    if (has_begin_col(query)) {
        struct bound_query unit = in_units_of(query);
        cols[count] = answer_bucket_col(&unit);
        cols[count].name = query->verb == VERB_RETENTION ? STR("cohort") : cols[count].name;
        count++;
    }
    for (uint32_t k = 0; k < key_cols(query); k++) {
        ERR_TRY(answer_key_col(query, k, false, result->arena, &cols[count++], err));
    }
    for (uint32_t i = 0; i < COUNT_OF(tail_cols); i++) {
        cols[count++] = (struct result_col){str_of(tail_cols[i].name), tail_cols[i].type};
    }
    result->cols = cols;
    result->col_count = count;
    return ERR_OK;
}

static enum err_code put_text(struct str text, struct arena *arena, struct cell *ret,
                              struct err *err)
{
    *ret = (struct cell){.kind = CELL_NULL};
    if (text.len == 0) {
        return ERR_OK;
    }
    ret->kind = CELL_STRING;
    return arena_str(arena, text, &ret->string, err);
}

static enum err_code put_keys(const struct bound_query *query, const struct why_row *row,
                              struct arena *arena, struct cell *out, struct err *err)
{
    for (uint32_t k = 0; k < key_cols(query); k++) {
        out[k] = row->keys == NULL ? (struct cell){.kind = CELL_NULL} : row->keys[k];
        if (out[k].kind == CELL_STRING) {
            ERR_TRY(arena_str(arena, out[k].string, &out[k].string, err));
        }
    }
    return ERR_OK;
}

static enum err_code put_row(const struct bound_query *query, const struct why_row *row,
                             struct arena *arena, struct cell *out, struct err *err)
{
    const struct cell null = {.kind = CELL_NULL};
    const struct why_event *event = row->event;
    if (has_begin_col(query)) {
        *out = null;
        if (row->has_begin) {
            struct bound_query unit = in_units_of(query);
            ERR_TRY(answer_bucket_cell(&unit, row->begin_ms, arena, out, err));
        }
        out++;
    }
    ERR_TRY(put_keys(query, row, arena, out, err));
    out += key_cols(query);
    ERR_TRY(put_text(str_of(row->item), arena, &out[0], err));
    out[1] = row->number;
    out[2] = row->holds == WHY_UNSAID
                 ? null
                 : (struct cell){.kind = CELL_BOOL, .boolean = row->holds == WHY_YES};
    ERR_TRY(put_text(event == NULL ? STR("") : event->name, arena, &out[3], err));
    out[4] = null;
    if (event != NULL || row->has_time) {
        ERR_TRY(answer_instant_cell(query, event != NULL ? event->time_ms : row->time_ms, arena,
                                    &out[4], err));
    }
    ERR_TRY(put_text(event == NULL ? STR("") : event->id, arena, &out[5], err));
    return put_text(row->note, arena, &out[6], err);
}

static enum err_code make_table(const struct why *why, struct result *result, struct err *err)
{
    const struct bound_query *query = why->run->query;
    struct cell *cells = NULL;
    ERR_TRY(make_cols(query, result, err));
    ERR_TRY(run_result_rows(why->run, result, why->row_count, &cells, err));
    for (uint32_t r = 0; r < why->row_count; r++) {
        ERR_TRY(put_row(query, &why->rows[r], result->arena, cells + (size_t)r * result->col_count,
                        err));
    }
    return ERR_OK;
}

/* ---- who is left out ---- */

static bool is_excluded(const struct why *why)
{
    const struct bound_query *query = why->run->query;
    for (uint32_t i = 0; i < query->excluded_count; i++) {
        const roaring_bitmap_t *set = people_of(query->excluded[i]->people, why->shard);
        if (set != NULL && roaring_bitmap_contains(set, why->subject)) {
            return true;
        }
    }
    return false;
}

/* Whether the second series of `compare cohort` is at hand, and leaves the user out. */
static bool is_uncompared(const struct why *why)
{
    const roaring_bitmap_t *set = people_of(&why->run->uncompared, why->shard);
    return set != NULL && roaring_bitmap_contains(set, why->subject);
}

/* ---- the subject of `per KEY` ---- */

static enum err_code see_task(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                              void *slot, struct err *err)
{
    struct journey journey;
    bool has_more = false;
    (void)arena;
    (void)slot;
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    if (has_more) { /* in one task, for there is one subject */
        run->notes->is_seen = true;
    }
    return ERR_OK;
}

static enum err_code run_see(struct query_run_ctx *run, struct err *err)
{
    static const struct alt alts[] = {{.kind = ALT_ANY}};
    static const struct selector any[] = {{.alts = alts, .alt_count = COUNT_OF(alts)}};
    static const struct scan_want wants[] = {{0, INT64_MIN, INT64_MAX}};
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    struct bound_query query = *run->query;
    query.where = NULL;
    query.selectors = any;
    query.selector_count = COUNT_OF(any);
    const struct walk_spec spec = {
        .query = &query, .wants = wants, .want_count = COUNT_OF(wants), .subject = query.per};
    return walk_all(run, &spec, see_task, 1, &tasks, err);
}

/* Whether any event at all has this KEY. */
static enum err_code is_key_seen(struct why *why, bool *ret, struct err *err)
{
    struct why_notes notes = {.arena = why->run->arena};
    ERR_TRY(why_run(why, why->run->query, run_see, &notes, err));
    *ret = notes.is_seen;
    return ERR_OK;
}

/* ---- the verdict ---- */

/* NULL where there is one to be told; else why there is none. */
static enum err_code find_subject(struct why *why, const char **ret, struct err *err)
{
    const struct bound_query *query = why->run->query;
    bool is_seen = false;
    *ret = NULL;
    if (query->per != NULL) {
        ERR_TRY(is_key_seen(why, &is_seen, err));
        *ret = is_seen ? NULL : "unknown value";
    } else if (!run_find_subject(why->run, query->why_id, &why->shard, &why->subject)) {
        *ret = "unknown user";
    } else if (is_excluded(why)) {
        *ret = "excluded";
    } else if (is_uncompared(why)) {
        *ret = "not in cohort";
    }
    return ERR_OK;
}

enum err_code verb_why(struct query_run_ctx *run, struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    const char *missing = NULL;
    struct why why = {.run = run};
    ERR_TRY(find_subject(&why, &missing, err));
    if (missing != NULL) {
        ERR_TRY(why_say(&why, "verdict", false, missing, err));
    } else if (query->verb == VERB_FUNNEL) {
        ERR_TRY(why_funnel(&why, query, err));
    } else if (query->verb == VERB_RETENTION) {
        ERR_TRY(why_retention(&why, query, err));
    } else {
        ERR_TRY(why_segment(&why, query, err));
    }
    return make_table(&why, result, err);
}
