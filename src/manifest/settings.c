/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of settings at work: defaults, values from nodes and from texts. The field of a row has
 * the type that its kind says; the compiler checks it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/num.h"
#include "manifest/manifest_internal.h"
#include "text/unit.h"

#define TEXT_BYTES_MAX 4096u /* of a setting, where its row does not say otherwise */
#define CHOICES_MAX 8u

#define GB_STRUCT_HOST struct gb_manifest_host
#define GB_STRUCT_LIMITS struct gb_manifest_limits
#define GB_STRUCT_MODEL struct gb_manifest_model
#define GB_STRUCT_TENANT struct gb_manifest_tenant
#define GB_STRUCT_BUDGETS struct gb_manifest_budgets
#define GB_STRUCT_COMPONENT struct gb_manifest_component
#define GB_STRUCT_ROUTE struct gb_manifest_route

#define GB_IS_SIZE(x) _Generic((x), uint64_t: 1, default: 0)
#define GB_IS_DURATION(x) GB_IS_SIZE(x)
#define GB_IS_COUNT(x) GB_IS_SIZE(x)
#define GB_IS_BOOL(x) _Generic((x), bool: 1, default: 0)
#define GB_IS_CHOICE(x) _Generic((x), uint32_t: 1, default: 0)
#define GB_IS_TEXT(x) _Generic((x), const char *: 1, default: 0)
#define GB_IS_PATH(x) GB_IS_TEXT(x)
#define GB_IS_LIST(x) _Generic((x), struct gb_texts: 1, default: 0)
#define GB_IS_OTHER(x) 1
#define GB_SETTING(table_, field, key_, kind_, initial_, min_, max_, form_, choices_, doc_)        \
    _Static_assert(GB_IS_##kind_(((GB_STRUCT_##table_ *)0)->field), key_ " has another type");
#include "manifest/settings.def"
#undef GB_SETTING

static const struct gb_setting rows[] = {
#define GB_SETTING(table_, field, key_, kind_, initial_, min_, max_, form_, choices_, doc_)        \
    {.table = GB_TABLE_##table_,                                                                   \
     .key = key_,                                                                                  \
     .kind = GB_SETTING_##kind_,                                                                   \
     .initial = initial_,                                                                          \
     .min = min_,                                                                                  \
     .max = max_,                                                                                  \
     .form = GB_FORM_##form_,                                                                      \
     .choices = choices_,                                                                          \
     .doc = doc_,                                                                                  \
     .offset = offsetof(GB_STRUCT_##table_, field)},
#include "manifest/settings.def"
#undef GB_SETTING
};

const struct gb_setting *gb_settings_of(enum gb_setting_table table, size_t *ret_len) {
    size_t first = 0;
    while (first < GB_COUNT(rows) && rows[first].table != table) {
        first++;
    }
    size_t len = 0;
    while (first + len < GB_COUNT(rows) && rows[first + len].table == table) {
        len++;
    }
    *ret_len = len;
    return &rows[first];
}

struct gb_origin *gb_origins_new(struct gb_reader *r, enum gb_setting_table table) {
    size_t len;
    (void)gb_settings_of(table, &len);
    return gb_reader_alloc(r, len, sizeof(struct gb_origin));
}

void gb_origin_set(struct gb_origin *origins, enum gb_setting_table table, const char *key,
                   const struct gb_node *n) {
    size_t len;
    const struct gb_setting *settings = gb_settings_of(table, &len);
    for (size_t i = 0; i < len; i++) {
        if (strcmp(settings[i].key, key) == 0) {
            origins[i] = gb_node_origin(n);
        }
    }
}

static void *field_of(const struct gb_object *o, const struct gb_setting *row) {
    return (char *)o->fields + row->offset;
}

static size_t row_number(const struct gb_setting *row) {
    size_t len;
    return (size_t)(row - gb_settings_of(row->table, &len));
}

static void mark(struct gb_object *o, const struct gb_setting *row,
                 const struct gb_origin *origin) {
    o->origins[row_number(row)] = *origin;
    if (row->table == GB_TABLE_LIMITS && origin->kind != GB_ORIGIN_DEFAULT) {
        o->given |= 1u << row_number(row);
    }
}

/* ---- what to write ---- */

static const char *leaf(const struct gb_setting *row) {
    const char *dot = strrchr(row->key, '.');
    return dot ? dot + 1 : row->key;
}

static void hint_form(struct gb_reader *r, const struct gb_setting *row) {
    const char *initial = row->initial;
    bool usable = initial[0] != '\0' && strcmp(initial, "0") != 0 && strcmp(initial, "0s") != 0;
    switch (row->kind) {
    case GB_SETTING_SIZE:
        gb_note_hint(r, "Write %s = \"%s\": a whole number with KiB, MiB or GiB.", leaf(row),
                     usable ? initial : "64MiB");
        return;
    case GB_SETTING_DURATION:
        gb_note_hint(r, "Write %s = \"%s\": a whole number with us, ms, s or m.", leaf(row),
                     usable ? initial : "30s");
        return;
    case GB_SETTING_COUNT:
        gb_note_hint(r, "Write %s = %s: a whole number without quotes.", leaf(row),
                     usable ? initial : "1");
        return;
    case GB_SETTING_BOOL:
        gb_note_hint(r, "Write %s = true, or false, without quotes.", leaf(row));
        return;
    case GB_SETTING_CHOICE:
        gb_note_hint(r, "Write %s = one of these in quotes: %s.", leaf(row), row->choices);
        return;
    case GB_SETTING_LIST:
        gb_note_hint(r, "Write %s = [\"…\"]: texts in quotes, in brackets.", leaf(row));
        return;
    case GB_SETTING_TEXT:
    case GB_SETTING_PATH:
    case GB_SETTING_OTHER:
        break;
    }
    gb_note_hint(r, "Write %s = \"%s\", in quotes.", leaf(row), initial[0] ? initial : "…");
}

/* What a node holds, in a few words. */
static const char *described(const struct gb_node *n, char *out, size_t cap) {
    switch (n->v.kind) {
    case GB_TOML_STRING:
        snprintf(out, cap, "\"%.*s\"", GB_SPAN_ARG(n->v.text));
        return out;
    case GB_TOML_TABLE:
        return "a table";
    case GB_TOML_ARRAY:
        return "a list";
    case GB_TOML_INTEGER:
    case GB_TOML_FLOAT:
    case GB_TOML_BOOL:
    case GB_TOML_DATETIME:
        break;
    }
    snprintf(out, cap, "%.*s", GB_SPAN_ARG(n->v.text));
    return out;
}

static void note_type(struct gb_reader *r, const struct gb_node *n, const struct gb_setting *row) {
    static const char *const whats[] = {
        [GB_SETTING_SIZE] = "a size",          [GB_SETTING_DURATION] = "a duration",
        [GB_SETTING_COUNT] = "a whole number", [GB_SETTING_BOOL] = "true or false",
        [GB_SETTING_CHOICE] = "a text",        [GB_SETTING_TEXT] = "a text",
        [GB_SETTING_PATH] = "a path",          [GB_SETTING_LIST] = "a list of texts",
        [GB_SETTING_OTHER] = "something else"};
    char out[256];
    gb_note_node(r, n, "\"%.*s\" is %s; it takes %s", GB_SPAN_ARG(n->v.path),
                 described(n, out, sizeof out), whats[row->kind]);
    hint_form(r, row);
}

/* ---- numbers ---- */

void gb_size_text(uint64_t bytes, char *out, size_t cap) {
    static const struct {
        const char *text;
        uint64_t factor;
    } units[] = {{"GiB", GB_GIB}, {"MiB", GB_MIB}, {"KiB", GB_KIB}};
    for (size_t i = 0; i < GB_COUNT(units); i++) {
        if (bytes > 0 && bytes % units[i].factor == 0) {
            snprintf(out, cap, "%" PRIu64 "%s", bytes / units[i].factor, units[i].text);
            return;
        }
    }
    snprintf(out, cap, "%" PRIu64, bytes);
}

void gb_duration_text(uint64_t us, char *out, size_t cap) {
    if (us % 1000000 == 0) {
        snprintf(out, cap, "%" PRIu64 "s", us / 1000000);
    } else if (us % 1000 == 0) {
        snprintf(out, cap, "%" PRIu64 "ms", us / 1000);
    } else {
        snprintf(out, cap, "%" PRIu64 "us", us);
    }
}

static void number_text(const struct gb_setting *row, uint64_t number, char *out, size_t cap) {
    if (row->kind == GB_SETTING_SIZE) {
        gb_size_text(number, out, cap);
    } else if (row->kind == GB_SETTING_DURATION) {
        gb_duration_text(number, out, cap);
    } else {
        snprintf(out, cap, "%" PRIu64, number);
    }
}

static bool number_of_text(const struct gb_setting *row, struct gb_span text,
                           uint64_t *ret_number) {
    if (row->kind == GB_SETTING_DURATION) {
        return gb_duration_parse(text, ret_number, NULL);
    }
    /* A count is a size without a unit. */
    uint8_t last = text.len > 0 ? text.ptr[text.len - 1] : 0;
    bool digit_last = last >= '0' && last <= '9';
    return (row->kind == GB_SETTING_SIZE || digit_last) && gb_size_parse(text, ret_number, NULL);
}

static bool number_of_node(const struct gb_setting *row, const struct gb_node *n,
                           uint64_t *ret_number) {
    if (n->v.kind == GB_TOML_INTEGER && row->kind != GB_SETTING_DURATION && n->v.integer >= 0) {
        *ret_number = (uint64_t)n->v.integer;
        return true;
    }
    return n->v.kind == GB_TOML_STRING && row->kind != GB_SETTING_COUNT &&
           number_of_text(row, n->v.text, ret_number);
}

static bool in_range(struct gb_reader *r, const struct gb_setting *row, const char *path,
                     const struct gb_origin *at, uint64_t number) {
    if (number >= row->min && number <= row->max) {
        return true;
    }
    char is[32], min[32], max[32];
    number_text(row, number, is, sizeof is);
    number_text(row, row->min, min, sizeof min);
    number_text(row, row->max, max, sizeof max);
    gb_note(r, at, GB_MANIFEST_INVALID, "\"%s\" is %s, not from %s to %s", path, is, min, max);
    const char *quote = row->kind == GB_SETTING_COUNT ? "" : "\"";
    gb_note_hint(r, "Write %s = %s%s%s.", leaf(row), quote, number < row->min ? min : max, quote);
    return false;
}

/* ---- texts ---- */

static bool choice_of_text(const struct gb_setting *row, struct gb_span text, uint32_t *ret) {
    const char *at = row->choices;
    /* Where there is no default, 0 stands for none. */
    for (uint32_t i = row->initial[0] ? 0 : 1; *at; i++) {
        size_t len = strcspn(at, "|");
        if (gb_span_eq(text, gb_span_make(at, len))) {
            *ret = i;
            return true;
        }
        at += len + (at[len] == '|' ? 1 : 0);
    }
    return false;
}

/* Checks one text, and makes it what is kept: NULL when wrong or when memory ran out. */
static const char *checked_text(struct gb_reader *r, const struct gb_setting *row,
                                const char *path, const struct gb_origin *at,
                                struct gb_span text) {
    size_t bytes_max = row->max > 0 ? (size_t)row->max : TEXT_BYTES_MAX;
    if (text.len > bytes_max) {
        gb_note(r, at, GB_MANIFEST_INVALID, "\"%s\" has %zu bytes, more than %zu", path, text.len,
                bytes_max);
        gb_note_hint(r, "Shorten it to %zu bytes.", bytes_max);
        return NULL;
    }
    if (text.len == 0 && row->form != GB_FORM_ANY) {
        gb_note(r, at, GB_MANIFEST_INVALID, "\"%s\" is empty", path);
        gb_note_hint(r, "Write something between the quotes, or leave the key out.");
        return NULL;
    }
    struct gb_form_fault fault = gb_form_check(row->form, text);
    if (fault.what && row->form == GB_FORM_KEY_HASH) { /* it may be the key itself */
        gb_note(r, at, GB_MANIFEST_INVALID, "\"%s\" has an item that %s", path, fault.what);
        gb_note_hint(r, "%s", fault.hint);
        return NULL;
    }
    if (fault.what) {
        gb_note(r, at, GB_MANIFEST_INVALID, "\"%s\" %s \"%.*s\", which %s", path,
                row->kind == GB_SETTING_LIST ? "has" : "is", GB_SPAN_ARG(text), fault.what);
        gb_note_hint(r, "%s", fault.hint);
        return NULL;
    }
    if (row->kind == GB_SETTING_PATH) {
        return gb_reader_path(r, text);
    }
    if (row->form == GB_FORM_KEY_HASH && text.len > 64) {
        text = gb_span_make(text.ptr + text.len - 64, 64); /* without "sha256:" */
    }
    char *copy = gb_reader_copy(r, text);
    bool lower = row->form == GB_FORM_HOST || row->form == GB_FORM_HEADER ||
                 row->form == GB_FORM_KEY_HASH;
    for (size_t i = 0; copy && lower && i < text.len; i++) {
        if (copy[i] >= 'A' && copy[i] <= 'Z') {
            copy[i] = (char)(copy[i] - 'A' + 'a');
        }
    }
    return copy;
}

static bool list_has(const struct gb_texts *list, const char *text) {
    for (size_t i = 0; i < list->len; i++) {
        if (strcmp(list->items[i], text) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_list(struct gb_reader *r, struct gb_object *o, const struct gb_setting *row,
                      const struct gb_node *n) {
    if (n->v.kind != GB_TOML_ARRAY) {
        note_type(r, n, row);
        return true;
    }
    if (n->children > GB_MANIFEST_LIST_MAX) {
        gb_note_node(r, n, "\"%.*s\" has %zu items, more than %u", GB_SPAN_ARG(n->v.path),
                     n->children, GB_MANIFEST_LIST_MAX);
        gb_note_hint(r, "Leave out what is not needed.");
        return true;
    }
    const char **items = gb_reader_alloc(r, n->children, sizeof *items);
    if (!items) {
        return false;
    }
    struct gb_texts list = {.items = items};
    for (const struct gb_node *item = n->first; item; item = item->next) {
        struct gb_origin at = gb_node_origin(item);
        if (item->v.kind != GB_TOML_STRING) {
            note_type(r, item, row);
            continue;
        }
        char path[GB_PATH_BYTES_MAX + 1];
        snprintf(path, sizeof path, "%.*s", (int)n->v.path.len, (const char *)n->v.path.ptr);
        const char *text = checked_text(r, row, path, &at, item->v.text);
        if (r->fatal) {
            return false;
        }
        if (text && list_has(&list, text)) {
            gb_note_node(r, item, "\"%s\" has \"%s\" twice", path, text);
            gb_note_hint(r, "Remove one of them.");
        } else if (text) {
            items[list.len++] = text;
        }
    }
    *(struct gb_texts *)field_of(o, row) = list;
    return true;
}

/* ---- one setting ---- */

bool gb_setting_set_text(struct gb_reader *r, struct gb_object *o, const struct gb_setting *row,
                         struct gb_span text, const struct gb_origin *origin, bool *ret_ok) {
    uint64_t number;
    bool ok = true;
    void *field = field_of(o, row);
    switch (row->kind) {
    case GB_SETTING_SIZE:
    case GB_SETTING_DURATION:
    case GB_SETTING_COUNT:
        ok = number_of_text(row, text, &number);
        if (ok && origin->kind != GB_ORIGIN_DEFAULT) {
            ok = in_range(r, row, row->key, origin, number);
            if (!ok) {
                *ret_ok = false;
                return true;
            }
        }
        if (ok) {
            *(uint64_t *)field = number;
        }
        break;
    case GB_SETTING_BOOL:
        ok = gb_span_is(text, "true") || gb_span_is(text, "false");
        *(bool *)field = gb_span_is(text, "true");
        break;
    case GB_SETTING_CHOICE:
        ok = text.len == 0 || choice_of_text(row, text, field);
        break;
    case GB_SETTING_TEXT:
    case GB_SETTING_PATH:
        if (text.len > 0) {
            const char *copy = checked_text(r, row, row->key, origin, text);
            *ret_ok = copy != NULL;
            if (copy) {
                *(const char **)field = copy;
                mark(o, row, origin);
            }
            return !r->fatal;
        }
        break;
    case GB_SETTING_LIST:
    case GB_SETTING_OTHER:
        ok = text.len == 0;
        break;
    }
    if (!ok) {
        gb_note(r, origin, GB_MANIFEST_INVALID, "\"%.*s\" is no value for \"%s\"",
                GB_SPAN_ARG(text), row->key);
        hint_form(r, row);
    } else {
        mark(o, row, origin);
    }
    *ret_ok = ok;
    return true;
}

static bool read_text(struct gb_reader *r, struct gb_object *o, const struct gb_setting *row,
                      const struct gb_node *n, const struct gb_origin *at) {
    char path[GB_PATH_BYTES_MAX + 1];
    snprintf(path, sizeof path, "%.*s", (int)n->v.path.len, (const char *)n->v.path.ptr);
    const char *text = checked_text(r, row, path, at, n->v.text);
    if (text) {
        *(const char **)field_of(o, row) = text;
    }
    return !r->fatal;
}

static bool read_number(struct gb_reader *r, struct gb_object *o, const struct gb_setting *row,
                        const struct gb_node *n, const struct gb_origin *at) {
    uint64_t number;
    char path[GB_PATH_BYTES_MAX + 1];
    snprintf(path, sizeof path, "%.*s", (int)n->v.path.len, (const char *)n->v.path.ptr);
    if (!number_of_node(row, n, &number)) {
        note_type(r, n, row);
    } else if (in_range(r, row, path, at, number)) {
        *(uint64_t *)field_of(o, row) = number;
    }
    return true;
}

static bool read_setting(struct gb_reader *r, struct gb_object *o, const struct gb_setting *row,
                         const struct gb_node *n) {
    struct gb_origin at = gb_node_origin(n);
    mark(o, row, &at);
    switch (row->kind) {
    case GB_SETTING_SIZE:
    case GB_SETTING_DURATION:
    case GB_SETTING_COUNT:
        return read_number(r, o, row, n, &at);
    case GB_SETTING_BOOL:
        if (n->v.kind == GB_TOML_BOOL) {
            *(bool *)field_of(o, row) = n->v.integer != 0;
        } else {
            note_type(r, n, row);
        }
        return true;
    case GB_SETTING_CHOICE:
        if (n->v.kind != GB_TOML_STRING) {
            note_type(r, n, row);
        } else if (!choice_of_text(row, n->v.text, field_of(o, row))) {
            gb_note_node(r, n, "\"%.*s\" is \"%.*s\", which is none of its choices",
                         GB_SPAN_ARG(n->v.path), GB_SPAN_ARG(n->v.text));
            hint_form(r, row);
        }
        return true;
    case GB_SETTING_TEXT:
    case GB_SETTING_PATH:
        if (n->v.kind != GB_TOML_STRING) {
            note_type(r, n, row);
            return true;
        }
        return read_text(r, o, row, n, &at);
    case GB_SETTING_LIST:
        return read_list(r, o, row, n);
    case GB_SETTING_OTHER:
        return o->other(r, n, o->user);
    }
    return true;
}

/* ---- objects ---- */

bool gb_object_defaults(struct gb_reader *r, struct gb_object *o) {
    size_t len;
    const struct gb_setting *settings = gb_settings_of(o->table, &len);
    struct gb_origin origin = {.kind = GB_ORIGIN_DEFAULT};
    for (size_t i = 0; i < len; i++) {
        bool ok;
        if (!gb_setting_set_text(r, o, &settings[i], gb_span_of(settings[i].initial), &origin,
                                 &ok)) {
            return false;
        }
    }
    return true;
}

/* The row of prefix and key; *ret_inside: key is a table whose members have rows. */
static const struct gb_setting *find(const struct gb_object *o, const char *prefix,
                                     struct gb_span key, bool *ret_inside) {
    size_t len;
    size_t prefix_len = strlen(prefix);
    const struct gb_setting *settings = gb_settings_of(o->table, &len);
    *ret_inside = false;
    for (size_t i = 0; i < len; i++) {
        if (strncmp(settings[i].key, prefix, prefix_len) != 0) {
            continue;
        }
        const char *rest = settings[i].key + prefix_len;
        if (gb_span_is(key, rest)) {
            return &settings[i];
        }
        if (strncmp(rest, (const char *)key.ptr, key.len) == 0 && rest[key.len] == '.' &&
            key.len > 0) {
            *ret_inside = true;
        }
    }
    return NULL;
}

/* Keys that are known behind the prefix: leaves, and tables once. */
static void unknown(struct gb_reader *r, const struct gb_object *o, const char *prefix,
                    const struct gb_node *n) {
    const char *known[64];
    size_t known_len = 0;
    size_t len;
    size_t prefix_len = strlen(prefix);
    const struct gb_setting *settings = gb_settings_of(o->table, &len);
    for (size_t i = 0; i < len && known_len < GB_COUNT(known); i++) {
        if (strncmp(settings[i].key, prefix, prefix_len) == 0 &&
            !strchr(settings[i].key + prefix_len, '.')) {
            known[known_len++] = settings[i].key + prefix_len;
        }
    }
    for (size_t i = 0; prefix_len == 0 && i < o->more_len && known_len < GB_COUNT(known); i++) {
        known[known_len++] = o->more[i];
    }
    gb_note_unknown(r, n, known, known_len);
}

static bool read_inside(struct gb_reader *r, struct gb_object *o, const struct gb_node *table) {
    char prefix[32];
    char example[64];
    snprintf(prefix, sizeof prefix, "%s.", table->key);
    snprintf(example, sizeof example, "%s = { … }", table->key);
    if (!gb_node_is_table(r, table, example)) {
        return true;
    }
    for (const struct gb_node *n = table->first; n; n = n->next) {
        bool inside;
        const struct gb_setting *row = find(o, prefix, n->key_span, &inside);
        if (!row) {
            unknown(r, o, prefix, n);
        } else if (!read_setting(r, o, row, n)) {
            return false;
        }
    }
    return true;
}

static bool is_more(const struct gb_object *o, struct gb_span key) {
    for (size_t i = 0; i < o->more_len; i++) {
        if (gb_span_is(key, o->more[i])) {
            return true;
        }
    }
    return false;
}

static void check_required(struct gb_reader *r, const struct gb_object *o) {
    size_t len;
    const struct gb_setting *settings = gb_settings_of(o->table, &len);
    for (size_t i = 0; i < len; i++) {
        if (settings[i].form == GB_FORM_REQUIRED && o->origins[i].kind == GB_ORIGIN_DEFAULT) {
            gb_note(r, o->at, GB_MANIFEST_INVALID, "\"%s\" is missing here", settings[i].key);
            gb_note_hint(r, "Write %s = \"PATH\": %s", settings[i].key, settings[i].doc);
        }
    }
}

bool gb_object_read(struct gb_reader *r, struct gb_object *o, const struct gb_node *table) {
    for (const struct gb_node *n = table->first; n; n = n->next) {
        bool inside;
        const struct gb_setting *row = find(o, "", n->key_span, &inside);
        bool ok = true;
        if (row) {
            ok = read_setting(r, o, row, n);
        } else if (inside) {
            ok = read_inside(r, o, n);
        } else if (is_more(o, n->key_span)) {
            ok = o->other(r, n, o->user);
        } else {
            unknown(r, o, "", n);
        }
        if (!ok) {
            return false;
        }
    }
    check_required(r, o);
    return true;
}
