/* SPDX-License-Identifier: Apache-2.0 */
/* A borrowed run of bytes or text, passed by value. Never owns. */
#ifndef GB_BASE_SPAN_H
#define GB_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct gb_span {
    const uint8_t *ptr;
    size_t len;
};

static inline struct gb_span gb_span_make(const void *ptr, size_t len) {
    return (struct gb_span){.ptr = (const uint8_t *)ptr, .len = len};
}
static inline struct gb_span gb_span_of(const char *text) {
    return gb_span_make(text, text ? strlen(text) : 0);
}
static inline bool gb_span_eq(struct gb_span a, struct gb_span b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline bool gb_span_is(struct gb_span a, const char *text) {
    return gb_span_eq(a, gb_span_of(text));
}
/* printf("%.*s", GB_SPAN_ARG(s)); long spans are cut at 200 bytes: messages quote, not dump. */
#define GB_SPAN_ARG(s) (int)((s).len > 200 ? 200 : (s).len), (const char *)(s).ptr

#endif
