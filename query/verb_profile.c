/* query/verb_profile.c - what a query has done, as a table.
 *
 * One line for each operator, in the order of the work, and lines below it for its parts: why blocks were left out, how
 * rows were found, rounds of tasks, threads. A figure that an operator does not have is null; lines of parts that did not
 * occur are left out. Times are on the clock for what the calling thread does (bind, rounds, merge, order, all), and
 * summed over threads for what tasks do (scan, stored sets, compute, threads). */
#include "query/profile.h"
#include "query/run.h"
#include "query/way.h"
#include "storage/base/size.h"

#include <inttypes.h>

enum {
    COL_OPERATOR,
    COL_DETAIL,
    COL_TIMES,
    COL_IN,
    COL_OUT,
    COL_BLOCKS,
    COL_LOADED,
    COL_BYTES,
    COL_US,
    COLS
};

static const struct result_col columns[COLS] = {
    [COL_OPERATOR] = {{"operator", 8}, RESULT_STRING},
    [COL_DETAIL] = {{"detail", 6}, RESULT_STRING},
    [COL_TIMES] = {{"count", 5}, RESULT_INT64},
    [COL_IN] = {{"rows_in", 7}, RESULT_INT64},
    [COL_OUT] = {{"rows_out", 8}, RESULT_INT64},
    [COL_BLOCKS] = {{"blocks", 6}, RESULT_INT64},
    [COL_LOADED] = {{"blocks_loaded", 13}, RESULT_INT64},
    [COL_BYTES] = {{"bytes", 5}, RESULT_INT64},
    [COL_US] = {{"time_us", 7}, RESULT_INT64},
};

/* Lines beside those of rounds, threads, and ways to find rows. */
#define LINES_MAX 25u

struct lines {
    struct query_run_ctx *run;
    struct result *result;
    const struct query_profile *profile;
    struct cell *cells; /* of the next line */
    uint64_t left;
};

/* The figures of a line, -1 where it has none. */
struct figures {
    int64_t times, rows_in, rows_out, blocks, blocks_loaded, bytes, time_us;
};
#define NO_FIGURES                                                                                 \
    {                                                                                              \
        -1, -1, -1, -1, -1, -1, -1                                                                 \
    }

static int64_t load(const _Atomic uint64_t *counter)
{
    return (int64_t)atomic_load_explicit(counter, memory_order_relaxed);
}

static struct cell figure_cell(int64_t figure)
{
    return figure < 0 ? (struct cell){.kind = CELL_NULL}
                      : (struct cell){.kind = CELL_I64, .i64 = figure};
}

static enum err_code add_line(struct lines *lines, const char *name, struct str detail,
                              const struct figures *figures, struct err *err)
{
    ASSERT(lines->left > 0);
    struct cell *cells = lines->cells;
    cells[COL_OPERATOR] = (struct cell){.kind = CELL_STRING, .string = str_of(name)};
    cells[COL_DETAIL].kind = CELL_STRING;
    ERR_TRY(arena_str(lines->result->arena, detail, &cells[COL_DETAIL].string, err));
    cells[COL_TIMES] = figure_cell(figures->times);
    cells[COL_IN] = figure_cell(figures->rows_in);
    cells[COL_OUT] = figure_cell(figures->rows_out);
    cells[COL_BLOCKS] = figure_cell(figures->blocks);
    cells[COL_LOADED] = figure_cell(figures->blocks_loaded);
    cells[COL_BYTES] = figure_cell(figures->bytes);
    cells[COL_US] = figure_cell(figures->time_us);
    lines->cells += COLS;
    lines->left--;
    lines->result->row_count++;
    return ERR_OK;
}

static void take_reads(struct figures *figures, const struct profile_reads *reads)
{
    figures->blocks = load(&reads->blocks);
    figures->blocks_loaded = load(&reads->blocks_loaded);
    figures->bytes = load(&reads->bytes);
}

/* A part of an operator, which says only how often; nothing where it did not occur. */
static enum err_code add_part(struct lines *lines, const char *name, const char *detail,
                              uint64_t times, struct err *err)
{
    struct figures figures = NO_FIGURES;
    figures.times = (int64_t)times;
    return times == 0 ? ERR_OK : add_line(lines, name, str_of(detail), &figures, err);
}

/* ---- the lines ---- */

static enum err_code add_bind(struct lines *lines, struct err *err)
{
    struct figures figures = NO_FIGURES;
    struct str way = {0};
    ERR_TRY(way_of(lines->run, &way, err));
    figures.time_us = (int64_t)lines->profile->bind_us;
    ERR_TRY(add_line(lines, "bind", STR("text to bound query"), &figures, err));
    figures.time_us = -1;
    return add_line(lines, "way", way, &figures, err);
}

static enum err_code add_sources(struct lines *lines, struct err *err)
{
    const struct snapshot *snapshot = lines->run->snapshot;
    uint64_t segments = 0;
    uint64_t memtables = 0;
    uint64_t unused = 0;
    for (uint32_t i = 0; i < snapshot->source_count; i++) {
        bool is_memory = snapshot->sources[i]->is_memory;
        bool is_used = atomic_load_explicit(&lines->run->is_source_used[i], memory_order_relaxed);
        segments += !is_memory && is_used;
        memtables += is_memory && is_used;
        unused += !is_used;
    }
    ERR_TRY(add_part(lines, "sources", "segments read", segments, err));
    ERR_TRY(add_part(lines, "sources", "memtables read", memtables, err));
    return add_part(lines, "sources", "left out", unused, err);
}

static enum err_code add_scans(struct lines *lines, struct err *err)
{
    static const char *const pruned[] = {
        [SCAN_PRUNED_TIME] = "scans of a source left out by time",
        [SCAN_PRUNED_NAME] = "scans of a source left out by event name",
        [SCAN_PRUNED_WHERE] = "scans of a source left out by conditions that never hold",
    };
    const struct profile_scans *scans = &lines->profile->scans;
    struct figures figures = {
        .times = load(&scans->count),
        .rows_in = load(&scans->rows_read),
        .rows_out = load(&scans->rows_matched),
        .time_us = load(&scans->time_us),
    };
    if (figures.times == 0) {
        return ERR_OK;
    }
    take_reads(&figures, &scans->reads);
    ERR_TRY(add_line(lines, "scan", STR("rows of sources, by event, time and conditions"), &figures,
                     err));
    for (uint32_t p = SCAN_PRUNED_TIME; p < COUNT_OF(pruned); p++) {
        ERR_TRY(add_part(lines, "scan", pruned[p], (uint64_t)load(&scans->pruned[p]), err));
    }
    ERR_TRY(add_part(lines, "scan", "row blocks left out by time",
                     (uint64_t)load(&scans->blocks_pruned_time), err));
    ERR_TRY(add_part(lines, "scan", "row blocks left out by lists of rows",
                     (uint64_t)load(&scans->blocks_pruned_index), err));
    ERR_TRY(add_part(lines, "scan", "row blocks with candidates",
                     (uint64_t)load(&scans->blocks_scanned), err));
    for (uint32_t p = 0; p < SCAN_PATHS; p++) {
        ERR_TRY(add_part(lines, "scan by", scan_path_name((enum scan_path)p),
                         (uint64_t)load(&scans->blocks_by[p]), err));
    }
    return ERR_OK;
}

static enum err_code add_sets(struct lines *lines, struct err *err)
{
    const struct profile_sets *sets = &lines->profile->sets;
    const struct profile_reads *others = &lines->profile->others;
    struct figures figures = NO_FIGURES;
    take_reads(&figures, &sets->reads);
    if (load(&sets->sets) > 0 || figures.blocks > 0) {
        figures.times = load(&sets->sets);
        figures.rows_out = load(&sets->members);
        figures.time_us = load(&sets->time_us);
        ERR_TRY(add_line(lines, "stored sets", STR("sets of subjects, united; members out"),
                         &figures, err));
    }
    struct figures rest = NO_FIGURES;
    take_reads(&rest, others);
    return rest.blocks == 0
               ? ERR_OK
               : add_line(lines, "read", STR("what is known of subjects, shown rows"), &rest, err);
}

static enum err_code add_firsts(struct lines *lines, struct err *err)
{
    const struct profile_firsts *firsts = &lines->profile->firsts;
    struct figures figures = NO_FIGURES;
    figures.times = load(&firsts->sources);
    figures.rows_in = load(&firsts->rows);
    figures.rows_out = load(&firsts->found);
    return figures.times == 0
               ? ERR_OK
               : add_line(lines, "first times",
                          STR("first events ever of what is expired; among the scans as well"),
                          &figures, err);
}

static enum err_code add_cached(struct lines *lines, struct err *err)
{
    struct query_run_ctx *run = lines->run;
    struct figures figures = NO_FIGURES;
    figures.times = load(&run->cached);
    figures.rows_in = load(&run->rows_cached);
    figures.bytes = load(&run->bytes_cached);
    return figures.times == 0
               ? ERR_OK
               : add_line(lines, "answer cache",
                          STR("answers of segments, and what they stand for"), &figures, err);
}

/* Between what was read and the slots of the tasks: journeys, kernels, groups, accumulators. */
static enum err_code add_compute(struct lines *lines, uint64_t task_us, struct err *err)
{
    const struct query_profile *profile = lines->profile;
    int64_t read_us = load(&profile->scans.time_us) + load(&profile->sets.time_us);
    struct figures figures = NO_FIGURES;
    figures.rows_in = load(&profile->scans.rows_matched) + load(&profile->sets.members);
    figures.time_us = MAX_OF((int64_t)task_us - read_us, 0);
    return add_line(lines, "compute", STR("journeys, kernels, groups and aggregates of tasks"),
                    &figures, err);
}

static enum err_code add_tasks(struct lines *lines, uint64_t *ret_rounds_us, struct err *err)
{
    const struct query_profile *profile = lines->profile;
    uint64_t task_us = 0;
    for (uint32_t t = 0; t < profile->thread_count; t++) {
        task_us += (uint64_t)load(&profile->threads[t].time_us);
    }
    *ret_rounds_us = 0;
    if (profile->round_count > 0) {
        ERR_TRY(add_compute(lines, task_us, err));
    }
    for (uint32_t r = 0; r < profile->round_count; r++) {
        const struct profile_round *round = &profile->rounds[r];
        struct figures figures = NO_FIGURES;
        struct str detail = {0};
        ERR_TRY(arena_printf(lines->run->arena, &detail, err,
                             "round %u%s: longest task %" PRId64 " us, first began after %" PRIu64
                             " us",
                             r + 1, round->rounds > 1 ? " and later ones" : "",
                             load(&round->longest_us), round->waited_us));
        figures.times = (int64_t)round->tasks;
        figures.time_us = (int64_t)round->elapsed_us;
        *ret_rounds_us += round->elapsed_us;
        ERR_TRY(add_line(lines, "tasks", detail, &figures, err));
    }
    for (uint32_t t = 0; t < profile->thread_count; t++) {
        struct figures figures = NO_FIGURES;
        struct str detail = {0};
        bool is_caller = t + 1 == profile->thread_count;
        figures.times = load(&profile->threads[t].tasks);
        figures.time_us = load(&profile->threads[t].time_us);
        if (figures.times > 0) {
            ERR_TRY(arena_printf(lines->run->arena, &detail, err,
                                 is_caller ? "the query's own" : "worker %u", t));
            ERR_TRY(add_line(lines, "thread", detail, &figures, err));
        }
    }
    return ERR_OK;
}

static enum err_code add_end(struct lines *lines, const struct result *answer, uint64_t rounds_us,
                             struct err *err)
{
    const struct query_profile *profile = lines->profile;
    struct query_run_ctx *run = lines->run;
    struct figures figures = NO_FIGURES;
    figures.rows_out = (int64_t)profile->rows_made;
    figures.time_us = (int64_t)(profile->verb_us - MIN_OF(profile->verb_us, rounds_us));
    ERR_TRY(add_line(lines, "merge", STR("plan, results of tasks united, cells"), &figures, err));
    if (run->query->has_order || run->query->has_limit) {
        figures = (struct figures)NO_FIGURES;
        figures.rows_in = (int64_t)profile->rows_made;
        figures.rows_out = (int64_t)answer->row_count;
        figures.time_us = (int64_t)profile->shape_us;
        ERR_TRY(add_line(lines, "order", STR("order by, limit"), &figures, err));
    }
    figures = (struct figures)NO_FIGURES;
    figures.rows_in = load(&run->rows_read);
    figures.rows_out = (int64_t)answer->row_count;
    figures.blocks_loaded = load(&run->blocks_loaded);
    figures.bytes = load(&run->bytes_read);
    figures.time_us = (int64_t)(profile->bind_us + profile->verb_us + profile->shape_us);
    ERR_TRY(add_line(lines, "all", STR("the answer"), &figures, err));
    figures = (struct figures)NO_FIGURES;
    figures.bytes = (int64_t)atomic_load_explicit(&run->budget.used_bytes, memory_order_relaxed);
    return add_line(lines, "memory", STR("in use at the end"), &figures, err);
}

enum err_code verb_profile(struct query_run_ctx *run, const struct result *answer,
                           struct result *result, struct err *err)
{
    const struct query_profile *profile = run->profile;
    uint64_t rounds_us = 0;
    struct lines lines = {.run = run, .result = result, .profile = profile};
    lines.left = (uint64_t)LINES_MAX + SCAN_PATHS + profile->round_count + profile->thread_count;
    result->cols = columns;
    result->col_count = COLS;
    ERR_TRY(run_result_rows(run, result, lines.left, &lines.cells, err));
    result->row_count = 0;
    ERR_TRY(add_bind(&lines, err));
    ERR_TRY(add_sources(&lines, err));
    ERR_TRY(add_scans(&lines, err));
    ERR_TRY(add_sets(&lines, err));
    ERR_TRY(add_firsts(&lines, err));
    ERR_TRY(add_cached(&lines, err));
    ERR_TRY(add_tasks(&lines, &rounds_us, err));
    return add_end(&lines, answer, rounds_us, err);
}
