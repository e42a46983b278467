/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glovebox-worker: the process that holds a native engine and one model. Started by the host with
 * four descriptors (wire.h) and nothing else worth having; jails itself before it reads anything.
 *
 *   glovebox-worker --engine NAME --lib PATH --jail strict|best-effort --as-bytes N
 *                   [--data-bytes N] [--die-with-parent]
 * --die-with-parent: the kernel kills it when the thread that started it ends, so that thread lasts
 * as long as it is wanted. A worker in its right mind ends with its control channel in any case.
 *
 * Exit status: 0 the host went away, 1 refused (GB_MSG_FAILED says why), 2 wrong use, 3 protocol.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/num.h"
#include "worker/serve.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { EXIT_USAGE = 2 };

struct arguments {
    const char *engine;
    const char *lib;
    struct gb_jail jail;
    bool die_with_parent;
};

static _Noreturn void wrong_use(const char *why) {
    (void)fprintf(stderr,
                  "glovebox-worker: %s.\nIt is started by glovebox itself and is of no use by "
                  "hand; see \"glovebox doctor\".\n",
                  why);
    exit(EXIT_USAGE);
}

static uint64_t parse_bytes(const char *text, const char *wrong) {
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value == 0 || text[0] == '-') {
        wrong_use(wrong);
    }
    return value;
}

static struct arguments parse(int argc, char **argv) {
    struct arguments a = {.jail.mode = GB_JAIL_STRICT};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--die-with-parent") == 0) {
            a.die_with_parent = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value == NULL) {
            wrong_use("an option lacks its value");
        }
        if (strcmp(argv[i], "--engine") == 0) {
            a.engine = value;
        } else if (strcmp(argv[i], "--lib") == 0) {
            a.lib = value;
        } else if (strcmp(argv[i], "--as-bytes") == 0) {
            a.jail.as_bytes = parse_bytes(value, "--as-bytes needs a positive number");
        } else if (strcmp(argv[i], "--data-bytes") == 0) {
            a.jail.data_bytes = parse_bytes(value, "--data-bytes needs a positive number");
        } else if (strcmp(argv[i], "--jail") == 0 && strcmp(value, "strict") == 0) {
            a.jail.mode = GB_JAIL_STRICT;
        } else if (strcmp(argv[i], "--jail") == 0 && strcmp(value, "best-effort") == 0) {
            a.jail.mode = GB_JAIL_BEST_EFFORT;
        } else {
            wrong_use("an option is unknown");
        }
        i++;
    }
    if (a.engine == NULL || a.lib == NULL || a.jail.as_bytes == 0) {
        wrong_use("--engine, --lib and --as-bytes are needed");
    }
    return a;
}

/* The four descriptors are there and the first is a host's control channel. */
static void check_descriptors(void) {
    int type = 0;
    socklen_t type_bytes = sizeof type;
    if (getsockopt(GB_WIRE_FD_CONTROL, SOL_SOCKET, SO_TYPE, &type, &type_bytes) != 0 ||
        type != SOCK_SEQPACKET) {
        wrong_use("descriptor 3 is no control channel");
    }
    for (int fd = GB_WIRE_FD_SLAB; fd <= GB_WIRE_FD_COMPLETE; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            wrong_use("descriptors 4 to 6 are not open");
        }
    }
}

static void close_others(void) {
    if (syscall(SYS_close_range, GB_WIRE_FD_COMPLETE + 1u, ~0u, 0u) == 0) {
        return;
    }
    long max = sysconf(_SC_OPEN_MAX);
    for (int fd = GB_WIRE_FD_COMPLETE + 1; fd < (max > 0 ? (int)GB_MIN(max, 65536) : 1024); fd++) {
        close(fd);
    }
}

/* When memory runs out the kernel should take a worker, which can be started again, and not the
 * host. Best effort: not every system has the file. */
static void volunteer_for_oom(void) {
    int fd = gb_sys(GB_SYS_OPEN, -1, open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
    if (fd >= 0) {
        (void)!gb_sys(GB_SYS_WRITE, -1, write(fd, "500", 3));
        close(fd);
    }
}

/* Whatever the host's terminal, environment, masks and limits were. */
static bool make_plain(struct gb_error **err) {
    int null = gb_sys(GB_SYS_OPEN, -1, open("/dev/null", O_RDWR));
    for (int fd = 0; fd <= 2; fd++) {
        if (null < 0 || dup2(null, fd) < 0) {
            return gb_fail_errno(err, GB_IO, errno, "\"/dev/null\" could not be opened");
        }
    }
    close_others();
    volunteer_for_oom();
    int flags = gb_sys(GB_SYS_FCNTL, -1, fcntl(GB_WIRE_FD_CONTROL, F_GETFL));
    if (flags < 0 || gb_sys(GB_SYS_FCNTL, -1,
                            fcntl(GB_WIRE_FD_CONTROL, F_SETFL, flags & ~O_NONBLOCK)) != 0) {
        return gb_fail_errno(err, GB_IO, errno, "the control channel is not usable");
    }
    if (clearenv() != 0 || setenv("LC_ALL", "C", 1) != 0) {
        return gb_fail(err, GB_INTERNAL, "the environment could not be emptied");
    }
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    /* Ctrl-C at a terminal goes to everybody; the host decides what it means. */
    const int ignored[] = {SIGINT, SIGQUIT, SIGHUP, SIGPIPE, SIGTSTP};
    for (size_t i = 0; i < GB_COUNT(ignored); i++) {
        (void)signal(ignored[i], SIG_IGN);
    }
    /* Freed tensors go back to the system, and threads share two heaps instead of one each. */
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, 4 * 1024 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
    return true;
}

static bool open_engine(struct gb_serve *s, struct arguments *a, struct gb_error **err) {
    s->backend = gb_backend_find(a->engine);
    if (s->backend == NULL) {
        return gb_fail(err, GB_BACKEND_MISSING, "this worker has no engine \"%s\"", a->engine);
    }
    s->engine = s->backend->engine_open(a->lib, err);
    return s->engine != NULL && gb_jail_stage_1(&a->jail, err) &&
           s->backend->engine_start(s->engine, err) && gb_jail_stage_2(&a->jail, err);
}

/* Only in the worker that tests use: a fault to inject, see base/fault.h. */
static void arm_fault(void) {
#ifdef GLOVEBOX_TEST_WORKER
    const char *fault = getenv("GLOVEBOX_TEST_FAULT");
    if (fault != NULL && !gb_fault_arm(fault)) {
        wrong_use("GLOVEBOX_TEST_FAULT names no fault");
    }
#endif
}

int main(int argc, char **argv) {
    static struct gb_serve serve = {
        .model_fd = -1,
        .jail_lock = PTHREAD_MUTEX_INITIALIZER,
        .load_lock = PTHREAD_MUTEX_INITIALIZER,
        .jobs_lock = PTHREAD_MUTEX_INITIALIZER,
        .complete_lock = PTHREAD_MUTEX_INITIALIZER,
        .send_lock = PTHREAD_MUTEX_INITIALIZER,
    };
    struct arguments arguments = parse(argc, argv);
    check_descriptors();
    if (arguments.die_with_parent) {
        pid_t parent = getppid();
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            return 0; /* it died before the call: the socket's end says so too */
        }
    }
    arm_fault();
    serve.may_spin = sysconf(_SC_NPROCESSORS_ONLN) > 1;
    struct gb_error *err = NULL;
    if (!make_plain(&err) || !open_engine(&serve, &arguments, &err)) {
        gb_serve_fail(&serve, err);
    }
    serve.jail = arguments.jail;
    struct gb_msg_hello hello = {
        .pid = (uint32_t)getpid(), .missing_walls = arguments.jail.missing_walls};
    (void)snprintf(hello.engine, sizeof hello.engine, "%s",
                   serve.backend->engine_text(serve.engine));
    gb_serve_send(&serve, GB_MSG_HELLO, &hello, sizeof hello);
    gb_serve_run(&serve);
}
