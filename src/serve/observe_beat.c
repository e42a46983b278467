/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every ten seconds, on the log's thread: which tenants have a name of their own in the metrics,
 * which models were loaded again, and a line of aggregates.
 *
 * Named are the tenants with the most requests of late; who has a name keeps it against anybody
 * with less than twice as many. What was counted for one that loses its name becomes part of
 * "other", so sums over all tenants go on as they were.
 */
#include <stdio.h>

#include "base/log.h"
#include "serve/observe.h"
#include "serve/serve_internal.h"

#define LINE_BYTES 1024

/* ---- names ---- */

struct ranking {
    struct gb_tenant *best[GB_OBSERVE_TENANTS_MAX];
    size_t len;
};

static uint64_t weight(const struct gb_tenant *t) {
    uint64_t score = t->observed.score + 1;
    return atomic_load(&t->observed.named) ? 2 * score : score;
}

static void offer(struct ranking *r, struct gb_tenant *t) {
    if (r->len < GB_OBSERVE_TENANTS_MAX) {
        r->best[r->len++] = t;
        return;
    }
    size_t least = 0;
    for (size_t i = 1; i < r->len; i++) {
        least = weight(r->best[i]) < weight(r->best[least]) ? i : least;
    }
    if (weight(t) > weight(r->best[least])) {
        r->best[least] = t;
    }
}

static bool is_among(const struct ranking *r, const char *name) {
    for (size_t i = 0; i < r->len; i++) {
        if (strcmp(r->best[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Under the lock. Who still counted under its name when that was taken away is folded once more at
 * the next beat. */
static void rename_all(struct gb_observer *o, struct ranking *r) {
    for (size_t i = 0; i < GB_OBSERVE_TENANTS_MAX; i++) {
        if (o->leaving[i][0] && !is_among(r, o->leaving[i])) {
            gb_obs_fold_tenant(o->obs, o->leaving[i]);
        }
        o->leaving[i][0] = '\0';
    }
    size_t leaving = 0;
    for (size_t i = 0; i < o->app->manifest->tenants_len; i++) {
        struct gb_tenant *t = o->app->tenants[i].tenant;
        atomic_store(&t->observed.named, is_among(r, t->name));
    }
    for (size_t i = 0; i < GB_OBSERVE_TENANTS_MAX; i++) {
        if (o->named[i][0] && !is_among(r, o->named[i])) {
            gb_obs_fold_tenant(o->obs, o->named[i]);
            memcpy(o->leaving[leaving++], o->named[i], sizeof o->named[i]);
        }
    }
    for (size_t i = 0; i < GB_OBSERVE_TENANTS_MAX; i++) {
        snprintf(o->named[i], sizeof o->named[i], "%s", i < r->len ? r->best[i]->name : "");
    }
}

void gb_observe_rank(struct gb_server *s) {
    struct gb_observer *o = &s->observer;
    struct ranking r = {.len = 0};
    pthread_mutex_lock(&o->lock);
    for (size_t i = 0; o->app && i < o->app->manifest->tenants_len; i++) {
        struct gb_tenant *t = o->app->tenants[i].tenant;
        uint64_t requests = atomic_load(&t->observed.requests);
        t->observed.score = t->observed.score / 2 + (requests - t->observed.requests_before);
        t->observed.requests_before = requests;
        offer(&r, t);
    }
    if (o->app) {
        rename_all(o, &r);
    }
    pthread_mutex_unlock(&o->lock);
}

/* ---- models ---- */

/* Once for each load of each model, as soon as it is ready. */
void gb_observe_loads(struct gb_server *s) {
    struct gb_observer *o = &s->observer;
    pthread_mutex_lock(&o->lock);
    size_t n = GB_MIN(gb_registry_count(s->registry), (size_t)GB_OBSERVE_MODELS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct gb_model *m = gb_registry_at(s->registry, i);
        struct gb_model_stats stats = gb_model_stats(m);
        uint64_t loads = stats.inline_here ? 1 : stats.starts;
        if (stats.ready && loads > o->starts_seen[i]) {
            o->starts_seen[i] = loads;
            gb_obs_observe(o->obs, GB_OBS_MODEL_LOAD, &gb_model_info(m)->name, stats.load_us);
        }
    }
    pthread_mutex_unlock(&o->lock);
}

/* ---- the beat ---- */

static uint64_t since(uint64_t now, uint64_t *before) {
    uint64_t delta = now - *before;
    *before = now;
    return delta;
}

static void put_beat(struct gb_server *s) {
    struct gb_observer *o = &s->observer;
    uint64_t p50[GB_OBS_BUCKETS_MAX];
    char line[LINE_BYTES];
    memcpy(p50, o->beat_buckets, sizeof p50);
    struct gb_lines_totals lines = gb_lines_totals(o->lines);
    size_t len = gb_observe_line_begin(line, sizeof line, "heartbeat");
    struct gb_load load = gb_admit_load(&s->admission);
    int n = snprintf(
        line + len, sizeof line - len,
        ",\"seconds\":%u,\"requests\":%llu,\"errors_5xx\":%llu,\"inferences\":%llu,"
        "\"p50_us_max\":%llu,\"p99_us_max\":%llu,\"connections\":%llu,\"running\":%u,"
        "\"waiting\":%u,\"ledger_bytes\":%llu,\"log_dropped\":%llu,\"draining\":%s}\n",
        GB_OBSERVE_BEAT_US / 1000000,
        (unsigned long long)since(atomic_load(&s->requests), &o->beat_requests),
        (unsigned long long)since(atomic_load(&s->answers[5]), &o->beat_errors),
        (unsigned long long)since(gb_obs_total(o->obs, GB_OBS_INFERENCE_REQUESTS),
                                  &o->beat_inferences),
        (unsigned long long)gb_obs_quantile(o->obs, GB_OBS_HTTP_DURATION, 0.5, p50),
        (unsigned long long)gb_obs_quantile(o->obs, GB_OBS_HTTP_DURATION, 0.99, o->beat_buckets),
        (unsigned long long)atomic_load(&s->connections), load.running, load.waiting,
        (unsigned long long)gb_account_used(s->account), (unsigned long long)lines.dropped,
        atomic_load(&s->draining) ? "true" : "false");
    if (n > 0 && len + (size_t)n < sizeof line && gb_log_level() <= GB_LOG_INFO) {
        gb_lines_put(o->lines, gb_span_make(line, len + (size_t)n));
    }
}

void gb_observe_beat(void *user) {
    struct gb_server *s = user;
    if (!atomic_load(&s->ready)) {
        return; /* it is still being made */
    }
    gb_observe_rank(s);
    gb_observe_loads(s);
    put_beat(s);
}
