/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the worker program and the engine library are. The same rules for running and for
 * `glovebox doctor`: an explicit path wins and is never second-guessed, then the environment, then
 * places relative to this executable (a build tree, an unpacked archive), then the install path.
 *
 * Threads: any that may read the environment. Errors: GB_BACKEND_MISSING naming every place.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/locate.h"
#include "base/fault.h"
#include "base/num.h"
#include "base/place.h"
#include "model/worker_internal.h"

#ifndef GB_INSTALL_LIBDIR
#define GB_INSTALL_LIBDIR "/usr/local/lib/glovebox"
#endif
#define WORKER_NAME "glovebox-worker"
#define ORT_NAME "libonnxruntime.so.1"
#define PATH_TEXT_MAX ((size_t)PATH_MAX)

/* The directory of this executable, without the slash at the end; "" when it cannot be known. */
static void own_directory(char directory[PATH_MAX]) {
    ssize_t len =
        gb_sys(GB_SYS_STAT, -1, readlink("/proc/self/exe", directory, PATH_TEXT_MAX - 1));
    directory[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(directory, '/');
    *(slash ? slash : directory) = '\0';
}

static bool is_file(const char *path, int mode) {
    struct stat st;
    return gb_sys(GB_SYS_STAT, -1, stat(path, &st)) == 0 && S_ISREG(st.st_mode) &&
           access(path, mode) == 0;
}

/* The environment of a set-user-id program is not its owner's. */
static const char *environment(const char *name) {
    const char *value = secure_getenv(name);
    return value && value[0] != '\0' ? value : NULL;
}

/* Tries <own directory>/<relative>; on success path is absolute. Adds the place to looked. */
static bool try_place(const char *directory, const char *relative, const char *name, int mode,
                      char path[PATH_MAX], struct gb_buf *looked) {
    int n = snprintf(path, PATH_TEXT_MAX, "%s/%s%s", directory, relative, name);
    if (n <= 0 || (size_t)n >= PATH_TEXT_MAX) {
        return false;
    }
    if (is_file(path, mode)) {
        return true;
    }
    (void)gb_buf_append_format(looked, NULL, "%s\"%s\"", looked->len > 0 ? ", " : "", path);
    return false;
}

/* A path that somebody named, made absolute because the worker starts in "/". */
static char *named_path(const char *path, struct gb_error **err) {
    char resolved[PATH_MAX];
    return gb_strdup(realpath(path, resolved) ? resolved : path, err);
}

static char *locate_worker(const struct gb_registry_options *options, struct gb_error **err) {
    return gb_locate_program(
        &(struct gb_locate){
            .program = WORKER_NAME,
            .role = "worker",
            .named = options->worker_path,
            .variable = "GLOVEBOX_WORKER",
            .hint = "Set GLOVEBOX_WORKER or --worker PATH to the " WORKER_NAME " program."},
        err);
}

bool gb_worker_locate(const struct gb_registry_options *options, char *ret_path, size_t cap,
                      struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup) char *found = locate_worker(options, err);
    if (!found) {
        return false;
    }
    size_t bytes = strlen(found) + 1;
    if (bytes > cap) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "the path of the worker program is too long");
    }
    memcpy(ret_path, found, bytes);
    return true;
}

char *gb_worker_locate_ort(const struct gb_registry_options *options, struct gb_error **err) {
    static const char *const places[] = {"lib/", "deps/ort/lib/", "../deps/ort/lib/",
                                         "../lib/glovebox/", "../lib/", ""};
    const char *named = options->ort_lib_path ? options->ort_lib_path
                                              : environment("GLOVEBOX_ORT_LIB");
    if (named) {
        return named_path(named, err); /* a wrong one is the worker's to report */
    }
    char directory[PATH_MAX];
    char path[PATH_MAX];
    own_directory(directory);
    struct gb_buf looked;
    gb_buf_init(&looked, 16 * PATH_TEXT_MAX);
    bool ok = false;
    for (size_t i = 0; i < GB_COUNT(places) && !ok; i++) {
        ok = try_place(directory, places[i], ORT_NAME, R_OK, path, &looked);
    }
    static const char *const beside_library[] = {"glovebox/", ""};
    bool is_library = !ok && gb_library_directory(directory);
    for (size_t i = 0; i < GB_COUNT(beside_library) && is_library && !ok; i++) {
        ok = try_place(directory, beside_library[i], ORT_NAME, R_OK, path, &looked);
    }
    ok = ok || try_place(GB_INSTALL_LIBDIR, "", ORT_NAME, R_OK, path, &looked);
    gb_buf_fini(&looked);
    return ok ? named_path(path, err) : gb_strdup(ORT_NAME, err);
}
