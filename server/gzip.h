/* server/gzip.h - gzip bodies in both directions (zlib).
 *
 * Thread: pure functions. */
#pragma once

#include "storage/base/buf.h"

#define BODY_PADDING_BYTES                                                                         \
    64u /* zero bytes that stand after every body, for wide loads of parsers */

/* Inflate `body` (RFC 1952, one member or several) into `out`, padding uncounted after it.
 * ERR_LIMIT above bytes_max, and no more than that is ever allocated; ERR_INVALID for a broken or
 * cut-off body. */
enum err_code gzip_inflate(struct str body, size_t bytes_max, struct buf *out,
                           struct err *err) ERR_MUST_CHECK;
/* Deflate `body` into `out`, at a level for answers made on the fly. */
enum err_code gzip_deflate(struct str body, struct buf *out, struct err *err) ERR_MUST_CHECK;
