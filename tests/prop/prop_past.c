/* tests/prop/prop_past.c - questions as of an epoch.
 *
 * Goal: a question asked `as of` the epoch of an earlier answer has the bytes that it had then, whatever has come since.
 * Method: a data set lives through random batches, late events among them, logins on shared devices, merges and their undoing,
 * user ids that stand for nobody, flushes, compactions, stops and crashes, with a clock that mostly moves and sometimes stands
 * still. Answers are remembered with their epochs, and asked again at any time later, with and without indexes. Where people
 * are erased, nobody can tell the old numbers any more: then the answers as of old epochs lose them, and stay as they are from
 * then on. And `diff` puts two such answers side by side: its `before` and `after` are theirs, and its parts add up to the
 * change. A third of the questions has `identity event_time`, which keeps its answers as well. `restatements` are held against the question asked around every commit, with and without its facts: what differs
 * there is told, nothing else is, and with events the changes of a number add up from one end to the other. */
#include "tests/support/claims.h"

#include "query/answer_cache.h"
#include "query/query.h"
#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "tests/support/live_events.h"
#include "tests/support/shop.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define TRIALS       10u
#define STEPS        70u
#define REMEMBER_MAX 400u
#define BEGIN_MS     INT64_C(1747008000000) /* 2025-05-12 */
#define USERS        6u
#define DEVICES      5u

static const char *const users[USERS] = {"a", "b", "c", "d", "e", "f"};
static const char *const devices[DEVICES] = {"a", "phone", "tablet", "tv", "web"};
static const char *const names[] = {"view", "add", "pay"};

#define RANGE "from 2025-05-08 to 2025-05-20"
static const char *const questions[] = {
    "trend count(any), users(any) " RANGE,
    "trend users(any) each day " RANGE,
    "trend users(view) as v, users((add | pay)) as p each hour from 2025-05-12 to 2025-05-14",
    "trend users(any), sum(amount of pay) as money each day by channel " RANGE,
    "trend rolling 2d users(any) as r each day where channel = \"ads\" " RANGE,
    "trend count(any[amount > 50]), unique(channel of any) as c, last(amount of any) as l by "
    "channel " RANGE,
    "trend count(any) by received_at " RANGE,
    "trend users(any) where in cohort \"lively\" " RANGE,
    "trend count(any), users(any) last 2d",
    "distinct user of any each day " RANGE,
    "funnel view -> add -> pay within 1d " RANGE " list users",
    "funnel view -> add within 2d by channel " RANGE,
    "funnel view -> pay within 3d count totals " RANGE " exclude cohort \"lively\"",
    "funnel view -> pay within 3d each day trend single by channel " RANGE,
    "users of (step = 1) in funnel view -> add within 1d " RANGE " list users",
    "users of (step = 2) in funnel view -> add within 1d " RANGE,
    "retention view -> any each day for 4 " RANGE,
    "retention any -> pay recurring each day for 3 " RANGE,
    "retention any -> any first each day for 3 " RANGE,
    "retention view[amount > 50] -> any first_ever unfiltered each day for 4 by channel " RANGE,
    "lifecycle of any each day " RANGE,
    "lifecycle of any each day by channel " RANGE,
    "lifecycle of view each day where amount > 20 " RANGE,
    "stickiness of any each day over week from 2025-05-12 to 2025-05-19",
    "sessions count, bounce_rate each day idle 30m " RANGE,
    "paths starting at view depth 3 top 20 " RANGE,
    "paths starting at view depth 3 " RANGE,
    "attribution of pay by channel model last_touch lookback 2d " RANGE,
    "segment did(view) and not did(pay) " RANGE " list users",
    "segment count(any) >= 2 " RANGE " list users",
    "segment last(any rolling 2d) or not did(add " RANGE ") list users",
    "conditions view, add[amount > 30], pay " RANGE,
    "timeline \"a\" " RANGE,
    "timeline \"tablet\" " RANGE,
    "events any columns (event_id, event_name, amount, user_id) " RANGE,
    "churn 2d of any " RANGE,
    "churn 1d of any by channel each 2d " RANGE,
    "conditions any, view, pay[amount > 20] by channel " RANGE,
    "segment count(view) / count(any) > 0.5 and sum(amount) - 10 > 3 per channel " RANGE,
    "users of (measure = \"dormant\", channel = \"ads\") in lifecycle of any each day by "
    "channel " RANGE,
    "users of (periods = 2) in stickiness of any each day " RANGE " list users",
    "intervals view -> pay measure peak, users each day " RANGE,
    "intervals view -> pay by channel measure peak, users each day " RANGE,
    "sequence \"(?1)(?2)\" over view, pay by channel each day " RANGE,
    "sequence \"(?1)\" over view next event_name by channel each day " RANGE,
    "paths depth 3 by channel each 2d " RANGE,
    "paths exactly 2 by channel " RANGE,
    "attribution of pay by channel model linear each day " RANGE,
    "users of (channel is not set) in paths depth 3 by channel " RANGE,
};
/* Without a range, of all data: what is erased leaves the disk some day, and then the first of all days may be another. */
static const char *const of_all_data[] = {
    "trend count(any), users(any) each day",
    "trend users(view), count(pay) each week by channel",
    "retention view -> any each day for 4",
    "funnel view -> add within 1d each day",
    "show events",
    "show values of channel",
};

#define BY_ARRIVAL " identity event_time"
#define QUESTIONS  (COUNT_OF(questions) + COUNT_OF(of_all_data))
static char by_arrival[QUESTIONS][600]; /* the same ones, with that clause */

struct answer {
    int64_t epoch_ms;
    const char *question;
    char *text;
};

#define EPOCHS_MAX 256u

struct bench {
    char dir[64];
    struct store_opts opts;
    struct store *store;
    struct dataset *dataset;
    struct io *io;
    struct answer_cache *kept; /* answers, whole and of segments */
    uint64_t seed;
    struct rng rng;
    uint32_t event_count;
    struct answer answers[REMEMBER_MAX];
    uint32_t answer_count;
    int64_t epochs[EPOCHS_MAX]; /* of all commits */
    uint32_t epoch_count;
    uint32_t told_count; /* lines of restatements that were acts */
    bool erases;         /* some people */
    int64_t erased_ms[USERS]; /* when, of each once */
    uint32_t erased_count;
    bool is_erased[USERS];
};

static int64_t clock_ms;

static int64_t test_clock(void)
{
    return clock_ms;
}

static void open_store(struct bench *b)
{
    struct err err = {0};
    struct recovery_report report;
    assert_ok(store_open(b->dir, &b->opts, &b->store, &report, &err));
    assert_ok(store_dataset(b->store, STR("shop"), true, &b->dataset, &err));
    b->dataset->limits.block_rows = 16; /* so that a few dozen rows make several segments */
}

/* ---- what happens ---- */

static void add_prop(struct batch_builder *builder, const char *name, struct prop prop)
{
    struct err err = {0};
    assert_ok(batch_name(builder, str_of(name), &prop.name_idx, &err));
    assert_ok(batch_prop(builder, &prop, &err));
}

static void add_event(struct bench *b, struct batch_builder *builder, int64_t days)
{
    static const char *const channels[] = {"ads", "mail"};
    static const int64_t grains[] = {1, 600000, 3600000, SHOP_DAY_MS};
    struct err err = {0};
    struct event *event = NULL;
    char id[32];
    int64_t grain = grains[rng_below(&b->rng, COUNT_OF(grains))];
    uint64_t kind = rng_below(&b->rng, 8); /* 0: with both ids, a login */
    assert_ok(batch_event(builder, &event, &err));
    snprintf(id, sizeof(id), "e%" PRIu32, b->event_count++);
    assert_ok(arena_str(builder->batch->arena, str_of(id), &event->event_id, &err));
    event->name = str_of(names[rng_below(&b->rng, COUNT_OF(names))]);
    event->user_id = kind > 3 ? (struct str){0} : str_of(users[rng_below(&b->rng, USERS)]);
    event->anonymous_id =
        kind > 0 && kind <= 3 ? (struct str){0} : str_of(devices[rng_below(&b->rng, DEVICES)]);
    if (kind == 0 &&
        b->erases) { /* a device of several is whose its last login says, and logins go with who is erased */
        uint64_t device = rng_below(&b->rng, DEVICES);
        event->user_id = str_of(users[device]);
        event->anonymous_id = str_of(devices[device]);
    }
    event->time_ms =
        (clock_ms - (int64_t)rng_below(&b->rng, (uint64_t)(days * SHOP_DAY_MS))) / grain * grain;
    uint64_t channel = rng_below(&b->rng, 3);
    if (channel < 2) {
        add_prop(builder, "channel",
                 (struct prop){.type = COL_STRING, .string = str_of(channels[channel])});
    }
    add_prop(builder, "amount",
             (struct prop){.type = COL_NUMBER,
                           .number = num_decimal((int64_t)rng_below(&b->rng, 10000), 2)});
}

static void put_batch(struct bench *b)
{
    struct err err = {0};
    struct batch_builder builder;
    uint64_t count = 1 + rng_below(&b->rng, 12);
    int64_t days = rng_below(&b->rng, 2) == 0 ? 4 : 1; /* late ones, or of now */
    assert_ok(batch_begin(NULL, clock_ms, &builder, &err));
    for (uint64_t i = 0; i < count; i++) {
        add_event(b, &builder, days);
    }
    assert_ok(live_ingest_batch(b->dataset, builder.batch, b->io, &err));
}

/* Whether it can be, others test. */
static void act(struct bench *b)
{
    struct err err = {0};
    struct str user = str_of(users[rng_below(&b->rng, USERS)]);
    struct str other = str_of(users[rng_below(&b->rng, USERS)]);
    enum err_code code = ERR_OK;
    switch (rng_below(&b->rng, 5)) {
    case 0:
    case 1: code = dataset_merge_user(b->dataset, user, other, &err); break;
    case 2: code = dataset_unmerge_user(b->dataset, user, &err); break;
    case 3: code = dataset_declare_nobody(b->dataset, user, true, &err); break;
    default: code = dataset_declare_nobody(b->dataset, user, false, &err); break;
    }
    assert_true(code == ERR_OK || code == ERR_INVALID || code == ERR_NOT_FOUND);
}

static void change(struct bench *b)
{
    struct err err = {0};
    switch (rng_below(&b->rng, 16)) {
    case 0:
    case 1: assert_ok(dataset_flush(b->dataset, &err)); break;
    case 2: assert_ok(dataset_compact(b->dataset, NULL, &err)); break;
    case 3:
        store_abandon(TAKE(b->store));
        open_store(b);
        break;
    case 4:
        assert_ok(store_close(TAKE(b->store), &err));
        open_store(b);
        break;
    case 5:
    case 6: act(b); break;
    default: put_batch(b); break;
    }
    if (rng_below(&b->rng, 3) > 0) {
        clock_ms += (int64_t)rng_below(&b->rng, 3 * 3600000);
    }
}

/* ---- asking ---- */

static const char *pick_question(struct bench *b)
{
    uint64_t count = COUNT_OF(questions) + (b->erases ? 0 : COUNT_OF(of_all_data));
    uint64_t idx = rng_below(&b->rng, count);
    if (rng_below(&b->rng, 3) == 0) {
        return by_arrival[idx];
    }
    return idx < COUNT_OF(questions) ? questions[idx] : of_all_data[idx - COUNT_OF(questions)];
}

static void make_by_arrival(void)
{
    for (size_t i = 0; i < QUESTIONS; i++) {
        const char *question =
            i < COUNT_OF(questions) ? questions[i] : of_all_data[i - COUNT_OF(questions)];
        snprintf(by_arrival[i], sizeof(by_arrival[i]), "%s" BY_ARRIVAL, question);
    }
}

/* Columns, rows and totals, with and without indexes and kept answers. */
static const char *ask(struct bench *b, struct snapshot *snapshot, const char *text, int64_t now_ms,
                       struct buf *out)
{
    struct err err = {0};
    CLEANUP(result_freep) struct result *result = NULL;
    uint64_t way = rng_below(&b->rng, 3);
    const struct query_request request = {.text = str_of(text),
                                          .now_ms = now_ms,
                                          .answers = way == 0 ? b->kept : NULL,
                                          .is_reference_path = way == 1};
    buf_clear(out);
    if (query_run(snapshot, NULL, b->io, &request, &result, &err) != ERR_OK ||
        result_write(result, RESULT_JSON, out, &err) != ERR_OK) {
        fail_msg("seed %" PRIu64 ": %s: %s", b->seed, text, err.message);
    }
    buf_u8(out, 0);
    char *meta = strstr((char *)out->ptr, "\"meta\":");
    assert_non_null(meta);
    *meta = '\0';
    return (char *)out->ptr;
}

/* As of an epoch, asked at the present hour. */
static const char *ask_past(struct bench *b, int64_t epoch_ms, const char *question,
                            struct buf *out)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    char text[700];
    snprintf(text, sizeof(text), "%s as of %" PRId64, question, epoch_ms);
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    return ask(b, snapshot, text, clock_ms, out);
}

static void remember(struct bench *b)
{
    struct err err = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    for (uint32_t i = 0; i < 3 && b->answer_count < REMEMBER_MAX; i++) {
        struct answer *answer = &b->answers[b->answer_count++];
        answer->epoch_ms = snapshot->commit_ms;
        answer->question = pick_question(b);
        answer->text = strdup(ask(b, snapshot, answer->question, snapshot->commit_ms, &out));
    }
}

static void ask_again(struct bench *b, uint32_t times)
{
    CLEANUP(buf_freep) struct buf out = {0};
    for (uint32_t i = 0; i < times && b->answer_count > 0; i++) {
        const struct answer *answer = &b->answers[rng_below(&b->rng, b->answer_count)];
        const char *got = ask_past(b, answer->epoch_ms, answer->question, &out);
        if (strcmp(got, answer->text) != 0) {
            fail_msg("seed %" PRIu64 ": %s as of %" PRId64 "\nthen: %s\nnow:  %s", b->seed,
                     answer->question, answer->epoch_ms, answer->text, got);
        }
    }
}

/* ---- differences ---- */

/* What gives no numbers, or not all of them. */
static bool has_difference(const char *question)
{
    static const char *const without[] = {"list users", "timeline", "events", "show", " top "};
    for (size_t i = 0; i < COUNT_OF(without); i++) {
        if (strstr(question, without[i]) != NULL) {
            return false;
        }
    }
    return true;
}

static struct result *result_of(struct bench *b, const char *text)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    struct result *result = NULL;
    const struct query_request request = {
        .text = str_of(text), .now_ms = clock_ms, .answers = b->kept};
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    if (query_run(snapshot, NULL, b->io, &request, &result, &err) != ERR_OK) {
        fail_msg("seed %" PRIu64 ": %s: %s", b->seed, text, err.message);
    }
    return result;
}

/* The answer as of an epoch, asked at another instant. */
static struct result *result_of_state(struct bench *b, const char *question, int64_t rows_ms,
                                      int64_t facts_ms, int64_t now_ms)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *present = NULL;
    CLEANUP(snapshot_unpinp) struct snapshot *past = NULL;
    struct result *result = NULL;
    const char *clause = strstr(question, BY_ARRIVAL); /* the snapshot is made for it here */
    const struct snapshot_past then = {rows_ms, rows_ms, INT64_MIN, facts_ms, clause != NULL};
    struct str text = {question, clause == NULL ? strlen(question) : (size_t)(clause - question)};
    const struct query_request request = {.text = text, .now_ms = now_ms};
    assert_ok(dataset_snapshot(b->dataset, &present, &err));
    assert_ok(snapshot_of_past(present, &then, UINT64_MAX, b->io, &past, &err));
    assert_ok(query_run(past, NULL, b->io, &request, &result, &err));
    return result;
}

static struct result *result_of_past(struct bench *b, const char *question, int64_t epoch_ms,
                                     int64_t now_ms)
{
    return result_of_state(b, question, epoch_ms, epoch_ms, now_ms);
}

/* The cell of the answer in the line with these keys; NULL where there is none. */
static const struct cell *find_cell(const struct result *answer, const struct cell *keys,
                                    uint32_t key_count, struct str column)
{
    for (uint64_t row = 0; row < answer->row_count; row++) {
        const struct cell *cells = answer->cells + row * answer->col_count;
        bool is_its = true;
        for (uint32_t k = 0; k < key_count; k++) {
            is_its = is_its && cell_cmp(&cells[k], &keys[k]) == 0;
        }
        for (uint32_t c = key_count; is_its && c < answer->col_count; c++) {
            if (str_eq(answer->cols[c].name, column)) {
                return &cells[c];
            }
        }
    }
    return NULL;
}

static double number_of(const struct cell *cell)
{
    return cell == NULL || cell->kind == CELL_NULL ? 0
           : cell->kind == CELL_I64                ? (double)cell->i64
           : cell->kind == CELL_F64                ? cell->f64
                                                   : cell->decimal.approx;
}

static bool are_equal(const struct cell *a, const struct cell *b)
{
    static const struct cell null = {.kind = CELL_NULL};
    return cell_cmp(a == NULL ? &null : a, b == NULL ? &null : b) == 0;
}

/* Numbers of these answers are integers, cents, and quotients. */
static bool adds_up(double sum, double a, double b, double c)
{
    double rest = sum - a - b - c;
    double size = 1 + (sum < 0 ? -sum : sum);
    return rest < size * 1e-9 && rest > -size * 1e-9;
}

static void check_line(struct bench *b, const char *text, const struct cell *line,
                       uint32_t key_count, const struct result *before, const struct result *after)
{
    const struct cell *numbers =
        line + key_count + 1; /* before, after, change, late, new, merged */
    struct str column = line[key_count].string;
    const struct cell *first = find_cell(before, line, key_count, column);
    const struct cell *second = find_cell(after, line, key_count, column);
    if (!are_equal(first, &numbers[0]) || !are_equal(second, &numbers[1])) {
        fail_msg("seed %" PRIu64 ": %s: " STR_FMT " is %g -> %g, and was %g -> %g", b->seed, text,
                 STR_ARG(column), number_of(&numbers[0]), number_of(&numbers[1]), number_of(first),
                 number_of(second));
    }
    if (!adds_up(number_of(&numbers[2]), number_of(&numbers[3]), number_of(&numbers[4]),
                 number_of(&numbers[5])) ||
        !adds_up(number_of(&numbers[1]), number_of(&numbers[0]), number_of(&numbers[2]), 0)) {
        fail_msg("seed %" PRIu64 ": %s: the parts of " STR_FMT " are not its change", b->seed, text,
                 STR_ARG(column));
    }
}

static void compare_epochs(struct bench *b)
{
    char text[700];
    const struct answer *one = &b->answers[rng_below(&b->rng, b->answer_count)];
    const struct answer *other = &b->answers[rng_below(&b->rng, b->answer_count)];
    const char *question = pick_question(b);
    int64_t from_ms = MIN_OF(one->epoch_ms, other->epoch_ms);
    int64_t to_ms = MAX_OF(one->epoch_ms, other->epoch_ms);
    if (!has_difference(question)) {
        return;
    }
    CLEANUP(result_freep) struct result *before = result_of_past(b, question, from_ms, to_ms);
    CLEANUP(result_freep) struct result *after = result_of_past(b, question, to_ms, to_ms);
    snprintf(text, sizeof(text), "diff %" PRId64 ", %" PRId64 " in %s", from_ms, to_ms, question);
    CLEANUP(result_freep) struct result *diff = result_of(b, text);
    assert_int_equal(diff->meta.epoch, to_ms);
    uint32_t key_count = diff->col_count - 7;
    for (uint64_t row = 0; row < diff->row_count; row++) {
        check_line(b, text, diff->cells + row * diff->col_count, key_count, before, after);
    }
    for (uint64_t row = 0; row < after->row_count; row++) { /* and no line is missing */
        const struct cell *keys = after->cells + row * after->col_count;
        bool is_there = false;
        for (uint64_t line = 0; line < diff->row_count && !is_there; line++) {
            is_there = true;
            for (uint32_t k = 0; k < key_count; k++) {
                is_there =
                    is_there && cell_cmp(&keys[k], &diff->cells[line * diff->col_count + k]) == 0;
            }
        }
        assert_true(is_there);
    }
}

/* ---- restatements ---- */

/* The ledger as it is defined: each epoch is asked of, whether anything moved there or not. */
struct ledger {
    struct bench *b;
    const char *text, *question;
    const struct result
        *rows; /* of the ledger: epoch, at, act, concerned, keys, number, before, after, change */
    uint32_t key_count;
    int64_t to_ms;
    uint64_t told; /* rows that were found to be right */
};
#define LEDGER_HEADS 4u

static const struct cell *ledger_row(const struct ledger *ledger, uint64_t row)
{
    return ledger->rows->cells + row * ledger->rows->col_count;
}

/* The line of an epoch, of acts or of events, about these keys and this number. */
static const struct cell *find_told(const struct ledger *ledger, int64_t epoch_ms, bool is_act,
                                    const struct cell *keys, struct str column)
{
    for (uint64_t r = 0; r < ledger->rows->row_count; r++) {
        const struct cell *row = ledger_row(ledger, r);
        bool is_its = row[0].i64 == epoch_ms && str_eq(row[2].string, STR("events")) != is_act &&
                      str_eq(row[LEDGER_HEADS + ledger->key_count].string, column);
        for (uint32_t k = 0; is_its && k < ledger->key_count; k++) {
            is_its = cell_cmp(&row[LEDGER_HEADS + k], &keys[k]) == 0;
        }
        if (is_its) {
            return row + LEDGER_HEADS + ledger->key_count + 1;
        }
    }
    return NULL;
}

/* All that differs between the two answers is told there, and nothing else. */
static void check_step(struct ledger *ledger, int64_t epoch_ms, bool is_act,
                       const struct result *before, const struct result *after)
{
    for (uint32_t side = 0; side < 2; side++) {
        const struct result *answer = side == 0 ? before : after;
        for (uint64_t r = 0; r < answer->row_count; r++) {
            const struct cell *keys = answer->cells + r * answer->col_count;
            for (uint32_t c = ledger->key_count; c < answer->col_count; c++) {
                struct str column = answer->cols[c].name;
                const struct cell *x = find_cell(before, keys, ledger->key_count, column);
                const struct cell *y = find_cell(after, keys, ledger->key_count, column);
                bool is_number =
                    answer->cols[c].type == RESULT_INT64 || answer->cols[c].type == RESULT_NUMBER;
                const struct cell *told = find_told(ledger, epoch_ms, is_act, keys, column);
                if (!is_number || (side == 1 && x != NULL)) {
                    continue; /* it was looked at from the other side */
                }
                if ((told != NULL) == are_equal(x, y) ||
                    (told != NULL && (!are_equal(x, &told[0]) || !are_equal(y, &told[1])))) {
                    fail_msg("seed %" PRIu64 ": %s: at %" PRId64 " " STR_FMT
                             " went from %g to %g, and is told %s",
                             ledger->b->seed, ledger->text, epoch_ms, STR_ARG(column), number_of(x),
                             number_of(y), told == NULL ? "not at all" : "otherwise");
                }
                ledger->told += told != NULL ? 1 : 0;
                ledger->b->told_count += told != NULL && is_act ? 1 : 0;
            }
        }
    }
}

/* Whether some line of the epoch is about an act. */
static bool has_act(const struct ledger *ledger, int64_t epoch_ms)
{
    for (uint64_t r = 0; r < ledger->rows->row_count; r++) {
        const struct cell *row = ledger_row(ledger, r);
        if (row[0].i64 == epoch_ms && !str_eq(row[2].string, STR("events")) &&
            !str_eq(row[2].string, STR("erased"))) {
            return true;
        }
    }
    return false;
}

static bool differ(const struct result *a, const struct result *b)
{
    bool is_other = a->row_count != b->row_count;
    for (uint64_t i = 0; !is_other && i < a->row_count * a->col_count; i++) {
        is_other = cell_cmp(&a->cells[i], &b->cells[i]) != 0;
    }
    return is_other;
}

/* The changes of each number of the end add up to its difference to the begin. */
static void check_sums(const struct ledger *ledger, const struct result *first,
                       const struct result *end)
{
    for (uint64_t r = 0; r < end->row_count; r++) {
        const struct cell *keys = end->cells + r * end->col_count;
        for (uint32_t c = ledger->key_count; c < end->col_count; c++) {
            double sum = 0;
            for (uint64_t l = 0; l < ledger->rows->row_count; l++) {
                const struct cell *row = ledger_row(ledger, l) + LEDGER_HEADS;
                bool is_its = str_eq(row[ledger->key_count].string, end->cols[c].name);
                for (uint32_t k = 0; is_its && k < ledger->key_count; k++) {
                    is_its = cell_cmp(&row[k], &keys[k]) == 0;
                }
                sum += is_its ? number_of(&row[ledger->key_count + 3]) : 0;
            }
            bool is_number =
                end->cols[c].type == RESULT_INT64 || end->cols[c].type == RESULT_NUMBER;
            const struct cell *was = find_cell(first, keys, ledger->key_count, end->cols[c].name);
            if (is_number && !adds_up(number_of(&keys[c]), number_of(was), sum, 0)) {
                fail_msg("seed %" PRIu64 ": %s: " STR_FMT " is %g, was %g, and the changes are %g",
                         ledger->b->seed, ledger->text, STR_ARG(end->cols[c].name),
                         number_of(&keys[c]), number_of(was), sum);
            }
        }
    }
}

/* Steps of the ledger in their order. Events are told at the next act whose numbers moved, or one that the data set knows
 * moved rows; where none is told, the step goes on to the next epoch. */
static void check_ledger(struct ledger *ledger, int64_t from_ms)
{
    struct bench *b = ledger->b;
    const char *question = ledger->question;
    CLEANUP(result_freep)
    struct result *first = result_of_past(b, question, from_ms, ledger->to_ms);
    CLEANUP(result_freep)
    struct result *end = result_of_past(b, question, ledger->to_ms, ledger->to_ms);
    for (uint32_t i = 0; i < b->epoch_count; i++) {
        int64_t epoch_ms = b->epochs[i];
        if (epoch_ms <= from_ms || epoch_ms > ledger->to_ms) {
            continue;
        }
        CLEANUP(result_freep)
        struct result *before = result_of_state(b, question, epoch_ms, epoch_ms - 1, ledger->to_ms);
        CLEANUP(result_freep)
        struct result *after = result_of_past(b, question, epoch_ms, ledger->to_ms);
        if (differ(before, after) || has_act(ledger, epoch_ms)) {
            check_step(ledger, epoch_ms, true, before, after);
        }
    }
    check_sums(ledger, first, end);
}

static void check_restatements(struct bench *b)
{
    char text[700];
    const struct answer *one = &b->answers[rng_below(&b->rng, b->answer_count)];
    const struct answer *other = &b->answers[rng_below(&b->rng, b->answer_count)];
    const char *question = pick_question(b);
    int64_t from_ms = MIN_OF(one->epoch_ms, other->epoch_ms);
    int64_t to_ms = MAX_OF(one->epoch_ms, other->epoch_ms);
    if (!has_difference(question)) {
        return;
    }
    snprintf(text, sizeof(text), "restatements from %" PRId64 " to %" PRId64 " with events of %s",
             from_ms, to_ms, question);
    CLEANUP(result_freep) struct result *rows = result_of(b, text);
    struct ledger ledger = {.b = b,
                            .text = text,
                            .question = question,
                            .rows = rows,
                            .key_count = rows->col_count - LEDGER_HEADS - 4,
                            .to_ms = to_ms};
    assert_int_equal(rows->meta.epoch, to_ms);
    check_ledger(&ledger, from_ms);
    uint64_t acts = 0;
    uint64_t erasures = 0;
    for (uint64_t r = 0; r < rows->row_count; r++) {
        struct str act = ledger_row(&ledger, r)[2].string;
        acts += !str_eq(act, STR("events")) && !str_eq(act, STR("erased")) ? 1 : 0;
        erasures += str_eq(act, STR("erased")) ? 1 : 0;
    }
    assert_int_equal(ledger.told, acts); /* and no more are told */
    snprintf(text, sizeof(text), "restatements from %" PRId64 " to %" PRId64 " of %s", from_ms,
             to_ms, question);
    CLEANUP(result_freep) struct result *alone = result_of(b, text);
    assert_int_equal(alone->row_count, acts + erasures);
    uint64_t erased = 0;
    for (uint32_t i = 0; i < b->erased_count; i++) {
        erased += b->erased_ms[i] > from_ms && b->erased_ms[i] <= to_ms;
    }
    assert_int_equal(erasures, erased);
}

static void note_epoch(struct bench *b)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    int64_t last_ms = b->epoch_count == 0 ? 0 : b->epochs[b->epoch_count - 1];
    if (snapshot->commit_ms > last_ms) {
        assert_true(b->epoch_count < EPOCHS_MAX);
        b->epochs[b->epoch_count++] = snapshot->commit_ms;
    }
}

/* ---- erasing ---- */

static void erase(struct bench *b)
{
    struct err err = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    uint64_t idx = 1 + rng_below(&b->rng, USERS - 1); /* a device is "a" as well */
    const char *user = users[idx];
    uint32_t shard = 0;
    uint32_t subject = 0;
    char quoted[16];
    if (!dataset_find_stored(b->dataset, str_of(user), &shard, &subject)) {
        return;
    }
    assert_ok(dataset_delete_subject(b->dataset, shard, subject, &err));
    if (!b->is_erased[idx]) { /* once more says nothing */
        b->is_erased[idx] = true;
        b->erased_ms[b->erased_count++] = dataset_stats(b->dataset).commit_ms;
    }
    snprintf(quoted, sizeof(quoted), "\"%s\"]", user);
    for (uint32_t i = 0; i < b->answer_count; i++) {
        struct answer *answer = &b->answers[i];
        const char *text = ask_past(b, answer->epoch_ms, answer->question, &out);
        bool lists_ids = strstr(answer->question, "list users") != NULL;
        if (lists_ids && strstr(text, quoted) != NULL) {
            fail_msg("seed %" PRIu64 ": %s as of %" PRId64 " has %s who is erased", b->seed,
                     answer->question, answer->epoch_ms, user);
        }
        free(answer->text);
        answer->text = strdup(text);
    }
}

/* ---- tests ---- */

static void save_cohort(struct bench *b)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(result_freep) struct result *result = NULL;
    const struct query_request request = {
        .text = STR("segment count(any " RANGE ") >= 3 save cohort \"lively\""),
        .now_ms = clock_ms};
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    assert_ok(query_run(snapshot, NULL, b->io, &request, &result, &err));
}

static void live(struct bench *b)
{
    put_batch(b);
    save_cohort(b);
    for (uint32_t s = 0; s < STEPS; s++) {
        change(b);
        note_epoch(b);
        if (rng_below(&b->rng, 2) == 0) {
            remember(b);
        }
        if (b->erases && rng_below(&b->rng, 25) == 0) {
            erase(b);
        }
        ask_again(b, 3);
        if (b->answer_count > 0) {
            compare_epochs(b);
        }
        if (b->answer_count > 0 && rng_below(&b->rng, 5) == 0) {
            check_restatements(b);
        }
    }
}

static void open_bench(struct bench *b)
{
    struct err err = {0};
    live_dir_make(b->dir);
    store_opts_default(&b->opts);
    b->opts.io_kind = IO_POSIX;
    b->opts.block_cache_bytes = 4u << 20;
    b->opts.compact_in_background = false;
    b->opts.wall_ms = test_clock;
    assert_ok(io_create(IO_POSIX, &b->io, &err));
    assert_ok(answer_cache_create(4u << 20, &b->kept, &err));
    open_store(b);
}

static void close_bench(struct bench *b)
{
    store_abandon(b->store);
    io_free(b->io);
    answer_cache_free(b->kept);
    live_dir_remove(b->dir);
    for (uint32_t i = 0; i < b->answer_count; i++) {
        free(b->answers[i].text);
    }
    free(b);
}

static void an_answer_as_of_an_epoch_is_the_answer_of_then(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    uint32_t told = 0;
    make_by_arrival();
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        struct bench *b = calloc(1, sizeof(*b));
        b->seed = seed + trial;
        b->rng = rng_init(b->seed);
        b->erases = trial % 2 == 1;
        clock_ms = BEGIN_MS + (int64_t)rng_below(&b->rng, SHOP_DAY_MS);
        open_bench(b);
        live(b);
        told += b->told_count;
        close_bench(b);
    }
    assert_true(told > 20); /* acts were told of, not only left out */
}

/* ---- beside the writer ---- */

#define SENDERS   2u
#define ASKERS    2u
#define SENT_EACH 150u
#define SEEN_MAX  200u

/* What an asker saw: how many events and people there were at an epoch. */
struct seen {
    int64_t epoch_ms;
    char text[96];
};
struct crowd {
    struct bench *b;
    _Atomic uint32_t sending;
    uint32_t number; /* of the thread */
    struct seen seen[SEEN_MAX];
    uint32_t seen_count;
};

/* Batches of one event, so that groups fly one after another, with logins and merges between them. */
static void *send(void *arg)
{
    struct crowd *crowd = arg;
    struct err err = {0};
    CLEANUP(io_freep) struct io *io = NULL;
    assert_ok(io_create(IO_POSIX, &io, &err));
    for (uint32_t i = 0; i < SENT_EACH; i++) {
        struct batch_builder builder;
        struct event *event = NULL;
        char id[32];
        uint32_t at = i * SENDERS + crowd->number;
        assert_ok(batch_begin(NULL, BEGIN_MS, &builder, &err)); /* a clock that stands still */
        assert_ok(batch_event(&builder, &event, &err));
        snprintf(id, sizeof(id), "e%" PRIu32, at);
        assert_ok(arena_str(builder.batch->arena, str_of(id), &event->event_id, &err));
        event->name = str_of(names[at % COUNT_OF(names)]);
        event->time_ms = BEGIN_MS - (int64_t)at * 60000;
        event->user_id = at % 3 == 0 ? (struct str){0} : str_of(users[at % USERS]);
        event->anonymous_id = at % 3 == 1 ? (struct str){0} : str_of(devices[at % DEVICES]);
        assert_ok(dataset_ingest(crowd->b->dataset, builder.batch, io, &err));
        event_batch_free(builder.batch);
        if (i % 40 == 39 && crowd->number == 0) {
            assert_ok(dataset_flush(crowd->b->dataset, &err));
        }
    }
    return NULL;
}

static void ask_now(struct crowd *crowd, struct io *io, struct buf *out)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(crowd->b->dataset, &snapshot, &err));
    struct seen *seen = &crowd->seen[crowd->seen_count++];
    const char *text =
        shop_ask(snapshot, "trend count(any), users(any)", BEGIN_MS, false, NULL, io, out);
    seen->epoch_ms = snapshot->commit_ms;
    const char *rows = strstr(text, "\"rows\"");
    snprintf(seen->text, sizeof(seen->text), "%s", rows == NULL ? text : rows);
}

static void *ask_meanwhile(void *arg)
{
    struct crowd *crowd = arg;
    struct err err = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    CLEANUP(io_freep) struct io *io = NULL;
    assert_ok(io_create(IO_POSIX, &io, &err));
    while (atomic_load(&crowd->sending) > 0 && crowd->seen_count < SEEN_MAX) {
        ask_now(crowd, io, &out);
    }
    return NULL;
}

/* Whatever an asker saw between two commits, as of that epoch is what it saw: no later commit has come in under its clock. */
static void what_is_seen_beside_the_writer_stays(void **state)
{
    (void)state;
    CLEANUP(buf_freep) struct buf out = {0};
    struct bench *b = calloc(1, sizeof(*b));
    struct crowd *crowds = calloc(SENDERS + ASKERS, sizeof(*crowds));
    pthread_t threads[SENDERS + ASKERS];
    clock_ms = BEGIN_MS;
    b->rng = rng_init(test_seed());
    open_bench(b);
    for (uint32_t i = 0; i < SENDERS + ASKERS; i++) {
        crowds[i].b = b;
        crowds[i].number = i;
        atomic_init(&crowds[i].sending, 1);
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < SENDERS ? send : ask_meanwhile, &crowds[i]), 0);
    }
    for (uint32_t i = 0; i < SENDERS + ASKERS; i++) {
        if (i == SENDERS) {
            for (uint32_t k = SENDERS; k < SENDERS + ASKERS; k++) {
                atomic_store(&crowds[k].sending, 0);
            }
        }
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(dataset_stats(b->dataset).accepted, SENDERS * SENT_EACH);
    for (uint32_t i = SENDERS; i < SENDERS + ASKERS; i++) {
        for (uint32_t k = 0; k < crowds[i].seen_count; k++) {
            const struct seen *seen = &crowds[i].seen[k];
            const char *text = ask_past(b, seen->epoch_ms, "trend count(any), users(any)", &out);
            if (strstr(text, seen->text) == NULL) {
                fail_msg("as of %" PRId64 "\nthen: %s\nnow:  %s", seen->epoch_ms, seen->text, text);
            }
        }
    }
    close_bench(b);
    free(crowds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_as_of_an_epoch_is_the_answer_of_then),
        cmocka_unit_test(what_is_seen_beside_the_writer_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
