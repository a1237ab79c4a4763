/* server/routes.h - the doors, by path.
 *
 * Thread: constant. */
#pragma once

#include "server/job.h"

/* The route of a path, or NULL. */
const struct route *route_find(struct str path);
bool route_allows(const struct route *route, struct str method);
uint32_t route_idx(const struct route *route); /* for the metrics */
/* Routes, and after them the place for requests that had none: label "none". */
uint32_t route_count(void);
const char *route_label(uint32_t idx);

/* The doors: query_doors.c, event_doors.c, rpc_doors.c, admin_doors.c. */
void door_query(struct job *job, struct io *io);
void door_export(struct job *job, struct io *io);
void door_events(struct job *job, struct io *io);
void door_segment_batch(struct job *job, struct io *io);
void door_segment_single(struct job *job, struct io *io);
void door_rpc(struct job *job, struct io *io);
void door_healthz(struct job *job, struct io *io);
void door_readyz(struct job *job, struct io *io);
void door_metrics(struct job *job, struct io *io);
void door_datasets(struct job *job, struct io *io);
void door_flush(struct job *job, struct io *io);
void door_compact(struct job *job, struct io *io);
void door_settings(struct job *job, struct io *io); /* settings_door.c */
void door_catalogue(struct job *job, struct io *io); /* catalogue_door.c */
void door_identity(struct job *job, struct io *io); /* identity_door.c */
void door_backup(struct job *job, struct io *io);

struct ingest_opts;
/* event_doors.c: how this server parses the body of this job; the job holds the budget. */
void ingest_opts_of(struct job *job, struct ingest_opts *ret);
/* event_doors.c: hand job->batch to the data set's writer; receipts follow through `render`, which
 * ends with job_finish. On failure the batch is freed and the caller answers. */
enum err_code ingest_submit(struct job *job, struct str dataset, void (*render)(struct job *job),
                            struct io *io, struct err *err) ERR_MUST_CHECK;
