/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading: the file, its kind by its content, the reader of that kind, and what follows from all of
 * it. A manifest with an error is none.
 */
#include "manifest/manifest.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/fault.h"
#include "base/num.h"
#include "manifest/manifest_internal.h"

#include <errno.h>
#include <unistd.h>

#define SNIFF_BYTES 4096u

struct box {
    struct gb_manifest m; /* first: a manifest is its box */
    _Atomic uint32_t refs;
    struct gb_arena arena;
};

static struct box *box_of(const struct gb_manifest *m) {
    return (struct box *)(uintptr_t)m;
}

struct gb_manifest *gb_manifest_ref(const struct gb_manifest *m) {
    struct box *b = box_of(m);
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return &b->m;
}

void gb_manifest_unref(const struct gb_manifest *m) {
    struct box *b = box_of(m);
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) {
        gb_arena_fini(&b->arena);
        gb_free(b);
    }
}

/* ---- reading ---- */

static bool reader_init(struct gb_reader *r, struct box *b, const char *path) {
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    b->m.file = gb_reader_copy(r, gb_span_of(path));
    b->m.folder = gb_reader_copy(r, gb_span_make(path, folder));
    r->file = b->m.file;
    r->folder = b->m.folder;
    return r->file && r->folder;
}

static bool is_spin(const struct gb_node *root) {
    static const char *const keys[] = {"spin_manifest_version", "spin_version", "application",
                                       "trigger"};
    for (size_t i = 0; i < GB_COUNT(keys); i++) {
        if (gb_node_get(root, keys[i])) {
            return true;
        }
    }
    return false;
}

static bool read_text(struct gb_reader *r, struct gb_span text) {
    if (text.len > GB_MANIFEST_BYTES_MAX) {
        gb_note(r, NULL, GB_MANIFEST_INVALID, "the file has %zu bytes, more than %u", text.len,
                GB_MANIFEST_BYTES_MAX);
        gb_note_hint(r, "Split the server into several.");
        return true;
    }
    if (!gb_doc_read(r, text)) {
        return false;
    }
    r->m->kind = is_spin(r->root) ? GB_MANIFEST_SPIN : GB_MANIFEST_GLOVEBOX;
    return r->m->kind == GB_MANIFEST_SPIN ? gb_read_spin(r) : gb_read_glovebox(r);
}

bool gb_read_program(struct gb_reader *r, const char *path) {
    struct gb_manifest_component *c = gb_reader_alloc(r, 1, sizeof *c);
    struct gb_manifest_route *route = gb_reader_alloc(r, 1, sizeof *route);
    if (!c || !route || !gb_read_host_defaults(r)) {
        return false;
    }
    r->m->kind = GB_MANIFEST_PROGRAM;
    c->name = "main";
    c->source = gb_reader_copy(r, gb_span_of(path));
    c->origins = gb_origins_new(r, GB_TABLE_COMPONENT);
    c->limits.origins = gb_origins_new(r, GB_TABLE_LIMITS);
    route->path = "/...";
    route->component_name = c->name;
    route->origins = gb_origins_new(r, GB_TABLE_ROUTE);
    r->m->components = c;
    r->m->components_len = 1;
    r->m->routes = route;
    r->m->routes_len = 1;
    return c->source && c->origins && c->limits.origins && route->origins &&
           gb_route_split(r, route);
}

/* The syntax of TOML is the parser's to judge, and it stops at the first error. */
static bool is_no_toml(const struct gb_reader *r) {
    return r->fatal && r->fatal->code == GB_MANIFEST_INVALID;
}

static void note_fatal(struct gb_reader *r) {
    struct gb_manifest_findings *f = r->findings;
    if (f->len < GB_MANIFEST_FINDINGS_MAX) {
        f->items[f->len++] =
            (struct gb_manifest_finding){.error = gb_take(&r->fatal)};
        f->errors_len++;
    }
}

static bool fail_first(const struct gb_manifest_findings *f, struct gb_error **err) {
    size_t i = 0;
    while (i < f->len && f->items[i].warning) {
        i++;
    }
    struct gb_error *first = i < f->len ? gb_error_copy(f->items[i].error) : NULL;
    if (!first) {
        return gb_fail(err, GB_INTERNAL, "the manifest is wrong, and memory ran out");
    }
    if (f->errors_len > 1) {
        GB_CLEANUP(gb_free_cleanup) char *hint = gb_strdup(first->hint ? first->hint : "", NULL);
        gb_hint(&first, "%s (%zu more; `glovebox check` lists them.)", hint ? hint : "",
                f->errors_len - 1);
    }
    return gb_error_move(err, first);
}

/* path is the manifest's; program: it is one. */
static struct gb_manifest *load(struct gb_span text, const char *path, bool program,
                                const struct gb_manifest_options *options,
                                struct gb_manifest_findings *findings, struct gb_error **err) {
    static const struct gb_manifest_options no_options;
    struct box *b = gb_calloc(1, sizeof *b, err);
    if (!b) {
        return NULL;
    }
    atomic_init(&b->refs, 1);
    struct gb_reader r = {.arena = &b->arena,
                          .m = &b->m,
                          .options = options ? options : &no_options,
                          .findings = findings};
    bool ok = reader_init(&r, b, path);
    ok = ok && (program ? gb_read_program(&r, path) : read_text(&r, text));
    ok = ok && (!b->m.host.origins || gb_resolve(&r));
    if (!ok && is_no_toml(&r)) {
        note_fatal(&r);
    }
    if (r.fatal) {
        gb_error_move(err, r.fatal);
    } else if (findings->errors_len > 0) {
        fail_first(findings, err);
    }
    bool good = ok && findings->errors_len == 0;
    gb_arena_fini(&r.scratch);
    if (!good) {
        gb_manifest_unref(&b->m);
        return NULL;
    }
    return &b->m;
}

/* With findings of our own where the caller wants none. */
static struct gb_manifest *load_with(struct gb_span text, const char *path, bool program,
                                     const struct gb_manifest_options *options,
                                     struct gb_manifest_findings *ret_findings,
                                     struct gb_error **err) {
    struct gb_manifest_findings own = {0};
    struct gb_manifest_findings *f = ret_findings ? ret_findings : &own;
    *f = (struct gb_manifest_findings){0};
    struct gb_manifest *m = load(text, path, program, options, f, err);
    gb_manifest_findings_fini(&own);
    return m;
}

struct gb_manifest *gb_manifest_parse(struct gb_span text, const char *path,
                                      const struct gb_manifest_options *options,
                                      struct gb_manifest_findings *ret_findings,
                                      struct gb_error **err) {
    return load_with(text, path, false, options, ret_findings, err);
}

struct gb_manifest *gb_manifest_of_program(const char *path,
                                           const struct gb_manifest_options *options,
                                           struct gb_error **err) {
    return load_with((struct gb_span){0}, path, true, options, NULL, err);
}

/* No manifest has a NUL byte, nor begins as a WebAssembly text does. */
static bool looks_like_program(const uint8_t *bytes, size_t len) {
    if (len > 0 && memchr(bytes, 0, len)) {
        return true;
    }
    size_t i = 0;
    while (i < len && (bytes[i] == ' ' || bytes[i] == '\t' || bytes[i] == '\r' ||
                       bytes[i] == '\n')) {
        i++;
    }
    return i < len && (bytes[i] == '(' || bytes[i] == ';');
}

static bool sniff(const char *path, bool *ret_program, struct gb_error **err) {
    uint8_t bytes[SNIFF_BYTES];
    int fd = gb_file_open(path, err);
    if (fd < 0) {
        return false;
    }
    ssize_t n = gb_sys(GB_SYS_READ, -1, read(fd, bytes, sizeof bytes));
    int eno = errno;
    gb_fd_close(&fd);
    if (n < 0 && eno == EISDIR) {
        gb_fail(err, GB_INVALID_ARGUMENT, "\"%s\" is a directory, not a file", path);
        return gb_hint(err, "Give the path of a glovebox.toml, a spin.toml or a program.");
    }
    if (n < 0) {
        return gb_fail_errno(err, GB_IO, eno, "could not read \"%s\": %s", path, strerror(eno));
    }
    *ret_program = looks_like_program(bytes, (size_t)n);
    return true;
}

struct gb_manifest *gb_manifest_load(const char *path, const struct gb_manifest_options *options,
                                     struct gb_manifest_findings *ret_findings,
                                     struct gb_error **err) {
    bool program;
    uint8_t *bytes = NULL;
    size_t len = 0;
    if (ret_findings) {
        *ret_findings = (struct gb_manifest_findings){0};
    }
    if (!sniff(path, &program, err)) {
        return NULL;
    }
    if (!program && !gb_file_read(path, GB_MANIFEST_BYTES_MAX, GB_MANIFEST_INVALID, &bytes, &len,
                                  err)) {
        gb_hint(err, "Give a file of at most 1 MiB: a glovebox.toml, a spin.toml or a program.");
        return NULL;
    }
    struct gb_manifest *m =
        load_with(gb_span_make(bytes, len), path, program, options, ret_findings, err);
    gb_free(bytes);
    return m;
}

/* ---- asking ---- */

const struct gb_manifest_component *gb_manifest_component_find(const struct gb_manifest *m,
                                                               const char *name) {
    for (size_t i = 0; i < m->components_len; i++) {
        if (strcmp(m->components[i].name, name) == 0) {
            return &m->components[i];
        }
    }
    return NULL;
}

const struct gb_manifest_tenant *gb_manifest_tenant_find(const struct gb_manifest *m,
                                                         const char *name) {
    for (size_t i = 0; i < m->tenants_len; i++) {
        if (strcmp(m->tenants[i].name, name) == 0) {
            return &m->tenants[i];
        }
    }
    return NULL;
}

/* 0 means no limit in some; there anything is smaller. */
static uint64_t smaller(uint64_t a, uint64_t b, bool zero_is_none) {
    if (zero_is_none && (a == 0 || b == 0)) {
        return GB_MAX(a, b);
    }
    return GB_MIN(a, b);
}

struct gb_manifest_limits gb_manifest_limits_of(const struct gb_manifest *m,
                                                const struct gb_manifest_component *component,
                                                const struct gb_manifest_tenant *tenant) {
    struct gb_manifest_limits l = m->limits;
    size_t len;
    const struct gb_setting *rows = gb_settings_of(GB_TABLE_LIMITS, &len);
    const struct gb_manifest_limits *theirs[] = {tenant ? &tenant->limits : NULL,
                                                 component ? &component->limits : NULL};
    uint32_t given = 0;
    for (size_t t = 0; t < GB_COUNT(theirs); t++) {
        for (size_t i = 0; theirs[t] && i < len; i++) {
            if (!(theirs[t]->given >> i & 1u)) {
                continue;
            }
            const char *from = (const char *)theirs[t] + rows[i].offset;
            char *to = (char *)&l + rows[i].offset;
            if (rows[i].kind == GB_SETTING_CHOICE) {
                memcpy(to, from, sizeof(uint32_t));
                continue;
            }
            uint64_t a, b;
            memcpy(&a, to, sizeof a);
            memcpy(&b, from, sizeof b);
            bool none = i == GB_MANIFEST_LIMIT_FUEL || i == GB_MANIFEST_LIMIT_HOSTCALL ||
                        i == GB_MANIFEST_LIMIT_CONCURRENCY;
            b = given >> i & 1u ? smaller(a, b, none) : b;
            memcpy(to, &b, sizeof b);
            given |= 1u << i;
        }
    }
    return l;
}
