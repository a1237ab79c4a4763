/* query/kernel_funnel_any.h - funnels in any order: how many of the steps one attempt does.
 *
 * The steps fall into blocks that follow each other: a step that keeps its place is a block of its own, the steps
 * between two such are one, in any order among themselves. A block begins when the one before it is
 * complete. Without such steps there is one block, of all steps.
 *
 *     a! -> b -> c -> d! -> e         {a} {b c} {d} {e}
 *
 * Thread: pure functions; no allocation, no errors.
 */
#pragma once

#include "query/funnel_shown.h"

/* The attempts that start in the instant at `begin`, an index of the view that is the first of its instant:
 * *ret is the best of them, its i-th step as early as can be for every i; level 0 where no event of the instant
 * can be a first step, or where an exclusion erases the attempt. *ret_over_ms: when it ended by completion or by an
 * exclusion, or INT64_MAX. Cost: the events of the window, a matching of at most 64 steps for each. */
void kernel_funnel_any(const struct funnel_rules *rules, const struct funnel_view *view,
                       size_t begin, struct funnel_shown *ret, int64_t *ret_over_ms);

/* The steps that an attempt may begin with, as bits. */
uint64_t funnel_any_entries(const struct funnel_rules *rules);
