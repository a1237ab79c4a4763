/* tests/prop/prop_dead_letters.c - a dead letter's event_json against the parser of /v1/events.
 *
 * Goal: posted again, the line gives the event that was kept out: id, time, name, users, and the same properties with
 * the same values; a timestamp property comes back as text that stands for the same instant. Method: random
 * events built as the doors build them, of every type, with texts and names of hostile bytes; each becomes a
 * letter, and all lines together are one NDJSON body.
 */
#include "server/dead_letters.h"
#include "server/ingest_parse.h"
#include "storage/base/iso8601.h"
#include "storage/base/rng.h"

#include "tests/support/claims.h"

#include <math.h>

#define NOW        1748000000000
#define EVENTS_MAX 8u

static struct err err;

/* ---- random events ---- */

/* UTF-8, as the doors let nothing else through; zero bytes only where `may_be_zero`. */
static struct str some_text(struct rng *rng, struct arena *arena, bool may_be_zero)
{
    static const char *const PIECES[] = {"",
                                         "a",
                                         "user_id",
                                         "event_time",
                                         "properties.",
                                         "properties",
                                         "\"",
                                         "\\",
                                         "\n",
                                         "\r\n",
                                         "\t",
                                         "{\"a\":1}",
                                         "}",
                                         ",",
                                         "[",
                                         "\x01\x1f",
                                         "\x7f",
                                         "\xc3\xa9",
                                         "\xe2\x80\xa8",
                                         "/",
                                         "null",
                                         "1e999",
                                         "true",
                                         "\\u0041",
                                         " ",
                                         ".",
                                         "a.b",
                                         "context.",
                                         "\xf0\x9f\x98\x80",
                                         "\xef\xbf\xbd",
                                         "2024-01-01",
                                         "0",
                                         "-"};
    CLEANUP(buf_freep) struct buf text = {0};
    for (uint64_t n = rng_below(rng, 5); n > 0; n--) {
        if (may_be_zero && rng_below(rng, 20) == 0) {
            buf_u8(&text, 0);
        }
        buf_z(&text, PIECES[rng_below(rng, COUNT_OF(PIECES))]);
    }
    struct str copy;
    assert_ok(buf_check(&text, &err));
    assert_ok(arena_str(arena, buf_as_str(&text), &copy, &err));
    return copy;
}

static struct num some_number(struct rng *rng)
{
    struct num n = num_int(0);
    switch (rng_below(rng, 6)) {
    case 0: return num_int((int64_t)rng_next(rng));
    case 1: return num_int((int64_t)rng_below(rng, 2000) - 1000);
    case 2: return num_decimal((int64_t)rng_next(rng), (uint8_t)rng_below(rng, NUM_SCALE_MAX + 1));
    case 3: return num_decimal((int64_t)rng_below(rng, 100000), 2);
    case 4: /* any finite double, subnormals included */
        for (;;) {
            uint64_t bits = rng_next(rng);
            double v = 0;
            memcpy(&v, &bits, sizeof(v));
            if (num_double(v, &n)) {
                return n;
            }
        }
    default:
        assert_true(
            num_double(ldexp((double)rng_below(rng, 1000), (int)rng_below(rng, 200) - 100), &n));
        return n;
    }
}

static int64_t some_time(struct rng *rng)
{
    switch (rng_below(rng, 4)) {
    case 0: return (int64_t)rng_next(rng);
    case 1: return (int64_t)rng_below(rng, 1000) - 500;
    default: return NOW - (int64_t)rng_below(rng, UINT64_C(4000000000000));
    }
}

static struct prop some_value(struct rng *rng, struct batch_builder *builder)
{
    struct arena *arena = builder->batch->arena;
    struct prop prop = {.type = (enum col_type)(1 + rng_below(rng, 5))};
    switch (prop.type) {
    case COL_STRING: prop.string = some_text(rng, arena, true); break;
    case COL_NUMBER: prop.number = some_number(rng); break;
    case COL_BOOL: prop.boolean = rng_below(rng, 2) == 0; break;
    case COL_TIME: prop.ts_ms = some_time(rng); break;
    case COL_LIST:
        prop.list.first = builder->batch->list_item_count;
        prop.list.count = (uint32_t)rng_below(rng, 4);
        for (uint32_t i = 0; i < prop.list.count; i++) {
            uint32_t at = 0;
            assert_ok(batch_list_item(builder, some_text(rng, arena, true), &at, &err));
        }
        break;
    }
    return prop;
}

/* The names that no property has, because the doors rename them. */
static bool is_taken(struct str name)
{
    static const char *const NAMES[] = {"event_id", "event_name",   "event_time",
                                        "user_id",  "anonymous_id", "received_at"};
    for (size_t i = 0; i < COUNT_OF(NAMES); i++) {
        if (str_eq(name, str_of(NAMES[i]))) {
            return true;
        }
    }
    return false;
}

static void add_event(struct rng *rng, struct batch_builder *builder)
{
    struct arena *arena = builder->batch->arena;
    struct event *event = NULL;
    assert_ok(batch_event(builder, &event, &err));
    event->event_id = some_text(rng, arena, true);
    event->name = some_text(rng, arena, false);
    event->user_id = some_text(rng, arena, true);
    event->anonymous_id = some_text(rng, arena, true);
    event->time_ms = rng_below(rng, 2) == 0 ? NOW - (int64_t)rng_below(rng, 100000)
                                            : NOW - (int64_t)rng_below(rng, 3900000000000);
    for (uint64_t n = rng_below(rng, 8); n > 0; n--) {
        struct str name = some_text(rng, arena, false);
        struct prop prop = some_value(rng, builder);
        if (name.len > 0 && !is_taken(name)) {
            assert_ok(batch_name(builder, name, &prop.name_idx, &err));
            assert_ok(batch_prop(builder, &prop, &err));
        }
    }
    batch_check_event(builder, NOW);
    if (event->status == RECEIPT_PENDING && event->event_id.len > 0) {
        event->status = RECEIPT_CONFLICT;
        event->reason = STR("known");
    } else {
        event->status = RECEIPT_ACCEPTED;
    }
}

/* ---- comparing ---- */

static bool time_is(struct str text, int64_t ts_ms)
{
    int64_t got = 0;
    char digits[24];
    if (iso8601_parse(text, &got)) {
        return got == ts_ms;
    }
    /* Outside the years 0000 .. 9999: a year with a sign, or the milliseconds. */
    snprintf(digits, sizeof(digits), "%" PRId64, ts_ms);
    bool is_far = ts_ms < -62167219200000 || ts_ms > 253402300799999;
    return is_far && (str_eq(text, str_of(digits)) || str_ends(text, STR("Z")));
}

static bool value_is(const struct event_batch *a, const struct prop *x, const struct event_batch *b,
                     const struct prop *y)
{
    if (x->type == COL_TIME) {
        return y->type == COL_STRING && time_is(y->string, x->ts_ms);
    }
    if (x->type != y->type) {
        return false;
    }
    switch (x->type) {
    case COL_STRING: return str_eq(x->string, y->string);
    case COL_NUMBER: return x->number.m == y->number.m && x->number.scale == y->number.scale;
    case COL_BOOL: return x->boolean == y->boolean;
    case COL_LIST:
        for (uint32_t i = 0; i < x->list.count && x->list.count == y->list.count; i++) {
            if (!str_eq(a->list_items[x->list.first + i], b->list_items[y->list.first + i])) {
                return false;
            }
        }
        return x->list.count == y->list.count;
    case COL_TIME: break;
    }
    return false;
}

static bool event_is(const struct event_batch *a, const struct event *x,
                     const struct event_batch *b, const struct event *y)
{
    bool same = y->status == RECEIPT_PENDING && str_eq(x->event_id, y->event_id) &&
                str_eq(x->name, y->name) && str_eq(x->user_id, y->user_id) &&
                str_eq(x->anonymous_id, y->anonymous_id) && x->time_ms == y->time_ms &&
                x->prop_count == y->prop_count;
    for (uint32_t i = 0; same && i < x->prop_count; i++) { /* the line keeps their order */
        const struct prop *p = &a->props[x->prop_first + i];
        const struct prop *q = &b->props[y->prop_first + i];
        same = str_eq(a->names[p->name_idx], b->names[q->name_idx]) && value_is(a, p, b, q);
    }
    return same;
}

static struct str json_of(const struct event_batch *letters, uint32_t idx)
{
    const struct event *letter = &letters->events[idx];
    const struct prop *prop = &letters->props[letter->prop_first + letter->prop_count - 1];
    assert_true(str_eq(letters->names[prop->name_idx], STR("event_json")));
    return prop->string;
}

/* The letters' lines as one body, parsed. */
static struct event_batch *post_again(const struct event_batch *letters)
{
    CLEANUP(buf_freep) struct buf body = {0};
    struct ingest_opts opts = {.now_ms = NOW, .event_bytes_max = 1 << 20};
    struct event_batch *batch = NULL;
    for (uint32_t i = 0; i < letters->event_count; i++) {
        struct str line = json_of(letters, i);
        assert_null(memchr(line.ptr, '\n', line.len));
        buf_str(&body, line);
        buf_u8(&body, '\n');
    }
    assert_ok(buf_check(&body, &err));
    assert_ok(ingest_parse(INGEST_NDJSON, buf_as_str(&body), &opts, &batch, &err));
    assert_int_equal(batch->event_count, letters->event_count);
    return batch;
}

static void a_letter_posted_again_is_the_event_that_was_kept_out(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    uint64_t compared = 0;
    for (uint64_t trial = 0; trial < 20000; trial++) {
        struct rng rng = rng_init(seed + trial);
        struct batch_builder builder;
        struct event_batch *letters = NULL;
        assert_ok(batch_begin(NULL, NOW, &builder, &err));
        uint32_t conflicts = 0;
        for (uint64_t n = 1 + rng_below(&rng, EVENTS_MAX); n > 0; n--) {
            add_event(&rng, &builder);
        }
        for (uint32_t i = 0; i < builder.batch->event_count; i++) {
            conflicts += builder.batch->events[i].status == RECEIPT_CONFLICT;
        }
        if (conflicts > 0) {
            assert_ok(dead_letters_build(builder.batch, NULL, &letters, &err));
            assert_int_equal(letters->event_count, conflicts);
            struct event_batch *again = post_again(letters);
            for (uint32_t i = 0, at = 0; i < builder.batch->event_count; i++) {
                const struct event *event = &builder.batch->events[i];
                if (event->status != RECEIPT_CONFLICT) {
                    continue;
                }
                if (!event_is(builder.batch, event, again, &again->events[at])) {
                    struct str json = json_of(letters, at);
                    fail_msg("seed %" PRIu64 ": not the event: %.*s", seed + trial, (int)json.len,
                             json.ptr);
                }
                at++;
                compared++;
            }
            event_batch_free(again);
            event_batch_free(letters);
        }
        event_batch_free(builder.batch);
    }
    assert_true(compared > 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_letter_posted_again_is_the_event_that_was_kept_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
