/* storage/segment_block.c - decoding one block of one column into a vector. Format:
 * segment_format.h. */
#include "storage/codec_bits.h"
#include "storage/codec_int.h"
#include "storage/codec_str.h"
#include "storage/segment_int.h"

struct block_head {
    uint8_t shape, presence, scale, flags;
    uint32_t value_count, presence_bytes;
};

static enum err_code read_head(struct rd *rd, const struct seg_block *said, struct block_head *ret,
                               struct err *err)
{
    struct block_head head = {0};
    head.shape = rd_u8(rd);
    head.presence = rd_u8(rd);
    head.scale = rd_u8(rd);
    head.flags = rd_u8(rd);
    head.value_count = rd_u32(rd);
    head.presence_bytes = rd_u32(rd);
    uint32_t zero = rd_u32(rd);
    if (rd->is_bad || zero != 0 || head.shape != said->shape ||
        head.value_count != said->value_count || head.scale > NUM_SCALE_MAX ||
        head.flags > BLOCK_FLAG_LESS_TIME) {
        return err_set(err, ERR_CORRUPT,
                       "head of shape %u with %u values where %u with %u are said", head.shape,
                       head.value_count, said->shape, said->value_count);
    }
    *ret = head;
    return ERR_OK;
}

/* ---- which rows have a value ---- */

static void set_bits(uint64_t *words, uint32_t begin, uint32_t end)
{
    for (uint32_t row = begin; row < end;) {
        uint32_t word_end = (row | 63) + 1;
        uint32_t stop = end < word_end ? end : word_end;
        uint64_t ones = stop - row == 64 ? UINT64_MAX : (UINT64_C(1) << (stop - row)) - 1;
        words[row / 64] |= ones << (row % 64);
        row = stop;
    }
}

static bool bits_from_rows(struct str bytes, uint32_t rows, uint64_t *words)
{
    struct rd rd = rd_init(bytes);
    for (uint32_t next = 0; rd_left(&rd) > 0;) {
        uint32_t row = rd_u16(&rd);
        if (rd.is_bad || row < next || row >= rows) {
            return false;
        }
        words[row / 64] |= UINT64_C(1) << (row % 64);
        next = row + 1;
    }
    return !rd.is_bad;
}

static bool bits_from_runs(struct str bytes, uint32_t rows, uint64_t *words)
{
    struct rd rd = rd_init(bytes);
    for (uint32_t next = 0; rd_left(&rd) > 0;) {
        uint32_t begin = rd_u16(&rd);
        uint32_t end = begin + rd_u16(&rd) + 1;
        if (rd.is_bad || begin < next || end > rows) {
            return false;
        }
        set_bits(words, begin, end);
        next = end;
    }
    return !rd.is_bad;
}

static bool bits_from_bitset(struct str bytes, uint32_t rows, uint64_t *words)
{
    uint32_t count = (rows + 63) / 64;
    struct rd rd = rd_init(bytes);
    if (bytes.len != (size_t)count * 8) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        words[i] = rd_u64(&rd);
    }
    return rows % 64 == 0 || words[count - 1] >> (rows % 64) == 0;
}

/* The rows of the events that the block names. */
static enum err_code bits_from_events(const struct segment *segment, struct read_ctx *ctx,
                                      uint32_t block, struct str bytes, uint64_t *words,
                                      struct err *err)
{
    const struct seg_col *events = segment_find_col(segment, COL_EVENT_NAME);
    CLEANUP(postings_done) struct postings postings = {0};
    ERR_TRY(segment_postings_pin(segment, ctx, events, block, &postings, err));
    struct rd rd = rd_init(bytes);
    uint32_t next = 0;
    while (rd_left(&rd) > 0) {
        uint32_t code = rd_u32(&rd);
        if (rd.is_bad || code < next || code >= events->dict_count) {
            return err_set(err, ERR_CORRUPT, "presence: event code %u of %u", code,
                           events->dict_count);
        }
        uint32_t count = 0;
        const uint16_t *rows = postings_rows(&postings, code, &count);
        for (uint32_t i = 0; i < count; i++) {
            words[rows[i] / 64] |= UINT64_C(1) << (rows[i] % 64);
        }
        next = code + 1;
    }
    return ERR_OK;
}

static enum err_code read_presence(const struct segment *segment, struct read_ctx *ctx,
                                   uint32_t block, struct rd *rd, const struct block_head *head,
                                   uint32_t rows, const uint64_t **ret, struct err *err)
{
    struct str bytes = rd_bytes(rd, head->presence_bytes);
    rd_align(rd, SEGMENT_ALIGN);
    if (rd->is_bad) {
        return err_set(err, ERR_CORRUPT, "presence of %u bytes ends early", head->presence_bytes);
    }
    if (head->presence == PRESENCE_ALL) {
        if (head->presence_bytes != 0 || head->value_count != rows) {
            return err_set(err, ERR_CORRUPT, "presence: %u values for all of %u rows",
                           head->value_count, rows);
        }
        *ret = NULL;
        return ERR_OK;
    }
    uint64_t *words = NULL;
    uint32_t word_count = (rows + 63) / 64;
    ERR_TRY(ARENA_NEW(ctx->arena, word_count, &words, err));
    bool is_good = true;
    switch (head->presence) {
    case PRESENCE_BITSET: is_good = bits_from_bitset(bytes, rows, words); break;
    case PRESENCE_ROWS: is_good = bits_from_rows(bytes, rows, words); break;
    case PRESENCE_RUNS: is_good = bits_from_runs(bytes, rows, words); break;
    case PRESENCE_EVENTS: ERR_TRY(bits_from_events(segment, ctx, block, bytes, words, err)); break;
    default: return err_set(err, ERR_UNSUPPORTED, "presence of kind %u", head->presence);
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < word_count; i++) {
        count += (uint32_t)__builtin_popcountll(words[i]);
    }
    if (!is_good || count != head->value_count) {
        return err_set(err, ERR_CORRUPT, "presence: %u rows for %u values", count,
                       head->value_count);
    }
    *ret = words;
    return ERR_OK;
}

/* ---- values ---- */

static enum err_code read_u32s(struct rd *rd, uint32_t count, uint64_t limit, struct arena *arena,
                               const uint32_t **ret, struct err *err)
{
    uint32_t *out = NULL;
    ERR_TRY(arena_alloc_raw(arena, (size_t)count * sizeof(*out), (void **)&out, err));
    ERR_TRY(ints_decode32(rd, count, limit, out, err));
    *ret = out;
    return ERR_OK;
}

static enum err_code read_i64s(struct rd *rd, uint32_t count, struct arena *arena, int64_t **ret,
                               struct err *err)
{
    void *out = NULL;
    ERR_TRY(arena_alloc_raw(arena, (size_t)count * sizeof(int64_t), &out, err));
    ERR_TRY(ints_decode64(rd, count, out, err));
    *ret = out;
    return ERR_OK;
}

/* Payload of exactly `bytes`, perhaps through LZ4, copied into the arena. */
static enum err_code read_box(struct rd *rd, size_t bytes, struct arena *arena, const void **ret,
                              struct err *err)
{
    uint8_t is_lz4 = rd_u8(rd);
    uint32_t zero = rd_u8(rd);
    zero |= rd_u16(rd);
    uint32_t raw_bytes = rd_u32(rd);
    uint32_t stored_bytes = rd_u32(rd);
    if (rd->is_bad || is_lz4 > 1 || zero != 0 || raw_bytes != bytes) {
        return err_set(err, ERR_CORRUPT, "box of %u bytes where %zu belong", raw_bytes, bytes);
    }
    struct str raw = {0};
    ERR_TRY(lz_decode(rd, is_lz4 != 0, raw_bytes, stored_bytes, arena, &raw, err));
    if (is_lz4 == 0) {
        void *copy = NULL;
        ERR_TRY(arena_alloc_raw(arena, bytes, &copy, err));
        memcpy(copy, raw.ptr, bytes); /* at least one value: never empty */
        raw.ptr = copy;
    }
    *ret = raw.ptr;
    return ERR_OK;
}

static enum err_code read_bools(struct rd *rd, struct arena *arena, struct vec *vec,
                                struct err *err)
{
    struct arena_mark mark;
    uint8_t *out = NULL;
    const uint32_t *wide = NULL;
    ERR_TRY(arena_alloc_raw(arena, vec->value_count, (void **)&out, err));
    mark = arena_mark(arena);
    ERR_TRY(read_u32s(rd, vec->value_count, 2, arena, &wide, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        out[i] = (uint8_t)wide[i];
    }
    arena_rewind(arena, mark);
    vec->kind = VEC_BOOL;
    vec->u8 = out;
    return ERR_OK;
}

/* Milliseconds; where stored less the event's time, that is added again (every row has both). */
static enum err_code read_times(const struct segment *segment, struct read_ctx *ctx, struct rd *rd,
                                const struct seg_col *col, uint32_t block, bool is_less_time,
                                struct vec *vec, struct err *err)
{
    int64_t *out = NULL;
    ERR_TRY(read_i64s(rd, vec->value_count, ctx->arena, &out, err));
    vec->kind = VEC_I64;
    vec->i64 = out;
    if (!is_less_time) {
        return ERR_OK;
    }
    if (!col->is_builtin || col->col != COL_ARRIVAL || vec->present != NULL) {
        return err_set(err, ERR_CORRUPT, "values are relative to event_time");
    }
    struct vec time = {0};
    struct arena_mark mark = arena_mark(ctx->arena);
    const struct seg_col *time_col = segment_find_col(segment, COL_EVENT_TIME);
    ERR_TRY(segment_block_read(segment, ctx, time_col, block, &time, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        out[i] = (int64_t)((uint64_t)out[i] + (uint64_t)time.i64[i]);
    }
    arena_rewind(ctx->arena, mark);
    return ERR_OK;
}

static enum err_code read_ints(const struct segment *segment, struct read_ctx *ctx, struct rd *rd,
                               const struct seg_col *col, uint32_t block,
                               const struct block_head *head, struct vec *vec, struct err *err)
{
    bool is_less_time = (head->flags & BLOCK_FLAG_LESS_TIME) != 0;
    if ((head->scale != 0 && (col->type != COL_NUMBER || col->is_builtin)) ||
        (is_less_time && col->type != COL_TIME)) {
        return err_set(err, ERR_CORRUPT, "scale %u and flags %u in a %s column", head->scale,
                       head->flags, col_type_name(col->type));
    }
    switch (col->type) {
    case COL_STRING:
        if (!col->has_dict) {
            return err_set(err, ERR_CORRUPT, "codes without a dictionary");
        }
        ERR_TRY(segment_dict_load(segment, ctx, col, &vec->dict, err));
        vec->kind = VEC_CODE;
        return read_u32s(rd, vec->value_count, col->dict_count, ctx->arena, &vec->u32, err);
    case COL_NUMBER:
        if (col->is_builtin) {
            vec->kind = VEC_U32;
            return read_u32s(rd, vec->value_count, UINT64_C(1) << 32, ctx->arena, &vec->u32, err);
        }
        vec->kind = VEC_NUM;
        vec->scale = head->scale;
        int64_t *mantissas = NULL;
        ERR_TRY(read_i64s(rd, vec->value_count, ctx->arena, &mantissas, err));
        vec->i64 = mantissas;
        return ERR_OK;
    case COL_BOOL: return read_bools(rd, ctx->arena, vec, err);
    case COL_TIME: return read_times(segment, ctx, rd, col, block, is_less_time, vec, err);
    case COL_LIST:
    default: return err_set(err, ERR_CORRUPT, "integers in a list column");
    }
}

static bool is_finite(int64_t bits)
{
    return ((uint64_t)bits >> 52 & 0x7ff) != 0x7ff;
}

static enum err_code read_doubles(struct rd *rd, struct arena *arena, struct vec *vec,
                                  struct err *err)
{
    const void *bytes = NULL;
    ERR_TRY(read_box(rd, (size_t)vec->value_count * 8, arena, &bytes, err));
    double *out = NULL;
    ERR_TRY(arena_alloc_raw(arena, (size_t)vec->value_count * 8, (void **)&out, err));
    struct rd values = rd_init((struct str){bytes, (size_t)vec->value_count * 8});
    for (uint32_t i = 0; i < vec->value_count; i++) {
        int64_t bits = rd_i64(&values);
        if (!is_finite(bits)) {
            return err_set(err, ERR_CORRUPT, "value %u is not a finite number", i);
        }
        memcpy(&out[i], &bits, sizeof(bits));
    }
    vec->kind = VEC_F64;
    vec->f64 = out;
    return ERR_OK;
}

static enum err_code read_mixed(struct rd *rd, struct arena *arena, struct vec *vec,
                                struct err *err)
{
    const void *scales = NULL;
    int64_t *mantissas = NULL;
    ERR_TRY(read_box(rd, vec->value_count, arena, &scales, err));
    ERR_TRY(read_i64s(rd, vec->value_count, arena, &mantissas, err));
    vec->kind = VEC_NUM;
    vec->scales = scales;
    vec->i64 = mantissas;
    for (uint32_t i = 0; i < vec->value_count; i++) {
        uint8_t scale = vec->scales[i];
        if (scale > NUM_SCALE_MAX && (scale != NUM_DOUBLE || !is_finite(vec->i64[i]))) {
            return err_set(err, ERR_CORRUPT, "value %u of scale %u is not a number", i, scale);
        }
    }
    return ERR_OK;
}

static enum err_code read_lists(const struct segment *segment, struct read_ctx *ctx, struct rd *rd,
                                const struct seg_col *col, struct vec *vec, struct err *err)
{
    uint32_t *offs = NULL;
    ERR_TRY(arena_alloc_raw(ctx->arena, ((size_t)vec->value_count + 1) * sizeof(*offs),
                            (void **)&offs, err));
    ERR_TRY(ints_decode32(rd, vec->value_count, SEGMENT_ITEMS_MAX + UINT64_C(1), offs + 1, err));
    uint64_t sum = 0;
    offs[0] = 0;
    for (uint32_t i = 1; i <= vec->value_count; i++) {
        sum += offs[i];
        offs[i] = (uint32_t)sum;
    }
    uint32_t item_count = rd_u32(rd);
    uint32_t zero = rd_u32(rd);
    if (rd->is_bad || zero != 0 || item_count > SEGMENT_ITEMS_MAX || sum != item_count) {
        return err_set(err, ERR_CORRUPT, "%u items in lists of %llu", item_count,
                       (unsigned long long)sum);
    }
    vec->kind = VEC_LIST;
    vec->offs = offs;
    ERR_TRY(segment_dict_load(segment, ctx, col, &vec->dict, err));
    return read_u32s(rd, item_count, col->dict_count, ctx->arena, &vec->u32, err);
}

static enum err_code read_values(const struct segment *segment, struct read_ctx *ctx, struct rd *rd,
                                 const struct seg_col *col, uint32_t block,
                                 const struct block_head *head, struct vec *vec, struct err *err)
{
    if (head->shape != SHAPE_INTS && (head->scale != 0 || head->flags != 0)) {
        return err_set(err, ERR_CORRUPT, "scale %u and flags %u in shape %u", head->scale,
                       head->flags, head->shape);
    }
    bool is_number = col->type == COL_NUMBER && !col->is_builtin;
    switch (head->shape) {
    case SHAPE_INTS: return read_ints(segment, ctx, rd, col, block, head, vec, err);
    case SHAPE_STRS:
        if (col->type != COL_STRING || col->has_dict) {
            break;
        }
        vec->kind = VEC_BYTES;
        return strs_decode(rd, vec->value_count, ctx->arena, &vec->offs, &vec->bytes, err);
    case SHAPE_DOUBLES:
        if (!is_number) {
            break;
        }
        return read_doubles(rd, ctx->arena, vec, err);
    case SHAPE_MIXED:
        if (!is_number) {
            break;
        }
        return read_mixed(rd, ctx->arena, vec, err);
    case SHAPE_LISTS:
        if (col->type != COL_LIST) {
            break;
        }
        return read_lists(segment, ctx, rd, col, vec, err);
    default: return err_set(err, ERR_UNSUPPORTED, "shape %u", head->shape);
    }
    return err_set(err, ERR_CORRUPT, "shape %u in a %s column", head->shape,
                   col_type_name(col->type));
}

/* ---- the whole ---- */

static enum err_code decode(const struct segment *segment, struct read_ctx *ctx,
                            const struct seg_col *col, uint32_t block, const struct seg_block *said,
                            struct str bytes, struct vec *ret, struct err *err)
{
    struct rd rd = rd_init(bytes);
    struct block_head head = {0};
    ERR_TRY(read_head(&rd, said, &head, err));
    if (col->is_builtin && builtin_col_defs[col->col].is_required &&
        head.presence != PRESENCE_ALL) {
        return err_set(err, ERR_CORRUPT, "presence of kind %u in a column that all rows have",
                       head.presence);
    }
    uint32_t rows = source_block_rows(&segment->source, block);
    struct vec vec = {.rows = rows, .value_count = head.value_count};
    ERR_TRY(read_presence(segment, ctx, block, &rd, &head, rows, &vec.present, err));
    ERR_TRY(read_values(segment, ctx, &rd, col, block, &head, &vec, err));
    if (!rd_at_end(&rd)) {
        return err_set(err, ERR_CORRUPT, "%zu bytes after its values", rd_left(&rd));
    }
    *ret = vec;
    return ERR_OK;
}

static enum err_code read_raw(const struct segment *segment, struct read_ctx *ctx,
                              const struct seg_col *col, uint32_t block,
                              const struct seg_block *said, struct vec *ret, struct err *err)
{
    CLEANUP(section_done) struct section section = {0};
    ERR_TRY(section_read(segment, ctx, &said->span, &section, err));
    ctx->blocks_read++;
    ctx->blocks_loaded += section.was_loaded;
    ctx->bytes_read += said->span.bytes;
    return decode(segment, ctx, col, block, said, section.bytes, ret, err);
}

static enum err_code block_read(const struct segment *segment, struct read_ctx *ctx,
                                const struct seg_col *col, uint32_t block, bool is_to_be_kept,
                                struct vec *ret, struct err *err)
{
    const struct seg_block *said = seg_col_block(col, block);
    if (said == NULL) {
        *ret = (struct vec){.kind = VEC_ABSENT, .rows = source_block_rows(&segment->source, block)};
        return ERR_OK;
    }
    const struct dict *dict = NULL;
    if (col->has_dict && ctx->held != NULL) {
        ERR_TRY(segment_dict_load(segment, ctx, col, &dict, err));
    }
    if (segment_decoded_find(segment, ctx, said, dict, ret)) {
        ctx->blocks_read++;
        ctx->bytes_read += said->span.bytes;
        return ERR_OK;
    }
    if (read_raw(segment, ctx, col, block, said, ret, err) != ERR_OK) {
        return err_context(err, "column \"" STR_FMT "\": block %u", STR_ARG(col->name), block);
    }
    if (is_to_be_kept) {
        segment_decoded_keep(segment, ctx, said, ret);
    }
    return ERR_OK;
}

enum err_code segment_block_read(const struct segment *segment, struct read_ctx *ctx,
                                 const struct seg_col *col, uint32_t block, struct vec *ret,
                                 struct err *err)
{
    return block_read(segment, ctx, col, block, true, ret, err);
}

enum err_code segment_block_read_once(const struct segment *segment, struct read_ctx *ctx,
                                      const struct seg_col *col, uint32_t block, struct vec *ret,
                                      struct err *err)
{
    return block_read(segment, ctx, col, block, false, ret, err);
}
