/* query/bind_journeys.c - sequence, sessions, paths, attribution, absence, intervals. */
#include "query/bind_int.h"

#include "query/journey_measures.h"
#include "query/session_cut.h"

#define LOOKBACK_MS  (UINT64_C(30) * 86400000)
#define HALF_LIFE_MS (UINT64_C(7) * 86400000)
#define LONGEST_MS   (UINT64_C(24) * 3600000)

static uint64_t ms_or(const struct ast_duration *duration, uint64_t otherwise)
{
    return duration->place.line != 0 ? duration_ms(duration->duration) : otherwise;
}

/* The bit of a selector in the rows' masks. */
static enum err_code bind_bit(struct binder *b, const struct ast_selector *ast, uint64_t *ret)
{
    uint32_t selector = 0;
    ERR_TRY(bind_selector(b, ast, false, &selector));
    *ret = UINT64_C(1) << selector;
    return ERR_OK;
}

static enum err_code bind_any_bit(struct binder *b, uint64_t *ret)
{
    uint32_t selector = 0;
    ERR_TRY(bind_plain_selector(b, (struct ast_name){0}, &selector));
    *ret = UINT64_C(1) << selector;
    return ERR_OK;
}

/* A key that events carry along: a field of single values. */
enum err_code bind_carried(struct binder *b, struct ast_name name, const char *what,
                           struct by_key *ret)
{
    *ret = (struct by_key){.name = name.text};
    ERR_TRY(bind_one_field(b, name, what, &ret->field));
    if (ret->field.kind == FIELD_PROP && ret->field.type == COL_LIST) {
        return bind_fail(b, name.place,
                         "property \"" STR_FMT "\" is a list, and %s needs single values",
                         STR_ARG(name.text), what);
    }
    return ERR_OK;
}

static enum err_code bind_measures(struct binder *b, const struct ast_name *names, uint32_t count,
                                   const char *const *words, uint32_t word_count,
                                   const uint8_t **ret)
{
    uint8_t *measures = NULL;
    ERR_TRY(ARENA_NEW(b->arena, count, &measures, b->err));
    for (uint32_t i = 0; i < count; i++) {
        uint8_t word = 0;
        while (!str_eq(names[i].text, str_of(words[word]))) {
            word++;
            ASSERT(word < word_count); /* the parser takes no other names */
        }
        measures[i] = word;
    }
    *ret = measures;
    return ERR_OK;
}

/* A list is of subjects, whatever their groups. */
static enum err_code refuse_shaped_list(struct binder *b)
{
    const struct ast_clauses *clauses = &b->ast->clauses;
    bool is_shaped = clauses->key_count > 0 || clauses->each.place.line != 0;
    return clauses->is_list && is_shaped
               ? bind_fail(b, b->ast->place, "\"list users\" has neither \"by\" nor \"each\"")
               : ERR_OK;
}

/* ---- sequence ---- */

/* Gaps between two elements hold together. */
static struct sequence_element element_of(const struct ast_pattern_element *ast,
                                          const uint64_t *bits)
{
    struct sequence_element element = {
        .take = ast->condition == 0 ? UINT64_MAX : bits[ast->condition - 1],
        .is_free = ast->is_free,
        .max_ms = UINT64_MAX,
    };
    for (uint32_t i = 0; i < ast->gap_count; i++) {
        const struct ast_gap *gap = &ast->gaps[i];
        uint64_t min_ms = gap->op == AST_GAP_GT                            ? gap->ms + 1
                          : gap->op == AST_GAP_GE || gap->op == AST_GAP_EQ ? gap->ms
                                                                           : 0;
        uint64_t max_ms = gap->op == AST_GAP_LE || gap->op == AST_GAP_EQ ? gap->ms : UINT64_MAX;
        if (gap->op == AST_GAP_LT && gap->ms == 0) {
            min_ms = UINT64_MAX; /* nothing is less than no time apart */
            max_ms = 0;
        } else if (gap->op == AST_GAP_LT) {
            max_ms = gap->ms - 1;
        }
        element.min_ms = MAX_OF(element.min_ms, min_ms);
        element.max_ms = MIN_OF(element.max_ms, max_ms);
    }
    return element;
}

enum err_code bind_sequence(struct binder *b)
{
    static const enum sequence_mode modes[] = {[AST_SEQUENCE_COUNT] = SEQUENCE_COUNT,
                                               [AST_SEQUENCE_MATCH] = SEQUENCE_MATCH,
                                               [AST_SEQUENCE_NEXT] = SEQUENCE_NEXT};
    static const enum sequence_anchor anchors[] = {[AST_ANCHOR_FIRST_MATCH] = SEQUENCE_FIRST_MATCH,
                                                   [AST_ANCHOR_LAST_MATCH] = SEQUENCE_LAST_MATCH,
                                                   [AST_ANCHOR_EDGE] = SEQUENCE_EDGE};
    const struct ast_sequence *ast = &b->ast->sequence;
    struct sequence *sequence = &b->query->sequence;
    struct sequence_element *elements = NULL;
    uint64_t bits[QUERY_SELECTORS_MAX];
    uint64_t any = 0;

    for (uint32_t i = 0; i < ast->over_count; i++) {
        ERR_TRY(bind_bit(b, &ast->over[i], &bits[i]));
    }
    ERR_TRY(ARENA_NEW(b->arena, ast->element_count, &elements, b->err));
    for (uint32_t i = 0; i < ast->element_count; i++) {
        elements[i] = element_of(&ast->elements[i], bits);
    }
    sequence->elements = elements;
    sequence->element_count = ast->element_count;
    sequence->mode = modes[ast->mode];
    sequence->anchor = anchors[ast->anchor];
    sequence->is_backward = ast->is_backward;
    ERR_TRY(refuse_shaped_list(b));
    if (ast->mode == AST_SEQUENCE_NEXT) {
        /* what follows need not meet a condition: every event is seen */
        ERR_TRY(bind_any_bit(b, &any));
        return bind_carried(b, ast->next, "\"next\"", &sequence->next);
    }
    if (ast->anchor_place.line != 0) {
        return bind_fail(b, ast->anchor_place, "\"anchor\" goes with \"next KEY\"");
    }
    if (b->ast->clauses.top.place.line != 0 && b->ast->clauses.key_count == 0) {
        return bind_fail(b, b->ast->clauses.top.place,
                         "\"top\" goes with \"next KEY\" or \"by KEY\"");
    }
    return ERR_OK;
}

/* ---- sessions ---- */

enum err_code bind_sessions(struct binder *b)
{
    static const uint8_t usual[] = {SESSION_COUNT, SESSION_USERS, SESSION_AVG_MS,
                                    SESSION_BOUNCE_RATE};
    const struct ast_sessions *ast = &b->ast->sessions;
    struct sessions *sessions = &b->query->sessions;
    uint64_t bit = 0;

    sessions->cut = (struct session_spec){
        .idle_ms = ms_or(&ast->idle, SESSION_IDLE_MS),
        .cap_ms = ast->is_uncapped ? SESSION_NO_CAP : ms_or(&ast->cap, SESSION_CAP_MS),
        .is_cut_at_midnight = ast->is_cut_at_midnight,
    };
    if (b->ast->clauses.has_other) {
        return bind_fail(b, b->ast->clauses.top.place,
                         "sessions have no \"with other\"; their totals are of everything");
    }
    ERR_TRY(ast->has_selector ? bind_bit(b, &ast->selector, &bit) : bind_any_bit(b, &bit));
    if (ast->measure_count == 0) {
        sessions->measures = usual;
        sessions->measure_count = COUNT_OF(usual);
        return ERR_OK;
    }
    sessions->measure_count = ast->measure_count;
    return bind_measures(b, ast->measures, ast->measure_count, session_measure_words,
                         SESSION_MEASURES, &sessions->measures);
}

/* ---- paths ---- */

static enum err_code bind_nodes(struct binder *b, struct paths *paths)
{
    const struct ast_paths *ast = &b->ast->paths;
    struct by_key *keys = NULL;
    struct path_rule *rules = NULL;
    struct ast_name event_name = {.text = STR("event_name"), .place = b->ast->place};
    uint32_t count = MAX_OF(ast->over_count, 1u);

    ERR_TRY(ARENA_NEW(b->arena, count, &keys, b->err));
    for (uint32_t i = 0; i < count; i++) {
        ERR_TRY(bind_carried(b, ast->over_count == 0 ? event_name : ast->over[i], "\"over\"",
                             &keys[i]));
    }
    ERR_TRY(ARENA_NEW(b->arena, ast->rule_count, &rules, b->err));
    for (uint32_t i = 0; i < ast->rule_count; i++) {
        rules[i] = (struct path_rule){ast->rules[i].pattern.text, ast->rules[i].label.text};
    }
    paths->node_keys = keys;
    paths->node_key_count = count;
    paths->rules = rules;
    paths->rule_count = ast->rule_count;
    return ERR_OK;
}

enum err_code bind_paths(struct binder *b)
{
    static const enum paths_from froms[] = {[AST_PATHS_ALL] = PATHS_ALL,
                                            [AST_PATHS_STARTING] = PATHS_STARTING,
                                            [AST_PATHS_ENDING] = PATHS_ENDING,
                                            [AST_PATHS_BETWEEN] = PATHS_BETWEEN};
    const struct ast_paths *ast = &b->ast->paths;
    struct paths *paths = &b->query->paths;
    bool is_exactly = ast->exactly.place.line != 0;
    bool has_gap = ast->gap.place.line != 0;
    uint64_t any = 0;

    paths->from = froms[ast->from];
    paths->shape = is_exactly         ? PATHS_EXACTLY
                   : ast->is_variants ? PATHS_VARIANTS
                   : ast->is_shortest ? PATHS_SHORTEST
                                      : PATHS_EDGES;
    paths->depth = is_exactly                   ? (uint32_t)ast->exactly.value
                   : ast->depth.place.line != 0 ? (uint32_t)ast->depth.value
                                                : 5;
    /* Windows and variants are of subjects, the others of sessions, unless the query says so. */
    bool is_of_subject = paths->shape == PATHS_EXACTLY || paths->shape == PATHS_VARIANTS;
    paths->is_session =
        ast->unit == AST_UNIT_SESSION || (ast->unit == AST_UNIT_DEFAULT && !is_of_subject);
    paths->is_cut = paths->is_session || has_gap;
    paths->cut = (struct session_spec){
        .idle_ms = ms_or(&ast->gap, SESSION_IDLE_MS),
        .cap_ms = paths->is_session ? SESSION_CAP_MS : SESSION_NO_CAP,
    };
    paths->keeps_repeats = ast->keeps_repeats || is_of_subject;
    paths->has_times = ast->has_times;
    paths->has_loops = ast->has_loops;
    paths->is_slash_ignored = ast->is_slash_ignored;
    ERR_TRY(bind_any_bit(b, &any));
    if (ast->from == AST_PATHS_STARTING || ast->from == AST_PATHS_BETWEEN) {
        ERR_TRY(bind_bit(b, &ast->start, &paths->start_bit));
    }
    if (ast->from == AST_PATHS_ENDING || ast->from == AST_PATHS_BETWEEN) {
        ERR_TRY(bind_bit(b, &ast->end, &paths->end_bit));
    }
    if (ast->has_ignore) {
        ERR_TRY(bind_bit(b, &ast->ignore, &paths->ignore_bit));
    }
    return bind_nodes(b, paths);
}

/* ---- attribution ---- */

enum err_code bind_attribution(struct binder *b)
{
    static const enum attribution_model models[] = {
        [AST_MODEL_FIRST] = MODEL_FIRST,
        [AST_MODEL_LAST] = MODEL_LAST,
        [AST_MODEL_LAST_NON_DIRECT] = MODEL_LAST_NON_DIRECT,
        [AST_MODEL_LINEAR] = MODEL_LINEAR,
        [AST_MODEL_TIME_DECAY] = MODEL_TIME_DECAY,
        [AST_MODEL_POSITION] = MODEL_POSITION,
    };
    const struct ast_attribution *ast = &b->ast->attribution;
    struct attribution *attribution = &b->query->attribution;

    attribution->model = models[ast->model];
    attribution->lookback_ms = ms_or(&ast->lookback, LOOKBACK_MS);
    attribution->half_life_ms = ms_or(&ast->half_life, HALF_LIFE_MS);
    attribution->is_consuming = ast->is_consuming;
    attribution->keeps_repeats = ast->keeps_repeats;
    ERR_TRY(bind_bit(b, &ast->conversion, &attribution->conversion_bit));
    ERR_TRY(ast->has_touches ? bind_bit(b, &ast->touches, &attribution->touch_bit)
                             : bind_any_bit(b, &attribution->touch_bit));
    if (!ast->keeps_repeats) { /* to see where sessions end */
        ERR_TRY(bind_any_bit(b, &attribution->any_bit));
    }
    attribution->has_value = ast->value.place.line != 0;
    if (attribution->has_value) {
        attribution->value.name = ast->value.text;
        ERR_TRY(bind_number_field(b, ast->value, "\"value\"", &attribution->value.field));
        if (ast->has_value_selector) {
            ERR_TRY(bind_bit(b, &ast->value_selector, &attribution->value_bit));
        }
    }
    return ERR_OK;
}

/* ---- absence, intervals ---- */

enum err_code bind_absence(struct binder *b)
{
    const struct ast_absence *ast = &b->ast->absence;
    struct absence *absence = &b->query->absence;
    uint64_t bit = 0;

    absence->has_second = ast->has_second;
    absence->span_ms = ast->has_second ? ms_or(&ast->within, 0) : ms_or(&ast->gap, 0);
    if (b->ast->clauses.has_other) {
        return bind_fail(b, b->ast->clauses.top.place, "absence has no \"with other\"");
    }
    ERR_TRY(refuse_shaped_list(b));
    ERR_TRY(bind_bit(b, &ast->first, &bit));
    return ast->has_second ? bind_bit(b, &ast->second, &bit) : ERR_OK;
}

enum err_code bind_intervals(struct binder *b)
{
    static const uint8_t usual[] = {INTERVAL_UTILISATION, INTERVAL_PEAK, INTERVAL_ONLINE_MS,
                                    INTERVAL_USERS};
    const struct ast_intervals *ast = &b->ast->intervals;
    struct intervals *intervals = &b->query->intervals;
    uint64_t bit = 0;

    intervals->longest_ms = ms_or(&ast->longest, LONGEST_MS);
    if (b->ast->clauses.has_other) {
        return bind_fail(b, b->ast->clauses.top.place, "intervals have no \"with other\"");
    }
    ERR_TRY(bind_bit(b, &ast->start, &bit));
    ERR_TRY(bind_bit(b, &ast->end, &bit));
    if (ast->measure_count == 0) {
        intervals->measures = usual;
        intervals->measure_count = COUNT_OF(usual);
        return ERR_OK;
    }
    intervals->measure_count = ast->measure_count;
    return bind_measures(b, ast->measures, ast->measure_count, interval_measure_words,
                         INTERVAL_MEASURES, &intervals->measures);
}

/* ---- whose ---- */

enum err_code bind_per(struct binder *b)
{
    const struct ast_name *per = &b->ast->clauses.per;
    struct by_key key = {0};
    struct field *field = NULL;

    b->query->is_list = b->ast->clauses.is_list || b->ast->is_people_list;
    bool is_counted = b->query->verb == VERB_TREND || b->query->verb == VERB_DISTINCT;
    if (per->place.line == 0 || is_counted) { /* there it is a matter of measures */
        return ERR_OK;
    }
    ERR_TRY(bind_carried(b, *per, "\"per\"", &key));
    ERR_TRY(ARENA_NEW(b->arena, 1, &field, b->err));
    *field = key.field;
    b->query->per = field;
    return ERR_OK;
}

/* ---- columns ---- */

static void add_word(struct str *items, uint32_t *count, const char *word)
{
    items[(*count)++] = str_of(word);
}

static void add_all(struct str *items, uint32_t *count, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        add_word(items, count, words[i]);
    }
}

static void paths_columns(const struct bound_query *query, struct str *items, uint32_t *count)
{
    static const char *const edges[] = {"position", "from", "to", "count", "users"};
    static const char *const paths[] = {"path", "count", "users"};
    if (query->paths.shape != PATHS_EDGES) {
        add_all(items, count, paths, COUNT_OF(paths));
        return;
    }
    add_all(items, count, edges, COUNT_OF(edges));
    if (query->paths.has_times) {
        add_word(items, count, "avg_ms");
    }
    if (query->paths.has_loops) {
        add_word(items, count, "back");
    }
}

static void sequence_columns(const struct bound_query *query, struct str *items, uint32_t *count)
{
    static const char *const next[] = {"next", "users"};
    static const char *const counts[] = {"users", "matches", "rate"};
    static const char *const match[] = {"users", "rate"};
    static const char *const list[] = {"matches", "first_match"};
    enum sequence_mode mode = query->sequence.mode;
    if (query->is_list) {
        items[(*count)++] = query->per != NULL ? query->per->name : STR("user_id");
        add_all(items, count, mode == SEQUENCE_NEXT ? next : list, mode == SEQUENCE_NEXT ? 1 : 2);
    } else if (mode == SEQUENCE_NEXT) {
        add_all(items, count, next, COUNT_OF(next));
    } else if (mode == SEQUENCE_MATCH) {
        add_all(items, count, match, COUNT_OF(match));
    } else {
        add_all(items, count, counts, COUNT_OF(counts));
    }
}

static void absence_columns(const struct bound_query *query, struct str *items, uint32_t *count)
{
    static const char *const followed[] = {"count",   "followed", "absent",
                                           "pending", "users",    "rate"};
    static const char *const silent[] = {"subjects", "users",      "gaps",
                                         "silent",   "longest_ms", "total_ms"};
    static const char *const list[] = {"time", "end", "length_ms"};
    if (query->is_list) {
        items[(*count)++] = query->per != NULL ? query->per->name : STR("user_id");
        add_all(items, count, list, query->absence.has_second ? 1 : COUNT_OF(list));
    } else if (query->absence.has_second) {
        add_all(items, count, followed, COUNT_OF(followed));
    } else {
        add_all(items, count, silent, COUNT_OF(silent));
    }
}

uint32_t bind_journey_columns(const struct bound_query *query, struct str *items)
{
    static const char *const credits[] = {"conversions", "share", "touched", "value"};
    uint32_t count = 0;

    if (query->has_each) {
        add_word(items, &count, "time");
    }
    for (uint32_t i = 0; i < query->key_count; i++) {
        items[count++] = query->keys[i].name;
    }
    switch (query->verb) {
    case VERB_SEQUENCE: sequence_columns(query, items, &count); break;
    case VERB_PATHS: paths_columns(query, items, &count); break;
    case VERB_ATTRIBUTION:
        add_all(items, &count, credits, COUNT_OF(credits) - (query->attribution.has_value ? 0 : 1));
        break;
    case VERB_ABSENCE: absence_columns(query, items, &count); break;
    case VERB_SESSIONS:
        for (uint32_t i = 0; i < query->sessions.measure_count; i++) {
            add_word(items, &count, session_measure_words[query->sessions.measures[i]]);
        }
        break;
    case VERB_INTERVALS:
        for (uint32_t i = 0; i < query->intervals.measure_count; i++) {
            add_word(items, &count, interval_measure_words[query->intervals.measures[i]]);
        }
        break;
    default: break;
    }
    return count;
}
