/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request lines, targets, hosts. A target is taken only in the form that everybody reads alike:
 * what would have to be repaired (dots, backslashes, bad escapes) is refused, see gb_h1_new.
 */
#include "base/num.h"
#include "http/h1_internal.h"

/* Bits of what a byte may be in a URI (RFC 3986). */
enum { PATH = 1, QUERY = 2, UNRESERVED = 4, HOST = 8 };
static const uint8_t classes[256] = {
    ['a' ... 'z'] = PATH | QUERY | UNRESERVED | HOST,
    ['A' ... 'Z'] = PATH | QUERY | UNRESERVED | HOST,
    ['0' ... '9'] = PATH | QUERY | UNRESERVED | HOST,
    ['-'] = PATH | QUERY | UNRESERVED | HOST,
    ['.'] = PATH | QUERY | UNRESERVED | HOST,
    ['_'] = PATH | QUERY | UNRESERVED | HOST,
    ['~'] = PATH | QUERY | UNRESERVED,
    ['!'] = PATH | QUERY,
    ['$'] = PATH | QUERY,
    ['&'] = PATH | QUERY,
    ['\''] = PATH | QUERY,
    ['('] = PATH | QUERY,
    [')'] = PATH | QUERY,
    ['*'] = PATH | QUERY,
    ['+'] = PATH | QUERY,
    [','] = PATH | QUERY,
    [';'] = PATH | QUERY,
    ['='] = PATH | QUERY,
    [':'] = PATH | QUERY,
    ['@'] = PATH | QUERY,
    ['/'] = PATH | QUERY,
    /* Not in a URI, but browsers send them in queries, and nobody reads them as anything else. */
    ['?'] = QUERY,
    ['['] = QUERY,
    [']'] = QUERY,
    ['{'] = QUERY,
    ['}'] = QUERY,
    ['|'] = QUERY,
    ['^'] = QUERY,
};

static bool is(uint8_t b, unsigned class) {
    return (classes[b] & class) != 0;
}

/* The byte that "%XX" at `at` stands for, or -1. */
static int escaped(struct gb_span s, size_t at) {
    if (s.len - at < 3) {
        return -1;
    }
    int high = gb_h1_hex(s.ptr[at + 1]);
    int low = gb_h1_hex(s.ptr[at + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static bool refuse_version(struct gb_span version, struct gb_error **err) {
    gb_h1_malformed(err, "\"%s\" is no version of HTTP that is spoken here", GB_H1_QUOTE(version));
    return gb_hint(err, "Use HTTP/1.1 (or 1.0): curl --http1.1");
}

bool gb_h1_read_line(struct gb_span line, size_t target_bytes_max, struct gb_h1_line *ret,
                     struct gb_error **err) {
    static const char form[] = "It has the form \"GET /path HTTP/1.1\", with one space between.";
    const uint8_t *first = memchr(line.ptr, ' ', line.len);
    const uint8_t *last = memrchr(line.ptr, ' ', line.len);
    if (!first || first == line.ptr) {
        gb_h1_malformed(err, "the request line \"%s\" is not valid", GB_H1_QUOTE(line));
        return gb_hint(err, form);
    }
    size_t method_len = (size_t)(first - line.ptr);
    size_t last_at = (size_t)(last - line.ptr);
    if (first == last) {
        return refuse_version(gb_span_make("HTTP/0.9", 8), err);
    }
    struct gb_span target = gb_span_make(first + 1, last_at - method_len - 1);
    struct gb_span version = gb_span_make(last + 1, line.len - last_at - 1);
    if (target.len == 0 || memchr(target.ptr, ' ', target.len)) {
        gb_h1_malformed(err, "the request line \"%s\" is not valid", GB_H1_QUOTE(line));
        return gb_hint(err, form);
    }
    if (version.len != 8 || memcmp(version.ptr, "HTTP/1.", 7) != 0 ||
        (version.ptr[7] != '0' && version.ptr[7] != '1')) {
        return refuse_version(version, err);
    }
    if (target.len > target_bytes_max) {
        gb_fail(err, GB_HEADER_TOO_LARGE, "the request's target has %zu bytes, more than %zu",
                target.len, target_bytes_max);
        return gb_hint(err, "Send long data as the body of a POST.");
    }
    ret->method_len = method_len;
    ret->target_at = method_len + 1;
    ret->target_len = target.len;
    ret->minor = (unsigned)(version.ptr[7] - '0');
    return true;
}

static bool check_port(struct gb_span port) {
    unsigned number = 0;
    for (size_t i = 0; i < port.len; i++) {
        if (port.ptr[i] < '0' || port.ptr[i] > '9') {
            return false;
        }
        number = number * 10 + (unsigned)(port.ptr[i] - '0');
    }
    return port.len > 0 && port.len <= 5 && number <= 65535;
}

/* "[" hexadecimal digits, colons, dots "]": whether it is an address is not ours to say, but that
 * it is nothing else. Returns the length, 0 if it is none. */
static size_t bracketed(struct gb_span a) {
    size_t colons = 0;
    for (size_t i = 1; i < a.len && i < 48; i++) {
        uint8_t b = a.ptr[i];
        if (b == ']') {
            return colons >= 2 ? i + 1 : 0;
        }
        if (b != ':' && b != '.' && gb_h1_hex(b) < 0) {
            return 0;
        }
        colons += b == ':';
    }
    return 0;
}

bool gb_h1_check_authority(struct gb_span a, struct gb_error **err) {
    size_t host = 0;
    if (a.len > 0 && a.ptr[0] == '[') {
        host = bracketed(a);
    } else {
        while (host < a.len && is(a.ptr[host], HOST)) {
            host++;
        }
    }
    bool port_ok = host == a.len || (a.ptr[host] == ':' &&
                                     check_port(gb_span_make(a.ptr + host + 1, a.len - host - 1)));
    if (host == 0 || host > 255 || !port_ok || a.ptr[0] == '.') {
        gb_h1_malformed(err, "\"%s\" is no host", GB_H1_QUOTE(a));
        return gb_hint(err, "A host is a name or an address, with a port where it is not the "
                            "usual one: \"example.com:8080\".");
    }
    return true;
}

/* The part up to a `stop` byte or the end, all of one class or escapes. */
static bool read_part(struct gb_span target, size_t *at, unsigned class, uint8_t stop,
                      struct gb_error **err) {
    while (*at < target.len) {
        uint8_t b = target.ptr[*at];
        if (b == '%') {
            int byte = escaped(target, *at);
            if (byte <= 0 || (class == PATH && (byte < 0x20 || byte == 0x7F))) {
                size_t len = GB_MIN(target.len - *at, (size_t)3);
                return gb_h1_malformed(err, "the target has the escape \"%s\"",
                                       GB_H1_QUOTE(gb_span_make(target.ptr + *at, len)));
            }
            *at += 3;
        } else if (b == stop) {
            return true;
        } else if (!is(b, class)) {
            gb_h1_malformed(err, "the target has the byte \"%s\"",
                            GB_H1_QUOTE(gb_span_make(&b, 1)));
            return gb_hint(err, "Escape it: %%%02X", (unsigned)b);
        } else {
            (*at)++;
        }
    }
    return true;
}

/* "http://host" at the beginning of an absolute target. */
static bool read_origin(struct gb_span target, bool tls, size_t *ret_at, struct gb_span *ret,
                        struct gb_error **err) {
    static const char schemes[2][9] = {"http://", "https://"};
    const char *scheme = schemes[tls ? 1 : 0];
    size_t scheme_len = strlen(scheme);
    if (target.len < scheme_len || !gb_http_name_is(gb_span_make(target.ptr, scheme_len), scheme)) {
        gb_h1_malformed(err, "the target \"%s\" is not of this server", GB_H1_QUOTE(target));
        return gb_hint(err, "A target is a path that begins with \"/\"; this is no proxy.");
    }
    size_t end = scheme_len;
    while (end < target.len && target.ptr[end] != '/' && target.ptr[end] != '?') {
        end++;
    }
    *ret = gb_span_make(target.ptr + scheme_len, end - scheme_len);
    *ret_at = end;
    return gb_h1_check_authority(*ret, err);
}

bool gb_h1_read_target(struct gb_span target, enum gb_http_method method, bool tls,
                       struct gb_h1_target *ret, struct gb_error **err) {
    *ret = (struct gb_h1_target){0};
    if (gb_span_is(target, "*")) {
        ret->path = target;
        return method == GB_HTTP_OPTIONS ||
               gb_h1_malformed(err, "the target \"*\" is for OPTIONS only");
    }
    size_t at = 0;
    if (target.ptr[0] != '/' && !read_origin(target, tls, &at, &ret->authority, err)) {
        return false;
    }
    size_t path_at = at;
    if (!read_part(target, &at, PATH, '?', err)) {
        return false;
    }
    ret->path = gb_span_make(target.ptr + path_at, at - path_at);
    if (ret->path.len == 0) {
        ret->path = gb_span_make("/", 1); /* of "http://host" */
        ret->is_made = true;
    }
    if (ret->path.len > 1 && ret->path.ptr[1] == '/') {
        gb_h1_malformed(err, "the path begins with \"//\"");
        return gb_hint(err, "Begin it with one \"/\".");
    }
    if (at == target.len) {
        return true;
    }
    at++;
    size_t query_at = at;
    ret->has_query = true;
    ret->query = gb_span_make(target.ptr + query_at, target.len - query_at);
    return read_part(target, &at, QUERY, 0, err);
}

/* "." and "..", also with parameters behind (";x"), which some servers cut off first. */
static bool is_dots(struct gb_span segment) {
    const uint8_t *end = segment.len ? memchr(segment.ptr, ';', segment.len) : NULL;
    size_t len = end ? (size_t)(end - segment.ptr) : segment.len;
    return (len == 1 || len == 2) && segment.ptr[0] == '.' && segment.ptr[len - 1] == '.';
}

static bool check_dots(struct gb_span path, struct gb_error **err) {
    for (size_t at = 1; at <= path.len;) {
        const uint8_t *slash = at < path.len ? memchr(path.ptr + at, '/', path.len - at) : NULL;
        size_t end = slash ? (size_t)(slash - path.ptr) : path.len;
        if (is_dots(gb_span_make(path.ptr + at, end - at))) {
            gb_h1_malformed(err, "the path has a segment of dots only");
            return gb_hint(err, "Send the path without \".\" and \"..\": curl does by itself.");
        }
        at = end + 1;
    }
    return true;
}

bool gb_h1_write_path(struct gb_span raw, uint8_t *out, size_t *ret_len, struct gb_error **err) {
    static const char digits[] = "0123456789ABCDEF";
    size_t len = 0;
    for (size_t at = 0; at < raw.len; at++) {
        int byte = raw.ptr[at] == '%' ? escaped(raw, at) : -1;
        if (byte < 0) {
            out[len++] = raw.ptr[at];
            continue;
        }
        if (is((uint8_t)byte, UNRESERVED)) {
            out[len++] = (uint8_t)byte;
        } else {
            out[len++] = '%';
            out[len++] = (uint8_t)digits[byte >> 4];
            out[len++] = (uint8_t)digits[byte & 15];
        }
        at += 2;
    }
    *ret_len = len;
    return check_dots(gb_span_make(out, len), err);
}
