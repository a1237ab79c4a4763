/* storage/base/hash.h - the two hashes of this tree: XXH3 (libxxhash), 64 and 128 bits.
 *
 * Checksums on disk are XXH3-64 with seed 0. Hashes that decide anything about foreign keys
 * (event ids, group keys) take the data set's or the process's random seed, so that nobody outside
 * can prepare collisions. */
#pragma once

#include "storage/base/str.h"

struct hash128 {
    uint64_t lo;
    uint64_t hi;
};

uint64_t hash64(const void *bytes, size_t len, uint64_t seed);
struct hash128 hash128(const void *bytes, size_t len, uint64_t seed);
static inline uint64_t hash_str(struct str s, uint64_t seed)
{
    return hash64(s.ptr, s.len, seed);
}
static inline uint64_t checksum64(const void *bytes, size_t len)
{
    return hash64(bytes, len, 0);
}
/* A cheap bijective mix of 64 bits (splitmix64's finaliser), for integer keys. */
static inline uint64_t hash_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}
