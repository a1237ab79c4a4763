/* query/why_notes.c */
#include "query/why_notes.h"

#include "query/funnel_count.h"
#include "query/grow.h"

enum { LANE_ID, LANE_NAME, LANE_KEYS };

struct walk_lane why_lane(struct by_key storage[2])
{
    storage[LANE_ID] = (struct by_key){
        .name = STR("event_id"),
        .field = {FIELD_EVENT_ID, STR("event_id"), COL_STRING, COL_EVENT_ID},
    };
    storage[LANE_NAME] = (struct by_key){
        .name = STR("event_name"),
        .field = {FIELD_EVENT_NAME, STR("event_name"), COL_STRING, COL_EVENT_NAME},
    };
    return (struct walk_lane){.keys = storage, .key_count = LANE_KEYS};
}

/* Text of a lane; empty where the event has none. */
static enum err_code copy_text(struct why_notes *notes, const struct groups *groups,
                               uint32_t number, uint32_t key, struct str *ret, struct err *err)
{
    struct cell cell = groups_cell(groups, number, key);
    struct str text = cell.kind == CELL_STRING ? cell.string : STR("");
    return arena_str(notes->arena, text, ret, err);
}

enum err_code why_note_journey(struct why_notes *notes, const int64_t *times, const uint64_t *masks,
                               const uint32_t *numbers, size_t count, const struct groups *groups,
                               struct err *err)
{
    ASSERT(notes->events == NULL);
    if (count >= WHY_NO_EVENT) {
        return err_set(err, ERR_LIMIT, "a journey of more than %u events", WHY_NO_EVENT - 1);
    }
    ERR_TRY(ARENA_NEW(notes->arena, count, &notes->events, err));
    for (size_t i = 0; i < count; i++) {
        struct why_event *event = &notes->events[i];
        event->time_ms = times[i];
        event->mask = masks[i];
        ERR_TRY(copy_text(notes, groups, numbers[i], LANE_ID, &event->id, err));
        ERR_TRY(copy_text(notes, groups, numbers[i], LANE_NAME, &event->name, err));
    }
    notes->event_count = (uint32_t)count;
    return ERR_OK;
}

enum err_code why_note_line(struct why_notes *notes, struct why_line line,
                            const struct groups *groups, uint32_t group, struct err *err)
{
    uint32_t key_count = groups == NULL ? 0 : groups_query(groups)->key_count;
    struct cell *keys = NULL;
    line.keys = NULL;
    if (key_count > 0 && group != FUNNEL_GROUP_NULL) {
        ERR_TRY(ARENA_NEW(notes->arena, key_count, &keys, err));
        ERR_TRY(answer_key_cells(groups, key_count, group, false, notes->arena, keys, err));
        line.keys = keys;
    }
    ERR_TRY(GROW(notes->arena, &notes->lines, notes->line_count, &notes->line_cap, err));
    notes->lines[notes->line_count++] = line;
    return ERR_OK;
}

enum err_code why_note_part(struct why_notes *notes, struct why_part part, struct err *err)
{
    ERR_TRY(GROW(notes->arena, &notes->parts, notes->part_count, &notes->part_cap, err));
    notes->parts[notes->part_count++] = part;
    return ERR_OK;
}
