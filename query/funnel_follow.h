/* query/funnel_follow.h - the one attempt of a view that stands for it.
 *
 * Which of all attempts that is, and whether exclusions leave any, is SEMANTICS section 1, points 3, 7 and 10. The
 * kernels answer for one rule each; here they are asked as often as it takes.
 *
 * Thread: one task.
 */
#pragma once

#include "query/funnel_shown.h"
#include "query/run.h"

struct funnel_follower {
    struct query_run_ctx *run; /* looked at once in a while, where the search is long */
    struct funnel_rules rules;
    struct funnel_rules undropped; /* the same, without what drops the subject */
    const struct funnel_spec *plain; /* of a plain funnel: its own kernel says how far it goes; else NULL */
    bool is_any;
    bool is_entry_first;
    enum funnel_show show;
    struct funnel_scratch scratch;
    uint32_t furthest; /* of the view looked at last: the level that attempts reach, dropped or not */
};

/* *ret->level 0: there is no attempt. */
enum err_code funnel_follow(struct funnel_follower *follower, const struct funnel_view *view,
                            struct funnel_entries entries, struct funnel_shown *ret,
                            struct err *err) ERR_MUST_CHECK;
/* The attempt of the first entry, and when it is over: after that the next one may start. *ret_over_ms is INT64_MAX
 * where no other can; *ret->level 0: there is no entry. */
enum err_code funnel_follow_first(struct funnel_follower *follower, const struct funnel_view *view,
                                  struct funnel_entries entries, struct funnel_shown *ret,
                                  int64_t *ret_over_ms, struct err *err) ERR_MUST_CHECK;
