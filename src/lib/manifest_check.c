/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `glovebox check`: a manifest and all that it names, without serving. Everything wrong is listed;
 * what one mistake hides (a missing file's imports) shows when that is mended.
 */
#include <glovebox/manifest.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "http/route.h"
#include "lib/json.h"
#include "lib/lib.h"
#include "manifest/manifest.h"
#include "model/digest.h"
#include "serve/serve.h"

#define ERRORS_MAX 200u

struct check {
    struct gb_json j;
    yyjson_mut_val *errors, *warnings, *components, *models, *routes, *shadows;
    const struct gb_manifest_tenant *tenant; /* whose routes are compared; NULL: everybody's */
    size_t errors_len, left_out;
    int exit_status; /* of the first error */
    struct gb_host *host;
    const struct gb_manifest *m;
    struct gb_inspection *inspections; /* of the components; kind 0 where there is none */
    bool *inspected;
};

static void add(struct check *c, const struct gb_error *e, bool warning) {
    if (!warning) {
        c->exit_status = c->errors_len++ == 0 ? gb_code_exit_status(e->code) : c->exit_status;
    }
    yyjson_mut_val *list = warning ? c->warnings : c->errors;
    if (yyjson_mut_arr_size(list) >= ERRORS_MAX) {
        c->left_out++;
        return;
    }
    (void)yyjson_mut_arr_append(list, gb_json_error(&c->j, e));
}

/* Takes e: an error about an object of the manifest, with its place before it. */
static void add_at(struct check *c, const struct gb_origin *at, const char *what, const char *name,
                   struct gb_error *e) {
    struct gb_error *placed = NULL;
    if (at->line > 0) {
        gb_fail(&placed, e->code, "%s:%u:%u: %s \"%s\": %s", c->m->file, at->line, at->column,
                what, name, e->message);
    } else {
        gb_fail(&placed, e->code, "%s: %s \"%s\": %s", c->m->file, what, name, e->message);
    }
    if (e->hint) {
        gb_hint(&placed, "%s", e->hint);
    }
    gb_error_set_cause(&placed, gb_take(&e->cause));
    add(c, placed, false);
    gb_error_free(placed);
    gb_error_free(e);
}

/* ---- files ---- */

static bool read_program(const char *path, uint64_t bytes_max, uint8_t **ret_bytes, size_t *ret_len,
                         struct gb_error **err) {
    struct gb_error *e = NULL;
    if (gb_file_read(path, (size_t)bytes_max, GB_PROGRAM_TOO_LARGE, ret_bytes, ret_len, &e)) {
        return true;
    }
    if (e->code == GB_NOT_FOUND) {
        gb_hint(&e, "Build it, or correct source; it is taken from the manifest's folder.");
    } else if (e->code == GB_PROGRAM_TOO_LARGE) {
        gb_hint(&e, "Raise program in [limits], or strip the program.");
    }
    return gb_error_move(err, e);
}

static bool same_digest(const char *wanted, struct gb_span bytes, struct gb_error **err) {
    char is[GB_DIGEST_TEXT_BYTES];
    if (!wanted || !gb_digest_sha256(bytes, is, err)) {
        return !wanted;
    }
    if (strcmp(wanted, is) == 0) {
        return true;
    }
    gb_fail(err, GB_DIGEST_MISMATCH, "the file has the digest \"%s\", not \"%s\"", is, wanted);
    return gb_hint(err, "Restore the file that was meant, or write digest = \"%s\".", is);
}

static const struct gb_origin nowhere;

static void check_readable(struct check *c, const struct gb_origin *at, const char *path,
                           const char *what, bool folder) {
    struct stat st;
    struct gb_error *e = NULL;
    if (!path) {
        return;
    }
    if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
        gb_fail(&e, GB_NOT_FOUND, "it cannot be read");
    } else if (S_ISDIR(st.st_mode) != folder) {
        gb_fail(&e, GB_INVALID_ARGUMENT, folder ? "it is no folder" : "it is a folder");
    } else {
        return;
    }
    gb_hint(&e, "Correct the path; it is taken from the manifest's folder.");
    add_at(c, at, what, path, e);
}

/* ---- components ---- */

static void grants_of(const struct gb_manifest_component *c, struct gb_grants *ret_grants) {
    *ret_grants = (struct gb_grants){.nn_load = c->nn_load,
                                     .http = c->http,
                                     .kv = c->kv,
                                     .sockets = c->sockets,
                                     .memory64 = c->memory64};
}

static void check_imports(struct check *c, const struct gb_manifest_component *component,
                          const struct gb_inspection *i) {
    for (size_t k = 0; k < i->imports_len; k++) {
        const struct gb_import_info *import = &i->imports[k];
        struct gb_error *e = NULL;
        bool versioned = import->version && import->version[0] != '\0';
        if (import->satisfied) {
            continue;
        }
        gb_fail(&e, import->grant ? GB_GRANT_MISSING : GB_IMPORT_MISSING,
                "it imports \"%s%s%s\": %s", import->name, versioned ? "@" : "",
                versioned ? import->version : "",
                import->note    ? import->note
                : import->grant ? "it was not granted"
                                : "this host does not have it");
        if (import->grant) {
            gb_hint(&e, "Write grants = [\"%s\"] in [component.%s].", import->grant,
                    component->name);
        } else {
            gb_hint(&e, "`glovebox inspect %s` lists all of its imports.", component->source);
        }
        add_at(c, &component->at, "component", component->name, e);
    }
}

static void check_component(struct check *c, size_t index) {
    const struct gb_manifest_component *component = &c->m->components[index];
    struct gb_manifest_limits limits = gb_manifest_limits_of(c->m, component, NULL);
    struct gb_error *e = NULL;
    uint8_t *bytes = NULL;
    size_t len = 0;
    char digest[GB_DIGEST_TEXT_BYTES] = "";
    struct gb_grants grants;
    struct gb_inspection *i = &c->inspections[index];
    grants_of(component, &grants);
    if (read_program(component->source, limits.program_bytes, &bytes, &len, &e)) {
        struct gb_span span = gb_span_make(bytes, len);
        (void)gb_digest_sha256(span, digest, NULL);
        if (same_digest(component->digest, span, &e)) {
            c->inspected[index] = gb_program_inspect(c->host->sandbox, component->source, span,
                                                     &grants, i, &e);
        }
    }
    gb_free(bytes);
    if (e) {
        add_at(c, &component->at, "component", component->name, e);
    }
    if (c->inspected[index]) {
        check_imports(c, component, i);
    }
    for (size_t k = 0; k < component->dirs_len; k++) {
        check_readable(c, &component->dirs[k].origin, component->dirs[k].host_path, "folder", true);
    }
    yyjson_mut_val *object = yyjson_mut_obj(c->j.doc);
    gb_json_add_text(&c->j, object, "name", component->name);
    gb_json_add_text(&c->j, object, "source", component->source);
    gb_json_add_text(&c->j, object, "digest", digest[0] ? digest : NULL);
    gb_json_add_u64(&c->j, object, "bytes", len);
    gb_json_add_text(&c->j, object, "entry", c->inspected[index] ? gb_lib_entry_text(i) : NULL);
    (void)yyjson_mut_arr_append(c->components, object);
}

/* ---- models ---- */

static void check_model_digest(struct check *c, const struct gb_origin *at, const char *name,
                               const char *wanted, const struct gb_model_info *info) {
    if (wanted && info->digest && info->digest[0] && strcmp(wanted, info->digest) != 0) {
        struct gb_error *e = NULL;
        gb_fail(&e, GB_DIGEST_MISMATCH, "the file has the digest \"%s\", not \"%s\"", info->digest,
                wanted);
        gb_hint(&e, "Restore the file that was meant, or write \"%s\".", info->digest);
        add_at(c, at, "model", name, e);
    }
}

static void check_models(struct check *c) {
    const struct gb_manifest *m = c->m;
    struct gb_error *e = NULL;
    if (m->host.models_dir && !gb_registry_add_dir(c->host->registry, m->host.models_dir, &e)) {
        add_at(c, &nowhere, "folder of models", m->host.models_dir, gb_take(&e));
    }
    for (size_t i = 0; i < m->models_len; i++) {
        const struct gb_manifest_model *model = &m->models[i];
        struct gb_model *found = NULL;
        if (!gb_registry_add_file(c->host->registry, model->name, model->source, GB_BACKEND_AUTO,
                                  &e)) {
            if (e->code == GB_NOT_FOUND) {
                gb_hint(&e, "Correct source; it is taken from the manifest's folder.");
            }
            add_at(c, &model->at, "model", model->name, gb_take(&e));
        } else {
            found = gb_registry_find(c->host->registry, gb_span_of(model->name));
        }
        const struct gb_model_info *info = found ? gb_model_info(found) : NULL;
        if (info && info->state == GB_MODEL_STATE_REJECTED && info->reason) {
            struct gb_error *reason = gb_error_copy(info->reason);
            if (reason) {
                add_at(c, &model->at, "model", model->name, reason);
            }
        } else if (info) {
            check_model_digest(c, &model->at, model->name, model->digest, info);
        }
        yyjson_mut_val *object = yyjson_mut_obj(c->j.doc);
        gb_json_add_text(&c->j, object, "name", model->name);
        gb_json_add_text(&c->j, object, "source", model->source);
        gb_json_add_text(&c->j, object, "digest", info ? info->digest : NULL);
        gb_json_add_u64(&c->j, object, "bytes", info ? info->bytes : 0);
        (void)yyjson_mut_arr_append(c->models, object);
    }
}

/* Models that components name: of the folder, too. */
static void check_grants_of_models(struct check *c) {
    for (size_t i = 0; i < c->m->components_len; i++) {
        const struct gb_manifest_component *component = &c->m->components[i];
        for (size_t k = 0; k < component->models_len; k++) {
            const struct gb_manifest_model_grant *g = &component->models[k];
            struct gb_model *found = gb_registry_find(c->host->registry, gb_span_of(g->name));
            if (found) {
                check_model_digest(c, &g->origin, g->name, g->digest, gb_model_info(found));
            } else if (!g->model) {
                struct gb_error *e = NULL;
                gb_fail(&e, GB_MODEL_NOT_FOUND, "there is no model \"%s\" in \"%s\"", g->name,
                        c->m->host.models_dir);
                gb_hint(&e, "Put \"%s.onnx\" there, or write [model.%s] with its source.", g->name,
                        g->name);
                add_at(c, &g->origin, "component", component->name, e);
            }
        }
    }
}

/* ---- routes ---- */

static bool exports_interface(const struct gb_inspection *i, const char *interface) {
    size_t len = strlen(interface);
    bool versioned = strchr(interface, '@') != NULL;
    for (size_t k = 0; k < i->exports_len; k++) {
        const char *name = i->exports[k].name;
        if (strncmp(name, interface, len) == 0 &&
            (name[len] == '\0' || name[len] == '#' || (name[len] == '@' && !versioned))) {
            return true;
        }
    }
    return false;
}

#define HTTP_ENTRY "wasi:http/incoming-handler"

static void check_entry(struct check *c, const struct gb_manifest_route *route) {
    size_t index = (size_t)(route->component - c->m->components);
    const struct gb_inspection *i = &c->inspections[index];
    struct gb_error *e = NULL;
    if (!c->inspected[index]) {
        return;
    }
    bool http = exports_interface(i, HTTP_ENTRY);
    bool agent = i->has_entry && i->entry == GB_ENTRY_AGENT;
    const char *name = route->component->name;
    if (route->kind == GB_ROUTE_CALL && !exports_interface(i, route->interface)) {
        gb_fail(&e, GB_NOT_FOUND, "its component \"%s\" does not export \"%s\"", name,
                route->interface);
    } else if (route->kind == GB_ROUTE_HTTP && !http) {
        gb_fail(&e, GB_NOT_FOUND, "its component \"%s\" does not export \"" HTTP_ENTRY "\"", name);
    } else if (route->kind == GB_ROUTE_AGENT && !agent) {
        gb_fail(&e, GB_NOT_FOUND, "its component \"%s\" is no agent: it does not export \"run: "
                                  "func(string) -> result<string, string>\"", name);
    } else if (route->kind == GB_ROUTE_AUTO && !http && !agent) {
        gb_fail(&e, GB_NOT_FOUND, "its component \"%s\" exports neither \"" HTTP_ENTRY
                                  "\" nor an agent's \"run\"", name);
    } else {
        return;
    }
    gb_hint(&e, "`glovebox inspect %s` lists its exports; call = \"pkg:name/iface\" calls the "
                "functions of one.", route->component->source);
    add_at(c, &route->at, "route", route->path, e);
}

static void check_route(struct check *c, const struct gb_manifest_route *route) {
    static const char *const kinds[] = {"auto", "http", "agent", "call", "static"};
    yyjson_mut_val *object = yyjson_mut_obj(c->j.doc);
    yyjson_mut_val *methods = yyjson_mut_arr(c->j.doc);
    for (size_t i = 0; i < route->methods.len; i++) {
        (void)yyjson_mut_arr_append(methods,
                                    gb_json_text(&c->j, gb_span_of(route->methods.items[i])));
    }
    gb_json_add_text(&c->j, object, "path", route->path);
    gb_json_add(&c->j, object, "methods", methods);
    gb_json_add_text(&c->j, object, "answers", route->component ? route->component->name : NULL);
    gb_json_add_text(&c->j, object, "kind", kinds[route->kind]);
    (void)yyjson_mut_arr_append(c->routes, object);
    if (route->component) {
        check_entry(c, route);
    }
}

/* ---- routes together, in the table that serves them ---- */

static void add_shadow(void *user, void *closer, void *wider) {
    struct check *c = user;
    const struct gb_manifest_route *a = closer;
    const struct gb_manifest_route *b = wider;
    if (c->tenant && a->tenant != c->tenant && b->tenant != c->tenant) {
        return; /* told for everybody */
    }
    if (yyjson_mut_arr_size(c->shadows) >= ERRORS_MAX) {
        c->left_out++;
        return;
    }
    yyjson_mut_val *object = yyjson_mut_obj(c->j.doc);
    gb_json_add_text(&c->j, object, "path", a->path);
    gb_json_add_text(&c->j, object, "takes_from", b->path);
    (void)yyjson_mut_arr_append(c->shadows, object);
}

static void check_table(struct check *c, const struct gb_manifest_tenant *t) {
    struct gb_error *e = NULL;
    struct gb_routes *table = gb_routes_new(&e);
    bool any = !t;
    for (size_t i = 0; table && i < c->m->routes_len; i++) {
        const struct gb_manifest_route *r = &c->m->routes[i];
        any = any || r->tenant == t;
        if ((!r->tenant || r->tenant == t) &&
            !gb_routes_add(table, r->path, gb_serve_methods(r), (void *)(uintptr_t)r, &e)) {
            add_at(c, &r->at, "route", r->path, gb_take(&e));
        }
    }
    c->tenant = t;
    if (table && any && c->errors_len == 0) {
        gb_routes_shadows(table, add_shadow, c);
    }
    gb_routes_free(table);
    gb_error_free(e);
}

/* The table of everybody, and those of the tenants that have routes of their own. */
static void check_tables(struct check *c) {
    const struct gb_manifest *m = c->m;
    check_table(c, NULL);
    for (size_t i = 0; i < m->routes_len; i++) {
        const struct gb_manifest_tenant *t = m->routes[i].tenant;
        size_t k = 0;
        while (k < i && m->routes[k].tenant != t) {
            k++;
        }
        if (t && k == i) {
            check_table(c, t);
        }
    }
}

/* ---- all ---- */

static bool check_things(struct check *c, const struct gb_host_options *options,
                         struct gb_error **err) {
    const struct gb_manifest *m = c->m;
    struct gb_error *e = NULL;
    c->host = gb_host_new(options, err);
    c->inspections = gb_calloc(m->components_len + 1, sizeof *c->inspections, err);
    c->inspected = gb_calloc(m->components_len + 1, sizeof *c->inspected, err);
    if (!c->host || !c->inspections || !c->inspected) {
        return false;
    }
    check_readable(c, &nowhere, m->host.tls_cert, "certificate", false);
    check_readable(c, &nowhere, m->host.tls_key, "private key", false);
    check_models(c);
    check_grants_of_models(c);
    for (size_t i = 0; i < m->components_len; i++) {
        check_component(c, i);
    }
    for (size_t i = 0; i < m->routes_len; i++) {
        check_route(c, &m->routes[i]);
    }
    check_tables(c);
    if (!gb_check_served(m, &e)) {
        add(c, e, false);
        gb_error_free(e);
    }
    return true;
}

static void check_fini(struct check *c) {
    for (size_t i = 0; c->m && c->inspections && c->inspected && i < c->m->components_len; i++) {
        if (c->inspected[i]) {
            gb_inspection_fini(&c->inspections[i]);
        }
    }
    gb_free(c->inspections);
    gb_free(c->inspected);
    gb_host_free(c->host);
    gb_manifest_unref(c->m);
}

static const char *kind_text(const struct gb_manifest *m) {
    static const char *const kinds[] = {"glovebox", "spin", "program"};
    return m ? kinds[m->kind] : NULL;
}

static char *check_finish(struct check *c, const char *path, struct gb_error **err) {
    yyjson_mut_val *root = yyjson_mut_obj(c->j.doc);
    gb_json_add_bool(&c->j, root, "ok", c->errors_len == 0);
    gb_json_add_text(&c->j, root, "file", path);
    gb_json_add_text(&c->j, root, "kind", kind_text(c->m));
    gb_json_add(&c->j, root, "errors", c->errors);
    gb_json_add(&c->j, root, "warnings", c->warnings);
    gb_json_add_u64(&c->j, root, "left_out", c->left_out);
    gb_json_add(&c->j, root, "components", c->components);
    gb_json_add(&c->j, root, "models", c->models);
    gb_json_add(&c->j, root, "routes", c->routes);
    gb_json_add(&c->j, root, "shadows", c->shadows);
    return gb_json_finish(&c->j, root, 0, err);
}

char *gb_manifest_check_json(const char *path, const struct gb_host_options *options,
                             int *ret_exit_status, struct gb_error **err) {
    struct gb_manifest_options load = {.secrets_optional = true};
    struct gb_manifest_findings findings = {0};
    struct gb_error *e = NULL;
    struct check c = {0};
    c.m = gb_manifest_load(path, &load, &findings, &e);
    if (!c.m && findings.len == 0) {
        gb_error_move(err, e);
        return NULL;
    }
    gb_error_free(e);
    gb_json_init(&c.j);
    c.errors = yyjson_mut_arr(c.j.doc);
    c.warnings = yyjson_mut_arr(c.j.doc);
    c.components = yyjson_mut_arr(c.j.doc);
    c.models = yyjson_mut_arr(c.j.doc);
    c.routes = yyjson_mut_arr(c.j.doc);
    c.shadows = yyjson_mut_arr(c.j.doc);
    c.left_out = findings.left_out;
    for (size_t i = 0; i < findings.len; i++) {
        add(&c, findings.items[i].error, findings.items[i].warning);
    }
    gb_manifest_findings_fini(&findings);
    char *text = NULL;
    if (!c.m || check_things(&c, options, err)) {
        text = check_finish(&c, path, err);
    } else {
        gb_json_fini(&c.j);
    }
    if (text) {
        *ret_exit_status = c.exit_status;
    }
    check_fini(&c);
    return text;
}
