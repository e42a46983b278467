/* SPDX-License-Identifier: Apache-2.0 */
/* traceparent, read and written. Capitals are no hexadecimal digits here, says the standard. */
#include "obs/traceparent.h"

#include <string.h>

static int hex_of(uint8_t b) {
    return b >= '0' && b <= '9' ? b - '0' : b >= 'a' && b <= 'f' ? b - 'a' + 10 : -1;
}

static bool read_hex(const uint8_t *text, uint8_t *ret, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        int high = hex_of(text[2 * i]);
        int low = hex_of(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static char *write_hex(const uint8_t *bytes, size_t len, char *at) {
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        *at++ = hex[bytes[i] >> 4];
        *at++ = hex[bytes[i] & 15];
    }
    return at;
}

static bool is_zero(const uint8_t *bytes, size_t len) {
    uint8_t all = 0;
    for (size_t i = 0; i < len; i++) {
        all |= bytes[i];
    }
    return all == 0;
}

bool gb_traceparent_parse(struct gb_span text, struct gb_traceparent *ret) {
    struct gb_traceparent t;
    uint8_t version;
    const uint8_t *p = text.ptr;
    if (text.len < GB_TRACEPARENT_BYTES || p[2] != '-' || p[35] != '-' || p[52] != '-' ||
        !read_hex(p, &version, 1) || version == 0xff || !read_hex(p + 3, t.trace_id, 16) ||
        !read_hex(p + 36, t.span_id, 8) || !read_hex(p + 53, &t.flags, 1)) {
        return false;
    }
    bool longer = text.len > GB_TRACEPARENT_BYTES;
    if (longer && (version == 0 || p[GB_TRACEPARENT_BYTES] != '-')) {
        return false;
    }
    if (is_zero(t.trace_id, sizeof t.trace_id) || is_zero(t.span_id, sizeof t.span_id)) {
        return false;
    }
    t.flags &= GB_TRACE_SAMPLED;
    *ret = t;
    return true;
}

void gb_traceparent_format(const struct gb_traceparent *t,
                           char ret_text[GB_TRACEPARENT_BYTES + 1]) {
    memcpy(ret_text, "00-", 3);
    char *at = write_hex(t->trace_id, sizeof t->trace_id, ret_text + 3);
    *at++ = '-';
    at = write_hex(t->span_id, sizeof t->span_id, at);
    *at++ = '-';
    at = write_hex(&t->flags, 1, at);
    *at = '\0';
}

void gb_traceparent_start(const uint8_t random[24], bool sampled, struct gb_traceparent *ret) {
    memcpy(ret->trace_id, random, sizeof ret->trace_id);
    memcpy(ret->span_id, random + sizeof ret->trace_id, sizeof ret->span_id);
    ret->flags = sampled ? GB_TRACE_SAMPLED : 0;
    if (is_zero(ret->trace_id, sizeof ret->trace_id)) {
        ret->trace_id[15] = 1;
    }
    if (is_zero(ret->span_id, sizeof ret->span_id)) {
        ret->span_id[7] = 1;
    }
}

void gb_traceparent_child(const struct gb_traceparent *parent, const uint8_t random[8],
                          struct gb_traceparent *ret) {
    *ret = *parent;
    memcpy(ret->span_id, random, sizeof ret->span_id);
    if (is_zero(ret->span_id, sizeof ret->span_id)) {
        ret->span_id[7] = 1;
    }
}
