/* query/scan_rows.c - the rows of one block that a query is about.
 *
 *     candidates   rows of the named events, or all; of them those that meet the terms of `where`  by rows-by-value
 *     times        spans that the row lies in -> the bits it has for sure, and whether it may get more
 *     where        what is not said by the terms
 *     alternatives their predicates, for rows that may get more bits
 *     subjects     deleted ones leave
 *
 * Each step looks at what the one before has left; subjects are gathered last. A few candidates among many rows are found
 * from their lists of rows, by way of one bit a row; many by one pass over the block's codes.
 */
#include "query/grow.h"
#include "query/scan_int.h"
#include "storage/base/cpu.h"
#include "storage/base/size.h"

#define STREAM_PARTS 2u /* streams are merged up to half of the rows */
#define MANY_PARTS   4u /* candidates are many when they are a fourth of the rows */

/* The rows that are still in question; parallel arrays. */
struct candidates {
    uint32_t count;
    const uint16_t *rows;
    const uint16_t *slots; /* NULL: all rows are of `slot` */
    uint16_t slot;
    const int64_t *times;     /* NULL: not taken yet */
    const uint32_t *subjects; /* likewise */
    uint64_t *masks;
    const struct block_journeys *journeys; /* not NULL: as journeys, and no more to be done */
    uint32_t first;
    const struct scan_time_span *spans;
    uint32_t span_count;
};

/* ---- loops ---- */

CPU_CLONES static void gather_times(const int64_t *restrict from, const uint16_t *restrict rows,
                                    uint32_t count, int64_t *restrict out)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = from[rows[i]];
    }
}

CPU_CLONES static void gather_subjects(const uint32_t *restrict from, const uint16_t *restrict rows,
                                       uint32_t count, uint32_t *restrict out)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = from[rows[i]];
    }
}

/* masks |= bits, for rows in [begin, end). */
CPU_CLONES static void mark_times(const int64_t *restrict times, uint32_t count, int64_t begin,
                                  int64_t end, uint64_t bits, uint64_t *restrict masks)
{
    for (uint32_t i = 0; i < count; i++) {
        masks[i] |= times[i] >= begin && times[i] < end ? bits : 0;
    }
}

/* ---- planning ---- */

static struct scan_span *plan_span_of(struct scan *scan, const struct scan_alt *alt)
{
    uint32_t i = 0;
    while (i < scan->span_count &&
           (scan->spans[i].begin_ms != alt->begin_ms || scan->spans[i].end_ms != alt->end_ms)) {
        i++;
    }
    return &scan->spans[i];
}

static enum err_code plan_spans(struct scan *scan, struct err *err)
{
    ERR_TRY(ARENA_NEW(scan->keep, scan->alt_count, &scan->spans, err));
    for (uint32_t a = 0; a < scan->alt_count; a++) {
        const struct scan_alt *alt = &scan->alts[a];
        struct scan_span *span = plan_span_of(scan, alt);
        if (span->sure == NULL) {
            span->begin_ms = alt->begin_ms;
            span->end_ms = alt->end_ms;
            ERR_TRY(ARENA_NEW(scan->keep, (size_t)scan->slot_count + 1, &span->sure, err));
            ERR_TRY(ARENA_NEW(scan->keep, (size_t)scan->slot_count + 1, &span->maybe, err));
            scan->span_count++;
        }
        scan->has_alt_pred |= alt->pred != NULL;
        uint64_t *bits = alt->pred == NULL ? span->sure : span->maybe;
        for (uint32_t s = 0; s <= scan->slot_count; s++) {
            bits[s] |= alt->slot == SLOT_ANY || alt->slot == s ? alt->bit : 0;
        }
    }
    return ERR_OK;
}

static bool is_term(const struct scan *scan, const struct pred *pred)
{
    bool is_equal = pred->kind == PRED_EQ || pred->kind == PRED_IN;
    if (!is_equal || pred->field.kind != FIELD_PROP || pred->field.type != COL_STRING ||
        !source_has_value_rows(scan->source, pred->field.col)) {
        return false;
    }
    for (uint32_t i = 0; i < pred->value_count; i++) {
        if (pred->values[i].type != COL_STRING) {
            return false;
        }
    }
    return pred->value_count > 0;
}

/* Two literals may be one value: its code stands once. */
static enum err_code plan_term(struct scan *scan, const struct pred *pred, struct err *err)
{
    struct scan_term *term = &scan->terms[scan->term_count];
    uint32_t *codes = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(scan->keep, pred->value_count, &codes, err));
    for (uint32_t i = 0; i < pred->value_count; i++) {
        bool is_found = false;
        ERR_TRY(source_code(scan->source, &scan->read, pred->field.col, pred->values[i].string,
                            &is_found, &codes[count], err));
        for (uint32_t k = 0; is_found && k < count; k++) {
            is_found = codes[k] != codes[count];
        }
        count += is_found;
    }
    *term = (struct scan_term){
        .pred = pred, .col = pred->field.col, .codes = codes, .code_count = count};
    scan->term_count++;
    return ERR_OK;
}

static enum err_code plan_terms(struct scan *scan, struct err *err)
{
    const struct pred *where = scan->spec->query->where;
    if (where == NULL || scan->spec->no_index) {
        return ERR_OK;
    }
    bool is_and = where->kind == PRED_AND;
    uint32_t count = is_and ? where->kid_count : 1;
    for (uint32_t i = 0; i < count && scan->term_count < SCAN_TERMS_MAX; i++) {
        const struct pred *pred = is_and ? where->kids[i] : where;
        if (is_term(scan, pred)) {
            ERR_TRY(plan_term(scan, pred, err));
        }
    }
    scan->is_where_all_terms = scan->term_count == count;
    return ERR_OK;
}

/* An alternative of a lower selector names the event first. */
static void plan_keep(struct scan *scan)
{
    const struct scan_keep *keep = scan->spec->keep;
    for (uint32_t a = scan->alt_count; keep != NULL && a-- > 0;) {
        const struct scan_alt *alt = &scan->alts[a];
        ASSERT(alt->slot != SLOT_ANY);
        scan->slots[alt->slot - 1].keep = keep->words[__builtin_ctzll(alt->bit)];
    }
}

static bool is_subject_kept(const struct scan_keep *keep, const uint64_t *words, uint32_t subject)
{
    uint32_t bit = subject - keep->base;
    ASSERT_DEBUG(subject >= keep->base && bit / 64 < keep->word_count);
    return (words[bit / 64] >> (bit % 64) & 1) != 0;
}

enum err_code scan_plan_rows(struct scan *scan, struct err *err)
{
    ERR_TRY(plan_spans(scan, err));
    plan_keep(scan);
    return plan_terms(scan, err);
}

/* ---- candidates ---- */

/* The rows of the block within the subject range. */
static void block_range(const struct scan *scan, uint32_t *ret_begin, uint32_t *ret_end)
{
    uint32_t block_begin = scan->block_now * BLOCK_ROWS;
    uint32_t block_rows = source_block_rows(scan->source, scan->block_now);
    *ret_begin = scan->row_begin > block_begin ? scan->row_begin - block_begin : 0;
    *ret_end = MIN_OF(block_rows, scan->row_end - block_begin);
}

/* Every row of the block within the subject range. */
static enum err_code take_all_rows(struct scan *scan, struct candidates *cand, struct err *err)
{
    uint32_t begin = 0;
    uint32_t end = 0;
    void *memory = NULL;
    block_range(scan, &begin, &end);
    ERR_TRY(scan_raw(scan, end - begin, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    cand->rows = rows;
    cand->count = end - begin;
    for (uint32_t i = 0; i < cand->count; i++) {
        rows[i] = (uint16_t)(begin + i);
    }
    return ERR_OK;
}

/* The rows of one value within the subject range: *ret_count of *ret_rows, in the scratch. */
static enum err_code value_rows(struct scan *scan, uint32_t col, uint32_t code,
                                const uint16_t **ret_rows, uint32_t *ret_count, struct err *err)
{
    void *memory = NULL;
    uint32_t count = 0;
    uint32_t first = 0;
    uint32_t block_begin = scan->block_now * BLOCK_ROWS;
    ERR_TRY(scan_raw(scan, BLOCK_ROWS, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    ERR_TRY(source_value_rows(scan->source, &scan->read, col, code, scan->block_now, rows, &count,
                              err));
    while (first < count && block_begin + rows[first] < scan->row_begin) {
        first++;
    }
    while (count > first && block_begin + rows[count - 1] >= scan->row_end) {
        count--;
    }
    *ret_rows = rows + first;
    *ret_count = count - first;
    return ERR_OK;
}

static enum err_code value_count(struct scan *scan, uint32_t col, uint32_t code, uint32_t *ret,
                                 struct err *err)
{
    return source_value_rows(scan->source, &scan->read, col, code, scan->block_now, NULL, ret, err);
}

/* Set the bits of a value's rows. */
static enum err_code mark_value(struct scan *scan, uint32_t col, uint32_t code, uint64_t *words,
                                struct err *err)
{
    struct arena_mark mark = arena_mark(scan->scratch);
    const uint16_t *rows = NULL;
    uint32_t count = 0;
    ERR_TRY(value_rows(scan, col, code, &rows, &count, err));
    for (uint32_t i = 0; i < count; i++) {
        words[rows[i] / 64] |= UINT64_C(1) << (rows[i] % 64);
    }
    arena_rewind(scan->scratch, mark);
    return ERR_OK;
}

static enum err_code mark_term(struct scan *scan, const struct scan_term *term, uint64_t *words,
                               struct err *err)
{
    for (uint32_t i = 0; i < term->code_count; i++) {
        ERR_TRY(mark_value(scan, term->col, term->codes[i], words, err));
    }
    return ERR_OK;
}

/* The set bits as rows. */
static enum err_code take_marked(struct scan *scan, const uint64_t *words, struct candidates *cand,
                                 struct err *err)
{
    void *memory = NULL;
    uint32_t word_count = (source_block_rows(scan->source, scan->block_now) + 63) / 64;
    uint32_t count = 0;
    for (uint32_t w = 0; w < word_count; w++) {
        count += (uint32_t)__builtin_popcountll(words[w]);
    }
    ERR_TRY(scan_raw(scan, count, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    uint32_t at = 0;
    for (uint32_t w = 0; w < word_count; w++) {
        for (uint64_t bits = words[w]; bits != 0; bits &= bits - 1) {
            rows[at++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(bits));
        }
    }
    cand->rows = rows;
    cand->count = count;
    return ERR_OK;
}

/* slot_of_code, for all codes of the dictionary so far (a memtable's grows). */
static enum err_code slot_codes(struct scan *scan, const struct dict *dict, struct err *err)
{
    if (scan->slot_of_code != NULL && !scan->source->is_memory) {
        return ERR_OK;
    }
    struct arena *arena = scan->source->is_memory ? scan->scratch : scan->keep;
    ERR_TRY(ARENA_NEW(arena, dict->count, &scan->slot_of_code, err));
    for (uint32_t s = 1; s <= scan->slot_count; s++) {
        ASSERT(scan->slots[s - 1].code < dict->count);
        scan->slot_of_code[scan->slots[s - 1].code] = (uint16_t)s;
    }
    return ERR_OK;
}

static enum err_code take_slots(struct scan *scan, struct candidates *cand, struct err *err)
{
    struct vec names = {0};
    void *memory = NULL;
    ERR_TRY(scan_col(scan, COL_EVENT_NAME, &names, err));
    ASSERT(names.kind == VEC_CODE && names.present == NULL);
    ERR_TRY(slot_codes(scan, names.dict, err));
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint16_t), &memory, err));
    uint16_t *slots = memory;
    for (uint32_t i = 0; i < cand->count; i++) {
        slots[i] = scan->slot_of_code[names.u32[cand->rows[i]]];
    }
    cand->slots = slots;
    return ERR_OK;
}

/* All rows whose event is wanted, by one pass over the codes. */
static enum err_code take_wanted(struct scan *scan, const bool *is_wanted, struct candidates *cand,
                                 struct err *err)
{
    struct vec names = {0};
    void *memory = NULL;
    uint32_t begin = 0;
    uint32_t end = 0;
    uint32_t count = 0;
    block_range(scan, &begin, &end);
    ERR_TRY(scan_col(scan, COL_EVENT_NAME, &names, err));
    ASSERT(names.kind == VEC_CODE && names.present == NULL);
    ERR_TRY(slot_codes(scan, names.dict, err));
    ERR_TRY(scan_raw(scan, names.dict->count, sizeof(uint16_t), &memory, err));
    uint16_t *slot_of_code = memory; /* 0, SLOT_OTHER, of those that are not wanted */
    for (uint32_t c = 0; c < names.dict->count; c++) {
        uint16_t slot = scan->slot_of_code[c];
        slot_of_code[c] = is_wanted[slot] ? slot : SLOT_OTHER;
    }
    ERR_TRY(scan_raw(scan, end - begin, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    ERR_TRY(scan_raw(scan, end - begin, sizeof(uint16_t), &memory, err));
    uint16_t *slots = memory;
    for (uint32_t row = begin; row < end; row++) {
        uint16_t slot = slot_of_code[names.u32[row]];
        rows[count] = (uint16_t)row;
        slots[count] = slot;
        count += slot != SLOT_OTHER;
    }
    *cand = (struct candidates){.count = count, .rows = rows, .slots = slots};
    return ERR_OK;
}

/* ---- candidates that are left in their journeys ---- */

/* Nothing is asked of a row but its event and its time. */
bool scan_may_be_journeys(const struct scan *scan)
{
    return scan->spec->wants_journeys && !scan->no_journeys && !scan->has_alt_pred &&
           scan->spec->query->where == NULL && scan->spec->keep == NULL &&
           scan->source->cut == NULL;
}

/* Times since the base, of which a journey's are below 2^32. */
static uint64_t since(int64_t t, int64_t base_ms)
{
    return t <= base_ms ? 0 : (uint64_t)t - (uint64_t)base_ms;
}

static enum err_code journey_span(struct scan *scan, const struct scan_span *span,
                                  struct scan_time_span *out, struct err *err)
{
    const struct dict *dict = NULL;
    void *memory = NULL;
    ERR_TRY(source_dict(scan->source, &scan->read, COL_EVENT_NAME, &dict, err));
    ERR_TRY(slot_codes(scan, dict, err));
    ERR_TRY(scan_raw(scan, dict->count, sizeof(uint64_t), &memory, err));
    uint64_t *mask_of_code = memory;
    for (uint32_t c = 0; c < dict->count; c++) {
        mask_of_code[c] = span->sure[scan->slot_of_code[c]];
    }
    *out = (struct scan_time_span){
        .begin = since(span->begin_ms, scan->journeys.base_ms),
        .end = since(span->end_ms, scan->journeys.base_ms),
        .is_whole = span->is_whole,
        .mask_of_code = mask_of_code,
    };
    return ERR_OK;
}

/* Whether each row has a code in the field that is asked of journeys. Columns of a source are alike from block to block. */
static enum err_code is_field_looked_up(struct scan *scan, bool *ret, struct err *err)
{
    struct vec vec = {0};
    *ret = true;
    if (scan->spec->journeys_field != NULL) {
        ERR_TRY(scan_vec(scan, scan->spec->journeys_field, &vec, err));
        *ret = scan_vec_is_looked_up(&vec);
    }
    scan->no_journeys = !*ret;
    return ERR_OK;
}

/* *ret_found false where the source does not keep journeys. Spans that have the whole block are one. */
static enum err_code take_journeys(struct scan *scan, struct candidates *cand, bool *ret_found,
                                   struct err *err)
{
    struct scan_time_span *spans = NULL;
    uint32_t count = 0;
    uint32_t begin = 0;
    uint32_t end = 0;
    ERR_TRY(is_field_looked_up(scan, ret_found, err));
    if (!*ret_found) {
        return ERR_OK;
    }
    ERR_TRY(source_block_journeys(scan->source, &scan->read, scan->block_now, &scan->journeys,
                                  ret_found, err));
    if (!*ret_found) {
        return ERR_OK;
    }
    block_range(scan, &begin, &end);
    struct scan_span whole = {.is_whole = true};
    ERR_TRY(ARENA_NEW(scan->scratch, (size_t)scan->span_count + 1, &spans, err));
    ERR_TRY(ARENA_NEW(scan->scratch, (size_t)scan->slot_count + 1, &whole.sure, err));
    bool has_whole = false;
    for (uint32_t s = 0; s < scan->span_count; s++) {
        const struct scan_span *span = &scan->spans[s];
        has_whole |= span->is_active && span->is_whole;
        for (uint32_t i = 0; span->is_active && span->is_whole && i <= scan->slot_count; i++) {
            whole.sure[i] |= span->sure[i];
        }
        if (span->is_active && !span->is_whole) {
            ERR_TRY(journey_span(scan, span, &spans[count++], err));
        }
    }
    if (has_whole) {
        ERR_TRY(journey_span(scan, &whole, &spans[count++], err));
    }
    *cand = (struct candidates){.count = end,
                                .journeys = &scan->journeys,
                                .first = begin,
                                .spans = spans,
                                .span_count = count};
    return ERR_OK;
}

/* ---- candidates of few events: streams of rows, merged ---- */

/* The rows of the stream whose subjects are wanted. */
static enum err_code stream_keep(struct scan *scan, const uint64_t *words,
                                 struct event_rows *stream, struct err *err)
{
    const struct scan_keep *keep = scan->spec->keep;
    void *memory = NULL;
    uint32_t count = 0;
    ERR_TRY(scan_raw(scan, stream->count, sizeof(uint16_t), &memory, err));
    uint16_t *kept = memory; /* places in the stream */
    for (uint32_t i = 0; i < stream->count; i++) {
        kept[count] = (uint16_t)i;
        count += is_subject_kept(keep, words, stream->subjects[i]);
    }
    ERR_TRY(scan_raw(scan, count, sizeof(int64_t), &memory, err));
    int64_t *times = memory;
    ERR_TRY(scan_raw(scan, count, sizeof(uint32_t), &memory, err));
    uint32_t *subjects = memory;
    ERR_TRY(scan_raw(scan, count, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    gather_times(stream->times, kept, count, times);
    gather_subjects(stream->subjects, kept, count, subjects);
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = stream->rows[kept[i]];
    }
    *stream =
        (struct event_rows){.count = count, .rows = rows, .times = times, .subjects = subjects};
    return ERR_OK;
}

/* The rows of the slot's event with their times and subjects, within the subject range and of wanted subjects; *ret_found
 * false where the source does not keep them so. */
static enum err_code stream_of(struct scan *scan, uint32_t slot, struct event_rows *ret,
                               bool *ret_found, struct err *err)
{
    struct event_rows all = {0};
    uint32_t block_begin = scan->block_now * BLOCK_ROWS;
    ERR_TRY(source_event_rows(scan->source, &scan->read, scan->slots[slot - 1].code,
                              scan->block_now, &all, ret_found, err));
    while (all.count > 0 && block_begin + all.rows[0] < scan->row_begin) {
        all.count--;
        all.rows++;
        all.times++;
        all.subjects++;
    }
    while (all.count > 0 && block_begin + all.rows[all.count - 1] >= scan->row_end) {
        all.count--;
    }
    *ret = all;
    const uint64_t *keep = scan->slots[slot - 1].keep;
    return keep == NULL || all.count == 0 ? ERR_OK : stream_keep(scan, keep, ret, err);
}

/* Each row of the block at its own place: a bit, and the slot it is of. */
struct spread {
    uint64_t bits[BLOCK_ROWS / 64];
    uint16_t slots[BLOCK_ROWS];
};

static void spread_add(struct spread *spread, const struct event_rows *stream, uint16_t slot)
{
    for (uint32_t i = 0; i < stream->count; i++) {
        uint32_t row = stream->rows[i];
        spread->bits[row / 64] |= UINT64_C(1) << (row % 64);
        spread->slots[row] = slot;
    }
}

/* Merge by spreading the rows over the block and reading them off in order, whatever the number of streams. Within a stream
 * rows ascend: the next one of its slot is at its cursor. */
static enum err_code streams_merge(struct scan *scan, const struct event_rows *streams,
                                   const bool *is_wanted, uint32_t total, struct candidates *cand,
                                   struct err *err)
{
    void *memory = NULL;
    uint32_t *cursors = NULL;
    ERR_TRY(scan_raw(scan, 1, sizeof(struct spread), &memory, err));
    struct spread *spread = memory;
    memset(spread->bits, 0, sizeof(spread->bits));
    ERR_TRY(ARENA_NEW(scan->scratch, (size_t)scan->slot_count + 1, &cursors, err));
    for (uint32_t s = 1; s <= scan->slot_count; s++) {
        if (is_wanted[s]) {
            spread_add(spread, &streams[s], (uint16_t)s);
        }
    }
    ERR_TRY(scan_raw(scan, total, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    ERR_TRY(scan_raw(scan, total, sizeof(uint16_t), &memory, err));
    uint16_t *slots = memory;
    ERR_TRY(scan_raw(scan, total, sizeof(int64_t), &memory, err));
    int64_t *times = memory;
    ERR_TRY(scan_raw(scan, total, sizeof(uint32_t), &memory, err));
    uint32_t *subjects = memory;
    uint32_t count = 0;
    for (uint32_t w = 0; w < BLOCK_ROWS / 64; w++) {
        for (uint64_t bits = spread->bits[w]; bits != 0; bits &= bits - 1) {
            uint32_t row = w * 64 + (uint32_t)__builtin_ctzll(bits);
            uint16_t slot = spread->slots[row];
            uint32_t at = cursors[slot]++;
            rows[count] = (uint16_t)row;
            slots[count] = slot;
            times[count] = streams[slot].times[at];
            subjects[count++] = streams[slot].subjects[at];
        }
    }
    ASSERT(count == total); /* a row is of one event */
    *cand = (struct candidates){
        .count = count, .rows = rows, .slots = slots, .times = times, .subjects = subjects};
    return ERR_OK;
}

/* *ret_found false where some event's rows are not kept with their times. */
static enum err_code take_streams(struct scan *scan, const bool *is_wanted, uint32_t wanted_count,
                                  struct candidates *cand, bool *ret_found, struct err *err)
{
    struct event_rows *streams = NULL;
    uint32_t total = 0;
    uint32_t last = 0;
    *ret_found = true;
    ERR_TRY(ARENA_NEW(scan->scratch, (size_t)scan->slot_count + 1, &streams, err));
    for (uint32_t s = 1; s <= scan->slot_count && *ret_found; s++) {
        if (is_wanted[s]) {
            ERR_TRY(stream_of(scan, s, &streams[s], ret_found, err));
            total += streams[s].count;
            last = s;
        }
    }
    if (!*ret_found) {
        return ERR_OK;
    }
    if (wanted_count == 1) {
        *cand = (struct candidates){
            .count = total,
            .rows = streams[last].rows,
            .slot = (uint16_t)last,
            .times = streams[last].times,
            .subjects = streams[last].subjects,
        };
        return ERR_OK;
    }
    return streams_merge(scan, streams, is_wanted, total, cand, err);
}

/* What the active alternatives ask for. */
struct wanted {
    bool with_others; /* any event */
    uint32_t count;   /* of named ones */
    uint16_t slot;    /* one of these */
    bool *is_wanted;  /* by slot */
    uint32_t rows;    /* of named events, in the block */
};

static enum err_code find_wanted(struct scan *scan, struct wanted *ret, struct err *err)
{
    ERR_TRY(ARENA_NEW(scan->scratch, (size_t)scan->slot_count + 1, &ret->is_wanted, err));
    for (uint32_t i = 0; i < scan->alt_count; i++) {
        const struct scan_alt *alt = &scan->alts[i];
        if (!alt->is_active) {
            continue;
        }
        if (alt->slot == SLOT_ANY) {
            ret->with_others = true;
        } else if (!ret->is_wanted[alt->slot]) {
            uint32_t rows = 0;
            ERR_TRY(value_count(scan, COL_EVENT_NAME, scan->slots[alt->slot - 1].code, &rows, err));
            ret->is_wanted[alt->slot] = true;
            ret->slot = alt->slot;
            ret->count++;
            ret->rows += rows;
        }
    }
    return ERR_OK;
}

/* The rows of the wanted events, without their slots where there is more than one. */
static enum err_code mark_wanted(struct scan *scan, const struct wanted *wanted, uint64_t *words,
                                 struct err *err)
{
    for (uint32_t s = 1; s <= scan->slot_count; s++) {
        if (wanted->is_wanted[s]) {
            ERR_TRY(mark_value(scan, COL_EVENT_NAME, scan->slots[s - 1].code, words, err));
        }
    }
    return ERR_OK;
}

/* Terms that leave less than half of the block are worth looking up by their rows; *ret_terms has a bit for each. */
static enum err_code useful_terms(struct scan *scan, uint32_t *ret_terms, struct err *err)
{
    uint32_t block_rows = source_block_rows(scan->source, scan->block_now);
    *ret_terms = 0;
    for (uint32_t t = 0; t < scan->term_count; t++) {
        uint32_t total = 0;
        for (uint32_t i = 0; i < scan->terms[t].code_count; i++) {
            uint32_t rows = 0;
            ERR_TRY(value_count(scan, scan->terms[t].col, scan->terms[t].codes[i], &rows, err));
            total += rows;
        }
        *ret_terms |= total < block_rows / 2 ? 1u << t : 0;
    }
    return ERR_OK;
}

/* Set the bits [begin, end). */
static void mark_range(uint64_t *words, uint32_t begin, uint32_t end)
{
    for (uint32_t row = begin; row < end;) {
        uint32_t stop = MIN_OF(end, (row | 63) + 1);
        uint64_t ones = stop - row == 64 ? UINT64_MAX : (UINT64_C(1) << (stop - row)) - 1;
        words[row / 64] |= ones << (row % 64);
        row = stop;
    }
}

/* Whether some range of the spec has rows of the block; scan->range is the first that can. */
static bool has_ranges(struct scan *scan)
{
    uint32_t begin = scan->block_now * BLOCK_ROWS;
    const struct scan_spec *spec = scan->spec;
    while (scan->range < spec->range_count && spec->ranges[scan->range].end <= begin) {
        scan->range++;
    }
    return scan->range < spec->range_count && spec->ranges[scan->range].begin < begin + BLOCK_ROWS;
}

static void mark_ranges(const struct scan *scan, uint64_t *words)
{
    uint32_t begin = scan->block_now * BLOCK_ROWS;
    uint32_t end = begin + source_block_rows(scan->source, scan->block_now);
    for (uint32_t r = scan->range; r < scan->spec->range_count; r++) {
        struct scan_range range = scan->spec->ranges[r];
        if (range.begin >= end) {
            return;
        }
        mark_range(words, MAX_OF(range.begin, begin) - begin, MIN_OF(range.end, end) - begin);
    }
}

/* How many rows of the block lie within the ranges. */
static uint32_t count_ranges(const struct scan *scan)
{
    uint32_t begin = scan->block_now * BLOCK_ROWS;
    uint32_t end = begin + source_block_rows(scan->source, scan->block_now);
    uint32_t count = 0;
    for (uint32_t r = scan->range; r < scan->spec->range_count; r++) {
        struct scan_range range = scan->spec->ranges[r];
        if (range.begin >= end) {
            break;
        }
        count += MIN_OF(range.end, end) - MAX_OF(range.begin, begin);
    }
    return count;
}

/* The rows of the ranges, `most` of them, whose event is wanted. */
static enum err_code take_ranges(struct scan *scan, const bool *is_wanted, uint32_t most,
                                 struct candidates *cand, struct err *err)
{
    struct vec names = {0};
    void *memory = NULL;
    uint32_t block_begin = scan->block_now * BLOCK_ROWS;
    uint32_t block_end = block_begin + source_block_rows(scan->source, scan->block_now);
    uint32_t count = 0;
    ERR_TRY(scan_col(scan, COL_EVENT_NAME, &names, err));
    ASSERT(names.kind == VEC_CODE && names.present == NULL);
    ERR_TRY(slot_codes(scan, names.dict, err));
    /* one more than there are: each is written before it is known whether it is wanted */
    ERR_TRY(scan_raw(scan, (size_t)most + 1, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    ERR_TRY(scan_raw(scan, (size_t)most + 1, sizeof(uint16_t), &memory, err));
    uint16_t *slots = memory;
    for (uint32_t r = scan->range; r < scan->spec->range_count; r++) {
        struct scan_range range = scan->spec->ranges[r];
        if (range.begin >= block_end) {
            break;
        }
        uint32_t end = MIN_OF(range.end, block_end) - block_begin;
        for (uint32_t row = MAX_OF(range.begin, block_begin) - block_begin; row < end; row++) {
            uint16_t slot = scan->slot_of_code[names.u32[row]];
            rows[count] = (uint16_t)row;
            slots[count] = slot;
            count += is_wanted[slot];
        }
    }
    *cand = (struct candidates){.count = count, .rows = rows, .slots = slots};
    return ERR_OK;
}

/* Candidates by one bit a row: of the wanted events, and of every term in `terms`, and within the ranges. */
static enum err_code take_by_bits(struct scan *scan, const struct wanted *wanted, uint32_t terms,
                                  struct candidates *cand, struct err *err)
{
    uint64_t *words = NULL;
    uint64_t *more = NULL;
    bool is_any = wanted->with_others;
    ERR_TRY(ARENA_NEW(scan->scratch, BLOCK_WORDS, &words, err));
    ERR_TRY(ARENA_NEW(scan->scratch, BLOCK_WORDS, &more, err));
    if (!is_any) {
        ERR_TRY(mark_wanted(scan, wanted, words, err));
    }
    if (scan->spec->ranges != NULL) {
        mark_ranges(scan, is_any ? words : more);
        for (uint32_t w = 0; !is_any && w < BLOCK_WORDS; w++) {
            words[w] &= more[w];
        }
        is_any = false;
    }
    for (; terms != 0; terms &= terms - 1) {
        const struct scan_term *term = &scan->terms[__builtin_ctz(terms)];
        if (is_any) { /* the first: nothing to narrow yet */
            ERR_TRY(mark_term(scan, term, words, err));
            is_any = false;
            continue;
        }
        memset(more, 0, BLOCK_WORDS * sizeof(*more));
        ERR_TRY(mark_term(scan, term, more, err));
        for (uint32_t w = 0; w < BLOCK_WORDS; w++) {
            words[w] &= more[w];
        }
    }
    return take_marked(scan, words, cand, err);
}

/* The reference path: slots from the names themselves. */
static enum err_code take_names(struct scan *scan, struct candidates *cand, struct err *err)
{
    struct vec names = {0};
    void *memory = NULL;
    ERR_TRY(take_all_rows(scan, cand, err));
    ERR_TRY(scan_col(scan, COL_EVENT_NAME, &names, err));
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint32_t), &memory, err));
    uint32_t *places = memory;
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint16_t), &memory, err));
    uint16_t *slots = memory;
    vec_places(&names, cand->rows, cand->count, places);
    for (uint32_t i = 0; i < cand->count; i++) {
        slots[i] = SLOT_OTHER;
        for (uint32_t s = 0; s < scan->slot_count; s++) {
            if (str_eq(vec_str(&names, places[i]), scan->slots[s].event)) {
                slots[i] = (uint16_t)(s + 1);
            }
        }
    }
    cand->slots = slots;
    return ERR_OK;
}

/* How the candidates of a block are found. */
struct choice {
    struct wanted wanted;
    uint32_t terms;      /* that are looked up by their rows */
    uint32_t range_rows; /* of named events, with ranges: rows that these have; else UINT32_MAX */
    enum scan_path path;
};

/* The path where streams are not wanted, or not kept. */
static enum scan_path path_of_names(const struct wanted *wanted, uint32_t block_rows)
{
    if (wanted->count == 1) {
        return SCAN_ONE_EVENT;
    }
    return wanted->rows > block_rows / MANY_PARTS ? SCAN_CODES : SCAN_FEW_ROWS;
}

/* Not `is_foreseen`: terms are looked up, for which their columns may have to be read. */
static enum err_code choose(struct scan *scan, bool is_foreseen, struct choice *ret,
                            struct err *err)
{
    const struct wanted *wanted = &ret->wanted;
    uint32_t block_rows = source_block_rows(scan->source, scan->block_now);
    bool has_bounds = scan->spec->ranges != NULL;
    *ret = (struct choice){.path = SCAN_PATHS, .range_rows = UINT32_MAX};
    ERR_TRY(find_wanted(scan, &ret->wanted, err));
    if ((!wanted->with_others && wanted->rows == 0) || (has_bounds && !has_ranges(scan))) {
        return ERR_OK;
    }
    if (scan->term_count > 0 && !has_bounds && !is_foreseen &&
        (wanted->with_others || wanted->rows > block_rows / MANY_PARTS)) {
        ERR_TRY(useful_terms(scan, &ret->terms, err));
    }
    if (ret->terms != 0) {
        ret->path = SCAN_TERMS;
    } else if (has_bounds) {
        ret->path = SCAN_RANGES;
        ret->range_rows = wanted->with_others ? UINT32_MAX : count_ranges(scan);
    } else if (wanted->with_others) {
        ret->path = SCAN_ALL_ROWS;
    } else if (wanted->rows <= block_rows / STREAM_PARTS && scan->source->ops->event_rows != NULL) {
        ret->path = SCAN_STREAMS;
    } else {
        ret->path = path_of_names(wanted, block_rows);
    }
    return ERR_OK;
}

enum err_code scan_choose_path(struct scan *scan, enum scan_path *ret_path, uint32_t *ret_rows,
                               struct err *err)
{
    struct choice choice;
    uint32_t block_rows = source_block_rows(scan->source, scan->block_now);
    if (scan->spec->no_index) {
        *ret_path = SCAN_REFERENCE;
        *ret_rows = block_rows;
        return ERR_OK;
    }
    ERR_TRY(choose(scan, false, &choice, err));
    *ret_path = choice.path;
    *ret_rows = choice.wanted.with_others ? block_rows : choice.wanted.rows;
    return ERR_OK;
}

/* How many rows of wanted events the subject range has in the block. */
static enum err_code count_wanted(struct scan *scan, const struct wanted *wanted,
                                  const struct candidates *cand, uint64_t *ret, struct err *err)
{
    const struct dict *dict = NULL;
    *ret = wanted->rows;
    if (cand->first == 0 && cand->count == source_block_rows(scan->source, scan->block_now)) {
        return ERR_OK;
    }
    ERR_TRY(source_dict(scan->source, &scan->read, COL_EVENT_NAME, &dict, err));
    ERR_TRY(slot_codes(scan, dict, err));
    *ret = 0;
    for (uint32_t row = cand->first; row < cand->count; row++) {
        *ret += wanted->is_wanted[scan->slot_of_code[cand->journeys->codes[row]]];
    }
    return ERR_OK;
}

static enum err_code take_codes(struct scan *scan, const struct wanted *wanted,
                                struct candidates *cand, struct err *err)
{
    bool is_found = false;
    uint64_t rows = 0;
    if (scan_may_be_journeys(scan)) {
        ERR_TRY(take_journeys(scan, cand, &is_found, err));
    }
    if (!is_found) {
        return take_wanted(scan, wanted->is_wanted, cand, err);
    }
    scan->path = SCAN_JOURNEYS;
    ERR_TRY(count_wanted(scan, wanted, cand, &rows, err));
    scan->counters.rows_read += rows;
    return ERR_OK;
}

/* Looking ahead counts for nothing, and moves nothing on. */
enum err_code scan_foresee_path(struct scan *scan, uint32_t block, enum scan_path *ret,
                                struct err *err)
{
    uint64_t bytes_read = scan->read.bytes_read;
    uint64_t blocks_read = scan->read.blocks_read;
    uint32_t block_now = scan->block_now;
    uint32_t range = scan->range;
    struct choice choice;
    scan->block_now = block;
    enum err_code code = choose(scan, true, &choice, err);
    scan->block_now = block_now;
    scan->range = range;
    scan->read.bytes_read = bytes_read;
    scan->read.blocks_read = blocks_read;
    *ret = choice.path;
    return code;
}

/* *ret_terms: the terms that the candidates meet already. */
static enum err_code take_candidates(struct scan *scan, struct candidates *cand,
                                     uint32_t *ret_terms, struct err *err)
{
    struct choice choice;
    const struct wanted *wanted = &choice.wanted;
    uint32_t block_rows = source_block_rows(scan->source, scan->block_now);
    ERR_TRY(choose(scan, false, &choice, err));
    *ret_terms = choice.terms;
    if (choice.path == SCAN_STREAMS) {
        bool is_found = false;
        ERR_TRY(take_streams(scan, wanted->is_wanted, wanted->count, cand, &is_found, err));
        choice.path = is_found ? SCAN_STREAMS : path_of_names(wanted, block_rows);
    }
    scan->path = choice.path;
    bool is_one = !wanted->with_others && wanted->count == 1;
    switch (choice.path) {
    case SCAN_PATHS:
    case SCAN_JOURNEYS:
    case SCAN_REFERENCE:
    case SCAN_STREAMS: return ERR_OK;
    case SCAN_ONE_EVENT:
        cand->slot = wanted->slot;
        return value_rows(scan, COL_EVENT_NAME, scan->slots[wanted->slot - 1].code, &cand->rows,
                          &cand->count, err);
    case SCAN_CODES: return take_codes(scan, wanted, cand, err);
    case SCAN_ALL_ROWS:
        cand->slot = SLOT_OTHER;
        ERR_TRY(take_all_rows(scan, cand, err));
        break;
    case SCAN_RANGES:
        if (choice.range_rows < wanted->rows) {
            return take_ranges(scan, wanted->is_wanted, choice.range_rows, cand, err);
        }
        cand->slot = is_one ? wanted->slot : SLOT_OTHER;
        ERR_TRY(take_by_bits(scan, wanted, choice.terms, cand, err));
        break;
    case SCAN_TERMS:
    case SCAN_FEW_ROWS:
        cand->slot = is_one ? wanted->slot : SLOT_OTHER;
        ERR_TRY(take_by_bits(scan, wanted, choice.terms, cand, err));
        break;
    }
    bool needs_slots = !is_one && wanted->count > 0;
    return needs_slots ? take_slots(scan, cand, err) : ERR_OK;
}

/* ---- filters ---- */

/* Keep the rows with keep[i] != 0. */
static enum err_code keep_rows(struct scan *scan, struct candidates *cand, const uint8_t *keep,
                               struct err *err)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cand->count; i++) {
        count += keep[i] != 0;
    }
    if (count == cand->count) {
        return ERR_OK;
    }
    void *memory = NULL;
    /* one more than are kept: the loop below writes each before it knows */
    ERR_TRY(scan_raw(scan, (size_t)count + 1, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    ERR_TRY(scan_raw(scan, (size_t)count + 1, sizeof(int64_t), &memory, err));
    int64_t *times = memory;
    ERR_TRY(scan_raw(scan, (size_t)count + 1, sizeof(uint64_t), &memory, err));
    uint64_t *masks = memory;
    uint16_t *slots = NULL;
    uint32_t *subjects = NULL;
    if (cand->slots != NULL) {
        ERR_TRY(scan_raw(scan, (size_t)count + 1, sizeof(uint16_t), &memory, err));
        slots = memory;
    }
    if (cand->subjects != NULL) {
        ERR_TRY(scan_raw(scan, (size_t)count + 1, sizeof(uint32_t), &memory, err));
        subjects = memory;
    }
    for (uint32_t i = 0, k = 0; i < cand->count; i++) {
        rows[k] = cand->rows[i];
        times[k] = cand->times[i];
        masks[k] = cand->masks[i];
        if (subjects != NULL) {
            subjects[k] = cand->subjects[i];
        }
        if (slots != NULL) {
            slots[k] = cand->slots[i];
        }
        k += keep[i] != 0;
    }
    *cand = (struct candidates){.count = count,
                                .rows = rows,
                                .slots = slots,
                                .slot = cand->slot,
                                .times = times,
                                .subjects = subjects,
                                .masks = masks};
    return ERR_OK;
}

static enum err_code take_times(struct scan *scan, struct candidates *cand, struct err *err)
{
    struct vec times = {0};
    void *memory = NULL;
    if (cand->times != NULL) {
        return ERR_OK;
    }
    ERR_TRY(scan_col(scan, COL_EVENT_TIME, &times, err));
    ASSERT(times.kind == VEC_I64 && times.present == NULL);
    if (cand->count == times.rows) { /* ascending and as many as there are: all of them */
        cand->times = times.i64;
        return ERR_OK;
    }
    ERR_TRY(scan_raw(scan, cand->count, sizeof(int64_t), &memory, err));
    int64_t *out = memory;
    gather_times(times.i64, cand->rows, cand->count, out);
    cand->times = out;
    return ERR_OK;
}

/* Bits of one span into masks and `maybe` (NULL where no alternative has a predicate). */
static void span_bits(const struct scan_span *span, const struct candidates *cand, uint64_t *maybe)
{
    uint64_t *masks = cand->masks;
    const uint16_t *slots = cand->slots;
    int64_t begin = span->begin_ms;
    int64_t end = span->end_ms;
    if (slots == NULL) {
        uint64_t sure = span->sure[cand->slot];
        if (span->is_whole) {
            for (uint32_t i = 0; i < cand->count; i++) {
                masks[i] |= sure;
            }
        } else {
            mark_times(cand->times, cand->count, begin, end, sure, masks);
        }
    } else if (span->is_whole) {
        for (uint32_t i = 0; i < cand->count; i++) {
            masks[i] |= span->sure[slots[i]];
        }
    } else {
        for (uint32_t i = 0; i < cand->count; i++) {
            bool is_in = (cand->times[i] >= begin) & (cand->times[i] < end);
            masks[i] |= is_in ? span->sure[slots[i]] : 0;
        }
    }
    for (uint32_t i = 0; maybe != NULL && i < cand->count; i++) {
        bool is_in = span->is_whole | ((cand->times[i] >= begin) & (cand->times[i] < end));
        maybe[i] |= is_in ? span->maybe[slots == NULL ? cand->slot : slots[i]] : 0;
    }
}

/* Whether the event alone says which bits a row has; then *ret_masks has them by slot. */
static enum err_code masks_of_slots(struct scan *scan, uint64_t **ret_masks, struct err *err)
{
    uint64_t *masks = NULL;
    *ret_masks = NULL;
    for (uint32_t s = 0; s < scan->span_count; s++) {
        if (scan->has_alt_pred || scan->spec->no_index ||
            (scan->spans[s].is_active && !scan->spans[s].is_whole)) {
            return ERR_OK;
        }
    }
    ERR_TRY(ARENA_NEW(scan->scratch, (size_t)scan->slot_count + 1, &masks, err));
    for (uint32_t s = 0; s < scan->span_count; s++) {
        for (uint32_t slot = 0; scan->spans[s].is_active && slot <= scan->slot_count; slot++) {
            masks[slot] |= scan->spans[s].sure[slot];
        }
    }
    *ret_masks = masks;
    return ERR_OK;
}

/* All rows have some bit: the candidates are rows of wanted events. */
static enum err_code masks_by_slots(struct scan *scan, const uint64_t *slot_masks,
                                    struct candidates *cand, struct err *err)
{
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint64_t), &memory, err));
    uint64_t *masks = memory;
    for (uint32_t i = 0; cand->slots == NULL && i < cand->count; i++) {
        masks[i] = slot_masks[cand->slot];
    }
    for (uint32_t i = 0; cand->slots != NULL && i < cand->count; i++) {
        masks[i] = slot_masks[cand->slots[i]];
    }
    cand->masks = masks;
    return ERR_OK;
}

/* Event and time: the bits that rows have for sure; rows that can have none leave. */
static enum err_code filter_spans(struct scan *scan, struct candidates *cand, struct err *err)
{
    void *memory = NULL;
    uint64_t *maybe = NULL;
    uint64_t *slot_masks = NULL;
    ERR_TRY(masks_of_slots(scan, &slot_masks, err));
    if (slot_masks != NULL) {
        return masks_by_slots(scan, slot_masks, cand, err);
    }
    ERR_TRY(arena_alloc(scan->scratch, cand->count * sizeof(uint64_t), &memory, err));
    cand->masks = memory;
    if (scan->has_alt_pred) {
        ERR_TRY(ARENA_NEW(scan->scratch, cand->count, &maybe, err));
    }
    for (uint32_t s = 0; s < scan->span_count; s++) {
        if (scan->spans[s].is_active) {
            span_bits(&scan->spans[s], cand, maybe);
        }
    }
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *keep = memory;
    for (uint32_t i = 0; i < cand->count; i++) {
        keep[i] = (cand->masks[i] | (maybe == NULL ? 0 : maybe[i])) != 0;
    }
    return keep_rows(scan, cand, keep, err);
}

/* keep &= pred. */
static enum err_code and_pred(struct scan *scan, const struct pred *pred,
                              const struct candidates *cand, uint8_t *keep, struct err *err)
{
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *holds = memory;
    ERR_TRY(pred_eval(&scan->env, pred, cand->rows, cand->count, holds, err));
    for (uint32_t i = 0; i < cand->count; i++) {
        keep[i] &= holds[i];
    }
    return ERR_OK;
}

static bool is_in_terms(const struct scan *scan, uint32_t terms, const struct pred *pred)
{
    for (; terms != 0; terms &= terms - 1) {
        if (scan->terms[__builtin_ctz(terms)].pred == pred) {
            return true;
        }
    }
    return false;
}

/* `where`, less the terms that the candidates meet already. */
static enum err_code filter_where(struct scan *scan, uint32_t terms, struct candidates *cand,
                                  struct err *err)
{
    const struct pred *where = scan->spec->query->where;
    if (where == NULL || cand->count == 0) {
        return ERR_OK;
    }
    bool is_and = where->kind == PRED_AND;
    uint32_t count = is_and ? where->kid_count : 1;
    for (uint32_t i = 0; i < count && cand->count > 0; i++) {
        const struct pred *pred = is_and ? where->kids[i] : where;
        void *memory = NULL;
        if (is_in_terms(scan, terms, pred)) {
            continue;
        }
        ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
        uint8_t *keep = memory;
        memset(keep, 1, cand->count);
        ERR_TRY(and_pred(scan, pred, cand, keep, err));
        ERR_TRY(keep_rows(scan, cand, keep, err));
    }
    return ERR_OK;
}

/* The predicate of one alternative, on the rows that are its own and not yet taken for its bit. */
static enum err_code filter_alt(struct scan *scan, const struct scan_alt *alt,
                                struct candidates *cand, struct err *err)
{
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *holds = memory;
    ERR_TRY(scan_raw(scan, (size_t)cand->count + 1, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    ERR_TRY(scan_raw(scan, (size_t)cand->count + 1, sizeof(uint32_t), &memory, err));
    uint32_t *idx = memory;
    uint32_t count = 0;
    for (uint32_t i = 0; i < cand->count; i++) {
        uint16_t slot = cand->slots == NULL ? cand->slot : cand->slots[i];
        bool is_its = (alt->slot == SLOT_ANY) | (alt->slot == slot);
        bool is_in =
            alt->is_whole | ((cand->times[i] >= alt->begin_ms) & (cand->times[i] < alt->end_ms));
        rows[count] = cand->rows[i];
        idx[count] = i;
        count += is_its & is_in & ((cand->masks[i] & alt->bit) == 0);
    }
    if (count == 0) {
        return ERR_OK;
    }
    ERR_TRY(pred_eval(&scan->env, alt->pred, rows, count, holds, err));
    for (uint32_t k = 0; k < count; k++) {
        cand->masks[idx[k]] |= holds[k] != 0 ? alt->bit : 0;
    }
    return ERR_OK;
}

static enum err_code filter_alts(struct scan *scan, struct candidates *cand, struct err *err)
{
    bool has_pred = false;
    for (uint32_t a = 0; a < scan->alt_count && cand->count > 0; a++) {
        if (scan->alts[a].is_active && scan->alts[a].pred != NULL) {
            has_pred = true;
            ERR_TRY(filter_alt(scan, &scan->alts[a], cand, err));
        }
    }
    if (!has_pred) {
        return ERR_OK;
    }
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *keep = memory;
    for (uint32_t i = 0; i < cand->count; i++) {
        keep[i] = cand->masks[i] != 0;
    }
    return keep_rows(scan, cand, keep, err);
}

static enum err_code take_subjects(struct scan *scan, const struct candidates *cand,
                                   const uint32_t **ret, struct err *err)
{
    struct vec subjects = {0};
    void *memory = NULL;
    if (cand->subjects != NULL) {
        *ret = cand->subjects;
        return ERR_OK;
    }
    ERR_TRY(scan_col(scan, COL_SUBJECT, &subjects, err));
    ASSERT(subjects.kind == VEC_U32 && subjects.present == NULL);
    if (cand->count == subjects.rows) {
        *ret = subjects.u32;
        return ERR_OK;
    }
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint32_t), &memory, err));
    uint32_t *out = memory;
    gather_subjects(subjects.u32, cand->rows, cand->count, out);
    *ret = out;
    return ERR_OK;
}

/* Deleted subjects leave; on the reference path also those outside the range. */
static enum err_code filter_subjects(struct scan *scan, struct candidates *cand, struct err *err)
{
    const struct scan_spec *spec = scan->spec;
    const uint32_t *subjects = NULL;
    void *memory = NULL;
    if (cand->count == 0 || (spec->deleted == NULL && !spec->no_index)) {
        return ERR_OK;
    }
    ERR_TRY(take_subjects(scan, cand, &subjects, err));
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *keep = memory;
    bool is_kept = true;
    for (uint32_t i = 0; i < cand->count; i++) {
        if (i == 0 || subjects[i] != subjects[i - 1]) {
            bool is_deleted =
                spec->deleted != NULL && roaring_bitmap_contains(spec->deleted, subjects[i]);
            bool is_in = !spec->no_index ||
                         (subjects[i] >= spec->subject_begin &&
                          (spec->subject_end == UINT32_MAX || subjects[i] < spec->subject_end));
            is_kept = is_in && !is_deleted;
        }
        keep[i] = is_kept;
    }
    return keep_rows(scan, cand, keep, err);
}

/* Rows of subjects of whom the event's are not wanted leave. Streams have left them out already. */
static enum err_code filter_keep(struct scan *scan, struct candidates *cand, struct err *err)
{
    const struct scan_keep *spec = scan->spec->keep;
    const uint32_t *subjects = NULL;
    void *memory = NULL;
    if (spec == NULL || cand->count == 0 || scan->path == SCAN_STREAMS) {
        return ERR_OK;
    }
    ERR_TRY(take_subjects(scan, cand, &subjects, err));
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *keep = memory;
    for (uint32_t i = 0; i < cand->count; i++) {
        uint16_t slot = cand->slots == NULL ? cand->slot : cand->slots[i];
        const uint64_t *words = slot == SLOT_OTHER ? NULL : scan->slots[slot - 1].keep;
        keep[i] = words == NULL || is_subject_kept(spec, words, subjects[i]);
    }
    return keep_rows(scan, cand, keep, err);
}

/* In a snapshot of the past: what came later leaves. */
static enum err_code filter_cut(struct scan *scan, struct candidates *cand, struct err *err)
{
    const struct row_cut *cut = scan->source->cut;
    struct vec arrivals = {0};
    void *memory = NULL;
    if (cut == NULL || cand->count == 0) {
        return ERR_OK;
    }
    ERR_TRY(scan_col(scan, COL_ARRIVAL, &arrivals, err));
    ASSERT(arrivals.kind == VEC_I64 && arrivals.present == NULL);
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *keep = memory;
    for (uint32_t i = 0; i < cand->count; i++) {
        keep[i] = row_cut_shows(cut, cand->times[i], arrivals.i64[cand->rows[i]]);
    }
    return keep_rows(scan, cand, keep, err);
}

/* ---- the whole ---- */

static void activate_spans(struct scan *scan)
{
    for (uint32_t s = 0; s < scan->span_count; s++) {
        scan->spans[s].is_active = false;
    }
    for (uint32_t a = 0; a < scan->alt_count; a++) {
        struct scan_span *span = plan_span_of(scan, &scan->alts[a]);
        span->is_active = scan->alts[a].is_active; /* of one time, of one mind */
        span->is_whole = scan->alts[a].is_whole;
    }
}

enum err_code scan_rows(struct scan *scan, struct scan_block *ret, struct err *err)
{
    struct candidates cand = {0};
    uint32_t terms = 0;
    *ret = (struct scan_block){.block = scan->block_now};
    activate_spans(scan);
    if (scan->spec->no_index) {
        scan->path = SCAN_REFERENCE;
        ERR_TRY(take_names(scan, &cand, err));
    } else {
        ERR_TRY(take_candidates(scan, &cand, &terms, err));
    }
    if (cand.count == 0) {
        scan->counters.blocks_pruned_index++;
        return ERR_OK;
    }
    scan->counters.blocks_scanned++;
    scan->counters.blocks_by[scan->path]++;
    if (cand.journeys != NULL) {
        ret->count = cand.count;
        ret->journeys = cand.journeys;
        ret->first = cand.first;
        ret->spans = cand.spans;
        ret->span_count = cand.span_count;
        return ERR_OK;
    }
    scan->counters.rows_read += cand.count;
    ERR_TRY(take_times(scan, &cand, err));
    ERR_TRY(filter_spans(scan, &cand, err));
    ERR_TRY(filter_keep(scan, &cand, err));
    ERR_TRY(filter_cut(scan, &cand, err));
    ERR_TRY(filter_where(scan, terms, &cand, err));
    ERR_TRY(filter_alts(scan, &cand, err));
    ERR_TRY(filter_subjects(scan, &cand, err));
    if (cand.count > 0 && !scan->spec->no_subjects) {
        ERR_TRY(take_subjects(scan, &cand, &ret->subjects, err));
    }
    ret->count = cand.count;
    ret->rows = cand.rows;
    ret->times = cand.times;
    ret->masks = cand.masks;
    return ERR_OK;
}
