/* SPDX-License-Identifier: Apache-2.0 */
/*
 * W3C Trace Context's traceparent: "00-<32 hex>-<16 hex>-<2 hex>". A later version than 00 is read
 * as far as we know it and passed on as 00, as the standard says. Threads: any.
 */
#ifndef GB_OBS_TRACEPARENT_H
#define GB_OBS_TRACEPARENT_H

#include "base/span.h"

struct gb_traceparent {
    uint8_t trace_id[16]; /* not all zero */
    uint8_t span_id[8];   /* not all zero */
    uint8_t flags;        /* only GB_TRACE_SAMPLED is known */
};
#define GB_TRACE_SAMPLED 0x01
#define GB_TRACEPARENT_BYTES 55

/* false: no such thing (then start a trace of our own); *ret is untouched. */
bool gb_traceparent_parse(struct gb_span text, struct gb_traceparent *ret);
/* 55 characters and a NUL. */
void gb_traceparent_format(const struct gb_traceparent *t, char ret_text[GB_TRACEPARENT_BYTES + 1]);
/* From random bytes; those that are all zero are made valid. */
void gb_traceparent_start(const uint8_t random[24], bool sampled, struct gb_traceparent *ret);
/* The next span of the same trace. */
void gb_traceparent_child(const struct gb_traceparent *parent, const uint8_t random[8],
                          struct gb_traceparent *ret);

#endif
