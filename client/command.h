/* client/command.h - what the commands of `trackway` share: the server's address, exits, errors.
 *
 * A command parses its own options, does its work, and returns the exit status: 0, 1 for a failure, 2 for a
 * wrong command line (and for `ingest`: some events were rejected or in conflict).
 */
#pragma once

#include "client/api.h"
#include "client/args.h"
#include "storage/base/arena.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_SOME_REJECTED = 2 };

struct command {
    const char *name;
    const char *sentence;
    int (*run)(int argc, char *const *argv); /* argv behind the command's name */
};
int command_ingest(int argc, char *const *argv);
int command_query(int argc, char *const *argv);
int command_export(int argc, char *const *argv);
int command_show(int argc, char *const *argv);
int command_datasets(int argc, char *const *argv);
int command_flush(int argc, char *const *argv);
int command_compact(int argc, char *const *argv);
int command_settings(int argc, char *const *argv);
int command_metrics(int argc, char *const *argv);
int command_inspect(int argc, char *const *argv);
int command_verify(int argc, char *const *argv);
int command_backup(int argc, char *const *argv);
int command_restore(int argc, char *const *argv);
int command_repair(int argc, char *const *argv);

#define OPTION_SERVER(to)                                                                          \
    {                                                                                              \
        .name = "server", .value_name = "URL",                                                     \
        .sentence = "the server (else $TRACKWAY_SERVER, else http://127.0.0.1:7717)", .text = (to) \
    }
#define OPTION_DATASET(to)                                                                         \
    {                                                                                              \
        .name = "dataset", .value_name = "NAME", .sentence = "the data set (else default)",        \
        .text = (to)                                                                               \
    }

/* ---- cmd_query.c: of the commands that ask ---- */
/* The operands with spaces between them behind what is in `out`, or standard input. */
enum err_code command_text(const struct arg_list *words, struct buf *out,
                           struct err *err) ERR_MUST_CHECK;
/* NAME=VALUE each. */
enum err_code command_params(const struct arg_list *list, struct arena *arena,
                             struct api_param **ret, struct err *err) ERR_MUST_CHECK;

/* `$TRACKWAY_SERVER`, or this machine's default port. */
const char *command_server(void);

/* Parse; true when the command is to go on. Else *ret_exit is set, and help or the mistake is printed. */
bool command_parse(const struct arg_command *command, int argc, char *const *argv,
                   struct arg_list *operands, int *ret_exit);
/* The mistake to stderr, with the marked place where there is one; returns `exit`. */
int command_fail(const struct err *err, const struct api *api, int exit);
/* All bytes to standard output; a reader that hung up (head) is no failure. */
int command_print(struct str text);
/* As above; made harmless where standard output is a terminal. */
int command_print_foreign(struct str text);
