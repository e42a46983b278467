/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call's wasi:nn state: its handle table, its errors, its end. The table grows by doubling
 * up to the call's cap; free slots form a list, so taking and giving a handle costs a few
 * instructions.
 */
#include "nn/nn.h"

#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "nn/nn_internal.h"

#define FIRST_SLOTS 16u

enum gb_nn_code gb_nn_code_of(enum gb_code code) {
    /* A table of exceptions: what is not named is a defect or a limit of ours. */
    static const struct {
        enum gb_code ours;
        enum gb_nn_code theirs;
    } map[] = {
        {GB_MODEL_NOT_FOUND, GB_NN_CODE_NOT_FOUND},
        {GB_INPUT_SHAPE, GB_NN_CODE_INVALID_ARGUMENT},
        {GB_INPUT_TYPE, GB_NN_CODE_INVALID_ARGUMENT},
        {GB_INVALID_ARGUMENT, GB_NN_CODE_INVALID_ARGUMENT},
        {GB_MODEL_INVALID, GB_NN_CODE_INVALID_ENCODING},
        {GB_MODEL_REJECTED, GB_NN_CODE_INVALID_ENCODING},
        {GB_BACKEND_MISSING, GB_NN_CODE_UNSUPPORTED_OPERATION},
        {GB_UNSUPPORTED, GB_NN_CODE_UNSUPPORTED_OPERATION},
        {GB_BUDGET_EXCEEDED, GB_NN_CODE_TOO_LARGE},
        {GB_MODEL_TOO_LARGE, GB_NN_CODE_TOO_LARGE},
        {GB_OVERLOADED, GB_NN_CODE_TIMEOUT},
        {GB_DEADLINE_EXCEEDED, GB_NN_CODE_TIMEOUT},
        {GB_BACKEND_FAILED, GB_NN_CODE_RUNTIME_ERROR},
        {GB_BACKEND_LOST, GB_NN_CODE_RUNTIME_ERROR},
        {GB_BACKEND_INCOMPATIBLE, GB_NN_CODE_RUNTIME_ERROR},
        {GB_GRANT_MISSING, GB_NN_CODE_SECURITY},
        {GB_PERMISSION_DENIED, GB_NN_CODE_SECURITY},
    };
    for (size_t i = 0; i < GB_COUNT(map); i++) {
        if (map[i].ours == code) {
            return map[i].theirs;
        }
    }
    return GB_NN_CODE_UNKNOWN;
}

struct gb_nn *gb_nn_new(const struct gb_nn_options *options, struct gb_error **err) {
    struct gb_nn *nn = gb_calloc(1, sizeof *nn, err);
    if (nn) {
        nn->options = *options;
        nn->options.account = gb_account_ref(options->account);
        nn->next_job = 1;
    }
    return nn;
}

void gb_nn_free(struct gb_nn *nn) {
    if (!nn) {
        return;
    }
    while (nn->jobs) {
        gb_nn_compute_end(nn, nn->jobs->id);
    }
    for (uint32_t i = 0; i < nn->next_fresh; i++) {
        gb_nn_drop(nn, i + 1);
    }
    gb_load_wait_free(nn->load_wait);
    gb_error_free(nn->last_error);
    gb_error_free(nn->stop);
    gb_account_unref(nn->options.account);
    gb_free(nn->handles);
    gb_free(nn);
}

/* ---- handles ---- */

static bool grow_table(struct gb_nn *nn, struct gb_error **err) {
    uint32_t cap = nn->handles_cap == 0 ? FIRST_SLOTS : nn->handles_cap * 2;
    cap = GB_MIN(cap, nn->options.handles_max);
    struct nn_handle *handles = gb_realloc(nn->handles, (size_t)cap * sizeof *handles, err);
    if (!handles) {
        return false;
    }
    nn->handles = handles;
    nn->handles_cap = cap;
    return true;
}

static bool handle_admit(struct gb_nn *nn, struct gb_error **err) {
    if (nn->handles_used >= nn->options.handles_max) {
        gb_fail(err, GB_HANDLE_LIMIT, "the guest holds %u wasi:nn handles, which is the limit",
                nn->options.handles_max);
        return gb_hint(err, "Drop tensors, graphs and contexts after use, or raise --handles.");
    }
    if (nn->first_free == 0 && nn->next_fresh == nn->handles_cap && !grow_table(nn, err)) {
        return false;
    }
    return gb_charge(nn->options.account, GB_CHARGE_HANDLE, NN_HANDLE_BYTES, err);
}

struct nn_handle *nn_handle_new(struct gb_nn *nn, enum nn_kind kind, uint32_t *ret_handle) {
    struct gb_error *error = NULL;
    if (!handle_admit(nn, &error)) {
        nn_stop(nn, error);
        return NULL;
    }
    uint32_t index;
    if (nn->first_free != 0) {
        index = nn->first_free - 1;
        nn->first_free = nn->handles[index].next_free;
    } else {
        index = nn->next_fresh++;
    }
    nn->handles[index] = (struct nn_handle){.kind = kind};
    nn->handles_used++;
    *ret_handle = index + 1;
    return &nn->handles[index];
}

struct nn_handle *nn_handle_get(const struct gb_nn *nn, uint32_t handle, enum nn_kind kind) {
    if (handle == 0 || handle > nn->next_fresh || nn->handles[handle - 1].kind != kind) {
        return NULL;
    }
    return &nn->handles[handle - 1];
}

void nn_handle_release(struct gb_nn *nn, uint32_t handle) {
    nn->handles[handle - 1] = (struct nn_handle){.kind = NN_FREE, .next_free = nn->first_free};
    nn->first_free = handle;
    nn->handles_used--;
    gb_uncharge(nn->options.account, GB_CHARGE_HANDLE, NN_HANDLE_BYTES);
}

void gb_nn_drop(struct gb_nn *nn, uint32_t handle) {
    if (handle == 0 || handle > nn->next_fresh) {
        return;
    }
    struct nn_handle *h = &nn->handles[handle - 1];
    switch (h->kind) {
    case NN_FREE:
        return;
    case NN_TENSOR:
        nn_value_clear(&h->tensor->value);
        nn_error_drop(nn, h->tensor->deferred);
        gb_free(h->tensor);
        break;
    case NN_GRAPH:
        nn_model_drop(nn, h->graph);
        break;
    case NN_CONTEXT:
        nn_context_free(nn, h->context);
        break;
    case NN_ERROR:
        nn_error_drop(nn, h->error);
        break;
    }
    nn_handle_release(nn, handle);
}

/* A guest may say that a handle of one kind is another's; then it names nothing. */
static void drop_as(struct gb_nn *nn, uint32_t handle, enum nn_kind kind) {
    if (nn_handle_get(nn, handle, kind)) {
        gb_nn_drop(nn, handle);
    }
}

void gb_nn_drop_tensor(struct gb_nn *nn, uint32_t tensor) {
    drop_as(nn, tensor, NN_TENSOR);
}

void gb_nn_drop_graph(struct gb_nn *nn, uint32_t graph) {
    drop_as(nn, graph, NN_GRAPH);
}

void gb_nn_drop_context(struct gb_nn *nn, uint32_t context) {
    drop_as(nn, context, NN_CONTEXT);
}

void gb_nn_drop_error(struct gb_nn *nn, uint32_t error) {
    drop_as(nn, error, NN_ERROR);
}

/* ---- errors ---- */

/* What an error takes, with its texts and causes; it does not change while a handle holds it. */
static uint64_t error_bytes(const struct gb_error *error) {
    uint64_t bytes = 0;
    for (const struct gb_error *e = error; e; e = e->cause) {
        const char *const texts[] = {e->message, e->hint, e->detail, e->value};
        bytes += sizeof *e;
        for (size_t i = 0; i < GB_COUNT(texts); i++) {
            bytes += texts[i] ? strlen(texts[i]) + 1 : 0;
        }
    }
    return bytes;
}

bool nn_error_charge(struct gb_nn *nn, const struct gb_error *error) {
    struct gb_error *why = NULL;
    if (gb_charge(nn->options.account, GB_CHARGE_HANDLE, error_bytes(error), &why)) {
        return true;
    }
    nn_stop(nn, why);
    return false;
}

void nn_error_drop(struct gb_nn *nn, struct gb_error *error) {
    if (error) {
        gb_uncharge(nn->options.account, GB_CHARGE_HANDLE, error_bytes(error));
        gb_error_free(error);
    }
}

/* As a new handle; NULL with nn->stop set. Takes error either way. */
static struct nn_handle *error_wrap(struct gb_nn *nn, struct gb_error *error, uint32_t *ret_error) {
    if (!nn_error_charge(nn, error)) {
        gb_error_free(error);
        return NULL;
    }
    struct nn_handle *h = nn_handle_new(nn, NN_ERROR, ret_error);
    if (!h) {
        nn_error_drop(nn, error);
        return NULL;
    }
    h->error = error;
    return h;
}

enum gb_nn_status nn_stop(struct gb_nn *nn, struct gb_error *error) {
    gb_error_free(nn->stop);
    nn->stop = error;
    return GB_NN_STOP;
}

enum gb_nn_status nn_give_error(struct gb_nn *nn, struct gb_error *error, uint32_t *ret_error) {
    gb_error_free(nn->last_error);
    nn->last_error = gb_error_copy(error);
    return error_wrap(nn, error, ret_error) ? GB_NN_ERROR : GB_NN_STOP;
}

void nn_observe(const struct gb_nn *nn, const struct gb_nn_inference *inference) {
    if (nn->options.observe) {
        nn->options.observe(nn->options.observe_user, inference);
    }
}

enum gb_nn_status gb_nn_refuse(struct gb_nn *nn, struct gb_error *error, uint32_t *ret_error) {
    return nn_give_error(nn, error, ret_error);
}

/* One of our codes that gb_nn_code_of maps back. */
static enum gb_code code_for(uint32_t code) {
    static const enum gb_code ours[] = {
        [GB_NN_CODE_INVALID_ARGUMENT] = GB_INVALID_ARGUMENT,
        [GB_NN_CODE_INVALID_ENCODING] = GB_MODEL_INVALID,
        [GB_NN_CODE_TIMEOUT] = GB_OVERLOADED,
        [GB_NN_CODE_RUNTIME_ERROR] = GB_BACKEND_FAILED,
        [GB_NN_CODE_UNSUPPORTED_OPERATION] = GB_UNSUPPORTED,
        [GB_NN_CODE_TOO_LARGE] = GB_MODEL_TOO_LARGE,
        [GB_NN_CODE_NOT_FOUND] = GB_MODEL_NOT_FOUND,
        [GB_NN_CODE_SECURITY] = GB_PERMISSION_DENIED,
        [GB_NN_CODE_UNKNOWN] = GB_INTERNAL,
    };
    return code < GB_COUNT(ours) ? ours[code] : GB_INTERNAL;
}

enum gb_nn_status gb_nn_error_new(struct gb_nn *nn, uint32_t code, struct gb_span data,
                                  uint32_t *ret_error) {
    struct gb_error *error = NULL;
    if (data.len > GB_NN_ERROR_TEXT_MAX) {
        gb_fail(&error, GB_HOSTCALL_LIMIT, "the text of an error has %zu bytes; the limit is %u",
                data.len, GB_NN_ERROR_TEXT_MAX);
        return nn_stop(nn, error);
    }
    gb_fail(&error, code_for(code), "%.*s", (int)data.len, (const char *)data.ptr);
    return error_wrap(nn, error, ret_error) ? GB_NN_OK : GB_NN_STOP;
}

void gb_nn_error_info(struct gb_nn *nn, uint32_t error, enum gb_nn_code *ret_code,
                      struct gb_span *ret_data) {
    struct nn_handle *h = nn_handle_get(nn, error, NN_ERROR);
    *ret_code = h ? gb_nn_code_of(h->error->code) : GB_NN_CODE_UNKNOWN;
    *ret_data = gb_span_of(h ? h->error->message : "");
}

const struct gb_error *gb_nn_last_error(const struct gb_nn *nn) {
    return nn->last_error;
}

struct gb_error *gb_nn_take_stop(struct gb_nn *nn) {
    return gb_take(&nn->stop);
}

struct gb_nn_usage gb_nn_usage(const struct gb_nn *nn) {
    struct gb_nn_usage usage = nn->usage;
    /* A model that the guest loaded goes with the call, and its name with it. */
    const struct gb_model_info *last = nn->last_model ? gb_model_info(nn->last_model) : NULL;
    usage.model = last && !last->loaded ? last->name : NULL;
    return usage;
}
