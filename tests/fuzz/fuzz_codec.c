/* Every stream of integers, strings and set members that a block or an index of a segment can hold: whatever passes, its
 * values are within what was asked for. The first bytes choose codec, count and limits. */
#include "storage/codec_bits.h"
#include "storage/codec_int.h"
#include "storage/codec_set.h"
#include "storage/codec_str.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void integers(struct rd *rd, uint32_t count)
{
    static uint64_t wide[COUNT_MAX];
    static uint32_t narrow[COUNT_MAX];
    struct rd again = *rd;
    struct err err;
    (void)!ints_decode64(rd, count, wide, &err);
    if (ints_decode32(&again, count, 1000, narrow, &err) == ERR_OK) {
        for (uint32_t i = 0; i < count; i++) {
            if (narrow[i] >= 1000) {
                abort();
            }
        }
    }
}

static void strings(struct rd *rd, uint32_t count)
{
    struct budget budget;
    struct err err;
    const uint32_t *offs = NULL;
    const char *bytes = NULL;
    budget_init(&budget, 16u << 20, "fuzz");
    struct arena *arena = arena_create(&budget);
    if (strs_decode(rd, count, arena, &offs, &bytes, &err) == ERR_OK) {
        for (uint32_t i = 0; i < count; i++) {
            if (offs[i] > offs[i + 1]) {
                abort();
            }
        }
    }
    arena_free(arena);
}

static void set(struct str bytes, uint32_t count)
{
    struct err err;
    roaring_bitmap_t *members = NULL;
    if (set_decode(bytes, count, 5, 100000, &members, &err) == ERR_OK) {
        if (roaring_bitmap_get_cardinality(members) != count ||
            roaring_bitmap_minimum(members) < 5 || roaring_bitmap_maximum(members) > 100000) {
            abort();
        }
        roaring_bitmap_free(members);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 3) {
        return 0;
    }
    uint32_t count = 1 + ((uint32_t)data[1] | (uint32_t)data[2] << 8) % COUNT_MAX;
    size_t body = len - 3;
    char *bytes = calloc(1, body + BITS_SLACK);
    if (bytes == NULL) {
        return 0;
    }
    memcpy(bytes, data + 3, body);
    struct rd rd = rd_init((struct str){bytes, body});
    switch (data[0] % 3) {
    case 0: integers(&rd, count); break;
    case 1: strings(&rd, count); break;
    default: set((struct str){bytes, body}, count); break;
    }
    free(bytes);
    return 0;
}
