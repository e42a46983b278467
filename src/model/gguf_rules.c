/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the keys of a GGUF file must hold: a table of the keys that the engine reads, with the type
 * that it insists on (a wrong one ends its process), and the sizes of the model, which it divides
 * by, multiplies and indexes with.
 */
#include "model/gguf_internal.h"

#include <math.h>
#include <stdio.h>

#define WHOLE_HINT "Give one file with the whole model; `llama-gguf-split --merge` joins the parts."
#define MODEL_HINT "Give the language model itself."
#define CONVERT_HINT "Convert the model again with a current converter."
#define SMALLER_HINT "Use a smaller model."

/* ---- types ---- */

enum form { ONE, LIST, ONE_OR_LIST };
struct rule {
    const char *key; /* "*" + suffix: of the architecture */
    enum gb_gguf_type type;
    enum form form;
};
static const struct rule rules[] = {
    {"general.alignment", GB_GGUF_U32, ONE},
    {"general.architecture", GB_GGUF_STRING, ONE},
    {"general.file_type", GB_GGUF_U32, ONE},
    {"general.name", GB_GGUF_STRING, ONE},
    {"general.quantization_version", GB_GGUF_U32, ONE},
    {"general.type", GB_GGUF_STRING, ONE},
    {"split.count", GB_GGUF_U16, ONE},
    {"split.no", GB_GGUF_U16, ONE},
    {"tokenizer.chat_template", GB_GGUF_STRING, ONE},
    {"tokenizer.ggml.add_bos_token", GB_GGUF_BOOL, ONE},
    {"tokenizer.ggml.add_eos_token", GB_GGUF_BOOL, ONE},
    {"tokenizer.ggml.add_space_prefix", GB_GGUF_BOOL, ONE},
    {"tokenizer.ggml.merges", GB_GGUF_STRING, LIST},
    {"tokenizer.ggml.model", GB_GGUF_STRING, ONE},
    {"tokenizer.ggml.pre", GB_GGUF_STRING, ONE},
    {"tokenizer.ggml.remove_extra_whitespaces", GB_GGUF_BOOL, ONE},
    {"tokenizer.ggml.scores", GB_GGUF_F32, LIST},
    {"tokenizer.ggml.token_type", GB_GGUF_I32, LIST},
    {"tokenizer.ggml.token_type_count", GB_GGUF_U32, ONE},
    {"tokenizer.ggml.tokens", GB_GGUF_STRING, LIST},
    {"*.attention.head_count", GB_GGUF_U32, ONE_OR_LIST},
    {"*.attention.head_count_kv", GB_GGUF_U32, ONE_OR_LIST},
    {"*.attention.key_length", GB_GGUF_U32, ONE},
    {"*.attention.layer_norm_epsilon", GB_GGUF_F32, ONE},
    {"*.attention.layer_norm_rms_epsilon", GB_GGUF_F32, ONE},
    {"*.attention.value_length", GB_GGUF_U32, ONE},
    {"*.block_count", GB_GGUF_U32, ONE},
    {"*.context_length", GB_GGUF_U32, ONE},
    {"*.embedding_length", GB_GGUF_U32, ONE},
    {"*.expert_count", GB_GGUF_U32, ONE},
    {"*.expert_used_count", GB_GGUF_U32, ONE},
    {"*.feed_forward_length", GB_GGUF_U32, ONE_OR_LIST},
    {"*.rope.dimension_count", GB_GGUF_U32, ONE},
    {"*.rope.freq_base", GB_GGUF_F32, ONE},
    {"*.vocab_size", GB_GGUF_U32, ONE},
};

/* Lists of whole numbers may have a sign: writers do not agree. */
static bool type_fits(const struct rule *rule, const struct gb_gguf_value *v) {
    if (v->is_array ? rule->form == ONE : rule->form == LIST) {
        return false;
    }
    return v->type == rule->type ||
           (v->is_array && rule->type == GB_GGUF_U32 && v->type == GB_GGUF_I32);
}

static bool check_type(struct gb_gguf_walk *w, const struct rule *rule) {
    const struct gb_gguf_value *v = rule->key[0] == '*' ? gb_gguf_find_of(w, rule->key + 1)
                                                        : gb_gguf_find(w, rule->key);
    char quoted[GB_GGUF_QUOTE_BYTES];
    if (!v || type_fits(rule, v)) {
        return true;
    }
    return gb_gguf_invalid(w, v->at, "%s is %s%s and must be %s%s%s", gb_gguf_quote(v->key, quoted),
                           v->is_array ? "a list of " : "", gb_gguf_type_text(v->type),
                           rule->form == LIST ? "a list of " : "", gb_gguf_type_text(rule->type),
                           rule->form == ONE_OR_LIST ? " or a list of these" : "");
}

/* ---- what the file is ---- */

static struct gb_span text_of(const struct gb_gguf_walk *w, const struct gb_gguf_value *v) {
    size_t at = v->at;
    return gb_gguf_string(w, &at);
}

static bool check_architecture(struct gb_gguf_walk *w) {
    const struct gb_gguf_value *v = gb_gguf_find(w, "general.architecture");
    char quoted[GB_GGUF_QUOTE_BYTES];
    if (!v || v->is_array || v->type != GB_GGUF_STRING) {
        return gb_gguf_invalid(w, v ? v->at : 16, "the file does not say what architecture the "
                                                  "model has (\"general.architecture\")");
    }
    struct gb_span name = text_of(w, v);
    bool ok = name.len > 0 && name.len <= GB_GGUF_ARCHITECTURE_MAX;
    for (size_t i = 0; ok && i < name.len; i++) {
        uint8_t c = name.ptr[i];
        ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (i > 0 && (c == '_' || c == '-'));
    }
    if (!ok) {
        return gb_gguf_invalid(w, v->at, "%s is no architecture: those are lower-case letters, "
                                         "digits, \"_\" and \"-\", at most %u",
                               gb_gguf_quote(name, quoted), GB_GGUF_ARCHITECTURE_MAX);
    }
    w->architecture = name;
    snprintf(w->summary->architecture, sizeof w->summary->architecture, "%.*s", (int)name.len,
             (const char *)name.ptr);
    return true;
}

static bool check_kind(struct gb_gguf_walk *w) {
    const struct gb_gguf_value *count = gb_gguf_find(w, "split.count");
    const struct gb_gguf_value *number = gb_gguf_find(w, "split.no");
    const struct gb_gguf_value *type = gb_gguf_find(w, "general.type");
    char quoted[GB_GGUF_QUOTE_BYTES];
    if ((count && gb_gguf_number(w, count, 0) > 1) || (number && gb_gguf_number(w, number, 0))) {
        unsigned long long parts = count ? gb_gguf_number(w, count, 0) : 0;
        return gb_gguf_refuse(w, (count ? count : number)->at, WHOLE_HINT,
                              "the file is part %llu of a model that is split into %llu files",
                              number ? (unsigned long long)gb_gguf_number(w, number, 0) + 1 : 1,
                              parts);
    }
    if (type && !gb_span_is(text_of(w, type), "model")) {
        return gb_gguf_refuse(w, type->at, MODEL_HINT, "the file is of the kind %s, not a model",
                              gb_gguf_quote(text_of(w, type), quoted));
    }
    if (gb_span_is(w->architecture, "clip")) {
        return gb_gguf_refuse(w, 0, MODEL_HINT, "the file turns images into embeddings; it is no "
                                                "language model");
    }
    return true;
}

static bool check_alignment(struct gb_gguf_walk *w) {
    const struct gb_gguf_value *v = gb_gguf_find(w, "general.alignment");
    w->alignment = v ? gb_gguf_number(w, v, 0) : GB_GGUF_ALIGN_DEFAULT;
    if (w->alignment == 0 || (w->alignment & (w->alignment - 1)) != 0) {
        return gb_gguf_invalid(w, v ? v->at : 0, "the alignment %llu is no power of two",
                               (unsigned long long)w->alignment);
    }
    if (w->alignment < GB_GGUF_ALIGN_MIN || w->alignment > GB_GGUF_ALIGN_MAX) {
        return gb_gguf_refuse(w, v ? v->at : 0, CONVERT_HINT,
                              "the alignment is %llu; %u to %u are allowed",
                              (unsigned long long)w->alignment, GB_GGUF_ALIGN_MIN,
                              GB_GGUF_ALIGN_MAX);
    }
    return true;
}

/* Printable and cut, for whoever looks at the model. */
static void take_title(struct gb_gguf_walk *w) {
    const struct gb_gguf_value *v = gb_gguf_find(w, "general.name");
    char quoted[GB_GGUF_QUOTE_BYTES];
    if (v) {
        gb_gguf_quote(text_of(w, v), quoted);
        size_t len = strlen(quoted);
        snprintf(w->summary->title, sizeof w->summary->title, "%.*s", (int)(len - 2), quoted + 1);
    }
}

bool gb_gguf_rules_before(struct gb_gguf_walk *w) {
    if (!check_architecture(w)) {
        return false;
    }
    for (size_t i = 0; i < GB_COUNT(rules); i++) {
        if (!check_type(w, &rules[i])) {
            return false;
        }
    }
    take_title(w);
    return check_kind(w) && check_alignment(w);
}

/* ---- the sizes of the model ---- */

static bool read_size(struct gb_gguf_walk *w, const char *suffix, uint64_t max, uint64_t *ret) {
    const struct gb_gguf_value *v = gb_gguf_find_of(w, suffix);
    if (!v) {
        return gb_gguf_invalid(w, 16, "the file has no \"%s%s\"", w->summary->architecture, suffix);
    }
    *ret = gb_gguf_number(w, v, 0);
    if (*ret == 0) {
        return gb_gguf_invalid(w, v->at, "\"%s%s\" is 0", w->summary->architecture, suffix);
    }
    return *ret <= max ||
           gb_gguf_refuse(w, v->at, SMALLER_HINT, "\"%s%s\" is %llu; at most %llu are allowed",
                          w->summary->architecture, suffix, (unsigned long long)*ret,
                          (unsigned long long)max);
}

/* Models with a state in the place of attention write zero heads. */
static bool is_recurrent(const struct gb_gguf_walk *w) {
    return gb_gguf_find_of(w, ".ssm.state_size") || gb_gguf_find_of(w, ".wkv.head_size");
}

static bool check_list(struct gb_gguf_walk *w, const struct gb_gguf_value *v) {
    char quoted[GB_GGUF_QUOTE_BYTES];
    if (v && v->is_array && v->count != w->summary->blocks) {
        return gb_gguf_invalid(w, v->at, "%s has %llu numbers for %llu blocks",
                               gb_gguf_quote(v->key, quoted), (unsigned long long)v->count,
                               (unsigned long long)w->summary->blocks);
    }
    return true;
}

/* Of one block, or of all. */
static bool check_heads(struct gb_gguf_walk *w, const struct gb_gguf_value *v, uint64_t heads,
                        const struct gb_gguf_value *kv, uint64_t kv_heads, bool may_be_none) {
    struct gb_gguf_summary *s = w->summary;
    size_t at = (kv ? kv : v)->at;
    if (heads > GB_GGUF_HEADS_MAX || kv_heads > GB_GGUF_HEADS_MAX) {
        return gb_gguf_invalid(w, at, "a block has %lld heads of attention with %lld of keys and "
                                      "values", (long long)heads, (long long)kv_heads);
    }
    s->heads = GB_MAX(s->heads, heads);
    s->kv_heads = GB_MAX(s->kv_heads, heads > 0 ? kv_heads : 0);
    if ((heads == 0 || kv_heads == 0) && may_be_none) {
        return true;
    }
    if (heads == 0 || kv_heads == 0) {
        return gb_gguf_invalid(w, at, "the model has no heads of attention%s",
                               heads == 0 ? "" : " for keys and values");
    }
    if (heads % kv_heads != 0) {
        return gb_gguf_invalid(w, at, "%llu heads of attention do not divide among %llu of keys "
                                      "and values", (unsigned long long)heads,
                               (unsigned long long)kv_heads);
    }
    if (s->embedding_length % heads != 0 && !gb_gguf_find_of(w, ".attention.key_length")) {
        return gb_gguf_invalid(w, at, "the embedding's length %llu does not divide among %llu "
                                      "heads of attention",
                               (unsigned long long)s->embedding_length, (unsigned long long)heads);
    }
    return true;
}

static bool check_attention(struct gb_gguf_walk *w) {
    const struct gb_gguf_value *v = gb_gguf_find_of(w, ".attention.head_count");
    const struct gb_gguf_value *kv = gb_gguf_find_of(w, ".attention.head_count_kv");
    bool recurrent = is_recurrent(w);
    if (!check_list(w, v) || !check_list(w, kv) ||
        !check_list(w, gb_gguf_find_of(w, ".feed_forward_length"))) {
        return false;
    }
    if (!v) {
        return recurrent || gb_gguf_invalid(w, 16, "the file has no \"%s.attention.head_count\"",
                                            w->summary->architecture);
    }
    bool lists = v->is_array || (kv && kv->is_array);
    for (uint64_t i = 0; i < (lists ? w->summary->blocks : 1); i++) {
        uint64_t heads = gb_gguf_number(w, v, v->is_array ? i : 0);
        uint64_t kv_heads = kv ? gb_gguf_number(w, kv, kv->is_array ? i : 0) : heads;
        if (!check_heads(w, v, heads, kv, kv_heads, recurrent || lists)) {
            return false;
        }
    }
    return recurrent || w->summary->heads > 0 ||
           gb_gguf_invalid(w, v->at, "the model has no heads of attention");
}

static bool check_lengths(struct gb_gguf_walk *w) {
    static const char *const suffixes[] = {".attention.key_length", ".attention.value_length"};
    for (size_t i = 0; i < GB_COUNT(suffixes); i++) {
        uint64_t length;
        if (gb_gguf_find_of(w, suffixes[i]) &&
            !read_size(w, suffixes[i], GB_GGUF_EMBEDDING_MAX, &length)) {
            return false;
        }
    }
    return true;
}

static bool check_experts(struct gb_gguf_walk *w) {
    const struct gb_gguf_value *v = gb_gguf_find_of(w, ".expert_count");
    const struct gb_gguf_value *used = gb_gguf_find_of(w, ".expert_used_count");
    uint64_t experts = v ? gb_gguf_number(w, v, 0) : 0;
    uint64_t used_count = used ? gb_gguf_number(w, used, 0) : 0;
    if (experts > GB_GGUF_EXPERTS_MAX) {
        return gb_gguf_refuse(w, v->at, SMALLER_HINT, "the model has %llu experts; at most %u are "
                                                      "allowed", (unsigned long long)experts,
                              GB_GGUF_EXPERTS_MAX);
    }
    if (used_count > experts || (experts > 0 && used_count == 0)) {
        return gb_gguf_invalid(w, (used ? used : v)->at, "the model uses %llu of its %llu experts",
                               (unsigned long long)used_count, (unsigned long long)experts);
    }
    return true;
}

/* Numbers that are divided by or taken the root of. */
static bool check_floats(struct gb_gguf_walk *w) {
    static const char *const suffixes[] = {".attention.layer_norm_epsilon",
                                           ".attention.layer_norm_rms_epsilon", ".rope.freq_base"};
    for (size_t i = 0; i < GB_COUNT(suffixes); i++) {
        const struct gb_gguf_value *v = gb_gguf_find_of(w, suffixes[i]);
        float value = v ? gb_gguf_float(w, v, 0) : 1;
        if (!isfinite(value) || value < 0) {
            return gb_gguf_invalid(w, v ? v->at : 0, "\"%s%s\" is %g", w->summary->architecture,
                                   suffixes[i], (double)value);
        }
    }
    return true;
}

static void take_types(struct gb_gguf_walk *w) {
    const struct gb_gguf_value *v = gb_gguf_find(w, "general.file_type");
    size_t most = 0;
    for (size_t i = 1; i < GB_GGUF_TENSOR_TYPES; i++) {
        most = w->type_bytes[i] > w->type_bytes[most] ? i : most;
    }
    w->summary->weights_type = gb_gguf_tensor_types[most].name;
    const char *named = v ? gb_gguf_file_type_text(gb_gguf_number(w, v, 0)) : NULL;
    w->summary->quantisation = named ? named : w->summary->weights_type;
    if (v && !named) {
        gb_gguf_finding(w, "its file type %llu is unknown",
                        (unsigned long long)gb_gguf_number(w, v, 0));
    }
}

bool gb_gguf_rules_after(struct gb_gguf_walk *w) {
    struct gb_gguf_summary *s = w->summary;
    take_types(w);
    return read_size(w, ".context_length", GB_GGUF_CONTEXT_MAX, &s->context_length) &&
           read_size(w, ".embedding_length", GB_GGUF_EMBEDDING_MAX, &s->embedding_length) &&
           read_size(w, ".block_count", GB_GGUF_BLOCKS_MAX, &s->blocks) && check_lengths(w) &&
           check_attention(w) && check_experts(w) && check_floats(w);
}
