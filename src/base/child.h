/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a program of ours: with exactly the descriptors it is given (3, 4, …) and /dev/null for
 * 0 to 2, an empty environment, default signals, its own session (a terminal's Ctrl-C is ours to
 * handle), and "/" as its directory. Whatever else this process has open is closed in the child,
 * also what an embedder forgot to mark close-on-exec.
 *
 * Threads: any. Ownership: the caller reaps the child and closes its pidfd. Errors: io, with a hint
 * where descriptors ran out; backend-missing where the program is gone.
 */
#ifndef GB_BASE_CHILD_H
#define GB_BASE_CHILD_H

#include <sys/types.h>

#include "base/error.h"

#define GB_CHILD_FD_FIRST 3

struct gb_child {
    const char *path;
    const char *const *argv; /* ends with NULL */
    const int *fds;          /* each at least GB_CHILD_FD_FIRST + fds_len: gb_fd_raise */
    int fds_len;
    const char *role; /* "a worker" */
    const char *hint; /* where the program cannot be started */
};
bool gb_child_spawn(const struct gb_child *child, pid_t *ret_pid, int *ret_pidfd,
                    struct gb_error **err);
/* "could not start a worker: a doorbell: Too many open files", of errno. Returns false. */
bool gb_child_fail(const char *role, const char *what, struct gb_error **err);

#endif
