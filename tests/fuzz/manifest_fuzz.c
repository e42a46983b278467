/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests from any text: no crash, no leak, an error exactly when it fails, a hint for each
 * finding; and of what was read everything that names something else names what there is, every
 * value can be shown, and no secret is. Built without libFuzzer (GB_FUZZ_REPLAY) it runs the files
 * given.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/num.h"
#include "manifest/manifest.h"

#define SECRET "a secret of this test"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

/* Not by strstr, which tells libFuzzer what to write. */
#ifdef __clang__
__attribute__((no_sanitize("coverage")))
#endif
static bool tells(const char *text) {
    static const volatile char secret[] = SECRET;
    for (; *text; text++) {
        size_t i = 0;
        while (secret[i] && text[i] == secret[i]) {
            i++;
        }
        if (!secret[i]) {
            return true;
        }
    }
    return false;
}

static bool each_value(void *user, const struct gb_manifest_value *v, struct gb_error **err) {
    (void)user;
    (void)err;
    require(v->key[0] != '\0' && v->origin, "a value has a key and an origin");
    require(!tells(v->value), "secrets are not shown");
    return true;
}

static void check_findings(const struct gb_manifest_findings *f, bool good) {
    size_t errors = 0;
    require(f->len <= GB_MANIFEST_FINDINGS_MAX, "findings are bounded");
    for (size_t i = 0; i < f->len; i++) {
        const struct gb_error *e = f->items[i].error;
        errors += f->items[i].warning ? 0 : 1;
        require(e && e->hint && e->hint[0], "a finding has a hint");
        require(strncmp(e->message, "m.toml:", 7) == 0, "a finding has a place");
        require(!tells(e->message) && !tells(e->hint), "secrets are not told");
        require(e->code == GB_MANIFEST_INVALID || e->code == GB_UNSUPPORTED, "two codes only");
    }
    require(good ? errors == 0 : errors > 0, "errors if and only if it failed");
}

static bool is_one_of(const void *item, const void *items, size_t len, size_t bytes) {
    uintptr_t at = (uintptr_t)item;
    uintptr_t first = (uintptr_t)items;
    return at >= first && at < first + len * bytes && (at - first) % bytes == 0;
}

static void check_route(const struct gb_manifest *m, const struct gb_manifest_route *r) {
    require(r->path && r->path[0] == '/' && r->segments_len <= GB_MANIFEST_SEGMENTS_MAX,
            "a route has a path");
    require((r->kind == GB_ROUTE_STATIC) == (r->component == NULL), "a route has one answer");
    require(!r->component || is_one_of(r->component, m->components, m->components_len,
                                       sizeof *m->components), "its component is one");
    require(!r->tenant || is_one_of(r->tenant, m->tenants, m->tenants_len, sizeof *m->tenants),
            "its tenant is one");
    require((r->kind == GB_ROUTE_CALL) == (r->interface != NULL), "an interface to call");
    for (size_t i = 0; i < r->segments_len; i++) {
        bool rest = r->segments[i].kind == GB_SEGMENT_REST;
        require(rest == (r->segments[i].text == NULL), "parts have texts");
        require(!rest || i + 1 == r->segments_len, "the rest comes last");
    }
}

static void check_manifest(const struct gb_manifest *m) {
    struct gb_error *err = NULL;
    require(m->tenants_len > 0 && m->host.listen && m->host.admin, "never empty");
    for (size_t i = 0; i < m->components_len; i++) {
        const struct gb_manifest_component *c = &m->components[i];
        require(c->name && c->source, "a component has a source");
        for (size_t k = 0; k < c->models_len; k++) {
            require(c->models[k].model || m->host.models_dir, "its models are there");
        }
        struct gb_manifest_limits l = gb_manifest_limits_of(m, c, &m->tenants[0]);
        require(l.memory_bytes >= 65536 && l.deadline_us > 0, "limits are within their ranges");
    }
    for (size_t i = 0; i < m->routes_len; i++) {
        check_route(m, &m->routes[i]);
    }
    require(gb_manifest_each_value(m, each_value, NULL, &err) && !err, "values can be shown");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    struct gb_manifest_options o = {.secrets_optional = true};
    struct gb_manifest_findings f;
    struct gb_error *err = NULL;
    (void)setenv("SPIN_VARIABLE_TOKEN", SECRET, 0);
    (void)setenv("TOKEN", SECRET, 0);
    struct gb_manifest *m = gb_manifest_parse(gb_span_make(bytes, len), "m.toml", &o, &f, &err);
    require((m != NULL) == (err == NULL), "an error if and only if it fails");
    check_findings(&f, m != NULL);
    if (m) {
        check_manifest(m);
        gb_manifest_unref(gb_manifest_ref(m));
    }
    gb_manifest_unref(m);
    gb_manifest_findings_fini(&f);
    gb_error_free(err);
    return 0;
}

#include "replay.h"
