/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an error leaves the server: status, Retry-After and the body
 * {"error":{"code","message","hint","request_id"}}. Causes and details stay in the log; of
 * `internal` and `io` not even the message leaves, since it may name paths of the host.
 * Threads: any; struct gb_request_ids: one at a time.
 */
#ifndef GB_HTTP_PROBLEM_H
#define GB_HTTP_PROBLEM_H

#include "base/buf.h"
#include "http/http.h"

/* On a model route some codes are answered with another status (docs/ERRORS.md). */
enum gb_problem_route { GB_PROBLEM_PLAIN, GB_PROBLEM_MODEL };
unsigned gb_problem_status(enum gb_code code, enum gb_problem_route route);
/* Seconds for Retry-After; 0: none. */
unsigned gb_problem_retry_after_s(enum gb_code code);
/* Appends the body. request_id may be empty, then it is left out. */
bool gb_problem_write(const struct gb_error *error, struct gb_span request_id, struct gb_buf *out,
                      struct gb_error **err);
/* Appends `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
bool gb_problem_write_string(struct gb_span text, struct gb_buf *out, struct gb_error **err);

/* X-Request-Id: an incoming one is kept if it has 1 to 64 of letters, digits, '-', '_' and '.'. */
#define GB_REQUEST_ID_BYTES_MAX 64
#define GB_REQUEST_ID_MADE_BYTES 32
bool gb_request_id_valid(struct gb_span id);
/* Random bytes in stock, so that an id costs no system call of its own. Zero it to begin. */
struct gb_request_ids {
    uint8_t stock[256];
    size_t left;
};
bool gb_request_ids_random(struct gb_request_ids *ids, uint8_t *ret_bytes, size_t len,
                           struct gb_error **err);
/* 32 hexadecimal digits and a NUL. */
bool gb_request_id_make(struct gb_request_ids *ids, char ret_id[GB_REQUEST_ID_MADE_BYTES + 1],
                        struct gb_error **err);

#endif
