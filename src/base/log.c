/* SPDX-License-Identifier: Apache-2.0 */
/* One write(2) per line, so that lines of several threads do not mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

#define LINE_MAX_BYTES 8192

static _Atomic int level_now = GB_LOG_WARN;

static void (*_Atomic sink_now)(void *user, const char *line, size_t len);
static void *_Atomic sink_user;

void gb_log_set_sink(void (*sink)(void *user, const char *line, size_t len), void *user) {
    atomic_store(&sink_user, user);
    atomic_store(&sink_now, sink);
}

static void put(const char *line, size_t len) {
    void (*sink)(void *user, const char *line, size_t len) = atomic_load(&sink_now);
    if (sink) {
        sink(atomic_load(&sink_user), line, len);
    } else {
        (void)gb_write_all(STDERR_FILENO, line, len, NULL);
    }
}

void gb_log_set_level(enum gb_log_level level) {
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

enum gb_log_level gb_log_level(void) {
    return (enum gb_log_level)atomic_load_explicit(&level_now, memory_order_relaxed);
}

void gb_log(enum gb_log_level level, const char *format, ...) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (level < gb_log_level() || level >= GB_LOG_OFF) {
        return;
    }
    char text[LINE_MAX_BYTES / 4];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct gb_buf line;
    gb_buf_init(&line, LINE_MAX_BYTES);
    if (gb_buf_append_format(&line, NULL, "%s: ", names[level]) &&
        gb_buf_append_escaped(&line, gb_span_of(text), NULL)) {
        (void)gb_buf_append_text(&line, "\n", NULL);
        put(gb_buf_text(&line), line.len);
    }
    gb_buf_fini(&line);
}
