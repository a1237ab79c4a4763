/* tests/support/ref_sessions.h - sessions of a subject, by walking its events and asking at each whether a new one
 * begins: a pause of more than idle_ms, a session longer than cap_ms, or, if so asked, another UTC day. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define REF_SESSIONS_MAX 64

struct ref_session_rule {
    int64_t idle_ms;
    int64_t cap_ms; /* -1 = none */
    bool is_cut_at_midnight;
};
struct ref_session {
    int begin, end; /* events [begin, end) */
};
/* `times` ascend; returns how many sessions there are. */
int ref_sessions(const struct ref_session_rule *rule, const int64_t *times, int count,
                 struct ref_session *out);
