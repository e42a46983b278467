/* SPDX-License-Identifier: Apache-2.0 */
/* Asks https://example.org/ and answers with what came of it. */
#include "http.h"

static const char *ask(void) {
    wasi_http_types_own_outgoing_request_t request =
        wasi_http_types_constructor_outgoing_request(http_fields());
    agent_string_t authority = http_text("example.org");
    wasi_http_types_method_outgoing_request_set_authority(
        wasi_http_types_borrow_outgoing_request(request), &authority);
    wasi_http_types_own_future_incoming_response_t future;
    wasi_http_types_error_code_t err;
    if (wasi_http_outgoing_handler_handle(request, NULL, &future, &err)) {
        return "sent\n";
    }
    return err.tag == WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED ? "denied\n" : "error\n";
}

void exports_wasi_http_incoming_handler_handle(http_request request, http_outparam out) {
    (void)request;
    struct http_response response = http_respond(out, 200, http_fields());
    http_write_text(&response, ask());
    http_finish(&response, NULL);
}
