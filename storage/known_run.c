/* storage/known_run.c - writing and reading runs of known event ids.
 *
 *    offset   bytes   field           rule
 *         0       4   magic           "TWKR"
 *         4       4   version         1; a reader refuses others with ERR_UNSUPPORTED
 *         8       8   count           n, 1 .. KNOWN_RUN_COUNT_MAX
 *        16       1   page_bits       p, 0 .. 32: a page is named by the p top bits of the key
 *        17       1   subject_bits    b, 0 .. 16, of a subject in an entry's place
 *        18       1   subject_shift   s, 0 .. 32: which bits: subject >> s
 *        19       5   zero
 *        24       8   arrival_min     of the rows, ms
 *        32       8   arrival_max
 *        40       8   directory_off   a multiple of 8
 *        48       8   checksum        XXH3-64 of the directory
 *        56       8   checksum        XXH3-64 of bytes 0 .. 56
 *        64           pages           2^p, each from a multiple of 8
 *                     directory       2^p + 1 x u32: where pages start and the last ends, in 8 bytes
 *                     zeroes          8
 *
 *    page:    0   8   checksum        XXH3-64 of the rest of the page
 *             8   2   count           m
 *            10   1   low_width       w: of the r = 44 - p bits of a key within its page
 *            11   1   zero
 *            12   4   zero
 *            16       highs           words of 64 bits: bit (e >> w) + i is set for entry i (e: its r
 *                                     bits), all others of m + 2^(r - w) bits and the rest are clear
 *                     lows            w bits of each e
 *                     places          4 + b bits of each: shard << b | subject >> s
 *                     zeroes          up to a multiple of 8
 *
 * Integers are little-endian. A page holds 256 to 512 entries, so its highs are two cache lines, and
 * a look-up touches about four: directory, highs, lows, place. Highs and lows are the representation
 * of Elias and Fano: r - log2(m) + 2 bits an entry. The directory is checked when the run is opened,
 * a page when it is first touched; both together cover every byte.
 */
#include "storage/known_run.h"

#include "storage/base/rd.h"
#include "storage/base/size.h"
#include "storage/codec_bits.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define RUN_MAGIC        0x524b5754u /* "TWKR" */
#define RUN_VERSION      1u
#define HEADER_BYTES     64u
#define PAGE_HEAD_BYTES  16u
#define PAGE_ENTRIES     512u /* at most, about */
#define PAGE_COUNT_MAX   65535u
#define PAGE_BITS_MAX    32u
#define SHARD_BITS       4u
#define SUBJECT_BITS_MAX 16u
#define PLACE_SPAN_ROWS  (1u << 20) /* of a run, for one range of subjects of all its shards */
#define WRITE_BYTES      ((size_t)1 << 20)

struct run_shape {
    uint64_t count;
    unsigned page_bits, subject_bits, subject_shift;
};

static unsigned rest_bits(const struct run_shape *shape)
{
    return KNOWN_KEY_BITS - shape->page_bits;
}

static unsigned place_bits(const struct run_shape *shape)
{
    return SHARD_BITS + shape->subject_bits;
}

static uint32_t subject_max(const struct run_shape *shape)
{
    return (uint32_t)((UINT64_C(1) << (shape->subject_bits + shape->subject_shift)) - 1);
}

/* Smallest b with 2^b >= v. */
static unsigned bits_for(uint64_t v)
{
    return v <= 1 ? 0 : 64u - (unsigned)__builtin_clzll(v - 1);
}

/* ---- the parts of a page ---- */

struct page {
    uint32_t count;
    unsigned low_width;
    uint32_t high_bits;
    const uint8_t *highs, *lows, *places;
};

/* Bytes of a page; 0 where they are more than 32 bits can say. */
static size_t page_layout(const struct run_shape *shape, uint32_t count, unsigned low_width,
                          struct page *ret, const uint8_t *at)
{
    unsigned high_width = rest_bits(shape) - low_width;
    if (high_width > 24) {
        return 0;
    }
    ret->count = count;
    ret->low_width = low_width;
    ret->high_bits = count + (1u << high_width);
    size_t off = PAGE_HEAD_BYTES;
    ret->highs = at + off;
    off += (size_t)(ret->high_bits + 63) / 64 * 8;
    ret->lows = at + off;
    off += bits_bytes(count, low_width);
    ret->places = at + off;
    off += bits_bytes(count, place_bits(shape));
    return (off + 7) / 8 * 8;
}

/* ---- writing ---- */

struct known_run_writer {
    struct io *io;
    struct io_file *file;
    char *path, *tmp;
    struct run_shape shape;
    struct buf out;       /* not yet in the file */
    uint64_t out_off;     /* where it goes */
    struct buf directory; /* u32 each */
    uint64_t added;
    uint64_t key_last;
    uint64_t page; /* in the making */
    uint32_t page_count;
    uint64_t *rests, *places; /* PAGE_COUNT_MAX each */
    bool is_finished;
};

void known_run_abandon(struct known_run_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    io_close(writer->file);
    if (!writer->is_finished && writer->tmp != NULL) {
        struct err ignored;
        (void)!io_unlink(writer->io, writer->tmp, &ignored);
    }
    buf_done(&writer->out);
    buf_done(&writer->directory);
    free(writer->rests);
    free(writer->places);
    free(writer->path);
    free(writer->tmp);
    free(writer);
}

static char *join(const char *a, const char *b)
{
    size_t bytes = strlen(a) + strlen(b) + 1;
    char *joined = malloc(bytes);
    if (joined != NULL) {
        snprintf(joined, bytes, "%s%s", a, b);
    }
    return joined;
}

/* So many ranges of subjects that looking through one for an id reads about a block of a shard. */
static void choose_shape(struct run_shape *shape, uint64_t count, uint32_t subject_max,
                         uint32_t shift_min)
{
    shape->count = count;
    shape->page_bits = MIN_OF(bits_for(count / PAGE_ENTRIES + 1), PAGE_BITS_MAX);
    unsigned subject_width = MAX_OF(bits_for((uint64_t)subject_max + 1), shift_min);
    shape->subject_bits = MIN_OF(MIN_OF(bits_for(count / PLACE_SPAN_ROWS + 1), SUBJECT_BITS_MAX),
                                 subject_width - shift_min);
    shape->subject_shift = subject_width - shape->subject_bits;
}

enum err_code known_run_create(struct io *io, const char *path, uint64_t count,
                               uint32_t subject_max, uint32_t shift_min,
                               struct known_run_writer **ret, struct err *err)
{
    ASSERT(count >= 1 && count <= KNOWN_RUN_COUNT_MAX && shift_min <= 32);
    CLEANUP(known_run_abandonp) struct known_run_writer *writer = calloc(1, sizeof(*writer));
    if (writer == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a run of event ids");
    }
    writer->io = io;
    writer->is_finished = true; /* there is no file yet */
    writer->path = join(path, "");
    writer->tmp = join(path, ".tmp");
    writer->rests = malloc(PAGE_COUNT_MAX * sizeof(*writer->rests));
    writer->places = malloc(PAGE_COUNT_MAX * sizeof(*writer->places));
    if (writer->path == NULL || writer->tmp == NULL || writer->rests == NULL ||
        writer->places == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a run of event ids");
    }
    choose_shape(&writer->shape, count, subject_max, shift_min);
    writer->out_off = HEADER_BYTES;
    ERR_TRY(io_open(io, writer->tmp, IO_CREATE, &writer->file, err));
    writer->is_finished = false;
    *ret = TAKE(writer);
    return ERR_OK;
}

static enum err_code write_out(struct known_run_writer *writer, struct err *err)
{
    ERR_TRY(buf_check(&writer->out, err));
    if (writer->out.len > 0) {
        ERR_TRY(io_write(writer->io, writer->file, writer->out_off, writer->out.ptr,
                         writer->out.len, err));
    }
    writer->out_off += writer->out.len;
    buf_clear(&writer->out);
    return ERR_OK;
}

/* The page in the making is whole. */
static enum err_code end_page(struct known_run_writer *writer, struct err *err)
{
    const struct run_shape *shape = &writer->shape;
    uint32_t count = writer->page_count;
    unsigned high_width = MIN_OF(bits_for(count), rest_bits(shape));
    struct page page;
    uint8_t *none = NULL;
    size_t bytes = page_layout(shape, count, rest_bits(shape) - high_width, &page, none);
    uint64_t start = writer->out_off + writer->out.len;
    if (bytes == 0 || start / 8 > UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "a run of event ids has more than 32 GiB");
    }
    uint8_t *at = buf_reserve(&writer->out, bytes + BITS_SLACK);
    if (at == NULL) {
        return buf_check(&writer->out, err);
    }
    memset(at, 0, bytes);
    (void)page_layout(shape, count, rest_bits(shape) - high_width, &page, at);
    wr_u16(at + 8, (uint16_t)count);
    at[10] = (uint8_t)page.low_width;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bit = (writer->rests[i] >> page.low_width) + i;
        at[PAGE_HEAD_BYTES + bit / 8] |= (uint8_t)(1u << (bit & 7));
        writer->rests[i] &= (UINT64_C(1) << page.low_width) - 1;
    }
    bits_pack(writer->rests, count, page.low_width, at + (page.lows - at));
    bits_pack(writer->places, count, place_bits(shape), at + (page.places - at));
    /* Packing wrote slack behind the last place: over the page's own padding, or behind it. */
    wr_u64(at, checksum64(at + 8, bytes - 8));
    writer->out.len += bytes;
    buf_u32(&writer->directory, (uint32_t)(start / 8));
    writer->page++;
    writer->page_count = 0;
    return writer->out.len >= WRITE_BYTES ? write_out(writer, err) : ERR_OK;
}

enum err_code known_run_add(struct known_run_writer *writer, const struct known_entry *entry,
                            struct err *err)
{
    const struct run_shape *shape = &writer->shape;
    ASSERT(entry->key >= writer->key_last && entry->key >> KNOWN_KEY_BITS == 0);
    ASSERT(writer->added < shape->count && entry->place.shard < 1u << SHARD_BITS);
    uint64_t page = entry->key >> rest_bits(shape);
    while (writer->page < page) {
        ERR_TRY(end_page(writer, err));
    }
    if (writer->page_count == PAGE_COUNT_MAX) {
        return err_set(err, ERR_LIMIT, "more than %u event ids of one hash", PAGE_COUNT_MAX);
    }
    uint64_t bucket = (uint64_t)entry->place.subject_first >> shape->subject_shift;
    ASSERT(bucket >> shape->subject_bits == 0);
    ASSERT((uint64_t)entry->place.subject_last >> shape->subject_shift == bucket);
    writer->rests[writer->page_count] = entry->key & ((UINT64_C(1) << rest_bits(shape)) - 1);
    writer->places[writer->page_count] =
        (uint64_t)entry->place.shard << shape->subject_bits | bucket;
    writer->page_count++;
    writer->key_last = entry->key;
    writer->added++;
    return ERR_OK;
}

static void put_header(const struct known_run_writer *writer, uint64_t directory_off,
                       int64_t arrival_min_ms, int64_t arrival_max_ms, uint8_t out[HEADER_BYTES])
{
    memset(out, 0, HEADER_BYTES);
    wr_u32(out, RUN_MAGIC);
    wr_u32(out + 4, RUN_VERSION);
    wr_u64(out + 8, writer->shape.count);
    out[16] = (uint8_t)writer->shape.page_bits;
    out[17] = (uint8_t)writer->shape.subject_bits;
    out[18] = (uint8_t)writer->shape.subject_shift;
    wr_u64(out + 24, (uint64_t)arrival_min_ms);
    wr_u64(out + 32, (uint64_t)arrival_max_ms);
    wr_u64(out + 40, directory_off);
    wr_u64(out + 48, checksum64(writer->directory.ptr, writer->directory.len));
    wr_u64(out + 56, checksum64(out, 56));
}

enum err_code known_run_finish(struct known_run_writer *writer, int64_t arrival_min_ms,
                               int64_t arrival_max_ms, struct known_run_info *ret, struct err *err)
{
    ASSERT(writer->added == writer->shape.count);
    while (writer->page < UINT64_C(1) << writer->shape.page_bits) {
        ERR_TRY(end_page(writer, err));
    }
    uint64_t directory_off = writer->out_off + writer->out.len;
    if (directory_off / 8 > UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "a run of event ids has more than 32 GiB");
    }
    buf_u32(&writer->directory, (uint32_t)(directory_off / 8));
    ERR_TRY(buf_check(&writer->directory, err));
    buf_append(&writer->out, writer->directory.ptr, writer->directory.len);
    buf_u64(&writer->out, 0);
    ERR_TRY(write_out(writer, err));
    uint8_t header[HEADER_BYTES];
    put_header(writer, directory_off, arrival_min_ms, arrival_max_ms, header);
    ERR_TRY(io_write(writer->io, writer->file, 0, header, sizeof(header), err));
    ERR_TRY(io_sync(writer->io, writer->file, err));
    ERR_TRY(io_rename(writer->io, writer->tmp, writer->path, err));
    writer->is_finished = true;
    *ret = (struct known_run_info){.count = writer->shape.count,
                                   .bytes = writer->out_off,
                                   .arrival_min_ms = arrival_min_ms,
                                   .arrival_max_ms = arrival_max_ms,
                                   .subject_max = subject_max(&writer->shape),
                                   .subject_shift = writer->shape.subject_shift};
    return ERR_OK;
}

/* ---- opening ---- */

struct page_bits {         /* by page, 64 to a word: its checksum was looked at */
    _Atomic uint64_t word; /* relaxed: a page may be checked twice */
};

struct known_run {
    _Atomic uint32_t refs;
    char *path;
    uint64_t number;
    struct run_shape shape;
    struct known_run_info info;
    uint64_t directory_off;
    const uint8_t *bytes; /* the whole file, mapped */
    const uint8_t *directory;
    struct page_bits *is_checked;
};

struct known_run *known_run_ref(struct known_run *run)
{
    atomic_fetch_add_explicit(&run->refs, 1, memory_order_relaxed);
    return run;
}

void known_run_unref(struct known_run *run)
{
    if (run == NULL || atomic_fetch_sub_explicit(&run->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    if (run->bytes != NULL) {
        int failed = munmap((void *)(uintptr_t)run->bytes, (size_t)run->info.bytes);
        ASSERT(failed == 0);
    }
    free(run->is_checked);
    free(run->path);
    free(run);
}

uint64_t known_run_number(const struct known_run *run)
{
    return run->number;
}

struct known_run_info known_run_info(const struct known_run *run)
{
    return run->info;
}

static enum err_code parse_header(struct known_run *run, const uint8_t *at, struct err *err)
{
    struct rd rd = rd_init((struct str){(const char *)at, HEADER_BYTES});
    uint32_t magic = rd_u32(&rd);
    uint32_t version = rd_u32(&rd);
    if (magic != RUN_MAGIC) {
        return err_set(err, ERR_CORRUPT, "wrong magic");
    }
    if (version != RUN_VERSION) {
        return err_set(err, ERR_UNSUPPORTED, "version %" PRIu32 ", this program knows %u", version,
                       RUN_VERSION);
    }
    struct run_shape *shape = &run->shape;
    shape->count = rd_u64(&rd);
    shape->page_bits = rd_u8(&rd);
    shape->subject_bits = rd_u8(&rd);
    shape->subject_shift = rd_u8(&rd);
    struct str zero = rd_bytes(&rd, 5);
    run->info.count = shape->count;
    run->info.arrival_min_ms = (int64_t)rd_u64(&rd);
    run->info.arrival_max_ms = (int64_t)rd_u64(&rd);
    run->directory_off = rd_u64(&rd);
    (void)rd_u64(&rd);
    if (rd_u64(&rd) != checksum64(at, HEADER_BYTES - 8)) {
        return err_set(err, ERR_CORRUPT, "header: checksum mismatch");
    }
    if (memcmp(zero.ptr, "\0\0\0\0\0", 5) != 0 || shape->count == 0 ||
        shape->count > KNOWN_RUN_COUNT_MAX || shape->page_bits > PAGE_BITS_MAX ||
        shape->subject_bits > SUBJECT_BITS_MAX || shape->subject_bits + shape->subject_shift > 32 ||
        run->directory_off % 8 != 0) {
        return err_set(err, ERR_CORRUPT, "header: a field is out of range");
    }
    run->info.subject_max = subject_max(shape);
    run->info.subject_shift = shape->subject_shift;
    /* Just the one size that header, pages and directory have together. */
    uint64_t directory_bytes = ((UINT64_C(1) << shape->page_bits) + 1) * 4;
    if (run->directory_off < HEADER_BYTES || run->directory_off > run->info.bytes ||
        run->info.bytes - run->directory_off != directory_bytes + 8) {
        return err_set(err, ERR_CORRUPT, "%" PRIu64 " bytes do not fit its header",
                       run->info.bytes);
    }
    return ERR_OK;
}

static uint32_t load32(const uint8_t *at)
{
    uint32_t v = 0;
    memcpy(&v, at, sizeof(v));
    return le32toh(v);
}

/* Ascending and within the file: from here on a page's bounds can be believed. */
static enum err_code check_directory(const struct known_run *run, struct err *err)
{
    uint64_t page_count = UINT64_C(1) << run->shape.page_bits;
    if (checksum64(run->directory, (size_t)(page_count + 1) * 4) != bits_load64(run->bytes + 48)) {
        return err_set(err, ERR_CORRUPT, "directory: checksum mismatch");
    }
    uint64_t last = HEADER_BYTES / 8;
    for (uint64_t page = 0; page <= page_count; page++) {
        uint64_t start = load32(run->directory + page * 4);
        bool is_good = page == 0            ? start == last
                       : page == page_count ? start == run->directory_off / 8
                                            : start <= run->directory_off / 8;
        if (!is_good || (page > 0 && start < last + PAGE_HEAD_BYTES / 8)) {
            return err_set(err, ERR_CORRUPT, "directory: page %" PRIu64 " is out of place", page);
        }
        last = start;
    }
    return ERR_OK;
}

static enum err_code map_run(struct known_run *run, struct io *io, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    ERR_TRY(io_open(io, run->path, IO_READ, &file, err));
    ERR_TRY(io_size(io, file, &run->info.bytes, err));
    if (run->info.bytes < HEADER_BYTES) {
        return err_set(err, ERR_CORRUPT, "%" PRIu64 " bytes are no header", run->info.bytes);
    }
    /* Through io, so that a disk that cannot read says so here, not by a signal. */
    uint8_t header[HEADER_BYTES];
    ERR_TRY(io_read(io, file, 0, header, sizeof(header), err));
    ERR_TRY(parse_header(run, header, err));
    void *at = NULL;
    ERR_TRY(io_map(file, 0, (size_t)run->info.bytes, false, NULL, &at, err));
    run->bytes = at;
    run->directory = run->bytes + run->directory_off;
    (void)madvise(at, (size_t)run->info.bytes, MADV_WILLNEED); /* a hint: no matter if it fails */
    ERR_TRY(check_directory(run, err));
    size_t words = (((size_t)1 << run->shape.page_bits) + 63) / 64;
    run->is_checked = calloc(words, sizeof(*run->is_checked));
    return run->is_checked == NULL ? err_set(err, ERR_NOMEM, "no memory for its pages") : ERR_OK;
}

enum err_code known_run_open(struct io *io, const char *path, uint64_t number,
                             struct known_run **ret, struct err *err)
{
    CLEANUP(known_run_unrefp) struct known_run *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a run of event ids");
    }
    atomic_init(&run->refs, 1);
    run->number = number;
    run->path = join(path, "");
    if (run->path == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a run of event ids");
    }
    if (map_run(run, io, err) != ERR_OK) {
        return err_context(err, "run of event ids \"%s\"", path);
    }
    *ret = TAKE(run);
    return ERR_OK;
}

/* ---- pages ---- */

static const uint8_t *page_at(const struct known_run *run, uint64_t page, size_t *ret_bytes)
{
    uint32_t start = load32(run->directory + page * 4);
    *ret_bytes = (size_t)(load32(run->directory + page * 4 + 4) - start) * 8;
    return run->bytes + (size_t)start * 8;
}

static enum err_code page_damaged(const struct known_run *run, uint64_t page, const char *what,
                                  struct err *err)
{
    return err_set(err, ERR_CORRUPT, "run of event ids \"%s\": page %" PRIu64 ": %s", run->path,
                   page, what);
}

static enum err_code page_check(const struct known_run *run, uint64_t number, const uint8_t *at,
                                size_t bytes, struct err *err)
{
    struct page page = {0};
    if (checksum64(at + 8, bytes - 8) != bits_load64(at)) {
        return page_damaged(run, number, "checksum mismatch", err);
    }
    uint32_t count = (uint32_t)at[8] | (uint32_t)at[9] << 8;
    if (at[10] > rest_bits(&run->shape) ||
        page_layout(&run->shape, count, at[10], &page, at) != bytes) {
        return page_damaged(run, number, "its size does not fit its entries", err);
    }
    uint32_t ones = 0;
    for (uint32_t bit = 0; bit < page.high_bits; bit += 64) {
        ones += (uint32_t)__builtin_popcountll(bits_load64(page.highs + bit / 8));
    }
    uint32_t over = page.high_bits % 64;
    uint64_t last =
        page.high_bits == 0 ? 0 : bits_load64(page.highs + (page.high_bits - 1) / 64 * 8);
    if (ones != count || (over != 0 && last >> over != 0)) {
        return page_damaged(run, number, "its bits do not fit its entries", err);
    }
    return ERR_OK;
}

/* Named and checked. */
static enum err_code page_open(const struct known_run *run, uint64_t number, struct page *ret,
                               struct err *err)
{
    size_t bytes = 0;
    const uint8_t *at = page_at(run, number, &bytes);
    _Atomic uint64_t *word = &run->is_checked[number / 64].word;
    uint64_t bit = UINT64_C(1) << (number % 64);
    if ((atomic_load_explicit(word, memory_order_relaxed) & bit) == 0) {
        ERR_TRY(page_check(run, number, at, bytes, err));
        atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
    }
    uint32_t count = (uint32_t)at[8] | (uint32_t)at[9] << 8;
    (void)page_layout(&run->shape, count, at[10], ret, at);
    return ERR_OK;
}

static struct known_place place_of(const struct run_shape *shape, const struct page *page,
                                   uint32_t idx)
{
    uint64_t packed = bits_at(page->places, idx, place_bits(shape));
    uint64_t bucket = packed & ((UINT64_C(1) << shape->subject_bits) - 1);
    uint64_t first = bucket << shape->subject_shift;
    uint64_t last = first + (UINT64_C(1) << shape->subject_shift) - 1;
    return (struct known_place){.shard = (uint32_t)(packed >> shape->subject_bits),
                                .subject_first = (uint32_t)first,
                                .subject_last = (uint32_t)MIN_OF(last, (uint64_t)UINT32_MAX)};
}

/* ---- looking up ---- */

/* The place of the n-th set bit of a word that has more than n (Vigna, "Broadword implementation of rank/select
 * queries", 2008): counts of the bytes, summed from below by a multiplication; the byte; the bits within. */
static inline uint32_t nth_one(uint64_t word, uint32_t n)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t counts = word - ((word >> 1) & (ones * 0x55));
    counts = (counts & (ones * 0x33)) + ((counts >> 2) & (ones * 0x33));
    uint64_t sums = ((counts + (counts >> 4)) & (ones * 0x0f)) * ones;
    /* A byte of `sums` is at most 64, so bit 7 is free to say: it is at most n. */
    uint64_t passed = ((((n * ones) | (ones * 0x80)) - sums) & (ones * 0x80)) >> 7;
    uint32_t byte = (uint32_t)((passed * ones) >> 56) * 8;
    n -= byte == 0 ? 0 : (uint32_t)(sums >> (byte - 8)) & 0xff;
    uint64_t rest = word >> byte;
    for (; n > 0; n--) {
        rest &= rest - 1;
    }
    return byte + (uint32_t)__builtin_ctzll(rest);
}

/* The bit after the n-th clear one (n from 0). There are more than n. */
static inline __attribute__((always_inline)) uint32_t after_zero(const struct page *page,
                                                                 uint32_t n)
{
    for (uint32_t bit = 0;; bit += 64) {
        uint64_t zeroes = ~bits_load64(page->highs + bit / 8);
        uint32_t here = (uint32_t)__builtin_popcountll(zeroes);
        if (n < here) {
            return bit + nth_one(zeroes, n) + 1;
        }
        n -= here;
    }
}

static bool is_one(const struct page *page, uint32_t bit)
{
    return bit < page->high_bits && (page->highs[bit / 8] >> (bit & 7) & 1) != 0;
}

/* Where the entries of a key lie in its page: the first bit of their bucket, and what their lows are. */
struct bucket {
    struct page page;
    uint32_t high, bit;
    uint64_t low;
};

static inline __attribute__((always_inline)) enum err_code
bucket_open(const struct known_run *run, uint64_t key, struct bucket *ret, struct err *err)
{
    uint64_t rest = key & ((UINT64_C(1) << rest_bits(&run->shape)) - 1);
    ERR_TRY(page_open(run, key >> rest_bits(&run->shape), &ret->page, err));
    ret->high = (uint32_t)(rest >> ret->page.low_width);
    ret->low = rest & ((UINT64_C(1) << ret->page.low_width) - 1);
    /* 2^high_width clear bits end as many buckets, so there is a clear one before this. */
    ret->bit = ret->high == 0 ? 0 : after_zero(&ret->page, ret->high - 1);
    return ERR_OK;
}

/* The bucket's next entry with the key's lows; UINT32_MAX where there is none. */
static uint32_t bucket_next(struct bucket *bucket)
{
    while (is_one(&bucket->page, bucket->bit)) {
        uint32_t idx = bucket->bit++ - bucket->high;
        if (bits_at(bucket->page.lows, idx, bucket->page.low_width) == bucket->low) {
            return idx;
        }
    }
    return UINT32_MAX;
}

/* Ask for the memory that looking for the keys will want. Inlined by force: a call that only prefetches counts as one
 * without effect, and is left out. */
static inline __attribute__((always_inline)) void probe_ahead(const struct known_run *run, const uint64_t *keys, uint32_t count)
{
    unsigned rest = rest_bits(&run->shape);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t page = keys[i] >> rest;
        __builtin_prefetch(run->directory + page * 4);
        __builtin_prefetch(&run->is_checked[page / 64]);
    }
    for (uint32_t i = 0; i < count; i++) {
        size_t bytes = 0;
        const uint8_t *at = page_at(run, keys[i] >> rest, &bytes);
        /* Keys are spread evenly: within the page the entry's bit lies about where its key does in
         * the page's range, and so do its lows. Highs are about a twelfth of the page, then lows. */
        uint64_t part = ((keys[i] & ((UINT64_C(1) << rest) - 1)) << 8) >> rest;
        __builtin_prefetch(at);
        __builtin_prefetch(at + PAGE_HEAD_BYTES + bytes * part / (256 * 12));
        __builtin_prefetch(at + bytes * (21 + part * 2 / 3) / 256);
    }
}

static inline __attribute__((always_inline)) enum err_code
probe(const struct known_run *run, const uint64_t *keys, uint32_t count, uint32_t *ret_bits,
      struct err *err)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct bucket bucket;
        ERR_TRY(bucket_open(run, keys[i], &bucket, err));
        bits |= bucket_next(&bucket) != UINT32_MAX ? 1u << i : 0;
    }
    *ret_bits = bits;
    return ERR_OK;
}

typedef enum err_code (*probe_fn)(const struct known_run *run, const uint64_t *keys, uint32_t count,
                                  uint32_t *ret_bits, struct err *err);

static enum err_code probe_plain(const struct known_run *run, const uint64_t *keys, uint32_t count,
                                 uint32_t *ret_bits, struct err *err)
{
    return probe(run, keys, count, ret_bits, err);
}

#ifdef __x86_64__
/* The same with an instruction that counts bits, which the oldest processors lack. */
__attribute__((target("popcnt"))) static enum err_code
probe_popcnt(const struct known_run *run, const uint64_t *keys, uint32_t count, uint32_t *ret_bits,
             struct err *err)
{
    return probe(run, keys, count, ret_bits, err);
}
#endif

static probe_fn best_probe(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("popcnt")) {
        return probe_popcnt;
    }
#endif
    return probe_plain;
}

enum err_code known_run_probe(const struct known_run *run, const uint64_t *keys, uint32_t count,
                              uint32_t *ret_bits, struct err *err)
{
    ASSERT(count <= KNOWN_PROBE_MAX);
    probe_ahead(run, keys, count);
    return best_probe()(run, keys, count, ret_bits, err);
}

enum err_code known_run_find(const struct known_run *run, uint64_t key, struct known_place *out,
                             uint32_t cap, uint32_t *ret_count, struct err *err)
{
    struct bucket bucket;
    uint32_t count = 0;
    ERR_TRY(bucket_open(run, key, &bucket, err));
    for (uint32_t idx; (idx = bucket_next(&bucket)) != UINT32_MAX;) {
        if (count == cap) {
            return page_damaged(run, key >> rest_bits(&run->shape), "too many equal keys", err);
        }
        out[count++] = place_of(&run->shape, &bucket.page, idx);
    }
    *ret_count = count;
    return ERR_OK;
}

enum err_code known_cursor_next(struct known_cursor *cursor, struct known_entry *ret,
                                bool *ret_more, struct err *err)
{
    const struct run_shape *shape = &cursor->run->shape;
    uint64_t page_count = UINT64_C(1) << shape->page_bits;
    for (; cursor->page < page_count; cursor->page++, cursor->idx = 0, cursor->high_bit = 0) {
        struct page page;
        ERR_TRY(page_open(cursor->run, cursor->page, &page, err));
        if (cursor->idx == page.count) {
            continue;
        }
        while (!is_one(&page, cursor->high_bit)) {
            cursor->high_bit++; /* page_check has counted the ones: there is another */
        }
        uint64_t high = cursor->high_bit - cursor->idx;
        ret->key = cursor->page << rest_bits(shape) | high << page.low_width |
                   bits_at(page.lows, cursor->idx, page.low_width);
        ret->place = place_of(shape, &page, cursor->idx);
        cursor->idx++;
        cursor->high_bit++;
        *ret_more = true;
        return ERR_OK;
    }
    *ret_more = false;
    return ERR_OK;
}

enum err_code known_run_verify(const struct known_run *run, struct err *err)
{
    struct known_cursor cursor = {.run = run};
    struct known_entry entry;
    uint64_t count = 0;
    uint64_t last = 0;
    bool is_more = true;
    for (;; count++) {
        ERR_TRY(known_cursor_next(&cursor, &entry, &is_more, err));
        if (!is_more) {
            break;
        }
        if (entry.key < last) {
            return page_damaged(run, cursor.page, "keys do not ascend", err);
        }
        last = entry.key;
    }
    if (count != run->shape.count) {
        return err_set(err, ERR_CORRUPT,
                       "run of event ids \"%s\": %" PRIu64 " entries, its header says %" PRIu64,
                       run->path, count, run->shape.count);
    }
    return ERR_OK;
}
