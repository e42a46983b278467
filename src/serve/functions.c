/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes that call exported functions: POST <route>/FUNCTION (or <route>/IFACE/FUNCTION) with the
 * arguments as JSON, the result as JSON. Each function of the interface is linked when the app is
 * made, so a request only looks its name up.
 *
 * Limits: GB_FUNCTIONS_MAX functions; arguments as the component's text limit, charged.
 */
#include <string.h>

#include "sandbox/value.h"
#include "serve/serve_internal.h"

#define GB_FUNCTIONS_MAX 256u

/* "greet" of "pkg:name/iface@1.0.0#greet", where the interface is the wanted one, with or without
 * its version; NULL: it is another's. */
static const char *function_in(const struct gb_export_info *e, const char *interface) {
    size_t len = strlen(interface);
    const char *hash = strchr(e->name, '#');
    bool is_function = strncmp(e->type, "func(", 5) == 0;
    if (!hash || !is_function || strncmp(e->name, interface, len) != 0 ||
        (e->name[len] != '#' && e->name[len] != '@')) {
        return NULL;
    }
    return hash + 1;
}

static bool add(struct gb_server *s, const struct gb_app_component *c, struct gb_app_route *r,
                const char *export, const char *name, struct gb_span program,
                const struct gb_limits *limits, struct gb_error **err) {
    struct gb_app_function *f = &r->functions[r->functions_len];
    if (r->functions_len == GB_FUNCTIONS_MAX) {
        return gb_fail(err, GB_UNSUPPORTED, "interface \"%s\" has more than %u functions",
                       r->m->interface, GB_FUNCTIONS_MAX);
    }
    f->program = gb_program_load_call(s->sandbox, c->m->name, program, limits, &c->grants, export,
                                      err);
    f->name = f->program ? gb_strdup(name, err) : NULL;
    r->functions_len++; /* what there is of it is freed */
    return f->name != NULL;
}

bool gb_functions_load(struct gb_server *s, const struct gb_app_component *c,
                       struct gb_app_route *r, struct gb_span program,
                       const struct gb_limits *limits, struct gb_error **err) {
    struct gb_inspection i = {0};
    r->functions = gb_calloc(GB_FUNCTIONS_MAX, sizeof *r->functions, err);
    if (!r->functions ||
        !gb_program_inspect(s->sandbox, c->m->name, program, &c->grants, &i, err)) {
        return false;
    }
    bool ok = true;
    for (size_t n = 0; ok && n < i.exports_len; n++) {
        const char *name = function_in(&i.exports[n], r->m->interface);
        ok = !name || add(s, c, r, i.exports[n].name, name, program, limits, err);
    }
    if (ok && r->functions_len == 0) {
        ok = gb_fail(err, GB_NOT_FOUND, "component \"%s\" exports no function of \"%s\"",
                     c->m->name, r->m->interface);
        gb_hint(err, "See `glovebox inspect %s`.", c->m->source);
    }
    gb_inspection_fini(&i);
    return ok;
}

void gb_functions_free(struct gb_app_route *r) {
    for (size_t i = 0; i < r->functions_len; i++) {
        gb_program_unref(r->functions[i].program);
        gb_free(r->functions[i].name);
    }
    gb_free(r->functions);
}

/* "iface" of "pkg:name/iface@1.0.0". */
static struct gb_span short_name(const char *interface) {
    const char *slash = strrchr(interface, '/');
    const char *from = slash ? slash + 1 : interface;
    return gb_span_make(from, strcspn(from, "@"));
}

const struct gb_app_function *gb_functions_find(const struct gb_app_route *r, struct gb_span tail) {
    struct gb_span interface = short_name(r->m->interface);
    if (tail.len > 0 && tail.ptr[0] == '/') {
        tail = gb_span_make(tail.ptr + 1, tail.len - 1);
    }
    if (tail.len > interface.len && memcmp(tail.ptr, interface.ptr, interface.len) == 0 &&
        tail.ptr[interface.len] == '/') {
        tail = gb_span_make(tail.ptr + interface.len + 1, tail.len - interface.len - 1);
    }
    for (size_t i = 0; i < r->functions_len; i++) {
        if (gb_span_is(tail, r->functions[i].name)) {
            return &r->functions[i];
        }
    }
    return NULL;
}

bool gb_functions_read(struct gb_exchange *x, struct gb_error **err) {
    const struct gb_signature *s = gb_program_signature(x->function->program);
    x->values = gb_values_read(s, gb_span_make(x->body.ptr, x->body.len), x->limits.text_bytes,
                               x->account, err);
    if (x->values) {
        x->spec.params = gb_values_items(x->values, &x->spec.params_len);
    }
    return x->values != NULL;
}

bool gb_functions_write(const struct gb_exchange *x, const struct gb_call_result *result,
                        struct gb_buf *out, struct gb_error **err) {
    const struct gb_signature *s = gb_program_signature(x->function->program);
    if (!result->value) {
        return gb_buf_append_text(out, "null\n", err);
    }
    return gb_value_write(s, result->value_type, result->value, out, err) &&
           gb_buf_append_text(out, "\n", err);
}
