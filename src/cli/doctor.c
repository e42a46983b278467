/* SPDX-License-Identifier: Apache-2.0 */
/* `glovebox doctor`: whether this machine can do the work, and what to do where it cannot. */
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "cli/describe.h"

static const struct gb_option rows[] = {
    GB_ENGINE_ROWS(struct gb_describe_values),
    GB_COMMON_ROWS(struct gb_describe_values),
};
static const struct gb_option_table table = {
    .verb = "doctor", .options = rows, .len = GB_COUNT(rows)};

static char *make(const struct gb_describe_values *values, const char *operand, int *ret_status,
                  struct gb_error **err) {
    (void)operand;
    struct gb_host_options options;
    gb_setup_host_options(&values->engine, &options);
    bool ok = false;
    char *text = gb_host_doctor_json(&options, &ok, err);
    *ret_status = ok ? 0 : gb_code_exit_status(GB_BACKEND_MISSING);
    return text;
}

static void render(struct gb_buf *out, yyjson_val *root) {
    yyjson_val *checks = yyjson_obj_get(root, "checks");
    size_t index;
    size_t count;
    size_t width = 0;
    yyjson_val *check;
    yyjson_arr_foreach(checks, index, count, check) {
        width = GB_MAX(width, strlen(gb_describe_text(check, "name")));
    }
    yyjson_arr_foreach(checks, index, count, check) {
        bool ok = yyjson_get_bool(yyjson_obj_get(check, "ok"));
        bool required = yyjson_get_bool(yyjson_obj_get(check, "required"));
        (void)gb_buf_append_format(out, NULL, "%-5s %-*s  ", ok ? "ok" : required ? "fail" : "warn",
                                   (int)width, gb_describe_text(check, "name"));
        gb_describe_append(out, check, "detail");
        if (gb_describe_text(check, "hint")[0] != '\0') {
            (void)gb_buf_append_format(out, NULL, "\n%*shint: ", (int)width + 8, "");
            gb_describe_append(out, check, "hint");
        }
        (void)gb_buf_append_text(out, "\n", NULL);
    }
    bool all = yyjson_get_bool(yyjson_obj_get(root, "ok"));
    const char *verdict = all ? "all that is required works\n" : "something required fails\n";
    (void)gb_buf_append_text(out, verdict, NULL);
}

static int doctor_main(const struct gb_verb *verb, int argc, char **argv) {
    return gb_describe(
        &(struct gb_describe_spec){.verb = verb, .make = make, .render = render}, argc, argv);
}

const struct gb_verb gb_verb_doctor = {
    .name = "doctor",
    .synopsis = "[OPTIONS]",
    .summary = "check this machine: engines, kernel features, limits, the jail",
    .about = "Looks for every program and library, asks the kernel for what the jail needs, and\n"
             "lets a jailed worker try each forbidden thing. Lines begin with ok, warn (works,\n"
             "with less) or fail (required).",
    .notes = "Exit status: 0 when all that is required works, else 104.\n",
    .table = &table,
    .run = doctor_main,
};
