/* storage/memtable.h - the newest rows of a data set, in memory, readable while they are written.
 *
 * Rows are appended by the writer into columns that grow by chunks and never move; publishing is one
 * release store of the row count. A reader pins a view: the rows of one shard up to that count, sorted
 * by (subject, event_time, event_id), as a source. The sorted order of a shard is kept and extended when
 * the next view is asked for, so a view costs the new rows, not all of them.
 *
 * Thread: memtable_append and memtable_publish by the writer; memtable_view from any thread.
 * Ownership: reference counted; views hold a reference.
 */
#pragma once

#include "storage/schema.h"
#include "storage/source.h"

struct memtable;
struct memtable_view;

enum err_code memtable_create(const struct schema *schema, uint64_t identity_version,
                              struct memtable **ret, struct err *err) ERR_MUST_CHECK;
struct memtable *memtable_ref(struct memtable *memtable);
void memtable_unref(struct memtable *memtable);

/* Append one event (all strings are copied). `prop_cols[i]` is the schema number of batch->names[i] with
 * the type of the property, looked up by the caller per property. Invisible until published. */
enum err_code memtable_append(struct memtable *memtable, uint32_t shard, uint32_t subject,
                              const struct event_batch *batch, const struct event *event,
                              int64_t arrival_ms, const uint32_t *prop_cols,
                              struct err *err) ERR_MUST_CHECK;
void memtable_publish(struct memtable *memtable);
uint64_t memtable_rows(const struct memtable *memtable); /* published, all shards */
uint64_t memtable_bytes(const struct memtable *memtable);
/* The published rows of a shard; *ret NULL where there are none. Unpin with memtable_view_unref. */
enum err_code memtable_view(struct memtable *memtable, uint32_t shard, struct memtable_view **ret,
                            struct err *err) ERR_MUST_CHECK;
void memtable_view_unref(struct memtable_view *view);
const struct source *memtable_view_source(const struct memtable_view *view);
