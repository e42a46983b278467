/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls: the glue between a caller's callbacks and the runner's. The host keeps a list of what
 * runs, so that all of it can be cancelled at once.
 *
 * Ownership: a gb_lib_call lives from gb_guest_call until the runner calls done, which frees it.
 */
#include "base/buf.h"
#include "lib/lib.h"

struct gb_lib_call {
    struct gb_lib_call *previous;
    struct gb_lib_call *next;
    struct gb_host *host;
    struct gb_call *call;
    struct gb_call_spec spec;
    gb_output_fn *output;
    gb_done_fn *done;
    void *user;
    struct gb_result *result; /* made at the start: ending a call must not need memory */
};

static void unlink_call(struct gb_lib_call *c) {
    if (c->previous) {
        c->previous->next = c->next;
    } else {
        c->host->calls = c->next;
    }
    if (c->next) {
        c->next->previous = c->previous;
    }
}

static void call_output(void *user, enum gb_output_stream stream, struct gb_span bytes) {
    struct gb_lib_call *c = user;
    c->output(c->user, (int)stream, (const char *)bytes.ptr, bytes.len);
}

static void call_done(void *user, struct gb_call_result *result) {
    struct gb_lib_call *c = user;
    unlink_call(c);
    struct gb_result *r = c->result;
    r->inner = *result;
    *result = (struct gb_call_result){0};
    gb_done_fn *done = c->done;
    void *done_user = c->user;
    gb_free(c);
    done(done_user, r);
}

static bool call_start(struct gb_guest *g, const struct gb_call_options *o, struct gb_lib_call *c,
                       struct gb_error **err) {
    struct gb_host *h = g->host;
    c->host = h;
    c->output = o->output;
    c->done = o->done;
    c->user = o->user;
    c->result = gb_calloc(1, sizeof *c->result, err);
    if (!c->result) {
        return false;
    }
    c->spec = (struct gb_call_spec){.program = g->program,
                                    .registry = h->registry,
                                    .account = h->tenant,
                                    .limits = &g->limits,
                                    .grants = &g->grants.grants,
                                    .argument = gb_span_make(o->argument, o->argument_bytes),
                                    .params = o->values,
                                    .params_len = o->values_len,
                                    .args = o->args,
                                    .args_len = o->args_len,
                                    .capabilities = gb_services_capabilities(h->services),
                                    .output = o->output ? call_output : NULL,
                                    .done = call_done,
                                    .user = c};
    c->call = gb_runner_call(h->runner, &c->spec, err);
    if (!c->call) {
        return false;
    }
    c->next = h->calls;
    if (h->calls) {
        h->calls->previous = c;
    }
    h->calls = c;
    return true;
}

bool gb_guest_call(struct gb_guest *g, const struct gb_call_options *options,
                   struct gb_error **err) {
    struct gb_call_options o = {0};
    if (!gb_lib_options_copy(&o, sizeof o, options, "call", err)) {
        return false;
    }
    if (!o.done) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "a call needs a done function");
    }
    struct gb_span argument = gb_span_make(o.argument, o.argument_bytes);
    if (gb_guest_is_agent(g) && !gb_utf8_valid(argument)) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "the agent's argument is not UTF-8 text");
    }
    if (!gb_lib_values_check(g, o.values, o.values_len, err)) {
        return false;
    }
    struct gb_lib_call *c = gb_calloc(1, sizeof *c, err);
    if (!c) {
        return false;
    }
    if (!call_start(g, &o, c, err)) {
        gb_free(c->result);
        gb_free(c);
        return false;
    }
    return true;
}

void gb_host_cancel_all(struct gb_host *h, bool interrupted) {
    for (struct gb_lib_call *c = h->calls; c; c = c->next) {
        gb_call_cancel(c->call, interrupted ? GB_INTERRUPTED : GB_CANCELLED);
    }
}

/* ---- results ---- */

const struct gb_error *gb_result_error(const struct gb_result *r) {
    return r->inner.error;
}

const char *gb_result_text(const struct gb_result *r, size_t *ret_bytes) {
    if (ret_bytes) {
        *ret_bytes = r->inner.text ? r->inner.text_bytes : 0;
    }
    return r->inner.text;
}

bool gb_result_exit_status(const struct gb_result *r, int *ret_status) {
    if (r->inner.has_exit_status && ret_status) {
        *ret_status = r->inner.exit_status;
    }
    return r->inner.has_exit_status;
}

static const char *bytes_or_empty(const char *bytes, size_t len, size_t *ret_bytes) {
    if (ret_bytes) {
        *ret_bytes = bytes ? len : 0;
    }
    return bytes ? bytes : "";
}

const char *gb_result_stdout(const struct gb_result *r, size_t *ret_bytes) {
    return bytes_or_empty(r->inner.stdout_bytes, r->inner.stdout_len, ret_bytes);
}

const char *gb_result_stderr(const struct gb_result *r, size_t *ret_bytes) {
    return bytes_or_empty(r->inner.stderr_bytes, r->inner.stderr_len, ret_bytes);
}

void gb_result_usage(const struct gb_result *r, struct gb_usage_report *ret_usage) {
    const struct gb_usage *u = &r->inner.usage;
    *ret_usage = (struct gb_usage_report){.wall_us = u->wall_us,
                                          .fuel = u->fuel,
                                          .memory_peak_bytes = u->memory_peak_bytes,
                                          .ledger_peak_bytes = u->ledger_peak_bytes,
                                          .stdout_bytes = u->stdout_bytes,
                                          .stderr_bytes = u->stderr_bytes,
                                          .stdout_dropped_bytes = u->stdout_dropped_bytes,
                                          .stderr_dropped_bytes = u->stderr_dropped_bytes,
                                          .inference_calls = u->inference_calls,
                                          .inference_us = u->inference_us,
                                          .queue_us = u->queue_us,
                                          .crossing_us = u->crossing_us,
                                          .instantiate_us = u->instantiate_us,
                                          .fuel_measured = u->fuel_measured};
}

void gb_result_free(struct gb_result *r) {
    if (r) {
        gb_call_result_fini(&r->inner);
        gb_free(r);
    }
}
