/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests: a program under grants and limits. The caller's options are copied, because calls borrow
 * them for as long as they run.
 */
#include "lib/lib.h"

#include <string.h>

#include "base/file.h"
#include "base/num.h"

void gb_grant_options_default(struct gb_grant_options *ret_options) {
    *ret_options = (struct gb_grant_options){.size = sizeof *ret_options, .all_models = true};
}

void gb_limit_options_default(struct gb_limit_options *ret_options) {
    struct gb_limits l = gb_limits_default();
    *ret_options = (struct gb_limit_options){.size = sizeof *ret_options,
                                             .memory_bytes = l.memory_bytes,
                                             .table_elements = l.table_elements,
                                             .instances = l.instances,
                                             .handles = l.handles,
                                             .fuel = l.fuel,
                                             .deadline_us = l.deadline_us,
                                             .output_bytes = l.output_bytes,
                                             .output_drop = l.overflow == GB_OVERFLOW_DROP,
                                             .loads = l.loads,
                                             .load_bytes = l.load_bytes,
                                             .load_memory_bytes = l.load_memory_bytes};
}

/* ---- copies ---- */

static void list_free(char **list, size_t len) {
    for (size_t i = 0; list && i < len; i++) {
        gb_free(list[i]);
    }
    gb_free(list);
}

static bool list_copy(const char *const *list, size_t len, char ***ret_list,
                      struct gb_error **err) {
    if (len == 0) {
        *ret_list = NULL;
        return true;
    }
    char **copy = gb_calloc(len, sizeof *copy, err);
    if (!copy) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        copy[i] = gb_strdup(list[i], err);
        if (!copy[i]) {
            list_free(copy, len);
            return false;
        }
    }
    *ret_list = copy;
    return true;
}

static bool dirs_copy(const struct gb_grant_options *o, struct gb_lib_grants *g,
                      struct gb_error **err) {
    if (o->dirs_len % 3 != 0) {
        return gb_fail(err, GB_INVALID_ARGUMENT,
                       "directories are triples of host path, guest path and mode, not %zu strings",
                       o->dirs_len);
    }
    if (o->dirs_len == 0) {
        return true;
    }
    if (!list_copy(o->dirs, o->dirs_len, &g->dirs, err)) {
        return false;
    }
    g->dirs_len = o->dirs_len;
    g->preopens = gb_calloc(o->dirs_len / 3, sizeof *g->preopens, err);
    if (!g->preopens) {
        return false;
    }
    for (size_t i = 0; i < o->dirs_len / 3; i++) {
        const char *mode = g->dirs[3 * i + 2];
        if (strcmp(mode, "ro") != 0 && strcmp(mode, "rw") != 0) {
            return gb_fail(err, GB_INVALID_ARGUMENT,
                           "the mode of directory \"%s\" is \"%s\", not \"ro\" or \"rw\"",
                           g->dirs[3 * i], mode);
        }
        g->preopens[i] = (struct gb_preopen){.host_path = g->dirs[3 * i],
                                             .guest_path = g->dirs[3 * i + 1],
                                             .writable = strcmp(mode, "rw") == 0};
    }
    g->grants.preopens = g->preopens;
    g->grants.preopens_len = o->dirs_len / 3;
    return true;
}

static bool grants_fill(const struct gb_grant_options *o, struct gb_lib_grants *g,
                        struct gb_error **err) {
    g->grants = (struct gb_grants){.nn_load = o->nn_load,
                                   .http = o->http,
                                   .kv = o->kv,
                                   .sockets = o->sockets,
                                   .memory64 = o->memory64,
                                   .stdin_inherited = o->stdin_inherited,
                                   .all_models = o->all_models};
    if (!list_copy(o->models, o->models_len, &g->models, err)) {
        return false;
    }
    g->grants.models = (const char *const *)g->models;
    g->grants.models_len = o->models_len;
    if (!list_copy(o->env, o->env_len, &g->env, err)) {
        return false;
    }
    g->grants.env = (const char *const *)g->env;
    g->grants.env_len = o->env_len;
    if (!list_copy(o->interfaces, o->interfaces_len, &g->interfaces, err)) {
        return false;
    }
    g->grants.interfaces = (const char *const *)g->interfaces;
    g->grants.interfaces_len = o->interfaces_len;
    return dirs_copy(o, g, err);
}

bool gb_lib_grants_copy(const struct gb_grant_options *options, struct gb_custom *customs,
                        struct gb_lib_grants *ret_grants, struct gb_error **err) {
    struct gb_grant_options o;
    gb_grant_options_default(&o);
    if (!gb_lib_options_copy(&o, sizeof o, options, "grant", err)) {
        return false;
    }
    struct gb_lib_grants g = {0};
    if (!grants_fill(&o, &g, err)) {
        gb_lib_grants_fini(&g);
        return false;
    }
    g.grants.customs = customs;
    *ret_grants = g;
    return true;
}

void gb_lib_grants_fini(struct gb_lib_grants *g) {
    list_free(g->models, g->grants.models_len);
    list_free(g->env, g->grants.env_len);
    list_free(g->interfaces, g->grants.interfaces_len);
    list_free(g->dirs, g->dirs_len);
    gb_free(g->preopens);
    *g = (struct gb_lib_grants){0};
}

static bool limits_of(const struct gb_host *h, const struct gb_limit_options *options,
                      struct gb_limits *ret_limits, struct gb_error **err) {
    struct gb_limit_options o;
    gb_limit_options_default(&o);
    if (!gb_lib_options_copy(&o, sizeof o, options, "limit", err)) {
        return false;
    }
    if (o.memory_bytes > h->memory_bytes_max) {
        return gb_fail(err, GB_INVALID_ARGUMENT,
                       "a memory limit of %llu bytes is above the host's memory_bytes_max of %llu",
                       (unsigned long long)o.memory_bytes,
                       (unsigned long long)h->memory_bytes_max);
    }
    struct gb_limits l = gb_limits_default();
    l.memory_bytes = o.memory_bytes;
    l.table_elements = o.table_elements;
    l.instances = o.instances;
    l.handles = o.handles;
    l.fuel = o.fuel;
    l.deadline_us = o.deadline_us;
    l.output_bytes = o.output_bytes;
    l.overflow = o.output_drop ? GB_OVERFLOW_DROP : GB_OVERFLOW_FAIL;
    l.loads = o.loads;
    l.load_bytes = o.load_bytes;
    l.load_memory_bytes = o.load_memory_bytes;
    *ret_limits = l;
    return true;
}

/* ---- guests ---- */

static bool read_program(const char *path, uint64_t bytes_max, uint8_t **ret_bytes,
                         size_t *ret_len, struct gb_error **err) {
    struct gb_error *why = NULL;
    if (gb_file_read(path, (size_t)bytes_max, GB_PROGRAM_TOO_LARGE, ret_bytes, ret_len, &why)) {
        return true;
    }
    if (why->code != GB_NOT_FOUND) {
        return gb_error_move(err, why);
    }
    gb_error_free(why);
    gb_fail(err, GB_NOT_FOUND, "the file \"%s\" does not exist", path);
    return gb_hint(err, "Check the path; it is taken from the current folder.");
}

static bool guest_load(struct gb_guest *g, const char *path, const char *function,
                       struct gb_error **err) {
    uint8_t *bytes;
    size_t len;
    uint64_t bytes_max = gb_program_file_bytes_max(path, &g->limits);
    if (!read_program(path, bytes_max, &bytes, &len, err)) {
        return false;
    }
    g->program = gb_program_load_call(g->host->sandbox, path, gb_span_make(bytes, len), &g->limits,
                                      &g->grants.grants, function, err);
    gb_free(bytes);
    if (g->program && gb_program_entry(g->program) == GB_ENTRY_HTTP) {
        gb_fail(err, GB_UNSUPPORTED, "\"%s\" answers HTTP requests; it has nothing to run", path);
        return gb_hint(err, "Serve it: glovebox serve %s", path);
    }
    return g->program != NULL;
}

struct gb_guest *gb_guest_load_file(struct gb_host *h, const char *path,
                                    const struct gb_grant_options *grants,
                                    const struct gb_limit_options *limits, struct gb_error **err) {
    return gb_lib_guest_load(h, path, NULL, grants, limits, err);
}

struct gb_guest *gb_lib_guest_load(struct gb_host *h, const char *path, const char *function,
                                   const struct gb_grant_options *grants,
                                   const struct gb_limit_options *limits, struct gb_error **err) {
    struct gb_guest *g = gb_calloc(1, sizeof *g, err);
    if (!g) {
        return NULL;
    }
    g->host = h;
    if (!limits_of(h, limits, &g->limits, err) ||
        !gb_lib_grants_copy(grants, h->customs, &g->grants, err) ||
        !guest_load(g, path, function, err)) {
        gb_guest_free(g);
        return NULL;
    }
    return g;
}

void gb_guest_free(struct gb_guest *g) {
    if (!g) {
        return;
    }
    if (g->program) {
        gb_program_unref(g->program);
    }
    gb_lib_grants_fini(&g->grants);
    gb_free(g);
}

bool gb_guest_uses_models(const struct gb_guest *g) {
    return gb_program_uses_nn(g->program);
}

bool gb_guest_is_agent(const struct gb_guest *g) {
    return gb_program_entry(g->program) == GB_ENTRY_AGENT;
}

bool gb_host_compile_file(struct gb_host *h, const char *path,
                          const struct gb_grant_options *grants,
                          const struct gb_limit_options *limits, const char *out_path,
                          struct gb_error **err) {
    struct gb_limits l;
    struct gb_lib_grants g = {0};
    uint8_t *bytes = NULL;
    size_t len;
    bool ok = limits_of(h, limits, &l, err) && gb_lib_grants_copy(grants, h->customs, &g, err) &&
              read_program(path, l.program_bytes, &bytes, &len, err) &&
              gb_program_compile_to(h->sandbox, path, gb_span_make(bytes, len), &l,
                                    grants ? &g.grants : NULL, out_path, err);
    gb_free(bytes);
    gb_lib_grants_fini(&g);
    return ok;
}
