/* protobuf messages as JSON and back: the mapping's rules, errors, and hostile text. */
#include "server/rpc_json.h"
#include "storage/base/rng.h"

#include "server/proto_api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/claims.h"

static struct err err;

static void assert_round_trip(const ProtobufCMessageDescriptor *descriptor, const char *in,
                              const char *want)
{
    struct arena *arena = arena_create(NULL);
    ProtobufCMessage *message = NULL;
    if (rpc_json_read(descriptor, str_of(in), arena, &message, &err) != ERR_OK) {
        fail_msg("%s: %s", in, err.message);
    }
    /* through the wire form, so that what was read is a whole message */
    size_t bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *wire = malloc(bytes + 1);
    assert_int_equal(protobuf_c_message_pack(message, wire), bytes);
    ProtobufCMessage *again = protobuf_c_message_unpack(descriptor, NULL, bytes, wire);
    assert_non_null(again);
    struct buf out = {0};
    rpc_json_write(again, &out);
    buf_u8(&out, 0);
    assert_string_equal((char *)out.ptr, want);
    protobuf_c_message_free_unpacked(again, NULL);
    free(wire);
    buf_done(&out);
    arena_free(arena);
}

static void every_kind_of_field_survives(void **state)
{
    (void)state;
    assert_round_trip(&trackway__v1__ingest_request__descriptor,
                      "{\"dataset\":\"d\",\"batch\":{\"strings\":[\"a\",\"b\\u00e9\"],\"events\":[{"
                      "\"eventId\":\"e\",\"event_time_ms\":\"1717200000123\","
                      "\"properties\":[{\"nameRef\":1,\"numberValue\":0.1},{\"name\":\"i\","
                      "\"intValue\":-7},{\"name\":\"b\",\"boolValue\":false},"
                      "{\"name\":\"l\",\"listValue\":{\"values\":[\"x\"]}},{\"name\":\"t\","
                      "\"timeMsValue\":5}]}]}}",
                      "{\"dataset\":\"d\",\"batch\":{\"strings\":[\"a\",\"b\xc3\xa9\"],\"events\":["
                      "{\"eventId\":\"e\",\"eventTimeMs\":\"1717200000123\","
                      "\"properties\":[{\"nameRef\":1,\"numberValue\":0.1},{\"name\":\"i\","
                      "\"intValue\":\"-7\"},{\"name\":\"b\",\"boolValue\":false},"
                      "{\"name\":\"l\",\"listValue\":{\"values\":[\"x\"]}},{\"name\":\"t\","
                      "\"timeMsValue\":\"5\"}]}]}}");
}

static void maps_are_objects(void **state)
{
    (void)state;
    assert_round_trip(&trackway__v1__query_request__descriptor,
                      "{\"query\":\"q\",\"params\":{\"p\":{\"stringValue\":\"v\"},\"n\":{"
                      "\"numberValue\":\"NaN\"}},\"cacheOff\":true,\"nowMs\":null}",
                      "{\"query\":\"q\",\"params\":{\"p\":{\"stringValue\":\"v\"},\"n\":{"
                      "\"numberValue\":\"NaN\"}},\"cacheOff\":true}");
}

static void enums_are_names_or_numbers(void **state)
{
    (void)state;
    assert_round_trip(&trackway__v1__receipt__descriptor,
                      "{\"status\":\"RECEIPT_STATUS_DUPLICATE\"}",
                      "{\"status\":\"RECEIPT_STATUS_DUPLICATE\"}");
    assert_round_trip(&trackway__v1__receipt__descriptor, "{\"status\":3}",
                      "{\"status\":\"RECEIPT_STATUS_REJECTED\"}");
    assert_round_trip(&trackway__v1__receipt__descriptor, "{\"status\":77}", "{\"status\":77}");
}

static void sixty_four_bits_are_exact(void **state)
{
    (void)state;
    assert_round_trip(&trackway__v1__meta__descriptor,
                      "{\"epoch\":\"18446744073709551615\",\"rowsRead\":9007199254740993}",
                      "{\"epoch\":\"18446744073709551615\",\"rowsRead\":\"9007199254740993\"}");
}

static void wrong_text_is_a_clear_error(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } CASES[] = {
        {"[]", "the body must be a JSON object"},
        {"{\"querry\":\"x\"}", "message QueryRequest has no field \"querry\""},
        {"{\"query\":7}", "field \"query\": expected a string"},
        {"{\"nowMs\":\"soon\"}", "field \"now_ms\": expected a whole number"},
        {"{\"nowMs\":1.5}", "field \"now_ms\": expected a whole number"},
        {"{\"cacheOff\":\"true\"}", "field \"cache_off\": expected true or false"},
        {"{\"params\":[]}", "field \"params\": expected an object"},
    };
    for (size_t i = 0; i < COUNT_OF(CASES); i++) {
        struct arena *arena = arena_create(NULL);
        ProtobufCMessage *message = NULL;
        assert_int_equal(rpc_json_read(&trackway__v1__query_request__descriptor,
                                       str_of(CASES[i].text), arena, &message, &err),
                         ERR_INVALID);
        assert_string_equal(err.message, CASES[i].message);
        arena_free(arena);
    }
}

static void mutated_text_never_crashes(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    static const char FROM[] = "{\"dataset\":\"d\",\"batch\":{\"strings\":[\"a\"],\"events\":[{"
                               "\"eventId\":\"e\",\"eventTimeMs\":\"17\",\"properties\":[{"
                               "\"nameRef\":1,\"listValue\":{\"values\":[\"x\"]}}]}]}}";
    uint64_t good = 0;
    for (uint64_t trial = 0; trial < 20000; trial++) {
        struct rng rng = rng_init(seed + trial);
        char text[sizeof(FROM)];
        memcpy(text, FROM, sizeof(FROM));
        for (uint64_t k = rng_below(&rng, 3); k > 0; k--) {
            text[rng_below(&rng, sizeof(FROM) - 1)] = "{}[]\",:1x"[rng_below(&rng, 9)];
        }
        struct arena *arena = arena_create(NULL);
        ProtobufCMessage *message = NULL;
        if (rpc_json_read(&trackway__v1__ingest_request__descriptor, str_of(text), arena, &message,
                          &err) == ERR_OK) {
            good++;
            assert_true(protobuf_c_message_get_packed_size(message) < sizeof(FROM));
        }
        arena_free(arena);
    }
    assert_true(good > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_field_survives),
        cmocka_unit_test(maps_are_objects),
        cmocka_unit_test(enums_are_names_or_numbers),
        cmocka_unit_test(sixty_four_bits_are_exact),
        cmocka_unit_test(wrong_text_is_a_clear_error),
        cmocka_unit_test(mutated_text_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
