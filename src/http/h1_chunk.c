/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunked coding, byte by byte but for the data. Strict: at most 16 hexadecimal digits, CRLF
 * only, no space around anything, extensions well-formed and bounded over the whole body.
 */
#include "base/num.h"
#include "http/h1_internal.h"

#define SIZE_DIGITS_MAX 16

enum {
    SIZE_FIRST,
    SIZE,
    NAME_FIRST, /* of an extension */
    NAME,
    VALUE_FIRST,
    VALUE,
    QUOTED,
    QUOTED_PAIR,
    QUOTED_END,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF
};

void gb_h1_chunks_begin(struct gb_h1_chunks *c) {
    *c = (struct gb_h1_chunks){.state = SIZE_FIRST};
}

uint64_t gb_h1_chunks_left(const struct gb_h1_chunks *c) {
    return c->state == DATA ? c->left : 0;
}

static bool is_token_byte(uint8_t b) {
    return gb_http_name_valid(gb_span_make(&b, 1));
}

/* Inside quotes: any text that may be printed, and tabs. */
static bool is_quoted_byte(uint8_t b) {
    return b == '\t' || (b >= 0x20 && b < 0x7F);
}

static bool size_byte(struct gb_h1_chunks *c, uint8_t b, struct gb_error **err) {
    int digit = gb_h1_hex(b);
    if (digit >= 0) {
        if (++c->digits > SIZE_DIGITS_MAX) {
            return gb_h1_malformed(err, "a chunk's size has more than %d digits", SIZE_DIGITS_MAX);
        }
        c->left = c->left << 4 | (uint64_t)digit;
        c->state = SIZE;
        return true;
    }
    if (c->state == SIZE && (b == '\r' || b == ';')) {
        c->state = b == '\r' ? SIZE_LF : NAME_FIRST;
        return true;
    }
    return gb_h1_malformed(err, "a chunk's size has the byte \"%s\"",
                           GB_H1_QUOTE(gb_span_make(&b, 1)));
}

/* The next state within a chunk's extensions, or -1. */
static int extension_next(unsigned state, uint8_t b) {
    switch (state) {
    case NAME_FIRST:
        return is_token_byte(b) ? NAME : -1;
    case NAME:
        return is_token_byte(b) ? NAME
               : b == '='       ? VALUE_FIRST
               : b == ';'       ? NAME_FIRST
               : b == '\r'      ? SIZE_LF
                                : -1;
    case VALUE_FIRST:
        return is_token_byte(b) ? VALUE : b == '"' ? QUOTED : -1;
    case VALUE:
        return is_token_byte(b) ? VALUE : b == ';' ? NAME_FIRST : b == '\r' ? SIZE_LF : -1;
    case QUOTED:
        return b == '"' ? QUOTED_END : b == '\\' ? QUOTED_PAIR : is_quoted_byte(b) ? QUOTED : -1;
    case QUOTED_PAIR:
        return is_quoted_byte(b) ? QUOTED : -1;
    default: /* QUOTED_END */
        return b == ';' ? NAME_FIRST : b == '\r' ? SIZE_LF : -1;
    }
}

static bool extension_byte(struct gb_h1_chunks *c, uint8_t b, size_t bytes_max,
                           struct gb_error **err) {
    int next = extension_next(c->state, b);
    if (next < 0) {
        return gb_h1_malformed(err, "a chunk's extension has the byte \"%s\" where it cannot be",
                               GB_H1_QUOTE(gb_span_make(&b, 1)));
    }
    if (++c->extension_bytes > bytes_max) {
        return gb_fail(err, GB_HEADER_TOO_LARGE, "the chunks' extensions exceed %zu bytes",
                       bytes_max);
    }
    c->state = (unsigned)next;
    return true;
}

/* Behind "SIZE[;extensions]\r". */
static bool size_end(struct gb_h1_chunks *c, uint8_t b, uint64_t room, bool *ret_last,
                     struct gb_error **err) {
    if (b != '\n') {
        return gb_h1_malformed(err, "a chunk's size does not end with CR LF");
    }
    if (c->left > room) {
        return gb_fail(err, GB_PAYLOAD_TOO_LARGE, "the request's body is larger than allowed");
    }
    c->digits = 0;
    c->state = c->left > 0 ? DATA : SIZE_FIRST;
    *ret_last = c->left == 0;
    return true;
}

static bool data_end(struct gb_h1_chunks *c, uint8_t b, struct gb_error **err) {
    if (b != (c->state == DATA_CR ? '\r' : '\n')) {
        return gb_h1_malformed(err, "a chunk is longer than its size says");
    }
    c->state = c->state == DATA_CR ? DATA_LF : SIZE_FIRST;
    return true;
}

static struct gb_span take_data(struct gb_h1_chunks *c, struct gb_span rest) {
    size_t len = (size_t)GB_MIN(c->left, (uint64_t)rest.len);
    c->left -= len;
    if (c->left == 0) {
        c->state = DATA_CR;
    }
    return gb_span_make(rest.ptr, len);
}

enum gb_h1_chunk_step gb_h1_chunks_step(struct gb_h1_chunks *c, struct gb_span bytes,
                                        size_t extension_bytes_max, uint64_t room,
                                        size_t *ret_consumed, struct gb_span *ret_data,
                                        struct gb_error **err) {
    size_t i = 0;
    while (i < bytes.len) {
        uint8_t b = bytes.ptr[i];
        bool last = false;
        bool ok = true;
        if (c->state == DATA) {
            *ret_data = take_data(c, gb_span_make(bytes.ptr + i, bytes.len - i));
            *ret_consumed = i + ret_data->len;
            return GB_H1_CHUNK_DATA;
        }
        i++;
        if (c->state <= SIZE) {
            ok = size_byte(c, b, err);
        } else if (c->state < SIZE_LF) {
            ok = extension_byte(c, b, extension_bytes_max, err);
        } else if (c->state == SIZE_LF) {
            ok = size_end(c, b, room, &last, err);
        } else {
            ok = data_end(c, b, err);
        }
        if (!ok || last) {
            *ret_consumed = i;
            return ok ? GB_H1_CHUNK_LAST : GB_H1_CHUNK_FAILED;
        }
    }
    *ret_consumed = i;
    return GB_H1_CHUNK_MORE;
}
