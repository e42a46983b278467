/* SPDX-License-Identifier: Apache-2.0 */
/* Two buffers that change places: one is filled while the other is written. */
#include "obs/lines.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"

#define BYTES_MAX ((size_t)256 * 1024)
#define PAUSE_US 5000u /* between two writes, so that a write carries many lines */
#define LOOK_MS 100
#define LAST_LOOKS 2     /* after the end was asked for */
#define WRITE_BYTES 4096u /* what a pipe that is writable takes without blocking */

struct gb_lines {
    struct gb_lines_options options;
    pthread_t thread;
    bool started;
    _Atomic bool stop;
    pthread_mutex_t lock; /* the fields below, but `writing` */
    pthread_cond_t wanted;
    bool waits;
    struct gb_lines_totals totals;
    size_t len, lines;
    uint8_t *filling, *writing;
};

static void wait_until(struct gb_lines *l, uint64_t until_us) {
    struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                             .tv_nsec = (long)(until_us % 1000000) * 1000};
    l->waits = true;
    (void)pthread_cond_timedwait(&l->wanted, &l->lock, &until);
    l->waits = false;
}

/* Takes what has gathered; under the lock. */
static size_t swap(struct gb_lines *l) {
    uint8_t *full = l->filling;
    size_t len = l->len;
    l->filling = l->writing;
    l->writing = full;
    l->totals.written += l->lines;
    l->len = l->lines = 0;
    return len;
}

/* Never blocks for longer than a look, once the end was asked for. */
static void write_out(struct gb_lines *l, size_t len) {
    size_t at = 0;
    for (int late = 0; at < len && late < LAST_LOOKS;) {
        struct pollfd p = {.fd = l->options.fd, .events = POLLOUT};
        if (poll(&p, 1, LOOK_MS) <= 0) {
            late += atomic_load(&l->stop) ? 1 : 0;
            continue;
        }
        size_t n = GB_MIN(len - at, (size_t)WRITE_BYTES);
        if (!gb_write_all(l->options.fd, l->writing + at, n, NULL)) {
            return;
        }
        at += n;
    }
}

static void *lines_main(void *user) {
    struct gb_lines *l = user;
    uint64_t tick_us = l->options.tick_us ? gb_deadline_after_us(l->options.tick_us) : GB_NEVER;
    pthread_mutex_lock(&l->lock);
    while (!atomic_load(&l->stop)) {
        uint64_t now_us = gb_now_us();
        if (now_us >= tick_us) {
            tick_us += l->options.tick_us;
            pthread_mutex_unlock(&l->lock);
            l->options.tick(l->options.user);
            pthread_mutex_lock(&l->lock);
        } else if (l->len == 0) {
            wait_until(l, GB_MIN(tick_us, now_us + 1000000));
        } else {
            wait_until(l, now_us + PAUSE_US); /* it gathers; nobody wakes us for more */
            size_t len = swap(l);
            pthread_mutex_unlock(&l->lock);
            write_out(l, len);
            pthread_mutex_lock(&l->lock);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static bool start(struct gb_lines *l, struct gb_error **err) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wanted, &attributes);
    pthread_condattr_destroy(&attributes);
    int eno = gb_sys(GB_SYS_THREAD, errno, pthread_create(&l->thread, NULL, lines_main, l));
    l->started = eno == 0;
    if (!l->started) {
        return gb_fail_errno(err, GB_INTERNAL, eno, "could not start the log's thread: %s",
                             strerror(eno));
    }
    pthread_setname_np(l->thread, "gb-log");
    return true;
}

struct gb_lines *gb_lines_new(const struct gb_lines_options *options, struct gb_error **err) {
    struct gb_lines *l = gb_calloc(1, sizeof *l, err);
    if (!l) {
        return NULL;
    }
    l->options = *options;
    l->options.bytes_max = options->bytes_max ? options->bytes_max : BYTES_MAX;
    l->filling = gb_alloc(l->options.bytes_max, err);
    l->writing = l->filling ? gb_alloc(l->options.bytes_max, err) : NULL;
    if (!l->writing || !start(l, err)) {
        gb_free(l->filling);
        gb_free(l->writing);
        gb_free(l);
        return NULL;
    }
    return l;
}

void gb_lines_stop(struct gb_lines *l) {
    pthread_mutex_lock(&l->lock);
    atomic_store(&l->stop, true);
    pthread_cond_signal(&l->wanted);
    pthread_mutex_unlock(&l->lock);
    if (l->started) {
        pthread_join(l->thread, NULL);
        l->started = false;
    }
}

void gb_lines_free(struct gb_lines *l) {
    if (!l) {
        return;
    }
    gb_lines_stop(l);
    write_out(l, swap(l));
    pthread_cond_destroy(&l->wanted);
    pthread_mutex_destroy(&l->lock);
    gb_free(l->filling);
    gb_free(l->writing);
    gb_free(l);
}

void gb_lines_put(struct gb_lines *l, struct gb_span line) {
    pthread_mutex_lock(&l->lock);
    if (line.len > l->options.bytes_max - l->len) {
        l->totals.dropped++;
    } else {
        memcpy(l->filling + l->len, line.ptr, line.len);
        bool first = l->len == 0;
        l->len += line.len;
        l->lines++;
        if (first && l->waits) {
            pthread_cond_signal(&l->wanted);
        }
    }
    pthread_mutex_unlock(&l->lock);
}

struct gb_lines_totals gb_lines_totals(struct gb_lines *l) {
    pthread_mutex_lock(&l->lock);
    struct gb_lines_totals totals = l->totals;
    pthread_mutex_unlock(&l->lock);
    return totals;
}
