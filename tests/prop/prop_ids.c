/* tests/prop/prop_ids.c - the id directory against a plain map.
 *
 * The model is an array of ids and numbers: number n of a shard is the n-th id given to it. A run
 * adds and looks up, seals, flushes, confirms or not, and starts again in every way there is: after
 * a clean stop, after none, with ids.hash missing, cut, older than the log or with a wrong byte.
 * After each start the directory must hold exactly the ids of the last confirmed mark, and when the
 * rest is replayed, every id must get the number that it had. */
#include "storage/base/rng.h"
#include "storage/ids.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/claims.h"
#include <pthread.h>
#include <stdatomic.h>

#define SEED_OF_SET 42u

#define must(call)                                                                                 \
    do {                                                                                           \
        struct err err_ = {0};                                                                     \
        struct err *err = &err_;                                                                   \
        if ((call) != ERR_OK) {                                                                    \
            fail_msg("seed %" PRIu64 ": %s: %s", test_seed(), #call, err_.message);                \
        }                                                                                          \
    } while (0)
#define holds(fact)                                                                                \
    do {                                                                                           \
        if (!(fact)) {                                                                             \
            fail_msg("seed %" PRIu64 ": line %d: %s", test_seed(), __LINE__, #fact);               \
        }                                                                                          \
    } while (0)

struct place {
    uint32_t shard, subject;
};

struct world {
    char dir[64], log[96], hash[96];
    struct io *io;
    struct rng rng;
    struct ids *ids;
    struct place *places; /* of id number i, in the order of arrival */
    uint64_t count, cap;
    struct ids_mark mark; /* confirmed */
};

/* Ids of all lengths; i is in there, so they differ. */
static struct str key_of(uint64_t i, char out[USER_ID_BYTES_MAX])
{
    size_t len = (size_t)snprintf(out, USER_ID_BYTES_MAX, "%" PRIu64, i);
    size_t more = i % 97 == 0 ? USER_ID_BYTES_MAX - len : i % 29;
    memset(out + len, 'x', more);
    return (struct str){out, len + more};
}

static enum id_kind kind_of(uint64_t i)
{
    return i % 3 == 0 ? ID_ANONYMOUS : ID_USER;
}

static void world_open(struct world *w)
{
    uint64_t cut = 0;
    must(ids_open(w->io, w->log, SEED_OF_SET, w->mark, false, &w->ids, &cut, err));
    holds(ids_count(w->ids) == w->mark.count);
}

static void world_begin(struct world *w, uint64_t seed)
{
    *w = (struct world){.rng = rng_init(seed)};
    snprintf(w->dir, sizeof(w->dir), "/tmp/trackway-prop-ids-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->log, sizeof(w->log), "%s/ids.log", w->dir);
    snprintf(w->hash, sizeof(w->hash), "%s/ids.hash", w->dir);
    must(io_create(IO_POSIX, &w->io, err));
    world_open(w);
}

static void world_end(struct world *w)
{
    ids_close(w->ids);
    unlink(w->log);
    unlink(w->hash);
    holds(rmdir(w->dir) == 0); /* nothing else is left there */
    io_free(w->io);
    free(w->places);
}

static void check_id(const struct world *w, uint64_t i)
{
    char bytes[USER_ID_BYTES_MAX];
    struct place got = {0};
    struct id_entry entry;
    struct str key = key_of(i, bytes);
    holds(ids_find(w->ids, kind_of(i), key, &got.shard, &got.subject));
    holds(got.shard == w->places[i].shard && got.subject == w->places[i].subject);
    holds(!ids_find(w->ids, kind_of(i) == ID_USER ? ID_ANONYMOUS : ID_USER, key, &got.shard,
                    &got.subject));
    holds(ids_find_key(w->ids, got.shard, got.subject, &entry));
    holds(str_eq(entry.key, key) && entry.kind == kind_of(i));
}

static void check_all(const struct world *w)
{
    char bytes[USER_ID_BYTES_MAX];
    struct id_entry entry;
    uint32_t given[SHARD_COUNT] = {0};
    struct id_cursor cursor = ids_cursor(w->ids, 0);
    uint64_t count = ids_count(w->ids);
    for (uint64_t i = 0; i < count; i++) {
        holds(id_cursor_next(&cursor, &entry));
        holds(str_eq(entry.key, key_of(i, bytes)) && entry.kind == kind_of(i));
        holds(entry.shard == w->places[i].shard && entry.subject == w->places[i].subject);
        holds(entry.subject == given[entry.shard]++);
    }
    holds(!id_cursor_next(&cursor, &entry));
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        holds(ids_subjects(w->ids, i) == given[i]);
        holds(!ids_find_key(w->ids, i, given[i], &entry));
    }
}

/* Ids [from, to) as the log says, which has them beyond the mark. */
static void replay(struct world *w, uint64_t from, uint64_t to)
{
    char bytes[USER_ID_BYTES_MAX];
    for (uint64_t i = from; i < to; i++) {
        struct id_entry entry = {key_of(i, bytes), kind_of(i), w->places[i].shard,
                                 w->places[i].subject};
        must(ids_restore(w->ids, &entry, err));
    }
}

static void add_some(struct world *w, uint64_t more)
{
    char bytes[USER_ID_BYTES_MAX];
    if (w->count + more > w->cap) {
        w->cap = 2 * (w->count + more);
        w->places = realloc(w->places, w->cap * sizeof(w->places[0]));
        assert_non_null(w->places);
    }
    for (uint64_t end = w->count + more; w->count < end; w->count++) {
        struct place *place = &w->places[w->count];
        struct place again;
        struct str key = key_of(w->count, bytes);
        enum id_kind kind = kind_of(w->count);
        holds(!ids_find(w->ids, kind, key, &again.shard, &again.subject));
        must(ids_add(w->ids, kind, key, &place->shard, &place->subject, err));
        must(ids_add(w->ids, kind, key, &again.shard, &again.subject, err));
        holds(again.shard == place->shard && again.subject == place->subject);
        check_id(w, rng_below(&w->rng, w->count + 1));
    }
    holds(ids_count(w->ids) == w->count);
}

static void flush(struct world *w, bool is_confirmed)
{
    struct ids_mark mark;
    uint64_t count = ids_seal(w->ids);
    holds(count == w->count);
    add_some(w, rng_below(&w->rng, 20)); /* the writer goes on meanwhile */
    must(ids_flush(w->ids, w->io, count, &mark, err));
    holds(mark.count == count);
    if (is_confirmed) {
        ids_confirm(w->ids, mark);
        w->mark = mark;
    }
}

static long file_bytes(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    holds(fseek(file, 0, SEEK_END) == 0);
    long bytes = ftell(file);
    fclose(file);
    return bytes;
}

static void flip_byte(const char *path, uint64_t at, int bits)
{
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    holds(fseek(file, (long)at, SEEK_SET) == 0);
    int byte = fgetc(file);
    holds(fseek(file, (long)at, SEEK_SET) == 0);
    holds(fputc(byte ^ bits, file) != EOF);
    fclose(file);
}

static void restart(struct world *w)
{
    bool is_clean = rng_below(&w->rng, 2) == 0;
    if (is_clean) {
        must(ids_save(w->ids, w->io, err));
    }
    ids_close(w->ids);
    w->ids = NULL;
    long bytes = file_bytes(w->hash);
    bool is_damaged = bytes > 0 && rng_below(&w->rng, 3) == 0;
    if (is_damaged) {
        switch (rng_below(&w->rng, 3)) {
        case 0: unlink(w->hash); break;
        case 1: holds(truncate(w->hash, (off_t)rng_below(&w->rng, (uint64_t)bytes)) == 0); break;
        default:
            flip_byte(w->hash, rng_below(&w->rng, (uint64_t)bytes), 1 << rng_below(&w->rng, 8));
        }
    }
    world_open(w);
    uint64_t hashed = ids_stats(w->ids).hashed_count;
    holds(!is_damaged || hashed == w->mark.count);
    holds(!is_clean || is_damaged || hashed == 0);
    check_all(w);
    for (uint64_t i = w->mark.count; i < w->count; i++) {
        char key[USER_ID_BYTES_MAX];
        struct place none;
        holds(!ids_find(w->ids, kind_of(i), key_of(i, key), &none.shard, &none.subject));
    }
    replay(w, w->mark.count - rng_below(&w->rng, w->mark.count + 1), w->count);
    holds(ids_count(w->ids) == w->count);
    check_all(w);
}

static void equals_a_plain_map_through_restarts_and_damage(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < 12; trial++) {
        struct world w;
        world_begin(&w, seed + trial);
        uint64_t most = trial == 0 ? 25000 : trial < 4 ? 4000 : 300;
        for (uint32_t step = 0; step < 30; step++) {
            switch (rng_below(&w.rng, 4)) {
            case 0: flush(&w, rng_below(&w.rng, 4) != 0); break;
            case 1: restart(&w); break;
            default: add_some(&w, rng_below(&w.rng, most));
            }
        }
        check_all(&w);
        world_end(&w);
    }
}

/* Every byte of a small log; and of both of its frames. */
static void every_byte_of_the_log_counts(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w, test_seed());
    add_some(&w, 40);
    flush(&w, true);
    add_some(&w, 40);
    flush(&w, true);
    must(ids_save(w.ids, w.io, err));
    ids_close(w.ids);
    for (uint64_t at = 0; at < w.mark.bytes; at++) {
        struct err err = {0};
        uint64_t cut = 0;
        w.ids = NULL;
        flip_byte(w.log, at, 1 << at % 8);
        enum err_code code = ids_open(w.io, w.log, SEED_OF_SET, w.mark, true, &w.ids, &cut, &err);
        holds(code == ERR_CORRUPT && w.ids == NULL);
        holds(strstr(err.message, "ids.log\": at byte ") != NULL);
        flip_byte(w.log, at, 1 << at % 8);
    }
    world_open(&w);
    holds(ids_stats(w.ids).hashed_count == 0);
    world_end(&w);
}

static void every_byte_of_the_hash_file_is_checked(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w, test_seed());
    add_some(&w, 600);
    flush(&w, true);
    must(ids_save(w.ids, w.io, err));
    uint64_t bytes = (uint64_t)file_bytes(w.hash);
    for (uint64_t at = 0; at < bytes; at += getenv("TEST_SHORT") != NULL ? 199 : 1) {
        ids_close(w.ids);
        flip_byte(w.hash, at, 1 << at % 8);
        world_open(&w);
        holds(ids_stats(w.ids).hashed_count == w.mark.count);
        flip_byte(w.hash, at, 1 << at % 8);
    }
    ids_close(w.ids);
    world_open(&w);
    holds(ids_stats(w.ids).hashed_count == 0);
    world_end(&w);
}

/* Another log of the same length: what ids.hash says of the one must not be believed of the other.
 */
static void a_hash_file_of_another_log_is_not_used(void **state)
{
    (void)state;
    struct world a;
    struct world b;
    world_begin(&a, test_seed());
    world_begin(&b, test_seed());
    add_some(&a, 100);
    flush(&a, true);
    must(ids_save(a.ids, a.io, err));
    for (uint64_t i = 0; i < 100; i++) {
        char bytes[USER_ID_BYTES_MAX];
        struct place place;
        must(ids_add(b.ids, kind_of(99 - i), key_of(99 - i, bytes), &place.shard, &place.subject,
                     err));
    }
    struct ids_mark mark;
    must(ids_flush(b.ids, b.io, ids_seal(b.ids), &mark, err));
    holds(mark.bytes == a.mark.bytes);
    ids_confirm(b.ids, mark);
    ids_close(b.ids);
    holds(rename(a.hash, b.hash) == 0);
    b.mark = mark;
    world_open(&b);
    holds(ids_stats(b.ids).hashed_count == 100);
    for (uint64_t i = 0; i < 100; i++) {
        char bytes[USER_ID_BYTES_MAX];
        holds(str_eq(ids_entry(b.ids, i).key, key_of(99 - i, bytes)));
    }
    world_end(&a);
    world_end(&b);
}

/* ---- readers beside the writer ---- */

struct reading {
    struct world *w;
    _Atomic uint64_t known; /* ids below this were added before */
    _Atomic bool is_over;
    _Atomic uint64_t looks, wrong;
};

static void *read_on(void *arg)
{
    struct reading *reading = arg;
    struct rng rng = rng_init(7);
    char bytes[USER_ID_BYTES_MAX];
    while (!atomic_load(&reading->is_over)) {
        uint64_t known = atomic_load(&reading->known);
        uint64_t i = rng_below(&rng, known + known / 8 + 1);
        struct place got;
        struct id_entry entry;
        struct str key = key_of(i, bytes);
        bool found = ids_find(reading->w->ids, kind_of(i), key, &got.shard, &got.subject);
        bool right = found || i >= known;
        if (found && i < known) {
            const struct place *want = &reading->w->places[i];
            right =
                got.shard == want->shard && got.subject == want->subject &&
                (i % 16 != 0 || (ids_find_key(reading->w->ids, got.shard, got.subject, &entry) &&
                                 str_eq(entry.key, key)));
        }
        atomic_fetch_add(&reading->wrong, !right);
        atomic_fetch_add(&reading->looks, 1);
    }
    return NULL;
}

static void readers_find_every_id_while_the_table_grows(void **state)
{
    (void)state;
    struct world w;
    struct reading reading = {.w = &w};
    pthread_t threads[2];
    world_begin(&w, test_seed());
    w.cap = 400000;
    w.places = malloc(w.cap * sizeof(w.places[0])); /* stays where it is, for the readers */
    assert_non_null(w.places);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &reading), 0);
    }
    uint64_t most = getenv("TEST_SHORT") != NULL ? 60000 : 300000;
    while (w.count < most) {
        char bytes[USER_ID_BYTES_MAX];
        for (uint32_t i = 0; i < 500; i++) {
            struct place *place = &w.places[w.count];
            must(ids_add(w.ids, kind_of(w.count), key_of(w.count, bytes), &place->shard,
                         &place->subject, err));
            atomic_store(&reading.known, ++w.count);
        }
        if (w.count % 20000 == 0) {
            struct ids_mark mark;
            must(ids_flush(w.ids, w.io, ids_seal(w.ids), &mark, err));
            ids_confirm(w.ids, mark);
            w.mark = mark;
        }
    }
    atomic_store(&reading.is_over, true);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    holds(atomic_load(&reading.wrong) == 0);
    holds(atomic_load(&reading.looks) > 1000);
    check_all(&w);
    restart(&w);
    world_end(&w);
}

/* A log of more than one extent of 64 MiB: the gap between two is zero and is checked. */
static void a_log_of_several_extents_comes_back(void **state)
{
    (void)state;
    struct world w;
    char bytes[USER_ID_BYTES_MAX];
    uint32_t count = 140000; /* of 520 bytes */
    world_begin(&w, test_seed());
    memset(bytes, 'k', sizeof(bytes));
    for (uint32_t i = 0; i < count; i++) {
        struct place place;
        memcpy(bytes, &i, sizeof(i));
        must(ids_add(w.ids, ID_USER, (struct str){bytes, sizeof(bytes)}, &place.shard,
                     &place.subject, err));
    }
    must(ids_flush(w.ids, w.io, ids_seal(w.ids), &w.mark, err));
    ids_confirm(w.ids, w.mark);
    for (uint32_t pass = 0; pass < 2; pass++) {
        if (pass == 1) {
            must(ids_save(w.ids, w.io, err));
        }
        ids_close(w.ids);
        world_open(&w);
        holds(ids_stats(w.ids).hashed_count == (pass == 0 ? count : 0));
        for (uint32_t i = 0; i < count; i++) {
            struct place place;
            struct id_entry entry;
            memcpy(bytes, &i, sizeof(i));
            struct str key = {bytes, sizeof(bytes)};
            holds(ids_find(w.ids, ID_USER, key, &place.shard, &place.subject));
            if (i % 1000 == 0) {
                holds(ids_find_key(w.ids, place.shard, place.subject, &entry));
                holds(str_eq(entry.key, key));
            }
        }
    }
    ids_close(w.ids);
    flip_byte(w.log, (1u << 26) - 1, 1);
    struct err err = {0};
    uint64_t cut = 0;
    w.ids = NULL;
    holds(ids_open(w.io, w.log, SEED_OF_SET, w.mark, true, &w.ids, &cut, &err) == ERR_CORRUPT);
    holds(strstr(err.message, "between the frames") != NULL);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_a_plain_map_through_restarts_and_damage),
        cmocka_unit_test(every_byte_of_the_log_counts),
        cmocka_unit_test(every_byte_of_the_hash_file_is_checked),
        cmocka_unit_test(a_hash_file_of_another_log_is_not_used),
        cmocka_unit_test(readers_find_every_id_while_the_table_grows),
        cmocka_unit_test(a_log_of_several_extents_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
