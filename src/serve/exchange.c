/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request and its answer. What the guest reads and writes goes through two bounded buffers under
 * one lock, since the guest may run on a lane while the connection's loop sends.
 *
 * Ownership: counted by the connection, the call, the queue of waiting requests and the loop's list
 * of posts. What is buffered is charged to the tenant.
 */
#include <string.h>

#include "base/log.h"
#include "sandbox/value.h"
#include "serve/serve_internal.h"

#define BUFFER_BYTES_MIN ((size_t)512)

/* ---- making ---- */

struct gb_exchange *gb_exchange_ref(struct gb_exchange *x) {
    atomic_fetch_add(&x->refs, 1);
    return x;
}

void gb_exchange_unref(struct gb_exchange *x) {
    if (!x || atomic_fetch_sub(&x->refs, 1) != 1) {
        return;
    }
    if (x->begun) {
        gb_observe_request(x);
    }
    gb_buf_fini(&x->body);
    gb_buf_fini(&x->out);
    gb_values_free(x->values);
    gb_free(x->trailers);
    gb_free(x->head_fields);
    gb_free(x->out_trailers);
    gb_free(x->request_fields);
    gb_free(x->request_line);
    if (x->account) {
        gb_uncharge(x->account, GB_CHARGE_OUTPUT, x->charged);
        gb_account_unref(x->account);
    }
    gb_app_unref(x->app);
    pthread_mutex_destroy(&x->lock);
    gb_free(x);
}

/* One block: the fields, and behind them what they point to. */
static struct gb_http_field *copy_fields(const struct gb_http_field *fields, size_t len,
                                         struct gb_error **err) {
    size_t bytes = len * sizeof *fields + 1;
    for (size_t i = 0; i < len; i++) {
        bytes += fields[i].name.len + fields[i].value.len;
    }
    struct gb_http_field *copy = gb_alloc(bytes, err);
    uint8_t *at = (uint8_t *)(copy + len);
    for (size_t i = 0; copy && i < len; i++) {
        memcpy(at, fields[i].name.ptr, fields[i].name.len);
        copy[i].name = gb_span_make(at, fields[i].name.len);
        at += fields[i].name.len;
        if (fields[i].value.len > 0) {
            memcpy(at, fields[i].value.ptr, fields[i].value.len);
        }
        copy[i].value = gb_span_make(at, fields[i].value.len);
        at += fields[i].value.len;
    }
    return copy;
}

static void take_trace(struct gb_exchange *x, const struct gb_http_head *head) {
    const struct gb_http_field *field = gb_http_find(head, "traceparent");
    struct gb_traceparent parent;
    struct gb_traceparent mine;
    uint8_t random[24] = {0};
    (void)gb_request_ids_random(&x->loop->ids, random, sizeof random, NULL);
    if (field && gb_traceparent_parse(field->value, &parent)) {
        gb_traceparent_child(&parent, random, &mine);
    } else {
        gb_traceparent_start(random, false, &mine);
    }
    gb_traceparent_format(&mine, x->traceparent);
}

void gb_exchange_take_id(struct gb_loop *l, const struct gb_http_head *head,
                         char ret_id[GB_REQUEST_ID_BYTES_MAX + 1]) {
    const struct gb_http_field *field = head ? gb_http_find(head, "x-request-id") : NULL;
    if (field && gb_request_id_valid(field->value)) {
        memcpy(ret_id, field->value.ptr, field->value.len);
        ret_id[field->value.len] = '\0';
    } else {
        (void)gb_request_id_make(&l->ids, ret_id, NULL);
    }
}

/* The head as the guest will see it, copied: the parser's goes with the next request. */
static bool take_request(struct gb_exchange *x, const struct gb_http_head *head,
                         struct gb_error **err) {
    size_t n = 0;
    struct gb_http_field *seen = gb_calloc(head->fields_len + 1, sizeof *seen, err);
    if (!seen) {
        return false;
    }
    for (size_t i = 0; i < head->fields_len; i++) {
        const struct gb_http_field *f = &head->fields[i];
        if (!gb_http_field_is_hop_by_hop(f->name) && !gb_http_name_is(f->name, "host") &&
            !gb_http_name_is(f->name, "traceparent")) {
            seen[n++] = *f;
        }
    }
    seen[n++] = (struct gb_http_field){gb_span_of("traceparent"), gb_span_of(x->traceparent)};
    x->request_fields = copy_fields(seen, n, err);
    gb_free(seen);
    if (!x->request_fields) {
        return false;
    }
    struct gb_span authority = head->authority.len > 0 ? head->authority : gb_span_of("localhost");
    size_t query = head->has_query ? head->query.len + 1 : 0;
    size_t bytes = head->method_text.len + authority.len + head->path_raw.len + query;
    x->request_line = gb_alloc(bytes + 1, err);
    if (!x->request_line) {
        return false;
    }
    uint8_t *at = x->request_line;
    const struct gb_span parts[] = {head->method_text, authority, head->path_raw,
                                    gb_span_make("?", head->has_query ? 1 : 0), head->query};
    for (size_t i = 0; i < GB_COUNT(parts); i++) {
        if (parts[i].len > 0) {
            memcpy(at, parts[i].ptr, parts[i].len);
            at += parts[i].len;
        }
    }
    uint8_t *path = x->request_line + head->method_text.len + authority.len;
    x->request = (struct gb_http_request){
        .method = gb_span_make(x->request_line, head->method_text.len),
        .scheme = gb_span_of(x->app->tls ? "https" : "http"),
        .authority = gb_span_make(x->request_line + head->method_text.len, authority.len),
        .path_with_query = gb_span_make(path, head->path_raw.len + query),
        .fields = x->request_fields,
        .fields_len = n,
    };
    return true;
}

static bool require_post(const struct gb_http_head *head, char ret_allow[GB_ROUTE_ALLOW_BYTES],
                         struct gb_error **err) {
    if (head->method == GB_HTTP_POST) {
        return true;
    }
    gb_route_allow_text(GB_HTTP_METHOD_BIT(GB_HTTP_POST), ret_allow);
    return gb_fail(err, GB_METHOD_NOT_ALLOWED, "a function is called by POST");
}

static bool find_route(struct gb_exchange *x, const struct gb_http_head *head,
                       char ret_allow[GB_ROUTE_ALLOW_BYTES], struct gb_error **err) {
    struct gb_route_match match;
    switch (gb_routes_match(x->tenant->routes, head->method, head->path, &match)) {
    case GB_ROUTE_FOUND:
        x->route = match.user;
        if (x->route->kind != GB_ROUTE_CALL) {
            return true;
        }
        x->function = gb_functions_find(x->route, match.tail);
        return x->function ? require_post(head, ret_allow, err)
                           : gb_fail(err, GB_NOT_FOUND, "no function is served under this path");
    case GB_ROUTE_METHOD:
        gb_route_allow_text(match.allowed, ret_allow);
        return gb_fail(err, GB_METHOD_NOT_ALLOWED, "this path does not take that method");
    case GB_ROUTE_NOT_FOUND:
        break;
    }
    return gb_fail(err, GB_NOT_FOUND, "nothing is served under this path");
}

static void count_tenant(struct gb_conn *c, struct gb_tenant *t) {
    if (c->tenant != t) {
        if (c->tenant) {
            atomic_fetch_sub(&c->tenant->connections, 1);
            gb_tenant_unref(c->tenant);
        }
        c->tenant = gb_tenant_ref(t);
        atomic_fetch_add(&t->connections, 1);
    }
}

static bool fill(struct gb_exchange *x, struct gb_conn *c, const struct gb_http_head *head,
                 struct gb_refusal *ret, struct gb_error **err) {
    struct gb_server *s = x->loop->server;
    const struct gb_manifest_http *http = &x->app->manifest->host.http;
    x->method = head->method;
    gb_exchange_take_id(x->loop, head, x->id);
    memcpy(ret->id, x->id, sizeof ret->id);
    take_trace(x, head);
    x->tenant = gb_app_identify(x->app, head, (const struct sockaddr *)&c->peer, err);
    if (!x->tenant) {
        return false;
    }
    struct gb_tenant *t = x->tenant->tenant;
    count_tenant(c, t);
    if (atomic_load(&t->connections) > http->connections_per_tenant) {
        return gb_fail(err, GB_OVERLOADED, "there are too many connections");
    }
    x->account = gb_account_ref(t->account);
    const struct gb_http_field *type = gb_http_find(head, "content-type");
    x->is_json = type && type->value.len >= 16 &&
                 strncasecmp((const char *)type->value.ptr, "application/json", 16) == 0;
    if (!gb_admit_rate(&s->admission, t, err) || !find_route(x, head, ret->allow, err)) {
        return false;
    }
    if (x->route->component) {
        x->limits = x->tenant->limits[x->route->component - x->app->components];
        uint64_t body_max = http->body_bytes;
        if (gb_answer_wants_whole_body(x)) {
            body_max = GB_MIN(body_max, x->limits.text_bytes);
        }
        if (!gb_h1_set_body_max(c->parser, body_max, err) ||
            (gb_answer_wants_whole_body(x) && !gb_admit_has_room(&s->admission, x, err))) {
            return false;
        }
    }
    return x->route->kind != GB_ROUTE_HTTP || take_request(x, head, err);
}

struct gb_exchange *gb_exchange_new(struct gb_conn *c, const struct gb_http_head *head,
                                    struct gb_refusal *ret, struct gb_error **err) {
    *ret = (struct gb_refusal){{0}, {0}};
    struct gb_exchange *x = gb_calloc(1, sizeof *x, err);
    if (!x) {
        return NULL;
    }
    atomic_init(&x->refs, 1);
    pthread_mutex_init(&x->lock, NULL);
    x->loop = c->loop;
    x->conn = c;
    x->app = gb_app_ref(c->loop->app);
    x->started_us = gb_now_us();
    gb_buf_init(&x->body, SIZE_MAX);
    gb_buf_init(&x->out, SIZE_MAX);
    x->begun = fill(x, c, head, ret, err);
    if (!x->begun) {
        x->conn = NULL;
        gb_observe_refused(x->loop->server, x, x->id, (*err)->code,
                           gb_problem_status((*err)->code, GB_PROBLEM_PLAIN));
        gb_exchange_unref(x);
        return NULL;
    }
    if (!gb_answer_wants_whole_body(x)) {
        gb_answer_admit(x);
    }
    return x;
}

/* ---- the request's body, on the loop's thread ---- */

/* Under the lock: room for more bytes behind the last, those that were read given up first. */
static bool make_room(struct gb_exchange *x, struct gb_buf *b, size_t *read, size_t more,
                      struct gb_error **err) {
    if (*read > 0) {
        memmove(b->ptr, b->ptr + *read, b->len - *read);
        b->len -= *read;
        *read = 0;
    }
    size_t need;
    if (!gb_add_size(b->len, more, &need) || need >= SIZE_MAX / 2) {
        return gb_fail(err, GB_PAYLOAD_TOO_LARGE, "the body is too large");
    }
    if (need + 1 <= b->cap) {
        return true;
    }
    size_t cap = GB_MAX(b->cap, BUFFER_BYTES_MIN);
    while (cap < need + 1) {
        cap *= 2;
    }
    uint64_t price = x->on_us ? 0 : cap - b->cap;
    if (!gb_charge(x->account, GB_CHARGE_OUTPUT, price, err)) {
        return false;
    }
    uint8_t *ptr = gb_realloc(b->ptr, cap, err);
    if (!ptr) {
        gb_uncharge(x->account, GB_CHARGE_OUTPUT, price);
        return false;
    }
    x->charged += price;
    b->ptr = ptr;
    b->cap = cap;
    return true;
}

bool gb_exchange_body(struct gb_exchange *x, struct gb_span bytes, bool *ret_full,
                      struct gb_error **err) {
    pthread_mutex_lock(&x->lock);
    bool ok = true;
    x->bytes_in += bytes.len;
    if (!x->gone && !x->over) {
        ok = make_room(x, &x->body, &x->body_read, bytes.len, err) &&
             gb_buf_append(&x->body, bytes.ptr, bytes.len, err);
        *ret_full = !gb_answer_wants_whole_body(x) &&
                    x->body.len - x->body_read >= GB_SERVE_BODY_BUFFER;
    }
    bool wake = x->guest_wants_body;
    x->guest_wants_body = false;
    pthread_mutex_unlock(&x->lock);
    if (wake && x->call) {
        gb_call_wake(x->call);
    }
    return ok;
}

bool gb_exchange_trailers(struct gb_exchange *x, const struct gb_http_field *fields, size_t len,
                          struct gb_error **err) {
    pthread_mutex_lock(&x->lock);
    x->trailers = copy_fields(fields, len, err);
    x->trailers_len = x->trailers ? len : 0;
    bool ok = x->trailers != NULL;
    pthread_mutex_unlock(&x->lock);
    return ok;
}

void gb_exchange_body_end(struct gb_exchange *x) {
    pthread_mutex_lock(&x->lock);
    x->body_end = true;
    bool wake = x->guest_wants_body;
    bool over = x->over;
    x->guest_wants_body = false;
    pthread_mutex_unlock(&x->lock);
    if (wake && x->call) {
        gb_call_wake(x->call);
    }
    if (gb_answer_wants_whole_body(x) && !over) {
        gb_answer_admit(x);
    }
}

/* ---- posts ---- */

void gb_exchange_post(struct gb_exchange *x, unsigned what) {
    gb_loop_post(x->loop, x, what);
}

/* ---- what the guest enters; on its call's thread ---- */

static enum gb_io on_request_body(void *user, uint8_t *to, size_t cap, size_t *ret_len) {
    struct gb_exchange *x = user;
    pthread_mutex_lock(&x->lock);
    size_t left = x->body.len - x->body_read;
    size_t n = GB_MIN(left, cap);
    enum gb_io io = n > 0           ? GB_IO_OK
                    : x->body_broken ? GB_IO_ERROR
                    : x->body_end    ? GB_IO_END
                                     : GB_IO_PENDING;
    if (n > 0) {
        memcpy(to, x->body.ptr + x->body_read, n);
        x->body_read += n;
        *ret_len = n;
    }
    x->guest_wants_body = io == GB_IO_PENDING;
    bool was_full = left >= GB_SERVE_BODY_BUFFER;
    pthread_mutex_unlock(&x->lock);
    if (was_full) {
        gb_exchange_post(x, GB_POST_FLUSH);
    }
    return io;
}

static void on_request_trailers(void *user, const struct gb_http_field **ret_fields,
                                size_t *ret_len) {
    struct gb_exchange *x = user;
    pthread_mutex_lock(&x->lock);
    *ret_fields = x->trailers;
    *ret_len = x->trailers_len;
    pthread_mutex_unlock(&x->lock);
}

static enum gb_io on_response_head(void *user, uint32_t status, const struct gb_http_field *fields,
                                   size_t fields_len) {
    struct gb_exchange *x = user;
    pthread_mutex_lock(&x->lock);
    bool ok = !x->gone && !x->has_head;
    if (ok) {
        x->head_fields = copy_fields(fields, fields_len, NULL);
        ok = x->head_fields != NULL;
    }
    if (ok) {
        x->status = status;
        x->head_len = fields_len;
        x->has_head = true;
    }
    pthread_mutex_unlock(&x->lock);
    if (ok) {
        gb_exchange_post(x, GB_POST_FLUSH);
    }
    return ok ? GB_IO_OK : GB_IO_ERROR;
}

static enum gb_io on_response_body(void *user, struct gb_span bytes, size_t *ret_taken) {
    struct gb_exchange *x = user;
    enum gb_io io = GB_IO_ERROR;
    pthread_mutex_lock(&x->lock);
    size_t left = x->out.len - x->out_read;
    size_t n = left < GB_SERVE_OUT_BUFFER ? GB_MIN(bytes.len, GB_SERVE_OUT_BUFFER - left) : 0;
    bool open = !x->gone && !x->out_end; /* ended: the host has answered in the guest's place */
    if (open && n == 0) {
        x->guest_wants_room = true;
        io = GB_IO_PENDING;
    } else if (open && make_room(x, &x->out, &x->out_read, n, NULL) &&
               gb_buf_append(&x->out, bytes.ptr, n, NULL)) {
        *ret_taken = n;
        io = GB_IO_OK;
    }
    pthread_mutex_unlock(&x->lock);
    if (io == GB_IO_OK) {
        gb_exchange_post(x, GB_POST_FLUSH);
    }
    return io;
}

static void on_response_end(void *user, const struct gb_http_field *trailers, size_t len) {
    struct gb_exchange *x = user;
    pthread_mutex_lock(&x->lock);
    if (len > 0 && !x->out_end) {
        x->out_trailers = copy_fields(trailers, len, NULL);
        x->out_trailers_len = x->out_trailers ? len : 0;
    }
    x->out_end = true;
    pthread_mutex_unlock(&x->lock);
    gb_exchange_post(x, GB_POST_FLUSH);
}

const struct gb_http_io gb_exchange_io = {
    .request_body = on_request_body,
    .request_trailers = on_request_trailers,
    .response_head = on_response_head,
    .response_body = on_response_body,
    .response_end = on_response_end,
};

/* ---- whole answers, on the loop's thread ---- */

static void forget_answer(struct gb_exchange *x) {
    gb_free(x->head_fields);
    x->head_fields = NULL;
    x->head_len = 0;
    x->out_trailers_len = 0;
    x->out.len = x->out_read = 0;
    x->has_head = x->out_end = false;
}

void gb_exchange_answer(struct gb_exchange *x, uint32_t status, const struct gb_http_field *fields,
                        size_t fields_len, struct gb_span body) {
    pthread_mutex_lock(&x->lock);
    if (!x->head_written) {
        forget_answer(x);
        x->status = status;
        x->head_fields = copy_fields(fields, fields_len, NULL);
        x->has_head = x->out_end = x->head_fields &&
                                   make_room(x, &x->out, &x->out_read, body.len, NULL) &&
                                   gb_buf_append(&x->out, body.ptr, body.len, NULL);
        x->head_len = x->has_head ? fields_len : 0;
    }
    x->body_broken = true; /* who still reads the request reads in vain */
    pthread_mutex_unlock(&x->lock);
    gb_exchange_post(x, GB_POST_FLUSH);
}

static void stop_waiting(struct gb_exchange *x) {
    if (x->waits) {
        x->waits = false;
        gb_admit_forget(&x->loop->server->admission, x);
    }
}

/* What a call of the system said of a path of ours, such as a folder that is gone, is neither the
 * client's fault nor its business. Takes the error. */
static struct gb_error *for_clients(const struct gb_exchange *x, struct gb_error *error) {
    bool ours = error->sys_errno != 0 &&
                (error->code == GB_NOT_FOUND || error->code == GB_PERMISSION_DENIED ||
                 error->code == GB_INVALID_ARGUMENT);
    struct gb_error *told = NULL;
    if (ours) {
        gb_log(GB_LOG_ERROR, "request %s: %s: %s", x->id, gb_code_text(error->code),
               error->message);
        gb_fail(&told, GB_IO, "the server could not read something it needs");
        gb_error_free(error);
    }
    return ours ? told : error;
}

void gb_exchange_fail(struct gb_exchange *x, struct gb_error *error) {
    struct gb_buf body;
    error = for_clients(x, error);
    unsigned retry_s = gb_problem_retry_after_s(error->code);
    x->code = error->code;
    gb_buf_init(&body, 64 * 1024);
    (void)gb_problem_write(error, gb_span_of(x->id), &body, NULL);
    const struct gb_http_field json = {gb_span_of("content-type"), gb_span_of("application/json")};
    const struct gb_app_component *component = x->route ? x->route->component : NULL;
    const struct gb_program *program = component ? component->program : NULL;
    program = x->function ? x->function->program : program;
    enum gb_problem_route kind =
        program && gb_program_uses_nn(program) ? GB_PROBLEM_MODEL : GB_PROBLEM_PLAIN;
    if (retry_s > 0) {
        snprintf(x->retry_after, sizeof x->retry_after, "%u", retry_s);
    }
    pthread_mutex_lock(&x->lock);
    x->on_us = true;
    pthread_mutex_unlock(&x->lock);
    gb_exchange_answer(x, gb_problem_status(error->code, kind), &json, 1, gb_buf_span(&body));
    gb_log(GB_LOG_DEBUG, "request %s: %s: %s", x->id, gb_code_text(error->code), error->message);
    gb_buf_fini(&body);
    gb_error_free(error);
    if (x->call) {
        gb_call_cancel(x->call, GB_CANCELLED);
    } else {
        x->over = true;
    }
    stop_waiting(x);
}

void gb_exchange_refuse_head(struct gb_exchange *x, struct gb_error *error) {
    pthread_mutex_lock(&x->lock);
    x->head_written = false;
    pthread_mutex_unlock(&x->lock);
    gb_exchange_fail(x, error);
}

void gb_exchange_leave(struct gb_exchange *x) {
    pthread_mutex_lock(&x->lock);
    bool complete = x->out_end;
    x->gone = true;
    x->body_broken = x->body_broken || !x->body_end;
    pthread_mutex_unlock(&x->lock);
    x->conn = NULL;
    stop_waiting(x);
    if (x->call && !complete) {
        gb_call_cancel(x->call, GB_CANCELLED);
    } else if (x->call) {
        gb_call_wake(x->call);
    }
}

uint64_t gb_exchange_deadline_us(const struct gb_exchange *x) {
    return x->waits ? x->started_us + x->limits.deadline_us : GB_NEVER;
}
