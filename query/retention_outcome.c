/* query/retention_outcome.c - a member of a cohort as bytes, and the members that were kept counted again.
 *
 *     outcome    varint slot of its cohort, varint group, and of each column that it counts in, ascending: varint (column - the
 *                one before)
 */
#include "query/retention_int.h"
#include "storage/base/buf.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"

#define LIVE_PARTS 4u

enum err_code retention_outcomes_plan_make(struct query_run_ctx *run, struct retention_plan *plan,
                                           struct err *err)
{
    const struct retention_spec *spec = &plan->spec;
    bool is_ever =
        spec->start == RETENTION_FIRST_EVER || spec->start == RETENTION_FIRST_EVER_UNFILTERED;
    const struct outcomes_ask ask = {
        .rows_from_ms = is_ever ? INT64_MIN : MIN_OF(spec->from_ms, spec->begins[0]),
        .from_ms = spec->from_ms,
        .to_ms = spec->to_ms,
        .has_firsts = plan->firsts.firsts != 0,
        .live_parts = LIVE_PARTS,
    };
    return spec->has_value ? ERR_OK : outcomes_plan_make(run, &ask, &plan->outcomes, err);
}

void retention_outcome_put(struct outcomes *outcomes, const struct retention_spec *spec,
                           uint32_t subject, uint32_t group, uint32_t slot, const uint64_t *row,
                           struct buf *scratch)
{
    uint32_t last = 0;
    buf_clear(scratch);
    buf_varint(scratch, slot);
    buf_varint(scratch, group);
    for (uint32_t c = 0; c < spec->column_count; c++) {
        if (row[1 + c] != 0) {
            buf_varint(scratch, c - last);
            last = c;
        }
    }
    if (scratch->is_bad) {
        outcomes_stop(outcomes);
        return;
    }
    outcomes_put(outcomes, subject, buf_as_str(scratch));
}

enum err_code retention_outcomes_count(struct outcomes *outcomes, const struct retention_plan *plan,
                                       struct retention_part *part, struct arena *arena,
                                       struct err *err)
{
    bool has_keys = plan->lane_keys != UINT32_MAX;
    uint32_t *groups = NULL;
    uint32_t subject = 0;
    struct str bytes = {0};
    if (!outcomes_are_kept(outcomes)) {
        return ERR_OK;
    }
    if (has_keys) {
        struct rd tail = rd_init(outcomes_tail(outcomes));
        ERR_TRY(groups_unpack_all(part->groups, &tail, arena, &groups, err));
    }
    while (outcomes_next(outcomes, &subject, &bytes)) {
        struct rd rd = rd_init(bytes);
        uint32_t slot = (uint32_t)rd_varint(&rd);
        uint32_t group = (uint32_t)rd_varint(&rd);
        uint32_t column = 0;
        uint64_t *row = NULL;
        ASSERT(slot < plan->spec.cohort_count);
        ERR_TRY(
            retention_row(part, &plan->spec, has_keys ? groups[group] : 0, slot, arena, &row, err));
        row[0]++;
        while (rd_left(&rd) > 0) {
            column += (uint32_t)rd_varint(&rd);
            row[1 + column]++;
        }
    }
    return ERR_OK;
}

void retention_outcomes_keep(struct outcomes *outcomes, const struct retention_plan *plan,
                             const struct retention_part *part)
{
    CLEANUP(buf_freep) struct buf tail = {0};
    if (plan->lane_keys != UINT32_MAX) {
        groups_pack_all(part->groups, &tail);
    }
    if (!tail.is_bad) {
        outcomes_keep(outcomes, buf_as_str(&tail));
    }
}
