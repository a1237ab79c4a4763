/* query/bind_regex.c - regular expressions from outside, made safe to compile.
 *
 * regcomp copies what it repeats: x{n} is n copies of x, and x+ is two, so ((((a+)+)+)+)+ doubles
 * at each level and a short text can ask for all the memory there is. The size after copying is
 * estimated first, by the same grammar with a stack of groups. Back-references, which make matching
 * exponential, are refused. */
#include "query/bind_int.h"
#include "query/regex_locale.h"

#define REGEX_BYTES_MAX 1000u
#define REGEX_NODES_MAX 10000u

/* Off behind a bracket expression that begins at `off`; ] first and [:class:] are part of it. */
static size_t skip_bracket(struct str text, size_t off)
{
    off++;
    if (off < text.len && text.ptr[off] == '^') {
        off++;
    }
    if (off < text.len && text.ptr[off] == ']') {
        off++;
    }
    while (off < text.len && text.ptr[off] != ']') {
        char kind = off + 1 < text.len ? text.ptr[off + 1] : '\0';
        if (text.ptr[off] == '[' && (kind == ':' || kind == '.' || kind == '=')) {
            off += 2;
            while (off + 1 < text.len && !(text.ptr[off] == kind && text.ptr[off + 1] == ']')) {
                off++;
            }
            off++;
        }
        off++;
    }
    return off + 1;
}

/* The larger bound of {n}, {n,}, {n,m} at `*off`, which is left on the closing brace. */
static uint64_t brace_bound(struct str text, size_t *off)
{
    uint64_t bound = 0;
    uint64_t number = 0;
    size_t at = *off + 1;
    for (; at < text.len && text.ptr[at] != '}'; at++) {
        bool is_digit = text.ptr[at] >= '0' && text.ptr[at] <= '9';
        number =
            is_digit ? MIN_OF(number * 10 + (uint64_t)(text.ptr[at] - '0'), REGEX_NODES_MAX) : 0;
        bound = MAX_OF(bound, number);
    }
    *off = at;
    return bound;
}

/* Nodes after copying, or anything above REGEX_NODES_MAX. */
static uint64_t regex_nodes(struct str text)
{
    uint64_t outer[REGEX_BYTES_MAX + 1]; /* nodes before each open group */
    uint32_t depth = 0;
    uint64_t before = 0; /* nodes of this group before the last atom */
    uint64_t atom = 0;
    ASSERT(text.len <= REGEX_BYTES_MAX);
    for (size_t i = 0; i < text.len && before + atom <= REGEX_NODES_MAX; i++) {
        switch (text.ptr[i]) {
        case '(':
            outer[depth++] = before + atom;
            before = atom = 0;
            break;
        case ')':
            atom += before + 1;
            before = depth > 0 ? outer[--depth] : 0;
            break;
        case '*':
        case '?': atom += 1; break;
        case '+': atom = atom * 2 + 1; break;
        case '{': atom = atom * (brace_bound(text, &i) + 1) + 1; break;
        default:
            before += atom;
            atom = 1;
            if (text.ptr[i] == '\\') {
                i++;
            } else if (text.ptr[i] == '[') {
                i = skip_bracket(text, i) - 1;
            }
            break;
        }
    }
    uint64_t nodes = before + atom;
    while (depth > 0 && nodes <= REGEX_NODES_MAX) {
        nodes += outer[--depth];
    }
    return nodes;
}

static bool has_back_reference(struct str text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.ptr[i] == '\\') {
            i++;
            if (text.ptr[i] >= '1' && text.ptr[i] <= '9') {
                return true;
            }
        }
    }
    return false;
}

static enum err_code check_regex(struct binder *b, const struct ast_value *value)
{
    struct str text = value->text;
    if (text.len > REGEX_BYTES_MAX) {
        return bind_limit(b, value->place,
                          "a regular expression of %zu bytes is longer than the limit of %u",
                          text.len, REGEX_BYTES_MAX);
    }
    if (text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL) {
        return bind_fail(b, value->place, "a regular expression holds no zero byte");
    }
    if (has_back_reference(text)) {
        return bind_fail(b, value->place, "a regular expression here has no back-references");
    }
    if (regex_nodes(text) > REGEX_NODES_MAX) {
        return bind_limit(b, value->place,
                          "the repetitions of the regular expression make it larger than the "
                          "limit of %u nodes",
                          REGEX_NODES_MAX);
    }
    return ERR_OK;
}

enum err_code bind_regex(struct binder *b, const struct ast_value *value, const void **ret)
{
    struct bound_regex *node = NULL;
    struct str zero_ended = {0};
    ERR_TRY(check_regex(b, value));
    ERR_TRY(ARENA_NEW(b->arena, 1, &node, b->err));
    ERR_TRY(arena_str(b->arena, value->text, &zero_ended, b->err));
    locale_t before = regex_locale_enter();
    int code = regcomp(&node->regex, zero_ended.ptr, REG_EXTENDED | REG_NOSUB);
    regex_locale_leave(before);
    if (code != 0) {
        char why[128];
        regerror(code, &node->regex, why, sizeof(why));
        return bind_fail(b, value->place, "\"" STR_FMT "\" is no regular expression: %s",
                         STR_ARG(value->text), why);
    }
    node->next = b->owner->regexes;
    b->owner->regexes = node;
    *ret = &node->regex;
    return ERR_OK;
}
