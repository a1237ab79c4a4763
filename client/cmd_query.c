/* client/cmd_query.c - trackway query, show, datasets, flush, compact: questions to a server. */
#include "client/command.h"
#include "client/draw.h"
#include "client/sheet.h"
#include "client/term.h"
#include "storage/base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define QUERY_BYTES_MAX (1u << 20)

struct asking {
    const char *server;
    const char *dataset;
    const char *format;
    const char *cache;
    const char *now; /* NULL: the server's clock */
    struct arg_list params;
    struct arg_list words;
};

static bool format_is_known(const char *format, struct err *err)
{
    static const char *const FORMATS[] = {"table", "json", "csv", "ndjson"};
    for (size_t i = 0; i < COUNT_OF(FORMATS); i++) {
        if (strcmp(format, FORMATS[i]) == 0) {
            return true;
        }
    }
    err_set(err, ERR_INVALID, "format \"%.40s\": there are table, json, csv and ndjson", format);
    return false;
}

/* NAME=VALUE: a JSON number, true, false or "text" is itself; anything else is text. */
static enum err_code param_read(const char *arg, struct arena *arena, struct api_param *ret,
                                struct err *err)
{
    CLEANUP(json_tree_done) struct json_tree tree = {0};
    struct err ignored;
    const char *equals = strchr(arg, '=');
    if (equals == NULL || equals == arg) {
        return err_set(err, ERR_INVALID, "--param \"%.100s\" is not NAME=VALUE", arg);
    }
    *ret = (struct api_param){.name = {arg, (size_t)(equals - arg)}, .value = str_of(equals + 1)};
    if (json_tree_parse(&tree, ret->value, &ignored) != ERR_OK) {
        return ERR_OK;
    }
    switch (tree.nodes[0].kind) {
    case JSON_TREE_STRING: return arena_str(arena, tree.nodes[0].text, &ret->value, err);
    case JSON_TREE_NUMBER:
    case JSON_TREE_TRUE:
    case JSON_TREE_FALSE: ret->is_literal = true; return ERR_OK;
    case JSON_TREE_NULL:
    case JSON_TREE_ARRAY:
    case JSON_TREE_OBJECT: break;
    }
    return ERR_OK;
}

enum err_code command_params(const struct arg_list *list, struct arena *arena,
                             struct api_param **ret, struct err *err)
{
    ERR_TRY(ARENA_NEW(arena, list->count, ret, err));
    for (uint32_t i = 0; i < list->count; i++) {
        ERR_TRY(param_read(list->items[i], arena, &(*ret)[i], err));
    }
    return ERR_OK;
}

static enum err_code stdin_read(struct buf *out, struct err *err)
{
    for (;;) {
        uint8_t *at = buf_reserve(out, 65536);
        ERR_TRY(buf_check(out, err));
        ssize_t got = read(STDIN_FILENO, at, 65536);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_set_errno(err, errno, "reading standard input");
        }
        if (got == 0) {
            return ERR_OK;
        }
        out->len += (size_t)got;
        if (out->len > QUERY_BYTES_MAX) {
            return err_set(err, ERR_LIMIT, "a query of more than %u bytes on standard input",
                           QUERY_BYTES_MAX);
        }
    }
}

enum err_code command_text(const struct arg_list *words, struct buf *out, struct err *err)
{
    bool is_stdin = words->count == 1 && strcmp(words->items[0], "-") == 0;
    if (is_stdin || (words->count == 0 && out->len == 0)) {
        if (!is_stdin && isatty(STDIN_FILENO)) {
            return err_set(err, ERR_INVALID, "no query; as in: trackway query 'show events'");
        }
        return stdin_read(out, err);
    }
    for (uint32_t i = 0; i < words->count; i++) {
        buf_z(out, out->len > 0 ? " " : "");
        buf_z(out, words->items[i]);
    }
    return buf_check(out, err);
}

static void warnings_show(const struct result_table *table)
{
    const struct json_tree *tree = &table->tree;
    uint32_t list = json_tree_member(tree, table->meta, "warnings");
    if (list == JSON_TREE_NONE) {
        return;
    }
    for (uint32_t at = list + 1; at < tree->nodes[list].end; at = tree->nodes[at].end) {
        CLEANUP(buf_freep) struct buf text = {0};
        term_text(tree->nodes[at].text, false, &text);
        fprintf(stderr, "warning: %.*s\n", (int)text.len, (const char *)text.ptr);
    }
}

static enum err_code table_print(struct str body, int *ret_exit, struct err *err)
{
    CLEANUP(result_table_done) struct result_table table = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    bool has_colour = term_has_colour(STDOUT_FILENO);
    ERR_TRY(result_table_parse(&table, body, err));
    ERR_TRY(draw_result(&table, has_colour, term_columns(STDOUT_FILENO), &out, err));
    draw_meta(&table, has_colour, &out);
    ERR_TRY(buf_check(&out, err));
    *ret_exit = command_print(buf_as_str(&out));
    warnings_show(&table);
    return ERR_OK;
}

static enum err_code ask(struct api *api, const struct asking *asking, struct str text,
                         int *ret_exit, struct err *err)
{
    struct api_param *params = NULL;
    struct str body = {0};
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    bool is_table = strcmp(asking->format, "table") == 0;
    ERR_TRY(command_params(&asking->params, arena, &params, err));
    const struct api_query query = {
        .dataset = asking->dataset,
        .format = is_table ? "json" : asking->format,
        .text = text,
        .params = params,
        .param_count = asking->params.count,
        .now = asking->now,
        .is_cache_off = strcmp(asking->cache, "off") == 0,
    };
    ERR_TRY(api_query(api, &query, &body, err));
    if (is_table) {
        return table_print(body, ret_exit, err);
    }
    *ret_exit = command_print_foreign(body);
    return ERR_OK;
}

/* Both query and show: `prefix` stands before the operands. */
static int ask_command(struct asking *asking, const char *prefix)
{
    struct err err;
    int exit = EXIT_FINE;
    CLEANUP(buf_freep) struct buf text = {0};
    CLEANUP(api_freep) struct api *api = NULL;
    buf_z(&text, prefix);
    if (!format_is_known(asking->format, &err)) {
        return command_fail(&err, NULL, EXIT_USAGE);
    }
    if (strcmp(asking->cache, "on") != 0 && strcmp(asking->cache, "off") != 0) {
        err_set(&err, ERR_INVALID, "option \"--cache\": \"%.40s\" is neither on nor off",
                asking->cache);
        return command_fail(&err, NULL, EXIT_USAGE);
    }
    if (command_text(&asking->words, &text, &err) != ERR_OK) {
        return command_fail(&err, NULL, EXIT_USAGE);
    }
    if (api_create(asking->server, &api, &err) != ERR_OK ||
        ask(api, asking, buf_as_str(&text), &exit, &err) != ERR_OK) {
        return command_fail(&err, api, EXIT_FAILED);
    }
    return exit;
}

#define OPTION_FORMAT(to)                                                                          \
    {                                                                                              \
        .name = "format", .value_name = "FORMAT",                                                  \
        .sentence = "table (default), json, csv, ndjson", .text = (to)                             \
    }

static struct asking *asking_create(void)
{
    struct asking *asking = calloc(1, sizeof(*asking));
    if (asking == NULL) {
        struct err err;
        err_set(&err, ERR_NOMEM, "out of memory: arguments");
        command_fail(&err, NULL, EXIT_FAILED);
        return NULL;
    }
    asking->server = command_server();
    asking->dataset = "default";
    asking->format = "table";
    asking->cache = "on";
    return asking;
}

static void asking_freep(struct asking **asking)
{
    free(*asking);
}

int command_query(int argc, char *const *argv)
{
    CLEANUP(asking_freep) struct asking *asking = asking_create();
    if (asking == NULL) {
        return EXIT_FAILED;
    }
    const struct arg_option options[] = {
        OPTION_SERVER(&asking->server),
        OPTION_DATASET(&asking->dataset),
        OPTION_FORMAT(&asking->format),
        {.name = "param",
         .value_name = "NAME=VALUE",
         .sentence = "value of :NAME in the query; again for more",
         .list = &asking->params},
        {.name = "now",
         .value_name = "TIME",
         .sentence = "what \"now\" stands for: ISO 8601, or ms since 1970",
         .text = &asking->now},
        {.name = "cache",
         .value_name = "on|off",
         .sentence = "off: use no result cache",
         .text = &asking->cache},
    };
    const struct arg_command command = {
        .name = "trackway query",
        .sentence = "ask a question",
        .usage = "[--server URL] [--dataset NAME] 'QUERY'      (no QUERY or -: standard input)",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "--param a=42 is a number, a=true a truth value, a='\"42\"' the text 42; what is no "
            "JSON is\n"
            "text as it stands. A property and a parameter of different types cannot be "
            "compared.\n\n"
            "  trackway query --dataset demo --now 2024-06-30T12:00:00Z 'trend count(any) last "
            "7d'\n"
            "  trackway query --dataset demo 'funnel session_start -> place_order -> pay_success "
            "within 7d by platform'\n"
            "  trackway query --dataset demo 'retention register -> any each week for 6'\n"
            "  trackway query --dataset demo --format csv --param c=CN 'trend users(any) each day "
            "where country = :c'\n",
    };
    int exit = EXIT_FINE;
    return command_parse(&command, argc, argv, &asking->words, &exit) ? ask_command(asking, "")
                                                                      : exit;
}

int command_show(int argc, char *const *argv)
{
    CLEANUP(asking_freep) struct asking *asking = asking_create();
    if (asking == NULL) {
        return EXIT_FAILED;
    }
    const struct arg_option options[] = {
        OPTION_SERVER(&asking->server),
        OPTION_DATASET(&asking->dataset),
        OPTION_FORMAT(&asking->format),
    };
    const struct arg_command command = {
        .name = "trackway show",
        .sentence = "what there is in a data set",
        .usage = "[--dataset NAME] events | properties [of EVENT] | values of NAME |\n"
                 "                     segments | cohorts | metrics [of \"NAME\"] | profiles",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples = "  trackway show --dataset demo events\n"
                    "  trackway show --dataset demo properties of pay_success\n"
                    "  trackway show --dataset demo values of channel\n",
    };
    int exit = EXIT_FINE;
    if (!command_parse(&command, argc, argv, &asking->words, &exit)) {
        return exit;
    }
    if (asking->words.count == 0) {
        struct err err;
        err_set(&err, ERR_INVALID, "show what: events, properties, values of NAME, segments, cohorts, metrics or profiles");
        return command_fail(&err, NULL, EXIT_USAGE);
    }
    return ask_command(asking, "show");
}

/* ---- data sets ---- */

static const char *const FIGURES[] = {"rows",      "subjects",   "segments",
                                      "bytes",     "cold_bytes", "memtable_rows",
                                      "wal_bytes", "duplicates", "epoch"};

static enum err_code datasets_sheet(const struct json_tree *tree, uint32_t list,
                                    struct sheet *sheet, struct err *err)
{
    ERR_TRY(sheet_col(sheet, STR("name"), false, err));
    for (size_t i = 0; i < COUNT_OF(FIGURES); i++) {
        ERR_TRY(sheet_col(sheet, str_of(FIGURES[i]), true, err));
    }
    for (uint32_t at = list + 1; at < tree->nodes[list].end; at = tree->nodes[at].end) {
        ERR_TRY(sheet_row(sheet, err));
        ERR_TRY(sheet_set(sheet, 0, json_tree_text(tree, at, "name"), NULL, err));
        for (uint32_t i = 0; i < COUNT_OF(FIGURES); i++) {
            char text[24];
            uint64_t count = json_tree_count(tree, at, FIGURES[i], 0);
            snprintf(text, sizeof(text), "%" PRIu64, count);
            ERR_TRY(sheet_set(sheet, i + 1, str_of(text), NULL, err));
        }
    }
    return ERR_OK;
}

/* Names of data sets have neither commas nor quotes (storage/store.h), so CSV needs no quoting. */
static void datasets_rows(const struct json_tree *tree, uint32_t list, bool is_csv, struct buf *out)
{
    if (is_csv) {
        buf_z(out, "name");
        for (size_t i = 0; i < COUNT_OF(FIGURES); i++) {
            buf_printf(out, ",%s", FIGURES[i]);
        }
        buf_u8(out, '\n');
    }
    for (uint32_t at = list + 1; at < tree->nodes[list].end; at = tree->nodes[at].end) {
        buf_z(out, is_csv ? "" : "{\"name\":\"");
        buf_str(out, json_tree_text(tree, at, "name"));
        buf_z(out, is_csv ? "" : "\"");
        for (size_t i = 0; i < COUNT_OF(FIGURES); i++) {
            uint64_t count = json_tree_count(tree, at, FIGURES[i], 0);
            if (is_csv) {
                buf_printf(out, ",%" PRIu64, count);
            } else {
                buf_printf(out, ",\"%s\":%" PRIu64, FIGURES[i], count);
            }
        }
        buf_z(out, is_csv ? "\n" : "}\n");
    }
}

static enum err_code datasets_print(struct str body, const char *format, int *ret_exit,
                                    struct err *err)
{
    CLEANUP(json_tree_done) struct json_tree tree = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    CLEANUP(sheet_done) struct sheet sheet;
    sheet_init(&sheet);
    if (strcmp(format, "json") == 0) {
        *ret_exit = command_print_foreign(body);
        return ERR_OK;
    }
    ERR_TRY(json_tree_parse(&tree, body, err));
    uint32_t list = json_tree_member(&tree, 0, "datasets");
    if (list == JSON_TREE_NONE || tree.nodes[list].kind != JSON_TREE_ARRAY) {
        return err_set(err, ERR_INVALID, "the answer has no data sets; is the server a trackwayd?");
    }
    if (strcmp(format, "table") == 0) {
        ERR_TRY(datasets_sheet(&tree, list, &sheet, err));
        ERR_TRY(sheet_draw(&sheet, term_has_colour(STDOUT_FILENO), &out, err));
    } else {
        datasets_rows(&tree, list, strcmp(format, "csv") == 0, &out);
    }
    ERR_TRY(buf_check(&out, err));
    *ret_exit = command_print_foreign(buf_as_str(&out));
    return ERR_OK;
}

int command_datasets(int argc, char *const *argv)
{
    const char *server = command_server();
    const char *format = "table";
    struct err err;
    struct str body = {0};
    struct arg_list *none = NULL;
    CLEANUP(asking_freep) struct asking *asking = asking_create();
    CLEANUP(api_freep) struct api *api = NULL;
    if (asking == NULL) {
        return EXIT_FAILED;
    }
    none = &asking->words;
    const struct arg_option options[] = {OPTION_SERVER(&server), OPTION_FORMAT(&format)};
    const struct arg_command command = {
        .name = "trackway datasets",
        .sentence = "the data sets of a server, and their figures",
        .usage = "[--server URL] [--format FORMAT]",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples = "  trackway datasets\n"
                    "  trackway datasets --format csv\n"
                    "  trackway datasets --server http://127.0.0.1:7717 --format json\n",
    };
    int exit = EXIT_FINE;
    if (!command_parse(&command, argc, argv, none, &exit)) {
        return exit;
    }
    if (!format_is_known(format, &err) || none->count > 0) {
        if (none->count > 0) {
            err_set(&err, ERR_INVALID, "datasets takes no operand, and got \"%.100s\"",
                    none->items[0]);
        }
        return command_fail(&err, NULL, EXIT_USAGE);
    }
    if (api_create(server, &api, &err) != ERR_OK ||
        api_call(api, "GET", "/v1/datasets", NULL, &body, &err) != ERR_OK ||
        datasets_print(body, format, &exit, &err) != ERR_OK) {
        return command_fail(&err, api, EXIT_FAILED);
    }
    return exit;
}

/* ---- flush and compact ---- */

static enum err_code upkeep_print(struct str body, bool is_done, int *ret_exit, struct err *err)
{
    CLEANUP(json_tree_done) struct json_tree tree = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    ERR_TRY(json_tree_parse(&tree, body, err));
    term_text(json_tree_text(&tree, 0, "name"), false, &out);
    buf_printf(&out, ": %s%" PRIu64 " rows, %" PRIu64 " segments, ", is_done ? "" : "started; now ",
               json_tree_count(&tree, 0, "rows", 0), json_tree_count(&tree, 0, "segments", 0));
    draw_bytes(json_tree_count(&tree, 0, "bytes", 0), &out);
    buf_u8(&out, '\n');
    *ret_exit = command_print(buf_as_str(&out));
    return ERR_OK;
}

static int upkeep(const struct arg_command *command, int argc, char *const *argv,
                  const char *const *server, const char *const *dataset, const char *path,
                  const bool *is_waiting)
{
    struct err err;
    struct str body = {0};
    int exit = EXIT_FINE;
    CLEANUP(asking_freep) struct asking *asking = asking_create();
    CLEANUP(api_freep) struct api *api = NULL;
    CLEANUP(buf_freep) struct buf full_path = {0};
    if (asking == NULL) {
        return EXIT_FAILED;
    }
    if (!command_parse(command, argc, argv, &asking->words, &exit)) {
        return exit;
    }
    if (asking->words.count > 0) {
        err_set(&err, ERR_INVALID, "%s takes no operand, and got \"%.100s\"; see --dataset",
                command->name, asking->words.items[0]);
        return command_fail(&err, NULL, EXIT_USAGE);
    }
    bool waits = is_waiting == NULL || *is_waiting;
    buf_printf(&full_path, "%s%s", path, is_waiting != NULL && *is_waiting ? "?wait=1" : "");
    buf_u8(&full_path, '\0');
    if (buf_check(&full_path, &err) != ERR_OK || api_create(*server, &api, &err) != ERR_OK ||
        api_call(api, "POST", (const char *)full_path.ptr, *dataset, &body, &err) != ERR_OK ||
        upkeep_print(body, waits, &exit, &err) != ERR_OK) {
        return command_fail(&err, api, EXIT_FAILED);
    }
    return exit;
}

int command_flush(int argc, char *const *argv)
{
    const char *server = command_server();
    const char *dataset = "default";
    const struct arg_option options[] = {OPTION_SERVER(&server), OPTION_DATASET(&dataset)};
    const struct arg_command command = {
        .name = "trackway flush",
        .sentence = "write what a data set has in memory into segments, and wait for it",
        .usage = "[--server URL] [--dataset NAME]",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples = "  trackway flush --dataset demo\n"
                    "  trackway show --dataset demo segments\n"
                    "  trackway datasets\n",
    };
    return upkeep(&command, argc, argv, &server, &dataset, "/v1/admin/flush", NULL);
}

int command_compact(int argc, char *const *argv)
{
    const char *server = command_server();
    const char *dataset = "default";
    bool is_waiting = false;
    const struct arg_option options[] = {
        OPTION_SERVER(&server),
        OPTION_DATASET(&dataset),
        {.name = "wait", .sentence = "come back when it is done", .flag = &is_waiting},
    };
    const struct arg_command command = {
        .name = "trackway compact",
        .sentence =
            "merge the small segments of a data set now; the server does it by itself in time",
        .usage = "[--server URL] [--dataset NAME] [--wait]",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples = "  trackway compact --dataset demo --wait\n"
                    "  trackway show --dataset demo segments\n"
                    "  trackway datasets\n",
    };
    return upkeep(&command, argc, argv, &server, &dataset, "/v1/admin/compact", &is_waiting);
}
