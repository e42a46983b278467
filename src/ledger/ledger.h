/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory ledger: host > tenant > call. Bytes are charged before they are allocated and given
 * back when freed; a charge that does not fit every level changes nothing and is refused.
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
    GB_CHARGE_OUTPUT, /* buffered stdout, stderr, answers */
    GB_CHARGE_VALUE,  /* arguments read from JSON */
    GB_CHARGE_COUNT
};

/* name is copied; parent may be NULL (the host account). */
struct gb_account *gb_account_new(const char *name, struct gb_account *parent, uint64_t bytes_max,
                                  struct gb_error **err);
struct gb_account *gb_account_ref(struct gb_account *a);
void gb_account_unref(struct gb_account *a);

bool gb_charge(struct gb_account *a, enum gb_charge kind, uint64_t bytes, struct gb_error **err);
/* Gives back what was charged; more than was charged is a defect and is clamped and counted. */
void gb_uncharge(struct gb_account *a, enum gb_charge kind, uint64_t bytes);

uint64_t gb_account_used(const struct gb_account *a);
uint64_t gb_account_used_for(const struct gb_account *a, enum gb_charge kind);
uint64_t gb_account_peak(const struct gb_account *a);
const char *gb_account_name(const struct gb_account *a);
/* Borrowed; NULL at the top. */
const struct gb_account *gb_account_parent(const struct gb_account *a);
const char *gb_charge_text(enum gb_charge kind);

#endif
