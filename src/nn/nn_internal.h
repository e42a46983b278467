/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of one call's wasi:nn state: the handle table and what a handle can be. */
#ifndef GB_NN_NN_INTERNAL_H
#define GB_NN_NN_INTERNAL_H

#include "nn/nn.h"

/* A tensor's value: who holds one holds a reference on mem. */
struct nn_value {
    uint32_t dims[GB_WIRE_RANK_MAX];
    uint32_t rank;
    uint32_t type; /* enum gb_type */
    struct gb_mem *mem; /* NULL for an empty tensor */
    bool set;
};

enum nn_kind { NN_FREE, NN_TENSOR, NN_GRAPH, NN_CONTEXT, NN_ERROR };

struct nn_tensor {
    struct nn_value value;
    struct gb_error *deferred; /* the constructor could not fail, so its error waits here */
};

struct nn_context {
    struct gb_model *model;
    uint64_t charged_bytes;
    size_t inputs_len, outputs_len;
    struct nn_value *inputs;  /* by port: set and not yet computed */
    struct nn_value *outputs; /* by port: of the last computation, older call style */
    bool computed;
};

struct nn_handle {
    enum nn_kind kind;
    uint32_t next_free;
    union {
        struct nn_tensor *tensor;
        struct gb_model *graph;
        struct nn_context *context;
        struct gb_error *error;
    };
};

struct nn_job {
    struct nn_job *next;
    uint32_t id;
    uint32_t context; /* handle; may be dropped before the job ends */
    bool with_inputs;
    bool finished; /* its result was taken into account */
    uint64_t started_us;
    struct gb_model *model;
    struct gb_job *job;
    struct gb_load *load; /* instead of model and job: of gb_nn_load */
    uint32_t graph;       /* that it loaded, not yet handed over; 0: none */
    struct gb_nn_named *outputs; /* newer style: result handles not yet handed over */
    size_t outputs_len;
    size_t outputs_taken;
};

struct gb_nn {
    struct gb_nn_options options;
    struct nn_handle *handles;
    uint32_t handles_cap;
    uint32_t handles_used;
    uint32_t first_free;       /* index + 1; 0: none */
    uint32_t next_fresh;
    struct nn_job *jobs;
    uint32_t next_job;
    uint32_t loads;       /* models from bytes, also those being loaded */
    uint32_t loads_named; /* how many there ever were */
    struct gb_load_wait *load_wait; /* NULL: no load waits for room */
    struct gb_model *last_model; /* where the next tensor is probably going */
    struct gb_error *last_error;
    struct gb_error *stop;
    struct gb_nn_usage usage;
};

/* What one handle costs in the ledger, apart from what it holds: its slot and the object. */
#define NN_HANDLE_BYTES ((uint64_t)sizeof(struct nn_handle) + sizeof(struct nn_tensor))

/* A free slot, charged; NULL with nn->stop set when the table or the budget is full. *ret_handle is
 * never 0. */
struct nn_handle *nn_handle_new(struct gb_nn *nn, enum nn_kind kind, uint32_t *ret_handle);
/* NULL unless the handle exists and is of that kind. */
struct nn_handle *nn_handle_get(const struct gb_nn *nn, uint32_t handle, enum nn_kind kind);
/* Frees the slot; what it held is the caller's. */
void nn_handle_release(struct gb_nn *nn, uint32_t handle);

/* Charges an error that a handle will hold; false with nn->stop set. */
bool nn_error_charge(struct gb_nn *nn, const struct gb_error *error);
/* Gives the charge back and frees it; NULL is fine. */
void nn_error_drop(struct gb_nn *nn, struct gb_error *error);
/* Gives `error` (taken) to the guest as a new handle. */
enum gb_nn_status nn_give_error(struct gb_nn *nn, struct gb_error *error, uint32_t *ret_error);
/* Tells whoever counts inferences. */
void nn_observe(const struct gb_nn *nn, const struct gb_nn_inference *inference);
/* Ends the call with `error` (taken). */
enum gb_nn_status nn_stop(struct gb_nn *nn, struct gb_error *error);

/* A graph handle, a context or a job holds its model; for the registry's there is nothing to do. */
struct gb_model *nn_model_hold(struct gb_model *m);
void nn_model_drop(struct gb_nn *nn, struct gb_model *m);

/* ---- nn/load.c ---- */
struct nn_job *nn_job_get(const struct gb_nn *nn, uint32_t id);
enum gb_nn_status nn_load_poll(struct gb_nn *nn, struct nn_job *j, uint32_t *ret_error);
void nn_load_end(struct gb_nn *nn, struct nn_job *j);

void nn_value_clear(struct nn_value *value);
/* Takes the value out of an own tensor handle and frees the handle. False with *err set when the
 * handle is none, or the tensor could not be made. */
bool nn_tensor_consume(struct gb_nn *nn, uint32_t tensor, struct nn_value *ret_value,
                       struct gb_error **err);
/* A new tensor handle holding `value` (moved on success). */
bool nn_tensor_wrap(struct gb_nn *nn, struct nn_value *value, uint32_t *ret_tensor);
void nn_context_free(struct gb_nn *nn, struct nn_context *c);

/* ---- inputs against the model (nn/check.c) ---- */

/* The port of that name, or -1. */
ptrdiff_t nn_port_find(const struct gb_port *ports, size_t ports_len, struct gb_span name);
bool nn_check_name(const struct gb_model_info *info, struct gb_span name, size_t *ret_port,
                   struct gb_error **err);
/* Type and shape of one input against its port. */
bool nn_check_value(const struct gb_model_info *info, size_t port, const struct nn_value *value,
                    struct gb_error **err);
/* Nothing missing, and equal symbols have equal sizes. values: one per port. */
bool nn_check_inputs(const struct gb_model_info *info, const struct nn_value *values,
                     struct gb_error **err);

#endif
