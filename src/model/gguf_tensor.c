/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tensors of a GGUF file: name, shape, type and place of each. Their data lies one behind the
 * other, padded, in the order of the list - the engine insists on that as well - so none can
 * overlap, and the last one's end decides whether the file is whole.
 */
#include "model/gguf_internal.h"

#include <stdio.h>

#define TENSOR_BYTES_MIN 32u /* no name, no dimensions */
#define TYPE_HINT "Convert or quantise the model again with a current converter."

struct tensor {
    struct gb_span name;
    char quoted[GB_GGUF_QUOTE_BYTES];
    uint32_t rank;
    uint64_t dims[GB_GGUF_RANK_MAX];
    uint64_t elements;
    uint64_t bytes;
    uint32_t type;
    size_t at;
};

static bool read_name(struct gb_gguf_walk *w, struct tensor *t, uint32_t index) {
    if (!gb_gguf_text(w, "the name of a tensor", GB_GGUF_NAME_BYTES_MAX, &t->name)) {
        return false;
    }
    gb_gguf_quote(t->name, t->quoted);
    if (!gb_gguf_name_ok(t->name)) {
        return gb_gguf_invalid(w, t->at, "%s is no name of a tensor: names are letters, digits, "
                                         "\"_\", \"-\" and single dots", t->quoted);
    }
    if (!gb_gguf_names_add(&w->names, t->name, index)) {
        return gb_gguf_invalid(w, t->at, "two tensors have the name %s", t->quoted);
    }
    return true;
}

static bool read_shape(struct gb_gguf_walk *w, struct tensor *t) {
    size_t at = w->pos;
    if (!gb_gguf_u32(w, "the shape of a tensor", &t->rank)) {
        return false;
    }
    if (t->rank == 0 || t->rank > GB_GGUF_RANK_MAX) {
        return gb_gguf_invalid(w, at, "the tensor %s has %u dimensions and must have 1 to %u",
                               t->quoted, t->rank, GB_GGUF_RANK_MAX);
    }
    t->elements = 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        at = w->pos;
        if (!gb_gguf_u64(w, "the shape of a tensor", &t->dims[i])) {
            return false;
        }
        if (t->dims[i] == 0 || t->dims[i] > INT64_MAX) {
            return gb_gguf_invalid(w, at, "dimension %u of the tensor %s is %lld", i, t->quoted,
                                   (long long)t->dims[i]);
        }
        if (t->dims[i] > GB_GGUF_DIM_MAX) {
            return gb_gguf_refuse(w, at, "Use a smaller model.",
                                  "dimension %u of the tensor %s is %llu; at most %u are allowed",
                                  i, t->quoted, (unsigned long long)t->dims[i], GB_GGUF_DIM_MAX);
        }
        if (!gb_mul_u64(t->elements, t->dims[i], &t->elements) || t->elements > INT64_MAX) {
            return gb_gguf_invalid(w, at, "the tensor %s has more elements than can be counted",
                                   t->quoted);
        }
    }
    return true;
}

static bool read_type(struct gb_gguf_walk *w, struct tensor *t) {
    size_t at = w->pos;
    if (!gb_gguf_u32(w, "the type of a tensor", &t->type)) {
        return false;
    }
    const struct gb_gguf_tensor_type *type =
        t->type < GB_GGUF_TENSOR_TYPES ? &gb_gguf_tensor_types[t->type] : NULL;
    if (!type || !type->name) {
        return gb_gguf_refuse(w, at, TYPE_HINT, "the tensor %s is of the type %u, which is unknown",
                              t->quoted, t->type);
    }
    if (type->elements == 0) {
        return gb_gguf_refuse(w, at, TYPE_HINT,
                              "the tensor %s is of the type %s, which is not stored in files",
                              t->quoted, type->name);
    }
    if (t->dims[0] % type->elements != 0) {
        return gb_gguf_invalid(w, at, "the tensor %s has rows of %llu elements, no multiple of the "
                                      "%u in a block of %s", t->quoted,
                               (unsigned long long)t->dims[0], type->elements, type->name);
    }
    if (!gb_mul_u64(t->elements / type->elements, type->bytes, &t->bytes) ||
        t->bytes > w->len) {
        return gb_gguf_invalid(w, t->at, "the tensor %s does not fit in the file", t->quoted);
    }
    return true;
}

/* w->data_bytes is below twice the file's size, since every tensor fits in the file and ends in
 * it. */
static bool read_place(struct gb_gguf_walk *w, const struct tensor *t) {
    size_t at = w->pos;
    uint64_t offset = 0;
    if (!gb_gguf_u64(w, "the place of a tensor", &offset)) {
        return false;
    }
    if (offset % w->alignment != 0) {
        return gb_gguf_invalid(w, at, "the tensor %s begins at %llu, no multiple of the alignment "
                                      "%llu", t->quoted, (unsigned long long)offset,
                               (unsigned long long)w->alignment);
    }
    if (!gb_range_ok(offset, t->bytes, w->len)) {
        return gb_gguf_invalid(w, at, "the tensor %s ends outside the file", t->quoted);
    }
    if (offset != w->data_bytes) {
        return gb_gguf_invalid(w, at, "the tensor %s begins at %llu, and %s at %llu", t->quoted,
                               (unsigned long long)offset,
                               offset < w->data_bytes ? "those before it end"
                                                      : "must follow those before it",
                               (unsigned long long)w->data_bytes);
    }
    w->summary->tensor_bytes = offset + t->bytes;
    w->data_bytes = gb_round_up_u64(offset + t->bytes, w->alignment);
    return true;
}

static bool read_tensor(struct gb_gguf_walk *w, uint32_t index) {
    struct tensor t = {.dims = {1, 1, 1, 1}, .at = w->pos};
    if (!read_name(w, &t, index) || !read_shape(w, &t) || !read_type(w, &t) ||
        !read_place(w, &t)) {
        return false;
    }
    w->summary->parameters += t.elements; /* all fit in the file: below 8 times its size */
    w->type_bytes[t.type] += t.bytes;
    if (gb_span_is(t.name, "token_embd.weight")) {
        w->has_embeddings = true;
        w->embeddings[0] = t.dims[0];
        w->embeddings[1] = t.dims[1];
    }
    return true;
}

/* The header ends here. */
static bool check_data(struct gb_gguf_walk *w) {
    struct gb_gguf_summary *s = w->summary;
    uint64_t begin = gb_round_up_u64(w->pos, w->alignment);
    if (!gb_range_ok(begin, s->tensor_bytes, w->len)) {
        return gb_gguf_invalid(w, w->len, "the file has %zu bytes, and its tensors end at %llu: it "
                                          "is not whole", w->len,
                               (unsigned long long)(begin + s->tensor_bytes));
    }
    s->header_bytes = begin;
    uint64_t rest = w->len - begin - s->tensor_bytes;
    if (rest >= w->alignment) {
        gb_gguf_finding(w, "%llu bytes follow the last tensor, and nothing says what they are",
                        (unsigned long long)rest);
    }
    return true;
}

bool gb_gguf_tensors_read(struct gb_gguf_walk *w) {
    if (w->tensors == 0) {
        return gb_gguf_refuse(w, 8, "Get the file with the model's weights.",
                              "the file has no tensors");
    }
    if (w->tensors > (w->len - w->pos) / TENSOR_BYTES_MIN) {
        return gb_gguf_invalid(w, 8, "the file is said to have %llu tensors, more than it has room "
                                     "for", (unsigned long long)w->tensors);
    }
    if (w->tensors > GB_GGUF_TENSORS_MAX) {
        return gb_gguf_refuse(w, 8, "Use a smaller model.",
                              "the file has %llu tensors; at most %u are allowed",
                              (unsigned long long)w->tensors, GB_GGUF_TENSORS_MAX);
    }
    if (!gb_gguf_names_init(&w->names, w->bytes, (size_t)w->tensors, w->err)) {
        return false;
    }
    for (uint32_t i = 0; i < w->tensors; i++) {
        if (!read_tensor(w, i)) {
            return false;
        }
    }
    w->summary->tensors = w->tensors;
    return check_data(w);
}
