/* query/scan_ahead.c - what the next blocks of a scan need, fetched in batches (scan.h says how). */
#include "query/scan_int.h"

#include "query/traits.h"

#include "storage/base/size.h"

#define AHEAD_BYTES_MAX  (4u << 20) /* fetched and not yet read; journeys have a scan per source */
#define AHEAD_BLOCKS_MAX 8u /* that names are fetched of: then it is known what else is needed */

static uint32_t scan_pred_size(const struct pred *pred)
{
    uint32_t size = pred == NULL ? 0 : 1;
    for (uint32_t i = 0; pred != NULL && i < pred->kid_count; i++) {
        size += scan_pred_size(pred->kids[i]);
    }
    return size;
}

void scan_start_ahead(struct scan *scan)
{
    const struct scan_spec *spec = scan->spec;
    struct scan_ahead *ahead = &scan->ahead;
    bool has_pred = spec->query->where != NULL;
    ahead->cols_max = 2 + spec->col_count + scan_pred_size(spec->query->where);
    for (uint32_t i = 0; i < scan->alt_count; i++) {
        ahead->cols_max += scan_pred_size(scan->alts[i].pred);
        has_pred |= scan->alts[i].pred != NULL;
    }
    ahead->is_field_likely = !has_pred;
    ahead->end = scan->block;
    ahead->held =
        (struct read_ahead){.bytes_max = AHEAD_BYTES_MAX, .budget = arena_budget(scan->keep)};
    scan->read.ahead = &ahead->held;
}

/* An item that is read by one is read; who says what a profile says asks whose row it is, and when. */
static void scan_add_item(struct read_item *items, uint32_t *count, uint32_t first, uint32_t col,
                          uint32_t block)
{
    bool is_trait = traits_is_col(col);
    bool is_new = col != UINT32_MAX && !is_trait;
    for (uint32_t i = first; i < *count; i++) {
        bool is_meant = items[i].col == col || (is_trait && (items[i].col == COL_SUBJECT ||
                                                             items[i].col == COL_EVENT_TIME));
        items[i].unless = is_meant ? READ_ALWAYS : items[i].unless;
        is_new &= items[i].col != col;
    }
    if (is_new) {
        items[(*count)++] = (struct read_item){.col = col, .block = block};
    }
}

static void scan_add_pred(struct read_item *items, uint32_t *count, uint32_t first,
                          const struct pred *pred, uint32_t block)
{
    for (uint32_t i = 0; pred != NULL && i < pred->kid_count; i++) {
        scan_add_pred(items, count, first, pred->kids[i], block);
    }
    if (pred != NULL && pred->kind >= PRED_EQ) {
        scan_add_item(items, count, first, pred_field_col(&pred->field), block);
    }
}

static void scan_add_fields(const struct scan *scan, struct read_item *items, uint32_t *count,
                            uint32_t first, uint32_t block)
{
    for (uint32_t c = 0; c < scan->spec->col_count; c++) {
        scan_add_item(items, count, first, scan->spec->cols[c], block);
    }
}

/* Whether a row of the block is of the alternative's event. Looking counts for nothing: the block
 * is counted when its rows are taken. */
static enum err_code scan_alt_has_rows(struct scan *scan, const struct scan_alt *alt,
                                       uint32_t block, bool *ret, struct err *err)
{
    uint32_t count = 1;
    if (alt->slot != SLOT_ANY) {
        uint64_t bytes_read = scan->read.bytes_read;
        uint64_t blocks_read = scan->read.blocks_read;
        ERR_TRY(source_value_rows(scan->source, &scan->read, COL_EVENT_NAME,
                                  scan->slots[alt->slot - 1].code, block, NULL, &count, err));
        scan->read.bytes_read = bytes_read;
        scan->read.blocks_read = blocks_read;
    }
    *ret = count > 0;
    return ERR_OK;
}

/* What the block needs, where it has candidates, is appended to `items`. The last terms of an `and`
 * may turn out not to be asked for: hardly ever, of 65,536 rows. */
static enum err_code scan_add_block(struct scan *scan, uint32_t block, struct read_item *items,
                                    uint32_t *count, struct err *err)
{
    uint32_t first = *count;
    enum scan_path path = SCAN_PATHS;
    enum read_unless unless = READ_ALWAYS;
    (void)scan_activate(scan, block);
    ERR_TRY(scan_foresee_path(scan, block, &path, err));
    if (path == SCAN_PATHS) {
        return ERR_OK;
    }
    if (scan->term_count > 0) { /* it may be terms that rows are found by */
        unless = READ_ALWAYS;
    } else if (path == SCAN_STREAMS) { /* they have times and subjects beside them */
        unless = READ_UNLESS_EVENT_ROWS;
    } else if (path == SCAN_CODES && scan_may_be_journeys(scan)) {
        unless = READ_UNLESS_JOURNEYS;
    }
    items[(*count)++] = (struct read_item){.col = COL_SUBJECT, .block = block, .unless = unless};
    items[(*count)++] = (struct read_item){.col = COL_EVENT_TIME, .block = block, .unless = unless};
    for (uint32_t i = 0; i < scan->alt_count; i++) {
        const struct scan_alt *alt = &scan->alts[i];
        bool has_rows = false;
        if (alt->is_active && alt->pred != NULL) {
            ERR_TRY(scan_alt_has_rows(scan, alt, block, &has_rows, err));
        }
        if (has_rows) {
            scan_add_pred(items, count, first, alt->pred, block);
        }
    }
    scan_add_pred(items, count, first, scan->spec->query->where, block);
    scan->ahead.candidates |= UINT64_C(1) << block;
    if (scan->ahead.is_field_likely) {
        scan_add_fields(scan, items, count, first, block);
    }
    return ERR_OK;
}

/* Names of the next blocks that pruning by time leaves, so that it can be told which of them have
 * candidates. Returns where these blocks end. */
static uint32_t scan_fetch_names(struct scan *scan, uint64_t *ret_blocks)
{
    struct read_item items[AHEAD_BLOCKS_MAX];
    uint32_t named = 0;
    uint32_t count = 0;
    uint32_t block = scan->ahead.end;
    *ret_blocks = 0;
    for (; block < scan->block_end && count < AHEAD_BLOCKS_MAX; block++) {
        bool is_named = false;
        if (!scan_activate(scan, block)) {
            continue;
        }
        for (uint32_t i = 0; i < scan->alt_count; i++) {
            is_named |= scan->alts[i].is_active && scan->alts[i].slot != SLOT_ANY;
        }
        *ret_blocks |= UINT64_C(1) << block;
        count++;
        if (is_named) {
            items[named++] =
                (struct read_item){.col = COL_EVENT_NAME, .block = block, .is_by_value = true};
        }
    }
    /* Those that there was no room for are read one by one: they are small. */
    (void)source_prefetch(scan->source, &scan->read, items, named);
    return block;
}

enum err_code scan_look_ahead(struct scan *scan, struct err *err)
{
    struct scan_ahead *ahead = &scan->ahead;
    struct arena_mark mark = arena_mark(scan->scratch);
    struct read_item *items = NULL;
    uint32_t count = 0;
    uint64_t blocks = 0;
    read_ahead_clear(&ahead->held);
    uint32_t first = ahead->end;
    ahead->end = scan_fetch_names(scan, &blocks);
    ahead->candidates = 0;
    ERR_TRY(ARENA_NEW(scan->scratch, (size_t)AHEAD_BLOCKS_MAX * ahead->cols_max, &items, err));
    for (uint64_t bits = blocks; bits != 0; bits &= bits - 1) {
        ERR_TRY(scan_add_block(scan, (uint32_t)__builtin_ctzll(bits), items, &count, err));
    }
    uint32_t done = source_prefetch(scan->source, &scan->read, items, count);
    if (done < count) { /* the rest next time; but the first block now, read one by one */
        ahead->end = MAX_OF(items[done].block, first + 1);
    }
    ahead->with_fields = ahead->is_field_likely ? ahead->candidates : 0;
    arena_rewind(scan->scratch, mark);
    return ERR_OK;
}

enum err_code scan_fetch_fields(struct scan *scan, struct err *err)
{
    struct scan_ahead *ahead = &scan->ahead;
    struct read_item *items = NULL;
    uint32_t count = 0;
    uint64_t now = UINT64_C(1) << scan->block_now;
    if (scan->read.ahead == NULL || scan->spec->col_count == 0 || (ahead->with_fields & now) != 0) {
        return ERR_OK;
    }
    struct arena_mark mark = arena_mark(scan->scratch);
    ERR_TRY(
        ARENA_NEW(scan->scratch, (size_t)AHEAD_BLOCKS_MAX * scan->spec->col_count, &items, err));
    for (uint64_t bits = ahead->candidates & ~(now - 1); bits != 0; bits &= bits - 1) {
        uint32_t block = (uint32_t)__builtin_ctzll(bits);
        if (block < ahead->end) {
            scan_add_fields(scan, items, &count, count, block);
        }
    }
    uint32_t done = source_prefetch(scan->source, &scan->read, items, count);
    uint32_t end = done < count ? items[done].block : ahead->end;
    for (uint32_t i = 0; i < done; i++) {
        ahead->with_fields |= items[i].block < end ? UINT64_C(1) << items[i].block : 0;
    }
    arena_rewind(scan->scratch, mark);
    return ERR_OK;
}
