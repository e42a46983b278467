/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libglovebox: run untrusted WebAssembly next to native models, under one deadline, one memory
 * ledger and one error contract. C11 and C++.
 *
 * A host holds the models, the ledger and the engines; a program is a compiled guest; a call runs
 * one program once. Not yet a stable ABI.
 *
 * Threads: a host and everything made from it belong to the thread that uses them; use one host
 * per thread, or a lock of your own. Ownership: what a function returns through ret_* or as a
 * pointer is the caller's and has its own free. Strings are UTF-8. Units are in the names.
 * Errors: functions that can fail take `struct gb_error **err` last (NULL: not wanted) and set it
 * if and only if they fail; free it with gb_error_free.
 */
#ifndef GLOVEBOX_GLOVEBOX_H
#define GLOVEBOX_GLOVEBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glovebox/api.h>

#ifdef __cplusplus
extern "C" {
#endif
GB_API_BEGIN

#define GLOVEBOX_VERSION "0.1.0"

/* ---- errors ---- */

struct gb_error;
const char *gb_error_code(const struct gb_error *e);    /* "deadline-exceeded" */
const char *gb_error_message(const struct gb_error *e); /* never NULL */
const char *gb_error_hint(const struct gb_error *e);    /* may be NULL */
const char *gb_error_value(const struct gb_error *e);   /* a guest's own error; may be NULL */
const struct gb_error *gb_error_cause(const struct gb_error *e); /* borrowed; may be NULL */
int gb_error_exit_status(const struct gb_error *e);
/* {"code","message","hint","value"?,"cause"?}. Free with gb_text_free; NULL when memory ran out. */
char *gb_error_json(const struct gb_error *e, struct gb_error **err);
void gb_error_free(struct gb_error *e);

/* ---- host ---- */

struct gb_host;

struct gb_host_options {
    size_t size;              /* sizeof(struct gb_host_options): lets the struct grow */
    const char *worker_path;  /* NULL: $GLOVEBOX_WORKER, beside the program, install path */
    const char *ort_lib_path; /* NULL: $GLOVEBOX_ORT_LIB, beside the program, system loader */
    bool jail_best_effort;    /* start workers where the kernel lacks a wall */
    uint64_t host_bytes;      /* the ledger's top account; default 4 GiB */
    uint64_t budget_bytes;    /* tenant "default"; default 256 MiB */
    uint64_t stack_bytes;     /* wasm stack of every call; default 512 KiB */
    uint64_t memory_bytes_max; /* largest memory limit any call will ask for; default 64 MiB */
    uint32_t calls_max;       /* at once; default 16 */
    uint32_t threads;         /* inferences at once per model; 0: number of cores, at most 4 */
    bool place_inline;        /* run all models in this process: trusted and fast ones only */
    const char *compiler_path; /* NULL: $GLOVEBOX_COMPILER, beside the program, install path */
    const char *cache_dir;    /* compiled code; NULL: $GLOVEBOX_CACHE, $XDG_CACHE_HOME, ~/.cache */
    bool no_cache;            /* compile each time */
    uint32_t loads_max;       /* models that guests loaded from bytes, at once; default 16 */
    uint32_t load_threads;    /* inferences at once of one of those; default 1 */
};
void gb_host_options_default(struct gb_host_options *ret_options);
struct gb_host *gb_host_new(const struct gb_host_options *options, struct gb_error **err);
void gb_host_free(struct gb_host *h);

/* ---- models ---- */

bool gb_host_add_model_dir(struct gb_host *h, const char *dir, struct gb_error **err);
/* The same, leaving out what has the name of a model that was added before: for a default. */
bool gb_host_add_default_model_dir(struct gb_host *h, const char *dir, struct gb_error **err);
/* encoding: "onnx", "ggml", "gguf", "openvino", "autodetect" or NULL. */
bool gb_host_add_model(struct gb_host *h, const char *name, const char *path, const char *encoding,
                       struct gb_error **err);
/* Loads and warms the named models (NULL: all). One that fails is listed as rejected. */
bool gb_host_start_models(struct gb_host *h, const char *const *names, size_t names_len,
                          struct gb_error **err);
/* The models as a JSON text, as `glovebox models --json` prints it. Free with gb_text_free. */
char *gb_host_models_json(struct gb_host *h, struct gb_error **err);

/* ---- metrics of guests ---- */

/* What guests told glovebox:host/metrics, per tenant:
 * {"tenants":[{"tenant","counters":{NAME:N},"gauges":{NAME:X},"invalid","overflow",
 * "overflow_count","log_lines","log_dropped"}]}. Free with gb_text_free. */
char *gb_host_metrics_json(struct gb_host *h, struct gb_error **err);

/* ---- programs ---- */

struct gb_grant_options {
    size_t size;
    bool nn_load; /* wasi:nn's load: models from the guest's bytes, each in a worker of its own */
    bool http, kv, sockets, memory64;
    bool stdin_inherited;
    bool all_models; /* default true */
    const char *const *models;
    size_t models_len;
    const char *const *dirs; /* triples flattened: host, guest, "ro" or "rw" */
    size_t dirs_len;         /* strings: a multiple of three */
    const char *const *env;  /* "K=V" */
    size_t env_len;
    const char *const *interfaces; /* of gb_host_define, by name, with or without version */
    size_t interfaces_len;
};
void gb_grant_options_default(struct gb_grant_options *ret_options);

struct gb_limit_options {
    size_t size;
    uint64_t memory_bytes, table_elements;
    uint32_t instances, handles;
    uint64_t fuel; /* 0: off */
    uint64_t deadline_us;
    uint64_t output_bytes;
    bool output_drop; /* past output_bytes: drop and count instead of ending the call */
    uint32_t loads;      /* models loaded from bytes, at once; default 4 */
    uint64_t load_bytes; /* of one of them; default 64 MiB */
    uint64_t load_memory_bytes; /* of its worker, besides four times the model; default 64 MiB */
};
void gb_limit_options_default(struct gb_limit_options *ret_options);

/* A program under grants and limits. The options are copied. */
struct gb_guest;
struct gb_guest *gb_guest_load_file(struct gb_host *h, const char *path,
                                    const struct gb_grant_options *grants,
                                    const struct gb_limit_options *limits, struct gb_error **err);
/* After its calls have ended, and before its host is freed. */
void gb_guest_free(struct gb_guest *g);
/* Whether it imports wasi:nn. */
bool gb_guest_uses_models(const struct gb_guest *g);
/* True: `run: func(string) -> result<string, string>`; false: a command with argv. */
bool gb_guest_is_agent(const struct gb_guest *g);
/* Compiles a program ahead of time, for guests under these grants and limits. Only this user on
 * this machine can load the file: it is native code, under a key of theirs. A program that imports
 * what a guest under these grants has not is refused, as by gb_guest_load_file; grants NULL: only
 * the code is made, and imports are looked at when it is loaded. */
bool gb_host_compile_file(struct gb_host *h, const char *path,
                          const struct gb_grant_options *grants,
                          const struct gb_limit_options *limits, const char *out_path,
                          struct gb_error **err);
/* A component, module or model file described as JSON, as `glovebox inspect --json` prints it. */
char *gb_host_inspect_json(struct gb_host *h, const char *path,
                           const struct gb_grant_options *grants, struct gb_error **err);
/* The machine and the libraries, as `glovebox doctor --json` prints it; *ret_ok: all that is
 * required works. */
char *gb_host_doctor_json(const struct gb_host_options *options, bool *ret_ok,
                          struct gb_error **err);
char *gb_version_json(struct gb_error **err);
void gb_text_free(char *text);

/* ---- calls ---- */

struct gb_value; /* value.h: typed calls */

struct gb_usage_report {
    uint64_t wall_us, fuel, memory_peak_bytes, ledger_peak_bytes;
    uint64_t stdout_bytes, stderr_bytes, stdout_dropped_bytes, stderr_dropped_bytes;
    uint64_t inference_calls, inference_us, queue_us, instantiate_us;
    bool fuel_measured;
    uint64_t crossing_us; /* of inferences, what is neither queue nor engine */
};
struct gb_result; /* of one call */
const struct gb_error *gb_result_error(const struct gb_result *r); /* NULL: ok; borrowed */
const char *gb_result_text(const struct gb_result *r, size_t *ret_bytes); /* agent's ok; or NULL */
bool gb_result_exit_status(const struct gb_result *r, int *ret_status);
const char *gb_result_stdout(const struct gb_result *r, size_t *ret_bytes);
const char *gb_result_stderr(const struct gb_result *r, size_t *ret_bytes);
void gb_result_usage(const struct gb_result *r, struct gb_usage_report *ret_usage);
void gb_result_free(struct gb_result *r);

/* What a run ended with, as the JSON object that `glovebox run --json` prints. */
struct gb_run_report {
    size_t size;
    const struct gb_error *error;        /* NULL: ok */
    const struct gb_result *result;      /* of the call it is about; NULL: none was made */
    const struct gb_usage_report *usage; /* NULL: nothing was measured */
    const char *repeat_json;             /* an object, "repeat", instead of the result; or NULL */
    bool ascii;                          /* escape all that is not ASCII: for terminals */
};
char *gb_run_report_json(const struct gb_run_report *report, struct gb_error **err);

typedef void gb_output_fn(void *user, int stream /* 1, 2 */, const char *bytes, size_t len);
typedef void gb_done_fn(void *user, struct gb_result *result); /* takes the result */

struct gb_call_options {
    size_t size;
    const char *argument; /* agents */
    size_t argument_bytes;
    const char *const *args; /* commands: argv */
    size_t args_len;
    gb_output_fn *output; /* live output; NULL: captured in the result */
    gb_done_fn *done;
    void *user;
    const struct gb_value *values; /* guests of gb_guest_load_function: one for each parameter; */
    size_t values_len;             /* see value.h */
};
/* Starts a call; done is called from gb_host_step. The options' strings must live until then. */
bool gb_guest_call(struct gb_guest *g, const struct gb_call_options *options,
                   struct gb_error **err);
/* Runs calls on this thread: waits up to wait_ms (-1: until something happens), does what there is
 * to do, returns the number of calls still running. */
size_t gb_host_step(struct gb_host *h, int wait_ms);
/* Readable when gb_host_step has something to do: for a loop of your own. */
int gb_host_fd(const struct gb_host *h);
/* Ends every running call with code "interrupted" (true) or "cancelled". Async-signal-unsafe. */
void gb_host_cancel_all(struct gb_host *h, bool interrupted);

GB_API_END
#ifdef __cplusplus
}
#endif
#endif
