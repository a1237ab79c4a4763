/* query/scan_int.h - a scan, as its parts see it.
 *
 *     scan.c         opening: which alternatives the source can meet; columns of the block at hand; walking
 *     scan_rows.c    the rows of a block that are asked for
 *     scan_ahead.c   what the next blocks need, fetched in batches
 *
 * An alternative is one (want, event) of a selector. Events that the query names get slots 1, 2, ...; slot 0 is any other
 * event. Alternatives with the same time are one *span*, which says for each slot the bits that a row of that slot gets
 * (`sure`) or may get, once its predicate is looked at (`maybe`).
 */
#pragma once

#include "query/pred_eval.h"
#include "query/run.h"
#include "query/scan.h"
#include "storage/read_ahead.h"
#include "storage/read_held.h"

#define SLOT_OTHER 0u
#define SLOT_ANY   UINT16_MAX

#define SCAN_TERMS_MAX 8u /* conditions of `where` that rows are found by */

struct scan_alt {
    uint64_t bit;
    int64_t begin_ms, end_ms;
    uint16_t slot; /* or SLOT_ANY */
    const struct pred *pred;
    bool is_active; /* may match in the current block */
    bool is_whole;  /* the current block lies within [begin, end) */
};

struct scan_slot {
    struct str event;
    uint32_t code;
    const uint64_t *keep; /* whose rows are wanted (scan_keep); NULL: everybody's */
};

/* Alternatives of one time; `sure` and `maybe` have an entry for each slot. */
struct scan_span {
    int64_t begin_ms, end_ms;
    bool is_active, is_whole; /* as of an alternative */
    uint64_t *sure, *maybe;
};

/* A condition `column = value`, or `column in (...)`, that every row must meet, as codes of the source. */
struct scan_term {
    const struct pred *pred;
    uint32_t col;
    const uint32_t *codes;
    uint32_t code_count;
};

struct scan_col {
    uint32_t col;
    struct vec vec;
};

/* What is fetched ahead: of the blocks before `end`, those that have candidates. */
struct scan_ahead {
    struct read_ahead held;
    uint32_t end;         /* the first block not looked at */
    uint64_t candidates;  /* bit b: block b, of those since the last look, has some */
    uint64_t with_fields; /* bit b: and what scan_field will ask for is fetched */
    bool is_field_likely; /* in the last block a row passed its predicates */
    uint32_t cols_max;    /* of one block */
};

struct scan {
    const struct source *source;
    const struct scan_spec *spec;
    struct query_run_ctx *run;
    struct arena *keep;
    struct arena *scratch;
    struct arena_mark mark;
    struct read_ctx read;
    struct read_held held; /* of the block at hand */
    struct pred_env env;

    struct scan_alt *alts;
    uint32_t alt_count;
    bool has_alt_pred;
    struct scan_slot *slots; /* slot s is slots[s - 1] */
    uint32_t slot_count;
    uint16_t
        *slot_of_code; /* by code of the source's event names; made when it is first asked for */
    struct scan_span *spans;
    uint32_t span_count;
    struct scan_term terms[SCAN_TERMS_MAX];
    uint32_t term_count;
    bool is_where_all_terms;     /* `where` says nothing but the terms */
    uint32_t range; /* of spec->ranges: those before it end before the block at hand */
    uint32_t row_begin, row_end; /* of the subject range */
    uint32_t block, block_end;   /* next block to look at */

    struct scan_ahead ahead;

    uint32_t block_now;
    bool no_journeys; /* a block's values of journeys_field could not be looked up: others' are alike */
    struct block_journeys journeys; /* of the current block, where they are handed on */
    enum scan_path path; /* of the current block, where it has candidates */
    struct scan_col *cols; /* of the current block, as asked for */
    uint32_t col_count, col_cap;
    struct scan_block now;
    struct scan_counters counters;
};

/* Memory until the next block, not zeroed. */
static inline enum err_code scan_raw(struct scan *scan, size_t count, size_t size, void **ret,
                                     struct err *err)
{
    return arena_alloc_raw(scan->scratch, count * size, ret, err);
}

/* ---- scan.c ---- */
/* A column of the current block, read once. */
enum err_code scan_col(struct scan *scan, uint32_t col, struct vec *ret,
                       struct err *err) ERR_MUST_CHECK;
/* Which alternatives can match in the block by its times; false when none. */
bool scan_activate(struct scan *scan, uint32_t block);

/* ---- scan_rows.c ---- */
/* Make spans and terms of the alternatives and `where`. */
enum err_code scan_plan_rows(struct scan *scan, struct err *err) ERR_MUST_CHECK;
/* How the candidates of the current block, which is active, will be found, and how many there are at most; SCAN_PATHS: it
 * has none. */
enum err_code scan_choose_path(struct scan *scan, enum scan_path *ret_path, uint32_t *ret_rows,
                               struct err *err) ERR_MUST_CHECK;
/* How the rows of a block will be found, as far as it can be told without reading for it; SCAN_PATHS: it has none. */
enum err_code scan_foresee_path(struct scan *scan, uint32_t block, enum scan_path *ret,
                                struct err *err) ERR_MUST_CHECK;
/* Whether blocks that are looked at by their codes may be handed on as journeys. */
bool scan_may_be_journeys(const struct scan *scan);
/* The matching rows of the current block, which is active; ret->count may be 0. */
enum err_code scan_rows(struct scan *scan, struct scan_block *ret, struct err *err) ERR_MUST_CHECK;

/* ---- scan_ahead.c ---- */
void scan_start_ahead(struct scan *scan);
/* Look at the next blocks, and fetch what they need. */
enum err_code scan_look_ahead(struct scan *scan, struct err *err) ERR_MUST_CHECK;
/* The block at hand has rows left, which scan_field will be asked about: fetch its columns, and
 * those of the blocks after it, which are likely to have some as well. */
enum err_code scan_fetch_fields(struct scan *scan, struct err *err) ERR_MUST_CHECK;
