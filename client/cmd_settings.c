/* client/cmd_settings.c - trackway settings: what the owner of a data set decides. */
#include "client/command.h"
#include "client/json_tree.h"
#include "client/sheet.h"
#include "client/term.h"
#include "storage/base/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings_ask {
    const char *server;
    const char *dataset;
    const char *expire_after; /* NULL: as it is */
    const char *cold_after;
    const char *dedup_window;
    bool is_json;
};

/* The changes as the door takes them; nothing where there are none. */
static void body_write(const struct settings_ask *ask, struct buf *out)
{
    const struct {
        const char *name;
        const char *value;
    } changes[] = {{"expire_after", ask->expire_after},
                   {"cold_after", ask->cold_after},
                   {"dedup_window", ask->dedup_window}};
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        if (changes[i].value != NULL) {
            buf_printf(out, "%s\"%s\":", out->len == 0 ? "{" : ",", changes[i].name);
            json_text(str_of(changes[i].value), out);
        }
    }
    buf_z(out, out->len == 0 ? "" : "}");
}

static enum err_code settings_sheet(const struct json_tree *tree, struct sheet *sheet,
                                    struct err *err)
{
    static const struct {
        const char *name;
        const char *off; /* what "off" means */
        const char *on;
    } LINES[] = {
        {"expire_after", "events are kept for ever",
         "older events leave every answer, then the disk"},
        {"cold_after", "all segments stay in the data folder",
         "segments of older events move to the cold directory"},
        {"dedup_window", "an event id counts once for ever",
         "an event id counts once within it, by arrival"},
    };
    ERR_TRY(sheet_col(sheet, STR("setting"), false, err));
    ERR_TRY(sheet_col(sheet, STR("value"), false, err));
    ERR_TRY(sheet_col(sheet, STR("meaning"), false, err));
    for (size_t i = 0; i < COUNT_OF(LINES); i++) {
        struct str value = json_tree_text(tree, 0, LINES[i].name);
        bool is_off = str_eq(value, STR("off"));
        ERR_TRY(sheet_row(sheet, err));
        ERR_TRY(sheet_set(sheet, 0, str_of(LINES[i].name), NULL, err));
        ERR_TRY(sheet_set(sheet, 1, value, NULL, err));
        ERR_TRY(sheet_set(sheet, 2, str_of(is_off ? LINES[i].off : LINES[i].on), NULL, err));
    }
    return ERR_OK;
}

static enum err_code settings_print(const struct settings_ask *ask, struct str body, int *ret_exit,
                                    struct err *err)
{
    CLEANUP(json_tree_done) struct json_tree tree = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    CLEANUP(sheet_done) struct sheet sheet;
    sheet_init(&sheet);
    if (ask->is_json) {
        *ret_exit = command_print_foreign(body);
        return ERR_OK;
    }
    ERR_TRY(json_tree_parse(&tree, body, err));
    ERR_TRY(settings_sheet(&tree, &sheet, err));
    ERR_TRY(sheet_draw(&sheet, term_has_colour(STDOUT_FILENO), &out, err));
    ERR_TRY(buf_check(&out, err));
    *ret_exit = command_print(buf_as_str(&out));
    return ERR_OK;
}

static int run(const struct settings_ask *ask)
{
    struct err err;
    struct str body = {0};
    int exit = EXIT_FINE;
    CLEANUP(api_freep) struct api *api = NULL;
    CLEANUP(buf_freep) struct buf changes = {0};
    body_write(ask, &changes);
    enum err_code code = buf_check(&changes, &err);
    if (code == ERR_OK) {
        code = api_create(ask->server, &api, &err);
    }
    if (code == ERR_OK) {
        code = changes.len == 0
                   ? api_call(api, "GET", "/v1/admin/settings", ask->dataset, &body, &err)
                   : api_post(api, "/v1/admin/settings", ask->dataset, buf_as_str(&changes), &body,
                              &err);
    }
    if (code == ERR_OK) {
        code = settings_print(ask, body, &exit, &err);
    }
    return code == ERR_OK ? exit : command_fail(&err, api, EXIT_FAILED);
}

int command_settings(int argc, char *const *argv)
{
    struct settings_ask ask = {.server = command_server(), .dataset = "default"};
    const struct arg_option options[] = {
        OPTION_SERVER(&ask.server),
        OPTION_DATASET(&ask.dataset),
        {.name = "expire-after",
         .value_name = "SPAN|off",
         .sentence = "events older than this leave every answer, then the disk; off: kept for ever",
         .text = &ask.expire_after},
        {.name = "cold-after",
         .value_name = "SPAN|off",
         .sentence = "segments older than this move to the server's cold-dir; off: none do",
         .text = &ask.cold_after},
        {.name = "dedup-window",
         .value_name = "SPAN|off",
         .sentence = "within it, by arrival, an event id counts once; off: for ever",
         .text = &ask.dedup_window},
        {.name = "json", .sentence = "print JSON", .flag = &ask.is_json},
    };
    const struct arg_command command = {
        .name = "trackway settings",
        .sentence = "how long a data set keeps events and event ids; changed by options",
        .usage =
            "[--server URL] [--dataset NAME] [--expire-after SPAN|off] [--cold-after SPAN|off]\n"
            "                         [--dedup-window SPAN|off] [--json]",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "A span is a number and w, d, h, m or s. What has expired does not come back when the\n"
            "span is made longer, unless it was not yet taken from the disk.\n\n"
            "  trackway settings --dataset demo\n"
            "  trackway settings --dataset demo --expire-after 3650d --dedup-window 7d\n"
            "  trackway settings --dataset demo --expire-after off --json\n",
    };
    int exit = EXIT_FINE;
    struct err err;
    struct arg_list *operands = calloc(1, sizeof(*operands));
    if (operands == NULL) {
        err_set(&err, ERR_NOMEM, "out of memory: arguments");
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    if (command_parse(&command, argc, argv, operands, &exit)) {
        if (operands->count == 0) {
            exit = run(&ask);
        } else {
            err_set(&err, ERR_INVALID,
                    "settings takes no operand, and got \"%.100s\"; see --dataset",
                    operands->items[0]);
            exit = command_fail(&err, NULL, EXIT_USAGE);
        }
    }
    free(operands);
    return exit;
}
