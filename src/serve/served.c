/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a manifest can say and nothing here does yet is refused, not ignored: a limit that is only
 * stored would be believed.
 */
#include "serve/serve_internal.h"

/* Always fails. of: "component"; key: as it stands in the file. */
static bool later(const struct gb_manifest *m, const struct gb_origin *at, const char *of,
                  const char *name, const char *key, struct gb_error **err) {
    gb_fail(err, GB_UNSUPPORTED,
            "%s:%u:%u: %s \"%s\" sets %s, which is not built into this version", m->file, at->line,
            at->column, of, name, key);
    return gb_hint(err, "Leave %s out.", key);
}

static const char *key_of_model(const struct gb_manifest_model *m) {
    return m->context > 0           ? "context"
           : m->parallel > 0        ? "parallel"
           : m->kv_budget_bytes > 0 ? "kv-budget"
                                    : NULL;
}

static const char *key_of_component(const struct gb_manifest_component *c) {
    return c->allowed_outbound_hosts.len > 0 ? "allowed-outbound-hosts"
           : c->key_value_stores.len > 0     ? "key-value-stores"
           : c->variables.len > 0            ? "variables"
                                             : NULL;
}

bool gb_check_served(const struct gb_manifest *m, struct gb_error **err) {
    if (m->host.otlp_endpoint) {
        gb_fail(err, GB_UNSUPPORTED, "%s: host.otlp-endpoint is not built into this version",
                m->file);
        return gb_hint(err, "Leave otlp-endpoint out: the log has each request's trace_id.");
    }
    for (size_t i = 0; i < m->models_len; i++) {
        const char *key = key_of_model(&m->models[i]);
        if (key) {
            return later(m, &m->models[i].at, "model", m->models[i].name, key, err);
        }
    }
    for (size_t i = 0; i < m->tenants_len; i++) {
        const struct gb_manifest_tenant *t = &m->tenants[i];
        if (t->budgets.egress_bytes_per_minute > 0) {
            return later(m, &t->at, "tenant", t->name, "budgets.egress-bytes-per-minute", err);
        }
    }
    for (size_t i = 0; i < m->components_len; i++) {
        const char *key = key_of_component(&m->components[i]);
        if (key) {
            return later(m, &m->components[i].at, "component", m->components[i].name, key, err);
        }
    }
    if (m->routes_len == 0) { /* such as a file that is just being written */
        gb_fail(err, GB_MANIFEST_INVALID, "%s: there are no routes: nothing would be served",
                m->file);
        return gb_hint(err, "Add [[route]] with a path and a component or a static answer.");
    }
    return true;
}
