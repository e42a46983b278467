/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's jail, in stages around the start of the engine, which wants to look at the CPU.
 *
 *   stage 0  (before)  the engine's library is opened
 *   stage 1            no new privileges, no core, limits, Landlock, first filter: nothing can be
 *                      executed, connected to or written; only the CPU's description can be read
 *   engine start
 *   stage 2            second filter, an allow-list: nothing can be opened at all
 *   the threads        of the worker are started
 *   stage 3            third filter: no thread is started from here on, and no filter is added
 * Only after stage 3 does the worker read a byte of a model.
 *
 * Threads: stage 1 needs a process of one thread; the others cover all. Errors: GB_UNSUPPORTED
 * names the wall that the kernel lacks; under GB_JAIL_BEST_EFFORT it becomes a bit of
 * missing_walls.
 */
#ifndef GB_WORKER_JAIL_H
#define GB_WORKER_JAIL_H

#include "wire/wire.h"

struct gb_jail {
    enum gb_jail_mode mode;
    uint64_t as_bytes;      /* RLIMIT_AS */
    uint64_t data_bytes;    /* RLIMIT_DATA; 0: none of its own */
    uint32_t missing_walls; /* out: bits of enum gb_wall */
};

bool gb_jail_stage_1(struct gb_jail *jail, struct gb_error **err);
bool gb_jail_stage_2(struct gb_jail *jail, struct gb_error **err);
bool gb_jail_stage_3(const struct gb_jail *jail, struct gb_error **err);

/* The walls themselves: true when it stands. */
bool gb_jail_landlock(struct gb_error **err);
bool gb_jail_filter_1(struct gb_error **err);
bool gb_jail_filter_2(struct gb_error **err);
bool gb_jail_filter_3(struct gb_error **err);

/* Tries every forbidden thing; calls report once for each. */
typedef void (*gb_probe_fn)(const struct gb_msg_probe *probe, void *user);
void gb_jail_selftest(gb_probe_fn report, void *user);

#endif
