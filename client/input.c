/* client/input.c - see input.h. */
#include "client/input.h"

#include "storage/base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define PACKED_BYTES (256u * 1024)
#define MAGIC_BYTES  4u

enum packing { PACKING_NONE, PACKING_GZIP, PACKING_ZSTD };

struct input {
    char *name;
    int fd;
    enum packing packing;
    uint64_t bytes_read, bytes_total;
    bool is_at_end;    /* of the file */
    bool is_mid_frame; /* the packed stream may not end here */
    z_stream gzip;
    ZSTD_DStream *zstd;
    size_t packed_off, packed_len;
    char packed[PACKED_BYTES];
};

/* More of the file behind what is there; at the end nothing changes but is_at_end. */
static enum err_code fill(struct input *input, struct err *err)
{
    if (input->packed_off == input->packed_len) {
        input->packed_off = input->packed_len = 0;
    }
    ssize_t got = 0;
    do {
        got = read(input->fd, input->packed + input->packed_len,
                   sizeof(input->packed) - input->packed_len);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return err_set_errno(err, errno, "reading \"%s\"", input->name);
    }
    input->is_at_end = got == 0;
    input->packed_len += (size_t)got;
    input->bytes_read += (uint64_t)got;
    return ERR_OK;
}

static enum err_code detect(struct input *input, struct err *err)
{
    static const unsigned char gzip_magic[2] = {0x1f, 0x8b};
    static const unsigned char zstd_magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    while (input->packed_len < MAGIC_BYTES && !input->is_at_end) {
        ERR_TRY(fill(input, err));
    }
    if (input->packed_len >= sizeof(gzip_magic) &&
        memcmp(input->packed, gzip_magic, sizeof(gzip_magic)) == 0) {
        if (inflateInit2(&input->gzip, 15 + 16) != Z_OK) { /* 16: gzip, not zlib */
            return err_set(err, ERR_NOMEM, "out of memory: unpacking \"%s\"", input->name);
        }
        input->packing = PACKING_GZIP;
    } else if (input->packed_len >= sizeof(zstd_magic) &&
               memcmp(input->packed, zstd_magic, sizeof(zstd_magic)) == 0) {
        input->zstd = ZSTD_createDStream();
        if (input->zstd == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory: unpacking \"%s\"", input->name);
        }
        input->packing = PACKING_ZSTD;
    }
    return ERR_OK;
}

enum err_code input_open(const char *path, struct input **ret, struct err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    struct stat stat;
    CLEANUP(input_closep) struct input *input = calloc(1, sizeof(*input));
    if (input == NULL || (input->name = strdup(is_stdin ? "standard input" : path)) == NULL) {
        free(TAKE(input));
        return err_set(err, ERR_NOMEM, "out of memory: reading \"%s\"", path);
    }
    input->fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (input->fd < 0) {
        return err_set_errno(err, errno, "cannot open \"%s\"", input->name);
    }
    if (fstat(input->fd, &stat) == 0) {
        if (S_ISDIR(stat.st_mode)) {
            return err_set(err, ERR_INVALID, "\"%s\" is a folder; name the files in it", path);
        }
        input->bytes_total = S_ISREG(stat.st_mode) ? (uint64_t)stat.st_size : 0;
    }
    ERR_TRY(detect(input, err));
    *ret = TAKE(input);
    return ERR_OK;
}

void input_close(struct input *input)
{
    if (input == NULL) {
        return;
    }
    if (input->packing == PACKING_GZIP) {
        inflateEnd(&input->gzip);
    }
    ZSTD_freeDStream(input->zstd);
    if (input->fd >= 0) {
        close(input->fd);
    }
    free(input->name);
    free(input);
}

const char *input_name(const struct input *input)
{
    return input->name;
}

uint64_t input_bytes_read(const struct input *input)
{
    return input->bytes_read;
}

uint64_t input_bytes_total(const struct input *input)
{
    return input->bytes_total;
}

/* One round of gzip; members may follow each other, as `cat a.gz b.gz` makes them. */
static enum err_code unpack_gzip(struct input *input, char *out, size_t cap, size_t *ret_len,
                                 struct err *err)
{
    z_stream *gzip = &input->gzip;
    gzip->next_in = (Bytef *)(input->packed + input->packed_off);
    gzip->avail_in = (uInt)(input->packed_len - input->packed_off);
    gzip->next_out = (Bytef *)out;
    gzip->avail_out = (uInt)MIN_OF(cap, (size_t)1 << 30);
    uInt room = gzip->avail_out;
    int code = inflate(gzip, Z_NO_FLUSH);
    input->packed_off = input->packed_len - gzip->avail_in;
    *ret_len = room - gzip->avail_out;
    input->is_mid_frame = code != Z_STREAM_END;
    if (code == Z_STREAM_END) {
        inflateReset(gzip);
        return ERR_OK;
    }
    if (code != Z_OK && code != Z_BUF_ERROR) {
        return err_set(err, ERR_CORRUPT, "\"%s\": damaged gzip data before byte %" PRIu64,
                       input->name, input->bytes_read);
    }
    return ERR_OK;
}

static enum err_code unpack_zstd(struct input *input, char *out, size_t cap, size_t *ret_len,
                                 struct err *err)
{
    ZSTD_inBuffer in = {input->packed, input->packed_len, input->packed_off};
    ZSTD_outBuffer to = {out, cap, 0};
    size_t code = ZSTD_decompressStream(input->zstd, &to, &in);
    input->packed_off = in.pos;
    *ret_len = to.pos;
    if (ZSTD_isError(code)) {
        return err_set(err, ERR_CORRUPT, "\"%s\": damaged zstd data before byte %" PRIu64 ": %s",
                       input->name, input->bytes_read, ZSTD_getErrorName(code));
    }
    input->is_mid_frame = code != 0;
    return ERR_OK;
}

enum err_code input_read(struct input *input, char *out, size_t cap, size_t *ret_len,
                         struct err *err)
{
    size_t got = 0;
    for (;;) {
        size_t ready = input->packed_len - input->packed_off;
        if (input->packing == PACKING_NONE) {
            got = MIN_OF(cap, ready);
            memcpy(out, input->packed + input->packed_off, got);
            input->packed_off += got;
        } else if (ready > 0 || input->is_mid_frame) { /* what is unpacked may still wait inside */
            ERR_TRY(input->packing == PACKING_GZIP ? unpack_gzip(input, out, cap, &got, err)
                                                   : unpack_zstd(input, out, cap, &got, err));
        }
        if (got > 0) {
            *ret_len = got;
            return ERR_OK;
        }
        if (input->packed_off < input->packed_len && !input->is_mid_frame) {
            continue; /* the next member, or an empty frame */
        }
        if (input->is_at_end) {
            if (input->is_mid_frame) {
                return err_set(err, ERR_CORRUPT,
                               "\"%s\" ends in the middle of its packed data, after %" PRIu64
                               " bytes; is the copy complete?",
                               input->name, input->bytes_read);
            }
            *ret_len = 0;
            return ERR_OK;
        }
        if (input->packed_off == input->packed_len) {
            ERR_TRY(fill(input, err));
        }
    }
}
