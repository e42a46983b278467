/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manifest made ready to serve: programs compiled and linked under their grants, tenants with
 * their accounts, and for each tenant the table of routes that it may reach.
 *
 * Threads: immutable once made, so any; counted. A tenant that the previous app had as well is the
 * same object, with all that it holds and waits for.
 */
#include <string.h>

#include "base/file.h"
#include "model/digest.h"
#include "serve/serve_internal.h"

#define PATH_JSON_BYTES_MAX 256 /* of what a line of the log says */

/* ---- limits and grants ---- */

static struct gb_limits limits_of(const struct gb_manifest *m,
                                  const struct gb_manifest_component *c,
                                  const struct gb_manifest_tenant *t) {
    struct gb_manifest_limits l = gb_manifest_limits_of(m, c, t);
    struct gb_limits r = gb_limits_default();
    r.memory_bytes = l.memory_bytes;
    r.table_elements = l.table_elements;
    r.instances = (uint32_t)l.instances;
    r.handles = (uint32_t)l.handles;
    r.fuel = l.fuel;
    r.deadline_us = l.deadline_us;
    r.output_bytes = l.output_bytes;
    r.overflow = l.on_overflow == 1 ? GB_OVERFLOW_DROP : GB_OVERFLOW_FAIL;
    r.hostcall_bytes = l.hostcall_bytes;
    r.random_bytes = l.random_bytes;
    r.text_bytes = l.text_bytes;
    r.program_bytes = l.program_bytes;
    return r;
}

static bool make_grants(struct gb_app_component *c, struct gb_error **err) {
    const struct gb_manifest_component *m = c->m;
    c->models = gb_calloc(m->models_len + 1, sizeof *c->models, err);
    c->env = c->models ? gb_calloc(m->env.len + 1, sizeof *c->env, err) : NULL;
    c->preopens = c->env ? gb_calloc(m->dirs_len + 1, sizeof *c->preopens, err) : NULL;
    if (!c->preopens) {
        return false;
    }
    for (size_t i = 0; i < m->models_len; i++) {
        c->models[i] = m->models[i].name;
    }
    for (size_t i = 0; i < m->env.len; i++) {
        const struct gb_manifest_pair *pair = &m->env.items[i];
        c->env[i] = gb_format(err, "%s=%s", pair->name, pair->value ? pair->value : "");
        if (!c->env[i]) {
            return false;
        }
    }
    for (size_t i = 0; i < m->dirs_len; i++) {
        c->preopens[i] = (struct gb_preopen){.host_path = m->dirs[i].host_path,
                                             .guest_path = m->dirs[i].guest_path,
                                             .writable = m->dirs[i].writable};
    }
    c->grants = (struct gb_grants){.nn_load = m->nn_load,
                                   .http = m->http,
                                   .kv = m->kv,
                                   .sockets = m->sockets,
                                   .memory64 = m->memory64,
                                   .models = c->models,
                                   .models_len = m->models_len,
                                   .preopens = c->preopens,
                                   .preopens_len = m->dirs_len,
                                   .env = (const char *const *)c->env,
                                   .env_len = m->env.len};
    return true;
}

/* ---- programs ---- */

static bool check_digest(const struct gb_manifest_component *m, struct gb_span bytes,
                         struct gb_error **err) {
    char text[GB_DIGEST_TEXT_BYTES];
    if (!m->digest) {
        return true;
    }
    if (!gb_digest_sha256(bytes, text, err)) {
        return false;
    }
    return strcmp(text, m->digest) == 0 ||
           gb_fail(err, GB_DIGEST_MISMATCH, "component \"%s\" has the digest %s, not %s", m->name,
                   text, m->digest);
}

/* What the routes want of a component: one program to enter, or functions. */
struct wanted {
    bool http, entry, functions;
};

static struct wanted wanted_of(const struct gb_app *a, const struct gb_app_component *c) {
    struct wanted w = {0};
    for (size_t i = 0; i < a->manifest->routes_len; i++) {
        const struct gb_manifest_route *r = &a->manifest->routes[i];
        if (r->component == c->m) {
            w.http = w.http || r->kind == GB_ROUTE_HTTP;
            w.functions = w.functions || r->kind == GB_ROUTE_CALL;
            w.entry = w.entry || r->kind == GB_ROUTE_AUTO || r->kind == GB_ROUTE_AGENT;
        }
    }
    w.entry = w.entry || !w.functions; /* also one that no route names yet must be whole */
    return w;
}

static bool load_programs(struct gb_server *s, struct gb_app *a, struct gb_app_component *c,
                          struct gb_span bytes, const struct gb_limits *limits,
                          struct gb_error **err) {
    struct wanted w = wanted_of(a, c);
    const char *name = c->m->name;
    if (w.http) {
        c->program = gb_program_load_http(s->sandbox, name, bytes, limits, &c->grants, err);
    } else if (w.entry) {
        c->program = gb_program_load(s->sandbox, name, bytes, limits, &c->grants, err);
    }
    bool ok = c->program || !(w.http || w.entry);
    for (size_t i = 0; ok && i < a->manifest->routes_len; i++) {
        struct gb_app_route *r = &a->routes[i];
        if (r->m->component == c->m && r->m->kind == GB_ROUTE_CALL) {
            ok = gb_functions_load(s, c, r, bytes, limits, err);
        }
    }
    return ok;
}

static bool load_component(struct gb_server *s, struct gb_app *a, struct gb_app_component *c,
                           struct gb_error **err) {
    struct gb_limits limits = limits_of(a->manifest, c->m, NULL);
    uint64_t concurrency = gb_manifest_limits_of(a->manifest, c->m, NULL).concurrency;
    c->concurrency = (uint32_t)(concurrency ? concurrency : a->manifest->host.calls);
    uint8_t *bytes = NULL;
    size_t len = 0;
    uint64_t bytes_max = gb_program_file_bytes_max(c->m->source, &limits);
    if (!make_grants(c, err) ||
        !gb_file_read(c->m->source, (size_t)bytes_max, GB_PROGRAM_TOO_LARGE, &bytes, &len, err)) {
        return false;
    }
    struct gb_span program = gb_span_make(bytes, len);
    bool ok = check_digest(c->m, program, err) && load_programs(s, a, c, program, &limits, err);
    gb_free(bytes);
    return ok;
}

/* ---- routes ---- */

static bool kind_of(const struct gb_app_route *r, enum gb_route_kind *ret_kind,
                    struct gb_error **err) {
    if (r->m->kind == GB_ROUTE_STATIC || r->m->kind == GB_ROUTE_CALL) {
        *ret_kind = r->m->kind;
        return true;
    }
    enum gb_entry entry = gb_program_entry(r->component->program);
    bool is_http = entry == GB_ENTRY_HTTP;
    bool is_agent = entry == GB_ENTRY_AGENT;
    if ((r->m->kind == GB_ROUTE_HTTP || r->m->kind == GB_ROUTE_AUTO) && is_http) {
        *ret_kind = GB_ROUTE_HTTP;
        return true;
    }
    if ((r->m->kind == GB_ROUTE_AGENT || r->m->kind == GB_ROUTE_AUTO) && is_agent) {
        *ret_kind = GB_ROUTE_AGENT;
        return true;
    }
    gb_fail(err, GB_COMPONENT_INVALID,
            "component \"%s\" cannot answer route \"%s\": it does not export %s",
            r->component->m->name, r->m->path,
            r->m->kind == GB_ROUTE_AGENT  ? "run: func(string) -> result<string, string>"
            : r->m->kind == GB_ROUTE_HTTP ? "wasi:http/incoming-handler"
                                          : "wasi:http/incoming-handler or a run function");
    return gb_hint(err, "See `glovebox inspect %s`.", r->component->m->source);
}

/* Without its quotes. */
static char *json_text(const char *text, struct gb_error **err) {
    struct gb_buf b;
    gb_buf_init(&b, SIZE_MAX);
    char *json = NULL;
    if (gb_problem_write_string(gb_span_of(text), &b, err)) {
        json = gb_format(err, "%.*s", (int)GB_MIN(b.len - 2, (size_t)PATH_JSON_BYTES_MAX),
                         gb_buf_text(&b) + 1);
    }
    gb_buf_fini(&b);
    return json;
}

static bool make_route(struct gb_app *a, struct gb_app_route *r, struct gb_error **err) {
    r->path_json = json_text(r->m->path, err);
    if (!r->path_json) {
        return false;
    }
    if (r->m->component) {
        r->component = &a->components[r->m->component - a->manifest->components];
    }
    const struct gb_manifest_pairs *headers = &r->m->answer.headers;
    r->static_fields = gb_calloc(headers->len + 1, sizeof *r->static_fields, err);
    if (!r->static_fields) {
        return false;
    }
    for (size_t i = 0; i < headers->len; i++) {
        r->static_fields[i] =
            (struct gb_http_field){gb_span_of(headers->items[i].name),
                                   gb_span_of(headers->items[i].value)};
    }
    return kind_of(r, &r->kind, err);
}

unsigned gb_serve_methods(const struct gb_manifest_route *r) {
    unsigned methods = 0;
    for (size_t i = 0; i < r->methods.len; i++) {
        methods |= GB_HTTP_METHOD_BIT(gb_http_method_of(gb_span_of(r->methods.items[i])));
    }
    return methods;
}

/* The routes of everybody, and those of one tenant. */
static struct gb_routes *make_routes(struct gb_app *a, const struct gb_manifest_tenant *t,
                                     struct gb_error **err) {
    struct gb_routes *routes = gb_routes_new(err);
    for (size_t i = 0; routes && i < a->manifest->routes_len; i++) {
        const struct gb_manifest_route *r = &a->manifest->routes[i];
        if ((!r->tenant || r->tenant == t) &&
            !gb_routes_add(routes, r->path, gb_serve_methods(r), &a->routes[i], err)) {
            gb_routes_free(routes);
            return NULL;
        }
    }
    return routes;
}

/* ---- tenants ---- */

static struct gb_tenant *tenant_of(struct gb_server *s, struct gb_app *a,
                                   const struct gb_manifest_tenant *t, struct gb_app *previous,
                                   struct gb_error **err) {
    for (size_t i = 0; previous && i < previous->manifest->tenants_len; i++) {
        if (strcmp(previous->tenants[i].m->name, t->name) == 0) {
            return gb_tenant_ref(previous->tenants[i].tenant);
        }
    }
    return gb_tenant_new(s, a->manifest, t, err);
}

static bool make_tenant(struct gb_server *s, struct gb_app *a, struct gb_app_tenant *t,
                        struct gb_app *previous, struct gb_error **err) {
    bool own = false;
    for (size_t i = 0; i < a->manifest->routes_len; i++) {
        own = own || a->manifest->routes[i].tenant == t->m;
    }
    t->tenant = tenant_of(s, a, t->m, previous, err);
    t->limits = t->tenant ? gb_calloc(a->manifest->components_len + 1, sizeof *t->limits, err)
                          : NULL;
    if (!t->limits) {
        return false;
    }
    for (size_t i = 0; i < a->manifest->components_len; i++) {
        t->limits[i] = limits_of(a->manifest, &a->manifest->components[i], t->m);
    }
    t->owns_routes = own;
    t->routes = own ? make_routes(a, t->m, err) : a->shared_routes;
    return t->routes != NULL;
}

/* ---- the whole ---- */

static bool fill(struct gb_server *s, struct gb_app *a, struct gb_app *previous,
                 struct gb_error **err) {
    const struct gb_manifest *m = a->manifest;
    if (!gb_check_served(m, err)) {
        return false;
    }
    if (m->host.tls_cert) {
        a->tls = gb_tls_context_new(&m->host, err);
        if (!a->tls) {
            return false;
        }
    }
    a->components = gb_calloc(m->components_len + 1, sizeof *a->components, err);
    a->routes = a->components ? gb_calloc(m->routes_len + 1, sizeof *a->routes, err) : NULL;
    a->tenants = a->routes ? gb_calloc(m->tenants_len + 1, sizeof *a->tenants, err) : NULL;
    if (!a->tenants) {
        return false;
    }
    for (size_t i = 0; i < m->routes_len; i++) {
        a->routes[i].m = &m->routes[i];
    }
    for (size_t i = 0; i < m->components_len; i++) {
        a->components[i].m = &m->components[i];
        if (!load_component(s, a, &a->components[i], err)) {
            return false;
        }
    }
    for (size_t i = 0; i < m->routes_len; i++) {
        if (!make_route(a, &a->routes[i], err)) {
            return false;
        }
    }
    a->shared_routes = make_routes(a, NULL, err);
    for (size_t i = 0; a->shared_routes && i < m->tenants_len; i++) {
        a->tenants[i].m = &m->tenants[i];
        if (!make_tenant(s, a, &a->tenants[i], previous, err)) {
            return false;
        }
    }
    return a->shared_routes != NULL;
}

struct gb_app *gb_app_new(struct gb_server *s, const struct gb_manifest *m, struct gb_app *previous,
                          struct gb_error **err) {
    struct gb_app *a = gb_calloc(1, sizeof *a, err);
    if (!a) {
        return NULL;
    }
    atomic_init(&a->refs, 1);
    a->manifest = gb_manifest_ref(m);
    if (!fill(s, a, previous, err)) {
        gb_app_unref(a);
        return NULL;
    }
    return a;
}

struct gb_app *gb_app_ref(struct gb_app *a) {
    atomic_fetch_add(&a->refs, 1);
    return a;
}

static void free_component(struct gb_app_component *c) {
    gb_program_unref(c->program);
    for (size_t i = 0; c->env && i < c->m->env.len; i++) {
        gb_free(c->env[i]);
    }
    gb_free(c->env);
    gb_free(c->models);
    gb_free(c->preopens);
}

void gb_app_unref(struct gb_app *a) {
    if (!a || atomic_fetch_sub(&a->refs, 1) != 1) {
        return;
    }
    for (size_t i = 0; a->tenants && i < a->manifest->tenants_len; i++) {
        gb_tenant_unref(a->tenants[i].tenant);
        gb_free(a->tenants[i].limits);
        if (a->tenants[i].owns_routes) {
            gb_routes_free(a->tenants[i].routes);
        }
    }
    for (size_t i = 0; a->routes && i < a->manifest->routes_len; i++) {
        gb_free(a->routes[i].static_fields);
        gb_free(a->routes[i].path_json);
        gb_functions_free(&a->routes[i]);
    }
    for (size_t i = 0; a->components && i < a->manifest->components_len; i++) {
        free_component(&a->components[i]);
    }
    gb_routes_free(a->shared_routes);
    gb_tls_context_free(a->tls);
    gb_free(a->components);
    gb_free(a->routes);
    gb_free(a->tenants);
    gb_manifest_unref(a->manifest);
    gb_free(a);
}
