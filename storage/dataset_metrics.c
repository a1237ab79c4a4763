/* storage/dataset_metrics.c - the metrics of a data set: kept in the catalog, version behind version. */
#include "storage/dataset_int.h"

#include "storage/metric.h"

struct metric_list {
    struct arena *arena;
    struct metric *items;
    uint32_t count, cap;
};

static enum err_code take_metric(void *arg, const struct metric *metric, struct err *err)
{
    struct metric_list *list = arg;
    if (list->count == list->cap) {
        uint32_t cap = list->cap == 0 ? 8 : list->cap * 2;
        struct metric *more = NULL;
        ERR_TRY(ARENA_NEW(list->arena, cap, &more, err));
        if (list->count > 0) {
            memcpy(more, list->items, list->count * sizeof(*more));
        }
        list->items = more;
        list->cap = cap;
    }
    struct metric *own = &list->items[list->count];
    *own = *metric;
    for (int i = 0; i < METRIC_TEXTS; i++) {
        ERR_TRY(arena_str(list->arena, metric->texts[i], &own->texts[i], err));
    }
    list->count++;
    return ERR_OK;
}

enum err_code dataset_metrics(struct dataset *dataset, struct arena *arena, struct metric **ret,
                              uint32_t *ret_count, struct err *err)
{
    struct metric_list list = {.arena = arena};
    ERR_TRY(catalog_metrics(dataset->store->catalog, dataset->row.id, take_metric, &list, err));
    *ret = list.items;
    *ret_count = list.count;
    return ERR_OK;
}

enum err_code dataset_metric(struct dataset *dataset, struct str name, uint32_t version,
                             struct arena *arena, struct metric *ret, struct err *err)
{
    struct metric_list list = {.arena = arena};
    ERR_TRY(catalog_metric(dataset->store->catalog, dataset->row.id, name, version, take_metric,
                           &list, err));
    if (list.count == 0) {
        return err_set(err, ERR_NOT_FOUND, "no metric \"" STR_FMT "\" is defined", STR_ARG(name));
    }
    *ret = list.items[0];
    return ERR_OK;
}

/* Wherever the two come from. */
static bool says_the_same(const struct metric *a, const struct metric *b)
{
    for (int i = 0; i < METRIC_TEXTS; i++) {
        if (i != METRIC_SOURCE && !str_eq(a->texts[i], b->texts[i])) {
            return false;
        }
    }
    return true;
}

/* Give each metric its version; those that say something new are put together in `out_fresh`. */
static enum err_code number_metrics(const struct metric_list *known, struct metric *metrics,
                                    uint32_t count, struct metric *out_fresh,
                                    uint32_t *ret_fresh_count, struct metrics_defined *ret,
                                    struct err *err)
{
    uint32_t fresh_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct metric *newest = NULL; /* the list goes by (name, version) */
        for (uint32_t k = 0; k < known->count; k++) {
            if (str_eq(known->items[k].texts[METRIC_NAME], metrics[i].texts[METRIC_NAME])) {
                newest = &known->items[k];
            }
        }
        metrics[i].version = newest == NULL ? 1 : newest->version;
        if (newest != NULL && says_the_same(newest, &metrics[i])) {
            ret->same++;
            continue;
        }
        metrics[i].version += newest != NULL;
        ret->added += newest == NULL;
        ret->changed += newest != NULL;
        out_fresh[fresh_count++] = metrics[i];
    }
    *ret_fresh_count = fresh_count;
    return known->count + fresh_count <= METRICS_MAX
               ? ERR_OK
               : err_set(err, ERR_LIMIT, "a data set has at most %u versions of metrics",
                         METRICS_MAX);
}

enum err_code dataset_define_metrics(struct dataset *dataset, struct metric *metrics,
                                     uint32_t count, struct metrics_defined *ret, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct metric_list known = {.arena = arena};
    struct metrics_defined defined = {0};
    struct metric *fresh = NULL;
    uint32_t fresh_count = 0;
    if (dataset->store->opts.is_read_only) {
        return err_set(err, ERR_INVALID, "the store was opened read-only");
    }
    ERR_TRY(ARENA_NEW(arena, count, &fresh, err));
    struct catalog *catalog = dataset->store->catalog;
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = catalog_metrics(catalog, dataset->row.id, take_metric, &known, err);
    if (code == ERR_OK) {
        code = number_metrics(&known, metrics, count, fresh, &fresh_count, &defined, err);
    }
    if (code == ERR_OK && fresh_count > 0) {
        code = catalog_add_metrics(catalog, dataset->row.id, fresh, fresh_count, err);
    }
    pthread_mutex_unlock(&dataset->catalog_lock);
    if (code == ERR_OK) {
        *ret = defined;
    }
    return code;
}

enum err_code dataset_drop_metrics(struct dataset *dataset, const struct str *names, uint32_t count,
                                   uint32_t *ret_versions, struct err *err)
{
    if (dataset->store->opts.is_read_only) {
        return err_set(err, ERR_INVALID, "the store was opened read-only");
    }
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = catalog_drop_metrics(dataset->store->catalog, dataset->row.id, names, count,
                                              ret_versions, err);
    pthread_mutex_unlock(&dataset->catalog_lock);
    return code;
}
