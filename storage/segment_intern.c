/* storage/segment_intern.c - the different values of a column while its dictionary is made.
 *
 * Open addressing over numbers of values, hashed with a seed of the moment. Values that come as
 * codes of a source's dictionary are hashed once per code.
 */
#include "storage/base/hash.h"
#include "storage/base/rng.h"
#include "storage/segment_write_int.h"

#include <endian.h>
#include <stdlib.h>

#define TABLE_LEAST 64u
#define UNSET       UINT32_MAX

struct source_codes {
    uint32_t *numbers; /* of each code; UNSET while it was not seen */
    uint32_t count;
};

struct intern {
    uint64_t seed;
    struct arena *arena;
    struct str *values;
    uint32_t count, cap;
    size_t bytes;
    uint32_t *table; /* number + 1; 0: free */
    uint32_t table_size;
    uint32_t *ranks; /* after intern_sort, of each number */
    uint32_t *order; /* number of each rank */
    struct source_codes *sources;
    uint32_t source_count;
};

static enum err_code no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for a dictionary");
}

enum err_code intern_create(uint32_t source_count, struct intern **ret, struct err *err)
{
    CLEANUP(intern_freep) struct intern *intern = calloc(1, sizeof(*intern));
    if (intern == NULL) {
        return no_memory(err);
    }
    intern->arena = arena_create(NULL);
    intern->table_size = TABLE_LEAST;
    intern->table = calloc(TABLE_LEAST, sizeof(*intern->table));
    intern->sources = calloc((size_t)source_count + 1, sizeof(*intern->sources));
    if (intern->table == NULL || intern->sources == NULL) {
        return no_memory(err);
    }
    intern->source_count = source_count;
    ERR_TRY(rng_system(&intern->seed, sizeof(intern->seed), err));
    *ret = TAKE(intern);
    return ERR_OK;
}

void intern_free(struct intern *intern)
{
    if (intern == NULL) {
        return;
    }
    for (uint32_t i = 0; intern->sources != NULL && i < intern->source_count; i++) {
        free(intern->sources[i].numbers);
    }
    free(intern->sources);
    free(intern->values);
    free(intern->table);
    free(intern->ranks);
    free(intern->order);
    arena_free(intern->arena);
    free(intern);
}

uint32_t intern_count(const struct intern *intern)
{
    return intern->count;
}

size_t intern_bytes(const struct intern *intern)
{
    return intern->bytes;
}

static uint32_t *find_slot(const struct intern *intern, struct str value)
{
    uint32_t mask = intern->table_size - 1;
    uint32_t slot = (uint32_t)hash_str(value, intern->seed) & mask;
    while (intern->table[slot] != 0 && !str_eq(intern->values[intern->table[slot] - 1], value)) {
        slot = (slot + 1) & mask;
    }
    return &intern->table[slot];
}

static enum err_code grow(struct intern *intern, struct err *err)
{
    if (intern->count == intern->cap) {
        uint32_t cap = intern->cap == 0 ? TABLE_LEAST : 2 * intern->cap;
        struct str *values = reallocarray(intern->values, cap, sizeof(*values));
        if (values == NULL) {
            return no_memory(err);
        }
        intern->values = values;
        intern->cap = cap;
    }
    if (intern->count >= intern->table_size / 2) {
        uint32_t *table = calloc((size_t)intern->table_size * 2, sizeof(*table));
        if (table == NULL) {
            return no_memory(err);
        }
        free(intern->table);
        intern->table = table;
        intern->table_size *= 2;
        for (uint32_t i = 0; i < intern->count; i++) {
            *find_slot(intern, intern->values[i]) = i + 1;
        }
    }
    return ERR_OK;
}

enum err_code intern_str(struct intern *intern, struct str value, uint32_t *ret, struct err *err)
{
    uint32_t *slot = find_slot(intern, value);
    if (*slot == 0) {
        ASSERT(intern->ranks == NULL);
        if (intern->count >= UINT32_C(1) << 30 || intern->bytes + value.len > STRS_BYTES_MAX) {
            return err_set(err, ERR_LIMIT, "dictionary of more than %u bytes", STRS_BYTES_MAX);
        }
        ERR_TRY(grow(intern, err));
        ERR_TRY(arena_str(intern->arena, value, &intern->values[intern->count], err));
        slot = find_slot(intern, value);
        intern->bytes += value.len;
        *slot = ++intern->count;
    }
    *ret = intern->ranks == NULL ? *slot - 1 : intern->ranks[*slot - 1];
    return ERR_OK;
}

enum err_code intern_code(struct intern *intern, uint32_t source, const struct dict *dict,
                          uint32_t code, uint32_t *ret, struct err *err)
{
    struct source_codes *codes = &intern->sources[source];
    if (code >= codes->count) { /* a memtable's dictionary may have grown between two blocks */
        uint32_t count = dict->count;
        ASSERT(code < count);
        uint32_t *numbers = reallocarray(codes->numbers, count, sizeof(*numbers));
        if (numbers == NULL) {
            return no_memory(err);
        }
        memset(numbers + codes->count, 0xff, (count - codes->count) * sizeof(*numbers));
        codes->numbers = numbers;
        codes->count = count;
    }
    if (codes->numbers[code] == UNSET) {
        ASSERT(intern->ranks == NULL);
        ERR_TRY(intern_str(intern, dict_value(dict, code), &codes->numbers[code], err));
    }
    uint32_t number = codes->numbers[code];
    *ret = intern->ranks == NULL ? number : intern->ranks[number];
    return ERR_OK;
}

/* The first eight bytes as a number decide most comparisons without a look at the string. */
struct sort_item {
    uint64_t prefix;
    struct str value;
    uint32_t number;
};

static int item_cmp(const void *a, const void *b)
{
    const struct sort_item *x = a;
    const struct sort_item *y = b;
    if (x->prefix != y->prefix) {
        return x->prefix < y->prefix ? -1 : 1;
    }
    return str_cmp(x->value, y->value);
}

enum err_code intern_sort(struct intern *intern, struct err *err)
{
    struct sort_item *items = calloc((size_t)intern->count + 1, sizeof(*items));
    intern->order = calloc((size_t)intern->count + 1, sizeof(*intern->order));
    intern->ranks = calloc((size_t)intern->count + 1, sizeof(*intern->ranks));
    if (items == NULL || intern->order == NULL || intern->ranks == NULL) {
        free(items);
        return no_memory(err);
    }
    for (uint32_t i = 0; i < intern->count; i++) {
        struct str value = intern->values[i];
        uint64_t prefix = 0;
        memcpy(&prefix, value.ptr, value.len < 8 ? value.len : 8);
        items[i] = (struct sort_item){be64toh(prefix), value, i};
    }
    qsort(items, intern->count, sizeof(*items), item_cmp);
    for (uint32_t rank = 0; rank < intern->count; rank++) {
        intern->order[rank] = items[rank].number;
        intern->ranks[items[rank].number] = rank;
    }
    free(items);
    return ERR_OK;
}

enum err_code intern_encode(const struct intern *intern, struct buf *out, struct err *err)
{
    CLEANUP(buf_freep) struct buf bytes = {0};
    uint64_t *lens = calloc((size_t)intern->count + 1, sizeof(*lens));
    if (lens == NULL) {
        return no_memory(err);
    }
    for (uint32_t rank = 0; rank < intern->count; rank++) {
        struct str value = intern->values[intern->order[rank]];
        lens[rank] = value.len;
        buf_str(&bytes, value);
    }
    enum strs_kind kind = STRS_FRONT;
    bool is_lz4 = false;
    enum err_code code = buf_check(&bytes, err);
    if (code == ERR_OK) {
        code = strs_encode(buf_as_str(&bytes), lens, intern->count, true, out, &kind, &is_lz4, err);
    }
    free(lens);
    return code;
}
