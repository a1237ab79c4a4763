#include "tests/support/ref_people.h"

static bool is_taken(const struct ref_select *select, const struct ref_people_event *event)
{
    return (select->names >> event->name & 1) != 0 &&
           (!select->has_cents_over || event->cents > select->cents_over);
}

static bool op_holds(const struct ref_cond *cond, int64_t a, int64_t scale)
{
    int64_t b = cond->values[0] * scale;
    switch (cond->op) {
    case REF_EQ: return a == b;
    case REF_NE: return a != b;
    case REF_LT: return a < b;
    case REF_LE: return a <= b;
    case REF_GT: return a > b;
    case REF_GE: return a >= b;
    case REF_BETWEEN: return a >= b && a <= cond->values[1] * scale;
    }
    return false;
}

static bool number_holds(const struct ref_cond *cond, const struct ref_people_event *events,
                         uint32_t count, uint32_t user)
{
    int64_t rows = 0;
    int64_t sum = 0;
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    bool channels[REF_NO_CHANNEL] = {false};
    int64_t channel_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct ref_people_event *event = &events[i];
        if (event->user != user || !is_taken(&cond->select, event) ||
            event->time_ms < cond->begin_ms || event->time_ms >= cond->end_ms) {
            continue;
        }
        rows++;
        sum += event->cents;
        min = event->cents < min ? event->cents : min;
        max = event->cents > max ? event->cents : max;
        if (event->channel != REF_NO_CHANNEL && !channels[event->channel]) {
            channels[event->channel] = true;
            channel_count++;
        }
    }
    switch (cond->kind) {
    case REF_COUNT: return op_holds(cond, rows, 1);
    case REF_UNIQUE: return op_holds(cond, channel_count, 1);
    case REF_SUM: return op_holds(cond, sum, 1);
    case REF_AVG: return rows > 0 && op_holds(cond, sum, rows); /* sum / rows op v */
    case REF_MIN: return rows > 0 && op_holds(cond, min, 1);
    default: return rows > 0 && op_holds(cond, max, 1);
    }
}

/* What a COUNT, or a SUM in cents, says. */
static int64_t number_of(const struct ref_cond *cond, const struct ref_people_event *events,
                         uint32_t count, uint32_t user)
{
    int64_t number = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (events[i].user == user && is_taken(&cond->select, &events[i]) &&
            events[i].time_ms >= cond->begin_ms && events[i].time_ms < cond->end_ms) {
            number += cond->kind == REF_COUNT ? 1 : events[i].cents;
        }
    }
    return number;
}

static bool formula_holds(const struct ref_cond *cond, const struct ref_people_event *events,
                          uint32_t count, uint32_t user)
{
    int64_t a = number_of(cond->kids[0], events, count, user);
    int64_t b = number_of(cond->kids[1], events, count, user);
    return cond->kind == REF_MINUS ? op_holds(cond, a - b, 1) : b != 0 && op_holds(cond, a, b);
}

/* Whether the first, or the last, of all events that the selector takes lies in the range. */
static bool edge_holds(const struct ref_cond *cond, const struct ref_people_event *events,
                       uint32_t count, uint32_t user)
{
    int64_t edge = cond->kind == REF_FIRST ? INT64_MAX : INT64_MIN;
    bool has_any = false;
    for (uint32_t i = 0; i < count; i++) {
        if (events[i].user != user || !is_taken(&cond->select, &events[i])) {
            continue;
        }
        int64_t t = events[i].time_ms;
        has_any = true;
        edge = cond->kind == REF_FIRST ? (t < edge ? t : edge) : (t > edge ? t : edge);
    }
    return has_any && edge >= cond->begin_ms && edge < cond->end_ms;
}

bool ref_people_meets(const struct ref_cond *cond, const struct ref_people_event *events,
                      uint32_t count, uint32_t user)
{
    switch (cond->kind) {
    case REF_AND:
    case REF_OR:
        for (uint32_t k = 0; k < cond->kid_count; k++) {
            if (ref_people_meets(cond->kids[k], events, count, user) == (cond->kind == REF_OR)) {
                return cond->kind == REF_OR;
            }
        }
        return cond->kind == REF_AND;
    case REF_NOT: return !ref_people_meets(cond->kids[0], events, count, user);
    case REF_DID:
        for (uint32_t i = 0; i < count; i++) {
            if (events[i].user == user && is_taken(&cond->select, &events[i]) &&
                events[i].time_ms >= cond->begin_ms && events[i].time_ms < cond->end_ms) {
                return true;
            }
        }
        return false;
    case REF_FIRST:
    case REF_LAST: return edge_holds(cond, events, count, user);
    case REF_COHORT: {
        const struct ref_cond active = {.kind = REF_DID,
                                        .select = {.names = UINT32_MAX},
                                        .begin_ms = cond->begin_ms,
                                        .end_ms = cond->end_ms};
        return ref_people_meets(&active, events, count, user) &&
               ref_people_meets(cond->kids[0], events, count, user);
    }
    case REF_MINUS:
    case REF_RATIO: return formula_holds(cond, events, count, user);
    case REF_LISTED: return (cond->users >> user & 1) != 0;
    default: return number_holds(cond, events, count, user);
    }
}
