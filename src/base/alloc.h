/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one door to the heap, so that tests can fail the N-th allocation.
 * Every allocation may fail and its caller must cope. Freed with gb_free. Threads: any.
 */
#ifndef GB_BASE_ALLOC_H
#define GB_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

void *gb_alloc(size_t bytes, struct gb_error **err);
void *gb_calloc(size_t count, size_t bytes_each, struct gb_error **err);
/* On failure the old block stays valid. */
void *gb_realloc(void *old, size_t bytes, struct gb_error **err);
void gb_free(void *ptr);
char *gb_strdup(const char *text, struct gb_error **err);
/* Copies len bytes and adds a NUL. */
char *gb_strndup(const char *text, size_t len, struct gb_error **err);
char *gb_format(struct gb_error **err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* For error.c: counted and failed as the others, but NULL is all that failure says. */
void *gb_alloc_bare(size_t bytes);

/* Fault injection: fail the n-th allocation from now on (1 = the next); 0 = never. */
void gb_alloc_fail_at(uint64_t nth);
/* The same, and all after it. */
void gb_alloc_fail_from(uint64_t nth);
/* How many have failed on demand since it was last set. */
uint64_t gb_alloc_fail_hits(void);
/* Allocations made so far, failed ones too. */
uint64_t gb_alloc_count(void);
/* From the first call on, blocks are counted as they are made and freed. Call it while none is
 * there; *ret_blocks is how many there are now. */
void gb_alloc_outstanding(int64_t *ret_blocks);

static inline void gb_free_cleanup(void *slot) {
    gb_free(*(void **)slot);
}
/* GB_CLEANUP(gb_free_cleanup) char *text = …; */
#define GB_CLEANUP(function) __attribute__((cleanup(function)))
#define gb_take(slot)                                                                              \
    __extension__({                                                                                \
        __typeof__(*(slot)) gb_taken_ = *(slot);                                                   \
        *(slot) = NULL;                                                                            \
        gb_taken_;                                                                                 \
    })

#endif
