/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree of segments. Literal children are found by one hash table over (parent, segment); each
 * node has at most one parameter child, a list of routes that end there and one of those that end
 * there with "...". Matching goes depth first in the order of preference, with a stack as deep as
 * the longest pattern: a node is visited at most once.
 */
#include "http/route.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"
#include "http/h1_internal.h"

#define NODES_MAX 1000000
#define NONE UINT32_MAX
#define ROOT 0

enum segment_kind { LITERAL, PARAM, REST };

struct route {
    char *pattern;
    unsigned methods; /* with HEAD where there is GET */
    void *user;
    uint32_t next; /* of the same node and kind */
};

struct node {
    uint32_t parent;
    uint32_t param; /* child */
    uint32_t routes;
    uint32_t rests;
    struct gb_span segment; /* in a route's pattern */
};

struct gb_routes {
    struct route *routes;
    size_t routes_len, routes_cap; /* refused ones too */
    size_t added;
    struct node *nodes;
    size_t nodes_len, nodes_cap;
    uint32_t *slots; /* of nodes that are literal children */
    size_t slots_cap;
};

/* ---- segments ---- */

/* The segment behind the '/' at *at; moves *at behind it. */
static struct gb_span next_segment(struct gb_span path, size_t *at) {
    size_t from = *at + 1;
    const uint8_t *slash = from < path.len ? memchr(path.ptr + from, '/', path.len - from) : NULL;
    *at = slash ? (size_t)(slash - path.ptr) : path.len;
    return gb_span_make(path.ptr + from, *at - from);
}

static enum segment_kind kind_of(struct gb_span segment) {
    if (gb_span_is(segment, "...")) {
        return REST;
    }
    return segment.len > 0 && segment.ptr[0] == ':' ? PARAM : LITERAL;
}

static bool is_param_name(struct gb_span segment) {
    for (size_t i = 1; i < segment.len; i++) {
        uint8_t b = segment.ptr[i];
        if (!((b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') ||
              b == '_' || b == '-')) {
            return false;
        }
    }
    return segment.len > 1;
}

static bool bad_pattern(struct gb_error **err, const char *pattern, const char *why) {
    gb_fail(err, GB_MANIFEST_INVALID, "the route \"%s\" is not valid: %s",
            GB_H1_QUOTE(gb_span_of(pattern)), why);
    return gb_hint(err, "Examples: \"/users\", \"/users/:id\", \"/files/...\".");
}

static bool check_segments(const char *pattern, struct gb_span p, struct gb_error **err) {
    size_t segments = 0;
    size_t params = 0;
    for (size_t at = 0; at < p.len;) {
        struct gb_span segment = next_segment(p, &at);
        enum segment_kind kind = kind_of(segment);
        params += kind == PARAM;
        if (kind == PARAM && !is_param_name(segment)) {
            return bad_pattern(err, pattern, "a parameter's name has letters, digits, - and _");
        }
        if (kind == REST && at < p.len) {
            return bad_pattern(err, pattern, "\"...\" comes last");
        }
        if (gb_span_is(segment, "*") || gb_span_is(segment, "**")) {
            return bad_pattern(err, pattern, "\"*\" is written \"...\" here");
        }
        if (++segments > GB_ROUTE_SEGMENTS_MAX || params > GB_ROUTE_PARAMS_MAX) {
            return bad_pattern(err, pattern, "it has too many segments or parameters");
        }
    }
    return true;
}

/* The pattern as paths look when they are matched. */
static char *normal_pattern(const char *pattern, struct gb_error **err) {
    struct gb_span raw = gb_span_of(pattern);
    struct gb_h1_target target;
    if (raw.len == 0 || raw.ptr[0] != '/' || raw.len > GB_ROUTE_PATTERN_BYTES_MAX) {
        bad_pattern(err, pattern, "it begins with \"/\" and has at most 2048 bytes");
        return NULL;
    }
    struct gb_error *why = NULL;
    char *text = gb_alloc(raw.len + 1, err);
    size_t len = 0;
    if (!text) {
        return NULL;
    }
    if (!gb_h1_read_target(raw, GB_HTTP_GET, false, &target, &why) ||
        !gb_h1_write_path(target.path, (uint8_t *)text, &len, &why)) {
        bad_pattern(err, pattern, why->message);
        gb_error_free(why);
    } else if (target.has_query) {
        bad_pattern(err, pattern, "queries are not routed by");
    } else if (check_segments(pattern, gb_span_make(text, len), err)) {
        text[len] = '\0';
        return text;
    }
    gb_free(text);
    return NULL;
}

/* ---- the table ---- */

static uint64_t hash_of(uint32_t parent, struct gb_span segment) {
    uint64_t h = 0xcbf29ce484222325U ^ parent;
    for (size_t i = 0; i < segment.len; i++) {
        h = (h ^ segment.ptr[i]) * 0x100000001b3U;
    }
    h *= 0x9e3779b97f4a7c15U;
    return h ^ h >> 32;
}

/* The slot that holds the child, or the empty one where it belongs. slots_cap is a power of 2. */
static size_t slot_of(const struct gb_routes *t, uint32_t parent, struct gb_span segment) {
    size_t at = (size_t)hash_of(parent, segment) & (t->slots_cap - 1);
    while (t->slots[at] != NONE) {
        const struct node *n = &t->nodes[t->slots[at]];
        if (n->parent == parent && gb_span_eq(n->segment, segment)) {
            break;
        }
        at = (at + 1) & (t->slots_cap - 1);
    }
    return at;
}

/* Room for one more node: in the array, and in a table that is at most half full. */
static bool reserve_node(struct gb_routes *t, struct gb_error **err) {
    if (t->nodes_len >= NODES_MAX) {
        return gb_fail(err, GB_MANIFEST_INVALID, "there are more than %d parts of routes",
                       NODES_MAX);
    }
    if (t->nodes_len == t->nodes_cap) {
        size_t cap = GB_MAX(t->nodes_cap * 2, (size_t)16);
        struct node *nodes = gb_realloc(t->nodes, cap * sizeof *nodes, err);
        if (!nodes) {
            return false;
        }
        t->nodes = nodes;
        t->nodes_cap = cap;
    }
    if ((t->nodes_len + 1) * 2 <= t->slots_cap) {
        return true;
    }
    size_t cap = GB_MAX(t->slots_cap * 2, (size_t)64);
    uint32_t *slots = gb_alloc(cap * sizeof *slots, err);
    if (!slots) {
        return false;
    }
    memset(slots, 0xff, cap * sizeof *slots);
    uint32_t *old = t->slots;
    size_t old_cap = t->slots_cap;
    t->slots = slots;
    t->slots_cap = cap;
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i] != NONE) {
            slots[slot_of(t, t->nodes[old[i]].parent, t->nodes[old[i]].segment)] = old[i];
        }
    }
    gb_free(old);
    return true;
}

/* There is room. */
static uint32_t new_node(struct gb_routes *t, uint32_t parent, struct gb_span segment) {
    uint32_t id = (uint32_t)t->nodes_len++;
    t->nodes[id] = (struct node){
        .parent = parent, .param = NONE, .routes = NONE, .rests = NONE, .segment = segment};
    return id;
}

struct gb_routes *gb_routes_new(struct gb_error **err) {
    struct gb_routes *t = gb_calloc(1, sizeof *t, err);
    if (!t || !reserve_node(t, err)) {
        gb_routes_free(t);
        return NULL;
    }
    new_node(t, NONE, gb_span_make(NULL, 0));
    return t;
}

void gb_routes_free(struct gb_routes *t) {
    if (t) {
        for (size_t i = 0; i < t->routes_len; i++) {
            gb_free(t->routes[i].pattern);
        }
        gb_free(t->routes);
        gb_free(t->nodes);
        gb_free(t->slots);
        gb_free(t);
    }
}

size_t gb_routes_len(const struct gb_routes *t) {
    return t->added;
}

/* The child of that segment, made if there is none; NONE when memory runs out. */
static uint32_t child_of(struct gb_routes *t, uint32_t parent, struct gb_span segment,
                         struct gb_error **err) {
    if (!reserve_node(t, err)) {
        return NONE;
    }
    if (kind_of(segment) == PARAM) {
        if (t->nodes[parent].param == NONE) {
            uint32_t id = new_node(t, parent, segment);
            t->nodes[parent].param = id;
        }
        return t->nodes[parent].param;
    }
    size_t slot = slot_of(t, parent, segment);
    if (t->slots[slot] == NONE) {
        t->slots[slot] = new_node(t, parent, segment);
    }
    return t->slots[slot];
}

static bool check_twin(const struct gb_routes *t, uint32_t list, const char *pattern,
                       unsigned methods, struct gb_error **err) {
    for (uint32_t i = list; i != NONE; i = t->routes[i].next) {
        if ((t->routes[i].methods & methods) != 0) {
            gb_fail(err, GB_MANIFEST_INVALID, "the routes \"%s\" and \"%s\" take the same requests",
                    t->routes[i].pattern, pattern);
            return gb_hint(err, "Remove one, or give them different methods.");
        }
    }
    return true;
}

/* Nodes made for a route that is then refused stay: they match nothing, and their segments lie in
 * the pattern, which is therefore kept. */
static bool insert(struct gb_routes *t, uint32_t id, struct gb_error **err) {
    struct route *r = &t->routes[id];
    struct gb_span p = gb_span_of(r->pattern);
    uint32_t node = ROOT;
    for (size_t at = 0; at < p.len;) {
        struct gb_span segment = next_segment(p, &at);
        if (kind_of(segment) == REST) {
            break;
        }
        node = child_of(t, node, segment, err);
        if (node == NONE) {
            return false;
        }
    }
    bool rest = p.len >= 4 && memcmp(p.ptr + p.len - 4, "/...", 4) == 0;
    uint32_t *list = rest ? &t->nodes[node].rests : &t->nodes[node].routes;
    if (!check_twin(t, *list, r->pattern, r->methods, err)) {
        return false;
    }
    while (*list != NONE) {
        list = &t->routes[*list].next;
    }
    *list = id;
    return true;
}

bool gb_routes_add(struct gb_routes *t, const char *pattern, unsigned methods, void *user,
                   struct gb_error **err) {
    if (t->routes_len == t->routes_cap) {
        size_t cap = GB_MAX(t->routes_cap * 2, (size_t)16);
        struct route *routes = gb_realloc(t->routes, cap * sizeof *routes, err);
        if (!routes) {
            return false;
        }
        t->routes = routes;
        t->routes_cap = cap;
    }
    char *normal = normal_pattern(pattern, err);
    if (!normal) {
        return false;
    }
    unsigned all = methods == 0 ? GB_HTTP_METHODS_ALL : methods;
    if ((all & GB_HTTP_METHOD_BIT(GB_HTTP_GET)) != 0) {
        all |= GB_HTTP_METHOD_BIT(GB_HTTP_HEAD);
    }
    uint32_t id = (uint32_t)t->routes_len++;
    t->routes[id] = (struct route){.pattern = normal, .user = user, .next = NONE, .methods = all};
    if (insert(t, id, err)) {
        t->added++;
        return true;
    }
    t->routes[id].methods = 0; /* in no list; gb_routes_shadows passes over it */
    return false;
}

/* ---- matching ---- */

struct frame {
    uint32_t node;
    size_t at;            /* of the path: a '/', or its end */
    struct gb_span value; /* how it was reached, if by a parameter */
    unsigned stage;
};

static const struct route *pick(const struct gb_routes *t, uint32_t list, unsigned bit,
                                unsigned *allowed) {
    for (uint32_t i = list; i != NONE; i = t->routes[i].next) {
        if ((t->routes[i].methods & bit) != 0) {
            return &t->routes[i];
        }
        *allowed |= t->routes[i].methods;
    }
    return NULL;
}

static void found(const struct route *r, const struct frame *stack, size_t depth,
                  struct gb_span tail, struct gb_route_match *ret) {
    *ret = (struct gb_route_match){.user = r->user, .pattern = r->pattern, .tail = tail};
    struct gb_span p = gb_span_of(r->pattern);
    size_t at = 0;
    for (size_t i = 1; i <= depth; i++) {
        struct gb_span segment = next_segment(p, &at);
        if (kind_of(segment) == PARAM) {
            ret->params[ret->params_len++] = (struct gb_route_param){
                .name = gb_span_make(segment.ptr + 1, segment.len - 1), .value = stack[i].value};
        }
    }
}

/* The child to go down to at this stage, or NONE. */
static uint32_t go_down(const struct gb_routes *t, const struct frame *f, struct gb_span path,
                        struct frame *ret) {
    if (f->at >= path.len) {
        return NONE;
    }
    size_t at = f->at;
    struct gb_span segment = next_segment(path, &at);
    uint32_t child;
    if (f->stage == LITERAL) {
        child = t->slots[slot_of(t, f->node, segment)];
    } else {
        child = segment.len > 0 ? t->nodes[f->node].param : NONE;
    }
    *ret = (struct frame){.node = child, .at = at, .value = segment, .stage = LITERAL};
    return child;
}

enum gb_route_result gb_routes_match(const struct gb_routes *t, enum gb_http_method method,
                                     struct gb_span path, struct gb_route_match *ret) {
    /* A child is at most as deep as the longest pattern. */
    struct frame stack[GB_ROUTE_SEGMENTS_MAX + 1];
    size_t depth = 0;
    unsigned bit = GB_HTTP_METHOD_BIT(method);
    unsigned allowed = 0;
    bool is_path = path.len > 0 && path.ptr[0] == '/';
    stack[0] = (struct frame){.node = ROOT, .at = is_path ? 0 : path.len, .stage = LITERAL};
    for (;;) {
        struct frame *f = &stack[depth];
        const struct node *n = &t->nodes[f->node];
        const struct route *r = NULL;
        if (f->stage == REST) {
            r = pick(t, n->rests, bit, &allowed);
        } else if (f->stage == LITERAL && f->at >= path.len) {
            r = pick(t, n->routes, bit, &allowed);
        }
        if (r) {
            found(r, stack, depth, gb_span_make(path.ptr + f->at, path.len - f->at), ret);
            return GB_ROUTE_FOUND;
        }
        if (f->stage == REST) {
            if (depth == 0) {
                break;
            }
            depth--;
            continue;
        }
        struct frame child;
        bool down = depth < GB_ROUTE_SEGMENTS_MAX && go_down(t, f, path, &child) != NONE;
        f->stage++;
        if (down) {
            stack[++depth] = child;
        }
    }
    *ret = (struct gb_route_match){.allowed = allowed};
    return allowed != 0 ? GB_ROUTE_METHOD : GB_ROUTE_NOT_FOUND;
}

void gb_route_allow_text(unsigned methods, char ret_text[GB_ROUTE_ALLOW_BYTES]) {
    size_t at = 0;
    ret_text[0] = '\0';
    for (unsigned m = 0; m < GB_HTTP_OTHER; m++) {
        const char *text = gb_http_method_text((enum gb_http_method)m);
        size_t len = strlen(text);
        if ((methods & GB_HTTP_METHOD_BIT(m)) == 0 || at + len + 3 > GB_ROUTE_ALLOW_BYTES) {
            continue;
        }
        if (at > 0) {
            memcpy(ret_text + at, ", ", 2);
            at += 2;
        }
        memcpy(ret_text + at, text, len + 1);
        at += len;
    }
}

/* ---- shadows ---- */

/* Whether a takes paths that b takes too and would have got without a. */
static bool is_closer(struct gb_span a, struct gb_span b) {
    size_t at_a = 0;
    size_t at_b = 0;
    bool closer = false;
    while (at_a < a.len || at_b < b.len) {
        if (at_b >= b.len) {
            return closer && gb_span_is(gb_span_make(a.ptr + at_a, a.len - at_a), "/...");
        }
        struct gb_span of_b = next_segment(b, &at_b);
        enum segment_kind kind_b = kind_of(of_b);
        if (at_a >= a.len) {
            return kind_b == REST;
        }
        struct gb_span of_a = next_segment(a, &at_a);
        enum segment_kind kind_a = kind_of(of_a);
        if (kind_a == LITERAL && kind_b == LITERAL && !gb_span_eq(of_a, of_b)) {
            return false;
        }
        if ((kind_a == LITERAL && kind_b == PARAM && of_a.len == 0) ||
            (kind_b == LITERAL && kind_a == PARAM && of_b.len == 0)) {
            return false;
        }
        if (!closer && kind_a > kind_b) {
            return false;
        }
        closer = closer || kind_a < kind_b;
        if (kind_a == REST || kind_b == REST) {
            return closer;
        }
    }
    return closer;
}

void gb_routes_shadows(const struct gb_routes *t, gb_routes_shadow_fn *tell, void *user) {
    for (size_t i = 0; i < t->routes_len; i++) {
        for (size_t j = 0; j < t->routes_len; j++) {
            const struct route *a = &t->routes[i];
            const struct route *b = &t->routes[j];
            if (i != j && (a->methods & b->methods) != 0 &&
                is_closer(gb_span_of(a->pattern), gb_span_of(b->pattern))) {
                tell(user, a->user, b->user);
            }
        }
    }
}
