/* query/subject_truth.h - what a source says of each of its subjects under `where`, without a look at rows.
 *
 * A source keeps, of a column of few values, which of them each subject has (source_subject_values), and of subjects that
 * have several, which on each day (source_subject_days). A condition about one such column is met by all rows of a subject,
 * by some, or by none; and of all conditions together:
 *
 *     all      every row of the subject in the source meets every condition
 *     some     the same but for one condition, which some row meets: then some row meets them all
 *     no       there is a condition that none of its rows meets
 *     rows     look at them
 *
 * and the same of one of its days. Exact, whatever the data. A key of a breakdown is a column like those of conditions, about
 * which nothing is asked: its values can be.
 *
 * Nearly all subjects have one value of each column, so they are told of by words of bits, 64 at a time. The others are asked
 * one by one, by their *place* in the source's list of subjects, the same for all columns.
 *
 * Thread: one task. Memory: the read_ctx's arena, and what it holds, until the next source.
 */
#pragma once

#include "query/bound.h"
#include "storage/read_held.h"

#define TRUTH_CODES_MAX (SUBJECT_VALUES_MAX + 1) /* and none */

enum truth { TRUTH_ALL, TRUTH_SOME, TRUTH_NO, TRUTH_ROWS };
#define TRUTHS 4u

/* What a source says of one column: of a condition, or of the key. */
struct truth_col {
    uint32_t number;
    struct subject_values values;
    uint64_t codes; /* that meet the condition */
    struct subject_days days;
    uint32_t at; /* in days.subjects */
};

struct subject_truth {
    const struct pred *where;
    struct read_ctx *read;
    uint32_t subject_begin, subject_end; /* of the task: others are left out */
    struct truth_col *cols;              /* one per condition, and the key's behind them */
    uint32_t col_count, condition_count;
    uint32_t base,
        word_count;      /* of the task's words: bit i is subject base + i, base a multiple of 64 */
    uint32_t begin, end; /* the task's subjects, as places in the source at hand */
    uint64_t *all;       /* subjects of which all rows meet every condition */
    uint64_t *open;      /* those of `some` and `rows` */
};

/* Whether each condition of `where` (NULL: there are none) is about one string property. */
bool truth_serves(const struct pred *where);
/* `key` NULL: none; a string property. At least one of the two is there. The struct's first four fields are the caller's. */
enum err_code truth_init(struct subject_truth *truth, const struct field *key, struct arena *arena,
                         struct err *err) ERR_MUST_CHECK;
/* Ask a source; *ret_is_known false where it keeps no values of a column. The one before is forgotten. */
enum err_code truth_of_source(struct subject_truth *truth, const struct source *source,
                              bool *ret_is_known, struct err *err) ERR_MUST_CHECK;
/* Of one subject. */
enum truth truth_at(const struct subject_truth *truth, uint32_t place);
/* The places of subjects of the source, given as bits of the task's; `ret` has room for all. Returns how many. */
uint32_t truth_places(const struct subject_truth *truth, const uint64_t *bits, uint32_t *ret);
uint32_t truth_place(const struct subject_truth *truth, uint32_t subject);
/* Who has a value of the column in the source: into |= them, as bits of the task's. */
void truth_add_having(const struct subject_truth *truth, const struct truth_col *col, uint32_t code,
                      uint64_t *into);
/* The same of who has several. */
void truth_add_several(const struct subject_truth *truth, const struct truth_col *col,
                       uint64_t *into);
static inline const struct subject_values *truth_values(const struct subject_truth *truth)
{
    return &truth->cols[0].values; /* of all columns the same subjects */
}
static inline uint32_t truth_subject(const struct subject_truth *truth, uint32_t place)
{
    return truth_values(truth)->subjects[place];
}
static inline const struct truth_col *truth_key_col(const struct subject_truth *truth)
{
    return &truth->cols[truth->col_count - 1];
}

/* ---- by day ---- */

/* Ask the source for days; *ret_is_found false where they are not kept. */
enum err_code truth_find_days(struct subject_truth *truth, const struct source *source,
                              bool *ret_is_found, struct err *err) ERR_MUST_CHECK;
/* Days of UTC (source_day), ascending, on which the subject has rows. */
struct truth_days {
    uint32_t count;
    const int32_t *days;
};
/* Of a subject that is neither ALL nor NO, or has several keys. Fastest where places ascend. */
struct truth_days truth_days_of(struct subject_truth *truth, uint32_t place);
/* Of its n-th day. */
enum truth truth_on_day(const struct subject_truth *truth, uint32_t place, uint32_t n);
/* Values of the key on it, as bits. */
uint64_t truth_keys_on_day(const struct subject_truth *truth, uint32_t place, uint32_t n);

/* Where only one column is asked, its days may be kept turned over: by day and value, who has it there, of those that have several
 * values in the source. The first condition's or the key's column is cols[0]. */
static inline uint32_t truth_turned_days(const struct subject_truth *truth)
{
    return truth->col_count == 1 ? truth->cols[0].days.turned_count : 0;
}
/* Of the task's subjects, on the n-th of these days. */
struct subject_members truth_turned(const struct subject_truth *truth, uint32_t n, uint32_t code);
