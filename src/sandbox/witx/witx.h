/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wasi_ephemeral_nn, the core ABI of wasi:nn: six functions over numbers and the guest's memory.
 * Nothing of a call is believed: every pointer, length and enumeration is checked here, before
 * anything is done, and the memory is only valid during one gb_witx_call.
 *
 * Ownership: handles are those of gb_nn; this ABI cannot give them back, so they live as long as
 * the call, under its cap. Limits: GB_WITX_BUILDERS_MAX. Errors: an errno for the guest, and the
 * whole error as gb_nn_last_error.
 */
#ifndef GB_SANDBOX_WITX_H
#define GB_SANDBOX_WITX_H

#include "nn/nn.h"

enum gb_witx_function {
    GB_WITX_LOAD,
    GB_WITX_LOAD_BY_NAME,
    GB_WITX_INIT_EXECUTION_CONTEXT,
    GB_WITX_SET_INPUT,
    GB_WITX_COMPUTE,
    GB_WITX_GET_OUTPUT,
    GB_WITX_COUNT
};

enum gb_witx_errno {
    GB_WITX_SUCCESS,
    GB_WITX_INVALID_ARGUMENT,
    GB_WITX_INVALID_ENCODING,
    GB_WITX_MISSING_MEMORY,
    GB_WITX_BUSY,
    GB_WITX_RUNTIME_ERROR,
    GB_WITX_UNSUPPORTED_OPERATION,
    GB_WITX_TOO_LARGE,
    GB_WITX_NOT_FOUND
};

#define GB_WITX_BUILDERS_MAX 16u
#define GB_WITX_ARGS_MAX 5u
/* What follows in guest memory where the ABI says tensor: dims, dims_len, type (one byte), 3 bytes
 * of nothing, data, data_len. */
#define GB_WITX_TENSOR_BYTES 20u

/* ---- memory.c ---- */

struct gb_witx_memory {
    uint8_t *ptr; /* NULL: the guest exports none that can be used */
    size_t len;
};
/* The bytes at a guest's pointer. A null pointer with a length is refused, and so is what reaches
 * past the end; `what` names it in the error. */
bool gb_witx_view(const struct gb_witx_memory *m, uint32_t ptr, uint64_t len, const char *what,
                  struct gb_span *ret_bytes, struct gb_error **err);
/* A place for one number of 32 bits, at any alignment. */
bool gb_witx_place(const struct gb_witx_memory *m, uint32_t ptr, const char *what,
                   uint8_t **ret_place, struct gb_error **err);
uint32_t gb_witx_read_u32(const uint8_t *at);
void gb_witx_write_u32(uint8_t *at, uint32_t value);

/* ---- witx.c ---- */

/* OK: *ret_errno is for the guest. PENDING (load, compute): *ret_job runs; it is polled with
 * gb_nn_compute_poll, after its OK goes to gb_witx_finish, is ended with gb_nn_compute_end, and its
 * error handle goes to gb_witx_error; 0: to be called again when woken.
 * STOP: as gb_nn. args holds as many numbers as the function has parameters. */
enum gb_nn_status gb_witx_call(struct gb_nn *nn, enum gb_witx_function function,
                               const struct gb_witx_memory *memory, const uint32_t *args,
                               size_t args_len, uint32_t *ret_errno, uint32_t *ret_job);
/* The end of a call that was pending, given the same arguments; its errno. */
uint32_t gb_witx_finish(struct gb_nn *nn, enum gb_witx_function function,
                        const struct gb_witx_memory *memory, const uint32_t *args, size_t args_len,
                        uint32_t job);
/* Drops the error handle; its errno. */
uint32_t gb_witx_error(struct gb_nn *nn, uint32_t error);
enum gb_witx_errno gb_witx_errno_of(enum gb_nn_code code);

#endif
