/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of the describing verbs, and the rendering of a model, which two of them share. */
#include "cli/describe.h"

#include <string.h>
#include <unistd.h>

#include "base/num.h"

#define TEXT_BYTES_MAX (16 * GB_MIB)

const char *gb_describe_text(yyjson_val *object, const char *key) {
    const char *text = yyjson_get_str(yyjson_obj_get(object, key));
    return text ? text : "";
}

void gb_describe_append(struct gb_buf *out, yyjson_val *object, const char *key) {
    (void)gb_append_line_text(out, gb_describe_text(object, key), NULL);
}

static void append_text(struct gb_buf *out, const char *text) {
    (void)gb_buf_append_text(out, text, NULL);
}

/* ---- a model ---- */

static void append_shape(struct gb_buf *out, yyjson_val *shape) {
    size_t index;
    size_t count;
    yyjson_val *dim;
    append_text(out, "[");
    yyjson_arr_foreach(shape, index, count, dim) {
        append_text(out, index > 0 ? "," : "");
        if (yyjson_is_str(dim)) {
            (void)gb_append_line_text(out, yyjson_get_str(dim), NULL);
        } else if (yyjson_is_null(dim)) {
            append_text(out, "?");
        } else {
            (void)gb_buf_append_format(out, NULL, "%lld", (long long)yyjson_get_sint(dim));
        }
    }
    append_text(out, "]");
}

static void append_ports(struct gb_buf *out, const char *label, yyjson_val *ports) {
    size_t index;
    size_t count;
    yyjson_val *port;
    yyjson_arr_foreach(ports, index, count, port) {
        (void)gb_buf_append_format(out, NULL, "  %-7s ", label);
        gb_describe_append(out, port, "name");
        append_text(out, "  ");
        gb_describe_append(out, port, "type");
        append_shape(out, yyjson_obj_get(port, "shape"));
        append_text(out, "\n");
    }
}

/* 1234567 as "1.2 M". */
static void append_count(struct gb_buf *out, uint64_t count) {
    static const struct {
        uint64_t unit;
        const char *name;
    } units[] = {{1000000000, "G"}, {1000000, "M"}, {1000, "k"}};
    for (size_t i = 0; i < GB_COUNT(units); i++) {
        if (count >= units[i].unit) {
            (void)gb_buf_append_format(out, NULL, "%.1f %s",
                                       (double)count / (double)units[i].unit, units[i].name);
            return;
        }
    }
    (void)gb_buf_append_format(out, NULL, "%llu", (unsigned long long)count);
}

static unsigned long long number(yyjson_val *object, const char *key) {
    return yyjson_get_uint(yyjson_obj_get(object, key));
}

/* A language model in three lines. */
static void append_gguf(struct gb_buf *out, yyjson_val *gguf) {
    append_text(out, "  llm     ");
    gb_describe_append(out, gguf, "architecture");
    append_text(out, "  ");
    append_count(out, number(gguf, "parameters"));
    append_text(out, " parameters  ");
    gb_describe_append(out, gguf, "quantisation");
    append_text(out, "  weights ");
    gb_append_bytes(out, number(gguf, "tensor_bytes"));
    if (gb_describe_text(gguf, "title")[0] != '\0') {
        append_text(out, "  \"");
        gb_describe_append(out, gguf, "title");
        append_text(out, "\"");
    }
    (void)gb_buf_append_format(out, NULL,
                               "\n  sizes   context %llu  embedding %llu  blocks %llu  heads %llu"
                               " (keys and values %llu)\n",
                               number(gguf, "context_length"), number(gguf, "embedding_length"),
                               number(gguf, "blocks"), number(gguf, "heads"),
                               number(gguf, "kv_heads"));
    (void)gb_buf_append_format(out, NULL, "  tokens  %llu  tokenizer ",
                               number(gguf, "vocabulary"));
    gb_describe_append(out, gguf, "tokenizer");
    append_text(out, number(gguf, "chat_template_bytes") > 0 ? "  with a chat template\n"
                                                             : "  no chat template\n");
}

static void append_reason(struct gb_buf *out, yyjson_val *reason) {
    append_text(out, "  error   ");
    gb_describe_append(out, reason, "code");
    append_text(out, ": ");
    gb_describe_append(out, reason, "message");
    append_text(out, "\n");
    if (gb_describe_text(reason, "hint")[0] != '\0') {
        append_text(out, "  hint    ");
        gb_describe_append(out, reason, "hint");
        append_text(out, "\n");
    }
}

void gb_describe_append_model(struct gb_buf *out, yyjson_val *model) {
    gb_describe_append(out, model, "name");
    (void)gb_buf_append_format(out, NULL, "  %s  %s  ", gb_describe_text(model, "backend"),
                               gb_describe_text(model, "state"));
    gb_append_bytes(out, yyjson_get_uint(yyjson_obj_get(model, "bytes")));
    uint64_t warm_us = yyjson_get_uint(yyjson_obj_get(model, "warm_us"));
    if (warm_us > 0) {
        append_text(out, "  warm ");
        gb_append_duration(out, warm_us);
    }
    append_text(out, "\n");
    if (gb_describe_text(model, "digest")[0] != '\0') {
        append_text(out, "  digest  ");
        gb_describe_append(out, model, "digest");
        append_text(out, "\n");
    }
    append_ports(out, "input", yyjson_obj_get(model, "inputs"));
    append_ports(out, "output", yyjson_obj_get(model, "outputs"));
    yyjson_val *gguf = yyjson_obj_get(model, "gguf");
    if (gguf) {
        append_gguf(out, gguf);
    }
    yyjson_val *reason = yyjson_obj_get(model, "reason");
    if (reason) {
        append_reason(out, reason);
    }
}

/* ---- the frame ---- */

static bool read_options(const struct gb_describe_spec *spec, int argc, char **argv,
                         struct gb_describe_values *values, const char **ret_operand,
                         struct gb_error **err) {
    struct gb_operands operands;
    if (!gb_options_parse(spec->verb->table, argc, argv, values, &operands, err)) {
        return false;
    }
    if (values->common.help) {
        return true;
    }
    size_t wanted = spec->operand ? 1 : 0;
    if (operands.len > wanted) {
        gb_fail(err, GB_USAGE_ERROR, "\"%s\" is one argument too many", operands.items[wanted]);
        return gb_hint(err, "Write `glovebox %s %s`.", spec->verb->name, spec->verb->synopsis);
    }
    if (operands.len < wanted) {
        gb_fail(err, GB_USAGE_ERROR, "no %s was given", spec->operand);
        return gb_hint(err, "Write `glovebox %s %s`.", spec->verb->name, spec->verb->synopsis);
    }
    *ret_operand = wanted > 0 ? operands.items[0] : NULL;
    return gb_setup_check_models(&values->models, err) &&
           gb_setup_common(&values->common, GB_INTERRUPT_JSON, err);
}

static bool print_rendered(const struct gb_describe_spec *spec, char *json, struct gb_error **err) {
    /* The pinned yyjson has one argument less here than the stock one. */
    yyjson_doc *doc = yyjson_read_opts(json, strlen(json), NULL, NULL);
    if (!doc) {
        return gb_fail(err, GB_INTERNAL, "could not read the library's own JSON");
    }
    struct gb_buf out;
    gb_buf_init(&out, (size_t)TEXT_BYTES_MAX);
    spec->render(&out, yyjson_doc_get_root(doc));
    gb_out(STDOUT_FILENO, gb_buf_text(&out), out.len);
    gb_buf_fini(&out);
    yyjson_doc_free(doc);
    return true;
}

int gb_describe(const struct gb_describe_spec *spec, int argc, char **argv) {
    struct gb_describe_values values = {0};
    const char *operand = NULL;
    struct gb_error *e = NULL;
    int status = 0;
    bool ok = read_options(spec, argc, argv, &values, &operand, &e);
    if (ok && values.common.help) {
        gb_options_fini(spec->verb->table, &values);
        return gb_verb_help(spec->verb);
    }
    char *json = ok ? spec->make(&values, operand, &status, &e) : NULL;
    gb_signals_claim_output();
    ok = json != NULL;
    if (ok && values.common.json) {
        gb_print_json(json);
    } else if (ok) {
        ok = print_rendered(spec, json, &e);
        gb_text_free(json);
    }
    bool as_json = values.common.json;
    gb_options_fini(spec->verb->table, &values);
    return ok ? gb_out_exit_status(status) : gb_print_failure(e, as_json);
}
