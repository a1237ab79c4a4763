/* query/query.h - the one door: text in, table out.
 *
 * Thread: any; query_run uses the pool's workers and this thread, and returns when the answer is
 * complete. Memory comes from a budget of its own; deadline and cancel flag are looked at once per block.
 */
#pragma once

#include "query/result.h"
#include "storage/store.h"

struct answer_cache;

struct query_param { /* :name in the text; values never need quoting into it */
    struct str name;
    enum { PARAM_STRING, PARAM_NUMBER, PARAM_BOOL } kind;
    struct str string;
    struct num number;
    bool boolean;
};
/* Where metric("x") finds what it stands for: the definition of this version, or with version 0 of the newest, readable as
 * long as the arena. ERR_NOT_FOUND. Thread: that of the parse. */
struct metric_finder {
    enum err_code (*find)(void *arg, struct str name, uint32_t version, struct arena *arena,
                          struct str *ret, struct err *err);
    void *arg;
};
struct query_request {
    struct str text;
    const struct query_param *params;
    uint32_t param_count;
    int64_t now_ms;            /* default of the doors: the clock */
    size_t memory_bytes_max;   /* 0 = 1 GiB */
    struct budget *memory;     /* of all queries together, of which this one's is taken; may be NULL -> ERR_BUSY */
    uint64_t deadline_us;      /* of clock_mono_us; 0 = none -> ERR_TIMEOUT */
    const _Atomic bool *cancel; /* may be NULL -> ERR_CANCELLED */
    struct answer_cache *answers; /* of the process (answer_cache.h); NULL: none */
    bool is_cache_off;         /* it is neither asked nor filled */
    bool is_read_only;         /* what would change the data set is ERR_INVALID: the request was a GET */
    const struct metric_finder *metrics; /* NULL: those of the data set */
    bool is_reference_path;    /* never use indexes: tests compare both paths */
};
#define QUERY_TEXT_BYTES_MAX (1u << 20)

/* err->line and err->column give the place of a mistake in the text. */
enum err_code query_run(struct snapshot *snapshot, struct pool *pool, struct io *io,
                        const struct query_request *request, struct result **ret,
                        struct err *err) ERR_MUST_CHECK;

/* The line of `text` that err points into, and a caret under the place:
 *     funnel a -> b withn 1h
 *                   ^
 * Appends nothing where err has no place. */
void query_error_show(struct str text, const struct err *err, struct buf *out);
