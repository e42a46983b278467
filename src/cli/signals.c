/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGINT and SIGTERM. They are blocked everywhere and taken by a thread that waits for them, so that
 * the work is ended in ordinary code. While the main thread polls, it is woken and cancels the calls
 * itself; while it is somewhere it cannot leave (compiling, waiting for a model to load), the signal
 * thread prints the result and leaves: the workers end when their sockets close.
 *
 * Whoever claims the output first prints; so there is one result, never two.
 */
#include "cli/cli.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cli/result.h"

static struct {
    pthread_mutex_t lock;
    bool polling;
    bool claimed;
    enum gb_interrupt_report form;
    int event_fd;
    _Atomic int caught;
    sigset_t set;
} signals = {.lock = PTHREAD_MUTEX_INITIALIZER, .event_fd = -1};

static void report(int number) {
    struct gb_error *e = NULL;
    gb_fail(&e, GB_INTERRUPTED, "%s ended the run", number == SIGINT ? "SIGINT" : "SIGTERM");
    switch (signals.form) {
    case GB_INTERRUPT_TEXT:
        gb_print_error(e);
        break;
    case GB_INTERRUPT_JSON:
        (void)gb_print_failure(e, true);
        return; /* took e */
    case GB_INTERRUPT_RUN_JSON:
        gb_result_print_json(&(struct gb_outcome){.error = e});
        break;
    }
    gb_error_free(e);
}

static void *signal_thread(void *unused) {
    (void)unused;
    for (;;) {
        int number = 0;
        if (sigwait(&signals.set, &number) != 0) {
            continue;
        }
        if (atomic_load(&signals.caught) != 0) {
            _exit(128 + number); /* asked twice: now */
        }
        pthread_mutex_lock(&signals.lock);
        atomic_store(&signals.caught, number);
        if (!signals.claimed && !signals.polling) {
            signals.claimed = true;
            report(number);
            _exit(128 + number);
        }
        pthread_mutex_unlock(&signals.lock);
        uint64_t one = 1;
        (void)!write(signals.event_fd, &one, sizeof one);
    }
    return NULL;
}

bool gb_signals_start(struct gb_error **err) {
    sigemptyset(&signals.set);
    sigaddset(&signals.set, SIGINT);
    sigaddset(&signals.set, SIGTERM);
    signals.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (signals.event_fd < 0) {
        return gb_fail(err, GB_IO, "could not create an event descriptor");
    }
    int failed = pthread_sigmask(SIG_BLOCK, &signals.set, NULL);
    pthread_t thread;
    if (failed == 0) {
        failed = pthread_create(&thread, NULL, signal_thread, NULL);
    }
    if (failed != 0) {
        return gb_fail_errno(err, GB_IO, failed, "could not start the signal thread: %s",
                             strerror(failed));
    }
    pthread_detach(thread);
    return true;
}

void gb_signals_report_as(enum gb_interrupt_report form) {
    pthread_mutex_lock(&signals.lock);
    signals.form = form;
    pthread_mutex_unlock(&signals.lock);
}

void gb_signals_set_polling(bool polling) {
    pthread_mutex_lock(&signals.lock);
    signals.polling = polling;
    pthread_mutex_unlock(&signals.lock);
}

int gb_signals_fd(void) {
    return signals.event_fd;
}

int gb_signals_caught(void) {
    return atomic_load(&signals.caught);
}

/* Where the signal thread holds the output, it also holds the lock until the process is gone. */
void gb_signals_claim_output(void) {
    pthread_mutex_lock(&signals.lock);
    signals.claimed = true;
    pthread_mutex_unlock(&signals.lock);
}
