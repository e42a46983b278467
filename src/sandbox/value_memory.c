/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of values that were read from JSON: the parsed document, into which texts point, and
 * blocks for lists and bytes. All of it is charged to the account that is given, before it is
 * allocated, and given back at once when the values are freed.
 *
 * Errors: budget-exceeded, and out of memory.
 */
#include "base/num.h"
#include "sandbox/value_reader.h"

struct gb_value_block {
    struct gb_value_block *next;
};

static bool charge(struct gb_values *v, size_t bytes, struct gb_error **err) {
    if (v->account && !gb_charge(v->account, GB_CHARGE_VALUE, bytes, err)) {
        return false;
    }
    v->charged += bytes;
    return true;
}

static void uncharge(struct gb_values *v, uint64_t bytes) {
    if (v->account && bytes > 0) {
        gb_uncharge(v->account, GB_CHARGE_VALUE, bytes);
    }
    v->charged -= bytes;
}

/* ---- the parser's ---- */

static void *json_malloc(void *ctx, size_t bytes) {
    struct gb_values *v = ctx;
    if (!charge(v, bytes, v->denied ? NULL : &v->denied)) {
        return NULL;
    }
    void *ptr = gb_alloc(bytes, v->denied ? NULL : &v->denied);
    if (!ptr) {
        uncharge(v, bytes);
    }
    return ptr;
}

static void *json_realloc(void *ctx, void *old, size_t old_bytes, size_t bytes) {
    struct gb_values *v = ctx;
    size_t more = bytes > old_bytes ? bytes - old_bytes : 0;
    if (!charge(v, more, v->denied ? NULL : &v->denied)) {
        return NULL;
    }
    void *ptr = gb_realloc(old, bytes, v->denied ? NULL : &v->denied);
    if (!ptr) {
        uncharge(v, more);
    } else if (bytes < old_bytes) {
        uncharge(v, old_bytes - bytes);
    }
    return ptr;
}

/* How much it was is not known here; gb_values_free gives back what is left. */
static void json_free(void *ctx, void *ptr) {
    (void)ctx;
    gb_free(ptr);
}

/* ---- values ---- */

struct gb_values *gb_values_new(struct gb_account *account, struct gb_error **err) {
    struct gb_values *v = gb_calloc(1, sizeof *v, err);
    if (v) {
        v->account = account ? gb_account_ref(account) : NULL;
        v->alc = (yyjson_alc){
            .malloc = json_malloc, .realloc = json_realloc, .free = json_free, .ctx = v};
    }
    return v;
}

void *gb_values_alloc(struct gb_values *v, size_t count, size_t each, struct gb_error **err) {
    size_t bytes;
    if (!gb_mul_size(count, each, &bytes) ||
        !gb_add_size(bytes, sizeof(struct gb_value_block), &bytes)) {
        gb_fail(err, GB_INVALID_ARGUMENT, "a list is too long");
        return NULL;
    }
    if (!charge(v, bytes, err)) {
        return NULL;
    }
    struct gb_value_block *b = gb_calloc(1, bytes, err);
    if (!b) {
        uncharge(v, bytes);
        return NULL;
    }
    b->next = v->blocks;
    v->blocks = b;
    return b + 1;
}

void gb_values_free(struct gb_values *v) {
    if (!v) {
        return;
    }
    while (v->blocks) {
        struct gb_value_block *b = v->blocks;
        v->blocks = b->next;
        gb_free(b);
    }
    yyjson_doc_free(v->doc);
    uncharge(v, v->charged);
    if (v->account) {
        gb_account_unref(v->account);
    }
    gb_error_free(v->denied);
    gb_free(v);
}

const struct gb_value *gb_values_items(const struct gb_values *v, size_t *ret_len) {
    *ret_len = v->len;
    return v->items;
}
