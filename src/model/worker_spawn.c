/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting one glovebox-worker, with exactly four descriptors: the control channel, the slab and
 * two doorbells.
 *
 * Threads: any. Ownership: a struct gb_process owns its descriptors and a reference of its slab.
 * Errors: GB_IO with a hint where descriptors ran out; GB_BACKEND_MISSING where the program is
 * gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/child.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "model/worker_internal.h"

#define CHILD_FDS 4
#define FIRST_FREE_FD (GB_CHILD_FD_FIRST + CHILD_FDS)

void gb_process_init(struct gb_process *p) {
    *p = (struct gb_process){.pidfd = -1, .control = -1, .submit = -1, .complete = -1};
}

void gb_process_fini(struct gb_process *p) {
    gb_fd_close(&p->pidfd);
    gb_fd_close(&p->control);
    gb_fd_close(&p->submit);
    gb_fd_close(&p->complete);
    gb_slab_unref(p->slab);
    gb_process_init(p);
}

void gb_process_end(struct gb_process *p) {
    if (p->pid > 0) { /* a child of ours that is not reaped: the number is still its own */
        kill(p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    gb_process_fini(p);
}

static bool fail_fd(struct gb_error **err, const char *what) {
    return gb_child_fail("a worker", what, err);
}

static bool open_channels(const struct gb_process_config *config, struct gb_process *p,
                          int *ret_child_control, int *ret_slab_fd, struct gb_error **err) {
    int pair[2];
    if (gb_sys(GB_SYS_SOCKETPAIR, -1,
               socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) != 0) {
        return fail_fd(err, "the control channel");
    }
    p->control = pair[0];
    *ret_child_control = pair[1];
    if (gb_sys(GB_SYS_FCNTL, -1, fcntl(p->control, F_SETFL, O_NONBLOCK)) != 0) {
        return fail_fd(err, "the control channel");
    }
    p->submit =
        gb_sys(GB_SYS_EVENTFD, -1, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE));
    p->complete = p->submit < 0
                      ? -1
                      : gb_sys(GB_SYS_EVENTFD, -1, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (p->complete < 0) {
        return fail_fd(err, "a doorbell");
    }
    const struct gb_slab_options slab = {.bytes = config->slab_bytes,
                                         .keep_bytes = config->keep_bytes,
                                         .account = config->host_account};
    p->slab = gb_slab_new(&slab, ret_slab_fd, err);
    int *sources[] = {ret_child_control, ret_slab_fd, &p->submit, &p->complete};
    bool ok = p->slab != NULL;
    for (size_t i = 0; ok && i < GB_COUNT(sources); i++) {
        ok = gb_fd_raise(sources[i], FIRST_FREE_FD) || fail_fd(err, "a descriptor");
    }
    return ok;
}

bool gb_process_spawn(const struct gb_process_config *config, struct gb_process *ret_process,
                      struct gb_error **err) {
    struct gb_process p;
    gb_process_init(&p);
    int child_control = -1;
    int slab_fd = -1;
    bool ok = open_channels(config, &p, &child_control, &slab_fd, err);
    if (ok) {
        char as_bytes[24];
        char data_bytes[24];
        (void)snprintf(as_bytes, sizeof as_bytes, "%" PRIu64, config->as_bytes);
        (void)snprintf(data_bytes, sizeof data_bytes, "%" PRIu64,
                       config->data_bytes ? config->data_bytes : config->as_bytes);
        const char *jail = config->jail == GB_JAIL_STRICT ? "strict" : "best-effort";
        const char *argv[] = {"glovebox-worker",
                              "--engine",
                              config->engine,
                              "--lib",
                              config->lib_path,
                              "--jail",
                              jail,
                              "--as-bytes",
                              as_bytes,
                              "--data-bytes",
                              data_bytes,
                              config->dies_with_thread ? "--die-with-parent" : NULL,
                              NULL};
        const int fds[CHILD_FDS] = {child_control, slab_fd, p.submit, p.complete};
        struct gb_child child = {.path = config->worker_path,
                                 .argv = argv,
                                 .fds = fds,
                                 .fds_len = CHILD_FDS,
                                 .role = "a worker",
                                 .hint = "Set GLOVEBOX_WORKER or --worker PATH to the "
                                         "glovebox-worker program."};
        ok = gb_child_spawn(&child, &p.pid, &p.pidfd, err);
    }
    gb_fd_close(&child_control);
    gb_fd_close(&slab_fd);
    if (!ok) {
        gb_process_end(&p);
        return false;
    }
    *ret_process = p;
    return true;
}

void gb_process_kill(const struct gb_process *p) {
    if (p->pidfd >= 0) {
        (void)pidfd_send_signal(p->pidfd, SIGKILL, NULL, 0);
    }
}

bool gb_process_reap(struct gb_process *p, int *ret_signal, int *ret_status) {
    siginfo_t info = {0};
    int rc = 0;
    do {
        rc = waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0 && info.si_pid == 0) {
        return false;
    }
    *ret_signal = 0;
    *ret_status = 0;
    if (rc == 0) {
        *(info.si_code == CLD_EXITED ? ret_status : ret_signal) = info.si_status;
    }
    p->pid = 0;
    return true;
}

uint64_t gb_process_as_bytes(uint64_t slab_bytes, uint64_t model_bytes, uint32_t threads) {
    /* The engine and its libraries, what a model becomes when loaded, and per thread a stack, an
     * arena of the C library and the tensors in between. */
    return slab_bytes + 6 * model_bytes + 2 * GB_GIB + threads * (256 * GB_MIB);
}
