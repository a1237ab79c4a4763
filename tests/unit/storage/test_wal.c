/* tests/unit/storage/test_wal.c - tests of storage/wal.c: what was committed comes back, a torn tail
 * goes, damage elsewhere is named. */
#include "tests/support/claims.h"

#include "storage/base/rng.h"
#include "storage/wal.h"
#include "tests/support/live_events.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[64];
    char wal_dir[80];
    struct io *io;
};

static int setup(void **state)
{
    struct err err = {0};
    struct fixture *f = calloc(1, sizeof(*f));
    live_dir_make(f->dir);
    snprintf(f->wal_dir, sizeof(f->wal_dir), "%s/wal", f->dir);
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

/* Replayed records must be number 1, 2, ... with the payload that payload_of gives. */
struct seen {
    uint64_t first, count;
};

static size_t payload_of(uint64_t seq, char out[64])
{
    size_t len = 1 + seq * 7 % 50;
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)(seq * 31 + i);
    }
    return len;
}

static enum err_code note(void *arg, uint64_t seq, struct str payload, struct err *err)
{
    struct seen *seen = arg;
    char want[64];
    size_t len = payload_of(seq, want);
    if (payload.len != len || memcmp(payload.ptr, want, len) != 0 ||
        (seen->count > 0 && seq != seen->first + seen->count)) {
        return err_set(err, ERR_INVALID, "record %" PRIu64 " is not as written", seq);
    }
    if (seen->count == 0) {
        seen->first = seq;
    }
    seen->count++;
    return ERR_OK;
}

static void append(struct fixture *f, struct wal *wal, uint32_t count)
{
    struct err err = {0};
    for (uint32_t i = 0; i < count; i++) {
        char payload[64];
        uint64_t seq = 0;
        uint64_t next = wal_last_seq(wal) + i + 1;
        size_t len = payload_of(next, payload);
        assert_ok(wal_append(wal, (struct str){payload, len}, &seq, &err));
        assert_int_equal(seq, next);
    }
    assert_ok(wal_commit(wal, f->io, &err));
}

static enum err_code reopen(struct fixture *f, uint64_t first_file, struct wal **ret,
                            struct seen *seen, struct wal_replay_report *report, struct err *err)
{
    *seen = (struct seen){0};
    return wal_open(f->io, f->wal_dir, first_file, note, seen, ret, report, err);
}

static void file_path(const struct fixture *f, uint32_t file, char out[128])
{
    snprintf(out, 128, "%s/%08u.log", f->wal_dir, file);
}

static off_t file_size(const char *path)
{
    struct stat stat_buf;
    assert_int_equal(stat(path, &stat_buf), 0);
    return stat_buf.st_size;
}

static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    fputc(byte ^ 0x10, file);
    fclose(file);
}

static void committed_records_come_back_in_order_over_many_openings(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct seen seen;
    struct wal_replay_report report;
    for (uint32_t round = 0; round < 6; round++) {
        struct wal *wal = NULL;
        assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
        assert_int_equal(seen.count, round * 10);
        assert_int_equal(report.records, round * 10);
        assert_int_equal(report.torn_bytes, 0);
        assert_int_equal(wal_last_seq(wal), round * 10);
        append(f, wal, 10);
        wal_close(wal);
    }
}

static void what_was_not_committed_does_not_come_back(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct seen seen;
    struct wal_replay_report report;
    struct wal *wal = NULL;
    uint64_t seq = 0;
    assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
    append(f, wal, 3);
    assert_ok(wal_append(wal, STR("lost"), &seq, &err));
    wal_close(wal);
    assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
    assert_int_equal(seen.count, 3);
    wal_close(wal);
}

static void a_tail_torn_at_any_byte_costs_the_last_record_only(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct seen seen;
    struct wal_replay_report report;
    struct wal *wal = NULL;
    char path[128];
    char last[64];
    char payload[64];
    uint64_t seq = 0;
    size_t last_bytes = WAL_RECORD_HEAD_BYTES + payload_of(4, last);
    for (size_t cut = 0; cut < last_bytes; cut++) {
        live_dir_remove(f->wal_dir);
        assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
        append(f, wal, 4);
        wal_close(wal);
        file_path(f, 1, path);
        assert_int_equal(truncate(path, file_size(path) - (off_t)(last_bytes - cut)), 0);
        assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
        assert_int_equal(seen.count, 3);
        assert_int_equal(report.torn_bytes, cut);
        /* What is acknowledged after the cut survives the next opening. */
        size_t len = payload_of(4, payload);
        assert_ok(wal_append(wal, (struct str){payload, len}, &seq, &err));
        assert_ok(wal_commit(wal, f->io, &err));
        wal_close(wal);
        assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
        assert_int_equal(seen.count, 4);
        assert_int_equal(report.torn_bytes, 0);
        wal_close(wal);
    }
}

static void a_tail_of_zeroes_or_noise_is_cut(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct seen seen;
    struct wal_replay_report report;
    struct wal *wal = NULL;
    struct rng rng = rng_init(test_seed());
    char path[128];
    for (uint32_t round = 0; round < 40; round++) {
        live_dir_remove(f->wal_dir);
        assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
        append(f, wal, 5);
        wal_close(wal);
        file_path(f, 1, path);
        FILE *file = fopen(path, "a");
        assert_non_null(file);
        uint32_t tail = 1 + (uint32_t)rng_below(&rng, 5000);
        for (uint32_t i = 0; i < tail; i++) {
            fputc(round % 2 == 0 ? 0 : (int)rng_below(&rng, 256), file);
        }
        fclose(file);
        assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
        assert_int_equal(seen.count, 5);
        assert_int_equal(report.torn_bytes, tail);
        wal_close(wal);
    }
}

static void a_flipped_bit_in_an_earlier_file_is_damage(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct seen seen;
    struct wal_replay_report report;
    struct wal *wal = NULL;
    uint64_t file = 0;
    char path[128];
    assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
    append(f, wal, 4);
    assert_ok(wal_rotate(wal, f->io, &file, &err));
    assert_int_equal(file, 2);
    append(f, wal, 4);
    wal_close(wal);
    file_path(f, 1, path);
    for (long at = 0; at < file_size(path); at++) {
        flip(path, at);
        enum err_code code = reopen(f, 1, &wal, &seen, &report, &err);
        if (at >= 4 && at < 8) {
            assert_true(code == ERR_CORRUPT || code == ERR_UNSUPPORTED);
        } else {
            assert_int_equal(code, ERR_CORRUPT);
        }
        assert_non_null(strstr(err.message, "00000001.log"));
        flip(path, at);
    }
    assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
    assert_int_equal(seen.count, 8);
    wal_close(wal);
}

static void files_below_the_floor_go_and_a_missing_one_is_damage(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct seen seen;
    struct wal_replay_report report;
    struct wal *wal = NULL;
    uint64_t file = 0;
    char path[128];
    assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
    append(f, wal, 4);
    uint64_t full_bytes = wal_bytes(wal);
    assert_ok(wal_rotate(wal, f->io, &file, &err));
    append(f, wal, 2);
    assert_ok(wal_drop_before(wal, f->io, file, &err));
    assert_true(wal_bytes(wal) < full_bytes);
    file_path(f, 1, path);
    assert_int_not_equal(access(path, F_OK), 0);
    wal_close(wal);
    assert_ok(reopen(f, 2, &wal, &seen, &report, &err));
    assert_int_equal(seen.first, 5);
    assert_int_equal(seen.count, 2);
    assert_int_equal(wal_last_seq(wal), 6);
    wal_close(wal);
    file_path(f, 2, path);
    assert_int_equal(unlink(path), 0);
    assert_fails(reopen(f, 2, &wal, &seen, &report, &err), ERR_CORRUPT, "expected all from 2");
    live_dir_remove(f->wal_dir);
    assert_fails(reopen(f, 2, &wal, &seen, &report, &err), ERR_CORRUPT, "file 2 is missing");
}

static void an_empty_log_keeps_its_numbers(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct seen seen;
    struct wal_replay_report report;
    struct wal *wal = NULL;
    uint64_t file = 0;
    assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
    append(f, wal, 9);
    assert_ok(wal_rotate(wal, f->io, &file, &err));
    assert_ok(wal_drop_before(wal, f->io, file, &err));
    assert_int_equal(wal_bytes(wal), WAL_HEADER_BYTES);
    wal_close(wal);
    assert_ok(reopen(f, file, &wal, &seen, &report, &err));
    assert_int_equal(seen.count, 0);
    assert_int_equal(wal_last_seq(wal), 9);
    append(f, wal, 1);
    wal_close(wal);
}

static void empty_and_oversized_records_are_refused(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct seen seen;
    struct wal_replay_report report;
    struct wal *wal = NULL;
    uint64_t seq = 0;
    assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
    assert_fails(wal_append(wal, (struct str){"", 0}, &seq, &err), ERR_LIMIT, "0 bytes");
    assert_fails(wal_append(wal, (struct str){"", (size_t)WAL_RECORD_BYTES_MAX + 1}, &seq, &err),
                 ERR_LIMIT, "at most");
    append(f, wal, 1); /* a refused record breaks nothing */
    wal_close(wal);
}

/* fdatasync fails once: see the linker's --wrap in meson.build. */
static int syncs_to_fail;
int __wrap_fdatasync(int fd);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    if (syncs_to_fail > 0) {
        syncs_to_fail--;
        errno = EIO;
        return -1;
    }
    return __real_fdatasync(fd);
}

static void a_failed_sync_breaks_the_log_until_reopened(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct seen seen;
    struct wal_replay_report report;
    struct wal *wal = NULL;
    uint64_t seq = 0;
    char payload[64];
    assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
    append(f, wal, 2);
    assert_ok(wal_append(wal, (struct str){payload, payload_of(3, payload)}, &seq, &err));
    syncs_to_fail = 1;
    assert_int_equal(wal_commit(wal, f->io, &err), ERR_IO);
    assert_fails(wal_commit(wal, f->io, &err), ERR_IO, "broken until reopened");
    assert_fails(wal_append(wal, STR("x"), &seq, &err), ERR_IO, "broken until reopened");
    wal_close(wal);
    assert_ok(reopen(f, 1, &wal, &seen, &report, &err));
    assert_true(seen.count == 2 || seen.count == 3);
    wal_close(wal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(committed_records_come_back_in_order_over_many_openings,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_committed_does_not_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tail_torn_at_any_byte_costs_the_last_record_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_tail_of_zeroes_or_noise_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flipped_bit_in_an_earlier_file_is_damage, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(files_below_the_floor_go_and_a_missing_one_is_damage, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_empty_log_keeps_its_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_and_oversized_records_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_sync_breaks_the_log_until_reopened, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
