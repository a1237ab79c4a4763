/* tests/support/ref_people.h - who meets a condition, by SEMANTICS.md section 4, one person and one event at a time.
 *
 * A person is in the segment where some event of hers lies in the query's range and the condition is true of her. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ref_people_event {
    uint32_t user, name;
    uint32_t channel; /* REF_NO_CHANNEL: none */
    int64_t time_ms;
    int64_t cents;
};
#define REF_NO_CHANNEL 3u

struct ref_select {
    uint32_t names;      /* bit n: events called n; all bits: any */
    bool has_cents_over; /* and of more than so many cents */
    int64_t cents_over;
};

enum ref_cond_kind {
    REF_AND,
    REF_OR,
    REF_NOT,
    REF_DID,
    REF_FIRST,
    REF_LAST,
    REF_COUNT,
    REF_SUM,
    REF_AVG,
    REF_MIN,
    REF_MAX,
    REF_UNIQUE, /* channels */
    REF_LISTED, /* bit u of `users` */
    REF_COHORT, /* kids[0], of who has an event in [begin, end) */
    REF_MINUS, /* kids[0] less kids[1]: two COUNTs or two SUMs, of which only the numbers are meant */
    REF_RATIO, /* kids[0] by kids[1]: two COUNTs; none where the second is 0 */
};
enum ref_op { REF_EQ, REF_NE, REF_LT, REF_LE, REF_GT, REF_GE, REF_BETWEEN };
struct ref_cond {
    enum ref_cond_kind kind;
    const struct ref_cond *kids[3];
    uint32_t kid_count;
    struct ref_select select;
    int64_t begin_ms, end_ms;
    enum ref_op op;
    int64_t values[2]; /* of COUNT and UNIQUE a number, else cents */
    uint32_t users;
};

bool ref_people_meets(const struct ref_cond *cond, const struct ref_people_event *events,
                      uint32_t count, uint32_t user);
