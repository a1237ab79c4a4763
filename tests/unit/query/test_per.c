/* tests/unit/query/test_per.c - trends and distinct counts `per KEY`: other subjects than users. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/snap_query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY INT64_C(86400000)
#define DEVICE(id)                                                                                 \
    {                                                                                              \
        {                                                                                          \
            .name = "device", .type = COL_STRING, .text = (id)                                     \
        }                                                                                          \
    }

static const struct snap_prop one[] = DEVICE("d1");
static const struct snap_prop two[] = DEVICE("d2");
static const struct snap_prop null[] = DEVICE("null");
static const struct snap_prop zero[] = DEVICE("00000000-0000-0000-0000-000000000000");
static const struct snap_event events[] = {
    {"1", "open", "ann", 1 * DAY, one, 1},      {"2", "pay", "ann", 1 * DAY + 1, two, 1},
    {"3", "open", "bob", 1 * DAY + 2, one, 1},  {"4", "open", "bob", 2 * DAY, one, 1},
    {"5", "pay", "cat", 2 * DAY + 1, null, 1},  {"6", "open", "dan", 2 * DAY + 2, zero, 1},
    {"7", "open", "eve", 2 * DAY + 3, NULL, 0}, /* no device */
};

/* The answer has these rows and totals, by every layout and way. */
static void check(const char *text, const char *rows, const char *totals)
{
    char want[200];
    (void)snprintf(want, sizeof(want), "\"rows\":[%s],\"totals\":[%s]", rows, totals);
    for (uint32_t way = 0; way < 6; way++) {
        const struct snap_query_opts how = {.is_reference_path = way % 2 == 1};
        struct snap_opts opts = {.source_count = 2, .memory_count = way / 2, .seed = 3};
        CLEANUP(snap_freep)
        struct snap *snap = snap_build(events, sizeof(events) / sizeof(events[0]), &opts);
        char *got = snap_query_json(snap, text, &how);
        if (strstr(got, want) == NULL) {
            fail_msg("%s: %s, not %s", text, got, want);
        }
        free(got);
    }
}

static void users_per_key_are_its_values(void **state)
{
    (void)state;
    check("trend users(any), users(pay), count(any) as events per device", "[2,1,7]", "2,1,7");
    check("trend users(any) each day per device", "[\"1970-01-02\",2],[\"1970-01-03\",1]",
          "null,2");
    check("distinct user of open per device", "[1]", "1");
}

static void the_user_is_the_subject_without_it(void **state)
{
    (void)state;
    check("trend users(any)", "[5]", "5");
    check("trend users(any) per user", "[5]", "5");
}

static void what_stands_for_nobody_is_no_subject(void **state)
{
    (void)state;
    check("trend unique(device of any), users(any) as devices per device", "[4,2]", "4,2");
    check("trend users(any[device = \"null\"]) per device", "[0]", "0");
}

static void expressions_and_conditions_take_it(void **state)
{
    (void)state;
    check("trend users(pay) / users(any) as share per device", "[0.5]", "0.5");
    check("trend users(any) where device = \"d1\" per device", "[1]", "1");
}

static void says_so_where_nothing_counts_users(void **state)
{
    (void)state;
    static const char *const texts[] = {"trend count(any) per device",
                                        "distinct device of any per device"};
    struct snap_opts opts = {.source_count = 1};
    const struct snap_query_opts how = {0};
    CLEANUP(snap_freep) struct snap *snap = snap_build(events, 1, &opts);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *got = snap_query_json(snap, texts[i], &how);
        assert_non_null(strstr(got, "nothing here counts users"));
        free(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_per_key_are_its_values),
        cmocka_unit_test(the_user_is_the_subject_without_it),
        cmocka_unit_test(what_stands_for_nobody_is_no_subject),
        cmocka_unit_test(expressions_and_conditions_take_it),
        cmocka_unit_test(says_so_where_nothing_counts_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
