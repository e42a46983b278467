/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doctor and version: what this machine offers and what is built in. Each check says what was found
 * or where it was looked for; a check that is not required only costs something when it fails.
 * Nothing native is loaded into this process: the engine is asked by starting a jailed worker.
 */
#include "lib/lib.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/num.h"
#include "lib/json.h"

#define DETAIL_BYTES 4352
#define FILES_WANTED 256u
#define LANDLOCK_VERSION_QUERY 1u /* LANDLOCK_CREATE_RULESET_VERSION; headers may be older */

struct doctor {
    struct gb_json j;
    yyjson_mut_val *checks;
    bool ok;
};

struct check {
    const char *name;
    bool ok;
    bool required;
    const char *detail;
    const char *hint;
};

static void add_check(struct doctor *d, struct check c) {
    yyjson_mut_val *object = yyjson_mut_obj(d->j.doc);
    gb_json_add_text(&d->j, object, "name", c.name);
    gb_json_add_bool(&d->j, object, "ok", c.ok);
    gb_json_add_bool(&d->j, object, "required", c.required);
    gb_json_add_text(&d->j, object, "detail", c.detail);
    if (!c.ok && c.hint) {
        gb_json_add_text(&d->j, object, "hint", c.hint);
    }
    (void)yyjson_mut_arr_append(d->checks, object);
    d->ok = d->ok && (c.ok || !c.required);
}

static void add_failed(struct doctor *d, const char *name, const struct gb_error *e,
                       const char *else_hint) {
    add_check(d, (struct check){.name = name,
                                .required = true,
                                .detail = gb_error_message(e),
                                .hint = gb_error_hint(e) ? gb_error_hint(e) : else_hint});
}

/* ---- programs and libraries ---- */

static void check_sandbox(struct doctor *d, const struct gb_host_options *o) {
    struct gb_sandbox_options options = gb_lib_sandbox_options(o);
    struct gb_error *e = NULL;
    struct gb_sandbox_facts facts = {0};
    struct gb_sandbox *s = gb_sandbox_new(&options, &e);
    if (!s || !gb_sandbox_facts(s, &facts, &e)) {
        add_failed(d, "wasm-engine", e, NULL);
        gb_error_free(e);
    } else {
        add_check(d, (struct check){.name = "wasm-engine",
                                    .ok = true,
                                    .required = true,
                                    .detail = facts.engine});
        char reserved[96];
        snprintf(reserved, sizeof reserved, "reserved for %u calls of %llu MiB", options.calls_max,
                 (unsigned long long)(options.memory_bytes_max / GB_MIB));
        add_check(d, (struct check){.name = "wasm-pool",
                                    .ok = facts.pooling,
                                    .detail = facts.pooling ? reserved : facts.pooling_reason,
                                    .hint = "Calls work without the pool, each a little slower; "
                                            "`ulimit -v unlimited` gives it address space."});
    }
    if (s) {
        gb_sandbox_free(s);
    }
}

static void check_code(struct doctor *d, const struct gb_host_options *o) {
    struct gb_sandbox_options options = gb_lib_sandbox_options(o);
    options.pooling = false; /* nothing will run */
    struct gb_error *e = NULL;
    struct gb_native_facts facts = {.cache_text = "unknown"};
    struct gb_sandbox *s = gb_sandbox_new(&options, &e);
    if (s && gb_sandbox_native_facts(s, &facts, &e)) {
        add_check(d, (struct check){.name = "compiler",
                                    .ok = true,
                                    .required = true,
                                    .detail = "compiles in a jailed process"});
    } else {
        add_failed(d, "compiler", e, NULL);
        gb_error_free(e);
    }
    char detail[DETAIL_BYTES];
    snprintf(detail, sizeof detail, "%s: %llu programs in %llu KiB, %llu damaged so far",
             facts.cache_text, (unsigned long long)facts.entries,
             (unsigned long long)(facts.bytes / GB_KIB), (unsigned long long)facts.damaged);
    add_check(d, (struct check){.name = "code-cache",
                                .ok = facts.cache,
                                .detail = facts.cache ? detail : facts.cache_text,
                                .hint = "Without it each run compiles its program; --cache DIR "
                                        "names another folder."});
    if (s) {
        gb_sandbox_free(s);
    }
}

static void add_probes(struct doctor *d, const struct gb_probe *probes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char name[64];
        char detail[128];
        snprintf(name, sizeof name, "jail: %s", probes[i].name);
        if (probes[i].denied) {
            snprintf(detail, sizeof detail, "refused%s%s", probes[i].sys_errno ? ": " : "",
                     probes[i].sys_errno ? strerror(probes[i].sys_errno) : "");
        } else {
            snprintf(detail, sizeof detail, "a jailed worker could do it");
        }
        add_check(d, (struct check){.name = name,
                                    .ok = probes[i].denied,
                                    .required = true,
                                    .detail = detail,
                                    .hint = "Do not load models that you do not trust on this "
                                            "machine."});
    }
}

static void add_walls(struct doctor *d, uint32_t missing) {
    static const struct {
        uint32_t bit;
        const char *name;
    } walls[] = {{GB_WALL_NO_NEW_PRIVS, "no_new_privs"},
                 {GB_WALL_LANDLOCK, "Landlock"},
                 {GB_WALL_SECCOMP, "seccomp"},
                 {GB_WALL_RLIMITS, "resource limits"},
                 {GB_WALL_DUMPABLE, "not dumpable"}};
    char detail[128] = "no_new_privs, Landlock, seccomp, resource limits, not dumpable";
    size_t used = 0;
    for (size_t i = 0; missing != 0 && i < GB_COUNT(walls); i++) {
        if ((missing & walls[i].bit) != 0 && used < sizeof detail) {
            int n = snprintf(detail + used, sizeof detail - used, "%s%s", used ? ", " : "missing: ",
                             walls[i].name);
            used += n > 0 ? (size_t)n : 0;
        }
    }
    add_check(d, (struct check){.name = "jail-walls",
                                .ok = missing == 0,
                                .required = true,
                                .detail = detail,
                                .hint = "Use a kernel with these, or accept less with "
                                        "`--jail best-effort`."});
}

static void check_worker(struct doctor *d, const struct gb_host_options *o) {
    struct gb_registry_options options = gb_lib_registry_options(o, NULL);
    struct gb_error *e = NULL;
    char path[DETAIL_BYTES];
    if (gb_worker_locate(&options, path, sizeof path, &e)) {
        add_check(d, (struct check){
                         .name = "worker-program", .ok = true, .required = true, .detail = path});
    } else {
        add_failed(d, "worker-program", e, NULL);
        gb_error_free(e);
        return;
    }
    struct gb_probe *probes = NULL;
    size_t probes_len = 0;
    char engine[64] = "";
    uint32_t missing = 0;
    /* Best effort here, so that one missing wall does not hide what the others do. */
    options.jail = GB_JAIL_BEST_EFFORT;
    if (!gb_worker_selftest(&options, &probes, &probes_len, engine, &missing, &e)) {
        add_failed(d, "onnx-engine", e,
                   "Set GLOVEBOX_ORT_LIB or --ort-lib PATH to libonnxruntime.so.1.");
        gb_error_free(e);
        return;
    }
    add_check(d, (struct check){
                     .name = "onnx-engine", .ok = true, .required = true, .detail = engine});
    add_walls(d, missing);
    add_probes(d, probes, probes_len);
    gb_free(probes);
}

/* ---- kernel and machine ---- */

static void check_kernel(struct doctor *d) {
    char detail[128];
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_QUERY);
    if (abi > 0) {
        snprintf(detail, sizeof detail, "ABI %ld", abi);
    } else {
        snprintf(detail, sizeof detail, "not in this kernel, or switched off: %s", strerror(errno));
    }
    add_check(d, (struct check){.name = "landlock",
                                .ok = abi > 0,
                                .required = true,
                                .detail = detail,
                                .hint = "Use Linux 5.13 or later with Landlock on, or "
                                        "`--jail best-effort`."});
    FILE *file = fopen("/proc/sys/kernel/seccomp/actions_avail", "re");
    char actions[128] = "";
    if (file) {
        if (!fgets(actions, sizeof actions, file)) {
            actions[0] = '\0';
        }
        fclose(file);
        actions[strcspn(actions, "\n")] = '\0';
    }
    bool filters = strstr(actions, "errno") != NULL || prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
    add_check(d, (struct check){.name = "seccomp",
                                .ok = filters,
                                .required = true,
                                .detail = actions[0] ? actions : filters ? "yes" : "not available",
                                .hint = "Use a kernel with CONFIG_SECCOMP_FILTER, or "
                                        "`--jail best-effort`."});
}

static void check_limits(struct doctor *d) {
    char detail[128];
    struct rlimit files = {0};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    snprintf(detail, sizeof detail, "%llu at once", (unsigned long long)files.rlim_cur);
    add_check(d, (struct check){.name = "open-files",
                                .ok = files.rlim_cur >= FILES_WANTED,
                                .detail = detail,
                                .hint = "`ulimit -n 1024` or more: each model takes several."});
    struct rlimit space = {0};
    (void)getrlimit(RLIMIT_AS, &space);
    bool unlimited = space.rlim_cur == RLIM_INFINITY;
    snprintf(detail, sizeof detail, unlimited ? "unlimited" : "limited to %llu MiB",
             (unsigned long long)(space.rlim_cur / GB_MIB));
    add_check(d, (struct check){.name = "address-space",
                                .ok = unlimited,
                                .detail = detail,
                                .hint = "`ulimit -v unlimited`: guests' memories are reserved, not "
                                        "used."});
}

static void check_machine(struct doctor *d) {
    char detail[128];
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t memory = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
    snprintf(detail, sizeof detail, "%u cores, %llu MiB of memory", gb_cores(),
             (unsigned long long)(memory / GB_MIB));
    add_check(d, (struct check){.name = "machine", .ok = true, .detail = detail});
    struct timespec step = {0};
    bool fine = clock_getres(CLOCK_MONOTONIC, &step) == 0 && step.tv_sec == 0 &&
                step.tv_nsec <= 1000000;
    snprintf(detail, sizeof detail, "monotonic, in steps of %ld ns", step.tv_nsec);
    add_check(d, (struct check){.name = "clock",
                                .ok = fine,
                                .required = true,
                                .detail = detail,
                                .hint = "Deadlines need a clock finer than a millisecond."});
}

char *gb_host_doctor_json(const struct gb_host_options *options, bool *ret_ok,
                          struct gb_error **err) {
    struct gb_host_options o;
    gb_host_options_default(&o);
    if (!gb_lib_options_copy(&o, sizeof o, options, "host", err)) {
        return NULL;
    }
    struct doctor d = {.ok = true};
    gb_json_init(&d.j);
    yyjson_mut_val *root = yyjson_mut_obj(d.j.doc);
    d.checks = yyjson_mut_arr(d.j.doc);
    check_machine(&d);
    check_limits(&d);
    check_kernel(&d);
    check_sandbox(&d, &o);
    check_code(&d, &o);
    check_worker(&d, &o);
    gb_json_add_bool(&d.j, root, "ok", d.ok);
    gb_json_add(&d.j, root, "checks", d.checks);
    bool ok = d.ok;
    char *text = gb_json_finish(&d.j, root, 0, err);
    if (text && ret_ok) {
        *ret_ok = ok;
    }
    return text;
}

/* ---- version ---- */

/* "wasmtime 48.0.8" -> "48.0.8" */
static const char *after_space(const char *text) {
    const char *space = strchr(text, ' ');
    return space ? space + 1 : text;
}

static void add_engine_versions(struct gb_json *j, yyjson_mut_val *root) {
    struct gb_host_options o;
    gb_host_options_default(&o);
    struct gb_sandbox_options sandbox = gb_lib_sandbox_options(&o);
    sandbox.pooling = false; /* nothing will run */
    struct gb_sandbox_facts facts = {0};
    struct gb_sandbox *s = gb_sandbox_new(&sandbox, NULL);
    bool known = s && gb_sandbox_facts(s, &facts, NULL);
    gb_json_add_text(j, root, "wasmtime", known ? after_space(facts.engine) : NULL);
    if (s) {
        gb_sandbox_free(s);
    }
    struct gb_registry_options options = gb_lib_registry_options(&o, NULL);
    options.jail = GB_JAIL_BEST_EFFORT;
    struct gb_probe *probes = NULL;
    size_t probes_len = 0;
    char engine[64] = "";
    uint32_t missing = 0;
    known = gb_worker_selftest(&options, &probes, &probes_len, engine, &missing, NULL);
    gb_json_add_text(j, root, "onnxruntime", known ? after_space(engine) : NULL);
    if (known) {
        gb_free(probes);
    }
}

char *gb_version_json(struct gb_error **err) {
    struct gb_json j;
    gb_json_init(&j);
    yyjson_mut_val *root = yyjson_mut_obj(j.doc);
    gb_json_add_text(&j, root, "glovebox", GLOVEBOX_VERSION);
    add_engine_versions(&j, root);
    gb_json_add_text(&j, root, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
    gb_json_add_text(&j, root, "yyjson", YYJSON_VERSION_STRING);
    gb_json_add_text(&j, root, "glibc", gnu_get_libc_version());
    return gb_json_finish(&j, root, 0, err);
}
