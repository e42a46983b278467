/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648, padded, canonical): how bytes travel in JSON. */
#include "base/num.h"
#include "sandbox/value.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#define CHUNK_BYTES 3072u

static size_t encode(const uint8_t *in, size_t len, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = GB_MIN(len - i, (size_t)3);
        uint32_t bits = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                        (left > 2 ? (uint32_t)in[i + 2] : 0);
        out[n++] = digits[bits >> 18];
        out[n++] = digits[bits >> 12 & 63];
        out[n++] = left > 1 ? digits[bits >> 6 & 63] : '=';
        out[n++] = left > 2 ? digits[bits & 63] : '=';
    }
    return n;
}

bool gb_base64_append(struct gb_buf *out, struct gb_span bytes, struct gb_error **err) {
    char text[CHUNK_BYTES / 3 * 4];
    for (size_t at = 0; at < bytes.len; at += CHUNK_BYTES) {
        size_t n = encode(bytes.ptr + at, GB_MIN(bytes.len - at, (size_t)CHUNK_BYTES), text);
        if (!gb_buf_append(out, text, n, err)) {
            return false;
        }
    }
    return true;
}

/* Number of a digit, plus 1; 0: not a digit. */
static const uint8_t digit_of[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64};

bool gb_base64_decode(struct gb_span text, uint8_t *room, size_t *ret_len) {
    if (text.len % 4 != 0) {
        return false;
    }
    size_t n = 0;
    for (size_t i = 0; i < text.len; i += 4) {
        const uint8_t *in = text.ptr + i;
        bool last = i + 4 == text.len;
        unsigned pad = last && in[3] == '=' ? (in[2] == '=' ? 2 : 1) : 0;
        uint32_t bits = 0;
        for (unsigned k = 0; k < 4; k++) {
            unsigned d = k >= 4 - pad ? 1u : digit_of[in[k]];
            if (d == 0) {
                return false;
            }
            bits = bits << 6 | (d - 1);
        }
        if (bits & ((1u << (8 * pad)) - 1)) {
            return false; /* bits that no byte has: two texts would stand for the same bytes */
        }
        room[n++] = (uint8_t)(bits >> 16);
        if (pad < 2) {
            room[n++] = (uint8_t)(bits >> 8);
        }
        if (pad < 1) {
            room[n++] = (uint8_t)bits;
        }
    }
    *ret_len = n;
    return true;
}
