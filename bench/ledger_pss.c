/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger against the kernel: while guests hold linear memory, tensors and outputs of all sizes,
 * compares at random moments what the host's account says is used with the proportional set size of
 * this process and its workers (anonymous and shared memory), above what they have when idle.
 *
 *   ledger_pss WORKER MODEL PROBE BOMB MOMENTS SEED
 *
 * Prints one line for each moment (ledger, kernel, ledger, in KiB), then the idle sizes: before any
 * load, right after it and at the end with the ledger next to it, and what of the ledger is neither
 * held nor kept warm. Reads the account through the library's insides. bench/ledger_pss.py builds,
 * runs and judges.
 */
#include <dirent.h>
#include <glovebox/glovebox.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/lib.h"

#define CALLS_MAX 14
#define KINDS 6
#define KIB 1024u

static struct gb_host *host;
static struct gb_guest *probes[KINDS]; /* the same guest under several deadlines */
static struct gb_guest *bomb;
static uint64_t seed;
static size_t running;
static size_t started;

static uint64_t random_below(uint64_t n) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

static _Noreturn void die(struct gb_error *err) {
    fprintf(stderr, "error: %s: %s\n", gb_error_code(err), gb_error_message(err));
    exit(1);
}

/* ---- what the kernel says ---- */

static long pss_kib_of(const char *pid) {
    char path[64];
    char line[256];
    long kib = 0;
    (void)snprintf(path, sizeof path, "/proc/%.20s/smaps_rollup", pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        /* Not Pss_File: the share of a library's pages changes with who else uses it. */
        if (strncmp(line, "Pss_Anon:", 9) == 0 || strncmp(line, "Pss_Shmem:", 10) == 0) {
            kib += strtol(strchr(line, ':') + 1, NULL, 10);
        }
    }
    if (file) {
        fclose(file);
    }
    return kib;
}

static long pss_kib(void) {
    long sum = pss_kib_of("self");
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task = tasks ? readdir(tasks) : NULL; task; task = readdir(tasks)) {
        char path[64];
        char children[4096] = "";
        (void)snprintf(path, sizeof path, "/proc/self/task/%.20s/children", task->d_name);
        FILE *file = fopen(path, "re");
        char *at = file && fgets(children, sizeof children, file) ? children : NULL;
        for (char *next; at && strtol(at, &next, 10) > 0 && next != at; at = next) {
            char pid[24];
            (void)snprintf(pid, sizeof pid, "%ld", strtol(at, NULL, 10));
            sum += pss_kib_of(pid);
        }
        if (file) {
            fclose(file);
        }
    }
    if (tasks) {
        closedir(tasks);
    }
    return sum;
}

static long ledger_kib(void) {
    return (long)(gb_account_used(host->host_account) / KIB);
}

static long kept_kib(void) {
    return (long)(gb_account_used_for(host->host_account, GB_CHARGE_KEPT) / KIB);
}

/* ---- load ---- */

static void on_done(void *user, struct gb_result *result) {
    running--;
    free(user); /* the argument */
    gb_result_free(result);
}

static void start_one(void) {
    struct gb_error *err = NULL;
    char *text = malloc(128);
    bool greedy = random_below(5) == 0;
    unsigned numbers = (unsigned)(1u << (15 + random_below(6))) + (unsigned)random_below(65536);
    if (!text) {
        exit(1);
    }
    (void)snprintf(text, 128, "load big64; tensor x f32 %u seq; compute; spin", numbers);
    struct gb_call_options call = {.size = sizeof call,
                                   .argument = text,
                                   .argument_bytes = strlen(text),
                                   .done = on_done,
                                   .user = text};
    struct gb_guest *guest = greedy ? bomb : probes[random_below(KINDS)];
    if (!gb_guest_call(guest, &call, &err)) {
        die(err);
    }
    running++;
    started++;
}

static void load_for(size_t rounds, size_t calls_at_most) {
    for (size_t i = 0; i < rounds; i++) {
        while (running < calls_at_most) {
            start_one();
        }
        (void)gb_host_step(host, 1);
    }
}

static void drain(void) {
    while (gb_host_step(host, -1) > 0) {
    }
    usleep(300000); /* workers put away what a cancelled inference left */
    (void)gb_host_step(host, 0);
}

static void prepare(char **argv) {
    struct gb_error *err = NULL;
    struct gb_host_options options;
    gb_host_options_default(&options);
    options.worker_path = argv[1];
    options.calls_max = CALLS_MAX;
    options.host_bytes = (uint64_t)3 << 30;
    options.budget_bytes = (uint64_t)3 << 30;
    host = gb_host_new(&options, &err);
    if (!host || !gb_host_add_model(host, "big64", argv[2], NULL, &err) ||
        !gb_host_start_models(host, NULL, 0, &err)) {
        die(err);
    }
    struct gb_limit_options limits;
    gb_limit_options_default(&limits);
    for (size_t i = 0; i <= KINDS; i++) {
        limits.deadline_us = 40000u * (1u << i);
        struct gb_guest *g =
            gb_guest_load_file(host, argv[i < KINDS ? 3 : 4], NULL, &limits, &err);
        if (!g) {
            die(err);
        }
        *(i < KINDS ? &probes[i] : &bomb) = g;
    }
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: ledger_pss WORKER MODEL PROBE BOMB MOMENTS SEED\n");
        return 2;
    }
    size_t moments = strtoull(argv[5], NULL, 10);
    seed = strtoull(argv[6], NULL, 10) | 1;
    prepare(argv);
    long cold = pss_kib();
    load_for(100, CALLS_MAX);
    drain();
    long warm = pss_kib();
    long warm_ledger = ledger_kib();
    for (size_t i = 0; i < moments; i++) {
        load_for(1 + random_below(8), CALLS_MAX / 2 + random_below(CALLS_MAX / 2));
        long before = ledger_kib();
        long kernel = pss_kib();
        long after = ledger_kib();
        printf("moment %ld %ld %ld\n", before, kernel, after);
    }
    drain();
    printf("idle cold %ld warm %ld %ld end %ld %ld left %ld calls %zu\n", cold, warm, warm_ledger,
           pss_kib(), ledger_kib(), ledger_kib() - kept_kib(), started);
    for (size_t i = 0; i < KINDS; i++) {
        gb_guest_free(probes[i]);
    }
    gb_guest_free(bomb);
    gb_host_free(host);
    return 0;
}
