/* query/stickiness_int.h - the second half of stickiness: the named ratios. */
#pragma once

#include "query/run.h"

/* dau_mau by civil month, or of the last n days at the end of each day. */
enum err_code stickiness_ratio(struct query_run_ctx *run, struct result *result,
                               struct err *err) ERR_MUST_CHECK;
