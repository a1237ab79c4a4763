/* storage/care_firsts.c - files of first times (first_times.h) under the care of verify, repair and a rebuilt catalog.
 *
 * They hold no event that could be found elsewhere: what is damaged is taken out, and costs that who comes back may look new.
 * A file too many costs nothing, for only the earliest time counts. So a catalog that is made again takes all that are whole. */
#include "storage/care_int.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>

#define LOOKS 2u /* at what seems damaged */

bool care_is_first_named(const struct care_set *set, uint32_t shard, uint64_t number)
{
    size_t count = 0;
    const struct catalog_segment *firsts = care_set_firsts(set, &count);
    for (size_t i = 0; i < count; i++) {
        if (firsts[i].shard == shard && firsts[i].number == number) {
            return true;
        }
    }
    return false;
}

static enum err_code check(const struct care_set *set, const struct catalog_segment *meta,
                           struct err *what)
{
    enum err_code code = ERR_CORRUPT;
    for (uint32_t look = 0; look < LOOKS && code != ERR_OK; look++) {
        code = care_segment_check(set, meta, what);
    }
    return code;
}

enum err_code care_verify_firsts(struct care_set *set, struct err *err)
{
    struct care *care = set->care;
    size_t count = 0;
    const struct catalog_segment *firsts = care_set_firsts(set, &count);
    for (size_t i = 0; i < count; i++) {
        struct err what = {0};
        char path[CARE_PATH_BYTES];
        char meaning[256];
        care->sums.bytes += firsts[i].bytes;
        if (check(set, &firsts[i], &what) == ERR_OK) {
            continue;
        }
        care_set_segment_path(set, &firsts[i], path);
        snprintf(meaning, sizeof(meaning),
                 "%" PRIu32 " first times of expired events cannot be trusted: trackway repair, or "
                 "restore a backup",
                 firsts[i].row_count);
        ERR_TRY(care_found(care, care_below(care, path), &what, meaning, err));
    }
    return ERR_OK;
}

static enum err_code take_out(struct repair *repair, struct care_set *set,
                              const struct catalog_segment *meta, const struct err *what,
                              struct err *err)
{
    char path[CARE_PATH_BYTES];
    char name[64];
    care_set_segment_path(set, meta, path);
    care_set_segment_name(set, meta, name);
    ERR_TRY(repair_is_damage(repair, path, what, err));
    repair_change(repair,
                  "%s/%s: %s: taken out; of %" PRIu32
                  " first times of expired events nothing is known any more: who comes back may "
                  "look new",
                  set->row.name, name, care_behind(what->message, path), meta->row_count);
    return repair_quarantine(repair, set, TIER_HOT, name, err);
}

enum err_code repair_firsts(struct repair *repair, struct care_set *set, struct buf *dropped,
                            struct err *err)
{
    size_t count = 0;
    size_t kept = 0;
    struct catalog_segment *firsts = care_set_firsts(set, &count);
    for (size_t i = 0; i < count; i++) {
        struct err what = {0};
        if (check(set, &firsts[i], &what) == ERR_OK) {
            firsts[kept++] = firsts[i];
            continue;
        }
        buf_append(dropped, &firsts[i].number, sizeof(firsts[i].number));
        ERR_TRY(take_out(repair, set, &firsts[i], &what, err));
    }
    set->firsts.len = kept * sizeof(*firsts);
    return buf_check(dropped, err);
}

enum err_code rebuild_take_first(struct repair *repair, struct care_set *set, uint32_t shard,
                                 uint64_t number, struct err *err)
{
    struct care_segment_facts facts = {
        .meta = {.number = number, .shard = shard, .tier = TIER_HOT, .is_first_times = true}};
    const struct catalog_segment named = facts.meta;
    struct err what = {0};
    char path[CARE_PATH_BYTES];
    care_set_segment_path(set, &facts.meta, path);
    enum err_code code = ERR_CORRUPT;
    for (uint32_t look = 0; look < LOOKS && code != ERR_OK; look++) {
        facts.meta = named;
        code = care_segment_read(set, path, &facts, &what);
    }
    if (code != ERR_OK) {
        return take_out(repair, set, &facts.meta, &what, err);
    }
    set->row.identity_version = MAX_OF(set->row.identity_version, facts.identity_version);
    /* What they are of has left the disk. */
    set->row.gone_before_ms = MAX_OF(set->row.gone_before_ms, facts.meta.time_max_ms + 1);
    buf_append(&set->firsts, &facts.meta, sizeof(facts.meta));
    return buf_check(&set->firsts, err);
}
