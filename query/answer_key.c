#include "query/answer_key.h"

#include "query/answer_cache.h"
#include "query/lex.h"
#include "storage/base/hash.h"

/* What profiles say is in the data; who is in a cohort is not. */
static bool has_saved_people(const struct bound_query *query)
{
    for (uint32_t i = 0; i < query->use_count; i++) {
        if (query->uses[i]->profile == NULL) {
            return true;
        }
    }
    return false;
}

bool answer_has_key(const struct query_run_ctx *run)
{
    const struct bound_query *query = run->query;
    if (run->request->is_reference_path || query->is_explain || query->is_profile || query->is_beyond_snapshot ||
        run->snapshot->dataset == NULL) {
        return false;
    }
    /* Saved people change without the data, and saving them is more than an answer. */
    if (has_saved_people(query) || query->excluded_count > 0 || query->cell != NULL || query->is_why ||
        query->save.len > 0) {
        return false;
    }
    switch (query->verb) {
    case VERB_TREND:
    case VERB_DISTINCT:
    case VERB_FUNNEL:
    case VERB_RETENTION:
    case VERB_EVENTS:
    case VERB_SEQUENCE:
    case VERB_SESSIONS:
    case VERB_PATHS:
    case VERB_ATTRIBUTION:
    case VERB_ABSENCE:
    case VERB_INTERVALS:
    case VERB_LIFECYCLE:
    case VERB_STICKINESS:
    case VERB_CONDITIONS:
    case VERB_CHURN:
    case VERB_LTV: return true;
    case VERB_SEGMENT:
    case VERB_SHOW_COHORTS:
    case VERB_SHOW_METRICS:
    case VERB_DROP_COHORT:
    case VERB_TIMELINE:
    case VERB_SHOW_EVENTS:
    case VERB_SHOW_PROPERTIES:
    case VERB_SHOW_VALUES:
    case VERB_SHOW_SEGMENTS:
    case VERB_SHOW_PROFILES: return false;
    }
    return false;
}

/* ---- the question ---- */

static void key_params(const struct query_request *request, struct buf *out)
{
    buf_u32(out, request->param_count);
    for (uint32_t i = 0; i < request->param_count; i++) {
        const struct query_param *param = &request->params[i];
        buf_blob(out, param->name);
        buf_u8(out, (uint8_t)param->kind);
        switch (param->kind) {
        case PARAM_STRING: buf_blob(out, param->string); break;
        case PARAM_NUMBER:
            buf_i64(out, param->number.m);
            buf_u8(out, param->number.scale);
            break;
        case PARAM_BOOL: buf_u8(out, param->boolean ? 1 : 0); break;
        }
    }
}

/* Labels of columns are pieces of the text: so the text is the name, and not its canonical form. Warnings have places in
 * it, which depend on the layout too. */
static enum err_code key_text(const struct query_run_ctx *run, struct buf *out, struct err *err)
{
    const struct bound_query *query = run->query;
    struct str text = {0};
    ERR_TRY(lex_label(query->text, 0, (uint32_t)query->text.len, run->arena, &text, err));
    buf_blob(out, text);
    buf_blob(out, query->expansion); /* a metric's name alone does not say what was asked */
    key_params(run->request, out);
    buf_u32(out, query->warning_count);
    for (uint32_t i = 0; i < query->warning_count; i++) {
        buf_blob(out, query->warnings[i]);
    }
    return ERR_OK;
}

static enum err_code key_now_floor(const struct bound_query *query, enum civil_unit unit,
                                   uint32_t count, struct buf *out, struct err *err)
{
    struct civil_grid grid;
    ERR_TRY(civil_grid_init(query->zone, unit, count, (enum civil_weekday)query->week_start, &grid,
                            err));
    buf_i64(out, civil_floor(&grid, query->now_ms));
    return ERR_OK;
}

/* A funnel says how many attempts' windows are over: all of them, once the last that can begin is. None begins behind the
 * last event, of which the key knows what the sources are. */
static bool is_maturing(const struct query_run_ctx *run)
{
    const struct bound_query *query = run->query;
    uint64_t window_ms = query->funnel.window_ms;
    if (query->verb != VERB_FUNNEL || window_ms == UINT64_MAX) {
        return false;
    }
    int64_t last_ms = run->snapshot->time_max_ms;
    int64_t end_ms = last_ms < query->to_ms ? last_ms + 1 : query->to_ms;
    return end_ms > query->now_ms || (uint64_t)query->now_ms - (uint64_t)end_ms < window_ms;
}

/* Verbs ask whether a civil unit has begun or ended by now: that is known from the unit that now lies in. Others measure
 * from now itself. */
static enum err_code key_now(const struct query_run_ctx *run, struct buf *out, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct retention *retention = &query->retention;
    bool has_cohorts = query->verb == VERB_RETENTION || query->verb == VERB_LTV;
    bool is_rolling = has_cohorts && retention->rolling_ms > 0;
    if (query->is_now_read || is_rolling || is_maturing(run) || query->verb == VERB_ABSENCE ||
        query->verb == VERB_INTERVALS) {
        buf_i64(out, query->now_ms);
        return ERR_OK;
    }
    ERR_TRY(key_now_floor(query, CIVIL_DAY, 1, out, err));
    if (query->has_each) {
        ERR_TRY(key_now_floor(query, query->each_unit, query->each_count, out, err));
    }
    return !has_cohorts
               ? ERR_OK
               : key_now_floor(query, retention->unit, retention->unit_count, out, err);
}

static enum err_code key_times(const struct query_run_ctx *run, struct buf *out, struct err *err)
{
    const struct bound_query *query = run->query;
    buf_u8(out, query->has_range ? 1 : 0);
    buf_u8(out, query->has_partial ? 1 : 0);
    buf_i64(out, query->from_ms);
    buf_i64(out, query->to_ms);
    return key_now(run, out, err);
}

enum err_code answer_question(const struct query_run_ctx *run, struct buf *out, struct err *err)
{
    buf_blob(out, zone_name(run->query->zone));
    buf_blob(out, str_of(zone_db_version()));
    return key_text(run, out, err);
}

/* ---- the data ---- */

struct hash128 answer_mask_hash(const struct snapshot *snapshot, uint32_t shard, uint64_t seed,
                                struct buf *scratch)
{
    const roaring_bitmap_t *mask = snapshot->deleted[shard];
    if (mask == NULL || roaring_bitmap_is_empty(mask)) {
        return (struct hash128){0};
    }
    size_t bytes = roaring_bitmap_portable_size_in_bytes(mask);
    buf_clear(scratch);
    uint8_t *at = buf_reserve(scratch, bytes);
    if (at == NULL) {
        return (struct hash128){0};
    }
    roaring_bitmap_portable_serialize(mask, (char *)at);
    return hash128(at, bytes, seed);
}

static enum err_code key_masks(const struct query_run_ctx *run, struct buf *out, struct err *err)
{
    CLEANUP(buf_freep) struct buf scratch = {0};
    uint64_t seed = answer_cache_seed(run->request->answers);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        struct hash128 hash = answer_mask_hash(run->snapshot, shard, seed, &scratch);
        buf_u64(out, hash.lo);
        buf_u64(out, hash.hi);
    }
    return buf_check(&scratch, err);
}

/* What the table does not stand on, its meta does: how many segments there are, and how many of them were opened. */
static enum err_code key_sources(const struct query_run_ctx *run, struct buf *out, struct err *err)
{
    CLEANUP(buf_freep) struct buf list = {0};
    const struct snapshot *snapshot = run->snapshot;
    for (uint32_t i = 0; i < snapshot->source_count; i++) {
        const struct source *source = snapshot->sources[i];
        buf_u64(&list, source->id);
        buf_u32(&list, source->shard);
        buf_u32(&list, source->row_count);
        buf_i64(&list, source->time_min_ms);
        buf_i64(&list, source->time_max_ms);
        buf_u64(&list, source->identity_version);
        buf_u8(&list, source->is_memory ? 1 : 0);
        buf_u8(&list, source->cut != NULL ? 1 : 0);
    }
    ERR_TRY(buf_check(&list, err));
    struct hash128 hash = hash128(list.ptr, list.len, answer_cache_seed(run->request->answers));
    buf_u64(out, hash.lo);
    buf_u64(out, hash.hi);
    return ERR_OK;
}

static enum err_code key_snapshot(const struct query_run_ctx *run, struct buf *out, struct err *err)
{
    const struct snapshot *snapshot = run->snapshot;
    buf_u64(out, dataset_uid(snapshot->dataset));
    buf_u64(out, snapshot->epoch);
    buf_i64(out, snapshot->commit_ms);
    buf_u8(out, snapshot->is_past ? 1 : 0);
    buf_i64(out, snapshot->past.rows_ms);
    buf_i64(out, snapshot->past.late_ms);
    buf_i64(out, snapshot->past.late_before_ms);
    buf_i64(out, snapshot->past.facts_ms);
    buf_u8(out, snapshot->past.is_by_arrival ? 1 : 0);
    buf_u64(out, snapshot->identity_version);
    buf_u64(out, snapshot->row_count);
    buf_i64(out, snapshot->watermark_ms);
    buf_i64(out, snapshot->time_min_ms);
    buf_i64(out, snapshot->time_max_ms);
    buf_i64(out, snapshot->expired_before_ms);
    buf_i64(out, snapshot->history_from_ms);
    buf_u32(out, schema_count(snapshot->schema));
    ERR_TRY(key_masks(run, out, err));
    return key_sources(run, out, err);
}

enum err_code answer_key(const struct query_run_ctx *run, struct buf *out, struct err *err)
{
    ERR_TRY(key_snapshot(run, out, err));
    ERR_TRY(key_times(run, out, err));
    ERR_TRY(answer_question(run, out, err));
    return buf_check(out, err);
}
