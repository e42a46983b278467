/* SPDX-License-Identifier: Apache-2.0 */
/* Reading goes on after a wrong value: it is noted, with its place and the line to type. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"
#include "manifest/manifest_internal.h"

#define MESSAGE_BYTES_MAX 1024u

/* ---- memory ---- */

void *gb_reader_alloc(struct gb_reader *r, size_t count, size_t bytes_each) {
    return gb_arena_alloc(r->arena, count, bytes_each, &r->fatal);
}

char *gb_reader_copy(struct gb_reader *r, struct gb_span text) {
    char *at = gb_reader_alloc(r, text.len + 1, 1);
    if (at && text.len > 0) {
        memcpy(at, text.ptr, text.len);
    }
    return at;
}

char *gb_reader_format(struct gb_reader *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *at = gb_reader_alloc(r, len >= 0 ? (size_t)len + 1 : 1, 1);
    if (at && len > 0) {
        va_start(args, format);
        vsnprintf(at, (size_t)len + 1, format, args);
        va_end(args);
    }
    return at;
}

char *gb_reader_path(struct gb_reader *r, struct gb_span path) {
    if (path.len > 0 && path.ptr[0] == '/') {
        return gb_reader_copy(r, path);
    }
    while (path.len >= 2 && path.ptr[0] == '.' && path.ptr[1] == '/') {
        path = gb_span_make(path.ptr + 2, path.len - 2);
    }
    size_t folder = strlen(r->folder);
    char *at = gb_reader_alloc(r, folder + path.len + 1, 1);
    if (at) {
        memcpy(at, r->folder, folder);
        if (path.len > 0) {
            memcpy(at + folder, path.ptr, path.len);
        }
    }
    return at;
}

/* ---- notes ---- */

void gb_manifest_findings_fini(struct gb_manifest_findings *f) {
    for (size_t i = 0; i < f->len; i++) {
        gb_error_free(f->items[i].error);
    }
    *f = (struct gb_manifest_findings){0};
}

/* An error that comes after so many warnings has to be seen: it takes the last one's place. */
static struct gb_manifest_finding *next_finding(struct gb_manifest_findings *f, bool warning) {
    if (f->len < GB_MANIFEST_FINDINGS_MAX) {
        return &f->items[f->len++];
    }
    f->left_out++;
    struct gb_manifest_finding *last = &f->items[f->len - 1];
    if (!warning && f->errors_len == 0) {
        gb_error_free(last->error);
        return last;
    }
    return NULL;
}

static void note(struct gb_reader *r, const struct gb_origin *at, enum gb_code code, bool warning,
                 const char *format, va_list args) {
    struct gb_manifest_findings *f = r->findings;
    struct gb_manifest_finding *slot = next_finding(f, warning);
    f->errors_len += warning ? 0 : 1;
    r->finding_stored = slot != NULL;
    if (!slot) {
        return;
    }
    char text[MESSAGE_BYTES_MAX];
    vsnprintf(text, sizeof text, format, args);
    *slot = (struct gb_manifest_finding){.warning = warning};
    if (at && at->kind == GB_ORIGIN_FLAG) {
        gb_fail(&slot->error, GB_USAGE_ERROR, "%s: %s", at->from, text);
    } else if (at && at->line > 0) {
        gb_fail(&slot->error, code, "%s:%u:%u: %s", r->file, at->line, at->column, text);
    } else {
        gb_fail(&slot->error, code, "%s: %s", r->file, text);
    }
}

void gb_note(struct gb_reader *r, const struct gb_origin *at, enum gb_code code,
             const char *format, ...) {
    va_list args;
    va_start(args, format);
    note(r, at, code, false, format, args);
    va_end(args);
}

void gb_note_warning(struct gb_reader *r, const struct gb_origin *at, enum gb_code code,
                     const char *format, ...) {
    va_list args;
    va_start(args, format);
    note(r, at, code, true, format, args);
    va_end(args);
}

void gb_note_node(struct gb_reader *r, const struct gb_node *n, const char *format, ...) {
    struct gb_origin at = gb_node_origin(n);
    va_list args;
    va_start(args, format);
    note(r, &at, GB_MANIFEST_INVALID, false, format, args);
    va_end(args);
}

void gb_note_unsupported(struct gb_reader *r, const struct gb_node *n, const char *format, ...) {
    struct gb_origin at = gb_node_origin(n);
    va_list args;
    va_start(args, format);
    note(r, &at, GB_UNSUPPORTED, false, format, args);
    va_end(args);
}

void gb_note_hint(struct gb_reader *r, const char *format, ...) {
    if (!r->finding_stored) {
        return;
    }
    char text[MESSAGE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gb_hint(&r->findings->items[r->findings->len - 1].error, "%s", text);
}

void gb_note_unknown(struct gb_reader *r, const struct gb_node *n, const char *const *known,
                     size_t known_len) {
    const char *nearest = gb_toml_nearest(n->key_span, known, known_len);
    if (n->parent && n->parent->v.path.len > 0) {
        gb_note_node(r, n, "unknown key \"%.*s\" in \"%.*s\"", GB_SPAN_ARG(n->key_span),
                     GB_SPAN_ARG(n->parent->v.path));
    } else {
        gb_note_node(r, n, "unknown key \"%.*s\"", GB_SPAN_ARG(n->key_span));
    }
    if (nearest) {
        gb_note_hint(r, "Did you mean \"%s\"?", nearest);
        return;
    }
    char list[MESSAGE_BYTES_MAX] = "";
    size_t used = 0;
    for (size_t i = 0; i < known_len && used < sizeof list; i++) {
        int len = snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", known[i]);
        used += len > 0 ? (size_t)len : 0;
    }
    gb_note_hint(r, "Known keys: %s.", list);
}

/* ---- typed reading ---- */

bool gb_read_text(struct gb_reader *r, const struct gb_node *n, const char *example,
                  struct gb_span *ret_text) {
    if (n->v.kind != GB_TOML_STRING) {
        gb_note_node(r, n, "\"%.*s\" takes a text in quotes", GB_SPAN_ARG(n->v.path));
        gb_note_hint(r, "Write %s.", example);
        return false;
    }
    *ret_text = n->v.text;
    return true;
}

bool gb_node_is_table(struct gb_reader *r, const struct gb_node *n, const char *example) {
    if (n->v.kind == GB_TOML_TABLE) {
        return true;
    }
    gb_note_node(r, n, "\"%.*s\" takes a table, not a single value or a list",
                 GB_SPAN_ARG(n->v.path));
    gb_note_hint(r, "Write %s.", example);
    return false;
}

bool gb_node_is_list(struct gb_reader *r, const struct gb_node *n, const char *example) {
    if (n->v.kind == GB_TOML_ARRAY) {
        return true;
    }
    gb_note_node(r, n, "\"%.*s\" takes a list, not a single value or a table",
                 GB_SPAN_ARG(n->v.path));
    gb_note_hint(r, "Write %s.", example);
    return false;
}
