/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seccomp filters. The first denies what no engine needs even to start; the second allows what
 * computing needs and answers EACCES to the rest; the third denies new threads, since a filter
 * cannot count them, and further filters, which only it needed. Denied calls get an error and not a
 * signal, because engines try things (a device list, a cache file) and cope.
 *
 * Descriptors are part of the rules: the completion doorbell is shared by all workers, so a worker
 * may write it but never read it (that would steal the others' wake-ups), and nothing but the two
 * doorbells and the control channel can be read or written at all. clone3 is "not there", which
 * makes the C library fall back to clone, whose flags a filter can see; only threads pass.
 * The wrong machine (32-bit calls on x86-64) kills the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/num.h"
#include "worker/jail.h"

#define DENY SCMP_ACT_ERRNO(EACCES)

/* Flags of seccomp(2): on every thread (TSYNC), and how that fails (TSYNC_ESRCH), which the library
 * adds where the kernel knows it. */
#define ALL_THREADS ((scmp_datum_t)(1u | 1u << 4))

#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

static bool seccomp_fail(int rc, struct gb_error **err) {
    int eno = rc < 0 ? -rc : rc;
    return gb_fail_errno(err, GB_UNSUPPORTED, eno, "the system call filter could not be set: %s",
                         strerror(eno));
}

/* By name, because the C library's headers may not know the newer ones. */
static const char *const denied[] = {
    "execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev",
    "process_madvise", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "kcmp", "kill", "tkill",
    "rt_sigqueueinfo", "rt_tgsigqueueinfo", "socket", "socketpair", "bind", "connect", "listen",
    "accept", "accept4", "sendto", "sendmmsg", "truncate", "ftruncate", "fallocate", "memfd_create",
    "memfd_secret", "shmget", "shmat", "shmctl", "msgget", "semget", "mq_open", "unshare", "setns",
    "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick",
    "mount_setattr", "pivot_root", "chroot", "bpf", "perf_event_open", "io_uring_setup",
    "io_uring_enter", "io_uring_register", "io_setup", "userfaultfd", "keyctl", "add_key",
    "request_key", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load",
    "open_by_handle_at", "name_to_handle_at", "personality", "iopl", "ioperm", "modify_ldt",
    "quotactl", "reboot", "swapon", "swapoff", "acct", "settimeofday", "clock_settime",
    "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "setuid", "setgid", "setreuid",
    "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset",
    "setrlimit", "landlock_create_ruleset", "fanotify_init", "inotify_init1", "uselib", "vhangup",
    "migrate_pages", "move_pages", "mbind", "set_mempolicy", "remap_file_pages", "pkey_mprotect",
    "pkey_alloc", "syslog", "lookup_dcookie", "creat", "mknod", "mknodat", "unlink", "unlinkat",
    "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat",
    "rmdir", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "setxattr",
    "lsetxattr", "fsetxattr",
};

/* Names that take no condition in the second filter. */
static const char *const allowed[] = {
    "brk", "munmap", "mremap", "madvise", "futex", "futex_waitv", "set_robust_list", "rseq",
    "rt_sigprocmask", "rt_sigaction", "rt_sigreturn", "sigaltstack", "exit", "exit_group",
    "gettid", "getpid", "getppid", "getuid", "sched_yield", "sched_getaffinity", "clock_gettime",
    "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrandom", "getcpu",
    "fstat", "lseek", "close", "membarrier", "getrusage", "sysinfo", "uname", "restart_syscall",
    "poll", "ppoll", "set_tid_address", "arch_prctl", "getrlimit",
};

static int filter_rule(scmp_filter_ctx ctx, uint32_t action, const char *name, unsigned count,
                       const struct scmp_arg_cmp *args) {
    int nr = seccomp_syscall_resolve_name(name);
    if (nr == __NR_SCMP_ERROR) {
        return 0; /* this library does not know it, so this machine's table hardly has it */
    }
    int rc = seccomp_rule_add_array(ctx, action, nr, count, args);
    return rc == -EDOM ? 0 : rc; /* not a call of this machine */
}

/* Nothing mapped or made executable; this holds in both filters. */
static int rules_no_exec(scmp_filter_ctx ctx, bool allow_list) {
    struct scmp_arg_cmp arg = allow_list ? SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)
                                         : SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC);
    uint32_t action = allow_list ? SCMP_ACT_ALLOW : DENY;
    int rc = filter_rule(ctx, action, "mmap", 1, &arg);
    return rc != 0 ? rc : filter_rule(ctx, action, "mprotect", 1, &arg);
}

/* Threads are allowed, processes are not. */
static int rules_clone(scmp_filter_ctx ctx, bool allow_list) {
    struct scmp_arg_cmp arg = allow_list ? SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)
                                         : SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0);
    int rc = filter_rule(ctx, allow_list ? SCMP_ACT_ALLOW : DENY, "clone", 1, &arg);
    return rc != 0 ? rc : filter_rule(ctx, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);
}

/* abort() signals its own thread. */
static int rules_signal(scmp_filter_ctx ctx, bool allow_list) {
    scmp_datum_t self = (scmp_datum_t)getpid();
    if (!allow_list) {
        struct scmp_arg_cmp other = SCMP_A0(SCMP_CMP_NE, self);
        return filter_rule(ctx, DENY, "tgkill", 1, &other);
    }
    struct scmp_arg_cmp own[] = {SCMP_A0(SCMP_CMP_EQ, self), SCMP_A2(SCMP_CMP_EQ, SIGABRT)};
    return filter_rule(ctx, SCMP_ACT_ALLOW, "tgkill", GB_COUNT(own), own);
}

/* Of prlimit64 the half that reads. */
static int rules_limits(scmp_filter_ctx ctx, bool allow_list) {
    struct scmp_arg_cmp arg =
        allow_list ? SCMP_A2(SCMP_CMP_EQ, 0) : SCMP_A2(SCMP_CMP_NE, 0);
    return filter_rule(ctx, allow_list ? SCMP_ACT_ALLOW : DENY, "prlimit64", 1, &arg);
}

/* Who may read and write what. */
static int rules_descriptors(scmp_filter_ctx ctx) {
    const struct {
        const char *name;
        scmp_datum_t fd;
    } pairs[] = {
        {"read", GB_WIRE_FD_SUBMIT},      {"write", GB_WIRE_FD_SUBMIT},
        {"write", GB_WIRE_FD_COMPLETE},   {"recvmsg", GB_WIRE_FD_CONTROL},
        {"sendmsg", GB_WIRE_FD_CONTROL},
    };
    for (size_t i = 0; i < GB_COUNT(pairs); i++) {
        struct scmp_arg_cmp arg = SCMP_A0(SCMP_CMP_EQ, pairs[i].fd);
        int rc = filter_rule(ctx, SCMP_ACT_ALLOW, pairs[i].name, 1, &arg);
        if (rc != 0) {
            return rc;
        }
    }
    struct scmp_arg_cmp seals = SCMP_A1(SCMP_CMP_EQ, F_GET_SEALS);
    int rc = filter_rule(ctx, SCMP_ACT_ALLOW, "fcntl", 1, &seals);
    /* Thread names, and the C library's names for its memory. */
    const scmp_datum_t harmless[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA};
    for (size_t i = 0; rc == 0 && i < GB_COUNT(harmless); i++) {
        struct scmp_arg_cmp arg = SCMP_A0(SCMP_CMP_EQ, harmless[i]);
        rc = filter_rule(ctx, SCMP_ACT_ALLOW, "prctl", 1, &arg);
    }
    return rc;
}

/* The one call that loads the third filter; more filters could only deny more. */
static int rules_last_filter(scmp_filter_ctx ctx) {
    struct scmp_arg_cmp args[] = {SCMP_A0(SCMP_CMP_EQ, SECCOMP_SET_MODE_FILTER),
                                  SCMP_A1(SCMP_CMP_MASKED_EQ, ~ALL_THREADS, 0)};
    return filter_rule(ctx, SCMP_ACT_ALLOW, "seccomp", GB_COUNT(args), args);
}

/* Loads and frees ctx. */
static bool filter_load(scmp_filter_ctx ctx, int rc, struct gb_error **err) {
    if (rc == 0) {
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    }
    if (rc == 0) {
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    }
    if (rc == 0) {
        rc = gb_sys(GB_SYS_JAIL, -errno, seccomp_load(ctx));
    }
    seccomp_release(ctx);
    return rc == 0 || seccomp_fail(rc, err);
}

bool gb_jail_filter_1(struct gb_error **err) {
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (ctx == NULL) {
        return seccomp_fail(ENOMEM, err);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < GB_COUNT(denied); i++) {
        rc = filter_rule(ctx, DENY, denied[i], 0, NULL);
    }
    rc = rc != 0 ? rc : rules_no_exec(ctx, false);
    rc = rc != 0 ? rc : rules_clone(ctx, false);
    rc = rc != 0 ? rc : rules_signal(ctx, false);
    rc = rc != 0 ? rc : rules_limits(ctx, false);
    return filter_load(ctx, rc, err);
}

bool gb_jail_filter_2(struct gb_error **err) {
    scmp_filter_ctx ctx = seccomp_init(DENY);
    if (ctx == NULL) {
        return seccomp_fail(ENOMEM, err);
    }
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; rc == 0 && i < GB_COUNT(allowed); i++) {
        rc = filter_rule(ctx, SCMP_ACT_ALLOW, allowed[i], 0, NULL);
    }
    rc = rc != 0 ? rc : rules_no_exec(ctx, true);
    rc = rc != 0 ? rc : rules_clone(ctx, true);
    rc = rc != 0 ? rc : rules_signal(ctx, true);
    rc = rc != 0 ? rc : rules_limits(ctx, true);
    rc = rc != 0 ? rc : rules_descriptors(ctx);
    rc = rc != 0 ? rc : rules_last_filter(ctx);
    return filter_load(ctx, rc, err);
}

bool gb_jail_filter_3(struct gb_error **err) {
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (ctx == NULL) {
        return seccomp_fail(ENOMEM, err);
    }
    /* The library would ask for no_new_privs again, which the second filter does not allow. */
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
    rc = rc != 0 ? rc : filter_rule(ctx, SCMP_ACT_ERRNO(EPERM), "clone", 0, NULL);
    rc = rc != 0 ? rc : filter_rule(ctx, DENY, "seccomp", 0, NULL);
    return filter_load(ctx, rc, err);
}
