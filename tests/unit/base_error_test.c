/* SPDX-License-Identifier: Apache-2.0 */
/* The error object: set once, wrapped, copied, and still there when memory is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/error.h"

static void first_error_wins(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    assert_false(gb_fail(&e, GB_IO, "first %d", 1));
    assert_false(gb_fail(&e, GB_INTERNAL, "second"));
    assert_int_equal(e->code, GB_IO);
    assert_string_equal(e->message, "first 1");
    assert_non_null(strstr(e->where, "base_error_test.c:"));
    assert_null(strchr(e->where, '/'));
    gb_error_free(e);
}

/* *err becomes the cause of a new error. */
static void wrap(struct gb_error **err, enum gb_code code, const char *message) {
    struct gb_error *cause = *err;
    *err = NULL;
    gb_fail(err, code, "%s", message);
    gb_error_set_cause(err, cause);
}

static void no_place_for_an_error_is_fine(void **state) {
    (void)state;
    assert_false(gb_fail(NULL, GB_IO, "nobody asked"));
    assert_false(gb_hint(NULL, "nobody asked"));
    struct gb_error *none = NULL;
    assert_false(gb_hint(&none, "there is no error to hint at"));
    assert_null(none);
    gb_error_free(NULL);
    gb_error_clear(&none);
}

static void wrapping_keeps_the_cause(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    gb_fail_errno(&e, GB_IO, 5, "inner");
    wrap(&e, GB_MODEL_INVALID, "outer \"m\"");
    gb_hint(&e, "one");
    gb_hint(&e, "two");
    assert_int_equal(e->code, GB_MODEL_INVALID);
    assert_string_equal(e->message, "outer \"m\"");
    assert_string_equal(e->hint, "two");
    assert_int_equal(e->cause->code, GB_IO);
    assert_int_equal(e->cause->sys_errno, 5);
    assert_null(e->cause->hint);
    struct gb_error *innermost = NULL;
    gb_fail(&innermost, GB_NOT_FOUND, "innermost");
    gb_error_set_cause(&e, innermost);
    assert_ptr_equal(e->cause->cause, innermost);
    gb_error_free(e);
}

static void a_copy_shares_nothing(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    gb_fail(&e, GB_GUEST_ERROR, "message");
    wrap(&e, GB_INTERNAL, "outer");
    gb_hint(&e, "hint");
    gb_detail(&e, "detail");
    gb_error_set_value(&e, "va\nlue and more", 6);
    struct gb_error *copy = gb_error_copy(e);
    gb_error_free(e);
    assert_string_equal(copy->message, "outer");
    assert_string_equal(copy->hint, "hint");
    assert_string_equal(copy->detail, "detail");
    assert_string_equal(copy->value, "va\nlue");
    assert_string_equal(copy->cause->message, "message");
    gb_error_free(copy);
    assert_null(gb_error_copy(NULL));
}

static void moving_never_piles_up(void **state) {
    (void)state;
    struct gb_error *kept = NULL;
    struct gb_error *other = NULL;
    gb_fail(&kept, GB_IO, "kept");
    gb_fail(&other, GB_IO, "dropped");
    assert_false(gb_error_move(&kept, other));
    assert_string_equal(kept->message, "kept");
    gb_error_clear(&kept);
    assert_null(kept);
}

static void out_of_memory_is_an_error_like_any_other(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    gb_alloc_fail_at(1);
    assert_null(gb_alloc(16, &e));
    gb_alloc_fail_at(0);
    assert_int_equal(e->code, GB_INTERNAL);
    assert_non_null(e->hint);
    /* The object is static: nothing changes it, and freeing it is nothing. */
    gb_hint(&e, "changed");
    gb_error_set_value(&e, "x", 1);
    assert_null(strstr(e->hint, "changed"));
    assert_null(e->value);
    struct gb_error *copy = gb_error_copy(e);
    assert_ptr_equal(copy, e);
    wrap(&e, GB_IO, "outer");
    assert_ptr_equal(e->cause, copy);
    gb_error_free(e);
    gb_error_free(copy);
}

static void every_row_is_whole(void **state) {
    (void)state;
    for (unsigned i = 1; i < GB_CODE_COUNT; i++) {
        enum gb_code code = (enum gb_code)i;
        assert_int_equal(gb_code_of_text(gb_code_text(code)), code);
        assert_true(gb_code_http_status(code) >= 400 && gb_code_http_status(code) < 600);
        int status = gb_code_exit_status(code);
        assert_true((status >= 1 && status <= 2) || (status >= 100 && status <= 105) ||
                    status == 130);
        assert_int_equal(gb_code_doc(code)[strlen(gb_code_doc(code)) - 1], '.');
    }
    assert_int_equal(gb_code_of_text("no-such-code"), GB_OK);
    assert_string_equal(gb_code_text((enum gb_code)9999), "internal");
}

static void long_messages_are_cut(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    gb_fail(&e, GB_IO, "%*s", 100000, "x");
    assert_true(strlen(e->message) < 5000);
    gb_error_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_wins),
        cmocka_unit_test(no_place_for_an_error_is_fine),
        cmocka_unit_test(wrapping_keeps_the_cause),
        cmocka_unit_test(a_copy_shares_nothing),
        cmocka_unit_test(moving_never_piles_up),
        cmocka_unit_test(out_of_memory_is_an_error_like_any_other),
        cmocka_unit_test(every_row_is_whole),
        cmocka_unit_test(long_messages_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
