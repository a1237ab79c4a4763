/* server/log.h - one line per thing worth knowing, to stderr:
 *
 *     2025-05-01T08:00:00.123Z info listening address="127.0.0.1:7717" threads=1
 *
 * time, level, message (a fixed phrase), then key=value pairs; text values stand in quotes. Control
 * characters are replaced, so that nothing from outside can start a line of its own.
 *
 * Thread: any; one write(2) per line. */
#pragma once

#include "storage/base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
const char *log_level_name(enum log_level level);

void log_level_set(enum log_level level); /* lines below it are left out; LOG_INFO at start */
/* `pairs` is a printf format for the key=value part, "" for none. */
void log_line(enum log_level level, const char *message, const char *pairs, ...)
    __attribute__((format(printf, 3, 4)));
/* The line for an error: code="io" error="…". */
void log_err(enum log_level level, const char *message, const struct err *err);
