/* server/url.c - see url.h. */
#include "server/url.h"

#include "storage/base/buf.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static enum err_code url_decode(struct str text, struct arena *arena, struct str *ret,
                                struct err *err)
{
    char *out = NULL;
    size_t len = 0;
    ERR_TRY(ARENA_NEW(arena, text.len + 1, &out, err));
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int high = -1;
            int low = -1;
            if (text.len - i > 2) {
                high = hex_digit(text.ptr[i + 1]);
                low = hex_digit(text.ptr[i + 2]);
            }
            if (high < 0 || low < 0) {
                return err_set(err, ERR_INVALID, "broken escape in the URL after \"" STR_FMT "\"",
                               STR_ARG(((struct str){out, len})));
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0') {
            return err_set(err, ERR_INVALID, "NUL in the URL after \"" STR_FMT "\"",
                           STR_ARG(((struct str){out, len})));
        }
        out[len++] = c;
    }
    *ret = (struct str){out, len};
    return ERR_OK;
}

enum err_code url_params_parse(struct str query, struct arena *arena, struct url_params *ret,
                               struct err *err)
{
    ret->count = 0;
    for (size_t begin = 0; begin < query.len;) {
        const char *amp = memchr(query.ptr + begin, '&', query.len - begin);
        size_t end = amp == NULL ? query.len : (size_t)(amp - query.ptr);
        struct str pair = {query.ptr + begin, end - begin};
        begin = end + 1;
        if (pair.len == 0) {
            continue;
        }
        const char *equals = memchr(pair.ptr, '=', pair.len);
        struct str name = {pair.ptr, equals == NULL ? pair.len : (size_t)(equals - pair.ptr)};
        struct str value = {"", 0};
        if (equals != NULL) {
            value = (struct str){equals + 1, pair.len - name.len - 1};
        }
        struct url_param param = {0};
        ERR_TRY(url_decode(name, arena, &param.name, err));
        ERR_TRY(url_decode(value, arena, &param.value, err));
        for (uint32_t i = 0; i < ret->count; i++) {
            if (str_eq(ret->params[i].name, param.name)) {
                return err_set(err, ERR_INVALID, "parameter \"" STR_FMT "\" is given twice",
                               STR_ARG(param.name));
            }
        }
        if (ret->count == URL_PARAMS_MAX) {
            return err_set(err, ERR_INVALID, "more than %u parameters in the URL", URL_PARAMS_MAX);
        }
        ret->params[ret->count++] = param;
    }
    return ERR_OK;
}

const struct str *url_param(const struct url_params *params, const char *name)
{
    for (uint32_t i = 0; i < params->count; i++) {
        if (str_eq(params->params[i].name, str_of(name))) {
            return &params->params[i].value;
        }
    }
    return NULL;
}

enum err_code url_params_check(const struct url_params *params, const char *const *names,
                               size_t name_count, struct err *err)
{
    for (uint32_t i = 0; i < params->count; i++) {
        bool is_known = false;
        for (size_t n = 0; n < name_count && !is_known; n++) {
            is_known = str_eq(params->params[i].name, str_of(names[n]));
        }
        if (!is_known) {
            CLEANUP(buf_freep) struct buf known = {0};
            for (size_t n = 0; n < name_count; n++) {
                buf_printf(&known, "%s%s", n == 0 ? "" : ", ", names[n]);
            }
            return err_set(err, ERR_INVALID,
                           "unknown parameter \"" STR_FMT "\" in the URL; there are: " STR_FMT,
                           STR_ARG(params->params[i].name), STR_ARG(buf_as_str(&known)));
        }
    }
    return ERR_OK;
}

enum err_code url_param_bool(const struct url_params *params, const char *name, bool *ret,
                             struct err *err)
{
    const struct str *value = url_param(params, name);
    if (value == NULL || str_eq(*value, STR("0")) || str_eq(*value, STR("false")) ||
        str_eq(*value, STR("no"))) {
        *ret = false;
        return ERR_OK;
    }
    if (value->len == 0 || str_eq(*value, STR("1")) || str_eq(*value, STR("true")) ||
        str_eq(*value, STR("yes"))) {
        *ret = true;
        return ERR_OK;
    }
    return err_set(err, ERR_INVALID, "parameter \"%s\": \"" STR_FMT "\" is neither 1 nor 0", name,
                   STR_ARG(*value));
}

enum err_code url_param_uint(const struct url_params *params, const char *name, uint64_t max,
                             uint64_t fallback, uint64_t *ret, struct err *err)
{
    const struct str *text = url_param(params, name);
    if (text == NULL) {
        *ret = fallback;
        return ERR_OK;
    }
    uint64_t value = 0;
    bool is_number = text->len > 0 && text->len <= 18;
    for (size_t i = 0; i < text->len && is_number; i++) {
        is_number = text->ptr[i] >= '0' && text->ptr[i] <= '9';
        value = value * 10 + (uint64_t)(text->ptr[i] - '0');
    }
    if (!is_number || value < 1 || value > max) {
        return err_set(err, ERR_INVALID,
                       "parameter \"%s\": \"" STR_FMT "\" is no whole number from 1 to %llu", name,
                       STR_ARG(*text), (unsigned long long)max);
    }
    *ret = value;
    return ERR_OK;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '-' || c == '+' ? 62 : c == '_' || c == '/' ? 63 : -1;
}

enum err_code url_base64(struct str text, struct arena *arena, struct str *ret, struct err *err)
{
    while (text.len > 0 && text.ptr[text.len - 1] == '=') {
        text.len--;
    }
    char *out = NULL;
    size_t len = 0;
    uint32_t bits = 0;
    unsigned bit_count = 0;
    ERR_TRY(ARENA_NEW(arena, text.len + 1, &out, err));
    for (size_t i = 0; i < text.len; i++) {
        int digit = base64_digit(text.ptr[i]);
        if (digit < 0) {
            return err_set(err, ERR_INVALID, "byte %zu of the base64 text is none of its digits",
                           i);
        }
        bits = (bits << 6 | (uint32_t)digit) & 0xffff;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            out[len++] = (char)(unsigned char)(bits >> bit_count & 0xff);
        }
    }
    if (text.len % 4 == 1) {
        return err_set(err, ERR_INVALID, "base64 text of %zu digits is cut off", text.len);
    }
    *ret = (struct str){out, len};
    return ERR_OK;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.ptr[i]) != lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

static struct str trim(struct str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

/* Cut the text before the first `separator` off `*rest`, trimmed; false when there is none left. */
static bool cut(struct str *rest, char separator, struct str *ret)
{
    if (rest->ptr == NULL) {
        return false;
    }
    const char *at = rest->len == 0 ? NULL : memchr(rest->ptr, separator, rest->len);
    if (at == NULL) {
        *ret = trim(*rest);
        *rest = (struct str){NULL, 0};
        return true;
    }
    size_t len = (size_t)(at - rest->ptr);
    *ret = trim((struct str){rest->ptr, len});
    *rest = (struct str){at + 1, rest->len - len - 1};
    return true;
}

struct str media_type(struct str header)
{
    struct str first = {0};
    return cut(&header, ';', &first) ? first : (struct str){"", 0};
}

/* "0.75" -> 750; anything malformed counts as 1. */
static uint32_t quality_parse(struct str text)
{
    if (text.len == 0 || text.ptr[0] != '0') {
        return 1000;
    }
    uint32_t value = 0;
    uint32_t place = 100;
    for (size_t i = 2; i < text.len && place > 0; i++, place /= 10) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return 1000;
        }
        value += (uint32_t)(text.ptr[i] - '0') * place;
    }
    return value;
}

/* How closely the range names `name`: 3 by its name, 2 by type/ and a star, 1 by a bare star, 0 not
 * at all. */
static uint32_t range_closeness(struct str range, struct str name)
{
    if (str_eq_nocase(range, name)) {
        return 3;
    }
    if (str_eq(range, STR("*")) || str_eq(range, STR("*/*"))) {
        return 1;
    }
    if (range.len >= 2 && str_ends(range, STR("/*")) && name.len >= range.len - 1 &&
        str_eq_nocase((struct str){range.ptr, range.len - 1},
                      (struct str){name.ptr, range.len - 1})) {
        return 2;
    }
    return 0;
}

uint32_t accept_quality(struct str header, struct str name)
{
    uint32_t best_closeness = 0;
    uint32_t quality = 0;
    struct str item = {0};
    while (cut(&header, ',', &item)) {
        struct str parts = item;
        struct str range = {0};
        if (!cut(&parts, ';', &range)) {
            continue;
        }
        uint32_t closeness = range_closeness(range, name);
        if (closeness == 0 || closeness < best_closeness) {
            continue;
        }
        best_closeness = closeness;
        quality = 1000;
        struct str part = {0};
        while (cut(&parts, ';', &part)) {
            if (part.len > 2 && lower(part.ptr[0]) == 'q' && part.ptr[1] == '=') {
                quality = quality_parse((struct str){part.ptr + 2, part.len - 2});
            }
        }
    }
    return quality;
}
