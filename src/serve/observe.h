/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server tells about itself: metrics, one line per request, a heartbeat. The loops count
 * and put lines; the log's thread writes them, and every ten seconds finds out which tenants have
 * a name of their own in the metrics.
 *
 * Threads: each function says; a tenant's observer may be entered by lanes. Ownership: by the
 * server, from before the first tenant until after the last.
 */
#ifndef GB_SERVE_OBSERVE_H
#define GB_SERVE_OBSERVE_H

#include <pthread.h>
#include <stdatomic.h>

#include "host/host.h"
#include "nn/nn.h"
#include "obs/lines.h"
#include "obs/metrics.h"
#include "sandbox/sandbox.h"

#define GB_OBSERVE_TENANTS_MAX 40u /* named in the metrics; the others are "other" */
#define GB_OBSERVE_BEAT_US 10000000u
#define GB_OBSERVE_MODELS_MAX 256u

struct gb_app;
struct gb_exchange;
struct gb_server;
struct gb_tenant;

/* Part of a tenant. */
struct gb_observed {
    struct gb_obs *obs;
    _Atomic bool named;        /* in the metrics */
    _Atomic uint64_t requests;
    uint64_t requests_before, score; /* the log's thread */
};
struct gb_observer {
    struct gb_obs *obs;
    struct gb_lines *lines;
    pthread_mutex_t lock; /* the fields below */
    struct gb_app *app;
    /* the log's thread only */
    char named[GB_OBSERVE_TENANTS_MAX][GB_OBS_LABEL_BYTES_MAX + 1];
    char leaving[GB_OBSERVE_TENANTS_MAX][GB_OBS_LABEL_BYTES_MAX + 1];
    uint64_t starts_seen[GB_OBSERVE_MODELS_MAX]; /* by model */
    uint64_t beat_requests, beat_errors, beat_inferences;
    uint64_t beat_buckets[GB_OBS_BUCKETS_MAX];
};

/* Before anything else of the server; the thread starts at once. */
bool gb_observe_init(struct gb_server *s, struct gb_error **err);
void gb_observe_stop(struct gb_server *s); /* no beat comes any more; before the app goes */
void gb_observe_fini(struct gb_server *s);
/* That app is served now: its level of the log and its tenants count. */
void gb_observe_app(struct gb_server *s, struct gb_app *app);
/* What counts for a new tenant. */
void gb_observe_tenant(struct gb_server *s, struct gb_tenant *t);
/* Of its name in the metrics. */
const char *gb_observe_name(const struct gb_tenant *t);
/* From which level on lines of guests are written, by host.log. */
enum gb_guest_log_level gb_observe_guest_level(uint32_t host_log);
/* For struct gb_guest_log_options; its user is the server. */
gb_guest_log_sink gb_observe_guest_line;

/* A call has ended; on its loop. */
void gb_observe_call(struct gb_exchange *x, const struct gb_call_result *result);
/* A request is over, or was refused with that code before it was anybody's (x NULL). */
void gb_observe_request(const struct gb_exchange *x);
void gb_observe_refused(struct gb_server *s, const struct gb_exchange *x, const char *id,
                        enum gb_code code, uint32_t status);

/* observe_beat.c: all on the log's thread, or before the loops run. */
void gb_observe_beat(void *server);
void gb_observe_rank(struct gb_server *s);
void gb_observe_loads(struct gb_server *s);
/* `{"time":…,"level":"info","event":EVENT`; how long it is. */
size_t gb_observe_line_begin(char *line, size_t cap, const char *event);

/* observe_scrape.c: what /metrics answers. Any thread. */
bool gb_observe_scrape(struct gb_server *s, struct gb_app *app, struct gb_buf *out,
                       struct gb_error **err);
/* status.c: what /-/status answers. */
bool gb_status_write(struct gb_server *s, struct gb_app *app, struct gb_buf *out,
                     struct gb_error **err);

#endif
