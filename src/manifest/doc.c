/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of a TOML file. The walk names each value by its whole path, parents first; the parent
 * of a value is the nearest of the last one's ancestors whose path is a beginning of its own.
 * Limits: number of values, length of paths and texts.
 */
#include "base/alloc.h"
#include "base/num.h"
#include "manifest/manifest_internal.h"

struct build {
    struct gb_reader *r;
    struct gb_node *last;
};

static bool is_parent(const struct gb_node *n, struct gb_span path) {
    size_t len = n->v.path.len;
    if (!n->parent) {
        return true;
    }
    return path.len > len && memcmp(path.ptr, n->v.path.ptr, len) == 0 &&
           (path.ptr[len] == '.' || path.ptr[len] == '[');
}

/* The last part of a path: "[3]" is "", "\"a.b\"" is "a.b". */
static bool set_key(struct gb_reader *r, struct gb_node *n, struct gb_span part) {
    if (part.len > 0 && part.ptr[0] == '.') {
        part = gb_span_make(part.ptr + 1, part.len - 1);
    }
    if (part.len > 0 && part.ptr[0] == '[') {
        part.len = 0;
    }
    char *key = gb_arena_alloc(&r->scratch, part.len + 1, 1, &r->fatal);
    if (!key) {
        return false;
    }
    size_t len = 0;
    bool quoted = part.len >= 2 && part.ptr[0] == '"';
    for (size_t i = quoted ? 1 : 0; i < part.len - (quoted ? 1 : 0); i++) {
        if (quoted && part.ptr[i] == '\\' && i + 2 < part.len) {
            i++;
        }
        key[len++] = (char)part.ptr[i];
    }
    n->key = key;
    n->key_span = gb_span_make(key, len);
    return true;
}

static bool copy(struct gb_reader *r, struct gb_span text, struct gb_span *ret) {
    char *at = gb_arena_alloc(&r->scratch, text.len + 1, 1, &r->fatal);
    if (!at) {
        return false;
    }
    if (text.len > 0) {
        memcpy(at, text.ptr, text.len);
    }
    *ret = gb_span_make(at, text.len);
    return true;
}

static bool within_limits(struct gb_reader *r, const struct gb_toml_value *v,
                          struct gb_error **err) {
    if (v->path.len > GB_PATH_BYTES_MAX) {
        gb_toml_fail(v, err, "the key \"%.*s…\" has more than %u bytes",
                     GB_SPAN_ARG(gb_span_make(v->path.ptr, 40)), GB_PATH_BYTES_MAX);
        return gb_hint(err, "Use shorter names.");
    }
    if (v->kind == GB_TOML_STRING && v->text.len > GB_MANIFEST_TEXT_BYTES_MAX) {
        gb_toml_fail(v, err, "the text of \"%.*s\" has %zu bytes, more than %u",
                     GB_SPAN_ARG(v->path), v->text.len, GB_MANIFEST_TEXT_BYTES_MAX);
        return gb_hint(err, "Put long texts into files.");
    }
    if (v->kind == GB_TOML_STRING && v->text.len > 0 && memchr(v->text.ptr, 0, v->text.len)) {
        gb_toml_fail(v, err, "the text of \"%.*s\" has a NUL character", GB_SPAN_ARG(v->path));
        return gb_hint(err, "Remove \\u0000 from the text.");
    }
    if (r->nodes >= GB_MANIFEST_VALUES_MAX) {
        gb_toml_fail(v, err, "the file has more than %u values", GB_MANIFEST_VALUES_MAX);
        return gb_hint(err, "Split the server into several.");
    }
    return true;
}

static bool each_value(void *user, const struct gb_toml_value *v, struct gb_error **err) {
    struct build *b = user;
    struct gb_reader *r = b->r;
    if (!within_limits(r, v, err)) {
        return false;
    }
    struct gb_node *parent = b->last;
    while (!is_parent(parent, v->path)) {
        parent = parent->parent;
    }
    struct gb_node *n = gb_arena_alloc(&r->scratch, 1, sizeof *n, err);
    if (!n) {
        return false;
    }
    n->v = *v;
    n->v.file = r->file;
    n->parent = parent;
    size_t skip = parent->v.path.len;
    struct gb_span text = v->kind == GB_TOML_STRING ? v->text : gb_span_make(v->text.ptr,
                                                                   GB_MIN(v->text.len, (size_t)64));
    if (!copy(r, v->path, &n->v.path) || !copy(r, text, &n->v.text) ||
        !set_key(r, n, gb_span_make(v->path.ptr + skip, v->path.len - skip))) {
        return gb_error_move(err, gb_take(&r->fatal));
    }
    if (parent->last) {
        parent->last->next = n;
    } else {
        parent->first = n;
    }
    parent->last = n;
    parent->children++;
    r->nodes++;
    b->last = n;
    return true;
}

bool gb_doc_read(struct gb_reader *r, struct gb_span text) {
    struct gb_node *root = gb_arena_alloc(&r->scratch, 1, sizeof *root, &r->fatal);
    if (!root) {
        return false;
    }
    *root = (struct gb_node){.v = {.file = r->file, .line = 1, .column = 1, .kind = GB_TOML_TABLE},
                             .key = ""};
    struct build b = {.r = r, .last = root};
    r->root = root;
    return gb_toml_walk(text, r->file, each_value, &b, &r->fatal);
}

struct gb_node *gb_node_get(const struct gb_node *table, const char *key) {
    for (struct gb_node *n = table->first; n; n = n->next) {
        if (gb_span_is(n->key_span, key)) {
            return n;
        }
    }
    return NULL;
}

struct gb_origin gb_node_origin(const struct gb_node *n) {
    return (struct gb_origin){
        .kind = GB_ORIGIN_FILE, .line = n->v.line, .column = n->v.column};
}
