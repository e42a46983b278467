/* SPDX-License-Identifier: Apache-2.0 */
/* Typed calls: guests loaded to call one function, their arguments and results. */
#include "glovebox/value.h"

#include "base/num.h"
#include "lib/lib.h"
#include "sandbox/value.h"

/* A gb_args is the sandbox's gb_values under a public name. */
struct gb_args {
    struct gb_values *values;
};

struct gb_guest *gb_guest_load_function(struct gb_host *h, const char *path, const char *function,
                                        const struct gb_grant_options *grants,
                                        const struct gb_limit_options *limits,
                                        struct gb_error **err) {
    if (!function || !function[0]) {
        gb_fail(err, GB_INVALID_ARGUMENT, "no function was named");
        return NULL;
    }
    return gb_lib_guest_load(h, path, function, grants, limits, err);
}

const struct gb_signature *gb_guest_signature(const struct gb_guest *g) {
    return gb_program_signature(g->program);
}

const char *gb_guest_function_type(const struct gb_guest *g) {
    return gb_program_call_type(g->program);
}

struct gb_args *gb_guest_read_args(const struct gb_guest *g, const char *json, size_t json_bytes,
                                   struct gb_error **err) {
    const struct gb_signature *s = gb_guest_signature(g);
    if (!s) {
        gb_fail(err, GB_INVALID_ARGUMENT, "the guest was not loaded to call a function");
        return NULL;
    }
    struct gb_args *a = gb_calloc(1, sizeof *a, err);
    if (!a) {
        return NULL;
    }
    /* What fits the guest's memory fits twice over in base64. */
    uint64_t bytes_max;
    if (!gb_mul_u64(g->limits.memory_bytes, 2, &bytes_max)) {
        bytes_max = UINT64_MAX;
    }
    a->values = gb_values_read(s, gb_span_make(json, json_bytes), GB_MAX(bytes_max, 2 * GB_MIB),
                               g->host->tenant, err);
    if (!a->values) {
        if (err && *err && !(*err)->hint) {
            gb_hint(err, "The function is %.600s.", gb_guest_function_type(g));
        }
        gb_free(a);
        return NULL;
    }
    return a;
}

const struct gb_value *gb_args_values(const struct gb_args *a, size_t *ret_len) {
    return gb_values_items(a->values, ret_len);
}

void gb_args_free(struct gb_args *a) {
    if (a) {
        gb_values_free(a->values);
        gb_free(a);
    }
}

bool gb_lib_values_check(const struct gb_guest *g, const struct gb_value *values, size_t len,
                         struct gb_error **err) {
    const struct gb_signature *s = gb_guest_signature(g);
    if (!s) {
        return len == 0 ||
               gb_fail(err, GB_INVALID_ARGUMENT, "values are for guests of gb_guest_load_function");
    }
    if (len != s->params_len) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "the function takes %u values, and %zu were given",
                       s->params_len, len);
    }
    for (size_t i = 0; i < len; i++) {
        uint32_t kind = s->types[s->members[s->params + i].type].kind;
        if (values[i].kind != kind) {
            return gb_fail(err, GB_INVALID_ARGUMENT, "value %zu is a %s, not a %s", i,
                           gb_value_kind_text(values[i].kind), gb_value_kind_text(kind));
        }
    }
    return true;
}

bool gb_result_is_call(const struct gb_result *r) {
    return r->inner.program != NULL;
}

const struct gb_value *gb_result_value(const struct gb_result *r) {
    return r->inner.value;
}

char *gb_result_value_json(const struct gb_result *r, size_t *ret_bytes, struct gb_error **err) {
    if (!r->inner.program) {
        return NULL;
    }
    struct gb_buf out;
    gb_buf_init(&out, SIZE_MAX / 2);
    char *text = NULL;
    if (gb_value_write(gb_program_signature(r->inner.program), r->inner.value_type, r->inner.value,
                       &out, err)) {
        *ret_bytes = out.len;
        text = gb_buf_take(&out);
    }
    gb_buf_fini(&out);
    return text;
}
