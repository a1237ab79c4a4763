/* tests/support/ref_sessions.c */
#include "tests/support/ref_sessions.h"

#define DAY_MS INT64_C(86400000)

int ref_sessions(const struct ref_session_rule *rule, const int64_t *times, int count,
                 struct ref_session *out)
{
    int sessions = 0;
    for (int i = 0; i < count; i++) {
        bool is_new = i == 0;
        if (i > 0) {
            const struct ref_session *last = &out[sessions - 1];
            is_new = times[i] - times[i - 1] > rule->idle_ms ||
                     (rule->cap_ms >= 0 && times[i] - times[last->begin] > rule->cap_ms) ||
                     (rule->is_cut_at_midnight && times[i] / DAY_MS != times[last->begin] / DAY_MS);
        }
        if (is_new) {
            out[sessions++] = (struct ref_session){.begin = i};
        }
        out[sessions - 1].end = i + 1;
    }
    return sessions;
}
