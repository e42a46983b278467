/* SPDX-License-Identifier: Apache-2.0 */
/* Answers every request with one line. */
#include "http.h"

#include <string.h>

void exports_wasi_http_incoming_handler_handle(http_request request, http_outparam out) {
    static const char line[] = "Hello from inside the glovebox.\n";
    (void)request;
    wasi_http_types_own_fields_t fields = http_fields();
    http_field(fields, "content-type", "text/plain; charset=utf-8");
    http_field(fields, "content-length", "32");
    _Static_assert(sizeof(line) - 1 == 32, "content-length");
    struct http_response response = http_respond(out, 200, fields);
    http_write_text(&response, line);
    http_finish(&response, NULL);
}
