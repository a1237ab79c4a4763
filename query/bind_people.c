/* query/bind_people.c - saved cohorts, and the clauses that name them.
 *
 * A live cohort is its question: bound here as a query inside of the query, in its own words, zone and range, and run
 * before the outer one. A static one is read from the catalog. Cohorts may be made of others, in no circle. */
#include "query/bind_int.h"

#include "storage/base/buf.h"

enum err_code bind_use(struct binder *b, struct people_use use, const struct people_use **ret)
{
    struct people_use *own = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &own, b->err));
    ERR_TRY(GROW(b->arena, &b->uses, b->use_count, &b->use_cap, b->err));
    *own = use;
    b->uses[b->use_count++] = own;
    *ret = own;
    return ERR_OK;
}

/* ---- a saved cohort ---- */

/* That the cohort is not one of those that it is bound for. */
static enum err_code check_circle(struct binder *b, struct ast_name name)
{
    uint32_t depth = 0;
    for (const struct bind_cohort_link *link = b->cohorts; link != NULL; link = link->outer) {
        if (str_eq(link->name, name.text)) {
            return bind_fail(b, name.place, "cohort \"" STR_FMT "\" would be made of itself",
                             STR_ARG(name.text));
        }
        depth++;
    }
    return depth < BIND_COHORTS_MAX
               ? ERR_OK
               : bind_limit(b, name.place, "cohorts made of cohorts, deeper than %u",
                            BIND_COHORTS_MAX);
}

/* An error in the cohort's own text, told at the place that names it. */
static enum err_code in_cohort(struct binder *b, struct ast_name name)
{
    b->err->line = name.place.line;
    b->err->column = name.place.column;
    return err_context(b->err, "cohort \"" STR_FMT "\"", STR_ARG(name.text));
}

static enum err_code bind_live(struct binder *b, struct ast_name name,
                               const struct saved_cohort *saved, struct people_use *use)
{
    const struct bind_cohort_link link = {name.text, b->cohorts};
    struct query_request *request = NULL;
    const struct ast_query *ast = NULL;
    struct bound_query *bound = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &request, b->err));
    *request = *b->request;
    request->text = saved->definition;
    request->params = NULL;
    request->param_count = 0;
    if (query_parse(request, b->arena, &ast, b->err) != ERR_OK) {
        return in_cohort(b, name);
    }
    const struct bind_cohort_link *outer = b->cohorts;
    b->cohorts = &link;
    enum err_code code = bind_inner(b, request, ast, &bound);
    b->cohorts = outer;
    if (code != ERR_OK) {
        return in_cohort(b, name);
    }
    use->definition = bound;
    return ERR_OK;
}

static enum err_code adopt_sets(struct binder *b, roaring_bitmap_t **sets, struct people *people)
{
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        if (sets[shard] != NULL) {
            ERR_TRY(people_adopt(people, shard, TAKE(sets[shard]), b->err));
        }
    }
    return ERR_OK;
}

enum err_code bind_cohort(struct binder *b, struct ast_name name, const struct people_use **ret)
{
    struct dataset *dataset = b->snapshot->dataset;
    struct saved_cohort saved = {0};
    roaring_bitmap_t *sets[SHARD_COUNT] = {NULL};
    struct people_use use = {.cohort = name.text};
    struct bound_people *owned = NULL;
    ERR_TRY(check_circle(b, name));
    enum err_code code = dataset == NULL
                             ? err_set(b->err, ERR_NOT_FOUND, "no cohort \"" STR_FMT "\" is saved",
                                       STR_ARG(name.text))
                             : snapshot_cohort(b->snapshot, name.text, b->arena, &saved, sets, b->err);
    if (code == ERR_OK) {
        code = ARENA_NEW(b->arena, 1, &owned, b->err);
    }
    if (code == ERR_OK) {
        people_init(&owned->people, b->arena);
        owned->next = b->owner->people;
        b->owner->people = owned;
        code = adopt_sets(b, sets, &owned->people);
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        if (sets[shard] != NULL) {
            roaring_bitmap_free(sets[shard]);
        }
    }
    if (code != ERR_OK) {
        b->err->line = name.place.line;
        b->err->column = name.place.column;
        return code;
    }
    use.people = &owned->people;
    if (!saved.is_static) {
        ERR_TRY(bind_live(b, name, &saved, &use));
    }
    return bind_use(b, use, ret);
}

/* ---- the terms of `where` that are about people ---- */

/* Whether the term is one; then *ret is what it says. */
static bool is_people_term(const struct pred *pred, struct people_term *ret)
{
    bool is_not = pred->kind == PRED_NOT;
    const struct pred *people = is_not ? pred->kids[0] : pred;
    *ret = (struct people_term){people->people, is_not};
    return people->kind == PRED_IN_PEOPLE;
}

/* `why` tells events that `where` leaves out from others, a timeline tells who is unknown, and the reference path is there to
 * be compared with: there all conditions stay. */
enum err_code bind_people_terms(struct binder *b)
{
    const struct pred *where = b->query->where;
    if (where == NULL || b->ast->why.place.line != 0 || b->query->verb == VERB_TIMELINE ||
        b->request->is_reference_path) {
        return ERR_OK;
    }
    uint32_t count = where->kind == PRED_AND ? where->kid_count : 1;
    const struct pred **rest = NULL;
    struct pred *both = NULL;
    struct people_term *terms = NULL;
    uint32_t rest_count = 0;
    ERR_TRY(ARENA_NEW(b->arena, count, &rest, b->err));
    ERR_TRY(ARENA_NEW(b->arena, count, &terms, b->err));
    ERR_TRY(ARENA_NEW(b->arena, 1, &both, b->err));
    for (uint32_t i = 0; i < count; i++) {
        const struct pred *pred = where->kind == PRED_AND ? where->kids[i] : where;
        if (is_people_term(pred, &terms[b->query->people_term_count])) {
            b->query->people_term_count++;
        } else {
            rest[rest_count++] = pred;
        }
    }
    *both = (struct pred){.kind = PRED_AND, .kids = rest, .kid_count = rest_count};
    b->query->people_terms = terms;
    b->query->where = rest_count == 0 ? NULL : rest_count == 1 ? rest[0] : both;
    return ERR_OK;
}

/* ---- clauses ---- */

/* The question alone: what it is saved as, and how its answer is shown, is no part of it. */
static enum err_code definition_of(struct binder *b, struct str *ret)
{
    CLEANUP(buf_freep) struct buf text = {0};
    struct ast_query *question = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &question, b->err));
    *question = *b->ast;
    question->clauses.save = (struct ast_name){0};
    question->clauses.is_list = false;
    question->is_people_list = false;
    question->clauses.limit = (struct ast_count){0};
    question->clauses.as_of = (struct ast_value){0};
    ast_print(question, &text);
    ERR_TRY(buf_check(&text, b->err));
    if (text.len > QUERY_TEXT_BYTES_MAX) {
        return bind_limit(b, b->ast->clauses.save.place, "the question is longer than %u bytes",
                          QUERY_TEXT_BYTES_MAX);
    }
    return arena_str(b->arena, buf_as_str(&text), ret, b->err);
}

enum err_code bind_people_clauses(struct binder *b)
{
    const struct ast_clauses *clauses = &b->ast->clauses;
    const struct people_use **excluded = NULL;
    ERR_TRY(ARENA_NEW(b->arena, clauses->excluded_count, &excluded, b->err));
    for (uint32_t i = 0; i < clauses->excluded_count; i++) {
        ERR_TRY(bind_cohort(b, clauses->excluded[i], &excluded[i]));
    }
    b->query->excluded = excluded;
    b->query->excluded_count = clauses->excluded_count;
    if (clauses->save.place.line == 0) {
        return ERR_OK;
    }
    if (b->request->is_read_only) {
        return bind_fail(b, clauses->save.place,
                         "a query that saves a cohort changes the data set: it is sent by POST");
    }
    if (b->ast->is_profile) {
        return bind_fail(b, clauses->save.place,
                         "profile runs the query for its figures; one that saves a cohort is not "
                         "run for them");
    }
    b->query->save = clauses->save.text;
    b->query->is_static = clauses->is_static;
    return definition_of(b, &b->query->definition);
}

enum err_code bind_drop(struct binder *b)
{
    struct ast_name cohort = b->ast->drop.cohort;
    if (b->request->is_read_only) {
        return bind_fail(b, cohort.place,
                         "\"drop\" changes the data set: such a query is sent by POST");
    }
    if (b->ast->is_profile) {
        return bind_fail(b, cohort.place,
                         "profile runs the query for its figures; \"drop\" is not run for them");
    }
    b->query->drop = cohort.text;
    return ERR_OK;
}
