/* SPDX-License-Identifier: Apache-2.0 */
/* What is taken for a traceparent comes back as the same ids, in our form. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "obs/traceparent.h"

static void require(bool ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    struct gb_traceparent t, again;
    char text[GB_TRACEPARENT_BYTES + 1];
    if (len > 0 && bytes[len - 1] == '\n') {
        len--; /* seeds are text files */
    }
    if (!gb_traceparent_parse(gb_span_make(bytes, len), &t)) {
        return 0;
    }
    gb_traceparent_format(&t, text);
    require(strlen(text) == GB_TRACEPARENT_BYTES, "its length");
    require(memcmp(text + 2, bytes + 2, 51) == 0, "its ids are the ones that came");
    require(gb_traceparent_parse(gb_span_of(text), &again), "ours is one");
    require(memcmp(&t, &again, sizeof t) == 0, "ours is the same");
    return 0;
}

#include "replay.h"
