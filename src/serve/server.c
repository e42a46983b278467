/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server as a whole: made in the order in which its parts need each other, run, told to stop or
 * to take another manifest, drained, and freed in the reverse order.
 *
 * Stopping: readiness says no at once; connections are still accepted for drain-accept, for load
 * balancers that have not noticed; then what is in flight has until drain to finish.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/file.h"
#include "base/log.h"
#include "serve/serve_internal.h"

/* Measured with 20 spinning guests on two cores: at 5 a victim's p99 doubles, at 10 it mostly stays
 * that of an idle server. */
#define LANE_NICE 10
#define DRAIN_LOOK_MS 20

/* ---- making ---- */

static bool add_models(struct gb_server *s, struct gb_error **err) {
    const struct gb_manifest *m = s->manifest;
    for (size_t i = 0; i < m->models_len; i++) {
        const struct gb_manifest_model *model = &m->models[i];
        const struct gb_model_settings settings = {
            .digest = model->digest,
            .threads = (uint32_t)model->threads,
            .deadline_us = model->deadline_us,
            .warm_up_off = !model->warm_up,
            .has_placement = model->placement != 0,
            .placement = model->placement == 2 ? GB_PLACEMENT_INLINE : GB_PLACEMENT_WORKER,
            .layout = model->layout,
        };
        if (!gb_registry_add_file(s->registry, model->name, model->source, GB_BACKEND_AUTO, err) ||
            !gb_registry_configure(s->registry, model->name, &settings, err)) {
            return false;
        }
    }
    return !m->host.models_dir || gb_registry_add_dir_behind(s->registry, m->host.models_dir, err);
}

/* A model that the manifest names must be there and load. */
static bool check_models(struct gb_server *s, const struct gb_manifest *m, struct gb_error **err) {
    for (size_t i = 0; i < m->components_len; i++) {
        for (size_t k = 0; k < m->components[i].models_len; k++) {
            const struct gb_manifest_model_grant *g = &m->components[i].models[k];
            struct gb_model *model = gb_registry_find(s->registry, gb_span_of(g->name));
            if (!model) {
                gb_fail(err, GB_MODEL_NOT_FOUND,
                        "component \"%s\" is granted the model \"%s\", which is not loaded",
                        m->components[i].name, g->name);
                return gb_hint(err, "Models are loaded when the server starts: add [model.%s] and "
                                    "start it again.", g->name);
            }
            const struct gb_model_info *info = gb_model_info(model);
            if (info->state == GB_MODEL_STATE_REJECTED) {
                return gb_error_move(err, gb_error_copy(info->reason));
            }
            if (g->digest && strcmp(g->digest, info->digest) != 0) {
                return gb_fail(err, GB_DIGEST_MISMATCH, "model \"%s\" has the digest %s, not %s",
                               g->name, info->digest, g->digest);
            }
        }
    }
    return true;
}

static bool start_models(struct gb_server *s, struct gb_error **err) {
    const struct gb_manifest *m = s->manifest;
    size_t n = 0;
    for (size_t i = 0; i < m->components_len; i++) {
        n += m->components[i].models_len;
    }
    const char **names = gb_calloc(n + 1, sizeof *names, err);
    if (!names) {
        return false;
    }
    n = 0;
    for (size_t i = 0; i < m->components_len; i++) {
        for (size_t k = 0; k < m->components[i].models_len; k++) {
            names[n++] = m->components[i].models[k].name;
        }
    }
    bool ok = n == 0 || gb_registry_start(s->registry, names, n, err);
    gb_free(names);
    return ok && check_models(s, m, err);
}

static bool make_engines(struct gb_server *s, struct gb_error **err) {
    const struct gb_manifest_host *host = &s->manifest->host;
    struct gb_registry_options registry = gb_registry_options_default();
    registry.worker_path = s->options.worker_path;
    registry.ort_lib_path = s->options.ort_lib_path;
    registry.jail = host->jail == 1 ? GB_JAIL_BEST_EFFORT : GB_JAIL_STRICT;
    registry.threads = GB_MIN(gb_cores(), 4u);
    registry.host_account = s->account;
    registry.cache_dir = host->cache_dir;
    s->registry = gb_registry_new(&registry, err);
    if (!s->registry) {
        return false;
    }
    struct gb_sandbox_options sandbox = gb_sandbox_options_default();
    sandbox.stack_bytes = s->manifest->limits.stack_bytes;
    sandbox.memory_bytes_max = s->manifest->limits.memory_bytes;
    for (size_t i = 0; i < s->manifest->components_len; i++) {
        struct gb_manifest_limits l =
            gb_manifest_limits_of(s->manifest, &s->manifest->components[i], NULL);
        sandbox.memory_bytes_max = GB_MAX(sandbox.memory_bytes_max, l.memory_bytes);
    }
    sandbox.calls_max = (uint32_t)host->calls;
    sandbox.jail_best_effort = host->jail == 1;
    sandbox.compiler_path = s->options.compiler_path;
    sandbox.cache = !s->options.no_cache;
    sandbox.cache_dir = host->cache_dir;
    s->sandbox = gb_sandbox_new(&sandbox, err);
    uint32_t lanes = host->lanes ? (uint32_t)host->lanes : gb_cores();
    s->lanes = s->sandbox ? gb_lanes_new(lanes, LANE_NICE, err) : NULL;
    return s->lanes != NULL;
}

static bool make_loops(struct gb_server *s, struct gb_error **err) {
    const struct gb_manifest_host *host = &s->manifest->host;
    uint32_t n = host->loops ? (uint32_t)host->loops : gb_cores();
    s->loops = gb_calloc(n, sizeof *s->loops, err);
    if (!s->loops) {
        return false;
    }
    for (; s->loops_len < n; s->loops_len++) {
        if (!gb_loop_init(&s->loops[s->loops_len], s, err)) {
            s->loops_len++; /* what there is of it is freed */
            return false;
        }
    }
    return gb_listen(s, host->listen, false, &s->url, err) &&
           gb_listen(s, host->admin, true, &s->admin_url, err);
}

static bool make(struct gb_server *s, struct gb_error **err) {
    if (!gb_observe_init(s, err) || !gb_addresses_init(&s->addresses, err)) {
        return false;
    }
    if (pipe2(s->control, O_CLOEXEC | O_NONBLOCK) != 0) {
        s->control[0] = s->control[1] = -1;
        return gb_fail_errno(err, GB_IO, errno, "could not make a pipe: %s", strerror(errno));
    }
    s->account = gb_account_new("host", NULL, s->manifest->host.memory_bytes, err);
    if (!s->account || !make_engines(s, err) || !add_models(s, err)) {
        return false;
    }
    s->app = gb_app_new(s, s->manifest, NULL, err);
    if (!s->app || !start_models(s, err) || !make_loops(s, err)) {
        return false;
    }
    gb_observe_app(s, s->app);
    gb_observe_loads(s);
    atomic_store(&s->ready, true);
    return true;
}

struct gb_server *gb_server_new(const struct gb_server_options *options, struct gb_error **err) {
    struct gb_server *s = gb_calloc(1, sizeof *s, err);
    if (!s) {
        return NULL;
    }
    s->options = *options;
    s->manifest = gb_manifest_ref(options->manifest);
    s->started_us = gb_now_us();
    s->control[0] = s->control[1] = -1;
    gb_admission_init(&s->admission, (uint32_t)s->manifest->host.calls);
    if (!make(s, err)) {
        gb_server_free(s);
        return NULL;
    }
    return s;
}

void gb_server_free(struct gb_server *s) {
    if (!s) {
        return;
    }
    gb_observe_stop(s);
    gb_admission_close(&s->admission);
    gb_lanes_free(s->lanes); /* before the runners */
    for (uint32_t i = 0; i < s->loops_len; i++) {
        gb_loop_fini(&s->loops[i]);
    }
    gb_free(s->loops);
    gb_app_unref(s->app);
    if (s->registry) {
        gb_registry_free(s->registry);
    }
    if (s->sandbox) {
        gb_sandbox_free(s->sandbox);
    }
    gb_account_unref(s->account);
    gb_observe_fini(s);
    gb_addresses_fini(&s->addresses);
    gb_admission_fini(&s->admission);
    gb_manifest_unref(s->manifest);
    gb_fd_close(&s->control[0]);
    gb_fd_close(&s->control[1]);
    gb_free(s->url);
    gb_free(s->admin_url);
    gb_free(s);
}

const char *gb_server_url(const struct gb_server *s) {
    return s->url;
}

const char *gb_server_admin_url(const struct gb_server *s) {
    return s->admin_url;
}

bool gb_server_is_ready(struct gb_server *s) {
    return atomic_load(&s->ready) && !atomic_load(&s->draining);
}

/* ---- control ---- */

static void tell(struct gb_server *s, char what) {
    ssize_t ignored = write(s->control[1], &what, 1); /* full: it has been told often enough */
    (void)ignored;
}

void gb_server_stop(struct gb_server *s) {
    tell(s, 's');
}

void gb_server_reload(struct gb_server *s) {
    tell(s, 'r');
}

/* What was told; 0: nothing within wait_ms. */
static char hear(struct gb_server *s, int wait_ms) {
    struct pollfd p = {.fd = s->control[0], .events = POLLIN};
    char what = 0;
    if (poll(&p, 1, wait_ms) > 0 && read(s->control[0], &what, 1) == 1) {
        return what;
    }
    return 0;
}

static void command_all(struct gb_server *s, unsigned commands, struct gb_app *app) {
    for (uint32_t i = 0; i < s->loops_len; i++) {
        gb_loop_command(&s->loops[i], commands, app);
    }
}

static void reload(struct gb_server *s) {
    struct gb_error *err = NULL;
    struct gb_manifest *m = s->options.load ? s->options.load(s->options.user, &err) : NULL;
    struct gb_app *app = m && check_models(s, m, &err) ? gb_app_new(s, m, s->app, &err) : NULL;
    gb_manifest_unref(m);
    if (!app) {
        atomic_fetch_add(&s->reloads_refused, 1);
        pthread_mutex_lock(&s->admission.lock);
        snprintf(s->reload_error, sizeof s->reload_error, "%s: %s",
                 err ? gb_code_text(err->code) : "internal", err ? err->message : "");
        pthread_mutex_unlock(&s->admission.lock);
        if (err) {
            gb_log(GB_LOG_ERROR, "the manifest is refused, and what was served goes on: %s: %s",
                   gb_code_text(err->code), err->message);
        }
        gb_error_free(err);
        return;
    }
    gb_app_unref(s->app);
    s->app = app;
    gb_account_set_max(s->account, app->manifest->host.memory_bytes);
    for (size_t i = 0; i < app->manifest->tenants_len; i++) {
        gb_tenant_configure(s, app->tenants[i].tenant, app->manifest, app->tenants[i].m);
    }
    atomic_fetch_add(&s->reloads, 1);
    pthread_mutex_lock(&s->admission.lock);
    s->reload_error[0] = '\0';
    pthread_mutex_unlock(&s->admission.lock);
    gb_observe_app(s, app);
    command_all(s, GB_LOOP_SWAP, app);
    gb_log(GB_LOG_INFO, "the manifest was read again and is served now");
}

static bool is_busy(struct gb_server *s) {
    pthread_mutex_lock(&s->admission.lock);
    bool busy = s->admission.running > 0;
    pthread_mutex_unlock(&s->admission.lock);
    return busy || atomic_load(&s->connections) > 0;
}

/* Waits until `done` or another stop. False: stopped again. */
static bool wait_until(struct gb_server *s, uint64_t until_us, bool (*busy)(struct gb_server *)) {
    while (gb_now_us() < until_us && (!busy || busy(s))) {
        if (hear(s, DRAIN_LOOK_MS) == 's') {
            return false;
        }
    }
    return true;
}

static void drain(struct gb_server *s) {
    const struct gb_manifest_host *host = &s->manifest->host;
    atomic_store(&s->draining, true);
    gb_log(GB_LOG_INFO, "stopping: what is in flight may finish");
    if (!wait_until(s, gb_deadline_after_us(host->drain_accept_us), NULL)) {
        return;
    }
    command_all(s, GB_LOOP_DRAIN, NULL);
    (void)wait_until(s, gb_deadline_after_us(host->drain_us), is_busy);
}

bool gb_server_run(struct gb_server *s, struct gb_error **err) {
    bool ok = true;
    for (uint32_t i = 0; ok && i < s->loops_len; i++) {
        ok = gb_loop_start(&s->loops[i], err);
    }
    while (ok) {
        char what = hear(s, -1);
        if (what == 's') {
            drain(s);
            break;
        }
        if (what == 'r') {
            reload(s);
        }
    }
    command_all(s, GB_LOOP_END, NULL);
    for (uint32_t i = 0; i < s->loops_len; i++) {
        gb_loop_join(&s->loops[i]);
    }
    return ok;
}
