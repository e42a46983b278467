/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First fit over blocks in the order of their offsets. Every block, used or free, is a node of one
 * list; free ones are also in a second list in the same order. Splitting makes the only node, so
 * releasing never allocates and never fails. First fit keeps what is used low, where pages are
 * warm.
 */
#include "model/slab_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"

static bool seal(int fd, uint64_t bytes, struct gb_error **err) {
    if (gb_sys(GB_SYS_TRUNCATE, -1, ftruncate(fd, (off_t)bytes)) != 0) {
        int eno = errno;
        return gb_fail_errno(err, GB_IO, eno, "could not size the slab to %llu bytes: %s",
                             (unsigned long long)bytes, strerror(eno));
    }
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (gb_sys(GB_SYS_SEAL, -1, fcntl(fd, F_ADD_SEALS, seals)) != 0) {
        int eno = errno;
        return gb_fail_errno(err, GB_IO, eno, "could not seal the slab: %s", strerror(eno));
    }
    return true;
}

static bool slab_map(struct gb_slab *slab, int fd, struct gb_error **err) {
    int flags = slab->is_private ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *map = gb_sys(GB_SYS_MMAP, MAP_FAILED, mmap(NULL, slab->bytes, PROT_READ | PROT_WRITE,
                                                     flags | MAP_NORESERVE, fd, 0));
    if (map == MAP_FAILED) {
        int eno = errno;
        gb_fail_errno(err, GB_IO, eno, "could not map a slab of %llu bytes: %s",
                      (unsigned long long)slab->bytes, strerror(eno));
        return gb_hint(err, "Raise the limit on address space, or make the slab smaller.");
    }
    slab->map = map;
    (void)madvise(map, slab->bytes, MADV_DONTDUMP); /* tensors do not belong in cores */
    return true;
}

/* The descriptor of a shared one; -1 with *err set, or for a private one. */
static bool slab_open(struct gb_slab *slab, int *ret_fd, struct gb_error **err) {
    int fd = -1;
    bool ok = slab->is_private ||
              ((fd = gb_memfd_new("glovebox-slab", err)) >= 0 && seal(fd, slab->bytes, err));
    if (!ok || !slab_map(slab, fd, err)) {
        gb_fd_close(&fd);
        return false;
    }
    *ret_fd = fd;
    return true;
}

static void keeper_give_back(void *user, uint64_t bytes) {
    struct gb_slab *slab = user;
    pthread_mutex_lock(&slab->lock);
    gb_slab_pages_drop(slab, bytes);
    pthread_mutex_unlock(&slab->lock);
}

struct gb_slab *gb_slab_new(const struct gb_slab_options *options, int *ret_fd,
                            struct gb_error **err) {
    if (options->bytes > GB_SLAB_BYTES_MAX || options->bytes <= GB_SLAB_DATA_OFFSET) {
        gb_fail(err, GB_INVALID_ARGUMENT, "a slab cannot have %llu bytes",
                (unsigned long long)options->bytes);
        return NULL;
    }
    uint64_t bytes = gb_round_up_u64(options->bytes, GB_PAGE_BYTES);
    struct gb_slab *slab = gb_calloc(1, sizeof *slab, err);
    struct gb_slab_block *all = slab ? gb_calloc(1, sizeof *all, err) : NULL;
    uint8_t *pages = all ? gb_calloc(bytes / GB_PAGE_BYTES, 1, err) : NULL;
    if (pages) {
        slab->bytes = bytes;
        slab->keep_bytes = options->keep_bytes;
        slab->is_private = options->is_private;
    }
    if (!pages || !slab_open(slab, ret_fd, err)) {
        gb_free(pages);
        gb_free(all);
        gb_free(slab);
        return NULL;
    }
    atomic_init(&slab->refs, 1);
    pthread_mutex_init(&slab->lock, NULL);
    slab->pages = pages;
    *all = (struct gb_slab_block){
        .offset = GB_SLAB_DATA_OFFSET, .bytes = bytes - GB_SLAB_DATA_OFFSET, .is_free = true};
    slab->first = all;
    slab->first_free = all;
    gb_slab_init(gb_slab_head(slab), bytes);
    if (options->account) {
        slab->account = gb_account_ref(options->account);
        slab->keeper = (struct gb_keeper){.give_back = keeper_give_back, .user = slab};
        gb_account_add_keeper(slab->account, &slab->keeper);
    }
    return slab;
}

struct gb_slab *gb_slab_ref(struct gb_slab *slab) {
    atomic_fetch_add_explicit(&slab->refs, 1, memory_order_relaxed);
    return slab;
}

void gb_slab_unref(struct gb_slab *slab) {
    if (!slab || atomic_fetch_sub_explicit(&slab->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    if (slab->account) {
        gb_account_remove_keeper(slab->account, &slab->keeper); /* before anything goes away */
    }
    munmap(slab->map, slab->bytes);
    if (slab->account) {
        gb_uncharge(slab->account, GB_CHARGE_KEPT, slab->kept_bytes);
        gb_account_unref(slab->account);
    }
    for (struct gb_slab_block *b = slab->first; b;) {
        struct gb_slab_block *next = b->next;
        gb_free(b);
        b = next;
    }
    while (slab->shares) {
        struct gb_slab_share *next = slab->shares->next;
        gb_free(slab->shares);
        slab->shares = next;
    }
    pthread_mutex_destroy(&slab->lock);
    gb_free(slab->pages);
    gb_free(slab);
}

struct gb_slab_head *gb_slab_head(struct gb_slab *slab) {
    return (struct gb_slab_head *)(void *)slab->map;
}

uint64_t gb_slab_bytes(const struct gb_slab *slab) {
    return slab->bytes;
}

bool gb_slab_is_private(const struct gb_slab *slab) {
    return slab->is_private;
}

uint64_t gb_slab_offset(const struct gb_slab_block *block) {
    return block->offset;
}

uint64_t gb_slab_dirty_bytes(const struct gb_slab_block *block) {
    return block->dirty_bytes;
}

uint8_t *gb_slab_ptr(const struct gb_slab *slab, const struct gb_slab_block *block) {
    return slab->map + block->offset;
}

/* ---- the lists ---- */

static void free_list_remove(struct gb_slab *slab, struct gb_slab_block *b) {
    if (b->prev_free) {
        b->prev_free->next_free = b->next_free;
    } else {
        slab->first_free = b->next_free;
    }
    if (b->next_free) {
        b->next_free->prev_free = b->prev_free;
    }
    b->prev_free = NULL;
    b->next_free = NULL;
}

static void free_list_insert_after(struct gb_slab *slab, struct gb_slab_block *before,
                                   struct gb_slab_block *b) {
    b->prev_free = before;
    b->next_free = before ? before->next_free : slab->first_free;
    if (before) {
        before->next_free = b;
    } else {
        slab->first_free = b;
    }
    if (b->next_free) {
        b->next_free->prev_free = b;
    }
}

/* Takes b, which lies behind `into`, out of the list of all blocks and adds its bytes. */
static void merge(struct gb_slab_block *into, struct gb_slab_block *b) {
    into->bytes += b->bytes;
    into->next = b->next;
    if (b->next) {
        b->next->prev = into;
    }
    gb_free(b);
}

/* ---- shares ---- */

static uint64_t free_bytes(const struct gb_slab *slab) {
    return slab->bytes - GB_SLAB_DATA_OFFSET - slab->used_bytes;
}

/* NULL without memory. */
static struct gb_slab_share *share_of(struct gb_slab *slab, const void *owner,
                                      struct gb_error **err) {
    struct gb_slab_share *share = slab->shares;
    while (share && share->owner != owner) {
        share = share->next;
    }
    if (!share && (share = gb_calloc(1, sizeof *share, err)) != NULL) {
        share->owner = owner;
        share->next = slab->shares;
        slab->shares = share;
    }
    return share;
}

static void share_give_back(struct gb_slab *slab, struct gb_slab_share *share, uint64_t bytes) {
    if (!share || (share->bytes -= bytes) > 0) {
        return;
    }
    struct gb_slab_share **at = &slab->shares;
    while (*at != share) {
        at = &(*at)->next;
    }
    *at = share->next;
    gb_free(share);
}

/* ---- allocation ---- */

/* Cuts b to `bytes`; the rest becomes a free block in b's place of the free list. */
static bool split(struct gb_slab *slab, struct gb_slab_block *b, uint64_t bytes,
                  struct gb_error **err) {
    struct gb_slab_block *rest = gb_calloc(1, sizeof *rest, err);
    if (!rest) {
        return false;
    }
    rest->offset = b->offset + bytes;
    rest->bytes = b->bytes - bytes;
    rest->is_free = true;
    rest->prev = b;
    rest->next = b->next;
    if (b->next) {
        b->next->prev = rest;
    }
    b->next = rest;
    b->bytes = bytes;
    free_list_insert_after(slab, b, rest);
    return true;
}

/* First fit; under the lock. */
static struct gb_slab_block *block_take(struct gb_slab *slab, uint64_t want,
                                        struct gb_error **err) {
    struct gb_slab_block *b = slab->first_free;
    while (b && b->bytes < want) {
        b = b->next_free;
    }
    if (b && b->bytes > want && !split(slab, b, want, err)) {
        b = NULL;
    }
    if (b) {
        free_list_remove(slab, b);
        b->is_free = false;
        slab->used_bytes += b->bytes;
        b->dirty_bytes = gb_slab_pages_take(slab, b->offset, b->bytes);
    }
    return b;
}

struct gb_slab_block *gb_slab_alloc(struct gb_slab *slab, uint64_t bytes, struct gb_error **err) {
    return gb_slab_alloc_for(slab, bytes, NULL, false, err);
}

struct gb_slab_block *gb_slab_alloc_for(struct gb_slab *slab, uint64_t bytes, const void *owner,
                                        bool lasting, struct gb_error **err) {
    if (bytes > slab->bytes) {
        return NULL;
    }
    uint64_t want = gb_round_up_u64(bytes == 0 ? 1 : bytes, GB_SLAB_ALIGN);
    struct gb_slab_block *b = NULL;
    pthread_mutex_lock(&slab->lock);
    struct gb_slab_share *share = owner ? share_of(slab, owner, err) : NULL;
    uint64_t left = free_bytes(slab);
    bool fits = share ? !lasting || (want <= left && share->bytes + want <= left - want) : !owner;
    if (fits && (b = block_take(slab, want, err)) != NULL) {
        b->share = share;
        if (share) {
            share->bytes += b->bytes;
        }
    } else {
        share_give_back(slab, share, 0); /* it may be new */
    }
    pthread_mutex_unlock(&slab->lock);
    return b;
}

bool gb_slab_over_share(struct gb_slab *slab, const struct gb_slab_block *block) {
    pthread_mutex_lock(&slab->lock);
    bool over = block->share && block->share->bytes > free_bytes(slab);
    pthread_mutex_unlock(&slab->lock);
    return over;
}

void gb_slab_release(struct gb_slab *slab, struct gb_slab_block *b) {
    if (!b) {
        return;
    }
    pthread_mutex_lock(&slab->lock);
    uint64_t offset = b->offset;
    uint64_t bytes = b->bytes;
    slab->used_bytes -= bytes;
    share_give_back(slab, b->share, bytes);
    b->share = NULL;
    b->is_free = true;
    struct gb_slab_block *before = b->prev;
    while (before && !before->is_free) {
        before = before->prev;
    }
    free_list_insert_after(slab, before, b);
    if (b->next && b->next->is_free) {
        free_list_remove(slab, b->next);
        merge(b, b->next);
    }
    if (b->prev && b->prev->is_free) {
        struct gb_slab_block *into = b->prev;
        free_list_remove(slab, b);
        merge(into, b);
        b = into;
    }
    gb_slab_pages_release(slab, b, offset, bytes);
    pthread_mutex_unlock(&slab->lock);
}

/* ---- for tests and status ---- */

struct gb_slab_usage gb_slab_usage(struct gb_slab *slab) {
    struct gb_slab_usage usage = {0};
    pthread_mutex_lock(&slab->lock);
    usage.used_bytes = slab->used_bytes;
    usage.warm_bytes = slab->warm_pages * GB_PAGE_BYTES;
    usage.kept_bytes = slab->kept_bytes;
    for (const struct gb_slab_block *b = slab->first; b; b = b->next) {
        usage.blocks++;
        usage.free_blocks += b->is_free;
    }
    pthread_mutex_unlock(&slab->lock);
    return usage;
}

bool gb_slab_valid(struct gb_slab *slab) {
    bool ok = true;
    uint64_t at = GB_SLAB_DATA_OFFSET;
    uint64_t used = 0;
    uint64_t warm = 0;
    pthread_mutex_lock(&slab->lock);
    const struct gb_slab_block *expected_free = slab->first_free;
    for (const struct gb_slab_block *b = slab->first; ok && b; b = b->next) {
        ok = b->offset == at && b->bytes > 0 && b->bytes % GB_SLAB_ALIGN == 0 &&
             (!b->next || b->next->prev == b) && !(b->is_free && b->next && b->next->is_free);
        at += b->bytes;
        used += b->is_free ? 0 : b->bytes;
        if (b->is_free) {
            ok = ok && b == expected_free;
            expected_free = b->next_free;
        }
    }
    for (uint64_t p = 0; p < slab->bytes / GB_PAGE_BYTES; p++) {
        warm += slab->pages[p] == GB_PAGE_WARM;
    }
    ok = ok && at == slab->bytes && !expected_free && used == slab->used_bytes &&
         warm == slab->warm_pages && warm * GB_PAGE_BYTES <= slab->keep_bytes &&
         slab->kept_bytes == (slab->account ? warm * GB_PAGE_BYTES : 0);
    pthread_mutex_unlock(&slab->lock);
    return ok;
}
