/* query/lex.h - query text to tokens.
 *
 * Tokens are made one at a time, so a text of QUERY_TEXT_BYTES_MAX costs no token array. A text
 * that is no token becomes TOK_BAD and keeps its error in the lexer: the parser reports it when it
 * gets there, after every mistake that stands before it.
 *
 * Thread: one owner.  Ownership: tokens borrow from the text; unescaped strings live in the arena.
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/num.h"

enum token_kind {
    TOK_END,
    TOK_NAME,        /* [A-Za-z_$][A-Za-z0-9_.$]*, keyword or not */
    TOK_QUOTED_NAME, /* `any name`; `` inside stands for one backquote */
    TOK_STRING,
    TOK_NUMBER, /* without a sign */
    TOK_DURATION,
    TOK_TIME,  /* date or instant: its shape is right, its fields may not be */
    TOK_PARAM, /* :name */
    TOK_ARROW,
    TOK_LPAREN,
    TOK_RPAREN,
    TOK_LBRACKET,
    TOK_RBRACKET,
    TOK_COMMA,
    TOK_PIPE,
    TOK_EQ,
    TOK_NE,
    TOK_LT,
    TOK_LE,
    TOK_GT,
    TOK_GE,
    TOK_PLUS,
    TOK_MINUS,
    TOK_STAR,
    TOK_SLASH,
    TOK_QUESTION,
    TOK_BANG,
    TOK_BAD,
};

enum duration_unit { UNIT_MS, UNIT_S, UNIT_M, UNIT_H, UNIT_D, UNIT_W, UNIT_MO };
struct duration {
    uint64_t count;
    enum duration_unit unit;
};
const char *duration_unit_name(enum duration_unit unit); /* as it is written: "ms", "mo" */
/* Elapsed milliseconds; a day is 24 h. Not of UNIT_MO. The lexer has seen to it that they fit
 * int64_t. */
uint64_t duration_ms(struct duration duration);

struct place { /* in the text, from 1; columns count characters */
    uint32_t line;
    uint32_t column;
};

struct token {
    enum token_kind kind;
    struct place place;
    uint32_t begin_off, end_off;
    struct str text;  /* as written */
    struct str value; /* of names, strings, times and parameters: without quotes and escapes */
    struct num number;
    struct duration duration;
};

struct lex {
    struct str text;
    struct arena *arena;
    uint32_t off;
    uint32_t line;
    uint32_t mark_off; /* start of a character of this line whose column is known */
    uint32_t mark_column;
    struct err bad; /* of TOK_BAD */
};

/* ERR_LIMIT above QUERY_TEXT_BYTES_MAX; ERR_INVALID, with the place, where the text is not UTF-8.
 */
enum err_code lex_init(struct lex *lex, struct str text, struct arena *arena,
                       struct err *err) ERR_MUST_CHECK;
/* The next token; TOK_END and TOK_BAD repeat for ever. */
struct token lex_next(struct lex *lex);

/* [begin, end) of the text with every run of white space and comments outside of quotes made one
 * space: labels. */
enum err_code lex_label(struct str text, uint32_t begin_off, uint32_t end_off, struct arena *arena,
                        struct str *ret, struct err *err) ERR_MUST_CHECK;

bool lex_is_name(struct str s); /* could stand as a name without quotes */
bool lex_is_reserved(struct str s);
