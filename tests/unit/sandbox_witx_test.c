/* SPDX-License-Identifier: Apache-2.0 */
/* wasi_ephemeral_nn call by call, on a memory and a model of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those before it. */
#include <cmocka.h>

#include "base/num.h"
#include "sandbox/witx/witx.h"
#include "witx_fake_model.h"

#define MEMORY_BYTES 4096u
/* Places in the guest's memory. */
enum { NAME = 16, GRAPH = 32, CONTEXT = 36, WRITTEN = 40, TENSOR = 64, DIMS = 96, DATA = 128,
       BUFFER = 1024 };

struct bench {
    uint8_t bytes[MEMORY_BYTES];
    struct gb_witx_memory memory;
    struct gb_account *account;
    struct gb_nn *nn;
    uint32_t graph, context;
};

static uint32_t call(struct bench *b, enum gb_witx_function function, const uint32_t *args,
                     size_t len) {
    uint32_t number = UINT32_MAX;
    uint32_t job = 0;
    uint32_t error = 0;
    enum gb_nn_status status =
        gb_witx_call(b->nn, function, &b->memory, args, len, &number, &job);
    if (status == GB_NN_PENDING) {
        while ((status = gb_nn_compute_poll(b->nn, job, &error)) == GB_NN_PENDING) {
        }
        number = status == GB_NN_ERROR ? gb_witx_error(b->nn, error) : GB_WITX_SUCCESS;
        gb_nn_compute_end(b->nn, job);
        return number;
    }
    assert_int_equal(status, GB_NN_OK);
    return number;
}
#define CALL(b, function, ...)                                                                     \
    call(b, GB_WITX_##function, (const uint32_t[]){__VA_ARGS__},                                   \
         GB_COUNT(((const uint32_t[]){__VA_ARGS__})))

static void put(struct bench *b, uint32_t at, uint32_t value) {
    gb_witx_write_u32(b->bytes + at, value);
}

static uint32_t get(const struct bench *b, uint32_t at) {
    return gb_witx_read_u32(b->bytes + at);
}

/* A tensor record of one dimension. */
static void put_tensor(struct bench *b, uint32_t elements, uint32_t type, uint32_t data_len) {
    put(b, DIMS, elements);
    put(b, TENSOR, DIMS);
    put(b, TENSOR + 4, 1);
    put(b, TENSOR + 8, 0xabcdef00u | type); /* what is in the padding does not matter */
    put(b, TENSOR + 12, DATA);
    put(b, TENSOR + 16, data_len);
}

static int setup(void **state) {
    static struct bench b;
    b = (struct bench){0};
    b.memory = (struct gb_witx_memory){.ptr = b.bytes, .len = MEMORY_BYTES};
    b.account = gb_account_new("test", NULL, 1 << 20, NULL);
    struct gb_nn_options options = {.registry = (struct gb_registry *)(void *)&fake_registry,
                                    .account = b.account,
                                    .allow_all = true,
                                    .handles_max = 8,
                                    .deadline_us = UINT64_MAX};
    b.nn = gb_nn_new(&options, NULL);
    memcpy(b.bytes + NAME, "echo", 4);
    assert_int_equal(CALL(&b, LOAD_BY_NAME, NAME, 4, GRAPH), GB_WITX_SUCCESS);
    b.graph = get(&b, GRAPH);
    assert_int_equal(CALL(&b, INIT_EXECUTION_CONTEXT, b.graph, CONTEXT), GB_WITX_SUCCESS);
    b.context = get(&b, CONTEXT);
    *state = &b;
    return 0;
}

static int teardown(void **state) {
    struct bench *b = *state;
    gb_nn_free(b->nn);
    assert_int_equal(gb_account_used(b->account), 0);
    gb_account_unref(b->account);
    return 0;
}

/* Both inputs set and computed; output 0 is 16 bytes, output 1 five. */
static void computed(struct bench *b) {
    memcpy(b->bytes + DATA, "0123456789abcdef", 16);
    put_tensor(b, 4, 1, 16);
    assert_int_equal(CALL(b, SET_INPUT, b->context, 0, TENSOR), GB_WITX_SUCCESS);
    put_tensor(b, 5, 3, 5);
    assert_int_equal(CALL(b, SET_INPUT, b->context, 1, TENSOR), GB_WITX_SUCCESS);
    assert_int_equal(CALL(b, COMPUTE, b->context), GB_WITX_SUCCESS);
}

static void a_call_from_begin_to_end(void **state) {
    struct bench *b = *state;
    computed(b);
    assert_int_equal(CALL(b, GET_OUTPUT, b->context, 0, BUFFER, 100, WRITTEN), GB_WITX_SUCCESS);
    assert_int_equal(get(b, WRITTEN), 16);
    assert_memory_equal(b->bytes + BUFFER, "0123456789abcdef", 16);
    assert_int_equal(b->bytes[BUFFER + 16], 0); /* no byte more than the output has */
    /* Types by the numbers of this ABI: 3 is u8, and an odd address is no matter. */
    assert_int_equal(CALL(b, GET_OUTPUT, b->context, 1, BUFFER + 33, 5, WRITTEN + 1),
                     GB_WITX_SUCCESS);
    assert_int_equal(get(b, WRITTEN + 1), 5);
    assert_memory_equal(b->bytes + BUFFER + 33, "01234", 5);
}

static void names(void **state) {
    struct bench *b = *state;
    assert_int_equal(CALL(b, LOAD_BY_NAME, NAME, 3, GRAPH), GB_WITX_NOT_FOUND);
    assert_int_equal(CALL(b, LOAD_BY_NAME, NAME, 0, GRAPH), GB_WITX_NOT_FOUND);
    assert_int_equal(CALL(b, LOAD_BY_NAME, 0, 4, GRAPH), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD_BY_NAME, NAME, 4, 0), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD_BY_NAME, NAME, UINT32_MAX, GRAPH), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD_BY_NAME, MEMORY_BYTES - 3, 4, GRAPH), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD_BY_NAME, NAME, 4, MEMORY_BYTES - 3), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD_BY_NAME, UINT32_MAX, 4, GRAPH), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(get(b, GRAPH), b->graph); /* refused calls write nothing */
    assert_int_equal(CALL(b, LOAD_BY_NAME, NAME, 4, MEMORY_BYTES - 4), GB_WITX_SUCCESS);
}

static void loading_bytes(void **state) {
    struct bench *b = *state;
    put(b, TENSOR, DATA);
    put(b, TENSOR + 4, 8);
    /* Well formed, and not granted. */
    assert_int_equal(CALL(b, LOAD, TENSOR, 1, 1, 0, GRAPH), GB_WITX_UNSUPPORTED_OPERATION);
    assert_int_equal(gb_nn_last_error(b->nn)->code, GB_GRANT_MISSING);
    assert_int_equal(CALL(b, LOAD, TENSOR, 1, 5, 0, GRAPH), GB_WITX_UNSUPPORTED_OPERATION);
    assert_int_equal(CALL(b, LOAD, TENSOR, 1, 6, 0, GRAPH), GB_WITX_UNSUPPORTED_OPERATION);
    assert_int_equal(CALL(b, LOAD, TENSOR, 1, 7, 0, GRAPH), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD, TENSOR, 1, 1, 3, GRAPH), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD, TENSOR, 1, 1, 0, 0), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD, 0, 1, 1, 0, GRAPH), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD, TENSOR, GB_WITX_BUILDERS_MAX + 1, 1, 0, GRAPH),
                     GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD, TENSOR, 0x20000001u, 1, 0, GRAPH), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, LOAD, MEMORY_BYTES - 8, 2, 1, 0, GRAPH), GB_WITX_INVALID_ARGUMENT);
    put(b, TENSOR + 4, MEMORY_BYTES);
    assert_int_equal(CALL(b, LOAD, TENSOR, 1, 1, 0, GRAPH), GB_WITX_INVALID_ARGUMENT);
}

static void handles_of_the_wrong_kind(void **state) {
    struct bench *b = *state;
    const uint32_t wrong[] = {0, b->context, 7, UINT32_MAX};
    for (size_t i = 0; i < GB_COUNT(wrong); i++) {
        assert_int_equal(CALL(b, INIT_EXECUTION_CONTEXT, wrong[i], CONTEXT),
                         GB_WITX_INVALID_ARGUMENT);
    }
    put_tensor(b, 4, 1, 16);
    const uint32_t no_context[] = {0, b->graph, 7, UINT32_MAX};
    for (size_t i = 0; i < GB_COUNT(no_context); i++) {
        assert_int_equal(CALL(b, SET_INPUT, no_context[i], 0, TENSOR), GB_WITX_INVALID_ARGUMENT);
        assert_int_equal(CALL(b, COMPUTE, no_context[i]), GB_WITX_INVALID_ARGUMENT);
        assert_int_equal(CALL(b, GET_OUTPUT, no_context[i], 0, BUFFER, 100, WRITTEN),
                         GB_WITX_INVALID_ARGUMENT);
    }
}

static void tensors_that_are_none(void **state) {
    struct bench *b = *state;
    const struct {
        uint32_t dims, dims_len, type, data, data_len;
    } bad[] = {
        {DIMS, 0x40000001u, 1, DATA, 16},          /* times four wraps to 4 */
        {DIMS, 17, 1, DATA, 16},                   /* more than the rank that there is */
        {MEMORY_BYTES - 3, 1, 1, DATA, 16},        /* ends one byte too late */
        {0, 1, 1, DATA, 16},                       /* null */
        {UINT32_MAX, 1, 1, DATA, 16},
        {DIMS, 1, 6, DATA, 16},                    /* no bf16 here, and nothing after i64 */
        {DIMS, 1, 0xff, DATA, 16},
        {DIMS, 1, 1, MEMORY_BYTES - 15, 16},
        {DIMS, 1, 1, DATA, UINT32_MAX},
        {DIMS, 1, 1, 0, 16},
        {DIMS, 1, 1, DATA, 15},                    /* not what the dimensions say */
        {DIMS, 1, 1, DATA, 0},
        {DIMS, 1, 2, DATA, 32},                    /* f64 where the model takes f32 */
        {DIMS, 0, 1, DATA, 4},                     /* a scalar where it takes four */
    };
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        put_tensor(b, 4, bad[i].type, bad[i].data_len);
        put(b, TENSOR, bad[i].dims);
        put(b, TENSOR + 4, bad[i].dims_len);
        put(b, TENSOR + 12, bad[i].data);
        assert_int_equal(CALL(b, SET_INPUT, b->context, 0, TENSOR), GB_WITX_INVALID_ARGUMENT);
    }
    put_tensor(b, 4, 1, 16);
    assert_int_equal(CALL(b, SET_INPUT, b->context, 0, 0), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, SET_INPUT, b->context, 0, MEMORY_BYTES - 19),
                     GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, SET_INPUT, b->context, 2, TENSOR), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, SET_INPUT, b->context, UINT32_MAX, TENSOR), GB_WITX_INVALID_ARGUMENT);
    assert_int_equal(CALL(b, COMPUTE, b->context), GB_WITX_INVALID_ARGUMENT); /* none is set */
}

static void dimensions_whose_product_overflows(void **state) {
    struct bench *b = *state;
    put_tensor(b, 0x10000, 1, 0);
    put(b, DIMS + 4, 0x10000);
    put(b, DIMS + 8, 0x10000);
    put(b, DIMS + 12, 0x10000); /* 2^64 elements */
    put(b, TENSOR + 4, 4);
    assert_int_equal(CALL(b, SET_INPUT, b->context, 0, TENSOR), GB_WITX_INVALID_ARGUMENT);
}

static void buffers_for_outputs(void **state) {
    struct bench *b = *state;
    assert_int_equal(CALL(b, GET_OUTPUT, b->context, 0, BUFFER, 100, WRITTEN),
                     GB_WITX_INVALID_ARGUMENT); /* before compute */
    computed(b);
    put(b, WRITTEN, 77);
    const struct {
        uint32_t index, buffer, max, written, number;
    } bad[] = {
        {0, BUFFER, 15, WRITTEN, GB_WITX_TOO_LARGE},
        {0, BUFFER, 0, WRITTEN, GB_WITX_TOO_LARGE},
        {0, 0, 0, WRITTEN, GB_WITX_TOO_LARGE},
        {0, 0, 16, WRITTEN, GB_WITX_INVALID_ARGUMENT},
        {0, BUFFER, 16, 0, GB_WITX_INVALID_ARGUMENT},
        {0, BUFFER, UINT32_MAX, WRITTEN, GB_WITX_INVALID_ARGUMENT},
        {0, MEMORY_BYTES - 15, 16, WRITTEN, GB_WITX_INVALID_ARGUMENT},
        {0, BUFFER, 16, MEMORY_BYTES - 3, GB_WITX_INVALID_ARGUMENT},
        {0, BUFFER, 16, BUFFER + 15, GB_WITX_INVALID_ARGUMENT}, /* overlap */
        {0, BUFFER, 16, BUFFER - 3, GB_WITX_INVALID_ARGUMENT},
        {2, BUFFER, 100, WRITTEN, GB_WITX_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        assert_int_equal(CALL(b, GET_OUTPUT, b->context, bad[i].index, bad[i].buffer, bad[i].max,
                              bad[i].written),
                         bad[i].number);
    }
    assert_int_equal(get(b, WRITTEN), 77);
    assert_int_equal(get(b, BUFFER), 0);
    /* Side by side is no overlap. */
    assert_int_equal(CALL(b, GET_OUTPUT, b->context, 0, BUFFER, 16, BUFFER + 16), GB_WITX_SUCCESS);
    assert_int_equal(CALL(b, GET_OUTPUT, b->context, 0, BUFFER, 16, BUFFER - 4), GB_WITX_SUCCESS);
}

static void without_memory(void **state) {
    struct bench *b = *state;
    b->memory = (struct gb_witx_memory){0};
    assert_int_equal(CALL(b, LOAD_BY_NAME, NAME, 4, GRAPH), GB_WITX_MISSING_MEMORY);
    assert_int_equal(CALL(b, SET_INPUT, b->context, 0, TENSOR), GB_WITX_MISSING_MEMORY);
    assert_int_equal(CALL(b, GET_OUTPUT, b->context, 0, BUFFER, 9, WRITTEN),
                     GB_WITX_MISSING_MEMORY);
    assert_int_equal(CALL(b, COMPUTE, b->context), GB_WITX_INVALID_ARGUMENT); /* it needs none */
}

static void graphs_without_end(void **state) {
    struct bench *b = *state;
    uint32_t number;
    uint32_t job;
    const uint32_t args[] = {NAME, 4, GRAPH};
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(CALL(b, LOAD_BY_NAME, NAME, 4, GRAPH), GB_WITX_SUCCESS);
    }
    assert_int_equal(gb_witx_call(b->nn, GB_WITX_LOAD_BY_NAME, &b->memory, args, 3, &number, &job),
                     GB_NN_STOP);
    struct gb_error *reason = gb_nn_take_stop(b->nn);
    assert_int_equal(reason->code, GB_HANDLE_LIMIT);
    gb_error_free(reason);
}

static void every_code_has_an_errno(void **state) {
    (void)state;
    const enum gb_witx_errno wanted[] = {1, 2, 4, 5, 6, 7, 8, 6, 5};
    for (uint32_t i = 0; i < GB_COUNT(wanted); i++) {
        assert_int_equal(gb_witx_errno_of((enum gb_nn_code)i), wanted[i]);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_call_from_begin_to_end),
        TEST(names),
        TEST(loading_bytes),
        TEST(handles_of_the_wrong_kind),
        TEST(tensors_that_are_none),
        TEST(dimensions_whose_product_overflows),
        TEST(buffers_for_outputs),
        TEST(without_memory),
        TEST(graphs_without_end),
        TEST(every_code_has_an_errno),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
