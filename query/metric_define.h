/* query/metric_define.h - metrics of a data set as the language uses them.
 *
 * A metric is a measure, `sum(amount of pay_success) / users(any)`, put wherever a measure stands, or a question,
 * `retention register -> any each day for 30`, asked by its name. Definitions are put into a query while it is parsed,
 * so a query means what its metrics said when it was asked. A name alone is the newest version, in definitions too.
 *
 * Thread: any.
 */
#pragma once

#include "query/query.h"

struct metric_finder metrics_of(struct dataset *dataset);

/* Check the names, texts and definitions of these metrics, which may be made of each other and of those that are there,
 * and store them as dataset_define_metrics does: all or none. Fills their versions. An error's message names the metric,
 * and the place in its definition. */
enum err_code metrics_define(struct dataset *dataset, struct metric *metrics, uint32_t count,
                             struct metrics_defined *ret, struct err *err) ERR_MUST_CHECK;
/* Forget these metrics, with all their versions: all or none. ERR_NOT_FOUND where there is none of a name; ERR_INVALID where a
 * metric that stays is made of one, by its newest version, also by way of others. Older versions of what stays may be left
 * without a part, and so may what is defined in the same moment; who asks for one is told so. */
enum err_code metrics_drop(struct dataset *dataset, const struct str *names, uint32_t count,
                           uint32_t *ret_versions, struct err *err) ERR_MUST_CHECK;
