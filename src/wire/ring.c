/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two rings in the slab. Counters run for ever and a slot is a counter's low bits, so whatever
 * the other side writes into them, no access leaves the arrays; a distance that cannot be is
 * reported as a broken ring.
 *
 * Threads: each function under its side's lock. Counters are read once into locals; entries are
 * copied once and a compiler fence keeps later code from reading them again.
 */
#include "wire/wire.h"

#define SLOT(count) ((count) & (GB_WIRE_RING_SLOTS - 1u))

_Static_assert((GB_WIRE_RING_SLOTS & (GB_WIRE_RING_SLOTS - 1u)) == 0, "a power of two");

/* The distance, or more than the slot count when the counters make no sense. */
static uint64_t ring_used(uint64_t head, uint64_t tail) {
    return tail - head;
}

bool gb_ring_submit(struct gb_slab_head *slab, const struct gb_submission *s, bool *ret_broken) {
    uint64_t tail = atomic_load_explicit(&slab->submit.tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&slab->submit.head, memory_order_acquire);
    uint64_t used = ring_used(head, tail);
    *ret_broken = used > GB_WIRE_RING_SLOTS;
    if (used >= GB_WIRE_RING_SLOTS) {
        return false;
    }
    slab->submissions[SLOT(tail)] = *s;
    atomic_store_explicit(&slab->submit.tail, tail + 1, memory_order_release);
    /* Orders the push before the look at worker_spinning (gb_ring_needs_doorbell). */
    atomic_thread_fence(memory_order_seq_cst);
    return true;
}

bool gb_ring_take(struct gb_slab_head *slab, struct gb_submission *ret_s) {
    uint64_t head = atomic_load_explicit(&slab->submit.head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&slab->submit.tail, memory_order_acquire);
    uint64_t used = ring_used(head, tail);
    if (used == 0 || used > GB_WIRE_RING_SLOTS) {
        return false;
    }
    *ret_s = slab->submissions[SLOT(head)];
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&slab->submit.head, head + 1, memory_order_release);
    return true;
}

bool gb_ring_complete(struct gb_slab_head *slab, const struct gb_completion *c) {
    uint64_t tail = atomic_load_explicit(&slab->complete.tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&slab->complete.head, memory_order_acquire);
    if (ring_used(head, tail) >= GB_WIRE_RING_SLOTS) {
        return false;
    }
    slab->completions[SLOT(tail)] = *c;
    atomic_store_explicit(&slab->complete.tail, tail + 1, memory_order_release);
    return true;
}

bool gb_ring_reap(struct gb_slab_head *slab, struct gb_completion *ret_c, bool *ret_broken) {
    uint64_t head = atomic_load_explicit(&slab->complete.head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&slab->complete.tail, memory_order_acquire);
    uint64_t used = ring_used(head, tail);
    *ret_broken = used > GB_WIRE_RING_SLOTS;
    if (used == 0 || *ret_broken) {
        return false;
    }
    *ret_c = slab->completions[SLOT(head)];
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&slab->complete.head, head + 1, memory_order_release);
    return true;
}

bool gb_ring_has_submission(struct gb_slab_head *slab) {
    uint64_t head = atomic_load_explicit(&slab->submit.head, memory_order_seq_cst);
    uint64_t tail = atomic_load_explicit(&slab->submit.tail, memory_order_seq_cst);
    uint64_t used = ring_used(head, tail);
    return used != 0 && used <= GB_WIRE_RING_SLOTS;
}
