/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives every use and misuse of wasi:nn by a small language, so that a test needs no guest of
 * its own. The argument holds statements, separated by ";" or newlines:
 *   load NAME          a graph by name; it becomes the current one (older ones stay open)
 *   loadbytes HEX|-    a graph from bytes, as onnx on cpu ("-": no bytes)
 *   loadas ENCODING TARGET [HEX|-]...    the same, by the numbers of the enums, in up to 4 parts
 *   ctx                a context on the current graph (done by itself where it is needed)
 *   tensor NAME TYPE DIMS FILL    an input; FILL: zeros ones seq short long hex:.. f:1,2.5,..
 *   show               dimensions, type and bytes of each input as the host sees them
 *   compute  get NAME  print       one inference; one output; every output (not in 0819)
 *   dropctx dropgraph dropinputs dropoutputs
 *   repeat N           everything after it, N times
 *   try STATEMENT      its error is printed, and the run goes on
 *   makeerror CODE TEXT            an error of the guest's own making; it fails with it (0625 only)
 *   fail TEXT  trap  spin          ends as told
 * A failed statement ends the run with err "<code>: <data>"; a misspelt one with err "probe: ...".
 * Inputs stay for the next compute under 0819; under 1028 compute takes them.
 */
#include "nn.h"

#include <stdlib.h>
#include <string.h>

#define INPUTS_MAX 64
#define DIMS_MAX   16
#define PARTS_MAX  4

struct probe {
    bool has_graph;
    bool has_context;
    wasi_nn_graph_own_graph_t graph;
    wasi_nn_inference_own_graph_execution_context_t context;
    size_t inputs_count;
    char *input_names[INPUTS_MAX];
    wasi_nn_tensor_own_tensor_t inputs[INPUTS_MAX];
#ifndef PROBE_0819
    wasi_nn_inference_list_named_tensor_t outputs;
#endif
    struct text answer;
    struct text error;
};

static bool misspelt(struct probe *probe, const char *what, const char *word) {
    text_adds(&probe->error, "probe: ");
    text_adds(&probe->error, what);
    text_adds(&probe->error, ": \"");
    text_adds(&probe->error, word == NULL ? "" : word);
    text_adds(&probe->error, "\"");
    return false;
}

static bool failed(struct probe *probe, wasi_nn_errors_own_error_t error) {
    nn_error_text(error, &probe->error);
    return false;
}

/* ---- bytes of a tensor ---- */

static const char hex_digits[] = "0123456789abcdef";

static bool hex_digit(char c, uint8_t *ret_value) {
    const char *at = c == '\0' ? NULL : strchr(hex_digits, c);
    if (at == NULL) {
        return false;
    }
    *ret_value = (uint8_t)(at - hex_digits);
    return true;
}

static bool hex_bytes(const char *hex, struct text *bytes) {
    for (; hex[0] != '\0'; hex += 2) {
        uint8_t high;
        uint8_t low;
        if (!hex_digit(hex[0], &high) || !hex_digit(hex[1], &low)) {
            return false;
        }
        char byte = (char)(uint8_t)(high << 4 | low);
        text_add(bytes, &byte, 1);
    }
    return true;
}

/* f16 of a value that it can hold exactly or nearly (no subnormals): enough for a test. */
static uint16_t half_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    uint32_t sign = bits >> 16 & 0x8000u;
    int32_t exponent = (int32_t)(bits >> 23 & 0xff) - 127 + 15;
    if (exponent <= 0) {
        return (uint16_t)sign;
    }
    if (exponent >= 31) {
        return (uint16_t)(sign | 0x7c00u);
    }
    return (uint16_t)(sign | (uint32_t)exponent << 10 | (bits >> 13 & 0x3ffu));
}

static void add_element(struct text *bytes, wasi_nn_tensor_tensor_type_t type, double value) {
    union {
        uint8_t u8;
        uint16_t u16;
        int32_t i32;
        int64_t i64;
        float f32;
        double f64;
        uint32_t bits;
    } element = {0};
    switch (type) {
    case WASI_NN_TENSOR_TENSOR_TYPE_FP16:
        element.u16 = half_from_float((float)value);
        break;
    case WASI_NN_TENSOR_TENSOR_TYPE_FP32:
        element.f32 = (float)value;
        break;
    case WASI_NN_TENSOR_TENSOR_TYPE_FP64:
        element.f64 = value;
        break;
    case WASI_NN_TENSOR_TENSOR_TYPE_BF16:
        element.f32 = (float)value;
        element.bits >>= 16;
        break;
    case WASI_NN_TENSOR_TENSOR_TYPE_U8:
        element.u8 = (uint8_t)(int64_t)value;
        break;
    case WASI_NN_TENSOR_TENSOR_TYPE_I32:
        element.i32 = (int32_t)(int64_t)value;
        break;
    default:
        element.i64 = (int64_t)value;
        break;
    }
    text_add(bytes, (const char *)&element, nn_type_bytes(type));
}

static bool fill_floats(struct probe *probe, struct text *bytes, wasi_nn_tensor_tensor_type_t type,
                        char *list) {
    for (char *word = next_word(&list, ","); word != NULL; word = next_word(&list, ",")) {
        double value;
        if (!parse_decimal(word, &value)) {
            return misspelt(probe, "not a number", word);
        }
        add_element(bytes, type, value);
    }
    return true;
}

static bool fill(struct probe *probe, struct text *bytes, wasi_nn_tensor_tensor_type_t type,
                 size_t len, char *how) {
    size_t count = len / nn_type_bytes(type);
    if (strncmp(how, "hex:", 4) == 0) {
        return hex_bytes(how + 4, bytes) || misspelt(probe, "not hex", how + 4);
    }
    if (strncmp(how, "f:", 2) == 0) {
        return fill_floats(probe, bytes, type, how + 2);
    }
    bool zeros = strcmp(how, "zeros") == 0 || strcmp(how, "short") == 0 || strcmp(how, "long") == 0;
    if (!zeros && strcmp(how, "ones") != 0 && strcmp(how, "seq") != 0) {
        return misspelt(probe, "unknown fill", how);
    }
    for (size_t i = 0; i < count; i++) {
        add_element(bytes, type, zeros ? 0 : how[0] == 'o' ? 1 : (double)i);
    }
    if (strcmp(how, "short") == 0 && bytes->len > 0) {
        bytes->len--;
    }
    if (strcmp(how, "long") == 0) {
        text_add(bytes, "", 1);
    }
    return true;
}

/* ---- statements ---- */

static bool do_load(struct probe *probe, char *rest) {
    char *name = next_word(&rest, " ");
    wasi_nn_errors_own_error_t error;
    agent_string_t model;
    agent_string_set(&model, name == NULL ? "" : name);
    wasi_nn_graph_own_graph_t graph;
    if (!wasi_nn_graph_load_by_name(&model, &graph, &error)) {
        return failed(probe, error);
    }
    probe->graph = graph;
    probe->has_graph = true;
    probe->has_context = false;
    return true;
}

static bool load_parts(struct probe *probe, uint8_t encoding, uint8_t target, char *rest) {
    struct text bytes[PARTS_MAX] = {0};
    wasi_nn_graph_graph_builder_t parts[PARTS_MAX];
    size_t count = 0;
    for (char *hex; count < PARTS_MAX && (hex = next_word(&rest, " ")) != NULL; count++) {
        if (strcmp(hex, "-") != 0 && !hex_bytes(hex, &bytes[count])) {
            return misspelt(probe, "not hex", hex);
        }
        parts[count] =
            (wasi_nn_graph_graph_builder_t){(uint8_t *)bytes[count].chars, bytes[count].len};
    }
    wasi_nn_graph_list_graph_builder_t builders = {parts, count};
    wasi_nn_errors_own_error_t error;
    wasi_nn_graph_own_graph_t graph;
    bool loaded = wasi_nn_graph_load(&builders, encoding, target, &graph, &error);
    for (size_t i = 0; i < count; i++) {
        free(bytes[i].chars);
    }
    if (!loaded) {
        return failed(probe, error);
    }
    probe->graph = graph;
    probe->has_graph = true;
    probe->has_context = false;
    return true;
}

static bool do_loadbytes(struct probe *probe, char *rest) {
    return load_parts(probe, WASI_NN_GRAPH_GRAPH_ENCODING_ONNX, WASI_NN_GRAPH_EXECUTION_TARGET_CPU,
                      rest);
}

static bool do_loadas(struct probe *probe, char *rest) {
    char *encoding = next_word(&rest, " ");
    char *target = encoding == NULL ? NULL : next_word(&rest, " ");
    if (target == NULL) {
        return misspelt(probe, "no encoding and target", encoding);
    }
    return load_parts(probe, (uint8_t)(encoding[0] - '0'), (uint8_t)(target[0] - '0'), rest);
}

static bool do_ctx(struct probe *probe, char *rest) {
    (void)rest;
    if (!probe->has_graph) {
        return misspelt(probe, "no graph to make a context of", NULL);
    }
    wasi_nn_errors_own_error_t error;
    if (!wasi_nn_graph_method_graph_init_execution_context(wasi_nn_graph_borrow_graph(probe->graph),
                                                           &probe->context, &error)) {
        return failed(probe, error);
    }
    probe->has_context = true;
    return true;
}

static bool need_context(struct probe *probe) {
    return probe->has_context || do_ctx(probe, NULL);
}

static bool do_tensor(struct probe *probe, char *rest) {
    char *name = next_word(&rest, " ");
    char *type_word = next_word(&rest, " ");
    char *dims_word = next_word(&rest, " ");
    char *how = next_word(&rest, " ");
    wasi_nn_tensor_tensor_type_t type;
    uint32_t dims[DIMS_MAX];
    size_t dims_count;
    if (how == NULL) {
        return misspelt(probe, "expected NAME TYPE DIMS FILL", name);
    }
    if (!nn_parse_type(type_word, &type)) {
        return misspelt(probe, "unknown type", type_word);
    }
    if (!nn_parse_dims(dims_word, dims, DIMS_MAX, &dims_count)) {
        return misspelt(probe, "not dimensions", dims_word);
    }
    /* Dimensions that are no size are sent all the same, when the bytes are given. */
    size_t len = 0;
    bool given = strchr(how, ':') != NULL;
    if (!nn_dims_bytes(dims, dims_count, type, &len) && !given) {
        return misspelt(probe, "too large to fill", dims_word);
    }
    struct text bytes = {0};
    if (!fill(probe, &bytes, type, len, how)) {
        return false;
    }
    wasi_nn_tensor_own_tensor_t tensor = nn_tensor(dims, dims_count, type, bytes.chars, bytes.len);
    free(bytes.chars);
#ifdef PROBE_0819
    if (!need_context(probe)) {
        return false;
    }
    wasi_nn_errors_own_error_t error;
    agent_string_t input;
    agent_string_set(&input, name);
    if (!wasi_nn_inference_method_graph_execution_context_set_input(
            wasi_nn_inference_borrow_graph_execution_context(probe->context), &input, tensor,
            &error)) {
        return failed(probe, error);
    }
#else
    if (probe->inputs_count == INPUTS_MAX) {
        return misspelt(probe, "too many inputs", name);
    }
    struct text copy = {0};
    text_add(&copy, name, strlen(name));
    probe->input_names[probe->inputs_count] = copy.chars;
    probe->inputs[probe->inputs_count] = tensor;
    probe->inputs_count++;
#endif
    return true;
}

static void print_tensor(struct probe *probe, const char *name, size_t name_len,
                         wasi_nn_tensor_own_tensor_t tensor) {
    struct text *answer = &probe->answer;
    wasi_nn_tensor_borrow_tensor_t borrowed = wasi_nn_tensor_borrow_tensor(tensor);
    wasi_nn_tensor_tensor_dimensions_t dims = {0};
    wasi_nn_tensor_method_tensor_dimensions(borrowed, &dims);
    wasi_nn_tensor_tensor_data_t data = {0};
    wasi_nn_tensor_method_tensor_data(borrowed, &data);
    text_add(answer, name, name_len);
    text_adds(answer, " ");
    text_adds(answer, nn_type_name(wasi_nn_tensor_method_tensor_ty(borrowed)));
    text_adds(answer, dims.len == 0 ? " scalar" : " ");
    for (size_t i = 0; i < dims.len; i++) {
        text_adds(answer, i == 0 ? "" : ",");
        text_addu(answer, dims.ptr[i]);
    }
    text_adds(answer, " ");
    for (size_t i = 0; i < data.len; i++) {
        text_add(answer, &hex_digits[data.ptr[i] >> 4], 1);
        text_add(answer, &hex_digits[data.ptr[i] & 15], 1);
    }
    text_adds(answer, "\n");
    wasi_nn_tensor_tensor_dimensions_free(&dims);
    wasi_nn_tensor_tensor_data_free(&data);
}

static bool do_show(struct probe *probe, char *rest) {
    (void)rest;
    for (size_t i = 0; i < probe->inputs_count; i++) {
        print_tensor(probe, probe->input_names[i], strlen(probe->input_names[i]), probe->inputs[i]);
    }
    return true;
}

static bool do_dropinputs(struct probe *probe, char *rest) {
    (void)rest;
    for (size_t i = 0; i < probe->inputs_count; i++) {
        wasi_nn_tensor_tensor_drop_own(probe->inputs[i]);
        free(probe->input_names[i]);
    }
    probe->inputs_count = 0;
    return true;
}

static bool do_dropctx(struct probe *probe, char *rest) {
    (void)rest;
    if (!probe->has_context) {
        return misspelt(probe, "no context to drop", NULL);
    }
    wasi_nn_inference_graph_execution_context_drop_own(probe->context);
    probe->has_context = false;
    return true;
}

static bool do_dropgraph(struct probe *probe, char *rest) {
    (void)rest;
    if (!probe->has_graph) {
        return misspelt(probe, "no graph to drop", NULL);
    }
    wasi_nn_graph_graph_drop_own(probe->graph);
    probe->has_graph = false;
    return true;
}

#ifdef PROBE_0819

static bool do_dropoutputs(struct probe *probe, char *rest) {
    (void)probe;
    (void)rest;
    return true;
}

static bool do_compute(struct probe *probe, char *rest) {
    (void)rest;
    wasi_nn_errors_own_error_t error;
    if (!need_context(probe)) {
        return false;
    }
    return wasi_nn_inference_method_graph_execution_context_compute(
               wasi_nn_inference_borrow_graph_execution_context(probe->context), &error) ||
           failed(probe, error);
}

static bool do_get(struct probe *probe, char *rest) {
    char *word = next_word(&rest, " ");
    const char *name = word == NULL ? "" : word;
    wasi_nn_errors_own_error_t error;
    wasi_nn_tensor_own_tensor_t tensor;
    agent_string_t output;
    agent_string_set(&output, name);
    if (!need_context(probe)) {
        return false;
    }
    if (!wasi_nn_inference_method_graph_execution_context_get_output(
            wasi_nn_inference_borrow_graph_execution_context(probe->context), &output, &tensor,
            &error)) {
        return failed(probe, error);
    }
    print_tensor(probe, name, strlen(name), tensor);
    wasi_nn_tensor_tensor_drop_own(tensor);
    return true;
}

static bool do_print(struct probe *probe, char *rest) {
    return misspelt(probe, "this revision of wasi:nn has no list of outputs: use get", rest);
}

#else

static bool do_dropoutputs(struct probe *probe, char *rest) {
    (void)rest;
    if (probe->outputs.ptr != NULL) {
        wasi_nn_inference_list_named_tensor_free(&probe->outputs);
    }
    probe->outputs.ptr = NULL;
    probe->outputs.len = 0;
    return true;
}

static bool do_compute(struct probe *probe, char *rest) {
    if (!need_context(probe)) {
        return false;
    }
    do_dropoutputs(probe, rest);
    wasi_nn_inference_named_tensor_t named[INPUTS_MAX];
    for (size_t i = 0; i < probe->inputs_count; i++) {
        agent_string_set(&named[i].f0, probe->input_names[i]);
        named[i].f1 = probe->inputs[i];
    }
    wasi_nn_inference_list_named_tensor_t inputs = {named, probe->inputs_count};
    probe->inputs_count = 0; /* from here on they are the host's */
    wasi_nn_errors_own_error_t error;
    return wasi_nn_inference_method_graph_execution_context_compute(
               wasi_nn_inference_borrow_graph_execution_context(probe->context), &inputs,
               &probe->outputs, &error) ||
           failed(probe, error);
}

static bool do_get(struct probe *probe, char *rest) {
    char *name = next_word(&rest, " ");
    for (size_t i = 0; name != NULL && i < probe->outputs.len; i++) {
        const agent_string_t *have = &probe->outputs.ptr[i].f0;
        if (have->len == strlen(name) && memcmp(have->ptr, name, have->len) == 0) {
            print_tensor(probe, name, have->len, probe->outputs.ptr[i].f1);
            return true;
        }
    }
    return misspelt(probe, "no such output", name);
}

static bool do_print(struct probe *probe, char *rest) {
    (void)rest;
    for (size_t i = 0; i < probe->outputs.len; i++) {
        const agent_string_t *name = &probe->outputs.ptr[i].f0;
        print_tensor(probe, (const char *)name->ptr, name->len, probe->outputs.ptr[i].f1);
    }
    return true;
}

#endif

#ifdef PROBE_0625
static bool do_makeerror(struct probe *probe, char *rest) {
    uint32_t code;
    char *word = next_word(&rest, " ");
    if (word == NULL || !parse_u32(word, &code)) {
        return misspelt(probe, "not a number of an error code", word);
    }
    agent_string_t data;
    agent_string_set(&data, rest == NULL ? "" : rest);
    wasi_nn_errors_error_code_t of = (wasi_nn_errors_error_code_t)code;
    return failed(probe, wasi_nn_errors_constructor_error(of, &data));
}
#endif

static bool do_fail(struct probe *probe, char *rest) {
    text_adds(&probe->error, rest);
    return false;
}

static bool do_trap(struct probe *probe, char *rest) {
    (void)probe;
    (void)rest;
    __builtin_trap();
}

static bool do_spin(struct probe *probe, char *rest) {
    (void)probe;
    (void)rest;
    for (volatile uint32_t turns = 0;;) {
        turns = turns + 1;
    }
}

static const struct {
    const char *verb;
    bool (*run)(struct probe *probe, char *rest);
} verbs[] = {
    {"load", do_load},
    {"loadbytes", do_loadbytes},
    {"loadas", do_loadas},
    {"ctx", do_ctx},
    {"tensor", do_tensor},
    {"show", do_show},
    {"compute", do_compute},
    {"get", do_get},
    {"print", do_print},
    {"dropctx", do_dropctx},
    {"dropgraph", do_dropgraph},
    {"dropinputs", do_dropinputs},
    {"dropoutputs", do_dropoutputs},
#ifdef PROBE_0625
    {"makeerror", do_makeerror},
#endif
    {"fail", do_fail},
    {"trap", do_trap},
    {"spin", do_spin},
};

static bool run_statement(struct probe *probe, char *statement) {
    char *verb = next_word(&statement, " ");
    if (verb == NULL) {
        return true;
    }
    bool try = strcmp(verb, "try") == 0;
    if (try) {
        verb = next_word(&statement, " ");
    }
    for (size_t i = 0; verb != NULL && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verb, verbs[i].verb) != 0) {
            continue;
        }
        bool ok = verbs[i].run(probe, statement);
        if (ok || !try) {
            return ok;
        }
        text_adds(&probe->answer, "error ");
        text_add(&probe->answer, probe->error.chars, probe->error.len);
        text_adds(&probe->answer, "\n");
        probe->error.len = 0;
        return true;
    }
    return misspelt(probe, "unknown statement", verb);
}

static bool run_statements(struct probe *probe, char *script) {
    uint32_t turns = 1;
    char *from = NULL;
    struct text loop = {0};
    for (char *statement = next_word(&script, ";\n"); statement != NULL;
         statement = next_word(&script, ";\n")) {
        char *start = statement + strspn(statement, " ");
        if (from == NULL && strncmp(start, "repeat ", 7) == 0) {
            if (!parse_u32(start + 7, &turns)) {
                return misspelt(probe, "expected repeat N", start);
            }
            from = script;
            text_add(&loop, from, strlen(from));
            break;
        }
        if (!run_statement(probe, statement)) {
            return false;
        }
    }
    for (uint32_t turn = 0; from != NULL && turn < turns; turn++) {
        struct text copy = {0};
        text_add(&copy, loop.chars, loop.len);
        char *rest = copy.chars;
        for (char *statement = next_word(&rest, ";\n"); statement != NULL;
             statement = next_word(&rest, ";\n")) {
            if (!run_statement(probe, statement)) {
                return false;
            }
        }
        free(copy.chars);
    }
    return true;
}

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    static struct probe probe;
    if (!run_statements(&probe, arg_text(arg))) {
        return answer_err(&probe.error, err);
    }
    return answer_ok(&probe.answer, ret);
}
