/* query/names.h - names that exist, and the one that was probably meant.
 *
 * Nearness is the Damerau-Levenshtein distance (optimal string alignment: insert, delete, replace,
 * swap neighbours), where a difference in ASCII case costs nothing but breaks ties.
 *
 * Thread: any.
 */
#pragma once

#include "query/lex.h"

struct io;
struct snapshot;

#define NAMES_NEAR_BYTES_MAX                                                                       \
    64u /* longer names get no suggestion: bounded work on foreign text   \
                                  */

struct names { /* sorted by bytes, no repeats */
    const struct str *items;
    uint32_t count;
};

/* All event names of the snapshot's sources; strings live as long as the snapshot. Cost: the
 * sources' name dictionaries, from the block cache or disk. ERR_LIMIT, ERR_CORRUPT, ERR_IO. */
enum err_code names_of_events(const struct snapshot *snapshot, struct io *io, struct arena *arena,
                              struct names *ret, struct err *err) ERR_MUST_CHECK;
/* All property names of the schema, whatever their types, and the built-in ones. */
enum err_code names_of_fields(const struct snapshot *snapshot, struct arena *arena,
                              struct names *ret, struct err *err) ERR_MUST_CHECK;
bool names_has(struct names names, struct str name);

/* Distance, or `max` + 1 where it is larger. */
uint32_t names_distance(struct str a, struct str b, uint32_t max);
/* The nearest of `items` within a third of the length of `want` (at most 3 edits); the first of
 * equals. False: none. */
bool names_nearest(const struct str *items, uint32_t count, struct str want, struct str *ret);
