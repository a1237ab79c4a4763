/* tests/unit/server/test_status.c - error codes to HTTP, and errors as JSON. */
#include "server/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void every_code_has_a_status_with_a_reason(void **state)
{
    (void)state;
    for (unsigned code = ERR_INVALID; code <= ERR_NOMEM; code++) {
        const enum door_kind kinds[] = {DOOR_QUERY, DOOR_EVENTS, DOOR_ADMIN, DOOR_BACKUP};
        for (size_t k = 0; k < COUNT_OF(kinds); k++) {
            int status = status_of((enum err_code)code, kinds[k]);
            assert_true(status >= 400 && status < 600);
            assert_string_not_equal(status_reason(status), "Unknown");
        }
    }
}

static void what_to_retry_and_what_to_fix_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(status_of(ERR_INVALID, DOOR_QUERY), 400);
    assert_int_equal(status_of(ERR_NOT_FOUND, DOOR_QUERY), 404);
    assert_int_equal(status_of(ERR_LIMIT, DOOR_QUERY), 422);
    assert_int_equal(status_of(ERR_LIMIT, DOOR_EVENTS), 413);
    assert_int_equal(status_of(ERR_BUSY, DOOR_EVENTS), 429);
    assert_int_equal(status_of(ERR_TIMEOUT, DOOR_QUERY), 504);
    assert_int_equal(status_of(ERR_TIMEOUT, DOOR_EVENTS), 408);
    assert_int_equal(status_of(ERR_BUSY, DOOR_BACKUP), 409);
    assert_int_equal(status_of(ERR_LIMIT, DOOR_BACKUP), 507);
    assert_true(status_is_retryable(429));
    assert_true(status_is_retryable(503));
    assert_false(status_is_retryable(400));
    assert_false(status_is_retryable(500));
}

static void json_is(struct str text, const char *want)
{
    struct buf out = {0};
    json_quote(text, &out);
    buf_u8(&out, '\0');
    assert_string_equal((char *)out.ptr, want);
    buf_done(&out);
}

static void quoting_escapes_and_replaces_what_is_no_utf8(void **state)
{
    (void)state;
    json_is(STR(""), "\"\"");
    json_is(STR("a\"b\\c\n\t\x01"), "\"a\\\"b\\\\c\\n\\u0009\\u0001\"");
    json_is(STR("a\0b"), "\"a\\u0000b\"");
    json_is(STR("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
            "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"");
    /* Overlong, lone continuation, surrogate, above U+10FFFF, cut off: a mark for each byte. */
    json_is(STR("\xc0\xaf"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    json_is(STR("\x80"
                "a"),
            "\"\xef\xbf\xbd"
            "a\"");
    json_is(STR("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    json_is(STR("\xf4\x90\x80\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    json_is(STR("\xe2\x82"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void error_is(const struct err *err, struct str excerpt, const char *want)
{
    struct buf out = {0};
    status_error_json(err, excerpt, &out);
    buf_u8(&out, '\0');
    assert_string_equal((char *)out.ptr, want);
    buf_done(&out);
}

static void an_error_shows_its_place_only_where_it_has_one(void **state)
{
    (void)state;
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "data set \"%s\" does not exist", "x");
    error_is(&err, (struct str){"", 0},
             "{\"error\":{\"code\":\"not_found\",\"message\":\"data set \\\"x\\\" does not "
             "exist\"}}\n");
    err_set_at(&err, ERR_INVALID, 2, 0, "m");
    error_is(&err, (struct str){"", 0},
             "{\"error\":{\"code\":\"invalid\",\"message\":\"m\",\"line\":2}}\n");
    err_set_at(&err, ERR_INVALID, 1, 3, "m");
    error_is(&err, STR("ab\n  ^"),
             "{\"error\":{\"code\":\"invalid\",\"message\":\"m\",\"line\":1,\"column\":3,"
             "\"excerpt\":\"ab\\n  ^\"}}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_status_with_a_reason),
        cmocka_unit_test(what_to_retry_and_what_to_fix_are_told_apart),
        cmocka_unit_test(quoting_escapes_and_replaces_what_is_no_utf8),
        cmocka_unit_test(an_error_shows_its_place_only_where_it_has_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
