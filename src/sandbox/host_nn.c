/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wasi:nn between the bridge's table and gb_nn: the same functions, one for one. Added here is only
 * that a stop's reason is kept in the call, and that a waiting compute ends when the call must.
 */
#include "base/clock.h"
#include "sandbox/sandbox_internal.h"

enum gbw_nn_status gb_host_status(struct gb_call *c, enum gb_nn_status status) {
    switch (status) {
    case GB_NN_OK:
        return GBW_NN_OK;
    case GB_NN_ERROR:
        return GBW_NN_ERROR;
    case GB_NN_PENDING:
        return GBW_NN_PENDING;
    case GB_NN_STOP:
        break;
    }
    gb_call_end_with(c, gb_nn_take_stop(c->nn));
    return GBW_NN_STOP;
}

enum gbw_nn_status gb_host_tensor_new(void *user, const uint32_t *dims, size_t dims_len,
                                      uint32_t type, struct gbw_span data, uint32_t *ret_tensor) {
    struct gb_call *c = user;
    return gb_host_status(
        c, gb_nn_tensor_new(c->nn, dims, dims_len, type, gb_of_bridge(data), ret_tensor));
}

enum gbw_nn_status gb_host_tensor_info(void *user, uint32_t tensor, const uint32_t **ret_dims,
                                       size_t *ret_dims_len, uint32_t *ret_type) {
    struct gb_call *c = user;
    return gb_host_status(c, gb_nn_tensor_info(c->nn, tensor, ret_dims, ret_dims_len, ret_type));
}

static void release_mem(void *owner) {
    gb_mem_unref(owner);
}

static void release_nothing(void *owner) {
    (void)owner;
}

enum gbw_nn_status gb_host_tensor_data(void *user, uint32_t tensor, struct gbw_blob *ret_blob) {
    struct gb_call *c = user;
    struct gb_span data = {0};
    struct gb_mem *mem = NULL;
    enum gb_nn_status status = gb_nn_tensor_data(c->nn, tensor, &data, &mem);
    if (status == GB_NN_OK) {
        *ret_blob = (struct gbw_blob){
            .ptr = data.ptr,
            .len = data.len,
            .owner = mem,
            .release = mem ? release_mem : release_nothing,
        };
    }
    return gb_host_status(c, status);
}

enum gbw_nn_status gb_host_graph_load(void *user, const struct gbw_span *builders,
                                      size_t builders_len, uint32_t encoding, uint32_t target,
                                      uint32_t *ret_graph, uint32_t *ret_job, uint32_t *ret_error) {
    struct gb_call *c = user;
    *ret_graph = 0; /* never at once */
    /* Both spans are a pointer and a length; the bridge cannot include ours, nor gb_nn its. */
    struct gb_error *error = NULL;
    struct gb_span *spans = gb_calloc(builders_len ? builders_len : 1, sizeof *spans, &error);
    if (!spans) {
        gb_call_end_with(c, error);
        return GBW_NN_STOP;
    }
    for (size_t i = 0; i < builders_len; i++) {
        spans[i] = gb_of_bridge(builders[i]);
    }
    enum gb_nn_status status =
        gb_nn_load(c->nn, spans, builders_len, encoding, target, ret_job, ret_error);
    gb_free(spans);
    c->loading = status == GB_NN_PENDING;
    return c->loading && c->ending != GB_OK ? GBW_NN_STOP : gb_host_status(c, status);
}

uint32_t gb_host_graph_loaded(void *user, uint32_t job) {
    struct gb_call *c = user;
    return gb_nn_load_graph(c->nn, job);
}

enum gbw_nn_status gb_host_graph_load_by_name(void *user, struct gbw_span name, uint32_t *ret_graph,
                                              uint32_t *ret_error) {
    struct gb_call *c = user;
    return gb_host_status(c, gb_nn_load_by_name(c->nn, gb_of_bridge(name), ret_graph, ret_error));
}

enum gbw_nn_status gb_host_context_new(void *user, uint32_t graph, uint32_t *ret_context,
                                       uint32_t *ret_error) {
    struct gb_call *c = user;
    return gb_host_status(c, gb_nn_context_new(c->nn, graph, ret_context, ret_error));
}

enum gbw_nn_status gb_host_set_input(void *user, uint32_t context, struct gbw_span name,
                                     uint32_t tensor, uint32_t *ret_error) {
    struct gb_call *c = user;
    return gb_host_status(c,
                          gb_nn_set_input(c->nn, context, gb_of_bridge(name), tensor, ret_error));
}

enum gbw_nn_status gb_host_get_output(void *user, uint32_t context, struct gbw_span name,
                                      uint32_t *ret_tensor, uint32_t *ret_error) {
    struct gb_call *c = user;
    return gb_host_status(
        c, gb_nn_get_output(c->nn, context, gb_of_bridge(name), ret_tensor, ret_error));
}

/* Room for `len` inputs, kept for the next compute; NULL with *err set. */
static struct gb_nn_named *named_room(struct gb_call *c, size_t len, struct gb_error **err) {
    size_t bytes;
    if (len <= c->named_cap) {
        return c->named;
    }
    /* Each is a tensor that the guest owns, so more can only be one that is named many times. */
    if (len > c->limits.handles || !gb_mul_size(len, sizeof *c->named, &bytes)) {
        gb_fail(err, GB_HOSTCALL_LIMIT, "%zu inputs in one call", len);
        return NULL;
    }
    struct gb_nn_named *more = gb_realloc(c->named, bytes, err);
    if (more) {
        c->named = more;
        c->named_cap = len;
    }
    return more;
}

/* An inference that failed at the call's own deadline ends the call, with that code; where it was
 * the model's own deadline, the guest handles it. */
static bool ended_by_deadline(struct gb_call *c, enum gb_nn_status status) {
    const struct gb_error *error = status == GB_NN_ERROR ? gb_nn_last_error(c->nn) : NULL;
    if (!error || error->code != GB_DEADLINE_EXCEEDED || c->ending != GB_OK ||
        gb_now_us() < c->deadline_us) {
        return false;
    }
    c->ending = GB_DEADLINE_EXCEEDED;
    return true;
}

enum gbw_nn_status gb_host_compute_start(void *user, uint32_t context, bool with_inputs,
                                         const struct gbw_named_tensor *inputs, size_t inputs_len,
                                         uint32_t *ret_job, uint32_t *ret_error) {
    struct gb_call *c = user;
    struct gb_error *error = NULL;
    struct gb_nn_named *named = named_room(c, inputs_len, &error);
    if (!named && inputs_len > 0) {
        gb_call_end_with(c, error);
        return GBW_NN_STOP;
    }
    for (size_t i = 0; i < inputs_len; i++) {
        named[i] =
            (struct gb_nn_named){.name = gb_of_bridge(inputs[i].name), .tensor = inputs[i].tensor};
    }
    enum gb_nn_status status =
        gb_nn_compute_start(c->nn, context, with_inputs, named, inputs_len, ret_job, ret_error);
    c->inference = status == GB_NN_OK ? gb_nn_waiting_for(c->nn) : NULL;
    return ended_by_deadline(c, status) ? GBW_NN_STOP : gb_host_status(c, status);
}

enum gbw_nn_status gb_host_compute_poll(void *user, uint32_t job, uint64_t fuel_left,
                                        uint32_t *ret_error) {
    struct gb_call *c = user;
    c->fuel_left = fuel_left;
    enum gb_nn_status status = gb_nn_compute_poll(c->nn, job, ret_error);
    if (status == GB_NN_PENDING && c->ending != GB_OK) {
        return GBW_NN_STOP; /* the reason is known already */
    }
    return ended_by_deadline(c, status) ? GBW_NN_STOP : gb_host_status(c, status);
}

bool gb_host_compute_output(void *user, uint32_t job, size_t index,
                            struct gbw_named_tensor *ret_output) {
    struct gb_call *c = user;
    struct gb_nn_named output;
    if (!gb_nn_compute_output(c->nn, job, index, &output)) {
        return false;
    }
    *ret_output =
        (struct gbw_named_tensor){.name = gb_to_bridge(output.name), .tensor = output.tensor};
    return true;
}

void gb_host_compute_end(void *user, uint32_t job) {
    struct gb_call *c = user;
    if (c->ending == GB_DEADLINE_EXCEEDED) {
        gb_call_blame_inference(c);
    }
    c->inference = NULL;
    c->loading = false;
    gb_nn_compute_end(c->nn, job);
}

void gb_host_error_info(void *user, uint32_t error, uint32_t *ret_code, struct gbw_span *ret_data) {
    struct gb_call *c = user;
    enum gb_nn_code code = GB_NN_CODE_UNKNOWN;
    struct gb_span data = {0};
    gb_nn_error_info(c->nn, error, &code, &data);
    *ret_code = (uint32_t)code;
    *ret_data = gb_to_bridge(data);
}

void gb_host_tensor_drop(void *user, uint32_t tensor) {
    struct gb_call *c = user;
    gb_nn_drop_tensor(c->nn, tensor);
}

void gb_host_graph_drop(void *user, uint32_t graph) {
    struct gb_call *c = user;
    gb_nn_drop_graph(c->nn, graph);
}

void gb_host_context_drop(void *user, uint32_t context) {
    struct gb_call *c = user;
    gb_nn_drop_context(c->nn, context);
}

void gb_host_error_drop(void *user, uint32_t error) {
    struct gb_call *c = user;
    gb_nn_drop_error(c->nn, error);
}

enum gbw_nn_status gb_host_error_new(void *user, uint32_t code, struct gbw_span data,
                                     uint32_t *ret_error) {
    struct gb_call *c = user;
    return gb_host_status(c, gb_nn_error_new(c->nn, code, gb_of_bridge(data), ret_error));
}
