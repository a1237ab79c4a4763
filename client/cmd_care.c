/* client/cmd_care.c - trackway verify, backup, restore, repair: looking after a data folder.
 *
 * verify, restore and repair work on folders that no server has open, through storage/care.h; backup
 * asks a server, for only it knows what it has acknowledged. */
#include "client/command.h"
#include "client/draw.h"
#include "client/json_tree.h"
#include "client/term.h"
#include "storage/base/json_text.h"
#include "storage/base/size.h"
#include "storage/care.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Parse; the operands there must be, or NULL with *ret_exit set. */
static struct arg_list *operands_of(const struct arg_command *command, int argc, char *const *argv,
                                    uint32_t wanted, const char *what, int *ret_exit)
{
    struct err err;
    struct arg_list *operands = calloc(1, sizeof(*operands));
    if (operands == NULL) {
        err_set(&err, ERR_NOMEM, "out of memory: arguments");
        *ret_exit = command_fail(&err, NULL, EXIT_FAILED);
        return NULL;
    }
    if (!command_parse(command, argc, argv, operands, ret_exit)) {
        free(operands);
        return NULL;
    }
    if (operands->count != wanted) {
        err_set(&err, ERR_INVALID, "%s takes %s, and got %u operands", command->name, what,
                operands->count);
        *ret_exit = command_fail(&err, NULL, EXIT_USAGE);
        free(operands);
        return NULL;
    }
    return operands;
}

#define OPTION_COLD_DIR(to)                                                                        \
    {                                                                                              \
        .name = "cold-dir", .value_name = "DIR",                                                   \
        .sentence = "the server's cold-dir, to be looked into as well", .text = (to)               \
    }

/* ---- findings ---- */

struct findings {
    bool is_json;
    uint64_t count;
    struct buf json;
};

static const char *level_name(enum care_level level)
{
    return level == CARE_DAMAGE ? "damaged" : "left over";
}

/* Text as it is found, for a program a JSON object: a long look shows what it has seen so far. */
static void finding_show(void *arg, const struct care_finding *finding)
{
    struct findings *findings = arg;
    CLEANUP(buf_freep) struct buf line = {0};
    if (findings->is_json) {
        buf_z(&findings->json, findings->count++ == 0 ? "" : ",");
        buf_printf(&findings->json, "{\"level\":\"%s\",\"file\":", level_name(finding->level));
        json_text(str_of(finding->file), &findings->json);
        buf_z(&findings->json, ",\"problem\":");
        json_text(str_of(finding->problem), &findings->json);
        buf_z(&findings->json, ",\"meaning\":");
        json_text(str_of(finding->meaning), &findings->json);
        buf_z(&findings->json, "}");
        return;
    }
    findings->count++;
    buf_printf(&line, "%s: ", level_name(finding->level));
    term_text(str_of(finding->file), false, &line);
    buf_z(&line, ": ");
    term_text(str_of(finding->problem), false, &line);
    buf_printf(&line, " - %s\n", finding->meaning);
    command_print(buf_as_str(&line));
}

static void sums_show(const struct care_sums *sums, struct buf *out)
{
    if (sums->damaged + sums->left_over == 0) {
        buf_z(out, "clean: ");
    } else {
        buf_printf(out, "%" PRIu64 " damaged, %" PRIu64 " left over: ", sums->damaged,
                   sums->left_over);
    }
    buf_printf(out,
               "%" PRIu64 " data sets, %" PRIu64 " segments, %" PRIu64 " rows, %" PRIu64
               " ids, %" PRIu64 " log records with %" PRIu64 " events, ",
               sums->datasets, sums->segments, sums->segment_rows, sums->ids, sums->log_records,
               sums->log_events);
    draw_bytes(sums->bytes, out);
    buf_z(out, " read\n");
}

static void sums_json(const struct care_sums *sums, const struct findings *findings,
                      struct buf *out)
{
    buf_z(out, "{\"findings\":[");
    buf_str(out, buf_as_str(&findings->json));
    buf_printf(out,
               "],\"damaged\":%" PRIu64 ",\"left_over\":%" PRIu64 ",\"datasets\":%" PRIu64
               ",\"segments\":%" PRIu64 ",\"segment_rows\":%" PRIu64 ",\"ids\":%" PRIu64
               ",\"log_records\":%" PRIu64 ",\"log_events\":%" PRIu64 ",\"runs\":%" PRIu64
               ",\"bytes\":%" PRIu64 "}\n",
               sums->damaged, sums->left_over, sums->datasets, sums->segments, sums->segment_rows,
               sums->ids, sums->log_records, sums->log_events, sums->runs, sums->bytes);
}

/* ---- verify ---- */

static int verify(const char *dir, const char *cold_dir, bool is_json)
{
    CLEANUP(io_freep) struct io *io = NULL;
    CLEANUP(buf_freep) struct buf out = {0};
    struct findings findings = {.is_json = is_json};
    struct care_sums sums = {0};
    struct err err;
    if (io_create(IO_AUTO, &io, &err) != ERR_OK ||
        care_verify(dir, cold_dir, io, finding_show, &findings, &sums, &err) != ERR_OK) {
        buf_done(&findings.json);
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    if (is_json) {
        sums_json(&sums, &findings, &out);
    } else {
        sums_show(&sums, &out);
    }
    buf_done(&findings.json);
    if (buf_check(&out, &err) != ERR_OK) {
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    int exit = command_print(buf_as_str(&out));
    return sums.damaged + sums.left_over > 0 ? EXIT_FAILED : exit;
}

int command_verify(int argc, char *const *argv)
{
    bool is_json = false;
    const char *cold_dir = NULL;
    const struct arg_option options[] = {
        OPTION_COLD_DIR(&cold_dir),
        {.name = "json", .sentence = "print JSON", .flag = &is_json},
    };
    const struct arg_command command = {
        .name = "trackway verify",
        .sentence = "read all of a stopped data folder or a backup, and check every checksum and "
                    "invariant",
        .usage = "FOLDER [--cold-dir DIR] [--json]",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "Changes nothing. A line for each thing found: damage, or what a crash left over and "
            "the next\nstart removes. Exit status 0 only where there is neither. Of segments that "
            "the "
            "server moved to\nits cold directory only --cold-dir can tell.\n\n"
            "  trackway backup build/backup-to-verify\n"
            "  trackway verify build/backup-to-verify\n"
            "  trackway verify --json build/backup-to-verify\n",
    };
    int exit = EXIT_FINE;
    struct arg_list *operands = operands_of(&command, argc, argv, 1, "one folder", &exit);
    if (operands != NULL) {
        exit = verify(operands->items[0], cold_dir, is_json);
        free(operands);
    }
    return exit;
}

/* ---- backup ---- */

/* The server may run in another folder than we do. */
static enum err_code absolute(const char *path, struct buf *out, struct err *err)
{
    if (path[0] != '/') {
        char here[4096];
        if (getcwd(here, sizeof(here)) == NULL) {
            return err_set_errno(err, errno, "the folder that \"%s\" would be in", path);
        }
        buf_printf(out, "%s/", here);
    }
    buf_z(out, path);
    return buf_check(out, err);
}

static enum err_code backup_show(struct str body, int *ret_exit, struct err *err)
{
    CLEANUP(json_tree_done) struct json_tree tree = {0};
    CLEANUP(buf_freep) struct buf out = {0};
    ERR_TRY(json_tree_parse(&tree, body, err));
    uint32_t list = json_tree_member(&tree, 0, "datasets");
    if (list == JSON_TREE_NONE || tree.nodes[list].kind != JSON_TREE_ARRAY) {
        return err_set(err, ERR_INVALID, "the answer has no data sets; is the server a trackwayd?");
    }
    for (uint32_t at = list + 1; at < tree.nodes[list].end; at = tree.nodes[at].end) {
        term_text(json_tree_text(&tree, at, "name"), false, &out);
        buf_printf(&out, ": %" PRIu64 " rows, %" PRIu64 " segments, epoch %" PRIu64 "\n",
                   json_tree_count(&tree, at, "rows", 0), json_tree_count(&tree, at, "segments", 0),
                   json_tree_count(&tree, at, "epoch", 0));
    }
    term_text(json_tree_text(&tree, 0, "path"), false, &out);
    buf_z(&out, ": ");
    draw_bytes(json_tree_count(&tree, 0, "linked_bytes", 0), &out);
    buf_z(&out, " linked, ");
    draw_bytes(json_tree_count(&tree, 0, "copied_bytes", 0), &out);
    buf_z(&out, " copied\n");
    ERR_TRY(buf_check(&out, err));
    *ret_exit = command_print(buf_as_str(&out));
    return ERR_OK;
}

static int backup(const char *server, const char *to)
{
    CLEANUP(api_freep) struct api *api = NULL;
    CLEANUP(buf_freep) struct buf path = {0};
    CLEANUP(buf_freep) struct buf call = {0};
    struct str body = {0};
    struct err err;
    int exit = EXIT_FINE;
    if (absolute(to, &path, &err) != ERR_OK) {
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    buf_z(&call, "/v1/admin/backup?to=");
    api_url_escape(buf_as_str(&path), &call);
    buf_u8(&call, '\0');
    if (buf_check(&call, &err) != ERR_OK || api_create(server, &api, &err) != ERR_OK ||
        api_call(api, "POST", (const char *)call.ptr, NULL, &body, &err) != ERR_OK ||
        backup_show(body, &exit, &err) != ERR_OK) {
        return command_fail(&err, api, EXIT_FAILED);
    }
    return exit;
}

int command_backup(int argc, char *const *argv)
{
    const char *server = command_server();
    const struct arg_option options[] = {OPTION_SERVER(&server)};
    const struct arg_command command = {
        .name = "trackway backup",
        .sentence = "have a running server write a backup of all its data sets",
        .usage = "[--server URL] FOLDER",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "FOLDER is a path on the server's machine, new or empty, outside of the data folder.\n"
            "Everything that was acknowledged before is in it; ingest and queries go on. On the "
            "data\n"
            "folder's own file system it takes next to no room: the segments are hard links.\n\n"
            "  trackway backup build/backup\n"
            "  trackway verify build/backup\n"
            "  trackway restore build/backup build/restored\n",
    };
    int exit = EXIT_FINE;
    struct arg_list *operands = operands_of(&command, argc, argv, 1, "one folder", &exit);
    if (operands != NULL) {
        exit = backup(server, operands->items[0]);
        free(operands);
    }
    return exit;
}

/* ---- restore ---- */

static void restored_show(const char *to, const struct backup_report *report, struct buf *out)
{
    for (uint32_t i = 0; i < report->dataset_count; i++) {
        buf_printf(out, "%s: %" PRIu64 " rows, epoch %" PRIu64 "\n", report->datasets[i].name,
                   report->datasets[i].rows, report->datasets[i].epoch);
    }
    term_text(str_of(to), false, out);
    buf_printf(out, ": restored, %" PRIu64 " files; start it with: trackwayd --data ",
               report->files);
    term_text(str_of(to), false, out);
    buf_u8(out, '\n');
}

static int restore(const char *from, const char *to, bool is_verifying)
{
    CLEANUP(io_freep) struct io *io = NULL;
    CLEANUP(buf_freep) struct buf out = {0};
    struct findings findings = {.is_json = false};
    struct backup_report report = {0};
    struct err err;
    umask(0027); /* as the server that will write there */
    if (io_create(IO_AUTO, &io, &err) != ERR_OK ||
        care_restore(from, to, is_verifying, io, finding_show, &findings, &report, &err) !=
            ERR_OK) {
        free(report.datasets);
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    restored_show(to, &report, &out);
    free(report.datasets);
    return command_print(buf_as_str(&out));
}

int command_restore(int argc, char *const *argv)
{
    bool is_trusting = false;
    const struct arg_option options[] = {
        {.name = "no-verify",
         .sentence = "do not read and check the backup first",
         .flag = &is_trusting},
    };
    const struct arg_command command = {
        .name = "trackway restore",
        .sentence = "make a data folder of a backup",
        .usage = "[--no-verify] BACKUP FOLDER",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "FOLDER is new or empty; no server is asked. The backup stays as it is, and can be "
            "restored again.\n\n"
            "  trackway backup build/backup-to-restore\n"
            "  trackway restore build/backup-to-restore build/restored-once\n"
            "  trackway restore --no-verify build/backup-to-restore build/restored-again\n",
    };
    int exit = EXIT_FINE;
    struct arg_list *operands =
        operands_of(&command, argc, argv, 2, "a backup and a new folder", &exit);
    if (operands != NULL) {
        exit = restore(operands->items[0], operands->items[1], !is_trusting);
        free(operands);
    }
    return exit;
}
/* ---- repair ---- */

static void line_show(void *arg, const char *line)
{
    (void)arg;
    CLEANUP(buf_freep) struct buf out = {0};
    term_text(str_of(line), false, &out);
    buf_u8(&out, '\n');
    command_print(buf_as_str(&out));
}

static int repair(const char *dir, const struct repair_opts *opts)
{
    CLEANUP(io_freep) struct io *io = NULL;
    CLEANUP(buf_freep) struct buf out = {0};
    struct repair_sums sums = {0};
    struct err err;
    umask(0027);
    if (io_create(IO_AUTO, &io, &err) != ERR_OK ||
        care_repair(dir, opts, io, line_show, NULL, &sums, &err) != ERR_OK) {
        return command_fail(&err, NULL, EXIT_FAILED);
    }
    if (sums.changes == 0) {
        buf_z(&out, "nothing to repair\n");
    } else {
        buf_printf(&out, "%" PRIu64 " %s, %s%" PRIu64 " rows taken from answers", sums.changes,
                   opts->is_dry_run ? "to be done" : "done",
                   sums.is_rows_lost_known ? "" : "at least ", sums.rows_lost);
        if (sums.report[0] != '\0') {
            buf_printf(&out, "; the report: %s/%s", dir, sums.report);
        }
        buf_u8(&out, '\n');
    }
    return command_print(buf_as_str(&out));
}

int command_repair(int argc, char *const *argv)
{
    struct repair_opts opts = {.cold_dir = NULL};
    const struct arg_option options[] = {
        OPTION_COLD_DIR(&opts.cold_dir),
        {.name = "cold-lost",
         .sentence = "the server's cold-dir is gone for good: take out what was in it",
         .flag = &opts.is_cold_lost},
        {.name = "dry-run",
         .sentence = "say what would be done; change nothing",
         .flag = &opts.is_dry_run},
    };
    const struct arg_command command = {
        .name = "trackway repair",
        .sentence = "make a damaged data folder one that opens, and say what it costs",
        .usage = "[--cold-dir DIR | --cold-lost] [--dry-run] FOLDER",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "No server may run in it. What is damaged is moved to FOLDER/DATASET/quarantine/, a "
            "lost "
            "catalog\nis made again from the segments and the log. With --cold-dir, segments that "
            "the server moved\nthere are looked after as well, and taken in where a lost catalog "
            "named them. A backup that is\nyounger than the damage is better.\n\n"
            "  trackway backup build/backup-to-repair\n"
            "  trackway repair --dry-run build/backup-to-repair\n"
            "  trackway repair build/backup-to-repair\n",
    };
    int exit = EXIT_FINE;
    struct arg_list *operands = operands_of(&command, argc, argv, 1, "one folder", &exit);
    if (operands != NULL) {
        exit = repair(operands->items[0], &opts);
        free(operands);
    }
    return exit;
}
