/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options: strict readings, because a limit that was misread is no limit. */
#include "cli/values.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/span.h"

#define NEAREST_BYTES_MAX 40

/* ---- numbers ---- */

/* Digits at the start of text; false when there are none or they do not fit 64 bits. */
static bool leading_digits(const char *text, uint64_t *ret_number, const char **ret_rest) {
    uint64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (!gb_mul_u64(number, 10, &number) ||
            !gb_add_u64(number, (uint64_t)(*at - '0'), &number)) {
            return false;
        }
    }
    if (at == text) {
        return false;
    }
    *ret_number = number;
    *ret_rest = at;
    return true;
}

struct unit {
    const char *text;
    uint64_t factor;
};

static bool unit_value(const char *rest, const struct unit *units, size_t len, uint64_t number,
                       uint64_t *ret_value) {
    for (size_t i = 0; i < len; i++) {
        if (strcmp(rest, units[i].text) == 0) {
            return gb_mul_u64(number, units[i].factor, ret_value);
        }
    }
    return false;
}

bool gb_value_count(const char *option, const char *text, const char *example, uint64_t *ret_value,
                    struct gb_error **err) {
    uint64_t number;
    const char *rest;
    if (!leading_digits(text, &number, &rest) || *rest != '\0') {
        gb_fail(err, GB_USAGE_ERROR, "--%s takes a whole number, not \"%s\"", option, text);
        return gb_hint(err, "Write digits only: --%s %s.", option, example);
    }
    *ret_value = number;
    return true;
}

bool gb_value_size(const char *option, const char *text, const char *example, uint64_t *ret_bytes,
                   struct gb_error **err) {
    static const struct unit units[] = {
        {"", 1}, {"KiB", GB_KIB}, {"MiB", GB_MIB}, {"GiB", GB_GIB}};
    uint64_t number;
    const char *rest;
    if (!leading_digits(text, &number, &rest) ||
        !unit_value(rest, units, GB_COUNT(units), number, ret_bytes)) {
        gb_fail(err, GB_USAGE_ERROR, "--%s takes a size, not \"%s\"", option, text);
        return gb_hint(err, "Write a whole number of bytes, or one with KiB, MiB or GiB: --%s %s.",
                       option, example);
    }
    return true;
}

bool gb_value_duration(const char *option, const char *text, const char *example, uint64_t *ret_us,
                       struct gb_error **err) {
    static const struct unit units[] = {
        {"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60 * (uint64_t)1000000}};
    uint64_t number;
    const char *rest;
    if (!leading_digits(text, &number, &rest)) {
        gb_fail(err, GB_USAGE_ERROR, "--%s takes a duration, not \"%s\"", option, text);
        return gb_hint(err, "Write a whole number with us, ms, s or m: --%s %s.", option, example);
    }
    if (*rest == '\0') {
        gb_fail(err, GB_USAGE_ERROR, "--%s takes a duration, and \"%s\" has no unit", option, text);
        return gb_hint(err, "Write the unit, one of us, ms, s and m: --%s %sms.", option, text);
    }
    if (!unit_value(rest, units, GB_COUNT(units), number, ret_us)) {
        gb_fail(err, GB_USAGE_ERROR, "--%s takes a duration, not \"%s\"", option, text);
        return gb_hint(err, "Write a whole number with us, ms, s or m: --%s %s.", option, example);
    }
    return true;
}

/* ---- directories ---- */

static bool dir_fail(const char *text, const char *why, struct gb_error **err) {
    gb_fail(err, GB_USAGE_ERROR, "--dir \"%s\" %s", text, why);
    return gb_hint(err, "Write --dir HOST, --dir HOST::GUEST or --dir HOST::GUEST::rw.");
}

static bool dir_take(struct gb_dir_value *d, struct gb_span host, struct gb_span guest,
                     bool writable, const char *text, struct gb_error **err) {
    if (host.len == 0 || guest.len == 0) {
        return dir_fail(text, "leaves a path empty", err);
    }
    struct gb_dir_value made = {.writable = writable};
    made.host = gb_strndup((const char *)host.ptr, host.len, err);
    made.guest = made.host ? gb_strndup((const char *)guest.ptr, guest.len, err) : NULL;
    if (!made.guest) {
        gb_dir_value_fini(&made);
        return false;
    }
    *d = made;
    return true;
}

bool gb_value_dir(const char *text, struct gb_dir_value *ret_dir, struct gb_error **err) {
    const char *two = strstr(text, "::");
    const char *one = strchr(text, ':');
    if (!one) {
        struct gb_span both = gb_span_of(text);
        return dir_take(ret_dir, both, both, false, text, err);
    }
    const char *first_end = two ? two : one;
    const char *second = first_end + (two ? 2 : 1);
    const char *second_end = two ? strstr(second, "::") : strchr(second, ':');
    const char *mode = second_end ? second_end + (two ? 2 : 1) : NULL;
    if (two && mode && strcmp(mode, "rw") != 0 && strcmp(mode, "ro") != 0) {
        return dir_fail(text, "does not end in ::rw", err);
    }
    if (!two && mode && strcmp(mode, "readonly") != 0) {
        return dir_fail(text, "has a third part that is not readonly", err);
    }
    struct gb_span a = gb_span_make(text, (size_t)(first_end - text));
    struct gb_span b = second_end ? gb_span_make(second, (size_t)(second_end - second))
                                  : gb_span_of(second);
    bool writable = two && mode && strcmp(mode, "rw") == 0;
    return dir_take(ret_dir, two ? a : b, two ? b : a, writable, text, err);
}

void gb_dir_value_fini(struct gb_dir_value *d) {
    gb_free(d->host);
    gb_free(d->guest);
    *d = (struct gb_dir_value){0};
}

/* ---- models ---- */

void gb_model_value_fini(struct gb_model_value *m) {
    gb_free(m->name);
    gb_free(m->encoding);
    gb_free(m->target);
    gb_free(m->path);
    *m = (struct gb_model_value){0};
}

bool gb_value_model(const char *text, struct gb_model_value *ret_model, struct gb_error **err) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || equals[1] == '\0') {
        gb_fail(err, GB_USAGE_ERROR, "--model takes NAME=PATH, not \"%s\"", text);
        return gb_hint(err, "Write, for example, --model digits=models/digits.onnx.");
    }
    struct gb_model_value m = {0};
    m.name = gb_strndup(text, (size_t)(equals - text), err);
    m.path = m.name ? gb_strdup(equals + 1, err) : NULL;
    if (!m.path) {
        gb_model_value_fini(&m);
        return false;
    }
    *ret_model = m;
    return true;
}

static char *lower_copy(const char *text, size_t len, struct gb_error **err) {
    char *copy = gb_strndup(text, len, err);
    for (char *at = copy; at && *at; at++) {
        *at = (char)tolower((unsigned char)*at);
    }
    return copy;
}

static bool one_of(const char *text, const char *const *words, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool preload_words_ok(const struct gb_model_value *m, struct gb_error **err) {
    static const char *const encodings[] = {"onnx", "ggml", "gguf", "openvino", "autodetect"};
    static const char *const targets[] = {"cpu", "gpu", "tpu", "auto"};
    if (!one_of(m->encoding, encodings, GB_COUNT(encodings))) {
        gb_fail(err, GB_USAGE_ERROR, "--nn-preload names the unknown encoding \"%s\"", m->encoding);
        return gb_hint(err, "Encodings are onnx, ggml, gguf, openvino and autodetect.");
    }
    if (!one_of(m->target, targets, GB_COUNT(targets))) {
        gb_fail(err, GB_USAGE_ERROR, "--nn-preload names the unknown target \"%s\"", m->target);
        return gb_hint(err, "Targets are cpu, gpu, tpu and auto.");
    }
    return true;
}

bool gb_value_preload(const char *text, struct gb_model_value *ret_model, struct gb_error **err) {
    const char *starts[4] = {text, NULL, NULL, NULL};
    size_t lens[4] = {0};
    for (size_t i = 0; i < 3; i++) {
        const char *colon = strchr(starts[i], ':');
        lens[i] = colon ? (size_t)(colon - starts[i]) : 0;
        if (lens[i] == 0) {
            break;
        }
        starts[i + 1] = colon + 1;
    }
    if (!starts[3] || starts[3][0] == '\0') {
        gb_fail(err, GB_USAGE_ERROR, "--nn-preload takes NAME:ENC:TARGET:PATH, not \"%s\"", text);
        return gb_hint(err, "Write, for example, --nn-preload digits:onnx:cpu:models/digits.onnx.");
    }
    struct gb_model_value m = {0};
    m.name = gb_strndup(starts[0], lens[0], err);
    m.encoding = m.name ? lower_copy(starts[1], lens[1], err) : NULL;
    m.target = m.encoding ? lower_copy(starts[2], lens[2], err) : NULL;
    m.path = m.target ? gb_strdup(starts[3], err) : NULL;
    if (!m.path || !preload_words_ok(&m, err)) {
        gb_model_value_fini(&m);
        return false;
    }
    *ret_model = m;
    return true;
}

/* ---- environment ---- */

bool gb_value_env(const char *text, char **ret_pair, struct gb_error **err) {
    const char *equals = strchr(text, '=');
    if (equals == text || text[0] == '\0') {
        gb_fail(err, GB_USAGE_ERROR, "--env \"%s\" names no variable", text);
        return gb_hint(err, "Write --env NAME=VALUE, or --env NAME to pass ours on.");
    }
    if (equals) {
        *ret_pair = gb_strdup(text, err);
        return *ret_pair != NULL;
    }
    const char *value = getenv(text);
    if (!value) {
        gb_fail(err, GB_USAGE_ERROR, "--env %s: the environment has no such variable to pass on",
                text);
        return gb_hint(err, "Set it, or write --env %s=VALUE.", text);
    }
    char *pair = gb_format(err, "%s=%s", text, value);
    if (!pair) {
        return false;
    }
    *ret_pair = pair;
    return true;
}

/* ---- what was meant ---- */

/* Edits (insert, delete, replace, swap neighbours) between two short texts. */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t rows[3][NEAREST_BYTES_MAX + 1];
    for (size_t k = 0; k <= b_len; k++) {
        rows[0][k] = k;
    }
    for (size_t i = 1; i <= a_len; i++) {
        size_t *now = rows[i % 3];
        const size_t *last = rows[(i + 2) % 3];
        const size_t *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t k = 1; k <= b_len; k++) {
            size_t cost = a[i - 1] == b[k - 1] ? 0 : 1;
            size_t best = GB_MIN(last[k] + 1, now[k - 1] + 1);
            best = GB_MIN(best, last[k - 1] + cost);
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1]) {
                best = GB_MIN(best, before[k - 2] + 1);
            }
            now[k] = best;
        }
    }
    return rows[a_len % 3][b_len];
}

const char *gb_nearest(const char *text, const char *const *candidates, size_t len) {
    size_t text_len = strlen(text);
    if (text_len == 0 || text_len > NEAREST_BYTES_MAX) {
        return NULL;
    }
    const char *best = NULL;
    size_t best_distance = 1 + GB_MAX((size_t)1, GB_MIN(text_len / 3, (size_t)3));
    for (size_t i = 0; i < len; i++) {
        size_t candidate_len = strlen(candidates[i]);
        if (candidate_len > NEAREST_BYTES_MAX) {
            continue;
        }
        size_t distance = edit_distance(text, text_len, candidates[i], candidate_len);
        if (distance < best_distance) {
            best = candidates[i];
            best_distance = distance;
        }
    }
    return best;
}
