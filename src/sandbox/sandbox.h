/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox: programs and calls. A program is a compiled component or core module with everything
 * resolved that does not depend on the call; a call is a new store and instance under grants (what
 * it may touch) and limits (how much), and one deadline. Nothing survives a call.
 *
 * The only module that sees the bridge (gb_wasm.h).
 * Threads: a sandbox and its programs may be used from any thread; a runner and its calls belong to
 * one thread. One ticker thread advances the epochs every millisecond while calls run.
 * Ownership: counted programs; a call belongs to its runner until `done` was called.
 */
#ifndef GB_SANDBOX_SANDBOX_H
#define GB_SANDBOX_SANDBOX_H

#include "base/error.h"
#include "base/span.h"
#include "glovebox/value.h"
#include "ledger/ledger.h"
#include "model/model.h"
#include "sandbox/http_io.h"

struct gb_custom;
struct gb_sandbox;
struct gb_program;
struct gb_runner;
struct gb_call;
struct gb_lanes;
struct gb_flow;
struct gb_wake_cell;

struct gb_sandbox_options {
    uint64_t stack_bytes;        /* wasm stack of every call; 512 KiB */
    uint64_t memory_bytes_max;   /* the pool's slot size: no call may have a larger memory */
    uint32_t calls_max;          /* at once; sizes the pool */
    bool pooling;                /* off by itself where address space is short */
    bool jail_best_effort;       /* compile where the kernel lacks a wall, too */
    const char *compiler_path;   /* NULL: $GLOVEBOX_COMPILER, beside the program, install path */
    uint32_t compile_cpu_s;      /* 30; and 5 for each MiB of program after the first */
    uint64_t compile_memory_bytes; /* 2 GiB; and 64 for each byte of program, and its code */
    bool cache;                  /* keep compiled code; off */
    const char *cache_dir;       /* NULL: $GLOVEBOX_CACHE, $XDG_CACHE_HOME, ~/.cache */
    const char *key_path;        /* NULL: $XDG_STATE_HOME, ~/.local/state */
    uint64_t cache_bytes_max;    /* 1 GiB */
    struct gb_account *host_account; /* for what the pool keeps between calls; may be NULL */
};
struct gb_sandbox_options gb_sandbox_options_default(void);
struct gb_sandbox *gb_sandbox_new(const struct gb_sandbox_options *options, struct gb_error **err);
void gb_sandbox_free(struct gb_sandbox *s); /* after its programs and runners */
/* For doctor: version text, whether the pool could be reserved and why not. */
struct gb_sandbox_facts {
    const char *engine;
    bool pooling;
    char pooling_reason[160];
};
bool gb_sandbox_facts(struct gb_sandbox *s, struct gb_sandbox_facts *ret, struct gb_error **err);

struct gb_native_facts {
    bool cache;             /* there is one; else cache_text says why not */
    char cache_text[512];   /* its folder */
    uint64_t entries, bytes;
    uint64_t damaged;       /* entries ever found damaged and compiled again */
};
/* For doctor: the cache, and whether an empty module can be compiled (else *err; *ret is set). */
bool gb_sandbox_native_facts(struct gb_sandbox *s, struct gb_native_facts *ret,
                             struct gb_error **err);

/* For metrics; since the start. */
struct gb_cache_counts {
    uint64_t hits, misses, damaged, stored;
};
struct gb_cache_counts gb_sandbox_cache_counts(struct gb_sandbox *s);

enum gb_overflow { GB_OVERFLOW_FAIL, GB_OVERFLOW_DROP };
struct gb_limits {
    uint64_t memory_bytes;    /* linear memories, summed over the call: 64 MiB */
    uint64_t table_elements;  /* summed: 10,000 */
    uint32_t instances;       /* core instances: 64 */
    uint32_t handles;         /* 1,024 */
    uint64_t fuel;            /* 0: off */
    uint64_t deadline_us;     /* from gb_runner_call, which starts instantiation: 30 s */
    uint64_t output_bytes;    /* stdout and stderr each: 64 KiB */
    enum gb_overflow overflow;
    uint64_t hostcall_bytes;  /* per host call; 0: as memory_bytes */
    uint64_t random_bytes;    /* per host call: 64 KiB */
    uint64_t text_bytes;      /* argument and answer: 1 MiB */
    uint64_t http_fields_bytes; /* of one map of HTTP fields that the guest makes: 64 KiB */
    uint64_t program_bytes;   /* 32 MiB */
    uint32_t loads;           /* models from the guest's bytes, at once: 4 */
    uint64_t load_bytes;      /* of one of them: 64 MiB */
    uint64_t load_memory_bytes; /* of its worker, besides four times the model: 64 MiB */
};
struct gb_limits gb_limits_default(void);

struct gb_preopen {
    const char *host_path;
    const char *guest_path;
    bool writable;
};
struct gb_grants {
    bool nn_load, http, kv, sockets, memory64;
    bool stdin_inherited;
    bool all_models;                /* every model of the registry */
    const char *const *models;      /* else these */
    size_t models_len;
    const struct gb_preopen *preopens;
    size_t preopens_len;
    const char *const *env;         /* "K=V" */
    size_t env_len;
    struct gb_custom *customs;      /* the embedder's interfaces; outlive programs and calls */
    const char *const *interfaces;  /* those of them that are granted */
    size_t interfaces_len;
};

enum gb_entry {
    GB_ENTRY_AGENT,
    GB_ENTRY_COMMAND,
    GB_ENTRY_START,
    GB_ENTRY_CALL,
    GB_ENTRY_HTTP /* wasi:http/incoming-handler@0.2; chosen by itself where there is no other */
};

/* Compiles, diagnoses missing imports and grants, links. name is for messages. The engine follows
 * from limits->fuel. Errors: wasm-invalid, component-invalid, import-missing, grant-missing,
 * unsupported, program-too-large, instance-limit, memory-limit, compile-limit, artifact-untrusted,
 * backend-missing (no compiler). */
struct gb_program *gb_program_load(struct gb_sandbox *s, const char *name, struct gb_span bytes,
                                   const struct gb_limits *limits, const struct gb_grants *grants,
                                   struct gb_error **err);
/* The same, to enter the exported function that call names: "greet", "pkg:name/iface#greet", with
 * or without version. Errors also: not-found, invalid-argument (ambiguous), unsupported (types that
 * are no values). */
struct gb_program *gb_program_load_call(struct gb_sandbox *s, const char *name,
                                        struct gb_span bytes, const struct gb_limits *limits,
                                        const struct gb_grants *grants, const char *call,
                                        struct gb_error **err);
/* The same, to answer HTTP requests with wasi:http/incoming-handler, whatever else it exports.
 * Errors also: component-invalid (it exports none). */
struct gb_program *gb_program_load_http(struct gb_sandbox *s, const char *name,
                                        struct gb_span bytes, const struct gb_limits *limits,
                                        const struct gb_grants *grants, struct gb_error **err);
/* Of a program loaded for a call; NULL otherwise. Lives as long as the program. */
const struct gb_signature *gb_program_signature(const struct gb_program *p);
const char *gb_program_call_type(const struct gb_program *p); /* "func(name: string) -> string" */
/* How large a program's file may be: one of compiled code is larger than its program. */
uint64_t gb_program_file_bytes_max(const char *path, const struct gb_limits *limits);
/* Compiles and writes a file that gb_program_load accepts from us, and only from us. With grants,
 * what it imports is diagnosed as there; NULL: it is not looked at. */
bool gb_program_compile_to(struct gb_sandbox *s, const char *name, struct gb_span bytes,
                           const struct gb_limits *limits, const struct gb_grants *grants,
                           const char *out_path, struct gb_error **err);
struct gb_program *gb_program_ref(struct gb_program *p);
void gb_program_unref(struct gb_program *p);
enum gb_entry gb_program_entry(const struct gb_program *p);
/* Whether it imports wasi:nn at all: if not, no model need be loaded for it. */
bool gb_program_uses_nn(const struct gb_program *p);

/* ---- inspection ---- */

struct gb_import_info {
    char *name;        /* "wasi:nn/graph" or "wasi_snapshot_preview1::fd_write" */
    char *version;     /* "0.2.0-rc-2024-10-28"; empty */
    bool satisfied;    /* this host has it and it needs no grant, or the grant is given */
    const char *grant; /* the grant that it needs, or NULL */
    char *note;        /* what is wrong: "this host has 0.2.12"; or NULL */
};
struct gb_export_info {
    char *name;
    char *type;
};
struct gb_inspection {
    bool is_component;
    bool has_entry;
    enum gb_entry entry;
    struct gb_import_info *imports;
    size_t imports_len;
    struct gb_export_info *exports;
    size_t exports_len;
};
bool gb_program_inspect(struct gb_sandbox *s, const char *name, struct gb_span bytes,
                        const struct gb_grants *grants, struct gb_inspection *ret,
                        struct gb_error **err);
void gb_inspection_fini(struct gb_inspection *i);

/* ---- calls ---- */

struct gb_usage {
    uint64_t wall_us;
    uint64_t fuel;            /* used; 0 when off; a lower bound where a call was ended in a loop */
    bool fuel_measured;
    uint64_t memory_peak_bytes;
    uint64_t ledger_peak_bytes;
    uint64_t stdout_bytes, stderr_bytes;
    uint64_t stdout_dropped_bytes, stderr_dropped_bytes;
    uint64_t inference_calls, inference_us, queue_us, crossing_us;
    uint64_t instantiate_us;
    const char *model; /* the last that it opened; the registry's; NULL: none */
};
struct gb_call_result {
    struct gb_error *error;   /* NULL: it succeeded */
    /* A called function's result, unwrapped where it is a result<…>; NULL: none. The answer and the
     * program, whose signature has its type, keep it alive. */
    const struct gb_value *value;
    uint32_t value_type;      /* number of a node; GB_VALUE_NO_TYPE: no value */
    struct gbw_answer *answer;
    struct gb_program *program;
    char *text;               /* an agent's ok text; NUL-terminated; NULL otherwise */
    size_t text_bytes;
    bool has_exit_status;     /* a command that ended by itself */
    int exit_status;
    char *stdout_bytes;       /* captured, when no output function was given */
    size_t stdout_len;
    char *stderr_bytes;
    size_t stderr_len;
    struct gb_usage usage;
};
void gb_call_result_fini(struct gb_call_result *r);

/* What glovebox:host asks of whoever starts a call; src/host has them. Texts are the guest's,
 * borrowed for the time of a function; all run on the thread of the call's runner. */
enum gb_guest_log_level {
    GB_GUEST_LOG_TRACE, GB_GUEST_LOG_DEBUG, GB_GUEST_LOG_INFO, GB_GUEST_LOG_WARN, GB_GUEST_LOG_ERROR
};
struct gb_log_field {
    struct gb_span key, value;
};
struct gb_guest_log_entry {
    enum gb_guest_log_level level;
    const char *call_id;
    struct gb_span message;
    const struct gb_log_field *fields;
    size_t fields_len;
};
struct gb_nn_inference;
struct gb_capabilities {
    void *user;
    void (*counter)(void *user, struct gb_span name, uint64_t value);
    void (*gauge)(void *user, struct gb_span name, double value);
    void (*log)(void *user, const struct gb_guest_log_entry *entry);
    /* Not the guest's: what its inferences came to; nn.h. NULL: nobody counts. */
    void (*inference)(void *user, const struct gb_nn_inference *inference);
    void *inference_user;
};
#define GB_CALL_ID_CAP 33u /* 128 bits in hexadecimal digits */

enum gb_output_stream { GB_OUTPUT_STDOUT = 1, GB_OUTPUT_STDERR = 2 };
struct gb_call_spec {
    struct gb_program *program;
    struct gb_registry *registry;  /* may be NULL */
    struct gb_account *account;    /* the tenant's; the call makes its own below it */
    const struct gb_limits *limits;
    const struct gb_grants *grants; /* borrowed until done */
    struct gb_span argument;        /* agents; copied */
    const struct gb_value *params;  /* called functions; borrowed until done */
    size_t params_len;
    const char *const *args;        /* commands: argv, args[0] included; borrowed until done */
    size_t args_len;
    const struct gb_capabilities *capabilities; /* borrowed until done; NULL: told to nobody */
    const char *traceparent;                    /* the same; NULL: none */
    const char *id; /* the same; for the guest's log and context; NULL: 128 random bits */
    /* GB_ENTRY_HTTP, both; *io is copied, and entered until done was called (not from within). The
     * call is done when the guest has returned and its response has ended. Its errors, beside
     * those of any call: guest-error (the guest answered with an error-code, the error's value),
     * guest-trap (also: it returned without a response, or dropped the body of one unfinished),
     * hostcall-limit (also: http_fields_bytes). Of a guest that traps nothing more is passed on. */
    const struct gb_http_request *http; /* borrowed until gb_runner_call returns */
    const struct gb_http_io *io;        /* the same */
    /* Live output, within the output limit; NULL: captured in the result. */
    void (*output)(void *user, enum gb_output_stream stream, struct gb_span bytes);
    /* Once, from gb_runner_step, never from gb_runner_call. Takes the result. */
    void (*done)(void *user, struct gb_call_result *result);
    void *user;
    struct gb_flow *flow; /* whose share of the lanes it uses; NULL: it stays on its runner */
};

/* A runner polls the calls of one thread: one epoll descriptor over wake-ups, timers and the
 * registry's completions, so that an embedder can watch it in a loop of its own. */
struct gb_runner *gb_runner_new(struct gb_sandbox *s, struct gb_registry *registry,
                                struct gb_error **err);
void gb_runner_free(struct gb_runner *r); /* cancels what runs; their done is called */
/* From now on a call of some flow that has run for GB_SLICE_US on the runner's thread goes on in
 * these lanes; its `done` still comes from gb_runner_step. What else the call enters (capabilities,
 * output) is then entered on a lane's thread. The lanes must end before the runner does. */
void gb_runner_use_lanes(struct gb_runner *r, struct gb_lanes *lanes);
#define GB_SLICE_US 1000u

/* Threads that go on with long calls, one slice of a call at a time, fair between flows by weight.
 * nice: how far their priority lies below that of the loops. */
struct gb_lanes *gb_lanes_new(uint32_t threads, int nice, struct gb_error **err);
void gb_lanes_free(struct gb_lanes *l); /* before the runners that use them */
/* For metrics: their number, and how many calls wait for a slice. */
void gb_lanes_stats(struct gb_lanes *l, uint32_t *ret_threads, uint32_t *ret_waiting);
struct gb_flow *gb_flow_new(uint32_t weight, struct gb_error **err); /* of one set of lanes */
void gb_flow_set_weight(struct gb_flow *f, uint32_t weight);
struct gb_flow *gb_flow_ref(struct gb_flow *f);
void gb_flow_unref(struct gb_flow *f);
/* Starts a call. The returned handle is valid until done was called. */
struct gb_call *gb_runner_call(struct gb_runner *r, const struct gb_call_spec *spec,
                               struct gb_error **err);
/* Ends a call with that code (cancelled, interrupted); done comes from a later step. From the
 * runner's thread. */
void gb_call_cancel(struct gb_call *c, enum gb_code code);
/* Polls the call again soon: what an io function waited for has happened. On the runner's thread
 * until done was called, and from within the io functions. */
void gb_call_wake(struct gb_call *c);
/* The same from any thread, also after the call's end: a counted reference. */
struct gb_wake_cell *gb_call_waker_ref(struct gb_call *c);
void gb_call_waker_wake(struct gb_wake_cell *w);
void gb_call_waker_unref(struct gb_wake_cell *w);
/* Readable when gb_runner_step has something to do. */
int gb_runner_fd(const struct gb_runner *r);
/* Waits up to wait_ms (-1: until something happens; 0: not at all), then does what there is to do.
 * Returns the number of calls still running. */
size_t gb_runner_step(struct gb_runner *r, int wait_ms);
/* For a loop that watches gb_runner_fd and does something else as well. Hold, from its thread: it
 * promises to call gb_runner_turn whenever it is about to sleep, so that what it starts and wakes
 * itself costs no system call. Turn polls the calls that are ready, once, without a look at the
 * descriptor (that is gb_runner_step's, when it is readable); true: some are ready again. */
void gb_runner_hold(struct gb_runner *r);
bool gb_runner_turn(struct gb_runner *r);

#endif
