/* tests/crash/scenario.h - one life of a store with everything in it, and the model that it must
 * equal afterwards, whatever went wrong on the way.
 *
 *     open, two data sets, batches with retries among them, flush, delete a subject, compact, let events expire
 *     and segments get cold, more batches, compact, close, open again, more batches, close
 *
 * The model is one state per event: acknowledged, refused (with its batch: it may be there or not,
 * but then the whole batch), or never sent. Whatever fails, the life goes on as well as it can, as a
 * server's would. Deterministic: nothing happens on other threads, and a program that links this with
 * -Wl,--wrap=rng_system has the same seeds in each life.
 */
#pragma once

#include "storage/store.h"

#define SCENARIO_EVENTS 96u /* per data set at most */
#define SCENARIO_SETS   2u

enum fate { FATE_UNSENT, FATE_REFUSED, FATE_ACKNOWLEDGED };
enum deletion { DELETION_NONE, DELETION_REFUSED, DELETION_DONE };

struct model {
    uint8_t fate[SCENARIO_SETS][SCENARIO_EVENTS];
    enum deletion deletion; /* of the subject of event 5 in the first data set */
    enum deletion expiry;   /* of old events in the first data set, and the move of its segments */
    uint32_t refusals;      /* calls that failed */
    char wrong[1024];       /* "" while every answer was one that may be given */
};

/* A folder to live in: in memory where there is room for it, for nothing is synced anyway. */
void scenario_dir_make(char dir[64]);
/* Live it in `dir` (which exists). Never fails: what may not be is in model->wrong. */
void scenario_live(const char *dir, struct model *model);

/* A new process over `dir`: every acknowledged event is there once with all of its values, refused batches whole
 * or not at all, nothing else; of what has expired it is known who did it first, and nothing that nobody did; everything sent again is there once, now and after the next opening.
 * "" in `wrong` when that is so. */
void scenario_verify(const char *dir, const struct model *model, char wrong[1024]);
