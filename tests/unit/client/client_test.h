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
#include "tests/support/claims.h"

#define assert_text(buf, want)                                                                     \
    do {                                                                                           \
        struct str got_ = buf_as_str(buf);                                                         \
        if (!str_eq(got_, str_of(want))) {                                                         \
            fail_msg("got\n%.*s\nwanted\n%s", (int)got_.len, got_.ptr, (want));                    \
        }                                                                                          \
    } while (0)
