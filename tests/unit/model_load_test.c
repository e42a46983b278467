/* SPDX-License-Identifier: Apache-2.0 */
/* Models from bytes, on fake workers: what a load is charged and when all of it is back, how many
 * there may be at once, who waits for room, and loads that fail or are let go too early. */
#include <stdatomic.h>
#include <time.h>

#include "model/model_internal.h"
#include "model_test_host.h"

#define WORKER_BYTES GB_MIB

struct place {
    struct gb_registry *registry;
    struct gb_account *host, *call;
};

static atomic_uint told;
static void tell(void *user) {
    (void)user;
    atomic_fetch_add(&told, 1);
}

static void place_open(struct place *p, uint32_t loads_max, uint64_t host_bytes) {
    struct gb_error *e = NULL;
    p->host = gb_account_new("host", NULL, host_bytes, &e);
    p->call = gb_account_new("call", p->host, 64 * GB_MIB, &e);
    struct gb_registry_options options = test_options();
    options.host_account = p->host;
    options.keep_bytes = 8 * GB_MIB;
    options.keep_ms = 60 * 1000;
    options.loads_max = loads_max;
    options.load_threads = 1;
    p->registry = gb_registry_new(&options, &e);
    assert_non_null(p->registry);
    atomic_store(&told, 0);
}

static void nap(uint64_t deadline_us) {
    assert_true(gb_now_us() < deadline_us);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* The workers of loads that were let go are killed and reaped in their own time. */
static void wait_used(const struct gb_account *account, uint64_t bytes) {
    uint64_t deadline_us = gb_deadline_after_us(WAIT_US);
    while (gb_account_used(account) != bytes) {
        nap(deadline_us);
    }
}

static void place_close(struct place *p) {
    wait_used(p->call, 0);
    gb_registry_free(p->registry);
    assert_int_equal(gb_account_used(p->host), 0); /* nothing is kept for it either */
    gb_account_unref(p->call);
    gb_account_unref(p->host);
}

static struct gb_load *load(const struct place *p, const char *model, struct gb_load_wait **wait,
                            struct gb_error **err) {
    struct gb_load_spec spec = {.name = "loaded-1",
                                .bytes = gb_span_of(model),
                                .backend = GB_BACKEND_FAKE,
                                .bytes_max = 16,
                                .worker_bytes = WORKER_BYTES,
                                .account = p->call,
                                .done = tell};
    return gb_load_new(p->registry, &spec, wait, err);
}

static struct gb_load *load_now(const struct place *p, const char *model) {
    struct gb_error *e = NULL;
    struct gb_load_wait *wait = NULL;
    struct gb_load *l = load(p, model, &wait, &e);
    if (!l) {
        fail_msg("%s", e ? e->message : "it waits");
    }
    assert_null(wait);
    return l;
}

static enum gb_load_state ended(struct gb_load *l) {
    uint64_t deadline_us = gb_deadline_after_us(WAIT_US);
    while (gb_load_state(l) == GB_LOAD_RUNNING) {
        nap(deadline_us);
    }
    assert_true(atomic_load(&told) > 0);
    return gb_load_state(l);
}

static void refused(const struct place *p, const char *model, enum gb_code code) {
    struct gb_error *e = NULL;
    struct gb_load_wait *wait = NULL;
    uint64_t used = gb_account_used(p->host);
    assert_null(load(p, model, &wait, &e));
    assert_null(wait);
    assert_non_null(e);
    assert_int_equal(e->code, code);
    assert_int_equal(gb_account_used(p->host), used);
    gb_error_free(e);
}

/* ---- what is charged ---- */

static void all_of_a_load_is_charged_before_it_runs_and_is_back_after_it(void **state) {
    (void)state;
    struct place p;
    place_open(&p, 4, 64 * GB_MIB);
    struct gb_load *l = load_now(&p, "echo");
    uint64_t charged = gb_account_used_for(p.call, GB_CHARGE_GRAPH);
    assert_true(charged >= WORKER_BYTES + 5 * strlen("echo"));
    assert_int_equal(ended(l), GB_LOAD_READY);
    struct gb_model *m = gb_load_model(l);
    assert_int_equal(gb_model_info(m)->inputs_len, 1);
    assert_false(gb_load_free(l)); /* the model is held */
    assert_int_equal(gb_account_used(p.call), charged);
    assert_true(gb_model_unref(m));
    place_close(&p);
}

static void loads_that_fail_or_are_let_go_give_everything_back(void **state) {
    (void)state;
    struct place p;
    place_open(&p, 4, 64 * GB_MIB);
    static const struct {
        const char *model;
        enum gb_code code;
    } broken[] = {{"refuse", GB_MODEL_INVALID}, {"crash", GB_BACKEND_LOST}};
    for (size_t i = 0; i < GB_COUNT(broken); i++) {
        struct gb_load *l = load_now(&p, broken[i].model);
        assert_int_equal(ended(l), GB_LOAD_FAILED);
        struct gb_error *e = gb_load_error(l);
        assert_int_equal(e->code, broken[i].code);
        gb_error_free(e);
        assert_true(gb_load_free(l));
        wait_used(p.host, 0);
    }
    struct gb_load *l = load_now(&p, "hang"); /* would not be ready for a long time */
    assert_true(gb_load_free(l));
    wait_used(p.host, 0);
    l = load_now(&p, "hang");
    uint64_t deadline_us = gb_deadline_after_us(50 * 1000);
    while (gb_now_us() < deadline_us) { /* its process may be there by now */
        nap(GB_NEVER);
    }
    assert_int_equal(gb_load_state(l), GB_LOAD_RUNNING);
    assert_true(gb_load_free(l));
    place_close(&p);
}

static void what_is_too_large_or_does_not_fit_is_not_begun(void **state) {
    (void)state;
    struct place p;
    place_open(&p, 1, WORKER_BYTES / 2);
    refused(&p, "", GB_MODEL_INVALID);
    refused(&p, "seventeen letters", GB_MODEL_TOO_LARGE);
    refused(&p, "echo", GB_BUDGET_EXCEEDED);
    refused(&p, "echo", GB_BUDGET_EXCEEDED); /* and not overloaded: none is held */
    place_close(&p);
}

/* What a slab keeps warm is the host's, and stands in nobody's way. */
static void memory_that_is_only_kept_makes_room_for_a_load(void **state) {
    (void)state;
    struct place p;
    struct gb_error *e = NULL;
    place_open(&p, 4, 64 * GB_MIB);
    struct gb_load *first = load_now(&p, "echo");
    uint64_t cost = gb_account_used(p.host);
    assert_int_equal(ended(first), GB_LOAD_READY);
    struct gb_model *m = gb_load_model(first);
    uint64_t kept = 2 * GB_MIB;
    uint8_t *bytes = gb_calloc(1, kept, &e);
    struct gb_mem *mem = gb_mem_copy(m, gb_span_make(bytes, kept), p.call, &e);
    gb_free(bytes);
    assert_non_null(mem);
    gb_mem_unref(mem);
    assert_int_equal(gb_account_used_for(p.host, GB_CHARGE_KEPT), kept);
    assert_int_equal(gb_account_used(p.call), cost);
    /* Another fits only where all of that goes. */
    uint64_t filler = 64 * GB_MIB - 2 * cost;
    assert_true(gb_charge(p.host, GB_CHARGE_VALUE, filler - kept, &e));
    struct gb_load *second = load_now(&p, "echo");
    assert_int_equal(gb_account_used_for(p.call, GB_CHARGE_GRAPH), 2 * cost);
    assert_int_equal(ended(second), GB_LOAD_READY);
    gb_uncharge(p.host, GB_CHARGE_VALUE, filler - kept);
    assert_false(gb_load_free(first));
    assert_true(gb_model_unref(m));
    assert_true(gb_load_free(second));
    place_close(&p);
}

/* ---- how many ---- */

static void one_load_more_than_the_host_holds_is_refused(void **state) {
    (void)state;
    struct place p;
    place_open(&p, 2, 64 * GB_MIB);
    struct gb_load *first = load_now(&p, "echo");
    struct gb_load *second = load_now(&p, "hang");
    refused(&p, "echo", GB_OVERLOADED);
    assert_int_equal(ended(first), GB_LOAD_READY);
    refused(&p, "echo", GB_OVERLOADED);
    assert_true(gb_load_free(first));
    assert_true(gb_load_free(second));
    wait_used(p.call, 0);
    first = load_now(&p, "echo");
    assert_true(gb_load_free(first));
    place_close(&p);
    place_open(&p, 0, 64 * GB_MIB);
    refused(&p, "echo", GB_OVERLOADED);
    place_close(&p);
}

static void room_that_comes_is_waited_for(void **state) {
    (void)state;
    struct place p;
    place_open(&p, 1, 64 * GB_MIB);
    struct gb_error *e = NULL;
    struct gb_load_wait *wait = NULL;
    struct gb_load *next = NULL;
    unsigned waits = 0;
    for (unsigned i = 0; i < 200 && waits == 0; i++) {
        struct gb_load *l = load_now(&p, "echo");
        assert_int_equal(ended(l), GB_LOAD_READY);
        assert_true(gb_load_free(l));
        atomic_store(&told, 0);
        next = load(&p, "echo", &wait, &e); /* its process has only just been killed */
        assert_null(e);
        waits += next == NULL;
        if (!next) {
            assert_non_null(wait);
            uint64_t deadline_us = gb_deadline_after_us(WAIT_US);
            while (!next) {
                next = atomic_load(&told) > 0 ? load(&p, "echo", &wait, &e) : NULL;
                assert_null(e);
                nap(deadline_us);
            }
        }
        gb_load_wait_free(wait);
        wait = NULL;
        assert_true(gb_load_free(next));
        wait_used(p.call, 0);
    }
    assert_true(waits > 0);
    place_close(&p);
}

int main(int argc, char **argv) {
    (void)argc;
    test_host_main_start(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_a_load_is_charged_before_it_runs_and_is_back_after_it),
        cmocka_unit_test(loads_that_fail_or_are_let_go_give_everything_back),
        cmocka_unit_test(what_is_too_large_or_does_not_fit_is_not_begun),
        cmocka_unit_test(memory_that_is_only_kept_makes_room_for_a_load),
        cmocka_unit_test(one_load_more_than_the_host_holds_is_refused),
        cmocka_unit_test(room_that_comes_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
