/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the HTTP/1.x parser. Inside http/ only.
 * h1_parse.c: states and events; h1_head.c: what a head means; h1_target.c: targets and hosts;
 * h1_field.c: field lines; h1_chunk.c: the chunked coding.
 */
#ifndef GB_HTTP_H1_INTERNAL_H
#define GB_HTTP_H1_INTERNAL_H

#include "http/h1_parse.h"

static inline int gb_h1_hex(uint8_t b) {
    uint8_t low = b | 0x20;
    return b >= '0' && b <= '9' ? b - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}
/* Without the spaces and tabs around. */
static inline struct gb_span gb_h1_trim(const uint8_t *ptr, size_t len) {
    while (len > 0 && (ptr[0] == ' ' || ptr[0] == '\t')) {
        ptr++;
        len--;
    }
    while (len > 0 && (ptr[len - 1] == ' ' || ptr[len - 1] == '\t')) {
        len--;
    }
    return gb_span_make(ptr, len);
}
static inline uint8_t gb_h1_lower(uint8_t b) {
    return b >= 'A' && b <= 'Z' ? b | 0x20 : b;
}

/* Bytes of a head or of trailers; grows by doubling, the caller keeps the limit. */
struct gb_h1_block {
    uint8_t *ptr;
    size_t len;
    size_t cap;
};
/* Makes room for `more` bytes behind the last. */
bool gb_h1_block_reserve(struct gb_h1_block *b, size_t more, struct gb_error **err);
bool gb_h1_block_append(struct gb_h1_block *b, struct gb_span bytes, struct gb_error **err);
void gb_h1_block_fini(struct gb_h1_block *b);

struct gb_h1_fields {
    struct gb_http_field *ptr;
    size_t len;
    size_t cap;
};
void gb_h1_fields_fini(struct gb_h1_fields *f);

/* Field lines, each with its CRLF, without the empty line at the end. Names become lower case where
 * they are. `what`: "field" or "trailer", for messages. */
bool gb_h1_read_fields(uint8_t *lines, size_t len, size_t fields_max, const char *what,
                       struct gb_h1_fields *ret, struct gb_error **err);
/* Refuses trailers that would change what the head said. */
bool gb_h1_check_trailers(const struct gb_h1_fields *f, struct gb_error **err);

/* Fields that mean something to a server or to a proxy before it: those of which there may be one
 * have a bit each. */
enum gb_h1_known {
    GB_H1_KNOWN_NONE,
    GB_H1_KNOWN_HOST,
    GB_H1_KNOWN_CONTENT_LENGTH,
    GB_H1_KNOWN_TRANSFER_ENCODING,
    GB_H1_KNOWN_CONNECTION,
    GB_H1_KNOWN_EXPECT,
    GB_H1_KNOWN_UPGRADE,
    GB_H1_KNOWN_TRAILER,
    GB_H1_KNOWN_TE,
    GB_H1_KNOWN_AUTHORIZATION,
    GB_H1_KNOWN_API_KEY,
    GB_H1_KNOWN_CONTENT_TYPE,
    GB_H1_KNOWN_OTHER, /* none that we read, but one that proxies set and servers trust */
};
enum gb_h1_known gb_h1_known_of(struct gb_span lower_name);

/* "GET /x HTTP/1.1", as places in the block. */
struct gb_h1_line {
    size_t method_len; /* from 0 */
    size_t target_at;
    size_t target_len;
    unsigned minor;
    size_t end; /* behind its CRLF */
};
/* `line` without its CRLF. */
bool gb_h1_read_line(struct gb_span line, size_t target_bytes_max, struct gb_h1_line *ret,
                     struct gb_error **err);

struct gb_h1_target {
    struct gb_span authority; /* of an absolute target; else empty */
    struct gb_span path;      /* as it was sent; "/" where there is none behind the host */
    struct gb_span query;
    bool has_query;
    bool is_made; /* the path is not in the target */
};
bool gb_h1_read_target(struct gb_span target, enum gb_http_method method, bool tls,
                       struct gb_h1_target *ret, struct gb_error **err);
/* The path for routing into `out`, which has room for raw.len bytes; *ret_len is never more. */
bool gb_h1_write_path(struct gb_span raw, uint8_t *out, size_t *ret_len, struct gb_error **err);
/* host[:port]: a name, an IPv4 address, or an IPv6 address in brackets. */
bool gb_h1_check_authority(struct gb_span authority, struct gb_error **err);

/* The whole head in `block` (complete, its first line read): fills *ret and appends what it makes
 * (path, authority) to the block. */
bool gb_h1_read_head(struct gb_h1_block *block, const struct gb_h1_line *line,
                     const struct gb_h1_limits *limits, struct gb_h1_fields *fields,
                     struct gb_http_head *ret, struct gb_error **err);

struct gb_h1_chunks {
    unsigned state;
    unsigned digits;
    uint64_t left; /* of this chunk */
    size_t extension_bytes;
};
enum gb_h1_chunk_step {
    GB_H1_CHUNK_MORE, /* all consumed */
    GB_H1_CHUNK_DATA, /* *ret_data is the next piece */
    GB_H1_CHUNK_LAST, /* the last chunk's line is behind us: trailers or an empty line follow */
    GB_H1_CHUNK_FAILED
};
void gb_h1_chunks_begin(struct gb_h1_chunks *c);
/* Bytes of a chunk that are announced and still to come. */
uint64_t gb_h1_chunks_left(const struct gb_h1_chunks *c);
/* `room`: how many more bytes of body are allowed. */
enum gb_h1_chunk_step gb_h1_chunks_step(struct gb_h1_chunks *c, struct gb_span bytes,
                                        size_t extension_bytes_max, uint64_t room,
                                        size_t *ret_consumed, struct gb_span *ret_data,
                                        struct gb_error **err);

/* A piece of the request for a message: at most 60 bytes, what is not printable as \xNN. */
struct gb_h1_quote {
    char text[256];
};
const char *gb_h1_quote(struct gb_span bytes, struct gb_h1_quote *q);
#define GB_H1_QUOTE(span) gb_h1_quote((span), &(struct gb_h1_quote){{0}})

#define gb_h1_malformed(err, ...) gb_fail((err), GB_REQUEST_MALFORMED, __VA_ARGS__)

#endif
