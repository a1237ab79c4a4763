/* query/metric_define.c - looking metrics up, and checking new ones. */
#include "query/metric_define.h"

#include "query/names.h"
#include "query/parse.h"
#include "storage/base/arena.h"
#include "storage/base/size.h"

/* ---- finding ---- */

/* An unknown name, and the nearest known one. */
static enum err_code fail_unknown(struct dataset *dataset, struct str name, struct arena *arena,
                                  struct err *err)
{
    struct metric *metrics = NULL;
    struct str *names = NULL;
    struct str near = {0};
    uint32_t count = 0;
    ERR_TRY(dataset_metrics(dataset, arena, &metrics, &count, err));
    ERR_TRY(ARENA_NEW(arena, count, &names, err));
    for (uint32_t i = 0; i < count; i++) {
        names[i] = metrics[i].texts[METRIC_NAME];
    }
    return names_nearest(names, count, name, &near) && !str_eq(near, name)
               ? err_set(err, ERR_NOT_FOUND,
                         "no metric \"" STR_FMT "\" is defined; did you mean \"" STR_FMT "\"?",
                         STR_ARG(name), STR_ARG(near))
               : err_set(err, ERR_NOT_FOUND, "no metric \"" STR_FMT "\" is defined", STR_ARG(name));
}

static enum err_code find_stored(void *arg, struct str name, uint32_t version, struct arena *arena,
                                 struct str *ret, struct err *err)
{
    struct dataset *dataset = arg;
    struct metric metric;
    enum err_code code = dataset_metric(dataset, name, version, arena, &metric, err);
    if (code == ERR_NOT_FOUND && version != 0 &&
        dataset_metric(dataset, name, 0, arena, &metric, err) == ERR_OK) {
        return err_set(err, ERR_NOT_FOUND,
                       "metric \"" STR_FMT "\" has no version %u, its newest is %u", STR_ARG(name),
                       version, metric.version);
    }
    if (code == ERR_NOT_FOUND) {
        return fail_unknown(dataset, name, arena, err);
    }
    ERR_TRY(code);
    *ret = metric.texts[METRIC_DEFINITION];
    return ERR_OK;
}

struct metric_finder metrics_of(struct dataset *dataset)
{
    return (struct metric_finder){find_stored, dataset};
}

/* ---- defining ---- */

/* The new ones before the stored ones. */
struct overlay {
    struct dataset *dataset;
    const struct metric *metrics;
    uint32_t count;
};

static enum err_code find_overlaid(void *arg, struct str name, uint32_t version,
                                   struct arena *arena, struct str *ret, struct err *err)
{
    const struct overlay *overlay = arg;
    for (uint32_t i = 0; i < overlay->count && version == 0; i++) {
        if (str_eq(overlay->metrics[i].texts[METRIC_NAME], name)) {
            *ret = overlay->metrics[i].texts[METRIC_DEFINITION];
            return ERR_OK;
        }
    }
    return find_stored(overlay->dataset, name, version, arena, ret, err);
}

static enum err_code check_texts(const struct metric *metric, struct err *err)
{
    static const struct {
        const char *name;
        uint32_t bytes_max;
        bool is_needed;
    } rules[METRIC_TEXTS] = {
        [METRIC_NAME] = {"metric", METRIC_NAME_BYTES_MAX, true},
        [METRIC_NAME_EN] = {"name_en", METRIC_LINE_BYTES_MAX, true},
        [METRIC_NAME_ZH] = {"name_zh", METRIC_LINE_BYTES_MAX, true},
        [METRIC_UNIT] = {"unit", METRIC_LINE_BYTES_MAX, false},
        [METRIC_DESCRIPTION] = {"description", METRIC_LINE_BYTES_MAX, false},
        [METRIC_OWNER] = {"owner", METRIC_LINE_BYTES_MAX, true},
        [METRIC_SOURCE] = {"source", METRIC_LINE_BYTES_MAX, true},
        [METRIC_DEFINITION] = {"definition", METRIC_DEFINITION_BYTES_MAX, true},
    };
    for (int i = 0; i < METRIC_TEXTS; i++) {
        if (rules[i].is_needed && metric->texts[i].len == 0) {
            return err_set(err, ERR_INVALID, "\"%s\" is missing", rules[i].name);
        }
        if (metric->texts[i].len > rules[i].bytes_max) {
            return err_set(err, ERR_LIMIT, "\"%s\" has %zu bytes, the limit is %u", rules[i].name,
                           metric->texts[i].len, rules[i].bytes_max);
        }
    }
    return ERR_OK;
}

static enum err_code check_metric(const struct overlay *overlay, uint32_t idx, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    const struct metric *metric = &overlay->metrics[idx];
    const struct metric_finder finder = {find_overlaid, (void *)(uintptr_t)overlay};
    const struct query_request request = {.text = metric->texts[METRIC_DEFINITION],
                                          .metrics = &finder};
    ERR_TRY(check_texts(metric, err));
    for (uint32_t i = 0; i < idx; i++) {
        if (str_eq(overlay->metrics[i].texts[METRIC_NAME], metric->texts[METRIC_NAME])) {
            return err_set(err, ERR_INVALID, "it is given twice");
        }
    }
    return query_parse_metric(&request, metric->texts[METRIC_NAME], arena, err);
}

/* The place is one in the definition, which only the message can say. */
static enum err_code in_metric(const struct metric *metric, struct err *err)
{
    struct str name = metric->texts[METRIC_NAME];
    if (err->line != 0) {
        (void)err_context(err, "definition, line %u, column %u", err->line, err->column);
        err->line = 0;
        err->column = 0;
    }
    return err_context(err, "metric \"%.*s\"", (int)MIN_OF(name.len, METRIC_NAME_BYTES_MAX),
                       name.ptr);
}

enum err_code metrics_define(struct dataset *dataset, struct metric *metrics, uint32_t count,
                             struct metrics_defined *ret, struct err *err)
{
    const struct overlay overlay = {dataset, metrics, count};
    for (uint32_t i = 0; i < count; i++) {
        if (check_metric(&overlay, i, err) != ERR_OK) {
            return in_metric(&metrics[i], err);
        }
    }
    return dataset_define_metrics(dataset, metrics, count, ret, err);
}

/* ---- dropping ---- */

/* What is there, without those that go. */
struct keeping {
    struct dataset *dataset;
    const struct str *dropped;
    uint32_t count;
    const struct str *missed; /* one that a definition is made of; NULL: none yet */
};

static const struct str *dropped_name(const struct keeping *keeping, struct str name)
{
    for (uint32_t i = 0; i < keeping->count; i++) {
        if (str_eq(keeping->dropped[i], name)) {
            return &keeping->dropped[i];
        }
    }
    return NULL;
}

static enum err_code find_kept(void *arg, struct str name, uint32_t version, struct arena *arena,
                               struct str *ret, struct err *err)
{
    struct keeping *keeping = arg;
    const struct str *dropped = dropped_name(keeping, name);
    if (dropped != NULL) {
        keeping->missed = dropped;
        return err_set(err, ERR_NOT_FOUND, "it is dropped");
    }
    return find_stored(keeping->dataset, name, version, arena, ret, err);
}

/* That the metric can do without those that go. What is wrong with it otherwise was so before. */
static enum err_code check_kept(struct keeping *keeping, const struct metric *metric,
                                struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct err ignored = {0};
    const struct metric_finder finder = {find_kept, keeping};
    const struct query_request request = {.text = metric->texts[METRIC_DEFINITION],
                                          .metrics = &finder};
    keeping->missed = NULL;
    (void)!query_parse_metric(&request, metric->texts[METRIC_NAME], arena, &ignored);
    return keeping->missed == NULL
               ? ERR_OK
               : err_set(err, ERR_INVALID,
                         "metric \"" STR_FMT "\" is made of metric \"" STR_FMT
                         "\": drop both, or define it without",
                         STR_ARG(metric->texts[METRIC_NAME]), STR_ARG(*keeping->missed));
}

enum err_code metrics_drop(struct dataset *dataset, const struct str *names, uint32_t count,
                           uint32_t *ret_versions, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct keeping keeping = {.dataset = dataset, .dropped = names, .count = count};
    struct metric *metrics = NULL;
    struct metric one;
    uint32_t metric_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        enum err_code code = dataset_metric(dataset, names[i], 0, arena, &one, err);
        if (code != ERR_OK) {
            return code == ERR_NOT_FOUND ? fail_unknown(dataset, names[i], arena, err) : code;
        }
    }
    ERR_TRY(dataset_metrics(dataset, arena, &metrics, &metric_count, err));
    for (uint32_t i = 0; i < metric_count; i++) { /* by (name, version) */
        struct str name = metrics[i].texts[METRIC_NAME];
        bool is_newest = i + 1 == metric_count || !str_eq(metrics[i + 1].texts[METRIC_NAME], name);
        if (is_newest && dropped_name(&keeping, name) == NULL) {
            ERR_TRY(check_kept(&keeping, &metrics[i], err));
        }
    }
    return dataset_drop_metrics(dataset, names, count, ret_versions, err);
}
