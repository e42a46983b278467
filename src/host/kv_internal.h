/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the key-value store share: kv.c (queues, threads, answers), kv_db.c (one
 * tenant's database), kv_op.c (what a request does in it), kv_vfs.c (files that can be failed).
 * Threads: a database belongs to the thread that runs its tenant, one at a time.
 */
#ifndef GB_HOST_KV_INTERNAL_H
#define GB_HOST_KV_INTERNAL_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "host/kv.h"

/* An entry's row is its store's number above its own, so that a store is a range of rows and a
 * page of keys a scan. */
#define KV_SEQUENCE_BITS 40
#define KV_SEQUENCE_MAX (((uint64_t)1 << KV_SEQUENCE_BITS) - 1)
#define KV_STORE_MAX ((int64_t)1 << 22)

enum kv_statement {
    KV_BEGIN_READ,
    KV_BEGIN_WRITE,
    KV_COMMIT,
    KV_ROLLBACK,
    KV_SAVE,
    KV_SAVE_UNDO,
    KV_SAVE_END,
    KV_FIND,
    KV_READ,
    KV_PAGE,
    KV_INSERT,
    KV_UPDATE,
    KV_REMOVE,
    KV_STORE_INSERT,
    KV_STORE_UPDATE,
    KV_STATEMENT_COUNT
};

/* A store of the tenant. `next` numbers rows and versions; both grow only. */
struct kv_store {
    int64_t id;
    uint64_t keys, bytes, next;
    bool dirty; /* since the transaction began */
    size_t label_len;
    char label[GB_KV_LABEL_BYTES_MAX];
};

struct kv_db {
    sqlite3 *sql;
    sqlite3_stmt *statements[KV_STATEMENT_COUNT];
    struct kv_store *stores; /* GB_KV_LABELS_MAX */
    size_t stores_len;
    uint64_t bytes; /* of all */
    struct gb_kv_limits limits; /* for the batch that runs */
    const char *tenant, *path;  /* borrowed, for messages */
    bool unusable;              /* to be closed: its state is not known any more */
    bool sync_failed;           /* see kv.h */
};

enum kv_state { KV_WAITING, KV_RUNNING, KV_CALLING, KV_ANSWERED };

struct gb_kv_request {
    struct gb_kv_tenant *tenant;
    struct gb_kv_request *before, *after_this; /* in its queue, or its batch */
    enum kv_state state;                       /* under the store's lock */
    bool dropped;                              /* the same */
    _Atomic bool answered;
    struct gb_kv_spec spec; /* label and entries are the request's */
    uint8_t *bytes;         /* what these point to */
    struct gb_kv_entry *entries;
    size_t bytes_len;
    uint64_t charged;
    struct gb_error *error;
    struct gb_kv_item *items;
    struct gb_kv_answer answer;
};

static inline bool kv_verb_writes(enum gb_kv_verb verb) {
    return verb >= GB_KV_SET;
}

/* ---- kv_db.c ---- */

/* Opens, or makes, the database of a tenant. */
bool kv_db_open(struct kv_db *db, const char *path, const char *vfs, const char *tenant,
                struct gb_error **err);
void kv_db_close(struct kv_db *db);
/* The error of a failed call of SQLite, as ours. Returns false. */
bool kv_db_fail(struct kv_db *db, int rc, struct gb_error **err);
/* Runs a statement that has been bound to its end, and resets it. */
bool kv_db_do(struct kv_db *db, enum kv_statement statement, struct gb_error **err);
/* Totals are written with the entries. */
bool kv_db_commit(struct kv_db *db, struct gb_error **err);
/* Undoes the transaction, the totals too; what cannot be undone makes the database unusable. */
void kv_db_rollback(struct kv_db *db);
bool kv_db_load_stores(struct kv_db *db, struct gb_error **err);
/* NULL: no such store. */
struct kv_store *kv_db_store(struct kv_db *db, struct gb_span label);
struct kv_store *kv_db_store_make(struct kv_db *db, struct gb_span label, struct gb_error **err);

/* ---- kv_op.c ---- */

/* What a request asks, within a transaction; one that fails leaves nothing in it. */
bool kv_op_run(struct kv_db *db, struct gb_kv_request *r, struct gb_error **err);
/* Sizes and numbers, before it is queued. */
bool kv_op_check(const struct gb_kv_spec *spec, size_t *ret_bytes, struct gb_error **err);

/* ---- kv_vfs.c ---- */

/* SQLite's own files, opened, read, written and synced through gb_sys. NULL: no memory. */
const char *kv_vfs_name(void);

#endif
