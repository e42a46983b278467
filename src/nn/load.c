/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models that a guest brings along, under the grant nn-load. A load is a job as an inference is:
 * begun here, polled whenever the call is woken, ended once; its graph belongs to the call.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "nn/nn_internal.h"

static bool refuse_grant(struct gb_error **err) {
    gb_fail(err, GB_GRANT_MISSING,
            "loading a model from the guest's bytes needs the grant \"nn-load\"");
    return gb_hint(err, "Give the host the model with --model NAME=PATH and open it by name, or "
                        "give the guest --grant nn-load.");
}

/* By the WIT: openvino onnx tensorflow pytorch tensorflowlite ggml autodetect. */
static bool backend_of(uint32_t encoding, enum gb_backend_kind *ret_backend,
                       struct gb_error **err) {
    static const struct {
        const char *name;
        enum gb_backend_kind kind; /* AUTO but for the last: nothing here reads it */
    } encodings[] = {
        {"openvino", GB_BACKEND_OPENVINO},  {"onnx", GB_BACKEND_ONNX},
        {"tensorflow", GB_BACKEND_AUTO},    {"pytorch", GB_BACKEND_AUTO},
        {"tensorflowlite", GB_BACKEND_AUTO}, {"ggml", GB_BACKEND_GGML},
        {"autodetect", GB_BACKEND_AUTO},
    };
    const size_t autodetect = sizeof encodings / sizeof encodings[0] - 1;
    if (encoding > autodetect) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "there is no graph encoding %u", encoding);
    }
    *ret_backend = encodings[encoding].kind;
    if (*ret_backend == GB_BACKEND_AUTO && encoding != autodetect) {
        gb_fail(err, GB_UNSUPPORTED, "this host runs no models in the encoding \"%s\"",
                encodings[encoding].name);
        return gb_hint(err, "Convert the model to ONNX.");
    }
    return true;
}

static bool check(const struct gb_nn *nn, size_t builders_len, uint32_t encoding, uint32_t target,
                  enum gb_backend_kind *ret_backend, struct gb_error **err) {
    if (builders_len > GB_NN_BUILDERS_MAX) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "a graph is given in more than %u parts",
                       GB_NN_BUILDERS_MAX);
    }
    if (!nn->options.load || !nn->options.registry) {
        return refuse_grant(err);
    }
    if (!backend_of(encoding, ret_backend, err)) {
        return false;
    }
    if (target != 0) {
        gb_fail(err, GB_BACKEND_MISSING, "this host has no engine for the target \"%s\"",
                target == 1 ? "gpu" : "tpu");
        return gb_hint(err, "Load the model for the target cpu.");
    }
    if (builders_len != 1) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "a model comes as one part, not as %zu",
                       builders_len);
    }
    if (nn->loads >= nn->options.loads_max) {
        gb_fail(err, GB_BUDGET_EXCEEDED, "the guest holds %u models loaded from bytes, its limit",
                nn->loads);
        return gb_hint(err, "Drop a graph and its contexts before loading another.");
    }
    return true;
}

static struct gb_load *begin(struct gb_nn *nn, struct gb_span bytes, enum gb_backend_kind backend,
                             struct gb_error **err) {
    char name[32];
    (void)snprintf(name, sizeof name, "loaded-%u", nn->loads_named + 1);
    struct gb_load_spec spec = {.name = name,
                                .bytes = bytes,
                                .backend = backend,
                                .bytes_max = nn->options.load_bytes_max,
                                .worker_bytes = nn->options.load_memory_max,
                                .account = nn->options.account,
                                .done = nn->options.wake,
                                .user = nn->options.user};
    return gb_load_new(nn->options.registry, &spec, &nn->load_wait, err);
}

enum gb_nn_status gb_nn_load(struct gb_nn *nn, const struct gb_span *builders, size_t builders_len,
                             uint32_t encoding, uint32_t target, uint32_t *ret_job,
                             uint32_t *ret_error) {
    struct gb_error *error = NULL;
    enum gb_backend_kind backend = GB_BACKEND_AUTO;
    *ret_job = 0;
    struct nn_job *j = check(nn, builders_len, encoding, target, &backend, &error)
                           ? gb_calloc(1, sizeof *j, &error)
                           : NULL;
    struct gb_load *l = j ? begin(nn, builders[0], backend, &error) : NULL;
    if (!l) {
        gb_free(j);
        if (!error) {
            return GB_NN_PENDING; /* room comes */
        }
    }
    gb_load_wait_free(nn->load_wait);
    nn->load_wait = NULL;
    if (!l) {
        return nn_give_error(nn, error, ret_error);
    }
    *j = (struct nn_job){.next = nn->jobs, .id = nn->next_job++, .load = l};
    nn->jobs = j;
    nn->loads++;
    nn->loads_named++;
    *ret_job = j->id;
    return GB_NN_PENDING;
}

enum gb_nn_status nn_load_poll(struct gb_nn *nn, struct nn_job *j, uint32_t *ret_error) {
    enum gb_load_state state = gb_load_state(j->load);
    if (state == GB_LOAD_RUNNING) {
        return GB_NN_PENDING;
    }
    j->finished = true;
    if (state == GB_LOAD_FAILED) {
        return nn_give_error(nn, gb_load_error(j->load), ret_error);
    }
    struct nn_handle *h = nn_handle_new(nn, NN_GRAPH, &j->graph);
    if (!h) {
        return GB_NN_STOP;
    }
    h->graph = gb_load_model(j->load);
    nn->last_model = h->graph;
    return GB_NN_OK;
}

uint32_t gb_nn_load_graph(struct gb_nn *nn, uint32_t job) {
    struct nn_job *j = nn_job_get(nn, job);
    uint32_t graph = j && j->load ? j->graph : 0;
    if (graph != 0) {
        j->graph = 0; /* the guest's from here on */
    }
    return graph;
}

void nn_load_end(struct gb_nn *nn, struct nn_job *j) {
    if (gb_load_free(j->load)) {
        nn->loads--;
    }
    if (j->graph != 0) {
        gb_nn_drop_graph(nn, j->graph);
    }
}

bool gb_nn_is_loading(const struct gb_nn *nn) {
    bool loading = nn->load_wait != NULL;
    for (const struct nn_job *j = nn->jobs; j && !loading; j = j->next) {
        loading = j->load && !j->finished;
    }
    return loading;
}
