/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON text to values, by their type. yyjson parses (without recursion, numbers exact to 64 bits);
 * what it accepts and a contract must not, such as duplicate names, is refused here. Walked with a
 * stack of our own, one level for each nesting of the type.
 */
#include "sandbox/value.h"
#include "sandbox/value_reader.h"

/* ---- containers ---- */

/* Makes `to` a container of len children and descends into it. */
static bool enter(struct gb_value_reader *r, struct gb_value_level l, size_t len, size_t json_len,
                  yyjson_val *first, struct gb_value *to) {
    if (r->depth == GB_VALUE_DEPTH_MAX) {
        return gb_value_bad(r, "nested too deeply");
    }
    l.items = gb_values_alloc(r->to, len, sizeof *l.items, r->err);
    if (!l.items) {
        return false;
    }
    l.len = len;
    l.json_len = json_len;
    l.next = first;
    if (to) {
        to->of.list.items = l.items;
        to->of.list.len = len;
    }
    r->levels[r->depth++] = l;
    return true;
}

static bool enter_array(struct gb_value_reader *r, uint32_t type, yyjson_val *json,
                        struct gb_value *to) {
    const struct gb_value_type *t = &r->s->types[type];
    if (!yyjson_is_arr(json)) {
        return gb_value_expected(r, t->kind, json);
    }
    size_t len = yyjson_arr_size(json);
    bool tuple = t->kind == GB_VALUE_TUPLE;
    if (tuple && len != t->len) {
        char path[GB_VALUE_PLACE_CAP];
        return gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: expected a tuple of %u values, got %zu",
                       gb_value_place(r, path), t->len, len);
    }
    struct gb_value_level l = {.type = type, .member_first = tuple ? t->first : GB_VALUE_NO_TYPE};
    l.child_type = tuple ? GB_VALUE_NO_TYPE : r->s->members[t->first].type;
    return enter(r, l, len, len, yyjson_arr_get_first(json), to);
}

static bool enter_members(struct gb_value_reader *r, uint32_t type, uint32_t first, uint32_t len,
                          yyjson_val *json, struct gb_value *to) {
    struct gb_value_level l = {.type = type, .named = true, .member_first = first};
    /* Keys are walked in pairs with their values, which stand behind them. */
    size_t json_len = yyjson_obj_size(json);
    return enter(r, l, len, json_len, json_len ? unsafe_yyjson_get_first(json) : NULL, to);
}

/* A payload: the one child of to. name: what stands before it in the path; may be NULL. */
static bool enter_payload(struct gb_value_reader *r, uint32_t type, uint32_t payload,
                          const char *name, size_t name_len, yyjson_val *json,
                          struct gb_value *to) {
    struct gb_value_level l = {.type = type,
                               .named = name != NULL,
                               .member_first = GB_VALUE_NO_TYPE,
                               .child_type = payload,
                               .child_name = name,
                               .child_name_len = name_len};
    return enter(r, l, 1, 1, json, to);
}

static bool read_option(struct gb_value_reader *r, uint32_t type, yyjson_val *json,
                        struct gb_value *to) {
    uint32_t payload = r->s->members[r->s->types[type].first].type;
    if (yyjson_is_null(json)) {
        return true;
    }
    to->which = 1;
    if (r->s->types[payload].kind != GB_VALUE_OPTION) {
        return enter_payload(r, type, payload, NULL, 0, json, to);
    }
    yyjson_val *some = yyjson_obj_get(json, "some");
    if (yyjson_obj_size(json) != 1 || !some) {
        return gb_value_bad(r, "expected a nested option: null or {\"some\":…}");
    }
    return enter_payload(r, type, payload, "some", 4, some, to);
}

static bool read_result(struct gb_value_reader *r, uint32_t type, yyjson_val *json,
                        struct gb_value *to) {
    const struct gb_value_type *t = &r->s->types[type];
    yyjson_val *ok = yyjson_obj_get(json, "ok");
    yyjson_val *failed = yyjson_obj_get(json, "err");
    if (yyjson_obj_size(json) != 1 || (!ok && !failed)) {
        return yyjson_is_obj(json) ? gb_value_bad(r, "expected result: {\"ok\":…} or {\"err\":…}")
                                   : gb_value_expected(r, GB_VALUE_RESULT, json);
    }
    to->which = ok ? 0 : 1;
    uint32_t payload = r->s->members[t->first + to->which].type;
    if (payload != GB_VALUE_NO_TYPE) {
        return enter_payload(r, type, payload, ok ? "ok" : "err", ok ? 2 : 3, ok ? ok : failed, to);
    }
    return yyjson_is_null(ok ? ok : failed) ||
           gb_value_bad(r, "expected a result without a value: null");
}

static bool read_variant(struct gb_value_reader *r, uint32_t type, yyjson_val *json,
                         struct gb_value *to) {
    const struct gb_value_type *t = &r->s->types[type];
    bool alone = yyjson_is_str(json);
    if (!alone && !(yyjson_is_obj(json) && yyjson_obj_size(json) == 1)) {
        return gb_value_expected(r, t->kind, json);
    }
    yyjson_val *name = alone ? json : unsafe_yyjson_get_first(json);
    if (!gb_value_find_name(r, t, name, &to->which)) {
        return gb_value_bad_name(r, "there is no case", yyjson_get_str(name), yyjson_get_len(name));
    }
    struct gb_value_member member = r->s->members[t->first + to->which];
    if (alone != (member.type == GB_VALUE_NO_TYPE)) {
        const char *what =
            alone ? "a value is missing in the case" : "no value belongs to the case";
        return gb_value_bad_name(r, what, member.name.ptr, member.name.len);
    }
    return alone || enter_payload(r, type, member.type, member.name.ptr, member.name.len,
                                  yyjson_obj_iter_get_val(name), to);
}

/* Reads a scalar, or begins a container, whose children come next. */
static bool read_value(struct gb_value_reader *r, uint32_t type, yyjson_val *json,
                       struct gb_value *to) {
    const struct gb_value_type *t = &r->s->types[type];
    to->kind = t->kind;
    switch ((enum gb_value_kind)t->kind) {
    case GB_VALUE_BOOL:
        to->of.boolean = yyjson_get_bool(json);
        return yyjson_is_bool(json) || gb_value_expected(r, t->kind, json);
    case GB_VALUE_S8:
    case GB_VALUE_U8:
    case GB_VALUE_S16:
    case GB_VALUE_U16:
    case GB_VALUE_S32:
    case GB_VALUE_U32:
    case GB_VALUE_S64:
    case GB_VALUE_U64:
        return gb_value_read_integer(r, t->kind, json, to);
    case GB_VALUE_F32:
    case GB_VALUE_F64:
        return gb_value_read_float(r, t->kind, json, to);
    case GB_VALUE_CHAR:
        return gb_value_read_char(r, json, to);
    case GB_VALUE_STRING:
        to->of.text = (struct gb_text){yyjson_get_str(json), yyjson_get_len(json)};
        return yyjson_is_str(json) || gb_value_expected(r, t->kind, json);
    case GB_VALUE_BYTES:
        return gb_value_read_bytes(r, json, to);
    case GB_VALUE_LIST:
    case GB_VALUE_TUPLE:
        return enter_array(r, type, json, to);
    case GB_VALUE_RECORD:
        return yyjson_is_obj(json) ? enter_members(r, type, t->first, t->len, json, to)
                                   : gb_value_expected(r, t->kind, json);
    case GB_VALUE_VARIANT:
        return read_variant(r, type, json, to);
    case GB_VALUE_ENUM:
        return gb_value_read_enum(r, t, json, to);
    case GB_VALUE_OPTION:
        return read_option(r, type, json, to);
    case GB_VALUE_RESULT:
        return read_result(r, type, json, to);
    case GB_VALUE_FLAGS:
        return gb_value_read_flags(r, t, json, to);
    case GB_VALUE_OTHER:
        break;
    }
    char path[GB_VALUE_PLACE_CAP];
    return gb_fail(r->err, GB_UNSUPPORTED, "%s: a resource cannot be given as a value",
                   gb_value_place(r, path));
}

/* ---- the walk ---- */

/* A container of members is complete only when each has been given. */
static bool check_complete(struct gb_value_reader *r, const struct gb_value_level *l) {
    for (size_t i = 0; l->named && l->member_first != GB_VALUE_NO_TYPE && i < l->len; i++) {
        if (l->items[i].kind == 0) {
            struct gb_text name = r->s->members[l->member_first + i].name;
            r->depth--; /* the place is the container */
            return gb_value_bad_name(r, "missing", name.ptr, name.len);
        }
    }
    return true;
}

/* The next child of an object of members: by its name. */
static bool next_member(struct gb_value_reader *r, struct gb_value_level *l,
                        yyjson_val **ret_json) {
    yyjson_val *key = l->next;
    const char *name = yyjson_get_str(key);
    size_t len = yyjson_get_len(key);
    size_t at = l->done; /* mostly they come in order */
    for (size_t tried = 0;; tried++, at = at + 1 >= l->len ? 0 : at + 1) {
        if (tried == l->len) {
            r->depth--;
            return gb_value_bad_name(r, "there is no", name, len);
        }
        at = at >= l->len ? 0 : at;
        struct gb_text known = r->s->members[l->member_first + at].name;
        if (known.len == len && memcmp(known.ptr, name, len) == 0) {
            break;
        }
    }
    if (l->items[at].kind != 0) {
        r->depth--;
        return gb_value_bad_name(r, "duplicate", name, len);
    }
    l->at = at;
    *ret_json = yyjson_obj_iter_get_val(key);
    return true;
}

/* Whether the level has one more child: json, type and place of it. */
static bool next_child(struct gb_value_reader *r, struct gb_value_level *l, yyjson_val **ret_json,
                       uint32_t *ret_type) {
    if (l->named && l->member_first != GB_VALUE_NO_TYPE) {
        if (!next_member(r, l, ret_json)) {
            return false;
        }
    } else {
        l->at = l->done;
        *ret_json = l->next;
    }
    l->done++;
    l->next = unsafe_yyjson_get_next(*ret_json);
    *ret_type = l->member_first != GB_VALUE_NO_TYPE ? r->s->members[l->member_first + l->at].type
                                                    : l->child_type;
    return true;
}

static bool walk(struct gb_value_reader *r) {
    while (r->depth > 0) {
        struct gb_value_level *l = &r->levels[r->depth - 1];
        if (l->done == l->json_len) {
            if (!check_complete(r, l)) {
                return false;
            }
            r->depth--;
            continue;
        }
        yyjson_val *json = NULL;
        uint32_t type = GB_VALUE_NO_TYPE;
        if (!next_child(r, l, &json, &type) || !read_value(r, type, json, &l->items[l->at])) {
            return false;
        }
    }
    return true;
}

/* ---- the whole ---- */

static bool parse(struct gb_values *v, struct gb_span json, const char *root, uint64_t bytes_max,
                  struct gb_error **err) {
    if (json.len > bytes_max) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "%s: %zu bytes of JSON; the limit is %llu", root,
                       json.len, (unsigned long long)bytes_max);
    }
    yyjson_read_err why = {0};
    /* The text is copied and not written to: the type lacks a const. */
    union {
        const uint8_t *from;
        char *to;
    } text = {.from = json.ptr};
    v->doc = yyjson_read_opts(text.to, json.len, &v->alc, &why);
    if (v->doc) {
        return true;
    }
    if (v->denied) {
        gb_error_move(err, v->denied);
        v->denied = NULL;
        return false;
    }
    gb_fail(err, GB_INVALID_ARGUMENT, "%s: not JSON: %s at byte %zu", root, why.msg, why.pos);
    return gb_hint(err, "Quote it for the shell, for example '[\"Ada\", 36]'.");
}

static bool read_args(struct gb_value_reader *r, yyjson_val *json) {
    const struct gb_signature *s = r->s;
    struct gb_value_level l = {.type = GB_VALUE_NO_TYPE, .member_first = s->params};
    size_t len = yyjson_is_arr(json) ? yyjson_arr_size(json) : 0;
    bool named = s->params_len == 0 || s->members[s->params].name.len > 0;
    if (yyjson_is_obj(json) && named) {
        if (!enter_members(r, GB_VALUE_NO_TYPE, s->params, s->params_len, json, NULL)) {
            return false;
        }
    } else if (!yyjson_is_arr(json)) {
        return gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: expected an array%s, got %s", r->root,
                       named ? " or an object" : "", gb_value_got(json));
    } else if (len != s->params_len) {
        return gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: expected %u value%s, got %zu", r->root,
                       s->params_len, s->params_len == 1 ? "" : "s", len);
    } else if (!enter(r, l, len, len, yyjson_arr_get_first(json), NULL)) {
        return false;
    }
    r->to->items = r->levels[0].items;
    r->to->len = s->params_len;
    return walk(r);
}

struct gb_values *gb_values_read(const struct gb_signature *s, struct gb_span json,
                                 uint64_t bytes_max, struct gb_account *account,
                                 struct gb_error **err) {
    struct gb_values *v = gb_values_new(account, err);
    if (!v) {
        return NULL;
    }
    struct gb_value_reader r = {.s = s, .to = v, .root = "args", .err = err};
    struct gb_span text = json.len ? json : gb_span_of("[]");
    if (!parse(v, text, r.root, bytes_max, err) || !read_args(&r, yyjson_doc_get_root(v->doc))) {
        gb_values_free(v);
        return NULL;
    }
    return v;
}

struct gb_values *gb_values_read_one(const struct gb_signature *s, uint32_t type, const char *at,
                                     struct gb_span json, uint64_t bytes_max,
                                     struct gb_account *account, struct gb_error **err) {
    struct gb_values *v = gb_values_new(account, err);
    if (!v) {
        return NULL;
    }
    struct gb_value_reader r = {.s = s, .to = v, .root = at, .err = err};
    v->items = gb_values_alloc(v, 1, sizeof *v->items, err);
    v->len = 1;
    if (!v->items || !parse(v, json, at, bytes_max, err) ||
        !read_value(&r, type, yyjson_doc_get_root(v->doc), v->items) || !walk(&r)) {
        gb_values_free(v);
        return NULL;
    }
    return v;
}
