/* query/subject_truth.c - see subject_truth.h. */
#include "query/subject_truth.h"

#include "query/pred_eval.h"
#include "storage/base/cpu.h"

#define MET_NONE (UINT64_C(1) << 32)

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

/* The first place whose subject is not before `subject`. */
static uint32_t first_listed(const struct subject_values *values, uint32_t subject)
{
    uint32_t low = 0;
    uint32_t high = values->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        bool is_before = values->subjects[mid] < subject;
        low = is_before ? mid + 1 : low;
        high = is_before ? high : mid;
    }
    return low;
}

/* Narrow what is known of subjects by one condition. */
CPU_CLONES static void meet_condition(const uint64_t *restrict masks, uint32_t count,
                                      uint64_t codes, uint64_t *restrict met)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t some = (masks[i] & ~codes) != 0 ? 1 : 0;
        uint64_t none = (masks[i] & codes) == 0 ? MET_NONE : 0;
        met[i] += some | none;
    }
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
        if (c == 0) {
            truth->begin = first_listed(&col->values, truth->subject_begin);
            truth->end = first_listed(&col->values, truth->subject_end);
            ERR_TRY(ARENA_NEW(truth->read->arena, truth->end - truth->begin, &truth->met, err));
        }
        if (c < truth->condition_count) {
            ERR_TRY(codes_that_meet(truth, condition_at(truth->where, c), col->values.dict,
                                    &col->codes, err));
            meet_condition(col->values.masks + truth->begin, truth->end - truth->begin, col->codes,
                           truth->met);
        }
    }
    return ERR_OK;
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

void truth_days_again(struct subject_truth *truth)
{
    for (uint32_t c = 0; c < truth->col_count; c++) {
        truth->cols[c].at = 0;
    }
}

static bool has_several(uint64_t mask)
{
    return (mask & (mask - 1)) != 0;
}

struct truth_days truth_days_of(struct subject_truth *truth, uint32_t place)
{
    uint32_t subject = truth_subject(truth, place);
    struct truth_days ret = {0};
    for (uint32_t c = 0; c < truth->col_count; c++) {
        struct truth_col *col = &truth->cols[c];
        while (col->at < col->days.count && col->days.subjects[col->at] < subject) {
            col->at++;
        }
        if (ret.days == NULL && has_several(col->values.masks[place])) {
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
