/* query/path_nodes.h - from the values of `over` to the nodes of paths.
 *
 *     "/p/17/"   -> trailing slash -> "/p/17" -> group "/p/{any}" as "product" -> node "product"
 *     null       -> no node: the event is passed over
 *     12.5, true -> their text; several keys: joined by ": ", nulls left out
 *
 * Each value is looked at once; nodes are numbered by their text.
 *
 * Thread: one owner.
 */
#pragma once

#include "query/interns.h"
#include "query/keys.h"

#define PATH_NO_NODE UINT32_MAX

struct path_nodes {
    const struct paths *paths;
    const struct groups *values; /* numbers the values of `over` */
    struct interns labels;       /* by node */
    uint32_t *node_of;           /* by value number, once it is known */
    uint8_t *is_known;
    uint32_t cap;
};

enum err_code path_nodes_init(struct path_nodes *nodes, const struct paths *paths,
                              const struct groups *values, struct arena *arena,
                              struct err *err) ERR_MUST_CHECK;
/* The node of a value number, or PATH_NO_NODE. */
enum err_code path_node_of(struct path_nodes *nodes, uint32_t value, uint32_t *ret,
                           struct err *err) ERR_MUST_CHECK;

/* `*` in a pattern stands for any bytes, none as well. Cost: at most the product of the lengths. */
bool path_matches(struct str pattern, struct str text);
