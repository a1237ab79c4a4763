/* storage/segment_info.c - what `trackway inspect` tells of a segment, from its footer alone. */
#include "storage/codec_int.h"
#include "storage/codec_str.h"
#include "storage/segment_int.h"

struct segment_info segment_info(const struct segment *segment)
{
    const struct seg_col *events = segment_find_col(segment, COL_EVENT_NAME);
    struct segment_info info = {
        .version = SEGMENT_VERSION,
        .file_bytes = segment->file_bytes,
        .footer_bytes = segment->footer_bytes,
        .col_count = segment->col_count,
        .event_count = events->dict_count,
        .set_count = segment->set_count,
        .subject_ranges = segment->range_count,
    };
    for (uint32_t i = 0; i < segment->set_count; i++) {
        info.set_bytes += segment->sets[i].bytes;
    }
    return info;
}

struct segment_col_info segment_col_info(const struct segment *segment, uint32_t idx)
{
    ASSERT(idx < segment->col_count);
    const struct seg_col *col = &segment->cols[idx];
    struct segment_col_info info = {
        .name = col->name,
        .col = col->col,
        .type = col->type,
        .is_builtin = col->is_builtin,
        .value_count = col->value_count,
        .dict_bytes = col->has_dict ? col->dict_span.bytes : 0,
        .dict_count = col->dict_count,
    };
    for (int i = 0; i < __builtin_popcountll(col->present); i++) {
        info.bytes += col->blocks[i].span.bytes;
    }
    return info;
}

/* By enum ints_kind; the first is for kinds that are not known. */
static const char *const ints_names[] = {"ints", "const", "bits", "for", "delta", "rle", "patched"};
static const char *const code_names[] = {"dict",       "dict+const", "dict+bits",   "dict+for",
                                         "dict+delta", "dict+rle",   "dict+patched"};
static const char *const list_names[] = {"list",       "list+const", "list+bits",   "list+for",
                                         "list+delta", "list+rle",   "list+patched"};
static const char *const mixed_names[] = {"mixed",       "mixed+const", "mixed+bits",   "mixed+for",
                                          "mixed+delta", "mixed+rle",   "mixed+patched"};

static const char *encoding_name(const struct seg_col *col, const struct seg_block *block)
{
    uint32_t kind = block->kind <= INTS_KIND_LAST ? block->kind : 0;
    switch (block->shape) {
    case SHAPE_INTS: return col->has_dict ? code_names[kind] : ints_names[kind];
    case SHAPE_STRS:
        if (block->kind == STRS_UUID) {
            return "uuid";
        }
        if (block->kind == STRS_NUMBER) {
            return "prefix+number";
        }
        return block->is_lz4 ? "raw+lz4" : "raw";
    case SHAPE_DOUBLES: return block->is_lz4 ? "double+lz4" : "double";
    case SHAPE_MIXED: return mixed_names[kind];
    case SHAPE_LISTS: return list_names[kind];
    default: return "unknown";
    }
}

struct segment_block_info segment_block_info(const struct segment *segment, uint32_t idx,
                                             uint32_t block)
{
    ASSERT(idx < segment->col_count);
    ASSERT(block < segment->source.block_count);
    const struct seg_col *col = &segment->cols[idx];
    const struct seg_block *found = seg_col_block(col, block);
    uint32_t rows = source_block_rows(&segment->source, block);
    if (found == NULL) {
        return (struct segment_block_info){.rows = rows, .encoding = "absent"};
    }
    return (struct segment_block_info){
        .off = found->span.off,
        .bytes = found->span.bytes,
        .rows = rows,
        .value_count = found->value_count,
        .encoding = encoding_name(col, found),
        .has_zone = found->has_zone,
        .zone_min = found->zone_min,
        .zone_max = found->zone_max,
        .checksum = found->span.checksum,
    };
}
