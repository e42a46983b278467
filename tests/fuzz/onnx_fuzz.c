/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gb_onnx_check over any bytes: no crash, no leak, an error exactly when it fails, and a summary
 * that keeps its own bounds. Built without libFuzzer (GB_FUZZ_REPLAY) it runs the files given.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static void check_ports(const struct gb_port *ports, size_t len) {
    require(len <= GB_WIRE_PORTS_MAX, "at most 64 ports");
    for (size_t i = 0; i < len; i++) {
        char text[256];
        require(ports[i].rank <= GB_WIRE_RANK_MAX, "rank at most 16");
        require(memchr(ports[i].name, 0, sizeof ports[i].name) != NULL, "names end");
        require(ports[i].name[0] != 0, "ports have names");
        for (uint32_t d = 0; d < ports[i].rank; d++) {
            require(ports[i].dims[d] >= -1, "dimensions are sizes or free");
        }
        gb_port_text(&ports[i], text, sizeof text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    static struct gb_onnx_summary summary;
    struct gb_error *err = NULL;
    bool ok = gb_onnx_check(gb_span_make(bytes, len), &summary, &err);
    require(ok == (err == NULL), "an error if and only if it fails");
    if (ok) {
        require(summary.outputs_len > 0, "a model has outputs");
        check_ports(summary.inputs, summary.inputs_len);
        check_ports(summary.outputs, summary.outputs_len);
    } else {
        require(err->code == GB_MODEL_INVALID || err->code == GB_MODEL_REJECTED, "two codes only");
        require(err->message && err->hint, "a message and a hint");
    }
    gb_error_free(err);
    return 0;
}

#include "replay.h"
