/* client/json_tree.h - reading an answer: JSON (RFC 8259) as a flat array of nodes.
 *
 * Numbers stay the text that came: money in an answer has more digits than a double, and is shown
 * as the server wrote it (which is why this is not jansson). A node's inside is the run of nodes behind it:
 *
 *     {"a": [1, "x"]}    ->   OBJECT end=5 | STRING a | ARRAY end=5 | NUMBER 1 | STRING x
 *
 * so the value after node i is node `nodes[i].end`, and an object is key, value, key, value.
 *
 * Thread: one owner. Ownership: strings without escapes point into the parsed text, which must
 * outlive the tree; the rest belongs to the tree.
 */
#pragma once

#include "storage/base/arena.h"

enum json_tree_kind {
    JSON_TREE_NULL,
    JSON_TREE_FALSE,
    JSON_TREE_TRUE,
    JSON_TREE_NUMBER,
    JSON_TREE_STRING,
    JSON_TREE_ARRAY,
    JSON_TREE_OBJECT,
};
struct json_node {
    enum json_tree_kind kind;
    uint32_t end;    /* the node behind this value */
    struct str text; /* STRING: unescaped; NUMBER: as it stands */
};
struct json_tree {
    struct json_node *nodes;
    uint32_t count;
    uint32_t cap;
    struct arena *arena;
};

#define JSON_TREE_NONE      UINT32_MAX
#define JSON_TREE_DEPTH_MAX 100u

/* `tree` starts zeroed. ERR_INVALID with the byte where it stops being JSON; ERR_LIMIT, ERR_NOMEM. */
enum err_code json_tree_parse(struct json_tree *tree, struct str text,
                              struct err *err) ERR_MUST_CHECK;
void json_tree_done(struct json_tree *tree);

/* The value of a member (the first of that name), or JSON_TREE_NONE; also where `object` is none. */
uint32_t json_tree_member(const struct json_tree *tree, uint32_t object, const char *name);
/* The member's number, or `fallback` where there is none or it is not a whole one. */
uint64_t json_tree_count(const struct json_tree *tree, uint32_t object, const char *name,
                         uint64_t fallback);
/* The member's string, or an empty one. */
struct str json_tree_text(const struct json_tree *tree, uint32_t object, const char *name);
