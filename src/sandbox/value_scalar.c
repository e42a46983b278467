/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON to values that have no children: numbers within the range of their type, characters, names,
 * flags, and bytes, which come as base64 or as an array.
 */
#include "base/num.h"
#include "sandbox/value.h"
#include "sandbox/value_reader.h"

struct range {
    int64_t min;
    uint64_t max;
};

static struct range range_of(uint32_t kind) {
    switch ((enum gb_value_kind)kind) {
    case GB_VALUE_S8:
        return (struct range){INT8_MIN, INT8_MAX};
    case GB_VALUE_U8:
        return (struct range){0, UINT8_MAX};
    case GB_VALUE_S16:
        return (struct range){INT16_MIN, INT16_MAX};
    case GB_VALUE_U16:
        return (struct range){0, UINT16_MAX};
    case GB_VALUE_S32:
        return (struct range){INT32_MIN, INT32_MAX};
    case GB_VALUE_U32:
        return (struct range){0, UINT32_MAX};
    case GB_VALUE_S64:
        return (struct range){INT64_MIN, INT64_MAX};
    case GB_VALUE_BOOL:
    case GB_VALUE_U64:
    case GB_VALUE_F32:
    case GB_VALUE_F64:
    case GB_VALUE_CHAR:
    case GB_VALUE_STRING:
    case GB_VALUE_BYTES:
    case GB_VALUE_LIST:
    case GB_VALUE_RECORD:
    case GB_VALUE_TUPLE:
    case GB_VALUE_VARIANT:
    case GB_VALUE_ENUM:
    case GB_VALUE_OPTION:
    case GB_VALUE_RESULT:
    case GB_VALUE_FLAGS:
    case GB_VALUE_OTHER:
        break;
    }
    return (struct range){0, UINT64_MAX};
}

/* "-12": decimal digits, nothing around them. */
static bool integer_of_text(const char *text, size_t len, bool *ret_negative,
                            uint64_t *ret_magnitude) {
    bool negative = len > 0 && text[0] == '-';
    size_t i = negative ? 1 : 0;
    uint64_t n = 0;
    if (i == len || len > 20) {
        return false;
    }
    for (; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || !gb_mul_u64(n, 10, &n) ||
            !gb_add_u64(n, (uint64_t)(text[i] - '0'), &n)) {
            return false;
        }
    }
    *ret_negative = negative && n != 0;
    *ret_magnitude = n;
    return true;
}

bool gb_value_read_integer(struct gb_value_reader *r, uint32_t kind, yyjson_val *json,
                           struct gb_value *to) {
    bool negative = false;
    uint64_t magnitude = 0;
    bool ok;
    if (yyjson_is_uint(json)) {
        magnitude = yyjson_get_uint(json);
        ok = true;
    } else if (yyjson_is_sint(json)) {
        negative = yyjson_get_sint(json) < 0;
        magnitude = negative ? 0 - (uint64_t)yyjson_get_sint(json) : yyjson_get_uint(json);
        ok = true;
    } else if (yyjson_is_str(json)) {
        ok = integer_of_text(yyjson_get_str(json), yyjson_get_len(json), &negative, &magnitude);
    } else if (yyjson_is_real(json)) {
        ok = false;
    } else {
        return gb_value_expected(r, kind, json);
    }
    struct range range = range_of(kind);
    uint64_t below = 0 - (uint64_t)range.min;
    if (!ok || (negative ? magnitude > below : magnitude > range.max)) {
        char path[GB_VALUE_PLACE_CAP];
        return gb_fail(r->err, GB_INVALID_ARGUMENT,
                       "%s: expected %s (%lld to %llu), got another %s", gb_value_place(r, path),
                       gb_value_kind_text(kind), (long long)range.min,
                       (unsigned long long)range.max, gb_value_got(json));
    }
    if (range.min < 0) {
        to->of.integer = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    } else {
        to->of.natural = magnitude;
    }
    return true;
}

bool gb_value_read_float(struct gb_value_reader *r, uint32_t kind, yyjson_val *json,
                         struct gb_value *to) {
    double number;
    if (yyjson_is_num(json)) {
        number = yyjson_get_num(json);
    } else if (yyjson_equals_str(json, "NaN")) {
        number = __builtin_nan("");
    } else if (yyjson_equals_str(json, "Infinity")) {
        number = __builtin_inf();
    } else if (yyjson_equals_str(json, "-Infinity")) {
        number = -__builtin_inf();
    } else {
        return gb_value_expected(r, kind, json);
    }
    if (kind == GB_VALUE_F64) {
        to->of.f64 = number;
        return true;
    }
    to->of.f32 = (float)number;
    bool finite = yyjson_is_num(json);
    return !finite || __builtin_isfinite(to->of.f32) ||
           gb_value_bad(r, "the number is too large for f32");
}

/* The one scalar value of a text. */
bool gb_value_read_char(struct gb_value_reader *r, yyjson_val *json, struct gb_value *to) {
    if (!yyjson_is_str(json)) {
        return gb_value_expected(r, GB_VALUE_CHAR, json);
    }
    const uint8_t *p = (const uint8_t *)yyjson_get_str(json);
    size_t len = yyjson_get_len(json);
    size_t wants = len == 0 ? 1 : p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (len != wants) {
        return gb_value_bad(r, "expected char, a string of one character");
    }
    uint32_t code = wants == 1 ? p[0] : p[0] & (0x7fu >> wants);
    for (size_t i = 1; i < len; i++) {
        code = code << 6 | (p[i] & 0x3fu);
    }
    to->of.natural = code;
    return true;
}

bool gb_value_find_name(const struct gb_value_reader *r, const struct gb_value_type *t,
                        yyjson_val *name, uint32_t *ret_at) {
    for (uint32_t i = 0; i < t->len; i++) {
        struct gb_text known = r->s->members[t->first + i].name;
        if (yyjson_equals_strn(name, known.ptr, known.len)) {
            *ret_at = i;
            return true;
        }
    }
    return false;
}

bool gb_value_read_flags(struct gb_value_reader *r, const struct gb_value_type *t, yyjson_val *json,
                         struct gb_value *to) {
    if (!yyjson_is_arr(json)) {
        return gb_value_expected(r, GB_VALUE_FLAGS, json);
    }
    size_t i, max;
    yyjson_val *name;
    yyjson_arr_foreach(json, i, max, name) {
        uint32_t at = 0;
        if (!yyjson_is_str(name)) {
            return gb_value_bad(r, "expected flags, an array of names");
        }
        if (!gb_value_find_name(r, t, name, &at) || at >= 64) {
            return gb_value_bad_name(r, "there is no flag", yyjson_get_str(name),
                                     yyjson_get_len(name));
        }
        if (to->of.natural >> at & 1) {
            return gb_value_bad_name(r, "duplicate", yyjson_get_str(name), yyjson_get_len(name));
        }
        to->of.natural |= (uint64_t)1 << at;
    }
    return true;
}

static bool read_byte_array(struct gb_value_reader *r, yyjson_val *json, struct gb_value *to) {
    uint8_t *bytes = gb_values_alloc(r->to, yyjson_arr_size(json), 1, r->err);
    if (!bytes) {
        return false;
    }
    size_t i, max;
    yyjson_val *item;
    yyjson_arr_foreach(json, i, max, item) {
        if (yyjson_is_uint(item) && yyjson_get_uint(item) <= UINT8_MAX) {
            bytes[i] = (uint8_t)yyjson_get_uint(item);
            continue;
        }
        struct gb_value byte = {0};
        if (r->depth < GB_VALUE_DEPTH_MAX) { /* for the path */
            struct gb_value_level l = {
                .type = GB_VALUE_NO_TYPE, .member_first = GB_VALUE_NO_TYPE, .at = i};
            r->levels[r->depth++] = l;
        }
        if (!gb_value_read_integer(r, GB_VALUE_U8, item, &byte)) {
            return false;
        }
        r->depth--;
        bytes[i] = (uint8_t)byte.of.natural; /* it was a string */
    }
    to->of.text = (struct gb_text){(const char *)bytes, yyjson_arr_size(json)};
    return true;
}

bool gb_value_read_bytes(struct gb_value_reader *r, yyjson_val *json, struct gb_value *to) {
    if (yyjson_is_arr(json)) {
        return read_byte_array(r, json, to);
    }
    if (!yyjson_is_obj(json)) {
        return gb_value_expected(r, GB_VALUE_BYTES, json);
    }
    yyjson_val *text = yyjson_obj_get(json, "base64");
    if (yyjson_obj_size(json) != 1 || !yyjson_is_str(text)) {
        return gb_value_bad(r, "expected list<u8>, as {\"base64\":\"…\"} or an array");
    }
    size_t len = yyjson_get_len(text);
    uint8_t *bytes = gb_values_alloc(r->to, len / 4 * 3 + 3, 1, r->err);
    size_t bytes_len;
    if (!bytes) {
        return false;
    }
    if (!gb_base64_decode(gb_span_make(yyjson_get_str(text), len), bytes, &bytes_len)) {
        return gb_value_bad(r, "the text is not base64");
    }
    to->of.text = (struct gb_text){(const char *)bytes, bytes_len};
    return true;
}

bool gb_value_read_enum(struct gb_value_reader *r, const struct gb_value_type *t, yyjson_val *json,
                        struct gb_value *to) {
    if (!yyjson_is_str(json)) {
        return gb_value_expected(r, GB_VALUE_ENUM, json);
    }
    return gb_value_find_name(r, t, json, &to->which) ||
           gb_value_bad_name(r, "there is no case", yyjson_get_str(json), yyjson_get_len(json));
}
