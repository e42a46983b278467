/* SPDX-License-Identifier: Apache-2.0 */
/* wasi:nn without a worker: what is charged, what a drop takes, which inputs fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"
#include "nn/nn_internal.h"

struct state {
    struct gb_account *account;
    struct gb_nn *nn;
};

static void open_nn(struct state *s, uint64_t budget_bytes) {
    struct gb_error *e = NULL;
    s->account = gb_account_new("call", NULL, budget_bytes, &e);
    struct gb_nn_options options = {
        .account = s->account, .allow_all = true, .handles_max = 100000, .deadline_us = UINT64_MAX};
    s->nn = gb_nn_new(&options, &e);
    assert_non_null(s->nn);
}

static void close_nn(struct state *s) {
    gb_nn_free(s->nn);
    assert_int_equal(gb_account_used(s->account), 0);
    gb_account_unref(s->account);
}

static void text_of_an_error_is_charged_and_given_back(void **state) {
    (void)state;
    struct state s;
    open_nn(&s, GB_MIB);
    char name[3000];
    memset(name, 'n', sizeof name);
    uint32_t graph = 0;
    uint32_t error = 0;
    assert_int_equal(gb_nn_load_by_name(s.nn, gb_span_make((const uint8_t *)name, sizeof name),
                                        &graph, &error),
                     GB_NN_ERROR);
    assert_true(gb_account_used_for(s.account, GB_CHARGE_HANDLE) > 200); /* a long name is cut */
    gb_nn_drop_error(s.nn, error);
    assert_int_equal(gb_account_used(s.account), 0);
    assert_int_equal(gb_nn_error_new(s.nn, GB_NN_CODE_TIMEOUT,
                                     gb_span_make((const uint8_t *)name, sizeof name), &error),
                     GB_NN_OK);
    assert_true(gb_account_used_for(s.account, GB_CHARGE_HANDLE) > sizeof name);
    close_nn(&s);
}

static void errors_end_at_the_budget_and_not_at_the_handles(void **state) {
    (void)state;
    struct state s;
    open_nn(&s, 64 * GB_KIB);
    char text[2000];
    memset(text, 't', sizeof text);
    uint32_t error = 0;
    uint32_t count = 0;
    while (gb_nn_error_new(s.nn, GB_NN_CODE_TIMEOUT,
                           gb_span_make((const uint8_t *)text, sizeof text),
                           &error) == GB_NN_OK) {
        count++;
    }
    assert_in_range(count, 20, 32);
    struct gb_error *stop = gb_nn_take_stop(s.nn);
    assert_non_null(stop);
    assert_int_equal(stop->code, GB_BUDGET_EXCEEDED);
    gb_error_free(stop);
    close_nn(&s);
}

static void error_of_a_tensor_is_charged_until_it_is_told(void **state) {
    (void)state;
    struct state s;
    open_nn(&s, GB_MIB);
    const uint32_t dims[] = {3};
    uint32_t tensor = 0;
    uint32_t good = 0;
    const uint8_t bytes[12] = {0};
    assert_int_equal(gb_nn_tensor_new(s.nn, dims, 1, GB_TYPE_F32, gb_span_make(bytes, 12), &good),
                     GB_NN_OK);
    gb_nn_drop_tensor(s.nn, good);
    uint64_t none = gb_account_used(s.account);
    assert_int_equal(none, 0);
    assert_int_equal(gb_nn_tensor_new(s.nn, dims, 1, GB_TYPE_F32, gb_span_make(bytes, 5), &tensor),
                     GB_NN_OK);
    assert_true(gb_account_used_for(s.account, GB_CHARGE_HANDLE) > 200);
    gb_nn_drop_tensor(s.nn, tensor);
    assert_int_equal(gb_account_used(s.account), 0);
    /* Told: given a context that does not exist, the tensor is consumed all the same. */
    assert_int_equal(gb_nn_tensor_new(s.nn, dims, 1, GB_TYPE_F32, gb_span_make(bytes, 5), &tensor),
                     GB_NN_OK);
    uint32_t error = 0;
    assert_int_equal(gb_nn_set_input(s.nn, 77, gb_span_of("x"), tensor, &error), GB_NN_ERROR);
    gb_nn_drop_error(s.nn, error);
    assert_int_equal(gb_account_used(s.account), 0);
    close_nn(&s);
}

static void drop_takes_only_its_own_kind(void **state) {
    (void)state;
    struct state s;
    open_nn(&s, GB_MIB);
    const uint32_t dims[] = {1};
    const uint8_t bytes[4] = {0};
    uint32_t tensor = 0;
    assert_int_equal(gb_nn_tensor_new(s.nn, dims, 1, GB_TYPE_F32, gb_span_make(bytes, 4), &tensor),
                     GB_NN_OK);
    uint64_t used = gb_account_used(s.account);
    gb_nn_drop_error(s.nn, tensor);
    gb_nn_drop_graph(s.nn, tensor);
    gb_nn_drop_context(s.nn, tensor);
    gb_nn_drop_tensor(s.nn, 0);
    gb_nn_drop_tensor(s.nn, tensor + 1);
    assert_int_equal(gb_account_used(s.account), used);
    gb_nn_drop_tensor(s.nn, tensor);
    assert_int_equal(gb_account_used(s.account), 0);
    gb_nn_drop_tensor(s.nn, tensor);
    close_nn(&s);
}

static void graph_of_too_many_parts_is_refused_as_such(void **state) {
    (void)state;
    struct state s;
    open_nn(&s, GB_MIB);
    struct gb_span parts[GB_NN_BUILDERS_MAX + 1] = {0};
    for (size_t len = GB_NN_BUILDERS_MAX; len <= GB_NN_BUILDERS_MAX + 1; len++) {
        uint32_t graph = 0;
        uint32_t error = 0;
        enum gb_nn_code code;
        struct gb_span data;
        assert_int_equal(gb_nn_load(s.nn, parts, len, 1, 0, &graph, &error), GB_NN_ERROR);
        gb_nn_error_info(s.nn, error, &code, &data);
        assert_int_equal(code, len > GB_NN_BUILDERS_MAX ? GB_NN_CODE_INVALID_ARGUMENT
                                                        : GB_NN_CODE_SECURITY);
    }
    close_nn(&s);
}

static void dimensions_of_one_name_have_one_size(void **state) {
    (void)state;
    const struct gb_port ports[2] = {
        {.name = "a", .type = GB_TYPE_F32, .rank = 2, .dims = {-1, 3}, .symbols = {"n"}},
        {.name = "b", .type = GB_TYPE_F32, .rank = 2, .dims = {-1, -1}, .symbols = {"n", "m"}}};
    uint16_t bound[GB_DIMS_MAX];
    gb_ports_bind(ports, 2, ports, 2, bound);
    const struct gb_model_info info = {
        .name = "twins", .inputs = ports, .inputs_len = 2, .inputs_bound = bound};
    struct nn_value values[2] = {{.dims = {4, 3}, .rank = 2, .set = true},
                                 {.dims = {4, 9}, .rank = 2, .set = true}};
    struct gb_error *e = NULL;
    assert_true(nn_check_inputs(&info, values, &e));
    values[1].dims[0] = 5;
    assert_false(nn_check_inputs(&info, values, &e));
    assert_int_equal(e->code, GB_INPUT_SHAPE);
    assert_string_equal(e->message, "the dimension \"n\" of the model \"twins\" is 4 in the input "
                                    "\"a\" and 5 in the input \"b\"");
    gb_error_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_of_an_error_is_charged_and_given_back),
        cmocka_unit_test(errors_end_at_the_budget_and_not_at_the_handles),
        cmocka_unit_test(error_of_a_tensor_is_charged_until_it_is_told),
        cmocka_unit_test(drop_takes_only_its_own_kind),
        cmocka_unit_test(graph_of_too_many_parts_is_refused_as_such),
        cmocka_unit_test(dimensions_of_one_name_have_one_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
