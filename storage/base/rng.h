/* storage/base/rng.h - deterministic random numbers (xoshiro256**, seeded by splitmix64), and real ones.
 *
 * Source: D. Blackman, S. Vigna, "Scrambled linear pseudorandom number generators", 2018. */
#pragma once

#include "storage/base/err.h"

struct rng {
    uint64_t s[4];
};

struct rng rng_init(uint64_t seed);
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t bound); /* uniform in [0, bound); bound >= 1 */
double rng_unit(struct rng *rng);                    /* uniform in [0, 1) */
/* Bytes from the kernel (getrandom), for seeds and fresh ids. */
enum err_code rng_system(void *out, size_t len, struct err *err) ERR_MUST_CHECK;
