/* Tests of query/lex.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "query/lex.h"

static struct arena *arena;

static int open_arena(void **state)
{
    (void)state;
    arena = arena_create(NULL);
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

static struct lex lex_of(const char *text)
{
    struct lex lex;
    struct err err = {0};
    assert_int_equal(lex_init(&lex, str_of(text), arena, &err), ERR_OK);
    return lex;
}

/* The only token of `text`. */
static struct token token_of(const char *text)
{
    struct lex lex = lex_of(text);
    struct token token = lex_next(&lex);
    assert_int_equal(lex_next(&lex).kind, token.kind == TOK_BAD ? TOK_BAD : TOK_END);
    return token;
}

static void every_symbol_is_one_token(void **state)
{
    (void)state;
    static const enum token_kind want[] = {
        TOK_ARROW, TOK_LPAREN, TOK_RPAREN, TOK_LBRACKET, TOK_RBRACKET, TOK_COMMA, TOK_PIPE,
        TOK_EQ,    TOK_NE,     TOK_LT,     TOK_LE,       TOK_GT,       TOK_GE,    TOK_PLUS,
        TOK_MINUS, TOK_STAR,   TOK_SLASH,  TOK_QUESTION, TOK_BANG,     TOK_END,   TOK_END,
    };
    struct lex lex = lex_of("->()[],|=!=<<=>>=+-*/?!");
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        assert_int_equal(lex_next(&lex).kind, want[i]);
    }
}

static void names_are_bare_or_in_backquotes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *value;
        enum token_kind kind;
    } cases[] = {
        {"a", "a", TOK_NAME},
        {"$page.view_2", "$page.view_2", TOK_NAME},
        {"_", "_", TOK_NAME},
        {"`a b`", "a b", TOK_QUOTED_NAME},
        {"`a``b`", "a`b", TOK_QUOTED_NAME},
        {"````", "`", TOK_QUOTED_NAME},
        {":p.x", "p.x", TOK_PARAM},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct token token = token_of(cases[i].text);
        assert_int_equal(token.kind, cases[i].kind);
        assert_true(str_eq(token.value, str_of(cases[i].value)));
    }
}

static void strings_are_unescaped(void **state)
{
    (void)state;
    static const struct {
        const char *text, *value;
    } cases[] = {
        {"\"\"", ""},
        {"'a\"b'", "a\"b"},
        {"\"a'b\"", "a'b"},
        {"'\\n\\t\\\\\\\"\\''", "\n\t\\\"'"},
        {"\"\\u0041\\u00e9\\u6CE8\\ud83d\\ude00\"", "A\xc3\xa9\xe6\xb3\xa8\xf0\x9f\x98\x80"},
        {"\"# no comment\"", "# no comment"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct token token = token_of(cases[i].text);
        assert_int_equal(token.kind, TOK_STRING);
        assert_true(str_eq(token.value, str_of(cases[i].value)));
    }
    assert_int_equal(token_of("\"\\u0000\"").value.len, 1);
}

static void durations_have_a_count_and_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {
        {"500ms", 500},    {"30s", 30000},
        {"10m", 600000},   {"1h", 3600000},
        {"7d", 604800000}, {"2w", 1209600000},
        {"0s", 0},         {"9223372036854775807ms", INT64_MAX},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct token token = token_of(cases[i].text);
        assert_int_equal(token.kind, TOK_DURATION);
        assert_true(duration_ms(token.duration) == cases[i].ms);
    }
    struct token months = token_of("3mo");
    assert_int_equal(months.duration.unit, UNIT_MO);
    assert_int_equal(months.duration.count, 3);
}

static void dates_and_instants_are_one_token(void **state)
{
    (void)state;
    static const char *const times[] = {
        "2025-05-01",
        "2025-05-01T08:00",
        "2025-05-01T08:00Z",
        "2025-05-01T08:00:00",
        "2025-05-01T08:00:00.123Z",
        "2025-05-01T08:00+08:00",
        "2025-05-01T08:00:00.5-03:30",
        "9999-99-99", /* its shape is that of a date: the binder says what is wrong */
    };
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        struct token token = token_of(times[i]);
        assert_int_equal(token.kind, TOK_TIME);
        assert_true(str_eq(token.value, str_of(times[i])));
    }
    struct lex lex = lex_of("2025-05-01 - 6h");
    assert_int_equal(lex_next(&lex).kind, TOK_TIME);
    assert_int_equal(lex_next(&lex).kind, TOK_MINUS);
    assert_int_equal(lex_next(&lex).kind, TOK_DURATION);
}

static void numbers_are_exact(void **state)
{
    (void)state;
    assert_int_equal(num_cmp(token_of("12.50").number, num_decimal(125, 1)), 0);
    assert_int_equal(num_cmp(token_of("1e3").number, num_int(1000)), 0);
    assert_int_equal(token_of("0").kind, TOK_NUMBER);
    struct lex lex = lex_of("1->2");
    assert_int_equal(lex_next(&lex).kind, TOK_NUMBER);
    assert_int_equal(lex_next(&lex).kind, TOK_ARROW);
}

static void what_is_no_token_stays_bad_and_says_where(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t column;
    } cases[] = {
        {"\"abc", 1},
        {"'a\nb'", 1},
        {"\"a\\q\"", 3},
        {"\"\\u12g4\"", 2},
        {"`a", 1},
        {"``", 1},
        {"7x", 1},
        {"1.5h", 1},
        {"01", 1},
        {"1e999", 1},
        {"~", 1},
        {"\x01", 1},
        {"\xc3\xa9", 1},
        {"a == b", 3},
        {"\"a\\", 1},
        {"2025-05-01T", 1},
        {"2025-05-01T08:00:", 1},
        {"2025-05-01x", 1},
        {"9223372036854775808ms", 1},
        {"\"\\ud800x\"", 2},
        {"\"\\udc00\"", 2},
        {":", 1},
        {"a : b", 3},
        {"1.", 1},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct lex lex = lex_of(cases[i].text);
        struct token token = lex_next(&lex);
        while (token.kind == TOK_NAME) {
            token = lex_next(&lex);
        }
        assert_int_equal(token.kind, TOK_BAD);
        assert_int_equal(lex.bad.code, ERR_INVALID);
        assert_int_equal(lex.bad.column, cases[i].column);
        assert_int_equal(lex_next(&lex).kind, TOK_BAD);
    }
}

static void text_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\x80",
        "\xc3",
        "\xc0\x80",
        "\xe0\x80\x80",
        "\xed\xa0\x80",
        "\xf5\x80\x80\x80",
        "\xf4\x90\x80\x80",
        "\xf0\x80\x80\x80",
        "\xe6\xb3",
        "\"\xff\"",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct lex lex;
        struct err err = {0};
        assert_int_equal(lex_init(&lex, str_of(texts[i]), arena, &err), ERR_INVALID);
        assert_int_equal(err.line, 1);
    }
}

static void places_count_lines_and_characters(void **state)
{
    (void)state;
    struct lex lex = lex_of("a \"\xe6\xb3\xa8\" b # \xc3\xa9\r\n\n\tc");
    static const struct place want[] = {{1, 1}, {1, 3}, {1, 7}, {3, 2}, {3, 3}};
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        struct token token = lex_next(&lex);
        assert_int_equal(token.place.line, want[i].line);
        assert_int_equal(token.place.column, want[i].column);
    }
}

static void labels_have_single_spaces_outside_of_quotes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *label;
    } cases[] = {
        {"  a \n b  ", "a b"},
        {"a # why \"\n b", "a b"},
        {"a[x = \"p  q # r\"]", "a[x = \"p  q # r\"]"},
        {"'\\'  ' `#  `", "'\\'  ' `#  `"},
        {"", ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct str text = str_of(cases[i].text);
        struct str label = {0};
        struct err err = {0};
        assert_int_equal(lex_label(text, 0, (uint32_t)text.len, arena, &label, &err), ERR_OK);
        assert_true(str_eq(label, str_of(cases[i].label)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_symbol_is_one_token),
        cmocka_unit_test(names_are_bare_or_in_backquotes),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(durations_have_a_count_and_a_unit),
        cmocka_unit_test(dates_and_instants_are_one_token),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(what_is_no_token_stays_bad_and_says_where),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(places_count_lines_and_characters),
        cmocka_unit_test(labels_have_single_spaces_outside_of_quotes),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
