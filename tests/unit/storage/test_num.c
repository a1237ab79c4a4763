/* tests/unit/storage/test_num.c - the edges of numbers; prop_num.c holds them against a model. */
#include "storage/num.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct num parse(const char *text)
{
    struct num n = {0};
    if (!num_parse(str_of(text), &n)) {
        fail_msg("\"%s\" is refused", text);
    }
    return n;
}

static struct num of_double(double v)
{
    struct num n = {0};
    assert_true(num_double(v, &n));
    return n;
}

static void assert_number(struct num n, int64_t m, uint8_t scale)
{
    assert_int_equal(n.scale, scale);
    assert_int_equal(n.m, m);
}

static void assert_text(struct num n, const char *want)
{
    CLEANUP(buf_freep) struct buf out = {0};
    num_format(n, &out);
    buf_u8(&out, 0);
    assert_string_equal((const char *)out.ptr, want);
}

static void assert_total(const struct num_sum *sum, const char *want)
{
    CLEANUP(buf_freep) struct buf out = {0};
    num_total_format(num_sum_total(sum), &out);
    buf_u8(&out, 0);
    assert_string_equal((const char *)out.ptr, want);
}

static void text_becomes_a_decimal_in_lowest_terms(void **state)
{
    (void)state;
    assert_number(parse("0"), 0, 0);
    assert_number(parse("-0.000e99999999999999999999"), 0, 0);
    assert_number(parse("12.50"), 125, 1);
    assert_number(parse("-0.01"), -1, 2);
    assert_number(parse("1.5E3"), 1500, 0);
    assert_number(parse("1500e-3"), 15, 1);
    assert_number(parse("9223372036854775807"), INT64_MAX, 0);
    assert_number(parse("-9223372036854775808"), INT64_MIN, 0);
    assert_number(parse("0.000000000000000001"), 1, 18);
    assert_number(parse("-9.223372036854775808"), INT64_MIN, 18);
    assert_number(parse("1e18"), INT64_C(1000000000000000000), 0);
    assert_number(parse("10000000000000000000000000000000000000e-37"), 1, 0);
    assert_number(num_decimal(1200, 3), 12, 1);
    assert_number(num_decimal(0, 18), 0, 0);
    assert_number(num_int(-7), -7, 0);
}

static void text_beyond_decimals_becomes_the_nearest_double(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "9223372036854775808",
        "-9223372036854775809",
        "1e19",
        "1e-19",
        "1e300",
        "-4.9e-324",
        "1.5e-200",
        "123456789012345678901234567890",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct num n = parse(texts[i]);
        assert_int_equal(n.scale, NUM_DOUBLE);
        assert_true(num_to_double(n) == strtod(texts[i], NULL));
    }
    assert_number(parse("1e-400"), 0, 0); /* the nearest double is zero */
    /* A double is one number, however many digits named it. */
    assert_number(parse("0.1000000000000000055511151231257827"), 1, 1);
}

static void text_of_many_digits_is_rounded_once(void **state)
{
    (void)state;
    CLEANUP(buf_freep) struct buf text = {0};
    struct num n = {0};
    buf_z(&text, "1."); /* half way between 1 and its neighbour, in 53 digits */
    buf_z(&text, "00000000000000011102230246251565404236316680908203125");
    assert_true(num_parse(buf_as_str(&text), &n));
    assert_true(num_to_double(n) == 1.0);
    for (int i = 0; i < 2000; i++) {
        buf_z(&text, "0");
    }
    buf_z(&text, "1");
    assert_true(num_parse(buf_as_str(&text), &n));
    assert_true(num_to_double(n) == 1.0 + DBL_EPSILON);
}

static void text_that_is_no_json_number_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",   "-",  "+1",  "01",  "-01", ".5",   "5.",  "1e",   "1e+",   "1.e5",     "0x10",
        " 1", "1 ", "1,5", "nan", "inf", "1e5x", "--1", "1..2", "1e1.5", "Infinity", "1_000",
    };
    struct num n = {0};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (num_parse(str_of(texts[i]), &n)) {
            fail_msg("\"%s\" is taken", texts[i]);
        }
    }
    assert_false(num_parse(STR("1e309"), &n));
    assert_false(num_parse(STR("-1e99999999999999999999999"), &n));
    assert_false(num_parse((struct str){"1\0", 2}, &n));
}

static void double_is_its_shortest_decimal(void **state)
{
    (void)state;
    assert_number(of_double(0.1), 1, 1);
    assert_number(of_double(-12.5), -125, 1);
    assert_number(of_double(-0.0), 0, 0);
    assert_number(of_double(0x1p53), INT64_C(9007199254740992), 0);
    assert_number(of_double(0x1p60), INT64_C(1152921504606847000), 0); /* as JavaScript prints it */
    assert_number(of_double(0.30000000000000004), INT64_C(30000000000000004), 17);
    assert_number(of_double(1e-7), 1, 7);
    assert_int_equal(of_double(1e30).scale, NUM_DOUBLE);
    assert_int_equal(of_double(DBL_TRUE_MIN).scale, NUM_DOUBLE);
    struct num n = {0};
    assert_false(num_double((double)INFINITY, &n));
    assert_false(num_double((double)NAN, &n));
}

static void number_formats_as_text_that_reads_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",      "12.5",  "-0.01",  "1e+30", "-9223372036854775808",  "0.000000000000000001",
        "5e-324", "1e-19", "100000", "-1",    "-9.223372036854775808", "1.7976931348623157e+308",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_text(parse(texts[i]), texts[i]);
    }
}

static void order_is_exact_between_decimals_and_doubles(void **state)
{
    (void)state;
    /* Ascending; neighbours differ by less than a double can tell. */
    static const char *const texts[] = {
        "-1e300",
        "-9223372036854775809000",
        "-9223372036854775808",
        "-9223372036854775807",
        "-1",
        "-1e-18",
        "-1e-19",
        "-5e-324",
        "0",
        "5e-324",
        "9.9e-19",
        "1e-18",
        "0.1",
        "0.100000000000000001",
        "1",
        "1.000000000000000001",
        "9007199254740992",
        "9007199254740993",
        "9223372036854775806",
        "9223372036854775807",
        "9223372036854775808",
        "1e19",
        "1e300",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        for (size_t j = 0; j < COUNT_OF(texts); j++) {
            int order = num_cmp(parse(texts[i]), parse(texts[j]));
            if ((order > 0) - (order < 0) != (i > j) - (i < j)) {
                fail_msg("%s against %s: %d", texts[i], texts[j], order);
            }
        }
    }
}

static void decimal_sums_are_exact_across_scales(void **state)
{
    (void)state;
    struct num_sum sum;
    num_sum_init(&sum);
    assert_total(&sum, "0");
    for (int i = 0; i < 10; i++) {
        num_sum_add(&sum, parse("0.1"));
    }
    assert_total(&sum, "1");
    num_sum_add(&sum, parse("0.000000000000000001"));
    num_sum_add(&sum, parse("9223372036854775807"));
    assert_total(&sum, "9223372036854775808.000000000000000001");
    num_sum_add(&sum, parse("-9223372036854775807"));
    num_sum_add(&sum, parse("-1"));
    assert_total(&sum, "0.000000000000000001");
    assert_int_equal(sum.count, 14);
    assert_true(num_sum_total(&sum).approx == 1e-18);
}

static void bulk_sum_equals_the_sum_one_by_one(void **state)
{
    (void)state;
    struct num_sum bulk;
    num_sum_init(&bulk);
    num_sum_add_decimal(&bulk, (__int128)INT64_MAX * 1000, 2, 1000);
    assert_total(&bulk, "92233720368547758070");
    assert_int_equal(bulk.count, 1000);
}

static void total_beyond_38_digits_is_the_nearest_double(void **state)
{
    (void)state;
    struct num_sum sum;
    num_sum_init(&sum);
    num_sum_add_decimal(&sum, (__int128)1 << 126, 0, UINT64_C(1) << 63); /* 8.5e37: 38 digits */
    assert_total(&sum, "85070591730234615865843651857942052864");
    num_sum_add_decimal(&sum, (__int128)1 << 125, 0, UINT64_C(1) << 62); /* 1.3e38: 39 */
    assert_false(num_sum_total(&sum).is_decimal);
    assert_true(num_sum_total(&sum).approx == 0x1.8p126);
}

static void total_of_39_digits_with_zeroes_behind_the_point_fits(void **state)
{
    (void)state;
    struct num_sum sum;
    num_sum_init(&sum);
    /* 10^37 units and 10^19 units of 10^-18 = 10: the way over scale 18 needs 56 digits, the
     * end 38. */
    __int128 ten37 = 1;
    for (int i = 0; i < 37; i++) {
        ten37 *= 10;
    }
    num_sum_add_decimal(&sum, ten37, 0, UINT64_C(1) << 62);
    num_sum_add_decimal(&sum, (__int128)10 * 1000000000000000000, 18, 10);
    struct num_total total = num_sum_total(&sum);
    assert_true(total.is_decimal);
    assert_int_equal(total.scale, 0);
    assert_true(total.m == ten37 + 10);
    num_sum_add(&sum, parse("0.000000000000000001"));
    total = num_sum_total(&sum);
    assert_false(total.is_decimal);
    assert_true(total.approx == 1e37);
}

static void doubles_cancel_without_a_trace(void **state)
{
    (void)state;
    struct num_sum sum;
    num_sum_init(&sum);
    num_sum_add(&sum, of_double(1e300));
    num_sum_add(&sum, parse("0.1"));
    num_sum_add(&sum, of_double(5e-324));
    num_sum_add(&sum, of_double(-1e300));
    assert_total(&sum, "0.1");
    num_sum_add(&sum, parse("-0.1"));
    assert_total(&sum, "5e-324");
    num_sum_add(&sum, of_double(-5e-324));
    assert_total(&sum, "0");
    assert_false(num_sum_total(&sum).is_decimal);
}

static void total_beyond_all_doubles_is_the_largest(void **state)
{
    (void)state;
    struct num_sum sum;
    num_sum_init(&sum);
    for (int i = 0; i < 1000; i++) {
        num_sum_add(&sum, of_double(-DBL_MAX));
    }
    assert_true(num_sum_total(&sum).approx == -DBL_MAX);
    for (int i = 0; i < 999; i++) {
        num_sum_add(&sum, of_double(DBL_MAX));
    }
    assert_true(num_sum_total(&sum).approx == -DBL_MAX);
    num_sum_add(&sum, of_double(DBL_MAX));
    assert_total(&sum, "0");
}

static void limbs_carry_before_they_overflow(void **state)
{
    (void)state;
    struct num_sum sum;
    num_sum_init(&sum);
    num_sum_add(&sum, of_double(0x1p100));
    /* As near to the bound as additions could have brought it. */
    sum.limbs[36] = (INT64_C(1) << 62) - 1;
    struct num_sum other = sum;
    struct num big = of_double(0x1.fffffffffffffp110);
    for (int i = 0; i < 1000; i++) {
        num_sum_add(&sum, big);
    }
    for (int i = 0; i < 1000; i++) {
        num_sum_add(&sum, of_double(-0x1.fffffffffffffp110));
    }
    assert_true(num_sum_total(&sum).approx == num_sum_total(&other).approx);
    num_sum_merge(&sum, &other);
    assert_true(num_sum_total(&sum).approx == 2 * num_sum_total(&other).approx);
}

static void merge_is_the_sum_of_both(void **state)
{
    (void)state;
    struct num_sum a;
    struct num_sum b;
    num_sum_init(&a);
    num_sum_init(&b);
    num_sum_add(&b, parse("1.25"));
    num_sum_add(&b, parse("1e40"));
    num_sum_merge(&a, &b);
    num_sum_merge(&a, &b);
    assert_int_equal(a.count, 4);
    assert_total(&a, "2e+40");
    num_sum_add(&a, parse("-1e40"));
    num_sum_add(&a, parse("-1e40"));
    assert_total(&a, "2.5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_a_decimal_in_lowest_terms),
        cmocka_unit_test(text_beyond_decimals_becomes_the_nearest_double),
        cmocka_unit_test(text_of_many_digits_is_rounded_once),
        cmocka_unit_test(text_that_is_no_json_number_is_refused),
        cmocka_unit_test(double_is_its_shortest_decimal),
        cmocka_unit_test(number_formats_as_text_that_reads_back),
        cmocka_unit_test(order_is_exact_between_decimals_and_doubles),
        cmocka_unit_test(decimal_sums_are_exact_across_scales),
        cmocka_unit_test(bulk_sum_equals_the_sum_one_by_one),
        cmocka_unit_test(total_beyond_38_digits_is_the_nearest_double),
        cmocka_unit_test(total_of_39_digits_with_zeroes_behind_the_point_fits),
        cmocka_unit_test(doubles_cancel_without_a_trace),
        cmocka_unit_test(total_beyond_all_doubles_is_the_largest),
        cmocka_unit_test(limbs_carry_before_they_overflow),
        cmocka_unit_test(merge_is_the_sum_of_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
