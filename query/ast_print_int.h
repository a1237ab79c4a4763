/* query/ast_print_int.h - the leaves that the printers of the verbs share. */
#pragma once

#include "query/ast.h"

void ast_print_string(struct str s, struct buf *out);
void ast_print_field(struct str name, struct buf *out);
/* A property of the event or of the profile. */
void ast_print_subject_field(const struct ast_name *name, struct buf *out);
void ast_print_test(const struct ast_pred *test, struct buf *out); /* of one property */
void ast_print_duration(struct duration duration, struct buf *out);
/* ` WORD 1h`, or nothing where the clause is absent. */
void ast_print_duration_clause(const char *word, const struct ast_duration *duration,
                               struct buf *out);
/* ` last 30d`, or nothing. */
void ast_print_range(const struct ast_range *range, struct buf *out);
void ast_print_count(const char *word, struct ast_count count, struct buf *out);

void ast_print_each(const char *word, const struct ast_each *each, struct buf *out);

/* ---- ast_print_retention.c ---- */
void ast_print_retention(const struct ast_query *query, struct buf *out); /* and ltv */
void ast_print_churn(const struct ast_churn *churn, struct buf *out);

/* ---- ast_print_funnel.c ---- */
void ast_print_funnel(const struct ast_funnel *funnel, bool has_keys, struct buf *out);

/* ---- ast_print_journeys.c ---- */
void ast_print_conditions(const struct ast_conditions *conditions, struct buf *out);
void ast_print_habits(const struct ast_habits *habits, struct buf *out);
void ast_print_sequence(const struct ast_sequence *sequence, struct buf *out);
void ast_print_sessions(const struct ast_sessions *sessions, struct buf *out);
void ast_print_paths(const struct ast_paths *paths, struct buf *out);
void ast_print_attribution(const struct ast_attribution *attribution, struct buf *out);
void ast_print_absence(const struct ast_absence *absence, struct buf *out);
void ast_print_intervals(const struct ast_intervals *intervals, struct buf *out);

/* ---- ast_print_segment.c ---- */
void ast_print_segment(const struct ast_segment *segment, struct buf *out);
/* The clauses about sets of people: what is left out, and what is saved. */
void ast_print_people(const struct ast_clauses *clauses, struct buf *out);
