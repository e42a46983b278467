/* SPDX-License-Identifier: Apache-2.0 */
/* Gives back what it is given, in every WIT type: what is passed on is owned by the answer. */
#include <stdlib.h>
#include <string.h>

#include "agent.h"

#define ECHO(name) exports_glovebox_test_values_echo_##name

uint32_t exports_agent_add(uint32_t a, uint32_t b) {
    return a + b;
}

static void text(agent_string_t *ret, const char *format, const agent_string_t *a,
                 const agent_string_t *b) {
    size_t len = strlen(format) + a->len + b->len;
    uint8_t *to = malloc(len);
    size_t n = 0;
    if (!to) {
        abort();
    }
    for (const char *p = format; *p; p++) {
        const agent_string_t *part = *p == '1' ? a : *p == '2' ? b : NULL;
        if (part) {
            memcpy(to + n, part->ptr, part->len);
            n += part->len;
        } else {
            to[n++] = (uint8_t)*p;
        }
    }
    *ret = (agent_string_t){.ptr = to, .len = n};
}

void exports_glovebox_test_values_greeter_greet(
    exports_glovebox_test_values_greeter_person_t *person, agent_string_t *ret) {
    text(ret, "Hello, 1 2!", &person->first, &person->last);
}

void exports_glovebox_test_values_stranger_greet(agent_string_t *name, agent_string_t *ret) {
    text(ret, "Who is 1?", name, name);
}

#define SCALAR(name, type)                                                                         \
    type ECHO(echo_##name)(type v) {                                                               \
        return v;                                                                                  \
    }
SCALAR(bool, bool)
SCALAR(s8, int8_t)
SCALAR(u8, uint8_t)
SCALAR(s16, int16_t)
SCALAR(u16, uint16_t)
SCALAR(s32, int32_t)
SCALAR(u32, uint32_t)
SCALAR(s64, int64_t)
SCALAR(u64, uint64_t)
SCALAR(f32, float)
SCALAR(f64, double)
SCALAR(char, uint32_t)
SCALAR(color, exports_glovebox_test_values_echo_color_t)
SCALAR(modes, exports_glovebox_test_values_echo_modes_t)

#define MOVED(name, type)                                                                          \
    void ECHO(echo_##name)(type * v, type * ret) {                                                 \
        *ret = *v;                                                                                 \
    }
MOVED(string, agent_string_t)
MOVED(bytes, agent_list_u8_t)
MOVED(list, agent_list_u32_t)
MOVED(strings, agent_list_string_t)
MOVED(point, exports_glovebox_test_values_echo_point_t)
MOVED(tuple, agent_tuple3_u8_string_bool_t)
MOVED(shape, exports_glovebox_test_values_echo_shape_t)
MOVED(results, exports_glovebox_test_values_echo_list_result_u32_string_t)
MOVED(bare, exports_glovebox_test_values_echo_list_result_void_void_t)
MOVED(deep, exports_glovebox_test_values_echo_deep_t)

bool ECHO(echo_option)(agent_string_t *maybe_v, agent_string_t *ret) {
    if (maybe_v) {
        *ret = *maybe_v;
    }
    return maybe_v != NULL;
}

bool ECHO(echo_nested)(agent_option_u32_t *maybe_v, agent_option_u32_t *ret) {
    if (maybe_v) {
        *ret = *maybe_v;
    }
    return maybe_v != NULL;
}

bool ECHO(check)(uint32_t v, uint32_t *ret, agent_string_t *err) {
    if (v > 100) {
        agent_string_dup(err, "more than a hundred");
        return false;
    }
    *ret = v;
    return true;
}

bool ECHO(check_shape)(exports_glovebox_test_values_echo_shape_t *v,
                       exports_glovebox_test_values_echo_shape_t *err) {
    if (v->tag == EXPORTS_GLOVEBOX_TEST_VALUES_ECHO_SHAPE_NOTHING) {
        return true;
    }
    *err = *v;
    return false;
}

void ECHO(nothing)(void) {
}

bool ECHO(tag)(agent_list_u8_t *v, agent_string_t *name, agent_list_u8_t *ret,
               agent_string_t *err) {
    if (name->len == 0) {
        agent_string_dup(err, "no name");
        return false;
    }
    text((agent_string_t *)ret, "1=2", name, &(agent_string_t){.ptr = v->ptr, .len = v->len});
    return true;
}

uint64_t ECHO(sum)(agent_list_u8_t *v) {
    uint64_t sum = 0;
    for (size_t i = 0; i < v->len; i++) {
        sum += v->ptr[i];
    }
    return sum;
}

void ECHO(fill)(uint32_t len, uint32_t byte, agent_list_u8_t *ret) {
    ret->ptr = malloc(len ? len : 1);
    ret->len = len;
    if (!ret->ptr) {
        abort();
    }
    memset(ret->ptr, (int)byte, len);
}

bool ECHO(maybe)(agent_list_u8_t *v, agent_list_u8_t *ret) {
    if (v->len > 0) {
        *ret = *v;
    }
    return v->len > 0;
}

void ECHO(both)(agent_list_u8_t *a, agent_list_u8_t *b, agent_list_u8_t *ret) {
    agent_string_t one = {.ptr = a->ptr, .len = a->len};
    agent_string_t two = {.ptr = b->ptr, .len = b->len};
    text((agent_string_t *)ret, "12", &one, &two);
}

void ECHO(boxed)(agent_list_u8_t *v, exports_glovebox_test_values_echo_point_t *p,
                 exports_glovebox_test_values_echo_tuple2_list_u8_point_t *ret) {
    ret->f0 = *v;
    ret->f1 = *p;
}

void ECHO(trap)(agent_list_u8_t *v) {
    (void)v;
    abort();
}
