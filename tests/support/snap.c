#include "tests/support/snap.h"

#include "storage/base/hash.h"
#include "storage/base/rng.h"
#include "storage/memtable.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SOURCES_MAX 64u

struct snap_subject {
    struct str user;
    uint32_t shard;
    uint32_t subject;
};

struct snap {
    struct snapshot snapshot;
    struct arena *arena;
    struct schema *schema;
    struct io *io;
    struct block_cache *cache;
    struct snap_subject *subjects;
    uint32_t subject_count;
    struct memtable *memtables[SOURCES_MAX];
    struct memtable_view *views[SOURCES_MAX * SHARD_COUNT];
    uint32_t view_count;
    struct segment *segments[SOURCES_MAX * SHARD_COUNT];
    uint32_t segment_count;
    roaring_bitmap_t *deleted[SHARD_COUNT];
    char dir[64];
};

static void must(enum err_code code, const struct err *err)
{
    if (code != ERR_OK) {
        fprintf(stderr, "snap: %s\n", err->message);
        abort();
    }
}

/* ---- rows ---- */

static const struct snap_subject *snap_find(const struct snap *snap, const char *user)
{
    for (uint32_t i = 0; i < snap->subject_count; i++) {
        if (str_eq(snap->subjects[i].user, str_of(user))) {
            return &snap->subjects[i];
        }
    }
    return NULL;
}

static const struct snap_subject *snap_subject_of(struct snap *snap, const char *user,
                                                  uint32_t shard_count)
{
    const struct snap_subject *found = snap_find(snap, user);
    if (found != NULL) {
        return found;
    }
    uint32_t shard = (uint32_t)(hash_str(str_of(user), 0) % shard_count);
    struct snap_subject *subject = &snap->subjects[snap->subject_count++];
    struct err err = {0};
    struct str own = {0};
    must(arena_str(snap->arena, str_of(user), &own, &err), &err);
    *subject = (struct snap_subject){
        .user = own,
        .shard = shard,
        .subject = snap->snapshot.subject_count[shard]++,
    };
    return subject;
}

static void snap_prop(struct snap *snap, struct batch_builder *builder,
                      const struct snap_prop *from, uint32_t *ret_col)
{
    struct err err = {0};
    struct prop prop = {.type = from->type};
    must(batch_name(builder, str_of(from->name), &prop.name_idx, &err), &err);
    must(schema_add(snap->schema, str_of(from->name), from->type, ret_col, &err), &err);
    schema_count_values(snap->schema, *ret_col, 1);
    switch (from->type) {
    case COL_STRING: prop.string = str_of(from->text); break;
    case COL_NUMBER: prop.number = from->number; break;
    case COL_BOOL: prop.boolean = from->boolean; break;
    case COL_TIME: prop.ts_ms = from->ts_ms; break;
    case COL_LIST:
        for (const char *at = from->text; *at != '\0';) {
            size_t len = strcspn(at, "|");
            uint32_t idx = 0;
            must(batch_list_item(builder, (struct str){at, len}, &idx, &err), &err);
            if (prop.list.count++ == 0) {
                prop.list.first = idx;
            }
            at += len + (at[len] == '|');
        }
        break;
    }
    must(batch_prop(builder, &prop, &err), &err);
}

static void snap_append(struct snap *snap, const struct snap_event *from, struct memtable *memtable,
                        uint32_t shard_count)
{
    struct err err = {0};
    struct batch_builder builder = {0};
    struct event *event = NULL;
    uint32_t cols[64] = {0};
    ASSERT(from->prop_count <= COUNT_OF(cols));
    must(batch_begin(NULL, from->time_ms + 1000, &builder, &err), &err);
    must(batch_event(&builder, &event, &err), &err);
    event->event_id = str_of(from->event_id);
    event->name = str_of(from->name);
    event->user_id = str_of(from->user);
    event->time_ms = from->time_ms;
    for (uint32_t p = 0; p < from->prop_count; p++) {
        snap_prop(snap, &builder, &from->props[p], &cols[p]);
    }
    const struct snap_subject *subject = snap_subject_of(snap, from->user, shard_count);
    must(memtable_append(memtable, subject->shard, subject->subject, builder.batch,
                         &builder.batch->events[0], from->time_ms + 1000, cols, &err),
         &err);
    event_batch_free(builder.batch);
    snap->snapshot.row_count++;
    if (from->time_ms < snap->snapshot.time_min_ms) {
        snap->snapshot.time_min_ms = from->time_ms;
    }
    if (from->time_ms > snap->snapshot.time_max_ms) {
        snap->snapshot.time_max_ms = from->time_ms;
    }
}

/* ---- sources ---- */

static const struct source *snap_to_segment(struct snap *snap, const struct source *rows,
                                            const struct snap_opts *opts)
{
    struct err err = {0};
    char path[128];
    struct segment_stats stats = {0};
    const struct segment_write_opts write_opts = {
        .shard = rows->shard,
        .identity_version = 1,
        .day_begins_ms = opts->day_begins_ms,
        .day_count = opts->day_count,
    };
    uint32_t id = snap->segment_count + 1;
    snprintf(path, sizeof(path), "%s/%06u.seg", snap->dir, id);
    must(segment_write(snap->io, path, snap->schema, &rows, 1, INT64_MIN, INT64_MAX, NULL,
                       &write_opts, &stats, &err),
         &err);
    struct segment **segment = &snap->segments[snap->segment_count++];
    must(segment_open(snap->io, path, snap->schema, snap->cache, id, segment, &err), &err);
    return segment_source(*segment);
}

static void snap_add_shard(struct snap *snap, uint32_t shard, const struct snap_opts *opts)
{
    struct snapshot *snapshot = &snap->snapshot;
    struct err err = {0};
    snapshot->shard_begin[shard] = snapshot->source_count;
    for (uint32_t s = 0; s < opts->source_count; s++) {
        struct memtable_view *view = NULL;
        must(memtable_view(snap->memtables[s], shard, &view, &err), &err);
        if (view == NULL) {
            continue;
        }
        snap->views[snap->view_count++] = view;
        const struct source *source = memtable_view_source(view);
        if (s + opts->memory_count < opts->source_count) {
            source = snap_to_segment(snap, source, opts);
        }
        snapshot->sources[snapshot->source_count++] = source;
    }
    snapshot->shard_begin[shard + 1] = snapshot->source_count;
}

struct snap *snap_build(const struct snap_event *events, uint32_t event_count,
                        const struct snap_opts *opts)
{
    struct err err = {0};
    struct snap *snap = calloc(1, sizeof(*snap));
    uint32_t shard_count = opts->shard_count == 0 ? SHARD_COUNT : opts->shard_count;
    ASSERT(snap != NULL);
    ASSERT(opts->source_count >= 1 && opts->source_count <= SOURCES_MAX);
    ASSERT(opts->memory_count <= opts->source_count && shard_count <= SHARD_COUNT);
    snap->arena = arena_create(NULL);
    must(schema_create(&snap->schema, &err), &err);
    must(io_create(IO_POSIX, &snap->io, &err), &err);
    must(block_cache_create((size_t)64 << 20, &snap->cache, &err), &err);
    must(ARENA_NEW(snap->arena, event_count, &snap->subjects, &err), &err);
    snprintf(snap->dir, sizeof(snap->dir), "/tmp/trackway-snap-XXXXXX");
    ASSERT(mkdtemp(snap->dir) != NULL);

    struct snapshot *snapshot = &snap->snapshot;
    snapshot->schema = snap->schema;
    snapshot->epoch = 1;
    snapshot->commit_ms = 1;
    snapshot->identity_version = 1;
    snapshot->time_min_ms = INT64_MAX;
    snapshot->time_max_ms = INT64_MIN;
    snapshot->expired_before_ms = INT64_MIN;
    snapshot->history_from_ms = INT64_MIN;
    for (uint32_t s = 0; s < opts->source_count; s++) {
        must(memtable_create(snap->schema, 1, &snap->memtables[s], &err), &err);
    }
    struct rng rng = rng_init(opts->seed);
    for (uint32_t i = 0; i < event_count; i++) {
        uint64_t source = rng_below(&rng, opts->source_count);
        snap_append(snap, &events[i], snap->memtables[source], shard_count);
    }
    must(ARENA_NEW(snap->arena, (size_t)opts->source_count * SHARD_COUNT, &snapshot->sources, &err),
         &err);
    for (uint32_t s = 0; s < opts->source_count; s++) {
        memtable_publish(snap->memtables[s]);
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        snap_add_shard(snap, shard, opts);
    }
    snapshot->watermark_ms = event_count == 0 ? INT64_MIN : snapshot->time_max_ms;
    return snap;
}

struct snapshot *snap_snapshot(struct snap *snap)
{
    return &snap->snapshot;
}

struct io *snap_io(struct snap *snap)
{
    return snap->io;
}

struct schema *snap_schema(struct snap *snap)
{
    return snap->schema;
}

bool snap_subject(const struct snap *snap, const char *user, uint32_t *ret_shard,
                  uint32_t *ret_subject)
{
    const struct snap_subject *found = snap_find(snap, user);
    if (found != NULL) {
        *ret_shard = found->shard;
        *ret_subject = found->subject;
    }
    return found != NULL;
}

void snap_delete(struct snap *snap, const char *user)
{
    const struct snap_subject *found = snap_find(snap, user);
    ASSERT(found != NULL);
    if (snap->deleted[found->shard] == NULL) {
        snap->deleted[found->shard] = roaring_bitmap_create();
        snap->snapshot.deleted[found->shard] = snap->deleted[found->shard];
        snap->snapshot.hidden[found->shard] = snap->deleted[found->shard];
        snap->snapshot.has_erased = true;
    }
    roaring_bitmap_add(snap->deleted[found->shard], found->subject);
}

static void snap_remove_dir(const char *dir)
{
    DIR *entries = opendir(dir);
    struct dirent *entry = NULL;
    char path[512];
    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
            unlink(path);
        }
    }
    if (entries != NULL) {
        closedir(entries);
    }
    rmdir(dir);
}

void snap_free(struct snap *snap)
{
    if (snap == NULL) {
        return;
    }
    for (uint32_t i = 0; i < snap->segment_count; i++) {
        segment_close(snap->segments[i]);
    }
    for (uint32_t i = 0; i < snap->view_count; i++) {
        memtable_view_unref(snap->views[i]);
    }
    for (uint32_t i = 0; i < SOURCES_MAX; i++) {
        if (snap->memtables[i] != NULL) {
            memtable_unref(snap->memtables[i]);
        }
    }
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        if (snap->deleted[i] != NULL) {
            roaring_bitmap_free(snap->deleted[i]);
        }
    }
    block_cache_free(snap->cache);
    io_free(snap->io);
    schema_free(snap->schema);
    arena_free(snap->arena);
    snap_remove_dir(snap->dir);
    free(snap);
}
