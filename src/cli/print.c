/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors for people. Messages may quote guests and files, so each is kept on its one line: a guest
 * cannot forge a hint or move the cursor. Colour only on a terminal that did not ask for none.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"

#define ERROR_TEXT_BYTES_MAX (256 * GB_KIB)

bool gb_append_line_text(struct gb_buf *out, const char *text, struct gb_error **err) {
    while (*text) {
        size_t run = strcspn(text, "\n");
        if (!gb_buf_append_escaped(out, gb_span_make(text, run), err)) {
            return false;
        }
        text += run;
        if (*text == '\n') {
            if (!gb_buf_append_text(out, "\\n", err)) {
                return false;
            }
            text++;
        }
    }
    return true;
}

static bool use_colour(void) {
    const char *term = getenv("TERM");
    const char *no_colour = getenv("NO_COLOR");
    return isatty(STDERR_FILENO) == 1 && !(no_colour && no_colour[0]) && term &&
           strcmp(term, "dumb") != 0;
}

static void append_label(struct gb_buf *out, const char *label, const char *colour) {
    if (use_colour()) {
        (void)gb_buf_append_format(out, NULL, "\x1b[%sm%s:\x1b[0m ", colour, label);
    } else {
        (void)gb_buf_append_format(out, NULL, "%s: ", label);
    }
}

static void append_error_line(struct gb_buf *out, const char *label, const char *colour,
                              const struct gb_error *e) {
    append_label(out, label, colour);
    (void)gb_buf_append_format(out, NULL, "%s: ", gb_error_code(e));
    (void)gb_append_line_text(out, gb_error_message(e), NULL);
    (void)gb_buf_append_text(out, "\n", NULL);
}

/* The error's own hint, or the first that a cause has. */
static const char *hint_of(const struct gb_error *e) {
    while (e && !gb_error_hint(e)) {
        e = gb_error_cause(e);
    }
    return e ? gb_error_hint(e) : NULL;
}

void gb_print_error(const struct gb_error *e) {
    struct gb_buf out;
    gb_buf_init(&out, ERROR_TEXT_BYTES_MAX);
    append_error_line(&out, "error", "1;31", e);
    const char *hint = hint_of(e);
    if (hint) {
        append_label(&out, "hint", "1;36");
        (void)gb_append_line_text(&out, hint, NULL);
        (void)gb_buf_append_text(&out, "\n", NULL);
    }
    const char *value = gb_error_value(e);
    if (value && !strstr(gb_error_message(e), value)) {
        append_label(&out, "value", "1");
        (void)gb_append_line_text(&out, value, NULL);
        (void)gb_buf_append_text(&out, "\n", NULL);
    }
    for (const struct gb_error *c = gb_error_cause(e); c; c = gb_error_cause(c)) {
        append_error_line(&out, "cause", "1", c);
    }
    gb_out(STDERR_FILENO, gb_buf_text(&out), out.len);
    gb_buf_fini(&out);
}

void gb_print_json(char *text) {
    gb_out_text(STDOUT_FILENO, text);
    gb_out_text(STDOUT_FILENO, "\n");
    gb_text_free(text);
}

int gb_print_failure(struct gb_error *e, bool json) {
    int status = gb_error_exit_status(e);
    char *text = json ? gb_error_json(e, NULL) : NULL;
    if (text) {
        gb_out_text(STDOUT_FILENO, "{\"ok\":false,\"error\":");
        gb_out_text(STDOUT_FILENO, text);
        gb_out_text(STDOUT_FILENO, "}\n");
        gb_text_free(text);
    } else {
        gb_print_error(e);
    }
    gb_error_free(e);
    return gb_out_exit_status(status);
}

void gb_append_duration(struct gb_buf *out, uint64_t us) {
    if (us < 1000) {
        (void)gb_buf_append_format(out, NULL, "%llu us", (unsigned long long)us);
    } else if (us < 1000000) {
        (void)gb_buf_append_format(out, NULL, "%.1f ms", (double)us / 1e3);
    } else {
        (void)gb_buf_append_format(out, NULL, "%.2f s", (double)us / 1e6);
    }
}

void gb_append_bytes(struct gb_buf *out, uint64_t bytes) {
    if (bytes < GB_KIB) {
        (void)gb_buf_append_format(out, NULL, "%llu B", (unsigned long long)bytes);
    } else if (bytes < GB_MIB) {
        (void)gb_buf_append_format(out, NULL, "%.1f KiB", (double)bytes / (double)GB_KIB);
    } else {
        (void)gb_buf_append_format(out, NULL, "%.1f MiB", (double)bytes / (double)GB_MIB);
    }
}
