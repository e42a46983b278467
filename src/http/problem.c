/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as answers, request ids. */
#include "http/problem.h"

#include <errno.h>
#include <sys/random.h>

#include "base/fault.h"
#include "base/num.h"

unsigned gb_problem_status(enum gb_code code, enum gb_problem_route route) {
    if (route == GB_PROBLEM_MODEL && code == GB_DEADLINE_EXCEEDED) {
        return 504;
    }
    if (code == GB_OK) {
        return 200;
    }
    return (unsigned)gb_code_http_status(code);
}

unsigned gb_problem_retry_after_s(enum gb_code code) {
    if (code == GB_QUOTA_EXCEEDED) {
        return 60; /* quotas are by the minute */
    }
    return code == GB_OVERLOADED || code == GB_RATE_LIMITED || code == GB_BUDGET_EXCEEDED ? 1 : 0;
}

/* The length of the UTF-8 character that `text` begins with; 0 if it is none. */
static size_t utf8_len(struct gb_span text) {
    uint8_t b = text.ptr[0];
    size_t len = b < 0x80 ? 1 : b >= 0xF0 ? 4 : b >= 0xE0 ? 3 : 2;
    return len <= text.len && gb_utf8_valid(gb_span_make(text.ptr, len)) ? len : 0;
}

static bool put_char(struct gb_span c, struct gb_buf *out, struct gb_error **err) {
    uint8_t b = c.ptr[0];
    if (b == '"' || b == '\\') {
        return gb_buf_append_text(out, b == '"' ? "\\\"" : "\\\\", err);
    }
    /* DEL and the controls of the upper half too: such text is read in terminals. */
    bool upper_control = c.len == 2 && b == 0xC2 && c.ptr[1] < 0xA0;
    if (b < 0x20 || b == 0x7F || upper_control) {
        return gb_buf_append_format(out, err, "\\u%04x", (unsigned)(upper_control ? c.ptr[1] : b));
    }
    return gb_buf_append(out, c.ptr, c.len, err);
}

bool gb_problem_write_string(struct gb_span text, struct gb_buf *out, struct gb_error **err) {
    bool ok = gb_buf_append(out, "\"", 1, err);
    for (size_t at = 0; ok && at < text.len;) {
        struct gb_span rest = gb_span_make(text.ptr + at, text.len - at);
        size_t len = utf8_len(rest);
        ok = len > 0 ? put_char(gb_span_make(rest.ptr, len), out, err)
                     : gb_buf_append_text(out, "\\ufffd", err);
        at += len > 0 ? len : 1;
    }
    return ok && gb_buf_append(out, "\"", 1, err);
}

static bool put_member(const char *name, struct gb_span value, struct gb_buf *out,
                       struct gb_error **err) {
    return gb_buf_append_format(out, err, ",\"%s\":", name) &&
           gb_problem_write_string(value, out, err);
}

bool gb_problem_write(const struct gb_error *error, struct gb_span request_id, struct gb_buf *out,
                      struct gb_error **err) {
    const char *message = error->message;
    const char *hint = error->hint;
    if (error->code == GB_INTERNAL || error->code == GB_IO) {
        message = error->code == GB_IO ? "the server could not read or write something it needs"
                                       : "the server failed";
        hint = "Its log says more under this request's id.";
    }
    return gb_buf_append_format(out, err, "{\"error\":{\"code\":\"%s\"",
                                gb_code_text(error->code)) &&
           put_member("message", gb_span_of(message ? message : ""), out, err) &&
           (!hint || put_member("hint", gb_span_of(hint), out, err)) &&
           (request_id.len == 0 || put_member("request_id", request_id, out, err)) &&
           gb_buf_append_text(out, "}}", err);
}

bool gb_request_id_valid(struct gb_span id) {
    for (size_t i = 0; i < id.len; i++) {
        uint8_t b = id.ptr[i];
        if (!((b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') ||
              b == '-' || b == '_' || b == '.')) {
            return false;
        }
    }
    return id.len > 0 && id.len <= GB_REQUEST_ID_BYTES_MAX;
}

bool gb_request_ids_random(struct gb_request_ids *ids, uint8_t *ret_bytes, size_t len,
                           struct gb_error **err) {
    if (len > sizeof ids->stock) {
        return gb_fail(err, GB_INTERNAL, "more random bytes at once than there is stock");
    }
    if (ids->left < len) {
        ssize_t got = gb_sys(GB_SYS_RANDOM, -1, getrandom(ids->stock, sizeof ids->stock, 0));
        if (got != (ssize_t)sizeof ids->stock) {
            return gb_fail_errno(err, GB_IO, errno, "the kernel gave no random bytes");
        }
        ids->left = sizeof ids->stock;
    }
    ids->left -= len;
    memcpy(ret_bytes, ids->stock + ids->left, len);
    return true;
}

bool gb_request_id_make(struct gb_request_ids *ids, char ret_id[GB_REQUEST_ID_MADE_BYTES + 1],
                        struct gb_error **err) {
    static const char hex[] = "0123456789abcdef";
    uint8_t bytes[GB_REQUEST_ID_MADE_BYTES / 2];
    if (!gb_request_ids_random(ids, bytes, sizeof bytes, err)) {
        return false;
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        ret_id[2 * i] = hex[bytes[i] >> 4];
        ret_id[2 * i + 1] = hex[bytes[i] & 15];
    }
    ret_id[GB_REQUEST_ID_MADE_BYTES] = '\0';
    return true;
}
