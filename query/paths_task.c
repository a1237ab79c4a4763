/* query/paths_task.c - from journeys to counted or logged paths. */
#include "query/paths_int.h"

#include "query/grow.h"
#include "storage/base/size.h"

/* ---- counts ---- */

enum err_code path_counts_init(struct path_counts *counts, struct arena *arena, struct err *err)
{
    *counts = (struct path_counts){0};
    ERR_TRY(ARENA_NEW(arena, PATH_RECENTS, &counts->recents, err));
    return interns_init(&counts->keys, arena, err);
}

static enum err_code counts_put(struct path_counts *counts, const uint32_t *words, uint32_t count,
                                uint32_t *ret_number, struct err *err)
{
    uint32_t before = counts->keys.count;
    ERR_TRY(interns_put_words(&counts->keys, words, count, ret_number, err));
    if (*ret_number == before) {
        ERR_TRY(GROW(counts->keys.arena, &counts->items, before, &counts->cap, err));
        counts->items[before] = (struct path_count){0};
    }
    return ERR_OK;
}

static struct path_recent *recent_of(const struct path_counts *counts, uint32_t begin,
                                     const uint32_t *nodes, uint32_t count)
{
    uint64_t hash = begin;
    for (uint32_t i = 0; i < count; i++) {
        hash = (hash ^ nodes[i]) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return &counts->recents[hash >> 32 & (PATH_RECENTS - 1)];
}

static bool recent_is(const struct path_recent *recent, uint32_t begin, const uint32_t *nodes,
                      uint32_t count)
{
    bool is_same = recent->begin == begin;
    for (uint32_t i = 0; is_same && i < count; i++) {
        is_same = recent->nodes[i] == nodes[i];
    }
    return is_same;
}

enum err_code path_counts_of(struct path_counts *counts, uint32_t head, uint32_t *words,
                             uint32_t count, struct path_count **ret, struct err *err)
{
    const uint32_t *nodes = words + 1;
    uint32_t node_count = count - 1;
    uint32_t number = 0;
    if (node_count == 0 || node_count > PATH_RECENT_NODES || head > UINT32_MAX >> 3) {
        words[0] = head;
        ERR_TRY(counts_put(counts, words, count, &number, err));
        *ret = &counts->items[number];
        return ERR_OK;
    }
    uint32_t begin = head << 3 | node_count;
    struct path_recent *recent = recent_of(counts, begin, nodes, node_count);
    if (!recent_is(recent, begin, nodes, node_count)) {
        words[0] = head;
        ERR_TRY(counts_put(counts, words, count, &number, err));
        *recent = (struct path_recent){.begin = begin, .number = number};
        memcpy(recent->nodes, nodes, node_count * sizeof(*nodes));
    }
    *ret = &counts->items[recent->number];
    return ERR_OK;
}

/* ---- the log ---- */

/* A unit's path, and whose. */
struct unit_path {
    uint32_t head;
    uint32_t subject;
    bool is_new_subject; /* to the log */
    const uint32_t *nodes;
    const int64_t *times;
    uint32_t count;
};

static enum err_code log_room(struct paths_part *part, uint32_t words, struct arena *arena,
                              uint32_t **ret, struct err *err)
{
    struct path_chunk *chunk = part->log_last;

    ASSERT(words <= PATH_LOG_WORDS);
    if (chunk == NULL || PATH_LOG_WORDS - chunk->used < words) {
        void *memory = NULL;
        ERR_TRY(arena_alloc_raw(arena, sizeof(*chunk), &memory, err));
        chunk = memory;
        chunk->next = NULL;
        chunk->used = 0;
        if (part->log_last == NULL) {
            part->log_first = chunk;
        } else {
            part->log_last->next = chunk;
        }
        part->log_last = chunk;
    }
    *ret = chunk->words + chunk->used;
    chunk->used += words;
    return ERR_OK;
}

static enum err_code log_path(struct paths_part *part, bool has_times, const struct unit_path *path,
                              struct arena *arena, struct err *err)
{
    uint32_t count = path->count;
    uint32_t words =
        2 + (path->is_new_subject ? 1u : 0) + count + (has_times ? 2 * (count - 1) : 0);
    uint32_t *out = NULL;

    ERR_TRY(log_room(part, words, arena, &out, err));
    *out++ = count | (path->is_new_subject ? PATH_NEW_SUBJECT : 0);
    *out++ = path->head;
    if (path->is_new_subject) {
        *out++ = path->subject;
    }
    memcpy(out, path->nodes, count * sizeof(*out));
    out += count;
    for (uint32_t i = 1; has_times && i < count; i++) {
        uint64_t ms = (uint64_t)path->times[i] - (uint64_t)path->times[i - 1];
        *out++ = (uint32_t)(ms >> 32);
        *out++ = (uint32_t)ms;
    }
    return ERR_OK;
}

/* ---- units ---- */

static size_t find_mask(const struct paths_part *part, size_t begin, size_t end, uint64_t bit)
{
    while (begin < end && (part->masks[begin] & bit) == 0) {
        begin++;
    }
    return begin;
}

/* Cut the unit [*begin, *end) to its anchors; false where it does not have them. */
static bool trim_unit(const struct paths *paths, const struct paths_part *part, size_t *begin,
                      size_t *end)
{
    if (paths->from == PATHS_STARTING || paths->from == PATHS_BETWEEN) {
        *begin = find_mask(part, *begin, *end, paths->start_bit);
        if (*begin == *end) {
            return false;
        }
    }
    if (paths->from == PATHS_BETWEEN) {
        size_t last = find_mask(part, *begin + 1, *end, paths->end_bit);
        if (last == *end) {
            return false;
        }
        *end = last + 1;
    }
    if (paths->from == PATHS_ENDING) {
        while (*end > *begin && (part->masks[*end - 1] & paths->end_bit) == 0) {
            (*end)--;
        }
    }
    return *end > *begin;
}

/* The unit's nodes, neighbours that are equal taken as one, at the time of the last. Returns how many. */
static size_t collapse(const struct paths *paths, struct paths_part *part, size_t begin, size_t end)
{
    size_t count = 0;
    for (size_t i = begin; i < end; i++) {
        bool is_repeat = count > 0 && part->path[count - 1] == part->at_nodes[i];
        count += !is_repeat || paths->keeps_repeats;
        part->path[count - 1] = part->at_nodes[i];
        part->path_times[count - 1] = part->times[i];
    }
    return count;
}

/* Mark the nodes that the path has had before, for the log. */
static enum err_code mark_loops(struct paths_part *part, size_t count, struct arena *arena,
                                struct err *err)
{
    uint32_t node_count = part->nodes.labels.count;

    if (node_count >= PATH_BACK) {
        return err_set(err, ERR_LIMIT, "more than %u nodes", PATH_BACK);
    }
    if (node_count > part->node_cap) {
        uint32_t cap = MAX_OF(node_count, 2 * part->node_cap);
        ERR_TRY(ARENA_NEW(arena, cap, &part->last_unit, err)); /* of former units: forgotten */
        part->node_cap = cap;
    }
    part->unit++;
    for (size_t i = 0; i < count; i++) {
        uint32_t node = part->path[i];
        if (part->last_unit[node] == part->unit) {
            part->path[i] |= PATH_BACK;
        }
        part->last_unit[node] = part->unit;
    }
    return ERR_OK;
}

/* A unit at hand. */
struct paths_unit {
    const struct bound_query *query;
    struct paths_part *part;
    uint32_t head, group;
    uint32_t subject;
    bool is_watched; /* it may be of the cell that is asked for */
    struct arena *arena;
};

static bool is_path_wanted(const struct bound_cell *cell, const struct paths_part *part,
                           const uint32_t *nodes, size_t count)
{
    bool is_wanted = cell->path == NULL || cell->path_count == count;
    for (size_t i = 0; is_wanted && cell->path != NULL && i < count; i++) {
        is_wanted = str_eq(part->nodes.labels.items[nodes[i]], cell->path[i]);
    }
    return is_wanted;
}

/* Count `count` nodes of the part's path from `begin` on. What stands in front of them may be overwritten. */
static inline enum err_code count_path(struct paths_unit *unit, size_t begin, size_t count,
                                       struct err *err)
{
    struct paths_part *part = unit->part;
    uint32_t *words = part->path + begin - 1;
    struct path_count *item = NULL;
    if (count >= UINT32_MAX / sizeof(uint32_t)) {
        return err_set(err, ERR_LIMIT, "a path of %zu nodes is too long", count);
    }
    ERR_TRY(path_counts_of(&part->counts, unit->head, words, (uint32_t)count + 1, &item, err));
    path_count_add(item, unit->subject);
    path_count_add(&part->all, unit->subject);
    return unit->is_watched && is_path_wanted(unit->query->cell, part, words + 1, count)
               ? cell_watch_take(&part->watch, unit->group, unit->subject, err)
               : ERR_OK;
}

static enum err_code count_windows(struct paths_unit *unit, size_t count, struct err *err)
{
    const struct paths *paths = &unit->query->paths;
    size_t depth = paths->depth;
    size_t first = 0;
    size_t last = 0;
    if (count < depth || (paths->from == PATHS_BETWEEN && count != depth)) {
        return ERR_OK;
    }
    if (paths->from == PATHS_ALL || paths->from == PATHS_ENDING) {
        last = count - depth;
        first = paths->from == PATHS_ENDING ? last : 0;
    }
    for (size_t i = first; i <= last; i++) { /* forward: the node in front is done with */
        ERR_TRY(count_path(unit, i, depth, err));
    }
    return ERR_OK;
}

/* Edges: the first `depth` nodes, or the last, where the path ends at its anchor. */
static enum err_code log_edges(struct paths_unit *unit, size_t count, struct err *err)
{
    const struct paths *paths = &unit->query->paths;
    struct paths_part *part = unit->part;
    size_t shown = MIN_OF(count, (size_t)paths->depth);
    size_t first = paths->from == PATHS_ENDING ? count - shown : 0;
    if (shown < 2) {
        return ERR_OK;
    }
    ERR_TRY(mark_loops(part, count, unit->arena, err));
    struct unit_path path = {
        .head = unit->head,
        .subject = unit->subject,
        .is_new_subject = part->all.last_subject != (uint64_t)unit->subject + 1,
        .nodes = part->path + first,
        .times = part->path_times + first,
        .count = (uint32_t)shown,
    };
    path_count_add(&part->all, unit->subject);
    part->all.count += shown - 2; /* as many edges as nodes, less one */
    return log_path(part, paths->has_times, &path, unit->arena, err);
}

/* The unit's own bucket and group: those of its first event, wherever its path begins. */
static enum err_code unit_head(struct paths_unit *unit, const struct paths_plan *plan, size_t begin,
                               struct err *err)
{
    struct paths_part *part = unit->part;
    int64_t begin_ms = part->times[begin];
    unit->group = unit->query->key_count == 0 ? 0 : part->groups[begin];
    unit->is_watched = cell_watch_has(&part->watch, begin_ms);
    return row_heads_of(&part->heads, answer_bucket_of(&plan->buckets, begin_ms), unit->group,
                        &unit->head, err);
}

static enum err_code count_unit(struct paths_unit *unit, const struct paths_plan *plan,
                                size_t begin, size_t end, struct err *err)
{
    const struct paths *paths = &unit->query->paths;
    size_t first = begin;
    if (!trim_unit(paths, unit->part, &begin, &end)) {
        return ERR_OK;
    }
    ERR_TRY(unit_head(unit, plan, first, err));
    size_t count = collapse(paths, unit->part, begin, end);
    switch (paths->shape) {
    case PATHS_EDGES: return log_edges(unit, count, err);
    case PATHS_EXACTLY: return count_windows(unit, count, err);
    case PATHS_VARIANTS:
    case PATHS_SHORTEST: return count_path(unit, 0, count, err);
    }
    return ERR_OK;
}

/* ---- journeys ---- */

static enum err_code part_fit(struct paths_part *part, size_t count, bool has_keys,
                              struct arena *arena, struct err *err)
{
    uint32_t *words = NULL;
    if (part->cap >= count) {
        return ERR_OK;
    }
    size_t cap = MAX_OF(count, 2 * part->cap);
    ERR_TRY(ARENA_NEW(arena, cap, &part->times, err));
    ERR_TRY(ARENA_NEW(arena, cap, &part->masks, err));
    ERR_TRY(ARENA_NEW(arena, cap, &part->at_nodes, err));
    ERR_TRY(ARENA_NEW(arena, has_keys ? cap : 0, &part->groups, err));
    ERR_TRY(ARENA_NEW(arena, cap + 1, &words, err));
    ERR_TRY(ARENA_NEW(arena, cap, &part->path_times, err));
    part->path = words + 1;
    part->cap = cap;
    return ERR_OK;
}

/* Events that are ignored, or have no node, are as if they were not there. */
static enum err_code take_events(const struct bound_query *query, struct paths_part *part,
                                 const struct journey *journey, size_t *ret_count, struct err *err)
{
    const struct paths *paths = &query->paths;
    bool has_keys = query->key_count > 0;
    size_t count = 0;
    for (size_t i = 0; i < journey->count; i++) {
        uint32_t node = PATH_NO_NODE;
        if ((journey->masks[i] & paths->ignore_bit) != 0) {
            continue;
        }
        ERR_TRY(path_node_of(&part->nodes, journey->lanes[0][i], &node, err));
        if (node == PATH_NO_NODE) {
            continue;
        }
        part->times[count] = journey->times[i];
        part->masks[count] = journey->masks[i];
        if (has_keys) {
            part->groups[count] = journey->lanes[PATHS_LANE_KEYS][i];
        }
        part->at_nodes[count++] = node;
    }
    *ret_count = count;
    return ERR_OK;
}

/* Sessions are of the range that they begin in; a subject's unit has the events of the range. */
static enum err_code count_journey(struct paths_unit *unit, const struct paths_plan *plan,
                                   size_t count, struct err *err)
{
    const struct bound_query *query = unit->query;
    const struct paths_part *part = unit->part;
    if (!query->paths.is_cut) {
        return count_unit(unit, plan, 0, count, err);
    }
    size_t end = 0;
    for (size_t begin = 0; begin < count; begin = end) {
        end = session_end(&plan->rule, part->times, count, begin);
        if (part->times[begin] >= query->from_ms && part->times[begin] < query->to_ms) {
            ERR_TRY(count_unit(unit, plan, begin, end, err));
        }
    }
    return ERR_OK;
}

static enum err_code part_open(struct query_run_ctx *run, const struct paths_plan *plan,
                               struct walk *walk, struct paths_part *part, struct arena *arena,
                               struct err *err)
{
    const struct bound_query *query = run->query;
    const struct groups *groups = query->key_count == 0 ? NULL : walk_groups(walk, PATHS_LANE_KEYS);
    part->shard = walk_shard(walk);
    ERR_TRY(path_nodes_init(&part->nodes, &query->paths, walk_groups(walk, 0), arena, err));
    ERR_TRY(path_counts_init(&part->counts, arena, err));
    ERR_TRY(row_heads_init(&part->heads, groups, arena, err));
    return query->paths.shape == PATHS_EDGES
               ? ERR_OK
               : cell_watch_open(run, part->shard, &plan->buckets, groups, &part->watch, err);
}

enum err_code paths_task(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                         void *slot, struct err *err)
{
    const struct paths_plan *plan = run->verb_plan;
    const struct bound_query *query = run->query;
    struct paths_part *part = slot;
    struct paths_unit unit = {.query = query, .part = part, .arena = arena};
    struct journey journey;
    bool has_more = false;

    ERR_TRY(part_open(run, plan, walk, part, arena, err));
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        size_t count = 0;
        ERR_TRY(part_fit(part, journey.count, query->key_count > 0, arena, err));
        ERR_TRY(take_events(query, part, &journey, &count, err));
        if (query->paths.is_session &&
            !session_journey(&plan->walk, part->times, count, &part->slot)) {
            return ERR_OK;
        }
        unit.subject = journey.subject;
        ERR_TRY(count_journey(&unit, plan, count, err));
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}
