/* client/input.h - a file or standard input, unpacked on the way if it is gzip or zstd.
 *
 * What it is packed with is read off its first bytes, not off its name.
 *
 * Thread: one owner. Errors: ERR_NOT_FOUND, ERR_IO; ERR_CORRUPT where the packed stream is damaged or
 * ends early (what came before was delivered).
 */
#pragma once

#include "storage/base/err.h"

struct input;
/* "-" is standard input. */
enum err_code input_open(const char *path, struct input **ret, struct err *err) ERR_MUST_CHECK;
void input_close(struct input *input);
static inline void input_closep(struct input **input)
{
    input_close(*input);
}
/* Up to `cap` bytes; *ret_len 0 at the end. */
enum err_code input_read(struct input *input, char *out, size_t cap, size_t *ret_len,
                         struct err *err) ERR_MUST_CHECK;
const char *input_name(const struct input *input);
uint64_t input_bytes_read(const struct input *input);  /* of the file as it lies there */
uint64_t input_bytes_total(const struct input *input); /* 0: not known */
