/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key-value stores for guests: one SQLite database per tenant, in it one store per label. A write
 * is answered when it is on the disk; writes that wait together share one transaction and its one
 * fsync. A read sees every write that was answered before the read was submitted.
 *
 * Threads: submit, drop and the getters from any; `done` comes from a thread of the store.
 * Ownership: a request is its submitter's until gb_kv_request_drop; tenants live as long as the
 * store. Limits: below, and struct gb_kv_limits; enforced in the transaction that would break them.
 * Errors: quota-exceeded, overloaded, invalid-argument (keys, values, numbers), budget-exceeded
 * (the ledger), io (a disk that is full, fails, or holds a damaged database), internal (no memory).
 * After an fsync has failed, nothing more is written for that tenant until the host starts anew.
 */
#ifndef GB_HOST_KV_H
#define GB_HOST_KV_H

#include "base/error.h"
#include "base/span.h"
#include "ledger/ledger.h"

#define GB_KV_KEY_BYTES_MAX 256u
#define GB_KV_VALUE_BYTES_MAX (1u << 20)
#define GB_KV_LABEL_BYTES_MAX 64u
#define GB_KV_LABELS_MAX 256u             /* of a tenant */
#define GB_KV_ENTRIES_MAX 1024u           /* of one request; keys of one page */
#define GB_KV_REQUEST_BYTES_MAX (8u << 20) /* keys and values of one request, or of its answer */
#define GB_KV_ENTRY_BYTES 64u             /* what an entry counts for, beside its key and value */
#define GB_KV_QUEUE_MAX 1024u             /* requests of a tenant that wait */
#define GB_KV_QUEUE_BYTES_MAX (32u << 20) /* the same, their keys and values */

struct gb_kv_options {
    const char *state_dir; /* databases lie in its folder kv/, which is made */
    uint32_t threads;      /* 0: 2 */
    uint32_t open_max;     /* databases that are open at a time; 0: 64 */
    const char *vfs;       /* SQLite's name of the file system; NULL: our own. For tests */
};
struct gb_kv;
struct gb_kv *gb_kv_new(const struct gb_kv_options *options, struct gb_error **err);
void gb_kv_free(struct gb_kv *kv); /* when every request has been dropped */

struct gb_kv_limits {
    uint64_t bytes_max; /* of a tenant: keys, values and GB_KV_ENTRY_BYTES for each entry */
    uint64_t keys_max;  /* of one store; 0: 1048576 */
};
struct gb_kv_tenant;
/* The tenant of that name; limits replace those that it had. The database is opened when it is
 * first needed. */
struct gb_kv_tenant *gb_kv_tenant(struct gb_kv *kv, const char *name,
                                  const struct gb_kv_limits *limits, struct gb_error **err);

enum gb_kv_verb {
    GB_KV_GET,       /* one or more entries by key; each is one item of the answer */
    GB_KV_EXISTS,    /* the same, without the values */
    GB_KV_KEYS,      /* a page of keys, in the order in which they were first set */
    GB_KV_SET,       /* one or more, all or nothing */
    GB_KV_DELETE,    /* the same; what is not there is deleted already */
    GB_KV_INCREMENT, /* a decimal number; none counts as 0 */
    GB_KV_SWAP,      /* sets one entry if its version is still that one */
    GB_KV_VERB_COUNT
};
struct gb_kv_entry {
    struct gb_span key;
    struct gb_span value; /* SET, SWAP */
};
struct gb_kv_spec {
    enum gb_kv_verb verb;
    struct gb_span label;
    const struct gb_kv_entry *entries; /* copied */
    size_t entries_len;                /* INCREMENT and SWAP: 1; KEYS: 0 */
    int64_t delta;                     /* INCREMENT */
    uint64_t version;                  /* SWAP: as GET gave it; 0: the entry must not exist */
    uint64_t after;                    /* KEYS: `next` of the page before; 0: from the start */
    uint32_t keys_max;                 /* KEYS: at most that many; 0: GB_KV_ENTRIES_MAX */
    struct gb_account *account;        /* charged for the request and its answer; may be NULL */
    void (*done)(void *user);          /* once, when answered; not after gb_kv_request_drop */
    void *user;
};
struct gb_kv_request;
/* Refuses what breaks a limit of size before it is queued. `done` may come before this returns. */
struct gb_kv_request *gb_kv_submit(struct gb_kv_tenant *t, const struct gb_kv_spec *spec,
                                   struct gb_error **err);
/* Ends the caller's interest. A write that is under way may still happen, one that waits does
 * not. May wait for a `done` that is being called just now, unless it is called from there. */
void gb_kv_request_drop(struct gb_kv_request *r);

struct gb_kv_item {
    struct gb_span key;
    struct gb_span value; /* GET, and SWAP that failed: of the entry as it is */
    bool found;
    uint64_t version;     /* 0: not found */
    uint8_t *block;       /* the request's */
};
struct gb_kv_answer {
    const struct gb_kv_item *items; /* GET, EXISTS: as asked; KEYS; SWAP: one */
    size_t items_len;
    int64_t number; /* INCREMENT: what it is now */
    bool swapped;   /* SWAP */
    uint64_t next;  /* KEYS: `after` of the next page; 0: this was the last */
};
bool gb_kv_request_answered(const struct gb_kv_request *r);
/* Only of an answered request; borrowed. NULL: it succeeded. */
const struct gb_error *gb_kv_request_error(const struct gb_kv_request *r);
const struct gb_kv_answer *gb_kv_request_answer(const struct gb_kv_request *r);

struct gb_kv_totals {
    uint64_t answered;    /* requests */
    uint64_t failed;      /* of them with an error */
    uint64_t commits;     /* transactions that wrote */
    uint64_t writes;      /* requests that these made durable */
    uint64_t waiting;     /* requests now */
    uint64_t open;        /* databases now */
};
struct gb_kv_totals gb_kv_totals(struct gb_kv *kv);

#endif
