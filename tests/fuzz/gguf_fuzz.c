/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gb_gguf_check over any bytes: no crash, no leak, an error exactly when it fails, and a summary
 * that keeps its own bounds and fits with the file's size. Built without libFuzzer (GB_FUZZ_REPLAY)
 * it runs the files given.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static void check_text(const char *text, size_t cap) {
    const char *end = memchr(text, 0, cap);
    require(end != NULL, "texts end");
    for (const char *c = text; end && c < end; c++) {
        require((unsigned char)*c >= 0x20 && *c != 0x7f, "texts are printable");
    }
}

static void check_summary(const struct gb_gguf_summary *s, size_t len) {
    check_text(s->architecture, sizeof s->architecture);
    check_text(s->title, sizeof s->title);
    check_text(s->tokenizer, sizeof s->tokenizer);
    require(s->architecture[0] && s->tokenizer[0], "it has an architecture and a tokenizer");
    require(s->quantisation && s->weights_type, "its types have names");
    require(s->findings_len <= sizeof s->findings / sizeof s->findings[0], "at most 8 findings");
    for (size_t i = 0; i < s->findings_len; i++) {
        check_text(s->findings[i], sizeof s->findings[i]);
    }
    require(s->header_bytes <= len && s->tensor_bytes <= len - s->header_bytes,
            "header and tensors lie in the file");
    require(s->parameters <= 8 * (uint64_t)len, "weights take at least a bit");
    require(s->tensors > 0 && s->vocabulary > 0 && s->vocabulary <= len / 8, "as many as fit");
    require(s->context_length > 0 && s->embedding_length > 0 && s->blocks > 0, "no size is zero");
    require(s->kv_heads <= s->heads, "at most a head for keys and values for each");
    require(s->chat_template_bytes <= len, "the template lies in the file");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    struct gb_gguf_summary summary;
    struct gb_error *err = NULL;
    bool ok = gb_gguf_check(gb_span_make(bytes, len), &summary, &err);
    require(ok == (err == NULL), "an error if and only if it fails");
    if (ok) {
        check_summary(&summary, len);
    } else {
        require(err->code == GB_MODEL_INVALID || err->code == GB_MODEL_REJECTED, "two codes only");
        require(err->message && err->hint, "a message and a hint");
    }
    gb_error_free(err);
    return 0;
}

#include "replay.h"
