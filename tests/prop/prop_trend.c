/* Goal: a trend equals its definition. Method: random events (many ties in time, missing and empty
 * values, decimals), random questions, and a plain computation that looks every event through for
 * every cell. Each question is asked of several layouts of sources, by index and by rows.
 *
 * The definition is computed from the parts that the query text was made of, not from the bound
 * query; only the calendar's buckets are taken from query/civil.h, which has tests of its own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "tests/support/claims.h"

#include "query/civil.h"
#include "storage/base/rng.h"
#include "tests/support/snap_query.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define EVENTS_MAX  120u
#define USERS       9u
#define BUCKETS_MAX 400u
#define GROUPS_MAX  EVENTS_MAX
#define TEXT_BYTES  1024u
#define DAY_MS      INT64_C(86400000)
#define BASE_MS     INT64_C(1746057600000) /* 2025-05-01T00:00Z */

/* ---- random events ---- */

struct row {
    char id[12];
    const char *user;
    const char *name;
    int64_t time_ms;
    bool has_amount;
    struct num amount;   /* in hundredths at most */
    const char *channel; /* NULL: missing */
    bool has_vip;
    bool vip;
};

struct data {
    struct row rows[EVENTS_MAX];
    uint32_t count;
    struct snap_prop props[EVENTS_MAX][3];
    struct snap_event events[EVENTS_MAX];
};

static const char *const users[USERS] = {"ann", "bob", "cat", "dan", "eve",
                                         "fay", "gus", "hal", "ida"};
static const char *const names[] = {"a", "b", "c"};
static const char *const channels[] = {"", "ad", "seo", "x, \"y\""};

static void data_random(struct data *data, struct rng *rng)
{
    *data = (struct data){.count = (uint32_t)rng_below(rng, EVENTS_MAX + 1)};
    int64_t span_ms = rng_below(rng, 2) == 0 ? 5 * DAY_MS : 40;
    for (uint32_t i = 0; i < data->count; i++) {
        struct row *row = &data->rows[i];
        struct snap_event *event = &data->events[i];
        snprintf(row->id, sizeof(row->id), "e%03u", (unsigned)((i * 37) % 1000));
        row->user = users[rng_below(rng, USERS)];
        row->name = names[rng_below(rng, COUNT_OF(names))];
        /* even a range of days has many equal times */
        row->time_ms = BASE_MS + (int64_t)rng_below(rng, 40) * (span_ms / 40);
        row->has_amount = rng_below(rng, 4) != 0;
        row->amount = num_decimal((int64_t)rng_below(rng, 2000) - 500, (uint8_t)rng_below(rng, 3));
        row->channel = rng_below(rng, 4) == 0 ? NULL : channels[rng_below(rng, COUNT_OF(channels))];
        row->has_vip = rng_below(rng, 3) != 0;
        row->vip = rng_below(rng, 2) != 0;
        *event =
            (struct snap_event){row->id, row->name, row->user, row->time_ms, data->props[i], 0};
        if (row->has_amount) {
            data->props[i][event->prop_count++] =
                (struct snap_prop){.name = "amount", .type = COL_NUMBER, .number = row->amount};
        }
        if (row->channel != NULL) {
            data->props[i][event->prop_count++] =
                (struct snap_prop){.name = "channel", .type = COL_STRING, .text = row->channel};
        }
        if (row->has_vip) {
            data->props[i][event->prop_count++] =
                (struct snap_prop){.name = "vip", .type = COL_BOOL, .boolean = row->vip};
        }
    }
}

/* ---- random questions ---- */

enum measure_kind {
    M_COUNT,
    M_USERS,
    M_UNIQUE,
    M_SUM,
    M_AVG,
    M_MIN,
    M_MAX,
    M_FIRST,
    M_LAST,
    M_MEDIAN,
    M_P90,
    M_KINDS
};
enum where_kind { W_NONE, W_MORE, W_NOT_AD, W_UNSET_OR_VIP, W_LIST, W_KINDS };
enum by_kind { BY_NONE, BY_CHANNEL, BY_VIP, BY_CHANNEL_VIP, BY_BUCKET, BY_EVENT, BY_KINDS };
enum select_kind { S_ANY, S_A, S_A_OR_B, S_B_MORE, S_A_OR_C_VIP, S_KINDS };

struct ask {
    enum measure_kind measures[3];
    enum select_kind selects[3];
    uint64_t rolling_ms[3];
    uint32_t measure_count;
    enum where_kind where;
    enum by_kind by;
    bool has_each;
    enum civil_unit unit;
    uint32_t unit_count;
    bool has_range;
    int64_t from_ms, to_ms;
    const char *zone;
    uint32_t top; /* 0 = none */
    bool has_other;
    char text[TEXT_BYTES];
};

static const char *const select_texts[S_KINDS] = {"any", "a", "(a | b)", "b[amount > 2.5]",
                                                  "(a | c[vip = true])"};
static const char *const where_texts[W_KINDS] = {
    "", " where amount >= 1.25", " where not (channel = \"ad\")",
    " where channel is not set or vip = true",
    " where channel in (\"seo\", \"\") and not (amount between -1 and 0.5)"};
static const char *const by_texts[BY_KINDS] = {"",
                                               " by channel",
                                               " by vip",
                                               " by channel, vip",
                                               " by bucket(amount, 0, 2.5, 10)",
                                               " by event_name"};
static const struct {
    const char *text;
    enum civil_unit unit;
    uint32_t count;
} eaches[] = {{"hour", CIVIL_HOUR, 1},
              {"6h", CIVIL_HOUR, 6},
              {"day", CIVIL_DAY, 1},
              {"2d", CIVIL_DAY, 2},
              {"week", CIVIL_WEEK, 1}};
static const char *const zones[] = {"UTC", "Asia/Shanghai", "Asia/Kolkata", "America/New_York"};

static void ask_append(struct ask *ask, const char *text)
{
    size_t len = strlen(ask->text);
    size_t more = strlen(text);
    assert_true(len + more < TEXT_BYTES);
    memcpy(ask->text + len, text, more + 1);
}

static void ask_instant(struct ask *ask, const char *word, int64_t ts_ms)
{
    char text[CIVIL_TEXT_BYTES];
    (void)civil_format_instant(zone_utc(), ts_ms, text);
    ask_append(ask, word);
    ask_append(ask, text);
}

static void ask_random(struct ask *ask, struct rng *rng)
{
    *ask = (struct ask){.measure_count = 1 + (uint32_t)rng_below(rng, 3)};
    ask->has_range = rng_below(rng, 4) != 0;
    ask->has_each = rng_below(rng, 4) != 0;
    bool only_users = rng_below(rng, 3) == 0; /* so that whole trends are index-only, too */
    ask->by = only_users ? BY_NONE : (enum by_kind)rng_below(rng, BY_KINDS);
    ask->where = only_users ? W_NONE : (enum where_kind)rng_below(rng, W_KINDS);
    ask_append(ask, "trend ");
    for (uint32_t m = 0; m < ask->measure_count; m++) {
        char part[128];
        ask->measures[m] = only_users ? M_USERS : (enum measure_kind)rng_below(rng, M_KINDS);
        ask->selects[m] = (enum select_kind)rng_below(rng, only_users ? S_B_MORE : S_KINDS);
        bool can_roll = ask->has_range && ask->has_each;
        uint64_t hours = can_roll && rng_below(rng, 3) == 0 ? 1 + rng_below(rng, 60) : 0;
        ask->rolling_ms[m] = hours * 3600000;
        ask_append(ask, m > 0 ? ", " : "");
        if (hours > 0) {
            snprintf(part, sizeof(part), "rolling %" PRIu64 "h ", hours);
            ask_append(ask, part);
        }
        switch (ask->measures[m]) {
#define CASE(kind, format)                                                                         \
    case kind: snprintf(part, sizeof(part), format, select_texts[ask->selects[m]]); break
            CASE(M_COUNT, "count(%s)");
            CASE(M_USERS, "users(%s)");
            CASE(M_UNIQUE, "unique(channel of %s)");
            CASE(M_SUM, "sum(amount of %s)");
            CASE(M_AVG, "avg(amount of %s)");
            CASE(M_MIN, "min(amount of %s)");
            CASE(M_MAX, "max(amount of %s)");
            CASE(M_FIRST, "first(amount of %s)");
            CASE(M_LAST, "last(amount of %s)");
            CASE(M_MEDIAN, "median(amount of %s)");
            CASE(M_P90, "p90(amount of %s)");
#undef CASE
        case M_KINDS: break;
        }
        ask_append(ask, part);
        snprintf(part, sizeof(part), " as m%u", m);
        ask_append(ask, part);
    }
    ask_append(ask, where_texts[ask->where]);
    ask_append(ask, by_texts[ask->by]);
    if (ask->has_range) {
        ask->from_ms = BASE_MS - DAY_MS + (int64_t)rng_below(rng, 16) * DAY_MS / 4;
        ask->to_ms = ask->from_ms + (int64_t)(1 + rng_below(rng, 16)) * DAY_MS / 4;
        ask_instant(ask, " from ", ask->from_ms);
        ask_instant(ask, " to ", ask->to_ms);
    }
    if (ask->has_each) {
        size_t e = rng_below(rng, COUNT_OF(eaches));
        ask->unit = eaches[e].unit;
        ask->unit_count = eaches[e].count;
        ask_append(ask, " each ");
        ask_append(ask, eaches[e].text);
    }
    if (ask->by != BY_NONE && rng_below(rng, 3) == 0) {
        char part[32];
        ask->top = 1 + (uint32_t)rng_below(rng, 3);
        ask->has_other = rng_below(rng, 2) != 0;
        snprintf(part, sizeof(part), " top %u%s", ask->top, ask->has_other ? " with other" : "");
        ask_append(ask, part);
    }
    ask->zone = zones[rng_below(rng, COUNT_OF(zones))];
    ask_append(ask, " tz \"");
    ask_append(ask, ask->zone);
    ask_append(ask, "\"");
}

/* ---- the definition ---- */

static double amount_of(const struct row *row)
{
    return num_to_double(row->amount);
}

static bool is_more(const struct row *row, double than)
{
    return row->has_amount && amount_of(row) > than;
}

static bool ref_where(enum where_kind where, const struct row *row)
{
    bool is_ad = row->channel != NULL && strcmp(row->channel, "ad") == 0;
    switch (where) {
    case W_MORE: return row->has_amount && amount_of(row) >= 1.25;
    case W_NOT_AD: return !is_ad;
    case W_UNSET_OR_VIP: return row->channel == NULL || (row->has_vip && row->vip);
    case W_LIST:
        return row->channel != NULL &&
               (strcmp(row->channel, "seo") == 0 || strcmp(row->channel, "") == 0) &&
               !(row->has_amount && amount_of(row) >= -1 && amount_of(row) <= 0.5);
    default: return true;
    }
}

static bool ref_select(enum select_kind select, const struct row *row)
{
    char name = row->name[0];
    switch (select) {
    case S_A: return name == 'a';
    case S_A_OR_B: return name == 'a' || name == 'b';
    case S_B_MORE: return name == 'b' && is_more(row, 2.5);
    case S_A_OR_C_VIP: return name == 'a' || (name == 'c' && row->has_vip && row->vip);
    default: return true;
    }
}

/* A group as text that sorts as groups do: '0' null, then the value, key by key. */
static void ref_key(enum by_kind by, const struct row *row, char out[64])
{
    static const double edges[] = {0, 2.5, 10};
    const char *channel = row->channel;
    char vip = !row->has_vip ? '0' : row->vip ? '2' : '1';
    int bucket = 0;
    switch (by) {
    case BY_NONE: out[0] = '\0'; return;
    case BY_CHANNEL:
        snprintf(out, 64, "%c%s", channel == NULL ? '0' : '1', channel == NULL ? "" : channel);
        return;
    case BY_VIP: snprintf(out, 64, "%c", vip); return;
    case BY_CHANNEL_VIP:
        snprintf(out, 64, "%c%s\x01%c", channel == NULL ? '0' : '1', channel == NULL ? "" : channel,
                 vip);
        return;
    case BY_BUCKET:
        while (bucket < 3 && amount_of(row) >= edges[bucket]) {
            bucket++;
        }
        snprintf(out, 64, "%d", row->has_amount ? bucket + 1 : 0);
        return;
    case BY_EVENT: snprintf(out, 64, "%s", row->name); return;
    case BY_KINDS: return;
    }
}

struct ref_groups {
    char keys[GROUPS_MAX][64];
    uint32_t count;
};

/* The rows of one cell. */
struct ref_span {
    int64_t begin_ms, end_ms;
    const char (*keys)[64]; /* the groups in it; NULL = all */
    uint32_t key_count;
};

static bool ref_in_span(const struct ask *ask, uint32_t m, const struct row *row,
                        const struct ref_span *span)
{
    if (row->time_ms < span->begin_ms || row->time_ms >= span->end_ms ||
        !ref_where(ask->where, row) || !ref_select(ask->selects[m], row)) {
        return false;
    }
    char key[64];
    ref_key(ask->by, row, key);
    for (uint32_t k = 0; k < span->key_count; k++) {
        if (strcmp(span->keys[k], key) == 0) {
            return true;
        }
    }
    return span->keys == NULL;
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double ref_quantile(double *values, uint32_t count, double q)
{
    qsort(values, count, sizeof(*values), compare_double);
    double at = q * (double)(count - 1);
    double low = values[(uint32_t)floor(at)];
    double high = values[(uint32_t)ceil(at)];
    return low + (high - low) * (at - floor(at));
}

/* Hundredths: what amounts are made of. */
static int64_t hundredths(struct num n)
{
    return n.scale == 0 ? n.m * 100 : n.scale == 1 ? n.m * 10 : n.m;
}

static bool is_before(const struct row *a, const struct row *b)
{
    return a->time_ms != b->time_ms ? a->time_ms < b->time_ms : strcmp(a->id, b->id) < 0;
}

/* NAN stands for null. */
static double ref_measure(const struct data *data, const struct ask *ask, uint32_t m,
                          const struct ref_span *span)
{
    enum measure_kind kind = ask->measures[m];
    double values[EVENTS_MAX];
    uint32_t rows = 0;
    uint32_t count = 0;
    int64_t sum = 0;
    bool seen_users[USERS] = {false};
    bool seen_channels[COUNT_OF(channels)] = {false};
    uint32_t user_count = 0;
    uint32_t channel_count = 0;
    const struct row *first = NULL;
    const struct row *last = NULL;
    for (uint32_t i = 0; i < data->count; i++) {
        const struct row *row = &data->rows[i];
        if (!ref_in_span(ask, m, row, span)) {
            continue;
        }
        rows++;
        for (uint32_t u = 0; u < USERS; u++) {
            if (row->user == users[u] && !seen_users[u]) {
                seen_users[u] = true;
                user_count++;
            }
        }
        for (uint32_t c = 0; c < COUNT_OF(channels); c++) {
            if (row->channel == channels[c] && !seen_channels[c]) {
                seen_channels[c] = true;
                channel_count++;
            }
        }
        if (row->has_amount) {
            values[count++] = amount_of(row);
            sum += hundredths(row->amount);
            first = first == NULL || is_before(row, first) ? row : first;
            last = last == NULL || is_before(last, row) ? row : last;
        }
    }
    switch (kind) {
    case M_COUNT: return rows;
    case M_USERS: return user_count;
    case M_UNIQUE: return channel_count;
    case M_SUM: return (double)sum / 100;
    default: break;
    }
    if (count == 0) {
        return (double)NAN;
    }
    switch (kind) {
    case M_AVG: return (double)sum / 100 / count;
    case M_FIRST: return amount_of(first);
    case M_LAST: return amount_of(last);
    case M_MEDIAN: return ref_quantile(values, count, 0.5);
    case M_P90: return ref_quantile(values, count, 0.9);
    default: break;
    }
    qsort(values, count, sizeof(*values), compare_double);
    return kind == M_MIN ? values[0] : values[count - 1];
}

/* ---- comparing ---- */

struct ref_table {
    int64_t begins[BUCKETS_MAX + 1];
    uint32_t bucket_count;
    int64_t from_ms, to_ms;
    struct ref_groups groups; /* in order; the top ones first */
    uint32_t shown;
};

static int compare_key(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void ref_buckets(const struct data *data, const struct ask *ask, struct ref_table *table)
{
    struct err err = {0};
    const struct zone *zone = NULL;
    struct civil_grid grid = {0};
    table->from_ms = ask->from_ms;
    table->to_ms = ask->to_ms;
    if (!ask->has_range) { /* from the first row that counts to the last */
        const struct ref_span everything = {INT64_MIN, INT64_MAX, NULL, 0};
        table->from_ms = INT64_MAX;
        table->to_ms = INT64_MIN;
        for (uint32_t i = 0; i < data->count; i++) {
            const struct row *row = &data->rows[i];
            for (uint32_t m = 0; m < ask->measure_count; m++) {
                if (ref_in_span(ask, m, row, &everything)) {
                    table->from_ms = row->time_ms < table->from_ms ? row->time_ms : table->from_ms;
                    table->to_ms = row->time_ms >= table->to_ms ? row->time_ms + 1 : table->to_ms;
                }
            }
        }
        if (table->from_ms > table->to_ms) {
            table->from_ms = table->to_ms = 0;
        }
    }
    table->bucket_count = 0;
    if (!ask->has_each) {
        table->begins[0] = table->from_ms;
        table->begins[1] = table->to_ms;
        table->bucket_count = 1;
        return;
    }
    assert_int_equal(zone_find(str_of(ask->zone), &zone, &err), ERR_OK);
    assert_int_equal(civil_grid_init(zone, ask->unit, ask->unit_count, CIVIL_MONDAY, &grid, &err),
                     ERR_OK);
    if (table->from_ms >= table->to_ms) {
        return;
    }
    for (int64_t at = civil_floor(&grid, table->from_ms); at < table->to_ms;
         at = civil_next(&grid, at)) {
        assert_true(table->bucket_count < BUCKETS_MAX);
        table->begins[table->bucket_count++] = at;
        table->begins[table->bucket_count] = civil_next(&grid, at);
    }
}

static struct ref_span ref_bucket_span(const struct ask *ask, const struct ref_table *table,
                                       uint32_t m, uint32_t b)
{
    int64_t end = table->begins[b + 1] < table->to_ms ? table->begins[b + 1] : table->to_ms;
    int64_t begin = table->begins[b] > table->from_ms ? table->begins[b] : table->from_ms;
    if (ask->rolling_ms[m] != 0) {
        begin = end - (int64_t)ask->rolling_ms[m];
    }
    return (struct ref_span){begin, end, NULL, 0};
}

/* Groups that occur in what some measure looks at. */
static void ref_find_groups(const struct data *data, const struct ask *ask, struct ref_table *table)
{
    struct ref_groups *groups = &table->groups;
    groups->count = 0;
    for (uint32_t i = 0; i < data->count; i++) {
        bool is_in = false;
        for (uint32_t m = 0; m < ask->measure_count; m++) {
            /* a grid reaches from its first edge to its last, holes included */
            struct ref_span span = {table->from_ms, table->to_ms, NULL, 0};
            if (ask->rolling_ms[m] != 0 && table->bucket_count > 0) {
                int64_t begin = ref_bucket_span(ask, table, m, 0).begin_ms;
                span.begin_ms = begin < span.begin_ms ? begin : span.begin_ms;
            }
            is_in = is_in || ref_in_span(ask, m, &data->rows[i], &span);
        }
        char key[64];
        ref_key(ask->by, &data->rows[i], key);
        for (uint32_t g = 0; is_in && g < groups->count; g++) {
            is_in = strcmp(groups->keys[g], key) != 0;
        }
        if (is_in) {
            memcpy(groups->keys[groups->count++], key, sizeof(key));
        }
    }
    if (ask->by == BY_NONE) {
        groups->count = 1;
        groups->keys[0][0] = '\0';
    }
    qsort(groups->keys, groups->count, sizeof(groups->keys[0]), compare_key);
}

/* Bring the `top` groups to the front, in order. */
static void ref_rank(const struct data *data, const struct ask *ask, struct ref_table *table)
{
    struct ref_groups *groups = &table->groups;
    table->shown = groups->count;
    if (ask->top == 0 || ask->top >= groups->count) {
        return;
    }
    table->shown = ask->top;
    static struct ref_groups picked;
    bool is_taken[GROUPS_MAX] = {false};
    for (uint32_t n = 0; n < ask->top; n++) {
        uint32_t best = UINT32_MAX;
        double best_value = 0;
        for (uint32_t g = 0; g < groups->count; g++) {
            const struct ref_span span = {table->from_ms, table->to_ms,
                                          (const char(*)[64]) & groups->keys[g], 1};
            double value = ref_measure(data, ask, 0, &span);
            bool is_better =
                best == UINT32_MAX || (isnan(best_value) && !isnan(value)) || value > best_value;
            if (!is_taken[g] && is_better) {
                best = g;
                best_value = value;
            }
        }
        is_taken[best] = true;
    }
    picked.count = 0;
    for (int taken = 1; taken >= 0; taken--) {
        for (uint32_t g = 0; g < groups->count; g++) {
            if (is_taken[g] == (taken != 0)) {
                memcpy(picked.keys[picked.count++], groups->keys[g], sizeof(picked.keys[0]));
            }
        }
    }
    *groups = picked;
}

static bool cell_is(const struct cell *cell, double want)
{
    switch (cell->kind) {
    case CELL_NULL: return isnan(want);
    case CELL_I64: return (double)cell->i64 == want;
    case CELL_F64: return cell->f64 == want;
    case CELL_DECIMAL: return cell->decimal.approx == want;
    default: return false;
    }
}

/* Empty, or what is wrong. */
static void compare_table(const struct data *data, const struct ask *ask,
                          const struct ref_table *table, const struct result *result,
                          char problem[256])
{
    bool has_other = ask->has_other && table->shown < table->groups.count;
    uint32_t rows_each = table->shown + (has_other ? 1 : 0);
    uint64_t want_rows = (uint64_t)table->bucket_count * rows_each;
    uint32_t first = result->col_count - ask->measure_count;
    problem[0] = '\0';
    if (result->row_count != want_rows) {
        snprintf(problem, 256, "%" PRIu64 " rows, by definition %" PRIu64, result->row_count,
                 want_rows);
        return;
    }
    for (uint64_t r = 0; r < result->row_count; r++) {
        uint32_t b = (uint32_t)(r / rows_each);
        uint32_t g = (uint32_t)(r % rows_each);
        for (uint32_t m = 0; m < ask->measure_count; m++) {
            struct ref_span span = ref_bucket_span(ask, table, m, b);
            span.keys = (const char(*)[64])table->groups.keys + g;
            span.key_count = g < table->shown ? 1 : table->groups.count - table->shown;
            double want = ref_measure(data, ask, m, &span);
            const struct cell *cell = &result->cells[r * result->col_count + first + m];
            if (!cell_is(cell, want)) {
                snprintf(problem, 256, "row %" PRIu64 ", measure %u: by definition %.17g", r, m,
                         want);
                return;
            }
        }
    }
    for (uint32_t m = 0; m < ask->measure_count; m++) {
        const struct ref_span all = {table->from_ms, table->to_ms, NULL, 0};
        double want = ref_measure(data, ask, m, &all);
        if (!cell_is(&result->totals[first + m], want)) {
            snprintf(problem, 256, "total of measure %u: by definition %.17g", m, want);
            return;
        }
    }
}

static void check_layout(const struct data *data, const struct ask *ask, struct snap *snap,
                         const struct ref_table *table, uint64_t seed)
{
    for (int reference = 0; reference < 2; reference++) {
        const struct snap_query_opts opts = {.is_reference_path = reference != 0};
        CLEANUP(result_freep) struct result *result = NULL;
        struct err err = {0};
        char problem[256];
        if (snap_query(snap, ask->text, &opts, &result, &err) != ERR_OK) {
            fail_msg("seed %" PRIu64 ": %s: %s", seed, ask->text, err.message);
        }
        compare_table(data, ask, table, result, problem);
        if (problem[0] != '\0') {
            char *json = snap_query_json(snap, ask->text, &opts);
            fail_msg("seed %" PRIu64 ", %s path: %s\n%s\n%s", seed,
                     reference != 0 ? "reference" : "index", ask->text, problem, json);
        }
    }
}

static void a_trend_equals_its_definition_in_every_layout(void **state)
{
    (void)state;
    static struct data data;
    static struct ask ask;
    static struct ref_table table;
    bool is_repeat = getenv("TEST_SEED") != NULL;
    uint64_t trials = is_repeat ? 1 : 100;
    for (uint64_t trial = 0; trial < trials; trial++) {
        uint64_t seed = test_seed() + trial;
        struct rng rng = rng_init(seed);
        data_random(&data, &rng);
        struct snap *layouts[3] = {NULL};
        for (uint32_t i = 0; i < COUNT_OF(layouts); i++) {
            uint32_t sources = 1 + (uint32_t)rng_below(&rng, 3);
            const struct snap_opts opts = {
                .source_count = sources,
                .memory_count = (uint32_t)rng_below(&rng, sources + 1),
                .shard_count = 1 + (uint32_t)rng_below(&rng, 3),
                .seed = rng_next(&rng),
            };
            layouts[i] = snap_build(data.events, data.count, &opts);
        }
        for (uint32_t q = 0; q < 40; q++) {
            ask_random(&ask, &rng);
            ref_buckets(&data, &ask, &table);
            ref_find_groups(&data, &ask, &table);
            ref_rank(&data, &ask, &table);
            for (uint32_t i = 0; i < COUNT_OF(layouts); i++) {
                check_layout(&data, &ask, layouts[i], &table, seed);
            }
        }
        for (uint32_t i = 0; i < COUNT_OF(layouts); i++) {
            snap_free(layouts[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trend_equals_its_definition_in_every_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
