/* Every run of event ids that a folder can hold: a whole one with bytes changed, four bytes of input for each (two of
 * place, the value, whether to put or to add it), and all checksums made to fit. Looking up and walking through it stays
 * within the file, and what is found is a place that can be. */
#include "storage/known_run.h"

#include "storage/base/rd.h"
#include "tests/fuzz/damage.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES    3000u
#define FILE_BYTES 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t whole[FILE_BYTES];
static size_t whole_bytes;
static char path[64];
static struct io *io;

static void must(enum err_code code)
{
    if (code != ERR_OK) {
        abort();
    }
}

static void make_whole(void)
{
    struct err err;
    struct known_run_writer *writer = NULL;
    struct known_run_info info;
    snprintf(path, sizeof(path), "/dev/shm/trackway-fuzz-%ld.run", (long)getpid());
    must(io_create(IO_POSIX, &io, &err));
    must(known_run_create(io, path, ENTRIES, 100000, 0, &writer, &err));
    for (uint32_t i = 0; i < ENTRIES; i++) {
        const uint64_t step = (UINT64_C(1) << KNOWN_KEY_BITS) / ENTRIES;
        struct known_entry entry = {.key = i / 2 * 2 * step, .place = {i % 16, i, i}};
        must(known_run_add(writer, &entry, &err));
    }
    must(known_run_finish(writer, 5, 9, &info, &err));
    known_run_abandon(writer);
    FILE *file = fopen(path, "rb");
    whole_bytes = file == NULL ? 0 : fread(whole, 1, sizeof(whole), file);
    if (whole_bytes == 0 || whole_bytes == sizeof(whole)) {
        abort();
    }
    fclose(file);
}

static uint64_t read64(const uint8_t *at)
{
    uint64_t v = 0;
    memcpy(&v, at, sizeof(v));
    return v;
}

/* Pages where the directory says, directory, header: as far as they lie within the file. */
static void seal(uint8_t *bytes)
{
    uint64_t directory = read64(bytes + 40);
    uint64_t count = bytes[16] < 12 ? UINT64_C(1) << bytes[16] : 0;
    if (directory <= whole_bytes && (count + 1) * 4 <= whole_bytes - directory) {
        for (uint64_t page = 0; page < count; page++) {
            uint32_t ends[2];
            memcpy(ends, bytes + directory + page * 4, sizeof(ends));
            uint64_t begin = (uint64_t)ends[0] * 8;
            uint64_t end = (uint64_t)ends[1] * 8;
            if (begin >= 64 && begin + 16 <= end && end <= whole_bytes) {
                wr_u64(bytes + begin, checksum64(bytes + begin + 8, (size_t)(end - begin) - 8));
            }
        }
        wr_u64(bytes + 48, checksum64(bytes + directory, (size_t)(count + 1) * 4));
    }
    wr_u64(bytes + 56, checksum64(bytes, 56));
}

static void use(const struct known_run *run, const uint8_t *data, size_t len)
{
    struct err err;
    struct known_place places[8];
    uint64_t keys[KNOWN_PROBE_MAX];
    uint32_t bits = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < KNOWN_PROBE_MAX; i++) {
        keys[i] = hash64(data, len, i) >> (64 - KNOWN_KEY_BITS);
        if (known_run_find(run, keys[i], places, 8, &count, &err) == ERR_OK) {
            for (uint32_t k = 0; k < count; k++) {
                if (places[k].shard >= 16 || places[k].subject_first > places[k].subject_last) {
                    abort();
                }
            }
        }
    }
    (void)!known_run_probe(run, keys, KNOWN_PROBE_MAX, &bits, &err);
    (void)!known_run_verify(run, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t bytes[FILE_BYTES];
    struct err err;
    struct known_run *run = NULL;
    if (whole_bytes == 0) {
        make_whole();
    }
    memcpy(bytes, whole, whole_bytes);
    damage(bytes, whole_bytes, data, len);
    seal(bytes);
    damage_write(path, bytes, whole_bytes);
    if (known_run_open(io, path, 1, &run, &err) == ERR_OK) {
        use(run, data, len);
    }
    known_run_unref(run);
    return 0;
}
