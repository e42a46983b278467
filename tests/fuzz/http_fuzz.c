/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests. The first byte says how the others are cut. Whatever we accept, llhttp accepts and
 * reads the same: as many fields, the same body, the same end. The events do not depend on the
 * cuts. Then the path goes through a table of routes, and the fields come back as a response that
 * llhttp reads.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llhttp.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/num.h"
#include "http/h1_parse.h"
#include "http/h1_write.h"
#include "http/problem.h"
#include "http/route.h"

static void require(bool ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

/* What one reader made of one message. */
struct seen {
    struct gb_buf events; /* fields and body, as they came */
    struct gb_buf body;
    size_t fields;
    unsigned messages;
    struct gb_http_head *head; /* checked and answered at its end */
};

static void seen_init(struct seen *s) {
    *s = (struct seen){0};
    gb_buf_init(&s->events, 1 << 22);
    gb_buf_init(&s->body, 1 << 22);
}

static void seen_fini(struct seen *s) {
    gb_buf_fini(&s->events);
    gb_buf_fini(&s->body);
}

static void add(struct seen *s, struct gb_span span) {
    require(gb_buf_append(&s->events, span.ptr, span.len, NULL) &&
                gb_buf_append(&s->events, "|", 1, NULL),
            "there is memory");
}

/* ---- llhttp's reading ---- */

static int on_field(llhttp_t *p) {
    ((struct seen *)p->data)->fields++;
    return 0;
}
static int on_llhttp_body(llhttp_t *p, const char *at, size_t len) {
    struct seen *s = p->data;
    require(gb_buf_append(&s->body, at, len, NULL), "there is memory");
    return 0;
}
static int on_message(llhttp_t *p) {
    ((struct seen *)p->data)->messages++;
    return 0;
}

static void compare(const struct seen *ours, struct gb_span message, llhttp_type_t type) {
    struct seen theirs;
    llhttp_settings_t settings;
    llhttp_t gate;
    seen_init(&theirs);
    llhttp_settings_init(&settings);
    settings.on_header_value_complete = on_field;
    settings.on_body = on_llhttp_body;
    settings.on_message_complete = on_message;
    llhttp_init(&gate, type, &settings);
    gate.data = &theirs;
    enum llhttp_errno code = llhttp_execute(&gate, (const char *)message.ptr, message.len);
    if (code == HPE_PAUSED_UPGRADE) {
        require(llhttp_get_error_pos(&gate) == (const char *)message.ptr + message.len,
                "an upgrade is the end");
        code = HPE_OK;
    }
    if (code == HPE_OK && type == HTTP_RESPONSE && theirs.messages == 0) {
        code = llhttp_finish(&gate);
    }
    require(code == HPE_OK, llhttp_errno_name(code));
    require(theirs.messages == 1, "it is one message");
    require(theirs.fields == ours->fields, "it has as many fields");
    require(
        theirs.body.len == ours->body.len &&
            (ours->body.len == 0 || memcmp(theirs.body.ptr, ours->body.ptr, ours->body.len) == 0),
        "it has the same body");
    seen_fini(&theirs);
}

/* ---- what follows a request ---- */

static void route(const struct gb_http_head *h) {
    static struct gb_routes *table;
    static char user[] = "a user";
    if (!table) {
        static const char *const patterns[] = {"/",      "/a",     "/a/:x", "/a/:x/b",
                                               "/a/...", "/:p/:q", "/%41/", "/x/:y/..."};
        table = gb_routes_new(NULL);
        for (size_t i = 0; i < GB_COUNT(patterns); i++) {
            require(gb_routes_add(table, patterns[i], i % 2 ? 0 : 3, user, NULL), "a route");
        }
    }
    struct gb_route_match m;
    if (gb_routes_match(table, h->method, h->path, &m) == GB_ROUTE_FOUND) {
        require(m.user == user && m.params_len <= 2, "a match is one of ours");
        require(m.tail.len == 0 || m.tail.ptr[0] == '/', "a tail begins with a slash");
        for (size_t i = 0; i < m.params_len; i++) {
            require(m.params[i].value.len > 0, "a parameter has a value");
            require(!memchr(m.params[i].value.ptr, '/', m.params[i].value.len), "of one segment");
        }
    }
}

static void check_head(const struct gb_http_head *h) {
    require(h->path.len > 0 && (h->path.ptr[0] == '/' || gb_span_is(h->path, "*")), "a path");
    require(h->path_with_query.ptr[0] == '/' || gb_span_is(h->path, "*"), "a path for guests");
    require(h->path_with_query.len == h->path_raw.len + h->query.len + h->has_query,
            "of path and query");
    require(h->path.len <= GB_MAX(h->target.len, (size_t)1), "a path no longer than its target");
    require(!memchr(h->path.ptr, '\0', h->path.len), "a path without NUL");
    require(!memmem(h->path.ptr, h->path.len, "/../", 4), "a path without dots");
    require(h->minor <= 1 && !(h->chunked && h->has_length), "one framing");
    require(h->authority.len > 0 || h->minor == 0, "a host");
    for (size_t i = 0; i < h->fields_len; i++) {
        require(gb_http_name_valid(h->fields[i].name), "a valid name");
        require(gb_http_value_valid(h->fields[i].value), "a valid value");
    }
}

/* The request's fields and body as a guest's response. */
static void answer(const struct gb_http_head *h, const struct seen *request) {
    struct gb_h1_writer w;
    struct gb_buf out;
    struct gb_error *err = NULL;
    struct gb_h1_response r = {.status = 200,
                               .fields = h->fields,
                               .fields_len = h->fields_len,
                               .keep_alive = true,
                               .body = GB_H1_BODY_STREAM};
    gb_buf_init(&out, 1 << 22);
    gb_h1_writer_init(&w, h);
    if (gb_h1_write_head(&w, &r, &out, &err)) {
        bool body = gb_h1_write_body(&w, gb_buf_span(&request->body), &out, NULL);
        bool end = gb_h1_write_end(&w, NULL, 0, &out, NULL);
        require((body && end) || !w.keep_alive, "after a failure it closes");
        if (body && end && h->method != GB_HTTP_HEAD) {
            struct seen s = {.body = request->body};
            for (const uint8_t *at = out.ptr;
                 (at = memmem(at, out.len - (size_t)(at - out.ptr), "\r\n", 2)) != NULL; at += 2) {
                if (memcmp(at, "\r\n\r\n", 4) == 0) {
                    break;
                }
                s.fields++;
            }
            compare(&s, gb_buf_span(&out), HTTP_RESPONSE);
        }
    } else {
        require(err->code == GB_GUEST_ERROR, gb_code_text(err->code));
    }
    gb_error_free(err);
    gb_buf_fini(&out);
}

/* ---- our reading ---- */

static enum gb_h1_action on_head(void *user, const struct gb_http_head *h) {
    struct seen *s = user;
    check_head(h);
    route(h);
    add(s, h->method_text);
    add(s, h->path);
    add(s, h->query);
    add(s, h->authority);
    for (size_t i = 0; i < h->fields_len; i++) {
        add(s, h->fields[i].name);
        add(s, h->fields[i].value);
    }
    *s->head = *h;
    s->fields = h->fields_len;
    s->body.len = 0;
    return h->fields_len % 2 ? GB_H1_STOP : GB_H1_GO;
}

static enum gb_h1_action on_body(void *user, struct gb_span bytes) {
    struct seen *s = user;
    require(gb_buf_append(&s->body, bytes.ptr, bytes.len, NULL), "there is memory");
    return bytes.len % 2 ? GB_H1_STOP : GB_H1_GO;
}

static enum gb_h1_action on_trailers(void *user, const struct gb_http_field *fields, size_t len) {
    struct seen *s = user;
    for (size_t i = 0; i < len; i++) {
        add(s, fields[i].name);
        add(s, fields[i].value);
    }
    s->fields += len;
    return GB_H1_STOP;
}

static void on_end(void *user) {
    struct seen *s = user;
    add(s, gb_buf_span(&s->body));
    s->messages++;
}

static const struct gb_h1_events events = {on_head, on_body, on_trailers, on_end};
static const struct gb_h1_limits limits = {.target_bytes_max = 256,
                                           .head_bytes_max = 1024,
                                           .fields_max = 10,
                                           .body_bytes_max = 512,
                                           .chunk_extension_bytes_max = 64,
                                           .trailer_bytes_max = 128};

/* Reads until the first failure or the end; `piece` bytes at a time. */
static enum gb_code read_all(struct gb_span input, size_t piece, struct seen *s) {
    struct gb_error *err = NULL;
    struct gb_http_head head = {0};
    struct gb_h1 *p = gb_h1_new(&limits, &events, s, NULL);
    require(p, "there is memory");
    s->head = &head;
    enum gb_h1_status status = GB_H1_MORE;
    size_t begin = 0;
    for (size_t at = 0; at < input.len && status != GB_H1_FAILED;) {
        size_t used = 0;
        size_t len = GB_MIN(piece, input.len - at);
        status = gb_h1_feed(p, gb_span_make(input.ptr + at, len), &used, &err);
        require(used <= len, "it consumes what there is");
        require(status != GB_H1_MORE || used == len, "it consumes all when it wants more");
        at += used;
        while (status == GB_H1_PAUSED && (at == input.len || piece == 1)) {
            status = gb_h1_feed(p, gb_span_make(NULL, 0), &used, &err);
        }
        if (status == GB_H1_END) {
            compare(s, gb_span_make(input.ptr + begin, at - begin), HTTP_REQUEST);
            answer(&head, s);
            begin = at;
            if (!gb_h1_next(p)) {
                break;
            }
        }
    }
    require((err != NULL) == (status == GB_H1_FAILED), "it says why");
    require(gb_h1_memory_bytes(p) <= 16 * 1024, "it is bounded");
    enum gb_code code = err ? err->code : GB_OK;
    if (err) {
        struct gb_buf body;
        gb_buf_init(&body, 1 << 16);
        require(gb_problem_write(err, gb_span_of("id"), &body, NULL), "an error can be told");
        gb_buf_fini(&body);
    }
    gb_error_free(err);
    gb_h1_free(p);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    if (len == 0) {
        return 0;
    }
    struct gb_span input = gb_span_make(bytes + 1, len - 1);
    struct seen whole, cut;
    seen_init(&whole);
    seen_init(&cut);
    enum gb_code code = read_all(input, SIZE_MAX, &whole);
    enum gb_code other = read_all(input, 1 + bytes[0] % 32, &cut);
    /* Of two faults, the one that is seen first may be another. */
    require((code == GB_OK) == (other == GB_OK), "the outcome does not depend on the cuts");
    require(whole.messages == cut.messages, "nor the number of messages");
    require(whole.events.len == cut.events.len &&
                (whole.events.len == 0 ||
                 memcmp(whole.events.ptr, cut.events.ptr, cut.events.len) == 0),
            "nor what they say");
    seen_fini(&whole);
    seen_fini(&cut);
    return 0;
}

#include "replay.h"
