/* query/trend_split.c - people by conditions and a key that hardly change within one of them.
 *
 * Of a subject whose rows all meet `where`, by what a source says of it (subject_truth.h), the stored sets say when it was
 * there; one of whom no row meets a condition counts nowhere; of the few others the rows are read. Exact, whatever the data:
 * subjects only move between the two ways. Of whom some rows meet all conditions, that says enough where the whole source lies
 * in one atom and every event counts.
 *
 * Where every event counts and atoms are cut between days of UTC, the same is asked of a subject's days before its rows
 * are (source_subject_days): who has two platforms mostly has one a day. Of a key, or of one condition, alone the days are kept
 * turned over: each value's people of a day are one list, and nobody is left to be asked.
 *
 * With a key: its group is that of the value that all of its rows have; or of every value it has, where the whole source
 * lies in one atom and all rows count.
 */
#include "query/index_sets.h"
#include "query/subject_bits.h"
#include "query/subject_truth.h"
#include "query/trend_int.h"

#include "query/grow.h"
#include "storage/base/size.h"
#include "storage/read_held.h"

#define LOOK_WORDS 8u /* that are worked on in the time of a look at a member */

/* A subject that counts on a day, with the values of the key that it has there. */
struct split_day {
    uint32_t atom, subject;
    uint64_t keys;
};

struct split {
    struct trend_work *work;
    uint32_t lane;
    struct read_ctx read;
    struct read_held held;        /* of the source at hand */
    uint32_t base, subject_count; /* of the task */
    /* Of the source at hand, as bits of the task's subjects (subject_truth.h): */
    uint64_t *told; /* the stored sets say enough of them, and they count where they are in them */
    uint64_t *candidates; /* scratch: who has several values of something */
    uint64_t *members;    /* scratch */
    uint64_t *gone;       /* deleted ones: no group may come of them; NULL: there are none */
    bool has_key;
    bool is_whole;                    /* the source lies in one atom, and every event counts */
    uint32_t groups[TRUTH_CODES_MAX]; /* of the key's codes; UINT32_MAX: not looked up yet */
    const struct dict *key_dict;
    struct subject_truth truth; /* what the source says */
    uint32_t *open;             /* places of whom sets say too little */
    bool *is_open_told;         /* of these: their days have told */
    uint32_t open_count;
    struct scan_range *ranges; /* of subjects whose rows are to be read */
    uint32_t range_count;
    uint32_t *picked; /* scratch: subjects of one group, or of all, one group after the other */
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

/* Of whom some rows meet `where`, that is enough where the source lies in one atom and every event counts. */
static void tell_some(struct split *split)
{
    const struct subject_truth *truth = &split->truth;
    uint32_t kept = 0;
    for (uint32_t o = 0; o < split->open_count; o++) {
        uint32_t place = split->open[o];
        uint32_t bit = truth_subject(truth, place) - truth->base;
        bool is_told = truth_at(truth, place) == TRUTH_SOME;
        split->told[bit / 64] |= (uint64_t)is_told << (bit % 64);
        split->open[kept] = place;
        kept += !is_told;
    }
    split->open_count = kept;
}

/* Whom sets tell, and who is open: who has several values of the key, or of a condition's column some of which meet it. */
static enum err_code sort_out(struct split *split, struct err *err)
{
    const struct subject_truth *truth = &split->truth;
    const struct truth_col *key = split->has_key ? truth_key_col(truth) : NULL;
    size_t words = truth->word_count;
    memcpy(split->told, truth->all, words * sizeof(*split->told));
    memset(split->candidates, 0, words * sizeof(*split->candidates));
    if (key != NULL && !split->is_whole) {
        truth_add_several(truth, key, split->candidates);
        bits_and(split->candidates, truth->all, words);
        bits_andnot(split->told, split->candidates, words);
    }
    bits_or(split->candidates, truth->open, words);
    if (split->gone != NULL) {
        bits_andnot(split->told, split->gone, words);
        bits_andnot(split->candidates, split->gone, words);
    }
    uint64_t count = bits_count(split->candidates, words);
    ERR_TRY(ARENA_NEW(split->read.arena, count, &split->open, err));
    ERR_TRY(ARENA_NEW(split->read.arena, count, &split->is_open_told, err));
    split->open_count = truth_places(truth, split->candidates, split->open);
    if (!split->has_key && split->is_whole) {
        tell_some(split);
    }
    return ERR_OK;
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
        if (split->is_open_told[o]) {
            continue;
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

static enum err_code add_listed(struct split *split, uint32_t group, uint32_t atom,
                                const uint32_t *subjects, uint32_t count, struct err *err)
{
    union acc_cell *cells = NULL;
    if (count == 0) {
        return ERR_OK;
    }
    ERR_TRY(trend_cells(split->work, split->lane, group, &cells, err));
    return acc_add_users(&split->work->slot->pool, &cells[atom], subjects, count, err);
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
    return !days->has_rows || (days->is_counted && !split->has_key);
}

/* The atom of a day on which the source has rows; false where they lie in none. */
static bool atom_of_day(const struct split *split, const struct source *source, int32_t day,
                        uint32_t *ret)
{
    const struct trend_grid *grid = grid_of(split);
    /* when some row of the source may lie on that day: a border may lie before it */
    int64_t time_ms = MAX_OF(day * SOURCE_DAY_MS, source->time_min_ms);
    if (time_ms < grid->edges[0] || time_ms >= grid->edges[grid->atom_count]) {
        return false;
    }
    *ret = civil_bucket_idx(grid->edges, grid->atom_count, time_ms);
    return true;
}

static enum err_code tell_subject(struct split *split, const struct source *source, uint32_t o,
                                  struct err *err)
{
    uint32_t i = split->open[o];
    const struct truth_days days = truth_days_of(&split->truth, i);
    uint32_t subject = truth_subject(&split->truth, i);
    struct atom_days now = {0};
    bool is_told = true;
    for (uint32_t n = 0; n < days.count; n++) {
        uint32_t atom = 0;
        if (!atom_of_day(split, source, days.days[n], &atom)) {
            continue;
        }
        if (atom != now.atom) {
            is_told &= are_told(split, &now);
            now = (struct atom_days){.atom = atom};
        }
        if (now.is_counted && !split->has_key) {
            continue;
        }
        uint64_t keys = !split->has_key ? 1 : truth_keys_on_day(&split->truth, i, n);
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
    split->is_open_told[o] = is_told && are_told(split, &now);
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
        if (split->has_key) {
            ERR_TRY(split_group(split, code, &group, err));
        }
        ERR_TRY(add_listed(split, group, atom, split->picked, picked, err));
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

/* Who has a value on a day, as one list: it counts there, whatever else it has. */
static enum err_code add_turned(struct split *split, uint32_t n, uint32_t code, uint32_t atom,
                                struct err *err)
{
    const struct subject_truth *truth = &split->truth;
    struct subject_members members = truth_turned(truth, n, code);
    uint32_t picked = 0;
    uint32_t group = 0;
    if (split->gone != NULL) {
        for (uint32_t i = 0; i < members.count; i++) {
            uint32_t bit = members.list[i] - truth->base;
            split->picked[picked] = members.list[i];
            picked += (split->gone[bit / 64] >> (bit % 64) & 1) == 0;
        }
        members = members_of_list(split->picked, picked);
    }
    if (split->has_key && members.count > 0) {
        ERR_TRY(split_group(split, code, &group, err));
    }
    return add_listed(split, group, atom, members.list, members.count, err);
}

/* Nobody is left open. */
static enum err_code tell_turned(struct split *split, const struct source *source, struct err *err)
{
    const struct subject_truth *truth = &split->truth;
    uint64_t codes = split->has_key ? UINT64_MAX : truth->cols[0].codes;
    split->open_count = 0;
    for (uint32_t n = 0; n < truth_turned_days(truth); n++) {
        uint32_t atom = 0;
        if (!atom_of_day(split, source, truth->cols[0].days.turned_days[n], &atom)) {
            continue;
        }
        for (uint32_t code = 0; code <= truth->cols[0].values.dict->count; code++) {
            if ((codes >> code & 1) != 0) {
                ERR_TRY(add_turned(split, n, code, atom, err));
            }
        }
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
    if (is_found && truth_turned_days(&split->truth) > 0) {
        return tell_turned(split, source, err);
    }
    for (uint32_t o = 0; is_found && o < split->open_count; o++) {
        ERR_TRY(tell_subject(split, source, o, err));
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
        split->key_dict = split->has_key ? truth_key_col(&split->truth)->values.dict : NULL;
        memset(split->groups, 0xff, sizeof(split->groups));
        ERR_TRY(sort_out(split, err));
        ERR_TRY(tell_by_days(split, source, err));
        ERR_TRY(find_ranges(split, truth_values(&split->truth), source->row_count, &is_known, err));
    }
    *ret_wants_sets = is_known;
    return ERR_OK;
}

/* ---- members and rows ---- */

static enum err_code add_bits(struct split *split, uint32_t group, uint32_t atom,
                              const uint64_t *words, struct err *err)
{
    const struct subject_truth *truth = &split->truth;
    const struct subject_members members = {
        .count = (uint32_t)bits_count(words, truth->word_count),
        .words = words,
        .base = truth->base,
        .word_count = truth->word_count,
    };
    union acc_cell *cells = NULL;
    if (members.count == 0) {
        return ERR_OK;
    }
    ERR_TRY(trend_cells(split->work, split->lane, group, &cells, err));
    return acc_add_members(&split->work->slot->pool, &cells[atom], &members, err);
}

/* All at once, as bits, and once more for each value of the key. */
static enum err_code take_words(struct split *split, uint32_t atom,
                                const struct subject_members *members, struct err *err)
{
    const struct subject_truth *truth = &split->truth;
    size_t words = truth->word_count;
    memset(split->members, 0, words * sizeof(*split->members));
    bits_add_members(split->members, truth->base, truth->subject_end, members);
    bits_and(split->members, split->told, words);
    if (!split->has_key) {
        return add_bits(split, 0, atom, split->members, err);
    }
    for (uint32_t code = 0; code <= split->key_dict->count; code++) {
        uint32_t group = 0;
        memset(split->candidates, 0, words * sizeof(*split->candidates));
        truth_add_having(truth, truth_key_col(truth), code, split->candidates);
        bits_and(split->candidates, split->members, words);
        if (bits_any(split->candidates, words)) {
            ERR_TRY(split_group(split, code, &group, err));
            ERR_TRY(add_bits(split, group, atom, split->candidates, err));
        }
    }
    return ERR_OK;
}

/* Told members, listed one value of the key after the other. */
static enum err_code add_by_key(struct split *split, uint32_t atom, const uint32_t *subjects,
                                uint32_t count, struct err *err)
{
    const uint64_t *masks = truth_key_col(&split->truth)->values.masks;
    uint32_t ends[TRUTH_CODES_MAX + 1] = {0};
    uint64_t *mask_of = NULL;
    uint32_t *picked = NULL;
    uint32_t total = 0;
    struct arena_mark mark = arena_mark(split->read.arena);
    ERR_TRY(ARENA_NEW(split->read.arena, count, &mask_of, err));
    for (uint32_t i = 0; i < count; i++) {
        mask_of[i] = masks[truth_place(&split->truth, subjects[i])];
        for (uint64_t rest = mask_of[i]; rest != 0; rest &= rest - 1) {
            ends[__builtin_ctzll(rest) + 1]++;
        }
    }
    for (uint32_t code = 0; code < TRUTH_CODES_MAX; code++) {
        ends[code + 1] += ends[code];
    }
    total = ends[TRUTH_CODES_MAX];
    ERR_TRY(ARENA_NEW(split->read.arena, total, &picked, err));
    for (uint32_t i = 0; i < count; i++) {
        for (uint64_t rest = mask_of[i]; rest != 0; rest &= rest - 1) {
            picked[ends[__builtin_ctzll(rest)]++] = subjects[i];
        }
    }
    for (uint32_t code = 0; code < TRUTH_CODES_MAX; code++) {
        uint32_t begin = code == 0 ? 0 : ends[code - 1];
        uint32_t group = 0;
        if (ends[code] > begin) {
            ERR_TRY(split_group(split, code, &group, err));
            ERR_TRY(add_listed(split, group, atom, picked + begin, ends[code] - begin, err));
        }
    }
    arena_rewind(split->read.arena, mark);
    return ERR_OK;
}

static enum err_code take_listed(struct split *split, uint32_t atom, const uint32_t *subjects,
                                 uint32_t count, struct err *err)
{
    const struct subject_truth *truth = &split->truth;
    uint32_t picked = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bit = subjects[i] - truth->base;
        split->picked[picked] = subjects[i];
        picked += split->told[bit / 64] >> (bit % 64) & 1;
    }
    return split->has_key ? add_by_key(split, atom, split->picked, picked, err)
                          : add_listed(split, 0, atom, split->picked, picked, err);
}

static enum err_code split_take(void *arg, const struct source *source, uint32_t atom,
                                const struct subject_members *members, struct err *err)
{
    (void)source;
    struct split *split = arg;
    const struct subject_truth *truth = &split->truth;
    uint64_t passes = split->has_key ? split->key_dict->count + 2 : 1;
    if (truth->word_count * passes <= (uint64_t)members->count * LOOK_WORDS) {
        return take_words(split, atom, members, err);
    }
    struct members_cursor cursor = {0};
    uint32_t buffer[MEMBERS_PORTION];
    const uint32_t *subjects = NULL;
    uint32_t count = 0;
    while ((count = members_next(members, &cursor, buffer, MEMBERS_PORTION, &subjects)) > 0) {
        const struct subject_members own =
            members_between(subjects, count, truth->subject_begin, truth->subject_end);
        ERR_TRY(take_listed(split, atom, own.list, own.count, err));
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

/* Stored sets, and what is said of values, have deleted subjects among them. */
static enum err_code find_gone(struct split *split, struct err *err)
{
    const struct trend_work *work = split->work;
    const struct subject_truth *truth = &split->truth;
    const roaring_bitmap_t *deleted = work->run->snapshot->deleted[work->task->shard];
    if (deleted == NULL) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(work->arena, truth->word_count, &split->gone, err));
    bits_add_set(split->gone, truth->base, truth->word_count, deleted);
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
    size_t words = split->truth.word_count;
    split->has_key = query->key_count == 1;
    ERR_TRY(ARENA_NEW(work->arena, words, &split->told, err));
    ERR_TRY(ARENA_NEW(work->arena, words, &split->candidates, err));
    ERR_TRY(ARENA_NEW(work->arena, words, &split->members, err));
    ERR_TRY(ARENA_NEW(work->arena, (size_t)split->subject_count + 1, &split->picked, err));
    ERR_TRY(find_gone(split, err));
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
