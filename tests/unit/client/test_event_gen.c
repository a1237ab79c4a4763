/* tests/unit/client/test_event_gen.c - bench/event_gen.h, bench/event_format.h, bench/latencies.h. */
#include "tests/unit/client/client_test.h"

#include "bench/event_format.h"
#include "bench/latencies.h"
#include "client/json_tree.h"
#include "storage/base/hash.h"
#include "storage/base/rd.h"

static struct gen_opts small(void)
{
    struct gen_opts opts = gen_opts_default();
    opts.events = 20000;
    opts.users = 1000;
    opts.days = 30;
    return opts;
}

static void write_all(struct gen_opts opts, enum event_format format, struct buf *out)
{
    struct err err;
    CLEANUP(event_gen_freep) struct event_gen *gen = NULL;
    CLEANUP(event_writer_freep) struct event_writer *writer = NULL;
    size_t count = 1;
    assert_ok(event_gen_create(&opts, &gen, &err));
    assert_ok(event_writer_create(gen, format, &writer, &err));
    while (count > 0) {
        const struct gen_event *rows = NULL;
        assert_ok(event_gen_next(gen, &rows, &count, &err));
        event_writer_rows(writer, rows, count, out);
    }
    event_writer_end(writer, out);
    assert_ok(buf_check(out, &err));
}

static struct gen_event *rows_of(struct gen_opts opts, size_t *ret_count)
{
    struct err err;
    CLEANUP(event_gen_freep) struct event_gen *gen = NULL;
    CLEANUP(buf_freep) struct buf all = {0};
    size_t count = 1;
    assert_ok(event_gen_create(&opts, &gen, &err));
    while (count > 0) {
        const struct gen_event *rows = NULL;
        assert_ok(event_gen_next(gen, &rows, &count, &err));
        buf_append(&all, rows, count * sizeof(*rows));
    }
    assert_ok(buf_check(&all, &err));
    *ret_count = all.len / sizeof(struct gen_event);
    struct gen_event *rows = malloc(all.len + 1);
    assert_non_null(rows);
    memcpy(rows, all.ptr, all.len);
    return rows;
}

static void the_same_arguments_give_the_same_bytes(void **state)
{
    for (int format = FORMAT_NDJSON; format <= FORMAT_PROTO; format++) {
        CLEANUP(buf_freep) struct buf a = {0};
        CLEANUP(buf_freep) struct buf b = {0};
        CLEANUP(buf_freep) struct buf other = {0};
        struct gen_opts opts = small();
        write_all(opts, (enum event_format)format, &a);
        write_all(opts, (enum event_format)format, &b);
        opts.seed = 2;
        write_all(opts, (enum event_format)format, &other);
        assert_true(a.len > 0 && str_eq(buf_as_str(&a), buf_as_str(&b)));
        assert_false(str_eq(buf_as_str(&a), buf_as_str(&other)));
    }
}

static void as_many_different_events_as_asked_for_and_duplicates_on_top(void **state)
{
    static const uint64_t EVENTS[] = {0, 1, 7, 1000, 20000};
    for (size_t i = 0; i < COUNT_OF(EVENTS); i++) {
        struct gen_opts opts = small();
        opts.events = EVENTS[i];
        opts.dups_per_one = 0.05;
        size_t count = 0;
        struct gen_event *rows = rows_of(opts, &count);
        uint8_t *seen = calloc(EVENTS[i] + 1, 1);
        uint64_t different = 0;
        assert_non_null(seen);
        for (size_t r = 0; r < count; r++) {
            assert_true(rows[r].number < EVENTS[i]);
            different += seen[rows[r].number]++ == 0;
        }
        assert_int_equal(different, EVENTS[i]);
        assert_true(EVENTS[i] < 1000 ||
                    (count - different > EVENTS[i] / 40 && count - different < EVENTS[i] / 10));
        free(seen);
        free(rows);
    }
}

static void without_duplicates_the_rest_is_the_same_stream(void **state)
{
    struct gen_opts opts = small();
    size_t with_count = 0;
    size_t without_count = 0;
    opts.dups_per_one = 0.05;
    struct gen_event *with = rows_of(opts, &with_count);
    opts.dups_per_one = 0;
    struct gen_event *without = rows_of(opts, &without_count);
    uint8_t *seen = calloc(opts.events, 1);
    size_t at = 0;
    assert_non_null(seen);
    for (size_t r = 0; r < with_count; r++) {
        if (seen[with[r].number]++ == 0) {
            assert_memory_equal(&with[r], &without[at], sizeof(with[r]));
            at++;
        }
    }
    assert_int_equal(at, without_count);
    free(seen);
    free(with);
    free(without);
}

static void rows_come_in_order_of_arrival_and_times_lie_in_the_days(void **state)
{
    struct gen_opts opts = small();
    opts.late_per_one = 0.1;
    size_t count = 0;
    struct gen_event *rows = rows_of(opts, &count);
    int64_t begin_ms = opts.begin_s * 1000;
    uint64_t late = 0;
    for (size_t r = 0; r < count; r++) {
        assert_true(r == 0 || rows[r].arrival_ms >= rows[r - 1].arrival_ms);
        assert_true(rows[r].time_ms >= begin_ms);
        assert_true(rows[r].time_ms < begin_ms + (int64_t)opts.days * 86400000);
        assert_true(rows[r].arrival_ms >= rows[r].time_ms);
        late += rows[r].arrival_ms - rows[r].time_ms > 600000;
    }
    assert_true(late > count / 20 && late < count / 5);
    free(rows);
}

static void people_drop_off_and_come_back_ever_less(void **state)
{
    struct gen_opts opts = small();
    opts.events = 200000;
    opts.users = 6000;
    opts.days = 60;
    opts.dups_per_one = 0;
    size_t count = 0;
    struct gen_event *rows = rows_of(opts, &count);
    uint64_t names[GEN_EVENT_NAMES] = {0};
    int64_t *joined_ms = calloc(opts.users, sizeof(*joined_ms));
    uint64_t came_back[4] = {0}; /* sessions 1..7, 8..14, 15..21, 22..28 days after joining */
    assert_non_null(joined_ms);
    for (size_t r = 0; r < count; r++) {
        names[rows[r].name]++;
        if (rows[r].name == GEN_REGISTER) {
            assert_int_equal(joined_ms[rows[r].user], 0); /* once each */
            joined_ms[rows[r].user] = rows[r].time_ms;
        }
    }
    for (size_t r = 0; r < count; r++) {
        int64_t joined = joined_ms[rows[r].user];
        int64_t day = joined == 0 ? 0 : (rows[r].time_ms - joined) / 86400000;
        if (rows[r].name == GEN_SESSION_START && day >= 1 && day <= 28 &&
            joined < (opts.begin_s + 30 * 86400) * 1000) {
            came_back[(day - 1) / 7]++;
        }
    }
    assert_true(names[GEN_SESSION_START] > names[GEN_VIEW_ITEM]);
    assert_true(names[GEN_VIEW_ITEM] > names[GEN_ADD_TO_CART]);
    assert_true(names[GEN_ADD_TO_CART] > names[GEN_PLACE_ORDER]);
    assert_true(names[GEN_PLACE_ORDER] > names[GEN_PAY_SUCCESS]);
    for (int i = 0; i < GEN_EVENT_NAMES; i++) {
        assert_true(names[i] > 0);
    }
    assert_true(came_back[0] > came_back[1] && came_back[1] > came_back[2] &&
                came_back[2] > came_back[3] && came_back[3] > 0);
    free(joined_ms);
    free(rows);
}

static void every_line_is_json_of_the_agreed_shape(void **state)
{
    CLEANUP(buf_freep) struct buf out = {0};
    struct err err;
    struct json_tree tree = {0};
    uint64_t lines = 0;
    uint64_t amounts = 0;
    write_all(small(), FORMAT_NDJSON, &out);
    struct str rest = buf_as_str(&out);
    while (rest.len > 0) {
        const char *newline = memchr(rest.ptr, '\n', rest.len);
        assert_non_null(newline);
        size_t line = (size_t)(newline - rest.ptr);
        assert_ok(json_tree_parse(&tree, (struct str){rest.ptr, line}, &err));
        struct str id = json_tree_text(&tree, 0, "event_id");
        uint32_t properties = json_tree_member(&tree, 0, "properties");
        assert_true(id.len == 36 && id.ptr[14] == '4' && strchr("89ab", id.ptr[19]) != NULL);
        assert_true(str_starts(json_tree_text(&tree, 0, "user_id"), STR("u_")));
        assert_true(json_tree_count(&tree, 0, "event_time", 0) >= 1717200000000);
        assert_true(json_tree_text(&tree, 0, "event_name").len > 0);
        assert_true(json_tree_text(&tree, 0, "platform").len > 0);
        assert_true(json_tree_text(&tree, properties, "page").len > 0);
        amounts += json_tree_member(&tree, properties, "amount") != JSON_TREE_NONE;
        rest = (struct str){newline + 1, rest.len - line - 1};
        lines++;
    }
    assert_true(lines > 20000 && amounts > 50);
    json_tree_done(&tree);
}

/* Goal: the protobuf form says what NDJSON says. Method: a reader of its own over the wire format adds up
 * the ids and names of events through the string tables; the generator's rows do the same. */
static void protobuf_batches_refer_to_their_own_strings(void **state)
{
    struct gen_opts opts = small();
    CLEANUP(buf_freep) struct buf out = {0};
    size_t row_count = 0;
    struct gen_event *rows = rows_of(opts, &row_count);
    size_t at = 0;
    write_all(opts, FORMAT_PROTO, &out);
    struct rd stream = rd_init(buf_as_str(&out));
    while (!rd_at_end(&stream)) {
        struct rd batch = rd_init(rd_blob(&stream));
        struct str strings[2000];
        uint64_t string_count = 0;
        uint64_t events = 0;
        while (!rd_at_end(&batch)) {
            uint64_t tag = rd_varint(&batch);
            struct str body = rd_blob(&batch);
            assert_false(batch.is_bad);
            if (tag == ((1 << 3) | 2)) {
                assert_true(string_count < COUNT_OF(strings));
                strings[string_count++] = body;
                continue;
            }
            assert_int_equal(tag, (2 << 3) | 2);
            struct rd event = rd_init(body);
            assert_true(at < row_count);
            while (!rd_at_end(&event)) {
                uint64_t field = rd_varint(&event);
                if (field == (2 << 3)) {
                    assert_int_equal(rd_varint(&event), rows[at].time_ms);
                } else if (field == (4 << 3)) {
                    uint64_t ref = rd_varint(&event);
                    assert_true(ref >= 1 && ref <= string_count);
                    assert_true(str_eq(strings[ref - 1],
                                       gen_event_name((enum gen_event_name)rows[at].name)));
                } else {
                    assert_true((field & 7) == 2);
                    rd_blob(&event);
                }
                assert_false(event.is_bad);
            }
            at++;
            events++;
        }
        assert_true(events == FORMAT_PROTO_EVENTS || (rd_at_end(&stream) && events > 0));
    }
    assert_int_equal(at, row_count);
    free(rows);
}

static void extreme_arguments_end_well(void **state)
{
    static const struct gen_opts EXTREMES[] = {
        {.events = 5000, .users = 1, .days = 1, .seed = 0},
        {.events = 100, .users = 1, .days = 400, .seed = 3},
        {.events = 100,
         .users = 50000,
         .days = 2,
         .seed = UINT64_MAX,
         .dups_per_one = 1,
         .late_per_one = 1},
    };
    for (size_t i = 0; i < COUNT_OF(EXTREMES); i++) {
        size_t count = 0;
        free(rows_of(EXTREMES[i], &count));
        assert_int_equal(count, EXTREMES[i].events * (EXTREMES[i].dups_per_one >= 1 ? 2 : 1));
    }
    struct err err;
    struct event_gen *gen = NULL;
    assert_fails(event_gen_create(&(struct gen_opts){.users = 0, .days = 1}, &gen, &err),
                 ERR_INVALID, "0 users");
    assert_fails(event_gen_create(&(struct gen_opts){.users = 1, .days = 5000}, &gen, &err),
                 ERR_INVALID, "5000 days");
}

static void percentiles_are_of_the_nearest_rank(void **state)
{
    struct latencies latencies = {0};
    struct latencies more = {0};
    assert_int_equal(latencies_percentile(&latencies, 50), 0);
    for (uint64_t i = 1; i <= 50; i++) {
        latencies_add(&latencies, 101 - i);
        latencies_add(&more, i);
    }
    latencies_merge(&latencies, &more);
    latencies_sort(&latencies);
    assert_int_equal(latencies_percentile(&latencies, 0), 1);
    assert_int_equal(latencies_percentile(&latencies, 50), 50);
    assert_int_equal(latencies_percentile(&latencies, 95), 95);
    assert_int_equal(latencies_percentile(&latencies, 99.5), 100);
    assert_int_equal(latencies_percentile(&latencies, 100), 100);
    latencies_done(&latencies);
    latencies_done(&more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_arguments_give_the_same_bytes),
        cmocka_unit_test(as_many_different_events_as_asked_for_and_duplicates_on_top),
        cmocka_unit_test(without_duplicates_the_rest_is_the_same_stream),
        cmocka_unit_test(rows_come_in_order_of_arrival_and_times_lie_in_the_days),
        cmocka_unit_test(people_drop_off_and_come_back_ever_less),
        cmocka_unit_test(every_line_is_json_of_the_agreed_shape),
        cmocka_unit_test(protobuf_batches_refer_to_their_own_strings),
        cmocka_unit_test(extreme_arguments_end_well),
        cmocka_unit_test(percentiles_are_of_the_nearest_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
