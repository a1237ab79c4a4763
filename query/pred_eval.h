/* query/pred_eval.h - a predicate's truth for many rows of one block at once.
 *
 * The evaluator walks the predicate tree once per block, not once per row. A leaf reads its column
 * and fills one byte per row; inner nodes combine these bytes. A comparison of strings is made once
 * for each dictionary entry that occurs, and remembered as long as the memo lives; numbers are
 * compared as mantissas where the literal can be brought to the column's scale, else exactly by
 * num_cmp.
 *
 * Logic is two-valued: every leaf but `is not set` is false where the value is missing, and `not`
 * turns that into true. A list meets a string comparison when some item meets it.
 *
 * Thread: one owner.
 */
#pragma once

#include "query/bound.h"

struct pred_memo;

/* Where values come from. `vec` gives the column of the current block; a field that the source does
 * not have is VEC_ABSENT. */
struct pred_env {
    enum err_code (*vec)(void *ctx, const struct field *field, struct vec *ret, struct err *err);
    void *ctx;
    uint32_t shard;          /* of the rows: whose they are is a number within it */
    struct arena *keep;      /* owns the memos: as long as the source's dictionaries */
    struct arena *scratch;   /* arrays of one evaluation; rewound by the caller */
    struct pred_memo *memos; /* NULL at first */
};

/* out[i] = 1 where rows[i] (of the current block, ascending) meets `pred`, else 0. */
enum err_code pred_eval(struct pred_env *env, const struct pred *pred, const uint16_t *rows,
                        uint32_t count, uint8_t *out, struct err *err) ERR_MUST_CHECK;

/* Both together; either may be NULL, which holds always. */
enum err_code pred_and(struct arena *arena, const struct pred *a, const struct pred *b,
                       const struct pred **ret, struct err *err) ERR_MUST_CHECK;

/* The column that a field is read from; UINT32_MAX for one that was never seen. */
uint32_t pred_field_col(const struct field *field);
