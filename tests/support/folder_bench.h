/* tests/support/folder_bench.h - a data folder of its own for each test, with the data set "shop" of live_events.h.
 *
 * For cmocka programs: what fails, fails the test. Everything lies below one folder in memory (/dev/shm where there is
 * one), which goes with the bench.
 */
#pragma once

#include "storage/care.h"

#include "tests/support/live_events.h"

#define BENCH_EVENTS_MAX 4000u

struct bench {
    char root[64];
    char data[96], cold[96]; /* below root; the second is not there until a store makes it */
    struct store_opts opts;  /* POSIX, a small cache, no background thread, no cold directory */
    struct store *store;     /* NULL: closed */
    struct dataset *dataset; /* "shop" */
    struct io *io;
    struct recovery_report report;
    uint8_t counts[BENCH_EVENTS_MAX]; /* a model of the data set: how often each event is there */
    char text[32768];                 /* what verify or repair said last, a line each */
    struct care_sums found;
    struct repair_sums repaired;
};

/* For cmocka: makes the bench of *state, and takes it down. */
int bench_setup(void **state);
int bench_teardown(void **state);
/* Before opening: the clock that data sets go by stands at LIVE_ARRIVAL_MS until it is moved. */
void bench_stop_clock(struct bench *b);
extern int64_t bench_clock_ms;

/* Open b->data (or `dir`); no data set may be refused. Close flushes, abandon leaves a crash's state. */
void bench_open(struct bench *b);
void bench_open_dir(struct bench *b, const char *dir);
void bench_close(struct bench *b);
void bench_abandon(struct bench *b);

/* Events [0, k_count) are there, each once, and nothing else; or as b->counts says, below BENCH_EVENTS_MAX. */
void bench_expect(struct bench *b, uint32_t k_count);
void bench_expect_counts(struct bench *b, uint32_t k_count);
/* How many of the events k < k_count are there; fails where one is there twice. seen[k]: 0 or 1. */
uint32_t bench_look(struct bench *b, uint8_t *seen, uint32_t k_count);

/* Callbacks of verify and repair: "damaged FILE: problem" and lines go to b->text, whose `b` is arg. */
void bench_note_finding(void *arg, const struct care_finding *finding);
void bench_note_line(void *arg, const char *line);
/* Findings of a folder, counted; then their text is in b->text. */
uint64_t bench_verify(struct bench *b, const char *dir, const char *cold_dir);
/* Repair b->data: a dry run before it says the same and changes nothing; after it the folder is clean and nothing is left
 * to do. What it said is in b->text. `cold_dir`: b->cold or NULL, then verify is not asked about what is there. */
void bench_repair(struct bench *b, const char *cold_dir);
/* b->text has a line with both; else the test fails and shows it. */
void bench_says(const struct bench *b, const char *part, const char *other);
bool bench_has(const struct bench *b, const char *part, const char *other);

/* Run a shell command in b->root. */
void bench_shell(const struct bench *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "name" below b->data; valid until the next call. */
char *bench_below(const struct bench *b, const char *name);
void bench_sql(const struct bench *b, const char *text); /* on the catalog */

size_t file_bytes(const char *path);
void file_flip(const char *path, size_t off); /* a bit */
void file_patch(const char *path, size_t off, const void *bytes, size_t len);
/* Segments of "shop" in a data folder or a cold directory, whole or not. */
uint32_t segment_files(const char *dir);
