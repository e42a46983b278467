/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queues of the key-value stores, and the threads that empty them. A tenant has two queues,
 * for reads and writes, and at most one thread at a time; what waits in one of them runs as one
 * transaction. Tenants with work stand in line, and after a batch again at its end.
 */
#include "host/kv.h"

#include <errno.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/num.h"
#include "host/kv_internal.h"
#include "model/digest.h"
#include "sandbox/cache.h"

#define THREADS_MAX 16u
#define BATCH_MAX 256u            /* requests of one transaction */
#define BATCH_BYTES_MAX (16u << 20) /* their keys and values */
#define KEYS_MAX_DEFAULT 1048576u

struct queue {
    struct gb_kv_request *first, *last;
};

struct gb_kv_tenant {
    struct gb_kv *kv;
    struct gb_kv_tenant *next;       /* of all */
    struct gb_kv_tenant *next_ready; /* in line */
    char *name, *path;
    struct gb_kv_limits limits;
    struct queue reads, writes;
    bool reads_are_next; /* when both wait, they take turns */
    bool running, in_line;
    size_t waiting;
    uint64_t waiting_bytes;
    uint64_t used_at; /* the batch of the store that used it last */
    bool is_open;
    struct kv_db db; /* the running thread's */
};

struct gb_kv {
    pthread_mutex_t lock;
    pthread_cond_t wanted; /* a tenant stands in line, or the end */
    pthread_cond_t called; /* a `done` has returned */
    bool stopping;
    struct gb_kv_tenant *tenants;
    struct gb_kv_tenant *line_first, *line_last;
    char *folder;
    const char *vfs;
    uint32_t open_max;
    uint64_t batches;
    struct gb_kv_totals totals;
    uint32_t threads_len;
    pthread_t threads[THREADS_MAX];
};

/* ---- queues; under the lock ---- */

static void queue_add(struct queue *q, struct gb_kv_request *r) {
    r->before = q->last;
    r->after_this = NULL;
    *(q->last ? &q->last->after_this : &q->first) = r;
    q->last = r;
}

static void queue_remove(struct queue *q, struct gb_kv_request *r) {
    *(r->before ? &r->before->after_this : &q->first) = r->after_this;
    *(r->after_this ? &r->after_this->before : &q->last) = r->before;
    r->before = r->after_this = NULL;
}

static void line_up(struct gb_kv_tenant *t) {
    struct gb_kv *kv = t->kv;
    if (t->running || t->in_line || (!t->reads.first && !t->writes.first)) {
        return;
    }
    t->in_line = true;
    t->next_ready = NULL;
    *(kv->line_last ? &kv->line_last->next_ready : &kv->line_first) = t;
    kv->line_last = t;
    pthread_cond_signal(&kv->wanted);
}

static struct gb_kv_tenant *line_take(struct gb_kv *kv) {
    struct gb_kv_tenant *t = kv->line_first;
    kv->line_first = t->next_ready;
    kv->line_last = kv->line_first ? kv->line_last : NULL;
    t->in_line = false;
    return t;
}

/* No longer counted against its tenant's queue. */
static void uncount(struct gb_kv_request *r) {
    r->tenant->waiting--;
    r->tenant->waiting_bytes -= r->bytes_len;
    r->tenant->kv->totals.waiting--;
}

static void batch_take(struct gb_kv_tenant *t, struct queue *ret_batch) {
    bool reads = t->reads.first && (t->reads_are_next || !t->writes.first);
    struct queue *q = reads ? &t->reads : &t->writes;
    size_t len = 0;
    uint64_t bytes = 0;
    *ret_batch = (struct queue){0};
    while (q->first && len < BATCH_MAX && bytes < BATCH_BYTES_MAX) {
        struct gb_kv_request *r = q->first;
        queue_remove(q, r);
        uncount(r);
        r->state = KV_RUNNING;
        bytes += r->bytes_len;
        len++;
        queue_add(ret_batch, r);
    }
    t->reads_are_next = !reads;
}

/* ---- requests ---- */

static void request_free(struct gb_kv_request *r) {
    if (r->spec.account) {
        gb_uncharge(r->spec.account, GB_CHARGE_VALUE, r->charged);
        gb_account_unref(r->spec.account);
    }
    for (size_t i = 0; r->items && i < r->answer.items_len; i++) {
        gb_free(r->items[i].block);
    }
    gb_free(r->items);
    gb_error_free(r->error);
    gb_free(r->bytes);
    gb_free(r->entries);
    gb_free(r);
}

static struct gb_span keep(struct gb_span from, uint8_t **to) {
    uint8_t *at = *to;
    if (from.len > 0) {
        memcpy(at, from.ptr, from.len);
    }
    *to += from.len;
    return gb_span_make(at, from.len);
}

static bool request_copy(struct gb_kv_request *r, const struct gb_kv_spec *spec, size_t bytes,
                         struct gb_error **err) {
    bool sets = spec->verb == GB_KV_SET || spec->verb == GB_KV_SWAP;
    r->bytes = gb_alloc(bytes, err); /* a label has at least one */
    r->entries = r->bytes ? gb_calloc(spec->entries_len + 1, sizeof *r->entries, err) : NULL;
    if (!r->entries) {
        return false;
    }
    uint8_t *to = r->bytes;
    r->spec.label = keep(spec->label, &to);
    for (size_t i = 0; i < spec->entries_len; i++) {
        r->entries[i].key = keep(spec->entries[i].key, &to);
        if (sets) {
            r->entries[i].value = keep(spec->entries[i].value, &to);
        }
    }
    r->spec.entries = r->entries;
    r->bytes_len = bytes;
    return true;
}

static struct gb_kv_request *request_new(struct gb_kv_tenant *t, const struct gb_kv_spec *spec,
                                         struct gb_error **err) {
    size_t bytes;
    if (!kv_op_check(spec, &bytes, err)) {
        return NULL;
    }
    uint64_t charge = sizeof(struct gb_kv_request) + bytes +
                      spec->entries_len * sizeof *spec->entries;
    if (spec->account && !gb_charge(spec->account, GB_CHARGE_VALUE, charge, err)) {
        return NULL;
    }
    struct gb_kv_request *r = gb_calloc(1, sizeof *r, err);
    if (!r) {
        if (spec->account) {
            gb_uncharge(spec->account, GB_CHARGE_VALUE, charge);
        }
        return NULL;
    }
    r->tenant = t;
    r->spec = *spec;
    r->spec.account = spec->account ? gb_account_ref(spec->account) : NULL;
    r->charged = spec->account ? charge : 0;
    if (!request_copy(r, spec, bytes, err)) {
        request_free(r);
        return NULL;
    }
    return r;
}

struct gb_kv_request *gb_kv_submit(struct gb_kv_tenant *t, const struct gb_kv_spec *spec,
                                   struct gb_error **err) {
    struct gb_kv_request *r = request_new(t, spec, err);
    if (!r) {
        return NULL;
    }
    pthread_mutex_lock(&t->kv->lock);
    bool full = t->waiting >= GB_KV_QUEUE_MAX ||
                t->waiting_bytes + r->bytes_len > GB_KV_QUEUE_BYTES_MAX;
    if (!full) {
        t->waiting++;
        t->waiting_bytes += r->bytes_len;
        t->kv->totals.waiting++;
        queue_add(kv_verb_writes(spec->verb) ? &t->writes : &t->reads, r);
        line_up(t);
    }
    pthread_mutex_unlock(&t->kv->lock);
    if (full) {
        request_free(r);
        gb_fail(err, GB_OVERLOADED, "too many requests to the key-value stores of tenant \"%s\"",
                t->name);
        gb_hint(err, "At most %u wait, or %u bytes; try again later.", GB_KV_QUEUE_MAX,
                GB_KV_QUEUE_BYTES_MAX);
        return NULL;
    }
    return r;
}

/* The thread of the store whose `done` this is, if it is one. */
static _Thread_local struct gb_kv_request *calling;

void gb_kv_request_drop(struct gb_kv_request *r) {
    if (!r) {
        return;
    }
    struct gb_kv *kv = r->tenant->kv;
    bool free_it = true;
    pthread_mutex_lock(&kv->lock);
    if (r->state == KV_WAITING) {
        queue_remove(kv_verb_writes(r->spec.verb) ? &r->tenant->writes : &r->tenant->reads, r);
        uncount(r);
    } else if (r->state == KV_RUNNING || calling == r) {
        r->dropped = true;
        free_it = false;
    } else {
        while (r->state != KV_ANSWERED) {
            pthread_cond_wait(&kv->called, &kv->lock);
        }
    }
    pthread_mutex_unlock(&kv->lock);
    if (free_it) {
        request_free(r);
    }
}

bool gb_kv_request_answered(const struct gb_kv_request *r) {
    return atomic_load_explicit(&r->answered, memory_order_acquire);
}

const struct gb_error *gb_kv_request_error(const struct gb_kv_request *r) {
    return r->error;
}

const struct gb_kv_answer *gb_kv_request_answer(const struct gb_kv_request *r) {
    return &r->answer;
}

/* Tells whoever waits, unless nobody does any more. */
static void answer(struct gb_kv_request *r) {
    struct gb_kv *kv = r->tenant->kv;
    pthread_mutex_lock(&kv->lock);
    kv->totals.answered++;
    kv->totals.failed += r->error != NULL;
    bool call = !r->dropped;
    if (call) {
        r->state = KV_CALLING;
        atomic_store_explicit(&r->answered, true, memory_order_release);
    }
    pthread_mutex_unlock(&kv->lock);
    if (call) {
        calling = r;
        if (r->spec.done) {
            r->spec.done(r->spec.user);
        }
        calling = NULL;
        pthread_mutex_lock(&kv->lock);
        r->state = KV_ANSWERED;
        call = !r->dropped;
        pthread_cond_broadcast(&kv->called);
        pthread_mutex_unlock(&kv->lock);
    }
    if (!call) {
        request_free(r);
    }
}

/* ---- a batch ---- */

/* All of a batch fail alike; what they had been answered does not hold. */
static void batch_fail(struct queue *batch, struct gb_error *e) {
    for (struct gb_kv_request *r = batch->first; r; r = r->after_this) {
        if (!r->error) {
            r->error = gb_error_copy(e);
        }
    }
    gb_error_free(e);
}

/* Whether a later request may go on after the error of this one. */
static bool batch_goes_on(const struct kv_db *db) {
    return !db->unusable && !sqlite3_get_autocommit(db->sql);
}

/* True when it has been committed; then the errors of single requests are theirs alone. */
static bool batch_in_transaction(struct gb_kv_tenant *t, struct queue *batch, bool writes,
                                 struct gb_error **err) {
    if (!kv_db_do(&t->db, writes ? KV_BEGIN_WRITE : KV_BEGIN_READ, err)) {
        return false;
    }
    for (struct gb_kv_request *r = batch->first; r; r = r->after_this) {
        if (!kv_op_run(&t->db, r, &r->error) && !batch_goes_on(&t->db)) {
            return gb_error_move(err, gb_error_copy(r->error));
        }
    }
    return kv_db_commit(&t->db, err);
}

static bool batch_may_write(const struct gb_kv_tenant *t, struct gb_error **err) {
    if (!t->db.sync_failed) {
        return true;
    }
    gb_fail(err, GB_IO, "the key-value stores of tenant \"%s\" are not written any more", t->name);
    return gb_hint(err, "The disk has failed to keep a write. See to the disk, then start again.");
}

static void batch_run(struct gb_kv_tenant *t, struct queue *batch) {
    struct gb_error *e = NULL;
    bool writes = kv_verb_writes(batch->first->spec.verb);
    if ((writes && !batch_may_write(t, &e)) ||
        (!t->is_open && !kv_db_open(&t->db, t->path, t->kv->vfs, t->name, &e))) {
        batch_fail(batch, e);
        return;
    }
    t->is_open = true;
    if (!batch_in_transaction(t, batch, writes, &e)) {
        kv_db_rollback(&t->db);
        batch_fail(batch, e);
    }
    /* After a failed sync it stays open as it is: opening again would take what was not kept on
     * the disk, but still is in the page cache, for what was. */
    if (t->db.unusable && !t->db.sync_failed) {
        kv_db_close(&t->db);
        t->is_open = false;
    }
}

/* ---- threads ---- */

/* The open database that has waited longest, made this thread's; NULL: there is room. */
static struct gb_kv_tenant *eviction(struct gb_kv *kv) {
    struct gb_kv_tenant *oldest = NULL;
    uint32_t open = 0;
    for (struct gb_kv_tenant *t = kv->tenants; t; t = t->next) {
        open += t->running || t->is_open;
        if (!t->running && t->is_open && !t->db.sync_failed &&
            (!oldest || t->used_at < oldest->used_at)) {
            oldest = t;
        }
    }
    if (open <= kv->open_max || !oldest) {
        return NULL;
    }
    oldest->running = true;
    return oldest;
}

static void evict(struct gb_kv *kv, struct gb_kv_tenant *t) {
    pthread_mutex_unlock(&kv->lock);
    kv_db_close(&t->db);
    pthread_mutex_lock(&kv->lock);
    t->is_open = false;
    t->running = false;
    line_up(t); /* it may have stood there, and have been passed over */
}

/* Under the lock, which it gives up while it works. */
static void tenant_run(struct gb_kv *kv, struct gb_kv_tenant *t) {
    struct queue batch;
    batch_take(t, &batch);
    t->running = true;
    t->used_at = ++kv->batches;
    t->db.limits = t->limits;
    struct gb_kv_tenant *old = t->is_open ? NULL : eviction(kv);
    if (old) {
        evict(kv, old);
    }
    pthread_mutex_unlock(&kv->lock);
    uint64_t len = 0;
    bool writes = kv_verb_writes(batch.first->spec.verb);
    batch_run(t, &batch);
    for (struct gb_kv_request *r = batch.first; r; r = r->after_this) {
        len += r->error == NULL;
    }
    pthread_mutex_lock(&kv->lock);
    kv->totals.writes += writes ? len : 0;
    kv->totals.commits += writes && len > 0;
    t->running = false;
    line_up(t);
    pthread_mutex_unlock(&kv->lock);
    for (struct gb_kv_request *r = batch.first; r;) {
        struct gb_kv_request *next = r->after_this;
        answer(r);
        r = next;
    }
    pthread_mutex_lock(&kv->lock);
}

static void *thread_main(void *user) {
    struct gb_kv *kv = user;
    pthread_mutex_lock(&kv->lock);
    for (;;) {
        while (!kv->line_first && !kv->stopping) {
            pthread_cond_wait(&kv->wanted, &kv->lock);
        }
        if (!kv->line_first) {
            break;
        }
        struct gb_kv_tenant *t = line_take(kv);
        /* Requests may have been dropped meanwhile; what is being closed comes back. */
        if (!t->running && (t->reads.first || t->writes.first)) {
            tenant_run(kv, t);
        }
    }
    pthread_mutex_unlock(&kv->lock);
    return NULL;
}

static bool threads_start(struct gb_kv *kv, uint32_t threads, struct gb_error **err) {
    for (uint32_t i = 0; i < threads; i++) {
        pthread_t *thread = &kv->threads[i];
        int eno = gb_sys(GB_SYS_THREAD, errno, pthread_create(thread, NULL, thread_main, kv));
        if (eno != 0) {
            return gb_fail_errno(err, GB_IO, eno, "could not start a thread: %s", strerror(eno));
        }
        pthread_setname_np(*thread, "gb-kv");
        kv->threads_len++;
    }
    return true;
}

/* ---- the store ---- */

struct gb_kv *gb_kv_new(const struct gb_kv_options *options, struct gb_error **err) {
    const char *vfs = options->vfs ? options->vfs : kv_vfs_name();
    if (!vfs || !sqlite3_threadsafe()) {
        gb_fail(err, GB_INTERNAL, "SQLite could not be set up");
        return NULL;
    }
    struct gb_kv *kv = gb_calloc(1, sizeof *kv, err);
    if (!kv) {
        return NULL;
    }
    pthread_mutex_init(&kv->lock, NULL);
    pthread_cond_init(&kv->wanted, NULL);
    pthread_cond_init(&kv->called, NULL);
    kv->vfs = vfs;
    kv->open_max = options->open_max ? options->open_max : 64;
    kv->folder = gb_format(err, "%s/kv", options->state_dir);
    uint32_t threads = options->threads ? options->threads : 2;
    if (!kv->folder || !gb_make_private_dirs(kv->folder, err) ||
        !threads_start(kv, GB_MIN(threads, THREADS_MAX), err)) {
        gb_kv_free(kv);
        return NULL;
    }
    return kv;
}

void gb_kv_free(struct gb_kv *kv) {
    if (!kv) {
        return;
    }
    pthread_mutex_lock(&kv->lock);
    kv->stopping = true;
    pthread_cond_broadcast(&kv->wanted);
    pthread_mutex_unlock(&kv->lock);
    for (uint32_t i = 0; i < kv->threads_len; i++) {
        pthread_join(kv->threads[i], NULL);
    }
    while (kv->tenants) {
        struct gb_kv_tenant *t = kv->tenants;
        kv->tenants = t->next;
        kv_db_close(&t->db);
        gb_free(t->name);
        gb_free(t->path);
        gb_free(t);
    }
    pthread_cond_destroy(&kv->called);
    pthread_cond_destroy(&kv->wanted);
    pthread_mutex_destroy(&kv->lock);
    gb_free(kv->folder);
    gb_free(kv);
}

/* A name may be any text: of a file's name it gives the characters that are harmless, for whoever
 * lists the folder; its digest makes it this tenant's. */
static char *path_of(const struct gb_kv *kv, const char *name, struct gb_error **err) {
    char digest[GB_DIGEST_TEXT_BYTES];
    char shown[33] = "_"; /* never nothing, which would hide the file */
    size_t len = 0;
    for (const char *c = name; *c && len < sizeof shown - 1; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-';
        shown[len++] = plain ? *c : '_';
    }
    shown[len ? len : 1] = '\0';
    if (!gb_digest_sha256(gb_span_of(name), digest, err)) {
        return NULL;
    }
    return gb_format(err, "%s/%s.%.32s.db", kv->folder, shown, digest + strlen("sha256:"));
}

static struct gb_kv_tenant *tenant_new(struct gb_kv *kv, const char *name, struct gb_error **err) {
    struct gb_kv_tenant *t = gb_calloc(1, sizeof *t, err);
    if (!t) {
        return NULL;
    }
    t->kv = kv;
    t->name = gb_strdup(name, err);
    t->path = t->name ? path_of(kv, name, err) : NULL;
    if (!t->path) {
        gb_free(t->name);
        gb_free(t);
        return NULL;
    }
    t->next = kv->tenants;
    kv->tenants = t;
    return t;
}

struct gb_kv_tenant *gb_kv_tenant(struct gb_kv *kv, const char *name,
                                  const struct gb_kv_limits *limits, struct gb_error **err) {
    pthread_mutex_lock(&kv->lock);
    struct gb_kv_tenant *t = kv->tenants;
    while (t && strcmp(t->name, name) != 0) {
        t = t->next;
    }
    t = t ? t : tenant_new(kv, name, err);
    if (t) {
        t->limits = *limits;
        t->limits.keys_max = limits->keys_max ? limits->keys_max : KEYS_MAX_DEFAULT;
    }
    pthread_mutex_unlock(&kv->lock);
    return t;
}

struct gb_kv_totals gb_kv_totals(struct gb_kv *kv) {
    pthread_mutex_lock(&kv->lock);
    struct gb_kv_totals totals = kv->totals;
    for (struct gb_kv_tenant *t = kv->tenants; t; t = t->next) {
        totals.open += t->running || t->is_open; /* what runs is its thread's to know */
    }
    pthread_mutex_unlock(&kv->lock);
    return totals;
}
