/* Tests of query/names.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "query/names.h"
#include "tests/support/lang_fixture.h"

static void distance_counts_edits_and_swaps(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        uint32_t distance;
    } cases[] = {
        {"", "", 0},
        {"a", "", 1},
        {"abc", "abc", 0},
        {"abc", "acb", 1},
        {"abc", "ab", 1},
        {"abc", "axc", 1},
        {"abc", "xyz", 3},
        {"ABC", "abc", 0},
        {"withn", "within", 1},
        {"cuont", "count", 1},
        {"abcd", "badc", 2},
        {"ca", "abc", 3},
        {"kitten", "sitting", 3},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct str a = str_of(cases[i].a);
        struct str b = str_of(cases[i].b);
        assert_int_equal(names_distance(a, b, 10), cases[i].distance);
        assert_int_equal(names_distance(b, a, 10), cases[i].distance);
        for (uint32_t max = 0; max < 4; max++) {
            uint32_t want = cases[i].distance > max ? max + 1 : cases[i].distance;
            assert_int_equal(names_distance(a, b, max), want);
        }
    }
}

static void the_nearest_is_near_and_the_first_of_equals(void **state)
{
    (void)state;
    static const struct str items[] = {
        {"page_view", 9}, {"pay_fail", 8}, {"pay_fall", 8}, {"x", 1}};
    struct str near = {0};
    assert_true(names_nearest(items, COUNT_OF(items), STR("pay_fakl"), &near));
    assert_true(str_eq(near, STR("pay_fail")));
    assert_true(names_nearest(items, COUNT_OF(items), STR("Page_View"), &near));
    assert_true(str_eq(near, STR("page_view")));
    assert_false(names_nearest(items, COUNT_OF(items), STR("y"), &near));
    assert_false(names_nearest(items, COUNT_OF(items), STR("register"), &near));
    assert_false(names_nearest(items, 0, STR("x"), &near));
}

static void long_names_get_no_suggestion(void **state)
{
    (void)state;
    char text[NAMES_NEAR_BYTES_MAX + 1];
    memset(text, 'a', sizeof(text));
    struct str longest = {text, NAMES_NEAR_BYTES_MAX};
    struct str longer = {text, NAMES_NEAR_BYTES_MAX + 1};
    assert_int_equal(names_distance(longest, longest, 3), 0);
    assert_int_equal(names_distance(longest, longer, 3), 4);
}

static void the_names_of_all_sources_are_sorted_without_repeats(void **state)
{
    (void)state;
    struct lang_fixture fixture; /* two sources with the same names */
    struct names names = {0};
    struct err err = {0};
    lang_fixture_open(&fixture, false);
    assert_int_equal(names_of_events(&fixture.snapshot, NULL, fixture.arena, &names, &err), ERR_OK);
    assert_int_equal(names.count, 6);
    for (uint32_t i = 1; i < names.count; i++) {
        assert_true(str_cmp(names.items[i - 1], names.items[i]) < 0);
    }
    assert_true(names_has(names, STR("sign up")));
    assert_false(names_has(names, STR("sign")));
    assert_int_equal(names_of_fields(&fixture.snapshot, fixture.arena, &names, &err), ERR_OK);
    assert_true(names_has(names, STR("received_at")));
    assert_true(names_has(names, STR("mixed")));
    assert_int_equal(names.count, 6 + 12);
    lang_fixture_close(&fixture);
}

static void an_empty_snapshot_has_no_event_names(void **state)
{
    (void)state;
    struct lang_fixture fixture;
    struct names names = {0};
    struct err err = {0};
    lang_fixture_open(&fixture, true);
    assert_int_equal(names_of_events(&fixture.snapshot, NULL, fixture.arena, &names, &err), ERR_OK);
    assert_int_equal(names.count, 0);
    assert_false(names_has(names, STR("a")));
    lang_fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distance_counts_edits_and_swaps),
        cmocka_unit_test(the_nearest_is_near_and_the_first_of_equals),
        cmocka_unit_test(long_names_get_no_suggestion),
        cmocka_unit_test(the_names_of_all_sources_are_sorted_without_repeats),
        cmocka_unit_test(an_empty_snapshot_has_no_event_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
