/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What names what: routes their component and tenant, components their models; and what must not be
 * there twice. Lookups go through sorted lists, so that large manifests stay quick.
 */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "manifest/manifest_internal.h"

#define NEAR_MAX 256u /* names that are looked at for a suggestion */

struct entry {
    const char *text;
    const struct gb_origin *at;
    size_t index;
};
struct list {
    struct entry *items;
    size_t len;
};

static int by_text(const void *a, const void *b) {
    const struct entry *x = a;
    const struct entry *y = b;
    int order = strcmp(x->text, y->text);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static bool list_new(struct gb_reader *r, size_t cap, struct list *ret) {
    *ret = (struct list){.items = gb_arena_alloc(&r->scratch, cap, sizeof(struct entry),
                                                 &r->fatal)};
    return ret->items != NULL;
}

static void list_add(struct list *l, const char *text, const struct gb_origin *at, size_t index) {
    l->items[l->len++] = (struct entry){.text = text, .at = at, .index = index};
}

static void list_sort(struct list *l) {
    qsort(l->items, l->len, sizeof *l->items, by_text);
}

static bool list_find(const struct list *l, const char *text, size_t *ret_index) {
    size_t low = 0;
    size_t high = l->len;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(text, l->items[mid].text);
        if (order == 0) {
            *ret_index = l->items[mid].index;
            return true;
        }
        if (order < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return false;
}

static void hint_near(struct gb_reader *r, const struct list *l, const char *text,
                      const char *otherwise) {
    const char *names[NEAR_MAX];
    size_t len = 0;
    for (size_t i = 0; i < l->len && len < NEAR_MAX; i++) {
        names[len++] = l->items[i].text;
    }
    const char *nearest = gb_toml_nearest(gb_span_of(text), names, len);
    if (nearest) {
        gb_note_hint(r, "Did you mean \"%s\"?", nearest);
    } else {
        gb_note_hint(r, "%s", otherwise);
    }
}

/* Two that have the same text, of different objects. */
static void note_twice(struct gb_reader *r, struct list *l, const char *what, const char *hint) {
    list_sort(l);
    for (size_t i = 1; i < l->len; i++) {
        const struct entry *first = &l->items[i - 1];
        const struct entry *again = &l->items[i];
        if (strcmp(first->text, again->text) == 0 && first->index != again->index) {
            gb_note(r, again->at, GB_MANIFEST_INVALID,
                    "the %s \"%.72s\" is also that of the tenant in line %u", what, again->text,
                    first->at->line);
            gb_note_hint(r, "%s", hint);
        }
    }
}

/* ---- host ---- */

static void check_host(struct gb_reader *r) {
    const struct gb_manifest_host *h = &r->m->host;
    size_t len;
    const struct gb_setting *rows = gb_settings_of(GB_TABLE_HOST, &len);
    const struct gb_origin *cert = NULL, *key = NULL, *header = NULL, *admin = NULL;
    for (size_t i = 0; i < len; i++) {
        const struct gb_origin *at = &h->origins[i];
        cert = strcmp(rows[i].key, "tls.cert") == 0 ? at : cert;
        key = strcmp(rows[i].key, "tls.key") == 0 ? at : key;
        header = strcmp(rows[i].key, "tenant-header") == 0 ? at : header;
        admin = strcmp(rows[i].key, "admin") == 0 ? at : admin;
    }
    if ((h->tls_cert != NULL) != (h->tls_key != NULL)) {
        gb_note(r, h->tls_cert ? cert : key, GB_MANIFEST_INVALID, "\"tls\" has no \"%s\"",
                h->tls_cert ? "key" : "cert");
        gb_note_hint(r, "Write tls = { cert = \"PATH\", key = \"PATH\" }.");
    }
    if (h->tenant_header && h->trusted_proxies.len == 0) {
        gb_note(r, header, GB_MANIFEST_INVALID,
                "\"tenant-header\" is believed from nobody: there are no \"trusted-proxies\"");
        gb_note_hint(r, "Write trusted-proxies = [\"10.0.0.7\"]: your proxy's address.");
    }
    size_t listen_len = h->listen ? strlen(h->listen) : 0;
    bool any_port = listen_len > 2 && strcmp(h->listen + listen_len - 2, ":0") == 0;
    if (h->listen && h->admin && strcmp(h->listen, h->admin) == 0 && !any_port) {
        gb_note(r, admin, GB_MANIFEST_INVALID, "\"admin\" is \"%s\", and so is \"listen\"",
                h->admin);
        gb_note_hint(r, "Write another port: admin = \"127.0.0.1:9090\".");
    }
}

/* ---- tenants ---- */

static bool check_tenants(struct gb_reader *r, struct list *names) {
    const struct gb_manifest *m = r->m;
    size_t keys = 0;
    size_t hosts = 0;
    for (size_t i = 0; i < m->tenants_len; i++) {
        keys += m->tenants[i].key_sha256.len;
        hosts += m->tenants[i].hosts.len;
    }
    struct list by_key, by_host, by_proxy;
    if (!list_new(r, keys, &by_key) || !list_new(r, hosts, &by_host) ||
        !list_new(r, m->tenants_len, &by_proxy) || !list_new(r, m->tenants_len, names)) {
        return false;
    }
    for (size_t i = 0; i < m->tenants_len; i++) {
        const struct gb_manifest_tenant *t = &m->tenants[i];
        list_add(names, t->name, &t->at, i);
        for (size_t k = 0; k < t->key_sha256.len; k++) {
            list_add(&by_key, t->key_sha256.items[k], &t->at, i);
        }
        for (size_t k = 0; k < t->hosts.len; k++) {
            list_add(&by_host, t->hosts.items[k], &t->at, i);
        }
        if (t->proxy_name) {
            list_add(&by_proxy, t->proxy_name, &t->at, i);
            if (!m->host.tenant_header) {
                gb_note(r, &t->at, GB_MANIFEST_INVALID,
                        "\"proxy-name\" of \"%s\" has no header to stand in", t->name);
                gb_note_hint(r, "Write tenant-header = \"x-tenant\" in [host].");
            }
        }
        bool nobody = t->key_sha256.len == 0 && t->hosts.len == 0 && !t->proxy_name;
        if (nobody && strcmp(t->name, "default") == 0) {
            r->m->tenants_open = true;
        } else if (nobody && r->findings->errors_len == 0) {
            gb_note(r, &t->at, GB_MANIFEST_INVALID, "no request can be of the tenant \"%s\"",
                    t->name);
            gb_note_hint(r, "Write key-sha256 = [\"…\"] or hosts = [\"…\"], or call it default.");
        }
    }
    note_twice(r, &by_key, "key", "Give each tenant a key of its own.");
    note_twice(r, &by_host, "host", "Leave it with one of them.");
    note_twice(r, &by_proxy, "proxy-name", "Give each tenant a name of its own.");
    list_sort(names);
    return true;
}

/* ---- components ---- */

static bool resolve_model(struct gb_reader *r, const struct gb_manifest_component *c,
                          const struct list *names, const char *text,
                          struct gb_manifest_model_grant *ret) {
    const char *at = strchr(text, '@');
    struct gb_manifest_model_grant g = {.origin = c->at};
    g.name = at ? gb_reader_copy(r, gb_span_make(text, (size_t)(at - text))) : text;
    g.digest = at ? at + 1 : NULL;
    if (!g.name) {
        return false;
    }
    size_t index;
    if (list_find(names, g.name, &index)) {
        g.model = &r->m->models[index];
        if (g.digest && g.model->digest && strcmp(g.digest, g.model->digest) != 0) {
            gb_note(r, &c->at, GB_MANIFEST_INVALID,
                    "component \"%s\" wants the model \"%s\" with another digest than [model.%s]",
                    c->name, g.name, g.name);
            gb_note_hint(r, "Write the digest of the file that you mean in both places.");
        }
    } else if (!r->m->host.models_dir) {
        gb_note(r, &c->at, GB_MANIFEST_INVALID,
                "component \"%s\" names the model \"%s\", which there is not", c->name, g.name);
        hint_near(r, names, g.name, "Write [model.NAME] with its source, or models = \"DIR\" in "
                                    "[host].");
    }
    *ret = g;
    return true;
}

static bool resolve_models(struct gb_reader *r, struct gb_manifest_component *c,
                           const struct list *names) {
    struct gb_manifest_model_grant *models =
        gb_reader_alloc(r, c->model_names.len, sizeof *models);
    if (!models) {
        return false;
    }
    for (size_t i = 0; i < c->model_names.len; i++) {
        if (!resolve_model(r, c, names, c->model_names.items[i], &models[i])) {
            return false;
        }
    }
    c->models = models;
    c->models_len = c->model_names.len;
    return true;
}

static bool resolve_components(struct gb_reader *r, struct list *names) {
    struct gb_manifest *m = r->m;
    struct list models;
    if (!list_new(r, m->models_len, &models) || !list_new(r, m->components_len, names)) {
        return false;
    }
    for (size_t i = 0; i < m->models_len; i++) {
        list_add(&models, m->models[i].name, &m->models[i].at, i);
    }
    list_sort(&models);
    /* They are ours until the manifest is handed out. */
    struct gb_manifest_component *components = (struct gb_manifest_component *)(uintptr_t)
                                                   m->components;
    for (size_t i = 0; i < m->components_len; i++) {
        struct gb_manifest_component *c = &components[i];
        list_add(names, c->name, &c->at, i);
        if (!resolve_models(r, c, &models)) {
            return false;
        }
        if (m->kind == GB_MANIFEST_GLOVEBOX && c->http && c->allowed_outbound_hosts.len == 0) {
            gb_note_warning(r, &c->at, GB_MANIFEST_INVALID,
                            "component \"%s\" is granted http and no host: every request of it is "
                            "denied", c->name);
            gb_note_hint(r, "Write allowed-outbound-hosts = [\"https://…\"].");
        }
    }
    list_sort(names);
    return true;
}

/* ---- routes ---- */

static void resolve_target(struct gb_reader *r, struct gb_manifest_route *route,
                           const struct list *components) {
    size_t index;
    bool fixed = route->kind == GB_ROUTE_STATIC;
    if (!fixed && !route->component_name && r->findings->errors_len > 0) {
        return; /* why it has none may be among them */
    }
    if (fixed == (route->component_name != NULL)) {
        gb_note(r, &route->at, GB_MANIFEST_INVALID,
                fixed ? "the route \"%s\" has both a component and a static answer"
                      : "the route \"%s\" has nothing that answers",
                route->path ? route->path : "");
        gb_note_hint(r, "Write component = \"NAME\", or static = { body = \"…\" }.");
        return;
    }
    if (fixed) {
        return;
    }
    if (list_find(components, route->component_name, &index)) {
        route->component = &r->m->components[index];
        return;
    }
    gb_note(r, &route->at, GB_MANIFEST_INVALID,
            "the route \"%s\" names the component \"%s\", which there is not",
            route->path ? route->path : "", route->component_name);
    hint_near(r, components, route->component_name, "Write [component.NAME] with its source.");
}

static void resolve_route(struct gb_reader *r, struct gb_manifest_route *route,
                          const struct list *components, const struct list *tenants) {
    size_t index;
    resolve_target(r, route, components);
    const char *call = route->call ? route->call : "auto";
    if (route->kind == GB_ROUTE_STATIC) {
        if (strcmp(call, "auto") != 0) {
            gb_note(r, &route->at, GB_MANIFEST_INVALID,
                    "the route \"%s\" has a static answer and calls nothing",
                    route->path ? route->path : "");
            gb_note_hint(r, "Remove call = \"%s\".", call);
        }
    } else if (strcmp(call, "http") == 0) {
        route->kind = GB_ROUTE_HTTP;
    } else if (strcmp(call, "agent") == 0) {
        route->kind = GB_ROUTE_AGENT;
    } else if (strcmp(call, "auto") != 0) {
        route->kind = GB_ROUTE_CALL;
        route->interface = call;
    }
    if (!route->tenant_name) {
        return;
    }
    if (list_find(tenants, route->tenant_name, &index)) {
        route->tenant = &r->m->tenants[index];
        return;
    }
    gb_note(r, &route->at, GB_MANIFEST_INVALID,
            "the route \"%s\" names the tenant \"%s\", which there is not",
            route->path ? route->path : "", route->tenant_name);
    hint_near(r, tenants, route->tenant_name, "Write [tenant.NAME].");
}

/* "/users/:/...": the same for routes that take the same paths. */
static const char *shape_of(struct gb_reader *r, const struct gb_manifest_route *route) {
    size_t bytes = strlen(route->path) + 2;
    char *shape = gb_arena_alloc(&r->scratch, bytes, 1, &r->fatal);
    size_t len = 0;
    for (size_t i = 0; shape && i < route->segments_len; i++) {
        const struct gb_route_segment *s = &route->segments[i];
        const char *text = s->kind == GB_SEGMENT_TEXT    ? s->text
                           : s->kind == GB_SEGMENT_PARAM ? ":"
                                                         : "...";
        shape[len++] = '/';
        memcpy(shape + len, text, strlen(text));
        len += strlen(text);
    }
    if (shape && (route->slash_last || len == 0)) {
        shape[len++] = '/';
    }
    return shape;
}

static bool check_conflicts(struct gb_reader *r) {
    const struct gb_manifest *m = r->m;
    struct list shapes;
    if (!list_new(r, m->routes_len, &shapes)) {
        return false;
    }
    for (size_t i = 0; i < m->routes_len; i++) {
        if (m->routes[i].path && m->routes[i].segments) {
            const char *shape = shape_of(r, &m->routes[i]);
            if (!shape) {
                return false;
            }
            list_add(&shapes, shape, &m->routes[i].at, i);
        }
    }
    list_sort(&shapes);
    size_t first = 0;
    for (size_t i = 1; i < shapes.len; i++) {
        if (strcmp(shapes.items[first].text, shapes.items[i].text) != 0) {
            first = i;
            continue;
        }
        const struct gb_manifest_route *later = &m->routes[shapes.items[i].index];
        for (size_t k = first; k < i && k < first + NEAR_MAX; k++) {
            const struct gb_manifest_route *earlier = &m->routes[shapes.items[k].index];
            if (gb_manifest_routes_conflict(earlier, later)) {
                gb_note(r, &later->at, GB_MANIFEST_INVALID,
                        "the route \"%s\" takes the same requests as \"%s\" in line %u",
                        later->path, earlier->path, earlier->at.line);
                gb_note_hint(r, "Remove one of them, or give them different methods.");
                break;
            }
        }
    }
    return true;
}

static bool note_unused(struct gb_reader *r) {
    const struct gb_manifest *m = r->m;
    bool *used = gb_arena_alloc(&r->scratch, m->components_len, sizeof *used, &r->fatal);
    if (!used) {
        return false;
    }
    for (size_t i = 0; i < m->routes_len; i++) {
        if (m->routes[i].component) {
            used[m->routes[i].component - m->components] = true;
        }
    }
    for (size_t i = 0; i < m->components_len; i++) {
        if (!used[i]) {
            gb_note_warning(r, &m->components[i].at, GB_MANIFEST_INVALID,
                            "no route leads to the component \"%s\"", m->components[i].name);
            gb_note_hint(r, "Write a route with component = \"%s\", or remove it.",
                         m->components[i].name);
        }
    }
    return true;
}

bool gb_resolve(struct gb_reader *r) {
    struct gb_manifest *m = r->m;
    struct list components, tenants;
    if (m->tenants_len == 0 && !gb_tenant_default(r)) {
        return false;
    }
    check_host(r);
    if (!check_tenants(r, &tenants) || !resolve_components(r, &components)) {
        return false;
    }
    struct gb_manifest_route *routes = (struct gb_manifest_route *)(uintptr_t)m->routes;
    for (size_t i = 0; i < m->routes_len; i++) {
        resolve_route(r, &routes[i], &components, &tenants);
    }
    return check_conflicts(r) && (r->findings->errors_len > 0 || note_unused(r));
}
