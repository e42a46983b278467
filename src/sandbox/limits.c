/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limiter of one call: linear memory and tables, summed over its store, charged to the ledger
 * before they grow.
 *
 * Counting errs on the safe side. Wasmtime reports a failed growth without saying which, and some
 * failures without having asked first; taking such a report for the last growth would let a guest
 * un-charge memory that it has. So growths that must fail are refused before they are charged, and
 * what the system then still refuses stays charged until the true size is seen, which happens when
 * the only memory of a store asks again.
 */
#include "sandbox/sandbox_internal.h"

#define TABLE_ELEMENT_BYTES 8u

struct gb_limits gb_limits_default(void) {
    return (struct gb_limits){
#define GB_LIMIT(field, value, unit, option, code, text) .field = (value),
#include "sandbox/limits.def"
#undef GB_LIMIT
        .overflow = GB_OVERFLOW_FAIL,
    };
}

void gb_limiter_init(struct gb_limiter *l, struct gb_account *account,
                     const struct gb_limits *limits, uint64_t memory_slot_bytes) {
    *l = (struct gb_limiter){
        .account = account,
        .memory = {.code = GB_MEMORY_LIMIT,
                   .charge = GB_CHARGE_MEMORY,
                   .unit_bytes = 1,
                   .max = limits->memory_bytes,
                   .each_max = memory_slot_bytes},
        .table = {.code = GB_TABLE_LIMIT,
                  .charge = GB_CHARGE_TABLE,
                  .unit_bytes = TABLE_ELEMENT_BYTES,
                  .max = limits->table_elements,
                  .each_max = GB_POOL_TABLE_ELEMENTS_MAX},
    };
}

void gb_limiter_fini(struct gb_limiter *l) {
    gb_uncharge(l->account, GB_CHARGE_MEMORY, l->memory.used);
    gb_uncharge(l->account, GB_CHARGE_TABLE, l->table.used * TABLE_ELEMENT_BYTES);
    l->memory.used = l->table.used = 0;
    gb_error_free(l->denial.cause);
    l->denial = (struct gb_denial){0};
}

static bool deny(struct gb_limiter *l, enum gb_code code, uint64_t wanted, struct gb_error *cause) {
    gb_error_free(l->denial.cause);
    l->denial = (struct gb_denial){.code = code, .wanted = wanted, .cause = cause};
    return false;
}

/* A failed growth that could not be un-charged at once: the only memory says what it has. */
static void resync(struct gb_limiter *l, struct gb_pool_sum *sum, uint64_t current) {
    if (sum->born == 1 && current < sum->used) {
        gb_uncharge(l->account, sum->charge, (sum->used - current) * sum->unit_bytes);
        sum->used = current;
    }
}

bool gb_limiter_growing(struct gb_limiter *l, struct gb_pool_sum *sum, uint64_t current,
                        uint64_t desired, uint64_t maximum) {
    if (desired < current) {
        return false;
    }
    if (desired == 0) {
        return true; /* one that is made empty: it must not pass for the only one there is */
    }
    if (current == 0) {
        sum->born++;
    } else {
        resync(l, sum, current);
    }
    uint64_t total;
    uint64_t bytes;
    if (!gb_add_u64(sum->used, desired - current, &total) ||
        !gb_mul_u64(desired - current, sum->unit_bytes, &bytes)) {
        return deny(l, sum->code, 0, NULL);
    }
    if (total > sum->max || desired > sum->each_max) {
        return deny(l, sum->code, total, NULL);
    }
    if (desired > maximum) {
        return false; /* past what the program itself declared: no limit of ours */
    }
    struct gb_error *refused = NULL;
    if (!gb_charge(l->account, sum->charge, bytes, &refused)) {
        return deny(l, GB_BUDGET_EXCEEDED, total, refused);
    }
    sum->used = total;
    sum->peak = GB_MAX(sum->peak, total);
    deny(l, GB_OK, 0, NULL);
    return true;
}

void gb_limiter_grow_failed(struct gb_limiter *l, struct gb_pool_sum *sum) {
    deny(l, sum->code, 0, NULL);
}

static bool say_memory(const struct gb_limiter *l, bool at_start, struct gb_error **err) {
    char wanted[GB_AMOUNT_CAP];
    char limit[GB_AMOUNT_CAP];
    uint64_t most = GB_MIN(l->memory.max, l->memory.each_max);
    gb_text_bytes(l->denial.wanted, wanted);
    gb_text_bytes(most, limit);
    if (l->denial.wanted == 0) {
        gb_fail(err, GB_MEMORY_LIMIT,
                "the guest asked for more linear memory than it can get; the limit is %s", limit);
    } else if (at_start) {
        gb_fail(err, GB_MEMORY_LIMIT,
                "the program starts with %s of linear memory; the limit is %s", wanted, limit);
    } else {
        gb_fail(err, GB_MEMORY_LIMIT, "the guest asked for %s of linear memory; the limit is %s",
                wanted, limit);
    }
    return gb_hint(err, "Raise the limit with --memory, or let the guest use less.");
}

static bool say_table(const struct gb_limiter *l, bool at_start, struct gb_error **err) {
    char wanted[GB_AMOUNT_CAP];
    char limit[GB_AMOUNT_CAP];
    uint64_t most = GB_MIN(l->table.max, l->table.each_max);
    gb_text_count(l->denial.wanted, wanted);
    gb_text_count(most, limit);
    if (l->denial.wanted == 0) {
        gb_fail(err, GB_TABLE_LIMIT,
                "the guest asked for more table elements than it can get; the limit is %s", limit);
    } else if (at_start) {
        gb_fail(err, GB_TABLE_LIMIT, "the program starts with %s table elements; the limit is %s",
                wanted, limit);
    } else {
        gb_fail(err, GB_TABLE_LIMIT, "the guest asked for %s table elements; the limit is %s",
                wanted, limit);
    }
    return gb_hint(err, "Raise the limit with --tables, or let the guest use less.");
}

struct gb_error *gb_limiter_error(struct gb_limiter *l, enum gb_code code, bool at_start) {
    struct gb_error *error = NULL;
    if (code == GB_BUDGET_EXCEEDED) {
        error = gb_take(&l->denial.cause);
        if (!error) {
            gb_fail(&error, GB_BUDGET_EXCEEDED, "the ledger has no room for the guest's memory");
        }
        if (error && !error->hint) {
            gb_hint(&error, "Raise the budget with --budget, or lower what the guest uses.");
        }
    } else if (code == GB_TABLE_LIMIT) {
        say_table(l, at_start, &error);
    } else {
        say_memory(l, at_start, &error);
    }
    return error;
}
