/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: a charge fits every level or changes none, whatever other threads do. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/log.h"
#include "ledger/ledger.h"

struct family {
    struct gb_account *host, *tenant, *call;
};

static struct family family_new(uint64_t host, uint64_t tenant, uint64_t call) {
    struct family f;
    f.host = gb_account_new("host", NULL, host, NULL);
    f.tenant = gb_account_new("tenant", f.host, tenant, NULL);
    f.call = gb_account_new("call", f.tenant, call, NULL);
    assert_non_null(f.call);
    return f;
}

static void family_free(struct family *f) {
    gb_account_unref(f->host); /* children hold their parents: any order will do */
    gb_account_unref(f->tenant);
    gb_account_unref(f->call);
}

static void assert_used(const struct family *f, uint64_t host, uint64_t tenant, uint64_t call) {
    assert_int_equal(gb_account_used(f->host), host);
    assert_int_equal(gb_account_used(f->tenant), tenant);
    assert_int_equal(gb_account_used(f->call), call);
}

static void a_charge_counts_at_every_level(void **state) {
    (void)state;
    struct family f = family_new(1000, 500, 300);
    assert_true(gb_charge(f.call, GB_CHARGE_MEMORY, 200, NULL));
    assert_true(gb_charge(f.tenant, GB_CHARGE_TENSOR, 50, NULL));
    assert_used(&f, 250, 250, 200);
    assert_int_equal(gb_account_used_for(f.host, GB_CHARGE_MEMORY), 200);
    assert_int_equal(gb_account_used_for(f.host, GB_CHARGE_TENSOR), 50);
    assert_int_equal(gb_account_used_for(f.call, GB_CHARGE_TENSOR), 0);
    gb_uncharge(f.call, GB_CHARGE_MEMORY, 200);
    gb_uncharge(f.tenant, GB_CHARGE_TENSOR, 50);
    assert_used(&f, 0, 0, 0);
    assert_int_equal(gb_account_peak(f.call), 200);
    assert_int_equal(gb_account_peak(f.host), 250);
    family_free(&f);
}

static void a_refusal_names_the_level_and_changes_nothing(void **state) {
    (void)state;
    struct family f = family_new(100, 500, 300);
    struct gb_error *e = NULL;
    assert_true(gb_charge(f.call, GB_CHARGE_TABLE, 40, &e));
    assert_false(gb_charge(f.call, GB_CHARGE_TABLE, 61, &e)); /* fits call and tenant, not host */
    assert_int_equal(e->code, GB_BUDGET_EXCEEDED);
    assert_non_null(strstr(e->message, "\"host\""));
    assert_non_null(strstr(e->message, "tables"));
    assert_non_null(e->hint);
    gb_error_clear(&e);
    assert_used(&f, 40, 40, 40);
    assert_int_equal(gb_account_used_for(f.tenant, GB_CHARGE_TABLE), 40);
    assert_true(gb_charge(f.call, GB_CHARGE_TABLE, 60, &e));
    assert_used(&f, 100, 100, 100);
    assert_false(gb_charge(f.call, GB_CHARGE_TABLE, 1, NULL));
    assert_false(gb_charge(f.call, GB_CHARGE_TABLE, UINT64_MAX, NULL)); /* no wrap-around */
    assert_used(&f, 100, 100, 100);
    gb_uncharge(f.call, GB_CHARGE_TABLE, 100);
    family_free(&f);
}

static void giving_back_too_much_is_clamped(void **state) {
    (void)state;
    struct family f = family_new(100, 100, 100);
    gb_log_set_level(GB_LOG_OFF);
    assert_true(gb_charge(f.call, GB_CHARGE_GRAPH, 10, NULL));
    gb_uncharge(f.call, GB_CHARGE_GRAPH, 1000);
    assert_used(&f, 0, 0, 0);
    gb_log_set_level(GB_LOG_WARN);
    family_free(&f);
}

static void accounts_cope_without_memory(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        gb_alloc_fail_at(nth);
        assert_null(gb_account_new("a", NULL, 1, &e));
        gb_alloc_fail_at(0);
        assert_int_equal(e->code, GB_INTERNAL);
        gb_error_clear(&e);
    }
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 20000 };
static _Atomic bool above;

static void *charge_and_give_back(void *arg) {
    struct family *f = arg;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t bytes = 1 + (uint64_t)i % 40;
        if (gb_charge(f->call, GB_CHARGE_OUTPUT, bytes, NULL)) {
            if (gb_account_used(f->tenant) > 100 || gb_account_used(f->host) > 1000) {
                atomic_store(&above, true);
            }
            gb_uncharge(f->call, GB_CHARGE_OUTPUT, bytes);
        }
    }
    return NULL;
}

static void threads_never_see_an_account_above_its_maximum(void **state) {
    (void)state;
    struct family f = family_new(1000, 100, 1000);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, charge_and_give_back, &f), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_false(atomic_load(&above));
    assert_used(&f, 0, 0, 0);
    assert_int_equal(gb_account_used_for(f.host, GB_CHARGE_OUTPUT), 0);
    assert_true(gb_account_peak(f.tenant) <= 100);
    family_free(&f);
}

struct keeping {
    struct gb_account *account;
    uint64_t kept;
    size_t asked;
};

static void give_back(void *user, uint64_t bytes) {
    struct keeping *k = user;
    uint64_t gives = bytes < k->kept ? bytes : k->kept;
    k->asked++;
    k->kept -= gives;
    gb_uncharge(k->account, GB_CHARGE_KEPT, gives);
}

static void who_only_keeps_gives_back_before_others_are_refused(void **state) {
    (void)state;
    struct family f = family_new(1000, 2000, 2000);
    struct keeping first = {.account = f.host, .kept = 300};
    struct keeping second = {.account = f.host, .kept = 400};
    struct gb_keeper keepers[] = {{.give_back = give_back, .user = &first},
                                  {.give_back = give_back, .user = &second}};
    gb_account_add_keeper(f.host, &keepers[0]);
    gb_account_add_keeper(f.host, &keepers[1]);
    assert_true(gb_charge_kept(f.host, 700));
    assert_false(gb_charge_kept(f.host, 301)); /* nobody is asked to make room for that */
    assert_int_equal(first.asked + second.asked, 0);
    assert_true(gb_charge(f.call, GB_CHARGE_MEMORY, 300, NULL));
    assert_int_equal(first.asked + second.asked, 0); /* there was room */
    assert_true(gb_charge(f.call, GB_CHARGE_MEMORY, 200, NULL));
    assert_int_equal(first.asked + second.asked, 1); /* one was enough */
    assert_true(gb_charge(f.call, GB_CHARGE_MEMORY, 450, NULL));
    assert_int_equal(gb_account_used(f.host), 950 + first.kept + second.kept);
    size_t asked = first.asked + second.asked;
    assert_false(gb_charge(f.call, GB_CHARGE_MEMORY, 51, NULL)); /* all of it would not do */
    assert_int_equal(first.asked + second.asked, asked);
    assert_used(&f, 950 + first.kept + second.kept, 950, 950);
    gb_account_remove_keeper(f.host, &keepers[0]);
    gb_account_remove_keeper(f.host, &keepers[1]);
    gb_account_remove_keeper(f.host, &keepers[1]); /* not there: nothing happens */
    gb_uncharge(f.call, GB_CHARGE_MEMORY, 950);
    gb_uncharge(f.host, GB_CHARGE_KEPT, first.kept + second.kept);
    assert_used(&f, 0, 0, 0);
    family_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_charge_counts_at_every_level),
        cmocka_unit_test(a_refusal_names_the_level_and_changes_nothing),
        cmocka_unit_test(giving_back_too_much_is_clamped),
        cmocka_unit_test(accounts_cope_without_memory),
        cmocka_unit_test(threads_never_see_an_account_above_its_maximum),
        cmocka_unit_test(who_only_keeps_gives_back_before_others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
