/* tests/crash/scenario.c - the steps of the life, and looking at what is left of it. */
#include "tests/crash/scenario.h"

#include "storage/base/rng.h"
#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "tests/support/live_events.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VICTIM      5u  /* whose subject is deleted, in the first data set */
#define EXPIRE_DAYS 75u /* about half of the events are older */

enum err_code __wrap_rng_system(void *out, size_t len, struct err *err);
static struct rng seeds;

enum err_code __wrap_rng_system(void *out, size_t len, struct err *err)
{
    (void)err;
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (uint8_t)rng_next(&seeds);
    }
    return ERR_OK;
}

void scenario_dir_make(char dir[64])
{
    snprintf(dir, 64, "/dev/shm/trackway-faults-XXXXXX");
    if (mkdtemp(dir) == NULL) {
        live_dir_make(dir);
    }
}

static const char *const set_names[SCENARIO_SETS] = {"shop", "blog"};

/* What is done, in order. A burst is ingested together with the step after it. `retries` earlier events travel in the batch again, with another time and
 * user. */
enum step_kind {
    STEP_OPEN,
    STEP_INGEST,
    STEP_BURST,
    STEP_FLUSH,
    STEP_DELETE,
    STEP_CONFIGURE,
    STEP_COMPACT, /* which takes what is expired from the disk, and moves what is cold, as well */
    STEP_CLOSE,
};
struct step {
    enum step_kind kind;
    uint32_t set, first, count, retries;
};
static const struct step steps[] = {
    {STEP_OPEN, 0, 0, 0, 0},    {STEP_INGEST, 0, 0, 16, 0}, {STEP_INGEST, 1, 0, 8, 0},
    {STEP_INGEST, 0, 16, 8, 3}, {STEP_FLUSH, 0, 0, 0, 0},   {STEP_BURST, 0, 24, 8, 4},
    {STEP_INGEST, 0, 32, 8, 2}, {STEP_INGEST, 1, 8, 1, 1},  {STEP_FLUSH, 0, 0, 0, 0},
    {STEP_DELETE, 0, 0, 0, 0},  {STEP_COMPACT, 0, 0, 0, 0}, {STEP_CONFIGURE, 0, 0, 0, 0},
    {STEP_BURST, 0, 40, 6, 2},  {STEP_INGEST, 0, 46, 6, 2}, {STEP_COMPACT, 0, 0, 0, 0},
    {STEP_INGEST, 0, 52, 4, 0}, {STEP_CLOSE, 0, 0, 0, 0},   {STEP_OPEN, 0, 0, 0, 0},
    {STEP_BURST, 0, 56, 6, 3},  {STEP_INGEST, 0, 62, 6, 2}, {STEP_INGEST, 1, 9, 8, 2},
    {STEP_COMPACT, 0, 0, 0, 0}, {STEP_CLOSE, 0, 0, 0, 0},
};

struct life {
    struct model *model;
    struct store *store;
    struct dataset *sets[SCENARIO_SETS];
    struct io *io;
    bool is_again; /* all is sent again, after what went wrong is over: nothing may be refused */
};

static void say_wrong(struct life *life, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say_wrong(struct life *life, const char *format, ...)
{
    if (life->model->wrong[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(life->model->wrong, sizeof(life->model->wrong), format, args);
        va_end(args);
    }
}

static int64_t wall_ms(void)
{
    return LIVE_ARRIVAL_MS;
}

static void options(struct store_opts *opts, const char *dir, char cold_dir[80])
{
    store_opts_default(opts);
    opts->fresh.dedup_window_ms = 0; /* what has expired is sent again, and must not come back */
    snprintf(cold_dir, 80, "%s/cold", dir); /* among the data sets, for faults strike below `dir` */
    opts->cold_dir = cold_dir;
    opts->wall_ms = wall_ms;
    opts->io_kind = IO_POSIX;
    opts->block_cache_bytes = 4u << 20;
    opts->compact_in_background = false;
}

static void life_end(struct life *life)
{
    if (life->store != NULL) {
        store_abandon(TAKE(life->store));
    }
    io_free(TAKE(life->io));
    memset(life->sets, 0, sizeof(life->sets));
}

/* A data set that could not be made is asked for again by whoever needs it. */
static struct dataset *set_of(struct life *life, uint32_t set)
{
    struct err err = {0};
    if (life->store != NULL && life->sets[set] == NULL) {
        if (store_dataset(life->store, str_of(set_names[set]), true, &life->sets[set], &err) !=
            ERR_OK) {
            life->model->refusals++;
            life->sets[set] = NULL;
        } else {
            life->sets[set]->limits.block_rows = 8; /* so that small segments are worth merging */
        }
    }
    return life->sets[set];
}

static void live_open(struct life *life, const char *dir)
{
    struct err err = {0};
    struct store_opts opts;
    struct recovery_report report;
    char cold_dir[80];
    options(&opts, dir, cold_dir);
    /* As a service manager would, try again a few times. */
    for (uint32_t attempt = 0; attempt < 3 && life->store == NULL; attempt++) {
        if (store_open(dir, &opts, &life->store, &report, &err) != ERR_OK) {
            life->model->refusals++;
            life->store = NULL;
            if (err.message[0] == '\0') {
                say_wrong(life, "opening failed without a word");
            }
        }
    }
    if (life->io == NULL && io_create(IO_POSIX, &life->io, &err) != ERR_OK) {
        life->model->refusals++;
        life->io = NULL;
    }
}

/* One event of a batch that was answered with ERR_OK. */
static void note_receipt(struct life *life, uint32_t set, uint32_t k, const struct event *event)
{
    uint8_t *fate = &life->model->fate[set][k];
    char user[32], anonymous[32], victim[32], ignored[32];
    live_user(k, user, anonymous);
    live_user(VICTIM, victim, ignored);
    bool is_expired = event->time_ms < dataset_expired_before(life->sets[set]);
    if (is_expired != (event->status == RECEIPT_REJECTED)) {
        say_wrong(life, "event %" PRIu32 " of \"%s\" is %s, with status %d", k, set_names[set],
                  is_expired ? "expired" : "not expired", (int)event->status);
    }
    if (is_expired) {
        return; /* whatever became of it before */
    }
    /* Compaction has taken the rows of the deleted, and with them the memory of their event ids. */
    bool may_be_gone =
        set == 0 && life->model->deletion != DELETION_NONE && strcmp(user, victim) == 0;
    if (event->status == RECEIPT_ACCEPTED) {
        if (*fate == FATE_ACKNOWLEDGED && !may_be_gone) {
            say_wrong(life, "event %" PRIu32 " of \"%s\" was accepted twice", k, set_names[set]);
        }
    } else if (event->status == RECEIPT_DUPLICATE) {
        if (*fate == FATE_UNSENT) {
            say_wrong(life, "event %" PRIu32 " of \"%s\" is no duplicate", k, set_names[set]);
        }
        if (*fate == FATE_REFUSED && !life->is_again) {
            /* Refused, and yet in the memory of event ids: whoever retries is told it is safe. */
            say_wrong(life, "event %" PRIu32 " of \"%s\" was refused, and its retry is a duplicate",
                      k, set_names[set]);
        }
    } else {
        say_wrong(life, "event %" PRIu32 " of \"%s\" has status %d", k, set_names[set],
                  (int)event->status);
    }
    *fate = FATE_ACKNOWLEDGED;
}

static enum err_code make_batch(const struct life *life, const struct step *step,
                                struct event_batch **ret, uint32_t *numbers, uint32_t *ret_count,
                                struct err *err)
{
    struct batch_builder builder;
    uint32_t count = 0;
    enum err_code code = batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, err);
    ERR_TRY(code);
    for (uint32_t i = 0; code == ERR_OK && i < step->count; i++) {
        numbers[count++] = step->first + i;
        code = live_add(&builder, step->first + i, false, err);
        /* Behind every third event one that was acknowledged before comes again. */
        uint32_t old = (step->first * 7 + i) % (step->first + 1);
        if (code == ERR_OK && i % 3 == 0 && i / 3 < step->retries && old < step->first &&
            life->model->fate[step->set][old] == FATE_ACKNOWLEDGED &&
            live_time(old) >= dataset_expired_before(life->sets[step->set])) {
            numbers[count++] = old;
            code = live_add(&builder, old, true, err);
        }
    }
    if (code != ERR_OK) {
        event_batch_free(builder.batch);
        return code;
    }
    builder.batch->bytes = (size_t)count * 300;
    *ret = builder.batch;
    *ret_count = count;
    return ERR_OK;
}

struct parcel {
    const struct step *step;
    struct event_batch *batch;
    uint32_t numbers[2 * SCENARIO_EVENTS];
    uint32_t count;
};

static bool is_ingest(const struct step *step)
{
    return step->kind == STEP_INGEST || step->kind == STEP_BURST;
}

static void note_outcome(struct life *life, const struct parcel *parcel, enum err_code code,
                         const struct err *err)
{
    uint32_t set = parcel->step->set;
    if (code == ERR_OK) {
        for (uint32_t i = 0; i < parcel->count; i++) {
            note_receipt(life, set, parcel->numbers[i], &parcel->batch->events[i]);
        }
        return;
    }
    life->model->refusals++;
    if (err->code == ERR_OK || err->message[0] == '\0') {
        say_wrong(life, "a batch was refused without a word");
    }
    for (uint32_t i = 0; i < parcel->count; i++) {
        uint8_t *fate = &life->model->fate[set][parcel->numbers[i]];
        *fate = *fate == FATE_UNSENT ? FATE_REFUSED : *fate;
    }
}

/* Some steps of one data set, at once. */
static void live_step_ingest(struct life *life, const struct step *first, uint32_t count)
{
    struct err err = {0};
    struct parcel parcels[LIVE_BURST_MAX];
    struct event_batch *batches[LIVE_BURST_MAX];
    enum err_code codes[LIVE_BURST_MAX];
    struct err errs[LIVE_BURST_MAX];
    uint32_t made = 0;
    struct dataset *dataset = set_of(life, first->set);
    if (dataset == NULL || life->io == NULL) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct parcel *parcel = &parcels[made];
        *parcel = (struct parcel){.step = &first[i]};
        if (make_batch(life, parcel->step, &parcel->batch, parcel->numbers, &parcel->count, &err) !=
            ERR_OK) {
            life->model->refusals++;
            continue;
        }
        batches[made++] = parcel->batch;
    }
    if (count == 1 && made == 1) { /* as a door does it */
        codes[0] = dataset_ingest(dataset, batches[0], life->io, &errs[0]);
    } else {
        live_burst(dataset, batches, made, life->io, codes, errs);
    }
    for (uint32_t i = 0; i < made; i++) {
        note_outcome(life, &parcels[i], codes[i], &errs[i]);
        event_batch_free(batches[i]);
    }
}

static void live_delete(struct life *life)
{
    struct err err = {0};
    char user[32], anonymous[32];
    uint32_t shard = 0, subject = 0;
    struct dataset *dataset = set_of(life, 0);
    live_user(VICTIM, user, anonymous);
    if (dataset == NULL ||
        !dataset_find_subject(dataset, str_of(user), str_of(anonymous), &shard, &subject)) {
        return;
    }
    if (dataset_delete_subject(dataset, shard, subject, &err) == ERR_OK) {
        life->model->deletion = DELETION_DONE;
    } else {
        life->model->refusals++;
        if (life->model->deletion == DELETION_NONE) {
            life->model->deletion = DELETION_REFUSED;
        }
    }
}

static const struct settings_change settings = {
    .has_expire_after = true,
    .has_cold_after = true,
    .to = {.expire_after_ms = EXPIRE_DAYS * SETTINGS_DAY_MS, .cold_after_ms = SETTINGS_DAY_MS}};

static void live_configure(struct life *life)
{
    struct err err = {0};
    struct dataset *dataset = set_of(life, 0);
    if (dataset == NULL) {
        return;
    }
    if (dataset_configure(dataset, &settings, &err) == ERR_OK) {
        life->model->expiry = DELETION_DONE;
    } else {
        life->model->refusals++;
        life->model->expiry = DELETION_REFUSED;
    }
}

static void live_close(struct life *life)
{
    struct err err = {0};
    if (life->store != NULL && store_close(TAKE(life->store), &err) != ERR_OK) {
        life->model->refusals++;
    }
    life_end(life);
}

void scenario_live(const char *dir, struct model *model)
{
    struct life life = {.model = model};
    struct err err = {0};
    *model = (struct model){0};
    seeds = rng_init(1);
    for (size_t i = 0; i < COUNT_OF(steps) && model->wrong[0] == '\0'; i++) {
        const struct step *step = &steps[i];
        struct dataset *dataset = NULL;
        switch (step->kind) {
        case STEP_OPEN: live_open(&life, dir); break;
        case STEP_BURST:
        case STEP_INGEST: {
            uint32_t count = 1;
            for (; steps[i].kind == STEP_BURST; i++) {
                count++;
            }
            live_step_ingest(&life, step, count);
            break;
        }
        case STEP_FLUSH:
            dataset = set_of(&life, step->set);
            model->refusals += dataset != NULL && dataset_flush(dataset, &err) != ERR_OK;
            break;
        case STEP_DELETE: live_delete(&life); break;
        case STEP_CONFIGURE: live_configure(&life); break;
        case STEP_COMPACT:
            dataset = set_of(&life, step->set);
            model->refusals += dataset != NULL && dataset_compact(dataset, NULL, &err) != ERR_OK;
            break;
        case STEP_CLOSE: live_close(&life); break;
        }
    }
    life_end(&life);
}

/* ---- after it ---- */

static bool is_victims(uint32_t set, uint32_t k)
{
    char user[32], anonymous[32], victim[32], victim_anonymous[32];
    live_user(k, user, anonymous);
    live_user(VICTIM, victim, victim_anonymous);
    return set == 0 && strcmp(user, victim) == 0 &&
           (user[0] != '\0' || strcmp(anonymous, victim_anonymous) == 0);
}

/* Whether event k is masked by its subject's deletion or by its age. */
static bool is_out(struct life *life, uint32_t set, uint32_t k, bool masked)
{
    return (masked && is_victims(set, k)) || live_time(k) < dataset_expired_before(life->sets[set]);
}

static bool is_masked(struct life *life)
{
    struct err err = {0};
    struct snapshot *snapshot = NULL;
    char user[32], anonymous[32];
    uint32_t shard = 0, subject = 0;
    live_user(VICTIM, user, anonymous);
    if (!dataset_find_subject(life->sets[0], str_of(user), str_of(anonymous), &shard, &subject) ||
        dataset_snapshot(life->sets[0], &snapshot, &err) != ERR_OK) {
        return false;
    }
    bool masked = snapshot->deleted[shard] != NULL &&
                  roaring_bitmap_contains(snapshot->deleted[shard], subject);
    snapshot_unpin(snapshot);
    return masked;
}

/* What is there, against the fates. Afterwards `fate` says what was found of refused events. */
static void check_fates(struct life *life, uint32_t set, bool masked)
{
    struct err err = {0};
    uint8_t seen[SCENARIO_EVENTS];
    uint8_t *fate = life->model->fate[set];
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    if (dataset_snapshot(life->sets[set], &snapshot, &err) != ERR_OK ||
        live_look(snapshot, seen, SCENARIO_EVENTS, life->io, &err) != ERR_OK) {
        say_wrong(life, "\"%s\": %s", set_names[set], err.message);
        return;
    }
    for (uint32_t k = 0; k < SCENARIO_EVENTS; k++) {
        uint32_t least = fate[k] == FATE_ACKNOWLEDGED;
        uint32_t most = fate[k] != FATE_UNSENT;
        if (is_out(life, set, k, masked)) {
            least = most = 0;
        }
        if (seen[k] < least || seen[k] > most) {
            say_wrong(life, "event %" PRIu32 " of \"%s\" is there %u times and was %s", k,
                      set_names[set], seen[k],
                      fate[k] == FATE_ACKNOWLEDGED ? "acknowledged"
                      : fate[k] == FATE_REFUSED    ? "refused"
                                                   : "never sent");
        }
    }
    /* A refused batch is there whole or not at all. */
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        const struct step *step = &steps[i];
        uint32_t there = 0, refused = 0;
        for (uint32_t k = step->first;
             is_ingest(step) && step->set == set && k < step->first + step->count; k++) {
            bool counts = fate[k] == FATE_REFUSED && !is_out(life, set, k, masked);
            refused += counts;
            there += counts && seen[k] == 1;
        }
        if (there != 0 && there != refused) {
            say_wrong(life,
                      "of %" PRIu32 " refused events from %" PRIu32 " of \"%s\" %" PRIu32
                      " are there",
                      refused, step->first, set_names[set], there);
        }
    }
}

/* Of each event, the earliest of its subject and name that any source tells of, expired ones and first times as well. */
struct earliest {
    uint32_t shard[SCENARIO_EVENTS], subject[SCENARIO_EVENTS];
    bool is_known[SCENARIO_EVENTS];
    int64_t time_ms[SCENARIO_EVENTS];
};

static enum err_code note_earliest(struct earliest *earliest, const struct source *source,
                                   struct io *io, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = io};
    for (uint32_t block = 0; block < source->block_count; block++) {
        struct vec subjects = {0};
        struct vec times = {0};
        struct vec names = {0};
        ERR_TRY(source_read(source, &ctx, COL_SUBJECT, block, &subjects, err));
        ERR_TRY(source_read(source, &ctx, COL_EVENT_TIME, block, &times, err));
        ERR_TRY(source_read(source, &ctx, COL_EVENT_NAME, block, &names, err));
        for (uint32_t row = 0; row < times.rows; row++) {
            for (uint32_t k = 0; k < SCENARIO_EVENTS; k++) {
                if (earliest->is_known[k] && earliest->shard[k] == source->shard &&
                    earliest->subject[k] == subjects.u32[row] &&
                    str_eq(vec_str(&names, row), str_of(live_name(k)))) {
                    earliest->time_ms[k] = MIN_OF(earliest->time_ms[k], times.i64[row]);
                }
            }
        }
    }
    return ERR_OK;
}

static enum err_code find_earliest(struct life *life, uint32_t set, struct earliest *ret,
                                   struct err *err)
{
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    ERR_TRY(dataset_snapshot(life->sets[set], &snapshot, err));
    for (uint32_t k = 0; k < SCENARIO_EVENTS; k++) {
        char user[32], anonymous[32];
        live_user(k, user, anonymous);
        ret->time_ms[k] = INT64_MAX;
        ret->is_known[k] = dataset_find_subject(life->sets[set], str_of(user), str_of(anonymous),
                                                &ret->shard[k], &ret->subject[k]);
    }
    for (uint32_t i = 0; i < snapshot->source_count; i++) {
        ERR_TRY(note_earliest(ret, snapshot->sources[i], life->io, err));
    }
    for (uint32_t i = 0; i < snapshot->history_count; i++) {
        ERR_TRY(note_earliest(ret, snapshot->history[i], life->io, err));
    }
    return ERR_OK;
}

/* Was an event of this time, subject and name ever sent? */
static bool is_anybodys(const struct life *life, uint32_t set, const struct earliest *earliest,
                        uint32_t k)
{
    bool is_there = false;
    for (uint32_t j = 0; j < SCENARIO_EVENTS; j++) {
        is_there = is_there ||
                   (life->model->fate[set][j] != FATE_UNSENT && earliest->is_known[j] &&
                    earliest->shard[j] == earliest->shard[k] &&
                    earliest->subject[j] == earliest->subject[k] &&
                    strcmp(live_name(j), live_name(k)) == 0 && live_time(j) == earliest->time_ms[k]);
    }
    return is_there;
}

/* Expired or not, whoever did something first is known to have. */
static void check_firsts(struct life *life, uint32_t set, bool masked)
{
    struct err err = {0};
    struct earliest earliest;
    if (find_earliest(life, set, &earliest, &err) != ERR_OK) {
        say_wrong(life, "\"%s\": %s", set_names[set], err.message);
        return;
    }
    for (uint32_t k = 0; k < SCENARIO_EVENTS; k++) {
        bool was_there = life->model->fate[set][k] == FATE_ACKNOWLEDGED;
        if ((masked && is_victims(set, k)) || !was_there) {
            continue;
        }
        if (earliest.time_ms[k] > live_time(k) || !is_anybodys(life, set, &earliest, k)) {
            say_wrong(life,
                      "event %" PRIu32 " of \"%s\" is of %" PRId64
                      ", and the first that its subject is known to have done so of %" PRId64,
                      k, set_names[set], live_time(k), earliest.time_ms[k]);
        }
    }
}

static void check_sets(struct life *life)
{
    bool masked = life->sets[0] != NULL && is_masked(life);
    bool may_be = life->model->deletion != DELETION_NONE;
    if (masked ? !may_be : life->model->deletion == DELETION_DONE) {
        say_wrong(life, "the subject is %sdeleted", masked ? "" : "not ");
    }
    bool expires = dataset_settings(life->sets[0]).expire_after_ms != 0;
    if (expires ? life->model->expiry == DELETION_NONE : life->model->expiry == DELETION_DONE) {
        say_wrong(life, "the settings are %s", expires ? "changed" : "lost");
    }
    for (uint32_t set = 0; set < SCENARIO_SETS && life->model->wrong[0] == '\0'; set++) {
        if (life->sets[set] != NULL) {
            check_fates(life, set, masked);
            check_firsts(life, set, masked);
        }
    }
}

void scenario_verify(const char *dir, const struct model *model, char wrong[1024])
{
    struct model copy = *model;
    struct life life = {.model = &copy, .is_again = true};
    struct err err = {0};
    for (uint32_t round = 0; round < 2 && copy.wrong[0] == '\0'; round++) {
        struct store_opts opts;
        struct recovery_report report;
        char cold_dir[80];
        options(&opts, dir, cold_dir);
        if (store_open(dir, &opts, &life.store, &report, &err) != ERR_OK) {
            say_wrong(&life, "does not open: %s", err.message);
            break;
        }
        if (io_create(IO_POSIX, &life.io, &err) != ERR_OK || set_of(&life, 0) == NULL ||
            set_of(&life, 1) == NULL) {
            say_wrong(&life, "a data set cannot be had after it");
            break;
        }
        check_sets(&life);
        copy.refusals = 0;
        for (size_t i = 0; i < COUNT_OF(steps) && round == 0; i++) {
            struct step step = steps[i];
            step.retries = 0;
            if (is_ingest(&step)) {
                live_step_ingest(&life, &step, 1);
            }
        }
        if (round == 0) {
            live_delete(&life);
            live_configure(&life);
            if (dataset_compact(life.sets[0], NULL, &err) != ERR_OK) {
                say_wrong(&life, "does not compact: %s", err.message);
            }
            check_sets(&life);
        }
        if (copy.refusals > 0) {
            say_wrong(&life, "%" PRIu32 " calls were refused after it was over", copy.refusals);
        }
        if (store_close(TAKE(life.store), &err) != ERR_OK) {
            say_wrong(&life, "does not close: %s", err.message);
        }
        life_end(&life);
    }
    life_end(&life);
    memcpy(wrong, copy.wrong, sizeof(copy.wrong));
}
