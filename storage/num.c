/* storage/num.c - numbers: reading, order, text, and the exact sums.
 *
 * Two facts carry this file. A decimal of at most 15 digits survives the way to the nearest double
 * and back. And every finite double is a whole number of 2^-1074: a sum kept in that unit is exact, and a
 * total is rounded once, at its end.
 *
 * Wide integers are arrays of int64_t limbs in base 2^32, little end first. A carried array has its
 * limbs in [0, 2^32) but for the top one, which has the sign.
 */
#include "storage/num.h"

#include "storage/base/double_text.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PARSE_DIGITS_MAX                                                                           \
    800 /* 767 decide the nearest double; the rest only whether it is a tie                        \
         */
#define PARSE_EXPONENT_MAX INT64_C(1000000000000)

static const int64_t pow10_table[NUM_SCALE_MAX + 1] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
};

/* -- making numbers -------------------------------------------------------------------------------
 */

struct num num_int(int64_t v)
{
    return (struct num){v, 0};
}

struct num num_decimal(int64_t m, uint8_t scale)
{
    ASSERT(scale <= NUM_SCALE_MAX);
    while (scale > 0 && m % 10 == 0) {
        m /= 10;
        scale--;
    }
    return (struct num){m, scale};
}

static struct num num_of_bits(double v)
{
    struct num n = {0, NUM_DOUBLE};
    memcpy(&n.m, &v, sizeof(v));
    return n;
}

static double num_bits(struct num n)
{
    double v = 0;
    memcpy(&v, &n.m, sizeof(v));
    return v;
}

/* The parts of a number's text, by the JSON grammar: sign, digits without leading zeroes, and the
 * power of ten of the last of them. */
struct num_text {
    bool is_negative;
    bool has_more;  /* digits that are not zero were left out at the end */
    uint32_t count; /* of digits kept */
    int64_t exponent;
    char digits[PARSE_DIGITS_MAX];
};

static bool is_digit(const char *at, const char *end)
{
    return at < end && *at >= '0' && *at <= '9';
}

static void text_digit(struct num_text *t, char digit, bool is_fraction)
{
    t->exponent -= is_fraction;
    if (t->count == 0 && digit == '0') {
        return; /* leading */
    }
    if (t->count < PARSE_DIGITS_MAX) {
        t->digits[t->count++] = digit;
        return;
    }
    t->exponent++;
    t->has_more = t->has_more || digit != '0';
}

static bool text_exponent(const char **at, const char *end, int64_t *ret)
{
    bool is_negative = *at < end && **at == '-';
    *at += *at < end && (**at == '-' || **at == '+');
    if (!is_digit(*at, end)) {
        return false;
    }
    int64_t value = 0;
    for (; is_digit(*at, end); (*at)++) {
        if (value < PARSE_EXPONENT_MAX) {
            value = value * 10 + (**at - '0');
        }
    }
    *ret = is_negative ? -value : value;
    return true;
}

static bool text_scan(struct str text, struct num_text *t)
{
    const char *at = text.ptr;
    const char *end = text.ptr + text.len;
    t->is_negative = at < end && *at == '-';
    at += t->is_negative;
    if (!is_digit(at, end)) {
        return false;
    }
    if (*at == '0') {
        at++; /* nothing but a point or an exponent follows a leading zero */
    } else {
        for (; is_digit(at, end); at++) {
            text_digit(t, *at, false);
        }
    }
    if (at < end && *at == '.') {
        at++;
        if (!is_digit(at, end)) {
            return false;
        }
        for (; is_digit(at, end); at++) {
            text_digit(t, *at, true);
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        int64_t exponent = 0;
        if (!text_exponent(&at, end, &exponent)) {
            return false;
        }
        t->exponent += exponent;
    }
    while (t->count > 0 && !t->has_more && t->digits[t->count - 1] == '0') {
        t->count--;
        t->exponent++;
    }
    return at == end;
}

/* True where the digits are a decimal in 64 bits. */
static bool text_decimal(const struct num_text *t, struct num *ret)
{
    if (t->count == 0 && !t->has_more) {
        *ret = num_int(0); /* of either sign, whatever the exponent */
        return true;
    }
    if (t->has_more || t->count > 19 || t->exponent < -NUM_SCALE_MAX || t->exponent > 18) {
        return false;
    }
    int64_t m = 0; /* negative on the way: INT64_MIN has no positive */
    for (uint32_t i = 0; i < t->count; i++) {
        if (__builtin_mul_overflow(m, 10, &m) ||
            __builtin_sub_overflow(m, t->digits[i] - '0', &m)) {
            return false;
        }
    }
    for (int64_t e = t->exponent; e > 0; e--) {
        if (__builtin_mul_overflow(m, 10, &m)) {
            return false;
        }
    }
    if (!t->is_negative && __builtin_sub_overflow(0, m, &m)) {
        return false;
    }
    *ret = (struct num){m, (uint8_t)(t->exponent < 0 ? -t->exponent : 0)};
    return true;
}

static double text_double(const struct num_text *t)
{
    char text[PARSE_DIGITS_MAX + 32];
    int64_t exponent = t->exponent - t->has_more;
    exponent = exponent > 100000 ? 100000 : exponent < -100000 ? -100000 : exponent;
    snprintf(text, sizeof(text), "%s%.*s%se%d", t->is_negative ? "-" : "", (int)t->count, t->digits,
             t->has_more ? "1" : "", (int)exponent);
    return strtod(text, NULL);
}

bool num_double(double v, struct num *ret)
{
    if (!isfinite(v)) {
        return false;
    }
    if (v >= -0x1p53 && v <= 0x1p53 && v == nearbyint(v)) {
        *ret = num_int((int64_t)v); /* its own shortest decimal */
        return true;
    }
    /* Money and the like: the decimal of at most 15 digits that reads back is the shortest text,
     * and division of two exact doubles is rounded as reading would be. */
    double scaled = v;
    for (uint8_t scale = 1; scale <= 6; scale++) {
        scaled = nearbyint(v * (double)pow10_table[scale]);
        if (fabs(scaled) >= 1e15) {
            break;
        }
        if (scaled / (double)pow10_table[scale] == v) {
            *ret = num_decimal((int64_t)scaled, scale);
            return true;
        }
    }
    char text[DOUBLE_TEXT_BYTES];
    struct num_text t = {0};
    ASSERT(text_scan((struct str){text, double_text(v, text)}, &t));
    if (!text_decimal(&t, ret)) {
        *ret = num_of_bits(v);
    }
    return true;
}

bool num_parse(struct str text, struct num *ret)
{
    struct num_text t;
    t.is_negative = t.has_more = false;
    t.count = 0;
    t.exponent = 0; /* the digits need no zeroes: this is on the way of every event */
    if (text.len == 0 || !text_scan(text, &t)) {
        return false;
    }
    if (text_decimal(&t, ret)) {
        return true;
    }
    return num_double(text_double(&t), ret);
}

/* -- one number
 * -------------------------------------------------------------------------------------- */

double num_to_double(struct num n)
{
    if (n.scale == NUM_DOUBLE) {
        return num_bits(n);
    }
    ASSERT(n.scale <= NUM_SCALE_MAX);
    uint64_t magnitude = n.m < 0 ? 0 - (uint64_t)n.m : (uint64_t)n.m;
    if (n.scale == 0) {
        return (double)n.m;
    }
    if (magnitude <= UINT64_C(1) << 53) {
        return (double)n.m / (double)pow10_table[n.scale]; /* both exact, so rounded once */
    }
    /* 57 bits of quotient or more, the last of them standing for all that follow. */
    unsigned __int128 shifted = (unsigned __int128)magnitude << 64;
    uint64_t divisor = (uint64_t)pow10_table[n.scale];
    unsigned __int128 quotient = shifted / divisor;
    quotient |= shifted % divisor != 0;
    double v = ldexp((double)quotient, -64);
    return n.m < 0 ? -v : v;
}

static int order_of(__int128 a, __int128 b)
{
    return (a > b) - (a < b);
}

/* |decimal| against a finite double v >= 0, both by magnitude. */
static int cmp_magnitudes(uint64_t m, uint8_t scale, double v)
{
    if (v >= 0x1p64) {
        return -1;
    }
    double whole = trunc(v);
    uint64_t divisor = (uint64_t)pow10_table[scale];
    uint64_t m_whole = m / divisor;
    uint64_t m_rest = m % divisor;
    if (m_whole != (uint64_t)whole) {
        return m_whole < (uint64_t)whole ? -1 : 1;
    }
    /* m_rest / divisor against the fraction f * 2^-shift: m_rest against f * divisor * 2^-shift. */
    int exponent = 0;
    uint64_t f = (uint64_t)ldexp(frexp(v - whole, &exponent), 53);
    int shift = 53 - exponent;
    if (m_rest == 0 || f == 0) {
        return (m_rest > 0) - (f > 0);
    }
    __int128 right = (__int128)f * (__int128)divisor; /* below 2^53 * 2^60 */
    if (shift >= 113) {
        return 1; /* right * 2^-shift is less than 1 */
    }
    __int128 right_floor = right >> shift;
    if (right_floor != (__int128)m_rest) {
        return right_floor < (__int128)m_rest ? 1 : -1;
    }
    return right_floor << shift == right ? 0 : -1;
}

static int cmp_decimal_double(struct num decimal, double v)
{
    int sign = (decimal.m > 0) - (decimal.m < 0);
    int v_sign = (v > 0) - (v < 0);
    if (sign != v_sign || sign == 0) {
        return (sign > v_sign) - (sign < v_sign);
    }
    uint64_t magnitude = sign < 0 ? 0 - (uint64_t)decimal.m : (uint64_t)decimal.m;
    return sign * cmp_magnitudes(magnitude, decimal.scale, fabs(v));
}

int num_cmp(struct num a, struct num b)
{
    if (a.scale == b.scale && a.scale != NUM_DOUBLE) {
        return (a.m > b.m) - (a.m < b.m);
    }
    if (a.scale != NUM_DOUBLE && b.scale != NUM_DOUBLE) {
        uint8_t scale = a.scale > b.scale ? a.scale : b.scale; /* products below 2^63 * 2^60 */
        return order_of((__int128)a.m * pow10_table[scale - a.scale],
                        (__int128)b.m * pow10_table[scale - b.scale]);
    }
    if (a.scale != NUM_DOUBLE) {
        return cmp_decimal_double(a, num_bits(b));
    }
    if (b.scale != NUM_DOUBLE) {
        return -cmp_decimal_double(b, num_bits(a));
    }
    double x = num_bits(a);
    double y = num_bits(b);
    return (x > y) - (x < y);
}

/* -- text
 * ------------------------------------------------------------------------------------------------
 */

static void format_decimal(__int128 m, uint8_t scale, struct buf *out)
{
    char text[48]; /* a sign, 39 digits, a point, and zeroes up to one before it */
    char *at = text + sizeof(text);
    unsigned __int128 rest = m < 0 ? 0 - (unsigned __int128)m : (unsigned __int128)m;
    for (uint32_t placed = 0; rest != 0 || placed <= scale; placed++) {
        if (placed == scale && scale > 0) {
            *--at = '.';
        }
        *--at = (char)('0' + (int)(rest % 10));
        rest /= 10;
    }
    if (m < 0) {
        *--at = '-';
    }
    buf_append(out, at, (size_t)(text + sizeof(text) - at));
}

static void format_double(double v, struct buf *out)
{
    char text[DOUBLE_TEXT_BYTES];
    buf_append(out, text, double_text(v, text));
}

void num_format(struct num n, struct buf *out)
{
    if (n.scale == NUM_DOUBLE) {
        format_double(num_bits(n), out);
    } else {
        format_decimal(n.m, n.scale, out);
    }
}

/* -- wide integers
 * ----------------------------------------------------------------------------------------- */

#define LIMB_MASK INT64_C(0xffffffff)
/* Limbs may be added to without carrying until they are this large. */
#define LIMB_CALM (INT64_C(1) << 62)

static void wide_carry(int64_t *limbs, uint32_t count)
{
    int64_t carry = 0;
    for (uint32_t i = 0; i + 1 < count; i++) {
        int64_t v = limbs[i] + carry;
        limbs[i] = v & LIMB_MASK;
        carry = v >> 32; /* arithmetic: rounds down */
    }
    limbs[count - 1] += carry;
}

/* Carried in, carried out; the factor is at most 10^9, the top limb small. */
static void wide_mul(int64_t *limbs, uint32_t count, int64_t factor)
{
    for (uint32_t i = 0; i < count; i++) {
        limbs[i] *= factor;
    }
    wide_carry(limbs, count);
}

/* Divide a carried, non-negative number by at most 10^9; the remainder. */
static int64_t wide_div(int64_t *limbs, uint32_t count, int64_t divisor)
{
    int64_t rest = 0;
    for (uint32_t i = count; i-- > 0;) {
        int64_t v = (rest << 32) + limbs[i]; /* below 2^62 */
        limbs[i] = v / divisor;
        rest = v % divisor;
    }
    return rest;
}

/* Make a carried number non-negative; true where it was not. */
static bool wide_abs(int64_t *limbs, uint32_t count)
{
    if (limbs[count - 1] >= 0) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        limbs[i] = -limbs[i];
    }
    wide_carry(limbs, count);
    return true;
}

/* -- sums: adding
 * -------------------------------------------------------------------------------------------- */

#define SUM_UNIT_EXPONENT 1074 /* limb 0 counts 2^-1074 */

void num_sum_init(struct num_sum *sum)
{
    /* The cells are cleared when they come into use: most groups have one scale and no double. */
    sum->count = 0;
    sum->scales_used = 0;
    sum->has_double = false;
}

void num_sum_add_decimal(struct num_sum *sum, __int128 m_total, uint8_t scale, uint64_t count)
{
    ASSERT_DEBUG(scale <= NUM_SCALE_MAX);
    uint32_t bit = UINT32_C(1) << scale;
    if (__builtin_expect((sum->scales_used & bit) == 0, 0)) {
        sum->scales_used |= bit;
        sum->decimal[scale] = 0;
    }
    /* Cannot overflow: fewer than 2^64 numbers of less than 2^63. */
    sum->decimal[scale] += m_total;
    sum->count += count;
}

static void sum_use_limbs(struct num_sum *sum)
{
    if (!sum->has_double) {
        memset(sum->limbs, 0, sizeof(sum->limbs));
        sum->has_double = true;
    }
}

static void sum_add_double(struct num_sum *sum, int64_t bits)
{
    sum_use_limbs(sum);
    int64_t fraction = bits & ((INT64_C(1) << 52) - 1);
    uint32_t exponent = (uint32_t)(bits >> 52) & 0x7ff;
    ASSERT(exponent != 0x7ff); /* a struct num is finite */
    if (exponent != 0) {
        fraction |= INT64_C(1) << 52;
        exponent--; /* in units of 2^-1074, the value is fraction * 2^exponent */
    }
    uint32_t at = exponent / 32;
    unsigned __int128 shifted = (unsigned __int128)fraction << (exponent % 32);
    int64_t sign = bits < 0 ? -1 : 1;
    bool is_calm = true;
    for (uint32_t i = 0; i < 3; i++) {
        int64_t *limb = &sum->limbs[at + i];
        *limb += sign * (int64_t)((uint64_t)(shifted >> (32 * i)) & (uint64_t)LIMB_MASK);
        is_calm = is_calm && *limb<LIMB_CALM && * limb> - LIMB_CALM;
    }
    if (!is_calm) {
        wide_carry(sum->limbs, NUM_SUM_LIMBS);
    }
}

void num_sum_add(struct num_sum *sum, struct num n)
{
    if (n.scale == NUM_DOUBLE) {
        sum_add_double(sum, n.m);
        sum->count++;
    } else {
        num_sum_add_decimal(sum, n.m, n.scale, 1);
    }
}

void num_sum_merge(struct num_sum *into, const struct num_sum *from)
{
    for (uint32_t left = from->scales_used; left != 0; left &= left - 1) {
        uint8_t scale = (uint8_t)__builtin_ctz(left);
        num_sum_add_decimal(into, from->decimal[scale], scale, 0);
    }
    into->count += from->count;
    if (from->has_double) {
        sum_use_limbs(into);
        wide_carry(into->limbs, NUM_SUM_LIMBS); /* then a sum of two is below 2^62 + 2^32 + 2^32 */
        for (uint32_t i = 0; i < NUM_SUM_LIMBS; i++) {
            into->limbs[i] += from->limbs[i];
        }
        wide_carry(into->limbs, NUM_SUM_LIMBS);
    }
}

/* -- sums: totals
 * ------------------------------------------------------------------------------------------------
 */

#define TOTAL_DIGITS_LIMIT 38
#define DECIMAL_LIMBS      8 /* 2^127 * 10^18 * 19 < 2^192 */
/* The exact total is counted in 2^-1138 * 10^-18: 64 bits below the smallest double leave room to
 * round to it. 70 limbs of the accumulator, two below them, two for the factor 10^18, one spare. */
#define EXACT_LIMBS         75
#define EXACT_GUARD_LIMBS   2
#define EXACT_UNIT_EXPONENT (SUM_UNIT_EXPONENT + 32 * EXACT_GUARD_LIMBS)

static unsigned __int128 pow10_38(void)
{
    return (unsigned __int128)UINT64_C(10000000000000000000) * UINT64_C(10000000000000000000);
}

/* The decimals' total in units of 10^-18, carried. */
static void decimal_total(const struct num_sum *sum, int64_t total[DECIMAL_LIMBS])
{
    memset(total, 0, DECIMAL_LIMBS * sizeof(total[0]));
    for (uint32_t left = sum->scales_used; left != 0; left &= left - 1) {
        int scale = __builtin_ctz(left);
        int64_t part[DECIMAL_LIMBS] = {0};
        unsigned __int128 bits = (unsigned __int128)sum->decimal[scale];
        for (uint32_t i = 0; i < 4; i++) {
            part[i] = (int64_t)((uint64_t)(bits >> (32 * i)) & (uint64_t)LIMB_MASK);
        }
        part[4] = sum->decimal[scale] < 0 ? -1 : 0; /* the sign, carried up to the top */
        wide_carry(part, DECIMAL_LIMBS);
        int up = NUM_SCALE_MAX - scale;
        wide_mul(part, DECIMAL_LIMBS, pow10_table[up / 2]);
        wide_mul(part, DECIMAL_LIMBS, pow10_table[up - up / 2]);
        for (uint32_t i = 0; i < DECIMAL_LIMBS; i++) {
            total[i] += part[i];
        }
    }
    wide_carry(total, DECIMAL_LIMBS);
}

/* The decimals' total where all of it stays in 128 bits: nearly always. */
static bool decimal_total_fast(const struct num_sum *sum, __int128 *ret_m, uint8_t *ret_scale)
{
    if (sum->scales_used == 0) {
        *ret_m = 0;
        *ret_scale = 0;
        return true;
    }
    int scale_max = 31 - __builtin_clz(sum->scales_used);
    __int128 total = 0;
    for (uint32_t left = sum->scales_used; left != 0; left &= left - 1) {
        int scale = __builtin_ctz(left);
        __int128 part = 0;
        if (__builtin_mul_overflow(sum->decimal[scale], (__int128)pow10_table[scale_max - scale],
                                   &part) ||
            __builtin_add_overflow(total, part, &total)) {
            return false;
        }
    }
    *ret_m = total;
    *ret_scale = (uint8_t)scale_max;
    return true;
}

/* The same by way of wide integers, where the end result may fit though the way there does not. */
static bool decimal_total_wide(const struct num_sum *sum, __int128 *ret_m, uint8_t *ret_scale)
{
    int64_t total[DECIMAL_LIMBS];
    decimal_total(sum, total);
    bool is_negative = wide_abs(total, DECIMAL_LIMBS);
    uint8_t scale = NUM_SCALE_MAX;
    while (scale > 0) {
        int64_t shorter[DECIMAL_LIMBS];
        memcpy(shorter, total, sizeof(total));
        if (wide_div(shorter, DECIMAL_LIMBS, 10) != 0) {
            break;
        }
        memcpy(total, shorter, sizeof(total));
        scale--;
    }
    unsigned __int128 m = 0;
    for (uint32_t i = DECIMAL_LIMBS; i-- > 0;) {
        if (m >> 96 != 0) {
            return false;
        }
        m = m << 32 | (unsigned __int128)total[i];
    }
    if (m >= pow10_38()) {
        return false;
    }
    *ret_m = is_negative ? -(__int128)m : (__int128)m;
    *ret_scale = scale;
    return true;
}

static bool total_as_decimal(const struct num_sum *sum, __int128 *ret_m, uint8_t *ret_scale)
{
    __int128 m = 0;
    uint8_t scale = 0;
    if (!decimal_total_fast(sum, &m, &scale)) {
        return decimal_total_wide(sum, ret_m, ret_scale);
    }
    while (scale > 0 && m % 10 == 0) {
        m /= 10;
        scale--;
    }
    unsigned __int128 magnitude = m < 0 ? 0 - (unsigned __int128)m : (unsigned __int128)m;
    if (magnitude >= pow10_38()) {
        return false;
    }
    *ret_m = m;
    *ret_scale = scale;
    return true;
}

/* The nearest double, ties to even, of limbs * 2^-EXACT_UNIT_EXPONENT; `is_more`: and a little more
 * in magnitude. Carried, non-negative. */
static double round_to_double(const int64_t *limbs, uint32_t count, bool is_more)
{
    uint32_t top = count;
    while (top > 0 && limbs[top - 1] == 0) {
        top--;
    }
    if (top == 0) {
        return 0; /* less than 2^-1138 rounds to zero */
    }
    int64_t msb = 32 * (int64_t)(top - 1) + 63 - __builtin_clzll((uint64_t)limbs[top - 1]);
    /* The result counts 2^(low - EXACT_UNIT_EXPONENT): 53 bits, fewer for subnormals. */
    int64_t low = msb - 52 > 32 * EXACT_GUARD_LIMBS ? msb - 52 : 32 * EXACT_GUARD_LIMBS;
    uint64_t kept = 0;
    for (int64_t bit = msb; bit >= low; bit--) {
        kept = kept << 1 | (((uint64_t)limbs[bit / 32] >> (bit % 32)) & 1);
    }
    bool is_half = ((uint64_t)limbs[(low - 1) / 32] >> ((low - 1) % 32)) & 1;
    bool is_tie = is_half && (kept & 1) == 0; /* or seems one so far */
    for (int64_t bit = low - 2; is_tie && bit >= 0 && !is_more; bit--) {
        is_more = ((uint64_t)limbs[bit / 32] >> (bit % 32)) & 1;
    }
    kept += is_half && (is_more || (kept & 1));
    double v = ldexp((double)kept, (int)(low - EXACT_UNIT_EXPONENT));
    return isfinite(v) ? v : DBL_MAX; /* no number of ours is infinite */
}

/* The nearest double of all decimals and doubles together. */
static double total_approx(const struct num_sum *sum)
{
    int64_t exact[EXACT_LIMBS] = {0};
    if (sum->has_double) {
        memcpy(exact + EXACT_GUARD_LIMBS, sum->limbs, sizeof(sum->limbs));
        wide_carry(exact, EXACT_LIMBS);
        wide_mul(exact, EXACT_LIMBS, pow10_table[9]);
        wide_mul(exact, EXACT_LIMBS, pow10_table[9]);
    }
    int64_t decimals[DECIMAL_LIMBS];
    decimal_total(sum, decimals);
    for (uint32_t i = 0; i < DECIMAL_LIMBS; i++) {
        exact[EXACT_UNIT_EXPONENT / 32 + i] +=
            decimals[i] * (INT64_C(1) << EXACT_UNIT_EXPONENT % 32);
    }
    wide_carry(exact, EXACT_LIMBS);
    bool is_negative = wide_abs(exact, EXACT_LIMBS);
    bool is_more = wide_div(exact, EXACT_LIMBS, pow10_table[9]) != 0;
    is_more |= wide_div(exact, EXACT_LIMBS, pow10_table[9]) != 0;
    double v = round_to_double(exact, EXACT_LIMBS, is_more);
    return is_negative && v != 0 ? -v : v;
}

struct num_total num_sum_total(const struct num_sum *sum)
{
    struct num_total total = {0};
    if (!sum->has_double && total_as_decimal(sum, &total.m, &total.scale)) {
        total.is_decimal = true;
        if (total.m >= INT64_MIN && total.m <= INT64_MAX) {
            total.approx = num_to_double((struct num){(int64_t)total.m, total.scale});
            return total;
        }
    }
    total.approx = total_approx(sum);
    return total;
}

void num_total_format(struct num_total total, struct buf *out)
{
    if (total.is_decimal) {
        format_decimal(total.m, total.scale, out);
    } else {
        format_double(total.approx, out);
    }
}
