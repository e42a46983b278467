/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of the names of constants, per graph. The file chooses the names, so the hash is
 * keyed at random: no file can make it slow. Its size is bounded by the limits on what it holds.
 */
#include "model/onnx_internal.h"

#include "base/alloc.h"
#include "model/name_hash.h"

#define SLOTS_MIN ((size_t)64)
#define SLOTS_MAX ((size_t)262144) /* twice as many as initializers and nodes together */
/* The shortest message that puts a name in here has nine bytes; a table is at most 3/4 full. */
#define BYTES_PER_NAME 6

bool gb_onnx_names_init(struct gb_onnx_walk *w) {
    size_t cap = SLOTS_MIN;
    while (cap < SLOTS_MAX && cap < w->len / BYTES_PER_NAME) {
        cap *= 2;
    }
    w->names = gb_calloc(cap, sizeof *w->names, w->err);
    if (!w->names) {
        return false;
    }
    w->names_cap = cap;
    w->names_len = 0;
    w->names_key = gb_name_hash_key();
    return true;
}

void gb_onnx_names_fini(struct gb_onnx_walk *w) {
    gb_free(w->names);
    w->names = NULL;
}

static uint64_t hash_text(const struct gb_onnx_walk *w, struct gb_onnx_text text) {
    return gb_name_hash(gb_onnx_span(w, text), w->names_key);
}

static uint64_t hash_in(const struct gb_onnx_walk *w, uint32_t scope, uint64_t hash) {
    hash = gb_name_hash_step(hash, (uint64_t)scope + 1, w->names_key);
    return hash | UINT64_C(1) << 63; /* never 0 */
}

/* The slot that holds the name, or the free one where it belongs. The table is never full. */
static struct gb_onnx_name *slot_of(const struct gb_onnx_walk *w, uint32_t scope,
                                    struct gb_onnx_text text, uint64_t hash) {
    size_t mask = w->names_cap - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct gb_onnx_name *name = &w->names[i];
        if (name->hash == 0 ||
            (name->hash == hash && name->scope == scope &&
             gb_span_eq(gb_onnx_span(w, name->text), gb_onnx_span(w, text)))) {
            return name;
        }
    }
}

bool gb_onnx_names_add(struct gb_onnx_walk *w, const struct gb_onnx_name *name, bool *ret_new) {
    uint64_t hash = hash_in(w, name->scope, hash_text(w, name->text));
    struct gb_onnx_name *slot = slot_of(w, name->scope, name->text, hash);
    *ret_new = slot->hash == 0;
    if (!*ret_new) {
        return true;
    }
    if (w->names_len >= w->names_cap - w->names_cap / 4) {
        return !name->is_initializer ||
               gb_onnx_refuse(w, name->text.off, "Split the model.",
                              "the model has too many names");
    }
    *slot = *name;
    slot->hash = hash;
    w->names_len++;
    return true;
}

static const struct gb_onnx_name *find(const struct gb_onnx_walk *w, uint32_t scope,
                                       struct gb_onnx_text text, uint64_t hash) {
    const struct gb_onnx_name *slot = slot_of(w, scope, text, hash_in(w, scope, hash));
    return slot->hash != 0 ? slot : NULL;
}

const struct gb_onnx_name *gb_onnx_names_at(const struct gb_onnx_walk *w, uint32_t scope,
                                            struct gb_onnx_text text) {
    return find(w, scope, text, hash_text(w, text));
}

const struct gb_onnx_name *gb_onnx_names_find(const struct gb_onnx_walk *w,
                                              struct gb_onnx_text text) {
    uint64_t hash = hash_text(w, text);
    for (uint32_t i = w->depth; text.len > 0 && i-- > 0;) {
        const struct gb_onnx_frame *f = &w->stack[i];
        const struct gb_onnx_name *found =
            f->message == GB_ONNX_GRAPH ? find(w, f->start, text, hash) : NULL;
        if (found) {
            return found;
        }
    }
    return NULL;
}
