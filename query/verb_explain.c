/* query/verb_explain.c - what a query would do, found out by doing all of it but the reading of
 * blocks: sources are pruned by time and by event name, blocks by their zones, and the posting lists
 * of the named events say how many rows are candidates. */
#include "query/first_ever.h"
#include "query/pred_eval.h"
#include "query/run_people.h"
#include "query/saturating.h"
#include "query/way.h"
#include "storage/base/size.h"
#include "storage/identity.h"

#include <inttypes.h>

#define VALUE_BYTES       6u /* of an encoded value, roughly: for the estimate only */
#define COLUMNS_MAX       64u
#define EXPLAIN_LINES_MAX (33u + SCAN_PATHS)

struct explain {
    struct query_run_ctx *run;
    int64_t begin_ms, end_ms; /* that the verb may look at */
    uint32_t segments, memtables;
    struct scan_spec spec;
    uint32_t pruned_by_time, pruned_by_name, pruned_by_where, to_scan; /* sources */
    uint64_t blocks, blocks_by_time, blocks_by_index, rows;            /* read, or pruned */
    uint64_t blocks_by[SCAN_PATHS];
    uint32_t with_sets; /* sources that keep sets of subjects */
    struct str columns[COLUMNS_MAX];
    uint32_t column_count;
    bool has_predicate;
    bool has_number; /* a segment counts or adds up */
};

/* ---- what is looked at ---- */

static void explain_column(struct explain *explain, struct str name)
{
    for (uint32_t i = 0; i < explain->column_count; i++) {
        if (str_eq(explain->columns[i], name)) {
            return;
        }
    }
    if (explain->column_count < COLUMNS_MAX) {
        explain->columns[explain->column_count++] = name;
    }
}

static void explain_pred(struct explain *explain, const struct pred *pred)
{
    if (pred == NULL) {
        return;
    }
    explain->has_predicate = true;
    for (uint32_t i = 0; i < pred->kid_count; i++) {
        explain_pred(explain, pred->kids[i]);
    }
    if (pred->kind >= PRED_EQ && pred->field.name.len > 0) {
        explain_column(explain, pred->field.name);
    }
}

/* What the tests of a segment look at: their own times, and their numbers' columns. */
static void explain_cond(struct explain *explain, const struct cond *cond)
{
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        explain_cond(explain, cond->kids[k]);
    }
    if (cond->kind != COND_DID && cond->kind != COND_MEASURE) {
        return;
    }
    int64_t begin_ms = MAX_OF(cond->begin_ms, explain->run->snapshot->expired_before_ms);
    explain->begin_ms = MIN_OF(explain->begin_ms, begin_ms);
    explain->end_ms = MAX_OF(explain->end_ms, cond->end_ms);
    if (cond->kind == COND_MEASURE) {
        explain->has_number = true;
        if (cond->field.name.len > 0) {
            explain_column(explain, cond->field.name);
        }
    }
}

static void explain_columns(struct explain *explain)
{
    const struct bound_query *query = explain->run->query;
    explain_column(explain, STR("subject"));
    explain_column(explain, STR("event_time"));
    explain_pred(explain, query->where);
    for (uint32_t s = 0; s < query->selector_count; s++) {
        for (uint32_t a = 0; a < query->selectors[s].alt_count; a++) {
            explain_pred(explain, query->selectors[s].alts[a].pred);
        }
    }
    for (uint32_t k = 0; k < query->key_count; k++) {
        explain_column(explain, query->keys[k].field.name);
    }
    for (uint32_t a = 0; a < query->agg_count; a++) {
        if (query->aggs[a].field.name.len > 0) {
            explain_column(explain, query->aggs[a].field.name);
        }
    }
    for (uint32_t c = 0; c < query->column_count; c++) {
        explain_column(explain, query->columns[c].name);
    }
    for (uint32_t h = 0; h < query->funnel.holding_count; h++) {
        explain_column(explain, query->funnel.holding[h].field.name);
    }
    if (query->funnel.correlate != NULL) {
        explain_column(explain, query->funnel.correlate->field.name);
    }
    for (uint32_t k = 0; query->verb == VERB_PATHS && k < query->paths.node_key_count; k++) {
        explain_column(explain, query->paths.node_keys[k].field.name);
    }
    if (query->verb == VERB_SEQUENCE && query->sequence.mode == SEQUENCE_NEXT) {
        explain_column(explain, query->sequence.next.field.name);
    }
    if (query->verb == VERB_ATTRIBUTION && query->attribution.has_value) {
        explain_column(explain, query->attribution.value.field.name);
    }
    if (query->retention.value != RETENTION_NO_VALUE) {
        explain_column(explain, query->retention.value_key.field.name);
    }
    if (query->per != NULL) {
        explain_column(explain, query->per->name);
    }
    if (query->verb == VERB_SEGMENT) {
        explain_cond(explain, query->segment.cond);
    }
}

/* How far the verbs over journeys look beyond the range's ends. Sessions look further back only where somebody made
 * no pause in that time, intervals of those alone who may have had one open before it. */
static void explain_beyond(const struct bound_query *query, uint64_t *ret_back_ms,
                           uint64_t *ret_after_ms)
{
    bool is_sessions = query->verb == VERB_SESSIONS;
    bool is_paths = query->verb == VERB_PATHS && query->paths.is_session;
    *ret_back_ms = 0;
    *ret_after_ms = 0;
    if (is_sessions || is_paths) {
        const struct session_spec *cut = is_sessions ? &query->sessions.cut : &query->paths.cut;
        *ret_after_ms = cut->cap_ms;
        *ret_back_ms = span_add_saturating(cut->cap_ms == UINT64_MAX ? 0 : cut->cap_ms,
                                           span_add_saturating(cut->idle_ms, 1));
    } else if (query->verb == VERB_ATTRIBUTION) {
        *ret_back_ms = query->attribution.lookback_ms;
    } else if (query->verb == VERB_ABSENCE && query->absence.has_second) {
        *ret_after_ms = query->absence.span_ms;
    } else if (query->verb == VERB_INTERVALS) {
        *ret_back_ms = query->intervals.longest_ms;
        *ret_after_ms = query->intervals.longest_ms;
    } else if (query->verb == VERB_FUNNEL && !query->funnel.is_closed) {
        *ret_after_ms = query->funnel.window_ms;
    }
}

/* First events, and where sessions begin, are told by all that was before. */
static bool explain_needs_history(const struct funnel *funnel)
{
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        if (funnel->steps[i].first_selector != SELECTOR_NONE) {
            return true;
        }
    }
    return funnel->session != SELECTOR_NONE;
}

/* Funnels look beyond the range's end, rolling measures and first times before its begin. */
static void explain_range(struct explain *explain)
{
    const struct bound_query *query = explain->run->query;
    explain->begin_ms = query->from_ms;
    explain->end_ms = query->to_ms;
    if (query->verb == VERB_SEGMENT && !query->segment.has_universe) {
        explain->begin_ms = INT64_MAX; /* the tests say, explain_cond */
        explain->end_ms = INT64_MIN;
    }
    uint64_t back_ms = 0;
    uint64_t after_ms = 0;
    explain_beyond(query, &back_ms, &after_ms);
    for (uint32_t m = 0; m < query->measure_count; m++) {
        back_ms = MAX_OF(back_ms, query->measures[m].rolling_ms);
    }
    if (query->verb == VERB_LIFECYCLE ||
        (query->verb == VERB_FUNNEL && explain_needs_history(&query->funnel))) {
        explain->begin_ms = INT64_MIN;
    } else if (query->verb == VERB_CHURN && !query->churn.is_last_seen) {
        explain->begin_ms = query->churn.base_begin_ms;
    } else if (query->verb == VERB_RETENTION || query->verb == VERB_LTV ||
               query->verb == VERB_CHURN) {
        explain->begin_ms = INT64_MIN;
        explain->end_ms = INT64_MAX;
    } else if (back_ms > INT64_MAX ||
               __builtin_sub_overflow(explain->begin_ms, (int64_t)back_ms, &explain->begin_ms)) {
        explain->begin_ms = INT64_MIN;
    }
    if (after_ms > INT64_MAX ||
        __builtin_add_overflow(explain->end_ms, (int64_t)after_ms, &explain->end_ms)) {
        explain->end_ms = INT64_MAX;
    }
    explain->begin_ms = MAX_OF(explain->begin_ms, explain->run->snapshot->expired_before_ms);
}

/* ---- sources ---- */

/* All events of the query in all of its time: verbs ask less of some. */
static enum err_code explain_wants(struct explain *explain, struct err *err)
{
    const struct bound_query *query = explain->run->query;
    struct scan_want *wants = NULL;
    ERR_TRY(ARENA_NEW(explain->run->arena, query->selector_count, &wants, err));
    for (uint32_t s = 0; s < query->selector_count; s++) {
        wants[s] = (struct scan_want){s, explain->begin_ms, explain->end_ms};
    }
    explain->spec = (struct scan_spec){
        .query = query,
        .wants = wants,
        .want_count = query->selector_count,
        .subject_end = UINT32_MAX,
        .no_index = run_is_reference(explain->run),
    };
    if (explain->run->has_only) {
        explain->spec.subject_begin = explain->run->only_subject;
        explain->spec.subject_end = explain->run->only_subject + 1;
    }
    return ERR_OK;
}

/* Whether the source keeps sets of subjects: for one event, for all. */
static enum err_code explain_sets(struct explain *explain, const struct source *source,
                                  struct arena *arena, struct err *err)
{
    struct read_ctx read = {.arena = arena, .io = explain->run->io};
    const struct subject_set *sets = NULL;
    uint32_t count = 0;
    ERR_TRY(source_subject_sets(source, &read, SUBJECT_SET_ANY, &sets, &count, err));
    explain->with_sets += count > 0;
    return ERR_OK;
}

static enum err_code explain_source(struct explain *explain, const struct source *source,
                                    struct arena *arena, struct err *err)
{
    CLEANUP(scan_closep) struct scan *scan = NULL;
    struct scan_counters seen = {0};
    explain->segments += !source->is_memory;
    explain->memtables += source->is_memory;
    ERR_TRY(scan_open(source, &explain->spec, explain->run, arena, explain->run->io, &scan, err));
    ERR_TRY(scan_foresee(scan, &seen, err));
    explain->pruned_by_time += seen.pruned == SCAN_PRUNED_TIME;
    explain->pruned_by_name += seen.pruned == SCAN_PRUNED_NAME;
    explain->pruned_by_where += seen.pruned == SCAN_PRUNED_WHERE;
    explain->blocks += seen.blocks_scanned;
    explain->blocks_by_time += seen.blocks_pruned_time;
    explain->blocks_by_index += seen.blocks_pruned_index;
    explain->rows += seen.rows_read;
    for (uint32_t p = 0; p < SCAN_PATHS; p++) {
        explain->blocks_by[p] += seen.blocks_by[p];
    }
    if (seen.is_source_pruned) {
        return ERR_OK;
    }
    explain->to_scan++;
    return explain_sets(explain, source, arena, err);
}

/* True where every aggregate is a number of users of whole events. */
static bool explain_is_index_only(const struct explain *explain)
{
    const struct bound_query *query = explain->run->query;
    if (query->is_why) {
        return false; /* events are named */
    }
    if (query->verb == VERB_SEGMENT) {
        return query->per == NULL && !explain->has_predicate && !explain->has_number &&
               !run_is_reference(explain->run);
    }
    if (query->key_count > 0 || query->per != NULL || query->is_list || explain->has_predicate ||
        run_is_reference(explain->run)) {
        return false;
    }
    switch (query->verb) {
    case VERB_TREND:
    case VERB_DISTINCT: break;
    case VERB_LIFECYCLE: return true;
    case VERB_CHURN: return !query->has_each;
    case VERB_STICKINESS:
        return query->habits.events_min == 1 && query->habits.events_max == UINT32_MAX;
    default: return false;
    }
    for (uint32_t a = 0; a < query->agg_count; a++) {
        if (query->aggs[a].kind != AGG_USERS) {
            return false;
        }
    }
    return true;
}

/* ---- the answer ---- */

struct explain_rows {
    struct cell *cells;
    struct result *result;
};

static enum err_code explain_line(struct explain_rows *rows, const char *item, struct str value,
                                  struct err *err)
{
    ASSERT(rows->result->row_count < EXPLAIN_LINES_MAX);
    rows->cells[0] = (struct cell){.kind = CELL_STRING, .string = str_of(item)};
    rows->cells[1].kind = CELL_STRING;
    ERR_TRY(arena_str(rows->result->arena, value, &rows->cells[1].string, err));
    rows->cells += 2;
    rows->result->row_count++;
    return ERR_OK;
}

static enum err_code explain_number(struct explain_rows *rows, const char *item, uint64_t value,
                                    struct err *err)
{
    struct str text = {0};
    ERR_TRY(arena_printf(rows->result->arena, &text, err, "%" PRIu64, value));
    return explain_line(rows, item, text, err);
}

static enum err_code explain_range_line(struct explain *explain, struct explain_rows *rows,
                                        struct err *err)
{
    const struct bound_query *query = explain->run->query;
    if (!query->has_range) {
        return explain_line(rows, "range", STR("all data"), err);
    }
    char from[CIVIL_TEXT_BYTES];
    char to[CIVIL_TEXT_BYTES];
    struct str text = {0};
    struct str from_text = civil_format_instant(query->zone, query->from_ms, from);
    struct str to_text = civil_format_instant(query->zone, query->to_ms, to);
    ERR_TRY(arena_printf(rows->result->arena, &text, err, "[" STR_FMT ", " STR_FMT ")",
                         STR_ARG(from_text), STR_ARG(to_text)));
    return explain_line(rows, "range", text, err);
}

static enum err_code explain_columns_line(struct explain *explain, struct explain_rows *rows,
                                          struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    for (uint32_t i = 0; i < explain->column_count; i++) {
        buf_z(&text, i > 0 ? ", " : "");
        buf_str(&text, explain->columns[i]);
    }
    ERR_TRY(buf_check(&text, err));
    return explain_line(rows, "columns", buf_as_str(&text), err);
}

/* What is read of profiles before the verb begins: its own figures are not among the estimates. */
static enum err_code explain_profiles_line(struct explain *explain, struct explain_rows *rows,
                                           struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    const struct bound_query *query = explain->run->query;
    if (query->trait_count == 0) {
        return ERR_OK;
    }
    for (uint32_t t = 0; t < query->trait_count; t++) {
        buf_z(&text, t > 0 ? ", " : "");
        buf_str(&text, query->traits[t].key);
        buf_z(&text, query->traits[t].is_at_event ? " as of event" : " as of now");
    }
    buf_z(&text, ": all identify events are read first");
    ERR_TRY(buf_check(&text, err));
    return explain_line(rows, "profiles", buf_as_str(&text), err);
}

static struct str explain_index_name(const struct explain *explain)
{
    if (run_is_reference(explain->run)) {
        return STR("none: reference path, all rows are read");
    }
    if (explain_is_index_only(explain)) {
        return explain->with_sets == explain->to_scan
                   ? STR("subject sets; rows only where a set crosses a bucket's border")
                   : STR("subject sets, and the rows of memtables");
    }
    return STR("posting lists of the named events");
}

/* Which way the verb goes, and how rows are found where it reads some. */
static enum err_code explain_way(struct explain *explain, struct explain_rows *rows,
                                 bool is_index_only, struct err *err)
{
    struct str way = {0};
    ERR_TRY(way_of(explain->run, &way, err));
    ERR_TRY(explain_line(rows, "way", way, err));
    for (uint32_t p = 0; p < SCAN_PATHS; p++) {
        if (explain->blocks_by[p] > 0 && !is_index_only) {
            struct str text = {0};
            ERR_TRY(arena_printf(rows->result->arena, &text, err, "%s, in %" PRIu64 " blocks",
                                 scan_path_name((enum scan_path)p), explain->blocks_by[p]));
            ERR_TRY(explain_line(rows, "rows found by", text, err));
        }
    }
    return ERR_OK;
}

/* Of a snapshot of the past: what it leaves out. */
static enum err_code explain_past(struct explain *explain, struct explain_rows *rows,
                                  struct err *err)
{
    const struct snapshot *snapshot = explain->run->snapshot;
    if (!snapshot->is_past) {
        return ERR_OK;
    }
    ERR_TRY(explain_number(rows, "as of epoch", (uint64_t)snapshot->past.rows_ms, err));
    ERR_TRY(explain_number(rows, "sources pruned by arrival", snapshot->later_count, err));
    return explain_number(rows, "sources filtered by arrival", snapshot->cut_count, err);
}

/* What `identity event_time` costs. */
static enum err_code explain_identity(struct explain *explain, struct explain_rows *rows,
                                      struct err *err)
{
    const struct snapshot *snapshot = explain->run->snapshot;
    struct str text = {0};
    if (!explain->run->query->is_event_time) {
        return ERR_OK;
    }
    if (snapshot->own_identity == NULL) {
        return explain_line(rows, "identity",
                            STR("event_time: no id was ever bound or merged, so it is as now"),
                            err);
    }
    struct identity_stats stats = identity_stats(snapshot->own_identity);
    ERR_TRY(arena_printf(rows->result->arena, &text, err,
                         "event_time: %" PRIu64 " events of ids that were ever bound, merged or "
                         "nobody's, gathered anew into %" PRIu64 " bytes",
                         stats.rows, stats.bytes));
    return explain_line(rows, "identity", text, err);
}

/* What is read beside the range to know who was first, where data are expired. */
static enum err_code explain_firsts(struct explain *explain, struct explain_rows *rows,
                                    struct err *err)
{
    const struct snapshot *snapshot = explain->run->snapshot;
    struct str text = {0};
    uint64_t firsts = 0;
    uint32_t files = 0;
    uint32_t masked = 0;
    for (uint32_t i = 0; i < snapshot->history_count; i++) {
        bool is_firsts = snapshot->history[i]->is_first_times;
        firsts += is_firsts ? snapshot->history[i]->row_count : 0;
        files += is_firsts;
        masked += !is_firsts;
    }
    for (uint32_t i = 0; i < snapshot->source_count; i++) {
        masked += snapshot->sources[i]->time_min_ms < snapshot->expired_before_ms;
    }
    if ((files == 0 && masked == 0) || !first_ever_is_asked(explain->run->query)) {
        return ERR_OK;
    }
    ERR_TRY(arena_printf(rows->result->arena, &text, err,
                         "of %" PRIu64 " in %" PRIu32 " sources, and of %" PRIu32
                         " sources with expired rows, those of the named events",
                         firsts, files, masked));
    return explain_line(rows, "first times", text, err);
}

static enum err_code explain_fill(struct explain *explain, struct explain_rows *rows,
                                  struct err *err)
{
    struct query_run_ctx *run = explain->run;
    static const char *const verbs[] = {
        [VERB_TREND] = "trend",
        [VERB_DISTINCT] = "distinct",
        [VERB_FUNNEL] = "funnel",
        [VERB_RETENTION] = "retention",
        [VERB_EVENTS] = "events",
        [VERB_TIMELINE] = "timeline",
        [VERB_SHOW_EVENTS] = "show events",
        [VERB_SHOW_PROPERTIES] = "show properties",
        [VERB_SHOW_VALUES] = "show values",
        [VERB_SHOW_SEGMENTS] = "show segments",
        [VERB_SEQUENCE] = "sequence",
        [VERB_SESSIONS] = "sessions",
        [VERB_PATHS] = "paths",
        [VERB_ATTRIBUTION] = "attribution",
        [VERB_ABSENCE] = "absence",
        [VERB_INTERVALS] = "intervals",
        [VERB_LIFECYCLE] = "lifecycle",
        [VERB_STICKINESS] = "stickiness",
        [VERB_CONDITIONS] = "conditions",
        [VERB_CHURN] = "churn",
        [VERB_LTV] = "ltv",
        [VERB_SEGMENT] = "segment",
        [VERB_SHOW_COHORTS] = "show cohorts",
        [VERB_SHOW_METRICS] = "show metrics",
        [VERB_SHOW_PROFILES] = "show profiles",
        [VERB_DROP_COHORT] = "drop cohort",
    };
    uint64_t bytes = explain->rows * explain->column_count * VALUE_BYTES;
    bool is_index_only = explain_is_index_only(explain) && explain->with_sets == explain->to_scan;
    uint32_t tasks = 0;
    ERR_TRY(run_task_count(run, &tasks, err));
    ERR_TRY(explain_line(rows, "verb", str_of(verbs[run->query->verb]), err));
    if (run->query->is_why) {
        ERR_TRY(explain_line(rows, "why",
                             run->query->per != NULL ? STR("the rows of one value")
                             : run->has_only         ? STR("one user's rows")
                                                     : STR("unknown user"),
                             err));
    }
    if (run->query->expansion.len > 0) {
        ERR_TRY(explain_line(rows, "with its metrics", run->query->expansion, err));
    }
    ERR_TRY(explain_range_line(explain, rows, err));
    ERR_TRY(explain_number(rows, "segments", explain->segments, err));
    ERR_TRY(explain_number(rows, "memtables", explain->memtables, err));
    ERR_TRY(explain_past(explain, rows, err));
    ERR_TRY(explain_identity(explain, rows, err));
    ERR_TRY(explain_number(rows, "sources pruned by time", explain->pruned_by_time, err));
    ERR_TRY(explain_number(rows, "sources pruned by event name", explain->pruned_by_name, err));
    ERR_TRY(explain_number(rows, "sources pruned by conditions that never hold",
                           explain->pruned_by_where, err));
    ERR_TRY(explain_number(rows, "sources to read", explain->to_scan, err));
    ERR_TRY(explain_number(rows, "blocks pruned by time", explain->blocks_by_time, err));
    ERR_TRY(explain_number(rows, "blocks pruned by lists of rows", explain->blocks_by_index, err));
    ERR_TRY(explain_number(rows, "blocks to read", is_index_only ? 0 : explain->blocks, err));
    ERR_TRY(explain_line(rows, "index", explain_index_name(explain), err));
    ERR_TRY(explain_way(explain, rows, is_index_only, err));
    ERR_TRY(explain_columns_line(explain, rows, err));
    ERR_TRY(explain_profiles_line(explain, rows, err));
    ERR_TRY(explain_firsts(explain, rows, err));
    if (run->query->people_term_count > 0) {
        ERR_TRY(explain_number(rows, "conditions that leave out people as a whole",
                               run->query->people_term_count, err));
    }
    ERR_TRY(explain_number(rows, "estimated rows", is_index_only ? 0 : explain->rows, err));
    ERR_TRY(explain_number(rows, "estimated bytes", is_index_only ? 0 : bytes, err));
    ERR_TRY(explain_number(rows, "tasks", tasks, err));
    return explain_number(rows, "workers", run->pool == NULL ? 1 : pool_slots(run->pool), err);
}

enum err_code verb_explain(struct query_run_ctx *run, struct result *result, struct err *err)
{
    static const struct result_col cols[] = {{{"item", 4}, RESULT_STRING},
                                             {{"value", 5}, RESULT_STRING}};
    struct explain explain = {.run = run};
    CLEANUP(arena_freep) struct arena *scratch = arena_create(&run->budget);
    bool is_one_user = run->query->is_why && run->query->per == NULL;
    if (is_one_user) {
        run->has_only =
            run_find_subject(run, run->query->why_id, &run->only_shard, &run->only_subject);
    }
    explain_range(&explain);
    explain_columns(&explain);
    ERR_TRY(explain_wants(&explain, err));
    for (uint32_t i = 0; i < run->snapshot->source_count; i++) {
        struct arena_mark mark = arena_mark(scratch);
        bool is_only = run->has_only && run->snapshot->sources[i]->shard == run->only_shard;
        if (is_one_user && !is_only) {
            continue; /* it has no rows of that user */
        }
        ERR_TRY(explain_source(&explain, run->snapshot->sources[i], scratch, err));
        arena_rewind(scratch, mark);
    }
    result->cols = cols;
    result->col_count = COUNT_OF(cols);
    struct explain_rows rows = {.result = result};
    ERR_TRY(run_result_rows(run, result, EXPLAIN_LINES_MAX, &rows.cells, err));
    result->row_count = 0;
    return explain_fill(&explain, &rows, err);
}
