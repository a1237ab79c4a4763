/* tests/prop/prop_codec.c - every codec gives back what it was given, and takes any bytes without harm.
 *
 * Method: random and extreme inputs through encode and decode, in every kind; then the encoded bytes with
 * random damage, which must decode to something or fail, and never touch memory outside (run under
 * AddressSanitizer: each input is an allocation of its exact size and slack).
 */
#include "tests/unit/segment/segment_test.h"

#include "storage/base/size.h"
#include "storage/codec_bits.h"
#include "storage/codec_int.h"
#include "storage/codec_set.h"
#include "storage/codec_str.h"

static const uint32_t counts[] = {0, 1, 2, 7, 8, 9, 127, 128, 129, 1000, BLOCK_ROWS};

/* Exactly these bytes and the slack that decoders ask for. */
static uint8_t *copy_exact(const struct buf *from)
{
    uint8_t *copy = malloc(from->len + BITS_SLACK);
    assert_non_null(copy);
    memset(copy, 0, from->len + BITS_SLACK);
    if (from->len > 0) {
        memcpy(copy, from->ptr, from->len);
    }
    return copy;
}

static void packed_bits_come_back_for_every_width(void **state)
{
    struct rng rng = rng_init(test_seed());
    static uint64_t in[1000];
    static uint64_t out[1000];
    static uint32_t out32[1000];
    for (unsigned bits = 0; bits <= 64; bits++) {
        uint64_t max = bits == 0 ? 0 : UINT64_MAX >> (64 - bits);
        unsigned width = bits_width(max);
        assert_true(width == bits || (bits > 56 && width == 64));
        for (uint32_t count = 0; count < 300; count += 1 + count / 20) {
            for (uint32_t i = 0; i < count; i++) {
                in[i] = rng_next(&rng) & max;
            }
            uint8_t *packed = malloc(bits_bytes(count, width) + BITS_SLACK);
            assert_non_null(packed);
            bits_pack(in, count, width, packed);
            bits_unpack64(packed, count, width, out);
            assert_memory_equal(in, out, count * sizeof(*in));
            for (uint32_t i = 0; i < count; i++) {
                assert_int_equal(bits_at(packed, i, width), in[i]);
            }
            if (width <= 32) {
                bits_unpack32(packed, count, width, out32);
                for (uint32_t i = 0; i < count; i++) {
                    assert_int_equal(out32[i], in[i]);
                }
            }
            free(packed);
        }
    }
}

/* One of the patterns that the kinds are made for, and some that none is. */
static void fill(struct rng *rng, uint32_t pattern, uint64_t *values, uint32_t count)
{
    static const uint64_t extremes[] = {0, 1, UINT64_MAX, INT64_MAX, (uint64_t)INT64_MIN};
    uint64_t v = rng_next(rng);
    uint64_t mask = UINT64_MAX >> rng_below(rng, 64);
    for (uint32_t i = 0; i < count; i++) {
        switch (pattern) {
        case 0: break;                                                         /* equal */
        case 1: v = rng_next(rng) & mask; break;                               /* any width */
        case 2: v += rng_below(rng, 50); break;                                /* ascending */
        case 3: v = rng_below(rng, 20) == 0 ? rng_next(rng) & mask : v; break; /* runs */
        case 4: v = extremes[rng_below(rng, COUNT_OF(extremes))]; break;
        case 5: v = UINT64_C(1700000000000) + 1000 * rng_below(rng, 100000); break; /* unit */
        case 6: v = (i / 128) * 1000000 + rng_below(rng, 16); break; /* near per mini-block */
        case 7: v -= rng_below(rng, 7); break;                       /* descending */
        default: /* visits: short steps, long ones, and back to the beginning */
            v = rng_below(rng, 30) == 0   ? UINT64_C(1700000000000) + rng_below(rng, 1000000)
                : rng_below(rng, 10) == 0 ? v + rng_below(rng, UINT64_C(5000000000))
                                          : v + rng_below(rng, 20000);
            break;
        }
        values[i] = v;
    }
}
#define PATTERNS 9u

static void check_ints(const struct buf *encoded, const uint64_t *values, uint32_t count,
                       const char *what)
{
    static uint64_t out[BLOCK_ROWS];
    static uint32_t out32[BLOCK_ROWS];
    struct err err = {0};
    uint8_t *bytes = copy_exact(encoded);
    struct rd rd = rd_init((struct str){(const char *)bytes, encoded->len});
    if (ints_decode64(&rd, count, out, &err) != ERR_OK) {
        fail_msg("%s: %u values: %s", what, count, err.message);
    }
    assert_true(rd_at_end(&rd));
    if (count > 0) {
        assert_memory_equal(out, values, count * sizeof(*values));
    }
    uint64_t max = 0;
    for (uint32_t i = 0; i < count; i++) {
        max = MAX_OF(max, values[i]);
    }
    if (max <= UINT32_MAX) {
        rd = rd_init((struct str){(const char *)bytes, encoded->len});
        assert_ok(ints_decode32(&rd, count, max + 1, out32, &err));
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(out32[i], values[i]);
        }
        rd = rd_init((struct str){(const char *)bytes, encoded->len});
        if (count > 0) {
            assert_fails(ints_decode32(&rd, count, max, out32, &err), ERR_CORRUPT, "below");
        }
    }
    free(bytes);
}

static void integers_come_back_in_every_kind(void **state)
{
    static uint64_t values[BLOCK_ROWS];
    struct rng rng = rng_init(test_seed());
    for (uint32_t trial = 0; trial < 4000; trial++) {
        uint32_t count = counts[rng_below(&rng, COUNT_OF(counts) - (trial % 256 == 0 ? 0 : 1))];
        fill(&rng, trial % PATTERNS, values, count);
        CLEANUP(buf_freep) struct buf out = {0};
        ints_encode(values, count, &out);
        assert_false(out.is_bad);
        check_ints(&out, values, count, "smallest");
        for (enum ints_kind kind = INTS_BITS; kind <= INTS_KIND_LAST; kind++) {
            if (count == 0) {
                continue;
            }
            buf_clear(&out);
            ints_encode_kind(kind, values, count, &out);
            assert_false(out.is_bad);
            check_ints(&out, values, count, "forced");
        }
    }
}

/* Distances from the smallest value that are no int64: the mini-blocks' bases wrap around. */
static void integers_at_both_ends_of_64_bits_come_back(void **state)
{
    static uint64_t values[3 * INTS_MINI];
    CLEANUP(buf_freep) struct buf out = {0};
    for (uint32_t i = 0; i < COUNT_OF(values); i++) {
        values[i] = i / INTS_MINI == 1 ? (uint64_t)INT64_MAX - i % 2 : (uint64_t)INT64_MIN + i % 2;
    }
    assert_int_equal(ints_encode(values, COUNT_OF(values), &out), INTS_FOR);
    check_ints(&out, values, COUNT_OF(values), "ends");
}

static void integers_take_the_kind_that_fits_them(void **state)
{
    static uint64_t values[BLOCK_ROWS];
    struct rng rng = rng_init(test_seed());
    CLEANUP(buf_freep) struct buf out = {0};
    fill(&rng, 0, values, BLOCK_ROWS);
    assert_int_equal(ints_encode(values, BLOCK_ROWS, &out), INTS_CONST);
    assert_int_equal(out.len, 16);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
        values[i] = i / 100;
    }
    assert_int_equal(ints_encode(values, BLOCK_ROWS, &out), INTS_RLE);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
        values[i] = (uint64_t)i * 1000 + i % 3;
    }
    assert_int_equal(ints_encode(values, BLOCK_ROWS, &out), INTS_DELTA);
    fill(&rng, 8, values, BLOCK_ROWS);
    assert_int_equal(ints_encode(values, BLOCK_ROWS, &out), INTS_PATCH);
    fill(&rng, 6, values, BLOCK_ROWS);
    assert_int_equal(ints_encode(values, BLOCK_ROWS, &out), INTS_FOR);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++) {
        values[i] = rng_below(&rng, 1 << 20);
    }
    assert_int_equal(ints_encode(values, BLOCK_ROWS, &out), INTS_BITS);
}

/* Flip, cut or overwrite; the decoder may succeed with other values, or fail: nothing else. */
static void damage(struct rng *rng, struct buf *bytes)
{
    for (uint64_t hits = rng_below(rng, 3) + 1; hits > 0 && bytes->len > 0; hits--) {
        size_t at = rng_below(rng, MIN_OF(bytes->len, rng_below(rng, 2) == 0 ? 40 : bytes->len));
        switch (rng_below(rng, 3)) {
        case 0: bytes->ptr[at] ^= (uint8_t)(1u << rng_below(rng, 8)); break;
        case 1: bytes->ptr[at] = (uint8_t)rng_next(rng); break;
        default: bytes->len = rng_below(rng, 8) == 0 ? at : bytes->len; break;
        }
    }
}

static void damaged_integers_never_harm(void **state)
{
    static uint64_t values[1000];
    static uint64_t out[1000];
    static uint32_t out32[1000];
    struct rng rng = rng_init(test_seed());
    uint32_t failed = 0;
    for (uint32_t trial = 0; trial < 20000; trial++) {
        uint32_t count = (uint32_t)rng_below(&rng, 300) + 1;
        CLEANUP(buf_freep) struct buf encoded = {0};
        fill(&rng, trial % PATTERNS, values, count);
        ints_encode_kind((enum ints_kind)(INTS_BITS + trial % 5), values, count, &encoded);
        damage(&rng, &encoded);
        uint8_t *bytes = copy_exact(&encoded);
        struct err err = {0};
        struct rd rd = rd_init((struct str){(const char *)bytes, encoded.len});
        failed += ints_decode64(&rd, count, out, &err) != ERR_OK;
        rd = rd_init((struct str){(const char *)bytes, encoded.len});
        if (ints_decode32(&rd, count, 1000, out32, &err) == ERR_OK) {
            for (uint32_t i = 0; i < count; i++) {
                assert_true(out32[i] < 1000);
            }
        }
        free(bytes);
    }
    assert_true(failed > 1000);
}

/* Random strings of one sort; sorted and different where asked. */
#define STR_SORTS 8u
static uint32_t random_strs(struct rng *rng, uint32_t sort, uint32_t count, struct buf *bytes,
                            uint64_t *lens)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t begin = bytes->len;
        uint64_t r = rng_next(rng);
        switch (sort) {
        case 0: buf_printf(bytes, "key-%08u-x", i); break; /* ascending */
        case 1:
            for (uint64_t len = rng_below(rng, 40); len > 0; len--) {
                buf_u8(bytes, (uint8_t)rng_next(rng));
            }
            break;
        case 2:
            buf_printf(bytes, "%08x-%04x-%04x-%04x-%012" PRIx64, (unsigned)i,
                       (unsigned)(r & 0xffff), (unsigned)(r >> 16 & 0xffff),
                       (unsigned)(r >> 32 & 0xffff), r & UINT64_C(0xffffffffffff));
            break;
        case 4:
            buf_printf(bytes, "s_%016" PRIx64, ((uint64_t)i << 40) + (r >> 30));
            break; /* ascending */
        case 5: buf_printf(bytes, "order_%" PRIu64, r % 100000); break;
        case 6: buf_printf(bytes, "%016" PRIx64 "%012" PRIx64, r, r >> 16); break;
        default: break; /* empty */
        }
        lens[i] = bytes->len - begin;
    }
    return count;
}

static void strings_come_back_in_every_kind(void **state)
{
    static uint64_t lens[BLOCK_ROWS];
    struct rng rng = rng_init(test_seed());
    struct err err = {0};
    uint32_t kinds[STRS_NUMBER + 1] = {0};
    struct arena *arena = arena_create(NULL);
    for (uint32_t trial = 0; trial < 700; trial++) {
        uint32_t sort = trial % STR_SORTS;
        uint32_t count = counts[rng_below(&rng, COUNT_OF(counts) - (trial % 10 == 0 ? 0 : 1))];
        bool is_sorted = (sort == 0 || sort == 2 || sort == 4) && trial % 3 == 0;
        CLEANUP(buf_freep) struct buf strs = {0};
        CLEANUP(buf_freep) struct buf out = {0};
        random_strs(&rng, sort, count, &strs, lens);
        enum strs_kind kind = 0;
        bool is_lz4 = false;
        assert_ok(
            strs_encode(buf_as_str(&strs), lens, count, is_sorted, &out, &kind, &is_lz4, &err));
        kinds[kind]++;
        if (count > (sort == 5 ? 100 : 0) && (sort == 2 || sort == 5)) {
            assert_int_equal(kind, sort == 2 ? STRS_UUID : STRS_NUMBER);
        }
        uint8_t *bytes = copy_exact(&out);
        struct rd rd = rd_init((struct str){(const char *)bytes, out.len});
        const uint32_t *offs = NULL;
        const char *text = NULL;
        assert_ok(strs_decode(&rd, count, arena, &offs, &text, &err));
        assert_true(rd_at_end(&rd));
        uint64_t off = 0;
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(offs[i], off);
            off += lens[i];
        }
        assert_int_equal(offs[count], off);
        assert_int_equal(off, strs.len);
        if (off > 0) {
            assert_memory_equal(text, strs.ptr, off);
        }
        free(bytes);
        arena_rewind(arena, (struct arena_mark){0});
    }
    arena_free(arena);
    assert_true(kinds[STRS_PLAIN] > 50 && kinds[STRS_UUID] > 50 && kinds[STRS_FRONT] > 10 &&
                kinds[STRS_NUMBER] > 50);
}

/* What is not quite prefix and number must not become one: the text must come back to the byte. */
static void near_numbers_come_back_as_they_were(void **state)
{
    static const char *const cases[][3] = {
        {"u_1", "u_02", "u_3"},
        {"u_1", "u_2", "u_"},
        {"a1", "b2", "c3"},
        {"", "1", "2"},
        {"0", "00", "000"},
        {"x-AB", "x-CD", "x-EF"},
        {"99999999999999999999", "1", "2"},
        {"18446744073709551615", "18446744073709551616", "1"},
        {"0000000000000000000000000000000g", "00000000000000000000000000000001", "0"},
        {"ffffffffffffffffffffffffffffffff", "00000000000000000000000000000001",
         "00000000000000010000000000000000"},
        {"7", "7", "7"},
        {"p0", "p10", "p9"},
    };
    struct err err = {0};
    struct arena *arena = arena_create(NULL);
    for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
        for (uint32_t repeat = 1; repeat <= 40; repeat += 39) {
            CLEANUP(buf_freep) struct buf strs = {0};
            CLEANUP(buf_freep) struct buf out = {0};
            uint64_t lens[120];
            for (uint32_t k = 0; k < 3 * repeat; k++) {
                lens[k] = strlen(cases[i][k % 3]);
                buf_z(&strs, cases[i][k % 3]);
            }
            enum strs_kind kind = 0;
            bool is_lz4 = false;
            assert_ok(strs_encode(buf_as_str(&strs), lens, 3 * repeat, false, &out, &kind, &is_lz4,
                                  &err));
            uint8_t *bytes = copy_exact(&out);
            struct rd rd = rd_init((struct str){(const char *)bytes, out.len});
            const uint32_t *offs = NULL;
            const char *text = NULL;
            assert_ok(strs_decode(&rd, 3 * repeat, arena, &offs, &text, &err));
            assert_int_equal(offs[3 * repeat], strs.len);
            assert_memory_equal(text, strs.ptr, strs.len);
            free(bytes);
        }
    }
    arena_free(arena);
}

static void damaged_strings_never_harm(void **state)
{
    static uint64_t lens[1000];
    struct rng rng = rng_init(test_seed());
    struct err err = {0};
    struct budget budget;
    budget_init(&budget, (size_t)64 << 20, "test memory");
    struct arena *arena = arena_create(&budget);
    uint32_t failed = 0;
    for (uint32_t trial = 0; trial < 20000; trial++) {
        uint32_t count = (uint32_t)rng_below(&rng, 200);
        CLEANUP(buf_freep) struct buf strs = {0};
        CLEANUP(buf_freep) struct buf out = {0};
        random_strs(&rng, trial % STR_SORTS, count, &strs, lens);
        enum strs_kind kind = 0;
        bool is_lz4 = false;
        bool is_sorted = trial % 8 == 0;
        assert_ok(
            strs_encode(buf_as_str(&strs), lens, count, is_sorted, &out, &kind, &is_lz4, &err));
        damage(&rng, &out);
        uint8_t *bytes = copy_exact(&out);
        struct rd rd = rd_init((struct str){(const char *)bytes, out.len});
        const uint32_t *offs = NULL;
        const char *text = NULL;
        if (strs_decode(&rd, count, arena, &offs, &text, &err) != ERR_OK) {
            failed++;
        } else {
            uint32_t sum = 0;
            for (uint32_t i = 0; i < count; i++) {
                assert_true(offs[i] <= offs[i + 1]);
                for (uint32_t k = offs[i]; k < offs[i + 1]; k++) {
                    sum += (uint8_t)text[k]; /* every byte is there to be read */
                }
            }
            assert_true(sum < UINT32_MAX);
        }
        free(bytes);
        arena_rewind(arena, (struct arena_mark){0});
    }
    assert_true(failed > 1000);
    arena_free(arena);
}

/* Ascending members: some far apart, some near, some in runs; returns how many. */
static uint32_t random_members(struct rng *rng, uint32_t cap, uint32_t *members)
{
    uint32_t count = (uint32_t)rng_below(rng, cap) + 1;
    uint64_t shape = rng_below(rng, 4);
    uint64_t spread = UINT64_C(1) << rng_below(rng, 20);
    uint64_t at = rng_below(rng, 3) == 0 ? 0 : rng_below(rng, 1u << 20);
    for (uint32_t i = 0; i < count; i++) {
        members[i] = (uint32_t)at;
        uint64_t gap = shape == 0                              ? 0
                       : shape == 1 && rng_below(rng, 30) != 0 ? 0
                                                               : rng_below(rng, spread);
        if (at + 1 + gap > UINT32_MAX) {
            return i + 1;
        }
        at += 1 + gap;
    }
    if (rng_below(rng, 8) == 0) {
        members[count - 1] = UINT32_MAX;
    }
    return count;
}

static void sets_come_back(void **state)
{
    static uint32_t members[5000];
    static uint32_t back[5000];
    struct rng rng = rng_init(test_seed());
    struct err err = {0};
    uint32_t kinds[SET_RUNS + 1] = {0};
    for (uint32_t trial = 0; trial < 4000; trial++) {
        uint32_t count = random_members(&rng, trial % 2 == 0 ? 5000 : 6, members);
        CLEANUP(buf_freep) struct buf out = {0};
        buf_u8(&out, 0); /* appended, wherever it starts */
        size_t bytes = 0;
        assert_ok(set_encode(members, count, &out, &bytes, &err));
        assert_int_equal(bytes, out.len - 1);
        kinds[out.ptr[1]]++;
        uint8_t *copy = copy_exact(&out);
        struct str text = {(const char *)copy + 1, bytes};
        roaring_bitmap_t *set = NULL;
        uint32_t last = members[count - 1];
        assert_ok(set_decode(text, count, members[0], last, &set, &err));
        assert_int_equal(roaring_bitmap_get_cardinality(set), count);
        roaring_bitmap_to_uint32_array(set, back);
        assert_memory_equal(back, members, count * sizeof(*members));
        roaring_bitmap_free(set);
        assert_fails(set_decode(text, count + 1, 0, UINT32_MAX, &set, &err), ERR_CORRUPT, "set");
        if (count > 1) {
            assert_fails(set_decode(text, count, members[0] + 1, UINT32_MAX, &set, &err),
                         ERR_CORRUPT, "set");
            assert_fails(set_decode(text, count - 1, 0, UINT32_MAX, &set, &err), ERR_CORRUPT,
                         "set");
            assert_fails(set_decode(text, count, 0, last - 1, &set, &err), ERR_CORRUPT, "set");
        }
        free(copy);
    }
    assert_true(kinds[SET_LOWS] > 500 && kinds[SET_RUNS] > 500);
}

static void a_damaged_set_is_refused_or_still_a_set(void **state)
{
    static uint32_t members[5000];
    struct rng rng = rng_init(test_seed());
    struct err err = {0};
    uint32_t failed = 0;
    for (uint32_t trial = 0; trial < 6000; trial++) {
        uint32_t count = random_members(&rng, trial % 2 == 0 ? 300 : 4, members);
        CLEANUP(buf_freep) struct buf out = {0};
        size_t bytes = 0;
        assert_ok(set_encode(members, count, &out, &bytes, &err));
        damage(&rng, &out);
        uint8_t *copy = copy_exact(&out);
        struct str text = {(const char *)copy, out.len};
        roaring_bitmap_t *set = NULL;
        if (set_decode(text, count, members[0], members[count - 1], &set, &err) != ERR_OK) {
            failed++;
        } else {
            assert_int_equal(roaring_bitmap_get_cardinality(set), count);
            assert_true(roaring_bitmap_minimum(set) >= members[0]);
            assert_true(roaring_bitmap_maximum(set) <= members[count - 1]);
            roaring_bitmap_free(set);
        }
        free(copy);
    }
    assert_true(failed > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_bits_come_back_for_every_width),
        cmocka_unit_test(integers_come_back_in_every_kind),
        cmocka_unit_test(integers_at_both_ends_of_64_bits_come_back),
        cmocka_unit_test(integers_take_the_kind_that_fits_them),
        cmocka_unit_test(damaged_integers_never_harm),
        cmocka_unit_test(strings_come_back_in_every_kind),
        cmocka_unit_test(near_numbers_come_back_as_they_were),
        cmocka_unit_test(damaged_strings_never_harm),
        cmocka_unit_test(sets_come_back),
        cmocka_unit_test(a_damaged_set_is_refused_or_still_a_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
