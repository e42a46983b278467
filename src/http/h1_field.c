/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Field lines: names as tokens, values without control bytes, no folding, one colon behind the
 * name. Here too: which names matter to servers and proxies, and blocks of bytes.
 */
#include "base/num.h"
#include "http/h1_internal.h"

#include "base/alloc.h"

#define BLOCK_BYTES_FIRST 1024
#define FIELDS_FIRST 16

bool gb_h1_block_reserve(struct gb_h1_block *b, size_t more, struct gb_error **err) {
    size_t need;
    if (!gb_add_size(b->len, more, &need) || need > SIZE_MAX / 2) {
        return gb_fail(err, GB_HEADER_TOO_LARGE, "the request's head is too large");
    }
    if (need <= b->cap) {
        return true;
    }
    size_t cap = GB_MAX(b->cap, (size_t)BLOCK_BYTES_FIRST);
    while (cap < need) {
        cap *= 2;
    }
    uint8_t *ptr = gb_realloc(b->ptr, cap, err);
    if (!ptr) {
        return false;
    }
    b->ptr = ptr;
    b->cap = cap;
    return true;
}

bool gb_h1_block_append(struct gb_h1_block *b, struct gb_span bytes, struct gb_error **err) {
    if (!gb_h1_block_reserve(b, bytes.len, err)) {
        return false;
    }
    if (bytes.len > 0) {
        memcpy(b->ptr + b->len, bytes.ptr, bytes.len);
    }
    b->len += bytes.len;
    return true;
}

void gb_h1_block_fini(struct gb_h1_block *b) {
    gb_free(b->ptr);
    *b = (struct gb_h1_block){0};
}

void gb_h1_fields_fini(struct gb_h1_fields *f) {
    gb_free(f->ptr);
    *f = (struct gb_h1_fields){0};
}

const char *gb_h1_quote(struct gb_span bytes, struct gb_h1_quote *q) {
    static const char hex[] = "0123456789abcdef";
    size_t n = GB_MIN(bytes.len, (size_t)60);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t b = bytes.ptr[i];
        if (b >= 0x20 && b < 0x7F && b != '"' && b != '\\') {
            q->text[at++] = (char)b;
        } else {
            memcpy(q->text + at, "\\x", 2);
            q->text[at + 2] = hex[b >> 4];
            q->text[at + 3] = hex[b & 15];
            at += 4;
        }
    }
    if (n < bytes.len) {
        memcpy(q->text + at, "...", 3);
        at += 3;
    }
    q->text[at] = '\0';
    return q->text;
}

#define NAMED(text) text, sizeof(text) - 1
static const struct {
    const char *name;
    size_t len;
    enum gb_h1_known known;
} known_names[] = {
    {NAMED("host"), GB_H1_KNOWN_HOST},
    {NAMED("content-length"), GB_H1_KNOWN_CONTENT_LENGTH},
    {NAMED("transfer-encoding"), GB_H1_KNOWN_TRANSFER_ENCODING},
    {NAMED("connection"), GB_H1_KNOWN_CONNECTION},
    {NAMED("expect"), GB_H1_KNOWN_EXPECT},
    {NAMED("upgrade"), GB_H1_KNOWN_UPGRADE},
    {NAMED("trailer"), GB_H1_KNOWN_TRAILER},
    {NAMED("te"), GB_H1_KNOWN_TE},
    {NAMED("authorization"), GB_H1_KNOWN_AUTHORIZATION},
    {NAMED("x-api-key"), GB_H1_KNOWN_API_KEY},
    {NAMED("content-type"), GB_H1_KNOWN_CONTENT_TYPE},
    {NAMED("content-encoding"), GB_H1_KNOWN_OTHER},
    {NAMED("content-range"), GB_H1_KNOWN_OTHER},
    {NAMED("cookie"), GB_H1_KNOWN_OTHER},
    {NAMED("forwarded"), GB_H1_KNOWN_OTHER},
    {NAMED("proxy-authorization"), GB_H1_KNOWN_OTHER},
    {NAMED("proxy-connection"), GB_H1_KNOWN_OTHER},
    {NAMED("keep-alive"), GB_H1_KNOWN_OTHER},
    {NAMED("range"), GB_H1_KNOWN_OTHER},
    {NAMED("set-cookie"), GB_H1_KNOWN_OTHER},
    {NAMED("traceparent"), GB_H1_KNOWN_OTHER},
    {NAMED("tracestate"), GB_H1_KNOWN_OTHER},
    {NAMED("x-forwarded-for"), GB_H1_KNOWN_OTHER},
    {NAMED("x-forwarded-host"), GB_H1_KNOWN_OTHER},
    {NAMED("x-forwarded-port"), GB_H1_KNOWN_OTHER},
    {NAMED("x-forwarded-proto"), GB_H1_KNOWN_OTHER},
    {NAMED("x-real-ip"), GB_H1_KNOWN_OTHER},
    {NAMED("x-request-id"), GB_H1_KNOWN_OTHER},
};

enum gb_h1_known gb_h1_known_of(struct gb_span lower_name) {
    for (size_t i = 0; i < GB_COUNT(known_names); i++) {
        if (lower_name.len == known_names[i].len &&
            memcmp(lower_name.ptr, known_names[i].name, lower_name.len) == 0) {
            return known_names[i].known;
        }
    }
    return GB_H1_KNOWN_NONE;
}

/* "content_length" is no content-length to us, but it is to a server that makes variables of names;
 * so is "x_forwarded_for". */
static bool is_twin(struct gb_span lower_name) {
    char dashed[32];
    if (lower_name.len > sizeof dashed || !memchr(lower_name.ptr, '_', lower_name.len)) {
        return false;
    }
    for (size_t i = 0; i < lower_name.len; i++) {
        char c = (char)lower_name.ptr[i];
        dashed[i] = c == '_' ? '-' : c;
    }
    return gb_h1_known_of(gb_span_make(dashed, lower_name.len)) != GB_H1_KNOWN_NONE;
}

/* What a byte of a name becomes; 0: it cannot be in one. */
static const uint8_t lower_token[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
    ['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`',   ['|'] = '|',
    ['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',   ['5'] = '5',
    ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['a'] = 'a', ['b'] = 'b',   ['c'] = 'c',
    ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i',   ['j'] = 'j',
    ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p',   ['q'] = 'q',
    ['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w',   ['x'] = 'x',
    ['y'] = 'y', ['z'] = 'z', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd',   ['E'] = 'e',
    ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k',   ['L'] = 'l',
    ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r',   ['S'] = 's',
    ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y',   ['Z'] = 'z',
};

/* Makes the name that a line begins with lower case; its length, up to the first byte that is no
 * part of one. */
static size_t read_name(uint8_t *line, size_t len) {
    size_t i = 0;
    for (; i < len && lower_token[line[i]] != 0; i++) {
        line[i] = lower_token[line[i]];
    }
    return i;
}

/* One line without its CRLF. */
static bool read_field(uint8_t *line, size_t len, const char *what, struct gb_http_field *ret,
                       struct gb_error **err) {
    struct gb_span name = gb_span_make(line, read_name(line, len));
    if (name.len == 0 || name.len == len || line[name.len] != ':') {
        name.len = len;
        gb_h1_malformed(err, "a %s's name is not valid: \"%s\"", what, GB_H1_QUOTE(name));
        return gb_hint(err, "A name has letters, digits and dashes, and the colon follows at once; "
                            "lines are not folded.");
    }
    struct gb_span value = gb_h1_trim(line + name.len + 1, len - name.len - 1);
    if (!gb_http_value_valid(value)) {
        gb_h1_malformed(err, "the %s \"%s\" has a byte that no value may have", what,
                        GB_H1_QUOTE(name));
        return gb_hint(err, "Values are printable ASCII or UTF-8, without control characters.");
    }
    if (is_twin(name)) {
        gb_h1_malformed(err, "the %s \"%s\" could be taken for its namesake with dashes", what,
                        GB_H1_QUOTE(name));
        return gb_hint(err, "Write it with dashes, or choose another name.");
    }
    *ret = (struct gb_http_field){.name = name, .value = value};
    return true;
}

static bool grow(struct gb_h1_fields *f, size_t fields_max, const char *what,
                 struct gb_error **err) {
    if (f->len >= fields_max) {
        return gb_fail(err, GB_HEADER_TOO_LARGE, "the request has more than %zu %ss", fields_max,
                       what);
    }
    if (f->len < f->cap) {
        return true;
    }
    size_t cap = f->cap ? f->cap * 2 : FIELDS_FIRST;
    struct gb_http_field *ptr = gb_realloc(f->ptr, cap * sizeof *ptr, err);
    if (!ptr) {
        return false;
    }
    f->ptr = ptr;
    f->cap = cap;
    return true;
}

bool gb_h1_read_fields(uint8_t *lines, size_t len, size_t fields_max, const char *what,
                       struct gb_h1_fields *ret, struct gb_error **err) {
    ret->len = 0;
    size_t at = 0;
    while (at < len) {
        uint8_t *line = lines + at;
        uint8_t *newline = memchr(line, '\n', len - at);
        if (!newline || newline == line || newline[-1] != '\r') {
            return gb_h1_malformed(err, "a %s's line does not end with CR LF", what);
        }
        size_t line_len = (size_t)(newline - line) - 1;
        if (!grow(ret, fields_max, what, err) ||
            !read_field(line, line_len, what, &ret->ptr[ret->len], err)) {
            return false;
        }
        ret->len++;
        at += line_len + 2;
    }
    return true;
}

bool gb_h1_check_trailers(const struct gb_h1_fields *f, struct gb_error **err) {
    for (size_t i = 0; i < f->len; i++) {
        if (gb_h1_known_of(f->ptr[i].name) != GB_H1_KNOWN_NONE) {
            gb_h1_malformed(err, "\"%s\" cannot be a trailer", GB_H1_QUOTE(f->ptr[i].name));
            return gb_hint(err, "Send it with the request's other fields.");
        }
    }
    return true;
}
