/* tests/prop/prop_num.c - numbers against an exact model: decimal digits, by hand.
 *
 * The model writes a number as 1440 decimal digits, 360 before the point and 1080 behind it: every
 * double and every decimal of ours is a whole number of 10^-1080. It adds, compares and halves
 * digit group by digit group, as on paper, and shares no idea with storage/num.c. Rounding is
 * glibc's: its strtod of the exact text is correctly rounded. */
#include "storage/base/rng.h"
#include "storage/num.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/claims.h"

/* -- the model ------------------------------------------------------------------------------------
 */

#define GROUPS          160 /* of nine digits, the most significant first */
#define GROUPS_FRACTION 120
#define GROUP_BASE      1000000000u
#define DIGITS          (9 * GROUPS)
#define DIGITS_FRACTION (9 * GROUPS_FRACTION)

struct model {
    bool is_negative;
    uint32_t group[GROUPS];
};

static void model_times(struct model *m, uint32_t factor)
{
    uint64_t carry = 0;
    for (int i = GROUPS - 1; i >= 0; i--) {
        carry += (uint64_t)m->group[i] * factor;
        m->group[i] = (uint32_t)(carry % GROUP_BASE);
        carry /= GROUP_BASE;
    }
    assert_int_equal(carry, 0);
}

static void model_divide(struct model *m, uint32_t divisor)
{
    uint64_t rest = 0;
    for (int i = 0; i < GROUPS; i++) {
        rest = rest * GROUP_BASE + m->group[i];
        m->group[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    assert_int_equal(rest, 0); /* 1080 places are enough for all that is asked of the model */
}

static struct model model_of_integer(unsigned __int128 magnitude, bool is_negative)
{
    struct model m = {.is_negative = is_negative};
    for (int i = GROUPS - GROUPS_FRACTION - 1; magnitude != 0; i--) {
        m.group[i] = (uint32_t)(magnitude % GROUP_BASE);
        magnitude /= GROUP_BASE;
    }
    return m;
}

static struct model model_of(struct num n)
{
    if (n.scale != NUM_DOUBLE) {
        uint64_t magnitude = n.m < 0 ? 0 - (uint64_t)n.m : (uint64_t)n.m;
        struct model m = model_of_integer(magnitude, n.m < 0);
        for (int i = 0; i < n.scale; i++) {
            model_divide(&m, 10);
        }
        return m;
    }
    int exponent = 0;
    double v = num_to_double(n);
    double fraction = frexp(fabs(v), &exponent);
    struct model m = model_of_integer((uint64_t)ldexp(fraction, 53), v < 0);
    exponent -= 53;
    for (; exponent > 0; exponent--) {
        model_times(&m, 2);
    }
    /* A subnormal's low bits are zero, so halving ends before the places do. */
    for (; exponent < 0; exponent++) {
        model_divide(&m, 2);
    }
    return m;
}

static int model_cmp_magnitude(const struct model *a, const struct model *b)
{
    for (int i = 0; i < GROUPS; i++) {
        if (a->group[i] != b->group[i]) {
            return a->group[i] < b->group[i] ? -1 : 1;
        }
    }
    return 0;
}

static bool model_is_zero(const struct model *m)
{
    struct model zero = {0};
    return model_cmp_magnitude(m, &zero) == 0;
}

static int model_cmp(const struct model *a, const struct model *b)
{
    if (model_is_zero(a) && model_is_zero(b)) {
        return 0;
    }
    if (a->is_negative != b->is_negative) {
        return a->is_negative ? -1 : 1;
    }
    int order = model_cmp_magnitude(a, b);
    return a->is_negative ? -order : order;
}

static void model_add(struct model *into, const struct model *m)
{
    if (into->is_negative == m->is_negative) {
        uint32_t carry = 0;
        for (int i = GROUPS - 1; i >= 0; i--) {
            uint32_t sum = into->group[i] + m->group[i] + carry;
            into->group[i] = sum % GROUP_BASE;
            carry = sum / GROUP_BASE;
        }
        assert_int_equal(carry, 0);
        return;
    }
    bool into_is_larger = model_cmp_magnitude(into, m) >= 0;
    struct model larger = into_is_larger ? *into : *m;
    const struct model smaller = into_is_larger ? *m : *into;
    uint32_t borrow = 0;
    for (int i = GROUPS - 1; i >= 0; i--) {
        uint32_t take = smaller.group[i] + borrow;
        borrow = larger.group[i] < take;
        larger.group[i] = larger.group[i] + borrow * GROUP_BASE - take;
    }
    *into = larger;
}

/* All digits, then the text without zeroes at either end: "-0.01", "0". Counts significant places.
 */
static void model_text(const struct model *m, char out[DIGITS + 4], int *ret_digits, int *ret_scale)
{
    char digits[DIGITS + 1];
    for (int i = 0; i < GROUPS; i++) {
        uint32_t group = m->group[i];
        for (int j = 8; j >= 0; j--) {
            digits[9 * i + j] = (char)('0' + group % 10);
            group /= 10;
        }
    }
    int point = DIGITS - DIGITS_FRACTION;
    int begin = 0;
    int end = DIGITS;
    while (begin < point - 1 && digits[begin] == '0') {
        begin++;
    }
    while (end > point && digits[end - 1] == '0') {
        end--;
    }
    int len = 0;
    if (m->is_negative && !model_is_zero(m)) {
        out[len++] = '-';
    }
    for (int i = begin; i < end; i++) {
        if (i == point) {
            out[len++] = '.';
        }
        out[len++] = digits[i];
    }
    out[len] = '\0';
    int first = begin;
    while (first < end && digits[first] == '0') {
        first++;
    }
    *ret_digits = end - first;
    *ret_scale = end - point;
}

/* -- random numbers
 * ---------------------------------------------------------------------------------- */

static double random_double(struct rng *rng)
{
    for (;;) {
        uint64_t bits = rng_next(rng);
        switch (rng_below(rng, 4)) {
        case 0: break; /* any */
        case 1:        /* about the size of decimals */
            bits = (bits & ~(UINT64_C(0x7ff) << 52)) | (1023 - 70 + rng_below(rng, 140)) << 52;
            break;
        case 2: bits &= ~(UINT64_C(0x7fe) << 52); break; /* the smallest, subnormals too */
        default: bits &= ~UINT64_C(0xffffffff); break;   /* few bits */
        }
        double v = 0;
        memcpy(&v, &bits, sizeof(v));
        if (isfinite(v)) {
            return v;
        }
    }
}

static struct num random_num(struct rng *rng)
{
    struct num n = {0};
    switch (rng_below(rng, 6)) {
    case 0: return num_int((int64_t)rng_next(rng));
    case 1: return num_decimal((int64_t)rng_below(rng, 20001) - 10000, (uint8_t)rng_below(rng, 5));
    case 2: return num_decimal((int64_t)rng_next(rng), (uint8_t)rng_below(rng, 19));
    case 3:
        return num_decimal((int64_t)(rng_next(rng) >> rng_below(rng, 64)),
                           (uint8_t)rng_below(rng, 19));
    default: assert_true(num_double(random_double(rng), &n)); return n;
    }
}

/* A number next to n, or the same by another road, to make orders close. */
static struct num random_near(struct rng *rng, struct num n)
{
    double v = num_to_double(n);
    struct num near = n;
    switch (rng_below(rng, 4)) {
    case 0: v = nextafter(v, DBL_MAX); break;
    case 1: v = nextafter(v, -DBL_MAX); break;
    case 2:
        if (n.scale != NUM_DOUBLE && n.m < INT64_MAX) {
            return num_decimal(n.m + 1, n.scale);
        }
        break;
    default: break;
    }
    if (rng_below(rng, 2) == 0) {
        near.scale = NUM_DOUBLE; /* not in lowest form, and still to be ordered right */
        memcpy(&near.m, &v, sizeof(v));
        return near;
    }
    return num_double(v, &near) ? near : n;
}

/* -- properties
 * --------------------------------------------------------------------------------------- */

static void order_is_that_of_the_exact_values(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < 3000; trial++) {
        struct rng rng = rng_init(seed + trial);
        struct num a = random_num(&rng);
        struct num b = rng_below(&rng, 2) == 0 ? random_near(&rng, a) : random_num(&rng);
        struct model model_a = model_of(a);
        struct model model_b = model_of(b);
        int want = model_cmp(&model_a, &model_b);
        int got = num_cmp(a, b);
        int back = num_cmp(b, a);
        if ((got > 0) - (got < 0) != want || (back > 0) - (back < 0) != -want) {
            fail_msg("seed %" PRIu64 ": order %d and %d, exactly %d", seed + trial, got, back,
                     want);
        }
    }
}

static void text_reads_back_as_the_same_number(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    CLEANUP(buf_freep) struct buf text = {0};
    for (uint64_t trial = 0; trial < 50000; trial++) {
        struct rng rng = rng_init(seed + trial);
        struct num n = random_num(&rng);
        struct num back = {0};
        struct num again = {0};
        buf_clear(&text);
        num_format(n, &text);
        if (!num_parse(buf_as_str(&text), &back) || back.m != n.m || back.scale != n.scale) {
            fail_msg("seed %" PRIu64 ": \"" STR_FMT "\" reads as another number", seed + trial,
                     STR_ARG(buf_as_str(&text)));
        }
        buf_u8(&text, 0);
        if (num_to_double(n) != strtod((const char *)text.ptr, NULL)) {
            fail_msg("seed %" PRIu64 ": %s is not the nearest double", seed + trial,
                     (const char *)text.ptr);
        }
        assert_true(num_double(num_to_double(n), &again));
        if (n.scale == NUM_DOUBLE && (again.m != n.m || again.scale != NUM_DOUBLE)) {
            fail_msg("seed %" PRIu64 ": a double is two numbers", seed + trial);
        }
        if (num_to_double(again) != num_to_double(n)) {
            fail_msg("seed %" PRIu64 ": the shortest decimal is another double", seed + trial);
        }
    }
}

static void foreign_text_is_read_as_strtod_reads_it(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    static const char alphabet[] = "0123456789012345678901234567890000.eE+-";
    for (uint64_t trial = 0; trial < 100000; trial++) {
        struct rng rng = rng_init(seed + trial);
        char text[64];
        size_t len = rng_below(&rng, 40);
        for (size_t i = 0; i < len; i++) {
            text[i] = alphabet[rng_below(&rng, sizeof(alphabet) - 1)];
        }
        text[len] = '\0';
        struct num n = {0};
        bool is_taken = num_parse((struct str){text, len}, &n);
        char *end = NULL;
        double v = strtod(text, &end);
        if (is_taken && (*end != '\0' || num_to_double(n) != v)) {
            fail_msg("seed %" PRIu64 ": \"%s\" is %.17g, strtod says %.17g", seed + trial, text,
                     num_to_double(n), v);
        }
        if (!is_taken && len > 0 && *end == '\0' && isfinite(v)) {
            /* What strtod takes and JSON does not: signs, leading zeroes, points without digits. */
            const char *at = text + (text[0] == '-');
            const char *point = strchr(text, '.');
            bool is_loose = *at == '+' || *at == '.' ||
                            (at[0] == '0' && at[1] >= '0' && at[1] <= '9') ||
                            (point != NULL && (point[1] < '0' || point[1] > '9'));
            if (!is_loose) {
                fail_msg("seed %" PRIu64 ": \"%s\" is refused", seed + trial, text);
            }
        }
    }
}

static void sum_is_exact_and_the_same_in_any_order(void **state)
{
    (void)state;
    enum { NUMBERS_MAX = 24 };
    uint64_t seed = test_seed();
    CLEANUP(buf_freep) struct buf got = {0};
    for (uint64_t trial = 0; trial < 1500; trial++) {
        struct rng rng = rng_init(seed + trial);
        struct num numbers[NUMBERS_MAX];
        uint32_t count = (uint32_t)rng_below(&rng, NUMBERS_MAX + 1);
        bool has_double = false;
        struct model exact = {0};
        for (uint32_t i = 0; i < count; i++) {
            numbers[i] = random_num(&rng);
            if (trial % 2 == 0 && numbers[i].scale == NUM_DOUBLE) {
                numbers[i] = num_int((int64_t)(rng_next(&rng) >> 20));
            }
            if (i > 0 && rng_below(&rng, 3) == 0) { /* let it cancel */
                numbers[i] = numbers[rng_below(&rng, i)];
                double v = -num_to_double(numbers[i]);
                if (numbers[i].scale == NUM_DOUBLE) {
                    memcpy(&numbers[i].m, &v, sizeof(v));
                } else if (numbers[i].m != INT64_MIN) {
                    numbers[i].m = -numbers[i].m;
                }
            }
            has_double = has_double || numbers[i].scale == NUM_DOUBLE;
            struct model m = model_of(numbers[i]);
            model_add(&exact, &m);
        }
        struct num_sum sums[2];
        num_sum_init(&sums[0]);
        num_sum_init(&sums[1]);
        for (uint32_t i = count; i > 0; i--) { /* in random order, over two sums */
            uint32_t pick = (uint32_t)rng_below(&rng, i);
            num_sum_add(&sums[rng_below(&rng, 2)], numbers[pick]);
            numbers[pick] = numbers[i - 1];
        }
        num_sum_merge(&sums[0], &sums[1]);
        struct num_total total = num_sum_total(&sums[0]);

        char text[DIGITS + 4];
        int digits = 0;
        int scale = 0;
        model_text(&exact, text, &digits, &scale);
        double nearest = strtod(text, NULL);
        nearest = isfinite(nearest) ? nearest : copysign(DBL_MAX, nearest);
        if (total.approx != nearest) {
            fail_msg("seed %" PRIu64 ": %.17g, nearest %.17g", seed + trial, total.approx, nearest);
        }
        if (total.is_decimal != (!has_double && digits <= 38) || sums[0].count != count) {
            fail_msg("seed %" PRIu64 ": decimal %d, count %" PRIu64, seed + trial, total.is_decimal,
                     sums[0].count);
        }
        buf_clear(&got);
        num_total_format(total, &got);
        if (total.is_decimal && !str_eq(buf_as_str(&got), str_of(text))) {
            fail_msg("seed %" PRIu64 ": " STR_FMT ", exactly %s", seed + trial,
                     STR_ARG(buf_as_str(&got)), text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_that_of_the_exact_values),
        cmocka_unit_test(text_reads_back_as_the_same_number),
        cmocka_unit_test(foreign_text_is_read_as_strtod_reads_it),
        cmocka_unit_test(sum_is_exact_and_the_same_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
