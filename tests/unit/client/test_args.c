/* tests/unit/client/test_args.c - client/args.h. */
#include "tests/unit/client/client_test.h"

#include "client/args.h"

#include <stdio.h>

static struct arg_list operands;
static bool is_loud;
static const char *server;
static uint64_t count;
static double share;
static struct arg_list params;

static const struct arg_option OPTIONS[] = {
    {.name = "loud", .sentence = "make noise", .flag = &is_loud},
    {.name = "server", .value_name = "URL", .sentence = "where", .text = &server},
    {.name = "count",
     .value_name = "N",
     .sentence = "how many",
     .count = &count,
     .min = 1,
     .max = 9},
    {.name = "share", .value_name = "R", .sentence = "part", .real = &share, .min = 0, .max = 1},
    {.name = "param", .value_name = "P", .sentence = "more", .list = &params},
};
static const struct arg_command COMMAND = {.name = "prog do",
                                           .sentence = "does it",
                                           .usage = "[--loud] FILE",
                                           .examples = "  prog do x\n",
                                           .options = OPTIONS,
                                           .option_count = COUNT_OF(OPTIONS)};

static enum err_code parse(const char *line, struct err *err)
{
    static char text[400];
    char *argv[32];
    int argc = 0;
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    operands.count = 0;
    params.count = 0;
    is_loud = false;
    server = "none";
    count = 0;
    share = -1;
    return args_parse(&COMMAND, argc, argv, &operands, err);
}

static void options_and_operands_come_in_any_order(void **state)
{
    struct err err;
    assert_ok(
        parse("a --loud --server=http://x --count 7 - --param k=v --share 0.25 --param=w b", &err));
    assert_true(is_loud);
    assert_string_equal(server, "http://x");
    assert_int_equal(count, 7);
    assert_true(share > 0.249 && share < 0.251);
    assert_int_equal(params.count, 2);
    assert_string_equal(params.items[0], "k=v");
    assert_int_equal(operands.count, 3);
    assert_string_equal(operands.items[1], "-");
}

static void two_dashes_end_the_options(void **state)
{
    struct err err;
    assert_ok(parse("--loud -- --server --help", &err));
    assert_int_equal(operands.count, 2);
    assert_string_equal(operands.items[0], "--server");
}

static void mistakes_are_named(void **state)
{
    struct err err;
    assert_fails(parse("--serve x", &err), ERR_INVALID, "did you mean \"--server\"");
    assert_fails(parse("--zebra x", &err), ERR_INVALID, "see prog do --help");
    assert_fails(parse("-x", &err), ERR_INVALID, "unknown option \"-x\"");
    assert_fails(parse("--server", &err), ERR_INVALID, "needs a value (URL)");
    assert_fails(parse("--loud=yes", &err), ERR_INVALID, "takes no value");
    assert_fails(parse("--count ten", &err), ERR_INVALID, "not a whole number");
    assert_fails(parse("--count -3", &err), ERR_INVALID, "not a whole number");
    assert_fails(parse("--count 5x", &err), ERR_INVALID, "not a whole number");
    assert_fails(parse("--count 10", &err), ERR_INVALID, "not in 1 .. 9");
    assert_fails(parse("--count 99999999999999999999", &err), ERR_INVALID, "number");
    assert_fails(parse("--share nan", &err), ERR_INVALID, "not a number");
    assert_fails(parse("--share 1.5", &err), ERR_INVALID, "not in 0 .. 1");
}

static void help_is_asked_for_before_two_dashes_only(void **state)
{
    char help[] = "--help";
    char h[] = "-h";
    char dashes[] = "--";
    char word[] = "x";
    char *asks[] = {word, help};
    char *asks_short[] = {h};
    char *asks_not[] = {dashes, help};
    assert_true(args_want_help(2, asks));
    assert_true(args_want_help(1, asks_short));
    assert_false(args_want_help(2, asks_not));
    assert_false(args_want_help(0, NULL));
}

static void help_names_every_option_and_ends_with_the_examples(void **state)
{
    CLEANUP(buf_freep) struct buf help = {0};
    args_help(&COMMAND, &help);
    buf_u8(&help, '\0');
    for (size_t i = 0; i < COUNT_OF(OPTIONS); i++) {
        assert_non_null(strstr((const char *)help.ptr, OPTIONS[i].name));
        assert_non_null(strstr((const char *)help.ptr, OPTIONS[i].sentence));
    }
    help.len--;
    assert_true(str_ends(buf_as_str(&help), STR("  prog do x\n")));
}

static void the_nearest_name_is_near(void **state)
{
    static const char *const NAMES[] = {"ingest", "query", "inspect"};
    assert_string_equal(args_nearest(STR("qeury"), NAMES, 3), "query");
    assert_string_equal(args_nearest(STR("ingst"), NAMES, 3), "ingest");
    assert_null(args_nearest(STR("frobnicate"), NAMES, 3));
    assert_null(args_nearest(STR("x"), NAMES, 3));
    assert_null(args_nearest(STR(""), NAMES, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_operands_come_in_any_order),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(help_is_asked_for_before_two_dashes_only),
        cmocka_unit_test(help_names_every_option_and_ends_with_the_examples),
        cmocka_unit_test(the_nearest_name_is_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
