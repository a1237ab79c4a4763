/* storage/ids_log.c - ids.log: the keys in the order of their arrival.
 *
 * A run of frames, each of at most 64 KiB of entries; a flush ends one.
 *
 *    offset   bytes   field        rule
 *         0       4   magic        0x5344c954; its low half, above 0x8000, cannot begin an entry
 *         4       4   count        entries in this frame, at least 1
 *         8       4   bytes        of the entries, at most 65,536, a multiple of 4
 *        12       4   version      less one: 0; a reader refuses others with ERR_UNSUPPORTED
 *        16       8   checksum     XXH3-64 of bytes 0 .. 16 and the entries, chained (see below)
 *        24           entries
 *
 *    entry:   0   2   bits 0-9: length of the id, 1 .. 512; bit 10: 1 = anonymous; 11-14: shard. Of what is no id a
 *                     length is 512 more than it is, 513 .. 576; bit 10: 0 = a binding, 1 = a merge
 *             2   4   subject: how many entries of this shard are before this one
 *             6       the id; then zeroes up to a multiple of 4
 *
 * Integers are little-endian. The checksum of a frame is seeded with the one before it (0 for the
 * first), so frames cannot change places. A frame lies within one extent of 64 MiB: where the
 * largest possible one would not fit any more, zeroes follow up to the next extent.
 *
 * In memory the log has the same bytes at the same distances: an extent is 64 MiB of address space
 * from the start, so a new entry is written where it will stay, in the form of the file. A flush
 * writes from there, and once it is confirmed the file's own pages are mapped over the private
 * ones, at the same addresses and with the same content: readers notice nothing (a fault in
 * between waits for the kernel's lock), and memory for keys is bounded by what is not flushed.
 */
#include "storage/ids_int.h"

#include "storage/base/rd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#define FRAME_MAGIC   0x5344c954u
#define FRAME_BIT     0x8000u /* in the first two bytes of a frame, never of an entry */
#define LEN_MASK      0x3ffu
#define ANONYMOUS_BIT 0x400u
#define SHARD_SHIFT   11u
/* An entry whose length is a lie (a slot of a forged ids.hash) ends behind the extent at most. */
#define EXTENT_MAPPED (IDS_EXTENT_BYTES + IDS_PAGE_BYTES)
#define WINDOW_BYTES  ((size_t)1 << 20)
#define ENTRY_ALIGN   4u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the log is read where it is mapped");
#define FACT_LEN      512u
_Static_assert(USER_ID_BYTES_MAX <= FACT_LEN && FACT_LEN + IDS_FACT_BYTES_MAX <= LEN_MASK,
               "a length fits its bits, and says what it is of");
_Static_assert((FRAME_MAGIC & FRAME_BIT) != 0, "a frame does not look like an entry");

static uint8_t *log_at(const struct ids_log *log, uint64_t off)
{
    return log->extents[off >> IDS_EXTENT_BITS] + (off & (IDS_EXTENT_BYTES - 1));
}

static uint16_t load16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static uint32_t load32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static uint64_t entry_bytes(size_t key_len)
{
    return (IDS_ENTRY_HEAD_BYTES + key_len + ENTRY_ALIGN - 1) & ~(uint64_t)(ENTRY_ALIGN - 1);
}

/* Where the frame that follows `off` begins. */
static uint64_t frame_place(uint64_t off)
{
    uint64_t extent_end = (off | (IDS_EXTENT_BYTES - 1)) + 1;
    return off + IDS_FRAME_TOTAL_BYTES <= extent_end ? off : extent_end;
}

/* ---- reading entries ---- */

static struct id_entry entry_parse(const uint8_t *at)
{
    uint16_t head = load16(at);
    uint32_t len = head & LEN_MASK;
    bool is_fact = len > FACT_LEN;
    bool is_second = (head & ANONYMOUS_BIT) != 0;
    return (struct id_entry){
        .key = {(const char *)at + IDS_ENTRY_HEAD_BYTES, is_fact ? len - FACT_LEN : len},
        .kind = is_fact     ? (is_second ? ID_MERGE : ID_BINDING)
                : is_second ? ID_ANONYMOUS
                            : ID_USER,
        .shard = (uint32_t)(head >> SHARD_SHIFT) & (SHARD_COUNT - 1),
        .subject = load32(at + 2),
    };
}

struct id_entry ids_log_entry(const struct ids_log *log, uint64_t off)
{
    return entry_parse(log_at(log, off));
}

bool ids_log_holds(const struct ids_log *log, uint64_t off, enum id_kind kind, struct str key)
{
    const uint8_t *extent = log->extents[off >> IDS_EXTENT_BITS];
    if (extent == NULL) {
        return false;
    }
    struct id_entry entry = entry_parse(extent + (off & (IDS_EXTENT_BYTES - 1)));
    return entry.kind == kind && str_eq(entry.key, key);
}

uint64_t ids_log_first(const struct ids_log *log, uint64_t off)
{
    if ((off & (IDS_EXTENT_BYTES - 1)) == 0) {
        return off + IDS_FRAME_HEAD_BYTES; /* an extent begins with a frame */
    }
    uint16_t head = load16(log_at(log, off));
    if (head == 0) {
        return frame_place(off) + IDS_FRAME_HEAD_BYTES;
    }
    return (head & FRAME_BIT) != 0 ? off + IDS_FRAME_HEAD_BYTES : off;
}

uint64_t ids_log_after(const struct ids_log *log, uint64_t off)
{
    return ids_log_first(log, off + entry_bytes(entry_parse(log_at(log, off)).key.len));
}

/* ---- appending ---- */

static enum err_code extent_room(struct ids_log *log, uint64_t off, struct err *err)
{
    uint64_t idx = off >> IDS_EXTENT_BITS;
    if (idx >= IDS_EXTENTS) {
        return err_set(err, ERR_LIMIT, "the id directory is full: %" PRIu64 " GiB of ids",
                       off >> 30);
    }
    if (log->extents[idx] != NULL) {
        return ERR_OK;
    }
    void *extent = mmap(NULL, EXTENT_MAPPED, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (extent == MAP_FAILED) {
        return ids_no_memory(err);
    }
    /* Huge pages would cost a small directory 2 MiB. Advice: it may be refused. */
    (void)madvise(extent, EXTENT_MAPPED, MADV_NOHUGEPAGE);
    log->extents[idx] = extent;
    return ERR_OK;
}

static void frame_end(struct ids_log *log)
{
    if (log->frame_count == 0) {
        return;
    }
    uint8_t *head = log_at(log, log->frame_off);
    size_t bytes = log->end - log->frame_off - IDS_FRAME_HEAD_BYTES;
    wr_u32(head + 4, log->frame_count);
    wr_u32(head + 8, (uint32_t)bytes);
    uint64_t chain =
        hash64(head + IDS_FRAME_HEAD_BYTES, bytes, hash64(head, 16, log->sealed.chain));
    wr_u64(head + 16, chain);
    log->sealed.mark.count += log->frame_count;
    log->sealed.mark.bytes = log->end;
    log->sealed.chain = chain;
    log->frame_count = 0;
}

enum err_code ids_log_append(struct ids_log *log, const struct id_entry *entry, uint64_t *ret_off,
                             struct err *err)
{
    uint64_t bytes = entry_bytes(entry->key.len);
    if (log->frame_count > 0 && log->end + bytes > log->frame_off + IDS_FRAME_TOTAL_BYTES) {
        frame_end(log);
    }
    if (log->frame_count == 0) {
        uint64_t off = frame_place(log->sealed.mark.bytes);
        ERR_TRY(extent_room(log, off, err));
        wr_u32(log_at(log, off), FRAME_MAGIC); /* the rest when it ends; readers look at this */
        log->frame_off = off;
        log->end = off + IDS_FRAME_HEAD_BYTES;
    }
    uint8_t *at = log_at(log, log->end);
    bool is_second = entry->kind == ID_ANONYMOUS || entry->kind == ID_MERGE;
    size_t len = entry->key.len + (id_kind_is_fact(entry->kind) ? FACT_LEN : 0u);
    wr_u16(at,
           (uint16_t)(len | (is_second ? ANONYMOUS_BIT : 0u) | entry->shard << SHARD_SHIFT));
    wr_u32(at + 2, entry->subject);
    memcpy(at + IDS_ENTRY_HEAD_BYTES, entry->key.ptr, entry->key.len);
    *ret_off = log->end;
    log->end += bytes;
    log->frame_count++;
    return ERR_OK;
}

uint64_t ids_seal(struct ids *ids)
{
    frame_end(&ids->log);
    return ids->log.sealed.mark.count;
}

/* ---- flushing ---- */

enum err_code ids_flush(struct ids *ids, struct io *io, uint64_t count, struct ids_mark *ret,
                        struct err *err)
{
    struct ids_log *log = &ids->log;
    struct ids_seal to = log->durable;
    while (to.mark.count < count) {
        uint64_t off = frame_place(to.mark.bytes);
        const uint8_t *head = log_at(log, off);
        to.mark.count += load32(head + 4);
        to.mark.bytes = off + IDS_FRAME_HEAD_BYTES + load32(head + 8);
        memcpy(&to.chain, head + 16, sizeof(to.chain));
    }
    ASSERT(to.mark.count == count || count < log->durable.mark.count);
    for (uint64_t off = log->durable.mark.bytes; off < to.mark.bytes;) {
        uint64_t end = MIN_OF(to.mark.bytes, (off | (IDS_EXTENT_BYTES - 1)) + 1);
        ERR_TRY(io_write(io, log->file, off, log_at(log, off), end - off, err));
        off = end;
    }
    if (to.mark.bytes > log->durable.mark.bytes) {
        ERR_TRY(io_sync(io, log->file, err));
    }
    log->flushed = to;
    *ret = to.mark;
    return ERR_OK;
}

/* The file's pages in place of ours, as far as they are whole and count. */
static enum err_code map_until(struct ids_log *log, uint64_t bytes, struct err *err)
{
    uint64_t end = bytes & ~(uint64_t)(IDS_PAGE_BYTES - 1);
    while (log->mapped_bytes < end) {
        uint64_t off = log->mapped_bytes;
        uint64_t part_end = MIN_OF(end, (off | (IDS_EXTENT_BYTES - 1)) + 1);
        void *ignored;
        ERR_TRY(io_map(log->file, off, part_end - off, false, log_at(log, off), &ignored, err));
        log->mapped_bytes = part_end;
    }
    return ERR_OK;
}

void ids_confirm(struct ids *ids, struct ids_mark mark)
{
    struct ids_log *log = &ids->log;
    struct err ignored;
    ASSERT(mark.count == log->flushed.mark.count && mark.bytes == log->flushed.mark.bytes);
    log->durable = log->flushed;
    /* Where the system refuses, our copy of the keys stays in memory. */
    (void)!map_until(log, mark.bytes, &ignored);
}

/* ---- opening ---- */

enum err_code ids_log_map(struct ids_log *log, struct io *io, uint64_t bytes, struct err *err)
{
    for (uint64_t off = 0; off < bytes; off += IDS_EXTENT_BYTES) {
        ERR_TRY(extent_room(log, off, err));
    }
    ERR_TRY(map_until(log, bytes, err));
    /* The last page is not whole: new entries go on in it. */
    if (log->mapped_bytes < bytes) {
        uint64_t off = log->mapped_bytes;
        ERR_TRY(io_read(io, log->file, off, log_at(log, off), bytes - off, err));
    }
    log->end = bytes;
    return ERR_OK;
}

struct loading {
    struct ids *ids;
    const struct ids_seal *from;
    ids_entry_fn fn;
    void *arg;
    struct ids_seal at;
    uint8_t *window; /* of the file, from window_off */
    uint64_t window_off, window_end;
};

static enum err_code load_entries(struct loading *loading, const uint8_t *bytes, uint32_t len,
                                  uint32_t count, uint64_t off, struct err *err)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (len - at < IDS_ENTRY_HEAD_BYTES) {
            return err_set(err, ERR_CORRUPT, "entry %" PRIu32 " is malformed", i);
        }
        struct id_entry entry = entry_parse(bytes + at);
        uint64_t whole = entry_bytes(entry.key.len);
        if ((load16(bytes + at) & FRAME_BIT) != 0 || whole > len - at) {
            return err_set(err, ERR_CORRUPT, "entry %" PRIu32 " is malformed", i);
        }
        ERR_TRY(loading->fn(loading->ids, loading->arg, off + at, &entry, err));
        at += (uint32_t)whole;
    }
    if (at != len) {
        return err_set(err, ERR_CORRUPT, "%" PRIu32 " bytes follow the last entry", len - at);
    }
    return loading->fn(loading->ids, loading->arg, off, NULL, err);
}

/* The frame at `off`; what lies in the window before `end` is all there is. */
static enum err_code load_frame(struct loading *loading, uint64_t off, uint64_t end,
                                struct err *err)
{
    if (off > end || end - off < IDS_FRAME_HEAD_BYTES) {
        return err_set(err, ERR_CORRUPT, "no whole header");
    }
    const uint8_t *head = loading->window + (off - loading->window_off);
    uint32_t count = load32(head + 4);
    uint32_t bytes = load32(head + 8);
    uint32_t version = load32(head + 12);
    if (load32(head) != FRAME_MAGIC) {
        return err_set(err, ERR_CORRUPT, "wrong magic");
    }
    if (count == 0 || bytes > IDS_FRAME_BYTES || bytes % ENTRY_ALIGN != 0 ||
        bytes > end - off - IDS_FRAME_HEAD_BYTES) {
        return err_set(err, ERR_CORRUPT,
                       "%" PRIu32 " ids in %" PRIu32 " bytes, with %" PRIu64 " left", count, bytes,
                       end - off - IDS_FRAME_HEAD_BYTES);
    }
    uint64_t chain;
    memcpy(&chain, head + 16, sizeof(chain));
    const uint8_t *entries = head + IDS_FRAME_HEAD_BYTES;
    if (chain != hash64(entries, bytes, hash64(head, 16, loading->at.chain))) {
        return err_set(err, ERR_CORRUPT, "checksum mismatch");
    }
    if (version != 0) {
        return err_set_newer(err, (uint64_t)version + 1, 1);
    }
    if (off >= loading->from->mark.bytes) {
        ERR_TRY(load_entries(loading, entries, bytes, count, off + IDS_FRAME_HEAD_BYTES, err));
    }
    loading->at.mark.count += count;
    loading->at.mark.bytes = off + IDS_FRAME_HEAD_BYTES + bytes;
    loading->at.chain = chain;
    return ERR_OK;
}

/* Zeroes between the last frame of an extent and its end. */
static enum err_code check_gap(const struct loading *loading, uint64_t off, uint64_t end,
                               struct err *err)
{
    for (uint64_t at = off; at < end; at++) {
        if (loading->window[at - loading->window_off] != 0) {
            return err_set(err, ERR_CORRUPT, "bytes between the frames of two extents");
        }
    }
    return ERR_OK;
}

static enum err_code load_next(struct loading *loading, struct io *io, uint64_t end,
                               struct err *err)
{
    uint64_t off = loading->at.mark.bytes;
    uint64_t want = MIN_OF(end, off + 2 * IDS_FRAME_TOTAL_BYTES); /* a gap and a frame */
    if (want > loading->window_end || off < loading->window_off) {
        uint64_t window_end = MIN_OF(end, off + WINDOW_BYTES);
        ERR_TRY(io_read(io, loading->ids->log.file, off, loading->window, window_end - off, err));
        loading->window_off = off;
        loading->window_end = window_end;
    }
    uint64_t place = frame_place(off);
    ERR_TRY(check_gap(loading, off, MIN_OF(place, end), err));
    return load_frame(loading, place, want, err);
}

enum err_code ids_log_load(struct ids *ids, struct io *io, struct ids_mark mark,
                           const struct ids_seal *from, ids_entry_fn fn, void *arg, bool *ret_fits,
                           struct err *err)
{
    CLEANUP(buf_freep) struct buf window = {0};
    struct loading loading = {.ids = ids, .from = from, .fn = fn, .arg = arg};
    loading.window = buf_reserve(&window, WINDOW_BYTES);
    ERR_TRY(buf_check(&window, err));
    bool is_from_seen = false;
    for (;;) {
        uint64_t off = loading.at.mark.bytes;
        if (!is_from_seen && off >= from->mark.bytes) {
            is_from_seen = true;
            if (off != from->mark.bytes || loading.at.mark.count != from->mark.count ||
                loading.at.chain != from->chain) {
                *ret_fits = false;
                return ERR_OK;
            }
        }
        if (off >= mark.bytes) {
            break;
        }
        if (load_next(&loading, io, mark.bytes, err) != ERR_OK) {
            return err_context(err, "id directory \"%s\": at byte %" PRIu64, ids->path, off);
        }
    }
    if (loading.at.mark.count != mark.count) {
        return err_set(err, ERR_CORRUPT,
                       "id directory \"%s\": %" PRIu64 " ids in %" PRIu64
                       " bytes, the catalog says %" PRIu64,
                       ids->path, loading.at.mark.count, mark.bytes, mark.count);
    }
    ASSERT(is_from_seen);
    *ret_fits = true;
    ids->log.sealed = loading.at;
    ids->log.durable = loading.at;
    ids->log.flushed = loading.at;
    return ERR_OK;
}

enum err_code ids_log_measure(struct ids *ids, struct io *io, uint64_t bytes, struct ids_mark *ret,
                              struct err *ret_why, struct err *err)
{
    CLEANUP(buf_freep) struct buf window = {0};
    struct ids_seal never = {.mark.bytes = UINT64_MAX}; /* entries are not looked at */
    struct loading loading = {.ids = ids, .from = &never};
    loading.window = buf_reserve(&window, WINDOW_BYTES);
    ERR_TRY(buf_check(&window, err));
    *ret_why = (struct err){.code = ERR_OK};
    while (loading.at.mark.bytes < bytes) {
        enum err_code code = load_next(&loading, io, bytes, err);
        if (code != ERR_OK && code != ERR_CORRUPT) {
            return err_context(err, "id directory \"%s\"", ids->path);
        }
        if (code != ERR_OK) {
            *ret_why = *err;
            (void)err_context(ret_why, "at byte %" PRIu64, loading.at.mark.bytes);
            break;
        }
    }
    *ret = loading.at.mark;
    return ERR_OK;
}

void ids_log_done(struct ids_log *log)
{
    for (uint32_t i = 0; i < IDS_EXTENTS && log->extents[i] != NULL; i++) {
        (void)munmap(log->extents[i], EXTENT_MAPPED);
    }
    io_close(log->file);
}
