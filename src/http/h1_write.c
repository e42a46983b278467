/* SPDX-License-Identifier: Apache-2.0 */
/* Responses: the head with the host's framing, chunks, counted bodies, trailers. */
#include "http/h1_write.h"

#include "base/num.h"
#include "http/h1_internal.h"

#define TEXT(literal) gb_span_make(literal, sizeof(literal) - 1)

void gb_h1_writer_init(struct gb_h1_writer *w, const struct gb_http_head *request) {
    *w = (struct gb_h1_writer){
        .http_1_0 = request->minor == 0,
        .is_head = request->method == GB_HTTP_HEAD,
        .client_keep_alive = request->keep_alive,
    };
}

void gb_h1_writer_init_broken(struct gb_h1_writer *w) {
    *w = (struct gb_h1_writer){0};
}

struct gb_span gb_h1_continue(void) {
    return TEXT("HTTP/1.1 100 Continue\r\n\r\n");
}

static bool put(struct gb_buf *out, struct gb_span text, struct gb_error **err) {
    return gb_buf_append(out, text.ptr, text.len, err);
}

static bool put_field(struct gb_buf *out, struct gb_span name, struct gb_span value,
                      struct gb_error **err) {
    size_t len;
    if (!gb_add_size(name.len, value.len, &len) || !gb_add_size(len, 4, &len) ||
        !gb_buf_reserve(out, len, err)) {
        return false;
    }
    uint8_t *at = out->ptr + out->len;
    memcpy(at, name.ptr, name.len);
    memcpy(at + name.len, ": ", 2);
    if (value.len > 0) {
        memcpy(at + name.len + 2, value.ptr, value.len);
    }
    memcpy(at + len - 2, "\r\n", 3); /* with the NUL */
    out->len += len;
    return true;
}

/* Decimal digits, without printf: this is on every response's way. */
static struct gb_span decimal(uint64_t number, char text[20]) {
    size_t at = 20;
    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return gb_span_make(text + at, 20 - at);
}

static bool check_field(const struct gb_http_field *f, struct gb_error **err) {
    if (!gb_http_name_valid(f->name)) {
        return gb_fail(err, GB_GUEST_ERROR,
                       "the response has a field whose name is not valid: "
                       "\"%s\"",
                       GB_H1_QUOTE(f->name));
    }
    if (!gb_http_value_valid(f->value)) {
        return gb_fail(err, GB_GUEST_ERROR,
                       "the response's field \"%s\" has a byte that no value "
                       "may have",
                       GB_H1_QUOTE(f->name));
    }
    return true;
}

static bool read_length(struct gb_h1_writer *w, struct gb_span value, struct gb_error **err) {
    uint64_t length = 0;
    bool ok = value.len > 0 && value.len <= 19 && !w->has_length;
    for (size_t i = 0; ok && i < value.len; i++) {
        ok = value.ptr[i] >= '0' && value.ptr[i] <= '9';
        length = length * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    if (!ok) {
        return gb_fail(err, GB_GUEST_ERROR,
                       "the response's content-length \"%s\" is no number, "
                       "or there are two",
                       GB_H1_QUOTE(value));
    }
    w->has_length = true;
    w->length = length;
    return true;
}

/* What the host decides alone. */
static bool is_ours(struct gb_span name) {
    return gb_http_field_is_hop_by_hop(name) || gb_http_name_is(name, "date") ||
           gb_http_name_is(name, "x-request-id");
}

static bool put_guest_fields(struct gb_h1_writer *w, const struct gb_h1_response *r,
                             struct gb_buf *out, struct gb_error **err) {
    size_t bytes = 0;
    if (r->fields_len > GB_H1_RESPONSE_FIELDS_MAX) {
        return gb_fail(err, GB_GUEST_ERROR, "the response has %zu fields, more than %d",
                       r->fields_len, GB_H1_RESPONSE_FIELDS_MAX);
    }
    for (size_t i = 0; i < r->fields_len; i++) {
        const struct gb_http_field *f = &r->fields[i];
        struct gb_span value = gb_h1_trim(f->value.ptr, f->value.len);
        if (!gb_add_size(bytes, f->name.len, &bytes) || !gb_add_size(bytes, value.len, &bytes) ||
            bytes > GB_H1_RESPONSE_HEAD_BYTES_MAX) {
            return gb_fail(err, GB_GUEST_ERROR, "the response's fields exceed %zu bytes",
                           GB_H1_RESPONSE_HEAD_BYTES_MAX);
        }
        if (!check_field(f, err)) {
            return false;
        }
        if (gb_http_name_is(f->name, "content-length")) {
            if (!read_length(w, value, err)) {
                return false;
            }
        } else if (!is_ours(f->name) && !put_field(out, f->name, value, err)) {
            return false;
        }
    }
    return true;
}

/* How the body will end, now that the guest's content-length is known. */
static bool decide_framing(struct gb_h1_writer *w, const struct gb_h1_response *r,
                           struct gb_error **err) {
    bool empty = r->status == 204 || r->status == 205 || r->status == 304;
    w->no_body = w->is_head || empty;
    if (r->body == GB_H1_BODY_KNOWN && !(w->no_body && w->has_length)) {
        if (w->has_length && w->length != r->body_bytes) {
            return gb_fail(err, GB_GUEST_ERROR,
                           "the response's content-length is %llu, its body "
                           "has %llu bytes",
                           (unsigned long long)w->length, (unsigned long long)r->body_bytes);
        }
        w->has_length = true;
        w->length = r->body_bytes;
    }
    w->chunked = !w->no_body && !w->has_length && !w->http_1_0;
    bool until_close = !w->no_body && !w->has_length && w->http_1_0;
    w->keep_alive = r->keep_alive && w->client_keep_alive && !until_close;
    return true;
}

static bool put_framing(const struct gb_h1_writer *w, unsigned status, struct gb_buf *out,
                        struct gb_error **err) {
    char digits[20];
    if (status == 205) {
        if (!put(out, TEXT("content-length: 0\r\n"), err)) {
            return false;
        }
    } else if (w->has_length && status != 204 && status != 304) {
        if (!put_field(out, TEXT("content-length"), decimal(w->length, digits), err)) {
            return false;
        }
    }
    if (w->chunked && !put(out, TEXT("transfer-encoding: chunked\r\n"), err)) {
        return false;
    }
    if (!w->keep_alive) {
        return put(out, TEXT("connection: close\r\n"), err);
    }
    return !w->http_1_0 || put(out, TEXT("connection: keep-alive\r\n"), err);
}

static bool put_status(unsigned status, struct gb_buf *out, struct gb_error **err) {
    char digits[20];
    return put(out, TEXT("HTTP/1.1 "), err) && put(out, decimal(status, digits), err) &&
           put(out, TEXT(" "), err) && gb_buf_append_text(out, gb_http_reason(status), err) &&
           put(out, TEXT("\r\n"), err);
}

static bool put_host_fields(const struct gb_h1_response *r, struct gb_buf *out,
                            struct gb_error **err) {
    for (size_t i = 0; i < r->host_fields_len; i++) {
        if (!put_field(out, r->host_fields[i].name, r->host_fields[i].value, err)) {
            return false;
        }
    }
    return !r->date || put_field(out, TEXT("date"), gb_span_of(r->date), err);
}

bool gb_h1_write_head(struct gb_h1_writer *w, const struct gb_h1_response *r, struct gb_buf *out,
                      struct gb_error **err) {
    if (w->has_head) {
        return gb_fail(err, GB_INTERNAL, "a second head for one response");
    }
    if (r->status < 200 || r->status > 599) {
        return gb_fail(err, GB_GUEST_ERROR, "%u is no status of a response (200 to 599)",
                       r->status);
    }
    struct gb_h1_writer next = *w;
    size_t before = out->len;
    if (put_status(r->status, out, err) && put_guest_fields(&next, r, out, err) &&
        decide_framing(&next, r, err) && put_host_fields(r, out, err) &&
        put_framing(&next, r->status, out, err) && put(out, TEXT("\r\n"), err)) {
        next.has_head = true;
        *w = next;
        return true;
    }
    out->len = before;
    if (out->ptr) {
        out->ptr[before] = '\0';
    }
    return false;
}

static size_t chunk_line(size_t bytes, char line[20]) {
    static const char hex[] = "0123456789abcdef";
    size_t digits = 1;
    while (digits < 16 && bytes >> (4 * digits) != 0) {
        digits++;
    }
    for (size_t i = 0; i < digits; i++) {
        line[i] = hex[bytes >> (4 * (digits - 1 - i)) & 15];
    }
    memcpy(line + digits, "\r\n", 2);
    return digits + 2;
}

static bool check_open(struct gb_h1_writer *w, struct gb_error **err) {
    if (w->has_head && !w->ended) {
        return true;
    }
    w->keep_alive = false;
    return gb_fail(err, GB_INTERNAL, "a body outside of its response");
}

bool gb_h1_write_frame(struct gb_h1_writer *w, size_t bytes, struct gb_h1_frame *ret,
                       struct gb_error **err) {
    ret->before_len = ret->body_len = ret->after_len = 0;
    ret->after = "";
    if (!check_open(w, err)) {
        return false;
    }
    if (w->no_body || bytes == 0) {
        return true;
    }
    ret->body_len = bytes;
    if (w->chunked) {
        ret->before_len = chunk_line(bytes, ret->before);
        ret->after = "\r\n";
        ret->after_len = 2;
    } else if (w->has_length) {
        ret->body_len = (size_t)GB_MIN((uint64_t)bytes, w->length - w->written);
    }
    w->written += ret->body_len;
    if (ret->body_len == bytes) {
        return true;
    }
    w->keep_alive = false;
    return gb_fail(err, GB_GUEST_ERROR,
                   "the response's body is longer than its content-length of "
                   "%llu bytes",
                   (unsigned long long)w->length);
}

bool gb_h1_write_body(struct gb_h1_writer *w, struct gb_span bytes, struct gb_buf *out,
                      struct gb_error **err) {
    struct gb_h1_frame frame;
    bool fits = gb_h1_write_frame(w, bytes.len, &frame, err);
    /* If the error is set already, another one is not added. */
    bool put_all = gb_buf_append(out, frame.before, frame.before_len, err) &&
                   gb_buf_append(out, bytes.ptr, frame.body_len, err) &&
                   gb_buf_append(out, frame.after, frame.after_len, err);
    if (!put_all) {
        w->keep_alive = false;
    }
    return fits && put_all;
}

static bool may_trail(struct gb_span name) {
    uint8_t low[64];
    if (name.len > sizeof low || is_ours(name)) {
        return name.len > sizeof low;
    }
    for (size_t i = 0; i < name.len; i++) {
        low[i] = gb_h1_lower(name.ptr[i]);
    }
    return gb_h1_known_of(gb_span_make(low, name.len)) == GB_H1_KNOWN_NONE;
}

static bool check_trailer(const struct gb_http_field *f, size_t *bytes, struct gb_error **err) {
    if (!check_field(f, err)) {
        return false;
    }
    if (!may_trail(f->name)) {
        return gb_fail(err, GB_GUEST_ERROR, "the response's \"%s\" cannot be a trailer",
                       GB_H1_QUOTE(f->name));
    }
    if (!gb_add_size(*bytes, f->name.len, bytes) || !gb_add_size(*bytes, f->value.len, bytes) ||
        *bytes > GB_H1_RESPONSE_TRAILER_BYTES_MAX) {
        return gb_fail(err, GB_GUEST_ERROR, "the response's trailers exceed %zu bytes",
                       GB_H1_RESPONSE_TRAILER_BYTES_MAX);
    }
    return true;
}

/* Writes those that may be; the first that may not is the error. */
static bool put_trailers(const struct gb_http_field *trailers, size_t len, struct gb_buf *out,
                         bool *ret_written, struct gb_error **err) {
    size_t bytes = 0;
    bool all = true;
    for (size_t i = 0; i < len && i < GB_H1_RESPONSE_FIELDS_MAX; i++) {
        if (!check_trailer(&trailers[i], &bytes, err)) {
            all = false;
        } else if (!put_field(out, trailers[i].name,
                              gb_h1_trim(trailers[i].value.ptr, trailers[i].value.len), err)) {
            *ret_written = false;
            return false;
        }
    }
    return all;
}

bool gb_h1_write_end(struct gb_h1_writer *w, const struct gb_http_field *trailers,
                     size_t trailers_len, struct gb_buf *out, struct gb_error **err) {
    if (!check_open(w, err)) {
        return false;
    }
    w->ended = true;
    if (w->no_body) {
        return true;
    }
    bool ok = true;
    if (w->chunked) {
        bool written = put(out, TEXT("0\r\n"), err);
        ok = written && put_trailers(trailers, trailers_len, out, &written, err);
        ok = written && put(out, TEXT("\r\n"), err) && ok;
    } else if (w->has_length && w->written < w->length) {
        ok = gb_fail(err, GB_GUEST_ERROR, "the response's body ended after %llu of %llu bytes",
                     (unsigned long long)w->written, (unsigned long long)w->length);
    }
    w->keep_alive = w->keep_alive && ok;
    return ok;
}
