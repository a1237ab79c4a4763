/* query/bind_field.c - names of properties and events.
 *
 * A name that was never seen is no error: a dashboard may exist before its first event. It is
 * absent on every row, and the answer says so, with the nearest name that exists. */
#include "query/bind_int.h"

/* ---- warnings ---- */

enum err_code bind_warn(struct binder *b, struct str text)
{
    if (b->warning_count == BIND_WARNINGS_MAX) {
        return ERR_OK;
    }
    for (uint32_t i = 0; i < b->warning_count; i++) {
        if (str_eq(b->warnings[i], text)) {
            return ERR_OK; /* a query inside of the query has said it */
        }
    }
    ERR_TRY(GROW(b->arena, &b->warnings, b->warning_count, &b->warning_cap, b->err));
    b->warnings[b->warning_count++] = text;
    return ERR_OK;
}

static enum err_code warn_unknown(struct binder *b, const char *what, struct ast_name name,
                                  struct names known)
{
    struct str text = {0};
    struct str near = {0};
    if (names_nearest(known.items, known.count, name.text, &near)) {
        ERR_TRY(arena_printf(b->arena, &text, b->err,
                             "line %u, column %u: no %s \"" STR_FMT
                             "\" has been seen; did you mean \"" STR_FMT "\"?",
                             name.place.line, name.place.column, what, STR_ARG(name.text),
                             STR_ARG(near)));
    } else {
        ERR_TRY(arena_printf(b->arena, &text, b->err,
                             "line %u, column %u: no %s \"" STR_FMT "\" has been seen",
                             name.place.line, name.place.column, what, STR_ARG(name.text)));
    }
    return bind_warn(b, text);
}

enum err_code bind_event(struct binder *b, struct ast_name name)
{
    if (b->snapshot->row_count == 0) {
        return ERR_OK; /* nothing has been seen: that is no news about this name */
    }
    if (!b->has_events) {
        ERR_TRY(names_of_events(b->snapshot, b->io, b->arena, &b->events, b->err));
        b->has_events = true;
    }
    return names_has(b->events, name.text) ? ERR_OK : warn_unknown(b, "event", name, b->events);
}

/* Words that people try before they find the language's own. */
static const char *field_hint(struct str name)
{
    static const char *const hints[][2] = {
        {"user", "users(any) counts people, user_id is their id"},
        {"users", "users(any) counts people, user_id is their id"},
        {"time", "the time of an event is event_time"},
        {"event", "the name of an event is event_name"},
        {"name", "the name of an event is event_name"},
    };
    for (size_t i = 0; i < COUNT_OF(hints); i++) {
        if (str_eq(name, str_of(hints[i][0]))) {
            return hints[i][1];
        }
    }
    return NULL;
}

enum err_code bind_warn_field(struct binder *b, struct ast_name name)
{
    const char *hint = field_hint(name.text);
    if (b->snapshot->row_count == 0) {
        return ERR_OK;
    }
    if (hint != NULL) {
        struct str text = {0};
        ERR_TRY(arena_printf(b->arena, &text, b->err,
                             "line %u, column %u: no property \"" STR_FMT "\" has been seen; %s",
                             name.place.line, name.place.column, STR_ARG(name.text), hint));
        return bind_warn(b, text);
    }
    if (!b->has_fields) {
        ERR_TRY(names_of_fields(b->snapshot, b->arena, &b->fields, b->err));
        b->has_fields = true;
    }
    return warn_unknown(b, "property", name, b->fields);
}

/* ---- fields ---- */

static bool builtin_find(struct str name, struct field *ret)
{
    static const struct {
        const char *name;
        enum field_kind kind;
        enum col_type type;
        uint32_t col;
    } builtins[] = {
        {"event_id", FIELD_EVENT_ID, COL_STRING, COL_EVENT_ID},
        {"event_name", FIELD_EVENT_NAME, COL_STRING, COL_EVENT_NAME},
        {"event_time", FIELD_EVENT_TIME, COL_TIME, COL_EVENT_TIME},
        {"user_id", FIELD_USER_ID, COL_STRING, COL_USER_ID},
        {"anonymous_id", FIELD_ANONYMOUS_ID, COL_STRING, COL_ANONYMOUS_ID},
        {"received_at", FIELD_RECEIVED_AT, COL_TIME, COL_ARRIVAL},
    };
    for (size_t i = 0; i < COUNT_OF(builtins); i++) {
        if (str_eq(name, str_of(builtins[i].name))) {
            *ret = (struct field){builtins[i].kind, name, builtins[i].type, builtins[i].col};
            return true;
        }
    }
    return false;
}

enum err_code bind_fields(struct binder *b, struct ast_name name, struct bind_fields *ret)
{
    static const enum col_type types[BIND_TYPES] = {COL_STRING, COL_NUMBER, COL_BOOL, COL_TIME,
                                                    COL_LIST};
    if (name.profile != AST_NO_PROFILE) {
        return bind_traits(b, name, ret);
    }
    ret->count = 0;
    if (builtin_find(name.text, &ret->items[0])) {
        ret->count = 1;
        return ERR_OK;
    }
    for (uint32_t i = 0; i < BIND_TYPES; i++) {
        uint32_t prop = schema_find(b->snapshot->schema, name.text, types[i]);
        if (prop != UINT32_MAX) {
            ret->items[ret->count++] =
                (struct field){FIELD_PROP, name.text, types[i], COL_FIRST_PROP + prop};
        }
    }
    return ret->count == 0 ? bind_warn_field(b, name) : ERR_OK;
}

struct field bind_unknown(struct str name, enum col_type type)
{
    return (struct field){FIELD_UNKNOWN, name, type, UINT32_MAX};
}

enum err_code bind_types_text(struct binder *b, const struct bind_fields *fields, struct str *ret)
{
    struct str text = {0};
    for (uint32_t i = 0; i < fields->count; i++) {
        const char *between = i == 0 ? "" : i + 1 == fields->count ? " and " : ", ";
        ERR_TRY(arena_printf(b->arena, &text, b->err, STR_FMT "%s%s", STR_ARG(text), between,
                             col_type_name(fields->items[i].type)));
    }
    *ret = text;
    return ERR_OK;
}

enum err_code bind_one_field(struct binder *b, struct ast_name name, const char *what,
                             struct field *ret)
{
    struct bind_fields fields;
    ERR_TRY(bind_fields(b, name, &fields));
    if (fields.count > 1) {
        struct str types = {0};
        ERR_TRY(bind_types_text(b, &fields, &types));
        return bind_fail(b, name.place,
                         "property \"" STR_FMT "\" is seen as " STR_FMT "; %s needs one type",
                         STR_ARG(name.text), STR_ARG(types), what);
    }
    *ret = fields.count == 1 ? fields.items[0] : bind_unknown(name.text, COL_STRING);
    return ERR_OK;
}

/* A number was asked for, and the property has values of other types as well. */
static enum err_code warn_left_out(struct binder *b, struct ast_name name, const char *what,
                                   const struct bind_fields *fields)
{
    struct str types = {0};
    struct str text = {0};
    ERR_TRY(bind_types_text(b, fields, &types));
    ERR_TRY(arena_printf(b->arena, &text, b->err,
                         "line %u, column %u: property \"" STR_FMT "\" is seen as " STR_FMT
                         "; %s takes its numbers alone",
                         name.place.line, name.place.column, STR_ARG(name.text), STR_ARG(types),
                         what));
    return bind_warn(b, text);
}

enum err_code bind_number_field(struct binder *b, struct ast_name name, const char *what,
                                struct field *ret)
{
    struct bind_fields fields;
    ERR_TRY(bind_fields(b, name, &fields));
    for (uint32_t i = 0; i < fields.count; i++) {
        if (fields.items[i].type == COL_NUMBER) {
            *ret = fields.items[i];
            return fields.count == 1 ? ERR_OK : warn_left_out(b, name, what, &fields);
        }
    }
    if (fields.count > 0) {
        struct str types = {0};
        ERR_TRY(bind_types_text(b, &fields, &types));
        return bind_fail(b, name.place,
                         "%s needs a number, and property \"" STR_FMT "\" is a " STR_FMT, what,
                         STR_ARG(name.text), STR_ARG(types));
    }
    *ret = bind_unknown(name.text, COL_NUMBER);
    return ERR_OK;
}
