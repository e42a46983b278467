/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs and outputs as text for messages and logs. */
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>

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
