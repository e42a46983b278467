/* SPDX-License-Identifier: Apache-2.0 */
/* What several verbs set up in the same way: where the engines are, and which models there are. */
#ifndef GB_CLI_SETUP_H
#define GB_CLI_SETUP_H

#include "cli/cli.h"

struct gb_engine_values {
    const char *worker;
    const char *ort_lib;
    const char *cache;
    int jail; /* index in gb_jail_choices */
};
extern const char *const gb_jail_choices[];

#define GB_ENGINE_ROWS(type)                                                                       \
    {.name = "jail", .kind = GB_OPTION_CHOICE, .offset = offsetof(type, engine.jail),              \
     .choices = gb_jail_choices, .initial = "strict",                                              \
     .help = "strict refuses to start a worker where the kernel lacks a wall of its jail; "        \
             "best-effort starts it and names what is missing."},                                  \
    {.name = "worker", .kind = GB_OPTION_TEXT, .offset = offsetof(type, engine.worker),            \
     .value = "PATH", .help = "The program glovebox-worker; default: $GLOVEBOX_WORKER, beside "    \
                              "this program, its install path."},                                  \
    {.name = "ort-lib", .kind = GB_OPTION_TEXT, .offset = offsetof(type, engine.ort_lib),          \
     .value = "PATH", .help = "ONNX Runtime's library; default: $GLOVEBOX_ORT_LIB, lib/ beside "   \
                              "this program, its install path, the system."},                      \
    {.name = "cache", .kind = GB_OPTION_TEXT, .offset = offsetof(type, engine.cache),              \
     .value = "DIR", .help = "Folder of compiled code; default: $GLOVEBOX_CACHE, else glovebox "   \
                             "in $XDG_CACHE_HOME or ~/.cache."}

struct gb_model_values {
    const char *dir;
    struct gb_option_list models;
    struct gb_option_list preloads;
};

#define GB_MODEL_ROWS(type)                                                                        \
    {.name = "models", .kind = GB_OPTION_TEXT, .offset = offsetof(type, models.dir),               \
     .value = "DIR", .help = "Directory of models, each under its file's stem; default: "          \
                             "$MODEL_DIR, else ./models if it exists, else none. A model "         \
                              "that is named hides its like in the default directory."},           \
    {.name = "model", .kind = GB_OPTION_LIST, .offset = offsetof(type, models.models),             \
     .value = "NAME=PATH", .help = "Add one model; repeatable."},                                  \
    {.name = "nn-preload", .kind = GB_OPTION_LIST, .offset = offsetof(type, models.preloads),      \
     .value = "NAME:ENC:TARGET:PATH",                                                              \
     .help = "The same in WasmEdge's form; ENC is onnx, ggml, gguf, openvino or autodetect, "      \
             "TARGET is cpu, gpu, tpu or auto."}

/* After the verb's options were read: sets up logging and signals by them. */
bool gb_setup_common(const struct gb_common_options *common, enum gb_interrupt_report json_form,
                     struct gb_error **err);
void gb_setup_host_options(const struct gb_engine_values *engine,
                           struct gb_host_options *ret_options);
/* Finds mistakes in --model and --nn-preload before anything is started. */
bool gb_setup_check_models(const struct gb_model_values *values, struct gb_error **err);
/* Adds what was named; the default directory too where it is wanted. */
bool gb_setup_add_models(struct gb_host *host, const struct gb_model_values *values,
                         bool use_default_dir, struct gb_error **err);

#endif
