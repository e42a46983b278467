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

/* Fault injection: fail the n-th allocation from now on (1 = the next); 0 = never. Also set once
 * from the environment variable GLOVEBOX_TEST_FAIL_ALLOC in builds with GB_FAULTS. */
void gb_alloc_fail_at(uint64_t nth);
/* Allocations made so far. */
uint64_t gb_alloc_count(void);

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
