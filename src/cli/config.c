/* SPDX-License-Identifier: Apache-2.0 */
/* `glovebox config FILE`: what a manifest comes to, value by value. */
#include <string.h>

#include <glovebox/manifest.h>

#include "base/num.h"
#include "cli/describe.h"

static const struct gb_option rows[] = {
    GB_COMMON_ROWS(struct gb_describe_values),
};
static const struct gb_option_table table = {
    .verb = "config", .options = rows, .len = GB_COUNT(rows)};

static char *make(const struct gb_describe_values *values, const char *operand, int *ret_status,
                  struct gb_error **err) {
    (void)values;
    (void)ret_status;
    return gb_manifest_config_json(operand, err);
}

static void append_origin(struct gb_buf *out, yyjson_val *root, yyjson_val *setting) {
    const char *origin = gb_describe_text(setting, "origin");
    bool env = strcmp(origin, "env") == 0;
    if (env || strcmp(origin, "read") == 0) {
        (void)gb_buf_append_text(out, env ? "$" : "", NULL);
        gb_describe_append(out, setting, "from");
        (void)gb_buf_append_text(out, ", ", NULL);
    }
    if (gb_describe_text(setting, "at")[0] != '\0') {
        gb_describe_append(out, root, "file");
        (void)gb_buf_append_format(out, NULL, ":%s", gb_describe_text(setting, "at"));
    } else {
        (void)gb_buf_append_text(out, origin, NULL);
    }
}

static void render(struct gb_buf *out, yyjson_val *root) {
    size_t index;
    size_t count;
    yyjson_val *setting;
    yyjson_arr_foreach(yyjson_obj_get(root, "settings"), index, count, setting) {
        gb_describe_append(out, setting, "key");
        (void)gb_buf_append_text(out, " = ", NULL);
        gb_describe_append(out, setting, "value");
        (void)gb_buf_append_text(out, "  # ", NULL);
        append_origin(out, root, setting);
        (void)gb_buf_append_text(out, "\n", NULL);
    }
}

static int config_main(const struct gb_verb *verb, int argc, char **argv) {
    return gb_describe(&(struct gb_describe_spec){
                           .verb = verb, .operand = "file", .make = make, .render = render},
                       argc, argv);
}

const struct gb_verb gb_verb_config = {
    .name = "config",
    .synopsis = "[OPTIONS] FILE",
    .summary = "show every value that a manifest comes to, and where it came from",
    .about = "FILE is a glovebox.toml, a Spin spin.toml (version 2) or a program. Lists every\n"
             "setting, defaults too, with the line that set it. Secrets are never shown.",
    .notes = "Exit status: 0, or that of the first error in the file.\n",
    .table = &table,
    .run = config_main,
};
