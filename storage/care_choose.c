/* storage/care_choose.c - which of overlapping segments to keep, so that every event is there once.
 *
 * A crash around a compaction leaves its inputs and some or all of its outputs; with the catalog lost, nothing
 * says which of them count. What they hold does: rows that are copies of each other (event id and arrival)
 * are found exactly, and sorted into classes by the set of segments that hold them. Then the question is
 * Knuth's exact cover (Dancing Links, 2000) over a handful of classes: choose segments so that each class is held
 * by exactly one. Newer ones are tried first. Where no choice does (rows of deleted subjects went with a
 * merge, an input was unlinked already) the largest that do not overlap are kept, and what is lost is said. */
#include "storage/care_int.h"

#include "storage/base/size.h"

#include <stdlib.h>
#include <string.h>

#define CLASSES_MAX 65536u
#define STEPS_MAX   1000000u

/* Rows that the same segments hold: `first` and `count` into `members`. */
struct row_class {
    uint32_t first, count;
    uint64_t rows;
};

enum fate { FATE_OPEN, FATE_KEPT, FATE_OUT };

struct choosing {
    struct care_set *set;
    uint32_t segment_count;
    uint64_t *singles;   /* by segment: rows that no other holds */
    struct buf members;  /* u32 */
    struct buf classes;  /* struct row_class */
    uint8_t *fate;       /* enum fate */
    uint32_t *component; /* by segment */
    uint64_t steps;
    uint64_t rows_lost;
};

static uint32_t *members_of(const struct choosing *choosing, const struct row_class *class)
{
    return (uint32_t *)(void *)choosing->members.ptr + class->first;
}

static struct row_class *classes_of(const struct choosing *choosing, size_t *ret_count)
{
    *ret_count = choosing->classes.len / sizeof(struct row_class);
    return (struct row_class *)(void *)choosing->classes.ptr;
}

/* ---- classes ---- */

static enum err_code class_add(struct choosing *choosing, const uint32_t *members, uint32_t count,
                               struct err *err)
{
    size_t class_count = 0;
    struct row_class *classes = classes_of(choosing, &class_count);
    for (size_t i = class_count; i > 0; i--) { /* the same as the one before, mostly */
        struct row_class *class = &classes[i - 1];
        if (class->count == count &&
            memcmp(members_of(choosing, class), members, count * sizeof(*members)) == 0) {
            class->rows++;
            return ERR_OK;
        }
    }
    if (class_count == CLASSES_MAX) {
        return err_set(err, ERR_LIMIT, "segments overlap in more than %u ways", CLASSES_MAX);
    }
    struct row_class class = {
        .first = (uint32_t)(choosing->members.len / sizeof(*members)), .count = count, .rows = 1};
    buf_append(&choosing->members, members, count * sizeof(*members));
    buf_append(&choosing->classes, &class, sizeof(class));
    ERR_TRY(buf_check(&choosing->members, err));
    return buf_check(&choosing->classes, err);
}

/* Copies of one row: sorted by their segment, for all else is equal. */
static enum err_code take_copies(void *arg, const struct care_row *rows, uint32_t count,
                                 struct err *err)
{
    struct choosing *choosing = arg;
    CLEANUP(buf_freep) struct buf members = {0};
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || rows[i].source != rows[i - 1].source) {
            buf_append(&members, &rows[i].source, sizeof(rows[i].source));
        }
    }
    ERR_TRY(buf_check(&members, err));
    uint32_t member_count = (uint32_t)(members.len / sizeof(uint32_t));
    const uint32_t *at = (const uint32_t *)(const void *)members.ptr;
    if (member_count < 2) {
        return ERR_OK;
    }
    for (uint32_t i = 0; i < member_count; i++) {
        choosing->singles[at[i]] -= MIN_OF(choosing->singles[at[i]], UINT64_C(1));
    }
    return class_add(choosing, at, member_count, err);
}

/* ---- components ---- */

static uint32_t root_of(const struct choosing *choosing, uint32_t segment)
{
    while (choosing->component[segment] != segment) {
        segment = choosing->component[segment];
    }
    return segment;
}

static void join(struct choosing *choosing)
{
    size_t count = 0;
    const struct row_class *classes = classes_of(choosing, &count);
    for (uint32_t i = 0; i < choosing->segment_count; i++) {
        choosing->component[i] = i;
    }
    for (size_t i = 0; i < count; i++) {
        const uint32_t *members = members_of(choosing, &classes[i]);
        for (uint32_t k = 1; k < classes[i].count; k++) {
            uint32_t a = root_of(choosing, members[0]);
            uint32_t b = root_of(choosing, members[k]);
            choosing->component[MAX_OF(a, b)] = MIN_OF(a, b);
        }
    }
}

/* ---- exact cover ---- */

static bool is_kept(const struct choosing *choosing, const struct row_class *class)
{
    const uint32_t *members = members_of(choosing, class);
    for (uint32_t i = 0; i < class->count; i++) {
        if (choosing->fate[members[i]] == FATE_KEPT) {
            return true;
        }
    }
    return false;
}

/* Whether a segment holds a row that a kept one holds. */
static bool overlaps_kept(const struct choosing *choosing, uint32_t segment)
{
    size_t count = 0;
    const struct row_class *classes = classes_of(choosing, &count);
    for (size_t i = 0; i < count; i++) {
        const uint32_t *members = members_of(choosing, &classes[i]);
        for (uint32_t k = 0; k < classes[i].count; k++) {
            if (members[k] == segment && is_kept(choosing, &classes[i])) {
                return true;
            }
        }
    }
    return false;
}

/* A class of the component that nothing kept holds, the one with the fewest ways to; NULL: all are held. */
static const struct row_class *next_class(const struct choosing *choosing, uint32_t root)
{
    size_t count = 0;
    const struct row_class *classes = classes_of(choosing, &count);
    const struct row_class *best = NULL;
    uint32_t best_ways = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        const uint32_t *members = members_of(choosing, &classes[i]);
        if (root_of(choosing, members[0]) != root || is_kept(choosing, &classes[i])) {
            continue;
        }
        uint32_t ways = 0;
        for (uint32_t k = 0; k < classes[i].count; k++) {
            ways += choosing->fate[members[k]] == FATE_OPEN && !overlaps_kept(choosing, members[k]);
        }
        if (ways < best_ways) {
            best = &classes[i];
            best_ways = ways;
        }
    }
    return best;
}

static bool cover(struct choosing *choosing, uint32_t root);

/* Keep the segment, and see whether the rest can be covered. */
static bool try_segment(struct choosing *choosing, uint32_t root, uint32_t segment)
{
    if (choosing->fate[segment] != FATE_OPEN || overlaps_kept(choosing, segment) ||
        choosing->steps++ >= STEPS_MAX) {
        return false;
    }
    choosing->fate[segment] = FATE_KEPT;
    if (cover(choosing, root)) {
        return true;
    }
    choosing->fate[segment] = FATE_OPEN;
    return false;
}

static uint64_t number_of(const struct choosing *choosing, uint32_t segment)
{
    size_t count = 0;
    return care_set_segments(choosing->set, &count)[segment].number;
}

static bool cover(struct choosing *choosing, uint32_t root)
{
    const struct row_class *class = next_class(choosing, root);
    if (class == NULL) {
        return true;
    }
    uint64_t below = UINT64_MAX;
    for (uint32_t tried = 0; tried < class->count; tried++) { /* by number, the newest first */
        const uint32_t *members = members_of(choosing, class);
        uint32_t newest = UINT32_MAX;
        for (uint32_t k = 0; k < class->count; k++) {
            uint64_t number = number_of(choosing, members[k]);
            if (number < below && (newest == UINT32_MAX || number > number_of(choosing, newest))) {
                newest = members[k];
            }
        }
        if (newest == UINT32_MAX) {
            return false;
        }
        below = number_of(choosing, newest);
        if (try_segment(choosing, root, newest)) {
            return true;
        }
    }
    return false;
}

/* ---- deciding ---- */

/* Segments with rows that nobody else has must be kept: true where no two of them overlap. */
static bool keep_singles(struct choosing *choosing, uint32_t root)
{
    for (uint32_t i = 0; i < choosing->segment_count; i++) {
        if (root_of(choosing, i) == root && choosing->singles[i] > 0) {
            if (overlaps_kept(choosing, i)) {
                return false;
            }
            choosing->fate[i] = FATE_KEPT;
        }
    }
    return true;
}

/* The largest first, and what does not overlap them. */
static void keep_largest(struct choosing *choosing, uint32_t root)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(choosing->set, &count);
    for (;;) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < choosing->segment_count; i++) {
            if (root_of(choosing, i) == root && choosing->fate[i] == FATE_OPEN &&
                (best == UINT32_MAX || segments[i].row_count > segments[best].row_count)) {
                best = i;
            }
        }
        if (best == UINT32_MAX) {
            return;
        }
        choosing->fate[best] = overlaps_kept(choosing, best) ? FATE_OUT : FATE_KEPT;
    }
}

static void count_lost(struct choosing *choosing, uint32_t root)
{
    size_t count = 0;
    const struct row_class *classes = classes_of(choosing, &count);
    for (uint32_t i = 0; i < choosing->segment_count; i++) {
        if (root_of(choosing, i) == root && choosing->fate[i] == FATE_OUT) {
            choosing->rows_lost += choosing->singles[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (root_of(choosing, members_of(choosing, &classes[i])[0]) == root &&
            !is_kept(choosing, &classes[i])) {
            choosing->rows_lost += classes[i].rows;
        }
    }
}

static void decide(struct choosing *choosing, uint32_t root)
{
    bool is_exact = keep_singles(choosing, root) && cover(choosing, root);
    for (uint32_t i = 0; !is_exact && i < choosing->segment_count; i++) {
        if (root_of(choosing, i) == root) {
            choosing->fate[i] = FATE_OPEN;
        }
    }
    if (!is_exact) {
        keep_largest(choosing, root);
    }
    for (uint32_t i = 0; i < choosing->segment_count; i++) {
        if (root_of(choosing, i) == root && choosing->fate[i] == FATE_OPEN) {
            choosing->fate[i] = FATE_OUT;
        }
    }
    count_lost(choosing, root);
}

static enum err_code choose(struct choosing *choosing, bool *skips, struct err *err)
{
    struct care_rows_opts opts = {.is_copies = true, .skips = skips};
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(choosing->set, &count);
    for (size_t i = 0; i < count; i++) {
        choosing->singles[i] = segments[i].row_count;
    }
    ERR_TRY(care_rows_equal(choosing->set, &opts, take_copies, choosing, err));
    join(choosing);
    size_t class_count = 0;
    struct row_class *classes = classes_of(choosing, &class_count);
    for (size_t i = 0; i < class_count; i++) {
        uint32_t root = root_of(choosing, members_of(choosing, &classes[i])[0]);
        bool is_new = true;
        for (size_t k = 0; k < i; k++) {
            is_new = is_new && root_of(choosing, members_of(choosing, &classes[k])[0]) != root;
        }
        if (is_new) {
            choosing->steps = 0;
            decide(choosing, root);
        }
    }
    for (size_t i = 0; i < count; i++) {
        skips[i] = skips[i] || choosing->fate[i] == FATE_OUT;
    }
    return ERR_OK;
}

enum err_code care_choose(struct care_set *set, bool *skips, uint64_t *ret_rows_lost,
                          struct err *err)
{
    size_t count = 0;
    (void)care_set_segments(set, &count);
    struct choosing choosing = {.set = set, .segment_count = (uint32_t)count};
    choosing.singles = calloc(count + 1, sizeof(*choosing.singles));
    choosing.fate = calloc(count + 1, sizeof(*choosing.fate));
    choosing.component = calloc(count + 1, sizeof(*choosing.component));
    enum err_code code = ERR_OK;
    if (choosing.singles == NULL || choosing.fate == NULL || choosing.component == NULL) {
        code = err_set(err, ERR_NOMEM, "no memory for %zu segments", count);
    } else {
        code = choose(&choosing, skips, err);
    }
    *ret_rows_lost = choosing.rows_lost;
    free(choosing.singles);
    free(choosing.fate);
    free(choosing.component);
    buf_done(&choosing.members);
    buf_done(&choosing.classes);
    return code;
}
