/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP/1.x response. The host owns the framing: whatever a guest says about lengths, connection
 * and encoding of the transfer is checked or dropped, so a response is always what its head says,
 * or the connection is closed.
 *
 * Threads: one at a time. Ownership: a writer holds no memory; it needs no end.
 * Limits: 100 fields and 32 KiB of head, 8 KiB of trailers.
 * Errors: guest-error for fields, statuses and lengths that no response may have; out of memory.
 */
#ifndef GB_HTTP_H1_WRITE_H
#define GB_HTTP_H1_WRITE_H

#include "base/buf.h"
#include "http/http.h"

#define GB_H1_RESPONSE_FIELDS_MAX 100
#define GB_H1_RESPONSE_HEAD_BYTES_MAX ((size_t)32 * 1024)
#define GB_H1_RESPONSE_TRAILER_BYTES_MAX ((size_t)8 * 1024)

enum gb_h1_body {
    GB_H1_BODY_KNOWN, /* body_bytes is its length: for what the host has whole */
    GB_H1_BODY_STREAM /* its length is the guest's content-length, if it gave one, else unknown */
};

struct gb_h1_response {
    unsigned status; /* 200 to 599 */
    /* The guest's. Dropped: hop-by-hop fields, date, x-request-id. content-length is read. */
    const struct gb_http_field *fields;
    size_t fields_len;
    /* The host's own, written as they are and trusted (x-request-id, retry-after, allow, ...). */
    const struct gb_http_field *host_fields;
    size_t host_fields_len;
    const char *date; /* gb_http_date; NULL: none */
    enum gb_h1_body body;
    uint64_t body_bytes;
    bool keep_alive; /* whether the host wants to: false adds "connection: close" */
};

struct gb_h1_writer {
    /* What the request was; set by _init. */
    bool http_1_0;
    bool is_head;
    bool client_keep_alive;
    /* The rest is the writer's; read `keep_alive` after _end. */
    bool has_head;
    bool ended;
    bool no_body; /* HEAD, 204, 304 */
    bool chunked;
    bool has_length;
    bool keep_alive;
    uint64_t length;
    uint64_t written;
};

void gb_h1_writer_init(struct gb_h1_writer *w, const struct gb_http_head *request);
/* For a request whose head was never understood: HTTP/1.1, and the connection closes. */
void gb_h1_writer_init_broken(struct gb_h1_writer *w);

/* Appends the head to `out`; on failure out is as before, and another head may be written. */
bool gb_h1_write_head(struct gb_h1_writer *w, const struct gb_h1_response *response,
                      struct gb_buf *out, struct gb_error **err);

/* The framing of the next `bytes` of the body, for those who write vectors: before[0..before_len),
 * the first `body_len` bytes of the body, after[0..after_len). body_len is less than `bytes` only
 * where the length that the head announced is reached: then the rest is cut, and it fails with
 * guest-error after filling *ret (write it anyway, then close). Where no body goes out (HEAD, 204,
 * 304) all three are 0 and it succeeds. */
struct gb_h1_frame {
    char before[20];
    size_t before_len;
    size_t body_len;
    const char *after;
    size_t after_len;
};
bool gb_h1_write_frame(struct gb_h1_writer *w, size_t bytes, struct gb_h1_frame *ret,
                       struct gb_error **err);
/* The same, copied into `out`. What is cut is cut; on running out of memory, close. */
bool gb_h1_write_body(struct gb_h1_writer *w, struct gb_span bytes, struct gb_buf *out,
                      struct gb_error **err);
/* The end of the body: last chunk and trailers, where they are sent (chunked only). Those that no
 * trailer may be are left out and reported as guest-error; the end is written all the same. Fails
 * with guest-error where bytes of the body are missing. After any failure between head and end,
 * w->keep_alive is false: the connection must be closed. */
bool gb_h1_write_end(struct gb_h1_writer *w, const struct gb_http_field *trailers,
                     size_t trailers_len, struct gb_buf *out, struct gb_error **err);

/* "HTTP/1.1 100 Continue" and an empty line. Before the head only; for head->expect_continue. */
struct gb_span gb_h1_continue(void);

#endif
