/* query/segment_cond.h - what the binder and the verb agree on about tests of numbers. */
#pragma once

#include "query/bound.h"
#include "query/result.h"

/* Whether the test of a MEASURE holds for this number. */
bool cond_number_holds(const struct cond *cond, const struct cell *value);
/* Whether it holds for people without any event that it looks at: a count, or a sum, of nothing is 0; a mean, a
 * smallest or a largest of nothing is no number, and no comparison with it holds. */
bool cond_holds_for_nothing(const struct cond *cond);
