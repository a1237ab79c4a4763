/* tests/prop/prop_journey_groups.c - Goal: what verbs over journeys count adds up: over groups, over buckets, and over both,
 * to the number without them. Method: random journeys, each question asked with and without `by` and `each`; rows that
 * differ in nothing but bucket and group are added. No reference is needed: the answers have to agree with each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/size.h"
#include "tests/support/walkers.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define TRIALS    40u
#define LINES_MAX 4096
#define KEY_BYTES 1024

enum { BY = 1, EACH = 2 };

/* `keys` columns name a row, `number` of those behind bucket and group is what adds up, by which of the clauses. */
static const struct question {
    const char *text;
    int keys, number, adds;
} questions[] = {
    {"sequence \"(?1)(?t<=1h)(?2)\" over a, (b | c)", 0, 0, BY},
    {"sequence \"(?1)(?t<=1h)(?2)\" over a, (b | c)", 0, 1, BY | EACH},
    {"sequence \"(?1).(?1)\" over (a | b) match", 0, 0, BY},
    {"sequence \"(?1)\" over a next page", 1, 1, BY | EACH},
    {"sequence \"(?1)(?2)\" over a, any next event_name backward anchor last_match", 1, 1,
     BY | EACH},
    {"sessions count, events", 0, 0, BY | EACH},
    {"sessions count, events idle 20m", 0, 1, BY | EACH},
    {"paths depth 4", 3, 3, BY | EACH},
    {"paths starting at a per user gap 1h loops", 3, 5, BY | EACH},
    {"paths ending at b depth 3 over event_name, page", 3, 3, BY | EACH},
    {"paths exactly 2 per user", 1, 1, BY | EACH},
    {"paths variants gap 45m", 1, 1, BY | EACH},
    {"absence a -> b within 1h", 0, 0, BY | EACH},
    {"absence a -> any[page = \"/q\"] within 20m", 0, 2, BY | EACH},
    {"absence a gap 20m", 0, 2, BY | EACH},
    {"intervals a -> b measure intervals, online_ms", 0, 0, BY | EACH},
    {"intervals a -> (b | c) measure intervals, online_ms longest 5h last 50h", 0, 1, EACH},
    {"attribution of c by channel model linear", 1, 1, EACH},
    {"attribution of c by channel model position lookback 5h", 1, 3, EACH},
};

/* Rows, added up by what names them. */
struct sums {
    struct {
        char key[KEY_BYTES];
        int64_t millionths;
    } items[LINES_MAX];
    int count;
};

static void sums_add(struct sums *sums, const char *key, int64_t millionths)
{
    int i = 0;
    while (i < sums->count && strcmp(sums->items[i].key, key) != 0) {
        i++;
    }
    if (i == sums->count) {
        assert_true(sums->count < LINES_MAX && strlen(key) < KEY_BYTES);
        memcpy(sums->items[i].key, key, strlen(key) + 1);
        sums->items[i].millionths = 0;
        sums->count++;
    }
    sums->items[i].millionths += millionths;
}

static const char *behind(const char *line, int columns)
{
    for (; columns > 0; columns--) {
        line = strchr(line, '|') + 1;
    }
    return line;
}

/* The rows of an answer, whose first `head` columns are its buckets and groups. */
static void read_rows(const struct question *question, int head, const char *answer,
                      struct sums *sums)
{
    sums->count = 0;
    for (const char *line = answer; *line != '\0' && *line != '='; line = strchr(line, '\n') + 1) {
        char key[KEY_BYTES];
        const char *own = behind(line, head);
        size_t len = (size_t)(behind(own, question->keys) - own);
        assert_true(len < sizeof(key));
        memcpy(key, own, len);
        key[len] = '\0';
        double number = strtod(behind(own, question->number), NULL);
        sums_add(sums, key, llround(number * 1e6));
    }
}

/* Rows of nothing are there where buckets are filled, and may be missing. */
static bool are_equal(const struct sums *x, struct sums *y)
{
    for (int i = 0; i < x->count; i++) {
        sums_add(y, x->items[i].key, -x->items[i].millionths);
    }
    for (int i = 0; i < y->count; i++) {
        if (y->items[i].millionths != 0) {
            return false;
        }
    }
    return true;
}

static void ask(const struct walkers *walkers, const struct question *question, const char *more,
                int head, struct rng *rng, struct sums *ret, struct buf *answer)
{
    CLEANUP(buf_freep) struct buf text = {0};
    buf_printf(&text, "%s%s", question->text, more);
    buf_u8(&text, 0);
    walkers_ask(walkers, (const char *)text.ptr, rng, answer);
    if (strncmp((const char *)answer->ptr, "error", 5) == 0) {
        fail_msg("%s\n%s", (const char *)text.ptr, (const char *)answer->ptr);
    }
    read_rows(question, head, (const char *)answer->ptr, ret);
}

static void what_is_counted_adds_up(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int head, uses;
    } clauses[] = {
        {" by channel", 1, BY}, {" by page, channel", 2, BY},         {" each hour", 1, EACH},
        {" each day", 1, EACH}, {" by device each 5h", 2, BY | EACH},
    };
    struct sums *plain = calloc(2, sizeof(*plain));
    uint64_t first_seed = walkers_seed(60606);
    assert_non_null(plain);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        for (size_t q = 0; q < COUNT_OF(questions); q++) {
            const struct question *question = &questions[q];
            CLEANUP(buf_freep) struct buf whole = {0};
            CLEANUP(buf_freep) struct buf parts = {0};
            size_t c = 0;
            do {
                c = (size_t)rng_below(&rng, COUNT_OF(clauses));
            } while ((clauses[c].uses & ~question->adds) != 0);
            ask(&walkers, question, "", 0, &rng, &plain[0], &whole);
            ask(&walkers, question, clauses[c].text, clauses[c].head, &rng, &plain[1], &parts);
            if (!are_equal(&plain[0], &plain[1])) {
                fail_msg("seed %" PRIu64 ": %s\n%s\n%s:\n%s", seed, question->text,
                         (const char *)whole.ptr, clauses[c].text, (const char *)parts.ptr);
            }
        }
    }
    free(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_counted_adds_up),
    };
    return cmocka_run_group_tests_name("prop/journey_groups", tests, NULL, NULL);
}
