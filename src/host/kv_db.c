/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One tenant's database: opened without trust in what the file holds, one schema, prepared
 * statements, and the totals of its stores, which are kept in memory and written in the same
 * transaction as what they count.
 * Errors: messages name the tenant; paths and SQLite's own words are detail, for the operator.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "host/kv_internal.h"

#define APPLICATION_ID 1195526742 /* "GBKV" */
#define SCHEMA_VERSION 1

static const char *const texts[KV_STATEMENT_COUNT] = {
    [KV_BEGIN_READ] = "BEGIN",
    [KV_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [KV_COMMIT] = "COMMIT",
    [KV_ROLLBACK] = "ROLLBACK",
    [KV_SAVE] = "SAVEPOINT request",
    [KV_SAVE_UNDO] = "ROLLBACK TO request",
    [KV_SAVE_END] = "RELEASE request",
    [KV_FIND] = "SELECT id, length(value), version FROM entries WHERE store=?1 AND key=?2",
    [KV_READ] = "SELECT value, version FROM entries WHERE store=?1 AND key=?2",
    [KV_PAGE] = "SELECT id, key FROM entries WHERE id>?1 AND id<=?2 ORDER BY id LIMIT ?3",
    [KV_INSERT] = "INSERT INTO entries(id, store, key, version, value) VALUES(?1, ?2, ?3, ?4, ?5)",
    [KV_UPDATE] = "UPDATE entries SET version=?2, value=?3 WHERE id=?1",
    [KV_REMOVE] = "DELETE FROM entries WHERE id=?1",
    [KV_STORE_INSERT] = "INSERT INTO stores(id, label, keys, bytes, next) VALUES(?1, ?2, 0, 0, 1)",
    [KV_STORE_UPDATE] = "UPDATE stores SET keys=?2, bytes=?3, next=?4 WHERE id=?1",
};

static const char schema[] =
    "CREATE TABLE tenant(name TEXT NOT NULL) STRICT;"
    "CREATE TABLE stores(id INTEGER PRIMARY KEY, label TEXT NOT NULL UNIQUE,"
    " keys INTEGER NOT NULL, bytes INTEGER NOT NULL, next INTEGER NOT NULL) STRICT;"
    "CREATE TABLE entries(id INTEGER PRIMARY KEY, store INTEGER NOT NULL, key BLOB NOT NULL,"
    " version INTEGER NOT NULL, value BLOB NOT NULL, UNIQUE(store, key)) STRICT;";

/* What failed, for people; the code is io but for memory. */
static const char *what_failed(int rc, enum gb_code *ret_code, int *ret_errno) {
    *ret_code = GB_IO;
    switch (rc & 0xff) {
    case SQLITE_FULL:
        *ret_errno = ENOSPC;
        return "there is no space left on the disk";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return "its database is damaged";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "its database is in use by another process";
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        *ret_code = GB_PERMISSION_DENIED;
        return "its database may not be written";
    case SQLITE_NOMEM:
        *ret_code = GB_INTERNAL;
        return "memory ran out";
    case SQLITE_CANTOPEN:
        return "its database could not be opened";
    case SQLITE_IOERR:
        if (rc == SQLITE_IOERR_NOMEM) {
            *ret_code = GB_INTERNAL;
            return "memory ran out";
        }
        return "its database could not be read or written";
    default:
        *ret_code = GB_INTERNAL;
        return "SQLite failed";
    }
}

bool kv_db_fail(struct kv_db *db, int rc, struct gb_error **err) {
    enum gb_code code;
    int eno = db->sql ? sqlite3_system_errno(db->sql) : 0;
    const char *what = what_failed(rc, &code, &eno);
    if (rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC) {
        db->sync_failed = true;
    }
    int kind = rc & 0xff;
    if (kind == SQLITE_IOERR || kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB) {
        db->unusable = true;
    }
    gb_fail_errno(err, code, eno, "the key-value stores of tenant \"%s\" failed: %s", db->tenant,
                  what);
    if (kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB) {
        gb_hint(err, "The operator's log names the file: restore it, or move it away.");
    }
    return gb_detail(err, "\"%s\": %s (%d): %s", db->path, sqlite3_errstr(rc), rc,
                     db->sql ? sqlite3_errmsg(db->sql) : "not open");
}

bool kv_db_do(struct kv_db *db, enum kv_statement statement, struct gb_error **err) {
    sqlite3_stmt *s = db->statements[statement];
    int rc = sqlite3_step(s);
    bool ok = rc == SQLITE_DONE || rc == SQLITE_ROW ||
              kv_db_fail(db, sqlite3_extended_errcode(db->sql), err);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return ok;
}

static bool exec(struct kv_db *db, const char *sql, struct gb_error **err) {
    int rc = sqlite3_exec(db->sql, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK || kv_db_fail(db, sqlite3_extended_errcode(db->sql), err);
}

static bool prepare(struct kv_db *db, const char *sql, unsigned flags, sqlite3_stmt **ret_statement,
                    struct gb_error **err) {
    int rc = sqlite3_prepare_v3(db->sql, sql, -1, flags, ret_statement, NULL);
    return rc == SQLITE_OK || kv_db_fail(db, sqlite3_extended_errcode(db->sql), err);
}

/* The one number that a query gives. */
static bool query_number(struct kv_db *db, const char *sql, int64_t *ret, struct gb_error **err) {
    sqlite3_stmt *s;
    if (!prepare(db, sql, 0, &s, err)) {
        return false;
    }
    bool ok = sqlite3_step(s) == SQLITE_ROW;
    if (ok) {
        *ret = sqlite3_column_int64(s, 0);
    } else {
        kv_db_fail(db, sqlite3_extended_errcode(db->sql), err);
    }
    sqlite3_finalize(s);
    return ok;
}

/* ---- stores and their totals ---- */

static bool damaged(struct kv_db *db, const char *detail, struct gb_error **err) {
    kv_db_fail(db, SQLITE_CORRUPT, err);
    return gb_detail(err, "\"%s\": %s", db->path, detail);
}

static bool store_load(struct kv_db *db, sqlite3_stmt *s, struct gb_error **err) {
    int64_t numbers[4]; /* id, keys, bytes, next */
    for (int i = 0; i < 4; i++) {
        numbers[i] = sqlite3_column_int64(s, i);
    }
    const void *label = sqlite3_column_blob(s, 4);
    size_t len = (size_t)sqlite3_column_bytes(s, 4);
    if (db->stores_len == GB_KV_LABELS_MAX || numbers[0] < 1 || numbers[0] >= KV_STORE_MAX ||
        numbers[1] < 0 || numbers[2] < 0 || numbers[3] < 1 || !label ||
        len > GB_KV_LABEL_BYTES_MAX) {
        return damaged(db, "a row of the table stores is out of range", err);
    }
    struct kv_store *store = &db->stores[db->stores_len];
    *store = (struct kv_store){.id = numbers[0],
                               .keys = (uint64_t)numbers[1],
                               .bytes = (uint64_t)numbers[2],
                               .next = (uint64_t)numbers[3],
                               .label_len = len};
    memcpy(store->label, label, len);
    db->stores_len++;
    db->bytes += store->bytes; /* at most 256 numbers below 2^63: checked below */
    if (db->bytes > INT64_MAX) {
        return damaged(db, "the sizes of the stores are out of range", err);
    }
    return true;
}

bool kv_db_load_stores(struct kv_db *db, struct gb_error **err) {
    sqlite3_stmt *s;
    db->stores_len = 0;
    db->bytes = 0;
    if (!prepare(db, "SELECT id, keys, bytes, next, CAST(label AS BLOB) FROM stores ORDER BY id", 0,
                 &s, err)) {
        return false;
    }
    bool ok = true;
    int rc;
    while (ok && (rc = sqlite3_step(s)) != SQLITE_DONE) {
        ok = rc == SQLITE_ROW ? store_load(db, s, err)
                              : kv_db_fail(db, sqlite3_extended_errcode(db->sql), err);
    }
    sqlite3_finalize(s);
    return ok;
}

struct kv_store *kv_db_store(struct kv_db *db, struct gb_span label) {
    for (size_t i = 0; i < db->stores_len; i++) {
        struct kv_store *store = &db->stores[i];
        if (gb_span_eq(gb_span_make(store->label, store->label_len), label)) {
            return store;
        }
    }
    return NULL;
}

struct kv_store *kv_db_store_make(struct kv_db *db, struct gb_span label, struct gb_error **err) {
    if (db->stores_len == GB_KV_LABELS_MAX) {
        gb_fail(err, GB_QUOTA_EXCEEDED, "the tenant \"%s\" has %u key-value stores already",
                db->tenant, GB_KV_LABELS_MAX);
        return NULL;
    }
    /* Stores are never removed, so the last has the highest number. */
    int64_t id = db->stores_len ? db->stores[db->stores_len - 1].id + 1 : 1;
    sqlite3_stmt *s = db->statements[KV_STORE_INSERT];
    sqlite3_bind_int64(s, 1, id);
    int rc = sqlite3_bind_text(s, 2, (const char *)label.ptr, (int)label.len, SQLITE_STATIC);
    if (rc != SQLITE_OK) {
        kv_db_fail(db, rc, err);
        return NULL;
    }
    if (!kv_db_do(db, KV_STORE_INSERT, err)) {
        return NULL;
    }
    struct kv_store *store = &db->stores[db->stores_len++];
    *store = (struct kv_store){.id = id, .next = 1, .label_len = label.len};
    memcpy(store->label, label.ptr, label.len);
    return store;
}

/* ---- transactions ---- */

bool kv_db_commit(struct kv_db *db, struct gb_error **err) {
    for (size_t i = 0; i < db->stores_len; i++) {
        struct kv_store *store = &db->stores[i];
        if (!store->dirty) {
            continue;
        }
        sqlite3_stmt *s = db->statements[KV_STORE_UPDATE];
        sqlite3_bind_int64(s, 1, store->id);
        sqlite3_bind_int64(s, 2, (int64_t)store->keys);
        sqlite3_bind_int64(s, 3, (int64_t)store->bytes);
        sqlite3_bind_int64(s, 4, (int64_t)store->next);
        if (!kv_db_do(db, KV_STORE_UPDATE, err)) {
            return false;
        }
        store->dirty = false;
    }
    return kv_db_do(db, KV_COMMIT, err);
}

void kv_db_rollback(struct kv_db *db) {
    /* Some failures have undone it already. */
    if (!sqlite3_get_autocommit(db->sql) && !kv_db_do(db, KV_ROLLBACK, NULL)) {
        db->unusable = true;
        return;
    }
    if (!kv_db_load_stores(db, NULL)) {
        db->unusable = true;
    }
}

/* ---- open, close ---- */

static bool schema_make(struct kv_db *db, struct gb_error **err) {
    char pragmas[96];
    snprintf(pragmas, sizeof pragmas, "PRAGMA application_id=%d; PRAGMA user_version=%d",
             APPLICATION_ID, SCHEMA_VERSION);
    if (!exec(db, "BEGIN IMMEDIATE", err) || !exec(db, schema, err) || !exec(db, pragmas, err)) {
        return false;
    }
    sqlite3_stmt *s;
    if (!prepare(db, "INSERT INTO tenant(name) VALUES(?1)", 0, &s, err)) {
        return false;
    }
    int rc = sqlite3_bind_text(s, 1, db->tenant, -1, SQLITE_STATIC);
    bool ok = rc == SQLITE_OK && sqlite3_step(s) == SQLITE_DONE;
    if (!ok) {
        kv_db_fail(db, sqlite3_extended_errcode(db->sql), err);
    }
    sqlite3_finalize(s);
    return ok && exec(db, "COMMIT", err);
}

/* Two names could share a file only by a collision, or by somebody's hand. */
static bool tenant_check(struct kv_db *db, struct gb_error **err) {
    sqlite3_stmt *s;
    if (!prepare(db, "SELECT name FROM tenant", 0, &s, err)) {
        return false;
    }
    bool row = sqlite3_step(s) == SQLITE_ROW;
    const char *name = row ? (const char *)sqlite3_column_text(s, 0) : NULL;
    bool ok = name && strcmp(name, db->tenant) == 0;
    sqlite3_finalize(s);
    return ok || damaged(db, "it does not say that it is this tenant's", err);
}

static bool schema_check(struct kv_db *db, struct gb_error **err) {
    int64_t application;
    int64_t version;
    int64_t tables;
    if (!query_number(db, "PRAGMA application_id", &application, err) ||
        !query_number(db, "PRAGMA user_version", &version, err) ||
        !query_number(db, "SELECT count(*) FROM sqlite_schema", &tables, err)) {
        return false;
    }
    if (application == 0 && version == 0 && tables == 0) {
        return schema_make(db, err);
    }
    if (application != APPLICATION_ID) {
        return damaged(db, "it is a database of another program", err);
    }
    if (version != SCHEMA_VERSION) {
        gb_fail(err, GB_UNSUPPORTED,
                "the key-value stores of tenant \"%s\" are of version %lld; this is version %d",
                db->tenant, (long long)version, SCHEMA_VERSION);
        return gb_hint(err, "Serve with the version of Glovebox that wrote them, or a later one.");
    }
    return tenant_check(db, err);
}

/* Settings that fail on a file that is no database; each is of the connection only. */
static bool configure(struct kv_db *db, struct gb_error **err) {
    static const char settings[] =
        "PRAGMA locking_mode=EXCLUSIVE;" /* first: the others would want shared memory */
        "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;"
        "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-1024;"
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "PRAGMA wal_autocheckpoint=1000; PRAGMA journal_size_limit=4194304";
    sqlite3_extended_result_codes(db->sql, 1);
    sqlite3_db_config(db->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->sql, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(db->sql, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_limit(db->sql, SQLITE_LIMIT_LENGTH, 4 << 20);
    sqlite3_limit(db->sql, SQLITE_LIMIT_ATTACHED, 0);
    if (!exec(db, settings, err)) {
        return false;
    }
    int64_t synchronous;
    return query_number(db, "PRAGMA synchronous", &synchronous, err) &&
           (synchronous == 2 || gb_fail(err, GB_INTERNAL, "SQLite does not sync"));
}

/* Private, and no link: SQLite makes its other files with the modes of this one. */
static bool file_make(const char *path, struct gb_error **err) {
    int fd = gb_sys(GB_SYS_OPEN, -1,
                    open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600));
    if (fd < 0) {
        int eno = errno;
        gb_fail_errno(err, eno == EACCES || eno == ELOOP ? GB_PERMISSION_DENIED : GB_IO, eno,
                      "a database of key-value stores could not be opened: %s", strerror(eno));
        return gb_detail(err, "open \"%s\"", path);
    }
    gb_fd_close(&fd);
    return true;
}

bool kv_db_open(struct kv_db *db, const char *path, const char *vfs, const char *tenant,
                struct gb_error **err) {
    *db = (struct kv_db){
        .tenant = tenant, .path = path, .limits = db->limits, .sync_failed = db->sync_failed};
    db->stores = gb_calloc(GB_KV_LABELS_MAX, sizeof *db->stores, err);
    if (!db->stores || !file_make(path, err)) {
        kv_db_close(db);
        return false;
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    int rc = sqlite3_open_v2(path, &db->sql, flags, vfs);
    bool ok = rc == SQLITE_OK || kv_db_fail(db, rc, err);
    ok = ok && configure(db, err) && schema_check(db, err) && kv_db_load_stores(db, err);
    for (int i = 0; ok && i < KV_STATEMENT_COUNT; i++) {
        ok = prepare(db, texts[i], SQLITE_PREPARE_PERSISTENT, &db->statements[i], err);
    }
    if (!ok) {
        kv_db_close(db);
    }
    return ok;
}

void kv_db_close(struct kv_db *db) {
    for (int i = 0; i < KV_STATEMENT_COUNT; i++) {
        sqlite3_finalize(db->statements[i]);
        db->statements[i] = NULL;
    }
    sqlite3_close(db->sql);
    db->sql = NULL;
    gb_free(db->stores);
    db->stores = NULL;
    db->stores_len = 0;
}
