/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: answers HTTP with guests. Loop threads own connections and run the first slice of
 * each call; lanes go on with the long ones; one app (a manifest made ready: programs, tenants,
 * routes) is served at a time and can be swapped for another.
 *
 * Threads: new, run and free by one; stop and reload from any thread and from signal handlers.
 * Ownership: a server holds its manifest, models, programs and threads. Errors: everything that
 * can be wrong with a manifest is found by _new and _reload; requests get theirs as problems.
 */
#ifndef GB_SERVE_SERVE_H
#define GB_SERVE_SERVE_H

#include "manifest/manifest.h"

struct gb_server;

struct gb_server_options {
    const struct gb_manifest *manifest; /* referenced */
    const char *worker_path;            /* NULL: as struct gb_registry_options */
    const char *ort_lib_path;
    const char *compiler_path;
    bool no_cache;                      /* compile each time */
    /* For reload: the manifest as it is now, or NULL with *err. */
    struct gb_manifest *(*load)(void *user, struct gb_error **err);
    void *user;
};
/* Compiles the programs, loads the models, binds the addresses: after it, only run is missing. */
struct gb_server *gb_server_new(const struct gb_server_options *options, struct gb_error **err);
/* "http://127.0.0.1:8080"; of the port that was picked. */
const char *gb_server_url(const struct gb_server *s);
const char *gb_server_admin_url(const struct gb_server *s);
/* Serves until gb_server_stop, then drains. */
bool gb_server_run(struct gb_server *s, struct gb_error **err);
void gb_server_stop(struct gb_server *s);   /* async-signal-safe; twice: without waiting */
void gb_server_reload(struct gb_server *s); /* async-signal-safe */
void gb_server_free(struct gb_server *s);

/* Also for `check`, which serves nothing: what of a manifest would be refused although it is well
 * formed (nothing does it yet), and a route's methods as bits, 0: all. */
bool gb_check_served(const struct gb_manifest *m, struct gb_error **err);
unsigned gb_serve_methods(const struct gb_manifest_route *r);

#endif
