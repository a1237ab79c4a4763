#include "query/agg_expr.h"

#include "query/agg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define EXACT_SCALE_MAX 36

struct expr_value expr_exact(__int128 m, uint8_t scale)
{
    int64_t narrow = (int64_t)m; /* mostly all of it, and divided for a tenth */
    if (narrow == m) {
        for (; scale > 0 && narrow % 10 == 0; scale--) {
            narrow /= 10;
        }
        return (struct expr_value){.kind = VALUE_EXACT, .m = narrow, .scale = scale};
    }
    while (scale > 0 && m % 10 == 0) {
        m /= 10;
        scale--;
    }
    return (struct expr_value){.kind = VALUE_EXACT, .m = m, .scale = scale};
}

struct expr_value expr_double(double v)
{
    if (!isfinite(v)) {
        return (struct expr_value){.kind = VALUE_MISSING};
    }
    return (struct expr_value){.kind = VALUE_DOUBLE, .f64 = v};
}

struct expr_value expr_of_num(struct num n)
{
    return n.scale == NUM_DOUBLE ? expr_double(num_to_double(n)) : expr_exact(n.m, n.scale);
}

struct expr_value expr_of_total(struct num_total total)
{
    return total.is_decimal ? expr_exact(total.m, total.scale) : expr_double(total.approx);
}

/* m * 10^-scale, correctly rounded. */
static double exact_to_double(__int128 m, uint8_t scale)
{
    static const double pow10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const __int128 double_int_max = (__int128)1 << 53;
    if (scale == 0) {
        return (double)m;
    }
    if (m >= -double_int_max && m <= double_int_max && scale < COUNT_OF(pow10)) {
        return (double)m / pow10[scale]; /* both exact: one rounding */
    }
    /* strtod rounds correctly whatever the length */
    char text[64];
    size_t at = sizeof(text) - 8;
    snprintf(text + at, 8, "e-%u", scale);
    bool is_negative = m < 0;
    do {
        int digit = (int)(m % 10);
        text[--at] = (char)('0' + (digit < 0 ? -digit : digit));
        m /= 10;
    } while (m != 0);
    if (is_negative) {
        text[--at] = '-';
    }
    return strtod(text + at, NULL);
}

struct expr_value expr_of_sum(const struct acc_sum *sum, bool is_mean)
{
    if (sum == NULL || sum->count == 0) {
        return is_mean ? (struct expr_value){.kind = VALUE_MISSING} : expr_exact(0, 0);
    }
    struct expr_value total = sum->wide != NULL ? expr_of_total(num_sum_total(sum->wide))
                                                : expr_exact(sum->m, sum->scale);
    if (is_mean && total.kind != VALUE_MISSING) {
        total = expr_double(expr_to_double(&total) / (double)sum->count);
    }
    return total;
}

double expr_to_double(const struct expr_value *v)
{
    return v->kind == VALUE_EXACT ? exact_to_double(v->m, v->scale) : v->f64;
}

static bool exact_raise(__int128 *m, uint8_t from_scale, uint8_t to_scale)
{
    for (uint8_t s = from_scale; s < to_scale; s++) {
        if (__builtin_mul_overflow(*m, 10, m)) {
            return false;
        }
    }
    return true;
}

static struct expr_value expr_add(const struct expr_value *a, const struct expr_value *b,
                                  bool is_sub)
{
    if (a->kind == VALUE_EXACT && b->kind == VALUE_EXACT) {
        uint8_t scale = a->scale > b->scale ? a->scale : b->scale;
        __int128 x = a->m;
        __int128 y = b->m;
        __int128 sum = 0;
        if (exact_raise(&x, a->scale, scale) && exact_raise(&y, b->scale, scale) &&
            !(is_sub ? __builtin_sub_overflow(x, y, &sum) : __builtin_add_overflow(x, y, &sum))) {
            return expr_exact(sum, scale);
        }
    }
    double y = expr_to_double(b);
    return expr_double(expr_to_double(a) + (is_sub ? -y : y));
}

static struct expr_value expr_mul(const struct expr_value *a, const struct expr_value *b)
{
    __int128 product = 0;
    if (a->kind == VALUE_EXACT && b->kind == VALUE_EXACT &&
        a->scale + b->scale <= EXACT_SCALE_MAX && !__builtin_mul_overflow(a->m, b->m, &product)) {
        return expr_exact(product, (uint8_t)(a->scale + b->scale));
    }
    return expr_double(expr_to_double(a) * expr_to_double(b));
}

static struct expr_value expr_neg(const struct expr_value *a)
{
    const struct expr_value zero = {.kind = VALUE_EXACT};
    return a->kind == VALUE_DOUBLE ? expr_double(-a->f64) : expr_add(&zero, a, true);
}

static bool is_number(const struct expr_value *v)
{
    return v->kind == VALUE_EXACT || v->kind == VALUE_DOUBLE;
}

struct expr_value expr_eval(const struct expr *expr, const struct expr_value *aggs)
{
    const struct expr_value missing = {.kind = VALUE_MISSING};
    if (expr->kind == EXPR_AGG) {
        return aggs[expr->agg];
    }
    if (expr->kind == EXPR_NUM) {
        return expr_of_num(expr->num);
    }
    struct expr_value a = expr_eval(expr->left, aggs);
    if (!is_number(&a)) {
        return missing;
    }
    if (expr->kind == EXPR_NEG) {
        return expr_neg(&a);
    }
    struct expr_value b = expr_eval(expr->right, aggs);
    if (!is_number(&b)) {
        return missing;
    }
    switch (expr->kind) {
    case EXPR_ADD: return expr_add(&a, &b, false);
    case EXPR_SUB: return expr_add(&a, &b, true);
    case EXPR_MUL: return expr_mul(&a, &b);
    default: break;
    }
    double divisor = expr_to_double(&b);
    return divisor == 0.0 ? missing : expr_double(expr_to_double(&a) / divisor);
}

bool expr_is_whole(const struct expr *expr, const struct agg *aggs)
{
    switch (expr->kind) {
    case EXPR_AGG: {
        enum agg_kind kind = aggs[expr->agg].kind;
        return kind == AGG_COUNT || kind == AGG_USERS || kind == AGG_UNIQUE;
    }
    case EXPR_NUM: return expr->num.scale == 0;
    case EXPR_ADD:
    case EXPR_SUB:
    case EXPR_MUL: return expr_is_whole(expr->left, aggs) && expr_is_whole(expr->right, aggs);
    case EXPR_NEG: return expr_is_whole(expr->left, aggs);
    case EXPR_DIV: return false;
    }
    return false;
}

struct cell expr_cell(const struct expr_value *v)
{
    switch (v->kind) {
    case VALUE_MISSING: return (struct cell){.kind = CELL_NULL};
    case VALUE_EXACT:
        return cell_of_total((struct num_total){.is_decimal = true,
                                                .m = v->m,
                                                .scale = v->scale,
                                                .approx = exact_to_double(v->m, v->scale)});
    case VALUE_DOUBLE: return (struct cell){.kind = CELL_F64, .f64 = v->f64};
    case VALUE_OTHER: return v->cell;
    }
    return (struct cell){.kind = CELL_NULL};
}
