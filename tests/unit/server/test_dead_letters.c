/* Conflicts to dead letters: their data set's name, their ids, and every kind of value in event_json. */
#include "server/dead_letters.h"
#include "server/ingest_parse.h"

#include "tests/support/claims.h"

#define ARRIVAL 1748000000000
#define EVENT   1747000000123

static struct err err;

#define assert_str(got, want)                                                                      \
    do {                                                                                           \
        struct str got_ = (got);                                                                   \
        if (!str_eq(got_, str_of(want))) {                                                         \
            fail_msg("got \"%.*s\", expected \"%s\"", (int)got_.len, got_.ptr, want);              \
        }                                                                                          \
    } while (0)

/* ---- batches ---- */

static struct batch_builder begin(void)
{
    struct batch_builder builder;
    assert_ok(batch_begin(NULL, ARRIVAL, &builder, &err));
    return builder;
}

static struct event *add_event(struct batch_builder *builder, const char *id)
{
    struct event *event = NULL;
    assert_ok(batch_event(builder, &event, &err));
    event->event_id = str_of(id);
    event->name = STR("pay");
    event->user_id = STR("u");
    event->time_ms = EVENT;
    event->line = builder->batch->event_count;
    event->status = RECEIPT_CONFLICT;
    event->reason = STR("known with another content");
    return event;
}

static void add_prop(struct batch_builder *builder, const char *name, struct prop prop)
{
    assert_ok(batch_name(builder, str_of(name), &prop.name_idx, &err));
    assert_ok(batch_prop(builder, &prop, &err));
}

static void add_text(struct batch_builder *builder, const char *name, struct str value)
{
    add_prop(builder, name, (struct prop){.type = COL_STRING, .string = value});
}

static void add_number(struct batch_builder *builder, const char *name, struct num value)
{
    add_prop(builder, name, (struct prop){.type = COL_NUMBER, .number = value});
}

static void add_list(struct batch_builder *builder, const char *name, const char *const *items,
                     uint32_t count)
{
    struct prop prop = {.type = COL_LIST, .list = {builder->batch->list_item_count, count}};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = 0;
        assert_ok(batch_list_item(builder, str_of(items[i]), &at, &err));
    }
    add_prop(builder, name, prop);
}

static struct event_batch *letters_of(const struct batch_builder *builder)
{
    struct event_batch *letters = NULL;
    assert_ok(dead_letters_build(builder->batch, NULL, &letters, &err));
    return letters;
}

static const struct prop *prop_of(const struct event_batch *batch, uint32_t event, const char *name)
{
    const struct event *e = &batch->events[event];
    for (uint32_t i = 0; i < e->prop_count; i++) {
        const struct prop *prop = &batch->props[e->prop_first + i];
        if (str_eq(batch->names[prop->name_idx], str_of(name))) {
            return prop;
        }
    }
    fail_msg("no property \"%s\"", name);
    return NULL;
}

/* event_json of the only event there is, with these properties. */
static void expect_properties(struct batch_builder *builder, const char *want)
{
    char whole[1024];
    struct event_batch *letters = letters_of(builder);
    snprintf(
        whole, sizeof(whole),
        "{\"event_id\":\"e\",\"event_time\":\"2025-05-11T21:46:40.123Z\",\"event_name\":\"pay\","
        "\"user_id\":\"u\",\"properties\":%s}",
        want);
    assert_str(prop_of(letters, 0, "event_json")->string, whole);
    event_batch_free(letters);
    event_batch_free(builder->batch);
}

/* ---- claims ---- */

static void the_name_of_the_data_set_fits(void **state)
{
    (void)state;
    char long_name[] = "a123456789b123456789c123456789d123456789e123456789f123456789g123";
    char out[DATASET_NAME_BYTES_MAX + 1];
    char other[DATASET_NAME_BYTES_MAX + 1];
    assert_true(dead_letters_dataset(STR("shop"), out));
    assert_string_equal(out, "shop.dead");
    assert_true(dead_letters_dataset((struct str){long_name, 59}, out));
    assert_int_equal(strlen(out), 64);
    assert_memory_equal(out, long_name, 59);
    for (size_t len = 60; len <= DATASET_NAME_BYTES_MAX; len++) {
        assert_true(dead_letters_dataset((struct str){long_name, len}, out));
        assert_int_equal(strlen(out), 64);
        assert_memory_equal(out, long_name, 42);
        assert_int_equal(out[42], '-');
        assert_int_equal(strspn(out + 43, "0123456789abcdef"), 16);
        assert_string_equal(out + 59, ".dead");
        assert_true(dataset_name_is_valid(str_of(out)));
    }
    long_name[63] = 'x'; /* behind what is kept of it */
    assert_true(dead_letters_dataset(str_of(long_name), other));
    assert_string_not_equal(out, other);
}

static void dead_letters_make_none_of_their_own(void **state)
{
    (void)state;
    char out[DATASET_NAME_BYTES_MAX + 1] = "x";
    assert_false(dead_letters_dataset(STR("shop.dead"), out));
    assert_string_equal(out, "");
    assert_true(dead_letters_dataset(STR("dead"), out));
    assert_string_equal(out, "dead.dead");
    assert_true(dead_letters_dataset(STR("shop.deader"), out));
}

static void a_letter_says_what_was_kept_out_and_why(void **state)
{
    (void)state;
    struct batch_builder builder = begin();
    add_event(&builder, "first")->status = RECEIPT_ACCEPTED;
    add_event(&builder, "second")->status = RECEIPT_REJECTED;
    struct event *event = add_event(&builder, "third");
    event->anonymous_id = STR("anon");
    add_event(&builder, "fourth")->status = RECEIPT_DUPLICATE;
    struct event_batch *letters = letters_of(&builder);
    assert_int_equal(letters->event_count, 1);
    const struct event *letter = &letters->events[0];
    assert_int_equal(letter->status, RECEIPT_PENDING);
    assert_str(letter->name, "conflict");
    assert_str(letter->user_id, "u");
    assert_str(letter->anonymous_id, "anon");
    assert_int_equal(letter->time_ms, ARRIVAL);
    assert_int_equal(letters->arrival_ms, ARRIVAL);
    assert_int_equal(letter->event_id.len, sizeof("conflict:") - 1 + 32);
    assert_true(str_starts(letter->event_id, STR("conflict:")));
    assert_int_equal(letter->prop_count, 5);
    assert_str(prop_of(letters, 0, "reason")->string, "known with another content");
    assert_str(prop_of(letters, 0, "original_event_id")->string, "third");
    assert_str(prop_of(letters, 0, "original_event_name")->string, "pay");
    assert_int_equal(prop_of(letters, 0, "original_event_time")->type, COL_TIME);
    assert_int_equal(prop_of(letters, 0, "original_event_time")->ts_ms, EVENT);
    assert_str(
        prop_of(letters, 0, "event_json")->string,
        "{\"event_id\":\"third\",\"event_time\":\"2025-05-11T21:46:40.123Z\","
        "\"event_name\":\"pay\",\"user_id\":\"u\",\"anonymous_id\":\"anon\",\"properties\":{}}");
    assert_true(letters->bytes > prop_of(letters, 0, "event_json")->string.len);
    event_batch_free(letters);
    event_batch_free(builder.batch);
}

static void every_kind_of_value_is_in_the_line(void **state)
{
    (void)state;
    static const char *const items[] = {"x", "a\"b", ""};
    struct batch_builder builder = begin();
    add_event(&builder, "e");
    add_text(&builder, "text", STR("12"));
    add_text(&builder, "empty", STR(""));
    add_number(&builder, "price", num_decimal(1250, 2));
    add_number(&builder, "big", num_int(INT64_MIN));
    add_number(&builder, "tiny", num_decimal(1, 18));
    add_prop(&builder, "yes", (struct prop){.type = COL_BOOL, .boolean = true});
    add_prop(&builder, "no", (struct prop){.type = COL_BOOL, .boolean = false});
    add_prop(&builder, "when", (struct prop){.type = COL_TIME, .ts_ms = -1});
    add_list(&builder, "tags", items, 3);
    add_list(&builder, "none", NULL, 0);
    add_text(&builder, "a.b", STR("deep"));
    expect_properties(&builder, "{\"text\":\"12\",\"empty\":\"\",\"price\":12.5,"
                                "\"big\":-9223372036854775808,\"tiny\":0.000000000000000001,"
                                "\"yes\":true,\"no\":false,\"when\":\"1969-12-31T23:59:59.999Z\","
                                "\"tags\":[\"x\",\"a\\\"b\",\"\"],\"none\":[],\"a.b\":\"deep\"}");
}

static void hostile_bytes_stay_in_their_text(void **state)
{
    (void)state;
    struct batch_builder builder = begin();
    add_event(&builder, "e");
    add_text(&builder, "k\"}\n", STR("\",\"user_id\":\"eve\"}\n{\"event_name\":\"x\"}\r\\"));
    add_text(&builder, "zero", (struct str){"a\0b\x1f\x7f", 5});
    add_text(&builder, "wide", STR("\xf0\x9f\x98\x80\xe2\x80\xa8"));
    expect_properties(
        &builder, "{\"k\\\"}\\n\":\"\\\",\\\"user_id\\\":\\\"eve\\\"}\\n{\\\"event_name\\\":"
                  "\\\"x\\\"}\\r\\\\\","
                  "\"zero\":\"a\\u0000b\\u001f\x7f\",\"wide\":\"\xf0\x9f\x98\x80\xe2\x80\xa8\"}");
}

static void times_beyond_the_calendar_are_digits(void **state)
{
    (void)state;
    struct batch_builder builder = begin();
    add_event(&builder, "e");
    add_prop(&builder, "a", (struct prop){.type = COL_TIME, .ts_ms = INT64_MAX});
    add_prop(&builder, "b", (struct prop){.type = COL_TIME, .ts_ms = INT64_MIN});
    add_prop(&builder, "c", (struct prop){.type = COL_TIME, .ts_ms = 253402300799999});
    expect_properties(&builder, "{\"a\":\"9223372036854775807\",\"b\":\"-9223372036854775808\","
                                "\"c\":\"9999-12-31T23:59:59.999Z\"}");
}

/* Ids of letters of one event, made by `change` from the plain one. */
static void letter_id(void (*change)(struct batch_builder *builder, struct event *event),
                      char out[64])
{
    static const char *const items[] = {"x", "y"};
    struct batch_builder builder = begin();
    struct event *event = add_event(&builder, "e");
    add_text(&builder, "a", STR("1"));
    add_list(&builder, "tags", items, 2);
    if (change != NULL) {
        change(&builder, event);
    }
    struct event_batch *letters = letters_of(&builder);
    snprintf(out, 64, STR_FMT, STR_ARG(letters->events[0].event_id));
    event_batch_free(letters);
    event_batch_free(builder.batch);
}

static void other_time_and_user(struct batch_builder *builder, struct event *event)
{
    builder->batch->arrival_ms += 5000;
    event->time_ms += 1000;
    event->user_id = (struct str){0};
    event->anonymous_id = STR("someone");
    event->line = 7;
}

static void other_order(struct batch_builder *builder, struct event *event)
{
    struct prop *props = &builder->batch->props[event->prop_first];
    struct prop first = props[0];
    props[0] = props[1];
    props[1] = first;
}

static void other_id(struct batch_builder *builder, struct event *event)
{
    (void)builder;
    event->event_id = STR("f");
}

static void other_name(struct batch_builder *builder, struct event *event)
{
    (void)builder;
    event->name = STR("paid");
}

static void number_for_text(struct batch_builder *builder, struct event *event)
{
    (void)event;
    add_number(builder, "a", num_int(1));
}

static void one_more_property(struct batch_builder *builder, struct event *event)
{
    (void)event;
    add_text(builder, "b", STR(""));
}

static void items_cut_elsewhere(struct batch_builder *builder, struct event *event)
{
    static const char *const items[] = {"xy"};
    (void)event;
    add_list(builder, "tags", items, 1);
}

static void values_swapped(struct batch_builder *builder, struct event *event)
{
    event->prop_count = 0;
    event->prop_first = builder->batch->prop_count;
    static const char *const items[] = {"y", "x"};
    add_text(builder, "a", STR("1"));
    add_list(builder, "tags", items, 2);
}

static void a_letter_has_one_id_for_one_content(void **state)
{
    (void)state;
    static void (*const SAME[])(struct batch_builder *,
                                struct event *) = {NULL, other_time_and_user, other_order};
    static void (*const OTHERS[])(struct batch_builder *, struct event *) = {
        other_id,          other_name,          number_for_text,
        one_more_property, items_cut_elsewhere, values_swapped};
    char plain[64], got[64];
    letter_id(NULL, plain);
    for (size_t i = 0; i < COUNT_OF(SAME); i++) {
        letter_id(SAME[i], got);
        assert_string_equal(got, plain);
    }
    for (size_t i = 0; i < COUNT_OF(OTHERS); i++) {
        letter_id(OTHERS[i], got);
        if (strcmp(got, plain) == 0) {
            fail_msg("change %zu has the plain event's id", i);
        }
    }
}

static void a_letter_id_is_the_same_in_every_version(void **state)
{
    (void)state;
    char got[64];
    letter_id(NULL, got);
    assert_string_equal(got, "conflict:e7ff9f6efc07b910b8554557d988d755");
}

/* Sixteen properties that refer to one long text: the line is larger than the body was. */
static void a_spent_budget_is_an_error_and_is_given_back(void **state)
{
    (void)state;
    enum { TEXT_BYTES = 100000 };
    char *text = malloc(TEXT_BYTES);
    memset(text, 'x', TEXT_BYTES);
    struct batch_builder builder = begin();
    add_event(&builder, "e");
    for (int i = 0; i < 16; i++) {
        char name[8];
        snprintf(name, sizeof(name), "p%d", i);
        add_text(&builder, name, (struct str){text, TEXT_BYTES});
    }
    struct event_batch *letters = NULL;
    struct budget budget;
    budget_init(&budget, 1000000, "the events of one body");
    assert_fails(dead_letters_build(builder.batch, &budget, &letters, &err), ERR_LIMIT,
                 "the events of one body");
    assert_null(letters);
    assert_int_equal(budget.used_bytes, 0);
    budget_init(&budget, 20000000, "the events of one body");
    assert_ok(dead_letters_build(builder.batch, &budget, &letters, &err));
    assert_true(budget.used_bytes >= 16 * TEXT_BYTES);
    event_batch_free(letters);
    assert_int_equal(budget.used_bytes, 0);
    event_batch_free(builder.batch);
    free(text);
}

static void a_letter_that_was_refused_is_an_error(void **state)
{
    (void)state;
    struct batch_builder builder = begin();
    struct event *event = add_event(&builder, "e");
    static const enum receipt_status KEPT[] = {RECEIPT_ACCEPTED, RECEIPT_DUPLICATE,
                                               RECEIPT_CONFLICT};
    for (size_t i = 0; i < COUNT_OF(KEPT); i++) {
        event->status = KEPT[i];
        assert_ok(dead_letters_check(builder.batch, &err));
    }
    event->status = RECEIPT_REJECTED;
    event->reason = STR("no more columns");
    assert_fails(dead_letters_check(builder.batch, &err), ERR_LIMIT, "line 1");
    assert_non_null(strstr(err.message, "no more columns"));
    event_batch_free(builder.batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_name_of_the_data_set_fits),
        cmocka_unit_test(dead_letters_make_none_of_their_own),
        cmocka_unit_test(a_letter_says_what_was_kept_out_and_why),
        cmocka_unit_test(every_kind_of_value_is_in_the_line),
        cmocka_unit_test(hostile_bytes_stay_in_their_text),
        cmocka_unit_test(times_beyond_the_calendar_are_digits),
        cmocka_unit_test(a_letter_has_one_id_for_one_content),
        cmocka_unit_test(a_letter_id_is_the_same_in_every_version),
        cmocka_unit_test(a_spent_budget_is_an_error_and_is_given_back),
        cmocka_unit_test(a_letter_that_was_refused_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
