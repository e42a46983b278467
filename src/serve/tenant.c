/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the calls of one tenant share: its account in the ledger, its share of the lanes, its
 * metrics and log, its place in the queue. It outlives a reload of the manifest.
 */
#include "serve/serve_internal.h"

struct gb_tenant *gb_tenant_new(struct gb_server *s, const struct gb_manifest *m,
                                const struct gb_manifest_tenant *t, struct gb_error **err) {
    struct gb_tenant *n = gb_calloc(1, sizeof *n, err);
    if (!n) {
        return NULL;
    }
    atomic_init(&n->refs, 1);
    struct gb_guest_log_options log = {.tenant = t->name,
                                       .level_min = gb_observe_guest_level(m->host.log),
                                       .sink = gb_observe_guest_line,
                                       .user = s};
    n->name = gb_strdup(t->name, err);
    n->account = n->name ? gb_account_new(t->name, s->account, t->budgets.memory_bytes, err) : NULL;
    n->flow = n->account ? gb_flow_new((uint32_t)t->weight, err) : NULL;
    n->services = n->flow ? gb_services_new(&log, err) : NULL;
    if (!n->services) {
        gb_tenant_unref(n);
        return NULL;
    }
    gb_observe_tenant(s, n);
    gb_tenant_configure(s, n, m, t);
    n->tokens = (double)n->burst;
    n->tokens_at_us = gb_now_us();
    return n;
}

void gb_tenant_configure(struct gb_server *s, struct gb_tenant *n, const struct gb_manifest *m,
                         const struct gb_manifest_tenant *t) {
    struct gb_manifest_limits limits = gb_manifest_limits_of(m, NULL, t);
    gb_account_set_max(n->account, t->budgets.memory_bytes);
    gb_flow_set_weight(n->flow, (uint32_t)t->weight);
    pthread_mutex_lock(&s->admission.lock);
    n->weight = (uint32_t)t->weight;
    n->requests_per_second = t->budgets.requests_per_second;
    n->burst = t->budgets.burst ? t->budgets.burst : n->requests_per_second;
    n->inference_us_max = t->budgets.inference_ms_per_minute * 1000;
    n->concurrency = (uint32_t)(limits.concurrency ? limits.concurrency : m->host.calls);
    n->queue_max = (uint32_t)limits.queue;
    pthread_mutex_unlock(&s->admission.lock);
}

struct gb_tenant *gb_tenant_ref(struct gb_tenant *t) {
    atomic_fetch_add(&t->refs, 1);
    return t;
}

void gb_tenant_unref(struct gb_tenant *t) {
    if (!t || atomic_fetch_sub(&t->refs, 1) != 1) {
        return;
    }
    gb_services_free(t->services);
    gb_flow_unref(t->flow);
    gb_account_unref(t->account);
    gb_free(t->name);
    gb_free(t);
}
