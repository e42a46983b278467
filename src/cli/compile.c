/* SPDX-License-Identifier: Apache-2.0 */
/* `glovebox compile FILE -o OUT`: a program's code, for this user on this machine. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/setup.h"

struct values {
    struct gb_common_options common;
    struct gb_engine_values engine;
    const char *output;
    bool fuel;
};
static const struct gb_option rows[] = {
    {.name = "output", .letter = 'o', .kind = GB_OPTION_TEXT,
     .offset = offsetof(struct values, output), .value = "OUT", .help = "The file to write."},
    {.name = "fuel", .kind = GB_OPTION_FLAG, .offset = offsetof(struct values, fuel),
     .help = "For runs with --fuel, which need other code."},
    GB_ENGINE_ROWS(struct values),
    GB_COMMON_ROWS(struct values),
};
static const struct gb_option_table table = {
    .verb = "compile", .options = rows, .len = GB_COUNT(rows)};

static bool check(const struct values *v, const struct gb_operands *operands,
                  struct gb_error **err) {
    if (operands->len == 1 && v->output && v->output[0] != '\0') {
        return gb_setup_common(&v->common, GB_INTERRUPT_JSON, err);
    }
    if (operands->len > 1) {
        gb_fail(err, GB_USAGE_ERROR, "\"%s\" is one argument too many", operands->items[1]);
    } else if (operands->len == 0) {
        gb_fail(err, GB_USAGE_ERROR, "no file was given");
    } else {
        gb_fail(err, GB_USAGE_ERROR, "no -o OUT says where to write");
    }
    return gb_hint(err, "Write `glovebox compile FILE -o OUT`.");
}

static bool compile(const struct values *v, const char *path, struct gb_error **err) {
    struct gb_host_options options;
    gb_setup_host_options(&v->engine, &options);
    struct gb_host *host = gb_host_new(&options, err);
    if (!host) {
        return false;
    }
    struct gb_limit_options limits;
    gb_limit_options_default(&limits);
    limits.fuel = v->fuel ? 1 : 0;
    bool ok = gb_host_compile_file(host, path, NULL, &limits, v->output, err);
    gb_host_free(host);
    return ok;
}

static bool print_result(const struct values *v, struct gb_error **err) {
    struct stat st;
    if (stat(v->output, &st) != 0) {
        return gb_fail(err, GB_IO, "\"%s\" is gone", v->output);
    }
    if (v->common.json) {
        struct gb_buf out;
        gb_buf_init(&out, 128);
        bool ok = gb_buf_append_format(&out, err, "{\"ok\":true,\"bytes\":%llu}\n",
                                       (unsigned long long)st.st_size);
        gb_out(STDOUT_FILENO, gb_buf_text(&out), out.len);
        gb_buf_fini(&out);
        return ok;
    }
    return true;
}

static int compile_main(const struct gb_verb *verb, int argc, char **argv) {
    struct values v = {0};
    struct gb_operands operands = {0};
    struct gb_error *e = NULL;
    bool ok = gb_options_parse(&table, argc, argv, &v, &operands, &e);
    if (ok && v.common.help) {
        gb_options_fini(&table, &v);
        return gb_verb_help(verb);
    }
    ok = ok && check(&v, &operands, &e) && compile(&v, operands.items[0], &e);
    gb_signals_claim_output();
    ok = ok && print_result(&v, &e);
    bool as_json = v.common.json;
    gb_options_fini(&table, &v);
    return ok ? gb_out_exit_status(0) : gb_print_failure(e, as_json);
}

const struct gb_verb gb_verb_compile = {
    .name = "compile",
    .synopsis = "[OPTIONS] FILE -o OUT",
    .summary = "compile a program ahead of time",
    .about = "Writes the native code of a component or module. `glovebox run OUT` then starts\n"
             "without compiling, for this user, on this machine, with this version only: the file\n"
             "carries a MAC by a key in $XDG_STATE_HOME or ~/.local/state, and code without one\n"
             "is refused. `run` keeps code in its cache by itself; this is for files you keep.",
    .notes = "Exit status: 0 written; 101 no valid program; 102 compiling took more time or\n"
             "memory than allowed.\n",
    .table = &table,
    .run = compile_main,
};
