/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting one glovebox-worker: exactly four descriptors (3 to 6) and /dev/null for 0 to 2, an
 * empty environment, default signals, its own session (a terminal's Ctrl-C is ours to handle), and
 * "/" as its directory. Whatever else this process has open is closed in the child, also what an
 * embedder forgot to mark close-on-exec.
 *
 * Threads: any. Ownership: a struct gb_process owns its descriptors and a reference of its slab.
 * Errors: GB_IO with a hint where descriptors ran out; GB_BACKEND_MISSING where the program is
 * gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "model/worker_internal.h"

#define CHILD_FDS 4
#define FIRST_FREE_FD 7 /* after those the child gets */

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
    int eno = errno;
    gb_fail_errno(err, GB_IO, eno, "could not start a worker: %s: %s", what, strerror(eno));
    if (eno == EMFILE || eno == ENFILE) {
        gb_hint(err, "Raise the limit of open files (ulimit -n).");
    }
    return false;
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
    p->slab = gb_slab_new(config->slab_bytes, ret_slab_fd, err);
    int *sources[] = {ret_child_control, ret_slab_fd, &p->submit, &p->complete};
    bool ok = p->slab != NULL;
    for (size_t i = 0; ok && i < GB_COUNT(sources); i++) {
        ok = gb_fd_raise(sources[i], FIRST_FREE_FD) || fail_fd(err, "a descriptor");
    }
    return ok;
}

static int add_actions(posix_spawn_file_actions_t *actions, const int fds[CHILD_FDS]) {
    int rc = 0;
    for (int fd = 0; fd < 3 && rc == 0; fd++) {
        rc = posix_spawn_file_actions_addopen(actions, fd, "/dev/null", O_RDWR, 0);
    }
    for (int i = 0; i < CHILD_FDS && rc == 0; i++) {
        rc = posix_spawn_file_actions_adddup2(actions, fds[i], GB_WIRE_FD_CONTROL + i);
    }
    if (rc == 0) {
        rc = posix_spawn_file_actions_addclosefrom_np(actions, FIRST_FREE_FD);
    }
    return rc != 0 ? rc : posix_spawn_file_actions_addchdir_np(actions, "/");
}

static int set_attributes(posix_spawnattr_t *attributes) {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawnattr_setflags(
        attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    rc = rc != 0 ? rc : posix_spawnattr_setsigmask(attributes, &none);
    return rc != 0 ? rc : posix_spawnattr_setsigdefault(attributes, &all);
}

static int spawn(const struct gb_process_config *config, const int fds[CHILD_FDS], pid_t *ret_pid) {
    char as_bytes[24];
    (void)snprintf(as_bytes, sizeof as_bytes, "%" PRIu64, config->as_bytes);
    /* posix_spawn takes writable strings and does not write. */
    union {
        const char *constant[10];
        char *writable[10];
    } argv = {{"glovebox-worker", "--engine", config->engine, "--lib", config->lib_path, "--jail",
               config->jail == GB_JAIL_STRICT ? "strict" : "best-effort", "--as-bytes", as_bytes,
               NULL}};
    char *empty_environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return rc;
    }
    rc = posix_spawnattr_init(&attributes);
    if (rc == 0) {
        rc = add_actions(&actions, fds);
        rc = rc != 0 ? rc : set_attributes(&attributes);
        rc = rc != 0 ? rc
                     : gb_sys(GB_SYS_SPAWN, errno,
                              posix_spawn(ret_pid, config->worker_path, &actions, &attributes,
                                          argv.writable, empty_environment));
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

bool gb_process_spawn(const struct gb_process_config *config, struct gb_process *ret_process,
                      struct gb_error **err) {
    struct gb_process p;
    gb_process_init(&p);
    int child_control = -1;
    int slab_fd = -1;
    bool ok = open_channels(config, &p, &child_control, &slab_fd, err);
    if (ok) {
        const int fds[CHILD_FDS] = {child_control, slab_fd, p.submit, p.complete};
        int rc = spawn(config, fds, &p.pid);
        if (rc != 0) {
            ok = gb_fail_errno(err, rc == ENOENT || rc == EACCES ? GB_BACKEND_MISSING : GB_IO, rc,
                               "could not start \"%s\": %s", config->worker_path, strerror(rc));
            gb_hint(err, "Set GLOVEBOX_WORKER or --worker PATH to the glovebox-worker program.");
        }
    }
    gb_fd_close(&child_control);
    gb_fd_close(&slab_fd);
    if (ok) {
        p.pidfd = gb_sys(GB_SYS_PIDFD, -1, pidfd_open(p.pid, 0));
        if (p.pidfd < 0) {
            ok = fail_fd(err, "its process descriptor");
        }
    }
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
