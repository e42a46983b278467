/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Constant folding, by size only. An engine computes what depends on constants alone while it loads
 * a model; a few bytes can then ask for gigabytes. So the sizes of constants are followed through
 * the operators that make large ones, or that shapes are computed with.
 *
 * Best effort: nodes are taken in the order of the file, and an operator that is not listed gives a
 * value of unknown size. What gets past here meets the worker's own address space limit.
 */
#include "model/onnx_internal.h"

#include <inttypes.h>

#define HINT                                                                                       \
    "Compute it from an input of the model, or export the model again with constant folding."
#define F32_BYTES 4u

static const char *const same_size_ops[] = {
    "Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Neg", "Abs", "Transpose",
    "Sqrt", "Exp", "Cos", "Sin", "Relu", "Not",
};
static const char *const same_value_ops[] = {"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze",
                                             "Flatten"};
static const char *const elementwise_ops[] = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"};

static bool is_one_of(const struct gb_onnx_walk *w, struct gb_onnx_text op,
                      const char *const *names, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (gb_onnx_is(w, op, names[i])) {
            return true;
        }
    }
    return false;
}

static uint64_t mul_saturating(uint64_t a, uint64_t b) {
    uint64_t product;
    return a == 0 || b == 0 ? 0 : gb_mul_u64(a, b, &product) ? product : UINT64_MAX;
}

static uint64_t pow_saturating(uint64_t base, uint64_t exponent) {
    uint64_t product = 1;
    for (uint64_t i = 0; i < exponent && product != 0 && product != UINT64_MAX && base != 1; i++) {
        product = mul_saturating(product, base);
    }
    return product;
}

void gb_onnx_fold_input(const struct gb_onnx_walk *w, struct gb_onnx_node *node,
                        struct gb_onnx_text input) {
    const struct gb_onnx_name *name = gb_onnx_names_find(w, input);
    struct gb_onnx_constant *joined = &node->joined;
    if (!name || !name->constant.set) {
        node->has_variable = true;
        return;
    }
    const struct gb_onnx_constant *c = &name->constant;
    if (!joined->set) {
        *joined = *c;
        return;
    }
    joined->ints_known = joined->ints_known && c->ints_known;
    joined->ints_product = mul_saturating(joined->ints_product, c->ints_product);
    joined->ints_len += c->ints_len;
    joined->element_bytes = GB_MAX(joined->element_bytes, c->element_bytes);
    if (!gb_add_u64(joined->elements, c->elements, &joined->elements)) {
        joined->elements = UINT64_MAX;
    }
}

/* Elements of Range(from, to, by). */
static uint64_t range_elements(double from, double to, double by) {
    double count = (to - from) / by;
    if (!(count > 0)) {
        return 0;
    }
    return count < 9e18 ? (uint64_t)count + 1 : UINT64_MAX;
}

static void fold_elementwise(const struct gb_onnx_walk *w, struct gb_onnx_text op,
                             const struct gb_onnx_constant *a, const struct gb_onnx_constant *b,
                             struct gb_onnx_constant *out) {
    uint64_t larger = GB_MAX(a->elements, b->elements);
    bool zero = a->elements == 0 || b->elements == 0;
    /* Broadcasting a row against a column multiplies: an upper bound would refuse honest models. */
    *out = (struct gb_onnx_constant){.set = true,
                                     .elements = zero ? 0 : larger,
                                     .element_bytes = GB_MAX(a->element_bytes, b->element_bytes)};
    bool single = a->ints_len == 1 || b->ints_len == 1;
    if (!gb_onnx_is(w, op, "Mul") || !a->ints_known || !b->ints_known || zero ||
        (a->ints_len != b->ints_len && !single)) {
        return;
    }
    uint64_t times_a = a->ints_len == 1 ? b->ints_len : 1;
    uint64_t times_b = b->ints_len == 1 ? a->ints_len : 1;
    out->ints_known = true;
    out->ints_len = GB_MAX(a->ints_len, b->ints_len);
    out->ints_product = mul_saturating(pow_saturating(a->ints_product, times_a),
                                       pow_saturating(b->ints_product, times_b));
}

/* What the node makes of its inputs; out->set stays false where we do not know. */
static void fold_op(const struct gb_onnx_walk *w, const struct gb_onnx_node *n,
                    const struct gb_onnx_constant *in[3], struct gb_onnx_constant *out) {
    const struct gb_onnx_constant *a = in[0];
    const struct gb_onnx_constant *b = in[1];
    if (gb_onnx_is(w, n->op, "ConstantOfShape") && a && a->ints_known) {
        uint32_t bytes = n->value.set ? n->value.element_bytes : F32_BYTES;
        *out = (struct gb_onnx_constant){.elements = a->ints_product, .element_bytes = bytes};
        out->set = true;
    } else if (gb_onnx_is(w, n->op, "Concat")) {
        *out = n->joined;
        out->first_known = false;
    } else if (gb_onnx_is(w, n->op, "Range") && n->inputs_len == 3 && a->first_known &&
               b->first_known && in[2]->first_known) {
        *out = (struct gb_onnx_constant){.element_bytes = a->element_bytes};
        out->elements = range_elements(a->first, b->first, in[2]->first);
        out->set = true;
    } else if (gb_onnx_is(w, n->op, "Expand") && a && b && b->ints_known) {
        *out = (struct gb_onnx_constant){.element_bytes = a->element_bytes, .set = true};
        out->elements = a->elements == 0 ? 0 : GB_MAX(a->elements, b->ints_product);
    } else if (gb_onnx_is(w, n->op, "Tile") && a && b && b->ints_known) {
        *out = (struct gb_onnx_constant){.element_bytes = a->element_bytes, .set = true};
        out->elements = mul_saturating(a->elements, b->ints_product);
    } else if (a && is_one_of(w, n->op, same_size_ops, GB_COUNT(same_size_ops))) {
        *out = *a;
        bool same = is_one_of(w, n->op, same_value_ops, GB_COUNT(same_value_ops));
        out->ints_known = a->ints_known && same;
        out->first_known = a->first_known && same;
    } else if (a && b && is_one_of(w, n->op, elementwise_ops, GB_COUNT(elementwise_ops))) {
        fold_elementwise(w, n->op, a, b, out);
    }
}

bool gb_onnx_fold(struct gb_onnx_walk *w, const struct gb_onnx_frame *f, uint32_t scope) {
    const struct gb_onnx_node *n = &f->u.node;
    const struct gb_onnx_constant *in[3] = {NULL, NULL, NULL};
    struct gb_onnx_constant out = {0};
    if (n->has_variable || n->inputs_len == 0 || n->domain.len > sizeof "ai.onnx" - 1) {
        return true;
    }
    for (size_t i = 0; i < GB_COUNT(in) && i < n->inputs_len; i++) {
        const struct gb_onnx_name *name = gb_onnx_names_find(w, n->inputs[i]);
        in[i] = name && name->constant.set ? &name->constant : NULL;
    }
    fold_op(w, n, in, &out);
    if (!out.set) {
        return true;
    }
    uint64_t bytes = mul_saturating(out.elements, out.element_bytes);
    if (bytes > GB_ONNX_CONSTANT_BYTES_MAX) {
        char op[GB_ONNX_QUOTE_BYTES];
        char output[GB_ONNX_QUOTE_BYTES];
        return gb_onnx_refuse(
            w, f->start, HINT,
            "the operator %s makes the constant %s of %s%" PRIu64 " bytes; at most %" PRIu64
            " are allowed",
            gb_onnx_quote(w, n->op, op), gb_onnx_quote(w, n->output, output),
            bytes == UINT64_MAX ? "more than " : "", bytes, GB_ONNX_CONSTANT_BYTES_MAX);
    }
    struct gb_onnx_name name = {.text = n->output, .scope = scope, .constant = out};
    bool is_new;
    return n->output.len == 0 || gb_onnx_names_add(w, &name, &is_new);
}
