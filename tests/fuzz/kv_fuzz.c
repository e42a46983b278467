/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as requests to a key-value store - keys, values, numbers, pages - beside a list that is
 * kept in the plainest way: both answer the same.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "host/kv.h"

#define ENTRIES_MAX 64u
#define REQUESTS_MAX 48u

static void require(bool ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

/* ---- the list ---- */

struct entry {
    uint8_t key[256], value[256];
    size_t key_len, value_len;
};
static struct entry list[ENTRIES_MAX];
static size_t list_len;

static struct entry *list_find(struct gb_span key) {
    for (size_t i = 0; i < list_len; i++) {
        if (gb_span_eq(gb_span_make(list[i].key, list[i].key_len), key)) {
            return &list[i];
        }
    }
    return NULL;
}

static void list_set(struct gb_span key, struct gb_span value) {
    struct entry *e = list_find(key);
    if (!e) {
        e = &list[list_len++];
        memcpy(e->key, key.ptr, e->key_len = key.len);
    }
    memcpy(e->value, value.ptr, e->value_len = value.len);
}

static void list_remove(struct gb_span key) {
    struct entry *e = list_find(key);
    if (e) {
        memmove(e, e + 1, (size_t)(&list[--list_len] - e) * sizeof *e);
    }
}

/* ---- the store ---- */

static struct gb_kv *kv;
static struct gb_kv_tenant *tenant;
static char folder[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static bool is_answered;

static void done(void *user) {
    (void)user;
    pthread_mutex_lock(&lock);
    is_answered = true;
    pthread_cond_signal(&answered);
    pthread_mutex_unlock(&lock);
}

static struct gb_kv_request *ask(struct gb_kv_spec spec, enum gb_code *ret_code) {
    struct gb_error *err = NULL;
    is_answered = false;
    spec.label = spec.label.len ? spec.label : gb_span_of("default");
    spec.done = done;
    struct gb_kv_request *r = gb_kv_submit(tenant, &spec, &err);
    if (!r) {
        *ret_code = err->code;
        gb_error_free(err);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    while (!is_answered) {
        pthread_cond_wait(&answered, &lock);
    }
    pthread_mutex_unlock(&lock);
    const struct gb_error *failed = gb_kv_request_error(r);
    *ret_code = failed ? failed->code : GB_OK;
    return r;
}

static void clean(void) {
    gb_kv_free(kv);
    char path[512];
    snprintf(path, sizeof path, "%s/kv", folder);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        snprintf(path, sizeof path, "%s/kv/%s", folder, d->d_name);
        unlink(path);
    }
    if (dir) {
        closedir(dir);
    }
    snprintf(path, sizeof path, "%s/kv", folder);
    rmdir(path);
    rmdir(folder);
}

static void open_once(void) {
    const char *shm = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : ".";
    snprintf(folder, sizeof folder, "%s/glovebox-kv-XXXXXX", shm);
    require(mkdtemp(folder) != NULL, "a folder");
    struct gb_kv_options options = {.state_dir = folder, .threads = 1};
    struct gb_kv_limits limits = {.bytes_max = 1 << 20, .keys_max = ENTRIES_MAX};
    kv = gb_kv_new(&options, NULL);
    tenant = kv ? gb_kv_tenant(kv, "fuzz", &limits, NULL) : NULL;
    require(tenant != NULL, "a store");
    atexit(clean);
}

/* ---- both ---- */

/* Compares page by page; with `empty` nothing must be left after it. */
static void check_keys(uint32_t page, bool empty) {
    uint64_t after = 0;
    size_t seen = 0;
    do {
        enum gb_code code;
        struct gb_kv_request *r = ask(
            (struct gb_kv_spec){.verb = GB_KV_KEYS, .keys_max = page, .after = after}, &code);
        require(code == GB_OK, "a page");
        const struct gb_kv_answer *a = gb_kv_request_answer(r);
        for (size_t i = 0; i < a->items_len; i++) {
            require(empty || list_find(a->items[i].key) == &list[seen], "keys in their order");
            seen++;
            struct gb_kv_entry e = {.key = a->items[i].key};
            if (empty) {
                gb_kv_request_drop(ask(
                    (struct gb_kv_spec){.verb = GB_KV_DELETE, .entries = &e, .entries_len = 1},
                    &code));
            }
        }
        after = a->next;
        gb_kv_request_drop(r);
    } while (after);
    require(empty || seen == list_len, "as many keys");
}

static void check_value(struct gb_span key) {
    struct gb_kv_entry e = {.key = key};
    enum gb_code code;
    struct gb_kv_request *r = ask(
        (struct gb_kv_spec){.verb = GB_KV_GET, .entries = &e, .entries_len = 1}, &code);
    require(code == GB_OK, "a value");
    const struct gb_kv_item *item = &gb_kv_request_answer(r)->items[0];
    const struct entry *kept = list_find(key);
    require(item->found == (kept != NULL), "found or not");
    require(!kept || gb_span_eq(item->value, gb_span_make(kept->value, kept->value_len)),
            "the same value");
    gb_kv_request_drop(r);
}

static void one_request(unsigned verb, struct gb_span key, struct gb_span value) {
    struct gb_kv_entry e = {key, value};
    struct gb_kv_spec spec = {.entries = &e, .entries_len = 1};
    enum gb_code code;
    bool full = list_len == ENTRIES_MAX && !list_find(key);
    enum gb_code grown = full ? GB_QUOTA_EXCEEDED : GB_OK;
    if (verb == 0) {
        spec.verb = GB_KV_SET;
        gb_kv_request_drop(ask(spec, &code));
        require(code == grown, "a set");
        if (code == GB_OK) {
            list_set(key, value);
        }
    } else if (verb == 1) {
        spec.verb = GB_KV_DELETE;
        gb_kv_request_drop(ask(spec, &code));
        require(code == GB_OK, "a deletion");
        list_remove(key);
    } else if (verb == 2) {
        spec.verb = GB_KV_INCREMENT;
        spec.delta = value.len ? (int8_t)value.ptr[0] : 1;
        struct gb_kv_request *r = ask(spec, &code);
        char text[24];
        int len = snprintf(text, sizeof text, "%lld",
                           (long long)gb_kv_request_answer(r)->number);
        require(code == grown || (code == GB_INVALID_ARGUMENT && list_find(key)), "an increment");
        if (code == GB_OK) {
            list_set(key, gb_span_make(text, (size_t)len));
        }
        gb_kv_request_drop(r);
    } else if (verb == 3) {
        check_keys(value.len ? value.ptr[0] : 0, false);
    }
    check_value(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_once);
    list_len = 0;
    check_keys(0, true);
    /* Each request: what, how long its key and value are, and these. */
    size_t at = 0;
    for (unsigned i = 0; i < REQUESTS_MAX && at + 3 <= len; i++) {
        unsigned verb = bytes[at] % 4;
        size_t key_len = bytes[at + 1];
        size_t value_len = bytes[at + 2];
        at += 3;
        if (key_len + value_len > len - at) {
            break;
        }
        one_request(verb, gb_span_make(bytes + at, key_len),
                    gb_span_make(bytes + at + key_len, value_len));
        at += key_len + value_len;
    }
    check_keys(3, false);
    return 0;
}

#include "replay.h"
