/* tests/unit/base/test_arena.c - storage/base/arena.c. The linker sends the module's malloc and
 * aligned_alloc through here, so that they can fail and what they gave can be added up. */
#include "tests/support/claims.h"

#include "storage/base/arena.h"
#include "storage/base/rng.h"

#include <pthread.h>

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);

static bool malloc_fails;
static size_t chunk_bytes_total; /* asked of aligned_alloc since the last reset */

void *__wrap_malloc(size_t bytes)
{
    return malloc_fails ? NULL : __real_malloc(bytes);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
    if (malloc_fails) {
        return NULL;
    }
    chunk_bytes_total += bytes;
    return __real_aligned_alloc(align, bytes);
}

static size_t used_bytes(struct budget *budget)
{
    return atomic_load(&budget->used_bytes);
}

static void an_empty_arena_costs_the_budget_nothing(void **state)
{
    struct budget budget;
    budget_init(&budget, 100, "query memory");
    struct arena *arena = arena_create(&budget);
    assert_int_equal(arena_bytes(arena), 0);
    assert_int_equal(used_bytes(&budget), 0);
    assert_ptr_equal(arena_budget(arena), &budget);
    arena_rewind(arena, arena_mark(arena));
    arena_free(arena);
    arena_free(NULL);
}

static void memory_is_zeroed_aligned_and_apart_at_all_sizes(void **state)
{
    struct err err;
    struct arena *arena = arena_create(NULL);
    uint8_t *before = NULL;
    size_t before_bytes = 0;
    for (int round = 0; round < 2; round++) {
        struct arena_mark mark = arena_mark(arena);
        for (size_t bytes = 0; bytes < 3000; bytes += 1 + bytes / 7) {
            void *zeroed = NULL;
            void *raw = NULL;
            assert_ok(arena_alloc(arena, bytes, &zeroed, &err));
            assert_ok(arena_alloc_raw(arena, bytes, &raw, &err));
            assert_int_equal((uintptr_t)zeroed % 16, 0);
            assert_int_equal((uintptr_t)raw % 64, 0);
            for (size_t i = 0; i < bytes; i++) {
                assert_int_equal(((uint8_t *)zeroed)[i], 0);
            }
            memset(zeroed, 0xaa, bytes); /* the second round meets it again */
            memset(raw, 0xbb, bytes);
            if (before != NULL && before_bytes > 0) {
                assert_int_equal(before[before_bytes - 1], 0xbb);
            }
            before = raw;
            before_bytes = bytes;
        }
        before = NULL;
        arena_rewind(arena, mark);
    }
    arena_free(arena);
}

static void zero_bytes_have_an_address_of_their_own(void **state)
{
    struct err err;
    struct arena *arena = arena_create(NULL);
    void *a = NULL;
    void *b = NULL;
    assert_ok(arena_alloc(arena, 0, &a, &err));
    assert_ok(arena_alloc(arena, 0, &b, &err));
    assert_non_null(a);
    assert_ptr_not_equal(a, b);
    arena_free(arena);
}

static void the_budget_is_charged_what_malloc_is_asked_for(void **state)
{
    struct err err;
    struct budget budget;
    budget_init(&budget, 0, "query memory");
    struct arena *arena = arena_create(&budget);
    chunk_bytes_total = 0;
    struct rng rng = rng_init(test_seed());
    for (int i = 0; i < 500; i++) {
        void *ptr = NULL;
        assert_ok(arena_alloc_raw(arena, rng_below(&rng, 20000), &ptr, &err));
        assert_int_equal(used_bytes(&budget), chunk_bytes_total);
    }
    assert_true(chunk_bytes_total > arena_bytes(arena));
    assert_true(chunk_bytes_total < arena_bytes(arena) * 2);
    arena_free(arena);
    assert_int_equal(used_bytes(&budget), 0);
}

static void a_spent_budget_is_a_limit_and_names_its_size(void **state)
{
    struct err err;
    struct budget budget;
    budget_init(&budget, 10000, "query memory");
    struct arena *arena = arena_create(&budget);
    void *ptr = NULL;
    assert_fails(arena_alloc(arena, 10000, &ptr, &err), ERR_LIMIT, "limit of 10000 bytes");
    assert_null(ptr);
    assert_int_equal(used_bytes(&budget), 0);
    assert_ok(arena_alloc(arena, 100, &ptr, &err)); /* a refusal spoils nothing */
    assert_fails(arena_alloc(arena, SIZE_MAX, &ptr, &err), ERR_LIMIT, "larger than memory");
    assert_fails(arena_alloc(arena, SIZE_MAX / 2, &ptr, &err), ERR_LIMIT, "query memory");
    arena_free(arena);
}

static void a_share_is_taken_from_the_whole_and_given_back(void **state)
{
    struct err err;
    struct budget all;
    struct budget one;
    struct budget two;
    budget_init(&all, 150, "memory of all queries");
    budget_init_within(&one, 100, "query memory", &all);
    budget_init_within(&two, 100, "query memory", &all);
    assert_ok(budget_take(&one, 90, &err));
    assert_ok(budget_take(&two, 60, &err));
    assert_int_equal(used_bytes(&all), 150);
    /* Its own bound is the request's fault, the whole's is not. */
    assert_fails(budget_take(&one, 11, &err), ERR_LIMIT, "query memory: 11 bytes more");
    assert_fails(budget_take(&two, 1, &err), ERR_BUSY, "memory of all queries: 1 bytes more");
    assert_int_equal(used_bytes(&two), 60);
    budget_give(&one, 40);
    assert_ok(budget_take(&two, 40, &err));
    budget_end(&one); /* what it still has */
    assert_int_equal(used_bytes(&all), 100);
    budget_end(&two);
    assert_int_equal(used_bytes(&all), 0);
    budget_end(NULL);
}

static void a_budget_is_exact_to_the_byte(void **state)
{
    struct err err;
    struct budget budget;
    budget_init(&budget, 100, "cache");
    assert_ok(budget_take(&budget, 60, &err));
    assert_fails(budget_take(&budget, 41, &err), ERR_LIMIT, "cache: 41 bytes more");
    assert_fails(budget_take(&budget, SIZE_MAX, &err), ERR_LIMIT, "100 bytes");
    assert_ok(budget_take(&budget, 40, &err));
    assert_ok(budget_take(&budget, 0, &err));
    budget_give(&budget, 100);
    assert_int_equal(used_bytes(&budget), 0);
    assert_ok(budget_take(NULL, SIZE_MAX, &err));
    budget_give(NULL, SIZE_MAX);
}

static void rewinding_reuses_chunks_without_drawing_more(void **state)
{
    struct err err;
    struct budget budget;
    budget_init(&budget, 0, "query memory");
    struct arena *arena = arena_create(&budget);
    struct str kept;
    assert_ok(arena_str(arena, STR("kept"), &kept, &err));
    size_t after_first = 0;
    struct arena_mark mark = arena_mark(arena);
    size_t bytes_at_mark = arena_bytes(arena);
    for (int round = 0; round < 50; round++) {
        void *ptr = NULL;
        for (size_t i = 0; i < 60; i++) {
            assert_ok(arena_alloc(arena, i % 7 == 0 ? 100000 : 777, &ptr, &err));
        }
        if (round == 0) {
            after_first = used_bytes(&budget);
        }
        assert_int_equal(used_bytes(&budget), after_first);
        arena_rewind(arena, mark);
        assert_int_equal(arena_bytes(arena), bytes_at_mark);
        assert_int_equal(used_bytes(&budget), after_first);
    }
    assert_string_equal(kept.ptr, "kept");
    arena_free(arena);
    assert_int_equal(used_bytes(&budget), 0);
}

static void kept_chunks_are_given_up_before_the_budget_refuses(void **state)
{
    struct err err;
    struct budget budget;
    budget_init(&budget, 64 << 10, "query memory");
    struct arena *arena = arena_create(&budget);
    struct arena_mark empty = arena_mark(arena);
    void *ptr = NULL;
    for (int i = 0; i < 7; i++) { /* many small chunks, none of which would hold 40 KiB */
        assert_ok(arena_alloc(arena, 3000, &ptr, &err));
    }
    assert_true(used_bytes(&budget) > 20000);
    arena_rewind(arena, empty);
    assert_ok(arena_alloc(arena, 50000, &ptr, &err));
    memset(ptr, 1, 50000);
    arena_free(arena);
    assert_int_equal(used_bytes(&budget), 0);
}

static void marks_nest(void **state)
{
    struct err err;
    struct arena *arena = arena_create(NULL);
    struct arena_mark marks[40];
    size_t bytes[40];
    struct rng rng = rng_init(test_seed());
    for (size_t i = 0; i < COUNT_OF(marks); i++) {
        marks[i] = arena_mark(arena);
        bytes[i] = arena_bytes(arena);
        void *ptr = NULL;
        assert_ok(arena_alloc(arena, rng_below(&rng, 9000), &ptr, &err));
        assert_true(arena_bytes(arena) > bytes[i]);
    }
    for (size_t i = COUNT_OF(marks); i-- > 0;) {
        arena_rewind(arena, marks[i]);
        assert_int_equal(arena_bytes(arena), bytes[i]);
    }
    assert_int_equal(arena_bytes(arena), 0);
    arena_free(arena);
}

static void arrays_refuse_a_product_that_overflows(void **state)
{
    struct err err;
    struct arena *arena = arena_create(NULL);
    uint64_t *words = NULL;
    assert_ok(ARENA_NEW(arena, 10, &words, &err));
    for (int i = 0; i < 10; i++) {
        assert_int_equal(words[i], 0);
    }
    uint64_t *same = words;
    assert_fails(ARENA_NEW(arena, SIZE_MAX / 4, &words, &err), ERR_LIMIT, "larger than memory");
    assert_ptr_equal(words, same);
    arena_free(arena);
}

static void strings_are_copied_and_terminated(void **state)
{
    struct err err;
    struct arena *arena = arena_create(NULL);
    char source[] = "abc\0def";
    struct str copy;
    assert_ok(arena_str(arena, (struct str){source, 7}, &copy, &err));
    memset(source, 'x', sizeof(source));
    assert_int_equal(copy.len, 7);
    assert_memory_equal(copy.ptr, "abc\0def", 8);
    assert_ok(arena_str(arena, (struct str){NULL, 0}, &copy, &err));
    assert_int_equal(copy.len, 0);
    assert_string_equal(copy.ptr, "");
    assert_ok(arena_printf(arena, &copy, &err, "%05d|%s", 42, "end"));
    assert_int_equal(copy.len, 9);
    assert_string_equal(copy.ptr, "00042|end");
    assert_ok(arena_printf(arena, &copy, &err, "%10000d", 1));
    assert_int_equal(copy.len, 10000);
    assert_fails(arena_str(arena, (struct str){source, SIZE_MAX}, &copy, &err), ERR_LIMIT,
                 "larger than memory");
    arena_free(arena);
}

static void failed_allocations_are_reported_and_return_the_budget(void **state)
{
    struct err err;
    struct budget budget;
    budget_init(&budget, 0, "query memory");
    struct arena *arena = arena_create(&budget);
    void *ptr = NULL;
    malloc_fails = true;
    assert_fails(arena_alloc(arena, 10, &ptr, &err), ERR_NOMEM, "out of memory");
    malloc_fails = false;
    assert_int_equal(used_bytes(&budget), 0);
    assert_ok(arena_alloc(arena, 10, &ptr, &err));
    arena_free(arena);
}

static void an_arena_that_could_not_be_made_fails_every_allocation(void **state)
{
    struct err err;
    malloc_fails = true;
    struct arena *arena = arena_create(NULL);
    malloc_fails = false;
    assert_non_null(arena);
    void *ptr = NULL;
    struct str text;
    assert_fails(arena_alloc(arena, 0, &ptr, &err), ERR_NOMEM, "no arena");
    assert_fails(arena_str(arena, STR("a"), &text, &err), ERR_NOMEM, "no arena");
    assert_int_equal(arena_bytes(arena), 0);
    arena_rewind(arena, arena_mark(arena));
    arena_free(arena);
}

#define SHARERS 4
static void *share_budget(void *arg)
{
    struct budget *budget = arg;
    struct err err;
    uintptr_t taken = 0;
    for (int i = 0; i < 20000; i++) {
        taken += budget_take(budget, 7, &err) == ERR_OK ? 7 : 0;
    }
    return (void *)taken;
}

static void threads_share_a_budget_without_passing_it(void **state)
{
    struct budget budget;
    budget_init(&budget, 7 * 30000 + 3, "query memory");
    pthread_t threads[SHARERS];
    for (int i = 0; i < SHARERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, share_budget, &budget), 0);
    }
    uintptr_t total = 0;
    for (int i = 0; i < SHARERS; i++) {
        void *taken = NULL;
        pthread_join(threads[i], &taken);
        total += (uintptr_t)taken;
    }
    assert_int_equal(total, 7 * 30000);
    assert_int_equal(used_bytes(&budget), total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_arena_costs_the_budget_nothing),
        cmocka_unit_test(memory_is_zeroed_aligned_and_apart_at_all_sizes),
        cmocka_unit_test(zero_bytes_have_an_address_of_their_own),
        cmocka_unit_test(the_budget_is_charged_what_malloc_is_asked_for),
        cmocka_unit_test(a_spent_budget_is_a_limit_and_names_its_size),
        cmocka_unit_test(a_share_is_taken_from_the_whole_and_given_back),
        cmocka_unit_test(a_budget_is_exact_to_the_byte),
        cmocka_unit_test(rewinding_reuses_chunks_without_drawing_more),
        cmocka_unit_test(kept_chunks_are_given_up_before_the_budget_refuses),
        cmocka_unit_test(marks_nest),
        cmocka_unit_test(arrays_refuse_a_product_that_overflows),
        cmocka_unit_test(strings_are_copied_and_terminated),
        cmocka_unit_test(failed_allocations_are_reported_and_return_the_budget),
        cmocka_unit_test(an_arena_that_could_not_be_made_fails_every_allocation),
        cmocka_unit_test(threads_share_a_budget_without_passing_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
