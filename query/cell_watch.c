/* query/cell_watch.c */
#include "query/cell_watch.h"

enum err_code cell_watch_open(struct query_run_ctx *run, uint32_t shard,
                              const struct answer_buckets *buckets, const struct groups *groups,
                              struct cell_watch *ret, struct err *err)
{
    const struct bound_cell *cell = run->query->cell;
    *ret = (struct cell_watch){.groups = groups, .begin_ms = INT64_MIN, .end_ms = INT64_MAX};
    ERR_TRY(cell_taker_open(run, shard, &ret->taker, err));
    if (cell == NULL || !cell->has_time) {
        return ERR_OK;
    }
    ret->end_ms = INT64_MIN; /* unless the answer has such a bucket */
    for (uint32_t b = 0; b < buckets->count; b++) {
        if (buckets->begins[b] == cell->time_ms) {
            ret->begin_ms = buckets->begins[b];
            ret->end_ms = buckets->begins[b + 1];
        }
    }
    return ERR_OK;
}

enum err_code cell_watch_take(struct cell_watch *watch, uint32_t group, uint32_t subject,
                              struct err *err)
{
    bool is_wanted = false;
    ERR_TRY(cell_taker_wants(watch->taker, watch->groups, group, &is_wanted, err));
    return is_wanted ? cell_take(watch->taker, subject, err) : ERR_OK;
}
