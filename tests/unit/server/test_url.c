/* tests/unit/server/test_url.c - URL parameters, Accept headers, base64, and the routes. */
#include "server/routes.h"
#include "server/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static struct err err;
static struct arena *arena;
static struct url_params params;

static int make_arena(void **state)
{
    (void)state;
    arena = arena_create(NULL);
    return 0;
}

static int free_arena(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

static enum err_code parse(const char *query)
{
    return url_params_parse(str_of(query), arena, &params, &err);
}

static void param_is(const char *name, const char *want)
{
    const struct str *value = url_param(&params, name);
    assert_non_null(value);
    assert_true(str_eq(*value, str_of(want)));
}

static void parameters_are_split_and_decoded(void **state)
{
    (void)state;
    assert_int_equal(parse("a=1&b=x+y%20z&&c&d=%C3%a9%3D%26=&e="), ERR_OK);
    assert_int_equal(params.count, 5);
    param_is("a", "1");
    param_is("b", "x y z");
    param_is("c", "");
    param_is("d", "\xc3\xa9=&=");
    param_is("e", "");
    assert_null(url_param(&params, "f"));
    assert_int_equal(parse(""), ERR_OK);
    assert_int_equal(params.count, 0);
}

static void broken_parameters_are_refused(void **state)
{
    (void)state;
    const char *const broken[] = {"a=%", "a=%1",  "a=%zz",   "a=%1g",
                                  "%",   "a=%00", "a=1&a=2", "a=1&%61=2"};
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        assert_int_equal(parse(broken[i]), ERR_INVALID);
    }
    struct buf many = {0};
    for (unsigned i = 0; i <= URL_PARAMS_MAX; i++) {
        buf_printf(&many, "p%u=1&", i);
    }
    buf_u8(&many, '\0');
    assert_int_equal(parse((char *)many.ptr), ERR_INVALID);
    buf_done(&many);
}

static void an_unknown_parameter_is_named(void **state)
{
    (void)state;
    const char *const known[] = {"dataset", "wait"};
    assert_int_equal(parse("dataset=a"), ERR_OK);
    assert_int_equal(url_params_check(&params, known, 2, &err), ERR_OK);
    assert_int_equal(parse("datset=a"), ERR_OK);
    assert_int_equal(url_params_check(&params, known, 2, &err), ERR_INVALID);
    assert_string_equal(err.message,
                        "unknown parameter \"datset\" in the URL; there are: dataset, wait");
}

static void typed_parameters_take_only_their_type(void **state)
{
    (void)state;
    bool flag = false;
    uint64_t number = 0;
    assert_int_equal(
        parse("y=1&n=0&e=&x=maybe&u=250&z=0&big=251&neg=-1&long=1000000000000000000000"), ERR_OK);
    assert_int_equal(url_param_bool(&params, "y", &flag, &err), ERR_OK);
    assert_true(flag);
    assert_int_equal(url_param_bool(&params, "n", &flag, &err), ERR_OK);
    assert_false(flag);
    assert_int_equal(url_param_bool(&params, "e", &flag, &err), ERR_OK);
    assert_true(flag);
    assert_int_equal(url_param_bool(&params, "absent", &flag, &err), ERR_OK);
    assert_false(flag);
    assert_int_equal(url_param_bool(&params, "x", &flag, &err), ERR_INVALID);
    assert_int_equal(url_param_uint(&params, "u", 250, 7, &number, &err), ERR_OK);
    assert_int_equal(number, 250);
    assert_int_equal(url_param_uint(&params, "absent", 250, 7, &number, &err), ERR_OK);
    assert_int_equal(number, 7);
    const char *const wrong[] = {"z", "big", "neg", "long", "e", "x"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        assert_int_equal(url_param_uint(&params, wrong[i], 250, 7, &number, &err), ERR_INVALID);
    }
}

static void accept_headers_are_weighed(void **state)
{
    (void)state;
    assert_int_equal(accept_quality(STR("gzip, deflate, br"), STR("gzip")), 1000);
    assert_int_equal(accept_quality(STR("GZIP;q=0.5"), STR("gzip")), 500);
    assert_int_equal(accept_quality(STR("gzip;q=0"), STR("gzip")), 0);
    assert_int_equal(accept_quality(STR("*;q=0.2"), STR("gzip")), 200);
    assert_int_equal(accept_quality(STR("*, gzip;q=0"), STR("gzip")), 0);
    assert_int_equal(accept_quality(STR("identity"), STR("gzip")), 0);
    assert_int_equal(accept_quality(STR(""), STR("gzip")), 0);
    assert_int_equal(
        accept_quality(STR("text/*;q=0.3, text/csv;q=0.25, */*;q=0.9"), STR("text/csv")), 250);
    assert_int_equal(accept_quality(STR("text/*;q=0.3, */*;q=0.9"), STR("text/csv")), 300);
    assert_int_equal(accept_quality(STR("text/*;q=0.3, */*;q=0.9"), STR("application/json")), 900);
    assert_int_equal(accept_quality(STR(",;, text/csv ;q=1.0"), STR("text/csv")), 1000);
    assert_true(
        str_eq(media_type(STR(" application/json ; charset=utf-8")), STR("application/json")));
    assert_int_equal(media_type(STR("")).len, 0);
}

static void base64_is(const char *text, const char *want, size_t want_len)
{
    struct str out = {0};
    assert_int_equal(url_base64(str_of(text), arena, &out, &err), ERR_OK);
    assert_int_equal(out.len, want_len);
    assert_memory_equal(out.ptr, want, want_len);
}

static void base64_reads_both_alphabets_padded_or_not(void **state)
{
    (void)state;
    base64_is("", "", 0);
    base64_is("Zg", "f", 1);
    base64_is("Zg==", "f", 1);
    base64_is("Zm9vYmFy", "foobar", 6);
    base64_is("-_-_", "\xfb\xff\xbf", 3);
    base64_is("+/+/", "\xfb\xff\xbf", 3);
    struct str out = {0};
    assert_int_equal(url_base64(STR("Zm9vY"), arena, &out, &err), ERR_INVALID);
    assert_int_equal(url_base64(STR("Zm 9v"), arena, &out, &err), ERR_INVALID);
    assert_int_equal(url_base64(STR("Zg=="
                                    "Zg=="),
                                arena, &out, &err),
                     ERR_INVALID);
}

static void routes_match_whole_paths_and_their_methods(void **state)
{
    (void)state;
    const struct route *query = route_find(STR("/v1/query"));
    assert_non_null(query);
    assert_true(route_allows(query, STR("GET")));
    assert_true(route_allows(query, STR("HEAD")));
    assert_true(route_allows(query, STR("POST")));
    assert_false(route_allows(query, STR("PUT")));
    assert_false(route_allows(query, STR("POS")));
    assert_false(route_allows(query, STR("")));
    assert_false(route_allows(query, STR("GET, POST")));
    assert_false(route_allows(route_find(STR("/v1/events")), STR("HEAD")));
    assert_null(route_find(STR("/v1/query/")));
    assert_null(route_find(STR("/v1/quer")));
    assert_null(route_find(STR("/")));
    assert_null(route_find(STR("")));
    assert_string_equal(route_label(route_idx(query)), "query");
    assert_string_equal(route_label(route_idx(NULL)), "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_split_and_decoded),
        cmocka_unit_test(broken_parameters_are_refused),
        cmocka_unit_test(an_unknown_parameter_is_named),
        cmocka_unit_test(typed_parameters_take_only_their_type),
        cmocka_unit_test(accept_headers_are_weighed),
        cmocka_unit_test(base64_reads_both_alphabets_padded_or_not),
        cmocka_unit_test(routes_match_whole_paths_and_their_methods),
    };
    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
