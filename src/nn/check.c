/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's inputs against the model's ports, before anything runs. Every refusal names both sides:
 * what was given and what the model takes, with the model's layout note where its owner wrote one.
 */
#include <stdio.h>

#include "base/buf.h"
#include "base/num.h"
#include "nn/nn_internal.h"

#define PORT_TEXT_MAX 256

ptrdiff_t nn_port_find(const struct gb_port *ports, size_t ports_len, struct gb_span name) {
    for (size_t i = 0; i < ports_len; i++) {
        if (gb_span_is(name, ports[i].name)) {
            return (ptrdiff_t)i;
        }
    }
    return -1;
}

/* `"a" f32[batch,4], "b" …`: all inputs of the model, for hints. */
static void ports_text(const struct gb_port *ports, size_t ports_len, char *text, size_t cap) {
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < ports_len && at < cap; i++) {
        char shape[PORT_TEXT_MAX];
        gb_port_text(&ports[i], shape, sizeof shape);
        int n =
            snprintf(text + at, cap - at, "%s\"%s\" %s", i == 0 ? "" : ", ", ports[i].name, shape);
        at += n < 0 ? 0 : (size_t)n;
    }
}

static bool hint_inputs(const struct gb_model_info *info, struct gb_error **err) {
    char text[1024];
    ports_text(info->inputs, info->inputs_len, text, sizeof text);
    return gb_hint(err, "The inputs of \"%s\" are: %s.", info->name, text);
}

bool nn_check_name(const struct gb_model_info *info, struct gb_span name, size_t *ret_port,
                   struct gb_error **err) {
    ptrdiff_t port = nn_port_find(info->inputs, info->inputs_len, name);
    if (port < 0) {
        gb_fail(err, GB_INPUT_SHAPE, "the model \"%s\" has no input \"%.*s\"", info->name,
                GB_SPAN_ARG(name));
        return hint_inputs(info, err);
    }
    *ret_port = (size_t)port;
    return true;
}

static void value_text(const struct nn_value *value, char *text, size_t cap) {
    struct gb_port given = {.type = value->type, .rank = value->rank};
    for (uint32_t i = 0; i < value->rank; i++) {
        given.dims[i] = value->dims[i];
    }
    gb_port_text(&given, text, cap);
}

static bool value_mismatch(const struct gb_model_info *info, const struct gb_port *want,
                           const struct nn_value *value, struct gb_error **err) {
    char given_text[PORT_TEXT_MAX];
    char want_text[PORT_TEXT_MAX];
    value_text(value, given_text, sizeof given_text);
    gb_port_text(want, want_text, sizeof want_text);
    bool same_type = value->type == want->type;
    gb_fail(err, same_type ? GB_INPUT_SHAPE : GB_INPUT_TYPE,
            "the input \"%s\" of the model \"%s\" is %s, but the guest gave %s", want->name,
            info->name, want_text, given_text);
    if (info->layout) {
        return gb_hint(err, "The model expects: %s.", info->layout);
    }
    return gb_hint(err, "%s",
                   same_type ? "Give the tensor the model's dimensions, in its order."
                             : "Convert the elements before making the tensor.");
}

bool nn_check_value(const struct gb_model_info *info, size_t port, const struct nn_value *value,
                    struct gb_error **err) {
    const struct gb_port *want = &info->inputs[port];
    if (want->type == GB_TYPE_OTHER) {
        return gb_fail(err, GB_UNSUPPORTED,
                       "the input \"%s\" of the model \"%s\" has an element type that wasi:nn "
                       "cannot carry",
                       want->name, info->name);
    }
    bool fits = value->type == want->type && value->rank == want->rank;
    for (uint32_t i = 0; fits && i < want->rank; i++) {
        fits = want->dims[i] < 0 || want->dims[i] == (int64_t)value->dims[i];
    }
    return fits || value_mismatch(info, want, value, err);
}

static bool check_symbols(const struct gb_model_info *info, const struct nn_value *values,
                          size_t port, struct gb_error **err) {
    const struct gb_port *want = &info->inputs[port];
    for (uint32_t d = 0; info->inputs_bound && d < want->rank; d++) {
        uint16_t first = info->inputs_bound[GB_DIM(port, d)];
        if (first == GB_DIM_UNBOUND) {
            continue;
        }
        size_t other = first / GB_WIRE_RANK_MAX;
        uint32_t bound = values[other].dims[first % GB_WIRE_RANK_MAX];
        if (bound != values[port].dims[d]) {
            gb_fail(err, GB_INPUT_SHAPE,
                    "the dimension \"%s\" of the model \"%s\" is %u in the input \"%s\" and "
                    "%u in the input \"%s\"",
                    want->symbols[d], info->name, bound, info->inputs[other].name,
                    values[port].dims[d], want->name);
            return gb_hint(err, "Dimensions of one name have one size within an inference.");
        }
    }
    return true;
}

bool nn_check_inputs(const struct gb_model_info *info, const struct nn_value *values,
                     struct gb_error **err) {
    for (size_t p = 0; p < info->inputs_len; p++) {
        if (!values[p].set) {
            gb_fail(err, GB_INPUT_SHAPE, "the input \"%s\" of the model \"%s\" is missing",
                    info->inputs[p].name, info->name);
            return hint_inputs(info, err);
        }
        if (!check_symbols(info, values, p, err)) {
            return false;
        }
    }
    return true;
}
