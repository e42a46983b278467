/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory ledger: host > tenant > call. Bytes are charged before they are allocated and given
 * back when freed; a charge that does not fit every level changes nothing and is refused.
 * Memory that the host keeps only to be faster next time is charged to the host itself, while it
 * is kept, and given back before anybody is refused for want of it.
 *
 * Threads: any; accounts are atomic counters. Ownership: an account counts references; a child
 * holds its parent. Limits: one number per account, bytes. Errors: GB_BUDGET_EXCEEDED naming the
 * account.
 */
#ifndef GB_LEDGER_LEDGER_H
#define GB_LEDGER_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct gb_account;

/* What the bytes are for: shown in errors and usage, summed apart. */
enum gb_charge {
    GB_CHARGE_MEMORY, /* linear memory */
    GB_CHARGE_TABLE,
    GB_CHARGE_HANDLE,
    GB_CHARGE_TENSOR, /* tensor bytes, slab blocks, results */
    GB_CHARGE_GRAPH,  /* graphs, contexts, jobs */
    GB_CHARGE_OUTPUT, /* buffered stdout, stderr, answers, HTTP fields and bodies */
    GB_CHARGE_VALUE,  /* arguments read from JSON */
    GB_CHARGE_KEPT,   /* nobody's now: kept warm for whoever comes next */
    GB_CHARGE_COUNT
};

/* name is copied; parent may be NULL (the host account). */
struct gb_account *gb_account_new(const char *name, struct gb_account *parent, uint64_t bytes_max,
                                  struct gb_error **err);
/* From now on: what is charged already stays, also where it is more. */
void gb_account_set_max(struct gb_account *a, uint64_t bytes_max);
struct gb_account *gb_account_ref(struct gb_account *a);
void gb_account_unref(struct gb_account *a);

bool gb_charge(struct gb_account *a, enum gb_charge kind, uint64_t bytes, struct gb_error **err);
/* Gives back what was charged; more than was charged is a defect and is clamped and counted. */
void gb_uncharge(struct gb_account *a, enum gb_charge kind, uint64_t bytes);

/* For memory that is there already and is nobody's: charged where there is room, without an error
 * and without asking anybody to give back. Undone by gb_uncharge(a, GB_CHARGE_KEPT, bytes). */
bool gb_charge_kept(struct gb_account *a, uint64_t bytes);

/* Somebody who keeps memory on an account. give_back is called when a charge does not fit there, on
 * the charging thread, under its locks and the list's. So it takes leaf locks only, charges
 * nothing, and un-charges what it freed. */
struct gb_keeper {
    void (*give_back)(void *user, uint64_t bytes);
    void *user;
    struct gb_keeper *next; /* the account's */
};
/* The keeper is the caller's and stays until it is removed. */
void gb_account_add_keeper(struct gb_account *a, struct gb_keeper *keeper);
void gb_account_remove_keeper(struct gb_account *a, struct gb_keeper *keeper);

uint64_t gb_account_used(const struct gb_account *a);
uint64_t gb_account_used_for(const struct gb_account *a, enum gb_charge kind);
uint64_t gb_account_peak(const struct gb_account *a);
const char *gb_account_name(const struct gb_account *a);
/* Borrowed; NULL at the top. */
const struct gb_account *gb_account_parent(const struct gb_account *a);
const char *gb_charge_text(enum gb_charge kind);

#endif
