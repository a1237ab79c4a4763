/* query/retention_value.c */
#include "query/retention_value.h"

#include "storage/base/size.h"

/* The number of a cell that a property's column gave; false where it has none. */
static bool cell_num(const struct cell *cell, struct num *ret)
{
    switch (cell->kind) {
    case CELL_I64: *ret = num_int(cell->i64); return true;
    case CELL_F64: return num_double(cell->f64, ret);
    case CELL_DECIMAL:
        if (!cell->decimal.is_decimal || cell->decimal.m > INT64_MAX ||
            cell->decimal.m < INT64_MIN) {
            return num_double(cell->decimal.approx, ret);
        }
        *ret = (struct num){.m = (int64_t)cell->decimal.m, .scale = cell->decimal.scale};
        return true;
    default: return false;
    }
}

/* The first event that is not before the member's period 0. */
static size_t first_event(const struct retention_spec *spec, const struct retention_member *member,
                          const struct journey *journey)
{
    size_t i = member->tie_begin;
    int64_t begin_ms = spec->rolling_ms > 0 ? journey->times[i] : spec->begins[member->slot];
    while (i > 0 && journey->times[i - 1] >= begin_ms) {
        i--;
    }
    return i;
}

/* The period of an event, counted from the member's; UINT64_MAX beyond the calendar. */
static uint64_t period_of(const struct retention_spec *spec, const struct retention_member *member,
                          int64_t start_ms, int64_t ts_ms)
{
    if (spec->rolling_ms > 0) {
        return ((uint64_t)ts_ms - (uint64_t)start_ms) / spec->rolling_ms;
    }
    if (ts_ms >= spec->begins[spec->slot_count]) {
        return UINT64_MAX;
    }
    return civil_bucket_idx(spec->begins, spec->slot_count, ts_ms) - member->slot;
}

static enum err_code add_one(const struct retention_spec *spec, uint64_t period, struct num num,
                             struct acc_pool *pool, union acc_cell *sums, struct err *err)
{
    if (spec->mode != RETENTION_BRACKET) {
        return acc_add_sum(pool, &sums[period], num.m, num.scale, err);
    }
    for (uint32_t b = 0; b < spec->column_count; b++) {
        if (period >= spec->brackets[b].first && period <= spec->brackets[b].last) {
            ERR_TRY(acc_add_sum(pool, &sums[b], num.m, num.scale, err));
        }
    }
    return ERR_OK;
}

/* Whether what the member spent in a period counts: ltv is of active subjects, a streak ends. */
static bool counts(const struct retention_spec *spec, const uint8_t *back, uint32_t streak,
                   uint64_t period)
{
    return (!spec->counts_start || back[period] != 0) &&
           (spec->mode != RETENTION_STREAK || period <= streak);
}

enum err_code retention_value_add(const struct retention_spec *spec,
                                  const struct retention_member *member,
                                  const struct journey *journey, const uint8_t *back,
                                  const struct groups *values, const uint32_t *numbers,
                                  struct acc_pool *pool, union acc_cell *sums, struct err *err)
{
    int64_t start_ms = journey->times[member->tie_begin];
    uint32_t streak =
        spec->mode == RETENTION_STREAK ? kernel_retention_streak(spec, member, back) : 0;

    for (size_t i = first_event(spec, member, journey); i < journey->count; i++) {
        struct num num = {0};
        if ((journey->masks[i] & RETENTION_VALUE) == 0) {
            continue;
        }
        uint64_t period = period_of(spec, member, start_ms, journey->times[i]);
        if (period >= spec->period_count) {
            if (spec->mode != RETENTION_UNBOUNDED || period == UINT64_MAX) {
                break;
            }
            period = spec->period_count - 1; /* "or later" of every period */
        }
        struct cell value = groups_cell(values, numbers[i], 0);
        if (counts(spec, back, streak, period) && cell_num(&value, &num)) {
            ERR_TRY(add_one(spec, period, num, pool, sums, err));
        }
    }
    return ERR_OK;
}

enum err_code retention_value_finish(const struct retention_spec *spec, struct acc_pool *pool,
                                     union acc_cell *sums, struct err *err)
{
    for (uint32_t n = 1; n < spec->column_count; n++) {
        if (spec->mode == RETENTION_UNTIL) {
            ERR_TRY(acc_merge(pool, ACC_SUM, &sums[n], &sums[n - 1], err));
        } else if (spec->mode == RETENTION_UNBOUNDED) {
            uint32_t back = spec->column_count - 1 - n;
            ERR_TRY(acc_merge(pool, ACC_SUM, &sums[back], &sums[back + 1], err));
        }
    }
    return ERR_OK;
}

struct expr_value retention_value_sum(union acc_cell sum)
{
    if (sum.sum == NULL || sum.sum->count == 0) {
        return expr_exact(0, 0);
    }
    return sum.sum->wide != NULL ? expr_of_total(num_sum_total(sum.sum->wide))
                                 : expr_exact(sum.sum->m, sum.sum->scale);
}

struct cell retention_value_mean(union acc_cell sum)
{
    struct expr_value total = retention_value_sum(sum);
    if (sum.sum == NULL || sum.sum->count == 0 || total.kind == VALUE_MISSING) {
        return (struct cell){.kind = CELL_NULL};
    }
    struct expr_value mean = expr_double(expr_to_double(&total) / (double)sum.sum->count);
    return expr_cell(&mean);
}
