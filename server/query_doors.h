/* server/query_doors.h - what /v1/query and the Query RPC share. */
#pragma once

#include "query/query.h"
#include "server/routes.h"

/* Answer a request whose text, params and now_ms (0 = the clock) are set: the rest is filled in
 * from the job and the configuration. ERR_NOT_FOUND for an unknown data set. */
enum err_code query_job_run(struct job *job, struct str dataset_name, struct query_request *request,
                            struct io *io, struct result **ret, struct err *err) ERR_MUST_CHECK;
/* The same without the asking: limits, memory, deadline and cancel flag of the request, and its `now`. ERR_LIMIT for a
 * text that is too long. */
enum err_code query_job_prepare(struct job *job, struct query_request *request,
                                struct err *err) ERR_MUST_CHECK;
/* Read text, params, now and timeout from the URL and the body, whose type is judged as well. */
struct query_read {
    bool is_unknown_type; /* asks for a 415 */
};
enum err_code query_request_read(struct job *job, struct query_request *request,
                                 struct query_read *ret, struct err *err) ERR_MUST_CHECK;
void query_read_fail(struct job *job, const struct query_read *read, const struct err *err);
/* Move the deadline forward to `timeout_ms` after the job began; never back. */
void query_job_shorten(struct job *job, uint64_t timeout_ms);
