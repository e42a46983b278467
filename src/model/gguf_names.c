/* SPDX-License-Identifier: Apache-2.0 */
/* A set of names of a GGUF file: keys, tensors, tokens. See name_hash.h for the hash. */
#include "base/alloc.h"
#include "model/gguf_internal.h"
#include "model/name_hash.h"

#define SLOTS_MIN ((size_t)16)

bool gb_gguf_names_init(struct gb_gguf_names *n, const uint8_t *bytes, size_t names,
                        struct gb_error **err) {
    size_t cap = SLOTS_MIN;
    while (cap - cap / 4 <= names) {
        cap *= 2;
    }
    n->bytes = bytes;
    n->slots = gb_calloc(cap, sizeof *n->slots, err);
    n->cap = cap;
    n->key = gb_name_hash_key();
    return n->slots != NULL;
}

void gb_gguf_names_fini(struct gb_gguf_names *n) {
    gb_free(n->slots);
    n->slots = NULL;
}

/* The slot that holds the name, or the free one where it belongs. The table is never full. */
static struct gb_gguf_slot *slot_of(const struct gb_gguf_names *n, struct gb_span name,
                                    uint64_t hash) {
    size_t mask = n->cap - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct gb_gguf_slot *slot = &n->slots[i];
        if (slot->hash == 0 ||
            (slot->hash == hash &&
             gb_span_eq(gb_span_make(n->bytes + slot->off, slot->len), name))) {
            return slot;
        }
    }
}

static uint64_t hash_of(const struct gb_gguf_names *n, struct gb_span name) {
    return gb_name_hash(name, n->key) | UINT64_C(1) << 63; /* never 0 */
}

bool gb_gguf_names_add(struct gb_gguf_names *n, struct gb_span name, uint32_t index) {
    uint64_t hash = hash_of(n, name);
    struct gb_gguf_slot *slot = slot_of(n, name, hash);
    if (slot->hash != 0) {
        return false;
    }
    *slot = (struct gb_gguf_slot){.hash = hash, .off = (size_t)(name.ptr - n->bytes),
                                  .len = (uint32_t)name.len, .index = index};
    return true;
}

bool gb_gguf_names_find(const struct gb_gguf_names *n, struct gb_span name, uint32_t *ret_index) {
    const struct gb_gguf_slot *slot = slot_of(n, name, hash_of(n, name));
    if (slot->hash == 0) {
        return false;
    }
    *ret_index = slot->index;
    return true;
}
