/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call: made, polled, settled, freed. What the guest asks of the host during a poll arrives in
 * the functions of gb_call_host, on the same thread.
 *
 * Ending early has two steps: c->ending is set, and the next poll lets the guest (or the inference
 * that it waits for) notice; whatever is still pending then is dropped with its future.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "sandbox/sandbox_internal.h"

/* ---- what the bridge enters during a poll ---- */

static void look_for_end(struct gb_call *c) {
    if (c->ending == GB_OK) {
        c->ending = (enum gb_code)atomic_load_explicit(&c->asked, memory_order_relaxed);
    }
    if (c->ending == GB_OK && gb_now_us() >= c->deadline_us) {
        c->ending = GB_DEADLINE_EXCEEDED;
    }
}

static enum gbw_tick on_tick(void *user, uint64_t fuel_left) {
    struct gb_call *c = user;
    c->fuel_left = fuel_left;
    look_for_end(c);
    return c->ending == GB_OK ? GBW_TICK_YIELD : GBW_TICK_STOP;
}

static bool on_memory_growing(void *user, uint64_t current, uint64_t desired, uint64_t maximum) {
    struct gb_call *c = user;
    return gb_limiter_growing(&c->limiter, &c->limiter.memory, current, desired, maximum);
}

static void on_memory_grow_failed(void *user) {
    struct gb_call *c = user;
    gb_limiter_grow_failed(&c->limiter, &c->limiter.memory);
}

static bool on_table_growing(void *user, uint64_t current, uint64_t desired, uint64_t maximum) {
    struct gb_call *c = user;
    return gb_limiter_growing(&c->limiter, &c->limiter.table, current, desired, maximum);
}

static void on_table_grow_failed(void *user) {
    struct gb_call *c = user;
    gb_limiter_grow_failed(&c->limiter, &c->limiter.table);
}

static bool on_write(void *user, enum gbw_stream stream, struct gbw_span bytes) {
    struct gb_call *c = user;
    struct gb_error *error = NULL;
    enum gb_output_stream to = stream == GBW_STDERR ? GB_OUTPUT_STDERR : GB_OUTPUT_STDOUT;
    if (gb_output_write(c, to, gb_of_bridge(bytes), &error)) {
        return true;
    }
    gb_call_end_with(c, error);
    return false;
}

const struct gbw_host gb_call_host = {
    .tick = on_tick,
    .memory_growing = on_memory_growing,
    .memory_grow_failed = on_memory_grow_failed,
    .table_growing = on_table_growing,
    .table_grow_failed = on_table_grow_failed,
    .write = on_write,
    GB_NN_HOST_FIELDS,
    GB_CAPS_HOST_FIELDS,
    GB_HTTP_HOST_FIELDS,
};

void gb_call_end_with(struct gb_call *c, struct gb_error *reason) {
    if (c->ending != GB_OK) {
        gb_error_free(reason);
        return;
    }
    c->ending = reason ? reason->code : GB_INTERNAL;
    c->reason = reason;
}

/* ---- making ---- */

struct lists { /* what gbw_call_new reads, and copies */
    struct gbw_span *args, *env;
    struct gbw_preopen *preopens;
    size_t env_len;
    struct gbw_http_request http;
};

static void lists_fini(struct lists *l) {
    gb_free(l->args);
    gb_free(l->env);
    gb_free(l->preopens);
    gb_free((void *)(uintptr_t)l->http.fields);
}

static bool copy_env(struct lists *l, const struct gb_grants *g, struct gb_error **err) {
    l->env = gb_calloc(g->env_len ? g->env_len : 1, 2 * sizeof *l->env, err);
    for (size_t i = 0; l->env && i < g->env_len; i++) {
        const char *equals = strchr(g->env[i], '=');
        if (!equals || equals == g->env[i]) {
            char text[GB_QUOTE_CAP];
            return gb_fail(err, GB_INVALID_ARGUMENT,
                           "the variable \"%s\" is not of the form NAME=VALUE",
                           gb_text_quote(gb_span_of(g->env[i]), text));
        }
        size_t name_len = (size_t)(equals - g->env[i]);
        l->env[l->env_len++] = gb_to_bridge(gb_span_make(g->env[i], name_len));
        l->env[l->env_len++] = gb_to_bridge(gb_span_of(equals + 1));
    }
    return l->env != NULL;
}

/* Opened here once, because the bridge's message would hide the reason from our codes. */
static bool check_dir(const struct gb_preopen *p, struct gb_error **err) {
    int fd = gb_sys(GB_SYS_OPEN, -1, open(p->host_path, O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (fd >= 0) {
        gb_fd_close(&fd);
        return true;
    }
    enum gb_code code = errno == ENOENT    ? GB_NOT_FOUND
                        : errno == EACCES  ? GB_PERMISSION_DENIED
                        : errno == ENOTDIR ? GB_INVALID_ARGUMENT
                                           : GB_IO;
    char why[GB_AMOUNT_CAP];
    snprintf(why, sizeof why, "%s", strerror(errno));
    return gb_fail_errno(err, code, errno, "could not open the folder \"%s\": %s", p->host_path,
                         why);
}

static bool lists_init(struct lists *l, const struct gb_call_spec *spec, struct gb_error **err) {
    const struct gb_grants *g = spec->grants;
    *l = (struct lists){0};
    l->args = gb_calloc(spec->args_len ? spec->args_len : 1, sizeof *l->args, err);
    l->preopens =
        l->args ? gb_calloc(g->preopens_len ? g->preopens_len : 1, sizeof *l->preopens, err) : NULL;
    if (!l->preopens || !copy_env(l, g, err)) {
        lists_fini(l);
        return false;
    }
    for (size_t i = 0; i < spec->args_len; i++) {
        l->args[i] = gb_to_bridge(gb_span_of(spec->args[i]));
    }
    for (size_t i = 0; i < g->preopens_len; i++) {
        const struct gb_preopen *p = &g->preopens[i];
        if (!check_dir(p, err)) {
            lists_fini(l);
            return false;
        }
        l->preopens[i] = (struct gbw_preopen){.host_path = gb_to_bridge(gb_span_of(p->host_path)),
                                              .guest_path = gb_to_bridge(gb_span_of(p->guest_path)),
                                              .writable = p->writable};
    }
    return true;
}

static bool make_wasm(struct gb_call *c, struct gb_error **err) {
    const struct gb_call_spec *spec = &c->spec;
    bool is_http = c->program->entry == GB_ENTRY_HTTP;
    struct lists lists;
    if (!lists_init(&lists, spec, err)) {
        return false;
    }
    if (is_http && !gb_call_http_request(c, &lists.http, err)) {
        lists_fini(&lists);
        return false;
    }
    gb_wake_cell_ref(c->cell); /* the bridge's; it is given back also on failure */
    struct gbw_call_config config = {
        .user = c,
        .waker = {.ctx = c->cell, .wake = gb_wake_cell_wake, .release = gb_wake_cell_unref},
        .argument = gb_to_bridge(spec->argument),
        .params = spec->params,
        .params_len = spec->params_len,
        .args = lists.args,
        .args_len = spec->args_len,
        .env = lists.env,
        .env_len = lists.env_len,
        .preopens = lists.preopens,
        .preopens_len = spec->grants->preopens_len,
        .inherit_stdin = spec->grants->stdin_inherited,
        .inherit_network = spec->grants->sockets,
        .fuel = c->limits.fuel,
        .hostcall_bytes_max =
            c->limits.hostcall_bytes ? c->limits.hostcall_bytes : c->limits.memory_bytes,
        .random_bytes_max = c->limits.random_bytes,
        .answer_bytes_max = c->limits.text_bytes,
        .handles_max = c->limits.handles,
        .instances_max = c->limits.instances,
        .memories_max = GB_MEMORIES_PER_CALL_MAX,
        .tables_max = GB_TABLES_PER_CALL_MAX,
        .http = is_http ? &lists.http : NULL,
        .http_fields_bytes_max = c->limits.http_fields_bytes,
        .http_chunk_bytes = GB_HTTP_CHUNK_BYTES,
    };
    struct gbw_failure f = {0};
    c->wasm = gbw_call_new(c->program->linked, &config, &f);
    lists_fini(&lists);
    return c->wasm || gb_failure_error(&f, "could not start the call", err);
}

static bool make_nn(struct gb_call *c, struct gb_error **err) {
    struct gb_nn_options options = {
        .registry = c->spec.registry,
        .account = c->account,
        .allowed = c->spec.grants->models,
        .allowed_len = c->spec.grants->models_len,
        .allow_all = c->spec.grants->all_models,
        .handles_max = c->limits.handles,
        .load = c->spec.grants->nn_load,
        .loads_max = c->limits.loads,
        .load_bytes_max = c->limits.load_bytes,
        .load_memory_max = c->limits.load_memory_bytes,
        .deadline_us = c->deadline_us,
        .wake = gb_wake_cell_wake,
        .user = c->cell,
        .observe = c->spec.capabilities ? c->spec.capabilities->inference : NULL,
        .observe_user = c->spec.capabilities ? c->spec.capabilities->inference_user : NULL,
    };
    c->nn = gb_nn_new(&options, err);
    return c->nn != NULL;
}

static bool check_spec(const struct gb_call_spec *spec, struct gb_error **err) {
    char is[GB_AMOUNT_CAP];
    char limit[GB_AMOUNT_CAP];
    if (spec->argument.len > spec->limits->text_bytes) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "the argument has %s; the limit is %s",
                       gb_text_bytes(spec->argument.len, is),
                       gb_text_bytes(spec->limits->text_bytes, limit));
    }
    if (!gb_utf8_valid(spec->argument)) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "the argument is not valid UTF-8");
    }
    if ((spec->limits->fuel != 0) != ((spec->program->engine_kind & GB_ENGINE_FUEL) != 0)) {
        return gb_fail(err, GB_INTERNAL, "the program was loaded %s fuel, the call is %s",
                       spec->limits->fuel ? "without" : "with",
                       spec->limits->fuel ? "with" : "without");
    }
    if (spec->program->entry == GB_ENTRY_HTTP && (!spec->http || !spec->io)) {
        return gb_fail(err, GB_INTERNAL, "a call that answers HTTP was given no request");
    }
    return true;
}

struct gb_call *gb_call_new(struct gb_runner *r, struct gb_sandbox *s, struct gb_wake_list *wakes,
                            const struct gb_call_spec *spec, struct gb_error **err) {
    struct gb_call *c = check_spec(spec, err) ? gb_calloc(1, sizeof *c, err) : NULL;
    if (!c) {
        return NULL;
    }
    c->runner = r;
    c->spec = *spec;
    c->limits = *spec->limits;
    c->io = spec->io ? *spec->io : (struct gb_http_io){0};
    c->program = gb_program_ref(spec->program);
    c->started_us = gb_now_us();
    c->deadline_us = gb_deadline_after_us(c->limits.deadline_us);
    c->fuel_left = c->limits.fuel;
    gb_buf_init(&c->out.kept, c->limits.output_bytes);
    gb_buf_init(&c->err_out.kept, c->limits.output_bytes);
    c->account = gb_account_new("call", spec->account, UINT64_MAX, err);
    if (c->account) {
        gb_limiter_init(&c->limiter, c->account, &c->limits, s->options.memory_bytes_max);
        c->cell = gb_wake_cell_new(wakes, c, err);
    }
    if (!c->cell || !make_nn(c, err) || !make_wasm(c, err)) {
        gb_call_free(c);
        return NULL;
    }
    return c;
}

void gb_call_free(struct gb_call *c) {
    if (c->wasm) {
        gbw_call_free(c->wasm);
    }
    gb_custom_forget(c);
    gb_nn_free(c->nn);
    if (c->cell) {
        c->cell->call = NULL;
        gb_wake_cell_unref(c->cell);
    }
    if (c->account) {
        gb_limiter_fini(&c->limiter);
        gb_uncharge(c->account, GB_CHARGE_OUTPUT, c->output_charged);
        gb_account_unref(c->account);
    }
    gb_buf_fini(&c->out.kept);
    gb_buf_fini(&c->err_out.kept);
    gb_error_free(c->reason);
    gb_free(c->named);
    gb_free(c->http_trailers);
    gb_program_unref(c->program);
    gb_free(c);
}

/* ---- running ---- */

void gb_call_drop(struct gb_call *c, struct gb_call_result *ret) {
    if (c->ending == GB_DEADLINE_EXCEEDED) {
        gb_call_blame_inference(c);
    }
    gbw_call_free(c->wasm);
    c->wasm = NULL;
    gb_call_settle(c, NULL, ret);
}

bool gb_call_poll(struct gb_call *c, struct gb_call_result *ret) {
    look_for_end(c);
    bool last_chance = c->ending != GB_OK;
    if (last_chance && !c->polled) {
        gb_call_drop(c, ret);
        return true;
    }
    c->polled = true;
    struct gbw_outcome outcome = {0};
    if (gbw_call_poll(c->wasm, &outcome) == GBW_READY) {
        gbw_call_free(c->wasm);
        c->wasm = NULL;
        gb_call_settle(c, &outcome, ret);
        gbw_outcome_fini(&outcome);
        return true;
    }
    if (last_chance) {
        gb_call_drop(c, ret);
        return true;
    }
    return false;
}
