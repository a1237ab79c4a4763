/* tests/support/walkers.h - random journeys for the verbs over journeys, and their answers as text.
 *
 * A few users and devices do things a, b, c and d on a few pages, within some hours before SNAP_NOW_MS: many
 * ties in time, many pauses of just about half an hour. References get a subject's events as an array in (time,
 * event_id) order; answers are lines of cells, so that a reference can print what it expects.
 *
 * Whatever fails ends the test program: nothing here is under test.
 */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/rng.h"
#include "tests/support/snap_query.h"

#define WALKER_EVENTS_MAX 60
#define WALKER_USERS      5
#define WALKER_DEVICES    3
#define WALKER_NAMES      4
#define WALKER_PAGES      4
#define WALKER_CHANNELS   4
#define MINUTE_MS         INT64_C(60000)

extern const char *const walker_names[WALKER_NAMES]; /* "a" .. "d" */
extern const char *const walker_pages[WALKER_PAGES]; /* property page: "/", "/p/1", "/p/2/", "/q" */
extern const char
    *const walker_channels[WALKER_CHANNELS]; /* property channel: "ad", "direct", ... */

struct walker_event {
    int user;
    int device; /* property device; -1 = none */
    int name;
    int page;    /* -1 = none */
    int channel; /* -1 = none */
    bool has_amount;
    int64_t cents; /* property amount, in hundredths */
    int64_t time_ms;
    char id[16];
};

struct walkers {
    struct walker_event events[WALKER_EVENTS_MAX];
    int count;
};

struct walkers walkers_random(struct rng *rng);
/* The events of a user, or of a device, in order; returns how many. */
int walkers_of(const struct walkers *walkers, bool is_device, int subject,
               struct walker_event *out);
int walkers_subjects(bool is_device);

/* The answer's rows as lines of cells between bars ("-" for null, lists in brackets), then `= ` and the totals;
 * or "error: ...". Asked in several layouts, on the indexed and the reference path, which must agree. */
void walkers_ask(const struct walkers *walkers, const char *text, struct rng *rng, struct buf *out);
/* Ask and compare; a difference ends the test with the seed, the query and both answers. */
void walkers_check(const struct walkers *walkers, const char *text, struct rng *rng, uint64_t seed,
                   struct buf *want);

/* Ask how many `users` a cell has, a bit each: `text` is `users of (...) in ...` without `where`. Whether one of them, taken at
 * random, is among them is asked as well. */
void walkers_check_users(const struct walkers *walkers, const char *text, struct rng *rng,
                         uint64_t seed, uint32_t users);

/* Put lines in order, for references that find their rows in another one. */
void walkers_sort_lines(struct buf *lines);
/* The tests' seed: TEST_SEED, or the given one. */
uint64_t walkers_seed(uint64_t otherwise);
