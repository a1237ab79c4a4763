/* storage/catalog.c - the catalog's tables, and one function per question and per transaction. */
#include "storage/catalog.h"

#include "storage/base/arena.h"
#include "storage/base/hash.h"

#include <inttypes.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct catalog {
    sqlite3 *db;
    pthread_mutex_t lock; /* guards db: one statement or transaction at a time */
    char *path;
    int64_t version; /* of the file: below CATALOG_VERSION only where it was opened read-only */
    int64_t transaction; /* number of the last one, kept as user_version; 31 bits, then from 1 */
    bool is_unsure;      /* whether the last transaction happened, see end() */
    struct err why;
};

static const char *const tables_sql =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE dataset(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, zone TEXT NOT NULL,"
    " seed INTEGER NOT NULL, identity_version INTEGER NOT NULL, ids_count INTEGER NOT NULL,"
    " ids_bytes INTEGER NOT NULL, epoch INTEGER NOT NULL, wal_floor INTEGER NOT NULL,"
    " next_segment INTEGER NOT NULL, watermark_ms INTEGER NOT NULL,"
    " dedup_window_ms INTEGER NOT NULL, expire_after_ms INTEGER NOT NULL,"
    " cold_after_ms INTEGER NOT NULL, gone_before_ms INTEGER NOT NULL);"
    "CREATE TABLE segment(dataset INTEGER NOT NULL, number INTEGER NOT NULL, shard INTEGER NOT "
    "NULL,"
    " row_count INTEGER NOT NULL, bytes INTEGER NOT NULL, time_min_ms INTEGER NOT NULL,"
    " time_max_ms INTEGER NOT NULL, tier INTEGER NOT NULL, PRIMARY KEY(dataset, number))"
    " WITHOUT ROWID;"
    "CREATE TABLE event_id_run(dataset INTEGER NOT NULL, number INTEGER NOT NULL,"
    " count INTEGER NOT NULL, bytes INTEGER NOT NULL, arrival_min_ms INTEGER NOT NULL,"
    " arrival_max_ms INTEGER NOT NULL, PRIMARY KEY(dataset, number)) WITHOUT ROWID;"
    "CREATE TABLE col(dataset INTEGER NOT NULL, prop INTEGER NOT NULL, type INTEGER NOT NULL,"
    " name BLOB NOT NULL, value_count INTEGER NOT NULL, PRIMARY KEY(dataset, prop)) WITHOUT ROWID;"
    "CREATE TABLE deleted_subject(dataset INTEGER NOT NULL, shard INTEGER NOT NULL,"
    " subject INTEGER NOT NULL, PRIMARY KEY(dataset, shard, subject)) WITHOUT ROWID;";

/* What version 2 has more than version 1. `sum` is of the bytes: SQLite keeps none. */
static const char *const cohort_tables_sql =
    "CREATE TABLE cohort(dataset INTEGER NOT NULL, name BLOB NOT NULL, definition BLOB NOT NULL,"
    " is_static INTEGER NOT NULL, epoch INTEGER NOT NULL, saved_ms INTEGER NOT NULL,"
    " users INTEGER NOT NULL, PRIMARY KEY(dataset, name)) WITHOUT ROWID;"
    "CREATE TABLE cohort_set(dataset INTEGER NOT NULL, name BLOB NOT NULL, shard INTEGER NOT NULL,"
    " sum INTEGER NOT NULL, bits BLOB NOT NULL, PRIMARY KEY(dataset, name, shard)) WITHOUT ROWID;";

/* What version 3 has more than version 2. */
static const char *const metric_tables_sql =
    "CREATE TABLE metric(dataset INTEGER NOT NULL, version INTEGER NOT NULL,"
    " defined_ms INTEGER NOT NULL, name BLOB NOT NULL, name_en BLOB NOT NULL,"
    " name_zh BLOB NOT NULL, unit BLOB NOT NULL, description BLOB NOT NULL,"
    " owner BLOB NOT NULL, source BLOB NOT NULL, definition BLOB NOT NULL,"
    " PRIMARY KEY(dataset, name, version)) WITHOUT ROWID;";

/* What version 4 has more than version 3. What was written before it has no clock: 0 is before every commit. */
static const char *const clock_columns_sql =
    "ALTER TABLE dataset ADD COLUMN commit_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE deleted_subject ADD COLUMN deleted_ms INTEGER NOT NULL DEFAULT 0;";

/* What version 5 has more than version 4: 0 is a segment of whole rows, 1 one of first times. */
static const char *const kind_column_sql =
    "ALTER TABLE segment ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;";

static enum err_code fail(struct catalog *catalog, int rc, struct err *err)
{
    enum err_code code = ERR_IO;
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: code = ERR_CORRUPT; break;
    case SQLITE_NOMEM: code = ERR_NOMEM; break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: code = ERR_BUSY; break;
    default: break;
    }
    return err_set(err, code, "catalog: %s", sqlite3_errmsg(catalog->db));
}

static enum err_code exec(struct catalog *catalog, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(catalog->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? ERR_OK : fail(catalog, rc, err);
}

static void finalize(sqlite3_stmt **stmt)
{
    sqlite3_finalize(*stmt);
}

static enum err_code prepare(struct catalog *catalog, const char *sql, sqlite3_stmt **ret,
                             struct err *err)
{
    int rc = sqlite3_prepare_v2(catalog->db, sql, -1, ret, NULL);
    return rc == SQLITE_OK ? ERR_OK : fail(catalog, rc, err);
}

/* Bind integers to parameters 1 .. count. What is unsigned here is stored as its two's complement.
 */
static enum err_code bind_ints(struct catalog *catalog, sqlite3_stmt *stmt, int count,
                               const int64_t *values, struct err *err)
{
    for (int i = 0; i < count; i++) {
        int rc = sqlite3_bind_int64(stmt, i + 1, values[i]);
        if (rc != SQLITE_OK) {
            return fail(catalog, rc, err);
        }
    }
    return ERR_OK;
}

/* Run a statement that gives no rows, and make it ready for the next values. */
static enum err_code run(struct catalog *catalog, sqlite3_stmt *stmt, struct err *err)
{
    int rc = sqlite3_step(stmt);
    if (rc != SQLITE_DONE) {
        enum err_code code = fail(catalog, rc, err);
        sqlite3_reset(stmt);
        return code;
    }
    sqlite3_reset(stmt);
    return ERR_OK;
}

static enum err_code step(struct catalog *catalog, sqlite3_stmt *stmt, bool *ret_has_row,
                          struct err *err)
{
    int rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return fail(catalog, rc, err);
    }
    *ret_has_row = rc == SQLITE_ROW;
    return ERR_OK;
}

static enum err_code read_transaction(sqlite3 *db, int64_t *ret)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW) {
        return ERR_IO;
    }
    *ret = sqlite3_column_int64(stmt, 0);
    return ERR_OK;
}

/* From an older version: all of it in one transaction, so that a crash leaves the one or the other. */
static enum err_code upgrade(struct catalog *catalog, struct err *err)
{
    ERR_TRY(exec(catalog, "BEGIN IMMEDIATE", err));
    enum err_code code = catalog->version < 2 ? exec(catalog, cohort_tables_sql, err) : ERR_OK;
    if (code == ERR_OK && catalog->version < 3) {
        code = exec(catalog, metric_tables_sql, err);
    }
    if (code == ERR_OK && catalog->version < 4) {
        code = exec(catalog, clock_columns_sql, err);
    }
    if (code == ERR_OK) {
        code = exec(catalog, kind_column_sql, err);
    }
    if (code == ERR_OK) {
        code = exec(catalog, "UPDATE meta SET value = 5 WHERE key = 'version'", err);
    }
    if (code == ERR_OK) {
        code = exec(catalog, "COMMIT", err);
    }
    if (code != ERR_OK) {
        if (sqlite3_get_autocommit(catalog->db) == 0) {
            sqlite3_exec(catalog->db, "ROLLBACK", NULL, NULL, NULL);
        }
        return code;
    }
    catalog->version = CATALOG_VERSION;
    return ERR_OK;
}

static enum err_code check_version(struct catalog *catalog, bool is_read_only, struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    bool has_row = false;
    ERR_TRY(prepare(catalog, "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'", &stmt, err));
    ERR_TRY(step(catalog, stmt, &has_row, err));
    if (has_row && sqlite3_column_int64(stmt, 0) == 0) {
        if (is_read_only) {
            return err_set(err, ERR_NOT_FOUND, "the catalog is empty");
        }
        sqlite3_reset(stmt);
        ERR_TRY(exec(catalog, "BEGIN IMMEDIATE", err));
        ERR_TRY(exec(catalog, tables_sql, err));
        ERR_TRY(exec(catalog, cohort_tables_sql, err));
        ERR_TRY(exec(catalog, metric_tables_sql, err));
        ERR_TRY(exec(catalog, clock_columns_sql, err));
        ERR_TRY(exec(catalog, kind_column_sql, err));
        ERR_TRY(exec(catalog, "INSERT INTO meta VALUES('version', 5)", err));
        catalog->version = CATALOG_VERSION;
        return exec(catalog, "COMMIT", err);
    }
    CLEANUP(finalize) sqlite3_stmt *version_stmt = NULL;
    ERR_TRY(prepare(catalog, "SELECT value FROM meta WHERE key = 'version'", &version_stmt, err));
    ERR_TRY(step(catalog, version_stmt, &has_row, err));
    int64_t version = has_row ? sqlite3_column_int64(version_stmt, 0) : 0;
    if (version < 1) {
        return err_set(err, ERR_CORRUPT, "catalog: version %" PRId64, version);
    }
    if (version > CATALOG_VERSION) {
        (void)err_set_newer(err, (uint64_t)version, CATALOG_VERSION);
        return err_context(err, "catalog");
    }
    catalog->version = version;
    return version == CATALOG_VERSION || is_read_only ? ERR_OK : upgrade(catalog, err);
}

enum err_code catalog_open(const char *path, bool is_read_only, struct catalog **ret,
                           struct err *err)
{
    CLEANUP(catalog_closep) struct catalog *catalog = calloc(1, sizeof(*catalog));
    if (catalog == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a catalog");
    }
    pthread_mutex_init(&catalog->lock, NULL);
    catalog->path = strdup(path);
    if (catalog->path == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a catalog");
    }
    int flags = is_read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    int rc = sqlite3_open_v2(path, &catalog->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        (void)fail(catalog, rc, err);
        return err_context(err, "\"%s\"", path);
    }
    sqlite3_extended_result_codes(catalog->db, 1);
    enum err_code code = ERR_OK;
    if (!is_read_only) {
        code = exec(catalog,
                    "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;"
                    "PRAGMA cell_size_check=ON",
                    err);
    }
    if (code == ERR_OK) {
        code = check_version(catalog, is_read_only, err);
    }
    if (code == ERR_OK && read_transaction(catalog->db, &catalog->transaction) != ERR_OK) {
        code = fail(catalog, sqlite3_errcode(catalog->db), err);
    }
    if (code != ERR_OK) {
        return err_context(err, "\"%s\"", path);
    }
    *ret = TAKE(catalog);
    return ERR_OK;
}

void catalog_close(struct catalog *catalog)
{
    if (catalog != NULL) {
        sqlite3_close(catalog->db);
        free(catalog->path);
        pthread_mutex_destroy(&catalog->lock);
        free(catalog);
    }
}

/* ---- lists ---- */

/* Run `sql` with the data set as its parameter (where has_param) and `each` for every row. */
static enum err_code list(struct catalog *catalog, const char *sql, const int64_t *dataset,
                          enum err_code (*each)(sqlite3_stmt *stmt, void *arg, struct err *err),
                          void *arg, struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = prepare(catalog, sql, &stmt, err);
    if (code == ERR_OK && dataset != NULL) {
        code = bind_ints(catalog, stmt, 1, dataset, err);
    }
    bool has_row = true;
    while (code == ERR_OK && has_row) {
        code = step(catalog, stmt, &has_row, err);
        if (code == ERR_OK && has_row) {
            code = each(stmt, arg, err);
        }
    }
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

static uint64_t col_u64(sqlite3_stmt *stmt, int idx)
{
    return (uint64_t)sqlite3_column_int64(stmt, idx);
}

static enum err_code col_u32(sqlite3_stmt *stmt, int idx, uint32_t *ret, struct err *err)
{
    int64_t value = sqlite3_column_int64(stmt, idx);
    if (value < 0 || value > UINT32_MAX) {
        return err_set(err, ERR_CORRUPT, "catalog: \"%s\" is %" PRId64,
                       sqlite3_column_name(stmt, idx), value);
    }
    *ret = (uint32_t)value;
    return ERR_OK;
}

static enum err_code col_text(sqlite3_stmt *stmt, int idx, char *out, size_t cap, struct err *err)
{
    const unsigned char *text = sqlite3_column_text(stmt, idx);
    if (text == NULL || (size_t)snprintf(out, cap, "%s", (const char *)text) >= cap) {
        return err_set(err, ERR_CORRUPT, "catalog: \"%s\" is too long or missing",
                       sqlite3_column_name(stmt, idx));
    }
    return ERR_OK;
}

struct each_arg {
    catalog_dataset_fn dataset;
    catalog_segment_fn segment;
    catalog_run_fn run;
    catalog_column_fn column;
    catalog_subject_fn subject;
    void *arg;
};

/* The numbers of a data set's row, in one order for every statement and for the values. */
#define DATASET_NUMBERS_OF_3                                                                       \
    "seed, identity_version, ids_count, ids_bytes, epoch, wal_floor, next_segment, watermark_ms,"  \
    " dedup_window_ms, expire_after_ms, cold_after_ms, gone_before_ms"
#define DATASET_NUMBERS      DATASET_NUMBERS_OF_3 ", commit_ms"
#define COLD_OWNER_KEY       "cold owner "
#define DATASET_MARKS        "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13"
#define DATASET_NUMBER_COUNT 13

static void dataset_numbers(const struct catalog_dataset *dataset,
                            int64_t out[DATASET_NUMBER_COUNT])
{
    const int64_t numbers[DATASET_NUMBER_COUNT] = {
        (int64_t)dataset->seed,
        (int64_t)dataset->identity_version,
        (int64_t)dataset->ids.count,
        (int64_t)dataset->ids.bytes,
        (int64_t)dataset->epoch,
        (int64_t)dataset->wal_floor,
        (int64_t)dataset->next_segment,
        dataset->watermark_ms,
        (int64_t)dataset->settings.dedup_window_ms,
        (int64_t)dataset->settings.expire_after_ms,
        (int64_t)dataset->settings.cold_after_ms,
        dataset->gone_before_ms,
        dataset->commit_ms,
    };
    memcpy(out, numbers, sizeof(numbers));
}

static enum err_code each_dataset(sqlite3_stmt *stmt, void *arg, struct err *err)
{
    const struct each_arg *each = arg;
    struct catalog_dataset dataset = {
        .seed = col_u64(stmt, 0),
        .identity_version = col_u64(stmt, 1),
        .ids = {col_u64(stmt, 2), col_u64(stmt, 3)},
        .epoch = col_u64(stmt, 4),
        .wal_floor = col_u64(stmt, 5),
        .next_segment = col_u64(stmt, 6),
        .watermark_ms = sqlite3_column_int64(stmt, 7),
        .settings = {col_u64(stmt, 8), col_u64(stmt, 9), col_u64(stmt, 10)},
        .gone_before_ms = sqlite3_column_int64(stmt, 11),
        .commit_ms = sqlite3_column_int64(stmt, 12),
        .id = sqlite3_column_int64(stmt, DATASET_NUMBER_COUNT),
        .cold_owner_id = col_u64(stmt, DATASET_NUMBER_COUNT + 3),
    };
    ERR_TRY(col_text(stmt, DATASET_NUMBER_COUNT + 1, dataset.name, sizeof(dataset.name), err));
    ERR_TRY(col_text(stmt, DATASET_NUMBER_COUNT + 2, dataset.zone, sizeof(dataset.zone), err));
    if (dataset.wal_floor == 0 || dataset.next_segment == 0) {
        return err_set(err, ERR_CORRUPT, "catalog: data set \"%s\": log file or segment 0",
                       dataset.name);
    }
    if ((dataset.settings.dedup_window_ms | dataset.settings.expire_after_ms |
         dataset.settings.cold_after_ms) > INT64_MAX) {
        return err_set(err, ERR_CORRUPT, "catalog: data set \"%s\": a setting is negative",
                       dataset.name);
    }
    return each->dataset(each->arg, &dataset, err);
}

enum err_code catalog_datasets(struct catalog *catalog, catalog_dataset_fn fn, void *arg,
                               struct err *err)
{
    struct each_arg each = {.dataset = fn, .arg = arg};
#define DATASET_REST                                                                               \
    ", id, name, zone, COALESCE((SELECT value FROM meta"                                           \
    " WHERE key = '" COLD_OWNER_KEY "' || dataset.id), 0) FROM dataset ORDER BY name"
    return list(catalog,
                catalog->version < 4 ? "SELECT " DATASET_NUMBERS_OF_3 ", 0" DATASET_REST
                                     : "SELECT " DATASET_NUMBERS DATASET_REST,
                NULL, each_dataset, &each, err);
#undef DATASET_REST
}

static enum err_code each_segment(sqlite3_stmt *stmt, void *arg, struct err *err)
{
    const struct each_arg *each = arg;
    struct catalog_segment segment = {
        .number = col_u64(stmt, 0),
        .bytes = col_u64(stmt, 3),
        .time_min_ms = sqlite3_column_int64(stmt, 4),
        .time_max_ms = sqlite3_column_int64(stmt, 5),
    };
    ERR_TRY(col_u32(stmt, 1, &segment.shard, err));
    ERR_TRY(col_u32(stmt, 2, &segment.row_count, err));
    ERR_TRY(col_u32(stmt, 6, &segment.tier, err));
    uint32_t kind = 0;
    ERR_TRY(col_u32(stmt, 7, &kind, err));
    segment.is_first_times = kind == 1;
    if (segment.shard >= SHARD_COUNT || segment.tier > TIER_COLD || kind > 1 ||
        (kind == 1 && segment.tier != TIER_HOT)) {
        return err_set(err, ERR_CORRUPT,
                       "catalog: segment %" PRIu64 ": shard %" PRIu32 ", tier %" PRIu32
                       ", kind %" PRIu32,
                       segment.number, segment.shard, segment.tier, kind);
    }
    return each->segment(each->arg, &segment, err);
}

enum err_code catalog_segments(struct catalog *catalog, int64_t dataset, catalog_segment_fn fn,
                               void *arg, struct err *err)
{
    struct each_arg each = {.segment = fn, .arg = arg};
#define SEGMENT_REST " FROM segment WHERE dataset = ? ORDER BY shard, time_min_ms, number"
#define SEGMENT_COLS "SELECT number, shard, row_count, bytes, time_min_ms, time_max_ms, tier"
    return list(catalog,
                catalog->version < 5 ? SEGMENT_COLS ", 0" SEGMENT_REST
                                     : SEGMENT_COLS ", kind" SEGMENT_REST,
                &dataset, each_segment, &each, err);
#undef SEGMENT_COLS
#undef SEGMENT_REST
}

static enum err_code each_run(sqlite3_stmt *stmt, void *arg, struct err *err)
{
    (void)err;
    const struct each_arg *each = arg;
    struct catalog_run run = {
        .number = col_u64(stmt, 0),
        .count = col_u64(stmt, 1),
        .bytes = col_u64(stmt, 2),
        .arrival_min_ms = sqlite3_column_int64(stmt, 3),
        .arrival_max_ms = sqlite3_column_int64(stmt, 4),
    };
    return each->run(each->arg, &run, err);
}

enum err_code catalog_runs(struct catalog *catalog, int64_t dataset, catalog_run_fn fn, void *arg,
                           struct err *err)
{
    struct each_arg each = {.run = fn, .arg = arg};
    return list(catalog,
                "SELECT number, count, bytes, arrival_min_ms, arrival_max_ms FROM event_id_run"
                " WHERE dataset = ? ORDER BY arrival_min_ms, number",
                &dataset, each_run, &each, err);
}

static enum err_code each_column(sqlite3_stmt *stmt, void *arg, struct err *err)
{
    const struct each_arg *each = arg;
    uint32_t prop = 0;
    uint32_t type = 0;
    ERR_TRY(col_u32(stmt, 0, &prop, err));
    ERR_TRY(col_u32(stmt, 1, &type, err));
    if (type < COL_STRING || type > COL_LIST) {
        return err_set(err, ERR_CORRUPT, "catalog: column %" PRIu32 ": type %" PRIu32, prop, type);
    }
    const char *bytes = sqlite3_column_blob(stmt, 2);
    struct str name = {bytes, (size_t)sqlite3_column_bytes(stmt, 2)};
    return each->column(each->arg, prop, name, (enum col_type)type, col_u64(stmt, 3), err);
}

enum err_code catalog_columns(struct catalog *catalog, int64_t dataset, catalog_column_fn fn,
                              void *arg, struct err *err)
{
    struct each_arg each = {.column = fn, .arg = arg};
    return list(catalog,
                "SELECT prop, type, name, value_count FROM col WHERE dataset = ? ORDER BY prop",
                &dataset, each_column, &each, err);
}

static enum err_code each_subject(sqlite3_stmt *stmt, void *arg, struct err *err)
{
    const struct each_arg *each = arg;
    uint32_t shard = 0;
    uint32_t subject = 0;
    ERR_TRY(col_u32(stmt, 0, &shard, err));
    ERR_TRY(col_u32(stmt, 1, &subject, err));
    if (shard >= SHARD_COUNT) {
        return err_set(err, ERR_CORRUPT, "catalog: deleted subject in shard %" PRIu32, shard);
    }
    return each->subject(each->arg, shard, subject, err);
}

enum err_code catalog_deleted(struct catalog *catalog, int64_t dataset, catalog_subject_fn fn,
                              void *arg, struct err *err)
{
    struct each_arg each = {.subject = fn, .arg = arg};
    return list(catalog,
                "SELECT shard, subject FROM deleted_subject WHERE dataset = ?"
                " ORDER BY shard, subject",
                &dataset, each_subject, &each, err);
}

/* ---- the file as a whole ---- */

enum err_code catalog_check(struct catalog *catalog, catalog_complaint_fn fn, void *arg,
                            struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = prepare(catalog, "PRAGMA integrity_check(20)", &stmt, err);
    bool has_row = true;
    while (code == ERR_OK && has_row) {
        code = step(catalog, stmt, &has_row, err);
        const char *text =
            code == ERR_OK && has_row ? (const char *)sqlite3_column_text(stmt, 0) : "ok";
        if (text != NULL && strcmp(text, "ok") != 0) {
            code = fn(arg, text, err);
        }
    }
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

static int copy_all(sqlite3 *from, sqlite3 *to)
{
    int rc =
        sqlite3_exec(to, "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA", NULL, NULL, NULL);
    sqlite3_backup *backup = rc == SQLITE_OK ? sqlite3_backup_init(to, "main", from, "main") : NULL;
    if (backup == NULL) {
        return rc == SQLITE_OK ? sqlite3_errcode(to) : rc;
    }
    rc = sqlite3_backup_step(backup, -1);
    int finish_rc = sqlite3_backup_finish(backup);
    return rc == SQLITE_DONE ? finish_rc : rc;
}

enum err_code catalog_copy(struct catalog *catalog, const char *path, struct err *err)
{
    sqlite3 *to = NULL;
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = ERR_OK;
    if (catalog
            ->is_unsure) { /* what it says now may not be what the disk says after a power loss */
        *err = catalog->why;
        code = err_context(err, "the catalog cannot be copied until it is opened again");
    } else {
        int rc = sqlite3_open_v2(
            path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
        rc = rc == SQLITE_OK ? copy_all(catalog->db, to) : rc;
        if (rc != SQLITE_OK) {
            struct catalog failed = {.db = to};
            code = fail(&failed, rc, err);
            (void)err_context(err, "copying to \"%s\"", path);
        }
        sqlite3_close(to);
    }
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

/* ---- transactions ---- */

static enum err_code begin(struct catalog *catalog, struct err *err)
{
    if (catalog->is_unsure) {
        *err = catalog->why;
        return err_context(err, "the catalog takes no changes until it is opened again");
    }
    ERR_TRY(exec(catalog, "BEGIN IMMEDIATE", err));
    char sql[64];
    snprintf(sql, sizeof(sql), "PRAGMA user_version = %" PRId64,
             catalog->transaction == INT32_MAX ? 1 : catalog->transaction + 1);
    enum err_code code = exec(catalog, sql, err);
    if (code != ERR_OK) {
        sqlite3_exec(catalog->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return code;
}

/* Did the transaction whose commit failed happen? Another connection, with nothing in its cache, tells
 * by the number in the file. "No" can be relied on: SQLite has put the old pages back and synced
 * them. "Yes" cannot: the journal is gone for us, and may be back after a power loss. */
static bool has_surely_failed(const struct catalog *catalog)
{
    sqlite3 *db = NULL;
    int64_t transaction = 0;
    bool is_sure = sqlite3_open_v2(catalog->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                                   NULL) == SQLITE_OK &&
                   read_transaction(db, &transaction) == ERR_OK &&
                   transaction == catalog->transaction;
    sqlite3_close(db);
    return is_sure;
}

/* Commit where `code` is ERR_OK, else roll back and keep the first error. */
static enum err_code end(struct catalog *catalog, enum err_code code, struct err *err)
{
    bool has_tried = code == ERR_OK;
    if (code == ERR_OK) {
        code = exec(catalog, "COMMIT", err);
    }
    if (code != ERR_OK && sqlite3_get_autocommit(catalog->db) == 0) {
        sqlite3_exec(catalog->db, "ROLLBACK", NULL, NULL, NULL);
    }
    if (code == ERR_OK) {
        catalog->transaction = catalog->transaction == INT32_MAX ? 1 : catalog->transaction + 1;
    } else if (has_tried && !has_surely_failed(catalog)) {
        catalog->is_unsure = true;
        catalog->why = *err;
    }
    return code;
}

/* Few have one: a row of `meta` beside the data set's. */
static enum err_code put_cold_owner(struct catalog *catalog, const struct catalog_dataset *dataset,
                                    struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    const int64_t values[2] = {dataset->id, (int64_t)dataset->cold_owner_id};
    if (dataset->cold_owner_id == 0) {
        return ERR_OK;
    }
    ERR_TRY(prepare(catalog, "INSERT OR REPLACE INTO meta VALUES('" COLD_OWNER_KEY "' || ?, ?)",
                    &stmt, err));
    ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
    return run(catalog, stmt, err);
}

static enum err_code insert_dataset(struct catalog *catalog, struct catalog_dataset *dataset,
                                    struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    int64_t values[DATASET_NUMBER_COUNT];
    ERR_TRY(prepare(catalog,
                    "INSERT INTO dataset(" DATASET_NUMBERS ", name, zone)"
                    " VALUES(" DATASET_MARKS ", ?14, ?15)",
                    &stmt, err));
    dataset_numbers(dataset, values);
    ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
    if (sqlite3_bind_text(stmt, DATASET_NUMBER_COUNT + 1, dataset->name, -1, SQLITE_STATIC) !=
            SQLITE_OK ||
        sqlite3_bind_text(stmt, DATASET_NUMBER_COUNT + 2, dataset->zone, -1, SQLITE_STATIC) !=
            SQLITE_OK) {
        return fail(catalog, SQLITE_NOMEM, err);
    }
    ERR_TRY(run(catalog, stmt, err));
    dataset->id = sqlite3_last_insert_rowid(catalog->db);
    return put_cold_owner(catalog, dataset, err);
}

enum err_code catalog_add_dataset(struct catalog *catalog, struct catalog_dataset *dataset,
                                  struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = begin(catalog, err);
    if (code == ERR_OK) {
        code = end(catalog, insert_dataset(catalog, dataset, err), err);
    }
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

static enum err_code update_dataset(struct catalog *catalog, const struct catalog_dataset *dataset,
                                    struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    int64_t values[DATASET_NUMBER_COUNT + 1];
    ERR_TRY(prepare(catalog,
                    "UPDATE dataset SET (" DATASET_NUMBERS ") = (" DATASET_MARKS ") WHERE id = ?14",
                    &stmt, err));
    dataset_numbers(dataset, values);
    values[DATASET_NUMBER_COUNT] = dataset->id;
    ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
    ERR_TRY(run(catalog, stmt, err));
    if (sqlite3_changes(catalog->db) != 1) {
        return err_set(err, ERR_CORRUPT, "catalog: data set \"%s\" is not in it", dataset->name);
    }
    return put_cold_owner(catalog, dataset, err);
}

/* `what` and `sql` are of segments or of runs: their numbers are given alike. */
static enum err_code drop_numbers(struct catalog *catalog, const char *what, const char *sql,
                                  int64_t dataset, const uint64_t *numbers, uint32_t count,
                                  struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    ERR_TRY(prepare(catalog, sql, &stmt, err));
    for (uint32_t i = 0; i < count; i++) {
        int64_t values[2] = {dataset, (int64_t)numbers[i]};
        ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
        ERR_TRY(run(catalog, stmt, err));
        if (sqlite3_changes(catalog->db) != 1) {
            return err_set(err, ERR_CORRUPT, "catalog: %s %" PRIu64 " is not in it", what,
                           numbers[i]);
        }
    }
    return ERR_OK;
}

static enum err_code move_segments(struct catalog *catalog, const struct catalog_change *change,
                                   struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    ERR_TRY(prepare(catalog, "UPDATE segment SET tier = ? WHERE dataset = ? AND number = ?", &stmt,
                    err));
    for (uint32_t i = 0; i < change->moved_count; i++) {
        const struct catalog_segment *moved = &change->moved[i];
        int64_t values[3] = {moved->tier, change->dataset->id, (int64_t)moved->number};
        ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
        ERR_TRY(run(catalog, stmt, err));
        if (sqlite3_changes(catalog->db) != 1) {
            return err_set(err, ERR_CORRUPT, "catalog: segment %" PRIu64 " is not in it",
                           moved->number);
        }
    }
    return ERR_OK;
}

static enum err_code add_runs(struct catalog *catalog, const struct catalog_change *change,
                              struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    ERR_TRY(prepare(catalog, "INSERT INTO event_id_run VALUES(?, ?, ?, ?, ?, ?)", &stmt, err));
    for (uint32_t i = 0; i < change->runs_added_count; i++) {
        const struct catalog_run *added = &change->runs_added[i];
        int64_t values[6] = {change->dataset->id,   (int64_t)added->number, (int64_t)added->count,
                             (int64_t)added->bytes, added->arrival_min_ms,  added->arrival_max_ms};
        ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
        ERR_TRY(run(catalog, stmt, err));
    }
    return ERR_OK;
}

static enum err_code add_segments(struct catalog *catalog, const struct catalog_change *change,
                                  struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    ERR_TRY(prepare(catalog, "INSERT INTO segment VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", &stmt, err));
    for (uint32_t i = 0; i < change->added_count; i++) {
        const struct catalog_segment *added = &change->added[i];
        int64_t values[9] = {change->dataset->id,
                             (int64_t)added->number,
                             added->shard,
                             added->row_count,
                             (int64_t)added->bytes,
                             added->time_min_ms,
                             added->time_max_ms,
                             added->tier,
                             added->is_first_times ? 1 : 0};
        ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
        ERR_TRY(run(catalog, stmt, err));
    }
    return ERR_OK;
}

static enum err_code put_columns(struct catalog *catalog, const struct catalog_change *change,
                                 struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    ERR_TRY(prepare(catalog,
                    "INSERT INTO col(dataset, prop, type, value_count, name) VALUES(?, ?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET value_count = excluded.value_count"
                    " WHERE value_count <> excluded.value_count",
                    &stmt, err));
    for (uint32_t prop = 0; prop < change->column_count; prop++) {
        const struct schema_col *col = schema_col(change->schema, prop);
        int64_t values[4] = {change->dataset->id, prop, (int64_t)col->type,
                             (int64_t)change->value_counts[prop]};
        ERR_TRY(bind_ints(catalog, stmt, 4, values, err));
        int rc = sqlite3_bind_blob64(stmt, 5, col->name.ptr, col->name.len, SQLITE_STATIC);
        if (rc != SQLITE_OK) {
            return fail(catalog, rc, err);
        }
        ERR_TRY(run(catalog, stmt, err));
    }
    return ERR_OK;
}

static enum err_code apply(struct catalog *catalog, const struct catalog_change *change,
                           struct err *err)
{
    ERR_TRY(update_dataset(catalog, change->dataset, err));
    int64_t id = change->dataset->id;
    ERR_TRY(drop_numbers(catalog, "segment", "DELETE FROM segment WHERE dataset = ? AND number = ?",
                         id, change->dropped, change->dropped_count, err));
    ERR_TRY(add_segments(catalog, change, err));
    ERR_TRY(move_segments(catalog, change, err));
    ERR_TRY(drop_numbers(catalog, "event id run",
                         "DELETE FROM event_id_run WHERE dataset = ? AND number = ?", id,
                         change->runs_dropped, change->runs_dropped_count, err));
    ERR_TRY(add_runs(catalog, change, err));
    return put_columns(catalog, change, err);
}

enum err_code catalog_apply(struct catalog *catalog, const struct catalog_change *change,
                            struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = begin(catalog, err);
    if (code == ERR_OK) {
        code = end(catalog, apply(catalog, change, err), err);
        if (code != ERR_OK && change->ret_is_unsure != NULL) {
            *change->ret_is_unsure = catalog->is_unsure;
        }
    }
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

static enum err_code insert_deleted(struct catalog *catalog, int64_t dataset, uint32_t shard,
                                    uint32_t subject, int64_t commit_ms, struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    CLEANUP(finalize) sqlite3_stmt *clock = NULL;
    int64_t values[4] = {dataset, shard, subject, commit_ms};
    int64_t moment[2] = {commit_ms, dataset};
    ERR_TRY(prepare(catalog,
                    "INSERT OR IGNORE INTO deleted_subject(dataset, shard, subject, deleted_ms)"
                    " VALUES(?, ?, ?, ?)",
                    &stmt, err));
    ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
    ERR_TRY(run(catalog, stmt, err));
    ERR_TRY(prepare(catalog, "UPDATE dataset SET commit_ms = max(commit_ms, ?) WHERE id = ?",
                    &clock, err));
    ERR_TRY(bind_ints(catalog, clock, COUNT_OF(moment), moment, err));
    return run(catalog, clock, err);
}

static enum err_code count_deleted(struct catalog *catalog, const int64_t values[3], uint64_t *ret,
                                   struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    bool has_row = false;
    ERR_TRY(prepare(catalog,
                    "SELECT count(*) FROM deleted_subject"
                    " WHERE dataset = ? AND deleted_ms > ? AND deleted_ms <= ?",
                    &stmt, err));
    ERR_TRY(bind_ints(catalog, stmt, 3, values, err));
    ERR_TRY(step(catalog, stmt, &has_row, err));
    *ret = col_u64(stmt, 0);
    return ERR_OK;
}

enum err_code catalog_count_deleted(struct catalog *catalog, int64_t dataset, int64_t after_ms,
                                    int64_t until_ms, uint64_t *ret, struct err *err)
{
    const int64_t values[3] = {dataset, after_ms, until_ms};
    *ret = 0;
    if (catalog->version < 4) {
        return ERR_OK; /* nobody knows when */
    }
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = count_deleted(catalog, values, ret, err);
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

static enum err_code each_deleted(struct catalog *catalog, const int64_t values[3],
                                  catalog_deletion_fn fn, void *arg, struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    bool has_row = false;
    ERR_TRY(prepare(catalog,
                    "SELECT deleted_ms, count(*) FROM deleted_subject"
                    " WHERE dataset = ? AND deleted_ms > ? AND deleted_ms <= ?"
                    " GROUP BY deleted_ms ORDER BY deleted_ms",
                    &stmt, err));
    ERR_TRY(bind_ints(catalog, stmt, 3, values, err));
    ERR_TRY(step(catalog, stmt, &has_row, err));
    while (has_row) {
        ERR_TRY(fn(arg, sqlite3_column_int64(stmt, 0), col_u64(stmt, 1), err));
        ERR_TRY(step(catalog, stmt, &has_row, err));
    }
    return ERR_OK;
}

enum err_code catalog_deletions(struct catalog *catalog, int64_t dataset, int64_t after_ms,
                                int64_t until_ms, catalog_deletion_fn fn, void *arg,
                                struct err *err)
{
    const int64_t values[3] = {dataset, after_ms, until_ms};
    if (catalog->version < 4) {
        return ERR_OK; /* nobody knows when */
    }
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = each_deleted(catalog, values, fn, arg, err);
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

enum err_code catalog_delete_subject(struct catalog *catalog, int64_t dataset, uint32_t shard,
                                     uint32_t subject, int64_t commit_ms, struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = begin(catalog, err);
    if (code == ERR_OK) {
        code = end(catalog, insert_deleted(catalog, dataset, shard, subject, commit_ms, err), err);
    }
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

/* ---- cohorts ---- */

static struct str col_bytes(sqlite3_stmt *stmt, int idx)
{
    const char *bytes = sqlite3_column_blob(stmt, idx);
    return (struct str){bytes == NULL ? "" : bytes, (size_t)sqlite3_column_bytes(stmt, idx)};
}

static enum err_code bind_bytes(struct catalog *catalog, sqlite3_stmt *stmt, int idx,
                                struct str bytes, struct err *err)
{
    int rc = sqlite3_bind_blob64(stmt, idx, bytes.len == 0 ? "" : bytes.ptr, bytes.len,
                                 SQLITE_STATIC);
    return rc == SQLITE_OK ? ERR_OK : fail(catalog, rc, err);
}

/* The name is part of the sum: a set under another's name is no set of that cohort. */
static int64_t set_sum(struct str name, struct str bits)
{
    uint64_t seed = hash128(name.ptr, name.len, 0).lo;
    return (int64_t)hash128(bits.ptr, bits.len, seed).lo;
}

struct each_cohort_arg {
    catalog_cohort_fn cohort;
    catalog_cohort_set_fn set;
    struct str name;
    void *arg;
};

static enum err_code each_cohort(sqlite3_stmt *stmt, void *arg, struct err *err)
{
    const struct each_cohort_arg *each = arg;
    const struct catalog_cohort cohort = {
        .name = col_bytes(stmt, 0),
        .definition = col_bytes(stmt, 1),
        .is_static = sqlite3_column_int64(stmt, 2) != 0,
        .epoch = col_u64(stmt, 3),
        .saved_ms = sqlite3_column_int64(stmt, 4),
        .users = col_u64(stmt, 5),
    };
    return each->cohort(each->arg, &cohort, err);
}

enum err_code catalog_cohorts(struct catalog *catalog, int64_t dataset, catalog_cohort_fn fn,
                              void *arg, struct err *err)
{
    struct each_cohort_arg each = {.cohort = fn, .arg = arg};
    if (catalog->version < 2) {
        return ERR_OK;
    }
    return list(catalog,
                "SELECT name, definition, is_static, epoch, saved_ms, users FROM cohort"
                " WHERE dataset = ? ORDER BY name",
                &dataset, each_cohort, &each, err);
}

static enum err_code each_cohort_set(sqlite3_stmt *stmt, void *arg, struct err *err)
{
    const struct each_cohort_arg *each = arg;
    struct catalog_cohort_set set = {.bits = col_bytes(stmt, 3)};
    struct str name = col_bytes(stmt, 0);
    ERR_TRY(col_u32(stmt, 1, &set.shard, err));
    if (!str_eq(name, each->name)) {
        return ERR_OK;
    }
    if (set.shard >= SHARD_COUNT || sqlite3_column_int64(stmt, 2) != set_sum(name, set.bits)) {
        return err_set(err, ERR_CORRUPT,
                       "catalog: cohort \"" STR_FMT "\": the set of shard %" PRIu32
                       " is not what was written",
                       STR_ARG(name), set.shard);
    }
    return each->set(each->arg, &set, err);
}

enum err_code catalog_cohort_sets(struct catalog *catalog, int64_t dataset, struct str name,
                                  catalog_cohort_set_fn fn, void *arg, struct err *err)
{
    struct each_cohort_arg each = {.set = fn, .name = name, .arg = arg};
    if (catalog->version < 2) {
        return ERR_OK;
    }
    return list(catalog,
                "SELECT name, shard, sum, bits FROM cohort_set WHERE dataset = ?"
                " ORDER BY name, shard",
                &dataset, each_cohort_set, &each, err);
}

/* *ret_count: how many cohorts went. */
static enum err_code delete_cohort(struct catalog *catalog, int64_t dataset, struct str name,
                                   int *ret_count, struct err *err)
{
    static const char *const sqls[] = {"DELETE FROM cohort_set WHERE dataset = ? AND name = ?",
                                       "DELETE FROM cohort WHERE dataset = ? AND name = ?"};
    for (size_t i = 0; i < COUNT_OF(sqls); i++) {
        CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
        ERR_TRY(prepare(catalog, sqls[i], &stmt, err));
        ERR_TRY(bind_ints(catalog, stmt, 1, &dataset, err));
        ERR_TRY(bind_bytes(catalog, stmt, 2, name, err));
        ERR_TRY(run(catalog, stmt, err));
        *ret_count = sqlite3_changes(catalog->db);
    }
    return ERR_OK;
}

static enum err_code put_cohort(struct catalog *catalog, int64_t dataset,
                                const struct catalog_cohort *cohort,
                                const struct catalog_cohort_set *sets, uint32_t set_count,
                                struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    CLEANUP(finalize) sqlite3_stmt *set_stmt = NULL;
    int ignored = 0;
    ERR_TRY(delete_cohort(catalog, dataset, cohort->name, &ignored, err));
    ERR_TRY(prepare(catalog,
                    "INSERT INTO cohort(dataset, is_static, epoch, saved_ms, users, name,"
                    " definition) VALUES(?, ?, ?, ?, ?, ?, ?)",
                    &stmt, err));
    int64_t values[5] = {dataset, cohort->is_static ? 1 : 0, (int64_t)cohort->epoch,
                         cohort->saved_ms, (int64_t)cohort->users};
    ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
    ERR_TRY(bind_bytes(catalog, stmt, 6, cohort->name, err));
    ERR_TRY(bind_bytes(catalog, stmt, 7, cohort->definition, err));
    ERR_TRY(run(catalog, stmt, err));
    ERR_TRY(prepare(catalog,
                    "INSERT INTO cohort_set(dataset, shard, sum, name, bits)"
                    " VALUES(?, ?, ?, ?, ?)",
                    &set_stmt, err));
    for (uint32_t i = 0; i < set_count; i++) {
        int64_t set_values[3] = {dataset, sets[i].shard, set_sum(cohort->name, sets[i].bits)};
        ERR_TRY(bind_ints(catalog, set_stmt, COUNT_OF(set_values), set_values, err));
        ERR_TRY(bind_bytes(catalog, set_stmt, 4, cohort->name, err));
        ERR_TRY(bind_bytes(catalog, set_stmt, 5, sets[i].bits, err));
        ERR_TRY(run(catalog, set_stmt, err));
    }
    return ERR_OK;
}

enum err_code catalog_put_cohort(struct catalog *catalog, int64_t dataset,
                                 const struct catalog_cohort *cohort,
                                 const struct catalog_cohort_set *sets, uint32_t set_count,
                                 struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = begin(catalog, err);
    if (code == ERR_OK) {
        code = end(catalog, put_cohort(catalog, dataset, cohort, sets, set_count, err), err);
    }
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

enum err_code catalog_drop_cohort(struct catalog *catalog, int64_t dataset, struct str name,
                                  struct err *err)
{
    int count = 0;
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = begin(catalog, err);
    if (code == ERR_OK) {
        code = delete_cohort(catalog, dataset, name, &count, err);
        if (code == ERR_OK && count == 0) {
            code = err_set(err, ERR_NOT_FOUND, "no cohort \"" STR_FMT "\" is saved",
                           STR_ARG(name));
        }
        code = end(catalog, code, err);
    }
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

struct cohort_copy {
    struct catalog_cohort_set sets[SHARD_COUNT]; /* of the cohort at hand; their bytes are in `bytes` */
    size_t offs[SHARD_COUNT];
    uint32_t set_count;
    struct buf names;            /* of all cohorts, each with its length before it */
    struct buf bytes;
    struct catalog_cohort *items;
    uint32_t count, cap;
};

static enum err_code copy_take(void *arg, const struct catalog_cohort *cohort, struct err *err)
{
    struct cohort_copy *copy = arg;
    if (copy->count == copy->cap) {
        uint32_t cap = copy->cap == 0 ? 16 : copy->cap * 2;
        struct catalog_cohort *more = realloc(copy->items, cap * sizeof(*more));
        if (more == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for cohorts");
        }
        copy->items = more;
        copy->cap = cap;
    }
    copy->items[copy->count++] = *cohort; /* name and definition: their lengths; the bytes follow */
    buf_append(&copy->names, cohort->name.ptr, cohort->name.len);
    buf_append(&copy->names, cohort->definition.ptr, cohort->definition.len);
    return buf_check(&copy->names, err);
}

static enum err_code copy_take_set(void *arg, const struct catalog_cohort_set *set, struct err *err)
{
    struct cohort_copy *copy = arg;
    if (copy->set_count == SHARD_COUNT) {
        return err_set(err, ERR_CORRUPT, "catalog: more sets than shards");
    }
    copy->offs[copy->set_count] = copy->bytes.len;
    copy->sets[copy->set_count++] = *set;
    buf_append(&copy->bytes, set->bits.ptr, set->bits.len);
    return buf_check(&copy->bytes, err);
}

static void copy_done(struct cohort_copy *copy)
{
    buf_done(&copy->names);
    buf_done(&copy->bytes);
    free(copy->items);
}

enum err_code catalog_copy_cohorts(struct catalog *from, int64_t from_dataset, struct catalog *to,
                                   int64_t to_dataset, uint32_t *ret_count, struct err *err)
{
    CLEANUP(copy_done) struct cohort_copy copy = {0};
    struct err unread;
    *ret_count = 0;
    (void)!catalog_cohorts(from, from_dataset, copy_take, &copy, &unread);
    ERR_TRY(buf_check(&copy.names, err));
    const char *at = (const char *)copy.names.ptr;
    for (uint32_t i = 0; i < copy.count; i++) {
        struct catalog_cohort *cohort = &copy.items[i];
        cohort->name.ptr = at;
        cohort->definition.ptr = at + cohort->name.len;
        at += cohort->name.len + cohort->definition.len;
        copy.set_count = 0;
        buf_clear(&copy.bytes);
        if (catalog_cohort_sets(from, from_dataset, cohort->name, copy_take_set, &copy, &unread) !=
            ERR_OK) {
            continue; /* half of a set is no set */
        }
        for (uint32_t s = 0; s < copy.set_count; s++) {
            copy.sets[s].bits.ptr = (const char *)copy.bytes.ptr + copy.offs[s];
        }
        ERR_TRY(catalog_put_cohort(to, to_dataset, cohort, copy.sets, copy.set_count, err));
        (*ret_count)++;
    }
    return ERR_OK;
}

/* ---- metrics ---- */

#define METRIC_COLUMNS                                                                             \
    "version, defined_ms, name, name_en, name_zh, unit, description, owner, source, definition"
#define METRIC_FIRST_TEXT 2 /* the columns from here on are enum metric_text */

struct each_metric_arg {
    catalog_metric_fn metric;
    void *arg;
};

static enum err_code each_metric(sqlite3_stmt *stmt, void *arg, struct err *err)
{
    const struct each_metric_arg *each = arg;
    struct metric metric = {.defined_ms = sqlite3_column_int64(stmt, 1)};
    ERR_TRY(col_u32(stmt, 0, &metric.version, err));
    for (int i = 0; i < METRIC_TEXTS; i++) {
        metric.texts[i] = col_bytes(stmt, METRIC_FIRST_TEXT + i);
    }
    return each->metric(each->arg, &metric, err);
}

enum err_code catalog_metrics(struct catalog *catalog, int64_t dataset, catalog_metric_fn fn,
                              void *arg, struct err *err)
{
    struct each_metric_arg each = {fn, arg};
    if (catalog->version < 3) {
        return ERR_OK;
    }
    return list(catalog,
                "SELECT " METRIC_COLUMNS " FROM metric WHERE dataset = ? ORDER BY name, version",
                &dataset, each_metric, &each, err);
}

/* The row that is asked for, by the primary key. */
static enum err_code find_metric(struct catalog *catalog, int64_t dataset, struct str name,
                                 uint32_t version, struct each_metric_arg *each, struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    const int64_t values[2] = {dataset, version};
    bool has_row = false;
    ERR_TRY(prepare(catalog,
                    "SELECT " METRIC_COLUMNS " FROM metric WHERE dataset = ?1 AND name = ?3"
                    " AND (version = ?2 OR ?2 = 0) ORDER BY version DESC LIMIT 1",
                    &stmt, err));
    ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
    ERR_TRY(bind_bytes(catalog, stmt, 3, name, err));
    ERR_TRY(step(catalog, stmt, &has_row, err));
    return has_row ? each_metric(stmt, each, err) : ERR_OK;
}

enum err_code catalog_metric(struct catalog *catalog, int64_t dataset, struct str name,
                             uint32_t version, catalog_metric_fn fn, void *arg, struct err *err)
{
    struct each_metric_arg each = {fn, arg};
    if (catalog->version < 3) {
        return ERR_OK;
    }
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = find_metric(catalog, dataset, name, version, &each, err);
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

static enum err_code add_metrics(struct catalog *catalog, int64_t dataset,
                                 const struct metric *metrics, uint32_t count, struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    ERR_TRY(prepare(catalog,
                    "INSERT INTO metric(dataset, " METRIC_COLUMNS
                    ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    &stmt, err));
    for (uint32_t i = 0; i < count; i++) {
        const int64_t values[3] = {dataset, metrics[i].version, metrics[i].defined_ms};
        ERR_TRY(bind_ints(catalog, stmt, COUNT_OF(values), values, err));
        for (int t = 0; t < METRIC_TEXTS; t++) {
            ERR_TRY(bind_bytes(catalog, stmt, 4 + t, metrics[i].texts[t], err));
        }
        ERR_TRY(run(catalog, stmt, err));
    }
    return ERR_OK;
}

enum err_code catalog_add_metrics(struct catalog *catalog, int64_t dataset,
                                  const struct metric *metrics, uint32_t count, struct err *err)
{
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = begin(catalog, err);
    if (code == ERR_OK) {
        code = end(catalog, add_metrics(catalog, dataset, metrics, count, err), err);
    }
    pthread_mutex_unlock(&catalog->lock);
    return code;
}

static enum err_code drop_metrics(struct catalog *catalog, int64_t dataset,
                                  const struct str *names, uint32_t count, uint32_t *ret_versions,
                                  struct err *err)
{
    CLEANUP(finalize) sqlite3_stmt *stmt = NULL;
    ERR_TRY(prepare(catalog, "DELETE FROM metric WHERE dataset = ? AND name = ?", &stmt, err));
    for (uint32_t i = 0; i < count; i++) {
        ERR_TRY(bind_ints(catalog, stmt, 1, &dataset, err));
        ERR_TRY(bind_bytes(catalog, stmt, 2, names[i], err));
        ERR_TRY(run(catalog, stmt, err));
        *ret_versions += (uint32_t)sqlite3_changes(catalog->db);
    }
    return ERR_OK;
}

enum err_code catalog_drop_metrics(struct catalog *catalog, int64_t dataset,
                                   const struct str *names, uint32_t count, uint32_t *ret_versions,
                                   struct err *err)
{
    uint32_t versions = 0;
    pthread_mutex_lock(&catalog->lock);
    enum err_code code = begin(catalog, err);
    if (code == ERR_OK) {
        code = end(catalog, drop_metrics(catalog, dataset, names, count, &versions, err), err);
    }
    pthread_mutex_unlock(&catalog->lock);
    *ret_versions = code == ERR_OK ? versions : *ret_versions;
    return code;
}

struct metric_copy {
    struct arena *arena;
    struct metric *items;
    uint32_t count;
};

static enum err_code copy_take_metric(void *arg, const struct metric *metric, struct err *err)
{
    struct metric_copy *copy = arg;
    if (copy->count == METRICS_MAX) {
        return err_set(err, ERR_CORRUPT, "catalog: more than %u versions of metrics", METRICS_MAX);
    }
    struct metric *own = &copy->items[copy->count];
    *own = *metric;
    for (int i = 0; i < METRIC_TEXTS; i++) {
        ERR_TRY(arena_str(copy->arena, metric->texts[i], &own->texts[i], err));
    }
    copy->count++;
    return ERR_OK;
}

enum err_code catalog_copy_metrics(struct catalog *from, int64_t from_dataset, struct catalog *to,
                                   int64_t to_dataset, uint32_t *ret_count, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct metric_copy copy = {.arena = arena};
    struct err unread;
    ERR_TRY(ARENA_NEW(arena, METRICS_MAX, &copy.items, err));
    (void)!catalog_metrics(from, from_dataset, copy_take_metric, &copy, &unread);
    *ret_count = copy.count;
    return copy.count == 0 ? ERR_OK
                           : catalog_add_metrics(to, to_dataset, copy.items, copy.count, err);
}
