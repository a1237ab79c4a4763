/* tests/support/live_events.h - events that are numbers, for tests of the write path.
 *
 * Event k is a pure function of k: its id, subject, name, time and properties of every type. So the
 * model of a data set is one counter per k, and a snapshot is checked by computing each row anew.
 */
#pragma once

#include "storage/base/rng.h"
#include "storage/store.h"

#define LIVE_ARRIVAL_MS INT64_C(1750000000000)

/* Add event k to a batch. With `retry` the time and the subject differ, as a retry's may. */
enum err_code live_add(struct batch_builder *builder, uint32_t k, bool is_retry,
                       struct err *err) ERR_MUST_CHECK;
/* A batch of events [first, first + count). */
enum err_code live_batch(uint32_t first, uint32_t count, struct event_batch **ret,
                         struct err *err) ERR_MUST_CHECK;
/* Submit [first, first + count), wait, free; all must be ACCEPTED. */
enum err_code live_ingest(struct dataset *dataset, uint32_t first, uint32_t count, struct io *io,
                          struct err *err) ERR_MUST_CHECK;
/* The same of a batch that the caller has made, and gives away. */
enum err_code live_ingest_batch(struct dataset *dataset, struct event_batch *batch, struct io *io,
                                struct err *err) ERR_MUST_CHECK;
/* Submit all while the writer waits, then let it serve them: `count` groups, each gathered while the one
 * before is synced. What became of each is in codes and errs. */
#define LIVE_BURST_MAX 8u
void live_burst(struct dataset *dataset, struct event_batch *const *batches, uint32_t count,
                struct io *io, enum err_code *codes, struct err *errs);
/* The number in an event id; false where it is none of ours. */
bool live_number(struct str event_id, uint32_t *ret);
int64_t live_time(uint32_t k); /* event_time of event k: 100 to 42 days before LIVE_ARRIVAL_MS */
const char *live_name(uint32_t k); /* of event k */
/* Which id event k belongs to, NUL-terminated. */
void live_user(uint32_t k, char user[32], char anonymous[32]);

/* How many times each event k < k_count is there; every row checked as live_check does. */
enum err_code live_look(const struct snapshot *snapshot, uint8_t *seen, uint32_t k_count,
                        struct io *io, struct err *err) ERR_MUST_CHECK;
/* The snapshot holds event k exactly counts[k] (0 or 1) times for each k < k_count and nothing else; every
 * value of every row is right; every source is sorted; a subject is always the same id. ERR_INVALID says
 * the first thing that is not so. Rows of masked subjects and expired rows are left out and count as absent. */
enum err_code live_check(const struct snapshot *snapshot, const uint8_t *counts, uint32_t k_count,
                         struct io *io, struct err *err) ERR_MUST_CHECK;
enum err_code live_check_dataset(struct dataset *dataset, const uint8_t *counts, uint32_t k_count,
                                 struct io *io, struct err *err) ERR_MUST_CHECK;

/* A fresh folder under /tmp, and its end with all that is in it. */
void live_dir_make(char dir[64]);
void live_dir_clear(const char *dir); /* what is in it */
void live_dir_remove(const char *dir);

/* A store in a fresh folder, and the data set "shop" in it. */
struct live_store {
    char dir[64];
    struct store_opts
        opts; /* POSIX, a small cache, no background thread; may be changed before it is opened */
    struct store *store;
    struct dataset *dataset;
    struct io *io;
};
enum err_code live_store_make(struct live_store *live, struct err *err) ERR_MUST_CHECK;
enum err_code live_store_open(struct live_store *live,
                              struct err *err) ERR_MUST_CHECK; /* or again */
void live_store_end(struct live_store *live); /* as a crash would, and the folder goes */
