/* query/verb_cohorts.c - saved cohorts: made, shown, dropped. All that queries ever change. */
#include "query/run_people.h"

static enum err_code no_dataset(struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED, "cohorts are of a data set, and this snapshot has none");
}

enum err_code cohort_save(struct query_run_ctx *run, const struct people *people, struct err *err)
{
    const struct bound_query *query = run->query;
    const roaring_bitmap_t *sets[SHARD_COUNT];
    const struct saved_cohort saved = {
        .name = query->save,
        .definition = query->definition,
        .is_static = query->is_static,
        .epoch = (uint64_t)run->snapshot->commit_ms,
        .saved_ms = query->now_ms,
        .users = people_count(people),
    };
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        sets[shard] = people_of(people, shard);
    }
    return run->snapshot->dataset == NULL ? no_dataset(err)
                                          : snapshot_save_cohort(run->snapshot, &saved, sets, err);
}

enum err_code verb_show_cohorts(struct query_run_ctx *run, struct result *result, struct err *err)
{
    static const struct result_col cols[] = {
        {{"cohort", 6}, RESULT_STRING}, {{"kind", 4}, RESULT_STRING},
        {{"users", 5}, RESULT_INT64},   {{"saved_at", 8}, RESULT_TIME},
        {{"epoch", 5}, RESULT_INT64},   {{"definition", 10}, RESULT_STRING},
    };
    struct saved_cohort *cohorts = NULL;
    struct cell *cells = NULL;
    uint32_t count = 0;
    if (run->snapshot->dataset == NULL) {
        return no_dataset(err);
    }
    ERR_TRY(dataset_cohorts(run->snapshot->dataset, run->arena, &cohorts, &count, err));
    result->cols = cols;
    result->col_count = COUNT_OF(cols);
    ERR_TRY(run_result_rows(run, result, count, &cells, err));
    for (uint32_t i = 0; i < count; i++, cells += COUNT_OF(cols)) {
        char text[CIVIL_TEXT_BYTES];
        struct str strings[] = {cohorts[i].name, cohorts[i].is_static ? STR("static") : STR("live"),
                                civil_format_instant(run->query->zone, cohorts[i].saved_ms, text),
                                cohorts[i].definition};
        static const uint32_t places[] = {0, 1, 3, 5};
        for (size_t s = 0; s < COUNT_OF(places); s++) {
            cells[places[s]].kind = CELL_STRING;
            ERR_TRY(arena_str(result->arena, strings[s], &cells[places[s]].string, err));
        }
        cells[2] = (struct cell){.kind = CELL_I64, .i64 = (int64_t)cohorts[i].users};
        cells[4] = (struct cell){.kind = CELL_I64, .i64 = (int64_t)cohorts[i].epoch};
    }
    return ERR_OK;
}

enum err_code verb_drop_cohort(struct query_run_ctx *run, struct result *result, struct err *err)
{
    static const struct result_col cols[] = {{{"dropped", 7}, RESULT_STRING}};
    struct cell *cells = NULL;
    if (run->snapshot->dataset == NULL) {
        return no_dataset(err);
    }
    result->cols = cols;
    result->col_count = COUNT_OF(cols);
    ERR_TRY(run_result_rows(run, result, 1, &cells, err));
    cells[0].kind = CELL_STRING;
    ERR_TRY(arena_str(result->arena, run->query->drop, &cells[0].string, err));
    return dataset_drop_cohort(run->snapshot->dataset, run->query->drop, err);
}
