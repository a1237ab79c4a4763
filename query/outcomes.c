/* query/outcomes.c - see outcomes.h.
 *
 * The bytes of a task:
 *
 *     | ids of the segments | masked subjects | left out | outcome | outcome | ... | tail | set | u32 bytes of the last two |
 *     outcome    struct outcome_head, its bytes
 *
 * What is looked at once and whole is packed; outcomes are many, and read one by one each time the question comes: their
 * heads are as wide as they are. They are written where they will be copied from.
 */
#include "query/outcomes.h"

#include "query/answer_cache.h"
#include "query/answer_key.h"
#include "query/subject_bits.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"
#include "storage/read_held.h"

#define BYTES_FIRST (64u << 10)

struct outcome_head {
    uint32_t subject;
    uint16_t len;
} __attribute__((packed));

struct outcomes_plan {
    struct answer_cache *answers;
    struct str name; /* of all that the tasks' names have in common */
    uint32_t live_parts;
};

struct outcomes {
    struct query_run_ctx *run;
    const struct outcomes_plan *plan;
    const struct run_task *task;
    struct arena *arena;
    struct io *io;
    struct buf key;
    uint32_t base, end; /* the task's subjects, and in words: */
    size_t words;
    uint64_t *live;

    struct answer_hit hit; /* bytes.ptr NULL: not found */
    struct rd rd;          /* in what stands before the outcomes */
    struct str tail, set;
    const char *at, *end_of_all; /* the next outcome */
    struct journey_rows *rows;

    struct buf bytes; /* not found: what will be kept */
    size_t charged;   /* of it, to the query's budget */
    const uint64_t *put_set;
    bool is_recording; /* they are worth keeping, and not too long for it */
};

/* ---- the plan ---- */

/* Whether a subject's own rows, and who is masked, are all that an answer stands on. */
static bool is_of_rows_alone(const struct query_run_ctx *run, const struct outcomes_ask *ask)
{
    const struct bound_query *query = run->query;
    const struct snapshot *snapshot = run->snapshot;
    return query->per == NULL && query->use_count == 0 && query->cell == NULL && !query->is_why &&
           !query->is_now_read && run->notes == NULL && run->traits == NULL && !run->has_only &&
           !run->is_inner && run->unmasked == NULL && run->diff == NULL &&
           run->restatements == NULL && snapshot->dataset != NULL && !snapshot->is_past &&
           snapshot->cut_count == 0 && (!ask->has_firsts || snapshot->history_count == 0);
}

/* The last time of a sealed row. */
static int64_t sealed_max_ms(const struct snapshot *snapshot)
{
    int64_t max_ms = INT64_MIN;
    for (uint32_t i = 0; i < snapshot->source_count; i++) {
        if (!snapshot->sources[i]->is_memory) {
            max_ms = MAX_OF(max_ms, snapshot->sources[i]->time_max_ms);
        }
    }
    return max_ms;
}

enum err_code outcomes_plan_make(struct query_run_ctx *run, const struct outcomes_ask *ask,
                                 struct outcomes_plan **ret, struct err *err)
{
    CLEANUP(buf_freep) struct buf name = {0};
    const struct snapshot *snapshot = run->snapshot;
    struct outcomes_plan *plan = NULL;
    *ret = NULL;
    if (run_answers(run) == NULL || !is_of_rows_alone(run, ask)) {
        return ERR_OK;
    }
    buf_u64(&name, dataset_uid(snapshot->dataset));
    buf_u32(&name, schema_count(snapshot->schema));
    buf_i64(&name, MAX_OF(ask->rows_from_ms, snapshot->expired_before_ms));
    buf_i64(&name, ask->from_ms);
    buf_i64(&name, ask->to_ms > sealed_max_ms(snapshot) ? INT64_MAX : ask->to_ms);
    buf_i64(&name, ask->more);
    ERR_TRY(answer_question(run, &name, err));
    ERR_TRY(buf_check(&name, err));
    ERR_TRY(ARENA_NEW(run->arena, 1, &plan, err));
    plan->answers = run_answers(run);
    plan->live_parts = ask->live_parts;
    ERR_TRY(arena_str(run->arena, buf_as_str(&name), &plan->name, err));
    *ret = plan;
    return ERR_OK;
}

/* ---- who is live ---- */

static bool is_live(const struct outcomes *o, uint32_t subject)
{
    uint32_t bit = subject - o->base;
    return subject >= o->base && subject < o->end && (o->live[bit / 64] >> (bit % 64) & 1) != 0;
}

static void live_add(struct outcomes *o, uint32_t subject)
{
    if (subject >= o->base && subject < o->end) {
        uint32_t bit = subject - o->base;
        o->live[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
}

static enum err_code live_add_source(struct outcomes *o, const struct source *source,
                                     struct err *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_create(arena_budget(o->arena));
    CLEANUP(read_held_done) struct read_held held = {0};
    struct read_ctx read = {.arena = scratch, .io = o->io, .held = &held};
    if (source->subject_last < o->base || source->subject_first >= o->end) {
        return ERR_OK;
    }
    for (uint32_t block = 0; block < source->block_count; block++) {
        struct vec vec = {0};
        int64_t min = 0;
        int64_t max = 0;
        if (source_zone(source, COL_SUBJECT, block, &min, &max) &&
            (max < (int64_t)o->base || min >= (int64_t)o->end)) {
            continue;
        }
        ERR_TRY(run_check(o->run, err));
        ERR_TRY(source_read(source, &read, COL_SUBJECT, block, &vec, err));
        for (uint32_t i = 0; i < vec.rows; i++) {
            live_add(o, vec.u32[i]);
        }
        read_held_clear(&held);
        arena_rewind(scratch, (struct arena_mark){0});
    }
    run_count(o->run, 0, &read);
    return ERR_OK;
}

static bool add_live(uint32_t subject, void *arg)
{
    live_add(arg, subject);
    return true;
}

static bool are_many_live(const struct outcomes *o)
{
    return bits_count(o->live, o->words) > (uint64_t)(o->end - o->base) / o->plan->live_parts;
}

static enum err_code live_alloc(struct outcomes *o, struct err *err)
{
    return ARENA_NEW(o->arena, o->words, &o->live, err);
}

/* ---- what was kept ---- */

static const roaring_bitmap_t *masked(const struct outcomes *o)
{
    return o->run->snapshot->deleted[o->task->shard];
}

static void put_set(const roaring_bitmap_t *set, struct buf *out)
{
    size_t len = set == NULL ? 0 : roaring_bitmap_portable_size_in_bytes(set);
    buf_varint(out, len);
    uint8_t *at = len == 0 ? NULL : buf_reserve(out, len);
    if (at != NULL) {
        roaring_bitmap_portable_serialize(set, (char *)at);
        out->len += len;
    }
}

/* The bytes are our own: a set that is not whole is for want of memory. */
static enum err_code get_set(struct rd *rd, roaring_bitmap_t **ret, struct err *err)
{
    struct str bytes = rd_blob(rd);
    *ret = bytes.len == 0 ? roaring_bitmap_create()
                          : roaring_bitmap_portable_deserialize_safe(bytes.ptr, bytes.len);
    return *ret == NULL ? err_set(err, ERR_NOMEM, "out of memory for a set of subjects") : ERR_OK;
}

/* Of the kept segments, all must be there; whose rows lie in other sources is live. */
static enum err_code read_sources(struct outcomes *o, bool *ret_is_good, struct err *err)
{
    const struct run_task *task = o->task;
    uint64_t kept = rd_varint(&o->rd);
    uint32_t found = 0;
    bool *is_kept = NULL;
    ERR_TRY(ARENA_NEW(o->arena, task->source_count, &is_kept, err));
    for (uint64_t i = 0; i < kept; i++) {
        uint64_t id = rd_varint(&o->rd);
        for (uint32_t s = 0; s < task->source_count; s++) {
            if (!task->sources[s]->is_memory && task->sources[s]->id == id) {
                is_kept[s] = true;
                found++;
            }
        }
    }
    *ret_is_good = found == kept;
    ERR_TRY(ARENA_NEW(o->arena, task->source_count, &o->rows, err));
    for (uint32_t s = 0; *ret_is_good && s < task->source_count; s++) {
        o->rows[s].is_all = !is_kept[s]; /* its subjects are live one and all */
        ERR_TRY(is_kept[s] ? ERR_OK : live_add_source(o, task->sources[s], err));
    }
    return ERR_OK;
}

static void live_add_set(struct outcomes *o, const roaring_bitmap_t *set)
{
    roaring_iterate(set, add_live, o);
}

static enum err_code read_people(struct outcomes *o, struct err *err)
{
    CLEANUP(bitmap_freep) roaring_bitmap_t *then = NULL;
    CLEANUP(bitmap_freep) roaring_bitmap_t *left_out = NULL;
    const roaring_bitmap_t *now = masked(o);
    ERR_TRY(get_set(&o->rd, &then, err));
    ERR_TRY(get_set(&o->rd, &left_out, err));
    if (now != NULL) {
        roaring_bitmap_xor_inplace(then, now);
    }
    live_add_set(o, then);
    live_add_set(o, left_out);
    return ERR_OK;
}

/* What stands behind the outcomes. */
static void read_trailer(struct outcomes *o)
{
    struct str all = o->hit.bytes;
    struct rd last = rd_init((struct str){all.ptr + all.len - sizeof(uint32_t), sizeof(uint32_t)});
    size_t len = rd_u32(&last);
    o->at = all.ptr + o->rd.off;
    o->end_of_all = all.ptr + all.len - sizeof(uint32_t) - len;
    struct rd rd = rd_init((struct str){o->end_of_all, len});
    o->tail = rd_blob(&rd);
    o->set = rd_blob(&rd);
    ASSERT(rd_at_end(&rd)); /* the bytes are our own */
}

/* Whether what was kept serves, and what is to be read beside it. */
static enum err_code read_kept(struct outcomes *o, bool *ret_serves, struct err *err)
{
    *ret_serves = false;
    o->rd = rd_init(o->hit.bytes);
    ERR_TRY(live_alloc(o, err));
    ERR_TRY(read_sources(o, ret_serves, err));
    if (!*ret_serves) {
        return ERR_OK;
    }
    ERR_TRY(read_people(o, err));
    read_trailer(o);
    *ret_serves = !are_many_live(o);
    for (uint32_t s = 0; *ret_serves && s < o->task->source_count; s++) {
        ERR_TRY(o->rows[s].is_all
                    ? ERR_OK
                    : journey_rows_of_bits(o->run, o->task->sources[s], o->base, o->live, o->words,
                                           o->arena, o->io, &o->rows[s], err));
    }
    return ERR_OK;
}

/* ---- the door ---- */

static void key_make(struct outcomes *o)
{
    buf_str(&o->key, o->plan->name);
    buf_u32(&o->key, o->task->shard);
    buf_u32(&o->key, o->task->subject_begin);
    buf_u32(&o->key, o->task->subject_end);
}

static enum err_code find_kept(struct outcomes *o, struct err *err)
{
    bool serves = false;
    if (!answer_cache_find_newest(o->plan->answers, ANSWER_OUTCOMES, buf_as_str(&o->key),
                                  &o->hit)) {
        return ERR_OK;
    }
    ERR_TRY(read_kept(o, &serves, err));
    if (serves) {
        atomic_fetch_add_explicit(&o->run->cached, 1, memory_order_relaxed);
        return ERR_OK;
    }
    answer_hit_done(&o->hit);
    o->hit.bytes = (struct str){0};
    o->rows = NULL;
    return ERR_OK;
}

static void put_sources(struct outcomes *o)
{
    uint32_t count = 0;
    for (uint32_t s = 0; s < o->task->source_count; s++) {
        count += o->task->sources[s]->is_memory ? 0 : 1;
    }
    buf_varint(&o->bytes, count);
    for (uint32_t s = 0; s < o->task->source_count; s++) {
        if (!o->task->sources[s]->is_memory) {
            buf_varint(&o->bytes, o->task->sources[s]->id);
        }
    }
}

/* The live subjects of the moment as a set; NULL: no memory for it. */
static roaring_bitmap_t *live_set(const struct outcomes *o)
{
    roaring_bitmap_t *set = roaring_bitmap_create();
    for (size_t w = 0; set != NULL && w < o->words; w++) {
        for (uint64_t bits = o->live[w]; bits != 0; bits &= bits - 1) {
            roaring_bitmap_add(set, o->base + (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(bits));
        }
    }
    return set;
}

void outcomes_stop(struct outcomes *o)
{
    buf_done(&o->bytes);
    budget_give(arena_budget(o->arena), o->charged);
    o->charged = 0;
    o->is_recording = false;
}

/* Nothing is kept that is too long, or for which memory, or the query's share of it, is not there: an answer is not the worse
 * for it. */
static void check_bytes(struct outcomes *o)
{
    struct err err;
    bool is_good = !o->bytes.is_bad && o->bytes.len <= answer_cache_item_max(o->plan->answers);
    if (is_good && o->bytes.cap > o->charged) {
        is_good = budget_take(arena_budget(o->arena), o->bytes.cap - o->charged, &err) == ERR_OK;
        o->charged = is_good ? o->bytes.cap : o->charged;
    }
    if (!is_good) {
        outcomes_stop(o);
    }
}

/* Subjects with rows in memory are left out of what is kept: they are live as long as those rows lie elsewhere. */
static enum err_code begin_recording(struct outcomes *o, struct err *err)
{
    uint32_t sealed = 0;
    ERR_TRY(live_alloc(o, err));
    for (uint32_t s = 0; s < o->task->source_count; s++) {
        const struct source *source = o->task->sources[s];
        sealed += source->is_memory ? 0 : 1;
        ERR_TRY(source->is_memory ? live_add_source(o, source, err) : ERR_OK);
    }
    CLEANUP(bitmap_freep)
    roaring_bitmap_t *live = sealed > 0 && !are_many_live(o) ? live_set(o) : NULL;
    if (live != NULL) {
        o->is_recording = true;
        (void)buf_reserve(&o->bytes, BYTES_FIRST);
        put_sources(o);
        put_set(masked(o), &o->bytes);
        put_set(live, &o->bytes);
        check_bytes(o);
    }
    return ERR_OK;
}

enum err_code outcomes_open(struct query_run_ctx *run, const struct outcomes_plan *plan,
                            const struct run_task *task, struct arena *arena, struct io *io,
                            struct outcomes **ret, struct err *err)
{
    CLEANUP(outcomes_closep) struct outcomes *o = NULL;
    uint32_t end = run_task_end(run, task);
    *ret = NULL;
    if (plan == NULL || end <= task->subject_begin) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(arena, 1, &o, err));
    o->run = run;
    o->plan = plan;
    o->task = task;
    o->arena = arena;
    o->io = io;
    o->base = task->subject_begin;
    o->end = end;
    o->words = ((size_t)end - o->base + 63) / 64;
    key_make(o);
    ERR_TRY(buf_check(&o->key, err));
    ERR_TRY(find_kept(o, err));
    ERR_TRY(outcomes_are_kept(o) ? ERR_OK : begin_recording(o, err));
    *ret = TAKE(o);
    return ERR_OK;
}

void outcomes_close(struct outcomes *o)
{
    if (o != NULL) {
        outcomes_stop(o);
        answer_hit_done(&o->hit);
        buf_done(&o->key);
    }
}

bool outcomes_are_kept(const struct outcomes *o)
{
    return o != NULL && o->hit.bytes.len > 0;
}

bool outcomes_next(struct outcomes *o, uint32_t *ret_subject, struct str *ret_bytes)
{
    while (o->at < o->end_of_all) {
        struct outcome_head head;
        memcpy(&head, o->at, sizeof(head));
        const char *bytes = o->at + sizeof(head);
        o->at = bytes + head.len;
        if (!is_live(o, head.subject)) {
            *ret_subject = head.subject;
            *ret_bytes = (struct str){bytes, head.len};
            return true;
        }
    }
    ASSERT(o->at == o->end_of_all); /* the bytes are our own */
    return false;
}

bool outcomes_are_due(const struct outcomes *o, uint32_t subject)
{
    return !outcomes_are_kept(o) || is_live(o, subject);
}

uint64_t outcomes_count_set(const struct outcomes *o)
{
    uint64_t count = 0;
    for (size_t w = 0; w < o->set.len / sizeof(uint64_t); w++) {
        uint64_t word = 0;
        memcpy(&word, o->set.ptr + w * sizeof(word), sizeof(word));
        count += (uint64_t)__builtin_popcountll(word & ~(w < o->words ? o->live[w] : 0));
    }
    return count;
}

struct str outcomes_tail(const struct outcomes *o)
{
    return o->tail;
}

const struct journey_rows *outcomes_rows(const struct outcomes *o)
{
    return outcomes_are_kept(o) ? o->rows : NULL;
}

void outcomes_put(struct outcomes *o, uint32_t subject, struct str bytes)
{
    if (o == NULL || !o->is_recording || is_live(o, subject)) {
        return;
    }
    if (bytes.len > OUTCOME_BYTES_MAX) {
        outcomes_stop(o);
        return;
    }
    const struct outcome_head head = {subject, (uint16_t)bytes.len};
    uint8_t *at = buf_reserve(&o->bytes, sizeof(head) + bytes.len);
    if (at != NULL) {
        memcpy(at, &head, sizeof(head));
        memcpy(at + sizeof(head), bytes.ptr, bytes.len);
        o->bytes.len += sizeof(head) + bytes.len;
    }
    check_bytes(o);
}

void outcomes_put_set(struct outcomes *o, const uint64_t *words)
{
    if (o != NULL) {
        o->put_set = words;
    }
}

void outcomes_keep(struct outcomes *o, struct str tail)
{
    if (o == NULL || !o->is_recording) {
        return;
    }
    size_t begin = o->bytes.len;
    size_t set_bytes = o->put_set == NULL ? 0 : o->words * sizeof(*o->put_set);
    buf_blob(&o->bytes, tail);
    buf_blob(&o->bytes, (struct str){(const char *)(const void *)o->put_set, set_bytes});
    size_t trailer = o->bytes.len - begin;
    buf_u32(&o->bytes, trailer <= UINT32_MAX ? (uint32_t)trailer : 0);
    if (!o->bytes.is_bad && trailer <= UINT32_MAX) {
        answer_cache_keep_newest(o->plan->answers, ANSWER_OUTCOMES, buf_as_str(&o->key),
                                 buf_as_str(&o->bytes));
    }
}
