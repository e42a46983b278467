/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata of a GGUF file: keys with values of thirteen types, arrays among them. Everything is
 * walked once, so that what later code reads of it is known to be inside the file.
 */
#include "model/gguf_internal.h"

#include <stdio.h>

#include "base/alloc.h"

#define KEY_BYTES_MIN 13u /* a length of no bytes, a type, a value of one byte */
#define SHORTER_HINT "Convert the model again without what is not needed."

const uint8_t gb_gguf_type_bytes[GB_GGUF_TYPES] = {
    [GB_GGUF_U8] = 1,  [GB_GGUF_I8] = 1,  [GB_GGUF_U16] = 2,  [GB_GGUF_I16] = 2,
    [GB_GGUF_U32] = 4, [GB_GGUF_I32] = 4, [GB_GGUF_F32] = 4,  [GB_GGUF_BOOL] = 1,
    [GB_GGUF_U64] = 8, [GB_GGUF_I64] = 8, [GB_GGUF_F64] = 8,
};

const char *gb_gguf_type_text(enum gb_gguf_type type) {
    static const char *const texts[GB_GGUF_TYPES] = {
        [GB_GGUF_U8] = "u8",   [GB_GGUF_I8] = "i8",     [GB_GGUF_U16] = "u16",
        [GB_GGUF_I16] = "i16", [GB_GGUF_U32] = "u32",   [GB_GGUF_I32] = "i32",
        [GB_GGUF_F32] = "f32", [GB_GGUF_BOOL] = "bool", [GB_GGUF_STRING] = "string",
        [GB_GGUF_ARRAY] = "array", [GB_GGUF_U64] = "u64", [GB_GGUF_I64] = "i64",
        [GB_GGUF_F64] = "f64",
    };
    return (unsigned)type < GB_GGUF_TYPES ? texts[type] : "unknown";
}

/* ---- reading ---- */

static bool read_key(struct gb_gguf_walk *w, struct gb_gguf_value *v) {
    size_t at = w->pos;
    char quoted[GB_GGUF_QUOTE_BYTES];
    if (!gb_gguf_text(w, "a key", GB_GGUF_KEY_BYTES_MAX, &v->key)) {
        return false;
    }
    if (!gb_gguf_name_ok(v->key)) {
        return gb_gguf_invalid(w, at, "%s is no key: keys are letters, digits, \"_\", \"-\" and "
                                      "single dots", gb_gguf_quote(v->key, quoted));
    }
    if (!gb_gguf_names_add(&w->keys, v->key, (uint32_t)w->values_len)) {
        return gb_gguf_invalid(w, at, "the key %s is there twice", gb_gguf_quote(v->key, quoted));
    }
    return true;
}

static bool read_type(struct gb_gguf_walk *w, const char *quoted, enum gb_gguf_type *ret_type) {
    size_t at = w->pos;
    uint32_t type = 0;
    if (!gb_gguf_u32(w, "the type of a value", &type)) {
        return false;
    }
    if (type >= GB_GGUF_TYPES) {
        return gb_gguf_invalid(w, at, "the value of %s is of the type %u, which does not exist",
                               quoted, type);
    }
    *ret_type = (enum gb_gguf_type)type;
    return true;
}

static bool read_array_head(struct gb_gguf_walk *w, struct gb_gguf_value *v, const char *quoted) {
    size_t at = w->pos;
    if (!read_type(w, quoted, &v->type) || !gb_gguf_u64(w, "the length of an array", &v->count)) {
        return false;
    }
    if (v->type == GB_GGUF_ARRAY) {
        return gb_gguf_refuse(w, at, "Convert the model again with flat lists.",
                              "the value of %s is an array of arrays", quoted);
    }
    uint64_t element = v->type == GB_GGUF_STRING ? 8 : gb_gguf_type_bytes[v->type];
    if (v->count > (w->len - w->pos) / element) {
        return gb_gguf_invalid(w, at, "%s is said to have %llu elements, more than the file has "
                                      "room for", quoted, (unsigned long long)v->count);
    }
    w->strings += v->type == GB_GGUF_STRING ? v->count : 0; /* each at most a file's size / 8 */
    if (v->count > GB_GGUF_ARRAY_MAX || w->strings > GB_GGUF_STRINGS_MAX) {
        return gb_gguf_refuse(w, at, SHORTER_HINT,
                              "%s has %llu elements; all texts of a model may be %u, other lists "
                              "%u", quoted, (unsigned long long)v->count, GB_GGUF_STRINGS_MAX,
                              GB_GGUF_ARRAY_MAX);
    }
    return true;
}

static bool check_bools(struct gb_gguf_walk *w, const struct gb_gguf_value *v,
                        const char *quoted) {
    for (uint64_t i = 0; i < v->count; i++) {
        if (w->bytes[v->at + i] > 1) {
            return gb_gguf_invalid(w, v->at + (size_t)i, "%s is a bool and has the value %u",
                                   quoted, w->bytes[v->at + i]);
        }
    }
    return true;
}

static bool read_value(struct gb_gguf_walk *w, struct gb_gguf_value *v) {
    char quoted[GB_GGUF_QUOTE_BYTES];
    char what[GB_GGUF_QUOTE_BYTES + 16];
    gb_gguf_quote(v->key, quoted);
    snprintf(what, sizeof what, "the value of %s", quoted);
    if (!read_type(w, quoted, &v->type)) {
        return false;
    }
    v->count = 1;
    v->is_array = v->type == GB_GGUF_ARRAY;
    if (v->is_array && !read_array_head(w, v, quoted)) {
        return false;
    }
    v->at = w->pos;
    if (v->type != GB_GGUF_STRING) {
        return gb_gguf_skip(w, v->count * gb_gguf_type_bytes[v->type], what) &&
               (v->type != GB_GGUF_BOOL || check_bools(w, v, quoted));
    }
    for (uint64_t i = 0; i < v->count; i++) {
        struct gb_span text;
        if (!gb_gguf_text(w, what, GB_GGUF_TEXT_BYTES_MAX, &text)) {
            return false;
        }
    }
    return true;
}

bool gb_gguf_meta_read(struct gb_gguf_walk *w, uint64_t count) {
    if (count > (w->len - w->pos) / KEY_BYTES_MIN) {
        return gb_gguf_invalid(w, 16, "the file is said to have %llu keys, more than it has room "
                                      "for", (unsigned long long)count);
    }
    if (count > GB_GGUF_KEYS_MAX) {
        return gb_gguf_refuse(w, 16, SHORTER_HINT, "the file has %llu keys; at most %u are allowed",
                              (unsigned long long)count, GB_GGUF_KEYS_MAX);
    }
    w->values = gb_calloc((size_t)count + 1, sizeof *w->values, w->err);
    if (!w->values || !gb_gguf_names_init(&w->keys, w->bytes, (size_t)count, w->err)) {
        return false;
    }
    while (w->values_len < count) {
        struct gb_gguf_value *v = &w->values[w->values_len];
        if (!read_key(w, v) || !read_value(w, v)) {
            return false;
        }
        w->values_len++;
    }
    return true;
}

/* ---- looking up ---- */

const struct gb_gguf_value *gb_gguf_find(const struct gb_gguf_walk *w, const char *key) {
    uint32_t index = 0;
    return gb_gguf_names_find(&w->keys, gb_span_of(key), &index) ? &w->values[index] : NULL;
}

const struct gb_gguf_value *gb_gguf_find_of(const struct gb_gguf_walk *w, const char *suffix) {
    char key[GB_GGUF_KEY_BYTES_MAX + 1];
    snprintf(key, sizeof key, "%.*s%s", (int)w->architecture.len,
             (const char *)w->architecture.ptr, suffix);
    return gb_gguf_find(w, key);
}

uint64_t gb_gguf_number(const struct gb_gguf_walk *w, const struct gb_gguf_value *v, uint64_t i) {
    unsigned bytes = gb_gguf_type_bytes[v->type];
    uint64_t value = gb_gguf_load(w->bytes + v->at + (size_t)i * bytes, bytes);
    bool has_sign = v->type == GB_GGUF_I8 || v->type == GB_GGUF_I16 || v->type == GB_GGUF_I32;
    if (has_sign && value >> (bytes * 8 - 1)) {
        value |= UINT64_MAX << (bytes * 8);
    }
    return value;
}

float gb_gguf_float(const struct gb_gguf_walk *w, const struct gb_gguf_value *v, uint64_t i) {
    uint32_t bits = (uint32_t)gb_gguf_load(w->bytes + v->at + (size_t)i * sizeof bits, sizeof bits);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

struct gb_span gb_gguf_string(const struct gb_gguf_walk *w, size_t *at) {
    size_t len = (size_t)gb_gguf_load(w->bytes + *at, 8);
    struct gb_span text = gb_span_make(w->bytes + *at + 8, len);
    *at += 8 + len;
    return text;
}
