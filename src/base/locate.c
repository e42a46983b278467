/* SPDX-License-Identifier: Apache-2.0 */
/* Helper programs of ours: the places, in their order. */
#include "base/locate.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/num.h"
#include "base/place.h"

#ifndef GB_INSTALL_LIBEXECDIR
#define GB_INSTALL_LIBEXECDIR "/usr/local/libexec/glovebox"
#endif
#define PATH_TEXT_MAX ((size_t)PATH_MAX)

/* The directory of this executable, without the slash at the end; "" when it cannot be known. */
static void own_directory(char directory[PATH_MAX]) {
    ssize_t len =
        gb_sys(GB_SYS_STAT, -1, readlink("/proc/self/exe", directory, PATH_TEXT_MAX - 1));
    directory[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(directory, '/');
    *(slash ? slash : directory) = '\0';
}

static bool is_program(const char *path) {
    struct stat st;
    return gb_sys(GB_SYS_STAT, -1, stat(path, &st)) == 0 && S_ISREG(st.st_mode) &&
           access(path, X_OK) == 0;
}

static bool try_place(const char *directory, const char *relative, const char *program,
                      char path[PATH_MAX], struct gb_buf *looked) {
    int n = snprintf(path, PATH_TEXT_MAX, "%s/%s%s", directory, relative, program);
    if (n <= 0 || (size_t)n >= PATH_TEXT_MAX) {
        return false;
    }
    if (is_program(path)) {
        return true;
    }
    (void)gb_buf_append_format(looked, NULL, "%s\"%s\"", looked->len > 0 ? ", " : "", path);
    return false;
}

static bool try_places(const char *program, char path[PATH_MAX], struct gb_buf *looked) {
    static const char *const relative[] = {"", "../libexec/glovebox/"};
    char directory[PATH_MAX];
    own_directory(directory);
    for (size_t i = 0; i < GB_COUNT(relative); i++) {
        if (try_place(directory, relative[i], program, path, looked)) {
            return true;
        }
    }
    /* LIBDIR may have one more part; the last is a build tree. */
    static const char *const beside_library[] = {"../libexec/glovebox/", "../../libexec/glovebox/",
                                                 "../"};
    bool is_library = gb_library_directory(directory);
    for (size_t i = 0; is_library && i < GB_COUNT(beside_library); i++) {
        if (try_place(directory, beside_library[i], program, path, looked)) {
            return true;
        }
    }
    return try_place(GB_INSTALL_LIBEXECDIR, "", program, path, looked);
}

char *gb_locate_program(const struct gb_locate *what, struct gb_error **err) {
    const char *named = what->named;
    if (!named) {
        /* The environment of a set-user-id program is not its owner's. */
        const char *value = secure_getenv(what->variable);
        named = value && value[0] != '\0' ? value : NULL;
    }
    char path[PATH_MAX];
    if (named && is_program(named)) {
        /* Absolute, because helpers start in "/". */
        return gb_strdup(realpath(named, path) ? path : named, err);
    }
    struct gb_buf looked;
    gb_buf_init(&looked, 8 * PATH_TEXT_MAX);
    char *found = NULL;
    if (named) {
        (void)gb_buf_append_format(&looked, NULL, "\"%s\"", named);
    } else if (try_places(what->program, path, &looked)) {
        found = gb_strdup(path, err);
        gb_buf_fini(&looked);
        return found;
    }
    gb_fail(err, GB_BACKEND_MISSING, "the %s program \"%s\" was not found (looked in %s)",
            what->role, what->program, looked.len > 0 ? gb_buf_text(&looked) : "no place");
    gb_hint(err, "%s", what->hint);
    gb_buf_fini(&looked);
    return NULL;
}
