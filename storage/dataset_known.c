/* storage/dataset_known.c - telling retries from new events.
 *
 * An event id is known in one of three places: among the batches in hand (dataset_write.c), in a
 * memtable, or in a run of those that were flushed (known_run.h). A key in a run only makes the
 * event a suspect: the run says in which shard and among which subjects the row would lie, and the
 * ids there are read and compared. So no event is ever taken for another, and a new one costs a
 * read as seldom as two hashes of 44 bits are equal.
 *
 * Suspects are resolved together: for each segment the ranges of rows of all that may be in it, for
 * each block of these its ids once. A retry mostly carries the time it had, so segments that hold
 * that time are looked at first. What a found row says is compared with what the event says; that
 * decodes the block's columns, once for all that were found in it.
 */
#include "storage/dataset_int.h"

#include "storage/base/size.h"

#include <stdlib.h>

/* Above so many suspects in a block its ids are hashed and looked up, below each is searched for. */
#define SEARCHED_MAX 4u
#define SIEVE_BITS   16u /* of a key: what a row's must have in common with some suspect's */

void known_scope_pin(struct dataset *dataset, struct known_scope *ret)
{
    pthread_mutex_lock(&dataset->state_lock);
    for (uint32_t i = 0; i < dataset->frozen_count; i++) {
        ret->memtables[i] = memtable_ref(dataset->frozen[i].memtable);
    }
    ret->memtable_count = dataset->frozen_count;
    ret->memtables[ret->memtable_count++] = memtable_ref(dataset->active);
    ret->version = dataset->version;
    atomic_fetch_add_explicit(&ret->version->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&dataset->state_lock);
}

void known_scope_unpin(struct known_scope *scope)
{
    for (uint32_t i = 0; i < scope->memtable_count; i++) {
        memtable_unref(scope->memtables[i]);
    }
    version_unref(scope->version);
}

/* ---- keys in runs ---- */

enum err_code known_probe(struct dataset *dataset, const struct known_scope *scope,
                          const uint64_t *keys, uint32_t count, uint32_t *ret_bits, struct err *err)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < scope->version->run_count; i++) {
        uint32_t found = 0;
        if (known_run_probe(scope->version->runs[i], keys, count, &found, err) != ERR_OK) {
            atomic_store(&dataset->wants_runs, true);
            return err->code;
        }
        bits |= found;
    }
    *ret_bits = bits;
    return ERR_OK;
}

enum err_code known_places(struct dataset *dataset, const struct known_scope *scope, uint64_t key,
                           struct suspect *ret, struct err *err)
{
    ret->place_count = 0;
    for (uint32_t i = 0; i < scope->version->run_count; i++) {
        const struct known_run *run = scope->version->runs[i];
        uint32_t count = 0;
        if (known_run_find(run, key, ret->places + ret->place_count,
                           KNOWN_PLACES_MAX - ret->place_count, &count, err) != ERR_OK) {
            atomic_store(&dataset->wants_runs, true);
            return err->code;
        }
        for (uint32_t k = 0; k < count; k++) {
            struct known_run_info info = known_run_info(run);
            ret->arrivals[ret->place_count].min_ms = info.arrival_min_ms;
            ret->arrivals[ret->place_count++].max_ms = info.arrival_max_ms;
        }
    }
    return ERR_OK;
}

/* ---- suspects in segments ---- */

struct want { /* one place of one suspect */
    struct suspect *suspect;
    struct known_place place;
    int64_t arrival_min_ms, arrival_max_ms;
    uint64_t key;
};

struct probe { /* a want in a block: rows [begin, end) of it */
    const struct want *want;
    uint32_t block, begin, end;
};

struct found {
    struct suspect *suspect;
    uint16_t row;
};

struct resolving {
    struct dataset *dataset;
    struct io *io;
    struct arena *arena;
    struct want *wants; /* by (shard, subject) */
    uint32_t want_count;
    uint32_t
        shard_begin[SHARD_COUNT + 1]; /* wants of shard s: [shard_begin[s], shard_begin[s + 1]) */
    struct buf probes;                /* struct probe, of the segment in hand */
    struct buf found;                 /* struct found, of the block in hand */
    bool is_by_time;                  /* first round: only segments that hold the event's time */
};

static int want_cmp(const void *a, const void *b)
{
    const struct known_place *x = &((const struct want *)a)->place;
    const struct known_place *y = &((const struct want *)b)->place;
    if (x->shard != y->shard) {
        return x->shard < y->shard ? -1 : 1;
    }
    return (x->subject_first > y->subject_first) - (x->subject_first < y->subject_first);
}

static int probe_cmp(const void *a, const void *b)
{
    const struct probe *x = a;
    const struct probe *y = b;
    if (x->block != y->block) {
        return x->block < y->block ? -1 : 1;
    }
    return (x->want->key > y->want->key) - (x->want->key < y->want->key);
}

static int found_cmp(const void *a, const void *b)
{
    return (int)((const struct found *)a)->row - (int)((const struct found *)b)->row;
}

static enum err_code make_wants(struct resolving *resolving, struct suspect *suspects,
                                uint32_t count, struct err *err)
{
    size_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += suspects[i].place_count;
    }
    ERR_TRY(ARENA_NEW(resolving->arena, total, &resolving->wants, err));
    for (uint32_t i = 0; i < count; i++) {
        struct suspect *suspect = &suspects[i];
        for (uint32_t k = 0; k < suspect->place_count; k++) {
            resolving->wants[resolving->want_count++] = (struct want){
                .suspect = suspect,
                .place = suspect->places[k],
                .arrival_min_ms = suspect->arrivals[k].min_ms,
                .arrival_max_ms = suspect->arrivals[k].max_ms,
                .key = known_key(suspect->event->event_id, resolving->dataset->row.seed),
            };
        }
    }
    if (resolving->want_count > 1) {
        qsort(resolving->wants, resolving->want_count, sizeof(struct want), want_cmp);
    }
    for (uint32_t i = 0, shard = 0; shard < SHARD_COUNT; shard++) {
        while (i < resolving->want_count && resolving->wants[i].place.shard == shard) {
            i++;
        }
        resolving->shard_begin[shard + 1] = i;
    }
    return ERR_OK;
}

static bool may_hold_arrival(const struct source *source, uint32_t block, const struct want *want)
{
    int64_t min = 0;
    int64_t max = 0;
    return !source_zone(source, COL_ARRIVAL, block, &min, &max) ||
           (min <= want->arrival_max_ms && max >= want->arrival_min_ms);
}

static void add_probes(struct resolving *resolving, const struct source *source,
                       const struct want *want, uint32_t row_begin, uint32_t row_end)
{
    for (uint32_t row = row_begin; row < row_end;) {
        uint32_t block = row / BLOCK_ROWS;
        uint32_t end = MIN_OF(row_end, (block + 1) * BLOCK_ROWS);
        if (may_hold_arrival(source, block, want)) {
            struct probe probe = {.want = want,
                                  .block = block,
                                  .begin = row - block * BLOCK_ROWS,
                                  .end = end - block * BLOCK_ROWS};
            buf_append(&resolving->probes, &probe, sizeof(probe));
        }
        row = end;
    }
}

static bool is_wanted_in(const struct resolving *resolving, const struct want *want,
                         const struct source *source)
{
    int64_t time_ms = want->suspect->event->time_ms;
    bool holds_time = source->time_min_ms <= time_ms && time_ms <= source->time_max_ms;
    return !want->suspect->is_found && holds_time == resolving->is_by_time;
}

/* Rows of the segment that may be a suspect's. */
static enum err_code find_ranges(struct resolving *resolving, const struct source *source,
                                 struct err *err)
{
    struct read_ctx ctx = {.arena = resolving->arena, .io = resolving->io};
    const struct want *last = NULL; /* neighbours mostly share a place */
    uint32_t row_begin = 0;
    uint32_t row_end = 0;
    buf_clear(&resolving->probes);
    uint32_t wants_end = resolving->shard_begin[source->shard + 1];
    for (uint32_t i = resolving->shard_begin[source->shard]; i < wants_end; i++) {
        const struct want *want = &resolving->wants[i];
        if (!is_wanted_in(resolving, want, source)) {
            continue;
        }
        if (last == NULL || last->place.subject_first != want->place.subject_first ||
            last->place.subject_last != want->place.subject_last) {
            row_end = source->row_count;
            ERR_TRY(source_subject_row(source, &ctx, want->place.subject_first, &row_begin, err));
            if (want->place.subject_last != UINT32_MAX) {
                ERR_TRY(
                    source_subject_row(source, &ctx, want->place.subject_last + 1, &row_end, err));
            }
            last = want;
        }
        add_probes(resolving, source, want, row_begin, row_end);
    }
    return buf_check(&resolving->probes, err);
}

static void compare(struct resolving *resolving, const struct vec *ids, const struct want *want,
                    uint32_t row)
{
    if (!want->suspect->is_found && str_eq(vec_str(ids, row), want->suspect->event->event_id)) {
        struct found found = {.suspect = want->suspect, .row = (uint16_t)row};
        want->suspect->is_found = true;
        buf_append(&resolving->found, &found, sizeof(found));
    }
}

static void search_few(struct resolving *resolving, const struct vec *ids,
                       const struct probe *probes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t row = probes[i].begin; row < probes[i].end; row++) {
            compare(resolving, ids, probes[i].want, row);
        }
    }
}

/* Probes are sorted by key. */
static void search_many(struct resolving *resolving, const struct vec *ids,
                        const struct probe *probes, uint32_t count)
{
    uint64_t sieve[(1u << SIEVE_BITS) / 64] = {0};
    uint32_t begin = BLOCK_ROWS;
    uint32_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bit = (uint32_t)probes[i].want->key & ((1u << SIEVE_BITS) - 1);
        sieve[bit / 64] |= UINT64_C(1) << (bit % 64);
        begin = MIN_OF(begin, probes[i].begin);
        end = MAX_OF(end, probes[i].end);
    }
    for (uint32_t row = begin; row < end; row++) {
        uint64_t key = known_key(vec_str(ids, row), resolving->dataset->row.seed);
        uint32_t bit = (uint32_t)key & ((1u << SIEVE_BITS) - 1);
        if ((sieve[bit / 64] >> (bit % 64) & 1) == 0) {
            continue;
        }
        uint32_t low = 0;
        uint32_t high = count;
        while (low < high) {
            uint32_t mid = low + (high - low) / 2;
            bool is_before = probes[mid].want->key < key;
            low = is_before ? mid + 1 : low;
            high = is_before ? high : mid;
        }
        for (; low < count && probes[low].want->key == key; low++) {
            compare(resolving, ids, probes[low].want, row);
        }
    }
}

/* Does each found row say what its suspect says? */
static enum err_code compare_payloads(struct resolving *resolving, const struct source *source,
                                      struct read_ctx *ctx, uint32_t block, struct err *err)
{
    struct found *found = (struct found *)(void *)resolving->found.ptr;
    uint32_t found_count = (uint32_t)(resolving->found.len / sizeof(*found));
    uint16_t *rows = NULL;
    struct payload *stored = NULL;
    uint32_t count = 0;
    if (found_count == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(resolving->arena, found_count, &rows, err));
    ERR_TRY(ARENA_NEW(resolving->arena, found_count, &stored, err));
    qsort(found, found_count, sizeof(*found), found_cmp);
    for (uint32_t i = 0; i < found_count; i++) {
        if (found[i].suspect->payload.name.len > 0 &&
            (count == 0 || rows[count - 1] != found[i].row)) {
            rows[count++] = found[i].row;
        }
    }
    if (count == 0) {
        return ERR_OK;
    }
    ERR_TRY(
        payload_of_rows(source, ctx, resolving->dataset->schema, block, rows, count, stored, err));
    uint32_t at = 0;
    for (uint32_t i = 0; i < found_count; i++) {
        struct suspect *suspect = found[i].suspect;
        if (suspect->payload.name.len > 0) {
            while (rows[at] != found[i].row) {
                at++;
            }
            suspect->is_same = payload_equal(&suspect->payload, &stored[at]);
        }
    }
    return ERR_OK;
}

static enum err_code search_block(struct resolving *resolving, const struct source *source,
                                  const struct probe *probes, uint32_t count, struct err *err)
{
    struct read_ctx ctx = {.arena = resolving->arena, .io = resolving->io};
    struct arena_mark mark = arena_mark(resolving->arena);
    struct vec ids;
    ERR_TRY(source_read(source, &ctx, COL_EVENT_ID, probes[0].block, &ids, err));
    buf_clear(&resolving->found);
    if (count <= SEARCHED_MAX) {
        search_few(resolving, &ids, probes, count);
    } else {
        search_many(resolving, &ids, probes, count);
    }
    ERR_TRY(buf_check(&resolving->found, err));
    ERR_TRY(compare_payloads(resolving, source, &ctx, probes[0].block, err));
    arena_rewind(resolving->arena, mark);
    return ERR_OK;
}

static enum err_code search_segment(struct resolving *resolving, const struct source *source,
                                    struct err *err)
{
    struct arena_mark mark = arena_mark(resolving->arena);
    ERR_TRY(find_ranges(resolving, source, err));
    struct probe *probes = (struct probe *)(void *)resolving->probes.ptr;
    uint32_t count = (uint32_t)(resolving->probes.len / sizeof(*probes));
    if (count > 1) {
        qsort(probes, count, sizeof(*probes), probe_cmp);
    }
    for (uint32_t begin = 0; begin < count;) {
        uint32_t end = begin + 1;
        while (end < count && probes[end].block == probes[begin].block) {
            end++;
        }
        ERR_TRY(search_block(resolving, source, probes + begin, end - begin, err));
        begin = end;
    }
    arena_rewind(resolving->arena, mark);
    return ERR_OK;
}

static enum err_code search_all(struct resolving *resolving, const struct version *version,
                                struct err *err)
{
    for (uint32_t round = 0; round < 2; round++) {
        resolving->is_by_time = round == 0;
        for (uint32_t i = 0; i < version->seg_count; i++) {
            const struct source *source = segment_source(version->segs[i]->segment);
            ERR_TRY(search_segment(resolving, source, err));
        }
    }
    return ERR_OK;
}

enum err_code known_resolve(struct dataset *dataset, const struct known_scope *scope,
                            struct suspect *suspects, uint32_t count, struct io *io,
                            struct err *err)
{
    struct resolving resolving = {.dataset = dataset, .io = io, .arena = arena_create(NULL)};
    enum err_code code = make_wants(&resolving, suspects, count, err);
    if (code == ERR_OK) {
        code = search_all(&resolving, scope->version, err);
    }
    arena_free(resolving.arena);
    buf_done(&resolving.probes);
    buf_done(&resolving.found);
    ERR_TRY(code);
    uint64_t misses = 0;
    for (uint32_t i = 0; i < count; i++) {
        misses += !suspects[i].is_found;
    }
    atomic_fetch_add(&dataset->known_hits, count);
    atomic_fetch_add(&dataset->known_misses, misses);
    return ERR_OK;
}
