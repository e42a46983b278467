/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests: what they come to, where it came from, and every allocation failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/num.h"
#include "manifest/manifest.h"
#include "sandbox/sandbox.h"

#define SAMPLES GB_TEST_SOURCE_DIR "/tests/manifests/"
#define COMPONENT "[component.a]\nsource = \"a.wasm\"\n"
#define ROUTE "[[route]]\npath = \"/...\"\ncomponent = \"a\"\n"

static struct gb_manifest *parsed(const char *text) {
    struct gb_error *err = NULL;
    struct gb_manifest *m = gb_manifest_parse(gb_span_of(text), "dir/m.toml", NULL, NULL, &err);
    if (!m) {
        fail_msg("%s", err->message);
    }
    assert_null(err);
    return m;
}

static void assert_refused(const char *text, const char *part) {
    struct gb_error *err = NULL;
    assert_null(gb_manifest_parse(gb_span_of(text), "m.toml", NULL, NULL, &err));
    assert_non_null(err);
    if (!strstr(err->message, part)) {
        fail_msg("\"%s\" does not say \"%s\"", err->message, part);
    }
    assert_non_null(err->hint);
    gb_error_free(err);
}

static void defaults_are_those_of_the_sandbox(void **state) {
    (void)state;
    struct gb_manifest *m = parsed("");
    struct gb_limits l = gb_limits_default();
    assert_int_equal(m->limits.memory_bytes, l.memory_bytes);
    assert_int_equal(m->limits.table_elements, l.table_elements);
    assert_int_equal(m->limits.instances, l.instances);
    assert_int_equal(m->limits.handles, l.handles);
    assert_int_equal(m->limits.fuel, l.fuel);
    assert_int_equal(m->limits.deadline_us, l.deadline_us);
    assert_int_equal(m->limits.output_bytes, l.output_bytes);
    assert_int_equal(m->limits.hostcall_bytes, l.hostcall_bytes);
    assert_int_equal(m->limits.random_bytes, l.random_bytes);
    assert_int_equal(m->limits.text_bytes, l.text_bytes);
    assert_int_equal(m->limits.program_bytes, l.program_bytes);
    assert_int_equal(m->limits.stack_bytes, gb_sandbox_options_default().stack_bytes);
    assert_int_equal(m->limits.on_overflow, 0);
    assert_string_equal(m->host.listen, "127.0.0.1:8080");
    assert_string_equal(m->host.admin, "127.0.0.1:9090");
    assert_int_equal(m->tenants_len, 1);
    assert_string_equal(m->tenants[0].name, "default");
    assert_true(m->tenants_open);
    gb_manifest_unref(m);
}

static void our_sample_comes_to_its_values(void **state) {
    (void)state;
    struct gb_error *err = NULL;
    struct gb_manifest *m = gb_manifest_load(SAMPLES "glovebox.toml", NULL, NULL, &err);
    assert_non_null(m);
    assert_int_equal(m->kind, GB_MANIFEST_GLOVEBOX);
    assert_int_equal(m->host.http.header_bytes, 16 * GB_KIB);
    assert_int_equal(m->host.http.headers, 100);
    assert_int_equal(m->host.drain_us, 10000000);
    const struct gb_manifest_component *c = gb_manifest_component_find(m, "digits");
    const struct gb_manifest_tenant *t = gb_manifest_tenant_find(m, "acme");
    assert_non_null(c);
    assert_non_null(t);
    assert_string_equal(c->source, SAMPLES "../../build/guests/agent.wasm");
    assert_int_equal(c->models_len, 1);
    assert_ptr_equal(c->models[0].model, &m->models[0]);
    assert_string_equal(c->env.items[0].value, "plain");
    assert_false(c->http || c->kv || c->sockets);
    assert_int_equal(t->keys_len, 1);
    assert_int_equal(t->keys[0][0], 0x5b);
    assert_int_equal(t->keys[0][31], 0xa1);
    assert_int_equal(t->weight, 3);
    assert_int_equal(t->budgets.requests_per_second, 100);
    assert_int_equal(m->routes_len, 2);
    assert_int_equal(m->routes[0].kind, GB_ROUTE_AGENT);
    assert_ptr_equal(m->routes[0].component, c);
    assert_string_equal(m->routes[0].methods.items[0], "POST");
    assert_int_equal(m->routes[1].kind, GB_ROUTE_STATIC);
    assert_string_equal(m->routes[1].answer.body, "ok\n");
    struct gb_manifest_limits l = gb_manifest_limits_of(m, c, t);
    assert_int_equal(l.memory_bytes, 16 * GB_MIB); /* the component's */
    assert_int_equal(l.deadline_us, 2000000);      /* the tenant's */
    assert_int_equal(l.handles, 1024);
    gb_manifest_unref(m);
}

static void spin_sample_comes_to_the_same_struct(void **state) {
    (void)state;
    struct gb_error *err = NULL;
    assert_null(gb_manifest_load(SAMPLES "spin.toml", NULL, NULL, &err));
    assert_non_null(strstr(err->message, "SPIN_VARIABLE_TOKEN"));
    gb_error_free(err);
    err = NULL;
    assert_int_equal(setenv("SPIN_VARIABLE_TOKEN", "hush", 1), 0);
    struct gb_manifest *m = gb_manifest_load(SAMPLES "spin.toml", NULL, NULL, &err);
    assert_int_equal(unsetenv("SPIN_VARIABLE_TOKEN"), 0);
    assert_non_null(m);
    assert_int_equal(m->kind, GB_MANIFEST_SPIN);
    assert_string_equal(m->name, "hello");
    const struct gb_manifest_component *c = &m->components[0];
    assert_true(c->http && c->kv);
    assert_string_equal(c->allowed_outbound_hosts.items[0], "https://api.example.org:443");
    assert_string_equal(c->key_value_stores.items[0], "default");
    assert_string_equal(c->variables.items[0].value, "https://api.example.org/v1");
    assert_false(c->variables.items[0].secret);
    assert_string_equal(c->variables.items[1].value, "Bearer hush");
    assert_true(c->variables.items[1].secret);
    assert_int_equal(m->routes_len, 3);
    assert_int_equal(m->routes[0].segments[1].kind, GB_SEGMENT_REST);
    assert_int_equal(m->routes[1].segments[1].kind, GB_SEGMENT_PARAM);
    assert_string_equal(m->routes[1].segments[1].text, "id");
    assert_int_equal(m->routes[2].kind, GB_ROUTE_STATIC);
    gb_manifest_unref(m);
}

static void spin_folders_and_tables_of_stores(void **state) {
    (void)state;
    struct gb_manifest *m = parsed(
        "spin_manifest_version = 2\n[application]\nname = \"x\"\ntrigger.http.base = \"/api/\"\n"
        "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n" COMPONENT
        "files = [\"assets/**/*\", { source = \"/srv\", destination = \"data\" }]\n"
        "ai_models = []\n[component.a.key_value_stores]\ncache = \"default\"\n");
    const struct gb_manifest_component *c = &m->components[0];
    assert_int_equal(c->dirs_len, 2);
    assert_string_equal(c->dirs[0].host_path, "dir/assets");
    assert_string_equal(c->dirs[0].guest_path, "/assets");
    assert_string_equal(c->dirs[1].host_path, "/srv");
    assert_string_equal(c->dirs[1].guest_path, "/data");
    assert_false(c->dirs[0].writable);
    assert_int_equal(c->key_value_stores.len, 2);
    assert_string_equal(m->routes[0].path, "/api/...");
    assert_int_equal(m->routes[0].segments_len, 2);
    gb_manifest_unref(m);
}

static void programs_get_every_request(void **state) {
    (void)state;
    struct gb_manifest *m = gb_manifest_of_program("x/hello.wasm", NULL, NULL);
    assert_non_null(m);
    assert_string_equal(m->components[0].source, "x/hello.wasm");
    assert_string_equal(m->routes[0].path, "/...");
    assert_ptr_equal(m->routes[0].component, &m->components[0]);
    struct gb_manifest *again = gb_manifest_ref(m);
    gb_manifest_unref(m);
    assert_string_equal(again->components[0].name, "main");
    gb_manifest_unref(again);
    m = gb_manifest_load(GB_TEST_SOURCE_DIR "/tests/hostile/exit_0.wat", NULL, NULL, NULL);
    assert_non_null(m);
    assert_int_equal(m->kind, GB_MANIFEST_PROGRAM);
    gb_manifest_unref(m);
    gb_manifest_unref(NULL);
}

static void flags_win_over_the_file(void **state) {
    (void)state;
    static const struct gb_manifest_override overrides[] = {
        {"host.listen", "0.0.0.0:80", "--listen"}, {"limits.memory", "1MiB", "--memory"}};
    static const struct gb_manifest_override wrong[] = {{"host.listen", "80", "--listen"}};
    struct gb_manifest_options o = {.overrides = overrides, .overrides_len = 2};
    struct gb_span text = gb_span_of("[host]\nlisten = \"127.0.0.1:1\"\n");
    struct gb_manifest *m = gb_manifest_parse(text, "m.toml", &o, NULL, NULL);
    assert_non_null(m);
    assert_string_equal(m->host.listen, "0.0.0.0:80");
    assert_int_equal(m->host.origins[0].kind, GB_ORIGIN_FLAG);
    assert_int_equal(m->limits.memory_bytes, GB_MIB);
    gb_manifest_unref(m);
    struct gb_error *err = NULL;
    o = (struct gb_manifest_options){.overrides = wrong, .overrides_len = 1};
    assert_null(gb_manifest_parse(text, "m.toml", &o, NULL, &err));
    assert_int_equal(err->code, GB_USAGE_ERROR);
    assert_non_null(strstr(err->message, "--listen"));
    gb_error_free(err);
}

static void the_smaller_of_two_limits_holds(void **state) {
    (void)state;
    struct gb_manifest *m = parsed(
        "[limits]\nfuel = 10\nconcurrency = 5\n[tenant.t]\nhosts = [\"a\"]\n"
        "limits = { fuel = 0, concurrency = 9, memory = \"128MiB\" }\n" COMPONENT
        "limits = { fuel = 7, concurrency = 3, memory = \"256MiB\", on-overflow = \"drop\" }\n");
    struct gb_manifest_limits l = gb_manifest_limits_of(m, &m->components[0], &m->tenants[0]);
    assert_int_equal(l.fuel, 7); /* 0 is none */
    assert_int_equal(l.concurrency, 3);
    assert_int_equal(l.memory_bytes, 128 * GB_MIB);
    assert_int_equal(l.on_overflow, 1);
    l = gb_manifest_limits_of(m, NULL, NULL);
    assert_int_equal(l.fuel, 10);
    gb_manifest_unref(m);
}

static void networks_are_128_bits(void **state) {
    (void)state;
    struct gb_manifest *m = parsed("[host]\ntenant-header = \"X-Tenant\"\n"
                                   "trusted-proxies = [\"10.0.0.0/8\", \"::1\"]\n");
    assert_string_equal(m->host.tenant_header, "x-tenant");
    assert_int_equal(m->host.trusted_proxy_ranges[0].prefix, 104);
    assert_int_equal(m->host.trusted_proxy_ranges[0].address[10], 0xff);
    assert_int_equal(m->host.trusted_proxy_ranges[0].address[12], 10);
    assert_int_equal(m->host.trusted_proxy_ranges[1].prefix, 128);
    assert_int_equal(m->host.trusted_proxy_ranges[1].address[15], 1);
    gb_manifest_unref(m);
}

static void routes_that_take_the_same_requests_are_refused(void **state) {
    (void)state;
    struct gb_manifest *m =
        parsed(COMPONENT "[[route]]\npath = \"/x/:a\"\ncomponent = \"a\"\nmethods = [\"POST\"]\n"
                         "[[route]]\npath = \"/x/:b\"\nmethods = [\"GET\"]\ncomponent = \"a\"\n"
                         "[[route]]\npath = \"/x/y\"\ncomponent = \"a\"\n"
                         "[[route]]\npath = \"/x/\"\ncomponent = \"a\"\n");
    assert_false(gb_manifest_routes_conflict(&m->routes[0], &m->routes[1]));
    assert_false(gb_manifest_routes_conflict(&m->routes[1], &m->routes[2]));
    assert_true(gb_manifest_routes_conflict(&m->routes[2], &m->routes[2]));
    assert_true(m->routes[3].slash_last);
    assert_int_equal(m->routes[3].segments_len, 1);
    gb_manifest_unref(m);
    assert_refused(COMPONENT ROUTE ROUTE, "takes the same requests");
    assert_refused(COMPONENT ROUTE "methods = [\"GET\"]\n" ROUTE "methods = [\"HEAD\"]\n",
                   "takes the same requests");
    assert_refused("[tenant.t]\nhosts = [\"a\"]\n" COMPONENT ROUTE ROUTE "tenant = \"t\"\n",
                   "takes the same requests");
    m = parsed("[tenant.t]\nhosts = [\"a\"]\n[tenant.u]\nhosts = [\"b\"]\n" COMPONENT ROUTE
               "tenant = \"t\"\n" ROUTE "tenant = \"u\"\n");
    gb_manifest_unref(m);
}

static void secrets_come_from_files_and_are_not_shown(void **state) {
    (void)state;
    char path[] = GB_TEST_BINARY_DIR "/manifest_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "hush\n", 5) == 5);
    close(fd);
    char text[512];
    snprintf(text, sizeof text, COMPONENT "env = { K = { file = \"%s\" } }\n" ROUTE, path);
    struct gb_manifest *m = parsed(text);
    unlink(path);
    assert_string_equal(m->components[0].env.items[0].value, "hush");
    assert_true(m->components[0].env.items[0].secret);
    gb_manifest_unref(m);
    assert_refused(text, "could not be read");
    struct gb_manifest_options o = {.secrets_optional = true};
    m = gb_manifest_parse(gb_span_of(text), "m.toml", &o, NULL, NULL);
    assert_non_null(m);
    assert_null(m->components[0].env.items[0].value);
    gb_manifest_unref(m);
}

/* ---- bounds ---- */

/* head, then `before` N `behind` for each N, then tail */
static void repeated(char *out, size_t cap, const char *head, const char *before,
                     const char *behind, unsigned count, const char *tail) {
    size_t used = (size_t)snprintf(out, cap, "%s", head);
    for (unsigned i = 0; i < count && used < cap; i++) {
        used += (size_t)snprintf(out + used, cap - used, "%s%u%s", before, i, behind);
    }
    assert_true(used + strlen(tail) < cap);
    snprintf(out + used, cap - used, "%s", tail);
}

static void what_is_too_much_is_refused(void **state) {
    (void)state;
    size_t cap = (size_t)2 << 20;
    char *text = calloc(1, cap);
    assert_non_null(text);
    memset(text, '#', GB_MANIFEST_BYTES_MAX + 1);
    assert_refused(text, "bytes, more than");
    repeated(text, cap, COMPONENT "models = [", "\"m", "\",", GB_MANIFEST_LIST_MAX + 1, "]\n");
    assert_refused(text, "257 items");
    repeated(text, cap, COMPONENT "env = {", "K", " = \"\",", GB_MANIFEST_LIST_MAX, "Z = \"\"}\n");
    assert_refused(text, "257 entries");
    repeated(text, cap, "", "[tenant.t", "]\n", GB_MANIFEST_TENANTS_MAX + 1, "");
    assert_refused(text, "more than 4096");
    repeated(text, cap, "[host]\nloops = [", "", ",", GB_MANIFEST_VALUES_MAX, "]\n");
    assert_refused(text, "more than 65536 values");
    repeated(text, cap, "[component.", "k", "", 200, "]\n");
    assert_refused(text, "has more than 512 bytes");
    repeated(text, cap, "[[route]]\npath = \"", "/", "", 40, "\"\n");
    assert_refused(text, "more than 32 parts");
    repeated(text, cap, "[model.m]\nsource = \"", "", "", 16000, "\"\n");
    assert_refused(text, "more than 65536");
    repeated(text, cap, "[model.m]\nsource = \"", "", "", 1500, "\"\n");
    assert_refused(text, "more than 4096");
    free(text);
}

static void at_most_twenty_are_listed(void **state) {
    (void)state;
    char text[4096];
    repeated(text, sizeof text, "[host]\n", "k", " = 1\n", 30, "");
    struct gb_manifest_findings f;
    struct gb_error *err = NULL;
    assert_null(gb_manifest_parse(gb_span_of(text), "m.toml", NULL, &f, &err));
    assert_int_equal(f.len, GB_MANIFEST_FINDINGS_MAX);
    assert_int_equal(f.errors_len, 30);
    assert_int_equal(f.left_out, 10);
    assert_non_null(strstr(err->hint, "29 more"));
    gb_error_free(err);
    gb_manifest_findings_fini(&f);
}

/* ---- faults ---- */

static bool loads(struct gb_error **err) {
    static const char *const files[] = {SAMPLES "glovebox.toml", SAMPLES "spin.toml",
                                        SAMPLES "minimal.toml"};
    struct gb_manifest_options o = {.secrets_optional = true};
    for (size_t i = 0; i < GB_COUNT(files); i++) {
        struct gb_manifest_findings f;
        struct gb_manifest *m = gb_manifest_load(files[i], &o, &f, err);
        gb_manifest_findings_fini(&f);
        if (!m) {
            return false;
        }
        gb_manifest_unref(m);
    }
    return true;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int64_t before, after;
    gb_alloc_outstanding(&before);
    uint64_t n = 1;
    for (bool ok = false; !ok; n++) {
        struct gb_error *err = NULL;
        gb_alloc_fail_at(n);
        ok = loads(&err);
        bool hit = gb_alloc_fail_hits() > 0;
        gb_alloc_fail_at(0);
        assert_true(ok || hit);
        assert_true(ok == (err == NULL));
        gb_error_free(err);
        ok = ok && !hit; /* past the last one */
    }
    gb_alloc_outstanding(&after);
    assert_int_equal(before, after);
    assert_true(n > 20);
}

static void every_system_call_may_fail(void **state) {
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct gb_error *err = NULL;
        gb_fault_sys_at(n, false);
        bool ok = loads(&err);
        bool hit = gb_fault_sys_hits() > 0;
        gb_fault_sys_at(0, false);
        assert_true(ok != hit);
        gb_error_free(err);
        if (ok) {
            assert_true(n > 6);
            return;
        }
    }
}

static bool count_values(void *user, const struct gb_manifest_value *v, struct gb_error **err) {
    (void)err;
    size_t *count = user;
    assert_non_null(v->origin);
    assert_null(strstr(v->value, "hush"));
    ++*count;
    return true;
}

static void every_value_is_shown(void **state) {
    (void)state;
    assert_int_equal(setenv("GB_TEST_SECRET", "hush", 1), 0);
    struct gb_manifest *m =
        parsed(COMPONENT "env = { K = { env = \"GB_TEST_SECRET\" }, L = \"x\" }\n" ROUTE);
    size_t count = 0;
    assert_string_equal(m->components[0].env.items[0].value, "hush");
    assert_true(gb_manifest_each_value(m, count_values, &count, NULL));
    assert_true(count > 50);
    gb_manifest_unref(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_sandbox),
        cmocka_unit_test(our_sample_comes_to_its_values),
        cmocka_unit_test(spin_sample_comes_to_the_same_struct),
        cmocka_unit_test(spin_folders_and_tables_of_stores),
        cmocka_unit_test(programs_get_every_request),
        cmocka_unit_test(flags_win_over_the_file),
        cmocka_unit_test(the_smaller_of_two_limits_holds),
        cmocka_unit_test(networks_are_128_bits),
        cmocka_unit_test(routes_that_take_the_same_requests_are_refused),
        cmocka_unit_test(secrets_come_from_files_and_are_not_shown),
        cmocka_unit_test(what_is_too_much_is_refused),
        cmocka_unit_test(at_most_twenty_are_listed),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_system_call_may_fail),
        cmocka_unit_test(every_value_is_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
