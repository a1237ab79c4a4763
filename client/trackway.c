/* client/trackway.c - the command line of Trackway: which command, and the help of all. */
#include "client/command.h"

#include "storage/base/json_text.h"

#include <signal.h>

static const struct command COMMANDS[] = {
    {"ingest", "send events from files or standard input", command_ingest},
    {"query", "ask a question; answers as tables, json, csv or ndjson", command_query},
    {"export", "a list of any length: of people, or of events", command_export},
    {"show", "what there is: events, properties of EVENT, values of NAME, segments, metrics", command_show},
    {"datasets", "the data sets of a server", command_datasets},
    {"flush", "write what is in memory into segments, now", command_flush},
    {"compact", "merge small segments, now", command_compact},
    {"settings", "how long a data set keeps events and event ids", command_settings},
    {"metrics", "load a catalogue of metrics into a data set", command_metrics},
    {"inspect", "look inside a segment file or a data folder (no server needed)", command_inspect},
    {"verify", "read all of a stopped data folder or a backup; check everything", command_verify},
    {"backup", "have a server write a backup of all data sets, while it runs", command_backup},
    {"restore", "make a data folder of a backup", command_restore},
    {"repair", "make a damaged data folder one that opens, and say what it costs", command_repair},
};

static void help(struct buf *out)
{
    buf_z(out, "trackway - the command line of the Trackway event-analytics server\n\n"
               "usage: trackway COMMAND [OPTIONS] ...\n\n");
    for (size_t i = 0; i < COUNT_OF(COMMANDS); i++) {
        buf_printf(out, "  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].sentence);
    }
    buf_z(out,
          "  version    the version of this program\n\n"
          "Every command has --help. The server is --server URL, else $TRACKWAY_SERVER, else\n"
          "http://127.0.0.1:7717; the data set is --dataset NAME, else default.\n\n"
          "  trackway-bench generate --events 10000 | trackway ingest --dataset demo -\n"
          "  trackway query --dataset demo 'funnel session_start -> place_order -> pay_success "
          "within 7d'\n"
          "  trackway show --dataset demo events\n");
}

static int run(const char *name, int argc, char *const *argv)
{
    const char *names[COUNT_OF(COMMANDS)];
    struct err err;
    for (size_t i = 0; i < COUNT_OF(COMMANDS); i++) {
        names[i] = COMMANDS[i].name;
        if (strcmp(name, COMMANDS[i].name) == 0) {
            if (http_client_setup(&err) != ERR_OK) {
                return command_fail(&err, NULL, EXIT_FAILED);
            }
            return COMMANDS[i].run(argc, argv);
        }
    }
    const char *nearest = args_nearest(str_of(name), names, COUNT_OF(names));
    if (nearest != NULL) {
        err_set(&err, ERR_INVALID, "unknown command \"%.100s\"; did you mean \"%s\"?", name,
                nearest);
    } else {
        err_set(&err, ERR_INVALID, "unknown command \"%.100s\"; trackway --help lists them all",
                name);
    }
    return command_fail(&err, NULL, EXIT_USAGE);
}

int main(int argc, char **argv)
{
    CLEANUP(buf_freep) struct buf out = {0};
    signal(SIGPIPE, SIG_IGN);
    const char *name = argc < 2 ? "--help" : argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        help(&out);
        int exit = command_print(buf_as_str(&out));
        return argc < 2 ? EXIT_USAGE : exit;
    }
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        buf_z(&out, "trackway " TRACKWAY_VERSION "\n");
        return command_print(buf_as_str(&out));
    }
    return run(name, argc - 2, argv + 2);
}
