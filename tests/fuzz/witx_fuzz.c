/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gb_witx_call over any calls and any memory: nothing is read or written outside the memory, a
 * refused call changes none of it, errors are errnos of the list, nothing stays charged.
 * An input: a number of calls (modulo 32), for each a function and five arguments of 4 bytes, and
 * what is left is the guest's memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "sandbox/witx/witx.h"
#include "witx_fake_model.h"

#define CALLS_MAX  32u
#define CALL_BYTES (1 + 4 * GB_WITX_ARGS_MAX)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

/* Polls a compute to its end, as the bridge does. */
static void finish(struct gb_nn *nn, uint32_t job, uint32_t *ret_errno) {
    enum gb_nn_status status;
    uint32_t error = 0;
    do {
        status = gb_nn_compute_poll(nn, job, &error);
    } while (status == GB_NN_PENDING);
    *ret_errno = status == GB_NN_ERROR ? gb_witx_error(nn, error) : GB_WITX_SUCCESS;
    gb_nn_compute_end(nn, job);
}

/* False: the call was ended. */
static bool one_call(struct gb_nn *nn, const struct gb_witx_memory *m, const uint8_t *bytes) {
    static const size_t args_len[GB_WITX_COUNT] = {5, 3, 2, 3, 1, 5};
    enum gb_witx_function function = (enum gb_witx_function)(bytes[0] % GB_WITX_COUNT);
    uint32_t args[GB_WITX_ARGS_MAX];
    uint32_t number = UINT32_MAX;
    uint32_t job = 0;
    for (size_t i = 0; i < GB_WITX_ARGS_MAX; i++) {
        args[i] = gb_witx_read_u32(bytes + 1 + 4 * i);
    }
    uint8_t *before = malloc(m->len ? m->len : 1);
    require(before != NULL, "memory");
    if (m->len > 0) {
        memcpy(before, m->ptr, m->len);
    }
    enum gb_nn_status status =
        gb_witx_call(nn, function, m, args, args_len[function], &number, &job);
    if (status == GB_NN_PENDING) {
        require(function == GB_WITX_COMPUTE, "only compute waits");
        finish(nn, job, &number);
        status = GB_NN_OK;
    }
    require(status == GB_NN_OK || status == GB_NN_STOP, "an errno, or the end");
    require(status == GB_NN_STOP || number <= GB_WITX_NOT_FOUND, "errnos of the list");
    if (m->len > 0 && (status == GB_NN_STOP || number != GB_WITX_SUCCESS)) {
        require(memcmp(before, m->ptr, m->len) == 0, "a refused call changes nothing");
    }
    free(before);
    return status == GB_NN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    size_t calls = len > 0 ? bytes[0] % CALLS_MAX : 0;
    if (len < 1 + calls * CALL_BYTES) {
        return 0;
    }
    /* Exactly as long as it is, so that the sanitizer sees the first byte outside. */
    size_t memory_len = len - 1 - calls * CALL_BYTES;
    struct gb_witx_memory m = {.ptr = memory_len ? malloc(memory_len) : NULL, .len = memory_len};
    if (memory_len > 0) {
        require(m.ptr != NULL, "memory");
        memcpy(m.ptr, bytes + len - memory_len, memory_len);
    }
    struct gb_account *account = gb_account_new("fuzz", NULL, 1 << 20, NULL);
    require(account != NULL, "an account");
    struct gb_nn_options options = {.registry = (struct gb_registry *)(void *)&fake_registry,
                                    .account = account,
                                    .allow_all = true,
                                    .handles_max = 12,
                                    .deadline_us = UINT64_MAX};
    struct gb_nn *nn = gb_nn_new(&options, NULL);
    require(nn != NULL, "a call");
    for (size_t i = 0; i < calls && one_call(nn, &m, bytes + 1 + i * CALL_BYTES); i++) {
    }
    gb_nn_free(nn);
    require(gb_account_used(account) == 0, "nothing is charged in the end");
    gb_account_unref(account);
    free(m.ptr);
    return 0;
}

#include "replay.h"
