/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `glovebox serve FILE`: answers HTTP until SIGTERM or SIGINT, which let requests in flight finish;
 * a second one does not wait. SIGHUP reads the manifest again.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/setup.h"
#include "glovebox/serve.h"

struct values {
    struct gb_common_options common;
    struct gb_engine_values engine;
    const char *listen;
    const char *admin;
};
static const struct gb_option rows[] = {
    {.name = "listen", .kind = GB_OPTION_TEXT, .offset = offsetof(struct values, listen),
     .value = "ADDR:PORT",
     .help = "Where requests are answered; default: the manifest's, else 127.0.0.1:8080. "
             "Port 0 picks one."},
    {.name = "admin", .kind = GB_OPTION_TEXT, .offset = offsetof(struct values, admin),
     .value = "ADDR:PORT",
     .help = "Where /-/live, /-/ready, /-/status and /metrics are; default: the manifest's, "
             "else 127.0.0.1:9090."},
    GB_ENGINE_ROWS(struct values),
    GB_COMMON_ROWS(struct values),
};
static const struct gb_option_table table = {
    .verb = "serve", .options = rows, .len = GB_COUNT(rows)};

static struct gb_serving *serving; /* for the handler; set before it is installed */

static void on_hangup(int number) {
    (void)number;
    gb_serve_reload(serving);
}

/* Waits for the first signal that ends the program; the second ends it in signals.c. */
static void *wait_for_end(void *unused) {
    (void)unused;
    struct pollfd p = {.fd = gb_signals_fd(), .events = POLLIN};
    while (poll(&p, 1, -1) <= 0) {
    }
    gb_serve_stop(serving);
    return NULL;
}

static bool watch_signals(struct gb_error **err) {
    pthread_t thread;
    struct sigaction hangup = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
    (void)signal(SIGPIPE, SIG_IGN);
    gb_signals_set_polling(true);
    if (sigaction(SIGHUP, &hangup, NULL) != 0 ||
        pthread_create(&thread, NULL, wait_for_end, NULL) != 0) {
        return gb_fail(err, GB_IO, "could not watch for signals");
    }
    (void)pthread_detach(thread); /* it may wait for a signal that never comes */
    return true;
}

/* Each connection is a descriptor, and the usual soft limit is 1024. */
static void raise_descriptors(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* a wish */
    }
}

static void say_ready(bool json) {
    struct gb_buf out;
    gb_buf_init(&out, 1024);
    (void)gb_buf_append_format(&out, NULL,
                               json ? "{\"ready\":\"%s\",\"admin\":\"%s\"}\n"
                                    : "ready %s admin %s\n",
                               gb_serve_url(serving), gb_serve_admin_url(serving));
    gb_out(STDOUT_FILENO, gb_buf_text(&out), out.len);
    gb_buf_fini(&out);
}

static bool serve(const struct values *v, const char *path, struct gb_error **err) {
    struct gb_serve_options options;
    struct gb_host_options host;
    gb_serve_options_default(&options);
    gb_setup_host_options(&v->engine, &host);
    options.listen = v->listen;
    options.admin = v->admin;
    options.cache_dir = host.cache_dir;
    options.worker_path = host.worker_path;
    options.ort_lib_path = host.ort_lib_path;
    options.compiler_path = host.compiler_path;
    options.jail_best_effort = host.jail_best_effort;
    raise_descriptors();
    serving = gb_serve_open(path, &options, err);
    if (!serving) {
        return false;
    }
    bool ok = watch_signals(err);
    if (ok) {
        say_ready(v->common.json);
        ok = gb_serve_run(serving, err);
        (void)signal(SIGHUP, SIG_IGN);
    }
    gb_signals_claim_output();
    gb_serve_close(serving);
    return ok;
}

static int serve_main(const struct gb_verb *verb, int argc, char **argv) {
    struct values v = {0};
    struct gb_operands operands = {0};
    struct gb_error *e = NULL;
    bool ok = gb_options_parse(&table, argc, argv, &v, &operands, &e);
    if (ok && v.common.help) {
        gb_options_fini(&table, &v);
        return gb_verb_help(verb);
    }
    if (ok && operands.len != 1) {
        ok = operands.len == 0
                 ? gb_fail(&e, GB_USAGE_ERROR, "no file was given")
                 : gb_fail(&e, GB_USAGE_ERROR, "\"%s\" is one argument too many",
                           operands.items[1]);
        gb_hint(&e, "Write `glovebox serve FILE`: a glovebox.toml, a spin.toml or a program.");
    }
    ok = ok && gb_setup_common(&v.common, GB_INTERRUPT_TEXT, &e) &&
         serve(&v, operands.items[0], &e);
    bool as_json = v.common.json;
    gb_options_fini(&table, &v);
    return ok ? gb_out_exit_status(0) : gb_print_failure(e, as_json);
}

const struct gb_verb gb_verb_serve = {
    .name = "serve",
    .synopsis = "[OPTIONS] FILE",
    .summary = "serve programs over HTTP",
    .about = "Serves what a manifest describes: a glovebox.toml, a Spin spin.toml (version 2), or\n"
             "a bare program, which then answers every request. When it is ready, it prints one\n"
             "line: ready http://ADDR:PORT admin http://ADDR:PORT.",
    .notes = "SIGTERM, SIGINT: requests in flight finish, then it ends; a second one ends it at\n"
             "once. SIGHUP: reads the manifest again; a bad one is refused, the old one stays.\n"
             "Exit status: 0 after SIGTERM or SIGINT, or that of the error.\n",
    .table = &table,
    .run = serve_main,
};
