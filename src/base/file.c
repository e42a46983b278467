/* SPDX-License-Identifier: Apache-2.0 */
/* Files and descriptors: reading with a bound, and errors that name the path. */
#include "base/fault.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"

#define READ_CHUNK ((size_t)65536)

int gb_file_open(const char *path, struct gb_error **err) {
    int fd = gb_sys(GB_SYS_OPEN, -1, open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    if (fd >= 0) {
        return fd;
    }
    int eno = errno;
    enum gb_code code = eno == ENOENT || eno == ENOTDIR ? GB_NOT_FOUND
                        : eno == EACCES || eno == EPERM ? GB_PERMISSION_DENIED
                                                        : GB_IO;
    gb_fail_errno(err, code, eno, "could not open \"%s\": %s", path,
                  eno == ENOENT ? "no such file" : strerror(eno));
    if (code == GB_NOT_FOUND) {
        gb_hint(err, "Check the path; it is taken from the current folder.");
    }
    return -1;
}

void gb_fd_close(int *fd) {
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

bool gb_fd_raise(int *fd, int lowest) {
    if (*fd >= lowest) {
        return true;
    }
    int moved = gb_sys(GB_SYS_FCNTL, -1, fcntl(*fd, F_DUPFD_CLOEXEC, lowest));
    if (moved < 0) {
        return false;
    }
    close(*fd);
    *fd = moved;
    return true;
}

bool gb_fd_read_all(int fd, const char *what, size_t bytes_max, enum gb_code too_large,
                    uint8_t **ret_bytes, size_t *ret_len, struct gb_error **err) {
    uint8_t *bytes = NULL;
    size_t len = 0;
    size_t cap = 0;
    for (;;) {
        if (len == cap) {
            size_t limit = bytes_max == SIZE_MAX ? SIZE_MAX : bytes_max + 1;
            size_t next = GB_MIN(cap == 0 ? READ_CHUNK : cap * 2, limit);
            uint8_t *grown = gb_realloc(bytes, next, err);
            if (!grown) {
                gb_free(bytes);
                return false;
            }
            bytes = grown;
            cap = next;
        }
        ssize_t n = gb_sys(GB_SYS_READ, -1, read(fd, bytes + len, cap - len));
        if (n == 0) {
            break;
        }
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            int eno = errno;
            gb_free(bytes);
            return gb_fail_errno(err, GB_IO, eno, "could not read \"%s\": %s", what, strerror(eno));
        }
        len += (size_t)n;
        if (len > bytes_max) {
            gb_free(bytes);
            return gb_fail(err, too_large, "\"%s\" is larger than the limit of %zu bytes", what,
                           bytes_max);
        }
    }
    *ret_bytes = bytes;
    *ret_len = len;
    return true;
}

bool gb_file_read(const char *path, size_t bytes_max, enum gb_code too_large, uint8_t **ret_bytes,
                  size_t *ret_len, struct gb_error **err) {
    int fd = gb_file_open(path, err);
    if (fd < 0) {
        return false;
    }
    struct stat st;
    bool ok = false;
    if (gb_sys(GB_SYS_STAT, -1, fstat(fd, &st)) != 0) {
        gb_fail_errno(err, GB_IO, errno, "could not read \"%s\": %s", path, strerror(errno));
    } else if (S_ISDIR(st.st_mode)) {
        gb_fail(err, GB_INVALID_ARGUMENT, "\"%s\" is a directory, not a file", path);
    } else if (!S_ISREG(st.st_mode)) {
        gb_fail(err, GB_INVALID_ARGUMENT, "\"%s\" is not a regular file", path);
    } else if (st.st_size > 0 && (uint64_t)st.st_size > bytes_max) {
        gb_fail(err, too_large, "\"%s\" has %lld bytes, more than the limit of %zu", path,
                (long long)st.st_size, bytes_max);
    } else {
        ok = gb_fd_read_all(fd, path, bytes_max, too_large, ret_bytes, ret_len, err);
    }
    close(fd);
    return ok;
}

int gb_memfd_new(const char *name, struct gb_error **err) {
    int fd = gb_sys(GB_SYS_MEMFD, -1, memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd < 0) {
        gb_fail_errno(err, GB_IO, errno, "could not create the memory file \"%s\": %s", name,
                      strerror(errno));
    }
    return fd;
}

bool gb_write_all(int fd, const void *bytes, size_t len, struct gb_error **err) {
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t n = gb_sys(GB_SYS_WRITE, -1, write(fd, at, len));
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return gb_fail_errno(err, GB_IO, errno, "could not write: %s", strerror(errno));
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}
