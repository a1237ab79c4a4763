/* query/verb_metrics.c - show metrics: what has a name, and what the name stands for. */
#include "query/parse.h"
#include "query/run.h"

/* Of each name the newest version, or all versions of the one that was asked for. */
static uint32_t pick(const struct bound_query *query, struct metric *metrics, uint32_t count)
{
    struct str wanted = query->show_metric;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct str name = metrics[i].texts[METRIC_NAME];
        bool is_newest = i + 1 == count || !str_eq(name, metrics[i + 1].texts[METRIC_NAME]);
        if (wanted.len > 0 ? str_eq(name, wanted) : is_newest) {
            metrics[kept++] = metrics[i];
        }
    }
    return kept;
}

static enum err_code show_row(struct query_run_ctx *run, const struct metric *metric,
                              struct result *result, struct cell *cells, struct err *err)
{
    char text[CIVIL_TEXT_BYTES];
    bool is_question = query_is_question(metric->texts[METRIC_DEFINITION], run->arena);
    const struct str strings[] = {
        metric->texts[METRIC_NAME],
        {0},
        is_question ? STR("question") : STR("measure"),
        metric->texts[METRIC_NAME_EN],
        metric->texts[METRIC_NAME_ZH],
        metric->texts[METRIC_UNIT],
        metric->texts[METRIC_DESCRIPTION],
        metric->texts[METRIC_OWNER],
        metric->texts[METRIC_SOURCE],
        civil_format_instant(run->query->zone, metric->defined_ms, text),
        metric->texts[METRIC_DEFINITION],
    };
    for (size_t i = 0; i < COUNT_OF(strings); i++) {
        cells[i].kind = CELL_STRING;
        ERR_TRY(arena_str(result->arena, strings[i], &cells[i].string, err));
    }
    cells[1] = (struct cell){.kind = CELL_I64, .i64 = metric->version};
    return ERR_OK;
}

enum err_code verb_show_metrics(struct query_run_ctx *run, struct result *result, struct err *err)
{
    static const struct result_col cols[] = {
        {{"metric", 6}, RESULT_STRING},       {{"version", 7}, RESULT_INT64},
        {{"kind", 4}, RESULT_STRING},         {{"name_en", 7}, RESULT_STRING},
        {{"name_zh", 7}, RESULT_STRING},      {{"unit", 4}, RESULT_STRING},
        {{"description", 11}, RESULT_STRING}, {{"owner", 5}, RESULT_STRING},
        {{"source", 6}, RESULT_STRING},       {{"defined_at", 10}, RESULT_TIME},
        {{"definition", 10}, RESULT_STRING},
    };
    struct metric *metrics = NULL;
    struct cell *cells = NULL;
    uint32_t count = 0;
    if (run->snapshot->dataset == NULL) {
        return err_set(err, ERR_UNSUPPORTED,
                       "metrics are of a data set, and this snapshot has none");
    }
    ERR_TRY(dataset_metrics(run->snapshot->dataset, run->arena, &metrics, &count, err));
    count = pick(run->query, metrics, count);
    if (count == 0 && run->query->show_metric.len > 0) {
        return err_set(err, ERR_NOT_FOUND, "no metric \"" STR_FMT "\" is defined",
                       STR_ARG(run->query->show_metric));
    }
    result->cols = cols;
    result->col_count = COUNT_OF(cols);
    ERR_TRY(run_result_rows(run, result, count, &cells, err));
    for (uint32_t i = 0; i < count; i++) {
        ERR_TRY(show_row(run, &metrics[i], result, &cells[i * COUNT_OF(cols)], err));
    }
    return ERR_OK;
}
