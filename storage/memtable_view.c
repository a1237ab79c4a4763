/* storage/memtable_view.c - the sorted view of a memtable's shard, as a source.
 *
 * A permutation entry carries its keys, so sorting the new rows and merging them into the last
 * permutation runs over sequential memory; rows are looked at only where subject and time are equal.
 * A property's block is gathered by walking its entries once: row -> place in the permutation -> slot.
 */
#include "storage/memtable_int.h"

#include "storage/stand_ins.h"
#include "storage/uuid.h"

#include "storage/base/size.h"

#include <stdlib.h>

#define RADIX_BITS     11u
#define RADIX_ROWS_MIN 512u /* fewer are not worth clearing a table of counts */
#define RUN_MOVES_MAX  4096u

/* ---- the permutation ---- */

static size_t perm_bytes(uint32_t count)
{
    return sizeof(struct perm) + (size_t)count * sizeof(struct mem_home);
}

void mem_perm_unref(struct perm *perm)
{
    if (perm != NULL && atomic_fetch_sub_explicit(&perm->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(atomic_load(&perm->places), (size_t)perm->row_limit * sizeof(uint32_t));
        free(perm->zones);
        mem_free(perm, perm_bytes(perm->count));
    }
}

static const struct mem_row *row_at(const struct mem_shard *shard, uint32_t row)
{
    return cvec_at(&shard->row_vec, row);
}

/* The event_id as it came; `text` is room for a UUID's. */
static struct str event_id_of(const struct mem_row *row, char text[UUID_TEXT_BYTES])
{
    if (!row->is_uuid) {
        return (struct str){row->ids, row->event_id_len};
    }
    uuid_text_unpack((const uint8_t *)row->ids, text);
    return (struct str){text, UUID_TEXT_BYTES};
}

static int perm_cmp(const struct mem_home *a, const struct mem_home *b,
                    const struct mem_shard *shard)
{
    if (a->subject != b->subject) {
        return a->subject < b->subject ? -1 : 1;
    }
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }
    const struct mem_row *x = row_at(shard, a->row);
    const struct mem_row *y = row_at(shard, b->row);
    int order = 0;
    if (x->is_uuid == y->is_uuid) { /* packed or as they came: one order */
        order =
            str_cmp((struct str){x->ids, x->event_id_len}, (struct str){y->ids, y->event_id_len});
    } else {
        char x_text[UUID_TEXT_BYTES], y_text[UUID_TEXT_BYTES];
        order = str_cmp(event_id_of(x, x_text), event_id_of(y, y_text));
    }
    return order != 0 ? order : (a->row > b->row) - (a->row < b->row);
}

static int perm_cmp_qsort(const void *a, const void *b, void *shard)
{
    return perm_cmp(a, b, shard);
}

/* Order of one subject's rows, which mostly came in the order of time. */
static void sort_run(struct mem_home *run, uint32_t count, struct mem_shard *shard)
{
    uint32_t moves = 0;
    for (uint32_t i = 1; i < count; i++) {
        struct mem_home entry = run[i];
        uint32_t at = i;
        for (; at > 0 && perm_cmp(&run[at - 1], &entry, shard) > 0; at--) {
            run[at] = run[at - 1];
            moves++;
        }
        run[at] = entry;
        if (moves > RUN_MOVES_MAX) { /* not by insertion, then: it would be quadratic */
            qsort_r(run, count, sizeof(*run), perm_cmp_qsort, shard);
            return;
        }
    }
}

/* By subject with stable passes over its digits (least significant first), then within each subject.
 * `spare` is room for as many. */
static void sort_entries(struct mem_home *entries, struct mem_home *spare, uint32_t count,
                         struct mem_shard *shard)
{
    uint32_t low = UINT32_MAX;
    uint32_t high = 0;
    for (uint32_t i = 0; i < count; i++) {
        low = MIN_OF(low, entries[i].subject);
        high = MAX_OF(high, entries[i].subject);
    }
    if (count < RADIX_ROWS_MIN) {
        qsort_r(entries, count, sizeof(*entries), perm_cmp_qsort, shard);
        return;
    }
    struct mem_home *from = entries;
    struct mem_home *to = spare;
    uint32_t span = high - low;
    for (uint32_t shift = 0; shift < 32 && span >> shift != 0; shift += RADIX_BITS) {
        uint32_t starts[1u << RADIX_BITS] = {0};
        uint32_t sum = 0;
        for (uint32_t i = 0; i < count; i++) {
            starts[(from[i].subject - low) >> shift & ((1u << RADIX_BITS) - 1)]++;
        }
        for (uint32_t digit = 0; digit < 1u << RADIX_BITS; digit++) {
            uint32_t here = starts[digit];
            starts[digit] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < count; i++) {
            to[starts[(from[i].subject - low) >> shift & ((1u << RADIX_BITS) - 1)]++] = from[i];
        }
        struct mem_home *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != entries) {
        memcpy(entries, from, (size_t)count * sizeof(*entries));
    }
    for (uint32_t begin = 0; begin < count;) {
        uint32_t end = begin + 1;
        while (end < count && entries[end].subject == entries[begin].subject) {
            end++;
        }
        sort_run(entries + begin, end - begin, shard);
        begin = end;
    }
}

/* First place in run[begin, end) whose entry is greater than `key`, looked for in growing steps. */
static uint32_t gallop(const struct mem_home *run, uint32_t begin, uint32_t end,
                       const struct mem_home *key, const struct mem_shard *shard)
{
    uint32_t step = 1;
    uint32_t low = begin;
    while (step < end - low && perm_cmp(&run[low + step - 1], key, shard) < 0) {
        low += step;
        step *= 2;
    }
    uint32_t high = MIN_OF(end, low + step);
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (perm_cmp(&run[mid], key, shard) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static void merge_tail(const struct mem_home *old, uint32_t old_count,
                       const struct mem_home *tail, uint32_t tail_count, struct mem_home *out,
                       const struct mem_shard *shard)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < tail_count; i++) {
        uint32_t until = gallop(old, taken, old_count, &tail[i], shard);
        memcpy(out, old + taken, (until - taken) * sizeof(*out));
        out += until - taken;
        taken = until;
        *out++ = tail[i];
    }
    memcpy(out, old + taken, (old_count - taken) * sizeof(*out));
}

static struct perm *perm_create(uint32_t count, uint32_t row_limit)
{
    uint32_t blocks = (count + BLOCK_ROWS - 1) / BLOCK_ROWS;
    struct perm *perm = mem_alloc(perm_bytes(count));
    int64_t *zones = malloc(blocks * 2 * sizeof(*zones));
    if (perm == NULL || zones == NULL) {
        mem_free(perm, perm_bytes(count));
        free(zones);
        return NULL;
    }
    atomic_init(&perm->refs, 1);
    atomic_init(&perm->places, NULL);
    perm->count = count;
    perm->row_limit = row_limit;
    perm->zones = zones;
    return perm;
}

static void perm_zones(struct perm *perm)
{
    perm->time_min_ms = INT64_MAX;
    perm->time_max_ms = INT64_MIN;
    for (uint32_t begin = 0; begin < perm->count; begin += BLOCK_ROWS) {
        uint32_t end = MIN_OF(perm->count, begin + BLOCK_ROWS);
        int64_t low = INT64_MAX, high = INT64_MIN;
        for (uint32_t i = begin; i < end; i++) {
            low = MIN_OF(low, perm->entries[i].time_ms);
            high = MAX_OF(high, perm->entries[i].time_ms);
        }
        perm->zones[begin / BLOCK_ROWS * 2] = low;
        perm->zones[begin / BLOCK_ROWS * 2 + 1] = high;
        perm->time_min_ms = MIN_OF(perm->time_min_ms, low);
        perm->time_max_ms = MAX_OF(perm->time_max_ms, high);
    }
}

/* The permutation of rows [0, count), from `known` (of some other count, may be NULL). */
static struct perm *perm_build(struct mem_shard *shard, const struct perm *known, uint32_t count)
{
    struct perm *perm = perm_create(count, count);
    if (perm == NULL) {
        return NULL;
    }
    if (known != NULL && known->count > count) {
        uint32_t kept = 0; /* an older moment: leave out what came later */
        for (uint32_t i = 0; i < known->count; i++) {
            if (known->entries[i].row < count) {
                perm->entries[kept++] = known->entries[i];
            }
        }
        ASSERT(kept == count);
        perm_zones(perm);
        return perm;
    }
    uint32_t old_count = known == NULL ? 0 : known->count;
    uint32_t tail_count = count - old_count;
    size_t tail_bytes = (size_t)tail_count * sizeof(struct mem_home);
    struct mem_home *tail = old_count == 0 ? perm->entries : mem_alloc(tail_bytes);
    struct mem_home *spare = mem_alloc(tail_bytes);
    if (tail == NULL || spare == NULL) {
        mem_free(old_count == 0 ? NULL : tail, tail_bytes);
        mem_free(spare, tail_bytes);
        mem_perm_unref(perm);
        return NULL;
    }
    for (uint32_t i = 0; i < tail_count; i++) {
        const struct mem_row *row = row_at(shard, old_count + i);
        tail[i] = (struct mem_home){row->time_ms, row->subject, old_count + i};
    }
    sort_entries(tail, spare, tail_count, shard);
    if (old_count > 0) {
        merge_tail(known->entries, old_count, tail, tail_count, perm->entries, shard);
        mem_free(tail, tail_bytes);
    }
    mem_free(spare, tail_bytes);
    perm_zones(perm);
    return perm;
}

/* ---- views ---- */

struct view_dict {
    struct view_dict *next;
    uint32_t col;
    struct dict dict;
};

struct memtable_view {
    struct source source; /* first: ops cast back */
    _Atomic uint32_t refs;
    struct memtable *memtable;
    struct mem_shard *shard;
    struct perm *perm;
    const struct ids *ids; /* with has_owner_ids */
    const struct stand_ins *stand_ins; /* likewise; may be NULL */
    struct view_dict *_Atomic dicts; /* handed out once per column, so pointers stay equal */
};

static const struct memtable_view *view_of(const struct source *source)
{
    return (const struct memtable_view *)source;
}

static const struct source_ops view_ops;

/* Takes over one reference of the permutation. */
static void view_fill(struct memtable_view *view, struct memtable *memtable,
                      struct mem_shard *shard, struct perm *perm, uint32_t home_shard)
{
    atomic_init(&view->refs, 1);
    view->memtable = memtable_ref(memtable);
    view->shard = shard;
    view->perm = perm;
    view->source = (struct source){
        .ops = &view_ops,
        .shard = home_shard,
        .row_count = perm->count,
        .block_count = (perm->count + BLOCK_ROWS - 1) / BLOCK_ROWS,
        .time_min_ms = perm->time_min_ms,
        .time_max_ms = perm->time_max_ms,
        .subject_first = perm->entries[0].subject,
        .subject_last = perm->entries[perm->count - 1].subject,
        .is_memory = true,
        .identity_version = memtable->identity_version,
        .bytes = perm->count * (uint64_t)sizeof(struct mem_row),
    };
}

enum err_code memtable_view_at(struct memtable *memtable, uint32_t shard_idx, uint32_t row_count,
                               struct memtable_view **ret, struct err *err)
{
    struct mem_shard *shard = &memtable->shards[shard_idx];
    /* acquire: pairs with memtable_publish */
    ASSERT(row_count <= atomic_load_explicit(&shard->published, memory_order_acquire));
    if (row_count == 0) {
        *ret = NULL;
        return ERR_OK;
    }
    struct memtable_view *view = calloc(1, sizeof(*view));
    if (view == NULL) {
        return mem_no_memory(err);
    }
    pthread_mutex_lock(&shard->perm_lock);
    struct perm *perm = shard->perm;
    if (perm == NULL || perm->count != row_count) {
        perm = perm_build(shard, shard->perm, row_count);
        if (perm != NULL && (shard->perm == NULL || shard->perm->count < row_count)) {
            mem_perm_unref(shard->perm);
            shard->perm = perm;
        }
    }
    if (perm != NULL && perm == shard->perm) {
        atomic_fetch_add_explicit(&perm->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&shard->perm_lock);
    if (perm == NULL) {
        free(view);
        return mem_no_memory(err);
    }
    view_fill(view, memtable, shard, perm, shard_idx);
    *ret = view;
    return ERR_OK;
}

enum err_code memtable_view_rehomed(struct memtable *memtable, uint32_t shard_idx,
                                    uint32_t row_limit, struct mem_home *homes, uint32_t count,
                                    uint32_t home_shard, const struct ids *ids,
                                    const struct stand_ins *stand_ins, struct memtable_view **ret,
                                    struct err *err)
{
    struct mem_shard *shard = &memtable->shards[shard_idx];
    size_t bytes = (size_t)count * sizeof(*homes);
    ASSERT(count > 0 && count <= row_limit);
    ASSERT(row_limit <= atomic_load_explicit(&shard->published, memory_order_acquire));
    struct memtable_view *view = calloc(1, sizeof(*view));
    struct perm *perm = perm_create(count, row_limit);
    struct mem_home *spare = mem_alloc(bytes);
    if (view == NULL || perm == NULL || spare == NULL) {
        free(view);
        mem_perm_unref(perm);
        mem_free(spare, bytes);
        return mem_no_memory(err);
    }
    sort_entries(homes, spare, count, shard);
    mem_free(spare, bytes);
    memcpy(perm->entries, homes, bytes);
    perm_zones(perm);
    view_fill(view, memtable, shard, perm, home_shard);
    view->ids = ids;
    view->stand_ins = stand_ins;
    view->source.has_owner_ids = true;
    *ret = view;
    return ERR_OK;
}

struct memtable_view *memtable_view_ref(struct memtable_view *view)
{
    atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
    return view;
}

struct mem_home memtable_row_home(const struct memtable *memtable, uint32_t shard_idx,
                                  uint32_t row_idx)
{
    const struct mem_row *row = row_at(&memtable->shards[shard_idx], row_idx);
    return (struct mem_home){row->time_ms, row->subject, row_idx};
}

void memtable_row(const struct memtable *memtable, uint32_t shard_idx, uint32_t row_idx,
                  struct mem_row_facts *ret)
{
    const struct mem_row *row = row_at(&memtable->shards[shard_idx], row_idx);
    ret->time_ms = row->time_ms;
    ret->arrival_ms = row->arrival_ms;
    ret->subject = row->subject;
    ret->event_id = event_id_of(row, ret->uuid);
    ret->user_id = (struct str){row->ids + row->event_id_len, row->user_id_len};
    ret->anonymous_id = (struct str){ret->user_id.ptr + row->user_id_len, row->anonymous_id_len};
}

enum err_code memtable_view(struct memtable *memtable, uint32_t shard, struct memtable_view **ret,
                            struct err *err)
{
    uint32_t rows = atomic_load_explicit(&memtable->shards[shard].published, memory_order_acquire);
    return memtable_view_at(memtable, shard, rows, ret, err);
}

void memtable_view_unref(struct memtable_view *view)
{
    if (view == NULL ||
        atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    struct view_dict *dict = atomic_load(&view->dicts);
    while (dict != NULL) {
        struct view_dict *next = dict->next;
        free(dict);
        dict = next;
    }
    mem_perm_unref(view->perm);
    memtable_unref(view->memtable);
    free(view);
}

const struct source *memtable_view_source(const struct memtable_view *view)
{
    return &view->source;
}

/* ---- reading through a view ---- */

static const struct mem_col *view_col(const struct memtable_view *view, uint32_t prop)
{
    const struct mem_shard *shard = view->shard;
    if (prop >= atomic_load_explicit(&shard->col_limit, memory_order_acquire)) {
        return NULL;
    }
    struct mem_col *_Atomic *at = cvec_at(&shard->cols, prop);
    return atomic_load_explicit(at, memory_order_acquire);
}

/* Entries of the view's rows: those in order of rows come first. */
static uint32_t col_entries(const struct memtable_view *view, const struct mem_col *col)
{
    uint32_t low = 0;
    /* acquire: pairs with the release in put_prop */
    uint32_t high = atomic_load_explicit(&col->count, memory_order_acquire);
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        const struct mem_entry *entry = cvec_at(&col->entries, mid);
        if (entry->row < view->perm->row_limit) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* Whether the view shows a string column as bytes: depends on the view's rows only. */
static bool col_is_raw(const struct mem_col *col, uint32_t entry_count)
{
    return atomic_load_explicit(&col->raw_from, memory_order_relaxed) < entry_count;
}

static const struct mem_dict *col_mem_dict(const struct memtable_view *view, uint32_t col)
{
    const struct memtable *memtable = view->memtable;
    if (col == COL_EVENT_NAME) {
        return memtable->names;
    }
    uint32_t prop = col - COL_FIRST_PROP;
    if (col < COL_FIRST_PROP ||
        prop >= atomic_load_explicit(&memtable->dict_limit, memory_order_acquire)) {
        return NULL;
    }
    struct mem_dict *_Atomic *at = cvec_at(&memtable->dicts, prop);
    return atomic_load_explicit(at, memory_order_acquire);
}

/* The dictionary as this view shows it: fixed when first asked for, the same pointer ever after. */
static enum err_code view_dict(const struct memtable_view *const_view, uint32_t col,
                               const struct dict **ret, struct err *err)
{
    struct memtable_view *view = (struct memtable_view *)(uintptr_t)const_view; /* a cache in it */
    const struct mem_dict *mem_dict = col_mem_dict(view, col);
    if (mem_dict == NULL) {
        *ret = NULL;
        return ERR_OK;
    }
    struct view_dict *head = atomic_load_explicit(&view->dicts, memory_order_acquire);
    struct view_dict *made = NULL;
    for (;;) {
        for (struct view_dict *held = head; held != NULL; held = held->next) {
            if (held->col == col) {
                free(made);
                *ret = &held->dict;
                return ERR_OK;
            }
        }
        if (made == NULL) {
            made = calloc(1, sizeof(*made));
            if (made == NULL) {
                return mem_no_memory(err);
            }
            made->col = col;
            /* Count before array: whichever array is seen then holds that many. */
            made->dict.count = atomic_load_explicit(&mem_dict->count, memory_order_acquire);
            struct mem_values *values =
                atomic_load_explicit(&mem_dict->values, memory_order_acquire);
            made->dict.values = values == NULL ? NULL : values->strs;
        }
        made->next = head;
        if (atomic_compare_exchange_weak_explicit(&view->dicts, &head, made, memory_order_acq_rel,
                                                  memory_order_acquire)) {
            *ret = &made->dict;
            return ERR_OK;
        }
    }
}

static enum err_code op_dict(const struct source *source, struct read_ctx *ctx, uint32_t col,
                             const struct dict **ret, struct err *err)
{
    const struct memtable_view *view = view_of(source);
    if (col >= COL_FIRST_PROP) {
        const struct mem_col *mem_col = view_col(view, col - COL_FIRST_PROP);
        uint32_t entries = mem_col == NULL ? 0 : col_entries(view, mem_col);
        if (entries == 0 || col_is_raw(mem_col, entries)) {
            *ret = NULL;
            return ERR_OK;
        }
    }
    return view_dict(view, col, ret, err);
}

static enum err_code read_ids(const struct memtable_view *view, struct read_ctx *ctx, uint32_t col,
                              uint32_t block, struct vec *vec, struct err *err)
{
    const struct mem_home *entries = view->perm->entries + (size_t)block * BLOCK_ROWS;
    uint64_t *present = NULL;
    uint32_t *offs = NULL;
    char *bytes = NULL;
    size_t total = 0;
    ERR_TRY(ARENA_NEW(ctx->arena, (vec->rows + 63) / 64, &present, err));
    ERR_TRY(ARENA_NEW(ctx->arena, (size_t)vec->rows + 1, &offs, err));
    for (uint32_t i = 0; i < vec->rows; i++) {
        const struct mem_row *row = row_at(view->shard, entries[i].row);
        total += col == COL_EVENT_ID  ? (row->is_uuid ? UUID_TEXT_BYTES : row->event_id_len)
                 : col == COL_USER_ID ? row->user_id_len
                                      : row->anonymous_id_len;
    }
    ERR_TRY(arena_alloc_raw(ctx->arena, total, (void **)&bytes, err));
    uint32_t count = 0;
    uint32_t off = 0;
    for (uint32_t i = 0; i < vec->rows; i++) {
        const struct mem_row *row = row_at(view->shard, entries[i].row);
        char text[UUID_TEXT_BYTES];
        struct str id = {row->ids + row->event_id_len, row->user_id_len};
        if (col == COL_EVENT_ID) {
            id = event_id_of(row, text);
        }
        if (col == COL_ANONYMOUS_ID) {
            id = (struct str){id.ptr + id.len, row->anonymous_id_len};
        }
        if (id.len == 0) {
            continue;
        }
        memcpy(bytes + off, id.ptr, id.len);
        off += (uint32_t)id.len;
        present[i / 64] |= 1ULL << (i % 64);
        offs[++count] = off;
    }
    vec->kind = count == 0 ? VEC_ABSENT : VEC_BYTES;
    vec->value_count = count;
    vec->present = count == vec->rows ? NULL : present;
    vec->offs = offs;
    vec->bytes = bytes;
    return ERR_OK;
}

static enum err_code read_owners(const struct memtable_view *view, struct read_ctx *ctx,
                                 uint32_t block, struct vec *vec, struct err *err)
{
    const struct mem_home *entries = view->perm->entries + (size_t)block * BLOCK_ROWS;
    CLEANUP(buf_freep) struct buf bytes = {0};
    uint32_t *offs = NULL;
    struct id_entry entry = {0};
    ASSERT(view->source.has_owner_ids);
    ERR_TRY(ARENA_NEW(ctx->arena, (size_t)vec->rows + 1, &offs, err));
    for (uint32_t i = 0; i < vec->rows; i++) {
        if (i == 0 || entries[i].subject != entries[i - 1].subject) {
            bool is_there = ids_find_key(view->ids, view->source.shard,
                                         stand_in_for(view->stand_ins, entries[i].subject), &entry);
            ASSERT(is_there);
        }
        buf_str(&bytes, entry.key);
        offs[i + 1] = (uint32_t)bytes.len; /* at most BLOCK_ROWS ids of USER_ID_BYTES_MAX */
    }
    ERR_TRY(buf_check(&bytes, err));
    struct str kept = {0};
    ERR_TRY(arena_str(ctx->arena, buf_as_str(&bytes), &kept, err));
    vec->kind = VEC_BYTES;
    vec->value_count = vec->rows;
    vec->offs = offs;
    vec->bytes = kept.ptr;
    return ERR_OK;
}

static enum err_code read_builtin(const struct memtable_view *view, struct read_ctx *ctx,
                                  uint32_t col, uint32_t block, struct vec *vec, struct err *err)
{
    const struct mem_home *entries = view->perm->entries + (size_t)block * BLOCK_ROWS;
    if (col == COL_EVENT_ID || col == COL_USER_ID || col == COL_ANONYMOUS_ID) {
        return read_ids(view, ctx, col, block, vec, err);
    }
    vec->value_count = vec->rows;
    if (col == COL_SUBJECT || col == COL_EVENT_NAME) {
        uint32_t *out = NULL;
        ERR_TRY(arena_alloc_raw(ctx->arena, vec->rows * sizeof(*out), (void **)&out, err));
        for (uint32_t i = 0; i < vec->rows; i++) {
            out[i] = col == COL_SUBJECT ? entries[i].subject
                                        : row_at(view->shard, entries[i].row)->name_code;
        }
        vec->u32 = out;
        vec->kind = col == COL_SUBJECT ? VEC_U32 : VEC_CODE;
        return col == COL_SUBJECT ? ERR_OK : view_dict(view, col, &vec->dict, err);
    }
    int64_t *out = NULL;
    ERR_TRY(arena_alloc_raw(ctx->arena, vec->rows * sizeof(*out), (void **)&out, err));
    for (uint32_t i = 0; i < vec->rows; i++) {
        out[i] = col == COL_EVENT_TIME ? entries[i].time_ms
                                       : row_at(view->shard, entries[i].row)->arrival_ms;
    }
    vec->i64 = out;
    vec->kind = VEC_I64;
    return ERR_OK;
}

/* Row -> place in the permutation; made by whoever needs it first. */
static const uint32_t *perm_places(struct perm *perm)
{
    uint32_t *places = atomic_load_explicit(&perm->places, memory_order_acquire);
    if (places != NULL) {
        return places;
    }
    size_t bytes = (size_t)perm->row_limit * sizeof(uint32_t);
    uint32_t *made = mem_alloc(bytes);
    if (made == NULL) {
        return NULL;
    }
    if (perm->count < perm->row_limit) {
        memset(made, 0xff, bytes);
    }
    for (uint32_t i = 0; i < perm->count; i++) {
        made[perm->entries[i].row] = i;
    }
    if (atomic_compare_exchange_strong_explicit(&perm->places, &places, made, memory_order_acq_rel,
                                                memory_order_acquire)) {
        return made;
    }
    mem_free(made, bytes);
    return places;
}

/* The entries of a block in the order of its rows: out[0 .. *ret_count), and which rows have one.
 */
static enum err_code gather_entries(const struct memtable_view *view, struct read_ctx *ctx,
                                    const struct mem_col *col, uint32_t entry_count, uint32_t block,
                                    uint32_t rows, const struct mem_entry ***ret_entries,
                                    uint32_t **ret_idx, uint64_t **ret_present, uint32_t *ret_count,
                                    struct err *err)
{
    const uint32_t *places = perm_places(view->perm);
    if (places == NULL) {
        return mem_no_memory(err);
    }
    const struct mem_entry **found = NULL;
    uint32_t *idx = NULL;
    uint64_t *present = NULL;
    ERR_TRY(ARENA_NEW(ctx->arena, rows, &found, err));
    ERR_TRY(arena_alloc_raw(ctx->arena, rows * sizeof(*idx), (void **)&idx, err));
    ERR_TRY(ARENA_NEW(ctx->arena, (rows + 63) / 64, &present, err));
    uint32_t begin = block * BLOCK_ROWS;
    for (uint32_t i = 0; i < entry_count;) {
        uint32_t run = MIN_OF(cvec_run(&col->entries, i), entry_count - i);
        const char *at = cvec_at(&col->entries, i);
        for (uint32_t k = 0; k < run; k++, at += col->entries.elem_bytes) {
            const struct mem_entry *entry = (const struct mem_entry *)(const void *)at;
            uint32_t place = places[entry->row] - begin;
            if (place < rows) {
                found[place] = entry;
                idx[place] = i + k;
                present[place / 64] |= 1ULL << (place % 64);
            }
        }
        i += run;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (found[i] != NULL) {
            found[count] = found[i];
            idx[count++] = idx[i];
        }
    }
    *ret_entries = found;
    *ret_idx = idx;
    *ret_present = present;
    *ret_count = count;
    return ERR_OK;
}

static const struct mem_wide *wide_of(const struct mem_entry *entry)
{
    return (const struct mem_wide *)(const void *)entry;
}

static struct str raw_value(const struct mem_col *col, const struct mem_entry *entry)
{
    const struct mem_raw *const *raw = cvec_at(&col->items, entry->aux);
    return (struct str){(*raw)->bytes, (*raw)->len};
}

static enum err_code fill_bytes(const struct memtable_view *view, struct read_ctx *ctx,
                                uint32_t col, const struct mem_col *mem_col,
                                const struct mem_entry *const *entries, const uint32_t *idx,
                                uint32_t raw_from, struct vec *vec, struct err *err)
{
    const struct dict *dict = NULL;
    struct str *strs = NULL;
    uint32_t *offs = NULL;
    char *bytes = NULL;
    size_t total = 0;
    ERR_TRY(view_dict(view, col, &dict, err));
    ERR_TRY(ARENA_NEW(ctx->arena, vec->value_count, &strs, err));
    ERR_TRY(ARENA_NEW(ctx->arena, (size_t)vec->value_count + 1, &offs, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        strs[i] =
            idx[i] < raw_from ? dict_value(dict, entries[i]->aux) : raw_value(mem_col, entries[i]);
        total += strs[i].len;
        if (total > UINT32_MAX) {
            return err_set(err, ERR_LIMIT, "a block of strings has more than 4 GiB");
        }
        offs[i + 1] = (uint32_t)total;
    }
    ERR_TRY(arena_alloc_raw(ctx->arena, total, (void **)&bytes, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        if (strs[i].len > 0) {
            memcpy(bytes + offs[i], strs[i].ptr, strs[i].len);
        }
    }
    vec->kind = VEC_BYTES;
    vec->offs = offs;
    vec->bytes = bytes;
    return ERR_OK;
}

static enum err_code fill_numbers(struct read_ctx *ctx, const struct mem_entry *const *entries,
                                  struct vec *vec, struct err *err)
{
    int64_t *out = NULL;
    uint8_t *scales = NULL;
    bool is_uniform = true;
    uint32_t doubles = 0;
    ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count * sizeof(*out), (void **)&out, err));
    ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count, (void **)&scales, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        out[i] = wide_of(entries[i])->i64;
        scales[i] = (uint8_t)entries[i]->aux;
        is_uniform = is_uniform && scales[i] == scales[0];
        doubles += scales[i] == NUM_DOUBLE;
    }
    if (doubles == vec->value_count) {
        double *f64 = NULL;
        ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count * sizeof(*f64), (void **)&f64, err));
        memcpy(f64, out, vec->value_count * sizeof(*f64));
        vec->kind = VEC_F64;
        vec->f64 = f64;
        return ERR_OK;
    }
    vec->kind = VEC_NUM;
    vec->i64 = out;
    vec->scale = is_uniform ? scales[0] : 0;
    vec->scales = is_uniform ? NULL : scales;
    return ERR_OK;
}

static enum err_code fill_list(const struct memtable_view *view, struct read_ctx *ctx, uint32_t col,
                               const struct mem_col *mem_col,
                               const struct mem_entry *const *entries, struct vec *vec,
                               struct err *err)
{
    uint32_t *offs = NULL;
    uint32_t *codes = NULL;
    size_t total = 0;
    ERR_TRY(view_dict(view, col, &vec->dict, err));
    ERR_TRY(ARENA_NEW(ctx->arena, (size_t)vec->value_count + 1, &offs, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        total += entries[i]->aux;
        if (total > UINT32_MAX) {
            return err_set(err, ERR_LIMIT, "a block of lists has more than 2^32 items");
        }
        offs[i + 1] = (uint32_t)total;
    }
    ERR_TRY(arena_alloc_raw(ctx->arena, total * sizeof(*codes), (void **)&codes, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        for (uint32_t k = 0; k < entries[i]->aux; k++) {
            const uint32_t *code =
                cvec_at(&mem_col->items, (uint32_t)wide_of(entries[i])->first + k);
            codes[offs[i] + k] = *code;
        }
    }
    vec->kind = VEC_LIST;
    vec->offs = offs;
    vec->u32 = codes;
    return ERR_OK;
}

static enum err_code fill_values(const struct memtable_view *view, struct read_ctx *ctx,
                                 uint32_t col, enum col_type type, const struct mem_col *mem_col,
                                 uint32_t entry_count, const struct mem_entry *const *entries,
                                 const uint32_t *idx, struct vec *vec, struct err *err)
{
    uint32_t raw_from = atomic_load_explicit(&mem_col->raw_from, memory_order_relaxed);
    switch (type) {
    case COL_STRING:
        if (raw_from < entry_count) {
            return fill_bytes(view, ctx, col, mem_col, entries, idx, raw_from, vec, err);
        } else {
            uint32_t *codes = NULL;
            ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count * sizeof(*codes), (void **)&codes,
                                    err));
            for (uint32_t i = 0; i < vec->value_count; i++) {
                codes[i] = entries[i]->aux;
            }
            vec->kind = VEC_CODE;
            vec->u32 = codes;
            return view_dict(view, col, &vec->dict, err);
        }
    case COL_NUMBER: return fill_numbers(ctx, entries, vec, err);
    case COL_BOOL: {
        uint8_t *out = NULL;
        ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count, (void **)&out, err));
        for (uint32_t i = 0; i < vec->value_count; i++) {
            out[i] = entries[i]->aux != 0;
        }
        vec->kind = VEC_BOOL;
        vec->u8 = out;
        return ERR_OK;
    }
    case COL_TIME: {
        int64_t *out = NULL;
        ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count * sizeof(*out), (void **)&out, err));
        for (uint32_t i = 0; i < vec->value_count; i++) {
            out[i] = wide_of(entries[i])->i64;
        }
        vec->kind = VEC_I64;
        vec->i64 = out;
        return ERR_OK;
    }
    case COL_LIST: return fill_list(view, ctx, col, mem_col, entries, vec, err);
    }
    return ERR_OK;
}

static enum err_code op_read(const struct source *source, struct read_ctx *ctx, uint32_t col,
                             uint32_t block, struct vec *ret, struct err *err)
{
    const struct memtable_view *view = view_of(source);
    ASSERT(block < source->block_count);
    struct vec vec = {.kind = VEC_ABSENT, .rows = source_block_rows(source, block)};
    ctx->blocks_read++;
    if (col < COL_FIRST_PROP || col == COL_OWNER_ID) {
        ERR_TRY(col == COL_OWNER_ID ? read_owners(view, ctx, block, &vec, err)
                                    : read_builtin(view, ctx, col, block, &vec, err));
        *ret = vec;
        return ERR_OK;
    }
    uint32_t prop = col - COL_FIRST_PROP;
    const struct mem_col *mem_col = view_col(view, prop);
    uint32_t entry_count = mem_col == NULL ? 0 : col_entries(view, mem_col);
    if (entry_count > 0) {
        const struct mem_entry **entries = NULL;
        uint32_t *idx = NULL;
        uint64_t *present = NULL;
        ERR_TRY(gather_entries(view, ctx, mem_col, entry_count, block, vec.rows, &entries, &idx,
                               &present, &vec.value_count, err));
        if (vec.value_count > 0) {
            vec.present = vec.value_count == vec.rows ? NULL : present;
            ctx->bytes_read += (uint64_t)vec.value_count * mem_col->entries.elem_bytes;
            ERR_TRY(fill_values(view, ctx, col, schema_col(view->memtable->schema, prop)->type,
                                mem_col, entry_count, entries, idx, &vec, err));
        }
    }
    *ret = vec;
    return ERR_OK;
}

static bool op_zone(const struct source *source, uint32_t col, uint32_t block, int64_t *ret_min,
                    int64_t *ret_max)
{
    if (col != COL_EVENT_TIME) {
        return false;
    }
    const struct perm *perm = view_of(source)->perm;
    *ret_min = perm->zones[block * 2];
    *ret_max = perm->zones[block * 2 + 1];
    return true;
}

static bool op_has_value_rows(const struct source *source, uint32_t col)
{
    return col == COL_EVENT_NAME;
}

static enum err_code op_value_rows(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                   uint32_t code, uint32_t block, uint16_t *out_rows,
                                   uint32_t *ret_count, struct err *err)
{
    ASSERT(col == COL_EVENT_NAME);
    const struct memtable_view *view = view_of(source);
    const struct mem_home *entries = view->perm->entries + (size_t)block * BLOCK_ROWS;
    uint32_t rows = source_block_rows(source, block);
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (row_at(view->shard, entries[i].row)->name_code == code) {
            if (out_rows != NULL) {
                out_rows[count] = (uint16_t)i;
            }
            count++;
        }
    }
    *ret_count = count;
    return ERR_OK;
}

static enum err_code op_subject_sets(const struct source *source, struct read_ctx *ctx,
                                     uint32_t event, const struct subject_set **ret,
                                     uint32_t *ret_count, struct err *err)
{
    *ret = NULL;
    *ret_count = 0;
    return ERR_OK;
}

static enum err_code op_subject_set(const struct source *source, struct read_ctx *ctx,
                                    uint32_t set_idx, const roaring_bitmap_t **ret, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "a memtable keeps no subject sets");
}

static enum err_code op_subject_row(const struct source *source, struct read_ctx *ctx,
                                    uint32_t subject, uint32_t *ret_row, struct err *err)
{
    const struct perm *perm = view_of(source)->perm;
    uint32_t low = 0;
    uint32_t high = perm->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (perm->entries[mid].subject < subject) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *ret_row = low;
    return ERR_OK;
}

static const struct source_ops view_ops = {
    .read = op_read,
    .dict = op_dict,
    .zone = op_zone,
    .value_rows = op_value_rows,
    .has_value_rows = op_has_value_rows,
    .subject_sets = op_subject_sets,
    .subject_set = op_subject_set,
    .subject_row = op_subject_row,
};
