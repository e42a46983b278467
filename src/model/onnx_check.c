/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structural validation of ONNX files before any engine sees them: what each message must fulfil,
 * and the rules for the whole model. The engine's parser is large C++ that has had memory errors;
 * this is small C that refuses most of what such errors need. See onnx_internal.h for the limits.
 *
 * Threads: any; a pure function. Ownership: borrows the bytes during the call.
 * Limits: one block of fixed size and one table bounded by the limits on names.
 */
#include "model/onnx_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"

#define DOMAIN_HINT "Export the model again with standard ONNX operators only."
#define OPSET_HINT  "Export the model again for operator set %d or lower."

static struct gb_onnx_text text_of(const struct gb_pb_field *v) {
    return (struct gb_onnx_text){(uint32_t)v->body, (uint32_t)v->len};
}

static bool is_default_domain(const struct gb_onnx_walk *w, struct gb_onnx_text domain) {
    return domain.len == 0 || gb_onnx_is(w, domain, "ai.onnx");
}

bool gb_onnx_begin(struct gb_onnx_walk *w, struct gb_onnx_frame *f) {
    switch ((enum gb_onnx_message)f->message) {
    case GB_ONNX_NODE:
        if (w->pass == GB_ONNX_PASS_CHECK && ++w->summary->nodes > GB_ONNX_NODES_MAX) {
            return gb_onnx_refuse(w, f->start, "Split the model.",
                                  "the model has more than %u nodes", GB_ONNX_NODES_MAX);
        }
        return true;
    case GB_ONNX_VALUE:
    case GB_ONNX_TYPE:
    case GB_ONNX_TYPE_TENSOR:
    case GB_ONNX_TYPE_INNER:
    case GB_ONNX_TYPE_MAP:
    case GB_ONNX_SHAPE:
    case GB_ONNX_DIM:
        return gb_onnx_port_begin(w, f);
    case GB_ONNX_MODEL:
    case GB_ONNX_GRAPH:
    case GB_ONNX_ATTRIBUTE:
    case GB_ONNX_TENSOR:
    case GB_ONNX_OPSET:
    case GB_ONNX_ENTRY:
    case GB_ONNX_ANNOTATION:
    case GB_ONNX_MESSAGES:
        break;
    }
    return true;
}

static bool node_value(struct gb_onnx_walk *w, struct gb_onnx_node *n,
                       const struct gb_pb_field *v) {
    if (v->number == 1 || v->number == 2) {
        if (w->pass == GB_ONNX_PASS_CHECK && ++w->links > GB_ONNX_LINKS_MAX) {
            return gb_onnx_refuse(w, v->off, "Split the model.",
                                  "the model's nodes have more than %u inputs and outputs",
                                  GB_ONNX_LINKS_MAX);
        }
    }
    switch (v->number) {
    case 1:
        if (n->inputs_len < GB_COUNT(n->inputs)) {
            n->inputs[n->inputs_len] = text_of(v);
        }
        n->inputs_len++;
        if (w->pass == GB_ONNX_PASS_RESOLVE) {
            gb_onnx_fold_input(w, n, text_of(v));
        }
        return true;
    case 2:
        if (n->outputs_len++ == 0) {
            n->output = text_of(v);
        }
        return true;
    case 4:
        n->op = text_of(v);
        return true;
    case 7:
        n->domain = text_of(v);
        return true;
    default:
        return true;
    }
}

static bool attribute_value(struct gb_onnx_walk *w, struct gb_onnx_attribute *a,
                            const struct gb_pb_field *v) {
    switch (v->number) {
    case 1:
        a->name = text_of(v);
        return true;
    case 2: {
        uint32_t bits = (uint32_t)v->value;
        memcpy(&a->f, &bits, sizeof a->f);
        a->has_f = true;
        return true;
    }
    case 3:
        a->i = (int64_t)v->value;
        a->has_i = true;
        return true;
    case 8:
        return gb_onnx_ints_value(w, v, &a->ints);
    default:
        return true;
    }
}

bool gb_onnx_value(struct gb_onnx_walk *w, struct gb_onnx_frame *f, const struct gb_pb_field *v) {
    switch ((enum gb_onnx_message)f->message) {
    case GB_ONNX_MODEL:
        if (v->number == 1) {
            w->summary->ir_version = (int64_t)v->value;
            w->has_ir_version = true;
        }
        return true;
    case GB_ONNX_NODE:
        return node_value(w, &f->u.node, v);
    case GB_ONNX_ATTRIBUTE:
        return attribute_value(w, &f->u.attribute, v);
    case GB_ONNX_TENSOR:
        return gb_onnx_tensor_value(w, &f->u.tensor, v);
    case GB_ONNX_VALUE:
    case GB_ONNX_TYPE_TENSOR:
    case GB_ONNX_DIM:
        return gb_onnx_port_value(w, f, v);
    case GB_ONNX_OPSET:
        if (v->number == 1) {
            f->u.opset.domain = text_of(v);
        } else if (v->number == 2) {
            f->u.opset.version = (int64_t)v->value;
        }
        return true;
    case GB_ONNX_GRAPH:
    case GB_ONNX_TYPE:
    case GB_ONNX_TYPE_INNER:
    case GB_ONNX_TYPE_MAP:
    case GB_ONNX_SHAPE:
    case GB_ONNX_ENTRY:
    case GB_ONNX_ANNOTATION:
    case GB_ONNX_MESSAGES:
        break;
    }
    return true;
}

static bool end_opset(struct gb_onnx_walk *w, const struct gb_onnx_frame *f) {
    int64_t version = f->u.opset.version;
    bool standard = is_default_domain(w, f->u.opset.domain);
    struct gb_onnx_text domain = standard ? (struct gb_onnx_text){0} : f->u.opset.domain;
    char quoted[GB_ONNX_QUOTE_BYTES];
    if (w->pass == GB_ONNX_PASS_RESOLVE) {
        return true;
    }
    for (uint32_t i = 0; i < w->opsets; i++) {
        if (gb_span_eq(gb_onnx_span(w, w->domains[i]), gb_onnx_span(w, domain))) {
            return gb_onnx_invalid(w, f->start, "the model imports the operator set of %s twice",
                                   standard ? "\"ai.onnx\"" : gb_onnx_quote(w, domain, quoted));
        }
    }
    if (w->opsets == GB_ONNX_DOMAINS_MAX) {
        return gb_onnx_refuse(w, f->start, DOMAIN_HINT,
                              "the model imports more than %u operator sets", GB_ONNX_DOMAINS_MAX);
    }
    w->domains[w->opsets++] = domain;
    bool ml = gb_onnx_is(w, domain, "ai.onnx.ml");
    int64_t max = standard ? GB_ONNX_OPSET_MAX : ml ? GB_ONNX_ML_OPSET_MAX : INT64_MAX;
    char hint[128];
    snprintf(hint, sizeof hint, OPSET_HINT, (int)(max == INT64_MAX ? 1 : max));
    const char *shown = standard ? "\"ai.onnx\"" : gb_onnx_quote(w, domain, quoted);
    if (version > max) {
        return gb_onnx_refuse(w, f->start, hint,
                              "operator set %" PRId64 " of %s is newer than the engine's %" PRId64,
                              version, shown, max);
    }
    if (version < 1) {
        return gb_onnx_refuse(w, f->start, hint, "operator set %" PRId64 " of %s does not exist",
                              version, shown);
    }
    if (standard) {
        w->summary->opset = version;
    } else if (!ml) {
        gb_onnx_finding(w, "imports the operators of %s, and may not use them",
                        gb_onnx_quote(w, domain, quoted));
    }
    return true;
}

static bool end_attribute(struct gb_onnx_walk *w, const struct gb_onnx_frame *f) {
    const struct gb_onnx_attribute *a = &f->u.attribute;
    struct gb_onnx_node *n = &gb_onnx_outer(w, 1)->u.node;
    struct gb_onnx_constant c = {0};
    if (a->name.len == 0) {
        return gb_onnx_invalid(w, f->start, "an attribute has no name");
    }
    if (gb_onnx_is(w, a->name, "value")) {
        c = a->tensor;
    } else if (gb_onnx_is(w, a->name, "value_ints")) {
        gb_onnx_ints_constant(&a->ints, &c);
    } else if (gb_onnx_is(w, a->name, "value_int") && a->has_i) {
        gb_onnx_ints_constant(&(struct gb_onnx_ints){.at = {a->i}, .len = 1}, &c);
    } else if (gb_onnx_is(w, a->name, "value_float") && a->has_f) {
        c = (struct gb_onnx_constant){.set = true, .elements = 1, .element_bytes = 4,
                                      .first = (double)a->f, .first_known = true};
    }
    if (!c.set) {
        return true;
    }
    if (n->value.set) {
        return gb_onnx_invalid(w, f->start, "a node has two values");
    }
    n->value = c;
    return true;
}

static bool end_node(struct gb_onnx_walk *w, const struct gb_onnx_frame *f) {
    const struct gb_onnx_node *n = &f->u.node;
    uint32_t scope = gb_onnx_outer(w, 1)->start;
    char op[GB_ONNX_QUOTE_BYTES];
    char domain[GB_ONNX_QUOTE_BYTES];
    if (w->pass == GB_ONNX_PASS_RESOLVE) {
        return gb_onnx_fold(w, f, scope);
    }
    if (n->op.len == 0) {
        return gb_onnx_invalid(w, f->start, "a node has no operator");
    }
    gb_onnx_quote(w, n->op, op);
    if (gb_onnx_is(w, n->op, "EPContext")) {
        return gb_onnx_refuse(w, f->start, "Use the model it was compiled from.",
                              "the model holds code compiled for one engine (operator %s)", op);
    }
    if (!is_default_domain(w, n->domain) && !gb_onnx_is(w, n->domain, "ai.onnx.ml")) {
        return gb_onnx_refuse(w, f->start, DOMAIN_HINT,
                              "the operator %s is of the domain %s; only ONNX's own are loaded",
                              op, gb_onnx_quote(w, n->domain, domain));
    }
    if (gb_onnx_is(w, n->op, "Constant") && n->value.set && n->output.len > 0) {
        struct gb_onnx_name name = {.text = n->output, .scope = scope, .constant = n->value};
        bool is_new;
        return gb_onnx_names_add(w, &name, &is_new);
    }
    return true;
}

static bool end_tensor(struct gb_onnx_walk *w, struct gb_onnx_frame *f) {
    struct gb_onnx_frame *parent = gb_onnx_outer(w, 1);
    bool initializer = parent->message == GB_ONNX_GRAPH;
    struct gb_onnx_constant c;
    uint64_t bytes;
    char quoted[GB_ONNX_QUOTE_BYTES];
    if (!gb_onnx_tensor_end(w, f, initializer ? "initializer" : "constant", &c, &bytes)) {
        return false;
    }
    if (!initializer) {
        parent->u.attribute.tensor = c;
        return true;
    }
    if (w->pass == GB_ONNX_PASS_RESOLVE) {
        return true;
    }
    w->summary->initializer_bytes += bytes;
    if (++w->initializers > GB_ONNX_INITIALIZERS_MAX) {
        return gb_onnx_refuse(w, f->start, "Split the model.",
                              "the model has more than %u initializers", GB_ONNX_INITIALIZERS_MAX);
    }
    if (f->u.tensor.name.len == 0) {
        return gb_onnx_invalid(w, f->start, "an initializer has no name");
    }
    struct gb_onnx_name name = {.text = f->u.tensor.name,
                                .scope = parent->start,
                                .is_initializer = true,
                                .constant = c};
    const struct gb_onnx_name *old = gb_onnx_names_at(w, name.scope, name.text);
    if (old) {
        return gb_onnx_invalid(w, f->start, "the name %s is given to two constants",
                               gb_onnx_quote(w, name.text, quoted));
    }
    bool is_new;
    return gb_onnx_names_add(w, &name, &is_new);
}

static bool end_model(struct gb_onnx_walk *w) {
    const struct gb_onnx_summary *s = w->summary;
    char hint[128];
    snprintf(hint, sizeof hint, "Export the model again with IR version %d or lower.",
             GB_ONNX_IR_MAX);
    if (w->pass == GB_ONNX_PASS_RESOLVE) {
        return s->outputs_len > 0 ||
               gb_onnx_invalid(w, w->len, "the model has no outputs");
    }
    if (!w->has_graph) {
        return gb_onnx_invalid(w, w->len, "the model has no graph");
    }
    if (!w->has_ir_version || w->opsets == 0) {
        return gb_onnx_invalid(w, w->len, "the model does not say which %s it is written for",
                               w->has_ir_version ? "operator set" : "version of ONNX");
    }
    if (s->ir_version < 1 || s->ir_version > GB_ONNX_IR_MAX) {
        return gb_onnx_refuse(w, 0, hint, "IR version %" PRId64 " is not one of 1 to %d",
                              s->ir_version, GB_ONNX_IR_MAX);
    }
    return true;
}

bool gb_onnx_end(struct gb_onnx_walk *w, struct gb_onnx_frame *f) {
    switch ((enum gb_onnx_message)f->message) {
    case GB_ONNX_MODEL:
        return end_model(w);
    case GB_ONNX_GRAPH:
        w->has_graph = true;
        return true;
    case GB_ONNX_NODE:
        return end_node(w, f);
    case GB_ONNX_ATTRIBUTE:
        return end_attribute(w, f);
    case GB_ONNX_TENSOR:
        return end_tensor(w, f);
    case GB_ONNX_VALUE:
        return gb_onnx_port_end(w, f);
    case GB_ONNX_OPSET:
        return end_opset(w, f);
    case GB_ONNX_TYPE:
    case GB_ONNX_TYPE_TENSOR:
    case GB_ONNX_TYPE_INNER:
    case GB_ONNX_TYPE_MAP:
    case GB_ONNX_SHAPE:
    case GB_ONNX_DIM:
    case GB_ONNX_ENTRY:
    case GB_ONNX_ANNOTATION:
    case GB_ONNX_MESSAGES:
        break;
    }
    return true;
}

bool gb_onnx_check(struct gb_span bytes, struct gb_onnx_summary *ret_summary,
                   struct gb_error **err) {
    struct gb_error *why = NULL;
    if (bytes.len == 0) {
        gb_fail(err, GB_MODEL_INVALID, "the file is empty");
        return gb_hint(err, "Export or download the model again.");
    }
    if (bytes.len > GB_ONNX_BYTES_MAX) {
        return gb_fail(err, GB_MODEL_TOO_LARGE, "an ONNX file of %zu bytes cannot be loaded",
                       bytes.len);
    }
    struct gb_onnx_walk *w = gb_calloc(1, sizeof *w, err);
    struct gb_onnx_summary *summary = gb_calloc(1, sizeof *summary, err);
    bool ok = w && summary;
    if (ok) {
        w->bytes = bytes.ptr;
        w->len = bytes.len;
        w->err = &why; /* a hint needs somewhere to go even when the caller wants no error */
        w->summary = summary;
        ok = gb_onnx_names_init(w);
        for (unsigned pass = 0; ok && pass < GB_ONNX_PASSES; pass++) {
            w->pass = (enum gb_onnx_pass)pass;
            ok = gb_onnx_walk_run(w);
        }
        gb_onnx_names_fini(w);
    }
    if (ok) {
        *ret_summary = *summary;
    } else if (why) {
        gb_error_move(err, why);
    }
    gb_free(summary);
    gb_free(w);
    return ok;
}
