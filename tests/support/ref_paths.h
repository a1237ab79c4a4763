/* tests/support/ref_paths.h - the paths of one unit (a session, or all of a subject), step by step as SEMANTICS.md 5
 * says it: cut to the anchors, take neighbours that are equal as one, and keep what is asked for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define REF_PATH_NODES_MAX 64
#define REF_PATHS_MAX      64

enum ref_paths_from { REF_PATHS_ALL, REF_PATHS_STARTING, REF_PATHS_ENDING, REF_PATHS_BETWEEN };
enum ref_paths_shape {
    REF_PATHS_EDGES,
    REF_PATHS_EXACTLY,
    REF_PATHS_VARIANTS,
    REF_PATHS_SHORTEST, /* as variants: the caller picks them */
};
struct ref_paths_query {
    enum ref_paths_from from;
    enum ref_paths_shape shape;
    int depth;
    bool keeps_repeats;
};
struct ref_path_event {
    const char *node;
    bool is_start, is_end;
    int64_t time_ms;
};
struct ref_path {
    const char *nodes[REF_PATH_NODES_MAX];
    int64_t times[REF_PATH_NODES_MAX];
    bool is_back[REF_PATH_NODES_MAX]; /* the unit's path had this node before */
    int count;
};
/* The paths of the unit: at most one, but for `exactly`, which has all its windows. Returns how many. */
int ref_paths(const struct ref_paths_query *query, const struct ref_path_event *events, int count,
              struct ref_path *out);
