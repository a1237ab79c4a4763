/* query/agg_pack.h - cells of accumulators as bytes, and added to other cells: for partial answers (trend_partial.c).
 *
 * Bytes are this process's own and never leave it; they are read where they lie, aligned to 16. */
#pragma once

#include "query/agg.h"
#include "storage/base/rd.h"

/* Whether the cell holds anything. */
bool acc_has_any(const struct acc_pool *pool, enum acc_kind kind, const union acc_cell *cell);
/* Append a cell that holds something. Its pool's first subject is a multiple of 64. */
void acc_pack(const struct acc_pool *pool, enum acc_kind kind, const union acc_cell *cell,
              struct buf *out);
/* Add what acc_pack appended to `into`. The subjects are all `pool`'s. */
enum err_code acc_unpack(struct acc_pool *pool, enum acc_kind kind, union acc_cell *into,
                         struct rd *rd, struct err *err) ERR_MUST_CHECK;
/* Add a cell of another pool of the same shard, of USERS too; its subjects are all `pool`'s. */
enum err_code acc_take(struct acc_pool *pool, enum acc_kind kind, union acc_cell *into,
                       const struct acc_pool *from_pool, const union acc_cell *from,
                       struct err *err) ERR_MUST_CHECK;
