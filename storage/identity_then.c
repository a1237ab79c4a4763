/* storage/identity_then.c - whose a row was as of the commit that it came with (identity.h, by arrival).
 *
 * Nothing is replayed: what changes with commits is kept with its commit, and looked up.
 *
 *    user      its turns: from the commit of each act on it is merged into another, or nobody, or neither
 *    weak id   each user that it met, since which commit; who was nobody at a commit was not met then
 *    logins    of a weak id that met several users, one span for each time that the login's user was somebody: a row that
 *              arrived at a, with the time t, is of the last login by (time, user id), at or before t, whose span has a; else
 *              of the first of all whose span has a
 *
 * The last such span is found in a tree over the spans, by time and user: each node knows the smallest begin and the largest
 * end of those below it. That rules out what came later as a whole, and logins of who is nobody by now; mostly one path is
 * walked. */
#include "storage/identity_int.h"

#include <stdlib.h>

/* ---- users ---- */

enum err_code identity_take_turn(struct moved *user, struct user_turn turn, struct err *err)
{
    void *items = user->turns;
    ERR_TRY(identity_grow(&items, user->turn_count, &user->turn_cap, sizeof(*user->turns), err));
    user->turns = items;
    user->turns[user->turn_count++] = turn;
    return ERR_OK;
}

struct user_turn identity_turn_at(const struct moved *user, int64_t commit_ms)
{
    uint32_t low = 0;
    uint32_t high = user->turn_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (user->turns[mid].commit_ms <= commit_ms) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low == 0 ? (struct user_turn){.commit_ms = INT64_MIN} : user->turns[low - 1];
}

uint64_t identity_root_then(const struct identity *identity, uint64_t user, int64_t commit_ms)
{
    for (;;) {
        const struct moved *moved = identity_find(identity, user);
        if (moved == NULL || !identity_turn_at(moved, commit_ms).is_merged) {
            return user;
        }
        user = identity_turn_at(moved, commit_ms).into;
    }
}

static bool was_nobody(const struct identity *identity, uint64_t user, int64_t commit_ms)
{
    const struct moved *moved = identity_find(identity, user);
    return moved != NULL && identity_turn_at(moved, commit_ms).is_nobody;
}

/* ---- spans of logins ---- */

static void spans_free(struct login_spans *spans)
{
    if (spans != NULL) {
        free(spans->items);
        free(spans->nodes);
        free(spans);
    }
}

void identity_then_done(struct moved *moved)
{
    free(moved->turns);
    spans_free(moved->spans);
}

static enum err_code add_span(struct login_spans *spans, struct login_span span, struct err *err)
{
    void *items = spans->items;
    if (span.from_ms >= span.until_ms) {
        return ERR_OK;
    }
    ERR_TRY(identity_grow(&items, spans->count, &spans->cap, sizeof(*spans->items), err));
    spans->items = items;
    spans->items[spans->count++] = span;
    return ERR_OK;
}

/* From its arrival on, less the times when its user was nobody. */
static enum err_code add_login(const struct identity *identity, const struct login *login,
                               struct login_spans *spans, struct err *err)
{
    const struct moved *user = identity_find(identity, login->user);
    uint32_t turn_count = user == NULL ? 0 : user->turn_count;
    struct login_span span = {.time_ms = login->time_ms, .user = login->user};
    bool is_nobody = false;
    span.from_ms = login->arrival_ms;
    for (uint32_t i = 0; i < turn_count; i++) {
        const struct user_turn *turn = &user->turns[i];
        if (turn->is_nobody && !is_nobody) {
            span.until_ms = turn->commit_ms;
            ERR_TRY(add_span(spans, span, err));
        } else if (!turn->is_nobody && is_nobody) {
            span.from_ms =
                login->arrival_ms > turn->commit_ms ? login->arrival_ms : turn->commit_ms;
        }
        is_nobody = turn->is_nobody;
    }
    span.until_ms = INT64_MAX;
    return is_nobody ? ERR_OK : add_span(spans, span, err);
}

static enum err_code make_tree(struct login_spans *spans, struct err *err)
{
    spans->leaves = 1;
    while (spans->leaves < spans->count) {
        spans->leaves *= 2; /* of at most 2^31 spans: memory ends before */
    }
    spans->nodes = malloc((size_t)spans->leaves * 2 * sizeof(*spans->nodes));
    if (spans->nodes == NULL) {
        return identity_no_memory(err);
    }
    for (uint32_t i = 0; i < spans->leaves; i++) {
        bool is_there = i < spans->count;
        spans->nodes[spans->leaves + i].from_ms = is_there ? spans->items[i].from_ms : INT64_MAX;
        spans->nodes[spans->leaves + i].until_ms = is_there ? spans->items[i].until_ms : INT64_MIN;
    }
    for (uint32_t n = spans->leaves - 1; n > 0; n--) {
        spans->nodes[n].from_ms =
            MIN_OF(spans->nodes[2 * n].from_ms, spans->nodes[2 * n + 1].from_ms);
        spans->nodes[n].until_ms =
            MAX_OF(spans->nodes[2 * n].until_ms, spans->nodes[2 * n + 1].until_ms);
    }
    return ERR_OK;
}

static enum err_code make_spans(struct identity *identity, struct moved *weak, struct err *err)
{
    if (weak->spans != NULL) {
        return ERR_OK;
    }
    struct login_spans *spans = calloc(1, sizeof(*spans));
    if (spans == NULL) {
        return identity_no_memory(err);
    }
    identity_sort_logins(identity, weak);
    enum err_code code = ERR_OK;
    for (uint32_t i = 0; i < weak->login_count && code == ERR_OK; i++) {
        code = add_login(identity, &weak->logins[i], spans, err);
    }
    if (code == ERR_OK) {
        code = make_tree(spans, err);
    }
    if (code != ERR_OK) {
        spans_free(spans);
        return code;
    }
    weak->spans = spans;
    return ERR_OK;
}

/* What is looked for among the spans below a node: one that has the arrival, of the first `end`. */
struct span_search {
    const struct login_spans *spans;
    int64_t arrival_ms;
    uint32_t end;
    bool is_last; /* the last such one, else the first */
};

/* The nodes are those of `count` leaves from `first` on. UINT32_MAX: there is none. At most 32 deep. */
static uint32_t search_node(const struct span_search *search, uint32_t node, uint32_t first,
                            uint32_t count)
{
    const struct login_spans *spans = search->spans;
    if (first >= search->end || spans->nodes[node].from_ms > search->arrival_ms ||
        spans->nodes[node].until_ms <= search->arrival_ms) {
        return UINT32_MAX;
    }
    if (count == 1) {
        return first;
    }
    uint32_t half = count / 2;
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t side = search->is_last ? 1 - k : k;
        uint32_t found = search_node(search, 2 * node + side, first + side * half, half);
        if (found != UINT32_MAX) {
            return found;
        }
    }
    return UINT32_MAX;
}

/* How many spans are of logins at or before time_ms. */
static uint32_t spans_until(const struct login_spans *spans, int64_t time_ms)
{
    uint32_t low = 0;
    uint32_t high = spans->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (spans->items[mid].time_ms <= time_ms) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* False: no login is known as of then; those that were are expired. */
static enum err_code user_by_login(struct identity *identity, struct moved *weak, int64_t time_ms,
                                   int64_t arrival_ms, uint64_t *ret, bool *ret_found,
                                   struct err *err)
{
    ERR_TRY(make_spans(identity, weak, err));
    const struct login_spans *spans = weak->spans;
    struct span_search search = {spans, arrival_ms, spans_until(spans, time_ms), true};
    uint32_t at = search_node(&search, 1, 0, spans->leaves);
    if (at == UINT32_MAX) {
        search.end = spans->count;
        search.is_last = false;
        at = search_node(&search, 1, 0, spans->leaves);
    }
    *ret_found = at != UINT32_MAX;
    if (*ret_found) {
        *ret = spans->items[at].user;
    }
    return ERR_OK;
}

/* ---- whose a row was ---- */

/* Users that the weak id had met by then, at most two are looked for: *ret_first, and whether there are more. */
static uint32_t count_users(const struct identity *identity, const struct moved *weak,
                            int64_t commit_ms, uint64_t *ret_first)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < weak->user_count && count < 2; i++) {
        const struct bound_user *user = &weak->users[i];
        if (user->since_ms > commit_ms) {
            break; /* they stand in the order of commits */
        }
        if (!was_nobody(identity, user->place, commit_ms)) {
            *ret_first = count == 0 ? user->place : *ret_first;
            count++;
        }
    }
    return count;
}

static uint64_t smallest_user(const struct identity *identity, const struct moved *weak,
                              int64_t commit_ms)
{
    uint64_t smallest = weak->place;
    for (uint32_t i = 0; i < weak->user_count && weak->users[i].since_ms <= commit_ms; i++) {
        uint64_t user = weak->users[i].place;
        if (!was_nobody(identity, user, commit_ms) &&
            (smallest == weak->place || identity_user_cmp(identity, user, smallest) < 0)) {
            smallest = user;
        }
    }
    return smallest;
}

static enum err_code owner_of(struct identity *identity, uint64_t place, int64_t time_ms,
                              int64_t arrival_ms, uint64_t *ret, struct err *err)
{
    struct moved *moved = identity_find(identity, place);
    uint64_t user = place;
    bool is_known = true;
    if (moved != NULL && moved->kind == ID_ANONYMOUS) {
        uint32_t count = count_users(identity, moved, arrival_ms, &user);
        if (count > 1) {
            ERR_TRY(user_by_login(identity, moved, time_ms, arrival_ms, &user, &is_known, err));
        }
        user = is_known ? user : smallest_user(identity, moved, arrival_ms);
    }
    *ret = identity_root_then(identity, user, arrival_ms);
    return ERR_OK;
}

enum err_code identity_owner_then(struct identity *identity, uint64_t place,
                                  const struct identity_row *row, uint64_t *ret,
                                  bool *ret_is_somebodys, struct err *err)
{
    uint32_t shard = 0;
    uint32_t subject = 0;
    bool is_nobodys = was_nobody(identity, place, row->arrival_ms);
    *ret_is_somebodys = !is_nobodys || (row->weak.len > 0 && ids_find(identity->ids, ID_ANONYMOUS,
                                                                      row->weak, &shard, &subject));
    if (!*ret_is_somebodys) {
        return ERR_OK;
    }
    return owner_of(identity, is_nobodys ? identity_place(shard, subject) : place, row->time_ms,
                    row->arrival_ms, ret, err);
}

/* ---- stand-ins ---- */

enum err_code identity_stand_in(struct identity *identity, uint64_t place, uint32_t *ret,
                                struct err *err)
{
    struct moved *moved = identity_find(identity, place);
    struct stand_ins *stand_ins = &identity->stand_ins[place >> 32];
    ASSERT(moved != NULL);
    if (moved->stand_in == STAND_IN_NONE) {
        void *items = stand_ins->subjects;
        if (stand_ins->count >= STAND_IN_NONE - 1 - stand_ins->first) {
            return err_set(err, ERR_LIMIT, "no numbers are left for people of shard %u",
                           (unsigned)(place >> 32));
        }
        ERR_TRY(identity_grow(&items, stand_ins->count, &stand_ins->cap,
                              sizeof(*stand_ins->subjects), err));
        stand_ins->subjects = items;
        moved->stand_in = stand_ins->first + stand_ins->count;
        stand_ins->subjects[stand_ins->count++] = (uint32_t)place;
    }
    *ret = moved->stand_in;
    return ERR_OK;
}

enum err_code identity_find_own(struct identity *identity, uint64_t place, uint64_t *ret,
                                struct err *err)
{
    uint64_t owner = 0;
    if (identity_own_rows(identity, place, ret)) {
        return ERR_OK;
    }
    ERR_TRY(owner_of(identity, place, INT64_MAX, INT64_MAX - 1, &owner, err));
    if (!identity_own_rows(identity, owner, ret)) {
        *ret = owner;
    }
    return ERR_OK;
}

bool identity_own_rows(const struct identity *identity, uint64_t place, uint64_t *ret)
{
    const struct moved *moved = identity_find(identity, place);
    if (moved != NULL && moved->stand_in == STAND_IN_NONE) {
        return false;
    }
    *ret = moved == NULL ? place : identity_place((uint32_t)(place >> 32), moved->stand_in);
    return true;
}
