/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that turns a guest's pointer into an address of ours. */
#include "base/num.h"
#include "sandbox/witx/witx.h"

bool gb_witx_view(const struct gb_witx_memory *m, uint32_t ptr, uint64_t len, const char *what,
                  struct gb_span *ret_bytes, struct gb_error **err) {
    if (len == 0) {
        *ret_bytes = gb_span_of("");
        return true;
    }
    if (ptr == 0) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "%s is a null pointer", what);
    }
    if (!gb_range_ok(ptr, len, m->len)) {
        return gb_fail(err, GB_INVALID_ARGUMENT,
                       "%s, %llu bytes at %u, reaches past the guest's memory of %zu bytes", what,
                       (unsigned long long)len, ptr, m->len);
    }
    *ret_bytes = gb_span_make(m->ptr + ptr, (size_t)len);
    return true;
}

bool gb_witx_place(const struct gb_witx_memory *m, uint32_t ptr, const char *what,
                   uint8_t **ret_place, struct gb_error **err) {
    struct gb_span bytes;
    if (!gb_witx_view(m, ptr, sizeof(uint32_t), what, &bytes, err)) {
        return false;
    }
    *ret_place = m->ptr + ptr;
    return true;
}

/* Guests count in little-endian, whatever we run on. */
uint32_t gb_witx_read_u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

void gb_witx_write_u32(uint8_t *at, uint32_t value) {
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}
