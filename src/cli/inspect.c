/* SPDX-License-Identifier: Apache-2.0 */
/* `glovebox inspect FILE`: what a component, a core module or a model is, wants and offers. */
#include <string.h>

#include "base/num.h"
#include "cli/describe.h"

static const struct gb_option rows[] = {
    GB_ENGINE_ROWS(struct gb_describe_values),
    GB_COMMON_ROWS(struct gb_describe_values),
};
static const struct gb_option_table table = {
    .verb = "inspect", .options = rows, .len = GB_COUNT(rows)};

static char *make(const struct gb_describe_values *values, const char *operand, int *ret_status,
                  struct gb_error **err) {
    (void)ret_status;
    struct gb_host_options options;
    gb_setup_host_options(&values->engine, &options);
    struct gb_host *host = gb_host_new(&options, err);
    if (!host) {
        return NULL;
    }
    char *text = gb_host_inspect_json(host, operand, NULL, err);
    gb_host_free(host);
    return text;
}

static void append_import(struct gb_buf *out, yyjson_val *import) {
    bool satisfied = yyjson_get_bool(yyjson_obj_get(import, "satisfied"));
    (void)gb_buf_append_text(out, satisfied ? "  ok       " : "  missing  ", NULL);
    gb_describe_append(out, import, "name");
    if (gb_describe_text(import, "version")[0] != '\0') {
        (void)gb_buf_append_text(out, "@", NULL);
        gb_describe_append(out, import, "version");
    }
    if (gb_describe_text(import, "grant")[0] != '\0') {
        (void)gb_buf_append_text(out, "  needs --grant ", NULL);
        gb_describe_append(out, import, "grant");
    }
    if (gb_describe_text(import, "note")[0] != '\0') {
        (void)gb_buf_append_text(out, "  (", NULL);
        gb_describe_append(out, import, "note");
        (void)gb_buf_append_text(out, ")", NULL);
    }
    (void)gb_buf_append_text(out, "\n", NULL);
}

static void render_program(struct gb_buf *out, yyjson_val *root) {
    const char *entry = gb_describe_text(root, "entry");
    (void)gb_buf_append_format(out, NULL, "%s, runs as: %s\nimports:\n",
                               gb_describe_text(root, "kind"), entry[0] ? entry : "nothing");
    size_t index;
    size_t count;
    yyjson_val *item;
    yyjson_arr_foreach(yyjson_obj_get(root, "imports"), index, count, item) {
        append_import(out, item);
    }
    (void)gb_buf_append_text(out, "exports:\n", NULL);
    yyjson_arr_foreach(yyjson_obj_get(root, "exports"), index, count, item) {
        (void)gb_buf_append_text(out, "  ", NULL);
        gb_describe_append(out, item, "name");
        (void)gb_buf_append_text(out, ": ", NULL);
        gb_describe_append(out, item, "type");
        (void)gb_buf_append_text(out, "\n", NULL);
    }
}

static void render_model(struct gb_buf *out, yyjson_val *root) {
    gb_describe_append_model(out, root);
    yyjson_val *opset = yyjson_obj_get(root, "opset");
    if (opset) {
        (void)gb_buf_append_format(out, NULL, "  opset   %llu\n",
                                   (unsigned long long)yyjson_get_uint(opset));
    }
    if (gb_describe_text(root, "layout")[0] != '\0') {
        (void)gb_buf_append_text(out, "  layout  ", NULL);
        gb_describe_append(out, root, "layout");
        (void)gb_buf_append_text(out, "\n", NULL);
    }
    size_t index;
    size_t count;
    yyjson_val *finding;
    yyjson_arr_foreach(yyjson_obj_get(root, "findings"), index, count, finding) {
        (void)gb_buf_append_text(out, "  finding ", NULL);
        (void)gb_append_line_text(out, yyjson_get_str(finding), NULL);
        (void)gb_buf_append_text(out, "\n", NULL);
    }
}

static void render(struct gb_buf *out, yyjson_val *root) {
    if (strcmp(gb_describe_text(root, "kind"), "model") == 0) {
        render_model(out, root);
    } else {
        render_program(out, root);
    }
}

static int inspect_main(const struct gb_verb *verb, int argc, char **argv) {
    return gb_describe(
        &(struct gb_describe_spec){
            .verb = verb, .operand = "file", .make = make, .render = render},
        argc, argv);
}

const struct gb_verb gb_verb_inspect = {
    .name = "inspect",
    .synopsis = "[OPTIONS] FILE",
    .summary = "look into a component, a module or a model",
    .about = "Of a component or module: how it would run, each import and whether this host\n"
             "satisfies it or which grant would, each export with its type. Nothing of it is run.\n"
             "Of a model (.onnx): digest, inputs, outputs, opset and findings; it is loaded into\n"
             "a jailed worker, too. Of a language model (.gguf): digest, architecture, sizes,\n"
             "vocabulary and findings; this version has no engine that loads it.",
    .table = &table,
    .run = inspect_main,
};
