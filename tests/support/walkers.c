/* tests/support/walkers.c */
#include "tests/support/walkers.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const char *const walker_names[] = {"a", "b", "c", "d"};
const char *const walker_pages[] = {"/", "/p/1", "/p/2/", "/q"};
const char *const walker_channels[] = {"ad", "direct", "mail", "seo"};

uint64_t walkers_seed(uint64_t otherwise)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

/* ---- journeys ---- */

static int64_t step_ms(struct rng *rng)
{
    switch (rng_below(rng, 8)) {
    case 0:
    case 1: return 0;
    case 2: return 30 * MINUTE_MS;
    case 3: return 30 * MINUTE_MS + 1;
    case 4: return (int64_t)rng_below(rng, 5) * 60 * MINUTE_MS;
    case 5: return 1000;
    default: return (int64_t)rng_below(rng, 20) * MINUTE_MS;
    }
}

struct walkers walkers_random(struct rng *rng)
{
    struct walkers walkers = {.count = (int)rng_below(rng, WALKER_EVENTS_MAX + 1)};
    int64_t clocks[WALKER_USERS];

    for (int u = 0; u < WALKER_USERS; u++) {
        clocks[u] = SNAP_NOW_MS - (int64_t)rng_below(rng, 30) * 60 * MINUTE_MS;
    }
    for (int i = 0; i < walkers.count; i++) {
        struct walker_event *event = &walkers.events[i];
        event->user = (int)(rng_below(rng, WALKER_USERS) * rng_below(rng, 3) / 2);
        event->device = (int)rng_below(rng, WALKER_DEVICES + 1) - 1;
        event->name = (int)rng_below(rng, WALKER_NAMES);
        event->page = (int)rng_below(rng, WALKER_PAGES + 1) - 1;
        event->channel = rng_below(rng, 2) == 0 ? -1 : (int)rng_below(rng, WALKER_CHANNELS);
        event->has_amount = rng_below(rng, 3) != 0;
        event->cents = (int64_t)rng_below(rng, 2000) - 500;
        clocks[event->user] += step_ms(rng);
        event->time_ms = clocks[event->user];
        /* random first letters: the order of ids is not that of arrival */
        (void)snprintf(event->id, sizeof(event->id), "%c%c-%d", (int)('a' + rng_below(rng, 4)),
                       (int)('a' + rng_below(rng, 4)), i);
    }
    return walkers;
}

int walkers_subjects(bool is_device)
{
    return is_device ? WALKER_DEVICES : WALKER_USERS;
}

static int event_cmp(const void *a, const void *b)
{
    const struct walker_event *x = a;
    const struct walker_event *y = b;
    if (x->time_ms != y->time_ms) {
        return x->time_ms < y->time_ms ? -1 : 1;
    }
    return strcmp(x->id, y->id);
}

int walkers_of(const struct walkers *walkers, bool is_device, int subject, struct walker_event *out)
{
    int count = 0;
    for (int i = 0; i < walkers->count; i++) {
        const struct walker_event *event = &walkers->events[i];
        if ((is_device ? event->device : event->user) == subject) {
            out[count++] = *event;
        }
    }
    qsort(out, (size_t)count, sizeof(*out), event_cmp);
    return count;
}

/* ---- answers ---- */

static struct snap *build(const struct walkers *walkers, struct rng *rng)
{
    static const char *const users[WALKER_USERS] = {"u0", "u1", "u2", "u3", "u4"};
    static const char *const devices[WALKER_DEVICES] = {"d0", "d1", "d2"};
    struct snap_event events[WALKER_EVENTS_MAX];
    struct snap_prop props[WALKER_EVENTS_MAX][4];

    for (int i = 0; i < walkers->count; i++) {
        const struct walker_event *from = &walkers->events[i];
        uint32_t count = 0;
        if (from->device >= 0) {
            props[i][count++] = (struct snap_prop){
                .name = "device", .type = COL_STRING, .text = devices[from->device]};
        }
        if (from->page >= 0) {
            props[i][count++] = (struct snap_prop){
                .name = "page", .type = COL_STRING, .text = walker_pages[from->page]};
        }
        if (from->channel >= 0) {
            props[i][count++] = (struct snap_prop){
                .name = "channel", .type = COL_STRING, .text = walker_channels[from->channel]};
        }
        if (from->has_amount) {
            props[i][count++] = (struct snap_prop){
                .name = "amount", .type = COL_NUMBER, .number = num_decimal(from->cents, 2)};
        }
        events[i] = (struct snap_event){.event_id = from->id,
                                        .name = walker_names[from->name],
                                        .user = users[from->user],
                                        .time_ms = from->time_ms,
                                        .props = props[i],
                                        .prop_count = count};
    }
    uint32_t sources = 1 + (uint32_t)rng_below(rng, 4);
    struct snap_opts opts = {.source_count = sources,
                             .memory_count = (uint32_t)rng_below(rng, sources + 1),
                             .shard_count = 1 + (uint32_t)rng_below(rng, 3),
                             .seed = rng_next(rng)};
    return snap_build(events, (uint32_t)walkers->count, &opts);
}

static void print_cell(const struct cell *cell, struct buf *out)
{
    switch (cell->kind) {
    case CELL_NULL: buf_z(out, "-"); break;
    case CELL_I64: buf_printf(out, "%" PRId64, cell->i64); break;
    case CELL_F64: buf_printf(out, "%.9g", cell->f64); break;
    case CELL_DECIMAL: num_total_format(cell->decimal, out); break;
    case CELL_STRING: buf_str(out, cell->string); break;
    case CELL_BOOL: buf_z(out, cell->boolean ? "true" : "false"); break;
    case CELL_LIST:
        buf_z(out, "[");
        for (uint32_t i = 0; i < cell->list.count; i++) {
            buf_z(out, i > 0 ? " " : "");
            buf_str(out, cell->list.items[i]);
        }
        buf_z(out, "]");
        break;
    }
}

static void print_line(const struct result *result, const struct cell *cells, struct buf *out)
{
    for (uint32_t c = 0; c < result->col_count; c++) {
        buf_z(out, c > 0 ? "|" : "");
        print_cell(&cells[c], out);
    }
    buf_z(out, "\n");
}

static void ask(struct snap *snap, const char *text, bool is_reference_path, struct buf *out)
{
    CLEANUP(result_freep) struct result *result = NULL;
    struct snap_query_opts opts = {.is_reference_path = is_reference_path};
    struct err err = {0};

    buf_clear(out);
    if (snap_query(snap, text, &opts, &result, &err) != ERR_OK) {
        buf_printf(out, "error: %s", err.message);
    } else {
        for (uint64_t r = 0; r < result->row_count; r++) {
            print_line(result, result->cells + r * result->col_count, out);
        }
        if (result->totals != NULL) {
            buf_z(out, "= ");
            print_line(result, result->totals, out);
        }
    }
    buf_u8(out, 0);
}

void walkers_ask(const struct walkers *walkers, const char *text, struct rng *rng, struct buf *out)
{
    CLEANUP(buf_freep) struct buf other = {0};

    for (int layout = 0; layout < 2; layout++) {
        struct snap *snap = build(walkers, rng);
        ask(snap, text, layout == 1, layout == 0 ? out : &other);
        snap_free(snap);
    }
    if (strcmp((const char *)out->ptr, (const char *)other.ptr) != 0) {
        fprintf(stderr, "%s\nanswers differ between layouts:\n%s\nand\n%s\n", text,
                (const char *)out->ptr, (const char *)other.ptr);
        abort();
    }
}

void walkers_check(const struct walkers *walkers, const char *text, struct rng *rng, uint64_t seed,
                   struct buf *want)
{
    CLEANUP(buf_freep) struct buf got = {0};

    walkers_ask(walkers, text, rng, &got);
    buf_u8(want, 0);
    if (strcmp((const char *)got.ptr, (const char *)want->ptr) != 0) {
        fprintf(stderr, "seed %" PRIu64 ": %s\nanswer:\n%s\nby definition:\n%s\n", seed, text,
                (const char *)got.ptr, (const char *)want->ptr);
        abort();
    }
    buf_clear(want);
}

void walkers_check_users(const struct walkers *walkers, const char *text, struct rng *rng,
                         uint64_t seed, uint32_t users)
{
    CLEANUP(buf_freep) struct buf want = {0};
    CLEANUP(buf_freep) struct buf one = {0};
    uint32_t user = (uint32_t)rng_below(rng, WALKER_USERS);
    buf_printf(&want, "%d\n", __builtin_popcount(users));
    walkers_check(walkers, text, rng, seed, &want);
    buf_printf(&one, "%s where user_id = \"u%u\"", text, user);
    buf_u8(&one, 0);
    buf_printf(&want, "%u\n", users >> user & 1);
    walkers_check(walkers, (const char *)one.ptr, rng, seed, &want);
}

static int line_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void walkers_sort_lines(struct buf *lines)
{
    char *items[4096];
    size_t count = 0;
    CLEANUP(buf_freep) struct buf sorted = {0};

    buf_u8(lines, 0);
    for (char *line = (char *)lines->ptr; *line != '\0'; count++) {
        char *end = strchr(line, '\n');
        ASSERT(end != NULL && count < COUNT_OF(items));
        *end = '\0';
        items[count] = line;
        line = end + 1;
    }
    qsort(items, count, sizeof(*items), line_cmp);
    for (size_t i = 0; i < count; i++) {
        buf_printf(&sorted, "%s\n", items[i]);
    }
    buf_clear(lines);
    buf_append(lines, sorted.ptr, sorted.len);
}
