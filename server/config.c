/* server/config.c - see config.h: a table, and what reads it. */
#include "server/config.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONFIG_FILE_BYTES_MAX (1u << 20)
#define KIB                   1024ull
#define MIB                   (1024ull * KIB)
#define GIB                   (1024ull * MIB)
#define SECOND_MS             1000ull
#define MINUTE_MS             (60ull * SECOND_MS)
#define CORES                 UINT64_MAX /* as a default: one per core */

enum option_kind { OPTION_TEXT, OPTION_COUNT, OPTION_BYTES, OPTION_TIME, OPTION_CHOICE };

struct option {
    const char *name;
    enum option_kind kind;
    size_t off;             /* of the field in struct config */
    const char *text;       /* OPTION_TEXT, OPTION_CHOICE: the default */
    bool is_optional;       /* OPTION_TEXT: may be empty, and is by default */
    const char *choices[5]; /* OPTION_CHOICE: names of the values 0, 1, .. */
    uint64_t value;         /* the rest: the default */
    uint64_t min, max;
    const char *sentence;
};

#define FIELD(name) offsetof(struct config, name)

static const struct option options[] = {
    {.name = "data",
     .kind = OPTION_TEXT,
     .off = FIELD(data),
     .text = "trackway-data",
     .sentence = "folder of the data; made when it does not exist"},
    {.name = "cold-dir",
     .kind = OPTION_TEXT,
     .off = FIELD(cold_dir),
     .text = "",
     .is_optional = true,
     .sentence = "folder on a slower disk for what data sets call cold; none where empty"},
    {.name = "listen",
     .kind = OPTION_TEXT,
     .off = FIELD(listen),
     .text = "127.0.0.1:7717",
     .sentence = "address and port to serve on; [::1]:7717 for IPv6; port 0 takes a free one"},
    {.name = "http-threads",
     .kind = OPTION_COUNT,
     .off = FIELD(http_threads),
     .value = 1,
     .min = 1,
     .max = 64,
     .sentence = "threads that own connections; one serves about 80,000 requests/s"},
    {.name = "query-threads",
     .kind = OPTION_COUNT,
     .off = FIELD(query_threads),
     .value = CORES,
     .min = 1,
     .max = 1024,
     .sentence = "tasks of queries that run at a time, of all queries together"},
    {.name = "queries-max",
     .kind = OPTION_COUNT,
     .off = FIELD(queries_max),
     .value = 64,
     .min = 1,
     .max = 1024,
     .sentence = "queries that share those threads at a time; further ones wait for their turn"},
    {.name = "ingest-threads",
     .kind = OPTION_COUNT,
     .off = FIELD(ingest_threads),
     .value = CORES,
     .min = 1,
     .max = 1024,
     .sentence = "threads that parse and write events"},
    {.name = "event-bytes-max",
     .kind = OPTION_BYTES,
     .off = FIELD(event_bytes_max),
     .value = MIB,
     .min = 1 * KIB,
     .max = 64 * MIB,
     .sentence = "largest event; a larger one is rejected in its receipt"},
    {.name = "body-bytes-max",
     .kind = OPTION_BYTES,
     .off = FIELD(body_bytes_max),
     .value = 64 * MIB,
     .min = 4 * KIB,
     .max = 1 * GIB,
     .sentence = "largest request body, also when inflated; a larger one is 413"},
    {.name = "bodies-bytes-max",
     .kind = OPTION_BYTES,
     .off = FIELD(bodies_bytes_max),
     .value = 1 * GIB,
     .min = 1 * MIB,
     .max = 1024 * GIB,
     .sentence = "bodies of all requests in work together; above it requests are 429"},
    {.name = "ingest-memory-max",
     .kind = OPTION_BYTES,
     .off = FIELD(ingest_memory_max),
     .value = 2 * GIB,
     .min = 1 * MIB,
     .max = 1024 * GIB,
     .sentence = "memory for the events of one body"},
    {.name = "query-memory-max",
     .kind = OPTION_BYTES,
     .off = FIELD(query_memory_max),
     .value = 1 * GIB,
     .min = 1 * MIB,
     .max = 1024 * GIB,
     .sentence = "memory of one query; a query that needs more is 422"},
    {.name = "queries-memory-max",
     .kind = OPTION_BYTES,
     .off = FIELD(queries_memory_max),
     .value = 4 * GIB,
     .min = 1 * MIB,
     .max = 1024 * GIB,
     .sentence = "memory of all queries together; a query that would pass it is 429"},
    {.name = "query-timeout-ms",
     .kind = OPTION_TIME,
     .off = FIELD(query_timeout_ms),
     .value = 60 * SECOND_MS,
     .min = 1,
     .max = 24 * 60 * MINUTE_MS,
     .sentence = "longest query, queueing included; then 504"},
    {.name = "exports-max",
     .kind = OPTION_COUNT,
     .off = FIELD(exports_max),
     .value = 16,
     .min = 1,
     .max = 10000,
     .sentence = "exports in work at a time; further ones are 429"},
    {.name = "export-timeout-ms",
     .kind = OPTION_TIME,
     .off = FIELD(export_timeout_ms),
     .value = 30 * MINUTE_MS,
     .min = 1,
     .max = 24 * 60 * MINUTE_MS,
     .sentence = "time that an export may take to be sent; then it is cut off"},
    {.name = "ingest-timeout-ms",
     .kind = OPTION_TIME,
     .off = FIELD(ingest_timeout_ms),
     .value = 60 * SECOND_MS,
     .min = 1,
     .max = 24 * 60 * MINUTE_MS,
     .sentence = "longest wait of a body before it is parsed; then 408"},
    {.name = "request-timeout-ms",
     .kind = OPTION_TIME,
     .off = FIELD(request_timeout_ms),
     .value = 60 * SECOND_MS,
     .min = 100,
     .max = 60 * MINUTE_MS,
     .sentence =
         "time for a request to arrive, for an idle connection, and for a client to read on"},
    {.name = "drain-timeout-ms",
     .kind = OPTION_TIME,
     .off = FIELD(drain_timeout_ms),
     .value = 10 * SECOND_MS,
     .min = 0,
     .max = 60 * MINUTE_MS,
     .sentence = "time that requests in work have to finish after SIGTERM"},
    {.name = "queue-max",
     .kind = OPTION_COUNT,
     .off = FIELD(queue_max),
     .value = 256,
     .min = 1,
     .max = 100000,
     .sentence = "requests that may wait for a thread, per pool; above it they are 429"},
    {.name = "connections-max",
     .kind = OPTION_COUNT,
     .off = FIELD(connections_max),
     .value = 4096,
     .min = 1,
     .max = 1000000,
     .sentence = "open connections; further ones wait in the kernel"},
    {.name = "flush-rows",
     .kind = OPTION_COUNT,
     .off = FIELD(flush_rows),
     .value = 1048576,
     .min = 1,
     .max = 16777216,
     .sentence = "rows in memory at which a data set is written to segments"},
    {.name = "flush-bytes",
     .kind = OPTION_BYTES,
     .off = FIELD(flush_bytes),
     .value = 512 * MIB,
     .min = 64 * KIB,
     .max = 64 * GIB,
     .sentence = "bytes in memory at which a data set is written to segments"},
    {.name = "flush-age-ms",
     .kind = OPTION_TIME,
     .off = FIELD(flush_age_ms),
     .value = 10 * MINUTE_MS,
     .min = 100,
     .max = 24 * 60 * MINUTE_MS,
     .sentence = "age at which rows in memory are written to segments"},
    {.name = "memtable-bytes-max",
     .kind = OPTION_BYTES,
     .off = FIELD(memtable_bytes_max),
     .value = 2 * GIB,
     .min = 1 * MIB,
     .max = 1024 * GIB,
     .sentence = "rows in memory of all data sets together; above it events are 429"},
    {.name = "dataset-queue-bytes-max",
     .kind = OPTION_BYTES,
     .off = FIELD(dataset_queue_bytes_max),
     .value = 256 * MIB,
     .min = 64 * KIB,
     .max = 64 * GIB,
     .sentence = "events that wait for the writer of one data set; above it they are 429"},
    {.name = "identity-memory-max",
     .kind = OPTION_BYTES,
     .off = FIELD(identity_memory_max),
     .value = 2 * GIB,
     .min = 1 * MIB,
     .max = 1024 * GIB,
     .sentence = "events of ids that were bound to users, in memory, per data set; above it its queries are refused"},
    {.name = "backlog-max",
     .kind = OPTION_COUNT,
     .off = FIELD(backlog_max),
     .value = 512,
     .min = 64, /* at rest 3 of each size class wait for a fourth: fewer would never be reached */
     .max = 1000000,
     .sentence =
         "segments of a shard that wait to be merged; above it its data set's events are 429"},
    {.name = "block-cache-bytes",
     .kind = OPTION_BYTES,
     .off = FIELD(block_cache_bytes),
     .value = 1 * GIB,
     .min = 1 * MIB,
     .max = 1024 * GIB,
     .sentence = "decoded blocks of segments kept in memory"},
    {.name = "answer-cache-bytes",
     .kind = OPTION_BYTES,
     .off = FIELD(answer_cache_bytes),
     .value = 64 * MIB,
     .min = 0,
     .max = 64 * GIB,
     .sentence =
         "answers, and what single segments and subjects contribute to them, kept in memory; 0 keeps none"},
    {.name = "io",
     .kind = OPTION_CHOICE,
     .off = FIELD(io),
     .text = "auto",
     .choices = {"auto", "uring", "pread"},
     .sentence = "file access: io_uring, pread, or io_uring where a ring can be had"},
    {.name = "log-level",
     .kind = OPTION_CHOICE,
     .off = FIELD(log_level),
     .text = "info",
     .choices = {"debug", "info", "warn", "error"},
     .sentence = "least level of the lines on stderr"},
};

/* The unit names a value may carry, largest first: the printer takes the first that divides. */
struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit byte_units[] = {{"GiB", GIB}, {"MiB", MIB}, {"KiB", KIB}, {"B", 1}};
static const struct unit time_units[] = {
    {"h", 60 * MINUTE_MS}, {"min", MINUTE_MS}, {"s", SECOND_MS}, {"ms", 1}};

static const struct unit *option_units(const struct option *option, size_t *ret_count)
{
    if (option->kind == OPTION_BYTES) {
        *ret_count = COUNT_OF(byte_units);
        return byte_units;
    }
    *ret_count = option->kind == OPTION_TIME ? COUNT_OF(time_units) : 0;
    return time_units;
}

static uint64_t option_default(const struct option *option)
{
    if (option->value != CORES) {
        return option->value;
    }
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : MIN_OF((uint64_t)cores, option->max);
}

static void *option_field(struct config *config, const struct option *option)
{
    return (char *)config + option->off;
}

static bool str_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct str str_trim(struct str s)
{
    while (s.len > 0 && str_is_space(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && str_is_space(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

/* Levenshtein distance of two short names. */
static size_t name_distance(struct str a, struct str b)
{
    size_t row[64];
    if (b.len >= COUNT_OF(row)) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t substituted = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);
            diagonal = row[j];
            row[j] = MIN_OF(substituted, MIN_OF(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.len];
}

static const struct option *option_find(struct str name, struct err *err)
{
    const struct option *nearest = NULL;
    size_t nearest_distance = SIZE_MAX;
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        struct str known = str_of(options[i].name);
        if (str_eq(name, known)) {
            return &options[i];
        }
        size_t distance = name_distance(name, known);
        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = &options[i];
        }
    }
    if (nearest != NULL && nearest_distance <= 3 && nearest_distance < name.len) {
        err_set(err, ERR_INVALID, "unknown option \"" STR_FMT "\"; did you mean \"%s\"?",
                STR_ARG(name), nearest->name);
    } else {
        err_set(err, ERR_INVALID, "unknown option \"" STR_FMT "\"; --help lists them all",
                STR_ARG(name));
    }
    return NULL;
}

/* Digits, then perhaps spaces and a unit. */
static bool quantity_parse(struct str text, const struct unit *units, size_t unit_count,
                           uint64_t *ret)
{
    uint64_t n = 0;
    size_t at = 0;
    for (; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9'; at++) {
        uint64_t digit = (uint64_t)(text.ptr[at] - '0');
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n)) {
            return false;
        }
    }
    if (at == 0) {
        return false;
    }
    struct str unit = str_trim((struct str){text.ptr + at, text.len - at});
    if (unit.len == 0) {
        *ret = n;
        return true;
    }
    for (size_t i = 0; i < unit_count; i++) {
        if (str_eq(unit, str_of(units[i].name))) {
            return !__builtin_mul_overflow(n, units[i].factor, ret);
        }
    }
    return false;
}

static void quantity_print(uint64_t value, const struct option *option, struct buf *out)
{
    size_t unit_count = 0;
    const struct unit *units = option_units(option, &unit_count);
    for (size_t i = 0; i < unit_count; i++) {
        if (value != 0 && value % units[i].factor == 0) {
            buf_printf(out, "%" PRIu64 " %s", value / units[i].factor, units[i].name);
            return;
        }
    }
    buf_printf(out, "%" PRIu64, value);
}

static enum err_code option_set_quantity(const struct option *option, struct config *config,
                                         struct str text, struct err *err)
{
    size_t unit_count = 0;
    const struct unit *units = option_units(option, &unit_count);
    uint64_t value = 0;
    if (!quantity_parse(text, units, unit_count, &value)) {
        const char *expected = option->kind == OPTION_BYTES  ? "bytes, as in 64 MiB"
                               : option->kind == OPTION_TIME ? "a time, as in 500 ms or 10 s"
                                                             : "a whole number";
        return err_set(err, ERR_INVALID, "option \"%s\": \"" STR_FMT "\" is not %s", option->name,
                       STR_ARG(text), expected);
    }
    if (value < option->min || value > option->max) {
        CLEANUP(buf_freep) struct buf bounds = {0};
        quantity_print(option->min, option, &bounds);
        buf_z(&bounds, " to ");
        quantity_print(option->max, option, &bounds);
        return err_set(err, ERR_INVALID,
                       "option \"%s\": " STR_FMT " is out of bounds, allowed are " STR_FMT,
                       option->name, STR_ARG(text), STR_ARG(buf_as_str(&bounds)));
    }
    memcpy(option_field(config, option), &value, sizeof(value));
    return ERR_OK;
}

static enum err_code option_set_choice(const struct option *option, struct config *config,
                                       struct str text, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    for (unsigned i = 0; i < COUNT_OF(option->choices) && option->choices[i] != NULL; i++) {
        if (str_eq(text, str_of(option->choices[i]))) {
            memcpy(option_field(config, option), &i, sizeof(i));
            return ERR_OK;
        }
        buf_printf(&names, "%s%s", i == 0 ? "" : ", ", option->choices[i]);
    }
    return err_set(err, ERR_INVALID, "option \"%s\": \"" STR_FMT "\" is none of " STR_FMT,
                   option->name, STR_ARG(text), STR_ARG(buf_as_str(&names)));
}

_Static_assert(sizeof(enum io_kind) == sizeof(unsigned), "choices are stored as unsigned");
_Static_assert(sizeof(enum log_level) == sizeof(unsigned), "choices are stored as unsigned");
_Static_assert(IO_AUTO == 0 && IO_URING == 1 && IO_POSIX == 2, "the choices of \"io\" name these");

static enum err_code option_set(const struct option *option, struct config *config, struct str text,
                                struct err *err)
{
    switch (option->kind) {
    case OPTION_TEXT:
        if ((text.len == 0 && !option->is_optional) || text.len >= CONFIG_TEXT_BYTES_MAX ||
            memchr(text.ptr, '\0', text.len) != NULL) {
            return err_set(err, ERR_INVALID, "option \"%s\": %zu bytes, allowed are 1 to %u",
                           option->name, text.len, CONFIG_TEXT_BYTES_MAX - 1);
        }
        char *field = option_field(config, option);
        memcpy(field, text.ptr, text.len);
        field[text.len] = '\0';
        return ERR_OK;
    case OPTION_CHOICE: return option_set_choice(option, config, text, err);
    case OPTION_COUNT:
    case OPTION_BYTES:
    case OPTION_TIME: break;
    }
    return option_set_quantity(option, config, text, err);
}

enum err_code config_set(struct config *config, struct str name, struct str value, struct err *err)
{
    const struct option *option = option_find(name, err);
    return option == NULL ? ERR_INVALID : option_set(option, config, value, err);
}

void config_default(struct config *config)
{
    *config = (struct config){0};
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        struct err err;
        enum err_code code = ERR_OK;
        if (options[i].text != NULL) {
            code = option_set(&options[i], config, str_of(options[i].text), &err);
        } else {
            uint64_t value = option_default(&options[i]);
            ASSERT(value >= options[i].min);
            ASSERT(value <= options[i].max);
            memcpy(option_field(config, &options[i]), &value, sizeof(value));
        }
        ASSERT(code == ERR_OK);
    }
}

enum err_code config_parse_file(struct str text, const char *path, struct config *config,
                                struct err *err)
{
    uint32_t line_number = 0;
    while (text.len > 0) {
        const char *newline = memchr(text.ptr, '\n', text.len);
        size_t line_len = newline == NULL ? text.len : (size_t)(newline - text.ptr);
        struct str line = {text.ptr, line_len};
        size_t step = line_len + (newline != NULL);
        text = (struct str){text.ptr + step, text.len - step};
        line_number++;

        const char *comment = memchr(line.ptr, '#', line.len);
        if (comment != NULL) {
            line.len = (size_t)(comment - line.ptr);
        }
        line = str_trim(line);
        if (line.len == 0) {
            continue;
        }
        const char *equals = memchr(line.ptr, '=', line.len);
        if (equals == NULL) {
            return err_set(err, ERR_INVALID, "\"%s\" line %u: no \"=\" in \"" STR_FMT "\"", path,
                           line_number, STR_ARG(line));
        }
        struct str name = str_trim((struct str){line.ptr, (size_t)(equals - line.ptr)});
        struct str value =
            str_trim((struct str){equals + 1, line.len - (size_t)(equals + 1 - line.ptr)});
        if (config_set(config, name, value, err) != ERR_OK) {
            return err_context(err, "\"%s\" line %u", path, line_number);
        }
    }
    return ERR_OK;
}

static enum err_code config_read_file(const char *path, struct config *config, struct err *err)
{
    CLEANUP(io_freep) struct io *io = NULL;
    CLEANUP(buf_freep) struct buf text = {0};
    ERR_TRY(io_create(IO_POSIX, &io, err));
    if (io_read_file(io, path, CONFIG_FILE_BYTES_MAX, &text, err) != ERR_OK) {
        return err_context(err, "configuration");
    }
    return config_parse_file(buf_as_str(&text), path, config, err);
}

/* Split argv[*at] into name and value; the value may be the next argument. */
static enum err_code argument_next(int argc, char *const *argv, int *at, struct str *ret_name,
                                   struct str *ret_value, struct err *err)
{
    const char *arg = argv[(*at)++];
    if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0') {
        return err_set(err, ERR_INVALID, "\"%s\" is not an option; options are --NAME VALUE", arg);
    }
    struct str name = str_of(arg + 2);
    const char *equals = memchr(name.ptr, '=', name.len);
    if (equals != NULL) {
        *ret_value = str_of(equals + 1);
        *ret_name = (struct str){name.ptr, (size_t)(equals - name.ptr)};
        return ERR_OK;
    }
    if (!str_eq(name, STR("config"))) {
        if (option_find(name, err) == NULL) { /* a typo is the better message of the two */
            return err->code;
        }
    }
    if (*at == argc) {
        return err_set(err, ERR_INVALID, "option \"" STR_FMT "\" needs a value", STR_ARG(name));
    }
    *ret_name = name;
    *ret_value = str_of(argv[(*at)++]);
    return ERR_OK;
}

/* The options that stand alone; false where `arg` is none of them. */
static bool argument_action(const char *arg, enum config_action *ret)
{
    static const struct {
        const char *arg;
        enum config_action action;
    } actions[] = {{"--help", CONFIG_HELP},
                   {"-h", CONFIG_HELP},
                   {"--version", CONFIG_VERSION},
                   {"--check-config", CONFIG_CHECK},
                   {"--sample-config", CONFIG_SAMPLE}};
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        if (strcmp(arg, actions[i].arg) == 0) {
            *ret = actions[i].action;
            return true;
        }
    }
    return false;
}

enum err_code config_load(int argc, char *const *argv, struct config *config,
                          enum config_action *ret_action, struct err *err)
{
    enum config_action action = CONFIG_SERVE;
    struct config loaded;
    config_default(&loaded);
    /* The file first, so that the command line is laid over it. */
    for (int pass = 0; pass < 2; pass++) {
        for (int at = 1; at < argc;) {
            struct str name = {0};
            struct str value = {0};
            if (argument_action(argv[at], &action)) {
                at++;
                continue;
            }
            ERR_TRY(argument_next(argc, argv, &at, &name, &value, err));
            bool is_file = str_eq(name, STR("config"));
            if (is_file && pass == 0) {
                ERR_TRY(config_read_file(value.ptr, &loaded, err));
            } else if (!is_file && pass == 1) {
                ERR_TRY(config_set(&loaded, name, value, err));
            }
        }
    }
    *config = loaded;
    *ret_action = action;
    return ERR_OK;
}

static void option_default_print(const struct option *option, struct buf *out)
{
    if (option->is_optional) {
        buf_z(out, "none");
    } else if (option->text != NULL) {
        buf_z(out, option->text);
    } else if (option->value == CORES) {
        buf_z(out, "one per core");
    } else {
        quantity_print(option->value, option, out);
    }
}

void config_help(struct buf *out)
{
    buf_z(out, "trackwayd - the Trackway event-analytics server\n\n"
               "usage: trackwayd [--config FILE] [--NAME VALUE]...\n\n");
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        static const char *const placeholders[] = {[OPTION_TEXT] = "TEXT",
                                                   [OPTION_COUNT] = "N",
                                                   [OPTION_BYTES] = "BYTES",
                                                   [OPTION_TIME] = "TIME",
                                                   [OPTION_CHOICE] = "WORD"};
        const struct option *option = &options[i];
        buf_printf(out, "  --%s %s\n      %s", option->name, placeholders[option->kind],
                   option->sentence);
        if (option->kind == OPTION_CHOICE) {
            for (size_t c = 0; c < COUNT_OF(option->choices) && option->choices[c] != NULL; c++) {
                buf_printf(out, "%s%s", c == 0 ? " (" : " | ", option->choices[c]);
            }
            buf_z(out, ")");
        }
        buf_z(out, " [");
        option_default_print(option, out);
        buf_z(out, "]\n");
    }
    buf_z(out,
          "  --config FILE\n      options as \"name = value\" lines; the command line wins\n"
          "  --check-config\n      check the options, print those in effect, and stop\n"
          "  --sample-config\n      print a configuration file with all defaults, and stop\n"
          "  --help, --version\n\n"
          "Bytes take KiB, MiB, GiB; times take ms, s, min, h. SIGTERM stops in good order.\n\n"
          "  trackwayd --data /tmp/trackway-demo &\n"
          "  curl 'http://127.0.0.1:7717/v1/events?dataset=demo' -H 'content-type: "
          "application/x-ndjson' -d '{\"event_name\":\"signup\",\"user_id\":\"ann\"}'\n"
          "  curl 'http://127.0.0.1:7717/v1/query?dataset=demo' -H 'content-type: text/plain' "
          "-d 'trend count(signup), users(signup)'\n");
}

void config_sample(struct buf *out)
{
    buf_z(out, "# trackwayd --config server.conf\n"
               "# Every option with its default; trackwayd --sample-config prints this file.\n");
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        buf_printf(out, "\n# %s", options[i].sentence);
        if (options[i].text == NULL && options[i].value != CORES) {
            buf_z(out, " (");
            quantity_print(options[i].min, &options[i], out);
            buf_z(out, " to ");
            quantity_print(options[i].max, &options[i], out);
            buf_z(out, ")");
        }
        bool is_said = options[i].value != CORES && !options[i].is_optional;
        buf_printf(out, "\n%s%s =", is_said ? "" : "# ", options[i].name);
        if (!options[i].is_optional) {
            buf_z(out, " ");
            option_default_print(&options[i], out);
        }
        buf_z(out, "\n");
    }
}

void config_print(const struct config *config, struct buf *out)
{
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        const struct option *option = &options[i];
        const void *field = (const char *)config + option->off;
        buf_printf(out, "%s = ", option->name);
        if (option->kind == OPTION_TEXT) {
            buf_z(out, field);
        } else if (option->kind == OPTION_CHOICE) {
            unsigned choice = 0;
            memcpy(&choice, field, sizeof(choice));
            buf_z(out, option->choices[choice]);
        } else {
            uint64_t value = 0;
            memcpy(&value, field, sizeof(value));
            quantity_print(value, option, out);
        }
        buf_z(out, "\n");
    }
}
