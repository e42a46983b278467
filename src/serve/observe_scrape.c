/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What /metrics answers: what was counted, beside what is looked up now (queues, ledger, workers,
 * caches), then the metrics of the guests. On the loop that has the admin listener.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "serve/observe.h"
#include "serve/serve_internal.h"

#define GUESTS_BYTES_MAX ((size_t)128 * 1024)
#define GUESTS_MAX 4096u

static void tell(struct gb_obs *obs, enum gb_obs_metric m, const char *const *labels, uint64_t n) {
    gb_obs_add(obs, m, labels, n);
}

static void tell_one(struct gb_obs *obs, enum gb_obs_metric m, uint64_t n) {
    gb_obs_clear(obs, m);
    gb_obs_add(obs, m, NULL, n);
}

/* ---- the server ---- */

static void tell_server(struct gb_server *s) {
    struct gb_obs *obs = s->observer.obs;
    const char *const version = GB_VERSION;
    const char *const ok = "ok", *const refused = "refused";
    gb_obs_clear(obs, GB_OBS_BUILD_INFO);
    tell(obs, GB_OBS_BUILD_INFO, &version, 1);
    tell_one(obs, GB_OBS_UPTIME, gb_now_us() - s->started_us);
    tell_one(obs, GB_OBS_READY, gb_server_is_ready(s) ? 1 : 0);
    gb_obs_clear(obs, GB_OBS_RELOADS);
    tell(obs, GB_OBS_RELOADS, &ok, atomic_load(&s->reloads));
    tell(obs, GB_OBS_RELOADS, &refused, atomic_load(&s->reloads_refused));
    tell_one(obs, GB_OBS_HTTP_CONNECTIONS, atomic_load(&s->connections));
    tell_one(obs, GB_OBS_HTTP_REFUSED, atomic_load(&s->connections_refused));
    tell_one(obs, GB_OBS_LEDGER_HOST, gb_account_used(s->account));
    struct gb_load load = gb_admit_load(&s->admission);
    tell_one(obs, GB_OBS_CALLS_RUNNING, load.running);
    tell_one(obs, GB_OBS_CALLS_WAITING, load.waiting);
    tell_one(obs, GB_OBS_CALLS_MAX, s->manifest->host.calls);
    struct gb_lines_totals lines = gb_lines_totals(s->observer.lines);
    const char *const written = "written", *const dropped = "dropped";
    gb_obs_clear(obs, GB_OBS_LOG_LINES);
    tell(obs, GB_OBS_LOG_LINES, &written, lines.written);
    tell(obs, GB_OBS_LOG_LINES, &dropped, lines.dropped);
}

static void tell_engines(struct gb_server *s) {
    struct gb_obs *obs = s->observer.obs;
    uint32_t threads = 0, waiting = 0;
    struct gb_sandbox_facts facts;
    gb_lanes_stats(s->lanes, &threads, &waiting);
    tell_one(obs, GB_OBS_LANES, threads);
    tell_one(obs, GB_OBS_LANES_WAITING, waiting);
    if (gb_sandbox_facts(s->sandbox, &facts, NULL)) {
        tell_one(obs, GB_OBS_POOLED, facts.pooling ? 1 : 0);
    }
    struct gb_cache_counts c = gb_sandbox_cache_counts(s->sandbox);
    const char *const names[] = {"hit", "miss", "damaged", "stored"};
    const uint64_t counts[] = {c.hits, c.misses, c.damaged, c.stored};
    gb_obs_clear(obs, GB_OBS_CACHE_LOADS);
    for (size_t i = 0; i < GB_COUNT(names); i++) {
        tell(obs, GB_OBS_CACHE_LOADS, &names[i], counts[i]);
    }
    gb_obs_clear(obs, GB_OBS_LOOP_CONNECTIONS);
    for (uint32_t i = 0; i < s->loops_len; i++) {
        char index[16];
        const char *const label = index;
        snprintf(index, sizeof index, "%u", i);
        tell(obs, GB_OBS_LOOP_CONNECTIONS, &label,
             atomic_load_explicit(&s->loops[i].conns_len, memory_order_relaxed));
    }
}

static void tell_models(struct gb_server *s) {
    struct gb_obs *obs = s->observer.obs;
    static const enum gb_obs_metric all[] = {GB_OBS_MODEL_STARTS, GB_OBS_MODEL_RESTARTS,
                                             GB_OBS_MODEL_KILLS,  GB_OBS_MODEL_READY,
                                             GB_OBS_MODEL_WAITING, GB_OBS_MODEL_RUNNING};
    for (size_t i = 0; i < GB_COUNT(all); i++) {
        gb_obs_clear(obs, all[i]);
    }
    for (size_t i = 0; i < gb_registry_count(s->registry); i++) {
        const struct gb_model *m = gb_registry_at(s->registry, i);
        const char *const *name = &gb_model_info(m)->name;
        struct gb_model_stats stats = gb_model_stats(m);
        tell(obs, GB_OBS_MODEL_STARTS, name, stats.starts);
        tell(obs, GB_OBS_MODEL_RESTARTS, name, stats.starts > 0 ? stats.starts - 1 : 0);
        tell(obs, GB_OBS_MODEL_KILLS, name, stats.kills);
        tell(obs, GB_OBS_MODEL_READY, name, stats.ready ? 1 : 0);
        tell(obs, GB_OBS_MODEL_WAITING, name, stats.waiting);
        tell(obs, GB_OBS_MODEL_RUNNING, name, stats.running);
    }
}

/* ---- tenants ---- */

static void tell_tenant(struct gb_server *s, struct gb_tenant *t) {
    struct gb_obs *obs = s->observer.obs;
    const char *name = gb_observe_name(t);
    struct gb_load load = gb_admit_load_of(&s->admission, t);
    struct gb_guest_log_totals log = gb_guest_log_totals(gb_services_log(t->services));
    tell(obs, GB_OBS_TENANT_RUNNING, &name, load.running);
    tell(obs, GB_OBS_TENANT_WAITING, &name, load.waiting);
    tell(obs, GB_OBS_TENANT_CONNECTIONS, &name, atomic_load(&t->connections));
    tell(obs, GB_OBS_LEDGER_TENANT_PEAK, &name, gb_account_peak(t->account));
    for (int i = 0; i < GB_CHARGE_COUNT; i++) {
        const char *const labels[] = {name, gb_charge_text((enum gb_charge)i)};
        tell(obs, GB_OBS_LEDGER_TENANT, labels,
             gb_account_used_for(t->account, (enum gb_charge)i));
    }
    const char *const written[] = {name, "written"};
    const char *const dropped[] = {name, "dropped"};
    tell(obs, GB_OBS_GUEST_LOG_LINES, written, log.written);
    tell(obs, GB_OBS_GUEST_LOG_LINES, dropped, log.dropped);
}

static void tell_tenants(struct gb_server *s, struct gb_app *app) {
    static const enum gb_obs_metric all[] = {
        GB_OBS_TENANT_RUNNING, GB_OBS_TENANT_WAITING,     GB_OBS_TENANT_CONNECTIONS,
        GB_OBS_LEDGER_TENANT,  GB_OBS_LEDGER_TENANT_PEAK, GB_OBS_GUEST_LOG_LINES};
    for (size_t i = 0; i < GB_COUNT(all); i++) {
        gb_obs_clear(s->observer.obs, all[i]);
    }
    for (size_t i = 0; i < app->manifest->tenants_len; i++) {
        tell_tenant(s, app->tenants[i].tenant);
    }
}

/* ---- guests ---- */

/* A guest's metric under the name that it has here. */
struct shown {
    char name[GB_METRICS_NAME_BYTES_MAX + 32];
    const char *tenant;
    struct gb_metric metric;
};
struct guests {
    struct shown *items;
    size_t len, left_out;
    const char *tenant;
};

static bool ends_with(const char *text, const char *end) {
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* Endings that mean something in the format are given to counters and kept from gauges. */
static const char *ending(const struct gb_metric *m) {
    if (!m->is_gauge) {
        return ends_with(m->name, "_total") ? "" : "_total";
    }
    bool reserved = ends_with(m->name, "_total") || ends_with(m->name, "_count") ||
                    ends_with(m->name, "_sum") || ends_with(m->name, "_bucket");
    return reserved ? "_value" : "";
}

static void add_guest(void *user, const struct gb_metric *m) {
    struct guests *g = user;
    if (g->len == GUESTS_MAX) {
        g->left_out++;
        return;
    }
    struct shown *item = &g->items[g->len++];
    item->tenant = g->tenant;
    item->metric = *m;
    snprintf(item->name, sizeof item->name, "glovebox_guest_%s%s", m->name, ending(m));
}

static int by_name(const void *a, const void *b) {
    const struct shown *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    order = order ? order : (int)x->metric.is_gauge - (int)y->metric.is_gauge;
    return order ? order : strcmp(x->tenant, y->tenant);
}

static bool write_guest(const struct shown *item, bool first, struct gb_buf *out) {
    const struct gb_metric *m = &item->metric;
    char value[40];
    if (!m->is_gauge) {
        snprintf(value, sizeof value, "%llu", (unsigned long long)m->count);
    } else if (isfinite(m->level)) {
        snprintf(value, sizeof value, "%.17g", m->level);
    } else {
        snprintf(value, sizeof value, "%s",
                 isnan(m->level) ? "NaN" : m->level > 0 ? "+Inf" : "-Inf");
    }
    if (first && !gb_buf_append_format(out, NULL, "# HELP %s A %s of guests.\n# TYPE %s %s\n",
                                       item->name, m->is_gauge ? "gauge" : "counter", item->name,
                                       m->is_gauge ? "gauge" : "counter")) {
        return false;
    }
    return gb_buf_append_format(out, NULL, "%s{tenant=\"", item->name) &&
           gb_obs_write_label(gb_span_of(item->tenant), out, NULL) &&
           gb_buf_append_format(out, NULL, "\"} %s\n", value);
}

/* Of the tenants that have a name; of one name and two kinds the first, as far as there is room. */
static void write_guests(struct guests *g, struct gb_buf *out) {
    qsort(g->items, g->len, sizeof *g->items, by_name);
    const struct shown *last = NULL; /* that was written */
    for (size_t i = 0; i < g->len; i++) {
        const struct shown *item = &g->items[i];
        bool same = last && strcmp(last->name, item->name) == 0;
        bool clash = same && (last->metric.is_gauge != item->metric.is_gauge ||
                              strcmp(last->tenant, item->tenant) == 0);
        size_t len = out->len;
        if (clash || !write_guest(item, !same, out)) {
            out->len = len; /* what does not fit is left out whole */
            g->left_out++;
            continue;
        }
        last = item;
    }
}

static bool collect_guests(struct gb_server *s, struct gb_app *app, struct gb_buf *out,
                           struct gb_error **err) {
    struct guests g = {.items = gb_alloc(GUESTS_MAX * sizeof *g.items, err)};
    if (!g.items) {
        return false;
    }
    for (size_t i = 0; i < app->manifest->tenants_len; i++) {
        struct gb_tenant *t = app->tenants[i].tenant;
        struct gb_metrics_totals totals;
        g.tenant = t->name;
        if (atomic_load(&t->observed.named)) {
            gb_metrics_each(gb_services_metrics(t->services), add_guest, &g, &totals);
        }
    }
    write_guests(&g, out);
    gb_free(g.items);
    tell_one(s->observer.obs, GB_OBS_GUEST_LEFT_OUT, g.left_out);
    return true;
}

bool gb_observe_scrape(struct gb_server *s, struct gb_app *app, struct gb_buf *out,
                       struct gb_error **err) {
    struct gb_buf guests;
    gb_buf_init(&guests, GUESTS_BYTES_MAX);
    gb_observe_loads(s);
    tell_server(s);
    tell_engines(s);
    tell_models(s);
    tell_tenants(s, app);
    bool ok = collect_guests(s, app, &guests, err) && gb_obs_write(s->observer.obs, out, err) &&
              gb_buf_append(out, guests.ptr, guests.len, err);
    gb_buf_fini(&guests);
    return ok;
}
