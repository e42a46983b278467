/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `glovebox run`: load the guest, start the models it needs, call it, print what came of it. Every
 * way out, a wrong option and a signal too, ends in one gb_outcome that is printed once.
 */
#include "cli/run.h"

#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/num.h"
#include "cli/series.h"
#include "glovebox/value.h"

#define ARGUMENT_BYTES_MAX ((size_t)GB_MIB)

struct run {
    struct gb_run_values values;
    struct gb_operands operands; /* PROGRAM and its arguments */
    struct gb_run_options options;
    struct gb_host *host;
    struct gb_guest *guest;
    const char **args;    /* commands: argv */
    struct gb_args *call_args; /* called functions */
    char *stdin_argument; /* agents: when it was read from stdin */
    struct gb_call_options call;
    struct gb_series series;
};

/* ---- output while the guest runs ---- */

/* An agent's answer is what goes to stdout; what it prints on the way goes to stderr. */
static void agent_output(void *user, int stream, const char *bytes, size_t len) {
    (void)user;
    (void)stream;
    gb_out_guest(STDERR_FILENO, bytes, len);
}

static void command_output(void *user, int stream, const char *bytes, size_t len) {
    (void)user;
    gb_out_guest(stream == 2 ? STDERR_FILENO : STDOUT_FILENO, bytes, len);
}

/* ---- what the guest is called with ---- */

static bool agent_argument(struct run *r, struct gb_error **err) {
    if (r->operands.len > 2) {
        gb_fail(err, GB_USAGE_ERROR, "an agent takes one argument, and %zu were given",
                r->operands.len - 1);
        return gb_hint(err, "Quote a text of several words; - reads the argument from stdin.");
    }
    const char *text = r->operands.len > 1 ? r->operands.items[1] : "";
    r->call.argument = text;
    r->call.argument_bytes = strlen(text);
    if (strcmp(text, "-") != 0) {
        return true;
    }
    if (r->values.guest_stdin) {
        gb_fail(err, GB_USAGE_ERROR, "the argument - and --stdin both want our stdin");
        return gb_hint(err, "Give the argument on the command line, or leave out --stdin.");
    }
    uint8_t *bytes;
    size_t len;
    if (!gb_fd_read_all(STDIN_FILENO, "stdin", ARGUMENT_BYTES_MAX, GB_INVALID_ARGUMENT, &bytes,
                        &len, err)) {
        return gb_hint(err, "An agent's argument can have up to 1 MiB.");
    }
    r->stdin_argument = (char *)bytes;
    r->call.argument = r->stdin_argument;
    r->call.argument_bytes = len;
    return true;
}

/* argv[0] is the program's file name without its folder: the guest has no business with paths. */
static bool command_args(struct run *r, struct gb_error **err) {
    r->args = gb_calloc(r->operands.len, sizeof *r->args, err);
    if (!r->args) {
        return false;
    }
    for (size_t i = 0; i < r->operands.len; i++) {
        r->args[i] = r->operands.items[i];
    }
    const char *slash = strrchr(r->args[0], '/');
    r->args[0] = slash && slash[1] != '\0' ? slash + 1 : r->args[0];
    r->call.args = r->args;
    r->call.args_len = r->operands.len;
    return true;
}

/* The arguments of a called function: JSON, of stdin where it says "-". */
static bool function_args(struct run *r, struct gb_error **err) {
    const char *json = r->values.args ? r->values.args : "";
    size_t len = strlen(json);
    if (r->operands.len > 1) {
        gb_fail(err, GB_USAGE_ERROR, "a called function takes its arguments by --args");
        return gb_hint(err, "Write, for example, --call greet --args '[\"you\"]' PROGRAM.");
    }
    if (strcmp(json, "-") == 0) {
        uint8_t *bytes;
        uint64_t most = GB_MAX(r->values.memory, GB_MIB) * 2;
        if (!gb_fd_read_all(STDIN_FILENO, "stdin", (size_t)most, GB_INVALID_ARGUMENT, &bytes, &len,
                            err)) {
            return gb_hint(err, "Arguments can have up to twice the bytes of --memory.");
        }
        r->stdin_argument = (char *)bytes;
        json = r->stdin_argument;
    }
    r->call_args = gb_guest_read_args(r->guest, json, len, err);
    if (!r->call_args) {
        return false;
    }
    r->call.values = gb_args_values(r->call_args, &r->call.values_len);
    return true;
}

static bool make_args(struct run *r, struct gb_error **err) {
    return r->values.call                 ? function_args(r, err)
           : gb_guest_is_agent(r->guest) ? agent_argument(r, err)
                                         : command_args(r, err);
}

/* ---- steps ---- */

static bool start_models(struct run *r, struct gb_error **err) {
    bool uses_models = gb_guest_uses_models(r->guest);
    if (!gb_setup_add_models(r->host, &r->values.models, uses_models, err)) {
        return false;
    }
    if (!uses_models) {
        return true;
    }
    const struct gb_option_list *allowed = &r->values.allow_models;
    return gb_host_start_models(r->host, allowed->len > 0 ? allowed->items : NULL, allowed->len,
                                err);
}

static bool prepare(struct run *r, struct gb_error **err) {
    if (!gb_run_options_make(&r->values, &r->options, err)) {
        return false;
    }
    r->host = gb_host_new(&r->options.host, err);
    if (!r->host) {
        return false;
    }
    const char *path = r->operands.items[0];
    const struct gb_run_options *o = &r->options;
    r->guest = r->values.call ? gb_guest_load_function(r->host, path, r->values.call, &o->grants,
                                                       &o->limits, err)
                              : gb_guest_load_file(r->host, path, &o->grants, &o->limits, err);
    if (!r->guest) {
        return false;
    }
    bool agent = r->values.call || gb_guest_is_agent(r->guest);
    bool live = !r->values.common.json && r->values.repeat == 0;
    r->call = (struct gb_call_options){.size = sizeof r->call};
    r->call.output = !live ? NULL : agent ? agent_output : command_output;
    if (!make_args(r, err) || !start_models(r, err)) {
        return false;
    }
    struct gb_series_spec spec = {.host = r->host,
                                  .guest = r->guest,
                                  .call = r->call,
                                  .calls = GB_MAX(r->values.repeat, (uint64_t)1),
                                  .jobs = GB_MAX(r->values.jobs, (uint64_t)1),
                                  .print_each = !r->values.common.json && r->values.repeat > 0};
    return gb_series_init(&r->series, &spec, err);
}

static bool parse(struct run *r, int argc, char **argv, struct gb_error **err) {
    if (!gb_options_parse(&gb_run_table, argc, argv, &r->values, &r->operands, err)) {
        return false;
    }
    if (r->values.common.help) {
        return true;
    }
    if (!gb_run_check(&r->values, err)) {
        return false;
    }
    if (r->operands.len == 0) {
        gb_fail(err, GB_USAGE_ERROR, "no program was given");
        return gb_hint(err, "Write `glovebox run PROGRAM`; options come before it.");
    }
    return gb_setup_common(&r->values.common, GB_INTERRUPT_RUN_JSON, err);
}

static void cleanup(struct run *r) {
    gb_series_fini(&r->series);
    gb_guest_free(r->guest);
    gb_host_free(r->host);
    gb_run_options_fini(&r->options);
    gb_free(r->args);
    gb_args_free(r->call_args);
    gb_free(r->stdin_argument);
    gb_options_fini(&gb_run_table, &r->values);
}

/* ---- the end ---- */

static void print_text(const struct run *r, const struct gb_outcome *o) {
    if (!o->series && o->result) {
        gb_result_print_answer(o->result);
    }
    /* Nobody reads our output: that is no error of the guest's, and nothing to talk about. */
    bool unread = o->error && o->error->code == GB_CANCELLED && gb_out_failed(STDOUT_FILENO);
    if (o->error && !unread) {
        gb_print_error(o->error);
    }
    if (o->series) {
        gb_result_print_series(o->series);
    }
    if (r->values.usage && o->usage) {
        gb_result_print_usage(o->usage);
    }
}

static int finish(struct run *r, const struct gb_outcome *o) {
    gb_signals_claim_output();
    if (r->values.common.json) {
        gb_result_print_json(o);
        if (r->values.usage && o->usage) {
            gb_result_print_usage(o->usage);
        }
    } else {
        print_text(r, o);
    }
    int status = gb_result_status(o, gb_signals_caught());
    return gb_out_failed(STDOUT_FILENO) ? gb_out_exit_status(0) : status;
}

static int finish_error(struct run *r, struct gb_error *e) {
    int status = finish(r, &(struct gb_outcome){.error = e});
    gb_error_free(e);
    cleanup(r);
    return status;
}

static int run_main(const struct gb_verb *verb, int argc, char **argv) {
    struct run r = {0};
    struct gb_error *e = NULL;
    if (!parse(&r, argc, argv, &e)) {
        return finish_error(&r, e);
    }
    if (r.values.common.help) {
        gb_options_fini(&gb_run_table, &r.values);
        return gb_verb_help(verb);
    }
    if (!prepare(&r, &e)) {
        return finish_error(&r, e);
    }
    gb_series_run(&r.series);
    struct gb_series *s = &r.series;
    bool cut_short = gb_signals_caught() != 0 && (s->ended < s->spec.calls || s->stuck);
    if (cut_short && (!s->first_error || s->first_error->code != GB_INTERRUPTED)) {
        gb_fail(&e, GB_INTERRUPTED, "a signal ended the run after %llu of %llu calls",
                (unsigned long long)s->ended, (unsigned long long)s->spec.calls);
    }
    struct gb_outcome o = {.error = e ? e : s->first_error,
                           .result = s->about,
                           .usage = s->ended > 0 ? &s->usage : NULL,
                           .series = r.values.repeat > 0 ? &s->summary : NULL};
    int status = finish(&r, &o);
    gb_error_free(e);
    if (s->stuck) {
        gb_signals_leave(status); /* a call does not end: its memory cannot be freed */
    }
    cleanup(&r);
    return status;
}

const struct gb_verb gb_verb_run = {
    .name = "run",
    .synopsis = "[OPTIONS] PROGRAM [ARG...]",
    .summary = "run an agent, a command or a module under limits, next to models",
    .about =
        "Runs a WebAssembly component or module (binary or text) in a sandbox. Where it exports\n"
        "run: func(string) -> result<string, string> it is an agent: its argument is the first\n"
        "ARG (- reads it from stdin, up to 1 MiB) and its answer goes to stdout; whatever it\n"
        "prints itself goes to stderr. Else it is a command, with ARG... as its arguments and its\n"
        "own stdout and stderr. Options come before PROGRAM; what follows it is the guest's.",
    .notes =
        "Sizes are whole numbers, of bytes or with KiB, MiB or GiB. Durations are whole numbers\n"
        "with us, ms, s or m. On a terminal, control bytes of the guest are shown as \\xNN.\n"
        "\n"
        "Exit status: 0 success; a command's own status up to 125; 1 the agent answered with an\n"
        "error; 2 usage; 100 internal, io; 101 the program, its imports or grants; 102 a limit;\n"
        "103 a trap; 104 models and engines; 105 overloaded or cancelled; 130 SIGINT;\n"
        "143 SIGTERM.\n",
    .table = &gb_run_table,
    .run = run_main,
};
