/* bench/compaction_bench.c - what compaction costs: compaction_bench [EVENTS] [FLUSH_ROWS] [BLOCK_ROWS] [DIR]
 *
 * Data: EVENTS (3,000,000) made-up events of 30,000 users and 25 names over 90 days, in the order of their arrival, a
 * flush after every FLUSH_ROWS (20,000). Two thirds arrive in time; of the last third 1 % lie anywhere in the 90 days
 * before. BLOCK_ROWS (65,536) is what the plan takes for a block: with 4,096 it merges, cuts and settles as it
 * would with sixteen times the events.
 *
 * Questions: how many bytes are written for one that is flushed, how many segments are there, and how long do merges
 * take; of one merge that is cut by time, what it costs to read its inputs once for each part; and how much slower
 * reading is beside a merge, whether its thread is nice or not. */
#include "storage/base/clock.h"
#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "storage/expiry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DAYS   90
#define DAY_MS INT64_C(86400000)
#define END_MS (INT64_C(20000) * DAY_MS)
#define USERS  30000u

struct bench {
    struct store *store;
    struct dataset *dataset;
    struct io *io;
    struct rng rng;
    uint64_t events, made;
    uint64_t flush_us, merge_us, longest_us, merges;
};

static void must(enum err_code code, const struct err *err)
{
    if (code != ERR_OK) {
        fprintf(stderr, "compaction_bench: %s\n", err->message);
        exit(1);
    }
}

static int64_t wall_ms(void)
{
    return END_MS;
}

static void add_event(struct bench *b, struct batch_builder *builder)
{
    static const char *const names[] = {"page_view", "click", "view_item", "add_to_cart", "pay"};
    static const char *const pages[] = {"/", "/list", "/item", "/cart", "/pay", "/help"};
    struct err err;
    struct event *event = NULL;
    char text[64];
    struct str str;
    int64_t now_ms = END_MS - DAYS * DAY_MS +
                     (int64_t)((double)b->made / (double)b->events * DAYS * (double)DAY_MS);
    bool is_late = b->made * 3 >= b->events * 2 && rng_below(&b->rng, 100) == 0;
    must(batch_event(builder, &event, &err), &err);
    snprintf(text, sizeof(text), "%016" PRIx64 "%016" PRIx64, rng_next(&b->rng), rng_next(&b->rng));
    must(arena_str(builder->batch->arena, str_of(text), &event->event_id, &err), &err);
    snprintf(text, sizeof(text), "u_%" PRIu64, rng_below(&b->rng, USERS));
    must(arena_str(builder->batch->arena, str_of(text), &event->user_id, &err), &err);
    event->name = str_of(names[rng_below(&b->rng, rng_below(&b->rng, COUNT_OF(names)) + 1)]);
    event->time_ms = now_ms - (int64_t)rng_below(&b->rng, is_late ? DAYS * DAY_MS : 60000);
    struct prop prop = {.type = COL_STRING};
    must(batch_name(builder, STR("page"), &prop.name_idx, &err), &err);
    prop.string = str_of(pages[rng_below(&b->rng, COUNT_OF(pages))]);
    must(batch_prop(builder, &prop, &err), &err);
    prop = (struct prop){.type = COL_NUMBER,
                         .number = num_decimal((int64_t)rng_below(&b->rng, 100000), 2)};
    must(batch_name(builder, STR("amount"), &prop.name_idx, &err), &err);
    must(batch_prop(builder, &prop, &err), &err);
    prop = (struct prop){.type = COL_STRING};
    must(batch_name(builder, STR("session_id"), &prop.name_idx, &err), &err);
    snprintf(text, sizeof(text), "s%08" PRIx64, rng_next(&b->rng) >> 32);
    must(arena_str(builder->batch->arena, str_of(text), &str, &err), &err);
    prop.string = str;
    must(batch_prop(builder, &prop, &err), &err);
    b->made++;
}

static void put(struct bench *b, uint64_t count)
{
    struct err err;
    while (count > 0) {
        struct batch_builder builder;
        uint64_t some = MIN_OF(count, UINT64_C(5000));
        must(batch_begin(NULL, END_MS, &builder, &err), &err);
        for (uint64_t i = 0; i < some; i++) {
            add_event(b, &builder);
        }
        builder.batch->bytes = (size_t)some * 200;
        must(dataset_ingest(b->dataset, builder.batch, b->io, &err), &err);
        event_batch_free(builder.batch);
        count -= some;
    }
}

/* As the background does, a merge per shard at a time, until nothing is to do. */
static void merge(struct bench *b)
{
    for (bool did = true; did;) {
        uint64_t before = dataset_stats(b->dataset).compactions;
        uint64_t begin_us = clock_mono_us();
        did = compaction_if_due(b->dataset, b->io);
        uint64_t merges = dataset_stats(b->dataset).compactions - before;
        uint64_t us = clock_mono_us() - begin_us;
        b->merge_us += us;
        b->longest_us = merges > 0 ? MAX_OF(b->longest_us, us / merges) : b->longest_us;
        b->merges += merges;
    }
}

static void line(struct bench *b)
{
    struct dataset_stats stats = dataset_stats(b->dataset);
    printf("%8.1f M %9" PRIu64 " %9" PRIu64 " %9.2f %9.2f %12.1f %12.1f %12.0f\n",
           (double)b->made / 1e6, stats.segments, stats.waiting_segments,
           (double)(stats.flushed_bytes + stats.rewritten_bytes) / (double)stats.flushed_bytes,
           (double)stats.segment_bytes / (double)stats.rows, (double)b->flush_us / 1e6,
           (double)b->merge_us / 1e6, (double)b->longest_us / 1e3);
    fflush(stdout);
}

/* All of one shard again, in one part and cut by time: the difference is what reading once per part costs. */
static void cut_and_uncut(struct bench *b)
{
    struct err err;
    const uint32_t parts_min[] = {1u << 20, 8, 4, 2};
    struct compact_limits usual = b->dataset->limits;
    printf("\nOne shard, all of its segments merged into parts:\n%10s %10s %10s %12s\n", "parts",
           "rows", "seconds", "rows/s");
    for (uint32_t i = 0; i < COUNT_OF(parts_min); i++) {
        struct seg_ref *inputs[SEG_BLOCKS_MAX];
        uint32_t count = 0;
        uint64_t rows = 0;
        b->dataset->limits.part_blocks_min = parts_min[i];
        pthread_mutex_lock(&b->dataset->compact_lock);
        struct version *version = version_pin(b->dataset);
        struct seg_ref *const *segs = version_shard(version, 0, &count);
        count = MIN_OF(count, SEG_BLOCKS_MAX);
        for (uint32_t s = 0; s < count; s++) {
            inputs[s] = segs[s];
            rows += segs[s]->meta.row_count;
        }
        uint64_t begin_us = clock_mono_us();
        must(compaction_merge(b->dataset, version, inputs, count, false, b->io, &err), &err);
        double seconds = (double)(clock_mono_us() - begin_us) / 1e6;
        version_unref(version);
        pthread_mutex_unlock(&b->dataset->compact_lock);
        version = version_pin(b->dataset);
        (void)version_shard(version, 0, &count);
        version_unref(version);
        printf("%10u %10" PRIu64 " %10.2f %12.0f\n", count, rows, seconds, (double)rows / seconds);
    }
    b->dataset->limits = usual;
}

/* ---- questions meanwhile ---- */

#define ASKERS      2u
#define ASKED_MAX   100000u
#define MEANWHILE_S 3

struct meanwhile {
    struct bench *b;
    _Atomic bool is_over;
    int nice;
    uint64_t merged_rows;
};
struct asker {
    struct meanwhile *meanwhile;
    pthread_t thread;
    uint64_t *took_us;
    uint32_t count;
};

/* Merge shard 1 again and again, as nice as it is to be. */
static void *merge_on(void *arg)
{
    struct meanwhile *meanwhile = arg;
    struct dataset *dataset = meanwhile->b->dataset;
    struct err err;
    CLEANUP(io_freep) struct io *io = NULL;
    must(io_create(IO_AUTO, &io, &err), &err);
    setpriority(PRIO_PROCESS, (id_t)gettid(), meanwhile->nice); /* of this thread alone, on Linux */
    while (!atomic_load(&meanwhile->is_over)) {
        struct seg_ref *inputs[SEG_BLOCKS_MAX];
        uint32_t count = 0;
        pthread_mutex_lock(&dataset->compact_lock);
        struct version *version = version_pin(dataset);
        struct seg_ref *const *segs = version_shard(version, 1, &count);
        count = MIN_OF(count, SEG_BLOCKS_MAX);
        for (uint32_t i = 0; i < count; i++) {
            inputs[i] = segs[i];
            meanwhile->merged_rows += segs[i]->meta.row_count;
        }
        must(compaction_merge(dataset, version, inputs, count, false, io, &err), &err);
        version_unref(version);
        pthread_mutex_unlock(&dataset->compact_lock);
    }
    return NULL;
}

/* What a question does: the times, names and amounts of a shard, block by block. */
static void read_shard(struct bench *b, struct io *io)
{
    struct err err;
    struct snapshot *snapshot = NULL;
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = io};
    static const uint32_t cols[] = {COL_SUBJECT, COL_EVENT_TIME, COL_EVENT_NAME,
                                    COL_FIRST_PROP + 1};
    must(dataset_snapshot(b->dataset, &snapshot, &err), &err);
    for (uint32_t i = snapshot->shard_begin[2]; i < snapshot->shard_begin[3]; i++) {
        for (uint32_t block = 0; block < snapshot->sources[i]->block_count; block++) {
            struct arena_mark mark = arena_mark(arena);
            for (size_t c = 0; c < COUNT_OF(cols); c++) {
                struct vec vec;
                must(source_read(snapshot->sources[i], &ctx, cols[c], block, &vec, &err), &err);
            }
            arena_rewind(arena, mark);
        }
    }
    snapshot_unpin(snapshot);
}

static void *ask_on(void *arg)
{
    struct asker *asker = arg;
    struct err err;
    CLEANUP(io_freep) struct io *io = NULL;
    must(io_create(IO_AUTO, &io, &err), &err);
    while (!atomic_load(&asker->meanwhile->is_over) && asker->count < ASKED_MAX) {
        uint64_t begin_us = clock_mono_us();
        read_shard(asker->meanwhile->b, io);
        asker->took_us[asker->count++] = clock_mono_us() - begin_us;
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void ask_beside(struct bench *b, int nice, bool has_merges)
{
    struct meanwhile meanwhile = {.b = b, .nice = nice};
    struct asker askers[ASKERS];
    uint64_t *all = calloc(ASKERS * (size_t)ASKED_MAX, sizeof(*all));
    uint32_t count = 0;
    pthread_t merger;
    if (all == NULL || (has_merges && pthread_create(&merger, NULL, merge_on, &meanwhile) != 0)) {
        exit(1);
    }
    for (uint32_t i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){.meanwhile = &meanwhile, .took_us = all + (size_t)i * ASKED_MAX};
        if (pthread_create(&askers[i].thread, NULL, ask_on, &askers[i]) != 0) {
            exit(1);
        }
    }
    sleep(MEANWHILE_S);
    atomic_store(&meanwhile.is_over, true);
    for (uint32_t i = 0; i < ASKERS; i++) {
        pthread_join(askers[i].thread, NULL);
        memmove(all + count, askers[i].took_us, askers[i].count * sizeof(*all));
        count += askers[i].count;
    }
    if (has_merges) {
        pthread_join(merger, NULL);
    }
    qsort(all, count, sizeof(*all), by_size);
    char what[32];
    snprintf(what, sizeof(what), has_merges ? "merging, nice %d" : "nothing", nice);
    printf("%18s %10u %10.2f %10.2f %10.2f %12.0f\n", what, count, (double)all[count / 2] / 1e3,
           (double)all[(size_t)count * 95 / 100] / 1e3, (double)all[count - 1] / 1e3,
           (double)meanwhile.merged_rows / MEANWHILE_S);
    free(all);
}

static void questions_meanwhile(struct bench *b)
{
    printf("\n%u threads read a shard while one merges another:\n%18s %10s %10s %10s %10s %12s\n",
           ASKERS, "beside", "read", "p50 ms", "p95 ms", "max ms", "merged rows/s");
    for (uint32_t round = 0; round < 3; round++) {
        ask_beside(b, 0, false);
        ask_beside(b, 0, true);
        ask_beside(b, 5, true);
        ask_beside(b, 10, true);
    }
}

static void clear(const char *dir)
{
    char command[256];
    snprintf(command, sizeof(command), "rm -rf '%.200s'", dir);
    if (system(command) != 0) {
        fprintf(stderr, "compaction_bench: \"%s\" is still there\n", dir);
    }
}

int main(int argc, char **argv)
{
    struct err err;
    struct store_opts opts;
    struct recovery_report report;
    uint64_t flush_rows = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
    char dir[128];
    struct bench b = {.rng = rng_init(1),
                      .events = argc > 1 ? strtoull(argv[1], NULL, 10) : 3000000};
    snprintf(dir, sizeof(dir), "%s/trackway-compaction-XXXXXX", argc > 4 ? argv[4] : "/tmp");
    if (b.events < 100 || flush_rows < 1 || mkdtemp(dir) == NULL) {
        fprintf(stderr, "usage: compaction_bench [EVENTS] [FLUSH_ROWS] [BLOCK_ROWS] [DIR]\n");
        return 2;
    }
    store_opts_default(&opts);
    opts.compact_in_background = false;
    opts.flush_age_ms = 1u << 30;
    opts.wall_ms = wall_ms;
    must(io_create(IO_AUTO, &b.io, &err), &err);
    must(store_open(dir, &opts, &b.store, &report, &err), &err);
    must(store_dataset(b.store, STR("bench"), true, &b.dataset, &err), &err);
    b.dataset->limits.block_rows = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : BLOCK_ROWS;
    printf("%" PRIu64 " events over %d days, a flush each %" PRIu64
           ", planned by blocks of %u rows; the last third "
           "1 %% late\n%10s %9s %9s %9s %9s %12s %12s %12s\n",
           b.events, DAYS, flush_rows, b.dataset->limits.block_rows, "events", "segments",
           "waiting", "written", "B/event", "flushing s", "merging s", "longest ms");
    uint64_t next_line = b.events / 12;
    while (b.made < b.events) {
        put(&b, MIN_OF(flush_rows, b.events - b.made));
        uint64_t begin_us = clock_mono_us();
        must(dataset_flush(b.dataset, &err), &err);
        b.flush_us += clock_mono_us() - begin_us;
        merge(&b);
        if (b.made >= next_line) {
            line(&b);
            next_line += b.events / 12;
        }
    }
    cut_and_uncut(&b);
    questions_meanwhile(&b);
    store_abandon(b.store);
    io_free(b.io);
    clear(dir);
    return 0;
}
