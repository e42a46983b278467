/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From how a call ended to what its owner is told: which code wins.
 *
 * 1. What the host ended the call for: deadline, output, a full table, cancellation.
 * 2. What the engine ended it for: fuel, stack, sizes.
 * 3. A trap right after a denied growth: that limit, with the trap as cause.
 * 4. What the guest did itself: err, exit, trap, with the last error that wasi:nn gave it as cause.
 */
#include "base/clock.h"
#include "sandbox/sandbox_internal.h"
#include "sandbox/value.h"

static struct gb_error *with_nn_cause(struct gb_call *c, struct gb_error *error) {
    const struct gb_error *last = gb_nn_last_error(c->nn);
    if (last) {
        gb_error_set_cause(&error, gb_error_copy(last));
    }
    return error;
}

/* ---- 1: the host ended it ---- */

static struct gb_error *deadline_error(const struct gb_call *c, const struct gb_model_info *model) {
    struct gb_error *error = NULL;
    char limit[GB_AMOUNT_CAP];
    char warm[GB_AMOUNT_CAP];
    gb_text_span_us(c->limits.deadline_us, limit);
    if (model && model->warm_us >= 10000) {
        gb_text_span_us(model->warm_us / 1000 * 1000, warm);
    } else if (model) {
        gb_text_span_us(model->warm_us, warm);
    }
    if (model && model->warm_us > 0) {
        gb_fail(&error, GB_DEADLINE_EXCEEDED,
                "the call was in an inference of \"%s\" at its deadline of %s; a warm one takes %s",
                model->name, limit, warm);
    } else if (model) {
        gb_fail(&error, GB_DEADLINE_EXCEEDED,
                "the call was in an inference of \"%s\" at its deadline of %s", model->name, limit);
    } else {
        gb_fail(&error, GB_DEADLINE_EXCEEDED, "the call did not finish before its deadline of %s",
                limit);
    }
    gb_hint(&error, "Raise the deadline with --deadline, or let the guest do less.");
    return error;
}

static struct gb_error *load_deadline_error(const struct gb_call *c) {
    struct gb_error *error = NULL;
    char limit[GB_AMOUNT_CAP];
    gb_fail(&error, GB_DEADLINE_EXCEEDED,
            "the call was loading a model from the guest's bytes at its deadline of %s",
            gb_text_span_us(c->limits.deadline_us, limit));
    gb_hint(&error, "Raise the deadline with --deadline, or give the host the model with --model.");
    return error;
}

void gb_call_blame_inference(struct gb_call *c) {
    if (c->loading && !c->reason) {
        c->reason = load_deadline_error(c);
    } else if (c->inference && !c->reason) {
        c->reason = deadline_error(c, c->inference);
    }
}

static struct gb_error *ending_error(struct gb_call *c) {
    struct gb_error *error = gb_take(&c->reason);
    if (error) {
        return error;
    }
    if (c->ending == GB_DEADLINE_EXCEEDED) {
        return deadline_error(c, NULL);
    }
    gb_fail(&error, c->ending,
            c->ending == GB_INTERRUPTED ? "the call was interrupted" : "the call was cancelled");
    return error;
}

/* ---- 2 and 3: the engine ended it ---- */

static struct gb_error *trap_error(struct gb_call *c, const struct gbw_failure *f) {
    char line[GB_QUOTE_CAP];
    struct gb_error *error = NULL;
    gb_fail(&error, GB_GUEST_TRAP, "the guest trapped: %s",
            gb_text_quote(gb_of_bridge_string(&f->message), line));
    if (f->backtrace.ptr && f->backtrace.len > 0) {
        gb_detail(&error, "%s", f->backtrace.ptr);
    }
    if (c->limiter.denial.code != GB_OK) {
        struct gb_error *limit = gb_limiter_error(&c->limiter, c->limiter.denial.code, false);
        gb_error_set_cause(&limit, error);
        return limit;
    }
    return with_nn_cause(c, error);
}

static struct gb_error *stack_error(const struct gb_call *c) {
    char limit[GB_AMOUNT_CAP];
    struct gb_error *error = NULL;
    gb_fail(&error, GB_STACK_OVERFLOW, "the guest's call stack grew past its limit of %s",
            gb_text_bytes(c->program->sandbox->options.stack_bytes, limit));
    gb_hint(&error, "Raise the limit with --stack, or let the guest recurse less deeply.");
    return error;
}

static struct gb_error *fuel_error(const struct gb_call *c) {
    char limit[GB_AMOUNT_CAP];
    struct gb_error *error = NULL;
    gb_fail(&error, GB_FUEL_EXHAUSTED, "the guest used up its fuel of %s",
            gb_text_count(c->limits.fuel, limit));
    gb_hint(&error, "Raise the limit with --fuel.");
    return error;
}

static struct gb_error *count_error(const struct gb_call *c, enum gbw_failure_kind kind,
                                    const struct gbw_failure *f) {
    char line[GB_QUOTE_CAP];
    char limit[GB_AMOUNT_CAP];
    struct gb_error *error = NULL;
    gb_text_quote(gb_of_bridge_string(&f->message), line);
    if (kind == GBW_LIMIT_INSTANCES) {
        gb_fail(&error, GB_INSTANCE_LIMIT,
                "the program needs more core instances, memories or tables than allowed (%s)",
                line);
        gb_hint(&error, "Raise the limit of %s core instances with --instances.",
                gb_text_count(c->limits.instances, limit));
    } else if (kind == GBW_LIMIT_HANDLES) {
        gb_fail(&error, GB_HANDLE_LIMIT, "the guest holds too many handles; the limit is %s",
                gb_text_count(GB_MIN(c->limits.handles, GB_HANDLES_PER_CALL_MAX), limit));
        gb_hint(&error,
                c->limits.handles < GB_HANDLES_PER_CALL_MAX
                    ? "Raise the limit with --handles, or let the guest drop what it opened."
                    : "Let the guest drop what it opened; more is not possible.");
    } else if (kind == GBW_LIMIT_FIELDS) {
        gb_fail(&error, GB_HOSTCALL_LIMIT, "the guest's HTTP fields take more than %s",
                gb_text_bytes(c->limits.http_fields_bytes, limit));
        gb_hint(&error, "Let the guest send fewer or shorter fields; this limit is fixed.");
    } else if (kind == GBW_LIMIT_ANSWER) {
        gb_fail(&error, GB_HOSTCALL_LIMIT, "the guest's answer is longer than %s",
                gb_text_bytes(c->limits.text_bytes, limit));
        gb_hint(&error, "Let the guest answer with less; this limit is fixed.");
    } else {
        uint64_t most =
            c->limits.hostcall_bytes ? c->limits.hostcall_bytes : c->limits.memory_bytes;
        gb_fail(&error, GB_HOSTCALL_LIMIT, "one host call asked for too many bytes (%s)", line);
        char random[GB_AMOUNT_CAP];
        gb_hint(&error, "A host call carries at most %s, which follows --memory, or %s at random.",
                gb_text_bytes(most, limit), gb_text_bytes(c->limits.random_bytes, random));
    }
    return error;
}

static struct gb_error *response_error(struct gb_call *c, const struct gbw_failure *f) {
    char line[GB_QUOTE_CAP];
    struct gb_error *error = NULL;
    gb_fail(&error, GB_GUEST_TRAP, "%s",
            gb_text_quote(gb_of_bridge_string(&f->message), line));
    return with_nn_cause(c, error);
}

static struct gb_error *size_error(struct gb_call *c, enum gb_code code) {
    enum gb_code denied = c->limiter.denial.code;
    return gb_limiter_error(&c->limiter, denied == GB_BUDGET_EXCEEDED ? denied : code, true);
}

static struct gb_error *failure_error(struct gb_call *c, struct gbw_failure *f) {
    enum gbw_failure_kind kind = (enum gbw_failure_kind)f->kind;
    /* Once the guest was entered, what has no type of its own is a broken use of the component ABI,
     * such as an answer outside of its memory. */
    if (kind == GBW_INTERNAL && c->instantiate_us > 0) {
        kind = GBW_TRAP;
    }
    struct gb_error *error = NULL;
    switch (kind) {
    case GBW_TRAP:
        return f->trap == GBW_TRAP_STACK_OVERFLOW ? stack_error(c)
               : f->trap == GBW_TRAP_OUT_OF_FUEL  ? fuel_error(c)
                                                  : trap_error(c, f);
    case GBW_LIMIT_MEMORY:
        return size_error(c, GB_MEMORY_LIMIT);
    case GBW_LIMIT_TABLE:
        return size_error(c, GB_TABLE_LIMIT);
    case GBW_LIMIT_INSTANCES:
    case GBW_LIMIT_HANDLES:
    case GBW_LIMIT_ANSWER:
    case GBW_LIMIT_HOSTCALL:
    case GBW_LIMIT_FIELDS:
        return count_error(c, kind, f);
    case GBW_HTTP_NO_RESPONSE:
    case GBW_HTTP_UNFINISHED:
        return response_error(c, f);
    case GBW_EXIT: /* an agent must answer */
        gb_fail(&error, GB_GUEST_EXIT, "the %s exited with status %d instead of answering",
                c->program->entry == GB_ENTRY_AGENT ? "agent" : "guest", f->exit_status);
        return with_nn_cause(c, error);
    case GBW_NONE:
    case GBW_PANIC:
    case GBW_INTERNAL:
    case GBW_CONFIG:
    case GBW_ADDRESS_SPACE:
    case GBW_INVALID_MODULE:
    case GBW_INVALID_COMPONENT:
    case GBW_INVALID_TEXT:
    case GBW_LINK:
    case GBW_NO_EXPORT:
    case GBW_STOPPED:
    case GBW_POOL_FULL:
    case GBW_HTTP_REQUEST:
    case GBW_NEEDS_MEMORY64: /* found when the program was compiled */
        break;
    }
    gb_failure_error(f, "the call failed", &error);
    return error;
}

/* ---- 4: the guest ended it ---- */

static struct gb_error *guest_error(struct gb_call *c, const struct gbw_string *text) {
    char line[GB_QUOTE_CAP];
    struct gb_span said = gb_of_bridge_string(text);
    struct gb_error *error = NULL;
    gb_fail(&error, GB_GUEST_ERROR, "the %s answered with the error \"%s\"",
            c->program->entry == GB_ENTRY_HTTP ? "guest" : "agent", gb_text_quote(said, line));
    gb_error_set_value(&error, said.len ? (const char *)said.ptr : "", said.len);
    return with_nn_cause(c, error);
}

static struct gb_error *exit_error(struct gb_call *c, int status) {
    struct gb_error *error = NULL;
    if (status >= 0 && status < 126) {
        gb_fail(&error, GB_GUEST_EXIT, "the guest exited with status %d", status);
        return with_nn_cause(c, error);
    }
    gb_fail(&error, GB_GUEST_TRAP, "the guest exited with status %d, which stands for a trap",
            status);
    if (c->limiter.denial.code != GB_OK) {
        struct gb_error *limit = gb_limiter_error(&c->limiter, c->limiter.denial.code, false);
        gb_error_set_cause(&limit, error);
        return limit;
    }
    return with_nn_cause(c, error);
}

static struct gb_error *take_answer(struct gb_call *c, const struct gbw_string *text,
                                    struct gb_call_result *ret) {
    struct gb_error *error = NULL;
    struct gb_span said = gb_of_bridge_string(text);
    if (!gb_charge(c->account, GB_CHARGE_OUTPUT, said.len, &error)) {
        return error;
    }
    c->output_charged += said.len;
    ret->text = gb_strndup(said.len ? (const char *)said.ptr : "", said.len, &error);
    ret->text_bytes = ret->text ? said.len : 0;
    return error;
}

/* The err of a called function: its text where it is one, else as JSON. */
static struct gb_error *value_error(struct gb_call *c, uint32_t type,
                                    const struct gb_value *value) {
    const struct gb_signature *s = gb_program_signature(c->program);
    bool is_text = value && value->kind == GB_VALUE_STRING;
    struct gb_error *error = NULL;
    struct gb_buf json;
    gb_buf_init(&json, SIZE_MAX / 2);
    struct gb_span said =
        is_text ? gb_span_make(value->of.text.ptr, value->of.text.len) : gb_span_make(NULL, 0);
    if (!is_text && gb_value_write(s, type, value, &json, &error)) {
        said = gb_buf_span(&json);
    }
    if (!error) {
        char line[GB_QUOTE_CAP];
        gb_fail(&error, GB_GUEST_ERROR, "the function answered with the error %s%s%s",
                is_text ? "\"" : "", gb_text_quote(said, line), is_text ? "\"" : "");
        gb_error_set_value(&error, said.len ? (const char *)said.ptr : "", said.len);
        gb_error_value_is_json(&error, !is_text);
    }
    gb_buf_fini(&json);
    return with_nn_cause(c, error);
}

/* A result<…> is unwrapped. */
static struct gb_error *take_value(struct gb_call *c, struct gbw_outcome *outcome,
                                   struct gb_call_result *ret) {
    const struct gb_signature *s = gb_program_signature(c->program);
    struct gb_error *error = NULL;
    if (!gb_charge(c->account, GB_CHARGE_OUTPUT, outcome->answer_bytes, &error)) {
        return error;
    }
    c->output_charged += outcome->answer_bytes;
    const struct gb_value *value = outcome->value;
    uint32_t type = s->result;
    if (value && value->kind == GB_VALUE_RESULT) {
        type = s->members[s->types[type].first + value->which].type;
        const struct gb_value *payload = value->of.list.len > 0 ? value->of.list.items : NULL;
        if (value->which == 1) {
            return value_error(c, type, payload);
        }
        value = payload;
    }
    ret->value = value;
    ret->value_type = value ? type : GB_VALUE_NO_TYPE;
    ret->answer = gb_take(&outcome->answer);
    ret->program = gb_program_ref(c->program);
    return NULL;
}

static struct gb_error *outcome_error(struct gb_call *c, struct gbw_outcome *outcome,
                                      struct gb_call_result *ret) {
    bool command = c->program->entry == GB_ENTRY_COMMAND || c->program->entry == GB_ENTRY_START;
    switch ((enum gbw_outcome_kind)outcome->kind) {
    case GBW_DONE_OK:
        if (c->program->entry == GB_ENTRY_CALL) {
            return take_value(c, outcome, ret);
        }
        if (c->program->entry == GB_ENTRY_HTTP) {
            return NULL; /* its answer went where io says */
        }
        ret->has_exit_status = command;
        return command ? NULL : take_answer(c, &outcome->text, ret);
    case GBW_DONE_ERR:
        return guest_error(c, &outcome->text);
    case GBW_DONE_EXIT:
        ret->has_exit_status = true;
        ret->exit_status = outcome->exit_status;
        return exit_error(c, outcome->exit_status);
    case GBW_DONE_FAILED:
        break;
    }
    return failure_error(c, &outcome->failure);
}

static void take_output(struct gb_call *c, struct gb_call_result *ret) {
    if (c->spec.output) {
        return;
    }
    ret->stdout_len = c->out.kept.len;
    ret->stderr_len = c->err_out.kept.len;
    ret->stdout_bytes = gb_buf_take(&c->out.kept);
    ret->stderr_bytes = gb_buf_take(&c->err_out.kept);
}

void gb_call_settle(struct gb_call *c, struct gbw_outcome *outcome, struct gb_call_result *ret) {
    *ret = (struct gb_call_result){.value_type = GB_VALUE_NO_TYPE};
    /* Where the future was dropped the last tick told it. */
    bool told = outcome && outcome->failure.kind != GBW_PANIC;
    uint64_t fuel_left = told ? outcome->fuel_left : c->fuel_left;
    c->instantiate_us = outcome ? outcome->instantiate_us : 0;
    ret->error = c->ending != GB_OK ? ending_error(c) : outcome_error(c, outcome, ret);
    take_output(c, ret);
    struct gb_nn_usage nn = gb_nn_usage(c->nn);
    ret->usage = (struct gb_usage){
        .wall_us = gb_now_us() - c->started_us,
        .fuel_measured = c->limits.fuel != 0,
        .fuel = c->limits.fuel - GB_MIN(fuel_left, c->limits.fuel),
        .memory_peak_bytes = c->limiter.memory.peak,
        .ledger_peak_bytes = gb_account_peak(c->account),
        .stdout_bytes = c->out.written,
        .stderr_bytes = c->err_out.written,
        .stdout_dropped_bytes = c->out.dropped,
        .stderr_dropped_bytes = c->err_out.dropped,
        .inference_calls = nn.inference_calls,
        .inference_us = nn.inference_us,
        .queue_us = nn.queue_us,
        .crossing_us = nn.crossing_us,
        .instantiate_us = c->instantiate_us,
        .model = nn.model,
    };
}

void gb_call_result_fini(struct gb_call_result *r) {
    gbw_answer_free(r->answer);
    gb_program_unref(r->program);
    gb_error_free(r->error);
    gb_free(r->text);
    gb_free(r->stdout_bytes);
    gb_free(r->stderr_bytes);
    *r = (struct gb_call_result){0};
}
