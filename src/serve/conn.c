/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection: one request after the other, in order. Its parser's events begin an exchange and
 * feed it; gb_conn_pump moves what the exchange has to the wire, turns to the next request, and
 * decides whether to read on. A client that leaves takes its exchange with it.
 *
 * Deadlines are absolute, from the moment a phase began; bytes that trickle in do not extend them.
 * Time in which we did not read, because the guest had to go first, does not count for the body.
 */
#include <string.h>

#include "base/log.h"
#include "serve/serve_internal.h"

#define LINGER_US 1000000u
#define LINGER_BYTES ((size_t)256 * 1024)
#define BODY_RATE_GRACE_US 5000000u

static const struct gb_manifest_http *http_of(const struct gb_conn *c) {
    return &c->loop->app->manifest->host.http;
}

/* ---- answers ---- */

static bool write_head(struct gb_conn *c, const struct gb_h1_response *r, struct gb_error **err) {
    c->response_us = gb_now_us();
    return gb_h1_write_head(&c->writer, r, &c->wire, err);
}

void gb_conn_answer(struct gb_conn *c, uint32_t status, const struct gb_http_field *fields,
                    size_t fields_len, struct gb_span body) {
    struct gb_h1_response r = {.status = status,
                               .host_fields = fields,
                               .host_fields_len = fields_len,
                               .date = c->loop->date,
                               .body = GB_H1_BODY_KNOWN,
                               .body_bytes = body.len,
                               .keep_alive = !c->close_after && !c->loop->draining};
    if (!write_head(c, &r, NULL) || !gb_h1_write_body(&c->writer, body, &c->wire, NULL) ||
        !gb_h1_write_end(&c->writer, NULL, 0, &c->wire, NULL)) {
        c->close_after = true;
    }
    c->answered = true;
    if (!c->admin) {
        atomic_fetch_add(&c->loop->server->answers[GB_MIN(status / 100, 5u)], 1);
    }
}

/* Takes the error. refusal: NULL where the head was not understood. */
static void answer_error(struct gb_conn *c, struct gb_error *error,
                         const struct gb_refusal *refusal) {
    struct gb_buf body;
    char made[GB_REQUEST_ID_BYTES_MAX + 1] = "";
    const char *id = refusal && refusal->id[0] ? refusal->id : made;
    char retry[12];
    struct gb_http_field fields[4] = {{gb_span_of("content-type"), gb_span_of("application/json")}};
    size_t n = 1;
    if (id == made) {
        gb_exchange_take_id(c->loop, NULL, made);
    }
    fields[n++] = (struct gb_http_field){gb_span_of("x-request-id"), gb_span_of(id)};
    unsigned retry_s = gb_problem_retry_after_s(error->code);
    if (retry_s > 0) {
        snprintf(retry, sizeof retry, "%u", retry_s);
        fields[n++] = (struct gb_http_field){gb_span_of("retry-after"), gb_span_of(retry)};
    }
    if (refusal && refusal->allow[0]) {
        fields[n++] = (struct gb_http_field){gb_span_of("allow"), gb_span_of(refusal->allow)};
    }
    gb_buf_init(&body, 16 * 1024);
    (void)gb_problem_write(error, gb_span_of(id), &body, NULL);
    uint32_t status = gb_problem_status(error->code, GB_PROBLEM_PLAIN);
    gb_conn_answer(c, status, fields, n, gb_buf_span(&body));
    if (!refusal && !c->admin) {
        gb_observe_refused(c->loop->server, NULL, id, error->code, status);
    }
    gb_log(GB_LOG_DEBUG, "request %s: %s: %s", id, gb_code_text(error->code), error->message);
    gb_buf_fini(&body);
    gb_error_free(error);
}

/* ---- events of the parser ---- */

static enum gb_h1_action on_head(void *user, const struct gb_http_head *head) {
    struct gb_conn *c = user;
    gb_h1_writer_init(&c->writer, head);
    c->phase = GB_CONN_BUSY;
    c->body_us = gb_now_us();
    bool has_body = head->chunked || head->content_length > 0;
    if (c->admin) {
        c->close_after = has_body;
        gb_admin_answer(c, head);
        return GB_H1_GO;
    }
    struct gb_error *err = NULL;
    struct gb_refusal refusal;
    atomic_fetch_add(&c->loop->server->requests, 1);
    c->exchange = gb_exchange_new(c, head, &refusal, &err);
    if (!c->exchange) {
        c->close_after = has_body; /* it is not worth reading */
        answer_error(c, err, &refusal);
        return GB_H1_GO;
    }
    if (head->expect_continue && has_body && !c->exchange->over) {
        struct gb_span go = gb_h1_continue();
        (void)gb_buf_append(&c->wire, go.ptr, go.len, NULL);
    }
    return GB_H1_GO;
}

static enum gb_h1_action on_body(void *user, struct gb_span bytes) {
    struct gb_conn *c = user;
    bool full = false;
    struct gb_error *err = NULL;
    if (c->exchange && !gb_exchange_body(c->exchange, bytes, &full, &err)) {
        c->close_after = true;
        gb_exchange_fail(c->exchange, err);
    }
    if (full && !c->body_full) {
        c->body_full = true;
        c->full_since_us = gb_now_us();
    }
    return full ? GB_H1_STOP : GB_H1_GO;
}

static enum gb_h1_action on_trailers(void *user, const struct gb_http_field *fields, size_t len) {
    struct gb_conn *c = user;
    struct gb_error *err = NULL;
    if (c->exchange && !gb_exchange_trailers(c->exchange, fields, len, &err)) {
        c->close_after = true;
        gb_exchange_fail(c->exchange, err);
    }
    return GB_H1_GO;
}

static void on_end(void *user) {
    struct gb_conn *c = user;
    c->body_done = true;
    if (c->exchange) {
        gb_exchange_body_end(c->exchange);
    }
}

static const struct gb_h1_events events = {on_head, on_body, on_trailers, on_end};

/* ---- beginning and end ---- */

bool gb_conn_begin(struct gb_conn *c, struct gb_error **err) {
    const struct gb_manifest_http *http = http_of(c);
    struct gb_h1_limits limits = gb_h1_limits_default();
    limits.target_bytes_max = (size_t)http->url_bytes;
    limits.head_bytes_max = (size_t)http->header_bytes;
    limits.fields_max = (size_t)http->headers;
    limits.body_bytes_max = http->body_bytes;
    limits.tls = c->loop->app->tls != NULL && !c->admin;
    c->parser = gb_h1_new(&limits, &events, c, err);
    c->open_us = gb_now_us();
    c->phase = GB_CONN_HANDSHAKE;
    if (!c->parser || (limits.tls && !gb_tls_begin(c, err))) {
        return false;
    }
    if (!c->ssl) {
        gb_conn_ready(c);
    }
    return true;
}

void gb_conn_ready(struct gb_conn *c) {
    c->phase = GB_CONN_HEAD; /* a client that connects has something to say */
    c->head_us = gb_now_us();
}

static void leave_exchange(struct gb_conn *c) {
    struct gb_exchange *x = c->exchange;
    c->exchange = NULL;
    if (x) {
        gb_exchange_leave(x);
        gb_exchange_unref(x);
    }
}

void gb_conn_end(struct gb_conn *c) {
    leave_exchange(c);
    gb_h1_free(c->parser);
    c->parser = NULL;
    gb_tls_end(c);
    if (c->tenant) {
        atomic_fetch_sub(&c->tenant->connections, 1);
        gb_tenant_unref(c->tenant);
        c->tenant = NULL;
    }
}

void gb_conn_on_eof(struct gb_conn *c) {
    /* In the middle of a request or of its answer: the client has left, and nobody else waits. */
    if (c->phase == GB_CONN_BUSY) {
        gb_log(GB_LOG_DEBUG, "a client left before its answer");
    }
    gb_conn_close(c);
}

/* ---- from the exchange to the wire ---- */

static bool has_length_field(const struct gb_exchange *x) {
    for (size_t i = 0; i < x->head_len; i++) {
        if (gb_http_name_is(x->head_fields[i].name, "content-length")) {
            return true;
        }
    }
    return false;
}

/* Under the exchange's lock. An answer that is all there has a length; else it is chunked. */
static bool send_head(struct gb_conn *c, struct gb_exchange *x, struct gb_error **err) {
    struct gb_http_field own[2] = {{gb_span_of("x-request-id"), gb_span_of(x->id)}};
    size_t n = 1;
    if (x->retry_after[0]) {
        own[n++] = (struct gb_http_field){gb_span_of("retry-after"), gb_span_of(x->retry_after)};
    }
    /* A guest's answer to HEAD need not have the body that its answer to GET would have. */
    bool whole = x->out_end && x->out_trailers_len == 0 && !has_length_field(x) &&
                 (!c->writer.is_head || x->route->kind == GB_ROUTE_STATIC);
    struct gb_h1_response r = {.status = x->status,
                               .fields = x->head_fields,
                               .fields_len = x->head_len,
                               .host_fields = own,
                               .host_fields_len = n,
                               .date = c->loop->date,
                               .body = whole ? GB_H1_BODY_KNOWN : GB_H1_BODY_STREAM,
                               .body_bytes = x->out.len - x->out_read,
                               .keep_alive = !c->close_after && !c->loop->draining};
    x->head_written = true;
    atomic_fetch_add(&c->loop->server->answers[GB_MIN(x->status / 100, 5u)], 1);
    return write_head(c, &r, err);
}

/* Under the exchange's lock; false: the answer cannot be completed, which the client must see. */
static bool send_body(struct gb_conn *c, struct gb_exchange *x) {
    struct gb_span rest = gb_span_make(x->out.ptr + x->out_read, x->out.len - x->out_read);
    if (rest.len > 0) {
        x->bytes_out += rest.len;
        bool ok = gb_h1_write_body(&c->writer, rest, &c->wire, NULL);
        x->out.len = x->out_read = 0;
        if (!ok) {
            return false;
        }
    }
    if (x->out_end && !c->writer.ended) {
        return gb_h1_write_end(&c->writer, x->out_trailers, x->out_trailers_len, &c->wire, NULL);
    }
    return true;
}

/* What the exchange has for the client, onto the wire; what it wants of us, noted. */
static void take_answer(struct gb_conn *c) {
    struct gb_exchange *x = c->exchange;
    struct gb_error *err = NULL;
    bool wake = false;
    bool broken = false;
    pthread_mutex_lock(&x->lock);
    if (!c->writing && x->has_head && !x->head_written && !send_head(c, x, &err)) {
        bool again = !x->head_refused;
        x->head_refused = true;
        pthread_mutex_unlock(&x->lock);
        if (again) {
            gb_exchange_refuse_head(x, err); /* the next look finds the problem instead */
        } else {
            gb_error_free(err);
            gb_conn_close(c); /* not even that can be written: there is no memory */
        }
        return;
    }
    if (!c->writing && x->head_written && !c->writer.ended) {
        broken = !send_body(c, x);
        wake = x->guest_wants_room;
        x->guest_wants_room = false;
    }
    bool lost = x->over && (!x->has_head || !x->out_end); /* its call ended too early */
    if (c->body_full && x->body.len - x->body_read < GB_SERVE_BODY_BUFFER) {
        c->body_full = false;
        c->paused_us += gb_now_us() - c->full_since_us;
    }
    bool over = x->over;
    pthread_mutex_unlock(&x->lock);
    if (wake && x->call) {
        gb_call_wake(x->call);
    }
    if (broken || lost) {
        gb_conn_send(c);
        gb_conn_close(c); /* the only way to say "incomplete" */
    } else if (c->writer.ended && (c->body_done || over)) {
        c->answered = true;
    }
}

/* ---- turns ---- */

static void linger(struct gb_conn *c) {
    c->phase = GB_CONN_LINGER;
    c->ahead.len = 0;
    c->input = gb_span_make(NULL, 0);
}

/* From an answered request to the next. */
static void turn(struct gb_conn *c) {
    bool keep = c->writer.keep_alive && !c->close_after && !c->loop->draining && c->body_done &&
                http_of(c)->keep_alive_us > 0 && gb_h1_next(c->parser);
    leave_exchange(c);
    c->answered = false;
    c->body_done = c->body_full = false;
    c->body_us = c->paused_us = 0;
    if (!keep) {
        linger(c);
        return;
    }
    c->phase = GB_CONN_IDLE;
    c->idle_us = gb_now_us();
    if (c->ahead.len == 0 && c->input.len == 0) {
        gb_h1_shrink(c->parser);
    }
}

void gb_conn_drain(struct gb_conn *c) {
    bool waits = c->phase == GB_CONN_IDLE ||
                 (c->phase == GB_CONN_HEAD && gb_h1_is_idle(c->parser));
    if (waits && gb_conn_has_unsent(c)) {
        linger(c); /* the end of its last answer is on its way */
        gb_conn_pump(c);
    } else if (waits || c->phase == GB_CONN_HANDSHAKE) {
        gb_conn_close(c);
    }
}

static void on_parse_error(struct gb_conn *c, struct gb_error *err) {
    c->close_after = true;
    if (c->answered) {
        gb_error_free(err); /* the head was refused already */
        return;
    }
    if (c->exchange) {
        gb_exchange_fail(c->exchange, err);
        return;
    }
    if (c->phase != GB_CONN_BUSY) {
        gb_h1_writer_init_broken(&c->writer);
        c->phase = GB_CONN_BUSY;
    }
    if (!c->writer.has_head) {
        answer_error(c, err, NULL);
    } else {
        gb_error_free(err);
        gb_conn_close(c);
    }
}

/* Parses what is there; true: something was done. */
static bool feed(struct gb_conn *c) {
    bool from_ahead = c->ahead.len > 0;
    struct gb_span bytes = from_ahead ? gb_buf_span(&c->ahead) : c->input;
    if (c->body_done || c->body_full || (bytes.len == 0 && !c->paused) ||
        c->phase == GB_CONN_LINGER || c->phase == GB_CONN_HANDSHAKE) {
        return false;
    }
    if (c->writing && c->phase != GB_CONN_BUSY) {
        return false; /* a head may be answered at once, on a wire that must not move now */
    }
    if (c->phase == GB_CONN_IDLE) {
        c->phase = GB_CONN_HEAD;
        c->head_us = gb_now_us();
    }
    struct gb_error *err = NULL;
    size_t consumed = 0;
    enum gb_h1_status status = gb_h1_feed(c->parser, bytes, &consumed, &err);
    if (from_ahead) {
        memmove(c->ahead.ptr, c->ahead.ptr + consumed, c->ahead.len - consumed);
        c->ahead.len -= consumed;
    } else if (consumed > 0) {
        c->input = gb_span_make(bytes.ptr + consumed, bytes.len - consumed);
    }
    c->paused = status == GB_H1_PAUSED;
    if (status == GB_H1_FAILED) {
        c->body_done = true; /* there is nothing more to read of it */
        on_parse_error(c, err);
    }
    return consumed > 0 || status != GB_H1_MORE;
}

/* What was read and cannot be parsed yet is kept, up to a limit. */
static void keep_input(struct gb_conn *c) {
    if (c->phase == GB_CONN_LINGER) {
        c->thrown_away += c->input.len;
    } else if (c->input.len > 0 &&
               !gb_buf_append(&c->ahead, c->input.ptr, c->input.len, NULL)) {
        gb_conn_close(c);
    }
    c->input = gb_span_make(NULL, 0);
}

static void decide_reading(struct gb_conn *c) {
    if (c->phase == GB_CONN_LINGER) {
        if (!gb_conn_has_unsent(c) && !c->said_bye) {
            c->said_bye = true;
            c->linger_us = gb_now_us();
            gb_conn_shutdown(c);
        }
        if (c->thrown_away > LINGER_BYTES) {
            gb_conn_close(c);
        }
    }
    gb_conn_read(c, !c->body_full && c->ahead.len < GB_SERVE_PIPELINE_BYTES);
}

void gb_conn_pump(struct gb_conn *c) {
    if (c->in_pump || c->closing) {
        return;
    }
    c->in_pump = true;
    while (!c->closing) {
        if (c->exchange && !c->answered) {
            take_answer(c);
        }
        if (c->closing) {
            break;
        }
        if (c->answered && !c->writing) {
            turn(c);
        } else if (!feed(c)) {
            break;
        }
        if (c->wire.len >= GB_SERVE_OUT_BUFFER) {
            gb_conn_send(c); /* answers of pipelined requests: no more than a client reads */
        }
    }
    c->in_pump = false;
    if (!c->closing) {
        keep_input(c);
        gb_conn_send(c);
    }
    if (!c->closing) {
        decide_reading(c);
        gb_conn_arm(c);
    }
    if (!c->closing && c->phase == GB_CONN_IDLE) {
        gb_conn_shrink(c);
    }
}

/* ---- time ---- */

static uint64_t body_deadline_us(const struct gb_conn *c) {
    const struct gb_manifest_http *http = http_of(c);
    if (c->body_us == 0 || c->body_done || c->body_full) {
        return GB_NEVER;
    }
    uint64_t from_us = c->body_us + c->paused_us;
    uint64_t until_us = from_us + http->body_us;
    if (http->body_rate_bytes > 0) {
        uint64_t owed_us = gb_h1_body_bytes(c->parser) / http->body_rate_bytes * 1000000;
        until_us = GB_MIN(until_us, from_us + BODY_RATE_GRACE_US + owed_us);
    }
    return until_us;
}

uint64_t gb_conn_deadline_us(const struct gb_conn *c) {
    const struct gb_manifest_http *http = http_of(c);
    switch (c->phase) {
    case GB_CONN_HANDSHAKE:
        return c->open_us + http->handshake_us;
    case GB_CONN_IDLE:
        return gb_conn_has_unsent(c) ? c->response_us + http->response_us
                                     : c->idle_us + http->keep_alive_us;
    case GB_CONN_HEAD:
        return c->head_us + http->header_us;
    case GB_CONN_LINGER: /* from when our side was shut: a slow reader gets all of the answer */
        return c->said_bye ? c->linger_us + LINGER_US : c->response_us + http->response_us;
    case GB_CONN_BUSY:
        break;
    }
    uint64_t until_us = GB_MIN(c->head_us + http->request_us, body_deadline_us(c));
    if (c->writer.has_head) {
        until_us = GB_MIN(until_us, c->response_us + http->response_us);
    }
    if (c->exchange) {
        until_us = GB_MIN(until_us, gb_exchange_deadline_us(c->exchange));
    }
    return until_us;
}

void gb_conn_on_timer(struct gb_conn *c) {
    struct gb_error *err = NULL;
    switch (c->phase) {
    case GB_CONN_HANDSHAKE:
    case GB_CONN_IDLE:
    case GB_CONN_LINGER:
        gb_conn_close(c);
        return;
    case GB_CONN_HEAD:
        if (gb_h1_is_idle(c->parser)) {
            gb_conn_close(c); /* it never began to speak */
            return;
        }
        if (c->writing) {
            gb_conn_close(c); /* it does not read either: and the wire must not change now */
            return;
        }
        gb_fail(&err, GB_REQUEST_TIMEOUT, "the head of the request did not arrive in time");
        on_parse_error(c, err);
        gb_conn_pump(c);
        return;
    case GB_CONN_BUSY:
        break;
    }
    if (!c->exchange || c->writer.has_head || c->writing) {
        gb_conn_close(c); /* half of an answer cannot be taken back; nobody reads another */
        return;
    }
    c->close_after = true;
    if (gb_now_us() >= gb_exchange_deadline_us(c->exchange)) {
        gb_fail(&err, GB_DEADLINE_EXCEEDED, "the request's deadline passed while it waited for "
                "its turn");
    } else if (c->body_done) {
        gb_fail(&err, GB_DEADLINE_EXCEEDED, "the request was not answered in time");
    } else {
        gb_fail(&err, GB_REQUEST_TIMEOUT, "the request did not arrive in time");
    }
    gb_exchange_fail(c->exchange, err);
    c->body_done = true;
    gb_conn_pump(c);
}
