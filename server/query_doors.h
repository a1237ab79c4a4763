/* server/query_doors.h - what /v1/query and the Query RPC share. */
#pragma once

#include "query/query.h"
#include "server/routes.h"

/* Answer a request whose text, params and now_ms (0 = the clock) are set: the rest is filled in
 * from the job and the configuration. ERR_NOT_FOUND for an unknown data set. */
enum err_code query_job_run(struct job *job, struct str dataset_name, struct query_request *request,
                            struct io *io, struct result **ret, struct err *err) ERR_MUST_CHECK;
/* Move the deadline forward to `timeout_ms` after the job began; never back. */
void query_job_shorten(struct job *job, uint64_t timeout_ms);
