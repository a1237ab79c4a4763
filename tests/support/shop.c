/* tests/support/shop.c - see shop.h. */
#include "tests/support/shop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define USERS 23u

static const char *const names[] = {"view", "add", "order", "pay", "rare"};
static const char *const channels[] = {"ads", "mail", "organic"};

void shop_random(struct rng *rng, uint32_t first, uint32_t count, int64_t begin_ms, int64_t end_ms,
                 struct shop_event *out)
{
    for (uint32_t i = 0; i < count; i++) {
        int64_t time_ms = begin_ms + (int64_t)rng_below(rng, (uint64_t)(end_ms - begin_ms));
        if (rng_below(rng, 4) == 0) { /* ties, and borders of days */
            int64_t grain = rng_below(rng, 2) == 0 ? SHOP_DAY_MS : 3600000;
            time_ms = time_ms / grain * grain;
            time_ms = time_ms < begin_ms ? begin_ms : time_ms;
        }
        out[i] = (struct shop_event){
            .number = first + i,
            .time_ms = time_ms,
            .user = (uint32_t)rng_below(rng, USERS),
            .name = rng_below(rng, 40) == 0 ? 4 : (uint32_t)rng_below(rng, 4),
            .channel = (uint32_t)rng_below(rng, 4),
            .cents = (int64_t)rng_below(rng, 100000) - 5000,
        };
    }
}

static enum err_code add_prop(struct batch_builder *builder, const char *name, struct prop prop,
                              struct err *err)
{
    ERR_TRY(batch_name(builder, str_of(name), &prop.name_idx, err));
    return batch_prop(builder, &prop, err);
}

static enum err_code add_event(struct batch_builder *builder, const struct shop_event *from,
                               struct err *err)
{
    struct arena *arena = builder->batch->arena;
    struct event *event = NULL;
    char text[32];
    ERR_TRY(batch_event(builder, &event, err));
    snprintf(text, sizeof(text), "event-%" PRIu32, from->number);
    ERR_TRY(arena_str(arena, str_of(text), &event->event_id, err));
    snprintf(text, sizeof(text), "u%" PRIu32, from->user);
    ERR_TRY(arena_str(arena, str_of(text),
                      from->user % 5 == 4 ? &event->anonymous_id : &event->user_id, err));
    event->name = str_of(names[from->name]);
    event->time_ms = from->time_ms;
    if (from->channel < COUNT_OF(channels)) {
        ERR_TRY(add_prop(
            builder, "channel",
            (struct prop){.type = COL_STRING, .string = str_of(channels[from->channel])}, err));
    }
    ERR_TRY(add_prop(builder, "amount",
                     (struct prop){.type = COL_NUMBER, .number = num_decimal(from->cents, 2)},
                     err));
    return add_prop(builder, "vip", (struct prop){.type = COL_BOOL, .boolean = from->user % 3 == 0},
                    err);
}

enum err_code shop_put(struct dataset *dataset, const struct shop_event *events, uint32_t count,
                       int64_t arrival_ms, struct io *io, struct err *err)
{
    struct batch_builder builder;
    ERR_TRY(batch_begin(NULL, arrival_ms, &builder, err));
    enum err_code code = ERR_OK;
    for (uint32_t i = 0; code == ERR_OK && i < count; i++) {
        code = add_event(&builder, &events[i], err);
    }
    builder.batch->bytes = (size_t)count * 100;
    if (code == ERR_OK) {
        code = dataset_ingest(dataset, builder.batch, io, err);
    }
    for (uint32_t i = 0; code == ERR_OK && i < count; i++) {
        const struct event *event = &builder.batch->events[i];
        if (event->status != RECEIPT_ACCEPTED) {
            code = err_set(err, ERR_INVALID, "event %" PRIu32 " has status %d: " STR_FMT,
                           events[i].number, (int)event->status, STR_ARG(event->reason));
        }
    }
    event_batch_free(builder.batch);
    return code;
}

/* %1$s and %2$s are the dates. */
static const char *const questions[] = {
    "trend count(any) each day",
    "trend count(any), users(any) as people, sum(amount of pay) as money",
    "trend users(any) each day",
    "trend users(view) as v, users((pay | order)) as p each week from %1$s to %2$s",
    "trend rolling 7d users(any) as wau each day from %1$s to %2$s",
    "trend rolling 3d users(view) as v, rolling 3d count(view) as n each day",
    "trend users(any) each hour on %1$s",
    "trend users(any), count(pay[amount > 100]) as paid last 30d",
    "trend median(amount of pay) as m, first(amount of any) as f, last(amount of any) as l by "
    "channel",
    "trend min(amount of any) as a, max(amount of any) as b, avg(amount of order) as c each month",
    "trend count(any), users(any) each day by channel top 2 with other from %1$s to %2$s",
    "trend unique(channel of any) as channels, users(rare) each week where vip = true",
    "distinct user of any each day from %1$s to %2$s",
    "distinct channel of pay by vip",
    "funnel view -> add -> order within 2d",
    "funnel view -> (add | order) (1d) -> pay within 7d by channel from %1$s to %2$s",
    "funnel order -> pay within 3d from %1$s to %2$s closed",
    "retention pay -> any each day for 7",
    "retention view[amount > 300] -> pay each day for 5 from %1$s to %2$s",
    "retention rare -> any first_ever unfiltered each week for 3",
    "retention view[channel = \"ads\"] -> any first_ever unfiltered each day for 4 by vip",
    "retention add -> view first each day for 4 from %1$s to %2$s",
    "retention order -> any recurring unbounded each week for 3",
    "events any",
    "events pay[amount > 500] columns (event_time, user_id, amount) order by amount desc limit 20",
    "events rare from %1$s to %2$s",
    "timeline \"u3\"",
    "timeline \"u4\" from %1$s to %2$s",
    "show events",
    "show properties",
    "show properties of pay",
    "show values of channel",
};

uint32_t shop_question_count(void)
{
    return COUNT_OF(questions);
}

const char *shop_question(uint32_t idx, const char *from, const char *to, char out[512])
{
    const char *at = questions[idx];
    size_t len = 0;
    while (*at != '\0' && len < 500) {
        bool is_date = at[0] == '%';
        if (is_date) {
            len += (size_t)snprintf(out + len, 512 - len, "%s", at[1] == '1' ? from : to);
            at += 4; /* %1$s */
        } else {
            out[len++] = *at++;
        }
    }
    out[len] = '\0';
    return out;
}

const char *shop_ask(struct snapshot *snapshot, const char *question, int64_t now_ms,
                     bool is_reference, struct pool *pool, struct io *io, struct buf *out)
{
    struct err err = {0};
    CLEANUP(result_freep) struct result *result = NULL;
    const struct query_request request = {
        .text = str_of(question), .now_ms = now_ms, .is_reference_path = is_reference};
    buf_clear(out);
    if (query_run(snapshot, pool, io, &request, &result, &err) != ERR_OK ||
        result_write(result, RESULT_JSON, out, &err) != ERR_OK) {
        buf_clear(out);
        buf_printf(out, "error: %s: %s", err_code_name(err.code), err.message);
    }
    buf_u8(out, 0);
    ASSERT(!out->is_bad);
    char *text = (char *)out->ptr;
    char *meta = strstr(text, "\"meta\":");
    if (meta != NULL) {
        *meta = '\0';
    }
    return text;
}

void shop_date(int64_t time_ms, char out[16])
{
    time_t at = (time_t)(time_ms / 1000);
    struct tm tm;
    gmtime_r(&at, &tm);
    strftime(out, 16, "%Y-%m-%d", &tm);
}

const char *shop_rows(struct dataset *dataset, const char *text, int64_t now_ms, struct io *io,
                      struct buf *out)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    if (dataset_snapshot(dataset, &snapshot, &err) != ERR_OK) {
        abort();
    }
    const char *answer = shop_ask(snapshot, text, now_ms, false, NULL, io, out);
    const char *rows = strstr(answer, "\"rows\":");
    if (rows == NULL) {
        return answer;
    }
    char *end = strstr((char *)out->ptr, ",\"totals\"");
    if (end != NULL) {
        *end = '\0';
    }
    return rows + strlen("\"rows\":");
}
