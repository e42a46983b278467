/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program needs and offers, for people: every import with whether this host satisfies it,
 * and every export with its type. Compiles, but links and runs nothing.
 * Ownership: the inspection owns its texts. Errors: wasm-invalid, component-invalid, internal.
 */
#include <stdio.h>

#include "sandbox/sandbox_internal.h"

struct listing {
    struct gb_inspection *to;
    const struct gb_grants *grants;
    struct gb_error *error;
    size_t cap;
};

/* Makes room for one more element; NULL with l->error set. */
static void *room(struct listing *l, void *items, size_t len, size_t each) {
    if (len < l->cap) {
        return items;
    }
    size_t bytes;
    size_t cap = l->cap ? l->cap * 2 : 16;
    if (!gb_mul_size(cap, each, &bytes)) {
        gb_fail(&l->error, GB_INTERNAL, "too many items");
        return NULL;
    }
    void *more = gb_realloc(items, bytes, &l->error);
    if (more) {
        l->cap = cap;
    }
    return more;
}

static char *copy(struct gb_span text, struct gb_error **err) {
    return gb_strndup(text.len ? (const char *)text.ptr : "", text.len, err);
}

static char *note_of(const struct gb_import_verdict *v, struct gb_error **err) {
    switch (v->state) {
    case GB_IMPORT_HAVE:
    case GB_IMPORT_IGNORED:
        return NULL;
    case GB_IMPORT_UNKNOWN:
        return gb_strdup("this host does not have it", err);
    case GB_IMPORT_VERSION:
        return gb_format(err, "this host has %s", v->have);
    case GB_IMPORT_UNGRANTED:
        return gb_format(err, "needs --grant %s", v->grant);
    case GB_IMPORT_UNBUILT:
        return gb_strdup("not built yet", err);
    case GB_IMPORT_TYPE:
        return gb_strdup("this host has it with another type", err);
    case GB_IMPORT_OLD_NN:
        return gb_strdup("belongs to 0.2.0-rc-2024-08-19, not to this version", err);
    }
    return NULL;
}

static char *import_name(const struct gbw_item *item, const struct gb_import_verdict *v,
                         bool is_component, struct gb_error **err) {
    if (!is_component) {
        return gb_format(err, "%.*s::%.*s", GB_SPAN_ARG(gb_of_bridge(item->interface)),
                         GB_SPAN_ARG(gb_of_bridge(item->name)));
    }
    if (v->state == GB_IMPORT_OLD_NN) {
        return gb_format(err, "%.*s#%.*s", GB_SPAN_ARG(gb_of_bridge(item->interface)),
                         GB_SPAN_ARG(gb_of_bridge(item->name)));
    }
    return copy(v->name, err);
}

static void add_import(void *user, const struct gbw_item *item) {
    struct listing *l = user;
    struct gb_inspection *to = l->to;
    struct gb_import_verdict v;
    gb_import_judge(item, to->is_component, l->grants, &v);
    if (l->error || v.state == GB_IMPORT_IGNORED) {
        return;
    }
    struct gb_import_info *imports = room(l, to->imports, to->imports_len, sizeof *imports);
    if (!imports) {
        return;
    }
    to->imports = imports;
    struct gb_import_info *i = &imports[to->imports_len++];
    *i = (struct gb_import_info){.satisfied = v.state == GB_IMPORT_HAVE, .grant = v.grant};
    i->name = import_name(item, &v, to->is_component, &l->error);
    i->version = copy(v.version, &l->error);
    i->note = note_of(&v, &l->error);
}

static void add_export(void *user, const struct gbw_item *item) {
    struct listing *l = user;
    struct gb_inspection *to = l->to;
    if (l->error || (item->interface.len != 0 && item->name.len == 0)) {
        return; /* an interface: its members follow */
    }
    struct gb_export_info *exports = room(l, to->exports, to->exports_len, sizeof *exports);
    if (!exports) {
        return;
    }
    to->exports = exports;
    struct gb_export_info *e = &exports[to->exports_len++];
    *e = (struct gb_export_info){0};
    struct gb_span name = gb_of_bridge(item->name);
    e->name = item->interface.len
                  ? gb_format(&l->error, "%.*s#%.*s", GB_SPAN_ARG(gb_of_bridge(item->interface)),
                              GB_SPAN_ARG(name))
                  : copy(name, &l->error);
    e->type = copy(gb_of_bridge(item->type), &l->error);
}

void gb_inspection_fini(struct gb_inspection *i) {
    for (size_t n = 0; n < i->imports_len; n++) {
        gb_free(i->imports[n].name);
        gb_free(i->imports[n].version);
        gb_free(i->imports[n].note);
    }
    for (size_t n = 0; n < i->exports_len; n++) {
        gb_free(i->exports[n].name);
        gb_free(i->exports[n].type);
    }
    gb_free(i->imports);
    gb_free(i->exports);
    *i = (struct gb_inspection){0};
}

bool gb_program_inspect(struct gb_sandbox *s, const char *name, struct gb_span bytes,
                        const struct gb_grants *grants, struct gb_inspection *ret,
                        struct gb_error **err) {
    uint32_t kind = grants->memory64 ? GB_ENGINE_MEMORY64 : 0u;
    uint64_t bytes_max = gb_limits_default().program_bytes;
    struct gbw_program *p = gb_program_compile(s, name, bytes, kind, bytes_max, err);
    if (!p) {
        return false;
    }
    struct gb_inspection out = {.is_component = gbw_program_is_component(p)};
    struct listing l = {.to = &out, .grants = grants};
    gbw_program_imports(p, add_import, &l);
    l.cap = 0;
    gbw_program_exports(p, add_export, &l);
    struct gb_error *nothing = NULL;
    out.has_entry = gb_choose_entry(p, name, &out.entry, &nothing);
    gb_error_free(nothing); /* no entry is a fact here, not a failure */
    gbw_program_free(p);
    if (l.error) {
        gb_inspection_fini(&out);
        return gb_error_move(err, l.error);
    }
    *ret = out;
    return true;
}
