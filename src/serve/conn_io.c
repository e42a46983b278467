/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a connection: accepting, reading, writing, its timer, and its end. What the bytes
 * mean is conn.c's business; encryption goes in between.
 *
 * Ownership: a connection is freed when the last of its handles has closed.
 */
#include <string.h>

#include "base/log.h"
#include "serve/serve_internal.h"

#define KEEP_BYTES ((size_t)8 * 1024) /* of each buffer, while a connection lies idle */

static void on_closed(uv_handle_t *handle) {
    struct gb_conn *c = handle->data;
    if (--c->handles > 0) {
        return;
    }
    gb_buf_fini(&c->ahead);
    gb_buf_fini(&c->wire);
    gb_buf_fini(&c->records);
    gb_free(c);
}

void gb_conn_close(struct gb_conn *c) {
    if (c->closing) {
        return;
    }
    struct gb_loop *l = c->loop;
    c->closing = true;
    gb_conn_end(c);
    *(c->prev ? &c->prev->next : &l->conns) = c->next;
    if (c->next) {
        c->next->prev = c->prev;
    }
    l->conns_len--;
    if (c->counted) {
        atomic_fetch_sub(&l->server->connections, 1);
        gb_addresses_leave(&l->server->addresses, &c->peer);
    }
    uv_close((uv_handle_t *)&c->timer, on_closed);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    const struct gb_conn *c = handle->data;
    (void)suggested;
    *buf = uv_buf_init((char *)c->loop->read_buffer, (unsigned)GB_SERVE_READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct gb_conn *c = stream->data;
    if (n == 0 || c->closing) {
        return;
    }
    if (n < 0) {
        if (n == UV_EOF) {
            gb_conn_on_eof(c);
        } else {
            gb_conn_close(c);
        }
        return;
    }
    struct gb_loop *l = c->loop;
    l->in_round = true; /* one follows */
    if (c->ssl) {
        gb_tls_read(c, gb_span_make(buf->base, (size_t)n));
    } else {
        c->input = gb_span_make(buf->base, (size_t)n);
        gb_conn_pump(c);
        c->input = gb_span_make(NULL, 0);
    }
    gb_loop_round(l);
}

void gb_conn_read(struct gb_conn *c, bool on) {
    if (on == c->reading || c->closing) {
        return;
    }
    c->reading = on;
    if (!on) {
        uv_read_stop((uv_stream_t *)&c->tcp);
    } else if (uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) != 0) {
        gb_conn_close(c);
    }
}

/* ---- writing ---- */

static struct gb_buf *sending(struct gb_conn *c) {
    return c->ssl ? &c->records : &c->wire;
}

static void on_written(uv_write_t *request, int status) {
    struct gb_conn *c = request->data;
    c->writing = false;
    if (c->closing) {
        return;
    }
    if (status != 0) {
        gb_conn_close(c);
        return;
    }
    sending(c)->len = 0;
    c->sent = 0;
    gb_conn_pump(c);
}

static uv_buf_t unsent(struct gb_conn *c) {
    const struct gb_buf *b = sending(c);
    return uv_buf_init((char *)b->ptr + c->sent, (unsigned)(b->len - c->sent));
}

void gb_conn_send(struct gb_conn *c) {
    if (c->writing || c->closing) {
        return;
    }
    if (c->ssl && !gb_tls_seal(c)) {
        gb_conn_close(c);
        return;
    }
    uv_buf_t rest = unsent(c);
    if (rest.len == 0) {
        return;
    }
    int n = uv_try_write((uv_stream_t *)&c->tcp, &rest, 1);
    if (n < 0 && n != UV_EAGAIN) {
        gb_conn_close(c);
        return;
    }
    c->sent += n > 0 ? (size_t)n : 0;
    rest = unsent(c);
    if (rest.len == 0) {
        sending(c)->len = 0;
        c->sent = 0;
        return;
    }
    c->write.data = c;
    c->writing = uv_write(&c->write, (uv_stream_t *)&c->tcp, &rest, 1, on_written) == 0;
    if (!c->writing) {
        gb_conn_close(c);
    }
}

bool gb_conn_has_unsent(const struct gb_conn *c) {
    return c->writing || c->wire.len > 0 || c->records.len > 0;
}

static void on_shutdown(uv_shutdown_t *request, int status) {
    (void)request;
    (void)status; /* what follows is the peer's end, or the timer */
}

void gb_conn_shutdown(struct gb_conn *c) {
    if (c->ssl) {
        gb_tls_shutdown(c);
        if (c->closing) {
            return;
        }
    }
    if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown) != 0) {
        gb_conn_close(c);
    }
}

static void shrink(struct gb_buf *b) {
    if (b->len == 0 && b->cap > KEEP_BYTES) {
        size_t bytes_max = b->bytes_max;
        gb_buf_fini(b);
        gb_buf_init(b, bytes_max);
    }
}

void gb_conn_shrink(struct gb_conn *c) {
    if (!c->writing) {
        shrink(&c->wire);
        shrink(&c->records);
    }
    shrink(&c->ahead);
}

/* ---- the timer ---- */

static void on_timer(uv_timer_t *timer) {
    struct gb_conn *c = timer->data;
    c->armed_us = GB_NEVER;
    if (c->closing) {
        return;
    }
    if (gb_now_us() >= gb_conn_deadline_us(c)) {
        gb_conn_on_timer(c);
    }
    gb_conn_arm(c);
}

void gb_conn_arm(struct gb_conn *c) {
    uint64_t deadline_us = c->closing ? GB_NEVER : gb_conn_deadline_us(c);
    /* A shot that comes too early is harmless, and saves moving the timer twice a request. */
    if (deadline_us == GB_NEVER || deadline_us >= c->armed_us) {
        return;
    }
    c->armed_us = deadline_us;
    uint64_t now_us = gb_now_us();
    uint64_t delay_ms = deadline_us > now_us ? (deadline_us - now_us + 999) / 1000 : 0;
    uv_update_time(&c->loop->uv);
    uv_timer_start(&c->timer, on_timer, delay_ms, 0);
}

/* ---- accepting ---- */

static struct gb_conn *conn_new(struct gb_loop *l, bool admin) {
    struct gb_conn *c = gb_calloc(1, sizeof *c, NULL);
    if (!c) {
        return NULL;
    }
    c->loop = l;
    c->admin = admin;
    c->armed_us = GB_NEVER;
    c->tcp.data = c->timer.data = c;
    gb_buf_init(&c->ahead, GB_SERVE_PIPELINE_BYTES + GB_SERVE_READ_BYTES);
    gb_buf_init(&c->wire, SIZE_MAX);
    gb_buf_init(&c->records, SIZE_MAX);
    if (uv_tcp_init(&l->uv, &c->tcp) != 0) {
        gb_free(c);
        return NULL;
    }
    uv_timer_init(&l->uv, &c->timer);
    c->handles = 2;
    c->next = l->conns;
    if (c->next) {
        c->next->prev = c;
    }
    l->conns = c;
    l->conns_len++;
    return c;
}

/* Whether there is room for one more; says so to the client where there is not. */
static bool count(struct gb_conn *c) {
    static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n"
                               "connection: close\r\ncontent-length: 0\r\n\r\n";
    struct gb_server *s = c->loop->server;
    const struct gb_manifest_http *http = &c->loop->app->manifest->host.http;
    if (c->admin) {
        return true;
    }
    if (atomic_fetch_add(&s->connections, 1) < http->connections &&
        gb_addresses_enter(&s->addresses, &c->peer, http->connections_per_address)) {
        c->counted = true;
        return true;
    }
    atomic_fetch_sub(&s->connections, 1);
    atomic_fetch_add(&s->connections_refused, 1);
    uv_buf_t words = uv_buf_init((char *)(uintptr_t)busy, sizeof busy - 1);
    (void)uv_try_write((uv_stream_t *)&c->tcp, &words, 1);
    return false;
}

void gb_conn_accept(struct gb_loop *l, uv_stream_t *listener, bool admin) {
    struct gb_conn *c = conn_new(l, admin);
    if (!c) {
        /* libuv listens no more until this one is taken: gb_loop's next second tries again. */
        *(admin ? &l->admin_owed : &l->owed) = true;
        gb_log(GB_LOG_WARN, "no memory for a connection");
        return;
    }
    int len = sizeof c->peer;
    struct gb_error *err = NULL;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0 ||
        uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&c->peer, &len) != 0 || !count(c) ||
        !gb_conn_begin(c, &err)) {
        gb_error_free(err);
        gb_conn_close(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    gb_conn_pump(c);
}
