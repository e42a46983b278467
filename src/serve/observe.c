/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting what happens: requests and calls on their loops, inferences wherever they are polled;
 * and the line that each request leaves in the log. Neither paths nor queries nor bodies are told.
 */
#include "serve/observe.h"

#include <stdio.h>
#include <sys/time.h>
#include <time.h>

#include "base/log.h"
#include "serve/serve_internal.h"

#define LINE_BYTES 1024
#define US_PER_S 1000000u

/* ---- making ---- */

static void on_log_line(void *user, const char *line, size_t len) {
    gb_lines_put(user, gb_span_make(line, len));
}

bool gb_observe_init(struct gb_server *s, struct gb_error **err) {
    struct gb_observer *o = &s->observer;
    pthread_mutex_init(&o->lock, NULL);
    struct gb_lines_options lines = {
        .fd = STDERR_FILENO, .tick_us = GB_OBSERVE_BEAT_US, .tick = gb_observe_beat, .user = s};
    o->obs = gb_obs_new(err);
    o->lines = o->obs ? gb_lines_new(&lines, err) : NULL;
    if (o->lines) {
        gb_log_set_sink(on_log_line, o->lines); /* a full stderr blocks no loop */
    }
    return o->lines != NULL;
}

void gb_observe_stop(struct gb_server *s) {
    struct gb_observer *o = &s->observer;
    if (o->lines) {
        gb_lines_stop(o->lines);
    }
    gb_app_unref(o->app);
    o->app = NULL;
}

void gb_observe_fini(struct gb_server *s) {
    struct gb_observer *o = &s->observer;
    gb_log_set_sink(NULL, NULL);
    gb_lines_free(o->lines);
    gb_obs_free(o->obs);
    pthread_mutex_destroy(&o->lock);
}

void gb_observe_app(struct gb_server *s, struct gb_app *app) {
    struct gb_observer *o = &s->observer;
    gb_log_set_level((enum gb_log_level)app->manifest->host.log);
    pthread_mutex_lock(&o->lock);
    struct gb_app *before = o->app;
    o->app = gb_app_ref(app);
    pthread_mutex_unlock(&o->lock);
    gb_app_unref(before);
    gb_observe_rank(s); /* tenants of the new one are named at once */
}

/* ---- inferences: any thread ---- */

static bool is_of_input(enum gb_code code) {
    return code == GB_INPUT_SHAPE || code == GB_INPUT_TYPE || code == GB_INPUT_REJECTED;
}

static bool is_of_output(enum gb_code code) {
    return code == GB_OUTPUT_NOT_JSON || code == GB_OUTPUT_SCHEMA_VIOLATION;
}

const char *gb_observe_name(const struct gb_tenant *t) {
    return atomic_load_explicit(&t->observed.named, memory_order_relaxed) ? t->name : GB_OBS_OTHER;
}

static void on_inference(void *user, const struct gb_nn_inference *i) {
    struct gb_tenant *t = user;
    struct gb_obs *obs = t->observed.obs;
    const char *const labels[] = {gb_observe_name(t), i->model ? i->model : "none"};
    if (i->seen != GB_NN_SEEN_INPUT) {
        gb_obs_add(obs, GB_OBS_INFERENCE_REQUESTS, labels, 1);
    }
    if (i->seen == GB_NN_SEEN_END) {
        gb_obs_observe(obs, GB_OBS_INFERENCE_DURATION, labels, i->total_us);
    }
    if (is_of_input(i->code)) {
        const char *const reason[] = {labels[0], gb_code_text(i->code)};
        gb_obs_add(obs, GB_OBS_INPUT_REJECTED, reason, 1);
    } else if (is_of_output(i->code)) {
        gb_obs_add(obs, GB_OBS_OUTPUT_FAILED, labels, 1);
    }
}

void gb_observe_tenant(struct gb_server *s, struct gb_tenant *t) {
    t->observed.obs = s->observer.obs;
    gb_services_observe(t->services, on_inference, t);
}

/* ---- calls and requests: on their loop ---- */

/* The host ended it: a trap, or a limit that it hit. */
static bool is_trap(enum gb_code code) {
    int exit_status = gb_code_exit_status(code);
    return code == GB_GUEST_EXIT || exit_status == 102 || exit_status == 103;
}

void gb_observe_call(struct gb_exchange *x, const struct gb_call_result *r) {
    struct gb_obs *obs = x->loop->server->observer.obs;
    const struct gb_usage *u = &r->usage;
    uint64_t inference_us = u->inference_us + u->queue_us + u->crossing_us;
    x->code = r->error ? r->error->code : GB_OK;
    x->timings = (struct gb_timings){
        .queue_us = x->call_us - x->started_us + u->queue_us,
        .guest_us = u->wall_us - GB_MIN(u->wall_us, inference_us),
        .crossing_us = u->crossing_us,
        .native_us = u->inference_us,
    };
    gb_obs_observe(obs, GB_OBS_CALL_QUEUE, NULL, x->call_us - x->started_us);
    gb_obs_observe(obs, GB_OBS_CALL_START, NULL, u->instantiate_us);
    gb_obs_observe(obs, GB_OBS_CALL_GUEST, NULL, x->timings.guest_us);
    if (is_trap(x->code)) {
        const char *const labels[] = {gb_observe_name(x->tenant->tenant),
                                      u->model ? u->model : "none", gb_code_text(x->code)};
        gb_obs_add(obs, GB_OBS_INFERENCE_TRAPS, labels, 1);
    }
}

static const char *route_text(const struct gb_exchange *x) {
    if (!x || !x->route) {
        return "none";
    }
    switch (x->route->kind) {
    case GB_ROUTE_HTTP:
        return "http";
    case GB_ROUTE_AGENT:
        return "agent";
    case GB_ROUTE_CALL:
        return "call";
    case GB_ROUTE_STATIC:
        return "static";
    case GB_ROUTE_AUTO:
        break;
    }
    return "none";
}

static void count(struct gb_server *s, const struct gb_exchange *x, enum gb_code code,
                  uint32_t status, uint64_t total_us) {
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct gb_obs *obs = s->observer.obs;
    const char *class = classes[GB_MIN(status / 100, 5u)];
    const char *const labels[] = {route_text(x), class};
    gb_obs_add(obs, GB_OBS_HTTP_REQUESTS, labels, 1);
    gb_obs_observe(obs, GB_OBS_HTTP_DURATION, labels, total_us);
    if (code != GB_OK) {
        const char *const text = gb_code_text(code);
        gb_obs_add(obs, GB_OBS_HTTP_ERRORS, &text, 1);
    }
    if (x && x->tenant) {
        struct gb_tenant *t = x->tenant->tenant;
        const char *const tenant[] = {gb_observe_name(t), class};
        atomic_fetch_add_explicit(&t->observed.requests, 1, memory_order_relaxed);
        gb_obs_add(obs, GB_OBS_TENANT_REQUESTS, tenant, 1);
    }
}

/* ---- lines ---- */

size_t gb_observe_line_begin(char *line, size_t cap, const char *event) {
    struct timeval now;
    struct tm utc;
    char time[32];
    gettimeofday(&now, NULL);
    gmtime_r(&now.tv_sec, &utc);
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
    int n = snprintf(line, cap, "{\"time\":\"%s.%06uZ\",\"level\":\"info\",\"event\":\"%s\"", time,
                     (unsigned)now.tv_usec, event);
    return n > 0 ? (size_t)n : 0;
}

static void put_request(struct gb_server *s, const struct gb_exchange *x, const char *id,
                        enum gb_code code, uint32_t status, uint64_t total_us) {
    static const struct gb_timings none;
    if (gb_log_level() > GB_LOG_INFO) {
        return;
    }
    char line[LINE_BYTES];
    const struct gb_timings *t = x ? &x->timings : &none;
    size_t len = gb_observe_line_begin(line, sizeof line, "request");
    int n = snprintf(
        line + len, sizeof line - len,
        ",\"id\":\"%s\",\"trace_id\":\"%.32s\",\"tenant\":\"%s\",\"route\":\"%s\",\"kind\":\"%s\","
        "\"method\":\"%s\",\"status\":%u,\"code\":\"%s\",\"queue_us\":%llu,\"guest_us\":%llu,"
        "\"crossing_us\":%llu,\"native_us\":%llu,\"total_us\":%llu,\"bytes_in\":%llu,"
        "\"bytes_out\":%llu}\n",
        id, x && x->traceparent[0] ? x->traceparent + 3 : "",
        x && x->tenant ? x->tenant->tenant->name : "",
        x && x->route ? x->route->path_json : "", route_text(x),
        x ? gb_http_method_text(x->method) : "", status, code == GB_OK ? "ok" : gb_code_text(code),
        (unsigned long long)t->queue_us, (unsigned long long)t->guest_us,
        (unsigned long long)t->crossing_us, (unsigned long long)t->native_us,
        (unsigned long long)total_us, (unsigned long long)(x ? x->bytes_in : 0),
        (unsigned long long)(x ? x->bytes_out : 0));
    if (n > 0 && len + (size_t)n < sizeof line) {
        gb_lines_put(s->observer.lines, gb_span_make(line, len + (size_t)n));
    }
}

void gb_observe_refused(struct gb_server *s, const struct gb_exchange *x, const char *id,
                        enum gb_code code, uint32_t status) {
    uint64_t total_us = x ? gb_now_us() - x->started_us : 0;
    count(s, x, code, status, total_us);
    put_request(s, x, id, code, status, total_us);
}

void gb_observe_request(const struct gb_exchange *x) {
    struct gb_server *s = x->loop->server;
    uint64_t total_us = (x->left_us ? x->left_us : gb_now_us()) - x->started_us;
    /* Nobody was there to answer. */
    bool left = !x->head_written;
    uint32_t status = left ? (uint32_t)gb_code_http_status(GB_CANCELLED) : x->status;
    enum gb_code code = left && x->code == GB_OK ? GB_CANCELLED : x->code;
    count(s, x, code, status, total_us);
    if (x->bytes_in > 0) {
        gb_obs_add(s->observer.obs, GB_OBS_HTTP_RECEIVED, NULL, x->bytes_in);
    }
    if (x->bytes_out > 0) {
        gb_obs_add(s->observer.obs, GB_OBS_HTTP_SENT, NULL, x->bytes_out);
    }
    put_request(s, x, x->id, code, status, total_us);
}

void gb_observe_guest_line(void *user, enum gb_guest_log_level level, struct gb_span line) {
    struct gb_server *s = user;
    (void)level;
    if (gb_log_level() < GB_LOG_OFF) {
        gb_lines_put(s->observer.lines, line);
    }
}

enum gb_guest_log_level gb_observe_guest_level(uint32_t host_log) {
    switch ((enum gb_log_level)host_log) {
    case GB_LOG_DEBUG:
        return GB_GUEST_LOG_TRACE;
    case GB_LOG_INFO:
        return GB_GUEST_LOG_INFO;
    case GB_LOG_WARN:
        return GB_GUEST_LOG_WARN;
    case GB_LOG_ERROR:
    case GB_LOG_OFF:
        break;
    }
    return GB_GUEST_LOG_ERROR;
}
