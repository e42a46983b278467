/* SPDX-License-Identifier: Apache-2.0 */
/* `glovebox models`: every model, loaded and warmed, with its inputs and outputs. */
#include "base/num.h"
#include "cli/describe.h"

static const struct gb_option rows[] = {
    GB_MODEL_ROWS(struct gb_describe_values),
    GB_ENGINE_ROWS(struct gb_describe_values),
    GB_COMMON_ROWS(struct gb_describe_values),
};
static const struct gb_option_table table = {
    .verb = "models", .options = rows, .len = GB_COUNT(rows)};

static char *make(const struct gb_describe_values *values, const char *operand, int *ret_status,
                  struct gb_error **err) {
    (void)operand;
    (void)ret_status;
    struct gb_host_options options;
    gb_setup_host_options(&values->engine, &options);
    struct gb_host *host = gb_host_new(&options, err);
    if (!host) {
        return NULL;
    }
    char *text = NULL;
    if (gb_setup_add_models(host, &values->models, true, err) &&
        gb_host_start_models(host, NULL, 0, err)) {
        text = gb_host_models_json(host, err);
    }
    gb_host_free(host);
    return text;
}

static void render(struct gb_buf *out, yyjson_val *root) {
    yyjson_val *models = yyjson_obj_get(root, "models");
    size_t index;
    size_t count;
    yyjson_val *model;
    yyjson_arr_foreach(models, index, count, model) {
        gb_describe_append_model(out, model);
    }
    if (yyjson_arr_size(models) == 0) {
        (void)gb_buf_append_text(out, "no models\n", NULL);
    }
}

static int models_main(const struct gb_verb *verb, int argc, char **argv) {
    return gb_describe(
        &(struct gb_describe_spec){.verb = verb, .make = make, .render = render}, argc, argv);
}

const struct gb_verb gb_verb_models = {
    .name = "models",
    .synopsis = "[OPTIONS]",
    .summary = "list models: state, digest, inputs, outputs, time of a warm inference",
    .about = "Loads every model of the registry into a jailed worker, runs each once, and lists\n"
             "them. A model that is refused is listed as rejected, with the reason; that is no\n"
             "failure.",
    .notes = "Exit status: 0, or that of the error; two models of one name are one (104).\n",
    .table = &table,
    .run = models_main,
};
