/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the key-value store share: a folder of their own, and requests that are waited for.
 * Ownership: `struct shop` holds all; answers are the request's. */
#ifndef KV_HARNESS_H
#define KV_HARNESS_H

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka wants those before it. */
#include <cmocka.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "host/kv.h"

struct shop {
    char folder[128];
    struct gb_kv_options options;
    struct gb_kv *kv;
};

static inline void shop_open(struct shop *s) {
    struct gb_error *e = NULL;
    s->options.state_dir = s->folder;
    s->kv = gb_kv_new(&s->options, &e);
    if (!s->kv) {
        fail_msg("%s", e->message);
    }
}

static inline void shop_again(struct shop *s) {
    gb_kv_free(s->kv);
    shop_open(s);
}

static inline void shop_folder(struct shop *s) {
    *s = (struct shop){0};
    /* In memory where that can be: what a disk keeps is not seen from here, only waited for. */
    const char *under = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : GB_TEST_BINARY_DIR;
    snprintf(s->folder, sizeof s->folder, "%s/glovebox-kv-XXXXXX", under);
    assert_non_null(mkdtemp(s->folder));
}

static inline void shop_new(struct shop *s) {
    shop_folder(s);
    shop_open(s);
}

/* Calls `each` with the path of every file of the store. */
static inline void shop_files(const struct shop *s, void (*each)(const char *path, void *user),
                              void *user) {
    char path[512];
    snprintf(path, sizeof path, "%s/kv", s->folder);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (d->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/kv/%s", s->folder, d->d_name);
            each(path, user);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

static inline void shop_unlink(const char *path, void *user) {
    (void)user;
    unlink(path);
}

static inline void shop_free(struct shop *s) {
    gb_kv_free(s->kv);
    shop_files(s, shop_unlink, NULL);
    char path[160];
    snprintf(path, sizeof path, "%s/kv", s->folder);
    rmdir(path);
    assert_int_equal(rmdir(s->folder), 0);
}

static inline struct gb_kv_tenant *tenant(struct shop *s, const char *name, uint64_t bytes_max,
                                          uint64_t keys_max) {
    struct gb_kv_limits limits = {.bytes_max = bytes_max, .keys_max = keys_max};
    struct gb_kv_tenant *t = gb_kv_tenant(s->kv, name, &limits, NULL);
    assert_non_null(t);
    return t;
}

/* ---- a request that is waited for ---- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t done;
    int calls;
};

#define WAITER_INIT {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

static inline void waiter_done(void *user) {
    struct waiter *w = user;
    pthread_mutex_lock(&w->lock);
    w->calls++;
    pthread_cond_broadcast(&w->done);
    pthread_mutex_unlock(&w->lock);
}

static inline void waiter_wait(struct waiter *w, int calls) {
    pthread_mutex_lock(&w->lock);
    while (w->calls < calls) {
        pthread_cond_wait(&w->done, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
}

/* Answered, or NULL with *code set to why it was not taken. */
static inline struct gb_kv_request *ask(struct gb_kv_tenant *t, struct gb_kv_spec spec,
                                        enum gb_code *code) {
    struct waiter w = WAITER_INIT;
    struct gb_error *e = NULL;
    spec.label = spec.label.len ? spec.label : gb_span_of("default");
    spec.done = waiter_done;
    spec.user = &w;
    struct gb_kv_request *r = gb_kv_submit(t, &spec, &e);
    if (!r) {
        *code = e ? e->code : GB_OK;
        gb_error_free(e);
        return NULL;
    }
    waiter_wait(&w, 1);
    assert_true(gb_kv_request_answered(r));
    const struct gb_error *failed = gb_kv_request_error(r);
    *code = failed ? failed->code : GB_OK;
    return r;
}

/* Its code only. */
static inline enum gb_code tell(struct gb_kv_tenant *t, struct gb_kv_spec spec) {
    enum gb_code code;
    gb_kv_request_drop(ask(t, spec, &code));
    return code;
}

static inline enum gb_code set_in(struct gb_kv_tenant *t, const char *label, const char *key,
                                  struct gb_span value) {
    struct gb_kv_entry e = {gb_span_of(key), value};
    return tell(t, (struct gb_kv_spec){.verb = GB_KV_SET,
                                       .label = gb_span_of(label),
                                       .entries = &e,
                                       .entries_len = 1});
}

static inline enum gb_code set(struct gb_kv_tenant *t, const char *key, const char *value) {
    return set_in(t, "default", key, gb_span_of(value));
}

static inline enum gb_code del(struct gb_kv_tenant *t, const char *key) {
    struct gb_kv_entry e = {.key = gb_span_of(key)};
    return tell(t, (struct gb_kv_spec){.verb = GB_KV_DELETE, .entries = &e, .entries_len = 1});
}

/* "-" where there is none, "!" and the code where it failed; until the next call. */
static inline const char *get_in(struct gb_kv_tenant *t, const char *label, const char *key) {
    static char text[4096];
    struct gb_kv_entry e = {.key = gb_span_of(key)};
    enum gb_code code;
    struct gb_kv_request *r = ask(
        t,
        (struct gb_kv_spec){
            .verb = GB_KV_GET, .label = gb_span_of(label), .entries = &e, .entries_len = 1},
        &code);
    if (code != GB_OK) {
        snprintf(text, sizeof text, "!%s", gb_code_text(code));
    } else {
        const struct gb_kv_item *item = &gb_kv_request_answer(r)->items[0];
        snprintf(text, sizeof text, "%.*s", item->found ? (int)item->value.len : 1,
                 item->found ? (const char *)item->value.ptr : "-");
    }
    gb_kv_request_drop(r);
    return text;
}

static inline const char *get(struct gb_kv_tenant *t, const char *key) {
    return get_in(t, "default", key);
}

static inline enum gb_code increment(struct gb_kv_tenant *t, const char *key, int64_t delta,
                                     int64_t *ret) {
    struct gb_kv_entry e = {.key = gb_span_of(key)};
    enum gb_code code;
    struct gb_kv_request *r = ask(
        t,
        (struct gb_kv_spec){
            .verb = GB_KV_INCREMENT, .entries = &e, .entries_len = 1, .delta = delta},
        &code);
    *ret = r ? gb_kv_request_answer(r)->number : 0;
    gb_kv_request_drop(r);
    return code;
}

#endif
