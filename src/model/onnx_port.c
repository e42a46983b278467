/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Types of values, and from them the inputs and outputs of the model as struct gb_port. Only the
 * type directly in a value counts; types inside sequences and maps are walked but not kept.
 */
#include "model/onnx_internal.h"

#include <stdio.h>

#define FIELD_INPUT  11
#define FIELD_OUTPUT 12

/* How many frames deeper than its value a message is; 0: the value itself, or none is open. */
static uint32_t depth_in_value(const struct gb_onnx_walk *w) {
    return w->port.frame == 0 ? 0 : w->depth - w->port.frame;
}

bool gb_onnx_port_begin(struct gb_onnx_walk *w, struct gb_onnx_frame *f) {
    struct gb_onnx_port_state *p = &w->port;
    struct gb_onnx_frame *parent = gb_onnx_outer(w, 1);
    uint32_t deep = depth_in_value(w);
    if (parent->message == GB_ONNX_TYPE && ++parent->u.type.kinds > 1) {
        return gb_onnx_invalid(w, f->start, "a type is two things at once");
    }
    if (f->message == GB_ONNX_VALUE) {
        *p = (struct gb_onnx_port_state){.frame = w->depth};
    } else if (f->message == GB_ONNX_TYPE && deep == 1) {
        p->has_type = true;
    } else if (f->message == GB_ONNX_TYPE_TENSOR && deep == 2) {
        p->has_tensor = true;
    } else if (f->message == GB_ONNX_SHAPE && deep == 3) {
        p->has_shape = true;
    } else if (f->message == GB_ONNX_DIM && deep == 4) {
        if (p->rank == GB_WIRE_RANK_MAX) {
            return gb_onnx_refuse(w, f->start, "Reshape it to fewer dimensions.",
                                  "a value has more than %u dimensions", GB_WIRE_RANK_MAX);
        }
        p->dims[p->rank++] = -1;
    }
    return true;
}

static bool dim_value(struct gb_onnx_walk *w, struct gb_onnx_frame *f,
                      const struct gb_pb_field *v) {
    struct gb_onnx_port_state *p = &w->port;
    bool kept = depth_in_value(w) == 4;
    if (v->number == 1) {
        f->u.dim.has_value = true;
        if ((int64_t)v->value < -1) {
            return gb_onnx_invalid(w, v->off, "a dimension is negative: %lld", (long long)v->value);
        }
        if (kept) {
            p->dims[p->rank - 1] = (int64_t)v->value;
        }
    } else if (v->number == 2) {
        f->u.dim.has_param = true;
        if (kept) {
            p->symbols[p->rank - 1] = (struct gb_onnx_text){(uint32_t)v->body, (uint32_t)v->len};
        }
    }
    if (f->u.dim.has_value && f->u.dim.has_param) {
        return gb_onnx_invalid(w, v->off, "a dimension has both a size and a name");
    }
    return true;
}

bool gb_onnx_port_value(struct gb_onnx_walk *w, struct gb_onnx_frame *f,
                        const struct gb_pb_field *v) {
    if (f->message == GB_ONNX_DIM) {
        return dim_value(w, f, v);
    }
    if (f->message == GB_ONNX_TYPE_TENSOR && v->number == 1 && depth_in_value(w) == 2) {
        w->port.element = (int32_t)(uint32_t)v->value;
        w->port.has_element = true;
    } else if (f->message == GB_ONNX_VALUE && v->number == 1) {
        f->u.value.name = (struct gb_onnx_text){(uint32_t)v->body, (uint32_t)v->len};
        f->u.value.has_name = true;
    }
    return true;
}

static void fill_port(struct gb_onnx_walk *w, const struct gb_onnx_frame *f, struct gb_port *port) {
    const struct gb_onnx_port_state *p = &w->port;
    char quoted[GB_ONNX_QUOTE_BYTES];
    gb_onnx_quote(w, f->u.value.name, quoted);
    *port = (struct gb_port){.type = gb_onnx_type_port(p->element), .rank = p->rank};
    memcpy(port->name, w->bytes + f->u.value.name.off, f->u.value.name.len);
    for (uint32_t i = 0; i < p->rank; i++) {
        struct gb_onnx_text symbol = p->symbols[i];
        port->dims[i] = p->dims[i];
        if (symbol.len <= GB_WIRE_SYMBOL_MAX) {
            memcpy(port->symbols[i], w->bytes + symbol.off, symbol.len);
        } else {
            gb_onnx_finding(w, "the name of dimension %u of %s is too long and is left out", i,
                            quoted);
        }
    }
    const char *side = f->field == FIELD_INPUT ? "input" : "output";
    if (!p->has_tensor) {
        gb_onnx_finding(w, "the %s %s is no tensor: it cannot be %s", side, quoted,
                        f->field == FIELD_INPUT ? "set" : "read");
    } else if (port->type == GB_TYPE_OTHER) {
        gb_onnx_finding(w, "the %s %s has an element type that wasi:nn does not carry", side,
                        quoted);
    } else if (!p->has_shape) {
        gb_onnx_finding(w, "the %s %s declares no shape", side, quoted);
    }
}

static bool check_port(struct gb_onnx_walk *w, const struct gb_onnx_frame *f, const char *side) {
    const struct gb_onnx_port_state *p = &w->port;
    const struct gb_onnx_text name = f->u.value.name;
    char quoted[GB_ONNX_QUOTE_BYTES];
    gb_onnx_quote(w, name, quoted);
    if (name.len > GB_WIRE_NAME_MAX) {
        return gb_onnx_refuse(w, f->start, "Give it a shorter name and export the model again.",
                              "the %s %s has a name of %u bytes; at most %u are allowed", side,
                              quoted, name.len, GB_WIRE_NAME_MAX);
    }
    if (p->has_tensor && !gb_onnx_type_known(p->element)) {
        return gb_onnx_invalid(w, f->start,
                               "the %s %s has the element type %d, which ONNX does not define",
                               side, quoted, p->element);
    }
    if (f->field == FIELD_INPUT && !p->has_type) {
        return gb_onnx_invalid(w, f->start, "the input %s has no type", quoted);
    }
    if (f->field == FIELD_INPUT && p->has_tensor && !p->has_shape) {
        return gb_onnx_refuse(w, f->start, "Export the model again with the shapes of its inputs.",
                              "the input %s declares no shape", quoted);
    }
    return true;
}

/* Last pass: all initializers are known; old files list them as inputs too. */
static bool add_port(struct gb_onnx_walk *w, struct gb_onnx_frame *f) {
    struct gb_onnx_summary *s = w->summary;
    bool input = f->field == FIELD_INPUT;
    const char *side = input ? "input" : "output";
    char quoted[GB_ONNX_QUOTE_BYTES];
    const struct gb_onnx_name *known =
        gb_onnx_names_at(w, gb_onnx_outer(w, 1)->start, f->u.value.name);
    if (input && known && known->is_initializer) {
        return true;
    }
    if (!check_port(w, f, side)) {
        return false;
    }
    struct gb_port *ports = input ? s->inputs : s->outputs;
    size_t *len = input ? &s->inputs_len : &s->outputs_len;
    if (*len == GB_WIRE_PORTS_MAX) {
        return gb_onnx_refuse(w, f->start, "Join some of them into one tensor.",
                              "the model has more than %u %ss", GB_WIRE_PORTS_MAX, side);
    }
    for (size_t i = 0; i < *len; i++) {
        if (gb_span_is(gb_onnx_span(w, f->u.value.name), ports[i].name)) {
            return gb_onnx_invalid(w, f->start, "the model has two %ss named %s", side,
                                   gb_onnx_quote(w, f->u.value.name, quoted));
        }
    }
    fill_port(w, f, &ports[*len]);
    (*len)++;
    return true;
}

bool gb_onnx_port_end(struct gb_onnx_walk *w, struct gb_onnx_frame *f) {
    bool ok = true;
    if (f->field == FIELD_INPUT || f->field == FIELD_OUTPUT) {
        if (f->u.value.name.len == 0) {
            ok = gb_onnx_invalid(w, f->start, "an %s of a graph has no name",
                                 f->field == FIELD_INPUT ? "input" : "output");
        } else if (w->pass == GB_ONNX_PASS_RESOLVE && w->graph_depth == 1) {
            ok = add_port(w, f);
        }
    }
    w->port.frame = 0;
    return ok;
}
