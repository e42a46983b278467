/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.x requests: bytes in, events out. Two readers look at every head: llhttp's state machine
 * as the bytes arrive, and our own over the finished block; what they read differently, or what two
 * servers could, is refused. Bodies, chunks and trailers are ours (and fuzzed against llhttp).
 *
 * Threads: one at a time for each parser. No clock in here: deadlines are the connection's.
 * Ownership: spans are valid during the event; the head until gb_h1_next or gb_h1_free.
 * Limits: struct gb_h1_limits. Idle: under 700 bytes after gb_h1_shrink, else under 4 KiB.
 * Errors: request-malformed, header-too-large, payload-too-large, method-not-allowed; what they
 * quote of the request is escaped. After one the connection can only be answered and closed.
 */
#ifndef GB_HTTP_H1_PARSE_H
#define GB_HTTP_H1_PARSE_H

#include "http/http.h"

struct gb_h1_limits {
    size_t target_bytes_max;          /* the request target */
    size_t head_bytes_max;            /* request line and fields, with their line ends */
    size_t fields_max;                /* in the head, and again in the trailers */
    uint64_t body_bytes_max;          /* see gb_h1_set_body_max */
    size_t chunk_extension_bytes_max; /* over the whole body */
    size_t trailer_bytes_max;
    bool tls; /* "https://" is the scheme of an absolute target here, else "http://" */
};
/* 8 KiB, 32 KiB, 100, 16 MiB, 1 KiB, 8 KiB, false. */
struct gb_h1_limits gb_h1_limits_default(void);

/* What an event answers. */
enum gb_h1_action {
    GB_H1_GO,
    GB_H1_STOP, /* gb_h1_feed returns GB_H1_PAUSED behind what this event has seen */
};

/* In order: head, body any number of times (also none), trailers if there are some, end. NULL: not
 * wanted. An event must not free its parser, feed it, or go to the next message. */
struct gb_h1_events {
    enum gb_h1_action (*head)(void *user, const struct gb_http_head *head);
    enum gb_h1_action (*body)(void *user, struct gb_span bytes);
    enum gb_h1_action (*trailers)(void *user, const struct gb_http_field *fields, size_t len);
    void (*end)(void *user);
};

enum gb_h1_status {
    GB_H1_MORE,   /* all was consumed; the message goes on */
    GB_H1_PAUSED, /* an event said stop: feed the rest again, even if that is empty */
    GB_H1_END,    /* the message has ended; what was not consumed is the next one's */
    GB_H1_FAILED  /* *err is set */
};

struct gb_h1;

/* `limits` are copied; `events` must outlive the parser.
 *
 * head->path is made for routing: %XX of unreserved characters (letters, digits, - . _ ~) are
 * decoded, other escapes stay, with hexadecimal digits in capitals: an encoded slash is no slash.
 * Nothing else is rewritten: a target with "." or ".." as a segment (also encoded), with a leading
 * "//", with an escaped control byte in the path or %00 anywhere, or with a character that a URI
 * does not have, is refused rather than repaired. */
struct gb_h1 *gb_h1_new(const struct gb_h1_limits *limits, const struct gb_h1_events *events,
                        void *user, struct gb_error **err);
void gb_h1_free(struct gb_h1 *p);

/* Reads as far as it can. *ret_consumed is set in every case. After GB_H1_END, until gb_h1_next, it
 * reads nothing and returns GB_H1_END again; after GB_H1_FAILED it fails again. */
enum gb_h1_status gb_h1_feed(struct gb_h1 *p, struct gb_span bytes, size_t *ret_consumed,
                             struct gb_error **err);
/* After GB_H1_END: ready for the next message; the head is gone. false: there is none after this
 * one (the client said close, or the message did not end), so close. */
bool gb_h1_next(struct gb_h1 *p);
/* The client closed its side: fine between messages, else request-malformed. */
bool gb_h1_finish(struct gb_h1 *p, struct gb_error **err);
/* A lower limit for this message's body (limits.body_bytes_max stays the highest), usually the
 * route's, from the head event or later; fails with payload-too-large, and the parser with it, if
 * what is announced or read is more already. */
bool gb_h1_set_body_max(struct gb_h1 *p, uint64_t bytes_max, struct gb_error **err);
/* Between messages: gives the buffers back. */
void gb_h1_shrink(struct gb_h1 *p);

/* Whether nothing of a message has arrived; whether its head has; what to charge for it. */
bool gb_h1_is_idle(const struct gb_h1 *p);
bool gb_h1_has_head(const struct gb_h1 *p);
size_t gb_h1_memory_bytes(const struct gb_h1 *p);
/* Body bytes of this message so far, for minimum rates. */
uint64_t gb_h1_body_bytes(const struct gb_h1 *p);

#endif
