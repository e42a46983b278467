/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that kill workers. A request is known by tenant, model and the bytes and shapes of its
 * inputs; when the worker dies by itself while that request alone was running, the death is
 * counted, and after the second the same request is refused for a while.
 *
 * Not counted: deaths by SIGKILL or SIGTERM, which come from outside (us, an operator, the kernel
 * out of memory), and deaths with several inferences running, where nobody knows whose fault it is.
 * A worker that changes its inputs before it dies escapes; it hurts only itself.
 * Threads: any; a lock of its own, a leaf. Limits: GB_QUARANTINE_MAX requests, the least recently
 * counted goes first. Cost: hashing at a death, and at submission only while something is refused.
 */
#ifndef GB_MODEL_QUARANTINE_H
#define GB_MODEL_QUARANTINE_H

#include "model/worker.h"

#define GB_QUARANTINE_MAX 256u
#define GB_QUARANTINE_US ((uint64_t)600 * 1000000)
#define GB_QUARANTINE_DEATHS 2u
#define GB_QUARANTINE_KEY_BYTES 32u

struct gb_quarantine;
struct gb_quarantine *gb_quarantine_new(struct gb_error **err);
void gb_quarantine_free(struct gb_quarantine *q);
/* Counts a death. True: the request is refused from now on. */
bool gb_quarantine_count(struct gb_quarantine *q, const uint8_t key[GB_QUARANTINE_KEY_BYTES],
                         uint64_t now_us);
/* Microseconds for which it is still refused; 0: it is not. */
uint64_t gb_quarantine_left(struct gb_quarantine *q, const uint8_t key[GB_QUARANTINE_KEY_BYTES],
                            uint64_t now_us);

struct gb_job;
/* Before a job is queued: fails where its request is refused. */
bool gb_quarantine_admits(struct gb_job *job, struct gb_error **err);
/* Under worker->lock, the process being dead by itself and its finished jobs taken out: counts, and
 * where that was once too often, answers the job and those like it that wait. */
void gb_quarantine_on_death_locked(struct gb_worker *w);

#endif
