/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of routes in parts, and whether two of them are the same. */
#include <string.h>

#include "manifest/manifest_internal.h"

/* The path has the form of a route (forms.c): it begins with a slash, and so does each part. */
bool gb_route_split(struct gb_reader *r, struct gb_manifest_route *route) {
    size_t parts = 0;
    for (const char *at = route->path; *at; at++) {
        parts += *at == '/' ? 1 : 0;
    }
    struct gb_route_segment *segments = gb_reader_alloc(r, parts, sizeof *segments);
    if (!segments) {
        return false;
    }
    size_t len = 0;
    const char *at = route->path;
    while (at[0] == '/' && at[1] != '\0') {
        at++;
        size_t part = strcspn(at, "/");
        struct gb_route_segment *s = &segments[len++];
        if (part == 3 && memcmp(at, "...", 3) == 0) {
            s->kind = GB_SEGMENT_REST;
        } else {
            size_t colon = at[0] == ':' ? 1 : 0;
            s->kind = colon ? GB_SEGMENT_PARAM : GB_SEGMENT_TEXT;
            s->text = gb_reader_copy(r, gb_span_make(at + colon, part - colon));
            if (!s->text) {
                return false;
            }
        }
        at += part;
    }
    route->segments = segments;
    route->segments_len = len;
    route->slash_last = at[0] == '/' && len > 0;
    return true;
}

static bool same_shape(const struct gb_manifest_route *a, const struct gb_manifest_route *b) {
    if (a->segments_len != b->segments_len || a->slash_last != b->slash_last) {
        return false;
    }
    for (size_t i = 0; i < a->segments_len; i++) {
        if (a->segments[i].kind != b->segments[i].kind ||
            (a->segments[i].kind == GB_SEGMENT_TEXT &&
             strcmp(a->segments[i].text, b->segments[i].text) != 0)) {
            return false;
        }
    }
    return true;
}

static bool has_method(const struct gb_manifest_route *r, const char *method) {
    for (size_t i = 0; i < r->methods.len; i++) {
        if (strcmp(r->methods.items[i], method) == 0) {
            return true;
        }
    }
    return r->methods.len == 0;
}

static bool same_method(const struct gb_manifest_route *a, const struct gb_manifest_route *b) {
    for (size_t i = 0; i < b->methods.len; i++) {
        if (has_method(a, b->methods.items[i])) {
            return true;
        }
    }
    return b->methods.len == 0 || (has_method(a, "GET") && has_method(b, "HEAD")) ||
           (has_method(a, "HEAD") && has_method(b, "GET"));
}

bool gb_manifest_routes_conflict(const struct gb_manifest_route *a,
                                 const struct gb_manifest_route *b) {
    return (a->tenant == b->tenant || !a->tenant || !b->tenant) && same_shape(a, b) &&
           same_method(a, b);
}
