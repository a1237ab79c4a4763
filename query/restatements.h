/* query/restatements.h - which acts of identity moved numbers of the past, one by one, and by how much.
 *
 *     rows      e1 ............ e2 ............      commits, and what they brought
 *     facts         act at e1       act at e2
 *
 *     of each act    before: rows until e and facts of earlier commits; after: and the facts of e
 *     with events    between two acts the facts stand still: what moved there came with events, late and new ones
 *
 *     of an erasure  that there was one, and of how many ids: they are in no answer, so no number is told
 *
 * All are asked at the instant of the last epoch, so that a line is the same line in each. The answers follow each other
 * without a gap, so with events the changes of a line add up to what it is at the end less what it was at the begin.
 */
#pragma once

#include "query/ast.h"
#include "query/run.h"

#define RESTATEMENTS_MAX 100u /* commits with acts in one question: each costs two answers */

struct restatements {
    const struct ast_query *ast;
    const struct snapshot *present; /* of which the snapshots of the past are made */
    int64_t after_ms, until_ms;     /* commits in (after, until] */
};

enum err_code restatements_open(const struct query_request *request, const struct ast_query *ast,
                                const struct snapshot *present, struct arena *arena,
                                struct restatements *ret, struct err *err) ERR_MUST_CHECK;
/* As of the last epoch. *ret NULL where that is the present. The caller unpins it. */
enum err_code restatements_end(const struct restatements *restatements, struct budget *budget,
                               struct io *io, struct snapshot **ret,
                               struct err *err) ERR_MUST_CHECK;
/* run->restatements, with the query and the snapshot of its end. Lines by epoch, then by their keys, then numbers in the
 * answer's order; only what changed. ERR_LIMIT for too many acts. */
enum err_code verb_restatements(struct query_run_ctx *run, struct result *result,
                                struct err *err) ERR_MUST_CHECK;
