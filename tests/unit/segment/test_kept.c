/* tests/unit/segment/test_kept.c - what is made of a segment's blocks and kept in the block cache says what the blocks say.
 *
 * Goal: vectors, rows of events, values of subjects, who came again, unions of sets and a question's spans that lie in the cache equal those made of the blocks
 * each time, with room for all, for some and for none of them. Method: random segments, each question asked with and
 * without a holder, twice: first made, then found.
 */
#include "tests/unit/segment/segment_test.h"

#include "storage/base/size.h"
#include "storage/read_held.h"

#include <stdlib.h>

struct kept {
    struct seg_table t;
    struct block_cache *cache;
    struct segment *segment;
    const struct source *source;
    struct read_held held;
    struct read_ctx plain, holding;
    const struct mem_row **sorted;
    uint32_t row_count;
    struct rng rng;
};

static void kept_open(struct kept *k, uint64_t seed, size_t cache_bytes)
{
    struct err err = {0};
    struct mem_row *rows = NULL;
    struct segment_stats stats = {0};
    k->rng = rng_init(seed);
    struct random_shape shape = {
        .row_count = (uint32_t)rng_below(&k->rng, 2000) + 1,
        .subjects = (uint32_t)rng_below(&k->rng, 200) + 1,
        .subject_step = (uint32_t)rng_below(&k->rng, 900) + 1,
        .span_ms = UINT64_C(1) << (20 + rng_below(&k->rng, 13)),
        .events = (uint32_t)rng_below(&k->rng, 9) + 1,
        .has_props = true,
    };
    if (seed % 8 == 0) {
        shape.row_count += BLOCK_ROWS; /* two blocks */
    }
    if (seed % 3 == 0) {
        shape.subject_step = 1 + seed % 2; /* so near that words of bits are kept */
    }
    table_open(&k->t);
    assert_ok(random_rows(k->t.arena, &k->rng, &shape, &rows, &err));
    struct mem_source *mem = mem_source_create(rows, shape.row_count, k->t.schema, 3);
    const struct source *source = mem_source_of(mem);
    assert_ok(segment_write(k->t.io, k->t.path, k->t.schema, &source, 1, INT64_MIN, INT64_MAX, NULL,
                            &(struct segment_write_opts){.shard = 3}, &stats, &err));
    mem_source_free(mem);
    assert_ok(block_cache_create(cache_bytes, &k->cache, &err));
    assert_ok(segment_open(k->t.io, k->t.path, k->t.schema, k->cache, 7, &k->segment, &err));
    k->source = segment_source(k->segment);
    k->row_count = shape.row_count;
    k->sorted = calloc(k->row_count, sizeof(*k->sorted));
    assert_non_null(k->sorted);
    for (uint32_t i = 0; i < k->row_count; i++) {
        k->sorted[i] = &rows[i];
    }
    qsort(k->sorted, k->row_count, sizeof(*k->sorted), mem_row_cmp);
    k->held = (struct read_held){0};
    k->plain = k->t.ctx;
    k->holding = k->t.ctx;
    k->holding.held = &k->held;
}

static void kept_close(struct kept *k)
{
    read_held_done(&k->held);
    free(k->sorted);
    segment_close(k->segment);
    block_cache_free(k->cache);
    table_close(&k->t);
}

static void check_vectors(struct kept *k)
{
    struct err err = {0};
    for (int pass = 0; pass < 2; pass++) {
        assert_ok(
            source_equals_rows(k->source, k->t.schema, &k->holding, k->sorted, k->row_count, &err));
        read_held_clear(&k->held);
    }
}

static void check_event_rows(struct kept *k, uint32_t block, uint32_t code)
{
    struct err err = {0};
    struct event_rows rows = {0};
    struct vec times = {0};
    struct vec subjects = {0};
    uint16_t *want = malloc(BLOCK_ROWS * sizeof(*want));
    uint32_t count = 0;
    bool is_found = false;
    assert_non_null(want);
    assert_ok(
        source_value_rows(k->source, &k->plain, COL_EVENT_NAME, code, block, want, &count, &err));
    assert_ok(source_read(k->source, &k->plain, COL_EVENT_TIME, block, &times, &err));
    assert_ok(source_read(k->source, &k->plain, COL_SUBJECT, block, &subjects, &err));
    assert_ok(source_event_rows(k->source, &k->holding, code, block, &rows, &is_found, &err));
    if (is_found) {
        assert_int_equal(rows.count, count);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(rows.rows[i], want[i]);
            assert_int_equal(rows.times[i], times.i64[want[i]]);
            assert_int_equal(rows.subjects[i], subjects.u32[want[i]]);
        }
    }
    free(want);
    read_held_clear(&k->held);
}

static uint32_t journey_checks;

static void check_journeys(struct kept *k, uint32_t block)
{
    struct err err = {0};
    struct block_journeys journeys = {0};
    struct vec names = {0};
    struct vec times = {0};
    struct vec subjects = {0};
    uint32_t run = 0;
    bool is_found = false;
    assert_ok(source_read(k->source, &k->plain, COL_EVENT_NAME, block, &names, &err));
    assert_ok(source_read(k->source, &k->plain, COL_EVENT_TIME, block, &times, &err));
    assert_ok(source_read(k->source, &k->plain, COL_SUBJECT, block, &subjects, &err));
    assert_ok(source_block_journeys(k->source, &k->holding, block, &journeys, &is_found, &err));
    for (uint32_t i = 0; is_found && i < times.rows; i++) {
        assert_true(journeys.lasts[run] >= i && journeys.subjects[run] == subjects.u32[i]);
        assert_true(journeys.base_ms + (int64_t)journeys.since_ms[i] == times.i64[i]);
        assert_int_equal(journeys.codes[i], names.u32[i]);
        run += journeys.lasts[run] == i;
    }
    assert_true(!is_found || run == journeys.run_count);
    journey_checks += is_found;
    read_held_clear(&k->held);
}

/* The bit of row r's value, by the text of the value. */
static uint64_t value_bit(const struct kept *k, uint32_t row, uint32_t prop,
                          const struct dict *dict)
{
    const struct mem_value *value = mem_row_value(k->sorted[row], prop);
    uint32_t code = 0;
    while (code < dict->count &&
           (value == NULL || !str_eq(dict_value(dict, code), value->string))) {
        code++;
    }
    return UINT64_C(1) << code;
}

static uint32_t word_checks;
static uint32_t turned_checks;

/* Words of bits say what masks say. */
static void check_words(const struct subject_values *values)
{
    uint64_t bits = 0;
    uint64_t several = 0;
    for (uint32_t i = 0; i < values->count && values->word_count > 0; i++) {
        uint32_t bit = values->subjects[i] - values->base;
        assert_true(bit / 64 < values->word_count);
        assert_true(values->places[bit / 64] <= i);
        assert_true(values->subjects[values->places[bit / 64]] / 64 == values->subjects[i] / 64);
        for (uint32_t code = 0; code <= values->dict->count; code++) {
            uint64_t word = values->having[code * values->word_count + bit / 64];
            assert_int_equal(word >> (bit % 64) & 1, values->masks[i] >> code & 1);
        }
        several += (values->masks[i] & (values->masks[i] - 1)) != 0;
        bits += (uint64_t)__builtin_popcountll(values->masks[i]);
        word_checks++;
    }
    for (uint32_t w = 0; w < values->word_count; w++) {
        several -= (uint64_t)__builtin_popcountll(values->several[w]);
    }
    for (size_t w = 0; w < (size_t)values->word_count * (values->dict->count + 1); w++) {
        bits -= (uint64_t)__builtin_popcountll(values->having[w]);
    }
    assert_int_equal(bits, 0);
    assert_int_equal(several, 0);
}

/* What a subject's rows of one day have; the row behind them. */
static uint32_t mask_of_day(const struct kept *k, uint32_t row, uint32_t prop,
                            const struct dict *dict, uint64_t *ret)
{
    uint32_t subject = k->sorted[row]->subject;
    int64_t day = source_day(k->sorted[row]->time_ms);
    *ret = 0;
    while (row < k->row_count && k->sorted[row]->subject == subject &&
           source_day(k->sorted[row]->time_ms) == day) {
        *ret |= value_bit(k, row++, prop, dict);
    }
    return row;
}

static bool is_turned_in(const struct subject_days *days, const struct dict *dict, int64_t day,
                         uint32_t code, uint32_t subject)
{
    for (uint32_t n = 0; n < days->turned_count; n++) {
        uint32_t cell = n * (dict->count + 1) + code;
        uint32_t begin = cell == 0 ? 0 : days->turned_ends[cell - 1];
        for (uint32_t i = begin; days->turned_days[n] == day && i < days->turned_ends[cell]; i++) {
            if (days->turned_subjects[i] == subject) {
                return true;
            }
        }
    }
    return false;
}

/* Days of subjects with several values, and the same turned over, against all rows. */
static void check_days(struct kept *k, uint32_t prop, const struct subject_values *values)
{
    struct err err = {0};
    struct subject_days days = {0};
    bool is_found = false;
    assert_ok(source_subject_days(k->source, &k->holding, COL_FIRST_PROP + prop, values, &days,
                                  &is_found, &err));
    uint32_t at = 0;
    uint32_t entry = 0;
    uint64_t bits = 0;
    for (uint32_t i = 0; is_found && i < values->count; i++) {
        if ((values->masks[i] & (values->masks[i] - 1)) == 0) {
            continue;
        }
        assert_int_equal(days.subjects[at], values->subjects[i]);
        for (uint32_t row = values->rows[i]; row < values->rows[i + 1];) {
            uint64_t mask = 0;
            int64_t day = source_day(k->sorted[row]->time_ms);
            row = mask_of_day(k, row, prop, values->dict, &mask);
            assert_int_equal(days.days[entry], day);
            assert_int_equal(days.masks[entry], mask);
            bits += (uint64_t)__builtin_popcountll(mask);
            uint32_t code = (uint32_t)__builtin_ctzll(mask);
            if (days.turned_count > 0 && entry % 16 == 0) {
                assert_true(is_turned_in(&days, values->dict, day, code, values->subjects[i]));
                turned_checks++;
            }
            entry++;
        }
        assert_int_equal(days.ends[at++], entry);
    }
    assert_int_equal(days.count, at);
    if (days.turned_count > 0) {
        uint32_t cells = days.turned_count * (values->dict->count + 1);
        assert_int_equal(days.turned_ends[cells - 1], bits);
    }
}

static void check_values(struct kept *k, uint32_t prop)
{
    struct err err = {0};
    struct subject_values values = {0};
    bool is_found = false;
    assert_ok(source_subject_values(k->source, &k->holding, COL_FIRST_PROP + prop, &values,
                                    &is_found, &err));
    if (!is_found) {
        read_held_clear(&k->held);
        return;
    }
    uint32_t row = 0;
    for (uint32_t i = 0; i < values.count; i++) {
        uint64_t mask = 0;
        assert_int_equal(values.rows[i], row);
        assert_int_equal(values.subjects[i], k->sorted[row]->subject);
        for (; row < k->row_count && k->sorted[row]->subject == values.subjects[i]; row++) {
            mask |= value_bit(k, row, prop, values.dict);
        }
        assert_int_equal(values.masks[i], mask);
    }
    assert_int_equal(row, k->row_count);
    assert_int_equal(values.rows[values.count], k->row_count);
    check_words(&values);
    check_days(k, prop, &values);
    read_held_clear(&k->held);
}

/* Unions of neighbouring sets, made and found, against a bitmap of the sets one by one. */
static void check_unions(struct kept *k, uint32_t event)
{
    struct err err = {0};
    const struct subject_set *sets = NULL;
    uint32_t set_count = 0;
    assert_ok(source_subject_sets(k->source, &k->plain, event, &sets, &set_count, &err));
    for (uint32_t first = 0; first < set_count;) {
        uint32_t count = (uint32_t)rng_below(&k->rng, set_count - first) + 1;
        roaring_bitmap_t *want = roaring_bitmap_create();
        for (uint32_t i = 0; i < count; i++) {
            const roaring_bitmap_t *one = NULL;
            assert_ok(
                source_subject_set(k->source, &k->plain, sets[first + i].set_idx, &one, &err));
            roaring_bitmap_or_inplace(want, one);
        }
        for (int pass = 0; pass < 3; pass++) {
            struct subject_members members = {0};
            struct members_cursor cursor = {0};
            uint32_t buffer[64];
            const uint32_t *some = NULL;
            uint32_t found = 0;
            uint32_t portion = 0;
            struct read_ctx *ctx = pass == 0 ? &k->plain : &k->holding;
            uint32_t last = 0;
            assert_ok(source_union(k->source, ctx, sets + first, count, &members, &err));
            assert_int_equal(members.count, roaring_bitmap_get_cardinality(want));
            while ((portion = members_next(&members, &cursor, buffer, 64, &some)) > 0) {
                for (uint32_t i = 0; i < portion; i++, found++) {
                    assert_true(roaring_bitmap_contains(want, some[i]));
                    assert_true(found == 0 || last < some[i]);
                    last = some[i];
                }
            }
            assert_int_equal(found, members.count);
            read_held_clear(&k->held);
        }
        roaring_bitmap_free(want);
        first += count;
    }
}

/* Spans as they were kept, or not there; never another question's. */
static void check_spans(struct kept *k, uint32_t event)
{
    struct err err = {0};
    const struct subject_set *sets = NULL;
    uint32_t set_count = 0;
    assert_ok(source_subject_sets(k->source, &k->plain, event, &sets, &set_count, &err));
    uint32_t span_count = MIN_OF(set_count, 5);
    struct span_found found[6] = {0}; /* the last of all spans */
    int64_t edges[6] = {0};
    for (uint32_t s = 0; s < span_count; s++) {
        edges[s] = sets[s].begin_ms;
        edges[s + 1] = sets[s].end_ms;
        if (s != 1) { /* nobody there */
            assert_ok(source_union(k->source, &k->plain, &sets[s], 1, &found[s].members, &err));
            found[s].begin_ms = sets[s].begin_ms;
            found[s].end_ms = sets[s].end_ms;
        }
    }
    const struct span_rows rest[2] = {{1, 2}, {5, 9}};
    uint32_t rest_count = set_count % 3;
    const struct span_ask ask = {event, edges, span_count};
    const struct span_ask other = {event + 1, edges, span_count};
    struct subject_spans kept = {0};
    source_spans_keep(k->source, &k->holding, &ask, found, rest, rest_count, 77);
    assert_false(source_spans_find(k->source, &k->plain, &ask, &kept)); /* nobody to hold it */
    assert_false(source_spans_find(k->source, &k->holding, &other, &kept));
    if (source_spans_find(k->source, &k->holding, &ask, &kept)) {
        assert_int_equal(kept.rest_count, rest_count);
        assert_memory_equal(kept.rest, rest, rest_count * sizeof(*rest));
        for (uint32_t s = 0; s < span_count; s++) {
            struct span_found one = subject_spans_at(&kept, s);
            assert_int_equal(one.begin_ms, found[s].begin_ms);
            assert_int_equal(one.end_ms, found[s].end_ms);
            assert_int_equal(one.members.count, found[s].members.count);
            struct members_cursor a = {0};
            struct members_cursor b = {0};
            uint32_t buffers[2][64];
            const uint32_t *got = NULL;
            const uint32_t *want = NULL;
            uint32_t count = 0;
            while ((count = members_next(&found[s].members, &a, buffers[0], 64, &want)) > 0) {
                assert_int_equal(members_next(&one.members, &b, buffers[1], 64, &got), count);
                assert_memory_equal(got, want, count * sizeof(*want));
            }
        }
    }
    read_held_clear(&k->held);
}

/* ---- who came again ---- */

struct told {
    const struct kept *k;
    const int64_t *edges;
    uint32_t next; /* spans before it are done */
};

/* The subjects with two rows in the span, the slow way, in order of subjects. */
static void expect_repeats(const struct told *told, uint32_t span, const uint32_t *subjects,
                           uint32_t count)
{
    const struct kept *k = told->k;
    uint32_t found = 0;
    for (uint32_t row = 0; row < k->row_count;) {
        uint32_t subject = k->sorted[row]->subject;
        uint32_t rows = 0;
        for (; row < k->row_count && k->sorted[row]->subject == subject; row++) {
            int64_t ts = k->sorted[row]->time_ms;
            rows += ts >= told->edges[span] && ts < told->edges[span + 1];
        }
        if (rows > 1) {
            assert_true(found < count);
            assert_int_equal(subjects[found++], subject);
        }
    }
    assert_int_equal(found, count);
}

static void take_repeats(void *arg, uint32_t span, const uint32_t *subjects, uint32_t count)
{
    struct told *told = arg;
    for (; told->next < span; told->next++) {
        expect_repeats(told, told->next, NULL, 0); /* what is not told of has nobody */
    }
    expect_repeats(told, span, subjects, count);
    told->next = span + 1;
}

static void check_repeats(struct kept *k)
{
    struct err err = {0};
    int64_t edges[9];
    uint32_t span_count = (uint32_t)rng_below(&k->rng, COUNT_OF(edges) - 1) + 1;
    uint64_t width =
        (uint64_t)(k->source->time_max_ms - k->source->time_min_ms) * 3 / (2 * span_count) + 2;
    edges[0] = k->source->time_min_ms - (int64_t)rng_below(&k->rng, width);
    for (uint32_t s = 1; s <= span_count; s++) { /* a span may be empty, or lie behind all rows */
        edges[s] = edges[s - 1] + (int64_t)rng_below(&k->rng, width);
    }
    for (int pass = 0; pass < 2; pass++) {
        struct told told = {.k = k, .edges = edges};
        const struct repeats_taker taker = {.arg = &told, .take = take_repeats};
        bool is_found = false;
        assert_ok(
            source_repeats(k->source, &k->holding, edges, span_count, &taker, &is_found, &err));
        assert_true(is_found);
        for (; told.next < span_count; told.next++) {
            expect_repeats(&told, told.next, NULL, 0);
        }
    }
}

static void what_is_kept_says_what_the_blocks_say(void **state)
{
    (void)state;
    const size_t cache_bytes[] = {64u << 20, 1u << 20, 64u << 10, 1};
    for (uint64_t i = 0; i < 24; i++) {
        struct kept k;
        struct err err = {0};
        const struct dict *names = NULL;
        kept_open(&k, 900 + i, cache_bytes[i % COUNT_OF(cache_bytes)]);
        check_vectors(&k);
        assert_ok(source_dict(k.source, &k.plain, COL_EVENT_NAME, &names, &err));
        for (int pass = 0; pass < 2; pass++) {
            for (uint32_t code = 0; code < names->count; code++) {
                for (uint32_t b = 0; b < k.source->block_count; b++) {
                    check_event_rows(&k, b, code);
                }
                check_unions(&k, code);
            }
            for (uint32_t b = 0; b < k.source->block_count; b++) {
                check_journeys(&k, b);
            }
            check_unions(&k, SUBJECT_SET_ANY);
            check_spans(&k, SUBJECT_SET_ANY);
            check_repeats(&k);
            for (uint32_t p = 0; p < schema_count(k.t.schema); p++) {
                check_values(&k, p);
            }
        }
        kept_close(&k);
    }
    assert_true(journey_checks > 10);
    assert_true(word_checks > 100 && turned_checks > 10); /* else the shapes have changed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_says_what_the_blocks_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
