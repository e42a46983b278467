/* SPDX-License-Identifier: Apache-2.0 */
/* TOML over the bridge's parser: places, typed values, and a suggestion for a mistyped key. */
#include "text/toml.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/num.h"
#include "gb_text.h"
#include "text/unit.h"

#define KEY_MAX 48u /* longer ones get no suggestion */
#define DISTANCE_MAX 3u

struct walk {
    const char *file;
    gb_toml_fn *each;
    void *user;
    struct gb_error *error;
};

static bool each_value(void *user, const struct gbt_value *value) {
    static const enum gb_toml_kind kinds[] = {
        [GBT_STRING] = GB_TOML_STRING,     [GBT_INTEGER] = GB_TOML_INTEGER,
        [GBT_FLOAT] = GB_TOML_FLOAT,       [GBT_BOOL] = GB_TOML_BOOL,
        [GBT_DATETIME] = GB_TOML_DATETIME, [GBT_TABLE] = GB_TOML_TABLE,
        [GBT_ARRAY] = GB_TOML_ARRAY,
    };
    struct walk *w = user;
    struct gb_toml_value v = {
        .file = w->file,
        .line = value->line,
        .column = value->column,
        .kind = value->kind < GB_COUNT(kinds) ? kinds[value->kind] : GB_TOML_TABLE,
        .path = gb_span_make(value->path, value->path_len),
        .text = gb_span_make(value->text, value->text_len),
        .integer = value->integer,
        .number = value->number,
    };
    return w->each(w->user, &v, &w->error);
}

bool gb_toml_walk(struct gb_span text, const char *file, gb_toml_fn *each, void *user,
                  struct gb_error **err) {
    struct walk w = {.file = file, .each = each, .user = user};
    char message[512] = "";
    uint32_t line = 0;
    uint32_t column = 0;
    enum gbt_status status = gbt_toml_walk(text.ptr, text.len, each_value, &w, message,
                                           sizeof message, &line, &column);
    switch (status) {
    case GBT_OK:
        return true;
    case GBT_STOPPED:
        return w.error ? gb_error_move(err, w.error)
                       : gb_fail(err, GB_INTERNAL, "reading \"%s\" ended without a reason", file);
    case GBT_SYNTAX:
        gb_fail(err, GB_MANIFEST_INVALID, "%s:%u:%u: %s", file, line, column, message);
        return gb_hint(err, "Correct the file; it is TOML: key = value, one per line.");
    case GBT_PANIC:
        break;
    }
    gb_error_free(w.error);
    return gb_fail(err, GB_INTERNAL, "the TOML parser failed on \"%s\"", file);
}

static bool fail(const struct gb_toml_value *v, enum gb_code code, struct gb_error **err,
                 const char *format, va_list args) {
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    return gb_fail(err, code, "%s:%u:%u: %s", v->file, v->line, v->column, text);
}

bool gb_toml_fail(const struct gb_toml_value *v, struct gb_error **err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail(v, GB_MANIFEST_INVALID, err, format, args);
    va_end(args);
    return false;
}

bool gb_toml_fail_as(const struct gb_toml_value *v, enum gb_code code, struct gb_error **err,
                     const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail(v, code, err, format, args);
    va_end(args);
    return false;
}

/* Insertions, deletions and replacements from one to the other (Levenshtein). */
static unsigned distance(struct gb_span a, struct gb_span b) {
    unsigned row[KEY_MAX + 1];
    if (a.len > KEY_MAX || b.len > KEY_MAX) {
        return UINT32_MAX;
    }
    for (unsigned j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned change = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);
            diagonal = row[j];
            unsigned step = GB_MIN(row[j], row[j - 1]) + 1;
            row[j] = GB_MIN(change, step);
        }
    }
    return row[b.len];
}

const char *gb_toml_nearest(struct gb_span key, const char *const *known, size_t known_len) {
    const char *nearest = NULL;
    unsigned best = GB_MIN(DISTANCE_MAX, ((unsigned)GB_MIN(key.len, (size_t)KEY_MAX) + 2) / 3) + 1;
    for (size_t i = 0; i < known_len; i++) {
        unsigned d = distance(key, gb_span_of(known[i]));
        if (d < best) {
            best = d;
            nearest = known[i];
        }
    }
    return nearest;
}

bool gb_toml_fail_key(const struct gb_toml_value *v, const char *const *known, size_t known_len,
                      struct gb_error **err) {
    const char *nearest = gb_toml_nearest(v->path, known, known_len);
    gb_toml_fail(v, err, "unknown key \"%.*s\"", GB_SPAN_ARG(v->path));
    if (nearest) {
        return gb_hint(err, "Did you mean \"%s\"?", nearest);
    }
    char list[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < known_len && used < sizeof list; i++) {
        int n = snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", known[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    return gb_hint(err, "Known keys: %s.", list);
}

bool gb_toml_string(const struct gb_toml_value *v, struct gb_span *ret_text,
                    struct gb_error **err) {
    if (v->kind != GB_TOML_STRING) {
        return gb_toml_fail(v, err, "\"%.*s\" takes text in quotes", GB_SPAN_ARG(v->path));
    }
    *ret_text = v->text;
    return true;
}

bool gb_toml_integer(const struct gb_toml_value *v, int64_t min, int64_t max, int64_t *ret_integer,
                     struct gb_error **err) {
    if (v->kind != GB_TOML_INTEGER || v->integer < min || v->integer > max) {
        return gb_toml_fail(v, err,
                            "\"%.*s\" takes a whole number from %" PRId64 " to %" PRId64,
                            GB_SPAN_ARG(v->path), min, max);
    }
    *ret_integer = v->integer;
    return true;
}

bool gb_toml_bool(const struct gb_toml_value *v, bool *ret_bool, struct gb_error **err) {
    if (v->kind != GB_TOML_BOOL) {
        return gb_toml_fail(v, err, "\"%.*s\" takes true or false", GB_SPAN_ARG(v->path));
    }
    *ret_bool = v->integer != 0;
    return true;
}

bool gb_toml_duration(const struct gb_toml_value *v, uint64_t *ret_us, struct gb_error **err) {
    if (v->kind != GB_TOML_STRING || !gb_duration_parse(v->text, ret_us, NULL)) {
        return gb_toml_fail(v, err,
                            "\"%.*s\" takes a duration such as \"500us\", \"20ms\", \"30s\"",
                            GB_SPAN_ARG(v->path));
    }
    return true;
}

bool gb_toml_size(const struct gb_toml_value *v, uint64_t *ret_bytes, struct gb_error **err) {
    if (v->kind == GB_TOML_INTEGER && v->integer >= 0) {
        *ret_bytes = (uint64_t)v->integer;
        return true;
    }
    if (v->kind != GB_TOML_STRING || !gb_size_parse(v->text, ret_bytes, NULL)) {
        return gb_toml_fail(v, err, "\"%.*s\" takes a size such as 4096 or \"64MiB\"",
                            GB_SPAN_ARG(v->path));
    }
    return true;
}
