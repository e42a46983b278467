/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Constant tensors: shape, type and data must agree to the byte, and the data must be in the file.
 * Reads the values of small whole-number tensors, since shapes are made of them.
 */
#include "model/onnx_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define EXTERNAL_HINT "Export the model again with all weights inside the file."
#define STRING_OBJECT_BYTES 32u /* of an empty string in the engine */
#define LOCATION_KEY "location"

/* How an element lies in raw_data (bits) and in its typed field (numbers per elements). */
static const struct element {
    const char *text;
    uint8_t bits;
    uint8_t source; /* enum gb_onnx_source */
    uint8_t numbers, elements;
    uint8_t port; /* enum gb_type */
} elements[] = {
    [1] = {"f32", 32, GB_ONNX_FLOATS, 1, 1, GB_TYPE_F32},
    [2] = {"u8", 8, GB_ONNX_INT32S, 1, 1, GB_TYPE_U8},
    [3] = {"i8", 8, GB_ONNX_INT32S, 1, 1, GB_TYPE_OTHER},
    [4] = {"u16", 16, GB_ONNX_INT32S, 1, 1, GB_TYPE_OTHER},
    [5] = {"i16", 16, GB_ONNX_INT32S, 1, 1, GB_TYPE_OTHER},
    [6] = {"i32", 32, GB_ONNX_INT32S, 1, 1, GB_TYPE_I32},
    [7] = {"i64", 64, GB_ONNX_INT64S, 1, 1, GB_TYPE_I64},
    [8] = {"string", 0, GB_ONNX_STRINGS, 1, 1, GB_TYPE_OTHER},
    [9] = {"bool", 8, GB_ONNX_INT32S, 1, 1, GB_TYPE_OTHER},
    [10] = {"f16", 16, GB_ONNX_INT32S, 1, 1, GB_TYPE_F16},
    [11] = {"f64", 64, GB_ONNX_DOUBLES, 1, 1, GB_TYPE_F64},
    [12] = {"u32", 32, GB_ONNX_UINT64S, 1, 1, GB_TYPE_OTHER},
    [13] = {"u64", 64, GB_ONNX_UINT64S, 1, 1, GB_TYPE_OTHER},
    [14] = {"complex64", 64, GB_ONNX_FLOATS, 2, 1, GB_TYPE_OTHER},
    [15] = {"complex128", 128, GB_ONNX_DOUBLES, 2, 1, GB_TYPE_OTHER},
    [16] = {"bf16", 16, GB_ONNX_INT32S, 1, 1, GB_TYPE_BF16},
    [17] = {"f8e4m3fn", 8, GB_ONNX_INT32S, 1, 1, GB_TYPE_OTHER},
    [18] = {"f8e4m3fnuz", 8, GB_ONNX_INT32S, 1, 1, GB_TYPE_OTHER},
    [19] = {"f8e5m2", 8, GB_ONNX_INT32S, 1, 1, GB_TYPE_OTHER},
    [20] = {"f8e5m2fnuz", 8, GB_ONNX_INT32S, 1, 1, GB_TYPE_OTHER},
    [21] = {"u4", 4, GB_ONNX_INT32S, 1, 2, GB_TYPE_OTHER},
    [22] = {"i4", 4, GB_ONNX_INT32S, 1, 2, GB_TYPE_OTHER},
    [23] = {"f4e2m1", 4, GB_ONNX_INT32S, 1, 2, GB_TYPE_OTHER},
    [24] = {"f8e8m0", 8, GB_ONNX_INT32S, 1, 1, GB_TYPE_OTHER},
    [25] = {"u2", 2, GB_ONNX_INT32S, 1, 4, GB_TYPE_OTHER},
    [26] = {"i2", 2, GB_ONNX_INT32S, 1, 4, GB_TYPE_OTHER},
};
static const char *const source_texts[GB_ONNX_SOURCES] = {
    [GB_ONNX_FLOATS] = "float_data",   [GB_ONNX_INT32S] = "int32_data",
    [GB_ONNX_STRINGS] = "string_data", [GB_ONNX_INT64S] = "int64_data",
    [GB_ONNX_DOUBLES] = "double_data", [GB_ONNX_UINT64S] = "uint64_data",
};

bool gb_onnx_type_known(int64_t onnx_type) {
    return onnx_type > 0 && onnx_type < (int64_t)GB_COUNT(elements);
}

enum gb_type gb_onnx_type_port(int64_t onnx_type) {
    return gb_onnx_type_known(onnx_type) ? (enum gb_type)elements[onnx_type].port : GB_TYPE_OTHER;
}

bool gb_onnx_ints_value(struct gb_onnx_walk *w, const struct gb_pb_field *v,
                        struct gb_onnx_ints *ints) {
    uint64_t before = ints->len;
    if (v->wire == GB_PB_VARINT) {
        if (ints->len < GB_ONNX_INTS_MAX) {
            ints->at[ints->len] = (int64_t)v->value;
        }
        ints->len++;
        return gb_onnx_decoded(w, v->off, sizeof(int64_t));
    }
    size_t pos = v->body;
    while (pos < v->body + v->len) {
        uint64_t value;
        enum gb_pb_status status = gb_pb_varint(w->bytes, &pos, v->body + v->len, &value);
        if (status != GB_PB_OK) {
            return gb_onnx_invalid(w, pos, "%s, in packed numbers", gb_pb_status_text(status));
        }
        if (ints->len < GB_ONNX_INTS_MAX) {
            ints->at[ints->len] = (int64_t)value;
        }
        ints->len++;
    }
    return gb_onnx_decoded(w, v->off, (ints->len - before) * sizeof(int64_t));
}

void gb_onnx_ints_constant(const struct gb_onnx_ints *ints, struct gb_onnx_constant *ret_constant) {
    struct gb_onnx_constant c = {
        .elements = ints->len, .element_bytes = 8, .ints_product = 1, .set = true};
    c.first_known = ints->len > 0;
    c.first = ints->len > 0 ? (double)ints->at[0] : 0;
    c.ints_known = ints->len <= GB_ONNX_INTS_MAX;
    bool overflow = false;
    bool zero = false;
    for (uint64_t i = 0; c.ints_known && i < ints->len; i++) {
        c.ints_known = ints->at[i] >= 0;
        zero = zero || ints->at[i] == 0;
        overflow = !gb_mul_u64(c.ints_product, (uint64_t)ints->at[i], &c.ints_product) || overflow;
    }
    c.ints_len = c.ints_known ? (uint32_t)ints->len : 0;
    c.ints_product = zero ? 0 : overflow ? UINT64_MAX : c.ints_product;
    *ret_constant = c;
}

/* Quotes the location of external data when it is fit to print. `v` is a key and value pair. */
static bool refuse_external(struct gb_onnx_walk *w, const struct gb_pb_field *v) {
    char quoted[GB_ONNX_QUOTE_BYTES] = "another file";
    struct gb_onnx_text key = {0};
    struct gb_onnx_text value = {0};
    size_t pos = v->body;
    struct gb_pb_field part;
    while (v->wire == GB_PB_BYTES && pos < v->body + v->len &&
           gb_pb_field(w->bytes, &pos, v->body + v->len, &part) == GB_PB_OK) {
        if (part.wire == GB_PB_BYTES && (part.number == 1 || part.number == 2)) {
            *(part.number == 1 ? &key : &value) =
                (struct gb_onnx_text){(uint32_t)part.body, (uint32_t)part.len};
        }
    }
    bool printable = value.len > 0;
    for (uint32_t i = 0; i < value.len; i++) {
        uint8_t byte = w->bytes[value.off + i];
        printable = printable && byte >= 0x20 && byte < 0x7f;
    }
    if (printable && gb_onnx_is(w, key, LOCATION_KEY)) {
        gb_onnx_quote(w, value, quoted);
    }
    return gb_onnx_refuse(w, v->off, EXTERNAL_HINT, "a tensor takes its data from outside: %s",
                          quoted);
}

static double float_at(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static double double_at(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bool gb_onnx_tensor_inside(struct gb_onnx_walk *w, const struct gb_pb_field *v) {
    bool external = v->number == 13 || (v->number == 14 && v->value != 0);
    return !external || refuse_external(w, v);
}

bool gb_onnx_tensor_value(struct gb_onnx_walk *w, struct gb_onnx_tensor *t,
                          const struct gb_pb_field *v) {
    switch (v->number) {
    case 1:
        return gb_onnx_ints_value(w, v, &t->dims);
    case 2:
        t->type = (int32_t)(uint32_t)v->value; /* protobuf cuts it the same way */
        return true;
    case 4:
        if (t->counts[GB_ONNX_FLOATS] == 0 && v->len >= 4) {
            t->first = float_at(gb_pb_u32(w->bytes + v->body));
        }
        t->counts[GB_ONNX_FLOATS] += v->len / 4;
        return true;
    case 5:
    case 7: {
        enum gb_onnx_source source = v->number == 5 ? GB_ONNX_INT32S : GB_ONNX_INT64S;
        uint64_t before = t->ints.len;
        if (!gb_onnx_ints_value(w, v, &t->ints)) {
            return false;
        }
        t->counts[source] += t->ints.len - before;
        return true;
    }
    case 6:
        t->counts[GB_ONNX_STRINGS]++;
        return true;
    case 8:
        t->name = (struct gb_onnx_text){(uint32_t)v->body, (uint32_t)v->len};
        return true;
    case 9:
        t->raw = (struct gb_onnx_text){(uint32_t)v->body, (uint32_t)v->len};
        t->has_raw = true;
        return true;
    case 10:
        if (t->counts[GB_ONNX_DOUBLES] == 0 && v->len >= 8) {
            t->first = double_at(gb_pb_u64(w->bytes + v->body));
        }
        t->counts[GB_ONNX_DOUBLES] += v->len / 8;
        return true;
    case 11: {
        struct gb_onnx_ints numbers = {0};
        if (!gb_onnx_ints_value(w, v, &numbers)) {
            return false;
        }
        t->counts[GB_ONNX_UINT64S] += numbers.len;
        return true;
    }
    default:
        return true;
    }
}

/* "[2,3]", the first few dimensions. */
static const char *shape_text(const struct gb_onnx_ints *dims, char text[96]) {
    size_t used = (size_t)snprintf(text, 96, "[");
    uint64_t shown = GB_MIN(dims->len, (uint64_t)4);
    for (uint64_t i = 0; i < shown; i++) {
        used += (size_t)snprintf(text + used, 96 - used, "%s%" PRId64, i > 0 ? "," : "",
                                 dims->at[i]);
    }
    snprintf(text + used, 96 - used, "%s]", shown < dims->len ? ",…" : "");
    return text;
}

static bool count_elements(struct gb_onnx_walk *w, const struct gb_onnx_frame *f, const char *label,
                           uint64_t *ret_elements) {
    const struct gb_onnx_tensor *t = &f->u.tensor;
    char shape[96];
    uint64_t product = 1;
    bool zero = false;
    if (t->dims.len > GB_WIRE_RANK_MAX) {
        return gb_onnx_refuse(w, f->start, "Reshape it to fewer dimensions.",
                              "%s has %" PRIu64 " dimensions; at most %u are allowed", label,
                              t->dims.len, GB_WIRE_RANK_MAX);
    }
    for (uint64_t i = 0; i < t->dims.len; i++) {
        int64_t dim = t->dims.at[i];
        if (dim < 0) {
            return gb_onnx_invalid(w, f->start, "%s has a negative dimension: %s", label,
                                   shape_text(&t->dims, shape));
        }
        zero = zero || dim == 0;
        /* 2^58 elements of the widest type still have a size in bits. */
        if (dim != 0 && (!gb_mul_u64(product, (uint64_t)dim, &product) || product > 1ull << 56)) {
            return gb_onnx_invalid(w, f->start, "%s has a shape that no memory can hold: %s", label,
                                   shape_text(&t->dims, shape));
        }
    }
    *ret_elements = zero ? 0 : product;
    return true;
}

/* The data of a tensor: exactly one source, exactly as much as the shape asks for. */
static bool check_data(struct gb_onnx_walk *w, const struct gb_onnx_frame *f, const char *label,
                       uint64_t count) {
    const struct gb_onnx_tensor *t = &f->u.tensor;
    const struct element *e = &elements[t->type];
    char shape[96];
    unsigned sources = t->has_raw ? 1 : 0;
    for (unsigned i = 0; i < GB_ONNX_SOURCES; i++) {
        sources += t->counts[i] > 0;
        if (t->counts[i] > 0 && i != e->source) {
            return gb_onnx_invalid(w, f->start, "%s is of type %s and has %s", label, e->text,
                                   source_texts[i]);
        }
    }
    if (sources > 1) {
        return gb_onnx_invalid(w, f->start, "%s has its data twice", label);
    }
    if (t->has_raw) {
        uint64_t need = (count * e->bits + 7) / 8;
        if (t->type == 8 || t->raw.len != need) {
            return gb_onnx_invalid(w, f->start,
                                   "%s has %u bytes of raw data where %s %s needs %" PRIu64, label,
                                   t->raw.len, e->text, shape_text(&t->dims, shape), need);
        }
        return true;
    }
    uint64_t need = (count * e->numbers + e->elements - 1) / e->elements;
    if (sources == 0 && need > 0) {
        return gb_onnx_invalid(w, f->start, "%s has no data where %s %s needs %" PRIu64 " values",
                               label, e->text, shape_text(&t->dims, shape), need);
    }
    if (t->counts[e->source] != need) {
        return gb_onnx_invalid(w, f->start,
                               "%s has %" PRIu64 " values where %s %s needs %" PRIu64, label,
                               t->counts[e->source], e->text, shape_text(&t->dims, shape), need);
    }
    return true;
}

/* Whole numbers that lie in raw_data, for shapes. */
static void read_raw(const struct gb_onnx_walk *w, struct gb_onnx_tensor *t, uint64_t count) {
    const uint8_t *raw = w->bytes + t->raw.off;
    if (!t->has_raw || count == 0) {
        return;
    }
    if (t->type == 1) {
        t->first = float_at(gb_pb_u32(raw));
    } else if (t->type == 11) {
        t->first = double_at(gb_pb_u64(raw));
    } else if (t->type == 6 || t->type == 7) {
        t->ints.len = count;
        for (size_t i = 0; i < GB_MIN(count, (uint64_t)GB_ONNX_INTS_MAX); i++) {
            t->ints.at[i] = t->type == 6 ? (int64_t)(int32_t)gb_pb_u32(raw + 4 * i)
                                         : (int64_t)gb_pb_u64(raw + 8 * i);
        }
    }
}

bool gb_onnx_tensor_end(struct gb_onnx_walk *w, struct gb_onnx_frame *f, const char *what,
                        struct gb_onnx_constant *ret_constant, uint64_t *ret_bytes) {
    struct gb_onnx_tensor *t = &f->u.tensor;
    char quoted[GB_ONNX_QUOTE_BYTES];
    char label[GB_ONNX_QUOTE_BYTES + 32];
    snprintf(label, sizeof label, "the %s %s", what, gb_onnx_quote(w, t->name, quoted));
    if (!gb_onnx_type_known(t->type)) {
        return gb_onnx_invalid(w, f->start,
                               "%s has the element type %d, which ONNX does not define", label,
                               t->type);
    }
    uint64_t count = 0;
    if (!count_elements(w, f, label, &count) || !check_data(w, f, label, count)) {
        return false;
    }
    const struct element *e = &elements[t->type];
    read_raw(w, t, count);
    struct gb_onnx_constant c = {0};
    if (t->type == 6 || t->type == 7) {
        gb_onnx_ints_constant(&t->ints, &c);
    }
    c.set = true;
    c.elements = count;
    c.element_bytes = t->type == 8 ? STRING_OBJECT_BYTES : (e->bits + 7u) / 8u;
    if (t->type == 1 || t->type == 11) {
        c.first = t->first;
        c.first_known = count > 0;
    }
    *ret_constant = c;
    *ret_bytes = count * c.element_bytes;
    return true;
}
