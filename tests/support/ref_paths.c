/* tests/support/ref_paths.c */
#include "tests/support/ref_paths.h"

#include <string.h>

/* The last `count` or the first `count` nodes from `begin` on. */
static struct ref_path part_of(const struct ref_path *path, int begin, int count)
{
    struct ref_path part = {.count = count};
    for (int i = 0; i < count; i++) {
        part.nodes[i] = path->nodes[begin + i];
        part.times[i] = path->times[begin + i];
        part.is_back[i] = path->is_back[begin + i];
    }
    return part;
}

static bool find_anchors(const struct ref_paths_query *query, const struct ref_path_event *events,
                         int count, int *begin, int *end)
{
    int first = -1;
    int next_end = -1;
    int last_end = -1;
    for (int i = 0; i < count; i++) {
        first = first < 0 && events[i].is_start ? i : first;
        if (events[i].is_end) {
            next_end = next_end < 0 && first >= 0 && i > first ? i : next_end;
            last_end = i;
        }
    }
    *begin = query->from == REF_PATHS_STARTING || query->from == REF_PATHS_BETWEEN ? first : 0;
    *end = query->from == REF_PATHS_BETWEEN  ? next_end
           : query->from == REF_PATHS_ENDING ? last_end
                                             : count - 1;
    return count > 0 && *begin >= 0 && *end >= 0;
}

int ref_paths(const struct ref_paths_query *query, const struct ref_path_event *events, int count,
              struct ref_path *out)
{
    struct ref_path path = {0};
    int begin = 0;
    int end = 0;

    if (!find_anchors(query, events, count, &begin, &end)) {
        return 0;
    }
    for (int i = begin; i <= end; i++) {
        bool is_repeat = path.count > 0 && strcmp(path.nodes[path.count - 1], events[i].node) == 0;
        if (!is_repeat || query->keeps_repeats) {
            path.nodes[path.count++] = events[i].node;
        }
        path.times[path.count - 1] =
            events[i].time_ms; /* a node's time is that of its last repeat */
    }
    for (int i = 0; i < path.count; i++) {
        for (int k = 0; k < i; k++) {
            path.is_back[i] = path.is_back[i] || strcmp(path.nodes[k], path.nodes[i]) == 0;
        }
    }
    int depth = query->depth;
    if (query->shape == REF_PATHS_VARIANTS || query->shape == REF_PATHS_SHORTEST) {
        out[0] = path;
        return 1;
    }
    if (query->shape == REF_PATHS_EDGES) {
        int shown = path.count < depth ? path.count : depth;
        out[0] = part_of(&path, query->from == REF_PATHS_ENDING ? path.count - shown : 0, shown);
        return shown >= 2 ? 1 : 0;
    }
    if (path.count < depth) {
        return 0;
    }
    switch (query->from) {
    case REF_PATHS_STARTING: out[0] = part_of(&path, 0, depth); return 1;
    case REF_PATHS_ENDING: out[0] = part_of(&path, path.count - depth, depth); return 1;
    case REF_PATHS_BETWEEN: out[0] = path; return path.count == depth ? 1 : 0;
    case REF_PATHS_ALL: break;
    }
    for (int i = 0; i + depth <= path.count; i++) {
        out[i] = part_of(&path, i, depth);
    }
    return path.count - depth + 1;
}
