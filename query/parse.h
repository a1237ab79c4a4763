/* query/parse.h - query text to AST.
 *
 * Recursive descent with one token of look-ahead. Nesting is bounded, so that no text can exhaust
 * the stack of whoever walks the tree.
 *
 * Thread: any.  Ownership: the tree lives in `arena` and borrows from the text and the parameters.
 */
#pragma once

#include "query/ast.h"
#include "query/query.h"

#define PARSE_DEPTH_MAX     200u /* of parentheses, `not` and signs */
#define PARSE_OPERATORS_MAX 200u /* of one measure */
#define PARSE_MEASURES_MAX  256u
#define PARSE_ALTS_MAX      1000u
#define PARSE_COLUMNS_MAX   1000u
#define PARSE_COORDINATES_MAX 32u /* of a cell of an answer */
#define PARSE_PATH_MAX        10000u /* nodes of one that names a path */
#define PARSE_EDGES_MAX     100u
#define PARSE_TOP_MAX       10000u
#define PARSE_LIMIT_MAX     1000000u

#define PARSE_METRICS_MAX   16u /* a metric may be made of others, so deep */

#define PARSE_ROLLING_DAYS_MAX 366u /* of dau_mau */
#define PARSE_CHURN_DAYS_MAX   3660u

/* Metrics are put in, as request->metrics finds them. ERR_INVALID, with place, for what is no query; ERR_NOT_FOUND for an
 * unknown metric; ERR_UNSUPPORTED for words of the language that
 * this version does not have; ERR_LIMIT for bounds. Each parameter must be used and each used one
 * given. */
enum err_code query_parse(const struct query_request *request, struct arena *arena,
                          const struct ast_query **ret, struct err *err) ERR_MUST_CHECK;
/* The same of request->text as the definition of the metric `name`, a measure or a question. */
enum err_code query_parse_metric(const struct query_request *request, struct str name,
                                 struct arena *arena, struct err *err) ERR_MUST_CHECK;
/* Whether a definition is a question, by its first word; else it is a measure. */
bool query_is_question(struct str definition, struct arena *arena);
