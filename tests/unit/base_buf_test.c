/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers, escaping, UTF-8, sizes, files: what every module above stands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"

/* ---- buffers ---- */

static void append_past_the_maximum_fails_and_keeps_the_text(void **state) {
    (void)state;
    struct gb_buf b;
    struct gb_error *e = NULL;
    gb_buf_init(&b, 8);
    assert_string_equal(gb_buf_text(&b), "");
    assert_true(gb_buf_append_text(&b, "12345678", &e));
    assert_false(gb_buf_append_text(&b, "9", &e));
    assert_int_equal(e->code, GB_INVALID_ARGUMENT);
    assert_string_equal(gb_buf_text(&b), "12345678");
    gb_error_clear(&e);
    assert_false(gb_buf_append(&b, "x", SIZE_MAX, &e));
    gb_error_clear(&e);
    assert_true(gb_buf_append(&b, NULL, 0, &e));
    char *text = gb_buf_take(&b);
    assert_string_equal(text, "12345678");
    assert_int_equal(b.len, 0);
    gb_free(text);
    gb_buf_fini(&b);
}

static void append_without_memory_fails_and_keeps_the_text(void **state) {
    (void)state;
    struct gb_buf b;
    struct gb_error *e = NULL;
    gb_buf_init(&b, 1 << 20);
    assert_true(gb_buf_append_text(&b, "kept", &e));
    gb_alloc_fail_at(1);
    assert_false(gb_buf_append_format(&b, &e, "%*s", 1000, "x"));
    gb_alloc_fail_at(0);
    assert_int_equal(e->code, GB_INTERNAL);
    gb_error_clear(&e);
    assert_string_equal(gb_buf_text(&b), "kept");
    assert_true(gb_buf_append_format(&b, &e, "%*s", 1000, "x"));
    assert_int_equal(b.len, 1004);
    gb_buf_fini(&b);
}

static void check_escaped(const char *bytes, size_t len, const char *expected) {
    struct gb_buf b;
    gb_buf_init(&b, 4096);
    assert_true(gb_buf_append_escaped(&b, gb_span_make(bytes, len), NULL));
    assert_string_equal(gb_buf_text(&b), expected);
    gb_buf_fini(&b);
}

static void control_bytes_are_escaped(void **state) {
    (void)state;
    check_escaped("plain\ttext\n", 11, "plain\ttext\n");
    check_escaped("\x1b[2J\r\x7f\0", 7, "\\x1b[2J\\x0d\\x7f\\x00");
    check_escaped("\xc2\x9b" "2J", 4, "\\xc2\\x9b2J"); /* CSI as C1 */
    check_escaped("a\xe2\x80\xae" "b\xe2\x81\xa6", 8, "a\\xe2\\x80\\xaeb\\xe2\\x81\\xa6");
    static const char beyond_ascii[] = "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80";
    check_escaped(beyond_ascii, sizeof beyond_ascii - 1, beyond_ascii);
    check_escaped("\xff\xc3", 2, "\\xff\\xc3"); /* not UTF-8; cut off */
}

static void utf8_is_what_the_rfc_says(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        bool valid;
    } cases[] = {
        {"", true},
        {"ascii", true},
        {"\xc2\x80", true},
        {"\xdf\xbf", true},
        {"\xe0\xa0\x80", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\xf0\x90\x80\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\x80", false},             /* continuation alone */
        {"\xc1\xbf", false},         /* overlong */
        {"\xe0\x9f\xbf", false},     /* overlong */
        {"\xed\xa0\x80", false},     /* surrogate */
        {"\xf0\x8f\xbf\xbf", false}, /* overlong */
        {"\xf4\x90\x80\x80", false}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", false},
        {"\xe2\x82", false}, /* cut off */
        {"\xe2\x28\xa1", false},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        assert_int_equal(gb_utf8_valid(gb_span_of(cases[i].bytes)), cases[i].valid);
    }
}

/* ---- numbers, time ---- */

static void sizes_do_not_wrap(void **state) {
    (void)state;
    size_t n = 7;
    assert_false(gb_add_size(SIZE_MAX, 1, &n));
    assert_true(gb_mul_size(3, 4, &n));
    assert_int_equal(n, 12);
    assert_false(gb_mul_size(SIZE_MAX / 2, 3, &n));
    assert_true(gb_range_ok(0, 0, 0));
    assert_true(gb_range_ok(4, 6, 10));
    assert_false(gb_range_ok(4, 7, 10));
    assert_false(gb_range_ok(11, 0, 10));
    assert_false(gb_range_ok(8, UINT64_MAX, 10));
}

static void deadlines_saturate(void **state) {
    (void)state;
    assert_true(gb_deadline_after_us(UINT64_MAX) == GB_NEVER);
    assert_int_equal(gb_poll_timeout_ms(GB_NEVER), -1);
    assert_int_equal(gb_poll_timeout_ms(0), 0);
    int ms = gb_poll_timeout_ms(gb_deadline_after_us(1500));
    assert_true(ms == 1 || ms == 2);
}

/* ---- files ---- */

static char *temporary(const char *content, size_t len) {
    static char path[] = GB_TEST_BINARY_DIR "/base_buf_test-XXXXXX";
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(gb_write_all(fd, content, len, NULL));
    close(fd);
    return path;
}

static void a_file_is_read_up_to_its_limit(void **state) {
    (void)state;
    char *path = temporary("0123456789", 10);
    uint8_t *bytes = NULL;
    size_t len = 0;
    struct gb_error *e = NULL;
    assert_true(gb_file_read(path, 10, GB_MODEL_TOO_LARGE, &bytes, &len, &e));
    assert_int_equal(len, 10);
    assert_memory_equal(bytes, "0123456789", 10);
    gb_free(bytes);
    bytes = NULL;
    assert_false(gb_file_read(path, 9, GB_MODEL_TOO_LARGE, &bytes, &len, &e));
    assert_int_equal(e->code, GB_MODEL_TOO_LARGE);
    assert_non_null(strstr(e->message, path));
    assert_null(bytes);
    gb_error_clear(&e);
    unlink(path);
    assert_false(gb_file_read(path, 9, GB_MODEL_TOO_LARGE, &bytes, &len, &e));
    assert_int_equal(e->code, GB_NOT_FOUND);
    gb_error_clear(&e);
    assert_false(gb_file_read("/", 9, GB_MODEL_TOO_LARGE, &bytes, &len, &e));
    assert_int_equal(e->code, GB_INVALID_ARGUMENT);
    gb_error_clear(&e);
    assert_false(gb_file_read("/dev/zero", 9, GB_MODEL_TOO_LARGE, &bytes, &len, &e));
    assert_int_equal(e->code, GB_INVALID_ARGUMENT);
    gb_error_clear(&e);
}

static void a_pipe_is_read_to_its_end_or_its_limit(void **state) {
    (void)state;
    int fds[2];
    uint8_t *bytes = NULL;
    size_t len = 0;
    struct gb_error *e = NULL;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "abcdef", 6), 6);
    close(fds[1]);
    assert_false(gb_fd_read_all(fds[0], "pipe", 5, GB_PROGRAM_TOO_LARGE, &bytes, &len, &e));
    assert_int_equal(e->code, GB_PROGRAM_TOO_LARGE);
    gb_error_clear(&e);
    close(fds[0]);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "abcdef", 6), 6);
    close(fds[1]);
    assert_true(gb_fd_read_all(fds[0], "pipe", 6, GB_PROGRAM_TOO_LARGE, &bytes, &len, &e));
    assert_int_equal(len, 6);
    gb_free(bytes);
    close(fds[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_past_the_maximum_fails_and_keeps_the_text),
        cmocka_unit_test(append_without_memory_fails_and_keeps_the_text),
        cmocka_unit_test(control_bytes_are_escaped),
        cmocka_unit_test(utf8_is_what_the_rfc_says),
        cmocka_unit_test(sizes_do_not_wrap),
        cmocka_unit_test(deadlines_saturate),
        cmocka_unit_test(a_file_is_read_up_to_its_limit),
        cmocka_unit_test(a_pipe_is_read_to_its_end_or_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
