/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over the bytes of an ONNX file: a loop and a stack of frames, no recursion. Checks what
 * holds for every message (lengths, wire types, fields that appear once, names, depth, the size
 * when decoded) and hands what is left to onnx_check.c.
 */
#include "model/onnx_internal.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/buf.h"

/* What the engine's protobuf objects take besides their contents; a low estimate. */
#define MESSAGE_BYTES 96u
#define STRING_BYTES  32u

#define DAMAGED_HINT                                                                               \
    "The file is damaged or was not written by an ONNX exporter: copy or export it again."
#define SPLIT_HINT "Export the model again with less nesting."

const char *gb_onnx_quote(const struct gb_onnx_walk *w, struct gb_onnx_text t,
                          char text[GB_ONNX_QUOTE_BYTES]) {
    size_t len = t.len;
    bool cut = len > GB_ONNX_QUOTE_BYTES - 6;
    if (cut) {
        len = GB_ONNX_QUOTE_BYTES - 6;
        while (len > 0 && (w->bytes[t.off + len] & 0xc0) == 0x80) {
            len--;
        }
    }
    snprintf(text, GB_ONNX_QUOTE_BYTES, "\"%.*s%s\"", (int)len, (const char *)w->bytes + t.off,
             cut ? "…" : "");
    return text;
}

bool gb_onnx_invalid(struct gb_onnx_walk *w, size_t at, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gb_fail(w->err, GB_MODEL_INVALID, "%s (byte %zu)", text, at);
    return gb_hint(w->err, "%s", DAMAGED_HINT);
}

bool gb_onnx_refuse(struct gb_onnx_walk *w, size_t at, const char *hint, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gb_fail(w->err, GB_MODEL_REJECTED, "%s (byte %zu)", text, at);
    return gb_hint(w->err, "%s", hint);
}

void gb_onnx_finding(struct gb_onnx_walk *w, const char *format, ...) {
    struct gb_onnx_summary *s = w->summary;
    if (s->findings_len == GB_COUNT(s->findings)) {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(s->findings[s->findings_len], sizeof s->findings[0], format, args);
    va_end(args);
    s->findings_len++;
}

bool gb_onnx_decoded(struct gb_onnx_walk *w, size_t at, uint64_t bytes) {
    if (w->pass != GB_ONNX_PASS_CHECK) {
        return true;
    }
    w->decoded_bytes += bytes; /* every caller's number is below 16 times the file's size */
    if (w->decoded_bytes <= GB_ONNX_DECODED_BYTES_MAX) {
        return true;
    }
    return gb_onnx_refuse(w, at, "Split the model, or store its weights as raw data.",
                          "the model takes more than %llu MiB once it is decoded",
                          (unsigned long long)(GB_ONNX_DECODED_BYTES_MAX / GB_MIB));
}

static const struct gb_onnx_field *find_field(uint8_t message, uint32_t number, unsigned *ret_row) {
    const struct gb_onnx_schema *schema = &gb_onnx_schemas[message];
    for (unsigned i = 0; i < schema->fields_len; i++) {
        if (schema->fields[i].number == number) {
            *ret_row = i;
            return &schema->fields[i];
        }
    }
    return NULL;
}

static bool wire_fits(const struct gb_onnx_field *field, const struct gb_pb_field *v) {
    bool packed = field->repeated && v->wire == GB_PB_BYTES;
    switch ((enum gb_onnx_kind)field->kind) {
    case GB_ONNX_INT32:
    case GB_ONNX_INT64:
        return v->wire == GB_PB_VARINT || packed;
    case GB_ONNX_FLOAT:
        return v->wire == GB_PB_FIXED32 || (packed && v->len % 4 == 0);
    case GB_ONNX_DOUBLE:
        return v->wire == GB_PB_FIXED64 || (packed && v->len % 8 == 0);
    case GB_ONNX_BLOB:
    case GB_ONNX_NAME:
    case GB_ONNX_SUB:
    case GB_ONNX_REFUSED:
        return v->wire == GB_PB_BYTES;
    }
    return false;
}

/* A name is shown to people and compared with a guest's. C1 controls are 0xc2 0x80 to 0xc2 0x9f. */
static bool has_control(struct gb_span text) {
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.ptr[i];
        if (byte < 0x20 || byte == 0x7f ||
            (byte == 0xc2 && i + 1 < text.len && text.ptr[i + 1] < 0xa0)) {
            return true;
        }
    }
    return false;
}

static bool check_name(struct gb_onnx_walk *w, const struct gb_onnx_frame *f,
                       const struct gb_onnx_field *field, const struct gb_pb_field *v) {
    const char *message = gb_onnx_schemas[f->message].name;
    struct gb_span text = gb_span_make(w->bytes + v->body, v->len);
    if (v->len > GB_ONNX_NAME_MAX) {
        return gb_onnx_refuse(w, v->off, "Give it a shorter name and export the model again.",
                              "the %s of a %s has %zu bytes; at most %u are allowed", field->name,
                              message, v->len, GB_ONNX_NAME_MAX);
    }
    if (!gb_utf8_valid(text)) {
        return gb_onnx_invalid(w, v->off, "the %s of a %s is not UTF-8 text", field->name,
                               message);
    }
    if (has_control(text)) {
        return gb_onnx_refuse(w, v->off, "Rename it and export the model again.",
                              "the %s of a %s has control characters", field->name, message);
    }
    return true;
}

static bool push(struct gb_onnx_walk *w, const struct gb_onnx_field *field,
                 const struct gb_pb_field *v) {
    if (w->depth == GB_ONNX_DEPTH_MAX) {
        return gb_onnx_refuse(w, v->off, SPLIT_HINT,
                              "the model has messages nested more than %u deep", GB_ONNX_DEPTH_MAX);
    }
    if (field->sub == GB_ONNX_GRAPH && ++w->graph_depth > GB_ONNX_GRAPH_DEPTH_MAX + 1) {
        return gb_onnx_refuse(w, v->off, SPLIT_HINT,
                              "the model has graphs nested more than %u deep",
                              GB_ONNX_GRAPH_DEPTH_MAX);
    }
    struct gb_onnx_frame *f = &w->stack[w->depth++];
    *f = (struct gb_onnx_frame){.message = field->sub,
                                .field = field->number,
                                .start = (uint32_t)v->body,
                                .end = (uint32_t)(v->body + v->len)};
    return gb_onnx_decoded(w, v->off, MESSAGE_BYTES) &&
           (w->pass == GB_ONNX_PASS_REFUSE || gb_onnx_begin(w, f));
}

/* Packed whole numbers are counted where they are read: onnx_tensor.c. */
static uint64_t decoded_size(const struct gb_onnx_field *field, const struct gb_pb_field *v) {
    if (field->kind == GB_ONNX_BLOB || field->kind == GB_ONNX_NAME) {
        return STRING_BYTES + v->len;
    }
    bool whole = field->kind == GB_ONNX_INT32 || field->kind == GB_ONNX_INT64;
    return whole || !field->repeated ? 0 : v->len;
}

static bool take_field(struct gb_onnx_walk *w, struct gb_onnx_frame *f,
                       const struct gb_pb_field *v) {
    unsigned row = 0;
    const struct gb_onnx_field *field = find_field(f->message, v->number, &row);
    const char *message = gb_onnx_schemas[f->message].name;
    if (!field) {
        return gb_onnx_decoded(w, v->off, STRING_BYTES + v->len);
    }
    if (!wire_fits(field, v)) {
        return gb_onnx_invalid(w, v->off, "the %s of a %s is encoded as something else",
                               field->name, message);
    }
    if (field->kind == GB_ONNX_REFUSED) {
        return gb_onnx_refuse(w, v->off, field->hint, "%s", field->why);
    }
    if (w->pass == GB_ONNX_PASS_REFUSE) {
        return field->kind == GB_ONNX_SUB       ? push(w, field, v)
               : f->message == GB_ONNX_TENSOR ? gb_onnx_tensor_inside(w, v)
                                              : true;
    }
    /* Protobuf lets the last one win, or merges two: a way to show a checker something else. */
    if (!field->repeated && (f->seen & 1u << row)) {
        return gb_onnx_invalid(w, v->off, "a %s has the field %s twice", message, field->name);
    }
    f->seen |= 1u << row;
    if (field->kind == GB_ONNX_NAME && !check_name(w, f, field, v)) {
        return false;
    }
    if (field->kind == GB_ONNX_SUB) {
        return push(w, field, v);
    }
    return gb_onnx_decoded(w, v->off, decoded_size(field, v)) && gb_onnx_value(w, f, v);
}

bool gb_onnx_walk_run(struct gb_onnx_walk *w) {
    const struct gb_onnx_field root = {.sub = GB_ONNX_MODEL};
    const struct gb_pb_field all = {.body = 0, .len = w->len};
    size_t pos = 0;
    w->depth = 0;
    w->graph_depth = 0;
    if (!push(w, &root, &all)) {
        return false;
    }
    while (w->depth > 0) {
        struct gb_onnx_frame *f = gb_onnx_top(w);
        if (pos == f->end) {
            if (w->pass != GB_ONNX_PASS_REFUSE && !gb_onnx_end(w, f)) {
                return false;
            }
            w->graph_depth -= f->message == GB_ONNX_GRAPH;
            w->depth--;
            continue;
        }
        struct gb_pb_field v;
        size_t at = pos;
        enum gb_pb_status status = gb_pb_field(w->bytes, &pos, f->end, &v);
        if (status != GB_PB_OK) {
            return gb_onnx_invalid(w, at, "%s, in a %s", gb_pb_status_text(status),
                                   gb_onnx_schemas[f->message].name);
        }
        uint32_t depth = w->depth;
        if (!take_field(w, f, &v)) {
            return false;
        }
        if (w->depth > depth) {
            pos = v.body; /* into the message just begun */
        }
    }
    return true;
}
