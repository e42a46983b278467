/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How each kind of route answers: a guest that speaks HTTP, an agent from text to text, a fixed
 * text. All of it on the loop's thread; what the guests enter while they run is exchange.c's.
 */
#include <string.h>

#include <yyjson.h>

#include "base/log.h"
#include "serve/serve_internal.h"

bool gb_answer_wants_whole_body(const struct gb_exchange *x) {
    return x->route->kind == GB_ROUTE_AGENT || x->route->kind == GB_ROUTE_CALL;
}

/* ---- the end of a call ---- */

static const struct gb_http_field text_plain = {{(const uint8_t *)"content-type", 12},
                                                {(const uint8_t *)"text/plain; charset=utf-8", 25}};

static const struct gb_http_field json = {{(const uint8_t *)"content-type", 12},
                                          {(const uint8_t *)"application/json", 16}};

static void answer_value(struct gb_exchange *x, const struct gb_call_result *result) {
    struct gb_error *err = NULL;
    struct gb_buf out;
    gb_buf_init(&out, 8 * (size_t)GB_MIN(x->limits.text_bytes, GB_GIB)); /* as JSON it is longer */
    if (gb_functions_write(x, result, &out, &err)) {
        gb_exchange_answer(x, 200, &json, 1, gb_buf_span(&out));
    } else {
        gb_exchange_fail(x, err);
    }
    gb_buf_fini(&out);
}

static void on_done(void *user, struct gb_call_result *result) {
    struct gb_exchange *x = user;
    x->call = NULL;
    gb_observe_call(x, result);
    gb_admit_leave(&x->loop->server->admission, x, result->usage.inference_us);
    pthread_mutex_lock(&x->lock);
    bool settled = x->gone || x->head_written || (x->has_head && x->out_end);
    x->over = true;
    pthread_mutex_unlock(&x->lock);
    if (!settled && result->error) {
        gb_exchange_fail(x, result->error);
        result->error = NULL;
    } else if (!settled && x->route->kind == GB_ROUTE_AGENT) {
        gb_exchange_answer(x, 200, &text_plain, 1,
                           gb_span_make(result->text, result->text_bytes));
    } else if (!settled && x->route->kind == GB_ROUTE_CALL) {
        answer_value(x, result);
    }
    gb_call_result_fini(result);
    gb_exchange_post(x, GB_POST_FLUSH);
    gb_exchange_unref(x);
}

/* ---- starting ---- */

static bool begins_with_quote(struct gb_span text) {
    size_t at = 0;
    while (at < text.len && memchr(" \t\r\n", text.ptr[at], 4)) {
        at++;
    }
    return at < text.len && text.ptr[at] == '"';
}

/* An agent's argument: the body, or the text that it is a JSON string of. */
static bool read_argument(struct gb_exchange *x, struct gb_error **err) {
    x->spec.argument = gb_span_make(x->body.ptr, x->body.len);
    if (!x->is_json) {
        return true;
    }
    /* Only what begins as a string is read: a tree of values takes many times its text. */
    bool may_be = begins_with_quote(gb_span_make(x->body.ptr, x->body.len));
    yyjson_doc *doc =
        may_be ? yyjson_read_opts((char *)x->body.ptr, x->body.len, NULL, NULL) : NULL;
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool ok = yyjson_is_str(root);
    if (ok) { /* it is never longer than what it was written as */
        memcpy(x->body.ptr, yyjson_get_str(root), yyjson_get_len(root));
        x->spec.argument.len = yyjson_get_len(root);
    }
    yyjson_doc_free(doc);
    if (!ok) {
        gb_fail(err, GB_INVALID_ARGUMENT, "the body is not a JSON string");
        gb_hint(err, "An agent takes one text: \"…\", or content-type: text/plain.");
    }
    return ok;
}

static bool start_call(struct gb_exchange *x, struct gb_error **err) {
    struct gb_server *s = x->loop->server;
    struct gb_app_component *component = x->route->component;
    struct gb_tenant *t = x->tenant->tenant;
    uint64_t waited_us = gb_now_us() - x->started_us;
    if (waited_us >= x->limits.deadline_us) {
        return gb_fail(err, GB_DEADLINE_EXCEEDED,
                       "the request's deadline passed while it waited for its turn");
    }
    x->limits.deadline_us -= waited_us;
    x->call_us = gb_now_us();
    x->spec = (struct gb_call_spec){
        .program = component->program,
        .registry = s->registry,
        .account = t->account,
        .limits = &x->limits,
        .grants = &component->grants,
        .capabilities = gb_services_capabilities(t->services),
        .traceparent = x->traceparent,
        .id = x->id,
        .done = on_done,
        .user = x,
        .flow = t->flow,
    };
    if (x->route->kind == GB_ROUTE_HTTP) {
        x->io = gb_exchange_io;
        x->io.user = x;
        x->spec.http = &x->request;
        x->spec.io = &x->io;
    } else if (x->route->kind == GB_ROUTE_CALL) {
        x->spec.program = x->function->program;
        if (!gb_functions_read(x, err)) {
            return false;
        }
    } else if (!read_argument(x, err)) {
        return false;
    }
    gb_exchange_ref(x);
    x->call = gb_runner_call(x->loop->runner, &x->spec, err);
    if (!x->call) {
        gb_exchange_unref(x);
    }
    return x->call != NULL;
}

void gb_answer_start(struct gb_exchange *x) {
    struct gb_server *s = x->loop->server;
    struct gb_error *err = NULL;
    x->waits = false;
    pthread_mutex_lock(&x->lock);
    bool wanted = !x->gone && !x->over;
    pthread_mutex_unlock(&x->lock);
    if (wanted && start_call(x, &err)) {
        return;
    }
    gb_admit_leave(&s->admission, x, 0);
    if (wanted) {
        gb_exchange_fail(x, err);
    }
}

static void answer_static(struct gb_exchange *x) {
    const struct gb_manifest_static *a = &x->route->m->answer;
    x->over = true;
    gb_exchange_answer(x, a->status, x->route->static_fields, a->headers.len,
                       gb_span_make(a->body, a->body_len));
}

void gb_answer_admit(struct gb_exchange *x) {
    struct gb_error *err = NULL;
    if (x->route->kind == GB_ROUTE_STATIC) {
        answer_static(x);
        return;
    }
    switch (gb_admit(&x->loop->server->admission, x, &err)) {
    case GB_ADMITTED:
        gb_answer_start(x);
        break;
    case GB_ADMIT_WAITS:
        x->waits = true;
        break;
    case GB_ADMIT_REFUSED:
        gb_exchange_fail(x, err);
        break;
    }
}
