/* query/path_nodes.c */
#include "query/path_nodes.h"

#include "storage/base/buf.h"
#include "storage/base/size.h"

#include <inttypes.h>

enum err_code path_nodes_init(struct path_nodes *nodes, const struct paths *paths,
                              const struct groups *values, struct arena *arena, struct err *err)
{
    *nodes = (struct path_nodes){.paths = paths, .values = values};
    return interns_init(&nodes->labels, arena, err);
}

/* Only the last star is ever tried again: what the ones before it matched was the shortest, and leaves most. */
bool path_matches(struct str pattern, struct str text)
{
    size_t p = 0;
    size_t t = 0;
    size_t star = SIZE_MAX; /* place of the last star, and of the text behind what it stands for */
    size_t star_end = 0;

    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            star_end = t;
        } else if (p < pattern.len && pattern.ptr[p] == text.ptr[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++star_end;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*') {
        p++;
    }
    return p == pattern.len;
}

static void cell_text(const struct cell *cell, struct buf *out)
{
    switch (cell->kind) {
    case CELL_I64: buf_int(out, cell->i64); break;
    case CELL_F64: {
        struct num n = {0};
        bool is_number = num_double(cell->f64, &n);
        ASSERT(is_number); /* cells hold finite doubles */
        num_format(n, out);
        break;
    }
    case CELL_DECIMAL: num_total_format(cell->decimal, out); break;
    case CELL_STRING: buf_str(out, cell->string); break;
    case CELL_BOOL: buf_z(out, cell->boolean ? "true" : "false"); break;
    case CELL_NULL:
    case CELL_LIST: break;
    }
}

/* False where all keys are null. */
static bool value_text(const struct path_nodes *nodes, uint32_t value, struct buf *out)
{
    bool has_any = false;
    for (uint32_t k = 0; k < nodes->paths->node_key_count; k++) {
        struct cell cell = groups_cell(nodes->values, value, k);
        if (cell.kind != CELL_NULL) {
            buf_z(out, has_any ? ": " : "");
            cell_text(&cell, out);
            has_any = true;
        }
    }
    return has_any;
}

static struct str rule_label(const struct paths *paths, struct str text)
{
    if (paths->is_slash_ignored && text.len > 1 && text.ptr[text.len - 1] == '/') {
        text.len--;
    }
    for (uint32_t r = 0; r < paths->rule_count; r++) {
        if (path_matches(paths->rules[r].pattern, text)) {
            return paths->rules[r].label;
        }
    }
    return text;
}

static enum err_code node_make(struct path_nodes *nodes, uint32_t value, uint32_t *ret,
                               struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    bool has_any = value_text(nodes, value, &text);
    ERR_TRY(buf_check(&text, err));
    if (!has_any) {
        *ret = PATH_NO_NODE;
        return ERR_OK;
    }
    return interns_put(&nodes->labels, rule_label(nodes->paths, buf_as_str(&text)), ret, err);
}

enum err_code path_node_of(struct path_nodes *nodes, uint32_t value, uint32_t *ret, struct err *err)
{
    if (value >= nodes->cap) {
        uint32_t cap = MAX_OF(2 * nodes->cap, value + 64);
        uint32_t *node_of = NULL;
        uint8_t *is_known = NULL;
        ERR_TRY(ARENA_NEW(nodes->labels.arena, cap, &node_of, err));
        ERR_TRY(ARENA_NEW(nodes->labels.arena, cap, &is_known, err));
        if (nodes->cap > 0) {
            memcpy(node_of, nodes->node_of, nodes->cap * sizeof(*node_of));
            memcpy(is_known, nodes->is_known, nodes->cap);
        }
        nodes->node_of = node_of;
        nodes->is_known = is_known;
        nodes->cap = cap;
    }
    if (nodes->is_known[value] == 0) {
        ERR_TRY(node_make(nodes, value, &nodes->node_of[value], err));
        nodes->is_known[value] = 1;
    }
    *ret = nodes->node_of[value];
    return ERR_OK;
}
