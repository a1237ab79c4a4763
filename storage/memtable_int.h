/* storage/memtable_int.h - a memtable from inside: memtable.c (the writer's side) and memtable_view.c
 * (what readers see). The picture is at the top of memtable.c.
 */
#pragma once

#include "storage/memtable.h"

#include <pthread.h>
#include <stdatomic.h>

#define CVEC_CHUNKS 22u
#define NO_ENTRY    UINT32_MAX

/* A vector in geometric chunks: chunk c has 1 << (base_bits + c) elements, which never move. */
struct cvec {
    /* Written once each by the writer. Readers reach a chunk only through a count they acquired. */
    void *chunks[CVEC_CHUNKS];
    uint32_t elem_bytes;
    uint32_t base_bits;
};

static inline uint32_t cvec_chunk_of(uint32_t idx, uint32_t base_bits, uint32_t *ret_off)
{
    uint32_t group = (idx >> base_bits) + 1;
    uint32_t chunk = 31u - (uint32_t)__builtin_clz(group);
    *ret_off = idx - (((1u << chunk) - 1u) << base_bits);
    return chunk;
}

static inline void *cvec_at(const struct cvec *vec, uint32_t idx)
{
    uint32_t off = 0;
    uint32_t chunk = cvec_chunk_of(idx, vec->base_bits, &off);
    return (char *)vec->chunks[chunk] + (size_t)off * vec->elem_bytes;
}

/* Elements from idx to the end of its chunk, for loops over contiguous runs. */
static inline uint32_t cvec_run(const struct cvec *vec, uint32_t idx)
{
    uint32_t off = 0;
    uint32_t chunk = cvec_chunk_of(idx, vec->base_bits, &off);
    return (1u << (chunk + vec->base_bits)) - off;
}

struct mem_values {
    struct mem_values *older; /* readers may still hold it */
    uint32_t cap;
    struct str strs[];
};

struct mem_slot {
    uint32_t code1; /* code + 1; 0 = empty */
    uint32_t hash;
};
struct mem_dict {
    _Atomic uint32_t count;
    struct mem_values *_Atomic values;
    struct mem_slot *slots; /* writer only */
    uint32_t slot_count;
    uint64_t adds; /* values asked for: what the dictionary serves */
};

struct mem_row {
    int64_t time_ms;
    int64_t arrival_ms;
    uint32_t subject;
    uint32_t name_code;
    const char *ids; /* event_id, user_id, anonymous_id, one after another */
    /* Bytes behind `ids`. An event_id of UUID_PACKED_BYTES with is_uuid stands for its text. */
    uint16_t event_id_len, user_id_len, anonymous_id_len;
    bool is_uuid;
};

/* A value of a property. Strings and bools are just this; the others are the start of a mem_wide. */
struct mem_entry {
    uint32_t row;
    uint32_t aux; /* string: code, or place in raws; bool: the value; number: scale; list: count */
};
struct mem_wide {
    struct mem_entry entry;
    union {
        int64_t i64;    /* number, timestamp */
        uint64_t first; /* list: first of its codes in items */
    };
};

/* A string that is worth no dictionary: its length, then its bytes. */
struct mem_raw {
    uint32_t len;
    char bytes[];
};

struct mem_col {
    _Atomic uint32_t count;    /* entries; release after the entry is written */
    _Atomic uint32_t raw_from; /* first entry that is plain bytes; NO_ENTRY */
    struct cvec entries;
    struct cvec items; /* list: u32 codes; string: const struct mem_raw *, from raw_from on */
    uint32_t item_count;
};


struct perm {
    _Atomic uint32_t refs;
    uint32_t count;
    uint32_t row_limit; /* rows [0, row_limit) are what it may hold; most hold all of them */
    int64_t time_min_ms, time_max_ms;
    int64_t *zones;           /* min, max of each block */
    uint32_t *_Atomic places; /* row -> place in the permutation, UINT32_MAX: not in it; made when first needed */
    struct mem_home entries[];
};

struct mem_shard {
    _Atomic uint32_t published;
    uint32_t rows; /* writer only */
    struct cvec row_vec;
    struct cvec cols; /* struct mem_col *_Atomic, by property */
    uint32_t col_cap; /* writer only: columns below it have a place */
    _Atomic uint32_t col_limit;
    pthread_mutex_t perm_lock; /* guards perm, and the sorting of the next one */
    struct perm *perm;
};

struct mem_arena_chunk {
    struct mem_arena_chunk *older;
    size_t bytes_total; /* of the chunk, this header included */
    char bytes[];
};

struct memtable {
    _Atomic uint32_t refs;
    const struct schema *schema;
    uint64_t identity_version;
    _Atomic uint64_t bytes;
    _Atomic uint64_t rows_published;
    uint64_t rows;
    uint64_t seed; /* of the dictionaries' hash */
    struct mem_arena_chunk *arena;
    char *arena_next;
    size_t arena_left;
    size_t arena_chunk_bytes;
    struct mem_dict *names;
    struct cvec dicts; /* struct mem_dict *_Atomic, by property */
    uint32_t dict_cap;
    _Atomic uint32_t dict_limit;
    struct known_set *known; /* ref: row << 4 | shard */
    struct mem_known known_facts;
    uint64_t known_bytes; /* of `known`, as counted in bytes */
    struct mem_shard shards[SHARD_COUNT];
};

void mem_perm_unref(struct perm *perm); /* memtable_view.c */

/* Memory that goes back to the system when it is freed: what is large is mapped on its own, so that a
 * flushed memtable leaves no holes in the heap. */
#define MEM_MAP_BYTES ((size_t)64 << 10)
void *mem_alloc(size_t bytes);
void mem_free(void *at, size_t bytes); /* NULL is fine */

static inline enum err_code mem_no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for a memtable");
}
