/* tests/unit/base/test_str.c - storage/base/str.h and size.h. */
#include "tests/support/claims.h"

#include "storage/base/size.h"
#include "storage/base/str.h"

static void order_is_by_bytes_and_a_prefix_comes_first(void **state)
{
    const struct str sorted[] = {
        {NULL, 0}, {"\0", 1}, STR("A"), STR("a"), STR("ab"), STR("b"), STR("\xc3\xa9"),
    };
    for (size_t i = 0; i < COUNT_OF(sorted); i++) {
        for (size_t j = 0; j < COUNT_OF(sorted); j++) {
            int order = str_cmp(sorted[i], sorted[j]);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            assert_int_equal(str_eq(sorted[i], sorted[j]), i == j);
        }
    }
}

static void starts_and_ends_accept_empty_and_whole(void **state)
{
    struct str none = {NULL, 0};
    struct str abc = STR("abc");
    assert_true(str_starts(abc, none) && str_ends(abc, none) && str_starts(none, none));
    assert_true(str_starts(abc, abc) && str_ends(abc, abc));
    assert_true(str_starts(abc, STR("ab")) && str_ends(abc, STR("bc")));
    assert_false(str_starts(abc, STR("bc")) || str_ends(abc, STR("ab")));
    assert_false(str_starts(abc, STR("abcd")) || str_ends(abc, STR("xabc")));
    assert_int_equal(str_of("four").len, 4);
}

static void sizes_fit_or_say_so(void **state)
{
    size_t ret = 77;
    assert_true(size_add(SIZE_MAX - 1, 1, &ret) && ret == SIZE_MAX);
    assert_false(size_add(SIZE_MAX, 1, &ret));
    assert_true(size_mul(SIZE_MAX / 2, 2, &ret) && ret == SIZE_MAX - 1);
    assert_false(size_mul(SIZE_MAX / 2 + 1, 2, &ret));
    assert_true(size_mul(0, SIZE_MAX, &ret) && ret == 0);
    assert_true(size_align(0, 64, &ret) && ret == 0);
    assert_true(size_align(1, 64, &ret) && ret == 64);
    assert_true(size_align(64, 64, &ret) && ret == 64);
    assert_true(size_align(SIZE_MAX - 63, 64, &ret) && ret == SIZE_MAX - 63);
    assert_false(size_align(SIZE_MAX - 62, 64, &ret));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_by_bytes_and_a_prefix_comes_first),
        cmocka_unit_test(starts_and_ends_accept_empty_and_whole),
        cmocka_unit_test(sizes_fit_or_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
