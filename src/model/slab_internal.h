/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What slab.c (blocks) and slab_pages.c (the memory behind them) share.
 * Threads: everything here under the slab's lock, but for what never changes.
 */
#ifndef GB_MODEL_SLAB_INTERNAL_H
#define GB_MODEL_SLAB_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "model/slab.h"

#define GB_PAGE_BYTES 4096u

enum gb_page_state {
    GB_PAGE_COLD = 0, /* no memory behind it */
    GB_PAGE_TAKEN,    /* was cold when a used block took it: maybe filled since */
    GB_PAGE_BUSY,     /* was warm when a used block took it */
    GB_PAGE_WARM      /* wholly free, and memory is behind it */
};

/* What one owner holds; exists while that is more than nothing. */
struct gb_slab_share {
    struct gb_slab_share *next;
    const void *owner;
    uint64_t bytes;
};

struct gb_slab_block {
    uint64_t offset;
    uint64_t bytes;
    uint64_t dirty_bytes; /* of a used block: from its start, what may not be zeros */
    bool is_free;
    struct gb_slab_share *share;                 /* of a used block; NULL: nobody's */
    struct gb_slab_block *prev, *next;           /* all blocks */
    struct gb_slab_block *prev_free, *next_free; /* free ones */
};

struct gb_slab {
    _Atomic uint64_t refs;
    /* constant */
    uint8_t *map;
    uint64_t bytes;
    uint64_t keep_bytes;
    bool is_private;
    struct gb_account *account; /* may be NULL */
    struct gb_keeper keeper;    /* on that account's list */
    pthread_mutex_t lock;
    /* below: under lock */
    struct gb_slab_block *first;
    struct gb_slab_block *first_free;
    struct gb_slab_share *shares; /* few: one per tenant that uses the model now */
    uint64_t used_bytes;
    uint64_t warm_pages;
    uint64_t warm_pages_min; /* since the last trim */
    uint64_t kept_bytes;     /* charged to the account for warm pages */
    uint8_t *pages;          /* enum gb_page_state each */
};

/* For a block just taken. Returns how many bytes of it may not be zeros; the rest lies in pages
 * that are not there. */
uint64_t gb_slab_pages_take(struct gb_slab *slab, uint64_t offset, uint64_t bytes);
/* For [offset, offset + bytes), just freed, and the free block b that it is part of now. */
void gb_slab_pages_release(struct gb_slab *slab, const struct gb_slab_block *b, uint64_t offset,
                           uint64_t bytes);
/* Gives back so many bytes of warm pages, the highest first. */
void gb_slab_pages_drop(struct gb_slab *slab, uint64_t bytes);

#endif
