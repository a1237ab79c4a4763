/* storage/care_int.h - what the files of care share.
 *
 *    care_files.c     paths, copies and links, free destinations, times for people
 *    care_manifest.c  `_manifest`: writing, reading
 *    care_dataset.c   one data set of a stopped folder: its lists, its segments, its log
 *    care_rows.c      every event id of a data set, in bounded memory
 *    care_verify.c    care_backup.c  care_restore.c
 *    care_repair.c    damage with a sound catalog; care_rebuild.c: a lost catalog
 *    care_ids.c       a damaged ids.log; care_choose.c: which of overlapping segments to keep
 *    care_cold.c      segments in the cold directory that the catalog does not name
 */
#pragma once

#include "storage/care.h"
#include "storage/catalog.h"
#include "storage/ids.h"
#include "storage/wal.h"

#include "storage/base/hash.h"

#define CARE_PATH_BYTES 5120

/* ---- care_files.c ---- */

/* Where things are, below a data set's folder. The only places that say so for stopped folders; care_set_segment_path
 * says which folder it is. */
void care_segment_path(const char *dataset_dir, const struct catalog_segment *meta,
                       char out[CARE_PATH_BYTES]);
void care_run_path(const char *dataset_dir, uint64_t number, char out[CARE_PATH_BYTES]);
/* "000017.seg" and "000017.run": false for other names. */
bool care_file_number(const char *name, const char *ending, uint64_t *ret);
/* "dir/name" into out; false where it does not fit. */
bool care_path(char out[CARE_PATH_BYTES], const char *dir, const char *name);
/* ERR_LIMIT's message for a path that does not fit. */
enum err_code care_path_too_long(const char *dir, struct err *err);

/* Whether dir/name is a folder that can be a data set's and has what only a data set has. */
bool care_is_dataset(struct io *io, const char *dir, const char *name);

#define CARE_CHECK_BYTES                                                                           \
    ((size_t)1 << 20) /* the checksum of a file is chained over parts of this size */
/* XXH3-64 of each MiB of the file's first `bytes`, seeded with the one before. */
enum err_code care_checksum(struct io *io, const char *path, uint64_t bytes, uint64_t *ret,
                            struct err *err) ERR_MUST_CHECK;
/* The first `bytes` of an open file as a new, synced file at `to`; *ret_checksum may be NULL. */
enum err_code care_copy(struct io *io, struct io_file *from, uint64_t bytes, const char *to,
                        uint64_t *ret_checksum, struct err *err) ERR_MUST_CHECK;
/* A hard link where it can be had, else a copy of all of it. */
enum err_code care_link_or_copy(struct io *io, const char *from, const char *to,
                                bool *ret_is_linked, uint64_t *ret_bytes,
                                struct err *err) ERR_MUST_CHECK;
/* *ret: 0 where it is not there. */
enum err_code care_file_bytes(struct io *io, const char *path, uint64_t *ret,
                              struct err *err) ERR_MUST_CHECK;
/* Remove what is in a folder, and it: for folders that we made. What fails stays. */
void care_remove_tree(struct io *io, const char *path);
/* `path` may become a new folder: ERR_OK where it is not there or an empty folder. *ret_parent: the folder it
 * will be in, *ret_partial: where to write until it is whole. */
struct care_target {
    char path[CARE_PATH_BYTES];
    char parent[CARE_PATH_BYTES];
    char partial[CARE_PATH_BYTES];
};
enum err_code care_target(struct io *io, const char *path, struct care_target *ret,
                          struct err *err) ERR_MUST_CHECK;
/* Rename the partial folder, whose folders are synced, to its name, durable. */
enum err_code care_target_finish(struct io *io, const struct care_target *target,
                                 struct err *err) ERR_MUST_CHECK;
/* "2025-05-01T08:00:00.000Z" */
void care_time(int64_t time_ms, char out[40]);
/* "from … to …" */
void care_span(int64_t min_ms, int64_t max_ms, char out[96]);

/* ---- care_manifest.c ---- */

struct care_file {
    char *path; /* below the backup; owned by the manifest's arena */
    uint64_t bytes;
    uint64_t checksum;
    bool has_checksum; /* else the file checks itself: segments, runs */
};
struct care_manifest {
    struct arena *arena;
    int64_t made_ms;
    struct buf files;    /* struct care_file */
    struct buf datasets; /* struct backup_dataset */
};
void care_manifest_done(struct care_manifest *manifest);
static inline const struct care_file *care_manifest_files(const struct care_manifest *manifest,
                                                          size_t *ret_count)
{
    *ret_count = manifest->files.len / sizeof(struct care_file);
    return (const struct care_file *)(const void *)manifest->files.ptr;
}
enum err_code care_manifest_add(struct care_manifest *manifest, const char *path, uint64_t bytes,
                                const uint64_t *checksum, struct err *err) ERR_MUST_CHECK;
/* Written to `path` and synced. */
enum err_code care_manifest_write(const struct care_manifest *manifest, struct io *io,
                                  const char *path, struct err *err) ERR_MUST_CHECK;
/* The text of one. As below, but that there is no file to name; the caller frees what was read, also after an error. */
enum err_code care_manifest_parse(struct care_manifest *manifest, struct str text,
                                  struct err *err) ERR_MUST_CHECK;
/* ERR_NOT_FOUND, ERR_CORRUPT, ERR_UNSUPPORTED. Every path in it is one below the folder. */
enum err_code care_manifest_read(struct io *io, const char *path, struct care_manifest *ret,
                                 struct err *err) ERR_MUST_CHECK;

/* ---- care_dataset.c ---- */

struct care { /* one look at one folder */
    const char *dir;
    const char *cold_dir; /* NULL: not looked into */
    struct io *io;
    struct block_cache *cache;
    uint64_t next_id;
    care_finding_fn fn;
    void *arg;
    struct care_sums sums;
};
enum err_code care_init(struct care *care, const char *dir, const char *cold_dir, struct io *io,
                        care_finding_fn fn, void *arg, struct err *err) ERR_MUST_CHECK;
void care_done(struct care *care);
/* Tell a finding. Of an error's message the part behind the file's name is told. */
void care_say(struct care *care, enum care_level level, const char *file, const char *problem,
              const char *meaning);
/* An error of looking at a file as a finding: ERR_OK, unless it is one that ends the looking (no memory). */
enum err_code care_found(struct care *care, const char *file, const struct err *what,
                         const char *meaning, struct err *err);
/* The part of a message behind the quoted path of `file`. */
const char *care_behind(const char *message, const char *file);

struct care_set { /* a data set of a stopped folder */
    struct care *care;
    struct catalog_dataset row;
    char dir[CARE_PATH_BYTES];
    char cold[CARE_PATH_BYTES]; /* its place in the cold directory; "": that is not looked into */
    bool is_cold_ours;   /* what lies there is this data set's; else it is not to be touched */
    struct buf renamed;  /* struct care_renamed */
    struct buf segments; /* struct catalog_segment, by (shard, time_min, number) */
    struct buf firsts;   /* struct catalog_segment, of first times; likewise */
    struct buf runs;     /* struct catalog_run */
    struct schema *schema;
    struct ids *ids;     /* NULL: none that can be used */
    bool is_ids_partial; /* while ids are looked for: events may be of subjects that it lacks */
    uint32_t deleted_end[SHARD_COUNT]; /* deleted subjects are below */
    uint64_t deleted_count;
    struct wal_replay_report log; /* as of the last care_log_read */
    uint64_t log_events;          /* likewise */
};
/* A cold segment that is to get a free number, and the one that its file's name still has. */
struct care_renamed {
    uint64_t number, file_number;
};
static inline struct catalog_segment *care_set_segments(const struct care_set *set,
                                                        size_t *ret_count)
{
    *ret_count = set->segments.len / sizeof(struct catalog_segment);
    return (struct catalog_segment *)(void *)set->segments.ptr;
}
static inline struct catalog_segment *care_set_firsts(const struct care_set *set, size_t *ret_count)
{
    *ret_count = set->firsts.len / sizeof(struct catalog_segment);
    return (struct catalog_segment *)(void *)set->firsts.ptr;
}
static inline const struct catalog_run *care_set_runs(const struct care_set *set, size_t *ret_count)
{
    *ret_count = set->runs.len / sizeof(struct catalog_run);
    return (const struct catalog_run *)(const void *)set->runs.ptr;
}
/* Begin with a row: no lists yet. */
enum err_code care_set_init(struct care_set *set, struct care *care,
                            const struct catalog_dataset *row, struct err *err) ERR_MUST_CHECK;
void care_set_done(struct care_set *set);
/* The lists of the catalog. ERR_CORRUPT where they cannot be. */
enum err_code care_set_load(struct care_set *set, struct catalog *catalog,
                            struct err *err) ERR_MUST_CHECK;
/* The file of a segment of the list, in whichever directory it is: its path, and "shard-03/000017.seg". */
void care_set_segment_path(const struct care_set *set, const struct catalog_segment *meta,
                           char out[CARE_PATH_BYTES]);
void care_set_segment_name(const struct care_set *set, const struct catalog_segment *meta,
                           char out[64]);
/* The number in the name of the segment's file. */
uint64_t care_set_file_number(const struct care_set *set, const struct catalog_segment *meta);
/* The data set's folder of that tier, and as messages name it: "shop", or the cold one's path. */
const char *care_set_dir(const struct care_set *set, uint32_t tier);
const char *care_set_label(const struct care_set *set, uint32_t tier);
/* "shop/shard-03/000017.seg" from a path below the folder; a path elsewhere as it is. */
const char *care_below(const struct care *care, const char *path);

/* Open a segment as the data set's; NULL schema: as it stands. */
enum err_code care_segment_open(const struct care_set *set, const char *path,
                                const struct schema *schema, struct segment **ret,
                                struct err *err) ERR_MUST_CHECK;
/* All of a segment: what it says, what the catalog says of it, whether the directory knows its subjects. */
enum err_code care_segment_check(const struct care_set *set, const struct catalog_segment *meta,
                                 struct err *err) ERR_MUST_CHECK;

/* What a segment says of itself, once all of it is checked. The number, shard and tier of facts->meta are the
 * caller's, who knows its name; its row_count is set as soon as the footer could be read. */
struct care_segment_facts {
    struct catalog_segment meta;
    int64_t watermark_ms; /* the largest time that is at most its arrival; INT64_MIN: none */
    uint64_t identity_version;
    uint32_t subject_last;
};
enum err_code care_segment_read(const struct care_set *set, const char *path,
                                struct care_segment_facts *facts, struct err *err) ERR_MUST_CHECK;
/* The columns of the segments from place `first` on, into the data set's schema. */
enum err_code care_set_take_columns(struct care_set *set, size_t first,
                                    struct err *err) ERR_MUST_CHECK;
/* How many values each column of the schema has: u64, by number. */
enum err_code care_set_value_counts(const struct care_set *set, struct buf *ret,
                                    struct err *err) ERR_MUST_CHECK;

/* A file of event ids against the catalog's row of it. */
enum err_code care_run_check(const struct care_set *set, const struct catalog_run *run,
                             struct err *err) ERR_MUST_CHECK;

/* Read the log from the catalog's floor through a callback, every record decoded into ids and schema. */
struct event_place;
typedef enum err_code (*care_record_fn)(void *arg, uint64_t seq, const struct event_batch *batch,
                                        const struct event_place *places, struct err *err);
/* set->log says how far it came. ERR_OK also where the log is damaged: then ret_what has a code. Without a
 * directory (set->ids NULL) only the log's own checksums are looked at, and `fn` is not called. */
enum err_code care_log_read(struct care_set *set, care_record_fn fn, void *arg,
                            struct err *ret_what, struct err *err) ERR_MUST_CHECK;

/* ---- care_firsts.c ---- */

bool care_is_first_named(const struct care_set *set, uint32_t shard, uint64_t number);
/* Of verify: each file of first times. */
enum err_code care_verify_firsts(struct care_set *set, struct err *err) ERR_MUST_CHECK;
struct repair;
/* Take damaged ones, and those of subjects that ids.log does not know, out of the list and the folder; `dropped` gets their
 * numbers (u64). */
enum err_code repair_firsts(struct repair *repair, struct care_set *set, struct buf *dropped,
                            struct err *err) ERR_MUST_CHECK;
/* Of a catalog that is made again: a file that is there, if it is whole. */
enum err_code rebuild_take_first(struct repair *repair, struct care_set *set, uint32_t shard,
                                 uint64_t number, struct err *err) ERR_MUST_CHECK;

/* ---- care_rows.c ---- */

#define CARE_LOG_SOURCE UINT32_MAX
struct care_row {
    struct hash128 hash;
    int64_t arrival_ms;
    uint32_t source; /* place in the list of segments, or CARE_LOG_SOURCE */
    uint32_t row;    /* of the segment; of the log: among the events behind the catalog's epoch */
};
/* Which rows of a data set are equal. Groups of at least two rows with one hash, in order of their arrival, come to
 * `fn`; hashes are over event ids, or (is_copies) over event ids and arrivals: rows that are copies of each other.
 * The event ids are read as often as it takes to hold a part of them at a time. `skips` (may be NULL):
 * segments to leave out, by their place. */
typedef enum err_code (*care_group_fn)(void *arg, const struct care_row *rows, uint32_t count,
                                       struct err *err);
struct care_rows_opts {
    bool is_copies;
    bool has_log; /* and events of the log that no segment holds yet */
    const bool *skips;
    size_t rows_at_once; /* 0: as many as 256 MiB hold; tests take few */
};
enum err_code care_rows_equal(struct care_set *set, const struct care_rows_opts *opts,
                              care_group_fn fn, void *arg, struct err *err) ERR_MUST_CHECK;
/* The event id of a row of a segment, for a message. */
enum err_code care_row_id(struct care_set *set, const struct care_row *row, char out[128],
                          struct err *err) ERR_MUST_CHECK;

/* ---- care_choose.c ---- */

/* Of segments that hold copies of each other's rows, take out (skips[place] = true) as many as leave every row
 * once. *ret_rows_lost: rows that none of those kept holds; 0 where there is an exact choice. */
enum err_code care_choose(struct care_set *set, bool *skips, uint64_t *ret_rows_lost,
                          struct err *err) ERR_MUST_CHECK;

/* ---- care_ids.c ---- */

/* Write a new ids.log at `path`, durable but for its name: what is whole of the old one, and the ids that the rows of
 * segments (but those in `skips`) and the log carry. *ret_lost: numbers that are nobody's now. */
enum err_code care_ids_make(struct care_set *set, const bool *skips, const char *path,
                            struct ids_mark *ret, uint64_t *ret_lost,
                            struct err *err) ERR_MUST_CHECK;

/* The old ids.log as far as it is whole and its numbers are in order; nothing of it where they are not. */
enum err_code care_ids_whole(const struct care_set *set, struct ids **ret,
                             struct err *err) ERR_MUST_CHECK;
/* Whose each row of a segment is: the user id, else the anonymous id, with shard and subject. Rows without
 * either are left out. Keys are valid within the call. */
typedef void (*care_id_fn)(void *arg, const struct id_entry *entry);
enum err_code care_segment_ids(const struct care_set *set, const char *path, care_id_fn fn,
                               void *arg, struct err *err) ERR_MUST_CHECK;
/* Whether a key is one that care_ids_make gave to a number that is nobody's now. */
bool care_id_is_lost(struct str key);

/* ---- care_cold.c ---- */

/* Does what a segment says of its rows' ids fit ids.log? */
enum cold_fit {
    COLD_FIT_AGREES,      /* every id that is known has the number that it has there */
    COLD_FIT_UNKNOWN,     /* none of its ids is known */
    COLD_FIT_CONTRADICTS, /* a number or an id is another's: these are another data set's rows */
    COLD_FIT_DAMAGED,     /* it cannot be read: see `what` */
};
struct cold_stranger { /* a segment in the cold directory that the lists do not name */
    struct care_segment_facts facts;
    enum cold_fit fit;
    struct err what;
};
struct cold_strangers {
    struct buf list; /* struct cold_stranger */
    uint32_t fits[COLD_FIT_DAMAGED + 1];
};
void cold_strangers_done(struct cold_strangers *strangers);
static inline struct cold_stranger *cold_strangers_of(const struct cold_strangers *strangers,
                                                      size_t *ret_count)
{
    *ret_count = strangers->list.len / sizeof(struct cold_stranger);
    return (struct cold_stranger *)(void *)strangers->list.ptr;
}
/* Read all of them. `ids`: as much of ids.log as is whole. */
enum err_code care_cold_strangers(struct care_set *set, const struct ids *ids,
                                  struct cold_strangers *ret, struct err *err) ERR_MUST_CHECK;
/* Most of those that can tell say that they are this data set's. */
static inline bool cold_strangers_are_ours(const struct cold_strangers *strangers)
{
    return strangers->fits[COLD_FIT_AGREES] > strangers->fits[COLD_FIT_CONTRADICTS];
}

/* ---- care_verify.c ---- */

/* The catalog of a stopped folder, read-only. Where a transaction was cut off, SQLite must put pages back first:
 * then a copy of it in a folder for temporary files is opened, which `ret_copy` names ("": none). */
#define CARE_COPY_BYTES 256
enum err_code care_catalog_open(struct care *care, struct catalog **ret,
                                char ret_copy[CARE_COPY_BYTES], struct err *err) ERR_MUST_CHECK;
/* What SQLite would not complain of while it only reads: a header that makes the file read-only, or another's. */
enum err_code care_catalog_head(struct care *care, struct err *err) ERR_MUST_CHECK;
void care_catalog_close(struct care *care, struct catalog *catalog,
                        const char copy[CARE_COPY_BYTES]);
/* What a backup's manifest says of its files; nothing where there is none. */
enum err_code care_look_at_manifest(struct care *care, struct err *err) ERR_MUST_CHECK;
/* As care_verify, without looking at the lock. */
enum err_code care_verify_folder(struct care *care, struct err *err) ERR_MUST_CHECK;

/* ---- care_repair.c, care_rebuild.c ---- */

struct repair {
    struct care care;
    bool is_dry; /* say, and change nothing */
    bool is_cold_lost;
    care_line_fn fn;
    void *arg;
    struct buf text; /* of the report */
    struct repair_sums sums;
    int64_t now_ms;
};
/* A line; repair_change: of something that is done, or would be. */
void repair_say(struct repair *repair, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void repair_change(struct repair *repair, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Whether an error of looking at a file is that file's damage: then ERR_OK. Else (no memory, a newer version,
 * a file that may not be opened) the error: repair ends. */
enum err_code repair_is_damage(struct repair *repair, const char *path, const struct err *what,
                               struct err *err) ERR_MUST_CHECK;
/* Move DATASET/`name` to DATASET/quarantine/ ("shard-05/000006.seg" becomes "shard-05-000006.seg"); both in the
 * directory of that tier. */
enum err_code repair_quarantine(struct repair *repair, const struct care_set *set, uint32_t tier,
                                const char *name, struct err *err) ERR_MUST_CHECK;
/* Every file of a shard's, the runs' and the log's folders that is not in the lists (of the log: below the
 * floor), and of the cold directory's where what lies there is ours. */
enum err_code repair_left_overs(struct repair *repair, const struct care_set *set,
                                struct err *err) ERR_MUST_CHECK;
/* Cut the log where it is damaged, until it is whole from set->row.wal_floor on. Needs set->ids, but for a dry run. */
enum err_code repair_log(struct repair *repair, struct care_set *set,
                         struct err *err) ERR_MUST_CHECK;
/* A new ids.log in place of a damaged one: set->row.ids and set->ids are its. */
enum err_code repair_ids(struct repair *repair, struct care_set *set, const bool *skips,
                         const char *why, struct err *err) ERR_MUST_CHECK;
/* Remove a file of the data set that can be made again. */
enum err_code repair_remove(struct repair *repair, const struct care_set *set, const char *name,
                            struct err *err) ERR_MUST_CHECK;
/* A segment that is taken out: its rows are lost to answers. */
void repair_lost_segment(struct repair *repair, const struct care_set *set, const char *name,
                         const struct catalog_segment *meta, const char *why);

/* Take the segments of the cold directory that the lists do not name into them, where they are this data set's.
 * Numbers, mark of time and identity version of the row follow. */
struct cold_take {
    const struct ids *ids; /* as much of ids.log as is whole */
    bool is_ours_anyway;   /* the catalog says that it has segments there */
    bool is_catalog_lost;  /* with nothing to tell by, what lies there is taken for ours */
    uint32_t taken;        /* out: they are the last of the list */
};
enum err_code repair_take_cold(struct repair *repair, struct care_set *set, struct cold_take *take,
                               struct err *err) ERR_MUST_CHECK;
/* Give files of segments that stay in the list the names of their new numbers. */
enum err_code repair_rename_cold(struct repair *repair, struct care_set *set,
                                 struct err *err) ERR_MUST_CHECK;
/* A data set's folder that a sound catalog does not name gets a row (`catalog` NULL: a dry run). */
enum err_code repair_adopt(struct repair *repair, struct catalog *catalog, const char *name,
                           struct err *err) ERR_MUST_CHECK;
/* A new catalog from what the folder holds. `why`: what is wrong with the old one. */
enum err_code repair_rebuild(struct repair *repair, const char *why,
                             struct err *err) ERR_MUST_CHECK;
