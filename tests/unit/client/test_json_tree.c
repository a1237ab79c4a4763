/* tests/unit/client/test_json_tree.c - client/json_tree.h and client/result_table.h. */
#include "tests/unit/client/client_test.h"

#include "client/json_tree.h"
#include "client/result_table.h"

static void numbers_stay_the_text_that_came(void **state)
{
    static const char *const NUMBERS[] = {
        "0", "-0", "12.50", "123456789012345678901234567890.01", "-1.5e-300", "1E+5"};
    for (size_t i = 0; i < COUNT_OF(NUMBERS); i++) {
        struct err err;
        struct json_tree tree = {0};
        assert_ok(json_tree_parse(&tree, str_of(NUMBERS[i]), &err));
        assert_int_equal(tree.nodes[0].kind, JSON_TREE_NUMBER);
        assert_true(str_eq(tree.nodes[0].text, str_of(NUMBERS[i])));
        json_tree_done(&tree);
    }
}

static void a_tree_is_walked_by_ends_and_members(void **state)
{
    struct err err;
    struct json_tree tree = {0};
    assert_ok(json_tree_parse(
        &tree, STR(" {\"a\": [1, {\"b\": null}, []], \"n\": 42, \"s\": \"x\", \"e\": {}} "), &err));
    uint32_t a = json_tree_member(&tree, 0, "a");
    assert_int_equal(tree.nodes[a].kind, JSON_TREE_ARRAY);
    uint32_t second = tree.nodes[a + 1].end;
    assert_int_equal(tree.nodes[second].kind, JSON_TREE_OBJECT);
    assert_int_equal(tree.nodes[json_tree_member(&tree, second, "b")].kind, JSON_TREE_NULL);
    assert_int_equal(tree.nodes[tree.nodes[second].end].kind, JSON_TREE_ARRAY);
    assert_int_equal(json_tree_count(&tree, 0, "n", 7), 42);
    assert_int_equal(json_tree_count(&tree, 0, "s", 7), 7);
    assert_true(str_eq(json_tree_text(&tree, 0, "s"), STR("x")));
    assert_int_equal(json_tree_member(&tree, 0, "none"), JSON_TREE_NONE);
    assert_int_equal(json_tree_member(&tree, JSON_TREE_NONE, "a"), JSON_TREE_NONE);
    json_tree_done(&tree);
}

static void escapes_become_utf8(void **state)
{
    struct err err;
    struct json_tree tree = {0};
    assert_ok(json_tree_parse(
        &tree, STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00 \\ud800x\""), &err));
    assert_true(str_eq(tree.nodes[0].text, STR("\"\\/\b\f\n\r\té😀 \xef\xbf\xbdx")));
    json_tree_done(&tree);
}

static void what_is_no_json_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text;
        const char *message;
    } WRONG[] = {
        {"", "byte 1"},          {"{", "byte 2"},           {"[1,]", "byte 4"},
        {"[1 2]", "byte 4"},     {"{\"a\" 1}", "byte 6"},   {"{\"a\":1,}", "byte 8"},
        {"{a:1}", "byte 2"},     {"\"abc", "end of a str"}, {"\"a\nb\"", "control"},
        {"\"\\x\"", "escape"},   {"01", "number"},          {"1.", "digit"},
        {"1e", "digit"},         {"-", "number"},           {"nul", "a value"},
        {"[]]", "the end"},      {"{]", "name in quotes"},  {"\"\\", "end of a str"},
        {"\"\\u12\"", "escape"}, {"+1", "a value"},
    };
    for (size_t i = 0; i < COUNT_OF(WRONG); i++) {
        struct err err;
        struct json_tree tree = {0};
        assert_fails(json_tree_parse(&tree, str_of(WRONG[i].text), &err), ERR_INVALID,
                     WRONG[i].message);
        json_tree_done(&tree);
    }
}

static void a_million_open_brackets_are_refused(void **state)
{
    struct err err;
    struct json_tree tree = {0};
    size_t len = 1000000;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, '[', len);
    assert_fails(json_tree_parse(&tree, (struct str){text, len}, &err), ERR_LIMIT, "100 levels");
    json_tree_done(&tree);
    free(text);
}

/* Every prefix of a good text is refused, none is read past its end (the bytes lie at the end of a
 * block of their own, where a sanitizer watches). */
static void every_prefix_of_an_answer_is_refused(void **state)
{
    static const char good[] =
        "{\"columns\":[{\"name\":\"n\\u0031\",\"type\":\"int64\"}],"
        "\"rows\":[[1],[-2.5e3]],\"totals\":null,\"meta\":{\"x\":[true,false]}}";
    for (size_t len = 0; len < sizeof(good) - 1; len++) {
        struct err err;
        struct json_tree tree = {0};
        char *text = malloc(len + (len == 0));
        assert_non_null(text);
        memcpy(text, good, len);
        assert_int_equal(json_tree_parse(&tree, (struct str){text, len}, &err), ERR_INVALID);
        json_tree_done(&tree);
        free(text);
    }
}

static void an_answer_is_a_table(void **state)
{
    struct err err;
    struct result_table table = {0};
    assert_ok(result_table_parse(
        &table,
        STR("{\"columns\":[{\"name\":\"k\",\"type\":\"string\"},{\"name\":\"n\",\"type\":\"int64\"}"
            "],"
            "\"rows\":[[\"a\",1],[null,2]],\"totals\":[null,3],\"meta\":{\"verb\":\"trend\"}}"),
        &err));
    assert_int_equal(table.row_count, 2);
    assert_int_equal(result_table_col(&table, "n"), 1);
    assert_int_equal(result_table_col(&table, "m"), UINT32_MAX);
    assert_true(result_table_is_number(&table, 1) && !result_table_is_number(&table, 0));
    assert_int_equal(result_table_cell(&table, 1, 0)->kind, JSON_TREE_NULL);
    assert_true(result_table_real(&table.tree.nodes[table.totals[1]]) > 2.9);
    assert_true(str_eq(table.verb, STR("trend")));
    result_table_done(&table);
}

static void an_answer_of_somebody_else_is_refused(void **state)
{
    static const char *const WRONG[] = {
        "[]",
        "{}",
        "7",
        "{\"columns\":[]}",
        "{\"columns\":3,\"rows\":[]}",
        "{\"columns\":[{\"name\":\"a\",\"type\":\"int64\"}],\"rows\":[[1,2]]}",
        "{\"columns\":[{\"name\":\"a\",\"type\":\"int64\"}],\"rows\":[7]}",
        "{\"columns\":[{\"name\":\"a\",\"type\":\"int64\"}],\"rows\":[[1]],\"totals\":[]}",
        "<html>not here</html>"};
    for (size_t i = 0; i < COUNT_OF(WRONG); i++) {
        struct err err;
        struct result_table table = {0};
        assert_int_equal(result_table_parse(&table, str_of(WRONG[i]), &err), ERR_INVALID);
        result_table_done(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_stay_the_text_that_came),
        cmocka_unit_test(a_tree_is_walked_by_ends_and_members),
        cmocka_unit_test(escapes_become_utf8),
        cmocka_unit_test(what_is_no_json_is_refused_with_its_place),
        cmocka_unit_test(a_million_open_brackets_are_refused),
        cmocka_unit_test(every_prefix_of_an_answer_is_refused),
        cmocka_unit_test(an_answer_is_a_table),
        cmocka_unit_test(an_answer_of_somebody_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
