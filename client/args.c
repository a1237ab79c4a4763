/* client/args.c - see args.h. */
#include "client/args.h"

#include "storage/base/buf.h"
#include "storage/base/size.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_BYTES_MAX 64u
#define NEAR_EDITS_MAX 2u

/* Levenshtein's distance, one row at a time. */
static size_t edit_distance(struct str a, struct str b)
{
    size_t row[NAME_BYTES_MAX + 1];
    if (a.len > NAME_BYTES_MAX || b.len > NAME_BYTES_MAX) {
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

const char *args_nearest(struct str text, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    size_t nearest_edits = NEAR_EDITS_MAX + 1;
    for (size_t i = 0; i < count; i++) {
        size_t edits = edit_distance(text, str_of(names[i]));
        if (edits < nearest_edits && edits < text.len) {
            nearest_edits = edits;
            nearest = names[i];
        }
    }
    return nearest;
}

static const struct arg_option *option_find(const struct arg_command *command, struct str name,
                                            struct err *err)
{
    const char *names[64];
    ASSERT(command->option_count <= COUNT_OF(names));
    for (uint32_t i = 0; i < command->option_count; i++) {
        names[i] = command->options[i].name;
        if (str_eq(name, str_of(names[i]))) {
            return &command->options[i];
        }
    }
    const char *nearest = args_nearest(name, names, command->option_count);
    if (nearest != NULL) {
        err_set(err, ERR_INVALID, "unknown option \"--" STR_FMT "\"; did you mean \"--%s\"?",
                STR_ARG(name), nearest);
    } else {
        err_set(err, ERR_INVALID, "unknown option \"--" STR_FMT "\"; see %s --help", STR_ARG(name),
                command->name);
    }
    return NULL;
}

static enum err_code option_number(const struct arg_option *option, const char *value,
                                   struct err *err)
{
    char *end = NULL;
    errno = 0;
    double real = option->real != NULL ? strtod(value, &end) : 0;
    uint64_t count = option->count != NULL ? strtoull(value, &end, 10) : 0;
    bool is_digits = option->real != NULL || (value[0] >= '0' && value[0] <= '9');
    if (errno != 0 || end == value || *end != '\0' || !is_digits || isnan(real)) {
        return err_set(err, ERR_INVALID, "option \"--%s\": \"%.100s\" is not a %snumber",
                       option->name, value, option->real != NULL ? "" : "whole ");
    }
    double number = option->real != NULL ? real : (double)count;
    if (number < option->min || number > option->max) {
        return err_set(err, ERR_INVALID, "option \"--%s\": %.100s is not in %.15g .. %.15g",
                       option->name, value, option->min, option->max);
    }
    if (option->real != NULL) {
        *option->real = real;
    } else {
        *option->count = count;
    }
    return ERR_OK;
}

static enum err_code list_add(struct arg_list *list, const char *item, struct err *err)
{
    if (list->count == ARGS_LIST_MAX) {
        return err_set(err, ERR_LIMIT, "more than %u arguments", ARGS_LIST_MAX);
    }
    list->items[list->count++] = item;
    return ERR_OK;
}

static enum err_code option_take(const struct arg_option *option, const char *value,
                                 struct err *err)
{
    if (option->text != NULL) {
        *option->text = value;
        return ERR_OK;
    }
    if (option->list != NULL) {
        return list_add(option->list, value, err);
    }
    return option_number(option, value, err);
}

enum err_code args_parse(const struct arg_command *command, int argc, char *const *argv,
                         struct arg_list *operands, struct err *err)
{
    bool is_over = false; /* "--" came */
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (is_over || arg[0] != '-' || arg[1] == '\0') {
            ERR_TRY(list_add(operands, arg, err));
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            is_over = true;
            continue;
        }
        if (arg[1] != '-') {
            return err_set(err, ERR_INVALID, "unknown option \"%.100s\"; see %s --help", arg,
                           command->name);
        }
        const char *equals = strchr(arg, '=');
        struct str name = {arg + 2, equals != NULL ? (size_t)(equals - arg - 2) : strlen(arg + 2)};
        const struct arg_option *option = option_find(command, name, err);
        if (option == NULL) {
            return ERR_INVALID;
        }
        if (option->flag != NULL) {
            if (equals != NULL) {
                return err_set(err, ERR_INVALID, "option \"--%s\" takes no value", option->name);
            }
            *option->flag = true;
        } else if (equals != NULL) {
            ERR_TRY(option_take(option, equals + 1, err));
        } else if (i + 1 < argc) {
            ERR_TRY(option_take(option, argv[++i], err));
        } else {
            return err_set(err, ERR_INVALID, "option \"--%s\" needs a value (%s)", option->name,
                           option->value_name);
        }
    }
    return ERR_OK;
}

bool args_want_help(int argc, char *const *argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

void args_help(const struct arg_command *command, struct buf *out)
{
    buf_printf(out, "%s - %s\n\nusage: %s %s\n", command->name, command->sentence, command->name,
               command->usage);
    if (command->option_count > 0) {
        buf_z(out, "\n");
    }
    for (uint32_t i = 0; i < command->option_count; i++) {
        const struct arg_option *option = &command->options[i];
        char left[64];
        snprintf(left, sizeof(left), "--%s %s", option->name,
                 option->value_name == NULL ? "" : option->value_name);
        buf_printf(out, "  %-22s %s\n", left, option->sentence);
    }
    buf_printf(out, "\n%s", command->examples);
}
