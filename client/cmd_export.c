/* client/cmd_export.c - trackway export: a list of any length to standard output.
 *
 * The bytes go out as they come. On the way lines are counted, and the last one is kept: it is the list's trailer, with the
 * number of rows between it and the head, or the list was cut and the command fails.
 */
#include "client/command.h"
#include "storage/base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define TRAILER_BYTES_MAX 128u

/* What has been seen of a list. A line break in quotes is none of CSV's. */
struct list_watch {
    bool is_csv;
    bool is_quoted;
    bool is_torn; /* the last line has no end */
    uint64_t lines;
    char last[TRAILER_BYTES_MAX]; /* the last line, or its begin */
    size_t last_len;              /* of all of it */
    int write_errno;
};

static void watch_byte(struct list_watch *watch, char c)
{
    if (!watch->is_torn) {
        watch->last_len = 0;
        watch->is_torn = true;
    }
    if (c == '\n' && !watch->is_quoted) {
        watch->lines++;
        watch->is_torn = false;
        return;
    }
    if (c == '"' && watch->is_csv) {
        watch->is_quoted = !watch->is_quoted;
    }
    if (watch->last_len < sizeof(watch->last) - 1) {
        watch->last[watch->last_len] = c;
    }
    watch->last_len++;
}

static bool take(void *arg, const char *bytes, size_t len)
{
    struct list_watch *watch = arg;
    for (size_t i = 0; i < len; i++) {
        watch_byte(watch, bytes[i]);
    }
    for (size_t done = 0; done < len;) {
        ssize_t put = write(STDOUT_FILENO, bytes + done, len - done);
        if (put < 0 && errno != EINTR) {
            watch->write_errno = errno;
            return false;
        }
        done += put > 0 ? (size_t)put : 0;
    }
    return true;
}

/* The number of rows that the last line says there are; false where it is no trailer. */
static bool trailer_rows(struct list_watch *watch, uint64_t *ret)
{
    uint64_t epoch = 0;
    int end = 0;
    if (watch->is_torn || watch->last_len >= sizeof(watch->last)) {
        return false;
    }
    watch->last[watch->last_len] = '\0';
    int found =
        watch->is_csv
            ? sscanf(watch->last, "# rows=%" SCNu64 " epoch=%" SCNu64 "\r%n", ret, &epoch, &end)
            : sscanf(watch->last, "{\"rows\":%" SCNu64 ",\"epoch\":%" SCNu64 "}%n", ret, &epoch,
                     &end);
    return found == 2 && end > 0 && (size_t)end == watch->last_len;
}

static enum err_code check_end(struct list_watch *watch, struct err *err)
{
    uint64_t rows = 0;
    if (!trailer_rows(watch, &rows)) {
        return err_set(err, ERR_IO,
                       "the list is cut: %" PRIu64 " lines came, and no trailer behind them",
                       watch->lines);
    }
    if (watch->lines < 2 || rows != watch->lines - 2) { /* head and trailer */
        return err_set(err, ERR_IO,
                       "the list is damaged: its trailer says %" PRIu64 " rows, %" PRIu64
                       " lines came",
                       rows, watch->lines);
    }
    return ERR_OK;
}

struct exporting {
    const char *server;
    const char *dataset;
    const char *format;
    const char *now;
    struct arg_list params;
    struct arg_list words;
};

static enum err_code export_list(struct api *api, const struct exporting *exporting,
                                 struct str text, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct api_param *params = NULL;
    struct list_watch watch = {.is_csv = strcmp(exporting->format, "csv") == 0};
    ERR_TRY(command_params(&exporting->params, arena, &params, err));
    const struct api_query query = {
        .dataset = exporting->dataset,
        .format = exporting->format,
        .text = text,
        .params = params,
        .param_count = exporting->params.count,
        .now = exporting->now,
    };
    enum err_code code = api_export(api, &query, take, &watch, err);
    if (watch.write_errno != 0) {
        return err_set_errno(err, watch.write_errno, "writing to standard output");
    }
    ERR_TRY(code);
    return check_end(&watch, err);
}

static int run(const struct exporting *exporting)
{
    struct err err;
    CLEANUP(buf_freep) struct buf text = {0};
    CLEANUP(api_freep) struct api *api = NULL;
    if (strcmp(exporting->format, "ndjson") != 0 && strcmp(exporting->format, "csv") != 0) {
        err_set(&err, ERR_INVALID, "format \"%.40s\": there are ndjson and csv", exporting->format);
        return command_fail(&err, NULL, EXIT_USAGE);
    }
    if (command_text(&exporting->words, &text, &err) != ERR_OK) {
        return command_fail(&err, NULL, EXIT_USAGE);
    }
    if (api_create(exporting->server, &api, &err) != ERR_OK ||
        export_list(api, exporting, buf_as_str(&text), &err) != ERR_OK) {
        return command_fail(&err, api, EXIT_FAILED);
    }
    return EXIT_FINE;
}

int command_export(int argc, char *const *argv)
{
    struct exporting exporting = {
        .server = command_server(), .dataset = "default", .format = "ndjson"};
    const struct arg_option options[] = {
        OPTION_SERVER(&exporting.server),
        OPTION_DATASET(&exporting.dataset),
        {.name = "format",
         .value_name = "FORMAT",
         .sentence = "ndjson (default), csv",
         .text = &exporting.format},
        {.name = "param",
         .value_name = "NAME=VALUE",
         .sentence = "value of :NAME in the query; again for more",
         .list = &exporting.params},
        {.name = "now",
         .value_name = "TIME",
         .sentence = "what \"now\" stands for: ISO 8601, or ms since 1970",
         .text = &exporting.now},
    };
    const struct arg_command command = {
        .name = "trackway export",
        .sentence = "a list of any length: of people by their ids, or of events by time",
        .usage = "[--server URL] [--dataset NAME] [--format FORMAT] 'QUERY'",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "The first line says the columns, the last one how many rows there were; a list "
            "without\n"
            "its last line is cut, and the command fails.\n\n"
            "  trackway export --dataset demo 'segment did(pay_success)' > payers.ndjson\n"
            "  trackway export --dataset demo --format csv 'segment count(page_view) >= 5' > "
            "readers.csv\n"
            "  trackway export --dataset demo 'events pay_success columns (event_time, user_id)'\n",
    };
    int exit = EXIT_FINE;
    return command_parse(&command, argc, argv, &exporting.words, &exit) ? run(&exporting) : exit;
}
