/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU lanes: threads for the calls that need longer than a slice of their runner, so that a guest
 * that computes never holds a loop. Lanes are niced: under load the loops go first.
 *
 * One slice of one call at a time, by deficit round robin over flows (one for each tenant), in CPU
 * time: M. Shreedhar, G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin", 1995. What a
 * slice used beyond its flow's share stays as a debt; a call that must end goes before all.
 *
 * Threads: wake from any. A call on a lane is polled by one lane at a time; its end goes back to
 * its runner. Ownership: lanes and flows are counted by the cells that point to them.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "sandbox/sandbox_internal.h"

#define LANES_MAX 256u
#define QUANTUM_US 1000 /* for each unit of weight, and each turn of a flow */

struct gb_flow {
    _Atomic uint32_t refs;
    _Atomic uint32_t weight;
    /* under the lock of the lanes; a flow is used with one set of lanes */
    int64_t deficit_us;
    struct gb_wake_cell *first, *last;
    struct gb_flow *next; /* in the round */
    bool in_round;
};

struct gb_lanes {
    _Atomic uint32_t refs;
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool stop;
    int nice;
    struct gb_flow *round, *round_last;
    struct gb_wake_cell *urgent, *urgent_last;
    uint32_t waiting; /* cells that are queued */
    uint32_t threads_len;
    pthread_t threads[LANES_MAX];
};

/* ---- flows ---- */

struct gb_flow *gb_flow_new(uint32_t weight, struct gb_error **err) {
    struct gb_flow *f = gb_calloc(1, sizeof *f, err);
    if (f) {
        atomic_init(&f->refs, 1);
        gb_flow_set_weight(f, weight);
    }
    return f;
}

void gb_flow_set_weight(struct gb_flow *f, uint32_t weight) {
    atomic_store_explicit(&f->weight, weight > 0 ? weight : 1, memory_order_relaxed);
}

struct gb_flow *gb_flow_ref(struct gb_flow *f) {
    atomic_fetch_add(&f->refs, 1);
    return f;
}

void gb_flow_unref(struct gb_flow *f) {
    if (f && atomic_fetch_sub(&f->refs, 1) == 1) {
        gb_free(f);
    }
}

/* ---- queues, under the lock ---- */

static void push_cell(struct gb_wake_cell **first, struct gb_wake_cell **last,
                      struct gb_wake_cell *cell) {
    cell->lane_next = NULL;
    if (*first) {
        (*last)->lane_next = cell;
    } else {
        *first = cell;
    }
    *last = cell;
}

static void push_flow(struct gb_lanes *l, struct gb_flow *f) {
    f->next = NULL;
    f->in_round = true; /* which holds a reference */
    if (l->round) {
        l->round_last->next = f;
    } else {
        l->round = f;
    }
    l->round_last = f;
}

static void enqueue(struct gb_lanes *l, struct gb_wake_cell *cell) {
    cell->lane_state = GB_LANE_QUEUED;
    l->waiting++;
    /* Read once: which of the queues it is in must be known, whatever `urgent` becomes. */
    cell->lane_urgent = atomic_load(&cell->urgent);
    if (cell->lane_urgent) {
        push_cell(&l->urgent, &l->urgent_last, cell);
    } else {
        push_cell(&cell->flow->first, &cell->flow->last, cell);
        if (!cell->flow->in_round) {
            push_flow(l, gb_flow_ref(cell->flow));
        }
    }
    pthread_cond_signal(&l->work);
}

/* NULL: nothing to do. */
static struct gb_wake_cell *dequeue(struct gb_lanes *l) {
    struct gb_wake_cell *cell = l->urgent;
    if (cell) {
        l->urgent = cell->lane_next;
        return cell;
    }
    for (struct gb_flow *f; (f = l->round) != NULL;) {
        if (f->first && f->deficit_us > 0) {
            cell = f->first;
            f->first = cell->lane_next;
            return cell;
        }
        l->round = f->next;
        f->in_round = false;
        if (f->first) {
            f->deficit_us += (int64_t)QUANTUM_US * f->weight;
            push_flow(l, f);
        } else {
            f->deficit_us = GB_MIN(f->deficit_us, 0); /* a share is not saved up; a debt stays */
            gb_flow_unref(f);
        }
    }
    return NULL;
}

/* Takes the cell out of its flow, where it waits for its turn. */
static void unqueue(struct gb_wake_cell *cell) {
    struct gb_wake_cell *before = NULL;
    struct gb_flow *f = cell->flow;
    for (struct gb_wake_cell *c = f->first; c && c != cell; c = c->lane_next) {
        before = c;
    }
    *(before ? &before->lane_next : &f->first) = cell->lane_next;
    if (f->last == cell) {
        f->last = before;
    }
}

void gb_lanes_wake(struct gb_lanes *l, struct gb_wake_cell *cell) {
    pthread_mutex_lock(&l->lock);
    if (!l->stop) {
        switch (cell->lane_state) {
        case GB_LANE_IDLE:
            gb_wake_cell_ref(cell);
            enqueue(l, cell);
            break;
        case GB_LANE_QUEUED:
            if (atomic_load(&cell->urgent) && !cell->lane_urgent) {
                unqueue(cell);
                l->waiting--;
                enqueue(l, cell);
            }
            break;
        case GB_LANE_RUNNING:
            cell->lane_state = GB_LANE_RUNNING_AGAIN;
            break;
        case GB_LANE_RUNNING_AGAIN:
        case GB_LANE_DONE:
            break;
        }
    }
    pthread_mutex_unlock(&l->lock);
}

/* ---- threads ---- */

static uint64_t thread_cpu_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* One slice, without the lock. True: the call is over. */
static bool run_slice(struct gb_wake_cell *cell) {
    struct gb_call *c = cell->call;
    if (!gb_call_poll(c, &c->result)) {
        return false;
    }
    atomic_store_explicit(&c->finished, true, memory_order_release);
    return true;
}

static void *lane_main(void *user) {
    struct gb_lanes *l = user;
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), l->nice); /* a wish */
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        struct gb_wake_cell *cell = dequeue(l);
        if (!cell) {
            pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        cell->lane_state = GB_LANE_RUNNING;
        cell->lane_urgent = false;
        l->waiting--;
        pthread_mutex_unlock(&l->lock);
        uint64_t start_us = thread_cpu_us();
        bool over = run_slice(cell);
        int64_t used_us = (int64_t)(thread_cpu_us() - start_us);
        (void)sched_yield(); /* a loop that has become ready need not wait for the kernel's slice */
        pthread_mutex_lock(&l->lock);
        cell->flow->deficit_us -= used_us > 0 ? used_us : 1;
        bool again = !over && cell->lane_state == GB_LANE_RUNNING_AGAIN && !l->stop;
        if (again) {
            enqueue(l, cell);
            continue;
        }
        cell->lane_state = over ? GB_LANE_DONE : GB_LANE_IDLE;
        pthread_mutex_unlock(&l->lock);
        if (over) {
            gb_wake_list_push(cell);
        }
        gb_wake_cell_unref(cell);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- making and ending ---- */

struct gb_lanes *gb_lanes_ref(struct gb_lanes *l) {
    atomic_fetch_add(&l->refs, 1);
    return l;
}

void gb_lanes_unref(struct gb_lanes *l) {
    if (l && atomic_fetch_sub(&l->refs, 1) == 1) {
        pthread_cond_destroy(&l->work);
        pthread_mutex_destroy(&l->lock);
        gb_free(l);
    }
}

void gb_lanes_stats(struct gb_lanes *l, uint32_t *ret_threads, uint32_t *ret_waiting) {
    pthread_mutex_lock(&l->lock);
    *ret_threads = l->threads_len;
    *ret_waiting = l->waiting;
    pthread_mutex_unlock(&l->lock);
}

struct gb_lanes *gb_lanes_new(uint32_t threads, int nice, struct gb_error **err) {
    struct gb_lanes *l = gb_calloc(1, sizeof *l, err);
    if (!l) {
        return NULL;
    }
    atomic_init(&l->refs, 1);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    l->nice = nice;
    threads = GB_MIN(GB_MAX(threads, 1u), LANES_MAX);
    for (; l->threads_len < threads; l->threads_len++) {
        pthread_t *t = &l->threads[l->threads_len];
        int eno = gb_sys(GB_SYS_THREAD, errno, pthread_create(t, NULL, lane_main, l));
        if (eno != 0) {
            gb_lanes_free(l);
            gb_fail_errno(err, GB_INTERNAL, eno, "could not start a lane's thread: %s",
                          strerror(eno));
            return NULL;
        }
        pthread_setname_np(*t, "gb-lane");
    }
    return l;
}

static void forget(struct gb_wake_cell *cell) {
    while (cell) {
        struct gb_wake_cell *next = cell->lane_next;
        cell->lane_state = GB_LANE_IDLE;
        gb_wake_cell_unref(cell);
        cell = next;
    }
}

void gb_lanes_free(struct gb_lanes *l) {
    if (!l) {
        return;
    }
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (uint32_t i = 0; i < l->threads_len; i++) {
        pthread_join(l->threads[i], NULL);
    }
    forget(l->urgent);
    for (struct gb_flow *f = l->round, *next; f; f = next) {
        next = f->next;
        struct gb_wake_cell *cells = f->first;
        f->first = NULL;
        f->in_round = false;
        forget(cells);
        gb_flow_unref(f);
    }
    gb_lanes_unref(l);
}
