/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glovebox: the verbs. Each is a row here and a file of its own; verbs of later versions are rows
 * too, so that they are refused as what they are.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/num.h"
#include "cli/cli.h"
#include "cli/values.h"

#define HELP_BYTES_MAX ((size_t)65536)

static const struct gb_verb later[] = {
    {.name = "new", .summary = "start a project"},
    {.name = "watch", .summary = "run again when files change"},
    {.name = "chat", .summary = "talk to a language model"},
    {.name = "generate", .summary = "let a language model continue a text"},
};

static const struct gb_verb *const verbs[] = {&gb_verb_run,    &gb_verb_models,
                                              &gb_verb_inspect, &gb_verb_compile,
                                              &gb_verb_serve,  &gb_verb_check,
                                              &gb_verb_config,
                                              &gb_verb_doctor, &gb_verb_version};

/* ---- help ---- */

static bool append_verb_help(const struct gb_verb *verb, struct gb_buf *out,
                             struct gb_error **err) {
    return gb_buf_append_format(out, err, "Usage: glovebox %s %s\n\n%s\n\nOptions:\n", verb->name,
                                verb->synopsis, verb->about) &&
           gb_options_help(verb->table, out, err) &&
           (!verb->notes || gb_buf_append_format(out, err, "\n%s", verb->notes));
}

static int print_help(const struct gb_buf *out, bool ok, int fd, struct gb_error *e) {
    if (!ok) {
        return gb_print_failure(e, false);
    }
    gb_out(fd, gb_buf_text(out), out->len);
    return gb_out_exit_status(0);
}

int gb_verb_help(const struct gb_verb *verb) {
    struct gb_buf out;
    gb_buf_init(&out, HELP_BYTES_MAX);
    struct gb_error *e = NULL;
    bool ok = append_verb_help(verb, &out, &e);
    int status = print_help(&out, ok, STDOUT_FILENO, e);
    gb_buf_fini(&out);
    return status;
}

static bool append_help(struct gb_buf *out, struct gb_error **err) {
    bool ok = gb_buf_append_text(
        out,
        "Usage: glovebox VERB [OPTIONS] ...\n\n"
        "Runs untrusted WebAssembly next to native models, under one deadline, one memory ledger\n"
        "and one error contract.\n\nVerbs:\n",
        err);
    for (size_t i = 0; ok && i < GB_COUNT(verbs); i++) {
        ok = gb_buf_append_format(out, err, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    }
    return ok && gb_buf_append_text(out, "\n`glovebox VERB --help` describes one of them.\n", err);
}

static int help(int fd) {
    struct gb_buf out;
    gb_buf_init(&out, HELP_BYTES_MAX);
    struct gb_error *e = NULL;
    bool ok = append_help(&out, &e);
    int status = print_help(&out, ok, fd, e);
    gb_buf_fini(&out);
    return status;
}

/* ---- dispatch ---- */

static bool wants_json(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            return true;
        }
    }
    return false;
}

static int unknown_verb(int argc, char **argv) {
    struct gb_error *e = NULL;
    const char *name = argv[1];
    for (size_t i = 0; i < GB_COUNT(later); i++) {
        if (strcmp(later[i].name, name) == 0) {
            gb_fail(&e, GB_UNSUPPORTED, "`glovebox %s` (%s) is not built into this version", name,
                    later[i].summary);
            gb_hint(&e, "`glovebox --help` lists the verbs that there are.");
            return gb_print_failure(e, wants_json(argc, argv));
        }
    }
    if (name[0] == '-') {
        gb_fail(&e, GB_USAGE_ERROR, "unknown option \"%s\" before the verb", name);
        gb_hint(&e, "Options follow the verb: glovebox run --help.");
        return gb_print_failure(e, wants_json(argc, argv));
    }
    const char *names[GB_COUNT(verbs) + GB_COUNT(later)];
    size_t len = 0;
    for (size_t i = 0; i < GB_COUNT(verbs); i++) {
        names[len++] = verbs[i]->name;
    }
    const char *near = gb_nearest(name, names, len);
    gb_fail(&e, GB_USAGE_ERROR, "unknown verb \"%s\"", name);
    if (near) {
        gb_hint(&e, "Did you mean `glovebox %s`? `glovebox --help` lists all.", near);
    } else {
        gb_hint(&e, "`glovebox --help` lists the verbs.");
    }
    return gb_print_failure(e, wants_json(argc, argv));
}

int main(int argc, char **argv) {
    (void)signal(SIGPIPE, SIG_IGN); /* EPIPE says it where it matters */
    (void)signal(SIGXFSZ, SIG_IGN); /* EFBIG, too: a cache that cannot be written is no matter */
    if (argc < 2) {
        (void)help(STDERR_FILENO);
        return gb_code_exit_status(GB_USAGE_ERROR);
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        return help(STDOUT_FILENO);
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        name = "version";
    }
    for (size_t i = 0; i < GB_COUNT(verbs); i++) {
        if (strcmp(verbs[i]->name, name) == 0) {
            return verbs[i]->run(verbs[i], argc - 2, argv + 2);
        }
    }
    return unknown_verb(argc, argv);
}
