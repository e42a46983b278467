/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What our HTTP guests share: texts for the bindings, a response that is being written, and reading
 * a request's body. As with agents, little is freed: the memory goes away with the request.
 */
#ifndef GUEST_COMMON_HTTP_H
#define GUEST_COMMON_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent.h"

typedef exports_wasi_http_incoming_handler_own_incoming_request_t http_request;
typedef exports_wasi_http_incoming_handler_own_response_outparam_t http_outparam;

struct http_response {
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_types_own_output_stream_t stream;
};

/* A copy that the bindings may take. */
agent_string_t http_text(const char *text);
wasi_http_types_own_fields_t http_fields(void);
/* Traps where the host refuses the field. */
void http_field(wasi_http_types_own_fields_t fields, const char *name, const char *value);
void http_field_bytes(wasi_http_types_own_fields_t fields, const char *name, const uint8_t *value,
                      size_t len);

/* Sets the response; its body is open. */
struct http_response http_respond(http_outparam out, uint16_t status,
                                  wasi_http_types_own_fields_t fields);
/* Writes all of it, waiting for room; false when nobody reads any more. */
bool http_write(struct http_response *response, const void *bytes, size_t len);
bool http_write_text(struct http_response *response, const char *text);
/* Ends the body; trailers may be NULL. False when the host says that it is not complete. */
bool http_finish(struct http_response *response, wasi_http_types_own_trailers_t *trailers);

/* The path with its query, terminated. */
char *http_path(http_request request);

#endif
