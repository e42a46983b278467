/* SPDX-License-Identifier: Apache-2.0 */
/* The slab allocator: fitting, splitting, joining, running full, pages given back, and a long
 * random run against a model of what is allocated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "model/slab.h"
#include "model/worker.h"

#define SLAB_BYTES ((uint64_t)16 * 1024 * 1024)
#define DATA_BYTES (SLAB_BYTES - GB_SLAB_DATA_OFFSET)

static const struct gb_slab_options plain = {.bytes = SLAB_BYTES,
                                             .keep_bytes = GB_SLAB_WARM_BYTES};

static struct gb_slab *new_slab(int *ret_fd) {
    struct gb_error *e = NULL;
    struct gb_slab *slab = gb_slab_new(&plain, ret_fd, &e);
    assert_non_null(slab);
    assert_null(e);
    return slab;
}

static struct gb_slab_block *take(struct gb_slab *slab, uint64_t bytes) {
    struct gb_error *e = NULL;
    struct gb_slab_block *b = gb_slab_alloc(slab, bytes, &e);
    assert_null(e);
    return b;
}

static void slab_is_sealed_and_has_a_head(void **state) {
    (void)state;
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert_int_equal(ftruncate(fd, 4096), -1);
    assert_int_equal(ftruncate(fd, (off_t)SLAB_BYTES * 2), -1);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_true(gb_slab_check(gb_slab_head(slab), SLAB_BYTES, NULL));
    close(fd);
    gb_slab_unref(slab);
}

static void slab_sizes_that_cannot_be_are_refused(void **state) {
    (void)state;
    int fd = -1;
    struct gb_error *e = NULL;
    struct gb_slab_options options = {.bytes = GB_SLAB_DATA_OFFSET};
    assert_null(gb_slab_new(&options, &fd, &e));
    assert_int_equal(e->code, GB_INVALID_ARGUMENT);
    gb_error_clear(&e);
    options.bytes = UINT64_MAX;
    assert_null(gb_slab_new(&options, &fd, &e));
    assert_int_equal(e->code, GB_INVALID_ARGUMENT);
    gb_error_clear(&e);
    assert_int_equal(fd, -1);
}

static void blocks_are_aligned_and_freed_ones_join(void **state) {
    (void)state;
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    struct gb_slab_block *a = take(slab, 1);
    struct gb_slab_block *b = take(slab, 100);
    struct gb_slab_block *c = take(slab, 64);
    assert_int_equal(gb_slab_offset(a), GB_SLAB_DATA_OFFSET);
    assert_int_equal(gb_slab_offset(b), GB_SLAB_DATA_OFFSET + 64);
    assert_int_equal(gb_slab_offset(c), GB_SLAB_DATA_OFFSET + 64 + 128);
    gb_slab_release(slab, a);
    gb_slab_release(slab, c);
    assert_true(gb_slab_valid(slab));
    assert_int_equal(gb_slab_usage(slab).free_blocks, 2);
    gb_slab_release(slab, b); /* joins both sides */
    assert_true(gb_slab_valid(slab));
    assert_int_equal(gb_slab_usage(slab).blocks, 1);
    assert_int_equal(gb_slab_usage(slab).used_bytes, 0);
    struct gb_slab_block *all = take(slab, DATA_BYTES);
    assert_non_null(all);
    gb_slab_release(slab, all);
    close(fd);
    gb_slab_unref(slab);
}

static void full_slab_says_so_without_an_error(void **state) {
    (void)state;
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    struct gb_slab_block *half = take(slab, DATA_BYTES / 2);
    assert_non_null(half);
    assert_null(take(slab, DATA_BYTES / 2 + 64));
    assert_null(take(slab, UINT64_MAX));
    assert_null(take(slab, UINT64_MAX - 62));
    struct gb_slab_block *rest = take(slab, DATA_BYTES / 2);
    assert_non_null(rest);
    assert_null(take(slab, 1));
    gb_slab_release(slab, half);
    gb_slab_release(slab, rest);
    assert_true(gb_slab_valid(slab));
    close(fd);
    gb_slab_unref(slab);
}

static void fragmented_slab_refuses_what_no_hole_holds(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    static struct gb_slab_block *blocks[COUNT];
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    uint64_t each = DATA_BYTES / COUNT / 64 * 64;
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = take(slab, each);
        assert_non_null(blocks[i]);
    }
    for (size_t i = 0; i < COUNT; i += 2) {
        gb_slab_release(slab, blocks[i]);
    }
    assert_true(gb_slab_valid(slab));
    assert_null(take(slab, each + DATA_BYTES % (each * COUNT) + 64));
    struct gb_slab_block *fits = take(slab, each);
    assert_int_equal(gb_slab_offset(fits), GB_SLAB_DATA_OFFSET); /* the lowest hole */
    gb_slab_release(slab, fits);
    for (size_t i = 1; i < COUNT; i += 2) {
        gb_slab_release(slab, blocks[i]);
    }
    assert_true(gb_slab_valid(slab));
    assert_int_equal(gb_slab_usage(slab).blocks, 1);
    close(fd);
    gb_slab_unref(slab);
}

static uint64_t backed_bytes(int fd) {
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void pages_of_freed_blocks_go_back_to_the_kernel(void **state) {
    (void)state;
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    uint64_t idle = backed_bytes(fd);
    struct gb_slab_block *b = take(slab, 8 * GB_MIB);
    memset(gb_slab_ptr(slab, b), 1, 8 * GB_MIB);
    assert_true(backed_bytes(fd) >= idle + 8 * GB_MIB);
    gb_slab_release(slab, b);
    assert_true(backed_bytes(fd) <= idle + GB_SLAB_WARM_BYTES);
    assert_true(gb_slab_usage(slab).warm_bytes <= GB_SLAB_WARM_BYTES);
    /* A small one stays warm: no page faults in every call. */
    b = take(slab, 64 * GB_KIB);
    memset(gb_slab_ptr(slab, b), 1, 64 * GB_KIB);
    gb_slab_release(slab, b);
    assert_true(gb_slab_usage(slab).warm_bytes >= 64 * GB_KIB);
    /* Many small ones do not pile up. */
    static struct gb_slab_block *many[1024];
    for (size_t i = 0; i < GB_COUNT(many); i++) {
        many[i] = take(slab, 8000);
        memset(gb_slab_ptr(slab, many[i]), 2, 8000);
    }
    for (size_t i = 0; i < GB_COUNT(many); i++) {
        gb_slab_release(slab, many[i]);
    }
    assert_true(gb_slab_valid(slab));
    assert_true(backed_bytes(fd) <= idle + GB_SLAB_WARM_BYTES + 64 * GB_KIB);
    close(fd);
    gb_slab_unref(slab);
}

static uint64_t random_state = 88172645463325252u;
static uint64_t random_next(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Every block is filled with its own number; whoever overlaps is found out. */
static void random_operations_never_overlap(void **state) {
    (void)state;
    enum { SLOTS = 200, STEPS = 20000 };
    static struct {
        struct gb_slab_block *block;
        uint64_t bytes;
        uint8_t mark;
    } slots[SLOTS];
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    for (size_t step = 0; step < STEPS; step++) {
        size_t i = random_next() % SLOTS;
        if (slots[i].block) {
            const uint8_t *bytes = gb_slab_ptr(slab, slots[i].block);
            for (uint64_t k = 0; k < slots[i].bytes; k += 61) {
                assert_int_equal(bytes[k], slots[i].mark);
            }
            assert_int_equal(bytes[slots[i].bytes - 1], slots[i].mark);
            gb_slab_release(slab, slots[i].block);
            slots[i].block = NULL;
        } else {
            uint64_t shift = random_next() % 19;
            slots[i].bytes = 1 + random_next() % ((uint64_t)1 << shift);
            slots[i].mark = (uint8_t)(random_next() | 1);
            slots[i].block = take(slab, slots[i].bytes);
            if (slots[i].block) {
                assert_int_equal(gb_slab_offset(slots[i].block) % GB_SLAB_ALIGN, 0);
                memset(gb_slab_ptr(slab, slots[i].block), slots[i].mark, slots[i].bytes);
            }
        }
        if (step % 500 == 0) {
            assert_true(gb_slab_valid(slab));
        }
    }
    for (size_t i = 0; i < SLOTS; i++) {
        gb_slab_release(slab, slots[i].block);
    }
    assert_true(gb_slab_valid(slab));
    assert_int_equal(gb_slab_usage(slab).blocks, 1);
    close(fd);
    gb_slab_unref(slab);
}

static void failed_allocations_change_nothing(void **state) {
    (void)state;
    int fd = -1;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        struct gb_error *e = NULL;
        gb_alloc_fail_at(nth);
        assert_null(gb_slab_new(&plain, &fd, &e));
        gb_alloc_fail_at(0);
        assert_non_null(e);
        gb_error_clear(&e);
        assert_int_equal(fd, -1);
    }
    struct gb_slab *slab = new_slab(&fd);
    struct gb_error *e = NULL;
    gb_alloc_fail_at(1);
    assert_null(gb_slab_alloc(slab, 100, &e));
    gb_alloc_fail_at(0);
    assert_non_null(e);
    gb_error_clear(&e);
    assert_true(gb_slab_valid(slab));
    close(fd);
    gb_slab_unref(slab);
}

/* Those who hold on get an equal share, and leave one for whoever comes next. */
static void lasting_blocks_end_at_the_owners_share(void **state) {
    (void)state;
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    struct gb_slab_block *held[3][64] = {0};
    const uint64_t bytes = (gb_slab_bytes(slab) - GB_SLAB_DATA_OFFSET) / 64 / 64 * 64;
    const size_t expected[3] = {32, 16, 8};
    struct gb_error *e = NULL;
    for (size_t owner = 0; owner < 3; owner++) {
        size_t count = 0;
        while ((held[owner][count] =
                    gb_slab_alloc_for(slab, bytes, &held[owner], true, &e)) != NULL) {
            count++;
        }
        assert_null(e);
        assert_int_equal(count, expected[owner]);
        assert_true(gb_slab_valid(slab));
    }
    /* What does not last takes what is there, and then is over the share. */
    struct gb_slab_block *job = gb_slab_alloc_for(slab, 6 * bytes, &held[0], false, &e);
    assert_non_null(job);
    assert_true(gb_slab_over_share(slab, job));
    gb_slab_release(slab, job);
    for (size_t owner = 0; owner < 3; owner++) {
        for (size_t i = 0; held[owner][i]; i++) {
            gb_slab_release(slab, held[owner][i]);
        }
    }
    job = gb_slab_alloc_for(slab, 6 * bytes, &held[0], false, &e);
    assert_false(gb_slab_over_share(slab, job));
    gb_slab_release(slab, job);
    assert_true(gb_slab_valid(slab));
    assert_int_equal(gb_slab_usage(slab).used_bytes, 0);
    close(fd);
    gb_slab_unref(slab);
}

static void results_over_the_share_are_kept_on_the_heap_with_their_charge(void **state) {
    (void)state;
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    struct gb_error *e = NULL;
    const uint64_t all = gb_slab_bytes(slab);
    struct gb_account *host = gb_account_new("host", NULL, 4 * all, &e);
    struct gb_account *tenant = gb_account_new("tenant", host, 4 * all, &e);
    struct gb_account *call = gb_account_new("call", tenant, 4 * all, &e);
    struct gb_mem *small = gb_mem_new_in(slab, 100, true, call, &e);
    struct gb_mem *kept = gb_mem_keep(small);
    assert_ptr_equal(kept, small);
    gb_mem_unref(kept);
    assert_null(gb_mem_new_lasting_in(slab, all / 4 * 3, true, call, &e));
    struct gb_mem *large = gb_mem_new_in(slab, all / 4 * 3, true, call, &e);
    assert_non_null(large);
    gb_mem_ptr(large)[5] = 7;
    uint64_t charged = gb_account_used(call);
    kept = gb_mem_keep(large);
    assert_ptr_not_equal(kept, large);
    assert_null(gb_mem_slab(kept));
    assert_int_equal(gb_mem_ptr(kept)[5], 7);
    gb_mem_unref(large);
    assert_int_equal(gb_account_used(call), charged);
    gb_mem_unref(kept);
    gb_mem_unref(small);
    assert_int_equal(gb_account_used(host), 0);
    assert_int_equal(gb_slab_usage(slab).used_bytes, 0);
    gb_account_unref(call);
    gb_account_unref(tenant);
    gb_account_unref(host);
    close(fd);
    gb_slab_unref(slab);
}

static void memory_is_charged_before_and_given_back(void **state) {
    (void)state;
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    struct gb_error *e = NULL;
    struct gb_account *account = gb_account_new("test", NULL, 1000, &e);
    struct gb_mem *mem = gb_mem_new_in(slab, 900, true, account, &e);
    assert_non_null(mem);
    assert_int_equal(gb_account_used_for(account, GB_CHARGE_TENSOR), 960);
    assert_null(gb_mem_new_in(slab, 100, true, account, &e));
    assert_int_equal(e->code, GB_BUDGET_EXCEEDED);
    gb_error_clear(&e);
    assert_null(gb_mem_new_heap(UINT64_MAX, account, &e));
    assert_int_equal(e->code, GB_BUDGET_EXCEEDED);
    gb_error_clear(&e);
    close(fd);
    gb_slab_unref(slab); /* the block keeps the slab */
    memset(gb_mem_ptr(mem), 7, 900);
    struct gb_mem *again = gb_mem_ref(mem);
    gb_mem_unref(mem);
    assert_int_equal(gb_mem_ptr(again)[899], 7);
    gb_mem_unref(again);
    assert_int_equal(gb_account_used(account), 0);
    gb_account_unref(account);
}

static void reused_blocks_are_zeroed(void **state) {
    (void)state;
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    struct gb_mem *mem = gb_mem_new_in(slab, 5000, true, NULL, NULL);
    memset(gb_mem_ptr(mem), 9, 5000);
    uint64_t offset = gb_mem_offset(mem);
    gb_mem_unref(mem);
    mem = gb_mem_new_in(slab, 5000, true, NULL, NULL);
    assert_int_equal(gb_mem_offset(mem), offset);
    for (size_t i = 0; i < 5000; i++) {
        assert_int_equal(gb_mem_ptr(mem)[i], 0);
    }
    gb_mem_unref(mem);
    close(fd);
    gb_slab_unref(slab);
}

/* Zeroed, and yet without memory until somebody writes. */
static void fresh_zeros_take_no_memory(void **state) {
    (void)state;
    int fd = -1;
    struct gb_slab *slab = new_slab(&fd);
    const uint64_t bytes = 8 * GB_MIB;
    struct stat st;
    for (int round = 0; round < 3; round++) {
        struct gb_mem *mem = gb_mem_new_in(slab, bytes + 100, true, NULL, NULL);
        assert_non_null(mem);
        assert_int_equal(fstat(fd, &st), 0);
        if (round == 0) {
            assert_true(st.st_blocks * 512 < (long)GB_MIB);
        }
        const uint8_t *at = gb_mem_ptr(mem);
        for (uint64_t i = 0; i < bytes + 100; i++) {
            assert_int_equal(at[i], 0);
        }
        memset(gb_mem_ptr(mem), 0xaa, (size_t)bytes + 100);
        gb_mem_unref(mem);
        /* The next one begins elsewhere, on pages of the last one. */
        struct gb_slab_block *shift = take(slab, 64 + 4096 * (uint64_t)round);
        assert_true(gb_slab_valid(slab));
        mem = gb_mem_new_in(slab, 3000, true, NULL, NULL);
        for (uint64_t i = 0; i < 3000; i++) {
            assert_int_equal(gb_mem_ptr(mem)[i], 0);
        }
        gb_mem_unref(mem);
        gb_slab_release(slab, shift);
    }
    close(fd);
    gb_slab_unref(slab);
}

/* ---- what is kept ---- */

#define KEEP_BYTES (8 * GB_MIB)

static struct gb_slab *keeping_slab(struct gb_account *account, bool is_private, int *ret_fd) {
    struct gb_error *e = NULL;
    const struct gb_slab_options options = {.bytes = 2 * SLAB_BYTES,
                                            .keep_bytes = KEEP_BYTES,
                                            .account = account,
                                            .is_private = is_private};
    struct gb_slab *slab = gb_slab_new(&options, ret_fd, &e);
    assert_non_null(slab);
    return slab;
}

static void fill(struct gb_slab *slab, uint64_t bytes) {
    struct gb_slab_block *b = take(slab, bytes);
    assert_non_null(b);
    gb_slab_populate(slab, b);
    memset(gb_slab_ptr(slab, b), 0x5a, bytes);
    gb_slab_release(slab, b);
    assert_true(gb_slab_valid(slab));
}

static void kept_pages_are_the_hosts_while_they_are_kept(void **state) {
    (void)state;
    for (int is_private = 0; is_private < 2; is_private++) {
        int fd = -1;
        struct gb_error *e = NULL;
        struct gb_account *host = gb_account_new("host", NULL, GB_GIB, &e);
        struct gb_slab *slab = keeping_slab(host, is_private != 0, &fd);
        assert_int_equal(gb_slab_is_private(slab), is_private);
        assert_int_equal(fd >= 0, !is_private);
        fill(slab, 4 * GB_MIB);
        assert_int_equal(gb_account_used_for(host, GB_CHARGE_KEPT), 4 * GB_MIB);
        assert_int_equal(gb_slab_usage(slab).kept_bytes, 4 * GB_MIB);
        /* The next one gets the same pages, and none is charged twice. */
        struct gb_slab_block *b = take(slab, 4 * GB_MIB);
        assert_int_equal(gb_slab_dirty_bytes(b), 4 * GB_MIB);
        assert_int_equal(gb_account_used(host), 0);
        gb_slab_release(slab, b);
        /* Never more than the limit; what goes beyond it really goes. */
        fill(slab, 20 * GB_MIB);
        assert_true(gb_account_used(host) <= KEEP_BYTES);
        assert_true(gb_account_used(host) >= KEEP_BYTES / 2);
        if (!is_private) {
            assert_true(backed_bytes(fd) <= KEEP_BYTES + GB_MIB);
            close(fd);
        }
        gb_slab_unref(slab);
        assert_int_equal(gb_account_used(host), 0);
        gb_account_unref(host);
    }
}

/* A job that ends before its output was written leaves no memory to keep. */
static void pages_that_nobody_filled_are_not_charged(void **state) {
    (void)state;
    for (int is_private = 0; is_private < 2; is_private++) {
        int fd = -1;
        struct gb_error *e = NULL;
        struct gb_account *host = gb_account_new("host", NULL, GB_GIB, &e);
        struct gb_slab *slab = keeping_slab(host, is_private != 0, &fd);
        struct gb_slab_block *b = take(slab, 6 * GB_MIB);
        memset(gb_slab_ptr(slab, b) + GB_MIB, 1, GB_MIB);
        gb_slab_release(slab, b);
        assert_true(gb_slab_valid(slab));
        assert_int_equal(gb_account_used_for(host, GB_CHARGE_KEPT), GB_MIB);
        b = take(slab, 6 * GB_MIB);
        assert_int_equal(gb_slab_dirty_bytes(b), 2 * GB_MIB); /* and the rest needs no clearing */
        gb_slab_release(slab, b);
        gb_fd_close(&fd);
        gb_slab_unref(slab);
        gb_account_unref(host);
    }
}

static void what_was_not_used_since_the_last_trim_goes(void **state) {
    (void)state;
    int fd = -1;
    struct gb_error *e = NULL;
    struct gb_account *host = gb_account_new("host", NULL, GB_GIB, &e);
    struct gb_slab *slab = keeping_slab(host, false, &fd);
    assert_false(gb_slab_trim(slab)); /* nothing to look at */
    uint64_t idle = backed_bytes(fd);
    fill(slab, 6 * GB_MIB);
    assert_true(gb_slab_trim(slab));
    assert_int_equal(gb_slab_usage(slab).warm_bytes, 6 * GB_MIB); /* it was in use */
    fill(slab, 2 * GB_MIB);
    assert_true(gb_slab_trim(slab));
    assert_int_equal(gb_slab_usage(slab).warm_bytes, 3 * GB_MIB); /* 4 MiB were not needed */
    struct gb_slab_block *held = take(slab, 3 * GB_MIB);
    assert_true(gb_slab_trim(slab)); /* held: it comes back later */
    gb_slab_release(slab, held);
    assert_true(gb_slab_trim(slab));
    assert_false(gb_slab_trim(slab));
    assert_true(gb_slab_valid(slab));
    assert_int_equal(gb_slab_usage(slab).warm_bytes, GB_SLAB_WARM_BYTES);
    assert_int_equal(gb_account_used(host), GB_SLAB_WARM_BYTES);
    assert_true(backed_bytes(fd) <= idle + GB_SLAB_WARM_BYTES);
    close(fd);
    gb_slab_unref(slab);
    gb_account_unref(host);
}

static void nobody_is_refused_for_what_is_only_kept(void **state) {
    (void)state;
    int fd = -1;
    struct gb_error *e = NULL;
    struct gb_account *host = gb_account_new("host", NULL, 10 * GB_MIB, &e);
    struct gb_account *tenant = gb_account_new("tenant", host, GB_GIB, &e);
    struct gb_slab *slab = keeping_slab(host, false, &fd);
    fill(slab, 6 * GB_MIB);
    assert_int_equal(gb_account_used(host), 6 * GB_MIB);
    assert_true(gb_charge(tenant, GB_CHARGE_MEMORY, 7 * GB_MIB, &e));
    assert_true(gb_slab_valid(slab));
    assert_true(gb_account_used(host) <= 10 * GB_MIB);
    assert_true(gb_slab_usage(slab).warm_bytes <= 3 * GB_MIB);
    /* Where even all of it would not do, nothing is given back for nothing. */
    uint64_t kept = gb_account_used_for(host, GB_CHARGE_KEPT);
    assert_false(gb_charge(tenant, GB_CHARGE_MEMORY, 4 * GB_MIB, &e));
    assert_int_equal(e->code, GB_BUDGET_EXCEEDED);
    gb_error_clear(&e);
    assert_int_equal(gb_account_used_for(host, GB_CHARGE_KEPT), kept);
    /* And where the host has no room, nothing is kept. */
    gb_uncharge(tenant, GB_CHARGE_MEMORY, 7 * GB_MIB);
    assert_true(gb_charge(tenant, GB_CHARGE_MEMORY, 10 * GB_MIB, &e));
    assert_int_equal(gb_account_used_for(host, GB_CHARGE_KEPT), 0);
    fill(slab, 2 * GB_MIB);
    assert_int_equal(gb_slab_usage(slab).warm_bytes, 0);
    gb_uncharge(tenant, GB_CHARGE_MEMORY, 10 * GB_MIB);
    close(fd);
    gb_slab_unref(slab);
    gb_account_unref(tenant);
    gb_account_unref(host);
}

/* One tenant fills, another takes an output of the same pages. */
static void kept_pages_show_nothing_to_the_next(void **state) {
    (void)state;
    for (int is_private = 0; is_private < 2; is_private++) {
        int fd = -1;
        struct gb_slab *slab = keeping_slab(NULL, is_private != 0, &fd);
        for (uint64_t round = 0; round < 4; round++) {
            fill(slab, 6 * GB_MIB);
            struct gb_slab_block *shift = take(slab, 64 + 4096 * round);
            struct gb_mem *output = gb_mem_new_in(slab, 7 * GB_MIB + 100, true, NULL, NULL);
            const uint8_t *at = gb_mem_ptr(output);
            for (uint64_t i = 0; i < 7 * GB_MIB + 100; i++) {
                assert_int_equal(at[i], 0);
            }
            gb_mem_unref(output);
            gb_slab_release(slab, shift);
        }
        gb_fd_close(&fd);
        gb_slab_unref(slab);
    }
}

static void memory_that_the_system_does_not_take_stays_charged(void **state) {
    (void)state;
    int fd = -1;
    struct gb_error *e = NULL;
    struct gb_account *host = gb_account_new("host", NULL, GB_GIB, &e);
    struct gb_slab *slab = keeping_slab(host, false, &fd);
    fill(slab, 6 * GB_MIB);
    assert_true(gb_slab_trim(slab));
    gb_fault_sys_kind_at(GB_SYS_MADVISE, 1, false);
    assert_true(gb_slab_trim(slab));
    gb_fault_sys_at(0, false);
    assert_int_equal(gb_account_used(host), 6 * GB_MIB);
    assert_true(gb_slab_valid(slab));
    assert_false(gb_slab_trim(slab)); /* tried again */
    assert_int_equal(gb_account_used(host), GB_SLAB_WARM_BYTES);
    close(fd);
    gb_slab_unref(slab);
    gb_account_unref(host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slab_is_sealed_and_has_a_head),
        cmocka_unit_test(slab_sizes_that_cannot_be_are_refused),
        cmocka_unit_test(blocks_are_aligned_and_freed_ones_join),
        cmocka_unit_test(full_slab_says_so_without_an_error),
        cmocka_unit_test(fragmented_slab_refuses_what_no_hole_holds),
        cmocka_unit_test(pages_of_freed_blocks_go_back_to_the_kernel),
        cmocka_unit_test(random_operations_never_overlap),
        cmocka_unit_test(failed_allocations_change_nothing),
        cmocka_unit_test(lasting_blocks_end_at_the_owners_share),
        cmocka_unit_test(results_over_the_share_are_kept_on_the_heap_with_their_charge),
        cmocka_unit_test(memory_is_charged_before_and_given_back),
        cmocka_unit_test(reused_blocks_are_zeroed),
        cmocka_unit_test(fresh_zeros_take_no_memory),
        cmocka_unit_test(kept_pages_are_the_hosts_while_they_are_kept),
        cmocka_unit_test(pages_that_nobody_filled_are_not_charged),
        cmocka_unit_test(what_was_not_used_since_the_last_trim_goes),
        cmocka_unit_test(nobody_is_refused_for_what_is_only_kept),
        cmocka_unit_test(kept_pages_show_nothing_to_the_next),
        cmocka_unit_test(memory_that_the_system_does_not_take_stays_charged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
