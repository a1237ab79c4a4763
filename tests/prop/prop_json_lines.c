/* tests/prop/prop_json_lines.c - the fast reader of JSON lines against the one that judges.
 *
 * Goal: where server/json_lines.cc takes a line, server/json_tokens.cc takes it too, and gives the same
 * tokens; and of the lines that a program writes it takes nearly all. Method: random documents in
 * bodies of some lines, then the same with bytes changed, cut and put in, newlines among them.
 */
#include "server/json_lines.h"
#include "storage/base/buf.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t seed_of_run(void)
{
    const char *text = getenv("TEST_SEED");
    return text == NULL ? 20240601 : strtoull(text, NULL, 10);
}

static void put_space(struct rng *rng, struct buf *out)
{
    if (rng_below(rng, 8) == 0) {
        buf_z(out, rng_below(rng, 2) == 0 ? " " : "\t ");
    }
}

static void put_text(struct rng *rng, struct buf *out)
{
    static const char *const TEXTS[] = {"",
                                        "a",
                                        "event_id",
                                        "exactly8",
                                        "more than eight bytes, with a comma: {\"",
                                        "caf\xc3\xa9",
                                        "\\n",
                                        "a \\\"quoted\\\" one",
                                        "https:\\/\\/example.com\\/\\u00e9",
                                        "ends in a backslash \\\\",
                                        "[1,2]"};
    const char *text = TEXTS[rng_below(rng, COUNT_OF(TEXTS))];
    buf_u8(out, '"');
    for (; *text != 0; text++) {
        if (*text == '"' && (out->len == 0 || out->ptr[out->len - 1] != '\\')) {
            buf_u8(out, '\\');
        }
        buf_u8(out, (uint8_t)*text);
    }
    buf_u8(out, '"');
}

static void put_value(struct rng *rng, struct buf *out, uint32_t depth)
{
    static const char *const SCALARS[] = {
        "0",    "-1",    "12.50",  "1748000000000",         "1e3", "true",
        "null", "false", "-0.001", "123456789012345678901", "01",  "tru",
        "-",    "1.",    "nulll"};
    put_space(rng, out);
    uint64_t kind = rng_below(rng, depth > 5 ? 8 : 10);
    if (kind < 4) {
        put_text(rng, out);
    } else if (kind < 8) {
        bool is_good = rng_below(rng, 40) > 0;
        buf_z(out, SCALARS[rng_below(rng, is_good ? 9 : COUNT_OF(SCALARS))]);
    } else {
        bool is_object = kind == 8;
        buf_u8(out, is_object ? '{' : '[');
        for (uint64_t n = rng_below(rng, 5), i = 0; i < n; i++) {
            if (i > 0) {
                buf_u8(out, ',');
            }
            if (is_object) {
                put_space(rng, out);
                put_text(rng, out);
                put_space(rng, out);
                buf_u8(out, ':');
            }
            put_value(rng, out, depth + 1);
        }
        put_space(rng, out);
        buf_u8(out, is_object ? '}' : ']');
    }
    put_space(rng, out);
}

static void put_lines(struct rng *rng, struct buf *out)
{
    for (uint64_t n = 1 + rng_below(rng, 6); n > 0; n--) {
        if (rng_below(rng, 30) == 0) {
            put_value(rng, out, 0);
        } else {
            buf_u8(out, '{');
            for (uint64_t i = 0, count = rng_below(rng, 6); i < count; i++) {
                buf_z(out, i == 0 ? "" : ",");
                put_text(rng, out);
                buf_u8(out, ':');
                put_value(rng, out, 1);
            }
            buf_u8(out, '}');
        }
        buf_u8(out, '\n');
    }
}

static void mutate(struct rng *rng, struct buf *out)
{
    static const char BYTES[] = "\"\\{}[],:\n 0at\xc3\x01";
    for (uint64_t n = 1 + rng_below(rng, 3); n > 0 && out->len > 0; n--) {
        size_t at = (size_t)rng_below(rng, out->len);
        uint8_t byte = (uint8_t)BYTES[rng_below(rng, sizeof(BYTES) - 1)];
        switch (rng_below(rng, 3)) {
        case 0: out->ptr[at] = byte; break;
        case 1:
            memmove(out->ptr + at, out->ptr + at + 1, out->len - at - 1);
            out->len--;
            break;
        default:
            buf_u8(out, 0);
            memmove(out->ptr + at + 1, out->ptr + at, out->len - at - 1);
            out->ptr[at] = byte;
            break;
        }
    }
}

static bool token_eq(const struct json_token *a, const struct json_token *b)
{
    return a->kind == b->kind && a->has_key == b->has_key && a->is_in_text == b->is_in_text &&
           a->is_key_in_text == b->is_key_in_text && str_eq(a->key, b->key) &&
           str_eq(a->text, b->text) && a->end_idx == b->end_idx;
}

struct tally {
    uint64_t lines, fast, right;
};

static void compare_line(struct json_lines *lines, struct json_parser *parser, struct str line,
                         uint64_t seed, struct tally *tally)
{
    const struct json_token *got = NULL, *want = NULL;
    uint32_t got_count = 0, want_count = 0;
    struct err err = {0};
    bool is_taken = json_lines_parse(lines, line, &got, &got_count);
    bool is_right = json_parse(parser, line, &want, &want_count, &err) == ERR_OK;
    tally->lines++;
    tally->fast += is_taken;
    tally->right += is_right;
    bool is_same = !is_taken || (is_right && got_count == want_count);
    for (uint32_t i = 0; is_taken && is_same && i < got_count; i++) {
        is_same = token_eq(&got[i], &want[i]);
    }
    if (!is_same) {
        fail_msg("seed %llu: \"%.*s\": taken with %u tokens, judged %s with %u",
                 (unsigned long long)seed, (int)line.len, line.ptr, got_count,
                 is_right ? "right" : err.message, want_count);
    }
}

static void compare(struct json_parser *parser, const struct buf *body, uint64_t seed,
                    struct tally *tally)
{
    CLEANUP(json_lines_freep) struct json_lines *lines = NULL;
    struct err err;
    char *text = malloc(body->len + JSON_PADDING_BYTES);
    memcpy(text, body->ptr, body->len);
    memset(text + body->len, (int)(seed % 3 == 0 ? '"' : ' '), JSON_PADDING_BYTES);
    assert_int_equal(json_lines_create(body->len, &lines, &err), ERR_OK);
    json_lines_begin(lines, (struct str){text, body->len});
    for (const char *at = text, *end = text + body->len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline == NULL ? end : newline;
        struct str line = {at, (size_t)(stop - at)};
        at = stop + 1;
        if (line.len > 0) {
            compare_line(lines, parser, line, seed, tally);
        }
    }
    free(text);
}

static struct tally run(bool is_mutated, uint64_t trials)
{
    CLEANUP(json_parser_freep) struct json_parser *parser = NULL;
    struct tally tally = {0};
    struct err err;
    assert_int_equal(json_parser_create(&parser, &err), ERR_OK);
    for (uint64_t trial = 0; trial < trials; trial++) {
        uint64_t seed = seed_of_run() + trial;
        struct rng rng = rng_init(seed);
        CLEANUP(buf_freep) struct buf body = {0};
        put_lines(&rng, &body);
        if (is_mutated) {
            mutate(&rng, &body);
        }
        compare(parser, &body, seed, &tally);
    }
    return tally;
}

static void lines_have_the_tokens_of_single_documents(void **state)
{
    (void)state;
    struct tally tally = run(false, 20000);
    assert_true(tally.right > tally.lines / 2);
    assert_true(tally.fast > tally.right / 4); /* escaped keys and exponents go the slow way */
}

static void mutated_lines_are_never_taken_for_something_else(void **state)
{
    (void)state;
    struct tally tally = run(true, 60000);
    assert_true(tally.fast > 1000 && tally.right < tally.lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_the_tokens_of_single_documents),
        cmocka_unit_test(mutated_lines_are_never_taken_for_something_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
