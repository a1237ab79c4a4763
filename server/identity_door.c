/* server/identity_door.c - who is who in a data set: figures, and the owner's acts, as JSON.
 *
 *     {"merge":"u_2","into":"u_1"}      all events of u_2 are u_1's, until
 *     {"unmerge":"u_2"}
 *     {"nobody":"-1"}                   the user id stands for nobody, until
 *     {"somebody":"-1"}
 *
 * Each is one durable act, in the next question; the answer is the figures, as of GET. What cannot be is refused with the
 * reason, and counted. */
#include "server/json_tokens.h"
#include "server/routes.h"
#include "storage/identity.h"

#include <inttypes.h>

struct act {
    struct str merge, into, unmerge, nobody, somebody;
};

static enum err_code take_member(const struct json_token *token, struct act *act, struct err *err)
{
    const struct {
        const char *name;
        struct str *to;
    } members[] = {{"merge", &act->merge},
                   {"into", &act->into},
                   {"unmerge", &act->unmerge},
                   {"nobody", &act->nobody},
                   {"somebody", &act->somebody}};
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        if (!str_eq(token->key, str_of(members[i].name))) {
            continue;
        }
        if (token->kind != JSON_STRING || token->text.len == 0 ||
            token->text.len > USER_ID_BYTES_MAX) {
            return err_set(err, ERR_INVALID, "\"%s\" must be a user id, a string of 1 to %u bytes",
                           members[i].name, USER_ID_BYTES_MAX);
        }
        *members[i].to = token->text;
        return ERR_OK;
    }
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" is no act: known are \"merge\" with \"into\", \"unmerge\", \"nobody\" "
                   "and \"somebody\"",
                   (int)(token->key.len < 100 ? token->key.len : 100), token->key.ptr);
}

static enum err_code do_act(struct dataset *dataset, const struct act *act, struct err *err)
{
    int acts = (act->merge.len > 0) + (act->unmerge.len > 0) + (act->nobody.len > 0) +
               (act->somebody.len > 0);
    if (acts != 1 || (act->merge.len > 0) != (act->into.len > 0)) {
        return err_set(err, ERR_INVALID,
                       "the body is not one act: {\"merge\": \"u_2\", \"into\": \"u_1\"}");
    }
    if (act->merge.len > 0) {
        return dataset_merge_user(dataset, act->merge, act->into, err);
    }
    if (act->unmerge.len > 0) {
        return dataset_unmerge_user(dataset, act->unmerge, err);
    }
    bool is_nobody = act->nobody.len > 0;
    return dataset_declare_nobody(dataset, is_nobody ? act->nobody : act->somebody, is_nobody, err);
}

/* The ids live in the parser: the act is done before it goes. */
static enum err_code act_of_body(struct job *job, struct dataset *dataset, struct err *err)
{
    CLEANUP(json_parser_freep) struct json_parser *parser = NULL;
    const struct json_token *tokens = NULL;
    struct act act = {0};
    ERR_TRY(job_json(job, &parser, &tokens, err));
    if (tokens[0].kind != JSON_OBJECT) {
        return err_set(err, ERR_INVALID,
                       "the body is not a JSON object: {\"merge\": \"u_2\", \"into\": \"u_1\"}");
    }
    for (uint32_t i = 1; i < tokens[0].end_idx; i++) {
        ERR_TRY(take_member(&tokens[i], &act, err));
    }
    return do_act(dataset, &act, err);
}

/* As a snapshot of now sees it. */
static enum err_code identity_json(struct dataset *dataset, struct buf *out, struct err *err)
{
    struct snapshot *snapshot = NULL;
    ERR_TRY(dataset_snapshot(dataset, &snapshot, err));
    snapshot_unpin(snapshot);
    struct identity_stats stats = dataset_identity_stats(dataset);
    buf_z(out, "{\"name\":");
    json_quote(str_of(dataset_name(dataset)), out);
    buf_printf(out,
               ",\"bound\":%" PRIu64 ",\"shared\":%" PRIu64 ",\"merged\":%" PRIu64
               ",\"nobodies\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"moved_rows\":%" PRIu64
               ",\"moved_bytes\":%" PRIu64 "}\n",
               stats.bound, stats.shared, stats.merged, stats.nobodies, stats.refused, stats.rows,
               stats.bytes);
    return ERR_OK;
}

void door_identity(struct job *job, struct io *io)
{
    (void)io;
    static const char *const params[] = {"dataset"};
    struct err err;
    struct dataset *dataset = NULL;
    if (!job_open(job, params, COUNT_OF(params))) {
        job_finish(job);
        return;
    }
    enum err_code code =
        store_dataset(job->server->store, job_dataset_name(job), false, &dataset, &err);
    if (code == ERR_OK && str_eq(job->request.method, STR("POST"))) {
        code = act_of_body(job, dataset, &err);
    }
    if (code == ERR_OK) {
        code = identity_json(dataset, &job->response.body, &err);
    }
    if (code != ERR_OK) {
        job_fail(job, &err);
    } else {
        job_answer(job, "application/json");
    }
    job_finish(job);
}
