/* storage/segment_sets.c - the bitmap index of subjects by (event, span of time).
 *
 * Subject sets start as fine as their use wants (any: an hour; events: a civil day) and are widened
 * while they cost more than their share of the file. Rows come sorted by subject, so sorting an
 * event's rows by span, stably, leaves each set's subjects ascending.
 */
#include "storage/base/size.h"
#include "storage/codec_set.h"
#include "storage/segment_write_int.h"

#include <stdlib.h>

#define DAY_MS          INT64_C(86400000)
#define HOUR_MS         INT64_C(3600000)
#define SPANS_MAX       (1u << 20)
#define SET_ENTRY_BYTES 11u /* of a set in the footer, about */

/* ---- spans of time ---- */

/* Spans are [begins[i], begins[i + 1]); one whole span has no array. */
struct spans {
    int64_t *begins;
    uint32_t count;
    uint32_t cap;
};

static void spans_done(struct spans *spans)
{
    free(spans->begins);
}

/* False when full. */
static bool spans_push(struct spans *spans, int64_t begin_ms)
{
    if (spans->count == spans->cap) {
        uint32_t cap = spans->cap == 0 ? 64 : 2 * spans->cap;
        int64_t *begins =
            cap > SPANS_MAX ? NULL : reallocarray(spans->begins, cap, sizeof(*begins));
        if (begins == NULL) {
            return false;
        }
        spans->begins = begins;
        spans->cap = cap;
    }
    spans->begins[spans->count++] = begin_ms;
    return true;
}

static bool push_day(struct spans *spans, int64_t begin_ms, int64_t end_ms, bool by_hour)
{
    if (!by_hour) {
        return spans_push(spans, begin_ms);
    }
    for (int64_t at = begin_ms;; at += HOUR_MS) {
        if (!spans_push(spans, at)) {
            return false;
        }
        if (end_ms - at <= HOUR_MS) {
            return true;
        }
    }
}

/* Days (or hours of days) that cover [min, max]; false where there are too many. */
static bool spans_make(const struct sets_in *in, bool by_hour, struct spans *ret)
{
    if (in->day_begins_ms != NULL) {
        for (uint32_t i = 0; i < in->day_count; i++) {
            int64_t begin = in->day_begins_ms[i];
            int64_t end = in->day_begins_ms[i + 1];
            if (end > in->time_min_ms && begin <= in->time_max_ms &&
                !push_day(ret, begin, end, by_hour)) {
                return false;
            }
        }
        return ret->count > 0;
    }
    uint64_t width = (uint64_t)in->time_max_ms - (uint64_t)in->time_min_ms;
    int64_t rest = in->time_min_ms % DAY_MS;
    rest = rest < 0 ? rest + DAY_MS : rest;
    if (width / (uint64_t)DAY_MS >= SPANS_MAX || in->time_min_ms < INT64_MIN + DAY_MS ||
        in->time_max_ms > INT64_MAX - DAY_MS) {
        return false;
    }
    for (int64_t day = in->time_min_ms - rest; day <= in->time_max_ms; day += DAY_MS) {
        if (!push_day(ret, day, day + DAY_MS, by_hour)) {
            return false;
        }
    }
    return true;
}

static uint32_t span_find(const struct spans *spans, int64_t time_ms)
{
    uint32_t begin = 0;
    uint32_t end = spans->count;
    while (end - begin > 1) {
        uint32_t mid = begin + (end - begin) / 2;
        bool is_after = spans->begins[mid] <= time_ms;
        begin = is_after ? mid : begin;
        end = is_after ? end : mid;
    }
    return begin;
}

/* ---- subjects by event and span ---- */

struct set_builder {
    const struct sets_in *in;
    const uint32_t *order;  /* rows grouped by event, ascending within one */
    const uint32_t *starts; /* of each event in `order`; event_count + 1 */
    uint64_t *keys;         /* scratch: span << 32 | row */
    uint32_t *subjects;     /* scratch */
    struct buf *sets, *bytes;
    size_t bytes_max, used;
    bool is_over;
};

static int key_cmp(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

/* One set from rows of one span. */
static enum err_code put_set(struct set_builder *builder, uint64_t event_key, const uint64_t *keys,
                             uint32_t count, struct err *err)
{
    const struct sets_in *in = builder->in;
    struct set_out set = {.event_key = event_key, .begin_ms = INT64_MAX, .end_ms = INT64_MIN};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = (uint32_t)keys[i];
        int64_t time_ms = in->times_ms[row];
        set.begin_ms = MIN_OF(set.begin_ms, time_ms);
        set.end_ms = MAX_OF(set.end_ms, time_ms);
        if (set.members == 0 || builder->subjects[set.members - 1] != in->subjects[row]) {
            builder->subjects[set.members++] = in->subjects[row];
        }
    }
    set.end_ms++;
    ERR_TRY(set_encode(builder->subjects, set.members, builder->bytes, &set.bytes, err));
    buf_append(builder->sets, &set, sizeof(set));
    builder->used += set.bytes + SET_ENTRY_BYTES;
    builder->is_over = builder->used > builder->bytes_max;
    ERR_TRY(buf_check(builder->bytes, err));
    return buf_check(builder->sets, err);
}

/* The sets of `count` rows, given ascending (NULL: all rows). */
static enum err_code put_event(struct set_builder *builder, uint64_t event_key,
                               const uint32_t *rows, uint32_t count, const struct spans *spans,
                               struct err *err)
{
    uint64_t *keys = builder->keys;
    uint32_t span = 0;
    bool is_sorted = true;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = rows == NULL ? i : rows[i];
        if (spans->count > 1) {
            int64_t time_ms = builder->in->times_ms[row];
            bool is_same = spans->begins[span] <= time_ms &&
                           (span + 1 == spans->count || time_ms < spans->begins[span + 1]);
            span = is_same ? span : span_find(spans, time_ms);
        }
        keys[i] = (uint64_t)span << 32 | row;
        is_sorted = is_sorted && (i == 0 || keys[i - 1] < keys[i]);
    }
    if (!is_sorted) {
        qsort(keys, count, sizeof(*keys), key_cmp);
    }
    for (uint32_t begin = 0; begin < count && !builder->is_over;) {
        uint32_t end = begin + 1;
        while (end < count && keys[end] >> 32 == keys[begin] >> 32) {
            end++;
        }
        ERR_TRY(put_set(builder, event_key, keys + begin, end - begin, err));
        begin = end;
    }
    return ERR_OK;
}

/* All sets under these spans; builder->is_over when they cost too much. */
static enum err_code put_all(struct set_builder *builder, const struct spans *any_spans,
                             const struct spans *event_spans, size_t bytes_max, struct err *err)
{
    const struct sets_in *in = builder->in;
    buf_clear(builder->sets);
    buf_clear(builder->bytes);
    builder->used = 0;
    builder->bytes_max = bytes_max;
    builder->is_over = false;
    ERR_TRY(put_event(builder, 0, NULL, in->row_count, any_spans, err));
    for (uint32_t code = 0; code < in->event_count && !builder->is_over; code++) {
        uint32_t begin = builder->starts[code];
        uint32_t end = builder->starts[code + 1];
        ERR_TRY(put_event(builder, (uint64_t)code + 1, builder->order + begin, end - begin,
                          event_spans, err));
    }
    return ERR_OK;
}

/* From the finest spans to one for the whole segment, until the cost is right. */
static enum err_code choose_spans(struct set_builder *builder, size_t bytes_max, struct err *err)
{
    CLEANUP(spans_done) struct spans hours = {0};
    CLEANUP(spans_done) struct spans days = {0};
    const struct spans whole = {.count = 1};
    bool has_days = spans_make(builder->in, false, &days);
    bool has_hours = has_days && spans_make(builder->in, true, &hours);
    if (has_hours) {
        ERR_TRY(put_all(builder, &hours, &days, bytes_max, err));
        if (!builder->is_over) {
            return ERR_OK;
        }
    }
    if (has_days) {
        ERR_TRY(put_all(builder, &days, &days, bytes_max, err));
        if (!builder->is_over) {
            return ERR_OK;
        }
        ERR_TRY(put_all(builder, &days, &whole, bytes_max, err));
        if (!builder->is_over) {
            return ERR_OK;
        }
    }
    return put_all(builder, &whole, &whole, SIZE_MAX, err);
}

static void group_rows(const struct sets_in *in, uint32_t *order, uint32_t *starts)
{
    for (uint32_t row = 0; row < in->row_count; row++) {
        starts[in->events[row] + 1]++;
    }
    for (uint32_t code = 0; code < in->event_count; code++) {
        starts[code + 1] += starts[code];
    }
    for (uint32_t row = 0; row < in->row_count; row++) {
        order[starts[in->events[row]]++] = row;
    }
    for (uint32_t code = in->event_count; code > 0; code--) {
        starts[code] = starts[code - 1];
    }
    starts[0] = 0;
}

enum err_code subject_sets_build(const struct sets_in *in, size_t bytes_max, struct buf *out_sets,
                                 struct buf *out_bytes, struct err *err)
{
    uint32_t *order = calloc((size_t)in->row_count + 1, sizeof(*order));
    uint32_t *starts = calloc((size_t)in->event_count + 2, sizeof(*starts));
    uint64_t *keys = calloc((size_t)in->row_count + 1, sizeof(*keys));
    uint32_t *subjects = calloc((size_t)in->row_count + 1, sizeof(*subjects));
    enum err_code code = ERR_OK;
    if (order == NULL || starts == NULL || keys == NULL || subjects == NULL) {
        code =
            err_set(err, ERR_NOMEM, "out of memory for the subject sets of %u rows", in->row_count);
    } else {
        group_rows(in, order, starts);
        struct set_builder builder = {
            .in = in,
            .order = order,
            .starts = starts,
            .keys = keys,
            .subjects = subjects,
            .sets = out_sets,
            .bytes = out_bytes,
        };
        code = choose_spans(&builder, bytes_max, err);
    }
    free(order);
    free(starts);
    free(keys);
    free(subjects);
    return code;
}
