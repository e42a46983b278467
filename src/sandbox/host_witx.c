/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wasi_ephemeral_nn between the bridge's table and witx/. A compute that waits goes on as that of a
 * component does: compute_poll and compute_end of host_nn.c.
 */
#include "sandbox/sandbox_internal.h"
#include "sandbox/witx/witx.h"

/* The bridge cannot include ours, nor witx/ its. */
_Static_assert((int)GBW_WITX_LOAD == (int)GB_WITX_LOAD, "one numbering");
_Static_assert((int)GBW_WITX_LOAD_BY_NAME == (int)GB_WITX_LOAD_BY_NAME, "one numbering");
_Static_assert((int)GBW_WITX_INIT_EXECUTION_CONTEXT == (int)GB_WITX_INIT_EXECUTION_CONTEXT,
               "one numbering");
_Static_assert((int)GBW_WITX_SET_INPUT == (int)GB_WITX_SET_INPUT, "one numbering");
_Static_assert((int)GBW_WITX_COMPUTE == (int)GB_WITX_COMPUTE, "one numbering");
_Static_assert((int)GBW_WITX_GET_OUTPUT == (int)GB_WITX_GET_OUTPUT, "one numbering");

enum gbw_nn_status gb_host_witx_call(void *user, enum gbw_witx function, struct gbw_memory memory,
                                     const uint32_t *args, size_t args_len, uint32_t *ret_errno,
                                     uint32_t *ret_job) {
    struct gb_call *c = user;
    struct gb_witx_memory m = {.ptr = memory.ptr, .len = memory.len};
    enum gb_nn_status status = gb_witx_call(c->nn, (enum gb_witx_function)function, &m, args,
                                            args_len, ret_errno, ret_job);
    c->loading = gb_nn_is_loading(c->nn);
    if (status == GB_NN_PENDING) {
        c->inference = gb_nn_waiting_for(c->nn);
    }
    return status == GB_NN_PENDING && c->ending != GB_OK ? GBW_NN_STOP : gb_host_status(c, status);
}

uint32_t gb_host_witx_finish(void *user, enum gbw_witx function, struct gbw_memory memory,
                             const uint32_t *args, size_t args_len, uint32_t job) {
    struct gb_call *c = user;
    struct gb_witx_memory m = {.ptr = memory.ptr, .len = memory.len};
    return gb_witx_finish(c->nn, (enum gb_witx_function)function, &m, args, args_len, job);
}

uint32_t gb_host_witx_error(void *user, uint32_t error) {
    struct gb_call *c = user;
    return gb_witx_error(c->nn, error);
}
