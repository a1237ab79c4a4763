/* storage/identity.h - whose the rows of a bound id are.
 *
 * A row lies under the id that it came with, for ever: its user's, or where it has none its weak id's (an anonymous or a
 * device id). What is learned later moves nothing on disk. It is kept as *facts* in the id directory (ids.h):
 *
 *    binding   a weak id and a user that met in one event: u8 shard, u32 subject of the weak id, the same of the user
 *    act       of the owner, under the name of merges: u32 number, u8 what (enum identity_act), the place of the user, the
 *              place of the one into whom, i64 when (the commit clock, ms)
 *    mark      the same with act IDENTITY_COMMIT, of nobody: the facts behind it, up to the next mark, came with the commit of
 *              this clock. Facts before the first mark are older than marks: they hold in every epoch
 *
 * and each snapshot shows rows as these facts say. The rows of who is bound or merged, a *moved* subject, are masked in every
 * source like a deleted subject's, and stand once more in sources of the snapshot's own, under whom they belong to. So a
 * query counts a person once, in rows and in stored sets of subjects, and knows nothing of bindings. Where there is no fact
 * there is nothing to do and no lock is taken.
 *
 *    weak id, one user      all of its rows are the user's, those from before the two met as well
 *    weak id, several       *shared*: a row is of the user whose login, an event with both ids, is the last at or before
 *                           it; before the first login of the first user. Of logins in one ms that of the greater user id
 *                           is the last. Logins are the rows themselves, and read when an id becomes shared
 *    merged user            all rows are of the one into whom, and so on along merges, until it is undone
 *
 *    nobody                 a user id that the owner declared to stand for nobody: a row is of the weak id that it came with
 *                           as well, or of that one's user; without one it is left out; and it is no login
 *
 * All of it is a function of the events and of the acts' order, whatever order the events came in. Of an identity *by arrival*
 * it is one of the commits' order as well: see identity_create_by_arrival.
 *
 * The moved rows are copied into memory, in *chunks*, when they are first moved and as they come; where they belong is
 * decided again, chunk by chunk, when that may have changed. ERR_LIMIT where they need more than bytes_max.
 *
 * Thread: one at a time, under the data set's identity_lock. What an overlay holds is immutable and reference counted.
 */
#pragma once

#include "storage/ids.h"
#include "storage/memtable.h"
#include "storage/store.h"

struct identity;
struct stand_ins;

/* A subject in one number. */
static inline uint64_t identity_place(uint32_t shard, uint32_t subject)
{
    return (uint64_t)shard << 32 | subject;
}

/* The keys of facts. */
#define IDENTITY_BINDING_BYTES 10u
#define IDENTITY_MERGE_BYTES   23u
void identity_binding_key(uint64_t weak, uint64_t user, uint8_t out[IDENTITY_BINDING_BYTES]);
enum identity_act {
    IDENTITY_UNMERGE = 0,
    IDENTITY_MERGE = 1,
    IDENTITY_NOBODY = 2,
    IDENTITY_SOMEBODY = 3, /* nobody no more */
    IDENTITY_COMMIT = 4,   /* no act: a mark */
};
struct identity_merge {
    uint32_t number; /* no two of a data set have the same */
    enum identity_act act;
    uint64_t from, into; /* into: of a merge and its undoing; else as from */
    int64_t at_ms;
};
void identity_merge_key(const struct identity_merge *merge, uint8_t out[IDENTITY_MERGE_BYTES]);
/* What an entry of the directory says; false where it is no fact, or malformed. */
struct identity_fact {
    bool is_binding;       /* of the weak id `from` to the user `into`; else */
    enum identity_act act; /* this, at `at_ms` */
    uint64_t from, into;
    int64_t at_ms;
};
struct id_entry;
bool identity_fact(const struct id_entry *entry, struct identity_fact *ret);

/* Keeps pointers to both. */
enum err_code identity_create(const struct ids *ids, const struct schema *schema,
                              uint64_t bytes_max, struct identity **ret,
                              struct err *err) ERR_MUST_CHECK;
/* The same by arrival: a row counts for whom the facts made it out to belong to as of the commit that it came with, those of
 * that commit among them, logins on shared ids likewise; what comes later does not move it. A moved subject may then have
 * rows of its own beside those that are another's. As it is masked all the same, they are shown under a *stand-in*, a
 * number from first[shard] on that is nobody else's (stand_ins.h). It is refreshed once, without memtables: all rows are
 * gathered out of sources; with `first` NULL none, but logins: then it can be asked whose a row was, and shows nothing. */
enum err_code identity_create_by_arrival(const struct ids *ids, const struct schema *schema,
                                         uint64_t bytes_max, const uint32_t *first,
                                         struct identity **ret, struct err *err) ERR_MUST_CHECK;
bool identity_is_by_arrival(const struct identity *identity);
const struct stand_ins *identity_stand_ins(const struct identity *identity, uint32_t shard);
/* By arrival: the number that the subject's own rows have, if it has any; it may be moved or not. */
bool identity_own_rows(const struct identity *identity, uint64_t place, uint64_t *ret);
/* By arrival: whom an id means: itself where it has rows of its own, else whose its rows would be that came last. */
enum err_code identity_find_own(struct identity *identity, uint64_t place, uint64_t *ret,
                                struct err *err) ERR_MUST_CHECK;
struct identity_row {
    int64_t time_ms, arrival_ms;
    struct str weak; /* the anonymous id that it came with; empty: none */
};
/* By arrival: whose a row of the subject was when it came. *ret_is_somebodys false: nobody's. */
enum err_code identity_owner_then(struct identity *identity, uint64_t place,
                                  const struct identity_row *row, uint64_t *ret,
                                  bool *ret_is_somebodys, struct err *err) ERR_MUST_CHECK;
void identity_free(struct identity *identity);

/* The memtables of a snapshot and how many rows of each it has, and how much of the directory was there. */
struct identity_moment {
    struct memtable *const *memtables;
    const uint32_t (*rows)[SHARD_COUNT];
    uint32_t count;
    uint64_t ids_count;
};
/* How much of the directory came with commits until `until_ms`, of the first `ids_count` entries, and whether facts did. Cost:
 * all entries until then are looked at. */
uint64_t identity_facts_until(const struct ids *ids, uint64_t ids_count, int64_t until_ms,
                              bool *ret_has_facts);
/* Bring it up to a snapshot, which must not be older than the one before: `base` without any overlay. Every memtable must
 * be in one snapshot at least that this is called for (flushes see to it). After an error all is forgotten, and built
 * anew by the next call. Cost: new rows of the memtables are looked at; of who is newly bound or shared, the rows are read
 * wherever they lie. */
enum err_code identity_refresh(struct identity *identity, const struct snapshot *base,
                               const struct identity_moment *moment, enum io_kind io_kind,
                               struct err *err) ERR_MUST_CHECK;
/* Of now: subjects that are moved and have rows; NULL: none. Borrowed until the next refresh. */
const roaring_bitmap_t *identity_moved(const struct identity *identity, uint32_t shard);
/* Of now: the sources of moved rows, in no particular order, borrowed until the next refresh: take references. */
uint32_t identity_view_count(const struct identity *identity);
struct memtable_view *identity_view(const struct identity *identity, uint32_t idx,
                                    bool *ret_is_first_times);

/* When the turn of logins began in which the row of that time was, of a weak id that several users share: its first
 * login, of those of one user behind one another. False: it is not shared, or has no login by then. */
bool identity_turn(struct identity *identity, uint64_t weak, int64_t at_ms, int64_t *ret_since_ms);
/* Whose a row of the subject is, of the time `at_ms`. */
uint64_t identity_owner(struct identity *identity, uint64_t place, int64_t at_ms);
/* Is the user merged into another, and into whom? */
bool identity_merged(const struct identity *identity, uint64_t place, uint64_t *ret_into);

/* Do its facts name the subject? */
bool identity_knows(const struct identity *identity, uint64_t place);
/* Was the user id declared to be nobody's? */
bool identity_is_nobody(const struct identity *identity, uint64_t place);

struct identity_stats {
    uint64_t bound, shared,
        merged;           /* weak ids with a user, of these with several; users in others */
    uint64_t nobodies;    /* user ids that stand for nobody */
    uint64_t refused;     /* acts that could not be, since opening */
    uint64_t rows, bytes; /* copied */
};
struct identity_stats identity_stats(const struct identity *identity);
