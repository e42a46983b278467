/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams the request's body back while it arrives, says in fields what was asked, repeats the
 * request's field x-echo, and passes trailers on.
 */
#include "http.h"

#include <stdlib.h>
#include <string.h>

static void add(wasi_http_types_own_fields_t fields, const char *name, const agent_string_t *text) {
    http_field_bytes(fields, name, text->ptr, text->len);
}

static const char *method_name(uint8_t tag) {
    static const char *const names[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    return tag < sizeof(names) / sizeof(names[0]) ? names[tag] : "?";
}

static wasi_http_types_own_fields_t describe(wasi_http_types_borrow_incoming_request_t request) {
    wasi_http_types_own_fields_t fields = http_fields();
    wasi_http_types_method_t method;
    wasi_http_types_method_incoming_request_method(request, &method);
    if (method.tag == WASI_HTTP_TYPES_METHOD_OTHER) {
        add(fields, "x-method", &method.val.other);
    } else {
        http_field(fields, "x-method", method_name(method.tag));
    }
    agent_string_t text;
    if (wasi_http_types_method_incoming_request_path_with_query(request, &text)) {
        add(fields, "x-path", &text);
    }
    if (wasi_http_types_method_incoming_request_authority(request, &text)) {
        add(fields, "x-authority", &text);
    }
    wasi_http_types_scheme_t scheme;
    if (wasi_http_types_method_incoming_request_scheme(request, &scheme)) {
        bool tls = scheme.tag == WASI_HTTP_TYPES_SCHEME_HTTPS;
        http_field(fields, "x-scheme", tls ? "https" : "http");
    }
    wasi_http_types_own_fields_t asked = wasi_http_types_method_incoming_request_headers(request);
    agent_string_t key = http_text("x-echo");
    wasi_http_types_list_field_value_t values;
    wasi_http_types_method_fields_get(wasi_http_types_borrow_fields(asked), &key, &values);
    for (size_t i = 0; i < values.len; i++) {
        http_field_bytes(fields, "x-echo", values.ptr[i].ptr, values.ptr[i].len);
    }
    wasi_http_types_fields_drop_own(asked);
    return fields;
}

/* Waits for what follows the body; false: it is broken. */
static bool trailers_of(wasi_http_types_own_incoming_body_t body, bool *ret_has,
                        wasi_http_types_own_trailers_t *ret) {
    wasi_http_types_own_future_trailers_t future =
        wasi_http_types_static_incoming_body_finish(body);
    wasi_http_types_borrow_future_trailers_t f = wasi_http_types_borrow_future_trailers(future);
    wasi_http_types_result_result_option_own_trailers_error_code_void_t got;
    while (!wasi_http_types_method_future_trailers_get(f, &got)) {
        wasi_io_poll_own_pollable_t ready = wasi_http_types_method_future_trailers_subscribe(f);
        wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
        wasi_io_poll_pollable_drop_own(ready);
    }
    if (got.is_err || got.val.ok.is_err) {
        return false;
    }
    *ret_has = got.val.ok.val.ok.is_some;
    *ret = got.val.ok.val.ok.val;
    return true;
}

void exports_wasi_http_incoming_handler_handle(http_request request, http_outparam out) {
    wasi_http_types_borrow_incoming_request_t r = wasi_http_types_borrow_incoming_request(request);
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_own_input_stream_t input;
    struct http_response response = http_respond(out, 200, describe(r));
    if (!wasi_http_types_method_incoming_request_consume(r, &body) ||
        !wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body),
                                                     &input)) {
        abort();
    }
    wasi_io_streams_stream_error_t err;
    agent_list_u8_t part;
    while (wasi_io_streams_method_input_stream_blocking_read(
        wasi_io_streams_borrow_input_stream(input), 65536, &part, &err)) {
        bool more = http_write(&response, part.ptr, part.len);
        free(part.ptr);
        if (!more) {
            return;
        }
    }
    bool broken = err.tag != WASI_IO_STREAMS_STREAM_ERROR_CLOSED;
    wasi_io_streams_input_stream_drop_own(input);
    bool has = false;
    wasi_http_types_own_trailers_t trailers;
    if (broken || !trailers_of(body, &has, &trailers)) {
        return; /* the body is dropped unfinished: half an echo is none */
    }
    http_finish(&response, has ? &trailers : NULL);
}
