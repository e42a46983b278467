/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values to JSON text. Walked with a stack of our own, as deep as the deepest type; a value that is
 * not of its type (an embedder's) is refused where it is found.
 */
#include <math.h>
#include <yyjson.h>

#include "base/num.h"
#include "sandbox/value.h"

struct level {
    const struct gb_value_type *type; /* of the container */
    const struct gb_value *items;
    size_t at, len;
    char close; /* ']' or '}' */
};
struct writer {
    const struct gb_signature *s;
    struct gb_buf *out;
    struct level levels[GB_VALUE_DEPTH_MAX];
    size_t depth;
};

static bool put(struct writer *w, const char *text, struct gb_error **err) {
    return gb_buf_append_text(w->out, text, err);
}

static bool wrong(const char *what, struct gb_error **err) {
    return gb_fail(err, GB_INVALID_ARGUMENT, "a value is not of its type: %s", what);
}

static bool put_string(struct writer *w, const char *ptr, size_t len, struct gb_error **err) {
    if (!gb_utf8_valid(gb_span_make(ptr, len))) {
        return wrong("a string is not UTF-8", err);
    }
    bool ok = put(w, "\"", err);
    size_t from = 0;
    for (size_t i = 0; ok && i < len; i++) {
        uint8_t c = (uint8_t)ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            continue;
        }
        ok = gb_buf_append(w->out, ptr + from, i - from, err);
        from = i + 1;
        if (ok && (c == '"' || c == '\\')) {
            ok = gb_buf_append_format(w->out, err, "\\%c", c);
        } else if (ok && c == '\n') {
            ok = put(w, "\\n", err);
        } else if (ok) {
            ok = gb_buf_append_format(w->out, err, "\\u%04x", c);
        }
    }
    return ok && gb_buf_append(w->out, ptr + from, len - from, err) && put(w, "\"", err);
}

static bool put_name(struct writer *w, struct gb_text name, struct gb_error **err) {
    return put_string(w, name.ptr, name.len, err);
}

static bool put_char(struct writer *w, uint64_t code, struct gb_error **err) {
    char text[4];
    size_t n = 0;
    if (code < 0x80) {
        text[n++] = (char)code;
    } else if (code < 0x800) {
        text[n++] = (char)(0xc0 | code >> 6);
        text[n++] = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        text[n++] = (char)(0xe0 | code >> 12);
        text[n++] = (char)(0x80 | (code >> 6 & 63));
        text[n++] = (char)(0x80 | (code & 63));
    } else if (code < 0x110000) {
        text[n++] = (char)(0xf0 | code >> 18);
        text[n++] = (char)(0x80 | (code >> 12 & 63));
        text[n++] = (char)(0x80 | (code >> 6 & 63));
        text[n++] = (char)(0x80 | (code & 63));
    } else {
        return wrong("a char is out of range", err);
    }
    return put_string(w, text, n, err);
}

/* The fewest digits that read back the same, whatever the locale. */
static bool put_float(struct writer *w, double number, bool is_f32, struct gb_error **err) {
    if (isnan(number)) {
        return put(w, "\"NaN\"", err);
    }
    if (isinf(number)) {
        return put(w, number < 0 ? "\"-Infinity\"" : "\"Infinity\"", err);
    }
    yyjson_val val = {.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_REAL, .uni.f64 = number};
    if (is_f32) {
        (void)yyjson_set_fp_to_float(&val, true);
    }
    char text[48];
    char *end = yyjson_write_number(&val, text);
    return end ? gb_buf_append(w->out, text, (size_t)(end - text), err)
               : gb_fail(err, GB_INTERNAL, "could not write a number");
}

static bool put_flags(struct writer *w, const struct gb_value_type *t, uint64_t bits,
                      struct gb_error **err) {
    bool ok = put(w, "[", err);
    const char *comma = "";
    for (uint32_t i = 0; ok && i < t->len && i < 64; i++) {
        if (bits >> i & 1) {
            ok = put(w, comma, err) && put_name(w, w->s->members[t->first + i].name, err);
            comma = ",";
        }
    }
    return ok && put(w, "]", err);
}

static bool put_scalar(struct writer *w, const struct gb_value_type *t, const struct gb_value *v,
                       struct gb_error **err) {
    switch ((enum gb_value_kind)v->kind) {
    case GB_VALUE_BOOL:
        return put(w, v->of.boolean ? "true" : "false", err);
    case GB_VALUE_S8:
    case GB_VALUE_S16:
    case GB_VALUE_S32:
    case GB_VALUE_S64:
        return gb_buf_append_format(w->out, err, "%lld", (long long)v->of.integer);
    case GB_VALUE_U8:
    case GB_VALUE_U16:
    case GB_VALUE_U32:
    case GB_VALUE_U64:
        return gb_buf_append_format(w->out, err, "%llu", (unsigned long long)v->of.natural);
    case GB_VALUE_F32:
        return put_float(w, (double)v->of.f32, true, err);
    case GB_VALUE_F64:
        return put_float(w, v->of.f64, false, err);
    case GB_VALUE_CHAR:
        return put_char(w, v->of.natural, err);
    case GB_VALUE_STRING:
        return put_string(w, v->of.text.ptr, v->of.text.len, err);
    case GB_VALUE_BYTES:
        return put(w, "{\"base64\":\"", err) &&
               gb_base64_append(w->out, gb_span_make(v->of.text.ptr, v->of.text.len), err) &&
               put(w, "\"}", err);
    case GB_VALUE_ENUM:
        return v->which < t->len ? put_name(w, w->s->members[t->first + v->which].name, err)
                                 : wrong("an enum has no such case", err);
    case GB_VALUE_FLAGS:
        return put_flags(w, t, v->of.natural, err);
    case GB_VALUE_LIST:
    case GB_VALUE_RECORD:
    case GB_VALUE_TUPLE:
    case GB_VALUE_VARIANT:
    case GB_VALUE_OPTION:
    case GB_VALUE_RESULT:
    case GB_VALUE_OTHER:
        break;
    }
    return wrong("its kind", err);
}

static bool push(struct writer *w, const struct gb_value_type *t, const struct gb_value *v,
                 const char *open, char close, struct gb_error **err) {
    if (w->depth == GB_VALUE_DEPTH_MAX) {
        return wrong("it is nested too deeply", err);
    }
    w->levels[w->depth++] =
        (struct level){.type = t, .items = v->of.list.items, .len = v->of.list.len, .close = close};
    return put(w, open, err);
}

/* Variant, option, result: the case's name around its payload, or alone. */
static bool put_case(struct writer *w, const struct gb_value_type *t, const struct gb_value *v,
                     struct gb_error **err) {
    const struct gb_value_member *members = &w->s->members[t->first];
    bool option = t->kind == GB_VALUE_OPTION;
    uint32_t member = option ? 0 : v->which;
    uint32_t payload = option && v->which == 0 ? GB_VALUE_NO_TYPE
                       : member < t->len       ? members[member].type
                                               : GB_VALUE_NO_TYPE;
    if (member >= t->len || (option && v->which > 1) ||
        v->of.list.len != (payload == GB_VALUE_NO_TYPE ? 0u : 1u)) {
        return wrong("a case or its payload", err);
    }
    if (option) {
        bool nested = w->s->types[members[0].type].kind == GB_VALUE_OPTION;
        return v->which == 0 ? put(w, "null", err)
               : nested      ? push(w, t, v, "{\"some\":", '}', err)
                             : push(w, t, v, "", '\0', err);
    }
    struct gb_text name = members[member].name;
    if (t->kind == GB_VALUE_RESULT) {
        name = v->which == 0 ? (struct gb_text){"ok", 2} : (struct gb_text){"err", 3};
        if (payload == GB_VALUE_NO_TYPE) {
            return put(w, v->which == 0 ? "{\"ok\":null}" : "{\"err\":null}", err);
        }
    } else if (payload == GB_VALUE_NO_TYPE) {
        return put_name(w, name, err);
    }
    return put(w, "{", err) && put_name(w, name, err) && push(w, t, v, ":", '}', err);
}

static bool put_value(struct writer *w, uint32_t type, const struct gb_value *v,
                      struct gb_error **err) {
    const struct gb_value_type *t = &w->s->types[type];
    if (v->kind != t->kind) {
        return wrong(gb_value_kind_text(t->kind), err);
    }
    switch ((enum gb_value_kind)t->kind) {
    case GB_VALUE_LIST:
        return push(w, t, v, "[", ']', err);
    case GB_VALUE_TUPLE:
    case GB_VALUE_RECORD:
        if (v->of.list.len != t->len) {
            return wrong("its number of parts", err);
        }
        return t->kind == GB_VALUE_TUPLE ? push(w, t, v, "[", ']', err)
                                         : push(w, t, v, "{", '}', err);
    case GB_VALUE_VARIANT:
    case GB_VALUE_OPTION:
    case GB_VALUE_RESULT:
        return put_case(w, t, v, err);
    case GB_VALUE_BOOL:
    case GB_VALUE_S8:
    case GB_VALUE_U8:
    case GB_VALUE_S16:
    case GB_VALUE_U16:
    case GB_VALUE_S32:
    case GB_VALUE_U32:
    case GB_VALUE_S64:
    case GB_VALUE_U64:
    case GB_VALUE_F32:
    case GB_VALUE_F64:
    case GB_VALUE_CHAR:
    case GB_VALUE_STRING:
    case GB_VALUE_BYTES:
    case GB_VALUE_ENUM:
    case GB_VALUE_FLAGS:
    case GB_VALUE_OTHER:
        break;
    }
    return put_scalar(w, t, v, err);
}

/* The type of the child that comes next, after what stands before it. */
static bool put_before(struct writer *w, const struct level *l, uint32_t *ret_type,
                       struct gb_error **err) {
    const struct gb_value_member *members = &w->s->members[l->type->first];
    bool parts = l->type->kind == GB_VALUE_TUPLE || l->type->kind == GB_VALUE_RECORD;
    *ret_type = parts ? members[l->at].type : members[0].type;
    if (l->at > 0 && !put(w, ",", err)) {
        return false;
    }
    return l->type->kind != GB_VALUE_RECORD ||
           (put_name(w, members[l->at].name, err) && put(w, ":", err));
}

/* Of variants and results the payload's type follows from the case, which the parent holds. */
static uint32_t payload_type(const struct writer *w, const struct gb_value_type *t,
                             const struct gb_value *v) {
    return w->s->members[t->first + (t->kind == GB_VALUE_OPTION ? 0 : v->which)].type;
}

static bool is_case(uint32_t kind) {
    return kind == GB_VALUE_VARIANT || kind == GB_VALUE_OPTION || kind == GB_VALUE_RESULT;
}

bool gb_value_write(const struct gb_signature *s, uint32_t type, const struct gb_value *value,
                    struct gb_buf *out, struct gb_error **err) {
    struct writer w = {.s = s, .out = out};
    if (!value || type == GB_VALUE_NO_TYPE) {
        return put(&w, "null", err);
    }
    uint32_t payloads[GB_VALUE_DEPTH_MAX]; /* of the level, where it is a case */
    const struct gb_value *next = value;
    uint32_t next_type = type;
    for (;;) {
        size_t depth = w.depth;
        if (!put_value(&w, next_type, next, err)) {
            return false;
        }
        if (w.depth > depth && is_case(w.levels[depth].type->kind)) {
            payloads[depth] = payload_type(&w, w.levels[depth].type, next);
        }
        struct level *l = w.depth > 0 ? &w.levels[w.depth - 1] : NULL;
        while (l && l->at == l->len) {
            char close[2] = {l->close, '\0'};
            if (!put(&w, close, err)) {
                return false;
            }
            w.depth--;
            l = w.depth > 0 ? &w.levels[w.depth - 1] : NULL;
        }
        if (!l) {
            return true;
        }
        if (is_case(l->type->kind)) {
            next_type = payloads[w.depth - 1];
        } else if (!put_before(&w, l, &next_type, err)) {
            return false;
        }
        next = &l->items[l->at++];
    }
}

const char *gb_value_kind_text(uint32_t kind) {
    static const char *const texts[] = {
        [GB_VALUE_BOOL] = "bool",     [GB_VALUE_S8] = "s8",          [GB_VALUE_U8] = "u8",
        [GB_VALUE_S16] = "s16",       [GB_VALUE_U16] = "u16",        [GB_VALUE_S32] = "s32",
        [GB_VALUE_U32] = "u32",       [GB_VALUE_S64] = "s64",        [GB_VALUE_U64] = "u64",
        [GB_VALUE_F32] = "f32",       [GB_VALUE_F64] = "f64",        [GB_VALUE_CHAR] = "char",
        [GB_VALUE_STRING] = "string", [GB_VALUE_BYTES] = "list<u8>", [GB_VALUE_LIST] = "list",
        [GB_VALUE_RECORD] = "record", [GB_VALUE_TUPLE] = "tuple",    [GB_VALUE_VARIANT] = "variant",
        [GB_VALUE_ENUM] = "enum",     [GB_VALUE_OPTION] = "option",  [GB_VALUE_RESULT] = "result",
        [GB_VALUE_FLAGS] = "flags",   [GB_VALUE_OTHER] = "resource"};
    return kind < GB_COUNT(texts) && texts[kind] ? texts[kind] : "unknown";
}

bool gb_signature_is_plain(const struct gb_signature *s) {
    for (size_t i = 0; i < s->types_len; i++) {
        if (s->types[i].kind == GB_VALUE_OTHER) {
            return false;
        }
    }
    return true;
}
