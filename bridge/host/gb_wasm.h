/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bridge to Wasmtime: plain C data, no policy. src/sandbox is the only includer.
 * Implemented in Rust (bridge/host/src); the ABI number is checked at start.
 *
 * Every entry catches panics and reports failures in a gbw_failure; none aborts. Nothing here reads
 * a setting that C did not pass. Strings are UTF-8 spans, borrowed for the call unless said
 * otherwise; strings that the bridge returns are freed with gbw_string_free.
 *
 * Threads: engines, programs and linked programs may be used from any thread; a call is created,
 * polled and freed by one thread at a time. A waker may fire on any thread.
 */
#ifndef GB_WASM_H
#define GB_WASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "glovebox/value.h" /* values and types have one form, from the guest to the embedder */

#define GBW_ABI 1u
uint32_t gbw_abi(void);
/* "wasmtime 48.0.8"; static. */
const char *gbw_version(void);

struct gbw_span {
    const uint8_t *ptr;
    size_t len;
};

struct gbw_string {
    char *ptr; /* NUL-terminated as well; NULL when empty or absent */
    size_t len;
    size_t cap; /* the allocator's business */
};
void gbw_string_free(struct gbw_string *s);

enum gbw_failure_kind {
    GBW_NONE = 0,
    GBW_PANIC,             /* a defect; the engine still serves */
    GBW_INTERNAL,          /* anything else of Wasmtime's */
    GBW_CONFIG,            /* engine settings Wasmtime refuses; a call's argument that is not
                              UTF-8, a folder that cannot be opened, a result of a gbw_custom that
                              its type does not allow */
    GBW_ADDRESS_SPACE,     /* the pool or a memory could not be reserved */
    GBW_INVALID_MODULE,    /* not a module; message says why and where */
    GBW_INVALID_COMPONENT, /* not a component */
    GBW_INVALID_TEXT,      /* text format with a syntax error */
    GBW_LINK,              /* an import is missing or of another type */
    GBW_NO_EXPORT,         /* the entry does not exist or has another type */
    GBW_TRAP,              /* see trap */
    GBW_EXIT,              /* proc_exit or wasi:cli/exit, see exit_status */
    GBW_STOPPED,           /* a callback asked to end the call */
    GBW_LIMIT_MEMORY,      /* the limiter refused the initial size */
    GBW_LIMIT_TABLE,
    GBW_LIMIT_INSTANCES,   /* counts per store, or the pool's shape is too small for the program */
    GBW_LIMIT_HANDLES,     /* a handle table is full */
    GBW_LIMIT_HOSTCALL,    /* one host call asked for too many bytes (lists, strings, random) */
    GBW_LIMIT_ANSWER,      /* the answer is longer than answer_bytes_max */
    GBW_POOL_FULL,         /* no free slot: too many calls at once */
    GBW_NEEDS_MEMORY64,    /* a 64-bit memory or table, and an engine without */
    GBW_LIMIT_FIELDS,      /* HTTP fields of the guest's are longer than http_fields_bytes_max */
    GBW_HTTP_REQUEST,      /* the request that C passed is no valid one */
    GBW_HTTP_NO_RESPONSE,  /* the guest returned without a response, or with half a one; no head
                              was passed on */
    GBW_HTTP_UNFINISHED    /* the guest dropped its response's body before the end */
};

enum gbw_trap {
    GBW_TRAP_NONE = 0,
    GBW_TRAP_STACK_OVERFLOW,
    GBW_TRAP_OUT_OF_FUEL,
    GBW_TRAP_INTERRUPT,
    GBW_TRAP_UNREACHABLE,
    GBW_TRAP_MEMORY_OUT_OF_BOUNDS,
    GBW_TRAP_OTHER
};

struct gbw_failure {
    uint32_t kind; /* enum gbw_failure_kind */
    uint32_t trap; /* enum gbw_trap */
    int32_t exit_status;
    struct gbw_string message;   /* one line, no host paths */
    struct gbw_string backtrace; /* guest frames, several lines; may be empty */
};
void gbw_failure_fini(struct gbw_failure *f);

/* ---- runtime and engine ---- */

/* One per process: a tokio runtime with one worker thread and a bounded number of blocking threads,
 * entered around every poll and drop, because WASI clocks and files need it. */
struct gbw_runtime;
struct gbw_runtime *gbw_runtime_new(uint32_t blocking_threads_max, struct gbw_failure *f);
void gbw_runtime_free(struct gbw_runtime *r);

struct gbw_engine_config {
    bool fuel;
    bool memory64;
    bool pooling;
    uint64_t wasm_stack_bytes;
    uint64_t async_stack_bytes;        /* > wasm_stack_bytes */
    uint64_t memory_reservation_bytes; /* virtual, per memory */
    uint64_t memory_guard_bytes;
    uint32_t component_handles_max; /* per store; Wasmtime's own guest handle tables */
    /* the pool's shape; ignored without pooling */
    uint32_t pool_calls;             /* component instances and stacks */
    uint32_t pool_core_instances;    /* in total */
    uint32_t pool_memories;          /* in total */
    uint32_t pool_tables;            /* in total */
    uint32_t core_instances_per_call_max;
    uint32_t memories_per_call_max;
    uint32_t tables_per_call_max;
    uint64_t pool_memory_bytes_max; /* per memory */
    uint32_t pool_table_elements_max;
    uint64_t pool_keep_resident_bytes; /* per slot */
};

struct gbw_engine;
struct gbw_engine *gbw_engine_new(struct gbw_runtime *r, const struct gbw_engine_config *config,
                                  struct gbw_failure *f);
void gbw_engine_free(struct gbw_engine *e); /* programs keep it alive */
/* What its pool keeps resident in slots of memories and tables that no call has now. Any thread. */
uint64_t gbw_engine_kept_bytes(const struct gbw_engine *e);
/* Advances the epoch by one. Any thread; async-signal-safe. */
void gbw_engine_tick(const struct gbw_engine *e);

/* ---- programs ---- */

struct gbw_program;
/* Compiles a component or a core module, binary or text. */
struct gbw_program *gbw_program_new(struct gbw_engine *e, struct gbw_span bytes,
                                    struct gbw_failure *f);
void gbw_program_free(struct gbw_program *p);

/* ---- compiled code ---- */

struct gbw_bytes {
    uint8_t *ptr; /* NULL when empty */
    size_t len;
    size_t cap; /* the allocator's business */
};
void gbw_bytes_free(struct gbw_bytes *b);
/* Compiles as gbw_program_new would, for engines of that configuration (the pool's shape does not
 * matter to code), and gives the code as bytes. Needs no runtime; loads and runs nothing. */
bool gbw_precompile(const struct gbw_engine_config *config, struct gbw_span bytes,
                    struct gbw_bytes *ret_code, bool *ret_is_component, struct gbw_failure *f);
/* What must be equal for code to fit an engine: version, target, settings. Free with
 * gbw_bytes_free. */
bool gbw_engine_compatibility(const struct gbw_engine *e, struct gbw_bytes *ret,
                              struct gbw_failure *f);
/* Loads code from the start of a descriptor, which may be closed afterwards. Whoever calls this
 * vouches that the bytes are gbw_precompile's and can never change: a sealed memfd. */
struct gbw_program *gbw_program_from_code(struct gbw_engine *e, int fd, bool is_component,
                                          struct gbw_failure *f);
bool gbw_program_is_component(const struct gbw_program *p);

enum gbw_item_kind {
    GBW_ITEM_FUNC,
    GBW_ITEM_RESOURCE,
    GBW_ITEM_INSTANCE, /* an interface; its members follow as items of their own */
    GBW_ITEM_MEMORY,
    GBW_ITEM_TABLE,
    GBW_ITEM_GLOBAL,
    GBW_ITEM_OTHER /* types (enum, record …), nested instances, tags */
};
struct gbw_item {
    uint32_t kind; /* enum gbw_item_kind */
    /* Component: interface name ("wasi:nn/graph@…"), empty at the world's root.
     * Core module import: the module name. Core module export: empty. */
    struct gbw_span interface;
    /* "[method]graph.init-execution-context", "run", "fd_write"; empty for the interface itself. */
    struct gbw_span name;
    /* In WIT or wasm notation: "func(arg: string) -> result<string, string>". */
    struct gbw_span type;
};
typedef void gbw_item_fn(void *user, const struct gbw_item *item);
void gbw_program_imports(const struct gbw_program *p, gbw_item_fn *each, void *user);
void gbw_program_exports(const struct gbw_program *p, gbw_item_fn *each, void *user);

/* ---- what a guest can reach ---- */

enum gbw_stream { GBW_STDOUT = 1, GBW_STDERR = 2 };
enum gbw_tick { GBW_TICK_YIELD = 0, GBW_TICK_STOP = 1 };
enum gbw_nn_status {
    GBW_NN_OK = 0,
    GBW_NN_ERROR = 1,   /* *ret_error is a new error handle, owned by the guest */
    GBW_NN_STOP = 2,    /* end the call; C has kept the reason */
    GBW_NN_PENDING = 3  /* graph_load, compute_poll and witx_call only */
};
struct gbw_named_tensor {
    struct gbw_span name;
    uint32_t tensor;
};
/* A core module's exported memory "memory", valid until the function it was passed to returns. ptr
 * is NULL where the guest exports none, or a shared one. */
struct gbw_memory {
    uint8_t *ptr;
    size_t len;
};
struct gbw_field {
    struct gbw_span key, value;
};
/* The functions of the core interface wasi_ephemeral_nn, in the order of its witx. */
enum gbw_witx {
    GBW_WITX_LOAD,
    GBW_WITX_LOAD_BY_NAME,
    GBW_WITX_INIT_EXECUTION_CONTEXT,
    GBW_WITX_SET_INPUT,
    GBW_WITX_COMPUTE,
    GBW_WITX_GET_OUTPUT
};
struct gbw_http_request {
    struct gbw_span method, scheme, authority, path_with_query;
    const struct gbw_field *fields;
    size_t fields_len;
};
enum gbw_io {
    GBW_IO_OK,
    GBW_IO_PENDING, /* C wakes the call when it is worth asking again */
    GBW_IO_END,
    GBW_IO_ERROR
};
enum gbw_egress { GBW_EGRESS_DENIED };
enum gbw_context { GBW_CONTEXT_CALL_ID, GBW_CONTEXT_TENANT, GBW_CONTEXT_TRACEPARENT };
/* Bytes owned by C, given back by release(owner), once, on any thread. */
struct gbw_blob {
    const uint8_t *ptr;
    size_t len;
    void *owner;
    void (*release)(void *owner);
};

/*
 * Functions of C that a call may enter; one table per program, `user` is the call's. All run on the
 * thread that polls or frees the call. Handles are small integers of C's own table (resource reps);
 * an "own" handle parameter is consumed by C, whatever is returned. Spans that C returns stay valid
 * until the next function of this table is entered with the same user.
 */
struct gbw_host {
    /* Called about once a tick while the guest runs; fuel_left is 0 without fuel. */
    enum gbw_tick (*tick)(void *user, uint64_t fuel_left);
    /* Limits: bytes and elements. Returning false denies the growth. */
    bool (*memory_growing)(void *user, uint64_t current, uint64_t desired, uint64_t maximum);
    void (*memory_grow_failed)(void *user);
    bool (*table_growing)(void *user, uint64_t current, uint64_t desired, uint64_t maximum);
    void (*table_grow_failed)(void *user);
    /* Output of the guest. False ends the call. */
    bool (*write)(void *user, enum gbw_stream stream, struct gbw_span bytes);

    /* wasi:nn. The WIT enums are passed as their case numbers (types: FP16 FP32 FP64 BF16 U8 I32
     * I64; encodings: openvino onnx tensorflow pytorch tensorflowlite ggml autodetect; targets: cpu
     * gpu tpu; error codes: the order of wasi:nn/errors.error-code). */
    enum gbw_nn_status (*tensor_new)(void *user, const uint32_t *dims, size_t dims_len,
                                     uint32_t type, struct gbw_span data, uint32_t *ret_tensor);
    void (*tensor_drop)(void *user, uint32_t tensor);
    enum gbw_nn_status (*tensor_info)(void *user, uint32_t tensor, const uint32_t **ret_dims,
                                      size_t *ret_dims_len, uint32_t *ret_type);
    enum gbw_nn_status (*tensor_data)(void *user, uint32_t tensor, struct gbw_blob *ret_blob);
    /* OK: *ret_graph is loaded already. PENDING with *ret_job != 0: the job is polled with
     * compute_poll; after its OK graph_loaded hands the graph over, once; compute_end ends it, as
     * below. PENDING with *ret_job 0: to be asked again, the same, when the call is woken. */
    enum gbw_nn_status (*graph_load)(void *user, const struct gbw_span *builders,
                                     size_t builders_len, uint32_t encoding, uint32_t target,
                                     uint32_t *ret_graph, uint32_t *ret_job, uint32_t *ret_error);
    uint32_t (*graph_loaded)(void *user, uint32_t job);
    enum gbw_nn_status (*graph_load_by_name)(void *user, struct gbw_span name, uint32_t *ret_graph,
                                             uint32_t *ret_error);
    void (*graph_drop)(void *user, uint32_t graph);
    enum gbw_nn_status (*context_new)(void *user, uint32_t graph, uint32_t *ret_context,
                                      uint32_t *ret_error);
    void (*context_drop)(void *user, uint32_t context);
    /* The older call style: own tensor in, a new tensor handle out. */
    enum gbw_nn_status (*context_set_input)(void *user, uint32_t context, struct gbw_span name,
                                            uint32_t tensor, uint32_t *ret_error);
    enum gbw_nn_status (*context_get_output)(void *user, uint32_t context, struct gbw_span name,
                                             uint32_t *ret_tensor, uint32_t *ret_error);
    /* Starts an inference. with_inputs: inputs are own tensors of the newer style; otherwise those
     * set before are used. On OK the job is polled (each time the call is woken) until it is not
     * pending, and compute_end is called exactly once, also when the call is dropped meanwhile. */
    enum gbw_nn_status (*compute_start)(void *user, uint32_t context, bool with_inputs,
                                        const struct gbw_named_tensor *inputs, size_t inputs_len,
                                        uint32_t *ret_job, uint32_t *ret_error);
    enum gbw_nn_status (*compute_poll)(void *user, uint32_t job, uint64_t fuel_left,
                                       uint32_t *ret_error);
    /* The newer style takes its results: false when index is past the last one. STOP not possible
     * here: handles were reserved when compute_poll said OK. */
    bool (*compute_output)(void *user, uint32_t job, size_t index,
                           struct gbw_named_tensor *ret_output);
    void (*compute_end)(void *user, uint32_t job);
    void (*error_info)(void *user, uint32_t error, uint32_t *ret_code, struct gbw_span *ret_data);
    void (*error_drop)(void *user, uint32_t error);
    /* 2024-06-25 only: a guest's own error. */
    enum gbw_nn_status (*error_new)(void *user, uint32_t code, struct gbw_span data,
                                    uint32_t *ret_error);

    /* wasi_ephemeral_nn: the guest's arguments as they are; nothing of them is checked before.
     * OK: *ret_errno goes to the guest. PENDING (load and compute only): *ret_job is polled with
     * compute_poll and ended with compute_end; after its OK witx_finish, called with the same
     * arguments, gives the errno; an error handle of that goes to witx_error, which consumes it.
     * PENDING with *ret_job 0: as graph_load. */
    enum gbw_nn_status (*witx_call)(void *user, enum gbw_witx function, struct gbw_memory memory,
                                    const uint32_t *args, size_t args_len, uint32_t *ret_errno,
                                    uint32_t *ret_job);
    uint32_t (*witx_finish)(void *user, enum gbw_witx function, struct gbw_memory memory,
                            const uint32_t *args, size_t args_len, uint32_t job);
    uint32_t (*witx_error)(void *user, uint32_t error);

    /* glovebox:host. Levels are trace, debug, info, warn, error; no more than GBW_LOG_FIELDS_MAX
     * fields are passed. context_text returns false for a text that there is none of. */
    void (*metrics_counter)(void *user, struct gbw_span name, uint64_t value);
    void (*metrics_gauge)(void *user, struct gbw_span name, double value);
    void (*log)(void *user, uint32_t level, struct gbw_span message,
                const struct gbw_field *fields, size_t fields_len);
    bool (*context_text)(void *user, enum gbw_context which, struct gbw_span *ret_text);
    uint64_t (*context_time_us)(void *user); /* left until the deadline; UINT64_MAX: no deadline */

    /* wasi:http. Bytes of the request's body: OK wrote *ret_len (1 to cap) of them; not called
     * again after END or ERROR. Its trailers, once, after END; valid until gbw_call_free. */
    enum gbw_io (*http_request_body)(void *user, uint8_t *to, size_t cap, size_t *ret_len);
    void (*http_request_trailers)(void *user, const struct gbw_field **ret_fields,
                                  size_t *ret_len);
    /* The response, from the polls of the call and not from within the guest: head (OK or ERROR),
     * body (OK: *ret_taken of the bytes were taken), and end, only of a complete one. After ERROR
     * nothing more of it is passed on, and the guest's stream is closed. */
    enum gbw_io (*http_response_head)(void *user, uint32_t status, const struct gbw_field *fields,
                                      size_t fields_len);
    enum gbw_io (*http_response_body)(void *user, struct gbw_span bytes, size_t *ret_taken);
    void (*http_response_end)(void *user, const struct gbw_field *trailers, size_t trailers_len);
    /* Memory that wasi:http holds for the guest: bodies on their way and fields. False ends the
     * call; C has kept the reason. */
    bool (*http_charge)(void *user, uint64_t bytes);
    void (*http_uncharge)(void *user, uint64_t bytes);
    /* Where a guest's own request may go. A denied one gives it HTTP-request-denied. */
    enum gbw_egress (*http_egress)(void *user, const struct gbw_http_request *request);
};
#define GBW_LOG_FIELDS_MAX 32u

enum gbw_link {
    GBW_LINK_WASI = 1 << 0,     /* 0.2: io, clocks, random, cli, filesystem (no sockets) */
    GBW_LINK_SOCKETS = 1 << 1,  /* wasi:sockets 0.2 */
    GBW_LINK_P1 = 1 << 2,       /* wasi_snapshot_preview1, core modules only */
    GBW_LINK_NN_1028 = 1 << 3,  /* wasi:nn@0.2.0-rc-2024-10-28 */
    GBW_LINK_NN_0819 = 1 << 4,  /* wasi:nn@0.2.0-rc-2024-08-19 */
    GBW_LINK_NN_0625 = 1 << 5,  /* wasi:nn@0.2.0-rc-2024-06-25 */
    GBW_LINK_WITX = 1 << 6,     /* wasi_ephemeral_nn, core modules only */
    GBW_LINK_HOST = 1 << 7,     /* glovebox:host@0.1.0 */
    GBW_LINK_HTTP = 1 << 8,     /* wasi:http/types 0.2; needs GBW_LINK_WASI */
    GBW_LINK_EGRESS = 1 << 9    /* wasi:http/outgoing-handler 0.2; needs GBW_LINK_HTTP */
};
enum gbw_entry {
    GBW_ENTRY_AGENT,   /* root export run: func(string) -> result<string, string> */
    GBW_ENTRY_COMMAND, /* wasi:cli/run */
    GBW_ENTRY_START,   /* a core module's _start */
    GBW_ENTRY_CALL,    /* the export that gbw_link_more names, with values */
    GBW_ENTRY_HTTP     /* wasi:http/incoming-handler 0.2; needs GBW_LINK_HTTP */
};

/* A function of C behind an import that the bridge does not know. args and what they point to are
 * borrowed for the call. *ret (where the function has a result) stays valid until the next function
 * of C is entered with the same user. False ends the call; C has kept the reason. */
typedef bool gbw_custom_fn(void *user, void *data, const struct gb_value *args, size_t args_len,
                           struct gb_value *ret);
struct gbw_custom {
    struct gbw_span interface; /* as the program imports it, with its version */
    struct gbw_span name;
    gbw_custom_fn *call; /* user is the call's */
    void *data;          /* the function's own */
};
/* Copied by gbw_link_new, except what `data` points to. */
struct gbw_link_more {
    struct gbw_span call_interface; /* GBW_ENTRY_CALL; empty: an export of the world itself */
    struct gbw_span call_name;
    const struct gbw_custom *customs;
    size_t customs_len;
};

struct gbw_linked;
/* Type-checks and resolves everything that does not depend on the call (InstancePre). more may be
 * NULL. A component's customs are linked as the program imports them: C has compared the types. */
struct gbw_linked *gbw_link_new(struct gbw_program *p, uint32_t link_flags, enum gbw_entry entry,
                                const struct gbw_link_more *more, const struct gbw_host *host,
                                struct gbw_failure *f);
/* Of GBW_ENTRY_CALL: what to pass and to expect. Lives as long as l; NULL for other entries. */
const struct gb_signature *gbw_linked_signature(const struct gbw_linked *l);
void gbw_link_free(struct gbw_linked *l);

/* ---- calls ---- */

struct gbw_preopen {
    struct gbw_span host_path;
    struct gbw_span guest_path;
    bool writable;
};
/* Wakes the owner of a call. The bridge owns one reference: release(ctx) is called exactly once,
 * when the last clone of the waker is gone, which may be after gbw_call_free, on any thread. */
struct gbw_waker {
    void *ctx;
    void (*wake)(void *ctx);
    void (*release)(void *ctx);
};
struct gbw_call_config {
    void *user; /* passed to gbw_host; valid until gbw_call_free returns */
    struct gbw_waker waker;
    struct gbw_span argument; /* the agent's string */
    /* GBW_ENTRY_CALL: one value for each parameter; borrowed until gbw_call_free. */
    const struct gb_value *params;
    size_t params_len;
    const struct gbw_span *args;
    size_t args_len; /* argv of a command, args[0] included */
    const struct gbw_span *env; /* name, value, name, value … */
    size_t env_len;             /* spans, even */
    const struct gbw_preopen *preopens;
    size_t preopens_len;
    bool inherit_stdin;
    bool inherit_network; /* with GBW_LINK_SOCKETS */
    uint64_t fuel;        /* engines with fuel only */
    uint64_t hostcall_bytes_max;
    uint64_t random_bytes_max; /* per host call */
    uint64_t answer_bytes_max;
    uint32_t handles_max; /* host-side WASI resource table */
    uint32_t instances_max;
    uint32_t memories_max;
    uint32_t tables_max;
    /* GBW_ENTRY_HTTP; copied. */
    const struct gbw_http_request *http;
    uint64_t http_fields_bytes_max; /* of each fields resource, about as in memory */
    uint32_t http_chunk_bytes;      /* the most that the guest writes and C is asked for at once;
                                       two of them wait between the guest and http_response_body */
};

enum gbw_poll { GBW_PENDING = 0, GBW_READY = 1 };
enum gbw_outcome_kind {
    GBW_DONE_OK,     /* agent: ok(text); command: status 0; call: value; http: the guest returned
                        and the response ended, or C said ERROR to it */
    GBW_DONE_ERR,    /* agent: err(text); http: the guest answered with this error-code */
    GBW_DONE_EXIT,   /* command: exit_status != 0, by proc_exit or by run's result */
    GBW_DONE_FAILED  /* failure is set */
};
struct gbw_answer;
struct gbw_outcome {
    uint32_t kind; /* enum gbw_outcome_kind */
    int32_t exit_status;
    struct gbw_string text;
    /* GBW_ENTRY_CALL: what the function returned; NULL: it returns nothing. It lives in `answer`,
     * which the outcome owns: set both to NULL to keep them, and free with gbw_answer_free. */
    const struct gb_value *value;
    struct gbw_answer *answer;
    uint64_t answer_bytes; /* of memory that the answer takes */
    struct gbw_failure failure;
    uint64_t fuel_left;
    uint64_t instantiate_us; /* creating store and instance; 0 if not reached */
};
void gbw_outcome_fini(struct gbw_outcome *o);
void gbw_answer_free(struct gbw_answer *a);

struct gbw_call;
/* Does not run guest code yet. The waker is consumed also on failure. */
struct gbw_call *gbw_call_new(struct gbw_linked *l, const struct gbw_call_config *config,
                              struct gbw_failure *f);
/* Runs the guest until it waits, yields or ends. After READY only gbw_call_free is allowed. */
enum gbw_poll gbw_call_poll(struct gbw_call *c, struct gbw_outcome *ret_outcome);
/* Drops the store; unwinds the fiber where one is suspended. */
void gbw_call_free(struct gbw_call *c);

#endif
