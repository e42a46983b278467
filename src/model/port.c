/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs and outputs: as text for messages and logs, and which of their dimensions are equal. */
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Appends within cap; cut text stays terminated. */
static size_t put(char *text, size_t cap, size_t used, const char *part) {
    int n = used < cap ? snprintf(text + used, cap - used, "%s", part) : 0;
    return used + (n > 0 ? (size_t)n : 0);
}

void gb_port_text(const struct gb_port *port, char *text, size_t cap) {
    char number[24];
    size_t used = put(text, cap, 0, gb_type_text((enum gb_type)port->type));
    used = put(text, cap, used, "[");
    for (uint32_t i = 0; i < port->rank && i < GB_WIRE_RANK_MAX; i++) {
        const char *dim = port->symbols[i][0] ? port->symbols[i] : "?";
        if (port->dims[i] >= 0) {
            snprintf(number, sizeof number, "%" PRId64, port->dims[i]);
            dim = number;
        }
        used = put(text, cap, used, i > 0 ? "," : "");
        used = put(text, cap, used, dim);
    }
    put(text, cap, used, "]");
}

static uint16_t first_of(const struct gb_port *inputs, size_t inputs_len, const char *symbol) {
    for (size_t p = 0; p < inputs_len; p++) {
        for (uint32_t d = 0; d < inputs[p].rank; d++) {
            if (inputs[p].dims[d] < 0 && strcmp(inputs[p].symbols[d], symbol) == 0) {
                return GB_DIM(p, d);
            }
        }
    }
    return GB_DIM_UNBOUND;
}

void gb_ports_bind(const struct gb_port *inputs, size_t inputs_len, const struct gb_port *ports,
                   size_t ports_len, uint16_t ret_bound[GB_DIMS_MAX]) {
    for (size_t i = 0; i < GB_DIMS_MAX; i++) {
        ret_bound[i] = GB_DIM_UNBOUND;
    }
    for (size_t p = 0; p < ports_len; p++) {
        for (uint32_t d = 0; d < ports[p].rank; d++) {
            if (ports[p].dims[d] < 0 && ports[p].symbols[d][0] != '\0') {
                uint16_t first = first_of(inputs, inputs_len, ports[p].symbols[d]);
                bool itself = ports == inputs && first == GB_DIM(p, d);
                ret_bound[GB_DIM(p, d)] = itself ? GB_DIM_UNBOUND : first;
            }
        }
    }
}
