/* query/kernel_retention.h - in which periods one subject starts, and in which it comes back.
 *
 * Time is cut into slots: slot s is [begins[s], begins[s + 1]), numbered so that the civil period
 * number of a return minus that of its start is the difference of their slots. A civil period that
 * never was (the day that Apia left out) is a slot without length. The first cohort_count slots can
 * be cohorts; returns are looked for in all slots.
 *
 * Thread: pure functions over the caller's scratch; no allocation, no errors.
 */
#pragma once

#include "query/bound.h"

/* Bits of a journey's masks: the event matches the start selector; the return selector; has a name of
 * the start selector, whatever its filters say. */
#define RETENTION_START  UINT64_C(1)
#define RETENTION_RETURN UINT64_C(2)
#define RETENTION_NAME   UINT64_C(4)
#define RETENTION_VALUE  UINT64_C(8) /* its value is summed up */

struct retention_spec {
    const int64_t *begins; /* slot_count + 1, ascending */
    uint32_t slot_count;
    uint32_t cohort_count; /* at least 1, at most slot_count */
    uint32_t period_count; /* periods 0 .. period_count - 1 */
    uint32_t column_count; /* counts of a cohort: a period each, or of BRACKET a bracket each */
    uint64_t rolling_ms;   /* length of periods that run from the start; 0 = slots */
    const struct retention_bracket *brackets;
    uint32_t at_least; /* returns in a slot that make it active; at least 1 */
    enum retention_start start;
    enum retention_mode mode;
    bool counts_start;      /* the start event is a return like any other (ltv) */
    bool has_value;         /* rows carry sums behind the counts (retention_value.h) */
    int64_t from_ms, to_ms; /* starts lie in [from_ms, to_ms) */
};

/* One subject in one cohort. */
struct retention_member {
    uint32_t slot;
    bool is_active; /* returned in its own slot, the start event left out */
    uint32_t later; /* active slots after its own: actives[later ..] */
    /* The start event is one of the journey's events [tie_begin, tie_end), all of one instant: one
     * with RETENTION_START and, if any of those is none, no RETENTION_RETURN (which leaves most
     * returns). */
    size_t tie_begin, tie_end;
    bool is_start_return; /* the start event itself matches the return selector */
};
struct retention_scratch {
    struct retention_member *members; /* room for cohort_count */
    uint32_t member_count;
    uint32_t *actives; /* room for slot_count; ascending */
    uint32_t active_count;
};

/* Fill the scratch from a journey. FIRST_EVER and FIRST_EVER_UNFILTERED need all history before
 * to_ms. */
void kernel_retention(const struct retention_spec *spec, const int64_t *restrict times,
                      const uint64_t *restrict masks, size_t count,
                      struct retention_scratch *scratch);
/* The same for every mode, and where periods run from the start: the journey is looked at once more. `back`, period_count
 * long, gets the periods that the member was back in, 1 or 0. */
void kernel_retention_add_vector(const struct retention_spec *spec,
                                 const struct retention_scratch *scratch,
                                 const struct retention_member *member,
                                 const int64_t *restrict times, const uint64_t *restrict masks,
                                 size_t count, uint8_t *restrict back, uint64_t *restrict users);
/* Add one member to its cohort's row: users[n] for each period n in which it counts as back. */
void kernel_retention_add(const struct retention_spec *spec,
                          const struct retention_scratch *scratch,
                          const struct retention_member *member, uint64_t *restrict users);
/* The last period of the member's streak: 0 where period 1 breaks it. A civil period that never was does not. */
uint32_t kernel_retention_streak(const struct retention_spec *spec,
                                 const struct retention_member *member, const uint8_t *back);
/* Whether event i of [tie_begin, tie_end) can be the start event. */
static inline bool retention_is_start(const struct retention_member *member, uint64_t mask)
{
    return (mask & RETENTION_START) != 0 &&
           (member->is_start_return || (mask & RETENTION_RETURN) == 0);
}
