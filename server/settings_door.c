/* server/settings_door.c - what the owner of a data set decides: read, and changed, as JSON.
 *
 *     {"name":"shop","expire_after":"90d","cold_after":"off","dedup_window":"7d"}
 *
 * A change names only what it changes. */
#include "server/json_tokens.h"
#include "server/routes.h"

struct setting {
    const char *name;
    size_t off;     /* of the span in struct dataset_settings */
    size_t has_off; /* of its flag in struct settings_change */
};
static const struct setting settings[] = {
    {"expire_after", offsetof(struct dataset_settings, expire_after_ms),
     offsetof(struct settings_change, has_expire_after)},
    {"cold_after", offsetof(struct dataset_settings, cold_after_ms),
     offsetof(struct settings_change, has_cold_after)},
    {"dedup_window", offsetof(struct dataset_settings, dedup_window_ms),
     offsetof(struct settings_change, has_dedup_window)},
};

static void settings_json(struct dataset *dataset, struct buf *out)
{
    struct dataset_settings now = dataset_settings(dataset);
    buf_z(out, "{\"name\":");
    json_quote(str_of(dataset_name(dataset)), out);
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        char text[SETTINGS_TEXT_BYTES];
        uint64_t span_ms = 0;
        memcpy(&span_ms, (const char *)&now + settings[i].off, sizeof(span_ms));
        settings_span_print(span_ms, text);
        buf_printf(out, ",\"%s\":\"%s\"", settings[i].name, text);
    }
    buf_z(out, "}\n");
}

static enum err_code take_setting(const struct json_token *token, struct settings_change *change,
                                  struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        if (!str_eq(token->key, str_of(settings[i].name))) {
            continue;
        }
        uint64_t span_ms = 0;
        const bool has = true;
        if (token->kind != JSON_STRING) {
            return err_set(err, ERR_INVALID, "\"%s\" is not text, as in \"90d\" or \"off\"",
                           settings[i].name);
        }
        if (settings_span_parse(token->text, &span_ms, err) != ERR_OK) {
            return err_context(err, "\"%s\"", settings[i].name);
        }
        memcpy((char *)&change->to + settings[i].off, &span_ms, sizeof(span_ms));
        memcpy((char *)change + settings[i].has_off, &has, sizeof(has));
        return ERR_OK;
    }
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" is no setting: known are \"expire_after\", \"cold_after\" and "
                   "\"dedup_window\"",
                   (int)(token->key.len < 100 ? token->key.len : 100), token->key.ptr);
}

static enum err_code take_body(struct job *job, struct settings_change *change, struct err *err)
{
    CLEANUP(json_parser_freep) struct json_parser *parser = NULL;
    const struct json_token *tokens = NULL;
    ERR_TRY(job_json(job, &parser, &tokens, err));
    if (tokens[0].kind != JSON_OBJECT) {
        return err_set(err, ERR_INVALID,
                       "the body is not a JSON object: {\"expire_after\": \"90d\"}");
    }
    for (uint32_t i = 1; i < tokens[0].end_idx; i++) {
        ERR_TRY(take_setting(&tokens[i], change, err));
    }
    return ERR_OK;
}

void door_settings(struct job *job, struct io *io)
{
    (void)io;
    static const char *const params[] = {"dataset"};
    struct err err;
    struct dataset *dataset = NULL;
    struct settings_change change = {0};
    if (!job_open(job, params, COUNT_OF(params))) {
        job_finish(job);
        return;
    }
    enum err_code code =
        store_dataset(job->server->store, job_dataset_name(job), false, &dataset, &err);
    if (code == ERR_OK && str_eq(job->request.method, STR("POST"))) {
        code = take_body(job, &change, &err);
        if (code == ERR_OK) {
            code = dataset_configure(dataset, &change, &err);
        }
    }
    if (code != ERR_OK) {
        job_fail(job, &err);
    } else {
        settings_json(dataset, &job->response.body);
        job_answer(job, "application/json");
    }
    job_finish(job);
}
