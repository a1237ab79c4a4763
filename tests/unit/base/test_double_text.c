/* tests/unit/base/test_double_text.c - tests of storage/base/double_text.h, against printf and strtod. */
#include "tests/support/claims.h"

#include "storage/base/double_text.h"
#include "storage/base/rng.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* The first precision of %g that reads back. Doubles of the normal range keep 15 digits. */
static void slow_text(double v, char out[64])
{
    for (int digits = fabs(v) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(out, 64, "%.*g", digits, v);
        if (strtod(out, NULL) == v) {
            return;
        }
    }
}

static void expect_as_printf(double v)
{
    char want[64];
    char got[DOUBLE_TEXT_BYTES + 1];
    size_t len = double_text(v, got);
    assert_true(len < DOUBLE_TEXT_BYTES);
    got[len] = '\0';
    slow_text(v, want);
    if (strcmp(got, want) != 0) {
        fail_msg("%.17g: got %s, want %s", v, got, want);
    }
}

static void texts_are_those_that_people_know(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } known[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {1500, "1500"},
        {1e14, "100000000000000"},
        {1e15, "1e+15"},
        {1e20, "1e+20"},
        {1.5e-7, "1.5e-07"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        char got[DOUBLE_TEXT_BYTES + 1];
        got[double_text(known[i].v, got)] = '\0';
        assert_string_equal(got, known[i].text);
    }
}

static void any_double_is_what_printf_finds(void **state)
{
    (void)state;
    struct rng rng = rng_init(test_seed());
    static const double edges[] = {DBL_MAX,
                                   DBL_MIN,
                                   DBL_TRUE_MIN,
                                   DBL_EPSILON,
                                   0x1p53,
                                   0x1p53 + 2,
                                   0x1p63,
                                   9007199254740993.0,
                                   999999999999999.0,
                                   123456789012345678.0,
                                   1.0 / 3,
                                   2.0 / 3,
                                   5e-324,
                                   2.2250738585072011e-308,
                                   9.5,
                                   9.9999999999999995e22};
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        expect_as_printf(edges[i]);
        expect_as_printf(-edges[i]);
    }
    for (uint32_t i = 0; i < 200000; i++) {
        uint64_t bits = rng_next(&rng);
        double v = 0;
        memcpy(&v, &bits, sizeof(v));
        if (isfinite(v)) {
            expect_as_printf(v);
        }
        expect_as_printf((double)rng_below(&rng, 100000) / (double)(1 + rng_below(&rng, 100000)));
        expect_as_printf((double)(int64_t)rng_below(&rng, UINT64_C(1) << 62) / 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_those_that_people_know),
        cmocka_unit_test(any_double_is_what_printf_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
