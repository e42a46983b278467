/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One whole run of an agent through libglovebox, again and again, each time with another fault: the
 * first allocation of our C fails, then the second, and so on until a run meets no fault; the same
 * for system calls, and for both in the worker and the compiler. Each fault comes once or stays.
 *
 *   sweep SCENARIO FAULT [EVERY]
 *     SCENARIO  echo | cold (no code cache: the compiler runs) | ahead (compiled to a file) |
 *               digits (worker and model) | store (a large model, put into the store) | stored |
 *               load (a model from the guest's bytes)
 *     FAULT     alloc | sys | a kind of system call (fault.h), with + after it: from then on;
 *               worker- or compiler- before it: there
 *     EVERY     only each EVERY-th number; GLOVEBOX_TEST_LONG=1: all of them
 *
 * After each run: the answer is right or there is an error with a code and a message; no block, no
 * descriptor, no child and no half-made file is left; and a run without a fault works in the same
 * process, with what the faulty one left in the cache. Where only the cache can fail, runs succeed.
 * A run that hangs is killed by an alarm. LeakSanitizer looks at what is left at the end.
 */
#include <dirent.h>
#include <errno.h>
#include <glovebox/glovebox.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "scenario.h"

#define HANG_S 100u
#define DEADLINE_US 4000000u
#define PASSES_ENOUGH 12u /* of a worker's faults in a row: what it counts is not ours to see */
#define SETTLE_MS 3000
#define CODES_MAX 32
#define TEXT_MAX 4096

struct outcome {
    bool right;
    char code[64]; /* where it was not right */
    char text[TEXT_MAX];
};

/* Whose C fails. */
enum place { IN_HOST, IN_WORKER, IN_COMPILER, PLACES };
static const char *const place_names[PLACES] = {"", "worker-", "compiler-"};
static const char *const place_programs[PLACES] = {NULL, "GLOVEBOX_WORKER_TEST",
                                                   "GLOVEBOX_COMPILER_TEST"};

static const struct scenario *scenario;
static char expected[TEXT_MAX];
static char wrapper[256]; /* empty: none is used */
static enum place wrapped;
static char now_doing[128];

static _Noreturn void broken(const char *what, const char *more) {
    fprintf(stderr, "sweep %s: %s: %s%s%s\n", scenario->name, now_doing, what, more ? ": " : "",
            more ? more : "");
    _exit(1);
}

static void on_alarm(int signal) {
    (void)signal;
    static const char text[] = "sweep: hangs at ";
    (void)!write(2, text, sizeof text - 1);
    (void)!write(2, now_doing, strnlen(now_doing, sizeof now_doing));
    (void)!write(2, "\n", 1);
    abort();
}

/* ---- one run ---- */

/* A failure must say what it is; nothing may be an error and a success. */
static void note_error(struct outcome *o, const struct gb_error *e) {
    if (!e) {
        broken("a failure without an error", NULL);
    }
    const char *code = gb_error_code(e);
    const char *message = gb_error_message(e);
    if (!code || !*code || strcmp(code, "ok") == 0 || !message || !*message) {
        broken("an error without a code or a message", code);
    }
    (void)snprintf(o->code, sizeof o->code, "%s", code);
    (void)snprintf(o->text, sizeof o->text, "%s", message);
}

static void check_json(const struct gb_result *result) {
    struct gb_usage_report usage;
    gb_result_usage(result, &usage);
    struct gb_run_report report = {.size = sizeof report,
                                   .error = gb_result_error(result),
                                   .result = result,
                                   .usage = &usage};
    struct gb_error *err = NULL;
    struct outcome ignored;
    char *text = gb_run_report_json(&report, &err);
    if (!text) {
        note_error(&ignored, err);
    } else if (err) {
        broken("JSON and an error", text);
    }
    gb_error_free(err);
    gb_text_free(text);
}

static void on_done(void *user, struct gb_result *result) {
    struct outcome *o = user;
    size_t len = 0;
    const char *text = gb_result_text(result, &len);
    if (gb_result_error(result)) {
        note_error(o, gb_result_error(result));
    } else if (!text) {
        broken("a result without an answer", NULL);
    } else {
        o->right = true;
        (void)snprintf(o->text, sizeof o->text, "%.*s", (int)len, text);
    }
    check_json(result);
    gb_result_free(result);
}

static bool call_once(struct gb_host *h, struct gb_guest *g, struct outcome *o,
                      struct gb_error **err) {
    struct gb_call_options call = {.size = sizeof call,
                                   .argument = scenario_argument(),
                                   .argument_bytes = strlen(scenario_argument()),
                                   .done = on_done,
                                   .user = o};
    if (!gb_guest_call(g, &call, err)) {
        return false;
    }
    while (gb_host_step(h, -1) > 0) {
    }
    if (!o->right && !o->code[0]) {
        broken("a call that ended without telling", NULL);
    }
    return true;
}

static bool run_in(struct gb_host *h, struct outcome *o, struct gb_error **err) {
    if (scenario->model && (!gb_host_add_model(h, "digits", scenario_model(), "onnx", err) ||
                            !gb_host_start_models(h, NULL, 0, err))) {
        return false;
    }
    char *models = gb_host_models_json(h, err);
    if (!models) {
        return false;
    }
    gb_text_free(models);
    struct gb_limit_options limits;
    gb_limit_options_default(&limits);
    limits.deadline_us = DEADLINE_US;
    const char *path = scenario->ahead ? scenario_artifact() : scenario_guest();
    if (scenario->ahead &&
        !gb_host_compile_file(h, scenario_guest(), NULL, &limits, path, err)) {
        return false;
    }
    struct gb_grant_options grants;
    gb_grant_options_default(&grants);
    grants.nn_load = scenario->load;
    struct gb_guest *g = gb_guest_load_file(h, path, &grants, &limits, err);
    bool ok = g && call_once(h, g, o, err);
    gb_guest_free(g);
    return ok;
}

static void run_once(struct outcome *o) {
    *o = (struct outcome){0};
    struct gb_error *err = NULL;
    struct gb_host_options options;
    gb_host_options_default(&options);
    if (wrapper[0]) {
        *(wrapped == IN_WORKER ? &options.worker_path : &options.compiler_path) = wrapper;
    }
    alarm(HANG_S);
    struct gb_host *h = gb_host_new(&options, &err);
    if (!h || !run_in(h, o, &err)) {
        note_error(o, err);
    } else if (err) {
        broken("a success with an error", gb_error_message(err));
    }
    gb_error_free(err);
    gb_host_free(h);
    alarm(0);
}

static void run_clean(void) {
    struct outcome o;
    run_once(&o);
    if (!o.right || strcmp(o.text, expected) != 0) {
        broken("a run without a fault failed afterwards", o.text);
    }
}

/* ---- what is left ---- */

static int open_descriptors(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir)) {
        count++;
    }
    if (dir) {
        closedir(dir);
    }
    return count;
}

struct left {
    int64_t blocks;
    int fds;
};

static struct left look(void) {
    struct left l;
    gb_alloc_outstanding(&l.blocks);
    l.fds = open_descriptors();
    return l;
}

static void check_left(const struct left *before) {
    char text[128];
    struct left l = look();
    for (int ms = 0; ms < SETTLE_MS && (l.blocks != before->blocks || l.fds != before->fds); ms++) {
        /* Threads end by themselves. */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        l = look();
    }
    if (l.blocks != before->blocks || l.fds != before->fds) {
        (void)snprintf(text, sizeof text, "%lld blocks and %d descriptors",
                       (long long)(l.blocks - before->blocks), l.fds - before->fds);
        broken("it left behind", text);
    }
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD) {
        broken("it left a child", NULL);
    }
    if (scenario_litter()) {
        broken("it left a half-made file", scenario_litter());
    }
}

/* ---- the sweep ---- */

static struct {
    char code[64];
    unsigned count;
} codes[CODES_MAX];

static void count_code(const char *code) {
    for (size_t i = 0; i < CODES_MAX; i++) {
        if (!codes[i].count || strcmp(codes[i].code, code) == 0) {
            (void)snprintf(codes[i].code, sizeof codes[i].code, "%s", code);
            codes[i].count++;
            return;
        }
    }
}

/* A child's environment is empty, so a script hands it the fault. */
static void write_wrapper(const char *fault) {
    const char *program = getenv(place_programs[wrapped]);
    FILE *file = fopen(wrapper, "we");
    if (!program || !file) {
        broken("a variable must name a file", place_programs[wrapped]);
    }
    fprintf(file, "#!/bin/sh\nGLOVEBOX_TEST_FAULT='%s' exec '%s' \"$@\"\n", fault, program);
    if (fclose(file) != 0 || chmod(wrapper, 0700) != 0) {
        broken("could not write", wrapper);
    }
}

/* One run with the fault; false: it met none. */
static bool run_faulty(const char *fault, uint64_t n, struct outcome *o) {
    char text[64];
    size_t len = strlen(fault);
    bool persistent = fault[len - 1] == '+';
    (void)snprintf(text, sizeof text, "%.*s:%llu%s", (int)(len - persistent), fault,
                   (unsigned long long)n, persistent ? "+" : "");
    (void)snprintf(now_doing, sizeof now_doing, "%s%s", place_names[wrapped], text);
    if (scenario->fresh) {
        scenario_empty();
    }
    if (wrapped != IN_HOST) {
        write_wrapper(text);
        run_once(o);
        wrapper[0] = '\0';
        return true;
    }
    if (!gb_fault_arm(text)) {
        broken("no such fault", NULL);
    }
    run_once(o);
    uint64_t hits = gb_alloc_fail_hits() + gb_fault_sys_hits();
    gb_alloc_fail_at(0);
    gb_fault_sys_at(0, false);
    return hits > 0;
}

/* Only the code cache and its key make calls of these kinds where there is no large model. */
static bool only_cache(const char *fault) {
    static const char *const kinds[] = {"sync", "mkdir", "rename", "random"};
    size_t len = strcspn(fault, "+");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strlen(kinds[i]) == len && strncmp(fault, kinds[i], len) == 0) {
            return !scenario->large && !scenario->ahead;
        }
    }
    return false;
}

static void sweep(const char *fault, uint64_t every) {
    struct left before = look();
    char path[sizeof wrapper] = P_tmpdir "/glovebox-wrapper-XXXXXX";
    if (wrapped != IN_HOST) {
        int fd = mkstemp(path);
        close(fd);
    }
    unsigned runs = 0;
    unsigned passes = 0;
    bool more = true;
    for (uint64_t n = 1; more; n += every) {
        struct outcome o;
        if (wrapped != IN_HOST) {
            memcpy(wrapper, path, sizeof wrapper);
        }
        more = run_faulty(fault, n, &o);
        runs++;
        if (o.right && strcmp(o.text, expected) != 0) {
            broken("a wrong answer", o.text);
        }
        if (!more && !o.right) {
            broken("an error without a fault", o.text);
        }
        if (!o.right && only_cache(fault)) {
            broken("a cache that failed was an error", o.text);
        }
        passes = o.right ? passes + 1 : 0;
        more = more && (wrapped == IN_HOST || passes < PASSES_ENOUGH);
        count_code(o.right ? "ok" : o.code);
        if (getenv("SWEEP_VERBOSE")) {
            printf("%s: %s: %.120s\n", now_doing, o.right ? "ok" : o.code, o.text);
            fflush(stdout);
        }
        check_left(&before);
        run_clean();
        check_left(&before);
    }
    if (wrapped != IN_HOST) {
        (void)unlink(path);
    }
    printf("%s %s%s: %u runs", scenario->name, place_names[wrapped], fault, runs);
    for (size_t i = 0; i < CODES_MAX && codes[i].count; i++) {
        printf(" %s=%u", codes[i].code, codes[i].count);
    }
    printf("\n");
}

int main(int argc, char **argv) {
    scenario = argc > 2 ? scenario_find(argv[1]) : NULL;
    if (!scenario) {
        fprintf(stderr, "usage: sweep SCENARIO FAULT [EVERY]\n");
        return 2;
    }
    const char *fault = argv[2];
    for (int place = IN_WORKER; place < PLACES; place++) {
        size_t len = strlen(place_names[place]);
        if (strncmp(fault, place_names[place], len) == 0) {
            wrapped = (enum place)place;
            fault += len;
        }
    }
    uint64_t every = argc > 3 && !getenv("GLOVEBOX_TEST_LONG") ? strtoull(argv[3], NULL, 10) : 1;
    (void)signal(SIGALRM, on_alarm);
    (void)snprintf(now_doing, sizeof now_doing, "the first run");
    struct left ignored = look(); /* counts from here on */
    (void)ignored;
    scenario_open(scenario);
    struct outcome o;
    run_once(&o);
    if (!o.right) {
        broken(o.code, o.text);
    }
    memcpy(expected, o.text, sizeof expected);
    run_clean();
    sweep(fault, every > 0 ? every : 1);
    scenario_close();
    return 0;
}
