/* tests/unit/base/test_slabs.c - pieces keep what is written to them, and their memory goes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/rng.h"
#include "storage/base/size.h"
#include "storage/base/slabs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PIECES  600u
#define STEPS   20000u
#define THREADS 4u
#define CLASSES 72u

struct piece {
    uint8_t *bytes;
    size_t len;
    uint8_t fill;
};

/* Most of a few lengths, as blocks are; some of any, the shortest and the longest that slabs take among them. */
static size_t some_length(struct rng *rng)
{
    static const size_t lengths[] = {100,           2047,    2048,         2049,
                                     4096,          70000,   262144 + 80,  524288 + 80,
                                     (1 << 20) - 1, 1 << 20, (1 << 20) + 1};
    return rng_below(rng, 3) == 0 ? 1 + rng_below(rng, 300000)
                                  : lengths[rng_below(rng, COUNT_OF(lengths))];
}

/* Both ends and the middle: enough to find pieces that lie over each other. */
static void mark(struct piece *piece)
{
    memset(piece->bytes, piece->fill, MIN_OF(piece->len, 64));
    piece->bytes[piece->len / 2] = piece->fill;
    piece->bytes[piece->len - 1] = piece->fill;
}

static void expect_marked(const struct piece *piece)
{
    assert_int_equal((uintptr_t)piece->bytes % 16, 0);
    assert_true(piece->bytes[0] == piece->fill && piece->bytes[piece->len / 2] == piece->fill &&
                piece->bytes[piece->len - 1] == piece->fill);
}

static void take_and_give_back(uint64_t seed)
{
    struct rng rng = rng_init(seed);
    struct piece *pieces = calloc(PIECES, sizeof(*pieces));
    assert_non_null(pieces);
    for (uint32_t step = 0; step < STEPS; step++) {
        if (step % 1000 == 999) {
            (void)slabs_tend(2);
        }
        struct piece *piece = &pieces[rng_below(&rng, PIECES)];
        if (piece->bytes != NULL) {
            expect_marked(piece);
            slabs_free(piece->bytes, piece->len);
        }
        *piece = (struct piece){.len = some_length(&rng), .fill = (uint8_t)rng_next(&rng)};
        piece->bytes = slabs_alloc(piece->len);
        assert_non_null(piece->bytes);
        mark(piece);
    }
    for (uint32_t i = 0; i < PIECES; i++) {
        if (pieces[i].bytes != NULL) {
            expect_marked(&pieces[i]);
            slabs_free(pieces[i].bytes, pieces[i].len);
        }
    }
    free(pieces);
}

static void pieces_keep_what_is_written_to_them(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        take_and_give_back(seed);
        assert_int_equal(slabs_stats().pieces, 0);
        assert_true(slabs_stats().slabs <= CLASSES); /* one of a class may stay */
    }
}

/* The address sanitizer has all pieces by malloc: then there is nothing to count. */
static void many_of_a_size_share_slabs_and_few_do_not(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    void *pieces[COUNT];
    pieces[0] = slabs_alloc(300000);
    assert_int_equal(slabs_stats().slabs, 0);
    for (uint32_t i = 1; i < COUNT; i++) {
        pieces[i] = slabs_alloc(300000);
        assert_non_null(pieces[i]);
    }
    struct slabs_stats stats = slabs_stats();
    size_t most = COUNT * (size_t)300000 * 5 / 4 / stats.slab_bytes + 1;
    assert_true(stats.slabs <= most && stats.pieces <= COUNT);
    assert_true(stats.slabs == 0 || stats.pieces > COUNT - 5);
    assert_true(slabs_tend(1) <= 1);
    size_t tended =
        slabs_stats().large + slabs_tend(SIZE_MAX); /* as many as the system has large pages for */
    assert_int_equal(slabs_stats().large, tended);
    assert_true(tended <= stats.slabs);
    for (uint32_t i = 0; i < COUNT; i++) {
        slabs_free(pieces[i], 300000);
    }
    slabs_free(NULL, 300000);
    assert_true(slabs_stats().slabs <= 1 && slabs_stats().pieces == 0);
    assert_int_equal(slabs_stats().large,
                     0); /* one that stays has the pages that were written, and no more */
}

/* A piece that comes and goes where all others of its class are in full slabs. */
static void one_slab_of_a_class_stays(void **state)
{
    (void)state;
    void *one = slabs_alloc(300000);
    size_t count = slabs_stats().slabs;
    for (uint32_t i = 0; i < 100; i++) {
        void *pieces[40];
        for (uint32_t k = 0; k < COUNT_OF(pieces); k++) {
            pieces[k] = slabs_alloc(300000);
            assert_non_null(pieces[k]);
        }
        for (uint32_t k = 0; k < COUNT_OF(pieces); k++) {
            slabs_free(pieces[k], 300000);
        }
        assert_true(i == 0 || slabs_stats().slabs == count);
        count = slabs_stats().slabs;
    }
    assert_true(count <= 1);
    slabs_free(one, 300000);
}

static void a_power_of_two_and_a_head_is_rounded_hardly_at_all(void **state)
{
    (void)state;
    size_t before = 0;
    for (uint32_t bits = 13; bits <= 20; bits++) {
        size_t bytes = ((size_t)1 << bits) + 100;
        assert_true(slabs_size(bytes) <= ((size_t)1 << bits) + 256);
    }
    for (size_t bytes = 1; bytes < (size_t)2 << 20; bytes += 37) {
        size_t size = slabs_size(bytes);
        assert_true(size >= bytes && size <= bytes + bytes / 8 + 256 && size >= before);
        before = size;
    }
}

static void *run_thread(void *arg)
{
    take_and_give_back((uint64_t)(uintptr_t)arg);
    return NULL;
}

static void threads_share_slabs(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_thread, (void *)(i + 100)), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(slabs_stats().pieces, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            many_of_a_size_share_slabs_and_few_do_not), /* while there is no slab yet */
        cmocka_unit_test(one_slab_of_a_class_stays),
        cmocka_unit_test(a_power_of_two_and_a_head_is_rounded_hardly_at_all),
        cmocka_unit_test(pieces_keep_what_is_written_to_them),
        cmocka_unit_test(threads_share_slabs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
