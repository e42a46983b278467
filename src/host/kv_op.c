/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request does in its tenant's database. Quotas are looked at before an entry is written, in
 * the transaction that writes it, against totals that the same transaction keeps.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"
#include "host/kv_internal.h"

/* ---- before it is queued ---- */

static bool entry_check(const struct gb_kv_spec *spec, const struct gb_kv_entry *e, size_t *bytes,
                        struct gb_error **err) {
    if (e->key.len > GB_KV_KEY_BYTES_MAX) {
        gb_fail(err, GB_INVALID_ARGUMENT, "the key \"%.32s…\" has %zu bytes",
                (const char *)e->key.ptr, e->key.len);
        return gb_hint(err, "A key has at most %u bytes.", GB_KV_KEY_BYTES_MAX);
    }
    bool sets = spec->verb == GB_KV_SET || spec->verb == GB_KV_SWAP;
    if (sets && e->value.len > GB_KV_VALUE_BYTES_MAX) {
        gb_fail(err, GB_INVALID_ARGUMENT, "the value of \"%.*s\" has %zu bytes",
                GB_SPAN_ARG(e->key), e->value.len);
        return gb_hint(err, "A value has at most %u bytes.", GB_KV_VALUE_BYTES_MAX);
    }
    *bytes += e->key.len + (sets ? e->value.len : 0);
    return true;
}

bool kv_op_check(const struct gb_kv_spec *spec, size_t *ret_bytes, struct gb_error **err) {
    size_t len = spec->entries_len;
    bool one = spec->verb == GB_KV_INCREMENT || spec->verb == GB_KV_SWAP;
    if (spec->verb >= GB_KV_VERB_COUNT || (one && len != 1) ||
        (spec->verb == GB_KV_KEYS && len != 0)) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "no such request to a key-value store");
    }
    if (spec->label.len == 0 || spec->label.len > GB_KV_LABEL_BYTES_MAX) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "the label of a key-value store has %zu bytes",
                       spec->label.len);
    }
    if (len > GB_KV_ENTRIES_MAX) {
        gb_fail(err, GB_INVALID_ARGUMENT, "a request of %zu keys to a key-value store", len);
        return gb_hint(err, "Ask for at most %u at a time.", GB_KV_ENTRIES_MAX);
    }
    size_t bytes = spec->label.len;
    for (size_t i = 0; i < len; i++) { /* at most 1024 times 1 MiB */
        if (!entry_check(spec, &spec->entries[i], &bytes, err)) {
            return false;
        }
    }
    if (bytes > GB_KV_REQUEST_BYTES_MAX) {
        gb_fail(err, GB_INVALID_ARGUMENT, "a request of %zu bytes to a key-value store", bytes);
        return gb_hint(err, "Send at most %u bytes at a time.", GB_KV_REQUEST_BYTES_MAX);
    }
    *ret_bytes = bytes;
    return true;
}

/* ---- reading ---- */

struct found {
    int64_t id; /* 0: none */
    uint64_t value_len;
    uint64_t version;
};

static bool bind_key(struct kv_db *db, sqlite3_stmt *s, const struct kv_store *store,
                     struct gb_span key, struct gb_error **err) {
    sqlite3_bind_int64(s, 1, store->id);
    /* A blob of no bytes needs an address, or it is NULL. */
    int rc = sqlite3_bind_blob(s, 2, key.len ? (const void *)key.ptr : "", (int)key.len,
                               SQLITE_STATIC);
    return rc == SQLITE_OK || kv_db_fail(db, rc, err);
}

static void finish(sqlite3_stmt *s) {
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
}

static bool find(struct kv_db *db, const struct kv_store *store, struct gb_span key,
                 struct found *ret, struct gb_error **err) {
    sqlite3_stmt *s = db->statements[KV_FIND];
    *ret = (struct found){0};
    if (!bind_key(db, s, store, key, err)) {
        return false;
    }
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        *ret = (struct found){.id = sqlite3_column_int64(s, 0),
                              .value_len = (uint64_t)sqlite3_column_int64(s, 1),
                              .version = (uint64_t)sqlite3_column_int64(s, 2)};
    }
    bool ok = rc == SQLITE_ROW || rc == SQLITE_DONE ||
              kv_db_fail(db, sqlite3_extended_errcode(db->sql), err);
    finish(s);
    return ok;
}

/* A block of the answer, charged first. */
static uint8_t *block_new(struct gb_kv_request *r, size_t len, struct gb_error **err) {
    uint64_t more = len + 1;
    if (r->spec.account && !gb_charge(r->spec.account, GB_CHARGE_VALUE, more, err)) {
        return NULL;
    }
    r->charged += r->spec.account ? more : 0;
    return gb_alloc(len + 1, err);
}

/* The bytes of a column as the item's block. */
static bool take_column(struct kv_db *db, struct gb_kv_request *r, sqlite3_stmt *s, int column,
                        struct gb_kv_item *item, struct gb_error **err) {
    const void *bytes = sqlite3_column_blob(s, column);
    size_t len = (size_t)sqlite3_column_bytes(s, column);
    if (!bytes && sqlite3_errcode(db->sql) == SQLITE_NOMEM) {
        return kv_db_fail(db, SQLITE_NOMEM, err);
    }
    if (r->bytes_len + len > GB_KV_REQUEST_BYTES_MAX) {
        gb_fail(err, GB_INVALID_ARGUMENT, "the answer of a key-value store has more than %u bytes",
                GB_KV_REQUEST_BYTES_MAX);
        return gb_hint(err, "Ask for fewer keys at a time.");
    }
    item->block = block_new(r, len, err);
    if (!item->block) {
        return false;
    }
    if (len > 0) {
        memcpy(item->block, bytes, len);
    }
    item->block[len] = '\0'; /* for those who hold it for text */
    r->bytes_len += len;
    return true;
}

static bool read_one(struct kv_db *db, struct gb_kv_request *r, const struct kv_store *store,
                     struct gb_kv_item *item, struct gb_error **err) {
    sqlite3_stmt *s = db->statements[KV_READ];
    if (!bind_key(db, s, store, item->key, err)) {
        return false;
    }
    int rc = sqlite3_step(s);
    bool ok = rc == SQLITE_ROW || rc == SQLITE_DONE ||
              kv_db_fail(db, sqlite3_extended_errcode(db->sql), err);
    if (rc == SQLITE_ROW && take_column(db, r, s, 0, item, err)) {
        item->value = gb_span_make(item->block, (size_t)sqlite3_column_bytes(s, 0));
        item->version = (uint64_t)sqlite3_column_int64(s, 1);
        item->found = true;
    } else if (rc == SQLITE_ROW) {
        ok = false;
    }
    finish(s);
    return ok;
}

static bool items_new(struct gb_kv_request *r, size_t len, struct gb_error **err) {
    uint64_t more = len * sizeof *r->items; /* at most 1025 */
    if (r->spec.account && !gb_charge(r->spec.account, GB_CHARGE_VALUE, more, err)) {
        return false;
    }
    r->charged += r->spec.account ? more : 0;
    r->items = gb_calloc(len ? len : 1, sizeof *r->items, err);
    r->answer.items = r->items;
    return r->items != NULL;
}

static bool read_entries(struct kv_db *db, struct gb_kv_request *r, struct gb_error **err) {
    const struct kv_store *store = kv_db_store(db, r->spec.label);
    if (!items_new(r, r->spec.entries_len, err)) {
        return false;
    }
    for (size_t i = 0; i < r->spec.entries_len; i++) {
        struct gb_kv_item *item = &r->items[i];
        item->key = r->spec.entries[i].key;
        r->answer.items_len = i + 1;
        struct found found = {0};
        if (store && r->spec.verb == GB_KV_EXISTS) {
            if (!find(db, store, item->key, &found, err)) {
                return false;
            }
            item->found = found.id != 0;
            item->version = found.version;
        } else if (store && !read_one(db, r, store, item, err)) {
            return false;
        }
    }
    return true;
}

static bool page_row(struct kv_db *db, struct gb_kv_request *r, sqlite3_stmt *s, size_t keys_max,
                     struct gb_error **err) {
    if (r->answer.items_len == keys_max) { /* one more than asked for: there is another page */
        r->answer.next = r->items[keys_max - 1].version;
        return true;
    }
    struct gb_kv_item *item = &r->items[r->answer.items_len++];
    if (!take_column(db, r, s, 1, item, err)) {
        return false;
    }
    item->key = gb_span_make(item->block, (size_t)sqlite3_column_bytes(s, 1));
    item->found = true;
    item->version = (uint64_t)sqlite3_column_int64(s, 0) & KV_SEQUENCE_MAX; /* see read_page */
    return true;
}

static bool read_page(struct kv_db *db, struct gb_kv_request *r, struct gb_error **err) {
    const struct kv_store *store = kv_db_store(db, r->spec.label);
    uint32_t asked = r->spec.keys_max;
    size_t keys_max = asked == 0 ? GB_KV_ENTRIES_MAX : GB_MIN(asked, GB_KV_ENTRIES_MAX);
    if (!store || r->spec.after >= KV_SEQUENCE_MAX) {
        return items_new(r, 0, err);
    }
    if (!items_new(r, keys_max, err)) {
        return false;
    }
    sqlite3_stmt *s = db->statements[KV_PAGE];
    int64_t base = store->id << KV_SEQUENCE_BITS;
    sqlite3_bind_int64(s, 1, base + (int64_t)r->spec.after);
    sqlite3_bind_int64(s, 2, base + (int64_t)KV_SEQUENCE_MAX);
    sqlite3_bind_int64(s, 3, (int64_t)keys_max + 1);
    bool ok = true;
    int rc;
    while (ok && (rc = sqlite3_step(s)) != SQLITE_DONE) {
        ok = rc == SQLITE_ROW ? page_row(db, r, s, keys_max, err)
                              : kv_db_fail(db, sqlite3_extended_errcode(db->sql), err);
    }
    finish(s);
    /* The place of a key was kept where its version belongs, which a page does not give. */
    for (size_t i = 0; i < r->answer.items_len; i++) {
        r->items[i].version = 0;
    }
    return ok;
}

/* ---- writing ---- */

static uint64_t minus(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0; /* a damaged file may hold any totals */
}

static bool quota(struct kv_db *db, const struct kv_store *store, bool is_new, uint64_t was,
                  uint64_t is, struct gb_error **err) {
    uint64_t bytes_max = db->limits.bytes_max;
    if (is_new && store->keys >= db->limits.keys_max) {
        return gb_fail(err, GB_QUOTA_EXCEEDED, "the key-value store \"%.*s\" has %llu keys already",
                       (int)store->label_len, store->label, (unsigned long long)store->keys);
    }
    /* What does not grow is let through: a quota may have been lowered. */
    uint64_t total = minus(db->bytes, was) + is;
    if (is > was && total > bytes_max) {
        gb_fail(err, GB_QUOTA_EXCEEDED,
                "the key-value stores of tenant \"%s\" would hold %llu bytes", db->tenant,
                (unsigned long long)total);
        return gb_hint(err, "Its budget kv-bytes is %llu; delete entries, or ask for more.",
                       (unsigned long long)bytes_max);
    }
    return true;
}

static void count(struct kv_db *db, struct kv_store *store, uint64_t was, uint64_t is) {
    store->bytes = minus(store->bytes, was) + is;
    db->bytes = minus(db->bytes, was) + is;
    store->dirty = true;
}

static bool write_one(struct kv_db *db, struct kv_store *store, struct gb_span key,
                      struct gb_span value, struct gb_error **err) {
    struct found old;
    if (!find(db, store, key, &old, err)) {
        return false;
    }
    uint64_t was = old.id ? old.value_len + key.len + GB_KV_ENTRY_BYTES : 0;
    uint64_t is = (uint64_t)value.len + key.len + GB_KV_ENTRY_BYTES;
    if (!quota(db, store, old.id == 0, was, is, err)) {
        return false;
    }
    if (store->next >= KV_SEQUENCE_MAX) {
        return gb_fail(err, GB_QUOTA_EXCEEDED,
                       "the key-value store \"%.*s\" has been written too often",
                       (int)store->label_len, store->label);
    }
    uint64_t version = store->next++;
    bool is_new = old.id == 0;
    sqlite3_stmt *s = db->statements[is_new ? KV_INSERT : KV_UPDATE];
    const void *bytes = value.len ? (const void *)value.ptr : "";
    int rc;
    if (is_new) {
        sqlite3_bind_int64(s, 1, (store->id << KV_SEQUENCE_BITS) + (int64_t)version);
        sqlite3_bind_int64(s, 2, store->id);
        rc = sqlite3_bind_blob(s, 3, key.len ? (const void *)key.ptr : "", (int)key.len,
                               SQLITE_STATIC);
        sqlite3_bind_int64(s, 4, (int64_t)version);
        rc = rc ? rc : sqlite3_bind_blob(s, 5, bytes, (int)value.len, SQLITE_STATIC);
    } else {
        sqlite3_bind_int64(s, 1, old.id);
        sqlite3_bind_int64(s, 2, (int64_t)version);
        rc = sqlite3_bind_blob(s, 3, bytes, (int)value.len, SQLITE_STATIC);
    }
    if (rc != SQLITE_OK) {
        return kv_db_fail(db, rc, err);
    }
    if (!kv_db_do(db, is_new ? KV_INSERT : KV_UPDATE, err)) {
        return false;
    }
    store->keys += is_new;
    count(db, store, was, is);
    return true;
}

static bool remove_one(struct kv_db *db, struct kv_store *store, struct gb_span key,
                       struct gb_error **err) {
    struct found old;
    if (!find(db, store, key, &old, err)) {
        return false;
    }
    if (old.id == 0) {
        return true;
    }
    sqlite3_bind_int64(db->statements[KV_REMOVE], 1, old.id);
    if (!kv_db_do(db, KV_REMOVE, err)) {
        return false;
    }
    store->keys = minus(store->keys, 1);
    count(db, store, old.value_len + key.len + GB_KV_ENTRY_BYTES, 0);
    return true;
}

/* -?[0-9]{1,19}, and nothing else. */
static bool number_of(struct gb_span text, int64_t *ret) {
    size_t at = text.len > 0 && text.ptr[0] == '-';
    bool negative = at == 1;
    int64_t n = 0;
    if (at == text.len || text.len - at > 19) {
        return false;
    }
    for (; at < text.len; at++) {
        int digit = text.ptr[at] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_sub_overflow(n, digit, &n)) { /* downwards: the lowest has no counterpart */
            return false;
        }
    }
    return negative || !__builtin_sub_overflow(0, n, &n) ? (*ret = n, true) : false;
}

static bool increment(struct kv_db *db, struct gb_kv_request *r, struct kv_store *store,
                      struct gb_error **err) {
    struct gb_span key = r->spec.entries[0].key;
    struct gb_kv_item item = {.key = key};
    int64_t number = 0;
    bool ok = read_one(db, r, store, &item, err);
    if (ok && item.found && !number_of(item.value, &number)) {
        gb_fail(err, GB_INVALID_ARGUMENT, "the value of \"%.*s\" is no number", GB_SPAN_ARG(key));
        ok = gb_hint(err, "Only decimal numbers of 64 bits can be incremented.");
    }
    gb_free(item.block);
    if (!ok) {
        return false;
    }
    if (__builtin_add_overflow(number, r->spec.delta, &number)) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "the number \"%.*s\" would overflow",
                       GB_SPAN_ARG(key));
    }
    char text[24];
    int len = snprintf(text, sizeof text, "%lld", (long long)number);
    r->answer.number = number;
    return write_one(db, store, key, gb_span_make(text, (size_t)len), err);
}

static bool swap(struct kv_db *db, struct gb_kv_request *r, struct kv_store *store,
                 struct gb_error **err) {
    const struct gb_kv_entry *entry = &r->spec.entries[0];
    struct found now;
    if (!find(db, store, entry->key, &now, err) || !items_new(r, 1, err)) {
        return false;
    }
    r->items[0].key = entry->key;
    r->answer.items_len = 1;
    if (now.version != r->spec.version) { /* versions begin with 1 */
        return read_one(db, r, store, &r->items[0], err);
    }
    if (!write_one(db, store, entry->key, entry->value, err)) {
        return false;
    }
    r->answer.swapped = true;
    r->items[0].found = true;
    r->items[0].version = store->next - 1;
    return true;
}

static bool write_entries(struct kv_db *db, struct gb_kv_request *r, struct gb_error **err) {
    struct kv_store *store = kv_db_store(db, r->spec.label);
    if (!store && r->spec.verb == GB_KV_DELETE) {
        return true;
    }
    if (!store) {
        store = kv_db_store_make(db, r->spec.label, err);
    }
    if (!store) {
        return false;
    }
    if (r->spec.verb == GB_KV_INCREMENT) {
        return increment(db, r, store, err);
    }
    if (r->spec.verb == GB_KV_SWAP) {
        return swap(db, r, store, err);
    }
    for (size_t i = 0; i < r->spec.entries_len; i++) {
        const struct gb_kv_entry *e = &r->spec.entries[i];
        bool ok = r->spec.verb == GB_KV_SET ? write_one(db, store, e->key, e->value, err)
                                            : remove_one(db, store, e->key, err);
        if (!ok) {
            return false;
        }
    }
    return true;
}

/* All or nothing, and the others of the transaction keep what they wrote. */
static bool write_saved(struct kv_db *db, struct gb_kv_request *r, struct gb_error **err) {
    struct kv_store *store = kv_db_store(db, r->spec.label);
    struct kv_store was = store ? *store : (struct kv_store){0};
    size_t stores_len = db->stores_len;
    uint64_t bytes = db->bytes;
    if (!kv_db_do(db, KV_SAVE, err)) {
        return false;
    }
    if (write_entries(db, r, err)) {
        return kv_db_do(db, KV_SAVE_END, err);
    }
    /* Where SQLite has ended the transaction itself, there is nothing to go back to. */
    if (sqlite3_get_autocommit(db->sql) || !kv_db_do(db, KV_SAVE_UNDO, NULL) ||
        !kv_db_do(db, KV_SAVE_END, NULL)) {
        db->unusable = true;
        return false;
    }
    if (store) {
        *store = was;
    }
    db->stores_len = stores_len;
    db->bytes = bytes;
    return false;
}

bool kv_op_run(struct kv_db *db, struct gb_kv_request *r, struct gb_error **err) {
    if (kv_verb_writes(r->spec.verb)) {
        return write_saved(db, r, err);
    }
    return r->spec.verb == GB_KV_KEYS ? read_page(db, r, err) : read_entries(db, r, err);
}
