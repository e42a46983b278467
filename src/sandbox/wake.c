/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who wants to be polled. A waker may fire on any thread, any number of times, also when its call
 * or even its runner is gone: cells and the list are counted, and a closed list takes nothing.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "sandbox/sandbox_internal.h"

struct gb_wake_list *gb_wake_list_new(struct gb_error **err) {
    struct gb_wake_list *list = gb_calloc(1, sizeof *list, err);
    if (!list) {
        return NULL;
    }
    list->event_fd = gb_sys(GB_SYS_EVENTFD, -1, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (list->event_fd < 0) {
        gb_fail_errno(err, GB_IO, errno, "could not make an eventfd: %s", strerror(errno));
        gb_free(list);
        return NULL;
    }
    pthread_mutex_init(&list->lock, NULL);
    atomic_init(&list->refs, 1);
    return list;
}

static void list_unref(struct gb_wake_list *list) {
    if (atomic_fetch_sub(&list->refs, 1) == 1) {
        gb_fd_close(&list->event_fd);
        pthread_mutex_destroy(&list->lock);
        gb_free(list);
    }
}

struct gb_wake_cell *gb_wake_list_pop(struct gb_wake_list *list) {
    pthread_mutex_lock(&list->lock);
    struct gb_wake_cell *cell = list->first;
    if (cell) {
        list->first = cell->next;
        list->len--;
        cell->queued = false;
    }
    pthread_mutex_unlock(&list->lock);
    return cell;
}

/* Fails only when the counter is full, and then it is readable anyway. */
static void signal_fd(struct gb_wake_list *list) {
    uint64_t one = 1;
    ssize_t ignored = list->signalled ? 0 : write(list->event_fd, &one, sizeof one);
    (void)ignored;
    list->signalled = true;
}

size_t gb_wake_list_begin(struct gb_wake_list *list) {
    uint64_t count;
    pthread_mutex_lock(&list->lock);
    ssize_t ignored = list->signalled ? read(list->event_fd, &count, sizeof count) : 0;
    (void)ignored;
    list->signalled = false;
    list->in_round = true;
    list->stepper = pthread_self();
    size_t len = list->len;
    pthread_mutex_unlock(&list->lock);
    return len;
}

size_t gb_wake_list_len(struct gb_wake_list *list) {
    pthread_mutex_lock(&list->lock);
    size_t len = list->len;
    pthread_mutex_unlock(&list->lock);
    return len;
}

void gb_wake_list_end(struct gb_wake_list *list) {
    pthread_mutex_lock(&list->lock);
    list->in_round = list->held;
    if (list->first && !list->held) {
        signal_fd(list);
    }
    pthread_mutex_unlock(&list->lock);
}

void gb_wake_list_hold(struct gb_wake_list *list) {
    pthread_mutex_lock(&list->lock);
    list->held = list->in_round = true;
    list->stepper = pthread_self();
    pthread_mutex_unlock(&list->lock);
}

void gb_wake_list_close(struct gb_wake_list *list) {
    pthread_mutex_lock(&list->lock);
    list->closed = true;
    struct gb_wake_cell *cell = list->first;
    list->first = NULL;
    list->len = 0;
    pthread_mutex_unlock(&list->lock);
    while (cell) {
        struct gb_wake_cell *next = cell->next;
        gb_wake_cell_unref(cell);
        cell = next;
    }
    list_unref(list);
}

struct gb_wake_cell *gb_wake_cell_new(struct gb_wake_list *list, struct gb_call *call,
                                      struct gb_error **err) {
    struct gb_wake_cell *cell = gb_calloc(1, sizeof *cell, err);
    if (cell) {
        atomic_init(&cell->refs, 1);
        atomic_fetch_add(&list->refs, 1);
        cell->list = list;
        cell->call = call;
    }
    return cell;
}

void gb_wake_cell_ref(struct gb_wake_cell *cell) {
    atomic_fetch_add(&cell->refs, 1);
}

void gb_wake_cell_unref(void *user) {
    struct gb_wake_cell *cell = user;
    if (cell && atomic_fetch_sub(&cell->refs, 1) == 1) {
        gb_lanes_unref(atomic_load(&cell->lanes));
        gb_flow_unref(cell->flow);
        list_unref(cell->list);
        gb_free(cell);
    }
}

void gb_wake_cell_move(struct gb_wake_cell *cell, struct gb_lanes *lanes, struct gb_flow *flow) {
    cell->flow = gb_flow_ref(flow);
    atomic_store_explicit(&cell->lanes, gb_lanes_ref(lanes), memory_order_release);
}

void gb_wake_cell_wake(void *user) {
    struct gb_wake_cell *cell = user;
    struct gb_lanes *lanes = atomic_load_explicit(&cell->lanes, memory_order_acquire);
    if (lanes) {
        gb_lanes_wake(lanes, cell);
    } else {
        gb_wake_list_push(cell);
    }
}

void gb_wake_list_push(struct gb_wake_cell *cell) {
    struct gb_wake_list *list = cell->list;
    pthread_mutex_lock(&list->lock);
    if (!list->closed && !cell->queued) {
        bool first = !list->first;
        gb_wake_cell_ref(cell);
        cell->queued = true;
        cell->next = NULL;
        if (first) {
            list->first = cell;
        } else {
            list->last->next = cell;
        }
        list->last = cell;
        list->len++;
        /* Within its round the runner looks again by itself: no system call for its own wakes. */
        if (first && !(list->in_round && pthread_equal(list->stepper, pthread_self()))) {
            signal_fd(list);
        }
    }
    pthread_mutex_unlock(&list->lock);
}
