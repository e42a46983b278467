/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of routes in parts, and which of two routes hides the other. */
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

static bool takes_methods_of(const struct gb_manifest_route *a,
                             const struct gb_manifest_route *b) {
    if (a->methods.len == 0) {
        return true;
    }
    for (size_t i = 0; i < b->methods.len; i++) {
        size_t k = 0;
        while (k < a->methods.len && strcmp(a->methods.items[k], b->methods.items[i]) != 0) {
            k++;
        }
        if (k == a->methods.len) {
            return false;
        }
    }
    return b->methods.len > 0;
}

bool gb_manifest_route_shadows(const struct gb_manifest_route *earlier,
                               const struct gb_manifest_route *later) {
    return earlier->tenant == later->tenant && same_shape(earlier, later) &&
           takes_methods_of(earlier, later);
}
