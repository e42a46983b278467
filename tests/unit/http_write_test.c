/* SPDX-License-Identifier: Apache-2.0 */
/* Responses by their bytes: framing is the host's, whatever the guest says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "http/h1_write.h"

#define F(name, value)                                                                             \
    {                                                                                              \
        {(const uint8_t *)(name), sizeof(name) - 1}, {                                             \
            (const uint8_t *)(value), sizeof(value) - 1                                            \
        }                                                                                          \
    }

static const struct gb_http_head get_1_1 = {.method = GB_HTTP_GET, .minor = 1, .keep_alive = true};
static const struct gb_http_head get_1_0 = {.method = GB_HTTP_GET, .minor = 0, .keep_alive = true};
static const struct gb_http_head head_1_1 = {
    .method = GB_HTTP_HEAD, .minor = 1, .keep_alive = true};
static const struct gb_http_head close_1_1 = {
    .method = GB_HTTP_GET, .minor = 1, .keep_alive = false};

/* One response with the body in `pieces`; what went out, and whether the connection may live. */
struct sent {
    struct gb_buf out;
    bool head_ok, body_ok, end_ok;
    bool keep_alive;
    struct gb_error *err; /* the first */
};

static struct sent send_trailed(const struct gb_http_head *request,
                                const struct gb_h1_response *response, const char *const *pieces,
                                const struct gb_http_field *trailers, size_t trailers_len) {
    struct sent s = {.body_ok = true};
    struct gb_h1_writer w;
    gb_buf_init(&s.out, 1 << 20);
    gb_h1_writer_init(&w, request);
    s.head_ok = gb_h1_write_head(&w, response, &s.out, &s.err);
    for (; s.head_ok && *pieces; pieces++) {
        s.body_ok = gb_h1_write_body(&w, gb_span_of(*pieces), &s.out, &s.err) && s.body_ok;
    }
    s.end_ok = s.head_ok && gb_h1_write_end(&w, trailers, trailers_len, &s.out, &s.err);
    s.keep_alive = w.keep_alive;
    return s;
}

static struct sent send_one(const struct gb_http_head *request,
                            const struct gb_h1_response *response, const char *const *pieces) {
    return send_trailed(request, response, pieces, NULL, 0);
}

static void expect(struct sent s, bool keep_alive, const char *bytes) {
    if (s.err) {
        print_error("%s\n", s.err->message);
    }
    assert_null(s.err);
    assert_true(s.head_ok && s.body_ok && s.end_ok);
    assert_string_equal(gb_buf_text(&s.out), bytes);
    assert_int_equal(s.keep_alive, keep_alive);
    gb_buf_fini(&s.out);
}

static const char *const two[] = {"ab", "", "0123456789abcdef", NULL};
static const char *const none[] = {NULL};

static void lengths_and_chunks(void **state) {
    (void)state;
    static const struct gb_http_field type[] = {F("content-type", "text/plain")};
    struct gb_h1_response r = {.status = 200,
                               .fields = type,
                               .fields_len = 1,
                               .keep_alive = true,
                               .body = GB_H1_BODY_STREAM,
                               .date = "now"};
    expect(send_one(&get_1_1, &r, two), true,
           "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndate: now\r\n"
           "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
    expect(send_one(&get_1_0, &r, two), false,
           "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndate: now\r\nconnection: close\r\n\r\n"
           "ab0123456789abcdef");
    r.body = GB_H1_BODY_KNOWN;
    r.body_bytes = 18;
    expect(send_one(&get_1_1, &r, two), true,
           "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndate: now\r\ncontent-length: 18\r\n\r\n"
           "ab0123456789abcdef");
    expect(send_one(&get_1_0, &r, two), true,
           "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndate: now\r\ncontent-length: 18\r\n"
           "connection: keep-alive\r\n\r\nab0123456789abcdef");
    expect(send_one(&close_1_1, &r, two), false,
           "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndate: now\r\ncontent-length: 18\r\n"
           "connection: close\r\n\r\nab0123456789abcdef");
    r.keep_alive = false;
    expect(send_one(&get_1_1, &r, two), false,
           "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndate: now\r\ncontent-length: 18\r\n"
           "connection: close\r\n\r\nab0123456789abcdef");
}

static void no_body_where_there_is_none(void **state) {
    (void)state;
    static const struct gb_http_field length[] = {F("Content-Length", "18")};
    struct gb_h1_response r = {.status = 200,
                               .fields = length,
                               .fields_len = 1,
                               .keep_alive = true,
                               .body = GB_H1_BODY_STREAM};
    expect(send_one(&head_1_1, &r, two), true, "HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n");
    r.status = 304;
    expect(send_one(&get_1_1, &r, two), true, "HTTP/1.1 304 Not Modified\r\n\r\n");
    r.fields_len = 0;
    r.status = 204;
    expect(send_one(&get_1_1, &r, two), true, "HTTP/1.1 204 No Content\r\n\r\n");
    r.status = 205;
    expect(send_one(&get_1_1, &r, none), true,
           "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n");
    r.status = 200;
    expect(send_one(&head_1_1, &r, two), true, "HTTP/1.1 200 OK\r\n\r\n");
    r.body = GB_H1_BODY_KNOWN;
    r.body_bytes = 7;
    expect(send_one(&head_1_1, &r, none), true, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
    r.status = 299;
    r.body_bytes = 0;
    expect(send_one(&get_1_1, &r, none), true, "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n");
}

static void the_guests_length_is_counted(void **state) {
    (void)state;
    static const struct gb_http_field length[] = {F("content-length", "5")};
    struct gb_h1_response r = {.status = 200,
                               .fields = length,
                               .fields_len = 1,
                               .keep_alive = true,
                               .body = GB_H1_BODY_STREAM};
    static const char *const right[] = {"abc", "de", NULL};
    expect(send_one(&get_1_1, &r, right), true,
           "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde");

    static const char *const more[] = {"abc", "defg", "h", NULL};
    struct sent s = send_one(&get_1_1, &r, more);
    assert_true(s.head_ok && !s.body_ok && !s.keep_alive);
    assert_int_equal(s.err->code, GB_GUEST_ERROR);
    assert_string_equal(gb_buf_text(&s.out), "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde");
    gb_error_free(s.err);
    gb_buf_fini(&s.out);

    static const char *const less[] = {"abc", NULL};
    s = send_one(&get_1_1, &r, less);
    assert_true(s.head_ok && s.body_ok && !s.end_ok && !s.keep_alive);
    assert_int_equal(s.err->code, GB_GUEST_ERROR);
    gb_error_free(s.err);
    gb_buf_fini(&s.out);

    r.body = GB_H1_BODY_KNOWN;
    r.body_bytes = 6;
    s = send_one(&get_1_1, &r, less);
    assert_false(s.head_ok);
    assert_int_equal(s.out.len, 0);
    gb_error_free(s.err);
    gb_buf_fini(&s.out);
}

static void fields_of_the_connection_are_dropped(void **state) {
    (void)state;
    static const struct gb_http_field fields[] = {
        F("Connection", "keep-alive, x-a"),
        F("Keep-Alive", "timeout=9"),
        F("X-A", " 1 "),
        F("Transfer-Encoding", "gzip"),
        F("Upgrade", "h2c"),
        F("Trailer", "x"),
        F("TE", "trailers"),
        F("Date", "never"),
        F("Server", "me"),
        F("X-Request-Id", "forged"),
        F("set-cookie", "a=1"),
        F("set-cookie", "b=2"),
        F("proxy-connection", "close"),
    };
    static const struct gb_http_field ours[] = {F("x-request-id", "real")};
    struct gb_h1_response r = {.status = 404,
                               .fields = fields,
                               .fields_len = GB_COUNT(fields),
                               .host_fields = ours,
                               .host_fields_len = 1,
                               .keep_alive = true,
                               .body = GB_H1_BODY_KNOWN};
    expect(send_one(&get_1_1, &r, none), true,
           "HTTP/1.1 404 Not Found\r\nX-A: 1\r\nServer: me\r\nset-cookie: a=1\r\n"
           "set-cookie: b=2\r\nx-request-id: real\r\ncontent-length: 0\r\n\r\n");
}

static void bad_heads_write_nothing(void **state) {
    (void)state;
    static const struct {
        unsigned status;
        struct gb_http_field fields[2];
        size_t len;
    } cases[] = {
        {199, {F("a", "b")}, 0},
        {101, {F("a", "b")}, 0},
        {600, {F("a", "b")}, 0},
        {0, {F("a", "b")}, 0},
        {200, {F("a b", "c")}, 1},
        {200, {F("", "c")}, 1},
        {200, {F("a\r\nb", "c")}, 1},
        {200, {F("a:", "c")}, 1},
        {200, {F("a", "b\r\nc: d")}, 1},
        {200, {F("a", "b\n")}, 1},
        {200, {F("a", "b\0")}, 1},
        {200, {F("a", "\xff")}, 1},
        {200, {F("content-length", "1"), F("content-length", "1")}, 2},
        {200, {F("content-length", "1"), F("Content-Length", "2")}, 2},
        {200, {F("content-length", "-1")}, 1},
        {200, {F("content-length", "+1")}, 1},
        {200, {F("content-length", "1, 1")}, 1},
        {200, {F("content-length", "")}, 1},
        {200, {F("content-length", "99999999999999999999")}, 1},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        struct gb_h1_response r = {.status = cases[i].status,
                                   .fields = cases[i].fields,
                                   .fields_len = cases[i].len,
                                   .body = GB_H1_BODY_STREAM};
        struct sent s = send_one(&get_1_1, &r, none);
        assert_false(s.head_ok);
        assert_int_equal(s.err->code, GB_GUEST_ERROR);
        assert_int_equal(s.out.len, 0);
        gb_error_free(s.err);
        gb_buf_fini(&s.out);
    }
}

static void the_head_is_bounded(void **state) {
    (void)state;
    static struct gb_http_field many[GB_H1_RESPONSE_FIELDS_MAX + 1];
    static char big[GB_H1_RESPONSE_HEAD_BYTES_MAX];
    memset(big, 'x', sizeof big);
    for (size_t i = 0; i < GB_COUNT(many); i++) {
        many[i] = (struct gb_http_field){gb_span_of("a"), gb_span_of("b")};
    }
    struct gb_http_field large = {gb_span_of("a"), gb_span_make(big, sizeof big)};
    for (int i = 0; i < 4; i++) {
        struct gb_h1_response r = {.status = 200, .body = GB_H1_BODY_KNOWN};
        r.fields = i < 2 ? many : &large;
        r.fields_len = i < 2 ? GB_COUNT(many) - (size_t)(i == 0) : 1;
        large.value.len = sizeof big - (i == 2);
        struct sent s = send_one(&get_1_1, &r, none);
        assert_int_equal(s.head_ok, i == 0 || i == 2);
        gb_error_free(s.err);
        gb_buf_fini(&s.out);
    }
}

static void trailers_only_behind_chunks(void **state) {
    (void)state;
    static const struct gb_http_field t[] = {F("x-sum", " 1 "), F("x-b", "")};
    struct gb_h1_response r = {.status = 200, .keep_alive = true, .body = GB_H1_BODY_STREAM};
    expect(send_trailed(&get_1_1, &r, none, t, 2), true,
           "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-sum: 1\r\nx-b: \r\n\r\n");
    expect(send_trailed(&get_1_0, &r, none, t, 2), false,
           "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
    static const struct gb_http_field bad[] = {
        F("Content-Length", "1"),    F("a\n", "1"),         F("x-ok", "1"), F("x", "a\r\nb"),
        F("Transfer-Encoding", "x"), F("X-Request-Id", "f")};
    struct sent s = send_trailed(&get_1_1, &r, none, bad, GB_COUNT(bad));
    assert_false(s.end_ok || s.keep_alive);
    assert_int_equal(s.err->code, GB_GUEST_ERROR);
    assert_string_equal(gb_buf_text(&s.out), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
                                             "0\r\nx-ok: 1\r\n\r\n");
    gb_error_free(s.err);
    gb_buf_fini(&s.out);
}

static void trailers_are_bounded(void **state) {
    (void)state;
    static char big[GB_H1_RESPONSE_TRAILER_BYTES_MAX];
    memset(big, 'x', sizeof big);
    struct gb_h1_response r = {.status = 200, .keep_alive = true, .body = GB_H1_BODY_STREAM};
    struct gb_http_field t = {gb_span_of("a"), gb_span_make(big, sizeof big - 1)};
    for (unsigned over = 0; over < 2; over++) {
        struct sent s = send_trailed(&get_1_1, &r, none, &t, 1);
        assert_int_equal(s.end_ok, over == 0);
        assert_int_equal(s.out.len > sizeof big, over == 0);
        assert_string_equal(gb_buf_text(&s.out) + s.out.len - 4, "\r\n\r\n");
        gb_error_free(s.err);
        gb_buf_fini(&s.out);
        t.value.len = sizeof big;
    }
}

static void frames_for_vectors(void **state) {
    (void)state;
    struct gb_h1_response r = {.status = 200, .keep_alive = true, .body = GB_H1_BODY_STREAM};
    struct gb_h1_writer w;
    struct gb_buf out;
    gb_buf_init(&out, 4096);
    gb_h1_writer_init(&w, &get_1_1);
    struct gb_h1_frame f;
    assert_false(gb_h1_write_frame(&w, 1, &f, NULL)); /* before the head */
    assert_false(gb_h1_write_end(&w, NULL, 0, &out, NULL));
    assert_true(gb_h1_write_head(&w, &r, &out, NULL));
    assert_false(gb_h1_write_head(&w, &r, &out, NULL));
    assert_true(gb_h1_write_frame(&w, 0xabc, &f, NULL));
    assert_memory_equal(f.before, "abc\r\n", 5);
    assert_int_equal(f.before_len, 5);
    assert_int_equal(f.body_len, 0xabc);
    assert_int_equal(f.after_len, 2);
    assert_true(gb_h1_write_frame(&w, SIZE_MAX, &f, NULL));
    assert_memory_equal(f.before, "ffffffffffffffff\r\n", 18);
    assert_true(gb_h1_write_frame(&w, 0, &f, NULL));
    assert_int_equal(f.before_len + f.body_len + f.after_len, 0);
    assert_true(gb_h1_write_end(&w, NULL, 0, &out, NULL));
    assert_false(gb_h1_write_end(&w, NULL, 0, &out, NULL));
    gb_buf_fini(&out);
    gb_h1_writer_init_broken(&w);
    r.body = GB_H1_BODY_KNOWN;
    assert_true(gb_h1_write_head(&w, &r, &out, NULL));
    assert_false(w.keep_alive);
    assert_non_null(strstr(gb_buf_text(&out), "connection: close\r\n"));
    gb_buf_fini(&out);
    assert_true(gb_span_is(gb_h1_continue(), "HTTP/1.1 100 Continue\r\n\r\n"));
}

static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    static const struct gb_http_field t[] = {F("x-sum", "1")};
    struct gb_h1_response r = {.status = 200, .keep_alive = true, .body = GB_H1_BODY_STREAM};
    bool hit = true;
    for (uint64_t nth = 1; hit; nth++) {
        gb_alloc_fail_at(nth);
        struct sent s = send_trailed(&get_1_1, &r, two, t, 1);
        hit = gb_alloc_fail_hits() > 0;
        gb_alloc_fail_at(0);
        bool ok = s.head_ok && s.body_ok && s.end_ok;
        assert_int_equal(ok, !hit);
        assert_int_equal(s.err != NULL, hit);
        assert_true(ok || !s.keep_alive);
        gb_error_free(s.err);
        gb_buf_fini(&s.out);
        assert_true(nth < 30);
    }
}

static void dates(void **state) {
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {-5, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1709251199, "Thu, 29 Feb 2024 23:59:59 GMT"},
        {1709251200, "Fri, 01 Mar 2024 00:00:00 GMT"},
        {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
        {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"},
        {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        char text[GB_HTTP_DATE_BYTES];
        gb_http_date(cases[i].seconds, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void names_of_methods(void **state) {
    (void)state;
    for (unsigned m = 0; m < GB_HTTP_OTHER; m++) {
        const char *text = gb_http_method_text((enum gb_http_method)m);
        assert_int_equal(gb_http_method_of(gb_span_of(text)), m);
    }
    assert_int_equal(gb_http_method_of(gb_span_of("get")), GB_HTTP_OTHER);
    assert_int_equal(gb_http_method_of(gb_span_of("PROPFIND")), GB_HTTP_OTHER);
    assert_string_equal(gb_http_reason(200), "OK");
    assert_string_equal(gb_http_reason(504), "Gateway Timeout");
    assert_string_equal(gb_http_reason(299), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_and_chunks),
        cmocka_unit_test(no_body_where_there_is_none),
        cmocka_unit_test(the_guests_length_is_counted),
        cmocka_unit_test(fields_of_the_connection_are_dropped),
        cmocka_unit_test(bad_heads_write_nothing),
        cmocka_unit_test(the_head_is_bounded),
        cmocka_unit_test(trailers_only_behind_chunks),
        cmocka_unit_test(trailers_are_bounded),
        cmocka_unit_test(frames_for_vectors),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(dates),
        cmocka_unit_test(names_of_methods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
