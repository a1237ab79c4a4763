/* server/catalogue_door.c - the metrics of a data set: defined, all or none of a body, as JSON.
 *
 *     [{"metric": "gmv", "name_en": "Gross merchandise value", "name_zh": "...", "unit": "CNY",
 *       "description": "what buyers paid", "owner": "growth", "definition": "sum(amount of pay_success)"}, ...]
 *
 * One object alone is a list of one. `source` of the URL says where they come from, else it is the API. What says the same
 * as before makes no new version. The answer counts: {"name":"shop","added":1,"changed":0,"same":0}. */
#include "query/metric_define.h"
#include "server/json_tokens.h"
#include "server/routes.h"
#include "storage/base/clock.h"

static const char *const members[METRIC_TEXTS] = {
    [METRIC_NAME] = "metric",
    [METRIC_NAME_EN] = "name_en",
    [METRIC_NAME_ZH] = "name_zh",
    [METRIC_UNIT] = "unit",
    [METRIC_DESCRIPTION] = "description",
    [METRIC_OWNER] = "owner",
    [METRIC_DEFINITION] = "definition",
};

static enum err_code take_member(const struct json_token *token, struct metric *metric,
                                 struct err *err)
{
    for (size_t i = 0; i < METRIC_TEXTS; i++) {
        if (members[i] == NULL || !str_eq(token->key, str_of(members[i]))) {
            continue;
        }
        if (token->kind != JSON_STRING) {
            return err_set(err, ERR_INVALID, "\"%s\" is not text", members[i]);
        }
        metric->texts[i] = token->text;
        return ERR_OK;
    }
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" is nothing that a metric has: known are \"metric\", \"name_en\", "
                   "\"name_zh\", \"unit\", \"description\", \"owner\" and \"definition\"",
                   (int)(token->key.len < 100 ? token->key.len : 100), token->key.ptr);
}

/* The object that begins at tokens[at]. */
static enum err_code take_metric(const struct json_token *tokens, uint32_t at, struct str source,
                                 int64_t now_ms, struct metric *ret, struct err *err)
{
    *ret = (struct metric){.defined_ms = now_ms};
    for (int i = 0; i < METRIC_TEXTS; i++) {
        ret->texts[i] = STR("");
    }
    ret->texts[METRIC_SOURCE] = source;
    if (tokens[at].kind != JSON_OBJECT) {
        return err_set(err, ERR_INVALID, "it is not a JSON object");
    }
    for (uint32_t i = at + 1; i < tokens[at].end_idx; i++) {
        ERR_TRY(take_member(&tokens[i], ret, err));
    }
    return ERR_OK;
}

/* All metrics of the body, in the job's arena; their texts live in the parser. */
static enum err_code take_body(struct job *job, const struct json_token *tokens,
                               struct metric **ret, uint32_t *ret_count, struct err *err)
{
    bool is_list = tokens[0].kind == JSON_ARRAY;
    uint32_t end = is_list ? tokens[0].end_idx : tokens[0].end_idx + 1;
    const struct str *named = url_param(&job->params, "source");
    struct str source = named != NULL && named->len > 0 ? *named : STR("api");
    int64_t now_ms = clock_wall_ms();
    struct metric *metrics = NULL;
    uint32_t count = 0;
    if (!is_list && tokens[0].kind != JSON_OBJECT) {
        return err_set(err, ERR_INVALID, "the body is no JSON array of metrics");
    }
    ERR_TRY(ARENA_NEW(job->arena, METRICS_MAX, &metrics, err));
    for (uint32_t i = is_list ? 1 : 0; i < end; i++) {
        if (count == METRICS_MAX) {
            return err_set(err, ERR_LIMIT, "more than %u metrics", METRICS_MAX);
        }
        if (take_metric(tokens, i, source, now_ms, &metrics[count], err) != ERR_OK) {
            return err_context(err, "metric %u of the body", count + 1);
        }
        count++;
        i = tokens[i].end_idx;
    }
    *ret = metrics;
    *ret_count = count;
    return ERR_OK;
}

/* The texts live in the parser: the metrics are stored before it goes. */
static enum err_code define_body(struct job *job, struct dataset *dataset,
                                 struct metrics_defined *ret, struct err *err)
{
    CLEANUP(json_parser_freep) struct json_parser *parser = NULL;
    const struct json_token *tokens = NULL;
    struct metric *metrics = NULL;
    uint32_t count = 0;
    ERR_TRY(job_json(job, &parser, &tokens, err));
    ERR_TRY(take_body(job, tokens, &metrics, &count, err));
    return metrics_define(dataset, metrics, count, ret, err);
}

void door_catalogue(struct job *job, struct io *io)
{
    (void)io;
    static const char *const params[] = {"dataset", "source"};
    struct err err;
    struct dataset *dataset = NULL;
    struct metrics_defined defined = {0};
    if (!job_open(job, params, COUNT_OF(params))) {
        job_finish(job);
        return;
    }
    enum err_code code =
        store_dataset(job->server->store, job_dataset_name(job), false, &dataset, &err);
    if (code == ERR_OK) {
        code = define_body(job, dataset, &defined, &err);
    }
    if (code != ERR_OK) {
        job_fail(job, &err);
    } else {
        buf_z(&job->response.body, "{\"name\":");
        json_quote(str_of(dataset_name(dataset)), &job->response.body);
        buf_printf(&job->response.body, ",\"added\":%u,\"changed\":%u,\"same\":%u}\n",
                   defined.added, defined.changed, defined.same);
        job_answer(job, "application/json");
    }
    job_finish(job);
}
