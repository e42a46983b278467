/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's jail, its refusals and its end, on the real program. */
#include "worker_harness.h"

#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "worker/jail.h"

static void hello_under_strict_misses_no_wall(void **state) {
    (void)state;
    struct harness h;
    harness_open(&h);
    harness_hello(&h);
    assert_int_equal(h.hello.missing_walls, 0);
    assert_int_equal(h.hello.pid, h.pid);
    assert_non_null(strstr(h.hello.engine, "onnxruntime 1."));
    harness_close(&h);
}

static size_t run_selftest(struct harness *h) {
    size_t probes = 0;
    assert_true(gb_wire_send(h->control, GB_MSG_SELFTEST, NULL, 0, -1, NULL));
    for (;;) {
        struct gb_packet packet;
        assert_true(harness_recv(h, &packet));
        if (packet.header.type == GB_MSG_SELFTEST_END) {
            return probes;
        }
        assert_int_equal(packet.header.type, GB_MSG_PROBE);
        struct gb_msg_probe probe;
        memcpy(&probe, packet.body, sizeof probe);
        if (!probe.denied) {
            fail_msg("\"%s\" was let through (errno %u)", probe.name, probe.sys_errno);
        }
        probes++;
    }
}

static void selftest_finds_every_forbidden_thing_denied(void **state) {
    (void)state;
    struct harness h;
    harness_open(&h);
    harness_hello(&h);
    assert_true(run_selftest(&h) >= 30);
    harness_close(&h);
    harness_open(&h);
    harness_hello(&h);
    harness_load_file(&h, "models/test/relu3.onnx", 2);
    assert_true(run_selftest(&h) >= 30);
    harness_close(&h);
}

static void a_worker_that_tested_itself_can_start_no_thread_for_a_model(void **state) {
    (void)state;
    struct harness h;
    harness_open(&h);
    harness_hello(&h);
    assert_true(run_selftest(&h) >= 30);
    harness_send_load(&h, "this is no model", 16, 1, true);
    assert_false(harness_loaded(&h));
    assert_int_equal(h.failed.code, GB_BACKEND_FAILED);
    assert_non_null(strstr(h.failed.text, "could not start a thread"));
    harness_close(&h);
}

static void closed_control_channel_ends_the_worker_within_100_ms(void **state) {
    (void)state;
    struct harness h;
    harness_open(&h);
    harness_hello(&h);
    harness_load_file(&h, "models/test/relu3.onnx", 4);
    close(h.control);
    h.control = -1;
    int status = harness_reap(&h, 100);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    harness_close(&h);
}

static void closed_control_channel_ends_a_worker_that_is_computing(void **state) {
    (void)state;
    struct harness h;
    harness_open(&h);
    harness_hello(&h);
    harness_load_file(&h, "models/test/slow200.onnx", 1);
    struct gb_wire_job *job = harness_job(&h);
    const uint64_t one = 1;
    memset(harness_tensor(&h, &job->tensors[0], GB_TYPE_F32, 1, &one), 0, 4);
    harness_submit(&h, job, GB_OP_RUN);
    usleep(50000);
    close(h.control);
    h.control = -1;
    (void)harness_reap(&h, 100);
    harness_close(&h);
}

static uint32_t failed_code(struct harness *h) {
    struct gb_packet packet;
    assert_true(harness_recv(h, &packet));
    assert_int_equal(packet.header.type, GB_MSG_FAILED);
    memcpy(&h->failed, packet.body, sizeof h->failed);
    int status = harness_reap(h, 2000);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    return h->failed.code;
}

static void missing_library_is_backend_missing_and_says_where(void **state) {
    (void)state;
    struct harness h;
    harness_open_with(&h, harness_env("GLOVEBOX_WORKER"), "onnx", "/nowhere/libonnxruntime.so.1",
                      "strict", "4294967296");
    assert_int_equal(failed_code(&h), GB_BACKEND_MISSING);
    assert_string_equal(h.failed.text,
                        "libonnxruntime.so.1 could not be loaded (looked in "
                        "\"/nowhere/libonnxruntime.so.1\")");
    harness_close(&h);
}

static void other_library_is_backend_incompatible(void **state) {
    (void)state;
    struct harness h;
    harness_open_with(&h, harness_env("GLOVEBOX_WORKER"), "onnx", "libm.so.6", "strict",
                      "4294967296");
    assert_int_equal(failed_code(&h), GB_BACKEND_INCOMPATIBLE);
    assert_non_null(strstr(h.failed.text, "OrtGetApiBase"));
    harness_close(&h);
    /* A file that is no library at all: this test's model. */
    char path[4096];
    assert_non_null(realpath("models/digits.onnx", path));
    harness_open_with(&h, harness_env("GLOVEBOX_WORKER"), "onnx", path, "strict", "4294967296");
    assert_int_equal(failed_code(&h), GB_BACKEND_INCOMPATIBLE);
    harness_close(&h);
}

static void unknown_engine_is_backend_missing(void **state) {
    (void)state;
    struct harness h;
    harness_open_with(&h, harness_env("GLOVEBOX_WORKER"), "fake", "x", "strict", "4294967296");
    assert_int_equal(failed_code(&h), GB_BACKEND_MISSING);
    harness_close(&h);
}

static void load_failure(struct harness *h, const void *bytes, size_t len, uint32_t code) {
    harness_open(h);
    harness_hello(h);
    harness_send_load(h, bytes, len, 1, true);
    assert_false(harness_loaded(h));
    assert_int_equal(h->failed.code, code);
    assert_true(strlen(h->failed.text) > 10);
    (void)harness_reap(h, 2000);
    harness_close(h);
}

static void garbage_model_is_model_invalid(void **state) {
    (void)state;
    struct harness h;
    load_failure(&h, "this is no model", 16, GB_MODEL_INVALID);
    assert_non_null(strstr(h.failed.text, "could not be loaded"));
}

static void unsealed_model_is_refused(void **state) {
    (void)state;
    struct harness h;
    harness_open(&h);
    harness_hello(&h);
    int fd = harness_model_fd("abc", 3, F_SEAL_SHRINK);
    struct gb_msg_load load = {.model_bytes = 3, .threads = 1, .slab_bytes = HARNESS_SLAB_BYTES};
    assert_true(gb_wire_send(h.control, GB_MSG_LOAD, &load, sizeof load, fd, NULL));
    close(fd);
    assert_false(harness_loaded(&h));
    assert_non_null(strstr(h.failed.text, "not sealed"));
    harness_close(&h);
}

static void started_by_hand_it_refuses_with_a_clear_line(void **state) {
    (void)state;
    char command[4096];
    (void)snprintf(command, sizeof command, "'%s' --engine onnx 2>&1 3<&-",
                   harness_env("GLOVEBOX_WORKER"));
    FILE *out = popen(command, "r");
    assert_non_null(out);
    char line[256] = "";
    assert_non_null(fgets(line, sizeof line, out));
    while (fgetc(out) != EOF) {
    }
    assert_int_equal(WEXITSTATUS(pclose(out)), 2);
    assert_ptr_equal(strstr(line, "glovebox-worker: "), line);
}

static void worker_has_only_our_descriptors_and_one_thread_before_a_model(void **state) {
    (void)state;
    struct harness h;
    harness_open(&h);
    harness_hello(&h);
    char path[64];
    struct stat st;
    for (int fd = 7; fd < 40; fd++) {
        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)h.pid, fd);
        assert_int_not_equal(lstat(path, &st), 0);
    }
    /* A second thread would be the engine's telemetry. */
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)h.pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char line[256];
    int threads = 0;
    int filters = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        (void)sscanf(line, "Threads: %d", &threads);
        (void)sscanf(line, "Seccomp_filters: %d", &filters);
    }
    (void)fclose(f);
    assert_int_equal(threads, 1);
    assert_true(filters >= 2);
    harness_close(&h);
}

struct tally {
    unsigned tried;
    unsigned let_through;
};

static void count_probe(const struct gb_msg_probe *probe, void *user) {
    struct tally *tally = user;
    tally->tried++;
    tally->let_through += probe->denied == 0;
}

/* Without a jail most attempts succeed, or fail for another reason: the self-test can fail. */
static void selftest_without_a_jail_finds_open_doors(void **state) {
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (int fd = 3; fd < 64; fd++) {
            close(fd); /* no harm to what the attempts would find at 3 to 6 */
        }
        signal(SIGCHLD, SIG_IGN);
        struct tally tally = {0, 0};
        gb_jail_selftest(count_probe, &tally);
        _exit(tally.tried >= 30 && tally.let_through >= 15 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A kernel without Landlock, made by a filter that workers inherit. It stays: the last test. */
static void kernel_without_landlock_is_refused_or_named(void **state) {
    (void)state;
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    assert_non_null(ctx);
    assert_int_equal(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), 444, 0), 0);
    assert_int_equal(seccomp_load(ctx), 0);
    seccomp_release(ctx);
    struct harness h;
    harness_open(&h);
    assert_int_equal(failed_code(&h), GB_UNSUPPORTED);
    assert_non_null(strstr(h.failed.text, "the kernel has no Landlock"));
    harness_close(&h);
    harness_open_with(&h, harness_env("GLOVEBOX_WORKER"), "onnx", harness_env("GLOVEBOX_ORT_LIB"),
                      "best-effort", "4294967296");
    harness_hello(&h);
    assert_int_equal(h.hello.missing_walls, GB_WALL_LANDLOCK);
    /* The other walls deny the same. */
    assert_true(run_selftest(&h) >= 30);
    harness_close(&h);
}

static void memory_limit_is_an_error_and_not_the_end(void **state) {
    (void)state;
    struct harness h;
    harness_open_with(&h, harness_env("GLOVEBOX_WORKER"), "onnx", harness_env("GLOVEBOX_ORT_LIB"),
                      "strict", "268435456");
    harness_hello(&h);
    harness_load_file(&h, "models/test/matmul.onnx", 1);
    assert_int_equal(h.loaded.warm_failed, 1);
    assert_non_null(strstr(h.loaded.warm_text, "memory limit"));
    harness_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_under_strict_misses_no_wall),
        cmocka_unit_test(selftest_finds_every_forbidden_thing_denied),
        cmocka_unit_test(a_worker_that_tested_itself_can_start_no_thread_for_a_model),
        cmocka_unit_test(closed_control_channel_ends_the_worker_within_100_ms),
        cmocka_unit_test(closed_control_channel_ends_a_worker_that_is_computing),
        cmocka_unit_test(missing_library_is_backend_missing_and_says_where),
        cmocka_unit_test(other_library_is_backend_incompatible),
        cmocka_unit_test(unknown_engine_is_backend_missing),
        cmocka_unit_test(garbage_model_is_model_invalid),
        cmocka_unit_test(unsealed_model_is_refused),
        cmocka_unit_test(started_by_hand_it_refuses_with_a_clear_line),
        cmocka_unit_test(worker_has_only_our_descriptors_and_one_thread_before_a_model),
        cmocka_unit_test(memory_limit_is_an_error_and_not_the_end),
        cmocka_unit_test(selftest_without_a_jail_finds_open_doors),
        cmocka_unit_test(kernel_without_landlock_is_refused_or_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
