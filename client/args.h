/* client/args.h - command lines: one table of options feeds the parser and --help.
 *
 * `--name value` and `--name=value`; `--` ends the options; `-` alone is an operand. A name that is
 * not known gets the nearest known one as a suggestion.
 *
 * Ownership: everything points into argv and the caller's tables.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/str.h"

#define ARGS_LIST_MAX 4096u

struct arg_list {
    const char *items[ARGS_LIST_MAX];
    uint32_t count;
};

/* One option; exactly one of the destinations is set. */
struct arg_option {
    const char *name;       /* without the dashes */
    const char *value_name; /* in the help: "N"; NULL for a flag */
    const char *sentence;
    bool *flag;
    const char **text;
    uint64_t *count;
    double *real;
    struct arg_list *list; /* may be given again and again */
    double min, max;       /* of count and real */
};

/* A program, or one of its commands. */
struct arg_command {
    const char *name;     /* "trackway ingest" */
    const char *sentence; /* what it does */
    const char *usage;    /* what stands behind the name */
    const char *examples; /* lines that work as pasted */
    const struct arg_option *options;
    uint32_t option_count;
};

/* Fill the destinations and the operands. ERR_INVALID names the mistake. */
enum err_code args_parse(const struct arg_command *command, int argc, char *const *argv,
                         struct arg_list *operands, struct err *err) ERR_MUST_CHECK;
/* True when `--help` or `-h` stands among the options. */
bool args_want_help(int argc, char *const *argv);
struct buf;
void args_help(const struct arg_command *command, struct buf *out);

/* The name nearest to `text` by edit distance, or NULL where none is near. */
const char *args_nearest(struct str text, const char *const *names, size_t count);
