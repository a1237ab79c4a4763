/* query/diff.h - what moved the numbers between two epochs.
 *
 * One question, asked at the later epoch's instant of four states of the data, each with one thing more than the one before:
 *
 *     before   rows and facts as of E1
 *     late     and the rows that came after E1 of events that happened until then
 *     new      and those of events that happened after it
 *     after    and the facts of identity that came after E1: all as of E2
 *
 * Their answers are put side by side by their keys, a line for each number; the differences of neighbours are the parts, and
 * add up to the change.
 */
#pragma once

#include "query/ast.h"
#include "query/run.h"

struct diff {
    const struct ast_query *ast;
    const struct snapshot *present; /* of which the snapshots of the past are made */
    int64_t from_ms, to_ms;         /* the epochs */
};

/* ERR_INVALID, with place, for epochs that have not come or stand the wrong way round. */
enum err_code diff_open(const struct query_request *request, const struct ast_query *ast,
                        const struct snapshot *present, struct arena *arena, struct diff *ret,
                        struct err *err) ERR_MUST_CHECK;
/* As of E1. *ret NULL where that is the present. The caller unpins it. */
enum err_code diff_before(const struct diff *diff, struct budget *budget, struct io *io,
                          struct snapshot **ret, struct err *err) ERR_MUST_CHECK;
/* run->diff, of whose `before` the run's query and snapshot are. Lines ascend by their keys; numbers in the answer's order. */
enum err_code verb_diff(struct query_run_ctx *run, struct result *result,
                        struct err *err) ERR_MUST_CHECK;
