/* SPDX-License-Identifier: Apache-2.0 */
/* The result of a run: text on both streams, or one JSON object, which the library writes. */
#include "cli/result.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/error.h"
#include "glovebox/value.h"

/* ---- JSON ---- */

static void append_series_json(struct gb_buf *out, const struct gb_series_summary *s) {
    (void)gb_buf_append_format(out, NULL, "{\"calls\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"codes\":{",
                               s->calls, s->ok);
    const char *comma = "";
    for (unsigned i = 1; i < GB_CODE_COUNT; i++) {
        if (s->codes[i] > 0) {
            (void)gb_buf_append_format(out, NULL, "%s\"%s\":%" PRIu64, comma,
                                       gb_code_text((enum gb_code)i), s->codes[i]);
            comma = ",";
        }
    }
    (void)gb_buf_append_format(out, NULL,
                               "},\"mean_us\":%" PRIu64 ",\"p50_us\":%" PRIu64
                               ",\"p99_us\":%" PRIu64 ",\"max_us\":%" PRIu64 "}",
                               s->mean_us, s->p50_us, s->p99_us, s->max_us);
}

void gb_result_print_json(const struct gb_outcome *o) {
    struct gb_buf series;
    gb_buf_init(&series, 8192);
    if (o->series) {
        append_series_json(&series, o->series);
    }
    struct gb_run_report report = {.size = sizeof report,
                                   .error = o->error,
                                   .result = o->result,
                                   .usage = o->usage,
                                   .repeat_json = o->series ? gb_buf_text(&series) : NULL,
                                   .ascii = isatty(STDOUT_FILENO) == 1};
    struct gb_error *e = NULL;
    char *text = gb_run_report_json(&report, &e);
    gb_buf_fini(&series);
    if (text) {
        gb_print_json(text);
    } else {
        (void)gb_print_failure(e, true);
    }
}

/* ---- text ---- */

void gb_result_print_answer(const struct gb_result *r) {
    size_t len;
    const char *bytes = gb_result_stdout(r, &len);
    bool answers = gb_result_text(r, NULL) || gb_result_is_call(r);
    gb_out_guest(answers ? STDERR_FILENO : STDOUT_FILENO, bytes, len);
    bytes = gb_result_stderr(r, &len);
    gb_out_guest(STDERR_FILENO, bytes, len);
    struct gb_error *e = NULL;
    char *json = gb_result_value_json(r, &len, &e);
    const char *text = json ? json : gb_result_text(r, &len);
    if (e) {
        gb_print_error(e);
        gb_error_free(e);
    }
    if (text) {
        gb_out_guest(STDOUT_FILENO, text, len);
        gb_out_guest_end(STDOUT_FILENO);
        if (len == 0 || text[len - 1] != '\n') {
            gb_out_text(STDOUT_FILENO, "\n");
        }
    }
    gb_text_free(json);
    gb_out_guest_end(STDOUT_FILENO);
    gb_out_guest_end(STDERR_FILENO);
}

void gb_result_print_series(const struct gb_series_summary *s) {
    struct gb_buf out;
    gb_buf_init(&out, 512);
    (void)gb_buf_append_format(&out, NULL,
                               "repeat: %" PRIu64 " calls, %" PRIu64 " ok, mean %" PRIu64
                               " us, p50 %" PRIu64 " us, p99 %" PRIu64 " us, max %" PRIu64 " us\n",
                               s->calls, s->ok, s->mean_us, s->p50_us, s->p99_us, s->max_us);
    gb_out_text(STDERR_FILENO, gb_buf_text(&out));
    gb_buf_fini(&out);
}

void gb_result_print_usage(const struct gb_usage_report *u) {
    struct gb_buf out;
    gb_buf_init(&out, 1024);
    (void)gb_buf_append_text(&out, "usage: wall ", NULL);
    gb_append_duration(&out, u->wall_us);
    (void)gb_buf_append_text(&out, ", instantiate ", NULL);
    gb_append_duration(&out, u->instantiate_us);
    (void)gb_buf_append_format(&out, NULL, ", inference %" PRIu64 " calls ", u->inference_calls);
    gb_append_duration(&out, u->inference_us);
    (void)gb_buf_append_text(&out, ", queue ", NULL);
    gb_append_duration(&out, u->queue_us);
    (void)gb_buf_append_text(&out, ", crossing ", NULL);
    gb_append_duration(&out, u->crossing_us);
    (void)gb_buf_append_text(&out, ", memory peak ", NULL);
    gb_append_bytes(&out, u->memory_peak_bytes);
    (void)gb_buf_append_text(&out, ", ledger peak ", NULL);
    gb_append_bytes(&out, u->ledger_peak_bytes);
    (void)gb_buf_append_text(&out, ", stdout ", NULL);
    gb_append_bytes(&out, u->stdout_bytes);
    (void)gb_buf_append_text(&out, ", stderr ", NULL);
    gb_append_bytes(&out, u->stderr_bytes);
    if (u->stdout_dropped_bytes + u->stderr_dropped_bytes > 0) {
        (void)gb_buf_append_text(&out, ", dropped ", NULL);
        gb_append_bytes(&out, u->stdout_dropped_bytes + u->stderr_dropped_bytes);
    }
    if (u->fuel_measured) {
        (void)gb_buf_append_format(&out, NULL, ", fuel %" PRIu64, u->fuel);
    } else {
        (void)gb_buf_append_text(&out, ", fuel off", NULL);
    }
    (void)gb_buf_append_text(&out, "\n", NULL);
    gb_out_text(STDERR_FILENO, gb_buf_text(&out));
    gb_buf_fini(&out);
}

/* ---- exit status ---- */

int gb_result_status(const struct gb_outcome *o, int signal_number) {
    if (!o->error) {
        return 0;
    }
    if (o->error->code == GB_INTERRUPTED && signal_number > 0) {
        return 128 + signal_number;
    }
    int status = 0;
    if (o->error->code == GB_GUEST_EXIT && o->result &&
        gb_result_exit_status(o->result, &status)) {
        /* From 126 on a shell could not tell it from its own. */
        return status >= 1 && status <= 125 ? status : gb_code_exit_status(GB_GUEST_TRAP);
    }
    return gb_error_exit_status(o->error);
}
