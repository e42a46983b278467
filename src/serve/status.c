/* SPDX-License-Identifier: Apache-2.0 */
/* What /-/status answers: the state of the server, its tenants and its models as JSON. */
#include <stdio.h>

#include "serve/observe.h"
#include "serve/serve_internal.h"

#define TENANTS_MAX 1000u
#define MODELS_MAX 1000u

static bool write_server(struct gb_server *s, struct gb_buf *out, struct gb_error **err) {
    struct gb_load load = gb_admit_load(&s->admission);
    char reason[sizeof s->reload_error];
    pthread_mutex_lock(&s->admission.lock);
    memcpy(reason, s->reload_error, sizeof reason);
    pthread_mutex_unlock(&s->admission.lock);
    if (!gb_buf_append_format(
            out, err,
            "{\"version\":\"%s\",\"uptime_us\":%llu,\"ready\":%s,\"draining\":%s,"
            "\"connections\":%llu,\"requests\":%llu,\"running\":%u,\"waiting\":%u,"
            "\"ledger_bytes\":%llu,\"ledger_peak_bytes\":%llu,\"reloads\":%llu,"
            "\"reloads_refused\":%llu,\"reload_error\":",
            GB_VERSION, (unsigned long long)(gb_now_us() - s->started_us),
            gb_server_is_ready(s) ? "true" : "false",
            atomic_load(&s->draining) ? "true" : "false",
            (unsigned long long)atomic_load(&s->connections),
            (unsigned long long)atomic_load(&s->requests), load.running, load.waiting,
            (unsigned long long)gb_account_used(s->account),
            (unsigned long long)gb_account_peak(s->account),
            (unsigned long long)atomic_load(&s->reloads),
            (unsigned long long)atomic_load(&s->reloads_refused))) {
        return false;
    }
    return reason[0] ? gb_problem_write_string(gb_span_of(reason), out, err)
                     : gb_buf_append_text(out, "null", err);
}

static bool write_tenant(struct gb_server *s, struct gb_tenant *t, bool first, struct gb_buf *out,
                         struct gb_error **err) {
    struct gb_load load = gb_admit_load_of(&s->admission, t);
    return gb_buf_append_text(out, first ? "{\"name\":" : ",{\"name\":", err) &&
           gb_problem_write_string(gb_span_of(t->name), out, err) &&
           gb_buf_append_format(
               out, err,
               ",\"requests\":%llu,\"running\":%u,\"waiting\":%u,\"connections\":%u,"
               "\"ledger_bytes\":%llu,\"ledger_peak_bytes\":%llu}",
               (unsigned long long)atomic_load(&t->observed.requests), load.running, load.waiting,
               atomic_load(&t->connections), (unsigned long long)gb_account_used(t->account),
               (unsigned long long)gb_account_peak(t->account));
}

static bool write_tenants(struct gb_server *s, const struct gb_app *app, struct gb_buf *out,
                          struct gb_error **err) {
    size_t all = app->manifest->tenants_len;
    bool ok = gb_buf_append_format(out, err, ",\"tenants_len\":%zu,\"tenants\":[", all);
    for (size_t i = 0; ok && i < GB_MIN(all, (size_t)TENANTS_MAX); i++) {
        ok = write_tenant(s, app->tenants[i].tenant, i == 0, out, err);
    }
    return ok && gb_buf_append_text(out, "]", err);
}

static bool write_model(const struct gb_model *m, bool first, struct gb_buf *out,
                        struct gb_error **err) {
    static const char *const states[] = {"known", "ready", "rejected"};
    const struct gb_model_info *info = gb_model_info(m);
    struct gb_model_stats stats = gb_model_stats(m);
    const char *state = info->state == GB_MODEL_STATE_READY && !stats.ready ? "restarting"
                                                                             : states[info->state];
    return gb_buf_append_text(out, first ? "{\"name\":" : ",{\"name\":", err) &&
           gb_problem_write_string(gb_span_of(info->name), out, err) &&
           gb_buf_append_format(
               out, err,
               ",\"digest\":\"%s\",\"backend\":\"%s\",\"placement\":\"%s\",\"state\":\"%s\","
               "\"code\":\"%s\",\"starts\":%llu,\"restarts\":%llu,\"deadline_kills\":%llu,"
               "\"load_us\":%llu,\"warm_us\":%llu,\"running\":%u,\"waiting\":%u}",
               info->digest, gb_backend_text(info->backend),
               info->placement == GB_PLACEMENT_INLINE ? "inline" : "worker", state,
               info->reason ? gb_code_text(info->reason->code) : "ok",
               (unsigned long long)stats.starts,
               (unsigned long long)(stats.starts > 0 ? stats.starts - 1 : 0),
               (unsigned long long)stats.kills, (unsigned long long)stats.load_us,
               (unsigned long long)info->warm_us, stats.running, stats.waiting);
}

bool gb_status_write(struct gb_server *s, struct gb_app *app, struct gb_buf *out,
                     struct gb_error **err) {
    bool ok = write_server(s, out, err) && write_tenants(s, app, out, err) &&
              gb_buf_append_text(out, ",\"models\":[", err);
    size_t models = GB_MIN(gb_registry_count(s->registry), (size_t)MODELS_MAX);
    for (size_t i = 0; ok && i < models; i++) {
        ok = write_model(gb_registry_at(s->registry, i), i == 0, out, err);
    }
    return ok && gb_buf_append_text(out, "]}\n", err);
}
