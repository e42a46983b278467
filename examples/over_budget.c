/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tenant over budget: over_budget PROGRAM [ARGUMENT]. The tenant may have 8 MiB in all; each call
 * alone would be allowed 64 MiB of memory. The call that asks for more ends with budget-exceeded or
 * memory-limit and says so; what it had is given back, and the next call begins with all of it.
 */
#include <glovebox/glovebox.h>
#include <stdio.h>
#include <string.h>

#define BUDGET ((uint64_t)8 << 20)
#define CALLS 3

static void done(void *user, struct gb_result *result) {
    unsigned *over = user;
    const struct gb_error *e = gb_result_error(result);
    struct gb_usage_report usage;
    gb_result_usage(result, &usage);
    printf("%s (ledger peak %llu KiB of %llu)\n", e ? gb_error_code(e) : "ok",
           (unsigned long long)usage.ledger_peak_bytes >> 10, (unsigned long long)BUDGET >> 10);
    for (const struct gb_error *c = e; c; c = gb_error_cause(c)) {
        printf("  %s: %s\n", gb_error_code(c), gb_error_message(c));
        *over += strcmp(gb_error_code(c), "budget-exceeded") == 0 ? 1 : 0;
    }
    gb_result_free(result);
}

int main(int argc, char **argv) {
    struct gb_error *e = NULL;
    unsigned over = 0;
    const char *argument = argc > 2 ? argv[2] : "";
    struct gb_host_options options;
    gb_host_options_default(&options);
    options.budget_bytes = BUDGET;
    struct gb_host *host = gb_host_new(&options, &e);
    const char *path = argc > 1 ? argv[1] : "";
    struct gb_guest *guest = host ? gb_guest_load_file(host, path, NULL, NULL, &e) : NULL;
    struct gb_call_options call = {.size = sizeof call,
                                   .argument = argument,
                                   .argument_bytes = strlen(argument),
                                   .done = done,
                                   .user = &over};
    for (int i = 0; guest && !e && i < CALLS; i++) {
        if (gb_guest_call(guest, &call, &e)) {
            while (gb_host_step(host, -1) > 0) {
            }
        }
    }
    if (e) {
        fprintf(stderr, "error: %s: %s\n", gb_error_code(e), gb_error_message(e));
    } else {
        printf("%u of %d calls went over the budget\n", over, CALLS);
    }
    int status = gb_error_exit_status(e);
    gb_error_free(e);
    gb_guest_free(guest);
    gb_host_free(host);
    return status;
}
