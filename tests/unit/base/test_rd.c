/* tests/unit/base/test_rd.c - storage/base/rd.c. */
#include "tests/support/claims.h"

#include "storage/base/buf.h"
#include "storage/base/rd.h"
#include "storage/base/rng.h"

#define RD(...)                                                                                    \
    rd_init((struct str){(const char *)(const uint8_t[]){__VA_ARGS__},                             \
                         sizeof((const uint8_t[]){__VA_ARGS__})})

static void nothing_reads_as_bad_zeroes(void **state)
{
    struct rd rd = rd_init((struct str){NULL, 0});
    assert_true(rd_at_end(&rd));
    assert_int_equal(rd_bytes(&rd, 0).len, 0);
    assert_false(rd.is_bad);
    assert_int_equal(rd_u8(&rd), 0);
    assert_true(rd.is_bad);
    assert_false(rd_at_end(&rd));
    assert_int_equal(rd_left(&rd), 0);
}

static void an_overrun_is_sticky_and_consumes_nothing(void **state)
{
    struct rd rd = RD(1, 2, 3);
    assert_int_equal(rd_u16(&rd), 0x0201);
    assert_int_equal(rd_left(&rd), 1);
    assert_int_equal(rd_u32(&rd), 0);
    assert_true(rd.is_bad);
    assert_int_equal(rd_u8(&rd), 0); /* although one byte is there */
    assert_int_equal(rd_u64(&rd), 0);
    assert_int_equal(rd_i64(&rd), 0);
    assert_int_equal(rd_varint(&rd), 0);
    assert_int_equal(rd_zigzag(&rd), 0);
    assert_int_equal(rd_blob(&rd).len, 0);
    assert_int_equal(rd.off, 2);
}

static void lengths_near_the_top_do_not_wrap(void **state)
{
    struct rd rd = RD(1, 2, 3);
    rd_skip(&rd, 2);
    struct str none = rd_bytes(&rd, SIZE_MAX - 1);
    assert_int_equal(none.len, 0);
    assert_non_null(none.ptr);
    assert_true(rd.is_bad);
    rd = RD(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'x'); /* a blob of 2^64 - 1 */
    assert_int_equal(rd_blob(&rd).len, 0);
    assert_true(rd.is_bad);
}

static void varints_stop_at_ten_bytes_and_64_bits(void **state)
{
    struct rd rd = RD(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1);
    assert_true(rd_varint(&rd) == UINT64_MAX);
    assert_true(rd_at_end(&rd));
    rd = RD(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2);
    assert_int_equal(rd_varint(&rd), 0);
    assert_true(rd.is_bad);
    rd = RD(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0);
    assert_int_equal(rd_varint(&rd), 0);
    assert_true(rd.is_bad);
    rd = RD(0x80); /* cut */
    assert_int_equal(rd_varint(&rd), 0);
    assert_true(rd.is_bad);
    rd = RD(0xac, 2, 0x7f);
    assert_int_equal(rd_varint(&rd), 300);
    assert_int_equal(rd_zigzag(&rd), -64);
}

static void align_skips_zeroes_only(void **state)
{
    struct rd rd = RD(1, 0, 0, 0, 5);
    rd_align(&rd, 4);
    assert_int_equal(rd.off, 0);
    assert_int_equal(rd_u8(&rd), 1);
    rd_align(&rd, 4);
    assert_int_equal(rd_u8(&rd), 5);
    assert_true(rd_at_end(&rd));
    rd_align(&rd, 4); /* the padding is cut */
    assert_true(rd.is_bad);
    rd = RD(1, 0, 7, 0);
    rd_skip(&rd, 1);
    rd_align(&rd, 4);
    assert_true(rd.is_bad);
}

/* What buf writes, rd reads, for values of every magnitude. */
static void reads_what_buf_wrote(void **state)
{
    struct err err;
    uint64_t seed = test_seed();
    struct rng values = rng_init(seed);
    struct buf buf = {0};
    for (int i = 0; i < 5000; i++) {
        uint64_t v = rng_next(&values) >> rng_below(&values, 64);
        buf_varint(&buf, v);
        buf_zigzag(&buf, (int64_t)v);
        buf_u8(&buf, (uint8_t)v);
        buf_u16(&buf, (uint16_t)v);
        buf_u32(&buf, (uint32_t)v);
        buf_u64(&buf, v);
        buf_i64(&buf, -(int64_t)(v >> 1));
        buf_blob(&buf, (struct str){(const char *)&v, v % 9});
        buf_align(&buf, 8);
    }
    assert_ok(buf_check(&buf, &err));
    values = rng_init(seed);
    struct rd rd = rd_init(buf_as_str(&buf));
    for (int i = 0; i < 5000; i++) {
        uint64_t v = rng_next(&values) >> rng_below(&values, 64);
        bool is_same = rd_varint(&rd) == v;
        is_same &= rd_zigzag(&rd) == (int64_t)v;
        is_same &= rd_u8(&rd) == (uint8_t)v;
        is_same &= rd_u16(&rd) == (uint16_t)v;
        is_same &= rd_u32(&rd) == (uint32_t)v;
        is_same &= rd_u64(&rd) == v;
        is_same &= rd_i64(&rd) == -(int64_t)(v >> 1);
        is_same &= str_eq(rd_blob(&rd), (struct str){(const char *)&v, v % 9});
        rd_align(&rd, 8);
        if (!is_same || rd.is_bad) {
            fail_msg("seed %" PRIu64 ": value %d (%" PRIu64 ") came back differently", seed, i, v);
        }
    }
    assert_true(rd_at_end(&rd));
    buf_done(&buf);
}

/* One random call; what it gives must lie within the input. */
static void read_anything(struct rd *rd, struct rng *rng, uint64_t seed)
{
    struct str got = {NULL, 0};
    switch (rng_below(rng, 11)) {
    case 0: rd_u8(rd); break;
    case 1: rd_u16(rd); break;
    case 2: rd_u32(rd); break;
    case 3: rd_u64(rd); break;
    case 4: rd_i64(rd); break;
    case 5: rd_varint(rd); break;
    case 6: rd_zigzag(rd); break;
    case 7: got = rd_bytes(rd, rng_next(rng) >> rng_below(rng, 64)); break;
    case 8: got = rd_blob(rd); break;
    case 9: rd_skip(rd, rng_next(rng) >> rng_below(rng, 64)); break;
    default: rd_align(rd, (size_t)1 << rng_below(rng, 7)); break;
    }
    bool is_inside = got.len == 0 || ((const uint8_t *)got.ptr >= rd->ptr &&
                                      (const uint8_t *)got.ptr + got.len <= rd->ptr + rd->len);
    if (rd->off > rd->len || !is_inside) {
        fail_msg("seed %" PRIu64 ": %zu bytes at %zu of %zu", seed, got.len, rd->off, rd->len);
    }
}

/* Inputs are malloc'd to the byte: under the address sanitizer a read outside ends the test. */
static void random_bytes_never_lead_outside(void **state)
{
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < 20000; trial++) {
        struct rng rng = rng_init(seed + trial);
        size_t len = rng_below(&rng, 40);
        uint8_t *bytes = malloc(len + (len == 0));
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)(rng_next(&rng) >> rng_below(&rng, 8) * 8);
        }
        struct rd rd = rd_init((struct str){(const char *)bytes, len});
        bool was_bad = false;
        for (int call = 0; call < 12; call++) {
            read_anything(&rd, &rng, seed + trial);
            if (was_bad && !rd.is_bad) {
                fail_msg("seed %" PRIu64 ": bad became good", seed + trial);
            }
            was_bad = rd.is_bad;
        }
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_reads_as_bad_zeroes),
        cmocka_unit_test(an_overrun_is_sticky_and_consumes_nothing),
        cmocka_unit_test(lengths_near_the_top_do_not_wrap),
        cmocka_unit_test(varints_stop_at_ten_bytes_and_64_bits),
        cmocka_unit_test(align_skips_zeroes_only),
        cmocka_unit_test(reads_what_buf_wrote),
        cmocka_unit_test(random_bytes_never_lead_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
