/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guests reach as glovebox:host: their metrics and their log, one of each per tenant. The
 * sandbox defines the table of functions; this fills it, and lib hands it to the calls.
 *
 * Threads: any; a lock inside each object. Ownership: _new and _free; calls borrow.
 * Limits: GB_METRICS_NAMES_MAX names, GB_GUEST_LOG_LINE_MAX bytes a line, a rate of lines. What is
 * past them is dropped and counted, because the functions of the interface return nothing.
 */
#ifndef GB_HOST_HOST_H
#define GB_HOST_HOST_H

#include "base/error.h"
#include "base/span.h"
#include "sandbox/sandbox.h"

/* ---- metrics.c ---- */

#define GB_METRICS_NAMES_MAX 256u
#define GB_METRICS_NAME_BYTES_MAX 64u

struct gb_metrics;
struct gb_metrics *gb_metrics_new(struct gb_error **err);
void gb_metrics_free(struct gb_metrics *m);
/* Names are [a-z][a-z0-9_]{0,63}; counters saturate; a name keeps the kind it was first used as. */
void gb_metrics_counter(struct gb_metrics *m, struct gb_span name, uint64_t value);
void gb_metrics_gauge(struct gb_metrics *m, struct gb_span name, double value);

struct gb_metric {
    char name[GB_METRICS_NAME_BYTES_MAX + 1];
    bool is_gauge;
    uint64_t count;
    double level;
};
struct gb_metrics_totals {
    uint64_t invalid;        /* updates under a bad name, or under a name of the other kind */
    uint64_t overflow;       /* updates under names past the limit */
    uint64_t overflow_count; /* the sum of their counters */
};
/* In the order of names, under the lock: `each` must not come back here. */
void gb_metrics_each(struct gb_metrics *m, void (*each)(void *user, const struct gb_metric *metric),
                     void *user, struct gb_metrics_totals *ret_totals);

/* ---- log.c ---- */

#define GB_GUEST_LOG_LINE_MAX 4096u /* after escaping, with its fields */
#define GB_GUEST_LOG_BURST 200u
#define GB_GUEST_LOG_PER_S 100u

typedef void gb_guest_log_sink(void *user, enum gb_guest_log_level level, struct gb_span line);
struct gb_guest_log_options {
    const char *tenant;                /* copied */
    enum gb_guest_log_level level_min; /* what is below is neither written nor counted */
    gb_guest_log_sink *sink;           /* NULL: a line on stderr */
    void *user;
    uint64_t (*now_us)(void); /* NULL: gb_now_us */
};
struct gb_guest_log;
struct gb_guest_log *gb_guest_log_new(const struct gb_guest_log_options *options,
                                      struct gb_error **err);
/* Says first how many lines were dropped, if any. */
void gb_guest_log_free(struct gb_guest_log *l);
void gb_guest_log_write(struct gb_guest_log *l, const struct gb_guest_log_entry *entry);
struct gb_guest_log_totals {
    uint64_t written, dropped;
};
struct gb_guest_log_totals gb_guest_log_totals(struct gb_guest_log *l);

/* ---- services.c ---- */

/* Both, for one tenant. */
struct gb_services;
struct gb_services *gb_services_new(const struct gb_guest_log_options *log, struct gb_error **err);
void gb_services_free(struct gb_services *s);
/* What the inferences of this tenant's calls came to goes there. Before the first call. */
void gb_services_observe(struct gb_services *s,
                         void (*inference)(void *user, const struct gb_nn_inference *inference),
                         void *user);
const struct gb_capabilities *gb_services_capabilities(const struct gb_services *s);
struct gb_metrics *gb_services_metrics(const struct gb_services *s);
struct gb_guest_log *gb_services_log(const struct gb_services *s);

#endif
