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
    struct rng rng = rng_init(segment_test_seed());
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
        default: v -= rng_below(rng, 7); break;                      /* descending */
        }
        values[i] = v;
    }
}
#define PATTERNS 8u

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
    struct rng rng = rng_init(segment_test_seed());
    for (uint32_t trial = 0; trial < 4000; trial++) {
        uint32_t count = counts[rng_below(&rng, COUNT_OF(counts) - (trial % 256 == 0 ? 0 : 1))];
        fill(&rng, trial % PATTERNS, values, count);
        CLEANUP(buf_freep) struct buf out = {0};
        ints_encode(values, count, &out);
        assert_false(out.is_bad);
        check_ints(&out, values, count, "smallest");
        for (enum ints_kind kind = INTS_BITS; kind <= INTS_RLE; kind++) {
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
    struct rng rng = rng_init(segment_test_seed());
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
    struct rng rng = rng_init(segment_test_seed());
    uint32_t failed = 0;
    for (uint32_t trial = 0; trial < 20000; trial++) {
        uint32_t count = (uint32_t)rng_below(&rng, 300) + 1;
        CLEANUP(buf_freep) struct buf encoded = {0};
        fill(&rng, trial % PATTERNS, values, count);
        ints_encode_kind((enum ints_kind)(INTS_BITS + trial % 4), values, count, &encoded);
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
static uint32_t random_strs(struct rng *rng, uint32_t sort, uint32_t count, struct buf *bytes,
                            uint64_t *lens)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t begin = bytes->len;
        uint64_t r = rng_next(rng);
        switch (sort) {
        case 0: buf_printf(bytes, "key-%08u", i); break; /* ascending */
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
        default: break; /* empty */
        }
        lens[i] = bytes->len - begin;
    }
    return count;
}

static void strings_come_back_in_every_kind(void **state)
{
    static uint64_t lens[BLOCK_ROWS];
    struct rng rng = rng_init(segment_test_seed());
    struct err err = {0};
    struct arena *arena = arena_create(NULL);
    for (uint32_t trial = 0; trial < 200; trial++) {
        uint32_t sort = trial % 4;
        uint32_t count = counts[rng_below(&rng, COUNT_OF(counts) - (trial % 10 == 0 ? 0 : 1))];
        bool is_sorted = (sort == 0 || sort == 2) && trial % 3 == 0;
        CLEANUP(buf_freep) struct buf strs = {0};
        CLEANUP(buf_freep) struct buf out = {0};
        random_strs(&rng, sort, count, &strs, lens);
        enum strs_kind kind = 0;
        bool is_lz4 = false;
        assert_ok(
            strs_encode(buf_as_str(&strs), lens, count, is_sorted, &out, &kind, &is_lz4, &err));
        assert_int_equal(kind, sort == 2 && count > 0 ? STRS_UUID
                               : is_sorted            ? STRS_FRONT
                                                      : STRS_PLAIN);
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
}

static void damaged_strings_never_harm(void **state)
{
    static uint64_t lens[1000];
    struct rng rng = rng_init(segment_test_seed());
    struct err err = {0};
    struct budget budget;
    budget_init(&budget, (size_t)64 << 20, "test memory");
    struct arena *arena = arena_create(&budget);
    uint32_t failed = 0;
    for (uint32_t trial = 0; trial < 20000; trial++) {
        uint32_t count = (uint32_t)rng_below(&rng, 200);
        CLEANUP(buf_freep) struct buf strs = {0};
        CLEANUP(buf_freep) struct buf out = {0};
        random_strs(&rng, trial % 4, count, &strs, lens);
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

static roaring_bitmap_t *random_set(struct rng *rng)
{
    roaring_bitmap_t *set = roaring_bitmap_create();
    for (uint64_t parts = rng_below(rng, 6); parts > 0; parts--) {
        uint32_t base = (uint32_t)rng_below(rng, 8) << 16;
        switch (rng_below(rng, 3)) {
        case 0: /* an array */
            for (uint64_t n = rng_below(rng, 100); n > 0; n--) {
                roaring_bitmap_add(set, base + (uint32_t)rng_below(rng, 65536));
            }
            break;
        case 1: /* a bitset */
            for (uint32_t v = 0; v < 65536; v += 1 + (uint32_t)rng_below(rng, 12)) {
                roaring_bitmap_add(set, base + v);
            }
            break;
        default: {
            uint32_t begin = (uint32_t)rng_below(rng, 65536);
            roaring_bitmap_add_range(set, base + begin, base + begin + rng_below(rng, 9000));
            break;
        }
        }
    }
    roaring_bitmap_run_optimize(set);
    return set;
}

static void sets_come_back_whole_and_by_container(void **state)
{
    static uint16_t rows[BLOCK_ROWS];
    struct rng rng = rng_init(segment_test_seed());
    struct err err = {0};
    for (uint32_t trial = 0; trial < 300; trial++) {
        roaring_bitmap_t *set = random_set(&rng);
        roaring_bitmap_t *back = NULL;
        CLEANUP(buf_freep) struct buf out = {0};
        uint64_t count = 0;
        set_encode(set, &out);
        assert_ok(set_decode(buf_as_str(&out), UINT32_MAX, &count, &back, &err));
        assert_int_equal(count, roaring_bitmap_get_cardinality(set));
        assert_true(roaring_bitmap_equals(set, back));
        uint64_t total = 0;
        for (uint32_t key = 0; key < 10; key++) {
            uint32_t got = 0;
            assert_ok(set_container(buf_as_str(&out), key, 65536, rows, &got, &err));
            for (uint32_t i = 0; i < got; i++) {
                assert_true(roaring_bitmap_contains(set, key << 16 | rows[i]));
                assert_true(i == 0 || rows[i] > rows[i - 1]);
            }
            total += got;
        }
        assert_int_equal(total, count);
        if (count > 0) {
            uint32_t last = roaring_bitmap_maximum(set);
            assert_ok(set_check(buf_as_str(&out), last, &count, &err));
            if (last > 0) {
                assert_fails(set_check(buf_as_str(&out), last - 1, &count, &err), ERR_CORRUPT,
                             "member");
            }
        }
        roaring_bitmap_free(back);
        roaring_bitmap_free(set);
    }
}

static void a_damaged_set_is_refused_or_still_a_set(void **state)
{
    static uint16_t rows[BLOCK_ROWS];
    struct rng rng = rng_init(segment_test_seed());
    struct err err = {0};
    uint32_t failed = 0;
    for (uint32_t trial = 0; trial < 3000; trial++) {
        roaring_bitmap_t *set = random_set(&rng);
        roaring_bitmap_t *back = NULL;
        CLEANUP(buf_freep) struct buf out = {0};
        set_encode(set, &out);
        damage(&rng, &out);
        uint8_t *bytes = copy_exact(&out);
        struct str text = {(const char *)bytes, out.len};
        uint64_t count = 0;
        if (set_decode(text, UINT32_MAX, &count, &back, &err) != ERR_OK) {
            failed++;
        } else {
            /* what passes the check is sound: CRoaring counts and unites it as it counts itself */
            roaring_bitmap_t *both = roaring_bitmap_or(set, back);
            assert_int_equal(count, roaring_bitmap_get_cardinality(back));
            assert_true(roaring_bitmap_is_subset(back, both));
            roaring_bitmap_free(both);
            roaring_bitmap_free(back);
        }
        for (uint32_t key = 0; key < 10; key++) {
            uint32_t got = 0;
            if (set_container(text, key, 60000, rows, &got, &err) == ERR_OK) {
                for (uint32_t i = 0; i < got; i++) {
                    assert_true(rows[i] < 60000 && (i == 0 || rows[i] > rows[i - 1]));
                }
            }
        }
        free(bytes);
        roaring_bitmap_free(set);
    }
    assert_true(failed > 500);
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
        cmocka_unit_test(damaged_strings_never_harm),
        cmocka_unit_test(sets_come_back_whole_and_by_container),
        cmocka_unit_test(a_damaged_set_is_refused_or_still_a_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
