/* SPDX-License-Identifier: Apache-2.0 */
/* The registry over real directories: names, order, duplicates, rejected files and their reasons,
 * and real workers that load real models (where the worker program is built). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/model_internal.h"
#include "model/worker.h"

#define MODELS GB_TEST_SOURCE_DIR "/models/"
#define NO_DIGEST "sha256:0000000000000000000000000000000000000000000000000000000000000000"

/* ---- a directory of its own for each test ---- */

struct place {
    char dir[256];
    struct gb_registry_options options;
    struct gb_registry *registry;
};

static int set_up(void **state) {
    struct place *p = calloc(1, sizeof *p);
    const char *base = getenv("TMPDIR");
    snprintf(p->dir, sizeof p->dir, "%s/glovebox-registry-XXXXXX", base ? base : P_tmpdir);
    assert_non_null(mkdtemp(p->dir));
    p->options = gb_registry_options_default();
    p->options.jail = GB_JAIL_BEST_EFFORT;
    p->registry = gb_registry_new(&p->options, NULL);
    assert_non_null(p->registry);
    *state = p;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at) {
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

static int tear_down(void **state) {
    struct place *p = *state;
    gb_registry_free(p->registry);
    nftw(p->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(p);
    return 0;
}

static const char *path_of(const struct place *p, const char *name) {
    static char path[4][512];
    static unsigned next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", p->dir, name);
    return out;
}

static void write_file(const struct place *p, const char *name, const void *bytes, size_t len) {
    int fd = open(path_of(p, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_true(gb_write_all(fd, bytes, len, NULL));
    close(fd);
}

static void write_text(const struct place *p, const char *name, const char *text) {
    write_file(p, name, text, strlen(text));
}

static void copy_model(const struct place *p, const char *from, const char *to) {
    char path[512];
    uint8_t *bytes;
    size_t len;
    snprintf(path, sizeof path, MODELS "%s", from);
    assert_true(gb_file_read(path, 1 << 20, GB_MODEL_TOO_LARGE, &bytes, &len, NULL));
    write_file(p, to, bytes, len);
    gb_free(bytes);
}

static void add_dir(struct place *p) {
    struct gb_error *err = NULL;
    if (!gb_registry_add_dir(p->registry, p->dir, &err)) {
        fail_msg("%s", err->message);
    }
}

static const struct gb_model_info *info_of(const struct place *p, const char *name) {
    const struct gb_model *m = gb_registry_find(p->registry, gb_span_of(name));
    if (!m) {
        fail_msg("no model %s", name);
        return NULL;
    }
    return gb_model_info(m);
}

static void expect_rejected(const struct place *p, const char *name, enum gb_code code,
                            const char *part) {
    const struct gb_model_info *info = info_of(p, name);
    assert_int_equal(info->state, GB_MODEL_STATE_REJECTED);
    if (info->reason->code != code || !strstr(info->reason->message, part)) {
        fail_msg("%s: expected %s \"%s\", got %s: %s", name, gb_code_text(code), part,
                 gb_code_text(info->reason->code), info->reason->message);
    }
    assert_non_null(info->reason->hint);
    assert_null(strstr(info->reason->message, p->dir)); /* guests see it */
}

/* ---- adding ---- */

static void a_directory_is_listed_in_order_with_what_each_model_takes(void **state) {
    struct place *p = *state;
    copy_model(p, "digits.onnx", "zebra.onnx");
    copy_model(p, "test/types.onnx", "apple.onnx");
    copy_model(p, "test/sum2.onnx", "Apple-2.onnx");
    write_text(p, "README.md", "no model");
    write_text(p, ".hidden.onnx", "left by an editor");
    write_text(p, "zebra.toml", "layout = \"rows of 64\"\nthreads = 3\ndeadline = \"1s\"\n");
    add_dir(p);
    assert_int_equal(gb_registry_count(p->registry), 3);
    static const char *const names[] = {"Apple-2", "apple", "zebra"};
    for (size_t i = 0; i < 3; i++) {
        const struct gb_model_info *info = gb_model_info(gb_registry_at(p->registry, i));
        assert_string_equal(info->name, names[i]);
        assert_int_equal(info->state, GB_MODEL_STATE_KNOWN);
        assert_int_equal(info->backend, GB_BACKEND_ONNX);
        assert_ptr_equal(gb_registry_find(p->registry, gb_span_of(names[i])),
                         gb_registry_at(p->registry, i));
    }
    const struct gb_model_info *zebra = info_of(p, "zebra");
    assert_string_equal(zebra->layout, "rows of 64");
    assert_int_equal(zebra->deadline_us, 1000000);
    assert_int_equal(zebra->bytes, 19682);
    assert_int_equal(zebra->inputs_len, 1);
    assert_string_equal(zebra->inputs[0].name, "input");
    assert_true(gb_digest_text_ok(gb_span_of(zebra->digest)));
    assert_int_equal(info_of(p, "apple")->inputs_len, 7);
    assert_null(gb_registry_find(p->registry, gb_span_of("zebr")));
    assert_null(gb_registry_find(p->registry, gb_span_of("")));
    assert_null(gb_registry_at(p->registry, 3));
}

static void the_committed_models_are_all_sound(void **state) {
    struct place *p = *state;
    struct gb_error *err = NULL;
    assert_true(gb_registry_add_dir(p->registry, MODELS, &err));
    assert_true(gb_registry_add_dir(p->registry, MODELS "test", &err));
    assert_null(err);
    assert_int_equal(gb_registry_count(p->registry), 11);
    for (size_t i = 0; i < gb_registry_count(p->registry); i++) {
        const struct gb_model_info *info = gb_model_info(gb_registry_at(p->registry, i));
        assert_int_equal(info->state, GB_MODEL_STATE_KNOWN);
    }
}

static void two_models_of_one_stem_are_refused_naming_both(void **state) {
    struct place *p = *state;
    struct gb_error *err = NULL;
    copy_model(p, "digits.onnx", "a.onnx");
    write_text(p, "a.gguf", "GGUF");
    assert_false(gb_registry_add_dir(p->registry, p->dir, &err));
    assert_int_equal(err->code, GB_MODEL_DUPLICATE);
    assert_non_null(strstr(err->message, "/a.onnx\""));
    assert_non_null(strstr(err->message, "/a.gguf\""));
    gb_error_free(err);
}

static void a_directory_that_is_not_there_is_an_error(void **state) {
    struct place *p = *state;
    struct gb_error *err = NULL;
    assert_false(gb_registry_add_dir(p->registry, path_of(p, "nowhere"), &err));
    assert_int_equal(err->code, GB_NOT_FOUND);
    assert_non_null(err->hint);
    gb_error_free(err);
}

static void bad_files_are_kept_as_rejected_with_their_reason(void **state) {
    struct place *p = *state;
    char long_name[160];
    memset(long_name, 'n', 129);
    memcpy(long_name + 129, ".onnx", 6);
    copy_model(p, "digits.onnx", long_name);
    copy_model(p, "digits.onnx", "good.onnx");
    copy_model(p, "digits.onnx", "-dash.onnx");
    copy_model(p, "digits.onnx", "a b.onnx");
    copy_model(p, "digits.onnx", "esc\x1b[2J.onnx");
    write_text(p, "empty.onnx", "");
    write_text(p, "page.onnx", "\n<!DOCTYPE html><html>404</html>");
    write_text(p, "json.onnx", "{\"error\": \"not found\"}");
    write_text(p, "zip.onnx", "PK\x03\x04 and more");
    write_text(p, "lfs.onnx", "version https://git-lfs.github.com/spec/v1\n");
    write_text(p, "gguf.onnx", "GGUF\x03");
    write_text(p, "noise.onnx", "\x0a\xff\xff");
    write_text(p, "llm.gguf", "GGUF\x03");
    write_text(p, "fake.gguf", "<html>");
    assert_int_equal(mkdir(path_of(p, "folder.onnx"), 0700), 0);
    assert_int_equal(mkfifo(path_of(p, "pipe.onnx"), 0600), 0);
    assert_int_equal(symlink("nowhere.bin", path_of(p, "dangling.onnx")), 0);
    add_dir(p);
    assert_int_equal(gb_registry_count(p->registry), 17);
    assert_int_equal(info_of(p, "good")->state, GB_MODEL_STATE_KNOWN);
    expect_rejected(p, "-dash", GB_MODEL_REJECTED, "its name is not");
    expect_rejected(p, "a b", GB_MODEL_REJECTED, "its name is not");
    expect_rejected(p, "esc\\x1b[2J", GB_MODEL_REJECTED, "its name is not");
    expect_rejected(p, "empty", GB_MODEL_INVALID, "model \"empty\": the file is empty");
    expect_rejected(p, "page", GB_MODEL_INVALID, "looks like an HTML or XML page");
    expect_rejected(p, "json", GB_MODEL_INVALID, "looks like a JSON document");
    expect_rejected(p, "zip", GB_MODEL_INVALID, "looks like a zip archive");
    expect_rejected(p, "lfs", GB_MODEL_INVALID, "looks like a Git LFS pointer");
    expect_rejected(p, "gguf", GB_MODEL_INVALID, "looks like a GGUF language model");
    expect_rejected(p, "noise", GB_MODEL_INVALID, "model \"noise\": ");
    expect_rejected(p, "llm", GB_MODEL_INVALID, "the file ends within its version");
    expect_rejected(p, "fake", GB_MODEL_INVALID, "no GGUF model; it looks like an HTML");
    expect_rejected(p, "folder", GB_INVALID_ARGUMENT, "its file cannot be read");
    expect_rejected(p, "pipe", GB_INVALID_ARGUMENT, "its file cannot be read");
    expect_rejected(p, "dangling", GB_NOT_FOUND, "its file cannot be read");
}

static void a_link_to_a_model_is_followed(void **state) {
    struct place *p = *state;
    assert_int_equal(symlink(MODELS "digits.onnx", path_of(p, "linked.onnx")), 0);
    add_dir(p);
    assert_int_equal(info_of(p, "linked")->state, GB_MODEL_STATE_KNOWN);
}

static void a_file_above_the_limit_is_too_large(void **state) {
    struct place *p = *state;
    copy_model(p, "digits.onnx", "small.onnx");
    write_text(p, "large.onnx", "");
    assert_int_equal(truncate(path_of(p, "large.onnx"), (off_t)1 << 31), 0);
    add_dir(p);
    expect_rejected(p, "large", GB_MODEL_TOO_LARGE, "larger than 2047 MiB");
    assert_int_equal(info_of(p, "small")->state, GB_MODEL_STATE_KNOWN);
}

static void a_sidecar_that_is_wrong_rejects_its_model_only(void **state) {
    struct place *p = *state;
    copy_model(p, "digits.onnx", "pinned.onnx");
    copy_model(p, "digits.onnx", "typo.onnx");
    copy_model(p, "digits.onnx", "inline.onnx");
    copy_model(p, "digits.onnx", "good.onnx");
    copy_model(p, "digits.toml", "good.toml");
    write_text(p, "pinned.toml", "digest = \"" NO_DIGEST "\"\n");
    write_text(p, "typo.toml", "\nlayuot = \"x\"\n");
    write_text(p, "inline.toml", "placement = \"inline\"\n");
    add_dir(p);
    expect_rejected(p, "pinned", GB_DIGEST_MISMATCH, NO_DIGEST);
    expect_rejected(p, "pinned", GB_DIGEST_MISMATCH, info_of(p, "pinned")->digest);
    expect_rejected(p, "typo", GB_MANIFEST_INVALID, "typo.toml:2:1: unknown key \"layuot\"");
    assert_int_equal(info_of(p, "inline")->state, GB_MODEL_STATE_KNOWN);
    assert_int_equal(info_of(p, "good")->state, GB_MODEL_STATE_KNOWN);
    assert_non_null(info_of(p, "good")->layout);
}

static void one_file_can_be_added_under_a_name(void **state) {
    struct place *p = *state;
    struct gb_error *err = NULL;
    assert_true(gb_registry_add_file(p->registry, "classifier", MODELS "digits.onnx",
                                     GB_BACKEND_AUTO, &err));
    assert_non_null(info_of(p, "classifier")->layout); /* digits.toml lies beside it */
    assert_false(gb_registry_add_file(p->registry, "classifier", MODELS "digits.onnx",
                                      GB_BACKEND_AUTO, &err));
    assert_int_equal(err->code, GB_MODEL_DUPLICATE);
    gb_error_clear(&err);
    assert_false(gb_registry_add_file(p->registry, "x", path_of(p, "none.onnx"), GB_BACKEND_AUTO,
                                      &err));
    assert_int_equal(err->code, GB_NOT_FOUND);
    gb_error_clear(&err);
    assert_false(gb_registry_add_file(p->registry, "../x", MODELS "digits.onnx", GB_BACKEND_AUTO,
                                      &err));
    assert_int_equal(err->code, GB_INVALID_ARGUMENT);
    gb_error_clear(&err);
    assert_true(gb_registry_add_file(p->registry, "vino", MODELS "digits.onnx",
                                     GB_BACKEND_OPENVINO, &err));
    expect_rejected(p, "vino", GB_BACKEND_MISSING, "no engine for OpenVINO");
    assert_int_equal(gb_registry_count(p->registry), 2);
}

static void every_failed_allocation_while_adding_is_an_error(void **state) {
    struct place *p = *state;
    copy_model(p, "digits.onnx", "a.onnx");
    copy_model(p, "digits.toml", "a.toml");
    copy_model(p, "test/sum2.onnx", "b.onnx");
    bool clean = false;
    for (uint64_t nth = 1; !clean && nth < 500; nth++) {
        struct gb_error *err = NULL;
        gb_alloc_fail_at(nth);
        struct gb_registry *r = gb_registry_new(&p->options, &err);
        bool ok = r && gb_registry_add_dir(r, p->dir, &err);
        gb_alloc_fail_at(0);
        assert_int_equal(ok, err == NULL);
        /* A model may be rejected for want of memory; then it says so. */
        clean = ok && gb_registry_count(r) == 2;
        for (size_t i = 0; r && i < gb_registry_count(r); i++) {
            const struct gb_model_info *info = gb_model_info(gb_registry_at(r, i));
            clean = clean && info->state == GB_MODEL_STATE_KNOWN;
            assert_int_equal(info->state == GB_MODEL_STATE_REJECTED, info->reason != NULL);
        }
        gb_error_free(err);
        gb_registry_free(r);
    }
    assert_true(clean);
}

/* ---- starting ---- */

static void an_unknown_name_cannot_be_started(void **state) {
    struct place *p = *state;
    struct gb_error *err = NULL;
    const char *const names[] = {"nobody"};
    assert_false(gb_registry_start(p->registry, names, 1, &err));
    assert_int_equal(err->code, GB_MODEL_NOT_FOUND);
    gb_error_free(err);
}

static void an_empty_registry_starts(void **state) {
    struct place *p = *state;
    assert_true(gb_registry_start(p->registry, NULL, 0, NULL));
}

static void without_a_worker_program_starting_fails(void **state) {
    struct place *p = *state;
    struct gb_error *err = NULL;
    struct gb_registry_options options = p->options;
    options.worker_path = path_of(p, "no-worker");
    struct gb_registry *r = gb_registry_new(&options, NULL);
    assert_true(gb_registry_add_dir(r, MODELS, NULL));
    assert_false(gb_registry_start(r, NULL, 0, &err));
    assert_int_equal(err->code, GB_BACKEND_MISSING);
    assert_non_null(err->hint);
    gb_error_free(err);
    gb_registry_free(r);
}

static void a_file_that_changes_after_the_check_is_not_loaded(void **state) {
    struct place *p = *state;
    copy_model(p, "test/relu3.onnx", "m.onnx");
    add_dir(p);
    copy_model(p, "test/sum2.onnx", "m.onnx");
    (void)gb_registry_start(p->registry, NULL, 0, NULL);
    expect_rejected(p, "m", GB_DIGEST_MISMATCH, "its file changed from sha256:");
}

static void real_models_are_loaded_and_warmed(void **state) {
    struct place *p = *state;
    struct gb_error *err = NULL;
    if (!getenv("GLOVEBOX_WORKER")) {
        skip();
    }
    copy_model(p, "digits.onnx", "digits.onnx");
    copy_model(p, "test/types.onnx", "types.onnx");
    copy_model(p, "test/flags.onnx", "flags.onnx");
    copy_model(p, "test/sum2.onnx", "unused.onnx");
    write_text(p, "bad.onnx", "nonsense");
    write_text(p, "types.toml", "warm-up = false\n");
    add_dir(p);
    static const char *const names[] = {"types", "digits", "bad", "digits", "flags"};
    if (!gb_registry_start(p->registry, names, 5, &err)) {
        fail_msg("%s", err->message);
    }
    const struct gb_model_info *digits = info_of(p, "digits");
    if (digits->state != GB_MODEL_STATE_READY) {
        fail_msg("%s", digits->reason ? digits->reason->message : "not started");
    }
    char shape[64];
    gb_port_text(&digits->outputs[0], shape, sizeof shape);
    assert_string_equal(digits->outputs[0].name, "probabilities");
    assert_string_equal(shape, "f32[batch,10]");
    assert_true(digits->load_us > 0);
    assert_true(digits->warm_us > 0);
    assert_int_equal(info_of(p, "types")->state, GB_MODEL_STATE_READY);
    assert_int_equal(info_of(p, "types")->warm_us, 0);
    assert_int_equal(info_of(p, "flags")->state, GB_MODEL_STATE_READY);
    assert_int_equal(info_of(p, "unused")->state, GB_MODEL_STATE_KNOWN);
    assert_int_equal(info_of(p, "bad")->state, GB_MODEL_STATE_REJECTED);
    assert_null(gb_model_worker(gb_registry_find(p->registry, gb_span_of("bad"))));
    assert_non_null(gb_model_worker(gb_registry_find(p->registry, gb_span_of("digits"))));
    assert_true(gb_registry_event_fd(p->registry) >= 0);
    gb_registry_drain(p->registry);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_directory_is_listed_in_order_with_what_each_model_takes),
        TEST(the_committed_models_are_all_sound),
        TEST(two_models_of_one_stem_are_refused_naming_both),
        TEST(a_directory_that_is_not_there_is_an_error),
        TEST(bad_files_are_kept_as_rejected_with_their_reason),
        TEST(a_link_to_a_model_is_followed),
        TEST(a_file_above_the_limit_is_too_large),
        TEST(a_sidecar_that_is_wrong_rejects_its_model_only),
        TEST(one_file_can_be_added_under_a_name),
        TEST(every_failed_allocation_while_adding_is_an_error),
        TEST(an_unknown_name_cannot_be_started),
        TEST(an_empty_registry_starts),
        TEST(without_a_worker_program_starting_fails),
        TEST(a_file_that_changes_after_the_check_is_not_loaded),
        TEST(real_models_are_loaded_and_warmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
