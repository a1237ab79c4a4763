/* server/config.h - what can be set, from one table.
 *
 * Each option is one row (name, kind, default, bounds, sentence); the row serves the command line
 * (`--name VALUE`, `--name=VALUE`), the file given by --config (`name = value`, `#` starts a
 * comment),
 * --help, --check-config and the sample server/server.conf. The command line wins over the file,
 * wherever --config stands in it.
 *
 * Values: bytes take KiB, MiB, GiB; times take ms, s, min, h; a bare number is bytes or
 * milliseconds.
 *
 * Thread: filled at start, read-only afterwards.
 */
#pragma once

#include "server/log.h"
#include "storage/base/buf.h"
#include "storage/base/io.h"

#define CONFIG_TEXT_BYTES_MAX 1024u

struct config {
    char data[CONFIG_TEXT_BYTES_MAX];
    char cold_dir[CONFIG_TEXT_BYTES_MAX]; /* "": none */
    char listen[CONFIG_TEXT_BYTES_MAX]; /* ADDR:PORT or [ADDR6]:PORT; port 0: any free one */
    uint64_t http_threads;
    uint64_t query_threads;
    uint64_t queries_max; /* that run at a time */
    uint64_t ingest_threads;
    uint64_t event_bytes_max;
    uint64_t body_bytes_max;
    uint64_t bodies_bytes_max;  /* of all requests in work together */
    uint64_t ingest_memory_max; /* of one body, parsed */
    uint64_t query_memory_max;
    uint64_t queries_memory_max; /* of all queries together */
    uint64_t query_timeout_ms;
    uint64_t ingest_timeout_ms;
    uint64_t exports_max; /* in work at a time */
    uint64_t export_timeout_ms;
    uint64_t request_timeout_ms;
    uint64_t drain_timeout_ms;
    uint64_t queue_max;
    uint64_t connections_max;
    uint64_t flush_rows;
    uint64_t flush_bytes;
    uint64_t flush_age_ms;
    uint64_t memtable_bytes_max;
    uint64_t dataset_queue_bytes_max;
    uint64_t identity_memory_max;
    uint64_t backlog_max;
    uint64_t block_cache_bytes;
    uint64_t answer_cache_bytes; /* 0: none */
    enum io_kind io;
    enum log_level log_level;
};

enum config_action {
    CONFIG_SERVE,
    CONFIG_HELP,
    CONFIG_VERSION,
    CONFIG_CHECK,  /* print what is in effect, and stop */
    CONFIG_SAMPLE, /* print a configuration file of all defaults, and stop */
};

void config_default(struct config *config);
/* Defaults, then the file, then the command line. ERR_INVALID names the option or the line, and
 * suggests the nearest name for an unknown one. */
enum err_code config_load(int argc, char *const *argv, struct config *config,
                          enum config_action *ret_action, struct err *err) ERR_MUST_CHECK;
/* The lines of a configuration file over `config`; `path` is for messages. */
enum err_code config_parse_file(struct str text, const char *path, struct config *config,
                                struct err *err) ERR_MUST_CHECK;
/* Set one option by name from text. */
enum err_code config_set(struct config *config, struct str name, struct str value,
                         struct err *err) ERR_MUST_CHECK;

void config_help(struct buf *out);
void config_sample(struct buf *out);                             /* server/server.conf */
void config_print(const struct config *config, struct buf *out); /* name = value, a line each */
