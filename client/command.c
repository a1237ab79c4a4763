/* client/command.c - see command.h. */
#include "client/command.h"

#include "client/term.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

const char *command_server(void)
{
    const char *server = getenv("TRACKWAY_SERVER");
    return server != NULL && server[0] != '\0' ? server : "http://127.0.0.1:7717";
}

/* EPIPE too: whoever piped us into head has what they wanted. */
static int write_all(int fd, struct str text)
{
    while (text.len > 0) {
        ssize_t done = write(fd, text.ptr, text.len);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return errno == EPIPE ? EXIT_FINE : EXIT_FAILED;
        }
        text = (struct str){text.ptr + done, text.len - (size_t)done};
    }
    return EXIT_FINE;
}

int command_print(struct str text)
{
    int exit = write_all(STDOUT_FILENO, text);
    if (exit != EXIT_FINE) {
        struct err err;
        err_set_errno(&err, errno, "writing to standard output");
        command_fail(&err, NULL, exit);
    }
    return exit;
}

int command_print_foreign(struct str text)
{
    if (!isatty(STDOUT_FILENO)) {
        return command_print(text);
    }
    CLEANUP(buf_freep) struct buf shown = {0};
    term_text(text, true, &shown);
    return command_print(buf_as_str(&shown));
}

int command_fail(const struct err *err, const struct api *api, int exit)
{
    CLEANUP(buf_freep) struct buf out = {0};
    bool has_colour = term_has_colour(STDERR_FILENO);
    buf_printf(&out, "%strackway:%s ", has_colour ? TERM_RED : "", has_colour ? TERM_RESET : "");
    term_text(str_of(err->message), false, &out);
    buf_u8(&out, '\n');
    struct str excerpt = api == NULL ? (struct str){0} : api_excerpt(api);
    if (excerpt.len > 0) {
        term_text(excerpt, true, &out);
        buf_u8(&out, '\n');
    }
    write_all(STDERR_FILENO, buf_as_str(&out));
    return exit;
}

bool command_parse(const struct arg_command *command, int argc, char *const *argv,
                   struct arg_list *operands, int *ret_exit)
{
    struct err err;
    if (args_want_help(argc, argv)) {
        CLEANUP(buf_freep) struct buf help = {0};
        args_help(command, &help);
        *ret_exit = command_print(buf_as_str(&help));
        return false;
    }
    if (args_parse(command, argc, argv, operands, &err) != ERR_OK) {
        *ret_exit = command_fail(&err, NULL, EXIT_USAGE);
        return false;
    }
    return true;
}
