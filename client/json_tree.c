/* client/json_tree.c - see json_tree.h. Without recursion: the depth of foreign text is not a matter of our
 * stack. */
#include "client/json_tree.h"

#include "storage/base/size.h"

#include <stdlib.h>

#define NODES_MAX (UINT32_MAX / 2)

struct parser {
    struct json_tree *tree;
    struct str text;
    size_t at;
    uint32_t open[JSON_TREE_DEPTH_MAX]; /* nodes that are not closed yet */
    uint32_t depth;
    struct err *err;
};

static enum err_code wrong(const struct parser *p, const char *expected)
{
    return err_set(p->err, ERR_INVALID, "byte %zu of the JSON: expected %s", p->at + 1, expected);
}

static enum err_code node_add(struct parser *p, enum json_tree_kind kind, struct str text)
{
    struct json_tree *tree = p->tree;
    if (tree->count == tree->cap) {
        uint32_t cap = tree->cap == 0 ? 256 : tree->cap * 2;
        struct json_node *nodes =
            tree->cap >= NODES_MAX ? NULL : realloc(tree->nodes, cap * sizeof(*nodes));
        if (nodes == NULL) {
            return err_set(p->err, ERR_NOMEM, "out of memory: JSON of %zu bytes", p->text.len);
        }
        tree->nodes = nodes;
        tree->cap = cap;
    }
    tree->nodes[tree->count] = (struct json_node){kind, tree->count + 1, text};
    tree->count++;
    return ERR_OK;
}

static void skip_space(struct parser *p)
{
    while (p->at < p->text.len && strchr(" \t\r\n", p->text.ptr[p->at]) != NULL &&
           p->text.ptr[p->at] != '\0') {
        p->at++;
    }
}

static int peek(const struct parser *p)
{
    return p->at < p->text.len ? (unsigned char)p->text.ptr[p->at] : -1;
}

static bool hex4(const char *at, const char *end, uint32_t *ret)
{
    uint32_t v = 0;
    if (end - at < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16) {
            return false;
        }
        v = v * 16 + digit;
    }
    *ret = v;
    return true;
}

static size_t utf8_put(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | (c >> 6));
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | (c >> 12));
        out[1] = (char)(0x80 | ((c >> 6) & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | (c >> 18));
    out[1] = (char)(0x80 | ((c >> 12) & 63));
    out[2] = (char)(0x80 | ((c >> 6) & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* One escape at `*at` (behind the backslash): appended to `out`; false where it is none. Surrogates
 * come in pairs; one alone becomes U+FFFD. */
static bool unescape_one(const char **at, const char *end, char *out, size_t *len)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (*at == end) {
        return false;
    }
    char c = *(*at)++;
    if (c != 'u') {
        const char *found = c == '\0' ? NULL : strchr(from, c);
        if (found == NULL) {
            return false;
        }
        out[(*len)++] = to[found - from];
        return true;
    }
    uint32_t code = 0;
    if (!hex4(*at, end, &code)) {
        return false;
    }
    *at += 4;
    uint32_t low = 0;
    if (code >= 0xd800 && code < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u' &&
        hex4(*at + 2, end, &low) && low >= 0xdc00 && low < 0xe000) {
        *at += 6;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xd800 && code < 0xe000) {
        code = 0xfffd;
    }
    *len += utf8_put(out + *len, code);
    return true;
}

static enum err_code parse_string(struct parser *p)
{
    const char *begin = p->text.ptr + p->at + 1;
    const char *end = p->text.ptr + p->text.len;
    const char *close = begin;
    bool has_escape = false;
    while (close < end && *close != '"') {
        if ((unsigned char)*close < 0x20) {
            p->at = (size_t)(close - p->text.ptr);
            return wrong(p, "no bare control character in a string");
        }
        if (*close == '\\') {
            has_escape = true;
            close++;
        }
        close++;
    }
    if (close >= end) {
        p->at = p->text.len;
        return wrong(p, "the end of a string");
    }
    struct str text = {begin, (size_t)(close - begin)};
    if (has_escape) {
        void *memory = NULL; /* an escape is never longer unescaped */
        ERR_TRY(arena_alloc(p->tree->arena, text.len, &memory, p->err));
        char *out = memory;
        size_t len = 0;
        for (const char *at = begin; at < close;) {
            if (*at != '\\') {
                out[len++] = *at++;
                continue;
            }
            at++;
            if (!unescape_one(&at, close, out, &len)) {
                p->at = (size_t)(at - p->text.ptr);
                return wrong(p, "an escape sequence");
            }
        }
        text = (struct str){out, len};
    }
    p->at = (size_t)(close + 1 - p->text.ptr);
    return node_add(p, JSON_TREE_STRING, text);
}

static bool skip_digits(struct parser *p)
{
    size_t begin = p->at;
    while (peek(p) >= '0' && peek(p) <= '9') {
        p->at++;
    }
    return p->at > begin;
}

static enum err_code parse_number(struct parser *p)
{
    size_t begin = p->at;
    p->at += peek(p) == '-';
    bool is_zero_led = peek(p) == '0';
    size_t digits_at = p->at;
    if (!skip_digits(p) || (is_zero_led && p->at > digits_at + 1)) {
        return wrong(p, "a number");
    }
    if (peek(p) == '.') {
        p->at++;
        if (!skip_digits(p)) {
            return wrong(p, "a digit behind the point");
        }
    }
    if (peek(p) == 'e' || peek(p) == 'E') {
        p->at++;
        p->at += peek(p) == '+' || peek(p) == '-';
        if (!skip_digits(p)) {
            return wrong(p, "a digit of the exponent");
        }
    }
    return node_add(p, JSON_TREE_NUMBER, (struct str){p->text.ptr + begin, p->at - begin});
}

static enum err_code parse_scalar(struct parser *p)
{
    static const struct {
        struct str word;
        enum json_tree_kind kind;
    } WORDS[] = {{STR("null"), JSON_TREE_NULL},
                 {STR("false"), JSON_TREE_FALSE},
                 {STR("true"), JSON_TREE_TRUE}};
    struct str rest = {p->text.ptr + p->at, p->text.len - p->at};
    if (peek(p) == '"') {
        return parse_string(p);
    }
    for (size_t i = 0; i < COUNT_OF(WORDS); i++) {
        if (str_starts(rest, WORDS[i].word)) {
            p->at += WORDS[i].word.len;
            return node_add(p, WORDS[i].kind, WORDS[i].word);
        }
    }
    return peek(p) == '-' || (peek(p) >= '0' && peek(p) <= '9') ? parse_number(p)
                                                                : wrong(p, "a value");
}

static enum err_code parse_key(struct parser *p)
{
    skip_space(p);
    if (peek(p) != '"') {
        return wrong(p, "a name in quotes");
    }
    ERR_TRY(parse_string(p));
    skip_space(p);
    if (peek(p) != ':') {
        return wrong(p, "\":\"");
    }
    p->at++;
    return ERR_OK;
}

static enum err_code parse_open(struct parser *p, bool is_object, bool *ret_is_empty)
{
    if (p->depth == JSON_TREE_DEPTH_MAX) {
        return err_set(p->err, ERR_LIMIT, "byte %zu of the JSON: deeper than %u levels", p->at + 1,
                       JSON_TREE_DEPTH_MAX);
    }
    p->open[p->depth++] = p->tree->count;
    ERR_TRY(node_add(p, is_object ? JSON_TREE_OBJECT : JSON_TREE_ARRAY, (struct str){0}));
    p->at++;
    skip_space(p);
    *ret_is_empty = peek(p) == (is_object ? '}' : ']');
    return ERR_OK;
}

/* Behind a value: close what ends here; true in *ret_is_done at the end of the outermost value. */
static enum err_code parse_behind(struct parser *p, bool *ret_is_done)
{
    for (;;) {
        skip_space(p);
        if (p->depth == 0) {
            *ret_is_done = true;
            return p->at == p->text.len ? ERR_OK : wrong(p, "the end");
        }
        struct json_node *open = &p->tree->nodes[p->open[p->depth - 1]];
        bool is_object = open->kind == JSON_TREE_OBJECT;
        if (peek(p) == ',') {
            p->at++;
            *ret_is_done = false;
            return is_object ? parse_key(p) : ERR_OK;
        }
        if (peek(p) != (is_object ? '}' : ']')) {
            return wrong(p, is_object ? "\",\" or \"}\"" : "\",\" or \"]\"");
        }
        p->at++;
        open->end = p->tree->count;
        p->depth--;
    }
}

enum err_code json_tree_parse(struct json_tree *tree, struct str text, struct err *err)
{
    struct parser p = {.tree = tree, .text = text, .err = err};
    bool is_done = false;
    json_tree_done(tree);
    tree->arena = arena_create(NULL);
    while (!is_done) {
        bool is_open = false;
        skip_space(&p);
        if (peek(&p) == '{' || peek(&p) == '[') {
            bool is_object = peek(&p) == '{';
            bool is_empty = false;
            ERR_TRY(parse_open(&p, is_object, &is_empty));
            is_open = !is_empty;
            if (is_open && is_object) {
                ERR_TRY(parse_key(&p));
            }
        } else {
            ERR_TRY(parse_scalar(&p));
        }
        if (!is_open) {
            ERR_TRY(parse_behind(&p, &is_done));
        }
    }
    return ERR_OK;
}

void json_tree_done(struct json_tree *tree)
{
    free(tree->nodes);
    arena_free(tree->arena);
    *tree = (struct json_tree){0};
}

uint32_t json_tree_member(const struct json_tree *tree, uint32_t object, const char *name)
{
    if (object >= tree->count || tree->nodes[object].kind != JSON_TREE_OBJECT) {
        return JSON_TREE_NONE;
    }
    for (uint32_t key = object + 1; key < tree->nodes[object].end; key = tree->nodes[key + 1].end) {
        if (str_eq(tree->nodes[key].text, str_of(name))) {
            return key + 1;
        }
    }
    return JSON_TREE_NONE;
}

uint64_t json_tree_count(const struct json_tree *tree, uint32_t object, const char *name,
                         uint64_t fallback)
{
    uint32_t at = json_tree_member(tree, object, name);
    if (at == JSON_TREE_NONE || tree->nodes[at].kind != JSON_TREE_NUMBER) {
        return fallback;
    }
    struct str text = tree->nodes[at].text;
    uint64_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || __builtin_mul_overflow(count, 10, &count) ||
            __builtin_add_overflow(count, (uint64_t)(text.ptr[i] - '0'), &count)) {
            return fallback;
        }
    }
    return count;
}

struct str json_tree_text(const struct json_tree *tree, uint32_t object, const char *name)
{
    uint32_t at = json_tree_member(tree, object, name);
    if (at == JSON_TREE_NONE || tree->nodes[at].kind != JSON_TREE_STRING) {
        return (struct str){"", 0};
    }
    return tree->nodes[at].text;
}
