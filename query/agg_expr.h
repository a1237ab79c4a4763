/* query/agg_expr.h - arithmetic of measures: exact while it can be, null where it must be.
 *
 * Whole and decimal numbers stay exact through + - *, until 128 bits no longer hold them; then, and
 * from any division on, they are doubles. Null propagates; x/0 and 0/0 are null.
 *
 * Thread: pure functions.
 */
#pragma once

#include "query/bound.h"
#include "query/result.h"

enum expr_value_kind { VALUE_MISSING, VALUE_EXACT, VALUE_DOUBLE, VALUE_OTHER };
struct expr_value {
    enum expr_value_kind kind;
    __int128 m; /* EXACT: m * 10^-scale */
    uint8_t scale;
    double f64;       /* DOUBLE: finite */
    struct cell cell; /* OTHER: a string, time or boolean of first, last, min or max */
};

struct expr_value expr_exact(__int128 m, uint8_t scale);
struct expr_value expr_double(double v); /* missing where it is not finite */
struct expr_value expr_of_num(struct num n);
struct expr_value expr_of_total(struct num_total total);
struct acc_sum;
/* Of a sum, or the mean of it. A sum of nothing is 0, a mean of nothing is missing. */
struct expr_value expr_of_sum(const struct acc_sum *sum, bool is_mean);
double expr_to_double(const struct expr_value *v); /* the nearest; of EXACT and DOUBLE only */

/* `aggs[i]` is the value of aggregate i of the query. */
struct expr_value expr_eval(const struct expr *expr, const struct expr_value *aggs);
/* True where the measure can only be a whole number: counts, and + - * of whole numbers. */
bool expr_is_whole(const struct expr *expr, const struct agg *aggs);
struct cell expr_cell(const struct expr_value *v);
