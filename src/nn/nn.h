/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What wasi:nn means: graphs, contexts, tensors and errors of one guest call, independent of the
 * ABI that asks (component or core). One gb_nn per call; handles are small integers of one table
 * with a cap; everything is freed with it.
 *
 * Threads: the thread that runs the call. Ownership: "own" handles are consumed whatever is
 * returned.
 * Limits: handles_max; every byte charged to the call's account before it is allocated.
 * Errors: three ways out. GB_NN_ERROR: the guest's to handle, as an error handle; GB_NN_STOP:
 * the call must end, the reason is kept here; and a tensor that could not be made becomes an
 * error where it is first used, because the constructor cannot fail.
 */
#ifndef GB_NN_NN_H
#define GB_NN_NN_H

#include "base/error.h"
#include "base/span.h"
#include "ledger/ledger.h"
#include "model/model.h"

struct gb_nn;

enum gb_nn_status { GB_NN_OK = 0, GB_NN_ERROR = 1, GB_NN_STOP = 2, GB_NN_PENDING = 3 };

/* wasi:nn/errors.error-code, in order. */
enum gb_nn_code {
    GB_NN_CODE_INVALID_ARGUMENT,
    GB_NN_CODE_INVALID_ENCODING,
    GB_NN_CODE_TIMEOUT,
    GB_NN_CODE_RUNTIME_ERROR,
    GB_NN_CODE_UNSUPPORTED_OPERATION,
    GB_NN_CODE_TOO_LARGE,
    GB_NN_CODE_NOT_FOUND,
    GB_NN_CODE_SECURITY,
    GB_NN_CODE_UNKNOWN
};
enum gb_nn_code gb_nn_code_of(enum gb_code code);

/* What an inference came to, for whoever counts. */
enum gb_nn_seen {
    GB_NN_SEEN_END,     /* it was submitted, and has ended or was given up */
    GB_NN_SEEN_REFUSED, /* compute did not submit it */
    GB_NN_SEEN_INPUT    /* an input was refused before compute */
};
struct gb_nn_inference {
    enum gb_nn_seen seen;
    const char *model; /* borrowed; NULL: not known */
    enum gb_code code; /* GB_OK: it succeeded */
    uint64_t total_us, queue_us, run_us; /* GB_NN_SEEN_END */
};

struct gb_nn_options {
    struct gb_registry *registry; /* may be NULL: no models */
    struct gb_account *account;   /* the call's */
    const char *const *allowed;   /* model names that may be opened; borrowed */
    size_t allowed_len;
    bool allow_all; /* no list was given */
    uint32_t handles_max;
    bool load;                /* the grant nn-load: models from the guest's bytes */
    uint32_t loads_max;       /* of them at once */
    uint64_t load_bytes_max;  /* of one's bytes */
    uint64_t load_memory_max; /* of its worker's own memory, besides four times the model */
    uint64_t deadline_us;     /* absolute */
    void (*wake)(void *user); /* a pending inference has finished; draining thread */
    void *user;
    /* On the call's thread; NULL: nobody counts. */
    void (*observe)(void *user, const struct gb_nn_inference *inference);
    void *observe_user;
};
struct gb_nn *gb_nn_new(const struct gb_nn_options *options, struct gb_error **err);
/* Frees every handle; cancels what still runs. */
void gb_nn_free(struct gb_nn *nn);

struct gb_nn_usage {
    uint64_t inference_calls, inference_us, queue_us;
    uint64_t crossing_us; /* of compute, what is neither queue nor engine: checks, wake-ups */
    const char *model;    /* that was opened or computed last; borrowed; NULL: none */
};
struct gb_nn_usage gb_nn_usage(const struct gb_nn *nn);
/* The model whose inference is running or queued right now, or NULL: so that a deadline can say
 * what a warm inference takes. */
const struct gb_model_info *gb_nn_waiting_for(const struct gb_nn *nn);
/* The last error given to the guest, borrowed, or NULL: the cause when the guest then fails. */
const struct gb_error *gb_nn_last_error(const struct gb_nn *nn);
/* Why GB_NN_STOP was returned; taken. */
struct gb_error *gb_nn_take_stop(struct gb_nn *nn);

enum gb_nn_status gb_nn_tensor_new(struct gb_nn *nn, const uint32_t *dims, size_t dims_len,
                                   uint32_t type, struct gb_span data, uint32_t *ret_tensor);
enum gb_nn_status gb_nn_tensor_info(struct gb_nn *nn, uint32_t tensor, const uint32_t **ret_dims,
                                    size_t *ret_dims_len, uint32_t *ret_type);
/* The bytes stay valid until the returned memory (one reference, the caller's; may be NULL for an
 * empty tensor) is released. */
enum gb_nn_status gb_nn_tensor_data(struct gb_nn *nn, uint32_t tensor, struct gb_span *ret_data,
                                    struct gb_mem **ret_mem);
/* A guest hands over a model in parts; the bridge takes one more than these, to be refused. */
#define GB_NN_BUILDERS_MAX 16u
/* PENDING with *ret_job: polled and ended as a compute is; after its OK gb_nn_load_graph hands the
 * graph over, once. PENDING with *ret_job 0: to be asked again when woken. encoding and target by
 * the numbers of the WIT. */
enum gb_nn_status gb_nn_load(struct gb_nn *nn, const struct gb_span *builders, size_t builders_len,
                             uint32_t encoding, uint32_t target, uint32_t *ret_job,
                             uint32_t *ret_error);
uint32_t gb_nn_load_graph(struct gb_nn *nn, uint32_t job);
/* Whether a load is under way. */
bool gb_nn_is_loading(const struct gb_nn *nn);
enum gb_nn_status gb_nn_load_by_name(struct gb_nn *nn, struct gb_span name, uint32_t *ret_graph,
                                     uint32_t *ret_error);
enum gb_nn_status gb_nn_context_new(struct gb_nn *nn, uint32_t graph, uint32_t *ret_context,
                                    uint32_t *ret_error);
enum gb_nn_status gb_nn_set_input(struct gb_nn *nn, uint32_t context, struct gb_span name,
                                  uint32_t tensor, uint32_t *ret_error);
enum gb_nn_status gb_nn_get_output(struct gb_nn *nn, uint32_t context, struct gb_span name,
                                   uint32_t *ret_tensor, uint32_t *ret_error);
struct gb_nn_named {
    struct gb_span name;
    uint32_t tensor;
};
enum gb_nn_status gb_nn_compute_start(struct gb_nn *nn, uint32_t context, bool with_inputs,
                                      const struct gb_nn_named *inputs, size_t inputs_len,
                                      uint32_t *ret_job, uint32_t *ret_error);
enum gb_nn_status gb_nn_compute_poll(struct gb_nn *nn, uint32_t job, uint32_t *ret_error);
/* After OK, in the newer style: hands over result `index` (0, 1, …: each once, in order) as a
 * tensor handle, made by compute_poll. False past the last. Outputs of element types that
 * wasi:nn cannot carry are left out. The name is valid until the job ends. */
bool gb_nn_compute_output(struct gb_nn *nn, uint32_t job, size_t index,
                          struct gb_nn_named *ret_output);
void gb_nn_compute_end(struct gb_nn *nn, uint32_t job);
void gb_nn_error_info(struct gb_nn *nn, uint32_t error, enum gb_nn_code *ret_code,
                      struct gb_span *ret_data);
/* A guest's own error (2024-06-25 lets it make some); longer texts than GB_NN_ERROR_TEXT_MAX end
 * the call. */
#define GB_NN_ERROR_TEXT_MAX 4000u
enum gb_nn_status gb_nn_error_new(struct gb_nn *nn, uint32_t code, struct gb_span data,
                                  uint32_t *ret_error);
/* Gives the guest an error (taken) that an ABI found before it could ask anything here. */
enum gb_nn_status gb_nn_refuse(struct gb_nn *nn, struct gb_error *error, uint32_t *ret_error);
/* The core ABI counts inputs and outputs: the name of one, in the model's order. */
enum gb_nn_side { GB_NN_INPUT, GB_NN_OUTPUT };
enum gb_nn_status gb_nn_port_name(struct gb_nn *nn, uint32_t context, enum gb_nn_side side,
                                  uint32_t index, struct gb_span *ret_name, uint32_t *ret_error);
/* Drops any handle: tensor, graph, context or error. Unknown ones are ignored. */
void gb_nn_drop(struct gb_nn *nn, uint32_t handle);
/* Drops a handle of that kind; any other is ignored. */
void gb_nn_drop_tensor(struct gb_nn *nn, uint32_t tensor);
void gb_nn_drop_graph(struct gb_nn *nn, uint32_t graph);
void gb_nn_drop_context(struct gb_nn *nn, uint32_t context);
void gb_nn_drop_error(struct gb_nn *nn, uint32_t error);

#endif
