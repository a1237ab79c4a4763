/* Tests of query/pred_eval.c: comparisons of every column form, and two-valued logic. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "query/pred_eval.h"

#define ROWS 6u

static const uint16_t rows[ROWS] = {0, 1, 2, 3, 4, 5};
static const uint64_t present[1] = {0x3d}; /* row 1 has no value */

static enum err_code give_vec(void *ctx, const struct field *field, struct vec *ret,
                              struct err *err)
{
    (void)field;
    (void)err;
    *ret = *(const struct vec *)ctx;
    return ERR_OK;
}

/* The rows that meet `pred`, as a string of 0 and 1. */
static void check_tree(const struct vec *vec, const struct pred *pred, const char *want)
{
    struct arena *arena = arena_create(NULL);
    union {
        const struct vec *vec;
        void *ctx;
    } arg = {.vec = vec};
    struct pred_env env = {.vec = give_vec, .ctx = arg.ctx, .keep = arena, .scratch = arena};
    struct err err = {0};
    uint8_t out[ROWS];
    char got[ROWS + 1] = {0};
    for (int again = 0; again < 2; again++) { /* the second time out of the memo */
        assert_int_equal(pred_eval(&env, pred, rows, ROWS, out, &err), ERR_OK);
        for (uint32_t i = 0; i < ROWS; i++) {
            got[i] = (char)('0' + out[i]);
        }
        assert_string_equal(got, want);
    }
    arena_free(arena);
}

static void check(const struct vec *vec, enum pred_kind kind, const struct literal *values,
                  uint32_t value_count, const char *want)
{
    const struct pred pred = {.kind = kind, .values = values, .value_count = value_count};
    check_tree(vec, &pred, want);
}

static struct literal number(int64_t m, uint8_t scale)
{
    return (struct literal){.type = COL_NUMBER, .number = {.m = m, .scale = scale}};
}

static const int64_t mantissas[5] = {-150, 0, 125, 250, 1000}; /* rows 0, 2, 3, 4, 5 */

static void check_numbers(const struct vec *vec)
{
    const struct literal values[] = {number(125, 2), number(25, 1)};
    const struct literal finer[] = {number(12501, 4)}; /* finer than the column */
    const struct literal huge[] = {number(INT64_MAX, 0)};
    check(vec, PRED_EQ, values, 1, "000100");
    check(vec, PRED_NE, values, 1, "101011");
    check(vec, PRED_LT, values, 1, "101000");
    check(vec, PRED_LE, values, 1, "101100");
    check(vec, PRED_GT, values, 1, "000011");
    check(vec, PRED_GE, values, 1, "000111");
    check(vec, PRED_BETWEEN, values, 2, "000110");
    check(vec, PRED_IN, values, 2, "000110");
    check(vec, PRED_NOT_IN, values, 2, "101001");
    check(vec, PRED_EQ, finer, 1, "000000");
    check(vec, PRED_LT, finer, 1, "101100");
    check(vec, PRED_LT, huge, 1, "101111");
    check(vec, PRED_IS_SET, NULL, 0, "101111");
    check(vec, PRED_IS_NOT_SET, NULL, 0, "010000");
}

static void numbers_are_compared_exactly_whatever_their_form(void **state)
{
    (void)state;
    const uint8_t scales[5] = {2, 2, 2, 2, 2};
    const double doubles[5] = {-1.5, 0, 1.25, 2.5, 10};
    struct vec vec = {.kind = VEC_NUM,
                      .rows = ROWS,
                      .value_count = 5,
                      .present = present,
                      .i64 = mantissas,
                      .scale = 2};
    check_numbers(&vec);
    vec.scales = scales;
    check_numbers(&vec);
    vec = (struct vec){
        .kind = VEC_F64, .rows = ROWS, .value_count = 5, .present = present, .f64 = doubles};
    check_numbers(&vec);
}

static void check_strings(const struct vec *vec)
{
    const struct literal values[] = {{.type = COL_STRING, .string = STR("beta")},
                                     {.type = COL_STRING, .string = STR("")}};
    const struct literal part[] = {{.type = COL_STRING, .string = STR("ta")}};
    const struct literal capitals[] = {{.type = COL_STRING, .string = STR("TA")}};
    const struct literal longer[] = {{.type = COL_STRING, .string = STR("alphabeta")}};
    const struct literal first[] = {{.type = COL_STRING, .string = STR("a")}};
    const struct literal wrong_type[] = {number(1, 0)};
    check(vec, PRED_EQ, values, 1, "001000");
    check(vec, PRED_NE, values, 1, "100111");
    check(vec, PRED_LT, values, 1, "100101");
    check(vec, PRED_IN, values, 2, "001100");
    check(vec, PRED_NOT_IN, values, 2, "100011");
    check(vec, PRED_CONTAINS, part, 1, "001010");
    check(vec, PRED_CONTAINS, capitals, 1, "001010"); /* ASCII letters in either case */
    check(vec, PRED_CONTAINS, longer, 1, "000000");
    check(vec, PRED_STARTS, first, 1, "100001");
    check(vec, PRED_ENDS, part, 1, "001010");
    check(vec, PRED_EQ, wrong_type, 1, "000000");
}

/* Rows 0, 2, 3, 4, 5: "alpha", "beta", "", "zeta", "a". */
static void strings_are_compared_by_bytes_in_dictionaries_and_without(void **state)
{
    (void)state;
    static const struct str sorted[] = {{"", 0}, {"a", 1}, {"alpha", 5}, {"beta", 4}, {"zeta", 4}};
    const uint32_t codes[5] = {2, 3, 0, 4, 1};
    const struct dict dict = {.count = 5, .values = sorted};
    struct vec vec = {.kind = VEC_CODE,
                      .rows = ROWS,
                      .value_count = 5,
                      .present = present,
                      .u32 = codes,
                      .dict = &dict};
    check_strings(&vec);
    const uint32_t offs[6] = {0, 5, 9, 9, 13, 14};
    vec = (struct vec){.kind = VEC_BYTES,
                       .rows = ROWS,
                       .value_count = 5,
                       .present = present,
                       .offs = offs,
                       .bytes = "alphabetazetaa"};
    check_strings(&vec);
}

static void a_list_meets_what_some_item_meets(void **state)
{
    (void)state;
    static const struct str items[] = {{"x", 1}, {"y", 1}};
    const struct dict dict = {.count = 2, .values = items};
    const uint32_t offs[6] = {0, 1, 2, 4, 4, 6}; /* x; y; x y; nothing; y y */
    const uint32_t codes[6] = {0, 1, 0, 1, 1, 1};
    const struct vec vec = {.kind = VEC_LIST,
                            .rows = ROWS,
                            .value_count = 5,
                            .present = present,
                            .u32 = codes,
                            .offs = offs,
                            .dict = &dict};
    const struct literal x[] = {{.type = COL_STRING, .string = STR("x")}};
    check(&vec, PRED_EQ, x, 1, "100100");
    check(&vec, PRED_NE, x, 1, "001101");
    check(&vec, PRED_IS_SET, NULL, 0, "101111");
}

static void booleans_and_times_compare(void **state)
{
    (void)state;
    const uint8_t bools[5] = {1, 0, 1, 0, 0};
    struct vec vec = {
        .kind = VEC_BOOL, .rows = ROWS, .value_count = 5, .present = present, .u8 = bools};
    const struct literal yes[] = {{.type = COL_BOOL, .boolean = true}};
    check(&vec, PRED_EQ, yes, 1, "100100");
    check(&vec, PRED_NE, yes, 1, "001011");
    vec = (struct vec){
        .kind = VEC_I64, .rows = ROWS, .value_count = 5, .present = present, .i64 = mantissas};
    const struct literal times[] = {{.type = COL_TIME, .ts_ms = 0},
                                    {.type = COL_TIME, .ts_ms = 250}};
    check(&vec, PRED_GE, times, 1, "001111");
    check(&vec, PRED_BETWEEN, times, 2, "001110");
    check(&vec, PRED_IN, times, 2, "001010");
}

static void not_is_true_where_the_value_is_missing(void **state)
{
    (void)state;
    const struct vec vec = {.kind = VEC_NUM,
                            .rows = ROWS,
                            .value_count = 5,
                            .present = present,
                            .i64 = mantissas,
                            .scale = 2};
    const struct literal values[] = {number(125, 2), number(0, 0)};
    const struct pred small = {.kind = PRED_LT, .values = values, .value_count = 1};
    const struct pred zero = {.kind = PRED_EQ, .values = values + 1, .value_count = 1};
    const struct pred *const one[] = {&small};
    const struct pred not_small = {.kind = PRED_NOT, .kids = one, .kid_count = 1};
    const struct pred *const two[] = {&not_small, &zero};
    const struct pred either = {.kind = PRED_OR, .kids = two, .kid_count = 2};
    const struct pred *const both[] = {&small, &zero};
    const struct pred small_and_zero = {.kind = PRED_AND, .kids = both, .kid_count = 2};
    const struct pred nothing = {.kind = PRED_FALSE};
    const struct pred *const none[] = {&nothing, &small};
    const struct pred never = {.kind = PRED_AND, .kids = none, .kid_count = 2};
    check_tree(&vec, &not_small, "010111");
    check_tree(&vec, &either, "011111");
    check_tree(&vec, &small_and_zero, "001000");
    check_tree(&vec, &never, "000000");
}

static void a_column_that_is_absent_is_missing_on_every_row(void **state)
{
    (void)state;
    const struct vec vec = {.kind = VEC_ABSENT, .rows = ROWS};
    const struct literal values[] = {number(1, 0)};
    check(&vec, PRED_NE, values, 1, "000000");
    check(&vec, PRED_IS_SET, NULL, 0, "000000");
    check(&vec, PRED_IS_NOT_SET, NULL, 0, "111111");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_compared_exactly_whatever_their_form),
        cmocka_unit_test(strings_are_compared_by_bytes_in_dictionaries_and_without),
        cmocka_unit_test(a_list_meets_what_some_item_meets),
        cmocka_unit_test(booleans_and_times_compare),
        cmocka_unit_test(not_is_true_where_the_value_is_missing),
        cmocka_unit_test(a_column_that_is_absent_is_missing_on_every_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
