/* server/catalogue_door.c - the metrics of a data set: defined or dropped, all or none of a body, as JSON.
 *
 *     [{"metric": "gmv", "name_en": "Gross merchandise value", "name_zh": "...", "unit": "CNY",
 *       "description": "what buyers paid", "owner": "growth", "definition": "sum(amount of pay_success)"}, ...]
 *
 * One object alone is a list of one. `source` of the URL says where they come from, else it is the API. What says the same
 * as before makes no new version. The answer counts: {"name":"shop","added":1,"changed":0,"same":0}.
 *
 *     {"drop": "gmv"}, {"drop": ["gmv", "arpu"]}       with all versions; the answer: {"name":"shop","dropped":2,"versions":3} */
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

static enum err_code define(struct job *job, struct dataset *dataset,
                            const struct json_token *tokens, struct buf *out, struct err *err)
{
    struct metric *metrics = NULL;
    struct metrics_defined defined = {0};
    uint32_t count = 0;
    ERR_TRY(take_body(job, tokens, &metrics, &count, err));
    ERR_TRY(metrics_define(dataset, metrics, count, &defined, err));
    buf_printf(out, ",\"added\":%u,\"changed\":%u,\"same\":%u}\n", defined.added, defined.changed,
               defined.same);
    return ERR_OK;
}

/* Whether the body is about what goes: an object whose first member is "drop". */
static bool is_drop(const struct json_token *tokens)
{
    return tokens[0].kind == JSON_OBJECT && tokens[0].end_idx > 1 &&
           str_eq(tokens[1].key, STR("drop"));
}

static enum err_code take_names(struct job *job, const struct json_token *tokens, struct str **ret,
                                uint32_t *ret_count, struct err *err)
{
    bool is_list = tokens[1].kind == JSON_ARRAY;
    uint32_t begin = is_list ? 2 : 1;
    uint32_t end = is_list ? tokens[1].end_idx : 2;
    struct str *names = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(job->arena, METRICS_MAX, &names, err));
    for (uint32_t i = begin; i < end; i++) {
        if (tokens[i].kind != JSON_STRING) {
            return err_set(err, ERR_INVALID,
                           "\"drop\" takes the name of a metric, or an array of names");
        }
        for (uint32_t k = 0; k < count; k++) {
            if (str_eq(names[k], tokens[i].text)) {
                return err_set(err, ERR_INVALID, "metric \"" STR_FMT "\" is given twice",
                               STR_ARG(names[k]));
            }
        }
        if (count == METRICS_MAX) {
            return err_set(err, ERR_LIMIT, "more than %u metrics", METRICS_MAX);
        }
        names[count++] = tokens[i].text;
    }
    if (end + (is_list ? 1 : 0) != tokens[0].end_idx) {
        return err_set(err, ERR_INVALID, "\"drop\" stands alone in its body");
    }
    *ret = names;
    *ret_count = count;
    return ERR_OK;
}

static enum err_code drop(struct job *job, struct dataset *dataset, const struct json_token *tokens,
                          struct buf *out, struct err *err)
{
    struct str *names = NULL;
    uint32_t count = 0;
    uint32_t versions = 0;
    ERR_TRY(take_names(job, tokens, &names, &count, err));
    ERR_TRY(metrics_drop(dataset, names, count, &versions, err));
    buf_printf(out, ",\"dropped\":%u,\"versions\":%u}\n", count, versions);
    return ERR_OK;
}

/* The texts live in the parser: all is done before it goes. */
static enum err_code do_body(struct job *job, struct dataset *dataset, struct buf *out,
                             struct err *err)
{
    CLEANUP(json_parser_freep) struct json_parser *parser = NULL;
    const struct json_token *tokens = NULL;
    ERR_TRY(job_json(job, &parser, &tokens, err));
    buf_z(out, "{\"name\":");
    json_quote(str_of(dataset_name(dataset)), out);
    return is_drop(tokens) ? drop(job, dataset, tokens, out, err)
                           : define(job, dataset, tokens, out, err);
}

void door_catalogue(struct job *job, struct io *io)
{
    (void)io;
    static const char *const params[] = {"dataset", "source"};
    struct err err;
    struct dataset *dataset = NULL;
    if (!job_open(job, params, COUNT_OF(params))) {
        job_finish(job);
        return;
    }
    enum err_code code =
        store_dataset(job->server->store, job_dataset_name(job), false, &dataset, &err);
    if (code == ERR_OK) {
        code = do_body(job, dataset, &job->response.body, &err);
    }
    if (code != ERR_OK) {
        job_fail(job, &err);
    } else {
        job_answer(job, "application/json");
    }
    job_finish(job);
}
