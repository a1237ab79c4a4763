/* client/cmd_inspect.c - trackway inspect: segments read through storage/, without a server.
 *
 * A file is one segment. A folder (of data, of a data set, of a shard) is walked for *.seg and *.first files; a
 * server may write there meanwhile: segments are immutable, and one that a compaction takes away
 * between listing and opening is left out.
 */
#include "client/command.h"
#include "client/draw.h"
#include "client/inspect_segment.h"
#include "client/sheet.h"
#include "client/term.h"
#include "storage/base/json_text.h"
#include "storage/base/size.h"
#include "storage/catalog.h"

#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE_BYTES (64u << 20)

struct inspect {
    const char *path;
    struct inspect_opts opts;
    bool is_verifying;
    struct io *io;
    struct block_cache *cache;
    uint64_t next_id;
    struct buf out;

    /* of a folder */
    struct arena *arena;
    struct sheet sheet;
    struct inspect_col *cols; /* sums, by name and type */
    uint32_t col_count, col_cap;
    uint64_t segments, rows, bytes, set_bytes, footer_bytes;
    uint64_t broken;
    int64_t time_min_ms, time_max_ms;
};

static enum err_code open_and_verify(struct inspect *inspect, const char *path,
                                     struct segment **ret, struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = NULL;
    ERR_TRY(
        segment_open(inspect->io, path, NULL, inspect->cache, ++inspect->next_id, &segment, err));
    if (inspect->is_verifying) {
        ERR_TRY(segment_verify(segment, inspect->io, err));
    }
    *ret = TAKE(segment);
    return ERR_OK;
}

static enum err_code inspect_file(struct inspect *inspect, struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = NULL;
    ERR_TRY(open_and_verify(inspect, inspect->path, &segment, err));
    ERR_TRY(inspect_segment(segment, inspect->io, &inspect->opts, &inspect->out, err));
    if (inspect->is_verifying && !inspect->opts.is_json) {
        buf_z(&inspect->out, "\nverified: every checksum and invariant holds\n");
    }
    return ERR_OK;
}

/* ---- folders ---- */

static enum err_code sum_add(struct inspect *inspect, const struct inspect_col *col,
                             struct err *err)
{
    uint32_t i = 0;
    while (i < inspect->col_count &&
           !(inspect->cols[i].type == col->type && inspect->cols[i].is_builtin == col->is_builtin &&
             str_eq(inspect->cols[i].name, col->name))) {
        i++;
    }
    if (i == inspect->col_cap) {
        uint32_t cap = i == 0 ? 64 : i * 2;
        struct inspect_col *cols = realloc(inspect->cols, cap * sizeof(*cols));
        if (cols == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory: %u columns", cap);
        }
        inspect->cols = cols;
        inspect->col_cap = cap;
    }
    if (i == inspect->col_count) {
        inspect->cols[i] = (struct inspect_col){.type = col->type, .is_builtin = col->is_builtin};
        ERR_TRY(arena_str(inspect->arena, col->name, &inspect->cols[i].name, err));
        inspect->col_count++;
    }
    inspect->cols[i].value_count += col->value_count;
    inspect->cols[i].bytes += col->bytes;
    inspect->cols[i].dict_bytes += col->dict_bytes;
    return ERR_OK;
}

static enum err_code sheet_set_with(struct sheet *sheet, uint32_t col, struct buf *text,
                                    struct err *err)
{
    ERR_TRY(buf_check(text, err));
    ERR_TRY(sheet_set(sheet, col, buf_as_str(text), NULL, err));
    buf_clear(text);
    return ERR_OK;
}

/* Which of a data set's directories the file lies in, by what stands beside the shards; "" for a stray file. */
static const char *tier_of(const char *path)
{
    char beside[4096 + 32];
    const char *shard = strstr(path, "/shard-");
    if (shard == NULL || (size_t)(shard - path) >= 4096) {
        return "";
    }
    snprintf(beside, sizeof(beside), "%.*s/OWNER", (int)(shard - path), path);
    if (access(beside, F_OK) == 0) {
        return "cold";
    }
    snprintf(beside, sizeof(beside), "%.*s/ids.log", (int)(shard - path), path);
    return access(beside, F_OK) == 0 ? "hot" : "";
}

static enum err_code segment_line(struct inspect *inspect, const struct segment *segment,
                                  const char *shown_path, struct err *err)
{
    const struct source *source = segment_source(segment);
    const char *tier = source->is_first_times ? "first" : tier_of(segment_path(segment));
    struct segment_info info = segment_info(segment);
    CLEANUP(buf_freep) struct buf text = {0};
    if (inspect->opts.is_json) {
        buf_z(&inspect->out, inspect->segments > 1 ? ",{\"path\":" : "{\"path\":");
        json_text(str_of(shown_path), &inspect->out);
        buf_printf(&inspect->out,
                   ",\"shard\":%u,\"rows\":%u,\"bytes\":%" PRIu64 ",\"time_first_ms\":%" PRId64
                   ",\"time_last_ms\":%" PRId64 ",\"columns\":%u,\"tier\":\"%s\"}",
                   source->shard, source->row_count, info.file_bytes, source->time_min_ms,
                   source->time_max_ms, info.col_count, tier);
        return ERR_OK;
    }
    struct sheet *sheet = &inspect->sheet;
    ERR_TRY(sheet_row(sheet, err));
    ERR_TRY(sheet_set(sheet, 0, str_of(shown_path), NULL, err));
    buf_printf(&text, "%u", source->row_count);
    ERR_TRY(sheet_set_with(sheet, 1, &text, err));
    buf_printf(&text, "%" PRIu64, info.file_bytes);
    ERR_TRY(sheet_set_with(sheet, 2, &text, err));
    buf_printf(&text, "%.2f", (double)info.file_bytes / (double)MAX_OF(source->row_count, 1u));
    ERR_TRY(sheet_set_with(sheet, 3, &text, err));
    buf_printf(&text, "%u", info.col_count);
    ERR_TRY(sheet_set_with(sheet, 4, &text, err));
    inspect_time(source->time_min_ms, &text);
    ERR_TRY(sheet_set_with(sheet, 5, &text, err));
    inspect_time(source->time_max_ms, &text);
    ERR_TRY(sheet_set_with(sheet, 6, &text, err));
    return sheet_set(sheet, 7, str_of(tier), NULL, err);
}

static enum err_code folder_segment(struct inspect *inspect, const char *path, struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = NULL;
    ERR_TRY(open_and_verify(inspect, path, &segment, err));
    const struct source *source = segment_source(segment);
    struct segment_info info = segment_info(segment);
    size_t prefix = strlen(inspect->path);
    const char *shown = path + (strncmp(path, inspect->path, prefix) == 0 ? prefix : 0);
    while (*shown == '/') {
        shown++;
    }
    inspect->segments++;
    ERR_TRY(segment_line(inspect, segment, shown, err));
    inspect->time_min_ms = inspect->segments == 1
                               ? source->time_min_ms
                               : MIN_OF(inspect->time_min_ms, source->time_min_ms);
    inspect->time_max_ms = inspect->segments == 1
                               ? source->time_max_ms
                               : MAX_OF(inspect->time_max_ms, source->time_max_ms);
    inspect->rows += source->row_count;
    inspect->bytes += info.file_bytes;
    inspect->set_bytes += info.set_bytes;
    inspect->footer_bytes += info.footer_bytes;
    for (uint32_t i = 0; i < info.col_count; i++) {
        struct inspect_col col = inspect_col_of(segment, i);
        ERR_TRY(sum_add(inspect, &col, err));
    }
    return ERR_OK;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* A broken segment is reported, and the others are read all the same. */
static enum err_code folder_walk(struct inspect *inspect, struct err *err)
{
    char *roots[] = {strdup(inspect->path), NULL};
    FTS *fts = roots[0] == NULL ? NULL : fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    if (fts == NULL) {
        free(roots[0]);
        return err_set_errno(err, errno, "reading folder \"%s\"", inspect->path);
    }
    for (FTSENT *entry = fts_read(fts); entry != NULL; entry = fts_read(fts)) {
        struct err segment_err;
        bool is_segment =
            entry->fts_info == FTS_F && (str_ends(str_of(entry->fts_name), STR(".seg")) ||
                                         str_ends(str_of(entry->fts_name), STR(".first")));
        if (entry->fts_info == FTS_DNR) {
            err_set_errno(&segment_err, entry->fts_errno, "reading folder \"%s\"", entry->fts_path);
            command_fail(&segment_err, NULL, EXIT_FAILED);
            inspect->broken++;
        }
        if (!is_segment) {
            continue;
        }
        enum err_code code = folder_segment(inspect, entry->fts_path, &segment_err);
        if (code != ERR_OK && code != ERR_NOT_FOUND) {
            command_fail(&segment_err, NULL, EXIT_FAILED);
            inspect->broken++;
        }
    }
    fts_close(fts);
    free(roots[0]);
    return ERR_OK;
}

/* ---- what the catalog says of segments that are not below the folder ---- */

struct elsewhere {
    uint64_t segments, bytes;
    int64_t ids[1024]; /* of data sets */
    uint32_t id_count;
};

static enum err_code note_dataset(void *arg, const struct catalog_dataset *dataset, struct err *err)
{
    (void)err;
    struct elsewhere *elsewhere = arg;
    if (elsewhere->id_count < COUNT_OF(elsewhere->ids)) {
        elsewhere->ids[elsewhere->id_count++] = dataset->id;
    }
    return ERR_OK;
}

static enum err_code note_segment(void *arg, const struct catalog_segment *segment, struct err *err)
{
    (void)err;
    struct elsewhere *elsewhere = arg;
    elsewhere->segments += segment->tier == TIER_COLD;
    elsewhere->bytes += segment->tier == TIER_COLD ? segment->bytes : 0;
    return ERR_OK;
}

/* Of a whole data folder, where its catalog can be read: a running server has it to itself. */
static void count_elsewhere(const struct inspect *inspect, struct elsewhere *ret)
{
    CLEANUP(catalog_closep) struct catalog *catalog = NULL;
    struct err ignored;
    char path[4096 + 32];
    *ret = (struct elsewhere){0};
    snprintf(path, sizeof(path), "%.4095s/catalog.db", inspect->path);
    if (access(path, R_OK) != 0 || catalog_open(path, true, &catalog, &ignored) != ERR_OK ||
        catalog_datasets(catalog, note_dataset, ret, &ignored) != ERR_OK) {
        return;
    }
    for (uint32_t i = 0; i < ret->id_count; i++) {
        if (catalog_segments(catalog, ret->ids[i], note_segment, ret, &ignored) != ERR_OK) {
            return;
        }
    }
}

/* Builtins first, in the order of the format; then by size. */
static int by_bytes(const void *a, const void *b)
{
    const struct inspect_col *x = a;
    const struct inspect_col *y = b;
    uint64_t x_bytes = inspect_col_bytes(x);
    uint64_t y_bytes = inspect_col_bytes(y);
    if (x_bytes != y_bytes) {
        return x_bytes < y_bytes ? 1 : -1;
    }
    return str_cmp(x->name, y->name);
}

static enum err_code folder_report(struct inspect *inspect, struct err *err)
{
    struct buf *out = &inspect->out;
    struct elsewhere elsewhere;
    count_elsewhere(inspect, &elsewhere);
    if (inspect->col_count > 1) {
        qsort(inspect->cols, inspect->col_count, sizeof(*inspect->cols), by_bytes);
    }
    if (inspect->opts.is_json) {
        buf_printf(out,
                   "],\"segment_count\":%" PRIu64 ",\"rows\":%" PRIu64 ",\"bytes\":%" PRIu64
                   ",\"subject_set_bytes\":%" PRIu64 ",\"footer_bytes\":%" PRIu64
                   ",\"broken\":%" PRIu64 ",\"cold_segments\":%" PRIu64 ",\"cold_bytes\":%" PRIu64
                   ",",
                   inspect->segments, inspect->rows, inspect->bytes, inspect->set_bytes,
                   inspect->footer_bytes, inspect->broken, elsewhere.segments, elsewhere.bytes);
        inspect_cols_json(inspect->cols, inspect->col_count, NULL, out);
        buf_z(out, "}\n");
        return buf_check(out, err);
    }
    if (elsewhere.segments > 0) {
        buf_printf(out, "%" PRIu64 " segments lie in the cold directory, with ",
                   elsewhere.segments);
        draw_bytes(elsewhere.bytes, out);
        buf_z(out, "; of those below this folder:\n\n");
    }
    if (inspect->segments == 0) {
        buf_printf(out, "no segments: what there is may still be in the log and in memory "
                        "(trackway flush)\n");
        return buf_check(out, err);
    }
    ERR_TRY(sheet_draw(&inspect->sheet, inspect->opts.has_colour, out, err));
    buf_u8(out, '\n');
    ERR_TRY(inspect_cols_draw(inspect->cols, inspect->col_count, NULL, inspect->rows,
                              inspect->bytes, inspect->opts.has_colour, out, err));
    buf_printf(out, "\n%" PRIu64 " segments · %" PRIu64 " rows · ", inspect->segments,
               inspect->rows);
    draw_bytes(inspect->bytes, out);
    buf_printf(out, ", %.2f bytes per event (columns with dictionaries above; subject sets ",
               (double)inspect->bytes / (double)MAX_OF(inspect->rows, UINT64_C(1)));
    draw_bytes(inspect->set_bytes, out);
    buf_z(out, ", footers ");
    draw_bytes(inspect->footer_bytes, out);
    buf_z(out, ")\n");
    inspect_time(inspect->time_min_ms, out);
    buf_z(out, " .. ");
    inspect_time(inspect->time_max_ms, out);
    buf_z(out, "\n");
    if (inspect->is_verifying && inspect->broken == 0) {
        buf_z(out, "verified: every checksum and invariant holds\n");
    }
    return buf_check(out, err);
}

static enum err_code inspect_folder(struct inspect *inspect, struct err *err)
{
    static const char *const HEADERS[] = {"segment", "rows",  "bytes", "per event",
                                          "columns", "first", "last",  "tier"};
    if (inspect->opts.rows > 0 || inspect->opts.column != NULL) {
        return err_set(err, ERR_INVALID,
                       "--rows and --column look into one segment file, and \"%s\" is a folder",
                       inspect->path);
    }
    for (uint32_t i = 0; i < COUNT_OF(HEADERS); i++) {
        ERR_TRY(sheet_col(&inspect->sheet, str_of(HEADERS[i]), i >= 1 && i <= 4, err));
    }
    buf_z(&inspect->out, inspect->opts.is_json ? "{\"segments\":[" : "");
    ERR_TRY(folder_walk(inspect, err));
    return folder_report(inspect, err);
}

/* A segment, or a pattern of segments that matched none, below a data set that is there. */
static bool path_may_come(const char *path)
{
    struct stat stat_of_path;
    char folder[4096];
    const char *shard = strstr(path, "/shard-");
    if (errno != ENOENT || shard == NULL || (size_t)(shard - path) >= sizeof(folder) ||
        !(str_ends(str_of(path), STR(".seg")) || str_ends(str_of(path), STR(".first")))) {
        return false;
    }
    snprintf(folder, sizeof(folder), "%.*s", (int)(shard - path), path);
    return stat(folder, &stat_of_path) == 0 && S_ISDIR(stat_of_path.st_mode);
}

static enum err_code inspect_path(struct inspect *inspect, struct err *err)
{
    struct stat stat_of_path;
    ERR_TRY(io_create(IO_POSIX, &inspect->io, err));
    ERR_TRY(block_cache_create(CACHE_BYTES, &inspect->cache, err));
    if (stat(inspect->path, &stat_of_path) != 0) {
        return path_may_come(inspect->path)
                   ? err_set(err, ERR_NOT_FOUND,
                             "cannot inspect \"%s\": No such file; not written yet? trackway flush "
                             "writes what is in memory",
                             inspect->path)
                   : err_set_errno(err, errno, "cannot inspect \"%s\"", inspect->path);
    }
    return S_ISDIR(stat_of_path.st_mode) ? inspect_folder(inspect, err)
                                         : inspect_file(inspect, err);
}

static int run(struct inspect *inspect)
{
    struct err err;
    int exit = EXIT_FINE;
    inspect->arena = arena_create(NULL);
    sheet_init(&inspect->sheet);
    if (inspect_path(inspect, &err) != ERR_OK || buf_check(&inspect->out, &err) != ERR_OK) {
        exit = command_fail(&err, NULL, EXIT_FAILED);
    } else {
        exit = command_print(buf_as_str(&inspect->out));
        exit = inspect->broken > 0 ? EXIT_FAILED : exit;
    }
    buf_done(&inspect->out);
    sheet_done(&inspect->sheet);
    free(inspect->cols);
    arena_free(inspect->arena);
    block_cache_free(inspect->cache);
    io_free(inspect->io);
    return exit;
}

int command_inspect(int argc, char *const *argv)
{
    struct inspect inspect = {.opts.has_colour = term_has_colour(STDOUT_FILENO)};
    const struct arg_option options[] = {
        {.name = "rows",
         .value_name = "N",
         .sentence = "show the first N rows of the segment",
         .count = &inspect.opts.rows,
         .min = 1,
         .max = 1e6},
        {.name = "column",
         .value_name = "NAME",
         .sentence = "show the blocks of this column",
         .text = &inspect.opts.column},
        {.name = "verify",
         .sentence = "read everything; check every checksum and invariant",
         .flag = &inspect.is_verifying},
        {.name = "json", .sentence = "print JSON", .flag = &inspect.opts.is_json},
    };
    const struct arg_command command = {
        .name = "trackway inspect",
        .sentence = "look inside a segment file, or the segments below a folder",
        .usage = "PATH [--rows N] [--column NAME] [--verify] [--json]",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples = "Reads the files themselves; no server is asked. Sizes are bytes.\n\n"
                    "  trackway inspect build/data\n"
                    "  trackway inspect build/data/shop --verify\n"
                    "  trackway inspect --rows 5 --column event_time \"$(find build/data -name "
                    "'*.seg' | sort "
                    "| head -n 1)\"\n",
    };
    struct err err;
    int exit = EXIT_FINE;
    struct arg_list *operands = calloc(1, sizeof(*operands));
    if (operands == NULL) {
        err_set(&err, ERR_NOMEM, "out of memory: arguments");
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    if (command_parse(&command, argc, argv, operands, &exit)) {
        if (operands->count == 1) {
            inspect.path = operands->items[0];
            exit = run(&inspect);
        } else {
            err_set(&err, ERR_INVALID, "inspect takes one path, and got %u", operands->count);
            exit = command_fail(&err, NULL, EXIT_USAGE);
        }
    }
    free(operands);
    return exit;
}
