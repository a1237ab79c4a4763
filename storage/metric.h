/* storage/metric.h - a metric: one version of a definition that has a name.
 *
 * What was defined stays as it is: another definition under the same name is its next version. The store keeps the
 * text and does not read it; query/metric_define.h says what it means.
 *
 * Thread: plain data.  Ownership: of the strings whoever made it.
 */
#pragma once

#include "storage/base/str.h"

#define METRICS_MAX                 10000u /* of a data set, all versions */
#define METRIC_NAME_BYTES_MAX       200u
#define METRIC_LINE_BYTES_MAX       4096u /* of the texts that only people read */
#define METRIC_DEFINITION_BYTES_MAX 65536u

/* What a metric says, in the order of the catalog's columns. */
enum metric_text {
    METRIC_NAME, /* unique in the data set, with the version */
    METRIC_NAME_EN,
    METRIC_NAME_ZH,
    METRIC_UNIT,
    METRIC_DESCRIPTION,
    METRIC_OWNER,      /* who answers for it */
    METRIC_SOURCE,     /* the file it came from, or "api" */
    METRIC_DEFINITION, /* in the query language */
    METRIC_TEXTS,
};
struct metric {
    struct str texts[METRIC_TEXTS];
    uint32_t version;   /* from 1 */
    int64_t defined_ms; /* when this version was stored */
};
