/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: what is counted is written exactly, and nobody's names make it grow. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "base/num.h"
#include "obs/metrics.h"

static char *scrape(struct gb_obs *o, size_t *ret_len) {
    struct gb_buf out;
    gb_buf_init(&out, 8 * GB_OBS_SCRAPE_BYTES_MAX);
    assert_true(gb_obs_write(o, &out, NULL));
    *ret_len = out.len;
    return gb_buf_take(&out);
}

static void assert_has(struct gb_obs *o, const char *line) {
    size_t len;
    char *text = scrape(o, &len);
    char *at = strstr(text, line);
    if (!at || (at != text && at[-1] != '\n')) {
        fail_msg("there is no line \"%s\"", line);
    }
    gb_free(text);
}

static void counts_and_times_are_exact(void **state) {
    (void)state;
    struct gb_obs *o = gb_obs_new(NULL);
    const char *labels[] = {"acme", "digits"};
    gb_obs_add(o, GB_OBS_INFERENCE_REQUESTS, labels, 2);
    gb_obs_add(o, GB_OBS_INFERENCE_REQUESTS, labels, 3);
    gb_obs_observe(o, GB_OBS_INFERENCE_DURATION, labels, 100);      /* on a bound: within it */
    gb_obs_observe(o, GB_OBS_INFERENCE_DURATION, labels, 101);
    gb_obs_observe(o, GB_OBS_INFERENCE_DURATION, labels, 90000000); /* above all */
    assert_has(o, "wasm_inference_requests_total{tenant=\"acme\",model=\"digits\"} 5\n");
#define D "wasm_inference_duration_seconds"
#define L "{tenant=\"acme\",model=\"digits\""
    assert_has(o, "# TYPE " D " histogram\n");
    assert_has(o, D "_bucket" L ",le=\"0.0001\"} 1\n");
    assert_has(o, D "_bucket" L ",le=\"0.00025\"} 2\n");
    assert_has(o, D "_bucket" L ",le=\"10\"} 2\n");
    assert_has(o, D "_bucket" L ",le=\"+Inf\"} 3\n");
    assert_has(o, D "_sum" L "} 90.000201\n");
    assert_has(o, D "_count" L "} 3\n");
    assert_has(o, "# TYPE wasm_inference_tokens_generated histogram\n");
    assert_int_equal(gb_obs_total(o, GB_OBS_INFERENCE_DURATION), 3);
    gb_obs_add(o, GB_OBS_INFERENCE_REQUESTS, labels, UINT64_MAX);
    assert_has(o, "wasm_inference_requests_total{tenant=\"acme\",model=\"digits\"} "
                  "18446744073709551615\n"); /* it stays there */
    gb_obs_free(o);
}

static void labels_are_escaped(void **state) {
    (void)state;
    struct gb_obs *o = gb_obs_new(NULL);
    const char *labels[] = {"a\"b\\c\nd\xff\xc3", "m\xc3\xa4x"};
    gb_obs_add(o, GB_OBS_INFERENCE_REQUESTS, labels, 1);
    assert_has(o, "wasm_inference_requests_total{tenant=\"a\\\"b\\\\c\\nd??\",model=\"m\xc3\xa4x\"}"
                  " 1\n");
    gb_obs_free(o);
}

/* A million tenants with 1,000 models, long names, in every family that anybody else names. */
static void a_million_names_stay_small(void **state) {
    (void)state;
    struct gb_obs *o = gb_obs_new(NULL);
    char tenant[80], model[80];
    for (unsigned i = 0; i < 1000000; i++) {
        snprintf(tenant, sizeof tenant, "tenant-%057u", i);
        snprintf(model, sizeof model, "model-%058u", i % 1000);
        const char *kind = i % 2 ? "guest-trap" : "memory-limit";
        const char *const labels[] = {tenant, model, kind};
        const char *const two[] = {tenant, kind};
        const char *const name = model;
        gb_obs_add(o, GB_OBS_INFERENCE_REQUESTS, labels, 1);
        gb_obs_observe(o, GB_OBS_INFERENCE_DURATION, labels, 1234567);
        gb_obs_observe(o, GB_OBS_INFERENCE_TOKENS, labels, i);
        gb_obs_add(o, GB_OBS_INFERENCE_TRAPS, labels, 1);
        gb_obs_add(o, GB_OBS_INPUT_REJECTED, two, 1);
        gb_obs_add(o, GB_OBS_OUTPUT_FAILED, two, 1);
        gb_obs_add(o, GB_OBS_TENANT_REQUESTS, two, 1);
        gb_obs_add(o, GB_OBS_TENANT_RUNNING, two, 1);
        gb_obs_add(o, GB_OBS_LEDGER_TENANT, two, 1);
        gb_obs_add(o, GB_OBS_GUEST_LOG_LINES, two, 1);
        gb_obs_observe(o, GB_OBS_MODEL_LOAD, &name, 1);
        gb_obs_add(o, GB_OBS_MODEL_READY, &name, 1);
    }
    size_t len;
    gb_free(scrape(o, &len));
    assert_true(len > 100 * 1024);
    assert_true(len <= GB_OBS_SCRAPE_BYTES_MAX);
    /* and nothing was lost */
    assert_int_equal(gb_obs_total(o, GB_OBS_INFERENCE_REQUESTS), 1000000);
    assert_int_equal(gb_obs_total(o, GB_OBS_INFERENCE_DURATION), 1000000);
    assert_int_equal(gb_obs_total(o, GB_OBS_INFERENCE_TRAPS), 1000000);
    assert_int_equal(gb_obs_total(o, GB_OBS_TENANT_REQUESTS), 1000000);
    assert_has(o, "wasm_inference_requests_total{tenant=\"other\",model=\"other\"} 999872\n");
    gb_obs_free(o);
}

static void a_folded_tenant_is_other(void **state) {
    (void)state;
    struct gb_obs *o = gb_obs_new(NULL);
    const char *a[] = {"a", "m"}, *b[] = {"b", "m"}, *only_a = "a";
    gb_obs_add(o, GB_OBS_INFERENCE_REQUESTS, a, 3);
    gb_obs_add(o, GB_OBS_INFERENCE_REQUESTS, b, 4);
    gb_obs_observe(o, GB_OBS_INFERENCE_DURATION, a, 1000);
    gb_obs_add(o, GB_OBS_HTTP_ERRORS, &only_a, 1); /* not a tenant's */
    gb_obs_fold_tenant(o, "a");
    gb_obs_fold_tenant(o, "other");
    assert_has(o, "wasm_inference_requests_total{tenant=\"other\",model=\"other\"} 3\n");
    assert_has(o, "wasm_inference_requests_total{tenant=\"b\",model=\"m\"} 4\n");
    assert_has(o, "wasm_inference_duration_seconds_count{tenant=\"other\",model=\"other\"} 1\n");
    assert_has(o, "glovebox_http_errors_total{code=\"a\"} 1\n");
    size_t len;
    char *text = scrape(o, &len);
    assert_null(strstr(text, "tenant=\"a\""));
    gb_free(text);
    gb_obs_free(o);
}

static void shares_are_found_in_buckets(void **state) {
    (void)state;
    struct gb_obs *o = gb_obs_new(NULL);
    uint64_t since[GB_OBS_BUCKETS_MAX] = {0};
    uint64_t copy[GB_OBS_BUCKETS_MAX] = {0};
    assert_int_equal(gb_obs_quantile(o, GB_OBS_CALL_QUEUE, 0.5, since), 0);
    for (unsigned i = 0; i < 99; i++) {
        gb_obs_observe(o, GB_OBS_CALL_QUEUE, NULL, 400);
    }
    gb_obs_observe(o, GB_OBS_CALL_QUEUE, NULL, 2000000);
    assert_int_equal(gb_obs_quantile(o, GB_OBS_CALL_QUEUE, 0.999, copy), 2500000);
    assert_int_equal(gb_obs_quantile(o, GB_OBS_CALL_QUEUE, 0.5, since), 500);
    gb_obs_observe(o, GB_OBS_CALL_QUEUE, NULL, 7);
    assert_int_equal(gb_obs_quantile(o, GB_OBS_CALL_QUEUE, 0.99, since), 100);
    gb_obs_free(o);
}

#define THREADS 4u
#define EACH 50000u

static void *add_many(void *user) {
    for (unsigned i = 0; i < EACH; i++) {
        char tenant[16];
        snprintf(tenant, sizeof tenant, "t%u", i % 100);
        const char *const labels[] = {tenant, "m"};
        gb_obs_add(user, GB_OBS_INFERENCE_REQUESTS, labels, 1);
        gb_obs_observe(user, GB_OBS_INFERENCE_DURATION, labels, i);
    }
    return NULL;
}

static void threads_lose_nothing(void **state) {
    (void)state;
    struct gb_obs *o = gb_obs_new(NULL);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, o), 0);
    }
    for (unsigned i = 0; i < 50; i++) {
        size_t len;
        gb_obs_fold_tenant(o, i % 2 ? "t1" : "t2");
        gb_free(scrape(o, &len));
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(gb_obs_total(o, GB_OBS_INFERENCE_REQUESTS), THREADS * EACH);
    assert_int_equal(gb_obs_total(o, GB_OBS_INFERENCE_DURATION), THREADS * EACH);
    gb_obs_free(o);
}

/* The price of an update; printed, because a test must not fail on a busy machine. */
static void an_update_is_cheap(void **state) {
    (void)state;
    struct gb_obs *o = gb_obs_new(NULL);
    const char *const labels[] = {"acme", "digits"};
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (unsigned i = 0; i < 1000000; i++) {
        gb_obs_observe(o, GB_OBS_INFERENCE_DURATION, labels, i % 1000);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    double ns = s * 1e9 / 1e6; /* of a million */
    print_message("an update: %.0f ns\n", ns);
    assert_true(ns < 10000);
    gb_obs_free(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_and_times_are_exact),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(a_million_names_stay_small),
        cmocka_unit_test(a_folded_tenant_is_other),
        cmocka_unit_test(shares_are_found_in_buckets),
        cmocka_unit_test(threads_lose_nothing),
        cmocka_unit_test(an_update_is_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
