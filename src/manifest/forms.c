/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a text must look like: addresses, digests, host names, routes. Each form is one function
 * over a span, one reason, and the line to type.
 */
#include <arpa/inet.h>
#include <stdio.h>

#include "base/num.h"
#include "manifest/manifest_internal.h"

static const char *const grants[] = {"nn-load", "http", "kv", "sockets", "memory64"};

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}
static bool is_alpha(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static bool is_alnum(uint8_t c) {
    return is_digit(c) || is_alpha(c);
}

static bool is_hex(struct gb_span text) {
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (!is_digit(c) && !(c >= 'a' && c <= 'f') && !(c >= 'A' && c <= 'F')) {
            return false;
        }
    }
    return text.len > 0;
}

static bool starts_with(struct gb_span text, const char *start) {
    size_t len = strlen(start);
    return text.len >= len && memcmp(text.ptr, start, len) == 0;
}

static struct gb_span after(struct gb_span text, size_t skip) {
    return gb_span_make(text.ptr + skip, text.len - skip);
}

static size_t index_of(struct gb_span text, char c) {
    const uint8_t *at = text.len > 0 ? memchr(text.ptr, c, text.len) : NULL;
    return at ? (size_t)(at - text.ptr) : text.len;
}

/* 1 to 5 digits up to 65535. */
static bool port_ok(struct gb_span text) {
    unsigned number = 0;
    for (size_t i = 0; i < text.len && i < 6; i++) {
        if (!is_digit(text.ptr[i])) {
            return false;
        }
        number = number * 10 + (unsigned)(text.ptr[i] - '0');
    }
    return text.len > 0 && text.len <= 5 && number <= 65535;
}

static bool ip_of(struct gb_span text, int family, void *ret) {
    char buf[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof buf) {
        return false;
    }
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = '\0';
    return inet_pton(family, buf, ret) == 1;
}

static bool address_ok(struct gb_span text) {
    uint8_t address[16];
    if (text.len > 0 && text.ptr[0] == '[') {
        size_t end = index_of(text, ']');
        return end + 1 < text.len && text.ptr[end + 1] == ':' &&
               ip_of(gb_span_make(text.ptr + 1, end - 1), AF_INET6, address) &&
               port_ok(after(text, end + 2));
    }
    size_t colon = index_of(text, ':');
    struct gb_span host = gb_span_make(text.ptr, colon);
    return colon < text.len && port_ok(after(text, colon + 1)) &&
           (gb_span_is(host, "localhost") || ip_of(host, AF_INET, address));
}

bool gb_form_cidr(struct gb_span text, struct gb_cidr *ret_cidr) {
    struct gb_cidr c = {0};
    size_t slash = index_of(text, '/');
    struct gb_span host = gb_span_make(text.ptr, slash);
    bool v4 = ip_of(host, AF_INET, c.address + 12);
    if (v4) {
        c.address[10] = c.address[11] = 0xff;
    } else if (!ip_of(host, AF_INET6, c.address)) {
        return false;
    }
    unsigned bits = v4 ? 32 : 128;
    if (slash < text.len) {
        struct gb_span prefix = after(text, slash + 1);
        if (!port_ok(prefix) || prefix.len > 3) {
            return false;
        }
        unsigned written = 0;
        for (size_t i = 0; i < prefix.len; i++) {
            written = written * 10 + (unsigned)(prefix.ptr[i] - '0');
        }
        if (written > bits) {
            return false;
        }
        bits = written;
    }
    c.prefix = (uint8_t)(bits + (v4 ? 96 : 0));
    *ret_cidr = c;
    return true;
}

static bool digest_ok(struct gb_span text) {
    if (text.len != GB_DIGEST_BYTES || !starts_with(text, "sha256:") || !is_hex(after(text, 7))) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] >= 'A' && text.ptr[i] <= 'F') {
            return false;
        }
    }
    return true;
}

static bool key_hash_ok(struct gb_span text) {
    struct gb_span hex = starts_with(text, "sha256:") ? after(text, 7) : text;
    return hex.len == 64 && is_hex(hex);
}

bool gb_form_token_ok(struct gb_span text) {
    for (size_t i = 0; i < text.len; i++) {
        if (!is_alnum(text.ptr[i]) && !strchr("!#$%&'*+-.^_`|~", text.ptr[i])) {
            return false;
        }
    }
    return text.len > 0;
}

/* Visible ASCII, spaces within. */
static bool visible_ok(struct gb_span text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < 0x20 || text.ptr[i] > 0x7e) {
            return false;
        }
    }
    return text.len > 0 && text.ptr[0] != ' ' && text.ptr[text.len - 1] != ' ';
}

static bool host_ok(struct gb_span text) {
    if (starts_with(text, "*.")) {
        text = after(text, 2);
    }
    if (text.len == 0 || text.len > 253) {
        return false;
    }
    size_t label = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        bool dot = c == '.';
        if ((dot && label == 0) || (!dot && !is_alnum(c) && c != '-' && c != '_') || label > 63) {
            return false;
        }
        label = dot ? 0 : label + 1;
    }
    return label > 0 && label <= 63;
}

static bool host_form_ok(struct gb_span text) {
    uint8_t address[16];
    if (text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']') {
        return ip_of(gb_span_make(text.ptr + 1, text.len - 2), AF_INET6, address);
    }
    return host_ok(text);
}

bool gb_form_name_ok(struct gb_span text) {
    for (size_t i = 0; i < text.len; i++) {
        if (!is_alnum(text.ptr[i]) && (i == 0 || !strchr("._-", text.ptr[i]))) {
            return false;
        }
    }
    return text.len > 0 && text.len <= GB_MANIFEST_NAME_MAX;
}

static bool label_ok(struct gb_span text) {
    for (size_t i = 0; i < text.len; i++) {
        if (!is_alnum(text.ptr[i]) && text.ptr[i] != '_' && text.ptr[i] != '-') {
            return false;
        }
    }
    return text.len > 0 && text.len <= 64;
}

static bool model_ok(struct gb_span text) {
    size_t at = index_of(text, '@');
    return gb_form_name_ok(gb_span_make(text.ptr, at)) &&
           (at == text.len || digest_ok(after(text, at + 1)));
}

static bool grant_ok(struct gb_span text) {
    for (size_t i = 0; i < GB_COUNT(grants); i++) {
        if (gb_span_is(text, grants[i])) {
            return true;
        }
    }
    return false;
}

/* "*", a host name, a leading wildcard, an address, an IPv4 network. */
static bool outbound_host_ok(struct gb_span host) {
    struct gb_cidr cidr;
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        return gb_form_cidr(gb_span_make(host.ptr + 1, host.len - 2), &cidr);
    }
    if (index_of(host, '/') < host.len) {
        return gb_form_cidr(host, &cidr);
    }
    return gb_span_is(host, "*") || host_ok(host);
}

static bool outbound_port_ok(struct gb_span port) {
    size_t range = 0;
    while (range + 1 < port.len && !(port.ptr[range] == '.' && port.ptr[range + 1] == '.')) {
        range++;
    }
    if (range + 1 < port.len) {
        return port_ok(gb_span_make(port.ptr, range)) && port_ok(after(port, range + 2));
    }
    return gb_span_is(port, "*") || port_ok(port);
}

bool gb_form_outbound_ok(struct gb_span text) {
    if (gb_span_is(text, "self")) {
        return true;
    }
    size_t colon = index_of(text, ':');
    if (colon == 0 || colon + 3 > text.len || memcmp(text.ptr + colon, "://", 3) != 0) {
        return false;
    }
    for (size_t i = 0; i < colon; i++) {
        if (!is_alnum(text.ptr[i]) && text.ptr[i] != '+' && text.ptr[i] != '-' &&
            !(text.ptr[i] == '*' && colon == 1)) {
            return false;
        }
    }
    struct gb_span rest = after(text, colon + 3);
    if (gb_span_is(rest, "self") || gb_span_is(rest, "self.alt")) {
        return true;
    }
    size_t end = rest.len > 0 && rest.ptr[0] == '[' ? index_of(rest, ']') : 0;
    size_t port = end + index_of(after(rest, GB_MIN(end, rest.len)), ':');
    return outbound_host_ok(gb_span_make(rest.ptr, port)) &&
           (port >= rest.len || outbound_port_ok(after(rest, port + 1)));
}

static bool url_ok(struct gb_span text) {
    size_t skip = starts_with(text, "http://") ? 7 : starts_with(text, "https://") ? 8 : 0;
    return skip > 0 && text.len > skip && visible_ok(text) && text.ptr[skip] != '/' &&
           index_of(text, ' ') == text.len;
}

static bool method_ok(struct gb_span text) {
    static const char *const methods[] = {"GET",    "HEAD",  "POST",   "PUT",
                                          "DELETE", "PATCH", "OPTIONS"};
    for (size_t i = 0; i < GB_COUNT(methods); i++) {
        if (gb_span_is(text, methods[i])) {
            return true;
        }
    }
    return false;
}

/* Words of letters, digits and dashes, as in WIT. */
static bool wit_name_ok(struct gb_span text) {
    for (size_t i = 0; i < text.len; i++) {
        if (!is_alnum(text.ptr[i]) && !(text.ptr[i] == '-' && i > 0 && i + 1 < text.len)) {
            return false;
        }
    }
    return text.len > 0 && is_alpha(text.ptr[0]);
}

static bool call_ok(struct gb_span text) {
    if (gb_span_is(text, "auto") || gb_span_is(text, "http") || gb_span_is(text, "agent")) {
        return true;
    }
    size_t colon = index_of(text, ':');
    if (colon == text.len || !wit_name_ok(gb_span_make(text.ptr, colon))) {
        return false;
    }
    struct gb_span rest = after(text, colon + 1);
    size_t slash = index_of(rest, '/');
    if (slash == rest.len || !wit_name_ok(gb_span_make(rest.ptr, slash))) {
        return false;
    }
    rest = after(rest, slash + 1);
    size_t version = index_of(rest, '@');
    if (version < rest.len) {
        struct gb_span v = after(rest, version + 1);
        for (size_t i = 0; i < v.len; i++) {
            if (!is_alnum(v.ptr[i]) && !strchr(".-+", v.ptr[i])) {
                return false;
            }
        }
        if (v.len == 0 || !is_digit(v.ptr[0])) {
            return false;
        }
    }
    return wit_name_ok(gb_span_make(rest.ptr, version));
}

/* ---- routes ---- */

static bool segment_char_ok(uint8_t c) {
    return is_alnum(c) || (c != '\0' && strchr("-._~!$&'()*+,;=:@%", c));
}

/* A percent sign is followed by two digits. */
static bool escape_ok(struct gb_span segment, size_t at) {
    return segment.ptr[at] != '%' ||
           (segment.len - at > 2 && is_hex(gb_span_make(segment.ptr + at + 1, 2)));
}

static struct gb_form_fault route_fault(struct gb_span text) {
    if (text.len == 0 || text.ptr[0] != '/') {
        return (struct gb_form_fault){"does not begin with a slash", "Write path = \"/…\"."};
    }
    size_t segments = 0;
    size_t params = 0;
    for (size_t i = 1; i <= text.len && text.len > 1;) {
        struct gb_span rest = after(text, i);
        struct gb_span segment = gb_span_make(rest.ptr, index_of(rest, '/'));
        bool last = segment.len == rest.len;
        if (gb_span_is(segment, "...") && !last) {
            return (struct gb_form_fault){"has \"...\" before its end",
                                          "Write ... as the last part only: \"/files/...\"."};
        }
        if (segment.len == 0 && !last) {
            return (struct gb_form_fault){"has an empty part", "Write single slashes."};
        }
        if (gb_span_is(segment, ".") || gb_span_is(segment, "..")) {
            return (struct gb_form_fault){"has a part \".\" or \"..\"",
                                          "Write the path without it; no request keeps one."};
        }
        bool param = segment.len > 0 && segment.ptr[0] == ':';
        if (param && !label_ok(after(segment, 1))) {
            return (struct gb_form_fault){"has a parameter without a proper name",
                                          "Write :name with letters, digits, - and _."};
        }
        if (gb_span_is(segment, "*") || gb_span_is(segment, "**")) {
            return (struct gb_form_fault){"has a part \"*\"",
                                          "Write :name for one part, or ... for all below."};
        }
        params += param ? 1 : 0;
        for (size_t k = 0; k < segment.len; k++) {
            if (!segment_char_ok(segment.ptr[k]) || !escape_ok(segment, k)) {
                return (struct gb_form_fault){
                    "has a character that no path has",
                    "Write it as %XX, and leave queries (?…) and fragments (#…) out."};
            }
        }
        segments++;
        i += segment.len + 1;
    }
    if (segments > GB_MANIFEST_SEGMENTS_MAX || params > GB_MANIFEST_PARAMS_MAX) {
        return (struct gb_form_fault){"has more than 32 parts or 8 parameters",
                                      "Write a shorter path."};
    }
    return (struct gb_form_fault){0};
}

/* ---- all ---- */

static bool anything(struct gb_span text) {
    (void)text;
    return true;
}

struct gb_form_fault gb_form_check(enum gb_setting_form form, struct gb_span text) {
    static const struct {
        bool (*ok)(struct gb_span text);
        struct gb_form_fault fault;
    } forms[] = {
        [GB_FORM_ANY] = {anything, {0}},
        [GB_FORM_REQUIRED] = {anything, {0}},
        [GB_FORM_ADDRESS] = {address_ok,
                             {"is no address with a port",
                              "Write it as \"127.0.0.1:8080\" or \"[::1]:8080\"; port 0 picks "
                              "one."}},
        [GB_FORM_URL] = {url_ok, {"is no URL", "Write it as \"http://127.0.0.1:4318\"."}},
        [GB_FORM_HEADER] = {gb_form_token_ok,
                            {"is no name of a header", "Write it as \"x-tenant\"."}},
        [GB_FORM_CIDR] = {NULL,
                          {"is no address or network",
                           "Write it as \"10.0.0.0/8\", \"192.168.1.7\" or \"fd00::/8\"."}},
        [GB_FORM_DIGEST] = {digest_ok,
                            {"is no digest",
                             "Write \"sha256:\" and 64 lower-case hexadecimal digits."}},
        [GB_FORM_KEY_HASH] = {key_hash_ok,
                              {"is no SHA-256",
                               "Write the 64 digits that `printf %s KEY | sha256sum` prints; never "
                               "the key itself."}},
        [GB_FORM_HOST] = {host_form_ok,
                          {"is no host name",
                           "Write a name without scheme, port and path: \"api.example.org\" or "
                           "\"*.example.org\"."}},
        [GB_FORM_TOKEN] = {visible_ok, {"cannot stand in a header", "Write visible ASCII."}},
        [GB_FORM_NAME] = {gb_form_name_ok,
                          {"is no name",
                           "Write up to 64 letters, digits, '.', '-' and '_', the first a letter "
                           "or digit."}},
        [GB_FORM_MODEL] = {model_ok,
                           {"is no model's name",
                            "Write NAME, or NAME@sha256: and 64 lower-case hexadecimal digits."}},
        [GB_FORM_GRANT] = {grant_ok,
                           {"is no grant", "Grants are nn-load, http, kv, sockets and memory64."}},
        [GB_FORM_OUTBOUND] = {gb_form_outbound_ok,
                              {"is no place to send requests to",
                               "Write scheme://host:port, as in \"https://api.example.org\", "
                               "\"http://*.internal:8080\", \"http://10.0.0.0/8\", \"*://*:*\", or "
                               "\"self\"."}},
        [GB_FORM_LABEL] = {label_ok,
                           {"is no label",
                            "Write up to 64 letters, digits, '-' and '_', as in \"default\"."}},
        [GB_FORM_METHOD] = {method_ok,
                            {"is no method that can be routed",
                             "Write some of GET, HEAD, POST, PUT, DELETE, PATCH and OPTIONS, in "
                             "capitals; or leave methods out for all that there are."}},
        [GB_FORM_CALL] = {call_ok,
                          {"is no way to enter a component",
                           "Write \"http\", \"agent\", \"auto\", or the interface whose functions "
                           "are called: \"pkg:name/iface\"."}},
    };
    struct gb_cidr cidr;
    if (form == GB_FORM_ROUTE) {
        return route_fault(text);
    }
    bool ok = form == GB_FORM_CIDR ? gb_form_cidr(text, &cidr) : forms[form].ok(text);
    return ok ? (struct gb_form_fault){0} : forms[form].fault;
}
