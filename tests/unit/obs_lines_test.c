/* SPDX-License-Identifier: Apache-2.0 */
/* Lines reach their descriptor whole and in order; one that is blocked costs lines, not time. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/num.h"
#include "obs/lines.h"

static void lines_arrive_in_order(void **state) {
    (void)state;
    int ends[2];
    char got[4096] = "", want[4096] = "", line[32];
    assert_int_equal(pipe(ends), 0);
    struct gb_lines_options options = {.fd = ends[1]};
    struct gb_lines *l = gb_lines_new(&options, NULL);
    assert_non_null(l);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(line, sizeof line, "line %u\n", i);
        memcpy(want + strlen(want), line, strlen(line) + 1);
        gb_lines_put(l, gb_span_of(line));
        if (i % 10 == 0) {
            usleep(2000); /* some are written while others come */
        }
    }
    gb_lines_free(l);
    close(ends[1]);
    size_t len = 0;
    for (ssize_t n; (n = read(ends[0], got + len, sizeof got - 1 - len)) > 0;) {
        len += (size_t)n;
    }
    assert_string_equal(got, want);
    close(ends[0]);
}

static void a_blocked_descriptor_blocks_nobody(void **state) {
    (void)state;
    int ends[2];
    static char line[512];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    assert_int_equal(pipe(ends), 0);
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
    struct gb_lines_options options = {.fd = ends[1], .bytes_max = 16 * 1024};
    struct gb_lines *l = gb_lines_new(&options, NULL);
    uint64_t start_us = gb_now_us();
    for (unsigned i = 0; i < 100000; i++) { /* 50 MB that nobody reads */
        gb_lines_put(l, gb_span_make(line, sizeof line));
    }
    struct gb_lines_totals totals = gb_lines_totals(l);
    assert_true(totals.dropped > 99000);
    assert_true(totals.written + totals.dropped <= 100000);
    gb_lines_free(l); /* gives up what nobody takes */
    assert_true(gb_now_us() - start_us < 5000000);
    close(ends[0]);
    close(ends[1]);
}

static void on_tick(void *user) {
    atomic_fetch_add((_Atomic unsigned *)user, 1);
}

static void it_ticks(void **state) {
    (void)state;
    _Atomic unsigned ticks = 0;
    struct gb_lines_options options = {
        .fd = STDERR_FILENO, .tick_us = 20000, .tick = on_tick, .user = &ticks};
    struct gb_lines *l = gb_lines_new(&options, NULL);
    uint64_t until_us = gb_deadline_after_us(5000000);
    while (atomic_load(&ticks) < 3 && gb_now_us() < until_us) {
        usleep(5000);
    }
    gb_lines_stop(l);
    unsigned at_stop = atomic_load(&ticks);
    assert_true(at_stop >= 3);
    usleep(60000);
    assert_int_equal(atomic_load(&ticks), at_stop);
    gb_lines_free(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_arrive_in_order),
        cmocka_unit_test(a_blocked_descriptor_blocks_nobody),
        cmocka_unit_test(it_ticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
