/* tests/unit/storage/test_catalog.c - tests of storage/catalog.c: all of a change or nothing of it. */
#include "tests/support/claims.h"

#include "storage/catalog.h"
#include "tests/support/live_events.h"

#include <sqlite3.h>

struct fixture {
    char dir[64];
    char path[96];
    struct catalog *catalog;
    struct catalog_dataset row;
};

static void open_catalog(struct fixture *f)
{
    struct err err = {0};
    assert_ok(catalog_open(f->path, false, &f->catalog, &err));
}

static int setup(void **state)
{
    struct err err = {0};
    struct fixture *f = calloc(1, sizeof(*f));
    live_dir_make(f->dir);
    snprintf(f->path, sizeof(f->path), "%s/catalog.db", f->dir);
    open_catalog(f);
    f->row = (struct catalog_dataset){.name = "shop",
                                      .zone = "UTC",
                                      .seed = UINT64_MAX - 5,
                                      .identity_version = 1,
                                      .wal_floor = 1,
                                      .next_segment = 1,
                                      .watermark_ms = INT64_MIN};
    assert_ok(catalog_add_dataset(f->catalog, &f->row, &err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    catalog_close(f->catalog);
    live_dir_remove(f->dir);
    free(f);
    return 0;
}

struct listing {
    struct catalog_dataset row;
    struct catalog_segment segs[8];
    struct catalog_run runs[8];
    uint32_t datasets, seg_count, run_count, cols, deleted;
    uint64_t value_counts[8];
};

static enum err_code note_dataset(void *arg, const struct catalog_dataset *row, struct err *err)
{
    struct listing *listing = arg;
    listing->row = *row;
    listing->datasets++;
    return ERR_OK;
}

static enum err_code note_run(void *arg, const struct catalog_run *run, struct err *err)
{
    (void)err;
    struct listing *listing = arg;
    listing->runs[listing->run_count++] = *run;
    return ERR_OK;
}

static enum err_code note_segment(void *arg, const struct catalog_segment *seg, struct err *err)
{
    struct listing *listing = arg;
    listing->segs[listing->seg_count++] = *seg;
    return ERR_OK;
}

static enum err_code note_column(void *arg, uint32_t prop, struct str name, enum col_type type,
                                 uint64_t value_count, struct err *err)
{
    struct listing *listing = arg;
    if (prop != listing->cols || !str_eq(name, STR("na\xc3\xafve")) || type != COL_LIST) {
        return err_set(err, ERR_INVALID, "column %u", prop);
    }
    listing->value_counts[listing->cols++] = value_count;
    return ERR_OK;
}

static enum err_code note_subject(void *arg, uint32_t shard, uint32_t subject, struct err *err)
{
    struct listing *listing = arg;
    listing->deleted += shard == 15 && subject == UINT32_MAX;
    return ERR_OK;
}

static struct listing look(struct fixture *f)
{
    struct err err = {0};
    struct listing listing = {0};
    assert_ok(catalog_datasets(f->catalog, note_dataset, &listing, &err));
    assert_ok(catalog_segments(f->catalog, f->row.id, note_segment, &listing, &err));
    assert_ok(catalog_runs(f->catalog, f->row.id, note_run, &listing, &err));
    assert_ok(catalog_columns(f->catalog, f->row.id, note_column, &listing, &err));
    assert_ok(catalog_deleted(f->catalog, f->row.id, note_subject, &listing, &err));
    return listing;
}

static void a_change_is_there_after_reopening(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct schema *schema = NULL;
    uint32_t prop = 0;
    uint64_t value_count = 17;
    assert_ok(schema_create(&schema, &err));
    assert_ok(schema_add(schema, STR("na\xc3\xafve"), COL_LIST, &prop, &err));
    struct catalog_segment segs[] = {{3, 1, 10, 1000, -5, 9, TIER_HOT, false},
                                     {2, 0, 20, 2000, 7, 8, TIER_COLD, false}};
    f->row.ids = (struct ids_mark){12, 345};
    f->row.epoch = 99;
    f->row.wal_floor = 4;
    f->row.next_segment = 5;
    f->row.watermark_ms = 123;
    struct catalog_change change = {.dataset = &f->row,
                                    .added = segs,
                                    .added_count = 2,
                                    .schema = schema,
                                    .value_counts = &value_count,
                                    .column_count = 1};
    assert_ok(catalog_apply(f->catalog, &change, &err));
    assert_ok(catalog_delete_subject(f->catalog, f->row.id, 15, UINT32_MAX, 1000, &err));
    assert_ok(catalog_delete_subject(f->catalog, f->row.id, 15, UINT32_MAX, 1000, &err));
    catalog_close(f->catalog);
    open_catalog(f);
    struct listing listing = look(f);
    assert_int_equal(listing.datasets, 1);
    assert_memory_equal(&listing.row.ids, &f->row.ids, sizeof(f->row.ids));
    assert_true(listing.row.seed == UINT64_MAX - 5);
    assert_int_equal(listing.row.epoch, 99);
    assert_int_equal(listing.row.wal_floor, 4);
    assert_int_equal(listing.row.next_segment, 5);
    assert_int_equal(listing.row.watermark_ms, 123);
    assert_int_equal(listing.seg_count, 2);
    assert_int_equal(listing.segs[0].number, 2); /* by shard */
    assert_int_equal(listing.segs[1].time_min_ms, -5);
    assert_int_equal(listing.value_counts[0], 17);
    assert_int_equal(listing.deleted, 1);
    schema_free(schema);
}

static void a_change_that_fails_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct catalog_segment seg = {1, 0, 10, 1000, 0, 9, TIER_HOT, false};
    struct catalog_change change = {.dataset = &f->row, .added = &seg, .added_count = 1};
    assert_ok(catalog_apply(f->catalog, &change, &err));
    const uint64_t missing[] = {1, 77};
    struct catalog_segment other = {2, 0, 10, 1000, 0, 9, TIER_HOT, false};
    f->row.epoch = 1000;
    change = (struct catalog_change){.dataset = &f->row,
                                     .added = &other,
                                     .added_count = 1,
                                     .dropped = missing,
                                     .dropped_count = 2};
    assert_fails(catalog_apply(f->catalog, &change, &err), ERR_CORRUPT, "segment 77 is not in it");
    struct listing listing = look(f);
    assert_int_equal(listing.seg_count, 1);
    assert_int_equal(listing.segs[0].number, 1);
    assert_int_equal(listing.row.epoch, 0);
    change = (struct catalog_change){.dataset = &f->row, .dropped = missing, .dropped_count = 1};
    assert_ok(catalog_apply(f->catalog, &change, &err)); /* and it goes on working */
    assert_int_equal(look(f).seg_count, 0);
}

static void segments_move_and_runs_come_and_go_with_a_change(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct catalog_segment seg = {1, 0, 10, 1000, 0, 9, TIER_HOT, false};
    struct catalog_run runs[] = {{7, 100, 4096, 50, 60}, {8, 200, 8192, -5, 40}};
    struct catalog_change change = {.dataset = &f->row,
                                    .added = &seg,
                                    .added_count = 1,
                                    .runs_added = runs,
                                    .runs_added_count = 2};
    assert_ok(catalog_apply(f->catalog, &change, &err));
    struct listing listing = look(f);
    assert_int_equal(listing.run_count, 2);
    assert_memory_equal(&listing.runs[0], &runs[1], sizeof(runs[1])); /* by arrival */
    assert_memory_equal(&listing.runs[1], &runs[0], sizeof(runs[0]));
    const uint64_t gone = 8;
    f->row.settings = (struct dataset_settings){1, INT64_MAX, 3};
    seg.tier = TIER_COLD;
    change = (struct catalog_change){.dataset = &f->row,
                                     .moved = &seg,
                                     .moved_count = 1,
                                     .runs_dropped = &gone,
                                     .runs_dropped_count = 1};
    assert_ok(catalog_apply(f->catalog, &change, &err));
    listing = look(f);
    assert_int_equal(listing.segs[0].tier, TIER_COLD);
    assert_int_equal(listing.run_count, 1);
    assert_int_equal(listing.runs[0].number, 7);
    assert_memory_equal(&listing.row.settings, &f->row.settings, sizeof(f->row.settings));
    assert_fails(catalog_apply(f->catalog, &change, &err), ERR_CORRUPT, "event id run 8");
    seg.number = 99;
    change.runs_dropped_count = 0;
    assert_fails(catalog_apply(f->catalog, &change, &err), ERR_CORRUPT, "segment 99");
}

static void a_name_is_taken_once(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct catalog_dataset again = f->row;
    assert_int_not_equal(catalog_add_dataset(f->catalog, &again, &err), ERR_OK);
    assert_int_equal(look(f).datasets, 1);
}

static void a_newer_version_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    sqlite3 *db = NULL;
    struct catalog *none = NULL;
    catalog_close(TAKE(f->catalog));
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE meta SET value = 6", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_fails(catalog_open(f->path, false, &none, &err), ERR_UNSUPPORTED, "format version 6, and this program knows version 5");
}

static void change_by_hand(struct fixture *f, const char *sql)
{
    sqlite3 *db = NULL;
    catalog_close(TAKE(f->catalog));
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void reopen(struct fixture *f, bool is_read_only)
{
    struct err err = {0};
    catalog_close(TAKE(f->catalog));
    if (catalog_open(f->path, is_read_only, &f->catalog, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
}

/* As version 4 was, and version 3. */
#define FORGET_KIND "ALTER TABLE segment DROP COLUMN kind;"
#define FORGET_CLOCK                                                                               \
    FORGET_KIND                                                                                    \
    "ALTER TABLE dataset DROP COLUMN commit_ms;"                                                   \
    "ALTER TABLE deleted_subject DROP COLUMN deleted_ms;"

static uint64_t deleted_between(struct fixture *f, int64_t after_ms, int64_t until_ms)
{
    struct err err = {0};
    uint64_t count = 99;
    assert_int_equal(
        catalog_count_deleted(f->catalog, f->row.id, after_ms, until_ms, &count, &err), ERR_OK);
    return count;
}

static void a_deletion_has_its_clock_which_older_versions_do_not_know(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    assert_int_equal(catalog_delete_subject(f->catalog, f->row.id, 3, 1, 1000, &err), ERR_OK);
    assert_int_equal(catalog_delete_subject(f->catalog, f->row.id, 3, 2, 2000, &err), ERR_OK);
    assert_int_equal(catalog_delete_subject(f->catalog, f->row.id, 3, 1, 3000, &err), ERR_OK);
    assert_int_equal(look(f).row.commit_ms, 3000);
    assert_int_equal(deleted_between(f, 0, 3000), 2);
    assert_int_equal(deleted_between(f, 1000, 3000), 1); /* the first one stays as of 1000 */
    assert_int_equal(deleted_between(f, 999, 1000), 1);
    change_by_hand(f, FORGET_CLOCK "UPDATE meta SET value = 3");
    reopen(f, true);
    assert_int_equal(look(f).row.commit_ms, 0);
    assert_int_equal(deleted_between(f, 0, 3000), 0);
    reopen(f, false);
    assert_int_equal(look(f).row.commit_ms, 0);
    assert_int_equal(deleted_between(f, -1, 3000), 2); /* before every commit */
}

static void version_4_knows_no_first_times_until_it_is_written(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct catalog_segment seg = {1, 0, 10, 1000, 0, 9, TIER_HOT, false};
    struct catalog_change change = {.dataset = &f->row, .added = &seg, .added_count = 1};
    assert_ok(catalog_apply(f->catalog, &change, &err));
    change_by_hand(f, FORGET_KIND "UPDATE meta SET value = 4");
    reopen(f, true);
    assert_int_equal(look(f).seg_count, 1);
    assert_false(look(f).segs[0].is_first_times);
    reopen(f, false);
    assert_int_equal(look(f).seg_count, 1);
    seg.number = 2;
    seg.is_first_times = true;
    assert_ok(catalog_apply(f->catalog, &change, &err));
    assert_true(look(f).segs[1].is_first_times);
    change_by_hand(f, "UPDATE segment SET kind = 2 WHERE number = 2");
    reopen(f, false);
    struct listing listing = {0};
    assert_fails(catalog_segments(f->catalog, f->row.id, note_segment, &listing, &err), ERR_CORRUPT,
                 "kind 2");
}

static enum err_code count_cohort(void *arg, const struct catalog_cohort *cohort, struct err *err)
{
    uint32_t *count = arg;
    (void)err;
    assert_true(str_eq(cohort->name, STR("v\0ip")));
    assert_true(str_eq(cohort->definition, STR("segment did(a)")));
    assert_int_equal(cohort->users, 3);
    (*count)++;
    return ERR_OK;
}

static enum err_code count_set(void *arg, const struct catalog_cohort_set *set, struct err *err)
{
    uint32_t *shards = arg;
    (void)err;
    assert_int_equal(set->bits.len, 4);
    *shards |= 1u << set->shard;
    return ERR_OK;
}

static uint32_t cohorts_of(struct fixture *f)
{
    struct err err = {0};
    uint32_t count = 0;
    assert_int_equal(catalog_cohorts(f->catalog, f->row.id, count_cohort, &count, &err), ERR_OK);
    return count;
}

static void version_1_is_brought_up_when_it_is_written_and_is_read_as_it_is(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    const struct catalog_cohort_set sets[] = {{3, STR("abcd")}, {5, STR("efgh")}};
    const struct catalog_cohort cohort = {
        .name = STR("v\0ip"), .definition = STR("segment did(a)"), .is_static = true, .users = 3};
    uint32_t shards = 0;
    change_by_hand(f, FORGET_CLOCK "DROP TABLE cohort; DROP TABLE cohort_set; DROP TABLE metric; UPDATE meta SET value = 1");
    reopen(f, true);
    assert_int_equal(cohorts_of(f), 0);
    reopen(f, false);
    assert_int_equal(look(f).datasets, 1);
    assert_int_equal(catalog_put_cohort(f->catalog, f->row.id, &cohort, sets, 2, &err), ERR_OK);
    reopen(f, true);
    assert_int_equal(cohorts_of(f), 1);
    assert_int_equal(
        catalog_cohort_sets(f->catalog, f->row.id, STR("v\0ip"), count_set, &shards, &err), ERR_OK);
    assert_int_equal(shards, 1u << 3 | 1u << 5);
    /* one set less, in the place of the same */
    reopen(f, false);
    assert_int_equal(catalog_put_cohort(f->catalog, f->row.id, &cohort, sets, 1, &err), ERR_OK);
    shards = 0;
    assert_int_equal(
        catalog_cohort_sets(f->catalog, f->row.id, STR("v\0ip"), count_set, &shards, &err), ERR_OK);
    assert_int_equal(shards, 1u << 3);
    change_by_hand(f, "UPDATE cohort_set SET bits = x'61626365'");
    reopen(f, false);
    assert_fails(catalog_cohort_sets(f->catalog, f->row.id, STR("v\0ip"), count_set, &shards, &err),
                 ERR_CORRUPT, "shard 3");
    assert_int_equal(catalog_drop_cohort(f->catalog, f->row.id, STR("v\0ip"), &err), ERR_OK);
    assert_int_equal(cohorts_of(f), 0);
    assert_fails(catalog_drop_cohort(f->catalog, f->row.id, STR("v"), &err), ERR_NOT_FOUND,
                 "no cohort \"v\"");
}

/* ---- metrics ---- */

static struct metric metric_of(const char *name, uint32_t version, const char *definition)
{
    struct metric metric = {.version = version, .defined_ms = 1000 + version};
    for (int i = 0; i < METRIC_TEXTS; i++) {
        metric.texts[i] = STR("x");
    }
    metric.texts[METRIC_NAME] = str_of(name);
    metric.texts[METRIC_NAME_ZH] = STR("\xe6\x88\x90\xe4\xba\xa4");
    metric.texts[METRIC_DEFINITION] = str_of(definition);
    return metric;
}

struct metrics_seen {
    char text[200]; /* "gmv 1 sum(a), ..." */
};

static enum err_code see_metric(void *arg, const struct metric *metric, struct err *err)
{
    struct metrics_seen *seen = arg;
    size_t used = strlen(seen->text);
    (void)err;
    assert_true(str_eq(metric->texts[METRIC_NAME_ZH], STR("\xe6\x88\x90\xe4\xba\xa4")));
    assert_int_equal(metric->defined_ms, 1000 + metric->version);
    snprintf(seen->text + used, sizeof(seen->text) - used, "%s" STR_FMT " %u " STR_FMT,
             used > 0 ? ", " : "", STR_ARG(metric->texts[METRIC_NAME]), metric->version,
             STR_ARG(metric->texts[METRIC_DEFINITION]));
    return ERR_OK;
}

static void assert_metrics(struct fixture *f, const char *want)
{
    struct err err = {0};
    struct metrics_seen seen = {0};
    assert_int_equal(catalog_metrics(f->catalog, f->row.id, see_metric, &seen, &err), ERR_OK);
    assert_string_equal(seen.text, want);
}

static void assert_metric(struct fixture *f, const char *name, uint32_t version, const char *want)
{
    struct err err = {0};
    struct metrics_seen seen = {0};
    assert_int_equal(
        catalog_metric(f->catalog, f->row.id, str_of(name), version, see_metric, &seen, &err),
        ERR_OK);
    assert_string_equal(seen.text, want);
}

static void add_two(struct fixture *f)
{
    struct err err = {0};
    const struct metric metrics[] = {metric_of("gmv", 1, "sum(a)"), metric_of("dau", 1, "users(b)")};
    assert_int_equal(catalog_add_metrics(f->catalog, f->row.id, metrics, 2, &err), ERR_OK);
}

static void version_2_has_no_metrics_until_it_is_written(void **state)
{
    struct fixture *f = *state;
    change_by_hand(f, FORGET_CLOCK "DROP TABLE metric; UPDATE meta SET value = 2");
    reopen(f, true);
    assert_metrics(f, "");
    assert_metric(f, "gmv", 0, "");
    reopen(f, false);
    assert_int_equal(look(f).datasets, 1);
    add_two(f);
    reopen(f, true);
    assert_metrics(f, "dau 1 users(b), gmv 1 sum(a)");
}

static void metrics_are_found_by_name_and_version(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    add_two(f);
    const struct metric second[] = {metric_of("new", 1, "count(c)"), metric_of("gmv", 2, "sum(c)")};
    assert_int_equal(catalog_add_metrics(f->catalog, f->row.id, second, 2, &err), ERR_OK);
    assert_metrics(f, "dau 1 users(b), gmv 1 sum(a), gmv 2 sum(c), new 1 count(c)");
    assert_metric(f, "gmv", 0, "gmv 2 sum(c)");
    assert_metric(f, "gmv", 1, "gmv 1 sum(a)");
    assert_metric(f, "gmv", 3, "");
    assert_metric(f, "gm", 0, "");
    /* a version that is there is not written over, and nothing of its transaction stays */
    const struct metric again[] = {metric_of("z", 1, "count(z)"), metric_of("gmv", 2, "sum(d)")};
    assert_int_not_equal(catalog_add_metrics(f->catalog, f->row.id, again, 2, &err), ERR_OK);
    assert_metrics(f, "dau 1 users(b), gmv 1 sum(a), gmv 2 sum(c), new 1 count(c)");
}

static void dropped_metrics_go_with_all_versions(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint32_t versions = 7;
    const struct str names[] = {STR("gmv"), STR("none")};
    add_two(f);
    const struct metric second = metric_of("gmv", 2, "sum(c)");
    assert_int_equal(catalog_add_metrics(f->catalog, f->row.id, &second, 1, &err), ERR_OK);
    assert_int_equal(catalog_drop_metrics(f->catalog, f->row.id + 1, names, 2, &versions, &err),
                     ERR_OK);
    assert_int_equal(versions, 0); /* of another data set */
    assert_int_equal(catalog_drop_metrics(f->catalog, f->row.id, names, 2, &versions, &err),
                     ERR_OK);
    assert_int_equal(versions, 2);
    reopen(f, false);
    assert_metrics(f, "dau 1 users(b)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            version_1_is_brought_up_when_it_is_written_and_is_read_as_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(version_2_has_no_metrics_until_it_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_deletion_has_its_clock_which_older_versions_do_not_know, setup, teardown),
        cmocka_unit_test_setup_teardown(version_4_knows_no_first_times_until_it_is_written, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(metrics_are_found_by_name_and_version, setup, teardown),
        cmocka_unit_test_setup_teardown(dropped_metrics_go_with_all_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_is_there_after_reopening, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_that_fails_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(segments_move_and_runs_come_and_go_with_a_change, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_name_is_taken_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_version_is_refused_by_name, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
