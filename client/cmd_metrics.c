/* client/cmd_metrics.c - trackway metrics load: a file of metrics becomes a data set's; and drop: some are forgotten. */
#include "client/command.h"
#include "client/input.h"
#include "client/json_tree.h"
#include "storage/base/json_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (64u << 20)

struct metrics_ask {
    const char *server;
    const char *dataset;
    const char *file;         /* of load */
    const char *const *names; /* of drop */
    size_t name_count;
    bool is_json;
};

static enum err_code read_file(const char *path, struct buf *out, struct err *err)
{
    CLEANUP(input_closep) struct input *input = NULL;
    char block[65536];
    size_t len = 1;
    ERR_TRY(input_open(path, &input, err));
    while (len > 0) {
        ERR_TRY(input_read(input, block, sizeof(block), &len, err));
        if (out->len + len > FILE_BYTES_MAX) {
            return err_set(err, ERR_LIMIT, "\"%s\" is longer than %u bytes", path, FILE_BYTES_MAX);
        }
        buf_append(out, block, len);
    }
    return buf_check(out, err);
}

/* The door, and where the metrics come from: the file's name without its folders. */
static void door_path(const char *file, struct buf *out)
{
    const char *slash = strrchr(file, '/');
    const char *name = slash == NULL ? file : slash + 1;
    buf_z(out, "/v1/admin/metrics?source=");
    api_url_escape(strcmp(name, "-") == 0 ? STR("stdin") : str_of(name), out);
    buf_u8(out, '\0');
}

/* The door's sums in a sentence. */
typedef void (*say_fn)(const struct json_tree *tree, struct buf *out);

static void say_loaded(const struct json_tree *tree, struct buf *out)
{
    buf_printf(out, "%" PRIu64 " new metrics, %" PRIu64 " new versions, %" PRIu64 " as before\n",
               json_tree_count(tree, 0, "added", 0), json_tree_count(tree, 0, "changed", 0),
               json_tree_count(tree, 0, "same", 0));
}

static void say_dropped(const struct json_tree *tree, struct buf *out)
{
    buf_printf(out, "%" PRIu64 " metrics dropped, with %" PRIu64 " versions\n",
               json_tree_count(tree, 0, "dropped", 0), json_tree_count(tree, 0, "versions", 0));
}

static enum err_code print_answer(const struct metrics_ask *ask, struct str body, say_fn say,
                                  int *ret_exit, struct err *err)
{
    CLEANUP(json_tree_done) struct json_tree tree = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    if (ask->is_json) {
        *ret_exit = command_print_foreign(body);
        return ERR_OK;
    }
    ERR_TRY(json_tree_parse(&tree, body, err));
    say(&tree, &out);
    ERR_TRY(buf_check(&out, err));
    *ret_exit = command_print(buf_as_str(&out));
    return ERR_OK;
}

/* Send the text to the door, and print what it says. */
static int post(const struct metrics_ask *ask, const char *path, struct str text, say_fn say)
{
    struct err err;
    struct str body = {0};
    int exit = EXIT_FINE;
    CLEANUP(api_freep) struct api *api = NULL;
    enum err_code code = api_create(ask->server, &api, &err);
    if (code == ERR_OK) {
        code = api_post(api, path, ask->dataset, text, &body, &err);
    }
    if (code == ERR_OK) {
        code = print_answer(ask, body, say, &exit, &err);
    }
    return code == ERR_OK ? exit : command_fail(&err, api, EXIT_FAILED);
}

static int load(const struct metrics_ask *ask)
{
    struct err err;
    CLEANUP(buf_freep) struct buf text = {0};
    CLEANUP(buf_freep) struct buf path = {0};
    door_path(ask->file, &path);
    if (buf_check(&path, &err) != ERR_OK || read_file(ask->file, &text, &err) != ERR_OK) {
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    return post(ask, (const char *)path.ptr, buf_as_str(&text), say_loaded);
}

static int drop(const struct metrics_ask *ask)
{
    struct err err;
    CLEANUP(buf_freep) struct buf text = {0};
    for (size_t i = 0; i < ask->name_count; i++) {
        buf_z(&text, i == 0 ? "{\"drop\":[" : ",");
        json_text(str_of(ask->names[i]), &text);
    }
    buf_z(&text, "]}");
    if (buf_check(&text, &err) != ERR_OK) {
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    return post(ask, "/v1/admin/metrics", buf_as_str(&text), say_dropped);
}

int command_metrics(int argc, char *const *argv)
{
    struct metrics_ask ask = {.server = command_server(), .dataset = "default"};
    const struct arg_option options[] = {
        OPTION_SERVER(&ask.server),
        OPTION_DATASET(&ask.dataset),
        {.name = "json", .sentence = "print JSON", .flag = &ask.is_json},
    };
    const struct arg_command command = {
        .name = "trackway metrics",
        .sentence = "named definitions of a data set, from a file, or dropped: all of them or none",
        .usage = "load FILE | drop METRIC... [--server URL] [--dataset NAME] [--json]",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "A metric that says something else than before becomes the next version of its name.\n"
            "What there is: trackway show metrics. The file's form: query/metrics/README.md.\n"
            "Dropped are all versions of a name, where no other metric is made of it.\n\n"
            "  trackway metrics load query/metrics/app.json --dataset demo\n"
            "  trackway show --dataset demo metrics\n"
            "  trackway query --dataset demo 'trend metric(\"gmv\") each day last 30d'\n"
            "  trackway metrics drop retention_curve churn --dataset demo\n",
    };
    int exit = EXIT_FINE;
    struct err err;
    struct arg_list *operands = calloc(1, sizeof(*operands));
    if (operands == NULL) {
        err_set(&err, ERR_NOMEM, "out of memory: arguments");
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    if (command_parse(&command, argc, argv, operands, &exit)) {
        if (operands->count == 2 && strcmp(operands->items[0], "load") == 0) {
            ask.file = operands->items[1];
            exit = load(&ask);
        } else if (operands->count >= 2 && strcmp(operands->items[0], "drop") == 0) {
            ask.names = operands->items + 1;
            ask.name_count = operands->count - 1;
            exit = drop(&ask);
        } else {
            err_set(
                &err, ERR_INVALID,
                "metrics takes the word \"load\" and one file, - for standard input, or the word "
                "\"drop\" and names of metrics");
            exit = command_fail(&err, NULL, EXIT_USAGE);
        }
    }
    free(operands);
    return exit;
}
