/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a manifest can say and nothing here does yet is refused, not ignored: a limit that is only
 * stored would be believed.
 */
#include "serve/serve_internal.h"

/* Always fails. of: "component \"edge\""; key: as it stands in the file. */
static bool later(const char *of, const char *name, const char *key, struct gb_error **err) {
    gb_fail(err, GB_UNSUPPORTED, "%s \"%s\" sets %s, which is not built into this version", of,
            name, key);
    return gb_hint(err, "Leave %s out.", key);
}

static bool check_host(const struct gb_manifest_host *h, struct gb_error **err) {
    if (h->otlp_endpoint) {
        gb_fail(err, GB_UNSUPPORTED, "sending traces to \"%s\" (host.otlp-endpoint) is not built "
                "into this version", h->otlp_endpoint);
        return gb_hint(err, "Leave otlp-endpoint out: the log has each request's trace_id.");
    }
    return true;
}

static bool check_model(const struct gb_manifest_model *m, struct gb_error **err) {
    const char *key = m->context > 0           ? "context"
                      : m->parallel > 0        ? "parallel"
                      : m->kv_budget_bytes > 0 ? "kv-budget"
                                               : NULL;
    return !key || later("model", m->name, key, err);
}

static bool check_tenant(const struct gb_manifest_tenant *t, struct gb_error **err) {
    return t->budgets.egress_bytes_per_minute == 0 ||
           later("tenant", t->name, "budgets.egress-bytes-per-minute", err);
}

static bool check_component(const struct gb_manifest_component *c, struct gb_error **err) {
    if (c->allowed_outbound_hosts.len > 0) {
        gb_fail(err, GB_UNSUPPORTED, "component \"%s\" may send requests to \"%s\" "
                "(allowed-outbound-hosts), which is not built into this version", c->name,
                c->allowed_outbound_hosts.items[0]);
        return gb_hint(err, "Write allowed-outbound-hosts = []: every request is refused.");
    }
    const char *key = c->key_value_stores.len > 0 ? "key-value-stores"
                      : c->variables.len > 0      ? "variables"
                                                  : NULL;
    return !key || later("component", c->name, key, err);
}

bool gb_check_served(const struct gb_manifest *m, struct gb_error **err) {
    if (m->routes_len == 0) { /* such as a file that is just being written */
        gb_fail(err, GB_MANIFEST_INVALID, "\"%s\" has no routes: nothing would be served", m->file);
        return gb_hint(err, "Add [[route]] with a path and a component or a static answer.");
    }
    bool ok = check_host(&m->host, err);
    for (size_t i = 0; ok && i < m->models_len; i++) {
        ok = check_model(&m->models[i], err);
    }
    for (size_t i = 0; ok && i < m->tenants_len; i++) {
        ok = check_tenant(&m->tenants[i], err);
    }
    for (size_t i = 0; ok && i < m->components_len; i++) {
        ok = check_component(&m->components[i], err);
    }
    return ok;
}
