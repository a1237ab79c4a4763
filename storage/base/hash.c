/* storage/base/hash.c - XXH3 from libxxhash. Its results are fixed by specification, so they may be
 * stored; test_hash.c holds published values against it. */
#include "storage/base/hash.h"

#include <xxhash.h>

uint64_t hash64(const void *bytes, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, len, seed);
}

struct hash128 hash128(const void *bytes, size_t len, uint64_t seed)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes, len, seed);
    return (struct hash128){.lo = hash.low64, .hi = hash.high64};
}
