/* tests/unit/query/test_funnel_meta.c - what a funnel's answer says of attempts that are not over yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/query.h"
#include "tests/support/snap_query.h"

#define HOUR INT64_C(3600000)

static const struct snap_event events[] = {
    {"1", "a", "ann", SNAP_NOW_MS - 3 * HOUR, NULL, 0}, /* its window is over */
    {"2", "a", "bob", SNAP_NOW_MS - 2 * HOUR, NULL, 0}, /* it ends now: still open */
    {"3", "a", "cat", SNAP_NOW_MS - 1 * HOUR, NULL, 0},
    {"4", "b", "cat", SNAP_NOW_MS, NULL, 0}, /* converted, and the window is open all the same */
};

static struct result_meta meta_of(const char *text)
{
    struct snap_opts opts = {.source_count = 2, .memory_count = 1, .seed = 1};
    CLEANUP(snap_freep) struct snap *snap = snap_build(events, COUNT_OF(events), &opts);
    CLEANUP(result_freep) struct result *result = NULL;
    struct snap_query_opts query_opts = {0};
    struct err err = {0};

    assert_int_equal(snap_query(snap, text, &query_opts, &result, &err), ERR_OK);
    return result->meta;
}

static void attempts_are_mature_when_their_window_is_over(void **state)
{
    (void)state;
    static const char *const texts[] = {"funnel a -> b within 2h", "funnel a -> b within 2h reuse",
                                        "funnel a -> b within 2h order any"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct result_meta meta = meta_of(texts[i]);
        assert_true(meta.has_entries);
        assert_int_equal(meta.entered, 3);
        assert_int_equal(meta.mature, 1);
    }
}

static void without_a_window_nothing_is_said(void **state)
{
    (void)state;
    assert_false(meta_of("funnel a -> b").has_entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempts_are_mature_when_their_window_is_over),
        cmocka_unit_test(without_a_window_nothing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
