/* query/lex.c
 *
 * A hand-written scanner: one function for each class of token, chosen by the first character.
 * Dates and instants are recognised before numbers, by shape (dddd-dd-dd), so that 2025-05-01 is
 * never a subtraction. */
#include "query/lex.h"

#include "query/query.h"

#include <inttypes.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_start(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '$';
}

static bool is_name_part(char c)
{
    return is_name_start(c) || is_digit(c) || c == '.';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

const char *duration_unit_name(enum duration_unit unit)
{
    static const char *const names[] = {"ms", "s", "m", "h", "d", "w", "mo"};
    return names[unit];
}

static const uint64_t unit_ms[] = {1, 1000, 60000, 3600000, 86400000, 7 * 86400000ull};

uint64_t duration_ms(struct duration duration)
{
    ASSERT(duration.unit != UNIT_MO);
    return duration.count * unit_ms[duration.unit];
}

bool lex_is_name(struct str s)
{
    if (s.len == 0 || !is_name_start(s.ptr[0])) {
        return false;
    }
    for (size_t i = 1; i < s.len; i++) {
        if (!is_name_part(s.ptr[i])) {
            return false;
        }
    }
    return true;
}

bool lex_is_reserved(struct str s)
{
    static const char *const words[] = {"and",     "or",    "not", "in",  "is",
                                        "between", "where", "of",  "any", "active"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (str_eq(s, str_of(words[i]))) {
            return true;
        }
    }
    return false;
}

/* Length of the valid UTF-8 sequence at `at`, or 0 (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_sequence(const char *at, size_t left)
{
    uint8_t lead = (uint8_t)at[0];
    if (lead < 0x80) {
        return 1;
    }
    size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || len > left) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if (((uint8_t)at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    uint8_t second = (uint8_t)at[1];
    bool is_wrong = (lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
                    (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f);
    return is_wrong ? 0 : len;
}

enum err_code lex_init(struct lex *lex, struct str text, struct arena *arena, struct err *err)
{
    if (text.len > QUERY_TEXT_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, "the query is %zu bytes long, the limit is %u", text.len,
                       QUERY_TEXT_BYTES_MAX);
    }
    uint32_t line = 1;
    uint32_t column = 1;
    for (size_t off = 0; off < text.len;) {
        size_t len = utf8_sequence(text.ptr + off, text.len - off);
        if (len == 0) {
            return err_set_at(err, ERR_INVALID, line, column, "byte 0x%02x is not UTF-8",
                              (unsigned)(uint8_t)text.ptr[off]);
        }
        bool is_line_end = text.ptr[off] == '\n';
        line += is_line_end ? 1 : 0;
        column = is_line_end ? 1 : column + 1;
        off += len;
    }
    *lex = (struct lex){.text = text, .arena = arena, .line = 1, .mark_column = 1};
    return ERR_OK;
}

static char lex_at(const struct lex *lex, size_t off)
{
    return off < lex->text.len ? lex->text.ptr[off] : '\0';
}

/* Columns are asked for in ascending order, so each character is counted once. */
static uint32_t lex_column(struct lex *lex, uint32_t off)
{
    ASSERT(off >= lex->mark_off);
    for (uint32_t i = lex->mark_off; i < off; i++) {
        if (((uint8_t)lex->text.ptr[i] & 0xc0) != 0x80) {
            lex->mark_column++;
        }
    }
    lex->mark_off = off;
    return lex->mark_column;
}

static void lex_skip_space(struct lex *lex)
{
    while (lex->off < lex->text.len) {
        char c = lex->text.ptr[lex->off];
        if (c == '#') {
            while (lex->off < lex->text.len && lex->text.ptr[lex->off] != '\n') {
                lex->off++;
            }
        } else if (c == '\n') {
            lex->off++;
            lex->line++;
            lex->mark_off = lex->off;
            lex->mark_column = 1;
        } else if (is_space(c)) {
            lex->off++;
        } else {
            break;
        }
    }
}

/* Turn the token into TOK_BAD for good. `skip` bytes after its start is where the mistake lies. */
#define lex_bad(lex, token, skip, ...)                                                             \
    do {                                                                                           \
        (token)->kind = TOK_BAD;                                                                   \
        err_set_at(&(lex)->bad, ERR_INVALID, (token)->place.line,                                  \
                   (token)->place.column + (uint32_t)(skip), __VA_ARGS__);                         \
    } while (0)

static void lex_keep_error(struct lex *lex, struct token *token, struct err *err)
{
    token->kind = TOK_BAD;
    lex->bad = *err;
}

/* ---- strings ---- */

static int hex_digit(char c)
{
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Four hex digits at `off`, or UINT32_MAX. */
static uint32_t lex_hex4(const struct lex *lex, size_t off)
{
    uint32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(lex_at(lex, off + i));
        if (digit < 0) {
            return UINT32_MAX;
        }
        value = value * 16 + (uint32_t)digit;
    }
    return value;
}

static size_t utf8_put(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* The escape whose backslash is at lex->off: its bytes to `out`, lex->off behind it. False: no such
 * escape. */
static bool lex_escape(struct lex *lex, char *out, size_t *len)
{
    static const char from[] = "nt\\\"'";
    static const char to[] = "\n\t\\\"'";
    char c = lex_at(lex, lex->off + 1);
    const char *found = c == '\0' ? NULL : strchr(from, c);
    if (found != NULL) {
        out[(*len)++] = to[found - from];
        lex->off += 2;
        return true;
    }
    uint32_t code = c == 'u' ? lex_hex4(lex, lex->off + 2) : UINT32_MAX;
    if (code == UINT32_MAX || (code >= 0xdc00 && code <= 0xdfff)) {
        return false;
    }
    lex->off += 6;
    if (code >= 0xd800 && code <= 0xdbff) { /* the first half of a pair */
        uint32_t low = lex_at(lex, lex->off) == '\\' && lex_at(lex, lex->off + 1) == 'u'
                           ? lex_hex4(lex, lex->off + 2)
                           : UINT32_MAX;
        if (low < 0xdc00 || low > 0xdfff) {
            lex->off -= 6;
            return false;
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        lex->off += 6;
    }
    *len += utf8_put(out + *len, code);
    return true;
}

static void lex_string(struct lex *lex, struct token *token)
{
    char quote = lex->text.ptr[lex->off];
    /* An escape is never longer unescaped, so the closing quote's distance bounds the result. */
    size_t end = lex->off + 1;
    while (end < lex->text.len && lex->text.ptr[end] != quote && lex->text.ptr[end] != '\n') {
        end += lex->text.ptr[end] == '\\' ? 2 : 1;
    }
    if (end >= lex->text.len || lex->text.ptr[end] != quote) {
        lex_bad(lex, token, 0, "the string is not closed on its line");
        return;
    }
    struct err err = {0};
    void *room = NULL;
    if (arena_alloc(lex->arena, end - lex->off, &room, &err) != ERR_OK) {
        lex_keep_error(lex, token, &err);
        return;
    }
    char *out = room;
    size_t len = 0;
    lex->off++;
    while (lex->off < end) {
        char c = lex->text.ptr[lex->off];
        if (c != '\\') {
            out[len++] = c;
            lex->off++;
        } else if (!lex_escape(lex, out, &len)) {
            struct place at = {token->place.line, lex_column(lex, lex->off)};
            token->kind = TOK_BAD;
            err_set_at(&lex->bad, ERR_INVALID, at.line, at.column,
                       "unknown escape in a string; known are \\n \\t \\\\ \\\" \\' \\uXXXX");
            return;
        }
    }
    lex->off++;
    token->kind = TOK_STRING;
    token->value = (struct str){out, len};
}

static void lex_quoted_name(struct lex *lex, struct token *token)
{
    size_t end = lex->off + 1;
    bool has_doubled = false;
    while (end < lex->text.len && lex->text.ptr[end] != '\n') {
        if (lex->text.ptr[end] == '`') {
            if (lex_at(lex, end + 1) != '`') {
                break;
            }
            has_doubled = true;
            end++;
        }
        end++;
    }
    if (end >= lex->text.len || lex->text.ptr[end] != '`') {
        lex_bad(lex, token, 0, "the name in backquotes is not closed on its line");
        return;
    }
    struct str name = {lex->text.ptr + lex->off + 1, end - lex->off - 1};
    if (name.len == 0) {
        lex_bad(lex, token, 0, "a name in backquotes is empty");
        return;
    }
    if (has_doubled) {
        struct err err = {0};
        void *room = NULL;
        if (arena_alloc(lex->arena, name.len, &room, &err) != ERR_OK) {
            lex_keep_error(lex, token, &err);
            return;
        }
        char *out = room;
        size_t len = 0;
        for (size_t i = 0; i < name.len; i++) {
            out[len++] = name.ptr[i];
            i += name.ptr[i] == '`' ? 1 : 0;
        }
        name = (struct str){out, len};
    }
    lex->off = (uint32_t)end + 1;
    token->kind = TOK_QUOTED_NAME;
    token->value = name;
}

/* ---- numbers, durations, times ---- */

/* `shape`: d stands for a digit, everything else for itself. */
static bool lex_has_shape(const struct lex *lex, size_t off, const char *shape)
{
    for (size_t i = 0; shape[i] != '\0'; i++) {
        char c = lex_at(lex, off + i);
        if (shape[i] == 'd' ? !is_digit(c) : c != shape[i]) {
            return false;
        }
    }
    return true;
}

static void lex_time(struct lex *lex, struct token *token)
{
    size_t end = lex->off + 10;
    bool is_wrong = false;
    if (lex_at(lex, end) == 'T') {
        is_wrong = !lex_has_shape(lex, end, "Tdd:dd");
        end += 6;
        if (!is_wrong && lex_has_shape(lex, end, ":dd")) {
            end += 3;
            if (lex_at(lex, end) == '.' && is_digit(lex_at(lex, end + 1))) {
                end++;
                while (is_digit(lex_at(lex, end))) {
                    end++;
                }
            }
        }
        if (lex_at(lex, end) == 'Z') {
            end++;
        } else if (lex_has_shape(lex, end, "+dd:dd") || lex_has_shape(lex, end, "-dd:dd")) {
            end += 6;
        }
    }
    if (is_wrong || is_name_part(lex_at(lex, end)) || lex_at(lex, end) == ':') {
        lex_bad(lex, token, 0,
                "malformed time; dates are written 2025-05-01, instants 2025-05-01T08:00, "
                "2025-05-01T08:00:00.000Z or 2025-05-01T08:00+08:00");
        return;
    }
    token->kind = TOK_TIME;
    token->value = (struct str){lex->text.ptr + lex->off, end - lex->off};
    lex->off = (uint32_t)end;
}

static void lex_duration(struct lex *lex, struct token *token, size_t digits_end, size_t end)
{
    struct str unit = {lex->text.ptr + digits_end, end - digits_end};
    struct str whole = {lex->text.ptr + lex->off, end - lex->off};
    uint32_t unit_idx = UNIT_MS;
    while (unit_idx <= UNIT_MO &&
           !str_eq(unit, str_of(duration_unit_name((enum duration_unit)unit_idx)))) {
        unit_idx++;
    }
    if (unit_idx > UNIT_MO) {
        lex_bad(lex, token, 0,
                "\"" STR_FMT "\" is neither a number nor a duration; the units are "
                "ms, s, m, h, d, w, mo",
                STR_ARG(whole));
        return;
    }
    uint64_t count = 0;
    bool is_too_long = false;
    for (size_t i = lex->off; i < digits_end && !is_too_long; i++) {
        if (!is_digit(lex->text.ptr[i])) {
            lex_bad(lex, token, 0, "\"" STR_FMT "\": a duration is a whole number of its unit",
                    STR_ARG(whole));
            return;
        }
        is_too_long = __builtin_mul_overflow(count, 10, &count) ||
                      __builtin_add_overflow(count, (uint64_t)(lex->text.ptr[i] - '0'), &count);
    }
    uint64_t count_max = unit_idx == UNIT_MO ? UINT32_MAX : (uint64_t)INT64_MAX / unit_ms[unit_idx];
    if (is_too_long || count > count_max) {
        lex_bad(lex, token, 0,
                "the duration \"" STR_FMT "\" is longer than time itself: at most "
                "%" PRIu64 "%s",
                STR_ARG(whole), count_max, duration_unit_name((enum duration_unit)unit_idx));
        return;
    }
    token->kind = TOK_DURATION;
    token->duration = (struct duration){count, (enum duration_unit)unit_idx};
    lex->off = (uint32_t)end;
}

static void lex_number(struct lex *lex, struct token *token)
{
    if (lex_has_shape(lex, lex->off, "dddd-dd-dd") && !is_digit(lex_at(lex, lex->off + 10))) {
        lex_time(lex, token);
        return;
    }
    size_t end = lex->off;
    while (is_digit(lex_at(lex, end))) {
        end++;
    }
    if (lex_at(lex, end) == '.' && is_digit(lex_at(lex, end + 1))) {
        end++;
        while (is_digit(lex_at(lex, end))) {
            end++;
        }
    }
    size_t digits_end = end;
    char e = lex_at(lex, end);
    if (e == 'e' || e == 'E') {
        size_t sign = lex_at(lex, end + 1) == '-' || lex_at(lex, end + 1) == '+' ? 1 : 0;
        if (is_digit(lex_at(lex, end + 1 + sign))) {
            end += 2 + sign;
            while (is_digit(lex_at(lex, end))) {
                end++;
            }
        }
    }
    if (is_name_part(lex_at(lex, end))) {
        while (is_name_part(lex_at(lex, end))) {
            end++;
        }
        lex_duration(lex, token, digits_end, end);
        return;
    }
    struct str text = {lex->text.ptr + lex->off, end - lex->off};
    if (!num_parse(text, &token->number)) {
        lex_bad(lex, token, 0, "\"" STR_FMT "\" is not a number or too large for one",
                STR_ARG(text));
        return;
    }
    token->kind = TOK_NUMBER;
    lex->off = (uint32_t)end;
}

/* ---- the rest ---- */

static void lex_name(struct lex *lex, struct token *token)
{
    uint32_t begin = lex->off;
    while (is_name_part(lex_at(lex, lex->off))) {
        lex->off++;
    }
    token->value = (struct str){lex->text.ptr + begin, lex->off - begin};
}

static void lex_symbol(struct lex *lex, struct token *token)
{
    static const struct {
        const char *text;
        enum token_kind kind;
    } symbols[] = {
        /* longer ones first */
        {"->", TOK_ARROW}, {"!=", TOK_NE},      {"<=", TOK_LE},      {">=", TOK_GE},
        {"(", TOK_LPAREN}, {")", TOK_RPAREN},   {"[", TOK_LBRACKET}, {"]", TOK_RBRACKET},
        {",", TOK_COMMA},  {"|", TOK_PIPE},     {"=", TOK_EQ},       {"<", TOK_LT},
        {">", TOK_GT},     {"+", TOK_PLUS},     {"-", TOK_MINUS},    {"*", TOK_STAR},
        {"/", TOK_SLASH},  {"?", TOK_QUESTION}, {"!", TOK_BANG},
    };
    struct str rest = {lex->text.ptr + lex->off, lex->text.len - lex->off};
    if (str_starts(rest, STR("==")) || str_starts(rest, STR("<>"))) {
        lex_bad(lex, token, 0, "\"%.2s\" is no operator; did you mean \"%s\"?", rest.ptr,
                rest.ptr[0] == '=' ? "=" : "!=");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(symbols); i++) {
        if (str_starts(rest, str_of(symbols[i].text))) {
            token->kind = symbols[i].kind;
            lex->off += (uint32_t)strlen(symbols[i].text);
            return;
        }
    }
    if ((uint8_t)rest.ptr[0] < 0x20 || rest.ptr[0] == 0x7f) {
        lex_bad(lex, token, 0, "unexpected control character 0x%02x",
                (unsigned)(uint8_t)rest.ptr[0]);
        return;
    }
    size_t len = utf8_sequence(rest.ptr, rest.len);
    lex_bad(lex, token, 0,
            "unexpected character \"%.*s\"; names with other characters than "
            "A-Z a-z 0-9 _ . $ stand in backquotes",
            (int)len, rest.ptr);
}

struct token lex_next(struct lex *lex)
{
    if (lex->bad.code != ERR_OK) {
        return (struct token){.kind = TOK_BAD, .place = {lex->bad.line, lex->bad.column}};
    }
    lex_skip_space(lex);
    struct token token = {
        .kind = TOK_END,
        .place = {lex->line, lex_column(lex, lex->off)},
        .begin_off = lex->off,
    };
    if (lex->off < lex->text.len) {
        char c = lex->text.ptr[lex->off];
        if (is_name_start(c)) {
            token.kind = TOK_NAME;
            lex_name(lex, &token);
        } else if (is_digit(c)) {
            lex_number(lex, &token);
        } else if (c == '"' || c == '\'') {
            lex_string(lex, &token);
        } else if (c == '`') {
            lex_quoted_name(lex, &token);
        } else if (c == ':' && is_name_start(lex_at(lex, lex->off + 1))) {
            lex->off++;
            token.kind = TOK_PARAM;
            lex_name(lex, &token);
        } else {
            lex_symbol(lex, &token);
        }
    }
    token.end_off = lex->off;
    token.text = (struct str){lex->text.ptr + token.begin_off, token.end_off - token.begin_off};
    return token;
}

enum err_code lex_label(struct str text, uint32_t begin_off, uint32_t end_off, struct arena *arena,
                        struct str *ret, struct err *err)
{
    void *room = NULL;
    ERR_TRY(arena_alloc(arena, (size_t)end_off - begin_off, &room, err));
    char *out = room;
    size_t len = 0;
    char quote = '\0';
    bool is_gap = false;
    for (size_t i = begin_off; i < end_off; i++) {
        char c = text.ptr[i];
        if (quote == '\0' && (c == '#' || is_space(c))) {
            is_gap = true;
            while (c == '#' && i + 1 < end_off && text.ptr[i + 1] != '\n') {
                i++;
            }
            continue;
        }
        if (is_gap && len > 0) {
            out[len++] = ' ';
        }
        is_gap = false;
        out[len++] = c;
        if (quote != '\0' && c == '\\' && quote != '`' && i + 1 < end_off) {
            out[len++] = text.ptr[++i];
        } else if (c == quote) {
            quote = '\0';
        } else if (quote == '\0' && (c == '"' || c == '\'' || c == '`')) {
            quote = c;
        }
    }
    *ret = (struct str){out, len};
    return ERR_OK;
}
