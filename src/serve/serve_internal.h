/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the server share.
 *
 *   server.c    makes, runs, drains and frees all of it
 *   app.c       a manifest made ready: programs, tenants, routes; immutable, counted, swapped
 *   served.c    what a manifest can say and nothing does yet, refused
 *   tenant.c    what a tenant's calls share · identify.c  who a request is from
 *   admit.c     how many calls run at once; who is next
 *   loop.c      a thread: its connections, its runner
 *   conn.c      a connection: one request after the other · conn_io.c  its bytes · tls.c
 *   exchange.c  a request and its answer, between a connection and a call
 *   answer.c    how each kind of route answers · functions.c  routes that call functions
 *   address.c   connections by address · listen.c  sockets
 *   admin.c     the admin listener · status.c  /-/status
 *   observe.c   counts and lines of the log · observe_beat.c  every ten seconds
 *   observe_scrape.c  /metrics
 *
 * A request's way: conn → exchange (who, where to, may it) → admit → call → exchange → conn.
 * A connection belongs to its loop's thread. An exchange may be entered by its call on a lane while
 * its connection writes, so what flows between the two is under its lock.
 */
#ifndef GB_SERVE_SERVE_INTERNAL_H
#define GB_SERVE_SERVE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/num.h"
#include "host/host.h"
#include "http/h1_parse.h"
#include "http/h1_write.h"
#include "http/problem.h"
#include "http/route.h"
#include "ledger/ledger.h"
#include "model/model.h"
#include "obs/traceparent.h"
#include "sandbox/http_io.h"
#include "sandbox/sandbox.h"
#include "serve/observe.h"
#include "serve/serve.h"

#define GB_SERVE_BODY_BUFFER ((size_t)64 * 1024)  /* of a request, waiting for its guest */
#define GB_SERVE_OUT_BUFFER ((size_t)64 * 1024)   /* of a response, waiting for its client */
#define GB_SERVE_READ_BYTES ((size_t)64 * 1024)   /* of a loop: what one read takes */
#define GB_SERVE_PIPELINE_BYTES ((size_t)64 * 1024) /* sent ahead of an answer, kept */

struct ssl_st; /* OpenSSL's: its headers stay in tls.c */
struct ssl_ctx_st;
struct gb_exchange;
struct gb_conn;
struct gb_loop;

/* ---- tenant.c ---- */

struct gb_tenant {
    _Atomic uint32_t refs;
    char *name;
    struct gb_account *account;
    struct gb_flow *flow;
    struct gb_services *services;
    /* under the lock of the admission */
    uint32_t weight;
    uint64_t requests_per_second, burst, inference_us_max;
    uint32_t concurrency, queue_max;
    uint32_t running;
    uint32_t waiting;
    struct gb_exchange *first, *last;
    struct gb_tenant *next; /* of those that have somebody waiting */
    bool in_round;
    uint32_t turns;         /* left in this round */
    double tokens;          /* of the rate */
    uint64_t tokens_at_us;
    uint64_t inference_us;  /* used since minute_us */
    uint64_t minute_us;
    _Atomic uint32_t connections;
    struct gb_observed observed;
};
struct gb_tenant *gb_tenant_new(struct gb_server *s, const struct gb_manifest *m,
                                const struct gb_manifest_tenant *t, struct gb_error **err);
/* What another manifest says of it. */
void gb_tenant_configure(struct gb_server *s, struct gb_tenant *n, const struct gb_manifest *m,
                         const struct gb_manifest_tenant *t);
struct gb_tenant *gb_tenant_ref(struct gb_tenant *t);
void gb_tenant_unref(struct gb_tenant *t);

/* ---- app.c ---- */

struct gb_app_component {
    const struct gb_manifest_component *m;
    struct gb_program *program;
    struct gb_grants grants;
    const char **models;
    char **env; /* "K=V" */
    struct gb_preopen *preopens;
    uint32_t concurrency;
    uint32_t running; /* under the lock of the admission, alone of an app */
};
struct gb_app_function {
    char *name; /* "greet" */
    struct gb_program *program;
};
struct gb_app_route {
    const struct gb_manifest_route *m;
    enum gb_route_kind kind; /* never AUTO */
    struct gb_app_component *component; /* NULL: static */
    char *path_json; /* the pattern between the quotes of a JSON string */
    struct gb_http_field *static_fields;
    struct gb_app_function *functions; /* of GB_ROUTE_CALL */
    size_t functions_len;
};
struct gb_app_tenant {
    const struct gb_manifest_tenant *m;
    struct gb_tenant *tenant;
    struct gb_routes *routes;  /* all that it may reach; shared where it has none of its own */
    bool owns_routes;
    struct gb_limits *limits;  /* by component */
};
struct gb_app {
    _Atomic uint32_t refs;
    const struct gb_manifest *manifest;
    struct gb_app_component *components;
    struct gb_app_route *routes;
    struct gb_app_tenant *tenants;
    struct gb_routes *shared_routes;
    struct ssl_ctx_st *tls; /* NULL: plain */
};
struct gb_server;
/* previous: its tenants of the same name are kept, with all they hold; NULL: there is none. */
struct gb_app *gb_app_new(struct gb_server *s, const struct gb_manifest *m, struct gb_app *previous,
                          struct gb_error **err);
struct gb_app *gb_app_ref(struct gb_app *a);
void gb_app_unref(struct gb_app *a);
/* Who a request is from. NULL with unauthorized. peer: for trusted proxies. */
struct gb_app_tenant *gb_app_identify(const struct gb_app *a, const struct gb_http_head *head,
                                      const struct sockaddr *peer, struct gb_error **err);

/* ---- admit.c ---- */

struct gb_admission {
    pthread_mutex_t lock;
    uint32_t running, running_max, waiting;
    struct gb_tenant *round, *round_last;
};
struct gb_load {
    uint32_t running, waiting;
};
struct gb_load gb_admit_load(struct gb_admission *a);
struct gb_load gb_admit_load_of(struct gb_admission *a, const struct gb_tenant *t);
enum gb_admitted { GB_ADMITTED, GB_ADMIT_WAITS, GB_ADMIT_REFUSED };
void gb_admission_init(struct gb_admission *a, uint32_t running_max);
/* Nobody starts any more; who waits is dropped. Without running loops. */
void gb_admission_close(struct gb_admission *a);
void gb_admission_fini(struct gb_admission *a);
/* One token of the tenant's rate, and whether its minute has inference left. */
bool gb_admit_rate(struct gb_admission *a, struct gb_tenant *t, struct gb_error **err);
/* Whether it would be refused now: asked before a body is read that must be whole first. */
bool gb_admit_has_room(struct gb_admission *a, const struct gb_exchange *x, struct gb_error **err);
/* REFUSED: *err says why. WAITS: gb_exchange_post(GB_POST_START) comes when it is its turn. */
enum gb_admitted gb_admit(struct gb_admission *a, struct gb_exchange *x, struct gb_error **err);
/* It no longer waits for its turn. If its turn has come already, START is posted all the same. */
void gb_admit_forget(struct gb_admission *a, struct gb_exchange *x);
/* A call that was admitted is over, with so much inference; whoever is next is posted. */
void gb_admit_leave(struct gb_admission *a, struct gb_exchange *x, uint64_t inference_us);

/* ---- exchange.c ---- */

enum gb_post {
    GB_POST_FLUSH = 1 << 0, /* the answer has moved, or there is room for more of the body */
    GB_POST_START = 1 << 1  /* it is its turn to run */
};
/* Where the time of a call went. */
struct gb_timings {
    uint64_t queue_us, guest_us, crossing_us, native_us;
};
/* What is told with an answer to a request that did not become an exchange. */
struct gb_refusal {
    char id[GB_REQUEST_ID_BYTES_MAX + 1]; /* empty: none yet */
    char allow[GB_ROUTE_ALLOW_BYTES];     /* of method-not-allowed */
};
struct gb_exchange {
    _Atomic uint32_t refs;
    struct gb_loop *loop;
    struct gb_conn *conn; /* NULL: it has gone on or away; the loop's thread only */
    struct gb_app *app;
    struct gb_app_tenant *tenant;
    struct gb_app_route *route;
    struct gb_account *account; /* what is buffered is charged to */
    uint64_t charged;           /* under the lock */
    char id[GB_REQUEST_ID_BYTES_MAX + 1];
    char traceparent[GB_TRACEPARENT_BYTES + 1];
    uint64_t started_us;        /* the head was complete */
    uint64_t call_us;           /* the call was started */
    uint64_t left_us;           /* its connection was done with it */
    bool begun;                 /* it is a request that counts when it is over */
    enum gb_http_method method;
    enum gb_code code;          /* what it came to; GB_OK */
    struct gb_timings timings;
    uint64_t bytes_in, bytes_out; /* of bodies */
    struct gb_call *call;       /* running; the loop's thread only */
    struct gb_call_spec spec;
    struct gb_limits limits;
    struct gb_http_request request; /* of HTTP guests; points into the two below */
    struct gb_http_field *request_fields;
    uint8_t *request_line;
    const struct gb_app_function *function; /* of GB_ROUTE_CALL */
    struct gb_values *values;               /* its arguments */
    struct gb_http_io io;
    bool is_json;  /* the body says that it is */
    bool waits;    /* for its turn */
    struct gb_exchange *waiting_next; /* under the admission's lock */

    /* under the loop's post lock */
    unsigned posted; /* enum gb_post */
    struct gb_exchange *posted_next;

    pthread_mutex_t lock;
    /* the request's body */
    struct gb_buf body;
    size_t body_read;
    bool body_end, body_broken;
    bool guest_wants_body; /* it waits for more */
    struct gb_http_field *trailers;
    size_t trailers_len;
    /* the response */
    bool on_us; /* a problem of the host's: its few bytes are not charged, or a tenant without
                   budget would never learn why */
    bool has_head, head_written;
    bool head_refused; /* it could not be written: what follows is the last try */
    uint32_t status;
    struct gb_http_field *head_fields;
    size_t head_len;
    struct gb_buf out;
    size_t out_read;
    bool out_end;
    struct gb_http_field *out_trailers;
    size_t out_trailers_len;
    char retry_after[12];  /* seconds; empty: none */
    bool over;             /* no call runs for it, or will */
    bool guest_wants_room; /* it waits until some of `out` is sent */
    bool gone;             /* nobody reads the answer */
};
/* Begins with a complete head: finds out who and where to. NULL: *err is the answer, with
 * what is in *ret. */
struct gb_exchange *gb_exchange_new(struct gb_conn *c, const struct gb_http_head *head,
                                    struct gb_refusal *ret, struct gb_error **err);
/* The client's id where it is valid, else a new one. head: may be NULL. */
void gb_exchange_take_id(struct gb_loop *l, const struct gb_http_head *head,
                         char ret_id[GB_REQUEST_ID_BYTES_MAX + 1]);
void gb_exchange_unref(struct gb_exchange *x);
struct gb_exchange *gb_exchange_ref(struct gb_exchange *x);
/* Bytes of the body: kept until the guest reads them. *ret_full: read no more for now. */
bool gb_exchange_body(struct gb_exchange *x, struct gb_span bytes, bool *ret_full,
                      struct gb_error **err);
bool gb_exchange_trailers(struct gb_exchange *x, const struct gb_http_field *fields, size_t len,
                          struct gb_error **err);
void gb_exchange_body_end(struct gb_exchange *x);
/* Nobody wants the answer any more: the call, if it runs, is cancelled. */
void gb_exchange_leave(struct gb_exchange *x);
/* From any thread: the loop looks at it soon. */
void gb_exchange_post(struct gb_exchange *x, unsigned what);
/* Whole answers; on the loop's thread. */
void gb_exchange_answer(struct gb_exchange *x, uint32_t status, const struct gb_http_field *fields,
                        size_t fields_len, struct gb_span body);
void gb_exchange_fail(struct gb_exchange *x, struct gb_error *error); /* takes error */
/* The head that was set cannot be written: its problem takes its place. Takes the error. */
void gb_exchange_refuse_head(struct gb_exchange *x, struct gb_error *error);
/* Until when it may wait for its turn; GB_NEVER: it has had it. */
uint64_t gb_exchange_deadline_us(const struct gb_exchange *x);
extern const struct gb_http_io gb_exchange_io;

/* ---- answer.c ---- */

/* Whether this route's call needs the whole body before it starts. */
bool gb_answer_wants_whole_body(const struct gb_exchange *x);
/* All of it that must be there is there: asks for its turn. */
void gb_answer_admit(struct gb_exchange *x);
/* Its turn: starts the call, or answers at once. */
void gb_answer_start(struct gb_exchange *x);

/* ---- functions.c ---- */

/* The functions of the route's interface, linked. */
bool gb_functions_load(struct gb_server *s, const struct gb_app_component *c,
                       struct gb_app_route *r, struct gb_span program,
                       const struct gb_limits *limits, struct gb_error **err);
void gb_functions_free(struct gb_app_route *r);
/* By the path behind the route's; NULL: there is none of that name. */
const struct gb_app_function *gb_functions_find(const struct gb_app_route *r, struct gb_span tail);
/* The body as the arguments of the call; the answer as JSON. */
bool gb_functions_read(struct gb_exchange *x, struct gb_error **err);
bool gb_functions_write(const struct gb_exchange *x, const struct gb_call_result *result,
                        struct gb_buf *out, struct gb_error **err);

/* ---- conn.c ---- */

enum gb_conn_phase {
    GB_CONN_HANDSHAKE,
    GB_CONN_IDLE, /* between requests */
    GB_CONN_HEAD, /* some of a head has arrived */
    GB_CONN_BUSY, /* a request is being answered */
    GB_CONN_LINGER /* the last answer is out: what still comes is thrown away, then it closes */
};
struct gb_conn {
    uv_tcp_t tcp;
    uv_timer_t timer;
    unsigned handles; /* open ones: the connection is freed when none is left */
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct gb_loop *loop;
    struct gb_conn *prev, *next;
    struct sockaddr_storage peer;
    bool admin;
    bool counted; /* among the server's connections, and its address's */
    bool closing;
    bool reading;
    bool writing;          /* `wire` must not change */
    struct gb_buf ahead;   /* read, not yet parsed */
    struct gb_span input;  /* the same, still in the loop's buffer: while it is being read */
    struct gb_buf wire;    /* to be written */
    struct ssl_st *ssl;    /* NULL: plain */
    struct gb_buf records; /* with TLS: `wire`, sealed */
    size_t sent;           /* of what is written: wire or records */
    size_t thrown_away;    /* in GB_CONN_LINGER */

    enum gb_conn_phase phase;
    bool in_pump;
    struct gb_h1 *parser;
    struct gb_h1_writer writer;
    struct gb_tenant *tenant; /* of the last request */
    struct gb_exchange *exchange;
    bool body_done;        /* the request has been read to its end */
    bool body_full;        /* its guest must read first */
    bool paused;           /* the parser has something to say even without more bytes */
    bool answered;         /* the answer is complete, as far as this side goes */
    bool close_after;      /* no further request */
    bool said_bye;         /* our side of the socket is shut */
    /* when each began; 0: not yet */
    uint64_t open_us, idle_us, head_us, body_us, response_us, linger_us;
    uint64_t armed_us;     /* what the timer is set to */
    uint64_t paused_us, full_since_us; /* how long the body was not read for want of room */
};
/* ---- conn_io.c: bytes in and out ---- */
void gb_conn_accept(struct gb_loop *l, uv_stream_t *listener, bool admin);
void gb_conn_close(struct gb_conn *c);
/* Sends what is in `wire`, as far as it goes now; gb_conn_pump is called when it went. */
void gb_conn_send(struct gb_conn *c);
bool gb_conn_has_unsent(const struct gb_conn *c);
void gb_conn_read(struct gb_conn *c, bool on);
void gb_conn_shutdown(struct gb_conn *c);
/* Gives up the buffers that an idle connection does not need. */
void gb_conn_shrink(struct gb_conn *c);
void gb_conn_arm(struct gb_conn *c); /* the timer, to gb_conn_deadline_us */
/* ---- tls.c ---- */
struct ssl_ctx_st *gb_tls_context_new(const struct gb_manifest_host *host, struct gb_error **err);
void gb_tls_context_free(struct ssl_ctx_st *ctx);
bool gb_tls_begin(struct gb_conn *c, struct gb_error **err);
void gb_tls_end(struct gb_conn *c);
void gb_tls_read(struct gb_conn *c, struct gb_span bytes);
bool gb_tls_seal(struct gb_conn *c); /* from wire to records */
void gb_tls_shutdown(struct gb_conn *c);
/* ---- conn.c: one request after the other ---- */
bool gb_conn_begin(struct gb_conn *c, struct gb_error **err);
void gb_conn_ready(struct gb_conn *c); /* its bytes are those of HTTP from now on */
void gb_conn_end(struct gb_conn *c); /* its exchange is left; the parser is freed */
/* Does all that can be done now: parses, answers, sends. */
void gb_conn_pump(struct gb_conn *c);
/* The server ends: closes it between two requests, else after the one it is in. */
void gb_conn_drain(struct gb_conn *c);
void gb_conn_on_eof(struct gb_conn *c);
void gb_conn_on_timer(struct gb_conn *c);
/* When the earliest of its deadlines passes; GB_NEVER. */
uint64_t gb_conn_deadline_us(const struct gb_conn *c);
/* A whole answer without an exchange, from within an event of the parser. */
void gb_conn_answer(struct gb_conn *c, uint32_t status, const struct gb_http_field *fields,
                    size_t fields_len, struct gb_span body);

/* ---- loop.c ---- */

struct gb_loop {
    struct gb_server *server;
    pthread_t thread;
    bool started;
    uv_loop_t uv;
    uv_async_t wake;
    uv_poll_t runner_poll;
    uv_check_t check;
    uv_prepare_t prepare;
    uv_timer_t second;
    uv_tcp_t listener, admin_listener;
    bool listening, admin_listening;
    bool owed, admin_owed; /* a connection that there was no memory to take */
    struct gb_runner *runner;
    struct gb_app *app; /* what new requests are served by */
    struct gb_conn *conns;
    _Atomic size_t conns_len;
    char date[GB_HTTP_DATE_BYTES];
    struct gb_request_ids ids;
    uint8_t *read_buffer;
    uint8_t *plain_buffer; /* of one TLS record */
    pthread_mutex_t post_lock;
    struct gb_exchange *posted, *posted_last;
    bool woken;       /* the async is on its way */
    bool in_round;    /* the loop's thread looks at its posts again before it sleeps */
    bool has_uv;
    bool runner_ready; /* its descriptor is readable */
    struct gb_app *next_app;
    unsigned command; /* enum gb_loop_command, under the post lock */
    bool draining;
    bool ending;
};
enum gb_loop_command {
    GB_LOOP_SWAP = 1 << 0,  /* next_app is the app now */
    GB_LOOP_DRAIN = 1 << 1, /* accept nothing, close what is idle */
    GB_LOOP_END = 1 << 2    /* close all and return */
};
bool gb_loop_init(struct gb_loop *l, struct gb_server *s, struct gb_error **err);
bool gb_loop_start(struct gb_loop *l, struct gb_error **err);
void gb_loop_command(struct gb_loop *l, unsigned commands, struct gb_app *app);
void gb_loop_join(struct gb_loop *l);
void gb_loop_fini(struct gb_loop *l);
/* Polls the calls that are ready and serves the posts. */
void gb_loop_round(struct gb_loop *l);
/* fd is taken. */
bool gb_loop_listen(struct gb_loop *l, int fd, bool admin, struct gb_error **err);
void gb_loop_post(struct gb_loop *l, struct gb_exchange *x, unsigned what);

/* ---- address.c ---- */

struct gb_address;
struct gb_addresses {
    pthread_mutex_t lock;
    uint64_t key[2];
    struct gb_address **chains;
};
/* IPv4 as ::ffff:a.b.c.d; zeros for what is neither. */
void gb_address_bytes(const struct sockaddr *peer, uint8_t ret[16]);
bool gb_addresses_init(struct gb_addresses *a, struct gb_error **err);
void gb_addresses_fini(struct gb_addresses *a);
/* False: it has as many as it may, or there is no memory. */
bool gb_addresses_enter(struct gb_addresses *a, const struct sockaddr_storage *peer,
                        uint64_t connections_max);
void gb_addresses_leave(struct gb_addresses *a, const struct sockaddr_storage *peer);

/* ---- listen.c ---- */

/* A socket for each loop (admin: for the first). *ret_url names the port that was picked. */
bool gb_listen(struct gb_server *s, const char *text, bool admin, char **ret_url,
               struct gb_error **err);

/* ---- admin.c ---- */

void gb_admin_answer(struct gb_conn *c, const struct gb_http_head *head);

/* ---- server.c ---- */

struct gb_server {
    struct gb_server_options options;
    const struct gb_manifest *manifest;
    struct gb_account *account;
    struct gb_sandbox *sandbox;
    struct gb_registry *registry;
    struct gb_lanes *lanes;
    struct gb_admission admission;
    struct gb_addresses addresses;
    struct gb_observer observer;
    struct gb_app *app;
    struct gb_loop *loops;
    uint32_t loops_len;
    char *url, *admin_url;
    int control[2]; /* a pipe: 's' stop, 'r' reload */
    uint64_t started_us;
    _Atomic bool ready;    /* all that was to be loaded is loaded */
    _Atomic bool draining;
    _Atomic uint64_t connections, connections_refused, requests;
    _Atomic uint64_t answers[6]; /* by hundreds of status */
    _Atomic uint64_t reloads, reloads_refused;
    char reload_error[256]; /* of the last that was refused; under the admission's lock */
};
bool gb_server_is_ready(struct gb_server *s);

#endif
