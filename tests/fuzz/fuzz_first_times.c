/* Every file of first times that a folder can hold: a whole one with bytes changed, four bytes of input for each (two of
 * place, the value, whether to put or to add it), and the checksums of header, footer and sections made to fit. Opening,
 * reading all of it and verifying it is an error or an answer, and never a look outside of the file. */
#include "storage/segment_int.h"

#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "tests/fuzz/damage.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS       400u
#define FILE_BYTES 65536u
#define SPANS_MAX  256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t whole[FILE_BYTES];
static size_t whole_bytes;
static char path[64];
static struct io *io;
static struct seg_span spans[SPANS_MAX];
static uint32_t span_count;

static void must(enum err_code code)
{
    if (code != ERR_OK) {
        abort();
    }
}

/* ---- rows to write: a source of one block ---- */

static uint32_t row_subjects[ROWS];
static int64_t row_times[ROWS], row_arrivals[ROWS];
static uint32_t row_names[ROWS], row_weak[ROWS];
static uint64_t row_users[(ROWS + 63) / 64];
static const struct str name_values[] = {{"add", 3}, {"pay", 3}, {"view", 4}};
static const struct str id_values[] = {{"", 0}, {"phone", 5}, {"tablet", 6}};
static const struct dict name_dict = {.count = 3, .values = name_values};
static const struct dict id_dict = {.count = 3, .values = id_values};

static enum err_code rows_read(const struct source *source, struct read_ctx *ctx, uint32_t col,
                               uint32_t block, struct vec *ret, struct err *err)
{
    static uint32_t zeros[ROWS];
    (void)source;
    (void)ctx;
    (void)block;
    (void)err;
    *ret = (struct vec){.kind = VEC_CODE, .rows = ROWS, .value_count = ROWS, .dict = &id_dict};
    switch (col) {
    case COL_SUBJECT: *ret = (struct vec){.kind = VEC_U32, .u32 = row_subjects}; break;
    case COL_EVENT_TIME: *ret = (struct vec){.kind = VEC_I64, .i64 = row_times}; break;
    case COL_ARRIVAL: *ret = (struct vec){.kind = VEC_I64, .i64 = row_arrivals}; break;
    case COL_EVENT_NAME:
        *ret = (struct vec){.kind = VEC_CODE, .u32 = row_names, .dict = &name_dict};
        break;
    case COL_EVENT_ID:
    case COL_USER_ID: ret->u32 = zeros; break;
    default: ret->u32 = row_weak; break;
    }
    ret->rows = ROWS;
    ret->value_count = ROWS;
    return ERR_OK;
}

static enum err_code rows_dict(const struct source *source, struct read_ctx *ctx, uint32_t col,
                               const struct dict **ret, struct err *err)
{
    (void)source;
    (void)ctx;
    (void)err;
    *ret = col == COL_EVENT_NAME ? &name_dict : &id_dict;
    return ERR_OK;
}

static const struct source_ops rows_ops = {.read = rows_read, .dict = rows_dict};

static void list_spans(void)
{
    struct err err;
    struct segment *segment = NULL;
    must(segment_open(io, path, NULL, NULL, 1, &segment, &err));
    for (uint32_t i = 0; i < segment->col_count && span_count + 2 < SPANS_MAX; i++) {
        const struct seg_col *col = &segment->cols[i];
        if (col->has_dict) {
            spans[span_count++] = col->dict_span;
        }
        if (col->present != 0) {
            spans[span_count++] = col->blocks[0].span;
        }
    }
    for (uint32_t i = 0; i < segment->set_group_count && span_count < SPANS_MAX; i++) {
        spans[span_count++] = segment->set_groups[i];
    }
    segment_close(segment);
}

static void make_whole(void)
{
    struct err err;
    struct segment_stats stats;
    const struct segment_write_opts opts = {.shard = 5};
    struct source source = {.ops = &rows_ops,
                            .shard = 5,
                            .row_count = ROWS,
                            .block_count = 1,
                            .time_max_ms = 100000,
                            .subject_last = ROWS};
    const struct source *sources[] = {&source};
    for (uint32_t i = 0; i < ROWS; i++) {
        row_subjects[i] = i / 8 * 3000;
        row_times[i] = (int64_t)(i % 8) * 5000;
        row_arrivals[i] = row_times[i] + (int64_t)(i * 7919 % 60000);
        row_names[i] = i % 3;
        row_weak[i] = i % 5 % 3;
    }
    memset(row_users, 0xff, sizeof(row_users));
    snprintf(path, sizeof(path), "/dev/shm/trackway-fuzz-%ld.first", (long)getpid());
    must(io_create(IO_POSIX, &io, &err));
    const struct first_times_of of = {.before_ms = INT64_MAX, .subject_end = UINT32_MAX};
    must(segment_write_first_times(io, path, sources, 1, &of, &opts, &stats, &err));
    FILE *file = fopen(path, "rb");
    whole_bytes = file == NULL ? 0 : fread(whole, 1, sizeof(whole), file);
    if (whole_bytes == 0 || whole_bytes == sizeof(whole)) {
        abort();
    }
    fclose(file);
    list_spans();
}

static void replace(uint8_t *bytes, size_t len, uint64_t from, uint64_t to)
{
    uint8_t wanted[8];
    wr_u64(wanted, from);
    for (size_t i = 0; i + 8 <= len; i++) {
        if (memcmp(bytes + i, wanted, 8) == 0) {
            wr_u64(bytes + i, to);
            return;
        }
    }
}

/* Sections, as they lay in the whole file; then footer and header. */
static void seal(uint8_t *bytes)
{
    uint8_t *trailer = bytes + whole_bytes - SEGMENT_TRAILER_BYTES;
    struct rd rd = rd_init((struct str){(const char *)trailer, SEGMENT_TRAILER_BYTES});
    uint64_t footer_off = rd_u64(&rd);
    uint64_t footer_bytes = rd_u64(&rd);
    wr_u64(bytes + 24, checksum64(bytes, 24));
    if (footer_off > whole_bytes || footer_bytes > whole_bytes - footer_off) {
        return;
    }
    for (uint32_t i = 0; i < span_count; i++) {
        uint64_t checksum = checksum64(bytes + spans[i].off, spans[i].bytes);
        if (checksum != spans[i].checksum) {
            replace(bytes + footer_off, footer_bytes, spans[i].checksum, checksum);
        }
    }
    wr_u64(trailer + 16, checksum64(bytes + footer_off, footer_bytes));
}

static void use(struct segment *segment)
{
    struct err err;
    struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = io};
    const struct source *source = segment_source(segment);
    for (uint32_t block = 0; block < source->block_count; block++) {
        for (uint32_t col = 0; col < COL_FIRST_PROP; col++) {
            struct vec vec;
            (void)!source_read(source, &ctx, col, block, &vec, &err);
        }
    }
    arena_free(arena);
    (void)!segment_verify(segment, io, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t bytes[FILE_BYTES];
    struct err err;
    struct segment *segment = NULL;
    if (whole_bytes == 0) {
        make_whole();
    }
    memcpy(bytes, whole, whole_bytes);
    damage(bytes, whole_bytes, data, len);
    seal(bytes);
    damage_write(path, bytes, whole_bytes);
    if (segment_open(io, path, NULL, NULL, 1, &segment, &err) == ERR_OK) {
        use(segment);
    }
    segment_close(segment);
    return 0;
}
