/* SPDX-License-Identifier: Apache-2.0 */
/* TOML with places, typed values, suggestions for mistyped keys; durations and sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "text/toml.h"
#include "text/unit.h"

struct seen {
    char text[1024];
    size_t used;
};

static bool remember(void *user, const struct gb_toml_value *v, struct gb_error **err) {
    (void)err;
    struct seen *s = user;
    int n = snprintf(s->text + s->used, sizeof s->text - s->used, "%u:%u %.*s %u=%.*s;", v->line,
                     v->column, GB_SPAN_ARG(v->path), (unsigned)v->kind, GB_SPAN_ARG(v->text));
    assert_true(n > 0 && (size_t)n < sizeof s->text - s->used);
    s->used += (size_t)n;
    return true;
}

static void values_come_in_order_with_their_places(void **state) {
    (void)state;
    struct seen s = {0};
    struct gb_error *err = NULL;
    bool ok = gb_toml_walk(gb_span_of("a = \"x\"\n\n[t]\n  n = 12\n  b = true\n"), "f.toml",
                           remember, &s, &err);
    assert_true(ok);
    assert_null(err);
    assert_non_null(strstr(s.text, "1:1 a 0=x;"));
    assert_non_null(strstr(s.text, "4:3 t.n 1=12;"));
    assert_non_null(strstr(s.text, "5:3 t.b 3=true;"));
    assert_true(strstr(s.text, " t ") < strstr(s.text, " t.n "));
}

static void empty_text_has_no_values(void **state) {
    (void)state;
    struct seen s = {0};
    assert_true(gb_toml_walk(gb_span_make(NULL, 0), "f.toml", remember, &s, NULL));
    assert_int_equal(s.used, 0);
}

static void broken_text_is_reported_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *place;
    } cases[] = {
        {"a = 1\nb = = 2\n", "f.toml:2:"},
        {"a = 1\na = 2\n", "f.toml:2:"},
        {"a = \"\xff\"\n", "f.toml:1:"},
        {"a", "f.toml:1:"},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        struct seen s = {0};
        struct gb_error *err = NULL;
        assert_false(gb_toml_walk(gb_span_of(cases[i].text), "f.toml", remember, &s, &err));
        assert_int_equal(err->code, GB_MANIFEST_INVALID);
        if (strncmp(err->message, cases[i].place, strlen(cases[i].place)) != 0) {
            fail_msg("\"%s\" does not begin with %s", err->message, cases[i].place);
        }
        gb_error_free(err);
    }
}

static bool typed(void *user, const struct gb_toml_value *v, struct gb_error **err) {
    static const char *const known[] = {"digest", "threads", "deadline", "on", "room"};
    uint64_t *sum = user;
    struct gb_span text;
    int64_t integer;
    uint64_t u;
    bool flag;
    if (gb_span_is(v->path, "digest")) {
        return gb_toml_string(v, &text, err) && (*sum += text.len, true);
    }
    if (gb_span_is(v->path, "threads")) {
        return gb_toml_integer(v, 1, 16, &integer, err) && (*sum += (uint64_t)integer, true);
    }
    if (gb_span_is(v->path, "deadline")) {
        return gb_toml_duration(v, &u, err) && (*sum += u, true);
    }
    if (gb_span_is(v->path, "on")) {
        return gb_toml_bool(v, &flag, err) && (*sum += flag, true);
    }
    if (gb_span_is(v->path, "room")) {
        return gb_toml_size(v, &u, err) && (*sum += u, true);
    }
    return gb_toml_fail_key(v, known, GB_COUNT(known), err);
}

static void typed_values_are_read(void **state) {
    (void)state;
    uint64_t sum = 0;
    assert_true(gb_toml_walk(gb_span_of("digest = \"abc\"\nthreads = 16\ndeadline = \"20ms\"\n"
                                        "on = true\nroom = \"1MiB\"\n"),
                             "f", typed, &sum, NULL));
    assert_int_equal(sum, 3 + 16 + 20000 + 1 + 1048576);
    sum = 0;
    assert_true(gb_toml_walk(gb_span_of("room = 77"), "f", typed, &sum, NULL));
    assert_int_equal(sum, 77);
}

static void wrong_values_name_key_and_place(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *message;
        const char *hint;
    } cases[] = {
        {"digest = 1", "f:1:1: \"digest\" takes text in quotes", NULL},
        {"threads = 0", "f:1:1: \"threads\" takes a whole number from 1 to 16", NULL},
        {"threads = 17", "f:1:1: \"threads\" takes a whole number from 1 to 16", NULL},
        {"threads = \"2\"", "f:1:1: \"threads\" takes a whole number from 1 to 16", NULL},
        {"\n on = 1", "f:2:2: \"on\" takes true or false", NULL},
        {"deadline = 5", "f:1:1: \"deadline\" takes a duration such as", NULL},
        {"deadline = \"5\"", "f:1:1: \"deadline\" takes a duration such as", NULL},
        {"room = -1", "f:1:1: \"room\" takes a size such as", NULL},
        {"thread = 1", "f:1:1: unknown key \"thread\"", "Did you mean \"threads\"?"},
        {"dedline = \"1s\"", "f:1:1: unknown key \"dedline\"", "Did you mean \"deadline\"?"},
        {"entirely-else = 1", "f:1:1: unknown key \"entirely-else\"",
         "Known keys: digest, threads, deadline, on, room."},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        struct gb_error *err = NULL;
        uint64_t sum = 0;
        assert_false(gb_toml_walk(gb_span_of(cases[i].text), "f", typed, &sum, &err));
        assert_int_equal(err->code, GB_MANIFEST_INVALID);
        if (!strstr(err->message, cases[i].message)) {
            fail_msg("got: %s", err->message);
        }
        if (cases[i].hint) {
            assert_string_equal(err->hint, cases[i].hint);
        }
        gb_error_free(err);
    }
}

static void durations_need_a_unit(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t us;
    } good[] = {{"0us", 0}, {"7us", 7}, {"20ms", 20000}, {"30s", 30000000}, {"5m", 300000000}};
    static const char *const bad[] = {"",     "5",    "s",    "-1s",  "1.5s", " 1s",
                                      "1 s",  "1S",   "1h",   "0x1s", "18446744073709551615m",
                                      "99999999999999999999999us"};
    uint64_t us;
    for (size_t i = 0; i < GB_COUNT(good); i++) {
        assert_true(gb_duration_parse(gb_span_of(good[i].text), &us, NULL));
        assert_int_equal(us, good[i].us);
    }
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        struct gb_error *err = NULL;
        assert_false(gb_duration_parse(gb_span_of(bad[i]), &us, &err));
        assert_int_equal(err->code, GB_INVALID_ARGUMENT);
        assert_non_null(strstr(err->hint, "20ms"));
        gb_error_free(err);
    }
}

static void sizes_are_bytes_or_binary_units(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0}, {"4096", 4096}, {"2KiB", 2048}, {"64MiB", 64ull << 20},
                {"8GiB", 8ull << 30}, {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {"", "KiB", "1KB", "1kib", "1M", "-1", "1 MiB",
                                      "18446744073709551616", "18446744073709551615KiB"};
    uint64_t bytes;
    for (size_t i = 0; i < GB_COUNT(good); i++) {
        assert_true(gb_size_parse(gb_span_of(good[i].text), &bytes, NULL));
        assert_true(bytes == good[i].bytes);
    }
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        assert_false(gb_size_parse(gb_span_of(bad[i]), &bytes, NULL));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_in_order_with_their_places),
        cmocka_unit_test(empty_text_has_no_values),
        cmocka_unit_test(broken_text_is_reported_with_its_place),
        cmocka_unit_test(typed_values_are_read),
        cmocka_unit_test(wrong_values_name_key_and_place),
        cmocka_unit_test(durations_need_a_unit),
        cmocka_unit_test(sizes_are_bytes_or_binary_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
