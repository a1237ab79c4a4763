/* bench/bench_command.h - what the commands of `trackway-bench` share. */
#pragma once

#include "bench/event_format.h"
#include "client/args.h"

int bench_generate(int argc, char *const *argv);
int bench_load(int argc, char *const *argv);

/* The generator's options as they stand on a command line; numbers are doubles where args.h has them so. */
struct gen_args {
    uint64_t events, users, days, seed, begin_s;
    double dups, late;
};
struct gen_args gen_args_default(void);
struct gen_opts gen_args_opts(const struct gen_args *args);
#define GEN_ARG_OPTIONS(args)                                                                      \
    {.name = "events",                                                                             \
     .value_name = "N",                                                                            \
     .sentence = "different events (1000000)",                                                     \
     .count = &(args)->events,                                                                     \
     .min = 0,                                                                                     \
     .max = 1e12},                                                                                 \
        {.name = "users",                                                                          \
         .value_name = "N",                                                                        \
         .sentence = "people, at most (30000)",                                                    \
         .count = &(args)->users,                                                                  \
         .min = 1,                                                                                 \
         .max = GEN_USERS_MAX},                                                                    \
        {.name = "days",                                                                           \
         .value_name = "N",                                                                        \
         .sentence = "days (90)",                                                                  \
         .count = &(args)->days,                                                                   \
         .min = 1,                                                                                 \
         .max = GEN_DAYS_MAX},                                                                     \
        {.name = "seed",                                                                           \
         .value_name = "N",                                                                        \
         .sentence = "another seed, another world (1)",                                            \
         .count = &(args)->seed,                                                                   \
         .min = 0,                                                                                 \
         .max = 1e18},                                                                             \
        {.name = "start",                                                                          \
         .value_name = "SECONDS",                                                                  \
         .sentence = "the first midnight, since 1970 (1717200000: 2024-06-01)",                    \
         .count = &(args)->begin_s,                                                                \
         .min = 0,                                                                                 \
         .max = 2e11},                                                                             \
        {.name = "dups",                                                                           \
         .value_name = "R",                                                                        \
         .sentence = "share of events sent twice (0.003)",                                         \
         .real = &(args)->dups,                                                                    \
         .min = 0,                                                                                 \
         .max = 1},                                                                                \
    {                                                                                              \
        .name = "late", .value_name = "R",                                                         \
        .sentence = "share of events up to two days late (0.005)", .real = &(args)->late,          \
        .min = 0, .max = 1                                                                         \
    }

/* Print the mistake; returns `exit`. */
int bench_fail(const struct err *err, int exit);
/* Parse; true when the command is to go on, else *ret_exit is set and all is said. */
bool bench_parse(const struct arg_command *command, int argc, char *const *argv,
                 struct arg_list *operands, int *ret_exit);
/* Write all bytes; false when nobody reads any more or the device is full (errno says which). */
bool bench_write(int fd, struct str bytes);
