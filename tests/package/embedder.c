/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest embedder: runs one agent with one argument. C and C++. */
#include <glovebox/glovebox.h>
#include <stdio.h>
#include <string.h>

static void print(void *user, struct gb_result *result) {
    size_t bytes = 0;
    const char *text = gb_result_text(result, &bytes);
    const struct gb_error *e = gb_result_error(result);
    *(int *)user = e ? gb_error_exit_status(e) : 0;
    if (e) {
        printf("%s: %s\n", gb_error_code(e), gb_error_message(e));
    } else {
        printf("%.*s\n", (int)bytes, text);
    }
    gb_result_free(result);
}

static int run(struct gb_host *host, const char *models, const char *program, const char *arg,
               struct gb_error **err) {
    int status = 125;
    if (!gb_host_add_model_dir(host, models, err) || !gb_host_start_models(host, NULL, 0, err)) {
        return status;
    }
    struct gb_guest *guest = gb_guest_load_file(host, program, NULL, NULL, err);
    if (!guest) {
        return status;
    }
    struct gb_call_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.argument = arg;
    options.argument_bytes = strlen(arg);
    options.done = print;
    options.user = &status;
    if (gb_guest_call(guest, &options, err)) {
        while (gb_host_step(host, -1) > 0) {
        }
    }
    gb_guest_free(guest);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        return 2;
    }
    struct gb_error *e = NULL;
    struct gb_host *host = gb_host_new(NULL, &e);
    int status = host ? run(host, argv[1], argv[2], argv[3], &e) : 125;
    if (e) {
        printf("%s: %s\n", gb_error_code(e), gb_error_message(e));
        gb_error_free(e);
    }
    gb_host_free(host);
    return status;
}
