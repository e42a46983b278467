/* SPDX-License-Identifier: Apache-2.0 */
/* The table of requests that kill workers, and what a request is. */
#include "model/quarantine.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "model/worker_internal.h"

struct entry {
    uint8_t key[GB_QUARANTINE_KEY_BYTES];
    uint32_t deaths; /* 0: free */
    uint64_t last_us;
};
struct gb_quarantine {
    _Atomic uint32_t refused; /* entries with deaths enough; read without the lock */
    pthread_mutex_t lock;
    struct entry entries[GB_QUARANTINE_MAX];
};

struct gb_quarantine *gb_quarantine_new(struct gb_error **err) {
    struct gb_quarantine *q = gb_calloc(1, sizeof *q, err);
    if (q) {
        pthread_mutex_init(&q->lock, NULL);
    }
    return q;
}

void gb_quarantine_free(struct gb_quarantine *q) {
    if (q) {
        pthread_mutex_destroy(&q->lock);
        gb_free(q);
    }
}

/* ---- the table ---- */

static void entry_clear(struct gb_quarantine *q, struct entry *e) {
    if (e->deaths >= GB_QUARANTINE_DEATHS) {
        atomic_fetch_sub(&q->refused, 1);
    }
    e->deaths = 0;
}

/* The entry of that key, or the one to overwrite: free, else the least recently counted. Drops what
 * is too old on the way. */
static struct entry *find(struct gb_quarantine *q, const uint8_t *key, uint64_t now_us,
                          bool *ret_found) {
    struct entry *spare = &q->entries[0];
    *ret_found = false;
    for (size_t i = 0; i < GB_QUARANTINE_MAX; i++) {
        struct entry *e = &q->entries[i];
        if (e->deaths > 0 && now_us >= e->last_us && now_us - e->last_us >= GB_QUARANTINE_US) {
            entry_clear(q, e);
        }
        if (e->deaths > 0 && memcmp(e->key, key, sizeof e->key) == 0) {
            *ret_found = true;
            return e;
        }
        if (spare->deaths > 0 && (e->deaths == 0 || e->last_us < spare->last_us)) {
            spare = e;
        }
    }
    return spare;
}

bool gb_quarantine_count(struct gb_quarantine *q, const uint8_t key[GB_QUARANTINE_KEY_BYTES],
                         uint64_t now_us) {
    bool found = false;
    pthread_mutex_lock(&q->lock);
    struct entry *e = find(q, key, now_us, &found);
    if (!found) {
        entry_clear(q, e);
        memcpy(e->key, key, sizeof e->key);
    }
    e->last_us = now_us;
    if (++e->deaths == GB_QUARANTINE_DEATHS) {
        atomic_fetch_add(&q->refused, 1);
    }
    bool refused = e->deaths >= GB_QUARANTINE_DEATHS;
    pthread_mutex_unlock(&q->lock);
    return refused;
}

uint64_t gb_quarantine_left(struct gb_quarantine *q, const uint8_t key[GB_QUARANTINE_KEY_BYTES],
                            uint64_t now_us) {
    bool found = false;
    pthread_mutex_lock(&q->lock);
    const struct entry *e = find(q, key, now_us, &found);
    uint64_t left = 0;
    if (found && e->deaths >= GB_QUARANTINE_DEATHS) {
        left = e->last_us + GB_QUARANTINE_US - now_us;
    }
    pthread_mutex_unlock(&q->lock);
    return left;
}

/* ---- requests ---- */

/* A call's account lies below its tenant's; names of tenants are unique and outlive addresses. */
static const char *tenant_of(const struct gb_job *job) {
    const struct gb_account *parent = job->account ? gb_account_parent(job->account) : NULL;
    const struct gb_account *tenant = parent ? parent : job->account;
    return tenant ? gb_account_name(tenant) : "";
}

static bool key_of(const struct gb_job *job, uint8_t key[GB_QUARANTINE_KEY_BYTES]) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const char *tenant = tenant_of(job);
    const struct gb_worker *w = job->worker;
    unsigned len = 0;
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(ctx, tenant, strlen(tenant) + 1) == 1 &&
              EVP_DigestUpdate(ctx, w->digest, strlen(w->digest) + 1) == 1;
    for (size_t i = 0; ok && i < job->inputs_len; i++) {
        const struct gb_job_tensor *t = &job->tensors[i];
        const uint64_t head[] = {t->rank, t->bytes};
        ok = EVP_DigestUpdate(ctx, head, sizeof head) == 1 &&
             EVP_DigestUpdate(ctx, t->dims, t->rank * sizeof t->dims[0]) == 1 &&
             (!t->mem || EVP_DigestUpdate(ctx, gb_mem_ptr(t->mem), (size_t)t->bytes) == 1);
    }
    ok = ok && EVP_DigestFinal_ex(ctx, key, &len) == 1 && len == GB_QUARANTINE_KEY_BYTES;
    EVP_MD_CTX_free(ctx);
    return ok;
}

/* Of one worker. */
static bool same_request(const struct gb_job *a, const struct gb_job *b) {
    bool same = strcmp(tenant_of(a), tenant_of(b)) == 0;
    for (size_t i = 0; same && i < a->inputs_len; i++) {
        const struct gb_job_tensor *x = &a->tensors[i];
        const struct gb_job_tensor *y = &b->tensors[i];
        same = x->rank == y->rank && x->bytes == y->bytes && !x->mem == !y->mem &&
               memcmp(x->dims, y->dims, x->rank * sizeof x->dims[0]) == 0 &&
               (!x->mem || memcmp(gb_mem_ptr(x->mem), gb_mem_ptr(y->mem), (size_t)x->bytes) == 0);
    }
    return same;
}

static void refuse(const struct gb_worker *w, uint64_t left_us, struct gb_error **err) {
    gb_fail(err, GB_BACKEND_LOST,
            "this request ended the worker of model \"%s\" %u times and is quarantined for %llu s",
            w->name, GB_QUARANTINE_DEATHS, (unsigned long long)((left_us + 999999) / 1000000));
    gb_hint(err, "The same inputs are refused until then, others are served; check them, or the "
                 "model.");
}

bool gb_quarantine_admits(struct gb_job *job, struct gb_error **err) {
    struct gb_quarantine *q = job->worker->hub->quarantine;
    uint8_t key[GB_QUARANTINE_KEY_BYTES];
    if (atomic_load_explicit(&q->refused, memory_order_relaxed) == 0 || !key_of(job, key)) {
        return true;
    }
    uint64_t left_us = gb_quarantine_left(q, key, gb_now_us());
    if (left_us > 0) {
        refuse(job->worker, left_us, err);
    }
    return left_us == 0;
}

void gb_quarantine_on_death_locked(struct gb_worker *w) {
    struct gb_job *job = w->flights_len > 0 ? w->flights[0] : NULL;
    uint8_t key[GB_QUARANTINE_KEY_BYTES];
    if (!job || GB_MIN(w->flights_len, w->threads) != 1 || job->stage != GB_STAGE_RUNNING ||
        !key_of(job, key) || !gb_quarantine_count(w->hub->quarantine, key, gb_now_us())) {
        return;
    }
    gb_log(GB_LOG_WARN, "a request of \"%s\" ended the worker of model \"%s\" again: quarantined",
           tenant_of(job), w->name);
    for (struct gb_job *other = w->queue_first, *next; other; other = next) {
        next = other->next;
        if (same_request(job, other)) {
            struct gb_error *e = NULL;
            refuse(w, GB_QUARANTINE_US, &e);
            gb_job_dequeue_locked(w, other);
            gb_job_end_locked(other, e);
        }
    }
    if (!job->resolved) {
        struct gb_error *e = NULL;
        refuse(w, GB_QUARANTINE_US, &e);
        gb_job_resolve_locked(job, e);
    }
}
