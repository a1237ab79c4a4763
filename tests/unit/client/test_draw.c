/* tests/unit/client/test_draw.c - client/draw.h, client/sheet.h, client/term.h, against golden text. */
#include "tests/unit/client/client_test.h"

#include "client/draw.h"
#include "client/sheet.h"
#include "client/term.h"
#include "storage/base/rng.h"

#define assert_drawn(call, want)                                                                   \
    do {                                                                                           \
        CLEANUP(buf_freep) struct buf out = {0};                                                   \
        call;                                                                                      \
        assert_text(&out, want);                                                                   \
    } while (0)

static void draw_answer_in(const char *json, bool has_colour, size_t columns, struct buf *out)
{
    struct err err;
    struct result_table table = {0};
    assert_ok(result_table_parse(&table, str_of(json), &err));
    assert_ok(draw_result(&table, has_colour, columns, out, &err));
    result_table_done(&table);
}

static void draw_answer(const char *json, bool has_colour, struct buf *out)
{
    draw_answer_in(json, has_colour, 0, out);
}

static void what_could_command_the_terminal_is_shown_as_text(void **state)
{
    assert_drawn(term_text(STR("plain é 漢字 😀"), false, &out), "plain é 漢字 😀");
    assert_drawn(term_text(STR("\x1b[31mred\x1b]0;title\a"), false, &out),
                 "\\x1b[31mred\\x1b]0;title\\x07");
    assert_drawn(term_text(STR("a\nb\tc\rd\x7f"), false, &out), "a\\nb\\tc\\rd\\x7f");
    assert_drawn(term_text(STR("a\nb\tc\r"), true, &out), "a\nb\tc\\r");
    assert_drawn(term_text(STR("\xc2\x9b"
                               "31m"),
                           false, &out),
                 "\\u009b31m"); /* C1 CSI */
    assert_drawn(term_text(STR("\xe2\x80\xae"
                               "gnp.exe"),
                           false, &out),
                 "\\u202egnp.exe");
    assert_drawn(term_text((struct str){"\0", 1}, false, &out), "\\x00");
}

static void bytes_that_are_no_utf8_are_shown_as_bytes(void **state)
{
    assert_drawn(term_text(STR("\xff\xc3(\xe2\x82"), false, &out), "\\xff\\xc3(\\xe2\\x82");
    assert_drawn(
        term_text(STR("\xc0\xaf\xed\xa0\x80\xf5\x80\x80\x80"), false, &out),
        "\\xc0\\xaf\\xed\\xa0\\x80\\xf5\\x80\\x80\\x80"); /* overlong, surrogate, too high */
}

static void widths_are_those_of_a_terminal(void **state)
{
    assert_int_equal(term_width(STR("abc")), 3);
    assert_int_equal(term_width(STR("é")), 1);
    assert_int_equal(term_width(STR("e\xcc\x81")), 1); /* combining */
    assert_int_equal(term_width(STR("漢字")), 4);
    assert_int_equal(term_width(STR("😀")), 2);
    assert_int_equal(term_width(STR("█▌")), 2);
    assert_int_equal(term_width(STR("")), 0);
}

static void padding_counts_columns_and_cuts_with_an_ellipsis(void **state)
{
    assert_drawn(term_pad(STR("ab"), 4, false, &out), "ab  ");
    assert_drawn(term_pad(STR("ab"), 4, true, &out), "  ab");
    assert_drawn(term_pad(STR("漢"), 4, true, &out), "  漢");
    assert_drawn(term_pad(STR("abcdef"), 4, false, &out), "abc…");
    assert_drawn(term_pad(STR("漢字漢"), 4, false, &out), "漢… ");
    assert_drawn(term_pad(STR("abcd"), 4, false, &out), "abcd");
    assert_drawn(term_pad(STR("abc"), 0, false, &out), "");
}

static void durations_read_as_people_say_them(void **state)
{
    assert_drawn(draw_duration_ms(0, &out), "0ms");
    assert_drawn(draw_duration_ms(999, &out), "999ms");
    assert_drawn(draw_duration_ms(12340, &out), "12.3s");
    assert_drawn(draw_duration_ms(59999, &out), "1m 00s");
    assert_drawn(draw_duration_ms(245000, &out), "4m 05s");
    assert_drawn(draw_duration_ms(3599900, &out), "1h 00m");
    assert_drawn(draw_duration_ms(12000000, &out), "3h 20m");
    assert_drawn(draw_duration_ms(86399999, &out), "1d 00h");
    assert_drawn(draw_duration_ms(187200000, &out), "2d 04h");
}

static void numbers_lose_only_what_the_eye_cannot_use(void **state)
{
    assert_drawn(draw_number(STR("48210"), &out), "48210");
    assert_drawn(draw_number(STR("12345678901234567890123.45"), &out),
                 "12345678901234567890123.45");
    assert_drawn(draw_number(STR("35614.69"), &out), "35614.69");
    assert_drawn(draw_number(STR("0.010865"), &out), "0.010865");
    assert_drawn(draw_number(STR("33.333333333333336"), &out), "33.3333");
    assert_drawn(draw_number(STR("-0.000012345678"), &out), "-1.235e-05");
    assert_drawn(draw_number(STR("123456789012345.12345678"), &out), "123456789012345.12345678");
    assert_drawn(draw_number(STR("1e+30"), &out), "1e+30");
}

static void sizes_have_one_decimal(void **state)
{
    assert_drawn(draw_bytes(0, &out), "0 B");
    assert_drawn(draw_bytes(999, &out), "999 B");
    assert_drawn(draw_bytes(1000, &out), "1.0 kB");
    assert_drawn(draw_bytes(999949, &out), "999.9 kB");
    assert_drawn(draw_bytes(999999, &out), "1.0 MB");
    assert_drawn(draw_bytes(UINT64_MAX, &out), "18.4 EB");
}

static void bars_grow_by_eighths_and_something_is_never_nothing(void **state)
{
    assert_drawn(draw_bar(0, 4, &out), "");
    assert_drawn(draw_bar(1, 4, &out), "████");
    assert_drawn(draw_bar(0.5, 4, &out), "██");
    assert_drawn(draw_bar(0.53125, 4, &out), "██▏");
    assert_drawn(draw_bar(0.0001, 4, &out), "▏");
    assert_drawn(draw_bar(7, 4, &out), "████");
    assert_drawn(draw_bar(-1, 4, &out), "");
}

#define FUNNEL_COLUMNS                                                                             \
    "{\"name\":\"step\",\"type\":\"int64\"},{\"name\":\"event\",\"type\":\"string\"},"             \
    "{\"name\":\"users\",\"type\":\"int64\"},{\"name\":\"from_first\",\"type\":\"number\"},"       \
    "{\"name\":\"from_previous\",\"type\":\"number\"},{\"name\":\"dropped\",\"type\":\"int64\"},"  \
    "{\"name\":\"median_ms\",\"type\":\"number\"}"

static void a_funnel_has_bars_shares_and_durations(void **state)
{
    assert_drawn(
        draw_answer("{\"columns\":[" FUNNEL_COLUMNS "],\"rows\":["
                    "[1,\"register\",1000,1,null,0,null],[2,\"pay\",400,0.4,0.4,600,123456]],"
                    "\"totals\":[2,\"pay\",400,0.4,0.4,600,123456],\"meta\":{\"verb\":\"funnel\"}}",
                    false, &out),
        "step  event     users                                from_first  from_previous  dropped  "
        "median\n"
        "────  ────────  ─────  ────────────────────────────  ──────────  ─────────────  ───────  "
        "──────\n"
        "   1  register   1000  ████████████████████████████      100.0%                       0\n"
        "   2  pay         400  ███████████▎                       40.0%          40.0%      600  "
        "2m 03s\n");
}

#define RETENTION_COLUMNS                                                                          \
    "{\"name\":\"cohort\",\"type\":\"date\"},{\"name\":\"period\",\"type\":\"int64\"},"            \
    "{\"name\":\"size\",\"type\":\"int64\"},{\"name\":\"users\",\"type\":\"int64\"},"              \
    "{\"name\":\"rate\",\"type\":\"number\"},{\"name\":\"complete\",\"type\":\"bool\"}"

static void a_retention_is_a_shaded_grid(void **state)
{
    assert_drawn(draw_answer("{\"columns\":[" RETENTION_COLUMNS "],\"rows\":["
                             "[\"2024-06-03\",0,100,100,1,true],[\"2024-06-03\",1,100,60,0.6,true],"
                             "[\"2024-06-03\",2,100,3,0.03,true],"
                             "[\"2024-06-10\",0,50,50,1,true],[\"2024-06-10\",1,50,20,0.4,true],"
                             "[\"2024-06-10\",2,50,5,0.1,true],[\"2024-06-17\",0,0,0,null,true],"
                             "[\"2024-06-17\",1,0,0,null,true],[\"2024-06-17\",2,0,0,null,true]],"
                             "\"totals\":null,\"meta\":{\"verb\":\"retention\"}}",
                             false, &out),
                 "cohort      size         0         1         2\n"
                 "──────────  ────  ────────  ────────  ────────\n"
                 "2024-06-03   100  █ 100.0%  ▓  60.0%      3.0%\n"
                 "2024-06-10    50  █ 100.0%  ▒  40.0%  ░  10.0%\n"
                 "2024-06-17     0         -         -         -\n");
}

static void a_period_that_still_runs_is_marked(void **state)
{
    assert_drawn(draw_answer("{\"columns\":[" RETENTION_COLUMNS "],\"rows\":["
                             "[\"2024-06-03\",0,10,10,1,true],[\"2024-06-03\",1,10,4,0.4,false],"
                             "[\"2024-06-10\",0,5,5,1,false],[\"2024-06-10\",1,5,0,0,false]],"
                             "\"totals\":null,\"meta\":{\"verb\":\"retention\"}}",
                             false, &out),
                 "cohort      size         0          1 \n"
                 "──────────  ────  ─────────  ─────────\n"
                 "2024-06-03    10  █ 100.0%   ▒  40.0%*\n"
                 "2024-06-10     5  █ 100.0%*          ·\n"
                 "* this period still runs; · it has not begun, or nobody came back yet\n");
}

static void one_figure_over_time_gets_bars_and_a_total(void **state)
{
    assert_drawn(draw_answer("{\"columns\":[{\"name\":\"time\",\"type\":\"date\"},"
                             "{\"name\":\"users\",\"type\":\"int64\"}],"
                             "\"rows\":[[\"2024-06-01\",4],[\"2024-06-02\",2],[\"2024-06-03\",0]],"
                             "\"totals\":[null,5],\"meta\":{\"verb\":\"trend\"}}",
                             false, &out),
                 "time        users\n"
                 "──────────  ─────  ────────────────────────────\n"
                 "2024-06-01      4  ████████████████████████████\n"
                 "2024-06-02      2  ██████████████\n"
                 "2024-06-03      0\n"
                 "──────────  ─────  ────────────────────────────\n"
                 "total           5\n");
}

#define TREND_ANSWER                                                                               \
    "{\"columns\":[{\"name\":\"time\",\"type\":\"date\"},"                                         \
    "{\"name\":\"users\",\"type\":\"int64\"}],"                                                    \
    "\"rows\":[[\"2024-06-01\",4],[\"2024-06-02\",2]],"                                            \
    "\"totals\":null,\"meta\":{\"verb\":\"trend\"}}"

static void a_narrow_terminal_gets_a_shorter_bar_and_then_none(void **state)
{
    assert_drawn(draw_answer_in(TREND_ANSWER, false, 27, &out), "time        users\n"
                                                                "──────────  ─────  ────────\n"
                                                                "2024-06-01      4  ████████\n"
                                                                "2024-06-02      2  ████\n");
    assert_drawn(draw_answer_in(TREND_ANSWER, false, 22, &out), "time        users\n"
                                                                "──────────  ─────\n"
                                                                "2024-06-01      4\n"
                                                                "2024-06-02      2\n");
    assert_drawn(draw_answer_in(TREND_ANSWER, false, 16, &out),
                 "time        users\n"
                 "──────────  ─────\n"
                 "2024-06-01      4\n"
                 "2024-06-02      2\n"
                 "17 columns on a terminal of 16; | less -S shows lines whole\n");
}

static void a_narrow_grid_loses_its_shades_and_then_its_tenths(void **state)
{
    static const char answer[] = "{\"columns\":[" RETENTION_COLUMNS "],\"rows\":["
                                 "[\"2024-06-03\",0,100,100,1,true],"
                                 "[\"2024-06-03\",1,100,60,0.6,true]],"
                                 "\"totals\":null,\"meta\":{\"verb\":\"retention\"}}";
    assert_drawn(draw_answer_in(answer, false, 36, &out), "cohort      size         0         1\n"
                                                          "──────────  ────  ────────  ────────\n"
                                                          "2024-06-03   100  █ 100.0%  ▓  60.0%\n");
    assert_drawn(draw_answer_in(answer, false, 35, &out), "cohort      size       0       1\n"
                                                          "──────────  ────  ──────  ──────\n"
                                                          "2024-06-03   100  100.0%   60.0%\n");
    assert_drawn(draw_answer_in(answer, false, 31, &out), "cohort      size     0     1\n"
                                                          "──────────  ────  ────  ────\n"
                                                          "2024-06-03   100  100%   60%\n");
}

/* Keys are the columns before the first measure, whatever the types of both. */
static void a_missing_key_is_not_an_empty_key(void **state)
{
    assert_drawn(draw_answer("{\"columns\":[{\"name\":\"n\",\"type\":\"number\"},"
                             "{\"name\":\"city\",\"type\":\"string\"},"
                             "{\"name\":\"min(x of a)\",\"type\":\"string\"},"
                             "{\"name\":\"k\",\"type\":\"int64\"}],"
                             "\"rows\":[[null,\"\",null,1],[5,null,\"x\",2]],"
                             "\"totals\":[null,null,\"x\",3],\"meta\":{\"verb\":\"trend\"}}",
                             false, &out),
                 "     n  city    min(x of a)  k\n"
                 "──────  ──────  ───────────  ─\n"
                 "(none)                       1\n"
                 "     5  (none)  x            2\n"
                 "──────  ──────  ───────────  ─\n"
                 " total          x            3\n");
    assert_drawn(draw_answer("{\"columns\":[{\"name\":\"avg(x of a)\",\"type\":\"number\"}],"
                             "\"rows\":[[null]],\"totals\":[null],"
                             "\"meta\":{\"verb\":\"trend\"}}",
                             false, &out),
                 "avg(x of a)\n───────────\n           \n");
}

static void values_cannot_break_the_table(void **state)
{
    assert_drawn(
        draw_answer("{\"columns\":[{\"name\":\"city\\u001b[2J\",\"type\":\"string\"},"
                    "{\"name\":\"tags\",\"type\":\"list\"},{\"name\":\"ok\",\"type\":\"bool\"}],"
                    "\"rows\":[[\"a\\nb\",[\"x\",\"y\"],true],[\"漢字\",[],null]],"
                    "\"totals\":null,\"meta\":{\"verb\":\"events\"}}",
                    false, &out),
        "city\\x1b[2J  tags  ok\n"
        "───────────  ────  ────\n"
        "a\\nb         x, y  true\n"
        "漢字\n");
}

static void colours_appear_only_where_asked_for(void **state)
{
    static const char answer[] =
        "{\"columns\":[" RETENTION_COLUMNS "],\"rows\":["
        "[\"2024-06-03\",0,100,100,1,true],[\"2024-06-03\",1,100,60,0.6,true]],"
        "\"totals\":null,\"meta\":{\"verb\":\"retention\"}}";
    CLEANUP(buf_freep) struct buf plain = {0};
    CLEANUP(buf_freep) struct buf coloured = {0};
    draw_answer(answer, false, &plain);
    draw_answer(answer, true, &coloured);
    assert_null(memchr(plain.ptr, '\x1b', plain.len));
    assert_non_null(memmem(coloured.ptr, coloured.len, "\x1b[48;5;", 7));
    assert_null(memmem(coloured.ptr, coloured.len, "█", 3)); /* the colour is the shade */
}

static void the_last_line_says_what_the_answer_stands_on(void **state)
{
    struct err err;
    struct result_table table = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    assert_ok(result_table_parse(
        &table,
        STR("{\"columns\":[],\"rows\":[[]],\"totals\":null,\"meta\":{\"elapsed_us\":4810,"
            "\"rows_read\":24284,\"bytes_read\":1234567,\"segments\":16,\"segments_pruned\":3,"
            "\"rows_left_out\":9,\"exact\":true,\"partial\":true,\"time_zone\":\"Europe/Paris\"}}"),
        &err));
    draw_meta(&table, false, &out);
    assert_text(&out,
                "1 row (9 left out) · 4.8 ms · read 24284 rows, 1.2 MB · 16 segments (3 skipped) · "
                "the last bucket still runs · Europe/Paris\n");
    result_table_done(&table);
}

/* Goal: whatever an answer says, it is refused or drawn, and the drawing has lines of plain text only.
 * Method: good answers with random bytes changed, dropped or doubled; sanitizers watch the rest. */
static void mutated_answers_are_refused_or_drawn_harmlessly(void **state)
{
    static const char *const GOOD[] = {
        "{\"columns\":[" FUNNEL_COLUMNS "],\"rows\":[[1,\"a\",1000,1,null,0,null],"
        "[2,\"b\\u001b\",400,0.4,0.4,600,123456]],\"totals\":[2,\"b\",400,0.4,0.4,600,1],"
        "\"meta\":{\"verb\":\"funnel\",\"exact\":false,\"elapsed_us\":12}}",
        "{\"columns\":[" RETENTION_COLUMNS "],\"rows\":[[\"2024-06-03\",0,100,100,1,true],"
        "[\"2024-06-03\",1,100,60,0.6,false]],\"totals\":null,\"meta\":{\"verb\":\"retention\"}}",
        "{\"columns\":[{\"name\":\"time\",\"type\":\"date\"},{\"name\":\"n\",\"type\":"
        "\"number\"}],\"rows\":[[\"2024-06-01\",-4.5e300],[\"x\",2]],\"totals\":[null,5],"
        "\"meta\":{\"verb\":\"trend\"}}"};
    uint64_t seed = test_seed();
    uint64_t drawn = 0;
    for (uint64_t trial = 0; trial < 20000; trial++) {
        struct rng rng = rng_init(seed + trial);
        struct str good = str_of(GOOD[rng_below(&rng, COUNT_OF(GOOD))]);
        CLEANUP(buf_freep) struct buf text = {0};
        CLEANUP(buf_freep) struct buf out = {0};
        struct result_table table = {0};
        struct err err;
        buf_str(&text, good);
        for (uint64_t changes = rng_below(&rng, 4); changes > 0; changes--) {
            size_t at = rng_below(&rng, text.len);
            uint64_t how = rng_below(&rng, 4);
            if (how == 0) {
                text.ptr[at] = (uint8_t)rng_below(&rng, 256);
            } else if (how == 1) {
                text.ptr[at] = (uint8_t) "0159.-eE{}[]\",:"[rng_below(&rng, 16)];
            } else if (how == 2) {
                memmove(text.ptr + at, text.ptr + at + 1, text.len - at - 1);
                text.len--;
            } else {
                buf_u8(&text, 0);
                memmove(text.ptr + at + 1, text.ptr + at, text.len - at - 1);
            }
        }
        if (result_table_parse(&table, buf_as_str(&text), &err) == ERR_OK &&
            draw_result(&table, false, trial % 90, &out, &err) == ERR_OK) {
            draw_meta(&table, false, &out);
            drawn++;
        }
        for (size_t i = 0; i < out.len; i++) {
            if (out.ptr[i] < 0x20 && out.ptr[i] != '\n') {
                fail_msg("seed %" PRIu64 ": byte 0x%02x in the drawing", seed + trial, out.ptr[i]);
            }
        }
        result_table_done(&table);
    }
    assert_true(drawn > 5000 && drawn < 20000);
}

static void the_last_line_of_a_retention_counts_what_is_drawn(void **state)
{
    struct err err;
    struct result_table table = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    assert_ok(
        result_table_parse(&table,
                           STR("{\"columns\":[" RETENTION_COLUMNS "],\"rows\":["
                               "[\"2024-06-03\",0,10,10,1,true],[\"2024-06-03\",1,10,4,0.4,false],"
                               "[\"2024-06-10\",0,5,5,1,false],[\"2024-06-10\",1,5,0,0,false]],"
                               "\"totals\":null,\"meta\":{\"verb\":\"retention\"}}"),
                           &err));
    draw_meta(&table, false, &out);
    assert_text(&out, "2 cohorts, 4 rows · 0.0 ms · read 0 rows, 0 B · 0 segments (0 skipped)\n");
    result_table_done(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_could_command_the_terminal_is_shown_as_text),
        cmocka_unit_test(bytes_that_are_no_utf8_are_shown_as_bytes),
        cmocka_unit_test(widths_are_those_of_a_terminal),
        cmocka_unit_test(padding_counts_columns_and_cuts_with_an_ellipsis),
        cmocka_unit_test(durations_read_as_people_say_them),
        cmocka_unit_test(numbers_lose_only_what_the_eye_cannot_use),
        cmocka_unit_test(sizes_have_one_decimal),
        cmocka_unit_test(bars_grow_by_eighths_and_something_is_never_nothing),
        cmocka_unit_test(a_funnel_has_bars_shares_and_durations),
        cmocka_unit_test(a_retention_is_a_shaded_grid),
        cmocka_unit_test(a_period_that_still_runs_is_marked),
        cmocka_unit_test(one_figure_over_time_gets_bars_and_a_total),
        cmocka_unit_test(a_narrow_terminal_gets_a_shorter_bar_and_then_none),
        cmocka_unit_test(a_narrow_grid_loses_its_shades_and_then_its_tenths),
        cmocka_unit_test(a_missing_key_is_not_an_empty_key),
        cmocka_unit_test(values_cannot_break_the_table),
        cmocka_unit_test(colours_appear_only_where_asked_for),
        cmocka_unit_test(mutated_answers_are_refused_or_drawn_harmlessly),
        cmocka_unit_test(the_last_line_says_what_the_answer_stands_on),
        cmocka_unit_test(the_last_line_of_a_retention_counts_what_is_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
