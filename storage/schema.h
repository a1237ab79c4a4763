/* storage/schema.h - the columns of a data set: every (property name, type) that was ever seen.
 *
 * Append-only: a property's number never changes, and readers see a prefix that is complete. Numbers
 * are local to the data set; segments name their columns by name and type.
 *
 * Thread: schema_add by the data set's writer only; the rest from any thread, without a lock.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/event.h"

#define SCHEMA_COLUMNS_MAX 20000u

struct schema;
struct schema_col {
    struct str name;
    enum col_type type;
    _Atomic uint64_t value_count; /* values ever accepted; for `show properties` and for choosing */
};

enum err_code schema_create(struct schema **ret, struct err *err) ERR_MUST_CHECK;
void schema_free(struct schema *schema);
uint32_t schema_count(const struct schema *schema); /* acquire: all columns below it can be read */
const struct schema_col *schema_col(const struct schema *schema, uint32_t prop);
/* Number of the column of this name and type, or UINT32_MAX. */
uint32_t schema_find(const struct schema *schema, struct str name, enum col_type type);
/* Find or add. ERR_LIMIT above SCHEMA_COLUMNS_MAX. */
enum err_code schema_add(struct schema *schema, struct str name, enum col_type type,
                         uint32_t *ret_prop, struct err *err) ERR_MUST_CHECK;
void schema_count_values(struct schema *schema, uint32_t prop, uint64_t more);
