/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiled code: the file and its judgement, the folder, the key, the compile child and its limits.
 * The real bridge and the real compiler are underneath.
 */
#include "sandbox_harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/file.h"
#include "sandbox/cache.h"

static char folder[] = P_tmpdir "/gb-cache-test-XXXXXX";
static char key_path[64], cache_path[64];
static struct gb_cache_key key = {.bytes = {1, 2, 3}};
static const struct gb_native_id id = {.engine = {7}, .program = {9}};

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(key_path, sizeof key_path, "%s/state/cache.key", folder);
    snprintf(cache_path, sizeof cache_path, "%s/cache", folder);
    return 0;
}

/* A folder without folders in it, or a file, or nothing. */
static void remove_all(const char *path) {
    DIR *dir = opendir(path);
    for (struct dirent *d = dir ? readdir(dir) : NULL; d; d = readdir(dir)) {
        if (d->d_name[0] != '.' || d->d_name[1] > '.') {
            assert_int_equal(unlinkat(dirfd(dir), d->d_name, 0), 0);
        }
    }
    if (dir) {
        closedir(dir);
    }
    assert_true(remove(path) == 0 || errno == ENOENT);
}

static void clean(void) {
    char state_path[64];
    snprintf(state_path, sizeof state_path, "%s/state", folder);
    remove_all(state_path);
    remove_all(cache_path);
}

static int remove_folder(void **state) {
    (void)state;
    clean();
    return rmdir(folder);
}

/* ---- the file ---- */

static struct gb_native some_code(size_t len) {
    struct gb_native code = {.fd = gb_memfd_new("test", NULL), .len = len, .is_component = true};
    assert_true(code.fd >= 0);
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)(i * 31);
        assert_true(gb_write_all(code.fd, &byte, 1, NULL));
    }
    assert_true(gb_native_seal(code.fd, len, NULL));
    return code;
}

/* A whole file in memory. */
static size_t some_file(uint8_t *to, size_t cap, size_t len) {
    struct gb_native code = some_code(len);
    int fd = gb_memfd_new("file", NULL);
    assert_true(gb_native_write(fd, &key, &code, &id, NULL));
    ssize_t n = pread(fd, to, cap, 0);
    assert_int_equal(n, gb_native_file_bytes(&code));
    close(fd);
    gb_native_fini(&code);
    return (size_t)n;
}

static bool accepts(const uint8_t *bytes, size_t len, const struct gb_cache_key *k) {
    struct gb_native code, again;
    struct gb_native_id is;
    struct gb_error *e = NULL;
    bool ok = gb_native_parse(gb_span_make(bytes, len), k, &code, &is, &e);
    assert_true(ok == (e == NULL));
    if (!ok) {
        assert_int_equal(e->code, GB_ARTIFACT_UNTRUSTED);
    } else {
        gb_native_fini(&code);
    }
    gb_error_free(e);
    /* From a file the answer is the same. */
    e = NULL;
    int fd = gb_memfd_new("file", NULL);
    assert_true(gb_write_all(fd, bytes, len, NULL));
    assert_true(gb_native_read(fd, k, &again, &is, &e) == ok);
    if (ok) {
        gb_native_fini(&again);
    }
    gb_error_free(e);
    close(fd);
    return ok;
}

static void test_a_file_is_read_back(void **state) {
    (void)state;
    uint8_t file[1024];
    size_t len = some_file(file, sizeof file, 500);
    struct gb_native code;
    struct gb_native_id is;
    assert_true(gb_native_parse(gb_span_make(file, len), &key, &code, &is, NULL));
    assert_memory_equal(&is, &id, sizeof is);
    assert_int_equal(code.len, 500);
    assert_true(code.is_component);
    uint8_t bytes[500];
    assert_int_equal(pread(code.fd, bytes, sizeof bytes, 0), 500);
    assert_memory_equal(bytes, file + GB_NATIVE_HEADER_BYTES, 500);
    gb_native_fini(&code);
}

static void test_every_flipped_bit_is_refused(void **state) {
    (void)state;
    uint8_t file[512];
    size_t len = some_file(file, sizeof file, 300);
    assert_true(accepts(file, len, &key));
    for (size_t at = 0; at < len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            file[at] ^= (uint8_t)(1 << bit);
            assert_false(accepts(file, len, &key));
            file[at] ^= (uint8_t)(1 << bit);
        }
    }
    assert_true(accepts(file, len, &key));
}

static void test_every_other_length_is_refused(void **state) {
    (void)state;
    uint8_t file[512] = {0};
    size_t len = some_file(file, sizeof file, 300);
    for (size_t cut = 0; cut < sizeof file; cut++) {
        assert_true(accepts(file, cut, &key) == (cut == len));
    }
    static const uint64_t giants[] = {0, 1, 299, 301, UINT32_MAX, (uint64_t)1 << 31,
                                      INT64_MAX, UINT64_MAX, UINT64_MAX - 127, UINT64_MAX - 128};
    for (size_t i = 0; i < GB_COUNT(giants); i++) {
        for (size_t b = 0; b < 8; b++) {
            file[80 + b] = (uint8_t)(giants[i] >> (8 * b));
        }
        assert_false(accepts(file, len, &key));
    }
}

static void test_another_key_is_refused(void **state) {
    (void)state;
    uint8_t file[512];
    size_t len = some_file(file, sizeof file, 300);
    struct gb_cache_key other = key;
    other.bytes[31] ^= 1;
    assert_false(accepts(file, len, &other));
}

static void test_what_was_judged_cannot_change(void **state) {
    (void)state;
    uint8_t file[512];
    size_t len = some_file(file, sizeof file, 300);
    int fd = gb_memfd_new("file", NULL);
    assert_true(gb_write_all(fd, file, len, NULL));
    struct gb_native code;
    struct gb_native_id is;
    assert_true(gb_native_read(fd, &key, &code, &is, NULL));
    /* The file is swapped after the check: what is used is not the file. */
    uint8_t evil[300];
    memset(evil, 0xcc, sizeof evil);
    assert_int_equal(pwrite(fd, evil, sizeof evil, GB_NATIVE_HEADER_BYTES), sizeof evil);
    uint8_t used[300];
    assert_int_equal(pread(code.fd, used, sizeof used, 0), sizeof used);
    assert_memory_equal(used, file + GB_NATIVE_HEADER_BYTES, sizeof used);
    /* And nobody who gets at the memory file can change it, either. */
    assert_int_equal(pwrite(code.fd, evil, 1, 0), -1);
    assert_int_equal(ftruncate(code.fd, 1), -1);
    assert_int_equal(ftruncate(code.fd, 4096), -1);
    assert_true(mmap(NULL, 300, PROT_READ | PROT_WRITE, MAP_SHARED, code.fd, 0) == MAP_FAILED);
    gb_native_fini(&code);
    close(fd);
}

/* ---- the key ---- */

static void assert_key(bool ok) {
    struct gb_cache_key k;
    struct gb_error *e = NULL;
    assert_true(gb_cache_key_load(key_path, &k, &e) == ok);
    if (!ok) {
        assert_int_equal(e->code, GB_PERMISSION_DENIED);
        assert_non_null(e->hint);
    }
    gb_error_free(e);
}

static void test_the_key_is_made_once_for_us_alone(void **state) {
    (void)state;
    clean();
    struct gb_cache_key a, b;
    assert_true(gb_cache_key_load(key_path, &a, NULL));
    assert_true(gb_cache_key_load(key_path, &b, NULL));
    assert_memory_equal(&a, &b, sizeof a);
    struct stat st;
    assert_int_equal(stat(key_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    clean();
    assert_true(gb_cache_key_load(key_path, &b, NULL));
    assert_memory_not_equal(&a, &b, sizeof a);
}

static void test_a_key_that_others_could_have_is_refused(void **state) {
    (void)state;
    static const mode_t modes[] = {0640, 0604, 0602, 0620, 0610};
    for (size_t i = 0; i < GB_COUNT(modes); i++) {
        clean();
        assert_key(true);
        assert_int_equal(chmod(key_path, modes[i]), 0);
        assert_key(false);
    }
    clean();
    assert_key(true);
    char other[96];
    snprintf(other, sizeof other, "%s/state/other", folder);
    assert_int_equal(link(key_path, other), 0);
    assert_key(false);
    assert_int_equal(unlink(key_path), 0);
    assert_int_equal(symlink(other, key_path), 0);
    assert_key(false);
    clean();
    assert_key(true);
    assert_int_equal(truncate(key_path, 31), 0);
    assert_key(false);
}

/* ---- programs over a cache ---- */

struct stats {
    uint64_t entries, damaged;
};

static struct stats facts(const struct bench *b) {
    struct gb_native_facts f;
    assert_true(gb_sandbox_native_facts(b->sandbox, &f, NULL));
    return (struct stats){f.entries, f.damaged};
}

static void cached(struct bench *b) {
    *b = (struct bench){.limits = gb_limits_default(), .grants = {.all_models = true}};
    b->options = gb_sandbox_options_default();
    b->options.pooling = false;
    b->options.cache = true;
    b->options.cache_dir = cache_path;
    b->options.key_path = key_path;
    bench_open(b);
}

static void answer(struct bench *b, const char *text, const char *expected) {
    struct gb_call_result r = run(b, text);
    assert_ok(&r, expected);
}

static void test_a_second_run_compiles_nothing(void **state) {
    (void)state;
    clean();
    struct bench b;
    cached(&b);
    answer(&b, AGENT_ECHO, "hello");
    assert_int_equal(facts(&b).entries, 1);
    bench_fini(&b);
    cached(&b);
    b.options.compiler_path = "/nonexistent"; /* proof: it is not even looked for */
    gb_runner_free(b.runner);
    gb_sandbox_free(b.sandbox);
    gb_account_unref(b.account);
    bench_open(&b);
    answer(&b, AGENT_ECHO, "hello");
    bench_fini(&b);
}

static void test_other_engines_have_other_entries(void **state) {
    (void)state;
    clean();
    struct bench b;
    cached(&b);
    answer(&b, AGENT_ECHO, "hello");
    b.limits.fuel = 1000000;
    answer(&b, AGENT_ECHO, "hello");
    assert_int_equal(facts(&b).entries, 2);
    assert_int_equal(facts(&b).damaged, 0);
    bench_fini(&b);
}

static void test_the_folder_keeps_its_size(void **state) {
    (void)state;
    clean();
    struct bench b;
    cached(&b);
    gb_runner_free(b.runner);
    gb_sandbox_free(b.sandbox);
    gb_account_unref(b.account);
    b.options.cache_bytes_max = 40000; /* one such program has about 20,000 bytes */
    bench_open(&b);
    for (int i = 0; i < 6; i++) {
        char text[4096];
        snprintf(text, sizeof text, "%s",
                 AGENT_WITH("1", "(global $other i32 (i32.const 90010))",
                            "(call $ok (local.get $ptr) (local.get $len))"));
        char *zero = strstr(text, "90010");
        assert_non_null(zero);
        zero[4] = (char)('0' + i);
        answer(&b, text, "hello");
        struct gb_native_facts f;
        assert_true(gb_sandbox_native_facts(b.sandbox, &f, NULL));
        assert_true(f.entries >= 1 && f.bytes <= 40000);
    }
    bench_fini(&b);
}

static void assert_no_cache(const char *why) {
    struct bench b;
    cached(&b);
    answer(&b, AGENT_ECHO, "hello");
    answer(&b, AGENT_ECHO, "hello");
    struct gb_native_facts f;
    assert_true(gb_sandbox_native_facts(b.sandbox, &f, NULL));
    assert_false(f.cache);
    assert_non_null(strstr(f.cache_text, why));
    bench_fini(&b);
}

/* Opens the folder, stores the code if it is given, looks for it. */
static bool store_and_find(const struct gb_native *code) {
    struct gb_cache c;
    struct gb_native found = {.fd = -1};
    gb_cache_open(&c, true, cache_path, key_path, GB_MIB);
    if (code) {
        gb_cache_store(&c, &id, code);
    }
    bool ok = gb_cache_find(&c, &id, &found);
    if (ok) {
        uint8_t byte = 0;
        assert_int_equal(found.len, 500);
        assert_true(found.is_component);
        assert_int_equal(pread(found.fd, &byte, 1, 499), 1);
        assert_int_equal(byte, (uint8_t)(499 * 31));
        gb_native_fini(&found);
    }
    gb_cache_close(&c);
    return ok;
}

/* Also where it cannot be opened, read, written or renamed: as good as no cache, and no more. */
static void test_a_cache_that_fails_is_no_error(void **state) {
    (void)state;
    struct gb_native code = some_code(500);
    for (int persistent = 0; persistent < 2; persistent++) {
        unsigned found = 0;
        uint64_t hits = 1;
        for (uint64_t n = 1; hits > 0; n++) {
            clean();
            gb_fault_sys_at(n, persistent);
            found += store_and_find(&code);
            hits = gb_fault_sys_hits();
            gb_fault_sys_at(0, false);
            assert_true(store_and_find(&code)); /* nothing is in its way */
            gb_fault_sys_at(n, persistent);
            found += store_and_find(NULL);
            gb_fault_sys_at(0, false);
            assert_true(store_and_find(NULL));
            assert_true(n < 1000);
        }
        assert_true(found > 0);
    }
    gb_native_fini(&code);
}

static void test_without_a_cache_things_run(void **state) {
    (void)state;
    clean();
    assert_int_equal(mkdir(cache_path, 0777), 0);
    assert_int_equal(chmod(cache_path, 0777), 0);
    assert_no_cache("can be written by others");
    clean();
    int fd = open(cache_path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_no_cache("could not");
    clean();
    assert_key(true);
    assert_int_equal(chmod(key_path, 0644), 0);
    assert_no_cache("is not used");
    clean();
}

/* ---- the child ---- */

static void limited(struct bench *b) {
    *b = (struct bench){.limits = gb_limits_default(), .grants = {.all_models = true}};
    b->options = gb_sandbox_options_default();
    b->options.pooling = false;
    b->options.compile_cpu_s = 1;
    bench_open(b);
}

/* Nested loops that all carry all locals: the compiler keeps their product. */
static char *nested_loops(size_t count) {
    struct gb_buf t;
    gb_buf_init(&t, SIZE_MAX / 2);
    bool ok = gb_buf_append_text(&t, "(module (func (export \"_start\") (local", NULL);
    for (size_t i = 0; ok && i < count; i++) {
        ok = gb_buf_append_text(&t, " i64", NULL);
    }
    ok = ok && gb_buf_append_text(&t, ")", NULL);
    for (size_t i = 0; ok && i < count; i++) {
        ok = gb_buf_append_text(&t, " loop", NULL);
    }
    for (size_t i = 0; ok && i < count; i++) {
        ok = gb_buf_append_format(&t, NULL,
                                  " local.get %zu i64.const %zu i64.mul local.set %zu", i, i + 3,
                                  (i + 1) % count);
    }
    for (size_t i = 0; ok && i < count; i++) {
        ok = gb_buf_append_text(&t, " local.get 0 i32.wrap_i64 br_if 0 end", NULL);
    }
    assert_true(ok && gb_buf_append_text(&t, "))", NULL));
    return gb_buf_take(&t);
}

/* Loads it; the error, or NULL where it was compiled. */
static struct gb_error *load_bomb(struct bench *b, size_t loops) {
    char *text = nested_loops(loops);
    struct gb_error *e = NULL;
    struct gb_program *p = try_load(b, text, &e);
    if (p) {
        gb_program_unref(p);
    }
    gb_free(text);
    return e;
}

static void test_compiling_ends_at_its_limit_of_time(void **state) {
    (void)state;
    struct bench b;
    limited(&b);
    uint64_t start_us = gb_now_us();
    struct gb_error *e = load_bomb(&b, 5000);
    assert_error(e, GB_COMPILE_LIMIT,
                 "compiling \"guest.wasm\" took longer than it may: 1 s of processor time",
                 "Make the program smaller, or split its largest functions.");
    gb_error_free(e);
    assert_true(gb_now_us() - start_us < 24000000);
    answer(&b, AGENT_ECHO, "hello");
    bench_fini(&b);
}

static void test_compiling_ends_at_its_limit_of_memory(void **state) {
    (void)state;
    struct bench b;
    limited(&b);
    gb_runner_free(b.runner);
    gb_sandbox_free(b.sandbox);
    gb_account_unref(b.account);
    b.options.compile_cpu_s = 30;
    b.options.compile_memory_bytes = 128 * GB_MIB; /* the compiler itself takes half of it */
    bench_open(&b);
    struct gb_error *e = load_bomb(&b, 3000);
    assert_error(e, GB_COMPILE_LIMIT, NULL, NULL);
    assert_non_null(strstr(e->message, "took more memory than it may"));
    gb_error_free(e);
    answer(&b, AGENT_ECHO, "hello"); /* small ones still fit */
    bench_fini(&b);
}

static void test_a_missing_compiler_is_said(void **state) {
    (void)state;
    struct bench b;
    limited(&b);
    gb_runner_free(b.runner);
    gb_sandbox_free(b.sandbox);
    gb_account_unref(b.account);
    b.options.compiler_path = "/nonexistent/glovebox-compiler";
    bench_open(&b);
    assert_load_fails(&b, AGENT_ECHO, GB_BACKEND_MISSING,
                      "the compiler program \"glovebox-compiler\" was not found (looked in "
                      "\"/nonexistent/glovebox-compiler\")",
                      "Set GLOVEBOX_COMPILER to the glovebox-compiler program.");
    b.options.compiler_path = NULL;
    bench_fini(&b);
}

static void test_a_compiler_that_says_nothing_is_a_defect(void **state) {
    (void)state;
    struct bench b;
    limited(&b);
    gb_runner_free(b.runner);
    gb_sandbox_free(b.sandbox);
    gb_account_unref(b.account);
    b.options.compiler_path = "/bin/true";
    bench_open(&b);
    struct gb_error *e = NULL;
    assert_null(try_load(&b, AGENT_ECHO, &e));
    assert_error(e, GB_INTERNAL, "the compiler failed on \"guest.wasm\"", NULL);
    assert_string_equal(e->detail, "it ended with status 0 and no report");
    gb_error_free(e);
    bench_fini(&b);
}

static void test_native_code_is_refused(void **state) {
    (void)state;
    struct bench b;
    limited(&b);
    assert_load_fails(&b, "\177ELF\2\1\1", GB_ARTIFACT_UNTRUSTED,
                      "\"guest.wasm\" is native code that this host did not make", NULL);
    uint8_t file[512];
    size_t len = some_file(file, sizeof file, 300); /* whole, under another key */
    struct gb_error *e = NULL;
    assert_null(gb_program_load(b.sandbox, "guest.wasm", gb_span_make(file, len), &b.limits,
                                &b.grants, &e));
    assert_error(e, GB_ARTIFACT_UNTRUSTED, NULL, NULL);
    gb_error_free(e);
    bench_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_is_read_back),
        cmocka_unit_test(test_every_flipped_bit_is_refused),
        cmocka_unit_test(test_every_other_length_is_refused),
        cmocka_unit_test(test_another_key_is_refused),
        cmocka_unit_test(test_what_was_judged_cannot_change),
        cmocka_unit_test(test_the_key_is_made_once_for_us_alone),
        cmocka_unit_test(test_a_key_that_others_could_have_is_refused),
        cmocka_unit_test(test_a_second_run_compiles_nothing),
        cmocka_unit_test(test_other_engines_have_other_entries),
        cmocka_unit_test(test_the_folder_keeps_its_size),
        cmocka_unit_test(test_a_cache_that_fails_is_no_error),
        cmocka_unit_test(test_without_a_cache_things_run),
        cmocka_unit_test(test_compiling_ends_at_its_limit_of_time),
        cmocka_unit_test(test_compiling_ends_at_its_limit_of_memory),
        cmocka_unit_test(test_a_missing_compiler_is_said),
        cmocka_unit_test(test_a_compiler_that_says_nothing_is_a_defect),
        cmocka_unit_test(test_native_code_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
