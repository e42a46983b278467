/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graphs and contexts. A graph handle is a name that was granted; a context holds the inputs set
 * and the outputs computed in the older call style, by port.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/num.h"
#include "nn/nn_internal.h"

#define NAMES_TEXT_MAX 1024

static bool allowed(const struct gb_nn *nn, struct gb_span name) {
    if (nn->options.allow_all) {
        return true;
    }
    for (size_t i = 0; i < nn->options.allowed_len; i++) {
        if (gb_span_is(name, nn->options.allowed[i])) {
            return true;
        }
    }
    return false;
}

/* Names this call may open: a hint must not tell of any other. */
static void hint_models(struct gb_nn *nn, struct gb_error **err) {
    struct gb_buf names;
    gb_buf_init(&names, NAMES_TEXT_MAX);
    size_t count = nn->options.registry ? gb_registry_count(nn->options.registry) : 0;
    for (size_t i = 0; i < count; i++) {
        const struct gb_model_info *info = gb_model_info(gb_registry_at(nn->options.registry, i));
        if (info->state == GB_MODEL_STATE_READY && allowed(nn, gb_span_of(info->name)) &&
            !gb_buf_append_format(&names, NULL, "%s\"%s\"", names.len ? ", " : "", info->name)) {
            break;
        }
    }
    if (names.len > 0) {
        gb_hint(err, "The models this call may open are: %s.", gb_buf_text(&names));
    } else {
        gb_hint(err, "No model is granted to this call; give it one with --model NAME=PATH.");
    }
    gb_buf_fini(&names);
}

static struct gb_model *open_model(struct gb_nn *nn, struct gb_span name, struct gb_error **err) {
    struct gb_model *m = nn->options.registry && allowed(nn, name)
                             ? gb_registry_find(nn->options.registry, name)
                             : NULL;
    const struct gb_model_info *info = m ? gb_model_info(m) : NULL;
    if (info && info->state == GB_MODEL_STATE_READY) {
        return m;
    }
    if (info && info->state == GB_MODEL_STATE_REJECTED) {
        gb_error_move(err, gb_error_copy(info->reason));
        return NULL;
    }
    gb_fail(err, GB_MODEL_NOT_FOUND, "there is no model \"%.*s\"", GB_SPAN_ARG(name));
    hint_models(nn, err);
    return NULL;
}

enum gb_nn_status gb_nn_load_by_name(struct gb_nn *nn, struct gb_span name, uint32_t *ret_graph,
                                     uint32_t *ret_error) {
    struct gb_error *error = NULL;
    struct gb_model *m = open_model(nn, name, &error);
    if (!m) {
        return nn_give_error(nn, error, ret_error);
    }
    struct nn_handle *h = nn_handle_new(nn, NN_GRAPH, ret_graph);
    if (!h) {
        return GB_NN_STOP;
    }
    h->graph = m;
    nn->last_model = m;
    return GB_NN_OK;
}

struct gb_model *nn_model_hold(struct gb_model *m) {
    return gb_model_info(m)->loaded ? gb_model_ref(m) : m;
}

void nn_model_drop(struct gb_nn *nn, struct gb_model *m) {
    if (gb_model_info(m)->loaded && gb_model_unref(m)) {
        nn->loads--;
        nn->last_model = nn->last_model == m ? NULL : nn->last_model;
    }
}

static struct nn_context *context_make(struct gb_nn *nn, struct gb_model *m,
                                       struct gb_error **err) {
    const struct gb_model_info *info = gb_model_info(m);
    size_t values = info->inputs_len + info->outputs_len;
    size_t bytes = sizeof(struct nn_context) + values * sizeof(struct nn_value);
    if (!gb_charge(nn->options.account, GB_CHARGE_GRAPH, bytes, err)) {
        return NULL;
    }
    struct nn_context *c = gb_calloc(1, bytes, err);
    if (!c) {
        gb_uncharge(nn->options.account, GB_CHARGE_GRAPH, bytes);
        return NULL;
    }
    c->model = nn_model_hold(m);
    c->charged_bytes = bytes;
    c->inputs_len = info->inputs_len;
    c->outputs_len = info->outputs_len;
    c->inputs = (struct nn_value *)(c + 1);
    c->outputs = c->inputs + info->inputs_len;
    return c;
}

void nn_context_free(struct gb_nn *nn, struct nn_context *c) {
    for (size_t i = 0; i < c->inputs_len; i++) {
        nn_value_clear(&c->inputs[i]);
    }
    for (size_t i = 0; i < c->outputs_len; i++) {
        nn_value_clear(&c->outputs[i]);
    }
    nn_model_drop(nn, c->model);
    gb_uncharge(nn->options.account, GB_CHARGE_GRAPH, c->charged_bytes);
    gb_free(c);
}

enum gb_nn_status gb_nn_context_new(struct gb_nn *nn, uint32_t graph, uint32_t *ret_context,
                                    uint32_t *ret_error) {
    struct gb_error *error = NULL;
    struct nn_handle *g = nn_handle_get(nn, graph, NN_GRAPH);
    if (!g) {
        gb_fail(&error, GB_INVALID_ARGUMENT, "the graph handle %u does not exist", graph);
        return nn_give_error(nn, error, ret_error);
    }
    struct nn_context *c = context_make(nn, g->graph, &error);
    if (!c) {
        return nn_give_error(nn, error, ret_error);
    }
    struct nn_handle *h = nn_handle_new(nn, NN_CONTEXT, ret_context);
    if (!h) {
        nn_context_free(nn, c);
        return GB_NN_STOP;
    }
    h->context = c;
    nn->last_model = c->model;
    return GB_NN_OK;
}

/* The context behind a handle, free to be changed. */
static struct nn_context *context_get(struct gb_nn *nn, uint32_t context, struct gb_error **err) {
    struct nn_handle *h = nn_handle_get(nn, context, NN_CONTEXT);
    if (!h) {
        gb_fail(err, GB_INVALID_ARGUMENT, "the execution context handle %u does not exist",
                context);
        return NULL;
    }
    return h->context;
}

enum gb_nn_status gb_nn_port_name(struct gb_nn *nn, uint32_t context, enum gb_nn_side side,
                                  uint32_t index, struct gb_span *ret_name, uint32_t *ret_error) {
    struct gb_error *error = NULL;
    struct nn_context *c = context_get(nn, context, &error);
    if (!c) {
        return nn_give_error(nn, error, ret_error);
    }
    const struct gb_model_info *info = gb_model_info(c->model);
    size_t len = side == GB_NN_INPUT ? info->inputs_len : info->outputs_len;
    const struct gb_port *ports = side == GB_NN_INPUT ? info->inputs : info->outputs;
    if (index >= len) {
        gb_fail(&error, GB_INPUT_SHAPE, "the model \"%s\" has no %s %u; it has %zu, counted from 0",
                info->name, side == GB_NN_INPUT ? "input" : "output", index, len);
        return nn_give_error(nn, error, ret_error);
    }
    *ret_name = gb_span_of(ports[index].name);
    return GB_NN_OK;
}

enum gb_nn_status gb_nn_set_input(struct gb_nn *nn, uint32_t context, struct gb_span name,
                                  uint32_t tensor, uint32_t *ret_error) {
    struct gb_error *error = NULL;
    struct nn_value value = {0};
    size_t port;
    struct nn_context *c = context_get(nn, context, &error);
    /* The tensor is consumed even where the rest fails. */
    bool ok = nn_tensor_consume(nn, tensor, &value, c ? &error : NULL) && c &&
              nn_check_name(gb_model_info(c->model), name, &port, &error) &&
              nn_check_value(gb_model_info(c->model), port, &value, &error);
    if (!ok) {
        nn_value_clear(&value);
        nn_observe(nn, &(struct gb_nn_inference){.seen = GB_NN_SEEN_INPUT,
                                                 .model = c ? gb_model_info(c->model)->name : NULL,
                                                 .code = error->code});
        return nn_give_error(nn, error, ret_error);
    }
    nn_value_clear(&c->inputs[port]);
    c->inputs[port] = value;
    return GB_NN_OK;
}

enum gb_nn_status gb_nn_get_output(struct gb_nn *nn, uint32_t context, struct gb_span name,
                                   uint32_t *ret_tensor, uint32_t *ret_error) {
    struct gb_error *error = NULL;
    struct nn_context *c = context_get(nn, context, &error);
    if (!c) {
        return nn_give_error(nn, error, ret_error);
    }
    const struct gb_model_info *info = gb_model_info(c->model);
    ptrdiff_t port = nn_port_find(info->outputs, info->outputs_len, name);
    if (port < 0) {
        gb_fail(&error, GB_INVALID_ARGUMENT, "the model \"%s\" has no output \"%.*s\"", info->name,
                GB_SPAN_ARG(name));
        gb_hint(&error, "Its first output is \"%s\".",
                info->outputs_len ? info->outputs[0].name : "");
        return nn_give_error(nn, error, ret_error);
    }
    if (!c->computed) {
        gb_fail(&error, GB_INVALID_ARGUMENT,
                "the output \"%s\" of the model \"%s\" was asked for before compute succeeded",
                info->outputs[port].name, info->name);
        return nn_give_error(nn, error, ret_error);
    }
    struct nn_value value = c->outputs[port];
    if (!value.set) {
        gb_fail(
            &error, GB_UNSUPPORTED,
            "the output \"%s\" of the model \"%s\" has an element type that wasi:nn cannot carry",
            info->outputs[port].name, info->name);
        return nn_give_error(nn, error, ret_error);
    }
    if (value.mem) {
        gb_mem_ref(value.mem); /* outputs may be asked for more than once */
    }
    if (!nn_tensor_wrap(nn, &value, ret_tensor)) {
        nn_value_clear(&value);
        return GB_NN_STOP;
    }
    return GB_NN_OK;
}
