#include "query/run_people.h"

#include "query/cell_taker.h"
#include "query/traits.h"

#include "storage/base/size.h"

#include <stdlib.h>

#define PEOPLE_WARNINGS_MAX 32u

/* ---- queries inside of a query ---- */

static void inner_done(struct query_run_ctx *inner)
{
    run_uses_done(inner);
    run_inner_done(inner);
}

/* A query of which only the people are kept. */
static enum err_code run_inner(struct query_run_ctx *run, const struct bound_query *query,
                               struct people *ret, struct err *err)
{
    CLEANUP(inner_done) struct query_run_ctx inner;
    run_inner_begin(run, query, &inner);
    inner.traits = NULL;
    ERR_TRY(run_uses(&inner, err));
    ERR_TRY(run_exclude(&inner, err));
    ERR_TRY(run_people(&inner, ret, err));
    run_inner_count(run, &inner);
    return ERR_OK;
}

/* A static cohort is none: the binder has read it. */
static bool is_made(const struct people_use *use)
{
    return use->definition != NULL || use->profile != NULL;
}

static enum err_code run_use(struct query_run_ctx *run, struct people_use *use, struct err *err)
{
    struct people *people = NULL;
    ERR_TRY(ARENA_NEW(run->arena, 1, &people, err));
    people_init(people, run->arena);
    use->people = people;
    if (use->profile != NULL) {
        return traits_people(run, use->profile, people, err);
    }
    if (run_inner(run, use->definition, people, err) != ERR_OK) {
        return use->cohort.len == 0
                   ? err->code
                   : err_context(err, "cohort \"" STR_FMT "\"", STR_ARG(use->cohort));
    }
    return ERR_OK;
}

enum err_code run_uses(struct query_run_ctx *run, struct err *err)
{
    const struct bound_query *query = run->query;
    if (query->trait_count > 0) {
        ERR_TRY(traits_load(run, err));
    }
    for (uint32_t i = 0; i < query->use_count; i++) {
        if (is_made(query->uses[i])) {
            ERR_TRY(run_use(run, query->uses[i], err));
        }
    }
    return ERR_OK;
}

void run_uses_done(struct query_run_ctx *run)
{
    const struct bound_query *query = run->query;
    for (uint32_t i = 0; query != NULL && i < query->use_count; i++) {
        struct people_use *use = query->uses[i];
        if (is_made(use) && use->people != NULL) {
            people_done(use->people);
            use->people = NULL;
        }
    }
    traits_free(TAKE(run->traits));
    people_done(&run->excluded);
    people_done(&run->uncompared);
}

enum err_code run_others(const struct query_run_ctx *run, const struct people *people,
                         uint32_t shard, struct people *ret, struct err *err)
{
    const roaring_bitmap_t *in = people_of(people, shard);
    CLEANUP(bitmap_freep) roaring_bitmap_t *others = roaring_bitmap_create();
    if (others == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a set of people");
    }
    roaring_bitmap_add_range(others, 0, run_shard_subjects(run->snapshot, shard));
    if (in != NULL) {
        roaring_bitmap_andnot_inplace(others, in);
    }
    return people_or(ret, shard, others, err);
}

/* Who of a shard is no part of the question: the deleted, the excluded, whom a term of `where` does not hold of. */
static enum err_code mask_shard(struct query_run_ctx *run, uint32_t shard, struct err *err)
{
    const struct bound_query *query = run->query;
    struct people *out = &run->excluded;
    ERR_TRY(people_or(out, shard, run->snapshot->deleted[shard], err));
    for (uint32_t i = 0; i < query->excluded_count; i++) {
        ERR_TRY(people_or(out, shard, people_of(query->excluded[i]->people, shard), err));
    }
    for (uint32_t i = 0; i < query->people_term_count; i++) {
        const struct people_term *term = &query->people_terms[i];
        const struct people *people = term->people->people;
        ERR_TRY(term->is_without ? people_or(out, shard, people_of(people, shard), err)
                                 : run_others(run, people, shard, out, err));
    }
    return ERR_OK;
}

enum err_code run_exclude(struct query_run_ctx *run, struct err *err)
{
    const struct bound_query *query = run->query;
    struct snapshot *masked = NULL;
    people_init(&run->excluded, run->arena);
    if (query->excluded_count == 0 && query->people_term_count == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(run->arena, 1, &masked, err));
    *masked = *run->snapshot;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        ERR_TRY(mask_shard(run, shard, err));
        masked->deleted[shard] = people_of(&run->excluded, shard);
    }
    run->unmasked = run->unmasked == NULL ? run->snapshot : run->unmasked;
    run->snapshot = masked;
    return ERR_OK;
}

/* ---- who ---- */

bool run_find_subject(const struct query_run_ctx *run, struct str id, uint32_t *ret_shard,
                      uint32_t *ret_subject)
{
    const struct str none = {0};
    const struct snapshot *snapshot = run->snapshot;
    return snapshot->dataset != NULL &&
           (snapshot_find_subject(snapshot, id, none, ret_shard, ret_subject) ||
            snapshot_find_subject(snapshot, none, id, ret_shard, ret_subject));
}

bool run_asks_people(const struct bound_query *query)
{
    return (query->verb == VERB_SEGMENT && query->per == NULL) || query->cell != NULL;
}

enum err_code run_people(struct query_run_ctx *run, struct people *ret, struct err *err)
{
    struct result none = {.arena = run->arena}; /* the verb returns before its table */
    if (run->query->verb == VERB_SEGMENT) {
        return segment_people(run, ret, err);
    }
    run->cell_people = ret;
    enum err_code code = run_table(run, &none, err);
    run->cell_people = NULL;
    if (code != ERR_OK) {
        cell_takers_free(run);
        return code;
    }
    return cell_takers_merge(run, ret, err);
}

/* ---- the answer ---- */

struct id_list {
    struct str *items;
    size_t count, cap;
};

static enum err_code take_id(void *arg, struct str id, struct err *err)
{
    struct id_list *list = arg;
    if (list->count == list->cap) { /* an id more than there are people */
        return err_set(err, ERR_CORRUPT, "the id directory has two ids of one subject");
    }
    list->items[list->count++] = id;
    return ERR_OK;
}

static int compare_ids(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

enum err_code run_people_ids(struct query_run_ctx *run, const struct people *people,
                             struct arena *arena, const struct str **ret, uint64_t *ret_count,
                             struct err *err)
{
    const roaring_bitmap_t *sets[SHARD_COUNT];
    struct id_list list = {.cap = people_count(people)};
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        sets[shard] = people_of(people, shard);
    }
    ERR_TRY(ARENA_NEW(arena, list.cap, &list.items, err));
    ERR_TRY(snapshot_ids_of(run->snapshot, sets, take_id, &list, err));
    ERR_TRY(run_check(run, err));
    qsort(list.items, list.count, sizeof(*list.items), compare_ids);
    *ret = list.items;
    *ret_count = list.count;
    return ERR_OK;
}

static enum err_code answer_list(struct query_run_ctx *run, const struct people *people,
                                 struct result *result, struct err *err)
{
    static const struct result_col cols[] = {{{"user_id", 7}, RESULT_STRING}};
    const struct str *ids = NULL;
    uint64_t count = 0;
    struct cell *cells = NULL;
    ERR_TRY(run_people_ids(run, people, run->arena, &ids, &count, err));
    uint64_t shown = count;
    if (run->query->has_limit && run->query->limit < shown) {
        shown = run->query->limit;
    }
    result->cols = cols;
    result->col_count = COUNT_OF(cols);
    ERR_TRY(run_result_rows(run, result, shown, &cells, err));
    for (uint64_t i = 0; i < shown; i++) {
        cells[i].kind = CELL_STRING;
        ERR_TRY(arena_str(result->arena, ids[i], &cells[i].string, err));
    }
    result->meta.rows_total = count;
    result->meta.rows_left_out = count - shown;
    return ERR_OK;
}

static enum err_code answer_count(struct query_run_ctx *run, const struct people *people,
                                  struct result *result, struct err *err)
{
    static const struct result_col cols[] = {{{"users", 5}, RESULT_INT64}};
    struct cell *cells = NULL;
    result->cols = cols;
    result->col_count = COUNT_OF(cols);
    ERR_TRY(run_result_rows(run, result, 1, &cells, err));
    cells[0] = (struct cell){.kind = CELL_I64, .i64 = (int64_t)people_count(people)};
    return ERR_OK;
}

static void people_donep(struct people *people)
{
    people_done(people);
}

enum err_code verb_people(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(people_donep) struct people people;
    people_init(&people, run->arena);
    ERR_TRY(run_people(run, &people, err));
    if (run->query->save.len > 0) {
        ERR_TRY(cohort_save(run, &people, err));
    }
    return run->query->is_list ? answer_list(run, &people, result, err)
                               : answer_count(run, &people, result, err);
}
