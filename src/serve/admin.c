/* SPDX-License-Identifier: Apache-2.0 */
/* The admin listener: whether the server lives and is ready, its metrics, its state. GET only. */
#include <string.h>

#include "serve/serve_internal.h"

static const struct gb_http_field json = {{(const uint8_t *)"content-type", 12},
                                          {(const uint8_t *)"application/json", 16}};
static const struct gb_http_field text = {
    {(const uint8_t *)"content-type", 12},
    {(const uint8_t *)"text/plain; version=0.0.4; charset=utf-8", 40}};

static bool is(const struct gb_http_head *head, const char *path) {
    return head->path.len == strlen(path) && memcmp(head->path.ptr, path, head->path.len) == 0;
}

static void answer_text(struct gb_conn *c, uint32_t status, const char *body) {
    gb_conn_answer(c, status, &json, 1, gb_span_of(body));
}

static void answer_status(struct gb_conn *c) {
    struct gb_server *s = c->loop->server;
    struct gb_buf out;
    gb_buf_init(&out, GB_MIB);
    pthread_mutex_lock(&s->admission.lock);
    bool ok = gb_buf_append_format(
        &out, NULL,
        "{\"uptime_us\":%llu,\"draining\":%s,\"connections\":%llu,\"requests\":%llu,"
        "\"running\":%u,\"ledger_bytes\":%llu,\"reloads\":%llu,\"reloads_refused\":%llu}\n",
        (unsigned long long)(gb_now_us() - s->started_us),
        atomic_load(&s->draining) ? "true" : "false",
        (unsigned long long)atomic_load(&s->connections),
        (unsigned long long)atomic_load(&s->requests), s->admission.running,
        (unsigned long long)gb_account_used(s->account),
        (unsigned long long)atomic_load(&s->reloads),
        (unsigned long long)atomic_load(&s->reloads_refused));
    pthread_mutex_unlock(&s->admission.lock);
    gb_conn_answer(c, ok ? 200 : 500, &json, 1, gb_buf_span(&out));
    gb_buf_fini(&out);
}

static void answer_metrics(struct gb_conn *c) {
    struct gb_server *s = c->loop->server;
    struct gb_buf out;
    gb_buf_init(&out, GB_MIB);
    bool ok = gb_buf_append_format(
        &out, NULL,
        "# HELP glovebox_http_connections Open connections.\n"
        "# TYPE glovebox_http_connections gauge\nglovebox_http_connections %llu\n"
        "# HELP glovebox_http_responses_total Responses by class of status.\n"
        "# TYPE glovebox_http_responses_total counter\n",
        (unsigned long long)atomic_load(&s->connections));
    for (unsigned i = 2; ok && i < GB_COUNT(s->answers); i++) {
        ok = gb_buf_append_format(&out, NULL,
                                  "glovebox_http_responses_total{class=\"%uxx\"} %llu\n", i,
                                  (unsigned long long)atomic_load(&s->answers[i]));
    }
    gb_conn_answer(c, ok ? 200 : 500, &text, 1, gb_buf_span(&out));
    gb_buf_fini(&out);
}

void gb_admin_answer(struct gb_conn *c, const struct gb_http_head *head) {
    if (head->method != GB_HTTP_GET && head->method != GB_HTTP_HEAD) {
        answer_text(c, 405, "{\"error\":{\"code\":\"method-not-allowed\",\"message\":\"only "
                            "GET\"}}\n");
    } else if (is(head, "/-/live")) {
        answer_text(c, 200, "{\"live\":true}\n");
    } else if (is(head, "/-/ready")) {
        bool ready = !atomic_load(&c->loop->server->draining);
        answer_text(c, ready ? 200 : 503, ready ? "{\"ready\":true}\n" : "{\"ready\":false}\n");
    } else if (is(head, "/-/status")) {
        answer_status(c);
    } else if (is(head, "/metrics")) {
        answer_metrics(c);
    } else {
        answer_text(c, 404, "{\"error\":{\"code\":\"not-found\",\"message\":\"here are /-/live, "
                            "/-/ready, /-/status and /metrics\"}}\n");
    }
}
