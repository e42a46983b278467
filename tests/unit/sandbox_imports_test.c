/* SPDX-License-Identifier: Apache-2.0 */
/* What people read when a program's imports cannot be satisfied: golden texts. */
#include "sandbox_harness.h"

#define IMPORTS(NAME) "(component (import \"" NAME "\" (instance)))"
#define INSPECT "Run `glovebox inspect guest.wasm` to see every import and what this host has."

static void unknown_interface(void **state) {
    assert_load_fails(*state, IMPORTS("x:y/z@1.0.0"), GB_IMPORT_MISSING,
                      "the program imports \"x:y/z@1.0.0\", which this host does not have",
                      INSPECT);
}

static void unknown_function_at_the_root(void **state) {
    assert_load_fails(*state, "(component (import \"greet\" (func)))", GB_IMPORT_MISSING,
                      "the program imports \"greet\", which this host does not have", INSPECT);
}

static void version_we_lack(void **state) {
    assert_load_fails(*state, IMPORTS("wasi:nn/graph@0.2.0-rc-2024-05-05"), GB_IMPORT_MISSING,
                      "the program imports \"wasi:nn/graph@0.2.0-rc-2024-05-05\"; this host has "
                      "0.2.0-rc-2024-10-28, 0.2.0-rc-2024-08-19 and 0.2.0-rc-2024-06-25",
                      "Build the program against one of these versions of wasi:nn.");
    assert_load_fails(*state, IMPORTS("glovebox:host/log@0.2.0"), GB_IMPORT_MISSING,
                      "the program imports \"glovebox:host/log@0.2.0\"; this host has 0.1.0",
                      "Build the program against this version, from the folder wit/ of this host.");
    assert_load_fails(*state, IMPORTS("wasi:cli/environment@0.3.0"), GB_IMPORT_MISSING,
                      "the program imports \"wasi:cli/environment@0.3.0\"; this host has 0.2.0 to "
                      "0.2.12",
                      "Build the program for WASI 0.2, for example for the target wasm32-wasip2.");
    assert_load_fails(*state, IMPORTS("wasi:io/streams@0.2.0-rc-2023-11-10"), GB_IMPORT_MISSING,
                      NULL, NULL);
}

static void older_calls_under_the_newer_wasi_nn(void **state) {
    assert_load_fails(
        *state,
        "(component (import \"wasi:nn/inference@0.2.0-rc-2024-10-28\" (instance"
        " (export \"graph-execution-context\" (type $c (sub resource)))"
        " (export \"[method]graph-execution-context.set-input\" (func (param \"self\" (borrow $c))"
        "  (param \"name\" string))))))",
        GB_IMPORT_MISSING,
        "the program imports \"[method]graph-execution-context.set-input\" of "
        "\"wasi:nn/inference@0.2.0-rc-2024-10-28\", which that version does not have",
        "set-input, compute without arguments and get-output belong to 0.2.0-rc-2024-08-19: build "
        "against that version, or pass the inputs to compute and use the outputs that it "
        "returns.");
}

static void grants_missing_and_not_built(void **state) {
    struct bench *b = *state;
    assert_load_fails(b, IMPORTS("wasi:http/outgoing-handler@0.2.0"), GB_GRANT_MISSING,
                      "the program imports \"wasi:http/outgoing-handler@0.2.0\", which needs the "
                      "grant \"http\"",
                      "Add --grant http if the program may use it.");
    assert_load_fails(b, IMPORTS("wasi:keyvalue/store@0.2.0-draft2"), GB_GRANT_MISSING, NULL,
                      "Add --grant kv if the program may use it.");
    assert_load_fails(b, IMPORTS("wasi:sockets/tcp@0.2.0"), GB_GRANT_MISSING,
                      "the program imports \"wasi:sockets/tcp@0.2.0\", which needs the grant "
                      "\"sockets\"",
                      "Add --grant sockets if the program may use it.");
    b->grants.http = b->grants.kv = b->grants.sockets = true;
    assert_load_fails(b, IMPORTS("wasi:keyvalue/store@0.2.0-draft2"), GB_UNSUPPORTED,
                      "the program imports \"wasi:keyvalue/store@0.2.0-draft2\": the grant \"kv\" "
                      "is not built yet",
                      INSPECT);
    assert_load_fails(b, IMPORTS("wasi:http/incoming-handler@0.2.0"), GB_UNSUPPORTED, NULL, NULL);
    assert_load_fails(b, IMPORTS("wasi:http/types@0.3.0"), GB_IMPORT_MISSING,
                      "the program imports \"wasi:http/types@0.3.0\"; this host has 0.2.0 to "
                      "0.2.12",
                      NULL);
    assert_load_fails(b, IMPORTS("wasi:config/store@0.2.0-draft-2024-09-27"), GB_UNSUPPORTED,
                      "the program imports \"wasi:config/store@0.2.0-draft-2024-09-27\", which is "
                      "not built yet",
                      INSPECT);
    assert_load_fails(b, IMPORTS("fermyon:spin/llm@2.0.0"), GB_UNSUPPORTED, NULL, NULL);
    /* Granted and built: what is left to say is that there is nothing to run. */
    assert_load_fails(b, IMPORTS("wasi:sockets/network@0.2.9"), GB_COMPONENT_INVALID, NULL, NULL);
    assert_load_fails(b, IMPORTS("wasi:http/outgoing-handler@0.2.0"), GB_COMPONENT_INVALID, NULL,
                      NULL);
    assert_load_fails(b, IMPORTS("wasi:http/types@0.2.3"), GB_COMPONENT_INVALID, NULL, NULL);
}

static void satisfied_imports_are_linked(void **state) {
    struct bench *b = *state;
    static const char *const names[] = {
        "wasi:io/error@0.2.0",
        "wasi:cli/environment@0.2.3",
        "wasi:filesystem/types@0.2.12",
        "wasi:nn/errors@0.2.0-rc-2024-10-28",
        "wasi:nn/graph@0.2.0-rc-2024-08-19",
    };
    for (size_t i = 0; i < GB_COUNT(names); i++) {
        struct gb_error *error = NULL;
        char *text = gb_format(&error, "(component (import \"%s\" (instance)) %s", names[i],
                               AGENT_ECHO + strlen("(component "));
        struct gb_program *p = try_load(b, text, &error);
        if (!p) {
            fail_with(error);
        }
        assert_int_equal(gb_program_uses_nn(p), strncmp(names[i], "wasi:nn", 7) == 0);
        struct gb_call_result result;
        start(b, p, &result);
        run_all(b);
        assert_ok(&result, "hello");
        gb_program_unref(p);
        gb_free(text);
    }
}

static void core_modules(void **state) {
    assert_load_fails(*state, "(module (import \"env\" \"now\" (func)) (func (export \"_start\")))",
                      GB_IMPORT_MISSING,
                      "the program imports \"now\" from \"env\", which this host does not have",
                      INSPECT);
    assert_load_fails(*state, "(module (import \"env\" \"emscripten_resize_heap\" (func)))",
                      GB_IMPORT_MISSING,
                      "the program imports \"emscripten_resize_heap\" from \"env\", which this "
                      "host does not have",
                      "This looks like Emscripten's output for JavaScript: build with "
                      "-sSTANDALONE_WASM, or with the WASI SDK.");
    assert_load_fails(*state, "(module (import \"wasi_unstable\" \"fd_write\" (func)))",
                      GB_IMPORT_MISSING, NULL,
                      "wasi_unstable is WASI's oldest interface: build with a newer SDK, for "
                      "wasm32-wasip1 or wasm32-wasip2.");
    assert_load_fails(*state, "(module (import \"wasi_ephemeral_nn\" \"unload\" (func)))",
                      GB_IMPORT_MISSING,
                      "the program imports \"unload\" from \"wasi_ephemeral_nn\", which this host "
                      "does not have",
                      "This host has the six functions of wasi_ephemeral_nn's standard: load, "
                      "load_by_name, init_execution_context, set_input, compute and get_output.");
    assert_load_fails(*state, "(module (import \"wasi_nn\" \"load\" (func)))", GB_IMPORT_MISSING,
                      "the program imports \"load\" from \"wasi_nn\", which this host does not "
                      "have",
                      "wasi_nn is an older form of wasi_ephemeral_nn: build the program against "
                      "that, or as a component that imports wasi:nn@0.2.0-rc-2024-10-28.");
    assert_load_fails(*state,
                      "(module (import \"wasi_snapshot_preview1\" \"sock_dance\" (func))"
                      " (func (export \"_start\")))",
                      GB_IMPORT_MISSING, NULL, INSPECT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SANDBOX_TEST(unknown_interface),
        SANDBOX_TEST(unknown_function_at_the_root),
        SANDBOX_TEST(version_we_lack),
        SANDBOX_TEST(older_calls_under_the_newer_wasi_nn),
        SANDBOX_TEST(grants_missing_and_not_built),
        SANDBOX_TEST(satisfied_imports_are_linked),
        SANDBOX_TEST(core_modules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
