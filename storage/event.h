/* storage/event.h - a batch of events on its way in: what the doors parse and the writer takes.
 *
 * All strings point into memory that the batch's arena owns (or keeps alive). Property names are
 * interned per batch; a (name, type) pair becomes a column when it is first seen. Values of one
 * event: at most one per name, the last one given wins (the parser sees to that).
 *
 * Thread: one owner at a time; dataset_submit takes it over until its callback runs.
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/num.h"

enum col_type {
    COL_STRING = 1,
    COL_NUMBER = 2,
    COL_BOOL = 3,
    COL_TIME = 4, /* int64 ms since the epoch, UTC */
    COL_LIST = 5, /* of strings */
};
const char *col_type_name(enum col_type type); /* "string", "number", "bool", "timestamp", "list" */

struct prop {
    uint32_t name_idx; /* into batch.names */
    enum col_type type;
    union {
        struct str string;
        struct num number;
        bool boolean;
        int64_t ts_ms;
        struct {
            uint32_t first, count; /* into batch.list_items */
        } list;
    };
};

enum receipt_status {
    RECEIPT_PENDING = 0,
    RECEIPT_ACCEPTED,
    RECEIPT_DUPLICATE, /* this event is known: its id with the same name and properties */
    RECEIPT_REJECTED,
    RECEIPT_CONFLICT, /* its id is known with another name or other properties: it was kept out */
};

struct event {
    struct str event_id; /* empty: the writer gives a fresh UUID and stores it here */
    struct str name;
    struct str user_id;      /* empty = absent; sentinels ("null", all-zero UUID, ...) are absent */
    struct str anonymous_id; /* empty = absent */
    int64_t time_ms;
    uint32_t prop_first, prop_count; /* into batch.props */
    enum receipt_status status;      /* REJECTED by the parser: the writer leaves it alone */
    struct str reason;               /* of a rejection or a conflict, for the receipt */
    uint32_t line;                   /* place in the body, from 1 */
};

#define EVENT_ID_BYTES_MAX   512u
#define EVENT_NAME_BYTES_MAX 512u
#define USER_ID_BYTES_MAX    512u
#define PROP_NAME_BYTES_MAX  512u
#define PROPS_PER_EVENT_MAX  2000u

struct event_batch {
    struct arena *arena; /* owned: event_batch_free frees it and the batch with it */
    struct event *events;
    uint32_t event_count;
    struct prop *props;
    uint32_t prop_count;
    struct str *names;
    uint32_t name_count;
    struct str *list_items;
    uint32_t list_item_count;
    int64_t arrival_ms;
    size_t bytes; /* of the body it came from: what the queue's bound counts */
};

/* Builder: doors add events one by one; arrays grow inside the arena. */
struct batch_builder {
    struct event_batch *batch;
    uint32_t event_cap, prop_cap, name_cap, list_cap;
    uint32_t *name_table; /* open addressing over batch.names */
    uint32_t name_table_size;
    uint32_t *name_prop; /* by name: 1 + place in batch.props of the last one that has it; 0: none */
    uint32_t name_prop_cap;
    bool is_expected; /* batch_expect was called */
    uint32_t bad_name_count; /* interned names that no event may use: empty, too long, with a NUL */
};
enum err_code batch_begin(struct budget *budget, int64_t arrival_ms, struct batch_builder *ret,
                          struct err *err) ERR_MUST_CHECK;
/* Intern a property name (copied into the arena when new). */
enum err_code batch_name(struct batch_builder *builder, struct str name, uint32_t *ret_idx,
                         struct err *err) ERR_MUST_CHECK;
/* Open a new event and return it; valid until the next batch_event. Its props follow through batch_prop. */
enum err_code batch_event(struct batch_builder *builder, struct event **ret,
                          struct err *err) ERR_MUST_CHECK;
/* About so many events are to come in all: room for them, and for properties as the events so far have them, so
 * that the arrays need not grow by copying. Only the first call counts. */
enum err_code batch_expect(struct batch_builder *builder, uint64_t event_count,
                           struct err *err) ERR_MUST_CHECK;
#define BATCH_EXPECT_AFTER 64u /* events that are enough to tell */
/* Add a property to the event opened last; replaces an earlier one of the same name in that event. */
enum err_code batch_prop(struct batch_builder *builder, const struct prop *prop,
                         struct err *err) ERR_MUST_CHECK;
enum err_code batch_list_item(struct batch_builder *builder, struct str item, uint32_t *ret_idx,
                              struct err *err) ERR_MUST_CHECK;
/* Check the event opened last (ids, name, lengths, time against `now`): sets REJECTED and the reason. */
void batch_check_event(struct batch_builder *builder, int64_t now_ms);
void event_batch_free(struct event_batch *batch);

/* "", "null", "undefined" and the all-zero UUID: an id like one of these stands for nobody. */
#define EVENT_SENTINELS 4u
extern const struct str event_sentinels[EVENT_SENTINELS];
bool event_id_is_sentinel(struct str id);
