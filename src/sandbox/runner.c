/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the calls of one thread: one round polls each call that is ready once, in the order in which
 * they became ready, so that several spinning guests share the thread evenly. Calls past their
 * deadline go first, whatever the length of the round.
 *
 * With lanes, a call that has used up its slice here is polled there; it stays in the list of its
 * runner, which keeps its deadline, and comes back to be finished.
 *
 * One epoll descriptor: the list of wake-ups, a timer for the nearest deadline, and the registry's
 * completions. Threads: its owner's; wakers come from any.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "sandbox/sandbox_internal.h"

#define INLINE_SLICE_US 1000u

struct gb_runner {
    struct gb_sandbox *sandbox;
    struct gb_registry *registry; /* may be NULL */
    struct gb_wake_list *wakes;
    int epoll_fd;
    int timer_fd;
    uint64_t nearest_us; /* no call's deadline is earlier; GB_NEVER */
    uint64_t armed_us;   /* the timer fires then; GB_NEVER: it does not */
    struct gb_call *calls;
    size_t calls_len;
    struct gb_lanes *lanes; /* NULL: every call stays here */
};

static bool watch(struct gb_runner *r, int fd, struct gb_error **err) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    return gb_sys(GB_SYS_EPOLL_ADD, -1, epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &event)) == 0 ||
           gb_fail_errno(err, GB_IO, errno, "could not watch a descriptor: %s", strerror(errno));
}

static bool runner_open(struct gb_runner *r, struct gb_error **err) {
    r->epoll_fd = gb_sys(GB_SYS_EPOLL, -1, epoll_create1(EPOLL_CLOEXEC));
    if (r->epoll_fd < 0) {
        return gb_fail_errno(err, GB_IO, errno, "could not make an epoll descriptor: %s",
                             strerror(errno));
    }
    r->timer_fd = gb_sys(GB_SYS_TIMERFD, -1,
                         timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (r->timer_fd < 0) {
        return gb_fail_errno(err, GB_IO, errno, "could not make a timer: %s", strerror(errno));
    }
    r->wakes = gb_wake_list_new(err);
    return r->wakes && watch(r, r->wakes->event_fd, err) && watch(r, r->timer_fd, err) &&
           (!r->registry || watch(r, gb_registry_event_fd(r->registry), err));
}

struct gb_runner *gb_runner_new(struct gb_sandbox *s, struct gb_registry *registry,
                                struct gb_error **err) {
    struct gb_runner *r = gb_calloc(1, sizeof *r, err);
    if (!r) {
        return NULL;
    }
    r->sandbox = s;
    r->registry = registry;
    r->epoll_fd = r->timer_fd = -1;
    r->nearest_us = r->armed_us = GB_NEVER;
    if (!runner_open(r, err)) {
        gb_runner_free(r);
        return NULL;
    }
    return r;
}

/* ---- the timer ---- */

static void timer_arm(struct gb_runner *r) {
    /* An earlier shot than needed is harmless, and saves a system call for each call. */
    if (r->nearest_us == GB_NEVER || r->nearest_us >= r->armed_us) {
        return;
    }
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(r->nearest_us / 1000000),
                     .tv_nsec = (long)(r->nearest_us % 1000000) * 1000},
    };
    if (timerfd_settime(r->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0) {
        r->armed_us = r->nearest_us;
    }
}

static void timer_read(struct gb_runner *r) {
    uint64_t shots;
    if (read(r->timer_fd, &shots, sizeof shots) == (ssize_t)sizeof shots) {
        r->armed_us = GB_NEVER;
    }
}

/* ---- calls ---- */

struct gb_call *gb_runner_call(struct gb_runner *r, const struct gb_call_spec *spec,
                               struct gb_error **err) {
    struct gb_call *c = gb_call_new(r, r->sandbox, r->wakes, spec, err);
    if (!c) {
        return NULL;
    }
    c->next = r->calls;
    if (c->next) {
        c->next->prev = c;
    }
    r->calls = c;
    r->calls_len++;
    r->nearest_us = GB_MIN(r->nearest_us, c->deadline_us);
    timer_arm(r);
    gb_ticker_enter(&r->sandbox->ticker);
    gb_wake_cell_wake(c->cell);
    return c;
}

void gb_runner_use_lanes(struct gb_runner *r, struct gb_lanes *lanes) {
    r->lanes = lanes;
}

static bool on_lane(const struct gb_call *c) {
    return atomic_load_explicit(&c->cell->lanes, memory_order_relaxed) != NULL;
}

void gb_call_cancel(struct gb_call *c, enum gb_code code) {
    uint32_t none = GB_OK;
    (void)atomic_compare_exchange_strong(&c->asked, &none, (uint32_t)code);
    atomic_store(&c->cell->urgent, true);
    gb_wake_cell_wake(c->cell);
}

void gb_call_wake(struct gb_call *c) {
    gb_wake_cell_wake(c->cell);
}

struct gb_wake_cell *gb_call_waker_ref(struct gb_call *c) {
    gb_wake_cell_ref(c->cell);
    return c->cell;
}

void gb_call_waker_wake(struct gb_wake_cell *w) {
    gb_wake_cell_wake(w);
}

void gb_call_waker_unref(struct gb_wake_cell *w) {
    gb_wake_cell_unref(w);
}

/* Takes the call out, frees it, and hands over the result: in this order, so that a new call from
 * within `done` finds its predecessor's charges and slot given back. */
static void finish(struct gb_runner *r, struct gb_call *c, struct gb_call_result *result) {
    *(c->prev ? &c->prev->next : &r->calls) = c->next;
    if (c->next) {
        c->next->prev = c->prev;
    }
    r->calls_len--;
    gb_ticker_leave(&r->sandbox->ticker);
    void (*done)(void *, struct gb_call_result *) = c->spec.done;
    void *user = c->spec.user;
    gb_call_free(c);
    done(user, result);
}

static void poll_call(struct gb_runner *r, struct gb_call *c) {
    struct gb_call_result result;
    uint64_t start_us = gb_now_us();
    if (gb_call_poll(c, &result)) {
        finish(r, c, &result);
        return;
    }
    c->ran_us += gb_now_us() - start_us;
    if (r->lanes && c->spec.flow && c->ran_us >= GB_SLICE_US) {
        gb_wake_cell_move(c->cell, r->lanes, c->spec.flow);
        gb_wake_cell_wake(c->cell); /* a wake may have gone to the list just before */
    }
}

/* A call that was woken: here, or back from a lane with its result. */
static void serve_call(struct gb_runner *r, struct gb_call *c) {
    if (!on_lane(c)) {
        poll_call(r, c);
    } else if (atomic_load_explicit(&c->finished, memory_order_acquire)) {
        struct gb_call_result result = c->result;
        finish(r, c, &result);
    } else {
        gb_call_wake(c); /* the waker chose this list just before the call moved */
    }
}

/* Past its deadline a poll always ends a call. */
static void end_call(struct gb_runner *r, struct gb_call *c) {
    if (on_lane(c)) {
        c->told = true;
        gb_call_cancel(c, GB_DEADLINE_EXCEEDED);
    } else {
        poll_call(r, c);
    }
}

/* Ends what is past its deadline. A call that only now reached it gets its last poll here. */
static void end_overdue(struct gb_runner *r) {
    while (r->nearest_us != GB_NEVER && gb_now_us() >= r->nearest_us) {
        uint64_t nearest = GB_NEVER;
        struct gb_call *overdue = NULL;
        uint64_t now = gb_now_us();
        for (struct gb_call *c = r->calls; c; c = c->next) {
            if (c->told) {
                continue;
            }
            if (!overdue && now >= c->deadline_us) {
                overdue = c;
            } else {
                nearest = GB_MIN(nearest, c->deadline_us);
            }
        }
        r->nearest_us = nearest;
        if (overdue) {
            end_call(r, overdue);
        }
    }
}

/* Polls the calls that are ready now, each once. */
static void poll_ready(struct gb_runner *r, size_t ready) {
    for (size_t i = 0; i < ready; i++) {
        struct gb_wake_cell *cell = gb_wake_list_pop(r->wakes);
        if (!cell) {
            break;
        }
        if (cell->call) {
            serve_call(r, cell->call);
        }
        gb_wake_cell_unref(cell);
        end_overdue(r);
    }
}

/* Inline inferences run between two polls of their calls, on this thread's own stack and without a
 * system call, for about a tick; what then still waits rings the registry's descriptor. */
static void run_round(struct gb_runner *r) {
    uint64_t until_us = gb_deadline_after_us(INLINE_SLICE_US);
    size_t ready = gb_wake_list_begin(r->wakes);
    if (r->registry) {
        gb_registry_stepping(r->registry, true);
    }
    end_overdue(r);
    poll_ready(r, ready);
    while (r->registry && gb_now_us() < until_us && gb_registry_run_inline(r->registry)) {
        poll_ready(r, gb_wake_list_len(r->wakes));
    }
    if (r->registry) {
        gb_registry_stepping(r->registry, false);
    }
    gb_wake_list_end(r->wakes);
    gb_sandbox_settle_kept(r->sandbox);
}

size_t gb_runner_step(struct gb_runner *r, int wait_ms) {
    struct epoll_event events[4];
    int n = epoll_wait(r->epoll_fd, events, (int)GB_COUNT(events), r->calls_len ? wait_ms : 0);
    for (int i = 0; i < n; i++) {
        if (events[i].data.fd == r->timer_fd) {
            timer_read(r);
        }
    }
    if (r->registry) {
        gb_registry_drain(r->registry);
    }
    run_round(r);
    timer_arm(r);
    return r->calls_len;
}

void gb_runner_hold(struct gb_runner *r) {
    gb_wake_list_hold(r->wakes);
}

bool gb_runner_turn(struct gb_runner *r) {
    run_round(r);
    timer_arm(r);
    return gb_wake_list_len(r->wakes) > 0;
}

int gb_runner_fd(const struct gb_runner *r) {
    return r->epoll_fd;
}

void gb_runner_free(struct gb_runner *r) {
    if (!r) {
        return;
    }
    while (r->calls) {
        struct gb_call *c = r->calls;
        struct gb_call_result result;
        if (atomic_load_explicit(&c->finished, memory_order_acquire)) {
            result = c->result;
        } else {
            if (c->ending == GB_OK) {
                c->ending = GB_CANCELLED;
            }
            gb_call_drop(c, &result);
        }
        finish(r, c, &result);
    }
    if (r->wakes) {
        gb_wake_list_close(r->wakes);
    }
    gb_fd_close(&r->timer_fd);
    gb_fd_close(&r->epoll_fd);
    gb_free(r);
}
