/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an embedder sees of its guests through the public library alone: their metrics and the
 * bounds on these, reactors, and programs compiled ahead of time that import the embedder's own
 * interfaces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "glovebox/glovebox.h"
#include "glovebox/value.h"
#include "host/host.h"
#include "lib/json.h"

#define OWN "acme:one/two@1.0.0"

/* An agent that answers "" after BODY, which has the functions of its interfaces and $i. LOWERED
 * makes these from the imports, as the instance of a core module; CORE imports them there. */
#define AGENT(IMPORTS, LOWERED, GIVEN, CORE, BODY)                                                 \
    "(component " IMPORTS " (core module $mem (memory (export \"memory\") 1)"                      \
    "  (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 8192)))"         \
    " (core instance $mem (instantiate $mem)) " LOWERED                                            \
    " (core module $main (import \"mem\" \"memory\" (memory 1)) " CORE                             \
    "  (data (i32.const 100) \"requestsloadBadn0000\")"                                            \
    "  (func (export \"run\") (param i32 i32) (result i32) (local $i i32) " BODY                   \
    "   (i32.store8 (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 100))"      \
    "   (i32.store (i32.const 24) (i32.const 0)) (i32.const 16)))"                                 \
    " (core instance $main (instantiate $main (with \"mem\" (instance $mem)) " GIVEN "))"          \
    " (func (export \"run\") (param \"arg\" string) (result (result string (error string)))"       \
    "  (canon lift (core func $main \"run\") (memory (core memory $mem \"memory\"))"               \
    "   (realloc (core func $mem \"realloc\")))))"

#define DIGIT(PLACE, DIVISOR)                                                                      \
    "(i32.store8 (i32.const " PLACE ") (i32.add (i32.const 48) (i32.rem_u"                         \
    " (i32.div_u (local.get $i) (i32.const " DIVISOR ")) (i32.const 10))))"

/* counter requests 3, gauge load 0.5, a name and a kind that are none, and 1,000 counters of 7. */
static const char metered[] = AGENT(
    "(import \"glovebox:host/metrics@0.1.0\" (instance $m"
    " (export \"counter\" (func (param \"name\" string) (param \"value\" u64)))"
    " (export \"gauge\" (func (param \"name\" string) (param \"value\" float64)))))",
    "(core func $c (canon lower (func $m \"counter\") (memory (core memory $mem \"memory\"))))"
    "(core func $g (canon lower (func $m \"gauge\") (memory (core memory $mem \"memory\"))))",
    "(with \"m\" (instance (export \"c\" (func $c)) (export \"g\" (func $g))))",
    "(import \"m\" \"c\" (func $counter (param i32 i32 i64)))"
    "(import \"m\" \"g\" (func $gauge (param i32 i32 f64)))",
    "(call $counter (i32.const 100) (i32.const 8) (i64.const 3))"
    "(call $gauge (i32.const 108) (i32.const 4) (f64.const 0.5))"
    "(call $counter (i32.const 112) (i32.const 3) (i64.const 1))"
    "(call $counter (i32.const 108) (i32.const 4) (i64.const 1))"
    "(loop $l " DIGIT("116", "1000") DIGIT("117", "100") DIGIT("118", "10") DIGIT("119", "1")
    " (call $counter (i32.const 115) (i32.const 5) (i64.const 7))"
    " (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))"
    "  (i32.const 1000))))");

static const char own[] =
    AGENT("(import \"" OWN "\" (instance $m (export \"tell\" (func (param \"n\" u32)))))",
          "(core func $c (canon lower (func $m \"tell\")))",
          "(with \"m\" (instance (export \"c\" (func $c))))",
          "(import \"m\" \"c\" (func $tell (param i32)))", "(call $tell (i32.const 41))");

/* ---- a host and files ---- */

static char program_path[] = GB_TEST_BINARY_DIR "/lib_embed_test-XXXXXX";
static char artifact_path[sizeof program_path + 8];

static _Noreturn void fail_with(const struct gb_error *e) {
    fail_msg("%s: %s", gb_error_code(e), gb_error_message(e));
    abort();
}

static struct gb_host *host_new(void) {
    struct gb_error *e = NULL;
    struct gb_host *host = gb_host_new(NULL, &e);
    if (!host) {
        fail_with(e);
    }
    return host;
}

static void program_write(const char *text) {
    FILE *file = fopen(program_path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void on_done(void *user, struct gb_result *result) {
    if (gb_result_error(result)) {
        fail_with(gb_result_error(result));
    }
    *(unsigned *)user += 1;
    gb_result_free(result);
}

static void run(struct gb_host *host, const char *path, const struct gb_grant_options *grants,
                unsigned times) {
    struct gb_error *e = NULL;
    unsigned done = 0;
    struct gb_guest *guest = gb_guest_load_file(host, path, grants, NULL, &e);
    if (!guest) {
        fail_with(e);
    }
    for (unsigned i = 0; i < times; i++) {
        struct gb_call_options call = {
            .size = sizeof call, .argument = "", .done = on_done, .user = &done};
        if (!gb_guest_call(guest, &call, &e)) {
            fail_with(e);
        }
        while (gb_host_step(host, 1000) > 0) {
        }
    }
    assert_int_equal(done, times);
    gb_guest_free(guest);
}

/* ---- metrics ---- */

static yyjson_doc *metrics(struct gb_host *host, yyjson_val **ret_tenant) {
    struct gb_error *e = NULL;
    char *text = gb_host_metrics_json(host, &e);
    if (!text) {
        fail_with(e);
    }
    yyjson_doc *doc = yyjson_read_opts(text, strlen(text), NULL, NULL);
    assert_non_null(doc);
    gb_text_free(text);
    yyjson_val *tenants = yyjson_obj_get(yyjson_doc_get_root(doc), "tenants");
    assert_int_equal(yyjson_arr_size(tenants), 1);
    *ret_tenant = yyjson_arr_get(tenants, 0);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(*ret_tenant, "tenant")), "default");
    return doc;
}

static uint64_t number(yyjson_val *object, const char *key) {
    yyjson_val *value = yyjson_obj_get(object, key);
    assert_true(yyjson_is_uint(value));
    return yyjson_get_uint(value);
}

static void metrics_begin_empty(void **state) {
    (void)state;
    static const char *const zeros[] = {"invalid", "overflow", "overflow_count", "log_lines",
                                        "log_dropped"};
    struct gb_host *host = host_new();
    yyjson_val *tenant;
    yyjson_doc *doc = metrics(host, &tenant);
    assert_int_equal(yyjson_obj_size(yyjson_obj_get(tenant, "counters")), 0);
    assert_int_equal(yyjson_obj_size(yyjson_obj_get(tenant, "gauges")), 0);
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++) {
        assert_int_equal(number(tenant, zeros[i]), 0);
    }
    yyjson_doc_free(doc);
    gb_host_free(host);
}

static void metrics_are_summed_over_calls_and_bounded(void **state) {
    (void)state;
    struct gb_host *host = host_new();
    program_write(metered);
    run(host, program_path, NULL, 2);
    yyjson_val *tenant;
    yyjson_doc *doc = metrics(host, &tenant);
    yyjson_val *counters = yyjson_obj_get(tenant, "counters");
    yyjson_val *gauges = yyjson_obj_get(tenant, "gauges");
    assert_int_equal(number(counters, "requests"), 6);
    assert_int_equal(number(counters, "n0000"), 14);
    assert_true(yyjson_get_real(yyjson_obj_get(gauges, "load")) == 0.5);
    assert_null(yyjson_obj_get(counters, "Bad"));
    assert_null(yyjson_obj_get(counters, "load"));
    assert_int_equal(number(tenant, "invalid"), 4);
    /* The first names stay; what is beyond the bound is counted, not kept. */
    assert_int_equal(yyjson_obj_size(gauges), 1);
    assert_int_equal(yyjson_obj_size(counters), GB_METRICS_NAMES_MAX - 1);
    uint64_t beyond = 2 * (1000 - (GB_METRICS_NAMES_MAX - 2));
    assert_int_equal(number(tenant, "overflow"), beyond);
    assert_int_equal(number(tenant, "overflow_count"), 7 * beyond);
    yyjson_doc_free(doc);
    gb_host_free(host);
}

static void metrics_are_the_hosts_own(void **state) {
    (void)state;
    struct gb_host *first = host_new();
    struct gb_host *second = host_new();
    program_write(metered);
    run(first, program_path, NULL, 1);
    yyjson_val *tenant;
    yyjson_doc *doc = metrics(second, &tenant);
    assert_int_equal(yyjson_obj_size(yyjson_obj_get(tenant, "counters")), 0);
    assert_int_equal(number(tenant, "overflow"), 0);
    yyjson_doc_free(doc);
    gb_host_free(first);
    gb_host_free(second);
}

/* ---- typed calls ---- */

static const char reactor[] =
    "(module (memory (export \"memory\") 1) (global $n (mut i32) (i32.const 0))"
    " (func (export \"_initialize\")"
    "  (global.set $n (i32.add (global.get $n) (i32.const 1))))"
    " (func (export \"times\") (param i32) (result i32)"
    "  (i32.add (global.get $n) (local.get 0))))";

static void on_number(void *user, struct gb_result *result) {
    if (gb_result_error(result)) {
        fail_with(gb_result_error(result));
    }
    assert_int_equal(gb_result_value(result)->kind, GB_VALUE_S32);
    *(int64_t *)user = gb_result_value(result)->of.integer;
    gb_result_free(result);
}

/* With values of the caller's, and with values that were read from JSON. */
static void a_reactor_is_initialized_once_before_each_call(void **state) {
    (void)state;
    program_write(reactor);
    struct gb_error *e = NULL;
    struct gb_host *host = host_new();
    struct gb_guest *guest = gb_guest_load_function(host, program_path, "times", NULL, NULL, &e);
    if (!guest) {
        fail_with(e);
    }
    struct gb_args *args = gb_guest_read_args(guest, "[100]", 5, &e);
    assert_non_null(args);
    struct gb_value typed = {.kind = GB_VALUE_S32, .of.integer = 100};
    for (int i = 0; i < 4; i++) {
        int64_t answer = 0;
        size_t len;
        struct gb_call_options call = {.size = sizeof call, .done = on_number, .user = &answer};
        call.values = i % 2 ? gb_args_values(args, &len) : &typed;
        call.values_len = 1;
        if (!gb_guest_call(guest, &call, &e)) {
            fail_with(e);
        }
        while (gb_host_step(host, 1000) > 0) {
        }
        assert_int_equal(answer, 101);
    }
    gb_args_free(args);
    gb_guest_free(guest);
    gb_host_free(host);
}

/* ---- compiled ahead of time ---- */

static bool tell(void *user, struct gb_host_call *call, const struct gb_value *args, size_t len,
                 struct gb_value *ret, struct gb_error **err) {
    (void)call;
    (void)ret;
    (void)err;
    assert_int_equal(len, 1);
    *(uint64_t *)user += args[0].of.natural;
    return true;
}

static void refused(struct gb_host *host, const struct gb_grant_options *grants,
                    const char *code) {
    struct gb_error *e = NULL;
    assert_false(gb_host_compile_file(host, program_path, grants, NULL, artifact_path, &e));
    assert_string_equal(gb_error_code(e), code);
    assert_non_null(strstr(gb_error_message(e), OWN));
    gb_error_free(e);
    assert_int_equal(access(artifact_path, F_OK), -1);
}

static void compiling_ahead_knows_the_embedders_interfaces(void **state) {
    (void)state;
    uint64_t told = 0;
    static const char *const granted[] = {OWN};
    struct gb_grant_options grants;
    gb_grant_options_default(&grants);
    program_write(own);
    struct gb_host *host = host_new();
    refused(host, &grants, "import-missing");
    assert_true(gb_host_define(host, OWN, "tell", "func(n: u32)", tell, &told, NULL));
    refused(host, &grants, "grant-missing");
    grants.interfaces = granted;
    grants.interfaces_len = 1;
    struct gb_error *e = NULL;
    if (!gb_host_compile_file(host, program_path, &grants, NULL, artifact_path, &e)) {
        fail_with(e);
    }
    run(host, artifact_path, &grants, 2);
    assert_int_equal(told, 82);
    assert_int_equal(unlink(artifact_path), 0);
    gb_host_free(host);
    host = host_new();
    assert_true(gb_host_define(host, OWN, "tell", "func(n: u64)", tell, &told, NULL));
    refused(host, &grants, "import-missing");
    /* Without grants only the code is made: who runs it says what it may do. */
    assert_true(gb_host_compile_file(host, program_path, NULL, NULL, artifact_path, NULL));
    assert_int_equal(unlink(artifact_path), 0);
    gb_host_free(host);
}

static int make_path(void **state) {
    (void)state;
    int fd = mkstemp(program_path);
    (void)snprintf(artifact_path, sizeof artifact_path, "%s.gbc", program_path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state) {
    (void)state;
    return unlink(program_path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_begin_empty),
        cmocka_unit_test(metrics_are_summed_over_calls_and_bounded),
        cmocka_unit_test(metrics_are_the_hosts_own),
        cmocka_unit_test(a_reactor_is_initialized_once_before_each_call),
        cmocka_unit_test(compiling_ahead_knows_the_embedders_interfaces),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
