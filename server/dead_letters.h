/* server/dead_letters.h - events that were kept out as conflicts, as events of a data set of their own.
 *
 *    shop        "e1" again, with another content: RECEIPT_CONFLICT
 *    shop.dead   event_name              "conflict"
 *                event_id                "conflict:" and 32 hexadecimal digits of what the event says
 *                event_time              its arrival
 *                user_id, anonymous_id   the event's
 *                reason                  as in its receipt
 *                original_event_id, original_event_name, original_event_time
 *                event_json              the event as one line that /v1/events takes
 *
 * A letter's id follows from the event's id, name and properties alone, so an event that is sent again,
 * perhaps with another time or user, makes no second letter while the dedup window knows the first one.
 *
 * event_json says what the event said: posted again it has the same id, time, name, users and
 * properties, every number exact. One kind of value comes back as another: a timestamp property, which only
 * protobuf can send, is ISO 8601 text there (milliseconds as digits beyond the years -9999 .. 9999).
 *
 * Thread: pure functions over their arguments.
 */
#pragma once

#include "storage/event.h"
#include "storage/store.h"

/* The name of the data set that keeps the dead letters of `dataset`: NAME.dead; where that is longer than
 * a name may be, the first 42 bytes, "-", 16 hexadecimal digits of a hash of the whole, ".dead". False,
 * and `out` is empty, for a data set of dead letters (its name ends in ".dead"): it makes none. */
bool dead_letters_dataset(struct str dataset, char out[DATASET_NAME_BYTES_MAX + 1]);

/* One letter for each conflict of a written batch, at least one. The letters' strings may point into `batch`, which
 * must outlive them; `budget` (NULL: none) must outlive them, too. ERR_LIMIT where it is spent. */
enum err_code dead_letters_build(const struct event_batch *batch, struct budget *budget,
                                 struct event_batch **ret, struct err *err) ERR_MUST_CHECK;

/* What the data set of dead letters made of them: ERR_LIMIT where it refused one, with its reason. A letter that it
 * knows already is kept. */
enum err_code dead_letters_check(const struct event_batch *letters, struct err *err) ERR_MUST_CHECK;
