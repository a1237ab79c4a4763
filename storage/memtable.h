/* storage/memtable.h - the newest rows of a data set, in memory, readable while they are written.
 *
 * Rows are appended by the writer into columns that grow by chunks and never move; publishing is
 * one release store of the row count. A reader pins a view: the rows of one shard up to that count,
 * sorted by (subject, event_time, event_id), as a source. The sorted order of a shard is kept and
 * extended when the next view is asked for, so a view costs the new rows, not all of them.
 *
 * Thread: memtable_append and memtable_publish by the writer; memtable_view from any thread.
 * Ownership: reference counted; views hold a reference.
 */
#pragma once

#include "storage/ids.h"
#include "storage/known_set.h"
#include "storage/payload.h"

#define MEMTABLE_ROWS_MAX (SEG_BLOCKS_MAX * BLOCK_ROWS) /* so that every shard fits one segment */

struct memtable;
struct memtable_view;
struct stand_ins;

enum err_code memtable_create(const struct schema *schema, uint64_t identity_version,
                              struct memtable **ret, struct err *err) ERR_MUST_CHECK;
struct memtable *memtable_ref(struct memtable *memtable);
void memtable_unref(struct memtable *memtable);

/* Append one event (all strings are copied). `prop_cols[i]` is the schema number of the event's
 * i-th property, batch->props[event->prop_first + i], looked up by the caller. Invisible until
 * published. After an error the memtable may hold half of the event: publish nothing more. */
enum err_code memtable_append(struct memtable *memtable, uint32_t shard, uint32_t subject,
                              const struct event_batch *batch, const struct event *event,
                              int64_t arrival_ms, const uint32_t *prop_cols,
                              struct err *err) ERR_MUST_CHECK;
/* The row that was appended last, in this shard, has an event id with this key (known_set.h): from
 * now on memtable_find_id knows it. */
enum err_code memtable_know(struct memtable *memtable, uint32_t shard, uint64_t key,
                            struct err *err) ERR_MUST_CHECK;
void memtable_publish(struct memtable *memtable);
uint64_t memtable_rows(const struct memtable *memtable); /* published, all shards */
uint64_t memtable_bytes(const struct memtable *memtable);
/* Published rows of each shard. Views of these counts together are one consistent moment where the
 * caller keeps memtable_publish out while it asks. */
void memtable_counts(const struct memtable *memtable, uint32_t out_rows[SHARD_COUNT]);
/* The first `row_count` rows (published ones) of a shard; *ret NULL where that is 0. Cost: sorting
 * the rows that came since the last view, and a copy of 16 bytes per row. */
enum err_code memtable_view_at(struct memtable *memtable, uint32_t shard, uint32_t row_count,
                               struct memtable_view **ret, struct err *err) ERR_MUST_CHECK;
/* The published rows of a shard; *ret NULL where there are none. Unpin with memtable_view_unref. */
enum err_code memtable_view(struct memtable *memtable, uint32_t shard, struct memtable_view **ret,
                            struct err *err) ERR_MUST_CHECK;
struct memtable_view *memtable_view_ref(struct memtable_view *view);
void memtable_view_unref(struct memtable_view *view);
const struct source *memtable_view_source(const struct memtable_view *view);

/* ---- rows that belong to others than they were appended under (identity.h) ---- */

struct mem_row_facts { /* strings are the memtable's, but for an event id of its UUID's text in `uuid` */
    int64_t time_ms, arrival_ms;
    uint32_t subject;
    struct str event_id, user_id, anonymous_id;
    char uuid[36];
};
/* Of a published row; any thread. *ret must not move: event_id may point into it. */
void memtable_row(const struct memtable *memtable, uint32_t shard, uint32_t row,
                  struct mem_row_facts *ret);
struct mem_home { /* a row of a shard, and whose it is */
    int64_t time_ms;
    uint32_t subject;
    uint32_t row;
};
/* As it was appended. */
struct mem_home memtable_row_home(const struct memtable *memtable, uint32_t shard, uint32_t row);
/* Some of the first `row_limit` rows of `shard`, each at most once, as rows of `home_shard` under the subjects
 * that `homes` gives, which is sorted here. count > 0. The directory, which knows them all, and the home's stand-ins among
 * them (may be NULL) must outlive the view. */
enum err_code memtable_view_rehomed(struct memtable *memtable, uint32_t shard, uint32_t row_limit,
                                    struct mem_home *homes, uint32_t count, uint32_t home_shard,
                                    const struct ids *ids, const struct stand_ins *stand_ins,
                                    struct memtable_view **ret, struct err *err) ERR_MUST_CHECK;

/* ---- known event ids: by the writer; a memtable that takes no more rows, by anybody ---- */

struct mem_place {
    uint32_t shard, row;
};
void memtable_prefetch_id(const struct memtable *memtable, uint64_t key);
/* The row with this event id, published or not; false where there is none. */
bool memtable_find_id(const struct memtable *memtable, uint64_t key, struct str event_id,
                      struct mem_place *ret);
/* What the row says; it borrows from the memtable. Of a published row by any thread. */
enum err_code memtable_payload(const struct memtable *memtable, struct mem_place place,
                               struct arena *arena, struct payload *ret,
                               struct err *err) ERR_MUST_CHECK;
/* All of them by key. */
struct mem_known {
    uint64_t count;
    int64_t arrival_min_ms, arrival_max_ms;
    uint32_t subject_max;
};
struct mem_known memtable_known(const struct memtable *memtable);
typedef enum err_code (*mem_known_fn)(void *arg, uint64_t key, uint32_t shard, uint32_t subject,
                                      struct err *err);
enum err_code memtable_known_sorted(const struct memtable *memtable, mem_known_fn fn, void *arg,
                                    struct err *err) ERR_MUST_CHECK;
