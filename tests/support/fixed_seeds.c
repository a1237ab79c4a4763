/* tests/support/fixed_seeds.c - see fixed_seeds.h. */
#include "tests/support/fixed_seeds.h"

#include "storage/base/rng.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rng seeds;

enum err_code __wrap_rng_system(void *out, size_t len, struct err *err);

void fixed_seeds(uint64_t seed)
{
    pthread_mutex_lock(&lock);
    seeds = rng_init(seed);
    pthread_mutex_unlock(&lock);
}

enum err_code __wrap_rng_system(void *out, size_t len, struct err *err)
{
    (void)err;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (uint8_t)rng_next(&seeds);
    }
    pthread_mutex_unlock(&lock);
    return ERR_OK;
}
