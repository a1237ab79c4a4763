/* storage/segment_spans.c - who did an event in each span of a question, kept as long as the cache likes.
 *
 * A dashboard asks for the same days again and again, of thousands of stored sets. Their unions by span lie here one behind the
 * other, so that a segment is one look into the cache and its spans are lists in place.
 *
 *    in memory:   struct kept_head   i64 edges[span_count + 1]   struct span_place[span_count + 1]   struct span_rows[rest_count]
 *                 u64 items[...]     each span's members: subjects, 32 bits each, or words; and those of all spans
 */
#include "storage/base/hash.h"
#include "storage/base/size.h"
#include "storage/read_held.h"
#include "storage/segment_int.h"

#define SPANS_BYTES_MAX ((size_t)16 << 20)

struct kept_head {
    uint32_t event, span_count, rest_count, unused;
    uint64_t set_bytes;
};

struct layout {
    size_t edges, places, rest, items; /* where each begins */
};

/* No section, and nothing else that is kept, has such a name. Different spans may share one: they are compared. */
static uint64_t spans_off(const struct span_ask *ask)
{
    uint64_t hash = hash_str((struct str){(const char *)(const void *)ask->edges,
                                          ((size_t)ask->span_count + 1) * sizeof(int64_t)},
                             ask->event);
    return UINT64_C(5) << 60 | hash >> 4;
}

static struct layout layout_of(uint32_t span_count, uint32_t rest_count)
{
    struct layout at = {.edges = sizeof(struct kept_head)};
    at.places = at.edges + ((size_t)span_count + 1) * sizeof(int64_t);
    at.rest = at.places + ((size_t)span_count + 1) * sizeof(struct span_place);
    at.items = at.rest + (size_t)rest_count * sizeof(struct span_rows);
    return at;
}

static bool is_of(const struct cache_block *block, const struct span_ask *ask)
{
    struct kept_head head;
    memcpy(&head, block->data, sizeof(head));
    return head.event == ask->event && head.span_count == ask->span_count &&
           memcmp(block->data + sizeof(head), ask->edges,
                  ((size_t)ask->span_count + 1) * sizeof(int64_t)) == 0;
}

bool segment_spans_find(const struct source *source, struct read_ctx *ctx,
                        const struct span_ask *ask, struct subject_spans *ret)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    struct cache_block *block = ctx->held == NULL ? NULL
                                                  : block_cache_pin(segment->cache, segment->uid,
                                                                    spans_off(ask), !ctx->is_once);
    if (block == NULL) {
        return false;
    }
    if (!is_of(block, ask) || !read_held_add(ctx->held, block)) {
        cache_block_unpin(block);
        return false;
    }
    struct kept_head head;
    memcpy(&head, block->data, sizeof(head));
    struct layout at = layout_of(head.span_count, head.rest_count);
    ctx->bytes_read += head.set_bytes;
    *ret = (struct subject_spans){
        .places = (const struct span_place *)(const void *)(block->data + at.places),
        .rest = (const struct span_rows *)(const void *)(block->data + at.rest),
        .items = (const uint64_t *)(const void *)(block->data + at.items),
        .rest_count = head.rest_count,
    };
    return true;
}

static size_t items_of(const struct subject_members *members)
{
    return members->list != NULL ? ((size_t)members->count + 1) / 2 : members->word_count;
}

/* One span's members behind the others'. */
static void fill_span(const struct span_found *found, uint64_t *items, uint32_t *at,
                      struct span_place *place)
{
    const struct subject_members *members = &found->members;
    *place = (struct span_place){
        .begin_ms = found->begin_ms,
        .end_ms = found->end_ms,
        .count = members->count,
        .base = members->base,
        .word_count = members->list != NULL ? 0 : members->word_count,
        .item = *at,
    };
    if (members->count > 0) {
        memcpy(items + *at, members->list != NULL ? (const void *)members->list : members->words,
               members->list != NULL ? members->count * sizeof(uint32_t)
                                     : members->word_count * sizeof(uint64_t));
    }
    *at += (uint32_t)items_of(members);
}

void segment_spans_keep(const struct source *source, struct read_ctx *ctx,
                        const struct span_ask *ask, const struct span_found *found,
                        const struct span_rows *rest, uint32_t rest_count, uint64_t set_bytes)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    struct layout at = layout_of(ask->span_count, rest_count);
    struct cache_block *block = NULL;
    struct err ignored = {0}; /* without memory they are made again next time */
    size_t items = 0;
    for (uint32_t s = 0; s <= ask->span_count; s++) {
        items += items_of(&found[s].members);
    }
    if (ctx->held == NULL || ctx->is_once || segment->cache == NULL ||
        at.items + items * sizeof(uint64_t) > SPANS_BYTES_MAX ||
        cache_block_create(segment->uid, spans_off(ask),
                           (uint32_t)(at.items + items * sizeof(uint64_t)), &block,
                           &ignored) != ERR_OK) {
        return;
    }
    struct kept_head head = {
        .event = ask->event,
        .span_count = ask->span_count,
        .rest_count = rest_count,
        .set_bytes = set_bytes,
    };
    struct span_place *places = (struct span_place *)(void *)(block->data + at.places);
    uint32_t item = 0;
    memcpy(block->data, &head, sizeof(head));
    memcpy(block->data + at.edges, ask->edges, ((size_t)ask->span_count + 1) * sizeof(int64_t));
    if (rest_count > 0) {
        memcpy(block->data + at.rest, rest, rest_count * sizeof(*rest));
    }
    for (uint32_t s = 0; s <= ask->span_count; s++) {
        fill_span(&found[s], (uint64_t *)(void *)(block->data + at.items), &item, &places[s]);
    }
    block_cache_offer(segment->cache, block);
    cache_block_unpin(block);
}
