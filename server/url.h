/* server/url.h - the query part of a URL, and header values that are lists.
 *
 * Thread: pure functions; results live in the arena. */
#pragma once

#include "storage/base/arena.h"

#define URL_PARAMS_MAX 32u

struct url_param {
    struct str name;
    struct str value;
};
struct url_params {
    struct url_param params[URL_PARAMS_MAX];
    uint32_t count;
};

/* Split `query` (without "?") at "&" and decode percent escapes; "+" is a space. ERR_INVALID for a
 * broken escape, a NUL, the same name twice, or more than URL_PARAMS_MAX. */
enum err_code url_params_parse(struct str query, struct arena *arena, struct url_params *ret,
                               struct err *err) ERR_MUST_CHECK;
/* NULL where there is none of that name. */
const struct str *url_param(const struct url_params *params, const char *name);
/* ERR_INVALID naming a parameter that is not in `names`: a typo must not pass for the default. */
enum err_code url_params_check(const struct url_params *params, const char *const *names,
                               size_t name_count, struct err *err) ERR_MUST_CHECK;
/* "1", "true", "yes" or empty: true; "0", "false", "no" or absent: false. */
enum err_code url_param_bool(const struct url_params *params, const char *name, bool *ret,
                             struct err *err) ERR_MUST_CHECK;
/* Decimal digits, 1 to `max`; `fallback` where it is absent. */
enum err_code url_param_uint(const struct url_params *params, const char *name, uint64_t max,
                             uint64_t fallback, uint64_t *ret, struct err *err) ERR_MUST_CHECK;

/* base64url or base64, padded or not. ERR_INVALID for anything else. */
enum err_code url_base64(struct str text, struct arena *arena, struct str *ret,
                         struct err *err) ERR_MUST_CHECK;

bool str_eq_nocase(struct str a, struct str b); /* ASCII */
/* "application/json; charset=utf-8" -> "application/json" */
struct str media_type(struct str header);
/* Quality (0 to 1000) that an Accept or Accept-Encoding value gives `name`; exact names count over
 * ranges with
 * `*`; 0 = refused or not mentioned. For media types `name` has the form type/subtype. */
uint32_t accept_quality(struct str header, struct str name);
