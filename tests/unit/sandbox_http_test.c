/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP exchange with a guest: real components from build/guests, and a client made of plain
 * functions that gives the body in pieces and takes the answer as fast as a test wants.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "sandbox_harness.h"

struct client {
    struct gb_call *call;
    /* the request */
    const char *method, *path;
    const struct gb_http_field *fields;
    size_t fields_len;
    uint64_t body_bytes, given; /* 'a' to 'z', over and over */
    size_t piece;               /* at most so much at once; 0: all that fits */
    bool stalls;                /* before every piece the guest waits for a wake-up */
    bool stalled;
    bool never;                 /* no piece ever comes */
    uint64_t breaks_at;         /* the client goes away after so many bytes; 0: it stays */
    const struct gb_http_field *trailers;
    size_t trailers_len;
    /* the response */
    uint32_t heads, status, ends;
    struct gb_buf head, body, tail; /* fields as "name: value\n" */
    uint64_t taken;                 /* in all; body keeps the first MiB */
    uint64_t room;                  /* that is left; UINT64_MAX: without end */
    bool gone;                      /* ERROR to whatever comes */
    struct gb_flow *flow;           /* that its call is of */
    pthread_t ended_by;             /* the thread that passed the end on */
    void (*stuck)(struct client *); /* whenever there is no room */
    struct client *other;
    _Atomic uint32_t stuck_times;
    struct gb_call_result result;
    bool done;
};

static enum gb_io request_body(void *user, uint8_t *to, size_t cap, size_t *ret_len) {
    struct client *c = user;
    if (c->never) {
        return GB_IO_PENDING;
    }
    if (c->breaks_at > 0 && c->given >= c->breaks_at) {
        return GB_IO_ERROR;
    }
    if (c->stalls && !c->stalled) {
        c->stalled = true;
        gb_call_wake(c->call);
        return GB_IO_PENDING;
    }
    c->stalled = false;
    size_t len = (size_t)GB_MIN((uint64_t)cap, c->body_bytes - c->given);
    len = c->piece > 0 ? GB_MIN(len, c->piece) : len;
    for (size_t i = 0; i < len; i++) {
        to[i] = (uint8_t)('a' + (c->given + i) % 26);
    }
    c->given += len;
    *ret_len = len;
    return len > 0 ? GB_IO_OK : GB_IO_END;
}

static void request_trailers(void *user, const struct gb_http_field **ret, size_t *ret_len) {
    struct client *c = user;
    *ret = c->trailers;
    *ret_len = c->trailers_len;
}

static void note(struct gb_buf *to, const struct gb_http_field *fields, size_t len) {
    for (size_t i = 0; i < len; i++) {
        gb_buf_append(to, fields[i].name.ptr, fields[i].name.len, NULL);
        gb_buf_append_text(to, ": ", NULL);
        gb_buf_append(to, fields[i].value.ptr, fields[i].value.len, NULL);
        gb_buf_append_text(to, "\n", NULL);
    }
}

static enum gb_io response_head(void *user, uint32_t status, const struct gb_http_field *fields,
                                size_t len) {
    struct client *c = user;
    assert_int_equal(c->heads++, 0);
    c->status = status;
    note(&c->head, fields, len);
    return c->gone ? GB_IO_ERROR : GB_IO_OK;
}

static enum gb_io response_body(void *user, struct gb_span bytes, size_t *ret_taken) {
    struct client *c = user;
    assert_int_equal(c->heads, 1);
    assert_int_equal(c->ends, 0);
    assert_true(bytes.len > 0 && bytes.len <= GB_HTTP_CHUNK_BYTES);
    if (c->gone) {
        return GB_IO_ERROR;
    }
    size_t len = (size_t)GB_MIN((uint64_t)bytes.len, c->room);
    if (len == 0) {
        c->stuck_times++;
        if (c->stuck) {
            c->stuck(c);
        }
        return GB_IO_PENDING;
    }
    if (c->room != UINT64_MAX) {
        c->room -= len;
    }
    if (c->body.len < GB_MIB) {
        gb_buf_append(&c->body, bytes.ptr, len, NULL);
    }
    c->taken += len;
    *ret_taken = len;
    return GB_IO_OK;
}

static void response_end(void *user, const struct gb_http_field *trailers, size_t len) {
    struct client *c = user;
    assert_int_equal(c->heads, 1);
    assert_int_equal(c->ends++, 0);
    c->ended_by = pthread_self();
    note(&c->tail, trailers, len);
}

static void on_done(void *user, struct gb_call_result *result) {
    struct client *c = user;
    c->result = *result;
    c->done = true;
    c->call = NULL;
}

static void client_init(struct client *c, const char *path) {
    *c = (struct client){.method = "GET", .path = path, .room = UINT64_MAX};
    gb_buf_init(&c->head, GB_MIB);
    gb_buf_init(&c->body, 2 * GB_MIB);
    gb_buf_init(&c->tail, GB_MIB);
}

static void client_fini(struct client *c) {
    assert_true(c->done);
    gb_call_result_fini(&c->result);
    gb_buf_fini(&c->head);
    gb_buf_fini(&c->body);
    gb_buf_fini(&c->tail);
}

static struct gb_program *load_guest(struct bench *b, const char *name) {
    struct gb_error *error = NULL;
    uint8_t *bytes = NULL;
    size_t len = 0;
    char *path = gb_format(&error, "%s/build/guests/%s.wasm", GB_TEST_SOURCE_DIR, name);
    if (!gb_file_read(path, GB_MIB, GB_IO, &bytes, &len, &error)) {
        fail_with(error); /* tools/build-guests.sh makes it */
    }
    struct gb_program *p = gb_program_load_http(b->sandbox, name, gb_span_make(bytes, len),
                                                &b->limits, &b->grants, &error);
    keep_guest_signals();
    if (!p) {
        fail_with(error);
    }
    gb_free(bytes);
    gb_free(path);
    return p;
}

static struct gb_http_request request_of(const struct client *c) {
    return (struct gb_http_request){
        .method = gb_span_of(c->method),
        .scheme = gb_span_of("http"),
        .authority = gb_span_of("test.example:8080"),
        .path_with_query = gb_span_of(c->path),
        .fields = c->fields,
        .fields_len = c->fields_len,
    };
}

static bool try_ask(struct bench *b, struct gb_program *p, struct client *c,
                    struct gb_error **err) {
    struct gb_http_request request = request_of(c);
    struct gb_http_io io = {
        .user = c,
        .request_body = request_body,
        .request_trailers = request_trailers,
        .response_head = response_head,
        .response_body = response_body,
        .response_end = response_end,
    };
    struct gb_call_spec spec = spec_of(b, p, &c->result);
    spec.done = on_done;
    spec.user = c;
    spec.http = &request;
    spec.io = &io;
    spec.flow = c->flow;
    c->call = gb_runner_call(b->runner, &spec, err);
    return c->call != NULL;
}

static void ask(struct bench *b, struct gb_program *p, struct client *c) {
    struct gb_error *error = NULL;
    if (!try_ask(b, p, c, &error)) {
        fail_with(error);
    }
}

/* Loads, asks, runs to the end; nothing may be charged any more. */
static void exchange(struct bench *b, const char *guest, struct client *c) {
    struct gb_program *p = load_guest(b, guest);
    ask(b, p, c);
    run_all(b);
    gb_program_unref(p);
    assert_int_equal(gb_account_used(b->account), 0);
}

static void assert_answered(const struct client *c, uint32_t status, const char *body) {
    if (c->result.error) {
        fail_with(c->result.error);
    }
    assert_int_equal(c->status, status);
    assert_int_equal(c->ends, 1);
    if (body) {
        assert_string_equal(gb_buf_text(&c->body), body);
    }
}

/* ---- what works ---- */

static void hello_answers(void **state) {
    struct client c;
    client_init(&c, "/");
    exchange(*state, "hello-http", &c);
    assert_answered(&c, 200, "Hello from inside the glovebox.\n");
    assert_non_null(strstr(gb_buf_text(&c.head), "content-type: text/plain; charset=utf-8\n"));
    assert_true(c.result.usage.memory_peak_bytes > 0 && c.result.usage.instantiate_us > 0);
    client_fini(&c);
}

static void request_arrives_as_it_was_sent(void **state) {
    const struct gb_http_field fields[] = {
        {gb_span_of("Host"), gb_span_of("test.example:8080")},
        {gb_span_of("X-Echo"), gb_span_of("one")},
        {gb_span_of("x-echo"), gb_span_of("two \xc3\xa9")},
    };
    struct client c;
    client_init(&c, "/a/b?c=d&e=%20");
    c.method = "PROPFIND";
    c.fields = fields;
    c.fields_len = GB_COUNT(fields);
    exchange(*state, "echo-http", &c);
    assert_answered(&c, 200, "");
    const char *const wanted[] = {"x-method: PROPFIND\n", "x-path: /a/b?c=d&e=%20\n",
                                  "x-authority: test.example:8080\n", "x-scheme: http\n",
                                  "x-echo: one\n", "x-echo: two \xc3\xa9\n"};
    for (size_t i = 0; i < GB_COUNT(wanted); i++) {
        assert_non_null(strstr(gb_buf_text(&c.head), wanted[i]));
    }
    client_fini(&c);
}

static void assert_alphabet(const struct gb_buf *body) {
    const uint8_t *bytes = gb_buf_span(body).ptr;
    for (size_t i = 0; i < body->len; i++) {
        if (bytes[i] != 'a' + i % 26) {
            fail_msg("byte %zu is %02x", i, bytes[i]);
        }
    }
}

static void bodies_stream_both_ways(void **state) {
    const size_t pieces[] = {0, 1000, 65536, 7};
    for (size_t i = 0; i < GB_COUNT(pieces); i++) {
        struct client c;
        client_init(&c, "/");
        c.body_bytes = pieces[i] == 7 ? 700 : 900000;
        c.piece = pieces[i];
        c.stalls = i % 2 == 1;
        exchange(*state, "echo-http", &c);
        assert_answered(&c, 200, NULL);
        assert_int_equal(c.taken, c.body_bytes);
        assert_alphabet(&c.body);
        client_fini(&c);
    }
}

static void trailers_pass_both_ways(void **state) {
    const struct gb_http_field trailers[] = {{gb_span_of("x-sum"), gb_span_of("12")},
                                             {gb_span_of("x-more"), gb_span_of("yes")}};
    struct client c;
    client_init(&c, "/");
    c.body_bytes = 100;
    c.trailers = trailers;
    c.trailers_len = GB_COUNT(trailers);
    exchange(*state, "echo-http", &c);
    assert_answered(&c, 200, NULL);
    assert_string_equal(gb_buf_text(&c.tail), "x-sum: 12\nx-more: yes\n");
    client_fini(&c);
    client_init(&c, "/trailers");
    exchange(*state, "http-probe", &c);
    assert_answered(&c, 200, "body\n");
    assert_string_equal(gb_buf_text(&c.tail), "x-sum: 42\n");
    client_fini(&c);
}

static void response_begins_before_the_request_has_ended(void **state) {
    struct bench *b = *state;
    struct client c;
    client_init(&c, "/early");
    c.never = true;
    struct gb_program *p = load_guest(b, "http-probe");
    ask(b, p, &c);
    for (int i = 0; i < 1000 && c.body.len == 0; i++) {
        gb_runner_step(b->runner, 10);
    }
    assert_string_equal(gb_buf_text(&c.body), "early\n");
    assert_false(c.done);
    c.never = false;
    c.body_bytes = 12345;
    gb_call_wake(c.call);
    run_all(b);
    assert_answered(&c, 200, "early\n12345\n");
    client_fini(&c);
    client_init(&c, "/late");
    c.body_bytes = 200000;
    c.stalls = true;
    ask(b, p, &c);
    run_all(b);
    assert_answered(&c, 201, "200000\n");
    client_fini(&c);
    gb_program_unref(p);
}

static void slow_reader_stops_the_guest_and_memory_stays(void **state) {
    struct bench *b = *state;
    struct client c;
    client_init(&c, "/flood");
    c.room = 0;
    b->limits.deadline_us = 20000000;
    struct gb_program *p = load_guest(b, "http-probe");
    ask(b, p, &c);
    while (c.heads == 0) {
        gb_runner_step(b->runner, 10);
    }
    uint64_t most = 0;
    for (int i = 0; i < 2000; i++) {
        gb_runner_step(b->runner, 0);
        most = GB_MAX(most, gb_account_used(b->account));
        if (i % 4 == 3) {
            c.room += 1000;
            gb_call_wake(c.call);
        }
    }
    assert_false(c.done);
    assert_true(c.taken > 400000);
    /* Its linear memory, and no more than two chunks that wait and one that goes. */
    uint64_t waits = gb_account_used_for(b->account, GB_CHARGE_OUTPUT);
    uint64_t memory = gb_account_used_for(b->account, GB_CHARGE_MEMORY);
    assert_true(waits <= 3 * GB_HTTP_CHUNK_BYTES + 1024);
    assert_true(most <= memory + 4 * GB_HTTP_CHUNK_BYTES);
    gb_call_cancel(c.call, GB_CANCELLED);
    run_all(b);
    assert_error(c.result.error, GB_CANCELLED, NULL, NULL);
    assert_int_equal(c.ends, 0);
    client_fini(&c);
    gb_program_unref(p);
    assert_int_equal(gb_account_used(b->account), 0);
}

static void rest_is_passed_on_after_the_guest_has_returned(void **state) {
    struct bench *b = *state;
    struct client c;
    client_init(&c, "/");
    c.room = 5;
    struct gb_program *p = load_guest(b, "hello-http");
    ask(b, p, &c);
    for (int i = 0; i < 1000 && c.taken < 5; i++) {
        gb_runner_step(b->runner, 10);
    }
    gb_runner_step(b->runner, 0);
    assert_false(c.done);
    assert_int_equal(c.ends, 0);
    c.room = UINT64_MAX;
    gb_call_wake(c.call);
    run_all(b);
    assert_answered(&c, 200, "Hello from inside the glovebox.\n");
    client_fini(&c);
    gb_program_unref(p);
}

static void client_that_goes_away_closes_the_guests_stream(void **state) {
    struct client c;
    client_init(&c, "/flood");
    c.gone = true;
    exchange(*state, "http-probe", &c); /* the guest returns by itself */
    assert_null(c.result.error);
    assert_int_equal(c.ends, 0);
    assert_int_equal(c.taken, 0);
    client_fini(&c);
}

static void broken_request_body_is_an_error_code(void **state) {
    struct client c;
    client_init(&c, "/body-error");
    c.body_bytes = 100000;
    c.breaks_at = 50000;
    c.piece = 10000;
    exchange(*state, "http-probe", &c);
    assert_answered(&c, 200, "connection-terminated\n");
    client_fini(&c);
    client_init(&c, "/body-error");
    exchange(*state, "http-probe", &c);
    assert_answered(&c, 200, "closed\n");
    client_fini(&c);
}

struct waking {
    struct gb_wake_cell *waker;
    _Atomic bool stop;
};

static void *wake_for_ever(void *user) {
    struct waking *w = user;
    while (!atomic_load(&w->stop)) {
        gb_call_waker_wake(w->waker);
        usleep(100);
    }
    return NULL;
}

static void wakers_of_other_threads_outlive_the_call(void **state) {
    struct bench *b = *state;
    struct client c;
    client_init(&c, "/late");
    c.never = true;
    struct gb_program *p = load_guest(b, "http-probe");
    ask(b, p, &c);
    struct waking w = {.waker = gb_call_waker_ref(c.call)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_for_ever, &w), 0);
    for (int i = 0; i < 20; i++) {
        gb_runner_step(b->runner, 10);
    }
    c.never = false;
    c.body_bytes = 10;
    run_all(b); /* woken by the other thread alone */
    assert_answered(&c, 201, "10\n");
    gb_runner_step(b->runner, 1);
    usleep(2000);
    atomic_store(&w.stop, true);
    pthread_join(thread, NULL);
    gb_call_waker_unref(w.waker);
    client_fini(&c);
    gb_program_unref(p);
}

static void outgoing_requests_are_denied(void **state) {
    struct bench *b = *state;
    struct client c;
    client_init(&c, "/");
    b->grants.http = true;
    exchange(b, "egress-http", &c);
    assert_answered(&c, 200, "denied\n");
    client_fini(&c);
}

/* ---- guests that misbehave ---- */

static void probe_fails(struct bench *b, const char *path, enum gb_code code, const char *message,
                        uint32_t heads) {
    struct client c;
    client_init(&c, path);
    exchange(b, "http-probe", &c);
    assert_error(c.result.error, code, message, NULL);
    assert_int_equal(c.heads, heads);
    assert_int_equal(c.ends, 0);
    client_fini(&c);
}

static void guest_traps(void **state) {
    struct bench *b = *state;
    probe_fails(b, "/trap-before", GB_GUEST_TRAP, NULL, 0);
    /* Nobody had to wait, so nothing of its answer went out: whoever serves can say 500. */
    probe_fails(b, "/trap-after", GB_GUEST_TRAP, NULL, 0);
    probe_fails(b, "/trap-in-body", GB_GUEST_TRAP, NULL, 1);
    probe_fails(b, "/exit", GB_GUEST_EXIT, "the guest exited with status 1 instead of answering",
                0);
}

static void guest_gives_no_response_or_half_of_one(void **state) {
    struct bench *b = *state;
    probe_fails(b, "/none", GB_GUEST_TRAP, "the guest returned without setting a response", 0);
    probe_fails(b, "/drop", GB_GUEST_TRAP, "the guest returned without setting a response", 0);
    probe_fails(b, "/empty-short", GB_GUEST_TRAP,
                "the guest's response has a content-length but no body of that length", 0);
    probe_fails(b, "/unfinished", GB_GUEST_TRAP,
                "the guest dropped the body of its response before its end", 1);
    probe_fails(b, "/short", GB_GUEST_TRAP,
                "the guest dropped the body of its response before its end", 1);
}

static void guest_answers_with_an_error_code(void **state) {
    struct client c;
    client_init(&c, "/error");
    exchange(*state, "http-probe", &c);
    assert_error(c.result.error, GB_GUEST_ERROR,
                 "the guest answered with the error \"internal-error: out of cheese\"", NULL);
    assert_string_equal(c.result.error->value, "internal-error: out of cheese");
    assert_int_equal(c.heads, 0);
    client_fini(&c);
}

static void deadline_ends_what_does_not_end(void **state) {
    struct bench *b = *state;
    b->limits.deadline_us = 200000;
    uint64_t before_us = gb_now_us();
    probe_fails(b, "/spin", GB_DEADLINE_EXCEEDED, NULL, 0);
    probe_fails(b, "/spin-after", GB_DEADLINE_EXCEEDED, NULL, 1);
    struct client c;
    client_init(&c, "/wait");
    c.never = true;
    exchange(b, "http-probe", &c);
    assert_error(c.result.error, GB_DEADLINE_EXCEEDED, NULL, NULL);
    assert_int_equal(c.heads, 0);
    client_fini(&c);
    assert_true(gb_now_us() - before_us < 5000000);
}

static void fields_are_bounded(void **state) {
    probe_fails(*state, "/fields", GB_HOSTCALL_LIMIT,
                "the guest's HTTP fields take more than 64 KiB", 0);
}

static void what_the_host_keeps_is_charged(void **state) {
    struct bench *b = *state;
    const char *const paths[] = {"/field-maps", "/bodies", "/trailer-maps"};
    gb_account_unref(b->account);
    struct gb_error *error = NULL;
    b->account = gb_account_new("tenant", NULL, 8 * GB_MIB, &error);
    assert_non_null(b->account);
    for (size_t i = 0; i < GB_COUNT(paths); i++) {
        struct client c;
        client_init(&c, paths[i]);
        exchange(b, "http-probe", &c);
        assert_error(c.result.error, GB_BUDGET_EXCEEDED, NULL, NULL);
        assert_true(c.result.usage.ledger_peak_bytes > 7 * GB_MIB);
        client_fini(&c);
    }
    struct client c;
    client_init(&c, "/methods");
    exchange(b, "http-probe", &c);
    assert_error(c.result.error, GB_GUEST_TRAP, NULL, NULL); /* it returned without a response */
    assert_true(c.result.usage.ledger_peak_bytes > 900 * 1000);
    client_fini(&c);
}

static void empty_writes_keep_nothing(void **state) {
    struct client c;
    client_init(&c, "/empty-writes");
    exchange(*state, "http-probe", &c);
    assert_answered(&c, 200, "done\n");
    client_fini(&c);
}

static void malformed_requests_are_refused(void **state) {
    struct bench *b = *state;
    struct gb_program *p = load_guest(b, "hello-http");
    const struct gb_http_field bad_name[] = {{gb_span_of("a b"), gb_span_of("c")}};
    const struct gb_http_field bad_value[] = {{gb_span_of("a"), gb_span_of("b\nc")}};
    for (int i = 0; i < 4; i++) {
        struct client c;
        client_init(&c, i == 0 ? "/a b" : "/");
        c.method = i == 1 ? "G T" : "GET";
        c.fields = i == 2 ? bad_name : bad_value;
        c.fields_len = i >= 2 ? 1 : 0;
        struct gb_error *error = NULL;
        assert_false(try_ask(b, p, &c, &error));
        assert_error(error, GB_REQUEST_MALFORMED, NULL, NULL);
        gb_error_free(error);
        c.done = true;
        client_fini(&c);
    }
    gb_program_unref(p);
    assert_int_equal(gb_account_used(b->account), 0);
}

static void programs_are_told_apart(void **state) {
    struct bench *b = *state;
    struct gb_error *error = NULL;
    assert_null(gb_program_load_http(b->sandbox, "agent.wasm", gb_span_of(AGENT_ECHO), &b->limits,
                                     &b->grants, &error));
    assert_error(error, GB_COMPONENT_INVALID,
                 "\"agent.wasm\" has nothing that answers HTTP requests",
                 "It exports \"run\", but not wasi:http/incoming-handler@0.2.");
    gb_error_free(error);
    struct gb_program *p = load_guest(b, "hello-http");
    assert_int_equal(gb_program_entry(p), GB_ENTRY_HTTP);
    error = NULL;
    struct gb_call_result result;
    struct gb_call_spec spec = spec_of(b, p, &result);
    assert_null(gb_runner_call(b->runner, &spec, &error));
    assert_error(error, GB_INTERNAL, NULL, NULL);
    gb_error_free(error);
    gb_program_unref(p);
}

static void a_long_exchange_goes_on_in_a_lane(void **state) {
    struct bench *b = *state;
    struct gb_error *error = NULL;
    struct gb_lanes *lanes = gb_lanes_new(1, 0, &error);
    struct gb_flow *flow = gb_flow_new(1, &error);
    assert_true(lanes && flow);
    gb_runner_use_lanes(b->runner, lanes);
    struct client c;
    client_init(&c, "/");
    c.flow = flow;
    c.body_bytes = 20 * GB_MIB;
    c.stalls = true; /* and is woken from within, on whichever thread */
    exchange(b, "echo-http", &c);
    assert_answered(&c, 200, NULL);
    assert_int_equal(c.taken, c.body_bytes);
    assert_alphabet(&c.body);
    assert_false(pthread_equal(c.ended_by, pthread_self()));
    client_fini(&c);
    gb_runner_use_lanes(b->runner, NULL);
    gb_lanes_free(lanes);
    gb_flow_unref(flow);
}

static void cancel_both(struct client *c) {
    c->stuck = NULL;
    gb_call_cancel(c->other->call, GB_CANCELLED);
    gb_call_cancel(c->call, GB_CANCELLED);
}

static void wake_other(struct client *c) {
    gb_call_wake(c->other->call);
}

/* The first, which runs, is put behind the second, which runs next and wakes it once more. */
static void a_wake_finds_what_was_cancelled_in_its_slice(void **state) {
    struct bench *b = *state;
    struct gb_error *error = NULL;
    struct gb_lanes *lanes = gb_lanes_new(1, 0, &error);
    struct gb_flow *flow = gb_flow_new(1, &error);
    assert_true(lanes && flow);
    gb_runner_use_lanes(b->runner, lanes);
    struct gb_program *p = load_guest(b, "http-probe");
    struct client c[2];
    for (size_t i = 0; i < 2; i++) {
        client_init(&c[i], "/flood");
        c[i].flow = flow;
        c[i].room = 32 * GB_MIB; /* long enough to leave the runner */
        c[i].other = &c[1 - i];
        ask(b, p, &c[i]);
    }
    while (c[0].stuck_times == 0 || c[1].stuck_times == 0) {
        gb_runner_step(b->runner, 5);
    }
    uint32_t before = c[1].stuck_times;
    c[0].stuck = cancel_both;
    c[1].stuck = wake_other;
    gb_call_wake(c[0].call);
    run_all(b);
    assert_true(c[1].stuck_times > before);
    for (size_t i = 0; i < 2; i++) {
        assert_error(c[i].result.error, GB_CANCELLED, NULL, NULL);
        client_fini(&c[i]);
    }
    gb_program_unref(p);
    gb_runner_use_lanes(b->runner, NULL);
    gb_lanes_free(lanes);
    gb_flow_unref(flow);
}

/* The n-th allocation fails, for each n: an answer or an error, and everything is given back. */
static void every_allocation_may_fail(void **state) {
    struct bench *b = *state;
    const struct gb_http_field trailers[] = {{gb_span_of("x-sum"), gb_span_of("12")}};
    struct gb_program *p = load_guest(b, "echo-http");
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        struct client c;
        client_init(&c, "/");
        c.body_bytes = 100;
        c.trailers = trailers;
        c.trailers_len = 1;
        gb_buf_reserve(&c.head, 1024, NULL); /* the client's own are not what is tested */
        gb_buf_reserve(&c.body, 1024, NULL);
        gb_buf_reserve(&c.tail, 1024, NULL);
        struct gb_error *error = NULL;
        gb_alloc_fail_at(n);
        bool started = try_ask(b, p, &c, &error);
        while (started && gb_runner_step(b->runner, -1) > 0) {
        }
        hit = gb_alloc_fail_hits() > 0;
        gb_alloc_fail_at(0);
        assert_true(hit || started);
        if (!started) {
            assert_non_null(error);
            gb_error_free(error);
            c.done = true;
        } else if (!c.result.error) {
            assert_int_equal(c.ends, 1);
        }
        client_fini(&c);
        assert_int_equal(gb_account_used(b->account), 0);
    }
    gb_program_unref(p);
}

static void cost_of_a_request_is_printed(void **state) {
    struct bench *b = *state;
    struct gb_program *p = load_guest(b, "hello-http");
    enum { COUNT = 2000 };
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < 5; round++) {
        uint64_t before_us = gb_now_us();
        for (int i = 0; i < COUNT / 5; i++) {
            struct client c;
            client_init(&c, "/");
            ask(b, p, &c);
            run_all(b);
            assert_int_equal(c.ends, 1);
            client_fini(&c);
        }
        best = GB_MIN(best, (gb_now_us() - before_us) * 1000 / (COUNT / 5));
    }
    print_message("one request: %llu ns\n", (unsigned long long)best);
    gb_program_unref(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SANDBOX_TEST(hello_answers),
        SANDBOX_TEST(request_arrives_as_it_was_sent),
        SANDBOX_TEST(bodies_stream_both_ways),
        SANDBOX_TEST(trailers_pass_both_ways),
        SANDBOX_TEST(response_begins_before_the_request_has_ended),
        SANDBOX_TEST(slow_reader_stops_the_guest_and_memory_stays),
        SANDBOX_TEST(rest_is_passed_on_after_the_guest_has_returned),
        SANDBOX_TEST(client_that_goes_away_closes_the_guests_stream),
        SANDBOX_TEST(broken_request_body_is_an_error_code),
        SANDBOX_TEST(wakers_of_other_threads_outlive_the_call),
        SANDBOX_TEST(outgoing_requests_are_denied),
        SANDBOX_TEST(guest_traps),
        SANDBOX_TEST(guest_gives_no_response_or_half_of_one),
        SANDBOX_TEST(guest_answers_with_an_error_code),
        SANDBOX_TEST(deadline_ends_what_does_not_end),
        SANDBOX_TEST(fields_are_bounded),
        SANDBOX_TEST(what_the_host_keeps_is_charged),
        SANDBOX_TEST(empty_writes_keep_nothing),
        SANDBOX_TEST(malformed_requests_are_refused),
        SANDBOX_TEST(programs_are_told_apart),
        SANDBOX_TEST(a_long_exchange_goes_on_in_a_lane),
        SANDBOX_TEST(a_wake_finds_what_was_cancelled_in_its_slice),
        SANDBOX_TEST(every_allocation_may_fail),
        SANDBOX_TEST(cost_of_a_request_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
