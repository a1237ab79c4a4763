/* server/utf8.h - is this UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF)? */
#pragma once

#include "storage/base/str.h"

bool utf8_is_valid(struct str text);
