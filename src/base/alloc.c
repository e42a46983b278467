/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap door and its fault counter. The counter is one relaxed atomic: cheap enough to stay in
 * release builds, so that the binary under test is the binary that ships.
 */
#include "base/alloc.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static _Atomic uint64_t gb_alloc_made;
static _Atomic uint64_t gb_alloc_fail_number;
static _Atomic bool gb_alloc_fail_persistent;
static _Atomic uint64_t gb_alloc_failed;
static _Atomic bool gb_alloc_tracked;
static _Atomic int64_t gb_alloc_blocks;

static void fail_set(uint64_t nth, bool persistent) {
    uint64_t made = atomic_load_explicit(&gb_alloc_made, memory_order_relaxed);
    atomic_store(&gb_alloc_fail_number, 0);
    atomic_store(&gb_alloc_failed, 0);
    atomic_store(&gb_alloc_fail_persistent, persistent);
    atomic_store(&gb_alloc_fail_number, nth == 0 ? 0 : made + nth);
}

void gb_alloc_fail_at(uint64_t nth) {
    fail_set(nth, false);
}

void gb_alloc_fail_from(uint64_t nth) {
    fail_set(nth, true);
}

uint64_t gb_alloc_fail_hits(void) {
    return atomic_load(&gb_alloc_failed);
}

uint64_t gb_alloc_count(void) {
    return atomic_load_explicit(&gb_alloc_made, memory_order_relaxed);
}

void gb_alloc_outstanding(int64_t *ret_blocks) {
    atomic_store(&gb_alloc_tracked, true);
    *ret_blocks = atomic_load(&gb_alloc_blocks);
}

static bool fault_now(void) {
    uint64_t number = atomic_fetch_add_explicit(&gb_alloc_made, 1, memory_order_relaxed) + 1;
    uint64_t first = atomic_load_explicit(&gb_alloc_fail_number, memory_order_relaxed);
    if (first == 0 || number < first) {
        return false;
    }
    bool fails = number == first || atomic_load(&gb_alloc_fail_persistent);
    if (fails) {
        atomic_fetch_add(&gb_alloc_failed, 1);
    }
    return fails;
}

static void track(const void *ptr, int64_t change) {
    if (ptr && atomic_load_explicit(&gb_alloc_tracked, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&gb_alloc_blocks, change, memory_order_relaxed);
    }
}

static void *out_of_memory(struct gb_error **err) {
    /* The static object: reporting this must not allocate. */
    gb_error_set(err, GB_INTERNAL, -1, NULL, "memory");
    return NULL;
}

void *gb_alloc_bare(size_t bytes) {
    void *ptr = fault_now() ? NULL : malloc(bytes ? bytes : 1);
    track(ptr, 1);
    return ptr;
}

void *gb_alloc(size_t bytes, struct gb_error **err) {
    void *ptr = gb_alloc_bare(bytes);
    return ptr ? ptr : out_of_memory(err);
}

void *gb_calloc(size_t count, size_t bytes_each, struct gb_error **err) {
    size_t bytes;
    void *ptr = NULL;
    if (gb_mul_size(count, bytes_each, &bytes) && !fault_now()) {
        ptr = calloc(1, bytes ? bytes : 1);
        track(ptr, 1);
    }
    return ptr ? ptr : out_of_memory(err);
}

void *gb_realloc(void *old, size_t bytes, struct gb_error **err) {
    void *ptr = fault_now() ? NULL : realloc(old, bytes ? bytes : 1);
    if (!old) {
        track(ptr, 1);
    }
    return ptr ? ptr : out_of_memory(err);
}

void gb_free(void *ptr) {
    track(ptr, -1);
    free(ptr);
}

char *gb_strndup(const char *text, size_t len, struct gb_error **err) {
    size_t bytes;
    if (!gb_add_size(len, 1, &bytes)) {
        return out_of_memory(err);
    }
    char *copy = gb_alloc(bytes, err);
    if (!copy) {
        return NULL;
    }
    if (len > 0) {
        memcpy(copy, text, len);
    }
    copy[len] = '\0';
    return copy;
}

char *gb_strdup(const char *text, struct gb_error **err) {
    return gb_strndup(text, strlen(text), err);
}

char *gb_format(struct gb_error **err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = len < 0 ? out_of_memory(err) : gb_alloc((size_t)len + 1, err);
    if (text) {
        vsnprintf(text, (size_t)len + 1, format, again);
    }
    va_end(again);
    return text;
}
