/* SPDX-License-Identifier: Apache-2.0 */
/* Which dimensions of a model are equal by their symbols. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/model.h"

static struct gb_port inputs[GB_WIRE_PORTS_MAX];
static struct gb_port outputs[GB_WIRE_PORTS_MAX];
static uint16_t bound[GB_DIMS_MAX];

/* Dimensions as words: a number, a symbol, or "?". */
static void port_of(struct gb_port *port, uint32_t rank, const char *const *dims) {
    memset(port, 0, sizeof *port);
    port->rank = rank;
    for (uint32_t d = 0; d < rank; d++) {
        port->dims[d] = dims[d][0] >= '0' && dims[d][0] <= '9' ? dims[d][0] - '0' : -1;
        if (port->dims[d] < 0 && dims[d][0] != '?') {
            (void)snprintf(port->symbols[d], sizeof port->symbols[d], "%s", dims[d]);
        }
    }
}

static void inputs_are_bound_to_the_first_before_them(void **state) {
    (void)state;
    port_of(&inputs[0], 4, (const char *const[]){"n", "3", "?", "n"});
    port_of(&inputs[1], 3, (const char *const[]){"m", "n", "?"});
    port_of(&inputs[2], 2, (const char *const[]){"m", "nn"});
    gb_ports_bind(inputs, 3, inputs, 3, bound);
    const uint16_t none = GB_DIM_UNBOUND;
    const uint16_t first_n = GB_DIM(0, 0);
    const uint16_t first_m = GB_DIM(1, 0);
    const uint16_t expected[3][4] = {
        {none, none, none, first_n}, {none, first_n, none, none}, {first_m, none, none, none}};
    for (size_t p = 0; p < 3; p++) {
        for (size_t d = 0; d < 4; d++) {
            assert_int_equal(bound[GB_DIM(p, d)], expected[p][d]);
        }
    }
    for (size_t i = GB_DIM(3, 0); i < GB_DIMS_MAX; i++) {
        assert_int_equal(bound[i], none);
    }
}

static void outputs_are_bound_to_inputs_only(void **state) {
    (void)state;
    port_of(&inputs[0], 2, (const char *const[]){"?", "n"});
    port_of(&outputs[0], 3, (const char *const[]){"n", "k", "?"});
    port_of(&outputs[1], 2, (const char *const[]){"k", "2"});
    gb_ports_bind(inputs, 1, outputs, 2, bound);
    assert_int_equal(bound[GB_DIM(0, 0)], GB_DIM(0, 1));
    assert_int_equal(bound[GB_DIM(0, 1)], GB_DIM_UNBOUND);
    assert_int_equal(bound[GB_DIM(0, 2)], GB_DIM_UNBOUND);
    assert_int_equal(bound[GB_DIM(1, 0)], GB_DIM_UNBOUND);
    assert_int_equal(bound[GB_DIM(1, 1)], GB_DIM_UNBOUND);
}

static void the_last_dimension_of_all_has_its_place(void **state) {
    (void)state;
    const char *const numbers[GB_WIRE_RANK_MAX] = {"1", "1", "1", "1", "1", "1", "1", "1",
                                                   "1", "1", "1", "1", "1", "1", "1", "z"};
    for (size_t p = 0; p < GB_WIRE_PORTS_MAX; p++) {
        port_of(&inputs[p], GB_WIRE_RANK_MAX, numbers);
    }
    gb_ports_bind(inputs, GB_WIRE_PORTS_MAX, inputs, GB_WIRE_PORTS_MAX, bound);
    assert_int_equal(bound[GB_DIM(0, GB_WIRE_RANK_MAX - 1)], GB_DIM_UNBOUND);
    assert_int_equal(bound[GB_DIMS_MAX - 1], GB_WIRE_RANK_MAX - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_are_bound_to_the_first_before_them),
        cmocka_unit_test(outputs_are_bound_to_inputs_only),
        cmocka_unit_test(the_last_dimension_of_all_has_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
