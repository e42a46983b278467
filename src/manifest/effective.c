/* SPDX-License-Identifier: Apache-2.0 */
/* Every value of a manifest as it would be written, with where it came from; secrets excepted. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "manifest/manifest_internal.h"

#define VALUE_BYTES_MAX ((size_t)4 << 20)

struct walk {
    gb_manifest_value_fn *each;
    void *user;
    struct gb_buf key, value;
};

bool gb_show_text(const char *text, struct gb_buf *out, struct gb_error **err) {
    bool ok = gb_buf_append_text(out, "\"", err);
    for (const char *c = text; ok && *c; c++) {
        if (*c == '"' || *c == '\\') {
            ok = gb_buf_append_format(out, err, "\\%c", *c);
        } else if (*c == '\n') {
            ok = gb_buf_append_text(out, "\\n", err);
        } else if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            ok = gb_buf_append_format(out, err, "\\u%04X", (unsigned)(unsigned char)*c);
        } else {
            ok = gb_buf_append(out, c, 1, err);
        }
    }
    return ok && gb_buf_append_text(out, "\"", err);
}

static bool show_list(const struct gb_texts *list, struct gb_buf *out, struct gb_error **err) {
    bool ok = gb_buf_append_text(out, "[", err);
    for (size_t i = 0; ok && i < list->len; i++) {
        ok = (i == 0 || gb_buf_append_text(out, ", ", err)) &&
             gb_show_text(list->items[i], out, err);
    }
    return ok && gb_buf_append_text(out, "]", err);
}

static bool show_choice(const struct gb_setting *row, uint32_t choice, struct gb_buf *out,
                        struct gb_error **err) {
    const char *at = row->choices;
    uint32_t skip = choice - (row->initial[0] ? 0 : 1);
    if (!row->initial[0] && choice == 0) {
        return true;
    }
    for (uint32_t i = 0; i < skip && *at; i++) {
        at += strcspn(at, "|");
        at += *at ? 1 : 0;
    }
    return gb_buf_append_format(out, err, "\"%.*s\"", (int)strcspn(at, "|"), at);
}

bool gb_setting_show(const struct gb_setting *row, const void *fields, struct gb_buf *out,
                     struct gb_error **err) {
    const void *field = (const char *)fields + row->offset;
    char text[32];
    switch (row->kind) {
    case GB_SETTING_SIZE:
        gb_size_text(*(const uint64_t *)field, text, sizeof text);
        return gb_buf_append_format(out, err, "\"%s\"", text);
    case GB_SETTING_DURATION:
        gb_duration_text(*(const uint64_t *)field, text, sizeof text);
        return gb_buf_append_format(out, err, "\"%s\"", text);
    case GB_SETTING_COUNT:
        return gb_buf_append_format(out, err, "%" PRIu64, *(const uint64_t *)field);
    case GB_SETTING_BOOL:
        return gb_buf_append_text(out, *(const bool *)field ? "true" : "false", err);
    case GB_SETTING_CHOICE:
        return show_choice(row, *(const uint32_t *)field, out, err);
    case GB_SETTING_TEXT:
    case GB_SETTING_PATH: {
        const char *s = *(const char *const *)field;
        return !s || gb_show_text(s, out, err);
    }
    case GB_SETTING_LIST:
        return show_list(field, out, err);
    case GB_SETTING_OTHER:
        break;
    }
    return true;
}

static bool emit(struct walk *w, const char *doc, const struct gb_origin *origin,
                 struct gb_error **err) {
    struct gb_manifest_value v = {.key = gb_buf_text(&w->key),
                                  .value = gb_buf_text(&w->value),
                                  .doc = doc,
                                  .origin = origin};
    return w->each(w->user, &v, err);
}

static bool set_key(struct walk *w, struct gb_error **err, const char *prefix, const char *key) {
    w->key.len = 0;
    w->value.len = 0;
    return gb_buf_append_text(&w->value, "", err) &&
           gb_buf_append_format(&w->key, err, "%s.%s", prefix, key);
}

/* only: of LIMITS, the rows that are given; else all. */
static bool show_rows(struct walk *w, const char *prefix, enum gb_setting_table table,
                      const void *fields, const struct gb_origin *origins, uint32_t only,
                      struct gb_error **err) {
    size_t len;
    const struct gb_setting *rows = gb_settings_of(table, &len);
    for (size_t i = 0; i < len; i++) {
        bool left_out = table == GB_TABLE_LIMITS && !(only >> i & 1u);
        if (rows[i].kind == GB_SETTING_OTHER || left_out) {
            continue;
        }
        if (!set_key(w, err, prefix, rows[i].key) ||
            !gb_setting_show(&rows[i], fields, &w->value, err) ||
            !emit(w, rows[i].doc, &origins[i], err)) {
            return false;
        }
    }
    return true;
}

static bool show_pairs(struct walk *w, const char *prefix, const char *key,
                       const struct gb_manifest_pairs *pairs, struct gb_error **err) {
    for (size_t i = 0; i < pairs->len; i++) {
        const struct gb_manifest_pair *p = &pairs->items[i];
        bool ok = set_key(w, err, prefix, key) &&
                  gb_buf_append_format(&w->key, err, ".%s", p->name);
        if (ok && p->secret) {
            ok = gb_buf_append_text(&w->value, p->value ? "(secret)" : "(secret, not read)", err);
        } else if (ok && p->value) {
            ok = gb_show_text(p->value, &w->value, err);
        }
        if (!ok || !emit(w, NULL, &p->origin, err)) {
            return false;
        }
    }
    return true;
}

static bool show_dirs(struct walk *w, const char *prefix, const struct gb_manifest_component *c,
                      struct gb_error **err) {
    for (size_t i = 0; i < c->dirs_len; i++) {
        const struct gb_manifest_dir *d = &c->dirs[i];
        bool ok = set_key(w, err, prefix, "dirs") &&
                  gb_buf_append_format(&w->key, err, "[%zu]", i) &&
                  gb_buf_append_format(&w->value, err, "\"%s::%s%s\"", d->host_path, d->guest_path,
                                       d->writable ? "::rw" : "");
        if (!ok || !emit(w, NULL, &d->origin, err)) {
            return false;
        }
    }
    return true;
}

static bool show_static(struct walk *w, const char *prefix, const struct gb_manifest_route *r,
                        struct gb_error **err) {
    if (r->kind != GB_ROUTE_STATIC) {
        return true;
    }
    return set_key(w, err, prefix, "static.status") &&
           gb_buf_append_format(&w->value, err, "%u", r->answer.status) &&
           emit(w, NULL, &r->at, err) &&
           show_pairs(w, prefix, "static.headers", &r->answer.headers, err) &&
           set_key(w, err, prefix, "static.body") &&
           gb_show_text(r->answer.body, &w->value, err) && emit(w, NULL, &r->at, err);
}

#define PREFIX_BYTES (GB_MANIFEST_NAME_MAX + 32u)
#define ALL_ROWS UINT32_MAX

static bool show_tenant(struct walk *w, const struct gb_manifest_tenant *t,
                        struct gb_error **err) {
    char prefix[PREFIX_BYTES], limits[PREFIX_BYTES + 8], budgets[PREFIX_BYTES + 8];
    snprintf(prefix, sizeof prefix, "tenant.%s", t->name);
    snprintf(limits, sizeof limits, "%s.limits", prefix);
    snprintf(budgets, sizeof budgets, "%s.budgets", prefix);
    return show_rows(w, prefix, GB_TABLE_TENANT, t, t->origins, ALL_ROWS, err) &&
           show_rows(w, limits, GB_TABLE_LIMITS, &t->limits, t->limits.origins, t->limits.given,
                     err) &&
           show_rows(w, budgets, GB_TABLE_BUDGETS, &t->budgets, t->budgets.origins, ALL_ROWS, err);
}

static bool show_component(struct walk *w, const struct gb_manifest_component *c,
                           struct gb_error **err) {
    char prefix[PREFIX_BYTES], limits[PREFIX_BYTES + 8];
    snprintf(prefix, sizeof prefix, "component.%s", c->name);
    snprintf(limits, sizeof limits, "%s.limits", prefix);
    return show_rows(w, prefix, GB_TABLE_COMPONENT, c, c->origins, ALL_ROWS, err) &&
           show_pairs(w, prefix, "env", &c->env, err) && show_dirs(w, prefix, c, err) &&
           show_pairs(w, prefix, "variables", &c->variables, err) &&
           show_rows(w, limits, GB_TABLE_LIMITS, &c->limits, c->limits.origins, c->limits.given,
                     err);
}

static bool show_all(struct walk *w, const struct gb_manifest *m, struct gb_error **err) {
    char prefix[PREFIX_BYTES];
    bool ok = show_rows(w, "host", GB_TABLE_HOST, &m->host, m->host.origins, ALL_ROWS, err) &&
              show_rows(w, "limits", GB_TABLE_LIMITS, &m->limits, m->limits.origins, ALL_ROWS, err);
    for (size_t i = 0; ok && i < m->models_len; i++) {
        snprintf(prefix, sizeof prefix, "model.%s", m->models[i].name);
        ok = show_rows(w, prefix, GB_TABLE_MODEL, &m->models[i], m->models[i].origins, ALL_ROWS,
                       err);
    }
    for (size_t i = 0; ok && i < m->tenants_len; i++) {
        ok = show_tenant(w, &m->tenants[i], err);
    }
    for (size_t i = 0; ok && i < m->components_len; i++) {
        ok = show_component(w, &m->components[i], err);
    }
    for (size_t i = 0; ok && i < m->routes_len; i++) {
        snprintf(prefix, sizeof prefix, "route[%zu]", i);
        ok = show_rows(w, prefix, GB_TABLE_ROUTE, &m->routes[i], m->routes[i].origins, ALL_ROWS,
                       err) &&
             show_static(w, prefix, &m->routes[i], err);
    }
    return ok;
}

bool gb_manifest_each_value(const struct gb_manifest *m, gb_manifest_value_fn *each, void *user,
                            struct gb_error **err) {
    struct walk w = {.each = each, .user = user};
    gb_buf_init(&w.key, VALUE_BYTES_MAX);
    gb_buf_init(&w.value, VALUE_BYTES_MAX);
    bool ok = show_all(&w, m, err);
    gb_buf_fini(&w.key);
    gb_buf_fini(&w.value);
    return ok;
}
