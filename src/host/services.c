/* SPDX-License-Identifier: Apache-2.0 */
/* A tenant's metrics and log as the table that the sandbox asks for. */
#include "host/host.h"

#include "base/alloc.h"

struct gb_services {
    struct gb_metrics *metrics;
    struct gb_guest_log *log;
    struct gb_capabilities capabilities;
};

static void counter(void *user, struct gb_span name, uint64_t value) {
    struct gb_services *s = user;
    gb_metrics_counter(s->metrics, name, value);
}

static void gauge(void *user, struct gb_span name, double value) {
    struct gb_services *s = user;
    gb_metrics_gauge(s->metrics, name, value);
}

static void log_entry(void *user, const struct gb_guest_log_entry *entry) {
    struct gb_services *s = user;
    gb_guest_log_write(s->log, entry);
}

struct gb_services *gb_services_new(const struct gb_guest_log_options *log, struct gb_error **err) {
    struct gb_services *s = gb_calloc(1, sizeof *s, err);
    if (!s) {
        return NULL;
    }
    s->capabilities =
        (struct gb_capabilities){.user = s, .counter = counter, .gauge = gauge, .log = log_entry};
    s->metrics = gb_metrics_new(err);
    s->log = s->metrics ? gb_guest_log_new(log, err) : NULL;
    if (!s->log) {
        gb_services_free(s);
        return NULL;
    }
    return s;
}

void gb_services_free(struct gb_services *s) {
    if (s) {
        gb_guest_log_free(s->log);
        gb_metrics_free(s->metrics);
        gb_free(s);
    }
}

void gb_services_observe(struct gb_services *s,
                         void (*inference)(void *user, const struct gb_nn_inference *inference),
                         void *user) {
    s->capabilities.inference = inference;
    s->capabilities.inference_user = user;
}

const struct gb_capabilities *gb_services_capabilities(const struct gb_services *s) {
    return &s->capabilities;
}

struct gb_metrics *gb_services_metrics(const struct gb_services *s) {
    return s->metrics;
}

struct gb_guest_log *gb_services_log(const struct gb_services *s) {
    return s->log;
}
