/* query/retention_where.c - see retention_where.h. */
#include "query/retention_where.h"

#include "query/subject_bits.h"
#include "query/subject_truth.h"
#include "storage/base/size.h"

#define ATOM_STEPS 8u /* that are gone one by one before the atom is searched for */
#define UNSURE_PARTS                                                                               \
    4u /* where more than a quarter of the subjects are unsure, all rows are read */

/* What a source says of the task's subjects. */
struct where_source {
    bool is_known;
    bool has_days; /* of the open ones */
    struct subject_truth truth;
    uint64_t *full; /* who has no row that does not meet `where` */
    uint64_t *open; /* who has both */
    bool has_open;
};

struct retention_where {
    struct query_run_ctx *run;
    const struct run_task *task;
    struct arena *arena;
    struct io *io;
    struct read_ctx read;
    struct read_held held; /* what sources say, until the end */
    uint32_t base, end;    /* subjects */
    size_t words;
    struct where_source *sources; /* by source of the task */
    uint64_t *unsure;
    bool is_given_up; /* a source does not tell who has two rows */

    /* What is gathered now: */
    const struct index_ask *ask;
    const struct where_sets *into;
    bool is_any;
    uint32_t source;      /* at hand; UINT32_MAX: none yet */
    struct slot_bits raw; /* who did it in an atom by that source's sets, whatever `where` says */
};

/* ---- what sources say ---- */

static void mark(const struct retention_where *w, uint64_t *words, uint32_t subject)
{
    uint32_t bit = subject - w->base;
    words[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static enum err_code ask_source(struct retention_where *w, uint32_t idx, struct err *err)
{
    struct where_source *of = &w->sources[idx];
    const struct source *source = w->task->sources[idx];
    of->truth = (struct subject_truth){.where = w->run->query->where,
                                       .read = &w->read,
                                       .subject_begin = w->base,
                                       .subject_end = w->end};
    ERR_TRY(truth_init(&of->truth, NULL, w->arena, err));
    ERR_TRY(truth_of_source(&of->truth, source, &of->is_known, err));
    if (!of->is_known) {
        return ERR_OK; /* its rows will say */
    }
    ASSERT(of->truth.base == w->base && of->truth.word_count <= w->words);
    ERR_TRY(ARENA_NEW(w->arena, w->words, &of->full, err));
    memcpy(of->full, of->truth.all, of->truth.word_count * sizeof(*of->full));
    ERR_TRY(ARENA_NEW(w->arena, w->words, &of->open, err));
    memcpy(of->open, of->truth.open, of->truth.word_count * sizeof(*of->open));
    of->has_open = bits_any(of->open, w->words);
    if (of->has_open &&
        source->time_min_ms >=
            w->run->snapshot->expired_before_ms) { /* else a day may have expired rows */
        ERR_TRY(truth_find_days(&of->truth, source, &of->has_days, err));
    }
    if (of->has_open && !of->has_days) {
        bits_or(w->unsure, of->open, w->words);
    }
    return ERR_OK;
}

enum err_code retention_where_open(struct query_run_ctx *run, const struct run_task *task,
                                   size_t word_count, struct arena *arena, struct io *io,
                                   struct retention_where **ret, struct err *err)
{
    CLEANUP(retention_where_closep) struct retention_where *w = NULL;
    ERR_TRY(ARENA_NEW(arena, 1, &w, err));
    w->run = run;
    w->task = task;
    w->arena = arena;
    w->io = io;
    w->read = (struct read_ctx){.arena = arena, .io = io, .held = &w->held};
    w->base = task->subject_begin;
    w->end = MAX_OF(run_task_end(run, task), w->base);
    w->words = word_count;
    ASSERT((uint64_t)w->end - w->base <= (uint64_t)word_count * 64);
    ERR_TRY(ARENA_NEW(arena, task->source_count, &w->sources, err));
    ERR_TRY(ARENA_NEW(arena, w->words, &w->unsure, err));
    for (uint32_t s = 0; s < task->source_count; s++) {
        ERR_TRY(ask_source(w, s, err));
    }
    *ret = TAKE(w);
    return ERR_OK;
}

void retention_where_close(struct retention_where *w)
{
    if (w != NULL) {
        run_count(w->run, 0, &w->read);
        read_held_done(&w->held);
    }
}

/* ---- days of a subject, atom by atom ---- */

/* No edge cuts a day on which the source has rows. */
static bool are_days_whole(const struct source *source, const int64_t *edges, uint32_t atom_count)
{
    for (uint32_t a = 0; a <= atom_count; a++) {
        int64_t edge = edges[a];
        if (edge > source->time_min_ms && edge <= source->time_max_ms &&
            edge != source_day(edge) * SOURCE_DAY_MS) {
            return false;
        }
    }
    return true;
}

/* What a subject's days in an atom say together. */
struct atom_truth {
    uint32_t atom;
    uint32_t days; /* on which some row meets `where` */
    bool is_all;   /* no row of any day does not */
    bool has_rows; /* of some day it cannot be said */
};
struct atom_walk {
    struct subject_truth *truth;
    const struct source *source;
    const int64_t *edges;
    uint32_t atom_count;
    uint32_t place, day;
    uint32_t atom; /* of the day before: days ascend */
    struct truth_days days;
};

static struct atom_walk atoms_of(struct subject_truth *truth, uint32_t subject,
                                 const struct source *source, const int64_t *edges,
                                 uint32_t atom_count)
{
    uint32_t place = truth_place(truth, subject);
    return (struct atom_walk){
        .truth = truth,
        .source = source,
        .edges = edges,
        .atom_count = atom_count,
        .place = place,
        .days = truth_days_of(truth, place),
    };
}

/* When some row of the source may lie on that day: a border may lie before it. */
static int64_t time_of_day(const struct source *source, int32_t day)
{
    return MAX_OF(day * SOURCE_DAY_MS, source->time_min_ms);
}

/* The atom of a day, of which it is known that none before `atom` is; UINT32_MAX: none. */
static uint32_t atom_of_day(const int64_t *edges, uint32_t atom_count, int64_t time_ms,
                            uint32_t atom)
{
    if (time_ms < edges[0] || time_ms >= edges[atom_count]) {
        return UINT32_MAX;
    }
    for (uint32_t steps = 0; time_ms >= edges[atom + 1]; steps++) {
        if (steps == ATOM_STEPS) {
            return civil_bucket_idx(edges, atom_count, time_ms);
        }
        atom++;
    }
    return atom;
}

static void add_day(struct atom_truth *ret, enum truth truth)
{
    ret->days += truth == TRUTH_ALL || truth == TRUTH_SOME;
    ret->is_all = ret->is_all && truth == TRUTH_ALL;
    ret->has_rows = ret->has_rows || truth == TRUTH_ROWS;
}

/* The next atom on whose days the subject has rows; false after the last. */
static bool atoms_next(struct atom_walk *walk, struct atom_truth *ret)
{
    *ret = (struct atom_truth){.atom = UINT32_MAX, .is_all = true};
    while (walk->day < walk->days.count) {
        uint32_t atom =
            atom_of_day(walk->edges, walk->atom_count,
                        time_of_day(walk->source, walk->days.days[walk->day]), walk->atom);
        if (ret->atom != UINT32_MAX && atom != ret->atom) {
            break;
        }
        ret->atom = atom;
        if (atom != UINT32_MAX) {
            walk->atom = atom;
            add_day(ret, truth_on_day(walk->truth, walk->place, walk->day));
        }
        walk->day++;
    }
    return ret->atom != UINT32_MAX;
}

/* The same of one atom alone. */
static struct atom_truth truth_in_atom(struct subject_truth *truth, uint32_t subject,
                                       const struct source *source, const int64_t *edges,
                                       uint32_t atom)
{
    struct atom_truth ret = {.atom = atom, .is_all = true};
    uint32_t place = truth_place(truth, subject);
    const struct truth_days days = truth_days_of(truth, place);
    for (uint32_t n = 0; n < days.count; n++) {
        int64_t time_ms = time_of_day(source, days.days[n]);
        if (time_ms >= edges[atom + 1]) {
            break;
        }
        if (time_ms >= edges[atom]) {
            add_day(&ret, truth_on_day(truth, place, n));
        }
    }
    return ret;
}

/* ---- gathering ---- */

/* Room for `count` raw sets, all empty. */
static enum err_code raw_clear(struct retention_where *w, uint32_t count, struct err *err)
{
    if (w->raw.count < count) {
        return slot_bits_make_later(&w->raw, count, w->base, w->words, w->arena, err);
    }
    slot_bits_clear(&w->raw);
    return ERR_OK;
}

static const struct slot_bits *set_of(const struct retention_where *w, uint32_t atom,
                                      uint32_t *ret_slot)
{
    uint32_t first = w->into->before == NULL ? 0 : 1;
    *ret_slot = atom < first ? 0 : atom - first;
    return atom < first ? w->into->before : w->into->slots;
}

static void add_row(const struct retention_where *w, uint32_t atom, uint32_t subject)
{
    uint32_t slot = 0;
    const struct slot_bits *bits = set_of(w, atom, &slot);
    bool was_in = slot_bits_add(bits, slot, subject);
    if (was_in && w->into->twice != NULL && slot < w->into->twice->count) {
        (void)slot_bits_add(w->into->twice, slot, subject);
    }
}

/* ---- the open ones, by their days ---- */

/* The source's open subjects in a set, one after the other; UINT32_MAX behind the last. */
struct open_walk {
    const uint64_t *open;
    const uint64_t *set; /* NULL: all of them */
    size_t words, at;
    uint64_t rest; /* of word `at - 1` */
    uint32_t base;
};

static uint32_t open_next(struct open_walk *walk)
{
    while (walk->rest == 0) {
        if (walk->at == walk->words) {
            return UINT32_MAX;
        }
        walk->rest = walk->open[walk->at] & (walk->set == NULL ? UINT64_MAX : walk->set[walk->at]);
        walk->at++;
    }
    uint32_t bit = (uint32_t)__builtin_ctzll(walk->rest);
    walk->rest &= walk->rest - 1;
    return walk->base + (uint32_t)(walk->at - 1) * 64 + bit;
}

static struct open_walk open_walk_of(const struct retention_where *w, const struct where_source *of,
                                     const uint64_t *set)
{
    return (struct open_walk){.open = of->open, .set = set, .words = w->words, .base = w->base};
}

static void tell_atom(struct retention_where *w, const struct atom_truth *now, uint32_t subject)
{
    for (uint32_t i = 0; i < MIN_OF(now->days, 2u); i++) { /* rows of two days are two */
        add_row(w, now->atom, subject);
    }
    if (now->has_rows && now->days < 2) {
        mark(w, w->unsure, subject);
    }
}

/* Of one condition: each value that a subject has on a day is of a row of its own. */
static void tell_turned(struct retention_where *w, const struct where_source *of,
                        const struct source *source)
{
    const struct truth_col *col = &of->truth.cols[0];
    uint32_t last = 0;
    for (uint32_t n = 0; n < truth_turned_days(&of->truth); n++) {
        uint32_t atom = atom_of_day(w->ask->edges, w->ask->atom_count,
                                    time_of_day(source, col->days.turned_days[n]), last);
        if (atom == UINT32_MAX) {
            continue;
        }
        last = atom;
        for (uint64_t codes = col->codes; codes != 0; codes &= codes - 1) {
            const struct subject_members members =
                truth_turned(&of->truth, n, (uint32_t)__builtin_ctzll(codes));
            for (uint32_t i = 0; i < members.count; i++) {
                uint32_t bit = members.list[i] - w->base;
                if ((of->open[bit / 64] >> (bit % 64) & 1) != 0) { /* sets tell of the others */
                    add_row(w, atom, members.list[i]);
                }
            }
        }
    }
}

static enum err_code tell_any(struct retention_where *w, struct where_source *of,
                              const struct source *source, struct err *err)
{
    struct open_walk walk = open_walk_of(w, of, NULL);
    uint32_t subject = 0;
    uint32_t looks = 0;
    if (truth_turned_days(&of->truth) > 0) {
        tell_turned(w, of, source);
        return ERR_OK;
    }
    while ((subject = open_next(&walk)) != UINT32_MAX) {
        struct atom_walk atoms =
            atoms_of(&of->truth, subject, source, w->ask->edges, w->ask->atom_count);
        struct atom_truth now;
        ERR_TRY(looks++ % 1024 == 0 ? run_check(w->run, err) : ERR_OK);
        while (atoms_next(&atoms, &now)) {
            tell_atom(w, &now, subject);
        }
    }
    return ERR_OK;
}

static enum err_code tell_named(struct retention_where *w, struct where_source *of,
                                const struct source *source, struct err *err)
{
    for (uint32_t a = 0; a < w->ask->atom_count; a++) {
        if (!w->raw.is_touched[a]) {
            continue;
        }
        struct open_walk walk = open_walk_of(w, of, slot_bits_of(&w->raw, a));
        uint32_t subject = 0;
        ERR_TRY(run_check(w->run, err));
        while ((subject = open_next(&walk)) != UINT32_MAX) {
            const struct atom_truth now =
                truth_in_atom(&of->truth, subject, source, w->ask->edges, a);
            if (now.is_all) {
                add_row(w, a, subject);
            } else if (now.days > 0 || now.has_rows) {
                mark(w, w->unsure, subject);
            }
        }
    }
    return ERR_OK;
}

/* What days say of the source's open subjects, and of a named event its sets of the others. */
static enum err_code finish_source(struct retention_where *w, struct err *err)
{
    if (w->source == UINT32_MAX || !w->sources[w->source].is_known) {
        return ERR_OK;
    }
    struct where_source *of = &w->sources[w->source];
    const struct source *source = w->task->sources[w->source];
    const struct index_ask *ask = w->ask;
    for (uint32_t a = 0; !w->is_any && a < ask->atom_count; a++) {
        uint32_t slot = 0;
        const struct slot_bits *bits = set_of(w, a, &slot);
        if (w->raw.is_touched[a]) {
            bits_or_and(slot_bits_touch(bits, slot), slot_bits_of(&w->raw, a), of->full, w->words);
        }
    }
    if (!of->has_days) {
        return ERR_OK; /* nobody is open, or they are unsure already */
    }
    if (!are_days_whole(source, ask->edges, ask->atom_count)) {
        bits_or(w->unsure, of->open, w->words);
        return ERR_OK;
    }
    return w->is_any ? tell_any(w, of, source, err) : tell_named(w, of, source, err);
}

static enum err_code where_begin(void *arg, const struct source *source, bool *ret_wants_sets,
                                 struct err *err)
{
    struct retention_where *w = arg;
    ERR_TRY(finish_source(w, err));
    w->source = 0;
    while (w->task->sources[w->source] != source) {
        w->source++;
    }
    *ret_wants_sets = w->sources[w->source].is_known;
    if (!w->is_any) {
        slot_bits_clear(&w->raw);
    }
    return ERR_OK;
}

static enum err_code where_take(void *arg, const struct source *source, uint32_t atom,
                                const struct subject_members *members, struct err *err)
{
    (void)source;
    (void)err;
    struct retention_where *w = arg;
    const struct where_source *of = &w->sources[w->source];
    if (!w->is_any) {
        bits_add_members(slot_bits_touch(&w->raw, atom), w->base, w->end, members);
        return ERR_OK;
    }
    uint32_t slot = 0;
    const struct slot_bits *bits = set_of(w, atom, &slot);
    bool has_twice = w->into->twice != NULL && slot < w->into->twice->count;
    uint64_t *twice = has_twice ? slot_bits_touch(w->into->twice, slot) : NULL;
    bits_add_members_of(slot_bits_touch(bits, slot), twice, of->full, w->base, w->end, members);
    return ERR_OK;
}

static void add_block(const struct retention_where *w, const struct scan_block *block)
{
    const struct where_source *of = &w->sources[w->source];
    const int64_t *edges = w->ask->edges;
    uint32_t atom = 0;
    for (uint32_t i = 0; i < block->count; i++) {
        uint32_t subject = block->subjects[i];
        uint32_t bit = subject - w->base;
        bool is_full = !of->is_known || (of->full[bit / 64] >> (bit % 64) & 1) != 0;
        int64_t ts = block->times[i];
        if (ts < edges[atom] || ts >= edges[atom + 1]) {
            atom = civil_bucket_idx(edges, w->ask->atom_count, ts);
        }
        if (is_full || !w->is_any) { /* of the others any row is told of by its day */
            add_row(w, atom, subject);
        }
    }
}

/* Where sets cross a border, or there are none, rows that meet `where` say who did it. Of whom sets were taken, days tell the
 * rest. */
static enum err_code where_rows(void *arg, const struct source *source,
                                const struct scan_want *wants, uint32_t want_count, bool is_taken,
                                struct err *err)
{
    struct retention_where *w = arg;
    const struct scan_spec spec = {
        .query = w->run->query,
        .wants = wants,
        .want_count = want_count,
        .subject_begin = w->task->subject_begin,
        .subject_end = w->task->subject_end,
        .deleted = w->run->snapshot->deleted[w->task->shard],
    };
    CLEANUP(scan_closep) struct scan *scan = NULL;
    if (is_taken) {
        return ERR_OK;
    }
    ERR_TRY(scan_open(source, &spec, w->run, w->arena, w->io, &scan, err));
    while (true) {
        struct scan_block block = {0};
        bool has_more = false;
        ERR_TRY(scan_next(scan, &block, &has_more, err));
        if (!has_more) {
            return ERR_OK;
        }
        add_block(w, &block);
    }
}

enum err_code retention_where_gather(struct retention_where *w, const struct index_ask *ask,
                                     const struct where_sets *into, struct err *err)
{
    const struct index_taker taker = {
        .arg = w, .begin = where_begin, .take = where_take, .rows = where_rows};
    w->ask = ask;
    w->into = into;
    w->is_any = selector_has_any(&ask->query->selectors[ask->selector]);
    w->source = UINT32_MAX;
    if (!w->is_any) {
        ERR_TRY(raw_clear(w, ask->atom_count, err));
    }
    ERR_TRY(index_walk(w->run, w->task, ask, &taker, w->arena, w->io, err));
    return finish_source(w, err);
}

/* ---- two rows of one source ---- */

/* Of those who started in the slot, who are few, and whom a source tells of. */
struct repeats {
    struct retention_where *w;
    const struct where_source *of;
    const struct slot_bits *starts, *actives;
};

static bool is_in_words(const struct retention_where *w, const uint64_t *words, uint32_t subject)
{
    uint32_t bit = subject - w->base;
    return (words[bit / 64] >> (bit % 64) & 1) != 0;
}

static void take_repeats(void *arg, uint32_t slot, const uint32_t *subjects, uint32_t count)
{
    const struct repeats *r = arg;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t subject = subjects[i];
        if (subject >= r->w->end || !slot_bits_has(r->starts, slot, subject)) {
            continue;
        }
        if (is_in_words(r->w, r->of->full, subject)) {
            (void)slot_bits_add(r->actives, slot, subject);
        } else if (is_in_words(r->w, r->of->open, subject)) {
            (void)slot_bits_add(&r->w->raw, slot, subject);
        }
    }
}

static enum err_code repeats_of(struct retention_where *w, uint32_t idx, const int64_t *edges,
                                uint32_t slot_count, const struct slot_bits *starts,
                                const struct slot_bits *actives, struct err *err)
{
    struct where_source *of = &w->sources[idx];
    const struct source *source = w->task->sources[idx];
    struct repeats repeats = {.w = w, .of = of, .starts = starts, .actives = actives};
    const struct repeats_taker taker = {.arg = &repeats, .take = take_repeats};
    bool is_told = false;
    slot_bits_clear(&w->raw);
    ERR_TRY(source_repeats(source, &w->read, edges, slot_count, &taker, &is_told, err));
    if (!is_told) {
        w->is_given_up = true;
        return ERR_OK;
    }
    if (!of->has_days || !are_days_whole(source, edges, slot_count)) {
        return ERR_OK; /* the open ones are unsure */
    }
    for (uint32_t s = 0; s < slot_count; s++) {
        if (!w->raw.is_touched[s]) {
            continue;
        }
        struct open_walk walk = open_walk_of(w, of, slot_bits_of(&w->raw, s));
        uint32_t subject = 0;
        while ((subject = open_next(&walk)) != UINT32_MAX) {
            const struct atom_truth now = truth_in_atom(&of->truth, subject, source, edges, s);
            if (now.is_all) {
                (void)slot_bits_add(actives, s, subject);
            } else if (now.days > 0 && !slot_bits_has(actives, s, subject)) {
                mark(w, w->unsure, subject);
            }
        }
    }
    return ERR_OK;
}

enum err_code retention_where_repeats(struct retention_where *w, const int64_t *edges,
                                      uint32_t slot_count, const struct slot_bits *starts,
                                      const struct slot_bits *actives, struct err *err)
{
    ERR_TRY(raw_clear(w, slot_count, err));
    for (uint32_t s = 0; s < w->task->source_count; s++) {
        if (w->sources[s].is_known) {
            ERR_TRY(repeats_of(w, s, edges, slot_count, starts, actives, err));
        }
    }
    return ERR_OK;
}

const uint64_t *retention_where_unsure(const struct retention_where *w)
{
    bool are_many = bits_count(w->unsure, w->words) > (uint64_t)(w->end - w->base) / UNSURE_PARTS;
    return w->is_given_up || are_many ? NULL : w->unsure;
}
