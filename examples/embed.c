/* SPDX-License-Identifier: Apache-2.0 */
/* Runs an agent: embed PROGRAM [ARGUMENT]. One host, one guest, one call. */
#include <glovebox/glovebox.h>
#include <stdio.h>
#include <string.h>

static void done(void *user, struct gb_result *result) {
    *(struct gb_result **)user = result;
}

int main(int argc, char **argv) {
    struct gb_error *error = NULL;
    struct gb_result *result = NULL;
    const char *argument = argc > 2 ? argv[2] : "";
    struct gb_call_options call = {.size = sizeof call,
                                   .argument = argument,
                                   .argument_bytes = strlen(argument),
                                   .done = done,
                                   .user = &result};
    struct gb_guest *guest = NULL;
    struct gb_host *host = gb_host_new(NULL, &error);
    if (host) {
        guest = gb_guest_load_file(host, argc > 1 ? argv[1] : "", NULL, NULL, &error);
    }
    if (guest && gb_guest_call(guest, &call, &error)) {
        while (gb_host_step(host, -1) > 0) {
        }
    }
    const struct gb_error *e = result ? gb_result_error(result) : error;
    if (e) {
        fprintf(stderr, "error: %s: %s\n", gb_error_code(e), gb_error_message(e));
    } else {
        printf("%s\n", gb_result_text(result, NULL));
    }
    int status = gb_error_exit_status(e);
    gb_result_free(result), gb_error_free(error), gb_guest_free(guest), gb_host_free(host);
    return status;
}
