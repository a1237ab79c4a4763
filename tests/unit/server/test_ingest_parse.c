/* Bodies to batches: every rule of an NDJSON line, Segment calls, protobuf, and what hostile bodies
 * get. */
#include "server/ingest_parse.h"
#include "storage/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/claims.h"

#define NOW 1748000000000

static struct err err;

static struct event_batch *parse(enum ingest_shape shape, struct str body, enum err_code want)
{
    struct ingest_opts opts = {.now_ms = NOW, .event_bytes_max = 4096};
    struct event_batch *batch = NULL;
    /* a copy of exactly this size, so that a sanitizer sees a read past the end */
    char *exact = malloc(body.len + 1);
    memcpy(exact, body.ptr, body.len);
    enum err_code code = ingest_parse(shape, (struct str){exact, body.len}, &opts, &batch, &err);
    free(exact);
    if (code != want) {
        fail_msg("code %d, expected %d: %s", (int)code, (int)want, err.message);
    }
    return batch;
}

static struct event_batch *ndjson(const char *body)
{
    return parse(INGEST_NDJSON, str_of(body), ERR_OK);
}

static const struct prop *prop_of(const struct event_batch *batch, uint32_t event, const char *name)
{
    const struct event *e = &batch->events[event];
    for (uint32_t i = 0; i < e->prop_count; i++) {
        const struct prop *prop = &batch->props[e->prop_first + i];
        if (str_eq(batch->names[prop->name_idx], str_of(name))) {
            return prop;
        }
    }
    return NULL;
}

#define assert_str(got, want)                                                                      \
    do {                                                                                           \
        struct str got_ = (got);                                                                   \
        if (!str_eq(got_, str_of(want))) {                                                         \
            fail_msg("got \"%.*s\", expected \"%s\"", (int)got_.len, got_.ptr, want);              \
        }                                                                                          \
    } while (0)

static void a_line_gives_its_keys_and_properties(void **state)
{
    (void)state;
    struct event_batch *b =
        ndjson("{\"event_id\":\"e1\",\"event_time\":1717200000123,\"event_name\":\"pay\",\"user_"
               "id\":\"u\","
               "\"platform\":\"ios\",\"properties\":{\"amount\":12.50,\"ok\":true,\"none\":null,"
               "\"a\":{\"b\":{\"c\":\"deep\"}},\"tags\":[\"x\",1,false],\"raw\":[{\"k\":1}]}}\r\n");
    assert_int_equal(b->event_count, 1);
    assert_int_equal(b->events[0].status, RECEIPT_PENDING);
    assert_str(b->events[0].event_id, "e1");
    assert_str(b->events[0].name, "pay");
    assert_int_equal(b->events[0].time_ms, 1717200000123);
    assert_str(prop_of(b, 0, "platform")->string, "ios");
    assert_int_equal(prop_of(b, 0, "amount")->number.m, 125);
    assert_int_equal(prop_of(b, 0, "amount")->number.scale, 1);
    assert_true(prop_of(b, 0, "ok")->boolean);
    assert_null(prop_of(b, 0, "none"));
    assert_str(prop_of(b, 0, "a.b.c")->string, "deep");
    const struct prop *tags = prop_of(b, 0, "tags");
    assert_int_equal(tags->type, COL_LIST);
    assert_int_equal(tags->list.count, 3);
    assert_str(b->list_items[tags->list.first + 1], "1");
    assert_str(prop_of(b, 0, "raw")->string, "[{\"k\":1}]");
    event_batch_free(b);
}

static void a_name_at_both_places_keeps_both(void **state)
{
    (void)state;
    struct event_batch *b =
        ndjson("{\"properties\":{\"x\":1,\"user_id\":\"inner\"},\"x\":2,\"event_name\":\"e\","
               "\"user_id\":\"u\",\"received_at\":5}\n"
               "{\"properties\":{\"x\":3},\"event_name\":\"e\",\"user_id\":\"u\"}\n");
    assert_int_equal(prop_of(b, 0, "x")->number.m, 2);
    assert_int_equal(prop_of(b, 0, "properties.x")->number.m, 1);
    assert_str(prop_of(b, 0, "properties.user_id")->string, "inner");
    assert_int_equal(prop_of(b, 0, "properties.received_at")->number.m, 5);
    assert_int_equal(prop_of(b, 1, "x")->number.m, 3); /* the clash was the other event's */
    assert_null(prop_of(b, 1, "properties.x"));
    event_batch_free(b);
}

static void times_are_ms_seconds_or_iso(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t want;
    } CASES[] = {{"1717200000123", 1717200000123},
                 {"1717200000", 1717200000000},
                 {"1717200000.5", 1717200000500},
                 {"\"2024-06-01T00:00:00Z\"", 1717200000000},
                 {"\"2024-06-01T08:00:00.25+08:00\"", 1717200000250},
                 {"null", NOW},
                 {"99999999999", 99999999999000},
                 {"100000000000", 100000000000}};
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        char line[256];
        snprintf(line, sizeof(line), "{\"event_name\":\"e\",\"user_id\":\"u\",\"event_time\":%s}",
                 CASES[i].text);
        struct event_batch *b = ndjson(line);
        if (b->events[0].time_ms != CASES[i].want) {
            fail_msg("%s gave %lld", CASES[i].text, (long long)b->events[0].time_ms);
        }
        event_batch_free(b);
    }
    struct event_batch *b = ndjson("{\"event_name\":\"e\",\"user_id\":\"u\"}");
    assert_int_equal(b->events[0].time_ms, NOW);
    event_batch_free(b);
}

static void a_broken_line_never_takes_others_with_it(void **state)
{
    (void)state;
    struct event_batch *b =
        ndjson("{\"event_name\":\"a\",\"user_id\":\"u\"}\n"
               "{\"event_name\":\"b\",\"user_id\":\n"
               "\n"
               "[1,2]\n"
               "{\"event_name\":\"c\",\"user_id\":\"u\"} trailing\n"
               "{\"event_name\":7,\"user_id\":\"u\"}\n"
               "{\"event_name\":\"d\"}\n"
               "{\"event_name\":\"e\",\"user_id\":\"null\"}\n"
               "{\"event_name\":\"f\",\"user_id\":\"u\",\"event_time\":\"yesterday\"}\n"
               "{\"event_name\":\"g\",\"user_id\":{\"a\":1}}\n"
               "{\"event_name\":\"h\xff\",\"user_id\":\"u\"}\n"
               "{\"event_name\":\"z\",\"user_id\":42}");
    assert_int_equal(b->event_count, 11);
    for (uint32_t i = 0; i < b->event_count; i++) {
        bool is_good = i == 0 || i == b->event_count - 1;
        assert_int_equal(b->events[i].status, is_good ? RECEIPT_PENDING : RECEIPT_REJECTED);
        assert_true(is_good || b->events[i].reason.len > 0);
    }
    assert_int_equal(b->events[2].line, 4); /* the blank line counts as a line of the body */
    assert_str(b->events[10].user_id, "42");
    event_batch_free(b);
}

static void an_event_over_the_limit_is_rejected_in_its_receipt(void **state)
{
    (void)state;
    char *body = malloc(20000);
    int n = snprintf(body, 20000,
                     "{\"event_name\":\"a\",\"user_id\":\"u\",\"x\":\"%0*d\"}\n{\"event_name\":"
                     "\"b\",\"user_id\":\"u\"}",
                     9000, 1);
    struct event_batch *b = parse(INGEST_NDJSON, (struct str){body, (size_t)n}, ERR_OK);
    assert_int_equal(b->events[0].status, RECEIPT_REJECTED);
    assert_non_null(strstr(b->events[0].reason.ptr, "the limit is 4096"));
    assert_int_equal(b->events[1].status, RECEIPT_PENDING);
    event_batch_free(b);
    free(body);
}

static void a_body_that_is_no_ndjson_fails_whole(void **state)
{
    (void)state;
    static const char *const BODIES[] = {
        "",          "\n\n",     "hello", "[{\"event_name\":\"a\"}]",
        "{not json", "\"text\"", "12",    "{\n\"event_name\"\n:1}"};
    for (size_t i = 0; i < COUNT_OF(BODIES); i++) {
        assert_null(parse(INGEST_NDJSON, str_of(BODIES[i]), ERR_INVALID));
    }
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    char body[2000] = "{\"event_name\":\"a\",\"user_id\":\"u\"}\n{\"a\":";
    size_t n = strlen(body);
    memset(body + n, '[', 1000);
    body[n + 1000] = 0;
    struct event_batch *b = ndjson(body);
    assert_int_equal(b->events[1].status, RECEIPT_REJECTED);
    event_batch_free(b);
}

static void the_last_of_duplicate_keys_wins(void **state)
{
    (void)state;
    struct event_batch *b = ndjson(
        "{\"event_name\":\"a\",\"event_name\":\"b\",\"user_id\":\"u\",\"x\":1,\"x\":\"two\"}");
    assert_str(b->events[0].name, "b");
    assert_str(prop_of(b, 0, "x")->string, "two");
    assert_int_equal(b->events[0].prop_count, 1);
    event_batch_free(b);
}

static void escapes_are_undone(void **state)
{
    (void)state;
    struct event_batch *b = ndjson("{\"event_name\":\"a\\\"\\u00e9\\ud83d\\ude00\\n\",\"user_id\":"
                                   "\"u\",\"k\\u0065y\":\"\\\\\"}");
    assert_str(b->events[0].name, "a\"\xc3\xa9\xf0\x9f\x98\x80\n");
    assert_str(prop_of(b, 0, "key")->string, "\\");
    event_batch_free(b);
}

static void segment_calls_become_events(void **state)
{
    (void)state;
    struct event_batch *b =
        parse(INGEST_SEGMENT_BATCH,
              STR("{\"writeKey\":\"k\",\"sentAt\":\"x\",\"batch\":["
                  "{\"type\":\"track\",\"event\":\"Paid\",\"userId\":\"u1\",\"messageId\":\"m1\","
                  "\"timestamp\":\"2024-01-01T00:00:00.000Z\",\"properties\":{\"total\":5},"
                  "\"context\":{\"ip\":\"1.2.3.4\"},\"integrations\":{\"All\":true}},"
                  "{\"type\":\"identify\",\"anonymousId\":\"a\",\"messageId\":\"m2\",\"traits\":{"
                  "\"plan\":\"pro\"}},"
                  "{\"type\":\"track\",\"userId\":\"u1\",\"messageId\":\"m3\"},"
                  "{\"type\":\"page\",\"userId\":\"u1\",\"name\":\"Home\"},"
                  "{\"type\":\"dance\",\"userId\":\"u1\"}, 7]}"),
              ERR_OK);
    assert_int_equal(b->event_count, 6);
    assert_str(b->events[0].name, "Paid");
    assert_int_equal(b->events[0].time_ms, 1704067200000);
    assert_int_equal(prop_of(b, 0, "total")->number.m, 5);
    assert_str(prop_of(b, 0, "context.ip")->string, "1.2.3.4");
    assert_null(prop_of(b, 0, "integrations.All"));
    assert_str(b->events[1].name, "identify");
    assert_str(prop_of(b, 1, "traits.plan")->string, "pro");
    assert_int_equal(b->events[2].status, RECEIPT_REJECTED);
    assert_str(prop_of(b, 3, "name")->string, "Home");
    assert_int_equal(b->events[4].status, RECEIPT_REJECTED);
    assert_int_equal(b->events[5].status, RECEIPT_REJECTED);
    event_batch_free(b);
    b = parse(INGEST_SEGMENT_SINGLE, STR("{\"event\":\"Paid\",\"userId\":\"u1\"}"), ERR_OK);
    assert_str(b->events[0].name, "Paid");
    event_batch_free(b);
    assert_null(parse(INGEST_SEGMENT_SINGLE, STR("{not json"), ERR_INVALID));
    assert_null(parse(INGEST_SEGMENT_BATCH, STR("{\"batch\":{}}"), ERR_INVALID));
    assert_null(parse(INGEST_SEGMENT_BATCH, STR("[]"), ERR_INVALID));
}

static void receipts_say_what_became_of_each(void **state)
{
    (void)state;
    struct event_batch *b =
        ndjson("{\"event_id\":\"a\\\"b\",\"event_name\":\"a\",\"user_id\":\"u\"}\n{}\n");
    b->events[0].status = RECEIPT_ACCEPTED;
    struct buf out = {0};
    ingest_receipts_json(b, INGEST_NDJSON, RECEIPTS_ALL, STR("x.dead"), &out);
    buf_u8(&out, 0);
    assert_non_null(
        strstr((char *)out.ptr,
               "{\"accepted\":1,\"duplicate\":0,\"rejected\":1,\"conflict\":0,"
               "\"receipts\":[{\"line\":1,\"event_id\":\"a\\\"b\",\"status\":\"accepted\"},"
               "{\"line\":2,\"status\":\"rejected\",\"reason\":\""));
    buf_clear(&out);
    ingest_receipts_json(b, INGEST_SEGMENT_BATCH, RECEIPTS_REJECTED, STR("x.dead"), &out);
    buf_u8(&out, 0);
    assert_non_null(strstr((char *)out.ptr,
                           "{\"success\":true,\"accepted\":1,\"duplicate\":0,\"rejected\":1,"
                           "\"conflict\":0,\"receipts\":[{\"line\":2,\"status\":\"rejected\""));
    buf_clear(&out);
    ingest_receipts_json(b, INGEST_NDJSON, RECEIPTS_COUNTS, STR("x.dead"), &out);
    buf_u8(&out, 0);
    assert_string_equal((char *)out.ptr,
                        "{\"accepted\":1,\"duplicate\":0,\"rejected\":1,\"conflict\":0}");
    buf_done(&out);
    event_batch_free(b);
}

static void expect_receipts(const struct event_batch *batch, enum ingest_shape shape,
                            enum receipt_list list, const char *dead_letters, const char *want)
{
    struct buf out = {0};
    ingest_receipts_json(batch, shape, list, str_of(dead_letters), &out);
    buf_u8(&out, 0);
    assert_string_equal((char *)out.ptr, want);
    buf_done(&out);
}

static void a_conflict_says_why_and_where_it_is_kept(void **state)
{
    (void)state;
    struct event_batch *b = ndjson("{\"event_id\":\"1\",\"event_name\":\"a\",\"user_id\":\"u\"}\n"
                                   "{\"event_id\":\"2\",\"event_name\":\"a\",\"user_id\":\"u\"}\n"
                                   "{\"event_id\":\"3\",\"event_name\":\"a\",\"user_id\":\"u\"}\n");
    b->events[0].status = RECEIPT_DUPLICATE;
    b->events[1].status = RECEIPT_CONFLICT;
    b->events[1].reason = STR("other \"content\"");
    b->events[2].status = RECEIPT_ACCEPTED;
    expect_receipts(b, INGEST_NDJSON, RECEIPTS_REJECTED, "x.dead",
                    "{\"accepted\":1,\"duplicate\":1,\"rejected\":0,\"conflict\":1,"
                    "\"dead_letters\":\"x.dead\",\"receipts\":[{\"line\":2,\"event_id\":\"2\","
                    "\"status\":\"conflict\",\"reason\":\"other \\\"content\\\"\"}]}");
    expect_receipts(
        b, INGEST_SEGMENT_SINGLE, RECEIPTS_COUNTS, "x.dead",
        "{\"success\":true,\"accepted\":1,\"duplicate\":1,\"rejected\":0,\"conflict\":1,"
        "\"dead_letters\":\"x.dead\"}");
    expect_receipts(b, INGEST_NDJSON, RECEIPTS_COUNTS, "",
                    "{\"accepted\":1,\"duplicate\":1,\"rejected\":0,\"conflict\":1}");
    event_batch_free(b);
}

/* Mutated bodies: any answer will do, but no crash and no read outside; a sanitizer looks on. */
static void mutated_bodies_never_crash(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    static const char *const SEEDS[] = {
        "{\"event_id\":\"e1\",\"event_time\":1717200000123,\"event_name\":\"pay\",\"user_id\":"
        "\"u\",\"properties\":{\"a\":[1,\"x\",{}],\"b\":{\"c\":-1.5e3}}}\n{\"event_name\":\"b\","
        "\"user_id\":\"u\"}",
        "{\"batch\":[{\"type\":\"track\",\"event\":\"P\",\"userId\":\"u\",\"properties\":{\"k\":[]}"
        "}]}",
        "\x0a\x03pay\x12\x0e\x0a\x02"
        "e1\x10\x01\x1a\x03pay\x2a\x01u"};
    for (uint64_t trial = 0; trial < 6000; trial++) {
        struct rng rng = rng_init(seed + trial);
        const char *from = SEEDS[trial % 3];
        size_t len = strlen(from);
        char *body = malloc(len);
        memcpy(body, from, len);
        for (uint64_t k = 1 + rng_below(&rng, 4); k > 0; k--) {
            static const char ODD[] = "{}[]\",:\\\n\xff\x00 0e-";
            body[rng_below(&rng, len)] =
                rng_below(&rng, 2) ? ODD[rng_below(&rng, sizeof(ODD))] : (char)rng_next(&rng);
        }
        struct ingest_opts opts = {.now_ms = NOW, .event_bytes_max = 4096};
        for (int shape = 0; shape <= INGEST_SEGMENT_SINGLE; shape++) {
            struct event_batch *batch = NULL;
            if (ingest_parse((enum ingest_shape)shape, (struct str){body, len - rng_below(&rng, 3)},
                             &opts, &batch, &err) == ERR_OK) {
                assert_non_null(batch);
                event_batch_free(batch);
            } else {
                assert_true(err.message[0] != 0);
            }
        }
        free(body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_gives_its_keys_and_properties),
        cmocka_unit_test(a_name_at_both_places_keeps_both),
        cmocka_unit_test(times_are_ms_seconds_or_iso),
        cmocka_unit_test(a_broken_line_never_takes_others_with_it),
        cmocka_unit_test(an_event_over_the_limit_is_rejected_in_its_receipt),
        cmocka_unit_test(a_body_that_is_no_ndjson_fails_whole),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(the_last_of_duplicate_keys_wins),
        cmocka_unit_test(escapes_are_undone),
        cmocka_unit_test(segment_calls_become_events),
        cmocka_unit_test(receipts_say_what_became_of_each),
        cmocka_unit_test(a_conflict_says_why_and_where_it_is_kept),
        cmocka_unit_test(mutated_bodies_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
