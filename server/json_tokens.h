/* server/json_tokens.h - the server's one JSON parser: a document as a flat run of tokens.
 *
 * simdjson (on-demand) reads, validates UTF-8 and structure, and unescapes; this shim hands its
 * walk to C as an array, in document order, with each container closed by its own END token.
 * Numbers keep their text, because the exact decimal matters (storage/num.h). Duplicate keys are
 * all given: the last one is the later token.
 *
 * Thread: a parser belongs to one thread. Ownership: tokens and unescaped strings live in the
 * parser until its next parse; strings without escapes point into the text itself.
 */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

#include "storage/base/err.h"
#include "storage/base/str.h"

#define JSON_PADDING_BYTES 64u /* readable bytes that must follow the text */
#define JSON_DEPTH_MAX     64u
#define JSON_TOKENS_MAX    (1u << 22)

enum json_kind {
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_STRING,
    JSON_NUMBER, /* text holds the number as written */
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};
struct json_token {
    enum json_kind kind;
    bool has_key;
    bool is_in_text; /* `text` points into the caller's bytes, not into the parser */
    bool is_key_in_text;
    struct str key;
    struct str text;  /* of STRING and NUMBER */
    uint32_t end_idx; /* of OBJECT and ARRAY: the place of their END token */
};

struct json_parser;
enum err_code json_parser_create(struct json_parser **ret, struct err *err) ERR_MUST_CHECK;
void json_parser_free(struct json_parser *parser);
static inline void json_parser_freep(struct json_parser **parser)
{
    json_parser_free(*parser);
}

/* Parse one whole document. `text.ptr` must be followed by JSON_PADDING_BYTES readable bytes (any
 * content). ERR_INVALID with line and column (counted in bytes, from 1) of the mistake; ERR_LIMIT
 * for depth or size. */
enum err_code json_parse(struct json_parser *parser, struct str text,
                         const struct json_token **ret_tokens, uint32_t *ret_count,
                         struct err *err) ERR_MUST_CHECK;

#ifdef __cplusplus
}
#endif
