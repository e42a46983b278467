/* SPDX-License-Identifier: Apache-2.0 */
/* glovebox.toml: its tables, each by the rows of settings.def. */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "manifest/manifest_internal.h"

static bool no_more(struct gb_reader *r, const struct gb_node *n, void *user) {
    (void)r;
    (void)n;
    (void)user;
    return true;
}

/* ---- [host] and [limits] ---- */

static bool proxies(struct gb_reader *r, struct gb_manifest_host *h) {
    struct gb_cidr *ranges = gb_reader_alloc(r, h->trusted_proxies.len, sizeof *ranges);
    for (size_t i = 0; ranges && i < h->trusted_proxies.len; i++) {
        (void)gb_form_cidr(gb_span_of(h->trusted_proxies.items[i]), &ranges[i]);
    }
    h->trusted_proxy_ranges = ranges;
    return ranges != NULL;
}

static bool set_override(struct gb_reader *r, const struct gb_manifest_override *o,
                         struct gb_object *objects) {
    static const char *const prefixes[] = {"host.", "limits."};
    struct gb_origin origin = {.kind = GB_ORIGIN_FLAG,
                               .from = gb_reader_copy(r, gb_span_of(o->flag))};
    if (!origin.from) {
        return false;
    }
    for (size_t i = 0; i < GB_COUNT(prefixes); i++) {
        size_t prefix = strlen(prefixes[i]);
        size_t len;
        const struct gb_setting *rows = gb_settings_of(objects[i].table, &len);
        for (size_t k = 0; strncmp(o->key, prefixes[i], prefix) == 0 && k < len; k++) {
            if (strcmp(rows[k].key, o->key + prefix) == 0) {
                bool ok;
                return gb_setting_set_text(r, &objects[i], &rows[k], gb_span_of(o->value),
                                           &origin, &ok);
            }
        }
    }
    gb_note(r, &origin, GB_USAGE_ERROR, "there is no setting \"%s\"", o->key);
    gb_note_hint(r, "Name one of [host] or [limits], as in host.listen.");
    return true;
}

/* Defaults, then the file's values, then those given elsewhere. */
static bool read_host(struct gb_reader *r, const struct gb_node *host,
                      const struct gb_node *limits) {
    static const char *const more[] = {"tls", "http"};
    struct gb_manifest *m = r->m;
    struct gb_object objects[] = {
        {.table = GB_TABLE_HOST, .fields = &m->host, .more = more, .more_len = GB_COUNT(more),
         .origins = gb_origins_new(r, GB_TABLE_HOST), .other = no_more},
        {.table = GB_TABLE_LIMITS, .fields = &m->limits,
         .origins = gb_origins_new(r, GB_TABLE_LIMITS), .other = no_more},
    };
    const struct gb_node *nodes[] = {host, limits};
    const char *const examples[] = {"[host]", "[limits]"};
    for (size_t i = 0; i < GB_COUNT(objects); i++) {
        if (!objects[i].origins || !gb_object_defaults(r, &objects[i])) {
            return false;
        }
        if (nodes[i] && gb_node_is_table(r, nodes[i], examples[i]) &&
            !gb_object_read(r, &objects[i], nodes[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < r->options->overrides_len; i++) {
        if (!set_override(r, &r->options->overrides[i], objects)) {
            return false;
        }
    }
    m->host.origins = objects[0].origins;
    m->limits.origins = objects[1].origins;
    m->limits.given = objects[1].given;
    return proxies(r, &m->host);
}

bool gb_read_host_defaults(struct gb_reader *r) {
    return read_host(r, NULL, NULL);
}

/* The limits of a tenant or a component: what is not written stays with [limits]. */
static bool read_limits(struct gb_reader *r, const struct gb_node *n,
                        struct gb_manifest_limits *ret_limits) {
    struct gb_manifest_limits limits = {.origins = ret_limits->origins};
    struct gb_object o = {.table = GB_TABLE_LIMITS,
                          .fields = &limits,
                          .origins = gb_origins_new(r, GB_TABLE_LIMITS),
                          .other = no_more};
    if (!o.origins) {
        return false;
    }
    if (gb_node_is_table(r, n, "limits = { memory = \"64MiB\" }") && !gb_object_read(r, &o, n)) {
        return false;
    }
    const struct gb_node *stack = gb_node_get(n, "stack");
    if (stack) {
        gb_note_node(r, stack, "\"stack\" is the same for every call");
        gb_note_hint(r, "Write stack = \"512KiB\" in [limits].");
    }
    limits.origins = o.origins;
    limits.given = o.given;
    *ret_limits = limits;
    return true;
}

static bool empty_limits(struct gb_reader *r, struct gb_manifest_limits *limits) {
    limits->origins = gb_origins_new(r, GB_TABLE_LIMITS);
    return limits->origins != NULL;
}

/* ---- [model.NAME] ---- */

static bool read_model(struct gb_reader *r, const struct gb_node *n,
                       struct gb_manifest_model *model) {
    struct gb_object o = {.table = GB_TABLE_MODEL,
                          .fields = model,
                          .origins = gb_origins_new(r, GB_TABLE_MODEL),
                          .at = &model->at,
                          .other = no_more};
    if (!o.origins || !gb_object_defaults(r, &o) || !gb_object_read(r, &o, n)) {
        return false;
    }
    model->origins = o.origins;
    const struct gb_node *batch = gb_node_get(n, "max-batch");
    if (batch && model->max_batch > 1) {
        gb_note_unsupported(r, batch, "batching is not built into this version");
        gb_note_hint(r, "Write max-batch = 1, or leave it out.");
    }
    return true;
}

/* ---- [tenant.NAME] ---- */

static bool read_budgets(struct gb_reader *r, const struct gb_node *n,
                         struct gb_manifest_budgets *budgets) {
    struct gb_object o = {.table = GB_TABLE_BUDGETS,
                          .fields = budgets,
                          .origins = gb_origins_new(r, GB_TABLE_BUDGETS),
                          .other = no_more};
    if (!o.origins || !gb_object_defaults(r, &o)) {
        return false;
    }
    budgets->origins = o.origins;
    if (!n) {
        return true;
    }
    if (gb_node_is_table(r, n, "budgets = { memory = \"256MiB\" }") && !gb_object_read(r, &o, n)) {
        return false;
    }
    const struct gb_node *tokens = gb_node_get(n, "tokens-per-minute");
    if (tokens && budgets->tokens_per_minute > 0) {
        gb_note_unsupported(r, tokens, "no engine for language models is built into this version, "
                                       "so no tokens are counted");
        gb_note_hint(r, "Leave tokens-per-minute out.");
    }
    return true;
}

static bool tenant_more(struct gb_reader *r, const struct gb_node *n, void *user) {
    struct gb_manifest_tenant *t = user;
    if (gb_span_is(n->key_span, "limits")) {
        return read_limits(r, n, &t->limits);
    }
    if (gb_span_is(n->key_span, "budgets")) {
        return read_budgets(r, n, &t->budgets);
    }
    gb_note_unsupported(r, n, "client certificates are not built into this version");
    gb_note_hint(r, "Name the tenant by key-sha256, hosts or proxy-name.");
    return true;
}

static uint8_t hex_value(char c) {
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static bool read_keys(struct gb_reader *r, struct gb_manifest_tenant *t) {
    uint8_t(*keys)[32] = gb_reader_alloc(r, t->key_sha256.len, sizeof *keys);
    if (!keys) {
        return false;
    }
    for (size_t i = 0; i < t->key_sha256.len; i++) {
        const char *hex = t->key_sha256.items[i];
        for (size_t k = 0; k < 32; k++) {
            keys[i][k] = (uint8_t)(hex_value(hex[2 * k]) << 4 | hex_value(hex[2 * k + 1]));
        }
    }
    t->keys = (const uint8_t(*)[32])keys;
    t->keys_len = t->key_sha256.len;
    return true;
}

static bool read_tenant(struct gb_reader *r, const struct gb_node *n,
                        struct gb_manifest_tenant *tenant) {
    static const char *const more[] = {"limits", "budgets", "mtls-subject"};
    struct gb_object o = {.table = GB_TABLE_TENANT,
                          .fields = tenant,
                          .origins = gb_origins_new(r, GB_TABLE_TENANT),
                          .at = &tenant->at,
                          .more = more,
                          .more_len = GB_COUNT(more),
                          .other = tenant_more,
                          .user = tenant};
    if (!o.origins || !gb_object_defaults(r, &o) || !empty_limits(r, &tenant->limits) ||
        !read_budgets(r, NULL, &tenant->budgets) || !gb_object_read(r, &o, n)) {
        return false;
    }
    tenant->origins = o.origins;
    return read_keys(r, tenant);
}

bool gb_tenant_default(struct gb_reader *r) {
    struct gb_manifest_tenant *t = gb_reader_alloc(r, 1, sizeof *t);
    struct gb_object o = {.table = GB_TABLE_TENANT,
                          .fields = t,
                          .origins = gb_origins_new(r, GB_TABLE_TENANT)};
    if (!t || !o.origins || !gb_object_defaults(r, &o) || !empty_limits(r, &t->limits) ||
        !read_budgets(r, NULL, &t->budgets)) {
        return false;
    }
    t->name = "default";
    t->origins = o.origins;
    r->m->tenants = t;
    r->m->tenants_len = 1;
    return true;
}

/* ---- [component.NAME] ---- */

static bool component_other(struct gb_reader *r, const struct gb_node *n, void *user) {
    struct gb_manifest_component *c = user;
    if (gb_span_is(n->key_span, "env")) {
        return gb_read_pairs(r, n, GB_PAIRS_ENV, &c->env);
    }
    if (gb_span_is(n->key_span, "variables")) {
        return gb_read_pairs(r, n, GB_PAIRS_VARIABLES, &c->variables);
    }
    if (gb_span_is(n->key_span, "dirs")) {
        return gb_read_dirs(r, n, &c->dirs, &c->dirs_len);
    }
    if (gb_span_is(n->key_span, "limits")) {
        return read_limits(r, n, &c->limits);
    }
    gb_note_unsupported(r, n, "\"%.*s\" is not built into this version",
                        GB_SPAN_ARG(n->key_span));
    gb_note_hint(r, "Leave it out; the component must check its own inputs and outputs.");
    return true;
}

static bool has(const struct gb_texts *list, const char *text) {
    for (size_t i = 0; i < list->len; i++) {
        if (strcmp(list->items[i], text) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_component(struct gb_reader *r, const struct gb_node *n,
                           struct gb_manifest_component *c) {
    static const char *const more[] = {"limits", "guard", "schema"};
    struct gb_object o = {.table = GB_TABLE_COMPONENT,
                          .fields = c,
                          .origins = gb_origins_new(r, GB_TABLE_COMPONENT),
                          .at = &c->at,
                          .more = more,
                          .more_len = GB_COUNT(more),
                          .other = component_other,
                          .user = c};
    if (!o.origins || !gb_object_defaults(r, &o) || !empty_limits(r, &c->limits) ||
        !gb_object_read(r, &o, n)) {
        return false;
    }
    c->origins = o.origins;
    c->nn_load = has(&c->grants, "nn-load");
    c->http = has(&c->grants, "http") || c->allowed_outbound_hosts.len > 0;
    c->kv = has(&c->grants, "kv") || c->key_value_stores.len > 0;
    c->sockets = has(&c->grants, "sockets");
    c->memory64 = has(&c->grants, "memory64");
    return true;
}

/* ---- [[route]] ---- */

static bool route_other(struct gb_reader *r, const struct gb_node *n, void *user) {
    struct gb_manifest_route *route = user;
    route->kind = GB_ROUTE_STATIC;
    return gb_read_static(r, n, "status", &route->answer);
}

static bool read_route(struct gb_reader *r, const struct gb_node *n,
                       struct gb_manifest_route *route) {
    struct gb_object o = {.table = GB_TABLE_ROUTE,
                          .fields = route,
                          .origins = gb_origins_new(r, GB_TABLE_ROUTE),
                          .at = &route->at,
                          .other = route_other,
                          .user = route};
    if (!o.origins || !gb_object_defaults(r, &o) || !gb_object_read(r, &o, n)) {
        return false;
    }
    route->origins = o.origins;
    if (!gb_node_get(n, "path")) {
        gb_note(r, &route->at, GB_MANIFEST_INVALID, "this route has no \"path\"");
        gb_note_hint(r, "Write path = \"/...\" for every request, or another path.");
        return true;
    }
    return !route->path || gb_route_split(r, route);
}

/* ---- all tables ---- */

/* NAMEs of [model.NAME] and its like. The name must be one, because it is shown to users. */
static bool named(struct gb_reader *r, const struct gb_node *n, const char *what,
                  const char **ret_name, struct gb_origin *ret_at) {
    struct gb_form_fault fault = gb_form_check(GB_FORM_NAME, n->key_span);
    *ret_at = gb_node_origin(n);
    *ret_name = NULL;
    if (fault.what) {
        gb_note_node(r, n, "\"%.*s\" %s of a %s", GB_SPAN_ARG(n->key_span), fault.what, what);
        gb_note_hint(r, "%s", fault.hint);
        return true;
    }
    char example[128];
    snprintf(example, sizeof example, "[%s.%s]", what, n->key);
    if (!gb_node_is_table(r, n, example)) {
        return true;
    }
    *ret_name = gb_reader_copy(r, n->key_span);
    return *ret_name != NULL;
}

static bool countable(struct gb_reader *r, const struct gb_node *n, const char *example,
                      size_t max) {
    if (!gb_node_is_table(r, n, example)) {
        return false;
    }
    if (n->children > max) {
        gb_note_node(r, n, "there are %zu of \"%s\", more than %zu", n->children, n->key, max);
        gb_note_hint(r, "Split the server into several.");
        return false;
    }
    return true;
}

static bool read_models(struct gb_reader *r, const struct gb_node *n) {
    if (!countable(r, n, "[model.NAME]", GB_MANIFEST_MODELS_MAX)) {
        return true;
    }
    struct gb_manifest_model *all = gb_reader_alloc(r, n->children, sizeof *all);
    size_t len = 0;
    for (const struct gb_node *item = n->first; all && item; item = item->next) {
        if (!named(r, item, "model", &all[len].name, &all[len].at)) {
            return false;
        }
        if (all[len].name && !read_model(r, item, &all[len++])) {
            return false;
        }
    }
    r->m->models = all;
    r->m->models_len = len;
    return all != NULL;
}

static bool read_tenants(struct gb_reader *r, const struct gb_node *n) {
    if (!countable(r, n, "[tenant.NAME]", GB_MANIFEST_TENANTS_MAX)) {
        return true;
    }
    struct gb_manifest_tenant *all = gb_reader_alloc(r, n->children, sizeof *all);
    size_t len = 0;
    for (const struct gb_node *item = n->first; all && item; item = item->next) {
        if (!named(r, item, "tenant", &all[len].name, &all[len].at)) {
            return false;
        }
        if (all[len].name && !read_tenant(r, item, &all[len++])) {
            return false;
        }
    }
    r->m->tenants = all;
    r->m->tenants_len = len;
    return all != NULL;
}

static bool read_components(struct gb_reader *r, const struct gb_node *n) {
    if (!countable(r, n, "[component.NAME]", GB_MANIFEST_COMPONENTS_MAX)) {
        return true;
    }
    struct gb_manifest_component *all = gb_reader_alloc(r, n->children, sizeof *all);
    size_t len = 0;
    for (const struct gb_node *item = n->first; all && item; item = item->next) {
        if (!named(r, item, "component", &all[len].name, &all[len].at)) {
            return false;
        }
        if (all[len].name && !read_component(r, item, &all[len++])) {
            return false;
        }
    }
    r->m->components = all;
    r->m->components_len = len;
    return all != NULL;
}

static bool read_routes(struct gb_reader *r, const struct gb_node *n) {
    if (n->v.kind != GB_TOML_ARRAY || n->children > GB_MANIFEST_ROUTES_MAX) {
        gb_note_node(r, n, n->v.kind != GB_TOML_ARRAY ? "\"route\" is not a list of tables"
                                                      : "there are too many routes");
        gb_note_hint(r, "Write each route under a line [[route]]; at most %u.",
                     GB_MANIFEST_ROUTES_MAX);
        return true;
    }
    struct gb_manifest_route *all = gb_reader_alloc(r, n->children, sizeof *all);
    size_t len = 0;
    for (const struct gb_node *item = n->first; all && item; item = item->next) {
        if (!gb_node_is_table(r, item, "each route under a line [[route]]")) {
            continue;
        }
        all[len].at = gb_node_origin(item);
        if (!read_route(r, item, &all[len++])) {
            return false;
        }
    }
    r->m->routes = all;
    r->m->routes_len = len;
    return all != NULL;
}

bool gb_read_glovebox(struct gb_reader *r) {
    static const struct {
        const char *key;
        bool (*read)(struct gb_reader *r, const struct gb_node *n);
    } tables[] = {{"model", read_models},
                  {"tenant", read_tenants},
                  {"component", read_components},
                  {"route", read_routes}};
    static const char *const known[] = {"host", "limits", "model", "tenant", "component", "route"};
    if (!read_host(r, gb_node_get(r->root, "host"), gb_node_get(r->root, "limits"))) {
        return false;
    }
    for (const struct gb_node *n = r->root->first; n; n = n->next) {
        size_t i = 0;
        while (i < GB_COUNT(known) && !gb_span_is(n->key_span, known[i])) {
            i++;
        }
        if (i == GB_COUNT(known)) {
            gb_note_unknown(r, n, known, GB_COUNT(known));
        } else if (i >= 2 && !tables[i - 2].read(r, n)) {
            return false;
        }
    }
    return true;
}
