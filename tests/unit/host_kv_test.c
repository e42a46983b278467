/* SPDX-License-Identifier: Apache-2.0 */
/* Key-value stores: what each request does, quotas, isolation, queues, cancelling, the ledger. */
#include "kv_harness.h"

#define MIB ((uint64_t)1 << 20)

static void values_are_kept_byte_by_byte(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    assert_string_equal(get(t, "a"), "-");
    assert_int_equal(set(t, "a", "1"), GB_OK);
    assert_int_equal(set(t, "a", "two"), GB_OK);
    assert_int_equal(set(t, "", "no name"), GB_OK);
    assert_int_equal(set(t, "nothing", ""), GB_OK);
    assert_string_equal(get(t, "a"), "two");
    assert_string_equal(get(t, ""), "no name");
    assert_string_equal(get(t, "nothing"), "");
    struct gb_kv_entry keys[] = {{.key = gb_span_make("\0\xff", 2), .value = gb_span_make("\0", 1)},
                                 {.key = gb_span_make("\0", 1), .value = gb_span_make("'\"", 2)}};
    assert_int_equal(
        tell(t, (struct gb_kv_spec){.verb = GB_KV_SET, .entries = keys, .entries_len = 2}), GB_OK);
    enum gb_code code;
    struct gb_kv_request *r = ask(
        t, (struct gb_kv_spec){.verb = GB_KV_GET, .entries = keys, .entries_len = 2}, &code);
    const struct gb_kv_answer *a = gb_kv_request_answer(r);
    assert_int_equal(a->items_len, 2);
    assert_true(gb_span_eq(a->items[0].value, keys[0].value));
    assert_true(gb_span_eq(a->items[1].value, keys[1].value));
    gb_kv_request_drop(r);
    assert_int_equal(del(t, "a"), GB_OK);
    assert_int_equal(del(t, "a"), GB_OK);
    assert_string_equal(get(t, "a"), "-");
    shop_again(&s);
    t = tenant(&s, "acme", MIB, 0);
    assert_string_equal(get(t, ""), "no name");
    assert_string_equal(get(t, "a"), "-");
    shop_free(&s);
}

static void check_private(const char *path, void *user) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    (*(int *)user)++;
}

static void names_of_tenants_lead_nowhere(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    const char *const names[] = {"../up", "a/b", "a b", "\xc3\xa4", "A", "a", ".", "", "-",
                                 "very-long-name-very-long-name-very-long-name-very-long-name-1",
                                 "very-long-name-very-long-name-very-long-name-very-long-name-2"};
    size_t len = sizeof names / sizeof names[0];
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(set(tenant(&s, names[i], MIB, 0), "who", names[i]), GB_OK);
    }
    shop_again(&s);
    for (size_t i = 0; i < len; i++) {
        assert_string_equal(get(tenant(&s, names[i], MIB, 0), "who"), names[i]);
    }
    int files = 0;
    shop_files(&s, check_private, &files);
    assert_true(files >= (int)len);
    shop_free(&s); /* fails if there is a file elsewhere */
}

static void labels_and_tenants_do_not_meet(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t[2] = {tenant(&s, "one", MIB, 0), tenant(&s, "two", MIB, 0)};
    const char *const labels[] = {"default", "cache", "Default", "default "};
    char value[32];
    for (int i = 0; i < 8; i++) {
        snprintf(value, sizeof value, "value %d", i);
        assert_int_equal(set_in(t[i % 2], labels[i / 2], "key", gb_span_of(value)), GB_OK);
    }
    for (int i = 0; i < 8; i++) {
        snprintf(value, sizeof value, "value %d", i);
        assert_string_equal(get_in(t[i % 2], labels[i / 2], "key"), value);
    }
    assert_string_equal(get_in(t[0], "other", "key"), "-");
    assert_int_equal(del(t[0], "key"), GB_OK);
    assert_string_equal(get_in(t[0], "cache", "key"), "value 2");
    assert_string_equal(get_in(t[1], "default", "key"), "value 1");
    enum gb_code code;
    struct gb_kv_request *r = ask(
        t[0], (struct gb_kv_spec){.verb = GB_KV_KEYS, .label = gb_span_of("default")}, &code);
    assert_int_equal(gb_kv_request_answer(r)->items_len, 0);
    gb_kv_request_drop(r);
    shop_free(&s);
}

static void fill(struct gb_kv_tenant *t, unsigned first, unsigned len) {
    static char names[GB_KV_ENTRIES_MAX][16];
    static struct gb_kv_entry entries[GB_KV_ENTRIES_MAX];
    for (unsigned i = 0; i < len; i++) {
        snprintf(names[i], sizeof names[i], "key %u", first + i);
        entries[i] = (struct gb_kv_entry){gb_span_of(names[i]), gb_span_of(names[i])};
    }
    assert_int_equal(
        tell(t, (struct gb_kv_spec){.verb = GB_KV_SET, .entries = entries, .entries_len = len}),
        GB_OK);
}

static void keys_come_in_pages(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", 16 * MIB, 0);
    assert_int_equal(set_in(t, "other", "key x", gb_span_of("")), GB_OK);
    fill(t, 0, 1000);
    fill(t, 1000, 1000);
    assert_int_equal(set_in(t, "other", "key y", gb_span_of("")), GB_OK);
    fill(t, 2000, 500);
    fill(t, 100, 100); /* set again: they stay where they are */
    assert_int_equal(del(t, "key 700"), GB_OK);
    uint64_t after = 0;
    unsigned seen = 0;
    unsigned pages = 0;
    do {
        enum gb_code code;
        struct gb_kv_request *r = ask(
            t, (struct gb_kv_spec){.verb = GB_KV_KEYS, .keys_max = 700, .after = after}, &code);
        const struct gb_kv_answer *a = gb_kv_request_answer(r);
        for (size_t i = 0; i < a->items_len; i++) {
            char name[16];
            seen += seen == 700;
            snprintf(name, sizeof name, "key %u", seen++);
            assert_true(gb_span_is(a->items[i].key, name));
        }
        after = a->next;
        gb_kv_request_drop(r);
        assert_true(++pages <= 4);
    } while (after);
    assert_int_equal(seen, 2500);
    assert_int_equal(pages, 4);
    enum gb_code code;
    struct gb_kv_request *r = ask(
        t, (struct gb_kv_spec){.verb = GB_KV_KEYS, .after = UINT64_MAX}, &code);
    assert_int_equal(gb_kv_request_answer(r)->items_len, 0);
    gb_kv_request_drop(r);
    shop_free(&s);
}

static void numbers_are_incremented(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    int64_t n;
    assert_int_equal(increment(t, "n", 5, &n), GB_OK);
    assert_int_equal(n, 5);
    assert_int_equal(increment(t, "n", -12, &n), GB_OK);
    assert_int_equal(n, -7);
    assert_string_equal(get(t, "n"), "-7");
    assert_int_equal(set(t, "n", "-9223372036854775808"), GB_OK);
    assert_int_equal(increment(t, "n", -1, &n), GB_INVALID_ARGUMENT);
    assert_int_equal(increment(t, "n", INT64_MAX, &n), GB_OK);
    assert_int_equal(n, -1);
    assert_int_equal(set(t, "n", "9223372036854775807"), GB_OK);
    assert_int_equal(increment(t, "n", 1, &n), GB_INVALID_ARGUMENT);
    assert_string_equal(get(t, "n"), "9223372036854775807");
    const char *const bad[] = {"", "-", "1 ", " 1", "+1", "0x1", "1.0", "9223372036854775808",
                               "-9223372036854775809", "99999999999999999999", "one"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(set(t, "n", bad[i]), GB_OK);
        assert_int_equal(increment(t, "n", 1, &n), GB_INVALID_ARGUMENT);
        assert_string_equal(get(t, "n"), bad[i]);
    }
    shop_free(&s);
}

/* ---- compare and swap ---- */

static uint64_t version_of(struct gb_kv_tenant *t, const char *key) {
    struct gb_kv_entry e = {.key = gb_span_of(key)};
    enum gb_code code;
    struct gb_kv_request *r = ask(
        t, (struct gb_kv_spec){.verb = GB_KV_GET, .entries = &e, .entries_len = 1}, &code);
    uint64_t version = gb_kv_request_answer(r)->items[0].version;
    gb_kv_request_drop(r);
    return version;
}

static bool swap(struct gb_kv_tenant *t, const char *key, uint64_t version, const char *value) {
    struct gb_kv_entry e = {gb_span_of(key), gb_span_of(value)};
    enum gb_code code;
    struct gb_kv_request *r = ask(
        t,
        (struct gb_kv_spec){
            .verb = GB_KV_SWAP, .entries = &e, .entries_len = 1, .version = version},
        &code);
    assert_int_equal(code, GB_OK);
    bool swapped = gb_kv_request_answer(r)->swapped;
    uint64_t now = gb_kv_request_answer(r)->items[0].version;
    gb_kv_request_drop(r);
    assert_int_equal(version_of(t, key), now);
    return swapped;
}

static void a_swap_sees_every_change_between(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    assert_int_equal(version_of(t, "k"), 0);
    assert_true(swap(t, "k", 0, "1"));
    assert_false(swap(t, "k", 0, "again"));
    uint64_t version = version_of(t, "k");
    assert_true(swap(t, "k", version, "2"));
    assert_false(swap(t, "k", version, "3"));
    assert_string_equal(get(t, "k"), "2");
    version = version_of(t, "k");
    assert_int_equal(set(t, "k", "other"), GB_OK);
    assert_int_equal(set(t, "k", "2"), GB_OK); /* the same value, yet not the same */
    assert_false(swap(t, "k", version, "3"));
    version = version_of(t, "k");
    assert_int_equal(del(t, "k"), GB_OK);
    assert_false(swap(t, "k", version, "3"));
    assert_int_equal(set(t, "k", "2"), GB_OK);
    shop_again(&s);
    t = tenant(&s, "acme", MIB, 0);
    assert_false(swap(t, "k", version, "3"));
    assert_true(swap(t, "k", version_of(t, "k"), "3"));
    shop_free(&s);
}

/* ---- many at once ---- */

struct writer {
    struct gb_kv_tenant *t;
    int rounds, refused;
};

static void *add_and_swap(void *user) {
    struct writer *w = user;
    for (int i = 0; i < w->rounds; i++) {
        int64_t n;
        if (increment(w->t, "sum", 1, &n) != GB_OK) {
            w->refused++;
        }
        for (bool swapped = false; !swapped;) {
            struct gb_kv_entry e = {.key = gb_span_of("swapped")};
            enum gb_code code;
            struct gb_kv_request *r = ask(
                w->t, (struct gb_kv_spec){.verb = GB_KV_GET, .entries = &e, .entries_len = 1},
                &code);
            const struct gb_kv_item *now = &gb_kv_request_answer(r)->items[0];
            char text[24] = "1";
            if (now->found) {
                snprintf(text, sizeof text, "%d", (int)strtol((char *)now->block, NULL, 10) + 1);
            }
            e.value = gb_span_of(text);
            struct gb_kv_spec spec = {
                .verb = GB_KV_SWAP, .entries = &e, .entries_len = 1, .version = now->version};
            gb_kv_request_drop(r);
            r = ask(w->t, spec, &code);
            swapped = gb_kv_request_answer(r)->swapped;
            gb_kv_request_drop(r);
        }
    }
    return NULL;
}

static void threads_lose_no_update(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    pthread_t threads[4];
    struct writer w[4];
    for (int i = 0; i < 4; i++) {
        w[i] = (struct writer){.t = t, .rounds = 50};
        assert_int_equal(pthread_create(&threads[i], NULL, add_and_swap, &w[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(w[i].refused, 0);
    }
    assert_string_equal(get(t, "sum"), "200");
    assert_string_equal(get(t, "swapped"), "200");
    shop_free(&s);
}

static void quotas_hold_for_all_that_is_set(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    uint64_t each = GB_KV_ENTRY_BYTES + 2 + 34;
    const char *value = "0123456789012345678901234567890123";
    struct gb_kv_tenant *t = tenant(&s, "acme", 3 * each, 0);
    assert_int_equal(set(t, "k1", value), GB_OK);
    assert_int_equal(set_in(t, "other", "k2", gb_span_of(value)), GB_OK);
    assert_int_equal(set(t, "k3", value), GB_OK);
    assert_int_equal(set(t, "k4", ""), GB_QUOTA_EXCEEDED);
    assert_int_equal(set_in(t, "third", "k4", gb_span_of("")), GB_QUOTA_EXCEEDED);
    assert_int_equal(set(t, "k3", "01234567890123456789012345678901234"), GB_QUOTA_EXCEEDED);
    assert_string_equal(get(t, "k3"), value);
    int64_t n;
    assert_int_equal(increment(t, "k5", 1, &n), GB_QUOTA_EXCEEDED);
    assert_int_equal(set(t, "k3", ""), GB_OK);
    assert_int_equal(set(t, "k3", value), GB_OK);
    /* All or nothing. */
    struct gb_kv_entry both[] = {{gb_span_of("k1"), gb_span_of("")},
                                 {gb_span_of("k6"), gb_span_of(value)}};
    struct gb_kv_spec many = {.verb = GB_KV_SET, .entries = both, .entries_len = 2};
    assert_int_equal(tell(t, many), GB_QUOTA_EXCEEDED);
    assert_string_equal(get(t, "k1"), value);
    assert_int_equal(del(t, "k3"), GB_OK);
    assert_int_equal(tell(t, many), GB_OK);
    shop_again(&s); /* what was counted is kept */
    t = tenant(&s, "acme", 3 * each, 0);
    assert_int_equal(set(t, "k7", ""), GB_QUOTA_EXCEEDED);
    assert_int_equal(set(t, "k1", value), GB_OK);
    /* A lower quota refuses to grow, no more. */
    t = tenant(&s, "acme", each, 0);
    assert_int_equal(set(t, "k1", value), GB_OK);
    assert_int_equal(set(t, "k1", ""), GB_OK);
    assert_int_equal(set(t, "k1", "x"), GB_QUOTA_EXCEEDED);
    /* Keys. */
    t = tenant(&s, "acme", MIB, 2);
    assert_int_equal(set(t, "k8", ""), GB_QUOTA_EXCEEDED);
    assert_int_equal(set(t, "k1", value), GB_OK);
    assert_int_equal(set_in(t, "other", "k8", gb_span_of("")), GB_OK);
    assert_int_equal(set_in(t, "other", "k9", gb_span_of("")), GB_QUOTA_EXCEEDED);
    shop_free(&s);
}

static void *set_until_refused(void *user) {
    struct writer *w = user;
    char key[32];
    for (int i = 0; i < w->rounds; i++) {
        snprintf(key, sizeof key, "%p %d", (void *)w, i);
        w->refused += set(w->t, key, "value") != GB_OK;
    }
    return NULL;
}

static void a_quota_is_not_passed_by_a_crowd(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 100);
    pthread_t threads[4];
    struct writer w[4];
    for (int i = 0; i < 4; i++) {
        w[i] = (struct writer){.t = t, .rounds = 50};
        assert_int_equal(pthread_create(&threads[i], NULL, set_until_refused, &w[i]), 0);
    }
    int refused = 0;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        refused += w[i].refused;
    }
    assert_int_equal(refused, 100);
    enum gb_code code;
    struct gb_kv_request *r = ask(t, (struct gb_kv_spec){.verb = GB_KV_KEYS}, &code);
    assert_int_equal(gb_kv_request_answer(r)->items_len, 100);
    gb_kv_request_drop(r);
    shop_free(&s);
}

/* ---- sizes ---- */

static void what_is_too_large_is_refused_at_once(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", 64 * MIB, 0);
    char *big = gb_calloc(1, GB_KV_VALUE_BYTES_MAX + 2, NULL);
    memset(big, 'x', GB_KV_VALUE_BYTES_MAX + 1);
    struct gb_kv_entry e = {gb_span_make(big, GB_KV_KEY_BYTES_MAX + 1), gb_span_of("")};
    struct gb_kv_spec spec = {.verb = GB_KV_SET, .entries = &e, .entries_len = 1};
    assert_int_equal(tell(t, spec), GB_INVALID_ARGUMENT);
    spec.verb = GB_KV_GET;
    assert_int_equal(tell(t, spec), GB_INVALID_ARGUMENT);
    spec.verb = GB_KV_SET;
    e = (struct gb_kv_entry){gb_span_make(big, GB_KV_KEY_BYTES_MAX),
                             gb_span_make(big, GB_KV_VALUE_BYTES_MAX + 1)};
    assert_int_equal(tell(t, spec), GB_INVALID_ARGUMENT);
    e.value.len--;
    assert_int_equal(tell(t, spec), GB_OK);
    spec.label = gb_span_make(big, GB_KV_LABEL_BYTES_MAX + 1);
    assert_int_equal(tell(t, spec), GB_INVALID_ARGUMENT);
    spec.label.len--;
    assert_int_equal(tell(t, spec), GB_OK);
    spec.label.len = 0;
    struct gb_kv_entry *all = gb_calloc(GB_KV_ENTRIES_MAX + 1, sizeof *all, NULL);
    spec.entries = all;
    spec.entries_len = GB_KV_ENTRIES_MAX + 1;
    assert_int_equal(tell(t, spec), GB_INVALID_ARGUMENT);
    spec.entries_len--;
    assert_int_equal(tell(t, spec), GB_OK); /* one key, set 1,024 times */
    for (int i = 0; i < 9; i++) {
        all[i].value = gb_span_make(big, GB_KV_VALUE_BYTES_MAX);
    }
    spec.entries_len = 9;
    assert_int_equal(tell(t, spec), GB_INVALID_ARGUMENT);
    for (int i = 0; i < 9; i++) { /* and so may an answer not be larger */
        all[i] = (struct gb_kv_entry){.key = e.key};
    }
    spec.verb = GB_KV_GET;
    assert_int_equal(tell(t, spec), GB_INVALID_ARGUMENT);
    spec.entries_len = 7;
    assert_int_equal(tell(t, spec), GB_OK);
    char label[16];
    for (unsigned i = 2; i <= GB_KV_LABELS_MAX; i++) {
        snprintf(label, sizeof label, "label %u", i);
        enum gb_code code = set_in(t, label, "k", gb_span_of(""));
        assert_int_equal(code, i < GB_KV_LABELS_MAX ? GB_OK : GB_QUOTA_EXCEEDED);
    }
    gb_free(all);
    gb_free(big);
    shop_free(&s);
}

/* ---- queues ---- */

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool entered, open;
};

/* Holds the thread of the store. */
static void gate_done(void *user) {
    struct gate *g = user;
    pthread_mutex_lock(&g->lock);
    g->entered = true;
    pthread_cond_broadcast(&g->changed);
    while (!g->open) {
        pthread_cond_wait(&g->changed, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
}

static struct gb_kv_request *gate_close(struct gate *g, struct gb_kv_tenant *t) {
    struct gb_kv_spec spec = {
        .verb = GB_KV_KEYS, .label = gb_span_of("gate"), .done = gate_done, .user = g};
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
    g->entered = g->open = false;
    struct gb_kv_request *r = gb_kv_submit(t, &spec, NULL);
    assert_non_null(r);
    pthread_mutex_lock(&g->lock);
    while (!g->entered) {
        pthread_cond_wait(&g->changed, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return r;
}

static void gate_open(struct gate *g) {
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static void writes_that_wait_share_a_commit(void **state) {
    (void)state;
    struct shop s;
    shop_folder(&s);
    s.options.threads = 1;
    shop_open(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    struct gate g;
    struct gb_kv_request *held = gate_close(&g, t);
    struct waiter w = WAITER_INIT;
    struct gb_kv_request *r[200];
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        struct gb_kv_entry e = {gb_span_of(key), gb_span_of(key)};
        r[i] = gb_kv_submit(t,
                            &(struct gb_kv_spec){.verb = GB_KV_SET,
                                                 .label = gb_span_of("default"),
                                                 .entries = &e,
                                                 .entries_len = 1,
                                                 .done = waiter_done,
                                                 .user = &w},
                            NULL);
        assert_non_null(r[i]);
    }
    gate_open(&g);
    waiter_wait(&w, 200);
    struct gb_kv_totals totals = gb_kv_totals(s.kv);
    assert_int_equal(totals.commits, 1);
    assert_int_equal(totals.writes, 200);
    for (int i = 0; i < 200; i++) {
        gb_kv_request_drop(r[i]);
    }
    gb_kv_request_drop(held);
    assert_string_equal(get(t, "k199"), "k199");
    shop_free(&s);
}

static void a_full_queue_refuses_and_what_is_dropped_does_not_happen(void **state) {
    (void)state;
    struct shop s;
    shop_folder(&s);
    s.options.threads = 1;
    shop_open(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    struct gb_kv_tenant *other = tenant(&s, "other", MIB, 0);
    struct gate g;
    struct gb_kv_request *held = gate_close(&g, t);
    struct waiter w = WAITER_INIT;
    struct gb_kv_entry e = {gb_span_of("k"), gb_span_of("v")};
    struct gb_kv_spec spec = {.verb = GB_KV_SET,
                              .label = gb_span_of("default"),
                              .entries = &e,
                              .entries_len = 1,
                              .done = waiter_done,
                              .user = &w};
    static struct gb_kv_request *r[GB_KV_QUEUE_MAX];
    for (unsigned i = 0; i < GB_KV_QUEUE_MAX; i++) {
        r[i] = gb_kv_submit(t, &spec, NULL);
        assert_non_null(r[i]);
    }
    struct gb_error *err = NULL;
    assert_null(gb_kv_submit(t, &spec, &err));
    assert_int_equal(err->code, GB_OVERLOADED);
    gb_error_clear(&err);
    struct gb_kv_request *theirs = gb_kv_submit(other, &spec, NULL);
    assert_non_null(theirs);
    for (unsigned i = 0; i < GB_KV_QUEUE_MAX; i++) {
        gb_kv_request_drop(r[i]);
    }
    assert_int_equal(gb_kv_totals(s.kv).waiting, 1);
    gate_open(&g);
    waiter_wait(&w, 1);
    gb_kv_request_drop(held);
    gb_kv_request_drop(theirs);
    assert_string_equal(get(t, "k"), "-");
    assert_string_equal(get(other, "k"), "v");
    assert_int_equal(w.calls, 1);
    shop_free(&s);
}

struct slot {
    struct gb_kv_request *_Atomic request;
};

static void drop_from_within(void *user) {
    struct slot *slot = user;
    while (!slot->request) { /* submit has not returned yet */
        usleep(100);
    }
    gb_kv_request_drop(slot->request);
    slot->request = NULL;
}

static void a_request_may_be_dropped_at_any_time(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    struct waiter w = WAITER_INIT;
    struct gb_kv_entry e = {gb_span_of("k"), gb_span_of("v")};
    for (int i = 0; i < 300; i++) {
        struct gb_kv_spec spec = {.verb = i % 2 ? GB_KV_SET : GB_KV_GET,
                                  .label = gb_span_of("default"),
                                  .entries = &e,
                                  .entries_len = 1,
                                  .done = waiter_done,
                                  .user = &w};
        struct gb_kv_request *r = gb_kv_submit(t, &spec, NULL);
        usleep((unsigned)(i % 30) * 10);
        gb_kv_request_drop(r);
        int calls = w.calls; /* none after drop */
        usleep(50);
        assert_int_equal(w.calls, calls);
    }
    struct slot slot = {NULL};
    struct gb_kv_spec spec = {.verb = GB_KV_KEYS,
                              .label = gb_span_of("default"),
                              .done = drop_from_within,
                              .user = &slot};
    struct gb_kv_request *r = gb_kv_submit(t, &spec, NULL);
    slot.request = r;
    while (slot.request) {
        usleep(100);
    }
    shop_free(&s);
}

static void few_databases_are_open_at_a_time(void **state) {
    (void)state;
    struct shop s;
    shop_folder(&s);
    s.options.open_max = 3;
    shop_open(&s);
    char name[24];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 12; i++) {
            snprintf(name, sizeof name, "tenant-%d", i);
            int64_t n;
            assert_int_equal(increment(tenant(&s, name, MIB, 0), "n", 1, &n), GB_OK);
            assert_int_equal(n, round + 1);
            assert_true(gb_kv_totals(s.kv).open <= 4);
        }
    }
    shop_free(&s);
}

static void busy_tenants_share_few_open_databases(void **state) {
    (void)state;
    struct shop s;
    struct gb_kv_tenant *tenants[12];
    static struct gb_kv_request *r[12][20];
    struct waiter w = WAITER_INIT;
    shop_folder(&s);
    s.options.open_max = 3;
    shop_open(&s);
    for (int i = 0; i < 12; i++) {
        char name[24];
        snprintf(name, sizeof name, "tenant-%d", i);
        tenants[i] = tenant(&s, name, MIB, 0);
    }
    struct gb_kv_entry e = {.key = gb_span_of("n")};
    struct gb_kv_spec spec = {.verb = GB_KV_INCREMENT,
                              .label = gb_span_of("default"),
                              .entries = &e,
                              .entries_len = 1,
                              .delta = 1,
                              .done = waiter_done,
                              .user = &w};
    for (int k = 0; k < 20; k++) {
        for (int i = 0; i < 12; i++) {
            r[i][k] = gb_kv_submit(tenants[i], &spec, NULL);
            assert_non_null(r[i][k]);
            assert_true(gb_kv_totals(s.kv).open <= 3 + 2); /* and one that each thread opens */
        }
    }
    waiter_wait(&w, 12 * 20);
    assert_true(gb_kv_totals(s.kv).open <= 3 + 2);
    for (int i = 0; i < 12; i++) {
        for (int k = 0; k < 20; k++) {
            assert_null(gb_kv_request_error(r[i][k]));
            gb_kv_request_drop(r[i][k]);
        }
        assert_string_equal(get(tenants[i], "n"), "20");
    }
    shop_free(&s);
}

static void requests_and_answers_are_charged(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    struct gb_account *account = gb_account_new("acme", NULL, 20000, NULL);
    static char value[12000];
    struct gb_kv_entry e[] = {{gb_span_of("k"), gb_span_make(value, sizeof value)},
                              {.key = gb_span_of("k")}};
    struct gb_kv_spec spec = {
        .verb = GB_KV_SET, .entries = e, .entries_len = 1, .account = account};
    assert_int_equal(tell(t, spec), GB_OK);
    assert_int_equal(gb_account_used(account), 0);
    assert_true(gb_account_peak(account) > sizeof value);
    spec.verb = GB_KV_GET;
    enum gb_code code;
    struct gb_kv_request *r = ask(t, spec, &code);
    assert_int_equal(code, GB_OK);
    assert_true(gb_account_used(account) > sizeof value);
    gb_kv_request_drop(r);
    spec.entries = (struct gb_kv_entry[]){e[1], e[1]};
    spec.entries_len = 2;
    assert_int_equal(tell(t, spec), GB_BUDGET_EXCEEDED); /* the answer */
    spec.verb = GB_KV_SET;
    spec.entries = (struct gb_kv_entry[]){e[0], e[0]};
    assert_int_equal(tell(t, spec), GB_BUDGET_EXCEEDED); /* the request */
    assert_int_equal(gb_account_used(account), 0);
    gb_account_unref(account);
    shop_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_kept_byte_by_byte),
        cmocka_unit_test(names_of_tenants_lead_nowhere),
        cmocka_unit_test(labels_and_tenants_do_not_meet),
        cmocka_unit_test(keys_come_in_pages),
        cmocka_unit_test(numbers_are_incremented),
        cmocka_unit_test(a_swap_sees_every_change_between),
        cmocka_unit_test(threads_lose_no_update),
        cmocka_unit_test(quotas_hold_for_all_that_is_set),
        cmocka_unit_test(a_quota_is_not_passed_by_a_crowd),
        cmocka_unit_test(what_is_too_large_is_refused_at_once),
        cmocka_unit_test(writes_that_wait_share_a_commit),
        cmocka_unit_test(a_full_queue_refuses_and_what_is_dropped_does_not_happen),
        cmocka_unit_test(a_request_may_be_dropped_at_any_time),
        cmocka_unit_test(few_databases_are_open_at_a_time),
        cmocka_unit_test(busy_tenants_share_few_open_databases),
        cmocka_unit_test(requests_and_answers_are_charged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
