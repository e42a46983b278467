/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Element types and tensor sizes: the only place that says how many bytes a shape takes, used by
 * the host before it reserves memory and by the worker before it believes a job.
 * Threads: any. Errors: false on overflow; nothing is allocated.
 */
#include "base/num.h"
#include "wire/wire.h"

static const struct {
    const char *text;
    size_t bytes;
} types[GB_TYPE_COUNT] = {
    [GB_TYPE_F16] = {"f16", 2}, [GB_TYPE_F32] = {"f32", 4}, [GB_TYPE_F64] = {"f64", 8},
    [GB_TYPE_BF16] = {"bf16", 2}, [GB_TYPE_U8] = {"u8", 1}, [GB_TYPE_I32] = {"i32", 4},
    [GB_TYPE_I64] = {"i64", 8},
};

size_t gb_type_bytes(enum gb_type type) {
    return (size_t)type < GB_TYPE_COUNT ? types[type].bytes : 0;
}

const char *gb_type_text(enum gb_type type) {
    return (size_t)type < GB_TYPE_COUNT ? types[type].text : "other";
}

bool gb_tensor_bytes(enum gb_type type, const uint64_t *dims, size_t rank, uint64_t *ret_bytes) {
    uint64_t each = gb_type_bytes(type);
    if (each == 0 || rank > GB_WIRE_RANK_MAX) {
        return false;
    }
    /* A zero anywhere makes the tensor empty, but the other factors must still be possible: engines
     * multiply them in their own order. */
    uint64_t bytes = each;
    bool empty = false;
    for (size_t i = 0; i < rank; i++) {
        if (dims[i] > INT64_MAX) {
            return false;
        }
        if (dims[i] == 0) {
            empty = true;
        } else if (!gb_mul_u64(bytes, dims[i], &bytes) || bytes > INT64_MAX) {
            return false;
        }
    }
    *ret_bytes = empty ? 0 : bytes;
    return true;
}
