/* query/names.c */
#include "query/names.h"

#include "query/grow.h"
#include "storage/store.h"

#include <stdlib.h>

/* ---- what exists ---- */

static int str_order(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static struct names names_sorted(struct str *items, uint32_t count)
{
    if (count > 1) {
        qsort(items, count, sizeof(*items), str_order);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (kept == 0 || !str_eq(items[kept - 1], items[i])) {
            items[kept++] = items[i];
        }
    }
    return (struct names){items, kept};
}

enum err_code names_of_events(const struct snapshot *snapshot, struct io *io, struct arena *arena,
                              struct names *ret, struct err *err)
{
    struct read_ctx ctx = {.arena = arena, .io = io};
    struct str *items = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    for (uint32_t s = 0; s < snapshot->source_count; s++) {
        const struct dict *dict = NULL;
        ERR_TRY(source_dict(snapshot->sources[s], &ctx, COL_EVENT_NAME, &dict, err));
        for (uint32_t code = 0; dict != NULL && code < dict->count; code++) {
            if (count == cap) {
                /* Sources repeat each other's names: drop the repeats, and grow unless half is
                 * free. */
                count = names_sorted(items, count).count;
                if (count >= cap / 2) {
                    ERR_TRY(GROW(arena, &items, cap, &cap, err));
                }
            }
            items[count++] = dict_value(dict, code);
        }
    }
    *ret = names_sorted(items, count);
    return ERR_OK;
}

enum err_code names_of_fields(const struct snapshot *snapshot, struct arena *arena,
                              struct names *ret, struct err *err)
{
    static const char *const builtins[] = {"event_id", "event_name",   "event_time",
                                           "user_id",  "anonymous_id", "received_at"};
    uint32_t col_count = schema_count(snapshot->schema);
    struct str *items = NULL;
    ERR_TRY(ARENA_NEW(arena, col_count + COUNT_OF(builtins), &items, err));
    uint32_t count = 0;
    for (size_t i = 0; i < COUNT_OF(builtins); i++) {
        items[count++] = str_of(builtins[i]);
    }
    for (uint32_t i = 0; i < col_count; i++) {
        items[count++] = schema_col(snapshot->schema, i)->name;
    }
    *ret = names_sorted(items, count);
    return ERR_OK;
}

bool names_has(struct names names, struct str name)
{
    return names.count > 0 &&
           bsearch(&name, names.items, names.count, sizeof(*names.items), str_order) != NULL;
}

/* ---- what was meant ---- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

uint32_t names_distance(struct str a, struct str b, uint32_t max)
{
    size_t gap = a.len > b.len ? a.len - b.len : b.len - a.len;
    if (gap > max || a.len > NAMES_NEAR_BYTES_MAX || b.len > NAMES_NEAR_BYTES_MAX) {
        return max + 1;
    }
    /* Three rows of the table: a swap of neighbours looks two rows back. */
    uint32_t rows[3][NAMES_NEAR_BYTES_MAX + 1];
    for (uint32_t j = 0; j <= b.len; j++) {
        rows[0][j] = j;
    }
    for (uint32_t i = 1; i <= a.len; i++) {
        uint32_t *row = rows[i % 3];
        const uint32_t *above = rows[(i + 2) % 3];
        const uint32_t *above2 = rows[(i + 1) % 3];
        uint32_t best = row[0] = i;
        for (uint32_t j = 1; j <= b.len; j++) {
            char ca = lower(a.ptr[i - 1]);
            char cb = lower(b.ptr[j - 1]);
            uint32_t cost = above[j - 1] + (ca == cb ? 0 : 1);
            cost = MIN_OF(cost, MIN_OF(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && ca == lower(b.ptr[j - 2]) && lower(a.ptr[i - 2]) == cb) {
                cost = MIN_OF(cost, above2[j - 2] + 1);
            }
            row[j] = cost;
            best = MIN_OF(best, cost);
        }
        /* A swap may take the row before last, but never by less than its best + 1. */
        if (best > max + 1) {
            return max + 1;
        }
    }
    return MIN_OF(rows[a.len % 3][b.len], max + 1);
}

bool names_nearest(const struct str *items, uint32_t count, struct str want, struct str *ret)
{
    uint32_t max = (uint32_t)MIN_OF((want.len + 2) / 3, (size_t)3);
    uint32_t best = max + 1;
    bool is_found = false;
    for (uint32_t i = 0; i < count && best > 0; i++) {
        uint32_t distance = names_distance(want, items[i], best - 1);
        /* One edit makes any one-letter name of any other: what replaces everything is no likeness.
         */
        if (distance < best && distance < items[i].len) {
            best = distance;
            *ret = items[i];
            is_found = true;
        }
    }
    return is_found;
}
