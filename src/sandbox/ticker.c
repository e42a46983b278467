/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Advances the epochs of all engines every millisecond while calls run, so that guests come up for
 * air. Parks when nothing has run for a while: an idle host makes no wake-ups, and a host that runs
 * one short call after the other does not pay for waking this thread each time.
 *
 * Threads: its own; enter and leave from any. Errors: only starting the thread can fail.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "sandbox/sandbox_internal.h"

#define TICK_NS 1000000L
#define LINGER_TICKS 200u

static void add_ns(struct timespec *t, long ns) {
    t->tv_nsec += ns;
    if (t->tv_nsec >= 1000000000L) {
        t->tv_nsec -= 1000000000L;
        t->tv_sec++;
    }
}

static bool is_late(const struct timespec *next) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > next->tv_sec + 1 ||
           (now.tv_sec - next->tv_sec) * 1000000000L + (now.tv_nsec - next->tv_nsec) > 10 * TICK_NS;
}

static void tick_while_wanted(struct gb_ticker *t) {
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (uint32_t idle = 0; idle < LINGER_TICKS && !atomic_load(&t->stop);) {
        add_ns(&next, TICK_NS);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR) {
        }
        if (is_late(&next)) {
            clock_gettime(CLOCK_MONOTONIC, &next); /* no burst of ticks after a stall */
        }
        if (atomic_load(&t->calls) == 0) {
            idle++;
            continue;
        }
        idle = 0;
        for (size_t i = 0; i < GB_ENGINE_COUNT; i++) {
            const struct gbw_engine *e = atomic_load(&t->engines[i]);
            if (e) {
                gbw_engine_tick(e);
            }
        }
    }
}

static void *ticker_main(void *user) {
    struct gb_ticker *t = user;
    pthread_mutex_lock(&t->lock);
    while (!atomic_load(&t->stop)) {
        atomic_store(&t->parked, true);
        while (atomic_load(&t->calls) == 0 && !atomic_load(&t->stop)) {
            pthread_cond_wait(&t->wanted, &t->lock);
        }
        atomic_store(&t->parked, false);
        pthread_mutex_unlock(&t->lock);
        tick_while_wanted(t);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

bool gb_ticker_init(struct gb_ticker *t, struct gb_error **err) {
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wanted, NULL);
    int eno = gb_sys(GB_SYS_THREAD, errno, pthread_create(&t->thread, NULL, ticker_main, t));
    if (eno != 0) {
        pthread_cond_destroy(&t->wanted);
        pthread_mutex_destroy(&t->lock);
        return gb_fail_errno(err, GB_INTERNAL, eno, "could not start the thread that ticks: %s",
                             strerror(eno));
    }
    pthread_setname_np(t->thread, "gb-ticker");
    atomic_store(&t->started, true);
    return true;
}

void gb_ticker_fini(struct gb_ticker *t) {
    if (!atomic_load(&t->started)) {
        return;
    }
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->stop, true);
    pthread_cond_signal(&t->wanted);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->wanted);
    pthread_mutex_destroy(&t->lock);
}

void gb_ticker_enter(struct gb_ticker *t) {
    atomic_fetch_add(&t->calls, 1);
    if (atomic_load(&t->parked)) {
        pthread_mutex_lock(&t->lock);
        pthread_cond_signal(&t->wanted);
        pthread_mutex_unlock(&t->lock);
    }
}

void gb_ticker_leave(struct gb_ticker *t) {
    atomic_fetch_sub(&t->calls, 1);
}

bool gb_ticker_is_parked(struct gb_ticker *t) {
    return atomic_load(&t->parked);
}
