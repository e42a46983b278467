/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock: a rule set that handles every right this kernel knows and gives back two, to read the
 * description of the CPU. What newer kernels add (TCP ports, signals and abstract sockets to
 * processes outside) is denied where it exists; the seccomp filters deny the same by another road.
 *
 * The structures are spelled here because the C library's headers may be older than the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/num.h"
#include "worker/jail.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1
#define ACCESS_FS_READ_FILE (UINT64_C(1) << 2)
#define ACCESS_FS_READ_DIR (UINT64_C(1) << 3)

struct ruleset_attr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net; /* since ABI 4 */
    uint64_t scoped;             /* since ABI 6 */
};
struct path_beneath_attr {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));

/* Rights to files by ABI version: execute … make_sym, refer, truncate, -, ioctl on devices. */
static const unsigned fs_rights[] = {0, 13, 14, 15, 15, 16};

static const struct {
    const char *path;
    uint64_t access;
} readable[] = {
    {"/proc/cpuinfo", ACCESS_FS_READ_FILE},
    {"/sys/devices/system/cpu", ACCESS_FS_READ_FILE | ACCESS_FS_READ_DIR},
};

static bool add_rule(int ruleset, const char *path, uint64_t access, struct gb_error **err) {
    int fd = gb_sys(GB_SYS_OPEN, -1, open(path, O_PATH | O_CLOEXEC));
    if (fd < 0) {
        return true; /* what is not there needs no rule */
    }
    struct path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    long rc = gb_sys(GB_SYS_JAIL, -1, syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH,
                                              &rule, 0));
    int eno = errno;
    close(fd);
    return rc == 0 ||
           gb_fail_errno(err, GB_UNSUPPORTED, eno, "Landlock refused the rule for \"%s\": %s", path,
                         strerror(eno));
}

bool gb_jail_landlock(struct gb_error **err) {
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    if (abi < 1) {
        int eno = errno;
        gb_fail_errno(err, GB_UNSUPPORTED, eno, "the kernel has no Landlock: %s", strerror(eno));
        return gb_hint(err, "Use a kernel of 5.13 or newer with Landlock switched on, or "
                            "--jail best-effort.");
    }
    size_t known = GB_MIN((size_t)abi, GB_COUNT(fs_rights) - 1);
    struct ruleset_attr attr = {
        .handled_access_fs = (UINT64_C(1) << fs_rights[known]) - 1,
        .handled_access_net = abi >= 4 ? 3 : 0,
        .scoped = abi >= 6 ? 3 : 0,
    };
    size_t attr_bytes = sizeof attr;
    if (abi < 4) {
        attr_bytes = offsetof(struct ruleset_attr, handled_access_net);
    } else if (abi < 6) {
        attr_bytes = offsetof(struct ruleset_attr, scoped);
    }
    int ruleset = (int)gb_sys(GB_SYS_JAIL, -1,
                              syscall(SYS_landlock_create_ruleset, &attr, attr_bytes, 0));
    if (ruleset < 0) {
        int eno = errno;
        return gb_fail_errno(err, GB_UNSUPPORTED, eno, "Landlock refused the rule set: %s",
                             strerror(eno));
    }
    bool ok = true;
    for (size_t i = 0; ok && i < GB_COUNT(readable); i++) {
        ok = add_rule(ruleset, readable[i].path, readable[i].access, err);
    }
    if (ok && gb_sys(GB_SYS_JAIL, -1, syscall(SYS_landlock_restrict_self, ruleset, 0)) != 0) {
        int eno = errno;
        ok = gb_fail_errno(err, GB_UNSUPPORTED, eno, "Landlock refused to close: %s",
                           strerror(eno));
    }
    close(ruleset);
    return ok;
}
