/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the unit tests' table of requests, for the socket: NAME, BYTES (hex), CODE, MESSAGES, CUT,
 * with tabs between. */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "http_vectors.h"

static const char *text_of(enum gb_code code) {
    switch (code) {
#define GB_ERROR(name, text, http, status, retryable, meaning) \
    case GB_##name: \
        return text;
#include "base/errors.def"
#undef GB_ERROR
    default:
        return "ok";
    }
}

int main(void) {
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const struct vector *v = &vectors[i];
        printf("%s\t", v->name);
        for (size_t k = 0; k < v->len; k++) {
            printf("%02x", (unsigned)(unsigned char)v->bytes[k]);
        }
        printf("\t%s\t%u\t%d\n", text_of(v->code), v->messages, v->cut);
    }
    return 0;
}
