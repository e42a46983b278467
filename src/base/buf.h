/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer with a maximum given at init. Appending past it fails with the given code
 * and keeps what is there. Always NUL-terminated behind its length, so text can be printed.
 * Ownership: embedded, _init/_fini; gb_buf_take hands the bytes over (free with gb_free).
 */
#ifndef GB_BASE_BUF_H
#define GB_BASE_BUF_H

#include "base/alloc.h"
#include "base/span.h"

struct gb_buf {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    size_t bytes_max;
};

void gb_buf_init(struct gb_buf *b, size_t bytes_max);
void gb_buf_fini(struct gb_buf *b);
/* Makes room for `more` bytes, which may then be written behind ptr + len; len is the caller's to
 * advance, and the NUL its to write. */
bool gb_buf_reserve(struct gb_buf *b, size_t more, struct gb_error **err);
bool gb_buf_append(struct gb_buf *b, const void *bytes, size_t len, struct gb_error **err);
bool gb_buf_append_text(struct gb_buf *b, const char *text, struct gb_error **err);
bool gb_buf_append_format(struct gb_buf *b, struct gb_error **err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Text for a person: control bytes, ESC and C1 as \xNN, so that no guest paints our terminal. */
bool gb_buf_append_escaped(struct gb_buf *b, struct gb_span text, struct gb_error **err);
const char *gb_buf_text(const struct gb_buf *b);
struct gb_span gb_buf_span(const struct gb_buf *b);
char *gb_buf_take(struct gb_buf *b);
bool gb_utf8_valid(struct gb_span text);

#endif
