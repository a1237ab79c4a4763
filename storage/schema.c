/* storage/schema.c - columns in chunks that never move, and a hash index over them.
 *
 * One writer, readers without a lock. A column is written, then the count is stored with release;
 * a reader that has seen the count (acquire) sees the column. The index is an open-addressing table
 * of atomic slots; when it is too full the writer fills one of twice the size and swaps the
 * pointer. Old tables stay until schema_free (together they are smaller than the last), so a reader
 * that still probes one is safe and at worst misses a column that is newer than its question.
 */
#include "storage/schema.h"

#include "storage/base/hash.h"

#include <stdatomic.h>
#include <stdlib.h>

#define CHUNK_COLS  256u
#define CHUNK_COUNT ((SCHEMA_COLUMNS_MAX + CHUNK_COLS - 1) / CHUNK_COLS)
#define FIRST_SLOTS 128u

struct col_index {
    struct col_index *older;
    uint32_t size;            /* a power of two */
    _Atomic uint32_t slots[]; /* column number + 1; 0 = empty */
};

struct schema {
    _Atomic uint32_t count;
    struct schema_col *_Atomic chunks[CHUNK_COUNT];
    struct col_index *_Atomic index;
};

static struct col_index *index_create(uint32_t size, struct col_index *older)
{
    struct col_index *index = calloc(1, sizeof(*index) + size * sizeof(index->slots[0]));
    if (index != NULL) {
        index->size = size;
        index->older = older;
    }
    return index;
}

enum err_code schema_create(struct schema **ret, struct err *err)
{
    struct schema *schema = calloc(1, sizeof(*schema));
    struct col_index *index = schema == NULL ? NULL : index_create(FIRST_SLOTS, NULL);
    if (index == NULL) {
        free(schema);
        return err_set(err, ERR_NOMEM, "no memory for a schema");
    }
    atomic_init(&schema->index, index);
    *ret = schema;
    return ERR_OK;
}

static struct schema_col *col_at(const struct schema *schema, uint32_t prop)
{
    /* acquire: pairs with the chunk's release in schema_add */
    struct schema_col *chunk =
        atomic_load_explicit(&schema->chunks[prop / CHUNK_COLS], memory_order_acquire);
    return &chunk[prop % CHUNK_COLS];
}

void schema_free(struct schema *schema)
{
    if (schema == NULL) {
        return;
    }
    uint32_t count = atomic_load(&schema->count);
    for (uint32_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)col_at(schema, i)->name.ptr); /* ours: copied in schema_add */
    }
    for (uint32_t i = 0; i < CHUNK_COUNT; i++) {
        free(atomic_load(&schema->chunks[i]));
    }
    struct col_index *index = atomic_load(&schema->index);
    while (index != NULL) {
        struct col_index *older = index->older;
        free(index);
        index = older;
    }
    free(schema);
}

uint32_t schema_count(const struct schema *schema)
{
    /* acquire: pairs with the release in schema_add */
    return atomic_load_explicit(&schema->count, memory_order_acquire);
}

const struct schema_col *schema_col(const struct schema *schema, uint32_t prop)
{
    ASSERT(prop < schema_count(schema));
    return col_at(schema, prop);
}

static uint32_t col_slot(struct str name, enum col_type type, uint32_t size)
{
    return (uint32_t)hash_str(name, (uint64_t)type) & (size - 1);
}

uint32_t schema_find(const struct schema *schema, struct str name, enum col_type type)
{
    /* acquire: pairs with the release of a grown index */
    const struct col_index *index = atomic_load_explicit(&schema->index, memory_order_acquire);
    for (uint32_t slot = col_slot(name, type, index->size);;
         slot = (slot + 1) & (index->size - 1)) {
        /* acquire: pairs with index_insert, so the column behind the slot is complete */
        uint32_t held = atomic_load_explicit(&index->slots[slot], memory_order_acquire);
        if (held == 0) {
            return UINT32_MAX;
        }
        const struct schema_col *col = col_at(schema, held - 1);
        if (col->type == type && str_eq(col->name, name)) {
            return held - 1;
        }
    }
}

static void index_insert(struct col_index *index, const struct schema_col *col, uint32_t prop)
{
    uint32_t slot = col_slot(col->name, col->type, index->size);
    while (atomic_load_explicit(&index->slots[slot], memory_order_relaxed) != 0) {
        slot = (slot + 1) & (index->size - 1);
    }
    atomic_store_explicit(&index->slots[slot], prop + 1, memory_order_release);
}

static enum err_code index_grow(struct schema *schema, uint32_t count, struct err *err)
{
    struct col_index *index = atomic_load_explicit(&schema->index, memory_order_relaxed);
    if (count < index->size / 2) {
        return ERR_OK;
    }
    struct col_index *grown = index_create(index->size * 2, index);
    if (grown == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a schema of %u columns", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        index_insert(grown, col_at(schema, i), i);
    }
    atomic_store_explicit(&schema->index, grown, memory_order_release);
    return ERR_OK;
}

enum err_code schema_add(struct schema *schema, struct str name, enum col_type type,
                         uint32_t *ret_prop, struct err *err)
{
    uint32_t found = schema_find(schema, name, type);
    if (found != UINT32_MAX) {
        *ret_prop = found;
        return ERR_OK;
    }
    uint32_t prop = schema_count(schema);
    if (prop == SCHEMA_COLUMNS_MAX) {
        return err_set(err, ERR_LIMIT,
                       "property \"" STR_FMT "\" (%s) would be column %u, at most %u",
                       STR_ARG(name), col_type_name(type), prop + 1, SCHEMA_COLUMNS_MAX);
    }
    ERR_TRY(index_grow(schema, prop, err));
    if (atomic_load_explicit(&schema->chunks[prop / CHUNK_COLS], memory_order_relaxed) == NULL) {
        struct schema_col *chunk = calloc(CHUNK_COLS, sizeof(*chunk));
        if (chunk == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for %u columns", CHUNK_COLS);
        }
        atomic_store_explicit(&schema->chunks[prop / CHUNK_COLS], chunk, memory_order_release);
    }
    char *copy = malloc(name.len + 1);
    if (copy == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a name of %zu bytes", name.len);
    }
    if (name.len > 0) {
        memcpy(copy, name.ptr, name.len);
    }
    copy[name.len] = '\0';
    struct schema_col *col = col_at(schema, prop);
    col->name = (struct str){copy, name.len};
    col->type = type;
    /* Count first: whoever finds the number through the index may ask for its column. */
    atomic_store_explicit(&schema->count, prop + 1, memory_order_release);
    index_insert(atomic_load_explicit(&schema->index, memory_order_relaxed), col, prop);
    *ret_prop = prop;
    return ERR_OK;
}

void schema_count_values(struct schema *schema, uint32_t prop, uint64_t more)
{
    ASSERT(prop < schema_count(schema));
    atomic_fetch_add_explicit(&col_at(schema, prop)->value_count, more, memory_order_relaxed);
}
