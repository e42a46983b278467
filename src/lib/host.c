/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host: the two upper accounts of the ledger, the models, the sandbox, and the runner that
 * drives calls on the owner's thread. Parts are made in the order in which they need each other and
 * freed in the reverse.
 */
#include "lib/lib.h"

#include <string.h>

#include "base/cores.h"
#include "base/log.h"
#include "base/num.h"
#include "sandbox/custom.h"

#define HOST_BYTES_DEFAULT (4 * GB_GIB)
#define BUDGET_BYTES_DEFAULT (256 * GB_MIB)
#define CALLS_MAX_DEFAULT 16u
#define THREADS_DEFAULT_MAX 4u

void gb_text_free(char *text) {
    gb_free(text);
}

void gb_host_options_default(struct gb_host_options *ret_options) {
    struct gb_sandbox_options sandbox = gb_sandbox_options_default();
    struct gb_registry_options registry = gb_registry_options_default();
    *ret_options = (struct gb_host_options){.size = sizeof *ret_options,
                                            .host_bytes = HOST_BYTES_DEFAULT,
                                            .budget_bytes = BUDGET_BYTES_DEFAULT,
                                            .stack_bytes = sandbox.stack_bytes,
                                            .memory_bytes_max = gb_limits_default().memory_bytes,
                                            .calls_max = CALLS_MAX_DEFAULT,
                                            .loads_max = registry.loads_max,
                                            .load_threads = registry.load_threads};
}

bool gb_lib_options_copy(void *ret_options, size_t our_bytes, const void *options,
                         const char *what, struct gb_error **err) {
    if (!options) {
        return true;
    }
    size_t bytes;
    memcpy(&bytes, options, sizeof bytes); /* every options struct begins with its size */
    if (bytes < sizeof bytes || bytes > our_bytes) {
        gb_fail(err, GB_INVALID_ARGUMENT, "%s options have a size of %zu bytes, not up to %zu",
                what, bytes, our_bytes);
        return gb_hint(err, "Fill the struct with its _default function, from the header of this "
                            "library's version.");
    }
    memcpy(ret_options, options, bytes);
    memcpy(ret_options, &our_bytes, sizeof our_bytes);
    return true;
}

static uint32_t default_threads(void) {
    return GB_MIN(gb_cores(), THREADS_DEFAULT_MAX);
}

struct gb_registry_options gb_lib_registry_options(const struct gb_host_options *options,
                                                   struct gb_account *host_account) {
    struct gb_registry_options registry = gb_registry_options_default();
    registry.worker_path = options->worker_path;
    registry.ort_lib_path = options->ort_lib_path;
    registry.jail = options->jail_best_effort ? GB_JAIL_BEST_EFFORT : GB_JAIL_STRICT;
    registry.threads = options->threads > 0 ? options->threads : default_threads();
    registry.host_account = host_account;
    registry.cache_dir = options->cache_dir;
    registry.loads_max = options->loads_max;
    registry.load_threads = options->load_threads;
    registry.placement = options->place_inline ? GB_PLACEMENT_INLINE : GB_PLACEMENT_WORKER;
    return registry;
}

struct gb_sandbox_options gb_lib_sandbox_options(const struct gb_host_options *options) {
    struct gb_sandbox_options sandbox = gb_sandbox_options_default();
    sandbox.stack_bytes = options->stack_bytes;
    sandbox.memory_bytes_max = options->memory_bytes_max;
    sandbox.calls_max = options->calls_max;
    sandbox.jail_best_effort = options->jail_best_effort;
    sandbox.compiler_path = options->compiler_path;
    sandbox.cache = !options->no_cache;
    sandbox.cache_dir = options->cache_dir;
    return sandbox;
}

static bool host_init(struct gb_host *h, const struct gb_host_options *o, struct gb_error **err) {
    h->memory_bytes_max = o->memory_bytes_max;
    h->host_account = gb_account_new("host", NULL, o->host_bytes, err);
    if (!h->host_account) {
        return false;
    }
    h->tenant = gb_account_new("default", h->host_account, o->budget_bytes, err);
    if (!h->tenant) {
        return false;
    }
    struct gb_guest_log_options log = {.tenant = "default", .level_min = GB_GUEST_LOG_INFO};
    h->services = gb_services_new(&log, err);
    if (!h->services) {
        return false;
    }
    /* Before the sandbox, which starts threads: inline placement may change the environment. */
    struct gb_registry_options registry = gb_lib_registry_options(o, h->host_account);
    h->registry = gb_registry_new(&registry, err);
    if (!h->registry) {
        return false;
    }
    struct gb_sandbox_options sandbox = gb_lib_sandbox_options(o);
    sandbox.host_account = h->host_account;
    h->sandbox = gb_sandbox_new(&sandbox, err);
    if (!h->sandbox) {
        return false;
    }
    h->runner = gb_runner_new(h->sandbox, h->registry, err);
    return h->runner != NULL;
}

struct gb_host *gb_host_new(const struct gb_host_options *options, struct gb_error **err) {
    struct gb_host_options o;
    gb_host_options_default(&o);
    if (!gb_lib_options_copy(&o, sizeof o, options, "host", err)) {
        return NULL;
    }
    if (o.calls_max == 0 || o.stack_bytes == 0 || o.memory_bytes_max == 0) {
        gb_fail(err, GB_INVALID_ARGUMENT,
                "calls_max, stack_bytes and memory_bytes_max must not be 0");
        return NULL;
    }
    struct gb_host *h = gb_calloc(1, sizeof *h, err);
    if (!h) {
        return NULL;
    }
    if (!host_init(h, &o, err)) {
        gb_host_free(h);
        return NULL;
    }
    return h;
}

void gb_host_free(struct gb_host *h) {
    if (!h) {
        return;
    }
    if (h->runner) {
        gb_runner_free(h->runner); /* ends what runs; done is called */
    }
    if (h->registry) {
        gb_registry_free(h->registry);
    }
    if (h->sandbox) {
        gb_sandbox_free(h->sandbox);
    }
    gb_services_free(h->services);
    gb_custom_free(h->customs);
    gb_account_unref(h->tenant);
    gb_account_unref(h->host_account);
    gb_free(h);
}

bool gb_host_define(struct gb_host *h, const char *interface, const char *name, const char *type,
                    gb_host_fn *fn, void *user, struct gb_error **err) {
    return gb_custom_add(&h->customs, interface, name, type, fn, user, err);
}

/* ---- models ---- */

bool gb_host_add_model_dir(struct gb_host *h, const char *dir, struct gb_error **err) {
    return gb_registry_add_dir(h->registry, dir, err);
}

bool gb_host_add_default_model_dir(struct gb_host *h, const char *dir, struct gb_error **err) {
    return gb_registry_add_dir_behind(h->registry, dir, err);
}

static bool encoding_of(const char *text, enum gb_backend_kind *ret_kind, struct gb_error **err) {
    static const struct {
        const char *text;
        enum gb_backend_kind kind;
    } encodings[] = {{"autodetect", GB_BACKEND_AUTO},
                     {"onnx", GB_BACKEND_ONNX},
                     {"ggml", GB_BACKEND_GGML},
                     {"gguf", GB_BACKEND_GGML},
                     {"openvino", GB_BACKEND_OPENVINO}};
    for (size_t i = 0; i < GB_COUNT(encodings); i++) {
        if (!text || strcasecmp(encodings[i].text, text) == 0) {
            *ret_kind = encodings[i].kind;
            return true;
        }
    }
    gb_fail(err, GB_INVALID_ARGUMENT, "unknown model encoding \"%s\"", text);
    return gb_hint(err, "Encodings are onnx, ggml, gguf, openvino and autodetect.");
}

bool gb_host_add_model(struct gb_host *h, const char *name, const char *path, const char *encoding,
                       struct gb_error **err) {
    enum gb_backend_kind kind = GB_BACKEND_AUTO;
    if (!encoding_of(encoding, &kind, err)) {
        return false;
    }
    if (kind == GB_BACKEND_GGML || kind == GB_BACKEND_OPENVINO) {
        gb_fail(err, GB_BACKEND_MISSING, "no engine for \"%s\" models is built into this version, "
                                         "so \"%s\" cannot be loaded",
                gb_backend_text(kind), name);
        return gb_hint(err, "This version runs onnx models.");
    }
    return gb_registry_add_file(h->registry, name, path, kind, err);
}

/* Names that nobody knows are left out: a guest that opens one is told that it does not exist, and
 * whoever runs the host reads it in the log. */
bool gb_host_start_models(struct gb_host *h, const char *const *names, size_t names_len,
                          struct gb_error **err) {
    if (!names) {
        return gb_registry_start(h->registry, NULL, 0, err);
    }
    const char **known = gb_calloc(names_len, sizeof *known, err);
    if (!known) {
        return false;
    }
    size_t len = 0;
    for (size_t i = 0; i < names_len; i++) {
        if (gb_registry_find(h->registry, gb_span_of(names[i]))) {
            known[len++] = names[i];
        } else {
            gb_log(GB_LOG_WARN, "no model is called \"%s\"", names[i]);
        }
    }
    bool ok = len == 0 || gb_registry_start(h->registry, known, len, err);
    gb_free((void *)known);
    return ok;
}

/* ---- the loop ---- */

size_t gb_host_step(struct gb_host *h, int wait_ms) {
    return gb_runner_step(h->runner, wait_ms);
}

int gb_host_fd(const struct gb_host *h) {
    return gb_runner_fd(h->runner);
}
