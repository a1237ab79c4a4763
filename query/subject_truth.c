/* query/subject_truth.c - see subject_truth.h. */
#include "query/subject_truth.h"

#include "query/pred_eval.h"
#include "query/subject_bits.h"
#include "storage/base/size.h"

#include <string.h>

/* ---- whether ---- */

/* The one string property that a condition is about; NULL where it is about others, or several. */
static const struct field *only_field(const struct pred *pred)
{
    const struct field *field = NULL;
    if (pred->kind == PRED_IN_PEOPLE) {
        return NULL;
    }
    if (pred->kind >= PRED_EQ) {
        return pred->field.kind == FIELD_PROP && pred->field.type == COL_STRING ? &pred->field
                                                                                : NULL;
    }
    for (uint32_t i = 0; i < pred->kid_count; i++) {
        const struct field *kid = only_field(pred->kids[i]);
        if (kid == NULL || (field != NULL && field->col != kid->col)) {
            return NULL;
        }
        field = kid;
    }
    return field;
}

static uint32_t condition_count(const struct pred *where)
{
    return where == NULL ? 0 : where->kind == PRED_AND ? where->kid_count : 1;
}

static const struct pred *condition_at(const struct pred *where, uint32_t i)
{
    return where->kind == PRED_AND ? where->kids[i] : where;
}

bool truth_serves(const struct pred *where)
{
    for (uint32_t i = 0; i < condition_count(where); i++) {
        if (only_field(condition_at(where, i)) == NULL) {
            return false;
        }
    }
    return true;
}

enum err_code truth_init(struct subject_truth *truth, const struct field *key, struct arena *arena,
                         struct err *err)
{
    truth->condition_count = condition_count(truth->where);
    truth->base = truth->subject_begin / 64 * 64;
    truth->word_count = (truth->subject_end - truth->base + 63) / 64;
    truth->col_count = truth->condition_count + (key == NULL ? 0 : 1);
    ASSERT(truth->col_count > 0);
    ERR_TRY(ARENA_NEW(arena, truth->col_count, &truth->cols, err));
    for (uint32_t c = 0; c < truth->condition_count; c++) {
        truth->cols[c].number = only_field(condition_at(truth->where, c))->col;
    }
    if (key != NULL) {
        truth->cols[truth->condition_count].number = key->col;
    }
    return ERR_OK;
}

/* ---- what a source says ---- */

struct codes_block {
    const struct dict *dict;
    const uint32_t *codes;
    const uint64_t *present;
};

/* Every code of the dictionary as a row, and one more row without a value. */
static enum err_code codes_vec(void *ctx, const struct field *field, struct vec *ret,
                               struct err *err)
{
    (void)field;
    (void)err;
    const struct codes_block *block = ctx;
    *ret = (struct vec){
        .kind = VEC_CODE,
        .rows = block->dict->count + 1,
        .value_count = block->dict->count,
        .present = block->present,
        .u32 = block->codes,
        .dict = block->dict,
    };
    return ERR_OK;
}

/* Bit c: rows of code c meet the condition; bit dict->count: rows without a value do. */
static enum err_code codes_that_meet(const struct subject_truth *truth, const struct pred *pred,
                                     const struct dict *dict, uint64_t *ret, struct err *err)
{
    uint32_t codes[TRUTH_CODES_MAX];
    uint16_t rows[TRUTH_CODES_MAX];
    uint8_t meets[TRUTH_CODES_MAX];
    uint64_t present = (UINT64_C(1) << dict->count) - 1;
    struct codes_block block = {.dict = dict, .codes = codes, .present = &present};
    struct pred_env env = {
        .vec = codes_vec, .ctx = &block, .keep = truth->read->arena, .scratch = truth->read->arena};
    for (uint32_t c = 0; c <= dict->count; c++) {
        codes[c] = c;
        rows[c] = (uint16_t)c;
    }
    ERR_TRY(pred_eval(&env, pred, rows, dict->count + 1, meets, err));
    *ret = 0;
    for (uint32_t c = 0; c <= dict->count; c++) {
        *ret |= (uint64_t)(meets[c] != 0) << c;
    }
    return ERR_OK;
}

static bool has_several(uint64_t mask)
{
    return (mask & (mask - 1)) != 0;
}

/* The first place from `low` on whose subject is not before `subject`. */
static uint32_t first_listed(const struct subject_values *values, uint32_t low, uint32_t high,
                             uint32_t subject)
{
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        bool is_before = values->subjects[mid] < subject;
        low = is_before ? mid + 1 : low;
        high = is_before ? high : mid;
    }
    return low;
}

uint32_t truth_place(const struct subject_truth *truth, uint32_t subject)
{
    const struct subject_values *values = truth_values(truth);
    uint32_t word = (subject - values->base) / 64;
    if (values->word_count == 0) {
        return first_listed(values, truth->begin, truth->end, subject);
    }
    uint32_t low = values->places[word];
    uint32_t place = MIN_OF(low + (subject - values->subjects[low]), values->count - 1);
    while (values->subjects[place] > subject) { /* numbers are missing in between */
        place--;
    }
    return place;
}

uint32_t truth_places(const struct subject_truth *truth, const uint64_t *bits, uint32_t *ret)
{
    uint32_t count = 0;
    for (uint32_t w = 0; w < truth->word_count; w++) {
        for (uint64_t rest = bits[w]; rest != 0; rest &= rest - 1) {
            ret[count++] =
                truth_place(truth, truth->base + w * 64 + (uint32_t)__builtin_ctzll(rest));
        }
    }
    return count;
}

/* into |= words of the source, where they are the task's. */
static void add_words(const struct subject_truth *truth, const struct subject_values *values,
                      const uint64_t *words, uint64_t *into)
{
    uint32_t first = MAX_OF(truth->base, values->base) / 64;
    uint64_t end = MIN_OF((uint64_t)truth->base / 64 + truth->word_count,
                          (uint64_t)values->base / 64 + values->word_count);
    if (first < end) {
        bits_or(into + (first - truth->base / 64), words + (first - values->base / 64),
                end - first);
    }
}

static void add_bit(const struct subject_truth *truth, const struct subject_values *values,
                    uint32_t place, uint64_t *into)
{
    uint32_t bit = values->subjects[place] - truth->base;
    into[bit / 64] |= UINT64_C(1) << (bit % 64);
}

void truth_add_having(const struct subject_truth *truth, const struct truth_col *col, uint32_t code,
                      uint64_t *into)
{
    const struct subject_values *values = &col->values;
    if (values->word_count > 0) {
        add_words(truth, values, values->having + (size_t)code * values->word_count, into);
        return;
    }
    for (uint32_t i = truth->begin; i < truth->end; i++) {
        if ((values->masks[i] >> code & 1) != 0) {
            add_bit(truth, values, i, into);
        }
    }
}

void truth_add_several(const struct subject_truth *truth, const struct truth_col *col,
                       uint64_t *into)
{
    const struct subject_values *values = &col->values;
    if (values->word_count > 0) {
        add_words(truth, values, values->several, into);
        return;
    }
    for (uint32_t i = truth->begin; i < truth->end; i++) {
        if (has_several(values->masks[i])) {
            add_bit(truth, values, i, into);
        }
    }
}

enum truth truth_at(const struct subject_truth *truth, uint32_t place)
{
    uint32_t some = 0; /* conditions that some rows meet, and others do not */
    for (uint32_t c = 0; c < truth->condition_count; c++) {
        uint64_t mask = truth->cols[c].values.masks[place];
        if ((mask & truth->cols[c].codes) == 0) {
            return TRUTH_NO;
        }
        some += (mask & ~truth->cols[c].codes) != 0;
    }
    return some == 0 ? TRUTH_ALL : some == 1 ? TRUTH_SOME : TRUTH_ROWS;
}

/* Who has one of the codes. */
static void add_codes(const struct subject_truth *truth, const struct truth_col *col,
                      uint64_t codes, uint64_t *into)
{
    for (; codes != 0; codes &= codes - 1) {
        truth_add_having(truth, col, (uint32_t)__builtin_ctzll(codes), into);
    }
}

/* Bits of other tasks' subjects are let go. */
static void keep_own(const struct subject_truth *truth, uint64_t *words)
{
    uint32_t before = truth->subject_begin - truth->base;
    uint32_t behind = truth->subject_end % 64;
    if (truth->word_count > 0) {
        words[0] &= ~((UINT64_C(1) << before) - 1);
        words[truth->word_count - 1] &= behind == 0 ? UINT64_MAX : (UINT64_C(1) << behind) - 1;
    }
}

/* Some condition is met by several values: a subject may have several of them and no other. */
static bool has_alternatives(const struct subject_truth *truth)
{
    bool has = false;
    for (uint32_t c = 0; c < truth->condition_count; c++) {
        has = has || has_several(truth->cols[c].codes);
    }
    return has;
}

/* Of every condition some rows are met; where the subject has one value of each column, all are. */
static enum err_code sort_out(struct subject_truth *truth, struct err *err)
{
    struct arena *arena = truth->read->arena;
    size_t words = truth->word_count;
    uint64_t *some = NULL;
    uint64_t *several = NULL;
    ERR_TRY(ARENA_NEW(arena, words, &truth->all, err));
    ERR_TRY(ARENA_NEW(arena, words, &truth->open, err));
    ERR_TRY(ARENA_NEW(arena, words, &some, err));
    ERR_TRY(ARENA_NEW(arena, words, &several, err));
    if (truth->condition_count == 0) {
        const struct truth_col *key = truth_key_col(truth);
        add_codes(truth, key, UINT64_MAX >> (63 - key->values.dict->count), truth->all);
    }
    for (uint32_t c = 0; c < truth->condition_count; c++) {
        const struct truth_col *col = &truth->cols[c];
        add_codes(truth, col, col->codes, c == 0 ? truth->all : some);
        truth_add_several(truth, col, several);
        if (c > 0) {
            bits_and(truth->all, some, words);
            memset(some, 0, words * sizeof(*some));
        }
    }
    keep_own(truth, truth->all);
    bits_or_and(truth->open, truth->all, several, words);
    for (size_t w = 0; w < words && has_alternatives(truth); w++) {
        for (uint64_t rest = truth->open[w]; rest != 0; rest &= rest - 1) {
            uint32_t bit = (uint32_t)__builtin_ctzll(rest);
            uint32_t place = truth_place(truth, truth->base + (uint32_t)w * 64 + bit);
            if (truth_at(truth, place) == TRUTH_ALL) {
                truth->open[w] &= ~(UINT64_C(1) << bit);
            }
        }
    }
    bits_andnot(truth->all, truth->open, words);
    return ERR_OK;
}

enum err_code truth_of_source(struct subject_truth *truth, const struct source *source,
                              bool *ret_is_known, struct err *err)
{
    *ret_is_known = true;
    for (uint32_t c = 0; c < truth->col_count; c++) {
        struct truth_col *col = &truth->cols[c];
        ERR_TRY(source_subject_values(source, truth->read, col->number, &col->values, ret_is_known,
                                      err));
        if (!*ret_is_known) {
            return ERR_OK;
        }
        if (c < truth->condition_count) {
            ERR_TRY(codes_that_meet(truth, condition_at(truth->where, c), col->values.dict,
                                    &col->codes, err));
        }
    }
    const struct subject_values *values = truth_values(truth);
    truth->begin = first_listed(values, 0, values->count, truth->subject_begin);
    truth->end = first_listed(values, truth->begin, values->count, truth->subject_end);
    return sort_out(truth, err);
}

/* ---- by day ---- */

enum err_code truth_find_days(struct subject_truth *truth, const struct source *source,
                              bool *ret_is_found, struct err *err)
{
    *ret_is_found = true;
    for (uint32_t c = 0; c < truth->col_count && *ret_is_found; c++) {
        struct truth_col *col = &truth->cols[c];
        col->at = 0;
        ERR_TRY(source_subject_days(source, truth->read, col->number, &col->values, &col->days,
                                    ret_is_found, err));
    }
    return ERR_OK;
}

/* The place of a subject in `days`, looked for from the one that was asked before on: mostly it is the next one. */
static uint32_t days_place(const struct truth_col *col, uint32_t subject)
{
    const uint32_t *subjects = col->days.subjects;
    uint32_t count = col->days.count;
    uint32_t low = col->at < count && subjects[col->at] <= subject ? col->at : 0;
    uint32_t step = 1;
    while (low + step < count && subjects[low + step] <= subject) {
        low += step;
        step *= 2;
    }
    uint32_t high = MIN_OF(low + step, count);
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        bool is_before = subjects[mid] < subject;
        low = is_before ? mid + 1 : low;
        high = is_before ? high : mid;
    }
    return low;
}

struct truth_days truth_days_of(struct subject_truth *truth, uint32_t place)
{
    uint32_t subject = truth_subject(truth, place);
    struct truth_days ret = {0};
    for (uint32_t c = 0; c < truth->col_count; c++) {
        struct truth_col *col = &truth->cols[c];
        if (!has_several(col->values.masks[place])) {
            continue;
        }
        col->at = days_place(col, subject);
        if (ret.days == NULL) {
            uint32_t begin = col->at == 0 ? 0 : col->days.ends[col->at - 1];
            ret = (struct truth_days){col->days.ends[col->at] - begin, col->days.days + begin};
        }
    }
    ASSERT(ret.days != NULL); /* a subject with one value each needs none */
    return ret;
}

/* The column's values of the subject on the n-th of its days. */
static uint64_t mask_on(const struct truth_col *col, uint32_t place, uint32_t n)
{
    uint64_t mask = col->values.masks[place];
    if (!has_several(mask)) {
        return mask;
    }
    uint32_t begin = col->at == 0 ? 0 : col->days.ends[col->at - 1];
    return col->days.masks[begin + n];
}

enum truth truth_on_day(const struct subject_truth *truth, uint32_t place, uint32_t n)
{
    uint32_t some = 0; /* conditions that some of the day's rows meet, and others do not */
    for (uint32_t c = 0; c < truth->condition_count; c++) {
        uint64_t mask = mask_on(&truth->cols[c], place, n);
        if ((mask & truth->cols[c].codes) == 0) {
            return TRUTH_NO;
        }
        some += (mask & ~truth->cols[c].codes) != 0;
    }
    return some == 0 ? TRUTH_ALL : some == 1 ? TRUTH_SOME : TRUTH_ROWS;
}

uint64_t truth_keys_on_day(const struct subject_truth *truth, uint32_t place, uint32_t n)
{
    return mask_on(&truth->cols[truth->col_count - 1], place, n);
}

struct subject_members truth_turned(const struct subject_truth *truth, uint32_t n, uint32_t code)
{
    const struct subject_days *days = &truth->cols[0].days;
    uint32_t cell = n * (truth->cols[0].values.dict->count + 1) + code;
    uint32_t begin = cell == 0 ? 0 : days->turned_ends[cell - 1];
    return members_between(days->turned_subjects + begin, days->turned_ends[cell] - begin,
                           truth->subject_begin, truth->subject_end);
}
