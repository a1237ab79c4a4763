#include "query/result.h"

#include <math.h>

static const char *const TYPE_NAMES[] = {
    [RESULT_INT64] = "int64", [RESULT_NUMBER] = "number",  [RESULT_STRING] = "string",
    [RESULT_BOOL] = "bool",   [RESULT_TIME] = "timestamp", [RESULT_DATE] = "date",
    [RESULT_LIST] = "list",   [RESULT_ANY] = "any",
};

const char *result_type_name(enum result_type type)
{
    ASSERT((size_t)type < COUNT_OF(TYPE_NAMES));
    return TYPE_NAMES[type];
}

struct cell cell_of_total(struct num_total total)
{
    if (!total.is_decimal) {
        if (!isfinite(total.approx)) {
            return (struct cell){.kind = CELL_NULL}; /* past the largest double */
        }
        return (struct cell){.kind = CELL_F64, .f64 = total.approx};
    }
    if (total.scale == 0 && total.m >= INT64_MIN && total.m <= INT64_MAX) {
        return (struct cell){.kind = CELL_I64, .i64 = (int64_t)total.m};
    }
    return (struct cell){.kind = CELL_DECIMAL, .decimal = total};
}

struct cell cell_of_num(struct num n)
{
    struct num_total total = {
        .is_decimal = n.scale != NUM_DOUBLE,
        .m = n.scale != NUM_DOUBLE ? n.m : 0,
        .scale = n.scale != NUM_DOUBLE ? n.scale : 0,
        .approx = num_to_double(n),
    };
    return cell_of_total(total);
}

void result_free(struct result *result)
{
    if (result != NULL) {
        arena_free(result->arena); /* and the result with it */
    }
}
