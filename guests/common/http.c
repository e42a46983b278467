/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <stdlib.h>
#include <string.h>

static void *copy(const void *bytes, size_t len) {
    char *to = malloc(len + 1);
    if (to == NULL) {
        abort();
    }
    memcpy(to, bytes, len);
    to[len] = '\0';
    return to;
}

agent_string_t http_text(const char *text) {
    size_t len = strlen(text);
    return (agent_string_t){.ptr = copy(text, len), .len = len};
}

wasi_http_types_own_fields_t http_fields(void) {
    return wasi_http_types_constructor_fields();
}

void http_field_bytes(wasi_http_types_own_fields_t fields, const char *name, const uint8_t *value,
                      size_t len) {
    agent_string_t key = http_text(name);
    wasi_http_types_field_value_t bytes = {.ptr = copy(value, len), .len = len};
    wasi_http_types_header_error_t err;
    if (!wasi_http_types_method_fields_append(wasi_http_types_borrow_fields(fields), &key, &bytes,
                                              &err)) {
        abort();
    }
    free(key.ptr);
    free(bytes.ptr);
}

void http_field(wasi_http_types_own_fields_t fields, const char *name, const char *value) {
    http_field_bytes(fields, name, (const uint8_t *)value, strlen(value));
}

struct http_response http_respond(http_outparam out, uint16_t status,
                                  wasi_http_types_own_fields_t fields) {
    wasi_http_types_own_outgoing_response_t made =
        wasi_http_types_constructor_outgoing_response(fields);
    wasi_http_types_borrow_outgoing_response_t response =
        wasi_http_types_borrow_outgoing_response(made);
    struct http_response r;
    if (!wasi_http_types_method_outgoing_response_set_status_code(response, status) ||
        !wasi_http_types_method_outgoing_response_body(response, &r.body) ||
        !wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(r.body),
                                                    &r.stream)) {
        abort();
    }
    wasi_http_types_result_own_outgoing_response_error_code_t answer = {.is_err = false};
    answer.val.ok = made;
    wasi_http_types_static_response_outparam_set(out, &answer);
    return r;
}

static bool wait_for_room(wasi_io_streams_borrow_output_stream_t stream, uint64_t *ret_room) {
    wasi_io_streams_stream_error_t err;
    while (true) {
        if (!wasi_io_streams_method_output_stream_check_write(stream, ret_room, &err)) {
            return false;
        }
        if (*ret_room > 0) {
            return true;
        }
        wasi_io_poll_own_pollable_t ready =
            wasi_io_streams_method_output_stream_subscribe(stream);
        wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
        wasi_io_poll_pollable_drop_own(ready);
    }
}

bool http_write(struct http_response *response, const void *bytes, size_t len) {
    wasi_io_streams_borrow_output_stream_t stream =
        wasi_io_streams_borrow_output_stream(response->stream);
    for (size_t at = 0; at < len;) {
        uint64_t room;
        if (!wait_for_room(stream, &room)) {
            return false;
        }
        size_t part = len - at < room ? len - at : (size_t)room;
        agent_list_u8_t list = {.ptr = (uint8_t *)(uintptr_t)bytes + at, .len = part};
        wasi_io_streams_stream_error_t err;
        if (!wasi_io_streams_method_output_stream_write(stream, &list, &err)) {
            return false;
        }
        at += part;
    }
    return true;
}

bool http_write_text(struct http_response *response, const char *text) {
    return http_write(response, text, strlen(text));
}

bool http_finish(struct http_response *response, wasi_http_types_own_trailers_t *trailers) {
    wasi_http_types_error_code_t err;
    wasi_io_streams_output_stream_drop_own(response->stream);
    return wasi_http_types_static_outgoing_body_finish(response->body, trailers, &err);
}

char *http_path(http_request request) {
    agent_string_t path;
    wasi_http_types_borrow_incoming_request_t r = wasi_http_types_borrow_incoming_request(request);
    if (!wasi_http_types_method_incoming_request_path_with_query(r, &path)) {
        return copy("", 0);
    }
    return copy(path.ptr, path.len);
}
