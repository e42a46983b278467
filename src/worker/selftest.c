/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail tried from inside: each forbidden thing is done by its system call, and only "permission
 * denied" (or, for clone3, "no such call") counts as refused. Each is chosen so that it does no
 * harm where it succeeds: a program that is not there, signal 0, a file without a name.
 *
 * Threads: any; the filters hold for all.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/num.h"
#include "worker/jail.h"

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

/* Every attempt returns what its system call did, and undoes it where it was let through. */
static long keep_closed(long fd) {
    if (fd >= 0) {
        close((int)fd);
    }
    return fd;
}
static long try_open_read(void) {
    return keep_closed(syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY | O_CLOEXEC, 0));
}
static long try_open_write(void) {
    return keep_closed(
        syscall(SYS_openat, AT_FDCWD, "/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}
static long try_open_mem(void) {
    return keep_closed(syscall(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR | O_CLOEXEC, 0));
}
static long try_open_cpu(void) {
    return keep_closed(syscall(SYS_openat, AT_FDCWD, "/proc/cpuinfo", O_RDONLY | O_CLOEXEC, 0));
}
static long try_openat2(void) {
    const uint64_t how[3] = {O_PATH | O_CLOEXEC, 0, 0};
    return keep_closed(syscall(SYS_openat2, AT_FDCWD, "/", how, sizeof how));
}
static long try_stat(void) {
    struct stat st;
    return syscall(SYS_newfstatat, AT_FDCWD, "/", &st, 0);
}
static long try_readlink(void) {
    char text[16];
    return syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", text, sizeof text);
}
static long try_inet(void) {
    return keep_closed(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}
static long try_inet6(void) {
    return keep_closed(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}
static long try_unix(void) {
    return keep_closed(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}
static long try_netlink(void) {
    return keep_closed(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
}
static long try_connect(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    return connect(GB_WIRE_FD_CONTROL, (const struct sockaddr *)&to, sizeof to);
}
static long try_execve(void) {
    char name[] = "/glovebox-self-test-has-no-such-program";
    char *argv[] = {name, NULL};
    return execve(name, argv, argv + 1);
}
static long try_fork(void) {
    long pid = syscall(SYS_clone, (unsigned long)SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        _exit(0);
    }
    return pid;
}
static void *no_work(void *unused) {
    return unused;
}
static long try_thread(void) {
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, no_work, NULL);
    if (rc != 0) {
        errno = rc;
        return -1;
    }
    (void)pthread_join(thread, NULL);
    return 0;
}
static long try_filter(void) {
    /* No program: where it is let through, the kernel says EFAULT. */
    return syscall(SYS_seccomp, 1, 1, NULL);
}
static long try_clone3(void) {
    return syscall(SYS_clone3, NULL, 0);
}
static long try_ptrace(void) {
    /* Nobody has that number, and attaching to a real process would stop it. */
    return ptrace(PTRACE_ATTACH, INT32_MAX, NULL, NULL);
}
static long try_vm_read(void) {
    return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}
static long try_kill_parent(void) {
    return kill(getppid(), 0);
}
static long try_kill_self(void) {
    return syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0);
}
static long try_ftruncate(void) {
    return ftruncate(GB_WIRE_FD_SLAB, 0); /* the seals stand behind this one */
}
static long try_map_exec(void) {
    void *at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return -1;
    }
    munmap(at, 4096);
    return 0;
}
static long try_protect_exec(void) {
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return 0; /* plain memory must be there: this is not a refusal */
    }
    long rc = mprotect(at, 4096, PROT_READ | PROT_EXEC);
    int eno = errno;
    munmap(at, 4096);
    errno = eno;
    return rc;
}
static long try_memfd(void) {
    return keep_closed(syscall(SYS_memfd_create, "probe", 1u));
}
static long try_memfd_secret(void) {
    return keep_closed(syscall(SYS_memfd_secret, 0));
}
static long try_io_uring(void) {
    return keep_closed(syscall(SYS_io_uring_setup, 0, NULL));
}
static long try_bpf(void) {
    return keep_closed(syscall(SYS_bpf, 0, NULL, 0));
}
static long try_userfaultfd(void) {
    return keep_closed(syscall(SYS_userfaultfd, O_CLOEXEC));
}
static long try_keyctl(void) {
    return syscall(SYS_keyctl, 0, -3, 0, 0, 0);
}
static long try_mount(void) {
    return syscall(SYS_mount, "none", "/glovebox-self-test", "tmpfs", 0, NULL);
}
static long try_unshare(void) {
    return unshare(CLONE_NEWUSER);
}
static long try_raise_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) != 0) {
        return -1;
    }
    return setrlimit(RLIMIT_CORE, &limit);
}
static long try_dumpable(void) {
    long old = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    return old == 0 ? prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) : -1;
}
static long try_outlive_parent(void) {
    return prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
}
static long try_steal_doorbell(void) {
    return syscall(SYS_read, GB_WIRE_FD_COMPLETE, NULL, 0);
}
static long try_dup(void) {
    return keep_closed(fcntl(GB_WIRE_FD_COMPLETE, F_DUPFD_CLOEXEC, 0));
}
static long try_dlopen(void) {
    /* A namespace of its own, so that the library really has to be opened again. */
    errno = 0;
    void *library = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW | RTLD_LOCAL);
    if (library != NULL) {
        dlclose(library);
        return 0;
    }
    const char *why = dlerror();
    bool refused = why != NULL && strstr(why, "ermission denied") != NULL;
    errno = refused ? EACCES : EINVAL;
    return -1;
}

static const struct {
    const char *name;
    long (*attempt)(void);
} attempts[] = {
    {"open /etc/passwd", try_open_read},
    {"open a new file for writing", try_open_write},
    {"open /proc/self/mem", try_open_mem},
    {"open /proc/cpuinfo", try_open_cpu},
    {"openat2", try_openat2},
    {"stat /", try_stat},
    {"readlink", try_readlink},
    {"socket AF_INET", try_inet},
    {"socket AF_INET6", try_inet6},
    {"socket AF_UNIX", try_unix},
    {"socket AF_NETLINK", try_netlink},
    {"connect", try_connect},
    {"execve", try_execve},
    {"fork", try_fork},
    {"clone3", try_clone3},
    {"start a thread", try_thread},
    {"add a filter", try_filter},
    {"ptrace", try_ptrace},
    {"process_vm_readv", try_vm_read},
    {"kill the parent", try_kill_parent},
    {"signal a thread", try_kill_self},
    {"ftruncate the slab", try_ftruncate},
    {"mmap PROT_EXEC", try_map_exec},
    {"mprotect PROT_EXEC", try_protect_exec},
    {"memfd_create", try_memfd},
    {"memfd_secret", try_memfd_secret},
    {"io_uring_setup", try_io_uring},
    {"bpf", try_bpf},
    {"userfaultfd", try_userfaultfd},
    {"keyctl", try_keyctl},
    {"mount", try_mount},
    {"unshare CLONE_NEWUSER", try_unshare},
    {"setrlimit", try_raise_limit},
    {"prctl PR_SET_DUMPABLE", try_dumpable},
    {"prctl PR_SET_PDEATHSIG", try_outlive_parent},
    {"read another worker's doorbell", try_steal_doorbell},
    {"duplicate a descriptor", try_dup},
    {"dlopen", try_dlopen},
};

void gb_jail_selftest(gb_probe_fn report, void *user) {
    for (size_t i = 0; i < GB_COUNT(attempts); i++) {
        struct gb_msg_probe probe = {.denied = 0};
        (void)snprintf(probe.name, sizeof probe.name, "%s", attempts[i].name);
        errno = 0;
        long rc = attempts[i].attempt();
        int eno = errno;
        if (rc < 0) {
            probe.sys_errno = (uint32_t)eno;
            probe.denied = eno == EACCES || eno == EPERM || eno == ENOSYS;
        }
        report(&probe, user);
    }
}
