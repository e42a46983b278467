/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry: models by name, in order. Adding only reads and checks files; gb_registry_start
 * (registry_start.c) gives models their workers.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/num.h"
#include "model/inline.h"
#include "model/model_internal.h"
#include "model/worker.h"

#define MODELS_MAX ((size_t)4096)
#define SUFFIX_BYTES ((size_t)5) /* ".onnx", ".gguf" */
#define NAME_TEXT_MAX ((size_t)4096)

struct gb_registry_options gb_registry_options_default(void) {
    return (struct gb_registry_options){
        .jail = GB_JAIL_STRICT,
        .model_bytes_max = INT32_MAX, /* what one protobuf message can hold */
        .slab_bytes = GB_GIB,
        .keep_bytes = 192 * GB_MIB,
        .keep_ms = 2000,
        .load_timeout_ms = 60 * 1000,
        .cancel_grace_ms = 200,
        .threads = 2,
        .queue_max = 64,
        .loads_max = 16,
        .load_threads = 1,
    };
}

struct gb_registry *gb_registry_new(const struct gb_registry_options *options,
                                    struct gb_error **err) {
    struct gb_registry *r = gb_calloc(1, sizeof *r, err);
    if (!r) {
        return NULL;
    }
    r->options = *options;
    r->options.worker_path = NULL;
    r->options.ort_lib_path = NULL;
    r->options.cache_dir = options->cache_dir ? gb_strdup(options->cache_dir, err) : NULL;
    if (options->worker_path) {
        r->options.worker_path = gb_strdup(options->worker_path, err);
    }
    if (options->ort_lib_path) {
        r->options.ort_lib_path = gb_strdup(options->ort_lib_path, err);
    }
    bool copied = (!options->worker_path || r->options.worker_path) &&
                  (!options->ort_lib_path || r->options.ort_lib_path) &&
                  (!options->cache_dir || r->options.cache_dir);
    /* Known now, so the environment is changed before there are threads that might read it. */
    copied = copied && (options->placement != GB_PLACEMENT_INLINE || gb_inline_environment(err));
    r->hub = copied ? gb_worker_hub_new(&r->options, err) : NULL;
    r->loads = r->hub ? gb_loads_new(&r->options, r->hub, err) : NULL;
    if (!r->loads) {
        gb_registry_free(r);
        return NULL;
    }
    return r;
}

void gb_registry_free(struct gb_registry *r) {
    if (!r) {
        return;
    }
    for (size_t i = 0; i < r->models_len; i++) {
        gb_worker_free(r->models[i]->worker);
    }
    gb_loads_stop(r->loads);
    gb_worker_hub_free(r->hub);
    gb_loads_unref(r->loads);
    for (size_t i = 0; i < r->models_len; i++) {
        gb_model_free(r->models[i]);
    }
    gb_free(r->models);
    gb_free((void *)(uintptr_t)r->options.worker_path);
    gb_free((void *)(uintptr_t)r->options.ort_lib_path);
    gb_free((void *)(uintptr_t)r->options.cache_dir);
    gb_free(r);
}

/* The index of the first model that does not come before the name. */
static size_t lower_bound(const struct gb_registry *r, struct gb_span name) {
    size_t low = 0;
    size_t high = r->models_len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct gb_span other = gb_span_of(r->models[middle]->name);
        int order = memcmp(other.ptr, name.ptr, GB_MIN(other.len, name.len));
        if (order < 0 || (order == 0 && other.len < name.len)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct gb_model *gb_registry_find(const struct gb_registry *r, struct gb_span name) {
    size_t at = name.len > 0 ? lower_bound(r, name) : r->models_len;
    return at < r->models_len && gb_span_is(name, r->models[at]->name) ? r->models[at] : NULL;
}

size_t gb_registry_count(const struct gb_registry *r) {
    return r->models_len;
}

struct gb_model *gb_registry_at(const struct gb_registry *r, size_t index) {
    return index < r->models_len ? r->models[index] : NULL;
}

const struct gb_model_info *gb_model_info(const struct gb_model *m) {
    return &m->info;
}

struct gb_worker *gb_model_worker(const struct gb_model *m) {
    return m->info.state == GB_MODEL_STATE_READY ? m->worker : NULL;
}

struct gb_model_stats gb_model_stats(const struct gb_model *m) {
    return m->worker ? gb_worker_stats(m->worker) : (struct gb_model_stats){0};
}

int gb_registry_event_fd(const struct gb_registry *r) {
    return gb_worker_hub_event_fd(r->hub);
}

void gb_registry_drain(struct gb_registry *r) {
    gb_worker_hub_drain(r->hub);
}

void gb_registry_stepping(struct gb_registry *r, bool on) {
    gb_inline_stepping(r->hub, on);
}

bool gb_registry_run_inline(struct gb_registry *r) {
    return gb_inline_run(r->hub);
}

static bool grow(struct gb_registry *r, struct gb_error **err) {
    if (r->models_len < r->models_cap) {
        return true;
    }
    if (r->models_len == MODELS_MAX) {
        gb_fail(err, GB_INVALID_ARGUMENT, "there are more than %zu models", MODELS_MAX);
        return gb_hint(err, "Keep fewer models in the directory.");
    }
    size_t cap = r->models_cap == 0 ? 16 : r->models_cap * 2;
    struct gb_model **models = gb_realloc(r->models, cap * sizeof(struct gb_model *), err);
    if (!models) {
        return false;
    }
    r->models = models;
    r->models_cap = cap;
    return true;
}

static bool insert(struct gb_registry *r, struct gb_model *m, struct gb_error **err) {
    struct gb_span name = gb_span_of(m->name);
    struct gb_model *old = gb_registry_find(r, name);
    if (old) {
        gb_fail(err, GB_MODEL_DUPLICATE, "two models have the name \"%s\": \"%s\" and \"%s\"",
                m->name, old->path, m->path);
        return gb_hint(err, "Rename or remove one of the files.");
    }
    if (!grow(r, err)) {
        return false;
    }
    size_t at = lower_bound(r, name);
    memmove(r->models + at + 1, r->models + at, (r->models_len - at) * sizeof(struct gb_model *));
    r->models[at] = m;
    r->models_len++;
    return true;
}

static void log_known(const struct gb_model *m) {
    gb_log(GB_LOG_DEBUG, "model \"%s\": %llu bytes, %s", m->name,
           (unsigned long long)m->info.bytes,
           m->reason ? gb_code_text(m->reason->code) : "structure is sound");
}

/* Adds a model of a directory, whatever its state; name is fit to be shown. */
static bool add(struct gb_registry *r, const char *name, const char *path, bool name_ok,
                enum gb_backend_kind backend, bool keep_unreadable, struct gb_error **err) {
    struct gb_model *m = gb_model_new(name, path, err);
    struct gb_error *why = NULL;
    if (!m) {
        return false;
    }
    if (!name_ok) {
        gb_fail(&why, GB_MODEL_REJECTED, "its name is not letters, digits, \".\", \"_\" and \"-\", "
                                         "beginning with a letter or digit, at most 128");
        gb_hint(&why, "Rename the file.");
        gb_model_reject(m, why);
    } else if (!gb_model_inspect(m, backend, &r->options, &why)) {
        if (!keep_unreadable) {
            gb_model_free(m);
            return gb_error_move(err, why);
        }
        gb_model_hide_path(&why);
        gb_model_reject(m, why);
    }
    if (!insert(r, m, err)) {
        gb_model_free(m);
        return false;
    }
    log_known(m);
    return true;
}

bool gb_registry_add_file(struct gb_registry *r, const char *name, const char *path,
                          enum gb_backend_kind backend, struct gb_error **err) {
    if (!gb_model_name_ok(gb_span_of(name))) {
        gb_fail(err, GB_INVALID_ARGUMENT, "\"%.*s\" cannot be the name of a model",
                GB_SPAN_ARG(gb_span_of(name)));
        return gb_hint(err, "Use letters, digits, \".\", \"_\" and \"-\", at most 128, beginning "
                            "with a letter or digit.");
    }
    return add(r, name, path, true, backend, false, err);
}

bool gb_registry_configure(struct gb_registry *r, const char *name,
                           const struct gb_model_settings *settings, struct gb_error **err) {
    struct gb_model *m = gb_registry_find(r, gb_span_of(name));
    if (!m) {
        return gb_fail(err, GB_MODEL_NOT_FOUND, "there is no model \"%s\"", name);
    }
    if (settings->layout) {
        char *layout = gb_strdup(settings->layout, err);
        if (!layout) {
            return false;
        }
        gb_free(m->sidecar.layout);
        m->sidecar.layout = layout;
        m->info.layout = layout;
    }
    m->sidecar.threads = settings->threads ? settings->threads : m->sidecar.threads;
    m->sidecar.warm_up = m->sidecar.warm_up && !settings->warm_up_off;
    m->sidecar.placement = settings->has_placement ? settings->placement : m->sidecar.placement;
    if (settings->deadline_us > 0) {
        m->sidecar.deadline_us = settings->deadline_us;
        m->info.deadline_us = settings->deadline_us;
    }
    if (settings->digest && m->info.state == GB_MODEL_STATE_KNOWN &&
        strcmp(settings->digest, m->digest) != 0) {
        struct gb_error *why = NULL;
        gb_fail(&why, GB_DIGEST_MISMATCH, "its file is %s and the manifest asks for %s", m->digest,
                settings->digest);
        gb_hint(&why, "Get the right file; change the digest only if you know why it differs.");
        gb_model_reject(m, why);
    }
    return true;
}

/* ---- directories ---- */

static bool has_suffix(const char *file) {
    size_t len = strlen(file);
    return len > SUFFIX_BYTES && (strcmp(file + len - SUFFIX_BYTES, ".onnx") == 0 ||
                                  strcmp(file + len - SUFFIX_BYTES, ".gguf") == 0);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
    char **at;
    size_t len;
    size_t cap;
};

static void names_fini(struct names *names) {
    for (size_t i = 0; i < names->len; i++) {
        gb_free(names->at[i]);
    }
    gb_free(names->at);
}

static bool names_add(struct names *names, const char *file, struct gb_error **err) {
    if (names->len == names->cap) {
        size_t cap = names->cap == 0 ? 16 : names->cap * 2;
        char **at = gb_realloc(names->at, cap * sizeof *at, err);
        if (!at) {
            return false;
        }
        names->at = at;
        names->cap = cap;
    }
    char *copy = gb_strdup(file, err);
    if (!copy) {
        return false;
    }
    names->at[names->len++] = copy;
    return true;
}

/* Hidden files are not models: editors and mounts leave such things behind. */
static bool list(const char *dir, struct names *names, struct gb_error **err) {
    DIR *stream = gb_sys(GB_SYS_OPEN, NULL, opendir(dir));
    if (!stream) {
        int eno = errno;
        enum gb_code code = eno == ENOENT || eno == ENOTDIR ? GB_NOT_FOUND
                            : eno == EACCES                 ? GB_PERMISSION_DENIED
                                                            : GB_IO;
        gb_fail_errno(err, code, eno, "could not open the model directory \"%s\": %s", dir,
                      strerrordesc_np(eno));
        return gb_hint(err, "Give an existing directory with --models or MODEL_DIR.");
    }
    bool ok = true;
    errno = 0;
    for (struct dirent *entry = readdir(stream); ok && entry; entry = readdir(stream)) {
        if (entry->d_name[0] == '.' || !has_suffix(entry->d_name)) {
            continue;
        }
        if (names->len == MODELS_MAX) {
            ok = gb_fail(err, GB_INVALID_ARGUMENT, "\"%s\" holds more than %zu models", dir,
                         MODELS_MAX);
        } else {
            ok = names_add(names, entry->d_name, err);
        }
        errno = 0;
    }
    if (ok && errno != 0) {
        ok = gb_fail_errno(err, GB_IO, errno, "could not read the model directory \"%s\": %s", dir,
                           strerrordesc_np(errno));
    }
    closedir(stream);
    return ok;
}

static bool add_entry(struct gb_registry *r, const char *dir, const char *file,
                      struct gb_error **err) {
    struct gb_span stem = gb_span_make(file, strlen(file) - SUFFIX_BYTES);
    bool name_ok = gb_model_name_ok(stem);
    size_t dir_len = strlen(dir);
    const char *slash = dir_len > 0 && dir[dir_len - 1] == '/' ? "" : "/";
    GB_CLEANUP(gb_free_cleanup) char *path = gb_format(err, "%s%s%s", dir, slash, file);
    struct gb_buf name;
    gb_buf_init(&name, NAME_TEXT_MAX);
    bool ok = path && gb_buf_append_escaped(&name, stem, err) &&
              add(r, gb_buf_text(&name), path, name_ok, GB_BACKEND_AUTO, true, err);
    gb_buf_fini(&name);
    return ok;
}

/* Leaves out the files whose stem is a model already. */
static void drop_known(const struct gb_registry *r, struct names *names) {
    size_t kept = 0;
    for (size_t i = 0; i < names->len; i++) {
        size_t stem_len = strlen(names->at[i]) - SUFFIX_BYTES;
        if (gb_registry_find(r, gb_span_make(names->at[i], stem_len))) {
            gb_free(names->at[i]);
        } else {
            names->at[kept++] = names->at[i];
        }
    }
    names->len = kept;
}

static bool add_dir(struct gb_registry *r, const char *dir, bool behind, struct gb_error **err) {
    struct names names = {0};
    bool ok = list(dir, &names, err);
    if (ok && behind) {
        drop_known(r, &names);
    }
    if (ok && names.len > 1) {
        qsort(names.at, names.len, sizeof *names.at, compare_names);
    }
    for (size_t i = 0; ok && i < names.len; i++) {
        ok = add_entry(r, dir, names.at[i], err);
    }
    names_fini(&names);
    return ok;
}

bool gb_registry_add_dir(struct gb_registry *r, const char *dir, struct gb_error **err) {
    return add_dir(r, dir, false, err);
}

bool gb_registry_add_dir_behind(struct gb_registry *r, const char *dir, struct gb_error **err) {
    return add_dir(r, dir, true, err);
}
