/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structural validation of GGUF files (language models) before any engine sees a byte: the header
 * is walked by small C that refuses what the engine's own reader has been hurt by, and what it
 * would abort on.
 *
 * Threads: any; a pure function. Ownership: borrows the bytes during the call.
 * Limits: gguf_internal.h, each with its reason. Memory: three tables, each no larger than a small
 * multiple of bytes of the file that are there. Errors: GB_MODEL_INVALID for what contradicts the
 * format or itself, GB_MODEL_REJECTED for what we refuse.
 */
#ifndef GB_MODEL_GGUF_H
#define GB_MODEL_GGUF_H

#include "base/error.h"
#include "base/span.h"

#define GB_GGUF_ARCHITECTURE_MAX 63u
#define GB_GGUF_TITLE_MAX 127u

/* What a sound file says of itself. Texts are printable. */
struct gb_gguf_summary {
    uint32_t version;
    char architecture[GB_GGUF_ARCHITECTURE_MAX + 1];
    char title[GB_GGUF_TITLE_MAX + 1];          /* general.name, cut; may be empty */
    char tokenizer[GB_GGUF_ARCHITECTURE_MAX + 1];
    const char *quantisation; /* what the file calls itself, "Q4_K_M"; else as weights_type */
    const char *weights_type; /* the type that most bytes are of, "Q4_K" */
    uint64_t parameters;
    uint64_t tensors;
    uint64_t tensor_bytes;
    uint64_t header_bytes; /* all before the tensors' data */
    uint64_t context_length;
    uint64_t embedding_length;
    uint64_t blocks;
    uint64_t heads;    /* the most of any block; 0: no attention */
    uint64_t kv_heads;
    uint64_t vocabulary;          /* tokens */
    uint64_t chat_template_bytes; /* 0: there is none */
    char findings[8][160];
    size_t findings_len;
};

bool gb_gguf_check(struct gb_span bytes, struct gb_gguf_summary *ret_summary,
                   struct gb_error **err);

#endif
