/* bench/cmd_generate.c - trackway-bench generate: made-up events on standard output. */
#include "bench/bench_command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

struct gen_args gen_args_default(void)
{
    struct gen_opts opts = gen_opts_default();
    return (struct gen_args){
        .events = opts.events,
        .users = opts.users,
        .days = opts.days,
        .seed = opts.seed,
        .begin_s = (uint64_t)opts.begin_s,
        .dups = opts.dups_per_one,
        .late = opts.late_per_one,
    };
}

struct gen_opts gen_args_opts(const struct gen_args *args)
{
    return (struct gen_opts){
        .events = args->events,
        .users = (uint32_t)args->users,
        .days = (uint32_t)args->days,
        .seed = args->seed,
        .begin_s = (int64_t)args->begin_s,
        .dups_per_one = args->dups,
        .late_per_one = args->late,
    };
}

bool bench_write(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t done = write(fd, bytes.ptr, bytes.len);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return false;
        }
        bytes = (struct str){bytes.ptr + done, bytes.len - (size_t)done};
    }
    return true;
}

static enum err_code generate(const struct gen_opts *opts, enum event_format format,
                              struct err *err)
{
    CLEANUP(event_gen_freep) struct event_gen *gen = NULL;
    CLEANUP(event_writer_freep) struct event_writer *writer = NULL;
    CLEANUP(buf_freep) struct buf out = {0};
    ERR_TRY(event_gen_create(opts, &gen, err));
    ERR_TRY(event_writer_create(gen, format, &writer, err));
    for (;;) {
        const struct gen_event *rows = NULL;
        size_t count = 0;
        ERR_TRY(event_gen_next(gen, &rows, &count, err));
        if (count > 0) {
            event_writer_rows(writer, rows, count, &out);
        } else {
            event_writer_end(writer, &out);
        }
        ERR_TRY(buf_check(&out, err));
        if (!bench_write(STDOUT_FILENO, buf_as_str(&out))) {
            /* Whoever piped us into head has enough. */
            return errno == EPIPE ? ERR_OK
                                  : err_set_errno(err, errno, "writing to standard output");
        }
        buf_clear(&out);
        if (count == 0) {
            return ERR_OK;
        }
    }
}

int bench_generate(int argc, char *const *argv)
{
    struct gen_args args = gen_args_default();
    const char *format = "ndjson";
    const struct arg_option options[] = {
        {.name = "format",
         .value_name = "F",
         .sentence = "ndjson, tsv or proto (ndjson)",
         .text = &format},
        GEN_ARG_OPTIONS(&args),
    };
    const struct arg_command command = {
        .name = "trackway-bench generate",
        .sentence = "user behaviour on standard output; the same arguments give the same bytes",
        .usage = "[OPTIONS]",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "  trackway-bench generate --events 5 --users 2\n"
            "  trackway-bench generate --events 100000 | trackway ingest --dataset bench -\n"
            "  trackway-bench generate --events 10000 --format tsv --seed 7 | cut -f3 | sort | "
            "uniq -c\n",
    };
    static const char *const FORMATS[] = {
        [FORMAT_NDJSON] = "ndjson", [FORMAT_TSV] = "tsv", [FORMAT_PROTO] = "proto"};
    static struct arg_list operands;
    struct err err;
    int exit = 0;
    if (!bench_parse(&command, argc, argv, &operands, &exit)) {
        return exit;
    }
    uint32_t chosen = 0;
    while (chosen < COUNT_OF(FORMATS) && strcmp(format, FORMATS[chosen]) != 0) {
        chosen++;
    }
    if (chosen == COUNT_OF(FORMATS) || operands.count > 0) {
        if (operands.count > 0) {
            err_set(&err, ERR_INVALID, "\"%.100s\": generate takes options only",
                    operands.items[0]);
        } else {
            err_set(&err, ERR_INVALID, "format \"%.40s\": there are ndjson, tsv and proto", format);
        }
        return bench_fail(&err, 2);
    }
    struct gen_opts opts = gen_args_opts(&args);
    return generate(&opts, (enum event_format)chosen, &err) == ERR_OK ? 0 : bench_fail(&err, 1);
}
