/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guests' log: `info: guest CALL TENANT: message key="value"`, one line each, escaped, so that
 * no guest forges a line or paints a terminal. A bucket of lines fills at a steady rate; what finds
 * it empty is dropped, and the next line that does not is preceded by one that says how many were.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "host/host.h"

#define US_PER_LINE (1000000u / GB_GUEST_LOG_PER_S)
#define CUT "..."

struct gb_guest_log {
    pthread_mutex_t lock;
    struct gb_guest_log_options options;
    char *tenant;
    uint64_t full_at_us; /* when the bucket will be full again */
    uint64_t dropped_untold;
    struct gb_guest_log_totals totals;
};

static const char *const names[] = {"trace", "debug", "info", "warn", "error"};

static void to_stderr(void *user, enum gb_guest_log_level level, struct gb_span line) {
    (void)user, (void)level;
    (void)gb_write_all(STDERR_FILENO, line.ptr, line.len, NULL);
}

struct gb_guest_log *gb_guest_log_new(const struct gb_guest_log_options *options,
                                      struct gb_error **err) {
    struct gb_guest_log *l = gb_calloc(1, sizeof *l, err);
    if (!l) {
        return NULL;
    }
    l->options = *options;
    l->options.sink = options->sink ? options->sink : to_stderr;
    l->options.now_us = options->now_us ? options->now_us : gb_now_us;
    l->tenant = gb_strdup(options->tenant, err);
    if (!l->tenant) {
        gb_free(l);
        return NULL;
    }
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

static void tell_dropped(struct gb_guest_log *l) {
    char line[128];
    if (l->dropped_untold == 0) {
        return;
    }
    int n = snprintf(line, sizeof line, "warn: guests of %.40s: %llu log lines were dropped\n",
                     l->tenant, (unsigned long long)l->dropped_untold);
    l->dropped_untold = 0;
    if (n > 0) {
        l->options.sink(l->options.user, GB_GUEST_LOG_WARN,
                        gb_span_make(line, GB_MIN((size_t)n, sizeof line - 1)));
    }
}

void gb_guest_log_free(struct gb_guest_log *l) {
    if (!l) {
        return;
    }
    tell_dropped(l);
    pthread_mutex_destroy(&l->lock);
    gb_free(l->tenant);
    gb_free(l);
}

/* Takes one line out of the bucket. Time is the bucket: each line pushes back the moment at which
 * it is full, and no further than a whole bucket away. */
static bool admit(struct gb_guest_log *l) {
    uint64_t now_us = l->options.now_us();
    uint64_t full_at_us = GB_MAX(l->full_at_us, now_us) + US_PER_LINE;
    if (full_at_us - now_us > (uint64_t)GB_GUEST_LOG_BURST * US_PER_LINE) {
        l->totals.dropped++;
        l->dropped_untold++;
        return false;
    }
    l->full_at_us = full_at_us;
    l->totals.written++;
    return true;
}

/* Foreign text as part of one line: a new line, a quote and the escape itself are escaped too. No
 * more of it is looked at than a line can hold. */
static bool add(struct gb_buf *b, struct gb_span text) {
    size_t end = GB_MIN(text.len, (size_t)GB_GUEST_LOG_LINE_MAX);
    size_t from = 0;
    for (size_t i = 0; i < end; i++) {
        uint8_t c = text.ptr[i];
        if (c != '\n' && c != '\t' && c != '"' && c != '\\') {
            continue;
        }
        const char *escape = c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '"' ? "\\\"" : "\\\\";
        if (!gb_buf_append_escaped(b, gb_span_make(text.ptr + from, i - from), NULL) ||
            !gb_buf_append_text(b, escape, NULL)) {
            return false;
        }
        from = i + 1;
    }
    return gb_buf_append_escaped(b, gb_span_make(text.ptr + from, end - from), NULL) &&
           end == text.len;
}

static bool add_entry(struct gb_buf *b, const char *tenant, const struct gb_guest_log_entry *e) {
    if (!gb_buf_append_format(b, NULL, "%s: guest %s %s: ", names[e->level], e->call_id, tenant) ||
        !add(b, e->message)) {
        return false;
    }
    for (size_t i = 0; i < e->fields_len; i++) {
        if (!gb_buf_append_text(b, " ", NULL) || !add(b, e->fields[i].key) ||
            !gb_buf_append_text(b, "=\"", NULL) || !add(b, e->fields[i].value) ||
            !gb_buf_append_text(b, "\"", NULL)) {
            return false;
        }
    }
    return true;
}

void gb_guest_log_write(struct gb_guest_log *l, const struct gb_guest_log_entry *entry) {
    if (entry->level < l->options.level_min) {
        return;
    }
    pthread_mutex_lock(&l->lock);
    if (admit(l)) {
        struct gb_buf line;
        gb_buf_init(&line, GB_GUEST_LOG_LINE_MAX - sizeof CUT);
        bool whole = add_entry(&line, l->tenant, entry);
        line.bytes_max = GB_GUEST_LOG_LINE_MAX;
        (void)gb_buf_append_text(&line, whole ? "\n" : CUT "\n", NULL);
        tell_dropped(l);
        l->options.sink(l->options.user, entry->level, gb_buf_span(&line));
        gb_buf_fini(&line);
    }
    pthread_mutex_unlock(&l->lock);
}

struct gb_guest_log_totals gb_guest_log_totals(struct gb_guest_log *l) {
    pthread_mutex_lock(&l->lock);
    struct gb_guest_log_totals totals = l->totals;
    pthread_mutex_unlock(&l->lock);
    return totals;
}
