/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words that every HTTP codec and the server share: methods, fields, the head of a request.
 * Nothing here touches a socket. HTTP/1.1 is h1_parse.h and h1_write.h; another version would fill
 * the same struct gb_http_head.
 * Ownership: spans are borrowed from whoever made the head.
 */
#ifndef GB_HTTP_HTTP_H
#define GB_HTTP_HTTP_H

#include "base/error.h"
#include "base/http_field.h"

/* GB_HTTP_OTHER is any other method that the parser knows (WebDAV's and such): guests get its name.
 * CONNECT and TRACE never reach anybody. */
enum gb_http_method {
    GB_HTTP_GET,
    GB_HTTP_HEAD,
    GB_HTTP_POST,
    GB_HTTP_PUT,
    GB_HTTP_DELETE,
    GB_HTTP_PATCH,
    GB_HTTP_OPTIONS,
    GB_HTTP_OTHER,
    GB_HTTP_METHOD_COUNT
};
#define GB_HTTP_METHOD_BIT(method) (1U << (unsigned)(method))
#define GB_HTTP_METHODS_ALL ((1U << (unsigned)GB_HTTP_METHOD_COUNT) - 1U)

struct gb_http_head {
    enum gb_http_method method;
    unsigned minor;                 /* HTTP/1.minor: 0 or 1 */
    struct gb_span method_text;     /* "GET" */
    struct gb_span target;          /* as it was sent */
    struct gb_span path;            /* for routing: see gb_h1_new; "*" for OPTIONS * */
    struct gb_span path_with_query; /* what a guest is told: the target without scheme and host */
    struct gb_span path_raw;        /* as it was sent, without query */
    struct gb_span query;           /* as it was sent, without '?'; empty where there is none */
    bool has_query;                 /* "/x?" has an empty one */
    struct gb_span authority; /* host[:port] in lower case; empty only in HTTP/1.0 without Host */
    const struct gb_http_field *fields; /* all of them, as sent and in order */
    size_t fields_len;
    bool has_length;
    uint64_t content_length; /* 0 when chunked or without a body */
    bool chunked;
    bool keep_alive;      /* what the client asked for */
    bool expect_continue; /* it waits for "100 Continue" before it sends the body */
};

/* The first field of that name (lower case), or NULL. */
const struct gb_http_field *gb_http_find(const struct gb_http_head *head, const char *name);
/* Fields of one connection only; a server neither shows them to a guest nor takes them from one:
 * connection, keep-alive, proxy-connection, te, trailer, transfer-encoding, upgrade, expect,
 * http2-settings. Any case. */
bool gb_http_field_is_hop_by_hop(struct gb_span name);
/* A token of RFC 9110; and a value without control bytes (but tabs) that is UTF-8. */
bool gb_http_name_valid(struct gb_span name);
bool gb_http_value_valid(struct gb_span value);
/* Without case, ASCII only. */
bool gb_http_name_is(struct gb_span name, const char *lower);

/* GB_HTTP_OTHER for a name that is none of ours. "GET" is written in capitals. */
enum gb_http_method gb_http_method_of(struct gb_span name);
const char *gb_http_method_text(enum gb_http_method method);
/* "Not Found"; "" for a status without a usual name. */
const char *gb_http_reason(unsigned status);

/* "Sun, 06 Nov 1994 08:49:37 GMT": 29 characters and a NUL. For seconds before 1970 or past 9999,
 * the nearest that can be written. A loop makes it once a second. */
#define GB_HTTP_DATE_BYTES 30
void gb_http_date(int64_t unix_seconds, char ret_text[GB_HTTP_DATE_BYTES]);

#endif
