/* Tests of query/result*.c: cells, their order, and the three output forms. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "query/result_int.h"
#include "storage/base/rng.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static const char *text_of(struct buf *buf)
{
    buf_u8(buf, 0);
    assert_false(buf->is_bad);
    return (const char *)buf->ptr;
}

static void check_string(struct str s, const char *want)
{
    CLEANUP(buf_freep) struct buf out = {0};
    result_json_string(s, &out);
    assert_string_equal(text_of(&out), want);
}

static void strings_are_escaped_as_json_wants(void **state)
{
    (void)state;
    check_string(STR(""), "\"\"");
    check_string(STR("a\"b\\c"), "\"a\\\"b\\\\c\"");
    check_string(STR("\n\r\t\x01\x1f"), "\"\\n\\r\\t\\u0001\\u001f\"");
    check_string(STR("a\0b"), "\"a\\u0000b\"");
    check_string(STR("\xe4\xb8\xad\xf0\x9f\x98\x80"), "\"\xe4\xb8\xad\xf0\x9f\x98\x80\"");
}

static void bytes_that_are_no_utf8_become_replacement_characters(void **state)
{
    (void)state;
    check_string(STR("a\xff"), "\"a\xef\xbf\xbd\"");
    check_string(STR("\xc0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");                   /* overlong */
    check_string(STR("\xed\xa0\x80!"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!\""); /* surrogate */
    check_string(STR("\xe4\xb8"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");                   /* cut short */
}

static void check_double(double v, const char *want)
{
    CLEANUP(buf_freep) struct buf out = {0};
    result_double(v, &out);
    assert_string_equal(text_of(&out), want);
}

static void doubles_are_the_shortest_text_that_reads_back(void **state)
{
    (void)state;
    check_double(0.1, "0.1");
    check_double(0.1 + 0.2, "0.30000000000000004");
    check_double(1.0 / 3, "0.3333333333333333");
    check_double(-0.0, "0");
    check_double(2.0, "2");
    check_double(1e300, "1e+300");
    struct rng rng = rng_init(1);
    for (int i = 0; i < 20000; i++) {
        CLEANUP(buf_freep) struct buf out = {0};
        uint64_t bits = rng_next(&rng);
        double v = 0;
        memcpy(&v, &bits, sizeof(v));
        if (isfinite(v)) {
            result_double(v, &out);
            assert_true(strtod(text_of(&out), NULL) == v);
        }
    }
}

static const struct result_col cols[] = {
    {{"name", 4}, RESULT_STRING}, {{"n", 1}, RESULT_INT64},   {{"x,y", 3}, RESULT_NUMBER},
    {{"ok", 2}, RESULT_BOOL},     {{"tags", 4}, RESULT_LIST},
};

static struct result sample(struct cell *cells)
{
    static const struct str tags[] = {{"a", 1}, {"b\"", 2}};
    static struct cell totals[COUNT_OF(cols)];
    cells[0] = (struct cell){.kind = CELL_STRING, .string = STR("say \"hi\", you\n")};
    cells[1] = (struct cell){.kind = CELL_I64, .i64 = INT64_MIN};
    cells[2] =
        (struct cell){.kind = CELL_DECIMAL,
                      .decimal = {.is_decimal = true, .m = -125, .scale = 2, .approx = -1.25}};
    cells[3] = (struct cell){.kind = CELL_BOOL, .boolean = true};
    cells[4] = (struct cell){.kind = CELL_LIST, .list = {tags, 2}};
    cells[5] = (struct cell){.kind = CELL_STRING, .string = STR("")};
    totals[1] = (struct cell){.kind = CELL_I64, .i64 = 7};
    return (struct result){
        .cols = cols,
        .col_count = COUNT_OF(cols),
        .cells = cells,
        .row_count = 2,
        .totals = totals,
        .meta = {.dataset = STR("shop"),
                 .epoch = 8,
                 .exact = true,
                 .time_zone = STR("UTC"),
                 .zone_version = STR("2025b"),
                 .verb = STR("trend"),
                 .rows_total = 2},
    };
}

static void json_has_columns_rows_totals_and_meta(void **state)
{
    (void)state;
    struct cell cells[2 * COUNT_OF(cols)] = {0};
    struct result result = sample(cells);
    CLEANUP(buf_freep) struct buf out = {0};
    struct err err = {0};
    assert_int_equal(result_write(&result, RESULT_JSON, &out, &err), ERR_OK);
    assert_string_equal(
        text_of(&out),
        "{\"columns\":[{\"name\":\"name\",\"type\":\"string\"},{\"name\":\"n\",\"type\":\"int64\"},"
        "{\"name\":\"x,y\",\"type\":\"number\"},{\"name\":\"ok\",\"type\":\"bool\"},"
        "{\"name\":\"tags\",\"type\":\"list\"}],\"rows\":["
        "[\"say \\\"hi\\\", you\\n\",-9223372036854775808,-1.25,true,[\"a\",\"b\\\"\"]],"
        "[\"\",null,null,null,null]],\"totals\":[null,7,null,null,null],"
        "\"meta\":{\"dataset\":\"shop\",\"epoch\":8,\"watermark\":null,\"exact\":true,"
        "\"partial\":false,\"time_zone\":\"UTC\",\"time_zone_version\":\"2025b\","
        "\"verb\":\"trend\",\"elapsed_us\":0,\"rows_read\":0,\"bytes_read\":0,\"blocks_loaded\":0,"
        "\"segments\":0,\"segments_pruned\":0,\"cached\":0,\"rows_total\":2,\"rows_left_out\":0,"
        "\"warnings\":[]}}\n");
}

static void csv_quotes_as_rfc_4180_and_tells_null_from_empty(void **state)
{
    (void)state;
    struct cell cells[2 * COUNT_OF(cols)] = {0};
    struct result result = sample(cells);
    CLEANUP(buf_freep) struct buf out = {0};
    struct err err = {0};
    assert_int_equal(result_write(&result, RESULT_CSV, &out, &err), ERR_OK);
    assert_string_equal(text_of(&out), "name,n,\"x,y\",ok,tags\r\n"
                                       "\"say \"\"hi\"\", you\n\",-9223372036854775808,-1.25,true,"
                                       "\"[\"\"a\"\",\"\"b\\\"\"\"\"]\"\r\n"
                                       "\"\",,,,\r\n");
}

static void ndjson_is_one_object_per_row(void **state)
{
    (void)state;
    struct cell cells[2 * COUNT_OF(cols)] = {0};
    struct result result = sample(cells);
    CLEANUP(buf_freep) struct buf out = {0};
    struct err err = {0};
    assert_int_equal(result_write(&result, RESULT_NDJSON, &out, &err), ERR_OK);
    assert_string_equal(text_of(&out),
                        "{\"name\":\"say \\\"hi\\\", you\\n\",\"n\":-9223372036854775808,"
                        "\"x,y\":-1.25,\"ok\":true,\"tags\":[\"a\",\"b\\\"\"]}\n"
                        "{\"name\":\"\",\"n\":null,\"x,y\":null,\"ok\":null,\"tags\":null}\n");
}

static void cells_are_ordered_by_kind_and_then_by_exact_value(void **state)
{
    (void)state;
    const struct cell ascending[] = {
        {.kind = CELL_NULL},
        {.kind = CELL_BOOL, .boolean = false},
        {.kind = CELL_BOOL, .boolean = true},
        {.kind = CELL_I64, .i64 = -5},
        {.kind = CELL_F64, .f64 = 0.5},
        {.kind = CELL_DECIMAL,
         .decimal = {.is_decimal = true, .m = 75, .scale = 2, .approx = 0.75}},
        {.kind = CELL_I64, .i64 = (INT64_C(1) << 53)},
        {.kind = CELL_I64, .i64 = (INT64_C(1) << 53) + 1}, /* the same double */
        {.kind = CELL_STRING, .string = STR("")},
        {.kind = CELL_STRING, .string = STR("a")},
    };
    for (size_t i = 0; i < COUNT_OF(ascending); i++) {
        for (size_t k = 0; k < COUNT_OF(ascending); k++) {
            int order = cell_cmp(&ascending[i], &ascending[k]);
            assert_int_equal((order > 0) - (order < 0), (i > k) - (i < k));
        }
    }
}

static void totals_become_the_plainest_cell(void **state)
{
    (void)state;
    struct cell cell = cell_of_total((struct num_total){.is_decimal = true, .m = 4200, .scale = 2});
    assert_int_equal(cell.kind, CELL_I64);
    assert_int_equal(cell.i64, 42);
    cell = cell_of_total((struct num_total){.is_decimal = true, .m = -1250, .scale = 3});
    assert_int_equal(cell.kind, CELL_DECIMAL);
    assert_int_equal((int64_t)cell.decimal.m, -125);
    assert_int_equal(cell.decimal.scale, 2);
    cell = cell_of_total((struct num_total){.approx = (double)INFINITY});
    assert_int_equal(cell.kind, CELL_NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_escaped_as_json_wants),
        cmocka_unit_test(bytes_that_are_no_utf8_become_replacement_characters),
        cmocka_unit_test(doubles_are_the_shortest_text_that_reads_back),
        cmocka_unit_test(json_has_columns_rows_totals_and_meta),
        cmocka_unit_test(csv_quotes_as_rfc_4180_and_tells_null_from_empty),
        cmocka_unit_test(ndjson_is_one_object_per_row),
        cmocka_unit_test(totals_become_the_plainest_cell),
        cmocka_unit_test(cells_are_ordered_by_kind_and_then_by_exact_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
