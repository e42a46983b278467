/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of the server: its options over the manifest's settings, and reading it again. */
#include "glovebox/serve.h"

#include "lib/lib.h"
#include "serve/serve.h"

#define OVERRIDES_MAX 4

struct gb_serving {
    struct gb_server *server;
    char *path;
    struct gb_serve_options options;
    char *texts[6]; /* what the options point to */
    struct gb_manifest_override overrides[OVERRIDES_MAX];
    size_t overrides_len;
};

void gb_serve_options_default(struct gb_serve_options *ret_options) {
    *ret_options = (struct gb_serve_options){.size = sizeof *ret_options};
}

static bool keep(struct gb_serving *s, struct gb_error **err) {
    const char **from[] = {&s->options.listen,        &s->options.admin,
                           &s->options.cache_dir,     &s->options.worker_path,
                           &s->options.ort_lib_path,  &s->options.compiler_path};
    for (size_t i = 0; i < 6; i++) {
        if (*from[i]) {
            s->texts[i] = gb_strdup(*from[i], err);
            *from[i] = s->texts[i];
            if (!s->texts[i]) {
                return false;
            }
        }
    }
    return true;
}

static void override(struct gb_serving *s, const char *key, const char *value, const char *flag) {
    if (value) {
        s->overrides[s->overrides_len++] =
            (struct gb_manifest_override){.key = key, .value = value, .flag = flag};
    }
}

static struct gb_manifest *load(void *user, struct gb_error **err) {
    struct gb_serving *s = user;
    struct gb_manifest_options options = {.overrides = s->overrides,
                                          .overrides_len = s->overrides_len};
    return gb_manifest_load(s->path, &options, NULL, err);
}

static bool open_server(struct gb_serving *s, struct gb_error **err) {
    override(s, "host.listen", s->options.listen, "--listen");
    override(s, "host.admin", s->options.admin, "--admin");
    override(s, "host.cache-dir", s->options.cache_dir, "--cache");
    override(s, "host.jail", s->options.jail_best_effort ? "best-effort" : NULL, "--jail");
    struct gb_manifest *m = load(s, err);
    if (!m) {
        return false;
    }
    struct gb_server_options options = {.manifest = m,
                                        .worker_path = s->options.worker_path,
                                        .ort_lib_path = s->options.ort_lib_path,
                                        .compiler_path = s->options.compiler_path,
                                        .no_cache = s->options.no_cache,
                                        .load = load,
                                        .user = s};
    s->server = gb_server_new(&options, err);
    gb_manifest_unref(m);
    return s->server != NULL;
}

struct gb_serving *gb_serve_open(const char *path, const struct gb_serve_options *options,
                                 struct gb_error **err) {
    struct gb_serving *s = gb_calloc(1, sizeof *s, err);
    if (!s) {
        return NULL;
    }
    gb_serve_options_default(&s->options);
    s->path = gb_strdup(path, err);
    if (!s->path ||
        !gb_lib_options_copy(&s->options, sizeof s->options, options, "serve", err) ||
        !keep(s, err) || !open_server(s, err)) {
        gb_serve_close(s);
        return NULL;
    }
    return s;
}

const char *gb_serve_url(const struct gb_serving *s) {
    return gb_server_url(s->server);
}

const char *gb_serve_admin_url(const struct gb_serving *s) {
    return gb_server_admin_url(s->server);
}

bool gb_serve_run(struct gb_serving *s, struct gb_error **err) {
    return gb_server_run(s->server, err);
}

void gb_serve_stop(struct gb_serving *s) {
    gb_server_stop(s->server);
}

void gb_serve_reload(struct gb_serving *s) {
    gb_server_reload(s->server);
}

void gb_serve_close(struct gb_serving *s) {
    if (!s) {
        return;
    }
    gb_server_free(s->server);
    for (size_t i = 0; i < 6; i++) {
        gb_free(s->texts[i]);
    }
    gb_free(s->path);
    gb_free(s);
}
