/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's table of jobs: what runs, what keeps outputs, and what was cancelled before it was
 * taken. A cancel names a job that waits in the ring, runs, or is over; all three are told apart
 * under one lock, so a cancel is never lost and never remembered for a job that is over.
 *
 * Threads: any; jobs_lock. Limits: GB_JOBS_MAX entries; as many cancelled ids as the ring holds.
 */
#include "worker/serve.h"

static struct gb_job_entry *find(struct gb_serve *s, uint64_t job_id) {
    for (size_t i = 0; i < s->jobs_len; i++) {
        if (s->jobs[i].job_id == job_id) {
            return &s->jobs[i];
        }
    }
    return NULL;
}

static void drop(struct gb_serve *s, struct gb_job_entry *entry) {
    *entry = s->jobs[--s->jobs_len];
}

static bool forget_cancelled(struct gb_serve *s, uint64_t job_id) {
    for (size_t i = 0; i < s->cancelled_len; i++) {
        if (s->cancelled[i] == job_id) {
            s->cancelled[i] = s->cancelled[--s->cancelled_len];
            return true;
        }
    }
    return false;
}

enum gb_take gb_jobs_take(struct gb_serve *s, struct gb_submission *ret_s) {
    enum gb_take result = GB_TAKE_NONE;
    pthread_mutex_lock(&s->jobs_lock);
    if (gb_ring_take(s->head, ret_s)) {
        result = GB_TAKE_OK;
        if (ret_s->operation == GB_OP_RUN) {
            if (forget_cancelled(s, ret_s->job_id)) {
                result = GB_TAKE_CANCELLED;
            } else if (find(s, ret_s->job_id) != NULL) {
                result = GB_TAKE_TWICE; /* it would get the other one's entry, and free its run */
            } else if (s->jobs_len == GB_JOBS_MAX) {
                result = GB_TAKE_FULL;
            } else {
                s->jobs[s->jobs_len++] = (struct gb_job_entry){.job_id = ret_s->job_id};
            }
        }
    }
    pthread_mutex_unlock(&s->jobs_lock);
    return result;
}

/* Is a RUN of that job still in the ring? The host only ever adds behind tail. */
static bool waits(const struct gb_serve *s, uint64_t job_id) {
    uint64_t head = atomic_load(&s->head->submit.head);
    uint64_t tail = atomic_load(&s->head->submit.tail);
    for (uint64_t i = head; i != tail && tail - i <= GB_WIRE_RING_SLOTS; i++) {
        const struct gb_submission *queued = &s->head->submissions[i & (GB_WIRE_RING_SLOTS - 1u)];
        if (queued->job_id == job_id && queued->operation == GB_OP_RUN) {
            return true;
        }
    }
    return false;
}

void gb_jobs_cancel(struct gb_serve *s, uint64_t job_id) {
    pthread_mutex_lock(&s->jobs_lock);
    struct gb_job_entry *entry = find(s, job_id);
    if (entry != NULL) {
        /* Under the lock: finish takes it before the run is freed. */
        if (entry->run != NULL && !entry->cancelled && !entry->kept) {
            s->backend->run_cancel(entry->run);
        }
        entry->cancelled = true;
    } else if (s->cancelled_len < GB_WIRE_RING_SLOTS && waits(s, job_id)) {
        (void)forget_cancelled(s, job_id); /* said twice */
        s->cancelled[s->cancelled_len++] = job_id;
    }
    pthread_mutex_unlock(&s->jobs_lock);
}

bool gb_jobs_attach(struct gb_serve *s, uint64_t job_id, struct gb_run *run) {
    pthread_mutex_lock(&s->jobs_lock);
    struct gb_job_entry *entry = find(s, job_id);
    bool go = entry != NULL && !entry->cancelled;
    if (entry != NULL) {
        entry->run = run;
    }
    pthread_mutex_unlock(&s->jobs_lock);
    return go;
}

bool gb_jobs_finish(struct gb_serve *s, uint64_t job_id, bool keep) {
    pthread_mutex_lock(&s->jobs_lock);
    struct gb_job_entry *entry = find(s, job_id);
    bool cancelled = entry != NULL && entry->cancelled;
    if (entry != NULL) {
        if (keep && !cancelled) {
            entry->kept = true;
        } else {
            drop(s, entry);
        }
    }
    pthread_mutex_unlock(&s->jobs_lock);
    return cancelled;
}

struct gb_run *gb_jobs_take_kept(struct gb_serve *s, uint64_t job_id) {
    struct gb_run *run = NULL;
    pthread_mutex_lock(&s->jobs_lock);
    struct gb_job_entry *entry = find(s, job_id);
    if (entry != NULL && entry->kept) {
        run = entry->run;
        drop(s, entry);
    }
    pthread_mutex_unlock(&s->jobs_lock);
    return run;
}
