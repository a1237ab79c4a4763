#include "query/traits.h"

#include "query/grow.h"
#include "query/journey.h"
#include "query/pred_eval.h"

#define CODE_NONE   UINT32_MAX       /* nothing is said of it */
#define CODE_UNSEEN (UINT32_MAX - 1) /* not looked up yet */
#define ADD_MANY    512u

const struct trait_call trait_calls[TRAIT_CALLS] = {
    {{"$identify", 9}, {"", 0}},
    {{"identify", 8}, {"traits.", 7}},
};

/* What a task's subjects are said to be; parallel arrays, in ascending order of (subject, time), no two alike. */
struct changes {
    uint32_t count;
    uint32_t subject_cap, time_cap, code_cap;
    uint32_t *subjects;
    int64_t *times;  /* NULL: as of now, one entry for each subject */
    uint32_t *codes; /* into `values` */
    struct groups *values;
    uint32_t *global; /* the same values among those of all tasks */
};

/* The values of one property, by code. */
struct trait_values {
    struct by_key key;
    struct bound_query query; /* of it alone, for groups */
    struct groups *groups;
    struct literal *items;
    uint32_t count;
    struct dict dict; /* of the strings among them; the others' codes are in no column of strings */
};

struct traits {
    const struct bound_query *query;
    struct bound_query
        calls; /* all identify events, by the columns that they may say something in */
    struct selector selectors[TRAIT_CALLS];
    struct alt alts[TRAIT_CALLS];
    struct trait_values *values; /* by trait */
    struct run_tasks tasks;      /* slots: struct changes by trait */
};

static uint32_t trait_of(uint32_t col)
{
    ASSERT(traits_is_col(col));
    return (col - TRAITS_COL_FIRST) / TRAITS_TYPES_MAX;
}

static const struct changes *changes_of(const struct traits *traits, uint32_t task, uint32_t trait)
{
    return (const struct changes *)run_slot(&traits->tasks, task) + trait;
}

/* ---- loading: one task ---- */

struct loading {
    const struct traits *traits;
    struct arena *arena;
    struct groups *lane; /* numbers what calls say in all columns together */
    struct changes *changes;
    uint32_t **codes; /* by trait: code by lane number and call, as far as it is known */
    uint32_t *code_caps;
};

/* The code of what the call says, or CODE_NONE. */
static enum err_code look_up(struct loading *l, uint32_t t, uint32_t number, uint32_t call,
                             uint32_t *ret, struct err *err)
{
    uint32_t keys = l->traits->query->traits[t].keys[call];
    struct literal value;
    *ret = CODE_NONE;
    for (; keys != 0; keys &= keys - 1) { /* of several types an event has one */
        if (groups_literal(l->lane, number, (uint32_t)__builtin_ctz(keys), &value)) {
            return groups_of_literal(l->changes[t].values, &value, ret, err);
        }
    }
    return ERR_OK;
}

static enum err_code code_of(struct loading *l, uint32_t t, uint32_t number, uint32_t call,
                             uint32_t *ret, struct err *err)
{
    uint32_t at = number * TRAIT_CALLS + call;
    uint32_t cap = l->code_caps[t];
    if (at >= cap) {
        uint32_t more = MAX_OF(cap * 2, at + 64);
        uint32_t *codes = NULL;
        ERR_TRY(ARENA_NEW(l->arena, more, &codes, err));
        for (uint32_t i = 0; i < more; i++) {
            codes[i] = i < cap ? l->codes[t][i] : CODE_UNSEEN;
        }
        l->codes[t] = codes;
        l->code_caps[t] = more;
    }
    if (l->codes[t][at] == CODE_UNSEEN) {
        ERR_TRY(look_up(l, t, number, call, &l->codes[t][at], err));
    }
    *ret = l->codes[t][at];
    return ERR_OK;
}

static enum err_code changes_add(struct loading *l, uint32_t t, uint32_t subject, int64_t time_ms,
                                 uint32_t code, struct err *err)
{
    struct changes *c = &l->changes[t];
    ERR_TRY(GROW(l->arena, &c->subjects, c->count, &c->subject_cap, err));
    ERR_TRY(GROW(l->arena, &c->codes, c->count, &c->code_cap, err));
    if (l->traits->query->traits[t].is_at_event) {
        ERR_TRY(GROW(l->arena, &c->times, c->count, &c->time_cap, err));
        c->times[c->count] = time_ms;
    }
    c->subjects[c->count] = subject;
    c->codes[c->count++] = code;
    return ERR_OK;
}

/* Of calls of one instant the last stands. What is said again is no change. */
static enum err_code change_at(struct loading *l, uint32_t t, uint32_t subject, int64_t time_ms,
                               uint32_t code, struct err *err)
{
    struct changes *c = &l->changes[t];
    bool is_known = c->count > 0 && c->subjects[c->count - 1] == subject;
    if (is_known && c->times[c->count - 1] == time_ms) {
        c->codes[c->count - 1] = code;
        return ERR_OK;
    }
    return is_known && c->codes[c->count - 1] == code
               ? ERR_OK
               : changes_add(l, t, subject, time_ms, code, err);
}

static enum err_code take_calls(struct loading *l, uint32_t t, const struct journey *calls,
                                struct err *err)
{
    const struct bound_query *query = l->traits->query;
    bool is_at_event = query->traits[t].is_at_event;
    uint32_t last = CODE_NONE;
    for (size_t i = 0; i < calls->count; i++) {
        uint32_t code = CODE_NONE;
        uint32_t call = (uint32_t)__builtin_ctzll(calls->masks[i]);
        if (!is_at_event && calls->times[i] > query->now_ms) {
            break;
        }
        ERR_TRY(code_of(l, t, calls->groups[i], call, &code, err));
        if (code == CODE_NONE) {
            continue;
        }
        last = code;
        if (is_at_event) {
            ERR_TRY(change_at(l, t, calls->subject, calls->times[i], code, err));
        }
    }
    return is_at_event || last == CODE_NONE ? ERR_OK
                                            : changes_add(l, t, calls->subject, 0, last, err);
}

/* Groups of what calls say, however long: whoever sends a long value must not break the questions about others'. */
static enum err_code numbers_create(const struct bound_query *query, struct arena *arena,
                                    struct groups **ret, struct err *err)
{
    ERR_TRY(groups_create(query, arena, ret, err));
    groups_take_long_values(*ret);
    return ERR_OK;
}

static enum err_code loading_start(struct loading *l, struct err *err)
{
    uint32_t count = l->traits->query->trait_count;
    ERR_TRY(numbers_create(&l->traits->calls, l->arena, &l->lane, err));
    ERR_TRY(ARENA_NEW(l->arena, count, &l->codes, err));
    ERR_TRY(ARENA_NEW(l->arena, count, &l->code_caps, err));
    for (uint32_t t = 0; t < count; t++) {
        ERR_TRY(numbers_create(&l->traits->values[t].query, l->arena, &l->changes[t].values, err));
    }
    return ERR_OK;
}

static enum err_code load_task(struct query_run_ctx *run, const struct run_task *task,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    struct scan_want wants[TRAIT_CALLS];
    struct loading l = {.traits = run->traits, .arena = arena, .changes = slot};
    CLEANUP(journeys_closep) struct journeys *journeys = NULL;
    struct journey calls;
    bool has_more = true;
    for (uint32_t c = 0; c < TRAIT_CALLS; c++) {
        wants[c] = (struct scan_want){c, INT64_MIN, INT64_MAX};
    }
    ERR_TRY(loading_start(&l, err));
    const struct journeys_spec spec = {.query = &run->traits->calls,
                                       .wants = wants,
                                       .want_count = TRAIT_CALLS,
                                       .groups = l.lane,
                                       .is_ordered = true};
    ERR_TRY(journeys_open(run, task, &spec, arena, io, &journeys, err));
    for (;;) {
        ERR_TRY(journeys_next(journeys, &calls, &has_more, err));
        if (!has_more) {
            return ERR_OK;
        }
        for (uint32_t t = 0; t < run->query->trait_count; t++) {
            ERR_TRY(take_calls(&l, t, &calls, err));
        }
    }
}

/* ---- loading: all ---- */

static void plan_calls(struct traits *traits)
{
    const struct bound_query *query = traits->query;
    for (uint32_t c = 0; c < TRAIT_CALLS; c++) {
        traits->alts[c] = (struct alt){.kind = ALT_NAMED, .event = trait_calls[c].event};
        traits->selectors[c] = (struct selector){.alts = &traits->alts[c], .alt_count = 1};
    }
    traits->calls = (struct bound_query){
        .zone = query->zone,
        .now_ms = query->now_ms,
        .keys = query->trait_keys,
        .key_count = query->trait_key_count,
        .selectors = traits->selectors,
        .selector_count = TRAIT_CALLS,
    };
    for (uint32_t t = 0; t < query->trait_count; t++) {
        struct trait_values *values = &traits->values[t];
        values->key = (struct by_key){.name = query->traits[t].key};
        values->key.field = (struct field){FIELD_TRAIT, query->traits[t].key, COL_STRING,
                                           traits_col(t, COL_STRING)};
        values->query =
            (struct bound_query){.zone = query->zone, .keys = &values->key, .key_count = 1};
    }
}

/* One number for each value, whichever task met it. */
static enum err_code unite_values(struct query_run_ctx *run, struct traits *traits, uint32_t t,
                                  struct err *err)
{
    struct trait_values *values = &traits->values[t];
    struct str *strings = NULL;
    ERR_TRY(numbers_create(&values->query, run->arena, &values->groups, err));
    for (uint32_t task = 0; task < traits->tasks.count; task++) {
        struct changes *changes = (struct changes *)run_slot(&traits->tasks, task) + t;
        ERR_TRY(run_check(run, err));
        ERR_TRY(ARENA_NEW(run->arena, groups_count(changes->values), &changes->global, err));
        ERR_TRY(groups_adopt(values->groups, changes->values, NULL, groups_count(changes->values),
                             changes->global, err));
    }
    values->count = groups_count(values->groups);
    ERR_TRY(ARENA_NEW(run->arena, values->count, &values->items, err));
    ERR_TRY(ARENA_NEW(run->arena, values->count, &strings, err));
    for (uint32_t i = 0; i < values->count; i++) {
        bool has_value = groups_literal(values->groups, i, 0, &values->items[i]);
        ASSERT(has_value);
        strings[i] = values->items[i].string;
    }
    values->dict = (struct dict){.count = values->count, .values = strings};
    return ERR_OK;
}

enum err_code traits_load(struct query_run_ctx *run, struct err *err)
{
    const struct bound_query *query = run->query;
    struct traits *traits = NULL;
    ERR_TRY(ARENA_NEW(run->arena, 1, &traits, err));
    ERR_TRY(ARENA_NEW(run->arena, query->trait_count, &traits->values, err));
    traits->query = query;
    plan_calls(traits);
    run->traits = traits;
    ERR_TRY(run_all_tasks(run, load_task, query->trait_count * sizeof(struct changes),
                          &traits->tasks, err));
    for (uint32_t t = 0; t < query->trait_count; t++) {
        ERR_TRY(unite_values(run, traits, t, err));
    }
    return ERR_OK;
}

void traits_free(struct traits *traits)
{
    if (traits != NULL) {
        run_tasks_free(&traits->tasks); /* the rest is the query's */
    }
}

/* ---- columns ---- */

/* Whether change k lies behind the time of the subject. */
static bool is_behind(const struct changes *c, uint32_t k, uint32_t subject, int64_t time_ms)
{
    return c->subjects[k] > subject ||
           (c->subjects[k] == subject && c->times != NULL && c->times[k] > time_ms);
}

/* The first change at or behind `at` that lies behind it: near ones are found at once, far ones by halving. */
static uint32_t seek(const struct changes *c, uint32_t at, uint32_t subject, int64_t time_ms)
{
    uint32_t step = 1;
    while (step <= c->count - at && !is_behind(c, at + step - 1, subject, time_ms)) {
        at += step;
        step = step <= UINT32_MAX / 2 ? step * 2 : step;
    }
    uint32_t end = step <= c->count - at ? at + step - 1 : c->count;
    while (at < end) { /* all before `at` are not behind, all from `end` on are */
        uint32_t mid = at + (end - at) / 2;
        if (is_behind(c, mid, subject, time_ms)) {
            end = mid;
        } else {
            at = mid + 1;
        }
    }
    return at;
}

static bool is_of_task(const struct run_task *task, uint32_t shard, uint32_t subject)
{
    return task->shard == shard && subject >= task->subject_begin &&
           (task->subject_end == UINT32_MAX || subject < task->subject_end);
}

/* What is said of each row, by code; tasks are in the order of (shard, subjects). */
static void codes_of_rows(const struct traits *traits, uint32_t t, const struct traits_rows *rows,
                          uint32_t *out)
{
    uint32_t task = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        uint32_t subject = rows->subjects[i];
        if (i > 0 && rows->times == NULL && subject == rows->subjects[i - 1]) {
            out[i] = out[i - 1];
            continue;
        }
        uint32_t next = task;
        while (next < traits->tasks.count &&
               !is_of_task(&traits->tasks.tasks[next], rows->shard, subject)) {
            next++;
        }
        out[i] = CODE_NONE;
        if (next == traits->tasks.count) {
            continue; /* of nobody that the query is about */
        }
        at = next == task ? at : 0;
        task = next;
        const struct changes *changes = changes_of(traits, task, t);
        at = seek(changes, at, subject, rows->times == NULL ? 0 : rows->times[i]);
        if (at > 0 && changes->subjects[at - 1] == subject) {
            out[i] = changes->global[changes->codes[at - 1]];
        }
    }
}

/* The values of a vector, on their way. */
struct filling {
    uint64_t *present;
    uint32_t *codes;
    int64_t *i64;
    uint8_t *u8;
};

static enum err_code filling_start(struct arena *arena, enum col_type type, uint32_t rows,
                                   struct filling *out, struct err *err)
{
    bool is_wide = type == COL_NUMBER || type == COL_TIME;
    bool is_narrow = type == COL_NUMBER || type == COL_BOOL;
    ERR_TRY(ARENA_NEW(arena, (rows + 63) / 64, &out->present, err));
    if (type == COL_STRING) {
        ERR_TRY(arena_alloc_raw(arena, rows * sizeof(*out->codes), (void **)&out->codes, err));
    }
    if (is_wide) {
        ERR_TRY(arena_alloc_raw(arena, rows * sizeof(*out->i64), (void **)&out->i64, err));
    }
    return is_narrow ? arena_alloc_raw(arena, rows, (void **)&out->u8, err) : ERR_OK;
}

static void filling_put(struct filling *f, uint32_t k, uint32_t code, const struct literal *value)
{
    switch (value->type) {
    case COL_STRING: f->codes[k] = code; break;
    case COL_NUMBER:
        f->i64[k] = value->number.m;
        f->u8[k] = value->number.scale;
        break;
    case COL_BOOL: f->u8[k] = value->boolean; break;
    case COL_TIME: f->i64[k] = value->ts_ms; break;
    case COL_LIST: break;
    }
}

/* A column of the values of one type among those of the rows, which are given by code. */
static enum err_code column_of_codes(const struct trait_values *values, enum col_type type,
                                     const uint32_t *codes, uint32_t rows, struct arena *arena,
                                     struct vec *ret, struct err *err)
{
    static const enum vec_kind kinds[] = {[COL_STRING] = VEC_CODE,
                                          [COL_NUMBER] = VEC_NUM,
                                          [COL_BOOL] = VEC_BOOL,
                                          [COL_TIME] = VEC_I64};
    struct filling f = {0};
    uint32_t count = 0;
    ERR_TRY(filling_start(arena, type, rows, &f, err));
    for (uint32_t i = 0; i < rows; i++) {
        if (codes[i] != CODE_NONE && values->items[codes[i]].type == type) {
            filling_put(&f, count++, codes[i], &values->items[codes[i]]);
            f.present[i / 64] |= UINT64_C(1) << (i % 64);
        }
    }
    *ret = (struct vec){.kind = count == 0 ? VEC_ABSENT : kinds[type],
                        .rows = rows,
                        .value_count = count,
                        .present = count == rows ? NULL : f.present,
                        .u32 = f.codes,
                        .i64 = f.i64,
                        .u8 = type == COL_BOOL ? f.u8 : NULL,
                        .scales = type == COL_NUMBER ? f.u8 : NULL,
                        .dict = type == COL_STRING ? &values->dict : NULL};
    return ERR_OK;
}

bool traits_needs_times(const struct traits *traits, uint32_t col)
{
    return traits->query->traits[trait_of(col)].is_at_event;
}

enum err_code traits_column(const struct traits *traits, uint32_t col,
                            const struct traits_rows *rows, struct arena *arena, struct vec *ret,
                            struct err *err)
{
    enum col_type type = (enum col_type)((col - TRAITS_COL_FIRST) % TRAITS_TYPES_MAX);
    uint32_t t = trait_of(col);
    void *memory = NULL;
    ERR_TRY(arena_alloc_raw(arena, rows->count * sizeof(uint32_t), &memory, err));
    codes_of_rows(traits, t, rows, memory);
    return column_of_codes(&traits->values[t], type, memory, rows->count, arena, ret, err);
}

/* ---- people ---- */

/* Some of the values, as if each were a row. */
struct value_rows {
    const struct trait_values *values;
    struct arena *arena;
    uint32_t first, count;
};

static enum err_code value_rows_vec(void *ctx, const struct field *field, struct vec *ret,
                                    struct err *err)
{
    const struct value_rows *rows = ctx;
    uint32_t *codes = NULL;
    ERR_TRY(ARENA_NEW(rows->arena, rows->count, &codes, err));
    for (uint32_t i = 0; i < rows->count; i++) {
        codes[i] = rows->first + i;
    }
    return column_of_codes(rows->values, field->type, codes, rows->count, rows->arena, ret, err);
}

/* Whether the predicate holds of each value. */
static enum err_code judge_values(struct query_run_ctx *run, const struct trait_values *values,
                                  const struct pred *pred, struct arena *arena, const uint8_t **ret,
                                  struct err *err)
{
    struct value_rows rows = {.values = values, .arena = arena};
    struct pred_env env = {.vec = value_rows_vec, .ctx = &rows, .keep = arena, .scratch = arena};
    uint8_t *holds = NULL;
    uint16_t *numbers = NULL;
    ERR_TRY(ARENA_NEW(arena, values->count, &holds, err));
    ERR_TRY(ARENA_NEW(arena, BLOCK_ROWS, &numbers, err));
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
        numbers[i] = (uint16_t)i;
    }
    for (; rows.first < values->count; rows.first += rows.count) {
        rows.count = MIN_OF(values->count - rows.first, BLOCK_ROWS);
        ERR_TRY(run_check(run, err));
        ERR_TRY(pred_eval(&env, pred, numbers, rows.count, holds + rows.first, err));
    }
    *ret = holds;
    return ERR_OK;
}

/* The subjects of a task of whom a value that holds is said. */
static enum err_code add_people(const struct changes *changes, uint32_t shard, const uint8_t *holds,
                                struct people *ret, struct err *err)
{
    roaring_bitmap_t *bits = NULL;
    uint32_t subjects[ADD_MANY];
    uint32_t count = 0;
    ERR_TRY(people_bits(ret, shard, &bits, err));
    for (uint32_t i = 0; i < changes->count; i++) {
        subjects[count] = changes->subjects[i];
        count += holds[changes->global[changes->codes[i]]];
        if (count == ADD_MANY || i + 1 == changes->count) {
            roaring_bitmap_add_many(bits, count, subjects);
            count = 0;
        }
    }
    return people_settle(ret, shard, err);
}

static const struct field *only_field(const struct pred *pred)
{
    return pred->kid_count > 0 ? only_field(pred->kids[0]) : &pred->field;
}

enum err_code traits_people(struct query_run_ctx *run, const struct pred *pred, struct people *ret,
                            struct err *err)
{
    const struct traits *traits = run->traits;
    const struct field *field = only_field(pred);
    const uint8_t *holds = NULL;
    if (field->kind != FIELD_TRAIT) {
        return ERR_OK; /* no call has ever said anything of it */
    }
    CLEANUP(arena_freep) struct arena *scratch = arena_create(&run->budget);
    uint32_t t = trait_of(field->col);
    ASSERT(!traits->query->traits[t].is_at_event);
    ERR_TRY(judge_values(run, &traits->values[t], pred, scratch, &holds, err));
    for (uint32_t task = 0; task < traits->tasks.count; task++) {
        ERR_TRY(run_check(run, err));
        ERR_TRY(add_people(changes_of(traits, task, t), traits->tasks.tasks[task].shard, holds, ret,
                           err));
    }
    return ERR_OK;
}
