/* query/query_run.c - the one door: bind, run the verb, say what the answer stands on. */
#include "query/answer_cache.h"
#include "query/answer_key.h"
#include "query/bind.h"
#include "query/diff.h"
#include "query/past.h"
#include "query/profile.h"
#include "query/restatements.h"
#include "query/result_pack.h"
#include "query/run_people.h"
#include "storage/base/clock.h"

#define QUERY_MEMORY_BYTES ((size_t)1 << 30)

static struct str verb_name(const struct bound_query *query)
{
    if (query->is_explain || query->is_profile) {
        return query->is_explain ? STR("explain") : STR("profile");
    }
    if (query->is_why) {
        return STR("why");
    }
    if (query->cell != NULL) {
        return STR("users");
    }
    switch (query->verb) {
    case VERB_TREND: return STR("trend");
    case VERB_DISTINCT: return STR("distinct");
    case VERB_FUNNEL: return STR("funnel");
    case VERB_RETENTION: return STR("retention");
    case VERB_EVENTS: return STR("events");
    case VERB_TIMELINE: return STR("timeline");
    case VERB_SHOW_EVENTS:
    case VERB_SHOW_PROPERTIES:
    case VERB_SHOW_VALUES:
    case VERB_SHOW_SEGMENTS: return STR("show");
    case VERB_SEQUENCE: return STR("sequence");
    case VERB_SESSIONS: return STR("sessions");
    case VERB_LIFECYCLE: return STR("lifecycle");
    case VERB_CONDITIONS: return STR("conditions");
    case VERB_CHURN: return STR("churn");
    case VERB_LTV: return STR("ltv");
    case VERB_STICKINESS: return STR("stickiness");
    case VERB_PATHS: return STR("paths");
    case VERB_ATTRIBUTION: return STR("attribution");
    case VERB_ABSENCE: return STR("absence");
    case VERB_INTERVALS: return STR("intervals");
    case VERB_SEGMENT: return STR("segment");
    case VERB_SHOW_COHORTS: return STR("show");
    case VERB_SHOW_METRICS:
    case VERB_SHOW_PROFILES: return STR("show");
    case VERB_DROP_COHORT: return STR("drop");
    }
    return STR("");
}

enum err_code run_table(struct query_run_ctx *run, struct result *result, struct err *err)
{
    switch (run->query->verb) {
    case VERB_TREND:
    case VERB_DISTINCT: return verb_trend(run, result, err);
    case VERB_FUNNEL: return verb_funnel(run, result, err);
    case VERB_RETENTION:
    case VERB_LTV: return verb_retention(run, result, err);
    case VERB_EVENTS:
    case VERB_TIMELINE: return verb_events(run, result, err);
    case VERB_SHOW_EVENTS:
    case VERB_SHOW_PROPERTIES:
    case VERB_SHOW_VALUES:
    case VERB_SHOW_SEGMENTS:
    case VERB_SHOW_PROFILES: return verb_show(run, result, err);
    case VERB_SEQUENCE: return verb_sequence(run, result, err);
    case VERB_SESSIONS: return verb_sessions(run, result, err);
    case VERB_LIFECYCLE: return verb_lifecycle(run, result, err);
    case VERB_CONDITIONS: return verb_conditions(run, result, err);
    case VERB_CHURN: return verb_churn(run, result, err);
    case VERB_STICKINESS: return verb_stickiness(run, result, err);
    case VERB_PATHS: return verb_paths(run, result, err);
    case VERB_ATTRIBUTION: return verb_attribution(run, result, err);
    case VERB_ABSENCE: return verb_absence(run, result, err);
    case VERB_INTERVALS: return verb_intervals(run, result, err);
    case VERB_SHOW_COHORTS: return verb_show_cohorts(run, result, err);
    case VERB_SHOW_METRICS: return verb_show_metrics(run, result, err);
    case VERB_DROP_COHORT: return verb_drop_cohort(run, result, err);
    case VERB_SEGMENT: return segment_per_key(run, result, err);
    }
    return err_set(err, ERR_UNSUPPORTED, "no such verb");
}

static enum err_code run_verb(struct query_run_ctx *run, struct result *result, struct err *err)
{
    if (run->query->is_explain) {
        return verb_explain(run, result, err);
    }
    ERR_TRY(run_uses(run, err));
    ERR_TRY(run_exclude(run, err));
    if (run->diff != NULL) {
        return verb_diff(run, result, err);
    }
    if (run->restatements != NULL) {
        return verb_restatements(run, result, err);
    }
    if (run_asks_people(run->query) && !run->query->is_why) {
        return verb_people(run, result, err);
    }
    run_table_fn fn = run->query->is_why ? verb_why : run_table;
    return run->query->compare.name.len > 0 ? run_compared(run, fn, result, err)
                                            : fn(run, result, err);
}

/* ---- meta ---- */

static void meta_sources(const struct query_run_ctx *run, struct result_meta *meta)
{
    const struct snapshot *snapshot = run->snapshot;
    for (uint32_t i = 0; i < snapshot->source_count; i++) {
        if (!snapshot->sources[i]->is_memory) {
            meta->segments++;
            meta->segments_pruned += !atomic_load(&run->is_source_used[i]);
        }
    }
    meta->rows_read = atomic_load(&run->rows_read);
    meta->bytes_read = atomic_load(&run->bytes_read);
    meta->blocks_loaded = atomic_load(&run->blocks_loaded);
    meta->cached = atomic_load(&run->cached);
    meta->rows_cached = atomic_load(&run->rows_cached);
    meta->bytes_cached = atomic_load(&run->bytes_cached);
}

static enum err_code meta_text(struct arena *arena, const char *text, struct str *ret,
                               struct err *err)
{
    return arena_str(arena, str_of(text), ret, err);
}

/* The verb may have left warnings of its own: the binder's come first. */
static enum err_code meta_warnings(const struct bound_query *query, struct result *result,
                                   struct err *err)
{
    struct result_meta *meta = &result->meta;
    uint32_t count = query->warning_count + meta->warning_count;
    struct str *all = NULL;
    ERR_TRY(ARENA_NEW(result->arena, count, &all, err));
    for (uint32_t i = 0; i < count; i++) {
        struct str text = i < query->warning_count ? query->warnings[i]
                                                   : meta->warnings[i - query->warning_count];
        ERR_TRY(arena_str(result->arena, text, &all[i], err));
    }
    meta->warnings = all;
    meta->warning_count = count;
    return ERR_OK;
}

static enum err_code fill_meta(const struct query_run_ctx *run, struct result *result,
                               struct err *err)
{
    const struct bound_query *query = run->query;
    const struct snapshot *snapshot = run->snapshot;
    struct result_meta *meta = &result->meta;
    struct arena *arena = result->arena;
    if (snapshot->dataset != NULL) {
        ERR_TRY(meta_text(arena, dataset_name(snapshot->dataset), &meta->dataset, err));
    }
    if (snapshot->watermark_ms != INT64_MIN) {
        char text[CIVIL_TEXT_BYTES];
        ERR_TRY(arena_str(arena, civil_format_instant(query->zone, snapshot->watermark_ms, text),
                          &meta->watermark, err));
    }
    if (snapshot->history_from_ms != INT64_MIN) {
        char text[CIVIL_TEXT_BYTES];
        ERR_TRY(arena_str(arena, civil_format_instant(query->zone, snapshot->history_from_ms, text),
                          &meta->history_from, err));
    }
    ERR_TRY(arena_str(arena, zone_name(query->zone), &meta->time_zone, err));
    ERR_TRY(meta_text(arena, zone_db_version(), &meta->zone_version, err));
    ERR_TRY(meta_warnings(query, result, err));
    meta->epoch = (uint64_t)(run->diff != NULL           ? run->diff->to_ms
                             : run->restatements != NULL ? run->restatements->until_ms
                                                         : snapshot->commit_ms);
    meta->exact = true;
    meta->partial = query->has_range && query->has_partial;
    meta->verb = run->diff != NULL           ? STR("diff")
                 : run->restatements != NULL ? STR("restatements")
                                             : verb_name(query);
    meta_sources(run, meta);
    return ERR_OK;
}

/* ---- running ---- */

/* Verbs that keep only the best rows while they read have cut them already. */
static bool verb_shapes_itself(const struct query_run_ctx *run)
{
    const struct bound_query *query = run->query;
    if (run->diff != NULL || run->restatements != NULL) {
        return true;
    }
    return !query->is_explain && !query->is_why &&
           (query->verb == VERB_EVENTS || query->verb == VERB_TIMELINE || run_asks_people(query));
}

static enum err_code result_create(struct result **ret, struct err *err)
{
    /* No budget: the result outlives the query's. Its rows were asked for from that one. */
    struct arena *arena = arena_create(NULL);
    struct result *result = NULL;
    if (ARENA_NEW(arena, 1, &result, err) != ERR_OK) {
        arena_free(arena);
        return err->code;
    }
    result->arena = arena;
    *ret = result;
    return ERR_OK;
}

static enum err_code run_answer(struct query_run_ctx *run, struct result *result, struct err *err)
{
    ERR_TRY(run_verb(run, result, err));
    return verb_shapes_itself(run) ? ERR_OK : run_shape(run, result, err);
}

/* Run the query for its figures: its own answer is dropped. */
static enum err_code run_profile(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(result_freep) struct result *answer = NULL;
    struct query_profile *profile = run->profile;
    ERR_TRY(result_create(&answer, err));
    uint64_t begin_us = clock_mono_us();
    ERR_TRY(run_verb(run, answer, err));
    uint64_t made_us = clock_mono_us();
    profile->rows_made = answer->row_count;
    if (!verb_shapes_itself(run)) {
        ERR_TRY(run_shape(run, answer, err));
    }
    profile->verb_us = made_us - begin_us;
    profile->shape_us = clock_mono_us() - made_us;
    return verb_profile(run, answer, result, err);
}

static enum err_code run_bound(struct query_run_ctx *run, struct result *result, struct err *err)
{
    ERR_TRY(run_check(run, err));
    void *memory = NULL;
    ERR_TRY(arena_alloc_array(run->arena, run->snapshot->source_count, sizeof(_Atomic bool),
                              &memory, err));
    run->is_source_used = memory;
    ERR_TRY(run->profile == NULL ? run_answer(run, result, err) : run_profile(run, result, err));
    return fill_meta(run, result, err);
}

/* ---- whole answers ---- */

struct answer_cache *run_answers(const struct query_run_ctx *run)
{
    const struct query_request *request = run->request;
    bool is_off = request == NULL || request->is_cache_off || request->is_reference_path;
    return is_off ? NULL : request->answers;
}

/* *ret_is_found true where the answer was there. */
static enum err_code find_answer(struct query_run_ctx *run, struct str key, struct result *result,
                                 bool *ret_is_found, struct err *err)
{
    CLEANUP(answer_hit_done) struct answer_hit hit = {.block = NULL};
    *ret_is_found = answer_cache_find(run_answers(run), ANSWER_WHOLE, key, &hit);
    if (!*ret_is_found) {
        return ERR_OK;
    }
    struct result_meta *meta = &result->meta;
    ERR_TRY(result_unpack(hit.bytes, result, err));
    meta->cached = 1;
    meta->rows_cached = meta->rows_read;
    meta->bytes_cached = meta->bytes_read;
    return ERR_OK;
}

static void keep_answer(struct query_run_ctx *run, struct str key, const struct result *result)
{
    CLEANUP(buf_freep) struct buf packed = {0};
    struct answer_cache *answers = run_answers(run);
    if (result_pack(result, answer_cache_item_max(answers), &packed)) {
        answer_cache_keep(answers, ANSWER_WHOLE, key, buf_as_str(&packed));
    }
}

/* The known columns are the one thing about a data set that can grow under a snapshot: an answer is kept where they did
 * not while it was made. `column_count` is from before the binder looked. */
static enum err_code run_or_find(struct query_run_ctx *run, uint32_t column_count,
                                 struct result *result, struct err *err)
{
    CLEANUP(buf_freep) struct buf key = {0};
    const struct schema *schema = run->snapshot->schema;
    bool is_found = false;
    if (run_answers(run) == NULL || run->diff != NULL || run->restatements != NULL ||
        !answer_has_key(run)) {
        return run_bound(run, result, err);
    }
    ERR_TRY(answer_key(run, &key, err));
    if (schema_count(schema) == column_count) {
        ERR_TRY(find_answer(run, buf_as_str(&key), result, &is_found, err));
    }
    if (is_found) {
        return ERR_OK;
    }
    ERR_TRY(run_bound(run, result, err));
    if (schema_count(schema) == column_count) {
        keep_answer(run, buf_as_str(&key), result);
    }
    return ERR_OK;
}

static void query_unbindp(const struct bound_query **query)
{
    if (*query != NULL) {
        query_unbind(*query);
    }
}

static enum err_code profile_start(struct query_run_ctx *run, uint64_t bind_us, struct err *err)
{
    ERR_TRY(ARENA_NEW(run->arena, 1, &run->profile, err));
    run->profile->bind_us = bind_us;
    run->profile->thread_count = run->pool == NULL ? 1 : pool_slots(run->pool);
    return ARENA_NEW(run->arena, run->profile->thread_count, &run->profile->threads, err);
}

static void run_uses_donep(struct query_run_ctx **run)
{
    run_uses_done(*run);
}

/* What a question of the past is asked with, and of. */
struct then {
    struct query_request request; /* with the epoch's instant as `now` */
    struct diff diff;
    struct restatements restatements;
    struct snapshot *past; /* NULL: the present one will do */
};

static void then_done(struct then *then)
{
    snapshot_unpinp(&then->past);
}

/* Where the query says so: put the epoch's snapshot and instant in the place of the present ones. */
static enum err_code go_back(struct query_run_ctx *run, const struct ast_query *ast,
                             struct then *then, struct err *err)
{
    const struct snapshot *present = run->snapshot;
    if (ast->diff_from.place.line != 0) {
        ERR_TRY(diff_open(run->request, ast, present, run->arena, &then->diff, err));
        ERR_TRY(diff_before(&then->diff, &run->budget, run->io, &then->past, err));
        then->request.now_ms = then->diff.to_ms;
        run->diff = &then->diff;
    } else if (ast->restatements.place.line != 0) {
        ERR_TRY(restatements_open(run->request, ast, present, run->arena, &then->restatements, err));
        ERR_TRY(restatements_end(&then->restatements, &run->budget, run->io, &then->past, err));
        then->request.now_ms = then->restatements.until_ms;
        run->restatements = &then->restatements;
    } else if (ast->clauses.as_of.place.line != 0 || ast->clauses.is_event_time) {
        ERR_TRY(past_of(run->request, ast, present, run->io, run->arena, &then->past,
                        &then->request.now_ms, err));
    } else {
        return ERR_OK;
    }
    run->request = &then->request;
    run->snapshot = then->past == NULL ? run->snapshot : then->past;
    return ERR_OK;
}

enum err_code query_ask(struct snapshot *snapshot, struct pool *pool, struct io *io,
                        const struct query_request *request, query_ask_fn fn, void *arg,
                        struct err *err)
{
    struct pool_account account = {0};
    struct query_run_ctx run = {.request = request,
                                .snapshot = snapshot,
                                .pool = pool,
                                .io = io,
                                .account = &account};
    budget_init_within(
        &run.budget,
        request->memory_bytes_max != 0 ? request->memory_bytes_max : QUERY_MEMORY_BYTES,
        "query memory", request->memory);
    CLEANUP(budget_endp) struct budget *budget = &run.budget;
    CLEANUP(arena_freep) struct arena *arena = arena_create(budget);
    CLEANUP(query_unbindp) const struct bound_query *query = NULL;
    CLEANUP(run_uses_donep) struct query_run_ctx *own = &run; /* before the arena and the query go */
    run.arena = arena;
    const struct ast_query *ast = NULL;
    CLEANUP(then_done) struct then then = {.request = *request};
    ERR_TRY(query_read(request, snapshot, arena, &ast, err));
    ERR_TRY(go_back(&run, ast, &then, err));
    ERR_TRY(query_bind_read(run.request, ast, run.snapshot, io, arena, &query, err));
    own->query = query;
    return fn(own, arg, err);
}

/* A question that a table answers. */
struct asked {
    uint64_t begin_us;
    uint32_t column_count; /* known before binding */
    struct result *result;
};

static enum err_code answer_asked(struct query_run_ctx *run, void *arg, struct err *err)
{
    struct asked *asked = arg;
    CLEANUP(result_freep) struct result *result = NULL;
    if (run->query->is_profile) {
        ERR_TRY(profile_start(run, clock_mono_us() - asked->begin_us, err));
    }
    ERR_TRY(result_create(&result, err));
    ERR_TRY(run_or_find(run, asked->column_count, result, err));
    result->meta.elapsed_us = clock_mono_us() - asked->begin_us;
    asked->result = TAKE(result);
    return ERR_OK;
}

enum err_code query_run(struct snapshot *snapshot, struct pool *pool, struct io *io,
                        const struct query_request *request, struct result **ret, struct err *err)
{
    struct asked asked = {clock_mono_us(), schema_count(snapshot->schema), NULL};
    ERR_TRY(query_ask(snapshot, pool, io, request, answer_asked, &asked, err));
    *ret = asked.result;
    return ERR_OK;
}
