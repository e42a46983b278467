/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names with texts: environment, variables, headers; folders; fixed answers. A secret's value comes
 * from the environment or a file and never into a message.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/num.h"
#include "manifest/manifest_internal.h"

#define PAIR_NAME_BYTES_MAX 128u
#define SECRET_BYTES_MAX ((size_t)65536)

/* ---- names ---- */

static bool env_name_ok(struct gb_span name) {
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] <= ' ' || name.ptr[i] == '=' || name.ptr[i] == 0x7f) {
            return false;
        }
    }
    return name.len > 0;
}

static bool variable_name_ok(struct gb_span name) {
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || (!(c >= '0' && c <= '9') && c != '-' && c != '.'))) {
            return false;
        }
    }
    return name.len > 0;
}

static bool is_framing(struct gb_span name) {
    static const char *const framing[] = {"connection",        "content-length", "keep-alive",
                                          "transfer-encoding", "upgrade",        "te",
                                          "trailer",           "proxy-connection"};
    for (size_t i = 0; i < GB_COUNT(framing); i++) {
        if (name.len == strlen(framing[i]) &&
            strncasecmp((const char *)name.ptr, framing[i], name.len) == 0) {
            return true;
        }
    }
    return false;
}

bool gb_pair_name_check(struct gb_reader *r, const struct gb_node *n, enum gb_pair_use use,
                        bool *ret_ok) {
    static const char *const whats[] = {"variable of an environment", "variable", "header"};
    struct gb_span name = n->key_span;
    bool ok = use == GB_PAIRS_ENV         ? env_name_ok(name)
              : use == GB_PAIRS_VARIABLES ? variable_name_ok(name)
                                          : gb_form_token_ok(name);
    *ret_ok = false;
    if (!ok || name.len > PAIR_NAME_BYTES_MAX) {
        gb_note_node(r, n, "\"%.*s\" is no name of a %s", GB_SPAN_ARG(name), whats[use]);
        gb_note_hint(r, "Write up to 128 letters, digits, - and _, without spaces or =.");
    } else if (use == GB_PAIRS_HEADERS && is_framing(name)) {
        gb_note_node(r, n, "the header \"%.*s\" is the server's to write", GB_SPAN_ARG(name));
        gb_note_hint(r, "Remove it; lengths and connections follow from the body.");
    } else {
        *ret_ok = true;
    }
    return true;
}

/* ---- secrets ---- */

static void unread(struct gb_reader *r, const struct gb_origin *at, const char *what) {
    if (r->options->secrets_optional) {
        gb_note_warning(r, at, GB_MANIFEST_INVALID, "%s, which a server needs", what);
    } else {
        gb_note(r, at, GB_MANIFEST_INVALID, "%s", what);
    }
}

static bool secret_of_env(struct gb_reader *r, const struct gb_node *n,
                          struct gb_manifest_pair *pair) {
    const char *name = gb_reader_copy(r, n->v.text);
    if (!name) {
        return false;
    }
    pair->origin.kind = GB_ORIGIN_ENV;
    pair->origin.from = name;
    const char *value = getenv(name);
    if (!value) {
        char what[256];
        snprintf(what, sizeof what, "the environment has no \"%.100s\" for \"%.60s\"", name,
                 pair->name);
        unread(r, &pair->origin, what);
        gb_note_hint(r, "Set it: export %s=…", name);
        return true;
    }
    pair->value = gb_reader_copy(r, gb_span_of(value));
    return pair->value != NULL;
}

static bool secret_of_file(struct gb_reader *r, const struct gb_node *n,
                           struct gb_manifest_pair *pair) {
    const char *path = gb_reader_path(r, n->v.text);
    if (!path) {
        return false;
    }
    pair->origin.kind = GB_ORIGIN_READ;
    pair->origin.from = path;
    uint8_t *bytes = NULL;
    size_t len = 0;
    struct gb_error *e = NULL;
    if (!gb_file_read(path, SECRET_BYTES_MAX, GB_MANIFEST_INVALID, &bytes, &len, &e)) {
        char what[640];
        snprintf(what, sizeof what, "the secret \"%.60s\" could not be read: %.500s", pair->name,
                 e->message);
        unread(r, &pair->origin, what);
        gb_note_hint(r, "Write the file, or correct the path; it is taken from the manifest's "
                        "folder.");
        gb_error_free(e);
        return true;
    }
    len -= len > 0 && bytes[len - 1] == '\n' ? 1 : 0;
    struct gb_span text = gb_span_make(bytes, len);
    if ((len > 0 && memchr(bytes, 0, len)) || !gb_utf8_valid(text)) {
        gb_note(r, &pair->origin, GB_MANIFEST_INVALID, "the secret in \"%s\" is no text", path);
        gb_note_hint(r, "Write it as UTF-8 without NUL characters.");
    } else {
        pair->value = gb_reader_copy(r, text);
    }
    explicit_bzero(bytes, len);
    gb_free(bytes);
    return !r->fatal;
}

/* { env = "NAME" } or { file = "PATH" } */
static bool read_secret(struct gb_reader *r, const struct gb_node *n,
                        struct gb_manifest_pair *pair, bool *ret_ok) {
    const struct gb_node *env = gb_node_get(n, "env");
    const struct gb_node *file = gb_node_get(n, "file");
    const struct gb_node *from = env ? env : file;
    *ret_ok = from && n->children == 1 && from->v.kind == GB_TOML_STRING && from->v.text.len > 0;
    if (!*ret_ok) {
        gb_note_node(r, n, "\"%.*s\" is no secret", GB_SPAN_ARG(n->v.path));
        gb_note_hint(r, "Write %s = { env = \"NAME\" } or { file = \"PATH\" }.", pair->name);
        return true;
    }
    pair->secret = true;
    return env ? secret_of_env(r, env, pair) : secret_of_file(r, file, pair);
}

/* ---- pairs ---- */

static bool header_value_ok(struct gb_span text) {
    for (size_t i = 0; i < text.len; i++) {
        if ((text.ptr[i] < 0x20 && text.ptr[i] != '\t') || text.ptr[i] == 0x7f) {
            return false;
        }
    }
    return text.len == 0 || (text.ptr[0] > ' ' && text.ptr[text.len - 1] > ' ');
}

static bool read_pair(struct gb_reader *r, const struct gb_node *n, enum gb_pair_use use,
                      struct gb_manifest_pair *pair, bool *ret_ok) {
    *pair = (struct gb_manifest_pair){.origin = gb_node_origin(n)};
    if (!gb_pair_name_check(r, n, use, ret_ok) || !*ret_ok) {
        return !r->fatal;
    }
    pair->name = gb_reader_copy(r, n->key_span);
    if (!pair->name) {
        return false;
    }
    if (n->v.kind == GB_TOML_TABLE && use != GB_PAIRS_HEADERS) {
        return read_secret(r, n, pair, ret_ok);
    }
    *ret_ok = false;
    if (n->v.kind != GB_TOML_STRING) {
        gb_note_node(r, n, "\"%.*s\" takes a text in quotes%s", GB_SPAN_ARG(n->v.path),
                     use == GB_PAIRS_HEADERS ? "" : ", or a secret");
        gb_note_hint(r, "Write %s = \"…\".", pair->name);
        return true;
    }
    if (use == GB_PAIRS_HEADERS && !header_value_ok(n->v.text)) {
        gb_note_node(r, n, "the value of the header \"%s\" cannot stand in a header", pair->name);
        gb_note_hint(r, "Write it on one line, without spaces around it.");
        return true;
    }
    pair->value = gb_reader_copy(r, n->v.text);
    *ret_ok = true;
    return pair->value != NULL;
}

bool gb_read_pairs(struct gb_reader *r, const struct gb_node *n, enum gb_pair_use use,
                   struct gb_manifest_pairs *ret_pairs) {
    char example[96];
    snprintf(example, sizeof example, "%.40s = { NAME = \"value\" }", n->key);
    if (!gb_node_is_table(r, n, example)) {
        return true;
    }
    if (n->children > GB_MANIFEST_LIST_MAX) {
        gb_note_node(r, n, "\"%.*s\" has %zu entries, more than %u", GB_SPAN_ARG(n->v.path),
                     n->children, GB_MANIFEST_LIST_MAX);
        gb_note_hint(r, "Leave out what is not needed.");
        return true;
    }
    struct gb_manifest_pair *items = gb_reader_alloc(r, n->children, sizeof *items);
    if (!items) {
        return false;
    }
    size_t len = 0;
    for (const struct gb_node *item = n->first; item; item = item->next) {
        bool ok;
        if (!read_pair(r, item, use, &items[len], &ok)) {
            return false;
        }
        len += ok ? 1 : 0;
    }
    *ret_pairs = (struct gb_manifest_pairs){.items = items, .len = len};
    return true;
}

/* ---- folders ---- */

static const uint8_t *find_colons(struct gb_span text) {
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.ptr[i] == ':' && text.ptr[i + 1] == ':') {
            return text.ptr + i;
        }
    }
    return NULL;
}

static bool read_dir(struct gb_reader *r, const struct gb_node *n, struct gb_manifest_dir *dir,
                     bool *ret_ok) {
    struct gb_span text = n->v.text;
    const uint8_t *colons = n->v.kind == GB_TOML_STRING ? find_colons(text) : NULL;
    struct gb_span host = {0};
    struct gb_span guest = {0};
    struct gb_span mode = {0};
    if (colons) {
        host = gb_span_make(text.ptr, (size_t)(colons - text.ptr));
        guest = gb_span_make(colons + 2, text.len - host.len - 2);
        const uint8_t *more = find_colons(guest);
        if (more) {
            mode = gb_span_make(more + 2, guest.len - (size_t)(more - guest.ptr) - 2);
            guest.len = (size_t)(more - guest.ptr);
        }
    }
    *ret_ok = host.len > 0 && guest.len > 0 && guest.ptr[0] == '/' &&
              (mode.len == 0 || gb_span_is(mode, "rw") || gb_span_is(mode, "ro"));
    if (!*ret_ok) {
        gb_note_node(r, n, "\"%.*s\" is no folder for a guest",
                     GB_SPAN_ARG(n->v.kind == GB_TOML_STRING ? text : n->v.path));
        gb_note_hint(r, "Write \"HOST::/GUEST\", read-only, or \"HOST::/GUEST::rw\".");
        return true;
    }
    *dir = (struct gb_manifest_dir){.host_path = gb_reader_path(r, host),
                                    .guest_path = gb_reader_copy(r, guest),
                                    .writable = gb_span_is(mode, "rw"),
                                    .origin = gb_node_origin(n)};
    return dir->host_path && dir->guest_path;
}

bool gb_read_dirs(struct gb_reader *r, const struct gb_node *n,
                  const struct gb_manifest_dir **ret_dirs, size_t *ret_len) {
    if (!gb_node_is_list(r, n, "dirs = [\"HOST::/GUEST\"]")) {
        return true;
    }
    if (n->children > GB_MANIFEST_LIST_MAX) {
        gb_note_node(r, n, "\"%.*s\" has %zu items, more than %u", GB_SPAN_ARG(n->v.path),
                     n->children, GB_MANIFEST_LIST_MAX);
        gb_note_hint(r, "Share a folder above them.");
        return true;
    }
    struct gb_manifest_dir *dirs = gb_reader_alloc(r, n->children, sizeof *dirs);
    if (!dirs) {
        return false;
    }
    size_t len = 0;
    for (const struct gb_node *item = n->first; item; item = item->next) {
        bool ok;
        if (!read_dir(r, item, &dirs[len], &ok)) {
            return false;
        }
        for (size_t i = 0; ok && i < len; i++) {
            if (strcmp(dirs[i].guest_path, dirs[len].guest_path) == 0) {
                gb_note_node(r, item, "two folders are called \"%s\" in the guest",
                             dirs[len].guest_path);
                gb_note_hint(r, "Give one of them another path after \"::\".");
                ok = false;
            }
        }
        len += ok ? 1 : 0;
    }
    *ret_dirs = dirs;
    *ret_len = len;
    return true;
}

/* ---- fixed answers ---- */

static bool read_status(struct gb_reader *r, const struct gb_node *n, uint32_t *ret_status) {
    if (n->v.kind != GB_TOML_INTEGER || n->v.integer < 200 || n->v.integer > 599) {
        gb_note_node(r, n, "\"%.*s\" takes a status from 200 to 599", GB_SPAN_ARG(n->v.path));
        gb_note_hint(r, "Write %s = 200.", n->key);
        return true;
    }
    *ret_status = (uint32_t)n->v.integer;
    return true;
}

static bool read_body(struct gb_reader *r, const struct gb_node *n,
                      struct gb_manifest_static *answer) {
    struct gb_span text;
    if (!gb_read_text(r, n, "body = \"…\"", &text)) {
        return true;
    }
    answer->body = gb_reader_copy(r, text);
    answer->body_len = text.len;
    return answer->body != NULL;
}

bool gb_read_static(struct gb_reader *r, const struct gb_node *n, const char *status_key,
                    struct gb_manifest_static *ret_answer) {
    const char *const known[] = {status_key, "headers", "body"};
    struct gb_manifest_static a = {.status = 200, .body = ""};
    if (!gb_node_is_table(r, n, "static = { status = 200, body = \"…\" }")) {
        return true;
    }
    for (const struct gb_node *item = n->first; item; item = item->next) {
        bool ok = true;
        if (gb_span_is(item->key_span, status_key)) {
            ok = read_status(r, item, &a.status);
        } else if (gb_span_is(item->key_span, "headers")) {
            ok = gb_read_pairs(r, item, GB_PAIRS_HEADERS, &a.headers);
        } else if (gb_span_is(item->key_span, "body")) {
            ok = read_body(r, item, &a);
        } else {
            gb_note_unknown(r, item, known, GB_COUNT(known));
        }
        if (!ok) {
            return false;
        }
    }
    if ((a.status == 204 || a.status == 304) && a.body_len > 0) {
        gb_note_node(r, n, "an answer with status %u has no body", a.status);
        gb_note_hint(r, "Leave body out, or write another status.");
    }
    *ret_answer = a;
    return true;
}
