/* tests/unit/base/test_err.c - storage/base/err.c. */
#include "tests/support/claims.h"

#include <errno.h>

static void set_fills_code_and_message_and_clears_the_place(void **state)
{
    struct err err = {.line = 7, .column = 9};
    assert_int_equal(err_set(&err, ERR_LIMIT, "%d of %s", 5, "ten"), ERR_LIMIT);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(err.line, 0);
    assert_int_equal(err.column, 0);
    assert_string_equal(err.message, "5 of ten");
}

static void set_at_keeps_the_place_and_context_keeps_it_too(void **state)
{
    struct err err;
    assert_int_equal(err_set_at(&err, ERR_INVALID, 3, 14, "unknown word"), ERR_INVALID);
    assert_int_equal(err_context(&err, "query %u", 8u), ERR_INVALID);
    assert_int_equal(err.line, 3);
    assert_int_equal(err.column, 14);
    assert_string_equal(err.message, "query 8: unknown word");
}

static void an_argument_may_point_into_the_message(void **state)
{
    struct err err;
    err_set(&err, ERR_IO, "disk");
    err_set(&err, ERR_CORRUPT, "not a %s, a %s", err.message, err.message);
    assert_string_equal(err.message, "not a disk, a disk");
    err_context(&err, "seen by %s", err.message);
    assert_string_equal(err.message, "seen by not a disk, a disk: not a disk, a disk");
}

static void errno_gives_its_reason_even_behind_a_long_path(void **state)
{
    struct err err;
    char path[3000];
    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    const char *reason = ": No space left on device";
    assert_int_equal(err_set_errno(&err, ENOSPC, "file \"%s\"", path), ERR_IO);
    size_t len = strlen(err.message);
    assert_int_equal(len, ERR_MESSAGE_BYTES - 1);
    assert_string_equal(err.message + len - strlen(reason), reason);
}

static void a_missing_file_is_not_found_and_other_reasons_are_io(void **state)
{
    struct err err;
    assert_int_equal(err_set_errno(&err, ENOENT, "file"), ERR_NOT_FOUND);
    assert_string_equal(err.message, "file: No such file or directory");
    assert_int_equal(err_set_errno(&err, EROFS, "file"), ERR_IO);
    assert_string_equal(err.message, "file: Read-only file system");
    assert_int_equal(err_set_errno(&err, 99999, "file"), ERR_IO);
    assert_non_null(strstr(err.message, "99999"));
}

/* For every length around the bound: cut, terminated, and no half of a character at the end. */
static void a_long_message_is_cut_between_characters(void **state)
{
    const char *chars[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t c = 0; c < COUNT_OF(chars); c++) {
        for (size_t pad = ERR_MESSAGE_BYTES - 8; pad < ERR_MESSAGE_BYTES + 2; pad++) {
            char text[ERR_MESSAGE_BYTES + 16];
            memset(text, 'a', pad);
            strcpy(text + pad, chars[c]);
            struct err err;
            err_set(&err, ERR_INVALID, "%s", text);
            size_t fits = pad + strlen(chars[c]) < ERR_MESSAGE_BYTES ? pad + strlen(chars[c]) : pad;
            fits = fits < ERR_MESSAGE_BYTES ? fits : ERR_MESSAGE_BYTES - 1;
            assert_int_equal(strlen(err.message), fits);
            assert_memory_equal(err.message, text, fits);
        }
    }
}

static void context_on_a_full_message_stays_within_it(void **state)
{
    struct err err;
    char text[ERR_MESSAGE_BYTES];
    memset(text, 'm', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    err_set(&err, ERR_CORRUPT, "%s", text);
    for (int level = 0; level < 300; level++) {
        assert_int_equal(err_context(&err, "level %d", level), ERR_CORRUPT);
        assert_int_equal(strlen(err.message), ERR_MESSAGE_BYTES - 1);
    }
    assert_memory_equal(err.message, "level 299: level 298: ", 22);
}

static void bytes_that_are_not_utf8_are_kept(void **state)
{
    struct err err;
    char text[ERR_MESSAGE_BYTES + 8];
    memset(text, '\x80', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    err_set(&err, ERR_INVALID, "%s", text);
    assert_int_equal(strlen(err.message), ERR_MESSAGE_BYTES - 1);
}

static void every_code_has_its_own_name(void **state)
{
    for (int a = ERR_OK; a <= ERR_NOMEM; a++) {
        assert_string_not_equal(err_code_name((enum err_code)a), "unknown");
        for (int b = ERR_OK; b < a; b++) {
            assert_string_not_equal(err_code_name((enum err_code)a),
                                    err_code_name((enum err_code)b));
        }
    }
    assert_string_equal(err_code_name(ERR_NOT_FOUND), "not_found");
    assert_string_equal(err_code_name((enum err_code)(ERR_NOMEM + 1)), "unknown");
}

static void take_gives_the_pointer_and_leaves_null(void **state)
{
    int value = 5;
    int *ptr = &value;
    int *taken = TAKE(ptr);
    assert_ptr_equal(taken, &value);
    assert_null(ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_fills_code_and_message_and_clears_the_place),
        cmocka_unit_test(set_at_keeps_the_place_and_context_keeps_it_too),
        cmocka_unit_test(an_argument_may_point_into_the_message),
        cmocka_unit_test(errno_gives_its_reason_even_behind_a_long_path),
        cmocka_unit_test(a_missing_file_is_not_found_and_other_reasons_are_io),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(context_on_a_full_message_stays_within_it),
        cmocka_unit_test(bytes_that_are_not_utf8_are_kept),
        cmocka_unit_test(every_code_has_its_own_name),
        cmocka_unit_test(take_gives_the_pointer_and_leaves_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
