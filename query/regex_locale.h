/* query/regex_locale.h - regular expressions over characters, not bytes.
 *
 * POSIX regcomp and regexec read text by the thread's LC_CTYPE. All text here is UTF-8, while the process keeps the "C"
 * locale (numbers depend on it); so both run between these two calls. Where the system has no
 * C.UTF-8 they change nothing, and `.` is a byte.
 *
 * Thread: any; the change is the calling thread's alone.
 */
#pragma once

#include <locale.h>

locale_t regex_locale_enter(void); /* returns what regex_locale_leave wants */
void regex_locale_leave(locale_t before);
