/* storage/segment_firsts.c - which rows of a merge are first times (first_times.h).
 *
 * One column after the other is fed in the order of the merge, and of each row its name's number, its arrival and its company
 * are kept (16 bytes a row). Then one pass over the rows, which come by (subject, event_time): a row is left out where one
 * before it, of the same subject, name and company, had arrived by then as well. What was seen of a subject is in a hash
 * table whose entries name their subject, so that the next subject need not clear it.
 */
#include "storage/base/hash.h"
#include "storage/base/size.h"
#include "storage/segment_write_int.h"

#include <stdlib.h>

#define SEEN_LEAST 1024u

struct row_facts {
    int64_t *arrivals;
    uint64_t *companies;
    uint32_t *names;
    uint64_t *is_users; /* bits: the row came under a user id */
};

/* The earliest arrival among what was seen of a subject under a name in some company. */
struct seen {
    bool is_taken;
    uint32_t subject, name;
    uint64_t company;
    int64_t arrival_ms;
};

struct firsts {
    struct merge *merge;
    const struct segment_company *company;
    struct row_facts facts;
    uint64_t *weak;
    struct seen *table;
    uint32_t table_size; /* a power of two */
    uint32_t taken;      /* of any subject, since the table was last cleared */
};

static void firsts_done(struct firsts *firsts)
{
    free(firsts->facts.arrivals);
    free(firsts->facts.companies);
    free(firsts->facts.names);
    free(firsts->facts.is_users);
    free(firsts->weak);
    free(firsts->table);
}

static enum err_code no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for first times");
}

static bool bit_of(const uint64_t *bits, uint32_t row)
{
    return (bits[row / 64] >> (row % 64) & 1) != 0;
}

static void bit_set(uint64_t *bits, uint32_t row, bool is_on)
{
    uint64_t bit = UINT64_C(1) << (row % 64);
    bits[row / 64] = is_on ? bits[row / 64] | bit : bits[row / 64] & ~bit;
}

static enum err_code make_room(struct firsts *firsts, struct err *err)
{
    size_t rows = (size_t)firsts->merge->row_count + 1;
    struct row_facts *facts = &firsts->facts;
    facts->arrivals = calloc(rows, sizeof(*facts->arrivals));
    facts->companies = calloc(rows, sizeof(*facts->companies));
    facts->names = calloc(rows, sizeof(*facts->names));
    facts->is_users = calloc(rows / 64 + 1, sizeof(uint64_t));
    firsts->weak = calloc(rows / 64 + 1, sizeof(uint64_t));
    firsts->table_size = SEEN_LEAST;
    firsts->table = calloc(SEEN_LEAST, sizeof(*firsts->table));
    bool is_there = facts->arrivals != NULL && facts->companies != NULL && facts->names != NULL &&
                    facts->is_users != NULL && firsts->weak != NULL && firsts->table != NULL;
    return is_there ? ERR_OK : no_memory(err);
}

/* ---- what is known of each row ---- */

static enum err_code feed_names(struct firsts *firsts, struct feed *feed, struct err *err)
{
    const struct merge *merge = firsts->merge;
    CLEANUP(intern_freep) struct intern *intern = NULL;
    ERR_TRY(intern_create(merge->source_count, &intern, err));
    feed_start(feed, COL_EVENT_NAME);
    for (uint32_t row = 0; row < merge->row_count; row++) {
        const struct vec *vec = NULL;
        uint32_t place = 0;
        ERR_TRY(feed_value(feed, row, &vec, &place, err));
        if (place == UINT32_MAX || vec->kind != VEC_CODE) {
            return err_set(err, ERR_CORRUPT, "a row without an event name");
        }
        ERR_TRY(intern_code(intern, merge->source_of[row], vec->dict, vec->u32[place],
                            &firsts->facts.names[row], err));
    }
    return ERR_OK;
}

static enum err_code feed_arrivals(struct firsts *firsts, struct feed *feed, struct err *err)
{
    feed_start(feed, COL_ARRIVAL);
    for (uint32_t row = 0; row < firsts->merge->row_count; row++) {
        const struct vec *vec = NULL;
        uint32_t place = 0;
        ERR_TRY(feed_value(feed, row, &vec, &place, err));
        if (place == UINT32_MAX) {
            return err_set(err, ERR_CORRUPT, "a row without an arrival");
        }
        firsts->facts.arrivals[row] = vec->i64[place];
    }
    return ERR_OK;
}

/* First times keep no user id: the anonymous ids that they have are those of users' rows. */
static enum err_code feed_users(struct firsts *firsts, struct feed *feed, struct err *err)
{
    feed_start(feed, COL_USER_ID);
    for (uint32_t row = 0; row < firsts->merge->row_count; row++) {
        const struct vec *vec = NULL;
        uint32_t place = 0;
        ERR_TRY(feed_value(feed, row, &vec, &place, err));
        bit_set(firsts->facts.is_users, row, place != UINT32_MAX);
    }
    return ERR_OK;
}

static enum err_code feed_companies(struct firsts *firsts, struct feed *feed, struct err *err)
{
    const struct merge *merge = firsts->merge;
    const struct segment_company *company = firsts->company;
    feed_start(feed, COL_ANONYMOUS_ID);
    for (uint32_t row = 0; row < merge->row_count; row++) {
        const struct vec *vec = NULL;
        uint32_t place = 0;
        ERR_TRY(feed_value(feed, row, &vec, &place, err));
        bool is_first = merge->sources[merge->source_of[row]]->is_first_times;
        bool has_weak = place != UINT32_MAX && (is_first || bit_of(firsts->facts.is_users, row));
        struct str weak = has_weak ? vec_str(vec, place) : (struct str){0};
        uint64_t number = has_weak ? hash64(weak.ptr, weak.len, 1) : 0;
        if (company != NULL) {
            uint64_t more = 0;
            ERR_TRY(company->of_row(company->arg, merge->subjects[row], merge->times_ms[row],
                                    firsts->facts.arrivals[row], has_weak ? &weak : NULL, &more,
                                    err));
            number ^= more;
        }
        bit_set(firsts->weak, row, has_weak);
        firsts->facts.companies[row] = number;
    }
    return ERR_OK;
}

/* ---- which stay ---- */

static struct seen *slot_of(const struct firsts *firsts, const struct seen *wanted)
{
    uint64_t key = (uint64_t)wanted->subject << 32 | wanted->name;
    uint32_t at = (uint32_t)hash_mix(key ^ hash_mix(wanted->company)) & (firsts->table_size - 1);
    for (;; at = (at + 1) & (firsts->table_size - 1)) {
        struct seen *seen = &firsts->table[at];
        if (!seen->is_taken || (seen->subject == wanted->subject && seen->name == wanted->name &&
                                seen->company == wanted->company)) {
            return seen;
        }
    }
}

/* Half full: entries of other subjects go; where that is not enough it is doubled. */
static enum err_code table_room(struct firsts *firsts, uint32_t subject, struct err *err)
{
    if (firsts->taken < firsts->table_size / 2) {
        return ERR_OK;
    }
    struct seen *old = firsts->table;
    uint32_t old_size = firsts->table_size;
    uint32_t own = 0;
    for (uint32_t i = 0; i < old_size; i++) {
        own += old[i].is_taken && old[i].subject == subject;
    }
    uint32_t size = own >= old_size / 4 ? old_size * 2 : old_size;
    struct seen *table = calloc(size, sizeof(*table));
    if (table == NULL) {
        return no_memory(err);
    }
    firsts->table = table;
    firsts->table_size = size;
    firsts->taken = own;
    for (uint32_t i = 0; i < old_size; i++) {
        if (old[i].is_taken && old[i].subject == subject) {
            *slot_of(firsts, &old[i]) = old[i];
        }
    }
    free(old);
    return ERR_OK;
}

/* A later row says something new where it had arrived before all that are earlier: of then it was the first. */
static enum err_code is_first(struct firsts *firsts, uint32_t row, bool *ret, struct err *err)
{
    struct seen now = {.is_taken = true,
                       .subject = firsts->merge->subjects[row],
                       .name = firsts->facts.names[row],
                       .company = firsts->facts.companies[row],
                       .arrival_ms = firsts->facts.arrivals[row]};
    ERR_TRY(table_room(firsts, now.subject, err));
    struct seen *seen = slot_of(firsts, &now);
    *ret = !seen->is_taken || now.arrival_ms < seen->arrival_ms;
    firsts->taken += !seen->is_taken;
    if (*ret) {
        *seen = now;
    }
    return ERR_OK;
}

static enum err_code keep(struct firsts *firsts, struct err *err)
{
    struct merge *merge = firsts->merge;
    uint32_t kept = 0;
    for (uint32_t row = 0; row < merge->row_count; row++) {
        bool stays = false;
        ERR_TRY(is_first(firsts, row, &stays, err));
        if (!stays) {
            continue;
        }
        int64_t time_ms = merge->times_ms[row];
        merge->time_min_ms = kept == 0 ? time_ms : MIN_OF(merge->time_min_ms, time_ms);
        merge->time_max_ms = kept == 0 ? time_ms : MAX_OF(merge->time_max_ms, time_ms);
        merge->source_of[kept] = merge->source_of[row];
        merge->row_of[kept] = merge->row_of[row];
        merge->subjects[kept] = merge->subjects[row];
        merge->times_ms[kept] = time_ms;
        bit_set(firsts->weak, kept++, bit_of(firsts->weak, row));
    }
    merge->row_count = kept;
    return ERR_OK;
}

enum err_code merge_keep_firsts(struct merge *merge, const struct segment_company *company,
                                uint64_t **ret_weak, struct err *err)
{
    CLEANUP(firsts_done) struct firsts firsts = {.merge = merge, .company = company};
    CLEANUP(feed_freep) struct feed *feed = NULL;
    ERR_TRY(make_room(&firsts, err));
    ERR_TRY(feed_create(merge, &feed, err));
    ERR_TRY(feed_names(&firsts, feed, err));
    ERR_TRY(feed_arrivals(&firsts, feed, err));
    ERR_TRY(feed_users(&firsts, feed, err));
    ERR_TRY(feed_companies(&firsts, feed, err));
    ERR_TRY(keep(&firsts, err));
    *ret_weak = TAKE(firsts.weak);
    return ERR_OK;
}
