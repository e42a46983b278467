/* SPDX-License-Identifier: Apache-2.0 */
/* `glovebox check FILE`: whether a manifest can be served, without serving it. */
#include <unistd.h>

#include <glovebox/manifest.h>

#include "base/num.h"
#include "cli/describe.h"

#define ERRORS_BYTES_MAX ((size_t)1 << 20)

static const struct gb_option rows[] = {
    GB_ENGINE_ROWS(struct gb_describe_values),
    GB_COMMON_ROWS(struct gb_describe_values),
};
static const struct gb_option_table table = {
    .verb = "check", .options = rows, .len = GB_COUNT(rows)};

static char *make(const struct gb_describe_values *values, const char *operand, int *ret_status,
                  struct gb_error **err) {
    struct gb_host_options options;
    gb_setup_host_options(&values->engine, &options);
    return gb_manifest_check_json(operand, &options, ret_status, err);
}

/* error: CODE: message and hint: …, as any error. */
static void print_findings(const char *label, yyjson_val *list) {
    struct gb_buf out;
    gb_buf_init(&out, ERRORS_BYTES_MAX);
    size_t index;
    size_t count;
    yyjson_val *e;
    yyjson_arr_foreach(list, index, count, e) {
        (void)gb_buf_append_format(&out, NULL, "%s: %s: ", label, gb_describe_text(e, "code"));
        gb_describe_append(&out, e, "message");
        (void)gb_buf_append_text(&out, "\n", NULL);
        if (gb_describe_text(e, "hint")[0] != '\0') {
            (void)gb_buf_append_text(&out, "hint: ", NULL);
            gb_describe_append(&out, e, "hint");
            (void)gb_buf_append_text(&out, "\n", NULL);
        }
    }
    gb_out(STDERR_FILENO, gb_buf_text(&out), out.len);
    gb_buf_fini(&out);
}

static void append_routes(struct gb_buf *out, yyjson_val *root) {
    size_t index;
    size_t count;
    yyjson_val *route;
    yyjson_arr_foreach(yyjson_obj_get(root, "routes"), index, count, route) {
        (void)gb_buf_append_text(out, "  ", NULL);
        gb_describe_append(out, route, "path");
        (void)gb_buf_append_text(out, "  ", NULL);
        gb_describe_append(out, route, "kind");
        (void)gb_buf_append_text(out, "  ", NULL);
        gb_describe_append(out, route, "answers");
        (void)gb_buf_append_text(out, "\n", NULL);
    }
}

static void append_shadows(struct gb_buf *out, yyjson_val *root) {
    size_t index;
    size_t count;
    yyjson_val *shadow;
    yyjson_arr_foreach(yyjson_obj_get(root, "shadows"), index, count, shadow) {
        (void)gb_buf_append_text(out, "  ", NULL);
        gb_describe_append(out, shadow, "path");
        (void)gb_buf_append_text(out, " comes before ", NULL);
        gb_describe_append(out, shadow, "takes_from");
        (void)gb_buf_append_text(out, "\n", NULL);
    }
}

static void render(struct gb_buf *out, yyjson_val *root) {
    print_findings("error", yyjson_obj_get(root, "errors"));
    print_findings("warning", yyjson_obj_get(root, "warnings"));
    uint64_t left_out = yyjson_get_uint(yyjson_obj_get(root, "left_out"));
    if (left_out > 0) {
        (void)gb_buf_append_format(out, NULL, "%llu more were left out\n",
                                   (unsigned long long)left_out);
    }
    gb_describe_append(out, root, "file");
    if (!yyjson_get_bool(yyjson_obj_get(root, "ok"))) {
        (void)gb_buf_append_format(out, NULL, ": wrong, %zu errors\n",
                                   yyjson_arr_size(yyjson_obj_get(root, "errors")));
        return;
    }
    (void)gb_buf_append_format(out, NULL, ": ok, %zu components, %zu models, %zu routes\n",
                               yyjson_arr_size(yyjson_obj_get(root, "components")),
                               yyjson_arr_size(yyjson_obj_get(root, "models")),
                               yyjson_arr_size(yyjson_obj_get(root, "routes")));
    append_routes(out, root);
    append_shadows(out, root);
}

static int check_main(const struct gb_verb *verb, int argc, char **argv) {
    return gb_describe(&(struct gb_describe_spec){
                           .verb = verb, .operand = "file", .make = make, .render = render},
                       argc, argv);
}

const struct gb_verb gb_verb_check = {
    .name = "check",
    .synopsis = "[OPTIONS] FILE",
    .summary = "check a manifest and all that it names, without serving it",
    .about = "FILE is a glovebox.toml, a Spin spin.toml (version 2) or a program. Checks its keys\n"
             "and values, files and digests, what components import against what they are\n"
             "granted, models, how routes enter their components, and routes that hide others.\n"
             "Secrets need not be at hand.",
    .notes = "Exit status: 0, or that of the first error; warnings are none.\n",
    .table = &table,
    .run = check_main,
};
