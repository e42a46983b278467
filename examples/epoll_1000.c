/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 1,000 calls on one thread, in an epoll loop of the embedder's own that has other things to watch
 * (a timer, here): epoll_1000 PROGRAM [ARGUMENT]. At most 100 calls are in flight at once.
 */
#include <glovebox/glovebox.h>
#include <glovebox/value.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define CALLS 1000
#define IN_FLIGHT 100

struct loop {
    struct gb_host *host;
    struct gb_guest *guest;
    const char *argument;
    unsigned started, ended, ok;
    unsigned ticks;
};

static void done(void *user, struct gb_result *result) {
    struct loop *l = user;
    l->ended++;
    l->ok += gb_result_error(result) ? 0 : 1;
    gb_result_free(result);
}

static bool fill(struct loop *l, struct gb_error **err) {
    struct gb_call_options call = {.size = sizeof call,
                                   .argument = l->argument,
                                   .argument_bytes = strlen(l->argument),
                                   .done = done,
                                   .user = l};
    while (l->started < CALLS && l->started - l->ended < IN_FLIGHT) {
        if (!gb_guest_call(l->guest, &call, err)) {
            return false;
        }
        l->started++;
    }
    return true;
}

static bool watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool loop_run(struct loop *l, struct gb_error **err) {
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct itimerspec every = {.it_interval.tv_nsec = 10000000, .it_value.tv_nsec = 10000000};
    bool ok = epoll >= 0 && timer >= 0 && timerfd_settime(timer, 0, &every, NULL) == 0 &&
              watch(epoll, gb_host_fd(l->host)) && watch(epoll, timer);
    if (!ok) {
        (void)gb_error_make(err, "io", "could not make the loop's descriptors");
    }
    while (ok && l->ended < CALLS) {
        ok = fill(l, err);
        struct epoll_event events[2];
        int n = ok ? epoll_wait(epoll, events, 2, -1) : 0;
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == timer) {
                uint64_t times;
                l->ticks += read(timer, &times, sizeof times) == sizeof times ? 1 : 0;
            } else {
                gb_host_step(l->host, 0); /* never waits: the loop does */
            }
        }
    }
    close(timer);
    close(epoll);
    return ok;
}

int main(int argc, char **argv) {
    struct gb_error *e = NULL;
    struct loop l = {.argument = argc > 2 ? argv[2] : ""};
    struct gb_host_options options;
    gb_host_options_default(&options);
    options.calls_max = IN_FLIGHT;
    l.host = gb_host_new(&options, &e);
    l.guest = l.host ? gb_guest_load_file(l.host, argc > 1 ? argv[1] : "", NULL, NULL, &e) : NULL;
    if (l.guest && loop_run(&l, &e)) {
        printf("%u calls, %u ok\n", l.ended, l.ok);
    } else {
        fprintf(stderr, "error: %s: %s\n", gb_error_code(e), gb_error_message(e));
    }
    int status = gb_error_exit_status(e);
    gb_error_free(e);
    if (l.host && l.started > l.ended) {
        gb_host_cancel_all(l.host, false);
        while (gb_host_step(l.host, -1) > 0) {
        }
    }
    gb_guest_free(l.guest);
    gb_host_free(l.host);
    return status ? status : l.ok == CALLS ? 0 : 1;
}
