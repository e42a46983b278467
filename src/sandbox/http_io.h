/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP exchange as plain data and functions: what a guest that exports
 * wasi:http/incoming-handler is given, and where its answer goes. Whoever serves HTTP implements
 * the functions; the sandbox enters them while it polls the call.
 *
 * Threads: all functions run on the thread that polls the call: its runner's, inside gb_runner_step
 * (or gb_runner_free), or with lanes a lane's, one at a time. None may block, start or free calls,
 * or step the runner. gb_call_cancel and gb_call_wake may be called from them.
 * Ownership: what is passed in either direction is borrowed until the function returns, except
 * request_trailers, whose fields must stay until the call is done.
 * Limits: between the guest and response_body at most two chunks of GB_HTTP_CHUNK_BYTES wait, for
 * each body that the guest has open; they are charged to the call.
 */
#ifndef GB_SANDBOX_HTTP_IO_H
#define GB_SANDBOX_HTTP_IO_H

#include <stddef.h>
#include <stdint.h>

#include "base/http_field.h"

#define GB_HTTP_CHUNK_BYTES (64u * 1024)

enum gb_io {
    GB_IO_OK,
    GB_IO_PENDING, /* nothing now: whoever said so wakes the call (gb_call_wake) when there is */
    GB_IO_END,     /* the request's body is complete */
    GB_IO_ERROR    /* the other side has gone, or what it sent is malformed */
};

/* Valid HTTP: the caller has parsed it. Borrowed until gb_runner_call returns. */
struct gb_http_request {
    struct gb_span method;          /* "GET"; any token */
    struct gb_span scheme;          /* "http", "https" */
    struct gb_span authority;       /* "example.org:8080"; never empty, also for HTTP/1.0 */
    struct gb_span path_with_query; /* "/a?b=c", "*"; empty counts as "/" */
    const struct gb_http_field *fields; /* guests do not see host, connection and the like */
    size_t fields_len;
};

struct gb_http_io {
    void *user;
    /* The guest reads. OK: *ret_len (1 to cap) bytes were written to `to`. ERROR: the guest gets an
     * error-code. After END or ERROR it is not called again. */
    enum gb_io (*request_body)(void *user, uint8_t *to, size_t cap, size_t *ret_len);
    /* Once, after END. */
    void (*request_trailers)(void *user, const struct gb_http_field **ret_fields, size_t *ret_len);
    /* The final status (200 to 999) and the fields that the guest made, names in lower case; never
     * connection, transfer-encoding, host and the like. Once, before any of the body. OK or ERROR:
     * after ERROR nothing of this response is passed on. */
    enum gb_io (*response_head)(void *user, uint32_t status, const struct gb_http_field *fields,
                                size_t fields_len);
    /* OK: the first *ret_taken bytes (1 to bytes.len) were taken. PENDING: there is no room; the
     * guest's stream stops accepting. ERROR: nobody reads any more; the guest's stream is closed,
     * nothing else is passed on, and the guest may go on until it returns. */
    enum gb_io (*response_body)(void *user, struct gb_span bytes, size_t *ret_taken);
    /* The response is complete. If the call is done and this was not called, it is not: where a
     * head went out, the client must not take it for a whole one. */
    void (*response_end)(void *user, const struct gb_http_field *trailers, size_t trailers_len);
};

#endif
