/* server/gzip.c - see gzip.h. zlib counts in unsigned int, so long runs go in slices. */
#include "server/gzip.h"

#include "storage/base/size.h"

#include <limits.h>
#include <zlib.h>

#define GZIP_WINDOW_BITS  (15 + 16) /* the largest window; 16 asks zlib for the gzip wrapper */
#define GZIP_LEVEL        3         /* level 6 takes twice the time for JSON 10 % smaller */
#define GZIP_MEMORY_LEVEL 8
#define GZIP_STEP_BYTES   (256u * 1024u)

static void inflate_endp(z_stream *stream)
{
    (void)inflateEnd(stream); /* fails only for a stream that was never begun */
}

static void deflate_endp(z_stream *stream)
{
    (void)deflateEnd(stream);
}

/* Give the stream the next slice of what is left. */
static void stream_feed(z_stream *stream, struct str *left)
{
    size_t slice = MIN_OF(left->len, (size_t)UINT_MAX);
    /* zlib's next_in lacks a const that ZLIB_CONST would add to every user of the header. */
    memcpy(&stream->next_in, &left->ptr, sizeof(left->ptr));
    stream->avail_in = (uInt)slice;
    *left = (struct str){left->ptr + slice, left->len - slice};
}

enum err_code gzip_inflate(struct str body, size_t bytes_max, struct buf *out, struct err *err)
{
    CLEANUP(inflate_endp) z_stream stream = {0};
    if (inflateInit2(&stream, GZIP_WINDOW_BITS) != Z_OK) {
        return err_set(err, ERR_NOMEM, "out of memory: gzip");
    }
    struct str left = body;
    size_t begin = out->len;
    bool is_whole = false; /* a member just ended */
    while (!is_whole || stream.avail_in > 0 || left.len > 0) {
        if (stream.avail_in == 0) {
            stream_feed(&stream, &left);
        }
        if (is_whole) {
            if (inflateReset(&stream) != Z_OK) {
                return err_set(err, ERR_INVALID, "gzip body: broken after its end");
            }
            is_whole = false;
        }
        /* One byte over the bound tells "exactly full" from "more to come". */
        size_t room = MIN_OF(bytes_max + 1 - (out->len - begin), (size_t)GZIP_STEP_BYTES);
        uint8_t *at = buf_reserve(out, room + BODY_PADDING_BYTES);
        if (at == NULL) {
            return buf_check(out, err);
        }
        stream.next_out = at;
        stream.avail_out = (uInt)room;
        int code = inflate(&stream, Z_NO_FLUSH);
        out->len += room - stream.avail_out;
        if (out->len - begin > bytes_max) {
            return err_set(err, ERR_LIMIT, "gzip body inflates to more than %zu bytes", bytes_max);
        }
        if (code == Z_BUF_ERROR && stream.avail_in == 0 && left.len == 0) {
            return err_set(err, ERR_INVALID, "gzip body of %zu bytes is cut off", body.len);
        }
        is_whole = code == Z_STREAM_END;
        if (!is_whole && code != Z_OK && code != Z_BUF_ERROR) {
            return err_set(err, code == Z_MEM_ERROR ? ERR_NOMEM : ERR_INVALID,
                           "gzip body: byte %zu: %s", body.len - left.len - stream.avail_in,
                           stream.msg == NULL ? "not gzip data" : stream.msg);
        }
    }
    uint8_t *padding = buf_reserve(out, BODY_PADDING_BYTES);
    if (padding == NULL) {
        return buf_check(out, err);
    }
    memset(padding, 0, BODY_PADDING_BYTES);
    return ERR_OK;
}

enum err_code gzip_deflate(struct str body, struct buf *out, struct err *err)
{
    CLEANUP(deflate_endp) z_stream stream = {0};
    if (deflateInit2(&stream, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return err_set(err, ERR_NOMEM, "out of memory: gzip");
    }
    struct str left = body;
    int code = Z_OK;
    while (code != Z_STREAM_END) {
        if (stream.avail_in == 0) {
            stream_feed(&stream, &left);
        }
        uint8_t *at = buf_reserve(out, GZIP_STEP_BYTES);
        if (at == NULL) {
            return buf_check(out, err);
        }
        stream.next_out = at;
        stream.avail_out = GZIP_STEP_BYTES;
        code = deflate(&stream, left.len == 0 ? Z_FINISH : Z_NO_FLUSH);
        ASSERT(code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR);
        out->len += GZIP_STEP_BYTES - stream.avail_out;
    }
    return ERR_OK;
}
