/* tests/unit/storage/test_ids.c - tests of storage/ids.c: numbers are given once and come back the same. */
#include "tests/support/claims.h"

#include "storage/ids.h"
#include "tests/support/live_events.h"

#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[64];
    char path[96];
    struct io *io;
};

static int setup(void **state)
{
    struct err err = {0};
    struct fixture *f = calloc(1, sizeof(*f));
    live_dir_make(f->dir);
    snprintf(f->path, sizeof(f->path), "%s/ids.log", f->dir);
    assert_ok(io_create(IO_POSIX, &f->io, &err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    io_free(f->io);
    live_dir_remove(f->dir);
    free(f);
    return 0;
}

static struct ids *open_at(struct fixture *f, struct ids_mark mark, uint64_t *ret_cut)
{
    struct err err = {0};
    struct ids *ids = NULL;
    assert_ok(ids_open(f->io, f->path, 42, mark, false, &ids, ret_cut, &err));
    return ids;
}

static void add(struct ids *ids, uint32_t first, uint32_t end)
{
    struct err err = {0};
    for (uint32_t i = first; i < end; i++) {
        char key[32];
        uint32_t shard = 0;
        uint32_t subject = 0;
        snprintf(key, sizeof(key), "user-%u", i);
        assert_ok(ids_add(ids, ID_USER, str_of(key), &shard, &subject, &err));
    }
}

static void kinds_are_separate_name_spaces_and_numbers_have_no_gaps(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint64_t cut = 0;
    uint32_t given[SHARD_COUNT] = {0};
    struct ids *ids = open_at(f, (struct ids_mark){0}, &cut);
    for (uint32_t i = 0; i < 40000; i++) {
        char key[32];
        uint32_t shard = 0;
        uint32_t subject = 0;
        uint32_t again_shard = 0;
        uint32_t again_subject = 0;
        snprintf(key, sizeof(key), "%u", i / 2);
        enum id_kind kind = i % 2 == 0 ? ID_USER : ID_ANONYMOUS;
        assert_false(ids_find(ids, kind, str_of(key), &shard, &subject));
        assert_ok(ids_add(ids, kind, str_of(key), &shard, &subject, &err));
        assert_int_equal(subject, given[shard]++);
        assert_ok(ids_add(ids, kind, str_of(key), &again_shard, &again_subject, &err));
        assert_int_equal(again_shard, shard);
        assert_int_equal(again_subject, subject);
        assert_true(ids_find(ids, kind, str_of(key), &again_shard, &again_subject));
    }
    assert_int_equal(ids_count(ids), 40000);
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        assert_int_equal(ids_subjects(ids, i), given[i]);
        assert_in_range(given[i], 2000, 3000); /* spread evenly */
    }
    ids_close(ids);
}

static void opening_reads_the_mark_and_cuts_the_rest(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint64_t cut = 0;
    struct ids_mark first;
    struct ids_mark second;
    struct ids *ids = open_at(f, (struct ids_mark){0}, &cut);
    add(ids, 0, 60);
    assert_int_equal(ids_seal(ids), 60);
    add(ids, 60, 100);
    assert_ok(ids_flush(ids, f->io, 60, &first, &err));
    assert_int_equal(first.count, 60);
    ids_confirm(ids, first);
    assert_ok(ids_flush(ids, f->io, ids_seal(ids), &second, &err));
    struct id_entry want = ids_entry(ids, 59);
    char key[32];
    memcpy(key, want.key.ptr, want.key.len);
    want.key.ptr = key;
    ids_close(ids);

    ids = open_at(f, first, &cut); /* the second was never published */
    assert_int_equal(cut, second.bytes - first.bytes);
    assert_int_equal(ids_count(ids), 60);
    assert_ok(ids_restore(ids, &want, &err));
    assert_int_equal(ids_count(ids), 60);
    add(ids, 60, 100); /* the same order gives the same numbers and the same bytes */
    struct ids_mark again;
    assert_ok(ids_flush(ids, f->io, ids_seal(ids), &again, &err));
    assert_int_equal(again.bytes, second.bytes);
    ids_close(ids);
    ids = open_at(f, again, &cut);
    assert_int_equal(cut, 0);
    assert_int_equal(ids_count(ids), 100);
    ids_close(ids);
}

static void a_flush_that_was_not_confirmed_is_written_again(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint64_t cut = 0;
    struct ids_mark mark;
    struct ids *ids = open_at(f, (struct ids_mark){0}, &cut);
    add(ids, 0, 10);
    assert_ok(ids_flush(ids, f->io, ids_seal(ids), &mark, &err));
    add(ids, 10, 30);
    assert_ok(ids_flush(ids, f->io, ids_seal(ids), &mark, &err));
    ids_confirm(ids, mark);
    ids_close(ids);
    ids = open_at(f, mark, &cut);
    assert_int_equal(ids_count(ids), 30);
    ids_close(ids);
}

static void every_damaged_byte_is_found(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint64_t cut = 0;
    struct ids_mark mark;
    struct ids *ids = open_at(f, (struct ids_mark){0}, &cut);
    add(ids, 0, 5);
    assert_ok(ids_flush(ids, f->io, ids_seal(ids), &mark, &err));
    ids_confirm(ids, mark);
    add(ids, 5, 9);
    assert_ok(ids_flush(ids, f->io, ids_seal(ids), &mark, &err));
    ids_close(ids);
    for (uint64_t at = 0; at < mark.bytes; at++) {
        for (uint32_t pass = 0; pass < 2; pass++) {
            FILE *file = fopen(f->path, "r+");
            assert_non_null(file);
            assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
            int byte = fgetc(file);
            assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
            fputc(byte ^ 4, file);
            fclose(file);
            if (pass == 0) {
                struct ids *none = NULL;
                assert_fails(ids_open(f->io, f->path, 42, mark, false, &none, &cut, &err),
                             ERR_CORRUPT, "ids.log");
            }
        }
    }
    assert_int_equal(truncate(f->path, (off_t)mark.bytes - 1), 0);
    struct ids *none = NULL;
    assert_fails(ids_open(f->io, f->path, 42, mark, false, &none, &cut, &err), ERR_CORRUPT,
                 "the catalog says");
}

static void a_replayed_id_must_get_its_number_again(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint64_t cut = 0;
    struct ids *ids = open_at(f, (struct ids_mark){0}, &cut);
    struct id_entry entry = {STR("a"), ID_USER, 3, 0};
    assert_ok(ids_restore(ids, &entry, &err));
    assert_ok(ids_restore(ids, &entry, &err));
    entry.subject = 1;
    assert_fails(ids_restore(ids, &entry, &err), ERR_CORRUPT, "expected 3/1");
    entry = (struct id_entry){STR("b"), ID_USER, 3, 7};
    assert_fails(ids_restore(ids, &entry, &err), ERR_CORRUPT, "expected 3/7");
    entry = (struct id_entry){STR("c"), ID_USER, SHARD_COUNT, 0};
    assert_fails(ids_restore(ids, &entry, &err), ERR_CORRUPT, "shard 16");
    ids_close(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kinds_are_separate_name_spaces_and_numbers_have_no_gaps,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(opening_reads_the_mark_and_cuts_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flush_that_was_not_confirmed_is_written_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_damaged_byte_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_replayed_id_must_get_its_number_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
