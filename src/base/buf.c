/* SPDX-License-Identifier: Apache-2.0 */
/* The capped buffer, and the two text rules everybody needs: escaping and UTF-8. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

void gb_buf_init(struct gb_buf *b, size_t bytes_max) {
    *b = (struct gb_buf){.bytes_max = bytes_max};
}

void gb_buf_fini(struct gb_buf *b) {
    gb_free(b->ptr);
    *b = (struct gb_buf){.bytes_max = b->bytes_max};
}

bool gb_buf_reserve(struct gb_buf *b, size_t more, struct gb_error **err) {
    size_t need;
    if (!gb_add_size(b->len, more, &need) || need > b->bytes_max || need == SIZE_MAX) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "text grew past its limit of %zu bytes",
                       b->bytes_max);
    }
    if (need + 1 <= b->cap) {
        return true;
    }
    size_t cap = GB_MAX(need + 1, GB_MIN(b->cap * 2, b->bytes_max));
    cap = GB_MAX(cap, (size_t)64);
    uint8_t *ptr = gb_realloc(b->ptr, cap, err);
    if (!ptr) {
        return false;
    }
    b->ptr = ptr;
    b->cap = cap;
    return true;
}

bool gb_buf_append(struct gb_buf *b, const void *bytes, size_t len, struct gb_error **err) {
    if (!gb_buf_reserve(b, len, err)) {
        return false;
    }
    if (len > 0) {
        memcpy(b->ptr + b->len, bytes, len);
    }
    b->len += len;
    b->ptr[b->len] = '\0';
    return true;
}

bool gb_buf_append_text(struct gb_buf *b, const char *text, struct gb_error **err) {
    return gb_buf_append(b, text, strlen(text), err);
}

bool gb_buf_append_format(struct gb_buf *b, struct gb_error **err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool ok = len >= 0 && gb_buf_reserve(b, (size_t)len, err);
    if (ok) {
        vsnprintf((char *)b->ptr + b->len, (size_t)len + 1, format, again);
        b->len += (size_t)len;
    }
    va_end(again);
    return ok;
}

/* Length of the UTF-8 sequence at p, or 0 when it is not well-formed (RFC 3629). */
static size_t utf8_len(const uint8_t *p, size_t left) {
    uint8_t c = p[0];
    if (c < 0x80) {
        return 1;
    }
    size_t n = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (n == 0 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool bad = (c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ||
               (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f);
    return bad ? 0 : n;
}

bool gb_utf8_valid(struct gb_span text) {
    for (size_t i = 0; i < text.len;) {
        size_t n = utf8_len(text.ptr + i, text.len - i);
        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

bool gb_buf_append_escaped(struct gb_buf *b, struct gb_span text, struct gb_error **err) {
    for (size_t i = 0; i < text.len;) {
        const uint8_t *p = text.ptr + i;
        size_t n = utf8_len(p, text.len - i);
        /* C0 but tab and newline, DEL, and C1 (U+0080..U+009F) drive terminals. */
        bool control = n == 1 && ((*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f);
        bool c1 = n == 2 && p[0] == 0xc2 && p[1] < 0xa0;
        /* Embeddings, overrides and isolates (U+202A to U+202E, U+2066 to U+2069) make the rest of
         * a line read backwards. */
        bool bidi = n == 3 && p[0] == 0xe2 &&
                    ((p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae) ||
                     (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
        if (n == 0 || control || c1 || bidi) {
            size_t bytes = n == 0 ? 1 : n;
            for (size_t k = 0; k < bytes; k++) {
                if (!gb_buf_append_format(b, err, "\\x%02x", p[k])) {
                    return false;
                }
            }
            i += bytes;
        } else {
            if (!gb_buf_append(b, p, n, err)) {
                return false;
            }
            i += n;
        }
    }
    return true;
}

const char *gb_buf_text(const struct gb_buf *b) {
    return b->ptr ? (const char *)b->ptr : "";
}

struct gb_span gb_buf_span(const struct gb_buf *b) {
    return gb_span_make(b->ptr, b->len);
}

char *gb_buf_take(struct gb_buf *b) {
    char *text = (char *)b->ptr;
    *b = (struct gb_buf){.bytes_max = b->bytes_max};
    return text;
}
