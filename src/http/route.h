/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which route a path belongs to. Patterns: "/a/b" (exact), "/a/:id/b" (one segment, never empty),
 * "/a/..." (the folder itself and all below it; "/..." is everything). One tree for all; a look-up
 * walks it along the path, so its cost does not grow with the number of routes.
 *
 * Of several that match, the closest wins: segment by segment from the left, a literal before
 * a parameter, a parameter before "...". A route whose methods do not fit is passed over; only when
 * none fits is it method-not-allowed. GET includes HEAD.
 *
 * Threads: adding by one; then any number may match. Which host a table is for is not known here.
 * Limits: 32 segments and 8 parameters in a pattern, 1,000,000 nodes.
 */
#ifndef GB_HTTP_ROUTE_H
#define GB_HTTP_ROUTE_H

#include "http/http.h"

#define GB_ROUTE_SEGMENTS_MAX 32
#define GB_ROUTE_PARAMS_MAX 8
#define GB_ROUTE_PATTERN_BYTES_MAX 2048

struct gb_routes;

struct gb_routes *gb_routes_new(struct gb_error **err);
void gb_routes_free(struct gb_routes *t);

/* `methods`: bits of GB_HTTP_METHOD_BIT, 0 = all. `user` comes back in matches. Copies the pattern,
 * in the form of head->path. Fails with manifest-invalid for a pattern that is none, and for one
 * that has the same shape and a method in common with an earlier one. */
bool gb_routes_add(struct gb_routes *t, const char *pattern, unsigned methods, void *user,
                   struct gb_error **err);
size_t gb_routes_len(const struct gb_routes *t);

struct gb_route_param {
    struct gb_span name;  /* the table's, without ':' */
    struct gb_span value; /* of the path, escapes as they are */
};
struct gb_route_match {
    void *user;
    const char *pattern;
    struct gb_route_param params[GB_ROUTE_PARAMS_MAX];
    size_t params_len;
    struct gb_span tail; /* behind "/..."; empty, or with a leading '/' */
    /* Methods of all routes that match the path, for "allow"; only where none fits. */
    unsigned allowed;
};

enum gb_route_result { GB_ROUTE_FOUND, GB_ROUTE_NOT_FOUND, GB_ROUTE_METHOD };
/* Allocates nothing and cannot fail otherwise. `path` as in struct gb_http_head. */
enum gb_route_result gb_routes_match(const struct gb_routes *t, enum gb_http_method method,
                                     struct gb_span path, struct gb_route_match *ret);
/* "GET, HEAD, POST" for an allow field. */
#define GB_ROUTE_ALLOW_BYTES 64
void gb_route_allow_text(unsigned methods, char ret_text[GB_ROUTE_ALLOW_BYTES]);

/* Tells every pair where `closer` takes requests that `wider` would have got: all of these users'
 * patterns, in order of adding. (A route that gets none at all cannot be added.) For `check`. */
typedef void gb_routes_shadow_fn(void *user, void *closer, void *wider);
void gb_routes_shadows(const struct gb_routes *t, gb_routes_shadow_fn *tell, void *user);

#endif
