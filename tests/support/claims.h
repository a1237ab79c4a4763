/* tests/support/claims.h - what cmocka programs share: the seed, and claims about calls that can fail.
 *
 * Both macros look at a `struct err err` in scope. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/err.h"

/* TEST_SEED=... repeats a failure that printed it. */
static inline uint64_t test_seed(void)
{
    const char *text = getenv("TEST_SEED");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

/* The call succeeds; else the test fails with its message. */
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) != ERR_OK) {                                                                    \
            fail_msg("%s: %s", #call, err.message);                                                \
        }                                                                                          \
    } while (0)

/* The call fails with `want` and a message that contains `part`. */
#define assert_fails(call, want, part)                                                             \
    do {                                                                                           \
        memset(&err, 0, sizeof(err));                                                              \
        enum err_code got_ = (call);                                                               \
        if (got_ != (want) || err.code != (want) || strstr(err.message, (part)) == NULL) {         \
            fail_msg("%s: wanted %s with \"%s\", got %s: %s", #call, err_code_name(want), (part),  \
                     err_code_name(got_), err.message);                                            \
        }                                                                                          \
    } while (0)
