/* SPDX-License-Identifier: Apache-2.0 */
/* Durations and sizes: a whole number and a unit, nothing in between. */
#include "text/unit.h"

#include "base/num.h"

struct unit {
    const char *text;
    uint64_t factor;
};

/* The digits at the start; *ret_rest is what follows. False when there are none, or too many. */
static bool split(struct gb_span text, uint64_t *ret_number, struct gb_span *ret_rest) {
    uint64_t number = 0;
    size_t i = 0;
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++) {
        if (!gb_mul_u64(number, 10, &number) ||
            !gb_add_u64(number, (uint64_t)(text.ptr[i] - '0'), &number)) {
            return false;
        }
    }
    *ret_number = number;
    *ret_rest = gb_span_make(text.ptr + i, text.len - i);
    return i > 0;
}

static bool parse(struct gb_span text, const struct unit *units, size_t units_len, const char *what,
                  const char *hint, uint64_t *ret_value, struct gb_error **err) {
    uint64_t number = 0;
    uint64_t value = 0;
    struct gb_span rest = {0};
    if (split(text, &number, &rest)) {
        for (size_t i = 0; i < units_len; i++) {
            if (gb_span_is(rest, units[i].text) && gb_mul_u64(number, units[i].factor, &value)) {
                *ret_value = value;
                return true;
            }
        }
    }
    gb_fail(err, GB_INVALID_ARGUMENT, "\"%.*s\" is no %s", GB_SPAN_ARG(text), what);
    return gb_hint(err, "%s", hint);
}

bool gb_duration_parse(struct gb_span text, uint64_t *ret_us, struct gb_error **err) {
    static const struct unit units[] = {
        {"us", 1}, {"ms", 1000}, {"s", 1000 * 1000}, {"m", 60ull * 1000 * 1000}};
    return parse(text, units, GB_COUNT(units), "duration",
                 "Write a whole number and a unit: 500us, 20ms, 30s, 5m.", ret_us, err);
}

bool gb_size_parse(struct gb_span text, uint64_t *ret_bytes, struct gb_error **err) {
    static const struct unit units[] = {
        {"", 1}, {"KiB", GB_KIB}, {"MiB", GB_MIB}, {"GiB", GB_GIB}};
    return parse(text, units, GB_COUNT(units), "size",
                 "Write a whole number of bytes, or with a unit: 512KiB, 64MiB, 1GiB.", ret_bytes,
                 err);
}
