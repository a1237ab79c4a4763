/* query/way.h - which way a question is answered, in words: for explain and profile.
 *
 * Thread: the calling thread's. */
#pragma once

#include "query/run.h"

/* By what the verb will work: "stored sets", "stored sets for 1 of 2 measures, rows for the others", "journeys, the plain
 * funnel". The arena of the run owns the text. */
enum err_code way_of(struct query_run_ctx *run, struct str *ret, struct err *err) ERR_MUST_CHECK;
