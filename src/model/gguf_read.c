/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a GGUF file's header: numbers and texts, never past its end, never past the limit on
 * headers; and how what is wrong with it is said. */
#include "model/gguf_internal.h"

#include <stdarg.h>
#include <stdio.h>

#define DAMAGED_HINT "Download or convert the model again; the file is damaged or no GGUF model."
#define TEXT_BYTES 512

bool gb_gguf_invalid(struct gb_gguf_walk *w, size_t at, const char *format, ...) {
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gb_fail(w->err, GB_MODEL_INVALID, "%s (byte %zu)", text, at);
    return gb_hint(w->err, "%s", DAMAGED_HINT);
}

bool gb_gguf_refuse(struct gb_gguf_walk *w, size_t at, const char *hint, const char *format, ...) {
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gb_fail(w->err, GB_MODEL_REJECTED, "%s (byte %zu)", text, at);
    return gb_hint(w->err, "%s", hint);
}

void gb_gguf_finding(struct gb_gguf_walk *w, const char *format, ...) {
    struct gb_gguf_summary *s = w->summary;
    if (s->findings_len == GB_COUNT(s->findings)) {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(s->findings[s->findings_len], sizeof s->findings[0], format, args);
    va_end(args);
    s->findings_len++;
}

const char *gb_gguf_quote(struct gb_span text, char quoted[GB_GGUF_QUOTE_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    size_t len = 0;
    size_t i = 0;
    quoted[len++] = '"';
    while (i < text.len && len < GB_GGUF_QUOTE_BYTES - 9) {
        uint8_t c = text.ptr[i++];
        if (c >= 0x20 && c < 0x7f) {
            quoted[len++] = (char)c;
        } else {
            quoted[len++] = '\\';
            quoted[len++] = 'x';
            quoted[len++] = digits[c >> 4];
            quoted[len++] = digits[c & 15];
        }
    }
    snprintf(quoted + len, GB_GGUF_QUOTE_BYTES - len, "%s\"", i < text.len ? "…" : "");
    return quoted;
}

bool gb_gguf_skip(struct gb_gguf_walk *w, uint64_t bytes, const char *what) {
    if (!gb_range_ok(w->pos, bytes, w->len)) {
        return gb_gguf_invalid(w, w->pos, "the file ends within %s", what);
    }
    if (!gb_range_ok(w->pos, bytes, GB_GGUF_HEADER_BYTES_MAX)) {
        return gb_gguf_refuse(w, w->pos, "Convert the model again without what is not needed.",
                              "the header has more than %llu MiB",
                              (unsigned long long)(GB_GGUF_HEADER_BYTES_MAX / GB_MIB));
    }
    w->pos += (size_t)bytes;
    return true;
}

uint64_t gb_gguf_load(const uint8_t *at, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = bytes; i > 0; i--) {
        value = value << 8 | at[i - 1];
    }
    return value;
}

bool gb_gguf_u32(struct gb_gguf_walk *w, const char *what, uint32_t *ret) {
    size_t at = w->pos;
    if (!gb_gguf_skip(w, 4, what)) {
        return false;
    }
    *ret = (uint32_t)gb_gguf_load(w->bytes + at, 4);
    return true;
}

bool gb_gguf_u64(struct gb_gguf_walk *w, const char *what, uint64_t *ret) {
    size_t at = w->pos;
    if (!gb_gguf_skip(w, 8, what)) {
        return false;
    }
    *ret = gb_gguf_load(w->bytes + at, 8);
    return true;
}

bool gb_gguf_text(struct gb_gguf_walk *w, const char *what, uint64_t bytes_max,
                  struct gb_span *ret_text) {
    size_t at = w->pos;
    uint64_t bytes = 0;
    if (!gb_gguf_u64(w, what, &bytes)) {
        return false;
    }
    if (bytes > w->len - w->pos) {
        return gb_gguf_invalid(w, at, "%s is said to have %llu bytes, and the file has %zu more",
                               what, (unsigned long long)bytes, w->len - w->pos);
    }
    if (bytes > bytes_max) {
        return gb_gguf_refuse(w, at, "Convert the model again with a shorter one.",
                              "%s has %llu bytes; at most %llu are allowed", what,
                              (unsigned long long)bytes, (unsigned long long)bytes_max);
    }
    *ret_text = gb_span_make(w->bytes + w->pos, (size_t)bytes);
    return gb_gguf_skip(w, bytes, what);
}

bool gb_gguf_name_ok(struct gb_span name) {
    bool part = false; /* the part between dots has a character */
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '_' && c != '-' && (c != '.' || !part)) {
            return false;
        }
        part = c != '.';
    }
    return part;
}
