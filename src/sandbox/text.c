/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers with units as people write them, and foreign text made safe for one line. */
#include <inttypes.h>
#include <stdio.h>

#include "sandbox/sandbox_internal.h"

const char *gb_text_count(uint64_t count, char text[static GB_AMOUNT_CAP]) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, count);
    size_t out = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            text[out++] = ',';
        }
        text[out++] = digits[i];
    }
    text[out] = '\0';
    return text;
}

static const char *with_unit(uint64_t count, const char *unit, char text[static GB_AMOUNT_CAP]) {
    char number[GB_AMOUNT_CAP];
    snprintf(text, GB_AMOUNT_CAP, "%.30s %s", gb_text_count(count, number), unit);
    return text;
}

/* Rounded up to hundredths, so that what is over a limit never reads like the limit. */
static const char *with_hundredths(uint64_t bytes, uint64_t unit_bytes, const char *unit,
                                   char text[static GB_AMOUNT_CAP]) {
    char number[GB_AMOUNT_CAP];
    uint64_t rest = (bytes % unit_bytes * 100 + unit_bytes - 1) / unit_bytes;
    uint64_t whole = bytes / unit_bytes + rest / 100;
    snprintf(text, GB_AMOUNT_CAP, "%.24s.%02u %s", gb_text_count(whole, number),
             (unsigned)(rest % 100), unit);
    return text;
}

const char *gb_text_bytes(uint64_t bytes, char text[static GB_AMOUNT_CAP]) {
    static const struct {
        uint64_t bytes;
        const char *name;
    } units[] = {{GB_GIB, "GiB"}, {GB_MIB, "MiB"}, {GB_KIB, "KiB"}};
    for (size_t i = 0; i < GB_COUNT(units); i++) {
        if (bytes != 0 && bytes % units[i].bytes == 0) {
            return with_unit(bytes / units[i].bytes, units[i].name, text);
        }
        if (bytes > units[i].bytes && units[i].bytes > GB_KIB) {
            return with_hundredths(bytes, units[i].bytes, units[i].name, text);
        }
    }
    return with_unit(bytes, bytes == 1 ? "byte" : "bytes", text);
}

const char *gb_text_span_us(uint64_t span_us, char text[static GB_AMOUNT_CAP]) {
    if (span_us != 0 && span_us % 1000000 == 0) {
        return with_unit(span_us / 1000000, "s", text);
    }
    if (span_us != 0 && span_us % 1000 == 0) {
        return with_unit(span_us / 1000, "ms", text);
    }
    return with_unit(span_us, "us", text);
}

const char *gb_text_quote(struct gb_span foreign, char text[static GB_QUOTE_CAP]) {
    struct gb_buf line;
    gb_buf_init(&line, GB_QUOTE_CAP * 5);
    /* An escape is at most four times as long as its byte. */
    size_t len = GB_MIN(foreign.len, (size_t)GB_QUOTE_CAP);
    while (len < foreign.len && len > 0 && (foreign.ptr[len] & 0xc0) == 0x80) {
        len--; /* not through a character */
    }
    text[0] = '\0';
    if (gb_buf_append_escaped(&line, gb_span_make(foreign.ptr, len), NULL)) {
        bool cut = len < foreign.len || line.len >= GB_QUOTE_CAP;
        size_t keep = GB_MIN(line.len, (size_t)GB_QUOTE_CAP - 4);
        const uint8_t *bytes = line.ptr;
        while (keep < line.len && keep > 0 && (bytes[keep] & 0xc0) == 0x80) {
            keep--;
        }
        for (size_t i = 0; i < keep; i++) {
            text[i] = bytes[i] == '\n' || bytes[i] == '\t' ? ' ' : (char)bytes[i];
        }
        memcpy(text + keep, cut ? "…" : "", cut ? sizeof "…" : 1);
    }
    gb_buf_fini(&line);
    return text;
}
