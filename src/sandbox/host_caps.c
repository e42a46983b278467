/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glovebox:host between the bridge's table and the capabilities that the call was given. What the
 * context says is known here; metrics and log go to whoever started the call.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/fault.h"
#include "sandbox/sandbox_internal.h"

#define ID_BYTES 16u
_Static_assert(GB_CALL_ID_CAP == 2 * ID_BYTES + 1, "two digits per byte");

/* 128 random bits, made when first asked for: most calls are never asked. */
static const char *call_id(struct gb_call *c) {
    if (c->spec.id) {
        return c->spec.id;
    }
    if (c->id[0]) {
        return c->id;
    }
    uint8_t bytes[ID_BYTES];
    ssize_t got;
    do {
        got = gb_sys(GB_SYS_RANDOM, -1, getrandom(bytes, sizeof bytes, 0));
    } while (got < 0 && errno == EINTR);
    for (size_t i = 0; got == (ssize_t)sizeof bytes && i < sizeof bytes; i++) {
        snprintf(c->id + 2 * i, 3, "%02x", bytes[i]);
    }
    return c->id;
}

void gb_host_counter(void *user, struct gbw_span name, uint64_t value) {
    struct gb_call *c = user;
    const struct gb_capabilities *caps = c->spec.capabilities;
    if (caps) {
        caps->counter(caps->user, gb_of_bridge(name), value);
    }
}

void gb_host_gauge(void *user, struct gbw_span name, double value) {
    struct gb_call *c = user;
    const struct gb_capabilities *caps = c->spec.capabilities;
    if (caps) {
        caps->gauge(caps->user, gb_of_bridge(name), value);
    }
}

void gb_host_log(void *user, uint32_t level, struct gbw_span message,
                 const struct gbw_field *fields, size_t fields_len) {
    struct gb_call *c = user;
    const struct gb_capabilities *caps = c->spec.capabilities;
    struct gb_log_field copies[GBW_LOG_FIELDS_MAX];
    size_t len = GB_MIN(fields_len, (size_t)GBW_LOG_FIELDS_MAX);
    for (size_t i = 0; i < len; i++) {
        copies[i] = (struct gb_log_field){.key = gb_of_bridge(fields[i].key),
                                          .value = gb_of_bridge(fields[i].value)};
    }
    if (caps) {
        struct gb_guest_log_entry entry = {
            .level =
                level <= GB_GUEST_LOG_ERROR ? (enum gb_guest_log_level)level : GB_GUEST_LOG_ERROR,
            .call_id = call_id(c),
            .message = gb_of_bridge(message),
            .fields = copies,
            .fields_len = len,
        };
        caps->log(caps->user, &entry);
    }
}

bool gb_host_context_text(void *user, enum gbw_context which, struct gbw_span *ret_text) {
    struct gb_call *c = user;
    const char *text = NULL;
    switch (which) {
    case GBW_CONTEXT_CALL_ID:
        text = call_id(c);
        break;
    case GBW_CONTEXT_TENANT:
        text = gb_account_name(c->spec.account);
        break;
    case GBW_CONTEXT_TRACEPARENT:
        text = c->spec.traceparent;
        break;
    }
    *ret_text = gb_to_bridge(gb_span_of(text ? text : ""));
    return text != NULL;
}

uint64_t gb_host_context_time_us(void *user) {
    struct gb_call *c = user;
    uint64_t now_us = gb_now_us();
    if (c->deadline_us == GB_NEVER) {
        return UINT64_MAX;
    }
    return c->deadline_us > now_us ? c->deadline_us - now_us : 0;
}
