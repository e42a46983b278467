/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the ONNX validator: a table of the messages and fields of an ONNX file
 * (onnx_schema.c), a walk over the bytes with a stack of its own (onnx_walk.c), what each message
 * must fulfil (onnx_check.c, onnx_tensor.c), and a table of names for what depends on more than one
 * message (onnx_names.c, onnx_fold.c).
 *
 * Three passes over the same bytes. The first looks for what we never load, so that a file that is
 * contradictory as well is called what it is; the second checks and collects names; the third knows
 * all names.
 * Limits: below, each with its reason. Errors: GB_MODEL_INVALID for what contradicts the format or
 * itself, GB_MODEL_REJECTED for what we refuse.
 */
#ifndef GB_MODEL_ONNX_INTERNAL_H
#define GB_MODEL_ONNX_INTERNAL_H

#include "base/error.h"
#include "base/num.h"
#include "base/span.h"
#include "model/model.h"
#include "model/pb.h"

/* Names and offsets are kept in 32 bits; files are far smaller. */
#define GB_ONNX_BYTES_MAX UINT32_MAX
/* The engine's own protobuf reader stops at 100; 16 nested graphs need 53. */
#define GB_ONNX_DEPTH_MAX 64u
/* Deeper control flow than any exporter writes; engines walk graphs recursively. */
#define GB_ONNX_GRAPH_DEPTH_MAX 16u
/* The largest public models have about 20,000 nodes; load time and memory grow with them. */
#define GB_ONNX_NODES_MAX 65536u
#define GB_ONNX_INITIALIZERS_MAX 65536u
/* Inputs and outputs of all nodes; each is looked up in every enclosing graph. */
#define GB_ONNX_LINKS_MAX (1u << 20)
/* Exporters join scopes into long names for values inside; ports have GB_WIRE_NAME_MAX. */
#define GB_ONNX_NAME_MAX 1023u
/* What one constant may take once an engine has folded it: a 68-byte file can ask for gigabytes. */
#define GB_ONNX_CONSTANT_BYTES_MAX (64 * GB_MIB)
/* What the file may take once decoded: packed numbers grow eightfold, empty strings thirtyfold. */
#define GB_ONNX_DECODED_BYTES_MAX (256 * GB_MIB)
/* The highest versions that ONNX Runtime 1.31 loads. */
#define GB_ONNX_OPSET_MAX    26
#define GB_ONNX_ML_OPSET_MAX 5
#define GB_ONNX_IR_MAX       13
#define GB_ONNX_DOMAINS_MAX  32u

enum gb_onnx_message {
    GB_ONNX_MODEL,
    GB_ONNX_GRAPH,
    GB_ONNX_NODE,
    GB_ONNX_ATTRIBUTE,
    GB_ONNX_TENSOR,
    GB_ONNX_VALUE,
    GB_ONNX_TYPE,
    GB_ONNX_TYPE_TENSOR,
    GB_ONNX_TYPE_INNER, /* of sequences and optionals */
    GB_ONNX_TYPE_MAP,
    GB_ONNX_SHAPE,
    GB_ONNX_DIM,
    GB_ONNX_OPSET,
    GB_ONNX_ENTRY,
    GB_ONNX_ANNOTATION,
    GB_ONNX_MESSAGES
};
enum gb_onnx_kind {
    GB_ONNX_INT32, /* varint; 4 bytes when decoded */
    GB_ONNX_INT64,
    GB_ONNX_FLOAT,
    GB_ONNX_DOUBLE,
    GB_ONNX_BLOB,   /* bytes or text that we neither use nor show */
    GB_ONNX_NAME,   /* text that is shown or compared: UTF-8, bounded, no control bytes */
    GB_ONNX_SUB,    /* a message */
    GB_ONNX_REFUSED /* may not be there at all */
};
struct gb_onnx_field {
    uint8_t number;
    uint8_t kind; /* enum gb_onnx_kind */
    uint8_t sub;  /* enum gb_onnx_message */
    bool repeated;
    const char *name;
    const char *why;  /* GB_ONNX_REFUSED */
    const char *hint; /* GB_ONNX_REFUSED */
};
struct gb_onnx_schema {
    const char *name;
    const struct gb_onnx_field *fields;
    size_t fields_len;
};
extern const struct gb_onnx_schema gb_onnx_schemas[GB_ONNX_MESSAGES];

/* A run of bytes of the file. */
struct gb_onnx_text {
    uint32_t off;
    uint32_t len;
};

/* ---- tensors ---- */

#define GB_ONNX_INTS_MAX 16u
struct gb_onnx_ints { /* the first numbers of a list, as shapes are */
    int64_t at[GB_ONNX_INTS_MAX];
    uint64_t len; /* may be larger than GB_ONNX_INTS_MAX */
};
enum gb_onnx_source { GB_ONNX_FLOATS, GB_ONNX_INT32S, GB_ONNX_STRINGS, GB_ONNX_INT64S,
                      GB_ONNX_DOUBLES, GB_ONNX_UINT64S, GB_ONNX_SOURCES };
struct gb_onnx_tensor {
    struct gb_onnx_text name;
    struct gb_onnx_text raw;
    bool has_raw;
    int32_t type;
    struct gb_onnx_ints dims;
    uint64_t counts[GB_ONNX_SOURCES]; /* numbers or strings in each typed field */
    struct gb_onnx_ints ints;         /* of int32_data and int64_data */
    double first;                     /* of float_data and double_data */
};
/* What folding needs to know of a constant. */
struct gb_onnx_constant {
    uint64_t elements;
    uint32_t element_bytes;
    uint32_t ints_len;    /* with ints_known */
    uint64_t ints_product; /* of the values; UINT64_MAX when it overflows */
    double first;
    bool ints_known; /* all values are known and none is negative */
    bool first_known;
    bool set;
};

/* ---- the walk ---- */

struct gb_onnx_node {
    struct gb_onnx_text op;
    struct gb_onnx_text domain;
    struct gb_onnx_text inputs[3];
    uint64_t inputs_len;
    uint64_t outputs_len;
    struct gb_onnx_text output;
    struct gb_onnx_constant value;  /* of attributes value, value_ints, value_int, value_float */
    struct gb_onnx_constant joined; /* of all inputs one behind the other (last pass) */
    bool has_variable;              /* an input is no constant that we know (last pass) */
};
struct gb_onnx_attribute {
    struct gb_onnx_text name;
    struct gb_onnx_constant tensor;
    struct gb_onnx_ints ints;
    int64_t i;
    float f;
    bool has_i, has_f;
};
struct gb_onnx_frame {
    uint32_t start; /* of the message's bytes */
    uint32_t end;
    uint32_t seen; /* singular fields met, by row of the schema */
    uint8_t message;
    uint8_t field; /* number of the field of the parent that holds this message */
    union {
        struct {
            struct gb_onnx_text name;
            bool has_name;
        } value;
        struct {
            uint32_t kinds;
        } type;
        struct {
            bool has_value, has_param;
        } dim;
        struct {
            struct gb_onnx_text domain;
            int64_t version;
            bool has_version;
        } opset;
        struct gb_onnx_node node;
        struct gb_onnx_attribute attribute;
        struct gb_onnx_tensor tensor;
    } u;
};
/* The type of the value whose message is being read. */
struct gb_onnx_port_state {
    uint32_t frame; /* depth of the value's frame; 0: none */
    bool has_type, has_tensor, has_element, has_shape;
    int32_t element;
    uint32_t rank;
    int64_t dims[GB_WIRE_RANK_MAX];
    struct gb_onnx_text symbols[GB_WIRE_RANK_MAX];
};

struct gb_onnx_name {
    uint64_t hash; /* 0: free slot */
    struct gb_onnx_text text;
    uint32_t scope; /* start of the graph that holds it */
    bool is_initializer;
    struct gb_onnx_constant constant;
};
enum gb_onnx_pass { GB_ONNX_PASS_REFUSE, GB_ONNX_PASS_CHECK, GB_ONNX_PASS_RESOLVE, GB_ONNX_PASSES };
struct gb_onnx_walk {
    const uint8_t *bytes;
    size_t len;
    enum gb_onnx_pass pass;
    struct gb_error **err;
    struct gb_onnx_summary *summary;
    uint32_t depth;
    uint32_t graph_depth; /* of open graphs */
    uint64_t decoded_bytes;
    uint64_t initializers;
    uint64_t links;
    bool has_graph, has_ir_version;
    uint32_t opsets;
    struct gb_onnx_text domains[GB_ONNX_DOMAINS_MAX];
    struct gb_onnx_port_state port;
    struct gb_onnx_name *names;
    size_t names_cap; /* power of two */
    size_t names_len;
    uint64_t names_key;
    struct gb_onnx_frame stack[GB_ONNX_DEPTH_MAX];
};

static inline struct gb_onnx_frame *gb_onnx_top(struct gb_onnx_walk *w) {
    return &w->stack[w->depth - 1];
}
/* The n-th frame outside the innermost; NULL at the outside. */
static inline struct gb_onnx_frame *gb_onnx_outer(struct gb_onnx_walk *w, uint32_t n) {
    return w->depth > n ? &w->stack[w->depth - 1 - n] : NULL;
}
static inline struct gb_span gb_onnx_span(const struct gb_onnx_walk *w, struct gb_onnx_text t) {
    return gb_span_make(w->bytes + t.off, t.len);
}
static inline bool gb_onnx_is(const struct gb_onnx_walk *w, struct gb_onnx_text t,
                              const char *text) {
    return gb_span_is(gb_onnx_span(w, t), text);
}
/* A name for a message: in quotes, cut at a character's boundary. */
#define GB_ONNX_QUOTE_BYTES 88
const char *gb_onnx_quote(const struct gb_onnx_walk *w, struct gb_onnx_text t,
                          char text[GB_ONNX_QUOTE_BYTES]);

/* Both return false. `at` is added to the message as "(byte N)". */
bool gb_onnx_invalid(struct gb_onnx_walk *w, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool gb_onnx_refuse(struct gb_onnx_walk *w, size_t at, const char *hint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void gb_onnx_finding(struct gb_onnx_walk *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* onnx_walk.c: one pass; calls the three below. */
bool gb_onnx_walk_run(struct gb_onnx_walk *w);
/* onnx_check.c: a message begins (its frame is the innermost), has a value, ends. */
bool gb_onnx_begin(struct gb_onnx_walk *w, struct gb_onnx_frame *f);
bool gb_onnx_value(struct gb_onnx_walk *w, struct gb_onnx_frame *f, const struct gb_pb_field *v);
bool gb_onnx_end(struct gb_onnx_walk *w, struct gb_onnx_frame *f);
/* onnx_walk.c: counts what decoding takes; fails at the limit. */
bool gb_onnx_decoded(struct gb_onnx_walk *w, size_t at, uint64_t bytes);

/* onnx_tensor.c */
/* Refuses a field that says that the data is elsewhere. */
bool gb_onnx_tensor_inside(struct gb_onnx_walk *w, const struct gb_pb_field *v);
bool gb_onnx_tensor_value(struct gb_onnx_walk *w, struct gb_onnx_tensor *t,
                          const struct gb_pb_field *v);
bool gb_onnx_tensor_end(struct gb_onnx_walk *w, struct gb_onnx_frame *f, const char *what,
                        struct gb_onnx_constant *ret_constant, uint64_t *ret_bytes);
/* Adds the numbers of a field, packed or not. Counts all, keeps the first. */
bool gb_onnx_ints_value(struct gb_onnx_walk *w, const struct gb_pb_field *v,
                        struct gb_onnx_ints *ints);
void gb_onnx_ints_constant(const struct gb_onnx_ints *ints, struct gb_onnx_constant *ret_constant);
/* False for a number that names no element type of ONNX. */
bool gb_onnx_type_known(int64_t onnx_type);
enum gb_type gb_onnx_type_port(int64_t onnx_type);

/* onnx_names.c */
bool gb_onnx_names_init(struct gb_onnx_walk *w);
void gb_onnx_names_fini(struct gb_onnx_walk *w);
/* Adds a name; *ret_new is false when this scope has one already. A full table drops constants that
 * are not initializers: they are then treated as values of unknown size. */
bool gb_onnx_names_add(struct gb_onnx_walk *w, const struct gb_onnx_name *name, bool *ret_new);
/* The constant of that name in the graphs that enclose the innermost frame; NULL: none is known. */
const struct gb_onnx_name *gb_onnx_names_find(const struct gb_onnx_walk *w,
                                              struct gb_onnx_text text);
/* The name in one scope; NULL: not there. */
const struct gb_onnx_name *gb_onnx_names_at(const struct gb_onnx_walk *w, uint32_t scope,
                                            struct gb_onnx_text text);

/* onnx_fold.c: the size of what a node makes of constants (last pass). */
bool gb_onnx_fold(struct gb_onnx_walk *w, const struct gb_onnx_frame *f, uint32_t scope);
/* Joins one more input to node->joined. */
void gb_onnx_fold_input(const struct gb_onnx_walk *w, struct gb_onnx_node *node,
                        struct gb_onnx_text input);

/* onnx_port.c: the type of the value being read, and graph inputs and outputs. */
bool gb_onnx_port_value(struct gb_onnx_walk *w, struct gb_onnx_frame *f,
                        const struct gb_pb_field *v);
bool gb_onnx_port_begin(struct gb_onnx_walk *w, struct gb_onnx_frame *f);
bool gb_onnx_port_end(struct gb_onnx_walk *w, struct gb_onnx_frame *f);

#endif
