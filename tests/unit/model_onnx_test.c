/* SPDX-License-Identifier: Apache-2.0 */
/* The ONNX validator: what it must accept, what it must refuse and how, and that no damage to a
 * real file makes it crash. Real files, seeds of the fuzz target, and bytes made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/num.h"
#include "model/model.h"

#define SEEDS  GB_TEST_SOURCE_DIR "/tests/fuzz/seeds/onnx/"
#define MODELS GB_TEST_SOURCE_DIR "/models/"

static struct gb_onnx_summary summary; /* large for a stack */

/* ---- protobuf by hand ---- */

struct bytes {
    size_t len;
    uint8_t at[65536];
};

static void put(struct bytes *b, const void *from, size_t len) {
    assert_true(len <= sizeof b->at - b->len);
    memcpy(b->at + b->len, from, len);
    b->len += len;
}

static void put_varint(struct bytes *b, uint64_t n) {
    do {
        uint8_t byte = (uint8_t)(n & 0x7f);
        n >>= 7;
        byte = (uint8_t)(byte | (n ? 0x80 : 0));
        put(b, &byte, 1);
    } while (n);
}

static void number(struct bytes *b, uint32_t field, uint64_t n) {
    put_varint(b, (uint64_t)field << 3);
    put_varint(b, n);
}

static void run(struct bytes *b, uint32_t field, const void *from, size_t len) {
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, len);
    put(b, from, len);
}

static void text(struct bytes *b, uint32_t field, const char *t) {
    run(b, field, t, strlen(t));
}

static void sub(struct bytes *b, uint32_t field, const struct bytes *message) {
    run(b, field, message->at, message->len);
}

/* A value of type f32 with one dimension; dim_param NULL: no dimensions. */
static void port(struct bytes *graph, uint32_t field, const char *name, const char *dim_param) {
    static struct bytes dim, shape, tensor, type, value;
    dim.len = shape.len = tensor.len = type.len = value.len = 0;
    if (dim_param) {
        text(&dim, 2, dim_param);
        sub(&shape, 1, &dim);
    }
    number(&tensor, 1, 1);
    sub(&tensor, 2, &shape);
    sub(&type, 1, &tensor);
    text(&value, 1, name);
    sub(&value, 2, &type);
    sub(graph, field, &value);
}

static void node(struct bytes *graph, const char *op, const char *in, const char *out) {
    struct bytes *n = calloc(1, sizeof *n);
    assert_non_null(n);
    text(n, 1, in);
    text(n, 2, out);
    text(n, 4, op);
    sub(graph, 1, n);
    free(n);
}

/* The whole model around a graph. */
static void model(struct bytes *b, const struct bytes *graph) {
    static struct bytes opset;
    opset.len = b->len = 0;
    number(b, 1, 8);
    sub(b, 7, graph);
    number(&opset, 2, 17);
    sub(b, 8, &opset);
}

static void simple_graph(struct bytes *graph) {
    graph->len = 0;
    node(graph, "Relu", "x", "y");
    port(graph, 11, "x", "n");
    port(graph, 12, "y", "n");
}

static void accepts(const struct bytes *b) {
    struct gb_error *err = NULL;
    bool ok = gb_onnx_check(gb_span_make(b->at, b->len), &summary, &err);
    if (!ok) {
        fail_msg("refused: %s: %s", gb_code_text(err->code), err->message);
    }
    assert_null(err);
}

static void refuses(const struct bytes *b, enum gb_code code, const char *part) {
    struct gb_error *err = NULL;
    if (gb_onnx_check(gb_span_make(b->at, b->len), &summary, &err)) {
        fail_msg("accepted what must fail with: %s", part);
    }
    assert_non_null(err);
    if (err->code != code || !strstr(err->message, part) || !err->hint) {
        fail_msg("expected %s and \"%s\", got %s: %s", gb_code_text(code), part,
                 gb_code_text(err->code), err->message);
    }
    gb_error_free(err);
}

static struct bytes graph, whole, part;

/* ---- real files ---- */

static void read_model(const char *path, uint8_t **ret_bytes, size_t *ret_len) {
    struct gb_error *err = NULL;
    if (!gb_file_read(path, 1 << 20, GB_MODEL_TOO_LARGE, ret_bytes, ret_len, &err)) {
        fail_msg("%s", err->message);
    }
}

static void expect_port(const struct gb_port *p, const char *name, const char *shape) {
    char t[128];
    gb_port_text(p, t, sizeof t);
    assert_string_equal(p->name, name);
    assert_string_equal(t, shape);
}

static void digits_is_accepted_with_its_ports(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t len;
    read_model(MODELS "digits.onnx", &bytes, &len);
    assert_true(gb_onnx_check(gb_span_make(bytes, len), &summary, NULL));
    assert_int_equal(summary.inputs_len, 1);
    assert_int_equal(summary.outputs_len, 1);
    expect_port(&summary.inputs[0], "input", "f32[batch,64]");
    expect_port(&summary.outputs[0], "probabilities", "f32[batch,10]");
    assert_int_equal(summary.opset, 17);
    assert_int_equal(summary.ir_version, 8);
    assert_int_equal(summary.nodes, 5);
    assert_int_equal(summary.findings_len, 0);
    assert_true(summary.initializer_bytes > 18000 && summary.initializer_bytes < len);
    gb_free(bytes);
}

static void every_test_model_is_accepted(void **state) {
    (void)state;
    static const char *const names[] = {"big64",   "dynout", "flags", "image", "matmul",
                                        "relu3",   "scalar", "slow200", "sum2", "types"};
    for (size_t i = 0; i < GB_COUNT(names); i++) {
        char path[256];
        struct gb_error *err = NULL;
        uint8_t *bytes;
        size_t len;
        snprintf(path, sizeof path, MODELS "test/%s.onnx", names[i]);
        read_model(path, &bytes, &len);
        if (!gb_onnx_check(gb_span_make(bytes, len), &summary, &err)) {
            fail_msg("%s: %s", names[i], err->message);
        }
        gb_free(bytes);
        if (strcmp(names[i], "flags") == 0) {
            assert_int_equal(summary.inputs[0].type, GB_TYPE_OTHER);
            assert_int_equal(summary.findings_len, 2);
        }
        if (strcmp(names[i], "types") == 0) {
            assert_int_equal(summary.inputs_len, 7);
            expect_port(&summary.inputs[0], "in_f16", "f16[rows,3]");
            expect_port(&summary.inputs[3], "in_bf16", "bf16[4]");
        }
        if (strcmp(names[i], "scalar") == 0) {
            expect_port(&summary.inputs[0], "x", "f32[]");
        }
    }
}

static void each_hostile_seed_is_refused_for_its_own_reason(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum gb_code code;
        const char *part;
    } seeds[] = {
        {"bomb_tiny", GB_MODEL_REJECTED, "makes the constant \"y\" of 536870912 bytes"},
        {"bomb_constant_ints", GB_MODEL_REJECTED, "of 536870912 bytes"},
        {"bomb_unpacked", GB_MODEL_REJECTED, "of 536870912 bytes"},
        {"external_plain", GB_MODEL_REJECTED, "takes its data from outside: \"plain.bin\""},
        {"external_in_branch", GB_MODEL_REJECTED, "takes its data from outside"},
        {"sparse_constant", GB_MODEL_REJECTED, "sparse tensor"},
        {"function", GB_MODEL_REJECTED, "defines functions of its own"},
        {"ep_context", GB_MODEL_REJECTED, "compiled for one engine"},
        {"custom_domain", GB_MODEL_REJECTED, "\"Steal\" is of the domain \"com.example\""},
        {"fold_expand", GB_MODEL_REJECTED, "\"Expand\" makes the constant"},
        {"fold_range", GB_MODEL_REJECTED, "\"Range\" makes the constant"},
        {"fold_shape_product", GB_MODEL_REJECTED, "\"ConstantOfShape\" makes the constant"},
        {"constant_raw_too_short", GB_MODEL_INVALID, "4 bytes of raw data where f32 [8] needs 32"},
        {"floats_too_few", GB_MODEL_INVALID, "\"w\" has 7 values where f32 [8] needs 8"},
        {"raw_and_floats", GB_MODEL_INVALID, "has its data twice"},
        {"input_dims_negative", GB_MODEL_INVALID, "a dimension is negative: -3"},
        {"opset_999", GB_MODEL_REJECTED, "set 999 of \"ai.onnx\" is newer than the engine's 26"},
        {"graph_twice", GB_MODEL_INVALID, "has the field graph twice"},
        {"name_control_bytes", GB_MODEL_REJECTED, "has control characters"},
        {"dims_overflow_wraps", GB_MODEL_INVALID, "no memory can hold"},
    };
    for (size_t i = 0; i < GB_COUNT(seeds); i++) {
        char path[256];
        uint8_t *bytes;
        size_t len;
        snprintf(path, sizeof path, SEEDS "%s.onnx", seeds[i].name);
        read_model(path, &bytes, &len);
        whole.len = 0;
        put(&whole, bytes, len);
        gb_free(bytes);
        refuses(&whole, seeds[i].code, seeds[i].part);
    }
}

static void check_quietly(const uint8_t *bytes, size_t len, unsigned *accepted) {
    struct gb_error *err = NULL;
    bool ok = gb_onnx_check(gb_span_make(bytes, len), &summary, &err);
    assert_int_equal(ok, err == NULL);
    *accepted += ok;
    gb_error_free(err);
}

/* Each length gets a block of its own, so that a read past the end is caught by the sanitizer. */
static void every_truncation_is_refused(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t len;
    unsigned accepted = 0;
    read_model(MODELS "digits.onnx", &bytes, &len);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy + 1, bytes, cut);
        check_quietly(copy + 1, cut, &accepted);
        free(copy);
    }
    assert_int_equal(accepted, 0);
    gb_free(bytes);
}

static void every_flipped_byte_is_survived(void **state) {
    (void)state;
    static const uint8_t masks[] = {0x01, 0xff};
    uint8_t *bytes;
    size_t len;
    unsigned accepted = 0;
    read_model(MODELS "digits.onnx", &bytes, &len);
    for (size_t i = 0; i < len; i++) {
        for (size_t m = 0; m < GB_COUNT(masks); m++) {
            bytes[i] ^= masks[m];
            check_quietly(bytes, len, &accepted);
            bytes[i] ^= masks[m];
        }
    }
    assert_in_range(accepted, 18000 * GB_COUNT(masks), len * GB_COUNT(masks) - 100);
    gb_free(bytes);
}

static void small_models_survive_every_bit_flip(void **state) {
    (void)state;
    static const char *const names[] = {MODELS "test/types.onnx", MODELS "test/sum2.onnx",
                                        SEEDS "external_in_branch.onnx", SEEDS "fold_range.onnx"};
    for (size_t n = 0; n < GB_COUNT(names); n++) {
        uint8_t *bytes;
        size_t len;
        unsigned accepted = 0;
        read_model(names[n], &bytes, &len);
        for (size_t bit = 0; bit < len * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            check_quietly(bytes, len, &accepted);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        gb_free(bytes);
    }
}

/* ---- limits ---- */

static void empty_file_says_so(void **state) {
    (void)state;
    whole.len = 0;
    refuses(&whole, GB_MODEL_INVALID, "the file is empty");
}

static void ports_up_to_64_and_names_up_to_255(void **state) {
    (void)state;
    char name[300];
    for (unsigned count = 64; count <= 65; count++) {
        simple_graph(&graph);
        for (unsigned i = 1; i < count; i++) {
            snprintf(name, sizeof name, "x%u", i);
            port(&graph, 11, name, "n");
        }
        model(&whole, &graph);
        if (count == 64) {
            accepts(&whole);
            assert_int_equal(summary.inputs_len, 64);
        } else {
            refuses(&whole, GB_MODEL_REJECTED, "more than 64 inputs");
        }
    }
    for (size_t len = 255; len <= 256; len++) {
        memset(name, 'a', len);
        name[len] = '\0';
        simple_graph(&graph);
        port(&graph, 11, name, "n");
        model(&whole, &graph);
        if (len == 255) {
            accepts(&whole);
            assert_string_equal(summary.inputs[1].name, name);
        } else {
            refuses(&whole, GB_MODEL_REJECTED, "has a name of 256 bytes; at most 255");
        }
    }
}

static void initializers_listed_as_inputs_are_no_inputs(void **state) {
    (void)state;
    simple_graph(&graph);
    port(&graph, 11, "w", "n");
    part.len = 0;
    number(&part, 1, 1); /* dims [1] */
    number(&part, 2, 1); /* f32 */
    text(&part, 8, "w");
    run(&part, 9, "\0\0\0\0", 4);
    sub(&graph, 5, &part);
    model(&whole, &graph);
    accepts(&whole);
    assert_int_equal(summary.inputs_len, 1);
    assert_string_equal(summary.inputs[0].name, "x");
    assert_int_equal(summary.initializer_bytes, 4);
}

static void a_free_dimension_may_be_minus_one_or_unnamed(void **state) {
    (void)state;
    static struct bytes dim, shape, tensor, type, value;
    dim.len = shape.len = tensor.len = type.len = value.len = 0;
    simple_graph(&graph);
    number(&dim, 1, (uint64_t)-1);
    sub(&shape, 1, &dim);
    dim.len = 0;
    sub(&shape, 1, &dim);
    number(&tensor, 1, 7);
    sub(&tensor, 2, &shape);
    sub(&type, 1, &tensor);
    text(&value, 1, "z");
    sub(&value, 2, &type);
    sub(&graph, 11, &value);
    model(&whole, &graph);
    accepts(&whole);
    expect_port(&summary.inputs[1], "z", "i64[?,?]");
}

static void a_long_dimension_name_is_left_out_and_told(void **state) {
    (void)state;
    simple_graph(&graph);
    port(&graph, 11, "z", "a_name_of_a_dimension_that_has_more_than_47_bytes");
    model(&whole, &graph);
    accepts(&whole);
    expect_port(&summary.inputs[1], "z", "f32[?]");
    assert_int_equal(summary.findings_len, 1);
    assert_non_null(strstr(summary.findings[0], "dimension 0 of \"z\""));
}

/* Graphs in graphs: `depth` branches around one node. */
static void nest(struct bytes *b, unsigned depth) {
    static struct bytes inner, attribute, one;
    inner.len = 0;
    node(&inner, "Identity", "x", "b");
    for (unsigned i = 0; i < depth; i++) {
        attribute.len = one.len = 0;
        text(&attribute, 1, "then_branch");
        sub(&attribute, 6, &inner);
        text(&one, 2, "b");
        text(&one, 4, "If");
        sub(&one, 5, &attribute);
        inner.len = 0;
        sub(&inner, 1, &one);
    }
    b->len = 0;
    put(b, inner.at, inner.len);
    port(b, 11, "x", "n");
    port(b, 12, "b", "n");
}

static void graphs_nest_16_deep_and_no_deeper(void **state) {
    (void)state;
    nest(&graph, 16);
    model(&whole, &graph);
    accepts(&whole);
    nest(&graph, 17);
    model(&whole, &graph);
    refuses(&whole, GB_MODEL_REJECTED, "graphs nested more than 16 deep");
}

static void unknown_fields_and_padded_numbers_are_read_as_protobuf_does(void **state) {
    (void)state;
    simple_graph(&graph);
    model(&whole, &graph);
    put(&whole, "\xf8\x06\x85\x80\x00", 5); /* field 111, the number 5 in three bytes */
    text(&whole, 6, "documentation, not \xff UTF-8");
    accepts(&whole);
    put(&whole, "\xfb\x06", 2); /* field 111, a group begins */
    refuses(&whole, GB_MODEL_INVALID, "is a group");
}

static void a_field_given_twice_is_refused(void **state) {
    (void)state;
    simple_graph(&graph);
    model(&whole, &graph);
    number(&whole, 1, 8);
    refuses(&whole, GB_MODEL_INVALID, "a model has the field ir_version twice");
}

static void add_weight(uint64_t type, uint64_t dim, uint32_t field, const void *data, size_t len) {
    simple_graph(&graph);
    part.len = 0;
    number(&part, 1, dim);
    number(&part, 2, type);
    text(&part, 8, "w");
    if (len > 0) {
        run(&part, field, data, len);
    }
    sub(&graph, 5, &part);
    model(&whole, &graph);
}

static void tensor_data_must_fit_type_and_shape(void **state) {
    (void)state;
    add_weight(1, 0, 9, "", 0); /* nothing needs no data */
    accepts(&whole);
    /* Packed, with -1. */
    add_weight(7, 3, 7, "\x01\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12);
    accepts(&whole);
    assert_int_equal(summary.initializer_bytes, 24);
    add_weight(22, 3, 5, "\x01\x02", 2); /* i4: two in one number */
    accepts(&whole);
    add_weight(22, 3, 9, "\x01\x02", 2);
    accepts(&whole);
    add_weight(22, 5, 9, "\x01\x02", 2);
    refuses(&whole, GB_MODEL_INVALID, "2 bytes of raw data where i4 [5] needs 3");
    add_weight(1, 1, 7, "\x01", 1);
    refuses(&whole, GB_MODEL_INVALID, "is of type f32 and has int64_data");
    add_weight(8, 1, 6, "text", 4);
    accepts(&whole);
    add_weight(8, 1, 9, "text", 4);
    refuses(&whole, GB_MODEL_INVALID, "raw data");
    add_weight(7, 1, 7, "\x81", 1);
    refuses(&whole, GB_MODEL_INVALID, "in packed numbers");
    add_weight(1, 1, 4, "\0\0\0\0\0", 5);
    refuses(&whole, GB_MODEL_INVALID, "float_data of a tensor is encoded as something else");
}

static void what_decoding_takes_is_bounded(void **state) {
    (void)state;
    size_t count = 9 * 1024 * 1024; /* empty documentation entries: two bytes here, many there */
    uint8_t *bytes = malloc(count * 2);
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++) {
        bytes[2 * i] = 14 << 3 | 2;
        bytes[2 * i + 1] = 0;
    }
    struct gb_error *err = NULL;
    assert_false(gb_onnx_check(gb_span_make(bytes, count * 2), &summary, &err));
    assert_int_equal(err->code, GB_MODEL_REJECTED);
    assert_non_null(strstr(err->message, "once it is decoded"));
    gb_error_free(err);
    free(bytes);
}

static void every_failed_allocation_is_an_error(void **state) {
    (void)state;
    simple_graph(&graph);
    model(&whole, &graph);
    bool ok = false;
    unsigned nth = 1;
    for (; !ok && nth < 100; nth++) {
        struct gb_error *err = NULL;
        gb_alloc_fail_at(nth);
        ok = gb_onnx_check(gb_span_make(whole.at, whole.len), &summary, &err);
        gb_alloc_fail_at(0);
        assert_int_equal(ok, err == NULL);
        gb_error_free(err);
    }
    assert_in_range(nth, 3, 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_is_accepted_with_its_ports),
        cmocka_unit_test(every_test_model_is_accepted),
        cmocka_unit_test(each_hostile_seed_is_refused_for_its_own_reason),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_byte_is_survived),
        cmocka_unit_test(small_models_survive_every_bit_flip),
        cmocka_unit_test(empty_file_says_so),
        cmocka_unit_test(ports_up_to_64_and_names_up_to_255),
        cmocka_unit_test(initializers_listed_as_inputs_are_no_inputs),
        cmocka_unit_test(a_free_dimension_may_be_minus_one_or_unnamed),
        cmocka_unit_test(a_long_dimension_name_is_left_out_and_told),
        cmocka_unit_test(graphs_nest_16_deep_and_no_deeper),
        cmocka_unit_test(unknown_fields_and_padded_numbers_are_read_as_protobuf_does),
        cmocka_unit_test(a_field_given_twice_is_refused),
        cmocka_unit_test(tensor_data_must_fit_type_and_shape),
        cmocka_unit_test(what_decoding_takes_is_bounded),
        cmocka_unit_test(every_failed_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
