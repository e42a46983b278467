/* SPDX-License-Identifier: Apache-2.0 */
/* Checked arithmetic on sizes: every sum or product of untrusted numbers goes through here. */
#ifndef GB_BASE_NUM_H
#define GB_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool gb_add_size(size_t a, size_t b, size_t *ret) {
    return !__builtin_add_overflow(a, b, ret);
}
static inline bool gb_mul_size(size_t a, size_t b, size_t *ret) {
    return !__builtin_mul_overflow(a, b, ret);
}
static inline bool gb_add_u64(uint64_t a, uint64_t b, uint64_t *ret) {
    return !__builtin_add_overflow(a, b, ret);
}
static inline bool gb_mul_u64(uint64_t a, uint64_t b, uint64_t *ret) {
    return !__builtin_mul_overflow(a, b, ret);
}
/* True when [off, off + len) lies within [0, total). */
static inline bool gb_range_ok(uint64_t off, uint64_t len, uint64_t total) {
    return off <= total && len <= total - off;
}
static inline uint64_t gb_round_up_u64(uint64_t n, uint64_t power_of_2) {
    return (n + power_of_2 - 1) & ~(power_of_2 - 1);
}
#define GB_MIN(a, b) ((a) < (b) ? (a) : (b))
#define GB_MAX(a, b) ((a) > (b) ? (a) : (b))
#define GB_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define GB_KIB ((uint64_t)1024)
#define GB_MIB ((uint64_t)1024 * 1024)
#define GB_GIB ((uint64_t)1024 * 1024 * 1024)

#endif
