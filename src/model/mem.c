/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tensor memory: a counted block that knows whom it is charged to and where it lies. A block in a
 * slab holds that slab, so the bytes stay readable when the worker they were made for is long gone.
 *
 * Threads: any; the count is atomic, the bytes are the holders' business.
 * Errors: GB_BUDGET_EXCEEDED from the ledger, out of memory.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "model/slab.h"
#include "model/worker.h"

struct gb_mem {
    _Atomic uint64_t refs;
    uint8_t *ptr;
    uint64_t bytes;
    uint64_t charged_bytes;
    struct gb_account *account;
    struct gb_slab *slab; /* NULL: ptr is on the heap */
    struct gb_slab_block *block;
};

/* A charged but empty object. */
static struct gb_mem *mem_charged(uint64_t bytes, struct gb_account *account,
                                  struct gb_error **err) {
    uint64_t rounded;
    if (!gb_add_u64(bytes, GB_SLAB_ALIGN, &rounded)) {
        gb_fail(err, GB_BUDGET_EXCEEDED, "a tensor cannot have %llu bytes",
                (unsigned long long)bytes);
        return NULL;
    }
    rounded = gb_round_up_u64(bytes == 0 ? 1 : bytes, GB_SLAB_ALIGN);
    if (account && !gb_charge(account, GB_CHARGE_TENSOR, rounded, err)) {
        return NULL;
    }
    struct gb_mem *mem = gb_calloc(1, sizeof *mem, err);
    if (!mem) {
        if (account) {
            gb_uncharge(account, GB_CHARGE_TENSOR, rounded);
        }
        return NULL;
    }
    atomic_init(&mem->refs, 1);
    mem->bytes = bytes;
    mem->charged_bytes = rounded;
    mem->account = account ? gb_account_ref(account) : NULL;
    return mem;
}

struct gb_mem *gb_mem_new_heap(uint64_t bytes, struct gb_account *account, struct gb_error **err) {
    return gb_mem_new_heap_as(bytes, true, account, err);
}

struct gb_mem *gb_mem_new_heap_as(uint64_t bytes, bool zeroed, struct gb_account *account,
                                  struct gb_error **err) {
    struct gb_mem *mem = mem_charged(bytes, account, err);
    if (!mem) {
        return NULL;
    }
    size_t size = bytes == 0 ? 1 : (size_t)bytes;
    mem->ptr = zeroed ? gb_calloc(1, size, err) : gb_alloc(size, err);
    if (!mem->ptr) {
        gb_mem_unref(mem);
        return NULL;
    }
    return mem;
}

/* The tenant: the account below the host's. A host's own, or none, is nobody's share. It stays as
 * long as the block does, which holds the call's account and with it all above. */
static const void *owner_of(const struct gb_account *account) {
    const struct gb_account *parent = account ? gb_account_parent(account) : NULL;
    while (parent && gb_account_parent(parent)) {
        account = parent;
        parent = gb_account_parent(account);
    }
    return parent ? account : NULL;
}

static struct gb_mem *new_in(struct gb_slab *slab, uint64_t bytes, bool zeroed, bool lasting,
                             struct gb_account *account, struct gb_error **err) {
    struct gb_mem *mem = mem_charged(bytes, account, err);
    if (!mem) {
        return NULL;
    }
    mem->block = gb_slab_alloc_for(slab, bytes, owner_of(account), lasting, err);
    if (!mem->block) {
        gb_mem_unref(mem);
        return NULL;
    }
    mem->slab = gb_slab_ref(slab);
    mem->ptr = gb_slab_ptr(slab, mem->block);
    if (zeroed) {
        /* A large output is mostly fresh pages: clearing them would take its whole size of memory,
         * and seconds, on a thread that others wait for. */
        memset(mem->ptr, 0, (size_t)GB_MIN(bytes, gb_slab_dirty_bytes(mem->block)));
    }
    return mem;
}

struct gb_mem *gb_mem_new_in(struct gb_slab *slab, uint64_t bytes, bool zeroed,
                             struct gb_account *account, struct gb_error **err) {
    return new_in(slab, bytes, zeroed, false, account, err);
}

struct gb_mem *gb_mem_new_lasting_in(struct gb_slab *slab, uint64_t bytes, bool zeroed,
                                     struct gb_account *account, struct gb_error **err) {
    return new_in(slab, bytes, zeroed, true, account, err);
}

struct gb_mem *gb_mem_keep(struct gb_mem *mem) {
    if (!mem->slab || !gb_slab_over_share(mem->slab, mem->block)) {
        return gb_mem_ref(mem);
    }
    struct gb_mem *copy = gb_mem_new_heap_as(mem->bytes, false, NULL, NULL);
    if (!copy) {
        return gb_mem_ref(mem);
    }
    memcpy(copy->ptr, mem->ptr, (size_t)mem->bytes);
    copy->account = mem->account ? gb_account_ref(mem->account) : NULL;
    copy->charged_bytes = mem->charged_bytes; /* one charge: the other goes in a moment */
    mem->charged_bytes = 0;
    return copy;
}

struct gb_mem *gb_mem_ref(struct gb_mem *mem) {
    atomic_fetch_add_explicit(&mem->refs, 1, memory_order_relaxed);
    return mem;
}

void gb_mem_unref(struct gb_mem *mem) {
    if (!mem || atomic_fetch_sub_explicit(&mem->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    /* First, since what the slab keeps of it is charged anew; the account stays for owner_of. */
    if (mem->account) {
        gb_uncharge(mem->account, GB_CHARGE_TENSOR, mem->charged_bytes);
    }
    if (mem->slab) {
        gb_slab_release(mem->slab, mem->block);
        gb_slab_unref(mem->slab);
    } else {
        gb_free(mem->ptr);
    }
    gb_account_unref(mem->account);
    gb_free(mem);
}

uint8_t *gb_mem_ptr(const struct gb_mem *mem) {
    return mem->ptr;
}

uint64_t gb_mem_bytes(const struct gb_mem *mem) {
    return mem->bytes;
}

const struct gb_slab *gb_mem_slab(const struct gb_mem *mem) {
    return mem->slab;
}

uint64_t gb_mem_offset(const struct gb_mem *mem) {
    return mem->block ? gb_slab_offset(mem->block) : 0;
}

void gb_mem_populate(const struct gb_mem *mem) {
    if (mem->slab) {
        gb_slab_populate(mem->slab, mem->block);
    }
}

void gb_mem_shorten(struct gb_mem *mem, uint64_t bytes) {
    mem->bytes = GB_MIN(mem->bytes, bytes);
}
