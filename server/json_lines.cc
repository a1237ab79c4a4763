/* server/json_lines.cc - tokens from the places that simdjson's first stage finds.
 *
 * Why a stage over many lines is as good as one over each: it fails where a control character lies inside a
 * string, and a newline is one. So once it has succeeded every newline lies between strings, every string ends in
 * its line, and the places between two newlines are just those that the line alone would give.
 *
 * A place is the first byte of a bracket, colon, comma, string or any other run of bytes. That a value ends where the
 * next place may begin follows from the grammar check of the walk: behind each value it wants a place that
 * holds a comma or a closing bracket, and bytes glued to a value ("a"b, 12x) have a place of their own or are
 * refused by the scan of the value.
 *
 * dom_parser_implementation is simdjson's inner interface, the same for all its processors, and chosen at run time.
 */
#include "server/json_lines.h"

#include <cstring>
#include <memory>
#include <new>
#include <simdjson.h>

namespace
{
constexpr uint32_t TOKENS_MAX = 1024; /* of one line; more go the slow way */
constexpr uint32_t DEPTH_MAX = 32;
constexpr size_t DIGITS_MAX = 18;

using implementation = simdjson::internal::dom_parser_implementation;
} // namespace

struct json_lines {
    std::unique_ptr<implementation> stage;
    size_t bytes_max = 0;
    struct str text = {nullptr, 0};
    uint32_t count = 0;  /* places */
    uint32_t cursor = 0; /* the next of them */
    std::unique_ptr<uint8_t[]> strings;
    uint8_t *strings_end = nullptr;
    std::unique_ptr<json_token[]> tokens;
};

namespace
{

/* The first quote or backslash at or after `at`. One is there: the first stage has seen the closing quote. */
inline const char *string_stop(const char *at)
{
    constexpr uint64_t ones = 0x0101010101010101u;
    constexpr uint64_t highs = 0x8080808080808080u;
    for (;; at += 8) {
        uint64_t eight;
        std::memcpy(&eight, at, sizeof(eight)); /* the padding allows it */
        uint64_t quote = eight ^ (ones * '"');
        uint64_t slash = eight ^ (ones * '\\');
        /* Exact in its lowest set byte, which is the one that is used. */
        uint64_t found = (((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & highs;
        if (found != 0) {
            return at + (__builtin_ctzll(found) >> 3);
        }
    }
}

inline bool is_end(char c)
{
    return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Length of the plain decimal at `at`; 0 where it is none, or one that the slow way must judge. */
inline size_t number_len(const char *at, const char *end)
{
    const char *p = at + (*at == '-');
    const char *digits = p;
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    size_t whole = static_cast<size_t>(p - digits);
    size_t fraction = 0;
    if (whole == 0 || (whole > 1 && *digits == '0')) {
        return 0;
    }
    if (p < end && *p == '.') {
        const char *after = ++p;
        while (p < end && *p >= '0' && *p <= '9') {
            p++;
        }
        fraction = static_cast<size_t>(p - after);
        if (fraction == 0) {
            return 0;
        }
    }
    if (whole + fraction > DIGITS_MAX || (p < end && !is_end(*p))) {
        return 0;
    }
    return static_cast<size_t>(p - at);
}

inline bool is_word(const char *at, const char *end, const char *word, size_t len)
{
    size_t left = static_cast<size_t>(end - at);
    return left >= len && std::memcmp(at, word, len) == 0 && (left == len || is_end(at[len]));
}

/* One line's walk. */
struct walk {
    json_lines *lines;
    const char *base; /* of the text: places count from here */
    const char *end;  /* of the line */
    const uint32_t *place;
    const uint32_t *place_end; /* of the line's places */
    uint32_t token_count;

    /* The byte at the next place, or 0 at the line's end. */
    const char *next()
    {
        return place < place_end ? base + *place++ : "";
    }

    bool scalar(const char *at, json_token *token)
    {
        switch (*at) {
        case '"': {
            const char *stop = string_stop(at + 1);
            token->kind = JSON_STRING;
            token->is_in_text = *stop == '"';
            if (token->is_in_text) {
                token->text = {at + 1, static_cast<size_t>(stop - at - 1)};
                return true;
            }
            uint8_t *to = lines->strings_end;
            uint8_t *done =
                lines->stage->parse_string(reinterpret_cast<const uint8_t *>(at + 1), to);
            if (done == nullptr) {
                return false;
            }
            token->text = {reinterpret_cast<const char *>(to), static_cast<size_t>(done - to)};
            lines->strings_end = done;
            return true;
        }
        case 't': token->kind = JSON_TRUE; return is_word(at, end, "true", 4);
        case 'f': token->kind = JSON_FALSE; return is_word(at, end, "false", 5);
        case 'n': token->kind = JSON_NULL; return is_word(at, end, "null", 4);
        default: {
            size_t len = number_len(at, end);
            token->kind = JSON_NUMBER;
            token->is_in_text = true;
            token->text = {at, len};
            return len > 0;
        }
        }
    }

    bool document()
    {
        uint32_t open[DEPTH_MAX];
        uint32_t depth = 0;
        json_token *tokens = lines->tokens.get();
        const char *at = next();
        if (*at != '{') {
            return false;
        }
        json_token named{};
        for (;;) { /* `at` is at a value, whose key is in `named` */
            if (token_count + 2 > TOKENS_MAX) {
                return false;
            }
            json_token *token = &tokens[token_count];
            *token = named;
            bool is_object = *at == '{';
            if (is_object || *at == '[') {
                if (depth == DEPTH_MAX) {
                    return false;
                }
                token->kind = is_object ? JSON_OBJECT : JSON_ARRAY;
                open[depth++] = token_count++;
                at = next();
                if (*at != (is_object ? '}' : ']')) {
                    if (is_object && !key(&at, &named)) {
                        return false;
                    }
                    if (!is_object) {
                        named = json_token{};
                    }
                    continue;
                }
            } else {
                if (!scalar(at, token)) {
                    return false;
                }
                token_count++;
                at = next();
            }
            /* Behind a value, or at the end of an empty container. */
            for (;;) {
                bool in_object = tokens[open[depth - 1]].kind == JSON_OBJECT;
                if (*at == ',') {
                    at = next();
                    if (!in_object) {
                        named = json_token{};
                    } else if (!key(&at, &named)) {
                        return false;
                    }
                    break;
                }
                if (*at != (in_object ? '}' : ']') || token_count == TOKENS_MAX) {
                    return false;
                }
                tokens[open[depth - 1]].end_idx = token_count;
                tokens[token_count] = json_token{};
                tokens[token_count++].kind = in_object ? JSON_OBJECT_END : JSON_ARRAY_END;
                if (--depth == 0) {
                    return place == place_end;
                }
                at = next();
            }
        }
    }

    /* A key at *at and its colon; leaves *at at the value. */
    bool key(const char **at, json_token *named)
    {
        if (**at != '"') {
            return false;
        }
        const char *begin = *at + 1;
        const char *stop = string_stop(begin);
        if (*stop != '"' || *next() != ':') {
            return false;
        }
        *named = json_token{};
        named->has_key = true;
        named->is_key_in_text = true;
        named->key = {begin, static_cast<size_t>(stop - begin)};
        *at = next();
        return true;
    }
};

} // namespace

extern "C" enum err_code json_lines_create(size_t bytes_max, struct json_lines **ret,
                                           struct err *error)
{
    std::unique_ptr<json_lines> lines(new (std::nothrow) json_lines);
    size_t bytes = bytes_max < JSON_LINES_BYTES_MAX ? bytes_max : JSON_LINES_BYTES_MAX;
    if (lines != nullptr) {
        lines->bytes_max = bytes;
        lines->strings.reset(new (std::nothrow) uint8_t[bytes + 2 * JSON_PADDING_BYTES]);
        lines->tokens.reset(new (std::nothrow) json_token[TOKENS_MAX]);
        if (simdjson::get_active_implementation()->create_dom_parser_implementation(
                bytes + 1, 1, lines->stage) == simdjson::SUCCESS &&
            lines->strings != nullptr && lines->tokens != nullptr) {
            *ret = lines.release();
            return ERR_OK;
        }
    }
    return err_set(error, ERR_NOMEM, "out of memory for reading lines of JSON");
}

extern "C" void json_lines_free(struct json_lines *lines)
{
    delete lines;
}

extern "C" bool json_lines_begin(struct json_lines *lines, struct str text)
{
    ASSERT(text.len <= lines->bytes_max);
    lines->text = text;
    lines->cursor = 0;
    lines->count = 0;
    if (lines->stage->stage1(reinterpret_cast<const uint8_t *>(text.ptr), text.len,
                             simdjson::stage1_mode::regular) != simdjson::SUCCESS) {
        return false;
    }
    lines->count = lines->stage->n_structural_indexes;
    return true;
}

extern "C" bool json_lines_parse(struct json_lines *lines, struct str line,
                                 const struct json_token **ret_tokens, uint32_t *ret_count)
{
    const uint32_t *places = lines->stage->structural_indexes.get();
    size_t begin = static_cast<size_t>(line.ptr - lines->text.ptr);
    size_t end = begin + line.len;
    uint32_t first = lines->cursor;
    while (first < lines->count && places[first] < begin) {
        first++;
    }
    uint32_t last = first;
    while (last < lines->count && places[last] < end) {
        last++;
    }
    lines->cursor = last;
    lines->strings_end = lines->strings.get();
    walk w{lines, lines->text.ptr, line.ptr + line.len, places + first, places + last, 0};
    if (!w.document()) {
        return false;
    }
    *ret_tokens = lines->tokens.get();
    *ret_count = w.token_count;
    return true;
}
