/* query/regex_locale.c - one C.UTF-8 locale object for the process, made at first use. */
#include "query/regex_locale.h"

#include <pthread.h>

static pthread_once_t utf8_once = PTHREAD_ONCE_INIT;
static locale_t utf8;

static void utf8_make(void)
{
    utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

locale_t regex_locale_enter(void)
{
    pthread_once(&utf8_once, utf8_make);
    return uselocale(utf8); /* of (locale_t)0 it only says what is in use */
}

void regex_locale_leave(locale_t before)
{
    uselocale(before);
}
