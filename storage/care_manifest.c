/* storage/care_manifest.c - `_manifest`: what is in a backup, as text.
 *
 *    trackway-backup 1
 *    made 1750000000000 2025-06-15T15:06:40.000Z
 *    dataset shop rows 12345 epoch 678 segments 16
 *    file 81920 5ad3f19c00aa1177 catalog.db
 *    file 4711 - shop/shard-00/000001.seg
 *    end 0123456789abcdef
 *
 * The first line is the version. `dataset` and `file` lines follow in any number; a file's numbers are its bytes
 * and its checksum: XXH3-64 of each MiB, seeded with the one before (0), in hexadecimal; `-` where the file
 * holds checksums of all of itself and never changes (segments, runs of event ids). `end` is the
 * XXH3-64 of all bytes before its line. Lines end with a newline; nothing follows `end`. */
#include "storage/care_int.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_VERSION   1u
#define MANIFEST_BYTES_MAX ((size_t)256 << 20)
#define PATH_BYTES_MAX     512u

void care_manifest_done(struct care_manifest *manifest)
{
    arena_free(manifest->arena);
    buf_done(&manifest->files);
    buf_done(&manifest->datasets);
    *manifest = (struct care_manifest){0};
}

static enum err_code add_file(struct care_manifest *manifest, struct str path,
                              const struct care_file *file, struct err *err)
{
    struct care_file kept = *file;
    struct str copy = {0};
    if (manifest->arena == NULL) {
        manifest->arena = arena_create(NULL);
    }
    char *bytes = NULL;
    ERR_TRY(arena_str(manifest->arena, path, &copy, err));
    bytes = (char *)(uintptr_t)copy.ptr;
    kept.path = bytes;
    buf_append(&manifest->files, &kept, sizeof(kept));
    return buf_check(&manifest->files, err);
}

enum err_code care_manifest_add(struct care_manifest *manifest, const char *path, uint64_t bytes,
                                const uint64_t *checksum, struct err *err)
{
    struct care_file file = {.bytes = bytes,
                             .has_checksum = checksum != NULL,
                             .checksum = checksum == NULL ? 0 : *checksum};
    return add_file(manifest, str_of(path), &file, err);
}

/* ---- writing ---- */

static void put(const struct care_manifest *manifest, struct buf *out)
{
    size_t count = 0;
    const struct care_file *files = care_manifest_files(manifest, &count);
    const struct backup_dataset *sets =
        (const struct backup_dataset *)(const void *)manifest->datasets.ptr;
    char made[40];
    care_time(manifest->made_ms, made);
    buf_printf(out, "trackway-backup %u\nmade %" PRId64 " %s\n", MANIFEST_VERSION,
               manifest->made_ms, made);
    for (size_t i = 0; i < manifest->datasets.len / sizeof(*sets); i++) {
        buf_printf(out, "dataset %s rows %" PRIu64 " epoch %" PRIu64 " segments %" PRIu64 "\n",
                   sets[i].name, sets[i].rows, sets[i].epoch, sets[i].segments);
    }
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "file %" PRIu64 " ", files[i].bytes);
        if (files[i].has_checksum) {
            buf_printf(out, "%016" PRIx64, files[i].checksum);
        } else {
            buf_z(out, "-");
        }
        buf_printf(out, " %s\n", files[i].path);
    }
    buf_printf(out, "end %016" PRIx64 "\n", checksum64(out->ptr, out->len));
}

enum err_code care_manifest_write(const struct care_manifest *manifest, struct io *io,
                                  const char *path, struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    CLEANUP(io_closep) struct io_file *file = NULL;
    put(manifest, &text);
    ERR_TRY(buf_check(&text, err));
    ERR_TRY(io_open(io, path, IO_CREATE, &file, err));
    ERR_TRY(io_write(io, file, 0, text.ptr, text.len, err));
    return io_sync(io, file, err);
}

/* ---- reading ---- */

/* The words of a line, separated by one space each. */
struct words {
    struct str rest;
    bool is_bad;
};

static struct str word(struct words *words)
{
    if (words->is_bad || words->rest.len == 0) {
        words->is_bad = true;
        return (struct str){"", 0};
    }
    const char *space = memchr(words->rest.ptr, ' ', words->rest.len);
    size_t len = space == NULL ? words->rest.len : (size_t)(space - words->rest.ptr);
    struct str found = {words->rest.ptr, len};
    size_t step = space == NULL ? len : len + 1;
    words->rest = (struct str){words->rest.ptr + step, words->rest.len - step};
    words->is_bad = len == 0;
    return found;
}

static void word_is(struct words *words, struct str wanted)
{
    struct str found = word(words);
    words->is_bad = words->is_bad || !str_eq(found, wanted);
}

static uint64_t word_number(struct words *words, unsigned base)
{
    struct str text = word(words);
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 99;
        if (digit >= base || value > (UINT64_MAX - digit) / base) {
            words->is_bad = true;
            return 0;
        }
        value = value * base + digit;
    }
    return value;
}

/* Below the folder and nowhere else: names of letters, digits and -._, none of which begins with a dot. */
static bool path_is_ours(struct str path)
{
    char before = '/';
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '/';
        if (!is_plain || (before == '/' && (c == '/' || c == '.'))) {
            return false;
        }
        before = c;
    }
    return path.len > 0 && path.len <= PATH_BYTES_MAX && before != '/';
}

static enum err_code take_dataset(struct care_manifest *manifest, struct words *words,
                                  struct err *err)
{
    struct backup_dataset set = {.rows = 0};
    struct str name = word(words);
    word_is(words, STR("rows"));
    set.rows = word_number(words, 10);
    word_is(words, STR("epoch"));
    set.epoch = word_number(words, 10);
    word_is(words, STR("segments"));
    set.segments = word_number(words, 10);
    if (words->is_bad || words->rest.len > 0 || !dataset_name_is_valid(name)) {
        return err_set(err, ERR_CORRUPT, "malformed");
    }
    memcpy(set.name, name.ptr, name.len);
    buf_append(&manifest->datasets, &set, sizeof(set));
    return buf_check(&manifest->datasets, err);
}

static enum err_code take_file(struct care_manifest *manifest, struct words *words, struct err *err)
{
    struct care_file file = {.bytes = word_number(words, 10)};
    if (words->rest.len >= 2 && words->rest.ptr[0] == '-') {
        word_is(words, STR("-"));
    } else {
        file.has_checksum = true;
        file.checksum = word_number(words, 16);
    }
    struct str path = word(words);
    if (words->is_bad || words->rest.len > 0 || !path_is_ours(path)) {
        return err_set(err, ERR_CORRUPT, "malformed");
    }
    return add_file(manifest, path, &file, err);
}

/* A line in the middle; the first two and the last are the caller's. */
static enum err_code take_line(struct care_manifest *manifest, struct str line, struct err *err)
{
    struct words words = {.rest = line};
    struct str what = word(&words);
    if (str_eq(what, STR("dataset"))) {
        return take_dataset(manifest, &words, err);
    }
    if (str_eq(what, STR("file"))) {
        return take_file(manifest, &words, err);
    }
    return err_set(err, ERR_CORRUPT, "malformed");
}

/* The next line of `text`, which is taken off it; false where no newline is left. */
static bool next_line(struct str *text, struct str *ret)
{
    const char *end = text->len == 0 ? NULL : memchr(text->ptr, '\n', text->len);
    if (end == NULL) {
        return false;
    }
    *ret = (struct str){text->ptr, (size_t)(end - text->ptr)};
    *text = (struct str){end + 1, text->len - ret->len - 1};
    return true;
}

/* The version before the checksum: a newer one may have another last line. */
static enum err_code check_version(struct str line, struct err *err)
{
    struct words words = {.rest = line};
    word_is(&words, STR("trackway-backup"));
    uint64_t version = word_number(&words, 10);
    if (words.is_bad || words.rest.len > 0) {
        return err_set(err, ERR_CORRUPT, "line 1 is not that of a backup's manifest");
    }
    return version == MANIFEST_VERSION ? ERR_OK : err_set_newer(err, version, MANIFEST_VERSION);
}

enum err_code care_manifest_parse(struct care_manifest *manifest, struct str text, struct err *err)
{
    struct str line = {0};
    struct str all = text;
    if (!next_line(&text, &line)) {
        return err_set(err, ERR_CORRUPT, "it has no line");
    }
    ERR_TRY(check_version(line, err));
    if (!next_line(&text, &line)) {
        return err_set(err, ERR_CORRUPT, "it ends behind line 1");
    }
    struct words made = {.rest = line};
    word_is(&made, STR("made"));
    uint64_t made_ms = word_number(&made, 10);
    manifest->made_ms = (int64_t)MIN_OF(made_ms, (uint64_t)INT64_MAX);
    for (uint64_t number = 3; next_line(&text, &line); number++) {
        if (str_starts(line, STR("end "))) {
            struct words words = {.rest = {line.ptr + 4, line.len - 4}};
            uint64_t checksum = word_number(&words, 16);
            bool is_end = !words.is_bad && words.rest.len == 0 && text.len == 0;
            bool is_sum = checksum == checksum64(all.ptr, (size_t)(line.ptr - all.ptr));
            return is_end && is_sum && !made.is_bad
                       ? ERR_OK
                       : err_set(err, ERR_CORRUPT, "checksum mismatch");
        }
        if (take_line(manifest, line, err) != ERR_OK) {
            return err_context(err, "line %" PRIu64, number);
        }
    }
    return err_set(err, ERR_CORRUPT, "its last line is missing: it is cut short");
}

enum err_code care_manifest_read(struct io *io, const char *path, struct care_manifest *ret,
                                 struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    struct care_manifest manifest = {0};
    ERR_TRY(io_read_file(io, path, MANIFEST_BYTES_MAX, &text, err));
    if (care_manifest_parse(&manifest, buf_as_str(&text), err) != ERR_OK) {
        care_manifest_done(&manifest);
        return err_context(err, "manifest \"%s\"", path);
    }
    *ret = manifest;
    return ERR_OK;
}
