/* tests/unit/storage/test_memtable.c - tests of storage/memtable*.c: views equal the rows that went in,
 * whatever came when. */
#include "tests/support/claims.h"

#include "storage/memtable.h"
#include "tests/support/random_rows.h"

struct fixture {
    struct arena *arena;
    struct schema *schema;
    struct memtable *memtable;
    struct read_ctx ctx;
};

static int setup(void **state)
{
    struct err err = {0};
    struct fixture *f = calloc(1, sizeof(*f));
    f->arena = arena_create(NULL);
    assert_ok(schema_create(&f->schema, &err));
    assert_ok(random_schema(f->schema, &err));
    assert_ok(memtable_create(f->schema, 1, &f->memtable, &err));
    f->ctx = (struct read_ctx){.arena = f->arena};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    memtable_unref(f->memtable);
    schema_free(f->schema);
    arena_free(f->arena);
    free(f);
    return 0;
}

static void append(struct fixture *f, uint32_t shard, const struct mem_row *row)
{
    struct err err = {0};
    struct prop props[64];
    struct str items[256];
    uint32_t cols[64];
    struct event event = {.event_id = row->event_id,
                          .name = row->name,
                          .user_id = row->user_id,
                          .anonymous_id = row->anonymous_id,
                          .time_ms = row->time_ms,
                          .prop_count = row->value_count};
    struct event_batch batch = {.props = props, .list_items = items};
    assert_true(row->value_count <= COUNT_OF(props));
    for (uint32_t i = 0; i < row->value_count; i++) {
        const struct mem_value *value = &row->values[i];
        cols[i] = value->prop;
        props[i] = (struct prop){.type = schema_col(f->schema, value->prop)->type};
        switch (props[i].type) {
        case COL_STRING: props[i].string = value->string; break;
        case COL_NUMBER: props[i].number = value->number; break;
        case COL_BOOL: props[i].boolean = value->boolean; break;
        case COL_TIME: props[i].ts_ms = value->ts_ms; break;
        case COL_LIST:
            props[i].list.first = batch.list_item_count;
            props[i].list.count = value->list.count;
            for (uint32_t n = 0; n < value->list.count; n++) {
                items[batch.list_item_count++] = value->list.items[n];
            }
            break;
        }
    }
    assert_ok(memtable_append(f->memtable, shard, row->subject, &batch, &event, row->arrival_ms,
                              cols, &err));
}

static void expect_view(struct fixture *f, uint32_t shard, const struct mem_row *rows,
                        uint32_t count, uint32_t upto)
{
    struct err err = {0};
    struct memtable_view *view = NULL;
    const struct mem_row **sorted = calloc(count + 1, sizeof(struct mem_row *));
    for (uint32_t i = 0; i < upto; i++) {
        sorted[i] = &rows[i];
    }
    qsort(sorted, upto, sizeof(struct mem_row *), mem_row_cmp);
    assert_ok(memtable_view_at(f->memtable, shard, upto, &view, &err));
    if (upto == 0) {
        assert_null(view);
    } else {
        const struct source *source = memtable_view_source(view);
        struct arena_mark mark = arena_mark(f->arena);
        assert_int_equal(source->row_count, upto);
        assert_true(source->is_memory);
        assert_ok(source_equals_rows(source, f->schema, &f->ctx, sorted, upto, &err));
        arena_rewind(f->arena, mark);
    }
    memtable_view_unref(view);
    free(sorted);
}

static struct mem_row *make_rows(struct fixture *f, uint64_t seed, uint32_t count)
{
    struct err err = {0};
    struct rng rng = rng_init(seed);
    struct mem_row *rows = NULL;
    struct random_shape shape = {.row_count = count,
                                 .subjects = 1 + (uint32_t)rng_below(&rng, 200),
                                 .span_ms = 1 + rng_below(&rng, 100000),
                                 .events = 1 + (uint32_t)rng_below(&rng, 9),
                                 .has_props = true};
    assert_ok(random_rows(f->arena, &rng, &shape, &rows, &err));
    return rows;
}

static void an_empty_shard_has_no_view(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct memtable_view *view = NULL;
    assert_ok(memtable_view(f->memtable, 15, &view, &err));
    assert_null(view);
    assert_int_equal(memtable_rows(f->memtable), 0);
}

static void rows_are_invisible_until_published(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct memtable_view *view = NULL;
    const struct mem_row *rows = make_rows(f, 3, 10);
    append(f, 2, &rows[0]);
    assert_ok(memtable_view(f->memtable, 2, &view, &err));
    assert_null(view);
    memtable_publish(f->memtable);
    append(f, 2, &rows[1]);
    expect_view(f, 2, rows, 10, 1);
    memtable_publish(f->memtable);
    expect_view(f, 2, rows, 10, 2);
    expect_view(f, 2, rows, 10, 1); /* an older moment can still be had */
    assert_int_equal(memtable_rows(f->memtable), 2);
}

/* Goal: a view equals its rows however it came about. Method: append in pieces, look at random moments, so
 * that permutations are built afresh, extended, and cut back. */
static void views_equal_their_rows_at_any_moment(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = test_seed();
    struct rng rng = rng_init(seed);
    enum { ROWS = 6000 };
    const struct mem_row *rows = make_rows(f, seed, ROWS);
    uint32_t done = 0;
    while (done < ROWS) {
        uint32_t piece = 1 + (uint32_t)rng_below(&rng, done == 0 ? 3000 : 1500);
        for (uint32_t i = 0; i < piece && done < ROWS; i++) {
            append(f, 7, &rows[done++]);
        }
        memtable_publish(f->memtable);
        expect_view(f, 7, rows, ROWS, done);
        expect_view(f, 7, rows, ROWS, 1 + (uint32_t)rng_below(&rng, done));
    }
}

static void a_view_outlives_the_memtables_owner(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct memtable_view *view = NULL;
    const struct mem_row *rows = make_rows(f, 5, 300);
    for (uint32_t i = 0; i < 300; i++) {
        append(f, 0, &rows[i]);
    }
    memtable_publish(f->memtable);
    assert_ok(memtable_view(f->memtable, 0, &view, &err));
    memtable_unref(TAKE(f->memtable));
    uint32_t row = 0;
    assert_ok(source_subject_row(memtable_view_source(view), &f->ctx, UINT32_MAX, &row, &err));
    assert_int_equal(row, 300);
    memtable_view_unref(view);
}

/* A property whose values are nearly all different turns from codes to bytes on its way. */
static void a_property_of_many_values_is_shown_as_bytes(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint32_t prop = 0;
    enum { ROWS = 40000 };
    assert_ok(schema_add(f->schema, STR("url"), COL_STRING, &prop, &err));
    struct mem_row *rows = NULL;
    struct mem_value *values = NULL;
    assert_ok(ARENA_NEW(f->arena, ROWS, &rows, &err));
    assert_ok(ARENA_NEW(f->arena, ROWS, &values, &err));
    for (uint32_t i = 0; i < ROWS; i++) {
        rows[i] = (struct mem_row){.subject = i % 97,
                                   .time_ms = i % 1000,
                                   .name = STR("x"),
                                   .user_id = STR("u"),
                                   .values = &values[i],
                                   .value_count = i % 3 != 0};
        assert_ok(arena_printf(f->arena, &rows[i].event_id, &err, "id-%u", i));
        values[i].prop = prop;
        assert_ok(arena_printf(f->arena, &values[i].string, &err, "/path/%u", i));
        append(f, 1, &rows[i]);
    }
    memtable_publish(f->memtable);
    const struct dict *dict = NULL;
    struct memtable_view *view = NULL;
    assert_ok(memtable_view_at(f->memtable, 1, 1000, &view, &err));
    assert_ok(source_dict(memtable_view_source(view), &f->ctx, COL_FIRST_PROP + prop, &dict, &err));
    assert_non_null(dict);
    memtable_view_unref(view);
    assert_ok(memtable_view(f->memtable, 1, &view, &err));
    assert_ok(source_dict(memtable_view_source(view), &f->ctx, COL_FIRST_PROP + prop, &dict, &err));
    assert_null(dict);
    memtable_view_unref(view);
    expect_view(f, 1, rows, ROWS, 1000);
    expect_view(f, 1, rows, ROWS, ROWS);
}

/* UUIDs are kept as bytes, other ids as text: they come back as they came, and sort by their text. */
static void event_ids_of_any_form_come_back_and_sort_by_their_bytes(void **state)
{
    struct fixture *f = *state;
    static const char *const FORMS[] = {
        "%08x-0000-4000-8000-00000000000a", /* a UUID */
        "%08X-0000-4000-8000-00000000000A", /* upper case: not the canonical form */
        "%08x-0000-4000-8000-00000000000",  /* too short */
        "%08x-0000-4000-8000x00000000000a", /* a dash is missing */
        "%08x-0000-4000-8000-0000000000ga", /* no digit */
        "%08x",
    };
    struct err err = {0};
    struct rng rng = rng_init(test_seed());
    struct mem_row *rows = NULL;
    enum { ROWS = 3000 };
    assert_ok(ARENA_NEW(f->arena, ROWS, &rows, &err));
    for (uint32_t i = 0; i < ROWS; i++) {
        char text[64];
        uint32_t number = (uint32_t)rng_below(&rng, 3) << 28 | (i * 2654435761u) >> 4;
        const char *form = FORMS[rng_below(&rng, COUNT_OF(FORMS))];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof(text), form, number);
#pragma GCC diagnostic pop
        rows[i] = (struct mem_row){.subject = 3, .time_ms = 5, .name = STR("x")};
        assert_ok(arena_str(f->arena, str_of(text), &rows[i].event_id, &err));
        rows[i].user_id = STR("u");
        append(f, 4, &rows[i]);
    }
    memtable_publish(f->memtable);
    expect_view(f, 4, rows, ROWS, ROWS);
}

/* Subjects from all of their range, and one whose events come latest first. */
static void rows_in_the_worst_order_are_sorted(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct rng rng = rng_init(test_seed());
    struct mem_row *rows = NULL;
    enum { ROWS = 5000 };
    assert_ok(ARENA_NEW(f->arena, ROWS, &rows, &err));
    for (uint32_t i = 0; i < ROWS; i++) {
        bool is_odd = i % 2 == 1;
        rows[i] = (struct mem_row){.subject = is_odd ? 7 : (uint32_t)rng_next(&rng),
                                   .time_ms = is_odd ? -(int64_t)i : (int64_t)i,
                                   .name = STR("x"),
                                   .user_id = STR("u")};
        assert_ok(arena_printf(f->arena, &rows[i].event_id, &err, "id-%u", i));
        append(f, 2, &rows[i]);
    }
    memtable_publish(f->memtable);
    expect_view(f, 2, rows, ROWS, ROWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_shard_has_no_view, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_are_invisible_until_published, setup, teardown),
        cmocka_unit_test_setup_teardown(views_equal_their_rows_at_any_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_view_outlives_the_memtables_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(a_property_of_many_values_is_shown_as_bytes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(event_ids_of_any_form_come_back_and_sort_by_their_bytes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(rows_in_the_worst_order_are_sorted, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
