/* SPDX-License-Identifier: Apache-2.0 */
/* Counts system calls while armed, and fails those that were asked for. */
#include "base/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

_Atomic bool gb_fault_armed;

static _Atomic uint64_t made;
static _Atomic uint64_t hits;
static _Atomic uint64_t first_failing;
static _Atomic bool all_after;
static _Atomic int only_kind = -1;

static const struct {
    const char *text;
    int eno;
} kinds[GB_SYS_COUNT] = {
    [GB_SYS_OPEN] = {"open", EMFILE},
    [GB_SYS_STAT] = {"stat", EIO},
    [GB_SYS_READ] = {"read", EIO},
    [GB_SYS_WRITE] = {"write", ENOSPC},
    [GB_SYS_MMAP] = {"mmap", ENOMEM},
    [GB_SYS_MEMFD] = {"memfd", EMFILE},
    [GB_SYS_TRUNCATE] = {"truncate", ENOSPC},
    [GB_SYS_SEAL] = {"seal", EBUSY},
    [GB_SYS_FCNTL] = {"fcntl", EMFILE},
    [GB_SYS_SOCKETPAIR] = {"socketpair", EMFILE},
    [GB_SYS_EVENTFD] = {"eventfd", EMFILE},
    [GB_SYS_EPOLL] = {"epoll", EMFILE},
    [GB_SYS_EPOLL_ADD] = {"epoll-add", ENOMEM},
    [GB_SYS_TIMERFD] = {"timerfd", EMFILE},
    [GB_SYS_PIDFD] = {"pidfd", EMFILE},
    [GB_SYS_THREAD] = {"thread", EAGAIN},
    [GB_SYS_SPAWN] = {"spawn", ENOMEM},
    [GB_SYS_SEND] = {"send", ENOBUFS},
    [GB_SYS_RECV] = {"recv", ENOMEM},
    [GB_SYS_MADVISE] = {"madvise", ENOMEM},
    [GB_SYS_RANDOM] = {"random", ENOSYS},
    [GB_SYS_JAIL] = {"jail", EPERM},
    [GB_SYS_MKDIR] = {"mkdir", ENOSPC},
    [GB_SYS_SYNC] = {"sync", EIO},
    [GB_SYS_RENAME] = {"rename", EIO},
};

bool gb_fault_sys_now(enum gb_sys kind) {
    int only = atomic_load(&only_kind);
    if (only >= 0 && only != (int)kind) {
        return false;
    }
    uint64_t number = atomic_fetch_add(&made, 1) + 1;
    uint64_t first = atomic_load(&first_failing);
    bool fails = first != 0 && (number == first || (number > first && atomic_load(&all_after)));
    if (fails) {
        atomic_fetch_add(&hits, 1);
        errno = kinds[kind].eno;
    }
    return fails;
}

static void arm(int only, uint64_t nth, bool persistent) {
    atomic_store(&gb_fault_armed, false);
    atomic_store(&made, 0);
    atomic_store(&hits, 0);
    atomic_store(&only_kind, only);
    atomic_store(&first_failing, nth);
    atomic_store(&all_after, persistent);
    atomic_store(&gb_fault_armed, nth != 0);
}

void gb_fault_sys_at(uint64_t nth, bool persistent) {
    arm(-1, nth, persistent);
}

void gb_fault_sys_kind_at(enum gb_sys kind, uint64_t nth, bool persistent) {
    arm((int)kind, nth, persistent);
}

uint64_t gb_fault_sys_hits(void) {
    return atomic_load(&hits);
}

bool gb_fault_arm(const char *text) {
    const char *colon = strchr(text, ':');
    if (!colon || colon[1] < '0' || colon[1] > '9') {
        return false;
    }
    char *end = NULL;
    uint64_t nth = strtoull(colon + 1, &end, 10);
    bool persistent = *end == '+';
    size_t len = (size_t)(colon - text);
    if (nth == 0 || end[persistent] != '\0') {
        return false;
    }
    if (len == 5 && memcmp(text, "alloc", len) == 0) {
        (persistent ? gb_alloc_fail_from : gb_alloc_fail_at)(nth);
        return true;
    }
    if (len == 3 && memcmp(text, "sys", len) == 0) {
        gb_fault_sys_at(nth, persistent);
        return true;
    }
    for (int kind = 0; kind < GB_SYS_COUNT; kind++) {
        if (strlen(kinds[kind].text) == len && memcmp(text, kinds[kind].text, len) == 0) {
            gb_fault_sys_kind_at((enum gb_sys)kind, nth, persistent);
            return true;
        }
    }
    return false;
}
