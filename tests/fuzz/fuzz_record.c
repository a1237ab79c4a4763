/* Every record that a log can hold behind a checksum that fits: decoded twice with one directory and one schema, so that
 * ids and columns meet those that are there. */
#include "storage/dataset_record.h"

#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void decode(struct str payload, struct ids *ids, struct schema *schema)
{
    struct arena *arena = arena_create(NULL);
    struct record_events events;
    struct err err;
    if (record_decode(payload, ids, schema, arena, &events, &err) == ERR_OK) {
        uint32_t columns = schema_count(schema);
        for (uint32_t i = 0; i < events.batch.event_count; i++) {
            if (events.places[i].shard >= SHARD_COUNT) {
                abort();
            }
        }
        for (uint32_t i = 0; i < events.batch.prop_count; i++) {
            if (events.prop_cols[i] >= columns) {
                abort();
            }
        }
    }
    arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err;
    struct io *io = NULL;
    struct ids *ids = NULL;
    struct schema *schema = NULL;
    uint64_t cut = 0;
    struct str payload = {(const char *)data, len};
    if (io_create(IO_POSIX, &io, &err) != ERR_OK ||
        ids_open(io, "/nowhere/ids.log", 1, (struct ids_mark){0, 0}, true, &ids, &cut, &err) !=
            ERR_OK ||
        schema_create(&schema, &err) != ERR_OK) {
        abort();
    }
    decode(payload, ids, schema);
    decode(payload, ids, schema);
    schema_free(schema);
    ids_close(ids);
    io_free(io);
    return 0;
}
