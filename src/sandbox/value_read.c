/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON text to values, by their type. yyjson parses (without recursion, numbers exact to 64 bits);
 * what it accepts and a contract must not, such as duplicate names, is refused here. Walked with a
 * stack of our own, one level for each nesting of the type.
 *
 * Ownership: texts of values point into the parsed document, which gb_values keeps.
 */
#include <stdio.h>
#include <yyjson.h>

#include "base/num.h"
#include "sandbox/value.h"

struct block { /* of memory for items and bytes */
    struct block *next;
};
struct gb_values {
    yyjson_alc alc;
    yyjson_doc *doc;
    bool out_of_memory;
    struct block *blocks;
    struct gb_value *items;
    size_t len;
};

/* A container whose children are being read. */
struct level {
    uint32_t type;          /* number of its node; GB_VALUE_NO_TYPE: the arguments */
    bool named;             /* the JSON is an object of members */
    uint32_t member_first;  /* record, tuple, arguments: of items[0] */
    uint32_t child_type;    /* else: of all children */
    const char *child_name; /* of a payload: "ok", a case; may be NULL */
    size_t child_name_len;
    struct gb_value *items;
    size_t len;
    size_t json_len, done; /* children in the JSON, which may be too few or too many */
    size_t at;             /* the child that is being read, for the path */
    yyjson_val *next;      /* the next child; where named, its key */
};
struct reader {
    const struct gb_signature *s;
    struct gb_values *to;
    const char *root; /* "args" */
    struct level levels[GB_VALUE_DEPTH_MAX];
    size_t depth;
    struct gb_error **err;
};

/* ---- memory ---- */

static void *json_malloc(void *ctx, size_t bytes) {
    struct gb_values *v = ctx;
    void *ptr = gb_alloc(bytes, NULL);
    v->out_of_memory = v->out_of_memory || !ptr;
    return ptr;
}

static void *json_realloc(void *ctx, void *old, size_t old_bytes, size_t bytes) {
    (void)old_bytes;
    struct gb_values *v = ctx;
    void *ptr = gb_realloc(old, bytes, NULL);
    v->out_of_memory = v->out_of_memory || !ptr;
    return ptr;
}

static void json_free(void *ctx, void *ptr) {
    (void)ctx;
    gb_free(ptr);
}

static void *values_alloc(struct gb_values *v, size_t count, size_t each, struct gb_error **err) {
    size_t bytes;
    if (!gb_mul_size(count, each, &bytes) || !gb_add_size(bytes, sizeof(struct block), &bytes)) {
        gb_fail(err, GB_INVALID_ARGUMENT, "a list is too long");
        return NULL;
    }
    struct block *b = gb_calloc(1, bytes, err);
    if (!b) {
        return NULL;
    }
    b->next = v->blocks;
    v->blocks = b;
    return b + 1;
}

void gb_values_free(struct gb_values *v) {
    if (!v) {
        return;
    }
    while (v->blocks) {
        struct block *b = v->blocks;
        v->blocks = b->next;
        gb_free(b);
    }
    yyjson_doc_free(v->doc);
    gb_free(v);
}

const struct gb_value *gb_values_items(const struct gb_values *v, size_t *ret_len) {
    *ret_len = v->len;
    return v->items;
}

/* ---- messages ---- */

#define PATH_CAP 256

static void path_append(char path[PATH_CAP], size_t *len, const char *text, size_t text_len) {
    size_t n = GB_MIN(text_len, PATH_CAP - 1 - *len);
    memcpy(path + *len, text, n);
    *len += n;
    path[*len] = '\0';
}

/* "args[0].last": where the child that is being read stands. */
static const char *path_of(const struct reader *r, char path[PATH_CAP]) {
    size_t len = 0;
    path[0] = '\0';
    path_append(path, &len, r->root, strlen(r->root));
    for (size_t i = 0; i < r->depth; i++) {
        const struct level *l = &r->levels[i];
        char number[32];
        if (l->named && l->member_first != GB_VALUE_NO_TYPE) {
            struct gb_text name = r->s->members[l->member_first + l->at].name;
            path_append(path, &len, ".", 1);
            path_append(path, &len, name.ptr, name.len);
        } else if (l->named) {
            path_append(path, &len, ".", 1);
            path_append(path, &len, l->child_name, l->child_name_len);
        } else if (!(l->type != GB_VALUE_NO_TYPE && r->s->types[l->type].kind == GB_VALUE_OPTION)) {
            int n = snprintf(number, sizeof number, "[%zu]", l->at);
            path_append(path, &len, number, n > 0 ? (size_t)n : 0);
        }
    }
    return path;
}

static const char *got(yyjson_val *json) {
    switch (yyjson_get_type(json)) {
    case YYJSON_TYPE_NULL:
        return "null";
    case YYJSON_TYPE_BOOL:
        return "boolean";
    case YYJSON_TYPE_NUM:
        return "number";
    case YYJSON_TYPE_STR:
        return "string";
    case YYJSON_TYPE_ARR:
        return "array";
    case YYJSON_TYPE_OBJ:
        return "object";
    default:
        return "nothing";
    }
}

static bool expected(struct reader *r, uint32_t kind, yyjson_val *json) {
    char path[PATH_CAP];
    return gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: expected %s, got %s", path_of(r, path),
                   gb_value_kind_text(kind), got(json));
}

static bool bad(struct reader *r, const char *what) {
    char path[PATH_CAP];
    return gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: %s", path_of(r, path), what);
}

static bool bad_name(struct reader *r, const char *what, const char *name, size_t len) {
    char path[PATH_CAP];
    struct gb_buf quoted;
    gb_buf_init(&quoted, 1024);
    (void)gb_buf_append_escaped(&quoted, gb_span_make(name, GB_MIN(len, (size_t)100)), NULL);
    gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: %s \"%s\"", path_of(r, path), what,
            gb_buf_text(&quoted));
    gb_buf_fini(&quoted);
    return false;
}

/* ---- scalars ---- */

struct range {
    int64_t min;
    uint64_t max;
};

static struct range range_of(uint32_t kind) {
    switch ((enum gb_value_kind)kind) {
    case GB_VALUE_S8:
        return (struct range){INT8_MIN, INT8_MAX};
    case GB_VALUE_U8:
        return (struct range){0, UINT8_MAX};
    case GB_VALUE_S16:
        return (struct range){INT16_MIN, INT16_MAX};
    case GB_VALUE_U16:
        return (struct range){0, UINT16_MAX};
    case GB_VALUE_S32:
        return (struct range){INT32_MIN, INT32_MAX};
    case GB_VALUE_U32:
        return (struct range){0, UINT32_MAX};
    case GB_VALUE_S64:
        return (struct range){INT64_MIN, INT64_MAX};
    case GB_VALUE_BOOL:
    case GB_VALUE_U64:
    case GB_VALUE_F32:
    case GB_VALUE_F64:
    case GB_VALUE_CHAR:
    case GB_VALUE_STRING:
    case GB_VALUE_BYTES:
    case GB_VALUE_LIST:
    case GB_VALUE_RECORD:
    case GB_VALUE_TUPLE:
    case GB_VALUE_VARIANT:
    case GB_VALUE_ENUM:
    case GB_VALUE_OPTION:
    case GB_VALUE_RESULT:
    case GB_VALUE_FLAGS:
    case GB_VALUE_OTHER:
        break;
    }
    return (struct range){0, UINT64_MAX};
}

/* "-12": decimal digits, nothing around them. */
static bool integer_of_text(const char *text, size_t len, bool *ret_negative,
                            uint64_t *ret_magnitude) {
    bool negative = len > 0 && text[0] == '-';
    size_t i = negative ? 1 : 0;
    uint64_t n = 0;
    if (i == len || len > 20) {
        return false;
    }
    for (; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || !gb_mul_u64(n, 10, &n) ||
            !gb_add_u64(n, (uint64_t)(text[i] - '0'), &n)) {
            return false;
        }
    }
    *ret_negative = negative && n != 0;
    *ret_magnitude = n;
    return true;
}

static bool read_integer(struct reader *r, uint32_t kind, yyjson_val *json, struct gb_value *to) {
    bool negative = false;
    uint64_t magnitude = 0;
    bool ok;
    if (yyjson_is_uint(json)) {
        magnitude = yyjson_get_uint(json);
        ok = true;
    } else if (yyjson_is_sint(json)) {
        negative = yyjson_get_sint(json) < 0;
        magnitude = negative ? 0 - (uint64_t)yyjson_get_sint(json) : yyjson_get_uint(json);
        ok = true;
    } else if (yyjson_is_str(json)) {
        ok = integer_of_text(yyjson_get_str(json), yyjson_get_len(json), &negative, &magnitude);
    } else if (yyjson_is_real(json)) {
        ok = false;
    } else {
        return expected(r, kind, json);
    }
    struct range range = range_of(kind);
    uint64_t below = 0 - (uint64_t)range.min;
    if (!ok || (negative ? magnitude > below : magnitude > range.max)) {
        char path[PATH_CAP];
        return gb_fail(r->err, GB_INVALID_ARGUMENT,
                       "%s: expected %s (%lld to %llu), got another %s", path_of(r, path),
                       gb_value_kind_text(kind), (long long)range.min,
                       (unsigned long long)range.max, got(json));
    }
    if (range.min < 0) {
        to->of.integer = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    } else {
        to->of.natural = magnitude;
    }
    return true;
}

static bool read_float(struct reader *r, uint32_t kind, yyjson_val *json, struct gb_value *to) {
    double number;
    if (yyjson_is_num(json)) {
        number = yyjson_get_num(json);
    } else if (yyjson_equals_str(json, "NaN")) {
        number = __builtin_nan("");
    } else if (yyjson_equals_str(json, "Infinity")) {
        number = __builtin_inf();
    } else if (yyjson_equals_str(json, "-Infinity")) {
        number = -__builtin_inf();
    } else {
        return expected(r, kind, json);
    }
    if (kind == GB_VALUE_F64) {
        to->of.f64 = number;
        return true;
    }
    to->of.f32 = (float)number;
    bool finite = yyjson_is_num(json);
    return !finite || __builtin_isfinite(to->of.f32) || bad(r, "the number is too large for f32");
}

/* The one scalar value of a text. */
static bool read_char(struct reader *r, yyjson_val *json, struct gb_value *to) {
    if (!yyjson_is_str(json)) {
        return expected(r, GB_VALUE_CHAR, json);
    }
    const uint8_t *p = (const uint8_t *)yyjson_get_str(json);
    size_t len = yyjson_get_len(json);
    size_t wants = len == 0 ? 1 : p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (len != wants) {
        return bad(r, "expected char, a string of one character");
    }
    uint32_t code = wants == 1 ? p[0] : p[0] & (0x7fu >> wants);
    for (size_t i = 1; i < len; i++) {
        code = code << 6 | (p[i] & 0x3fu);
    }
    to->of.natural = code;
    return true;
}

static bool find_name(const struct reader *r, const struct gb_value_type *t, yyjson_val *name,
                      uint32_t *ret_at) {
    for (uint32_t i = 0; i < t->len; i++) {
        struct gb_text known = r->s->members[t->first + i].name;
        if (yyjson_equals_strn(name, known.ptr, known.len)) {
            *ret_at = i;
            return true;
        }
    }
    return false;
}

static bool read_flags(struct reader *r, const struct gb_value_type *t, yyjson_val *json,
                       struct gb_value *to) {
    if (!yyjson_is_arr(json)) {
        return expected(r, GB_VALUE_FLAGS, json);
    }
    size_t i, max;
    yyjson_val *name;
    yyjson_arr_foreach(json, i, max, name) {
        uint32_t at = 0;
        if (!yyjson_is_str(name)) {
            return bad(r, "expected flags, an array of names");
        }
        if (!find_name(r, t, name, &at) || at >= 64) {
            return bad_name(r, "there is no flag", yyjson_get_str(name), yyjson_get_len(name));
        }
        if (to->of.natural >> at & 1) {
            return bad_name(r, "duplicate", yyjson_get_str(name), yyjson_get_len(name));
        }
        to->of.natural |= (uint64_t)1 << at;
    }
    return true;
}

static bool read_byte_array(struct reader *r, yyjson_val *json, struct gb_value *to) {
    uint8_t *bytes = values_alloc(r->to, yyjson_arr_size(json), 1, r->err);
    if (!bytes) {
        return false;
    }
    size_t i, max;
    yyjson_val *item;
    yyjson_arr_foreach(json, i, max, item) {
        if (yyjson_is_uint(item) && yyjson_get_uint(item) <= UINT8_MAX) {
            bytes[i] = (uint8_t)yyjson_get_uint(item);
            continue;
        }
        struct gb_value byte = {0};
        if (r->depth < GB_VALUE_DEPTH_MAX) { /* for the path */
            struct level l = {.type = GB_VALUE_NO_TYPE, .member_first = GB_VALUE_NO_TYPE, .at = i};
            r->levels[r->depth++] = l;
        }
        if (!read_integer(r, GB_VALUE_U8, item, &byte)) {
            return false;
        }
        r->depth--;
        bytes[i] = (uint8_t)byte.of.natural; /* it was a string */
    }
    to->of.text = (struct gb_text){(const char *)bytes, yyjson_arr_size(json)};
    return true;
}

static bool read_bytes(struct reader *r, yyjson_val *json, struct gb_value *to) {
    if (yyjson_is_arr(json)) {
        return read_byte_array(r, json, to);
    }
    if (!yyjson_is_obj(json)) {
        return expected(r, GB_VALUE_BYTES, json);
    }
    yyjson_val *text = yyjson_obj_get(json, "base64");
    if (yyjson_obj_size(json) != 1 || !yyjson_is_str(text)) {
        return bad(r, "expected list<u8>, as {\"base64\":\"…\"} or an array");
    }
    size_t len = yyjson_get_len(text);
    uint8_t *bytes = values_alloc(r->to, len / 4 * 3 + 3, 1, r->err);
    size_t bytes_len;
    if (!bytes) {
        return false;
    }
    if (!gb_base64_decode(gb_span_make(yyjson_get_str(text), len), bytes, &bytes_len)) {
        return bad(r, "the text is not base64");
    }
    to->of.text = (struct gb_text){(const char *)bytes, bytes_len};
    return true;
}

/* ---- containers ---- */

/* Makes `to` a container of len children and descends into it. */
static bool enter(struct reader *r, struct level l, size_t len, size_t json_len, yyjson_val *first,
                  struct gb_value *to) {
    if (r->depth == GB_VALUE_DEPTH_MAX) {
        return bad(r, "nested too deeply");
    }
    l.items = values_alloc(r->to, len, sizeof *l.items, r->err);
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

static bool enter_array(struct reader *r, uint32_t type, yyjson_val *json, struct gb_value *to) {
    const struct gb_value_type *t = &r->s->types[type];
    if (!yyjson_is_arr(json)) {
        return expected(r, t->kind, json);
    }
    size_t len = yyjson_arr_size(json);
    bool tuple = t->kind == GB_VALUE_TUPLE;
    if (tuple && len != t->len) {
        char path[PATH_CAP];
        return gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: expected a tuple of %u values, got %zu",
                       path_of(r, path), t->len, len);
    }
    struct level l = {.type = type, .member_first = tuple ? t->first : GB_VALUE_NO_TYPE};
    l.child_type = tuple ? GB_VALUE_NO_TYPE : r->s->members[t->first].type;
    return enter(r, l, len, len, yyjson_arr_get_first(json), to);
}

static bool enter_members(struct reader *r, uint32_t type, uint32_t first, uint32_t len,
                          yyjson_val *json, struct gb_value *to) {
    struct level l = {.type = type, .named = true, .member_first = first};
    /* Keys are walked in pairs with their values, which stand behind them. */
    size_t json_len = yyjson_obj_size(json);
    return enter(r, l, len, json_len, json_len ? unsafe_yyjson_get_first(json) : NULL, to);
}

/* A payload: the one child of to. name: what stands before it in the path; may be NULL. */
static bool enter_payload(struct reader *r, uint32_t type, uint32_t payload, const char *name,
                          size_t name_len, yyjson_val *json, struct gb_value *to) {
    struct level l = {.type = type,
                      .named = name != NULL,
                      .member_first = GB_VALUE_NO_TYPE,
                      .child_type = payload,
                      .child_name = name,
                      .child_name_len = name_len};
    return enter(r, l, 1, 1, json, to);
}

static bool read_option(struct reader *r, uint32_t type, yyjson_val *json, struct gb_value *to) {
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
        return bad(r, "expected a nested option: null or {\"some\":…}");
    }
    return enter_payload(r, type, payload, "some", 4, some, to);
}

static bool read_result(struct reader *r, uint32_t type, yyjson_val *json, struct gb_value *to) {
    const struct gb_value_type *t = &r->s->types[type];
    yyjson_val *ok = yyjson_obj_get(json, "ok");
    yyjson_val *failed = yyjson_obj_get(json, "err");
    if (yyjson_obj_size(json) != 1 || (!ok && !failed)) {
        return yyjson_is_obj(json) ? bad(r, "expected result: {\"ok\":…} or {\"err\":…}")
                                   : expected(r, GB_VALUE_RESULT, json);
    }
    to->which = ok ? 0 : 1;
    uint32_t payload = r->s->members[t->first + to->which].type;
    if (payload != GB_VALUE_NO_TYPE) {
        return enter_payload(r, type, payload, ok ? "ok" : "err", ok ? 2 : 3, ok ? ok : failed, to);
    }
    return yyjson_is_null(ok ? ok : failed) || bad(r, "expected a result without a value: null");
}

static bool read_variant(struct reader *r, uint32_t type, yyjson_val *json, struct gb_value *to) {
    const struct gb_value_type *t = &r->s->types[type];
    bool alone = yyjson_is_str(json);
    if (!alone && !(yyjson_is_obj(json) && yyjson_obj_size(json) == 1)) {
        return expected(r, t->kind, json);
    }
    yyjson_val *name = alone ? json : unsafe_yyjson_get_first(json);
    if (!find_name(r, t, name, &to->which)) {
        return bad_name(r, "there is no case", yyjson_get_str(name), yyjson_get_len(name));
    }
    struct gb_value_member member = r->s->members[t->first + to->which];
    if (alone != (member.type == GB_VALUE_NO_TYPE)) {
        const char *what =
            alone ? "a value is missing in the case" : "no value belongs to the case";
        return bad_name(r, what, member.name.ptr, member.name.len);
    }
    return alone || enter_payload(r, type, member.type, member.name.ptr, member.name.len,
                                  yyjson_obj_iter_get_val(name), to);
}

static bool read_enum(struct reader *r, const struct gb_value_type *t, yyjson_val *json,
                      struct gb_value *to) {
    if (!yyjson_is_str(json)) {
        return expected(r, GB_VALUE_ENUM, json);
    }
    return find_name(r, t, json, &to->which) ||
           bad_name(r, "there is no case", yyjson_get_str(json), yyjson_get_len(json));
}

/* Reads a scalar, or begins a container, whose children come next. */
static bool read_value(struct reader *r, uint32_t type, yyjson_val *json, struct gb_value *to) {
    const struct gb_value_type *t = &r->s->types[type];
    to->kind = t->kind;
    switch ((enum gb_value_kind)t->kind) {
    case GB_VALUE_BOOL:
        to->of.boolean = yyjson_get_bool(json);
        return yyjson_is_bool(json) || expected(r, t->kind, json);
    case GB_VALUE_S8:
    case GB_VALUE_U8:
    case GB_VALUE_S16:
    case GB_VALUE_U16:
    case GB_VALUE_S32:
    case GB_VALUE_U32:
    case GB_VALUE_S64:
    case GB_VALUE_U64:
        return read_integer(r, t->kind, json, to);
    case GB_VALUE_F32:
    case GB_VALUE_F64:
        return read_float(r, t->kind, json, to);
    case GB_VALUE_CHAR:
        return read_char(r, json, to);
    case GB_VALUE_STRING:
        to->of.text = (struct gb_text){yyjson_get_str(json), yyjson_get_len(json)};
        return yyjson_is_str(json) || expected(r, t->kind, json);
    case GB_VALUE_BYTES:
        return read_bytes(r, json, to);
    case GB_VALUE_LIST:
    case GB_VALUE_TUPLE:
        return enter_array(r, type, json, to);
    case GB_VALUE_RECORD:
        return yyjson_is_obj(json) ? enter_members(r, type, t->first, t->len, json, to)
                                   : expected(r, t->kind, json);
    case GB_VALUE_VARIANT:
        return read_variant(r, type, json, to);
    case GB_VALUE_ENUM:
        return read_enum(r, t, json, to);
    case GB_VALUE_OPTION:
        return read_option(r, type, json, to);
    case GB_VALUE_RESULT:
        return read_result(r, type, json, to);
    case GB_VALUE_FLAGS:
        return read_flags(r, t, json, to);
    case GB_VALUE_OTHER:
        break;
    }
    char path[PATH_CAP];
    return gb_fail(r->err, GB_UNSUPPORTED, "%s: a resource cannot be given as a value",
                   path_of(r, path));
}

/* ---- the walk ---- */

/* A container of members is complete only when each has been given. */
static bool check_complete(struct reader *r, const struct level *l) {
    for (size_t i = 0; l->named && l->member_first != GB_VALUE_NO_TYPE && i < l->len; i++) {
        if (l->items[i].kind == 0) {
            struct gb_text name = r->s->members[l->member_first + i].name;
            r->depth--; /* the place is the container */
            return bad_name(r, "missing", name.ptr, name.len);
        }
    }
    return true;
}

/* The next child of an object of members: by its name. */
static bool next_member(struct reader *r, struct level *l, yyjson_val **ret_json) {
    yyjson_val *key = l->next;
    const char *name = yyjson_get_str(key);
    size_t len = yyjson_get_len(key);
    size_t at = l->done; /* mostly they come in order */
    for (size_t tried = 0;; tried++, at = at + 1 >= l->len ? 0 : at + 1) {
        if (tried == l->len) {
            r->depth--;
            return bad_name(r, "there is no", name, len);
        }
        at = at >= l->len ? 0 : at;
        struct gb_text known = r->s->members[l->member_first + at].name;
        if (known.len == len && memcmp(known.ptr, name, len) == 0) {
            break;
        }
    }
    if (l->items[at].kind != 0) {
        r->depth--;
        return bad_name(r, "duplicate", name, len);
    }
    l->at = at;
    *ret_json = yyjson_obj_iter_get_val(key);
    return true;
}

/* Whether the level has one more child: json, type and place of it. */
static bool next_child(struct reader *r, struct level *l, yyjson_val **ret_json,
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

static bool walk(struct reader *r) {
    while (r->depth > 0) {
        struct level *l = &r->levels[r->depth - 1];
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
    v->alc =
        (yyjson_alc){.malloc = json_malloc, .realloc = json_realloc, .free = json_free, .ctx = v};
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
    if (v->out_of_memory) {
        (void)gb_calloc(SIZE_MAX, SIZE_MAX, err); /* the static out-of-memory error */
        return false;
    }
    gb_fail(err, GB_INVALID_ARGUMENT, "%s: not JSON: %s at byte %zu", root, why.msg, why.pos);
    return gb_hint(err, "Quote it for the shell, for example '[\"Ada\", 36]'.");
}

static bool read_args(struct reader *r, yyjson_val *json) {
    const struct gb_signature *s = r->s;
    struct level l = {.type = GB_VALUE_NO_TYPE, .member_first = s->params};
    size_t len = yyjson_is_arr(json) ? yyjson_arr_size(json) : 0;
    bool named = s->params_len == 0 || s->members[s->params].name.len > 0;
    if (yyjson_is_obj(json) && named) {
        if (!enter_members(r, GB_VALUE_NO_TYPE, s->params, s->params_len, json, NULL)) {
            return false;
        }
    } else if (!yyjson_is_arr(json)) {
        return gb_fail(r->err, GB_INVALID_ARGUMENT, "%s: expected an array%s, got %s", r->root,
                       named ? " or an object" : "", got(json));
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
                                 uint64_t bytes_max, struct gb_error **err) {
    struct gb_values *v = gb_calloc(1, sizeof *v, err);
    if (!v) {
        return NULL;
    }
    struct reader r = {.s = s, .to = v, .root = "args", .err = err};
    struct gb_span text = json.len ? json : gb_span_of("[]");
    if (!parse(v, text, r.root, bytes_max, err) || !read_args(&r, yyjson_doc_get_root(v->doc))) {
        gb_values_free(v);
        return NULL;
    }
    return v;
}

struct gb_values *gb_values_read_one(const struct gb_signature *s, uint32_t type, const char *at,
                                     struct gb_span json, uint64_t bytes_max,
                                     struct gb_error **err) {
    struct gb_values *v = gb_calloc(1, sizeof *v, err);
    if (!v) {
        return NULL;
    }
    struct reader r = {.s = s, .to = v, .root = at, .err = err};
    v->items = values_alloc(v, 1, sizeof *v->items, err);
    v->len = 1;
    if (!v->items || !parse(v, json, at, bytes_max, err) ||
        !read_value(&r, type, yyjson_doc_get_root(v->doc), v->items) || !walk(&r)) {
        gb_values_free(v);
        return NULL;
    }
    return v;
}
