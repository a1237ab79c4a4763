/* storage/base/err.h - how every function of this tree fails.
 *
 * What can fail returns `enum err_code` and, unless it is ERR_OK, has filled `*err`. A struct err has
 * fixed size, so running out of memory can be reported too. Codes say what the caller can do about
 * it; the message says what was wrong, where, and what was expected.
 *
 * Thread: a struct err belongs to the caller.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum err_code {
    ERR_OK = 0,
    ERR_INVALID,     /* the request is wrong: fix it */
    ERR_NOT_FOUND,   /* the named thing does not exist */
    ERR_LIMIT,       /* a stated bound or budget is spent: ask for less */
    ERR_BUSY,        /* a queue is full: retry later */
    ERR_TIMEOUT,     /* the deadline passed */
    ERR_CANCELLED,   /* the caller took the request back */
    ERR_CORRUPT,     /* stored bytes are not what was written: quarantine the file */
    ERR_UNSUPPORTED, /* valid, but newer than this program or not part of it */
    ERR_IO,          /* the operating system said no */
    ERR_NOMEM,       /* an allocation outside any budget failed */
};

#define ERR_MESSAGE_BYTES 768

struct err {
    enum err_code code;
    uint32_t line;   /* place in a query text or NDJSON body, from 1; 0 = no place */
    uint32_t column; /* in characters, from 1; 0 = no place */
    char message[ERR_MESSAGE_BYTES];
};

#define ERR_MUST_CHECK __attribute__((warn_unused_result))

/* Fill `err` and return `code`. Messages: lower case, no full stop, quoted names, value and bound. */
enum err_code err_set(struct err *err, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, with the place (from 1) in the text that was read. */
enum err_code err_set_at(struct err *err, enum err_code code, uint32_t line, uint32_t column,
                         const char *format, ...) __attribute__((format(printf, 5, 6)));

/* ERR_IO with `strerror(errnum)` at the end; ENOENT becomes ERR_NOT_FOUND. */
enum err_code err_set_errno(struct err *err, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ERR_UNSUPPORTED for stored bytes of a format version that this program does not know: one sentence for all
 * formats, with what to do. The caller's context names the file. */
enum err_code err_set_newer(struct err *err, uint64_t version, uint64_t known);

/* Put "<context>: " before the message and return err->code. */
enum err_code err_context(struct err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The stable lower-case name of a code, as the wire and the metrics use it: "not_found". */
const char *err_code_name(enum err_code code);

/* Return from the current function when `call` fails. */
#define ERR_TRY(call)                                                                              \
    do {                                                                                           \
        enum err_code err_try_code_ = (call);                                                      \
        if (err_try_code_ != ERR_OK) {                                                             \
            return err_try_code_;                                                                  \
        }                                                                                          \
    } while (0)

/* A programmer's mistake ends the process, in release builds as well. One condition each. */
#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0)) {                                                        \
            err_assert_failed(#cond, __FILE__, __LINE__);                                          \
        }                                                                                          \
    } while (0)
#ifdef NDEBUG
#define ASSERT_DEBUG(cond) ((void)0)
#else
#define ASSERT_DEBUG(cond) ASSERT(cond)
#endif
void err_assert_failed(const char *cond, const char *file, int line) __attribute__((noreturn));

/* Run `fn(&variable)` when the variable goes out of scope. Declare it initialised empty. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Give up ownership: the value of `ptr`, which becomes NULL. */
#define TAKE(ptr)                                                                                  \
    ({                                                                                             \
        __typeof__(ptr) take_ = (ptr);                                                             \
        (ptr) = NULL;                                                                              \
        take_;                                                                                     \
    })

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
