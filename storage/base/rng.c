/* storage/base/rng.c - xoshiro256** 1.0, and getrandom.
 *
 * The state is filled by splitmix64, as its authors advise: similar seeds give unrelated streams,
 * and the all-zero state, from which the generator never leaves, cannot come out. */
#include "storage/base/rng.h"

#include <errno.h>
#include <sys/random.h>

static uint64_t rng_rotl(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

struct rng rng_init(uint64_t seed)
{
    struct rng rng;
    for (size_t i = 0; i < COUNT_OF(rng.s); i++) {
        seed += 0x9e3779b97f4a7c15ULL;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        rng.s[i] = z ^ (z >> 31);
    }
    return rng;
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rng_rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rng_rotl(s[3], 45);
    return result;
}

/* D. Lemire, "Fast random integer generation in an interval", 2019: the high half of a 128-bit
 * product; the few low halves that would make some values likelier are drawn again. */
uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    ASSERT(bound >= 1);
    __uint128_t product = (__uint128_t)rng_next(rng) * bound;
    if ((uint64_t)product < bound) {
        uint64_t uneven = (0 - bound) % bound; /* 2^64 mod bound */
        while ((uint64_t)product < uneven) {
            product = (__uint128_t)rng_next(rng) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}

double rng_unit(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

enum err_code rng_system(void *out, size_t len, struct err *err)
{
    uint8_t *at = out;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return err_set_errno(err, errno, "random bytes from the kernel");
        }
        at += got;
        len -= (size_t)got;
    }
    return ERR_OK;
}
