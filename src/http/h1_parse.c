/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a request and its events. The head is collected in one block, so that what a field
 * points to stays; llhttp (the gate) sees the same bytes as they come and ends a bad request early.
 * Body bytes are passed on where they lie.
 */
#include "http/h1_parse.h"

#include "llhttp.h"

#include "base/alloc.h"
#include "base/num.h"
#include "http/h1_internal.h"

/* What an idle parser keeps for the next head. */
#define KEEP_BLOCK_BYTES 2048
#define KEEP_FIELDS 32

enum state {
    HEAD,
    BODY,   /* of known length */
    CHUNKS, /* of unknown length */
    TRAILERS,
    FINISH, /* all has been read; `end` is due */
    END,
    FAILED
};

struct gb_h1 {
    struct gb_h1_limits limits;
    const struct gb_h1_events *events;
    void *user;
    llhttp_t gate;
    enum state state;
    enum gb_code failed; /* why it is FAILED */
    bool has_line;
    bool has_head;
    struct gb_h1_line line;
    struct gb_h1_block block; /* request line, fields, and what is made of them */
    struct gb_h1_block trailer_block;
    struct gb_h1_fields fields;
    struct gb_h1_fields trailers;
    struct gb_http_head head;
    struct gb_h1_chunks chunks;
    uint64_t body_max;
    uint64_t body_read;
};

struct gb_h1_limits gb_h1_limits_default(void) {
    return (struct gb_h1_limits){
        .target_bytes_max = 8 * 1024,
        .head_bytes_max = 32 * 1024,
        .fields_max = 100,
        .body_bytes_max = 16 * GB_MIB,
        .chunk_extension_bytes_max = 1024,
        .trailer_bytes_max = 8 * 1024,
    };
}

/* The gate stops where the head ends: what follows is not its business. */
static int on_headers_complete(llhttp_t *gate) {
    (void)gate;
    return HPE_PAUSED;
}
static const llhttp_settings_t gate_settings = {.on_headers_complete = on_headers_complete};

static void begin(struct gb_h1 *p) {
    llhttp_init(&p->gate, HTTP_REQUEST, &gate_settings);
    p->state = HEAD;
    p->has_line = false;
    p->has_head = false;
    p->block.len = 0;
    p->trailer_block.len = 0;
    p->fields.len = 0;
    p->trailers.len = 0;
    gb_h1_chunks_begin(&p->chunks);
    p->head = (struct gb_http_head){0};
    p->body_max = p->limits.body_bytes_max;
    p->body_read = 0;
}

struct gb_h1 *gb_h1_new(const struct gb_h1_limits *limits, const struct gb_h1_events *events,
                        void *user, struct gb_error **err) {
    struct gb_h1 *p = gb_calloc(1, sizeof *p, err);
    if (p) {
        p->limits = *limits;
        p->events = events;
        p->user = user;
        begin(p);
    }
    return p;
}

void gb_h1_free(struct gb_h1 *p) {
    if (p) {
        gb_h1_block_fini(&p->block);
        gb_h1_block_fini(&p->trailer_block);
        gb_h1_fields_fini(&p->fields);
        gb_h1_fields_fini(&p->trailers);
        gb_free(p);
    }
}

/* ---- the head ---- */

static bool too_large(const struct gb_h1 *p, const char *what, size_t bytes_max,
                      struct gb_error **err) {
    (void)p;
    gb_fail(err, GB_HEADER_TOO_LARGE, "the request's %s exceeds %zu bytes", what, bytes_max);
    return gb_hint(err, "Send fewer or shorter fields.");
}

/* The byte `back` places before bytes.ptr[at], which may lie in the block; 0 before the first. */
static uint8_t byte_before(const struct gb_h1_block *b, struct gb_span bytes, size_t at,
                           size_t back) {
    if (back <= at) {
        return bytes.ptr[at - back];
    }
    back -= at;
    return back <= b->len ? b->ptr[b->len - back] : 0;
}

/* Looks in `bytes`, which follow what the block has, for the end of an empty line. *ret_end: how
 * many bytes are up to there, or 0. *ret_line_end: the same for the first line of all. */
static void find_end(const struct gb_h1_block *b, struct gb_span bytes, size_t *ret_line_end,
                     size_t *ret_end) {
    const uint8_t *from = bytes.ptr;
    const uint8_t *end = bytes.ptr + bytes.len;
    *ret_line_end = 0;
    *ret_end = 0;
    while (from < end) {
        const uint8_t *newline = memchr(from, '\n', (size_t)(end - from));
        if (!newline) {
            return;
        }
        size_t at = (size_t)(newline - bytes.ptr);
        if (*ret_line_end == 0) {
            *ret_line_end = at + 1;
        }
        if (byte_before(b, bytes, at, 1) == '\r' && byte_before(b, bytes, at, 2) == '\n') {
            *ret_end = at + 1;
            return;
        }
        from = newline + 1;
    }
}

/* The request line is judged when it is there, without waiting for the fields. */
static bool read_line(struct gb_h1 *p, size_t end, struct gb_error **err) {
    if (end < 2 || p->block.ptr[end - 2] != '\r') {
        return gb_h1_malformed(err, "the request line does not end with CR LF");
    }
    p->line.end = end;
    p->has_line = true;
    return gb_h1_read_line(gb_span_make(p->block.ptr, end - 2), p->limits.target_bytes_max,
                           &p->line, err);
}

static bool pass_gate(struct gb_h1 *p, struct gb_span bytes, bool complete, struct gb_error **err) {
    const char *start = (const char *)bytes.ptr;
    enum llhttp_errno code = llhttp_execute(&p->gate, start, bytes.len);
    if (code == HPE_OK && !complete) {
        return true;
    }
    if (code == HPE_PAUSED && complete && llhttp_get_error_pos(&p->gate) == start + bytes.len) {
        return true;
    }
    const char *reason = llhttp_get_error_reason(&p->gate);
    bool has_reason = code != HPE_OK && code != HPE_PAUSED && reason && *reason;
    gb_h1_malformed(err, "the request is no valid HTTP/1.1: %s",
                    has_reason ? reason : "its head does not end where it seems to");
    return gb_hint(err, "See RFC 9112 for what a request looks like.");
}

/* What both readers must have found. */
static bool gate_agrees(const struct gb_h1 *p) {
    const struct gb_http_head *h = &p->head;
    const char *method = llhttp_method_name((llhttp_method_t)p->gate.method);
    bool gate_chunked = (p->gate.flags & F_CHUNKED) != 0;
    bool gate_length = (p->gate.flags & F_CONTENT_LENGTH) != 0;
    return gate_chunked == h->chunked && gate_length == h->has_length &&
           (!gate_length || p->gate.content_length == h->content_length) &&
           p->gate.http_major == 1 && p->gate.http_minor == h->minor &&
           gb_span_is(h->method_text, method);
}

static bool complete_head(struct gb_h1 *p, struct gb_error **err) {
    if (!gb_h1_read_head(&p->block, &p->line, &p->limits, &p->fields, &p->head, err)) {
        return false;
    }
    if (!gate_agrees(p)) {
        return gb_h1_malformed(err, "the request's head can be read in two ways");
    }
    if (p->head.content_length > p->body_max) {
        return gb_fail(err, GB_PAYLOAD_TOO_LARGE,
                       "the request's body of %llu bytes is larger than the %llu allowed",
                       (unsigned long long)p->head.content_length, (unsigned long long)p->body_max);
    }
    p->has_head = true;
    p->state = p->head.chunked ? CHUNKS : p->head.content_length > 0 ? BODY : FINISH;
    return true;
}

/* Takes what belongs to the head; p->state is another when it is complete. */
static bool read_head(struct gb_h1 *p, struct gb_span bytes, size_t *ret_consumed,
                      struct gb_error **err) {
    if (bytes.len == 0) {
        return true;
    }
    if (p->block.len == 0 && (bytes.ptr[0] == '\r' || bytes.ptr[0] == '\n')) {
        gb_h1_malformed(err, "an empty line where a request should begin");
        return gb_hint(err, "Nothing follows a body but the next request.");
    }
    size_t room = p->limits.head_bytes_max - p->block.len;
    size_t before = p->block.len;
    size_t line_end, end;
    struct gb_span seen = gb_span_make(bytes.ptr, GB_MIN(bytes.len, room));
    find_end(&p->block, seen, &line_end, &end);
    struct gb_span take = gb_span_make(bytes.ptr, end ? end : seen.len);
    if (!gb_h1_block_append(&p->block, take, err)) {
        return false;
    }
    *ret_consumed = take.len;
    if (!p->has_line && line_end > 0 && !read_line(p, before + line_end, err)) {
        return false;
    }
    if (!pass_gate(p, take, end > 0, err)) {
        return false;
    }
    if (end > 0) {
        return complete_head(p, err);
    }
    if (!p->has_line && p->block.len > p->limits.target_bytes_max + 64) {
        return too_large(p, "target", p->limits.target_bytes_max, err);
    }
    return p->block.len < p->limits.head_bytes_max ||
           too_large(p, "head", p->limits.head_bytes_max, err);
}

/* ---- the body ---- */

static enum gb_h1_action give_body(struct gb_h1 *p, struct gb_span bytes) {
    p->body_read += bytes.len;
    return bytes.len > 0 && p->events->body ? p->events->body(p->user, bytes) : GB_H1_GO;
}

static enum gb_h1_action read_body(struct gb_h1 *p, struct gb_span bytes, size_t *ret_consumed) {
    uint64_t left = p->head.content_length - p->body_read;
    size_t len = (size_t)GB_MIN(left, (uint64_t)bytes.len);
    *ret_consumed = len;
    if (len == left) {
        p->state = FINISH;
    }
    return give_body(p, gb_span_make(bytes.ptr, len));
}

static bool read_chunks(struct gb_h1 *p, struct gb_span bytes, size_t *ret_consumed,
                        enum gb_h1_action *ret_action, struct gb_error **err) {
    struct gb_span data = {0};
    switch (gb_h1_chunks_step(&p->chunks, bytes, p->limits.chunk_extension_bytes_max,
                              p->body_max - p->body_read, ret_consumed, &data, err)) {
    case GB_H1_CHUNK_MORE:
        return true;
    case GB_H1_CHUNK_DATA:
        *ret_action = give_body(p, data);
        return true;
    case GB_H1_CHUNK_LAST:
        p->state = TRAILERS;
        /* As if a line had ended: then an empty line is the end in every case. */
        return gb_h1_block_append(&p->trailer_block, gb_span_make("\r\n", 2), err);
    case GB_H1_CHUNK_FAILED:
        break;
    }
    return false;
}

/* ---- trailers ---- */

/* CR and LF come together only: what is found here is found at once, not at the end. */
static bool check_line_ends(const struct gb_h1_block *b, struct gb_span bytes,
                            struct gb_error **err) {
    for (size_t at = 0; at < bytes.len; at++) {
        if ((byte_before(b, bytes, at, 1) == '\r') != (bytes.ptr[at] == '\n')) {
            return gb_h1_malformed(err, "a trailer's line does not end with CR LF");
        }
    }
    return true;
}

static bool read_trailers(struct gb_h1 *p, struct gb_span bytes, size_t *ret_consumed,
                          enum gb_h1_action *ret_action, struct gb_error **err) {
    struct gb_h1_block *b = &p->trailer_block;
    size_t room = p->limits.trailer_bytes_max + 4 - b->len;
    size_t ignored, end;
    struct gb_span seen = gb_span_make(bytes.ptr, GB_MIN(bytes.len, room));
    find_end(b, seen, &ignored, &end);
    struct gb_span take = gb_span_make(bytes.ptr, end ? end : seen.len);
    *ret_consumed = take.len;
    if (!check_line_ends(b, take, err) || !gb_h1_block_append(b, take, err)) {
        return false;
    }
    if (end == 0) {
        return b->len < p->limits.trailer_bytes_max + 4 ||
               too_large(p, "trailers", p->limits.trailer_bytes_max, err);
    }
    p->state = FINISH;
    if (!gb_h1_read_fields(b->ptr + 2, b->len - 4, p->limits.fields_max, "trailer", &p->trailers,
                           err) ||
        !gb_h1_check_trailers(&p->trailers, err)) {
        return false;
    }
    if (p->trailers.len > 0 && p->events->trailers) {
        *ret_action = p->events->trailers(p->user, p->trailers.ptr, p->trailers.len);
    }
    return true;
}

/* ---- feeding ---- */

static enum gb_h1_status fail(struct gb_h1 *p, enum gb_code code) {
    p->state = FAILED;
    p->failed = code == GB_OK ? GB_INTERNAL : code;
    return GB_H1_FAILED;
}

/* One step from where it is. */
static bool step(struct gb_h1 *p, struct gb_span bytes, size_t *ret_consumed,
                 enum gb_h1_action *ret_action, struct gb_error **err) {
    switch (p->state) {
    case HEAD:
        if (!read_head(p, bytes, ret_consumed, err)) {
            return false;
        }
        if (p->has_head && p->events->head) {
            *ret_action = p->events->head(p->user, &p->head);
        }
        return true;
    case BODY:
        *ret_action = read_body(p, bytes, ret_consumed);
        return true;
    case CHUNKS:
        return read_chunks(p, bytes, ret_consumed, ret_action, err);
    case TRAILERS:
        return read_trailers(p, bytes, ret_consumed, ret_action, err);
    case FINISH:
        p->state = END;
        if (p->events->end) {
            p->events->end(p->user);
        }
        return true;
    case END:
    case FAILED:
        break;
    }
    return true;
}

static enum gb_h1_status fail_again(const struct gb_h1 *p, struct gb_error **err) {
    gb_fail(err, p->failed, "this connection had a bad request before");
    return GB_H1_FAILED;
}

enum gb_h1_status gb_h1_feed(struct gb_h1 *p, struct gb_span bytes, size_t *ret_consumed,
                             struct gb_error **err) {
    *ret_consumed = 0;
    while (p->state != END && p->state != FAILED) {
        struct gb_span rest = bytes;
        if (*ret_consumed > 0) {
            rest = gb_span_make(bytes.ptr + *ret_consumed, bytes.len - *ret_consumed);
        }
        if (rest.len == 0 && p->state != FINISH) {
            return GB_H1_MORE;
        }
        size_t consumed = 0;
        enum gb_h1_action action = GB_H1_GO;
        struct gb_error *e = NULL;
        bool ok = step(p, rest, &consumed, &action, &e);
        *ret_consumed += consumed;
        if (!ok) {
            enum gb_h1_status status = fail(p, e ? e->code : GB_INTERNAL);
            gb_error_move(err, e);
            return status;
        }
        if (action == GB_H1_STOP && p->state != FAILED) {
            return GB_H1_PAUSED;
        }
    }
    return p->state == END ? GB_H1_END : fail_again(p, err);
}

bool gb_h1_next(struct gb_h1 *p) {
    if (p->state != END || !p->head.keep_alive) {
        return false;
    }
    if (p->block.cap > KEEP_BLOCK_BYTES) {
        gb_h1_block_fini(&p->block);
    }
    if (p->fields.cap > KEEP_FIELDS) {
        gb_h1_fields_fini(&p->fields);
    }
    gb_h1_block_fini(&p->trailer_block);
    gb_h1_fields_fini(&p->trailers);
    begin(p);
    return true;
}

bool gb_h1_finish(struct gb_h1 *p, struct gb_error **err) {
    if (gb_h1_is_idle(p) || p->state == FINISH || p->state == END) {
        return true;
    }
    if (p->state == FAILED) {
        fail_again(p, err);
        return false;
    }
    fail(p, GB_REQUEST_MALFORMED);
    return gb_h1_malformed(err, "the connection ended within a request");
}

bool gb_h1_set_body_max(struct gb_h1 *p, uint64_t bytes_max, struct gb_error **err) {
    if (p->state == FAILED) {
        fail_again(p, err);
        return false;
    }
    p->body_max = GB_MIN(bytes_max, p->limits.body_bytes_max);
    uint64_t read = p->body_read + gb_h1_chunks_left(&p->chunks);
    if (GB_MAX(p->head.content_length, read) > p->body_max) {
        fail(p, GB_PAYLOAD_TOO_LARGE);
        gb_fail(err, GB_PAYLOAD_TOO_LARGE,
                "the request's body is larger than the %llu bytes "
                "allowed",
                (unsigned long long)p->body_max);
        return gb_hint(err, "Send less, or ask for a higher limit of this route.");
    }
    return true;
}

void gb_h1_shrink(struct gb_h1 *p) {
    if (gb_h1_is_idle(p)) {
        gb_h1_block_fini(&p->block);
        gb_h1_fields_fini(&p->fields);
    }
}

bool gb_h1_is_idle(const struct gb_h1 *p) {
    return p->state == HEAD && p->block.len == 0;
}

bool gb_h1_has_head(const struct gb_h1 *p) {
    return p->has_head;
}

size_t gb_h1_memory_bytes(const struct gb_h1 *p) {
    return sizeof *p + p->block.cap + p->trailer_block.cap +
           (p->fields.cap + p->trailers.cap) * sizeof(struct gb_http_field);
}

uint64_t gb_h1_body_bytes(const struct gb_h1 *p) {
    return p->body_read;
}
