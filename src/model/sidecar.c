/* SPDX-License-Identifier: Apache-2.0 */
/*
 * <stem>.toml beside a model: what the operator says about it. An unknown key is an error, so that
 * a typing mistake never silently drops a digest or a limit. What is known and not built yet is
 * refused as `unsupported`, unless its value asks for what we do anyway.
 */
#include "base/alloc.h"
#include "base/num.h"
#include "model/model_internal.h"
#include "text/toml.h"

#define LAYOUT_BYTES_MAX 1024u
#define BATCH_MAX 65536
#define CONTEXT_MAX (INT64_C(1) << 24)

enum key { DIGEST, PLACEMENT, THREADS, DEADLINE, WARM_UP, MAX_BATCH, LAYOUT, CONTEXT, PARALLEL,
           KV_BUDGET, KEYS };
static const char *const key_texts[KEYS] = {
    [DIGEST] = "digest",     [PLACEMENT] = "placement", [THREADS] = "threads",
    [DEADLINE] = "deadline", [WARM_UP] = "warm-up",     [MAX_BATCH] = "max-batch",
    [LAYOUT] = "layout",     [CONTEXT] = "context",     [PARALLEL] = "parallel",
    [KV_BUDGET] = "kv-budget",
};

void gb_sidecar_init(struct gb_sidecar *s) {
    *s = (struct gb_sidecar){.warm_up = true};
}

void gb_sidecar_fini(struct gb_sidecar *s) {
    gb_free(s->layout);
    s->layout = NULL;
}

static bool set_digest(const struct gb_toml_value *v, struct gb_sidecar *s, struct gb_error **err) {
    struct gb_span text;
    if (!gb_toml_string(v, &text, err)) {
        return false;
    }
    if (!gb_digest_text_ok(text)) {
        gb_toml_fail(v, err, "\"%.*s\" is no digest", GB_SPAN_ARG(text));
        return gb_hint(err, "Write \"sha256:\" and 64 lower-case hexadecimal digits.");
    }
    memcpy(s->digest, text.ptr, text.len);
    s->digest[text.len] = '\0';
    return true;
}

static bool set_placement(const struct gb_toml_value *v, struct gb_sidecar *s,
                          struct gb_error **err) {
    struct gb_span text;
    if (!gb_toml_string(v, &text, err)) {
        return false;
    }
    if (gb_span_is(text, "worker") || gb_span_is(text, "inline")) {
        s->placement = text.ptr[0] == 'i' ? GB_PLACEMENT_INLINE : GB_PLACEMENT_WORKER;
        return true;
    }
    return gb_toml_fail(v, err, "placement is \"worker\" or \"inline\", not \"%.*s\"",
                        GB_SPAN_ARG(text));
}

static bool set_max_batch(const struct gb_toml_value *v, struct gb_error **err) {
    int64_t batch;
    if (!gb_toml_integer(v, 1, BATCH_MAX, &batch, err)) {
        return false;
    }
    if (batch == 1) {
        return true;
    }
    gb_toml_fail_as(v, GB_UNSUPPORTED, err, "batching is not built yet");
    return gb_hint(err, "Use max-batch = 1, or leave it out.");
}

static bool set_layout(const struct gb_toml_value *v, struct gb_sidecar *s, struct gb_error **err) {
    struct gb_span text;
    if (!gb_toml_string(v, &text, err)) {
        return false;
    }
    if (text.len > LAYOUT_BYTES_MAX) {
        return gb_toml_fail(v, err, "layout has more than %u bytes", LAYOUT_BYTES_MAX);
    }
    char *layout = gb_strndup((const char *)text.ptr, text.len, err);
    if (!layout) {
        return false;
    }
    gb_free(s->layout);
    s->layout = layout;
    return true;
}

static bool set_threads(const struct gb_toml_value *v, struct gb_sidecar *s,
                        struct gb_error **err) {
    int64_t threads;
    if (!gb_toml_integer(v, 1, GB_WIRE_THREADS_MAX, &threads, err)) {
        return false;
    }
    s->threads = (uint32_t)threads;
    return true;
}

static bool set_value(void *user, const struct gb_toml_value *v, struct gb_error **err) {
    struct gb_sidecar *s = user;
    int64_t integer;
    uint64_t bytes;
    unsigned key = 0;
    while (key < KEYS && !gb_span_is(v->path, key_texts[key])) {
        key++;
    }
    switch ((enum key)key) {
    case DIGEST:
        return set_digest(v, s, err);
    case PLACEMENT:
        return set_placement(v, s, err);
    case THREADS:
        return set_threads(v, s, err);
    case DEADLINE:
        return gb_toml_duration(v, &s->deadline_us, err);
    case WARM_UP:
        return gb_toml_bool(v, &s->warm_up, err);
    case MAX_BATCH:
        return set_max_batch(v, err);
    case LAYOUT:
        return set_layout(v, s, err);
    /* Of language models, which no engine of this build runs: checked, not used. */
    case CONTEXT:
        return gb_toml_integer(v, 1, CONTEXT_MAX, &integer, err);
    case PARALLEL:
        return gb_toml_integer(v, 1, GB_WIRE_RING_SLOTS, &integer, err);
    case KV_BUDGET:
        return gb_toml_size(v, &bytes, err);
    case KEYS:
        break;
    }
    return gb_toml_fail_key(v, key_texts, KEYS, err);
}

bool gb_sidecar_parse(struct gb_span text, const char *path, struct gb_sidecar *ret_sidecar,
                      struct gb_error **err) {
    struct gb_sidecar s;
    gb_sidecar_init(&s);
    if (!gb_toml_walk(text, path, set_value, &s, err)) {
        gb_sidecar_fini(&s);
        return false;
    }
    *ret_sidecar = s;
    return true;
}
