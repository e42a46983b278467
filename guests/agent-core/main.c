/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sample agent on the core ABI: a WASI command that names the handwritten digit in an 8x8
 * picture by wasi_ephemeral_nn, which it declares itself. Inputs and outputs go by number here.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIXELS  64
#define CLASSES 10
#define F32     1 /* of the types f16 f32 f64 u8 i32 i64 */

struct tensor {
    const uint32_t *dims;
    uint32_t dims_len;
    uint8_t type; /* and three bytes of nothing */
    const uint8_t *data;
    uint32_t data_len;
};
_Static_assert(sizeof(struct tensor) == 20, "as the witx lays it out");

#define IMPORT(name) __attribute__((import_module("wasi_ephemeral_nn"), import_name(name)))
IMPORT("load_by_name") int32_t load_by_name(const char *name, uint32_t name_len, uint32_t *graph);
IMPORT("init_execution_context")
int32_t init_execution_context(uint32_t graph, uint32_t *context);
IMPORT("set_input")
int32_t set_input(uint32_t context, uint32_t index, const struct tensor *tensor);
IMPORT("compute") int32_t compute(uint32_t context);
IMPORT("get_output")
int32_t get_output(uint32_t context, uint32_t index, uint8_t *buffer, uint32_t buffer_max,
                   uint32_t *written);

static int failed(const char *what, int32_t error) {
    fprintf(stderr, "%s: errno %d\n", what, (int)error);
    return 1;
}

static int parse(const char *text, float *pixels) {
    size_t count = 0;
    for (const char *at = text; *at != '\0' && count < PIXELS; count++) {
        char *end;
        pixels[count] = strtof(at, &end);
        if (end == at) {
            break;
        }
        at = end + strspn(end, " ,\n");
    }
    return count == PIXELS;
}

static void print(const float *scores, uint32_t count) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    printf("class=%u scores=[", (unsigned)best);
    for (uint32_t i = 0; i < count; i++) {
        printf("%s%.3f", i == 0 ? "" : " ", (double)scores[i]);
    }
    printf("]\n");
}

int main(int argc, char **argv) {
    static const uint32_t dims[] = {1, PIXELS};
    float pixels[PIXELS];
    float scores[CLASSES];
    uint32_t graph;
    uint32_t context;
    uint32_t written;
    if (argc != 2 || !parse(argv[1], pixels)) {
        fprintf(stderr, "expected 64 values from 0 to 16\n");
        return 2;
    }
    int32_t error = load_by_name("digits", 6, &graph);
    if (error != 0) {
        return failed("load_by_name", error);
    }
    error = init_execution_context(graph, &context);
    if (error != 0) {
        return failed("init_execution_context", error);
    }
    struct tensor tensor = {dims, 2, F32, (const uint8_t *)pixels, sizeof(pixels)};
    error = set_input(context, 0, &tensor);
    if (error != 0) {
        return failed("set_input", error);
    }
    error = compute(context);
    if (error != 0) {
        return failed("compute", error);
    }
    error = get_output(context, 0, (uint8_t *)scores, sizeof(scores), &written);
    if (error != 0) {
        return failed("get_output", error);
    }
    print(scores, written / (uint32_t)sizeof(float));
    return 0;
}
