/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a host knows, as JSON: its models, and a file looked into (a component, a core module or a
 * model). The shapes are those of `models --json` and `inspect --json`.
 */
#include "lib/lib.h"

#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "lib/json.h"
#include "model/gguf.h"

#define SNIFF_BYTES 8

/* ---- models ---- */

static yyjson_mut_val *port_json(struct gb_json *j, const struct gb_port *port) {
    yyjson_mut_val *object = yyjson_mut_obj(j->doc);
    gb_json_add_text(j, object, "name", port->name);
    gb_json_add_text(j, object, "type", gb_type_text((enum gb_type)port->type));
    yyjson_mut_val *shape = yyjson_mut_arr(j->doc);
    for (size_t i = 0; i < port->rank && i < GB_WIRE_RANK_MAX; i++) {
        yyjson_mut_val *dim;
        if (port->dims[i] >= 0) {
            dim = yyjson_mut_sint(j->doc, port->dims[i]);
        } else if (port->symbols[i][0] != '\0') {
            dim = gb_json_text(j, gb_span_of(port->symbols[i]));
        } else {
            dim = yyjson_mut_null(j->doc); /* free, and its size has no name */
        }
        (void)yyjson_mut_arr_append(shape, dim);
    }
    gb_json_add(j, object, "shape", shape);
    return object;
}

static void add_ports(struct gb_json *j, yyjson_mut_val *object, const char *key,
                      const struct gb_port *ports, size_t len) {
    yyjson_mut_val *array = yyjson_mut_arr(j->doc);
    for (size_t i = 0; i < len; i++) {
        (void)yyjson_mut_arr_append(array, port_json(j, &ports[i]));
    }
    gb_json_add(j, object, key, array);
}

/* What a language model's file says of itself. */
static void add_gguf(struct gb_json *j, yyjson_mut_val *parent, const struct gb_gguf_summary *s) {
    yyjson_mut_val *object = yyjson_mut_obj(j->doc);
    const struct {
        const char *key;
        uint64_t number;
    } numbers[] = {
        {"version", s->version},
        {"parameters", s->parameters},
        {"context_length", s->context_length},
        {"embedding_length", s->embedding_length},
        {"blocks", s->blocks},
        {"heads", s->heads},
        {"kv_heads", s->kv_heads},
        {"vocabulary", s->vocabulary},
        {"tensors", s->tensors},
        {"tensor_bytes", s->tensor_bytes},
        {"header_bytes", s->header_bytes},
        {"chat_template_bytes", s->chat_template_bytes},
    };
    gb_json_add_text(j, object, "architecture", s->architecture);
    gb_json_add_text(j, object, "title", s->title[0] ? s->title : NULL);
    gb_json_add_text(j, object, "quantisation", s->quantisation);
    gb_json_add_text(j, object, "weights_type", s->weights_type);
    gb_json_add_text(j, object, "tokenizer", s->tokenizer);
    for (size_t i = 0; i < GB_COUNT(numbers); i++) {
        gb_json_add_u64(j, object, numbers[i].key, numbers[i].number);
    }
    gb_json_add(j, parent, "gguf", object);
}

/* A model that was not started counts as rejected, for the reason given. */
static void add_model(struct gb_json *j, yyjson_mut_val *object, const struct gb_model_info *info,
                      const struct gb_error *not_started) {
    bool ready = info->state == GB_MODEL_STATE_READY;
    const struct gb_error *reason = info->reason ? info->reason : not_started;
    gb_json_add_text(j, object, "name", info->name);
    gb_json_add_text(j, object, "backend", gb_backend_text(info->backend));
    gb_json_add_text(j, object, "digest", info->digest);
    gb_json_add_u64(j, object, "bytes", info->bytes);
    gb_json_add_text(j, object, "state", ready ? "ready" : "rejected");
    if (!ready && reason) {
        gb_json_add(j, object, "reason", gb_json_error(j, reason));
    }
    if (info->warm_us > 0) {
        gb_json_add_u64(j, object, "warm_us", info->warm_us);
    } else {
        gb_json_add_text(j, object, "warm_us", NULL);
    }
    add_ports(j, object, "inputs", info->inputs, info->inputs_len);
    add_ports(j, object, "outputs", info->outputs, info->outputs_len);
    if (info->gguf) {
        add_gguf(j, object, info->gguf);
    }
}

char *gb_host_models_json(struct gb_host *h, struct gb_error **err) {
    struct gb_json j;
    gb_json_init(&j);
    yyjson_mut_val *root = yyjson_mut_obj(j.doc);
    yyjson_mut_val *models = yyjson_mut_arr(j.doc);
    for (size_t i = 0; i < gb_registry_count(h->registry); i++) {
        yyjson_mut_val *object = yyjson_mut_obj(j.doc);
        add_model(&j, object, gb_model_info(gb_registry_at(h->registry, i)), NULL);
        (void)yyjson_mut_arr_append(models, object);
    }
    gb_json_add(&j, root, "models", models);
    return gb_json_finish(&j, root, 0, err);
}

/* ---- inspect: a model ---- */

static void add_model_findings(struct gb_json *j, yyjson_mut_val *object,
                               const struct gb_model_info *info) {
    if (info->opset > 0) {
        gb_json_add_u64(j, object, "opset", (uint64_t)info->opset);
    }
    if (info->layout) {
        gb_json_add_text(j, object, "layout", info->layout);
    }
    yyjson_mut_val *findings = yyjson_mut_arr(j->doc);
    for (size_t i = 0; i < info->findings_len; i++) {
        (void)yyjson_mut_arr_append(findings, gb_json_text(j, gb_span_of(info->findings[i])));
    }
    gb_json_add(j, object, "findings", findings);
}

/* "models/digits.onnx" -> "digits" */
static char *file_stem(const char *path, struct gb_error **err) {
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    size_t len = dot && dot != name ? (size_t)(dot - name) : strlen(name);
    return gb_strndup(name, len, err);
}

/* The model is loaded into a jailed worker as well: what the engine says of it is part of the
 * answer. Where no worker can be started, that is the reason of its state. */
static char *inspect_model(struct gb_host *h, const char *path, struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup) char *name = file_stem(path, err);
    if (!name || !gb_registry_add_file(h->registry, name, path, GB_BACKEND_AUTO, err)) {
        return NULL;
    }
    struct gb_model *model = gb_registry_find(h->registry, gb_span_of(name));
    if (!model) {
        gb_fail(err, GB_INTERNAL, "the model \"%s\" was added and is not there", name);
        return NULL;
    }
    struct gb_error *not_started = NULL;
    if (gb_model_info(model)->state != GB_MODEL_STATE_REJECTED) {
        const char *names[] = {name};
        (void)gb_registry_start(h->registry, names, 1, &not_started);
    }
    struct gb_json j;
    gb_json_init(&j);
    yyjson_mut_val *root = yyjson_mut_obj(j.doc);
    gb_json_add_text(&j, root, "kind", "model");
    add_model(&j, root, gb_model_info(model), not_started);
    add_model_findings(&j, root, gb_model_info(model));
    char *text = gb_json_finish(&j, root, 0, err);
    gb_error_free(not_started);
    return text;
}

/* ---- inspect: a program ---- */

const char *gb_lib_entry_text(const struct gb_inspection *i) {
    static const char *const names[] = {[GB_ENTRY_AGENT] = "agent",
                                        [GB_ENTRY_COMMAND] = "wasi:cli/run",
                                        [GB_ENTRY_START] = "_start",
                                        [GB_ENTRY_HTTP] = "wasi:http/incoming-handler"};
    return i->has_entry && (unsigned)i->entry < GB_COUNT(names) ? names[i->entry] : NULL;
}

static yyjson_mut_val *import_json(struct gb_json *j, const struct gb_import_info *import) {
    yyjson_mut_val *object = yyjson_mut_obj(j->doc);
    gb_json_add_text(j, object, "name", import->name);
    bool versioned = import->version && import->version[0] != '\0';
    gb_json_add_text(j, object, "version", versioned ? import->version : NULL);
    gb_json_add_bool(j, object, "satisfied", import->satisfied);
    if (import->grant) {
        gb_json_add_text(j, object, "grant", import->grant);
    }
    if (import->note) {
        gb_json_add_text(j, object, "note", import->note);
    }
    return object;
}

static char *inspection_json(const struct gb_inspection *i, struct gb_error **err) {
    struct gb_json j;
    gb_json_init(&j);
    yyjson_mut_val *root = yyjson_mut_obj(j.doc);
    gb_json_add_text(&j, root, "kind", i->is_component ? "component" : "module");
    gb_json_add_text(&j, root, "entry", gb_lib_entry_text(i));
    yyjson_mut_val *imports = yyjson_mut_arr(j.doc);
    for (size_t k = 0; k < i->imports_len; k++) {
        (void)yyjson_mut_arr_append(imports, import_json(&j, &i->imports[k]));
    }
    gb_json_add(&j, root, "imports", imports);
    yyjson_mut_val *exports = yyjson_mut_arr(j.doc);
    for (size_t k = 0; k < i->exports_len; k++) {
        yyjson_mut_val *object = yyjson_mut_obj(j.doc);
        gb_json_add_text(&j, object, "name", i->exports[k].name);
        gb_json_add_text(&j, object, "type", i->exports[k].type);
        (void)yyjson_mut_arr_append(exports, object);
    }
    gb_json_add(&j, root, "exports", exports);
    return gb_json_finish(&j, root, 0, err);
}

static char *inspect_program(struct gb_host *h, const char *path, struct gb_span bytes,
                             const struct gb_grant_options *grants, struct gb_error **err) {
    struct gb_lib_grants g;
    if (!gb_lib_grants_copy(grants, h->customs, &g, err)) {
        return NULL;
    }
    struct gb_inspection inspection = {0};
    char *text = NULL;
    if (gb_program_inspect(h->sandbox, path, bytes, &g.grants, &inspection, err)) {
        text = inspection_json(&inspection, err);
        gb_inspection_fini(&inspection);
    }
    gb_lib_grants_fini(&g);
    return text;
}

/* ---- inspect: which of the two ---- */

static bool has_suffix(const char *path, const char *suffix) {
    size_t path_len = strlen(path);
    size_t len = strlen(suffix);
    return path_len > len && strcasecmp(path + path_len - len, suffix) == 0;
}

/* By content where it speaks (the magics of wasm and GGUF), else by name: ONNX has no magic. */
static bool looks_like_model(const char *path, struct gb_span head) {
    if (head.len >= 4 && memcmp(head.ptr, "\0asm", 4) == 0) {
        return false;
    }
    if (head.len >= 4 && memcmp(head.ptr, "GGUF", 4) == 0) {
        return true;
    }
    return has_suffix(path, ".onnx") || has_suffix(path, ".gguf");
}

static bool read_head(const char *path, uint8_t head[SNIFF_BYTES], size_t *ret_len,
                      struct gb_error **err) {
    int fd = gb_file_open(path, err);
    if (fd < 0) {
        return false;
    }
    ssize_t n = gb_sys(GB_SYS_READ, -1, read(fd, head, SNIFF_BYTES));
    *ret_len = n > 0 ? (size_t)n : 0; /* a directory and its like fail in full when read again */
    close(fd);
    return true;
}

char *gb_host_inspect_json(struct gb_host *h, const char *path,
                           const struct gb_grant_options *grants, struct gb_error **err) {
    uint8_t head[SNIFF_BYTES];
    size_t head_len;
    if (!read_head(path, head, &head_len, err)) {
        return NULL;
    }
    if (looks_like_model(path, gb_span_make(head, head_len))) {
        return inspect_model(h, path, err);
    }
    uint8_t *bytes;
    size_t len;
    if (!gb_file_read(path, (size_t)gb_limits_default().program_bytes, GB_PROGRAM_TOO_LARGE,
                      &bytes, &len, err)) {
        return NULL;
    }
    char *text = inspect_program(h, path, gb_span_make(bytes, len), grants, err);
    gb_free(bytes);
    return text;
}
