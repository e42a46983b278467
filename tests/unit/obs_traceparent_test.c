/* SPDX-License-Identifier: Apache-2.0 */
/* traceparent: what is one, what is passed on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/num.h"
#include "obs/traceparent.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static void what_is_one(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"00-" TRACE "-" SPAN "-01", "00-" TRACE "-" SPAN "-01"},
        {"00-" TRACE "-" SPAN "-00", "00-" TRACE "-" SPAN "-00"},
        {"00-" TRACE "-" SPAN "-ff", "00-" TRACE "-" SPAN "-01"},
        {"00-" TRACE "-" SPAN "-fe", "00-" TRACE "-" SPAN "-00"},
        {"01-" TRACE "-" SPAN "-01", "00-" TRACE "-" SPAN "-01"},
        {"cc-" TRACE "-" SPAN "-01-what the future brings", "00-" TRACE "-" SPAN "-01"},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        struct gb_traceparent t;
        char text[GB_TRACEPARENT_BYTES + 1];
        assert_true(gb_traceparent_parse(gb_span_of(cases[i].in), &t));
        gb_traceparent_format(&t, text);
        assert_string_equal(text, cases[i].out);
    }
}

static void what_is_none(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "00",
        "ff-" TRACE "-" SPAN "-01",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-01-",
        "00-" TRACE "-" SPAN "-011",
        "01-" TRACE "-" SPAN "-011",
        "01-" TRACE "-" SPAN "-01.x",
        "0x-" TRACE "-" SPAN "-01",
        "00-" TRACE "-" SPAN "-0g",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        " 00-" TRACE "-" SPAN "-01",
    };
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        struct gb_traceparent t = {.flags = 77};
        assert_false(gb_traceparent_parse(gb_span_of(bad[i]), &t));
        assert_int_equal(t.flags, 77);
    }
}

static void own_ones_are_valid(void **state) {
    (void)state;
    uint8_t random[24] = {0};
    for (unsigned i = 0; i < 2; i++) {
        struct gb_traceparent t, child, again;
        char text[GB_TRACEPARENT_BYTES + 1];
        memset(random, (int)i * 7, sizeof random);
        gb_traceparent_start(random, i == 0, &t);
        gb_traceparent_format(&t, text);
        assert_true(gb_traceparent_parse(gb_span_of(text), &again));
        assert_memory_equal(&t, &again, sizeof t);
        uint8_t next[8] = {0, 0, 0, 0, 0, 0, 0, (uint8_t)(i * 9)};
        gb_traceparent_child(&t, next, &child);
        assert_memory_equal(child.trace_id, t.trace_id, sizeof t.trace_id);
        assert_int_equal(child.flags, t.flags);
        gb_traceparent_format(&child, text);
        assert_true(gb_traceparent_parse(gb_span_of(text), &again));
        assert_int_equal(child.span_id[7], i == 0 ? 1 : 9);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_one),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(own_ones_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
