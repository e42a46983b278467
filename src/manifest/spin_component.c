/* SPDX-License-Identifier: Apache-2.0 */
/*
 * [component.X] of a spin.toml. Fields that only Spin's tools use are known and left alone; what
 * would change how the component runs and is not built is an error that names it.
 */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "manifest/manifest_internal.h"

struct spin_component {
    struct gb_manifest_component *c;
    const struct gb_spin_variables *variables;
};
typedef bool spin_field_fn(struct gb_reader *r, const struct gb_node *n, struct spin_component *s);

static bool read_source(struct gb_reader *r, const struct gb_node *n, struct spin_component *s) {
    if (n->v.kind == GB_TOML_TABLE) {
        bool registry = gb_node_get(n, "registry") != NULL;
        gb_note_unsupported(r, n, "fetching components %s is not built into this version",
                            registry ? "from a registry" : "by URL");
        gb_note_hint(r, "Download the file and write source = \"PATH\".");
        return true;
    }
    struct gb_span text;
    if (!gb_read_text(r, n, "source = \"PATH\"", &text)) {
        return true;
    }
    if (text.len == 0) {
        gb_note_node(r, n, "\"%.*s\" is empty", GB_SPAN_ARG(n->v.path));
        gb_note_hint(r, "Write source = \"PATH\".");
        return true;
    }
    s->c->source = gb_reader_path(r, text);
    return s->c->source != NULL;
}

static bool read_variables(struct gb_reader *r, const struct gb_node *n,
                           struct spin_component *s) {
    if (!gb_node_is_table(r, n, "variables = { name = \"{{ name }}\" }")) {
        return true;
    }
    struct gb_manifest_pair *items = gb_reader_alloc(r, n->children, sizeof *items);
    size_t len = 0;
    for (const struct gb_node *item = n->first; items && item; item = item->next) {
        struct gb_manifest_pair *pair = &items[len];
        struct gb_span text;
        bool ok;
        if (!gb_pair_name_check(r, item, GB_PAIRS_VARIABLES, &ok)) {
            return false;
        }
        if (!ok || !gb_read_text(r, item, "name = \"{{ name }}\"", &text)) {
            continue;
        }
        pair->origin = gb_node_origin(item);
        pair->name = gb_reader_copy(r, item->key_span);
        if (!pair->name ||
            !gb_spin_template(r, s->variables, item, &pair->value, &pair->secret)) {
            return false;
        }
        len++;
    }
    s->c->variables = (struct gb_manifest_pairs){.items = items, .len = len};
    return items != NULL;
}

static bool read_environment(struct gb_reader *r, const struct gb_node *n,
                             struct spin_component *s) {
    for (const struct gb_node *item = n->first; item; item = item->next) {
        if (item->v.kind == GB_TOML_TABLE) { /* a secret in our form, which Spin has not */
            gb_note_node(r, item, "\"%.*s\" takes a text in quotes", GB_SPAN_ARG(item->v.path));
            gb_note_hint(r, "Write %s = \"…\".", item->key);
            return true;
        }
    }
    return gb_read_pairs(r, n, GB_PAIRS_ENV, &s->c->env);
}

/* ---- lists ---- */

static bool list_room(struct gb_reader *r, const struct gb_node *n) {
    if (n->children <= GB_MANIFEST_LIST_MAX) {
        return true;
    }
    gb_note_node(r, n, "\"%.*s\" has %zu items, more than %u", GB_SPAN_ARG(n->v.path), n->children,
                 GB_MANIFEST_LIST_MAX);
    gb_note_hint(r, "Leave out what is not needed.");
    return false;
}

static bool read_hosts(struct gb_reader *r, const struct gb_node *n, struct spin_component *s) {
    struct gb_form_fault fault;
    if (!gb_node_is_list(r, n, "allowed_outbound_hosts = [\"https://…\"]") || !list_room(r, n)) {
        return true;
    }
    const char **items = gb_reader_alloc(r, n->children, sizeof *items);
    size_t len = 0;
    for (const struct gb_node *item = n->first; items && item; item = item->next) {
        struct gb_span text;
        const char *value;
        bool secret;
        if (!gb_read_text(r, item, "\"https://api.example.org\"", &text)) {
            continue;
        }
        if (!gb_spin_template(r, s->variables, item, &value, &secret)) {
            return false;
        }
        if (secret) {
            gb_note_node(r, item, "\"%.*s\" names a secret, and hosts are no secrets",
                         GB_SPAN_ARG(text));
            gb_note_hint(r, "Write a variable without secret = true for the host.");
            continue;
        }
        fault = value ? gb_form_check(GB_FORM_OUTBOUND, gb_span_of(value))
                      : (struct gb_form_fault){0};
        if (fault.what) {
            gb_note_node(r, item, "\"%.*s\" %s", GB_SPAN_ARG(text), fault.what);
            gb_note_hint(r, "%s", fault.hint);
        } else if (value && strstr(value, ".spin.internal")) {
            gb_note_unsupported(r, item, "\"%s\": calls between components are not built into this "
                                         "version", value);
            gb_note_hint(r, "Compose the components into one, or give the other one a route and "
                            "allow \"self\".");
        } else if (value) {
            items[len++] = value;
        }
    }
    s->c->allowed_outbound_hosts = (struct gb_texts){.items = items, .len = len};
    return items != NULL;
}

static bool add_label(struct gb_reader *r, const struct gb_node *n, struct gb_span text,
                      const char **items, size_t *len) {
    struct gb_form_fault fault = gb_form_check(GB_FORM_LABEL, text);
    if (fault.what) {
        gb_note_node(r, n, "\"%.*s\" %s", GB_SPAN_ARG(text), fault.what);
        gb_note_hint(r, "%s", fault.hint);
        return true;
    }
    for (size_t i = 0; i < *len; i++) {
        if (gb_span_is(text, items[i])) {
            return true;
        }
    }
    const char *copy = gb_reader_copy(r, text);
    items[(*len)++] = copy;
    return copy != NULL;
}

/* Each key names a store, and so does a text that it has. */
static bool stores_of_table(struct gb_reader *r, const struct gb_node *n, const char **items,
                            size_t *len) {
    for (const struct gb_node *item = n->first; item; item = item->next) {
        bool text = item->v.kind == GB_TOML_STRING && item->v.text.len > 0;
        if (item->v.kind == GB_TOML_ARRAY) {
            for (const struct gb_node *inner = item->first; inner; inner = inner->next) {
                if (inner->v.kind == GB_TOML_STRING && *len < GB_MANIFEST_LIST_MAX * 2 &&
                    !add_label(r, inner, inner->v.text, items, len)) {
                    return false;
                }
            }
        } else if (!add_label(r, item, item->key_span, items, len) ||
                   (text && !add_label(r, item, item->v.text, items, len))) {
            return false;
        }
    }
    struct gb_origin at = gb_node_origin(n);
    char right[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < *len && used + 72 < sizeof right; i++) {
        int more = snprintf(right + used, sizeof right - used, "%s\"%s\"", i > 0 ? ", " : "",
                            items[i]);
        used += more > 0 ? (size_t)more : 0;
    }
    gb_note_warning(r, &at, GB_MANIFEST_INVALID,
                    "\"%.*s\" is a table; Spin takes a list of labels", GB_SPAN_ARG(n->v.path));
    gb_note_hint(r, "Write key_value_stores = [%s] under [component.%s].", right,
                 n->parent ? n->parent->key : "");
    return true;
}

static bool read_stores(struct gb_reader *r, const struct gb_node *n, struct spin_component *s) {
    struct gb_span text;
    size_t len = 0;
    bool table = n->v.kind == GB_TOML_TABLE;
    if ((!table && !gb_node_is_list(r, n, "key_value_stores = [\"default\"]")) ||
        !list_room(r, n)) {
        return true;
    }
    /* A table's entries may name two each, and lists up to the limit again. */
    const char **items = gb_reader_alloc(r, GB_MANIFEST_LIST_MAX * 4, sizeof *items);
    if (!items || (table && !stores_of_table(r, n, items, &len))) {
        return false;
    }
    for (const struct gb_node *item = n->first; !table && item; item = item->next) {
        if (gb_read_text(r, item, "\"default\"", &text) && !add_label(r, item, text, items, &len)) {
            return false;
        }
    }
    s->c->key_value_stores = (struct gb_texts){.items = items, .len = len};
    return true;
}

/* ---- files ---- */

static bool add_dir(struct gb_reader *r, const struct gb_node *n, struct gb_span host,
                    struct gb_span guest, struct gb_manifest_dir *dir) {
    dir->host_path = gb_reader_path(r, host);
    dir->guest_path = guest.len > 0 && guest.ptr[0] == '/'
                          ? gb_reader_copy(r, guest)
                          : gb_reader_format(r, "/%.*s", (int)guest.len, (const char *)guest.ptr);
    dir->origin = gb_node_origin(n);
    return dir->host_path && dir->guest_path;
}

static bool read_mount(struct gb_reader *r, const struct gb_node *n, struct gb_manifest_dir *dir,
                       bool *ret_ok) {
    static const char *const known[] = {"source", "destination"};
    const struct gb_node *source = gb_node_get(n, "source");
    const struct gb_node *to = gb_node_get(n, "destination");
    for (const struct gb_node *item = n->first; item; item = item->next) {
        if (item != source && item != to) {
            gb_note_unknown(r, item, known, GB_COUNT(known));
            return true;
        }
    }
    if (!source || !to || source->v.kind != GB_TOML_STRING || to->v.kind != GB_TOML_STRING ||
        source->v.text.len == 0 || to->v.text.len == 0) {
        gb_note_node(r, n, "\"%.*s\" names no folder", GB_SPAN_ARG(n->v.path));
        gb_note_hint(r, "Write { source = \"assets\", destination = \"/assets\" }.");
        return true;
    }
    *ret_ok = true;
    return add_dir(r, n, source->v.text, to->v.text, dir);
}

/* "assets/" + "**" + "/" + "*" and its like are the folder "assets"; other patterns would pick
 * single files, which cannot be shared one by one. */
static bool read_pattern(struct gb_reader *r, const struct gb_node *n, struct gb_manifest_dir *dir,
                         bool *ret_ok) {
    struct gb_span text = n->v.text;
    static const char *const ends[] = {"/**/*", "/**", "/*"};
    for (size_t i = 0; i < GB_COUNT(ends); i++) {
        size_t len = strlen(ends[i]);
        if (text.len > len && memcmp(text.ptr + text.len - len, ends[i], len) == 0) {
            text.len -= len;
            break;
        }
    }
    bool whole = text.len < n->v.text.len || (text.len > 0 && text.ptr[text.len - 1] == '/');
    if (whole && text.len > 1 && text.ptr[text.len - 1] == '/') {
        text.len--;
    }
    bool plain = text.len > 0 && !memchr(text.ptr, '*', text.len) &&
                 !memchr(text.ptr, '?', text.len) && !memchr(text.ptr, '[', text.len) &&
                 text.ptr[0] != '/';
    if (!whole || !plain) {
        gb_note_unsupported(r, n, "sharing \"%.*s\" is not built into this version: only whole "
                                  "folders can be shared", GB_SPAN_ARG(n->v.text));
        gb_note_hint(r, "Write { source = \"assets\", destination = \"/assets\" }.");
        return true;
    }
    *ret_ok = true;
    return add_dir(r, n, text, text, dir);
}

static bool read_files(struct gb_reader *r, const struct gb_node *n, struct spin_component *s) {
    if (!gb_node_is_list(r, n, "files = [{ source = \"assets\", destination = \"/assets\" }]") ||
        !list_room(r, n)) {
        return true;
    }
    struct gb_manifest_dir *dirs = gb_reader_alloc(r, n->children, sizeof *dirs);
    size_t len = 0;
    for (const struct gb_node *item = n->first; dirs && item; item = item->next) {
        bool ok = false;
        if (item->v.kind != GB_TOML_STRING && item->v.kind != GB_TOML_TABLE) {
            gb_note_node(r, item, "\"%.*s\" names no folder", GB_SPAN_ARG(item->v.path));
            gb_note_hint(r, "Write { source = \"assets\", destination = \"/assets\" }.");
            continue;
        }
        if (!(item->v.kind == GB_TOML_TABLE ? read_mount : read_pattern)(r, item, &dirs[len],
                                                                         &ok)) {
            return false;
        }
        len += ok ? 1 : 0;
    }
    s->c->dirs = dirs;
    s->c->dirs_len = len;
    return dirs != NULL;
}

/* ---- what there is not ---- */

static bool refuse(struct gb_reader *r, const struct gb_node *n, struct spin_component *s) {
    (void)s;
    if ((n->v.kind == GB_TOML_ARRAY || n->v.kind == GB_TOML_TABLE) && n->children == 0) {
        return true; /* asks for nothing */
    }
    gb_note_unsupported(r, n, "\"%.*s\" is not built into this version",
                        GB_SPAN_ARG(n->key_span));
    gb_note_hint(r, "Leave %s out, if the component can do without.", n->key);
    return true;
}

static bool refuse_old_hosts(struct gb_reader *r, const struct gb_node *n,
                             struct spin_component *s) {
    (void)s;
    if (n->v.kind == GB_TOML_ARRAY && n->children == 0) {
        return true;
    }
    gb_note_unsupported(r, n, "\"allowed_http_hosts\" is of an older Spin");
    gb_note_hint(r, "Write allowed_outbound_hosts = [\"https://api.example.org\"].");
    return true;
}

static bool leave(struct gb_reader *r, const struct gb_node *n, struct spin_component *s) {
    (void)r;
    (void)n;
    (void)s;
    return true;
}

static const struct {
    const char *key;
    spin_field_fn *read;
    const char *ours; /* the key of [component.NAME] that it is, or NULL */
} fields[] = {
    {"source", read_source, "source"},
    {"description", leave, NULL},
    {"variables", read_variables, NULL},
    {"environment", read_environment, NULL},
    {"files", read_files, NULL},
    {"exclude_files", refuse, NULL},
    {"allowed_outbound_hosts", read_hosts, "allowed-outbound-hosts"},
    {"allowed_http_hosts", refuse_old_hosts, NULL},
    {"key_value_stores", read_stores, "key-value-stores"},
    {"sqlite_databases", refuse, NULL},
    {"ai_models", refuse, NULL},
    {"targets", leave, NULL},
    {"build", leave, NULL},
    {"tool", leave, NULL},
    {"profile", leave, NULL},
    {"dependencies_inherit_configuration", leave, NULL},
    {"dependencies", refuse, NULL},
};

bool gb_spin_component_read(struct gb_reader *r, const struct gb_spin_variables *variables,
                            const struct gb_node *n, struct gb_manifest_component *ret_component,
                            struct gb_origin *origins) {
    const char *known[GB_COUNT(fields)];
    struct spin_component s = {.c = ret_component, .variables = variables};
    for (size_t i = 0; i < GB_COUNT(fields); i++) {
        known[i] = fields[i].key;
    }
    for (const struct gb_node *item = n->first; item; item = item->next) {
        size_t i = 0;
        while (i < GB_COUNT(fields) && !gb_span_is(item->key_span, fields[i].key)) {
            i++;
        }
        if (i == GB_COUNT(fields)) {
            gb_note_unknown(r, item, known, GB_COUNT(known));
        } else if (!fields[i].read(r, item, &s)) {
            return false;
        } else if (fields[i].ours) {
            gb_origin_set(origins, GB_TABLE_COMPONENT, fields[i].ours, item);
        }
    }
    if (!gb_node_get(n, "source")) {
        gb_note_node(r, n, "\"source\" is missing here");
        gb_note_hint(r, "Write source = \"PATH\": the component's file.");
    }
    /* Spin's SDKs import these whether they are used or not; the lists say what they may do. */
    ret_component->http = true;
    ret_component->kv = true;
    return true;
}
