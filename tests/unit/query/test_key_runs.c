/* tests/unit/query/test_key_runs.c - logs of runs: what was appended is read again, run by run, in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/key_runs.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <string.h>

#define ROWS     9000u
#define RUNS_MAX 400u

struct rows {
    uint16_t rows[ROWS];
    uint32_t subjects[ROWS];
    int64_t times[ROWS];
    uint64_t masks[ROWS];
    uint32_t lanes[KEY_LANES][ROWS];
};

static void make_rows(struct rows *rows, struct rng *rng)
{
    for (uint32_t i = 0; i < ROWS; i++) {
        rows->rows[i] = (uint16_t)(i * 7);
        rows->subjects[i] = (uint32_t)rng_next(rng);
        rows->times[i] = (int64_t)rng_next(rng);
        rows->masks[i] = rng_next(rng);
        for (uint32_t k = 0; k < KEY_LANES; k++) {
            rows->lanes[k][i] = (uint32_t)rng_next(rng);
        }
    }
}

static void check_run(const struct key_run *run, const struct key_run_at *at)
{
    uint32_t count = at->end - at->begin;
    const struct scan_block *block = at->block;
    assert_int_equal(run->count, count);
    assert_true(run->key.lo == at->key.lo && run->key.hi == at->key.hi);
    assert_int_equal(run->source, at->source);
    assert_int_equal(run->block, block->block);
    assert_int_equal(run->subject, block->subjects[at->begin]);
    assert_memory_equal(key_run_times(run), block->times + at->begin, count * sizeof(int64_t));
    assert_memory_equal(key_run_masks(run), block->masks + at->begin, count * sizeof(uint64_t));
    assert_memory_equal(key_run_rows(run), block->rows + at->begin, count * sizeof(uint16_t));
    for (uint32_t k = 0; k < at->lane_count; k++) {
        assert_memory_equal(key_run_lane(run, k), at->lanes[k] + at->begin,
                            count * sizeof(uint32_t));
    }
}

static void runs_come_back_as_they_were_appended(void **state)
{
    (void)state;
    static struct rows rows;
    static struct key_run_at runs[RUNS_MAX];
    struct rng rng = rng_init(3);
    make_rows(&rows, &rng);
    const uint32_t *lanes[KEY_LANES];
    for (uint32_t k = 0; k < KEY_LANES; k++) {
        lanes[k] = rows.lanes[k];
    }
    const struct scan_block block = {.block = 12,
                                     .count = ROWS,
                                     .rows = rows.rows,
                                     .subjects = rows.subjects,
                                     .times = rows.times,
                                     .masks = rows.masks};
    for (uint32_t trial = 0; trial < 60; trial++) {
        struct arena *arena = arena_create(NULL);
        struct run_log log = {0};
        struct run_log_cursor cursor = {0};
        struct err err = {0};
        uint32_t count = (uint32_t)rng_below(&rng, RUNS_MAX);
        uint64_t row_count = 0;
        for (uint32_t r = 0; r < count; r++) {
            uint32_t begin = (uint32_t)rng_below(&rng, ROWS);
            uint32_t most = rng_below(&rng, 50) == 0 ? ROWS - begin : MIN_OF(ROWS - begin, 12u);
            runs[r] = (struct key_run_at){.key = {rng_next(&rng), rng_next(&rng)},
                                          .source = r,
                                          .block = &block,
                                          .lanes = lanes,
                                          .lane_count = trial % (KEY_LANES + 1),
                                          .begin = begin,
                                          .end = begin + 1 + (uint32_t)rng_below(&rng, most)};
            row_count += runs[r].end - begin;
            assert_int_equal(run_log_append(&log, &runs[r], arena, &err), ERR_OK);
        }
        assert_true(log.run_count == count && log.row_count == row_count);
        for (uint32_t r = 0; r < count; r++) {
            const struct key_run *run = run_log_next(&log, &cursor);
            assert_non_null(run);
            check_run(run, &runs[r]);
        }
        assert_null(run_log_next(&log, &cursor));
        assert_null(run_log_next(&log, &cursor));
        arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_come_back_as_they_were_appended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
