/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting glovebox-compiler and judging what it left behind. It gets two memory files: the program
 * (sealed) and room for the code, which bounds the code, too. It has no other way to say anything;
 * when it is gone the room is cut to the code's length and sealed.
 *
 * What comes back is native code that was made from untrusted input by a process that may have been
 * taken over. The child bounds what compiling costs in time and memory. It does not make the code
 * more trustworthy; that rests on the compiler.
 *
 * Threads: any; blocks until the child is gone. Errors: as compile.h says.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "compiler/compiler.h"
#include "sandbox/compile.h"

#define FIRST_FREE_FD (GB_CHILD_FD_FIRST + 2)
#define CPU_S_PER_MIB 5u
#define CODE_BYTES_BASE (64 * GB_MIB)
#define CODE_BYTES_EACH 32u /* per byte of program */
#define AS_BYTES_EACH 64u
/* On a busy machine a second of processor time takes several; a child that sleeps must end too. */
#define WALL_FACTOR 4u
#define WALL_EXTRA_S 20u

struct gb_compile_limits gb_compile_limits_of(const struct gb_sandbox_options *o,
                                              uint64_t program_bytes) {
    uint64_t mib = (program_bytes + GB_MIB - 1) / GB_MIB;
    uint64_t code = CODE_BYTES_BASE + gb_round_up_u64(program_bytes, 4096) * CODE_BYTES_EACH;
    code = GB_MIN(code, GB_NATIVE_BYTES_MAX);
    return (struct gb_compile_limits){
        /* The first MiB is in the base: small programs are most of them. */
        .cpu_s = o->compile_cpu_s + (uint32_t)(mib > 1 ? (mib - 1) * CPU_S_PER_MIB : 0),
        .as_bytes = o->compile_memory_bytes + program_bytes * AS_BYTES_EACH + code,
        .code_bytes_max = code,
    };
}

struct child {
    const char *name; /* of the program */
    struct gb_compile_limits limits;
    int in_fd, out_fd;
    int pidfd;
    bool late; /* killed by us */
    int signal;
    int status;
};

static bool fail_sys(struct gb_error **err, const char *what) {
    return gb_child_fail("the compiler", what, err);
}

/* ---- starting ---- */

static bool open_files(struct child *c, const struct gb_sandbox_options *o, struct gb_span program,
                       const struct gbw_engine_config *config, struct gb_error **err) {
    struct gb_compiler_request q;
    memset(&q, 0, sizeof q); /* its padding goes to another process */
    q.magic = GB_COMPILER_MAGIC;
    q.jail_best_effort = o->jail_best_effort;
    q.cpu_s = c->limits.cpu_s;
    q.parent = (int32_t)getpid();
    q.as_bytes = c->limits.as_bytes;
    q.program_len = program.len;
    q.out_bytes = c->limits.code_bytes_max + GB_COMPILER_REPORT_BYTES;
    q.config = *config;
    c->in_fd = gb_memfd_new("glovebox-program", err);
    c->out_fd = c->in_fd < 0 ? -1 : gb_memfd_new("glovebox-code", err);
    if (c->out_fd < 0 || !gb_write_all(c->in_fd, &q, sizeof q, err) ||
        !gb_write_all(c->in_fd, program.ptr, program.len, err) ||
        !gb_native_seal(c->in_fd, sizeof q + program.len, err)) {
        return false;
    }
    return (gb_sys(GB_SYS_TRUNCATE, -1, ftruncate(c->out_fd, (off_t)q.out_bytes)) == 0 ||
            fail_sys(err, "a memory file")) &&
           ((gb_fd_raise(&c->in_fd, FIRST_FREE_FD) && gb_fd_raise(&c->out_fd, FIRST_FREE_FD)) ||
            fail_sys(err, "a descriptor"));
}

static bool spawn(struct child *c, const char *path, struct gb_error **err) {
    static const char *const argv[] = {GB_COMPILER_PROGRAM, NULL};
    const int fds[] = {c->in_fd, c->out_fd};
    struct gb_child child = {.path = path,
                             .argv = argv,
                             .fds = fds,
                             .fds_len = GB_COUNT(fds),
                             .role = "the compiler",
                             .hint = "Set GLOVEBOX_COMPILER to the " GB_COMPILER_PROGRAM
                                     " program."};
    pid_t ignored;
    return gb_child_spawn(&child, &ignored, &c->pidfd, err);
}

/* ---- the end of it ---- */

static void wait_gone(struct child *c) {
    uint64_t wall_s = (uint64_t)c->limits.cpu_s * WALL_FACTOR + WALL_EXTRA_S;
    uint64_t deadline_us = gb_deadline_after_us(wall_s * 1000000);
    struct pollfd gone = {.fd = c->pidfd, .events = POLLIN};
    int rc;
    do {
        rc = poll(&gone, 1, gb_poll_timeout_ms(deadline_us));
    } while ((rc < 0 && errno == EINTR) || (rc == 0 && gb_now_us() < deadline_us));
    if (rc <= 0) {
        c->late = true;
        (void)pidfd_send_signal(c->pidfd, SIGKILL, NULL, 0);
    }
    siginfo_t info = {0};
    do {
        rc = waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED);
    } while (rc != 0 && errno == EINTR);
    /* An embedder that ignores SIGCHLD gets no status; then the report has to say it all. */
    if (rc == 0) {
        *(info.si_code == CLD_EXITED ? &c->status : &c->signal) = info.si_status;
    }
}

static bool fail_memory(const struct child *c, struct gb_error **err) {
    char text[GB_AMOUNT_CAP];
    gb_fail(err, GB_COMPILE_LIMIT, "compiling \"%s\" took more memory than it may: %s", c->name,
            gb_text_bytes(c->limits.as_bytes, text));
    return gb_hint(err, "Make the program smaller, or split its largest functions.");
}

static bool fail_time(const struct child *c, struct gb_error **err) {
    gb_fail(err, GB_COMPILE_LIMIT, "compiling \"%s\" took longer than it may: %u s of processor "
                                   "time",
            c->name, c->limits.cpu_s);
    return gb_hint(err, "Make the program smaller, or split its largest functions.");
}

/* It ended without a report. */
static bool fail_silent(const struct child *c, struct gb_error **err) {
    if (c->late || c->signal == SIGXCPU) {
        return fail_time(c, err);
    }
    /* SIGABRT is how Rust says that an allocation failed; SIGKILL without our doing is the second
     * limit on time or the kernel short of memory. */
    if (c->signal == SIGABRT || c->signal == SIGKILL) {
        return fail_memory(c, err);
    }
    if (c->status == GB_COMPILER_EXIT_MAP) {
        gb_fail(err, GB_IO, "the compiler could not map \"%s\"", c->name);
        return gb_hint(err, "Raise the limit of address space (ulimit -v).");
    }
    gb_fail(err, GB_INTERNAL, "the compiler failed on \"%s\"", c->name);
    gb_hint(err, "This is a defect; nothing of the program was run.");
    return c->signal ? gb_detail(err, "it ended by signal %d (%s)", c->signal,
                                 strsignal(c->signal))
                     : gb_detail(err, "it ended with status %d and no report", c->status);
}

static bool fail_reported(const struct child *c, const struct gb_compiler_report *r,
                          struct gb_error **err) {
    struct gb_span message = gb_span_make(r->message, r->message_len);
    char quoted[GB_QUOTE_CAP];
    switch (r->failure) {
    case GB_COMPILER_CODE_TOO_LARGE: {
        char text[GB_AMOUNT_CAP];
        gb_fail(err, GB_COMPILE_LIMIT, "the code of \"%s\" is larger than %s", c->name,
                gb_text_bytes(c->limits.code_bytes_max, text));
        return gb_hint(err, "Make the program smaller.");
    }
    case GB_COMPILER_NO_JAIL:
        gb_fail(err, GB_UNSUPPORTED, "the compiler has no jail: %s",
                gb_text_quote(message, quoted));
        return gb_hint(err, "Use a kernel that has it, or --jail best-effort.");
    case GBW_ADDRESS_SPACE:
        return fail_memory(c, err);
    default:
        break;
    }
    char program[GB_QUOTE_CAP];
    char what[GB_QUOTE_CAP + 64];
    snprintf(what, sizeof what, "could not compile \"%.300s\"",
             gb_text_quote(gb_span_of(c->name), program));
    gb_failure_say(r->failure, message, what, err);
    if (r->failure == GBW_INVALID_MODULE || r->failure == GBW_INVALID_COMPONENT ||
        r->failure == GBW_INVALID_TEXT) {
        gb_hint(err, "Give a WebAssembly component or a WASI command module, binary or text.");
    }
    return false;
}

static bool fail_report(const struct child *c, struct gb_error **err) {
    return gb_fail_errno(err, GB_IO, errno, "could not read what the compiler says of \"%s\": %s",
                         c->name, strerror(errno));
}

/* Nobody else can write the file any more, but whoever did may have written anything. */
static bool take_result(struct child *c, struct gb_native *ret_code, struct gb_error **err) {
    struct gb_compiler_report r;
    ssize_t n = gb_sys(GB_SYS_READ, -1,
                       pread(c->out_fd, &r, sizeof r, (off_t)c->limits.code_bytes_max));
    if (n < 0) {
        return fail_report(c, err);
    }
    bool whole = n == (ssize_t)sizeof r && r.magic == GB_COMPILER_MAGIC &&
                 r.message_len <= GB_COMPILER_MESSAGE_MAX && r.is_component <= 1;
    if (c->late || c->signal != 0 || c->status != 0 || !whole) {
        return fail_silent(c, err);
    }
    if (r.failure != GBW_NONE) {
        return fail_reported(c, &r, err);
    }
    if (r.code_len == 0 || r.code_len > c->limits.code_bytes_max) {
        return fail_silent(c, err);
    }
    if (gb_sys(GB_SYS_TRUNCATE, -1, ftruncate(c->out_fd, (off_t)r.code_len)) != 0) {
        return fail_sys(err, "a memory file");
    }
    if (!gb_native_seal(c->out_fd, r.code_len, err)) {
        return false;
    }
    *ret_code = (struct gb_native){
        .fd = c->out_fd, .len = r.code_len, .is_component = r.is_component == 1};
    c->out_fd = -1;
    return true;
}

static bool run(struct child *c, struct gb_native *ret_code, const char *path,
                struct gb_error **err) {
    if (!spawn(c, path, err)) {
        return false;
    }
    wait_gone(c);
    return take_result(c, ret_code, err);
}

bool gb_compile_in_child(struct gb_sandbox *s, const char *name, struct gb_span program,
                         const struct gbw_engine_config *config, struct gb_native *ret_code,
                         struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup) char *path = gb_sandbox_compiler(s, err);
    if (!path) {
        return false;
    }
    struct child c = {.name = name,
                      .limits = gb_compile_limits_of(&s->options, program.len),
                      .in_fd = -1,
                      .out_fd = -1,
                      .pidfd = -1};
    bool ok = open_files(&c, &s->options, program, config, err) && run(&c, ret_code, path, err);
    gb_fd_close(&c.in_fd);
    gb_fd_close(&c.out_fd);
    gb_fd_close(&c.pidfd);
    return ok;
}
