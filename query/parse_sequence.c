/* query/parse_sequence.c
 *
 *     sequence PATTERN over SEL, SEL  [ count | match | next KEY [ forward | backward ] ]
 *              [ anchor first_match | last_match | edge ]  [ list users ]
 */
#include "query/parse_int.h"

#include "query/bound.h"
#include "query/sequence_pattern.h"

enum err_code verb_sequence_parse(struct parser *p)
{
    struct ast_sequence *sequence = &p->query->sequence;
    struct ast_selector *over = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;

    ERR_TRY(
        parse_string(p, "a pattern in quotes, such as \"(?1)(?t<=3600)(?2)\"", &sequence->pattern));
    ERR_TRY(parse_need_word(p, "over"));
    do {
        if (count == QUERY_SELECTORS_MAX - 1) {
            return parse_limit(p, p->cur.place, "more than %u conditions", QUERY_SELECTORS_MAX - 1);
        }
        ERR_TRY(GROW(p->arena, &over, count, &cap, p->err));
        ERR_TRY(parse_selector(p, &over[count]));
        count++;
    } while (parse_accept(p, TOK_COMMA));
    sequence->over = over;
    sequence->over_count = count;
    return sequence_pattern_parse(sequence->pattern.text, sequence->pattern.place, count, p->arena,
                                  &sequence->elements, &sequence->element_count, p->err);
}

enum err_code clause_sequence_count(struct parser *p)
{
    p->query->sequence.mode = AST_SEQUENCE_COUNT;
    return ERR_OK;
}

enum err_code clause_match(struct parser *p)
{
    p->query->sequence.mode = AST_SEQUENCE_MATCH;
    return ERR_OK;
}

enum err_code clause_next(struct parser *p)
{
    struct ast_sequence *sequence = &p->query->sequence;
    sequence->mode = AST_SEQUENCE_NEXT;
    ERR_TRY(parse_field(p, &sequence->next));
    sequence->is_backward = parse_accept_word(p, "backward");
    if (!sequence->is_backward) {
        (void)parse_accept_word(p, "forward");
    }
    return ERR_OK;
}

enum err_code clause_anchor(struct parser *p)
{
    static const char *const words[] = {[AST_ANCHOR_FIRST_MATCH] = "first_match",
                                        [AST_ANCHOR_LAST_MATCH] = "last_match",
                                        [AST_ANCHOR_EDGE] = "edge"};
    struct ast_sequence *sequence = &p->query->sequence;
    sequence->anchor_place = p->cur.place;
    for (uint32_t i = 0; i < COUNT_OF(words); i++) {
        if (parse_accept_word(p, words[i])) {
            sequence->anchor = (enum ast_anchor)i;
            return ERR_OK;
        }
    }
    return parse_expected_of(p, "first_match, last_match or edge", words, COUNT_OF(words));
}
