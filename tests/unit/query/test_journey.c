/* tests/unit/query/test_journey.c - journeys equal the subjects' events in order of time, whatever
 * sources and blocks they lie in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/journey.h"
#include "storage/base/rng.h"
#include "tests/support/mem_source.h"

#include <stdio.h>
#include <stdlib.h>

#define SUBJECTS 50u

static const struct alt alt_a = {.kind = ALT_NAMED, .event = {"a", 1}};
static const struct alt alt_b = {.kind = ALT_NAMED, .event = {"b", 1}};
static const struct selector selectors[] = {
    {.alts = &alt_a, .alt_count = 1, .text = {"a", 1}},
    {.alts = &alt_b, .alt_count = 1, .text = {"b", 1}},
};
static const struct scan_want wants[] = {{0, 0, 1000}, {1, 0, INT64_MAX}};

/* What a row means to the two selectors. */
static uint64_t mask_of(const struct mem_row *row)
{
    if (row->name.ptr[0] == 'a') {
        return row->time_ms < 1000 ? 1 : 0;
    }
    return row->name.ptr[0] == 'b' ? 2 : 0;
}

static int row_order(const void *a, const void *b)
{
    const struct mem_row *x = a;
    const struct mem_row *y = b;
    if (x->subject != y->subject) {
        return x->subject < y->subject ? -1 : 1;
    }
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

struct fixture {
    struct schema *schema;
    struct mem_source *mems[5];
    const struct source *sources[5];
    uint32_t source_count;
    struct snapshot snapshot;
};

/* Rows of source s are rows[ends[s - 1] .. ends[s]). */
static struct fixture fixture_open(const struct mem_row *rows, const uint32_t *ends, uint32_t count)
{
    struct fixture f = {0};
    struct err err = {0};
    assert_int_equal(schema_create(&f.schema, &err), ERR_OK);
    for (uint32_t s = 0; s < count; s++) {
        uint32_t begin = s == 0 ? 0 : ends[s - 1];
        if (begin < ends[s]) {
            f.mems[f.source_count] = mem_source_create(rows + begin, ends[s] - begin, f.schema, 0);
            f.sources[f.source_count] = mem_source_of(f.mems[f.source_count]);
            f.source_count++;
        }
    }
    f.snapshot.schema = f.schema;
    return f;
}

static void fixture_close(struct fixture *f)
{
    for (uint32_t s = 0; s < f->source_count; s++) {
        mem_source_free(f->mems[s]);
    }
    schema_free(f->schema);
}

#define EVERYBODY UINT64_MAX

/* Walk all journeys of subjects [begin, end) and hold them against the rows, which get sorted. `only`: of subjects as bits, whose
 * rows are found and given. */
static void check(const struct fixture *f, struct mem_row *rows, uint32_t count, uint32_t begin,
                  uint32_t end, bool is_reference, uint64_t only)
{
    struct err err = {0};
    struct bound_query query = {.selectors = selectors, .selector_count = 2};
    struct query_request request = {.is_reference_path = is_reference};
    struct snapshot snapshot = f->snapshot;
    struct query_run_ctx run = {.query = &query, .request = &request, .snapshot = &snapshot};
    struct run_task task = {0, begin, end, f->sources, f->source_count};
    struct journeys_spec spec = {.query = &query, .wants = wants, .want_count = 2};
    struct journey journey = {0};
    struct journey_rows given[5];
    bool has_more = false;
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    CLEANUP(journeys_closep) struct journeys *journeys = NULL;

    qsort(rows, count, sizeof(*rows), row_order);
    for (uint32_t s = 0; only != EVERYBODY && s < f->source_count; s++) {
        assert_int_equal(
            journey_rows_of_bits(&run, f->sources[s], 0, &only, 1, arena, NULL, &given[s], &err),
            ERR_OK);
        spec.rows = given;
    }
    assert_int_equal(journeys_open(&run, &task, &spec, arena, NULL, &journeys, &err), ERR_OK);
    for (uint32_t i = 0; i < count;) {
        uint32_t stop = i;
        uint64_t masks[3] = {0}; /* events by mask: order inside an instant is free */
        size_t matched = 0;
        for (; stop < count && rows[stop].subject == rows[i].subject; stop++) {
            uint64_t mask = mask_of(&rows[stop]);
            masks[mask] += mask;
            matched += mask != 0 ? 1 : 0;
        }
        bool is_given = only == EVERYBODY || (only >> rows[i].subject & 1) != 0;
        if (is_given && matched > 0 && rows[i].subject >= begin && rows[i].subject < end) {
            assert_int_equal(journeys_next(journeys, &journey, &has_more, &err), ERR_OK);
            assert_true(has_more);
            assert_int_equal(journey.subject, rows[i].subject);
            assert_int_equal(journey.count, matched);
            size_t at = 0;
            for (uint32_t r = i; r < stop; r++) {
                if (mask_of(&rows[r]) != 0) {
                    assert_true(journey.times[at] == rows[r].time_ms);
                    masks[journey.masks[at]] -= journey.masks[at];
                    at++;
                }
            }
            assert_true(masks[1] == 0 && masks[2] == 0);
        }
        i = stop;
    }
    assert_int_equal(journeys_next(journeys, &journey, &has_more, &err), ERR_OK);
    assert_false(has_more);
}

static void journeys_equal_the_events_of_each_subject(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct rng rng = rng_init(seed);
        struct mem_row rows[400];
        char ids[400][12];
        uint32_t ends[5];
        uint32_t count = (uint32_t)rng_below(&rng, 400);
        bool follows_in_time = rng_below(&rng, 2) == 0; /* sources one after the other */
        for (uint32_t i = 0; i < count; i++) {
            static const char *const names[] = {"a", "b", "c"};
            uint64_t base = follows_in_time ? i * 4 : 0;
            (void)snprintf(ids[i], sizeof(ids[i]), "%u", i);
            rows[i] = (struct mem_row){
                .subject = (uint32_t)rng_below(&rng, SUBJECTS),
                .time_ms = (int64_t)(base + rng_below(&rng, follows_in_time ? 4 : 1200)),
                .name = str_of(names[rng_below(&rng, 3)]),
                .event_id = str_of(ids[i]),
            };
        }
        for (uint32_t s = 0; s < 5; s++) {
            ends[s] = s == 4 ? count : count * (s + 1) / (1 + (uint32_t)rng_below(&rng, 5));
            ends[s] = ends[s] > count ? count : ends[s];
            ends[s] = s > 0 && ends[s] < ends[s - 1] ? ends[s - 1] : ends[s];
        }
        struct fixture f = fixture_open(rows, ends, 5);
        struct mem_row sorted[400]; /* sources borrow their rows as they are */
        memcpy(sorted, rows, count * sizeof(*rows));
        check(&f, sorted, count, 0, UINT32_MAX, seed % 2 == 0, EVERYBODY);
        check(&f, sorted, count, 10, 30, seed % 2 == 0, EVERYBODY);
        check(&f, sorted, count, 0, UINT32_MAX, false, rng_next(&rng) & rng_next(&rng));
        check(&f, sorted, count, 0, UINT32_MAX, false, UINT64_C(1) << rng_below(&rng, SUBJECTS));
        fixture_close(&f);
    }
}

/* Two sources, each of more than two blocks, and one subject in nearly all of both. */
static void a_journey_may_be_longer_than_blocks(void **state)
{
    (void)state;
    uint32_t count = 5 * BLOCK_ROWS;
    uint32_t ends[2] = {count / 2, count};
    struct mem_row *rows = calloc(count, sizeof(*rows));
    assert_non_null(rows);
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = (struct mem_row){
            .subject = i % 1000 == 0 ? (i / 1000) % 3 : 1,
            .time_ms = (int64_t)((i * 7919u) % 100000u),
            .name = i % 5 == 0 ? STR("a") : STR("b"),
            .event_id = STR("x"),
        };
    }
    struct mem_row *copy = malloc(count * sizeof(*copy));
    assert_non_null(copy);
    memcpy(copy, rows, count * sizeof(*copy));
    struct fixture f = fixture_open(rows, ends, 2);
    check(&f, copy, count, 0, UINT32_MAX, false, EVERYBODY);
    for (uint64_t only = 0; only < 8; only++) {
        check(&f, copy, count, 0, UINT32_MAX, false, only);
    }
    fixture_close(&f);
    free(rows);
    free(copy);
}

static void a_spent_budget_is_an_error_and_no_crash(void **state)
{
    (void)state;
    struct mem_row rows[4000];
    uint32_t ends[2] = {2000, 4000};
    for (uint32_t i = 0; i < 4000; i++) {
        rows[i] = (struct mem_row){
            .subject = 3, .time_ms = i % 77, .name = STR("b"), .event_id = STR("x")};
    }
    struct fixture f = fixture_open(rows, ends, 2);
    struct bound_query query = {.selectors = selectors, .selector_count = 2};
    struct query_request request = {0};
    struct query_run_ctx run = {.query = &query, .request = &request, .snapshot = &f.snapshot};
    struct run_task task = {0, 0, UINT32_MAX, f.sources, f.source_count};
    struct journeys_spec spec = {.query = &query, .wants = wants, .want_count = 2};
    bool has_failed = false;
    bool has_worked = false;
    for (size_t bytes = 1024; bytes < (size_t)1 << 26; bytes *= 2) {
        struct budget budget;
        struct err err = {0};
        struct journey journey = {0};
        bool has_more = false;
        budget_init(&budget, bytes, "test memory");
        CLEANUP(arena_freep) struct arena *arena = arena_create(&budget);
        CLEANUP(journeys_closep) struct journeys *journeys = NULL;
        enum err_code code = journeys_open(&run, &task, &spec, arena, NULL, &journeys, &err);
        if (code == ERR_OK) {
            code = journeys_next(journeys, &journey, &has_more, &err);
        }
        assert_true(code == ERR_LIMIT || (code == ERR_OK && journey.count == 4000));
        has_failed = has_failed || code == ERR_LIMIT;
        has_worked = has_worked || code == ERR_OK;
    }
    assert_true(has_failed && has_worked);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(journeys_equal_the_events_of_each_subject),
        cmocka_unit_test(a_journey_may_be_longer_than_blocks),
        cmocka_unit_test(a_spent_budget_is_an_error_and_no_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
