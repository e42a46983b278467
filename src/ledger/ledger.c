/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Charging is a compare-and-swap per level, from the call up to the host; a refusal at one level
 * gives back what the levels below had taken. So no lock, and no moment where an account stands
 * above its maximum. The one lock is around the list of those who keep memory; it is taken when a
 * charge would be refused.
 */
#include "ledger/ledger.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/num.h"

struct gb_account {
    struct gb_account *parent;
    char *name;
    _Atomic uint64_t bytes_max;
    _Atomic uint64_t refs;
    _Atomic uint64_t used;
    _Atomic uint64_t peak;
    _Atomic uint64_t kinds[GB_CHARGE_COUNT];
    pthread_mutex_t keepers_lock;
    struct gb_keeper *keepers; /* under keepers_lock */
};

struct gb_account *gb_account_new(const char *name, struct gb_account *parent, uint64_t bytes_max,
                                  struct gb_error **err) {
    struct gb_account *a = gb_calloc(1, sizeof *a, err);
    if (!a) {
        return NULL;
    }
    a->name = gb_strdup(name, err);
    if (!a->name) {
        gb_free(a);
        return NULL;
    }
    a->parent = parent ? gb_account_ref(parent) : NULL;
    atomic_init(&a->bytes_max, bytes_max);
    atomic_init(&a->refs, 1);
    pthread_mutex_init(&a->keepers_lock, NULL);
    return a;
}

void gb_account_set_max(struct gb_account *a, uint64_t bytes_max) {
    atomic_store_explicit(&a->bytes_max, bytes_max, memory_order_relaxed);
}

struct gb_account *gb_account_ref(struct gb_account *a) {
    atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
    return a;
}

void gb_account_unref(struct gb_account *a) {
    while (a && atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) == 1) {
        struct gb_account *parent = a->parent;
        pthread_mutex_destroy(&a->keepers_lock);
        gb_free(a->name);
        gb_free(a);
        a = parent;
    }
}

static void note_peak(struct gb_account *a, uint64_t used) {
    uint64_t peak = atomic_load_explicit(&a->peak, memory_order_relaxed);
    while (used > peak && !atomic_compare_exchange_weak_explicit(
                              &a->peak, &peak, used, memory_order_relaxed, memory_order_relaxed)) {
    }
}

static bool take(struct gb_account *a, uint64_t bytes) {
    uint64_t used = atomic_load_explicit(&a->used, memory_order_relaxed);
    uint64_t next;
    do {
        if (__builtin_add_overflow(used, bytes, &next) || next > a->bytes_max) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&a->used, &used, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* Clamped at zero: giving back too much is our defect and must not make room for others. */
static void give(_Atomic uint64_t *counter, uint64_t bytes, const char *name) {
    uint64_t used = atomic_load_explicit(counter, memory_order_relaxed);
    uint64_t next;
    do {
        next = used >= bytes ? used - bytes : 0;
    } while (!atomic_compare_exchange_weak_explicit(counter, &used, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    if (used < bytes) {
        gb_log(GB_LOG_ERROR, "ledger: account \"%s\" was given back more than it was charged",
               name);
    }
}

/* ---- memory that is only kept ---- */

void gb_account_add_keeper(struct gb_account *a, struct gb_keeper *keeper) {
    pthread_mutex_lock(&a->keepers_lock);
    keeper->next = a->keepers;
    a->keepers = keeper;
    pthread_mutex_unlock(&a->keepers_lock);
}

void gb_account_remove_keeper(struct gb_account *a, struct gb_keeper *keeper) {
    pthread_mutex_lock(&a->keepers_lock);
    struct gb_keeper **at = &a->keepers;
    while (*at && *at != keeper) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = keeper->next;
    }
    pthread_mutex_unlock(&a->keepers_lock);
}

/* Takes after others have given back what they only keep. */
static bool take_kept(struct gb_account *a, uint64_t bytes) {
    uint64_t kept = gb_account_used_for(a, GB_CHARGE_KEPT);
    uint64_t others = gb_account_used(a) - GB_MIN(kept, gb_account_used(a));
    if (kept == 0 || bytes > a->bytes_max || others > a->bytes_max - bytes) {
        return false; /* not even all of it would do */
    }
    bool ok = false;
    pthread_mutex_lock(&a->keepers_lock);
    for (struct gb_keeper *k = a->keepers; k && !ok; k = k->next) {
        k->give_back(k->user, bytes);
        ok = take(a, bytes);
    }
    pthread_mutex_unlock(&a->keepers_lock);
    return ok;
}

bool gb_charge_kept(struct gb_account *a, uint64_t bytes) {
    for (struct gb_account *level = a; level; level = level->parent) {
        if (!take(level, bytes)) {
            for (struct gb_account *done = a; done != level; done = done->parent) {
                give(&done->used, bytes, done->name);
            }
            return false;
        }
    }
    for (struct gb_account *level = a; level; level = level->parent) {
        atomic_fetch_add_explicit(&level->kinds[GB_CHARGE_KEPT], bytes, memory_order_relaxed);
        note_peak(level, gb_account_used(level));
    }
    return true;
}

/* ---- charging ---- */

bool gb_charge(struct gb_account *a, enum gb_charge kind, uint64_t bytes, struct gb_error **err) {
    for (struct gb_account *level = a; level; level = level->parent) {
        if (take(level, bytes) || take_kept(level, bytes)) {
            continue;
        }
        for (struct gb_account *done = a; done != level; done = done->parent) {
            give(&done->used, bytes, done->name);
        }
        gb_fail(err, GB_BUDGET_EXCEEDED,
                "%" PRIu64 " bytes for %s do not fit the budget of \"%s\": %" PRIu64 " of %" PRIu64
                " bytes are in use",
                bytes, gb_charge_text(kind), level->name, gb_account_used(level),
                level->bytes_max);
        return gb_hint(err, "Raise the budget (--budget), or hold fewer and smaller objects.");
    }
    for (struct gb_account *level = a; level; level = level->parent) {
        atomic_fetch_add_explicit(&level->kinds[kind], bytes, memory_order_relaxed);
        note_peak(level, gb_account_used(level)); /* only now: a denied charge was never held */
    }
    return true;
}

void gb_uncharge(struct gb_account *a, enum gb_charge kind, uint64_t bytes) {
    for (struct gb_account *level = a; level; level = level->parent) {
        give(&level->kinds[kind], bytes, level->name);
        give(&level->used, bytes, level->name);
    }
}

uint64_t gb_account_used(const struct gb_account *a) {
    return atomic_load_explicit(&a->used, memory_order_relaxed);
}
uint64_t gb_account_used_for(const struct gb_account *a, enum gb_charge kind) {
    return atomic_load_explicit(&a->kinds[kind], memory_order_relaxed);
}
uint64_t gb_account_peak(const struct gb_account *a) {
    return atomic_load_explicit(&a->peak, memory_order_relaxed);
}
const char *gb_account_name(const struct gb_account *a) {
    return a->name;
}
const struct gb_account *gb_account_parent(const struct gb_account *a) {
    return a->parent;
}

const char *gb_charge_text(enum gb_charge kind) {
    static const char *const names[GB_CHARGE_COUNT] = {
        [GB_CHARGE_MEMORY] = "linear memory", [GB_CHARGE_TABLE] = "tables",
        [GB_CHARGE_HANDLE] = "handles",       [GB_CHARGE_TENSOR] = "tensors",
        [GB_CHARGE_GRAPH] = "graphs and jobs", [GB_CHARGE_OUTPUT] = "output",
        [GB_CHARGE_VALUE] = "arguments",
        [GB_CHARGE_KEPT] = "memory kept warm"};
    return (unsigned)kind < GB_CHARGE_COUNT ? names[kind] : "unknown";
}
