/* query/segment_cond.h - what the binder and the verb agree on about tests of numbers. */
#pragma once

#include "query/bound.h"
#include "query/result.h"

/* Whether the test of a MEASURE or a FORMULA holds for this number; for null none does. */
bool cond_number_holds(const struct cond *cond, const struct cell *value);
/* What a MEASURE says of a subject without any event that it looks at: a count, or a sum, is 0; else null. */
struct cell cond_value_of_nothing(const struct cond *cond);
/* What a FORMULA says where its kids say these; null where they leave it none, as in a division by 0. */
struct cell cond_formula_value(const struct cond *cond, const struct cell *kids);
/* Whether it holds for people without any event that it looks at: a count, or a sum, of nothing is 0; a mean, a
 * smallest or a largest of nothing is no number, and no comparison with it holds. Of MEASURE and FORMULA. */
bool cond_holds_for_nothing(const struct cond *cond);
