/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vocabulary of a GGUF file: lists that must be of one length, ids that point into them, texts
 * that the engine takes apart without looking (tokens of a byte, pairs to merge) or insists on
 * being different, and the template of a conversation, which is code to whoever renders it.
 */
#include "model/gguf_internal.h"

#include <math.h>
#include <stdio.h>

#include "base/buf.h"

#define CONVERT_HINT "Convert the model again with a current converter."
#define PREFIX "tokenizer.ggml."
#define ID_SUFFIX "_token_id"
#define TEMPLATE "tokenizer.chat_template"
#define TYPE_BYTE 6 /* of a token that stands for one byte, "<0x0A>" */

/* All numbers of a token's type are up to this. */
#define TYPE_LAST 6u

static bool begins_with(struct gb_span text, const char *prefix) {
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.ptr, prefix, len) == 0;
}

static bool ends_with(struct gb_span text, const char *suffix) {
    size_t len = strlen(suffix);
    return text.len >= len && memcmp(text.ptr + text.len - len, suffix, len) == 0;
}

static bool is_hex(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}

static bool is_byte_token(struct gb_span text) {
    return text.len == 6 && begins_with(text, "<0x") && is_hex(text.ptr[3]) &&
           is_hex(text.ptr[4]) && text.ptr[5] == '>';
}

static bool check_token(struct gb_gguf_walk *w, struct gb_gguf_names *seen, uint64_t id,
                        const struct gb_gguf_value *types, size_t at, struct gb_span text) {
    char quoted[GB_GGUF_QUOTE_BYTES];
    if (text.len > GB_GGUF_TOKEN_BYTES_MAX) {
        return gb_gguf_refuse(w, at, CONVERT_HINT, "token %llu has %zu bytes; at most %u are "
                                                   "allowed", (unsigned long long)id, text.len,
                              GB_GGUF_TOKEN_BYTES_MAX);
    }
    if (types && gb_gguf_number(w, types, id) == TYPE_BYTE && !is_byte_token(text)) {
        return gb_gguf_invalid(w, at, "token %llu stands for a byte and is %s, not \"<0x00>\" to "
                                      "\"<0xFF>\"", (unsigned long long)id,
                               gb_gguf_quote(text, quoted));
    }
    /* The engine gives empty ones names of its own. */
    if (text.len > 0 && !gb_gguf_names_add(seen, text, 0)) {
        return gb_gguf_invalid(w, at, "token %llu is %s, as one before it", (unsigned long long)id,
                               gb_gguf_quote(text, quoted));
    }
    return true;
}

static bool check_tokens(struct gb_gguf_walk *w, const struct gb_gguf_value *tokens,
                         const struct gb_gguf_value *types) {
    struct gb_gguf_names seen = {0};
    bool ok = gb_gguf_names_init(&seen, w->bytes, (size_t)tokens->count, w->err);
    size_t at = tokens->at;
    for (uint64_t i = 0; ok && i < tokens->count; i++) {
        size_t begin = at;
        struct gb_span text = gb_gguf_string(w, &at);
        ok = check_token(w, &seen, i, types, begin, text);
    }
    gb_gguf_names_fini(&seen);
    return ok;
}

/* A list beside the tokens has one entry for each. */
static bool check_beside(struct gb_gguf_walk *w, const struct gb_gguf_value *v) {
    char quoted[GB_GGUF_QUOTE_BYTES];
    if (v && v->count != w->summary->vocabulary) {
        return gb_gguf_invalid(w, v->at, "%s has %llu entries for %llu tokens",
                               gb_gguf_quote(v->key, quoted), (unsigned long long)v->count,
                               (unsigned long long)w->summary->vocabulary);
    }
    return true;
}

static bool check_scores(struct gb_gguf_walk *w, const struct gb_gguf_value *v) {
    for (uint64_t i = 0; v && i < v->count; i++) {
        float score = gb_gguf_float(w, v, i);
        if (isnan(score)) { /* a queue that is ordered by it falls apart */
            return gb_gguf_invalid(w, v->at + (size_t)i * sizeof score,
                                   "the score of token %llu is no number", (unsigned long long)i);
        }
    }
    return true;
}

static bool check_types(struct gb_gguf_walk *w, const struct gb_gguf_value *v) {
    for (uint64_t i = 0; v && i < v->count; i++) {
        uint64_t type = gb_gguf_number(w, v, i);
        if (type > TYPE_LAST) {
            return gb_gguf_invalid(w, v->at + (size_t)i * 4, "token %llu is of the type %lld, "
                                                             "which does not exist",
                                   (unsigned long long)i, (long long)type);
        }
    }
    return true;
}

static bool check_merges(struct gb_gguf_walk *w, const struct gb_gguf_value *v) {
    char quoted[GB_GGUF_QUOTE_BYTES];
    size_t at = v ? v->at : 0;
    for (uint64_t i = 0; v && i < v->count; i++) {
        size_t begin = at;
        struct gb_span text = gb_gguf_string(w, &at);
        if (text.len > 2 * GB_GGUF_TOKEN_BYTES_MAX || text.len < 3 ||
            !memchr(text.ptr + 1, ' ', text.len - 2)) {
            return gb_gguf_invalid(w, begin, "merge %llu is %s, not two tokens with a space "
                                             "between them", (unsigned long long)i,
                                   gb_gguf_quote(text, quoted));
        }
    }
    return true;
}

static bool check_id(struct gb_gguf_walk *w, const struct gb_gguf_value *v) {
    char quoted[GB_GGUF_QUOTE_BYTES];
    gb_gguf_quote(v->key, quoted);
    if (v->is_array || v->type != GB_GGUF_U32) {
        return gb_gguf_invalid(w, v->at, "%s is %s%s and must be u32", quoted,
                               v->is_array ? "a list of " : "", gb_gguf_type_text(v->type));
    }
    uint64_t id = gb_gguf_number(w, v, 0);
    return id < w->summary->vocabulary ||
           gb_gguf_invalid(w, v->at, "%s is %llu, and there are %llu tokens", quoted,
                           (unsigned long long)id, (unsigned long long)w->summary->vocabulary);
}

/* tokenizer.chat_template, .NAME of it for other purposes, and the list of these names. */
static bool check_template(struct gb_gguf_walk *w, const struct gb_gguf_value *v) {
    char quoted[GB_GGUF_QUOTE_BYTES];
    size_t at = v->at;
    gb_gguf_quote(v->key, quoted);
    if (v->type != GB_GGUF_STRING) {
        return gb_gguf_invalid(w, v->at, "%s is no text", quoted);
    }
    for (uint64_t i = 0; i < v->count; i++) {
        size_t begin = at;
        struct gb_span text = gb_gguf_string(w, &at);
        if (text.len > GB_GGUF_TEMPLATE_BYTES_MAX) {
            return gb_gguf_refuse(w, begin, "Remove the template from the file, or shorten it.",
                                  "%s has %zu bytes; at most %llu are allowed", quoted, text.len,
                                  (unsigned long long)GB_GGUF_TEMPLATE_BYTES_MAX);
        }
        if (!gb_utf8_valid(text) || (text.len > 0 && memchr(text.ptr, 0, text.len))) {
            return gb_gguf_invalid(w, begin, "%s is not UTF-8 text", quoted);
        }
    }
    return true;
}

static bool check_keys(struct gb_gguf_walk *w) {
    for (size_t i = 0; i < w->values_len; i++) {
        const struct gb_gguf_value *v = &w->values[i];
        bool is_id = begins_with(v->key, PREFIX) && ends_with(v->key, ID_SUFFIX);
        if ((is_id && !check_id(w, v)) ||
            (begins_with(v->key, TEMPLATE) && !check_template(w, v))) {
            return false;
        }
    }
    const struct gb_gguf_value *v = gb_gguf_find(w, TEMPLATE);
    if (v) {
        w->summary->chat_template_bytes = gb_gguf_load(w->bytes + v->at, 8);
    }
    if (w->summary->chat_template_bytes == 0) {
        gb_gguf_finding(w, "it has no chat template: a conversation is given to it as plain text");
    }
    return true;
}

/* The tensor that has a row for each token. */
static bool check_embeddings(struct gb_gguf_walk *w) {
    const struct gb_gguf_summary *s = w->summary;
    const struct gb_gguf_value *size = gb_gguf_find_of(w, ".vocab_size");
    if (!w->has_embeddings) {
        return gb_gguf_invalid(w, 8, "the file has no tensor \"token_embd.weight\"");
    }
    if (w->embeddings[1] != s->vocabulary) {
        return gb_gguf_invalid(w, 8, "the tensor \"token_embd.weight\" has %llu rows for %llu "
                                     "tokens", (unsigned long long)w->embeddings[1],
                               (unsigned long long)s->vocabulary);
    }
    if (w->embeddings[0] != s->embedding_length && !gb_gguf_find_of(w, ".features_length")) {
        return gb_gguf_invalid(w, 8, "the tensor \"token_embd.weight\" has rows of %llu, and the "
                                     "embedding's length is %llu",
                               (unsigned long long)w->embeddings[0],
                               (unsigned long long)s->embedding_length);
    }
    if (size && gb_gguf_number(w, size, 0) != s->vocabulary) {
        gb_gguf_finding(w, "says that its vocabulary has %llu tokens and has %llu",
                        (unsigned long long)gb_gguf_number(w, size, 0),
                        (unsigned long long)s->vocabulary);
    }
    return true;
}

static bool check_tokenizer(struct gb_gguf_walk *w) {
    const struct gb_gguf_value *v = gb_gguf_find(w, PREFIX "model");
    char quoted[GB_GGUF_QUOTE_BYTES];
    size_t at = v ? v->at : 0;
    struct gb_span name = v ? gb_gguf_string(w, &at) : gb_span_make(NULL, 0);
    if (!v || gb_span_is(name, "none") || gb_span_is(name, "no_vocab")) {
        return gb_gguf_refuse(w, v ? v->at : 16, "Convert the model again with its tokenizer.",
                              "the file has no tokenizer");
    }
    if (name.len > GB_GGUF_ARCHITECTURE_MAX || !gb_gguf_name_ok(name)) {
        return gb_gguf_invalid(w, v->at, "%s is no name of a tokenizer",
                               gb_gguf_quote(name, quoted));
    }
    snprintf(w->summary->tokenizer, sizeof w->summary->tokenizer, "%.*s", (int)name.len,
             (const char *)name.ptr);
    return true;
}

bool gb_gguf_vocab(struct gb_gguf_walk *w) {
    const struct gb_gguf_value *tokens = gb_gguf_find(w, PREFIX "tokens");
    const struct gb_gguf_value *scores = gb_gguf_find(w, PREFIX "scores");
    const struct gb_gguf_value *types = gb_gguf_find(w, PREFIX "token_type");
    if (!check_tokenizer(w)) {
        return false;
    }
    if (!tokens || tokens->count == 0) {
        return gb_gguf_invalid(w, tokens ? tokens->at : 16, "the file has no tokens");
    }
    if (tokens->count > GB_GGUF_TOKENS_MAX) {
        return gb_gguf_refuse(w, tokens->at, "Use a model with a smaller vocabulary.",
                              "the file has %llu tokens; at most %u are allowed",
                              (unsigned long long)tokens->count, GB_GGUF_TOKENS_MAX);
    }
    w->summary->vocabulary = tokens->count;
    return check_beside(w, scores) && check_beside(w, types) && check_scores(w, scores) &&
           check_types(w, types) && check_tokens(w, tokens, types) &&
           check_merges(w, gb_gguf_find(w, PREFIX "merges")) && check_keys(w) &&
           check_embeddings(w);
}
