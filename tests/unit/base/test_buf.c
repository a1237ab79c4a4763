/* tests/unit/base/test_buf.c - storage/base/buf.c; what it writes is held against literal bytes, so
 * that a mistake made both here and in rd.c shows. */
#include "tests/support/claims.h"

#include "storage/base/buf.h"

#include <inttypes.h>
#include <stdio.h>

void *__real_realloc(void *ptr, size_t bytes);
void *__wrap_realloc(void *ptr, size_t bytes);

static bool realloc_fails;

void *__wrap_realloc(void *ptr, size_t bytes)
{
    return realloc_fails ? NULL : __real_realloc(ptr, bytes);
}

#define assert_bytes(buf, ...)                                                                     \
    do {                                                                                           \
        const uint8_t want_[] = {__VA_ARGS__};                                                     \
        assert_false((buf)->is_bad);                                                               \
        assert_int_equal((buf)->len, sizeof(want_));                                               \
        assert_memory_equal((buf)->ptr, want_, sizeof(want_));                                     \
        buf_clear(buf);                                                                            \
    } while (0)

static void numbers_are_little_endian(void **state)
{
    struct buf buf = {0};
    buf_u8(&buf, 0xfe);
    buf_u16(&buf, 0x0102);
    buf_u32(&buf, 0x03040506);
    buf_u64(&buf, 0x0708090a0b0c0d0eULL);
    buf_i64(&buf, -2);
    assert_bytes(&buf, 0xfe, 2, 1, 6, 5, 4, 3, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 9, 8, 7, 0xfe, 0xff,
                 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    buf_done(&buf);
}

static void varints_have_their_published_bytes(void **state)
{
    struct buf buf = {0};
    buf_varint(&buf, 0);
    buf_varint(&buf, 127);
    buf_varint(&buf, 128);
    buf_varint(&buf, 300);
    assert_bytes(&buf, 0, 0x7f, 0x80, 1, 0xac, 2);
    buf_varint(&buf, UINT64_MAX);
    assert_bytes(&buf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1);
    buf_zigzag(&buf, 0);
    buf_zigzag(&buf, -1);
    buf_zigzag(&buf, 1);
    buf_zigzag(&buf, -64);
    assert_bytes(&buf, 0, 1, 2, 0x7f);
    buf_zigzag(&buf, INT64_MIN);
    assert_bytes(&buf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1);
    buf_done(&buf);
}

static void integers_in_decimal(void **state)
{
    static const int64_t values[] = {0, 7, -1, 10, 1234567890, INT64_MAX, INT64_MIN};
    (void)state;
    struct buf buf = {0};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char want[24];
        int len = snprintf(want, sizeof(want), "%" PRId64, values[i]);
        buf_int(&buf, values[i]);
        assert_int_equal(buf.len, len);
        assert_memory_equal(buf.ptr, want, (size_t)len);
        buf_clear(&buf);
    }
    buf_done(&buf);
}

static void texts_and_blobs(void **state)
{
    struct buf buf = {0};
    buf_blob(&buf, STR("ab"));
    buf_blob(&buf, (struct str){NULL, 0});
    buf_z(&buf, "c");
    buf_z(&buf, "");
    buf_str(&buf, STR("d"));
    buf_append(&buf, NULL, 0);
    buf_printf(&buf, "%d", 17);
    buf_printf(&buf, "%s", "");
    assert_bytes(&buf, 2, 'a', 'b', 0, 'c', 'd', '1', '7');
    buf_printf(&buf, "%5000d", 1);
    assert_int_equal(buf.len, 5000);
    assert_true(str_ends(buf_as_str(&buf), STR("   1")));
    buf_done(&buf);
}

static void align_pads_with_zeroes_to_the_multiple(void **state)
{
    struct buf buf = {0};
    buf_align(&buf, 8);
    assert_int_equal(buf.len, 0);
    buf_u8(&buf, 1);
    buf_align(&buf, 4);
    buf_align(&buf, 4);
    buf_align(&buf, 1);
    assert_bytes(&buf, 1, 0, 0, 0);
    buf_done(&buf);
}

static void growing_keeps_what_was_written(void **state)
{
    struct buf buf = {0};
    for (uint32_t i = 0; i < 50000; i++) {
        buf_u32(&buf, i);
    }
    for (uint32_t i = 0; i < 50000; i++) {
        uint8_t want[4];
        wr_u32(want, i);
        assert_memory_equal(buf.ptr + (size_t)i * 4, want, 4);
    }
    const uint8_t *kept = buf.ptr;
    buf_clear(&buf);
    buf_u8(&buf, 1);
    assert_ptr_equal(buf.ptr, kept);
    buf_done(&buf);
    assert_null(buf.ptr);
    buf_done(&buf);
}

static void reserve_gives_room_and_does_not_count_it(void **state)
{
    struct buf buf = {0};
    assert_non_null(buf_reserve(&buf, 0)); /* NULL would mean bad */
    uint8_t *at = buf_reserve(&buf, 1000);
    memset(at, 7, 1000);
    assert_int_equal(buf.len, 0);
    buf_done(&buf);
}

static void failure_sticks_until_clear_and_is_reported_once(void **state)
{
    struct err err;
    struct buf buf = {0};
    buf_u32(&buf, 5);
    assert_ok(buf_check(&buf, &err));
    assert_null(buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.is_bad);
    buf_u8(&buf, 1);
    buf_u16(&buf, 1);
    buf_u32(&buf, 1);
    buf_u64(&buf, 1);
    buf_varint(&buf, 1);
    buf_z(&buf, "x");
    buf_printf(&buf, "x");
    buf_align(&buf, 64);
    assert_int_equal(buf.len, 4);
    assert_fails(buf_check(&buf, &err), ERR_NOMEM, "4 bytes could not grow");
    buf_clear(&buf);
    buf_u8(&buf, 9);
    assert_ok(buf_check(&buf, &err));
    assert_bytes(&buf, 9);
    buf_done(&buf);
}

static void a_failed_realloc_keeps_the_bytes_and_is_bad(void **state)
{
    struct err err;
    struct buf buf = {0};
    buf_u8(&buf, 3);
    realloc_fails = true;
    buf_append(&buf, "0123456789012345678901234567890123456789012345678901234567890123", 64);
    realloc_fails = false;
    assert_fails(buf_check(&buf, &err), ERR_NOMEM, "1 bytes");
    assert_int_equal(buf.len, 1);
    assert_int_equal(buf.ptr[0], 3);
    buf_done(&buf);
    assert_false(buf.is_bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_little_endian),
        cmocka_unit_test(varints_have_their_published_bytes),
        cmocka_unit_test(integers_in_decimal),
        cmocka_unit_test(texts_and_blobs),
        cmocka_unit_test(align_pads_with_zeroes_to_the_multiple),
        cmocka_unit_test(growing_keeps_what_was_written),
        cmocka_unit_test(reserve_gives_room_and_does_not_count_it),
        cmocka_unit_test(failure_sticks_until_clear_and_is_reported_once),
        cmocka_unit_test(a_failed_realloc_keeps_the_bytes_and_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
