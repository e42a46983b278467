/* SPDX-License-Identifier: Apache-2.0 */
/* posix_spawn with all of its settings, and the words for what can go wrong. */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/fault.h"

bool gb_child_fail(const char *role, const char *what, struct gb_error **err) {
    int eno = errno;
    gb_fail_errno(err, GB_IO, eno, "could not start %s: %s: %s", role, what, strerror(eno));
    if (eno == EMFILE || eno == ENFILE) {
        gb_hint(err, "Raise the limit of open files (ulimit -n).");
    }
    return false;
}

static int add_actions(posix_spawn_file_actions_t *actions, const struct gb_child *c) {
    int rc = 0;
    for (int fd = 0; fd < GB_CHILD_FD_FIRST && rc == 0; fd++) {
        rc = posix_spawn_file_actions_addopen(actions, fd, "/dev/null", O_RDWR, 0);
    }
    for (int i = 0; i < c->fds_len && rc == 0; i++) {
        rc = posix_spawn_file_actions_adddup2(actions, c->fds[i], GB_CHILD_FD_FIRST + i);
    }
    if (rc == 0) {
        rc = posix_spawn_file_actions_addclosefrom_np(actions, GB_CHILD_FD_FIRST + c->fds_len);
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

static int spawn(const struct gb_child *c, pid_t *ret_pid) {
    /* posix_spawn takes writable strings and does not write. */
    union {
        const char *const *constant;
        char *const *writable;
    } argv = {c->argv};
    char *empty_environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return rc;
    }
    rc = posix_spawnattr_init(&attributes);
    if (rc == 0) {
        rc = add_actions(&actions, c);
        rc = rc != 0 ? rc : set_attributes(&attributes);
        rc = rc != 0 ? rc
                     : gb_sys(GB_SYS_SPAWN, errno,
                              posix_spawn(ret_pid, c->path, &actions, &attributes, argv.writable,
                                          empty_environment));
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

bool gb_child_spawn(const struct gb_child *child, pid_t *ret_pid, int *ret_pidfd,
                    struct gb_error **err) {
    pid_t pid = 0;
    int rc = spawn(child, &pid);
    if (rc != 0) {
        gb_fail_errno(err, rc == ENOENT || rc == EACCES ? GB_BACKEND_MISSING : GB_IO, rc,
                      "could not start \"%s\": %s", child->path, strerror(rc));
        return gb_hint(err, "%s", child->hint);
    }
    int pidfd = gb_sys(GB_SYS_PIDFD, -1, pidfd_open(pid, 0));
    if (pidfd < 0) {
        (void)gb_child_fail(child->role, "its process descriptor", err);
        (void)kill(pid, SIGKILL); /* a child of ours that is not reaped: the number is its own */
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        return false;
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return true;
}
