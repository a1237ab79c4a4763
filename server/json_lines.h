/* server/json_lines.h - many JSON documents, one per line, as tokens: the fast road of NDJSON.
 *
 * simdjson's first stage (UTF-8, strings, control characters, the places of all tokens) runs once over some
 * hundred KiB of lines; a walk over those places makes the tokens of one line at a time. Only what is plainly
 * right is taken: of everything else (a broken line, an escaped key, a number of more than 18 digits or
 * with an exponent, deep nesting) json_lines_parse says false, and the caller asks json_parse
 * (server/json_tokens.h), which alone judges. Both give the same tokens; tests/prop/prop_json_lines.c.
 *
 * Thread: one owner. Ownership: tokens and unescaped strings live until the next call.
 */
#pragma once

#include "server/json_tokens.h"

#ifdef __cplusplus
extern "C" {
#endif

#define JSON_LINES_BYTES_MAX (256u << 10) /* of one json_lines_begin */

struct json_lines;
/* `bytes_max` bounds what one json_lines_begin gets, at most JSON_LINES_BYTES_MAX. */
enum err_code json_lines_create(size_t bytes_max, struct json_lines **ret,
                                struct err *err) ERR_MUST_CHECK;
void json_lines_free(struct json_lines *lines);
static inline void json_lines_freep(struct json_lines **lines)
{
    json_lines_free(*lines);
}
/* Take up whole lines (their newlines included), at most bytes_max; JSON_PADDING_BYTES must follow. False where
 * something in them is broken: then json_lines_parse will say false to each of them. */
bool json_lines_begin(struct json_lines *lines, struct str text);
/* The tokens of one of those lines, an object; lines in their order. */
bool json_lines_parse(struct json_lines *lines, struct str line,
                      const struct json_token **ret_tokens, uint32_t *ret_count);

#ifdef __cplusplus
}
#endif
