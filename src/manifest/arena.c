/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is freed all at once: blocks that double, up to a size. */
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "manifest/manifest_internal.h"

#define FIRST_BYTES ((size_t)4096)
#define BLOCK_BYTES_MAX ((size_t)1 << 20)
#define ALIGN ((uint64_t)_Alignof(max_align_t))

static size_t header_bytes(void) {
    return (size_t)gb_round_up_u64(sizeof(struct gb_arena_block), ALIGN);
}

void gb_arena_fini(struct gb_arena *a) {
    struct gb_arena_block *b = a->blocks;
    while (b) {
        struct gb_arena_block *next = b->next;
        explicit_bzero((char *)b + header_bytes(), b->used); /* secrets lie here */
        gb_free(b);
        b = next;
    }
    a->blocks = NULL;
}

static bool add_block(struct gb_arena *a, size_t bytes, struct gb_error **err) {
    size_t cap = a->blocks ? GB_MIN(a->blocks->cap * 2, BLOCK_BYTES_MAX) : FIRST_BYTES;
    cap = GB_MAX(cap, bytes);
    size_t total;
    if (!gb_add_size(cap, header_bytes(), &total)) {
        return gb_fail(err, GB_INTERNAL, "a block of %zu bytes is too large", cap);
    }
    struct gb_arena_block *b = gb_calloc(1, total, err);
    if (!b) {
        return false;
    }
    *b = (struct gb_arena_block){.next = a->blocks, .cap = cap};
    a->blocks = b;
    return true;
}

void *gb_arena_alloc(struct gb_arena *a, size_t count, size_t bytes_each, struct gb_error **err) {
    size_t bytes;
    if (!gb_mul_size(count, bytes_each, &bytes) || bytes > SIZE_MAX / 2) {
        gb_fail(err, GB_INTERNAL, "%zu times %zu bytes are too many", count, bytes_each);
        return NULL;
    }
    bytes = (size_t)gb_round_up_u64(GB_MAX(bytes, (size_t)1), ALIGN);
    struct gb_arena_block *b = a->blocks;
    if (!b || b->cap - b->used < bytes) {
        if (!add_block(a, bytes, err)) {
            return NULL;
        }
        b = a->blocks;
    }
    void *at = (char *)b + header_bytes() + b->used;
    b->used += bytes;
    return at;
}
