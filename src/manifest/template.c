/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spin's variables: a value from the environment (SPIN_VARIABLE_NAME), else the default; and the
 * templates that name them. A text made with a secret is a secret.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "manifest/manifest_internal.h"

#define NAME_BYTES_MAX 64u

static bool name_ok(struct gb_span name) {
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        if (!(c >= 'a' && c <= 'z') && (i == 0 || (!(c >= '0' && c <= '9') && c != '_'))) {
            return false;
        }
    }
    return name.len > 0 && name.len <= NAME_BYTES_MAX;
}

static bool read_bool(struct gb_reader *r, const struct gb_node *n, bool *ret) {
    if (n->v.kind != GB_TOML_BOOL) {
        gb_note_node(r, n, "\"%.*s\" takes true or false", GB_SPAN_ARG(n->v.path));
        gb_note_hint(r, "Write %s = true, without quotes.", n->key);
        return false;
    }
    *ret = n->v.integer != 0;
    return true;
}

static void env_name(const char *variable, char *out, size_t cap) {
    snprintf(out, cap, "SPIN_VARIABLE_%s", variable);
    for (char *c = out; *c; c++) {
        if (*c >= 'a' && *c <= 'z') {
            *c = (char)(*c - 'a' + 'A');
        }
    }
}

static bool value_of(struct gb_reader *r, const struct gb_node *n, struct gb_manifest_pair *pair,
                     const struct gb_node *initial, bool required) {
    char name[32 + NAME_BYTES_MAX];
    env_name(pair->name, name, sizeof name);
    const char *value = getenv(name);
    struct gb_span text;
    if (value) {
        pair->origin.kind = GB_ORIGIN_ENV;
        pair->origin.from = gb_reader_copy(r, gb_span_of(name));
        pair->value = gb_reader_copy(r, gb_span_of(value));
        return pair->origin.from && pair->value;
    }
    if (initial) {
        if (gb_read_text(r, initial, "default = \"…\"", &text)) {
            pair->value = gb_reader_copy(r, text);
        }
        return !r->fatal;
    }
    if (!required) {
        gb_note_node(r, n, "the variable \"%s\" has no value", pair->name);
        gb_note_hint(r, "Write default = \"…\", or required = true.");
    } else if (r->options->secrets_optional) {
        gb_note_warning(r, &pair->origin, GB_MANIFEST_INVALID,
                        "the variable \"%s\" is required, and %s is not set", pair->name, name);
        gb_note_hint(r, "Set it before serving: export %s=…", name);
    } else {
        gb_note_node(r, n, "the variable \"%s\" is required, and %s is not set", pair->name, name);
        gb_note_hint(r, "Set it: export %s=…", name);
    }
    return true;
}

static bool read_variable(struct gb_reader *r, const struct gb_node *n,
                          struct gb_manifest_pair *pair) {
    static const char *const known[] = {"description", "default", "required", "secret"};
    bool required = false;
    struct gb_span text;
    const struct gb_node *initial = NULL;
    pair->origin = gb_node_origin(n);
    pair->name = gb_reader_copy(r, n->key_span);
    if (!pair->name) {
        return false;
    }
    if (!name_ok(n->key_span)) {
        gb_note_node(r, n, "\"%.*s\" is no name of a variable", GB_SPAN_ARG(n->key_span));
        gb_note_hint(r, "Write lower-case letters, digits and _, the first a letter.");
        return true;
    }
    if (!gb_node_is_table(r, n, "NAME = { default = \"…\" }")) {
        return true;
    }
    for (const struct gb_node *item = n->first; item; item = item->next) {
        if (gb_span_is(item->key_span, "default")) {
            initial = item;
        } else if (gb_span_is(item->key_span, "required")) {
            (void)read_bool(r, item, &required);
        } else if (gb_span_is(item->key_span, "secret")) {
            (void)read_bool(r, item, &pair->secret);
        } else if (gb_span_is(item->key_span, "description")) {
            (void)gb_read_text(r, item, "description = \"…\"", &text);
        } else {
            gb_note_unknown(r, item, known, GB_COUNT(known));
        }
    }
    return value_of(r, n, pair, initial, required);
}

bool gb_spin_variables_read(struct gb_reader *r, const struct gb_node *n,
                            struct gb_spin_variables *ret_variables) {
    if (!gb_node_is_table(r, n, "[variables]")) {
        return true;
    }
    struct gb_manifest_pair *items = gb_reader_alloc(r, n->children, sizeof *items);
    if (!items) {
        return false;
    }
    size_t len = 0;
    for (const struct gb_node *item = n->first; item; item = item->next) {
        if (!read_variable(r, item, &items[len++])) {
            return false;
        }
    }
    *ret_variables = (struct gb_spin_variables){.items = items, .len = len};
    return true;
}

/* ---- templates ---- */

static const struct gb_manifest_pair *find(const struct gb_spin_variables *variables,
                                           struct gb_span name) {
    for (size_t i = 0; i < variables->len; i++) {
        if (gb_span_is(name, variables->items[i].name)) {
            return &variables->items[i];
        }
    }
    return NULL;
}

static struct gb_span trimmed(struct gb_span text) {
    while (text.len > 0 && text.ptr[0] == ' ') {
        text = gb_span_make(text.ptr + 1, text.len - 1);
    }
    while (text.len > 0 && text.ptr[text.len - 1] == ' ') {
        text.len--;
    }
    return text;
}

static size_t find_pair(struct gb_span text, size_t from, char c) {
    for (size_t i = from; i + 1 < text.len; i++) {
        if (text.ptr[i] == (uint8_t)c && text.ptr[i + 1] == (uint8_t)c) {
            return i;
        }
    }
    return text.len;
}

static void note_no_variable(struct gb_reader *r, const struct gb_spin_variables *variables,
                             const struct gb_node *n, struct gb_span name) {
    const char *names[64];
    size_t len = 0;
    for (size_t i = 0; i < variables->len && len < GB_COUNT(names); i++) {
        names[len++] = variables->items[i].name;
    }
    const char *nearest = gb_toml_nearest(name, names, len);
    gb_note_node(r, n, "\"%.*s\" names the variable \"%.*s\", which there is not",
                 GB_SPAN_ARG(n->v.path), GB_SPAN_ARG(name));
    if (nearest) {
        gb_note_hint(r, "Did you mean {{ %s }}?", nearest);
    } else {
        gb_note_hint(r, "Write it under [variables]: NAME = { default = \"…\" }.");
    }
}

/* What stands at `at`: plain text up to the next variable, or that variable's value. ptr is NULL
 * where it has none. */
static struct gb_span next_part(struct gb_reader *r, const struct gb_spin_variables *variables,
                                const struct gb_node *n, size_t *at, bool *secret) {
    struct gb_span text = n->v.text;
    size_t open = find_pair(text, *at, '{');
    if (open > *at) {
        struct gb_span part = gb_span_make(text.ptr + *at, open - *at);
        *at = open;
        return part;
    }
    size_t close = find_pair(text, open + 2, '}');
    *at = close + 2;
    if (close == text.len) {
        *at = text.len;
        gb_note_node(r, n, "\"%.*s\" has {{ without }}", GB_SPAN_ARG(n->v.path));
        gb_note_hint(r, "Write {{ name }}.");
        return (struct gb_span){0};
    }
    struct gb_span name = trimmed(gb_span_make(text.ptr + open + 2, close - open - 2));
    const struct gb_manifest_pair *v = find(variables, name);
    if (!v) {
        note_no_variable(r, variables, n, name);
        return (struct gb_span){0};
    }
    *secret = *secret || v->secret;
    return v->value ? gb_span_make(v->value, strlen(v->value)) : (struct gb_span){0};
}

bool gb_spin_template(struct gb_reader *r, const struct gb_spin_variables *variables,
                      const struct gb_node *n, const char **ret_value, bool *ret_secret) {
    char *out = NULL;
    *ret_value = NULL;
    *ret_secret = false;
    /* Once for the length, once to write; what is wrong is noted the first time only. */
    for (int pass = 0; pass < 2; pass++) {
        size_t len = 0;
        for (size_t at = 0; at < n->v.text.len;) {
            struct gb_span part = next_part(r, variables, n, &at, ret_secret);
            if (!part.ptr) {
                return true;
            }
            if (out && part.len > 0) {
                memcpy(out + len, part.ptr, part.len);
            }
            len += part.len;
            if (len > GB_MANIFEST_TEXT_BYTES_MAX) {
                gb_note_node(r, n, "\"%.*s\" comes to more than %u bytes", GB_SPAN_ARG(n->v.path),
                             GB_MANIFEST_TEXT_BYTES_MAX);
                gb_note_hint(r, "Use shorter values.");
                return true;
            }
        }
        if (pass == 0) {
            out = gb_reader_alloc(r, len + 1, 1);
            if (!out) {
                return false;
            }
        }
    }
    *ret_value = out;
    return true;
}
