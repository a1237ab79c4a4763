/* query/parse_sessions.c
 *
 *     sessions [ MEASURE, MEASURE ]  [ of SEL ]  [ idle 30m ]  [ cap 24h | cap none ]  [ cut midnight ]
 */
#include "query/parse_int.h"

#include "query/journey_measures.h"

enum err_code parse_words(struct parser *p, const char *what, const char *const *words,
                          size_t word_count, const struct ast_name **ret, uint32_t *ret_count)
{
    struct ast_name *names = NULL;
    uint32_t count = 0;

    ERR_TRY(ARENA_NEW(p->arena, word_count, &names, p->err));
    do {
        size_t word = 0;
        while (word < word_count && !parse_is_word(&p->cur, words[word])) {
            word++;
        }
        if (word == word_count) {
            return parse_expected_of(p, what, words, word_count);
        }
        for (uint32_t i = 0; i < count; i++) {
            if (str_eq(names[i].text, p->cur.value)) {
                return parse_fail(p, p->cur.place, "measure \"%s\" is given twice", words[word]);
            }
        }
        names[count++] = (struct ast_name){.text = p->cur.value, .place = p->cur.place};
        parse_advance(p);
    } while (parse_accept(p, TOK_COMMA));
    *ret = names;
    *ret_count = count;
    return ERR_OK;
}

enum err_code verb_sessions_parse(struct parser *p)
{
    struct ast_sessions *sessions = &p->query->sessions;
    bool is_measure = parse_is_word(&p->cur, "count") ||
                      (p->cur.kind == TOK_NAME && !parse_is_word(&p->cur, "of") &&
                       !parse_is_clause_word(&p->cur));

    if (is_measure) {
        ERR_TRY(parse_words(p, "a measure of sessions (count, users, avg_duration_ms, ...)",
                            session_measure_words, SESSION_MEASURES, &sessions->measures,
                            &sessions->measure_count));
    }
    sessions->has_selector = parse_accept_word(p, "of");
    return sessions->has_selector ? parse_selector(p, &sessions->selector) : ERR_OK;
}

enum err_code clause_idle(struct parser *p)
{
    return parse_window(p, "\"idle\"", &p->query->sessions.idle);
}

enum err_code clause_cap(struct parser *p)
{
    struct ast_sessions *sessions = &p->query->sessions;
    sessions->is_uncapped = parse_accept_word(p, "none");
    return sessions->is_uncapped ? ERR_OK : parse_window(p, "\"cap\"", &sessions->cap);
}

enum err_code clause_cut(struct parser *p)
{
    p->query->sessions.is_cut_at_midnight = true;
    return parse_need_word(p, "midnight");
}
