/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a head means: one host, one framing, one connection option at a time. The rules are those of
 * RFC 9110 and 9112, and where these let a server choose, it refuses.
 */
#include "base/num.h"
#include "http/h1_internal.h"

#define LENGTH_DIGITS_MAX 19
/* Each is looked for among all fields. */
#define OPTIONS_MAX 16

/* While the fields are walked. */
struct walk {
    unsigned seen; /* bit of enum gb_h1_known */
    struct gb_span host;
    bool close;
    bool keep_alive;
    bool expects;
    unsigned options;
};

static bool refuse(struct gb_error **err, const char *hint) {
    return gb_hint(err, "%s", hint);
}

static bool read_length(struct gb_span value, struct gb_http_head *head, struct gb_error **err) {
    uint64_t length = 0;
    bool ok =
        value.len > 0 && value.len <= LENGTH_DIGITS_MAX && (value.len == 1 || value.ptr[0] != '0');
    for (size_t i = 0; ok && i < value.len; i++) {
        ok = value.ptr[i] >= '0' && value.ptr[i] <= '9';
        length = length * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    if (!ok) {
        gb_h1_malformed(err, "content-length \"%s\" is no number of bytes", GB_H1_QUOTE(value));
        return refuse(err, "Write it once, in decimal, without sign or leading zeros.");
    }
    head->has_length = true;
    head->content_length = length;
    return true;
}

static bool read_coding(struct gb_span value, struct gb_http_head *head, struct gb_error **err) {
    if (head->minor == 0 || !gb_http_name_is(value, "chunked")) {
        gb_h1_malformed(err, "transfer-encoding \"%s\" in HTTP/1.%u is not understood",
                        GB_H1_QUOTE(value), head->minor);
        return refuse(err, "Only \"chunked\" alone is, and only in HTTP/1.1.");
    }
    head->chunked = true;
    return true;
}

/* Whether some field has that name, without case. */
static bool has_field(const struct gb_h1_fields *fields, struct gb_span name) {
    for (size_t i = 0; i < fields->len; i++) {
        struct gb_span have = fields->ptr[i].name;
        if (have.len == name.len &&
            strncasecmp((const char *)have.ptr, (const char *)name.ptr, name.len) == 0) {
            return true;
        }
    }
    return false;
}

/* A connection option may name a field of this hop. Naming another one makes the proxy before us
 * drop what we, or the next one, rely on. */
static bool read_option(struct gb_span option, const struct gb_h1_fields *fields, struct walk *w,
                        struct gb_error **err) {
    if (gb_http_name_is(option, "close")) {
        w->close = true;
        return true;
    }
    if (gb_http_name_is(option, "keep-alive")) {
        w->keep_alive = true;
        return true;
    }
    if (gb_http_name_is(option, "upgrade") || gb_http_name_is(option, "te") ||
        gb_http_name_is(option, "http2-settings")) {
        return true;
    }
    if (!gb_http_name_valid(option) || has_field(fields, option)) {
        gb_h1_malformed(err, "connection names \"%s\"", GB_H1_QUOTE(option));
        return refuse(err, "It lists options of this connection, not fields of the request.");
    }
    return true;
}

static bool read_connection(struct gb_span value, const struct gb_h1_fields *fields, struct walk *w,
                            struct gb_error **err) {
    size_t at = 0;
    while (at < value.len) {
        const uint8_t *comma = memchr(value.ptr + at, ',', value.len - at);
        size_t end = comma ? (size_t)(comma - value.ptr) : value.len;
        struct gb_span option = gb_h1_trim(value.ptr + at, end - at);
        if (option.len > 0 && ++w->options > OPTIONS_MAX) {
            return gb_h1_malformed(err, "connection lists more than %d options", OPTIONS_MAX);
        }
        if (option.len > 0 && !read_option(option, fields, w, err)) {
            return false;
        }
        at = end + 1;
    }
    return true;
}

/* Fields that stand once. */
static bool is_single(enum gb_h1_known known) {
    return known != GB_H1_KNOWN_NONE && known != GB_H1_KNOWN_OTHER &&
           known != GB_H1_KNOWN_CONNECTION && known != GB_H1_KNOWN_TE &&
           known != GB_H1_KNOWN_UPGRADE && known != GB_H1_KNOWN_TRAILER;
}

static bool read_known(enum gb_h1_known known, const struct gb_http_field *f,
                       const struct gb_h1_fields *fields, struct gb_http_head *head, struct walk *w,
                       struct gb_error **err) {
    unsigned bit = 1U << (unsigned)known;
    if ((w->seen & bit) != 0 && is_single(known)) {
        gb_h1_malformed(err, "the field \"%s\" stands there twice", GB_H1_QUOTE(f->name));
        return refuse(err, "Send it once.");
    }
    w->seen |= bit;
    switch (known) {
    case GB_H1_KNOWN_HOST:
        w->host = f->value;
        return f->value.len == 0 ? gb_h1_malformed(err, "the field \"host\" is empty")
                                 : gb_h1_check_authority(f->value, err);
    case GB_H1_KNOWN_CONTENT_LENGTH:
        return read_length(f->value, head, err);
    case GB_H1_KNOWN_TRANSFER_ENCODING:
        return read_coding(f->value, head, err);
    case GB_H1_KNOWN_CONNECTION:
        return read_connection(f->value, fields, w, err);
    case GB_H1_KNOWN_EXPECT:
        if (!gb_http_name_is(f->value, "100-continue")) {
            gb_h1_malformed(err, "expect \"%s\" cannot be met", GB_H1_QUOTE(f->value));
            return refuse(err, "Only \"100-continue\" is known.");
        }
        w->expects = true;
        return true;
    case GB_H1_KNOWN_NONE:
    case GB_H1_KNOWN_UPGRADE:
    case GB_H1_KNOWN_TRAILER:
    case GB_H1_KNOWN_TE:
    case GB_H1_KNOWN_AUTHORIZATION:
    case GB_H1_KNOWN_API_KEY:
    case GB_H1_KNOWN_CONTENT_TYPE:
    case GB_H1_KNOWN_OTHER:
        break;
    }
    return true;
}

static bool walk_fields(const struct gb_h1_fields *fields, struct gb_http_head *head,
                        struct walk *w, struct gb_error **err) {
    for (size_t i = 0; i < fields->len; i++) {
        enum gb_h1_known known = gb_h1_known_of(fields->ptr[i].name);
        if (known != GB_H1_KNOWN_NONE && known != GB_H1_KNOWN_OTHER &&
            !read_known(known, &fields->ptr[i], fields, head, w, err)) {
            return false;
        }
    }
    return true;
}

static bool check_framing(struct gb_http_head *head, const struct walk *w, struct gb_error **err) {
    if (head->chunked && head->has_length) {
        gb_h1_malformed(err, "both content-length and transfer-encoding say where the body ends");
        return refuse(err, "Send one of them.");
    }
    bool body = head->chunked || head->content_length > 0;
    if (body && (head->method == GB_HTTP_GET || head->method == GB_HTTP_HEAD)) {
        gb_h1_malformed(err, "a %s request with a body", gb_http_method_text(head->method));
        return refuse(err, "Servers disagree on it: use POST, or QUERY.");
    }
    head->expect_continue = w->expects && body && head->minor >= 1;
    head->keep_alive = !w->close && (head->minor >= 1 || w->keep_alive);
    return true;
}

static bool equal_without_case(struct gb_span a, struct gb_span b) {
    return a.len == b.len && strncasecmp((const char *)a.ptr, (const char *)b.ptr, a.len) == 0;
}

static bool check_host(const struct gb_h1_target *target, unsigned minor, const struct walk *w,
                       struct gb_error **err) {
    if (w->host.len == 0) {
        if (minor == 0 && target->authority.len == 0) {
            return true;
        }
        gb_h1_malformed(err, "the field \"host\" is missing");
        return refuse(err, "Send \"Host: example.com\": HTTP/1.1 asks for it.");
    }
    if (target->authority.len > 0 && !equal_without_case(target->authority, w->host)) {
        gb_h1_malformed(err, "the target names the host \"%s\", the field \"host\" another",
                        GB_H1_QUOTE(target->authority));
        return refuse(err, "Send the same in both, or a target that begins with \"/\".");
    }
    return true;
}

/* Puts the path for routing and the host in lower case behind the head. There is room. */
static bool append_made(struct gb_h1_block *block, const struct gb_h1_target *target,
                        struct gb_span host, struct gb_http_head *head, struct gb_error **err) {
    uint8_t *at = block->ptr + block->len;
    size_t path_len = 0;
    if (!gb_h1_write_path(target->path, at, &path_len, err)) {
        return false;
    }
    head->path = gb_span_make(at, path_len);
    at += path_len;
    for (size_t i = 0; i < host.len; i++) {
        at[i] = gb_h1_lower(host.ptr[i]);
    }
    head->authority = gb_span_make(at, host.len);
    at += host.len;
    head->path_with_query =
        gb_span_make(target->path.ptr, target->path.len + target->query.len + target->has_query);
    if (target->is_made && target->has_query) {
        memcpy(at, "/?", 2);
        if (target->query.len > 0) {
            memcpy(at + 2, target->query.ptr, target->query.len);
        }
        head->path_with_query.ptr = at;
        at += 2 + target->query.len;
    }
    block->len = (size_t)(at - block->ptr);
    return true;
}

static bool check_method(struct gb_span method, struct gb_error **err) {
    if (gb_span_is(method, "CONNECT") || gb_span_is(method, "TRACE")) {
        gb_fail(err, GB_METHOD_NOT_ALLOWED, "the method %s is not served", GB_H1_QUOTE(method));
        return refuse(err, "This server is no proxy, and echoes nothing.");
    }
    return true;
}

bool gb_h1_read_head(struct gb_h1_block *block, const struct gb_h1_line *line,
                     const struct gb_h1_limits *limits, struct gb_h1_fields *fields,
                     struct gb_http_head *ret, struct gb_error **err) {
    /* What append_made writes: a path and a query that are together no longer than the target, but
     * for a new "/" each; a host of at most 255 bytes and a port. Nothing moves from here on. */
    if (!gb_h1_block_reserve(block, line->target_len + 512, err)) {
        return false;
    }
    struct gb_http_head head = {.minor = line->minor};
    struct gb_h1_target target;
    struct walk w = {0};
    head.method_text = gb_span_make(block->ptr, line->method_len);
    head.method = gb_http_method_of(head.method_text);
    head.target = gb_span_make(block->ptr + line->target_at, line->target_len);
    if (!check_method(head.method_text, err) ||
        !gb_h1_read_target(head.target, head.method, limits->tls, &target, err) ||
        !gb_h1_read_fields(block->ptr + line->end, block->len - line->end - 2, limits->fields_max,
                           "field", fields, err) ||
        !walk_fields(fields, &head, &w, err) || !check_framing(&head, &w, err) ||
        !check_host(&target, head.minor, &w, err) ||
        !append_made(block, &target, w.host, &head, err)) {
        return false;
    }
    head.path_raw = target.path;
    head.query = target.query;
    head.has_query = target.has_query;
    head.fields = fields->ptr;
    head.fields_len = fields->len;
    *ret = head;
    return true;
}
