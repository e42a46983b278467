/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of the walls, and those that are one system call each.
 *
 * Not done: RLIMIT_NPROC, because the kernel counts per user and would stop our own threads on a
 * busy machine; the filters allow threads and nothing else, and stage 3 no further ones.
 */
#include "worker/jail.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/num.h"

/* Four standing descriptors, three of /dev/null, the model's, and what the engine's start opens. */
#define NOFILE_MAX 64

static bool errno_fail(struct gb_error **err, const char *what) {
    int eno = errno;
    return gb_fail_errno(err, GB_UNSUPPORTED, eno, "%s: %s", what, strerror(eno));
}

static bool no_new_privs(struct gb_error **err) {
    if (gb_sys(GB_SYS_JAIL, -1, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) != 0) {
        return errno_fail(err, "privileges could not be given up");
    }
    /* Started by root: the rights of root go too. Dropping fails past the last capability, and for
     * everybody who has none to drop. */
    for (unsigned long cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) {
            break;
        }
    }
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
    memset(none, 0, sizeof none);
    if (gb_sys(GB_SYS_JAIL, -1, syscall(SYS_capset, &header, none)) != 0) {
        return errno_fail(err, "capabilities could not be given up");
    }
    return true;
}

static bool set_limits(const struct gb_jail *jail, struct gb_error **err) {
    const struct {
        __rlimit_resource_t resource;
        rlim_t value;
    } limits[] = {
        {RLIMIT_CORE, 0},   {RLIMIT_FSIZE, 0},      {RLIMIT_MEMLOCK, 0},
        {RLIMIT_MSGQUEUE, 0}, {RLIMIT_NOFILE, NOFILE_MAX}, {RLIMIT_AS, (rlim_t)jail->as_bytes},
        {RLIMIT_DATA, jail->data_bytes ? (rlim_t)jail->data_bytes : RLIM_INFINITY},
    };
    for (size_t i = 0; i < GB_COUNT(limits); i++) {
        struct rlimit old;
        if (gb_sys(GB_SYS_JAIL, -1, getrlimit(limits[i].resource, &old)) != 0) {
            return errno_fail(err, "a resource limit could not be read");
        }
        rlim_t value = GB_MIN(limits[i].value, old.rlim_max);
        struct rlimit limit = {.rlim_cur = value, .rlim_max = value};
        if (gb_sys(GB_SYS_JAIL, -1, setrlimit(limits[i].resource, &limit)) != 0) {
            return errno_fail(err, "a resource limit could not be set");
        }
    }
    return true;
}

/* A core holds prompts; and who may not dump us may not ptrace us either. */
static bool not_dumpable(struct gb_error **err) {
    return gb_sys(GB_SYS_JAIL, -1, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)) == 0 ||
           errno_fail(err, "memory dumps could not be switched off");
}

/* A wall that does not stand: an error under strict, a bit otherwise. */
static bool missing(struct gb_jail *jail, enum gb_wall wall, struct gb_error *why,
                    struct gb_error **err) {
    if (jail->mode != GB_JAIL_BEST_EFFORT) {
        return gb_error_move(err, why);
    }
    gb_error_free(why);
    jail->missing_walls |= (uint32_t)wall;
    return true;
}

bool gb_jail_stage_1(struct gb_jail *jail, struct gb_error **err) {
    struct gb_error *why = NULL;
    if (gb_sys(GB_SYS_JAIL, -1, chdir("/")) != 0) {
        return errno_fail(err, "the working directory could not be left");
    }
    if (!set_limits(jail, &why) && !missing(jail, GB_WALL_RLIMITS, why, err)) {
        return false;
    }
    why = NULL;
    if (!no_new_privs(&why) && !missing(jail, GB_WALL_NO_NEW_PRIVS, why, err)) {
        return false;
    }
    why = NULL;
    if (!not_dumpable(&why) && !missing(jail, GB_WALL_DUMPABLE, why, err)) {
        return false;
    }
    why = NULL;
    if (!gb_jail_landlock(&why) && !missing(jail, GB_WALL_LANDLOCK, why, err)) {
        return false;
    }
    why = NULL;
    return gb_jail_filter_1(&why) || missing(jail, GB_WALL_SECCOMP, why, err);
}

bool gb_jail_stage_2(struct gb_jail *jail, struct gb_error **err) {
    struct gb_error *why = NULL;
    return gb_jail_filter_2(&why) || missing(jail, GB_WALL_SECCOMP, why, err);
}

bool gb_jail_stage_3(const struct gb_jail *jail, struct gb_error **err) {
    /* A kernel that took the second filter takes this one: there is nothing left to be missing. */
    return (jail->missing_walls & GB_WALL_SECCOMP) != 0 || gb_jail_filter_3(err);
}
