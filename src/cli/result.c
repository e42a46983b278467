/* SPDX-License-Identifier: Apache-2.0 */
/* The result of a run, as text and as the JSON object whose fields docs/CLI.md lists. */
#include "cli/result.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/error.h"
#include "base/num.h"
#include "lib/json.h"

/* ---- JSON ---- */

/* Bytes as text where they are UTF-8, else under NAME_base64. */
static void add_bytes(struct gb_json *j, yyjson_mut_val *root, const char *key,
                      const char *base64_key, const char *bytes, size_t len) {
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct gb_span span = gb_span_make(bytes, len);
    if (gb_utf8_valid(span)) {
        gb_json_add(j, root, key, gb_json_text(j, span));
        return;
    }
    struct gb_buf text;
    gb_buf_init(&text, len / 3 * 4 + 4);
    for (size_t i = 0; i < len; i += 3) {
        uint32_t left = (uint32_t)GB_MIN(len - i, (size_t)3);
        uint32_t group = (uint32_t)span.ptr[i] << 16;
        group |= left > 1 ? (uint32_t)span.ptr[i + 1] << 8 : 0;
        group |= left > 2 ? (uint32_t)span.ptr[i + 2] : 0;
        char four[4] = {digits[group >> 18], digits[group >> 12 & 63],
                        left > 1 ? digits[group >> 6 & 63] : '=',
                        left > 2 ? digits[group & 63] : '='};
        if (!gb_buf_append(&text, four, sizeof four, NULL)) {
            j->out_of_memory = true;
        }
    }
    gb_json_add(j, root, base64_key, gb_json_text(j, gb_buf_span(&text)));
    gb_buf_fini(&text);
}

static yyjson_mut_val *usage_json(struct gb_json *j, const struct gb_usage_report *u) {
    static const struct {
        const char *key;
        size_t offset;
    } rows[] = {
        {"wall_us", offsetof(struct gb_usage_report, wall_us)},
        {"fuel", offsetof(struct gb_usage_report, fuel)},
        {"memory_peak_bytes", offsetof(struct gb_usage_report, memory_peak_bytes)},
        {"ledger_peak_bytes", offsetof(struct gb_usage_report, ledger_peak_bytes)},
        {"stdout_bytes", offsetof(struct gb_usage_report, stdout_bytes)},
        {"stderr_bytes", offsetof(struct gb_usage_report, stderr_bytes)},
        {"stdout_dropped_bytes", offsetof(struct gb_usage_report, stdout_dropped_bytes)},
        {"inference_calls", offsetof(struct gb_usage_report, inference_calls)},
        {"inference_us", offsetof(struct gb_usage_report, inference_us)},
        {"queue_us", offsetof(struct gb_usage_report, queue_us)},
        {"instantiate_us", offsetof(struct gb_usage_report, instantiate_us)},
    };
    yyjson_mut_val *object = yyjson_mut_obj(j->doc);
    for (size_t i = 0; i < GB_COUNT(rows); i++) {
        bool is_fuel = rows[i].offset == offsetof(struct gb_usage_report, fuel);
        if (u && (!is_fuel || u->fuel_measured)) {
            const char *at = (const char *)u + rows[i].offset;
            gb_json_add_u64(j, object, rows[i].key, *(const uint64_t *)(const void *)at);
        } else {
            gb_json_add_text(j, object, rows[i].key, NULL);
        }
    }
    return object;
}

static yyjson_mut_val *series_json(struct gb_json *j, const struct gb_series_summary *s) {
    yyjson_mut_val *object = yyjson_mut_obj(j->doc);
    gb_json_add_u64(j, object, "calls", s->calls);
    gb_json_add_u64(j, object, "ok", s->ok);
    yyjson_mut_val *codes = yyjson_mut_obj(j->doc);
    for (unsigned i = 1; i < GB_CODE_COUNT; i++) {
        if (s->codes[i] > 0) {
            gb_json_add_u64(j, codes, gb_code_text((enum gb_code)i), s->codes[i]);
        }
    }
    gb_json_add(j, object, "codes", codes);
    gb_json_add_u64(j, object, "mean_us", s->mean_us);
    gb_json_add_u64(j, object, "p50_us", s->p50_us);
    gb_json_add_u64(j, object, "p99_us", s->p99_us);
    gb_json_add_u64(j, object, "max_us", s->max_us);
    return object;
}

static void add_result(struct gb_json *j, yyjson_mut_val *root, const struct gb_result *r) {
    size_t len = 0;
    const char *text = r ? gb_result_text(r, &len) : NULL;
    gb_json_add(j, root, "result",
                text ? gb_json_text(j, gb_span_make(text, len)) : yyjson_mut_null(j->doc));
}

void gb_result_print_json(const struct gb_outcome *o) {
    struct gb_json j;
    gb_json_init(&j);
    yyjson_mut_val *root = yyjson_mut_obj(j.doc);
    gb_json_add_bool(&j, root, "ok", !o->error);
    if (o->error) {
        gb_json_add(&j, root, "error", gb_json_error(&j, o->error));
    }
    if (o->series) {
        gb_json_add(&j, root, "repeat", series_json(&j, o->series));
    } else if (!o->error) {
        add_result(&j, root, o->result);
    }
    int status;
    if (o->result && gb_result_exit_status(o->result, &status)) {
        gb_json_add(&j, root, "exit_status", yyjson_mut_sint(j.doc, status));
    } else {
        gb_json_add_text(&j, root, "exit_status", NULL);
    }
    size_t out_len = 0;
    size_t err_len = 0;
    const char *out = o->result ? gb_result_stdout(o->result, &out_len) : "";
    const char *errors = o->result ? gb_result_stderr(o->result, &err_len) : "";
    add_bytes(&j, root, "stdout", "stdout_base64", out, out_len);
    add_bytes(&j, root, "stderr", "stderr_base64", errors, err_len);
    gb_json_add(&j, root, "usage", usage_json(&j, o->usage));
    struct gb_error *e = NULL;
    bool terminal = isatty(STDOUT_FILENO) == 1; /* C1 control characters are legal JSON */
    char *text = gb_json_finish(&j, root, terminal ? YYJSON_WRITE_ESCAPE_UNICODE : 0, &e);
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
    gb_out_guest(gb_result_text(r, NULL) ? STDERR_FILENO : STDOUT_FILENO, bytes, len);
    bytes = gb_result_stderr(r, &len);
    gb_out_guest(STDERR_FILENO, bytes, len);
    const char *text = gb_result_text(r, &len);
    if (text) {
        gb_out_guest(STDOUT_FILENO, text, len);
        gb_out_guest_end(STDOUT_FILENO);
        if (len == 0 || text[len - 1] != '\n') {
            gb_out_text(STDOUT_FILENO, "\n");
        }
    }
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
