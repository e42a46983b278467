/* SPDX-License-Identifier: Apache-2.0 */
/* The GGUF validator: what it must accept, what it must refuse and how, each limit from both sides,
 * and that no damage to a file makes it crash. The files are seeds of the fuzz target, which
 * models/make_gguf_models.py writes; numbers in them are changed here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "model/gguf.h"

#define SEEDS GB_TEST_SOURCE_DIR "/tests/fuzz/seeds/gguf/"
#define HEAD_BYTES 24

static struct gb_gguf_summary summary;

struct file {
    uint8_t *at;
    size_t len;
};

static struct file read_seed(const char *name) {
    char path[512];
    struct file f;
    struct gb_error *err = NULL;
    (void)snprintf(path, sizeof path, SEEDS "%s", name);
    if (!gb_file_read(path, 1 << 20, GB_MODEL_TOO_LARGE, &f.at, &f.len, &err)) {
        fail_msg("%s", err->message);
    }
    return f;
}

static bool check(struct file f, struct gb_error **err) {
    return gb_gguf_check(gb_span_make(f.at, f.len), &summary, err);
}

static void accepts(struct file f) {
    struct gb_error *err = NULL;
    if (!check(f, &err)) {
        fail_msg("refused: %s: %s", gb_code_text(err->code), err->message);
    }
    assert_null(err);
}

static void refuses(struct file f, enum gb_code code, const char *part) {
    struct gb_error *err = NULL;
    if (check(f, &err)) {
        fail_msg("accepted what must fail with: %s", part);
    }
    assert_non_null(err);
    if (err->code != code || !strstr(err->message, part) || !err->hint) {
        fail_msg("expected %s and \"%s\", got %s: %s", gb_code_text(code), part,
                 gb_code_text(err->code), err->message);
    }
    gb_error_free(err);
}

/* Where the value of a key begins: behind the key and its type. */
static uint8_t *value_of(struct file f, const char *key) {
    size_t len = strlen(key);
    for (size_t i = HEAD_BYTES; i + 8 + len + 12 <= f.len; i++) {
        if (f.at[i] == len && f.at[i + 1] == 0 && memcmp(f.at + i + 8, key, len) == 0) {
            return f.at + i + 8 + len + 4;
        }
    }
    fail_msg("there is no key %s", key);
    return NULL;
}

static void set_u32(struct file f, const char *key, uint32_t number) {
    memcpy(value_of(f, key), &number, sizeof number);
}

/* ---- sound files ---- */

static void a_sound_file_is_described(void **state) {
    (void)state;
    struct file f = read_seed("good_llama");
    accepts(f);
    assert_int_equal(summary.version, 3);
    assert_string_equal(summary.architecture, "llama");
    assert_string_equal(summary.title, "Nobody 0.02M");
    assert_string_equal(summary.tokenizer, "llama");
    assert_string_equal(summary.quantisation, "Q8_0");
    assert_string_equal(summary.weights_type, "Q8_0");
    assert_int_equal(summary.tensors, 7);
    assert_int_equal(summary.parameters, 2 * 32 * 8 + 2 * (32 + 32 * 4) + 32);
    assert_int_equal(summary.header_bytes + summary.tensor_bytes, f.len);
    assert_int_equal(summary.context_length, 128);
    assert_int_equal(summary.embedding_length, 32);
    assert_int_equal(summary.blocks, 2);
    assert_int_equal(summary.heads, 4);
    assert_int_equal(summary.kv_heads, 2);
    assert_int_equal(summary.vocabulary, 8);
    assert_in_range(summary.chat_template_bytes, 40, 80);
    assert_int_equal(summary.findings_len, 0);
    gb_free(f.at);
}

static void every_good_seed_is_accepted(void **state) {
    (void)state;
    size_t seen = 0;
    DIR *dir = opendir(SEEDS);
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (strncmp(e->d_name, "good_", 5) == 0) {
            struct file f = read_seed(e->d_name);
            accepts(f);
            gb_free(f.at);
            seen++;
        }
    }
    closedir(dir);
    assert_true(seen >= 12);
}

static void what_is_odd_is_a_finding(void **state) {
    (void)state;
    struct file f = read_seed("good_tail");
    accepts(f);
    assert_int_equal(summary.findings_len, 1);
    assert_non_null(strstr(summary.findings[0], "81 bytes follow the last tensor"));
    set_u32(f, "llama.vocab_size", 9);
    set_u32(f, "general.file_type", 77);
    accepts(f);
    assert_int_equal(summary.findings_len, 3);
    assert_string_equal(summary.quantisation, "Q8_0"); /* by its tensors */
    gb_free(f.at);
    f = read_seed("good_no_template");
    accepts(f);
    assert_int_equal(summary.chat_template_bytes, 0);
    assert_non_null(strstr(summary.findings[0], "no chat template"));
    gb_free(f.at);
}

static void a_title_is_shown_printable_and_cut(void **state) {
    (void)state;
    struct file f = read_seed("good_llama");
    memcpy(value_of(f, "general.name") + 8, "\x1b[2J\xe2\x80\xae", 7);
    accepts(f);
    assert_string_equal(summary.title, "\\x1b[2J\\xe2\\x80\\xae0.02M");
    gb_free(f.at);
}

static void a_file_without_attention_needs_no_heads(void **state) {
    (void)state;
    struct file f = read_seed("good_mamba");
    accepts(f);
    assert_string_equal(summary.architecture, "mamba");
    assert_int_equal(summary.heads, 0);
    gb_free(f.at);
}

/* ---- what is refused ---- */

static void each_bad_seed_is_refused_for_its_own_reason(void **state) {
    static const struct {
        const char *name;
        enum gb_code code;
        const char *part;
    } seeds[] = {
        {"alignment_2147483648", GB_MODEL_REJECTED, "the alignment is 2147483648; 8 to 65536"},
        {"array_nested", GB_MODEL_REJECTED, "the value of \"x\" is an array of arrays"},
        {"bool_two", GB_MODEL_INVALID, "\"x\" is a bool and has the value 2"},
        {"byte_token_negative", GB_MODEL_INVALID, "token 3 stands for a byte and is \"<0x-1>\""},
        {"cut_data", GB_MODEL_INVALID, "it is not whole"},
        {"dims_wrap_to_small", GB_MODEL_REJECTED, "is 4294967296; at most 2147483647"},
        {"embeddings_rows", GB_MODEL_INVALID, "has 9 rows for 8 tokens"},
        {"heads_negative", GB_MODEL_INVALID, "a block has -4 heads"},
        {"id_minus_one", GB_MODEL_INVALID, "\"tokenizer.ggml.padding_token_id\" is 4294967295"},
        {"key_twice", GB_MODEL_INVALID, "the key \"llama.block_count\" is there twice"},
        {"merge_single", GB_MODEL_INVALID, "merge 1 is \"abc\""},
        {"offset_wraps", GB_MODEL_INVALID, "\"t\" ends outside the file"},
        {"split_first", GB_MODEL_REJECTED, "part 1 of a model that is split into 3 files"},
        {"string_huge", GB_MODEL_INVALID, "said to have 18446744073709551615 bytes"},
        {"tensor_count_wraps", GB_MODEL_INVALID, "tensors, more than it has room for"},
        {"token_twice", GB_MODEL_INVALID, "token 7 is \"a\", as one before it"},
        {"types_negative", GB_MODEL_INVALID, "token 7 is of the type -1"},
    };
    (void)state;
    for (size_t i = 0; i < GB_COUNT(seeds); i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "bad_%s", seeds[i].name);
        struct file f = read_seed(name);
        refuses(f, seeds[i].code, seeds[i].part);
        assert_false(check(f, NULL)); /* a probe leaks nothing */
        gb_free(f.at);
    }
}

static void sizes_are_refused_right_above_their_limits(void **state) {
    static const struct {
        const char *key;
        uint32_t last;
        const char *part;
    } limits[] = {
        {"llama.context_length", 1u << 24, "is 16777217; at most 16777216"},
        {"llama.attention.head_count_kv", 4, "do not divide among 5"},
        {"tokenizer.ggml.eos_token_id", 7, "is 8, and there are 8 tokens"},
        {"tokenizer.ggml.bos_token_id", 7, "is 8, and there are 8 tokens"},
    };
    (void)state;
    for (size_t i = 0; i < GB_COUNT(limits); i++) {
        struct file f = read_seed("good_llama");
        set_u32(f, limits[i].key, limits[i].last);
        accepts(f);
        set_u32(f, limits[i].key, limits[i].last + 1);
        struct gb_error *err = NULL;
        assert_false(check(f, &err));
        assert_non_null(strstr(err->message, limits[i].part));
        gb_error_free(err);
        gb_free(f.at);
    }
}

static void blocks_and_experts_are_bounded(void **state) {
    (void)state;
    struct file f = read_seed("good_llama");
    set_u32(f, "llama.block_count", 512);
    accepts(f);
    set_u32(f, "llama.block_count", 513);
    refuses(f, GB_MODEL_REJECTED, "at most 512");
    gb_free(f.at);
    f = read_seed("good_experts");
    set_u32(f, "llama.expert_count", 1024);
    accepts(f);
    set_u32(f, "llama.expert_count", 1025);
    refuses(f, GB_MODEL_REJECTED, "at most 1024");
    set_u32(f, "llama.expert_count", 1);
    refuses(f, GB_MODEL_INVALID, "uses 2 of its 1 experts");
    gb_free(f.at);
}

static void a_file_is_whole_or_refused(void **state) {
    (void)state;
    struct file f = read_seed("good_llama");
    for (size_t len = 0; len < f.len; len++) {
        struct gb_error *err = NULL;
        /* A copy of just that size, so that a step too far is seen. */
        uint8_t *copy = malloc(len + (len == 0));
        assert_non_null(copy);
        memcpy(copy, f.at, len);
        assert_false(gb_gguf_check(gb_span_make(copy, len), &summary, &err));
        assert_int_equal(err->code, GB_MODEL_INVALID);
        assert_non_null(err->hint);
        gb_error_free(err);
        free(copy);
    }
    gb_free(f.at);
}

static void damage_is_survived(const char *name) {
    static const uint8_t bytes[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    struct file f = read_seed(name);
    unsigned accepted = 0;
    for (size_t i = 0; i < f.len; i++) {
        uint8_t old = f.at[i];
        for (size_t k = 0; k < GB_COUNT(bytes) + 8; k++) {
            struct gb_error *err = NULL;
            unsigned flipped = old ^ 1u << (k & 7);
            f.at[i] = k < 8 ? (uint8_t)flipped : bytes[k - 8];
            bool ok = check(f, &err);
            assert_int_equal(ok, err == NULL);
            accepted += ok;
            gb_error_free(err);
        }
        f.at[i] = old;
    }
    assert_true(accepted > 0); /* weights may be anything */
    gb_free(f.at);
}

static void every_flipped_bit_and_odd_byte_is_survived(void **state) {
    (void)state;
    damage_is_survived("good_merges");
    damage_is_survived("good_heads_per_block");
}

/* ---- faults ---- */

static void every_failed_allocation_is_an_error(void **state) {
    (void)state;
    struct file f = read_seed("good_llama");
    bool ok = false;
    unsigned nth = 1;
    for (; !ok && nth < 100; nth++) {
        struct gb_error *err = NULL;
        gb_alloc_fail_at(nth);
        ok = check(f, &err);
        gb_alloc_fail_at(0);
        assert_int_equal(ok, err == NULL);
        gb_error_free(err);
    }
    assert_in_range(nth, 5, 20);
    gb_free(f.at);
}

static void without_random_numbers_it_still_works(void **state) {
    (void)state;
    struct file f = read_seed("good_llama");
    gb_fault_sys_kind_at(GB_SYS_RANDOM, 1, true);
    bool ok = check(f, NULL);
    uint64_t hits = gb_fault_sys_hits();
    gb_fault_sys_at(0, false);
    assert_true(ok);
    assert_true(hits >= 3);
    gb_free(f.at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_file_is_described),
        cmocka_unit_test(every_good_seed_is_accepted),
        cmocka_unit_test(what_is_odd_is_a_finding),
        cmocka_unit_test(a_title_is_shown_printable_and_cut),
        cmocka_unit_test(a_file_without_attention_needs_no_heads),
        cmocka_unit_test(each_bad_seed_is_refused_for_its_own_reason),
        cmocka_unit_test(sizes_are_refused_right_above_their_limits),
        cmocka_unit_test(blocks_and_experts_are_bounded),
        cmocka_unit_test(a_file_is_whole_or_refused),
        cmocka_unit_test(every_flipped_bit_and_odd_byte_is_survived),
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(without_random_numbers_it_still_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
