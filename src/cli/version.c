/* SPDX-License-Identifier: Apache-2.0 */
/* `glovebox version`: ours, and that of every library that takes part. */
#include "base/num.h"
#include "cli/describe.h"

static const struct gb_option rows[] = {
    GB_COMMON_ROWS(struct gb_describe_values),
};
static const struct gb_option_table table = {
    .verb = "version", .options = rows, .len = GB_COUNT(rows)};

static char *make(const struct gb_describe_values *values, const char *operand, int *ret_status,
                  struct gb_error **err) {
    (void)values;
    (void)operand;
    (void)ret_status;
    return gb_version_json(err);
}

static void render(struct gb_buf *out, yyjson_val *root) {
    size_t index;
    size_t count;
    yyjson_val *key;
    yyjson_val *value;
    yyjson_obj_foreach(root, index, count, key, value) {
        (void)gb_buf_append_text(out, yyjson_get_str(key), NULL);
        (void)gb_buf_append_text(out, " ", NULL);
        (void)gb_append_line_text(
            out, yyjson_is_str(value) ? yyjson_get_str(value) : "not available", NULL);
        (void)gb_buf_append_text(out, "\n", NULL);
    }
}

static int version_main(const struct gb_verb *verb, int argc, char **argv) {
    return gb_describe(
        &(struct gb_describe_spec){.verb = verb, .make = make, .render = render}, argc, argv);
}

const struct gb_verb gb_verb_version = {
    .name = "version",
    .synopsis = "[OPTIONS]",
    .summary = "show the version of Glovebox and of each of its libraries",
    .about = "Shows the version of Glovebox and of each library that it uses here. An engine that\n"
             "cannot be found is shown as not available.",
    .table = &table,
    .run = version_main,
};
