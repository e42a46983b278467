/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash of names that a file chooses: a polynomial over the bytes at a random point, so that no
 * file can make a table slow. Two names collide with odds of length / 2^61.
 */
#ifndef GB_MODEL_NAME_HASH_H
#define GB_MODEL_NAME_HASH_H

#include <stdint.h>
#include <sys/random.h>

#include "base/fault.h"
#include "base/span.h"

#define GB_NAME_PRIME_61 ((UINT64_C(1) << 61) - 1)

static inline uint64_t gb_name_hash_key(void) {
    uint64_t key;
    /* Without a random key (a very old kernel) the hash still works, only predictably. */
    if (gb_sys(GB_SYS_RANDOM, -1, getrandom(&key, sizeof key, GRND_NONBLOCK)) != sizeof key) {
        key = UINT64_C(0x9e3779b97f4a7c15);
    }
    return key % (GB_NAME_PRIME_61 - 256) + 256;
}

static inline uint64_t gb_name_hash_step(uint64_t hash, uint64_t value, uint64_t key) {
    __uint128_t product = (__uint128_t)(hash + value) * key;
    uint64_t sum = ((uint64_t)product & GB_NAME_PRIME_61) + (uint64_t)(product >> 61);
    return (sum & GB_NAME_PRIME_61) + (sum >> 61);
}

static inline uint64_t gb_name_hash(struct gb_span name, uint64_t key) {
    uint64_t hash = gb_name_hash_step(0, name.len, key);
    for (size_t i = 0; i < name.len; i++) {
        hash = gb_name_hash_step(hash, (uint64_t)name.ptr[i] + 1, key);
    }
    return hash;
}

#endif
