/* tests/unit/server/test_gzip.c - bodies inflate to what was deflated, within their bound. */
#include "server/gzip.h"
#include "storage/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static struct err err;

/* `len` bytes that deflate somewhat. */
static void fill(struct buf *out, size_t len, uint64_t seed)
{
    struct rng rng = rng_init(seed);
    for (size_t i = 0; i < len; i++) {
        buf_u8(out, (uint8_t)('a' + rng_below(&rng, 6)));
    }
}

static void what_is_deflated_inflates_to_the_same_bytes(void **state)
{
    (void)state;
    const size_t lengths[] = {0, 1, 1023, 256 * 1024, 256 * 1024 + 1, 3000000};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        struct buf plain = {0};
        struct buf small = {0};
        struct buf again = {0};
        fill(&plain, lengths[i], i);
        assert_int_equal(gzip_deflate(buf_as_str(&plain), &small, &err), ERR_OK);
        assert_int_equal(gzip_inflate(buf_as_str(&small), lengths[i], &again, &err), ERR_OK);
        assert_int_equal(again.len, lengths[i]);
        assert_true(str_eq(buf_as_str(&plain), buf_as_str(&again)));
        for (size_t p = 0; p < BODY_PADDING_BYTES; p++) {
            assert_int_equal(again.ptr[again.len + p], 0);
        }
        buf_done(&plain);
        buf_done(&small);
        buf_done(&again);
    }
}

static void one_byte_over_the_bound_is_refused(void **state)
{
    (void)state;
    struct buf plain = {0};
    struct buf small = {0};
    struct buf again = {0};
    fill(&plain, 5000, 1);
    assert_int_equal(gzip_deflate(buf_as_str(&plain), &small, &err), ERR_OK);
    assert_int_equal(gzip_inflate(buf_as_str(&small), 4999, &again, &err), ERR_LIMIT);
    assert_string_equal(err.message, "gzip body inflates to more than 4999 bytes");
    buf_done(&plain);
    buf_done(&small);
    buf_done(&again);
}

static void a_bomb_is_stopped_at_the_bound(void **state)
{
    (void)state;
    struct buf zeroes = {0};
    struct buf bomb = {0};
    struct buf out = {0};
    memset(buf_reserve(&zeroes, 64 << 20), 0, 64 << 20);
    zeroes.len = 64 << 20;
    assert_int_equal(gzip_deflate(buf_as_str(&zeroes), &bomb, &err), ERR_OK);
    assert_true(bomb.len < 512 * 1024);
    assert_int_equal(gzip_inflate(buf_as_str(&bomb), 1 << 20, &out, &err), ERR_LIMIT);
    assert_true(out.cap < 4 << 20);
    buf_done(&zeroes);
    buf_done(&bomb);
    buf_done(&out);
}

static void several_members_inflate_to_one_body(void **state)
{
    (void)state;
    struct buf body = {0};
    struct buf out = {0};
    assert_int_equal(gzip_deflate(STR("first,"), &body, &err), ERR_OK);
    assert_int_equal(gzip_deflate(STR(""), &body, &err), ERR_OK);
    assert_int_equal(gzip_deflate(STR("second"), &body, &err), ERR_OK);
    assert_int_equal(gzip_inflate(buf_as_str(&body), 100, &out, &err), ERR_OK);
    assert_true(str_eq(buf_as_str(&out), STR("first,second")));
    buf_done(&body);
    buf_done(&out);
}

static void every_cut_of_a_body_is_refused(void **state)
{
    (void)state;
    struct buf plain = {0};
    struct buf small = {0};
    fill(&plain, 300, 7);
    assert_int_equal(gzip_deflate(buf_as_str(&plain), &small, &err), ERR_OK);
    for (size_t len = 0; len < small.len; len++) {
        struct buf out = {0};
        assert_int_equal(gzip_inflate((struct str){(char *)small.ptr, len}, 1000, &out, &err),
                         ERR_INVALID);
        buf_done(&out);
    }
    buf_done(&plain);
    buf_done(&small);
}

static void bytes_that_are_no_gzip_are_refused(void **state)
{
    (void)state;
    const struct str bodies[] = {STR("{\"event_name\":\"a\"}"), STR("\x1f\x8b\x08"),
                                 STR("\x1f\x8b\x07\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0")};
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        struct buf out = {0};
        assert_int_equal(gzip_inflate(bodies[i], 1000, &out, &err), ERR_INVALID);
        buf_done(&out);
    }
    struct buf body = {0};
    struct buf out = {0};
    assert_int_equal(gzip_deflate(STR("whole"), &body, &err), ERR_OK);
    buf_z(&body, "and more");
    assert_int_equal(gzip_inflate(buf_as_str(&body), 1000, &out, &err), ERR_INVALID);
    buf_done(&body);
    buf_done(&out);
}

static void a_flipped_bit_never_passes_for_the_body(void **state)
{
    (void)state;
    struct buf plain = {0};
    struct buf small = {0};
    fill(&plain, 200, 3);
    assert_int_equal(gzip_deflate(buf_as_str(&plain), &small, &err), ERR_OK);
    size_t refused_count = 0;
    for (size_t bit = 0; bit < small.len * 8; bit++) {
        struct buf out = {0};
        small.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (gzip_inflate(buf_as_str(&small), 1000, &out, &err) == ERR_OK) {
            /* A header field that says nothing of the content, or the stream's unused last bits. */
            assert_true(str_eq(buf_as_str(&out), buf_as_str(&plain)));
        } else {
            refused_count++;
        }
        small.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        buf_done(&out);
    }
    assert_true(refused_count > (small.len - 18) * 8 / 2); /* 18: header and trailer */
    buf_done(&plain);
    buf_done(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_deflated_inflates_to_the_same_bytes),
        cmocka_unit_test(one_byte_over_the_bound_is_refused),
        cmocka_unit_test(a_bomb_is_stopped_at_the_bound),
        cmocka_unit_test(several_members_inflate_to_one_body),
        cmocka_unit_test(every_cut_of_a_body_is_refused),
        cmocka_unit_test(bytes_that_are_no_gzip_are_refused),
        cmocka_unit_test(a_flipped_bit_never_passes_for_the_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
