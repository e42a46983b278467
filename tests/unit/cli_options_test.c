/* SPDX-License-Identifier: Apache-2.0 */
/* Options by a table; and the table of `run`, whose defaults must be the library's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/options.c"
#include "cli/run_options.c"
#include "cli/setup.c"
#include "cli/values.c"

/* What run_options.c and setup.c need of files that are not under test. */
void gb_signals_report_as(enum gb_interrupt_report form) {
    (void)form;
}
bool gb_signals_start(struct gb_error **err) {
    (void)err;
    return true;
}

struct test_values {
    struct gb_common_options common;
    const char *text;
    struct gb_option_list list;
    uint64_t size, count;
    int choice;
    bool flag;
};
static const char *const choices[] = {"one", "two", NULL};
#define TEST_AT(field) offsetof(struct test_values, field)
static const struct gb_option test_rows[] = {
    {.name = "text", .letter = 't', .kind = GB_OPTION_TEXT, .offset = TEST_AT(text),
     .value = "TEXT", .help = "A text."},
    {.name = "list", .kind = GB_OPTION_LIST, .offset = TEST_AT(list), .value = "ITEM",
     .help = "A list."},
    {.name = "size", .kind = GB_OPTION_SIZE, .offset = TEST_AT(size), .value = "SIZE",
     .initial = "2KiB", .min = 1024, .max = 4096, .help = "A size."},
    {.name = "count", .kind = GB_OPTION_COUNT, .offset = TEST_AT(count), .value = "N",
     .help = "A count."},
    {.name = "choice", .kind = GB_OPTION_CHOICE, .offset = TEST_AT(choice), .choices = choices,
     .initial = "two", .help = "A choice."},
    {.name = "flag", .kind = GB_OPTION_FLAG, .offset = TEST_AT(flag), .help = "A flag."},
    GB_COMMON_ROWS(struct test_values),
};
static const struct gb_option_table stopping = {
    .verb = "test", .options = test_rows, .len = GB_COUNT(test_rows), .stop_at_operand = true};
static const struct gb_option_table mixed = {
    .verb = "test", .options = test_rows, .len = GB_COUNT(test_rows)};

enum { WORDS_MAX = 16 };
struct line {
    char *argv[WORDS_MAX];
    int argc;
    struct test_values values;
    struct gb_operands operands;
    struct gb_error *error;
};

static bool parse(const struct gb_option_table *table, struct line *l, const char *const *words) {
    *l = (struct line){0};
    while (words[l->argc]) {
        l->argv[l->argc] = gb_strdup(words[l->argc], NULL);
        l->argc++;
    }
    char *words_owned[WORDS_MAX];
    memcpy(words_owned, l->argv, sizeof words_owned);
    return gb_options_parse(table, l->argc, words_owned, &l->values, &l->operands, &l->error);
}

static void done(struct line *l) {
    gb_options_fini(&stopping, &l->values);
    gb_error_free(l->error);
    for (int i = 0; i < l->argc; i++) {
        gb_free(l->argv[i]);
    }
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void defaults_come_from_the_table(void **state) {
    (void)state;
    struct line l;
    assert_true(parse(&stopping, &l, WORDS("program")));
    assert_int_equal(l.values.size, 2048);
    assert_int_equal(l.values.choice, 1);
    assert_null(l.values.text);
    assert_int_equal(l.operands.len, 1);
    done(&l);
}

static void every_kind_is_read(void **state) {
    (void)state;
    struct line l;
    assert_true(parse(&stopping, &l,
                      WORDS("-t", "a", "--list", "x", "--list=y", "--size=4KiB", "--count", "3",
                            "--choice", "one", "--flag", "--json")));
    assert_string_equal(l.values.text, "a");
    assert_int_equal(l.values.list.len, 2);
    assert_string_equal(l.values.list.items[1], "y");
    assert_int_equal(l.values.size, 4096);
    assert_int_equal(l.values.count, 3);
    assert_int_equal(l.values.choice, 0);
    assert_true(l.values.flag && l.values.common.json);
    assert_int_equal(l.operands.len, 0);
    done(&l);
}

static void options_stop_at_the_first_operand(void **state) {
    (void)state;
    struct line l;
    assert_true(parse(&stopping, &l, WORDS("--flag", "program", "--json", "--nonsense")));
    assert_false(l.values.common.json);
    assert_int_equal(l.operands.len, 3);
    assert_string_equal(l.operands.items[0], "program");
    done(&l);
    assert_true(parse(&stopping, &l, WORDS("-", "--json")));
    assert_string_equal(l.operands.items[0], "-");
    done(&l);
    assert_true(parse(&stopping, &l, WORDS("--", "--json")));
    assert_string_equal(l.operands.items[0], "--json");
    done(&l);
}

static void options_and_operands_may_mix(void **state) {
    (void)state;
    struct line l;
    assert_true(parse(&mixed, &l, WORDS("a", "--flag", "b", "--", "--json")));
    assert_true(l.values.flag);
    assert_int_equal(l.operands.len, 3);
    assert_string_equal(l.operands.items[1], "b");
    assert_string_equal(l.operands.items[2], "--json");
    done(&l);
}

static void mistakes_are_usage_errors(void **state) {
    (void)state;
    static const char *const wrong[][4] = {
        {"--nonsense", "program"},  {"--tex", "a"},    {"-x"},           {"-tx"},
        {"--text"},                 {"--text", "--flag"}, {"--flag=1"},  {"--size", "1KB"},
        {"--size", "1023"},         {"--size", "4097"},   {"--choice", "three"}, {"--count="},
        {"--", NULL},
    };
    for (size_t i = 0; i + 1 < GB_COUNT(wrong); i++) {
        struct line l;
        assert_false(parse(&stopping, &l, wrong[i]));
        assert_int_equal(l.error->code, GB_USAGE_ERROR);
        assert_non_null(l.error->hint);
        assert_false(l.values.common.json);
        done(&l);
    }
}

static void json_is_found_behind_a_mistake(void **state) {
    (void)state;
    struct line l;
    assert_false(parse(&stopping, &l, WORDS("--nonsense", "value", "--json", "program")));
    assert_true(l.values.common.json);
    done(&l);
    assert_false(parse(&stopping, &l, WORDS("--json", "--nonsense")));
    assert_true(l.values.common.json);
    done(&l);
    assert_false(parse(&stopping, &l, WORDS("--nonsense", "--", "--json")));
    assert_false(l.values.common.json);
    done(&l);
}

static void help_ends_the_reading(void **state) {
    (void)state;
    struct line l;
    assert_true(parse(&stopping, &l, WORDS("-h", "--nonsense")));
    assert_true(l.values.common.help);
    done(&l);
}

static void help_has_every_option(void **state) {
    (void)state;
    struct gb_buf out;
    gb_buf_init(&out, 1 << 20);
    assert_true(gb_options_help(&gb_run_table, &out, NULL));
    for (size_t i = 0; i < gb_run_table.len; i++) {
        char name[64];
        snprintf(name, sizeof name, "--%s", gb_run_table.options[i].name);
        assert_non_null(strstr(gb_buf_text(&out), name));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(gb_run_table.options[i].name, gb_run_table.options[k].name);
        }
    }
    gb_buf_fini(&out);
}

/* The command line and the library promise the same limits. */
static void defaults_of_run_are_the_librarys(void **state) {
    (void)state;
    struct gb_run_values v = {0};
    struct gb_operands operands;
    char program[] = "program";
    char *argv[] = {program};
    assert_true(gb_options_parse(&gb_run_table, 1, argv, &v, &operands, NULL));
    assert_true(gb_run_check(&v, NULL));
    struct gb_run_options made;
    assert_true(gb_run_options_make(&v, &made, NULL));
    struct gb_limit_options limits;
    gb_limit_options_default(&limits);
    assert_int_equal(made.limits.memory_bytes, limits.memory_bytes);
    assert_int_equal(made.limits.table_elements, limits.table_elements);
    assert_int_equal(made.limits.instances, limits.instances);
    assert_int_equal(made.limits.handles, limits.handles);
    assert_int_equal(made.limits.fuel, limits.fuel);
    assert_int_equal(made.limits.deadline_us, limits.deadline_us);
    assert_int_equal(made.limits.output_bytes, limits.output_bytes);
    assert_int_equal(made.limits.output_drop, limits.output_drop);
    struct gb_host_options host;
    gb_host_options_default(&host);
    assert_int_equal(made.host.host_bytes, host.host_bytes);
    assert_int_equal(made.host.budget_bytes, host.budget_bytes);
    assert_int_equal(made.host.stack_bytes, host.stack_bytes);
    assert_int_equal(made.host.memory_bytes_max, host.memory_bytes_max);
    assert_int_equal(made.host.jail_best_effort, host.jail_best_effort);
    assert_int_equal(made.host.calls_max, 1); /* one call at once: a smaller pool */
    assert_true(made.grants.all_models);
    assert_int_equal(made.grants.dirs_len + made.grants.env_len + made.grants.models_len, 0);
    gb_run_options_fini(&made);
    gb_options_fini(&gb_run_table, &v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_from_the_table),
        cmocka_unit_test(every_kind_is_read),
        cmocka_unit_test(options_stop_at_the_first_operand),
        cmocka_unit_test(options_and_operands_may_mix),
        cmocka_unit_test(mistakes_are_usage_errors),
        cmocka_unit_test(json_is_found_behind_a_mistake),
        cmocka_unit_test(help_ends_the_reading),
        cmocka_unit_test(help_has_every_option),
        cmocka_unit_test(defaults_of_run_are_the_librarys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
