/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The anchor: ONNX Runtime called directly from C, one thread, the caller's buffers wrapped, as an
 * embedder without any sandbox would. Usage: native_ort LIB MODEL ELEMENTS RUNS [DIM…]; every model
 * has one f32 input and one f32 output. Prints one line: mean, p50, p99 in microseconds.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "onnxruntime_c_api.h"

#define CHECK(call)                                                                                \
    do {                                                                                           \
        OrtStatus *status_ = (call);                                                               \
        if (status_) {                                                                             \
            fprintf(stderr, "native_ort: %s\n", ort->GetErrorMessage(status_));                    \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static const OrtApi *open_engine(const char *path) {
    setenv("ORT_DISABLE_TELEMETRY", "1", 1);
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const OrtApiBase *(*base)(void) = NULL;
    if (lib) {
        *(void **)&base = dlsym(lib, "OrtGetApiBase");
    }
    const OrtApi *ort = base ? base()->GetApi(ORT_API_VERSION) : NULL;
    if (!ort) {
        fprintf(stderr, "native_ort: could not load \"%s\"\n", path);
        exit(1);
    }
    return ort;
}

int main(int argc, char **argv) {
    if (argc < 6) {
        fprintf(stderr, "usage: native_ort LIB MODEL ELEMENTS RUNS DIM...\n");
        return 2;
    }
    const OrtApi *ort = open_engine(argv[1]);
    size_t elements = strtoull(argv[3], NULL, 10), runs = strtoull(argv[4], NULL, 10);
    int64_t dims[8];
    size_t rank = 0;
    for (int i = 5; i < argc && rank < 8; i++) {
        dims[rank++] = strtoll(argv[i], NULL, 10);
    }
    OrtEnv *env;
    OrtSessionOptions *options;
    OrtSession *session;
    OrtMemoryInfo *memory;
    OrtAllocator *allocator;
    CHECK(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bench", &env));
    CHECK(ort->CreateSessionOptions(&options));
    CHECK(ort->SetIntraOpNumThreads(options, 1));
    CHECK(ort->CreateSession(env, argv[2], options, &session));
    CHECK(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    CHECK(ort->GetAllocatorWithDefaultOptions(&allocator));
    char *input_name, *output_name;
    CHECK(ort->SessionGetInputName(session, 0, allocator, &input_name));
    CHECK(ort->SessionGetOutputName(session, 0, allocator, &output_name));
    float *data = calloc(elements, sizeof *data);
    double *times = calloc(runs, sizeof *times);
    double sum = 0;
    for (size_t i = 0; i < runs + 50; i++) { /* the first 50 warm up */
        double begin = now_us();
        OrtValue *input = NULL, *output = NULL;
        CHECK(ort->CreateTensorWithDataAsOrtValue(memory, data, elements * sizeof *data, dims, rank,
                                                  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
        CHECK(ort->Run(session, NULL, (const char *const *)&input_name,
                       (const OrtValue *const *)&input, 1, (const char *const *)&output_name, 1,
                       &output));
        ort->ReleaseValue(output);
        ort->ReleaseValue(input);
        if (i >= 50) {
            times[i - 50] = now_us() - begin;
            sum += times[i - 50];
        }
    }
    qsort(times, runs, sizeof *times, by_value);
    printf("mean %.2f p50 %.2f p99 %.2f\n", sum / (double)runs, times[runs / 2],
           times[runs * 99 / 100]);
    return 0;
}
