/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serving HTTP: what `glovebox serve` does, as a library. A manifest (glovebox.toml, a Spin
 * spin.toml of version 2, or a bare program) says what is served to whom.
 *
 * Threads: open, run and close by one thread, which run keeps; stop and reload from any thread and
 * from signal handlers. Ownership: the options are copied. C11 and C++.
 */
#ifndef GLOVEBOX_SERVE_H
#define GLOVEBOX_SERVE_H

#include <stdbool.h>
#include <stddef.h>

#include <glovebox/api.h>

#ifdef __cplusplus
extern "C" {
#endif
GB_API_BEGIN

struct gb_error;
struct gb_serving;

struct gb_serve_options {
    size_t size;              /* sizeof(struct gb_serve_options): lets the struct grow */
    const char *listen;       /* "127.0.0.1:8080"; NULL: as the manifest says; port 0: a free one */
    const char *admin;        /* "127.0.0.1:9090"; the same */
    const char *cache_dir;    /* compiled code; NULL: as the manifest says */
    const char *worker_path;  /* as struct gb_host_options */
    const char *ort_lib_path;
    const char *compiler_path;
    bool jail_best_effort;
    bool no_cache;
};
void gb_serve_options_default(struct gb_serve_options *ret_options);
/* Reads the manifest, compiles its programs, loads its models, binds its addresses. */
struct gb_serving *gb_serve_open(const char *path, const struct gb_serve_options *options,
                                 struct gb_error **err);
const char *gb_serve_url(const struct gb_serving *s); /* "http://127.0.0.1:8080" */
const char *gb_serve_admin_url(const struct gb_serving *s);
/* Answers requests until gb_serve_stop; then finishes what is in flight, and returns. */
bool gb_serve_run(struct gb_serving *s, struct gb_error **err);
void gb_serve_stop(struct gb_serving *s);   /* async-signal-safe; a second one does not wait */
void gb_serve_reload(struct gb_serving *s); /* async-signal-safe; a bad manifest changes nothing */
void gb_serve_close(struct gb_serving *s);

GB_API_END
#ifdef __cplusplus
}
#endif
#endif
