/* SPDX-License-Identifier: Apache-2.0 */
/* The request parser: every vector in every cut, events, pauses, limits, memory. */
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
#include "http/h1_internal.h"
#include "http_vectors.h"

/* What the events said, as text: equal however the bytes are cut. */
struct record {
    struct gb_buf text;
    size_t bodies;
    unsigned messages;
    enum gb_h1_action head_action, body_action, trailers_action;
    struct gb_h1 *parser;
    uint64_t route_body_max;
};

static void put_span(struct record *r, const char *name, struct gb_span s) {
    assert_true(gb_buf_append_text(&r->text, name, NULL));
    assert_true(gb_buf_append(&r->text, s.ptr, s.len, NULL));
    assert_true(gb_buf_append_text(&r->text, "|", NULL));
}

static void put_fields(struct record *r, const struct gb_http_field *fields, size_t len) {
    for (size_t i = 0; i < len; i++) {
        put_span(r, "f=", fields[i].name);
        put_span(r, ":", fields[i].value);
    }
}

static enum gb_h1_action on_head(void *user, const struct gb_http_head *h) {
    struct record *r = user;
    put_span(r, "m=", h->method_text);
    put_span(r, "t=", h->target);
    put_span(r, "p=", h->path);
    put_span(r, "raw=", h->path_raw);
    put_span(r, "q=", h->query);
    put_span(r, "pq=", h->path_with_query);
    put_span(r, "a=", h->authority);
    put_fields(r, h->fields, h->fields_len);
    assert_true(gb_buf_append_format(&r->text, NULL, "%u %d %d %d %d %d %llu;", h->minor,
                                     h->has_query, h->has_length, h->chunked, h->keep_alive,
                                     h->expect_continue, (unsigned long long)h->content_length));
    if (r->route_body_max > 0) {
        struct gb_error *err = NULL;
        bool ok = gb_h1_set_body_max(r->parser, r->route_body_max, &err);
        assert_int_equal(ok, err == NULL);
        gb_error_free(err);
    }
    return r->head_action;
}

static enum gb_h1_action on_body(void *user, struct gb_span bytes) {
    struct record *r = user;
    assert_true(bytes.len > 0);
    assert_true(gb_buf_append(&r->text, bytes.ptr, bytes.len, NULL));
    r->bodies++;
    return r->body_action;
}

static enum gb_h1_action on_trailers(void *user, const struct gb_http_field *fields, size_t len) {
    struct record *r = user;
    assert_true(len > 0);
    put_span(r, "trailers", gb_span_make(NULL, 0));
    put_fields(r, fields, len);
    return r->trailers_action;
}

static void on_end(void *user) {
    struct record *r = user;
    r->messages++;
    put_span(r, "end", gb_span_make(NULL, 0));
}

static const struct gb_h1_events events = {on_head, on_body, on_trailers, on_end};

/* Small, so that vectors reach them. */
static const struct gb_h1_limits small = {.target_bytes_max = 1024,
                                          .head_bytes_max = 4000,
                                          .fields_max = 12,
                                          .body_bytes_max = 4096,
                                          .chunk_extension_bytes_max = 1024,
                                          .trailer_bytes_max = 1500};

static struct gb_h1 *start(struct record *r, const struct gb_h1_limits *limits) {
    *r = (struct record){0};
    gb_buf_init(&r->text, 1 << 20);
    struct gb_h1 *p = gb_h1_new(limits, &events, r, NULL);
    assert_non_null(p);
    r->parser = p;
    return p;
}

/* Feeds one piece, over as many messages as it has. */
static enum gb_h1_status feed_piece(struct gb_h1 *p, struct gb_span piece, struct gb_error **err) {
    for (;;) {
        size_t used = SIZE_MAX;
        enum gb_h1_status status = gb_h1_feed(p, piece, &used, err);
        assert_true(used <= piece.len);
        piece = gb_span_make(piece.ptr + used, piece.len - used);
        if (status == GB_H1_MORE) {
            assert_int_equal(piece.len, 0);
        }
        if (status == GB_H1_PAUSED || (status == GB_H1_END && piece.len > 0 && gb_h1_next(p))) {
            continue;
        }
        return status;
    }
}

/* The outcome of one vector cut at `cuts` (ascending). */
static void check(const struct vector *v, const size_t *cuts, size_t cuts_len, struct gb_buf *ret) {
    struct record r;
    struct gb_h1 *p = start(&r, &small);
    struct gb_error *err = NULL;
    enum gb_h1_status status = GB_H1_MORE;
    size_t at = 0;
    for (size_t i = 0; i <= cuts_len && status != GB_H1_FAILED; i++) {
        size_t to = i < cuts_len ? cuts[i] : v->len;
        if (status == GB_H1_END && to > at) {
            gb_h1_next(p);
        }
        status = feed_piece(p, gb_span_make(v->bytes + at, to - at), &err);
        at = to;
    }
    if ((err ? err->code : GB_OK) != v->code || r.messages != v->messages) {
        print_error("%s: %s, %u messages; expected %s, %u\n", v->name,
                    err ? err->message : "accepted", r.messages, gb_code_text(v->code),
                    v->messages);
        fail();
    }
    assert_int_equal(status == GB_H1_FAILED, v->code != GB_OK);
    if (v->code == GB_OK) {
        assert_int_equal(gb_h1_finish(p, NULL), !v->cut);
        assert_int_equal(status, v->messages > 0 ? GB_H1_END : GB_H1_MORE);
    } else {
        size_t used;
        assert_int_equal(gb_h1_feed(p, gb_span_make("x", 1), &used, NULL), GB_H1_FAILED);
        assert_int_equal(used, 0);
        for (const char *c = err->message; *c; c++) {
            assert_true(*c >= 0x20 && *c < 0x7F);
        }
    }
    gb_error_free(err);
    gb_h1_free(p);
    *ret = r.text;
}

static void same_events(const struct vector *v, struct gb_buf *whole, struct gb_buf *cut) {
    /* An error may come at another moment: then one is the beginning of the other. */
    size_t len = v->code == GB_OK ? whole->len : GB_MIN(whole->len, cut->len);
    if ((v->code == GB_OK && cut->len != len) ||
        (len > 0 && memcmp(whole->ptr, cut->ptr, len) != 0)) {
        print_error("%s: %s\nand %s\n", v->name, gb_buf_text(whole), gb_buf_text(cut));
        fail();
    }
}

static void vectors_whole_and_cut(void **state) {
    (void)state;
    static size_t cuts[8192];
    assert_true(GB_COUNT(vectors) >= 150);
    for (size_t i = 0; i < GB_COUNT(vectors); i++) {
        const struct vector *v = &vectors[i];
        struct gb_buf whole, cut;
        check(v, NULL, 0, &whole);
        assert_true(v->len <= GB_COUNT(cuts));
        for (size_t k = 0; k + 1 < v->len; k++) {
            cuts[k] = k + 1;
        }
        check(v, cuts, v->len > 0 ? v->len - 1 : 0, &cut);
        same_events(v, &whole, &cut);
        gb_buf_fini(&cut);
        /* In two, at every place of the short ones. */
        for (size_t k = 1; k < v->len && v->len < 400; k++) {
            check(v, &k, 1, &cut);
            same_events(v, &whole, &cut);
            gb_buf_fini(&cut);
        }
        gb_buf_fini(&whole);
    }
}

static char *events_of(const char *bytes, struct record *r) {
    struct gb_h1_limits limits = gb_h1_limits_default();
    struct gb_h1 *p = start(r, &limits);
    struct gb_error *err = NULL;
    enum gb_h1_status status = feed_piece(p, gb_span_of(bytes), &err);
    if (err) {
        print_error("%s\n", err->message);
    }
    assert_int_equal(status, GB_H1_END);
    gb_h1_free(p);
    return gb_buf_take(&r->text);
}

static void expect_events(const char *bytes, const char *expected) {
    struct record r;
    char *text = events_of(bytes, &r);
    assert_string_equal(text, expected);
    gb_free(text);
}

static void heads_say_what_was_sent(void **state) {
    (void)state;
    expect_events(
        "GET /a/%7e%2f%3a?x=%41 HTTP/1.1\r\nHost: EXAMPLE.com:80\r\nX-Y:\t z \r\n\r\n",
        "m=GET|t=/a/%7e%2f%3a?x=%41|p=/a/~%2F%3A|raw=/a/%7e%2f%3a|q=x=%41|pq=/a/%7e%2f%3a?x=%41|"
        "a=example.com:80|f=host|:EXAMPLE.com:80|f=x-y|:z|1 1 0 0 1 0 0;end|");
    expect_events("POST http://a HTTP/1.1\r\nHost: A\r\nContent-Length: 2\r\n"
                  "Expect: 100-continue\r\nConnection: foo, close ,\r\n\r\nhi",
                  "m=POST|t=http://a|p=/|raw=/|q=|pq=/|a=a|f=host|:A|f=content-length|:2|"
                  "f=expect|:100-continue|f=connection|:foo, close ,|1 0 1 0 0 1 2;hiend|");
    expect_events("PUT /? HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
                  "2;n=v\r\nhi\r\n0A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n",
                  "m=PUT|t=/?|p=/|raw=/|q=|pq=/?|a=a|f=host|:a|f=transfer-encoding|:chunked|"
                  "1 1 0 1 1 0 0;hi0123456789trailers|f=x-t|:1|end|");
    expect_events("GET http://A:1?x=/.. HTTP/1.1\r\nhost: a:1\r\n\r\n",
                  "m=GET|t=http://A:1?x=/..|p=/|raw=/|q=x=/..|pq=/?x=/..|a=a:1|f=host|:a:1|"
                  "1 1 0 0 1 0 0;end|");
    expect_events("GET http://a? HTTP/1.1\r\nhost: a\r\n\r\n",
                  "m=GET|t=http://a?|p=/|raw=/|q=|pq=/?|a=a|f=host|:a|1 1 0 0 1 0 0;end|");
    expect_events("GET http://a/b?c HTTP/1.1\r\nhost: a\r\n\r\n",
                  "m=GET|t=http://a/b?c|p=/b|raw=/b|q=c|pq=/b?c|a=a|f=host|:a|1 1 0 0 1 0 0;end|");
    expect_events("OPTIONS * HTTP/1.0\r\n\r\n",
                  "m=OPTIONS|t=*|p=*|raw=*|q=|pq=*|a=|0 0 0 0 0 0 0;end|");
    /* HTTP/1.0 has no 100 Continue; without a body there is nothing to wait for. */
    expect_events("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n"
                  "Connection: Keep-Alive\r\n\r\nx",
                  "m=POST|t=/|p=/|raw=/|q=|pq=/|a=|f=expect|:100-continue|f=content-length|:1|"
                  "f=connection|:Keep-Alive|0 0 1 0 1 0 1;xend|");
    expect_events("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
                  "m=POST|t=/|p=/|raw=/|q=|pq=/|a=a|f=host|:a|f=expect|:100-continue|1 0 0 0 1 0 0;"
                  "end|");
}

static void https_is_the_scheme_under_tls(void **state) {
    (void)state;
    struct gb_h1_limits limits = gb_h1_limits_default();
    limits.tls = true;
    const char *const texts[] = {"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
                                 "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        struct record r;
        struct gb_h1 *p = start(&r, &limits);
        assert_int_equal(feed_piece(p, gb_span_of(texts[i]), NULL),
                         i == 0 ? GB_H1_END : GB_H1_FAILED);
        gb_h1_free(p);
        gb_buf_fini(&r.text);
    }
}

static void an_event_can_stop_it(void **state) {
    (void)state;
    static const char text[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "2\r\nab\r\n1\r\nc\r\n0\r\nX: 1\r\n\r\nGET";
    struct gb_h1_limits limits = gb_h1_limits_default();
    struct record r;
    struct gb_h1 *p = start(&r, &limits);
    r.head_action = r.body_action = r.trailers_action = GB_H1_STOP;
    struct gb_span rest = gb_span_make(text, sizeof text - 1);
    size_t used;
    const char *const before[] = {"2\r\nab", "\r\n1\r\nc", "\r\n0\r\nX: 1", "GET"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(gb_h1_feed(p, rest, &used, NULL), GB_H1_PAUSED);
        rest = gb_span_make(rest.ptr + used, rest.len - used);
        assert_memory_equal(rest.ptr, before[i], strlen(before[i]));
    }
    assert_int_equal(r.messages, 0);
    assert_int_equal(gb_h1_feed(p, rest, &used, NULL), GB_H1_END);
    assert_int_equal(used, 0);
    assert_int_equal(r.messages, 1);
    /* It waits for gb_h1_next. */
    assert_int_equal(gb_h1_feed(p, rest, &used, NULL), GB_H1_END);
    assert_int_equal(r.messages, 1);
    assert_true(gb_h1_next(p));
    assert_int_equal(gb_h1_feed(p, rest, &used, NULL), GB_H1_MORE);
    assert_int_equal(used, 3);
    gb_h1_free(p);
    gb_buf_fini(&r.text);
}

static void a_stop_at_the_head_of_a_message_without_a_body(void **state) {
    (void)state;
    struct gb_h1_limits limits = gb_h1_limits_default();
    struct record r;
    struct gb_h1 *p = start(&r, &limits);
    r.head_action = GB_H1_STOP;
    size_t used;
    assert_int_equal(gb_h1_feed(p, gb_span_of("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &used, NULL),
                     GB_H1_PAUSED);
    assert_int_equal(r.messages, 0);
    assert_int_equal(gb_h1_feed(p, gb_span_make(NULL, 0), &used, NULL), GB_H1_END);
    assert_int_equal(r.messages, 1);
    gb_h1_free(p);
    gb_buf_fini(&r.text);
}

static void no_message_follows_the_last(void **state) {
    (void)state;
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: CLOSE\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    };
    for (size_t i = 0; i < GB_COUNT(texts); i++) {
        struct gb_h1_limits limits = gb_h1_limits_default();
        struct record r;
        struct gb_h1 *p = start(&r, &limits);
        assert_false(gb_h1_next(p));
        assert_int_equal(feed_piece(p, gb_span_of(texts[i]), NULL), GB_H1_END);
        assert_false(gb_h1_next(p));
        size_t used;
        assert_int_equal(gb_h1_feed(p, gb_span_of("GET"), &used, NULL), GB_H1_END);
        assert_int_equal(used, 0);
        gb_h1_free(p);
        gb_buf_fini(&r.text);
    }
}

static void a_route_lowers_the_body(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        uint64_t body_max;
        enum gb_h1_status status;
    } cases[] = {
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 3, GB_H1_END},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 2, GB_H1_FAILED},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n"
         "0\r\n\r\n",
         3, GB_H1_END},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n"
         "0\r\n\r\n",
         2, GB_H1_FAILED},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        struct gb_h1_limits limits = gb_h1_limits_default();
        struct record r;
        struct gb_error *err = NULL;
        struct gb_h1 *p = start(&r, &limits);
        r.route_body_max = cases[i].body_max;
        assert_int_equal(feed_piece(p, gb_span_of(cases[i].bytes), &err), cases[i].status);
        if (cases[i].status == GB_H1_FAILED) {
            assert_int_equal(err->code, GB_PAYLOAD_TOO_LARGE);
            assert_true(gb_h1_body_bytes(p) <= cases[i].body_max);
        }
        gb_error_free(err);
        gb_h1_free(p);
        gb_buf_fini(&r.text);
    }
}

static void fields_are_found_by_name(void **state) {
    (void)state;
    struct gb_http_field fields[] = {{gb_span_of("a"), gb_span_of("1")},
                                     {gb_span_of("ab"), gb_span_of("2")},
                                     {gb_span_of("ab"), gb_span_of("3")}};
    struct gb_http_head head = {.fields = fields, .fields_len = GB_COUNT(fields)};
    assert_ptr_equal(gb_http_find(&head, "a"), &fields[0]);
    assert_ptr_equal(gb_http_find(&head, "ab"), &fields[1]);
    assert_null(gb_http_find(&head, "abc"));
    assert_true(gb_http_field_is_hop_by_hop(gb_span_of("Transfer-Encoding")));
    assert_false(gb_http_field_is_hop_by_hop(gb_span_of("transfer-encodings")));
}

/* What llhttp refuses first, our own reader refuses as well. */
static void our_reader_alone(void **state) {
    (void)state;
    static const char *const heads[] = {P H C "Content-Length: 3\r\n" E,
                                        P H "Content-Length: 3\r\n" C E,
                                        P H "X: a\n\r\n" E,
                                        P H " X: a\r\n" E,
                                        P H "X : a\r\n" E,
                                        P H C C E,
                                        P H "X: \r\r\n" E,
                                        P H "Content-Length: 0x1\r\n" E};
    for (size_t i = 0; i < GB_COUNT(heads); i++) {
        struct gb_h1_block block = {0};
        struct gb_h1_fields fields = {0};
        struct gb_h1_line line = {.end = sizeof P - 1};
        struct gb_http_head head;
        struct gb_error *err = NULL;
        assert_true(gb_h1_block_append(&block, gb_span_of(heads[i]), NULL));
        assert_true(gb_h1_read_line(gb_span_of("POST / HTTP/1.1"), 100, &line, NULL));
        assert_false(gb_h1_read_head(&block, &line, &small, &fields, &head, &err));
        assert_int_equal(err->code, GB_REQUEST_MALFORMED);
        gb_error_free(err);
        gb_h1_block_fini(&block);
        gb_h1_fields_fini(&fields);
    }
}

static void a_body_lowered_on_its_way(void **state) {
    (void)state;
    for (uint64_t body_max = 4; body_max <= 5; body_max++) {
        struct gb_h1_limits limits = gb_h1_limits_default();
        struct record r;
        struct gb_error *err = NULL;
        struct gb_h1 *p = start(&r, &limits);
        feed_piece(p,
                   gb_span_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "5\r\nab"),
                   NULL);
        /* The chunk has said that five bytes come. */
        assert_int_equal(gb_h1_set_body_max(p, body_max, &err), body_max == 5);
        assert_int_equal(err ? err->code : GB_OK, body_max == 5 ? GB_OK : GB_PAYLOAD_TOO_LARGE);
        gb_error_clear(&err);
        assert_int_equal(feed_piece(p, gb_span_of("cde\r\n0\r\n\r\n"), NULL),
                         body_max == 5 ? GB_H1_END : GB_H1_FAILED);
        assert_int_equal(gb_h1_set_body_max(p, 100, NULL), body_max == 5);
        gb_h1_free(p);
        gb_buf_fini(&r.text);
    }
}

static void the_client_may_close_its_side(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        bool ok;
    } cases[] = {
        {"", true},
        {"G", false},
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na", false},
        {"!", false},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        for (unsigned stop = 0; stop < 2; stop++) {
            struct gb_h1_limits limits = gb_h1_limits_default();
            struct record r;
            struct gb_error *err = NULL;
            struct gb_h1 *p = start(&r, &limits);
            r.head_action = stop ? GB_H1_STOP : GB_H1_GO;
            size_t used;
            gb_h1_feed(p, gb_span_of(cases[i].bytes), &used, NULL);
            assert_int_equal(gb_h1_finish(p, &err), cases[i].ok);
            assert_int_equal(err ? err->code : GB_OK, cases[i].ok ? GB_OK : GB_REQUEST_MALFORMED);
            gb_error_free(err);
            gb_h1_free(p);
            gb_buf_fini(&r.text);
        }
    }
}

static void messages_do_not_show_raw_bytes(void **state) {
    (void)state;
    struct gb_h1_limits limits = gb_h1_limits_default();
    struct record r;
    struct gb_error *err = NULL;
    struct gb_h1 *p = start(&r, &limits);
    feed_piece(p, gb_span_of("GET / HTTP/1.1\r\nHost: a\xc2\x9b\"x\r\n\r\n"), &err);
    assert_non_null(err);
    gb_error_clear(&err);
    gb_h1_free(p);
    p = start(&r, &limits);
    feed_piece(p, gb_span_of("GET / HTTP/1.1\r\nHost: <script>\"\xc3\xa3\r\n\r\n"), &err);
    assert_string_equal(err->message, "\"<script>\\x22\\xc3\\xa3\" is no host");
    assert_non_null(err->hint);
    gb_error_free(err);
    gb_h1_free(p);
    gb_buf_fini(&r.text);
}

static void it_is_small_when_idle(void **state) {
    (void)state;
    struct gb_h1_limits limits = gb_h1_limits_default();
    struct record r;
    struct gb_h1 *p = start(&r, &limits);
    assert_true(gb_h1_memory_bytes(p) <= 700);
    static char big[20000];
    int n = snprintf(big, sizeof big,
                     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked"
                     "\r\nX: ");
    memset(big + n, 'x', 15000);
    n += 15000;
    for (int i = 0; i < 90; i++) {
        n += snprintf(big + n, sizeof big - (size_t)n, "\r\nF%d: %d", i, i);
    }
    n += snprintf(big + n, sizeof big - (size_t)n, "\r\n\r\n0\r\nT: 1\r\n\r\n");
    assert_int_equal(feed_piece(p, gb_span_make(big, (size_t)n), NULL), GB_H1_END);
    assert_true(gb_h1_memory_bytes(p) <= 48 * 1024);
    assert_true(gb_h1_next(p));
    assert_true(gb_h1_is_idle(p));
    assert_int_equal(feed_piece(p, gb_span_of("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), NULL),
                     GB_H1_END);
    assert_true(gb_h1_next(p));
    assert_true(gb_h1_memory_bytes(p) <= 4096);
    gb_h1_shrink(p);
    assert_true(gb_h1_memory_bytes(p) <= 700);
    assert_false(gb_h1_has_head(p));
    gb_h1_free(p);
    gb_buf_fini(&r.text);
}

static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    static const char text[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "2\r\nab\r\n0\r\nX: 1\r\n\r\n";
    const struct gb_h1_events none = {0};
    struct gb_h1_limits limits = gb_h1_limits_default();
    bool hit = true;
    for (uint64_t nth = 1; hit; nth++) {
        gb_alloc_fail_at(nth);
        struct gb_error *err = NULL;
        size_t used = 0;
        enum gb_h1_status status = GB_H1_FAILED;
        struct gb_h1 *p = gb_h1_new(&limits, &none, NULL, &err);
        if (p) {
            status = gb_h1_feed(p, gb_span_make(text, sizeof text - 1), &used, &err);
        }
        hit = gb_alloc_fail_hits() > 0;
        gb_alloc_fail_at(0);
        assert_int_equal(status, hit ? GB_H1_FAILED : GB_H1_END);
        assert_int_equal(err ? err->code : GB_OK, hit ? GB_INTERNAL : GB_OK);
        gb_error_free(err);
        gb_h1_free(p);
        assert_true(nth < 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_whole_and_cut),
        cmocka_unit_test(heads_say_what_was_sent),
        cmocka_unit_test(https_is_the_scheme_under_tls),
        cmocka_unit_test(an_event_can_stop_it),
        cmocka_unit_test(a_stop_at_the_head_of_a_message_without_a_body),
        cmocka_unit_test(no_message_follows_the_last),
        cmocka_unit_test(a_route_lowers_the_body),
        cmocka_unit_test(fields_are_found_by_name),
        cmocka_unit_test(our_reader_alone),
        cmocka_unit_test(a_body_lowered_on_its_way),
        cmocka_unit_test(the_client_may_close_its_side),
        cmocka_unit_test(messages_do_not_show_raw_bytes),
        cmocka_unit_test(it_is_small_when_idle),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
