/* SPDX-License-Identifier: Apache-2.0 */
/* A tenant's metrics and log: names, kinds, ends of numbers; lines, escapes, rate. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants those before it. */
#include <cmocka.h>

#include "base/buf.h"
#include "host/host.h"

struct seen {
    struct gb_buf text;
    struct gb_metrics_totals totals;
};

static void note(void *user, const struct gb_metric *metric) {
    struct seen *s = user;
    if (metric->is_gauge) {
        gb_buf_append_format(&s->text, NULL, "%s=%g ", metric->name, metric->level);
    } else {
        gb_buf_append_format(&s->text, NULL, "%s=%llu ", metric->name,
                             (unsigned long long)metric->count);
    }
}

static struct seen look(struct gb_metrics *m) {
    struct seen s = {0};
    gb_buf_init(&s.text, 1 << 16);
    gb_metrics_each(m, note, &s, &s.totals);
    return s;
}

static void counter(struct gb_metrics *m, const char *name, uint64_t value) {
    gb_metrics_counter(m, gb_span_of(name), value);
}

static void counters_and_gauges(void **state) {
    (void)state;
    struct gb_metrics *m = gb_metrics_new(NULL);
    counter(m, "b", 2);
    counter(m, "a_long_name9", 1);
    counter(m, "b", 3);
    gb_metrics_gauge(m, gb_span_of("ab"), 1.5);
    gb_metrics_gauge(m, gb_span_of("ab"), -2);
    counter(m, "most", UINT64_MAX - 1);
    counter(m, "most", 7); /* stays at the end */
    struct seen s = look(m);
    assert_string_equal(gb_buf_text(&s.text),
                        "a_long_name9=1 ab=-2 b=5 most=18446744073709551615 ");
    assert_int_equal(s.totals.invalid, 0);
    gb_buf_fini(&s.text);
    gb_metrics_free(m);
}

static void bad_names_are_dropped_and_counted(void **state) {
    (void)state;
    struct gb_metrics *m = gb_metrics_new(NULL);
    char longest[GB_METRICS_NAME_BYTES_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    const char *const bad[] = {"",    "A",   "9a",  "_a",       "a b",
                               "a-b", "a\"", "a\n", "\xc3\xa4", longest};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        counter(m, bad[i], 1);
        gb_metrics_gauge(m, gb_span_of(bad[i]), 1);
    }
    gb_metrics_counter(m, gb_span_make("a\0b", 3), 1);
    counter(m, "ok", 1);
    gb_metrics_gauge(m, gb_span_of("ok"), 1); /* a counter already */
    longest[sizeof longest - 2] = 0;
    counter(m, longest, 1); /* just fits */
    struct seen s = look(m);
    assert_int_equal(s.totals.invalid, 2 * sizeof bad / sizeof bad[0] + 2);
    assert_int_equal(s.text.len, strlen("ok=1 ") + GB_METRICS_NAME_BYTES_MAX + strlen("=1 "));
    gb_buf_fini(&s.text);
    gb_metrics_free(m);
}

static void names_without_end(void **state) {
    (void)state;
    struct gb_metrics *m = gb_metrics_new(NULL);
    char name[32];
    for (unsigned i = 0; i < GB_METRICS_NAMES_MAX + 50; i++) {
        snprintf(name, sizeof name, "n%u", i * 7919 % 100003);
        counter(m, name, 2);
    }
    counter(m, "n0", 5); /* known: still counted */
    struct seen s = look(m);
    assert_int_equal(s.totals.overflow, 50);
    assert_int_equal(s.totals.overflow_count, 100);
    assert_non_null(strstr(gb_buf_text(&s.text), "n0=7 "));
    gb_buf_fini(&s.text);
    gb_metrics_free(m);
}

/* ---- log ---- */

static uint64_t now_us;
static uint64_t clock_us(void) {
    return now_us;
}

struct lines {
    struct gb_buf text;
    unsigned count;
    size_t longest;
};

static void keep(void *user, enum gb_guest_log_level level, struct gb_span line) {
    struct lines *l = user;
    (void)level;
    l->count++;
    l->longest = line.len > l->longest ? line.len : l->longest;
    assert_int_equal(line.ptr[line.len - 1], '\n');
    assert_null(memchr(line.ptr, '\n', line.len - 1));
    gb_buf_append(&l->text, line.ptr, line.len, NULL);
}

static struct gb_guest_log *open_log(struct lines *l) {
    *l = (struct lines){0};
    gb_buf_init(&l->text, 1 << 20);
    now_us = 1000000;
    struct gb_guest_log_options options = {.tenant = "acme",
                                           .level_min = GB_GUEST_LOG_INFO,
                                           .sink = keep,
                                           .user = l,
                                           .now_us = clock_us};
    return gb_guest_log_new(&options, NULL);
}

static void write_log(struct gb_guest_log *log, enum gb_guest_log_level level,
                      const char *message) {
    struct gb_guest_log_entry entry = {
        .level = level, .call_id = "c0ffee", .message = gb_span_of(message)};
    gb_guest_log_write(log, &entry);
}

static void a_line_is_one_line(void **state) {
    (void)state;
    struct lines l;
    struct gb_guest_log *log = open_log(&l);
    struct gb_log_field field = {gb_span_of("k\n"), gb_span_of("v\" \\ \x1b[2J")};
    struct gb_guest_log_entry entry = {.level = GB_GUEST_LOG_WARN,
                                       .call_id = "c0ffee",
                                       .message = gb_span_of("one\ninfo: guest two\r"),
                                       .fields = &field,
                                       .fields_len = 1};
    gb_guest_log_write(log, &entry);
    assert_string_equal(gb_buf_text(&l.text),
                        "warn: guest c0ffee acme: one\\ninfo: guest two\\x0d k\\n=\"v\\\" \\\\ "
                        "\\x1b[2J\"\n");
    write_log(log, GB_GUEST_LOG_DEBUG, "not wanted");
    assert_int_equal(l.count, 1);
    gb_guest_log_free(log);
    gb_buf_fini(&l.text);
}

static void long_lines_are_cut(void **state) {
    (void)state;
    struct lines l;
    static char text[100000];
    struct gb_guest_log *log = open_log(&l);
    memset(text, 'x', sizeof text - 1);
    write_log(log, GB_GUEST_LOG_INFO, text);
    memset(text, '\x01', sizeof text - 1); /* four bytes each when escaped */
    write_log(log, GB_GUEST_LOG_INFO, text);
    assert_int_equal(l.count, 2);
    assert_true(l.longest <= GB_GUEST_LOG_LINE_MAX && l.longest > GB_GUEST_LOG_LINE_MAX - 16);
    assert_string_equal(gb_buf_text(&l.text) + l.text.len - 4, "...\n");
    gb_guest_log_free(log);
    gb_buf_fini(&l.text);
}

static void too_many_lines_are_dropped_and_told(void **state) {
    (void)state;
    struct lines l;
    struct gb_guest_log *log = open_log(&l);
    for (unsigned i = 0; i < GB_GUEST_LOG_BURST + 25; i++) {
        write_log(log, GB_GUEST_LOG_INFO, "x");
    }
    assert_int_equal(l.count, GB_GUEST_LOG_BURST);
    now_us += 1000000 / GB_GUEST_LOG_PER_S; /* one more */
    write_log(log, GB_GUEST_LOG_INFO, "y");
    write_log(log, GB_GUEST_LOG_INFO, "z");
    assert_int_equal(l.count, GB_GUEST_LOG_BURST + 2);
    assert_non_null(
        strstr(gb_buf_text(&l.text), "warn: guests of acme: 25 log lines were dropped\n"));
    assert_int_equal(gb_guest_log_totals(log).dropped, 26);
    assert_int_equal(gb_guest_log_totals(log).written, GB_GUEST_LOG_BURST + 1);
    gb_guest_log_free(log); /* tells of the last one */
    assert_non_null(
        strstr(gb_buf_text(&l.text), "warn: guests of acme: 1 log lines were dropped\n"));
    gb_buf_fini(&l.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges),
        cmocka_unit_test(bad_names_are_dropped_and_counted),
        cmocka_unit_test(names_without_end),
        cmocka_unit_test(a_line_is_one_line),
        cmocka_unit_test(long_lines_are_cut),
        cmocka_unit_test(too_many_lines_are_dropped_and_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
