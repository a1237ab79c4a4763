/* tests/prop/prop_paths.c - Goal: paths equal their definition, by key and by hour as well, and the people behind a cell
 * are those. Method: random journeys and questions, in several layouts; ref_sessions cuts them, ref_paths makes the paths,
 * and the test counts what it finds in plain lists. Groups part units: what is counted of all adds up over them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/civil.h"
#include "query/path_nodes.h"
#include "storage/base/size.h"
#include "tests/support/ref_paths.h"
#include "tests/support/ref_sessions.h"
#include "tests/support/walkers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TRIALS    700u
#define HOUR_MS   (60 * MINUTE_MS)
#define FOUND_MAX 1024
#define KEY_BYTES 2048

enum node_kind { NODE_NAME, NODE_PAGE, NODE_PAGE_GROUPED, NODE_BOTH };

struct trial {
    struct ref_paths_query query;
    struct ref_session_rule rule; /* idle_ms -1: a subject is one unit */
    bool is_session, is_device, ignores_d, has_times, has_loops;
    enum node_kind node;
    int top; /* 0 = none */
    bool has_channel, has_each;
    int64_t from_ms, to_ms;
};

/* Keys of what is counted begin with the hour and the channel of the unit's first event, as far as rows are by these: so
 * many bytes, which sort as rows do. */
#define HOUR_BYTES 20u /* 2025-05-14T01:00:00Z */
static size_t head_bytes;

static void print_head_key(const struct trial *trial, int64_t time_ms, int channel, char *out)
{
    char text[CIVIL_TEXT_BYTES];
    size_t len = 0;
    if (trial->has_each) {
        struct str hour = civil_format_instant(zone_utc(), time_ms / HOUR_MS * HOUR_MS, text);
        ASSERT(hour.len == HOUR_BYTES);
        memcpy(out, hour.ptr, hour.len);
        len = hour.len;
    }
    if (trial->has_channel) {
        out[len++] = (char)('1' + channel); /* null, which comes first, is 0 */
    }
    out[len] = '\0';
    ASSERT(len == head_bytes);
}

static void print_head(const struct trial *trial, const char *key, struct buf *want)
{
    if (trial->has_each) {
        buf_printf(want, "%.*s|", (int)HOUR_BYTES, key);
        key += HOUR_BYTES;
    }
    if (trial->has_channel) {
        buf_printf(want, "%s|", *key == '0' ? "-" : walker_channels[*key - '1']);
    }
}

/* Something that is counted, and whose. */
struct found {
    char key[KEY_BYTES];
    uint64_t count, users;
    int last_subject;
    int length; /* nodes of a path */
    int64_t ms;
    uint64_t back;
    uint32_t whose; /* a bit each */
};
struct finds {
    struct found *items;
    int count;
    uint64_t all, all_users;
    int last_subject;
};

static struct found *find(struct finds *finds, const char *key)
{
    for (int i = 0; i < finds->count; i++) {
        if (strcmp(finds->items[i].key, key) == 0) {
            return &finds->items[i];
        }
    }
    ASSERT(finds->count < FOUND_MAX && strlen(key) < KEY_BYTES);
    struct found *found = &finds->items[finds->count++];
    *found = (struct found){.last_subject = -1};
    memcpy(found->key, key, strlen(key) + 1);
    return found;
}

static struct found *found_add(struct finds *finds, const char *key, int subject, int64_t ms)
{
    struct found *found = find(finds, key);
    found->count++;
    found->users += found->last_subject != subject;
    found->last_subject = subject;
    found->whose |= 1u << subject;
    found->ms += ms;
    finds->all++;
    finds->all_users += finds->last_subject != subject;
    finds->last_subject = subject;
    return found;
}

/* ---- units ---- */

/* The node of an event; NULL: none. */
static const char *node_of(const struct trial *trial, const struct walker_event *event)
{
    static const char *const grouped[WALKER_PAGES] = {"/", "product", "product", "/q"};
    static char both[WALKER_NAMES][WALKER_PAGES][16];
    switch (trial->node) {
    case NODE_NAME: return walker_names[event->name];
    case NODE_PAGE: return event->page < 0 ? NULL : walker_pages[event->page];
    case NODE_PAGE_GROUPED: return event->page < 0 ? NULL : grouped[event->page];
    case NODE_BOTH: break;
    }
    if (event->page < 0) {
        return walker_names[event->name];
    }
    char *text = both[event->name][event->page];
    (void)snprintf(text, 16, "%s: %s", walker_names[event->name], walker_pages[event->page]);
    return text;
}

static int load(const struct walkers *walkers, const struct trial *trial, int subject,
                struct ref_path_event *events, int64_t *times, int *channels)
{
    struct walker_event all[WALKER_EVENTS_MAX];
    int all_count = walkers_of(walkers, trial->is_device, subject, all);
    int count = 0;
    for (int i = 0; i < all_count; i++) {
        const char *node = node_of(trial, &all[i]);
        bool is_in = trial->is_session ||
                     (all[i].time_ms >= trial->from_ms && all[i].time_ms < trial->to_ms);
        if (node == NULL || !is_in || (trial->ignores_d && all[i].name == 3)) {
            continue;
        }
        times[count] = all[i].time_ms;
        channels[count] = all[i].channel;
        events[count++] = (struct ref_path_event){.node = node,
                                                  .is_start = all[i].name == 0,
                                                  .is_end = all[i].page == 3,
                                                  .time_ms = all[i].time_ms};
    }
    return count;
}

/* A path and what it begins its key with. */
struct headed_path {
    char head[HOUR_BYTES + 2];
    struct ref_path path;
};

/* All paths of a subject. */
static int paths_of(const struct walkers *walkers, const struct trial *trial, int subject,
                    struct headed_path *out)
{
    static struct ref_path of_unit[REF_PATHS_MAX];
    int channels[WALKER_EVENTS_MAX];
    struct ref_path_event events[WALKER_EVENTS_MAX];
    int64_t times[WALKER_EVENTS_MAX];
    struct ref_session sessions[REF_SESSIONS_MAX] = {{0}};
    int count = load(walkers, trial, subject, events, times, channels);
    int units = 1;
    int paths = 0;

    sessions[0].end = count;
    if (trial->rule.idle_ms >= 0) {
        units = ref_sessions(&trial->rule, times, count, sessions);
    }
    for (int u = 0; u < units; u++) {
        int begin = sessions[u].begin;
        if (count > 0 && (!trial->is_session ||
                          (times[begin] >= trial->from_ms && times[begin] < trial->to_ms))) {
            int found = ref_paths(&trial->query, events + begin, sessions[u].end - begin, of_unit);
            for (int p = 0; p < found; p++, paths++) {
                print_head_key(trial, times[begin], channels[begin], out[paths].head);
                out[paths].path = of_unit[p];
            }
        }
    }
    return paths;
}

/* ---- what is expected ---- */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct found *)a)->key, ((const struct found *)b)->key);
}

static int by_count(const void *a, const void *b)
{
    const struct found *x = a;
    const struct found *y = b;
    int order = strncmp(x->key, y->key, head_bytes);
    if (order != 0) {
        return order;
    }
    return x->count != y->count ? (x->count > y->count ? -1 : 1) : by_key(a, b);
}

static int by_length(const void *a, const void *b)
{
    const struct found *x = a;
    const struct found *y = b;
    int order = strncmp(x->key, y->key, head_bytes);
    if (order != 0) {
        return order;
    }
    return x->length != y->length ? x->length - y->length : by_count(a, b);
}

/* Bring the first `wanted` of each head to the front, as they lie; the others stay behind them. */
static int keep_first(struct finds *finds, int wanted)
{
    char head[HOUR_BYTES + 2] = "";
    int kept = 0;
    int of_head = 0;
    for (int i = 0; i < finds->count; i++) {
        struct found *item = &finds->items[i];
        of_head = i > 0 && strncmp(item->key, head, head_bytes) == 0 ? of_head + 1 : 0;
        memcpy(head, item->key, head_bytes);
        if (of_head < wanted) {
            struct found moved = *item;
            finds->items[i] = finds->items[kept];
            finds->items[kept++] = moved;
        }
    }
    return kept;
}

static void print_path(const struct trial *trial, const struct found *path, struct buf *want)
{
    print_head(trial, path->key, want);
    buf_z(want, "[");
    for (const char *c = path->key + head_bytes; *c != '\0'; c++) {
        buf_u8(want, *c == '\x01' ? ' ' : (uint8_t)*c);
    }
    buf_printf(want, "]|%" PRIu64 "|%" PRIu64 "\n", path->count, path->users);
}

static void print_totals(const struct trial *trial, const char *nulls, const struct finds *finds,
                         struct buf *want)
{
    buf_printf(want, "= %s%s%s%" PRIu64 "|%" PRIu64 "", trial->has_each ? "-|" : "",
               trial->has_channel ? "-|" : "", nulls, finds->all, finds->all_users);
}

static void expect_paths(const struct walkers *walkers, const struct trial *trial,
                         struct finds *finds, struct buf *want)
{
    static struct headed_path paths[REF_PATHS_MAX * 2];
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        int count = paths_of(walkers, trial, s, paths);
        for (int p = 0; p < count; p++) {
            CLEANUP(buf_freep) struct buf key = {0};
            const struct ref_path *path = &paths[p].path;
            buf_z(&key, paths[p].head);
            for (int i = 0; i < path->count; i++) {
                /* \x01 sorts before all that nodes are made of, as the end of a node should */
                buf_printf(&key, "%s%s", i > 0 ? "\x01" : "", path->nodes[i]);
            }
            buf_u8(&key, 0);
            found_add(finds, (const char *)key.ptr, s, 0)->length = path->count;
        }
    }
    bool is_shortest = trial->query.shape == REF_PATHS_SHORTEST;
    int wanted = trial->top > 0 ? trial->top : is_shortest ? 1 : finds->count;
    qsort(finds->items, (size_t)finds->count, sizeof(*finds->items),
          is_shortest ? by_length : by_count);
    int shown = wanted > 0 ? keep_first(finds, wanted) : 0;
    if (!is_shortest) {
        qsort(finds->items, (size_t)shown, sizeof(*finds->items), by_key);
    }
    for (int i = 0; i < shown; i++) {
        print_path(trial, &finds->items[i], want);
    }
    print_totals(trial, "-|", finds, want);
    buf_z(want, "\n");
}

static int column_of(const struct trial *trial, const struct ref_path *path, int i)
{
    return trial->query.from == REF_PATHS_ENDING ? trial->query.depth - path->count + i : i;
}

/* Of the nodes of each column of a head, the `top` most visited are shown. */
static bool is_shown(const struct trial *trial, struct finds *visits, const char *head, int column,
                     const char *node)
{
    char key[KEY_BYTES];
    int before = 0;
    if (trial->top == 0) {
        return true;
    }
    (void)snprintf(key, sizeof(key), "%.*s%02d %s", (int)head_bytes, head, column, node);
    const struct found *own = find(visits, key);
    for (int i = 0; i < visits->count; i++) {
        const struct found *other = &visits->items[i];
        if (strncmp(other->key, key, head_bytes + 3) == 0 && by_count(other, own) < 0) {
            before++;
        }
    }
    return before < trial->top;
}

static void print_edge(const struct trial *trial, const struct found *edge, struct buf *want)
{
    const char *key = edge->key + head_bytes;
    print_head(trial, edge->key, want);
    for (const char *c = key + (key[0] == '0' ? 1 : 0); *c != '\0'; c++) {
        if (*c == '\x7f') {
            buf_z(want, "(other)");
        } else {
            buf_u8(want, *c == '\x01' ? '|' : (uint8_t)*c);
        }
    }
    buf_printf(want, "|%" PRIu64 "|%" PRIu64, edge->count, edge->users);
    if (trial->has_times) {
        buf_printf(want, "|%.9g", (double)edge->ms / (double)edge->count);
    }
    if (trial->has_loops) {
        buf_printf(want, "|%" PRIu64, edge->back);
    }
    buf_z(want, "\n");
}

static void find_visits(const struct trial *trial, const struct headed_path *path, int subject,
                        struct finds *visits)
{
    for (int i = 0; i < path->path.count; i++) {
        char key[KEY_BYTES];
        (void)snprintf(key, sizeof(key), "%.*s%02d %s", (int)head_bytes, path->head,
                       column_of(trial, &path->path, i), path->path.nodes[i]);
        found_add(visits, key, subject, 0);
    }
}

static void find_edges(const struct trial *trial, const struct headed_path *headed, int subject,
                       struct finds *visits, struct finds *finds)
{
    const struct ref_path *path = &headed->path;
    for (int i = 0; i + 1 < path->count; i++) {
        char key[KEY_BYTES];
        int column = column_of(trial, path, i);
        bool has_from = is_shown(trial, visits, headed->head, column, path->nodes[i]);
        bool has_to = is_shown(trial, visits, headed->head, column + 1, path->nodes[i + 1]);
        /* \x7f: the other nodes stand behind all that are shown; \x01: before what nodes have */
        (void)snprintf(key, sizeof(key), "%.*s%02d\x01%s\x01%s", (int)head_bytes, headed->head,
                       column + 1, has_from ? path->nodes[i] : "\x7f",
                       has_to ? path->nodes[i + 1] : "\x7f");
        found_add(finds, key, subject, path->times[i + 1] - path->times[i])->back +=
            path->is_back[i + 1];
    }
}

static void expect_edges(const struct walkers *walkers, const struct trial *trial,
                         struct finds *finds, struct finds *visits, struct buf *want)
{
    static struct headed_path paths[WALKER_USERS][REF_PATHS_MAX * 2];
    int counts[WALKER_USERS] = {0};
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        counts[s] = paths_of(walkers, trial, s, paths[s]);
        for (int p = 0; p < counts[s]; p++) {
            find_visits(trial, &paths[s][p], s, visits);
        }
    }
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        for (int p = 0; p < counts[s]; p++) {
            find_edges(trial, &paths[s][p], s, visits, finds);
        }
    }
    qsort(finds->items, (size_t)finds->count, sizeof(*finds->items), by_key);
    for (int i = 0; i < finds->count; i++) {
        print_edge(trial, &finds->items[i], want);
    }
    print_totals(trial, "-|-|-|", finds, want);
    buf_printf(want, "%s%s\n", trial->has_times ? "|-" : "", trial->has_loops ? "|-" : "");
}

/* ---- who is behind a cell ---- */

/* The head of a cell, as `users of` names it. */
static void print_cell(const struct trial *trial, const char *key, struct buf *text)
{
    const char *comma = "";
    if (trial->has_each) {
        buf_printf(text, "time = %.*s", (int)HOUR_BYTES, key);
        key += HOUR_BYTES;
        comma = ", ";
    }
    if (trial->has_channel && *key == '0') {
        buf_printf(text, "%schannel is not set", comma);
    } else if (trial->has_channel) {
        buf_printf(text, "%schannel = \"%s\"", comma, walker_channels[*key - '1']);
    }
}

static void print_edge_cell(const char *key, struct buf *text)
{
    char copy[KEY_BYTES];
    memcpy(copy, key, strlen(key) + 1);
    char *from = strchr(copy, '\x01');
    char *to = strchr(from + 1, '\x01');
    *from++ = '\0';
    *to++ = '\0';
    buf_printf(text, "position = %d, from = \"%s\", to = \"%s\"", atoi(copy),
               *from == '\x7f' ? "(other)" : from, *to == '\x7f' ? "(other)" : to);
}

static void print_path_cell(const char *key, struct buf *text)
{
    buf_z(text, "path = (\"");
    for (; *key != '\0'; key++) {
        if (*key == '\x01') {
            buf_z(text, "\", \"");
        } else {
            buf_u8(text, (uint8_t)*key);
        }
    }
    buf_z(text, "\")");
}

/* A cell at random, or with nothing but its head: everybody who is in some cell of it. */
static void check_cell(const struct walkers *walkers, const struct trial *trial,
                       const struct finds *finds, const char *query, struct rng *rng, uint64_t seed)
{
    CLEANUP(buf_freep) struct buf text = {0};
    uint32_t users = 0;
    if (finds->count == 0 || trial->is_device) {
        return;
    }
    const struct found *found = &finds->items[rng_below(rng, (uint64_t)finds->count)];
    bool is_whole = rng_below(rng, 4) == 0;
    buf_z(&text, "users of (");
    print_cell(trial, found->key, &text);
    if (!is_whole) {
        buf_z(&text, head_bytes > 0 ? ", " : "");
        if (trial->query.shape == REF_PATHS_EDGES) {
            print_edge_cell(found->key + head_bytes, &text);
        } else {
            print_path_cell(found->key + head_bytes, &text);
        }
    }
    buf_printf(&text, ") in %s", query);
    buf_u8(&text, 0);
    for (int i = 0; i < finds->count; i++) {
        const struct found *other = &finds->items[i];
        if (is_whole ? strncmp(other->key, found->key, head_bytes) == 0
                     : strcmp(other->key, found->key) == 0) {
            users |= other->whose;
        }
    }
    if (trial->top > 0) { /* what is shown hangs on others' paths */
        CLEANUP(buf_freep) struct buf want = {0};
        buf_printf(&want, "%d\n", __builtin_popcount(users));
        walkers_check(walkers, (const char *)text.ptr, rng, seed, &want);
        return;
    }
    walkers_check_users(walkers, (const char *)text.ptr, rng, seed, users);
}

/* ---- questions ---- */

static void print_query(const struct trial *trial, struct rng *rng, struct buf *query)
{
    static const char *const froms[] = {"", " starting at a", " ending at any[page = \"/q\"]",
                                        " between a and any[page = \"/q\"]"};
    static const char *const nodes[] = {
        "", " over page", " over page ignore trailing slash group \"/p/*\" as \"product\"",
        " over event_name, page"};
    char from[CIVIL_TEXT_BYTES];
    char to[CIVIL_TEXT_BYTES];

    buf_printf(query, "paths%s%s", froms[trial->query.from], nodes[trial->node]);
    if (trial->query.shape == REF_PATHS_VARIANTS || trial->query.shape == REF_PATHS_SHORTEST) {
        buf_z(query, trial->query.shape == REF_PATHS_VARIANTS ? " variants" : " shortest");
    } else {
        buf_printf(query, " %s %d", trial->query.shape == REF_PATHS_EDGES ? "depth" : "exactly",
                   trial->query.depth);
    }
    bool is_of_subject =
        trial->query.shape == REF_PATHS_EXACTLY || trial->query.shape == REF_PATHS_VARIANTS;
    bool is_default = trial->is_session != is_of_subject;
    buf_z(query, is_default && rng_below(rng, 2) == 0 ? ""
                 : trial->is_session                  ? " per session"
                                                      : " per user");
    bool has_gap =
        trial->is_session ? trial->rule.idle_ms != 30 * MINUTE_MS : trial->rule.idle_ms >= 0;
    if (has_gap) {
        buf_printf(query, " gap %" PRId64 "ms", trial->rule.idle_ms);
    }
    buf_z(query, trial->ignores_d ? " ignore d" : "");
    buf_z(query, trial->query.keeps_repeats && !is_of_subject ? " keep repeats" : "");
    buf_z(query, trial->has_times ? " times" : "");
    buf_z(query, trial->has_loops ? " loops" : "");
    buf_z(query, trial->is_device ? " per device" : "");
    if (trial->top > 0) {
        buf_printf(query, " top %d", trial->top);
    }
    if (trial->from_ms != INT64_MIN) {
        (void)civil_format_instant(zone_utc(), trial->from_ms, from);
        (void)civil_format_instant(zone_utc(), trial->to_ms, to);
        buf_printf(query, " from %s to %s", from, to);
    }
    buf_printf(query, "%s%s", trial->has_channel ? " by channel" : "",
               trial->has_each ? " each hour" : "");
    buf_u8(query, 0);
}

static struct trial trial_random(struct rng *rng)
{
    struct trial trial = {
        .query = {.from = (enum ref_paths_from)rng_below(rng, 4),
                  .shape = (enum ref_paths_shape)rng_below(rng, 4),
                  .depth = 2 + (int)rng_below(rng, 5)},
        .is_device = rng_below(rng, 4) == 0,
        .ignores_d = rng_below(rng, 3) == 0,
        .node = (enum node_kind)rng_below(rng, 4),
        .top = rng_below(rng, 2) == 0 ? 0 : 1 + (int)rng_below(rng, 4),
        .has_channel = rng_below(rng, 2) == 0,
        .has_each = rng_below(rng, 3) == 0,
        .from_ms = INT64_MIN,
        .to_ms = INT64_MAX,
    };
    head_bytes = (trial.has_each ? HOUR_BYTES : 0) + (trial.has_channel ? 1 : 0);
    bool is_edges = trial.query.shape == REF_PATHS_EDGES;
    if (trial.query.shape == REF_PATHS_VARIANTS) {
        trial.query.from = REF_PATHS_ALL;
    }
    bool is_shortest = trial.query.shape == REF_PATHS_SHORTEST;
    if (is_shortest) {
        trial.query.from = REF_PATHS_BETWEEN;
    }
    trial.query.keeps_repeats = (!is_edges && !is_shortest) || rng_below(rng, 3) == 0;
    trial.has_times = is_edges && rng_below(rng, 2) == 0;
    trial.has_loops = is_edges && rng_below(rng, 2) == 0;
    trial.is_session = rng_below(rng, 2) == 0;
    trial.rule.idle_ms = rng_below(rng, 2) == 0 ? 30 * MINUTE_MS : 20 * MINUTE_MS;
    trial.rule.cap_ms = trial.is_session ? 24 * 60 * MINUTE_MS : -1;
    if (!trial.is_session && rng_below(rng, 2) == 0) {
        trial.rule.idle_ms = -1;
    }
    if (rng_below(rng, 3) == 0) {
        trial.from_ms = SNAP_NOW_MS - (int64_t)rng_below(rng, 30 * 60) * MINUTE_MS;
        trial.to_ms = trial.from_ms + (int64_t)(1 + rng_below(rng, 30 * 60)) * MINUTE_MS;
    }
    return trial;
}

static void paths_equal_their_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(4242);
    struct finds finds = {.items = calloc(FOUND_MAX, sizeof(struct found))};
    struct finds visits = {.items = calloc(FOUND_MAX, sizeof(struct found))};
    assert_non_null(finds.items);
    assert_non_null(visits.items);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        CLEANUP(buf_freep) struct buf query = {0};
        CLEANUP(buf_freep) struct buf want = {0};
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        struct trial trial = trial_random(&rng);
        finds = (struct finds){.items = finds.items, .last_subject = -1};
        visits = (struct finds){.items = visits.items, .last_subject = -1};
        print_query(&trial, &rng, &query);
        if (trial.query.shape == REF_PATHS_EDGES) {
            expect_edges(&walkers, &trial, &finds, &visits, &want);
        } else {
            expect_paths(&walkers, &trial, &finds, &want);
        }
        check_cell(&walkers, &trial, &finds, (const char *)query.ptr, &rng, seed);
        walkers_check(&walkers, (const char *)query.ptr, &rng, seed, &want);
    }
    free(finds.items);
    free(visits.items);
}

static bool matches_by_recursion(const char *pattern, const char *text)
{
    if (*pattern == '\0') {
        return *text == '\0';
    }
    if (*pattern == '*') {
        return matches_by_recursion(pattern + 1, text) ||
               (*text != '\0' && matches_by_recursion(pattern, text + 1));
    }
    return *text == *pattern && matches_by_recursion(pattern + 1, text + 1);
}

static void patterns_of_groups_match_as_their_stars_say(void **state)
{
    (void)state;
    struct rng rng = rng_init(walkers_seed(99));
    for (int trial = 0; trial < 100000; trial++) {
        char pattern[9] = "";
        char text[13] = "";
        for (uint64_t i = 0, n = rng_below(&rng, 8); i < n; i++) {
            pattern[i] = "ab**"[rng_below(&rng, 4)];
        }
        for (uint64_t i = 0, n = rng_below(&rng, 12); i < n; i++) {
            text[i] = "ab"[rng_below(&rng, 2)];
        }
        if (path_matches(str_of(pattern), str_of(text)) != matches_by_recursion(pattern, text)) {
            fail_msg("\"%s\" against \"%s\"", pattern, text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_equal_their_definition),
        cmocka_unit_test(patterns_of_groups_match_as_their_stars_say),
    };
    return cmocka_run_group_tests_name("prop/paths", tests, NULL, NULL);
}
