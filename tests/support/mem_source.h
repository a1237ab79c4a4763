/* tests/support/mem_source.h - a source made of plain rows: slow, obvious, for tests only.
 *
 * Rows are given as structs in any order and sorted here. Every operation looks the rows through.
 * Strings and properties are columns as a memtable has them: event names, string and list properties with
 * dictionaries in order of arrival, ids as bytes. No subject sets.
 *
 * Thread: immutable once made.  Ownership: rows and the schema are borrowed and must outlive the source.
 */
#pragma once

#include "storage/schema.h"
#include "storage/source.h"

struct mem_value {
    uint32_t prop; /* of the schema, which says the type */
    union {
        struct str string;
        struct num number;
        bool boolean;
        int64_t ts_ms;
        struct {
            const struct str *items;
            uint32_t count;
        } list;
    };
};

struct mem_row {
    uint32_t subject;
    int64_t time_ms, arrival_ms;
    struct str name, event_id;
    struct str user_id, anonymous_id; /* empty: absent */
    const struct mem_value *values;   /* at most one per prop */
    uint32_t value_count;
};

struct mem_source;
/* `count` is at least 1. Ends the process when memory is out: this is a test. */
struct mem_source *mem_source_create(const struct mem_row *rows, uint32_t count,
                                     const struct schema *schema, uint32_t shard);
void mem_source_free(struct mem_source *mem);
const struct source *mem_source_of(const struct mem_source *mem);
/* Row r in (subject, event_time, event_id) order, and its value of a property or NULL. */
const struct mem_row *mem_source_row(const struct mem_source *mem, uint32_t row);
const struct mem_value *mem_row_value(const struct mem_row *row, uint32_t prop);
/* (subject, event_time, event_id bytes), for qsort over pointers to rows. */
int mem_row_cmp(const void *a, const void *b);
