/* SPDX-License-Identifier: Apache-2.0 */
/* spin.toml, version 2: application, variables, HTTP triggers and components. */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "manifest/manifest_internal.h"

struct spin {
    struct gb_spin_variables variables;
    const char *base; /* of all routes: "" or "/api" */
};

/* ---- version and application ---- */

static bool version_ok(struct gb_reader *r) {
    const struct gb_node *now = gb_node_get(r->root, "spin_manifest_version");
    const struct gb_node *old = gb_node_get(r->root, "spin_version");
    const struct gb_node *n = now ? now : old;
    if (!n) {
        gb_note_node(r, r->root, "this is Spin's form, without \"spin_manifest_version\"");
        gb_note_hint(r, "Write spin_manifest_version = 2 as the first line.");
        return false;
    }
    if (now && n->v.kind == GB_TOML_INTEGER && n->v.integer == 2) {
        return true;
    }
    gb_note_unsupported(r, n, "\"%.*s\" is %.*s: manifests of that version are not read",
                        GB_SPAN_ARG(n->key_span), GB_SPAN_ARG(n->v.text));
    gb_note_hint(r, "Upgrade the file (`spin doctor` can), then write spin_manifest_version = 2.");
    return false;
}

static bool read_application_trigger(struct gb_reader *r, const struct gb_node *n,
                                     struct spin *s) {
    static const char *const known[] = {"base"};
    for (const struct gb_node *item = n->first; item; item = item->next) {
        if (!gb_span_is(item->key_span, "http")) {
            gb_note_unsupported(r, item, "the trigger \"%.*s\" is not built into this version",
                                GB_SPAN_ARG(item->key_span));
            gb_note_hint(r, "Remove it; there is the trigger http.");
            continue;
        }
        for (const struct gb_node *field = item->first; field; field = field->next) {
            struct gb_span base;
            if (!gb_span_is(field->key_span, "base")) {
                gb_note_unknown(r, field, known, GB_COUNT(known));
            } else if (gb_read_text(r, field, "base = \"/\"", &base)) {
                while (base.len > 0 && base.ptr[base.len - 1] == '/') {
                    base.len--;
                }
                s->base = gb_reader_copy(r, base);
                if (!s->base) {
                    return false;
                }
            }
        }
    }
    return true;
}

static bool read_application(struct gb_reader *r, const struct gb_node *n, struct spin *s) {
    static const char *const known[] = {"name",    "version", "description", "authors",
                                        "targets", "trigger", "tool"};
    struct gb_span name;
    if (!gb_node_is_table(r, n, "[application]")) {
        return true;
    }
    for (const struct gb_node *item = n->first; item; item = item->next) {
        size_t i = 0;
        while (i < GB_COUNT(known) && !gb_span_is(item->key_span, known[i])) {
            i++;
        }
        if (i == GB_COUNT(known)) {
            gb_note_unknown(r, item, known, GB_COUNT(known));
        } else if (i == 0 && gb_read_text(r, item, "name = \"…\"", &name)) {
            r->m->name = gb_reader_copy(r, name);
        } else if (gb_span_is(item->key_span, "trigger") &&
                   gb_node_is_table(r, item, "[application.trigger.http]") &&
                   !read_application_trigger(r, item, s)) {
            return false;
        }
    }
    if (!gb_node_get(n, "name")) {
        gb_note_node(r, n, "\"application\" has no \"name\"");
        gb_note_hint(r, "Write name = \"…\" under [application].");
    }
    return !r->fatal;
}

/* ---- triggers ---- */

static bool read_path(struct gb_reader *r, const struct gb_node *n, const struct spin *s,
                      struct gb_manifest_route *route) {
    struct gb_span text;
    if (n->v.kind == GB_TOML_TABLE) {
        gb_note_unsupported(r, n, "private routes are not built into this version");
        gb_note_hint(r, "Write a path, as in route = \"/...\", or remove this trigger.");
        return true;
    }
    if (!gb_read_text(r, n, "route = \"/...\"", &text)) {
        return true;
    }
    char *path = gb_reader_format(r, "%s%.*s", s->base, (int)text.len, (const char *)text.ptr);
    if (!path) {
        return false;
    }
    struct gb_form_fault fault = gb_form_check(GB_FORM_ROUTE, gb_span_of(path));
    if (fault.what) {
        gb_note_node(r, n, "the route \"%.*s\" %s", GB_SPAN_ARG(text), fault.what);
        gb_note_hint(r, "%s", fault.hint);
        return true;
    }
    route->path = path;
    return gb_route_split(r, route);
}

static bool read_target(struct gb_reader *r, const struct gb_node *n,
                        struct gb_manifest_route *route) {
    struct gb_span text;
    if (n->v.kind == GB_TOML_TABLE) {
        gb_note_unsupported(r, n, "components inside of a trigger are not built into this version");
        gb_note_hint(r, "Write it under [component.NAME], and component = \"NAME\" here.");
        return true;
    }
    if (!gb_read_text(r, n, "component = \"NAME\"", &text)) {
        return true;
    }
    route->component_name = gb_reader_copy(r, text);
    return route->component_name != NULL;
}

static bool read_executor(struct gb_reader *r, const struct gb_node *n) {
    const struct gb_node *type = gb_node_get(n, "type");
    if (n->v.kind == GB_TOML_TABLE && n->children <= 1 &&
        (!type || (type->v.kind == GB_TOML_STRING &&
                   (gb_span_is(type->v.text, "http") || gb_span_is(type->v.text, "spin"))))) {
        return true;
    }
    gb_note_unsupported(r, n, "this \"executor\" is not built into this version");
    gb_note_hint(r, "Write executor = { type = \"http\" }, or leave it out.");
    return true;
}

static bool read_trigger(struct gb_reader *r, const struct gb_node *n, const struct spin *s,
                         struct gb_manifest_route *route, struct gb_origin *origins) {
    static const char *const known[] = {"id",       "component",  "static_response", "route",
                                        "executor", "components", "dependencies"};
    struct gb_span text;
    for (const struct gb_node *item = n->first; item; item = item->next) {
        bool ok = true;
        size_t i = 0;
        while (i < GB_COUNT(known) && !gb_span_is(item->key_span, known[i])) {
            i++;
        }
        switch (i) {
        case 0:
            (void)gb_read_text(r, item, "id = \"…\"", &text);
            break;
        case 1:
            gb_origin_set(origins, GB_TABLE_ROUTE, "component", item);
            ok = read_target(r, item, route);
            break;
        case 2:
            route->kind = GB_ROUTE_STATIC;
            ok = gb_read_static(r, item, "status_code", &route->answer);
            break;
        case 3:
            gb_origin_set(origins, GB_TABLE_ROUTE, "path", item);
            ok = read_path(r, item, s, route);
            break;
        case 4:
            ok = read_executor(r, item);
            break;
        case 5:
        case 6:
            gb_note_unsupported(r, item, "\"%s\" of a trigger is not built into this version",
                                item->key);
            gb_note_hint(r, "Compose the components into one file, and leave %s out.", item->key);
            break;
        default:
            gb_note_unknown(r, item, known, GB_COUNT(known));
        }
        if (!ok) {
            return false;
        }
    }
    if (!gb_node_get(n, "route")) {
        gb_note_node(r, n, "this trigger has no \"route\"");
        gb_note_hint(r, "Write route = \"/...\" for every request, or another path.");
    }
    return true;
}

static bool read_http(struct gb_reader *r, const struct gb_node *n, const struct spin *s) {
    if (n->v.kind != GB_TOML_ARRAY || n->children > GB_MANIFEST_ROUTES_MAX) {
        gb_note_node(r, n, "\"trigger.http\" is no list of at most %u tables",
                     GB_MANIFEST_ROUTES_MAX);
        gb_note_hint(r, "Write each trigger under a line [[trigger.http]].");
        return true;
    }
    struct gb_manifest_route *all = gb_reader_alloc(r, n->children, sizeof *all);
    size_t len = 0;
    for (const struct gb_node *item = n->first; all && item; item = item->next) {
        if (!gb_node_is_table(r, item, "each trigger under a line [[trigger.http]]")) {
            continue;
        }
        all[len].at = gb_node_origin(item);
        struct gb_origin *origins = gb_origins_new(r, GB_TABLE_ROUTE);
        all[len].origins = origins;
        if (!origins || !read_trigger(r, item, s, &all[len++], origins)) {
            return false;
        }
    }
    r->m->routes = all;
    r->m->routes_len = len;
    return all != NULL;
}

static bool read_triggers(struct gb_reader *r, const struct gb_node *n, const struct spin *s) {
    if (!gb_node_is_table(r, n, "[[trigger.http]]")) {
        return true;
    }
    for (const struct gb_node *item = n->first; item; item = item->next) {
        if (gb_span_is(item->key_span, "http")) {
            if (!read_http(r, item, s)) {
                return false;
            }
            continue;
        }
        gb_note_unsupported(r, item, "the trigger \"%.*s\" is not built into this version",
                            GB_SPAN_ARG(item->key_span));
        gb_note_hint(r, "Remove [[trigger.%s]]; there is [[trigger.http]].", item->key);
    }
    return true;
}

/* ---- components ---- */

static bool read_components(struct gb_reader *r, const struct gb_node *n, const struct spin *s) {
    if (!gb_node_is_table(r, n, "[component.NAME]")) {
        return true;
    }
    if (n->children > GB_MANIFEST_COMPONENTS_MAX) {
        gb_note_node(r, n, "there are more than %u components", GB_MANIFEST_COMPONENTS_MAX);
        gb_note_hint(r, "Split the application.");
        return true;
    }
    struct gb_manifest_component *all = gb_reader_alloc(r, n->children, sizeof *all);
    size_t len = 0;
    for (const struct gb_node *item = n->first; all && item; item = item->next) {
        struct gb_form_fault fault = gb_form_check(GB_FORM_NAME, item->key_span);
        if (fault.what) {
            gb_note_node(r, item, "\"%.*s\" %s of a component", GB_SPAN_ARG(item->key_span),
                         fault.what);
            gb_note_hint(r, "%s", fault.hint);
        }
        if (fault.what || !gb_node_is_table(r, item, "[component.NAME]")) {
            continue;
        }
        struct gb_manifest_component *c = &all[len++];
        c->at = gb_node_origin(item);
        c->name = gb_reader_copy(r, item->key_span);
        struct gb_origin *origins = gb_origins_new(r, GB_TABLE_COMPONENT);
        c->origins = origins;
        c->limits.origins = gb_origins_new(r, GB_TABLE_LIMITS);
        if (!c->name || !origins || !c->limits.origins ||
            !gb_spin_component_read(r, &s->variables, item, c, origins)) {
            return false;
        }
    }
    r->m->components = all;
    r->m->components_len = len;
    return all != NULL;
}

bool gb_read_spin(struct gb_reader *r) {
    static const char *const known[] = {"spin_manifest_version", "application", "variables",
                                        "trigger", "component"};
    struct spin s = {.base = ""};
    if (!version_ok(r)) {
        return true;
    }
    const struct gb_node *application = gb_node_get(r->root, "application");
    const struct gb_node *variables = gb_node_get(r->root, "variables");
    const struct gb_node *trigger = gb_node_get(r->root, "trigger");
    const struct gb_node *component = gb_node_get(r->root, "component");
    for (const struct gb_node *n = r->root->first; n; n = n->next) {
        size_t i = 0;
        while (i < GB_COUNT(known) && !gb_span_is(n->key_span, known[i])) {
            i++;
        }
        if (i == GB_COUNT(known)) {
            gb_note_unknown(r, n, known, GB_COUNT(known));
        }
    }
    if (!application) {
        gb_note_node(r, r->root, "there is no \"application\"");
        gb_note_hint(r, "Write [application] with name = \"…\".");
    }
    return gb_read_host_defaults(r) && (!application || read_application(r, application, &s)) &&
           (!variables || gb_spin_variables_read(r, variables, &s.variables)) &&
           (!trigger || read_triggers(r, trigger, &s)) &&
           (!component || read_components(r, component, &s));
}
