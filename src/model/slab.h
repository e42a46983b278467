/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slab of one worker process: a sealed memfd, its mapping here, and the allocator over it.
 *
 * The worker may write anywhere in it at any time, so all bookkeeping lives on our heap. One slab
 * belongs to one process; the next process gets a new one, so that what a dead or dying worker
 * writes late can never reach a later job. A slab lives until its last block is released.
 * Pages of freed blocks are kept up to a limit, so that a call does not fault in what the last one
 * gave up: charged to the host while they are kept, given back when unused for a while or when
 * somebody else would be refused. A private slab, for inline models, is the same without a worker.
 * Threads: any (one mutex, a leaf). Ownership: counted. Errors: GB_IO, out of memory.
 */
#ifndef GB_MODEL_SLAB_H
#define GB_MODEL_SLAB_H

#include "base/error.h"
#include "ledger/ledger.h"
#include "wire/wire.h"

/* What is kept also when nobody used it for long, or where the options say nothing. */
#define GB_SLAB_WARM_BYTES ((uint64_t)1024 * 1024)
#define GB_SLAB_BYTES_MAX ((uint64_t)1 << 40)

struct gb_slab;
struct gb_slab_block; /* one piece of a slab, on our heap */

struct gb_slab_options {
    uint64_t bytes;             /* rounded up to pages */
    uint64_t keep_bytes;        /* pages kept of freed blocks, at most */
    struct gb_account *account; /* the host's, for what is kept; may be NULL */
    bool is_private;            /* memory of this process alone, which no worker can map */
};
/* A fresh slab with an initialised head. *ret_fd is for passing to the worker: close-on-exec,
 * sealed against shrinking, growing and further seals; the caller closes it. -1 for a private one.
 */
struct gb_slab *gb_slab_new(const struct gb_slab_options *options, int *ret_fd,
                            struct gb_error **err);
struct gb_slab *gb_slab_ref(struct gb_slab *slab);
void gb_slab_unref(struct gb_slab *slab);
struct gb_slab_head *gb_slab_head(struct gb_slab *slab);
uint64_t gb_slab_bytes(const struct gb_slab *slab);

/* NULL with *err NULL when there is no room; NULL with *err set when memory ran out. The contents
 * are undefined. The block does not hold the slab: its owner does. bytes 0 is taken as 1. */
struct gb_slab_block *gb_slab_alloc(struct gb_slab *slab, uint64_t bytes, struct gb_error **err);
/* As above, counted as one owner's (any address that stays while it has blocks; may be NULL: nobody
 * counts). lasting: for somebody who may hold it for long, so there is no room either where the
 * owner would then hold more than is left free. Thus one owner gets half of the slab, two get a
 * third each, and nobody can take it from the others by holding on. */
struct gb_slab_block *gb_slab_alloc_for(struct gb_slab *slab, uint64_t bytes, const void *owner,
                                        bool lasting, struct gb_error **err);
/* Does the block's owner hold more than is left free? */
bool gb_slab_over_share(struct gb_slab *slab, const struct gb_slab_block *block);
void gb_slab_release(struct gb_slab *slab, struct gb_slab_block *block);
uint64_t gb_slab_offset(const struct gb_slab_block *block);
/* Of a block just allocated: what follows these bytes is zeros, and has no memory yet (unless the
 * worker wrote there, which then sees its own). */
uint64_t gb_slab_dirty_bytes(const struct gb_slab_block *block);
uint8_t *gb_slab_ptr(const struct gb_slab *slab, const struct gb_slab_block *block);
/* Of a block just allocated that is about to be filled: brings its memory in one go. May do
 * nothing. */
void gb_slab_populate(struct gb_slab *slab, const struct gb_slab_block *block);
bool gb_slab_is_private(const struct gb_slab *slab);
/* To be called now and then: gives back what was kept all the time since the last call, but for
 * GB_SLAB_WARM_BYTES. false: there is nothing that could ever be given back. */
bool gb_slab_trim(struct gb_slab *slab);

struct gb_slab_usage {
    uint64_t used_bytes;  /* handed out, with rounding */
    uint64_t warm_bytes;  /* free, and still backed by pages */
    uint64_t kept_bytes;  /* of these charged to the host */
    uint64_t free_blocks; /* pieces that the free bytes are in */
    uint64_t blocks;
};
struct gb_slab_usage gb_slab_usage(struct gb_slab *slab);
/* Walks all blocks: ordered, gapless, coalesced, counters right. For tests. */
bool gb_slab_valid(struct gb_slab *slab);

/* ---- inside model/: tensor memory in a given slab (model/mem.c) ---- */

struct gb_mem;
/* bytes in that slab, charged to the account (may be NULL) before anything is allocated; zeroed
 * when asked. NULL with *err NULL when the slab has no room (the charge is undone). */
struct gb_mem *gb_mem_new_in(struct gb_slab *slab, uint64_t bytes, bool zeroed,
                             struct gb_account *account, struct gb_error **err);
/* As above, for what its holder may keep for long: no room either beyond the share of a tenant. */
struct gb_mem *gb_mem_new_lasting_in(struct gb_slab *slab, uint64_t bytes, bool zeroed,
                                     struct gb_account *account, struct gb_error **err);
/* On the heap, zeroed. */
struct gb_mem *gb_mem_new_heap(uint64_t bytes, struct gb_account *account, struct gb_error **err);
/* As above; zeroed only when asked. */
struct gb_mem *gb_mem_new_heap_as(uint64_t bytes, bool zeroed, struct gb_account *account,
                                  struct gb_error **err);
/* The slab the bytes lie in, NULL for heap; and where. */
const struct gb_slab *gb_mem_slab(const struct gb_mem *mem);
uint64_t gb_mem_offset(const struct gb_mem *mem);
/* To be called before all of it is written; see gb_slab_populate. */
void gb_mem_populate(const struct gb_mem *mem);
/* Makes it end earlier; what is charged and reserved stays. */
void gb_mem_shorten(struct gb_mem *mem, uint64_t bytes);

#endif
