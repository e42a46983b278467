/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the GGUF validator: reading numbers and texts within bounds (gguf_read.c), the
 * metadata as a table of keys (gguf_meta.c), what the known keys must hold (gguf_rules.c), the
 * tensors (gguf_tensor.c, gguf_types.c), the vocabulary (gguf_vocab.c), a set of names
 * (gguf_names.c), and their order (gguf_check.c).
 *
 * A file is refused in the order of its bytes, but that what it is for (parts of a split model,
 * adapters, projectors) is said before what is wrong with its tensors.
 */
#ifndef GB_MODEL_GGUF_INTERNAL_H
#define GB_MODEL_GGUF_INTERNAL_H

#include "base/error.h"
#include "base/num.h"
#include "base/span.h"
#include "model/gguf.h"

/* All but the tensors' data. The largest public vocabularies take about 30 MiB. */
#define GB_GGUF_HEADER_BYTES_MAX (256 * GB_MIB)
/* Models have 20 to 100 keys; the engine compares each with all before it. */
#define GB_GGUF_KEYS_MAX 4096u
#define GB_GGUF_KEY_BYTES_MAX 255u
/* The largest public models have about 2,000; the engine compares names one by one, too. */
#define GB_GGUF_TENSORS_MAX 65536u
/* The engine keeps 64 bytes, one of them for the end. */
#define GB_GGUF_NAME_BYTES_MAX 63u
#define GB_GGUF_RANK_MAX 4u
/* Sizes of a dimension go through 32 bits in places of the engine. */
#define GB_GGUF_DIM_MAX INT32_MAX
#define GB_GGUF_ALIGN_DEFAULT 32u
#define GB_GGUF_ALIGN_MIN 8u
#define GB_GGUF_ALIGN_MAX 65536u
/* Some models carry the tokenizer of another program as one text of megabytes. */
#define GB_GGUF_TEXT_BYTES_MAX (16 * GB_MIB)
/* The longest public templates have 30 KiB. */
#define GB_GGUF_TEMPLATE_BYTES_MAX (128 * GB_KIB)
#define GB_GGUF_ARRAY_MAX (1u << 24)
/* Each text takes the engine several times the 8 bytes that an empty one takes in the file. */
#define GB_GGUF_STRINGS_MAX (1u << 22)
#define GB_GGUF_TOKENS_MAX (1u << 20)
#define GB_GGUF_TOKEN_BYTES_MAX 4096u
/* What the engine has room for. */
#define GB_GGUF_BLOCKS_MAX 512u
#define GB_GGUF_EXPERTS_MAX 1024u
#define GB_GGUF_CONTEXT_MAX (1u << 24)
#define GB_GGUF_EMBEDDING_MAX (1u << 18)
#define GB_GGUF_HEADS_MAX (1u << 16)

enum gb_gguf_type {
    GB_GGUF_U8, GB_GGUF_I8, GB_GGUF_U16, GB_GGUF_I16, GB_GGUF_U32, GB_GGUF_I32, GB_GGUF_F32,
    GB_GGUF_BOOL, GB_GGUF_STRING, GB_GGUF_ARRAY, GB_GGUF_U64, GB_GGUF_I64, GB_GGUF_F64,
    GB_GGUF_TYPES
};

/* ---- names ---- */

/* A set of runs of bytes of the file, at most three quarters full. */
struct gb_gguf_slot {
    uint64_t hash; /* 0: free */
    size_t off;
    uint32_t len;
    uint32_t index; /* the caller's */
};
struct gb_gguf_names {
    const uint8_t *bytes; /* of the file */
    struct gb_gguf_slot *slots;
    size_t cap; /* power of two */
    uint64_t key;
};
/* For at most `names` of them, a number that was compared with the file's size. */
bool gb_gguf_names_init(struct gb_gguf_names *n, const uint8_t *bytes, size_t names,
                        struct gb_error **err);
void gb_gguf_names_fini(struct gb_gguf_names *n);
/* False: there is one of that text already. */
bool gb_gguf_names_add(struct gb_gguf_names *n, struct gb_span name, uint32_t index);
/* False: there is none. */
bool gb_gguf_names_find(const struct gb_gguf_names *n, struct gb_span name, uint32_t *ret_index);

/* ---- the walk ---- */

struct gb_gguf_value {
    struct gb_span key;
    enum gb_gguf_type type; /* of an array: of its elements */
    bool is_array;
    uint64_t count; /* 1, or the array's length */
    size_t at;      /* of the value or the first element; of texts: of their length */
};

#define GB_GGUF_TENSOR_TYPES 43u
struct gb_gguf_walk {
    const uint8_t *bytes;
    size_t len;
    size_t pos;
    struct gb_error **err;
    struct gb_gguf_summary *summary;

    uint64_t tensors;
    uint64_t strings; /* in arrays, so far */
    struct gb_gguf_value *values;
    size_t values_len;
    struct gb_gguf_names keys;
    struct gb_gguf_names names; /* of tensors */

    struct gb_span architecture;
    uint64_t alignment;
    uint64_t data_bytes;                       /* of the tensors so far, padded */
    uint64_t type_bytes[GB_GGUF_TENSOR_TYPES]; /* of the tensors of each type */
    bool has_embeddings;                       /* the tensor token_embd.weight */
    uint64_t embeddings[2];
};

/* ---- gguf_read.c ---- */

/* All return false. `at` is added to the message as "(byte N)". */
bool gb_gguf_invalid(struct gb_gguf_walk *w, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool gb_gguf_refuse(struct gb_gguf_walk *w, size_t at, const char *hint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void gb_gguf_finding(struct gb_gguf_walk *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A text for a message: in quotes, printable, cut. */
#define GB_GGUF_QUOTE_BYTES 120
const char *gb_gguf_quote(struct gb_span text, char quoted[GB_GGUF_QUOTE_BYTES]);

/* `what` is what the file ends within. */
bool gb_gguf_skip(struct gb_gguf_walk *w, uint64_t bytes, const char *what);
bool gb_gguf_u32(struct gb_gguf_walk *w, const char *what, uint32_t *ret);
bool gb_gguf_u64(struct gb_gguf_walk *w, const char *what, uint64_t *ret);
/* A length and that many bytes. */
bool gb_gguf_text(struct gb_gguf_walk *w, const char *what, uint64_t bytes_max,
                  struct gb_span *ret_text);
/* Letters, digits, "_", "-", ".", at least one and no empty part between dots. */
bool gb_gguf_name_ok(struct gb_span name);

/* Of bytes that were walked before: no bounds are checked. */
uint64_t gb_gguf_load(const uint8_t *at, unsigned bytes);

/* ---- gguf_meta.c ---- */

extern const uint8_t gb_gguf_type_bytes[GB_GGUF_TYPES]; /* 0: strings, arrays */
const char *gb_gguf_type_text(enum gb_gguf_type type);
/* All keys and values; fills values and keys. */
bool gb_gguf_meta_read(struct gb_gguf_walk *w, uint64_t count);
/* NULL: there is none. */
const struct gb_gguf_value *gb_gguf_find(const struct gb_gguf_walk *w, const char *key);
/* "<architecture><suffix>" */
const struct gb_gguf_value *gb_gguf_find_of(const struct gb_gguf_walk *w, const char *suffix);
/* Element i of an array of numbers, or the one number, as an unsigned number; negative ones are
 * above INT64_MAX. Not for strings and floats. */
uint64_t gb_gguf_number(const struct gb_gguf_walk *w, const struct gb_gguf_value *v, uint64_t i);
float gb_gguf_float(const struct gb_gguf_walk *w, const struct gb_gguf_value *v, uint64_t i);
/* The text at *at, which moves behind it. */
struct gb_span gb_gguf_string(const struct gb_gguf_walk *w, size_t *at);

/* ---- gguf_rules.c ---- */

/* What must be known before the tensors are read; then what must fit with them. */
bool gb_gguf_rules_before(struct gb_gguf_walk *w);
bool gb_gguf_rules_after(struct gb_gguf_walk *w);

/* ---- gguf_tensor.c, gguf_types.c ---- */

struct gb_gguf_tensor_type {
    const char *name;   /* NULL: there is no such type */
    uint16_t elements;  /* of a block; 0: not for files */
    uint16_t bytes;     /* of a block */
};
extern const struct gb_gguf_tensor_type gb_gguf_tensor_types[GB_GGUF_TENSOR_TYPES];
/* "Q4_K_M"; NULL: unknown. */
const char *gb_gguf_file_type_text(uint64_t file_type);
bool gb_gguf_tensors_read(struct gb_gguf_walk *w);

/* ---- gguf_vocab.c ---- */
bool gb_gguf_vocab(struct gb_gguf_walk *w);

#endif
