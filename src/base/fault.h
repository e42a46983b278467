/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults on demand: the N-th allocation, or the N-th system call of our own C, fails - once, or
 * from then on. It is compiled into every build, so that what is tested is what ships; unused, it
 * costs one relaxed load for each call.
 *
 * Not here: writes to an eventfd, reads of a timer, and waits. The kernel fails these only where
 * nothing is lost (EAGAIN: the other side has a wake-up already), so a failure would test nothing.
 * Threads: any; the numbering is over all threads.
 */
#ifndef GB_BASE_FAULT_H
#define GB_BASE_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What kind of call it is, and with that the errno it fails with. */
enum gb_sys {
    GB_SYS_OPEN,       /* EMFILE; directories too */
    GB_SYS_STAT,       /* EIO */
    GB_SYS_READ,       /* EIO */
    GB_SYS_WRITE,      /* ENOSPC */
    GB_SYS_MMAP,       /* ENOMEM */
    GB_SYS_MEMFD,      /* EMFILE */
    GB_SYS_TRUNCATE,   /* ENOSPC */
    GB_SYS_SEAL,       /* EBUSY */
    GB_SYS_FCNTL,      /* EMFILE */
    GB_SYS_SOCKETPAIR, /* EMFILE */
    GB_SYS_EVENTFD,    /* EMFILE */
    GB_SYS_EPOLL,      /* EMFILE */
    GB_SYS_EPOLL_ADD,  /* ENOMEM */
    GB_SYS_TIMERFD,    /* EMFILE */
    GB_SYS_PIDFD,      /* EMFILE */
    GB_SYS_THREAD,     /* EAGAIN */
    GB_SYS_SPAWN,      /* ENOMEM */
    GB_SYS_SEND,       /* ENOBUFS */
    GB_SYS_RECV,       /* ENOMEM */
    GB_SYS_MADVISE,    /* ENOMEM */
    GB_SYS_RANDOM,     /* ENOSYS */
    GB_SYS_JAIL,       /* EPERM: a limit, a rule or a filter of the jail */
    GB_SYS_MKDIR,      /* ENOSPC */
    GB_SYS_SYNC,       /* EIO */
    GB_SYS_RENAME,     /* EIO; a change of mode, too */
    GB_SYS_COUNT
};

extern _Atomic bool gb_fault_armed;
bool gb_fault_sys_now(enum gb_sys kind);

/* gb_sys(GB_SYS_OPEN, -1, open(path, flags)): the call, or `failed` with errno set. `failed` may
 * be errno itself, for functions that return it. */
#define gb_sys(kind, failed, call)                                                                 \
    (atomic_load_explicit(&gb_fault_armed, memory_order_relaxed) && gb_fault_sys_now(kind)         \
         ? (failed)                                                                                \
         : (call))

/* Fails the n-th system call from now on (1 = the next), and with `persistent` all after it;
 * n = 0: none. Only while armed are calls counted. */
void gb_fault_sys_at(uint64_t nth, bool persistent);
/* As gb_fault_sys_at, for calls of one kind. */
void gb_fault_sys_kind_at(enum gb_sys kind, uint64_t nth, bool persistent);
/* How many calls have failed on demand since it was last armed. */
uint64_t gb_fault_sys_hits(void);

/* Arms one fault from a text: "alloc:5", "alloc:5+" (and all after it), "sys:3", "mmap:1+".
 * false: no such text. For test programs, which get it from a variable or an option. */
bool gb_fault_arm(const char *text);

#endif
