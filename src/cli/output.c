/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing to stdout and stderr. A reader that went away (EPIPE) is no error to talk about; a full
 * disk is. A guest's bytes must not paint or reprogram a terminal, and must reach a pipe unchanged.
 */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"

#define HELD_BYTES_MAX 4
#define CHUNK_BYTES ((size_t)16384)

static struct gb_sink {
    int failed_errno;
    bool terminal_known;
    bool terminal;
    uint8_t held[HELD_BYTES_MAX]; /* the start of a character whose rest has not come yet */
    size_t held_len;
} sinks[3];

static bool is_terminal(int fd) {
    struct gb_sink *s = &sinks[fd];
    if (!s->terminal_known) {
        s->terminal = isatty(fd) == 1;
        s->terminal_known = true;
    }
    return s->terminal;
}

void gb_out(int fd, const char *text, size_t len) {
    struct gb_sink *s = &sinks[fd];
    while (len > 0 && s->failed_errno == 0) {
        ssize_t n = write(fd, text, len);
        if (n >= 0) {
            text += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT}; /* somebody made it non-blocking */
            (void)poll(&ready, 1, -1);
        } else if (errno != EINTR) {
            s->failed_errno = errno;
        }
    }
}

void gb_out_text(int fd, const char *text) {
    gb_out(fd, text, strlen(text));
}

/* How many bytes at the end of text may be the start of a character that is not complete. */
static size_t unfinished(const uint8_t *text, size_t len) {
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        uint8_t c = text[len - back];
        if ((c & 0xc0) == 0x80) {
            continue;
        }
        size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return need > back ? back : 0;
    }
    return 0;
}

static void escaped(int fd, const uint8_t *bytes, size_t len) {
    struct gb_buf out;
    gb_buf_init(&out, len * 4); /* \xNN */
    if (gb_buf_append_escaped(&out, gb_span_make(bytes, len), NULL)) {
        gb_out(fd, gb_buf_text(&out), out.len);
    }
    gb_buf_fini(&out);
}

void gb_out_guest(int fd, const char *bytes, size_t len) {
    struct gb_sink *s = &sinks[fd];
    if (!is_terminal(fd)) {
        gb_out(fd, bytes, len);
        return;
    }
    uint8_t chunk[HELD_BYTES_MAX + CHUNK_BYTES];
    while (len > 0) {
        size_t n = GB_MIN(len, CHUNK_BYTES);
        memcpy(chunk, s->held, s->held_len);
        memcpy(chunk + s->held_len, bytes, n);
        size_t have = s->held_len + n;
        size_t hold = unfinished(chunk, have);
        escaped(fd, chunk, have - hold);
        memcpy(s->held, chunk + have - hold, hold);
        s->held_len = hold;
        bytes += n;
        len -= n;
    }
}

void gb_out_guest_end(int fd) {
    struct gb_sink *s = &sinks[fd];
    escaped(fd, s->held, s->held_len);
    s->held_len = 0;
}

bool gb_out_failed(int fd) {
    return sinks[fd].failed_errno != 0;
}

int gb_out_exit_status(int status) {
    int failed = sinks[STDOUT_FILENO].failed_errno;
    if (failed == 0) {
        return status;
    }
    struct gb_error *e = NULL;
    gb_fail_errno(&e, GB_IO, failed, "could not write to stdout: %s", strerror(failed));
    if (failed != EPIPE) {
        gb_print_error(e);
    }
    int io_status = gb_error_exit_status(e);
    gb_error_free(e);
    return status == 0 ? io_status : status;
}
