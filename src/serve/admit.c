/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many calls run at once, of all tenants and of each, and who is next: tenants with somebody
 * waiting take turns, as many in a row as their weight says. A full queue refuses at once, with a
 * time to come back, rather than letting a client wait for nothing.
 *
 * Threads: any, one lock. Limits: host.calls; concurrency of a tenant and of a
 * component; a tenant's queue, rate, and inference each minute.
 */
#include "serve/serve_internal.h"

#define MINUTE_US 60000000u

void gb_admission_init(struct gb_admission *a, uint32_t running_max) {
    *a = (struct gb_admission){.running_max = running_max};
    pthread_mutex_init(&a->lock, NULL);
}

void gb_admission_fini(struct gb_admission *a) {
    pthread_mutex_destroy(&a->lock);
}

/* Under the lock. */
static bool take_token(struct gb_tenant *t, uint64_t now_us) {
    if (t->requests_per_second == 0) {
        return true;
    }
    t->tokens += (double)(now_us - t->tokens_at_us) * (double)t->requests_per_second / 1e6;
    t->tokens = GB_MIN(t->tokens, (double)t->burst);
    t->tokens_at_us = now_us;
    bool ok = t->tokens >= 1;
    t->tokens -= ok ? 1 : 0;
    return ok;
}

/* Under the lock. What runs when the minute's share ends may finish: its deadline bounds it. */
static bool has_inference(struct gb_tenant *t, uint64_t now_us) {
    if (now_us - t->minute_us >= MINUTE_US) {
        t->minute_us = now_us;
        t->inference_us = 0;
    }
    return t->inference_us_max == 0 || t->inference_us < t->inference_us_max;
}

bool gb_admit_rate(struct gb_admission *a, struct gb_tenant *t, struct gb_error **err) {
    pthread_mutex_lock(&a->lock);
    uint64_t now_us = gb_now_us();
    uint64_t per_second = t->requests_per_second;
    uint64_t inference_us_max = t->inference_us_max;
    bool has_token = take_token(t, now_us);
    bool ok = has_token && has_inference(t, now_us);
    pthread_mutex_unlock(&a->lock);
    if (!has_token) {
        gb_fail(err, GB_RATE_LIMITED, "the tenant may send %llu requests a second",
                (unsigned long long)per_second);
        return gb_hint(err, "Send fewer requests, or later.");
    }
    if (!ok) {
        gb_fail(err, GB_QUOTA_EXCEEDED, "the tenant's %llu ms of inference a minute are used up",
                (unsigned long long)(inference_us_max / 1000));
        return gb_hint(err, "Try again in a minute.");
    }
    return true;
}

/* ---- the queue, under the lock ---- */

static void join_round(struct gb_admission *a, struct gb_tenant *t) {
    t->in_round = true;
    t->turns = t->weight;
    t->next = NULL;
    *(a->round ? &a->round_last->next : &a->round) = t;
    a->round_last = t;
}

static void leave_round(struct gb_admission *a, struct gb_tenant *t) {
    struct gb_tenant *before = NULL;
    for (struct gb_tenant *at = a->round; at != t; at = at->next) {
        before = at;
    }
    *(before ? &before->next : &a->round) = t->next;
    a->round_last = a->round_last == t ? before : a->round_last;
    t->next = NULL;
    t->in_round = false;
}

static void push(struct gb_admission *a, struct gb_tenant *t, struct gb_exchange *x) {
    x->waiting_next = NULL;
    if (t->first) {
        t->last->waiting_next = x;
    } else {
        t->first = x;
    }
    t->last = x;
    t->waiting++;
    a->waiting++;
    if (!t->in_round) {
        join_round(a, t);
    }
}

/* The first tenant's turn is over: it goes to the end, or out when nobody of it waits. */
static void rotate(struct gb_admission *a) {
    struct gb_tenant *t = a->round;
    leave_round(a, t);
    if (t->first) {
        join_round(a, t);
    }
}

static bool may_run(const struct gb_admission *a, const struct gb_exchange *x) {
    const struct gb_tenant *t = x->tenant->tenant;
    const struct gb_app_component *c = x->route->component;
    return a->running < a->running_max && t->running < t->concurrency &&
           c->running < c->concurrency;
}

static void enter(struct gb_admission *a, struct gb_exchange *x) {
    a->running++;
    x->tenant->tenant->running++;
    x->route->component->running++;
}

/* Takes out what waits behind `before` (NULL: the first). */
static struct gb_exchange *pull(struct gb_admission *a, struct gb_tenant *t,
                                struct gb_exchange *before) {
    struct gb_exchange **place = before ? &before->waiting_next : &t->first;
    struct gb_exchange *x = *place;
    *place = x->waiting_next;
    t->last = t->last == x ? before : t->last;
    t->waiting--;
    a->waiting--;
    return x;
}

/* The tenant's first that may run: others may wait for a component that is busy. */
static struct gb_exchange *pull_ready(struct gb_admission *a, struct gb_tenant *t) {
    struct gb_exchange *before = NULL;
    for (struct gb_exchange *x = t->first; x; before = x, x = x->waiting_next) {
        if (may_run(a, x)) {
            return pull(a, t, before);
        }
    }
    return NULL;
}

/* Who runs next; NULL: nobody can. */
static struct gb_exchange *next(struct gb_admission *a) {
    size_t tenants = 0;
    for (struct gb_tenant *t = a->round; t; t = t->next) {
        tenants++;
    }
    for (size_t i = 0; i < 2 * tenants && a->round && a->running < a->running_max; i++) {
        struct gb_tenant *t = a->round;
        bool has_turn = t->turns > 0 && t->running < t->concurrency;
        struct gb_exchange *x = has_turn ? pull_ready(a, t) : NULL;
        if (!x) {
            rotate(a);
            continue;
        }
        t->turns--;
        enter(a, x);
        if (!t->first) {
            rotate(a); /* nobody waits: nothing may point to the tenant any more */
        }
        return x;
    }
    return NULL;
}

/* ---- looking ---- */

struct gb_load gb_admit_load(struct gb_admission *a) {
    pthread_mutex_lock(&a->lock);
    struct gb_load load = {.running = a->running, .waiting = a->waiting};
    pthread_mutex_unlock(&a->lock);
    return load;
}

struct gb_load gb_admit_load_of(struct gb_admission *a, const struct gb_tenant *t) {
    pthread_mutex_lock(&a->lock);
    struct gb_load load = {.running = t->running, .waiting = t->waiting};
    pthread_mutex_unlock(&a->lock);
    return load;
}

/* ---- coming and going ---- */

void gb_admission_close(struct gb_admission *a) {
    pthread_mutex_lock(&a->lock);
    a->running_max = 0;
    struct gb_tenant *round = a->round;
    a->round = NULL;
    pthread_mutex_unlock(&a->lock);
    for (struct gb_tenant *t = round, *after; t; t = after) {
        after = t->next;
        struct gb_exchange *x = t->first;
        t->first = NULL;
        t->in_round = false;
        while (x) {
            struct gb_exchange *behind = x->waiting_next;
            gb_exchange_unref(x); /* the tenant may go with the last */
            x = behind;
        }
    }
}

static bool refuse(struct gb_error **err) {
    gb_fail(err, GB_OVERLOADED, "too many requests wait for their turn");
    return gb_hint(err, "Try again later.");
}

bool gb_admit_has_room(struct gb_admission *a, const struct gb_exchange *x, struct gb_error **err) {
    const struct gb_tenant *t = x->tenant->tenant;
    pthread_mutex_lock(&a->lock);
    bool room = may_run(a, x) || t->waiting < t->queue_max;
    pthread_mutex_unlock(&a->lock);
    return room || refuse(err);
}

enum gb_admitted gb_admit(struct gb_admission *a, struct gb_exchange *x, struct gb_error **err) {
    struct gb_tenant *t = x->tenant->tenant;
    enum gb_admitted answer = GB_ADMITTED;
    pthread_mutex_lock(&a->lock);
    if (may_run(a, x)) { /* then nobody before it could: who leaves starts all who can */
        enter(a, x);
    } else if (t->waiting < t->queue_max) {
        gb_exchange_ref(x);
        push(a, t, x);
        answer = GB_ADMIT_WAITS;
    } else {
        answer = GB_ADMIT_REFUSED;
    }
    pthread_mutex_unlock(&a->lock);
    if (answer == GB_ADMIT_REFUSED) {
        (void)refuse(err);
    }
    return answer;
}

void gb_admit_forget(struct gb_admission *a, struct gb_exchange *x) {
    struct gb_tenant *t = x->tenant->tenant;
    struct gb_exchange *before = NULL;
    pthread_mutex_lock(&a->lock);
    struct gb_exchange *at = t->first;
    while (at && at != x) {
        before = at;
        at = at->waiting_next;
    }
    if (at) {
        (void)pull(a, t, before);
    }
    if (at && !t->first) {
        leave_round(a, t);
    }
    pthread_mutex_unlock(&a->lock);
    if (at) {
        gb_exchange_unref(x); /* the queue's */
    }
}

void gb_admit_leave(struct gb_admission *a, struct gb_exchange *x, uint64_t inference_us) {
    struct gb_exchange *first = NULL;
    struct gb_exchange **last = &first;
    pthread_mutex_lock(&a->lock);
    a->running--;
    x->tenant->tenant->running--;
    x->tenant->tenant->inference_us += inference_us;
    x->route->component->running--;
    for (struct gb_exchange *n; (n = next(a)) != NULL; last = &n->waiting_next) {
        n->waiting_next = NULL;
        *last = n;
    }
    pthread_mutex_unlock(&a->lock);
    while (first) {
        struct gb_exchange *n = first;
        first = n->waiting_next;
        gb_exchange_post(n, GB_POST_START); /* which takes over the queue's reference */
    }
}
