/* tests/unit/storage/test_schema.c - tests of storage/schema.c. */
#include "tests/support/claims.h"

#include "storage/schema.h"

static void columns_keep_their_numbers_up_to_the_limit(void **state)
{
    (void)state;
    struct err err = {0};
    struct schema *schema = NULL;
    char name[32];
    uint32_t prop = 0;
    assert_ok(schema_create(&schema, &err));
    assert_int_equal(schema_find(schema, STR("x"), COL_BOOL), UINT32_MAX);
    for (uint32_t i = 0; i < SCHEMA_COLUMNS_MAX; i++) {
        snprintf(name, sizeof(name), "p%u", i / 2);
        assert_ok(schema_add(schema, str_of(name), i % 2 ? COL_NUMBER : COL_STRING, &prop, &err));
        assert_int_equal(prop, i);
        assert_int_equal(schema_count(schema), i + 1);
    }
    for (uint32_t i = 0; i < SCHEMA_COLUMNS_MAX; i++) {
        snprintf(name, sizeof(name), "p%u", i / 2);
        enum col_type type = i % 2 ? COL_NUMBER : COL_STRING;
        assert_int_equal(schema_find(schema, str_of(name), type), i);
        assert_true(str_eq(schema_col(schema, i)->name, str_of(name)));
        assert_int_equal(schema_col(schema, i)->type, type);
    }
    assert_ok(schema_add(schema, STR("p0"), COL_STRING, &prop, &err));
    assert_int_equal(prop, 0);
    assert_fails(schema_add(schema, STR("p0"), COL_LIST, &prop, &err), ERR_LIMIT, "\"p0\" (list)");
    schema_free(schema);
}

static void values_are_counted_by_column(void **state)
{
    (void)state;
    struct err err = {0};
    struct schema *schema = NULL;
    uint32_t prop = 0;
    assert_ok(schema_create(&schema, &err));
    assert_ok(schema_add(schema, STR("a"), COL_STRING, &prop, &err));
    assert_ok(schema_add(schema, STR("a"), COL_BOOL, &prop, &err));
    schema_count_values(schema, 1, 5);
    schema_count_values(schema, 1, 2);
    assert_int_equal(schema_col(schema, 0)->value_count, 0);
    assert_int_equal(schema_col(schema, 1)->value_count, 7);
    schema_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_keep_their_numbers_up_to_the_limit),
        cmocka_unit_test(values_are_counted_by_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
