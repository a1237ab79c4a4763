/* storage/care_cold.c - segments in the cold directory that the catalog does not name.
 *
 * Where OWNER names the data set they are what a crash left over. Where it does not, they are another data folder's,
 * or this data set's own from before its catalog was lost and made again without a look there. Their rows tell:
 * each carries the id of its subject, and ids.log says which number that id has. Two data sets do not agree in
 * that, for the shard of an id follows from the data set's seed.
 *
 * A number that was given twice since (nobody knew of the file) is given anew: the file is renamed when all
 * else is done, just before the catalog is told. */
#include "storage/care_int.h"
#include "storage/cold_owner.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS 2u /* before a file counts as damaged */

void cold_strangers_done(struct cold_strangers *strangers)
{
    buf_done(&strangers->list);
    *strangers = (struct cold_strangers){0};
}

/* ---- whose they are ---- */

struct fitting {
    const struct ids *ids;
    uint64_t agree, contradict;
};

static void fit_id(void *arg, const struct id_entry *entry)
{
    struct fitting *fitting = arg;
    struct id_entry named;
    uint32_t shard = 0;
    uint32_t subject = 0;
    if (ids_find(fitting->ids, entry->kind, entry->key, &shard, &subject)) {
        bool is_same = shard == entry->shard && subject == entry->subject;
        fitting->agree += is_same;
        fitting->contradict += !is_same;
        return;
    }
    bool is_taken = ids_find_key(fitting->ids, entry->shard, entry->subject, &named);
    fitting->contradict += is_taken && !care_id_is_lost(named.key);
}

static enum err_code look_at_stranger(const struct care_set *set, const char *path,
                                      const struct ids *ids, struct cold_stranger *stranger)
{
    struct fitting fitting = {.ids = ids};
    ERR_TRY(care_segment_read(set, path, &stranger->facts, &stranger->what));
    ERR_TRY(care_segment_ids(set, path, fit_id, &fitting, &stranger->what));
    stranger->fit = fitting.contradict > 0 ? COLD_FIT_CONTRADICTS
                    : fitting.agree > 0    ? COLD_FIT_AGREES
                                           : COLD_FIT_UNKNOWN;
    return ERR_OK;
}

static enum err_code add_stranger(struct care_set *set, const struct catalog_segment *meta,
                                  const struct ids *ids, struct cold_strangers *strangers,
                                  struct err *err)
{
    struct cold_stranger stranger = {.facts.meta = *meta, .fit = COLD_FIT_DAMAGED};
    char path[CARE_PATH_BYTES];
    enum err_code code = ERR_CORRUPT;
    care_segment_path(set->cold, meta, path);
    for (uint32_t look = 0; look < LOOKS && code != ERR_OK; look++) {
        code = look_at_stranger(set, path, ids, &stranger);
    }
    if (code == ERR_NOMEM) {
        *err = stranger.what;
        return code;
    }
    strangers->fits[stranger.fit]++;
    buf_append(&strangers->list, &stranger, sizeof(stranger));
    return buf_check(&strangers->list, err);
}

static bool is_listed(const struct care_set *set, const struct catalog_segment *meta)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(set, &count);
    for (size_t i = 0; i < count; i++) {
        if (segments[i].tier == TIER_COLD && segments[i].shard == meta->shard &&
            care_set_file_number(set, &segments[i]) == meta->number) {
            return true;
        }
    }
    return false;
}

static enum err_code strangers_of_shard(struct care_set *set, uint32_t shard, const struct ids *ids,
                                        struct cold_strangers *strangers, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    char folder[16];
    char path[CARE_PATH_BYTES];
    uint32_t count = 0;
    snprintf(folder, sizeof(folder), "shard-%02" PRIu32, shard);
    if (!care_path(path, set->cold, folder)) {
        return care_path_too_long(set->cold, err);
    }
    enum err_code code = io_list(set->care->io, path, &names, &count, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_OK; /* nothing of this shard was ever moved */
    }
    ERR_TRY(code);
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        struct catalog_segment meta = {.shard = shard, .tier = TIER_COLD};
        if (care_file_number(name, ".seg", &meta.number) && !is_listed(set, &meta)) {
            ERR_TRY(add_stranger(set, &meta, ids, strangers, err));
        }
    }
    return ERR_OK;
}

enum err_code care_cold_strangers(struct care_set *set, const struct ids *ids,
                                  struct cold_strangers *ret, struct err *err)
{
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        ERR_TRY(strangers_of_shard(set, shard, ids, ret, err));
    }
    return ERR_OK;
}

/* ---- taking them in ---- */

static bool is_number_taken(const struct care_set *set, uint64_t number)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(set, &count);
    for (size_t i = 0; i < count; i++) {
        if (segments[i].number == number) {
            return true;
        }
    }
    return number == 0;
}

static enum err_code take_in(struct repair *repair, struct care_set *set,
                             const struct care_segment_facts *facts, struct err *err)
{
    struct catalog_dataset *row = &set->row;
    struct catalog_segment meta = facts->meta;
    char path[CARE_PATH_BYTES];
    char span[96];
    if (is_number_taken(set, meta.number)) {
        struct care_renamed renamed = {.number = row->next_segment++, .file_number = meta.number};
        meta.number = renamed.number;
        buf_append(&set->renamed, &renamed, sizeof(renamed));
        ERR_TRY(buf_check(&set->renamed, err));
    }
    row->watermark_ms = MAX_OF(row->watermark_ms, facts->watermark_ms);
    row->identity_version = MAX_OF(row->identity_version, facts->identity_version);
    buf_append(&set->segments, &meta, sizeof(meta));
    care_segment_path(set->cold, &facts->meta, path);
    care_span(meta.time_min_ms, meta.time_max_ms, span);
    repair_change(repair, "%s: taken in, %" PRIu32 " rows %s", path, meta.row_count, span);
    return buf_check(&set->segments, err);
}

static enum err_code keep_out(struct repair *repair, struct care_set *set,
                              const struct cold_stranger *stranger, struct err *err)
{
    const struct catalog_segment *meta = &stranger->facts.meta;
    char path[CARE_PATH_BYTES];
    char name[64];
    const char *why = "rows of ids that ids.log gives to others";
    care_segment_path(set->cold, meta, path);
    snprintf(name, sizeof(name), "%.60s", path + strlen(set->cold) + 1);
    if (stranger->fit == COLD_FIT_DAMAGED) {
        ERR_TRY(repair_is_damage(repair, path, &stranger->what, err));
        why = care_behind(stranger->what.message, path);
    }
    if (meta->row_count > 0) {
        repair_lost_segment(repair, set, name, meta, why);
    } else {
        repair->sums.is_rows_lost_known = false;
        repair_change(repair,
                      "%s: %s: taken out; how many rows it held, and of which time, cannot be told",
                      path, why);
    }
    return repair_quarantine(repair, set, TIER_COLD, name, err);
}

static bool are_ours(const struct cold_strangers *strangers, const struct cold_take *take)
{
    bool has_no_voice =
        strangers->fits[COLD_FIT_AGREES] + strangers->fits[COLD_FIT_CONTRADICTS] == 0;
    bool is_believed = take->is_catalog_lost && has_no_voice &&
                       strangers->fits[COLD_FIT_UNKNOWN] > 0 && ids_count(take->ids) == 0;
    return take->is_ours_anyway || is_believed || cold_strangers_are_ours(strangers);
}

static enum err_code take_list(struct repair *repair, struct care_set *set,
                               const struct cold_strangers *strangers, struct cold_take *take,
                               struct err *err)
{
    size_t count = 0;
    const struct cold_stranger *list = cold_strangers_of(strangers, &count);
    for (size_t i = 0; i < count; i++) { /* a new number is to be nobody's, here neither */
        set->row.next_segment = MAX_OF(set->row.next_segment, list[i].facts.meta.number + 1);
    }
    for (size_t i = 0; i < count; i++) {
        if (list[i].fit == COLD_FIT_AGREES || list[i].fit == COLD_FIT_UNKNOWN) {
            ERR_TRY(take_in(repair, set, &list[i].facts, err));
            take->taken++;
        } else {
            ERR_TRY(keep_out(repair, set, &list[i], err));
        }
    }
    return ERR_OK;
}

enum err_code repair_take_cold(struct repair *repair, struct care_set *set, struct cold_take *take,
                               struct err *err)
{
    CLEANUP(cold_strangers_done) struct cold_strangers strangers = {0};
    ERR_TRY(care_cold_strangers(set, take->ids, &strangers, err));
    set->is_cold_ours = are_ours(&strangers, take);
    if (set->is_cold_ours) {
        return take_list(repair, set, &strangers, take, err);
    }
    if (strangers.list.len > 0) {
        repair_say(repair, "%s: segments of another data set of this name: left alone", set->cold);
    }
    return ERR_OK;
}

/* ---- renaming ---- */

static enum err_code rename_file(struct repair *repair, const struct care_set *set,
                                 const struct catalog_segment *meta, struct err *err)
{
    char from[CARE_PATH_BYTES];
    char to[CARE_PATH_BYTES];
    care_set_segment_path(set, meta, from);
    care_segment_path(set->cold, meta, to);
    repair_say(repair, "%s: its number is another segment's: now %06" PRIu64 ".seg", from,
               meta->number);
    ERR_TRY(io_rename(repair->care.io, from, to, err));
    *strrchr(to, '/') = '\0';
    return io_sync_dir(repair->care.io, to, err);
}

enum err_code repair_rename_cold(struct repair *repair, struct care_set *set, struct err *err)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(set, &count);
    for (size_t i = 0; i < count; i++) {
        if (care_set_file_number(set, &segments[i]) != segments[i].number) {
            ERR_TRY(rename_file(repair, set, &segments[i], err));
        }
    }
    set->renamed.len = 0;
    return ERR_OK;
}
