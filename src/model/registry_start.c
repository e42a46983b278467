/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers for models: all are started first and waited for afterwards, so they load in parallel.
 * What the engine says about inputs and outputs must agree with what our validator read; then the
 * engine's word counts, since it knows inferred shapes.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "model/inline.h"
#include "model/model_internal.h"
#include "model/worker.h"

#define WAIT_SLACK_MS 5000u /* the worker's own load timeout comes first */
#define LINE_BYTES_MAX ((size_t)8192)
#define FINDING_BYTES_MAX ((size_t)512)

/* Loads it here, and needs no waiting for. */
static bool start_inline(struct gb_registry *r, struct gb_model *m,
                         struct gb_worker_spec *spec, struct gb_error **err) {
    struct gb_worker_ready ready;
    if (m->stored_fd >= 0 && !gb_model_map(m->stored_fd, m->info.bytes, &spec->bytes, err)) {
        return false;
    }
    m->worker = gb_inline_worker_new(r->hub, spec, &ready, err);
    if (m->stored_fd >= 0) {
        gb_model_unmap(spec->bytes);
    }
    if (m->worker && !gb_model_accept(m, &ready, err)) {
        gb_worker_free(m->worker);
        m->worker = NULL;
    }
    return m->worker != NULL;
}

/* Reads the file again and starts the process. */
static bool start(struct gb_registry *r, struct gb_model *m, struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup) uint8_t *bytes = NULL;
    size_t len = (size_t)m->info.bytes;
    if (m->stored_fd < 0 &&
        !gb_model_read(m, r->options.model_bytes_max, &bytes, &len, err)) {
        return false;
    }
    uint32_t threads = m->sidecar.threads ? m->sidecar.threads : r->options.threads;
    struct gb_worker_spec spec = {
        .name = m->name,
        .digest = m->digest,
        .bytes = gb_span_make(bytes, len),
        .stored_fd = m->stored_fd,
        .backend = m->info.backend,
        .threads = GB_MIN(GB_MAX(threads, 1u), GB_WIRE_THREADS_MAX),
        /* Folding happens in the jail, under its address space limit and the load timeout. */
        .optimise = true,
        .warm_up = m->sidecar.warm_up,
    };
    bool in_line = r->options.placement == GB_PLACEMENT_INLINE ||
                   m->sidecar.placement == GB_PLACEMENT_INLINE;
    m->info.placement = in_line ? GB_PLACEMENT_INLINE : GB_PLACEMENT_WORKER;
    if (in_line) {
        return start_inline(r, m, &spec, err);
    }
    m->worker = gb_worker_new(r->hub, &spec, err);
    if (!m->worker) {
        return false;
    }
    if (!gb_worker_start(m->worker, err)) {
        gb_worker_free(m->worker);
        m->worker = NULL;
        return false;
    }
    return true;
}

static bool port_fits(const struct gb_port *ours, const struct gb_port *engine, bool input) {
    if (ours->type != engine->type || strcmp(ours->name, engine->name) != 0) {
        return false;
    }
    /* An engine infers the shapes of outputs, and may know more than the file declares. */
    if (!input || ours->type == GB_TYPE_OTHER) {
        return true;
    }
    bool fits = ours->rank == engine->rank;
    for (uint32_t i = 0; fits && i < ours->rank; i++) {
        fits = ours->dims[i] < 0 || engine->dims[i] < 0 || ours->dims[i] == engine->dims[i];
    }
    return fits;
}

static bool compare(const char *side, bool input, const struct gb_port *ours, size_t ours_len,
                    const struct gb_port *engine, size_t engine_len, struct gb_error **err) {
    bool same = ours_len == engine_len;
    for (size_t i = 0; same && i < ours_len; i++) {
        same = port_fits(&ours[i], &engine[i], input);
    }
    if (same) {
        return true;
    }
    gb_fail(err, GB_MODEL_REJECTED, "the engine sees other %s than the file declares", side);
    return gb_hint(err, "Export the model again with a current exporter.");
}

/* The engine's text comes from a process that we do not trust: escaped and cut. */
static bool warm_finding(struct gb_model *m, const char *text, struct gb_error **err) {
    struct gb_buf finding;
    gb_buf_init(&finding, FINDING_BYTES_MAX);
    size_t len = strnlen(text, FINDING_BYTES_MAX / 8);
    bool ok = gb_buf_append_text(&finding, "the warm-up run failed: ", err) &&
              gb_buf_append_escaped(&finding, gb_span_make(text, len), err) &&
              gb_model_add_finding(m, gb_buf_text(&finding), err);
    gb_buf_fini(&finding);
    return ok;
}

bool gb_model_accept(struct gb_model *m, const struct gb_worker_ready *ready,
                     struct gb_error **err) {
    if (m->info.backend == GB_BACKEND_ONNX &&
        (!compare("inputs", true, m->info.inputs, m->info.inputs_len, ready->inputs,
                  ready->inputs_len, err) ||
         !compare("outputs", false, m->info.outputs, m->info.outputs_len, ready->outputs,
                  ready->outputs_len, err))) {
        return false;
    }
    if (!gb_model_set_ports(m, ready->inputs, ready->inputs_len, ready->outputs,
                            ready->outputs_len, err) ||
        (ready->warm_failed && !warm_finding(m, ready->warm_text, err))) {
        return false;
    }
    m->info.load_us = ready->load_us;
    m->info.warm_us = ready->warm_us;
    m->info.missing_walls = ready->missing_walls;
    m->info.state = GB_MODEL_STATE_READY;
    return true;
}

static void log_ports(struct gb_buf *line, const char *side, const struct gb_port *ports,
                      size_t len) {
    for (size_t i = 0; i < len; i++) {
        char text[256];
        gb_port_text(&ports[i], text, sizeof text);
        /* A line that does not fit is cut: it is for reading. */
        (void)(gb_buf_append_format(line, NULL, "; %s ", side) &&
               gb_buf_append_escaped(line, gb_span_of(ports[i].name), NULL) &&
               gb_buf_append_format(line, NULL, " %s", text));
    }
}

static void log_model(const struct gb_model *m) {
    const struct gb_model_info *info = &m->info;
    struct gb_buf line;
    if (info->state != GB_MODEL_STATE_READY) {
        if (info->reason) {
            gb_log(GB_LOG_INFO, "model \"%s\" is rejected: %s: %s", m->name,
                   gb_code_text(info->reason->code), info->reason->message);
        }
        return;
    }
    gb_buf_init(&line, LINE_BYTES_MAX);
    (void)gb_buf_append_format(&line, NULL, "model \"%s\" is ready: %" PRIu64
                               " bytes, loaded in %" PRIu64 " us", m->name, info->bytes,
                               info->load_us);
    if (info->placement == GB_PLACEMENT_INLINE) {
        (void)gb_buf_append_text(&line, ", inline: no wall around it, no deadline ends it", NULL);
    }
    if (info->warm_us > 0) {
        (void)gb_buf_append_format(&line, NULL, ", a warm inference takes %" PRIu64 " us",
                                   info->warm_us);
    }
    log_ports(&line, "input", info->inputs, info->inputs_len);
    log_ports(&line, "output", info->outputs, info->outputs_len);
    if (info->layout) {
        (void)gb_buf_append_format(&line, NULL, "; layout: %s", info->layout);
    }
    gb_log(GB_LOG_INFO, "%s", gb_buf_text(&line));
    gb_buf_fini(&line);
}

static void wait_for(struct gb_registry *r, struct gb_model *m) {
    struct gb_worker_ready ready;
    struct gb_error *why = NULL;
    uint64_t deadline_us =
        gb_deadline_after_us((r->options.load_timeout_ms + WAIT_SLACK_MS) * 1000);
    if (!gb_worker_wait_ready(m->worker, deadline_us, &ready, &why) ||
        !gb_model_accept(m, &ready, &why)) {
        gb_worker_free(m->worker);
        m->worker = NULL;
        gb_model_reject(m, why);
    }
}

/* The models to start, in the registry's order; each once. */
static bool choose(struct gb_registry *r, const char *const *names, size_t names_len, bool *chosen,
                   struct gb_error **err) {
    for (size_t i = 0; i < r->models_len; i++) {
        chosen[i] = names == NULL;
    }
    for (size_t i = 0; names && i < names_len; i++) {
        const struct gb_model *m = gb_registry_find(r, gb_span_of(names[i]));
        if (!m) {
            gb_fail(err, GB_MODEL_NOT_FOUND, "there is no model \"%.*s\"",
                    GB_SPAN_ARG(gb_span_of(names[i])));
            return gb_hint(err, "`glovebox models` lists the models that are there.");
        }
        for (size_t at = 0; at < r->models_len; at++) {
            chosen[at] = chosen[at] || r->models[at] == m;
        }
    }
    return true;
}

bool gb_registry_start(struct gb_registry *r, const char *const *names, size_t names_len,
                       struct gb_error **err) {
    GB_CLEANUP(gb_free_cleanup) bool *chosen = gb_calloc(r->models_len + 1, sizeof *chosen, err);
    if (!chosen || !choose(r, names, names_len, chosen, err)) {
        return false;
    }
    size_t started = 0;
    const struct gb_model *failed = NULL;
    for (size_t i = 0; i < r->models_len; i++) {
        struct gb_model *m = r->models[i];
        struct gb_error *why = NULL;
        if (!chosen[i] || m->info.state != GB_MODEL_STATE_KNOWN) {
            continue;
        }
        if (start(r, m, &why)) {
            started++;
            continue;
        }
        bool everyone = why->code == GB_BACKEND_MISSING || why->code == GB_IO ||
                        why->code == GB_INTERNAL;
        gb_model_reject(m, why);
        failed = everyone && !failed ? m : failed;
    }
    for (size_t i = 0; i < r->models_len; i++) {
        if (chosen[i] && r->models[i]->worker && r->models[i]->info.state == GB_MODEL_STATE_KNOWN) {
            wait_for(r, r->models[i]);
        }
        if (chosen[i]) {
            log_model(r->models[i]);
        }
    }
    return started > 0 || !failed || gb_error_move(err, gb_error_copy(failed->reason));
}
