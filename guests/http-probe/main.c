/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Misbehaves as its path says:
 *   /early          answers, then reads the request's body to its end, then ends its answer
 *   /late           reads the whole body, then answers with its length
 *   /trailers       answers with a trailer
 *   /trap-before, /trap-after, /trap-in-body     traps there
 *   /none           returns without a response;   /drop: drops the outparam first
 *   /error          answers with an error-code
 *   /exit           exits
 *   /spin, /spin-after     loops for ever
 *   /wait           waits for the body for ever, and never answers
 *   /unfinished     leaves the body of its answer open;   /short, /empty-short: less than announced
 *   /flood          writes for ever;   /empty-writes: writes nothing, very often
 *   /fields         makes a field map without end;   /field-maps: maps without end
 *   /bodies         fills bodies without end that nobody will read
 *   /trailer-maps   hides fields as trailers of such bodies
 *   /methods        keeps long texts in requests of its own
 *   /body-error     says which error the body ended with
 */
#include "http.h"

#include <stdlib.h>
#include <string.h>

static char buffer[65536];

static wasi_io_streams_borrow_input_stream_t open_body(http_request request) {
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_own_input_stream_t input;
    if (!wasi_http_types_method_incoming_request_consume(
            wasi_http_types_borrow_incoming_request(request), &body) ||
        !wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body),
                                                     &input)) {
        abort();
    }
    return wasi_io_streams_borrow_input_stream(input);
}

static uint64_t read_all(http_request request, wasi_io_streams_stream_error_t *err) {
    wasi_io_streams_borrow_input_stream_t input = open_body(request);
    uint64_t len = 0;
    agent_list_u8_t part;
    while (wasi_io_streams_method_input_stream_blocking_read(input, sizeof(buffer), &part, err)) {
        len += part.len;
        free(part.ptr);
    }
    return len;
}

static void number(struct http_response *response, uint64_t value) {
    char digits[21];
    size_t at = sizeof(digits);
    digits[--at] = '\n';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    http_write(response, digits + at, sizeof(digits) - at);
}

static void early(http_request request, http_outparam out) {
    struct http_response response = http_respond(out, 200, http_fields());
    http_write_text(&response, "early\n");
    wasi_io_streams_stream_error_t err;
    number(&response, read_all(request, &err));
    http_finish(&response, NULL);
}

static void late(http_request request, http_outparam out) {
    wasi_io_streams_stream_error_t err;
    uint64_t len = read_all(request, &err);
    struct http_response response = http_respond(out, 201, http_fields());
    number(&response, len);
    http_finish(&response, NULL);
}

static void body_error(http_request request, http_outparam out) {
    wasi_io_streams_stream_error_t err;
    read_all(request, &err);
    struct http_response response = http_respond(out, 200, http_fields());
    wasi_http_types_error_code_t code;
    if (err.tag == WASI_IO_STREAMS_STREAM_ERROR_CLOSED) {
        http_write_text(&response, "closed\n");
    } else if (!wasi_http_types_http_error_code(
                   (wasi_http_types_borrow_io_error_t){err.val.last_operation_failed.__handle},
                   &code)) {
        http_write_text(&response, "no error-code\n");
    } else {
        http_write_text(&response,
                        code.tag == WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_TERMINATED
                            ? "connection-terminated\n"
                            : "another error-code\n");
    }
    http_finish(&response, NULL);
}

static void trailers(http_outparam out) {
    struct http_response response = http_respond(out, 200, http_fields());
    http_write_text(&response, "body\n");
    wasi_http_types_own_fields_t fields = http_fields();
    http_field(fields, "x-sum", "42");
    http_finish(&response, &fields);
}

static void error(http_outparam out) {
    wasi_http_types_result_own_outgoing_response_error_code_t answer = {.is_err = true};
    answer.val.err.tag = WASI_HTTP_TYPES_ERROR_CODE_INTERNAL_ERROR;
    answer.val.err.val.internal_error.is_some = true;
    answer.val.err.val.internal_error.val = http_text("out of\ncheese");
    wasi_http_types_static_response_outparam_set(out, &answer);
}

static void of_length(http_outparam out, bool with_body) {
    wasi_http_types_own_fields_t fields = http_fields();
    http_field(fields, "content-length", "100");
    if (with_body) {
        struct http_response response = http_respond(out, 200, fields);
        http_write_text(&response, "short\n");
        http_finish(&response, NULL);
        return;
    }
    wasi_http_types_result_own_outgoing_response_error_code_t answer = {.is_err = false};
    answer.val.ok = wasi_http_types_constructor_outgoing_response(fields);
    wasi_http_types_static_response_outparam_set(out, &answer);
}

static void flood(http_outparam out) {
    struct http_response response = http_respond(out, 200, http_fields());
    while (http_write(&response, buffer, sizeof(buffer))) {
    }
}

static void empty_writes(http_outparam out) {
    struct http_response response = http_respond(out, 200, http_fields());
    agent_list_u8_t none = {.ptr = (uint8_t *)buffer, .len = 0};
    wasi_io_streams_stream_error_t err;
    for (uint32_t i = 0; i < 10000; i++) {
        wasi_io_streams_method_output_stream_write(
            wasi_io_streams_borrow_output_stream(response.stream), &none, &err);
    }
    http_write_text(&response, "done\n");
    http_finish(&response, NULL);
}

static void fill(wasi_http_types_own_fields_t fields, size_t bytes) {
    memset(buffer, 'x', 1000);
    for (size_t i = 0; i < bytes; i += 1000) {
        http_field_bytes(fields, "x-big", (const uint8_t *)buffer, 1000);
    }
}

static void field_maps(http_outparam out) {
    for (int i = 0; i < 600; i++) {
        fill(http_fields(), 50000);
    }
    (void)out;
}

/* A response that is never sent, with a full body. */
static void hidden_body(bool with_trailers) {
    wasi_http_types_own_outgoing_response_t made =
        wasi_http_types_constructor_outgoing_response(http_fields());
    struct http_response r;
    if (!wasi_http_types_method_outgoing_response_body(
            wasi_http_types_borrow_outgoing_response(made), &r.body) ||
        !wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(r.body),
                                                    &r.stream)) {
        abort();
    }
    if (with_trailers) {
        wasi_http_types_own_fields_t fields = http_fields();
        fill(fields, 50000);
        http_finish(&r, &fields);
        return;
    }
    for (int i = 0; i < 2; i++) {
        http_write(&r, buffer, sizeof(buffer));
    }
}

static void methods(void) {
    char *text = malloc(1001);
    memset(text, 'x', 1000);
    text[1000] = '\0';
    for (int i = 0; i < 900; i++) {
        wasi_http_types_own_outgoing_request_t made =
            wasi_http_types_constructor_outgoing_request(http_fields());
        agent_string_t authority = http_text(text);
        if (!wasi_http_types_method_outgoing_request_set_authority(
                wasi_http_types_borrow_outgoing_request(made), &authority)) {
            abort();
        }
    }
}

static void spin(void) {
    for (volatile uint32_t i = 0;; i++) {
    }
}

static void misbehave(const char *path, http_request request, http_outparam out) {
    if (strcmp(path, "/spin") == 0) {
        spin();
    } else if (strcmp(path, "/wait") == 0) {
        wasi_io_streams_stream_error_t err;
        read_all(request, &err);
        spin();
    } else if (strcmp(path, "/exit") == 0) {
        exit(3);
    } else if (strcmp(path, "/drop") == 0) {
        wasi_http_types_response_outparam_drop_own(out);
    } else if (strcmp(path, "/fields") == 0) {
        fill(http_fields(), 1000000);
    } else if (strcmp(path, "/field-maps") == 0) {
        field_maps(out);
    } else if (strcmp(path, "/bodies") == 0 || strcmp(path, "/trailer-maps") == 0) {
        for (int i = 0; i < 300; i++) {
            hidden_body(path[1] == 't');
        }
    } else if (strcmp(path, "/methods") == 0) {
        methods();
    } else if (strcmp(path, "/trap-before") == 0) {
        abort();
    }
}

void exports_wasi_http_incoming_handler_handle(http_request request, http_outparam out) {
    const char *path = http_path(request);
    if (strcmp(path, "/early") == 0) {
        early(request, out);
    } else if (strcmp(path, "/late") == 0) {
        late(request, out);
    } else if (strcmp(path, "/body-error") == 0) {
        body_error(request, out);
    } else if (strcmp(path, "/trailers") == 0) {
        trailers(out);
    } else if (strcmp(path, "/error") == 0) {
        error(out);
    } else if (strcmp(path, "/short") == 0 || strcmp(path, "/empty-short") == 0) {
        of_length(out, path[1] == 's');
    } else if (strcmp(path, "/flood") == 0) {
        flood(out);
    } else if (strcmp(path, "/empty-writes") == 0) {
        empty_writes(out);
    } else if (strcmp(path, "/trap-after") == 0) {
        http_respond(out, 200, http_fields());
        abort();
    } else if (strcmp(path, "/trap-in-body") == 0) {
        struct http_response response = http_respond(out, 200, http_fields());
        for (int i = 0; i < 8; i++) {
            http_write(&response, buffer, sizeof(buffer));
        }
        abort();
    } else if (strcmp(path, "/unfinished") == 0) {
        struct http_response response = http_respond(out, 200, http_fields());
        http_write_text(&response, "half\n");
    } else if (strcmp(path, "/spin-after") == 0) {
        http_respond(out, 200, http_fields());
        spin();
    } else {
        misbehave(path, request, out);
    }
}
