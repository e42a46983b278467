/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prices of single decisions, measured below the public library, where they can be taken apart:
 *   prices pool PROGRAM ARGUMENT CALLS   a call with and without the pool of instances
 *   prices load PROGRAM                  a program with a warm cache, ready to be called
 *   prices ledger                        one charge and its return, three accounts deep
 * Prints lines of `name number` for bench/measure.py. Variants take turns, and the best of several
 * rounds counts, so that a busy machine hits all of them alike.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/file.h"
#include "sandbox/sandbox.h"

#define PROGRAM_MAX ((size_t)128 << 20)
#define ROUNDS 7
#define WARM_CALLS 200u
#define CHARGES 2000000u

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(struct gb_error *err) {
    fprintf(stderr, "prices: %s\n", err ? err->message : "?");
    exit(1);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* ---- calls ---- */

struct side {
    struct gb_sandbox *sandbox;
    struct gb_program *program;
    struct gb_runner *runner;
    struct gb_account *account;
    struct gb_limits limits;
    struct gb_grants grants;
    double *times;
    double best_us, best_instantiate_us;
    uint64_t instantiate_us;
};

static void on_done(void *user, struct gb_call_result *result) {
    struct side *s = user;
    if (result->error) {
        die(result->error);
    }
    s->instantiate_us += result->usage.instantiate_us;
    gb_call_result_fini(result);
}

static struct gb_span read_program(const char *path) {
    struct gb_error *err = NULL;
    uint8_t *bytes = NULL;
    size_t len = 0;
    if (!gb_file_read(path, PROGRAM_MAX, GB_PROGRAM_TOO_LARGE, &bytes, &len, &err)) {
        die(err);
    }
    return gb_span_make(bytes, len);
}

static void side_open(struct side *s, const char *path, struct gb_span bytes, bool pooling) {
    struct gb_error *err = NULL;
    struct gb_sandbox_options options = gb_sandbox_options_default();
    options.pooling = pooling;
    options.cache = true;
    *s = (struct side){.limits = gb_limits_default(), .best_us = 1e18, .best_instantiate_us = 1e18};
    s->limits.program_bytes = PROGRAM_MAX;
    s->sandbox = gb_sandbox_new(&options, &err);
    s->program =
        s->sandbox ? gb_program_load(s->sandbox, path, bytes, &s->limits, &s->grants, &err) : NULL;
    s->runner = s->program ? gb_runner_new(s->sandbox, NULL, &err) : NULL;
    s->account = s->runner ? gb_account_new("bench", NULL, (uint64_t)1 << 30, &err) : NULL;
    if (!s->account) {
        die(err);
    }
}

static void side_close(struct side *s) {
    gb_runner_free(s->runner);
    gb_account_unref(s->account);
    gb_program_unref(s->program);
    gb_sandbox_free(s->sandbox);
    free(s->times);
}

static void side_round(struct side *s, const char *argument, size_t calls) {
    struct gb_error *err = NULL;
    struct gb_call_spec spec = {.program = s->program,
                                .account = s->account,
                                .limits = &s->limits,
                                .grants = &s->grants,
                                .argument = gb_span_of(argument),
                                .done = on_done,
                                .user = s};
    for (size_t i = 0; i < WARM_CALLS + calls; i++) {
        if (i == WARM_CALLS) {
            s->instantiate_us = 0;
        }
        double begin = now_us();
        if (!gb_runner_call(s->runner, &spec, &err)) {
            die(err);
        }
        while (gb_runner_step(s->runner, -1) > 0) {
        }
        if (i >= WARM_CALLS) {
            s->times[i - WARM_CALLS] = now_us() - begin;
        }
    }
    qsort(s->times, calls, sizeof *s->times, by_value);
    if (s->times[calls / 2] < s->best_us) {
        s->best_us = s->times[calls / 2];
    }
    double each = (double)s->instantiate_us / (double)calls;
    if (each < s->best_instantiate_us) {
        s->best_instantiate_us = each;
    }
}

static void pool(const char *path, const char *argument, size_t calls) {
    struct side sides[2];
    struct gb_span bytes = read_program(path);
    for (size_t i = 0; i < 2; i++) {
        side_open(&sides[i], path, bytes, i == 0);
        sides[i].times = calloc(calls, sizeof *sides[i].times);
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < 2; i++) {
            side_round(&sides[i], argument, calls);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        const char *name = i == 0 ? "pooled" : "unpooled";
        printf("%s_call_us %.2f %s_instantiate_us %.2f\n", name, sides[i].best_us, name,
               sides[i].best_instantiate_us);
        side_close(&sides[i]);
    }
    gb_free((void *)(uintptr_t)bytes.ptr);
}

/* ---- loading ---- */

static void load(const char *path) {
    struct gb_error *err = NULL;
    struct side s;
    struct gb_span bytes = read_program(path);
    double best_us = 1e18;
    side_open(&s, path, bytes, true); /* fills the cache */
    for (size_t round = 0; round < ROUNDS; round++) {
        double begin = now_us();
        struct gb_program *p = gb_program_load(s.sandbox, path, bytes, &s.limits, &s.grants, &err);
        if (!p) {
            die(err);
        }
        double us = now_us() - begin;
        best_us = us < best_us ? us : best_us;
        gb_program_unref(p);
    }
    printf("load_us %.1f program_bytes %zu\n", best_us, bytes.len);
    gb_free((void *)(uintptr_t)bytes.ptr);
    side_close(&s);
}

/* ---- the ledger ---- */

static void ledger(void) {
    struct gb_error *err = NULL;
    struct gb_account *host = gb_account_new("host", NULL, (uint64_t)1 << 40, &err);
    struct gb_account *tenant = host ? gb_account_new("tenant", host, 1 << 30, &err) : NULL;
    struct gb_account *call = tenant ? gb_account_new("call", tenant, 1 << 30, &err) : NULL;
    double best_us = 1e18;
    for (size_t round = 0; call && round < ROUNDS; round++) {
        double begin = now_us();
        for (size_t i = 0; i < CHARGES; i++) {
            if (!gb_charge(call, GB_CHARGE_TENSOR, 64, &err)) {
                die(err);
            }
            gb_uncharge(call, GB_CHARGE_TENSOR, 64);
        }
        double us = now_us() - begin;
        best_us = us < best_us ? us : best_us;
    }
    if (!call) {
        die(err);
    }
    printf("charge_ns %.2f\n", best_us * 1e3 / CHARGES);
    gb_account_unref(call);
    gb_account_unref(tenant);
    gb_account_unref(host);
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "pool") == 0) {
        pool(argv[2], argv[3], strtoull(argv[4], NULL, 10));
    } else if (argc == 3 && strcmp(argv[1], "load") == 0) {
        load(argv[2]);
    } else if (argc == 2 && strcmp(argv[1], "ledger") == 0) {
        ledger();
    } else {
        fprintf(stderr, "usage: prices pool PROGRAM ARGUMENT CALLS | load PROGRAM | ledger\n");
        return 2;
    }
    return 0;
}
