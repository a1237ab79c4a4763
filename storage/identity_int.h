/* storage/identity_int.h - identity from inside.
 *
 *    identity.c        facts, who is moved, whose a row is
 *    identity_rows.c   copying rows out of sources and memtables, reading logins, the views
 *    identity_then.c   whose a row was when it came: what is asked where an identity is by arrival
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/size.h"
#include "storage/identity.h"
#include "storage/stand_ins.h"

#define IDENTITY_CHUNK_ROWS (1u << 17)

struct login {
    int64_t time_ms, arrival_ms;
    uint64_t user; /* its place */
};
struct bound_user { /* of a weak id: a user that it met */
    uint64_t place;
    int64_t since_ms; /* the commit clock; INT64_MIN: from before clocks were kept */
};

/* What an act made of a user, from its commit on. */
struct user_turn {
    int64_t commit_ms;
    bool is_merged, is_nobody;
    uint64_t into;
};
/* A login, and the rows that it says something about: those that arrived in [from_ms, until_ms). */
struct login_span {
    int64_t time_ms, from_ms, until_ms;
    uint64_t user;
};
/* Spans by (time, user) of the login, and over them a tree that tells where one may be: node n has nodes 2n and 2n + 1. */
struct login_spans {
    struct login_span *items;
    uint32_t count, cap;
    uint32_t leaves; /* a power of two */
    struct {
        int64_t from_ms, until_ms; /* the smallest, the largest below it */
    } * nodes;
};

/* A subject that is moved, or has been. */
struct moved {
    uint64_t place;
    struct str key; /* the id; readable as long as the directory */
    enum id_kind kind;
    bool is_active;       /* a user whose merge was undone is not */
    bool is_nobody;       /* a user id: its rows are their weak ids' */
    bool is_new;          /* its rows are not copied yet */
    bool has_rows;        /* it has some: who has none need not be masked */
    bool is_unsorted;     /* the logins */
    uint32_t chunk_shard; /* of the chunks, where its rows go: the shard of its first owner */
    struct bound_user *users; /* of a weak id: those it met */
    uint32_t user_count, user_cap;
    struct login *logins; /* of a weak id with several */
    uint32_t login_count, login_cap;
    uint64_t into; /* of a user */
    /* Of an identity by arrival: */
    struct user_turn *turns; /* of a user, in the order of commits */
    uint32_t turn_count, turn_cap;
    struct login_spans *spans; /* of a weak id; made when they are first asked for */
    uint32_t stand_in;         /* what its own rows stand under; STAND_IN_NONE: it has none */
};

/* Rows in the shard `chunk_shard` of their moved subject, under its index as their subject. */
struct chunk {
    struct memtable *rows;
    uint32_t row_count;      /* appended; published when views are made */
    roaring_bitmap_t *moved; /* whose rows are in it */
    bool is_stale;           /* the views are not as they should be */
    bool is_first_times; /* its rows are no events, but first times of what is expired (first_times.h) */
    bool has_nobody; /* rows of who is nobody: they are of weak ids that `moved` does not name */
    struct memtable_view **views;
    uint32_t view_count;
};

/* A user whose rows are to be searched for logins on a weak id. */
struct search {
    uint64_t user;
    uint32_t moved_idx;
};

struct seen {
    struct memtable *memtable; /* a reference */
    uint32_t rows[SHARD_COUNT];
};

struct identity {
    const struct ids *ids;
    const struct schema *schema;
    uint64_t bytes_max;
    uint64_t next_id; /* facts before it are known */
    bool is_by_arrival;
    bool is_facts_alone; /* by arrival: no row is copied */
    int64_t commit_ms; /* by arrival: of the facts that are being taken */
    struct stand_ins stand_ins[SHARD_COUNT];

    struct moved *moved;
    uint32_t moved_count, moved_cap;
    uint32_t *table; /* open addressing by place: index + 1, 0 = free */
    uint32_t table_size;
    uint32_t new_count, shared_count;
    uint64_t deleted_count;               /* subjects that were deleted when views were made */
    roaring_bitmap_t *masks[SHARD_COUNT]; /* the active ones that have rows; NULL = none */

    struct search *searches; /* to be done */
    uint32_t search_count, search_cap;
    struct chunk *chunks;
    uint32_t chunk_count, chunk_cap;
    struct seen *seen;
    uint32_t seen_count, seen_cap;
};

/* identity.c */

struct moved *identity_find(const struct identity *identity, uint64_t place);
enum err_code identity_add_login(struct moved *moved, struct login login,
                                 struct err *err) ERR_MUST_CHECK;
/* Its logins by (time, user). */
void identity_sort_logins(struct identity *identity, struct moved *moved);
/* The order of users' ids. */
int identity_user_cmp(const struct identity *identity, uint64_t a, uint64_t b);
/* A row of it is copied. */
void identity_note_row(struct identity *identity, uint32_t moved_idx);
/* Its rows may be another's from now on. */
void identity_touch(struct identity *identity, uint32_t moved_idx);
enum err_code identity_no_memory(struct err *err);
/* Room for one more element in an array that grows by doubling. */
enum err_code identity_grow(void **items, uint32_t count, uint32_t *cap, size_t item_bytes,
                            struct err *err) ERR_MUST_CHECK;

/* identity_then.c: of an identity by arrival */

enum err_code identity_take_turn(struct moved *user, struct user_turn turn,
                                 struct err *err) ERR_MUST_CHECK;
/* What the user was as of the commit. */
struct user_turn identity_turn_at(const struct moved *user, int64_t commit_ms);
/* Whom a user is merged into, along merges, as of the commit. */
uint64_t identity_root_then(const struct identity *identity, uint64_t user, int64_t commit_ms);
/* The number that rows of the subject, as their own owner, stand under. */
enum err_code identity_stand_in(struct identity *identity, uint64_t place, uint32_t *ret,
                                struct err *err) ERR_MUST_CHECK;
void identity_then_done(struct moved *moved);

/* identity_rows.c */

/* The rows of who is new, and the logins that are searched for, in all sources of the snapshot. */
enum err_code identity_gather(struct identity *identity, const struct snapshot *base, struct io *io,
                              struct err *err) ERR_MUST_CHECK;
/* Rows [begin, end) of a memtable's shard: of who is moved and not new; logins on shared ids. */
enum err_code identity_follow(struct identity *identity, const struct memtable *memtable,
                              uint32_t shard, uint32_t begin, uint32_t end,
                              struct err *err) ERR_MUST_CHECK;
/* Of all moved rows but those of deleted subjects, where they are not as they should be. */
enum err_code identity_make_views(struct identity *identity, const struct snapshot *base,
                                  struct err *err) ERR_MUST_CHECK;
void identity_chunk_done(struct chunk *chunk);
