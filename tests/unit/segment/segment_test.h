/* tests/unit/segment/segment_test.h - what the tests of segment files share. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/base/rng.h"
#include "storage/segment.h"
#include "tests/support/claims.h"
#include "tests/support/mem_source.h"
#include "tests/support/random_rows.h"

/* A folder, an io, a schema and an arena, all gone at the end. */
struct seg_table {
    char dir[64];
    char path[96];
    struct io *io;
    struct schema *schema;
    struct arena *arena;
    struct read_ctx ctx;
};

static inline void table_open(struct seg_table *t)
{
    struct err err = {0};
    memset(t, 0, sizeof(*t));
    snprintf(t->dir, sizeof(t->dir), "/tmp/trackway-segment-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->path, sizeof(t->path), "%s/000017.seg", t->dir);
    assert_ok(io_create(IO_POSIX, &t->io, &err));
    assert_ok(schema_create(&t->schema, &err));
    assert_ok(random_schema(t->schema, &err));
    t->arena = arena_create(NULL);
    t->ctx = (struct read_ctx){.arena = t->arena, .io = t->io};
}

static inline void table_close(struct seg_table *t)
{
    unlink(t->path);
    rmdir(t->dir);
    arena_free(t->arena);
    schema_free(t->schema);
    io_free(t->io);
}
