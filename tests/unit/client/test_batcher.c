/* tests/unit/client/test_batcher.c - client/batcher.h. */
#include "tests/unit/client/client_test.h"

#include "client/batcher.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

/* What came out of a stream: the batches' bytes, one after another, and where lines were skipped. */
struct outcome {
    struct buf bytes;
    uint64_t batches, lines, first_lines[64], line_counts[64], skipped[64], skipped_count;
    size_t largest;
};

static void outcome_take(struct outcome *outcome, struct batcher *batcher)
{
    struct err err;
    struct batch batch;
    assert_ok(batcher_take(batcher, &batch, &err));
    assert_true(batch.bytes.len > 0 && batch.line_count > 0);
    if (outcome->batches < COUNT_OF(outcome->first_lines)) {
        outcome->first_lines[outcome->batches] = batch.first_line;
        outcome->line_counts[outcome->batches] = batch.line_count;
    }
    outcome->batches++;
    outcome->lines += batch.line_count;
    outcome->largest = MAX_OF(outcome->largest, batch.bytes.len);
    buf_str(&outcome->bytes, buf_as_str(&batch.bytes));
    buf_done(&batch.bytes);
}

static void feed_all(struct batcher *batcher, struct str stream, size_t chunk_bytes,
                     struct outcome *outcome)
{
    for (size_t at = 0; at < stream.len; at += chunk_bytes) {
        struct str chunk = {stream.ptr + at, MIN_OF(chunk_bytes, stream.len - at)};
        enum batcher_event event = BATCHER_MORE;
        do {
            event = batcher_feed(batcher, &chunk);
            if (event == BATCHER_BATCH) {
                outcome_take(outcome, batcher);
            } else if (event == BATCHER_TOO_LONG) {
                outcome->skipped[outcome->skipped_count++] = batcher->skipped_line;
            }
        } while (event != BATCHER_MORE);
        assert_int_equal(chunk.len, 0);
    }
    if (batcher_end(batcher)) {
        outcome_take(outcome, batcher);
    }
    assert_false(batcher_end(batcher));
    batcher_done(batcher);
}

static struct outcome run(const char *stream, struct batcher_opts opts, size_t chunk_bytes)
{
    struct batcher batcher;
    struct outcome outcome = {0};
    batcher_init(&batcher, &opts);
    feed_all(&batcher, str_of(stream), chunk_bytes, &outcome);
    return outcome;
}

static const struct batcher_opts WIDE = {1000, 1000, 1000};

static void an_empty_stream_gives_no_batch(void **state)
{
    struct outcome outcome = run("", WIDE, 1);
    assert_int_equal(outcome.batches, 0);
}

static void lines_are_kept_whole_over_every_chunk_border(void **state)
{
    static const char stream[] = "one\n\nthree is longer\r\nfour\n5\nsix without an end";
    for (size_t chunk_bytes = 1; chunk_bytes <= sizeof(stream); chunk_bytes++) {
        for (size_t lines_max = 1; lines_max <= 7; lines_max++) {
            struct batcher_opts opts = {1000, lines_max, 1000};
            struct outcome outcome = run(stream, opts, chunk_bytes);
            assert_text(&outcome.bytes, stream);
            assert_int_equal(outcome.lines, 6);
            assert_int_equal(outcome.batches, (6 + lines_max - 1) / lines_max);
            for (uint64_t b = 0; b < outcome.batches; b++) {
                assert_int_equal(outcome.first_lines[b], 1 + b * lines_max);
            }
            buf_done(&outcome.bytes);
        }
    }
}

static void a_batch_stays_within_its_bytes_but_for_a_line_that_travels_alone(void **state)
{
    struct batcher_opts opts = {8, 1000, 1000};
    for (size_t chunk_bytes = 1; chunk_bytes <= 40; chunk_bytes++) {
        struct outcome outcome = run("aaa\nbbb\nccc\nthis one is long\nd\n", opts, chunk_bytes);
        assert_text(&outcome.bytes, "aaa\nbbb\nccc\nthis one is long\nd\n");
        assert_int_equal(outcome.batches, 4); /* aaa bbb | ccc | this one is long | d */
        assert_int_equal(outcome.line_counts[0], 2);
        assert_int_equal(outcome.line_counts[1], 1);
        assert_int_equal(outcome.line_counts[2], 1);
        assert_int_equal(outcome.first_lines[3], 5);
        buf_done(&outcome.bytes);
    }
}

static void a_line_over_the_limit_is_skipped_and_the_numbers_go_on(void **state)
{
    struct batcher_opts opts = {1000, 1000, 6};
    for (size_t chunk_bytes = 1; chunk_bytes <= 40; chunk_bytes++) {
        struct outcome outcome =
            run("a\nb\n0123456789 too long\nc\nalso too long\n\n12345\n", opts, chunk_bytes);
        assert_text(&outcome.bytes, "a\nb\nc\n\n12345\n");
        assert_int_equal(outcome.skipped_count, 2);
        assert_int_equal(outcome.skipped[0], 3);
        assert_int_equal(outcome.skipped[1], 5);
        assert_int_equal(outcome.batches, 3); /* a b | c | "" 12345 */
        assert_int_equal(outcome.first_lines[1], 4);
        assert_int_equal(outcome.first_lines[2], 6);
        buf_done(&outcome.bytes);
    }
}

static void a_last_line_that_is_too_long_and_has_no_end_is_skipped(void **state)
{
    struct batcher_opts opts = {1000, 1000, 6};
    for (size_t chunk_bytes = 1; chunk_bytes <= 20; chunk_bytes++) {
        struct outcome outcome = run("ok\n0123456789", opts, chunk_bytes);
        assert_text(&outcome.bytes, "ok\n");
        assert_int_equal(outcome.skipped_count, 1);
        buf_done(&outcome.bytes);
    }
}

/* A line of any length costs no more than the limit: 1 GiB through a limit of 1 MiB. */
static void a_huge_line_is_not_held_in_memory(void **state)
{
    struct batcher batcher;
    struct batcher_opts opts = {1u << 20, 1000, 1u << 20};
    char *chunk = malloc(1u << 20);
    uint64_t skips = 0;
    assert_non_null(chunk);
    memset(chunk, 'x', 1u << 20);
    batcher_init(&batcher, &opts);
    for (int i = 0; i < 1024; i++) {
        struct str rest = {chunk, 1u << 20};
        enum batcher_event event = BATCHER_MORE;
        do {
            event = batcher_feed(&batcher, &rest);
            assert_int_not_equal(event, BATCHER_BATCH);
            skips += event == BATCHER_TOO_LONG;
        } while (event != BATCHER_MORE);
        assert_true(batcher.batch.bytes.cap <= 4u << 20);
    }
    assert_int_equal(skips, 1);
    batcher_done(&batcher);
    free(chunk);
}

/* Goal: batches are the stream without its long lines, whatever the limits and chunks.
 * Method: random streams; the model splits at newlines and drops what is too long. */
static void random_streams_come_out_as_they_went_in(void **state)
{
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < 3000; trial++) {
        struct rng rng = rng_init(seed + trial);
        char stream[200];
        CLEANUP(buf_freep) struct buf want = {0};
        size_t len = rng_below(&rng, sizeof(stream));
        size_t limit = 1 + rng_below(&rng, 20);
        struct batcher_opts opts = {1 + rng_below(&rng, 60), 1 + rng_below(&rng, 9), limit};
        for (size_t i = 0; i < len; i++) {
            stream[i] = rng_below(&rng, 6) == 0 ? '\n' : (char)('a' + rng_below(&rng, 26));
        }
        for (size_t at = 0; at < len;) {
            const char *newline = memchr(stream + at, '\n', len - at);
            size_t line = newline == NULL ? len - at : (size_t)(newline + 1 - stream) - at;
            if (line <= limit) {
                buf_append(&want, stream + at, line);
            }
            at += line;
        }
        struct batcher batcher;
        struct outcome outcome = {0};
        batcher_init(&batcher, &opts);
        feed_all(&batcher, (struct str){stream, len}, 1 + rng_below(&rng, 50), &outcome);
        if (!str_eq(buf_as_str(&outcome.bytes), buf_as_str(&want)) ||
            outcome.largest > MAX_OF(opts.bytes_max, limit)) {
            fail_msg("seed %" PRIu64 ": %zu bytes out, %zu wanted; largest %zu", seed + trial,
                     outcome.bytes.len, want.len, outcome.largest);
        }
        buf_done(&outcome.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_stream_gives_no_batch),
        cmocka_unit_test(lines_are_kept_whole_over_every_chunk_border),
        cmocka_unit_test(a_batch_stays_within_its_bytes_but_for_a_line_that_travels_alone),
        cmocka_unit_test(a_line_over_the_limit_is_skipped_and_the_numbers_go_on),
        cmocka_unit_test(a_last_line_that_is_too_long_and_has_no_end_is_skipped),
        cmocka_unit_test(a_huge_line_is_not_held_in_memory),
        cmocka_unit_test(random_streams_come_out_as_they_went_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
