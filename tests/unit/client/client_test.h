/* tests/unit/client/client_test.h - what the tests of client/ and bench/ share. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/buf.h"
#include "storage/base/err.h"

static inline uint64_t client_test_seed(void)
{
    const char *text = getenv("TEST_SEED");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) != ERR_OK) {                                                                    \
            fail_msg("%s: %s", #call, err.message);                                                \
        }                                                                                          \
    } while (0)

#define assert_fails(call, want, part)                                                             \
    do {                                                                                           \
        memset(&err, 0, sizeof(err));                                                              \
        enum err_code got_ = (call);                                                               \
        if (got_ != (want) || strstr(err.message, (part)) == NULL) {                               \
            fail_msg("%s: wanted %s with \"%s\", got %s: %s", #call, err_code_name(want), (part),  \
                     err_code_name(got_), err.message);                                            \
        }                                                                                          \
    } while (0)

#define assert_text(buf, want)                                                                     \
    do {                                                                                           \
        struct str got_ = buf_as_str(buf);                                                         \
        if (!str_eq(got_, str_of(want))) {                                                         \
            fail_msg("got\n%.*s\nwanted\n%s", (int)got_.len, got_.ptr, (want));                    \
        }                                                                                          \
    } while (0)
