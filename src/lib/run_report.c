/* SPDX-License-Identifier: Apache-2.0 */
/* The one JSON object of a run: the same for the command line and for an embedder. */
#include "base/buf.h"
#include "base/num.h"
#include "lib/json.h"
#include "lib/lib.h"
#include "glovebox/value.h"

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

static void add_result(struct gb_json *j, yyjson_mut_val *root, const struct gb_result *r,
                       bool ascii) {
    size_t len = 0;
    struct gb_error *e = NULL;
    char *value = r ? gb_result_value_json(r, &len, &e) : NULL;
    if (value || e) {
        j->out_of_memory = j->out_of_memory || e != NULL;
        gb_json_add(j, root, "result", value ? gb_json_raw(j, value, len, ascii) : NULL);
        gb_free(value);
        gb_error_free(e);
        return;
    }
    const char *text = r ? gb_result_text(r, &len) : NULL;
    gb_json_add(j, root, "result",
                text ? gb_json_text(j, gb_span_make(text, len)) : yyjson_mut_null(j->doc));
}

static void add_outcome(struct gb_json *j, yyjson_mut_val *root, const struct gb_run_report *o) {
    gb_json_add_bool(j, root, "ok", !o->error);
    if (o->error) {
        gb_json_add(j, root, "error", gb_json_error(j, o->error));
    }
    if (o->repeat_json) {
        gb_json_add(j, root, "repeat", yyjson_mut_rawcpy(j->doc, o->repeat_json));
    } else if (!o->error) {
        add_result(j, root, o->result, o->ascii);
    }
    int status;
    if (o->result && gb_result_exit_status(o->result, &status)) {
        gb_json_add(j, root, "exit_status", yyjson_mut_sint(j->doc, status));
    } else {
        gb_json_add_text(j, root, "exit_status", NULL);
    }
}

char *gb_run_report_json(const struct gb_run_report *report, struct gb_error **err) {
    struct gb_run_report o = {0};
    if (!gb_lib_options_copy(&o, sizeof o, report, "report", err)) {
        return NULL;
    }
    struct gb_json j;
    gb_json_init(&j);
    yyjson_mut_val *root = yyjson_mut_obj(j.doc);
    add_outcome(&j, root, &o);
    size_t out_len = 0;
    size_t err_len = 0;
    const char *out = o.result ? gb_result_stdout(o.result, &out_len) : "";
    const char *errors = o.result ? gb_result_stderr(o.result, &err_len) : "";
    add_bytes(&j, root, "stdout", "stdout_base64", out, out_len);
    add_bytes(&j, root, "stderr", "stderr_base64", errors, err_len);
    gb_json_add(&j, root, "usage", usage_json(&j, o.usage));
    return gb_json_finish(&j, root, o.ascii ? YYJSON_WRITE_ESCAPE_UNICODE : 0, err);
}
