/* query/paths_int.h - what the two halves of the paths verb share.
 *
 *     paths_task.c   journeys -> nodes -> units -> trimmed to their anchors -> windows and variants are counted,
 *                    paths that are shown as edges are logged; a unit's bucket and group are those of its first event
 *     verb_paths.c   nodes of tasks matched by label; what is shown of each column; logs -> edges; the table
 *
 * Edges are counted in a second round, for only when all is read is it known which nodes of a column are shown
 * and which are one "(other)"; and who went through "(other)" is no sum of who went through its parts.
 */
#pragma once

#include "query/cell_watch.h"
#include "query/path_nodes.h"
#include "query/row_heads.h"
#include "query/session_walk.h"

/* A path in a log: header, head (row_heads.h), the subject where it is another than before, nodes (numbers of the task), and
 * with `times` the milliseconds from node to node. */
#define PATH_LOG_WORDS   4096u
#define PATH_NEW_SUBJECT (UINT32_C(1) << 31) /* in the header, beside the number of nodes */
#define PATH_BACK        (UINT32_C(1) << 31) /* beside a node that the unit's path had before */
struct path_chunk {
    struct path_chunk *next;
    uint32_t used;
    uint32_t words[PATH_LOG_WORDS];
};

/* How often, and by how many; for subjects that come one after the other. */
struct path_count {
    uint64_t count, users;
    uint64_t last_subject; /* + 1: whom `users` has counted last */
    unsigned __int128 ms;  /* of edges */
    uint64_t back;         /* of edges: that lead to a node the unit's path had before */
};
static inline void path_count_add(struct path_count *count, uint64_t subject)
{
    count->count++;
    count->users += count->last_subject != subject + 1;
    count->last_subject = subject + 1;
}

/* A short path that was counted a while ago: most of those that come are among a few hundred. */
#define PATH_RECENT_NODES 4u
#define PATH_RECENTS      1024u
struct path_recent {
    uint32_t begin; /* the head, and behind it in three bits how many nodes; 0: free */
    uint32_t nodes[PATH_RECENT_NODES];
    uint32_t number;
};

/* Sequences of a head and nodes, each with its counts. */
struct path_counts {
    struct interns keys;
    struct path_count *items;
    uint32_t cap;
    struct path_recent *recents; /* PATH_RECENTS, each in the place of its hash */
};
enum err_code path_counts_init(struct path_counts *counts, struct arena *arena,
                               struct err *err) ERR_MUST_CHECK;
/* The counts of a head and the nodes behind words[0], which is room for the head: `count` words in all. */
enum err_code path_counts_of(struct path_counts *counts, uint32_t head, uint32_t *words,
                             uint32_t count, struct path_count **ret,
                             struct err *err) ERR_MUST_CHECK;

#define PATHS_LANE_KEYS 1u /* where there are any; lane 0: nodes */
struct paths_plan {
    struct answer_buckets buckets;
    struct session_rule rule;
    struct session_walk walk;
};

struct paths_part {
    struct session_slot slot;
    struct path_nodes nodes;
    struct path_counts counts; /* EXACTLY, VARIANTS */
    struct path_chunk *log_first, *log_last;
    struct path_count all; /* edges, windows or variants; and whose */
    struct row_heads heads;
    uint32_t shard;
    struct cell_watch watch; /* of whole paths; edges are looked at in the second round */

    /* The journey at hand without what is ignored, and a unit's path. */
    int64_t *times;
    uint64_t *masks;
    uint32_t *at_nodes;
    uint32_t *groups; /* with keys */
    uint32_t *path;   /* in front of it is room for a head */
    int64_t *path_times;
    size_t cap;
    uint64_t unit;       /* counts units */
    uint64_t *last_unit; /* of each node: the unit that had it last */
    uint32_t node_cap;
};

enum err_code paths_task(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                         void *slot, struct err *err) ERR_MUST_CHECK;
