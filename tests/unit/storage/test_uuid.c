/* tests/unit/storage/test_uuid.c - UUIDs as 16 bytes and back, beside a digit-by-digit reading. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/rng.h"
#include "storage/uuid.h"

static const char PLAIN[] = "01234567-89ab-cdef-0123-456789abcdef";

static bool is_dash(size_t at)
{
    return at == 8 || at == 13 || at == 18 || at == 23;
}

/* Slow and obvious. */
static bool ref_pack(const char *text, uint8_t out[UUID_PACKED_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    uint32_t digits = 0;
    for (size_t i = 0; i < UUID_TEXT_BYTES; i++) {
        if (is_dash(i)) {
            if (text[i] != '-') {
                return false;
            }
            continue;
        }
        const char *found = text[i] == '\0' ? NULL : strchr(hex, text[i]);
        if (found == NULL) {
            return false;
        }
        uint8_t value = (uint8_t)(found - hex);
        out[digits / 2] = (uint8_t)(digits % 2 == 0 ? value << 4 : out[digits / 2] | value);
        digits++;
    }
    return true;
}

static void check(const char *text)
{
    uint8_t want[UUID_PACKED_BYTES] = {0};
    uint8_t got[UUID_PACKED_BYTES] = {0};
    bool is_uuid = ref_pack(text, want);
    assert_int_equal(uuid_text_pack((struct str){text, UUID_TEXT_BYTES}, got), is_uuid);
    if (is_uuid) {
        char back[UUID_TEXT_BYTES];
        assert_memory_equal(got, want, sizeof(want));
        uuid_text_unpack(got, back);
        assert_memory_equal(back, text, sizeof(back));
    }
}

static void every_byte_at_every_place_is_judged_right(void **state)
{
    (void)state;
    char text[UUID_TEXT_BYTES];
    for (size_t at = 0; at < UUID_TEXT_BYTES; at++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            memcpy(text, PLAIN, sizeof(text));
            text[at] = (char)byte;
            check(text);
        }
    }
}

static void random_uuids_come_back(void **state)
{
    (void)state;
    struct rng rng = rng_init(7);
    for (uint32_t i = 0; i < 20000; i++) {
        char text[UUID_TEXT_BYTES];
        for (size_t at = 0; at < UUID_TEXT_BYTES; at++) {
            text[at] = is_dash(at) ? '-' : "0123456789abcdef"[rng_below(&rng, 16)];
        }
        check(text);
    }
}

static void other_lengths_are_no_uuid(void **state)
{
    (void)state;
    uint8_t packed[UUID_PACKED_BYTES];
    assert_false(uuid_text_pack((struct str){PLAIN, UUID_TEXT_BYTES - 1}, packed));
    assert_false(uuid_text_pack((struct str){PLAIN, sizeof(PLAIN)}, packed));
    assert_false(uuid_text_pack((struct str){"", 0}, packed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_at_every_place_is_judged_right),
        cmocka_unit_test(random_uuids_come_back),
        cmocka_unit_test(other_lengths_are_no_uuid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
