/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory behind a slab's blocks. Every page has a state; warm ones are counted, charged to the
 * host, and given back past the limit, when unused for a while, or when the ledger asks.
 *
 * Why no tenant sees another's bytes in a page that was kept: an input is overwritten in full
 * before its job exists; an output is cleared as far as it may hold anything (dirty_bytes) before
 * the worker gets it, so what an engine leaves unwritten reads as zeros; nothing else of a slab
 * reaches a guest. TAKEN and BUSY pages count as dirty, and only COLD ones, which the kernel hands
 * out as zeros, need no clearing.
 * Errors: none; memory that cannot be given back stays warm, and the next release tries again.
 */
#include <string.h>
#include <sys/mman.h>

#include "base/fault.h"
#include "base/num.h"
#include "model/slab_internal.h"

#define LOOK_PAGES 1024u            /* looked up at once */
#define POPULATE_BYTES_MIN 65536u   /* below, single page faults are as good */

uint64_t gb_slab_pages_take(struct gb_slab *slab, uint64_t offset, uint64_t bytes) {
    uint64_t end = (offset + bytes + GB_PAGE_BYTES - 1) / GB_PAGE_BYTES;
    uint64_t dirty_end = offset;
    for (uint64_t p = offset / GB_PAGE_BYTES; p < end; p++) {
        uint8_t state = slab->pages[p];
        if (state != GB_PAGE_COLD) {
            dirty_end = (p + 1) * GB_PAGE_BYTES;
        }
        if (state == GB_PAGE_COLD) {
            slab->pages[p] = GB_PAGE_TAKEN;
        } else if (state == GB_PAGE_WARM) {
            slab->pages[p] = GB_PAGE_BUSY;
            slab->warm_pages--;
        }
    }
    slab->warm_pages_min = GB_MIN(slab->warm_pages_min, slab->warm_pages);
    uint64_t warm_bytes = slab->warm_pages * GB_PAGE_BYTES;
    if (slab->kept_bytes > warm_bytes) {
        gb_uncharge(slab->account, GB_CHARGE_KEPT, slab->kept_bytes - warm_bytes);
        slab->kept_bytes = warm_bytes;
    }
    return GB_MIN(dirty_end - offset, bytes);
}

/* [first, end) are warm pages. false: they stay. */
static bool give_back(struct gb_slab *slab, uint64_t first, uint64_t end) {
    uint8_t *at = slab->map + first * GB_PAGE_BYTES;
    int advice = slab->is_private ? MADV_DONTNEED : MADV_REMOVE;
    if (gb_sys(GB_SYS_MADVISE, -1, madvise(at, (end - first) * GB_PAGE_BYTES, advice)) != 0) {
        return false;
    }
    memset(slab->pages + first, GB_PAGE_COLD, end - first);
    slab->warm_pages -= end - first;
    return true;
}

/* Makes what is charged follow what is warm; false: the account has no room for all of it. */
static bool settle(struct gb_slab *slab) {
    uint64_t warm_bytes = slab->warm_pages * GB_PAGE_BYTES;
    slab->warm_pages_min = GB_MIN(slab->warm_pages_min, slab->warm_pages);
    if (!slab->account || warm_bytes == slab->kept_bytes) {
        return true;
    }
    if (warm_bytes < slab->kept_bytes) {
        gb_uncharge(slab->account, GB_CHARGE_KEPT, slab->kept_bytes - warm_bytes);
    } else if (!gb_charge_kept(slab->account, warm_bytes - slab->kept_bytes)) {
        return false;
    }
    slab->kept_bytes = warm_bytes;
    return true;
}

void gb_slab_pages_drop(struct gb_slab *slab, uint64_t bytes) {
    uint64_t wanted = GB_MIN((bytes + GB_PAGE_BYTES - 1) / GB_PAGE_BYTES, slab->warm_pages);
    uint64_t end = slab->bytes / GB_PAGE_BYTES;
    bool ok = true;
    while (ok && wanted > 0 && end > 0) {
        if (slab->pages[end - 1] != GB_PAGE_WARM) {
            end--;
            continue;
        }
        uint64_t first = end;
        while (first > 0 && end - first < wanted && slab->pages[first - 1] == GB_PAGE_WARM) {
            first--;
        }
        ok = give_back(slab, first, end);
        wanted -= end - first;
        end = first;
    }
    (void)settle(slab);
}

/* Not every page that was taken was also filled: a job may have ended before it ran. Asking costs
 * less than filling did; where that fails they pass for filled. */
static void find_filled(struct gb_slab *slab, uint64_t first, uint64_t end) {
    unsigned char there[LOOK_PAGES];
    while (first < end) {
        if (slab->pages[first] != GB_PAGE_TAKEN) {
            first++;
            continue;
        }
        uint64_t len = 1;
        while (first + len < end && len < LOOK_PAGES && slab->pages[first + len] == GB_PAGE_TAKEN) {
            len++;
        }
        if (gb_sys(GB_SYS_MADVISE, -1, mincore(slab->map + first * GB_PAGE_BYTES,
                                               len * GB_PAGE_BYTES, there)) != 0) {
            memset(there, 1, sizeof there);
        }
        for (uint64_t i = 0; i < len; i++) {
            slab->pages[first + i] = there[i] & 1 ? GB_PAGE_BUSY : GB_PAGE_COLD;
        }
        first += len;
    }
}

void gb_slab_pages_release(struct gb_slab *slab, const struct gb_slab_block *b, uint64_t offset,
                           uint64_t bytes) {
    uint64_t low = GB_MAX(b->offset, offset / GB_PAGE_BYTES * GB_PAGE_BYTES);
    uint64_t high = GB_MIN(b->offset + b->bytes, gb_round_up_u64(offset + bytes, GB_PAGE_BYTES));
    uint64_t first = (low + GB_PAGE_BYTES - 1) / GB_PAGE_BYTES;
    uint64_t end = high / GB_PAGE_BYTES;
    if (first >= end) {
        return;
    }
    find_filled(slab, first, end);
    uint64_t added = 0;
    for (uint64_t p = first; p < end; p++) {
        if (slab->pages[p] == GB_PAGE_BUSY) {
            slab->pages[p] = GB_PAGE_WARM;
            added++;
        }
    }
    slab->warm_pages += added;
    /* Down to below the limit in one go, so that many small blocks cost few system calls; the low
     * pages stay, which first fit hands out next. */
    uint64_t slack = GB_MIN(slab->keep_bytes, GB_SLAB_WARM_BYTES) / 2;
    uint64_t warm_bytes = slab->warm_pages * GB_PAGE_BYTES;
    if (warm_bytes > slab->keep_bytes) {
        gb_slab_pages_drop(slab, warm_bytes - (slab->keep_bytes - slack));
    } else if (!settle(slab)) {
        gb_slab_pages_drop(slab, warm_bytes - slab->kept_bytes);
    }
}

void gb_slab_populate(struct gb_slab *slab, const struct gb_slab_block *block) {
    /* What is beyond dirty_bytes lies in whole pages that nobody has. */
    uint64_t from = gb_round_up_u64(block->offset + block->dirty_bytes, GB_PAGE_BYTES);
    uint64_t end = (block->offset + block->bytes) / GB_PAGE_BYTES * GB_PAGE_BYTES;
    if (end > from && end - from >= POPULATE_BYTES_MIN) {
        (void)madvise(slab->map + from, end - from, MADV_POPULATE_WRITE);
    }
}

bool gb_slab_trim(struct gb_slab *slab) {
    pthread_mutex_lock(&slab->lock);
    uint64_t unused_bytes = slab->warm_pages_min * GB_PAGE_BYTES;
    if (unused_bytes > GB_SLAB_WARM_BYTES) {
        gb_slab_pages_drop(slab, unused_bytes - GB_SLAB_WARM_BYTES);
    }
    slab->warm_pages_min = slab->warm_pages;
    bool more = slab->used_bytes > 0 || slab->warm_pages * GB_PAGE_BYTES > GB_SLAB_WARM_BYTES;
    pthread_mutex_unlock(&slab->lock);
    return more;
}
