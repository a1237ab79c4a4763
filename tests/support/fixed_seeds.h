/* tests/support/fixed_seeds.h - the same "random" seeds in each run: the same users in the same shards, and segments of
 * known names. For programs that are linked with --wrap=rng_system.
 *
 * Thread: any.
 */
#pragma once

#include <stdint.h>

void fixed_seeds(uint64_t seed);
