/* client/cmd_ingest.c - trackway ingest: files of events into a server. */
#include "client/command.h"
#include "client/input.h"
#include "client/interrupt.h"
#include "client/term.h"
#include "client/uploader.h"
#include "storage/base/clock.h"
#include "storage/base/json_text.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNK_BYTES    (256u * 1024)
#define LINE_BYTES_MAX (64u << 20)
#define RETRY_MS_MAX   (10u * 60 * 1000)
#define PROBLEMS_SHOWN 10u
#define PROGRESS_US    200000u
#define BAR_COLUMNS    24u

struct ingest {
    struct uploader *uploader;
    struct batcher batcher;
    const struct arg_list *files;
    uint32_t file_idx;
    _Atomic uint64_t too_long;      /* lines that were not sent */
    _Atomic uint64_t problem_count; /* by the connections as well */
    bool is_quiet;                  /* shows no rejections one by one */
    bool has_progress;
    _Atomic bool is_drawn; /* a line of progress without its end is on the terminal */
    uint64_t begin_us, drawn_us;
};

static const char *shown_name(const char *file)
{
    return strcmp(file, "-") == 0 ? "standard input" : file;
}

static void progress_clear(struct ingest *ingest)
{
    if (ingest->has_progress) {
        fputs("\r\x1b[K", stderr);
        ingest->is_drawn = false;
    }
}

static void show_problem(struct ingest *ingest, uint32_t file_idx, uint64_t line, struct str reason)
{
    if (ingest->is_quiet || ++ingest->problem_count > PROBLEMS_SHOWN) {
        return;
    }
    CLEANUP(buf_freep) struct buf text = {0};
    term_text(str_of(shown_name(ingest->files->items[file_idx])), false, &text);
    buf_printf(&text, ":%" PRIu64 ": ", line);
    term_text(reason, false, &text);
    progress_clear(ingest);
    fprintf(stderr, "%.*s\n", (int)text.len, (const char *)text.ptr);
}

/* Once per outage: a load that stands still must not look like one that hangs. */
static void on_outage(void *arg, const struct err *why)
{
    static const char hint[] = "; is trackwayd running?";
    CLEANUP(buf_freep) struct buf text = {0};
    if (why != NULL) {
        struct str reason = str_of(why->message);
        reason.len -= str_ends(reason, STR(hint)) ? sizeof(hint) - 1 : 0;
        term_text(reason, false, &text);
        buf_printf(&text, "; retrying for up to %u min (what was acknowledged is safe)",
                   RETRY_MS_MAX / 60000);
    } else {
        buf_z(&text, "connected again");
    }
    progress_clear(arg);
    fprintf(stderr, "trackway: %.*s\n", (int)text.len, (const char *)text.ptr);
}

/* What is under way is not waited for: what was not acknowledged is sent again next time. */
static void on_interrupt(void *arg)
{
    const struct ingest *ingest = arg;
    struct uploader_counts counts = uploader_counts(ingest->uploader);
    flockfile(stderr); /* for good: behind these lines comes no other */
    fprintf(stderr,
            "%strackway: interrupted; accepted %" PRIu64 ", duplicate %" PRIu64
            ", rejected %" PRIu64,
            ingest->is_drawn ? "\n" : "", counts.accepted, counts.duplicate,
            counts.rejected + ingest->too_long);
    if (counts.conflict > 0) {
        fprintf(stderr, ", conflict %" PRIu64, counts.conflict);
    }
    fputs(" so far; ", stderr);
    if (counts.lines_without_id > 0) {
        fprintf(stderr, "%" PRIu64 " of them had no event_id and count again when sent again\n",
                counts.lines_without_id);
    } else {
        fputs("sending the same files again is safe\n", stderr);
    }
    fflush(stderr);
}

static void on_rejected(void *arg, uint32_t source, uint64_t line, struct str reason)
{
    show_problem(arg, source, line, reason);
}

static uint64_t events_of(const struct uploader_counts *counts)
{
    return counts->accepted + counts->duplicate + counts->rejected + counts->conflict;
}

/* "shop.ndjson  ▕██████      ▏  41%  412,000 events  82,000/s" */
static void progress_draw(struct ingest *ingest, const struct input *input)
{
    uint64_t now_us = clock_mono_us();
    if (!ingest->has_progress || now_us - ingest->drawn_us < PROGRESS_US) {
        return;
    }
    ingest->drawn_us = now_us;
    CLEANUP(buf_freep) struct buf line = {0};
    struct uploader_counts counts = uploader_counts(ingest->uploader);
    uint64_t events = events_of(&counts);
    uint64_t total = input_bytes_total(input);
    term_text(str_of(input_name(input)), false, &line);
    if (total > 0) {
        uint64_t read = MIN_OF(input_bytes_read(input), total);
        buf_z(&line, "  [");
        for (uint64_t i = 0; i < BAR_COLUMNS; i++) {
            buf_z(&line, i * total < read * BAR_COLUMNS ? "█" : " ");
        }
        buf_printf(&line, "] %3u%%", (unsigned)(read * 100 / total));
    }
    uint64_t elapsed_us = MAX_OF(now_us - ingest->begin_us, UINT64_C(1));
    buf_printf(&line, "  %" PRIu64 " events  %.0f/s", events,
               (double)events * 1e6 / (double)elapsed_us);
    fprintf(stderr, "\r\x1b[K%.*s", (int)line.len, (const char *)line.ptr);
    fflush(stderr);
    ingest->is_drawn = true;
}

static enum err_code put_batch(struct ingest *ingest, struct err *err)
{
    struct batch batch = {0};
    ERR_TRY(batcher_take(&ingest->batcher, &batch, err));
    return uploader_put(ingest->uploader, &batch, ingest->file_idx, err);
}

static enum err_code feed_chunk(struct ingest *ingest, struct str chunk, struct err *err)
{
    enum batcher_event event = BATCHER_MORE;
    do {
        event = batcher_feed(&ingest->batcher, &chunk);
        if (event == BATCHER_BATCH) {
            ERR_TRY(put_batch(ingest, err));
        } else if (event == BATCHER_TOO_LONG) {
            char reason[96];
            snprintf(reason, sizeof(reason), "a line of more than %u MiB is no event; skipped",
                     LINE_BYTES_MAX >> 20);
            ingest->too_long++;
            show_problem(ingest, ingest->file_idx, ingest->batcher.skipped_line, str_of(reason));
        }
    } while (event != BATCHER_MORE);
    return ERR_OK;
}

static enum err_code ingest_file(struct ingest *ingest, const struct batcher_opts *opts,
                                 char *chunk, struct err *err)
{
    CLEANUP(input_closep) struct input *input = NULL;
    ERR_TRY(input_open(ingest->files->items[ingest->file_idx], &input, err));
    batcher_done(&ingest->batcher);
    batcher_init(&ingest->batcher, opts);
    for (;;) {
        size_t len = 0;
        if (input_read(input, chunk, CHUNK_BYTES, &len, err) != ERR_OK) {
            /* Damaged: the whole lines before it are sent, and the damage is reported. */
            struct err second;
            if (ingest->batcher.whole_bytes > 0 && put_batch(ingest, &second) != ERR_OK) {
                *err = second;
            }
            return err->code;
        }
        if (len == 0) {
            return batcher_end(&ingest->batcher) ? put_batch(ingest, err) : ERR_OK;
        }
        ERR_TRY(feed_chunk(ingest, (struct str){chunk, len}, err));
        progress_draw(ingest, input);
    }
}

/* The last line for a person:
 * "accepted 9, duplicate 0, rejected 0, conflict 1  (0.1 s, 90 events/s); conflicts are kept in data set shop.dead" */
static void counts_text(const struct uploader_counts *counts, uint64_t rejected, double elapsed_s,
                        struct buf *out)
{
    buf_printf(out, "accepted %" PRIu64 ", duplicate %" PRIu64 ", rejected %" PRIu64,
               counts->accepted, counts->duplicate, rejected);
    if (counts->conflict > 0) {
        buf_printf(out, ", conflict %" PRIu64, counts->conflict);
    }
    buf_printf(out, "  (%.1f s, %.0f events/s)", elapsed_s,
               (double)events_of(counts) / (elapsed_s > 1e-6 ? elapsed_s : 1e-6));
    if (counts->conflict > 0 && counts->dead_letters[0] != '\0') {
        buf_z(out, "; conflicts are kept in data set ");
        term_text(str_of(counts->dead_letters), false, out);
    }
    buf_u8(out, '\n');
}

static void counts_json(const struct uploader_counts *counts, uint64_t rejected, double elapsed_s,
                        struct buf *out)
{
    buf_printf(out,
               "{\"accepted\":%" PRIu64 ",\"duplicate\":%" PRIu64 ",\"rejected\":%" PRIu64
               ",\"conflict\":%" PRIu64,
               counts->accepted, counts->duplicate, rejected, counts->conflict);
    if (counts->dead_letters[0] != '\0') {
        buf_z(out, ",\"dead_letters\":");
        json_text(str_of(counts->dead_letters), out);
    }
    buf_printf(out,
               ",\"bytes\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"retries\":%" PRIu64
               ",\"elapsed_ms\":%.0f}\n",
               counts->bytes, counts->bodies, counts->retries, elapsed_s * 1000);
}

static int report(const struct ingest *ingest, const struct uploader_counts *counts, bool is_json,
                  bool has_failed)
{
    CLEANUP(buf_freep) struct buf out = {0};
    uint64_t rejected = counts->rejected + ingest->too_long;
    double elapsed_s = (double)(clock_mono_us() - ingest->begin_us) / 1e6;
    if (ingest->problem_count > PROBLEMS_SHOWN) {
        fprintf(stderr, "... and %" PRIu64 " more rejected%s lines\n",
                ingest->problem_count - PROBLEMS_SHOWN,
                counts->conflict > 0 ? " or conflicting" : "");
    }
    if (counts->lines_without_id > 0 && !ingest->is_quiet) {
        fprintf(stderr,
                "trackway: %" PRIu64 " line%s no event_id: the server makes up fresh ones, so "
                "sending such lines again counts them again\n",
                counts->lines_without_id, counts->lines_without_id == 1 ? " has" : "s have");
    }
    (is_json ? counts_json : counts_text)(counts, rejected, elapsed_s, &out);
    int exit = command_print(buf_as_str(&out));
    return has_failed                        ? EXIT_FAILED
           : exit != EXIT_FINE               ? exit
           : rejected + counts->conflict > 0 ? EXIT_SOME_REJECTED
                                             : EXIT_FINE;
}

/* All files, then the end of the uploads. The first failure is the one to report. */
static enum err_code ingest_all(struct ingest *ingest, const struct batcher_opts *opts,
                                struct uploader_counts *ret_counts, struct err *err)
{
    struct err upload_err;
    enum err_code code = ERR_OK;
    char *chunk = malloc(CHUNK_BYTES);
    if (chunk == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: %u bytes", CHUNK_BYTES);
    }
    for (; ingest->file_idx < ingest->files->count && code == ERR_OK; ingest->file_idx++) {
        code = ingest_file(ingest, opts, chunk, err);
    }
    free(chunk);
    batcher_done(&ingest->batcher);
    enum err_code upload_code = uploader_finish(ingest->uploader, ret_counts, &upload_err);
    if (code == ERR_OK && upload_code != ERR_OK) {
        *err = upload_err;
        code = upload_code;
    }
    progress_clear(ingest);
    return code;
}

static int ingest_run(struct ingest *ingest, const struct uploader_opts *upload,
                      const struct batcher_opts *batching, bool is_json)
{
    struct err err;
    struct uploader_counts counts = {0};
    struct interrupt interrupt;
    CLEANUP(uploader_freep) struct uploader *uploader = NULL;
    interrupt_block(&interrupt);
    enum err_code code = uploader_create(upload, &uploader, &err);
    if (code == ERR_OK) {
        ingest->uploader = uploader;
        code = interrupt_watch(&interrupt, on_interrupt, ingest, &err);
    }
    if (code == ERR_OK) {
        code = ingest_all(ingest, batching, &counts, &err);
    }
    interrupt_done(&interrupt);
    if (code != ERR_OK) {
        command_fail(&err, NULL, EXIT_FAILED);
    }
    return code == ERR_OK || counts.bodies > 0 ? report(ingest, &counts, is_json, code != ERR_OK)
                                               : EXIT_FAILED;
}

int command_ingest(int argc, char *const *argv)
{
    const char *server = command_server();
    const char *dataset = "default";
    uint64_t connections = 2;
    uint64_t batch_lines = 20000;
    uint64_t batch_bytes = 8u << 20;
    bool is_json = false;
    bool is_quiet = false;
    const struct arg_option options[] = {
        OPTION_SERVER(&server),
        OPTION_DATASET(&dataset),
        {.name = "connections",
         .value_name = "N",
         .sentence = "bodies under way at once (2)",
         .count = &connections,
         .min = 1,
         .max = UPLOADER_CONNECTIONS_MAX},
        {.name = "batch-lines",
         .value_name = "N",
         .sentence = "lines per body (20000)",
         .count = &batch_lines,
         .min = 1,
         .max = 10000000},
        {.name = "batch-bytes",
         .value_name = "N",
         .sentence = "bytes per body (8388608)",
         .count = &batch_bytes,
         .min = 1,
         .max = LINE_BYTES_MAX},
        {.name = "json", .sentence = "print the counts as JSON", .flag = &is_json},
        {.name = "quiet",
         .sentence = "show no rejected or conflicting lines and no progress",
         .flag = &is_quiet},
    };
    const struct arg_command command = {
        .name = "trackway ingest",
        .sentence = "send events: one JSON object per line, plain, gzip or zstd",
        .usage = "[--server URL] [--dataset NAME] FILE...      (no FILE or -: standard input)",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "Each line has event_name, user_id or anonymous_id, event_time (else now), event_id; "
            "every\n"
            "other key is a property. With event_id, sending a file again counts nothing twice.\n"
            "A line whose event_id is known with another content is a conflict, and kept out.\n"
            "Ends with 0; 2 when lines were rejected or in conflict (shown with their place); 1 "
            "on\n"
            "failure; 130 when interrupted. A server that goes away is tried again for up to 10\n"
            "minutes.\n\n"
            "  echo '{\"event_id\":\"e1\",\"event_name\":\"signup\",\"user_id\":\"ann\"}' | "
            "trackway "
            "ingest --dataset demo -\n"
            "  trackway-bench generate --events 10000 | trackway ingest --dataset demo "
            "--connections "
            "4 -\n"
            "  trackway query --dataset demo 'trend count(any), users(any)'\n",
    };
    struct err err;
    int exit = EXIT_FINE;
    struct arg_list *files = calloc(1, sizeof(*files));
    if (files == NULL) {
        err_set(&err, ERR_NOMEM, "out of memory: arguments");
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    if (!command_parse(&command, argc, argv, files, &exit)) {
        free(files);
        return exit;
    }
    struct ingest ingest = {
        .files = files,
        .is_quiet = is_quiet,
        .has_progress = isatty(STDERR_FILENO) && !is_quiet,
        .begin_us = clock_mono_us(),
    };
    const struct uploader_opts upload = {
        .server_url = server,
        .dataset = dataset,
        .content_type = "application/x-ndjson",
        .connections = (uint32_t)connections,
        .retry_ms_max = RETRY_MS_MAX,
        .arg = &ingest,
        .on_rejected = on_rejected,
        .on_outage = on_outage,
    };
    const struct batcher_opts batching = {
        .bytes_max = batch_bytes, .lines_max = batch_lines, .line_bytes_max = LINE_BYTES_MAX};
    if (files->count == 0 && !isatty(STDIN_FILENO)) {
        files->items[files->count++] = "-";
    }
    if (files->count > 0) {
        exit = ingest_run(&ingest, &upload, &batching, is_json);
    } else {
        err_set(&err, ERR_INVALID, "no file to send; - is standard input (trackway ingest --help)");
        exit = command_fail(&err, NULL, EXIT_USAGE);
    }
    free(files);
    return exit;
}
