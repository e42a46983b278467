/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key that vouches for compiled code: 32 random bytes in a file of this user's, outside the
 * cache. Who can write it can have native code run by us, so it is refused where others than its
 * owner have any right to it, and where it is a link.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "sandbox/cache.h"

#define RANDOM_NAME_BYTES 8u

char *gb_user_path(const char *variable, const char *tail, const char *home_tail) {
    /* A relative path in these variables is to be ignored, says their specification. */
    const char *base = secure_getenv(variable);
    if (base && base[0] == '/') {
        return gb_format(NULL, "%s/%s", base, tail);
    }
    base = secure_getenv("HOME");
    return base && base[0] == '/' ? gb_format(NULL, "%s/%s", base, home_tail) : NULL;
}

bool gb_make_private_dirs(const char *path, struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup) char *each = gb_strdup(path, err);
    if (!each) {
        return false;
    }
    if (each[0] == '\0') {
        return gb_fail(err, GB_INVALID_ARGUMENT, "a folder without a name");
    }
    for (char *slash = strchr(each + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash) {
            *slash = '\0';
        }
        if (gb_sys(GB_SYS_MKDIR, -1, mkdir(each, 0700)) != 0 && errno != EEXIST) {
            return gb_fail_errno(err, GB_IO, errno, "could not make the folder \"%s\": %s", each,
                                 strerror(errno));
        }
        if (!slash) {
            return true;
        }
        *slash = '/';
    }
}

static bool refuse(const char *path, const char *why, struct gb_error **err) {
    gb_fail(err, GB_PERMISSION_DENIED, "the key \"%s\" is not used: %s", path, why);
    return gb_hint(err, "Remove it: a new one is made, and programs are compiled again.");
}

/* 1: loaded; 0: not there; -1: refused. */
static int key_read(const char *path, struct gb_cache_key *ret_key, struct gb_error **err) {
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (fd < 0) {
        if (errno == ENOENT) {
            return 0;
        }
        (void)(errno == ELOOP
                   ? refuse(path, "it is a link", err)
                   : gb_fail_errno(err, GB_IO, errno, "could not open the key \"%s\": %s", path,
                                   strerror(errno)));
        return -1;
    }
    struct stat st;
    struct gb_cache_key key;
    bool ok = false;
    if (gb_sys(GB_SYS_STAT, -1, fstat(fd, &st)) != 0) {
        gb_fail_errno(err, GB_IO, errno, "could not read the key \"%s\": %s", path,
                      strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        (void)refuse(path, "it is no file", err);
    } else if (st.st_uid != geteuid()) {
        (void)refuse(path, "it belongs to somebody else", err);
    } else if ((st.st_mode & 077) != 0) {
        (void)refuse(path, "others than its owner have rights to it", err);
    } else if (st.st_nlink != 1) {
        (void)refuse(path, "it has a second name", err);
    } else if (st.st_size != sizeof key.bytes ||
               gb_sys(GB_SYS_READ, -1, pread(fd, key.bytes, sizeof key.bytes, 0)) !=
                   sizeof key.bytes) {
        (void)refuse(path, "it has not 32 bytes", err);
    } else {
        ok = true;
    }
    close(fd);
    if (ok) {
        *ret_key = key;
    }
    return ok ? 1 : -1;
}

static bool random_bytes(void *bytes, size_t len, struct gb_error **err) {
    return gb_sys(GB_SYS_RANDOM, -1, getrandom(bytes, len, 0)) == (ssize_t)len ||
           gb_fail_errno(err, GB_IO, errno, "no random bytes: %s", strerror(errno));
}

/* Under its name the key appears whole, once; who comes second uses the first one's. */
static bool key_make(const char *path, struct gb_error **err) {
    struct gb_cache_key key;
    uint64_t unique;
    if (!random_bytes(key.bytes, sizeof key.bytes, err) ||
        !random_bytes(&unique, RANDOM_NAME_BYTES, err)) {
        return false;
    }
    GB_CLEANUP(gb_free_cleanup)
    char *temporary = gb_format(err, "%s.%016llx", path, (unsigned long long)unique);
    if (!temporary) {
        return false;
    }
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (fd < 0) {
        return gb_fail_errno(err, GB_IO, errno, "could not make the key \"%s\": %s", path,
                             strerror(errno));
    }
    bool ok = gb_write_all(fd, key.bytes, sizeof key.bytes, err);
    ok = ok && (gb_sys(GB_SYS_SYNC, -1, fsync(fd)) == 0 ||
                gb_fail_errno(err, GB_IO, errno, "could not make the key: %s", strerror(errno)));
    close(fd);
    if (ok && gb_sys(GB_SYS_RENAME, -1,
                     renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE)) == 0) {
        return true;
    }
    int eno = errno;
    (void)unlink(temporary);
    return ok && (eno == EEXIST ||
                  gb_fail_errno(err, GB_IO, eno, "could not make the key \"%s\": %s", path,
                                strerror(eno)));
}

bool gb_cache_key_load(const char *path, struct gb_cache_key *ret_key, struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup)
    char *place = path ? gb_strdup(path, err)
                       : gb_user_path("XDG_STATE_HOME", "glovebox/cache.key",
                                      ".local/state/glovebox/cache.key");
    if (!place) {
        gb_fail(err, GB_NOT_FOUND, "there is no place for the key of the code cache");
        return gb_hint(err, "Set HOME or XDG_STATE_HOME to an absolute path.");
    }
    int found = key_read(place, ret_key, err);
    if (found != 0) {
        return found > 0;
    }
    char *slash = strrchr(place, '/');
    if (slash && slash != place) {
        *slash = '\0';
        bool made = gb_make_private_dirs(place, err);
        *slash = '/';
        if (!made) {
            return false;
        }
    }
    if (!key_make(place, err)) {
        return false;
    }
    found = key_read(place, ret_key, err);
    return found > 0 || (found == 0 && gb_fail(err, GB_IO, "the key \"%s\" vanished", place));
}
