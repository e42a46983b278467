/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGINT and SIGTERM. They are blocked everywhere and taken by a thread that waits for them, so
 * that the work is ended in ordinary code. While the main thread polls, it is woken and cancels the
 * calls itself; while it is somewhere it cannot leave (compiling, waiting for a model to load), the
 * signal thread prints the result, ends the workers and leaves.
 *
 * Whoever claims the output first prints; so there is one result, never two.
 */
#include "cli/cli.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/result.h"

#define LEAVE_ROUNDS 50
#define LEAVE_ROUND_MS 4

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

/* ---- leaving at once ---- */

/* Kills what one task's list of children names; returns how many there were. */
static size_t kill_children_in(const char *path) {
    FILE *file = fopen(path, "re");
    if (!file) {
        return 0;
    }
    size_t found = 0;
    int pid;
    while (fscanf(file, "%d", &pid) == 1) {
        found += pid > 1 && kill(pid, SIGKILL) == 0 ? 1 : 0;
    }
    fclose(file);
    return found;
}

static size_t kill_children(void) {
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks) {
        return 0;
    }
    size_t found = 0;
    for (struct dirent *task = readdir(tasks); task; task = readdir(tasks)) {
        char path[sizeof "/proc/self/task//children" + sizeof task->d_name];
        snprintf(path, sizeof path, "/proc/self/task/%s/children", task->d_name);
        found += kill_children_in(path);
    }
    closedir(tasks);
    return found;
}

/* A worker ends by itself when its socket closes, but not while it is inside its engine; so those
 * that are there are killed and waited for. Some may be reaped by the host's supervisor instead,
 * and one may be started again meanwhile: hence a few rounds. */
void gb_signals_leave(int status) {
    for (int round = 0; round < LEAVE_ROUNDS && kill_children() > 0; round++) {
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
        (void)poll(NULL, 0, LEAVE_ROUND_MS);
    }
    _exit(status);
}

static void *signal_thread(void *unused) {
    (void)unused;
    for (;;) {
        int number = 0;
        if (sigwait(&signals.set, &number) != 0) {
            continue;
        }
        if (atomic_load(&signals.caught) != 0) {
            gb_signals_leave(128 + number); /* asked twice: now */
        }
        pthread_mutex_lock(&signals.lock);
        atomic_store(&signals.caught, number);
        if (!signals.claimed && !signals.polling) {
            signals.claimed = true;
            report(number);
            gb_signals_leave(128 + number);
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
