/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folder of compiled code: one file per program and engine, named after both digests. Files
 * appear under their names whole (temporary file, fsync, rename), are replaced the same way, and
 * the ones that were used longest ago go first when the folder is full. `damaged` in it has one
 * line for each entry that did not hold.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "sandbox/cache.h"

#define SUFFIX ".gbcode"
#define TEMPORARY ".new-"
#define DAMAGED_NAME "damaged"
#define DAMAGED_BYTES_MAX ((off_t)256 * 1024)
#define ENGINE_NAME_BYTES 8u /* of the engine's digest; the header has all */
#define NAME_BYTES (2 * GB_SHA256_BYTES + 1 + 2 * ENGINE_NAME_BYTES + sizeof SUFFIX)
#define STALE_S (60 * 60) /* a temporary file that nobody finishes any more */
#define TOUCH_S 60        /* how exact "used last" is */
#define EVICT_MAX 4096u   /* files looked at when making room */

static void entry_name(const struct gb_native_id *id, char name[NAME_BYTES]) {
    static const char hex[] = "0123456789abcdef";
    char *at = name;
    for (size_t i = 0; i < GB_SHA256_BYTES; i++) {
        *at++ = hex[id->program[i] >> 4];
        *at++ = hex[id->program[i] & 15];
    }
    *at++ = '-';
    for (size_t i = 0; i < ENGINE_NAME_BYTES; i++) {
        *at++ = hex[id->engine[i] >> 4];
        *at++ = hex[id->engine[i] & 15];
    }
    memcpy(at, SUFFIX, sizeof SUFFIX);
}

/* ---- opening ---- */

static char *default_dir(void) {
    const char *named = secure_getenv("GLOVEBOX_CACHE");
    return named && named[0] ? gb_strdup(named, NULL)
                             : gb_user_path("XDG_CACHE_HOME", "glovebox", ".cache/glovebox");
}

static bool open_dir(struct gb_cache *c, struct gb_error **err) {
    if (!c->dir) {
        gb_fail(err, GB_NOT_FOUND, "there is no place for the code cache");
        return gb_hint(err, "Set HOME, XDG_CACHE_HOME or GLOVEBOX_CACHE, or give --cache DIR.");
    }
    if (!gb_make_private_dirs(c->dir, err)) {
        return false;
    }
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    open(c->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat st;
    if (fd < 0 || gb_sys(GB_SYS_STAT, -1, fstat(fd, &st)) != 0) {
        gb_fail_errno(err, GB_IO, errno, "could not open the cache folder \"%s\": %s", c->dir,
                      strerror(errno));
        gb_fd_close(&fd);
        return false;
    }
    if (st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
        close(fd);
        gb_fail(err, GB_PERMISSION_DENIED, "the cache folder \"%s\" can be written by others",
                c->dir);
        return gb_hint(err, "Make it yours alone: chmod 700, or choose another with --cache DIR.");
    }
    c->dir_fd = fd;
    return true;
}

void gb_cache_open(struct gb_cache *c, bool wanted, const char *dir, const char *key_path,
                   uint64_t bytes_max) {
    *c = (struct gb_cache){.dir_fd = -1, .bytes_max = bytes_max};
    c->has_key = gb_cache_key_load(key_path, &c->key, &c->off);
    if (!wanted) {
        return;
    }
    c->dir = dir ? gb_strdup(dir, NULL) : default_dir();
    if (!c->has_key || !open_dir(c, &c->off)) {
        gb_log(GB_LOG_INFO, "compiled code is not kept: %s",
               c->off ? c->off->message : "memory ran out");
    }
}

void gb_cache_close(struct gb_cache *c) {
    gb_fd_close(&c->dir_fd);
    gb_free(c->dir);
    gb_error_free(c->off);
    explicit_bzero(&c->key, sizeof c->key);
    *c = (struct gb_cache){.dir_fd = -1};
}

/* ---- damage ---- */

static void note_damage(struct gb_cache *c, const char *name, const char *why) {
    atomic_fetch_add_explicit(&c->damaged, 1, memory_order_relaxed);
    gb_log(GB_LOG_INFO, "a cache entry is compiled again: %s", why);
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    openat(c->dir_fd, DAMAGED_NAME,
                           O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
                           0600));
    struct stat st;
    if (fd >= 0 && gb_sys(GB_SYS_STAT, -1, fstat(fd, &st)) == 0 && S_ISREG(st.st_mode) &&
        st.st_size < DAMAGED_BYTES_MAX) {
        char line[256];
        int n = snprintf(line, sizeof line, "%lld %.100s %.100s\n", (long long)time(NULL), name,
                         why);
        if (n > 0) {
            (void)gb_write_all(fd, line, GB_MIN((size_t)n, sizeof line - 1), NULL);
        }
    }
    gb_fd_close(&fd);
}

void gb_cache_reject(struct gb_cache *c, const struct gb_native_id *id, const char *why) {
    char name[NAME_BYTES];
    entry_name(id, name);
    (void)unlinkat(c->dir_fd, name, 0);
    note_damage(c, name, why);
}

/* ---- finding ---- */

static void touch(int fd) {
    struct stat st;
    if (gb_sys(GB_SYS_STAT, -1, fstat(fd, &st)) == 0 && time(NULL) - st.st_mtime > TOUCH_S) {
        (void)futimens(fd, NULL);
    }
}

static bool same_id(const struct gb_native_id *a, const struct gb_native_id *b) {
    return memcmp(a->engine, b->engine, GB_SHA256_BYTES) == 0 &&
           memcmp(a->program, b->program, GB_SHA256_BYTES) == 0;
}

bool gb_cache_find(struct gb_cache *c, const struct gb_native_id *id, struct gb_native *ret_code) {
    if (c->dir_fd < 0 || !c->has_key) {
        return false;
    }
    char name[NAME_BYTES];
    entry_name(id, name);
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    openat(c->dir_fd, name,
                           O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (fd < 0) {
        atomic_fetch_add_explicit(&c->misses, 1, memory_order_relaxed);
        if (errno != ENOENT) {
            note_damage(c, name, errno == ELOOP ? "it is a link" : "it could not be opened");
        }
        return false;
    }
    struct gb_error *why = NULL;
    struct gb_native code;
    struct gb_native_id is;
    bool ok = gb_native_read(fd, &c->key, &code, &is, &why);
    if (ok && !same_id(&is, id)) {
        gb_native_fini(&code);
        ok = gb_fail(&why, GB_ARTIFACT_UNTRUSTED, "it is another program's");
    }
    if (ok) {
        touch(fd);
        atomic_fetch_add_explicit(&c->hits, 1, memory_order_relaxed);
        *ret_code = code;
    } else {
        atomic_fetch_add_explicit(&c->misses, 1, memory_order_relaxed);
        note_damage(c, name, why->message);
        gb_error_free(why);
    }
    close(fd);
    return ok;
}

/* ---- making room ---- */

struct file {
    char name[NAME_BYTES];
    uint64_t bytes;
    time_t used;
};
struct listing {
    struct file *files; /* NULL: only sums */
    size_t len;
    uint64_t entries, bytes;
};

static bool is_entry(const char *name) {
    return strlen(name) == NAME_BYTES - 1 &&
           strcmp(name + NAME_BYTES - sizeof SUFFIX, SUFFIX) == 0;
}

static void list_one(const struct gb_cache *c, const char *name, struct listing *l) {
    struct stat st;
    bool temporary = strncmp(name, TEMPORARY, sizeof TEMPORARY - 1) == 0;
    if ((!temporary && !is_entry(name)) ||
        gb_sys(GB_SYS_STAT, -1, fstatat(c->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW)) != 0) {
        return;
    }
    if (temporary) {
        if (l->files && time(NULL) - st.st_mtime > STALE_S) {
            (void)unlinkat(c->dir_fd, name, 0);
        }
        return;
    }
    l->entries++;
    l->bytes += (uint64_t)st.st_size;
    if (l->files && l->len < EVICT_MAX) {
        struct file *f = &l->files[l->len++];
        memcpy(f->name, name, NAME_BYTES);
        f->bytes = (uint64_t)st.st_size;
        f->used = st.st_mtime;
    }
}

static bool list(const struct gb_cache *c, struct listing *l) {
    int fd = gb_sys(GB_SYS_OPEN, -1, openat(c->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR *dir = fd >= 0 ? gb_sys(GB_SYS_OPEN, NULL, fdopendir(fd)) : NULL;
    if (!dir) {
        gb_fd_close(&fd);
        return false;
    }
    for (struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        list_one(c, d->d_name, l);
    }
    closedir(dir);
    return true;
}

static int by_use(const void *a, const void *b) {
    time_t x = ((const struct file *)a)->used;
    time_t y = ((const struct file *)b)->used;
    return x < y ? -1 : x > y;
}

static bool make_room(struct gb_cache *c, uint64_t bytes) {
    if (bytes > c->bytes_max) {
        return false;
    }
    struct listing l = {.files = gb_calloc(EVICT_MAX, sizeof *l.files, NULL)};
    bool ok = l.files && list(c, &l);
    if (ok) {
        qsort(l.files, l.len, sizeof *l.files, by_use);
        for (size_t i = 0; i < l.len && l.bytes + bytes > c->bytes_max; i++) {
            if (unlinkat(c->dir_fd, l.files[i].name, 0) == 0) {
                l.bytes -= l.files[i].bytes;
            }
        }
        ok = l.bytes + bytes <= c->bytes_max;
    }
    gb_free(l.files);
    return ok;
}

/* ---- storing ---- */

static bool store(struct gb_cache *c, const char *name, const struct gb_native_id *id,
                  const struct gb_native *code, struct gb_error **err) {
    char temporary[sizeof TEMPORARY + 16];
    uint64_t unique = 0;
    if (gb_sys(GB_SYS_RANDOM, -1, getrandom(&unique, sizeof unique, 0)) !=
        (ssize_t)sizeof unique) {
        return gb_fail(err, GB_IO, "no random bytes");
    }
    snprintf(temporary, sizeof temporary, TEMPORARY "%016llx", (unsigned long long)unique);
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    openat(c->dir_fd, temporary,
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (fd < 0) {
        return gb_fail_errno(err, GB_IO, errno, "a file could not be made: %s", strerror(errno));
    }
    /* On the disk before it has its name: after a crash a name means a whole file. */
    bool ok = gb_native_write(fd, &c->key, code, id, err);
    ok = ok && (gb_sys(GB_SYS_SYNC, -1, fsync(fd)) == 0 ||
                gb_fail_errno(err, GB_IO, errno, "could not write: %s", strerror(errno)));
    close(fd);
    ok = ok && (gb_sys(GB_SYS_RENAME, -1, renameat(c->dir_fd, temporary, c->dir_fd, name)) == 0 ||
                gb_fail_errno(err, GB_IO, errno, "could not rename: %s", strerror(errno)));
    if (!ok) {
        (void)unlinkat(c->dir_fd, temporary, 0);
    }
    return ok;
}

void gb_cache_store(struct gb_cache *c, const struct gb_native_id *id,
                    const struct gb_native *code) {
    if (c->dir_fd < 0 || !c->has_key) {
        return;
    }
    char name[NAME_BYTES];
    entry_name(id, name);
    struct gb_error *why = NULL;
    bool ok = make_room(c, gb_native_file_bytes(code))
                  ? store(c, name, id, code, &why)
                  : gb_fail(&why, GB_IO, "it has no room for %llu bytes",
                            (unsigned long long)gb_native_file_bytes(code));
    if (ok) {
        atomic_fetch_add_explicit(&c->stored, 1, memory_order_relaxed);
    } else {
        gb_log(GB_LOG_INFO, "compiled code is not kept in \"%s\": %s", c->dir, why->message);
        gb_error_free(why);
    }
}

bool gb_cache_stats(const struct gb_cache *c, struct gb_cache_stats *ret) {
    struct listing l = {0};
    if (c->dir_fd < 0 || !list(c, &l)) {
        return false;
    }
    *ret = (struct gb_cache_stats){.entries = l.entries, .bytes = l.bytes};
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    openat(c->dir_fd, DAMAGED_NAME,
                           O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    char part[4096];
    ssize_t n;
    while (fd >= 0 && (n = gb_sys(GB_SYS_READ, -1, read(fd, part, sizeof part))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            ret->damaged += part[i] == '\n';
        }
    }
    gb_fd_close(&fd);
    return true;
}
