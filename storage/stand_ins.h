/* storage/stand_ins.h - numbers that stand for subjects, within one snapshot.
 *
 * Subjects of a shard are numbered densely, and whom a snapshot masks is masked in all of its sources. Who is masked there and
 * is to be seen in another source all the same gets one more number, behind all that are given: the stand-in's. It means
 * nothing outside of the snapshot; what goes out, an id or a set of people, is of the subject that it stands for.
 *
 * Thread: as of what owns it; constant once the snapshot is made.
 */
#pragma once

#include <stdint.h>

#define STAND_IN_NONE UINT32_MAX

struct stand_ins { /* of one shard */
    uint32_t first, count, cap;
    uint32_t *subjects; /* that first, first + 1, ... stand for */
};

/* The subject itself where it is no stand-in. `stand_ins` may be NULL. */
static inline uint32_t stand_in_for(const struct stand_ins *stand_ins, uint32_t subject)
{
    return stand_ins != 0 && subject >= stand_ins->first &&
                   subject - stand_ins->first < stand_ins->count
               ? stand_ins->subjects[subject - stand_ins->first]
               : subject;
}
