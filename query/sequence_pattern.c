/* query/sequence_pattern.c */
#include "query/sequence_pattern.h"

#include "query/grow.h"

struct reader {
    struct str text;
    size_t at;
    struct place place; /* of the opening quote */
    struct arena *arena;
    struct err *err;
    uint32_t condition_count;
    struct ast_pattern_element *elements;
    uint32_t count, cap;
    struct ast_gap gaps[SEQUENCE_GAPS_MAX]; /* since the last element */
    uint32_t gap_count;
    size_t gap_at;
    bool is_free;
};

/* Columns count characters, and the quote is one. */
static uint32_t column_of(const struct reader *r, size_t at)
{
    uint32_t column = r->place.column + 1;
    for (size_t i = 0; i < at; i++) {
        column += ((uint8_t)r->text.ptr[i] & 0xc0) != 0x80;
    }
    return column;
}

#define pattern_fail(r, at, ...)                                                                   \
    err_set_at((r)->err, ERR_INVALID, (r)->place.line, column_of((r), (at)), __VA_ARGS__)

static bool accept(struct reader *r, const char *z)
{
    size_t len = strlen(z);
    if (r->text.len - r->at < len || memcmp(r->text.ptr + r->at, z, len) != 0) {
        return false;
    }
    r->at += len;
    return true;
}

/* Digits that fit, or false. */
static bool accept_count(struct reader *r, uint64_t *ret)
{
    size_t begin = r->at;
    uint64_t value = 0;
    while (r->at < r->text.len && r->text.ptr[r->at] >= '0' && r->text.ptr[r->at] <= '9') {
        uint64_t digit = (uint64_t)(r->text.ptr[r->at] - '0');
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            return false;
        }
        r->at++;
    }
    *ret = value;
    return r->at > begin;
}

static enum err_code read_element(struct reader *r, uint32_t condition)
{
    if (r->count == SEQUENCE_ELEMENTS_MAX) {
        return err_set_at(r->err, ERR_LIMIT, r->place.line, column_of(r, r->at),
                          "a pattern has at most %u elements", SEQUENCE_ELEMENTS_MAX);
    }
    if (r->count == 0 && r->gap_count > 0) {
        return pattern_fail(r, r->gap_at, "a gap stands between two elements");
    }
    ERR_TRY(GROW(r->arena, &r->elements, r->count, &r->cap, r->err));
    struct ast_gap *gaps = NULL;
    ERR_TRY(ARENA_NEW(r->arena, r->gap_count, &gaps, r->err));
    memcpy(gaps, r->gaps, r->gap_count * sizeof(*gaps));
    r->elements[r->count++] = (struct ast_pattern_element){
        .condition = condition, .is_free = r->is_free, .gaps = gaps, .gap_count = r->gap_count};
    r->gap_count = 0;
    r->is_free = false;
    return ERR_OK;
}

static enum err_code read_gap(struct reader *r, size_t begin)
{
    static const struct {
        const char *text;
        enum ast_gap_op op;
    } ops[] = {{"<=", AST_GAP_LE}, {"<", AST_GAP_LT},  {">=", AST_GAP_GE},
               {">", AST_GAP_GT},  {"==", AST_GAP_EQ}, {"=", AST_GAP_EQ}};
    static const struct {
        const char *text;
        uint64_t ms;
    } units[] = {{"ms", 1},       {"s", 1000},      {"m", 60000}, {"h", 3600000},
                 {"d", 86400000}, {"w", 604800000}, {"", 1000}};
    uint64_t count = 0;
    uint32_t op = 0;
    uint32_t unit = 0;
    struct ast_gap gap = {0};

    while (op < COUNT_OF(ops) && !accept(r, ops[op].text)) {
        op++;
    }
    if (op == COUNT_OF(ops)) {
        return pattern_fail(r, r->at, "expected <, <=, =, >= or > behind (?t");
    }
    if (!accept_count(r, &count)) {
        return pattern_fail(r, r->at, "expected a time behind (?t%s, such as 3600 or 1h",
                            ops[op].text);
    }
    while (!accept(r, units[unit].text)) { /* the last always fits */
        unit++;
    }
    if (!accept(r, ")")) {
        return pattern_fail(r, r->at, "expected a unit (ms, s, m, h, d, w) or \")\" of a gap");
    }
    gap.op = ops[op].op;
    if (__builtin_mul_overflow(count, units[unit].ms, &gap.ms) || gap.ms > INT64_MAX) {
        return pattern_fail(r, begin, "a gap of that many milliseconds is too long");
    }
    if (r->gap_count == SEQUENCE_GAPS_MAX) {
        return pattern_fail(r, begin, "more than %u gaps between two elements", SEQUENCE_GAPS_MAX);
    }
    r->gap_at = begin;
    r->gaps[r->gap_count++] = gap;
    r->is_free = true;
    return ERR_OK;
}

static enum err_code read_next(struct reader *r)
{
    size_t begin = r->at;
    if (accept(r, ".*")) {
        r->is_free = true;
        return ERR_OK;
    }
    if (accept(r, ".")) {
        return read_element(r, 0);
    }
    if (accept(r, "(?t")) {
        return read_gap(r, begin);
    }
    uint64_t condition = 0;
    if (!accept(r, "(?") || !accept_count(r, &condition) || !accept(r, ")")) {
        r->at = begin;
        return pattern_fail(r, begin, "expected (?1), (?t<=3600), \".\" or \".*\" in a pattern");
    }
    if (condition == 0 || condition > r->condition_count) {
        return pattern_fail(r, begin,
                            "the pattern asks for condition %llu, and %u stand behind \"over\"",
                            (unsigned long long)condition, r->condition_count);
    }
    return read_element(r, (uint32_t)condition);
}

enum err_code sequence_pattern_parse(struct str text, struct place place, uint32_t condition_count,
                                     struct arena *arena,
                                     const struct ast_pattern_element **ret_elements,
                                     uint32_t *ret_count, struct err *err)
{
    struct reader r = {.text = text,
                       .place = place,
                       .arena = arena,
                       .err = err,
                       .condition_count = condition_count};
    while (r.at < text.len) {
        if (text.ptr[r.at] == ' ') {
            r.at++;
            continue;
        }
        ERR_TRY(read_next(&r));
    }
    if (r.gap_count > 0) {
        return pattern_fail(&r, r.gap_at, "a gap stands between two elements");
    }
    *ret_elements = r.elements;
    *ret_count = r.count;
    return ERR_OK;
}
