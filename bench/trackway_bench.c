/* bench/trackway_bench.c - trackway-bench: made-up events, and load on a server. */
#include "bench/bench_command.h"
#include "client/http_client.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int bench_fail(const struct err *err, int exit)
{
    fprintf(stderr, "trackway-bench: %s\n", err->message);
    return exit;
}

bool bench_parse(const struct arg_command *command, int argc, char *const *argv,
                 struct arg_list *operands, int *ret_exit)
{
    struct err err;
    if (args_want_help(argc, argv)) {
        CLEANUP(buf_freep) struct buf help = {0};
        args_help(command, &help);
        *ret_exit = bench_write(STDOUT_FILENO, buf_as_str(&help)) ? 0 : 1;
        return false;
    }
    if (args_parse(command, argc, argv, operands, &err) != ERR_OK) {
        *ret_exit = bench_fail(&err, 2);
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char *const *argv);
    } COMMANDS[] = {{"generate", bench_generate}, {"load", bench_load}};
    static const char help[] =
        "trackway-bench - made-up events, and load on a server\n\n"
        "usage: trackway-bench COMMAND [OPTIONS] ...\n\n"
        "  generate   user behaviour on standard output\n"
        "  load       send events and ask queries over many connections; figures at the end\n\n"
        "Every command has --help.\n\n"
        "  trackway-bench generate --events 5 --users 2\n"
        "  trackway-bench generate --events 100000 | trackway ingest --dataset bench -\n"
        "  trackway-bench load --dataset bench --events 100000 --connections 4\n";
    struct err err;
    signal(SIGPIPE, SIG_IGN);
    const char *name = argc < 2 ? "--help" : argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        fputs(help, stdout);
        return argc < 2 ? 2 : 0;
    }
    const char *names[COUNT_OF(COMMANDS)];
    for (size_t i = 0; i < COUNT_OF(COMMANDS); i++) {
        names[i] = COMMANDS[i].name;
        if (strcmp(name, names[i]) == 0) {
            return http_client_setup(&err) != ERR_OK ? bench_fail(&err, 1)
                                                     : COMMANDS[i].run(argc - 2, argv + 2);
        }
    }
    const char *nearest = args_nearest(str_of(name), names, COUNT_OF(names));
    if (nearest != NULL) {
        err_set(&err, ERR_INVALID, "unknown command \"%.100s\"; did you mean \"%s\"?", name,
                nearest);
    } else {
        err_set(&err, ERR_INVALID, "unknown command \"%.100s\"; there are generate and load", name);
    }
    return bench_fail(&err, 2);
}
