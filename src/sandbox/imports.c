/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges one import: whether this host has it, in which versions, and which grant it needs. Pure
 * functions over the table interfaces.def; the messages are made in diagnose.c and inspect.c.
 */
#include "sandbox/sandbox_internal.h"

enum version_rule { RULE_WASI, RULE_NN, RULE_HOST, RULE_ANY };
static const struct interface {
    const char *name;
    enum version_rule rule;
    uint32_t link_flag;
    const char *grant;
    bool built;
} interfaces[] = {
#define GB_INTERFACE(name, rule, flag, grant, built) {name, RULE_##rule, flag, grant, built},
#include "sandbox/interfaces.def"
#undef GB_INTERFACE
};

#define WASI_HAVE "0.2.0 to 0.2.12"
#define NN_1028 "0.2.0-rc-2024-10-28"
#define NN_0819 "0.2.0-rc-2024-08-19"
#define NN_0625 "0.2.0-rc-2024-06-25"
#define NN_HAVE NN_1028 ", " NN_0819 " and " NN_0625
#define HOST_HAVE "0.1.0"

static bool has_prefix(struct gb_span s, const char *prefix) {
    size_t len = strlen(prefix);
    return s.len >= len && memcmp(s.ptr, prefix, len) == 0;
}

static const struct interface *find_interface(struct gb_span name) {
    for (size_t i = 0; i < GB_COUNT(interfaces); i++) {
        const char *known = interfaces[i].name;
        size_t len = strlen(known);
        bool package = known[len - 1] == '/' || known[len - 1] == ':';
        if (package ? has_prefix(name, known) : gb_span_is(name, known)) {
            return &interfaces[i];
        }
    }
    return NULL;
}

static bool granted(const struct gb_grants *g, const char *grant) {
    return strcmp(grant, "http") == 0      ? g->http
           : strcmp(grant, "kv") == 0      ? g->kv
           : strcmp(grant, "sockets") == 0 ? g->sockets
                                           : false;
}

static bool is_wasi_02(struct gb_span version) {
    if (version.len < 5 || !has_prefix(version, "0.2.")) {
        return false;
    }
    for (size_t i = 4; i < version.len; i++) {
        if (version.ptr[i] < '0' || version.ptr[i] > '9') {
            return false;
        }
    }
    return true;
}

static void split_version(struct gb_span full, struct gb_span *ret_name,
                          struct gb_span *ret_version) {
    *ret_name = full;
    *ret_version = gb_span_make(NULL, 0);
    for (size_t i = 0; i < full.len; i++) {
        if (full.ptr[i] == '@') {
            *ret_name = gb_span_make(full.ptr, i);
            *ret_version = gb_span_make(full.ptr + i + 1, full.len - i - 1);
            return;
        }
    }
}

static void judge_version(const struct interface *known, struct gb_import_verdict *v) {
    v->link_flags = known->link_flag;
    switch (known->rule) {
    case RULE_WASI:
        v->have = WASI_HAVE;
        v->state = is_wasi_02(v->version) ? GB_IMPORT_HAVE : GB_IMPORT_VERSION;
        v->advice = "Build the program for WASI 0.2, for example for the target wasm32-wasip2.";
        break;
    case RULE_NN:
        v->is_nn = true;
        v->have = NN_HAVE;
        v->link_flags = gb_span_is(v->version, NN_1028)   ? GBW_LINK_NN_1028
                        : gb_span_is(v->version, NN_0819) ? GBW_LINK_NN_0819
                        : gb_span_is(v->version, NN_0625) ? GBW_LINK_NN_0625
                                                          : 0;
        v->state = v->link_flags != 0 ? GB_IMPORT_HAVE : GB_IMPORT_VERSION;
        v->advice = "Build the program against one of these versions of wasi:nn.";
        break;
    case RULE_HOST:
        v->have = HOST_HAVE;
        v->state = gb_span_is(v->version, HOST_HAVE) ? GB_IMPORT_HAVE : GB_IMPORT_VERSION;
        v->advice = "Build the program against this version, from the folder wit/ of this host.";
        break;
    case RULE_ANY:
        v->state = GB_IMPORT_HAVE;
        break;
    }
}

/* The newer wasi:nn with the calls of the older: tutorials show this mixture. */
static bool is_old_nn_call(const struct gbw_item *item, struct gb_span version) {
    struct gb_span name = gb_of_bridge(item->name);
    return gb_span_is(version, NN_1028) &&
           (gb_span_is(name, "[method]graph-execution-context.set-input") ||
            gb_span_is(name, "[method]graph-execution-context.get-output"));
}

static void judge_component(const struct gbw_item *item, const struct gb_grants *grants,
                            struct gb_import_verdict *v) {
    if (item->interface.len == 0) {
        v->name = gb_of_bridge(item->name); /* a function or type at the world's root */
        return;
    }
    split_version(gb_of_bridge(item->interface), &v->name, &v->version);
    if (gb_custom_judge(item, grants, v)) {
        return;
    }
    const struct interface *known = find_interface(v->name);
    if (item->name.len != 0) {
        bool old = known && known->rule == RULE_NN && is_old_nn_call(item, v->version);
        v->is_nn = known && known->rule == RULE_NN;
        v->state = old ? GB_IMPORT_OLD_NN : GB_IMPORT_IGNORED;
        return;
    }
    if (!known) {
        return;
    }
    judge_version(known, v);
    v->grant = known->grant;
    if (v->state == GB_IMPORT_HAVE && v->grant && !granted(grants, v->grant)) {
        v->state = GB_IMPORT_UNGRANTED;
        v->advice = NULL; /* the version is right: what is missing is the grant */
    } else if (v->state == GB_IMPORT_HAVE && !known->built) {
        v->state = GB_IMPORT_UNBUILT;
    }
}

/* What other tool chains leave behind, by the module that they import from. */
static const char *module_advice(struct gb_span module, struct gb_span field) {
    const char *const emscripten[] = {"emscripten_", "_emscripten", "invoke_", "__cxa_",
                                      "__syscall_",  "_embind_",    "_mmap_",  "_munmap_"};
    for (size_t i = 0; gb_span_is(module, "env") && i < GB_COUNT(emscripten); i++) {
        if (has_prefix(field, emscripten[i])) {
            return "This looks like Emscripten's output for JavaScript: build with "
                   "-sSTANDALONE_WASM, or with the WASI SDK.";
        }
    }
    if (gb_span_is(module, "wbg") || has_prefix(module, "__wbindgen")) {
        return "This looks like wasm-bindgen's output for browsers: build for wasm32-wasip2.";
    }
    if (gb_span_is(module, "gojs") || gb_span_is(module, "go")) {
        return "This looks like Go's output for JavaScript: build with GOOS=wasip1 GOARCH=wasm.";
    }
    if (gb_span_is(module, "wasi_unstable")) {
        return "wasi_unstable is WASI's oldest interface: build with a newer SDK, for "
               "wasm32-wasip1 or wasm32-wasip2.";
    }
    return NULL;
}

/* The six functions of the witx; other hosts have more, and the older name of the module. */
static void judge_core_nn(struct gb_span field, struct gb_import_verdict *v) {
    static const char *const functions[] = {"load",      "load_by_name", "init_execution_context",
                                            "set_input", "compute",      "get_output"};
    v->is_nn = true;
    v->link_flags = GBW_LINK_WITX;
    for (size_t i = 0; i < GB_COUNT(functions); i++) {
        if (gb_span_is(field, functions[i])) {
            v->state = GB_IMPORT_HAVE;
            return;
        }
    }
    v->advice = "This host has the six functions of wasi_ephemeral_nn's standard: load, "
                "load_by_name, init_execution_context, set_input, compute and get_output.";
}

static void judge_module(const struct gbw_item *item, struct gb_import_verdict *v) {
    v->name = gb_of_bridge(item->interface);
    if (gb_span_is(v->name, "wasi_snapshot_preview1")) {
        v->state = GB_IMPORT_HAVE; /* which functions there are, the linker knows */
        v->link_flags = GBW_LINK_P1;
    } else if (gb_span_is(v->name, "wasi_ephemeral_nn")) {
        judge_core_nn(gb_of_bridge(item->name), v);
    } else if (gb_span_is(v->name, "wasi_nn")) {
        v->is_nn = true;
        v->advice = "wasi_nn is an older form of wasi_ephemeral_nn: build the program against "
                    "that, or as a component that imports wasi:nn@" NN_1028 ".";
    } else {
        v->advice = module_advice(v->name, gb_of_bridge(item->name));
    }
}

void gb_import_judge(const struct gbw_item *item, bool is_component, const struct gb_grants *grants,
                     struct gb_import_verdict *ret) {
    *ret = (struct gb_import_verdict){.state = GB_IMPORT_UNKNOWN};
    if (is_component) {
        judge_component(item, grants, ret);
    } else {
        judge_module(item, ret);
    }
}
