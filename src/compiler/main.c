/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glovebox-compiler: compiles one untrusted program and ends. Compilers are slow, hungry and large,
 * so this one has limits of its own on time and memory and the walls of a worker's jail: it can
 * open, send and start nothing. That bounds what compiling costs; it does not make the code that
 * comes out more trustworthy: who can take over the compiler can choose the code.
 *
 * Threads: one. Errors: in the report; without one (a limit, a crash) the host reads the signal.
 */
#include "compiler/compiler.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/num.h"
#include "worker/jail.h"

enum {
    EXIT_USAGE = 2, /* started by hand: there is nobody to talk to */
    EXIT_ORPHAN = 3,
};

struct job {
    const struct gb_compiler_request *request;
    struct gbw_span program;
    uint8_t *out;
    uint64_t code_max;
    struct gb_compiler_report *report;
};

static void report(struct gb_compiler_report *r, uint32_t failure, const char *message,
                   size_t len) {
    r->failure = failure;
    r->message_len = (uint32_t)GB_MIN(len, (size_t)GB_COMPILER_MESSAGE_MAX);
    if (r->message_len > 0) {
        memcpy(r->message, message, r->message_len);
    }
    r->magic = GB_COMPILER_MAGIC;
}

/* 0, or the exit status. */
static int map(struct job *j) {
    off_t in_bytes = lseek(GB_COMPILER_FD_IN, 0, SEEK_END);
    if (in_bytes < (off_t)sizeof(struct gb_compiler_request)) {
        return EXIT_USAGE;
    }
    void *in = gb_sys(GB_SYS_MMAP, MAP_FAILED,
                      mmap(NULL, (size_t)in_bytes, PROT_READ, MAP_SHARED, GB_COMPILER_FD_IN, 0));
    if (in == MAP_FAILED) {
        return GB_COMPILER_EXIT_MAP;
    }
    const struct gb_compiler_request *q = in;
    if (q->magic != GB_COMPILER_MAGIC || q->out_bytes <= GB_COMPILER_REPORT_BYTES ||
        q->program_len != (uint64_t)in_bytes - sizeof *q) {
        return EXIT_USAGE;
    }
    void *out = gb_sys(GB_SYS_MMAP, MAP_FAILED,
                       mmap(NULL, (size_t)q->out_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                            GB_COMPILER_FD_OUT, 0));
    if (out == MAP_FAILED) {
        return GB_COMPILER_EXIT_MAP;
    }
    j->request = q;
    j->program = (struct gbw_span){.ptr = (const uint8_t *)(q + 1), .len = (size_t)q->program_len};
    j->out = out;
    j->code_max = q->out_bytes - GB_COMPILER_REPORT_BYTES;
    j->report = (struct gb_compiler_report *)(void *)(j->out + j->code_max);
    return 0;
}

static bool limit(const struct job *j) {
    /* At the first limit SIGXCPU, at the second SIGKILL; neither is caught. */
    struct rlimit cpu = {.rlim_cur = j->request->cpu_s, .rlim_max = j->request->cpu_s + 1};
    struct gb_error *e = NULL;
    struct gb_jail jail = {.mode = j->request->jail_best_effort ? GB_JAIL_BEST_EFFORT
                                                                : GB_JAIL_STRICT,
                           .as_bytes = j->request->as_bytes};
    if (gb_sys(GB_SYS_JAIL, -1, setrlimit(RLIMIT_CPU, &cpu)) != 0) {
        gb_fail(&e, GB_UNSUPPORTED, "the limit on processor time could not be set");
    } else if (gb_jail_stage_1(&jail, &e) && gb_jail_stage_2(&jail, &e)) {
        return true;
    }
    report(j->report, GB_COMPILER_NO_JAIL, e->message, strlen(e->message));
    gb_error_free(e);
    return false;
}

static void compile(const struct job *j) {
    struct gbw_bytes code = {0};
    bool is_component = false;
    struct gbw_failure f = {0};
    if (!gbw_precompile(&j->request->config, j->program, &code, &is_component, &f)) {
        report(j->report, f.kind, f.message.ptr, f.message.ptr ? f.message.len : 0);
        gbw_failure_fini(&f);
        return;
    }
    if (code.len > j->code_max) {
        report(j->report, GB_COMPILER_CODE_TOO_LARGE, NULL, 0);
        return;
    }
    memcpy(j->out, code.ptr, code.len);
    j->report->code_len = code.len;
    j->report->is_component = is_component;
    report(j->report, GBW_NONE, NULL, 0);
}

int main(void) {
    struct job j = {0};
#ifdef GLOVEBOX_TEST_COMPILER
    const char *fault = getenv("GLOVEBOX_TEST_FAULT");
    if (fault && !gb_fault_arm(fault)) {
        return EXIT_USAGE;
    }
#endif
    int status = map(&j);
    if (status != 0) {
        return status;
    }
    /* Dies with the thread that waits for it; whoever died before that is seen here. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != j.request->parent) {
        return EXIT_ORPHAN;
    }
    if (limit(&j)) {
        compile(&j);
    }
    _exit(0); /* no destructors: the memory goes with the process */
}
