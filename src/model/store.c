/* SPDX-License-Identifier: Apache-2.0 */
/* Copying large models into the store and finding them there again. */
#include "model/store.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"

#define CHUNK_BYTES ((size_t)GB_MIB)
#define STORE_PATH "models/sha256"
#define NEW_NAME_BYTES 40

static const char *hex_of(const char *digest) {
    return digest + sizeof "sha256:" - 1;
}

static bool fail_io(struct gb_error **err, const char *what) {
    int eno = errno;
    gb_fail_errno(err, eno == EACCES || eno == EPERM ? GB_PERMISSION_DENIED : GB_IO, eno,
                  "its file could not be put into the store of models: %s: %s", what,
                  strerrordesc_np(eno));
    if (eno == ENOSPC || eno == EDQUOT || eno == EFBIG) {
        return gb_hint(err, "Free space, or choose another folder with --cache DIR.");
    }
    return gb_hint(err, "Files above 64 MiB are kept in the cache folder; choose it with --cache "
                        "DIR or GLOVEBOX_CACHE.");
}

/* ---- the folder ---- */

static char *cache_path(const char *cache_dir, struct gb_error **err) {
    const char *named = cache_dir ? cache_dir : secure_getenv("GLOVEBOX_CACHE");
    const char *xdg = secure_getenv("XDG_CACHE_HOME");
    const char *home = secure_getenv("HOME");
    if (named && named[0] != '\0') {
        return gb_format(err, "%s/" STORE_PATH, named);
    }
    if (xdg && xdg[0] == '/') {
        return gb_format(err, "%s/glovebox/" STORE_PATH, xdg);
    }
    if (home && home[0] == '/') {
        return gb_format(err, "%s/.cache/glovebox/" STORE_PATH, home);
    }
    gb_fail(err, GB_NOT_FOUND, "there is no folder for the store of models");
    gb_hint(err, "Set HOME, XDG_CACHE_HOME or GLOVEBOX_CACHE, or give --cache DIR.");
    return NULL;
}

static bool make_one(const char *path) {
    return gb_sys(GB_SYS_MKDIR, -1, mkdir(path, 0700)) == 0 || errno == EEXIST;
}

/* Makes what is missing of the path, for us alone. */
static bool make_path(char *path, struct gb_error **err) {
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at == '/') {
            *at = '\0';
            bool ok = make_one(path);
            *at = '/';
            if (!ok) {
                return fail_io(err, "its folder");
            }
        }
    }
    return make_one(path) || fail_io(err, "its folder");
}

static int open_folder(const char *cache_dir, struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup) char *path = cache_path(cache_dir, err);
    struct stat st;
    if (!path || !make_path(path, err)) {
        return -1;
    }
    int fd = gb_sys(GB_SYS_OPEN, -1, open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd < 0 || gb_sys(GB_SYS_STAT, -1, fstat(fd, &st)) != 0) {
        fail_io(err, "its folder");
        gb_fd_close(&fd);
        return -1;
    }
    if (st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
        gb_fd_close(&fd);
        gb_fail(err, GB_PERMISSION_DENIED, "the store of models can be written by others");
        gb_hint(err, "Make the folder models/sha256 of the cache yours alone (chmod 700), or "
                     "choose another with --cache DIR.");
        return -1;
    }
    return fd;
}

/* ---- bytes ---- */

struct pump {
    uint8_t *chunk;
    EVP_MD_CTX *ctx;
};

static bool pump_init(struct pump *p, struct gb_error **err) {
    p->chunk = gb_alloc(CHUNK_BYTES, err);
    p->ctx = EVP_MD_CTX_new();
    return p->chunk && (p->ctx || gb_fail(err, GB_INTERNAL, "no memory for a digest"));
}

static void pump_fini(struct pump *p) {
    EVP_MD_CTX_free(p->ctx);
    gb_free(p->chunk);
}

/* Reads `bytes` from the start of source, hashes them, and writes them to `to` unless that is -1. A
 * source of another length is another file. */
static bool pump_run(struct pump *p, int source, int to, uint64_t bytes,
                     char ret_digest[GB_DIGEST_TEXT_BYTES], struct gb_error **err) {
    uint8_t sum[EVP_MAX_MD_SIZE];
    uint64_t done = 0;
    bool ok = EVP_DigestInit_ex(p->ctx, EVP_sha256(), NULL) == 1;
    while (ok) {
        ssize_t n = gb_sys(GB_SYS_READ, -1, pread(source, p->chunk, CHUNK_BYTES, (off_t)done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail_io(err, "reading it");
        }
        if (n == 0) {
            break;
        }
        done += (uint64_t)n;
        ok = done <= bytes && EVP_DigestUpdate(p->ctx, p->chunk, (size_t)n) == 1;
        struct gb_error *why = NULL;
        if (ok && to >= 0 && !gb_write_all(to, p->chunk, (size_t)n, &why)) {
            errno = why->sys_errno ? why->sys_errno : EIO;
            gb_error_free(why);
            return fail_io(err, "writing it");
        }
    }
    if (!ok || done != bytes || EVP_DigestFinal_ex(p->ctx, sum, NULL) != 1) {
        gb_fail(err, GB_DIGEST_MISMATCH, "its file changed while it was read");
        return gb_hint(err, "Start again when nothing writes it.");
    }
    gb_digest_format(sum, ret_digest);
    return true;
}

/* ---- files ---- */

/* The stored file of that digest; -1 where there is none. A damaged one is taken away. */
static int find_stored(struct pump *p, int folder, const char *digest, uint64_t bytes) {
    struct stat st;
    char found[GB_DIGEST_TEXT_BYTES];
    struct gb_error *why = NULL;
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    openat(folder, hex_of(digest),
                           O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (fd < 0) {
        return -1;
    }
    bool ok = gb_sys(GB_SYS_STAT, -1, fstat(fd, &st)) == 0 && S_ISREG(st.st_mode) &&
              st.st_uid == geteuid() && (st.st_mode & 0222) == 0 && (uint64_t)st.st_size == bytes &&
              pump_run(p, fd, -1, bytes, found, &why) && strcmp(found, digest) == 0;
    gb_error_free(why);
    if (!ok) {
        gb_log(GB_LOG_WARN, "a file in the store of models is damaged and is made again: %s",
               digest);
        gb_fd_close(&fd);
        (void)unlinkat(folder, hex_of(digest), 0);
    }
    return fd;
}

/* Writes the copy under a name of its own, then gives it its name. Returns it opened to read. */
static int store_copy(struct pump *p, int folder, int source, const char *digest, uint64_t bytes,
                      struct gb_error **err) {
    char name[NEW_NAME_BYTES];
    char copied[GB_DIGEST_TEXT_BYTES];
    uint64_t number = 0;
    (void)gb_sys(GB_SYS_RANDOM, -1, getrandom(&number, sizeof number, GRND_NONBLOCK));
    (void)snprintf(name, sizeof name, ".new-%d-%llx", (int)getpid(), (unsigned long long)number);
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                           0600));
    if (fd < 0) {
        fail_io(err, "a new file");
        return -1;
    }
    int stored = -1;
    /* A full disk is known before the copy. */
    int rc = gb_sys(GB_SYS_TRUNCATE, -1, fallocate(fd, 0, 0, (off_t)bytes)) == 0 ? 0 : errno;
    errno = rc;
    bool ok = (rc == 0 || rc == EOPNOTSUPP || rc == ENOSYS ||
                fail_io(err, "room for it")) &&
              pump_run(p, source, fd, bytes, copied, err);
    if (ok && strcmp(copied, digest) != 0) {
        ok = gb_fail(err, GB_DIGEST_MISMATCH, "its file changed while it was read");
        gb_hint(err, "Start again when nothing writes it.");
    }
    ok = ok && ((gb_sys(GB_SYS_SYNC, -1, fsync(fd)) == 0 &&
                 gb_sys(GB_SYS_RENAME, -1, fchmod(fd, 0400)) == 0) ||
                fail_io(err, "keeping it"));
    if (ok) {
        stored = gb_sys(GB_SYS_OPEN, -1, openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
        ok = (stored >= 0 &&
              gb_sys(GB_SYS_RENAME, -1, renameat(folder, name, folder, hex_of(digest))) == 0 &&
              gb_sys(GB_SYS_SYNC, -1, fsync(folder)) == 0) ||
             fail_io(err, "its name");
    }
    gb_fd_close(&fd);
    if (!ok) {
        (void)unlinkat(folder, name, 0);
        gb_fd_close(&stored);
    }
    return stored;
}

bool gb_store_import(const char *cache_dir, int source, uint64_t bytes,
                     struct gb_store_file *ret_file, struct gb_error **err) {
    struct pump p = {0};
    struct gb_store_file file = {.fd = -1, .bytes = bytes};
    int folder = open_folder(cache_dir, err);
    if (folder >= 0 && pump_init(&p, err) && pump_run(&p, source, -1, bytes, file.digest, err)) {
        file.fd = find_stored(&p, folder, file.digest, bytes);
        if (file.fd < 0) {
            file.fd = store_copy(&p, folder, source, file.digest, bytes, err);
            file.created = true;
        }
    }
    pump_fini(&p);
    gb_fd_close(&folder);
    *ret_file = file;
    return file.fd >= 0;
}

void gb_store_forget(const char *cache_dir, const char *digest) {
    int folder = open_folder(cache_dir, NULL);
    if (folder >= 0) {
        (void)unlinkat(folder, hex_of(digest), 0);
        close(folder);
    }
}
