/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cost of one call through libglovebox: new store, pooled instance, typed call, grants, limits
 * and ledger in place. Usage: lib_call PROGRAM ARGUMENT CALLS. Prints mean, p50, p99 in
 * microseconds (start of gb_guest_call to done), the instantiation part, and resident memory before
 * and after.
 */
#include <glovebox/glovebox.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static long resident_kib(void) {
    long kib = 0;
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            kib = strtol(line + 6, NULL, 10);
        }
    }
    if (f) {
        fclose(f);
    }
    return kib;
}

static int die(struct gb_error *err) {
    fprintf(stderr, "error: %s: %s\n", gb_error_code(err), gb_error_message(err));
    return 1;
}

struct seen {
    double end;
    double instantiate_us;
    bool failed;
};

static void on_done(void *user, struct gb_result *result) {
    struct seen *seen = user;
    struct gb_usage_report usage;
    gb_result_usage(result, &usage);
    seen->instantiate_us += (double)usage.instantiate_us;
    if (gb_result_error(result)) {
        fprintf(stderr, "error: %s\n", gb_error_message(gb_result_error(result)));
        seen->failed = true;
    }
    seen->end = now_us();
    gb_result_free(result);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: lib_call PROGRAM ARGUMENT CALLS\n");
        return 2;
    }
    size_t calls = strtoull(argv[3], NULL, 10);
    struct gb_error *err = NULL;
    struct gb_host_options options;
    gb_host_options_default(&options);
    struct gb_host *host = gb_host_new(&options, &err);
    struct gb_guest *guest = host ? gb_guest_load_file(host, argv[1], NULL, NULL, &err) : NULL;
    if (!guest) {
        return die(err);
    }
    double *times = calloc(calls, sizeof *times), sum = 0;
    struct seen seen = {0};
    long before = 0;
    for (size_t i = 0; i < calls + 200 && !seen.failed; i++) {
        struct gb_call_options call = {.size = sizeof call, .argument = argv[2],
                                       .argument_bytes = strlen(argv[2]), .done = on_done,
                                       .user = &seen};
        if (i == 200) {
            before = resident_kib();
            seen.instantiate_us = 0;
        }
        double begin = now_us();
        if (!gb_guest_call(guest, &call, &err)) {
            return die(err);
        }
        while (gb_host_step(host, -1) > 0) {
        }
        if (i >= 200) {
            times[i - 200] = seen.end - begin;
            sum += times[i - 200];
        }
    }
    qsort(times, calls, sizeof *times, by_value);
    printf("mean %.2f p50 %.2f p99 %.2f instantiate %.2f rss_kib_before %ld rss_kib_after %ld\n",
           sum / (double)calls, times[calls / 2], times[calls * 99 / 100],
           seen.instantiate_us / (double)calls, before, resident_kib());
    gb_guest_free(guest);
    gb_host_free(host);
    return seen.failed;
}
