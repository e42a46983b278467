/* SPDX-License-Identifier: Apache-2.0 */
/* The admin listener: whether the server lives and is ready, its metrics, its state. GET only. */
#include <string.h>

#include "serve/serve_internal.h"

static const struct gb_http_field json = {{(const uint8_t *)"content-type", 12},
                                          {(const uint8_t *)"application/json", 16}};
static const struct gb_http_field text = {
    {(const uint8_t *)"content-type", 12},
    {(const uint8_t *)"text/plain; version=0.0.4; charset=utf-8", 40}};

static void answer_text(struct gb_conn *c, uint32_t status, const char *body) {
    gb_conn_answer(c, status, &json, 1, gb_span_of(body));
}

static void answer_status(struct gb_conn *c) {
    struct gb_buf out;
    gb_buf_init(&out, GB_MIB);
    bool ok = gb_status_write(c->loop->server, c->loop->app, &out, NULL);
    gb_conn_answer(c, ok ? 200 : 500, &json, 1, gb_buf_span(&out));
    gb_buf_fini(&out);
}

static void answer_metrics(struct gb_conn *c) {
    struct gb_buf out;
    gb_buf_init(&out, 2 * GB_OBS_SCRAPE_BYTES_MAX);
    bool ok = gb_observe_scrape(c->loop->server, c->loop->app, &out, NULL);
    gb_conn_answer(c, ok ? 200 : 500, &text, 1, gb_buf_span(&out));
    gb_buf_fini(&out);
}

void gb_admin_answer(struct gb_conn *c, const struct gb_http_head *head) {
    if (head->method != GB_HTTP_GET && head->method != GB_HTTP_HEAD) {
        answer_text(c, 405, "{\"error\":{\"code\":\"method-not-allowed\",\"message\":\"only "
                            "GET\"}}\n");
    } else if (gb_span_is(head->path, "/-/live")) {
        answer_text(c, 200, "{\"live\":true}\n");
    } else if (gb_span_is(head->path, "/-/ready")) {
        bool ready = gb_server_is_ready(c->loop->server);
        answer_text(c, ready ? 200 : 503, ready ? "{\"ready\":true}\n" : "{\"ready\":false}\n");
    } else if (gb_span_is(head->path, "/-/status")) {
        answer_status(c);
    } else if (gb_span_is(head->path, "/metrics")) {
        answer_metrics(c);
    } else {
        answer_text(c, 404, "{\"error\":{\"code\":\"not-found\",\"message\":\"here are /-/live, "
                            "/-/ready, /-/status and /metrics\"}}\n");
    }
}
