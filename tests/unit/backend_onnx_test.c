/* SPDX-License-Identifier: Apache-2.0 */
/* The table of functions over ONNX Runtime, in this process: no jail, no worker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "test_slack.h"

static struct gb_engine *engine;
static const struct gb_backend *onnx;

static int open_engine(void **state) {
    (void)state;
    onnx = gb_backend_find("onnx");
    const char *lib = getenv("GLOVEBOX_ORT_LIB");
    struct gb_error *err = NULL;
    engine = onnx != NULL && lib != NULL ? onnx->engine_open(lib, &err) : NULL;
    if (engine == NULL || !onnx->engine_start(engine, &err)) {
        print_error("the engine does not open: %s\n",
                    err != NULL ? err->message : "GLOVEBOX_ORT_LIB is not set");
        return -1;
    }
    return 0;
}

static int close_engine(void **state) {
    (void)state;
    onnx->engine_close(engine);
    return 0;
}

static struct gb_session *load(const char *path, bool optimise, struct gb_error **err) {
    uint8_t *bytes = NULL;
    size_t len = 0;
    if (!gb_file_read(path, GB_MIB, GB_MODEL_TOO_LARGE, &bytes, &len, err)) {
        return NULL;
    }
    struct gb_backend_load what = {.model = gb_span_make(bytes, len), .optimise = optimise};
    struct gb_session *session = onnx->session_load(engine, &what, err);
    gb_free(bytes);
    return session;
}

static struct gb_session *must_load(const char *path, bool optimise) {
    struct gb_error *err = NULL;
    struct gb_session *session = load(path, optimise, &err);
    if (session == NULL) {
        fail_msg("%s", err->message);
    }
    return session;
}

static void unknown_engine_is_not_found(void **state) {
    (void)state;
    assert_null(gb_backend_find("abacus"));
    assert_ptr_equal(gb_backend_find("onnx"), &gb_backend_onnx);
    assert_ptr_equal(strstr(onnx->engine_text(engine), "onnxruntime "),
                     onnx->engine_text(engine));
    assert_string_equal(getenv("ORT_DISABLE_TELEMETRY"), "1");
}

static void unoptimised_and_optimised_models_agree(void **state) {
    (void)state;
    float answers[2][10];
    float x[64];
    for (size_t i = 0; i < GB_COUNT(x); i++) {
        x[i] = (float)(i % 17);
    }
    for (int optimise = 0; optimise < 2; optimise++) {
        struct gb_session *session = must_load("models/digits.onnx", optimise == 1);
        struct gb_run *run = onnx->run_new(session, NULL);
        assert_non_null(run);
        struct gb_backend_tensor in = {.rank = 2, .dims = {1, 64}, .ptr = x, .bytes = sizeof x};
        struct gb_backend_tensor out = {.rank = 2, .dims = {1, 10}, .ptr = answers[optimise],
                                        .bytes = sizeof answers[optimise]};
        bool kept = true;
        assert_true(onnx->run_go(run, &in, &out, &kept, NULL));
        assert_false(kept);
        onnx->run_free(run);
        onnx->session_close(session);
    }
    for (size_t i = 0; i < GB_COUNT(answers[0]); i++) {
        assert_true(answers[0][i] - answers[1][i] < 1e-6f);
        assert_true(answers[1][i] - answers[0][i] < 1e-6f);
    }
}

static void ports_have_names_types_and_symbols(void **state) {
    (void)state;
    struct gb_session *session = must_load("models/test/types.onnx", true);
    uint32_t len = 0;
    const struct gb_port *ports = onnx->session_ports(session, false, &len);
    assert_int_equal(len, GB_TYPE_COUNT);
    for (uint32_t i = 0; i < len; i++) {
        char expected[16] = "in_";
        memcpy(expected + 3, gb_type_text((enum gb_type)i),
               strlen(gb_type_text((enum gb_type)i)) + 1);
        assert_string_equal(ports[i].name, expected);
        assert_int_equal(ports[i].type, i);
        assert_true(gb_wire_port_check(&ports[i], NULL));
    }
    assert_string_equal(ports[GB_TYPE_F32].symbols[1], "width");
    assert_int_equal(ports[GB_TYPE_F32].dims[1], -1);
    assert_int_equal(ports[GB_TYPE_F64].rank, 3);
    onnx->session_close(session);
}

static void cancel_before_the_run_stops_it(void **state) {
    (void)state;
    struct gb_session *session = must_load("models/test/slow200.onnx", true);
    struct gb_run *run = onnx->run_new(session, NULL);
    assert_non_null(run);
    float x = 1.0f;
    struct gb_backend_tensor in = {.rank = 1, .dims = {1}, .ptr = &x, .bytes = 4};
    struct gb_backend_tensor out = {0};
    bool kept = false;
    struct gb_error *err = NULL;
    onnx->run_cancel(run);
    uint64_t start = gb_now_us();
    assert_false(onnx->run_go(run, &in, &out, &kept, &err));
    assert_true(gb_now_us() - start < test_slack(100000));
    assert_int_equal(err->code, GB_CANCELLED);
    gb_error_free(err);
    onnx->run_free(run);
    onnx->session_close(session);
}

/* Loads and runs once; true when all of it worked. */
static bool whole_life(struct gb_error **err) {
    struct gb_session *session = load("models/test/dynout.onnx", true, err);
    struct gb_run *run = session != NULL ? onnx->run_new(session, err) : NULL;
    float x[4] = {0, 1, 0, 1};
    int64_t places[2] = {0, 0};
    struct gb_backend_tensor in = {.rank = 1, .dims = {4}, .ptr = x, .bytes = sizeof x};
    struct gb_backend_tensor out = {0};
    bool kept = false;
    bool ok = run != NULL && onnx->run_go(run, &in, &out, &kept, err);
    if (ok) {
        assert_true(kept);
        assert_int_equal(out.bytes, sizeof places);
        out.ptr = places;
        ok = onnx->run_fetch(run, &out, err);
        assert_true(!ok || (places[0] == 1 && places[1] == 3));
    }
    onnx->run_free(run);
    onnx->session_close(session);
    return ok;
}

static void every_failed_allocation_of_ours_is_an_error_and_no_crash(void **state) {
    (void)state;
    struct gb_error *err = NULL;
    if (!whole_life(&err)) {
        fail_msg("%s", err->message);
    }
    for (uint64_t n = 1;; n++) {
        gb_alloc_fail_at(n);
        bool ok = whole_life(&err);
        gb_alloc_fail_at(0);
        assert_int_equal(ok, err == NULL);
        gb_error_clear(&err);
        if (ok) {
            assert_true(n >= 3);
            return;
        }
    }
}

struct shared {
    struct gb_session *session;
    _Atomic unsigned wrong;
};

static void *many_runs(void *argument) {
    struct shared *shared = argument;
    for (int i = 0; i < 500; i++) {
        float x[3] = {(float)i, 1.0f, 2.0f};
        float y[3] = {0};
        struct gb_backend_tensor in = {.rank = 1, .dims = {3}, .ptr = x, .bytes = sizeof x};
        struct gb_backend_tensor out = {.rank = 1, .dims = {3}, .ptr = y, .bytes = sizeof y};
        bool kept = true;
        struct gb_run *run = onnx->run_new(shared->session, NULL);
        if (run == NULL || !onnx->run_go(run, &in, &out, &kept, NULL) || kept ||
            memcmp(x, y, sizeof x) != 0) {
            atomic_fetch_add(&shared->wrong, 1);
        }
        onnx->run_free(run);
    }
    return NULL;
}

static void runs_of_one_session_may_overlap(void **state) {
    (void)state;
    struct shared shared = {.session = must_load("models/test/relu3.onnx", true)};
    pthread_t threads[3];
    for (size_t i = 0; i < GB_COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, many_runs, &shared), 0);
    }
    for (size_t i = 0; i < GB_COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&shared.wrong), 0);
    onnx->session_close(shared.session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_engine_is_not_found),
        cmocka_unit_test(unoptimised_and_optimised_models_agree),
        cmocka_unit_test(ports_have_names_types_and_symbols),
        cmocka_unit_test(cancel_before_the_run_stops_it),
        cmocka_unit_test(every_failed_allocation_of_ours_is_an_error_and_no_crash),
        cmocka_unit_test(runs_of_one_session_may_overlap),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
