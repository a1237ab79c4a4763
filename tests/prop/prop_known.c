/* tests/prop/prop_known.c - known event ids: sets, runs, and a data set that tells retries, each
 * against a plain list. */
#include "tests/support/claims.h"
#include "tests/support/live_events.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"
#include "storage/dataset_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- sets ---- */

struct pair {
    uint64_t key;
    uint32_t ref;
};

static int pair_cmp(const void *a, const void *b)
{
    const struct pair *x = a;
    const struct pair *y = b;
    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return (x->ref > y->ref) - (x->ref < y->ref);
}

struct walk {
    const struct pair *want;
    uint32_t at;
};

static enum err_code walk_pair(void *arg, uint64_t key, uint32_t ref, struct err *err)
{
    (void)err;
    struct walk *walk = arg;
    assert_true(walk->want[walk->at].key == key);
    assert_int_equal(walk->want[walk->at].ref, ref);
    walk->at++;
    return ERR_OK;
}

/* Keys from a small range, so that many are equal, in all parts of the set. */
static uint64_t random_key(struct rng *rng, uint32_t different)
{
    return hash_mix(rng_below(rng, different)) >> (64 - KNOWN_KEY_BITS);
}

static void a_set_gives_all_that_was_added_under_a_key(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    struct err err = {0};
    for (uint64_t trial = 0; trial < 30; trial++) {
        struct rng rng = rng_init(seed + trial);
        uint32_t count = (uint32_t)rng_below(&rng, 6000);
        uint32_t different = 1 + (uint32_t)rng_below(&rng, 4000);
        struct pair *pairs = calloc(count + 1, sizeof(*pairs));
        CLEANUP(known_set_freep) struct known_set *set = NULL;
        assert_ok(known_set_create(&set, &err));
        for (uint32_t round = 0; round < 2; round++) {
            known_set_clear(set);
            for (uint32_t i = 0; i < count; i++) {
                pairs[i] =
                    (struct pair){random_key(&rng, different), i % 50 == 0 ? KNOWN_REF_MAX - i : i};
                assert_ok(known_set_add(set, pairs[i].key, pairs[i].ref, &err));
            }
        }
        assert_int_equal(known_set_count(set), count);
        qsort(pairs, count, sizeof(*pairs), pair_cmp);
        struct walk walk = {.want = pairs};
        assert_ok(known_set_sorted(set, walk_pair, &walk, &err));
        assert_int_equal(walk.at, count);
        for (uint32_t i = 0; i < different; i++) {
            uint64_t key = hash_mix(i) >> (64 - KNOWN_KEY_BITS);
            uint32_t want = 0;
            uint32_t got = 0;
            uint64_t want_sum = 0;
            uint64_t got_sum = 0;
            for (uint32_t k = 0; k < count; k++) {
                want += pairs[k].key == key;
                want_sum += pairs[k].key == key ? pairs[k].ref : 0;
            }
            uint32_t at = 0;
            uint32_t ref = 0;
            while (known_set_next(set, key, &at, &ref)) {
                got++;
                got_sum += ref;
            }
            if (got != want || got_sum != want_sum) {
                fail_msg("seed %" PRIu64 ": %u refs, wanted %u", seed + trial, got, want);
            }
            i += different / 200; /* a search through all is slow */
        }
        free(pairs);
    }
}

/* ---- runs ---- */

struct run_bench {
    char dir[64];
    char path[128];
    struct io *io;
};

static int run_setup(void **state)
{
    struct err err = {0};
    struct run_bench *b = calloc(1, sizeof(*b));
    live_dir_make(b->dir);
    snprintf(b->path, sizeof(b->path), "%s/000001.run", b->dir);
    assert_ok(io_create(IO_POSIX, &b->io, &err));
    *state = b;
    return 0;
}

static int run_teardown(void **state)
{
    struct run_bench *b = *state;
    io_free(b->io);
    live_dir_remove(b->dir);
    free(b);
    return 0;
}

static int entry_cmp(const void *a, const void *b)
{
    uint64_t x = ((const struct known_entry *)a)->key;
    uint64_t y = ((const struct known_entry *)b)->key;
    return (x > y) - (x < y);
}

/* Of each kind: evenly spread keys, a few equal ones, all in one corner. */
static struct known_entry *random_entries(struct rng *rng, uint32_t count, uint32_t subject_max)
{
    struct known_entry *entries = calloc(count, sizeof(*entries));
    uint64_t mask = rng_below(rng, 4) == 0 ? 0xfff : (UINT64_C(1) << KNOWN_KEY_BITS) - 1;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t key = rng_next(rng) & mask;
        uint32_t subject = (uint32_t)rng_below(rng, (uint64_t)subject_max + 1);
        if (i > 0 && rng_below(rng, 50) == 0) {
            key = entries[i - 1].key;
        }
        entries[i] = (struct known_entry){
            .key = key, .place = {(uint32_t)rng_below(rng, SHARD_COUNT), subject, subject}};
    }
    qsort(entries, count, sizeof(*entries), entry_cmp);
    return entries;
}

static void write_run(struct run_bench *b, const struct known_entry *entries, uint32_t count,
                      uint32_t subject_max, uint32_t shift_min, struct known_run_info *ret)
{
    struct err err = {0};
    CLEANUP(known_run_abandonp) struct known_run_writer *writer = NULL;
    assert_ok(known_run_create(b->io, b->path, count, subject_max, shift_min, &writer, &err));
    for (uint32_t i = 0; i < count; i++) {
        assert_ok(known_run_add(writer, &entries[i], &err));
    }
    assert_ok(known_run_finish(writer, -5, 1000, ret, &err));
}

/* The place covers the entry's subject, and is no larger than the run says. */
static bool covers(const struct known_run *run, const struct known_place *place,
                   const struct known_entry *entry)
{
    uint64_t span = (uint64_t)place->subject_last - place->subject_first + 1;
    return place->shard == entry->place.shard &&
           place->subject_first <= entry->place.subject_first &&
           place->subject_last >= entry->place.subject_last &&
           span <= UINT64_C(1) << known_run_info(run).subject_shift;
}

/* Every stretch of equal keys is found, in order; what is not there is not found. */
static void check_finds(const struct known_run *run, const struct known_entry *entries,
                        uint32_t count, struct rng *rng, uint64_t seed)
{
    enum { CAP = 8192 };
    static struct known_place places[CAP];
    struct err err = {0};
    uint32_t found = 0;
    for (uint32_t begin = 0; begin < count;) {
        uint32_t end = begin + 1;
        while (end < count && entries[end].key == entries[begin].key) {
            end++;
        }
        assert_ok(known_run_find(run, entries[begin].key, places, CAP, &found, &err));
        assert_int_equal(found, end - begin);
        for (uint32_t i = begin; i < end; i++) {
            if (!covers(run, &places[i - begin], &entries[i])) {
                fail_msg("seed %" PRIu64 ": entry %u has another place", seed, i);
            }
        }
        begin = end;
    }
    for (uint32_t i = 0; i < 100; i++) {
        uint64_t keys[KNOWN_PROBE_MAX];
        uint32_t probed = (uint32_t)rng_below(rng, KNOWN_PROBE_MAX + 1);
        uint32_t want = 0, bits = 0;
        for (uint32_t k = 0; k < probed; k++) {
            bool is_old = rng_below(rng, 2) == 0;
            keys[k] = is_old ? entries[rng_below(rng, count)].key
                             : rng_next(rng) >> (64 - KNOWN_KEY_BITS);
            struct known_entry probe = {.key = keys[k]};
            bool has = bsearch(&probe, entries, count, sizeof(probe), entry_cmp) != NULL;
            want |= has ? 1u << k : 0;
        }
        assert_ok(known_run_probe(run, keys, probed, &bits, &err));
        assert_int_equal(bits, want);
    }
    for (uint32_t i = 0; i < 2000; i++) {
        struct known_entry probe = {.key = rng_next(rng) >> (64 - KNOWN_KEY_BITS)};
        const struct known_entry *at = bsearch(&probe, entries, count, sizeof(probe), entry_cmp);
        assert_ok(known_run_find(run, probe.key, places, CAP, &found, &err));
        assert_true((found > 0) == (at != NULL));
    }
}

static void check_cursor(const struct known_run *run, const struct known_entry *entries,
                         uint32_t count)
{
    struct err err = {0};
    struct known_cursor cursor = {.run = run};
    struct known_entry entry;
    bool is_more = true;
    for (uint32_t i = 0; i < count; i++) {
        assert_ok(known_cursor_next(&cursor, &entry, &is_more, &err));
        assert_true(is_more && entry.key == entries[i].key);
        assert_true(covers(run, &entry.place, &entries[i]));
    }
    assert_ok(known_cursor_next(&cursor, &entry, &is_more, &err));
    assert_false(is_more);
}

static void a_run_holds_just_its_entries(void **state)
{
    struct run_bench *b = *state;
    uint64_t seed = test_seed();
    struct err err = {0};
    static const uint32_t subjects[] = {0, 1, 100, 70000, UINT32_MAX};
    for (uint64_t trial = 0; trial < 40; trial++) {
        struct rng rng = rng_init(seed + trial);
        uint32_t count = trial == 0   ? 1
                         : trial == 1 ? 3u << 20 /* ranges of subjects, many pages */
                                      : 1 + (uint32_t)rng_below(&rng, 5000);
        uint32_t subject_max = subjects[rng_below(&rng, COUNT_OF(subjects))];
        uint32_t shift_min = 0;
        struct known_entry *entries = random_entries(&rng, count, subject_max);
        struct known_run_info info;
        for (uint32_t round = 0; round < 2; round++) { /* as written, and as merging gives it on */
            CLEANUP(known_run_unrefp) struct known_run *run = NULL;
            write_run(b, entries, count, subject_max, shift_min, &info);
            assert_ok(known_run_open(b->io, b->path, 7, &run, &err));
            struct known_run_info opened = known_run_info(run);
            assert_memory_equal(&opened, &info, sizeof(info));
            assert_int_equal(known_run_number(run), 7);
            assert_true(info.subject_max >= subject_max && info.arrival_min_ms == -5);
            assert_ok(known_run_verify(run, &err));
            check_finds(run, entries, count, &rng, seed + trial);
            check_cursor(run, entries, count);
            struct known_cursor cursor = {.run = run};
            bool is_more = false;
            for (uint32_t i = 0; i < count; i++) {
                assert_ok(known_cursor_next(&cursor, &entries[i], &is_more, &err));
            }
            subject_max = info.subject_max;
            shift_min = info.subject_shift;
        }
        free(entries);
    }
}

static void a_run_of_ten_million_is_four_bytes_an_id(void **state)
{
    struct run_bench *b = *state;
    struct err err = {0};
    struct known_run_info info;
    enum { N = 10000000 };
    CLEANUP(known_run_abandonp) struct known_run_writer *writer = NULL;
    assert_ok(known_run_create(b->io, b->path, N, 20000, 0, &writer, &err));
    for (uint64_t i = 0; i < N; i++) {
        struct known_entry entry = {.key = (uint64_t)(((unsigned __int128)i << KNOWN_KEY_BITS) / N),
                                    .place = {i % 16, 9, 9}};
        assert_ok(known_run_add(writer, &entry, &err));
    }
    assert_ok(known_run_finish(writer, 0, 1, &info, &err));
    assert_true(info.bytes < (uint64_t)N * 4);
}

static uint8_t *read_file(const char *path, size_t *ret_bytes)
{
    struct stat facts;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &facts) == 0);
    uint8_t *bytes = malloc((size_t)facts.st_size + 1);
    assert_int_equal(read(fd, bytes, (size_t)facts.st_size), facts.st_size);
    close(fd);
    *ret_bytes = (size_t)facts.st_size;
    return bytes;
}

static void put_file(const char *path, const uint8_t *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

/* Goal: a damaged byte is found, wherever it is. Method: each byte of a small run changed, each cut. */
static void every_damaged_byte_of_a_run_is_found(void **state)
{
    struct run_bench *b = *state;
    struct err err = {0};
    uint64_t seed = test_seed();
    struct rng rng = rng_init(seed);
    struct known_run_info info;
    struct known_entry *entries = random_entries(&rng, 900, 300);
    write_run(b, entries, 900, 300, 0, &info);
    size_t len = 0;
    uint8_t *bytes = read_file(b->path, &len);
    for (size_t at = 0; at < len - 8; at++) { /* the last 8 are only there to be loaded */
        CLEANUP(known_run_unrefp) struct known_run *run = NULL;
        uint8_t was = bytes[at];
        bytes[at] ^= (uint8_t)(1u << rng_below(&rng, 8));
        put_file(b->path, bytes, len);
        bytes[at] = was;
        enum err_code code = known_run_open(b->io, b->path, 1, &run, &err);
        if (code == ERR_OK) {
            code = known_run_verify(run, &err);
        }
        bool is_version = at >= 4 && at < 8;
        if (code != (is_version ? ERR_UNSUPPORTED : ERR_CORRUPT)) {
            fail_msg("seed %" PRIu64 ": byte %zu: %s", seed, at, err_code_name(code));
        }
        assert_non_null(strstr(err.message, "000001.run"));
    }
    for (size_t cut = 0; cut < len; cut += 1 + cut / 16) {
        CLEANUP(known_run_unrefp) struct known_run *run = NULL;
        put_file(b->path, bytes, cut);
        assert_int_equal(known_run_open(b->io, b->path, 1, &run, &err), ERR_CORRUPT);
    }
    free(bytes);
    free(entries);
}

/* A page whose checksum was made to fit its lies: bounds hold, and no walk goes astray. */
static void a_forged_page_is_refused_or_read_within_its_bounds(void **state)
{
    struct run_bench *b = *state;
    struct err err = {0};
    struct rng rng = rng_init(test_seed());
    struct known_run_info info;
    struct known_entry *entries = random_entries(&rng, 200, 300);
    write_run(b, entries, 200, 300, 0, &info);
    size_t len = 0;
    uint8_t *bytes = read_file(b->path, &len);
    size_t page_bytes = len - 8 - 8 - 64; /* one page, a directory of two */
    for (size_t at = 72; at < 64 + page_bytes; at++) {
        CLEANUP(known_run_unrefp) struct known_run *run = NULL;
        uint8_t was = bytes[at];
        bytes[at] = (uint8_t)rng_next(&rng);
        wr_u64(bytes + 64, checksum64(bytes + 72, page_bytes - 8));
        put_file(b->path, bytes, len);
        bytes[at] = was;
        assert_ok(known_run_open(b->io, b->path, 1, &run, &err));
        (void)!known_run_verify(run, &err);
        struct known_place places[64];
        uint32_t found = 0;
        for (uint32_t i = 0; i < 50; i++) {
            (void)!known_run_find(run, rng_next(&rng) >> 20, places, 64, &found, &err);
        }
    }
    free(bytes);
    free(entries);
}

/* ---- which runs are merged ---- */

static void merges_are_of_neighbours_and_come_to_an_end(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    double most = 0;
    for (uint64_t trial = 0; trial < 300; trial++) {
        struct rng rng = rng_init(seed + trial);
        uint64_t window_ms = rng_below(&rng, 2) == 0 ? 0 : 1000;
        struct known_run_info infos[80];
        uint32_t count = 0;
        int64_t now_ms = 0;
        uint64_t total = 0, written = 0;
        for (uint32_t i = 0; i < 300; i++) {
            uint64_t rows = 1 + rng_below(&rng, 20000);
            infos[count++] = (struct known_run_info){
                .count = rows, .arrival_min_ms = now_ms, .arrival_max_ms = now_ms + 9};
            now_ms += 10;
            total += rows;
            bool is_full = rng_below(&rng, 100) == 0;
            uint32_t first = 0;
            for (uint32_t merged; (merged = runs_plan(infos, count, window_ms, is_full, &first));) {
                assert_true(merged >= 2 && first + merged <= count);
                for (uint32_t k = 1; k < merged; k++) {
                    infos[first].count += infos[first + k].count;
                    infos[first].arrival_max_ms =
                        MAX_OF(infos[first].arrival_max_ms, infos[first + k].arrival_max_ms);
                }
                written += infos[first].count;
                memmove(&infos[first + 1], &infos[first + merged],
                        (count - first - merged) * sizeof(infos[0]));
                count -= merged - 1;
            }
            /* 12 and those that one step may leave for the next */
            assert_true(window_ms != 0 || count <= 12);
            assert_true(count <= 16);
            if (is_full && window_ms == 0) {
                assert_int_equal(count, 1);
            }
        }
        /* Every merge grows the largest by a third at least; full ones apart, and those over the most there may be. */
        most = MAX_OF(most, (double)written / (double)total);
    }
    print_message("an id was written again %.1f times at the most\n", most);
    assert_true(most <
                16); /* log4/3 of 300 flushes is 20; a rule without regard to sizes writes 100 */
}

/* ---- a data set ---- */

enum { IDS = 400 };

struct model {
    uint8_t variant[IDS]; /* 0: never accepted; else 1 + which content was */
};

struct set_bench {
    char dir[64];
    struct store_opts opts;
    struct store *store;
    struct dataset *dataset;
    struct io *io;
};

static void open_set(struct set_bench *b)
{
    struct err err = {0};
    struct recovery_report report;
    assert_ok(store_open(b->dir, &b->opts, &b->store, &report, &err));
    if (report.refused > 0) {
        fail_msg("refused: %s", report.refused_err.message);
    }
    assert_ok(store_dataset(b->store, STR("shop"), true, &b->dataset, &err));
}

static int set_setup(void **state)
{
    struct err err = {0};
    struct set_bench *b = calloc(1, sizeof(*b));
    live_dir_make(b->dir);
    store_opts_default(&b->opts);
    b->opts.compact_in_background = false;
    b->opts.fresh.dedup_window_ms = 0;
    assert_ok(io_create(IO_AUTO, &b->io, &err));
    open_set(b);
    *state = b;
    return 0;
}

static int set_teardown(void **state)
{
    struct set_bench *b = *state;
    if (b->store != NULL) {
        store_abandon(b->store);
    }
    io_free(b->io);
    live_dir_remove(b->dir);
    free(b);
    return 0;
}

/* Contents 0 .. 7 differ from each other in one thing each: name, a value, a type, one more. */
static void add_content(struct batch_builder *builder, uint32_t variant, struct rng *rng)
{
    struct err err = {0};
    uint32_t idx[4];
    static const char *const names[] = {"amount", "plan", "tags", "extra"};
    for (uint32_t i = 0; i < 4; i++) {
        assert_ok(batch_name(builder, str_of(names[i]), &idx[i], &err));
    }
    struct prop amount = {
        idx[0], COL_NUMBER, {.number = num_decimal(variant == 1 ? 1251 : 1250, 2)}};
    struct prop plan = {idx[1], COL_STRING, {.string = variant == 2 ? STR("Pro") : STR("pro")}};
    if (variant == 3) {
        plan = (struct prop){idx[1], COL_BOOL, {.boolean = true}};
    }
    struct prop tags = {idx[2], COL_LIST, {.list = {0, 0}}};
    uint32_t tag_count = variant == 4 ? 1 : 2;
    for (uint32_t i = 0; i < tag_count; i++) {
        uint32_t at = 0;
        assert_ok(batch_list_item(builder, i == 0 ? STR("a") : STR("b"), &at, &err));
        tags.list.first = i == 0 ? at : tags.list.first;
        tags.list.count++;
    }
    const struct prop *order[4] = {&amount, &plan, &tags, NULL};
    struct prop extra = {idx[3], COL_TIME, {.ts_ms = variant == 5 ? 1 : 2}};
    order[3] = variant == 6 ? NULL : &extra;
    uint32_t first = (uint32_t)rng_below(rng, 4); /* the order of properties says nothing */
    for (uint32_t i = 0; i < 4; i++) {
        const struct prop *prop = order[(first + i) % 4];
        if (prop != NULL) {
            assert_ok(batch_prop(builder, prop, &err));
        }
    }
}

static void add_event(struct batch_builder *builder, uint32_t id, uint32_t variant, struct rng *rng,
                      int64_t arrival_ms)
{
    struct err err = {0};
    struct event *event = NULL;
    char text[64];
    assert_ok(batch_event(builder, &event, &err));
    if (id % 3 == 0) {
        snprintf(text, sizeof(text), "plain-%u", id);
    } else {
        snprintf(text, sizeof(text), "%08x-0000-4000-8000-%012x", id, id * 7);
    }
    assert_ok(arena_str(builder->batch->arena, str_of(text), &event->event_id, &err));
    event->name = variant == 7 ? STR("other") : STR("pay");
    snprintf(text, sizeof(text), "u%u",
             (unsigned)rng_below(rng, 30)); /* a retry's may be another */
    assert_ok(arena_str(builder->batch->arena, str_of(text), &event->user_id, &err));
    event->time_ms = arrival_ms - (int64_t)rng_below(rng, 1000000);
    add_content(builder, variant, rng);
    batch_check_event(builder, arrival_ms);
}

static void send_random(struct set_bench *b, struct model *model, struct rng *rng, uint64_t seed)
{
    struct err err = {0};
    struct batch_builder builder;
    uint32_t ids[60], variants[60];
    uint32_t count = 1 + (uint32_t)rng_below(rng, 60);
    uint32_t range =
        1 + (uint32_t)rng_below(rng, IDS); /* sometimes few: the batch repeats itself */
    assert_ok(batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, &err));
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = (uint32_t)rng_below(rng, range);
        variants[i] = rng_below(rng, 4) == 0 ? (uint32_t)rng_below(rng, 8) : 0;
        add_event(&builder, ids[i], variants[i], rng, LIVE_ARRIVAL_MS);
    }
    assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
    /* Suspects are settled after the others, but those of one id are all suspects or none. */
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *known = &model->variant[ids[i]];
        enum receipt_status want = *known == 0                 ? RECEIPT_ACCEPTED
                                   : *known == variants[i] + 1 ? RECEIPT_DUPLICATE
                                                               : RECEIPT_CONFLICT;
        if (builder.batch->events[i].status != want) {
            fail_msg("seed %" PRIu64 ": id %u, content %u, known %u: status %u, wanted %u", seed,
                     ids[i], variants[i], *known, builder.batch->events[i].status, want);
        }
        if (want == RECEIPT_CONFLICT) {
            assert_true(builder.batch->events[i].reason.len > 0);
        }
        if (*known == 0) {
            *known = (uint8_t)(variants[i] + 1);
        }
    }
    event_batch_free(builder.batch);
}

static void event_ids_dir(const struct set_bench *b, char out[128])
{
    snprintf(out, 128, "%s/shop/event-ids", b->dir);
}

/* What may happen to runs: one is gone, one has a wrong byte, all are gone. */
static void harm_runs(const struct set_bench *b, struct rng *rng)
{
    struct err err = {0};
    char dir[128];
    char path[256];
    CLEANUP(buf_freep) struct buf names = {0};
    uint32_t count = 0;
    event_ids_dir(b, dir);
    assert_ok(io_list(b->io, dir, &names, &count, &err));
    const char *name = (const char *)names.ptr;
    uint32_t victim = count == 0 ? 0 : (uint32_t)rng_below(rng, count);
    uint64_t what = rng_below(rng, 4);
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        if (what == 0 || (what == 1 && i == victim)) {
            if (unlink(path) != 0) {
                fail_msg("%s: %s (%u of %u)", path, strerror(errno), i, count);
            }
        } else if (what == 2 && i == victim) {
            size_t len = 0;
            uint8_t *bytes = read_file(path, &len);
            bytes[rng_below(rng, len - 8)] ^= 1;
            put_file(path, bytes, len);
            free(bytes);
        }
    }
}

static void reopen(struct set_bench *b, struct rng *rng)
{
    struct err err = {0};
    if (rng_below(rng, 2) == 0) {
        assert_ok(store_close(TAKE(b->store), &err));
    } else {
        store_abandon(TAKE(b->store));
    }
    harm_runs(b, rng);
    open_set(b);
    /* A page whose damage shows only when it is touched: made again before it is asked. */
    for (uint32_t i = 0; i < b->dataset->version->run_count; i++) {
        if (known_run_verify(b->dataset->version->runs[i], &err) != ERR_OK) {
            bool did = false;
            atomic_store(&b->dataset->wants_runs, true);
            assert_ok(runs_step(b->dataset, false, b->io, &did, &err));
            assert_true(did);
            break;
        }
    }
}

/* Goal: accepted once, a duplicate with the same content, a conflict with another, wherever the
 * first lies. Method: few ids, many retries with another user and time, and all that may happen. */
static void retries_are_told_apart_wherever_the_first_lies(void **state)
{
    struct set_bench *b = *state;
    struct err err = {0};
    uint64_t seed = test_seed();
    struct rng rng = rng_init(seed);
    struct model model = {0};
    b->dataset->limits.block_rows = 32;
    for (uint32_t step = 0; step < 400; step++) {
        uint64_t what = rng_below(&rng, 20);
        bool did = false;
        if (what < 12) {
            send_random(b, &model, &rng, seed);
        } else if (what < 15) {
            assert_ok(dataset_flush(b->dataset, &err));
        } else if (what < 17) {
            assert_ok(runs_step(b->dataset, rng_below(&rng, 4) == 0, b->io, &did, &err));
        } else if (what < 18) {
            assert_ok(compaction_step(b->dataset, (uint32_t)rng_below(&rng, SHARD_COUNT), true,
                                      b->io, &did, &err));
        } else if (what < 19) {
            reopen(b, &rng);
            b->dataset->limits.block_rows = 32;
        } else {
            assert_ok(dataset_compact(b->dataset, NULL, &err));
            assert_true(dataset_stats(b->dataset).id_runs <= 1);
        }
    }
    uint32_t accepted = 0;
    for (uint32_t i = 0; i < IDS; i++) {
        accepted += model.variant[i] != 0;
    }
    assert_int_equal(dataset_stats(b->dataset).rows, accepted);
}

static enum receipt_status send_one(struct set_bench *b, uint32_t id, int64_t arrival_ms)
{
    struct err err = {0};
    struct rng rng = rng_init(1);
    struct batch_builder builder;
    assert_ok(batch_begin(NULL, arrival_ms, &builder, &err));
    add_event(&builder, id, 0, &rng, arrival_ms);
    assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
    enum receipt_status status = builder.batch->events[0].status;
    event_batch_free(builder.batch);
    return status;
}

static void an_id_is_known_for_the_window_and_not_for_ever(void **state)
{
    struct set_bench *b = *state;
    struct err err = {0};
    bool did = true;
    const int64_t day_ms = 86400000;
    int64_t now_ms = clock_wall_ms();
    const struct settings_change change = {.has_dedup_window = true,
                                           .to.dedup_window_ms = 7 * 86400000ULL};
    assert_ok(dataset_configure(b->dataset, &change, &err));
    assert_int_equal(send_one(b, 1, now_ms - 8 * day_ms), RECEIPT_ACCEPTED);
    assert_ok(dataset_flush(b->dataset, &err));
    assert_int_equal(send_one(b, 2, now_ms - 6 * day_ms), RECEIPT_ACCEPTED);
    assert_ok(dataset_flush(b->dataset, &err));
    assert_int_equal(dataset_stats(b->dataset).id_runs, 2);
    assert_int_equal(send_one(b, 1, now_ms), RECEIPT_DUPLICATE); /* at least the window */
    assert_ok(runs_step(b->dataset, false, b->io, &did, &err));
    assert_true(did);
    assert_int_equal(dataset_stats(b->dataset).id_runs, 1);
    assert_int_equal(send_one(b, 2, now_ms), RECEIPT_DUPLICATE);
    assert_int_equal(send_one(b, 1, now_ms), RECEIPT_ACCEPTED);
    /* what is made again covers the window only, too */
    assert_ok(dataset_flush(b->dataset, &err));
    atomic_store(&b->dataset->wants_runs, true);
    assert_ok(runs_step(b->dataset, false, b->io, &did, &err));
    assert_int_equal(known_run_info(b->dataset->version->runs[0]).count, 2);
}

static void a_new_event_reads_no_segment(void **state)
{
    struct set_bench *b = *state;
    struct err err = {0};
    for (uint32_t i = 0; i < 5; i++) {
        assert_ok(live_ingest(b->dataset, i * 2000, 2000, b->io, &err));
        assert_ok(dataset_flush(b->dataset, &err));
    }
    struct dataset_stats stats = dataset_stats(b->dataset);
    assert_int_equal(stats.id_runs, 5);
    assert_int_equal(stats.known_hits, 0);
    assert_int_equal(stats.accepted, 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_gives_all_that_was_added_under_a_key),
        cmocka_unit_test_setup_teardown(a_run_holds_just_its_entries, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(a_run_of_ten_million_is_four_bytes_an_id, run_setup,
                                        run_teardown),
        cmocka_unit_test_setup_teardown(every_damaged_byte_of_a_run_is_found, run_setup,
                                        run_teardown),
        cmocka_unit_test_setup_teardown(a_forged_page_is_refused_or_read_within_its_bounds,
                                        run_setup, run_teardown),
        cmocka_unit_test(merges_are_of_neighbours_and_come_to_an_end),
        cmocka_unit_test_setup_teardown(retries_are_told_apart_wherever_the_first_lies, set_setup,
                                        set_teardown),
        cmocka_unit_test_setup_teardown(an_id_is_known_for_the_window_and_not_for_ever, set_setup,
                                        set_teardown),
        cmocka_unit_test_setup_teardown(a_new_event_reads_no_segment, set_setup, set_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
