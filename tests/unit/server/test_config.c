/* tests/unit/server/test_config.c - the option table and what reads it. */
#include "server/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct config config;
static struct err err;

static enum err_code load(const char *const *args, enum config_action *ret_action)
{
    static char name[] = "trackwayd";
    char *argv[16] = {name};
    int argc = 1;
    for (; args[argc - 1] != NULL; argc++) {
        argv[argc] = strdup(args[argc - 1]);
    }
    enum err_code code = config_load(argc, argv, &config, ret_action, &err);
    for (int i = 1; i < argc; i++) {
        free(argv[i]);
    }
    return code;
}

#define LOAD(...) load((const char *const[]){__VA_ARGS__, NULL}, &(enum config_action){0})

static void no_options_give_the_documented_defaults(void **state)
{
    (void)state;
    enum config_action action = CONFIG_HELP;
    assert_int_equal(load((const char *const[]){NULL}, &action), ERR_OK);
    assert_int_equal(action, CONFIG_SERVE);
    assert_string_equal(config.listen, "127.0.0.1:7717");
    assert_int_equal(config.event_bytes_max, 1024 * 1024);
    assert_int_equal(config.body_bytes_max, 64 * 1024 * 1024);
    assert_int_equal(config.http_threads, 1);
    assert_int_equal(config.query_threads, (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
    assert_int_equal(config.queries_max, 64);
    assert_int_equal(config.queries_memory_max, 4ull << 30);
    assert_int_equal(config.io, IO_AUTO);
    assert_int_equal(config.log_level, LOG_INFO);
}

static void both_spellings_of_an_option_set_it(void **state)
{
    (void)state;
    assert_int_equal(LOAD("--data", "/x", "--io=pread", "--log-level", "warn", "--queue-max=7",
                          "--backlog-max", "99"),
                     ERR_OK);
    assert_string_equal(config.data, "/x");
    assert_int_equal(config.io, IO_POSIX);
    assert_int_equal(config.log_level, LOG_WARN);
    assert_int_equal(config.queue_max, 7);
    assert_int_equal(config.backlog_max, 99);
    assert_int_equal(LOAD("--backlog-max", "63"), ERR_INVALID);
}

static void quantities_take_their_units(void **state)
{
    (void)state;
    assert_int_equal(LOAD("--event-bytes-max", "2 MiB", "--block-cache-bytes=3GiB",
                          "--body-bytes-max", "65536", "--query-timeout-ms", "2 min",
                          "--drain-timeout-ms", "250"),
                     ERR_OK);
    assert_int_equal(config.event_bytes_max, 2 << 20);
    assert_int_equal(config.block_cache_bytes, 3ull << 30);
    assert_int_equal(config.body_bytes_max, 65536);
    assert_int_equal(config.query_timeout_ms, 120000);
    assert_int_equal(config.drain_timeout_ms, 250);
}

static void refused_with(const char *name, const char *value, const char *message)
{
    assert_int_equal(LOAD(name, value), ERR_INVALID);
    assert_string_equal(err.message, message);
}

static void a_wrong_value_is_refused_with_what_is_allowed(void **state)
{
    (void)state;
    refused_with("--queue-max", "0",
                 "option \"queue-max\": 0 is out of bounds, allowed are 1 to 100000");
    refused_with("--queue-max", "-1", "option \"queue-max\": \"-1\" is not a whole number");
    refused_with("--queue-max", "1 MiB", "option \"queue-max\": \"1 MiB\" is not a whole number");
    refused_with("--flush-bytes", "12 parsecs",
                 "option \"flush-bytes\": \"12 parsecs\" is not bytes, as in 64 MiB");
    refused_with("--flush-bytes", "99999999999999999999",
                 "option \"flush-bytes\": \"99999999999999999999\" is not bytes, as in 64 MiB");
    refused_with("--flush-bytes", "18014398509481984 KiB",
                 "option \"flush-bytes\": \"18014398509481984 KiB\" is not bytes, as in 64 MiB");
    refused_with("--flush-bytes", "", "option \"flush-bytes\": \"\" is not bytes, as in 64 MiB");
    refused_with("--query-timeout-ms", "0",
                 "option \"query-timeout-ms\": 0 is out of bounds, allowed are 1 ms to 24 h");
    refused_with("--io", "mmap", "option \"io\": \"mmap\" is none of auto, uring, pread");
    refused_with("--data", "", "option \"data\": 0 bytes, allowed are 1 to 1023");
}

static void an_unknown_option_suggests_the_nearest(void **state)
{
    (void)state;
    refused_with("--block-cache-byte", "1",
                 "unknown option \"block-cache-byte\"; did you mean \"block-cache-bytes\"?");
    refused_with("--lisen", "x", "unknown option \"lisen\"; did you mean \"listen\"?");
    refused_with("--zzzzzzzzzz", "1", "unknown option \"zzzzzzzzzz\"; --help lists them all");
}

static void an_option_without_value_or_dashes_is_refused(void **state)
{
    (void)state;
    assert_int_equal(LOAD("--data"), ERR_INVALID);
    assert_string_equal(err.message, "option \"data\" needs a value");
    assert_int_equal(LOAD("data"), ERR_INVALID);
    assert_string_equal(err.message, "\"data\" is not an option; options are --NAME VALUE");
    assert_int_equal(LOAD("--"), ERR_INVALID);
    assert_int_equal(LOAD("--lisen"), ERR_INVALID);
    assert_string_equal(err.message, "unknown option \"lisen\"; did you mean \"listen\"?");
}

static void a_refused_option_leaves_the_configuration_alone(void **state)
{
    (void)state;
    memset(&config, 0x55, sizeof(config));
    struct config before = config;
    assert_int_equal(LOAD("--queue-max", "8", "--io", "x"), ERR_INVALID);
    assert_memory_equal(&config, &before, sizeof(config));
}

static void a_file_sets_options_and_the_command_line_wins(void **state)
{
    (void)state;
    char path[] = "/tmp/trackway-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char text[] = "# a comment\n\n  queue-max = 11   # of each pool\r\nlisten=[::1]:1\n"
                        "io = uring";
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    assert_int_equal(LOAD("--queue-max", "12", "--config", path), ERR_OK);
    unlink(path);
    assert_int_equal(config.queue_max, 12);
    assert_string_equal(config.listen, "[::1]:1");
    assert_int_equal(config.io, IO_URING);
}

static void a_mistake_in_a_file_is_named_with_its_line(void **state)
{
    (void)state;
    struct config parsed;
    config_default(&parsed);
    assert_int_equal(
        config_parse_file(STR("\nqueue-max = 1\nlissten = x\n"), "t.conf", &parsed, &err),
        ERR_INVALID);
    assert_string_equal(err.message,
                        "\"t.conf\" line 3: unknown option \"lissten\"; did you mean \"listen\"?");
    assert_int_equal(config_parse_file(STR("queue-max 1"), "t.conf", &parsed, &err), ERR_INVALID);
    assert_string_equal(err.message, "\"t.conf\" line 1: no \"=\" in \"queue-max 1\"");
    assert_int_equal(LOAD("--config", "/nonexistent/t.conf"), ERR_NOT_FOUND);
}

static void what_is_printed_reads_back_as_the_same_configuration(void **state)
{
    (void)state;
    assert_int_equal(LOAD("--io", "uring", "--event-bytes-max", "12345", "--flush-rows", "3",
                          "--drain-timeout-ms", "0", "--query-timeout-ms", "90 s"),
                     ERR_OK);
    struct buf text = {0};
    config_print(&config, &text);
    struct config again;
    config_default(&again);
    assert_int_equal(config_parse_file(buf_as_str(&text), "printed", &again, &err), ERR_OK);
    buf_done(&text);
    assert_memory_equal(&again, &config, sizeof(config));
}

static void the_sample_reads_as_the_defaults(void **state)
{
    (void)state;
    struct buf text = {0};
    struct config sample;
    struct config defaults;
    config_sample(&text);
    config_default(&defaults);
    memset(&sample, 0, sizeof(sample));
    config_default(&sample);
    assert_int_equal(config_set(&sample, STR("queue-max"), STR("77"), &err), ERR_OK);
    assert_int_equal(config_parse_file(buf_as_str(&text), "sample", &sample, &err), ERR_OK);
    buf_done(&text);
    assert_memory_equal(&sample, &defaults, sizeof(sample));
}

static void the_sample_in_the_tree_is_the_one_that_is_printed(void **state)
{
    (void)state;
    struct buf text = {0};
    struct buf file = {0};
    struct io *io = NULL;
    config_sample(&text);
    assert_int_equal(io_create(IO_POSIX, &io, &err), ERR_OK);
    assert_int_equal(io_read_file(io, SOURCE_ROOT "/server/server.conf", 1 << 20, &file, &err),
                     ERR_OK);
    assert_true(str_eq(buf_as_str(&text), buf_as_str(&file)));
    io_free(io);
    buf_done(&text);
    buf_done(&file);
}

static void help_names_every_option_and_ends_with_three_commands(void **state)
{
    (void)state;
    struct buf help = {0};
    struct buf names = {0};
    config_default(&config);
    config_help(&help);
    buf_u8(&help, '\0');
    config_print(&config, &names);
    buf_u8(&names, '\0');
    for (char *line = strtok((char *)names.ptr, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char option[128];
        *strchr(line, ' ') = '\0';
        snprintf(option, sizeof(option), "--%s ", line);
        assert_non_null(strstr((char *)help.ptr, option));
    }
    const char *commands = strstr((char *)help.ptr, "\n  trackwayd --data");
    assert_non_null(commands);
    int lines = 0;
    for (const char *at = commands + 1; *at != '\0'; at++) {
        lines += *at == '\n';
    }
    assert_int_equal(lines, 3);
    buf_done(&help);
    buf_done(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_options_give_the_documented_defaults),
        cmocka_unit_test(both_spellings_of_an_option_set_it),
        cmocka_unit_test(quantities_take_their_units),
        cmocka_unit_test(a_wrong_value_is_refused_with_what_is_allowed),
        cmocka_unit_test(an_unknown_option_suggests_the_nearest),
        cmocka_unit_test(an_option_without_value_or_dashes_is_refused),
        cmocka_unit_test(a_refused_option_leaves_the_configuration_alone),
        cmocka_unit_test(a_file_sets_options_and_the_command_line_wins),
        cmocka_unit_test(a_mistake_in_a_file_is_named_with_its_line),
        cmocka_unit_test(what_is_printed_reads_back_as_the_same_configuration),
        cmocka_unit_test(the_sample_reads_as_the_defaults),
        cmocka_unit_test(the_sample_in_the_tree_is_the_one_that_is_printed),
        cmocka_unit_test(help_names_every_option_and_ends_with_three_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
