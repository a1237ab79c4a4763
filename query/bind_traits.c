/* query/bind_traits.c - properties of profiles: which columns of identify events hold them.
 *
 * `profile.plan` is `plan` of one kind of identify event and `traits.plan` of the other (traits.h), each in as many columns as
 * it has types. All are read into one property; as a field it has one made-up column for each type. */
#include "query/bind_int.h"
#include "query/traits.h"

static struct str key_of(struct ast_name name)
{
    size_t prefix = AST_PROFILE_PREFIX.len;
    ASSERT(name.text.len > prefix);
    return (struct str){name.text.ptr + prefix, name.text.len - prefix};
}

/* The column among those that identify events are read for, added when new. */
static enum err_code trait_key(struct binder *b, struct ast_name name, struct field field,
                               uint32_t *ret)
{
    for (uint32_t i = 0; i < b->trait_key_count; i++) {
        if (b->trait_keys[i].field.col == field.col) {
            *ret = i;
            return ERR_OK;
        }
    }
    if (b->trait_key_count == QUERY_KEYS_MAX) {
        return bind_limit(b, name.place, "a query looks at more than %u columns of profiles",
                          QUERY_KEYS_MAX);
    }
    ERR_TRY(GROW(b->arena, &b->trait_keys, b->trait_key_count, &b->trait_key_cap, b->err));
    *ret = b->trait_key_count++;
    b->trait_keys[*ret] = (struct by_key){.name = field.name, .field = field};
    return ERR_OK;
}

/* Put in the columns of one kind of call; a bit in *types for the type of each. */
static enum err_code trait_columns(struct binder *b, struct ast_name name, uint32_t call,
                                   struct trait *trait, uint32_t *types)
{
    CLEANUP(buf_freep) struct buf text = {0};
    struct str prop = {0};
    buf_str(&text, trait_calls[call].prefix);
    buf_str(&text, trait->key);
    ERR_TRY(buf_check(&text, b->err));
    ERR_TRY(arena_str(b->arena, buf_as_str(&text), &prop, b->err));
    for (uint32_t type = COL_STRING; type <= COL_LIST; type++) {
        uint32_t number = schema_find(b->snapshot->schema, prop, (enum col_type)type);
        uint32_t key = 0;
        if (number == UINT32_MAX) {
            continue;
        }
        *types |= 1u << type;
        if (type != COL_LIST) {
            ERR_TRY(trait_key(
                b, name,
                (struct field){FIELD_PROP, prop, (enum col_type)type, COL_FIRST_PROP + number},
                &key));
            trait->keys[call] |= 1u << key;
        }
    }
    return ERR_OK;
}

/* The number of the property among those of the query, added when new. */
static enum err_code trait_number(struct binder *b, struct ast_name name, const struct trait *trait,
                                  uint32_t *ret)
{
    for (uint32_t i = 0; i < b->trait_count; i++) {
        if (b->traits[i].is_at_event == trait->is_at_event &&
            str_eq(b->traits[i].key, trait->key)) {
            *ret = i;
            return ERR_OK;
        }
    }
    if (b->trait_count == TRAITS_MAX) {
        return bind_limit(b, name.place, "a query asks for more than %u properties of profiles",
                          TRAITS_MAX);
    }
    ERR_TRY(GROW(b->arena, &b->traits, b->trait_count, &b->trait_cap, b->err));
    *ret = b->trait_count;
    b->traits[b->trait_count++] = *trait;
    /* Calls that are stamped later than now do not count as of now. */
    b->query->is_now_read |= !trait->is_at_event && b->snapshot->time_max_ms > b->query->now_ms;
    return ERR_OK;
}

enum err_code bind_traits(struct binder *b, struct ast_name name, struct bind_fields *ret)
{
    struct trait trait = {.key = key_of(name), .is_at_event = name.profile == AST_PROFILE_AT_EVENT};
    uint32_t types = 0;
    uint32_t number = 0;
    ret->count = 0;
    for (uint32_t call = 0; call < TRAIT_CALLS; call++) {
        ERR_TRY(trait_columns(b, name, call, &trait, &types));
    }
    if (types == 0) {
        return bind_warn_field(b, (struct ast_name){.text = trait.key, .place = name.place});
    }
    if (types == 1u << COL_LIST) {
        return err_set_at(b->err, ERR_UNSUPPORTED, name.place.line, name.place.column,
                          "\"" STR_FMT "\" is a list, and profiles have single values",
                          STR_ARG(name.text));
    }
    ERR_TRY(trait_number(b, name, &trait, &number));
    for (uint32_t type = COL_STRING; type < COL_LIST; type++) {
        if ((types & 1u << type) != 0) {
            ret->items[ret->count++] = (struct field){FIELD_TRAIT, name.text, (enum col_type)type,
                                                      traits_col(number, (enum col_type)type)};
        }
    }
    return ERR_OK;
}

enum err_code bind_profile_use(struct binder *b, const struct pred *pred,
                               const struct people_use **ret)
{
    return bind_use(b, (struct people_use){.profile = pred}, ret);
}

enum err_code bind_call_selectors(struct binder *b)
{
    uint32_t number = 0;
    for (uint32_t call = 0; call < TRAIT_CALLS; call++) {
        ERR_TRY(bind_named_selector(b, trait_calls[call].event, b->ast->place, &number));
        ASSERT(number == call);
    }
    return ERR_OK;
}
