/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system for SQLite: its own for Unix, with every call that can fail behind gb_sys, so that
 * what happens then is tested in the program that ships. It knows no shared memory: databases are
 * opened by one process at a time, and a full disk cannot end it by SIGBUS.
 */
#include "base/fault.h"
#include "host/kv_internal.h"

struct kv_file {
    sqlite3_file file;
    sqlite3_file *real; /* behind this */
};

static sqlite3_vfs vfs;
static sqlite3_vfs *unix_vfs;
static bool registered;

static sqlite3_file *real_of(sqlite3_file *file) {
    return ((struct kv_file *)file)->real;
}

static int file_close(sqlite3_file *file) {
    sqlite3_file *real = real_of(file);
    return real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *bytes, int len, sqlite3_int64 at) {
    sqlite3_file *real = real_of(file);
    return gb_sys(GB_SYS_READ, SQLITE_IOERR_READ, real->pMethods->xRead(real, bytes, len, at));
}

static int file_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at) {
    sqlite3_file *real = real_of(file);
    return gb_sys(GB_SYS_WRITE, SQLITE_FULL, real->pMethods->xWrite(real, bytes, len, at));
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
    sqlite3_file *real = real_of(file);
    return gb_sys(GB_SYS_TRUNCATE, SQLITE_IOERR_TRUNCATE, real->pMethods->xTruncate(real, size));
}

static int file_sync(sqlite3_file *file, int flags) {
    sqlite3_file *real = real_of(file);
    return gb_sys(GB_SYS_SYNC, SQLITE_IOERR_FSYNC, real->pMethods->xSync(real, flags));
}

static int file_size(sqlite3_file *file, sqlite3_int64 *ret_size) {
    sqlite3_file *real = real_of(file);
    return gb_sys(GB_SYS_STAT, SQLITE_IOERR_FSTAT, real->pMethods->xFileSize(real, ret_size));
}

static int file_lock(sqlite3_file *file, int level) {
    sqlite3_file *real = real_of(file);
    return gb_sys(GB_SYS_FCNTL, SQLITE_IOERR_LOCK, real->pMethods->xLock(real, level));
}

/* A lock that cannot be given back goes with the descriptor. */
static int file_unlock(sqlite3_file *file, int level) {
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int file_lock_reserved(sqlite3_file *file, int *ret_reserved) {
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), ret_reserved);
}

static int file_control(sqlite3_file *file, int op, void *arg) {
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int file_sector(sqlite3_file *file) {
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int file_device(sqlite3_file *file) {
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_lock_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_device,
};

static int vfs_open(sqlite3_vfs *self, sqlite3_filename name, sqlite3_file *file, int flags,
                    int *ret_flags) {
    struct kv_file *f = (struct kv_file *)file;
    (void)self;
    f->real = (sqlite3_file *)(f + 1);
    f->real->pMethods = NULL;
    file->pMethods = NULL;
    int rc = gb_sys(GB_SYS_OPEN, SQLITE_CANTOPEN,
                    unix_vfs->xOpen(unix_vfs, name, f->real, flags, ret_flags));
    /* SQLite closes what has methods, even where opening failed. */
    file->pMethods = f->real->pMethods ? &methods : NULL;
    return rc;
}

static int vfs_delete(sqlite3_vfs *self, const char *name, int sync_folder) {
    (void)self;
    return gb_sys(GB_SYS_RENAME, SQLITE_IOERR_DELETE,
                  unix_vfs->xDelete(unix_vfs, name, sync_folder));
}

static int vfs_access(sqlite3_vfs *self, const char *name, int flags, int *ret_ok) {
    (void)self;
    return gb_sys(GB_SYS_STAT, SQLITE_IOERR_ACCESS,
                  unix_vfs->xAccess(unix_vfs, name, flags, ret_ok));
}

static int vfs_full_path(sqlite3_vfs *self, const char *name, int cap, char *ret_path) {
    (void)self;
    return unix_vfs->xFullPathname(unix_vfs, name, cap, ret_path);
}

static void register_once(void) {
    unix_vfs = sqlite3_vfs_find("unix");
    if (!unix_vfs) {
        return;
    }
    vfs = *unix_vfs; /* time, sleep, randomness as they are */
    vfs.iVersion = 1;
    vfs.szOsFile = unix_vfs->szOsFile + (int)sizeof(struct kv_file);
    vfs.pNext = NULL;
    vfs.zName = "glovebox-kv";
    vfs.xOpen = vfs_open;
    vfs.xDelete = vfs_delete;
    vfs.xAccess = vfs_access;
    vfs.xFullPathname = vfs_full_path;
    registered = sqlite3_vfs_register(&vfs, 0) == SQLITE_OK;
}

const char *kv_vfs_name(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_once);
    return registered ? vfs.zName : NULL;
}
