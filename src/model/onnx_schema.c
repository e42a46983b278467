/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of an ONNX file that we look into, and every field of theirs. A field that is not in
 * the table is skipped, as the engine skips it; one with another wire type is an error.
 */
#include "model/onnx_internal.h"

#define ONE(n, k, t)       {.number = (n), .kind = GB_ONNX_##k, .name = (t)}
#define MANY(n, k, t)      {.number = (n), .kind = GB_ONNX_##k, .name = (t), .repeated = true}
#define MESSAGE(n, m, t)   {.number = (n), .kind = GB_ONNX_SUB, .sub = GB_ONNX_##m, .name = (t)}
#define MESSAGES(n, m, t)                                                                          \
    {.number = (n), .kind = GB_ONNX_SUB, .sub = GB_ONNX_##m, .name = (t), .repeated = true}
#define REFUSED(n, t, w, h)                                                                        \
    {.number = (n), .kind = GB_ONNX_REFUSED, .name = (t), .repeated = true, .why = (w), .hint = (h)}

#define SPARSE_HINT "Export the model again with dense weights."
#define FUNCTION_HINT                                                                              \
    "Inline the functions before exporting: onnx.inliner.inline_local_functions(model) does it."

static const struct gb_onnx_field model_fields[] = {
    ONE(1, INT64, "ir_version"),
    ONE(2, BLOB, "producer_name"),
    ONE(3, BLOB, "producer_version"),
    ONE(4, BLOB, "domain"),
    ONE(5, INT64, "model_version"),
    ONE(6, BLOB, "doc_string"),
    MESSAGE(7, GRAPH, "graph"),
    MESSAGES(8, OPSET, "opset_import"),
    MESSAGES(14, ENTRY, "metadata_props"),
    REFUSED(20, "training_info", "the model carries training information",
            "Export the model for inference."),
    REFUSED(25, "functions", "the model defines functions of its own", FUNCTION_HINT),
    MANY(26, BLOB, "configuration"),
};
static const struct gb_onnx_field graph_fields[] = {
    MESSAGES(1, NODE, "node"),
    ONE(2, NAME, "name"),
    MESSAGES(5, TENSOR, "initializer"),
    ONE(10, BLOB, "doc_string"),
    MESSAGES(11, VALUE, "input"),
    MESSAGES(12, VALUE, "output"),
    MESSAGES(13, VALUE, "value_info"),
    MESSAGES(14, ANNOTATION, "quantization_annotation"),
    REFUSED(15, "sparse_initializer", "the model has sparse weights", SPARSE_HINT),
    MESSAGES(16, ENTRY, "metadata_props"),
};
static const struct gb_onnx_field node_fields[] = {
    MANY(1, NAME, "input"),
    MANY(2, NAME, "output"),
    ONE(3, NAME, "name"),
    ONE(4, NAME, "op_type"),
    MESSAGES(5, ATTRIBUTE, "attribute"),
    ONE(6, BLOB, "doc_string"),
    ONE(7, NAME, "domain"),
    ONE(8, NAME, "overload"),
    MESSAGES(9, ENTRY, "metadata_props"),
    MANY(10, BLOB, "device_configurations"),
};
static const struct gb_onnx_field attribute_fields[] = {
    ONE(1, NAME, "name"),
    ONE(2, FLOAT, "f"),
    ONE(3, INT64, "i"),
    ONE(4, BLOB, "s"),
    MESSAGE(5, TENSOR, "t"),
    MESSAGE(6, GRAPH, "g"),
    MANY(7, FLOAT, "floats"),
    MANY(8, INT64, "ints"),
    MANY(9, BLOB, "strings"),
    MESSAGES(10, TENSOR, "tensors"),
    MESSAGES(11, GRAPH, "graphs"),
    ONE(13, BLOB, "doc_string"),
    MESSAGE(14, TYPE, "tp"),
    MESSAGES(15, TYPE, "type_protos"),
    ONE(20, INT32, "type"),
    REFUSED(21, "ref_attr_name", "an attribute refers to a function's parameter", FUNCTION_HINT),
    REFUSED(22, "sparse_tensor", "an attribute holds a sparse tensor", SPARSE_HINT),
    REFUSED(23, "sparse_tensors", "an attribute holds sparse tensors", SPARSE_HINT),
};
static const struct gb_onnx_field tensor_fields[] = {
    MANY(1, INT64, "dims"),
    ONE(2, INT32, "data_type"),
    REFUSED(3, "segment", "a tensor is a segment of another one",
            "Export the model again with whole tensors."),
    MANY(4, FLOAT, "float_data"),
    MANY(5, INT32, "int32_data"),
    MANY(6, BLOB, "string_data"),
    MANY(7, INT64, "int64_data"),
    ONE(8, NAME, "name"),
    ONE(9, BLOB, "raw_data"),
    MANY(10, DOUBLE, "double_data"),
    MANY(11, INT64, "uint64_data"),
    ONE(12, BLOB, "doc_string"),
    /* Refused by hand in onnx_tensor.c: the message quotes the location. */
    MANY(13, BLOB, "external_data"),
    ONE(14, INT64, "data_location"),
    MESSAGES(16, ENTRY, "metadata_props"),
};
static const struct gb_onnx_field value_fields[] = {
    ONE(1, NAME, "name"),
    MESSAGE(2, TYPE, "type"),
    ONE(3, BLOB, "doc_string"),
    MESSAGES(4, ENTRY, "metadata_props"),
};
static const struct gb_onnx_field type_fields[] = {
    MESSAGE(1, TYPE_TENSOR, "tensor_type"),
    MESSAGE(4, TYPE_INNER, "sequence_type"),
    MESSAGE(5, TYPE_MAP, "map_type"),
    ONE(6, BLOB, "denotation"),
    REFUSED(7, "opaque_type", "a value has a type of its own making",
            "Export the model with tensors as inputs and outputs."),
    REFUSED(8, "sparse_tensor_type", "a value is a sparse tensor", SPARSE_HINT),
    MESSAGE(9, TYPE_INNER, "optional_type"),
};
static const struct gb_onnx_field type_tensor_fields[] = {
    ONE(1, INT32, "elem_type"),
    MESSAGE(2, SHAPE, "shape"),
};
static const struct gb_onnx_field type_inner_fields[] = {
    MESSAGE(1, TYPE, "elem_type"),
};
static const struct gb_onnx_field type_map_fields[] = {
    ONE(1, INT32, "key_type"),
    MESSAGE(2, TYPE, "value_type"),
};
static const struct gb_onnx_field shape_fields[] = {
    MESSAGES(1, DIM, "dim"),
};
static const struct gb_onnx_field dim_fields[] = {
    ONE(1, INT64, "dim_value"),
    ONE(2, NAME, "dim_param"),
    ONE(3, BLOB, "denotation"),
};
static const struct gb_onnx_field opset_fields[] = {
    ONE(1, NAME, "domain"),
    ONE(2, INT64, "version"),
};
static const struct gb_onnx_field entry_fields[] = {
    ONE(1, BLOB, "key"),
    ONE(2, BLOB, "value"),
};
static const struct gb_onnx_field annotation_fields[] = {
    ONE(1, NAME, "tensor_name"),
    MESSAGES(2, ENTRY, "quant_parameter_tensor_names"),
};

#define SCHEMA(message, text, table)                                                               \
    [GB_ONNX_##message] = {.name = (text), .fields = (table), .fields_len = GB_COUNT(table)}
const struct gb_onnx_schema gb_onnx_schemas[GB_ONNX_MESSAGES] = {
    SCHEMA(MODEL, "model", model_fields),
    SCHEMA(GRAPH, "graph", graph_fields),
    SCHEMA(NODE, "node", node_fields),
    SCHEMA(ATTRIBUTE, "attribute", attribute_fields),
    SCHEMA(TENSOR, "tensor", tensor_fields),
    SCHEMA(VALUE, "value", value_fields),
    SCHEMA(TYPE, "type", type_fields),
    SCHEMA(TYPE_TENSOR, "tensor type", type_tensor_fields),
    SCHEMA(TYPE_INNER, "sequence type", type_inner_fields),
    SCHEMA(TYPE_MAP, "map type", type_map_fields),
    SCHEMA(SHAPE, "shape", shape_fields),
    SCHEMA(DIM, "dimension", dim_fields),
    SCHEMA(OPSET, "operator set", opset_fields),
    SCHEMA(ENTRY, "entry", entry_fields),
    SCHEMA(ANNOTATION, "annotation", annotation_fields),
};
