/* SPDX-License-Identifier: Apache-2.0 */
/* Routes: what matches, which of several, parameters, methods, shadows, bad patterns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/num.h"
#include "http/route.h"

#define BIT(m) GB_HTTP_METHOD_BIT(GB_HTTP_##m)

static char *const nobody = NULL;

static struct gb_routes *table(const char *const *patterns) {
    struct gb_routes *t = gb_routes_new(NULL);
    assert_non_null(t);
    for (; *patterns; patterns++) {
        struct gb_error *err = NULL;
        if (!gb_routes_add(t, *patterns, 0, nobody, &err)) {
            fail_msg("%s: %s", *patterns, err->message);
        }
    }
    return t;
}

/* "PATTERN name=value ... tail" of what a path meets, or "-". */
static const char *met(const struct gb_routes *t, const char *path) {
    static char text[512];
    struct gb_route_match m;
    if (gb_routes_match(t, GB_HTTP_GET, gb_span_of(path), &m) != GB_ROUTE_FOUND) {
        return "-";
    }
    int n = snprintf(text, sizeof text, "%s", m.pattern);
    for (size_t i = 0; i < m.params_len; i++) {
        n += snprintf(text + n, sizeof text - (size_t)n, " %.*s=%.*s",
                      GB_SPAN_ARG(m.params[i].name), GB_SPAN_ARG(m.params[i].value));
    }
    if (m.tail.len > 0) {
        snprintf(text + n, sizeof text - (size_t)n, " %.*s", GB_SPAN_ARG(m.tail));
    }
    return text;
}

static void the_closest_wins(void **state) {
    (void)state;
    static const char *const patterns[] = {"/...",
                                           "/",
                                           "/users",
                                           "/users/",
                                           "/users/:id",
                                           "/users/me",
                                           "/users/:id/posts/:post",
                                           "/users/:id/...",
                                           "/users/me/...",
                                           "/files/...",
                                           "/files/:a/x",
                                           "/%7Etilde/a%2fb",
                                           NULL};
    static const struct {
        const char *path, *met;
    } cases[] = {
        {"/", "/"},
        {"/x", "/... /x"},
        {"/x/", "/... /x/"},
        {"//x", "/... //x"},
        {"*", "/..."},
        {"/users", "/users"},
        {"/users/", "/users/"},
        {"/users/7", "/users/:id id=7"},
        {"/users/me", "/users/me"},
        {"/users/me/", "/users/me/... /"},
        {"/users/me/posts/1", "/users/me/... /posts/1"},
        {"/users/7/posts/1", "/users/:id/posts/:post id=7 post=1"},
        {"/users/7/posts/", "/users/:id/... id=7 /posts/"},
        {"/users/7/posts", "/users/:id/... id=7 /posts"},
        {"/users//posts/1", "/... /users//posts/1"},
        {"/user", "/... /user"},
        {"/files", "/files/..."},
        {"/files/", "/files/... /"},
        {"/files/1/x", "/files/:a/x a=1"},
        {"/files/1/y", "/files/... /1/y"},
        {"/files/1/x/y", "/files/... /1/x/y"},
        {"/~tilde/a%2Fb", "/~tilde/a%2Fb"},
        {"/~tilde/a/b", "/... /~tilde/a/b"},
        {"/Users", "/... /Users"},
    };
    struct gb_routes *t = table(patterns);
    assert_int_equal(gb_routes_len(t), GB_COUNT(patterns) - 1);
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        if (strcmp(met(t, cases[i].path), cases[i].met) != 0) {
            fail_msg("%s meets %s, not %s", cases[i].path, met(t, cases[i].path), cases[i].met);
        }
    }
    gb_routes_free(t);
}

static void nothing_matches_nothing(void **state) {
    (void)state;
    static const char *const patterns[] = {"/a/b", "/a/:x/c", NULL};
    struct gb_routes *t = table(patterns);
    static const char *const paths[] = {"/", "/a", "/a/", "/a/b/", "/a/b/c/d", "/a//c", "*", ""};
    for (size_t i = 0; i < GB_COUNT(paths); i++) {
        assert_string_equal(met(t, paths[i]), "-");
    }
    assert_string_equal(met(t, "/a/b/c"), "/a/:x/c x=b");
    gb_routes_free(t);
    t = gb_routes_new(NULL);
    assert_string_equal(met(t, "/"), "-");
    gb_routes_free(t);
}

static void methods_choose_among_routes(void **state) {
    (void)state;
    struct gb_routes *t = gb_routes_new(NULL);
    int a, b, c, d;
    assert_true(gb_routes_add(t, "/x", BIT(GET), &a, NULL));
    assert_true(gb_routes_add(t, "/x", BIT(POST) | BIT(PUT), &b, NULL));
    assert_true(gb_routes_add(t, "/:any", BIT(DELETE), &c, NULL));
    assert_true(gb_routes_add(t, "/y/...", BIT(OTHER), &d, NULL));
    static const struct {
        enum gb_http_method method;
        const char *path;
        enum gb_route_result result;
        int which;
    } cases[] = {
        {GB_HTTP_GET, "/x", GB_ROUTE_FOUND, 0},     {GB_HTTP_HEAD, "/x", GB_ROUTE_FOUND, 0},
        {GB_HTTP_POST, "/x", GB_ROUTE_FOUND, 1},    {GB_HTTP_PUT, "/x", GB_ROUTE_FOUND, 1},
        {GB_HTTP_DELETE, "/x", GB_ROUTE_FOUND, 2},  {GB_HTTP_PATCH, "/x", GB_ROUTE_METHOD, 0},
        {GB_HTTP_GET, "/z", GB_ROUTE_METHOD, 0},    {GB_HTTP_GET, "/z/z", GB_ROUTE_NOT_FOUND, 0},
        {GB_HTTP_OTHER, "/y/z", GB_ROUTE_FOUND, 3}, {GB_HTTP_GET, "/y/z", GB_ROUTE_METHOD, 0},
    };
    const void *const users[] = {&a, &b, &c, &d};
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        struct gb_route_match m;
        assert_int_equal(gb_routes_match(t, cases[i].method, gb_span_of(cases[i].path), &m),
                         cases[i].result);
        if (cases[i].result == GB_ROUTE_FOUND) {
            assert_ptr_equal(m.user, users[cases[i].which]);
        }
    }
    struct gb_route_match m;
    char allow[GB_ROUTE_ALLOW_BYTES];
    gb_routes_match(t, GB_HTTP_PATCH, gb_span_of("/x"), &m);
    gb_route_allow_text(m.allowed, allow);
    assert_string_equal(allow, "GET, HEAD, POST, PUT, DELETE");
    gb_route_allow_text(GB_HTTP_METHODS_ALL, allow);
    assert_string_equal(allow, "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS");
    gb_route_allow_text(BIT(OTHER), allow);
    assert_string_equal(allow, "");
    gb_routes_free(t);
}

static void the_same_twice_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *first, *second;
        unsigned first_methods, second_methods;
        bool ok;
    } cases[] = {
        {"/a", "/a", 0, 0, false},
        {"/a", "/a", BIT(GET), BIT(POST), true},
        {"/a", "/a", BIT(GET), BIT(HEAD), false},
        {"/a/:x", "/a/:y", 0, BIT(GET), false},
        {"/a/...", "/a/...", 0, 0, false},
        {"/a", "/a/...", 0, 0, true},
        {"/a", "/a/", 0, 0, true},
        {"/a", "/%61", 0, 0, false},
        {"/:x/b", "/a/:y", 0, 0, true},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        struct gb_routes *t = gb_routes_new(NULL);
        struct gb_error *err = NULL;
        assert_true(gb_routes_add(t, cases[i].first, cases[i].first_methods, nobody, &err));
        assert_int_equal(gb_routes_add(t, cases[i].second, cases[i].second_methods, nobody, &err),
                         cases[i].ok);
        if (!cases[i].ok) {
            assert_int_equal(err->code, GB_MANIFEST_INVALID);
            assert_non_null(strstr(err->message, cases[i].first));
            assert_non_null(err->hint);
            gb_error_free(err);
        }
        gb_routes_free(t);
    }
}

static void patterns_that_are_none(void **state) {
    (void)state;
    static char deep[2 * GB_ROUTE_SEGMENTS_MAX + 3];
    static char params[3 * (GB_ROUTE_PARAMS_MAX + 1) + 1];
    static char big[GB_ROUTE_PATTERN_BYTES_MAX + 2];
    for (size_t i = 0; i < GB_ROUTE_SEGMENTS_MAX + 1; i++) {
        memcpy(deep + 2 * i, "/a", 3);
    }
    for (size_t i = 0; i < GB_ROUTE_PARAMS_MAX + 1; i++) {
        memcpy(params + 3 * i, "/:a", 4);
    }
    memset(big, 'a', sizeof big - 1);
    big[0] = '/';
    static const char *const patterns[] = {
        "",     "a",          "*",     "...",       "/a/.../b", "/.../...", "/*",
        "/a/*", "/a/**",      "/:",    "/:a b",     "/:a.b",    "/a?b",     "/a#b",
        "/a b", "/a%",        "/a%zz", "/a%00",     "/../a",    "/./a",     "/%2e%2e/a",
        "//a",  "http://a/b", "/a\\b", "/\xc3\xa3", deep,       params,     big};
    struct gb_routes *t = gb_routes_new(NULL);
    for (size_t i = 0; i < GB_COUNT(patterns); i++) {
        struct gb_error *err = NULL;
        if (gb_routes_add(t, patterns[i], 0, nobody, &err)) {
            fail_msg("%s is taken", patterns[i]);
        }
        assert_int_equal(err->code, GB_MANIFEST_INVALID);
        gb_error_free(err);
    }
    deep[2 * GB_ROUTE_SEGMENTS_MAX] = '\0';
    params[3 * GB_ROUTE_PARAMS_MAX] = '\0';
    big[GB_ROUTE_PATTERN_BYTES_MAX] = '\0';
    assert_true(gb_routes_add(t, deep, 0, nobody, NULL));
    assert_true(gb_routes_add(t, params, 0, nobody, NULL));
    assert_true(gb_routes_add(t, big, 0, nobody, NULL));
    assert_string_equal(met(t, deep), deep);
    assert_string_equal(met(t, "/1/2/3/4/5/6/7/8"), "/:a/:a/:a/:a/:a/:a/:a/:a a=1 a=2 a=3 a=4 "
                                                    "a=5 a=6 a=7 a=8");
    gb_routes_free(t);
}

static void tell(void *user, void *closer, void *wider) {
    struct gb_buf *b = user;
    assert_true(gb_buf_append_format(b, NULL, "%s>%s ", (char *)closer, (char *)wider));
}

static void shadows_are_told(void **state) {
    (void)state;
    static char names[][16] = {"/...",     "/a/:x", "/a/b",     "/a/:x/c",
                               "/a/b/...", "/c",    "/a/:y/:z", "/:p/b"};
    struct gb_routes *t = gb_routes_new(NULL);
    for (size_t i = 0; i < GB_COUNT(names); i++) {
        assert_true(gb_routes_add(t, names[i], i == 5 ? BIT(GET) : 0, names[i], NULL));
    }
    assert_false(gb_routes_add(t, "/c", 0, names[5], NULL));
    struct gb_buf b;
    gb_buf_init(&b, 4096);
    gb_routes_shadows(t, tell, &b);
    assert_string_equal(gb_buf_text(&b),
                        "/a/:x>/... /a/:x>/:p/b "
                        "/a/b>/... /a/b>/a/:x /a/b>/a/b/... /a/b>/:p/b "
                        "/a/:x/c>/... /a/:x/c>/a/:y/:z "
                        "/a/b/...>/... /a/b/...>/a/:x /a/b/...>/a/:x/c /a/b/...>/a/:y/:z "
                        "/a/b/...>/:p/b "
                        "/c>/... /a/:y/:z>/... /:p/b>/... ");
    gb_buf_fini(&b);
    gb_routes_free(t);
}

/* What the table says is what a plain reading of the patterns says, for every path of a small
 * alphabet: is_closer's order, tried out. */
static void shadows_agree_with_matching(void **state) {
    (void)state;
    static char names[][16] = {"/...",   "/",        "/a",        "/a/",     "/:x",
                               "/a/...", "/:x/...",  "/a/b",      "/:x/b",   "/a/:y",
                               "/:x/:y", "/a/b/...", "/:x/b/...", "/a/:y/b", "/:x/:y/:z"};
    static const char *const segments[] = {"", "a", "b", "c"};
    struct gb_buf told;
    gb_buf_init(&told, 1 << 16);
    for (size_t i = 0; i < GB_COUNT(names); i++) {
        for (size_t j = 0; j < GB_COUNT(names); j++) {
            if (i == j) {
                continue;
            }
            struct gb_routes *t = gb_routes_new(NULL);
            struct gb_routes *alone = gb_routes_new(NULL);
            assert_true(gb_routes_add(t, names[i], 0, names[i], NULL));
            assert_true(gb_routes_add(t, names[j], 0, names[j], NULL));
            assert_true(gb_routes_add(alone, names[j], 0, names[j], NULL));
            bool takes = false;
            for (unsigned k = 0; k < 4 + 16 + 64; k++) {
                char path[16];
                unsigned deep = k < 4 ? 1 : k < 20 ? 2 : 3;
                const char *s = segments[k % 4];
                snprintf(path, sizeof path, "/%s%s%s%s%s", s, deep > 1 ? "/" : "",
                         deep > 1 ? segments[k / 4 % 4] : "", deep > 2 ? "/" : "",
                         deep > 2 ? segments[k / 16 % 4] : "");
                struct gb_route_match m, without;
                bool lone = gb_routes_match(alone, GB_HTTP_GET, gb_span_of(path), &without) ==
                            GB_ROUTE_FOUND;
                gb_routes_match(t, GB_HTTP_GET, gb_span_of(path), &m);
                takes = takes || (lone && m.user == names[i]);
            }
            told.len = 0;
            gb_routes_shadows(t, tell, &told);
            char pair[512];
            snprintf(pair, sizeof pair, "%s>%s ", names[i], names[j]);
            bool says = told.len > 0 && strstr(gb_buf_text(&told), pair) != NULL;
            if (says != takes) {
                fail_msg("%s told: %d, taken: %d", pair, says, takes);
            }
            gb_routes_free(t);
            gb_routes_free(alone);
        }
    }
    gb_buf_fini(&told);
}

static void many_routes(void **state) {
    (void)state;
    struct gb_routes *t = gb_routes_new(NULL);
    char pattern[64], path[64];
    for (uintptr_t i = 1; i <= 10000; i++) {
        snprintf(pattern, sizeof pattern, "/c/%u/...", (unsigned)i);
        assert_true(gb_routes_add(t, pattern, 0, pattern + i % 7, NULL));
    }
    for (unsigned i = 1; i <= 10000; i += 7) {
        struct gb_route_match m;
        snprintf(path, sizeof path, "/c/%u/x", i);
        assert_int_equal(gb_routes_match(t, GB_HTTP_GET, gb_span_of(path), &m), GB_ROUTE_FOUND);
        assert_ptr_equal(m.user, pattern + i % 7);
        assert_true(gb_span_is(m.tail, "/x"));
    }
    assert_string_equal(met(t, "/c/10001"), "-");
    gb_routes_free(t);
}

static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    bool hit = true;
    for (uint64_t nth = 1; hit; nth++) {
        gb_alloc_fail_at(nth);
        struct gb_error *err = NULL;
        struct gb_routes *t = gb_routes_new(&err);
        bool ok = t != NULL;
        for (unsigned i = 0; ok && i < 40; i++) {
            char pattern[32];
            snprintf(pattern, sizeof pattern, "/a/%u/:x", i);
            ok = gb_routes_add(t, pattern, 0, nobody, &err);
        }
        hit = gb_alloc_fail_hits() > 0;
        gb_alloc_fail_at(0);
        assert_int_equal(ok, !hit);
        assert_int_equal(err ? err->code : GB_OK, hit ? GB_INTERNAL : GB_OK);
        if (t) {
            assert_string_equal(met(t, "/b"), "-");
            assert_true(gb_routes_add(t, "/z", 0, nobody, NULL));
            assert_string_equal(met(t, "/z"), "/z");
        }
        gb_error_free(err);
        gb_routes_free(t);
        assert_true(nth < 100);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_closest_wins),
        cmocka_unit_test(nothing_matches_nothing),
        cmocka_unit_test(methods_choose_among_routes),
        cmocka_unit_test(the_same_twice_is_refused),
        cmocka_unit_test(patterns_that_are_none),
        cmocka_unit_test(shadows_are_told),
        cmocka_unit_test(shadows_agree_with_matching),
        cmocka_unit_test(many_routes),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
