/* tests/prop/prop_ingest_wire.c - the wire reader of protobuf bodies against protobuf-c.
 *
 * Goal: server/ingest_wire.c gives the batch that unpacking with protobuf-c and ingest_from_message gives, on
 * anything. Method: bodies written field by field, with what a generated encoder never writes (fields out of order,
 * given twice, unknown, with references that lead nowhere, bytes that are not UTF-8), then bodies with random
 * bytes changed, cut and put in.
 *
 * The three differences that ingest_wire.c names are left out: a text with a zero byte (protobuf-c's ends there) and
 * a bool that is no varint are not compared; the cap on unpacking is lifted.
 */
#include "server/ingest_int.h"
#include "server/ingest_proto.h"
#include "storage/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1748000000000

static uint64_t seed_of_run(void)
{
    const char *text = getenv("TEST_SEED");
    return text == NULL ? 20240601 : strtoull(text, NULL, 10);
}

/* ---- random bodies ---- */

static void put_tag(struct buf *out, uint32_t number, uint32_t type)
{
    buf_varint(out, (uint64_t)number << 3 | type);
}

static void put_bytes(struct buf *out, uint32_t number, struct str bytes)
{
    put_tag(out, number, 2);
    buf_blob(out, bytes);
}

static void put_value(struct buf *out, uint32_t number, uint64_t value)
{
    put_tag(out, number, 0);
    buf_varint(out, value);
}

static struct str some_text(struct rng *rng)
{
    static const char *const TEXTS[] = {
        "",
        "a",
        "page",
        "user_id",
        "event_time",
        "u_17",
        "\xc3\xa9",
        "\xff\xfe",
        "undefined",
        "null",
        "click",
        "amount",
        "\xed\xa0\x80",
        "\xf0\x9f\x98\x80 and more than eight bytes of it",
        "1e3",
        "plain text of more than eight bytes",
    };
    return str_of(TEXTS[rng_below(rng, COUNT_OF(TEXTS))]);
}

static uint64_t some_ref(struct rng *rng)
{
    return rng_below(rng, 20) == 0 ? rng_next(rng) : rng_below(rng, 8);
}

static void put_unknown(struct rng *rng, struct buf *out)
{
    switch (rng_below(rng, 4)) {
    case 0: put_value(out, 40, rng_next(rng)); break;
    case 1: put_bytes(out, 1000, some_text(rng)); break;
    case 2:
        put_tag(out, 41, 5);
        buf_u32(out, 0x01020304);
        break;
    default:
        put_tag(out, 42, 1);
        buf_u64(out, 0x0102030405060708);
        break;
    }
}

static void put_list(struct rng *rng, struct buf *out)
{
    CLEANUP(buf_freep) struct buf list = {0};
    for (uint64_t n = rng_below(rng, 4); n > 0; n--) {
        put_bytes(&list, rng_below(rng, 10) == 0 ? 7 : 1, some_text(rng));
    }
    put_bytes(out, 10, buf_as_str(&list));
}

static void put_property_value(struct rng *rng, struct buf *out)
{
    static const char *const DECIMALS[] = {"12.50", "-0.1", "1e400", "x", "7"};
    switch (rng_below(rng, 9)) {
    case 0: put_bytes(out, 3, some_text(rng)); break;
    case 1: put_value(out, 4, some_ref(rng)); break;
    case 2: {
        double number = rng_below(rng, 10) == 0 ? 1.0 / 0.0 : (double)rng_below(rng, 100000) / 64;
        uint64_t bits = 0;
        memcpy(&bits, &number, sizeof(bits));
        put_tag(out, 5, 1);
        buf_u64(out, bits);
        break;
    }
    case 3: put_value(out, 6, rng_next(rng) >> rng_below(rng, 64)); break;
    case 4: put_bytes(out, 7, str_of(DECIMALS[rng_below(rng, COUNT_OF(DECIMALS))])); break;
    case 5: put_value(out, 8, rng_below(rng, 3)); break;
    case 6: put_value(out, 9, rng_next(rng) >> rng_below(rng, 64)); break;
    case 7: put_list(rng, out); break;
    default: break;
    }
}

static void put_property(struct rng *rng, struct buf *out)
{
    CLEANUP(buf_freep) struct buf property = {0};
    uint32_t turns = rng_below(rng, 8) == 0 ? 2 : 1; /* now and then everything twice */
    for (uint32_t i = 0; i < turns; i++) {
        bool value_first = rng_below(rng, 4) == 0;
        if (value_first) {
            put_property_value(rng, &property);
        }
        if (rng_below(rng, 2) == 0) {
            put_bytes(&property, 1, some_text(rng));
        } else {
            put_value(&property, 2, some_ref(rng));
        }
        if (!value_first) {
            put_property_value(rng, &property);
        }
        if (rng_below(rng, 16) == 0) {
            put_unknown(rng, &property);
        }
    }
    put_bytes(out, 9, buf_as_str(&property));
}

static void put_event(struct rng *rng, struct buf *out)
{
    CLEANUP(buf_freep) struct buf event = {0};
    for (uint64_t n = rng_below(rng, 12); n > 0; n--) {
        switch (rng_below(rng, 10)) {
        case 0: put_bytes(&event, 1, some_text(rng)); break;
        case 1: put_value(&event, 2, (uint64_t)NOW - rng_below(rng, 1000000)); break;
        case 2: put_bytes(&event, 3, some_text(rng)); break;
        case 3: put_value(&event, 4, some_ref(rng)); break;
        case 4: put_bytes(&event, 5, some_text(rng)); break;
        case 5: put_value(&event, 6, some_ref(rng)); break;
        case 6: put_bytes(&event, 7, some_text(rng)); break;
        case 7: put_unknown(rng, &event); break;
        default: put_property(rng, &event); break;
        }
    }
    if (rng_below(rng, 4) > 0) { /* mostly whole ones */
        put_bytes(&event, 3, STR("click"));
        put_value(&event, 4, 0);
        put_bytes(&event, 5, STR("u_1"));
        put_value(&event, 6, 0);
    }
    put_bytes(out, 2, buf_as_str(&event));
}

static void put_batch(struct rng *rng, struct buf *out)
{
    for (uint64_t n = rng_below(rng, 12); n > 0; n--) {
        if (rng_below(rng, 2) == 0) {
            put_bytes(out, 1, some_text(rng));
        } else {
            put_event(rng, out);
        }
        if (rng_below(rng, 30) == 0) {
            put_unknown(rng, out);
        }
    }
}

/* Change, take out or put in a few bytes. */
static void mutate(struct rng *rng, struct buf *body)
{
    for (uint64_t n = 1 + rng_below(rng, 3); n > 0 && body->len > 0; n--) {
        size_t at = (size_t)rng_below(rng, body->len);
        switch (rng_below(rng, 4)) {
        case 0: body->ptr[at] = (uint8_t)rng_next(rng); break;
        case 1: body->ptr[at] ^= (uint8_t)(1u << rng_below(rng, 8)); break;
        case 2:
            memmove(body->ptr + at, body->ptr + at + 1, body->len - at - 1);
            body->len--;
            break;
        default:
            buf_u8(body, 0);
            memmove(body->ptr + at + 1, body->ptr + at, body->len - at - 1);
            body->ptr[at] = (uint8_t)rng_next(rng);
            break;
        }
    }
}

/* ---- comparing ---- */

static enum err_code by_protobuf_c(struct str body, const struct ingest_opts *opts,
                                   struct event_batch **ret, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    ProtobufCAllocator allocator = ingest_capped_allocator(arena);
    Trackway__V1__EventBatch *message =
        trackway__v1__event_batch__unpack(&allocator, body.len, (const uint8_t *)body.ptr);
    if (message == NULL) {
        return err_set(err, ERR_INVALID, "not unpacked");
    }
    return ingest_from_message(message, body.len, opts, ret, err);
}

static bool has_zero(struct str s)
{
    return s.len > 0 && memchr(s.ptr, 0, s.len) != NULL;
}

static bool prop_eq(const struct event_batch *a, const struct prop *x, const struct event_batch *b,
                    const struct prop *y)
{
    if (x->type != y->type || !str_eq(a->names[x->name_idx], b->names[y->name_idx])) {
        return false;
    }
    switch (x->type) {
    case COL_STRING: return str_eq(x->string, y->string);
    case COL_NUMBER: return x->number.m == y->number.m && x->number.scale == y->number.scale;
    case COL_BOOL: return x->boolean == y->boolean;
    case COL_TIME: return x->ts_ms == y->ts_ms;
    case COL_LIST:
        if (x->list.count != y->list.count) {
            return false;
        }
        for (uint32_t i = 0; i < x->list.count; i++) {
            if (!str_eq(a->list_items[x->list.first + i], b->list_items[y->list.first + i])) {
                return false;
            }
        }
        return true;
    }
    return false;
}

static bool event_eq(const struct event_batch *a, const struct event *x,
                     const struct event_batch *b, const struct event *y)
{
    bool same = str_eq(x->event_id, y->event_id) && str_eq(x->name, y->name) &&
                str_eq(x->user_id, y->user_id) && str_eq(x->anonymous_id, y->anonymous_id) &&
                x->time_ms == y->time_ms && x->status == y->status &&
                str_eq(x->reason, y->reason) && x->line == y->line &&
                x->prop_count == y->prop_count;
    for (uint32_t i = 0; same && i < x->prop_count; i++) {
        same = prop_eq(a, &a->props[x->prop_first + i], b, &b->props[y->prop_first + i]);
    }
    return same;
}

/* With may_have_zero a body with a zero byte anywhere is not judged: a text may hold it. */
static void compare(struct str body, bool may_have_zero, uint64_t seed, uint64_t *compared)
{
    struct ingest_opts opts = {.now_ms = NOW, .event_bytes_max = 1 << 20};
    struct event_batch *want = NULL, *got = NULL;
    struct err want_err = {0}, got_err = {0};
    /* a copy of exactly this size, so that a sanitizer sees a read past the end */
    char *exact = malloc(body.len + (body.len == 0));
    memcpy(exact, body.ptr == NULL ? "" : body.ptr, body.len);
    enum err_code want_code = by_protobuf_c((struct str){exact, body.len}, &opts, &want, &want_err);
    enum err_code got_code =
        ingest_parse(INGEST_PROTOBUF, (struct str){exact, body.len}, &opts, &got, &got_err);
    free(exact);
    bool is_same = want_code == got_code;
    if (is_same && want_code == ERR_OK) {
        is_same = want->event_count == got->event_count;
        for (uint32_t i = 0; is_same && i < want->event_count; i++) {
            is_same = event_eq(want, &want->events[i], got, &got->events[i]);
        }
    }
    *compared += is_same && want_code == ERR_OK;
    event_batch_free(want);
    event_batch_free(got);
    if (!is_same && !(may_have_zero && has_zero(body))) {
        fail_msg("seed %llu: protobuf-c gives code %d, the wire reader %d, or their events differ",
                 (unsigned long long)seed, (int)want_code, (int)got_code);
    }
}

static bool body_has_odd_bool(struct str body)
{
    /* Tag 8 in a property with another type than varint: 0x41, 0x42, 0x45 somewhere. */
    for (size_t i = 0; i < body.len; i++) {
        uint8_t byte = (uint8_t)body.ptr[i];
        if (byte == 0x41 || byte == 0x42 || byte == 0x45) {
            return true;
        }
    }
    return false;
}

static void the_wire_reader_equals_protobuf_c_on_random_messages(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    uint64_t compared = 0;
    for (uint64_t trial = 0; trial < 20000; trial++) {
        struct rng rng = rng_init(seed + trial);
        CLEANUP(buf_freep) struct buf body = {0};
        put_batch(&rng, &body);
        compare(buf_as_str(&body), false, seed + trial, &compared);
    }
    assert_true(compared > 18000);
}

static void the_wire_reader_equals_protobuf_c_on_mutated_messages(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    uint64_t compared = 0;
    for (uint64_t trial = 0; trial < 60000; trial++) {
        struct rng rng = rng_init(seed + trial);
        CLEANUP(buf_freep) struct buf body = {0};
        put_batch(&rng, &body);
        mutate(&rng, &body);
        if (!body_has_odd_bool(buf_as_str(&body))) {
            compare(buf_as_str(&body), true, seed + trial, &compared);
        }
    }
    assert_true(compared > 5000);
}

static void a_text_with_a_zero_byte_is_kept_whole(void **state)
{
    (void)state;
    struct ingest_opts opts = {.now_ms = NOW, .event_bytes_max = 1 << 20};
    CLEANUP(buf_freep) struct buf event = {0};
    CLEANUP(buf_freep) struct buf body = {0};
    struct event_batch *batch = NULL;
    struct err err;
    put_bytes(&event, 1, (struct str){"id\0x", 4});
    put_bytes(&event, 3, STR("click"));
    put_bytes(&event, 5, STR("u_1"));
    put_bytes(&body, 2, buf_as_str(&event));
    assert_int_equal(ingest_parse(INGEST_PROTOBUF, buf_as_str(&body), &opts, &batch, &err), ERR_OK);
    assert_int_equal(batch->events[0].status, RECEIPT_PENDING);
    assert_true(str_eq(batch->events[0].event_id, (struct str){"id\0x", 4}));
    event_batch_free(batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wire_reader_equals_protobuf_c_on_random_messages),
        cmocka_unit_test(the_wire_reader_equals_protobuf_c_on_mutated_messages),
        cmocka_unit_test(a_text_with_a_zero_byte_is_kept_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
