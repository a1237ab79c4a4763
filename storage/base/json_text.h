/* storage/base/json_text.h - writing strings and doubles as JSON (RFC 8259). */
#pragma once

#include "storage/base/buf.h"

/* The string in quotes, escaped; bytes that are no UTF-8 become U+FFFD. */
void json_text(struct str text, struct buf *out);
/* The shortest text that reads back as `v`; null for what JSON cannot say (NaN, infinities). */
void json_double(double v, struct buf *out);
