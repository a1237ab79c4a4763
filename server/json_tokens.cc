/* server/json_tokens.cc - the shim around simdjson: the only C++ of the server, and no exception
 * leaves it.
 *
 * On-demand parsing checks UTF-8 in its first stage, and structure where it walks; the walk visits
 * every value, numbers are checked by num_parse, and what follows the document must be white space.
 */
#include <cstdio>
#include <cstring>
#include <new>
#include <simdjson.h>
#include <vector>

#include "server/json_tokens.h"

namespace od = simdjson::ondemand;

struct json_parser {
    od::parser parser;
    std::vector<json_token> tokens;
};

namespace
{

struct walk {
    json_parser *owner;
    const char *begin;
    size_t len;
    err *error;
    bool too_deep = false;
    bool too_many = false;

    json_token &push(json_kind kind, const json_token *key)
    {
        if (owner->tokens.size() >= JSON_TOKENS_MAX) {
            too_many = true;
        }
        json_token token{};
        token.kind = kind;
        if (key != nullptr) {
            token.has_key = true;
            token.key = key->key;
            token.is_key_in_text = key->is_key_in_text;
        }
        owner->tokens.push_back(token);
        return owner->tokens.back();
    }

    /* The unescaped bytes, pointing into the text where nothing had to be unescaped. */
    bool in_text(const char *raw_after_quote, std::string_view unescaped) const
    {
        const char *end = begin + len;
        return raw_after_quote >= begin &&
               raw_after_quote<end &&static_cast<size_t>(end - raw_after_quote)> unescaped.size() &&
               raw_after_quote[unescaped.size()] == '"' &&
               std::memcmp(raw_after_quote, unescaped.data(), unescaped.size()) == 0;
    }

    simdjson::error_code value(od::value v, const json_token *key, uint32_t depth)
    {
        od::json_type type;
        if (auto e = v.type().get(type)) {
            return e;
        }
        if (depth > JSON_DEPTH_MAX) {
            too_deep = true;
            return simdjson::DEPTH_ERROR;
        }
        if (too_many) {
            return simdjson::CAPACITY;
        }
        switch (type) {
        case od::json_type::object: {
            od::object object;
            if (auto e = v.get_object().get(object)) {
                return e;
            }
            return members(object, key, depth);
        }
        case od::json_type::array: {
            od::array array;
            if (auto e = v.get_array().get(array)) {
                return e;
            }
            return elements(array, key, depth);
        }
        case od::json_type::string: {
            std::string_view raw = v.raw_json_token();
            std::string_view s;
            if (auto e = v.get_string().get(s)) {
                return e;
            }
            json_token &token = push(JSON_STRING, key);
            token.is_in_text = in_text(raw.data() + 1, s);
            token.text = {token.is_in_text ? raw.data() + 1 : s.data(), s.size()};
            return simdjson::SUCCESS;
        }
        case od::json_type::number: {
            std::string_view raw = v.raw_json_token();
            double ignored = 0; /* checks the grammar and moves on */
            if (auto e = v.get_double().get(ignored)) {
                return e;
            }
            size_t n = 0;
            while (n < raw.size() && std::strchr("+-.0123456789eE", raw[n]) != nullptr &&
                   raw[n] != 0) {
                n++;
            }
            json_token &token = push(JSON_NUMBER, key);
            token.is_in_text = true;
            token.text = {raw.data(), n};
            return simdjson::SUCCESS;
        }
        case od::json_type::boolean: {
            bool b = false;
            if (auto e = v.get_bool().get(b)) {
                return e;
            }
            push(b ? JSON_TRUE : JSON_FALSE, key);
            return simdjson::SUCCESS;
        }
        case od::json_type::null:
        default: {
            bool is_null = false;
            if (auto e = v.is_null().get(is_null)) {
                return e;
            }
            if (!is_null) {
                return simdjson::N_ATOM_ERROR;
            }
            push(JSON_NULL, key);
            return simdjson::SUCCESS;
        }
        }
    }

    simdjson::error_code members(od::object &object, const json_token *key, uint32_t depth)
    {
        uint32_t at = static_cast<uint32_t>(owner->tokens.size());
        push(JSON_OBJECT, key);
        for (auto each : object) {
            od::field field;
            if (auto e = std::move(each).get(field)) {
                return e;
            }
            const char *raw = field.key().raw();
            std::string_view name;
            if (auto e = field.unescaped_key().get(name)) {
                return e;
            }
            json_token named{};
            named.is_key_in_text = in_text(raw, name);
            named.key = {named.is_key_in_text ? raw : name.data(), name.size()};
            od::value member = field.value();
            if (auto e = value(member, &named, depth + 1)) {
                return e;
            }
        }
        owner->tokens[at].end_idx = static_cast<uint32_t>(owner->tokens.size());
        push(JSON_OBJECT_END, nullptr);
        return simdjson::SUCCESS;
    }

    simdjson::error_code elements(od::array &array, const json_token *key, uint32_t depth)
    {
        uint32_t at = static_cast<uint32_t>(owner->tokens.size());
        push(JSON_ARRAY, key);
        for (auto each : array) {
            od::value element;
            if (auto e = std::move(each).get(element)) {
                return e;
            }
            if (auto e = value(element, nullptr, depth + 1)) {
                return e;
            }
        }
        owner->tokens[at].end_idx = static_cast<uint32_t>(owner->tokens.size());
        push(JSON_ARRAY_END, nullptr);
        return simdjson::SUCCESS;
    }
};

/* Line and column, from 1, of a place in the text. */
void place(const char *begin, const char *at, uint32_t *line, uint32_t *column)
{
    *line = 1;
    *column = 1;
    for (const char *p = begin; p < at; p++) {
        if (*p == '\n') {
            ++*line;
            *column = 1;
        } else {
            ++*column;
        }
    }
}

enum err_code fail(simdjson::error_code code, const walk &w, od::document *document, err *error)
{
    if (w.too_many || code == simdjson::CAPACITY) {
        return err_set(error, ERR_LIMIT, "JSON of more than %u values", JSON_TOKENS_MAX);
    }
    if (code == simdjson::MEMALLOC) {
        return err_set(error, ERR_NOMEM, "out of memory while reading JSON");
    }
    const char *at = w.begin;
    if (document != nullptr) {
        const char *location = nullptr;
        if (document->current_location().get(location) == simdjson::SUCCESS) {
            at = location;
        } else {
            at = w.begin + w.len;
        }
        if (at < w.begin || at > w.begin + w.len) {
            at = w.begin + w.len;
        }
    }
    uint32_t line = 0;
    uint32_t column = 0;
    place(w.begin, at, &line, &column);
    if (w.too_deep || code == simdjson::DEPTH_ERROR) {
        return err_set_at(error, ERR_LIMIT, line, column, "JSON nested deeper than %u levels",
                          JSON_DEPTH_MAX);
    }
    return err_set_at(error, ERR_INVALID, line, column, "not valid JSON: %s",
                      simdjson::error_message(code));
}

} // namespace

extern "C" enum err_code json_parser_create(struct json_parser **ret, struct err *error)
{
    json_parser *parser = new (std::nothrow) json_parser;
    if (parser == nullptr) {
        return err_set(error, ERR_NOMEM, "out of memory for a JSON parser");
    }
    *ret = parser;
    return ERR_OK;
}

extern "C" void json_parser_free(struct json_parser *parser)
{
    delete parser;
}

extern "C" enum err_code json_parse(struct json_parser *parser, struct str text,
                                    const struct json_token **ret_tokens, uint32_t *ret_count,
                                    struct err *error)
{
    walk w{parser, text.ptr, text.len, error};
    try {
        parser->tokens.clear();
        od::document document;
        auto made = parser->parser.iterate(text.ptr, text.len, text.len + JSON_PADDING_BYTES);
        if (auto e = std::move(made).get(document)) {
            return fail(e, w, nullptr, error);
        }
        od::json_type type;
        if (auto e = document.type().get(type)) {
            return fail(e, w, &document, error);
        }
        simdjson::error_code e = simdjson::SUCCESS;
        if (type == od::json_type::object || type == od::json_type::array) {
            od::value root;
            e = document.get_value().get(root);
            if (e == simdjson::SUCCESS) {
                e = w.value(root, nullptr, 1);
            }
        } else {
            e = simdjson::INCORRECT_TYPE; /* a lone scalar is no document that this server takes */
        }
        if (e != simdjson::SUCCESS) {
            return fail(e, w, &document, error);
        }
        const char *rest = nullptr; /* a further token after the document is one too many */
        if (document.current_location().get(rest) == simdjson::SUCCESS) {
            return fail(simdjson::TAPE_ERROR, w, &document, error);
        }
        *ret_tokens = parser->tokens.data();
        *ret_count = static_cast<uint32_t>(parser->tokens.size());
        return ERR_OK;
    } catch (const std::bad_alloc &) {
        return err_set(error, ERR_NOMEM, "out of memory while reading JSON");
    } catch (...) {
        return err_set(error, ERR_INVALID, "not valid JSON");
    }
}
