/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator handed to yyjson goes through the heap door, so that faults can be injected, and
 * notes failure in the writer itself.
 */
#include "lib/json.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/num.h"

static void *json_malloc(void *ctx, size_t bytes) {
    struct gb_json *j = ctx;
    void *ptr = gb_alloc(bytes, NULL);
    j->out_of_memory = j->out_of_memory || !ptr;
    return ptr;
}

static void *json_realloc(void *ctx, void *old, size_t old_bytes, size_t bytes) {
    (void)old_bytes;
    struct gb_json *j = ctx;
    void *ptr = gb_realloc(old, bytes, NULL);
    j->out_of_memory = j->out_of_memory || !ptr;
    return ptr;
}

static void json_free(void *ctx, void *ptr) {
    (void)ctx;
    gb_free(ptr);
}

void gb_json_init(struct gb_json *j) {
    *j = (struct gb_json){
        .alc = {.malloc = json_malloc, .realloc = json_realloc, .free = json_free, .ctx = j}};
    j->doc = yyjson_mut_doc_new(&j->alc);
}

void gb_json_fini(struct gb_json *j) {
    yyjson_mut_doc_free(j->doc);
    j->doc = NULL;
}

/* Each byte that is no part of a well-formed sequence becomes U+FFFD. */
static yyjson_mut_val *repaired_text(struct gb_json *j, struct gb_span text) {
    struct gb_buf b;
    size_t cap;
    if (!gb_mul_size(text.len, 3, &cap)) {
        cap = SIZE_MAX - 1;
    }
    gb_buf_init(&b, cap);
    bool ok = true;
    for (size_t i = 0; ok && i < text.len;) {
        size_t n = 0;
        for (size_t len = 1; n == 0 && len <= 4 && len <= text.len - i; len++) {
            n = gb_utf8_valid(gb_span_make(text.ptr + i, len)) ? len : 0;
        }
        ok = n > 0 ? gb_buf_append(&b, text.ptr + i, n, NULL)
                   : gb_buf_append(&b, "\xef\xbf\xbd", 3, NULL);
        i += n > 0 ? n : 1;
    }
    yyjson_mut_val *val = NULL;
    if (ok) {
        val = yyjson_mut_strncpy(j->doc, gb_buf_text(&b), b.len);
    } else {
        j->out_of_memory = true;
    }
    gb_buf_fini(&b);
    return val;
}

yyjson_mut_val *gb_json_text(struct gb_json *j, struct gb_span text) {
    if (text.len == 0) {
        return yyjson_mut_strncpy(j->doc, "", 0);
    }
    if (!gb_utf8_valid(text)) {
        return repaired_text(j, text);
    }
    return yyjson_mut_strncpy(j->doc, (const char *)text.ptr, text.len);
}

/* Outside of ASCII as \uXXXX, in pairs where it takes two. */
static bool append_ascii(struct gb_buf *b, const uint8_t *text, size_t len) {
    bool ok = true;
    size_t from = 0;
    for (size_t i = 0; ok && i < len;) {
        if (text[i] < 0x80) {
            i++;
            continue;
        }
        ok = gb_buf_append(b, text + from, i - from, NULL);
        size_t n = text[i] < 0xe0 ? 2 : text[i] < 0xf0 ? 3 : 4;
        uint32_t code = text[i] & (0x7fu >> n);
        for (size_t k = 1; k < n && i + k < len; k++) {
            code = code << 6 | (text[i + k] & 0x3fu);
        }
        if (ok && code >= 0x10000) {
            code -= 0x10000;
            ok = gb_buf_append_format(b, NULL, "\\u%04x", 0xd800u | code >> 10);
            code = 0xdc00u | (code & 0x3ffu);
        }
        ok = ok && gb_buf_append_format(b, NULL, "\\u%04x", code);
        from = i = GB_MIN(i + n, len);
    }
    return ok && gb_buf_append(b, text + from, len - from, NULL);
}

yyjson_mut_val *gb_json_raw(struct gb_json *j, const char *text, size_t len, bool ascii) {
    if (!ascii) {
        return yyjson_mut_rawncpy(j->doc, text, len);
    }
    struct gb_buf b;
    gb_buf_init(&b, SIZE_MAX / 2);
    yyjson_mut_val *val = NULL;
    if (append_ascii(&b, (const uint8_t *)text, len)) {
        val = yyjson_mut_rawncpy(j->doc, gb_buf_text(&b), b.len);
    } else {
        j->out_of_memory = true;
    }
    gb_buf_fini(&b);
    return val;
}

void gb_json_add(struct gb_json *j, yyjson_mut_val *object, const char *key,
                 yyjson_mut_val *value) {
    (void)yyjson_mut_obj_add_val(j->doc, object, key, value);
}

void gb_json_add_text(struct gb_json *j, yyjson_mut_val *object, const char *key,
                      const char *text) {
    gb_json_add(j, object, key, text ? gb_json_text(j, gb_span_of(text)) : yyjson_mut_null(j->doc));
}

void gb_json_add_u64(struct gb_json *j, yyjson_mut_val *object, const char *key, uint64_t number) {
    gb_json_add(j, object, key, yyjson_mut_uint(j->doc, number));
}

void gb_json_add_bool(struct gb_json *j, yyjson_mut_val *object, const char *key, bool value) {
    gb_json_add(j, object, key, yyjson_mut_bool(j->doc, value));
}

yyjson_mut_val *gb_json_error(struct gb_json *j, const struct gb_error *e) {
    yyjson_mut_val *first = NULL;
    yyjson_mut_val *outer = NULL;
    for (; e; e = e->cause) {
        yyjson_mut_val *object = yyjson_mut_obj(j->doc);
        gb_json_add_text(j, object, "code", gb_code_text(e->code));
        gb_json_add_text(j, object, "message", e->message);
        gb_json_add_text(j, object, "hint", e->hint);
        if (e->value) {
            gb_json_add(j, object, "value",
                        e->value_is_json ? gb_json_raw(j, e->value, strlen(e->value), true)
                                         : gb_json_text(j, gb_span_of(e->value)));
        }
        if (outer) {
            gb_json_add(j, outer, "cause", object);
        } else {
            first = object;
        }
        outer = object;
    }
    return first;
}

char *gb_json_finish(struct gb_json *j, yyjson_mut_val *root, yyjson_write_flag flags,
                     struct gb_error **err) {
    char *text = NULL;
    if (j->doc && root && !j->out_of_memory) {
        yyjson_mut_doc_set_root(j->doc, root);
        text = yyjson_mut_write_opts(j->doc, flags, &j->alc, NULL, NULL);
    }
    gb_json_fini(j);
    if (!text) {
        if (j->out_of_memory) {
            (void)gb_calloc(SIZE_MAX, 2, err); /* sets the static out-of-memory error */
        }
        gb_fail(err, GB_INTERNAL, "could not write a JSON text");
    }
    return text;
}
