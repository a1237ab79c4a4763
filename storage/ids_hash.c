/* storage/ids_hash.c - ids.hash: the table of the id directory as it was at a clean stop.
 *
 *    offset   bytes   field          rule
 *         0       4   magic          "TIDH"
 *         4       4   version        1
 *         8       8   seed           of the data set: what the keys were hashed with
 *        16       8   count          entries of ids.log that it stands for
 *        24       8   bytes          bytes of ids.log that these take
 *        32       8   chain          checksum of the last frame in them (ids_log.c)
 *        40       4   sub_count      sub-tables, at least 1
 *        44       4   sample_count   one for every 256 entries begun
 *        48       8   page_count     pages of slots
 *        56      64   subjects       u32 for each shard: numbers taken
 *       120       8   slots_check    XXH3-64 of each sub-table's pages, seeded with the one before
 *       128       8   tail_check     XXH3-64 of all that follows the pages of slots
 *       136       8   facts          entries among them that are bindings and merges (ids.h); files from before there were any
 *                                     have 0 there
 *       144    3944   zero
 *      4088       8   checksum       XXH3-64 of bytes 0 .. 4088
 *      4096           the pages of sub-table 0, 1, 2 … (slots: see ids_table.c)
 *                     sub_count times   u32 pages (1 .. 255), u32 slots in use
 *                     sample_count times   u64 where entry 256 k is in ids.log, then 16 x u32:
 *                                     numbers taken in each shard before it
 *
 * Integers are little-endian. The file is written under a temporary name, synced and renamed, and
 * is never changed afterwards: it is mapped copy-on-write, so that after a crash it still is what
 * it says. That it is right follows from its checksums, and that it belongs to this ids.log from
 * `chain`, which depends on every byte before it. Anything wrong in it: the keys are hashed again.
 */
#include "storage/ids_int.h"

#include "storage/base/rd.h"

#include <stdlib.h>

#define HASH_MAGIC     0x48444954u /* "TIDH" */
#define HASH_VERSION   1u
#define CHECKSUM_OFF   (IDS_PAGE_BYTES - 8)
#define SUB_TAIL_BYTES 8u
#define SAMPLE_BYTES   (8u + 4u * SHARD_COUNT)
#define HASH_PAGES_MAX ((uint64_t)1 << 26) /* 256 GiB: more than the log could need */
#define WRITE_BYTES    ((size_t)4 << 20)
#define SUB_SLOTS_MAX  (IDS_SUB_PAGES_MAX * IDS_SLOTS_PER_PAGE)

struct head {
    struct ids_seal stands_for;
    uint32_t sub_count, sample_count;
    uint64_t page_count;
    uint32_t subjects[SHARD_COUNT];
    uint64_t slots_check, tail_check;
    uint64_t facts;
};

static uint64_t tail_off(const struct head *head)
{
    return IDS_PAGE_BYTES * (head->page_count + 1);
}

static uint64_t tail_bytes(const struct head *head)
{
    return (uint64_t)head->sub_count * SUB_TAIL_BYTES + (uint64_t)head->sample_count * SAMPLE_BYTES;
}

/* ---- reading ---- */

static bool head_parse(const uint8_t *bytes, uint64_t seed, uint64_t file_bytes, struct head *ret)
{
    struct rd rd = rd_init((struct str){(const char *)bytes, IDS_PAGE_BYTES});
    uint32_t magic = rd_u32(&rd);
    uint32_t version = rd_u32(&rd);
    uint64_t file_seed = rd_u64(&rd);
    struct head head = {.page_count = 0};
    head.stands_for.mark.count = rd_u64(&rd);
    head.stands_for.mark.bytes = rd_u64(&rd);
    head.stands_for.chain = rd_u64(&rd);
    head.sub_count = rd_u32(&rd);
    head.sample_count = rd_u32(&rd);
    head.page_count = rd_u64(&rd);
    uint64_t count = 0;
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        head.subjects[i] = rd_u32(&rd);
        count += head.subjects[i];
    }
    head.slots_check = rd_u64(&rd);
    head.tail_check = rd_u64(&rd);
    head.facts = rd_u64(&rd);
    rd_skip(&rd, CHECKSUM_OFF - rd.off);
    uint64_t samples =
        (head.stands_for.mark.count + (1u << IDS_SAMPLE_BITS) - 1) >> IDS_SAMPLE_BITS;
    if (magic != HASH_MAGIC || version != HASH_VERSION || file_seed != seed ||
        rd_u64(&rd) != checksum64(bytes, CHECKSUM_OFF) || head.page_count > HASH_PAGES_MAX ||
        head.sub_count == 0 || head.sub_count > head.page_count || head.sample_count != samples ||
        count != head.stands_for.mark.count || head.facts > count ||
        head.stands_for.mark.bytes >> IDS_LOG_BITS != 0 ||
        file_bytes != tail_off(&head) + tail_bytes(&head)) {
        return false;
    }
    *ret = head;
    return true;
}

/* One sub-table of the mapping: its slots name places in the part of the log that it stands for. */
static bool slots_hold(const uint64_t *slots, uint32_t slot_count, uint32_t used, uint64_t end_off)
{
    uint32_t found = 0;
    uint64_t largest = 0;
    for (uint32_t i = 0; i < slot_count; i++) {
        uint64_t off = ids_slot_off(slots[i]);
        found += slots[i] != 0;
        largest = MAX_OF(largest, off);
    }
    return found == used && used < slot_count && largest < MAX_OF(end_off, 1u);
}

static enum err_code load_subs(struct ids *ids, struct io *io, struct io_file *file,
                               const struct head *head, struct rd *tail, bool *ret_holds,
                               struct err *err)
{
    CLEANUP(buf_freep) struct buf slots = {0};
    struct ids_table *table = &ids->table;
    uint64_t page = 0;
    uint64_t check = 0;
    uint64_t used_all = 0;
    *ret_holds = false;
    if (buf_reserve(&slots, SUB_SLOTS_MAX * sizeof(uint64_t)) == NULL) {
        return ids_no_memory(err);
    }
    for (uint32_t i = 0; i < head->sub_count; i++) {
        uint32_t pages = rd_u32(tail);
        uint32_t used = rd_u32(tail);
        if (pages == 0 || pages > IDS_SUB_PAGES_MAX || pages > head->page_count - page) {
            return ERR_OK;
        }
        size_t bytes = (size_t)pages * IDS_PAGE_BYTES;
        uint64_t off = IDS_PAGE_BYTES * (page + 1);
        ERR_TRY(io_read(io, file, off, slots.ptr, bytes, err));
        check = hash64(slots.ptr, bytes, check);
        if (!slots_hold((const uint64_t *)(const void *)slots.ptr,
                        pages * (uint32_t)IDS_SLOTS_PER_PAGE, used, head->stands_for.mark.bytes)) {
            return ERR_OK;
        }
        ERR_TRY(ids_sub_room(table, i, err));
        ids_sub_place(table, i, table->file_map + off, pages, used);
        page += pages;
        used_all += used;
    }
    table->used = used_all;
    atomic_store(&table->sub_count, head->sub_count);
    *ret_holds = page == head->page_count && check == head->slots_check &&
                 used_all == head->stands_for.mark.count;
    return ERR_OK;
}

static enum err_code load_samples(struct ids *ids, const struct head *head, struct rd *tail,
                                  bool *ret_holds, struct err *err)
{
    *ret_holds = false;
    for (uint32_t i = 0; i < head->sample_count; i++) {
        ERR_TRY(ids_sample_room(ids, i, err));
        struct ids_sample *sample = ids_sample_at(ids, i);
        sample->off = rd_u64(tail);
        if (sample->off >= head->stands_for.mark.bytes) {
            return ERR_OK;
        }
        for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
            sample->subjects[shard] = rd_u32(tail);
        }
    }
    *ret_holds = rd_at_end(tail);
    return ERR_OK;
}

static enum err_code load(struct ids *ids, struct io *io, struct io_file *file,
                          struct ids_mark mark, struct head *ret, bool *ret_holds, struct err *err)
{
    CLEANUP(buf_freep) struct buf tail = {0};
    uint8_t head_bytes[IDS_PAGE_BYTES];
    uint64_t file_bytes = 0;
    struct head head;
    *ret_holds = false;
    ERR_TRY(io_size(io, file, &file_bytes, err));
    if (file_bytes < IDS_PAGE_BYTES) {
        return ERR_OK;
    }
    ERR_TRY(io_read(io, file, 0, head_bytes, sizeof(head_bytes), err));
    if (!head_parse(head_bytes, ids->seed, file_bytes, &head) ||
        head.stands_for.mark.count > mark.count || head.stands_for.mark.bytes > mark.bytes) {
        return ERR_OK;
    }
    size_t tail_len = (size_t)tail_bytes(&head);
    if (buf_reserve(&tail, tail_len) == NULL) {
        return ids_no_memory(err);
    }
    ERR_TRY(io_read(io, file, tail_off(&head), tail.ptr, tail_len, err));
    if (checksum64(tail.ptr, tail_len) != head.tail_check) {
        return ERR_OK;
    }
    void *map = NULL;
    size_t map_bytes = (size_t)tail_off(&head);
    ERR_TRY(io_map(file, 0, map_bytes, true, NULL, &map, err));
    ids->table.file_map = map;
    ids->table.file_bytes = map_bytes;
    struct rd rd = rd_init((struct str){(const char *)tail.ptr, tail_len});
    ERR_TRY(load_subs(ids, io, file, &head, &rd, ret_holds, err));
    if (*ret_holds) {
        ERR_TRY(load_samples(ids, &head, &rd, ret_holds, err));
    }
    *ret = head;
    return ERR_OK;
}

enum err_code ids_hash_load(struct ids *ids, struct io *io, struct ids_mark mark,
                            struct ids_seal *ret, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    struct head head = {.page_count = 0};
    bool holds = false;
    char *path = ids_path_beside(ids, ".hash");
    if (path == NULL) {
        return ids_no_memory(err);
    }
    enum err_code code = io_open(io, path, IO_READ, &file, err);
    if (code == ERR_OK) {
        code = load(ids, io, file, mark, &head, &holds, err);
    }
    free(path);
    if (code == ERR_NOMEM) {
        return code;
    }
    if (code != ERR_OK || !holds) { /* unreadable is as good as damaged: it can be made again */
        ids_table_done(&ids->table);
        *ret = (struct ids_seal){.chain = 0};
        return ERR_OK;
    }
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        atomic_store(&ids->subjects[i], head.subjects[i]);
    }
    atomic_store(&ids->count, head.stands_for.mark.count);
    atomic_store(&ids->facts, head.facts);
    ids->saved_bytes = head.stands_for.mark.bytes;
    *ret = head.stands_for;
    return ERR_OK;
}

/* ---- writing ---- */

struct saving {
    struct ids *ids;
    struct io *io;
    struct io_file *file;
    struct buf out; /* not yet written, from `off` */
    uint64_t off;
    struct head head;
};

static enum err_code write_out(struct saving *saving, struct err *err)
{
    ERR_TRY(buf_check(&saving->out, err));
    ERR_TRY(io_write(saving->io, saving->file, saving->off, saving->out.ptr, saving->out.len, err));
    saving->off += saving->out.len;
    buf_clear(&saving->out);
    return ERR_OK;
}

/* The sub-tables without what the log does not hold durably: that comes back from the WAL. */
static enum err_code save_subs(struct saving *saving, struct buf *tail, struct err *err)
{
    const struct ids_table *table = &saving->ids->table;
    for (uint32_t i = 0; i < saving->head.sub_count; i++) {
        uint32_t pages = ids_sub_pages(table, i);
        size_t bytes = (size_t)pages * IDS_PAGE_BYTES;
        uint8_t *at = buf_reserve(&saving->out, bytes);
        if (at == NULL) {
            return ids_no_memory(err);
        }
        memset(at, 0, bytes);
        uint32_t used =
            ids_sub_copy(table, i, saving->head.stands_for.mark.bytes, (uint64_t *)(void *)at);
        saving->head.slots_check = hash64(at, bytes, saving->head.slots_check);
        saving->head.page_count += pages;
        saving->out.len += bytes;
        buf_u32(tail, pages);
        buf_u32(tail, used);
        if (saving->out.len >= WRITE_BYTES) {
            ERR_TRY(write_out(saving, err));
        }
    }
    return write_out(saving, err);
}

static void save_samples(struct saving *saving, struct buf *tail)
{
    uint64_t count = saving->head.stands_for.mark.count;
    uint64_t sample_count = (count + (1u << IDS_SAMPLE_BITS) - 1) >> IDS_SAMPLE_BITS;
    saving->head.sample_count = (uint32_t)sample_count;
    for (uint64_t i = 0; i < sample_count; i++) {
        const struct ids_sample *sample = ids_sample_at(saving->ids, i);
        buf_u64(tail, sample->off);
        for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
            buf_u32(tail, sample->subjects[shard]);
        }
    }
}

/* Numbers taken among the first `count` entries. */
static void subjects_at(const struct ids *ids, uint64_t count, uint32_t out[SHARD_COUNT])
{
    struct id_entry entry;
    uint64_t first = count & ~(uint64_t)((1u << IDS_SAMPLE_BITS) - 1);
    if (first == count) {
        first = MAX_OF(first, 1u << IDS_SAMPLE_BITS) - (1u << IDS_SAMPLE_BITS);
    }
    memset(out, 0, SHARD_COUNT * sizeof(out[0]));
    if (count == 0) {
        return;
    }
    memcpy(out, ids_sample_at(ids, first >> IDS_SAMPLE_BITS)->subjects,
           SHARD_COUNT * sizeof(out[0]));
    struct id_cursor cursor = ids_cursor(ids, first);
    while (cursor.idx < count && id_cursor_next(&cursor, &entry)) {
        out[entry.shard]++;
    }
}

/* Of the first `count` entries: of all there are, less those behind. */
static uint64_t facts_at(const struct ids *ids, uint64_t count)
{
    struct id_entry entry;
    struct id_cursor cursor = ids_cursor(ids, count);
    uint64_t facts = ids_facts(ids);
    while (id_cursor_next(&cursor, &entry)) {
        facts -= id_kind_is_fact(entry.kind);
    }
    return facts;
}

static enum err_code save(struct saving *saving, struct err *err)
{
    CLEANUP(buf_freep) struct buf tail = {0};
    CLEANUP(buf_freep) struct buf page = {0};
    struct head *head = &saving->head;
    saving->off = IDS_PAGE_BYTES;
    ERR_TRY(save_subs(saving, &tail, err));
    save_samples(saving, &tail);
    ERR_TRY(buf_check(&tail, err));
    head->tail_check = checksum64(tail.ptr, tail.len);
    ERR_TRY(io_write(saving->io, saving->file, saving->off, tail.ptr, tail.len, err));

    buf_u32(&page, HASH_MAGIC);
    buf_u32(&page, HASH_VERSION);
    buf_u64(&page, saving->ids->seed);
    buf_u64(&page, head->stands_for.mark.count);
    buf_u64(&page, head->stands_for.mark.bytes);
    buf_u64(&page, head->stands_for.chain);
    buf_u32(&page, head->sub_count);
    buf_u32(&page, head->sample_count);
    buf_u64(&page, head->page_count);
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        buf_u32(&page, head->subjects[i]);
    }
    buf_u64(&page, head->slots_check);
    buf_u64(&page, head->tail_check);
    buf_u64(&page, head->facts);
    buf_align(&page, IDS_PAGE_BYTES);
    ERR_TRY(buf_check(&page, err));
    wr_u64(page.ptr + CHECKSUM_OFF, checksum64(page.ptr, CHECKSUM_OFF));
    ERR_TRY(io_write(saving->io, saving->file, 0, page.ptr, page.len, err));
    return io_sync(saving->io, saving->file, err);
}

static enum err_code save_as(struct saving *saving, const char *path, const char *temporary,
                             struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    char dir[4096];
    const char *slash = strrchr(path, '/');
    size_t dir_len = slash == NULL ? 1 : MAX_OF((size_t)(slash - path), (size_t)1);
    if (dir_len >= sizeof(dir)) {
        return err_set(err, ERR_INVALID, "path \"%s\" is too long", path);
    }
    memcpy(dir, slash == NULL ? "." : path, dir_len);
    dir[dir_len] = '\0';
    ERR_TRY(io_open(saving->io, temporary, IO_CREATE, &file, err));
    saving->file = file;
    ERR_TRY(save(saving, err));
    ERR_TRY(io_rename(saving->io, temporary, path, err));
    return io_sync_dir(saving->io, dir, err);
}

enum err_code ids_save(struct ids *ids, struct io *io, struct err *err)
{
    struct saving saving = {.ids = ids, .io = io};
    saving.head.stands_for = ids->log.durable;
    saving.head.sub_count = atomic_load(&ids->table.sub_count);
    if (saving.head.sub_count == 0 || ids->log.durable.mark.bytes == ids->saved_bytes) {
        return ERR_OK;
    }
    subjects_at(ids, ids->log.durable.mark.count, saving.head.subjects);
    saving.head.facts = facts_at(ids, ids->log.durable.mark.count);
    char *path = ids_path_beside(ids, ".hash");
    char *temporary = ids_path_beside(ids, ".hash.new");
    enum err_code code = path == NULL || temporary == NULL ? ids_no_memory(err)
                                                           : save_as(&saving, path, temporary, err);
    buf_done(&saving.out);
    free(path);
    free(temporary);
    if (code == ERR_OK) {
        ids->saved_bytes = ids->log.durable.mark.bytes;
    }
    return code;
}
