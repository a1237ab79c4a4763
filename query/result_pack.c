#include "query/result_pack.h"

#include "storage/base/rd.h"

/* ---- packing ---- */

static void pack_f64(double v, struct buf *out)
{
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof(bits));
    buf_u64(out, bits);
}

static void pack_total(const struct num_total *total, struct buf *out)
{
    buf_u8(out, total->is_decimal ? 1 : 0);
    buf_u8(out, total->scale);
    buf_u64(out, (uint64_t)(unsigned __int128)total->m);
    buf_u64(out, (uint64_t)((unsigned __int128)total->m >> 64));
    pack_f64(total->approx, out);
}

static void pack_cell(const struct cell *cell, struct buf *out)
{
    buf_u8(out, (uint8_t)cell->kind);
    switch (cell->kind) {
    case CELL_NULL: return;
    case CELL_I64: buf_zigzag(out, cell->i64); return;
    case CELL_F64: pack_f64(cell->f64, out); return;
    case CELL_DECIMAL: pack_total(&cell->decimal, out); return;
    case CELL_STRING: buf_blob(out, cell->string); return;
    case CELL_BOOL: buf_u8(out, cell->boolean ? 1 : 0); return;
    case CELL_LIST:
        buf_varint(out, cell->list.count);
        for (uint32_t i = 0; i < cell->list.count; i++) {
            buf_blob(out, cell->list.items[i]);
        }
        return;
    }
}

static void pack_meta(const struct result_meta *meta, struct buf *out)
{
    buf_blob(out, meta->dataset);
    buf_varint(out, meta->epoch);
    buf_blob(out, meta->watermark);
    buf_blob(out, meta->history_from);
    buf_u8(out, meta->exact ? 1 : 0);
    buf_u8(out, meta->partial ? 1 : 0);
    buf_blob(out, meta->time_zone);
    buf_blob(out, meta->zone_version);
    buf_blob(out, meta->verb);
    buf_varint(out, meta->rows_read);
    buf_varint(out, meta->bytes_read);
    buf_varint(out, meta->segments);
    buf_varint(out, meta->segments_pruned);
    buf_varint(out, meta->rows_total);
    buf_varint(out, meta->rows_left_out);
    buf_u8(out, meta->has_entries ? 1 : 0);
    buf_varint(out, meta->entered);
    buf_varint(out, meta->mature);
    buf_varint(out, meta->warning_count);
    for (uint32_t i = 0; i < meta->warning_count; i++) {
        buf_blob(out, meta->warnings[i]);
    }
}

bool result_pack(const struct result *result, size_t bytes_max, struct buf *out)
{
    buf_varint(out, result->col_count);
    for (uint32_t c = 0; c < result->col_count; c++) {
        buf_blob(out, result->cols[c].name);
        buf_u8(out, (uint8_t)result->cols[c].type);
    }
    buf_u8(out, result->totals != NULL ? 1 : 0);
    for (uint32_t c = 0; result->totals != NULL && c < result->col_count; c++) {
        pack_cell(&result->totals[c], out);
    }
    pack_meta(&result->meta, out);
    buf_varint(out, result->row_count);
    const struct cell *cells = result->cells;
    for (uint64_t r = 0; r < result->row_count && out->len <= bytes_max; r++) {
        for (uint32_t c = 0; c < result->col_count; c++) {
            pack_cell(cells++, out);
        }
    }
    return out->len <= bytes_max && !out->is_bad;
}

/* ---- unpacking ---- */

static enum err_code unpack_str(struct rd *rd, struct arena *arena, struct str *ret,
                                struct err *err)
{
    struct str s = rd_blob(rd);
    if (s.len == 0) {
        *ret = STR("");
        return ERR_OK;
    }
    return arena_str(arena, s, ret, err);
}

static enum err_code unpack_strs(struct rd *rd, struct arena *arena, const struct str **ret,
                                 uint32_t *ret_count, struct err *err)
{
    uint32_t count = (uint32_t)rd_varint(rd);
    struct str *items = NULL;
    ERR_TRY(ARENA_NEW(arena, count, &items, err));
    for (uint32_t i = 0; i < count; i++) {
        ERR_TRY(unpack_str(rd, arena, &items[i], err));
    }
    *ret = items;
    *ret_count = count;
    return ERR_OK;
}

static double unpack_f64(struct rd *rd)
{
    uint64_t bits = rd_u64(rd);
    double v = 0;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static struct num_total unpack_total(struct rd *rd)
{
    struct num_total total = {.is_decimal = rd_u8(rd) != 0};
    total.scale = rd_u8(rd);
    unsigned __int128 low = rd_u64(rd);
    unsigned __int128 high = rd_u64(rd);
    total.m = (__int128)(high << 64 | low);
    total.approx = unpack_f64(rd);
    return total;
}

static enum err_code unpack_cell(struct rd *rd, struct arena *arena, struct cell *ret,
                                 struct err *err)
{
    ret->kind = (enum cell_kind)rd_u8(rd);
    switch (ret->kind) {
    case CELL_NULL: return ERR_OK;
    case CELL_I64: ret->i64 = rd_zigzag(rd); return ERR_OK;
    case CELL_F64: ret->f64 = unpack_f64(rd); return ERR_OK;
    case CELL_DECIMAL: ret->decimal = unpack_total(rd); return ERR_OK;
    case CELL_STRING: return unpack_str(rd, arena, &ret->string, err);
    case CELL_BOOL: ret->boolean = rd_u8(rd) != 0; return ERR_OK;
    case CELL_LIST: return unpack_strs(rd, arena, &ret->list.items, &ret->list.count, err);
    }
    return ERR_OK;
}

static enum err_code unpack_cells(struct rd *rd, struct arena *arena, uint64_t count,
                                  struct cell **ret, struct err *err)
{
    struct cell *cells = NULL;
    ERR_TRY(ARENA_NEW(arena, count, &cells, err));
    for (uint64_t i = 0; i < count; i++) {
        ERR_TRY(unpack_cell(rd, arena, &cells[i], err));
    }
    *ret = cells;
    return ERR_OK;
}

static enum err_code unpack_meta(struct rd *rd, struct arena *arena, struct result_meta *meta,
                                 struct err *err)
{
    ERR_TRY(unpack_str(rd, arena, &meta->dataset, err));
    meta->epoch = rd_varint(rd);
    ERR_TRY(unpack_str(rd, arena, &meta->watermark, err));
    ERR_TRY(unpack_str(rd, arena, &meta->history_from, err));
    meta->exact = rd_u8(rd) != 0;
    meta->partial = rd_u8(rd) != 0;
    ERR_TRY(unpack_str(rd, arena, &meta->time_zone, err));
    ERR_TRY(unpack_str(rd, arena, &meta->zone_version, err));
    ERR_TRY(unpack_str(rd, arena, &meta->verb, err));
    meta->rows_read = rd_varint(rd);
    meta->bytes_read = rd_varint(rd);
    meta->segments = rd_varint(rd);
    meta->segments_pruned = rd_varint(rd);
    meta->rows_total = rd_varint(rd);
    meta->rows_left_out = rd_varint(rd);
    meta->has_entries = rd_u8(rd) != 0;
    meta->entered = rd_varint(rd);
    meta->mature = rd_varint(rd);
    return unpack_strs(rd, arena, &meta->warnings, &meta->warning_count, err);
}

enum err_code result_unpack(struct str bytes, struct result *ret, struct err *err)
{
    struct rd rd = rd_init(bytes);
    struct arena *arena = ret->arena;
    struct result_col *cols = NULL;
    ret->col_count = (uint32_t)rd_varint(&rd);
    ERR_TRY(ARENA_NEW(arena, ret->col_count, &cols, err));
    for (uint32_t c = 0; c < ret->col_count; c++) {
        ERR_TRY(unpack_str(&rd, arena, &cols[c].name, err));
        cols[c].type = (enum result_type)rd_u8(&rd);
    }
    ret->cols = cols;
    if (rd_u8(&rd) != 0) {
        ERR_TRY(unpack_cells(&rd, arena, ret->col_count, &ret->totals, err));
    }
    ERR_TRY(unpack_meta(&rd, arena, &ret->meta, err));
    ret->row_count = rd_varint(&rd);
    ERR_TRY(unpack_cells(&rd, arena, ret->row_count * ret->col_count, &ret->cells, err));
    ASSERT(rd_at_end(&rd)); /* the bytes are our own */
    return ERR_OK;
}
