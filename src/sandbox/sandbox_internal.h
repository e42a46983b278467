/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the sandbox share. Nobody else includes this.
 *
 * A call is a gbw_call (store and future, on the other side of the bridge) plus struct gb_call: the
 * limits, the counters and the reason why it ends live here, so that they survive the store.
 */
#ifndef GB_SANDBOX_INTERNAL_H
#define GB_SANDBOX_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/num.h"
#include "gb_wasm.h"
#include "nn/nn.h"
#include "sandbox/cache.h"
#include "sandbox/sandbox.h"

static inline struct gbw_span gb_to_bridge(struct gb_span s) {
    return (struct gbw_span){.ptr = s.ptr, .len = s.len};
}
static inline struct gb_span gb_of_bridge(struct gbw_span s) {
    return gb_span_make(s.ptr, s.len);
}
static inline struct gb_span gb_of_bridge_string(const struct gbw_string *s) {
    return gb_span_make(s->ptr, s->ptr ? s->len : 0);
}

/* ---- text.c: numbers and foreign text for messages ---- */

#define GB_AMOUNT_CAP 40
/* "64 MiB", "1,000 bytes" */
const char *gb_text_bytes(uint64_t bytes, char text[static GB_AMOUNT_CAP]);
/* "100 ms", "30 s", "1500 us" */
const char *gb_text_span_us(uint64_t span_us, char text[static GB_AMOUNT_CAP]);
/* "10,000" */
const char *gb_text_count(uint64_t count, char text[static GB_AMOUNT_CAP]);
#define GB_QUOTE_CAP 512
/* Foreign text as one line, escaped and cut; always terminated. */
const char *gb_text_quote(struct gb_span foreign, char text[static GB_QUOTE_CAP]);

/* ---- ticker.c ---- */

#define GB_ENGINE_FUEL 1u
#define GB_ENGINE_MEMORY64 2u
#define GB_ENGINE_COUNT 4u

struct gb_ticker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    _Atomic bool started, parked, stop;
    _Atomic uint32_t calls; /* that run, over all runners */
    _Atomic(struct gbw_engine *) engines[GB_ENGINE_COUNT];
};
bool gb_ticker_init(struct gb_ticker *t, struct gb_error **err);
void gb_ticker_fini(struct gb_ticker *t);
void gb_ticker_enter(struct gb_ticker *t);
void gb_ticker_leave(struct gb_ticker *t);
/* For tests: whether the thread sleeps. */
bool gb_ticker_is_parked(struct gb_ticker *t);

/* ---- engine.c ---- */

struct gb_sandbox {
    struct gb_sandbox_options options;
    struct gbw_runtime *runtime;
    pthread_mutex_t lock; /* making an engine */
    bool pooling_lost;    /* tried and refused */
    char pooling_reason[160];
    struct gb_ticker ticker;
    struct gb_cache cache; /* use gb_sandbox_cache */
    bool cache_open;
    pthread_mutex_t kept_lock;
    _Atomic uint64_t kept_bytes; /* charged to options.host_account; written under kept_lock */
};
#define GB_MEMORY_BYTES_MAX (8 * GB_GIB)
#define GB_POOL_TABLE_ELEMENTS_MAX 100000u
#define GB_HANDLES_PER_CALL_MAX 16384u /* --handles can only be less */
#define GB_MEMORIES_PER_CALL_MAX 8u
#define GB_TABLES_PER_CALL_MAX 64u
/* kind: GB_ENGINE_* or-ed. Borrowed; lives as long as the sandbox. */
struct gbw_engine *gb_sandbox_engine(struct gb_sandbox *s, uint32_t kind, struct gb_error **err);
/* Makes what the host is charged for the pools' idle slots follow what they keep: at the end of
 * every round of a runner. */
void gb_sandbox_settle_kept(struct gb_sandbox *s);
/* The settings that engine has, once it was made. */
void gb_sandbox_engine_config(struct gb_sandbox *s, uint32_t kind,
                              struct gbw_engine_config *ret_config);

/* ---- failure.c ---- */

/* A failure of the bridge as our error, for what is not a call's outcome. Frees f's strings. */
bool gb_failure_error(struct gbw_failure *f, const char *what, struct gb_error **err);
/* The same from a kind (enum gbw_failure_kind) and foreign text. */
void gb_failure_say(uint32_t kind, struct gb_span message, const char *what,
                    struct gb_error **err);

/* ---- imports.c ---- */

enum gb_import_state {
    GB_IMPORT_HAVE,
    GB_IMPORT_UNKNOWN,   /* no such interface here */
    GB_IMPORT_VERSION,   /* known in other versions */
    GB_IMPORT_UNGRANTED, /* known, needs a grant */
    GB_IMPORT_UNBUILT,   /* known, not in this version of Glovebox */
    GB_IMPORT_OLD_NN,    /* wasi:nn's older calls under its newer version */
    GB_IMPORT_TYPE,      /* an embedder's interface: no such function, or of another type */
    GB_IMPORT_IGNORED    /* a member of an interface: judged with it */
};
struct gb_import_verdict {
    enum gb_import_state state;
    uint32_t link_flags; /* enum gbw_link */
    const char *grant;   /* that it needs, given or not; NULL */
    const char *have;    /* versions that this host has; NULL */
    const char *advice;  /* a hint; NULL: the general one */
    struct gb_span name; /* without version */
    struct gb_span version;
    bool is_nn;
};
void gb_import_judge(const struct gbw_item *item, bool is_component, const struct gb_grants *grants,
                     struct gb_import_verdict *ret);

/* ---- custom.c ---- */

/* True when the import belongs to an interface of the embedder's; v has its name. */
bool gb_custom_judge(const struct gbw_item *item, const struct gb_grants *g,
                     struct gb_import_verdict *v);
/* The granted ones in the bridge's form (gb_free). */
struct gbw_custom *gb_custom_bridge(const struct gb_grants *g, size_t *ret_len,
                                    struct gb_error **err);
struct gb_call;
void gb_custom_forget(struct gb_call *c);

/* ---- diagnose.c ---- */

struct gb_diagnosis {
    const char *program_name;
    bool is_component;
    const struct gb_grants *grants;
    uint32_t link_flags; /* what must be linked */
    bool uses_nn;
    struct gb_error *error; /* the first import that cannot be satisfied */
};
void gb_diagnose_import(void *diagnosis, const struct gbw_item *item);
/* Chooses what to run; component-invalid where there is nothing. */
bool gb_choose_entry(const struct gbw_program *p, const char *name, enum gb_entry *ret_entry,
                     struct gb_error **err);

/* Whether it exports wasi:http/incoming-handler; component-invalid where it does not. */
bool gb_check_http_entry(const struct gbw_program *p, const char *name, struct gb_error **err);

/* ---- export.c ---- */

struct gb_export_pick {
    char *interface; /* with its version; empty: the world's root */
    char *name;
    char *type;
};
bool gb_export_find(const struct gbw_program *p, const char *program, const char *call,
                    struct gb_export_pick *ret, struct gb_error **err);
void gb_export_pick_fini(struct gb_export_pick *pick);
bool gb_signature_check(const struct gb_signature *s, const char *call, const char *type,
                        struct gb_error **err);

/* ---- program.c ---- */

struct gb_program {
    _Atomic uint32_t refs;
    struct gb_sandbox *sandbox;
    char *name;
    uint32_t engine_kind;
    enum gb_entry entry;
    bool uses_nn;
    struct gbw_program *code;
    struct gbw_linked *linked;
    struct gb_export_pick pick; /* GB_ENTRY_CALL */
};
uint32_t gb_engine_kind(const struct gb_limits *limits, const struct gb_grants *grants);

/* ---- compile.c ---- */

struct gb_cache *gb_sandbox_cache(struct gb_sandbox *s);
/* The compiler's path (gb_free). */
char *gb_sandbox_compiler(struct gb_sandbox *s, struct gb_error **err);
/* From the cache, or compiled in a child, or from a file of compiled code that our key vouches for.
 * Shared with inspect. */
struct gbw_program *gb_program_compile(struct gb_sandbox *s, const char *name, struct gb_span bytes,
                                       uint32_t engine_kind, uint64_t bytes_max,
                                       struct gb_error **err);

/* ---- limits.c ---- */

struct gb_denial {
    enum gb_code code;      /* GB_OK: none since the last growth that succeeded */
    uint64_t wanted;        /* in total; 0: not known */
    struct gb_error *cause; /* of the ledger */
};
/* Sums over the store: bytes of memories, elements of tables. */
struct gb_pool_sum {
    enum gb_code code;
    enum gb_charge charge;
    uint64_t unit_bytes;
    uint64_t max;      /* of the sum */
    uint64_t each_max; /* of one: the pool's slot */
    uint64_t used, peak;
    uint32_t born; /* growths from zero: at least the number of memories */
};
struct gb_limiter {
    struct gb_account *account; /* borrowed */
    struct gb_pool_sum memory, table;
    struct gb_denial denial;
};
void gb_limiter_init(struct gb_limiter *l, struct gb_account *account,
                     const struct gb_limits *limits, uint64_t memory_slot_bytes);
void gb_limiter_fini(struct gb_limiter *l); /* un-charges everything */
bool gb_limiter_growing(struct gb_limiter *l, struct gb_pool_sum *sum, uint64_t current,
                        uint64_t desired, uint64_t maximum);
void gb_limiter_grow_failed(struct gb_limiter *l, struct gb_pool_sum *sum);
/* The error for the denial that stands; at_start: the program could not even be instantiated. */
struct gb_error *gb_limiter_error(struct gb_limiter *l, enum gb_code code, bool at_start);

/* ---- output.c ---- */

struct gb_output {
    struct gb_buf kept; /* captured; unused when live */
    uint64_t written;   /* passed on or kept */
    uint64_t dropped;
};
struct gb_call;
bool gb_output_write(struct gb_call *c, enum gb_output_stream stream, struct gb_span bytes,
                     struct gb_error **err);

/* ---- wake.c ---- */

/* Calls that want to be polled, first in, first out. Wakers come from any thread, also after the
 * call or the runner is gone; so list and cells are counted. */
enum gb_lane_state {
    GB_LANE_IDLE,
    GB_LANE_QUEUED,
    GB_LANE_RUNNING,
    GB_LANE_RUNNING_AGAIN, /* woken meanwhile */
    GB_LANE_DONE           /* its call is over; wakes mean nothing */
};
struct gb_wake_cell {
    _Atomic uint32_t refs;
    struct gb_wake_list *list; /* its runner's; one reference */
    struct gb_wake_cell *next; /* under the list's lock */
    bool queued;               /* under the list's lock */
    struct gb_call *call;      /* for whoever polls it; NULL once it is done */
    /* Set once, when the call leaves its runner's thread: it is polled there from then on. */
    _Atomic(struct gb_lanes *) lanes; /* one reference */
    struct gb_flow *flow;             /* one reference; set before lanes */
    _Atomic bool urgent;              /* the call must end: before all others */
    /* under the lock of the lanes */
    enum gb_lane_state lane_state;
    bool lane_urgent; /* queued as urgent */
    struct gb_wake_cell *lane_next;
};
struct gb_wake_list {
    _Atomic uint32_t refs;
    pthread_mutex_t lock;
    int event_fd;
    bool closed;
    struct gb_wake_cell *first, *last; /* last is stale when first is NULL */
    size_t len;
    bool signalled;   /* event_fd is readable */
    bool in_round;    /* the stepper looks at the list again before it sleeps */
    bool held;        /* it always does */
    pthread_t stepper;
};
struct gb_wake_list *gb_wake_list_new(struct gb_error **err);
void gb_wake_list_close(struct gb_wake_list *list); /* drops the runner's reference */
struct gb_wake_cell *gb_wake_cell_new(struct gb_wake_list *list, struct gb_call *call,
                                      struct gb_error **err);
void gb_wake_cell_ref(struct gb_wake_cell *cell);
void gb_wake_cell_unref(void *cell);
void gb_wake_cell_wake(void *cell);
/* Queues the cell for its runner's thread, wherever its call is polled. */
void gb_wake_list_push(struct gb_wake_cell *cell);
/* From the runner's thread, between two polls: the call is polled by the lanes from now on. */
void gb_wake_cell_move(struct gb_wake_cell *cell, struct gb_lanes *lanes, struct gb_flow *flow);
/* One round: begin resets the descriptor and says how many are queued, pop takes the first (with a
 * reference; NULL: none), end makes the descriptor readable again when some are left. */
size_t gb_wake_list_begin(struct gb_wake_list *list);
size_t gb_wake_list_len(struct gb_wake_list *list);
struct gb_wake_cell *gb_wake_list_pop(struct gb_wake_list *list);
void gb_wake_list_end(struct gb_wake_list *list);
/* From this thread on: it promises to step before it sleeps, so its own wakes ring nothing. */
void gb_wake_list_hold(struct gb_wake_list *list);

/* ---- lanes.c ---- */

void gb_lanes_wake(struct gb_lanes *l, struct gb_wake_cell *cell);
struct gb_lanes *gb_lanes_ref(struct gb_lanes *l);
void gb_lanes_unref(struct gb_lanes *l);

/* ---- call.c, outcome.c, host_nn.c ---- */

struct gb_call {
    struct gb_runner *runner;
    struct gb_call *prev, *next;
    struct gb_program *program;
    struct gb_call_spec spec;
    struct gb_limits limits;
    struct gb_account *account;
    struct gb_limiter limiter;
    struct gb_output out, err_out;
    uint64_t output_charged;
    struct gb_nn *nn;
    struct gb_wake_cell *cell;
    struct gbw_call *wasm;
    uint64_t started_us, deadline_us;
    uint64_t fuel_left;
    uint64_t instantiate_us;
    bool polled;
    uint64_t ran_us;        /* in polls on its runner's thread */
    bool told;              /* its runner has asked the lanes to end it */
    _Atomic uint32_t asked; /* enum gb_code: another thread wants it to end */
    _Atomic bool finished;  /* on a lane: result is set, and its runner takes over */
    struct gb_call_result result;
    enum gb_code ending;                   /* why it must end; GB_OK: it need not */
    struct gb_error *reason;               /* for `ending`, where one was made already */
    const struct gb_model_info *inference; /* that it waits for; NULL */
    bool loading;                          /* it waits for a model of its own */
    struct gb_nn_named *named;             /* room for the inputs of compute */
    size_t named_cap;
    struct gb_http_io io;            /* GB_ENTRY_HTTP */
    struct gbw_field *http_trailers; /* of the request, in the bridge's form */
    struct gb_host_call *custom_memory; /* of the last entry of an embedder's function */
    char id[GB_CALL_ID_CAP]; /* empty until somebody asks */
};
extern const struct gbw_host gb_call_host;
/* Wires the wasi:nn half of the table. */
#define GB_NN_HOST_FIELDS                                                                          \
    .tensor_new = gb_host_tensor_new, .tensor_drop = gb_host_tensor_drop,                          \
    .tensor_info = gb_host_tensor_info, .tensor_data = gb_host_tensor_data,                        \
    .graph_load = gb_host_graph_load, .graph_loaded = gb_host_graph_loaded,                        \
    .graph_load_by_name = gb_host_graph_load_by_name,            \
    .graph_drop = gb_host_graph_drop, .context_new = gb_host_context_new,                          \
    .context_drop = gb_host_context_drop,                                                          \
    .context_set_input = gb_host_set_input, .context_get_output = gb_host_get_output,              \
    .compute_start = gb_host_compute_start, .compute_poll = gb_host_compute_poll,                  \
    .compute_output = gb_host_compute_output, .compute_end = gb_host_compute_end,                  \
    .error_info = gb_host_error_info, .error_drop = gb_host_error_drop,                            \
    .error_new = gb_host_error_new, .witx_call = gb_host_witx_call,                                \
    .witx_finish = gb_host_witx_finish, .witx_error = gb_host_witx_error
enum gbw_nn_status gb_host_tensor_new(void *user, const uint32_t *dims, size_t dims_len,
                                      uint32_t type, struct gbw_span data, uint32_t *ret_tensor);
enum gbw_nn_status gb_host_tensor_info(void *user, uint32_t tensor, const uint32_t **ret_dims,
                                       size_t *ret_dims_len, uint32_t *ret_type);
enum gbw_nn_status gb_host_tensor_data(void *user, uint32_t tensor, struct gbw_blob *ret_blob);
enum gbw_nn_status gb_host_graph_load(void *user, const struct gbw_span *builders,
                                      size_t builders_len, uint32_t encoding, uint32_t target,
                                      uint32_t *ret_graph, uint32_t *ret_job, uint32_t *ret_error);
uint32_t gb_host_graph_loaded(void *user, uint32_t job);
enum gbw_nn_status gb_host_graph_load_by_name(void *user, struct gbw_span name, uint32_t *ret_graph,
                                              uint32_t *ret_error);
enum gbw_nn_status gb_host_context_new(void *user, uint32_t graph, uint32_t *ret_context,
                                       uint32_t *ret_error);
enum gbw_nn_status gb_host_set_input(void *user, uint32_t context, struct gbw_span name,
                                     uint32_t tensor, uint32_t *ret_error);
enum gbw_nn_status gb_host_get_output(void *user, uint32_t context, struct gbw_span name,
                                      uint32_t *ret_tensor, uint32_t *ret_error);
enum gbw_nn_status gb_host_compute_start(void *user, uint32_t context, bool with_inputs,
                                         const struct gbw_named_tensor *inputs, size_t inputs_len,
                                         uint32_t *ret_job, uint32_t *ret_error);
enum gbw_nn_status gb_host_compute_poll(void *user, uint32_t job, uint64_t fuel_left,
                                        uint32_t *ret_error);
bool gb_host_compute_output(void *user, uint32_t job, size_t index,
                            struct gbw_named_tensor *ret_output);
void gb_host_compute_end(void *user, uint32_t job);
void gb_host_error_info(void *user, uint32_t error, uint32_t *ret_code, struct gbw_span *ret_data);
void gb_host_tensor_drop(void *user, uint32_t tensor);
void gb_host_graph_drop(void *user, uint32_t graph);
void gb_host_context_drop(void *user, uint32_t context);
void gb_host_error_drop(void *user, uint32_t error);
enum gbw_nn_status gb_host_error_new(void *user, uint32_t code, struct gbw_span data,
                                     uint32_t *ret_error);
enum gbw_nn_status gb_host_status(struct gb_call *c, enum gb_nn_status status);

/* host_witx.c */
enum gbw_nn_status gb_host_witx_call(void *user, enum gbw_witx function, struct gbw_memory memory,
                                     const uint32_t *args, size_t args_len, uint32_t *ret_errno,
                                     uint32_t *ret_job);
uint32_t gb_host_witx_finish(void *user, enum gbw_witx function, struct gbw_memory memory,
                             const uint32_t *args, size_t args_len, uint32_t job);
uint32_t gb_host_witx_error(void *user, uint32_t error);

/* host_caps.c */
#define GB_CAPS_HOST_FIELDS                                                                        \
    .metrics_counter = gb_host_counter, .metrics_gauge = gb_host_gauge, .log = gb_host_log,        \
    .context_text = gb_host_context_text, .context_time_us = gb_host_context_time_us
void gb_host_counter(void *user, struct gbw_span name, uint64_t value);
void gb_host_gauge(void *user, struct gbw_span name, double value);
void gb_host_log(void *user, uint32_t level, struct gbw_span message,
                 const struct gbw_field *fields, size_t fields_len);
bool gb_host_context_text(void *user, enum gbw_context which, struct gbw_span *ret_text);
uint64_t gb_host_context_time_us(void *user);

/* host_http.c */
#define GB_HTTP_HOST_FIELDS                                                                        \
    .http_request_body = gb_host_http_request_body,                                                \
    .http_request_trailers = gb_host_http_request_trailers,                                        \
    .http_response_head = gb_host_http_response_head,                                              \
    .http_response_body = gb_host_http_response_body,                                              \
    .http_response_end = gb_host_http_response_end, .http_charge = gb_host_http_charge,            \
    .http_uncharge = gb_host_http_uncharge, .http_egress = gb_host_http_egress
enum gbw_io gb_host_http_request_body(void *user, uint8_t *to, size_t cap, size_t *ret_len);
void gb_host_http_request_trailers(void *user, const struct gbw_field **ret_fields,
                                   size_t *ret_len);
enum gbw_io gb_host_http_response_head(void *user, uint32_t status,
                                       const struct gbw_field *fields, size_t fields_len);
enum gbw_io gb_host_http_response_body(void *user, struct gbw_span bytes, size_t *ret_taken);
void gb_host_http_response_end(void *user, const struct gbw_field *trailers, size_t trailers_len);
bool gb_host_http_charge(void *user, uint64_t bytes);
void gb_host_http_uncharge(void *user, uint64_t bytes);
enum gbw_egress gb_host_http_egress(void *user, const struct gbw_http_request *request);
/* The call's request in the bridge's form, charged; ret->fields is the caller's (gb_free). */
bool gb_call_http_request(struct gb_call *c, struct gbw_http_request *ret, struct gb_error **err);

/* The deadline has passed while an inference runs: the reason names its model. */
void gb_call_blame_inference(struct gb_call *c);
/* Ends the call with that error (taken) at the next chance; the first reason wins. */
void gb_call_end_with(struct gb_call *c, struct gb_error *reason);
struct gb_call *gb_call_new(struct gb_runner *r, struct gb_sandbox *s, struct gb_wake_list *wakes,
                            const struct gb_call_spec *spec, struct gb_error **err);
/* One poll; true when the call is over and *ret holds its result. The store is gone then. */
bool gb_call_poll(struct gb_call *c, struct gb_call_result *ret);
/* Drops whatever runs and makes the result for c->ending. */
void gb_call_drop(struct gb_call *c, struct gb_call_result *ret);
void gb_call_free(struct gb_call *c);
/* Which code wins. outcome is NULL when the future was dropped. */
void gb_call_settle(struct gb_call *c, struct gbw_outcome *outcome, struct gb_call_result *ret);

#endif
