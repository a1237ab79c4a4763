/* query/sequence_pattern.h - the text of a sequence's pattern to its elements.
 *
 *     pattern = { "(?N)" | "." | ".*" | "(?t" op COUNT [ UNIT ] ")" }       op: < <= = == >= >
 *
 * (?N) takes one event that meets condition N, `.` any one. `.*` lets any number of events lie between its
 * neighbours. A gap lets them lie between as well, and says how far the element behind it is in time from the one
 * before: seconds where there is no unit. So several of them, and stars, between two elements hold together. A
 * star at either end changes nothing: a sequence is looked for anywhere. A gap there is refused, for it has
 * nothing to be measured from.
 *
 * Thread: pure function.
 */
#pragma once

#include "query/ast.h"

#define SEQUENCE_ELEMENTS_MAX 64u
#define SEQUENCE_GAPS_MAX     8u /* between two elements */

/* ERR_INVALID or ERR_LIMIT, with the place inside of the string that began at `place`. */
enum err_code sequence_pattern_parse(struct str text, struct place place, uint32_t condition_count,
                                     struct arena *arena,
                                     const struct ast_pattern_element **ret_elements,
                                     uint32_t *ret_count, struct err *err) ERR_MUST_CHECK;
