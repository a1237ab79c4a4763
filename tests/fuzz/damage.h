/* tests/fuzz/damage.h - what the fuzzer says, done to a whole file.
 *
 * Four bytes are one damage: a place, and a byte that is put there or added. So inputs stay near the format, whose checksums
 * the target mends before it writes.
 *
 * Thread: one.
 */
#pragma once

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

static inline void damage(uint8_t *bytes, size_t count, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i + 4 <= len; i += 4) {
        size_t at = ((size_t)data[i] | (size_t)data[i + 1] << 8) % count;
        bytes[at] = (uint8_t)(data[i + 3] % 2 == 0 ? data[i + 2] : bytes[at] + data[i + 2]);
    }
}

/* Over the file, which is there and as long. */
static inline void damage_write(const char *path, const uint8_t *bytes, size_t count)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, bytes, count, 0) != (ssize_t)count) {
        abort();
    }
    close(fd);
}
