/* query/trend_split.c - people by conditions and a key that hardly change within one of them.
 *
 * Of a subject whose rows all meet `where`, by what a source says of it (subject_truth.h), the stored sets say when it was
 * there; one of whom no row meets a condition counts nowhere; of the few others the rows are read. Exact, whatever the data:
 * subjects only move between the two ways. Of whom some rows meet all conditions, that says enough where the whole source lies
 * in one atom and every event counts.
 *
 * Where every event counts and atoms are cut between days of UTC, the same is asked of a subject's days before its rows
 * are (source_subject_days): who has two platforms mostly has one a day.
 *
 * With a key: its group is that of the value that all of its rows have; or of every value it has, where the whole source
 * lies in one atom and all rows count.
 */
#include "query/index_sets.h"
#include "query/subject_truth.h"
#include "query/trend_int.h"

#include "query/grow.h"
#include "storage/base/size.h"
#include "storage/read_held.h"

/* A subject that counts on a day, with the values of the key that it has there. */
struct split_day {
    uint32_t atom, subject;
    uint64_t keys;
};

struct split {
    struct trend_work *work;
    uint32_t lane;
    struct read_ctx read;
    struct read_held held; /* of the source at hand */
    /* By subject of the task, of the source at hand: */
    uint32_t base, subject_count;
    uint8_t *truths;
    uint8_t *told;  /* 1: the stored sets say enough of it, and it counts where it is in them */
    uint32_t *gone; /* deleted ones, as places in `truths`: no group may come of them */
    uint32_t gone_count;
    uint64_t *keys;                   /* the key's values, as bits; NULL without a key */
    bool is_whole;                    /* the source lies in one atom, and every event counts */
    uint32_t groups[TRUTH_CODES_MAX]; /* of the key's codes; UINT32_MAX: not looked up yet */
    const struct dict *key_dict;
    struct subject_truth truth; /* what the source says */
    uint32_t *open;             /* places of whom sets say too little */
    uint32_t open_count;
    struct scan_range *ranges; /* of subjects whose rows are to be read */
    uint32_t range_count;
    uint32_t *picked;         /* scratch: subjects of one group */
    struct split_day *people; /* that count by their days */
    uint32_t people_count, people_cap;
};

/* ---- whether ---- */

bool trend_can_split(const struct bound_query *query)
{
    if (query->key_count > 1 || (query->key_count == 0 && query->where == NULL)) {
        return false;
    }
    if (query->key_count == 1) {
        const struct by_key *key = &query->keys[0];
        if (key->edges != NULL || key->field.kind != FIELD_PROP || key->field.type != COL_STRING) {
            return false;
        }
    }
    return truth_serves(query->where);
}

/* ---- what a source says of its subjects ---- */

static void find_keys(struct split *split)
{
    const struct subject_values *keys = truth_keys(&split->truth);
    split->key_dict = keys->dict;
    memset(split->groups, 0xff, sizeof(split->groups));
    for (uint32_t i = split->truth.begin; i < split->truth.end; i++) {
        split->keys[keys->subjects[i] - split->base] = keys->masks[i];
    }
}

/* Whether sets say too little of a subject, by its truth and whether it has one value of the key. */
static bool is_open(const struct split *split, enum truth truth, bool is_one_key)
{
    switch (truth) {
    case TRUTH_NO: return false;
    case TRUTH_ALL: return !is_one_key && !split->is_whole;
    case TRUTH_SOME: return split->keys != NULL || !split->is_whole;
    case TRUTH_ROWS: break;
    }
    return true;
}

/* Whom sets tell, and who is open. Nearly all are the former, and which of them count is as good as chance: a table
 * and no branch says it. */
static void sort_out(struct split *split)
{
    const struct subject_truth *truth_of = &split->truth;
    uint8_t opens[TRUTHS][2];
    for (uint32_t truth = 0; truth < TRUTHS; truth++) {
        opens[truth][0] = is_open(split, (enum truth)truth, false);
        opens[truth][1] = is_open(split, (enum truth)truth, true);
    }
    /* Bytes may be of anything: the compiler reads the struct again behind each that is written. */
    uint8_t *truths = split->truths;
    uint8_t *told = split->told;
    uint32_t *open = split->open;
    const uint64_t *keys = split->keys;
    const uint32_t *subjects = truth_values(truth_of)->subjects;
    uint32_t begin = truth_of->begin;
    uint32_t end = truth_of->end;
    uint32_t base = split->base;
    uint32_t open_count = 0;
    memset(told, 0, split->subject_count);
    for (uint32_t i = begin; i < end; i++) {
        truths[subjects[i] - base] = (uint8_t)truth_at(truth_of, i);
    }
    for (uint32_t i = 0; i < split->gone_count; i++) {
        truths[split->gone[i]] = TRUTH_NO;
    }
    for (uint32_t i = begin; i < end; i++) {
        uint32_t at = subjects[i] - base;
        uint8_t truth = truths[at];
        bool is_one_key = keys == NULL || (keys[at] & (keys[at] - 1)) == 0;
        uint8_t is_now_open = opens[truth][is_one_key];
        told[at] = (truth <= TRUTH_SOME) & (is_now_open ^ 1);
        open[open_count] = i;
        open_count += is_now_open;
    }
    split->open_count = open_count;
}

/* The rows of subjects that are to be looked at; false where they are more than half of all. */
static enum err_code find_ranges(struct split *split, const struct subject_values *values,
                                 uint32_t row_count, bool *ret_few, struct err *err)
{
    uint32_t rows = 0;
    ERR_TRY(ARENA_NEW(split->read.arena, split->open_count, &split->ranges, err));
    split->range_count = 0;
    for (uint32_t o = 0; o < split->open_count; o++) {
        uint32_t i = split->open[o];
        if (split->truths[values->subjects[i] - split->base] == TRUTH_NO) {
            continue; /* its days have told */
        }
        struct scan_range range = {values->rows[i], values->rows[i + 1]};
        rows += range.end - range.begin;
        if (split->range_count > 0 && split->ranges[split->range_count - 1].end == range.begin) {
            split->ranges[split->range_count - 1].end = range.end;
        } else {
            split->ranges[split->range_count++] = range;
        }
    }
    *ret_few = rows <= row_count / 2;
    return ERR_OK;
}

static bool counts_any_event(const struct split *split)
{
    const struct trend_plan *plan = split->work->plan;
    return selector_has_any(&plan->query->selectors[plan->lanes[split->lane].selector]);
}

/* Every event counts, and all of the source's lie in one atom. */
static bool is_whole_source(const struct split *split, const struct source *source)
{
    const struct trend_plan *plan = split->work->plan;
    const struct trend_lane *lane = &plan->lanes[split->lane];
    const struct trend_grid *grid = &plan->grids[lane->grid];
    int64_t begin = source->time_min_ms;
    if (!counts_any_event(split) || begin < split->work->run->snapshot->expired_before_ms ||
        begin < grid->edges[0] || source->time_max_ms >= grid->edges[grid->atom_count]) {
        return false;
    }
    uint32_t atom = civil_bucket_idx(grid->edges, grid->atom_count, begin);
    return source->time_max_ms < grid->edges[atom + 1];
}

/* ---- who counts ---- */

/* The group of a value of the key. */
static enum err_code split_group(struct split *split, uint32_t code, uint32_t *ret, struct err *err)
{
    if (split->groups[code] == UINT32_MAX) {
        ERR_TRY(groups_of_code(split->work->slot->groups, split->key_dict, code,
                               &split->groups[code], err));
    }
    *ret = split->groups[code];
    return ERR_OK;
}

static enum err_code add_picked(struct split *split, uint32_t group, uint32_t atom, uint32_t count,
                                struct err *err)
{
    union acc_cell *cells = NULL;
    if (count == 0) {
        return ERR_OK;
    }
    ERR_TRY(trend_cells(split->work, split->lane, group, &cells, err));
    return acc_add_users(&split->work->slot->pool, &cells[atom], split->picked, count, err);
}

/* ---- by day ---- */

static const struct trend_grid *grid_of(const struct split *split)
{
    const struct trend_plan *plan = split->work->plan;
    return &plan->grids[plan->lanes[split->lane].grid];
}

/* Every event counts, and within the source no day lies in two atoms, or is expired in part. */
static bool are_days_whole(const struct split *split, const struct source *source)
{
    const struct trend_grid *grid = grid_of(split);
    if (!counts_any_event(split) ||
        source->time_min_ms < split->work->run->snapshot->expired_before_ms) {
        return false;
    }
    for (uint32_t a = 0; a <= grid->atom_count; a++) {
        int64_t edge = grid->edges[a];
        if (edge > source->time_min_ms && edge <= source->time_max_ms &&
            edge != source_day(edge) * SOURCE_DAY_MS) {
            return false;
        }
    }
    return true;
}

/* A subject's days of one atom, as they come. */
struct atom_days {
    uint32_t atom;
    bool is_counted; /* some day counts: without a key, no other has more to say */
    bool has_rows;   /* some day says too little */
};

static bool are_told(const struct split *split, const struct atom_days *days)
{
    return !days->has_rows || (days->is_counted && split->keys == NULL);
}

static enum err_code tell_subject(struct split *split, const struct source *source, uint32_t i,
                                  struct err *err)
{
    const struct trend_grid *grid = grid_of(split);
    const struct truth_days days = truth_days_of(&split->truth, i);
    uint32_t subject = truth_subject(&split->truth, i);
    struct atom_days now = {0};
    bool is_told = true;
    for (uint32_t n = 0; n < days.count; n++) {
        /* when some row of the source may lie on that day: a border may lie before it */
        int64_t time_ms = MAX_OF(days.days[n] * SOURCE_DAY_MS, source->time_min_ms);
        if (time_ms < grid->edges[0] || time_ms >= grid->edges[grid->atom_count]) {
            continue;
        }
        uint32_t atom = civil_bucket_idx(grid->edges, grid->atom_count, time_ms);
        if (atom != now.atom) {
            is_told &= are_told(split, &now);
            now = (struct atom_days){.atom = atom};
        }
        if (now.is_counted && split->keys == NULL) {
            continue;
        }
        uint64_t keys = split->keys == NULL ? 1 : truth_keys_on_day(&split->truth, i, n);
        bool is_one_key = (keys & (keys - 1)) == 0;
        enum truth truth = truth_on_day(&split->truth, i, n);
        if (truth == TRUTH_ROWS || (truth == TRUTH_SOME && !is_one_key)) {
            now.has_rows = true;
            continue;
        }
        if (truth == TRUTH_NO) {
            continue;
        }
        now.is_counted = true;
        ERR_TRY(
            GROW(split->read.arena, &split->people, split->people_count, &split->people_cap, err));
        split->people[split->people_count++] =
            (struct split_day){.atom = atom, .subject = subject, .keys = keys};
    }
    if (is_told && are_told(split, &now)) {
        split->truths[subject - split->base] =
            TRUTH_NO; /* neither sets nor rows have more to say */
    }
    return ERR_OK;
}

/* The people of one atom, ascending, some of them several times; `codes` are those that some have. */
static enum err_code add_day_people(struct split *split, uint32_t atom, const uint32_t *order,
                                    uint32_t count, struct err *err)
{
    uint64_t codes = 0;
    for (uint32_t i = 0; i < count; i++) {
        codes |= split->people[order[i]].keys;
    }
    for (; codes != 0; codes &= codes - 1) {
        uint32_t code = (uint32_t)__builtin_ctzll(codes);
        uint32_t group = 0;
        uint32_t picked = 0;
        for (uint32_t i = 0; i < count; i++) {
            const struct split_day *day = &split->people[order[i]];
            bool is_new = picked == 0 || split->picked[picked - 1] != day->subject;
            split->picked[picked] = day->subject;
            picked += is_new && (day->keys >> code & 1) != 0;
        }
        if (split->keys != NULL) {
            ERR_TRY(split_group(split, code, &group, err));
        }
        ERR_TRY(add_picked(split, group, atom, picked, err));
    }
    return ERR_OK;
}

/* Those that count by their days, atom by atom. */
static enum err_code add_by_days(struct split *split, struct err *err)
{
    uint32_t atoms = grid_of(split)->atom_count;
    uint32_t *ends = NULL;
    uint32_t *order = NULL;
    ERR_TRY(ARENA_NEW(split->read.arena, (size_t)atoms + 1, &ends, err));
    ERR_TRY(ARENA_NEW(split->read.arena, split->people_count, &order, err));
    for (uint32_t i = 0; i < split->people_count; i++) {
        ends[split->people[i].atom + 1]++;
    }
    for (uint32_t a = 0; a < atoms; a++) {
        ends[a + 1] += ends[a];
    }
    for (uint32_t i = 0; i < split->people_count; i++) {
        order[ends[split->people[i].atom]++] = i;
    }
    for (uint32_t a = 0; a < atoms; a++) {
        uint32_t begin = a == 0 ? 0 : ends[a - 1];
        ERR_TRY(add_day_people(split, a, order + begin, ends[a] - begin, err));
    }
    return ERR_OK;
}

static enum err_code tell_by_days(struct split *split, const struct source *source, struct err *err)
{
    bool is_found = split->open_count > 0 && are_days_whole(split, source);
    split->people_count = 0;
    if (is_found) {
        ERR_TRY(truth_find_days(&split->truth, source, &is_found, err));
    }
    for (uint32_t o = 0; is_found && o < split->open_count; o++) {
        ERR_TRY(tell_subject(split, source, split->open[o], err));
    }
    return split->people_count > 0 ? add_by_days(split, err) : ERR_OK;
}

static enum err_code split_begin(void *arg, const struct source *source, bool *ret_wants_sets,
                                 struct err *err)
{
    struct split *split = arg;
    bool is_known = true;
    read_held_clear(&split->held);
    arena_rewind(split->read.arena, (struct arena_mark){0});
    split->people = NULL;
    split->people_cap = 0;
    split->is_whole = is_whole_source(split, source);
    ERR_TRY(truth_of_source(&split->truth, source, &is_known, err));
    if (is_known) {
        if (split->keys != NULL) {
            find_keys(split);
        }
        ERR_TRY(
            ARENA_NEW(split->read.arena, split->truth.end - split->truth.begin, &split->open, err));
        sort_out(split);
        ERR_TRY(tell_by_days(split, source, err));
        ERR_TRY(find_ranges(split, truth_values(&split->truth), source->row_count, &is_known, err));
    }
    *ret_wants_sets = is_known;
    return ERR_OK;
}

/* ---- members and rows ---- */

/* The members that the sets say enough of and that have the key's value `code`. */
static uint32_t pick_code(struct split *split, const uint32_t *subjects, uint32_t count,
                          uint32_t code)
{
    uint32_t picked = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = subjects[i] - split->base;
        split->picked[picked] = subjects[i];
        picked += split->told[at] & (split->keys[at] >> code & 1);
    }
    return picked;
}

static enum err_code take_by_key(struct split *split, uint32_t atom, const uint32_t *subjects,
                                 uint32_t count, struct err *err)
{
    uint64_t codes = 0;
    for (uint32_t i = 0; i < count; i++) {
        codes |= split->keys[subjects[i] - split->base];
    }
    for (; codes != 0; codes &= codes - 1) {
        uint32_t code = (uint32_t)__builtin_ctzll(codes);
        uint32_t picked = pick_code(split, subjects, count, code);
        uint32_t group = 0;
        if (picked > 0) {
            ERR_TRY(split_group(split, code, &group, err));
        }
        ERR_TRY(add_picked(split, group, atom, picked, err));
    }
    return ERR_OK;
}

static enum err_code take_listed(struct split *split, uint32_t atom, const uint32_t *subjects,
                                 uint32_t count, struct err *err)
{
    for (; count > 0 && subjects[0] < split->base; count--) {
        subjects++;
    }
    while (count > 0 && subjects[count - 1] - split->base >= split->subject_count) {
        count--;
    }
    if (split->keys != NULL) {
        return take_by_key(split, atom, subjects, count, err);
    }
    uint32_t picked = 0;
    for (uint32_t i = 0; i < count; i++) {
        split->picked[picked] = subjects[i];
        picked += split->told[subjects[i] - split->base];
    }
    return add_picked(split, 0, atom, picked, err);
}

static enum err_code split_take(void *arg, const struct source *source, uint32_t atom,
                                const struct subject_members *members, struct err *err)
{
    (void)source;
    struct members_cursor cursor = {0};
    uint32_t buffer[MEMBERS_PORTION];
    const uint32_t *subjects = NULL;
    uint32_t count = 0;
    while ((count = members_next(members, &cursor, buffer, MEMBERS_PORTION, &subjects)) > 0) {
        ERR_TRY(take_listed(arg, atom, subjects, count, err));
    }
    return ERR_OK;
}

static enum err_code split_rows(void *arg, const struct source *source,
                                const struct scan_want *wants, uint32_t want_count, bool is_taken,
                                struct err *err)
{
    struct split *split = arg;
    if (!is_taken) {
        return trend_scan_users(split->work, split->lane, source, wants, want_count, NULL, 0, err);
    }
    return split->range_count == 0
               ? ERR_OK
               : trend_scan_users(split->work, split->lane, source, wants, want_count,
                                  split->ranges, split->range_count, err);
}

static bool take_gone(uint32_t subject, void *arg)
{
    struct split *split = arg;
    uint32_t at = subject - split->base;
    if (subject >= split->base && at < split->subject_count) {
        split->gone[split->gone_count++] = at;
    }
    return true;
}

/* Stored sets, and what is said of values, have deleted subjects among them. */
static enum err_code find_gone(struct split *split, struct err *err)
{
    const struct trend_work *work = split->work;
    const roaring_bitmap_t *deleted = work->run->snapshot->deleted[work->task->shard];
    if (deleted == NULL) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(work->arena, split->subject_count, &split->gone, err));
    (void)roaring_iterate(deleted, take_gone, split);
    return ERR_OK;
}

static enum err_code split_run(struct split *split, struct err *err)
{
    struct trend_work *work = split->work;
    const struct trend_lane *lane = &work->plan->lanes[split->lane];
    const struct trend_grid *grid = &work->plan->grids[lane->grid];
    const struct index_taker taker = {
        .arg = split, .begin = split_begin, .take = split_take, .rows = split_rows};
    const struct index_ask ask = {.query = work->plan->query,
                                  .selector = lane->selector,
                                  .edges = grid->edges,
                                  .atom_count = grid->atom_count};
    const struct bound_query *query = work->plan->query;
    split->truth = (struct subject_truth){
        .where = query->where,
        .read = &split->read,
        .subject_begin = split->base,
        .subject_end = split->base + split->subject_count,
    };
    ERR_TRY(truth_init(&split->truth, query->key_count == 1 ? &query->keys[0].field : NULL,
                       work->arena, err));
    ERR_TRY(ARENA_NEW(work->arena, (size_t)split->subject_count + 1, &split->truths, err));
    ERR_TRY(ARENA_NEW(work->arena, (size_t)split->subject_count + 1, &split->told, err));
    ERR_TRY(ARENA_NEW(work->arena, (size_t)split->subject_count + 1, &split->picked, err));
    ERR_TRY(find_gone(split, err));
    if (work->plan->query->key_count == 1) {
        ERR_TRY(ARENA_NEW(work->arena, (size_t)split->subject_count + 1, &split->keys, err));
    }
    return index_walk(work->run, work->task, &ask, &taker, work->arena, work->io, err);
}

enum err_code trend_split_lane(struct trend_work *work, uint32_t lane, struct err *err)
{
    const struct acc_pool *pool = &work->slot->pool;
    CLEANUP(arena_freep) struct arena *scratch = arena_create(arena_budget(work->arena));
    struct split split = {
        .work = work,
        .lane = lane,
        .base = pool->subject_base,
        .subject_count = pool->subject_end - pool->subject_base,
    };
    split.read = (struct read_ctx){.arena = scratch, .io = work->io, .held = &split.held};
    enum err_code code = pool->subject_end > pool->subject_base ? split_run(&split, err) : ERR_OK;
    run_count(work->run, 0, &split.read);
    read_held_done(&split.held);
    return code;
}
